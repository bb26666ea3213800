//! A registry at one checkpoint, wherever it is read from: verified from its operators down to the files of a release.

use super::accept::{check_digest, limits};
use super::chains::{self, Replayed};
use super::names::{Entry, Names, Shelf, check_retired};
use super::place::{Dialed, Manners, Place};
use super::places::{self, Asked};
use super::source::{Heads, Source, is_whole};
use crate::git::layout::{self, RefName};
use crate::git::store::Store;
use crate::git::transport::Url;
use crate::log::decision::{DecisionLog, Reset, Takedown};
use crate::log::names::Takedowns;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::log::registry::{CheckedCheckpoint, check_hop};
use crate::model::commit;
use crate::model::contents::{self, Contents, FileEntry};
use crate::model::digest::{GitId, LogId, ObjectFormat, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::Release;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::Held;
use crate::model::key::KeyCache;
use crate::model::map::Map;
use crate::model::moment::Moment;
use crate::model::name::{FullName, Label, PackageName, RegistryName, Version};
use crate::model::object::ReadObjects;
use crate::model::record::Record;
use crate::model::refusal::{REFUSAL_MAX, Refusal};
use crate::model::skip::{Hop, descent};
use crate::model::slot::Slot;
use crate::model::time::Timestamp;
use crate::model::tree::{Mode, Tree};
use crate::trust::memory::{Contradiction, Memory};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Takes a contradiction and returns the error to end with.
pub type Evidence<'a> = dyn Fn(Contradiction) -> Error + Sync + 'a;

/// Takes a place that could not hand something out, why, and the place that did.
pub type Troubles = dyn Fn(&Url, &Error, &Url) + Send + Sync;

/// How a registry is to be read.
#[derive(Clone)]
pub struct Reading<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// Where else it is: its mirrors, and repositories of other registries that mirror it.
    pub mirrors: &'a [Url],
    /// Its name and id, where they are known.
    pub expected: Option<(&'a RegistryName, RegistryId)>,
    /// The name by which it is looked for in a repository that may mirror it, where it is not known otherwise.
    pub mirrored: Option<&'a RegistryName>,
    /// What was seen of it before.
    pub memory: Option<&'a Memory>,
    /// Where verified objects are kept.
    pub cache: Option<&'a Path>,
    /// A repository whose objects are read along: what it holds is not asked for.
    pub beside: Option<&'a Store>,
    /// The package that will be asked for, so that it comes in the same breath.
    pub package: Option<&'a PackageName>,
    /// Whether a person may be asked for a password.
    pub terminal: bool,
    /// Whether nothing may be fetched: what was seen last is what there is.
    pub offline: bool,
    /// After which silence a place is given up.
    pub patience: Duration,
    /// Now, which tells whether a checkpoint is past its time.
    pub now: Timestamp,
    /// What to do with a contradiction.
    pub evidence: &'a Evidence<'a>,
    /// What to do where one place has to stand in for another.
    pub troubles: Arc<Troubles>,
}

impl<'a> Reading<'a> {
    /// Reads a place of which nothing is known.
    pub fn anew(url: &'a Url, now: Timestamp, evidence: &'a Evidence<'a>) -> Self {
        Reading {
            url,
            mirrors: &[],
            expected: None,
            mirrored: None,
            memory: None,
            cache: None,
            beside: None,
            package: None,
            terminal: false,
            offline: false,
            patience: PATIENCE,
            now,
            evidence,
            troubles: Arc::new(|_, _, _| ()),
        }
    }

    /// Returns the name of the registry, where it is known.
    pub(super) fn called(&self) -> Option<&'a RegistryName> {
        self.mirrored.or(self.expected.map(|(name, _)| name))
    }

    /// Returns how its own place is spoken to.
    pub(super) fn manners(&self) -> Manners {
        let mirrored = self.called().cloned();
        Manners { terminal: self.terminal, patience: self.patience, mirrored, is_mirror: false }
    }

    /// Returns the references that are asked for first.
    pub(super) fn names(&self) -> Vec<RefName> {
        let package = self.package.map(layout::package);
        [layout::registry_log(), layout::operators()].into_iter().chain(package).collect()
    }
}

/// After which silence a place is given up where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A registry at its newest checkpoint.
pub struct Snapshot<'a> {
    reading: Reading<'a>,
    source: Source,
    operators: Replayed<OperatorLog>,
    checkpoint: CheckedCheckpoint,
    /// The newest checkpoint, where another one is looked at.
    newest: Option<CheckedCheckpoint>,
    /// The packages that were asked for with the registry itself or together: what their references name, as far as that was asked.
    asked: BTreeMap<PackageName, Option<GitId>>,
    keys: KeyCache,
    /// The logs that were read and that a reset had taken from names.
    put_aside: BTreeMap<PackageName, Vec<LogId>>,
    /// What came of each place.
    places: Vec<Asked>,
}

/// A package: its log and what operators decided about it.
#[derive(Clone, Debug)]
pub struct PackageView {
    /// The name under which it was found.
    pub name: FullName,
    /// The log.
    pub log: Replayed<PackageLog>,
    /// The decisions about that name, where there are any.
    pub decisions: Option<Replayed<DecisionLog>>,
    /// Everything that is taken down, by the decisions about all names of the log.
    pub takedowns: Takedowns,
    names: Names,
    /// The names that were left for this one on the way here, each with its log.
    behind: Vec<(PackageName, Replayed<PackageLog>)>,
    /// The reset that took the log from the name, where one did.
    retired: Option<Reset>,
}

