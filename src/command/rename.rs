//! `quipu rename`: an owner asks for another name for a package.

use super::answer::Answer;
use super::client::Client;
use super::context::Context;
use super::moving;
use super::request::Way;
use super::submit::{NO_FORK, State, Submission, Submitted, Wait, submit};
use crate::disk::trusted::Trust;
use crate::model::digest::RegistryId;
use crate::model::entry::PackageEntry;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, Reference};

/// Ask for another name for a package; its log goes on under it, and the old name leads there
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The package: [REGISTRY/]NAMESPACE:NAME
    #[arg(value_name = "OLD")]
    old: Reference,
    /// The name that it is to have: [REGISTRY/]NAMESPACE:NAME; the name that it has takes back what was asked for
    #[arg(value_name = "NEW")]
    new: Reference,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    wait: Wait,
}

/// Runs `quipu rename`.
///
/// # Errors
/// `usage` where something else than two names is given, `not-trusted` where the new name is in a registry whose id is not known, `name-taken`,
/// `unauthorized`, `bad-record`, and all else that the registry refuses.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    for reference in [&args.old, &args.new] {
        if reference.version.is_some() {
            return Err(fault!(Usage, "{reference} names a version, and a package is renamed as a whole"));
        }
    }
    if args.new.anchor.is_some() {
        return Err(fault!(Usage, "{} names a record, and a name that is to be has none", args.new));
    }
    let mut client = Client::of(context, &args.old)?;
    args.way.tell(&mut client)?;
    let registry = args.new.registry.clone().unwrap_or_else(|| client.name.clone());
    let to = FullName { registry, package: args.new.package.clone() };
    let registry_id = if to.registry == client.name {
        None
    } else {
        let trust = Trust::load(&context.home)?;
        let Some(trusted) = trust.get(&to.registry) else {
            return Err(fault!(NotTrusted, "the registry {} is not trusted, and the rename has to say its id", to.registry)
                .hint(format!("look at it and decide: quipu trust add {} URL", to.registry)));
        };
        Some(trusted.id)
    };
    if let Some(id) = registry_id {
        return elsewhere(context, &client, args, &to, id);
    }
    ask(context, &client, args, &to, None)
}

/// Asks the registry that the package is in.
fn ask(context: &Context, client: &Client<'_>, args: &Args, to: &FullName, registry_id: Option<RegistryId>) -> Result<Answer> {
    asked(context, client, args, to, registry_id).map(|(_, answer)| answer)
}

/// Moves a package to another registry: the one that it is in is asked to say where it went, where it can be asked, and the other one is
/// brought all of it.
fn elsewhere(context: &Context, client: &Client<'_>, args: &Args, to: &FullName, id: RegistryId) -> Result<Answer> {
    moving::check(context, client, &args.old, to)?;
    let (_, view) = client.look(&args.old)?;
    let waits = view.log.log.pending_name().is_some_and(|asked| asked.to == *to && asked.registry_id == id);
    let old = match waits {
        true => Ok((Vec::new(), Answer::new())),
        false => asked(context, client, args, to, Some(id)).map(|(submitted, answer)| (submitted.added, answer)),
    };
    let (records, mut answer) = match old {
        Ok(done) => done,
        Err(error) if matches!(error.code(), ErrorCode::Network | ErrorCode::Refused | ErrorCode::BadRepository) => {
            let mut answer = Answer::new();
            answer.line(format!(
                "  note: {} cannot be asked, and does not say where the package goes: {}",
                client.name,
                error.message()
            ));
            (Vec::new(), answer)
        }
        Err(error) => return Err(error),
    };
    if context.flags.dry_run {
        answer.line(format!("would bring {} to {}, with all its releases", args.old, to.registry));
        return Ok(answer);
    }
    let brought = moving::bring(context, client, &args.old, to, id, &records, args.wait)?;
    answer.line(match &brought.state {
        State::Published(seq, _) => format!("brought it to {to} in checkpoint {seq}, with all its releases"),
        _ => format!("proposed it to {} as {}, with all its releases", to.registry, to.package),
    });
    brought.tell(&mut answer);
    answer.field("registry", client.name.as_str());
    answer.field("package", args.old.package.to_string());
    answer.field("from", view.name.to_string());
    answer.field("to", to.to_string());
    answer.field("granted", matches!(brought.state, State::Published(..)));
    Ok(answer)
}

