//! Getting new records of a package into its registry: proposed, and accepted in the same run where the registry is on this machine and a key
//! of the user's may make checkpoints.

use super::client::Client;
use super::context::{Context, Signing};
use super::fork::{self, Request};
use crate::disk::keys;
use crate::git::layout;
use crate::git::quarantine::Quarantine;
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::Store;
use crate::git::transport::{self, PushOptions, Pushed};
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::digest::{GitId, RecordDigest};
use crate::model::entry::OperatorPrivilege;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, PackageName};
use crate::model::record::SignedRecord;
use crate::replica::accept::{self, Asked, Made, Report, Verdict};
use crate::replica::author::{Author, Work};
use crate::replica::snapshot::PackageView;
use std::time::Duration;

/// How long another acceptor is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// What an acceptor writes into the lock.
const LOCK_NOTE: &str = "quipu: accepting proposals";

/// What became of new records.
#[derive(Debug)]
pub struct Submitted {
    /// The log with them.
    pub log: PackageLog,
    /// The records.
    pub added: Vec<SignedRecord>,
    /// Where they are now.
    pub state: State,
    /// The branch for a pull request, where they were proposed by one.
    pub request: Option<Request>,
}

/// How far new records have come.
#[derive(Debug)]
pub enum State {
    /// Nothing was done, as was asked.
    DryRun,
    /// They wait for an operator.
    Proposed(GitId),
    /// A checkpoint holds them: its place and digest.
    Published(u64, RecordDigest),
}

impl State {
    /// Returns the word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::DryRun => "dry-run",
            State::Proposed(_) => "proposed",
            State::Published(..) => "published",
        }
    }
}

/// What to build records from.
pub struct Ground<'g> {
    /// Who signs.
    pub author: &'g Author<'g>,
    /// The package as it is; `None` where the name is new.
    pub view: Option<&'g PackageView>,
    /// What is to be said of a new name where the package should be there.
    pub absent: Option<Error>,
    /// The operators and the policy.
    pub operators: &'g OperatorLog,
    /// The log to go on with.
    pub work: Work,
}

