//! Bringing in a great many packages at once: releases that exist elsewhere become logs of this registry, signed by one key.
//!
//! Packages are worked on by all cores, each from its files to its signed and compressed records; what comes of them goes into one pack a
//! batch, and a batch is published whole by one checkpoint and one new `packed-refs`. A process that is killed leaves the last batch that
//! was published, and the next run goes on from there: what is in already is compared and passed over.

use super::accept::{Asked, accept, check_policy, contents_at, limits, published, released_in};
use super::author::{Author, Work};
use super::standing::{Standing, Step, advance, names_of};
use crate::git::bundle::Bundle;
use crate::git::layout::{self, RefName};
use crate::git::pack::{LEVEL_FAST, PackWriter};
use crate::git::refs::{OpenedReferences, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{Reader, RepositoryLock, Store};
use crate::git::upkeep;
use crate::log::operator::OperatorLog;
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::contents::Limits;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::entry::{OperatorPrivilege, PackageEntry, Release};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{FullName, Label, PackageName, Version};
use crate::model::object::WriteObjects as _;
use crate::model::record::SignedRecord;
use crate::model::slot::Slot;
use crate::model::sshsig::{InBulk, Signer};
use crate::model::time::Timestamp;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many packages a batch has at least, where there are so many: what is written for a batch is worth it from there on.
pub const BATCH: u64 = 10_000;
/// And this part of the packages that are in the registry already: each batch rewrites all references, so that batches of one size would
/// make a large import quadratic.
const BATCH_PART: u64 = 8;
/// A batch has at most so many packages, which bounds memory: some 2 KB each.
const BATCH_MAX: u64 = 125_000;
/// A batch has at most so many bytes of files, so that a killed process loses no more work than that.
const BATCH_BYTES: u64 = 1024 * 1024 * 1024;
/// So many packages are handed to the cores at a time: the most, and the first time, when their size is not known.
const AT_ONCE_MAX: u64 = 1024;
const AT_ONCE_FIRST: u64 = 64;

/// A package that is to be in the registry.
pub trait Offer: Send + Sync {
    /// Returns its name.
    fn package(&self) -> &PackageName;

    /// Returns the versions in the order of SemVer, none twice.
    fn versions(&self) -> &[Version];

    /// Reads one of the versions: checks its files, writes them to objects, and returns what its record is to say.
    ///
    /// # Errors
    /// Whatever is wrong with this version, which is then left out.
    fn release(&self, version: &Version, limits: &Limits, objects: &mut Bundle<'_>) -> Result<Release>;

    /// Says whether the package is to begin without a release, where there are no versions.
    fn begins_empty(&self) -> bool {
        false
    }

    /// Says whether files are written with the releases. Without them the registry holds logs alone.
    fn has_contents(&self) -> bool {
        true
    }
}

/// What is to be done, and how.
pub struct Import<'a> {
    /// The registry's own repository.
    pub store: &'a Store,
    /// Its lock; without it nothing is written, and all else is as if.
    pub lock: Option<&'a RepositoryLock>,
    /// Who signs: the first owner of each package, who may make checkpoints too.
    pub author: &'a Author<'a>,
    /// Tells the time, of which each record has its own: a walk over all logs, as git makes one for each clone, takes its time by their square
    /// where millions of commits have the same second.
    pub clock: &'a (dyn Fn() -> Result<Timestamp> + Sync),
    /// A batch has at least so many packages; see [`BATCH`].
    pub batch: u64,
    /// Hears after each step what came of it so far.
    pub progress: &'a dyn Fn(&Tally),
}

/// What came of an import, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packages that were offered.
    pub offered: u64,
    /// Packages that are new.
    pub begun: u64,
    /// Packages that were there and have new versions.
    pub grown: u64,
    /// Versions that are new.
    pub released: u64,
    /// Versions that were in, with the same files.
    pub already_in: u64,
    /// Records that were signed, checkpoints not counted.
    pub records: u64,
    /// Packages and versions that were refused.
    pub refused: u64,
    /// Checkpoints that were made.
    pub checkpoints: u64,
}

/// A package, or one version of it, that is not in.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The package.
    pub package: PackageName,
    /// The version; `None` where it is the package as a whole.
    pub version: Option<Version>,
    /// Why: `conflict` where the version is there with other files.
    pub why: Error,
}

/// What came of an import.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The numbers.
    pub tally: Tally,
    /// What is not in, and why.
    pub refused: Vec<Refused>,
    /// The last checkpoint that was made.
    pub checkpoint: Option<SignedRecord>,
}

