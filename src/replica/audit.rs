//! A whole registry, verified: every operator record, every checkpoint, the map, every log, and the contents of every release.

use super::accept::{check_digest, limits};
use super::chains;
use super::names::{Here, Names, Shelf, check_retired};
use super::standing;
use crate::git::layout::{self, RefName};
use crate::git::refs::OpenedReferences;
use crate::git::store::{Reader, Store};
use crate::log::decision::{DecisionLog, Reset};
use crate::log::names::Takedowns;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::log::registry::{CheckedCheckpoint, RegistryLog, check_hop};
use crate::model::changes::{ChangeLine, ChangesHasher};
use crate::model::commit;
use crate::model::contents::{self, Limits};
use crate::model::digest::{ChangesDigest, FileDigest, GitId, LogId, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::{Checkpoint, Entry};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::{HELD_MAX, Held};
use crate::model::key::KeyCache;
use crate::model::map::{Change, Map, SubMap};
use crate::model::moment::Moment;
use crate::model::name::{PackageName, RegistryName};
use crate::model::object::{Keeping, ReadObjects};
use crate::model::record::{RECORD_MAX, Record, SignedRecord, parent_of, place_of};
use crate::model::skip::{Hop, descent, skip};
use crate::model::slot::Slot;
use crate::model::tree::Tree;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many checkpoints are held at a time.
const CHECKPOINTS_AT_ONCE: usize = 1024;
/// So many packages are handed to the cores at a time.
const PACKAGES_AT_ONCE: usize = 4096;
/// So many names a part of the map has that one core walks.
const PART_NAMES: u64 = 128;
/// Into so many parts a map is taken apart at most.
const PARTS_MAX: usize = 1 << 16;
/// So many parts are walked before what they name is judged.
const PARTS_AT_ONCE: usize = 128;
/// From so many heads on they are read by all cores.
const HEADS_AT_ONCE_MIN: usize = 64;
/// Where so many heads stand is kept, in a hundred bytes each; the rest are read a second time.
const PLACES_MAX: usize = 1 << 21;
/// From so many records on a log is verified by all cores, and not held in memory as a whole.
const LONG_LOG: u64 = 512;
/// So many records of a long log are held at a time.
const RECORDS_AT_ONCE: usize = 1024;
/// So many changes since a checkpoint are held, at some two hundred bytes each, rather than looked for twice.
const CHANGES_HELD: usize = 1 << 14;
/// So many bytes of trees are kept while maps are compared, whose upper trees are the same for many names.
const TREES_KEPT: usize = 16 * 1024 * 1024;
/// So many entries that are no packages may change in one checkpoint.
const CHANGES_MAX: u64 = 4_000_000;
/// So many faults are reported; the rest is counted.
const FAULTS_MAX: usize = 100;

/// What is to be verified.
pub struct Audit<'a> {
    /// The repository.
    pub store: &'a Store,
    /// Name and id, where they are known.
    pub expected: Option<(&'a RegistryName, RegistryId)>,
    /// Whether the files of releases are read.
    pub contents: bool,
    /// The checkpoint whose state is taken as it is: only what changed after it is looked at.
    pub since: Option<Moment>,
    /// Hears how many packages are done, and of how many.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// The operators.
    pub operators: OperatorLog,
    /// The newest checkpoint.
    pub checkpoint: CheckedCheckpoint,
    /// The checkpoint whose state was taken as it is, where one was named.
    pub since: Option<CheckedCheckpoint>,
    /// How many packages there are.
    pub packages: u64,
    /// How many of them were looked at.
    pub looked_at: u64,
    /// How many records, checkpoints and operator records included, were verified.
    pub records: u64,
    /// How many releases were read from their files.
    pub releases: u64,
    /// How many bytes those files have.
    pub bytes: u64,
    /// Packages whose references are ahead of the map.
    pub unpublished: Vec<PackageName>,
    /// What is wrong, with its place; at most a hundred.
    pub faults: Vec<Error>,
    /// How many things are wrong.
    pub fault_count: u64,
}

struct Totals {
    records: AtomicU64,
    releases: AtomicU64,
    bytes: AtomicU64,
    done: AtomicU64,
    faults: Mutex<Vec<Error>>,
    fault_count: AtomicU64,
    unpublished: Mutex<Vec<PackageName>>,
}

impl Totals {
    /// Begins with so many records.
    fn of(records: u64) -> Self {
        Totals {
            records: AtomicU64::new(records),
            releases: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
            faults: Mutex::new(Vec::new()),
            fault_count: AtomicU64::new(0),
            unpublished: Mutex::new(Vec::new()),
        }
    }

    fn fault(&self, error: Error) {
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut faults) = self.faults.lock()
            && faults.len() < FAULTS_MAX
        {
            faults.push(error);
        }
    }
}

/// What the cores work with: readers, and the keys that were admitted. Rayon cuts work into many small pieces; what one piece is done
/// with, the next one goes on with.
struct Hands<'a> {
    store: &'a Store,
    /// Whether most of the registry is read.
    many: bool,
    idle: Mutex<Vec<(Reader, KeyCache)>>,
    places: Places,
}

/// Where the heads of logs stand that were judged, so that what checkpoints say of them needs no second reading. It is flat: at two
/// million packages a table of allocations would be larger than all else.
#[derive(Default)]
struct Places {
    coming: Mutex<Vec<(GitId, Place)>>,
    /// Sorted by the ids.
    settled: Vec<(GitId, Place)>,
}

impl Places {
    /// Keeps where a head stands, as long as there is room.
    fn keep(&self, head: GitId, place: Place) {
        if let Ok(mut coming) = self.coming.lock()
            && coming.len() < PLACES_MAX
        {
            coming.push((head, place));
        }
    }

