//! `quipu.lock`: which version of each package was chosen, by what it is known again, and what was seen of its registry.
//!
//! 1. There is one way to write a lock: a table for each registry and each version of a package, sorted, in short lines, so that
//!    changes are small and two people's changes seldom meet.
//! 2. A reader takes any order and any spelling that TOML has, with LF or CRLF. What is unknown, missing, doubled or points nowhere is
//!    refused with its place.
//! 3. A lock with git's conflict markers is read as the two locks that met; [`merge`] makes of them what can be asked for anew.

use super::digest::{ContentDigest, GitId, LogId, RecordDigest, RegistryId};
use super::error::{Error, Result, fault};
use super::name::{FullName, RegistryName, Version, serde_through_text};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use toml::Spanned;

/// The name of the file.
pub const FILE: &str = "quipu.lock";
/// The format that is written, and the newest that is read.
pub const FORMAT: i64 = 1;
/// What stands above everything else.
const FIRST_LINE: &str = "# Written by quipu, to be committed: it makes every install the same. Change quipu.toml, not this.";

/// A version of a package: `acme.example/wasi:http@0.2.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// The package, under the name that it has in its registry.
    pub name: FullName,
    /// The version.
    pub version: Version,
}

impl FromStr for Pin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, version)) = text.split_once('@') else {
            return Err(fault!(BadReference, "{text:?} is not registry/namespace:name@version: it has no @"));
        };
        Ok(Pin { name: name.parse()?, version: version.parse()? })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

serde_through_text!(Pin);

/// The head that a log had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its place.
    pub seq: u64,
    /// Its digest.
    pub digest: RecordDigest,
    /// Its commit.
    pub commit: GitId,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq = {}, digest = \"{}\", commit = \"{}\"", self.seq, self.digest, self.commit)
    }
}

/// What was seen of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedRegistry {
    /// Its id, which is the id of its operator log.
    pub id: RegistryId,
    /// The head of its operator log.
    pub operators: Head,
    /// Its checkpoint.
    pub checkpoint: Head,
}

/// What was seen of a decision log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedDecisions {
    /// Its id.
    pub log: LogId,
    /// Its head.
    pub head: Head,
}

/// What a version of a package is known again by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// The names that it was asked by where a rename was followed.
    pub asked_as: BTreeSet<FullName>,
    /// The digest of the version's files.
    pub content: ContentDigest,
    /// The id of the package's log.
    pub log: LogId,
    /// The head of that log, as of the registry's checkpoint.
    pub head: Head,
    /// Its decision log, where there is one.
    pub decisions: Option<LockedDecisions>,
    /// Whether it was known when it was locked that a key in wrong hands released it, and somebody insisted.
    pub flagged: bool,
    /// What was chosen for what it needs.
    pub dependencies: BTreeSet<Pin>,
}

/// A lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// The registries.
    pub registries: BTreeMap<RegistryName, LockedRegistry>,
    /// The chosen versions.
    pub packages: BTreeMap<Pin, LockedPackage>,
}

/// What a lock's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A lock.
    Lock(Lockfile),
    /// One in which not everything goes together, and the first thing that does not: what git makes of two people's changes that do not
    /// touch one another. It is one to choose by, not one to install.
    Torn(Lockfile, Error),
    /// Two that git could not merge: ours and theirs, either of which may be torn; see [`merge`].
    Conflict(Box<[Lockfile; 2]>),
}

/// What two locks come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The newest that either saw of each registry and log, and all versions that either chose: not a lock to write, but one to choose by.
    pub lock: Lockfile,
    /// The earlier checkpoints, where the two differ. The one in the lock is to be a descendant of it: else the two sides were shown
    /// different registries.
    pub earlier: BTreeMap<RegistryName, Head>,
}