impl PackageView {
    /// Returns the state of the decision log.
    pub fn decision_log(&self) -> Option<&DecisionLog> {
        self.decisions.as_ref().map(|decisions| &decisions.log)
    }

    /// Makes the view of what was found under a name.
    pub(crate) fn new(name: FullName, log: Replayed<PackageLog>, names: Names) -> Self {
        let decisions = names.decided.get(&name.package).cloned();
        PackageView { name, log, decisions, takedowns: names.takedowns(), names, behind: Vec::new(), retired: None }
    }

    /// Returns the name that the package has now, where it was found under one that it left.
    pub fn renamed_to(&self) -> Option<FullName> {
        let (package, _) = self.names.leads.last()?;
        Some(FullName { registry: self.name.registry.clone(), package: package.clone() })
    }

    /// Returns the name that this one was left for and that means another log by now, and the reset that made it so.
    pub fn lost_to(&self) -> Option<(&PackageName, &Reset)> {
        self.names.broken.as_ref().map(|(name, reset)| (name, reset))
    }

    /// Says why a version is not handed out.
    pub fn takedown_of(&self, version: &Version) -> Option<&Takedown> {
        self.takedowns.find(self.log.log.chain().id(), version)
    }

    /// Returns the decision logs about all names of the log, this one included.
    pub fn decided(&self) -> impl DoubleEndedIterator<Item = (&PackageName, &Replayed<DecisionLog>)> {
        self.names.decided.iter()
    }

    /// Returns the name that was asked for, where that led to this one.
    pub fn asked_as(&self) -> Option<FullName> {
        let (package, _) = self.behind.first()?;
        Some(FullName { registry: self.name.registry.clone(), package: package.clone() })
    }

    /// Returns the reset that took this log from the name, where that means another one now.
    pub fn put_aside(&self) -> Option<&Reset> {
        self.retired.as_ref()
    }

    /// Says whether the log, as it goes on under the name that it has now, holds a record.
    pub fn holds(&self, record: &RecordDigest) -> bool {
        self.found().any(|(_, found)| found.log.place_of(record).is_some())
    }

    /// Returns all names under which the log was found, each with the log's records there.
    pub fn found(&self) -> impl Iterator<Item = (&PackageName, &Replayed<PackageLog>)> {
        let others = self.behind.iter().chain(&self.names.leads);
        std::iter::once((&self.name.package, &self.log)).chain(others.map(|(name, log)| (name, log)))
    }

    /// Checks that the package goes on under this name.
    ///
    /// # Errors
    /// `wrong-log` where it left it.
    pub fn check_open(&self) -> Result<()> {
        self.names.left(&self.name.package, &self.name.registry).map_or(Ok(()), Err)
    }

    /// Returns the package under the name that it has now.
    ///
    /// # Errors
    /// `wrong-log` where that name means another log by now.
    pub fn followed(self) -> Result<Self> {
        if self.retired.is_some() {
            return Ok(self);
        }
        if let Some((to, reset)) = &self.names.broken {
            let reset = &reset.reason;
            return Err(fault!(WrongLog, "{} was renamed to {to}, which the operators reset: {reset}", self.name).hint(format!(
                "to have what {to} means now, name it; to stay with the log of before: {}#{}",
                self.name.package,
                self.log.log.chain().id()
            )));
        }
        let PackageView { mut name, log, mut names, mut behind, .. } = self;
        behind.push((name.package, log));
        behind.append(&mut names.leads);
        let Some((package, log)) = behind.pop() else { return Err(fault!(Bug, "a package without a log")) };
        name.package = package;
        Ok(PackageView { behind, ..PackageView::new(name, log, names) })
    }
}

impl<'a> Snapshot<'a> {
    /// Reads a registry's operators and its newest checkpoint, and checks them against what is known and what was seen. Where there are several
    /// places, all are asked, and the newest checkpoint counts.
    ///
    /// # Errors
    /// `id-mismatch`, `wrong-registry`, `rollback`, `fork`, any code of the law, and those of the transport.
    pub fn open(reading: Reading<'a>) -> Result<Self> {
        if !reading.mirrors.is_empty() && !reading.offline {
            return places::open(reading);
        }
        let (source, heads) = Source::open(&reading)?;
        Snapshot::of(reading, source, &heads, KeyCache::default())?.standing_on_memory()
    }

    /// Reads a registry at a place that was asked for its heads, without looking at what was seen before.
    pub(super) fn over(reading: Reading<'a>, dialed: Dialed) -> Result<Self> {
        let (source, heads) = Source::over(&reading, dialed)?;
        Snapshot::of(reading, source, &heads, KeyCache::default())
    }

    /// Checks that it stands on what was seen before.
    ///
    /// # Errors
    /// `rollback`, `fork`; those of the transport.
    pub(super) fn standing_on_memory(self) -> Result<Self> {
        if let Some(memory) = self.reading.memory {
            self.check_seen(memory)?;
        }
        Ok(self)
    }

    /// Checks that it stands on what somebody saw.
    ///
    /// # Errors
    /// `rollback`, `fork`; those of the transport.
    pub fn check_seen(&self, memory: &Memory) -> Result<()> {
        let between = between(&self.source, &self.operators.log, &self.checkpoint, memory)?;
        memory
            .check_checkpoint(&self.operators.log, &self.checkpoint, &between)
            .map_err(|contradiction| (self.reading.evidence)(*contradiction))
    }

