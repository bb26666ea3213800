//! Where a registry is read from: a repository on this machine, or another one through a quarantine.

use super::place::{Dialed, Place};
use super::snapshot::{Reading, Troubles};
use crate::git::cache::Cache;
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::staging::Staging;
use crate::git::store::{Reader, Store};
use crate::git::transport::{FetchOptions, Filter, Negotiate, Url, Want};
use crate::model::commit;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::entry::Entry;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::{HELD_MAX, Held};
use crate::model::map::{Lookup, Map, Size};
use crate::model::name::{PackageName, RegistryName};
use crate::model::object::{ReadObjects as _, STRUCTURE_MAX, WriteObjects as _};
use crate::model::proofs;
use crate::model::record::{RECORD_MAX, Record};
use crate::model::slot::Slot;
use crate::model::tree::{Mode, Tree};
use crate::replica::chains;
use crate::trust::memory::Memory;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many levels of the map come with a checkpoint: its root and the folder of namespaces, which may have 128 names. One more could have
/// all of those namespaces with 128 packages each.
const UPPER_TREES: u32 = 2;
/// Trees of a part of the map come all at once where they have no more bytes than these.
const AT_ONCE_MAX: u64 = 14 * 1024;
/// What a part of a map may have in bytes that is fetched as a whole, with the log that may come along with it.
const PART_MAX: u64 = 24 * 1024;
/// What a name in the map takes in a fetch, in bytes: mostly its id, which nothing makes smaller.
pub(crate) const NAME_BYTES: u64 = 28;
/// Deeper than any map.
const ALL_TREES: u32 = 200;
/// The most that the trees of a part of a map take in a fetch, in bytes.
const PROOFS_MAX: u64 = 256 * 1024 * 1024;
/// The most that a step of a mirror takes in one fetch, in bytes.
const MIRROR_MAX: u64 = 1 << 40;
/// So many objects a mirror asks for at once.
const IDS_AT_ONCE: usize = 500_000;
/// The names of a part of a namespace whose sixteen folders hold names, and too many of them to come along. Where they are more, those folders
/// are split themselves and small.
const WIDE: std::ops::Range<u64> = 430..2300;
/// A file in the cache: it holds whole maps, since the server knows no filters.
const WHOLE_MAPS: &str = "whole-maps";

/// A registry's repository, as far as it is here.
pub(crate) enum Source {
    /// It is on this machine, and is read as it is.
    Disk(Store),
    /// Only what was verified and kept before is here, and nothing else is asked for.
    Kept(Cache),
    /// What was fetched of it stays apart from what was verified before.
    Remote(Box<Remote>),
}

/// A registry on other machines.
pub(crate) struct Remote {
    /// Where it is read. What the first one cannot hand out is asked of the others: it is known by its id.
    places: Vec<Place>,
    quarantine: Quarantine,
    cache: Option<Cache>,
    troubles: Arc<Troubles>,
    /// Whether a server knows no filters, so that whole maps are here.
    whole_maps: AtomicBool,
    /// Whether that was known before.
    was_whole: bool,
    /// Whether a part of the map turned out to be larger than the checkpoint's number of packages allows.
    is_larger: AtomicBool,
    /// The proofs by which a part of the registry is read.
    proofs: Option<Proofs>,
}

/// The proofs of a part of a registry.
struct Proofs {
    tree: GitId,
    /// What the mirror says that it holds.
    held: Held,
}

/// The heads that a source has.
pub(crate) struct Heads {
    pub(crate) log: GitId,
    pub(crate) operators: GitId,
    /// The package that was asked about: what its reference names.
    pub(crate) package: Option<GitId>,
}

impl Heads {
    fn all(&self) -> impl Iterator<Item = GitId> {
        [self.log, self.operators].into_iter().chain(self.package)
    }
}

fn here(name: &str) -> Result<RefName> {
    format!("refs/quipu/{name}").parse()
}

impl Source {
    /// Opens a registry at its own place and finds its heads, and that of the package that is asked for.
    pub(crate) fn open(reading: &Reading<'_>) -> Result<(Self, Heads)> {
        let Reading { url, memory, package, .. } = *reading;
        if let Some(path) = url.is_local().filter(|_| reading.beside.is_none()) {
            let store = Store::open(path)?;
            let own = match reading.called() {
                Some(domain) if store.reference(&layout::mirrored(domain, &layout::registry_log())?)?.is_some() => {
                    Some(store.mirrored(domain)?)
                }
                // Of a part there are proofs only, and objects are made of them as if it were elsewhere.
                Some(domain) if store.reference(&layout::proofs(domain))?.is_some() => None,
                _ => Some(store),
            };
            if let Some(own) = own {
                return Source::Disk(own).again(reading);
            }
        }
        if reading.offline {
            return match (kept(reading), memory) {
                (Some(cache), Some(memory)) => {
                    let package = package.and_then(|package| memory.packages.get(package)).map(|seen| seen.commit);
                    let heads = Heads { log: memory.checkpoint.commit, operators: memory.operators.commit, package };
                    Ok((Source::Kept(cache), heads))
                }
                _ => {
                    Err(fault!(Network, "nothing of {url} is kept on this machine").hint("once without --offline brings it here"))
                }
            };
        }
        Source::over(reading, Place::dial(url, reading.manners(), &reading.names())?)
    }