    /// Makes what was kept ready to be asked for.
    fn settle(&mut self) {
        self.settled = self.coming.get_mut().map(std::mem::take).unwrap_or_default();
        self.settled.par_sort_unstable_by_key(|(id, _)| *id);
    }

    fn get(&self, id: GitId) -> Option<Place> {
        let at = self.settled.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.settled[at].1)
    }
}

impl<'a> Hands<'a> {
    fn of(store: &'a Store, many: bool) -> Self {
        Hands { store, many, idle: Mutex::new(Vec::new()), places: Places::default() }
    }

    /// Returns where a record stands; it is read where it was not kept.
    fn place(&self, id: GitId) -> Result<Place> {
        match self.places.get(id) {
            Some(place) => Ok(place),
            None => place_of(id, &self.commit(id)?).map(|(log, seq, digest)| Place { log, seq, digest }),
        }
    }

    fn parent(&self, id: GitId) -> Result<Option<GitId>> {
        parent_of(id.format(), &self.commit(id)?)
    }

    fn commit(&self, id: GitId) -> Result<Vec<u8>> {
        self.with(|reader, _| reader.read(ObjectKind::Commit, id, RECORD_MAX))
    }

    fn with<T>(&self, work: impl FnOnce(&Reader, &mut KeyCache) -> T) -> T {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let (reader, mut keys) = idle.unwrap_or_else(|| {
            let reader = if self.many { self.store.reader_for_many() } else { self.store.reader() };
            (reader, KeyCache::default())
        });
        let done = work(&reader, &mut keys);
        if let Ok(mut idle) = self.idle.lock() {
            idle.push((reader, keys));
        }
        done
    }
}

/// Verifies a registry on all cores. Faults of single packages are collected; what makes all else meaningless ends it.
///
/// # Errors
/// `bad-repository`, and any code of the law for operators and checkpoints.
pub fn audit(audit: &Audit<'_>) -> Result<Findings> {
    let store = audit.store;
    let mut keys = KeyCache::default();
    let reader = store.reader();
    let (log_head, operators_head) = standing::heads(store)?;
    let operators = chains::operators(&reader, operators_head, &mut keys)?;
    if let Some((name, id)) = audit.expected {
        if operators.log.registry() != name {
            return Err(fault!(WrongRegistry, "the repository is the registry {}, expected {name}", operators.log.registry()));
        }
        if operators.log.id() != id {
            return Err(fault!(IdMismatch, "the repository has the registry id {}, expected {id}", operators.log.id()));
        }
    }
    let operators = operators.log;
    let totals = Totals::of(operators.chain().seq() + 1);
    let mut hands = Hands::of(store, audit.since.is_none());
    let ids = checkpoint_ids(&hands, log_head, audit.since)?;
    let Chain { newest, since } = checkpoints(&hands, &operators, &ids, audit.since.is_some(), &totals)?;
    let map = Map::at(newest.map());
    let count = newest.checkpoint().packages;
    let limits = limits(&operators.now().policy);
    let judge = Judge { audit, hands: &hands, operators: &operators, map, limits: &limits, totals: &totals };
    let objects = Keeping::new(store.reader(), TREES_KEPT);
    let mut differences = None;
    match &since {
        None => judge.all(map, count)?,
        Some(since) => {
            judge.changed(&objects, differences.insert(Differences::between(&objects, Map::at(since.map()), map)?))?;
        }
    }
    hands.places.settle();
    let is_whole = since.is_none();
    let (changed, referenced) = rayon::join(
        || {
            // One core has them all to itself.
            let objects = objects;
            changes(&hands, &objects, &operators, &ids, since.as_ref(), differences.as_ref())
        },
        || if is_whole { references(store, map, count, &totals) } else { Ok(()) },
    );
    changed.and(referenced)?;
    let faults = totals.faults.into_inner().unwrap_or_default();
    let mut unpublished = totals.unpublished.into_inner().unwrap_or_default();
    unpublished.sort();
    Ok(Findings {
        operators,
        checkpoint: newest,
        since,
        packages: count,
        looked_at: totals.done.into_inner(),
        records: totals.records.into_inner(),
        releases: totals.releases.into_inner(),
        bytes: totals.bytes.into_inner(),
        unpublished,
        faults,
        fault_count: totals.fault_count.into_inner(),
    })
}

/// A package that is verified by itself: its heads, for which somebody else's word stands.
#[derive(Clone, Debug)]
pub struct Part {
    /// The package.
    pub package: PackageName,
    /// The head of its log.
    pub head: GitId,
    /// The head of its decision log.
    pub decisions: Option<GitId>,
    /// The head up to which the files of its releases are known to be right.
    pub known: Option<GitId>,
}

/// What was found of some packages.
#[derive(Clone, Debug, Default)]
pub struct PartsFound {
    /// How many packages were looked at.
    pub packages: u64,
    /// How many records were verified.
    pub records: u64,
    /// How many releases were read from their files.
    pub releases: u64,
    /// How many bytes those files have.
    pub bytes: u64,
    /// What is wrong, with its place; at most a hundred.
    pub faults: Vec<Error>,
    /// How many things are wrong.
    pub fault_count: u64,
}

/// Verifies some packages of a registry whose map names these heads, and the files of their releases. The store's references are those of the
/// registry.
///
/// # Errors
/// `io`, `bad-repository`.
pub fn audit_parts(store: &Store, operators: &OperatorLog, map: Map, contents: bool, parts: &[Part]) -> Result<PartsFound> {
    let audit = Audit { store, expected: None, contents, since: None, progress: &|_, _| () };
    let totals = Totals::of(0);
    let hands = Hands::of(store, false);
    let limits = limits(&operators.now().policy);
    let judge = Judge { audit: &audit, hands: &hands, operators, map, limits: &limits, totals: &totals };
    let references = Heads { logs: store.opened_references_for_some()?, contents: None };
    for some in parts.chunks(PACKAGES_AT_ONCE) {
        let logs = |part: &Part| {
            let Part { package, head, decisions, known } = part.clone();
            Logs { slot: Slot::Package(package), head, decisions, known }
        };
        judge.some(&mut some.iter().map(logs).collect(), &references, parts.len() as u64);
    }
    Ok(PartsFound {
        packages: totals.done.into_inner(),
        records: totals.records.into_inner(),
        releases: totals.releases.into_inner(),
        bytes: totals.bytes.into_inner(),
        faults: totals.faults.into_inner().unwrap_or_default(),
        fault_count: totals.fault_count.into_inner(),
    })
}

