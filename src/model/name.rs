//! Names: of registries, namespaces, packages, keys, versions, and references to them.
//!
//! 1. A label is `[a-z][a-z0-9]*(-[a-z0-9]+)*`, at most 64 bytes.
//! 2. A label is not a device name of Windows (`con prn aux nul com0`-`com9` `lpt0`-`lpt9`) and not one of quipu's
//!    own words ([`RESERVED`]).
//! 3. A package is `namespace:name`, two labels.
//! 4. A registry is a domain in lower case: two or more words of `[a-z0-9-]` joined by dots, each 1 to 63 bytes and without
//!    a hyphen at its ends, at most 253 bytes together. None of them is a device name, none is `lock` (git refuses
//!    references that end in `.lock`), and the last is not a number.
//! 5. A version is SemVer without build metadata, at most 128 bytes.
//! 6. A reference is `[registry/]namespace:name[@version][#sha256:…]`.
//!
//! The types do not convert into one another:
//!
//! ```compile_fail
//! use quipu::model::name::{Label, RegistryName};
//! fn serve(_: RegistryName) {}
//! serve("acme".parse::<Label>().unwrap());
//! ```

use super::digest::{ContentDigest, FileDigest, GitId, LogId, RecordDigest, RegistryId};
use super::error::{Error, Result, fault};
use std::fmt;
use std::str::FromStr;

/// Words that are no labels, so that patterns and policies can give them a meaning.
pub const RESERVED: &[&str] = &["all", "any", "none", "self", "this"];

/// The longest label in bytes.
pub const LABEL_MAX: usize = 64;
/// The longest domain in bytes.
pub const DOMAIN_MAX: usize = 253;
/// The longest version in bytes.
pub const VERSION_MAX: usize = 128;

/// One word of a name: a namespace, a package's own name, or the simple name of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Returns the label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check_label(text, false).map_err(|why| {
            fault!(BadName, "{text:?} is not a name: {why}")
                .hint("a name is lower-case letters and digits, begins with a letter, and has single hyphens within")
        })?;
        Ok(Label(text.into()))
    }
}

fn check_label(text: &str, in_domain: bool) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > LABEL_MAX {
        return Err("it is longer than 64 bytes");
    }
    if let Some(other) = text.bytes().find(|b| !b.is_ascii_lowercase() && !b.is_ascii_digit() && *b != b'-') {
        return Err(match other {
            b'A'..=b'Z' => "it has a capital letter",
            b'_' => "it has an underscore",
            b'.' => "it has a dot",
            b' ' => "it has a space",
            _ => "it has a character other than a-z, 0-9 and hyphen",
        });
    }
    if text.starts_with('-') || text.ends_with('-') || (!in_domain && text.contains("--")) {
        return Err("a hyphen stands only between two letters or digits");
    }
    if in_domain && text.len() > 63 {
        return Err("it is longer than 63 bytes");
    }
    if !in_domain && text.as_bytes()[0].is_ascii_digit() {
        return Err("it begins with a digit");
    }
    if is_device_name(text) {
        return Err("Windows keeps it for a device");
    }
    if !in_domain && RESERVED.contains(&text) {
        return Err("quipu keeps it for itself");
    }
    Ok(())
}

/// Says whether Windows reserves this lower-case word for a device.
pub(crate) fn is_device_name(word: &str) -> bool {
    matches!(word, "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" | "clock$")
        || word.strip_prefix("com").or_else(|| word.strip_prefix("lpt")).is_some_and(|rest| {
            let mut chars = rest.chars();
            matches!(chars.next(), Some('0'..='9' | '¹' | '²' | '³')) && chars.next().is_none()
        })
}

/// The name of a registry: a domain, which need not resolve.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryName(Box<str>);

impl RegistryName {
    /// Returns the domain's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            fault!(BadName, "{text:?} is not the name of a registry: {why}")
                .hint("a registry is named by a domain in lower case, like acme.example; it need not resolve")
        };
        if text.len() > DOMAIN_MAX {
            return Err(wrong("it is longer than 253 bytes"));
        }
        let labels: Vec<&str> = text.split('.').collect();
        if labels.len() < 2 {
            return Err(wrong("it has no dot"));
        }
        for label in &labels {
            check_label(label, true).map_err(|why| wrong(&format!("in {label:?} {why}")))?;
            if *label == "lock" {
                return Err(wrong("git allows no reference that ends in `.lock`"));
            }
        }
        if labels[labels.len() - 1].bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("it looks like a network address"));
        }
        Ok(RegistryName(text.into()))
    }
}

