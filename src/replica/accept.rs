//! Accepting proposals: each is verified whole, then all that hold are published by one checkpoint.

use super::author::Author;
use super::chains::{self, Replayed};
use super::standing::{Standing, Step, advance};
use crate::git::layout::{self, RefName};
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{Reader, RepositoryLock, Store};
use crate::log::operator::{Authority, OperatorLog};
use crate::log::package::PackageLog;
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::contents::{self, Limits};
use crate::model::digest::{GitId, ObjectKind};
use crate::model::entry::{Policy, Release};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{FullName, PackageName};
use crate::model::object::{ReadObjects, WriteObjects};
use crate::model::record::SignedRecord;
use crate::model::refusal::{REFUSAL_MAX, Refusal};
use crate::model::slot::Slot;
use crate::model::time::Timestamp;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use std::collections::BTreeMap;

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

    let mut batch = Batch { store, standing: &standing, objects, keys, now: author.now, packages: BTreeMap::new() };
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
    // Unless something else of the package is in: then its references move on anyway.
    undone.retain(|package| !batch.packages.contains_key(package));
    for package in &undone {
        batch.undo(package, &mut done)?;
    }
    if !refused.is_empty() {
        batch.note(&refused, &mut done)?;
    }
    let changed = outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Accepted(_)));
    let checkpoint = if changed {
        let (objects, step) = batch.step(done)?;
        Some(advance(lock, store, &standing, &standing.operators.log, objects, author, step)?)
    } else {
        if !undone.is_empty() || !refused.is_empty() {
            batch.objects.finish()?;
        }
        store.update(&done)?;
        store.end_journal(lock)?;
        None
    };
    Ok(Report { outcomes, checkpoint })
}

/// Says of proposals what an acceptor would say now, and changes nothing.
///
/// # Errors
/// `bad-repository`, `io`; a proposal that would be refused is no error.
pub fn examine(store: &Store, now: Timestamp, proposals: &[(PackageName, GitId)]) -> Result<Vec<Outcome>> {
    let mut keys = KeyCache::default();
    let standing = Standing::read(store, &mut keys)?;
    let objects = Staging::new(store);
    let mut batch = Batch { store, standing: &standing, objects, keys, now, packages: BTreeMap::new() };
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
}

impl<'a> Batch<'a> {
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
        let name = FullName { registry: self.operators().registry().clone(), package: package.clone() };
        log.log.expect(&name, self.operators().id())?;
        let published = self.published(package)?;
        let known = match &published {
            None => {
                self.operators().now().may_register(&log.records[0], package.namespace())?;
                0
            }
            Some(published) => match follows(&log, published)? {
                0 => return Ok(None),
                new => log.records.len() - new,
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
    fn published(&mut self, package: &PackageName) -> Result<Option<Replayed<PackageLog>>> {
        if let Some(draft) = self.packages.get(package) {
            return Ok(Some(draft.log.clone()));
        }
        published(self.standing, &self.store.reader(), package, &mut self.keys)
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
        let Some(old) = self.contents_of(package, was)? else { return Ok(()) };
        let kept: Vec<TreeEntry> = match published {
            None => Vec::new(),
            Some(head) => released_in(&old, &chains::package(&self.objects, head, &mut self.keys)?.log),
        };
        let new = if kept.is_empty() {
            None
        } else {
            let tree = Tree::new(kept)?.write(&mut self.objects)?;
            Some(self.objects.write(ObjectKind::Commit, &commit::contents(tree))?)
        };
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
        // Contents first: a log that is ahead of the map has its contents beside it.
        step.refs.extend(heads);
        Ok((self.objects, step))
    }
}

/// Reads the log of a package that may go on; `None` where the name is free.
///
/// # Errors
/// `taken-down` where the package was; those of [`chains::package`].
pub(crate) fn published(
    standing: &Standing,
    reader: &Reader,
    package: &PackageName,
    keys: &mut KeyCache,
) -> Result<Option<Replayed<PackageLog>>> {
    let Some(head) = standing.map.get(reader, &Slot::Package(package.clone()))? else { return Ok(None) };
    if let Some(decisions) = standing.map.get(reader, &Slot::Decisions(package.clone()))? {
        let decisions = chains::decisions(reader, decisions, &standing.operators.log, keys)?;
        if let Some((.., takedown)) =
            decisions.log.takedowns().find(|(of, version, _)| *of == decisions.log.target() && version.is_none())
        {
            return Err(fault!(TakenDown, "{package} was taken down: {}", takedown.reason));
        }
    }
    chains::package(reader, head, keys).map(Some)
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
fn follows(log: &Replayed<PackageLog>, published: &Replayed<PackageLog>) -> Result<usize> {
    let (ours, theirs) = (&log.records, &published.records);
    if log.log.chain().id() != published.log.chain().id() {
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
