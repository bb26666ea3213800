//! `quipu get`: a release becomes a folder.

use super::answer::{Answer, bytes_in_words, count};
use super::client::Client;
use super::context::Context;
use super::needs::{Doubt, flagged, insisted};
use crate::disk::folder::FolderWriter;
use crate::model::error::{Error, ErrorCode, Result};
use crate::model::lockfile::Pin;
use crate::model::name::Reference;
use crate::trust::choose::choose;
use std::path::PathBuf;

/// Get the files of a release into a folder
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The package or release: [REGISTRY/]NAMESPACE:NAME[@VERSION][#sha256:…]
    reference: Reference,
    /// The folder, which must not exist or be empty [default: ./NAME-VERSION]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Take this release although a key in wrong hands released it: [REGISTRY/]NAMESPACE:NAME@VERSION
    #[arg(long, value_name = "RELEASE")]
    allow_flagged: Vec<Reference>,
}

/// Runs the command.
///
/// # Errors
/// `not-found`, `exists`, `taken-down`, `flagged` where the user does not insist, `content-mismatch`, and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let reference = &args.reference;
    let client = Client::of(context, reference)?;
    let (mut snapshot, view) = client.look(reference)?;
    let package = &view.name.package;
    snapshot.check_fresh(context.now)?;
    let log = &view.log.log;
    let released = choose(log, &view.takedowns, reference.version.as_ref())?;
    let release = &released.release;
    let pin = Pin { name: view.name.clone(), version: release.version.clone() };
    let asked = Pin { name: view.asked_as().unwrap_or(view.name.clone()), version: release.version.clone() };
    if released.flagged
        && !insisted(context, None, &args.allow_flagged)?.iter().any(|insisted| [&pin, &asked].contains(&insisted))
    {
        return Err(flagged(&pin)
            .hint("without a version, the newest that may be chosen comes: quipu get NAMESPACE:NAME")
            .hint(format!("to take it all the same: --allow-flagged {pin}")));
    }
    let shown = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{}", reference.package.name(), release.version)));
    let target = context.path(&shown);
    let mut answer = Answer::new();
    if !context.flags.dry_run {
        let exists = |error: Error| match error.code() {
            ErrorCode::Exists => error.hint("choose another folder: --to DIR"),
            _ => error,
        };
        let mut writer = FolderWriter::new(&target).map_err(exists)?;
        snapshot.contents(package, release, |file, bytes| writer.add(file, bytes))?;
        writer.finish().map_err(exists)?;
        client.remember(&snapshot, [(package, &view)])?;
    }
    let verb = if context.flags.dry_run { "would get" } else { "got" };
    answer.line(format!("{verb} {}/{package}@{} into {}", client.name, release.version, shown.display()));
    answer.line(format!("  {}, {}, {}", count(release.files, "file"), bytes_in_words(release.size), release.content));
    if let Some(reason) = &released.yanked {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        answer.line(format!("  note: this version is yanked: {reason}"));
    }
    Client::tell_renamed(&mut answer, &view);
    if let (None, Some(reset)) = (view.put_aside(), view.decision_log().and_then(|own| own.resets().last())) {
        answer.line(format!("  note: the operators reset {}: {}; its log began anew then", view.name, reset.reason));
    }
    if released.flagged {
        answer.line(format!("  warning: {}", Doubt::Flagged.tell(&pin)));
    }
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("version", release.version.to_string());
    answer.field("content", release.content.to_string());
    answer.field("files", release.files);
    answer.field("size", release.size);
    answer.field("folder", target.display().to_string());
    answer.field("yanked", released.yanked.clone());
    answer.field("flagged", released.flagged);
    answer.field("whole-map", snapshot.is_found_without_filters());
    answer.field("sources", Client::sources(&snapshot));
    answer.checkpoint(snapshot.checkpoint().seq(), snapshot.checkpoint().digest());
    Ok(answer)
}
