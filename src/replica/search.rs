//! Searching a registry: in the names of its map, as far as they are here or may be fetched, and in those descriptions that are here.

use super::chains;
use super::snapshot::Snapshot;
use super::source::{NAME_BYTES, Source};
use crate::git::store::Reader;
use crate::model::digest::GitId;
use crate::model::entry::{Entry, PackageEntry};
use crate::model::error::{Result, fault};
use crate::model::map::{Lookup, SubMap};
use crate::model::name::{Label, PackageName};
use crate::model::search::{Best, Query};
use crate::model::slot::Slot;
use crate::trust::memory::Memory;
use std::collections::BTreeMap;

/// So many bytes of names are fetched without being told to: those of some 9,000 packages.
const NAMES_MAX: u64 = 256 * 1024;
/// So many descriptions are read in a repository on this machine without being told to: it takes about a second.
const DESCRIPTIONS_MAX: u64 = 100_000;
/// So many records are read of a log to find what its package is.
const RECORDS_MAX: u32 = 32;
/// So many trees of one level are asked for by themselves; more than these come with all that is below them.
const LEVEL_MAX: usize = 256;
/// The most bytes of names that are fetched at all.
const ALL_MAX: u64 = 1 << 30;

/// How to search.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// What for.
    pub query: &'a Query,
    /// How many answers are wanted.
    pub most: usize,
    /// Whether all that may answer is looked at, whatever it takes.
    pub all: bool,
    /// What was seen of the registry.
    pub memory: Option<&'a Memory>,
    /// Says whether a package may be an answer at all.
    pub covers: &'a dyn Fn(&PackageName) -> bool,
}

/// What a search found, and what it looked at.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The best answers.
    pub best: Best,
    /// How many names were looked at.
    pub names: u64,
    /// Whether these are all that may answer.
    pub complete: bool,
    /// How many descriptions were looked at.
    pub descriptions: u64,
    /// Whether there are descriptions here that were not.
    pub more_descriptions: bool,
    /// How many bytes were fetched.
    pub fetched: u64,
    /// How many bytes the names that are missing have at most, roughly.
    pub missing: u64,
}

/// Searches a registry.
///
/// # Errors
/// `bad-map`, `corrupt-object`; those of the transport.
pub fn search(snapshot: &Snapshot<'_>, search: Search<'_>) -> Result<Searched> {
    let Search { query, all, .. } = search;
    let (source, map) = (snapshot.source(), snapshot.map());
    let packages = snapshot.checkpoint().checkpoint().packages;
    let fetched_before = source.fetched();
    let fetched = || source.fetched().saturating_sub(fetched_before);
    let mut looking = Looking::new(snapshot, search);
    looking.look_at_known()?;
    let mut missing = Vec::new();
    let part = match query.namespace() {
        None => map.packages(&snapshot.reader())?,
        Some(namespace) => {
            let slot = Slot::Package(query.named().unwrap_or_else(|| PackageName::new(namespace.clone(), namespace.clone())));
            // The trees on the way to a namespace come first; what is below them may be much.
            if let Source::Remote(_) = source {
                source.lookup(map, packages, &slot)?;
            }
            match map.lookup(&snapshot.reader(), &slot)? {
                Lookup::Missing(_) => return Ok(looking.end(true, fetched())),
                _ => map.packages_of(&snapshot.reader(), namespace)?,
            }
        }
    };
    if let Some(part) = part {
        looking.look_at(&part, &mut missing)?;
    }
    if let (Source::Disk(store), Some(part)) = (source, missing.first()) {
        return Err(fault!(CorruptObject, "{}: the tree {} of the map is missing", store.path().display(), part.tree())
            .hint("say what else is wrong: quipu registry fsck"));
    }
    // Level by level: where only some is new, most of what is below it is here.
    while !missing.is_empty() {
        // How large a namespace is shows when it is fetched.
        let is_little = query.namespace().is_some() || looking.missing() <= NAMES_MAX;
        let room = if all { ALL_MAX } else { NAMES_MAX }.saturating_sub(fetched());
        let ids: Vec<GitId> = missing.iter().map(SubMap::tree).collect();
        if !(all || is_little) || room == 0 || !source.need_parts(&ids, ids.len() > LEVEL_MAX, room)? {
            return Ok(looking.end(true, fetched()));
        }
        for part in std::mem::take(&mut missing) {
            looking.look_at(&part, &mut missing)?;
        }
        if let Some(again) = missing.iter().find(|part| ids.contains(&part.tree())) {
            let tree = again.tree();
            return Err(fault!(RefMissing, "the registry was asked for the tree {tree} of its map, and did not hand it out"));
        }
    }
    Ok(looking.end(false, fetched()))
}

