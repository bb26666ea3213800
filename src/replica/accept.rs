//! Accepting proposals: each is verified whole, then all that hold are published by one checkpoint.

use super::author::Author;
use super::chains::{self, Replayed};
use super::decide::{check_decides, put_decision, ruling};
use super::names::{Entry, Here};
use super::standing::{Standing, Step, advance};
use crate::git::layout::{self, RefName};
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{Reader, RepositoryLock, Store};
use crate::log::decision::DecisionLog;
use crate::log::names::{Named, Takedowns, path};
use crate::log::operator::{Authority, OperatorLog};
use crate::log::package::{PackageLog, Renaming};
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::contents::{self, Limits};
use crate::model::digest::{GitId, LogId, ObjectKind, RecordDigest};
use crate::model::entry::{Policy, Release, Subject};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{FullName, PackageName};
use crate::model::object::{ReadObjects, WriteObjects};
use crate::model::record::SignedRecord;
use crate::model::refusal::{REFUSAL_MAX, Refusal};
use crate::model::slot::Slot;
use crate::model::time::Timestamp;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far ahead of the acceptor's clock a record may be, in seconds.
pub const CLOCK_AHEAD: u64 = 24 * 60 * 60;
/// So many notes about refused proposals are kept.
const NOTES_MAX: usize = 1000;

/// What became of one proposal.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The package.
    pub package: PackageName,
    /// The proposal's commit; `None` for what this process made, and for what a killed acceptor had moved already.
    pub proposal: Option<GitId>,
    /// The new records, or why not.
    pub verdict: Verdict,
}

/// Whether a proposal is in.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// These records are published.
    Accepted(Vec<SignedRecord>),
    /// All of it was published before.
    AlreadyIn,
    /// It was refused.
    Refused(Error),
    /// The name is new, and a person is to say whether it is let in.
    Held,
}

/// What an acceptor did.
#[derive(Clone, Debug)]
pub struct Report {
    /// One for each proposal, in the order in which they were judged.
    pub outcomes: Vec<Outcome>,
    /// The checkpoint that was made, where something was accepted.
    pub checkpoint: Option<SignedRecord>,
    /// What became of owners' wishes for other names of their packages.
    pub renames: Vec<Wish>,
}

/// An owner's wish for another name in this registry, and what became of it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The name that the package has.
    pub from: PackageName,
    /// The name that its owners ask for.
    pub to: PackageName,
    /// The decision that grants it, or why it waits for a person.
    pub answer: Result<SignedRecord>,
}

/// A package as this batch has it so far.
struct Draft {
    head: GitId,
    /// What the reference was when the batch began.
    was: Option<GitId>,
    log: Replayed<PackageLog>,
    contents: Tree,
    contents_was: Option<GitId>,
}

/// Something that asks to be published.
struct Candidate {
    package: PackageName,
    from: From,
}

/// Where a candidate comes from.
enum From {
    /// A proposal, by its reference and its commit.
    Incoming(RefName, GitId),
    /// A log whose reference was moved by an acceptor that was killed.
    Left(GitId),
    /// This process made it.
    Made(Tree, GitId),
}

/// What is to be judged.
pub enum Asked<'a> {
    /// All proposals.
    All,
    /// All proposals but those of new names, which go on waiting for a person.
    Known,
    /// The proposals of one package.
    Package(&'a PackageName),
    /// What this process made, without a reference in between.
    Made(Box<Made<'a>>),
    /// Nothing but what a killed acceptor left.
    Left,
}

/// New records of a package, made by the process that publishes them.
pub struct Made<'a> {
    /// The package.
    pub package: PackageName,
    /// Holds the records and the files of new releases; see [`Staging::is_spilled`].
    pub objects: Staging<'a>,
    /// The new head of the log.
    pub head: GitId,
    /// The trees of new releases, by version.
    pub releases: Vec<(String, GitId)>,
}