    /// Checks that this is a later state of the same history as another one.
    ///
    /// # Errors
    /// `fork` where the two exclude each other; those of the transport.
    pub(super) fn check_stands_on(&self, older: &Snapshot<'_>) -> Result<()> {
        self.check_seen(&Memory::new(&older.operators.log, older.operators.head(), &older.checkpoint))
    }

    /// Takes a contradiction between what somebody holds of it and what it shows, and returns the error to end with.
    pub(super) fn contradicted(&self, contradiction: Contradiction) -> Error {
        (self.reading.evidence)(contradiction)
    }

    /// Takes other places to stand in, and what came of all.
    pub(super) fn stand_in(&mut self, spare: Vec<Place>, asked: Vec<Asked>) {
        self.source.stand_in(spare);
        self.places = asked;
    }

    /// Gives back the places where it was read.
    pub(super) fn into_places(self) -> Vec<Place> {
        self.source.into_places()
    }

    /// Returns the name under which it stands in another registry's repository, where it is read there.
    pub fn under(&self) -> Option<&RegistryName> {
        self.source.under()
    }

    /// Returns what is held of it where it is read, where that is a part.
    pub fn held(&self) -> Option<&Held> {
        self.source.held()
    }

    /// Returns where it is read.
    pub fn url(&self) -> &Url {
        self.reading.url
    }

    /// Returns what came of each place where the registry is, where there are several.
    pub fn places(&self) -> &[Asked] {
        &self.places
    }

