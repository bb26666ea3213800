//! `quipu yank` and `quipu unyank`: a version leaves new choices, or comes back.

use super::answer::Answer;
use super::client::Client;
use super::context::Context;
use super::request::Way;
use super::submit::{NO_FORK, State, Submission, Wait, submit};
use crate::model::entry::PackageEntry;
use crate::model::error::{Result, fault};
use crate::model::name::Reference;

/// Take a version out of new choices; locks that have it still get it
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The package and the version: [REGISTRY/]NAMESPACE:NAME@VERSION
    reference: Reference,
    /// Why, for all to read
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    wait: Wait,
}

/// Runs `quipu yank` or, where `back` is true, `quipu unyank`.
///
/// # Errors
/// `usage` without a version, `not-released`, `unauthorized`, and all else that the registry refuses.
pub fn run(context: &Context, args: &Args, back: bool) -> Result<Answer> {
    let verb = if back { "unyank" } else { "yank" };
    let Some(version) = args.reference.version.clone() else {
        return Err(fault!(Usage, "{} names no version", args.reference).hint(format!("quipu {verb} {}@VERSION", args.reference)));
    };
    let mut client = Client::of(context, &args.reference)?;
    args.way.tell(&mut client)?;
    let signing = context.signing(&context.key()?)?;
    let author = signing.author(None)?;
    let package = &args.reference.package;
    let submission = Submission {
        client: &client,
        signing: &signing,
        author: &author,
        package,
        follow: true,
        wait: args.wait.duration(),
        origin: NO_FORK,
    };
    let submitted = submit(&submission, |mut ground, _| {
        if let Some(absent) = ground.absent {
            return Err(absent);
        }
        let entry = match back {
            true => PackageEntry::Unyank(version.clone(), args.reason.clone()),
            false => PackageEntry::Yank(version.clone(), args.reason.clone()),
        };
        ground.work.add(ground.author, entry)?;
        Ok((ground.work, Vec::new()))
    })?;
    let package = &submitted.package;
    let full = format!("{}/{package}@{version}", client.name);
    let mut answer = Answer::new();
    answer.line(match &submitted.state {
        State::DryRun => format!("would {verb} {full}"),
        State::Proposed(id) => format!("proposed to {verb} {full}: proposal {id}"),
        State::Published(seq, _) => format!("{verb}ed {full} in checkpoint {seq}"),
    });
    submitted.tell(&mut answer);
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("version", version.to_string());
    answer.field("reason", args.reason.as_str());
    Ok(answer)
}
