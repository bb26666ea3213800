//! Proposals on a host that runs nothing of ours: named in files, fetched from forks, judged here, and published by a push.
//!
//! Files and forks are a stranger's. A fork is asked for one commit by its id; what comes stays in a quarantine until it was judged by the
//! code that accepts.

use super::accept::{self, Asked, Outcome, Verdict, Wish, examine};
use super::author::Author;
use super::chains;
use super::inbox::{self, PROPOSALS_MAX, Proposal};
use super::page;
use super::standing::Standing;
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{RepositoryLock, Store};
use crate::git::transport::{self, FetchOptions, Negotiate, PushOptions, Pushed, Url, Want};
use crate::model::digest::{GitId, RecordDigest};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{PackageName, looks_like_path};
use crate::model::proposal::{PROPOSALS, ProposalFile};
use crate::model::record::SignedRecord;
use crate::model::slot::Slot;
use crate::model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// What one proposal may bring beyond the contents of one release, in bytes on disk.
const PROPOSAL_BYTES_MORE: u64 = 256 << 20;
/// How long a fork may take to hand out a proposal.
const FORK_PATIENCE: Duration = Duration::from_secs(120);
/// So many forks are asked at a time: those that never answer do not keep the others waiting.
const FORKS_AT_ONCE: usize = 8;
/// How often a push is tried that others are quicker than.
const PUSHES: usize = 5;

/// A proposal file as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, which is to end as [`ProposalFile::path`] says.
    pub place: String,
    /// What is in it, or why it cannot be read.
    pub bytes: Result<Vec<u8>>,
}

/// What is to be said of one proposal file.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its path.
    pub place: String,
    /// What it says, where it can be read at all.
    pub file: Option<ProposalFile>,
    /// Whether the package's name is new; `None` where it did not come to that.
    pub is_new: Option<bool>,
    /// What an acceptor says.
    pub verdict: Verdict,
}

/// A proposal that is here, in a quarantine of its own, or why it is not.
struct Fetched {
    place: String,
    file: Option<ProposalFile>,
    /// `None` where it was not asked for: the name is new, and is to wait.
    objects: Result<Option<Quarantine>>,
}

/// Says whether a fork's URL is one that strangers may name: `https`, `ssh` or `git`, and nothing in it that belongs to one person.
///
/// # Errors
/// `bad-url`.
pub fn check_fork(text: &str) -> Result<Url> {
    let wrong = |why: &str| Err(fault!(BadUrl, "the URL of the fork {why}"));
    if looks_like_path(text) {
        return wrong("is a path, expected https://…, ssh://… or git://…");
    }
    let url: Url = text.parse()?;
    let scheme = text.split_once("://").map_or("ssh", |(scheme, _)| scheme);
    if !matches!(scheme, "https" | "ssh" | "git") || url.is_local().is_some() {
        return wrong(&format!("begins with {scheme}://, expected https, ssh or git"));
    }
    if url.to_string() != text {
        return wrong("has a password, a token or a query in it");
    }
    Ok(url)
}

/// Reads a proposal file and fetches what it names. Nothing of it is verified yet.
fn fetch(store: &Store, ground: &Ground<'_>, found: &Found) -> Fetched {
    let operators = &ground.standing.operators.log;
    let mut file = None;
    let objects = found.bytes.clone().and_then(|bytes| {
        let read = &*file.insert(ProposalFile::parse(&bytes)?);
        read.expect_at(&found.place)?;
        if read.registry != *operators.registry() {
            return Err(fault!(
                WrongRegistry,
                "the file is for the registry {}, expected {}",
                read.registry,
                operators.registry()
            ));
        }
        if read.id != operators.id() {
            return Err(fault!(IdMismatch, "the file is for the registry id {}, expected {}", read.id, operators.id()));
        }
        if read.proposal.format() != store.format() {
            return Err(fault!(BadProposal, "the file names a {} commit, expected {}", read.proposal.format(), store.format()));
        }
        let url = check_fork(&read.fork)?;
        if ground.known && ground.is_new(&read.package)? {
            // Whoever opens many pull requests does not keep the job busy by new names.
            return Ok(None);
        }
        let quarantine = Quarantine::new(store.format(), &[store.objects_path()])?;
        let options = FetchOptions {
            max_bytes: accept::limits(&operators.now().policy).release_bytes.saturating_add(PROPOSAL_BYTES_MORE),
            deadline: Some(FORK_PATIENCE),
            stranger: true,
            ..FetchOptions::default()
        };
        transport::fetch(&quarantine, &url, &[Want::id(read.proposal)], &options)?;
        Ok(Some(quarantine))
    });
    Fetched { place: found.place.clone(), file, objects }
}