    /// Reads the registry again, as it is after something was published in it.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub fn again(self) -> Result<Self> {
        let (source, heads) = self.source.again(&self.reading)?;
        Snapshot::of(self.reading, source, &heads, self.keys)?.standing_on_memory()
    }

    fn of(reading: Reading<'a>, source: Source, heads: &Heads, mut keys: KeyCache) -> Result<Self> {
        let mut operators = chains::operators(&source.reader(), heads.operators, &mut keys)?;
        if let Some((name, id)) = reading.expected {
            check_identity(&operators.log, name, id, reading.url)?;
        }
        let newest = chains::record(&source.reader(), heads.log)?.verify(&mut keys)?;
        let mut checked = CheckedCheckpoint::newest(&operators.log, &newest);
        if matches!(&checked, Err(error) if error.code() == ErrorCode::WrongRegistry)
            && let Some(head) = source.need_reference(&layout::operators())?
        {
            // The operators may have changed between the two fetches.
            operators = chains::operators(&source.reader(), head, &mut keys)?;
            checked = CheckedCheckpoint::newest(&operators.log, &newest);
        }
        let checkpoint = checked?;
        let asked = reading.package.map(|package| (package.clone(), heads.package)).into_iter().collect();
        Ok(Snapshot {
            reading,
            source,
            operators,
            checkpoint,
            newest: None,
            asked,
            keys,
            put_aside: BTreeMap::new(),
            places: Vec::new(),
        })
    }

    /// Checks that the checkpoint is not past its time.
    ///
    /// # Errors
    /// `stale`.
    pub fn check_fresh(&self, now: Timestamp) -> Result<()> {
        self.checkpoint.check_fresh(now)
    }

    /// Looks at the registry as it was at an earlier moment. What it stands on now is what was checked; that it was so then is proven from there.
    ///
    /// # Errors
    /// `not-found` where there is no such checkpoint yet, `anchor-mismatch` where it is none of this registry's, `unauthorized` where it was
    /// disowned, `fork`; those of the transport.
    pub fn go_back(&mut self, moment: &Moment) -> Result<()> {
        let newest = self.newest.take().unwrap_or_else(|| self.checkpoint.clone());
        self.checkpoint = newest.clone();
        let name = self.operators.log.registry().clone();
        let seq = match moment {
            Moment::Seq(seq) | Moment::Both(seq, _) => *seq,
            Moment::Digest(digest) => place_of(&self.source, &newest, digest)?.ok_or_else(|| {
                fault!(AnchorMismatch, "the {} checkpoints of {name} do not hold {digest}", newest.seq() + 1)
                    .hint("it is a checkpoint of another registry, or of another history of this one")
            })?,
        };
        if seq > newest.seq() {
            return Err(fault!(NotFound, "{name} has no checkpoint {seq}, the newest is {}", newest.seq()));
        }
        let records = down_to(&self.source, &newest, seq)?;
        records.windows(2).try_for_each(|pair| check_hop(&pair[0], &pair[1]))?;
        let Some(found) = records.into_iter().next_back().filter(|record| record.seq() == seq) else {
            return Err(fault!(Fork, "checkpoint {} of {name} does not stand on a checkpoint {seq}", newest.seq()));
        };
        if let Moment::Digest(digest) | Moment::Both(_, digest) = moment
            && found.digest() != *digest
        {
            return Err(fault!(AnchorMismatch, "checkpoint {seq} of {name} is {}, expected {digest}", found.digest()));
        }
        if self.operators.log.repudiates(&found.digest()) {
            return Err(fault!(Unauthorized, "checkpoint {seq} of {name} is disowned by the operators"));
        }
        let found = found.verify(&mut self.keys)?;
        self.checkpoint = CheckedCheckpoint::of_history(&self.operators.log, &found)?;
        self.newest = Some(newest);
        self.asked.clear();
        Ok(())
    }

    /// Looks at the registry as it is now again.
    pub fn come_back(&mut self) {
        if let Some(newest) = self.newest.take() {
            self.checkpoint = newest;
            self.asked.clear();
        }
    }

    /// What was seen before, which says nothing about a moment before that.
    fn seen(&self) -> Option<&'a Memory> {
        self.reading.memory.filter(|_| self.newest.is_none())
    }

    /// Returns the operators.
    pub fn operators(&self) -> &Replayed<OperatorLog> {
        &self.operators
    }

    /// Returns the checkpoint.
    pub fn checkpoint(&self) -> &CheckedCheckpoint {
        &self.checkpoint
    }

    /// Returns the map.
    pub fn map(&self) -> Map {
        Map::at(self.checkpoint.map())
    }

    /// Returns why a proposal was refused, where the registry says so.
    ///
    /// # Errors
    /// `not-canonical`, those of the transport.
    pub fn refusal(&self, package: &PackageName, proposal: GitId) -> Result<Option<Refusal>> {
        let Some(note) = self.source.need_reference(&layout::refused(package, proposal))? else { return Ok(None) };
        Refusal::parse(&self.source.reader().read(ObjectKind::Blob, note, REFUSAL_MAX)?).map(Some)
    }

    /// Reads and verifies a package.
    ///
    /// # Errors
    /// `not-found` with near names, `not-published`, `ref-missing`, `rollback`, `fork`, any code of the law.
    pub fn package(&mut self, package: &PackageName) -> Result<PackageView> {
        let found = self.lookup(&Slot::Package(package.clone()))?;
        let reader = self.source.reader();
        let name = layout::package(package);
        let named = match self.asked.get(package) {
            // What was kept has no references; the map vouches for the head.
            _ if matches!(self.source, Source::Kept(_)) => found,
            Some(named) => *named,
            None => self.source.reference(&name)?,
        };
        let full = FullName { registry: self.operators.log.registry().clone(), package: package.clone() };
        let Some(head) = found else {
            if let Some(seen) = self.seen().and_then(|memory| memory.packages.get(package))
                && self.lookup(&Slot::Decisions(package.clone()))?.is_none()
            {
                // A name stays in the map for ever.
                let error = fault!(
                    Rollback,
                    "checkpoint {} of {} holds no {package}, of which seq {} was seen before",
                    self.checkpoint.seq(),
                    full.registry,
                    seen.seq
                );
                let (seen, found) = (seen.record.clone().into_bytes(), self.checkpoint.record().bytes().to_vec());
                return Err((self.reading.evidence)(Contradiction { error, seen, found }));
            }
            return Err(match named {
                Some(_) => fault!(NotPublished, "{full} is proposed, and no checkpoint of {} holds it yet", full.registry)
                    .hint("it is published when an operator accepts it: quipu registry accept PATH"),
                None => self.not_found(&full),
            });
        };
        let Some(named) = named else {
            let error = fault!(
                RefMissing,
                "checkpoint {} of {} holds {package} at {head}, and the reference {name} is gone",
                self.checkpoint.seq(),
                full.registry
            )
            .hint("the host of the registry has to restore it: quipu registry fsck");
            return Err(if self.source.claims(package) { error } else { self.source.not_held(error, package) });
        };
        if !is_whole(&reader, head)? {
            self.source.need(&[head])?;
        }
        let log = chains::package(&self.source.reader(), head, &mut self.keys)?;
        log.log.expect(&full, self.operators.log.id())?;
        let decisions = match self.lookup(&Slot::Decisions(package.clone()))? {
            None => None,
            Some(head) => {
                let decisions = self.decisions(head)?;
                decisions.log.check_log(&log.log)?;
                Some(decisions)
            }
        };
        if named != head {
            self.check_reference(package, &log, decisions.as_ref(), named)?;
        }
        if let Some(memory) = self.seen() {
            // Before anything else that the name may lead to is asked for.
            memory
                .check_package(package, &log.log, log.head(), decisions.as_ref().map(|decisions| &decisions.log))
                .map_err(|contradiction| (self.reading.evidence)(*contradiction))?;
            self.check_decisions(memory, package, decisions.as_ref())?;
        }
        let names = Names::of(self, package, &log.log, decisions)?;
        let view = PackageView::new(full, log, names);
        if let Some(memory) = self.seen() {
            for (name, log) in view.found().skip(1) {
                let own = view.names.decided.get(name).map(|own| &own.log);
                memory
                    .check_package(name, &log.log, log.head(), own)
                    .map_err(|contradiction| (self.reading.evidence)(*contradiction))?;
            }
            for (name, own) in view.decided().filter(|(name, _)| *name != package) {
                self.check_decisions(memory, name, Some(own))?;
            }
        }
        Ok(view)
    }

    fn check_decisions(&self, memory: &Memory, package: &PackageName, decisions: Option<&Replayed<DecisionLog>>) -> Result<()> {
        let records = decisions.map_or(&[][..], |decisions| &decisions.records);
        memory
            .check_decisions(package, decisions.map(|decisions| &decisions.log), records)
            .map_err(|contradiction| (self.reading.evidence)(*contradiction))
    }

    /// Reads a log that a reset took from the name of a package; `None` where none did.
    ///
    /// # Errors
    /// `ref-missing` where it is not handed out, `wrong-log` and `fork` where it is not what was put aside, any code of the law.
    pub fn put_aside(&mut self, view: &PackageView, log: LogId) -> Result<Option<PackageView>> {
        let own = view.decisions.as_ref();
        let Some(reset) = own.and_then(|own| own.log.resets().iter().find(|reset| reset.old == log)).cloned() else {
            return Ok(None);
        };
        let package = &view.name.package;
        let name = layout::retired_log(log);
        let head = match (&self.source, self.reading.memory) {
            (Source::Kept(_), Some(memory)) => memory.retired.get(&log).map(|seen| seen.commit),
            _ => self.source.need_reference(&name)?,
        };
        let missing = || {
            fault!(RefMissing, "the operators reset {package}, and {name}, the log of before, is not handed out")
                .hint("a mirror or a copy of the registry may have it")
        };
        let head = head.ok_or_else(missing)?;
        let found = Shelf::package(self, head).map_err(|error| error.at(&name))?;
        check_retired(&found.log, &reset).map_err(|error| error.at(&name))?;
        if let Some(memory) = self.seen()
            && memory.packages.get(package).is_some_and(|seen| seen.log == log)
        {
            memory
                .check_package(package, &found.log, found.head(), None)
                .map_err(|contradiction| (self.reading.evidence)(*contradiction))?;
        }
        let names = Names::of_retired(self, package, &found.log, own).map_err(|error| error.at(&name))?;
        self.put_aside.entry(package.clone()).or_default().push(log);
        Ok(Some(PackageView { retired: Some(reset), ..PackageView::new(view.name.clone(), found, names) }))
    }

    /// Reads the log that an anchor means: the one of the view, or one that a reset took from its name.
    ///
    /// # Errors
    /// Those of [`Snapshot::put_aside`].
    pub fn meant_by(&mut self, view: PackageView, anchor: &RecordDigest) -> Result<PackageView> {
        if view.holds(anchor) {
            return Ok(view);
        }
        let resets = view.decision_log().map(|own| own.resets().to_vec()).unwrap_or_default();
        // An anchor mostly is the first record, which says whose it is.
        let (named, others): (Vec<_>, Vec<_>) = resets.into_iter().rev().partition(|reset| reset.old.first_record() == *anchor);
        for reset in named.into_iter().chain(others) {
            match self.put_aside(&view, reset.old) {
                Ok(Some(found)) if found.holds(anchor) => return Ok(found),
                Err(error) if error.code() != ErrorCode::RefMissing || reset.old.first_record() == *anchor => return Err(error),
                _ => {}
            }
        }
        Ok(view)
    }

    /// Reads a package as it was seen last, where its logs are kept.
    ///
    /// # Errors
    /// `not-found`, any code of the law.
    pub fn package_seen(&self, memory: &Memory, package: &PackageName) -> Result<PackageView> {
        let mut shelf = Seen { snapshot: self, memory, keys: KeyCache::default() };
        let Some(Entry { log, names }) = Entry::read(&mut shelf, package)? else {
            return Err(fault!(NotFound, "{package} was not seen yet"));
        };
        let name = FullName { registry: self.operators.log.registry().clone(), package: package.clone() };
        Ok(PackageView::new(name, log, names))
    }

    /// Brings all here that is needed to read these packages, in a few fetches for all of them. The map vouches for their heads; references
    /// are not asked for. What is not there, or not right, is for [`Snapshot::package`] to say.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn gather(&mut self, packages: &[PackageName]) -> Result<()> {
        let slots: Vec<Slot> =
            packages.iter().flat_map(|package| [Slot::Package(package.clone()), Slot::Decisions(package.clone())]).collect();
        self.source.need_slots(self.map(), self.checkpoint.checkpoint().packages, &slots)?;
        let reader = self.source.reader();
        let mut heads = Vec::new();
        for slot in &slots {
            let head = self.map().get(&reader, slot)?;
            heads.extend(head);
            if let Slot::Package(package) = slot {
                self.asked.entry(package.clone()).or_insert(head);
            }
        }
        let seen: Vec<GitId> = self.reading.memory.map_or_else(Vec::new, |memory| {
            let seen = |package| memory.packages.get(package).into_iter().chain(memory.decisions.get(package));
            packages.iter().flat_map(seen).map(|seen| seen.commit).collect()
        });
        self.source.need_logs(&heads, &seen).map_err(|error| match packages.iter().find(|package| !self.source.claims(package)) {
            Some(package) => self.source.not_held(error, package),
            None => error,
        })
    }

    /// Brings the contents of releases here, all of them at once, as far as the registry hands them out under the ids that their records
    /// name. What is missing is for [`Snapshot::contents`] to say.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn gather_contents<'r>(&self, releases: impl IntoIterator<Item = &'r Release>) -> Result<()> {
        let missing: Vec<GitId> =
            releases.into_iter().map(|release| release.tree).filter(|tree| !self.has_contents(*tree)).collect();
        match self.source.need_trees(&missing) {
            Err(error) if error.code() == ErrorCode::RefMissing => Ok(()),
            brought => brought,
        }
    }

    /// Says whether a tree of contents is here with all files.
    fn has_contents(&self, tree: GitId) -> bool {
        let limits = limits(&self.operators.log.now().policy);
        let reader = self.source.reader();
        contents::list_tree(&reader, tree, &limits).is_ok_and(|files| files.iter().all(|file| reader.contains(file.blob)))
    }

    fn bring_log(&self, head: GitId) -> Result<()> {
        if is_whole(&self.source.reader(), head)? { Ok(()) } else { self.source.need(&[head]) }
    }

    /// Judges a reference that does not name the head in the map: ahead of it is what is not published yet, behind it is a rollback,
    /// and beside it a fork.
    fn check_reference(
        &mut self,
        package: &PackageName,
        log: &Replayed<PackageLog>,
        decisions: Option<&Replayed<DecisionLog>>,
        named: GitId,
    ) -> Result<()> {
        let name = layout::package(package);
        let behind = |id: GitId| log.records.iter().any(|record| record.git_id() == id);
        let mut named = named;
        if behind(named) {
            // It may have moved since it was asked for.
            match self.source.reference(&name)? {
                Some(again) if again == log.head().git_id() => return Ok(()),
                Some(again) if behind(again) => {
                    return Err(fault!(
                        Rollback,
                        "{name} names {again}, which lies behind {}, the head that checkpoint {} holds",
                        log.head().git_id(),
                        self.checkpoint.seq()
                    ));
                }
                Some(again) => named = again,
                None => return Err(fault!(RefMissing, "{name} is gone")),
            }
        }
        if !is_whole(&self.source.reader(), named)? {
            self.source.need(&[named])?;
        }
        let beside = chains::walk(&self.source.reader(), named)?;
        if beside.iter().any(|record| record.git_id() == log.head().git_id()) {
            return Ok(());
        }
        // After a reset it moves last.
        let first = beside.first().map(|record| record.digest());
        if decisions.is_some_and(|own| own.log.resets().iter().any(|reset| Some(reset.old.first_record()) == first)) {
            return Ok(());
        }
        let found = beside.last().map(|record| record.bytes().to_vec()).unwrap_or_default();
        let error = fault!(
            Fork,
            "{name} names {named}, which does not stand on {}, the head that checkpoint {} holds",
            log.head().git_id(),
            self.checkpoint.seq()
        );
        Err((self.reading.evidence)(Contradiction { error, seen: log.head().bytes().to_vec(), found }))
    }

    /// Looks up what stands in one place of the map.
    fn lookup(&self, slot: &Slot) -> Result<Option<GitId>> {
        self.source.lookup(self.map(), self.checkpoint.checkpoint().packages, slot)
    }

    /// Says whether the server was found to know no filters, so that the whole map had to come.
    pub fn is_found_without_filters(&self) -> bool {
        self.source.is_found_without_filters()
    }

    fn not_found(&self, full: &FullName) -> Error {
        // Of a large map only what is here is looked at; without it nothing is suggested.
        let _ = self.source.need_small_map(self.map(), self.checkpoint.checkpoint().packages);
        let error = fault!(NotFound, "{} has no package {}", full.registry, full.package);
        let near = near_names(&self.source.reader(), self.map(), &full.package);
        match near.as_slice() {
            [] => error,
            names => error.hint(format!("did you mean {}?", names.join(" or "))),
        }
    }

    /// Reads the files of a release and hands each to `on_file`; what it was given is vouched for when this returns without an error.
    ///
    /// # Errors
    /// `content-mismatch`, `bad-contents`, `limit`, `ref-missing` where the registry does not hand out the contents.
    pub fn contents(
        &mut self,
        package: &PackageName,
        release: &Release,
        mut on_file: impl FnMut(&FileEntry, Vec<u8>) -> Result<()>,
    ) -> Result<Contents> {
        let tree = self.contents_tree(package, release)?;
        let limits = limits(&self.operators.log.now().policy);
        let found = contents::read_tree(&self.source.reader(), tree, &limits, &mut on_file)?;
        check_digest(release, &found)?;
        Ok(found)
    }

    /// Finds a tree with the files of a release, here or there. Whether they are the right ones is for the digest to say.
    fn contents_tree(&self, package: &PackageName, release: &Release) -> Result<GitId> {
        if self.has_contents(release.tree) {
            return Ok(release.tree);
        }
        match self.source.need(&[release.tree]) {
            Ok(()) => return Ok(release.tree),
            Err(error) if error.code() == ErrorCode::RefMissing => {}
            Err(error) => return Err(error),
        }
        // The tree in the record is a hint; the references have the last word.
        let missing = || fault!(RefMissing, "the registry does not hand out the contents of {package} {}", release.version);
        let put_aside = self.put_aside.get(package).into_iter().flatten().map(|log| layout::retired_contents(*log));
        let mut found = None;
        for name in std::iter::once(layout::contents(package)).chain(put_aside) {
            let Some(commit) = self.source.need_reference(&name)? else { continue };
            let reader = self.source.reader();
            let tree = commit::parse_contents(reader.format(), &reader.read(ObjectKind::Commit, commit, 4096)?)?;
            let entry = Tree::read(&reader, tree)?.get(&release.version.to_string()).cloned();
            let entry = entry.filter(|entry| entry.mode == Mode::Tree).map(|entry| entry.id);
            if entry == Some(release.tree) {
                return Ok(release.tree);
            }
            found = found.or(entry);
        }
        found.ok_or_else(missing)
    }

    /// Keeps what was fetched and verified.
    ///
    /// # Errors
    /// `io`.
    pub fn keep(&self) -> Result<()> {
        self.reading.cache.map_or(Ok(()), |cache| self.source.keep(cache))
    }

    /// Keeps what was fetched and verified in a place that was not known before.
    ///
    /// # Errors
    /// `io`.
    pub fn keep_in(&self, cache: &Path) -> Result<()> {
        self.source.keep(cache)
    }

    /// Returns what is to be remembered of the registry, and of the packages that were looked at.
    pub fn remember<'v>(&self, views: impl IntoIterator<Item = (&'v PackageName, &'v PackageView)>) -> Memory {
        let head = self.operators.head();
        let newest = self.newest.as_ref().unwrap_or(&self.checkpoint);
        let mut memory = match self.reading.memory {
            Some(memory) => {
                let mut memory = memory.clone();
                memory.remember_registry(&self.operators.log, head, newest);
                memory
            }
            None => Memory::new(&self.operators.log, head, newest),
        };
        for (_, view) in views {
            for (name, decisions) in view.decided() {
                memory.remember_decisions(name, decisions.log.chain().id(), decisions.head());
            }
            if view.retired.is_some() {
                memory.remember_retired(&view.name.package, view.log.log.chain().id(), view.log.head());
                continue;
            }
            for (name, log) in view.found() {
                memory.remember_package(name, log.log.chain().id(), log.head());
            }
        }
        memory
    }

    /// Returns what the registry lets a release be.
    pub fn limits(&self) -> contents::Limits {
        limits(&self.operators.log.now().policy)
    }

    /// Returns the object format of the registry's repository.
    pub fn format(&self) -> ObjectFormat {
        self.source.store().format()
    }

    /// Returns the repository that is read: the registry's own where that is on this machine.
    pub fn store(&self) -> &Store {
        self.source.store()
    }

    /// Says whether what was verified earlier stays where it is when [`Snapshot::keep`] moves to it what was fetched now.
    pub fn is_kept_beside(&self) -> bool {
        self.source.is_kept_beside()
    }

    /// Says whether a person may be asked for a password when more is fetched.
    pub fn may_ask(&self) -> bool {
        self.source.may_ask()
    }

    /// Returns the folder of all objects that are here.
    pub fn objects_path(&self) -> std::path::PathBuf {
        self.source.store().objects_path()
    }

    /// Returns where it is read from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns a reader of all that is here.
    pub fn reader(&self) -> crate::git::store::Reader {
        self.source.reader()
    }
}

