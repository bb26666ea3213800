//! A whole registry, verified: every operator record, every checkpoint, the map, every log, and the contents of every release.

use super::accept::{check_digest, limits};
use super::chains;
use super::standing;
use crate::git::layout;
use crate::git::refs::OpenedReferences;
use crate::git::store::{Reader, Store};
use crate::log::decision::DecisionLog;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::log::registry::{CheckedCheckpoint, RegistryLog};
use crate::model::changes::{ChangeLine, changes_digest};
use crate::model::commit;
use crate::model::contents::{self, Limits};
use crate::model::digest::{FileDigest, GitId, LogId, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::{Checkpoint, Entry};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::map::{Change, Map};
use crate::model::name::{FullName, PackageName, RegistryName};
use crate::model::object::ReadObjects;
use crate::model::record::{RECORD_MAX, Record, SignedRecord, parent_of, place_of};
use crate::model::slot::Slot;
use crate::model::tree::Tree;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

/// So many checkpoints are held at a time.
const CHECKPOINTS_AT_ONCE: usize = 1024;
/// So many packages are handed to the cores at a time.
const PACKAGES_AT_ONCE: usize = 4096;
/// From so many heads on they are read by all cores.
const HEADS_AT_ONCE_MIN: usize = 64;
/// Where so many records stand is kept, in some 200 MB.
const PLACES_MAX: usize = 1 << 20;
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
    /// How many packages there are.
    pub packages: u64,
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
    idle: Mutex<Vec<(Reader, KeyCache)>>,
    /// Records of logs that were judged, so that what checkpoints say of them needs no second reading.
    places: RwLock<HashMap<GitId, Place>>,
}

impl<'a> Hands<'a> {
    fn of(store: &'a Store) -> Self {
        Hands { store, idle: Mutex::new(Vec::new()), places: RwLock::default() }
    }

    /// Keeps where the records of a log stand, as long as there is room.
    fn keep(&self, records: &[SignedRecord]) {
        if let Ok(mut places) = self.places.write()
            && places.len() < PLACES_MAX
        {
            places.extend(records.iter().map(|record| {
                let draft = record.draft();
                let place = Place { log: log_of(record), seq: record.seq(), digest: record.digest(), parent: draft.parent };
                (record.git_id(), place)
            }));
        }
    }

    /// Returns where a record stands; it is read where it was not kept.
    fn place(&self, id: GitId) -> Result<Place> {
        if let Some(place) = self.places.read().ok().and_then(|places| places.get(&id).copied()) {
            return Ok(place);
        }
        let bytes = self.with(|reader, _| reader.read(ObjectKind::Commit, id, RECORD_MAX))?;
        let (log, seq, digest) = place_of(id, &bytes)?;
        Ok(Place { log, seq, digest, parent: parent_of(id.format(), &bytes)? })
    }

