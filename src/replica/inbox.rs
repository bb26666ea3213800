//! Proposals as they are pushed to a served registry: looked at before git lets them in, then published together with those that others
//! push meanwhile.
//!
//! Whoever pushes puts its proposals where they wait and then tries for the one lock. Who has it judges all that wait and publishes what
//! holds by one checkpoint; the others see their proposals gone, and read what became of them.

use super::accept::{self, Asked, Verdict, examine};
use super::author::Author;
use super::chains;
use super::standing::Standing;
use crate::git::layout::{self, RefName};
use crate::git::receive::Wanted;
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{Reader, RepositoryLock, Store};
use crate::model::commit;
use crate::model::digest::{GitId, ObjectKind, RecordDigest};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::PackageName;
use crate::model::object::{ReadObjects, STRUCTURE_MAX, WriteObjects};
use crate::model::refusal::{REFUSAL_MAX, Refusal};
use crate::model::slot::Slot;
use crate::model::time::Timestamp;
use std::time::{Duration, Instant};

/// How long it waits for the lock before it breaks what a killed push left.
const PUT_WAIT: Duration = Duration::from_secs(30);
/// So many proposals can be pushed at once.
pub const PROPOSALS_MAX: usize = 100;
/// So many proposals can wait: whoever may push may make more of them than anybody will look at.
const WAITING_MAX: usize = 10_000;
/// How often a push that waits looks whether another one took care of it.
const PAUSE_MIN: Duration = Duration::from_millis(3);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// A proposal that was pushed: the package, and the proposal's commit.
pub type Proposal = (PackageName, GitId);

/// What became of a proposal that was pushed.
#[derive(Clone, Debug)]
pub enum Settled {
    /// A checkpoint holds it: the place and digest of one that does.
    Published(u64, RecordDigest),
    /// It waits: for an operator, or, where the name is new, for a person.
    Waiting,
    /// It was refused.
    Refused(Error),
}

/// Reads what a push wants as a proposal.
///
/// # Errors
/// `refused` for whatever else one might push.
pub fn proposal(wanted: &Wanted) -> Result<Proposal> {
    let refused = |why: &str| fault!(Refused, "{} {why}", wanted.name).asked();
    if !wanted.name.starts_with(layout::INCOMING) {
        return Err(refused("moves by accepted proposals and by its operators alone").hint("propose a release: quipu publish"));
    }
    let Some((package, id)) = wanted.name.parse().ok().and_then(|name| layout::parse_incoming(&name)) else {
        return Err(refused(&format!("is no name of a proposal, expected {}<ns>/<name>/<commit>", layout::INCOMING)));
    };
    match (wanted.old, wanted.new) {
        (None, Some(new)) if new == id => Ok((package, id)),
        (None, Some(new)) => Err(refused(&format!("is {new}, expected the commit that it is named after"))),
        _ => Err(refused("is a proposal already, and proposals are neither changed nor removed by a push")),
    }
}

/// Looks at proposals before git lets them in.
///
/// # Errors
/// The first that an acceptor would refuse, by its code; `io`, `bad-repository`.
pub fn admit(store: &Store, now: Timestamp, proposals: &[Proposal]) -> Result<()> {
    for outcome in examine(store, now, proposals)? {
        if let Verdict::Refused(error) = outcome.verdict {
            return Err(error.at(&outcome.package));
        }
    }
    Ok(())
}

/// Puts proposals, whose objects are here, where they wait.
///
/// # Errors
/// `limit` where too many wait already, `conflict` where another process does not end, `io`.
pub fn put(store: &Store, proposals: &[Proposal]) -> Result<()> {
    let mut waiting = proposals.len();
    store.for_each_reference(layout::INCOMING, |_, _| {
        waiting += 1;
        Ok(())
    })?;
    if waiting > WAITING_MAX {
        return Err(fault!(Limit, "{WAITING_MAX} proposals wait already")
            .hint("try again when its operators went through them")
            .asked());
    }
    let mut edits = Vec::new();
    for (package, id) in proposals {
        let name = layout::incoming(package, *id);
        // Pushed twice, it waits once.
        if store.reference(&name)? != Some(*id) {
            edits.push(RefEdit { name, expected: Expected::Absent, new: Some(*id) });
        }
    }
    match store.update(&edits) {
        Err(error) if error.code() == ErrorCode::Conflict => {
            // The name says what it names: another push of the same puts it there, or one that was killed left its lock.
            let lock = store.lock(PUT_WAIT, "quipu: putting proposals where they wait")?;
            let names: Vec<RefName> = edits.iter().map(|edit| edit.name.clone()).collect();
            store.break_ref_locks(&lock, &names)?;
            let mut left = Vec::new();
            for edit in edits {
                if store.reference(&edit.name)? != edit.new {
                    left.push(edit);
                }
            }
            store.update(&left)
        }
        updated => updated,
    }
}