/// Repairs what a killed acceptor left, judges what is asked for, and publishes what holds. The outcome of [`Asked::Made`] is the last one.
///
/// # Errors
/// `unauthorized` where the author may not make checkpoints, `io`, `conflict`; a proposal that is refused is no error.
pub fn accept(lock: &RepositoryLock, store: &Store, author: &Author<'_>, asked: Asked<'_>) -> Result<Report> {
    let mut keys = KeyCache::default();
    let left = store.read_journal(lock)?;
    store.break_locks_of_journal(lock, &left)?;
    store.sweep(lock)?;
    let standing = Standing::read(store, &mut keys)?;
    let mut candidates: Vec<Candidate> = Vec::new();
    let reader = store.reader();
    for package in left.iter().filter_map(layout::parse_package) {
        let named = store.reference(&layout::package(&package))?;
        let published = standing.map.get(&reader, &Slot::Package(package.clone()))?;
        if let Some(head) = named.filter(|head| Some(*head) != published) {
            candidates.push(Candidate { package, from: From::Left(head) });
        }
    }
    let mut outcomes = Vec::new();
    let mut done: Vec<RefEdit> = Vec::new();
    let prefix = match &asked {
        Asked::All | Asked::Known => Some(layout::INCOMING.to_owned()),
        Asked::Package(package) => Some(format!("refs/incoming/{}/{}/", package.namespace(), package.name())),
        Asked::Made(_) | Asked::Left => None,
    };
    if let Some(prefix) = prefix {
        store.for_each_reference(&prefix, |name, id| {
            match layout::parse_incoming(&name) {
                Some((package, named)) if named == id => candidates.push(Candidate { package, from: From::Incoming(name, id) }),
                // A reference that is none of ours says nothing and goes.
                _ => done.push(RefEdit { name, expected: Expected::At(id), new: None }),
            }
            Ok(())
        })?;
    }
    let holds = matches!(asked, Asked::Known);
    let objects = match asked {
        Asked::Made(made) => {
            let Made { package, objects, head, releases } = *made;
            candidates.push(Candidate { package, from: From::Made(folders(&releases)?, head) });
            objects
        }
        _ => Staging::new(store),
    };

    let mut batch = Batch::new(store, &standing, objects, keys, author.now);
    let mut undone = Vec::new();
    let mut refused = Vec::new();
    for candidate in candidates {
        let verdict = batch.verdict(&candidate, holds)?;
        let package = candidate.package;
        let proposal = match candidate.from {
            From::Incoming(name, id) => {
                match &verdict {
                    Verdict::Held => {}
                    Verdict::Refused(why) => {
                        done.push(RefEdit { name, expected: Expected::At(id), new: None });
                        refused.push((layout::refused(&package, id), why.clone()));
                    }
                    _ => done.push(RefEdit { name, expected: Expected::At(id), new: None }),
                }
                Some(id)
            }
            From::Left(_) => {
                if let Verdict::Refused(_) = &verdict {
                    undone.push(package.clone());
                }
                None
            }
            From::Made(..) => None,
        };
        outcomes.push(Outcome { package, proposal, verdict });
    }
    let renames = batch.answer(author, &left, holds)?;
    // What a killed acceptor moved to a name that it had granted was judged before it is granted again.
    outcomes.retain(|outcome| {
        !(renames.iter().any(|wish| wish.answer.is_ok() && wish.to == outcome.package) && undone.contains(&outcome.package))
    });
    // Unless something else of the package is in: then its references move on anyway.
    undone.retain(|package| !batch.packages.contains_key(package));
    for package in &undone {
        batch.undo(package, &mut done)?;
    }
    batch.mend(&left, &mut done)?;
    if !refused.is_empty() {
        batch.note(&refused, &mut done)?;
    }
    let changed = outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Accepted(_))) || !batch.decided.is_empty();
    let checkpoint = if changed {
        let (objects, step) = batch.step(done)?;
        Some(advance(lock, store, &standing, &standing.operators.log, objects, author, step)?)
    } else {
        if !done.is_empty() {
            batch.objects.finish()?;
        }
        store.update(&done)?;
        store.end_journal(lock)?;
        None
    };
    Ok(Report { outcomes, checkpoint, renames })
}

/// Says of proposals what an acceptor would say now, and changes nothing.
///
/// # Errors
/// `bad-repository`, `io`; a proposal that would be refused is no error.
pub fn examine(store: &Store, now: Timestamp, proposals: &[(PackageName, GitId)]) -> Result<Vec<Outcome>> {
    let mut keys = KeyCache::default();
    let standing = Standing::read(store, &mut keys)?;
    let objects = Staging::new(store);
    let mut batch = Batch::new(store, &standing, objects, keys, now);
    let examine = |(package, id): &(PackageName, GitId)| {
        let candidate = Candidate { package: package.clone(), from: From::Incoming(layout::incoming(package, *id), *id) };
        let verdict = batch.verdict(&candidate, false)?;
        Ok(Outcome { package: package.clone(), proposal: Some(*id), verdict })
    };
    proposals.iter().map(examine).collect()
}