    fn with<T>(&self, work: impl FnOnce(&Reader, &mut KeyCache) -> T) -> T {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let (reader, mut keys) = idle.unwrap_or_else(|| (self.store.reader(), KeyCache::default()));
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
    let totals = Totals {
        records: AtomicU64::new(operators.chain().seq() + 1),
        releases: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        done: AtomicU64::new(0),
        faults: Mutex::new(Vec::new()),
        fault_count: AtomicU64::new(0),
        unpublished: Mutex::new(Vec::new()),
    };
    let hands = Hands::of(store);
    let (said, newest) = checkpoints(&hands, &operators, log_head, &totals)?;
    let map = Map::at(newest.map());
    let count = newest.checkpoint().packages;
    packages(audit, &hands, &operators, map, count, &totals)?;
    changes(&hands, &operators, &said)?;
    references(store, map, count, &totals)?;
    let faults = totals.faults.into_inner().unwrap_or_default();
    let mut unpublished = totals.unpublished.into_inner().unwrap_or_default();
    unpublished.sort();
    Ok(Findings {
        operators,
        checkpoint: newest,
        packages: count,
        records: totals.records.into_inner(),
        releases: totals.releases.into_inner(),
        bytes: totals.bytes.into_inner(),
        unpublished,
        faults,
        fault_count: totals.fault_count.into_inner(),
    })
}

/// What is kept of a verified checkpoint.
struct Said {
    seq: u64,
    map: Map,
    checkpoint: Checkpoint,
}

/// Verifies the registry log from its first checkpoint, and returns what each of them says.
fn checkpoints(
    hands: &Hands<'_>,
    operators: &OperatorLog,
    head: GitId,
    totals: &Totals,
) -> Result<(Vec<Said>, CheckedCheckpoint)> {
    let reader = hands.store.reader();
    let mut ids = vec![head];
    while let Some(parent) = parent_of(reader.format(), &reader.read(ObjectKind::Commit, ids[ids.len() - 1], RECORD_MAX)?)? {
        ids.push(parent);
    }
    ids.reverse();
    let mut log: Option<RegistryLog> = None;
    let mut said = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHECKPOINTS_AT_ONCE) {
        let records: Vec<Result<SignedRecord>> = chunk
            .par_iter()
            .map(|id| hands.with(|reader, keys| chains::record(reader, *id).and_then(|record| record.verify(keys))))
            .collect();
        for record in records {
            let record = record.map_err(|error| error.at("registry log"))?;
            let Entry::Checkpoint(checkpoint) = record.entry() else {
                return Err(fault!(WrongLog, "a record of kind {} stands in the registry log", record.entry().kind()));
            };
            said.push(Said { seq: record.seq(), map: Map::at(record.draft().tree), checkpoint: checkpoint.clone() });
            log = Some(match log {
                None => RegistryLog::start(operators, &record)?,
                Some(log) => log.append(operators, &record)?,
            });
            totals.records.fetch_add(1, Ordering::Relaxed);
        }
    }
    let newest = log.ok_or_else(|| fault!(BrokenChain, "the registry log has no checkpoint"))?.newest().clone();
    // What was good in history may not be good as the last word.
    Ok((said, CheckedCheckpoint::newest(operators, newest.record())?))
}

/// Checks what each checkpoint says that it changed.
fn changes(hands: &Hands<'_>, operators: &OperatorLog, said: &[Said]) -> Result<()> {
    let reader = hands.store.reader();
    let mut map = Map::empty(reader.format());
    let mut packages = 0;
    let mut dropped = BTreeMap::new();
    for next in said {
        let at = |error: Error| error.at(format!("checkpoint {}", next.seq));
        for (slot, before, after) in check_changes(hands, &reader, next, map, &mut packages, &mut dropped).map_err(at)? {
            check_succession(hands, &reader, operators, next.map, &slot, before, after).map_err(at)?;
        }
        map = next.map;
    }
    Ok(())
}

/// The head of a log before a checkpoint moved it, and after.
type Moved = (Slot, GitId, GitId);

