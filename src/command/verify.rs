//! `quipu verify`: a package, a repository on disk, or a whole registry.

use super::answer::{Answer, bytes_in_words, count, error_object};
use super::client::Client;
use super::context::Context;
use super::progress::Progress;
use crate::disk::trusted::Trust;
use crate::disk::verified::{self, Verified};
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::store::Store;
use crate::git::transport::{self, FetchOptions, Want};
use crate::log::names::Takedowns;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::moment::Moment;
use crate::model::name::{Reference, RegistryName, looks_like_path, looks_like_url};
use crate::replica::audit::{Audit, Findings, PartsFound, audit};
use crate::replica::mirrored;
use crate::replica::standing::Standing;
use crate::trust::choose::choose;
use serde_json::{Value, json};
use std::str::FromStr;

/// Verify a package, a repository on disk, or a whole registry
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A package or release, a path (/…, ./…, ../…), or a registry's domain
    what: String,
    /// Verify logs and checkpoints, and not the files of releases
    #[arg(long)]
    logs_only: bool,
    /// Of a registry: look only at what changed after this checkpoint (a number, a digest, or `last`: the one that was
    /// verified last at this path), and take all before it as it is
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<Point>,
}

/// What `--since` names.
#[derive(Clone, Copy, Debug)]
enum Point {
    Last,
    At(Moment),
}

impl FromStr for Point {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "last" {
            return Ok(Point::Last);
        }
        text.parse()
            .map(Point::At)
            .map_err(|_| fault!(Usage, "{text:?} is no checkpoint, expected its number, its digest (sha256:…) or `last`"))
    }
}

/// Runs the command.
///
/// # Errors
/// The first fault that was found; the answer lists all.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let what = args.what.as_str();
    if looks_like_url(what) {
        return Err(fault!(Usage, "{what} is a URL; a registry is verified by its name or by its path")
            .hint(format!("trust it first: quipu trust add DOMAIN {what}")));
    }
    if looks_like_path(what) {
        let store = Store::open(&context.path(what))?;
        return whole(context, args, &store, None);
    }
    let is_there = !what.contains(':') && context.path(what).exists();
    if !what.contains(':') && what.parse::<RegistryName>().is_ok() {
        return registry(context, args, what.parse()?).map_err(|error| match error.code() {
            ErrorCode::NotTrusted if is_there => error.hint(format!("for the path: quipu verify ./{what}")),
            _ => error,
        });
    }
    if is_there {
        return Err(fault!(Usage, "{what} is read as a name, and is none").hint(format!("for the path: quipu verify ./{what}")));
    }
    package(context, args, &what.parse()?)
}

fn registry(context: &Context, args: &Args, name: RegistryName) -> Result<Answer> {
    let client = Client::open(context, name)?;
    context.may_reach(&client.url)?;
    // What was seen of it is held against it first.
    let snapshot = client.snapshot(None)?;
    client.remember(&snapshot, [])?;
    if let Some(held) = snapshot.held() {
        let patterns: Vec<String> = held.patterns.iter().take(8).map(ToString::to_string).collect();
        return Err(fault!(RefMissing, "{} mirrors a part of {} only: {}", snapshot.url(), client.name, patterns.join(", "))
            .hint(format!("verify a package of it: quipu verify {}/NAMESPACE:NAME", client.name))
            .hint("or all that is held there, in its repository: quipu verify PATH"));
    }
    let under = snapshot.under();
    if let Some(path) = client.url.is_local() {
        let store = Store::open(path)?;
        let store = under.map_or(Ok(store), |domain| Store::open(path)?.mirrored(domain))?;
        return whole(context, args, &store, Some(&client));
    }
    if matches!(args.since, Some(Point::Last)) {
        return Err(fault!(
            Usage,
            "--since last is of a repository on disk, {name} is fetched anew from {}",
            client.url,
            name = client.name
        )
        .hint("give the number or the digest of a checkpoint"));
    }
    let quarantine = Quarantine::new(snapshot.format(), &[])?;
    let folders = ["registry", "packages", "decisions", "contents", "attestations", "retired"];
    let wants: Result<Vec<Want>> = folders
        .iter()
        .map(|folder| {
            let name: RefName = format!("refs/{folder}").parse()?;
            let there = under.map_or(Ok(name.clone()), |domain| layout::mirrored(domain, &name))?;
            Ok(Want::below(there).to(name))
        })
        .collect();
    let options = FetchOptions { terminal: context.terminal(), ..FetchOptions::default() };
    transport::fetch(&quarantine, snapshot.url(), &wants?, &options)?;
    whole(context, args, quarantine.store(), Some(&client))
}

