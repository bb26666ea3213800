//! `quipu info`: what a package, a release or a registry is.

use super::answer::{Answer, bytes_in_words, count, error_object};
use super::client::{self, Client};
use super::context::Context;
use super::origin;
use super::submit;
use super::table::Table;
use crate::disk::proposals::{self, Own};
use crate::log::decision::{DecisionLog, Reset};
use crate::model::error::{Error, ErrorCode, Result};
use crate::model::name::{PackageName, Reference, RegistryName};
use crate::model::time::Timestamp;
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::choose;
use serde_json::{Value, json};

/// Show what a package, a release or a registry is
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A package or release, [REGISTRY/]NAMESPACE:NAME[@VERSION][#sha256:…], or a registry's domain [default: the default registry]
    reference: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// `not-found` with near names, `anchor-mismatch`, and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match &args.reference {
        None => registry(context, client::which(context, None, None)?),
        Some(text) if !text.contains(':') && text.parse::<RegistryName>().is_ok() => registry(context, text.parse()?),
        Some(text) => package(context, &text.parse()?),
    }
}

/// Says of when the answer is.
fn as_of(answer: &mut Answer, snapshot: &Snapshot<'_>, now: Timestamp) {
    answer.field("sources", Client::sources(snapshot));
    answer.field("whole-map", snapshot.is_found_without_filters());
    let checkpoint = snapshot.checkpoint();
    let time = checkpoint.record().draft().time;
    answer.line(format!("as of checkpoint {} of {time}", checkpoint.seq()));
    answer.field(
        "checkpoint",
        json!({
            "seq": checkpoint.seq(),
            "digest": checkpoint.digest().to_string(),
            "time": time.unix(),
            "age": now.unix().saturating_sub(time.unix()),
            "expires": checkpoint.checkpoint().expires,
        }),
    );
}

