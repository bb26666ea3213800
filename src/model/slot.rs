//! Slots: the places in the map of a registry, each named by its path.

use super::error::{Error, Result, fault};
use super::name::{Label, PackageName, RegistryName};
use super::tree::Mode;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

pub(super) const DECISIONS: &str = ".decisions";
pub(super) const HELD: &str = "held";
pub(super) const LOG: &str = "log";
pub(super) const SKIP: &str = "skip";
pub(super) const PACKAGES: &str = "packages";
pub(super) const ATTESTATIONS: &str = "attestations";
pub(super) const MIRRORS: &str = "mirrors";

/// A place in a map that an id can stand in.
///
/// It prints as its path without the folders `_0` to `_f`, and sorts by the bytes of that path.
///
/// ```
/// # use quipu::model::slot::Slot;
/// let slot: Slot = "packages/wasi/http.decisions".parse()?;
/// assert_eq!(slot, Slot::Decisions("wasi:http".parse()?));
/// # Ok::<(), quipu::model::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The head of a package log.
    Package(PackageName),
    /// The head of the decision log beside a package log.
    Decisions(PackageName),
    /// The head of an attestation log about a package of the named registry.
    Attestation(RegistryName, PackageName),
    /// The head of the registry log of a mirrored registry.
    MirrorLog(RegistryName),
    /// The blob that says what is kept of a mirrored registry.
    MirrorHeld(RegistryName),
    /// The checkpoint that the skip link names.
    Skip,
}

impl Slot {
    /// Returns the mode of the entry: a gitlink, but for [`Slot::MirrorHeld`] a file.
    pub fn mode(&self) -> Mode {
        match self {
            Slot::MirrorHeld(_) => Mode::File,
            _ => Mode::Gitlink,
        }
    }

    /// Returns the first word of the path.
    fn top(&self) -> &'static str {
        match self {
            Slot::Package(_) | Slot::Decisions(_) => PACKAGES,
            Slot::Attestation(..) => ATTESTATIONS,
            Slot::MirrorLog(_) | Slot::MirrorHeld(_) => MIRRORS,
            Slot::Skip => SKIP,
        }
    }

    /// Returns the second word of the path, a namespace or a domain; the skip link has none.
    pub(super) fn folder(&self) -> &str {
        self.words()[0].0
    }

    /// Returns the last word of the path.
    pub(super) fn entry(&self) -> String {
        match self {
            Slot::Package(package) => package.name().as_str().to_owned(),
            Slot::Decisions(package) => format!("{}{DECISIONS}", package.name()),
            Slot::Attestation(_, package) => format!("{}.{}", package.namespace(), package.name()),
            Slot::MirrorLog(_) => LOG.to_owned(),
            Slot::MirrorHeld(_) => HELD.to_owned(),
            Slot::Skip => SKIP.to_owned(),
        }
    }

    /// Returns the words of the path below the top, without `.decisions`, each with the byte that follows it (0: the end).
    fn words(&self) -> [(&str, u8); 3] {
        const END: (&str, u8) = ("", 0);
        match self {
            Slot::Package(package) => [(package.namespace().as_str(), b'/'), (package.name().as_str(), 0), END],
            Slot::Decisions(package) => [(package.namespace().as_str(), b'/'), (package.name().as_str(), b'.'), END],
            Slot::Attestation(domain, package) => {
                [(domain.as_str(), b'/'), (package.namespace().as_str(), b'.'), (package.name().as_str(), 0)]
            }
            Slot::MirrorLog(domain) => [(domain.as_str(), b'/'), (LOG, 0), END],
            Slot::MirrorHeld(domain) => [(domain.as_str(), b'/'), (HELD, 0), END],
            Slot::Skip => [END; 3],
        }
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.top().cmp(other.top()).then_with(|| {
            let mut pairs = self.words().into_iter().zip(other.words());
            let differs = pairs.find_map(|(one, next)| Some(compare_words(one, next)).filter(|order| order.is_ne()));
            differs.unwrap_or(Ordering::Equal)
        })
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares words as part of a path. No word holds a byte that can follow it.
fn compare_words((one, after_one): (&str, u8), (other, after_other): (&str, u8)) -> Ordering {
    let common = one.len().min(other.len());
    let next = |word: &str, after| word.as_bytes().get(common).copied().unwrap_or(after);
    one.as_bytes()[..common].cmp(&other.as_bytes()[..common]).then_with(|| next(one, after_one).cmp(&next(other, after_other)))
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Skip => f.write_str(SKIP),
            _ => write!(f, "{}/{}/{}", self.top(), self.folder(), self.entry()),
        }
    }
}

