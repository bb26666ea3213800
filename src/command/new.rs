//! `quipu new`: a folder becomes a package.

use super::answer::Answer;
use super::context::Context;
use crate::disk::keys::simple;
use crate::disk::project::{FILE, Project};
use crate::model::error::{Result, fault};
use crate::model::name::PackageName;
use std::path::PathBuf;

/// Make a folder a package: write its quipu.toml
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder; it is made where it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The package's name [default: from your user name and the folder's]
    #[arg(long, value_name = "NAMESPACE:NAME")]
    name: Option<PackageName>,
}

/// Runs the command.
///
/// # Errors
/// `exists` where there is a quipu.toml already, `bad-name`, `io`.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let folder = context.path(&args.dir);
    let name = match &args.name {
        Some(name) => name.clone(),
        None => suggest(&folder)?,
    };
    let registry = context.flags.registry.as_ref().or(context.config.registry.as_ref());
    let mut answer = Answer::new();
    let path = if context.flags.dry_run { folder.join(FILE) } else { Project::create(&folder, registry, &name)? };
    answer.line(format!("made {} for {name} 0.1.0", args.dir.join(FILE).display()));
    answer.line(format!("next: look at it, then quipu publish {}", args.dir.display()));
    answer.field("package", name.to_string());
    answer.field("file", path.display().to_string());
    Ok(answer)
}

fn suggest(folder: &std::path::Path) -> Result<PackageName> {
    let folder = std::path::absolute(folder).map_err(|why| fault!(Io, "{}: {why}", folder.display()))?;
    let own = folder.components().next_back().and_then(|part| part.as_os_str().to_str()).and_then(simple);
    let user = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok().and_then(|user| simple(&user)));
    match (user, own) {
        (Some(namespace), Some(name)) => Ok(PackageName::new(namespace, name)),
        _ => Err(fault!(BadName, "no name can be made of {}", folder.display()).hint("give one: --name NAMESPACE:NAME")),
    }
}