/// The name of a package within a registry: `namespace:name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName {
    namespace: Label,
    name: Label,
}

impl PackageName {
    /// Joins a namespace and a name.
    pub fn new(namespace: Label, name: Label) -> Self {
        PackageName { namespace, name }
    }

    /// Returns the part before the colon.
    pub fn namespace(&self) -> &Label {
        &self.namespace
    }

    /// Returns the part after the colon.
    pub fn name(&self) -> &Label {
        &self.name
    }
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((namespace, name)) = text.split_once(':') else {
            return Err(fault!(BadName, "{text:?} is not the name of a package: it has no colon")
                .hint("a package is named namespace:name, like wasi:http"));
        };
        Ok(PackageName { namespace: namespace.parse()?, name: name.parse()? })
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

/// Which packages of a registry are meant: all of a namespace, `wasi:*`, one, `wasi:http`, or all, `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// All packages.
    All,
    /// All of a namespace.
    Namespace(Label),
    /// One.
    Package(PackageName),
}

impl Pattern {
    /// Says whether a package is meant.
    pub fn matches(&self, package: &PackageName) -> bool {
        match self {
            Pattern::All => true,
            Pattern::Namespace(namespace) => package.namespace() == namespace,
            Pattern::Package(one) => one == package,
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_suffix(":*") {
            _ if text == "*" => Ok(Pattern::All),
            Some(namespace) => namespace.parse().map(Pattern::Namespace),
            None => text.parse().map(Pattern::Package).map_err(|error: Error| {
                error.hint("a whole namespace is meant by namespace:*, like 'wasi:*'; everything by '*'")
            }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::All => f.write_str("*"),
            Pattern::Namespace(namespace) => write!(f, "{namespace}:*"),
            Pattern::Package(package) => write!(f, "{package}"),
        }
    }
}

/// The name of a package together with the registry that it belongs to: `acme.example/wasi:http`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullName {
    /// The registry.
    pub registry: RegistryName,
    /// The package in it.
    pub package: PackageName,
}

impl FromStr for FullName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((registry, package)) = text.split_once('/') else {
            return Err(fault!(BadName, "{text:?} is not a full name: it has no slash")
                .hint("a full name is registry/namespace:name, like acme.example/wasi:http"));
        };
        Ok(FullName { registry: registry.parse()?, package: package.parse()? })
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.package)
    }
}