impl Shelf for Snapshot<'_> {
    fn operators(&self) -> &OperatorLog {
        &self.operators.log
    }

    fn head(&mut self, slot: &Slot) -> Result<Option<GitId>> {
        self.lookup(slot)
    }

    fn package(&mut self, head: GitId) -> Result<Replayed<PackageLog>> {
        self.bring_log(head)?;
        chains::package(&self.source.reader(), head, &mut self.keys)
    }

    fn decisions(&mut self, head: GitId) -> Result<Replayed<DecisionLog>> {
        self.bring_log(head)?;
        chains::decisions(&self.source.reader(), head, &self.operators.log, &mut self.keys)
    }
}

/// What was seen of a registry, as far as it is kept.
struct Seen<'s> {
    snapshot: &'s Snapshot<'s>,
    memory: &'s Memory,
    keys: KeyCache,
}

impl Shelf for Seen<'_> {
    fn operators(&self) -> &OperatorLog {
        &self.snapshot.operators.log
    }

    fn head(&mut self, slot: &Slot) -> Result<Option<GitId>> {
        let seen = match slot {
            Slot::Package(package) => self.memory.packages.get(package),
            Slot::Decisions(package) => self.memory.decisions.get(package),
            _ => None,
        };
        Ok(seen.map(|seen| seen.commit))
    }

    fn package(&mut self, head: GitId) -> Result<Replayed<PackageLog>> {
        chains::package(&self.snapshot.reader(), head, &mut self.keys)
    }

    fn decisions(&mut self, head: GitId) -> Result<Replayed<DecisionLog>> {
        let snapshot = self.snapshot;
        chains::decisions(&snapshot.reader(), head, &snapshot.operators.log, &mut self.keys)
    }
}