/// What proposals are judged upon.
struct Ground<'a> {
    store: &'a Store,
    standing: Standing,
    /// Whether new names are to wait.
    known: bool,
}

impl<'a> Ground<'a> {
    fn read(store: &'a Store, known: bool) -> Result<Self> {
        Ok(Ground { store, standing: Standing::read(store, &mut KeyCache::default())?, known })
    }

    fn is_new(&self, package: &PackageName) -> Result<bool> {
        Ok(self.standing.map.get(&self.store.reader(), &Slot::Package(package.clone()))?.is_none())
    }
}

/// Fetches what files name, each for itself: what one fork sends says nothing about another. Of what does not hold nothing is kept.
fn fetch_all(store: &Store, ground: &Ground<'_>, now: Timestamp, found: &[Found]) -> Result<Vec<Fetched>> {
    if found.len() > PROPOSALS_MAX {
        return Err(fault!(Limit, "{} proposal files are given, at most {PROPOSALS_MAX} are read at once", found.len()));
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(found) = found.get(at)
        {
            let mut fetched = fetch(store, ground, found);
            if let Verdict::Refused(error) = judge(ground, now, &fetched)?.verdict {
                fetched.objects = Err(error);
            }
            done.push((at, fetched));
        }
        Ok(done)
    };
    let all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..found.len().min(FORKS_AT_ONCE)).map(|_| scope.spawn(work)).collect();
        let join = |worker: ScopedJoinHandle<'_, Result<Vec<_>>>| {
            worker.join().unwrap_or_else(|_| Err(fault!(Bug, "fetching from a fork panicked")))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, fetched)| fetched).collect())
}

/// Judges what was fetched by itself, as an acceptor would now.
fn judge(ground: &Ground<'_>, now: Timestamp, fetched: &Fetched) -> Result<Judged> {
    let store = ground.store;
    let judged = |is_new, verdict| Judged { place: fetched.place.clone(), file: fetched.file.clone(), is_new, verdict };
    let (file, objects) = match (&fetched.file, &fetched.objects) {
        (Some(file), Ok(Some(objects))) => (file, objects),
        (_, Ok(None)) => return Ok(judged(Some(true), Verdict::Held)),
        (_, Err(error)) => return Ok(judged(None, Verdict::Refused(error.clone().asked()))),
        (None, Ok(_)) => return Err(fault!(Bug, "a proposal was fetched that no file names")),
    };
    let is_new = ground.is_new(&file.package)?;
    let with = Store::open_with_pushed(store.path(), &objects.store().objects_path())?;
    let outcome = examine(&with, now, &[(file.package.clone(), file.proposal)])?.pop();
    let mut verdict = outcome.map(|outcome| outcome.verdict).ok_or_else(|| fault!(Bug, "a proposal was not judged"))?;
    if let Verdict::Accepted(records) = &verdict
        && let Err(error) = check_signer(file, records)
    {
        verdict = Verdict::Refused(error.asked());
    }
    Ok(judged(Some(is_new), verdict))
}

/// Checks that a file names who signed: people read it before they say yes.
fn check_signer(file: &ProposalFile, records: &[SignedRecord]) -> Result<()> {
    let Some(last) = records.last() else { return Ok(()) };
    let (signer, key) = (&last.draft().signer, last.key().fingerprint());
    if file.signer != *signer || file.key != key {
        return Err(fault!(
            BadProposal,
            "the file says that {} with the key {} signed, the newest record is signed by {signer} with {key}",
            file.signer,
            file.key
        ));
    }
    Ok(())
}

/// Says of proposal files what an acceptor would say now, and changes nothing.
///
/// # Errors
/// `limit` for more than 100 files, `bad-repository`, `io`; what would be refused is no error.
pub fn check(store: &Store, now: Timestamp, found: &[Found]) -> Result<Vec<Judged>> {
    let ground = Ground::read(store, false)?;
    fetch_all(store, &ground, now, found)?.iter().map(|fetched| judge(&ground, now, fetched)).collect()
}

