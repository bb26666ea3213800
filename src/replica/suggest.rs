//! Names and versions to suggest to somebody who is typing: of what is on this machine, quickly, and silent about all that is wrong with it.
//! Nothing is verified, and nothing may rest on it.

use super::chains;
use super::snapshot::Few;
use crate::git::layout;
use crate::git::store::Store;
use crate::model::digest::GitId;
use crate::model::entry::{Entry, PackageEntry};
use crate::model::map::{Lookup, Map};
use crate::model::name::{Label, PackageName, Version};
use crate::model::object::ReadObjects;
use crate::model::record::Record;
use crate::model::slot::Slot;
use crate::trust::memory::Glance;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// So many trees of a map are read at most: a namespace of some ten thousand names has no more.
const TREES_MAX: u32 = 400;
/// So many records of a log are read at most, the newest ones.
const RECORDS_MAX: usize = 200;

/// What is here of a registry.
pub struct Here {
    seen: Glance,
    store: Option<Store>,
    newest: Option<Record>,
}

/// Names that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The names, sorted.
    pub names: BTreeSet<String>,
    /// Whether these are all that there are.
    pub whole: bool,
}

/// A version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The version.
    pub version: Version,
    /// Whether it is yanked.
    pub yanked: bool,
}

impl Here {
    /// Looks at what was seen of a registry, and at a repository with objects of it: the registry's own, or what is kept of it.
    pub fn look(seen: Glance, repository: &Path, is_own: bool) -> Self {
        // Without the lock that readers share: whoever types is not to wait.
        let store = Store::open(repository).ok();
        let newest = store.as_ref().and_then(|store| {
            let own = if is_own { store.reference(&layout::registry_log()).ok().flatten() } else { None };
            chains::record(&store.reader(), own.or(seen.checkpoint)?).ok()
        });
        Here { seen, store, newest }
    }

    /// Finds the namespaces whose names begin so.
    pub fn namespaces(&self, begin: &str) -> Names {
        self.names(None, begin, self.seen.packages.keys().map(|package| package.namespace().as_str()))
    }

    /// Finds the packages of a namespace whose names begin so.
    pub fn packages(&self, namespace: &Label, begin: &str) -> Names {
        let seen = self.seen.packages.keys().filter(|package| package.namespace() == namespace);
        self.names(Some(namespace), begin, seen.map(|package| package.name().as_str()))
    }

    fn names<'s>(&self, within: Option<&Label>, begin: &str, seen: impl Iterator<Item = &'s str>) -> Names {
        let mut names: BTreeSet<String> = seen.filter(|name| name.starts_with(begin)).map(str::to_owned).collect();
        let (Some(store), Some(newest)) = (&self.store, &self.newest) else { return Names { names, whole: false } };
        let reader = store.reader();
        let mut visit = |name: &str| {
            if name.starts_with(begin) {
                names.insert(name.to_owned());
            }
        };
        let whole = map(newest).names_here(&Few::of(&reader, TREES_MAX), within, &mut visit).unwrap_or(false);
        Names { names, whole }
    }

    /// Finds the versions of a package, the newest release first.
    pub fn versions(&self, package: &PackageName) -> Vec<Released> {
        let Some(store) = &self.store else { return Vec::new() };
        let reader = store.reader();
        let published =
            self.newest.as_ref().and_then(|newest| match map(newest).lookup(&reader, &Slot::Package(package.clone())) {
                Ok(Lookup::Found(head)) => Some(head),
                _ => None,
            });
        // What was kept of a log may end before what the map names.
        let heads = [published, self.seen.packages.get(package).copied()];
        let logs = heads.into_iter().flatten().map(|head| versions(&reader, head));
        logs.max_by_key(Vec::len).unwrap_or_default()
    }
}

fn map(checkpoint: &Record) -> Map {
    Map::at(checkpoint.draft().tree)
}

fn versions(objects: &impl ReadObjects, head: GitId) -> Vec<Released> {
    let mut found = Vec::new();
    // What was said last of a version counts.
    let mut yanked: BTreeMap<Version, bool> = BTreeMap::new();
    let mut next = Some(head);
    for _ in 0..RECORDS_MAX {
        let Some(Ok(record)) = next.map(|id| chains::record(objects, id)) else { break };
        match record.entry() {
            Entry::Package(PackageEntry::Yank(version, _)) => drop(yanked.entry(version.clone()).or_insert(true)),
            Entry::Package(PackageEntry::Unyank(version, _)) => drop(yanked.entry(version.clone()).or_insert(false)),
            Entry::Package(PackageEntry::Release(release)) => {
                let yanked = yanked.get(&release.version).copied().unwrap_or(false);
                found.push(Released { version: release.version.clone(), yanked });
            }
            _ => {}
        }
        next = record.draft().parent.filter(|_| record.draft().link.is_some());
    }
    found
}