struct Batch<'a> {
    store: &'a Store,
    standing: &'a Standing,
    objects: Staging<'a>,
    keys: KeyCache,
    now: Timestamp,
    packages: BTreeMap<PackageName, Draft>,
    /// What is decided in this batch, about which name.
    decided: BTreeMap<PackageName, (SignedRecord, DecisionLog)>,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store, standing: &'a Standing, objects: Staging<'a>, keys: KeyCache, now: Timestamp) -> Self {
        Batch { store, standing, objects, keys, now, packages: BTreeMap::new(), decided: BTreeMap::new() }
    }

    fn operators(&self) -> &'a OperatorLog {
        &self.standing.operators.log
    }

    /// Judges one candidate; `holds` says that proposals of new names wait.
    fn verdict(&mut self, candidate: &Candidate, holds: bool) -> Result<Verdict> {
        if holds && matches!(candidate.from, From::Incoming(..)) {
            let slot = Slot::Package(candidate.package.clone());
            if !self.packages.contains_key(&candidate.package) && self.standing.map.get(&self.objects, &slot)?.is_none() {
                return Ok(Verdict::Held);
            }
        }
        match self.judge(candidate) {
            Ok(Some(records)) => Ok(Verdict::Accepted(records)),
            Ok(None) => Ok(Verdict::AlreadyIn),
            // What this machine could not read or write is no fault of the proposal.
            Err(error) if matches!(error.code(), ErrorCode::Io | ErrorCode::Bug | ErrorCode::Git) => Err(error),
            Err(error) => Ok(Verdict::Refused(error.asked())),
        }
    }

    /// Writes down why proposals were refused. Where there are too many such notes, the oldest go.
    fn note(&mut self, refused: &[(RefName, Error)], edits: &mut Vec<RefEdit>) -> Result<()> {
        let mut notes = self.store.references(layout::REFUSED)?;
        if notes.len() + refused.len() > NOTES_MAX {
            let reader = self.store.reader();
            let time = |id: GitId| {
                let bytes = reader.read(ObjectKind::Blob, id, REFUSAL_MAX).ok()?;
                Refusal::parse(&bytes).ok().map(|refusal| refusal.time)
            };
            notes.sort_by_cached_key(|(_, id)| time(*id));
            // A tenth at a time, so that they are rarely looked through.
            let surplus = notes.len() + refused.len() - (NOTES_MAX - NOTES_MAX / 10);
            let oldest = notes.drain(..surplus.min(notes.len())).filter(|(name, _)| refused.iter().all(|(new, _)| new != name));
            edits.extend(oldest.map(|(name, id)| RefEdit { name, expected: Expected::At(id), new: None }));
        }
        for (name, why) in refused {
            let refusal = Refusal { time: self.now, why: why.clone() };
            let id = self.objects.write(ObjectKind::Blob, refusal.to_text().as_bytes())?;
            edits.push(RefEdit { name: name.clone(), expected: self.store.reference(name)?.into(), new: Some(id) });
        }
        Ok(())
    }

    /// Judges one candidate and makes it part of the batch where it holds. Returns its new records; `None` where it has none.
    fn judge(&mut self, candidate: &Candidate) -> Result<Option<Vec<SignedRecord>>> {
        let package = &candidate.package;
        let format = self.store.format();
        let contents_was = self.store.reference(&layout::contents(package))?;
        let (proposed, head) = match &candidate.from {
            From::Incoming(_, id) => {
                let bytes = self.objects.read(ObjectKind::Commit, *id, crate::model::object::STRUCTURE_MAX)?;
                let (tree, head) = commit::parse_proposal(format, &bytes)?;
                (self.tree(tree)?, head)
            }
            From::Left(head) => (self.contents_of(package, contents_was)?.unwrap_or_default(), *head),
            From::Made(tree, head) => (tree.clone(), *head),
        };
        let log = chains::package(&self.objects, head, &mut self.keys)?;
        let path = path(&log.log, package, self.operators().registry(), self.operators().id())?;
        let known = match self.published(package)? {
            None => {
                self.check_new_name(&log, &path)?;
                0
            }
            Some(published) => match follows(&log, &published)? {
                0 => return Ok(None),
                new => {
                    self.check_names(&log.records[log.records.len() - new..], &path, &published)?;
                    log.records.len() - new
                }
            },
        };
        let new = log.records[known..].to_vec();
        self.check_times(&log.records, known)?;
        let folders = self.check_contents(&new, &proposed, !matches!(candidate.from, From::Left(_)))?;
        let mut entries = Vec::new();
        if let Some(old) = self.contents_of(package, contents_was)? {
            entries = released_in(&old, &log.log);
            entries.retain(|entry| folders.iter().all(|new| new.name != entry.name));
        }
        entries.extend(folders);
        let contents = Tree::new(entries)?;
        let was = match self.packages.get(package) {
            Some(draft) => draft.was,
            None => self.store.reference(&layout::package(package))?,
        };
        self.packages.insert(package.clone(), Draft { head, was, log, contents, contents_was });
        Ok(Some(new))
    }

    /// Returns the log as it is published, or as this batch will publish it.
    fn published(&mut self, package: &PackageName) -> Result<Option<Published>> {
        let entry = self.entry(package)?;
        let mut published = entry.map(|entry| Published::of(entry, package, self.operators()));
        if let Some(draft) = self.packages.get(package) {
            let (closed, path, decisions) =
                published.map_or((None, None, None), |was| (was.closed, Some(was.path), was.decisions));
            let path = path.unwrap_or_else(|| vec![package.clone()]);
            published = Some(Published { log: draft.log.clone(), closed, path, decisions });
        }
        Ok(published)
    }

    /// Returns what the map has under a name.
    fn entry(&mut self, package: &PackageName) -> Result<Option<Entry>> {
        let reader = self.store.reader();
        let standing = self.standing;
        let mut here = Here { operators: &standing.operators.log, map: standing.map, objects: &reader, keys: &mut self.keys };
        Entry::read(&mut here, package)
    }

    /// Checks that a name that is free is for whoever asks for it.
    fn check_new_name(&self, log: &Replayed<PackageLog>, path: &[Named]) -> Result<()> {
        if let [.., (from, _), (to, _)] = path {
            return Err(fault!(Unauthorized, "no operator granted the name {to} to the log of {from}")
                .hint(format!("ask for it under the name that the package has: quipu rename {from} {to}")));
        }
        let Some((package, consent)) = path.last() else { return Ok(()) };
        // Of a log that comes from another registry it is the record that asks for this one.
        let asks = log.records.iter().find(|record| Some(record.digest()) == *consent);
        self.operators().now().may_register(asks.unwrap_or(&log.records[0]), package.namespace())
    }

    /// Checks that a log may grow under a name, by records that bear it.
    fn check_names(&self, new: &[SignedRecord], path: &[Named], published: &Published) -> Result<()> {
        if let Some(closed) = &published.closed {
            return Err(closed.clone());
        }
        if !path.iter().map(|(name, _)| name).eq(&published.path) {
            let names: Vec<String> = path.iter().map(|(name, _)| name.to_string()).collect();
            return Err(fault!(Unauthorized, "the log went by the names {}, which no operator granted", names.join(", ")));
        }
        let Some((package, _)) = path.last() else { return Ok(()) };
        let registry = self.operators().registry();
        let subject = Subject::Package(package.clone());
        // What was signed for another registry meanwhile is that one's business.
        let stray = new.iter().map(|record| record.draft()).find(|draft| draft.registry == *registry && draft.subject != subject);
        stray.map_or(Ok(()), |draft| {
            Err(fault!(
                WrongLog,
                "a record belongs to {}@{registry}, expected {package}, which the package is called now",
                draft.subject
            ))
        })
    }

    /// Grants names to the packages of this batch, and to those that a killed acceptor was at, where that is this author's to decide and the
    /// policy leaves no question.
    fn answer(&mut self, author: &Author<'_>, left: &[RefName], holds: bool) -> Result<Vec<Wish>> {
        let mut asking: BTreeSet<PackageName> = self.packages.keys().cloned().collect();
        asking.extend(left.iter().filter_map(layout::parse_part));
        let mut wishes = Vec::new();
        for from in asking {
            let operators = self.operators();
            let wish = |log: &Replayed<PackageLog>| wish_of(&log.log, &from, operators);
            let draft = self.packages.get(&from);
            if draft.is_some_and(|draft| wish(&draft.log).is_none()) {
                continue;
            }
            let log = draft.map(|draft| draft.log.clone());
            let mut entry = self.entry(&from)?;
            if entry.as_ref().is_some_and(|entry| entry.names.is_left()) {
                continue;
            }
            let decisions = entry.as_mut().and_then(|entry| entry.names.decided.remove(&from));
            let Some(log) = log.or(entry.map(|entry| entry.log)) else { continue };
            if let Some((to, consent)) = wish(&log) {
                let answer = match self.check_wish(author, &log, &from, &to, consent, holds) {
                    Ok(()) => Ok(self.grant(author, &log, decisions.as_ref(), &from, &to, consent)?),
                    Err(error) if matches!(error.code(), ErrorCode::Io | ErrorCode::Bug) => return Err(error),
                    Err(why) => Err(why),
                };
                wishes.push(Wish { from, to, answer });
            }
        }
        Ok(wishes)
    }

    /// Says why a wish is not to be granted without a person.
    fn check_wish(
        &self,
        author: &Author<'_>,
        log: &Replayed<PackageLog>,
        from: &PackageName,
        to: &PackageName,
        consent: RecordDigest,
        holds: bool,
    ) -> Result<()> {
        let operators = self.operators();
        let occupant = match self.packages.get(to) {
            Some(draft) => Some(draft.log.log.chain().id()),
            None => self
                .standing
                .map
                .get(&self.objects, &Slot::Package(to.clone()))?
                .map(|head| log_at(&self.objects, head))
                .transpose()?,
        };
        if let Some(occupant) = occupant {
            check_own_name(log, occupant, from, to, operators)?;
        } else if holds {
            return Err(fault!(Policy, "the name {to} is new, and new names wait for a person"));
        }
        check_decides(operators, author)?;
        let asks = log.records.iter().find(|record| record.digest() == consent);
        operators.now().may_register(asks.unwrap_or(&log.records[0]), to.namespace())
    }

    /// Grants a name.
    fn grant(
        &mut self,
        author: &Author<'_>,
        log: &Replayed<PackageLog>,
        decisions: Option<&Replayed<DecisionLog>>,
        from: &PackageName,
        to: &PackageName,
        consent: RecordDigest,
    ) -> Result<SignedRecord> {
        let operators = self.operators();
        let full = |package: &PackageName| FullName { registry: operators.registry().clone(), package: package.clone() };
        let what = crate::model::entry::Verdict::Rename { from: full(from), to: full(to), consent };
        let (record, decided) = ruling(author, operators, from, &log.log, decisions, what)?;
        self.objects.write(ObjectKind::Tree, b"")?;
        self.objects.write(ObjectKind::Commit, record.bytes())?;
        let contents = self.contents_of(from, self.store.reference(&layout::contents(from))?)?.unwrap_or_default();
        let was = self.store.reference(&layout::package(to))?;
        let contents_was = self.store.reference(&layout::contents(to))?;
        let draft = Draft { head: log.head().git_id(), was, log: log.clone(), contents, contents_was };
        self.packages.insert(to.clone(), draft);
        self.decided.insert(from.clone(), (record.clone(), decided));
        Ok(record)
    }

    /// Takes back what a killed process moved for a decision that it did not come to publish, and does what one left to do that it had published.
    fn mend(&mut self, left: &[RefName], edits: &mut Vec<RefEdit>) -> Result<()> {
        let packages: BTreeSet<PackageName> = left.iter().filter_map(layout::parse_part).collect();
        let mut retired = BTreeSet::new();
        for package in &packages {
            let entry = self.entry(package)?;
            if let Some(own) = entry.as_ref().and_then(|entry| entry.names.decided.get(package)) {
                retired.extend(own.log.resets().iter().map(|reset| reset.old));
            }
            let mut edit = |name: RefName, new: Option<GitId>, was: Option<GitId>| {
                if was != new && left.contains(&name) && edits.iter().all(|edit| edit.name != name) {
                    edits.push(RefEdit { name, expected: was.into(), new });
                }
            };
            if !self.decided.contains_key(package) {
                let name = layout::decisions(package);
                let published = self.standing.map.get(&self.objects, &Slot::Decisions(package.clone()))?;
                let was = self.store.reference(&name)?;
                edit(name, published, was);
            }
            if !self.packages.contains_key(package) {
                let name = layout::contents(package);
                let was = self.store.reference(&name)?;
                let new = self.served(was, entry.as_ref())?;
                edit(name, new, was);
            }
        }
        for log in left.iter().filter_map(layout::parse_retired).filter(|log| !retired.contains(log)) {
            for name in [layout::retired_log(log), layout::retired_contents(log)] {
                let was = self.store.reference(&name)?;
                if was.is_some() && edits.iter().all(|edit| edit.name != name) {
                    edits.push(RefEdit { name, expected: was.into(), new: None });
                }
            }
        }
        Ok(())
    }

    /// Writes the contents of a package as it is published, of what its reference has and of what is here besides.
    fn served(&mut self, was: Option<GitId>, entry: Option<&Entry>) -> Result<Option<GitId>> {
        let Some(entry) = entry else { return Ok(None) };
        let old = was.map(|id| contents_at(&self.objects, id)).transpose()?.unwrap_or_default();
        let limits = limits(&self.operators().now().policy);
        let kept = served(&self.objects, &old, &entry.log.log, &entry.names.takedowns(), &limits);
        if kept.is_empty() {
            return Ok(None);
        }
        let tree = Tree::new(kept)?.write(&mut self.objects)?;
        self.objects.write(ObjectKind::Commit, &commit::contents(tree)).map(Some)
    }

    /// Returns a package's contents as they are, or as this batch will have them.
    fn contents_of(&self, package: &PackageName, reference: Option<GitId>) -> Result<Option<Tree>> {
        if let Some(draft) = self.packages.get(package) {
            return Ok(Some(draft.contents.clone()));
        }
        reference.map(|id| contents_at(&self.objects, id)).transpose()
    }

    fn tree(&self, id: GitId) -> Result<Tree> {
        if id == self.store.format().empty_tree() { Ok(Tree::default()) } else { Tree::read(&self.objects, id) }
    }

    /// Takes a package's references back to where the map has it, after an acceptor that was killed moved them to what does not hold.
    fn undo(&mut self, package: &PackageName, edits: &mut Vec<RefEdit>) -> Result<()> {
        let published = self.standing.map.get(&self.objects, &Slot::Package(package.clone()))?;
        let name = layout::package(package);
        edits.push(RefEdit { expected: self.store.reference(&name)?.into(), name, new: published });
        let name = layout::contents(package);
        let was = self.store.reference(&name)?;
        let entry = self.entry(package)?;
        let new = self.served(was, entry.as_ref())?;
        if new != was {
            edits.push(RefEdit { name, expected: was.into(), new });
        }
        Ok(())
    }

    fn check_times(&self, records: &[SignedRecord], known: usize) -> Result<()> {
        for (at, record) in records.iter().enumerate().skip(known) {
            let time = record.draft().time;
            // One that is let in with a wrong clock may not keep all later ones out.
            let published = known.checked_sub(1).map(|last| records[last].draft().time);
            if time > self.now.plus(CLOCK_AHEAD) && published.is_none_or(|published| time > published) {
                return Err(fault!(BadRecord, "{} is of {time}, more than a day ahead of {}", record.summary(), self.now)
                    .hint("set the clock of the machine that signs"));
            }
            if at > 0 && time < records[at - 1].draft().time {
                return Err(fault!(BadRecord, "{} is of {time}, earlier than the record before it", record.summary()));
            }
        }
        Ok(())
    }

    /// Checks that the proposal's tree holds exactly the contents of the new releases, and returns its folders.
    fn check_contents(&self, new: &[SignedRecord], proposed: &Tree, exact: bool) -> Result<Vec<TreeEntry>> {
        let authority = self.operators().now();
        let limits = limits(&authority.policy);
        let mut folders = Vec::new();
        for release in chains::releases_in(new) {
            check_policy(authority, release)?;
            let version = release.version.to_string();
            let Some(folder) = proposed.get(&version).filter(|entry| entry.mode == Mode::Tree) else {
                return Err(fault!(BadContents, "the proposal has no folder {version} with the contents of that release"));
            };
            check_release(&self.objects, release, folder.id, &limits)?;
            folders.push(folder.clone());
        }
        if exact
            && let Some(extra) = proposed.entries().iter().find(|entry| folders.iter().all(|folder| folder.name != entry.name))
        {
            return Err(fault!(BadContents, "the proposal holds {:?}, which none of its new releases is", extra.name));
        }
        Ok(folders)
    }

    fn step(mut self, after: Vec<RefEdit>) -> Result<(Staging<'a>, Step)> {
        let mut step = Step { after, ..Step::default() };
        let mut heads = Vec::new();
        for (package, draft) in std::mem::take(&mut self.packages) {
            let head = draft.log.head();
            let line = ChangeLine::Head { log: draft.log.log.chain().id(), seq: head.seq(), head: head.digest() };
            step.changes.insert(Slot::Package(package.clone()), (Some(draft.head), line));
            if !draft.contents.is_empty() {
                let tree = draft.contents.write(&mut self.objects)?;
                let id = self.objects.write(ObjectKind::Commit, &commit::contents(tree))?;
                if draft.contents_was != Some(id) {
                    let name = layout::contents(&package);
                    step.refs.push(RefEdit { name, expected: draft.contents_was.into(), new: Some(id) });
                }
            }
            if draft.was != Some(draft.head) {
                heads.push(RefEdit { name: layout::package(&package), expected: draft.was.into(), new: Some(draft.head) });
            }
        }
        for (package, (record, decided)) in std::mem::take(&mut self.decided) {
            put_decision(self.store, &mut step, &package, &record, &decided)?;
        }
        // Contents first: a log that is ahead of the map has its contents beside it.
        step.refs.extend(heads);
        Ok((self.objects, step))
    }
}