/// Brings packages in, batch by batch. Each is offered once.
///
/// # Errors
/// `unauthorized` where the author may not make checkpoints, `io`, `conflict`, and the first error of `offers`; what was published by then
/// stays. What is wrong with a single package is no error.
pub fn import<O: Offer>(import: &Import<'_>, offers: impl IntoIterator<Item = Result<O>>) -> Result<Report> {
    let store = import.store;
    let in_bulk = import.author.signer.secret().map(InBulk);
    let signer: &dyn Signer = in_bulk.as_ref().map_or(import.author.signer, |signer| signer);
    if let Some(lock) = import.lock {
        accept(lock, store, import.author, Asked::Left)?;
    }
    let mut standing = Standing::read(store, &mut KeyCache::default())?;
    may_checkpoint(&standing.operators.log, import.author)?;
    let mut references = 0;
    store.for_each_reference(layout::PACKAGES, |_, _| {
        references += 1;
        Ok(())
    })?;
    // Each new name is looked up in the map only where some of those in it cannot be found otherwise.
    let has_lost = references < standing.checkpoint.checkpoint().packages;
    let mut report = Report::default();
    let mut offers = offers.into_iter().peekable();
    while offers.peek().is_some() {
        let pack = import.lock.map(|_| store.pack(0, LEVEL_FAST).map(Mutex::new)).transpose()?;
        let mut batch = Batch {
            works: Works {
                standing: &standing,
                references: store.opened_references("refs/")?,
                store,
                signer,
                name: &import.author.name,
                clock: import.clock,
                limits: limits(&standing.operators.log.now().policy),
                pack: pack.as_ref(),
                has_lost,
                idle: Mutex::default(),
                failed: AtomicBool::default(),
            },
            step: Step { at_once: true, ..Step::default() },
            known: 0,
        };
        let room = batch_room(import.batch, standing.checkpoint.checkpoint().packages);
        batch.fill(&mut offers, room, &mut report, import.progress)?;
        let Batch { works, mut step, known } = batch;
        drop(works);
        let (Some(lock), Some(pack)) = (import.lock, pack) else { continue };
        if step.changes.is_empty() {
            continue;
        }
        step.known = Some(known);
        let mut objects = Staging::bulk(store, pack.into_inner().unwrap_or_else(PoisonError::into_inner));
        objects.write(ObjectKind::Tree, b"")?;
        let now = (import.clock)()?;
        let author = Author { signer: import.author.signer, name: import.author.name.clone(), now };
        let checkpoint = advance(lock, store, &standing, &standing.operators.log, objects, &author, step)?;
        report.tally.checkpoints += 1;
        report.checkpoint = Some(checkpoint);
        (import.progress)(&report.tally);
        store.refresh()?;
        standing = Standing::read(store, &mut KeyCache::default())?;
    }
    if report.checkpoint.is_some() {
        // Without it all is as good, and reading a little slower: git may be too old for it.
        let _ = upkeep::index_new_packs(store);
    }
    Ok(report)
}

/// Says of a package that it is in the map and its reference is gone: what is built without it would be another log of the same name.
fn lost(package: &PackageName, head: GitId, reference: &RefName) -> Error {
    fault!(RefMissing, "the map holds {package} at {head}, and the reference {reference} is gone")
        .hint(format!("where the record is still there: git update-ref {reference} {head}"))
        .hint("or fetch the reference from a mirror; nothing of this package was changed")
}

/// Says how many packages one batch brings into a registry of so many.
fn batch_room(least: u64, packages: u64) -> u64 {
    (packages / BATCH_PART).max(least).clamp(1, BATCH_MAX)
}

fn may_checkpoint(operators: &OperatorLog, author: &Author<'_>) -> Result<()> {
    if operators.now().keys.holds(author.key(), OperatorPrivilege::Checkpoint) {
        return Ok(());
    }
    let error = fault!(
        Unauthorized,
        "the key {} may not make checkpoints of {}, as an import does",
        author.key().fingerprint(),
        operators.registry()
    );
    Err(error.hint(format!("the keys that may: {}", names_of(operators, OperatorPrivilege::Checkpoint))).asked())
}

/// What one checkpoint is to publish, while it grows.
struct Batch<'a> {
    works: Works<'a>,
    step: Step,
    /// How many of the packages are in the registry already.
    known: u64,
}