fn check_identity(operators: &OperatorLog, name: &RegistryName, id: RegistryId, url: &Url) -> Result<()> {
    if operators.registry() != name {
        return Err(fault!(WrongRegistry, "{url} is the registry {}, expected {name}", operators.registry()));
    }
    if operators.id() != id {
        return Err(fault!(IdMismatch, "{url} has the registry id {}, expected {id}", operators.id())
            .hint("it is another registry that bears the same name; nothing was taken from it"));
    }
    Ok(())
}

/// So many checkpoints come in one fetch, one after the other; of more, only those along skip links. They are more bytes than those, and fewer
/// questions: what is best depends on whether each question takes a connection of its own.
const SHORT: u64 = 16;
const SHORT_WITH_CONNECTIONS: u64 = 500;

/// Reads checkpoints from the newest down to the one that was seen, both included, each of which names the next as the one before it or as
/// its skip.
fn between(source: &Source, operators: &OperatorLog, newest: &CheckedCheckpoint, memory: &Memory) -> Result<Vec<Record>> {
    let seen = &memory.checkpoint;
    if newest.seq() <= seen.seq || operators.repudiates(&seen.head) {
        return Ok(Vec::new());
    }
    down_to(source, newest, seen.seq)
}

/// Reads checkpoints from the newest down to one with this number, both included, each of which names the next as the one before it or as
/// its skip.
fn down_to(source: &Source, newest: &CheckedCheckpoint, seq: u64) -> Result<Vec<Record>> {
    if source.is_without_filters() {
        return walk_back(source, newest, |record| record.seq() <= seq);
    }
    let is_short = newest.seq() - seq <= if source.has_connection() { SHORT } else { SHORT_WITH_CONNECTIONS };
    let mut records: Vec<Record> = vec![(**newest.record()).clone()];
    let mut hops = descent(newest.seq(), seq);
    while let (Some(hop), Some(last)) = (hops.next(), records.last()) {
        if let Some(record) = source.proof_of(hop.seq())? {
            records.push(record);
            continue;
        }
        let next = match hop {
            Hop::Skip(_) => Map::at(last.draft().tree).get(&source.reader(), &Slot::Skip)?,
            Hop::Prev(_) => last.draft().parent,
        };
        // Who names none does not stand on what was seen.
        let Some(next) = next else { break };
        if !is_here(&source.reader(), next)? {
            let count = if is_short {
                hop.seq() - seq + 1
            } else {
                // Those that follow one by one come along.
                let mut ahead = descent(hop.seq(), seq);
                1 + std::iter::from_fn(|| ahead.next()).take_while(|hop| matches!(hop, Hop::Prev(_))).count() as u64
            };
            source.need_checkpoints(next, u32::try_from(count).unwrap_or(u32::MAX))?;
        }
        let record = chains::record(&source.reader(), next)?;
        let is_elsewhere = record.seq() != hop.seq();
        records.push(record);
        // A link that leads elsewhere is found out when the records are compared.
        if is_elsewhere {
            break;
        }
    }
    Ok(records)
}

