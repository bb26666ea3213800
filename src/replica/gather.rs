//! Gathering what is new of a registry, for whoever is to hold it: fetched into a quarantine, verified there as it would be at home, and not moved.

use super::accept::contents_at;
use super::audit::{Audit, Part, audit, audit_parts};
use super::chains::{self, Replayed};
use super::mirror::{Kept, Wanted};
use super::names::{Names, Shelf};
use super::page;
use super::part::{Noting, PartHeads, bring_part, checkpoints, part_of};
use super::snapshot::Snapshot;
use super::source::is_whole;
use crate::git::layout::{self, RefName};
use crate::git::pack::LEVEL_FAST;
use crate::git::quarantine::Quarantine;
use crate::git::staging::Staging;
use crate::git::store::Store;
use crate::log::decision::DecisionLog;
use crate::log::names::Takedowns;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::commit;
use crate::model::digest::{GitId, LogId, ObjectKind, RecordDigest};
use crate::model::entry::{Entry, PackageEntry};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::{self, Held};
use crate::model::key::KeyCache;
use crate::model::map::{Change, Map};
use crate::model::moment::Moment;
use crate::model::name::{PackageName, RegistryName, Version};
use crate::model::object::{ReadObjects, STRUCTURE_MAX, WriteObjects as _};
use crate::model::proofs;
use crate::model::record::Record;
use crate::model::slot::Slot;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use crate::trust::memory::Contradiction;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// From so many packages on what names their files goes into a pack as it is made.
const PACKED_MIN: usize = 256;
/// So many logs are asked for together.
const LOGS_AT_ONCE: usize = 250_000;
/// What is to be brought of a registry, and to where.
pub struct Gathering<'a> {
    /// The repository.
    pub store: &'a Store,
    /// What is to be held.
    pub wanted: &'a Wanted,
    /// What is held now.
    pub kept: Option<&'a Kept>,
    /// The registry as it is now.
    pub upstream: &'a Snapshot<'a>,
    /// The registry as it was when somebody else held it, where only what came since is brought.
    pub since: Option<&'a Snapshot<'a>>,
    /// Hears how many packages are verified, and of how many.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What was brought of a registry and is verified.
pub struct Gathered {
    /// Its objects.
    pub quarantine: Quarantine,
    /// What the references of the mirror become, with their names at home; `None` where one goes.
    pub refs: Vec<(RefName, Option<GitId>)>,
    /// The proofs, where a part of the registry is held.
    pub proofs: Option<GitId>,
    /// All references that are covered, where they are not only those that changed.
    pub(super) covered: BTreeSet<RefName>,
    /// The commits that stood there before, where only what came since is brought.
    pub before: Vec<GitId>,
    /// What there was.
    pub synced: Synced,
}

/// What a step of a mirror did.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// The place of the newest checkpoint that is held.
    pub seq: u64,
    /// How many packages were new or had changed.
    pub packages: u64,
    /// How many releases' files came.
    pub releases: u64,
    /// How many releases' files are not held any more, since they were taken down.
    pub dropped: u64,
    /// Our own checkpoint that vouches for it; `None` where nothing was new.
    pub checkpoint: Option<(u64, RecordDigest)>,
}

/// A package that is new or has changed.
struct Changed {
    package: PackageName,
    head: GitId,
    /// Its head as it is held now.
    was: Option<GitId>,
    decisions: Option<GitId>,
    decisions_were: Option<GitId>,
}

/// What was found to have changed, and what proves it.
#[derive(Default)]
struct News {
    packages: Vec<Changed>,
    attestations: Vec<(RegistryName, PackageName, GitId)>,
    /// The trees of the map that prove a part of it.
    trees: BTreeMap<GitId, Vec<u8>>,
    /// All that is covered, where that is a part: for what is not covered any more.
    covered: BTreeSet<RefName>,
}