/// Fetches what files name into a registry's own repository, and puts what holds where proposals wait; `known` says that new names wait in their
/// forks. Returns those, and what is to be said
/// of the rest.
///
/// # Errors
/// Those of [`check`], `conflict`.
pub fn bring(store: &Store, now: Timestamp, found: &[Found], known: bool) -> Result<(Vec<Proposal>, Vec<Judged>)> {
    let mut proposals = Vec::new();
    let mut rest = Vec::new();
    let ground = Ground::read(store, known)?;
    for fetched in fetch_all(store, &ground, now, found)? {
        let judged = judge(&ground, now, &fetched)?;
        match (&judged.verdict, &judged.file, fetched.objects) {
            (Verdict::Accepted(_), Some(file), Ok(Some(objects))) => {
                objects.keep(store)?;
                add(&mut proposals, file);
            }
            _ => rest.push(judged),
        }
    }
    inbox::put(store, &proposals)?;
    Ok((proposals, rest))
}

/// Adds what a file names, once for however many files name it.
fn add(proposals: &mut Vec<Proposal>, file: &ProposalFile) {
    let proposal = (file.package.clone(), file.proposal);
    if !proposals.contains(&proposal) {
        proposals.push(proposal);
    }
}

/// Where a registry is that is published by a push.
pub struct Upstream<'a> {
    /// Its URL.
    pub url: &'a Url,
    /// Whether the person at the terminal may be asked for a password.
    pub terminal: bool,
}

/// What was published by a push.
#[derive(Debug)]
pub struct Delivery {
    /// What became of proposals that were judged together.
    pub outcomes: Vec<Outcome>,
    /// What is to be said of the files whose proposals were not among them.
    pub rest: Vec<Judged>,
    /// The place and digest of the checkpoint that was made.
    pub checkpoint: Option<(u64, RecordDigest)>,
    /// What became of owners' wishes for other names.
    pub renames: Vec<Wish>,
    /// The references that were moved there.
    pub pushed: Vec<RefName>,
}

/// Judges proposals of files, and those that wait in a registry on another host, and publishes what holds by one push of all or nothing.
/// Files that are settled go from the front page with it; `known` says that new names wait. `store` is a clone of that registry: its references
/// follow once the push is through.
///
/// Whatever others push meanwhile, nothing that was judged on older ground gets in: the references are moved only from where they were read,
/// and else all is judged again.
///
/// # Errors
/// `conflict` where others are quicker each time, or where the clone has what the registry has not; `id-mismatch`; `refused` where the host
/// says no; those of [`accept::accept`] and of the transport.
pub fn deliver(
    lock: &RepositoryLock,
    store: &Store,
    author: &Author<'_>,
    upstream: &Upstream<'_>,
    found: &[Found],
    known: bool,
) -> Result<Delivery> {
    store.sweep(lock)?;
    let mut fetched: Option<Vec<Fetched>> = None;
    for _ in 0..PUSHES {
        // Objects of another attempt are of no use to anybody.
        let scratch = Quarantine::new(store.format(), &[store.objects_path()])?;
        let before = read_upstream(store, &scratch, upstream)?;
        check_clone(store, scratch.store())?;
        let fetched = match &mut fetched {
            Some(fetched) => fetched,
            none => none.insert(fetch_all(store, &Ground::read(scratch.store(), known)?, author.now, found)?),
        };
        let own = |fetched: &Fetched| fetched.objects.as_ref().ok()?.as_ref().map(|objects| objects.store().objects_path());
        let alternates = std::iter::once(store.objects_path()).chain(fetched.iter().filter_map(own));
        let ground = Quarantine::new(store.format(), &alternates.collect::<Vec<_>>())?;
        scratch.keep(ground.store())?;
        ground.set_refs(&before.iter().map(|(name, id)| (name.clone(), *id)).collect::<Vec<_>>())?;
        let ground_store = ground.store();

        let mut proposals = Vec::new();
        let mut rest = Vec::new();
        let upon = Ground::read(ground_store, known)?;
        for fetched in fetched.iter() {
            let judged = judge(&upon, author.now, fetched)?;
            match (&judged.verdict, &judged.file) {
                (Verdict::Accepted(_), Some(file)) => add(&mut proposals, file),
                _ => rest.push(judged),
            }
        }
        inbox::put(ground_store, &proposals)?;
        let report = accept::accept(ground.lock(), ground_store, author, if known { Asked::Known } else { Asked::All })?;
        ground_store.refresh()?;
        let settled = settled_files(&report.outcomes, &rest);
        if let Some(edit) = without_files(ground_store, author, &before, &settled)? {
            ground_store.update(&[edit])?;
        }
        let after = references(ground_store)?;
        // What came by a file is nobody's business in the registry, whether it still waits or was refused.
        let is_own = |name: &RefName| {
            let mut of_files = proposals.iter();
            of_files.any(|(package, id)| [layout::incoming(package, *id), layout::refused(package, *id)].contains(name))
        };
        let mut edits = changes(&before, &after);
        edits.retain(|edit| before.contains_key(&edit.name) || !is_own(&edit.name));
        let options = PushOptions { atomic: true, terminal: upstream.terminal, ..PushOptions::default() };
        let pushed = transport::push(&ground, upstream.url, &edits, &options)?;
        if !pushed.is_done() {
            let stale = pushed.refs.values().any(|pushed| *pushed == Pushed::Stale);
            if stale || read_upstream(store, &Quarantine::new(store.format(), &[store.objects_path()])?, upstream)? != before {
                continue;
            }
            let why = pushed.refs.iter().find_map(|(name, pushed)| match pushed {
                Pushed::Refused(why) if !why.contains("atomic") => Some(format!("{name}: {why}")),
                _ => None,
            });
            let said = std::iter::once(why.unwrap_or_else(|| "the push".into())).chain(pushed.said).collect::<Vec<_>>();
            return Err(fault!(Refused, "{} refused {}", upstream.url, said.join("; ")).asked());
        }
        follow(store, &ground, fetched, &report.outcomes, &after)?;
        return Ok(Delivery {
            outcomes: report.outcomes,
            renames: report.renames,
            rest,
            checkpoint: report.checkpoint.map(|checkpoint| (checkpoint.seq(), checkpoint.digest())),
            pushed: edits.into_iter().map(|edit| edit.name).collect(),
        });
    }
    Err(fault!(Conflict, "{} was moved on by others {PUSHES} times, each time while this was judged", upstream.url)
        .hint("nothing was published; try again")
        .asked())
}