fn whole(context: &Context, args: &Args, store: &Store, client: Option<&Client<'_>>) -> Result<Answer> {
    // What is fetched for this one look is gone after it.
    let is_kept = client.is_none_or(|client| client.url.is_local().is_some()) && store.mirrors().is_none();
    let last = match args.since {
        Some(Point::Last) => Some(last(context, args, store)?),
        _ => None,
    };
    let since = match (args.since, &last) {
        (_, Some(last)) => Some(Moment::Both(last.seq, last.checkpoint)),
        (Some(Point::At(since)), None) => Some(since),
        _ => None,
    };
    let remembered = last.as_ref().map(|last| (&last.registry, last.id));
    let progress = Progress::new(context, "packages");
    let found = audit(&Audit {
        store,
        expected: client.map(|client| (&client.name, client.id)).or(remembered),
        contents: !args.logs_only,
        since,
        progress: &|done, all| progress.at(done, all),
    });
    progress.end();
    let found = found?;
    let mut answer = report(&found);
    if client.is_none() {
        compare_with_trust(context, &found, &mut answer)?;
    }
    let held = match is_kept && since.is_none() {
        true => mirrors(context, store, !args.logs_only, &mut answer)?,
        false => Vec::new(),
    };
    answer.field("mirrors", held);
    // Whoever names a checkpoint vouches for it; what is remembered goes back to one look at everything.
    let is_whole = since.is_none() || last.is_some();
    if is_kept && is_whole && answer.fault.is_none() {
        let (seq, checkpoint) = (found.checkpoint.seq(), found.checkpoint.digest());
        let (registry, id) = (found.operators.registry().clone(), found.operators.id());
        let repository = store.path().to_str().map(str::to_owned);
        let verified = Verified { registry, id, seq, checkpoint, contents: !args.logs_only, repository };
        // It is a cache: a home that cannot be written to does not make the registry any worse.
        let _ = verified::keep(&context.home, store.path(), &verified);
    }
    Ok(answer)
}

/// Verifies what a repository holds of other registries, and says what was found of each.
///
/// # Errors
/// Those of reading the registry's own state; what is wrong with a mirror is the answer's fault.
pub fn mirrors(context: &Context, store: &Store, contents: bool, answer: &mut Answer) -> Result<Vec<Value>> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let mut told = Vec::new();
    for kept in mirrored::all(store, &standing)? {
        let held = &kept.held;
        let progress = Progress::new(context, "packages");
        let found = mirrored::check(store, &kept, contents, &|done, all| progress.at(done, all));
        progress.end();
        let found = found.unwrap_or_else(|error| PartsFound { fault_count: 1, faults: vec![error], ..PartsFound::default() });
        let verdict = if found.fault_count == 0 { "mirror" } else { "mirror NOT verified" };
        answer.line(format!(
            "  {verdict}: {}, checkpoint {}, {}, {}, {} ({})",
            held.registry,
            held.seq,
            count(found.packages, "package"),
            count(found.records, "record"),
            count(found.releases, "release"),
            bytes_in_words(found.bytes)
        ));
        for fault in &found.faults {
            answer.line(format!("    {fault}"));
        }
        told.push(json!({
            "registry": held.registry.as_str(),
            "id": held.id.to_string(),
            "verified": found.fault_count == 0,
            "seq": held.seq,
            "packages": found.packages,
            "records": found.records,
            "releases": found.releases,
            "bytes": found.bytes,
            "faults": found.faults.iter().map(error_object).collect::<Vec<Value>>(),
            "fault-count": found.fault_count,
        }));
        if let Some(fault) = found.faults.into_iter().next() {
            answer.fault.get_or_insert(fault.at(&held.registry));
        }
    }
    Ok(told)
}

/// Returns what was verified last of a repository.
fn last(context: &Context, args: &Args, store: &Store) -> Result<Verified> {
    let path = store.path().display();
    let whole = format!("verify it whole once: quipu verify {path}");
    let last = verified::load(&context.home, store.path())?
        .ok_or_else(|| fault!(NotFound, "nothing is remembered of a look at {path}").hint(whole.clone()))?;
    if !last.contents && !args.logs_only {
        return Err(fault!(NotFound, "the last look at {path} was at its logs alone")
            .hint(format!("{whole}; or go on with the logs: --logs-only --since last")));
    }
    Ok(last)
}

/// Says whether the repository is the registry that its name means here: anyone can make a sound registry of any name.
fn compare_with_trust(context: &Context, found: &Findings, answer: &mut Answer) -> Result<()> {
    let (name, id) = (found.operators.registry(), found.operators.id());
    match Trust::load(&context.home)?.get(name) {
        None => answer.line(format!("  {name} is not trusted here: whether this is the right id is for you to compare")),
        Some(trusted) if trusted.id == id => {}
        Some(trusted) => {
            let error = fault!(IdMismatch, "the repository has the registry id {id}, {name} is trusted with {}", trusted.id)
                .hint("it is sound in itself, and another registry that bears the same name");
            answer.fault = answer.fault.take().or(Some(error));
        }
    }
    Ok(())
}