    /// Opens a registry at a place that was asked for its heads.
    pub(crate) fn over(reading: &Reading<'_>, dialed: Dialed) -> Result<(Self, Heads)> {
        let Dialed { place, found, format } = dialed;
        let cache = kept(reading);
        let format = cache
            .as_ref()
            .map(|cache| cache.store().format())
            .or(reading.memory.map(|memory| memory.checkpoint.commit.format()))
            .or(format);
        let mut remote = Remote::new(reading, format.unwrap_or(ObjectFormat::Sha1), cache, place)?;
        let heads = match remote.find(reading, found) {
            // Nothing says beforehand which format a registry has.
            Err(error) if format.is_none() && error.message().contains("mismatched algorithms") => {
                remote.quarantine = Quarantine::new(ObjectFormat::Sha256, &[])?;
                remote.find(reading, None)?
            }
            found => found?,
        };
        Ok((Source::Remote(Box::new(remote)), heads))
    }

    /// Takes other places, of which what this one cannot hand out is asked.
    pub(crate) fn stand_in(&mut self, places: impl IntoIterator<Item = Place>) {
        if let Source::Remote(remote) = self {
            remote.places.extend(places);
        }
    }

    /// Gives back the places where it was read.
    pub(crate) fn into_places(self) -> Vec<Place> {
        match self {
            Source::Remote(remote) => remote.places,
            Source::Disk(_) | Source::Kept(_) => Vec::new(),
        }
    }

    /// Finds the heads as they are now, without opening again what is on this machine.
    pub(crate) fn again(self, reading: &Reading<'_>) -> Result<(Self, Heads)> {
        let Source::Disk(store) = &self else { return Source::open(reading) };
        let (log, operators) = super::standing::heads(store)?;
        let package = reading.package.map(|package| store.reference(&layout::package(package))).transpose()?.flatten();
        Ok((self, Heads { log, operators, package }))
    }