/// A search under way.
struct Looking<'a> {
    snapshot: &'a Snapshot<'a>,
    search: Search<'a>,
    packages: u64,
    /// Whether the log of every package is here.
    is_on_disk: bool,
    /// Packages of which something is known before their place in the map is seen.
    known: BTreeMap<&'a PackageName, bool>,
    found: Searched,
}

impl<'a> Looking<'a> {
    fn new(snapshot: &'a Snapshot<'a>, search: Search<'a>) -> Self {
        let found = Searched {
            best: Best::of(search.most),
            names: 0,
            complete: true,
            descriptions: 0,
            more_descriptions: false,
            fetched: 0,
            missing: 0,
        };
        let packages = snapshot.checkpoint().checkpoint().packages;
        let is_on_disk = matches!(snapshot.source(), Source::Disk(_));
        Looking { snapshot, search, packages, is_on_disk, known: BTreeMap::new(), found }
    }

    /// Looks at packages that were looked at before, whose logs are kept here: elsewhere these are all the logs there are.
    fn look_at_known(&mut self) -> Result<()> {
        let Search { query, memory, covers, .. } = self.search;
        let Some(memory) = memory.filter(|_| !self.is_on_disk) else { return Ok(()) };
        let reader = self.snapshot.reader();
        for (package, seen) in &memory.packages {
            if query.namespace().is_some_and(|namespace| namespace != package.namespace()) {
                continue;
            }
            let text = if query.is_of_descriptions() { description(&reader, seen.commit) } else { None };
            self.found.descriptions += u64::from(text.is_some());
            self.found.names += 1;
            let rank = query.rank(package.namespace().as_str(), package.name().as_str(), text.as_deref());
            if let Some(rank) = rank.filter(|_| covers(package)) {
                self.found.best.offer(rank, || package.clone());
            }
            self.known.insert(package, false);
        }
        Ok(())
    }

    /// Looks at a part of the map, as far as it is here.
    fn look_at(&mut self, part: &SubMap, missing: &mut Vec<SubMap>) -> Result<()> {
        let reader = self.snapshot.reader();
        part.packages_here(&reader, missing, &mut |namespace, name, head| self.visit(&reader, namespace, name, head))
    }

    fn visit(&mut self, reader: &Reader, namespace: &Label, name: &str, head: GitId) -> Result<()> {
        let Search { query, all, covers, .. } = self.search;
        let of = || name.parse().map(|name| PackageName::new(namespace.clone(), name));
        // A package stands in one place; a map in which it stands in more may have no end.
        if !self.known.is_empty()
            && let Some(was_there) = self.known.get_mut(&of()?)
            && !std::mem::replace(was_there, true)
        {
            return Ok(());
        }
        let found = &mut self.found;
        if found.names == self.packages {
            return Err(fault!(BadMap, "the map holds more than the {} packages that its checkpoint counts", self.packages));
        }
        found.names += 1;
        let mut rank = query.rank(namespace.as_str(), name, None);
        if rank.is_none() && self.is_on_disk && query.is_of_descriptions() {
            let is_little = self.packages <= DESCRIPTIONS_MAX || query.namespace().is_some();
            if all || (is_little && found.descriptions < DESCRIPTIONS_MAX) {
                found.descriptions += 1;
                rank = description(reader, head).and_then(|text| query.rank(namespace.as_str(), name, Some(&text)));
            } else {
                found.more_descriptions = true;
            }
        }
        if let Some(rank) = rank {
            let package = of()?;
            if covers(&package) {
                found.best.offer(rank, || package);
            }
        }
        Ok(())
    }

    /// Returns how many bytes the names that were not seen have at most, roughly.
    fn missing(&self) -> u64 {
        self.packages.saturating_sub(self.found.names).saturating_mul(NAME_BYTES)
    }

    fn end(mut self, is_part: bool, fetched: u64) -> Searched {
        self.found.missing = if is_part { self.missing() } else { 0 };
        Searched { complete: !is_part, fetched, ..self.found }
    }
}

/// Reads what a package is, as its newest release says, without verifying its log: that is for whoever shows it.
fn description(reader: &Reader, head: GitId) -> Option<String> {
    let mut next = Some(head);
    for _ in 0..RECORDS_MAX {
        let record = chains::record(reader, next?).ok()?;
        if let Entry::Package(PackageEntry::Release(release)) = record.entry() {
            return release.description.clone();
        }
        next = record.draft().link.and(record.draft().parent);
    }
    None
}