impl Lockfile {
    /// Reads a lock.
    ///
    /// # Errors
    /// `bad-lock` with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        match Found::parse(text)? {
            Found::Lock(lock) => Ok(lock),
            Found::Torn(_, why) => Err(why.hint("if git merged it from two changes, choose anew: quipu install")),
            Found::Conflict(_) => Err(fault!(BadLock, "{FILE} has conflict markers of git").hint("settle it: quipu install")),
        }
    }

    /// Writes the lock.
    pub fn to_text(&self) -> String {
        let mut out = format!("{FIRST_LINE}\nformat = {FORMAT}\n");
        // Writing to a string cannot fail.
        for (name, registry) in &self.registries {
            let _ = write!(out, "\n[[registry]]\nname = \"{name}\"\nid = \"{}\"\n", registry.id);
            let _ = writeln!(out, "operators = {{ {} }}", registry.operators);
            let _ = writeln!(out, "checkpoint = {{ {} }}", registry.checkpoint);
        }
        for (pin, package) in &self.packages {
            let _ = write!(out, "\n[[package]]\nname = \"{}\"\nversion = \"{}\"\n", pin.name, pin.version);
            list(&mut out, "asked-as", &package.asked_as);
            let _ = write!(out, "content = \"{}\"\nlog = \"{}\"\n", package.content, package.log);
            let _ = writeln!(out, "head = {{ {} }}", package.head);
            if let Some(decisions) = &package.decisions {
                let _ = writeln!(out, "decisions = {{ log = \"{}\", {} }}", decisions.log, decisions.head);
            }
            if package.flagged {
                out.push_str("flagged = true\n");
            }
            list(&mut out, "dependencies", &package.dependencies);
        }
        out
    }
}

/// Writes a list, each item on a line of its own.
fn list<T: fmt::Display>(out: &mut String, name: &str, items: &BTreeSet<T>) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{name} = [");
    for item in items {
        let _ = writeln!(out, "  \"{item}\",");
    }
    out.push_str("]\n");
}

impl Found {
    /// Reads a lock, or the two that git could not merge.
    ///
    /// # Errors
    /// `bad-lock` with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        match sides(text)? {
            None => Ok(match Raw::parse(text)?.lock(text)? {
                (lock, None) => Found::Lock(lock),
                (lock, Some(why)) => Found::Torn(lock, why),
            }),
            Some([ours, theirs]) => {
                let side = |text: &str, name: &str| match Raw::parse(text).and_then(|raw| raw.lock(text)) {
                    Ok((lock, _torn)) => Ok(lock),
                    Err(error) => Err(error.at(format_args!("the lock's side {name}"))),
                };
                Ok(Found::Conflict(Box::new([side(&ours, "above =======")?, side(&theirs, "below =======")?])))
            }
        }
    }
}