    pub(crate) fn store(&self) -> &Store {
        match self {
            Source::Disk(store) => store,
            Source::Kept(cache) => cache.store(),
            Source::Remote(remote) => remote.quarantine.store(),
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.store().reader()
    }

    /// Asks again what a reference names.
    pub(crate) fn reference(&self, name: &RefName) -> Result<Option<GitId>> {
        match self {
            Source::Disk(store) => store.reference(name),
            Source::Kept(_) => Ok(None),
            Source::Remote(remote) => remote.at_any(|place| {
                if let Some(found) = place.references(std::slice::from_ref(name))? {
                    return Ok(found[0]);
                }
                let again = here("again")?;
                let wants = [Want::reference(place.name(name)?).to(again.clone())];
                // What it names is not asked for along with it.
                let options = FetchOptions { depth: Some(1), filter: Some(Filter::Trees(0)), ..FetchOptions::default() };
                match remote.apart(place, &wants, &[], options) {
                    Ok(scratch) => scratch.store().reference(&again),
                    Err(error) if error.code() == ErrorCode::RefMissing => Ok(None),
                    Err(error) => Err(error),
                }
            }),
        }
    }

    /// Brings objects here by their ids, with all that they stand on.
    pub(crate) fn need(&self, ids: &[GitId]) -> Result<()> {
        match self {
            Source::Disk(_) => Err(fault!(RefMissing, "the repository does not have the object {}", ids[0])),
            Source::Kept(_) => Err(fault!(Network, "the object {} is not kept on this machine", ids[0])
                .hint("once without --offline brings it here")),
            Source::Remote(remote) => {
                let wants: Vec<Want> = ids.iter().copied().map(Want::id).collect();
                remote.bring(&wants, &[], &FetchOptions::default())
            }
        }
    }

    /// Brings a reference's commit here, with its tree.
    pub(crate) fn need_reference(&self, name: &RefName) -> Result<Option<GitId>> {
        let found = match self {
            Source::Disk(store) => store.reference(name),
            Source::Kept(_) => Ok(None),
            Source::Remote(remote) => remote.at_any(|place| {
                if let Some(found) = place.references(std::slice::from_ref(name))? {
                    let options = FetchOptions::default();
                    let id = found[0].ok_or_else(|| fault!(RefMissing, "{} has no {name}", place.url()))?;
                    return remote.bring_from(place, &[Want::id(id)], &[], options).map(|()| Some(id));
                }
                let to = here("named")?;
                let wants = [Want::reference(place.name(name)?).to(to.clone())];
                let scratch = remote.apart(place, &wants, &[], FetchOptions::default())?;
                scratch.keep(remote.quarantine.store())?;
                scratch.store().reference(&to)
            }),
        };
        match found {
            Err(error) if error.code() == ErrorCode::RefMissing => Ok(None),
            found => found,
        }
    }

    /// Looks up what stands in one place of the map, which has so many packages. Trees that are missing are asked for by their ids, and
    /// only those on the way there, with what is cheap beside them.
    pub(crate) fn lookup(&self, map: Map, packages: u64, slot: &Slot) -> Result<Option<GitId>> {
        let mut asked = None;
        loop {
            let mut size = Size::of(packages);
            match map.lookup_sized(&self.reader(), slot, &mut size)? {
                Lookup::Found(id) => return Ok(Some(id)),
                Lookup::Absent => return Ok(None),
                Lookup::Missing(tree) if asked.replace(tree) == Some(tree) => {
                    return Err(fault!(
                        RefMissing,
                        "the registry was asked for the tree {tree} of its map, and did not hand it out"
                    ));
                }
                Lookup::Missing(tree) => match self {
                    Source::Remote(remote) => remote
                        .bring(&[Want::id(tree)], &[], &trees(depth_for(size, self.has_connection())))
                        .map_err(|error| match slot {
                            Slot::Package(package) | Slot::Decisions(package) => self.not_held(error, package),
                            _ => self.not_held(error, slot),
                        })?,
                    _ => self.need(&[tree])?,
                },
            }
        }
    }

    /// Brings the parts of a map here on which these places lie, level by level, so that each of them can be looked up without another fetch.
    pub(crate) fn need_slots(&self, map: Map, packages: u64, slots: &[Slot]) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        let mut asked = BTreeSet::new();
        loop {
            let reader = self.reader();
            let mut missing: BTreeMap<u32, BTreeSet<GitId>> = BTreeMap::new();
            let mut first = None;
            for slot in slots {
                let mut size = Size::of(packages);
                if let Lookup::Missing(tree) = map.lookup_sized(&reader, slot, &mut size)?
                    && !asked.contains(&tree)
                {
                    missing.entry(depth_for(size, self.has_connection())).or_default().insert(tree);
                    first = first.or(Some(slot));
                }
            }
            // What was asked for and did not come is for who looks it up to say.
            if missing.is_empty() {
                return Ok(());
            }
            for (depth, ids) in missing {
                let wants: Vec<Want> = ids.iter().copied().map(Want::id).collect();
                remote.bring_parts(&wants, &[], depth).map_err(|error| match first {
                    Some(slot) => self.not_held(error, slot),
                    None => error,
                })?;
                asked.extend(ids);
            }
        }
    }

    /// Brings logs here by their heads, all of them at once, as far as they are not here; `seen` are heads that were seen of them before.
    pub(crate) fn need_logs(&self, heads: &[GitId], seen: &[GitId]) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        let reader = self.reader();
        let mut missing = Vec::new();
        for head in heads {
            missing.extend(gap(&reader, *head)?.map(Want::id));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let whole: Vec<GitId> = seen.iter().copied().filter(|id| matches!(gap(&reader, *id), Ok(None))).collect();
        remote.bring(&missing, &whole, &FetchOptions::default())
    }

