//! Where things are: the names of a registry's references.
//!
//! ```text
//! refs/heads/main                                  the front page that a forge shows
//! refs/registry/operators                          operator log
//! refs/registry/log                                registry log
//! refs/packages/<ns>/<name>                        package logs
//! refs/decisions/<ns>/<name>                       decision logs
//! refs/contents/<ns>/<name>                        the files of all releases
//! refs/attestations/<domain>/<ns>/<name>           statements about a package
//! refs/mirrors/<domain>/…                          another registry's references, without their `refs/`
//! refs/incoming/<ns>/<name>/<id>                   proposals
//! refs/refused/<ns>/<name>/<id>                    why a proposal was refused
//! refs/retired/<log id, hex>/{log,contents}        what a reset put aside
//! ```

use crate::model::digest::{GitId, LogId};
use crate::model::error::{Error, Result, fault};
use crate::model::name::{Label, PackageName, RegistryName};
use std::fmt;
use std::str::FromStr;

/// Where all package logs are.
pub const PACKAGES: &str = "refs/packages/";
/// Where all decision logs are.
pub const DECISIONS: &str = "refs/decisions/";
/// Where the files of all packages are.
pub const CONTENTS: &str = "refs/contents/";
/// Where all statements about packages are.
pub const ATTESTATIONS: &str = "refs/attestations/";
/// Where other registries are mirrored.
pub const MIRRORS: &str = "refs/mirrors/";
/// Where proposals wait.
pub const INCOMING: &str = "refs/incoming/";
/// Where it stands why proposals were refused.
pub const REFUSED: &str = "refs/refused/";
/// Where logs are that a reset put aside.
pub const RETIRED: &str = "refs/retired/";

/// The longest name of a reference in bytes; the longest that the layout has is some 700.
pub const REF_MAX: usize = 1024;

/// The full name of a git reference, `refs/…`, in a form that git allows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Box<str>);

impl RefName {
    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = Error;

    /// Reads a name by the rules of `git check-ref-format`, and ASCII besides: no name of ours needs more.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Err(fault!(BadReference, "{text:?} is not the name of a git reference: {why}"));
        if text.len() > REF_MAX {
            return wrong("it is longer than 1024 bytes");
        }
        let Some(rest) = text.strip_prefix("refs/") else {
            return wrong("it does not begin with refs/");
        };
        if text.bytes().any(|b| !b.is_ascii_graphic() || b"~^:?*[\\".contains(&b)) {
            return wrong("it has a character that git does not allow there");
        }
        if text.contains("..") || text.contains("@{") {
            return wrong("it has `..` or `@{`");
        }
        for part in rest.split('/') {
            if part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock") {
                return wrong("a part of it is empty, begins or ends with a dot, or ends in .lock");
            }
        }
        Ok(RefName(text.into()))
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefName({self})")
    }
}

/// Builds a name of parts whose own grammar is narrower than git's.
macro_rules! ref_name {
    ($($part:tt)+) => { RefName(format!($($part)+).into_boxed_str()) };
}

/// Names the log of a package.
pub fn package(package: &PackageName) -> RefName {
    ref_name!("{PACKAGES}{}/{}", package.namespace(), package.name())
}

/// Names the log of the operators' decisions about a package.
pub fn decisions(package: &PackageName) -> RefName {
    ref_name!("{DECISIONS}{}/{}", package.namespace(), package.name())
}

/// Names the commit that holds the files of a package's releases.
pub fn contents(package: &PackageName) -> RefName {
    ref_name!("{CONTENTS}{}/{}", package.namespace(), package.name())
}

/// Names the log of who may act for the registry.
pub fn operators() -> RefName {
    ref_name!("refs/registry/operators")
}

/// Names the log of checkpoints.
pub fn registry_log() -> RefName {
    ref_name!("refs/registry/log")
}

/// Names the branch that a forge shows.
pub fn front_page() -> RefName {
    ref_name!("refs/heads/main")
}

/// Names the log of statements about a package of some registry.
pub fn attestation(registry: &RegistryName, package: &PackageName) -> RefName {
    ref_name!("{ATTESTATIONS}{registry}/{}/{}", package.namespace(), package.name())
}

/// Names a proposal by the id of its commit.
pub fn incoming(package: &PackageName, proposal: GitId) -> RefName {
    ref_name!("{INCOMING}{}/{}/{proposal}", package.namespace(), package.name())
}

/// Names what says why a proposal was refused.
pub fn refused(package: &PackageName, proposal: GitId) -> RefName {
    ref_name!("{REFUSED}{}/{}/{proposal}", package.namespace(), package.name())
}

/// Names the log that a reset put aside.
pub fn retired_log(log: LogId) -> RefName {
    ref_name!("{RETIRED}{}/log", log.hex())
}

/// Names the files of a log that a reset put aside.
pub fn retired_contents(log: LogId) -> RefName {
    ref_name!("{RETIRED}{}/contents", log.hex())
}

