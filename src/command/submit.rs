//! Getting new records of a package into its registry: proposed, and accepted in the same run where the registry is on this machine and a key
//! of the user's may make checkpoints.

use super::answer::Answer;
use super::client::Client;
use super::context::{Context, Signing};
use super::gc;
use super::reason::{PUBLISHED, parse_reason};
use super::request::{self, Request};
use crate::disk::keys;
use crate::disk::proposals::{self, Own};
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
use crate::model::key::PublicKey;
use crate::model::name::{FullName, PackageName};
use crate::model::record::SignedRecord;
use crate::replica::accept::{self, Asked, Made, Report, Verdict};
use crate::replica::author::{Author, Work};
use crate::replica::origin;
use crate::replica::snapshot::{PackageView, Snapshot};
use std::time::{Duration, Instant};

/// How long another acceptor is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// What an acceptor writes into the lock.
const LOCK_NOTE: &str = "quipu: accepting proposals";

/// So often new records are built anew because others were first.
const ATTEMPTS_MAX: u32 = 64;
/// How long it is paused before that at most: the first time, and ever.
const APART: Duration = Duration::from_millis(25);
const APART_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether a proposal was published.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

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
    /// The name of the package that they bear.
    pub package: PackageName,
    /// The name that operators granted the package, where it was published and that was seen.
    pub granted: Option<FullName>,
    /// Whether it was asked for by a name that it left.
    followed: bool,
    /// Whether it was waited for more.
    waited: bool,
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

impl Submitted {
    /// Says in an answer how far the records have come.
    pub fn tell(&self, answer: &mut Answer) {
        answer.field("state", self.state.as_str());
        let name = format!("{}/{}", self.log.name().registry, self.package);
        if self.followed && self.granted.is_none() {
            answer.line(format!("  note: the package was renamed, its name is {name} now"));
        }
        answer.field("renamed-to", self.followed.then_some(name));
        match &self.state {
            State::DryRun => {}
            State::Proposed(id) => {
                answer.field("proposal", id.to_string());
                if let Some(request) = &self.request {
                    request.tell(answer);
                }
                if self.waited {
                    answer.line("nobody published or refused it meanwhile; it goes on waiting");
                    answer.exit = 1;
                }
            }
            State::Published(seq, digest) => answer.checkpoint(*seq, *digest),
        }
    }
}

/// Whether it is waited for an operator.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Wait {
    /// Wait until it is published or refused, at most this many seconds [default: 600]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600")]
    wait: Option<u64>,
}