    /// Brings trees here with all that is in them, all of them at once, as far as they are not here.
    pub(crate) fn need_trees(&self, ids: &[GitId]) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        let wants: Vec<Want> = ids.iter().copied().map(Want::id).collect();
        if wants.is_empty() { Ok(()) } else { remote.bring(&wants, &[], &FetchOptions::default()) }
    }

    /// Brings the folders of all packages here, where they are few.
    pub(crate) fn need_small_map(&self, map: Map, packages: u64) -> Result<()> {
        match self {
            Source::Remote(remote) if packages.saturating_mul(NAME_BYTES) <= AT_ONCE_MAX => {
                remote.bring_parts(&[Want::id(map.root())], &[], ALL_TREES)
            }
            _ => Ok(()),
        }
    }

    /// Brings trees of the map here, with all that is in them or without, unless they have more than so many bytes; says whether they are
    /// here now.
    pub(crate) fn need_parts(&self, ids: &[GitId], whole: bool, max_bytes: u64) -> Result<bool> {
        let Source::Remote(remote) = self else { return Ok(false) };
        let wants: Vec<Want> = ids.iter().copied().map(Want::id).collect();
        let options = FetchOptions { max_bytes, ..trees(if whole { ALL_TREES } else { 0 }) };
        match remote.bring(&wants, &[], &options) {
            Err(error) if error.code() == ErrorCode::Limit => Ok(false),
            // A mirror of a part has no more.
            Err(error) if error.code() == ErrorCode::RefMissing && remote.proofs.is_some() => Ok(false),
            brought => brought.map(|()| true),
        }
    }

    /// Says how many bytes were fetched and not kept yet.
    pub(crate) fn fetched(&self) -> u64 {
        if let Source::Remote(remote) = self { remote.quarantine.size() } else { 0 }
    }

    /// Fetches objects by their ids into a place of their own, with all that they stand on but these commits.
    pub(crate) fn fetch_into(&self, into: &Quarantine, ids: &[GitId], until: &[GitId]) -> Result<()> {
        let Source::Remote(remote) = self else { return Err(fault!(Bug, "what is here is not fetched")) };
        let negotiate = Negotiate::Commits(until.to_vec());
        let options = FetchOptions { deep: true, negotiate, max_bytes: MIRROR_MAX, ..FetchOptions::default() };
        for some in ids.chunks(IDS_AT_ONCE) {
            remote.at_any(|place| {
                if place.fetch_ids(into, some, &options)?.is_none() {
                    let wants: Vec<Want> = some.iter().copied().map(Want::id).collect();
                    place.fetch(into, &wants, options.clone())?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Brings so many checkpoints here, from one downwards, without their maps; all where no number is given.
    pub(crate) fn need_records(&self, newest: GitId, count: Option<u32>) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        remote.bring(&[Want::id(newest)], &[], &FetchOptions { depth: count, deep: true, ..trees(0) })
    }

    /// Returns a checkpoint by its number, where the registry is read by proofs.
    pub(crate) fn proof_of(&self, seq: u64) -> Result<Option<Record>> {
        if let Source::Remote(remote) = self { remote.proof_of(seq) } else { Ok(None) }
    }

    /// Says that a mirror of a part does not have what it does not hold.
    pub(crate) fn not_held(&self, error: Error, what: impl std::fmt::Display) -> Error {
        match self {
            Source::Remote(remote) if error.code() == ErrorCode::RefMissing => match &remote.proofs {
                Some(Proofs { held, .. }) => {
                    let patterns: Vec<String> = held.patterns.iter().take(8).map(ToString::to_string).collect();
                    let at = remote.places.first().map(|place| place.url().to_string()).unwrap_or_default();
                    fault!(
                        RefMissing,
                        "{at} mirrors a part of {} only: {}; {what} is not in it",
                        held.registry,
                        patterns.join(", ")
                    )
                    .hint("name another place where the registry is: quipu trust add DOMAIN URL --mirror URL")
                }
                None => error,
            },
            _ => error,
        }
    }

    /// Says whether a mirror of a part claims to hold a package; whatever is no such mirror has all of them.
    pub(crate) fn claims(&self, package: &PackageName) -> bool {
        match self {
            Source::Remote(remote) => remote.proofs.as_ref().is_none_or(|proofs| proofs.held.covers(package)),
            _ => true,
        }
    }

    /// Returns the name under which the registry stands in another one's repository, where it is read there.
    pub(crate) fn under(&self) -> Option<&RegistryName> {
        match self {
            Source::Disk(store) => store.mirrors(),
            Source::Kept(_) => None,
            Source::Remote(remote) => remote.places.first().and_then(Place::under),
        }
    }

    /// Returns what is held of the registry where it is read, where that is a part.
    pub(crate) fn held(&self) -> Option<&Held> {
        if let Source::Remote(remote) = self { remote.proofs.as_ref().map(|proofs| &proofs.held) } else { None }
    }

    /// Returns the objects that were fetched.
    pub(crate) fn quarantine(&self) -> Option<&Quarantine> {
        if let Source::Remote(remote) = self { Some(&remote.quarantine) } else { None }
    }

    /// Brings so many checkpoints here, from one downwards, each with the root of its map.
    pub(crate) fn need_checkpoints(&self, newest: GitId, count: u32) -> Result<()> {
        let Source::Remote(remote) = self else { return self.need(&[newest]) };
        let options = FetchOptions { depth: Some(count), filter: Some(Filter::Trees(1)), ..FetchOptions::default() };
        remote.bring(&[Want::id(newest)], &[], &options)
    }

    /// Says whether the server knows no filters and that was not known before.
    pub(crate) fn is_found_without_filters(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.is_whole() && !remote.was_whole)
    }

    /// Says whether the server knows no filters.
    pub(crate) fn is_without_filters(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.is_whole())
    }

    /// Says whether one connection is there for many questions.
    pub(crate) fn has_connection(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.has_connection())
    }

    /// Says whether a person may be asked for a password when more is fetched.
    pub(crate) fn may_ask(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.places.iter().any(Place::may_ask))
    }

    /// Says whether what is kept is read along with what was fetched, so that keeping it takes nothing out of reach.
    pub(crate) fn is_kept_beside(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.cache.is_some())
    }

    /// Keeps what was fetched, now that it is verified.
    pub(crate) fn keep(&self, cache: &Path) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        let made;
        let cache = match &remote.cache {
            Some(cache) => cache,
            None => {
                made = Cache::open_or_init(cache, remote.quarantine.store().format())?;
                &made
            }
        };
        remote.quarantine.keep(cache.store())?;
        if remote.is_whole() && !remote.was_whole {
            let path = cache.store().path().join(WHOLE_MAPS);
            std::fs::File::create(&path).map_err(|why| fault!(Io, "{}: {why}", path.display()))?;
        }
        // What cannot be merged is as good as before, and is tried again the next time.
        let _ = cache.tidy();
        remote.quarantine.store().refresh()
    }

    /// Brings the registry log's commits here, without their trees, as far as they go back.
    pub(crate) fn history(&self) -> Result<Quarantine> {
        let Source::Remote(remote) = self else { return Err(fault!(Bug, "a repository on disk has its history")) };
        let options = FetchOptions { filter: Some(Filter::Trees(0)), ..FetchOptions::default() };
        remote.at_any(|place| {
            let wants = [Want::reference(place.name(&layout::registry_log())?).to(here("log")?)];
            remote.apart(place, &wants, &[], options.clone())
        })
    }
}

