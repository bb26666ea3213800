//! `quipu hook`: what git runs in the repository of a registry that is pushed to. The scripts in `hooks/` start it.
//!
//! It speaks to git on stdin and stdout, and to whoever pushes on stderr.

use super::answer::{for_terminal, one_line};
use super::context::{Context, Flags, Signing};
use super::gc;
use super::reason::reason;
use super::submit;
use crate::disk::home::Home;
use crate::git::layout;
use crate::git::receive::{Conversation, Wanted, read_wanted};
use crate::git::store::Store;
use crate::model::error::{Error, Result, fault};
use crate::model::key::KeyCache;
use crate::replica::accept::Asked;
use crate::replica::inbox::{self, PROPOSALS_MAX, Proposal, Settled};
use crate::replica::standing::Standing;
use clap::Subcommand;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a push waits for its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// What git runs in a registry's repository
#[derive(Subcommand, Debug, Clone, Copy)]
pub enum Args {
    /// Look at proposals before git lets their objects in
    PreReceive,
    /// Judge and publish proposals, and answer for each
    ProcReceive,
    /// Judge and publish proposals where a host has no proc-receive
    PostReceive,
}

/// Runs a hook.
pub fn run(args: Args, flags: &Flags) -> ExitCode {
    let done = match args {
        Args::PreReceive => pre_receive(),
        Args::ProcReceive => proc_receive(flags),
        Args::PostReceive => post_receive(flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says something to whoever pushes.
fn say(line: &str) {
    // A pusher who has gone away hears nothing.
    let _ = writeln!(std::io::stderr(), "quipu: {}", for_terminal(&one_line(line)));
}

fn complain(error: &Error) {
    say(&reason(error));
    for hint in error.hints() {
        say(&format!("hint: {hint}"));
    }
}

/// Git runs hooks in the repository, and says so.
fn repository() -> PathBuf {
    std::env::var_os("GIT_DIR").filter(|path| !path.is_empty()).map_or_else(|| ".".into(), PathBuf::from)
}

fn proposals(wanted: &[Wanted]) -> Result<Vec<Proposal>> {
    wanted.iter().map(inbox::proposal).collect()
}

fn pre_receive() -> Result<()> {
    let proposals = proposals(&read_wanted(std::io::stdin().lock(), PROPOSALS_MAX)?)?;
    // Where git has put what is pushed, until all hooks have let it in.
    let pushed = std::env::var_os("GIT_QUARANTINE_PATH").map(PathBuf::from);
    let store = match &pushed {
        Some(pushed) => Store::open_with_pushed(&repository(), pushed)?,
        None => Store::open(&repository())?,
    };
    inbox::admit(&store, super::context::now()?, &proposals)
}

fn proc_receive(flags: &Flags) -> Result<()> {
    let (mut git, wanted) = Conversation::begin(&mut std::io::stdin().lock(), std::io::stdout().lock(), PROPOSALS_MAX)?;
    let settled = proposals(&wanted).and_then(|proposals| {
        let served = Served::open(&repository())?;
        let settled = served.take_in(flags, &proposals)?;
        Ok(proposals.into_iter().zip(settled).collect::<Vec<_>>())
    });
    match settled {
        Ok(settled) => {
            for (wanted, (proposal, settled)) in wanted.iter().zip(&settled) {
                tell(proposal, settled);
                match settled {
                    Settled::Refused(error) => git.answer(&wanted.name, Err(&reason(error)))?,
                    Settled::Published(..) | Settled::Waiting => git.answer(&wanted.name, Ok(()))?,
                }
            }
        }
        Err(error) => {
            complain(&error);
            for wanted in &wanted {
                git.answer(&wanted.name, Err(&reason(&error)))?;
            }
        }
    }
    git.end()
}

fn post_receive(flags: &Flags) -> Result<()> {
    let wanted = read_wanted(std::io::stdin().lock(), usize::MAX)?;
    let of_ours = wanted.into_iter().filter(|wanted| wanted.name.starts_with(layout::INCOMING));
    let proposals = proposals(&of_ours.collect::<Vec<_>>())?;
    let served = Served::open(&repository())?;
    let mut waiting = Vec::new();
    for proposal in proposals {
        // Where proc-receive runs, all is done when this hook does.
        if served.store.reference(&layout::incoming(&proposal.0, proposal.1))?.is_some() {
            waiting.push(proposal);
        }
    }
    if !waiting.is_empty() {
        for (proposal, settled) in waiting.iter().zip(served.settle(served.operator(flags)?.as_ref(), &waiting)?) {
            tell(proposal, &settled);
        }
    }
    // All is answered, and what comes now keeps nobody waiting.
    gc::in_passing(&served.store);
    Ok(())
}

fn tell((package, id): &Proposal, settled: &Settled) {
    match settled {
        Settled::Published(seq, digest) => say(&format!("published {package} {id} in checkpoint {seq} {digest}")),
        Settled::Waiting => say(&format!("proposed {package} {id}: it waits for an operator")),
        Settled::Refused(error) => complain(error),
    }
}

/// A repository that is served, and how its configuration wants proposals to be treated.
struct Served {
    store: Store,
    /// The folder of the account's keys and settings, where it is not found by the environment.
    home: Option<PathBuf>,
    accept: When,
    new_names: When,
}

/// When a proposal is judged for good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// As it is pushed.
    Now,
    /// When an operator says `quipu registry accept`.
    Later,
}

impl Served {
    fn open(path: &Path) -> Result<Self> {
        let store = Store::open(path)?;
        let when = |key: &str| match store.config(key)?.as_deref() {
            None | Some("now") => Ok(When::Now),
            Some("later") => Ok(When::Later),
            Some(other) => Err(fault!(BadConfig, "{key} is {other:?} in the repository's configuration, expected now or later")),
        };
        let (accept, new_names) = (when("quipu.accept")?, when("quipu.newNames")?);
        let home = store.config("quipu.home")?.map(PathBuf::from);
        Ok(Served { store, home, accept, new_names })
    }

    /// Puts proposals where they wait, and has them judged if that is wanted now.
    fn take_in(&self, flags: &Flags, proposals: &[Proposal]) -> Result<Vec<Settled>> {
        // Who cannot judge them takes none in.
        let operator = self.operator(flags)?;
        inbox::put(&self.store, proposals)?;
        self.settle(operator.as_ref(), proposals)
    }

    fn settle(&self, operator: Option<&Signing>, proposals: &[Proposal]) -> Result<Vec<Settled>> {
        let Some(operator) = operator else { return Ok(vec![Settled::Waiting; proposals.len()]) };
        let author = operator.operator()?;
        let asked = || if self.new_names == When::Later { Asked::Known } else { Asked::All };
        inbox::settle(&self.store, &author, proposals, asked, PATIENCE)
    }

    /// Finds the key of this account that makes checkpoints; `None` where proposals wait for an operator.
    fn operator(&self, flags: &Flags) -> Result<Option<Signing>> {
        if self.accept == When::Later {
            return Ok(None);
        }
        // Who pushes by path has an environment of their own, and it is not theirs to say.
        let home = match &self.home {
            Some(home) => Home::below(home),
            None => Home::find(|name| std::env::var_os(name))?,
        };
        let context = Context::new(flags.clone(), home, PathBuf::from("."))?;
        let operators = Standing::read(&self.store, &mut KeyCache::default())?.operators.log;
        let found = submit::unattended_operator(&context, &operators)?;
        found.map(Some).ok_or_else(|| {
            fault!(
                Unauthorized,
                "this server has no key that may make checkpoints of {}, so that it cannot accept anything",
                operators.registry()
            )
            .hint("its operator can give it one, or let proposals wait: git config quipu.accept later")
            .asked()
        })
    }
}