/// Says whether a checkpoint is here with the root of its map, which names the next one.
fn is_here(reader: &crate::git::store::Reader, id: GitId) -> Result<bool> {
    match chains::record(reader, id) {
        Ok(record) => Ok(record.draft().tree == id.format().empty_tree() || reader.contains(record.draft().tree)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads all checkpoints from the newest down to the first one that will do.
fn walk_back(source: &Source, newest: &CheckedCheckpoint, will_do: impl Fn(&Record) -> bool) -> Result<Vec<Record>> {
    let walk = |objects: &crate::git::store::Reader| -> Result<Vec<Record>> {
        let mut records = vec![chains::record(objects, newest.record().git_id())?];
        while let Some(last) = records.last()
            && !will_do(last)
        {
            let Some(parent) = last.draft().parent else { break };
            records.push(chains::record(objects, parent)?);
        }
        Ok(records)
    };
    match walk(&source.reader()) {
        Err(error) if error.code() == ErrorCode::NotFound && matches!(source, Source::Remote(_)) => {
            walk(&source.history()?.store().reader())
        }
        walked => walked,
    }
}

/// Finds the number of a checkpoint of which only the digest is known.
fn place_of(source: &Source, newest: &CheckedCheckpoint, digest: &RecordDigest) -> Result<Option<u64>> {
    let records = walk_back(source, newest, |record| record.digest() == *digest)?;
    Ok(records.last().filter(|record| record.digest() == *digest).map(|record| record.seq()))
}

/// So many trees are read at most to find names that a person may have meant: whoever begins a package is told that there is none, too.
const NEAR_TREES: u32 = 40;

/// Reads so many objects, and no more.
pub(super) struct Few<'a, R> {
    objects: &'a R,
    left: Cell<u32>,
}

impl<'a, R> Few<'a, R> {
    /// Lets so many objects be read.
    pub(super) fn of(objects: &'a R, most: u32) -> Self {
        Few { objects, left: Cell::new(most) }
    }
}

impl<R: ReadObjects> ReadObjects for Few<'_, R> {
    fn format(&self) -> ObjectFormat {
        self.objects.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| fault!(Limit, "enough was read"))?;
        self.left.set(left);
        self.objects.read(kind, id, limit)
    }
}