/// Checks `changes`, `packages` and the skip link in the map of one checkpoint against the map before, and returns the logs that it
/// moved. `dropped` are the heads of names that an earlier checkpoint took out of the map.
fn check_changes(
    hands: &Hands<'_>,
    reader: &Reader,
    said: &Said,
    old: Map,
    packages: &mut u64,
    dropped: &mut BTreeMap<Slot, GitId>,
) -> Result<Vec<Moved>> {
    let checkpoint = &said.checkpoint;
    // They come nearly in order; sorting them once is cheaper than finding a place for each.
    let mut lines: Vec<(Slot, ChangeLine)> = Vec::new();
    let mut moved = Vec::new();
    // Heads that were not looked at yet.
    let mut heads: Vec<(Slot, GitId)> = Vec::new();
    let read = |heads: &mut Vec<(Slot, GitId)>, lines: &mut Vec<(Slot, ChangeLine)>| -> Result<()> {
        let line = |(slot, id): (Slot, GitId)| {
            let Place { log, seq, digest, .. } = hands.place(id).map_err(|error| error.at(&slot))?;
            Ok((slot, ChangeLine::Head { log, seq, head: digest }))
        };
        // The cores are not called together for a few.
        let found: Result<Vec<(Slot, ChangeLine)>> = if heads.len() < HEADS_AT_ONCE_MIN {
            heads.drain(..).map(line).collect()
        } else {
            std::mem::take(heads).into_par_iter().map(line).collect()
        };
        lines.extend(found?);
        Ok(())
    };
    Map::diff(reader, old, said.map, &mut |Change { slot, old, new }| {
        match (&slot, old, new) {
            (Slot::Skip | Slot::MirrorHeld(_) | Slot::MirrorLog(_), ..) | (_, None, None) => {}
            (_, Some(before), Some(after)) => moved.push((slot.clone(), before, after)),
            (_, Some(before), None) => {
                dropped.insert(slot.clone(), before);
            }
            (_, None, Some(after)) => moved.extend(dropped.remove(&slot).map(|before| (slot.clone(), before, after))),
        }
        if let Slot::Package(_) = slot {
            *packages = *packages + u64::from(old.is_none()) - u64::from(new.is_none());
        }
        match (&slot, new) {
            (Slot::Skip, Some(id)) => {
                let skip = chains::record(reader, id)?;
                if Some(skip.digest()) != checkpoint.skip {
                    return Err(fault!(BadMap, "the map's skip link leads to {}, the record's elsewhere", skip.digest()));
                }
            }
            (Slot::Skip, None) => {}
            (_, None) => lines.push((slot, ChangeLine::Gone)),
            (Slot::MirrorHeld(_), Some(id)) => {
                let digest = FileDigest::of_bytes(&reader.read(ObjectKind::Blob, id, RECORD_MAX)?);
                lines.push((slot, ChangeLine::Held(digest)));
            }
            (_, Some(id)) => heads.push((slot, id)),
        }
        if heads.len() == PACKAGES_AT_ONCE {
            read(&mut heads, &mut lines)?;
        }
        // Entries come with heads of their own, so that no honest checkpoint changes more of them than this.
        if lines.len() as u64 > checkpoint.packages.saturating_add(CHANGES_MAX) {
            return Err(fault!(Limit, "the checkpoint changes more entries than it has packages"));
        }
        Ok(())
    })
    .and_then(|()| read(&mut heads, &mut lines))?;
    if *packages != checkpoint.packages {
        return Err(fault!(BadMap, "the map has {packages} packages, the record says {}", checkpoint.packages));
    }
    let found = changes_digest(&lines.into_iter().collect());
    if found != checkpoint.changes {
        return Err(fault!(BadMap, "the changes have the digest {found}, the record says {}", checkpoint.changes));
    }
    Ok(moved)
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
        at = hands.place(id)?.parent;
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
    parent: Option<GitId>,
}

fn log_of(record: &Record) -> LogId {
    record.draft().link.map_or(record.digest().into(), |link| link.log)
}

/// Verifies every log that the map names.
fn packages(audit: &Audit<'_>, hands: &Hands<'_>, operators: &OperatorLog, map: Map, count: u64, totals: &Totals) -> Result<()> {
    let reader = audit.store.reader();
    let limits = limits(&operators.now().policy);
    let references = audit.store.opened_references("refs/packages/")?;
    // A package's decisions stand right behind it in the map, and are judged with it.
    let mut pending: Vec<Logs> = Vec::with_capacity(PACKAGES_AT_ONCE);
    let run = |batch: &mut Vec<Logs>| {
        batch.par_iter().for_each(|logs| {
            let judge = Judge { audit, hands, operators, limits: &limits, references: &references, totals };
            if let Err(error) = hands.with(|reader, keys| judge.logs(reader, keys, logs)) {
                totals.fault(error.at(&logs.slot));
            }
            if matches!(logs.slot, Slot::Package(_)) {
                let done = totals.done.fetch_add(1, Ordering::Relaxed) + 1;
                (audit.progress)(done, count);
            }
        });
        batch.clear();
    };
    let mut found = 0;
    // The walk proves the shape of every folder. A hostile map of few trees could unfold into more entries than anyone could read.
    map.for_each(&reader, &mut |slot, head| {
        match (&slot, pending.last_mut()) {
            (Slot::Skip, _) => return Ok(()),
            (Slot::Decisions(package), Some(last)) if matches!(&last.slot, Slot::Package(before) if before == package) => {
                last.decisions = Some(head);
                return Ok(());
            }
            (Slot::Package(_), _) => {
                found += 1;
                if found > count {
                    return Err(fault!(BadMap, "the map has more packages than the {count} of its checkpoint"));
                }
            }
            _ => {}
        }
        if pending.len() >= PACKAGES_AT_ONCE {
            run(&mut pending);
        }
        pending.push(Logs { slot, head, decisions: None });
        Ok(())
    })?;
    run(&mut pending);
    if found != count {
        return Err(fault!(BadMap, "the map has {found} packages, its checkpoint says {count}"));
    }
    Ok(())
}