impl Gathering<'_> {
    /// Says whether all that is wanted is held already.
    pub(super) fn is_done(&self) -> bool {
        let same = self.kept.filter(|kept| self.wanted.is_held_as(&kept.held));
        same.is_some_and(|kept| kept.held.checkpoint == self.upstream.checkpoint().digest())
    }

    /// Brings what is new and verifies it; `None` where there is nothing.
    ///
    /// # Errors
    /// Those of [`super::mirror::Syncing::run`].
    pub fn run(&self) -> Result<Option<Gathered>> {
        let (domain, newest) = (&self.wanted.name, self.upstream.checkpoint());
        if self.is_done() {
            return Ok(None);
        }
        let same = self.kept.filter(|kept| self.wanted.is_held_as(&kept.held));
        if let Some(kept) = self.kept
            && kept.held.seq > newest.seq()
        {
            return Err(fault!(
                Conflict,
                "another process brought the mirror of {domain} to checkpoint {} meanwhile, this one saw checkpoint {}",
                kept.held.seq,
                newest.seq()
            ));
        }
        if self.upstream.format() != self.store.format() {
            let format = self.upstream.format();
            return Err(fault!(
                BadRepository,
                "{domain} has the object format {format}, this repository {}: a mirror has that of its registry",
                self.store.format()
            )
            .hint(format!("make a repository for it: quipu registry init PATH --name DOMAIN --object-format {format}")));
        }
        let view = self.store.mirrored(domain)?;
        let quarantine = Quarantine::of(self.store)?;
        let is_whole = held::is_whole(&self.wanted.patterns);
        let mut news = match is_whole {
            true => self.news_of_all(&quarantine, &view, same)?,
            false => {
                let operators = self.upstream.operators().head().git_id();
                let until: Vec<GitId> = view.reference(&layout::operators())?.into_iter().collect();
                if !until.contains(&operators) {
                    self.upstream.source().fetch_into(&quarantine, &[operators], &until)?;
                }
                self.news_of_part(&view, same)?
            }
        };
        if self.kept.is_some() && (same.is_none() || !is_whole) {
            // What is held of a package that is still wanted does not go.
            view.for_each_reference(layout::PACKAGES, |name, was| match layout::parse_package(&name) {
                Some(package) if self.wanted.covers(&package) && !news.covered.contains(&name) => Err(self.gone(&package, was)),
                _ => Ok(()),
            })?;
        }
        let mut work = Work {
            step: self,
            view: &view,
            quarantine: &quarantine,
            refs: Vec::new(),
            before: Vec::new(),
            known: BTreeSet::new(),
            trees: BTreeMap::new(),
            more: Vec::new(),
            synced: Synced::default(),
        };
        work.synced.seq = newest.seq();
        work.bring(&mut news)?;
        work.refs.push((layout::operators(), Some(self.upstream.operators().head().git_id())));
        if is_whole {
            work.refs.push((layout::registry_log(), Some(newest.record().git_id())));
        }
        work.verify(&news, same, is_whole)?;
        let proofs = if is_whole { None } else { Some(work.prove(&news)?) };
        let Work { refs, before, synced, .. } = work;
        Ok(Some(Gathered { quarantine, refs, proofs, covered: news.covered, before, synced }))
    }

    /// Says that a package is not in the registry any more.
    fn gone(&self, package: &PackageName, was: GitId) -> Error {
        let newest = self.upstream.checkpoint();
        let error = fault!(
            Rollback,
            "checkpoint {} of {} holds no {package}, of which {was} is held here",
            newest.seq(),
            self.wanted.name
        );
        let found = newest.record().bytes().to_vec();
        match chains::record(&self.store.reader(), was) {
            Ok(seen) => self.upstream.contradicted(Contradiction { error, seen: seen.bytes().to_vec(), found }),
            Err(_) => error,
        }
    }

    /// Says what will be held.
    pub(super) fn held(&self) -> Held {
        let newest = self.upstream.checkpoint();
        Held {
            registry: self.wanted.name.clone(),
            id: self.wanted.id,
            log: newest.record().draft().link.map_or(LogId::from(newest.digest()), |link| link.log),
            seq: newest.seq(),
            checkpoint: newest.digest(),
            patterns: self.wanted.patterns.clone(),
            contents: self.wanted.contents,
            keep_taken_down: self.wanted.keep_taken_down,
        }
    }

    /// Finds what changed in the whole registry, and brings its registry log here.
    fn news_of_all(&self, quarantine: &Quarantine, view: &Store, same: Option<&Kept>) -> Result<News> {
        let (newest, operators) = (self.upstream.checkpoint().record().git_id(), self.upstream.operators().head().git_id());
        let until: Vec<GitId> = [layout::registry_log(), layout::operators()]
            .iter()
            .filter_map(|name| view.reference(name).transpose())
            .collect::<Result<_>>()?;
        let source = self.upstream.source();
        source.fetch_into(quarantine, &[newest, operators], &until).map_err(|error| source.not_held(error, "all of it"))?;
        let reader = quarantine.store().reader();
        let from = match same {
            Some(kept) => Map::at(chains::record(&reader, kept.commit)?.draft().tree),
            None => Map::empty(reader.format()),
        };
        let to = self.upstream.map();
        let held = view.opened_references("refs/")?;
        let mut packages: BTreeMap<PackageName, Changed> = BTreeMap::new();
        let mut attestations = Vec::new();
        Map::diff(&reader, from, to, &mut |Change { slot, old, new }| {
            match (slot, new) {
                (Slot::Package(package) | Slot::Decisions(package), _) if !packages.contains_key(&package) => {
                    let (logs, beside) = (Slot::Package(package.clone()), Slot::Decisions(package.clone()));
                    let (was, decisions_were) = match same {
                        Some(_) => (from.get(&reader, &logs)?, from.get(&reader, &beside)?),
                        None => (held.find(&layout::package(&package))?, held.find(&layout::decisions(&package))?),
                    };
                    let head = match (to.get(&reader, &logs)?, was) {
                        (Some(head), _) => head,
                        (None, Some(was)) => return Err(self.gone(&package, was)),
                        (None, None) => return Err(fault!(BadMap, "decisions about {package} stand alone")),
                    };
                    let decisions = to.get(&reader, &beside)?;
                    packages.insert(package.clone(), Changed { package, head, was, decisions, decisions_were });
                }
                (Slot::Attestation(of, package), Some(head)) if old != Some(head) => attestations.push((of, package, head)),
                _ => {}
            }
            Ok(())
        })?;
        let packages: Vec<Changed> = packages.into_values().collect();
        let covered = if same.is_some() { BTreeSet::new() } else { covered(packages.iter(), &attestations) };
        Ok(News { packages, attestations, covered, ..News::default() })
    }

    /// Finds what changed in a part of the registry, and the trees that prove it.
    fn news_of_part(&self, view: &Store, same: Option<&Kept>) -> Result<News> {
        let source = self.upstream.source();
        let (map, count) = (self.upstream.map(), self.upstream.checkpoint().checkpoint().packages);
        let slots_of = |package: &PackageName| [Slot::Package(package.clone()), Slot::Decisions(package.clone())];
        bring_part(self.upstream, &self.wanted.patterns)?;
        let before = match self.since {
            None => None,
            Some(since) => {
                bring_part(since, &self.wanted.patterns)?;
                Some(part_of(&since.reader(), since.map(), &self.wanted.patterns)?)
            }
        };
        let reader = self.upstream.reader();
        let noting = Noting { reader: &reader, trees: RefCell::default() };
        let mut found = part_of(&noting, map, &self.wanted.patterns)?;
        // Other names of what is held are held along with it.
        let mut others = Vec::new();
        view.for_each_reference(layout::PACKAGES, |name, _| {
            others.extend(layout::parse_package(&name).filter(|package| same.is_some() && !self.wanted.covers(package)));
            Ok(())
        })?;
        if !others.is_empty() {
            let slots: Vec<Slot> = others.iter().flat_map(slots_of).collect();
            source.need_slots(map, count, &slots)?;
            for package in others {
                let [log, decisions] = slots_of(&package);
                let (log, decisions) = (map.get(&noting, &log)?, map.get(&noting, &decisions)?);
                found.insert(package, PartHeads { log, decisions });
            }
        }
        let about = |package: &PackageName| Slot::Attestation(self.wanted.name.clone(), package.clone());
        source.need_slots(map, count, &found.keys().map(about).collect::<Vec<Slot>>())?;
        let reader = self.upstream.reader();
        let noting = Noting { reader: &reader, trees: noting.trees };
        let mut news = News::default();
        let mut all = Vec::new();
        for (package, PartHeads { log, decisions }) in found {
            let Some(head) = log else { continue };
            if let Some(head) = map.get(&noting, &about(&package))? {
                news.attestations.push((self.wanted.name.clone(), package.clone(), head));
            }
            let (was, decisions_were) = match &before {
                Some(before) => {
                    let heads = before.get(&package).copied().unwrap_or_default();
                    (heads.log, heads.decisions)
                }
                None => (view.reference(&layout::package(&package))?, view.reference(&layout::decisions(&package))?),
            };
            all.push(Changed { package, head, was, decisions, decisions_were });
        }
        news.covered = covered(all.iter(), &news.attestations);
        if same.is_some() {
            all.retain(|changed| changed.was != Some(changed.head) || changed.decisions_were != changed.decisions);
            let is_new = |(of, package, head): &(RegistryName, PackageName, GitId)| {
                view.reference(&layout::attestation(of, package)).map(|found| found != Some(*head))
            };
            let mut left = Vec::new();
            for attestation in std::mem::take(&mut news.attestations) {
                if is_new(&attestation)? {
                    left.push(attestation);
                }
            }
            news.attestations = left;
        }
        news.packages = all;
        news.trees = noting.trees.into_inner();
        Ok(news)
    }
}