/// A package that is published.
pub(crate) struct Published {
    /// Its log.
    pub(crate) log: Replayed<PackageLog>,
    /// Why it does not go on under this name.
    pub(crate) closed: Option<Error>,
    /// The names that it went by until it came to this one.
    path: Vec<PackageName>,
    /// The decisions about this name.
    decisions: Option<Replayed<DecisionLog>>,
}

impl Published {
    fn of(mut entry: Entry, package: &PackageName, operators: &OperatorLog) -> Self {
        let closed = entry.closed(package, operators.registry());
        let decisions = entry.names.decided.remove(package);
        Published { log: entry.log, closed, path: entry.names.path, decisions }
    }
}

/// Reads the log of a package; `None` where the name is free.
///
/// # Errors
/// Those of [`Entry::read`].
pub(crate) fn published(
    standing: &Standing,
    reader: &Reader,
    package: &PackageName,
    keys: &mut KeyCache,
) -> Result<Option<Published>> {
    let operators = &standing.operators.log;
    let entry = Entry::read(&mut Here { operators, map: standing.map, objects: reader, keys }, package)?;
    Ok(entry.map(|entry| Published::of(entry, package, operators)))
}

/// Returns the name of this registry that the owners of a package ask for, and the record by which they do.
pub(crate) fn wish_of(log: &PackageLog, from: &PackageName, operators: &OperatorLog) -> Option<(PackageName, RecordDigest)> {
    let is_here = |asked: &&Renaming| asked.to.registry == *operators.registry() && asked.registry_id == operators.id();
    let asked = log.pending_name().filter(is_here)?;
    (asked.to.package != *from).then(|| (asked.to.package.clone(), asked.record))
}