/// Finds names that a person may have meant, where they are found quickly.
fn near_names(objects: &impl ReadObjects, map: Map, wanted: &PackageName) -> Vec<String> {
    const NEAR: usize = 3;
    let objects = &Few::of(objects, NEAR_TREES);
    let mut near: Vec<(usize, String)> = Vec::new();
    let mut consider = |name: &PackageName| {
        let distance = strsim::damerau_levenshtein(&name.to_string(), &wanted.to_string());
        let same = name.name() == wanted.name();
        if distance <= 2 || (distance <= 3 && name.name().as_str().len() > 6) || same {
            near.push((distance, name.to_string()));
        }
    };
    let mut look = || -> Result<()> {
        let mut namespaces = map.namespaces(objects)?;
        let distance = |namespace: &Label| strsim::damerau_levenshtein(namespace.as_str(), wanted.namespace().as_str());
        namespaces.retain(|namespace| distance(namespace) <= 2);
        namespaces.sort_by_key(distance);
        namespaces.truncate(NEAR);
        for namespace in namespaces {
            if let Some(packages) = map.packages_of(objects, &namespace)? {
                packages.for_each(objects, &mut |slot, _| {
                    if let Slot::Package(name) = &slot {
                        consider(name);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    };
    // What was found by then will do.
    let _ = look();
    near.sort();
    near.into_iter().take(NEAR).map(|(_, name)| name).collect()
}