/// A version of a package: SemVer without build metadata.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// Says whether this is a pre-release.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Returns the version as the crate `semver` has it, which decides what a requirement matches.
    pub fn as_semver(&self) -> &semver::Version {
        &self.0
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let version = semver::Version::parse(text).map_err(|why| {
            fault!(BadVersion, "{text:?} is not a version: {why}").hint("a version has three numbers, like 1.4.0 or 2.0.0-rc.1")
        })?;
        if !version.build.is_empty() {
            return Err(fault!(
                BadVersion,
                "{text:?} is not a version: build metadata ({}) does not tell versions apart",
                version.build
            )
            .hint(format!("leave out `+{}` and put it in the field `build`", version.build)));
        }
        if text.len() > VERSION_MAX {
            return Err(fault!(BadVersion, "{text:?} is not a version: it is longer than {VERSION_MAX} bytes"));
        }
        Ok(Version(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What someone names on the command line: `[registry/]namespace:name[@version][#sha256:…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry; where it is missing, the default one is meant.
    pub registry: Option<RegistryName>,
    /// The package.
    pub package: PackageName,
    /// The version; where it is missing, the command chooses.
    pub version: Option<Version>,
    /// A record that the package's log must hold.
    pub anchor: Option<RecordDigest>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if looks_like_path(text) {
            return Err(fault!(BadReference, "{text:?} is a path, not the name of a package")
                .hint("a package is named namespace:name, like wasi:http or acme.example/wasi:http@0.2.1"));
        }
        if looks_like_url(text) {
            return Err(fault!(BadReference, "{text:?} is a URL, not the name of a package")
                .hint("trust the registry first: quipu trust add DOMAIN URL; then name its package: DOMAIN/namespace:name"));
        }
        let (rest, anchor) = match text.split_once('#') {
            Some((rest, anchor)) => (rest, Some(anchor.parse()?)),
            None => (text, None),
        };
        let (rest, version) = match rest.split_once('@') {
            Some((rest, version)) => (rest, Some(version.parse()?)),
            None => (rest, None),
        };
        let (registry, package) = match rest.split_once('/') {
            Some((registry, package)) => (Some(registry.parse()?), package),
            None => (None, rest),
        };
        Ok(Reference { registry, package: package.parse()?, version, anchor })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        write!(f, "{}", self.package)?;
        if let Some(version) = &self.version {
            write!(f, "@{version}")?;
        }
        if let Some(anchor) = &self.anchor {
            write!(f, "#{anchor}")?;
        }
        Ok(())
    }
}

/// Says whether an argument is a path on the command line: it begins with `/`, `./` or `../`.
pub fn looks_like_path(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == ".."
}

/// Says whether an argument is a URL on the command line: it has a scheme or a `user@` before a host.
pub fn looks_like_url(text: &str) -> bool {
    text.contains("://") || text.split_once('@').is_some_and(|(user, rest)| !user.contains([':', '/']) && rest.contains(':'))
}

macro_rules! text_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
text_name!(Label);
text_name!(RegistryName);

macro_rules! debug_as_display {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
debug_as_display!(PackageName FullName Pattern Version);

/// Takes types through serde as the text that people write, so that serde cannot build what parsing refuses.
macro_rules! serde_through_text {
    ($($name:path),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|why: $crate::model::error::Error| serde::de::Error::custom(why.message()))
            }
        }
    )*};
}
pub(crate) use serde_through_text;

serde_through_text!(
    Label,
    RegistryName,
    PackageName,
    FullName,
    Pattern,
    Version,
    RecordDigest,
    LogId,
    RegistryId,
    ContentDigest,
    FileDigest,
    GitId
);

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Result<Label> {
        text.parse()
    }

    #[test]
    fn a_pattern_means_one_package_a_namespace_or_all() -> Result<()> {
        for (text, matches) in [("*", [true; 3]), ("wasi:*", [true, true, false]), ("wasi:http", [true, false, false])] {
            let pattern: Pattern = text.parse()?;
            assert_eq!(pattern.to_string(), text);
            for (name, expected) in ["wasi:http", "wasi:http2", "demo:http"].iter().zip(matches) {
                assert_eq!(pattern.matches(&name.parse()?), expected, "{text} {name}");
            }
        }
        for bad in ["", "wasi", ":*", "*:http", "wasi:**", "Wasi:*", "wasi:h*", "*:*"] {
            assert_eq!(
                bad.parse::<Pattern>().map_err(|error| error.code()),
                Err(crate::model::error::ErrorCode::BadName),
                "{bad}"
            );
        }
        Ok(())
    }

    #[test]
    fn labels_follow_the_grammar() {
        for good in ["a", "http", "wasi-http", "x86-64", "a1-2b", &"a".repeat(64)] {
            assert!(label(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a_b",
            "a.b",
            "1a",
            "é",
            "a b",
            "con",
            "com1",
            "lpt0",
            "self",
            "a/b",
            "..",
            &"a".repeat(65),
        ] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn registries_are_domains() {
        for good in ["acme.example", "a.b.c", "1password.example", "xn--caf-dma.example"] {
            assert!(good.parse::<RegistryName>().is_ok(), "{good}");
        }
        for bad in ["acme", "acme.", ".acme", "a..b", "acme.lock", "lock.example", "Acme.example", "127.0.0.1", "a.con", "a/b.c"]
        {
            assert!(bad.parse::<RegistryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_have_no_build_metadata() {
        assert!("1.2.3-rc.1".parse::<Version>().is_ok());
        for bad in ["1.2", "v1.2.3", "1.2.3+spec", "01.2.3", "1.2.3-", ""] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn references_print_as_they_are_read() {
        let digest = RecordDigest::of_bytes(b"");
        for text in [
            "wasi:http".to_owned(),
            "acme.example/wasi:http".into(),
            "acme.example/wasi:http@0.2.1".into(),
            format!("wasi:http@0.2.1#{digest}"),
            format!("wasi:http#{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(text.clone()));
        }
        for bad in [
            "./wasi:http",
            "https://acme.example/wasi:http",
            "git@host:wasi",
            "wasi",
            "wasi:",
            "a/b/c:d",
            "wasi:http@",
            "wasi:http#x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