/// Returns the commits of the registry log, oldest first: all of them, or those from a checkpoint on, which comes first.
fn checkpoint_ids(hands: &Hands<'_>, head: GitId, since: Option<Moment>) -> Result<Vec<GitId>> {
    let newest = hands.with(|reader, _| chains::record(reader, head)).map_err(|error| error.at("registry log"))?;
    if let Some(Moment::Seq(seq) | Moment::Both(seq, _)) = since
        && seq > newest.seq()
    {
        return Err(fault!(NotFound, "there is no checkpoint {seq}, the newest is {}", newest.seq()));
    }
    let mut ids = vec![head];
    let mut seq = newest.seq();
    let mut digest = newest.digest();
    loop {
        let is_it = match since {
            None => false,
            Some(Moment::Seq(wanted) | Moment::Both(wanted, _)) => seq == wanted,
            Some(Moment::Digest(wanted)) => digest == wanted,
        };
        if is_it {
            break;
        }
        let bytes = hands.commit(ids[ids.len() - 1])?;
        let Some(parent) = parent_of(head.format(), &bytes)? else { break };
        ids.push(parent);
        seq = seq.saturating_sub(1);
        if let Some(Moment::Digest(_)) = since {
            digest = place_of(parent, &hands.commit(parent)?)?.2;
        }
    }
    if let Some(Moment::Digest(wanted) | Moment::Both(_, wanted)) = since {
        let found = hands.place(ids[ids.len() - 1])?;
        if found.digest != wanted {
            let fault = match since {
                Some(Moment::Both(seq, _)) => fault!(AnchorMismatch, "checkpoint {seq} is {}, expected {wanted}", found.digest),
                _ => fault!(AnchorMismatch, "the registry log of {} checkpoints does not hold {wanted}", newest.seq() + 1),
            };
            return Err(fault.hint(
                "it is a checkpoint of another registry, or of another history of this one: verify it whole, without --since",
            ));
        }
    }
    ids.reverse();
    Ok(ids)
}

/// The registry log, verified.
struct Chain {
    newest: CheckedCheckpoint,
    /// The checkpoint that it was verified from, where that was not the first.
    since: Option<CheckedCheckpoint>,
}

/// Verifies the registry log from its first checkpoint, or from the first of these on.
fn checkpoints(hands: &Hands<'_>, operators: &OperatorLog, ids: &[GitId], is_resumed: bool, totals: &Totals) -> Result<Chain> {
    let mut log: Option<RegistryLog> = None;
    let mut since = None;
    for chunk in ids.chunks(CHECKPOINTS_AT_ONCE) {
        let records: Vec<Result<SignedRecord>> = chunk
            .par_iter()
            .map(|id| hands.with(|reader, keys| chains::record(reader, *id).and_then(|record| record.verify(keys))))
            .collect();
        for record in records {
            let record = record.map_err(|error| error.at("registry log"))?;
            if !matches!(record.entry(), Entry::Checkpoint(_)) {
                return Err(fault!(WrongLog, "a record of kind {} stands in the registry log", record.entry().kind()));
            }
            log = Some(match log {
                None if is_resumed => {
                    let earlier = skipped_to(hands, &record, ids.len() as u64)?;
                    let log = RegistryLog::resume(operators, &record, earlier)?;
                    since = Some(log.newest().clone());
                    log
                }
                None => RegistryLog::start(operators, &record)?,
                Some(log) => log.append(operators, &record)?,
            });
            totals.records.fetch_add(1, Ordering::Relaxed);
        }
    }
    let newest = log.ok_or_else(|| fault!(BrokenChain, "the registry log has no checkpoint"))?.newest().clone();
    // What was good in history may not be good as the last word.
    let newest = CheckedCheckpoint::newest(operators, newest.record())?;
    Ok(Chain { newest, since })
}

/// Returns the checkpoints before `from` that it and the next ones, `count` in all, may skip to. Each is proven by links from `from` down.
fn skipped_to(hands: &Hands<'_>, from: &Record, count: u64) -> Result<BTreeMap<u64, RecordDigest>> {
    let mut proven = BTreeMap::new();
    for to in (from.seq() + 1..from.seq().saturating_add(count)).map(skip).filter(|to| *to < from.seq()) {
        if proven.contains_key(&to) {
            continue;
        }
        let mut at = from.clone();
        for hop in descent(from.seq(), to) {
            let next = hands.with(|reader, _| -> Result<Record> {
                let id = match hop {
                    Hop::Prev(_) => at.draft().parent,
                    Hop::Skip(_) => Map::at(at.draft().tree).get(reader, &Slot::Skip)?,
                };
                chains::record(reader, id.ok_or_else(|| fault!(BrokenChain, "checkpoint {} has no link back", at.seq()))?)
            })?;
            check_hop(&at, &next)?;
            at = next;
        }
        proven.insert(to, at.digest());
    }
    Ok(proven)
}