/// Sees to it that proposals which wait are judged, by this process or by another that is at it, and says what became of each.
/// `asked` is [`Asked::All`] or [`Asked::Known`].
///
/// # Errors
/// `conflict` where another process does not end within `patience`; `unauthorized` where the author may not make checkpoints; `io`. What was
/// not judged goes on waiting.
pub fn settle(
    store: &Store,
    author: &Author<'_>,
    proposals: &[Proposal],
    asked: impl Fn() -> Asked<'static>,
    patience: Duration,
) -> Result<Vec<Settled>> {
    let mut settled: Vec<Option<Settled>> = vec![None; proposals.len()];
    let until = Instant::now() + patience;
    let mut pause = PAUSE_MIN;
    loop {
        match store.lock(Duration::ZERO, "quipu: accepting what was pushed") {
            Ok(lock) => {
                store.refresh()?;
                let report = accept::accept(&lock, store, author, asked()).inspect_err(|_| take_back(store, proposals))?;
                drop(lock);
                for outcome in report.outcomes {
                    let at =
                        proposals.iter().position(|(package, id)| Some(*id) == outcome.proposal && *package == outcome.package);
                    let Some(at) = at else { continue };
                    settled[at] = match outcome.verdict {
                        Verdict::Accepted(_) => {
                            report.checkpoint.as_ref().map(|checkpoint| Settled::Published(checkpoint.seq(), checkpoint.digest()))
                        }
                        // It is in the newest checkpoint, as is everything that was ever in one.
                        Verdict::AlreadyIn => None,
                        Verdict::Held => Some(Settled::Waiting),
                        Verdict::Refused(error) => Some(Settled::Refused(error)),
                    };
                }
                // Its pusher is told now, and needs no note.
                forget(
                    store,
                    proposals
                        .iter()
                        .zip(&settled)
                        .filter(|(_, settled)| matches!(settled, Some(Settled::Refused(_))))
                        .map(|(proposal, _)| proposal),
                );
                return proposals
                    .iter()
                    .zip(settled)
                    .map(|(proposal, settled)| settled.map_or_else(|| gone(store, proposal), Ok))
                    .collect();
            }
            Err(error) if error.code() == ErrorCode::Conflict && Instant::now() < until => {}
            Err(error) => {
                return Err(error.hint("the proposal goes on waiting, and may be published yet: quipu info says when it is"));
            }
        }
        // Another one is at it, and may take care of these too.
        let mut all = true;
        for (proposal, settled) in proposals.iter().zip(&mut settled).filter(|(_, settled)| settled.is_none()) {
            if store.reference(&layout::incoming(&proposal.0, proposal.1))?.is_some() {
                all = false;
                break;
            }
            store.refresh()?;
            let found = gone(store, proposal)?;
            if let Settled::Refused(_) = found {
                forget(store, [proposal]);
            }
            *settled = Some(found);
        }
        if all {
            return Ok(settled.into_iter().flatten().collect());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Takes proposals back whose pusher is told that they failed. Nobody else judges them: this process has the lock.
fn take_back(store: &Store, proposals: &[Proposal]) {
    for (package, id) in proposals {
        // What cannot be taken back waits for the next acceptor.
        let _ = store.update(&[RefEdit { name: layout::incoming(package, *id), expected: Expected::At(*id), new: None }]);
    }
}

/// Removes what says why proposals were refused.
fn forget<'p>(store: &Store, proposals: impl IntoIterator<Item = &'p Proposal>) {
    for (package, id) in proposals {
        let name = layout::refused(package, *id);
        // A note that stays is one too many, and goes when there are too many.
        if let Ok(note @ Some(_)) = store.reference(&name) {
            let _ = store.update(&[RefEdit { name, expected: note.into(), new: None }]);
        }
    }
}

/// Refuses a proposal that waits, for a person's reason.
///
/// # Errors
/// `not-found` where no such proposal waits, `io`.
pub fn refuse(lock: &RepositoryLock, store: &Store, now: Timestamp, proposal: GitId, reason: &str) -> Result<PackageName> {
    let mut found = None;
    store.for_each_reference(layout::INCOMING, |name, id| {
        if id == proposal
            && let Some((package, _)) = layout::parse_incoming(&name)
        {
            found = Some((package, name));
        }
        Ok(())
    })?;
    let Some((package, name)) = found else {
        return Err(fault!(NotFound, "no proposal {proposal} waits in {}", store.path().display()));
    };
    let why = fault!(Refused, "an operator refused it: {reason}").asked();
    let note = Refusal { time: now, why };
    let mut objects = Staging::new(store);
    let id = objects.write(ObjectKind::Blob, note.to_text().as_bytes())?;
    objects.finish()?;
    // The note first: what was taken away says why.
    let refused = layout::refused(&package, proposal);
    let note = RefEdit { expected: store.reference(&refused)?.into(), name: refused, new: Some(id) };
    let gone = RefEdit { name, expected: Expected::At(proposal), new: None };
    store.break_ref_locks(lock, &[note.name.clone(), gone.name.clone()])?;
    store.update_in_order(&[&[note], &[gone]])?;
    Ok(package)
}

/// Says what became of a proposal that waits no more.
fn gone(store: &Store, (package, id): &Proposal) -> Result<Settled> {
    let reader = store.reader();
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let bytes = reader.read(ObjectKind::Commit, *id, STRUCTURE_MAX)?;
    let (_, head) = commit::parse_proposal(store.format(), &bytes)?;
    let published = standing.map.get(&reader, &Slot::Package(package.clone()))?;
    if published.map_or(Ok(false), |published| is_in(&reader, published, head))? {
        let checkpoint = standing.checkpoint.record();
        return Ok(Settled::Published(checkpoint.seq(), checkpoint.digest()));
    }
    if let Some(note) = store.reference(&layout::refused(package, *id))? {
        return Refusal::parse(&reader.read(ObjectKind::Blob, note, REFUSAL_MAX)?).map(|refusal| Settled::Refused(refusal.why));
    }
    Err(fault!(Conflict, "the proposal {id} of {package} was taken away by somebody, and it is not said why").asked())
}

/// Says whether a log that ends in `published` holds the record of a commit.
fn is_in(reader: &Reader, published: GitId, record: GitId) -> Result<bool> {
    Ok(chains::walk(reader, published)?.iter().any(|found| found.git_id() == record))
}
