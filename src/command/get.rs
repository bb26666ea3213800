//! `quipu get`: a release becomes a folder.

use super::answer::{Answer, bytes_in_words, count};
use super::client::Client;
use super::context::Context;
use crate::disk::folder::FolderWriter;
use crate::model::error::{Error, ErrorCode, Result};
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
}

/// Runs the command.
///
/// # Errors
/// `not-found`, `exists`, `taken-down`, `content-mismatch`, and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let reference = &args.reference;
    let client = Client::of(context, reference)?;
    let package = &reference.package;
    let (mut snapshot, view) = client.look(reference)?;
    snapshot.check_fresh(context.now)?;
    let log = &view.log.log;
    let released = choose(log, view.decision_log(), reference.version.as_ref())?;
    let release = &released.release;
    let shown = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{}", package.name(), release.version)));
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
    if released.flagged {
        answer.line("  note: this version was released by a key in wrong hands, as the log says later");
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