/// Brings a clone to where the registry is now.
fn follow(
    clone: &Store,
    ground: &Quarantine,
    fetched: &[Fetched],
    outcomes: &[Outcome],
    after: &BTreeMap<RefName, GitId>,
) -> Result<()> {
    ground.keep(clone)?;
    for Fetched { file, objects, .. } in fetched {
        let is_in = |file: &ProposalFile| {
            let mut same = outcomes.iter().filter(|outcome| outcome.proposal == Some(file.proposal));
            same.any(|outcome| matches!(outcome.verdict, Verdict::Accepted(_)))
        };
        if let (Some(file), Ok(Some(objects))) = (file, objects)
            && is_in(file)
        {
            objects.keep(clone)?;
        }
    }
    let mut edits = changes(&references(clone)?, after);
    // Proposals that wait, and notes, are each repository's own.
    let is_passing = |name: &str| name.starts_with(layout::INCOMING) || name.starts_with(layout::REFUSED);
    edits.retain(|edit| !is_passing(edit.name.as_str()));
    clone.update(&edits)
}

/// Fetches all references of a registry, and what they name beyond what the clone has.
fn read_upstream(store: &Store, into: &Quarantine, upstream: &Upstream<'_>) -> Result<BTreeMap<RefName, GitId>> {
    let page = layout::front_page();
    let own = references(store)?;
    // The logs that grow first: not all can be told.
    let mut tips: Vec<GitId> =
        [layout::registry_log(), layout::operators(), page.clone()].iter().filter_map(|name| own.get(name).copied()).collect();
    tips.extend(own.values());
    let options = || FetchOptions {
        negotiate: if tips.is_empty() { Negotiate::Nothing } else { Negotiate::Commits(tips.clone()) },
        terminal: upstream.terminal,
        ..FetchOptions::default()
    };
    let mut wants = Vec::new();
    for folder in FOLDERS {
        let folder: RefName = folder.trim_end_matches('/').parse()?;
        wants.push(Want::below(folder.clone()).to(folder));
    }
    transport::fetch(into, upstream.url, &wants, &options())?;
    match transport::fetch(into, upstream.url, &[Want::reference(page.clone()).to(page)], &options()) {
        Err(error) if error.code() == ErrorCode::RefMissing => {}
        fetched => drop(fetched?),
    }
    references(into.store())
}

/// The folders of a registry's references, but for branches: a forge has others of its own.
const FOLDERS: [&str; 9] = [
    "refs/registry/",
    layout::PACKAGES,
    layout::DECISIONS,
    layout::CONTENTS,
    layout::ATTESTATIONS,
    layout::MIRRORS,
    layout::INCOMING,
    layout::REFUSED,
    layout::RETIRED,
];

fn references(store: &Store) -> Result<BTreeMap<RefName, GitId>> {
    let mut all = BTreeMap::new();
    for folder in FOLDERS {
        all.extend(store.references(folder)?);
    }
    let page = layout::front_page();
    if let Some(id) = store.reference(&page)? {
        all.insert(page, id);
    }
    Ok(all)
}