/// Checks that a name that is taken is one that this log bore itself: it may come back to it.
///
/// # Errors
/// `name-taken`.
pub(crate) fn check_own_name(
    log: &Replayed<PackageLog>,
    occupant: LogId,
    from: &PackageName,
    to: &PackageName,
    operators: &OperatorLog,
) -> Result<()> {
    let bore = path(&log.log, from, operators.registry(), operators.id())?;
    if occupant != log.log.chain().id() || bore.iter().all(|(name, _)| name != to) {
        return Err(fault!(NameTaken, "the name {to} belongs to the log {occupant}"));
    }
    Ok(())
}

/// Returns the id of the log that has this head.
pub(crate) fn log_at(objects: &impl ReadObjects, head: GitId) -> Result<LogId> {
    let record = chains::record(objects, head)?;
    Ok(record.draft().link.map_or_else(|| record.digest().into(), |link| link.log))
}

/// Returns the folders of what is handed out of a log: those that its contents have, and those of releases that are here otherwise.
pub(crate) fn served(
    objects: &impl ReadObjects,
    contents: &Tree,
    log: &PackageLog,
    takedowns: &Takedowns,
    limits: &Limits,
) -> Vec<TreeEntry> {
    let handed_out = log
        .releases()
        .map(|released| &released.release)
        .filter(|release| takedowns.find(log.chain().id(), &release.version).is_none());
    let folder = |release: &Arc<Release>| {
        let name = release.version.to_string();
        let is_here = || check_release(objects, release, release.tree, limits).is_ok();
        let found = contents.get(&name).cloned();
        found.or_else(|| is_here().then(|| TreeEntry { name, mode: Mode::Tree, id: release.tree }))
    };
    handed_out.filter_map(folder).collect()
}