/// Checks what each checkpoint says that it changed; of the first one only where there is none before it. `differences` are those of all of
/// them together, and of the only one where there is one.
fn changes(
    hands: &Hands<'_>,
    reader: &impl ReadObjects,
    operators: &OperatorLog,
    ids: &[GitId],
    since: Option<&CheckedCheckpoint>,
    differences: Option<&Differences>,
) -> Result<()> {
    let mut map = since.map_or(Map::empty(reader.format()), |since| Map::at(since.map()));
    let mut packages = since.map_or(0, |since| since.checkpoint().packages);
    let mut dropped = BTreeMap::new();
    for id in &ids[usize::from(since.is_some())..] {
        let next = chains::record(reader, *id)?;
        let Entry::Checkpoint(checkpoint) = next.entry() else { continue };
        let to = Map::at(next.draft().tree);
        let at = |error: Error| error.at(format!("checkpoint {}", next.seq()));
        let differences = match differences {
            Some(known) if (known.from, known.to) == (map, to) => known,
            _ => &Differences { from: map, to, held: None, packages: 0 },
        };
        let found = check_changes(hands, reader, checkpoint, differences, &mut packages, &mut dropped).map_err(at)?;
        found
            .moved
            .par_iter()
            .try_for_each(|moved| {
                hands.with(|reader, _| {
                    let slot = found.slot(moved.at, moved.len)?;
                    check_succession(hands, reader, operators, to, &slot, moved.before, moved.after)
                })
            })
            .map_err(at)?;
        map = to;
    }
    Ok(())
}

/// What a checkpoint changed, in a row of bytes for the names and a flat row for the rest.
#[derive(Default)]
struct Changed {
    names: String,
    lines: Vec<Line>,
    /// Where the registry logs of mirrors stand.
    mirrored: Vec<Place>,
    moved: Vec<Moved>,
}

struct Line {
    at: usize,
    len: u16,
    what: What,
}

/// What a line is of; a head is not looked at yet.
#[derive(Clone, Copy)]
enum What {
    Head(GitId),
    /// The registry log of a mirror, by where it stands in [`Changed::mirrored`].
    Mirrored(u32),
    Held(FileDigest),
    Gone,
}

impl Changed {
    /// Keeps a slot's name, and returns where.
    fn name(&mut self, slot: &Slot) -> (usize, u16) {
        let at = self.names.len();
        // Writing to a string cannot fail.
        let _ = write!(self.names, "{slot}");
        (at, u16::try_from(self.names.len() - at).unwrap_or(u16::MAX))
    }

    fn text(&self, at: usize, len: u16) -> &str {
        self.names.get(at..at + usize::from(len)).unwrap_or_default()
    }

    fn slot(&self, at: usize, len: u16) -> Result<Slot> {
        self.text(at, len).parse()
    }

    /// Computes the digest of all lines.
    fn digest(&mut self, hands: &Hands<'_>) -> Result<ChangesDigest> {
        let names = std::mem::take(&mut self.names);
        let text = |line: &Line| &names[line.at..line.at + usize::from(line.len)];
        self.lines.par_sort_unstable_by(|one, other| text(one).cmp(text(other)));
        let mirrored = &self.mirrored;
        let look = |line: &Line| {
            Ok(match line.what {
                What::Gone => ChangeLine::Gone,
                What::Held(digest) => ChangeLine::Held(digest),
                What::Mirrored(at) => {
                    let place = mirrored.get(at as usize).copied();
                    let Place { log, seq, digest } = place.ok_or_else(|| fault!(Bug, "a mirror stands nowhere"))?;
                    ChangeLine::Head { log, seq, head: digest }
                }
                What::Head(id) => {
                    let Place { log, seq, digest } = hands.place(id).map_err(|error: Error| error.at(text(line)))?;
                    ChangeLine::Head { log, seq, head: digest }
                }
            })
        };
        let mut hasher = ChangesHasher::default();
        for some in self.lines.chunks(PACKAGES_AT_ONCE) {
            // The cores are not called together for a few.
            let found: Vec<Result<ChangeLine>> = if some.len() < HEADS_AT_ONCE_MIN {
                some.iter().map(look).collect()
            } else {
                some.par_iter().map(look).collect()
            };
            for (line, found) in some.iter().zip(found) {
                hasher.add(text(line), &found?);
            }
        }
        self.names = names;
        Ok(hasher.finish())
    }
}

/// The head of a log before a checkpoint moved it, and after.
struct Moved {
    at: usize,
    len: u16,
    before: GitId,
    after: GitId,
}

/// Checks `changes`, `packages` and the skip link in the map of one checkpoint against the map before, and returns what it
/// changed. `dropped` are the heads of names that an earlier checkpoint took out of the map.
fn check_changes(
    hands: &Hands<'_>,
    reader: &impl ReadObjects,
    checkpoint: &Checkpoint,
    differences: &Differences,
    packages: &mut u64,
    dropped: &mut BTreeMap<Slot, GitId>,
) -> Result<Changed> {
    let mut changed = Changed::default();
    differences.each(reader, &mut |Change { slot, old, new }| {
        let (at, len) = changed.name(&slot);
        if let Slot::Package(_) = slot {
            // Only where a map repeats itself are there fewer than none.
            *packages = (*packages + u64::from(old.is_none())).saturating_sub(u64::from(new.is_none()));
        }
        let moved = |before, after| Moved { at, len, before, after };
        match (&slot, old, new) {
            (Slot::Skip | Slot::MirrorHeld(_) | Slot::MirrorLog(_), ..) | (_, None, None) => {}
            (_, Some(before), Some(after)) => changed.moved.push(moved(before, after)),
            (_, Some(before), None) => {
                dropped.insert(slot.clone(), before);
            }
            (_, None, Some(after)) => {
                if !dropped.is_empty() {
                    changed.moved.extend(dropped.remove(&slot).map(|before| moved(before, after)));
                }
            }
        }
        let what = match (&slot, new) {
            (Slot::Skip, Some(id)) => {
                let skip = chains::record(reader, id)?;
                if Some(skip.digest()) != checkpoint.skip {
                    return Err(fault!(BadMap, "the map's skip link leads to {}, the record's elsewhere", skip.digest()));
                }
                return Ok(());
            }
            (Slot::Skip, None) => return Ok(()),
            (_, None) => What::Gone,
            (Slot::MirrorHeld(_), Some(id)) => What::Held(FileDigest::of_bytes(&reader.read(ObjectKind::Blob, id, HELD_MAX)?)),
            // Of a part of a registry its registry log is not here; what is held of it says where that stands.
            (Slot::MirrorLog(domain), Some(id)) => match differences.to.get(reader, &Slot::MirrorHeld(domain.clone()))? {
                Some(blob) => {
                    let held = Held::parse(&reader.read(ObjectKind::Blob, blob, HELD_MAX)?)?;
                    changed.mirrored.push(Place::held(&held));
                    What::Mirrored(u32::try_from(changed.mirrored.len() - 1).unwrap_or(u32::MAX))
                }
                None => What::Head(id),
            },
            (_, Some(id)) => What::Head(id),
        };
        changed.lines.push(Line { at, len, what });
        // Entries come with heads of their own, so that no honest checkpoint changes more of them than this.
        if changed.lines.len() as u64 > checkpoint.packages.saturating_add(CHANGES_MAX) {
            return Err(fault!(Limit, "the checkpoint changes more entries than it has packages"));
        }
        Ok(())
    })?;
    let found = changed.digest(hands)?;
    if *packages != checkpoint.packages {
        return Err(fault!(BadMap, "the map has {packages} packages, the record says {}", checkpoint.packages));
    }
    if found != checkpoint.changes {
        return Err(fault!(BadMap, "the changes have the digest {found}, the record says {}", checkpoint.changes));
    }
    Ok(changed)
}