impl Batch<'_> {
    fn fill<O: Offer>(
        &mut self,
        offers: &mut impl Iterator<Item = Result<O>>,
        room: u64,
        report: &mut Report,
        progress: &dyn Fn(&Tally),
    ) -> Result<()> {
        let (mut bytes, mut seen) = (0, 0);
        loop {
            let left = room.saturating_sub(self.step.changes.len() as u64);
            if left == 0 || bytes >= BATCH_BYTES {
                return Ok(());
            }
            let at_once = match bytes {
                _ if seen == 0 => AT_ONCE_FIRST,
                0 => AT_ONCE_MAX,
                // As many as there is room for if they are like those before.
                bytes => ((BATCH_BYTES - bytes) / (bytes / seen).max(1)).clamp(1, AT_ONCE_MAX),
            };
            let some: Result<Vec<O>> = offers.by_ref().take(at_once.min(left) as usize).collect();
            let some = some?;
            if some.is_empty() {
                return Ok(());
            }
            seen += some.len() as u64;
            report.tally.offered += some.len() as u64;
            let works = &self.works;
            let done: Vec<Result<Done>> = some.par_iter().map(|offer| works.work(offer)).collect();
            for done in done {
                let done = done?;
                bytes += done.moved.as_ref().map_or(0, |moved| moved.bytes);
                self.take(done, report);
            }
            progress(&report.tally);
        }
    }

    fn take(&mut self, done: Done, report: &mut Report) {
        let tally = &mut report.tally;
        tally.refused += done.refused.len() as u64;
        tally.already_in += done.already_in;
        report.refused.extend(done.refused);
        let Some(moved) = done.moved else { return };
        tally.records += moved.records;
        tally.released += moved.released;
        tally.begun += u64::from(!moved.known);
        tally.grown += u64::from(moved.known);
        self.known += u64::from(moved.known);
        self.step.changes.insert(Slot::Package(moved.package), (Some(moved.head), moved.line));
        self.step.refs.extend(moved.refs);
    }
}

/// What came of one offer.
#[derive(Default)]
struct Done {
    moved: Option<Moved>,
    refused: Vec<Refused>,
    already_in: u64,
}

/// A log that is new or longer.
struct Moved {
    package: PackageName,
    head: GitId,
    line: ChangeLine,
    refs: Vec<RefEdit>,
    known: bool,
    records: u64,
    released: u64,
    bytes: u64,
}

/// What the cores work with.
struct Works<'a> {
    standing: &'a Standing,
    references: OpenedReferences<'a>,
    store: &'a Store,
    signer: &'a dyn Signer,
    name: &'a Label,
    clock: &'a (dyn Fn() -> Result<Timestamp> + Sync),
    limits: Limits,
    pack: Option<&'a Mutex<PackWriter>>,
    /// Whether packages of the map have no references.
    has_lost: bool,
    /// Rayon cuts work into many small pieces; what one piece is done with, the next one goes on with.
    idle: Mutex<Vec<Hand<'a>>>,
    /// Whether one piece met an error that ends the import: a person who declined to sign is not asked for all that is left.
    failed: AtomicBool,
}

struct Hand<'a> {
    reader: Reader,
    keys: KeyCache,
    bundle: Bundle<'a>,
}

impl<'a> Works<'a> {
    fn format(&self) -> ObjectFormat {
        self.store.format()
    }