impl FromStr for Slot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || fault!(BadReference, "{text:?} is not a place in a map");
        if text == SKIP {
            return Ok(Slot::Skip);
        }
        let mut words = text.split('/');
        let (Some(top), Some(folder), Some(entry), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(wrong());
        };
        match (top, entry) {
            (PACKAGES, _) => package_slot(&folder.parse()?, entry),
            (ATTESTATIONS, _) => attestation_slot(&folder.parse()?, entry),
            (MIRRORS, LOG) => Ok(Slot::MirrorLog(folder.parse()?)),
            (MIRRORS, HELD) => Ok(Slot::MirrorHeld(folder.parse()?)),
            _ => Err(wrong()),
        }
    }
}

pub(super) fn package_slot(namespace: &Label, entry: &str) -> Result<Slot> {
    let (name, decisions) = match entry.strip_suffix(DECISIONS) {
        Some(name) => (name, true),
        None => (entry, false),
    };
    let package = PackageName::new(namespace.clone(), name.parse()?);
    Ok(if decisions { Slot::Decisions(package) } else { Slot::Package(package) })
}

pub(super) fn attestation_slot(domain: &RegistryName, entry: &str) -> Result<Slot> {
    let (namespace, name) =
        entry.split_once('.').ok_or_else(|| fault!(BadReference, "{entry:?} is not a namespace and a name joined by a dot"))?;
    let package = PackageName::new(namespace.parse()?, name.parse()?);
    Ok(Slot::Attestation(domain.clone(), package))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_print_as_they_are_read() {
        for text in [
            "packages/wasi/http",
            "packages/wasi/http.decisions",
            "attestations/acme.example/wasi.http",
            "attestations/acme.decisions/wasi.decisions",
            "mirrors/acme.example/log",
            "mirrors/acme.example/held",
            "skip",
        ] {
            assert_eq!(text.parse::<Slot>().map(|slot| slot.to_string()), Ok(text.to_owned()));
        }
        for bad in [
            "",
            "packages",
            "packages/wasi",
            "packages/wasi/http.x",
            "packages/wasi/.decisions",
            "packages/wasi/_0/http",
            "packages/Wasi/http",
            "attestations/acme.example/wasi",
            "attestations/acme/wasi.http",
            "mirrors/acme.example/other",
            "skip/x",
            "other/wasi/http",
        ] {
            assert!(bad.parse::<Slot>().is_err(), "{bad}");
        }
    }

    /// Labels that begin alike, so that what follows them decides.
    fn any_slot() -> impl Strategy<Value = Slot> {
        let label = || prop::sample::select(vec!["a", "a-b", "a-decisions", "a0", "aa", "ab", "decisions", "held", "log"]);
        let package = move || (label(), label()).prop_map(|(namespace, name)| format!("{namespace}:{name}").parse().unwrap());
        let domain = || {
            let domains = vec!["a.b", "a.b.c", "a-b.c", "a0.b", "a.decisions", "aa.b"];
            prop::sample::select(domains).prop_map(|domain| domain.parse().unwrap())
        };
        prop_oneof![
            package().prop_map(Slot::Package),
            package().prop_map(Slot::Decisions),
            (domain(), package()).prop_map(|(domain, package)| Slot::Attestation(domain, package)),
            domain().prop_map(Slot::MirrorLog),
            domain().prop_map(Slot::MirrorHeld),
            Just(Slot::Skip),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn slots_sort_by_the_bytes_of_their_paths(mut slots in prop::collection::vec(any_slot(), 0..200)) {
            let mut paths: Vec<String> = slots.iter().map(Slot::to_string).collect();
            paths.sort();
            slots.sort();
            prop_assert_eq!(slots.iter().map(Slot::to_string).collect::<Vec<_>>(), paths);
        }
    }
}