/// Reads the tree of a commit of contents.
pub(crate) fn contents_at(objects: &impl ReadObjects, id: GitId) -> Result<Tree> {
    let bytes = objects.read(ObjectKind::Commit, id, 4096)?;
    let tree = commit::parse_contents(objects.format(), &bytes)?;
    if tree == objects.format().empty_tree() { Ok(Tree::default()) } else { Tree::read(objects, tree) }
}

/// Returns the folders of a package's contents that are releases of a log.
pub(crate) fn released_in(contents: &Tree, log: &PackageLog) -> Vec<TreeEntry> {
    let is_released = |entry: &&TreeEntry| entry.name.parse().is_ok_and(|version| log.release_of(&version).is_some());
    contents.entries().iter().filter(is_released).cloned().collect()
}

/// Says how many records a log has beyond the published one.
fn follows(log: &Replayed<PackageLog>, published: &Published) -> Result<usize> {
    let (decisions, published) = (published.decisions.as_ref(), &published.log);
    let (ours, theirs) = (&log.records, &published.records);
    if log.log.chain().id() != published.log.chain().id() {
        if let Some(error) = decisions.and_then(|decisions| was_reset(decisions, log.log.chain().id())) {
            return Err(error);
        }
        let owners: Vec<String> = published.log.keys().iter().map(|key| key.name.to_string()).collect();
        return Err(fault!(
            NameTaken,
            "the name {} belongs to the log {}, whose keys are {}",
            published.log.name(),
            published.log.chain().id(),
            owners.join(", ")
        ));
    }
    let shared = ours.iter().zip(theirs).take_while(|(a, b)| a.digest() == b.digest()).count();
    if shared < theirs.len() && shared < ours.len() {
        let winner = &theirs[shared];
        return Err(fault!(
            Conflict,
            "{} was first at seq {} of {}: {}",
            winner.draft().signer,
            winner.seq(),
            published.log.name(),
            winner.summary()
        )
        .hint("fetch what is published and propose again: quipu publish does both"));
    }
    Ok(ours.len() - shared)
}