    /// Brings one package in.
    fn work(&self, offer: &impl Offer) -> Result<Done> {
        if self.failed.load(Ordering::Relaxed) {
            return Ok(Done::default());
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut hand = idle.unwrap_or_else(|| Hand {
            reader: self.store.reader(),
            keys: KeyCache::default(),
            bundle: Bundle::new(self.format(), self.pack),
        });
        let mut done = Done::default();
        let refuse = |why| Refused { package: offer.package().clone(), version: None, why };
        match self.moved(&mut hand, offer, &mut done) {
            Ok(moved) => {
                hand.bundle.flush()?;
                done.moved = moved;
            }
            Err(error) if matches!(error.code(), ErrorCode::Io | ErrorCode::Bug | ErrorCode::Git) => {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
            Err(error) => {
                hand.bundle.discard();
                done.refused.push(refuse(error.asked()));
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(hand);
        Ok(done)
    }

    fn moved(&self, hand: &mut Hand<'a>, offer: &impl Offer, done: &mut Done) -> Result<Option<Moved>> {
        let package = offer.package();
        let author = Author { signer: self.signer, name: self.name.clone(), now: (self.clock)()? };
        let operators = &self.standing.operators.log;
        let reference = layout::package(package);
        let was = self.references.find(&reference)?;
        let known = match was {
            None if self.has_lost => match self.standing.map.get(&hand.reader, &Slot::Package(package.clone()))? {
                Some(head) => return Err(lost(package, head, &reference)),
                None => None,
            },
            None => None,
            Some(_) => published(self.standing, &hand.reader, package, &mut hand.keys)?,
        };
        let is_known = known.is_some();
        let closed = known.as_ref().and_then(|known| known.closed.clone());
        let name = FullName { registry: operators.registry().clone(), package: package.clone() };
        let mut work = known.map(|known| Work::resume(known.log.log, name));
        let mut folders = Vec::new();
        let mut bytes = 0;
        for version in offer.versions() {
            let released = work.as_ref().and_then(|work| work.log().release_of(version)).map(|there| there.release.content);
            // What is there already is only compared.
            let pack = released.and_then(|_| hand.bundle.keep(None));
            let found = offer.release(version, &self.limits, &mut hand.bundle);
            if pack.is_some() {
                hand.bundle.keep(pack);
            }
            if let Some(failure) = hand.bundle.failure() {
                return Err(failure.clone());
            }
            let added = found.and_then(|release| match released {
                Some(content) if content == release.content => {
                    done.already_in += 1;
                    Ok(())
                }
                Some(content) => Err(fault!(
                    Conflict,
                    "{version} is there with the contents {content}, and is offered with {}",
                    release.content
                )
                .hint("a version is released once; give what differs a version of its own")),
                None => {
                    if let Some(closed) = &closed {
                        return Err(closed.clone());
                    }
                    check_policy(operators.now(), &release)?;
                    if work.is_none() {
                        work = Some(self.begin(&author, package)?);
                    }
                    let size = release.size;
                    let folder = TreeEntry { name: version.to_string(), mode: Mode::Tree, id: release.tree };
                    let Some(work) = &mut work else { return Ok(()) };
                    work.add(&author, PackageEntry::Release(release.into()))?;
                    folders.push(folder);
                    bytes += size;
                    Ok(())
                }
            });
            if let Err(why) = added {
                // Who may not release, or register, may not with any version; and a key that does not sign does not sign the next one.
                if matches!(why.code(), ErrorCode::Unauthorized | ErrorCode::Git | ErrorCode::Bug) {
                    return Err(why);
                }
                done.refused.push(Refused { package: package.clone(), version: Some(version.clone()), why: why.asked() });
            }
        }
        if work.is_none() && offer.versions().is_empty() && offer.begins_empty() {
            work = Some(self.begin(&author, package)?);
        }
        let Some(work) = work.filter(|work| !work.added().is_empty()) else { return Ok(None) };
        let Some(head) = work.added().last() else { return Ok(None) };
        for record in work.added() {
            hand.bundle.add_as(record.git_id(), ObjectKind::Commit, record.bytes())?;
        }
        let released = folders.len() as u64;
        let mut refs = Vec::with_capacity(2);
        if released > 0 && offer.has_contents() {
            let name = layout::contents(package);
            let was = self.references.find(&name)?;
            if let Some(was) = was {
                let old = contents_at(&hand.reader, was)?;
                let mut old = released_in(&old, work.log());
                old.retain(|entry| folders.iter().all(|new: &TreeEntry| new.name != entry.name));
                folders.extend(old);
            }
            let tree = Tree::new(folders)?.write(&mut hand.bundle)?;
            let new = hand.bundle.write(ObjectKind::Commit, &commit::contents(tree))?;
            if was != Some(new) {
                refs.push(RefEdit { name, expected: was.into(), new: Some(new) });
            }
        }
        refs.push(RefEdit { name: reference, expected: was.into(), new: Some(head.git_id()) });
        Ok(Some(Moved {
            package: package.clone(),
            head: head.git_id(),
            line: ChangeLine::Head { log: work.log().chain().id(), seq: head.seq(), head: head.digest() },
            refs,
            known: is_known,
            records: work.added().len() as u64,
            released,
            bytes,
        }))
    }

    /// Begins a log, where the policy lets the author register the name.
    fn begin(&self, author: &Author<'_>, package: &PackageName) -> Result<Work> {
        let operators = &self.standing.operators.log;
        let name = FullName { registry: operators.registry().clone(), package: package.clone() };
        let work = Work::begin(author, self.format(), &name, operators.id(), None)?;
        for first in work.added() {
            operators.now().may_register(first, package.namespace())?;
        }
        Ok(work)
    }
}