/// Builds new records with `build`, which returns them and the folders of new releases, and brings them to the registry.
///
/// # Errors
/// Those of `build`; `conflict`, `unauthorized` and all else that the registry refuses; those of the transport.
pub fn submit(
    client: &Client<'_>,
    signing: &Signing,
    author: &Author<'_>,
    package: &PackageName,
    build: impl FnOnce(Ground<'_>, &mut Staging<'_>) -> Result<(Work, Vec<(String, GitId)>)>,
) -> Result<Submitted> {
    let context = client.context;
    let dry = context.flags.dry_run;
    if !dry {
        context.may_reach(client.fork.as_ref().unwrap_or(&client.push))?;
    }
    // A fork is pushed to, wherever it is.
    let local = if client.fork.is_some() { None } else { client.push.is_local() };
    let mut snapshot = client.snapshot(Some(package))?;
    // Where proposals go, if that is on this machine: mostly what was just opened.
    let elsewhere = match local {
        Some(path) if client.push != client.url => Some(Store::open(path)?),
        _ => None,
    };
    if !dry
        && let Some(store) = local.map(|_| elsewhere.as_ref().unwrap_or_else(|| snapshot.store()))
        && drain(context, signing, store, &snapshot.operators().log, package)?
    {
        snapshot = snapshot.again()?;
    }
    let (view, absent) = match snapshot.package(package) {
        Ok(view) => (Some(view), None),
        Err(error) if error.code() == ErrorCode::NotFound => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let operators = &snapshot.operators().log;
    let work = match &view {
        Some(view) => Work::resume(view.log.log.clone()),
        None => {
            let name = FullName { registry: client.name.clone(), package: package.clone() };
            Work::begin(author, snapshot.format(), &name, client.id)?
        }
    };
    let scratch;
    let (target, push_from) = match local {
        Some(_) if !dry => (elsewhere.as_ref().unwrap_or_else(|| snapshot.store()), None),
        _ => {
            scratch = Quarantine::new(snapshot.format(), &[snapshot.objects_path()])?;
            (scratch.store(), Some(&scratch))
        }
    };
    let operator = if push_from.is_none() { operator(context, operators, signing)? } else { None };
    let remember = || client.remember(&snapshot, view.iter().map(|view| (package, view)));
    let done = std::thread::scope(|scope| {
        // What was looked at is verified, whatever becomes of the proposal. It is brought to disk while the proposal is made, and not while
        // it is pushed: git would find moved what it reads.
        let remembering = (push_from.is_some() && !dry && snapshot.is_kept_beside()).then(|| scope.spawn(remember));
        let mut objects = Staging::new(target);
        let (work, releases) = build(Ground { author, view: view.as_ref(), absent, operators, work }, &mut objects)?;
        if view.is_none() {
            operators.now().may_register(&work.added()[0], package.namespace()).map_err(|error| error.asked())?;
        }
        let done = |state| Submitted { log: work.log().clone(), added: work.added().to_vec(), state, request: None };
        if dry {
            return Ok(done(State::DryRun));
        }
        work.write(&mut objects)?;
        if let Some(operator) = &operator {
            if objects.is_spilled() {
                // What is in a pack can be read only when the pack is finished.
                objects.finish()?;
                target.refresh()?;
                objects = Staging::new(target);
            }
            let made = Made { package: package.clone(), objects, head: work.log().chain().git_head(), releases };
            return published(accept_here(target, operator, Asked::Made(Box::new(made)))?).map(done);
        }
        let proposal = accept::propose(&mut objects, work.log().chain().git_head(), &releases)?;
        objects.finish()?;
        let remembered = remembering.map(|thread| thread.join().unwrap_or_else(|_| Err(fault!(Bug, "remembering panicked"))));
        if let (Some(fork), Some(scratch)) = (&client.fork, push_from) {
            let newest = work.added().last().ok_or_else(|| fault!(Bug, "a proposal without a record"))?;
            target.refresh()?;
            let request = fork::push(client, fork, author, scratch, package, proposal, newest)?;
            remembered.unwrap_or_else(remember)?;
            return Ok(Submitted { request: Some(request), ..done(State::Proposed(proposal)) });
        }
        let edit = RefEdit { name: layout::incoming(package, proposal), expected: Expected::Absent, new: Some(proposal) };
        propose(client, target, push_from, edit)?;
        // What was fetched and verified for it is there for the next time.
        remembered.unwrap_or_else(remember)?;
        Ok(done(State::Proposed(proposal)))
    })?;
    if let State::Published(seq, _) = &done.state {
        let remembered = snapshot.again().and_then(|mut after| {
            let view = after.package(package)?;
            client.remember(&after, [(package, &view)])
        });
        remembered
            .map_err(|error| error.at(format!("{package} is published in checkpoint {seq}, and cannot be remembered here")))?;
    }
    Ok(done)
}

/// Brings a proposal to where it waits for an operator.
fn propose(client: &Client<'_>, store: &Store, push_from: Option<&Quarantine>, edit: RefEdit) -> Result<()> {
    let Some(scratch) = push_from else {
        return match store.update(std::slice::from_ref(&edit)) {
            Err(error) if error.code() == ErrorCode::Conflict => {
                // The name says what the reference names: a run of the same second that was killed left it, or its lock.
                let lock = store.lock(LOCK_WAIT, "quipu: proposing")?;
                store.break_ref_locks(&lock, std::slice::from_ref(&edit.name))?;
                if store.reference(&edit.name)? == edit.new { Ok(()) } else { store.update(&[edit]) }
            }
            updated => updated,
        };
    };
    let options = PushOptions { terminal: client.context.terminal(), ..PushOptions::default() };
    let report = transport::push(scratch, &client.push, std::slice::from_ref(&edit), &options).map_err(|error| {
        error.hint(format!(
            "where proposals are pushed can be said apart: push = \"URL\" under [registries.\"{}\"] in {}",
            client.name,
            client.context.home.config_file().display()
        ))
    })?;
    match report.refs.get(&edit.name) {
        Some(Pushed::Done | Pushed::Unchanged) => Ok(()),
        Some(Pushed::Refused(why)) => {
            let said = report.said.join("; ");
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            Err(fault!(Refused, "{} refused the proposal: {why}{said}", client.name).asked())
        }
        Some(Pushed::Stale) | None => Err(fault!(Conflict, "the same proposal was made at the same time")),
    }
}

/// Finishes what an earlier run that was killed had proposed for this package, or had begun to accept, and says whether there was something.
fn drain(context: &Context, signing: &Signing, store: &Store, operators: &OperatorLog, package: &PackageName) -> Result<bool> {
    let prefix = format!("refs/incoming/{}/{}/", package.namespace(), package.name());
    if store.references(&prefix)?.is_empty() && !store.has_journal() {
        return Ok(false);
    }
    match operator(context, operators, signing)? {
        Some(operator) => accept_here(store, &operator, Asked::Package(package)).map(|_| true),
        None => Ok(false),
    }
}

/// Accepts proposals in a repository on this machine.
///
/// # Errors
/// Those of [`accept::accept`]; `conflict` where another acceptor does not end.
pub fn accept_here(store: &Store, operator: &Signing, asked: Asked<'_>) -> Result<Report> {
    let lock = store.lock(LOCK_WAIT, LOCK_NOTE)?;
    let author = operator.author(None).or_else(|_| operator.author(Some(&"operator".parse()?)))?;
    accept::accept(&lock, store, &author, asked)
}

fn published(mut report: Report) -> Result<State> {
    match (report.outcomes.pop().map(|outcome| outcome.verdict), &report.checkpoint) {
        (Some(Verdict::Refused(error)), _) => Err(error),
        (Some(Verdict::Accepted(_)), Some(checkpoint)) => Ok(State::Published(checkpoint.seq(), checkpoint.digest())),
        // Signatures are a function of key, bytes and second: two runs can make the same record.
        (Some(Verdict::AlreadyIn), _) => {
            Err(fault!(Conflict, "another run of yours published the same record in the same second")
                .hint("nothing is left to do: quipu log shows it")
                .asked())
        }
        _ => Err(fault!(Bug, "what was made now was not judged")),
    }
}

/// Finds a key of the user's that may make checkpoints: the one that signs, or another that needs no passphrase.
///
/// # Errors
/// `io`.
pub fn operator(context: &Context, operators: &OperatorLog, signing: &Signing) -> Result<Option<Signing>> {
    let may = |key: &crate::model::key::PublicKey| operators.now().keys.holds(key, OperatorPrivilege::Checkpoint);
    if may(signing.key()) {
        let key = context.key()?;
        if key.public == *signing.key() {
            return context.signing(&key).map(Some);
        }
    }
    unattended_operator(context, operators)
}

/// Finds a key of the user's that may make checkpoints and needs no passphrase.
///
/// # Errors
/// `io`.
pub fn unattended_operator(context: &Context, operators: &OperatorLog) -> Result<Option<Signing>> {
    let may = |key: &crate::model::key::PublicKey| operators.now().keys.holds(key, OperatorPrivilege::Checkpoint);
    for key in keys::own(&context.home)? {
        if key.protected.is_none() && may(&key.public) {
            return context.signing(&key).map(Some);
        }
    }
    Ok(None)
}