/// Checks that a log goes on from where the checkpoint before left it: a name never comes to mean another log without a reset, and a
/// head never goes back or aside.
fn check_succession(
    hands: &Hands<'_>,
    reader: &Reader,
    operators: &OperatorLog,
    map: Map,
    slot: &Slot,
    before: GitId,
    after: GitId,
) -> Result<()> {
    let (last, next) = (hands.place(before)?, hands.place(after)?);
    if last.log != next.log {
        let decisions = match slot {
            Slot::Package(package) => map.get(reader, &Slot::Decisions(package.clone()))?,
            _ => None,
        };
        let is_reset = match decisions {
            Some(head) => {
                let decisions = chains::decisions(reader, head, operators, &mut KeyCache::default())?;
                decisions.log.resets().iter().any(|reset| reset.old == last.log && reset.new == next.log)
            }
            None => false,
        };
        if !is_reset {
            return Err(fault!(
                NameTaken,
                "{slot} comes to mean the log {}, it meant {}, and no reset says so",
                next.log,
                last.log
            ));
        }
        return Ok(());
    }
    let Some(further) = next.seq.checked_sub(last.seq) else {
        return Err(fault!(Rollback, "{slot} goes back from seq {} to seq {}", last.seq, next.seq));
    };
    let mut at = Some(after);
    for _ in 0..further {
        let Some(id) = at else { break };
        at = hands.parent(id)?;
    }
    if at != Some(before) {
        return Err(fault!(Fork, "{slot} moves to {after}, which does not stand on {before}, the head before"));
    }
    Ok(())
}

/// Returns what a checkpoint says of a log with this head.
pub fn line_of(head: &Record) -> ChangeLine {
    ChangeLine::Head { log: log_of(head), seq: head.seq(), head: head.digest() }
}

/// Where a record stands.
#[derive(Clone, Copy)]
struct Place {
    log: LogId,
    seq: u64,
    digest: RecordDigest,
}

impl Place {
    /// Says where the registry log stands of which something is held.
    fn held(held: &Held) -> Self {
        Place { log: held.log, seq: held.seq, digest: held.checkpoint }
    }
}

fn log_of(record: &Record) -> LogId {
    record.draft().link.map_or(record.digest().into(), |link| link.log)
}

/// What one entry of the map leads to.
struct Logs {
    slot: Slot,
    head: GitId,
    /// The decisions about the package.
    decisions: Option<GitId>,
    /// The head whose log is taken as it is, but for what the law makes of it: the files of releases up to there are not read.
    known: Option<GitId>,
}

/// Where two maps differ. A few differences are held, so that the trees are read and checked once; many are looked for anew.
struct Differences {
    from: Map,
    to: Map,
    held: Option<Vec<Change>>,
    /// How many packages are in the second map that are not so in the first; known from the trees that differ alone.
    packages: u64,
}

impl Differences {
    fn between(objects: &impl ReadObjects, from: Map, to: Map) -> Result<Self> {
        let mut packages = 0;
        let mut held = Some(Vec::new());
        Map::diff(objects, from, to, &mut |change| {
            packages += u64::from(matches!(change.slot, Slot::Package(_)) && change.new.is_some());
            match &mut held {
                Some(changes) if changes.len() < CHANGES_HELD => changes.push(change),
                _ => held = None,
            }
            Ok(())
        })?;
        Ok(Differences { from, to, held, packages })
    }

    /// Gives all of them.
    fn each(&self, objects: &impl ReadObjects, each: &mut dyn FnMut(Change) -> Result<()>) -> Result<()> {
        match &self.held {
            Some(changes) => changes.iter().cloned().try_for_each(each),
            None => Map::diff(objects, self.from, self.to, each),
        }
    }
}