/// What one entry of the map leads to.
struct Logs {
    slot: Slot,
    head: GitId,
    /// The decisions about the package.
    decisions: Option<GitId>,
}

/// What every log is judged by.
struct Judge<'a> {
    audit: &'a Audit<'a>,
    hands: &'a Hands<'a>,
    operators: &'a OperatorLog,
    limits: &'a Limits,
    references: &'a OpenedReferences<'a>,
    totals: &'a Totals,
}

impl Judge<'_> {
    fn logs(&self, reader: &Reader, keys: &mut KeyCache, logs: &Logs) -> Result<()> {
        let seen = |records: &[SignedRecord]| {
            self.hands.keep(records);
            self.totals.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        };
        match &logs.slot {
            Slot::Package(package) => {
                let log = chains::package(reader, logs.head, keys)?;
                seen(&log.records);
                let registry = self.operators.registry().clone();
                log.log.expect(&FullName { registry, package: package.clone() }, self.operators.id())?;
                check_reference(self.audit.store, self.references, reader, package, &log.records, self.totals)?;
                let decisions = match logs.decisions {
                    None => None,
                    Some(head) => {
                        let decisions = chains::decisions(reader, head, self.operators, keys)?;
                        seen(&decisions.records);
                        decisions.log.check_log(&log.log)?;
                        Some(decisions.log)
                    }
                };
                if self.audit.contents { self.contents(reader, package, &log.log, decisions.as_ref()) } else { Ok(()) }
            }
            Slot::Attestation(..) => {
                seen(&chains::attestations(reader, logs.head, self.operators.id(), keys)?.records);
                Ok(())
            }
            Slot::Decisions(package) => Err(fault!(BadMap, "decisions about {package} stand in the map, and no package")),
            Slot::MirrorLog(_) | Slot::MirrorHeld(_) | Slot::Skip => Ok(()),
        }
    }

    /// Reads the files of every release that is not taken down.
    fn contents(&self, reader: &Reader, package: &PackageName, log: &PackageLog, decisions: Option<&DecisionLog>) -> Result<()> {
        if log.releases().next().is_none() {
            return Ok(());
        }
        let name = layout::contents(package);
        let tree = match self.audit.store.reference(&name)? {
            Some(id) => {
                let bytes = reader.read(ObjectKind::Commit, id, 4096)?;
                let tree = commit::parse_contents(reader.format(), &bytes).map_err(|error| error.at(&name))?;
                Tree::read(reader, tree)?
            }
            None => Tree::default(),
        };
        let unknown = |log: &PackageLog, name: &str| name.parse().map_or(true, |version| log.release_of(&version).is_none());
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
        for released in log.releases() {
            let release = &released.release;
            let down = decisions.and_then(|decisions| decisions.takedown_of(log.chain().id(), &release.version)).is_some();
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
    records: &[SignedRecord],
    totals: &Totals,
) -> Result<()> {
    let name = layout::package(package);
    let head = records[records.len() - 1].git_id();
    if references.names(&name, head)? {
        return Ok(());
    }
    match store.reference(&name)? {
        None => Err(fault!(RefMissing, "{name} is gone, the map holds {head}")),
        Some(named) if named == head => Ok(()),
        Some(named) if records.iter().any(|record| record.git_id() == named) => {
            Err(fault!(Rollback, "{name} names {named}, which lies behind {head}, the head in the map"))
        }
        Some(named) => {
            if chains::walk(reader, named)?.iter().any(|record| record.git_id() == head) {
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
