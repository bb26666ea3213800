//! `quipu registry takedown` and `restore`: what operators decide about a package.

use super::answer::{Answer, count};
use super::context::Context;
use crate::git::quarantine::Quarantine;
use crate::git::store::Store;
use crate::git::transport::{self, FetchOptions, Url, Want};
use crate::model::entry::{TakedownClass, Verdict};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::Reference;
use crate::replica::accept::{Asked, accept};
use crate::replica::decide::Case;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;

/// What to take down, and why.
#[derive(clap::Args, Debug)]
pub struct Takedown {
    /// The registry's repository
    pub path: PathBuf,
    /// The package, NAMESPACE:NAME, or one release of it, NAMESPACE:NAME@VERSION
    reference: Reference,
    /// Why, for everybody to read
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What kind of reason
    #[arg(long, value_name = "CLASS", default_value = "other")]
    class: Class,
}

/// What to bring back, and why.
#[derive(clap::Args, Debug)]
pub struct Restore {
    /// The registry's repository
    pub path: PathBuf,
    /// The package, NAMESPACE:NAME, or one release of it, NAMESPACE:NAME@VERSION; what was taken down as a whole comes back as a whole
    reference: Reference,
    /// Why, for everybody to read
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// A repository that has the files, where they are not here any more
    #[arg(long, value_name = "URL")]
    from: Option<String>,
}

/// Why something is taken down.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Class {
    /// The law asks for it.
    Legal,
    /// It does harm.
    Malware,
    /// Anything else.
    Other,
}

/// Takes a package or a release down.
///
/// # Errors
/// `not-found`, `unauthorized`, `bad-record` where it is down already, all else that a registry's own repository can end in.
pub fn takedown(context: &Context, store: &Store, args: &Takedown) -> Result<Answer> {
    let class = match args.class {
        Class::Legal => TakedownClass::Legal,
        Class::Malware => TakedownClass::Malware,
        Class::Other => TakedownClass::Other,
    };
    let version = args.reference.version.clone();
    decide(context, store, &args.reference, None, Verdict::Takedown { version, class, reason: args.reason.clone() })
}

/// Takes a takedown back.
///
/// # Errors
/// `not-found`, `unauthorized`, `bad-record` where it is not down, `ref-missing` where its files are nowhere, all else that a registry's own
/// repository can end in.
pub fn restore(context: &Context, store: &Store, args: &Restore) -> Result<Answer> {
    let verdict = Verdict::Restore { version: args.reference.version.clone(), reason: args.reason.clone() };
    decide(context, store, &args.reference, args.from.as_deref(), verdict)
}

fn decide(context: &Context, store: &Store, reference: &Reference, from: Option<&str>, verdict: Verdict) -> Result<Answer> {
    let (package, version) = (&reference.package, reference.version.as_ref());
    let is_takedown = matches!(verdict, Verdict::Takedown { .. });
    if let Verdict::Takedown { reason, .. } | Verdict::Restore { reason, .. } = &verdict
        && reason.trim().is_empty()
    {
        return Err(fault!(Usage, "--reason is empty, and everybody will want to know why"));
    }
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let lock = store.lock(Duration::from_secs(60), "quipu: deciding about a package")?;
    if !context.flags.dry_run {
        // What a killed acceptor left is judged first.
        accept(&lock, store, &author, Asked::Left)?;
    }
    let case = Case::open(store, package)?;
    case.check(reference)?;
    let releases = case.releases(version)?.len() as u64;
    let what = reference.version.as_ref().map_or(package.to_string(), |version| format!("{package}@{version}"));
    let mut answer = Answer::new();
    answer.field("registry", case.registry().as_str());
    answer.field("package", package.to_string());
    answer.field("version", version.map(ToString::to_string));
    if context.flags.dry_run {
        let verb = if is_takedown { "take down" } else { "restore" };
        answer.line(format!("would {verb} {what}: {}", count(releases, "release")));
        return Ok(answer);
    }
    if let Some(from) = from {
        let trees: Vec<Want> = case.missing(store, version)?.iter().map(|release| Want::id(release.tree)).collect();
        let url = Url::parse(from, &context.folder)?;
        context.may_reach(&url)?;
        if !trees.is_empty() {
            let quarantine = Quarantine::of(store)?;
            let options = FetchOptions { terminal: context.terminal(), ..FetchOptions::default() };
            transport::fetch(&quarantine, &url, &trees, &options).map_err(|error| match error.code() {
                ErrorCode::RefMissing => error.hint(format!("name another place that has the files of {what}")),
                _ => error,
            })?;
            // They are named by nothing until they are found to be the right ones.
            quarantine.keep(store)?;
            store.refresh()?;
        }
    }
    let decided = case.decide(&lock, store, &author, verdict)?;
    let seq = decided.checkpoint.seq();
    let files = count(decided.releases.len() as u64, "release");
    if is_takedown {
        answer.line(format!("took {what} down in checkpoint {seq}; the files of {files} are not handed out any more"));
        answer.line("  they are among the repository's objects until they are dropped, and in every copy that was made before:");
        answer.line("    quipu registry gc PATH --prune 0     while nobody pushes");
    } else {
        answer.line(format!("restored {what} in checkpoint {seq}, with the files of {files}"));
    }
    answer.field("record", decided.record.digest().to_string());
    answer.field("releases", decided.releases.iter().map(ToString::to_string).collect::<Vec<_>>());
    answer.checkpoint(seq, decided.checkpoint.digest());
    Ok(answer)
}