fn registry(context: &Context, name: RegistryName) -> Result<Answer> {
    let client = Client::open(context, name)?;
    let snapshot = client.snapshot(None)?;
    client.remember(&snapshot, [])?;
    let operators = &snapshot.operators().log;
    let packages = snapshot.checkpoint().checkpoint().packages;
    let mut answer = Answer::new();
    answer.line(format!("{}: a registry of {}", client.name, count(packages, "package")));
    let policy = &operators.now().policy;
    let rows = vec![
        vec!["  id".into(), client.id.to_string()],
        vec!["  url".into(), client.url.to_string()],
        vec!["  registration".into(), policy.registration.as_str().into()],
    ];
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    answer.line("  operators");
    let rows: Vec<Vec<String>> = operators
        .now()
        .keys
        .iter()
        .map(|key| {
            let words: Vec<String> = key.privileges.iter().map(ToString::to_string).collect();
            vec![format!("    {}", key.name), key.key.fingerprint().to_string(), words.join(", ")]
        })
        .collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    answer.field("registry", client.name.as_str());
    answer.field("id", client.id.to_string());
    answer.field("url", client.url.to_string());
    answer.field("packages", packages);
    answer.field("registration", policy.registration.as_str());
    let objects: Vec<Value> = operators
        .now()
        .keys
        .iter()
        .map(|key| {
            json!({
                "name": key.name.as_str(),
                "fingerprint": key.key.fingerprint().to_string(),
                "privileges": key.privileges.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        })
        .collect();
    answer.field("operators", objects);
    as_of(&mut answer, &snapshot, context.now);
    Ok(answer)
}

/// A proposal of the user's own that is not published, and why it was refused, if it was.
type Waiting = (Own, Option<Error>);

/// Finds out what became of the user's own proposals for a package.
fn own_proposals(client: &Client<'_>, package: &PackageName) -> Result<Vec<Waiting>> {
    let mut own = proposals::load(&client.context.home, client.id)?;
    own.retain(|own| own.package == *package);
    if own.is_empty() || client.context.flags.offline {
        return Ok(own.into_iter().map(|own| (own, None)).collect());
    }
    let mut snapshot = client.snapshot(Some(package))?;
    let mut waiting = Vec::new();
    for own in own {
        match submit::standing_of(client, &mut snapshot, &own)? {
            Some(Ok(_)) => {}
            Some(Err(refused)) => waiting.push((own, Some(refused))),
            None => waiting.push((own, None)),
        }
    }
    Ok(waiting)
}

fn tell_proposals(answer: &mut Answer, waiting: &[Waiting]) {
    let mut objects = Vec::new();
    for (own, refused) in waiting {
        let since = Timestamp::from_unix(own.time).map(|time| time.to_string()).unwrap_or_default();
        match refused {
            Some(error) => answer.line(format!(
                "  refused   your proposal {} of {since}: [{}] {}",
                own.proposal,
                error.code(),
                error.message()
            )),
            None => answer.line(format!("  proposed  your proposal {} of {since} waits for an operator", own.proposal)),
        }
        let state = if refused.is_some() { "refused" } else { "proposed" };
        let error = refused.as_ref().map(error_object);
        objects.push(json!({ "proposal": own.proposal.to_string(), "state": state, "time": own.time, "error": error }));
    }
    answer.field("proposals", objects);
}

fn package(context: &Context, reference: &Reference) -> Result<Answer> {
    let client = Client::of(context, reference)?;
    let package = &reference.package;
    let full = format!("{}/{package}", client.name);
    let waiting = own_proposals(&client, package)?;
    let (mut snapshot, view) = match client.look(reference) {
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::NotPublished) && !waiting.is_empty() => {
            let mut answer = Answer::new();
            answer.line(format!("{full} is not published"));
            tell_proposals(&mut answer, &waiting);
            answer.field("registry", client.name.as_str());
            answer.field("package", package.to_string());
            return Ok(answer);
        }
        looked => looked?,
    };
    let log = &view.log.log;
    let origin =
        log.origin().map(|origin| origin::proof(context, &mut snapshot, origin).map(|proof| (origin, proof))).transpose()?;
    let promoted = log
        .promoted_from()
        .map(|digest| origin::promoted(context, &mut snapshot, digest).map(|known| (digest, known)))
        .transpose()?;
    client.remember(&snapshot, [(package, &view)])?;
    let package = &view.name.package;
    let full = view.name.to_string();
    let mut answer = Answer::new();
    let chosen = match &reference.version {
        Some(version) => Some(choose(log, &view.takedowns, Some(version))?),
        None => choose(log, &view.takedowns, None).ok(),
    };
    answer.line(match (&reference.version, chosen) {
        (Some(version), _) => format!("{full}@{version}"),
        (None, _) => full,
    });
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |key: &str, value: String| rows.push(vec![format!("  {key}"), value]);
    if let Some(released) = chosen {
        let release = &released.release;
        if let Some(description) = &release.description {
            row("about", description.clone());
        }
        row("license", release.license.clone().unwrap_or_else(|| "not said".into()));
        for link in &release.links {
            row("link", link.clone());
        }
        if reference.version.is_some() {
            row("released", released.time.to_string());
            row("contents", release.content.to_string());
            row("", format!("{}, {}", count(release.files, "file"), bytes_in_words(release.size)));
            row("record", format!("{} (seq {})", released.digest, released.seq));
            if let Some(build) = &release.build {
                row("build", build.clone());
            }
            if let Some(reason) = &released.yanked {
                row("yanked", if reason.is_empty() { "no reason given".into() } else { reason.clone() });
            }
            if released.flagged {
                row("flagged", "released by a key in wrong hands".into());
            }
        } else {
            row("newest", release.version.to_string());
        }
        for dependency in &release.dependencies {
            row("needs", format!("{} {}", dependency.name(), dependency.requirement));
        }
    }
    if reference.version.is_none() {
        row("versions", versions(&view));
        let owners: Vec<String> =
            log.keys().iter().filter(|key| !key.privileges.is_empty()).map(|key| key.name.to_string()).collect();
        row("keys", owners.join(", "));
        row("log", format!("{} ({})", log.chain().id(), count(log.chain().seq() + 1, "record")));
        let mut former: Vec<String> =
            log.moves().iter().map(|moved| &moved.from).filter(|name| **name != view.name).map(ToString::to_string).collect();
        former.dedup();
        if !former.is_empty() {
            row("before", former.join(", "));
        }
        if let Some(asked) = log.pending_name().filter(|asked| asked.to != view.name) {
            row("asks for", format!("the name {}, which waits for an operator", asked.to));
        }
        for reset in view.decision_log().map_or(&[][..], DecisionLog::resets) {
            row("reset", format!("{}; the log of before is {}", reset.reason, reset.old));
        }
        for (version, takedown) in view.takedowns.of_log(log.chain().id()) {
            let what = version.map_or("the package".into(), ToString::to_string);
            row("taken down", format!("{what} ({}): {}", takedown.class.as_str(), takedown.reason));
        }
    }
    if let Some((origin, (proof, why))) = &origin {
        row("from", origin::in_words(origin));
        origin::told(origin, proof, why.as_deref()).into_iter().for_each(|line| row("", line));
    }
    if let Some((digest, known)) = &promoted {
        match known {
            None => row("from", format!("elsewhere: it was promoted, and says {digest} and nothing else of its origin")),
            Some((origin, proof, why)) => {
                row("from", format!("{}, as this machine knows and its registry does not say", origin::in_words(origin)));
                origin::told(origin, proof, why.as_deref()).into_iter().take(1).for_each(|line| row("", line));
                row("", format!("its first record says {digest}"));
            }
        }
    }
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    let fork = origin.as_ref().map(|(origin, (proof, why))| origin::to_json(origin, proof, why.as_deref()));
    answer.field(
        "origin",
        fork.or_else(|| promoted.as_ref().map(|(digest, known)| origin::promoted_to_json(*digest, known.as_ref()))),
    );
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    Client::tell_renamed(&mut answer, &view);
    let resets = view.decision_log().map_or(&[][..], DecisionLog::resets);
    let reset = |reset: &Reset| json!({ "old": reset.old.to_string(), "old-head": reset.old_head.to_string(), "new": reset.new.to_string(), "reason": reset.reason });
    answer.field("resets", resets.iter().map(reset).collect::<Vec<_>>());
    answer.field("log", log.chain().id().to_string());
    answer.field("head", log.chain().head().to_string());
    answer.field("seq", log.chain().seq());
    answer.field("version", chosen.map(|released| released.release.version.to_string()));
    answer.field("versions", objects(&view));
    tell_proposals(&mut answer, &waiting);
    as_of(&mut answer, &snapshot, context.now);
    Ok(answer)
}

fn versions(view: &PackageView) -> String {
    let mut words: Vec<String> = view
        .log
        .log
        .releases()
        .rev()
        .map(|released| {
            let version = &released.release.version;
            let down = view.takedown_of(version).is_some();
            let mark = match (down, released.flagged, released.yanked.is_some()) {
                (true, ..) => " (taken down)",
                (_, true, _) => " (flagged)",
                (.., true) => " (yanked)",
                _ => "",
            };
            format!("{version}{mark}")
        })
        .collect();
    let more = words.len().saturating_sub(10);
    words.truncate(10);
    if words.is_empty() {
        return "none yet".into();
    }
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(", ")
}

fn objects(view: &PackageView) -> Vec<Value> {
    view.log
        .log
        .releases()
        .map(|released| {
            let release = &released.release;
            let takedown = view.takedown_of(&release.version);
            json!({
                "version": release.version.to_string(),
                "content": release.content.to_string(),
                "size": release.size,
                "files": release.files,
                "time": released.time.unix(),
                "record": released.digest.to_string(),
                "seq": released.seq,
                "description": release.description,
                "license": release.license,
                "links": release.links,
                "build": release.build,
                "yanked": released.yanked,
                "flagged": released.flagged,
                "taken-down": takedown.map(|takedown| json!({ "class": takedown.class.as_str(), "reason": takedown.reason })),
                "dependencies": release.dependencies.iter().map(|dependency| json!({
                    "name": dependency.name(),
                    "requirement": dependency.requirement.to_string(),
                    "registry-id": dependency.registry.as_ref().map(|(_, id)| id.to_string()),
                    "anchor": dependency.anchor.map(|anchor| anchor.to_string()),
                })).collect::<Vec<_>>(),
            })
        })
        .collect()
}