/// Names a mirror's copy of another registry's reference.
///
/// # Errors
/// `bad-reference` where the name would be too long.
pub fn mirrored(registry: &RegistryName, name: &RefName) -> Result<RefName> {
    let rest = name.as_str().strip_prefix("refs/").unwrap_or(name.as_str());
    format!("{MIRRORS}{registry}/{rest}").parse()
}

/// Names the proofs of the part of another registry's map that is held here.
pub fn proofs(registry: &RegistryName) -> RefName {
    ref_name!("{MIRRORS}{registry}/proofs")
}

/// Reads the package out of the name of its log; `None` for any other reference.
pub fn parse_package(name: &RefName) -> Option<PackageName> {
    let (namespace, name) = name.as_str().strip_prefix(PACKAGES)?.split_once('/')?;
    package_name(namespace, name)
}

/// Reads package and id out of the name of a proposal; `None` for any other reference.
pub fn parse_incoming(name: &RefName) -> Option<(PackageName, GitId)> {
    let (namespace, rest) = name.as_str().strip_prefix(INCOMING)?.split_once('/')?;
    let (name, id) = rest.split_once('/')?;
    Some((package_name(namespace, name)?, id.parse().ok()?))
}

/// Reads the package out of the name of its decisions; `None` for any other reference.
pub fn parse_decisions(name: &RefName) -> Option<PackageName> {
    let (namespace, name) = name.as_str().strip_prefix(DECISIONS)?.split_once('/')?;
    package_name(namespace, name)
}

/// Reads the package out of the name of its log, its decisions or its contents; `None` for any other reference.
pub fn parse_part(name: &RefName) -> Option<PackageName> {
    let name = name.as_str();
    let rest = [PACKAGES, DECISIONS, CONTENTS].iter().find_map(|folder| name.strip_prefix(folder))?;
    let (namespace, name) = rest.split_once('/')?;
    package_name(namespace, name)
}

/// Reads the log out of the name of what a reset put aside; `None` for any other reference.
pub fn parse_retired(name: &RefName) -> Option<LogId> {
    let (log, _) = name.as_str().strip_prefix(RETIRED)?.split_once('/')?;
    format!("sha256:{log}").parse().ok()
}

fn package_name(namespace: &str, name: &str) -> Option<PackageName> {
    let (namespace, name) = (namespace.parse::<Label>().ok()?, name.parse::<Label>().ok()?);
    Some(PackageName::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::{ObjectFormat, RecordDigest};

    fn name(text: &str) -> Result<RefName> {
        text.parse()
    }

    #[test]
    fn names_follow_the_rules_of_git() {
        for good in ["refs/x", "refs/heads/main", "refs/attestations/acme.example/wasi/http", "refs/a/@"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "HEAD",
            "refs",
            "refs/",
            "refs//a",
            "refs/a/",
            "refs/.a",
            "refs/a.",
            "refs/a..b",
            "refs/a.lock",
            "refs/a.lock/b",
            "refs/a b",
            "refs/a\n",
            "refs/a~1",
            "refs/a^",
            "refs/a:b",
            "refs/a?",
            "refs/*",
            "refs/a[",
            "refs/a\\b",
            "refs/a@{0}",
            "refs/é",
            "refs/../config",
            "-refs/a",
            "+refs/a",
            &format!("refs/{}", "a".repeat(REF_MAX)),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_of_the_layout_is_valid_and_reads_back() -> Result<()> {
        let http: PackageName = "wasi:http".parse()?;
        let acme: RegistryName = "acme.example".parse()?;
        let id = ObjectFormat::Sha256.empty_tree();
        let log = LogId::from(RecordDigest::of_bytes(b""));
        assert_eq!(package(&http).as_str(), "refs/packages/wasi/http");
        assert_eq!(attestation(&acme, &http).as_str(), "refs/attestations/acme.example/wasi/http");
        for built in [
            package(&http),
            decisions(&http),
            contents(&http),
            operators(),
            registry_log(),
            front_page(),
            attestation(&acme, &http),
            incoming(&http, id),
            retired_log(log),
            retired_contents(log),
            proofs(&acme),
            mirrored(&acme, &incoming(&http, id))?,
        ] {
            assert_eq!(name(built.as_str()), Ok(built));
        }
        assert_eq!(parse_package(&package(&http)), Some(http.clone()));
        assert_eq!(parse_incoming(&incoming(&http, id)), Some((http.clone(), id)));
        for part in [package(&http), decisions(&http), contents(&http)] {
            assert_eq!(parse_part(&part), Some(http.clone()));
        }
        for part in [retired_log(log), retired_contents(log)] {
            assert_eq!(parse_retired(&part), Some(log));
        }
        for other in ["refs/packages/wasi/http/x", "refs/packages/wasi", "refs/packages/Wasi/http", "refs/decisions/wasi/http"] {
            assert_eq!(parse_package(&name(other)?), None, "{other}");
        }
        for other in ["refs/incoming/wasi/http", "refs/incoming/wasi/http/12", "refs/packages/wasi/http"] {
            assert_eq!(parse_incoming(&name(other)?), None, "{other}");
        }
        Ok(())
    }
}