/// Says that a log was put aside by a reset, when, and why.
fn was_reset(decisions: &Replayed<DecisionLog>, log: LogId) -> Option<Error> {
    let reset = decisions.log.resets().iter().find(|reset| reset.old == log)?;
    let is_it = |record: &&SignedRecord| match record.entry() {
        crate::model::entry::Entry::Decision(decision) => decision.about.target == log,
        _ => false,
    };
    // The reset is the last decision about that log that has it as its target, but for what is decided about one put aside.
    let record = decisions.records.iter().find(|record| is_it(record) && record.entry().kind() == "reset")?;
    Some(
        fault!(
            WrongLog,
            "the operators reset {} on {}: {}; the name means the log {} now",
            record.draft().subject.to_string().trim_end_matches("+decisions"),
            record.draft().time,
            reset.reason,
            reset.new
        )
        .hint("what stood on the log of before is not taken in any more"),
    )
}

/// Checks the rules of a registry that one release must fulfil.
///
/// # Errors
/// `policy`.
pub fn check_policy(authority: &Authority, release: &Release) -> Result<()> {
    if authority.policy.license_required && release.license.is_none() {
        return Err(fault!(Policy, "version {} names no licence, which this registry asks for", release.version)
            .hint("add license = \"…\" to the package's quipu.toml"));
    }
    if let Some(kind) = authority.policy.attestations.first() {
        return Err(fault!(Policy, "this registry admits only what has an attestation of type {kind}"));
    }
    Ok(())
}