/// Says what is to be judged because of a change between two maps; `None` where that is judged with another one, or is nothing. It is one more
/// package where only its decisions changed.
fn logs_of(objects: &impl ReadObjects, from: Map, to: Map, change: Change, packages: &mut u64) -> Result<Option<Logs>> {
    let Change { slot, old, new } = change;
    Ok(match (slot, new) {
        (Slot::Package(package), Some(head)) => {
            let beside = Slot::Decisions(package.clone());
            let decisions = to.get(objects, &beside)?;
            // What was decided may bring files back that had been taken down.
            let known = if decisions == from.get(objects, &beside)? { old } else { None };
            Some(Logs { slot: Slot::Package(package), head, decisions, known })
        }
        (Slot::Decisions(package), decisions) => {
            let slot = Slot::Package(package);
            match to.get(objects, &slot)? {
                Some(head) if from.get(objects, &slot)? == Some(head) => {
                    *packages += 1;
                    Some(Logs { slot, head, decisions, known: None })
                }
                // It changed as well, or is gone.
                _ => None,
            }
        }
        (slot, Some(head)) => Some(Logs { slot, head, decisions: None, known: None }),
        (_, None) => None,
    })
}

/// The references that are asked for, opened once.
struct Heads<'a> {
    logs: OpenedReferences<'a>,
    /// Where they are others.
    contents: Option<OpenedReferences<'a>>,
}

/// A package log that was judged.
struct Judged {
    log: PackageLog,
    /// The commits of its records, oldest first.
    commits: Vec<GitId>,
}

impl Judged {
    fn of(replayed: chains::Replayed<PackageLog>) -> Self {
        Judged { log: replayed.log, commits: replayed.records.iter().map(|record| record.git_id()).collect() }
    }
}

/// What every log is judged by.
struct Judge<'a> {
    audit: &'a Audit<'a>,
    hands: &'a Hands<'a>,
    operators: &'a OperatorLog,
    map: Map,
    limits: &'a Limits,
    totals: &'a Totals,
}