fn covered<'c>(
    packages: impl Iterator<Item = &'c Changed>,
    attestations: &[(RegistryName, PackageName, GitId)],
) -> BTreeSet<RefName> {
    let of = |changed: &Changed| {
        let package = &changed.package;
        [layout::package(package), layout::decisions(package), layout::contents(package)]
    };
    let about = attestations.iter().map(|(of, package, _)| layout::attestation(of, package));
    packages.flat_map(of).chain(about).collect()
}

/// A step under way.
struct Work<'a> {
    step: &'a Gathering<'a>,
    view: &'a Store,
    quarantine: &'a Quarantine,
    /// The references of the mirror that move, with their names at home.
    refs: Vec<(RefName, Option<GitId>)>,
    before: Vec<GitId>,
    /// The packages that are looked at, and the trees that prove those among them that are other names of another one.
    known: BTreeSet<PackageName>,
    trees: BTreeMap<GitId, Vec<u8>>,
    /// Other names of what changed, which are to be held along with it.
    more: Vec<Changed>,
    synced: Synced,
}

/// The logs of the registry, fetched as they are asked for.
struct Afar<'w, 'a, 'k> {
    work: &'w mut Work<'a>,
    keys: &'k mut KeyCache,
}

impl Afar<'_, '_, '_> {
    /// Brings a log here, unless it is.
    fn need(&mut self, head: GitId) -> Result<()> {
        let work = &*self.work;
        if is_whole(&work.quarantine.store().reader(), head)? {
            return Ok(());
        }
        work.step.upstream.source().fetch_into(work.quarantine, &[head], &[]).map_err(|error| work.withheld(error, "a log"))
    }
}