/// Opens what was kept of a registry, where there is something.
fn kept(reading: &Reading<'_>) -> Option<Cache> {
    reading.cache.filter(|path| path.exists()).and_then(|path| Cache::open(path).ok())
}

/// Asks for trees and so many levels below them.
fn trees(depth: u32) -> FetchOptions {
    FetchOptions { filter: Some(Filter::Trees(depth)), ..FetchOptions::default() }
}

/// Says how deep a missing part of a map is fetched. Over one connection just the next tree comes; where each question takes a connection of
/// its own, so much that few of them come to its end and none of them brings much.
fn depth_for(size: Size, has_connection: bool) -> u32 {
    if has_connection {
        return 0;
    }
    if size.most.saturating_mul(NAME_BYTES) <= AT_ONCE_MAX {
        return ALL_TREES;
    }
    let is_narrow =
        if size.is_of_names { !WIDE.contains(&size.likely) } else { size.likely.saturating_mul(NAME_BYTES) <= AT_ONCE_MAX };
    u32::from(is_narrow)
}

/// Finds the first record below a head that is not here; of a fork, also those of its origin.
fn gap(reader: &Reader, head: GitId) -> Result<Option<GitId>> {
    let mut next = Some(head);
    while let Some(id) = next {
        match chains::record(reader, id) {
            Ok(record) => next = record.draft().parent,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(Some(id)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Remote {
    fn new(reading: &Reading<'_>, format: ObjectFormat, cache: Option<Cache>, place: Place) -> Result<Self> {
        let others = cache.iter().map(Cache::store).chain(reading.beside);
        let alternates: Vec<_> = others.map(Store::objects_path).collect();
        let was_whole = cache.as_ref().is_some_and(|cache| cache.store().path().join(WHOLE_MAPS).exists());
        Ok(Remote {
            places: vec![place],
            quarantine: Quarantine::new(format, &alternates)?,
            cache,
            troubles: reading.troubles.clone(),
            whole_maps: was_whole.into(),
            was_whole,
            is_larger: false.into(),
            proofs: None,
        })
    }

    /// The place that answers.
    fn first(&self) -> Result<&Place> {
        self.places.first().ok_or_else(|| fault!(Bug, "a registry has no place"))
    }

    /// Finds the heads, and brings here what all reading begins with.
    fn find(&mut self, reading: &Reading<'_>, found: Option<Vec<Option<GitId>>>) -> Result<Heads> {
        let Reading { memory, package, .. } = *reading;
        let seen = memory.map(|memory| memory.checkpoint.commit);
        let proven = self.open_proofs()?;
        let heads = match found {
            Some(found) => {
                let named = |at: usize| found.get(at).copied().flatten();
                let heads = Heads {
                    log: proven.or(named(0)).ok_or_else(|| self.no_registry(reading.url))?,
                    operators: named(1).ok_or_else(|| self.gone(reading.url, &layout::operators()))?,
                    package: named(2),
                };
                let reader = self.quarantine.store().reader();
                let absent: Vec<Want> = heads.all().filter(|id| !reader.contains(*id)).map(Want::id).collect();
                let seen = seen.filter(|id| self.was_whole && reader.contains(*id));
                match seen {
                    _ if absent.is_empty() => {}
                    // All of its map is here, so that only what is new comes.
                    Some(seen) => self.bring(&absent, &[seen], &FetchOptions::default())?,
                    None => self.bring(&absent, &[], &FetchOptions { depth: Some(1), ..trees(UPPER_TREES) })?,
                }
                heads
            }
            None => self.open_narrow(reading.url, package)?,
        };
        if !self.is_whole() && proven.is_none() {
            self.first()?.stand_on(heads.log);
        }
        self.complete(&heads, memory, package)?;
        Ok(heads)
    }

    /// Makes objects of the proofs of the part of the registry's map that the place holds, where it holds a part, and returns the newest
    /// checkpoint.
    fn open_proofs(&mut self) -> Result<Option<GitId>> {
        let Some(commit) = self.first()?.proofs() else { return Ok(None) };
        // The proofs change at each step of the mirror, and are read into a place of their own.
        let options = FetchOptions { depth: Some(1), filter: Some(Filter::Trees(2)), ..FetchOptions::default() };
        self.bring(&[Want::id(commit)], &[], &options)?;
        let reader = self.quarantine.store().reader();
        let tree = commit::parse_proofs(reader.format(), &reader.read(ObjectKind::Commit, commit, STRUCTURE_MAX)?)?;
        let folder = |name: &str| -> Result<GitId> {
            let found = Tree::read(&reader, tree)?.get(name).map(|entry| entry.id);
            found.ok_or_else(|| fault!(BadRepository, "the proofs {commit} have no {name}"))
        };
        let held = folder(proofs::HELD)?;
        self.bring(&[Want::id(held)], &[], &FetchOptions::default())?;
        let held = Held::parse(&self.quarantine.store().reader().read(ObjectKind::Blob, held, HELD_MAX)?)?;
        self.proofs = Some(Proofs { tree, held });
        let below = folder(proofs::TREES)?;
        self.bring(&[Want::id(below)], &[], &FetchOptions { max_bytes: PROOFS_MAX, ..FetchOptions::default() })?;
        let reader = self.quarantine.store().reader();
        let mut objects = Staging::new(self.quarantine.store());
        for first in Tree::read(&reader, below)?.entries() {
            for rest in Tree::read(&reader, first.id)?.entries() {
                let bytes = reader.read(ObjectKind::Blob, rest.id, STRUCTURE_MAX)?;
                let made = objects.write(ObjectKind::Tree, &bytes)?;
                if made.to_string() != format!("{}{}", first.name, rest.name) {
                    return Err(fault!(CorruptObject, "the proof of the tree {}{} is that of {made}", first.name, rest.name));
                }
            }
        }
        objects.finish()?;
        // The last of all is the newest.
        let mut at = (folder(proofs::LOG)?, Mode::Tree);
        while at.1 == Mode::Tree {
            self.bring(&[Want::id(at.0)], &[], &trees(0))?;
            let reader = self.quarantine.store().reader();
            let last = Tree::read(&reader, at.0)?.entries().last().map(|entry| (entry.id, entry.mode));
            at = last.ok_or_else(|| fault!(BadRepository, "the proofs {commit} have no checkpoint"))?;
        }
        self.bring(&[Want::id(at.0)], &[], &FetchOptions::default())?;
        self.make_checkpoint(at.0).map(|record| Some(record.git_id()))
    }

    /// Makes a checkpoint of a blob with its bytes.
    fn make_checkpoint(&self, blob: GitId) -> Result<Record> {
        let store = self.quarantine.store();
        let bytes = store.reader().read(ObjectKind::Blob, blob, RECORD_MAX)?;
        let mut objects = Staging::new(store);
        let id = objects.write(ObjectKind::Commit, &bytes)?;
        objects.finish()?;
        chains::record(&store.reader(), id)
    }

    /// Returns a checkpoint by its number, where the registry is read by proofs.
    fn proof_of(&self, seq: u64) -> Result<Option<Record>> {
        let Some(proofs) = &self.proofs else { return Ok(None) };
        let mut at = proofs.tree;
        for name in proofs::checkpoint(seq)?.split('/') {
            if !self.quarantine.store().contains(at) {
                self.bring(&[Want::id(at)], &[], &trees(0))?;
            }
            let found = Tree::read(&self.quarantine.store().reader(), at)?.get(name).map(|entry| entry.id);
            at = found.ok_or_else(|| fault!(RefMissing, "the mirror has no proof of checkpoint {seq}"))?;
        }
        if !self.quarantine.store().contains(at) {
            self.bring(&[Want::id(at)], &[], &FetchOptions::default())?;
        }
        self.make_checkpoint(at).map(Some)
    }

    /// Finds the heads, and the newest checkpoint with the upper trees of its map, by one fetch.
    fn open_narrow(&mut self, url: &Url, package: Option<&PackageName>) -> Result<Heads> {
        let Some(domain) = self.first()?.may_mirror().cloned() else { return self.open_narrow_here(url, package) };
        let Some(place) = self.places.first_mut() else { return Err(self.no_registry(url)) };
        place.look_under(Some(domain));
        match self.open_narrow_here(url, package) {
            // It is no other registry's repository.
            Err(error) if matches!(error.code(), ErrorCode::RefMissing | ErrorCode::BadRepository) => {
                if let Some(place) = self.places.first_mut() {
                    place.look_under(None);
                }
                self.open_narrow_here(url, package)
            }
            found => found,
        }
    }

    fn open_narrow_here(&self, url: &Url, package: Option<&PackageName>) -> Result<Heads> {
        let place = self.first()?;
        let (log, operators, named) = (here("log")?, here("operators")?, here("package")?);
        let mut wants = vec![
            Want::reference(place.name(&layout::registry_log())?).to(log.clone()),
            Want::reference(place.name(&layout::operators())?).to(operators.clone()),
        ];
        if let Some(package) = package {
            wants.push(Want::reference(place.name(&layout::package(package))?).to(named.clone()));
        }
        let options = || FetchOptions { depth: Some(1), ..trees(UPPER_TREES) };
        let scratch = match self.apart(place, &wants, &[], options()) {
            // Perhaps only the package is missing; whether that is right is for the map to say.
            Err(error) if error.code() == ErrorCode::RefMissing && package.is_some() => {
                self.apart(place, &wants[..2], &[], options())
            }
            fetched => fetched,
        };
        let registry_log = place.name(&layout::registry_log())?;
        let scratch = scratch.map_err(|error| match error.code() {
            ErrorCode::RefMissing if error.message().ends_with(registry_log.as_str()) => self.no_registry(url),
            _ => error,
        })?;
        let at = |name: &RefName| scratch.store().reference(name);
        let heads = Heads {
            log: at(&log)?.ok_or_else(|| self.gone(url, &layout::registry_log()))?,
            operators: at(&operators)?.ok_or_else(|| self.gone(url, &layout::operators()))?,
            package: at(&named)?,
        };
        scratch.keep(self.quarantine.store())?;
        Ok(heads)
    }

    /// Brings what is still missing of the logs below the heads, together with the first missing tree on the way to a package. All of it is
    /// verified later.
    fn complete(&self, heads: &Heads, memory: Option<&Memory>, package: Option<&PackageName>) -> Result<()> {
        let reader = self.quarantine.store().reader();
        let mut missing = Vec::new();
        for head in std::iter::once(heads.operators).chain(heads.package) {
            missing.extend(gap(&reader, head)?);
        }
        let mut depth = 0;
        if let Some(package) = package
            && let Some((map, packages)) = map_of(&chains::record(&reader, heads.log)?)
        {
            let mut size = Size::of(packages);
            // A map that is none is for who verifies it to refuse.
            // What a mirror holds of it is here.
            if self.proofs.is_none()
                && let Ok(Lookup::Missing(tree)) = map.lookup_sized(&reader, &Slot::Package(package.clone()), &mut size)
            {
                missing.push(tree);
                depth = depth_for(size, self.has_connection());
            }
        }
        if !missing.is_empty() {
            let wants: Vec<Want> = missing.into_iter().map(Want::id).collect();
            let seen = memory.into_iter().flat_map(|memory| {
                let of_package = package.and_then(|package| memory.packages.get(package));
                std::iter::once(memory.operators.commit).chain(of_package.map(|seen| seen.commit))
            });
            // A log goes on from what was seen of it, where all of that is here.
            let seen: Vec<GitId> = seen.filter(|id| matches!(gap(&reader, *id), Ok(None))).collect();
            self.bring_parts(&wants, &seen, depth)?;
        }
        Ok(())
    }

    fn no_registry(&self, url: &Url) -> Error {
        fault!(BadRepository, "{url} is a git repository and no registry: it has no {}", layout::registry_log())
    }

    fn gone(&self, url: &Url, name: &RefName) -> Error {
        fault!(RefMissing, "{url}: {name} is gone")
    }

    /// Asks the first place and, where that cannot hand it out, the others. Who could not is said.
    fn at_any<T>(&self, ask: impl Fn(&Place) -> Result<T>) -> Result<T> {
        let is_only = self.places.len() == 1;
        let mut failed: Vec<(&Place, Error)> = Vec::new();
        for place in self.places.iter().filter(|place| is_only || !place.is_lost()) {
            match ask(place) {
                Ok(found) => {
                    for (lost, error) in &failed {
                        (self.troubles)(lost.url(), error, place.url());
                    }
                    return Ok(found);
                }
                Err(error) if is_of_a_place(error.code()) => {
                    if matches!(error.code(), ErrorCode::Network | ErrorCode::Git) {
                        place.lose();
                    }
                    failed.push((place, error));
                }
                Err(error) => return Err(error),
            }
        }
        let mut failed = failed.into_iter();
        let Some((_, error)) = failed.next() else {
            return Err(fault!(Network, "none of the places where the registry is answers any more"));
        };
        Err(failed
            .fold(error, |error, (place, why)| error.hint(format!("{} did not have it either: {}", place.url(), why.message()))))
    }

    /// Fetches into a place of its own, which sees nothing that is here: git takes for whole what it has of a history, and what is here
    /// lacks trees. Histories end at the commits `until`.
    fn apart(&self, place: &Place, wants: &[Want], until: &[GitId], options: FetchOptions) -> Result<Quarantine> {
        let scratch = Quarantine::new(self.quarantine.store().format(), &[])?;
        if !until.is_empty() {
            scratch.set_shallow(until)?;
        }
        if place.fetch(&scratch, wants, options)?.filter_ignored {
            self.whole_maps.store(true, Ordering::Relaxed);
        }
        Ok(scratch)
    }

    /// Fetches what stands on nothing that is here but these commits, and puts it where the others are.
    fn bring(&self, wants: &[Want], until: &[GitId], options: &FetchOptions) -> Result<()> {
        self.at_any(|place| self.bring_from(place, wants, until, options.clone()))
    }

    fn bring_from(&self, place: &Place, wants: &[Want], until: &[GitId], options: FetchOptions) -> Result<()> {
        let ids: Vec<GitId> = wants.iter().filter_map(Want::plain_id).collect();
        if ids.len() == wants.len() {
            let options = FetchOptions { negotiate: Negotiate::Commits(until.to_vec()), ..options.clone() };
            if let Some(fetched) = place.fetch_ids(&self.quarantine, &ids, &options)? {
                if fetched.filter_ignored {
                    self.whole_maps.store(true, Ordering::Relaxed);
                }
                return Ok(());
            }
        }
        self.apart(place, wants, until, options)?.keep(self.quarantine.store())
    }

    /// Brings parts of a map, so many levels of each. Whole ones were said to be small: where that is not so, only their first level comes.
    fn bring_parts(&self, wants: &[Want], until: &[GitId], depth: u32) -> Result<()> {
        if depth < ALL_TREES || self.is_whole() {
            return self.bring(wants, until, &trees(depth));
        }
        if self.is_larger.load(Ordering::Relaxed) {
            return self.bring(wants, until, &trees(0));
        }
        let max_bytes = PART_MAX.saturating_mul(wants.len() as u64);
        match self.bring(wants, until, &FetchOptions { max_bytes, ..trees(depth) }) {
            Err(error) if error.code() == ErrorCode::Limit => {
                self.is_larger.store(true, Ordering::Relaxed);
                self.bring(wants, until, &trees(0))
            }
            brought => brought,
        }
    }

    fn has_connection(&self) -> bool {
        self.places.first().is_some_and(Place::has_connection)
    }

    fn is_whole(&self) -> bool {
        self.whole_maps.load(Ordering::Relaxed)
    }
}

/// Says whether an error tells of the place that was asked, so that another place may have what was asked for: it is known by its id.
fn is_of_a_place(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Network
            | ErrorCode::Git
            | ErrorCode::NotFound
            | ErrorCode::RefMissing
            | ErrorCode::BadRepository
            | ErrorCode::CorruptObject
    )
}

/// Returns the map of a checkpoint, and the number of packages that it states.
fn map_of(record: &Record) -> Option<(Map, u64)> {
    match record.entry() {
        Entry::Checkpoint(checkpoint) => Some((Map::at(record.draft().tree), checkpoint.packages)),
        _ => None,
    }
}

/// Says whether the log below a head is here as a whole; of a fork, also those of its origin.
pub(crate) fn is_whole(reader: &Reader, head: GitId) -> Result<bool> {
    Ok(gap(reader, head)?.is_none())
}