impl Judge<'_> {
    /// Verifies every log that the map names.
    fn all(&self, map: Map, count: u64) -> Result<()> {
        let references = Heads {
            logs: self.audit.store.opened_references(layout::PACKAGES)?,
            contents: if self.audit.contents { Some(self.audit.store.opened_references(layout::CONTENTS)?) } else { None },
        };
        let found = AtomicU64::new(0);
        // Walking takes time as well, so that the cores share it: first some parts of the map, then what they name.
        let parts =
            map.subtrees(&self.audit.store.reader(), usize::try_from(count / PART_NAMES).unwrap_or(0).clamp(1, PARTS_MAX))?;
        for some in parts.chunks(PARTS_AT_ONCE) {
            let walked: Vec<Result<Vec<Logs>>> = some
                .par_iter()
                .map(|part| self.hands.with(|reader, _| self.part(reader, part, &references, &found, count)))
                .collect();
            let mut pending = walked.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
            self.some(&mut pending, &references, count);
        }
        let found = found.into_inner();
        if found != count {
            return Err(fault!(BadMap, "the map has {found} packages, its checkpoint says {count}"));
        }
        Ok(())
    }

    /// Returns what a part of the map names.
    fn part(&self, reader: &Reader, part: &SubMap, references: &Heads<'_>, found: &AtomicU64, count: u64) -> Result<Vec<Logs>> {
        let mut pending: Vec<Logs> = Vec::new();
        // The walk proves the shape of every folder. A hostile map of few trees could unfold into more entries than anyone could read.
        part.for_each(reader, &mut |slot, head| {
            match (&slot, pending.last_mut()) {
                (Slot::Skip, _) => return Ok(()),
                // A package's decisions stand right behind it in the map, and are judged with it.
                (Slot::Decisions(package), Some(last)) if matches!(&last.slot, Slot::Package(before) if before == package) => {
                    last.decisions = Some(head);
                    return Ok(());
                }
                (Slot::Package(_), _) if found.fetch_add(1, Ordering::Relaxed) >= count => {
                    return Err(fault!(BadMap, "the map has more packages than the {count} of its checkpoint"));
                }
                _ => {}
            }
            // A part that is larger than it should be is not held.
            if pending.len() >= PACKAGES_AT_ONCE {
                pending.drain(..).for_each(|logs| self.one(references, &logs, count));
            }
            pending.push(Logs { slot, head, decisions: None, known: None });
            Ok(())
        })?;
        Ok(pending)
    }

    /// Verifies every log in which two maps differ.
    fn changed(&self, objects: &impl ReadObjects, differences: &Differences) -> Result<()> {
        let (from, to) = (differences.from, differences.to);
        let mut count = differences.packages;
        let references = Heads { logs: self.audit.store.opened_references_for_some()?, contents: None };
        let mut pending: Vec<Logs> = Vec::new();
        differences.each(objects, &mut |change| {
            if let Some(logs) = logs_of(objects, from, to, change, &mut count)? {
                if pending.len() >= PACKAGES_AT_ONCE {
                    self.some(&mut pending, &references, count);
                }
                pending.push(logs);
            }
            Ok(())
        })?;
        self.some(&mut pending, &references, count);
        Ok(())
    }

    /// Judges what is pending, on all cores.
    fn some(&self, pending: &mut Vec<Logs>, references: &Heads<'_>, count: u64) {
        pending.par_iter().for_each(|logs| self.one(references, logs, count));
        pending.clear();
    }

    fn one(&self, references: &Heads<'_>, logs: &Logs, count: u64) {
        if let Err(error) = self.hands.with(|reader, keys| self.logs(reader, keys, references, logs)) {
            self.totals.fault(error.at(&logs.slot));
        }
        if matches!(logs.slot, Slot::Package(_)) {
            let done = self.totals.done.fetch_add(1, Ordering::Relaxed) + 1;
            (self.audit.progress)(done, count);
        }
    }

    fn seen(&self, head: GitId, log: &crate::log::chain::Chain) {
        self.hands.places.keep(head, Place { log: log.id(), seq: log.seq(), digest: log.head() });
        self.totals.records.fetch_add(log.seq() + 1, Ordering::Relaxed);
    }

    fn logs(&self, reader: &Reader, keys: &mut KeyCache, references: &Heads<'_>, logs: &Logs) -> Result<()> {
        match &logs.slot {
            Slot::Package(package) => {
                let judged = self.package(reader, keys, logs.head)?;
                let log = &judged.log;
                self.seen(logs.head, log.chain());
                let decisions = match logs.decisions {
                    None => None,
                    Some(head) => {
                        let decisions = chains::decisions(reader, head, self.operators, keys)?;
                        self.seen(head, decisions.log.chain());
                        decisions.log.check_log(log)?;
                        Some(decisions)
                    }
                };
                let resets = decisions.as_ref().map(|own| own.log.resets().to_vec()).unwrap_or_default();
                check_reference(self.audit.store, &references.logs, reader, package, &judged.commits, &resets, self.totals)?;
                let mut here = Here { operators: self.operators, map: self.map, objects: reader, keys };
                let names = Names::of(&mut here, package, log, decisions)?;
                let takedowns = names.takedowns();
                let known = logs.known.and_then(|known| judged.commits.iter().position(|commit| *commit == known));
                let first_new = known.map_or(0, |known| known as u64 + 1);
                if self.audit.contents {
                    self.contents(reader, references, (&layout::contents(package), package), log, &takedowns, first_new)?;
                    if self.audit.since.is_some() && known.is_none() {
                        self.other_names(&mut here, reader, references, package, &names)?;
                    }
                }
                for reset in resets.iter().filter(|_| known.is_none()) {
                    let names = &names.decided;
                    self.retired(&mut here, reader, references, package, names.get(package), reset)?;
                }
                Ok(())
            }
            Slot::Attestation(..) => {
                let attestations = chains::attestations(reader, logs.head, self.operators.id(), keys)?;
                self.seen(logs.head, attestations.log.chain());
                Ok(())
            }
            Slot::Decisions(package) => Err(fault!(BadMap, "decisions about {package} stand in the map, and no package")),
            Slot::MirrorLog(_) | Slot::MirrorHeld(_) | Slot::Skip => Ok(()),
        }
    }

    /// Reads the files of what a package has under its other names: what was decided about one counts for all.
    fn other_names(
        &self,
        here: &mut impl Shelf,
        reader: &Reader,
        references: &Heads<'_>,
        package: &PackageName,
        names: &Names,
    ) -> Result<()> {
        let takedowns = names.takedowns();
        for (name, held) in &names.leads {
            self.contents(reader, references, (&layout::contents(name), name), &held.log, &takedowns, 0)?;
        }
        for name in names.path.iter().filter(|name| *name != package) {
            if let Some(head) = here.head(&Slot::Package(name.clone()))? {
                let held = here.package(head)?;
                self.contents(reader, references, (&layout::contents(name), name), &held.log, &takedowns, 0)?;
            }
        }
        Ok(())
    }

    /// Verifies a log that a reset put aside, and the files of its releases.
    fn retired(
        &self,
        here: &mut impl Shelf,
        reader: &Reader,
        references: &Heads<'_>,
        package: &PackageName,
        decisions: Option<&chains::Replayed<DecisionLog>>,
        reset: &Reset,
    ) -> Result<()> {
        let name = layout::retired_log(reset.old);
        let Some(head) = self.audit.store.reference(&name)? else {
            return Err(fault!(RefMissing, "{name} is gone, which a reset put aside"));
        };
        let found = here.package(head).map_err(|error| error.at(&name))?;
        self.totals.records.fetch_add(found.log.chain().seq() + 1, Ordering::Relaxed);
        check_retired(&found.log, reset).map_err(|error| error.at(&name))?;
        let names = Names::of_retired(here, package, &found.log, decisions).map_err(|error| error.at(&name))?;
        if self.audit.contents {
            let contents = layout::retired_contents(reset.old);
            self.contents(reader, references, (&contents, package), &found.log, &names.takedowns(), 0)?;
        }
        Ok(())
    }

    /// Reads and verifies a package log.
    fn package(&self, reader: &Reader, keys: &mut KeyCache, head: GitId) -> Result<Judged> {
        if let Some(short) = chains::short_package(reader, head, keys, LONG_LOG)? {
            return Ok(Judged::of(short));
        }
        match self.long_package(reader, head)? {
            Some(judged) => Ok(judged),
            None => chains::package(reader, head, keys).map(Judged::of),
        }
    }

    /// Verifies a long log piece by piece, on all cores: else one of them would be busy with it while the others have nothing to do, and all
    /// of it would be in memory. `None` where it is a fork, whose origin is looked at too.
    fn long_package(&self, reader: &Reader, head: GitId) -> Result<Option<Judged>> {
        let mut commits = vec![head];
        while let Some(parent) =
            parent_of(reader.format(), &reader.read(ObjectKind::Commit, commits[commits.len() - 1], RECORD_MAX)?)?
        {
            commits.push(parent);
        }
        commits.reverse();
        let mut log: Option<PackageLog> = None;
        for some in commits.chunks(RECORDS_AT_ONCE) {
            let records: Vec<Result<SignedRecord>> = some
                .par_iter()
                .map(|id| self.hands.with(|reader, keys| chains::record(reader, *id).and_then(|record| record.verify(keys))))
                .collect();
            for record in records {
                let record = record?;
                log = Some(match log {
                    // What stands before a fork's first record is another log.
                    None if record.draft().link.is_some() => return Ok(None),
                    None => PackageLog::start(&record)?,
                    Some(log) if record.draft().link.is_none() => {
                        drop(log);
                        return Ok(None);
                    }
                    Some(log) => log.append(&record)?,
                });
            }
        }
        Ok(log.map(|log| Judged { log, commits }))
    }

    /// Reads the files of every release from a record on that is not taken down.
    fn contents(
        &self,
        reader: &Reader,
        references: &Heads<'_>,
        (name, package): (&RefName, &PackageName),
        log: &PackageLog,
        takedowns: &Takedowns,
        first_new: u64,
    ) -> Result<()> {
        if log.releases().next().is_none() {
            return Ok(());
        }
        let unknown = |log: &PackageLog, name: &str| name.parse().map_or(true, |version| log.release_of(&version).is_none());
        let read = |id: Option<GitId>| {
            let Some(id) = id else { return Ok(Tree::default()) };
            let bytes = reader.read(ObjectKind::Commit, id, 4096)?;
            let tree = commit::parse_contents(reader.format(), &bytes).map_err(|error| error.at(name))?;
            Tree::read(reader, tree)
        };
        let then = references.contents.as_ref().unwrap_or(&references.logs).find(name)?;
        let mut tree = read(then)?;
        // Releases and files are one for one, but for what was taken down; else it is looked at once more, as it is now.
        if tree.entries().len() != log.releases().count() || tree.entries().iter().any(|entry| unknown(log, &entry.name)) {
            let now = self.audit.store.reference(name)?;
            if now != then {
                tree = read(now)?;
            }
        }
        if let Some(extra) = tree.entries().iter().find(|entry| unknown(log, &entry.name)) {
            // An acceptor moves contents first, and then the log; or it was killed in between, and its journal says so.
            let is_coming = self.audit.store.has_journal()
                || match self.audit.store.reference(&layout::package(package))? {
                    Some(head) => !unknown(&chains::package(reader, head, &mut KeyCache::default())?.log, &extra.name),
                    None => false,
                };
            if !is_coming {
                self.totals.fault(fault!(BadContents, "{name} holds {:?}, which was never released", extra.name).at(package));
            }
        }
        for released in log.releases().filter(|released| released.seq >= first_new) {
            let release = &released.release;
            let down = takedowns.find(log.chain().id(), &release.version).is_some();
            let verdict = match tree.get(&release.version.to_string()) {
                None if down => continue,
                None => Err(fault!(RefMissing, "the contents of {} are gone", release.version)),
                Some(folder) => contents::read_tree(reader, folder.id, self.limits, |_, _| Ok(()))
                    .and_then(|found| check_digest(release, &found).map(|()| found.size())),
            };
            match verdict {
                Ok(size) => {
                    self.totals.releases.fetch_add(1, Ordering::Relaxed);
                    self.totals.bytes.fetch_add(size, Ordering::Relaxed);
                }
                Err(error) => {
                    let error = match error.code() {
                        ErrorCode::NotFound => {
                            fault!(RefMissing, "the contents of {} are not whole: {}", release.version, error.message())
                        }
                        _ => error,
                    };
                    self.totals.fault(error.at(format!("{package}@{}", release.version)));
                }
            }
        }
        Ok(())
    }
}