impl Shelf for Afar<'_, '_, '_> {
    fn operators(&self) -> &OperatorLog {
        &self.work.step.upstream.operators().log
    }

    fn head(&mut self, slot: &Slot) -> Result<Option<GitId>> {
        let upstream = self.work.step.upstream;
        if held::is_whole(&self.work.step.wanted.patterns) {
            return upstream.map().get(&self.work.quarantine.store().reader(), slot);
        }
        upstream.source().need_slots(upstream.map(), upstream.checkpoint().checkpoint().packages, std::slice::from_ref(slot))?;
        let reader = upstream.reader();
        let noting = Noting { reader: &reader, trees: RefCell::default() };
        let found = upstream.map().get(&noting, slot);
        self.work.trees.extend(noting.trees.into_inner());
        found
    }

    fn package(&mut self, head: GitId) -> Result<Replayed<PackageLog>> {
        self.need(head)?;
        chains::package(&self.work.quarantine.store().reader(), head, self.keys)
    }

    fn decisions(&mut self, head: GitId) -> Result<Replayed<DecisionLog>> {
        self.need(head)?;
        let operators = &self.work.step.upstream.operators().log;
        chains::decisions(&self.work.quarantine.store().reader(), head, operators, self.keys)
    }
}

impl Work<'_> {
    /// Brings the logs and the files of what changed into the quarantine.
    fn bring(&mut self, news: &mut News) -> Result<()> {
        self.known.extend(news.packages.iter().map(|changed| changed.package.clone()));
        let source = self.step.upstream.source();
        for some in news.packages.chunks(LOGS_AT_ONCE) {
            // What lies here unnamed may lack what it stands on, so that all that changed is asked for.
            let heads = some.iter().flat_map(|changed| {
                let decisions = changed.decisions.filter(|head| Some(*head) != changed.decisions_were);
                [Some(changed.head).filter(|head| Some(*head) != changed.was), decisions]
            });
            let heads: Vec<GitId> = heads.flatten().collect();
            let held = some.iter().flat_map(|changed| [changed.was, changed.decisions_were]).flatten();
            // What somebody else holds is not here.
            let held: Vec<GitId> = held.filter(|_| self.step.since.is_none()).collect();
            if !heads.is_empty() {
                source.fetch_into(self.quarantine, &heads, &held).map_err(|error| self.withheld(error, "a log"))?;
            }
        }
        let about: Vec<GitId> = news.attestations.iter().map(|(_, _, head)| *head).collect();
        if !about.is_empty() {
            source.fetch_into(self.quarantine, &about, &[]).map_err(|error| self.withheld(error, "statements"))?;
        }
        for (of, package, head) in &news.attestations {
            self.refs.push((layout::attestation(of, package), Some(*head)));
        }
        let mut keys = KeyCache::default();
        for some in news.packages.chunks(LOGS_AT_ONCE) {
            self.contents(some, &mut keys)?;
        }
        // A package is held under all the names that it has.
        while !self.more.is_empty() {
            let more = std::mem::take(&mut self.more);
            self.contents(&more, &mut keys)?;
            news.covered.extend(covered(more.iter(), &[]));
            news.packages.extend(more);
        }
        news.trees.append(&mut self.trees);
        Ok(())
    }

    /// Brings the files of releases of these packages, and makes the commits that name them.
    fn contents(&mut self, packages: &[Changed], keys: &mut KeyCache) -> Result<()> {
        let (store, wanted) = (self.quarantine.store(), self.step.wanted);
        let reader = store.reader();
        let mut commits: Vec<(RefName, Vec<TreeEntry>)> = Vec::new();
        let (mut missing, mut stood) = (BTreeSet::new(), Vec::new());
        for changed in packages {
            let package = &changed.package;
            self.refs.push((layout::package(package), Some(changed.head)));
            let decided = match changed.decisions {
                None => None,
                Some(head) => {
                    self.refs.push((layout::decisions(package), Some(head)));
                    Some(chains::decisions(&reader, head, &self.step.upstream.operators().log, keys)?)
                }
            };
            let name = layout::contents(package);
            let records = chains::walk(&reader, changed.head)?;
            let takedowns = match self.names(changed, &records, decided.as_ref(), keys)? {
                Some(names) => names.takedowns(),
                None => Takedowns::of(decided.iter().map(|decided| &decided.log)),
            };
            let stood_then = self.stood_before(changed, &records, &takedowns, keys)?;
            let old = match self.view.reference(&name)? {
                Some(id) => contents_at(&reader, id)?,
                None => Tree::new(stood_then.clone())?,
            };
            let entries = self.entries(&records, &takedowns, &old, &mut missing);
            // What was there is part of what is there, and is left out by git when it writes a bundle.
            missing.extend(stood_then.iter().map(|entry| entry.id));
            stood.extend(Some(stood_then).filter(|entries| !entries.is_empty()));
            commits.push((name, entries));
            for reset in decided.iter().flat_map(|decided| decided.log.resets()) {
                let head = self.retired(reset.old, reset.old_head)?;
                let reader = store.reader();
                let log = chains::package(&reader, head, keys)?;
                let takedowns =
                    Names::of_retired(&mut Afar { work: self, keys }, package, &log.log, decided.as_ref())?.takedowns();
                let name = layout::retired_contents(reset.old);
                let old = match self.view.reference(&name)? {
                    Some(id) => contents_at(&reader, id)?,
                    None => Tree::default(),
                };
                let entries = self.entries(&chains::walk(&reader, head)?, &takedowns, &old, &mut missing);
                commits.push((name, entries));
            }
        }
        let missing: Vec<GitId> = missing.into_iter().collect();
        if wanted.contents && !missing.is_empty() {
            let source = self.step.upstream.source();
            source.fetch_into(self.quarantine, &missing, &[]).map_err(|error| self.withheld(error, "files of a release"))?;
        }
        let mut objects = match commits.len() < PACKED_MIN {
            true => Staging::new(store),
            false => Staging::bulk(store, store.pack(2 * commits.len(), LEVEL_FAST)?),
        };
        for (name, entries) in commits {
            let new = match entries.is_empty() || !wanted.contents {
                true => None,
                false => {
                    let tree = Tree::new(entries)?.write(&mut objects)?;
                    Some(objects.write(ObjectKind::Commit, &commit::contents(tree))?)
                }
            };
            self.refs.push((name, new));
        }
        for entries in stood.into_iter().filter(|_| wanted.contents) {
            let tree = Tree::new(entries)?.write(&mut objects)?;
            self.before.push(objects.write(ObjectKind::Commit, &commit::contents(tree))?);
        }
        objects.finish()?;
        store.refresh()
    }

    /// Finds the other names of a package's log, where it has some, and takes note of those that are to be held along with it.
    fn names(
        &mut self,
        changed: &Changed,
        records: &[Record],
        decided: Option<&Replayed<DecisionLog>>,
        keys: &mut KeyCache,
    ) -> Result<Option<Names>> {
        let asks = |record: &Record| matches!(record.entry(), Entry::Package(PackageEntry::Rename(..)));
        if !records.iter().any(asks) {
            return Ok(None);
        }
        let log = chains::package(&self.quarantine.store().reader(), changed.head, keys)?;
        let mut shelf = Afar { work: self, keys };
        let names = Names::of(&mut shelf, &changed.package, &log.log, decided.cloned())?;
        let others = names.path.iter().chain(names.leads.iter().map(|(name, _)| name));
        for name in others {
            if !shelf.work.known.insert(name.clone()) {
                continue;
            }
            let head = shelf.head(&Slot::Package(name.clone()))?;
            let decisions = shelf.head(&Slot::Decisions(name.clone()))?;
            for head in head.into_iter().chain(decisions) {
                shelf.need(head)?;
            }
            let work = &mut *shelf.work;
            let Some(head) = head else { continue };
            let was = work.view.reference(&layout::package(name))?;
            let decisions_were = work.view.reference(&layout::decisions(name))?;
            work.more.push(Changed { package: name.clone(), head, was, decisions, decisions_were });
        }
        Ok(Some(names))
    }

    /// Takes note of the heads that a package had when somebody else held it, and returns the folders that its contents had, where none of them
    /// has gone since.
    fn stood_before(
        &mut self,
        changed: &Changed,
        records: &[Record],
        takedowns: &Takedowns,
        keys: &mut KeyCache,
    ) -> Result<Vec<TreeEntry>> {
        if self.step.since.is_none() {
            return Ok(Vec::new());
        }
        self.before.extend([changed.was, changed.decisions_were].into_iter().flatten());
        let Some(last) = records.iter().position(|record| Some(record.git_id()) == changed.was) else { return Ok(Vec::new()) };
        let reader = self.quarantine.store().reader();
        let operators = &self.step.upstream.operators().log;
        let then = changed.decisions_were.map(|head| chains::decisions(&reader, head, operators, keys)).transpose()?;
        let then = Takedowns::of(then.iter().map(|decided| &decided.log));
        let id = records.first().map(|record| LogId::from(record.digest()));
        let is_down = |takedowns: &Takedowns, version: &Version| id.is_some_and(|log| takedowns.find(log, version).is_some());
        let mut entries = Vec::new();
        for record in &records[..=last] {
            let Entry::Package(PackageEntry::Release(release)) = record.entry() else { continue };
            if is_down(&then, &release.version) {
                continue;
            }
            if is_down(takedowns, &release.version) {
                return Ok(Vec::new());
            }
            entries.push(TreeEntry { name: release.version.to_string(), mode: Mode::Tree, id: release.tree });
        }
        Ok(entries)
    }

    /// Returns the folders of the releases of a log that are held, and takes note of those that are not here yet.
    fn entries(
        &mut self,
        records: &[Record],
        takedowns: &Takedowns,
        old: &Tree,
        missing: &mut BTreeSet<GitId>,
    ) -> Vec<TreeEntry> {
        let id = records.first().map(|record| LogId::from(record.digest()));
        let is_down = |version: &Version| id.is_some_and(|log| takedowns.find(log, version).is_some());
        let mut entries = Vec::new();
        for record in records {
            let Entry::Package(PackageEntry::Release(release)) = record.entry() else { continue };
            let name = release.version.to_string();
            let is_here = old.get(&name).is_some_and(|entry| entry.id == release.tree);
            if is_down(&release.version) {
                if !(is_here && self.step.wanted.keep_taken_down) {
                    self.synced.dropped += u64::from(is_here);
                    continue;
                }
            } else if !is_here {
                self.synced.releases += u64::from(self.step.wanted.contents);
                missing.insert(release.tree);
            }
            entries.push(TreeEntry { name, mode: Mode::Tree, id: release.tree });
        }
        entries
    }

    /// Brings a log that a reset put aside, and returns its head.
    fn retired(&mut self, log: LogId, head: RecordDigest) -> Result<GitId> {
        let source = self.step.upstream.source();
        let name = layout::retired_log(log);
        let found = match self.view.reference(&name)? {
            Some(found) => found,
            None => {
                let found = source.reference(&name)?;
                let found = found.ok_or_else(|| {
                    self.withheld(
                        fault!(RefMissing, "{} has no {name}", self.step.upstream.url()),
                        "the log of a package that was reset",
                    )
                })?;
                source.fetch_into(self.quarantine, &[found], &[])?;
                found
            }
        };
        let reader = self.quarantine.store().reader();
        let records = chains::verify(chains::walk(&reader, found)?, &mut KeyCache::default())?;
        let (first, last) = (records.first().map(|record| record.digest()), records.last().map(|record| record.digest()));
        if first.map(LogId::from) != Some(log) || last != Some(head) {
            return Err(fault!(WrongLog, "{name} leads to {found}, the reset says the log {log} with the head {head}"));
        }
        self.refs.push((name, Some(found)));
        Ok(found)
    }

    fn withheld(&self, error: Error, what: &str) -> Error {
        match error.code() {
            ErrorCode::RefMissing => {
                let url = self.step.upstream.url();
                error.hint(format!("{url} names {what} that it does not hand out; the mirror stays as it was"))
            }
            _ => error,
        }
    }

    /// Verifies what was brought, by the law of the registry that it is of.
    fn verify(&mut self, news: &News, same: Option<&Kept>, is_whole: bool) -> Result<()> {
        let (wanted, fetched) = (self.step.wanted, self.step.upstream.source().quarantine());
        // The trees of the map are not kept where they are not whole, and are read from where they came.
        let trees = fetched.filter(|_| !is_whole).map(|fetched| fetched.store().objects_path());
        let alternates: Vec<_> =
            [self.step.store.objects_path(), self.quarantine.store().objects_path()].into_iter().chain(trees).collect();
        let scratch = Quarantine::within(self.step.store.path(), self.step.store.format(), &alternates)?;
        let store = scratch.store();
        let refs: Vec<(RefName, GitId)> = self.refs.iter().filter_map(|(name, id)| Some((name.clone(), (*id)?))).collect();
        scratch.set_refs(&refs)?;
        self.synced.packages = news.packages.len() as u64;
        self.succeed(news)?;
        if is_whole {
            let found = audit(&Audit {
                store,
                expected: Some((&wanted.name, wanted.id)),
                contents: wanted.contents,
                since: same.map(|kept| Moment::Both(kept.held.seq, kept.held.checkpoint)),
                progress: self.step.progress,
            })?;
            return found.faults.into_iter().next().map_or(Ok(()), Err);
        }
        let operators = &self.step.upstream.operators().log;
        let part = |changed: &Changed| Part {
            package: changed.package.clone(),
            head: changed.head,
            decisions: changed.decisions,
            // What was decided may bring files back, and so may another wish than before.
            known: changed.was.filter(|_| same.is_some() && changed.decisions == changed.decisions_were),
        };
        let parts: Vec<Part> = news.packages.iter().map(part).collect();
        let found = audit_parts(store, operators, self.step.upstream.map(), wanted.contents, &parts)?;
        if let Some(fault) = found.faults.into_iter().next() {
            return Err(fault);
        }
        let (reader, mut keys) = (store.reader(), KeyCache::default());
        for (of, package, head) in &news.attestations {
            chains::attestations(&reader, *head, operators.id(), &mut keys)
                .map_err(|error| error.at(layout::attestation(of, package)))?;
        }
        Ok(())
    }

    /// Checks that each log goes on from where it is held now, or was reset, and that what was decided goes on, too.
    fn succeed(&self, news: &News) -> Result<()> {
        let (reader, mut keys) = (self.quarantine.store().reader(), KeyCache::default());
        let operators = &self.step.upstream.operators().log;
        for changed in &news.packages {
            if let Some(was) = changed.decisions_were.filter(|was| Some(*was) != changed.decisions) {
                let name = layout::decisions(&changed.package);
                let Some(head) = changed.decisions else {
                    let error = fault!(Rollback, "{name} is gone, {was} is held here");
                    let seen = chains::record(&reader, was)?.bytes().to_vec();
                    let found = self.step.upstream.checkpoint().record().bytes().to_vec();
                    return Err(self.step.upstream.contradicted(Contradiction { error, seen, found }));
                };
                let (before, after) = (chains::walk(&reader, was)?, chains::walk(&reader, head)?);
                if !stands_on(&after, was) {
                    chains::decisions(&reader, head, operators, &mut keys).map_err(|error| error.at(&name))?;
                    return Err(self.contradiction(&name, &before, &after));
                }
            }
            let Some(was) = changed.was.filter(|was| *was != changed.head) else { continue };
            let (before, after) = (chains::walk(&reader, was)?, chains::walk(&reader, changed.head)?);
            if stands_on(&after, was) {
                continue;
            }
            chains::package(&reader, changed.head, &mut keys).map_err(|error| error.at(&changed.package))?;
            let old = before.first().map(|record| record.digest());
            if old == after.first().map(|record| record.digest()) {
                return Err(self.contradiction(&layout::package(&changed.package), &before, &after));
            }
            let decided = match changed.decisions {
                Some(head) => Some(chains::decisions(&reader, head, operators, &mut keys)?.log),
                None => None,
            };
            let is_reset = decided.iter().flat_map(DecisionLog::resets).any(|reset| Some(reset.old) == old.map(LogId::from));
            if !is_reset {
                return Err(fault!(NameTaken, "{} comes to mean another log, and no reset says so", changed.package));
            }
        }
        for (of, package, head) in &news.attestations {
            let name = layout::attestation(of, package);
            let Some(was) = self.view.reference(&name)?.filter(|was| was != head) else { continue };
            let (before, after) = (chains::walk(&reader, was)?, chains::walk(&reader, *head)?);
            if !stands_on(&after, was) {
                chains::attestations(&reader, *head, operators.id(), &mut keys).map_err(|error| error.at(&name))?;
                return Err(self.contradiction(&name, &before, &after));
            }
        }
        Ok(())
    }

    /// Says that a log went back or aside, and keeps what proves it.
    fn contradiction(&self, name: &RefName, before: &[Record], after: &[Record]) -> Error {
        let (Some(seen), Some(found)) = (before.last(), after.last()) else { return fault!(Bug, "{name} has no record") };
        let (was, head) = (seen.git_id(), found.git_id());
        let error = match stands_on(before, head) {
            true => fault!(Rollback, "{name} goes back from {was}, which is held here, to {head}"),
            false => fault!(Fork, "{name} moves to {head}, which does not stand on {was}, the head before"),
        };
        let (seen, found) = (seen.bytes().to_vec(), found.bytes().to_vec());
        self.step.upstream.contradicted(Contradiction { error, seen, found })
    }

    /// Writes the proofs of the part that is held, and returns their commit.
    fn prove(&mut self, news: &News) -> Result<GitId> {
        let (step, store) = (self.step, self.quarantine.store());
        let newest = step.upstream.checkpoint();
        let reader = store.reader();
        let old = step.store.reference(&layout::proofs(&step.wanted.name))?;
        let old = match old {
            Some(commit) => {
                Some(commit::parse_proofs(reader.format(), &reader.read(ObjectKind::Commit, commit, STRUCTURE_MAX)?)?)
            }
            None => None,
        };
        let known = step.kept.filter(|kept| !kept.held.is_whole() && old.is_some()).map(|kept| kept.held.seq);
        let first = known.map_or(0, |seq| seq + 1);
        let mut objects = Staging::new(store);
        let mut files = Vec::new();
        for record in checkpoints(step.upstream, first)? {
            files.push((proofs::checkpoint(record.seq())?, Mode::File, objects.write(ObjectKind::Blob, record.bytes())?));
        }
        let log = match old {
            Some(tree) if known.is_some() => Tree::read(&reader, tree)?.get(proofs::LOG).map(|entry| entry.id),
            _ => None,
        };
        let mut tree = match log {
            Some(log) => {
                let entries = vec![TreeEntry { name: proofs::LOG.into(), mode: Mode::Tree, id: log }];
                Some(Tree::new(entries)?.write(&mut objects)?)
            }
            None => None,
        };
        for (id, bytes) in &news.trees {
            files.push((proofs::tree(*id), Mode::File, objects.write(ObjectKind::Blob, bytes)?));
        }
        let held = step.held().to_text();
        files.push((proofs::HELD.to_owned(), Mode::File, objects.write(ObjectKind::Blob, held.as_bytes())?));
        tree = page::put_all(&mut objects, tree, files)?;
        let tree = tree.ok_or_else(|| fault!(Bug, "checkpoint {} has no proof", newest.seq()))?;
        let commit = objects.write(ObjectKind::Commit, &commit::proofs(tree))?;
        objects.finish()?;
        store.refresh()?;
        Ok(commit)
    }
}

/// Says whether a log holds a record.
fn stands_on(records: &[Record], id: GitId) -> bool {
    records.iter().any(|record| record.git_id() == id)
}