impl Wait {
    /// Returns how long.
    pub fn duration(self) -> Option<Duration> {
        self.wait.map(Duration::from_secs)
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

/// How a submission ended that was not refused for good.
enum Attempt {
    Done(Box<Submitted>),
    /// The package has another name by now.
    LeadsTo(PackageName),
    /// Somebody else's records came first.
    Overtaken(Error),
}

/// How new records are brought to a registry.
pub struct Submission<'s, 'c> {
    /// The registry.
    pub client: &'s Client<'c>,
    /// What signs.
    pub signing: &'s Signing,
    /// Who signs.
    pub author: &'s Author<'s>,
    /// The package.
    pub package: &'s PackageName,
    /// Whether the name, where it was left, may lead to the one that the package has now.
    pub follow: bool,
    /// How long it is waited until a proposal is published or refused.
    pub wait: Option<Duration>,
    /// Finds what a new log stands on, where it is a fork.
    pub origin: &'s dyn Fn() -> Result<Option<origin::Ground>>,
}

/// No new log of this submission is a fork.
pub const NO_FORK: &dyn Fn() -> Result<Option<origin::Ground>> = &|| Ok(None);

/// A log with new records, and the folders of new releases, by version.
pub type Built = (Work, Vec<(String, GitId)>);

/// Builds new records with `build`, which returns them and the folders of new releases, and brings them to the registry. Where somebody
/// else is first they are built again on what is published then.
///
/// # Errors
/// Those of `build`; `conflict`, `unauthorized` and all else that the registry refuses; those of the transport.
pub fn submit(
    submission: &Submission<'_, '_>,
    mut build: impl FnMut(Ground<'_>, &mut Staging<'_>) -> Result<Built>,
) -> Result<Submitted> {
    let mut package = submission.package.clone();
    for attempt in 1.. {
        match submission.attempt(&package, &mut build)? {
            Attempt::Done(submitted) => return Ok(Submitted { followed: package != *submission.package, ..*submitted }),
            Attempt::LeadsTo(next) => package = next,
            Attempt::Overtaken(error) if attempt == ATTEMPTS_MAX => {
                return Err(error.hint(format!("others were first {ATTEMPTS_MAX} times: try again when fewer publish at once")));
            }
            // Those who lost together come back apart, and the further apart the more often they lost: whoever builds beside others builds mostly
            // in vain.
            Attempt::Overtaken(_) => std::thread::sleep(APART_MAX.min(APART * 2_u32.pow(attempt.min(10))).mul_f64(chance()?)),
        }
    }
    Err(fault!(Bug, "there was no attempt"))
}

impl Submission<'_, '_> {
    fn attempt(
        &self,
        package: &PackageName,
        build: &mut dyn FnMut(Ground<'_>, &mut Staging<'_>) -> Result<Built>,
    ) -> Result<Attempt> {
        let Submission { client, signing, author, wait, origin, .. } = *self;
        let context = client.context;
        let dry = context.flags.dry_run;
        if !dry {
            context.may_reach(client.fork.as_ref().unwrap_or(&client.push))?;
        }
        // A fork is pushed to, wherever it is.
        let local = if client.fork.is_some() { None } else { client.push.is_local() };
        let mut snapshot = client.snapshot_at_home(Some(package))?;
        if snapshot.under().is_some() && client.push == client.url {
            return Err(fault!(Refused, "{} mirrors {}, and takes no proposals for it", snapshot.url(), client.name)
                .hint(format!("where it takes them: push = \"URL\" under [registries.\"{}\"] in config.toml", client.name)));
        }
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
        let is_asked = local.is_none() && !context.flags.yes && !context.flags.offline;
        let other = if is_asked { another_waits(client, &mut snapshot, package)? } else { None };
        let (view, absent) = match snapshot.package(package) {
            Ok(view) => (Some(view), None),
            Err(error) if error.code() == ErrorCode::NotFound => (None, Some(error)),
            Err(error) => return Err(error),
        };
        if let Some(view) = &view {
            if let Some(to) = view.renamed_to().filter(|_| self.follow && view.lost_to().is_none()) {
                client.check_trusted(&to.package)?;
                return Ok(Attempt::LeadsTo(to.package));
            }
            view.check_open().map_err(Error::asked)?;
        }
        let operators = &snapshot.operators().log;
        let work = match &view {
            Some(view) => Work::resume(view.log.log.clone(), view.name.clone()),
            None => {
                let name = FullName { registry: client.name.clone(), package: package.clone() };
                Work::begin(author, snapshot.format(), &name, client.id, origin()?)?
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
        let mut told = false;
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
            let done = |state| Submitted {
                log: work.log().clone(),
                added: work.added().to_vec(),
                state,
                request: None,
                package: package.clone(),
                granted: None,
                followed: false,
                waited: wait.is_some(),
            };
            if let Some(waits) = other {
                return Err(waits);
            }
            if dry {
                return Ok(Ok(done(State::DryRun)));
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
                return match published(accept_here(target, operator, Asked::Made(Box::new(made)))?)? {
                    Ok(state) => Ok(Ok(done(state))),
                    Err(overtaken) => Ok(Err(overtaken)),
                };
            }
            let proposal = accept::propose(&mut objects, work.log().chain().git_head(), &releases)?;
            objects.finish()?;
            let remembered = remembering.map(|thread| thread.join().unwrap_or_else(|_| Err(fault!(Bug, "remembering panicked"))));
            if let (Some(fork), Some(scratch)) = (&client.fork, push_from) {
                let newest = work.added().last().ok_or_else(|| fault!(Bug, "a proposal without a record"))?;
                target.refresh()?;
                let request = request::push(client, fork, author, scratch, package, proposal, newest)?;
                remembered.unwrap_or_else(remember)?;
                return Ok(Ok(Submitted { request: Some(request), ..done(State::Proposed(proposal)) }));
            }
            let edit = RefEdit { name: layout::incoming(package, proposal), expected: Expected::Absent, new: Some(proposal) };
            match propose(client, target, push_from, edit) {
                Ok(found) => told = found,
                Err(error) if error.code() == ErrorCode::Conflict && push_from.is_some() => return Ok(Err(error)),
                Err(error) => return Err(error),
            }
            // What was fetched and verified for it is there for the next time.
            remembered.unwrap_or_else(remember)?;
            Ok(Ok(done(State::Proposed(proposal))))
        });
        let mut done = match done {
            Ok(Ok(done)) => done,
            Ok(Err(overtaken)) => return Ok(Attempt::Overtaken(overtaken)),
            // What was relied on may have been dropped meanwhile.
            Err(error) if error.code() == ErrorCode::Conflict && target.is_behind() => return Ok(Attempt::Overtaken(error)),
            Err(error) => return Err(error),
        };
        if let State::Proposed(proposal) = done.state {
            let head = done.added.last().map(|record| record.digest());
            let own = Own {
                package: package.clone(),
                proposal,
                record: head.ok_or_else(|| fault!(Bug, "a proposal without a record"))?,
                time: author.now.unix(),
            };
            proposals::add(&context.home, client.id, &own)?;
            if told || wait.is_some() {
                let until = Instant::now() + wait.unwrap_or_default();
                done.state = follow(client, snapshot, &own, until)?;
                if let (State::Published(..), Some(_)) = (&done.state, done.log.pending_name()) {
                    let mut after = client.snapshot_at_home(Some(package))?;
                    let view = after.package(package)?;
                    client.remember(&after, [(package, &view)])?;
                    done.granted = view.renamed_to();
                }
            }
        } else if let State::Published(seq, _) = &done.state {
            let remembered = snapshot.again().and_then(|mut after| {
                let view = after.package(package)?;
                client.remember(&after, [(package, &view)])?;
                Ok(view.renamed_to())
            });
            done.granted = remembered.map_err(|error| {
                error.at(format!("{package} is published in checkpoint {seq}, and cannot be remembered here"))
            })?;
        }
        Ok(Attempt::Done(Box::new(done)))
    }
}

/// Returns what is to be said where an earlier proposal of the user's waits for the same place in a log.
fn another_waits(client: &Client<'_>, snapshot: &mut Snapshot<'_>, package: &PackageName) -> Result<Option<Error>> {
    for own in proposals::load(&client.context.home, client.id)?.into_iter().filter(|own| own.package == *package) {
        if standing_of(client, snapshot, &own)?.is_none() {
            let full = format!("{}/{package}", client.name);
            let waits =
                format!("your proposal {} for {full} still waits, and only one of the two could be published", own.proposal);
            let error = Error::new(ErrorCode::Conflict, waits).hint(format!("see what becomes of it: quipu info {full}"));
            return Ok(Some(error.hint("to propose again nevertheless: --yes")));
        }
    }
    Ok(None)
}

/// Returns a number between 0 and 1.
fn chance() -> Result<f64> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|why| fault!(Io, "this machine has no random numbers: {why}"))?;
    Ok(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}

/// Looks until a proposal is published or refused, or it is too late.
fn follow(client: &Client<'_>, mut snapshot: Snapshot<'_>, own: &Own, until: Instant) -> Result<State> {
    let mut pause = PAUSE_MIN;
    loop {
        snapshot = snapshot.again()?;
        match standing_of(client, &mut snapshot, own)? {
            Some(Ok(state)) => return Ok(state),
            Some(Err(refused)) => return Err(refused),
            None => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(State::Proposed(own.proposal));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Says what became of a proposal of the user's; `None` while it waits.
///
/// # Errors
/// Those of reading the registry.
pub fn standing_of(client: &Client<'_>, snapshot: &mut Snapshot<'_>, own: &Own) -> Result<Option<Result<State>>> {
    match snapshot.package(&own.package) {
        Ok(view) => {
            if view.log.records.iter().any(|record| record.digest() == own.record) {
                client.remember(snapshot, [(&own.package, &view)])?;
                proposals::remove(&client.context.home, client.id, &[own.proposal])?;
                let checkpoint = snapshot.checkpoint();
                return Ok(Some(Ok(State::Published(checkpoint.seq(), checkpoint.digest()))));
            }
        }
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::NotPublished) => {}
        Err(error) => return Err(error),
    }
    let Some(refusal) = snapshot.refusal(&own.package, own.proposal)? else { return Ok(None) };
    proposals::remove(&client.context.home, client.id, &[own.proposal])?;
    Ok(Some(Err(refusal.why)))
}

/// Brings a proposal to where it waits for an operator, and says whether the other side says that it is published.
fn propose(client: &Client<'_>, store: &Store, push_from: Option<&Quarantine>, edit: RefEdit) -> Result<bool> {
    let Some(scratch) = push_from else {
        let proposed = match store.update(std::slice::from_ref(&edit)) {
            Err(error) if error.code() == ErrorCode::Conflict => {
                // The name says what the reference names: a run of the same second that was killed left it, or its lock.
                let lock = store.lock(LOCK_WAIT, "quipu: proposing")?;
                store.break_ref_locks(&lock, std::slice::from_ref(&edit.name))?;
                if store.reference(&edit.name)? == edit.new { Ok(()) } else { store.update(&[edit]) }
            }
            updated => updated,
        };
        return proposed.map(|()| false);
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
        Some(Pushed::Done | Pushed::Unchanged) => Ok(report.said.iter().any(|line| line.starts_with(PUBLISHED))),
        Some(Pushed::Refused(why)) => {
            // What a hook of quipu's says has a code.
            if let Some(error) = std::iter::once(why).chain(&report.said).find_map(|words| parse_reason(words)) {
                let hints = report.said.iter().filter_map(|line| line.strip_prefix("quipu: hint: "));
                return Err(hints.fold(error.at(&client.name), |error, hint| error.hint(hint)));
            }
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
    let report = accept::accept(&lock, store, &operator.operator()?, asked)?;
    drop(lock);
    gc::in_passing(store);
    Ok(report)
}

/// Returns where what was made is now, or who was first.
fn published(mut report: Report) -> Result<Result<State>> {
    match (report.outcomes.pop().map(|outcome| outcome.verdict), &report.checkpoint) {
        (Some(Verdict::Refused(error)), _) if error.code() == ErrorCode::Conflict => Ok(Err(error)),
        (Some(Verdict::Refused(error)), _) => Err(error),
        (Some(Verdict::Accepted(_)), Some(checkpoint)) => Ok(Ok(State::Published(checkpoint.seq(), checkpoint.digest()))),
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
    if makes_checkpoints(operators, signing.key()) {
        let key = context.key()?;
        if key.public == *signing.key() {
            return context.signing(&key).map(Some);
        }
    }
    unattended_operator(context, operators)
}

fn makes_checkpoints(operators: &OperatorLog, key: &PublicKey) -> bool {
    operators.now().keys.holds(key, OperatorPrivilege::Checkpoint)
}

/// Finds a key of the user's that may make checkpoints and needs no passphrase.
///
/// # Errors
/// `io`.
pub fn unattended_operator(context: &Context, operators: &OperatorLog) -> Result<Option<Signing>> {
    for key in keys::own(&context.home)? {
        if key.protected.is_none() && makes_checkpoints(operators, &key.public) {
            return context.signing(&key).map(Some);
        }
    }
    Ok(None)
}