/// Compares a package's reference with the head that the map names.
fn check_reference(
    store: &Store,
    references: &OpenedReferences<'_>,
    reader: &Reader,
    package: &PackageName,
    commits: &[GitId],
    resets: &[Reset],
    totals: &Totals,
) -> Result<()> {
    let name = layout::package(package);
    let Some(head) = commits.last().copied() else { return Ok(()) };
    if references.names(&name, head)? {
        return Ok(());
    }
    match store.reference(&name)? {
        None => Err(fault!(RefMissing, "{name} is gone, the map holds {head}")),
        Some(named) if named == head => Ok(()),
        Some(named) if commits.contains(&named) => {
            Err(fault!(Rollback, "{name} names {named}, which lies behind {head}, the head in the map"))
        }
        Some(named) => {
            let walked = chains::walk(reader, named)?;
            let first = walked.first().map(|record| record.digest());
            // After a reset it moves last.
            if resets.iter().any(|reset| Some(reset.old.first_record()) == first) {
                return Ok(());
            }
            if walked.iter().any(|record| record.git_id() == head) {
                if let Ok(mut unpublished) = totals.unpublished.lock() {
                    unpublished.push(package.clone());
                }
                return Ok(());
            }
            Err(fault!(Fork, "{name} names {named}, which does not stand on {head}, the head in the map"))
        }
    }
}

/// Looks for logs that have a reference and no place in the map.
fn references(store: &Store, map: Map, count: u64, totals: &Totals) -> Result<()> {
    let mut found = 0;
    store.for_each_reference("refs/packages/", |_, _| {
        found += 1;
        Ok(())
    })?;
    if found <= count {
        return Ok(());
    }
    let reader = store.reader();
    store.for_each_reference("refs/packages/", |name, _| {
        match layout::parse_package(&name) {
            None => totals.fault(fault!(BadRepository, "{name} is not the reference of a package")),
            Some(package) => {
                if map.get(&reader, &Slot::Package(package.clone()))?.is_none()
                    && let Ok(mut unpublished) = totals.unpublished.lock()
                {
                    unpublished.push(package);
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two million packages cost is counted in these.
    #[test]
    fn what_is_kept_of_each_package_is_a_few_dozen_bytes() {
        assert!(size_of::<(GitId, Place)>() <= 112);
        assert!(size_of::<Line>() <= 56);
        assert!(size_of::<Moved>() <= 80);
    }

    #[test]
    fn places_are_kept_as_long_as_there_is_room_and_found_when_they_are_settled() {
        let mut places = Places::default();
        let id = |number: u64| GitId::of(crate::model::digest::ObjectFormat::Sha1, ObjectKind::Blob, &number.to_le_bytes());
        let place = |seq| {
            let digest = RecordDigest::of_bytes(b"head");
            Place { log: digest.into(), seq, digest }
        };
        (0..100).for_each(|seq| places.keep(id(seq), place(seq)));
        places.settle();
        assert!((0..100).all(|seq| places.get(id(seq)).is_some_and(|place| place.seq == seq)));
        assert!(places.get(id(100)).is_none());
        let room = places.coming.get_mut().unwrap();
        room.resize(PLACES_MAX, (id(0), place(0)));
        places.keep(id(101), place(101));
        assert_eq!(places.coming.get_mut().unwrap().len(), PLACES_MAX);
    }
}