/// Says what an audit found.
fn report(found: &Findings) -> Answer {
    let mut answer = Answer::new();
    let registry = found.operators.registry();
    let verdict = if found.faults.is_empty() { "verified" } else { "NOT verified" };
    let after = found.since.as_ref().map_or(String::new(), |since| format!(" since checkpoint {}", since.seq()));
    answer.line(format!("{verdict}{after}: {registry}, id {}", found.operators.id()));
    answer.line(format!(
        "  {}, {}, {}, {} ({})",
        count(found.packages, "package"),
        count(found.records, "record"),
        count(found.checkpoint.seq() + 1, "checkpoint"),
        count(found.releases, "release"),
        bytes_in_words(found.bytes)
    ));
    answer.line(format!("  checkpoint {} {}", found.checkpoint.seq(), found.checkpoint.digest()));
    if let Some(since) = &found.since {
        answer.line(format!(
            "  only what changed after checkpoint {} {} was looked at: {} of {}",
            since.seq(),
            since.digest(),
            found.looked_at,
            count(found.packages, "package")
        ));
        answer.line("  what stood there before, and whether it is still whole on this disk, was not");
    }
    for package in &found.unpublished {
        answer.line(format!("  not published yet: {package}"));
    }
    for fault in &found.faults {
        answer.line(format!("  {fault}"));
    }
    let hidden = found.fault_count.saturating_sub(found.faults.len() as u64);
    if hidden > 0 {
        answer.line(format!("  and {hidden} more"));
    }
    answer.field("verified", found.faults.is_empty());
    answer.field("registry", registry.as_str());
    answer.field("id", found.operators.id().to_string());
    if let Some(since) = &found.since {
        answer.field("since", json!({ "seq": since.seq(), "digest": since.digest().to_string() }));
    }
    answer.field("packages", found.packages);
    answer.field("looked-at", found.looked_at);
    answer.field("records", found.records);
    answer.field("releases", found.releases);
    answer.field("bytes", found.bytes);
    answer.checkpoint(found.checkpoint.seq(), found.checkpoint.digest());
    answer.field("unpublished", found.unpublished.iter().map(ToString::to_string).collect::<Vec<_>>());
    answer.field("faults", found.faults.iter().map(error_object).collect::<Vec<Value>>());
    answer.field("fault-count", found.fault_count);
    answer.fault = found.faults.first().cloned();
    answer
}

fn package(context: &Context, args: &Args, reference: &Reference) -> Result<Answer> {
    if args.since.is_some() {
        return Err(fault!(Usage, "--since is of a registry, {} is a package", reference.package)
            .hint("leave it out: a package's log is verified from its first record"));
    }
    let client = Client::of(context, reference)?;
    let (mut snapshot, view) = client.look(reference)?;
    let package = &view.name.package;
    let log = &view.log.log;
    let (mut releases, mut bytes) = (0, 0);
    if let Some(version) = &reference.version {
        // What was taken down is verified as well, as far as it is there.
        choose(log, &Takedowns::default(), Some(version))?;
    }
    if !args.logs_only {
        for released in log.releases() {
            let release = &released.release;
            if reference.version.as_ref().is_some_and(|version| *version != release.version) {
                continue;
            }
            match snapshot.contents(package, release, |_, _| Ok(())) {
                Ok(_) => {
                    releases += 1;
                    bytes += release.size;
                }
                // What was taken down need not be there.
                Err(error) if error.code() == ErrorCode::RefMissing && view.takedown_of(&release.version).is_some() => {}
                Err(error) => return Err(error.at(format!("{package}@{}", release.version))),
            }
        }
    }
    client.remember(&snapshot, [(package, &view)])?;
    let decisions: usize = view.decided().map(|(_, decisions)| decisions.records.len()).sum();
    let records = (view.log.records.len() + decisions) as u64;
    let mut answer = Answer::new();
    answer.line(format!("verified: {}/{package}", client.name));
    answer.line(format!("  {}, {} ({})", count(records, "record"), count(releases, "release"), bytes_in_words(bytes)));
    answer.line(format!("  log {}", log.chain().id()));
    answer.line(format!("  head {} in checkpoint {}", log.chain().head(), snapshot.checkpoint().seq()));
    Client::tell_renamed(&mut answer, &view);
    answer.field("verified", true);
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("log", log.chain().id().to_string());
    answer.field("head", log.chain().head().to_string());
    answer.field("records", records);
    answer.field("releases", releases);
    answer.field("bytes", bytes);
    answer.field("whole-map", snapshot.is_found_without_filters());
    answer.checkpoint(snapshot.checkpoint().seq(), snapshot.checkpoint().digest());
    Ok(answer)
}