fn changes(before: &BTreeMap<RefName, GitId>, after: &BTreeMap<RefName, GitId>) -> Vec<RefEdit> {
    let mut names: Vec<&RefName> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let edit = |name: &RefName| RefEdit {
        expected: before.get(name).copied().into(),
        new: after.get(name).copied(),
        name: name.clone(),
    };
    names.into_iter().map(edit).filter(|edit| edit.expected != Expected::from(edit.new)).collect()
}

/// Checks that a clone is one of this registry, and has no checkpoint that the registry has not.
fn check_clone(clone: &Store, upstream: &Store) -> Result<()> {
    let mut keys = KeyCache::default();
    let now = Standing::read(upstream, &mut keys)?;
    let Some(head) = clone.reference(&layout::registry_log())? else { return Ok(()) };
    let own = Standing::read(clone, &mut keys)?;
    if own.operators.log.id() != now.operators.log.id() {
        return Err(fault!(
            IdMismatch,
            "the registry there has the id {}, the clone {} is of {}",
            now.operators.log.id(),
            clone.path().display(),
            own.operators.log.id()
        ));
    }
    let reader = upstream.reader();
    let mut at = Some(now.checkpoint.record().git_id());
    while let Some(id) = at {
        if id == head {
            return Ok(());
        }
        let record = chains::record(&reader, id)?;
        at = record.draft().parent.filter(|_| record.seq() > own.checkpoint.seq());
    }
    Err(fault!(
        Conflict,
        "{} has checkpoint {}, which the registry there does not have",
        clone.path().display(),
        own.checkpoint.seq()
    )
    .hint("make a fresh clone; or, where that repository is the registry itself, push it with git: docs/hosting.md")
    .asked())
}

/// Returns the paths of the files that need not be looked at again.
fn settled_files(outcomes: &[Outcome], rest: &[Judged]) -> Vec<String> {
    let path = |package: &PackageName, id| format!("{PROPOSALS}/{}/{}/{id}.toml", package.namespace(), package.name());
    let judged = outcomes
        .iter()
        .filter(|outcome| !matches!(outcome.verdict, Verdict::Held))
        .filter_map(|outcome| outcome.proposal.map(|id| path(&outcome.package, id)));
    // A network that failed is no verdict.
    let is_final = |judged: &&Judged| match &judged.verdict {
        Verdict::Refused(error) => {
            !matches!(error.code(), ErrorCode::Network | ErrorCode::Git | ErrorCode::Io | ErrorCode::NotFound)
        }
        Verdict::Held => false,
        Verdict::Accepted(_) | Verdict::AlreadyIn => true,
    };
    // What a file says of itself is believed only where it is so.
    let others = rest.iter().filter(is_final).filter_map(|judged| {
        let names: Vec<&str> = judged.place.rsplit('/').take(4).collect();
        (names.last() == Some(&PROPOSALS)).then(|| names.into_iter().rev().collect::<Vec<_>>().join("/"))
    });
    judged.chain(others).collect()
}

/// Takes files from the front page, where they are on it.
fn without_files(
    store: &Store,
    author: &Author<'_>,
    before: &BTreeMap<RefName, GitId>,
    settled: &[String],
) -> Result<Option<RefEdit>> {
    let name = layout::front_page();
    let Some(head) = before.get(&name).copied() else { return Ok(None) };
    let mut objects = Staging::new(store);
    let tree = page::tree_of(&objects, head)?;
    let Some(tree) = page::take(&mut objects, tree, settled)? else { return Ok(None) };
    let commit = page::commit(&mut objects, author, tree, Some(head), "Proposals that were judged leave the front page")?;
    objects.finish()?;
    Ok(Some(RefEdit { name, expected: Expected::At(head), new: Some(commit) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_names_no_fork_but_one_that_all_can_reach() {
        for good in [
            "https://forge.example/bob/r.git",
            "ssh://git@forge.example/r",
            "git@forge.example:bob/r.git",
            "git://forge.example/r",
        ] {
            assert!(check_fork(good).is_ok(), "{good}");
        }
        for bad in [
            "/srv/r.git",
            "./r.git",
            "file:///srv/r.git",
            "http://forge.example/r.git",
            "ext::sh -c evil",
            "-oProxyCommand=evil",
            "ssh://-oProxyCommand=evil/r",
            "https://bob:secret@forge.example/r.git",
            "https://t0ken@forge.example/r.git",
            "https://forge.example/r.git?private=1",
            "r.git",
            "",
        ] {
            assert_eq!(check_fork(bad).map(drop).unwrap_err().code(), ErrorCode::BadUrl, "{bad}");
        }
    }
}