fn asked(
    context: &Context,
    client: &Client<'_>,
    args: &Args,
    to: &FullName,
    registry_id: Option<RegistryId>,
) -> Result<(Submitted, Answer)> {
    let signing = context.signing(&context.key()?)?;
    let author = signing.author(None)?;
    let package = &args.old.package;
    let wait = args.wait.duration();
    let submission = Submission { client, signing: &signing, author: &author, package, follow: true, wait, origin: NO_FORK };
    let mut is_taken_back = false;
    let submitted = submit(&submission, |mut ground, _| {
        let Some(view) = ground.view else {
            return Err(ground.absent.unwrap_or_else(|| fault!(NotFound, "there is no {package}")));
        };
        crate::trust::choose::check_anchor(&view.log.log, args.old.anchor.as_ref())?;
        let log = &view.log.log;
        let asked = log.pending_name().filter(|asked| asked.to != view.name);
        if *to == view.name {
            let Some(asked) = asked else {
                return Err(fault!(BadRecord, "the package has the name {to} already").asked());
            };
            is_taken_back = asked.to != *to;
        } else if asked.is_some_and(|asked| asked.to == *to && Some(asked.registry_id) == registry_id.or(Some(client.id))) {
            let error = fault!(BadRecord, "the name {to} is asked for already, and waits for an operator");
            return Err(error
                .hint(format!("an operator grants it: quipu registry rename PATH {}", view.name.package))
                .hint(format!("to take it back: quipu rename {} {}", view.name, view.name))
                .asked());
        }
        ground.work.add(ground.author, PackageEntry::Rename(to.clone(), registry_id)).map_err(Error::asked)?;
        Ok((ground.work, Vec::new()))
    })?;
    let from = FullName { registry: client.name.clone(), package: submitted.package.clone() };
    let is_granted = submitted.granted.as_ref() == Some(to);
    let mut answer = Answer::new();
    let what = if is_taken_back { format!("that {from} keeps its name") } else { format!("for {from} to be called {to}") };
    answer.line(match &submitted.state {
        State::DryRun if is_taken_back => format!("would take back what was asked for: {from} keeps its name"),
        State::DryRun => format!("would ask {what}"),
        State::Proposed(id) => format!("proposed to ask {what} (proposal {id})"),
        State::Published(seq, _) if is_taken_back => {
            format!("took back what was asked for in checkpoint {seq}: {from} keeps its name")
        }
        State::Published(seq, _) if is_granted => format!("renamed {from} to {to} in checkpoint {seq}"),
        State::Published(seq, _) => format!("asked {what} in checkpoint {seq}"),
    });
    match &submitted.state {
        State::Published(..) if is_granted => {
            answer.line(format!("  {} leads there from now on, and is free for nobody else", from.package));
            answer.line(format!("  releases go on under the new name: name = \"{}\" in quipu.toml", to.package));
        }
        State::Published(..) | State::Proposed(_) if !is_taken_back && registry_id.is_none() => {
            answer
                .line(format!("  until an operator grants it, all stays as it is: quipu registry rename PATH {}", from.package));
        }
        _ => {}
    }
    submitted.tell(&mut answer);
    answer.field("registry", client.name.as_str());
    answer.field("package", from.package.to_string());
    answer.field("from", from.to_string());
    answer.field("to", to.to_string());
    answer.field("granted", is_granted);
    Ok((submitted, answer))
}