/// Takes a text with conflict markers apart, in any of git's styles. Lines of neither side are left empty in it, so that places stay true.
fn sides(text: &str) -> Result<Option<[String; 2]>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Within {
        Both,
        Ours,
        Base,
        Theirs,
    }
    let is_marker =
        |line: &str, marker: &str| line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let mut within = Within::Both;
    let mut found = false;
    let mut sides = [String::new(), String::new()];
    for (number, whole) in text.split_inclusive('\n').enumerate() {
        let line = whole.trim_end_matches(['\n', '\r']);
        let next = match within {
            Within::Both if is_marker(line, "<<<<<<<") => Some(Within::Ours),
            Within::Ours if is_marker(line, "|||||||") => Some(Within::Base),
            Within::Ours | Within::Base if line == "=======" => Some(Within::Theirs),
            Within::Theirs if is_marker(line, ">>>>>>>") => Some(Within::Both),
            _ => None,
        };
        let stray = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"].iter().any(|marker| is_marker(line, marker));
        // What a base says may itself be a conflict, of two bases.
        if next.is_none() && stray && within != Within::Base {
            return Err(fault!(BadLock, "line {}, column 1: a conflict marker of git where none is expected", number + 1));
        }
        for (side, own) in sides.iter_mut().zip([Within::Ours, Within::Theirs]) {
            let is_said = next.is_none() && (within == Within::Both || within == own);
            side.push_str(if is_said { whole } else { "\n" });
        }
        found |= next.is_some();
        within = next.unwrap_or(within);
    }
    if within != Within::Both {
        return Err(fault!(BadLock, "the last conflict marker of git has no end: expected a line with >>>>>>>"));
    }
    Ok(found.then_some(sides))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "format")]
    _format: i64,
    #[serde(default, rename = "registry")]
    registries: Vec<RawRegistry>,
    #[serde(default, rename = "package")]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    name: Spanned<RegistryName>,
    id: RegistryId,
    operators: Head,
    checkpoint: Head,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPackage {
    name: Spanned<FullName>,
    version: Version,
    #[serde(default)]
    asked_as: Vec<Spanned<FullName>>,
    content: ContentDigest,
    log: LogId,
    head: Head,
    decisions: Option<RawDecisions>,
    #[serde(default)]
    flagged: bool,
    #[serde(default)]
    dependencies: Vec<Spanned<Pin>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDecisions {
    log: LogId,
    seq: u64,
    digest: RecordDigest,
    commit: GitId,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct Header {
    format: i64,
}

/// Makes an error with the line and column of a byte.
fn wrong(text: &str, at: usize, why: impl fmt::Display) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    fault!(BadLock, "line {line}, column {column}: {why}")
}

impl Raw {
    fn parse(text: &str) -> Result<Self> {
        let read = |why: toml::de::Error| wrong(text, why.span().map_or(0, |span| span.start), why.message().replace('\n', ", "));
        let format = toml::from_str::<Header>(text).map_err(read)?.format;
        if format > FORMAT {
            return Err(fault!(BadLock, "the lock is of format {format}, this program reads format {FORMAT}")
                .hint("a newer quipu wrote it: install that one"));
        }
        if format != FORMAT {
            return Err(fault!(BadLock, "the lock is of format {format}: expected {FORMAT}"));
        }
        toml::from_str(text).map_err(read)
    }

    /// Makes a lock of it. Where something in it does not go together, as where git merged two people's lines, the first such thing is said
    /// beside it, and of what stands twice the newer counts.
    ///
    /// # Errors
    /// `bad-lock` where one name has two registries, logs or contents.
    fn lock(self, text: &str) -> Result<(Lockfile, Option<Error>)> {
        let mut lock = Lockfile::default();
        let mut torn = None;
        for registry in self.registries {
            let (at, name) = (registry.name.span().start, registry.name.into_inner());
            let found = LockedRegistry { id: registry.id, operators: registry.operators, checkpoint: registry.checkpoint };
            if let Some(known) = lock.registries.get_mut(&name) {
                if known.id != found.id {
                    return Err(wrong(text, at, format_args!("{name} has two ids, {} and {}", known.id, found.id)));
                }
                torn.get_or_insert_with(|| wrong(text, at, format_args!("the registry {name} stands twice")));
                if known.checkpoint.seq < found.checkpoint.seq {
                    *known = found;
                }
            } else {
                lock.registries.insert(name, found);
            }
        }
        let pins: BTreeSet<Pin> = self.packages.iter().map(RawPackage::pin).collect();
        let mut logs: BTreeMap<FullName, (LogId, Head, Option<LockedDecisions>)> = BTreeMap::new();
        for package in self.packages {
            let (at, pin, decisions) = (package.name.span().start, package.pin(), package.decisions());
            let name = &pin.name;
            let (log, head, decided) = logs.entry(name.clone()).or_insert((package.log, package.head, decisions));
            if *log != package.log {
                return Err(wrong(text, at, format_args!("{name} has two logs, {log} and {}", package.log)));
            }
            if *head != package.head || *decided != decisions {
                torn.get_or_insert_with(|| {
                    wrong(text, at, format_args!("the versions of {name} disagree on the heads of its logs"))
                });
            }
            if !lock.registries.contains_key(&name.registry) {
                torn.get_or_insert_with(|| wrong(text, at, format_args!("the registry of {name} is not in the lock")));
            }
            let mut found = LockedPackage {
                asked_as: BTreeSet::new(),
                content: package.content,
                log: package.log,
                head: package.head,
                decisions,
                flagged: package.flagged,
                dependencies: BTreeSet::new(),
            };
            for asked in package.asked_as {
                let at = asked.span().start;
                if let Some(double) = found.asked_as.replace(asked.into_inner()) {
                    torn.get_or_insert_with(|| wrong(text, at, format_args!("{double} stands twice")));
                }
            }
            for needed in package.dependencies {
                let (at, needed) = (needed.span().start, needed.into_inner());
                if !pins.contains(&needed) {
                    torn.get_or_insert_with(|| wrong(text, at, format_args!("{needed} is not in the lock")));
                }
                if let Some(double) = found.dependencies.replace(needed) {
                    torn.get_or_insert_with(|| wrong(text, at, format_args!("{double} stands twice")));
                }
            }
            if let Some(known) = lock.packages.get_mut(&pin) {
                if known.content != found.content {
                    return Err(wrong(text, at, format_args!("{pin} has two contents, {} and {}", known.content, found.content)));
                }
                torn.get_or_insert_with(|| wrong(text, at, format_args!("{pin} stands twice")));
                if known.head.seq < found.head.seq {
                    *known = found;
                }
            } else {
                lock.packages.insert(pin, found);
            }
        }
        Ok((lock, torn))
    }
}

impl RawPackage {
    fn pin(&self) -> Pin {
        Pin { name: self.name.get_ref().clone(), version: self.version.clone() }
    }

    fn decisions(&self) -> Option<LockedDecisions> {
        let said = self.decisions.as_ref()?;
        Some(LockedDecisions { log: said.log, head: Head { seq: said.seq, digest: said.digest, commit: said.commit } })
    }
}

/// Merges two locks that git could not: of each registry and log the newest that either saw, and all versions that either chose.
///
/// # Errors
/// `lock-mismatch` where they mean different registries, logs or contents by one name; `fork` where they saw different records at one
/// place of a log.
pub fn merge(ours: &Lockfile, theirs: &Lockfile) -> Result<Merged> {
    let mut merged = Merged { lock: ours.clone(), earlier: BTreeMap::new() };
    for (name, other) in &theirs.registries {
        let Some(own) = merged.lock.registries.get_mut(name) else {
            merged.lock.registries.insert(name.clone(), other.clone());
            continue;
        };
        same(&format!("the registry {name}"), "ids", &own.id, &other.id)?;
        if own.checkpoint != other.checkpoint {
            let earlier = if own.checkpoint.seq < other.checkpoint.seq { own.checkpoint } else { other.checkpoint };
            merged.earlier.insert(name.clone(), earlier);
        }
        own.checkpoint = newer(&format!("the registry log of {name}"), own.checkpoint, other.checkpoint)?;
        own.operators = newer(&format!("the operator log of {name}"), own.operators, other.operators)?;
    }
    for (pin, other) in &theirs.packages {
        let Some(own) = merged.lock.packages.get_mut(pin) else {
            merged.lock.packages.insert(pin.clone(), other.clone());
            continue;
        };
        same(&pin.to_string(), "content digests", &own.content, &other.content)?;
        own.asked_as.extend(other.asked_as.iter().cloned());
        own.flagged |= other.flagged;
        if own.head.seq < other.head.seq {
            own.dependencies.clone_from(&other.dependencies);
        }
    }
    // What one side saw of a package's logs is true of all its versions.
    let mut seen: BTreeMap<&FullName, (LogId, Head, Option<LockedDecisions>)> = BTreeMap::new();
    for (pin, package) in ours.packages.iter().chain(&theirs.packages) {
        let name = &pin.name;
        let (log, head, decisions) = seen.entry(name).or_insert((package.log, package.head, package.decisions));
        same(&name.to_string(), "logs", log, &package.log)?;
        *head = newer(&format!("the log of {name}"), *head, package.head)?;
        *decisions = match (*decisions, package.decisions) {
            (Some(one), Some(other)) => {
                same(&name.to_string(), "decision logs", &one.log, &other.log)?;
                Some(LockedDecisions { head: newer(&format!("the decision log of {name}"), one.head, other.head)?, ..one })
            }
            (one, other) => one.or(other),
        };
    }
    for (pin, package) in &mut merged.lock.packages {
        if let Some((_, head, decisions)) = seen.get(&pin.name) {
            (package.head, package.decisions) = (*head, *decisions);
        }
    }
    Ok(merged)
}

fn same<T: PartialEq + fmt::Display>(place: &str, what: &str, ours: &T, theirs: &T) -> Result<()> {
    if ours == theirs {
        return Ok(());
    }
    Err(fault!(LockMismatch, "{place} has two {what} in the two sides of {FILE}, {ours} and {theirs}")
        .hint("find out which is right before you go on, and take that side: git checkout --ours or --theirs"))
}

fn newer(place: &str, ours: Head, theirs: Head) -> Result<Head> {
    if ours.seq == theirs.seq && ours != theirs {
        let hint = "the two sides were shown different histories: compare them, and tell others";
        return Err(fault!(Fork, "{place} has two records at seq {}, {} and {}", ours.seq, ours.digest, theirs.digest).hint(hint));
    }
    Ok(if ours.seq < theirs.seq { theirs } else { ours })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::{ObjectFormat, ObjectKind};
    use crate::model::error::ErrorCode;
    use proptest::prelude::*;

    const FULL: &str = include_str!("../../tests/fixtures/lock/v1-full.lock");
    const FLAGGED: &str = include_str!("../../tests/fixtures/lock/v1-flagged.lock");
    const EMPTY: &str = include_str!("../../tests/fixtures/lock/v1-empty.lock");
    const OURS: &str = include_str!("../../tests/fixtures/lock/v1-ours.lock");
    const THEIRS: &str = include_str!("../../tests/fixtures/lock/v1-theirs.lock");

    fn head(of: &str, seq: u64) -> Head {
        let bytes = format!("{of} {seq}");
        Head {
            seq,
            digest: RecordDigest::of_bytes(bytes.as_bytes()),
            commit: GitId::of(ObjectFormat::Sha1, ObjectKind::Commit, bytes.as_bytes()),
        }
    }

    fn registry(name: &str, seq: u64) -> (RegistryName, LockedRegistry) {
        let found = LockedRegistry {
            id: RegistryId::of_bytes(name.as_bytes()),
            operators: head("operators", seq / 4),
            checkpoint: head(name, seq),
        };
        (name.parse().expect("a name"), found)
    }

    fn pin(text: &str) -> Pin {
        text.parse().expect("a pin")
    }

    fn package(text: &str, seq: u64, dependencies: &[&str]) -> (Pin, LockedPackage) {
        let pin = pin(text);
        let name = pin.name.to_string();
        let found = LockedPackage {
            asked_as: BTreeSet::new(),
            content: ContentDigest::of_bytes(text.as_bytes()),
            log: LogId::of_bytes(name.as_bytes()),
            head: head(&name, seq),
            decisions: None,
            flagged: false,
            dependencies: dependencies.iter().map(|text| self::pin(text)).collect(),
        };
        (pin, found)
    }

    fn full() -> Lockfile {
        let mut lock = Lockfile {
            registries: [registry("acme.example", 12), registry("other.example", 40)].into(),
            packages: [
                package(
                    "acme.example/wasi:http@0.2.1",
                    5,
                    &["acme.example/wasi:io@1.4.0", "acme.example/wasi:io@2.0.0-rc.1", "other.example/demo:clocks@0.0.7"],
                ),
                package("acme.example/wasi:io@1.4.0", 9, &[]),
                package("acme.example/wasi:io@2.0.0-rc.1", 9, &["acme.example/wasi:http@0.2.1"]),
                package("other.example/demo:clocks@0.0.7", 0, &[]),
            ]
            .into(),
        };
        if let Some(renamed) = lock.packages.get_mut(&pin("acme.example/wasi:http@0.2.1")) {
            renamed.asked_as.insert("acme.example/wasi:web".parse().expect("a name"));
            renamed.decisions = Some(LockedDecisions { log: LogId::of_bytes(b"decisions"), head: head("decisions", 1) });
        }
        lock
    }

    fn flagged() -> Lockfile {
        let (mut found, name) = (package("acme.example/wasi:io@1.4.0", 9, &["acme.example/wasi:poll@0.1.0"]), "acme.example");
        found.1.flagged = true;
        let packages = [found, package("acme.example/wasi:poll@0.1.0", 2, &[])].into();
        Lockfile { registries: [registry(name, 12)].into(), packages }
    }

    /// The other side of a merge: one package moved, one is new, and the checkpoint is a later one.
    fn ours() -> Lockfile {
        let mut lock = full();
        lock.registries.extend([registry("acme.example", 16)]);
        lock.packages.remove(&pin("acme.example/wasi:io@2.0.0-rc.1"));
        lock.packages.extend([
            package("acme.example/wasi:http@0.2.1", 6, &["acme.example/wasi:io@1.4.0"]),
            package("acme.example/demo:new@1.0.0", 2, &[]),
        ]);
        lock
    }

    fn theirs() -> Lockfile {
        let mut lock = full();
        lock.registries.extend([registry("acme.example", 14)]);
        lock.packages.remove(&pin("acme.example/wasi:io@1.4.0"));
        lock.packages.remove(&pin("acme.example/wasi:io@2.0.0-rc.1"));
        lock.packages.extend([
            package("acme.example/wasi:http@0.2.1", 5, &["acme.example/wasi:io@1.5.0"]),
            package("acme.example/wasi:io@1.5.0", 10, &[]),
            package("acme.example/demo:other@1.0.0", 3, &["acme.example/wasi:io@1.5.0"]),
        ]);
        lock
    }

    #[test]
    fn locks_of_format_1_are_read_and_written_as_ever() {
        let all = [
            (FULL, full(), "full"),
            (EMPTY, Lockfile::default(), "empty"),
            (FLAGGED, flagged(), "flagged"),
            (OURS, ours(), "ours"),
            (THEIRS, theirs(), "theirs"),
        ];
        for (text, lock, name) in all {
            assert_eq!(lock.to_text(), text, "{name}");
            assert_eq!(Lockfile::parse(text), Ok(lock.clone()), "{name}");
            assert_eq!(Lockfile::parse(&text.replace('\n', "\r\n")), Ok(lock), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let registries =
            FULL.find("\n[[registry]]").expect("a table")..FULL.find("\n[[registry]]\nname = \"other").expect("a table");
        let acme = &FULL[registries];
        let twice = |from: &str| format!("{FULL}{}", &FULL[FULL.find(from).expect("a table")..]);
        for (text, told) in [
            (FULL.replace("format = 1\n", ""), "line 1, column 1: missing field `format`"),
            (FULL.replace("format = 1", "format = 0"), "the lock is of format 0: expected 1"),
            (FULL.replace("format = 1", "format = 2\nnew = 1"), "the lock is of format 2, this program reads format 1"),
            (FULL.replace("format = 1", "format = 1\nnew = 1"), "line 3, column 1: unknown field `new`"),
            (
                FULL.replace("name = \"acme.example\"", "name = \"acme\""),
                "line 5, column 8: \"acme\" is not the name of a registry",
            ),
            (FULL.replace("seq = 12", "seq = -1"), "line 8, column 22: "),
            (FULL.replace("version = \"0.2.1\"", "version = \"0.2\""), "line 18, column 11: \"0.2\" is not a version"),
            (FULL.replace("version = \"0.2.1\"\n", ""), "missing field `version`"),
            (
                FULL.replace("version = \"0.2.1\"", "version = \"0.2.1\"\nyanked = true"),
                "line 19, column 1: unknown field `yanked`",
            ),
            (FULL.replace("version = \"0.2.1\"", "version = "), "line 18, column 11: "),
            (twice("\n[[package]]\nname = \"other"), "line 57, column 8: other.example/demo:clocks@0.0.7 stands twice"),
            (
                FULL.replacen("\n[[package]]", &format!("{acme}\n[[package]]"), 1),
                "line 17, column 8: the registry acme.example stands twice",
            ),
            (
                FULL.replace("name = \"other.example\"", "name = \"third.example\""),
                "the registry of other.example/demo:clocks is not in the lock",
            ),
            (
                FULL.replace("  \"acme.example/wasi:io@1.4.0\"", "  \"acme.example/wasi:io@1.4.1\""),
                "line 27, column 3: acme.example/wasi:io@1.4.1 is not in the lock",
            ),
            (
                FULL.replace("  \"acme.example/wasi:io@1.4.0\"", "  \"acme.example/wasi:io@2.0.0-rc.1\""),
                "line 28, column 3: acme.example/wasi:io@2.0.0-rc.1 stands twice",
            ),
            (FULL.replace("  \"acme.example/wasi:io@1.4.0\"", "  \"acme.example/wasi:io\""), "line 26, column 16: "),
            (
                FULL.replacen("head = { seq = 9", "head = { seq = 8", 1),
                "the versions of acme.example/wasi:io disagree on the heads of its logs",
            ),
            ("<<<<<<< a\n".into(), "the last conflict marker of git has no end"),
            (format!("{EMPTY}=======\n"), "line 3, column 1: a conflict marker of git where none is expected"),
            (String::new(), "line 1, column 1: missing field `format`"),
        ] {
            let error = Lockfile::parse(&text).expect_err(told);
            assert_eq!((error.code(), error.exit()), (ErrorCode::BadLock, 2));
            assert!(error.message().contains(told), "{error}\nexpected: {told}");
        }
    }

    #[test]
    fn what_git_merged_by_itself_can_be_chosen_by() {
        let text = FULL.replace(
            "name = \"acme.example/wasi:io\"\nversion = \"1.4.0\"",
            "name = \"acme.example/wasi:io\"\nversion = \"1.4.1\"",
        );
        let Ok(Found::Torn(lock, why)) = Found::parse(&text) else { panic!("nothing is torn in {text}") };
        assert!(lock.packages.contains_key(&pin("acme.example/wasi:io@1.4.1")));
        assert_eq!(why.message(), "line 27, column 3: acme.example/wasi:io@1.4.0 is not in the lock");
        // Two answers to what a name is are no matter of merging.
        let clocks = &FULL[FULL.find("\n[[package]]\nname = \"other").expect("a table")..];
        for (digest, told) in [("content", "has two contents"), ("log", "has two logs")] {
            let (before, after) = clocks.split_once(&format!("{digest} = \"sha256:")).expect("a digest");
            let text = format!("{FULL}{before}{digest} = \"sha256:{}{}", "0".repeat(64), &after[64..]);
            assert!(Found::parse(&text).expect_err(told).message().contains(told));
        }
        let acme =
            &FULL[FULL.find("\n[[registry]]").expect("a table")..FULL.find("\n[[registry]]\nname = \"other").expect("a table")];
        let text = FULL.replacen(
            "\n[[package]]",
            &format!("{}\n[[package]]", acme.replacen("id = \"sha256:5", "id = \"sha256:6", 1)),
            1,
        );
        assert!(Found::parse(&text).expect_err("two ids").message().contains("acme.example has two ids"));
    }

    #[test]
    fn what_git_could_not_merge_is_read_in_all_its_styles() {
        let styles = [
            include_str!("../../tests/fixtures/lock/conflict-merge.lock"),
            include_str!("../../tests/fixtures/lock/conflict-diff3.lock"),
            include_str!("../../tests/fixtures/lock/conflict-zdiff3.lock"),
        ];
        for text in styles {
            for text in [text.to_owned(), text.replace('\n', "\r\n")] {
                let Ok(Found::Conflict(sides)) = Found::parse(&text) else { panic!("no conflict in {text}") };
                let merged = merge(&sides[0], &sides[1]).expect("they go together");
                assert_eq!(merged.lock.registries, ours().registries);
                assert_eq!(merged.earlier, [("acme.example".parse().expect("a name"), head("acme.example", 14))].into());
                // Git merged some lines by itself; of what either side chose, nothing is lost.
                for wanted in ["acme.example/demo:new@1.0.0", "acme.example/demo:other@1.0.0", "acme.example/wasi:io@1.5.0"] {
                    assert!(merged.lock.packages.contains_key(&pin(wanted)), "{wanted}");
                }
                let error = Lockfile::parse(&text).expect_err("a conflict");
                assert_eq!(error.hints(), ["settle it: quipu install"]);
            }
        }
    }

    #[test]
    fn a_merge_has_the_newest_of_both() {
        let merged = merge(&ours(), &theirs()).expect("they go together");
        let other_way = merge(&theirs(), &ours()).expect("they go together");
        assert_eq!(merged, other_way);
        let names: Vec<String> = merged.lock.packages.keys().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "acme.example/demo:new@1.0.0",
                "acme.example/demo:other@1.0.0",
                "acme.example/wasi:http@0.2.1",
                "acme.example/wasi:io@1.4.0",
                "acme.example/wasi:io@1.5.0",
                "other.example/demo:clocks@0.0.7",
            ]
        );
        // The log of wasi:io was seen further by them, and that is true of what we chose of it.
        assert_eq!(merged.lock.packages[&pin("acme.example/wasi:io@1.4.0")].head, head("acme.example/wasi:io", 10));
        assert_eq!(merge(&full(), &full()), Ok(Merged { lock: full(), earlier: BTreeMap::new() }));
    }

    #[test]
    fn sides_that_were_shown_different_things_are_not_merged() {
        let refused = |change: &dyn Fn(&mut Lockfile)| {
            let mut other = theirs();
            change(&mut other);
            let error = merge(&ours(), &other).expect_err("a contradiction");
            (error.code(), error.message().to_owned())
        };
        let acme: RegistryName = "acme.example".parse().expect("a name");
        let http = pin("acme.example/wasi:http@0.2.1");
        let (code, message) = refused(&|lock| {
            if let Some(registry) = lock.registries.get_mut(&acme) {
                registry.id = RegistryId::of_bytes(b"mallory");
            }
        });
        assert_eq!(code, ErrorCode::LockMismatch);
        let both = [RegistryId::of_bytes(b"mallory"), RegistryId::of_bytes(b"acme.example")];
        assert!(both.iter().all(|id| message.contains(&id.to_string())), "{message}");
        let (code, message) = refused(&|lock| {
            lock.registries.extend([registry("acme.example", 16)]);
            if let Some(registry) = lock.registries.get_mut(&acme) {
                registry.checkpoint = Head { seq: 16, ..head("mallory", 16) };
            }
        });
        assert_eq!(code, ErrorCode::Fork);
        assert!(message.starts_with("the registry log of acme.example has two records at seq 16"), "{message}");
        let change_http = |change: &dyn Fn(&mut LockedPackage)| {
            refused(&|lock| {
                if let Some(package) = lock.packages.get_mut(&http) {
                    change(package);
                }
            })
            .0
        };
        assert_eq!(change_http(&|package| package.log = LogId::of_bytes(b"mallory")), ErrorCode::LockMismatch);
        assert_eq!(change_http(&|package| package.content = ContentDigest::of_bytes(b"mallory")), ErrorCode::LockMismatch);
        assert_eq!(change_http(&|package| package.head = Head { seq: 6, ..head("mallory", 6) }), ErrorCode::Fork);
    }

    /// Any lock of packages of two registries, at some point of their history.
    fn a_lock() -> impl Strategy<Value = Lockfile> {
        let versions = prop::sample::subsequence(vec!["0.1.0", "0.1.1", "1.0.0-rc.1", "1.0.0", "2.0.0"], 0..4);
        let one = (versions, prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>(), any::<bool>());
        (prop::collection::vec(one, 6), 0..4u64).prop_map(|(all, seq)| {
            let registries: BTreeMap<_, _> = [registry("acme.example", 10 + seq), registry("other.example", 7)].into();
            let name = |at: usize| format!("{}/demo:p{at}", if at < 4 { "acme.example" } else { "other.example" });
            let pins: Vec<String> = all
                .iter()
                .enumerate()
                .flat_map(|(at, (versions, ..))| versions.iter().map(move |version| format!("{}@{version}", name(at))))
                .collect();
            let mut packages = BTreeMap::new();
            for (at, (versions, edges, is_decided, is_renamed)) in all.iter().enumerate() {
                for version in versions {
                    let edges: Vec<&str> = edges.iter().map(|edge| pins[edge.index(pins.len())].as_str()).collect();
                    let (pin, mut found) = package(&format!("{}@{version}", name(at)), 3 + seq, &edges);
                    let log = LogId::of_bytes(b"decisions");
                    found.decisions = is_decided.then(|| LockedDecisions { log, head: head("decisions", seq) });
                    if *is_renamed {
                        found.asked_as =
                            ["acme.example/old:a", "acme.example/old:b"].map(|name| name.parse().expect("a name")).into();
                    }
                    packages.insert(pin, found);
                }
            }
            Lockfile { registries, packages }
        })
    }

    /// Writes two texts as one with conflict markers wherever their lines differ.
    fn conflict(ours: &str, theirs: &str, has_base: bool) -> String {
        let (ours, theirs): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
        let mut lengths = vec![vec![0usize; theirs.len() + 1]; ours.len() + 1];
        for a in (0..ours.len()).rev() {
            for b in (0..theirs.len()).rev() {
                let longest = lengths[a + 1][b].max(lengths[a][b + 1]);
                lengths[a][b] = if ours[a] == theirs[b] { lengths[a + 1][b + 1] + 1 } else { longest };
            }
        }
        let base = if has_base { "||||||| 1234567\nanything = [\n<<<<<<<<< older\n" } else { "" };
        let mut out = String::new();
        let (mut a, mut b) = (0, 0);
        while a < ours.len() || b < theirs.len() {
            let (mut left, mut right) = (String::new(), String::new());
            while !(a == ours.len() && b == theirs.len()) && ours.get(a) != theirs.get(b) {
                if b == theirs.len() || (a < ours.len() && lengths[a + 1][b] >= lengths[a][b + 1]) {
                    let _ = writeln!(left, "{}", ours[a]);
                    a += 1;
                } else {
                    let _ = writeln!(right, "{}", theirs[b]);
                    b += 1;
                }
            }
            if !left.is_empty() || !right.is_empty() {
                let _ = write!(out, "<<<<<<< HEAD\n{left}{base}=======\n{right}>>>>>>> a branch\n");
            }
            if let (Some(line), true) = (ours.get(a), b < theirs.len()) {
                let _ = writeln!(out, "{line}");
                (a, b) = (a + 1, b + 1);
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(lock in a_lock()) {
            let text = lock.to_text();
            prop_assert_eq!(Found::parse(&text), Ok(Found::Lock(lock.clone())));
            prop_assert_eq!(Lockfile::parse(&text.replace('\n', "\r\n")).map(|lock| lock.to_text()), Ok(text.clone()));
            // The order of the tables is the writer's alone.
            let mut tables: Vec<&str> = text.split("\n\n").collect();
            tables[1..].reverse();
            prop_assert_eq!(Lockfile::parse(&(tables.join("\n\n") + "\n")), Ok(lock));
        }

        #[test]
        fn both_sides_of_a_conflict_are_read(ours in a_lock(), theirs in a_lock(), has_base in any::<bool>()) {
            let text = conflict(&ours.to_text(), &theirs.to_text(), has_base);
            if ours == theirs {
                prop_assert_eq!(Found::parse(&text), Ok(Found::Lock(ours)));
            } else {
                prop_assert_eq!(Found::parse(&text), Ok(Found::Conflict(Box::new([ours.clone(), theirs.clone()]))));
                let merged = merge(&ours, &theirs);
                if let Ok(merged) = merged {
                    let pins = |lock: &Lockfile| lock.packages.keys().cloned().collect::<BTreeSet<_>>();
                    prop_assert_eq!(pins(&merged.lock), pins(&ours).union(&pins(&theirs)).cloned().collect());
                }
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(cut in 0..FULL.len(), junk in "[<>=|{}\\[\\]\"\n a-z@:.]{0,12}") {
            let text = format!("{}{junk}{}", &FULL[..cut], &FULL[cut..]);
            let _ = Found::parse(&text);
        }
    }
}
