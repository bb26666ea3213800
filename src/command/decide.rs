//! `quipu registry takedown` and `restore`: what operators decide about a package.

use super::answer::{Answer, count};
use super::context::Context;
use super::keyarg::KeyArg;
use crate::git::quarantine::Quarantine;
use crate::git::store::Store;
use crate::git::transport::{self, FetchOptions, Url, Want};
use crate::model::entry::{Decision, Entry, TakedownClass, Verdict};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::{Label, Reference};
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

/// The package that is to have the name that its owners ask for.
#[derive(clap::Args, Debug)]
pub struct Rename {
    /// The registry's repository
    pub path: PathBuf,
    /// The package, NAMESPACE:NAME, by the name that it has
    reference: Reference,
}

/// The name that is to have a new log.
#[derive(clap::Args, Debug)]
pub struct Reset {
    /// The registry's repository
    pub path: PathBuf,
    /// The package, NAMESPACE:NAME[#sha256:…]
    reference: Reference,
    /// Why, for everybody to read
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The key that the new log is to belong to: `ssh-ed25519 AAAA…`, a .pub file, or the name of one of yours [default: your own]
    #[arg(long, value_name = "KEY")]
    owner: Option<KeyArg>,
    /// The simple name of that key in the new log [default: from its comment]
    #[arg(long, value_name = "NAME", requires = "owner")]
    name: Option<Label>,
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

/// Grants a package the name that its owners ask for.
///
/// # Errors
/// `not-found`, `bad-record` where they ask for none, `name-taken`, `unauthorized`, all else that a registry's own repository can end in.
pub fn rename(context: &Context, store: &Store, args: &Rename) -> Result<Answer> {
    let reference = &args.reference;
    if reference.version.is_some() {
        return Err(fault!(Usage, "{reference} names a version, and a package is renamed as a whole"));
    }
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let lock = store.lock(Duration::from_secs(60), "quipu: granting a name")?;
    let mut granted = None;
    if !context.flags.dry_run {
        // It may have been granted in the middle by one that was killed.
        let report = accept(&lock, store, &author, Asked::Left)?;
        let wish = report.renames.into_iter().find(|wish| wish.from == reference.package);
        granted = wish.and_then(|wish| Some((wish.from, wish.to, wish.answer.ok()?, report.checkpoint?)));
    }
    let (from, to, record, checkpoint, registry) = match granted {
        Some((from, to, record, checkpoint)) => {
            let registry = record.draft().registry.clone();
            (from, to, record, checkpoint, registry)
        }
        None => {
            let case = Case::open(store, reference)?;
            let Some(to) = case.wish() else {
                return Err(match case.package() {
                    now if *now != reference.package => {
                        fault!(BadRecord, "{} is called {now} already", reference.package).asked()
                    }
                    _ => case.no_wish(),
                });
            };
            let (from, registry) = (case.package().clone(), case.registry().clone());
            if context.flags.dry_run {
                let mut answer = Answer::new();
                answer.line(format!("would rename {from} to {to}"));
                answer.field("registry", registry.as_str());
                answer.field("package", from.to_string());
                answer.field("to", to.to_string());
                return Ok(answer);
            }
            let settled = case.rename(&lock, store, &author)?;
            (from, to, settled.record, settled.checkpoint, registry)
        }
    };
    let mut answer = Answer::new();
    let seq = checkpoint.seq();
    answer
        .line(format!("renamed {from} to {to} in checkpoint {seq}; {from} leads there from now on, and is free for nobody else"));
    answer.field("registry", registry.as_str());
    answer.field("package", from.to_string());
    answer.field("to", to.to_string());
    answer.field("record", record.digest().to_string());
    answer.checkpoint(seq, checkpoint.digest());
    Ok(answer)
}

/// Gives a name to a new log, and puts the one of before aside.
///
/// # Errors
/// `usage` without a reason, `not-found`, `wrong-log` where the name leads on to another one, `unauthorized`, all else that a registry's own
/// repository can end in.
pub fn reset(context: &Context, store: &Store, args: &Reset) -> Result<Answer> {
    let reference = &args.reference;
    if reference.version.is_some() {
        return Err(fault!(Usage, "{reference} names a version, and a name is reset as a whole"));
    }
    if args.reason.trim().is_empty() {
        return Err(fault!(Usage, "--reason is empty, and everybody will want to know why"));
    }
    let owner = args.owner.as_ref().map(|owner| owner.named(context, args.name.as_ref())).transpose()?;
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let asks = context.can_ask() && !context.flags.yes && !context.flags.dry_run;
    if asks {
        // Before the lock: a person takes their time.
        let case = Case::open(store, reference)?;
        let (log, releases) = case.log();
        let question = format!(
            "{} means the log {log} with {}; from now on it would mean a new one, without any, for good. Reset it?",
            case.package(),
            count(releases as u64, "release")
        );
        if !context.ask(&question)? {
            return Err(fault!(Refused, "nobody said yes, and nothing was changed").asked());
        }
    }
    let lock = store.lock(Duration::from_secs(60), "quipu: resetting a name")?;
    if !context.flags.dry_run {
        accept(&lock, store, &author, Asked::Left)?;
    }
    let now = Reference { anchor: None, ..reference.clone() };
    let case = Case::open(store, &now)?;
    if *case.package() != reference.package {
        let to = case.package();
        return Err(fault!(WrongLog, "{} was renamed, its name is {to} now", reference.package)
            .hint(format!("to give that name to a new log: quipu registry reset PATH {to}"))
            .asked());
    }
    let (old, releases) = case.log();
    let mut answer = Answer::new();
    answer.field("registry", case.registry().as_str());
    answer.field("package", case.package().to_string());
    if context.flags.dry_run {
        case.check_anchor(reference.anchor.as_ref())?;
        answer.line(format!("would reset {}: the log {old} with {}", case.package(), count(releases as u64, "release")));
        answer.field("old", old.to_string());
        return Ok(answer);
    }
    let settled = match case.was_reset_for(&author, &args.reason, owner.as_ref()) {
        Some(settled) => settled,
        None => {
            case.check_anchor(reference.anchor.as_ref())?;
            case.reset(&lock, store, &author, &args.reason, owner.as_ref())?
        }
    };
    let seq = settled.checkpoint.seq();
    let (old, new) = match settled.record.entry() {
        Entry::Decision(Decision { about, what: Verdict::Reset { new, .. } }) => (about.target, *new),
        _ => return Err(fault!(Bug, "a reset is none")),
    };
    answer.line(format!("reset {} in checkpoint {seq}", case.package()));
    answer.line(format!("  it means the new log  {new}"));
    answer.line(format!("  put aside             {old}"));
    answer.line(
        "  locks and anchors of the log of before go on to mean it; whoever saw it is told, and takes the new one by its anchor:",
    );
    answer.line(format!("    quipu get {}/{}#{new}", case.registry(), case.package()));
    answer.field("old", old.to_string());
    answer.field("new", new.to_string());
    answer.field("record", settled.record.digest().to_string());
    answer.checkpoint(seq, settled.checkpoint.digest());
    Ok(answer)
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
    let case = Case::open(store, reference)?;
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