/// Returns the limits that a policy sets.
pub fn limits(policy: &Policy) -> Limits {
    let default = Limits::default();
    Limits {
        files: policy.max_files.unwrap_or(default.files),
        file_bytes: policy.max_file_bytes.unwrap_or(default.file_bytes),
        release_bytes: policy.max_release_bytes.unwrap_or(default.release_bytes),
        ..default
    }
}

/// Checks that a tree holds the files of a release.
///
/// # Errors
/// `content-mismatch` where it holds others; `bad-contents`, `limit`.
pub fn check_release(objects: &impl ReadObjects, release: &Release, tree: GitId, limits: &Limits) -> Result<()> {
    let found = contents::read_tree(objects, tree, limits, |_, _| Ok(()))?;
    check_digest(release, &found)?;
    if tree != release.tree {
        return Err(fault!(
            ContentMismatch,
            "the contents of {} are the tree {tree}, the record says {}",
            release.version,
            release.tree
        ));
    }
    Ok(())
}

/// Checks that files are those that a release names.
///
/// # Errors
/// `content-mismatch`.
pub fn check_digest(release: &Release, found: &contents::Contents) -> Result<()> {
    let (files, size) = (found.len() as u64, found.size());
    if found.digest() != release.content {
        return Err(fault!(
            ContentMismatch,
            "the contents of {} have the digest {}, the record says {}",
            release.version,
            found.digest(),
            release.content
        ));
    }
    if files != release.files || size != release.size {
        return Err(fault!(
            ContentMismatch,
            "the contents of {} are {files} files of {size} bytes, the record says {} files of {} bytes",
            release.version,
            release.files,
            release.size
        ));
    }
    Ok(())
}

/// Writes a proposal for a log that was written to the same objects, and returns its commit.
///
/// # Errors
/// Those of [`WriteObjects::write`].
pub fn propose(objects: &mut impl WriteObjects, head: GitId, releases: &[(String, GitId)]) -> Result<GitId> {
    let tree = folders(releases)?.write(objects)?;
    objects.write(ObjectKind::Commit, &commit::proposal(tree, head))
}

fn folders(releases: &[(String, GitId)]) -> Result<Tree> {
    let entry = |(version, tree): &(String, GitId)| TreeEntry { name: version.clone(), mode: Mode::Tree, id: *tree };
    Tree::new(releases.iter().map(entry).collect())
}
