//! `quipu cache`: what is kept only to be quick, and its deletion.

use super::answer::{Answer, bytes_in_words, count};
use super::context::Context;
use super::table::Table;
use crate::disk::replace;
use crate::disk::trusted::Trust;
use crate::disk::verified::{self, Kept};
use crate::git::cache::{self, Cache};
use crate::git::quarantine::Quarantine;
use crate::model::digest::RegistryId;
use crate::model::error::{Result, fault};
use crate::model::name::RegistryName;
use crate::model::time::Timestamp;
use clap::Subcommand;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// Show and delete what is kept only to be quick
///
/// The cache holds git objects that were fetched and verified, and which checkpoint of a repository on disk was verified last. It may be deleted at
/// any time: what is needed again is fetched again. What was seen of registries and packages is no cache, and stays.
#[derive(Subcommand, Debug)]
pub enum Args {
    /// List the registries of which something is kept, how much, and when it was used last
    List,
    /// Delete what nobody will need again, and more where that is asked for
    ///
    /// Without a choice: what is kept of registries that are not trusted, of looks at repositories that are gone, and what killed commands left.
    /// What another quipu has open just then stays as it is.
    Prune(Prune),
}

/// What to delete.
#[derive(clap::Args, Debug)]
pub struct Prune {
    /// Only what is kept of these registries: a name or an id from `quipu cache list`
    #[arg(value_name = "NAME", conflicts_with_all = ["older_than", "all"])]
    names: Vec<String>,
    /// Also what was not used for so many days
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u64>,
    /// Everything
    #[arg(long, conflicts_with = "older_than")]
    all: bool,
}

/// What is kept of a registry.
struct Registry {
    id: RegistryId,
    name: Option<RegistryName>,
    trusted: bool,
    path: PathBuf,
    size: u64,
    used: Option<Timestamp>,
}

impl Registry {
    fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| self.id.to_string(), ToString::to_string)
    }

    fn object(&self) -> Value {
        json!({
            "registry": self.name.as_ref().map(RegistryName::as_str),
            "id": self.id.to_string(),
            "trusted": self.trusted,
            "path": self.path.display().to_string(),
            "size": self.size,
            "used": self.used.map(Timestamp::unix),
        })
    }
}

/// All that is kept.
struct Found {
    registries: Vec<Registry>,
    looks: Vec<Kept>,
    /// What killed commands left, with its size.
    left: Vec<(PathBuf, u64)>,
}

/// Runs the command.
///
/// # Errors
/// `not-found` where nothing is kept under a name, `conflict` where it is in use, `bad-config`, `io`.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::List => list(context),
        Args::Prune(prune) => self::prune(context, prune),
    }
}

fn look(context: &Context) -> Result<Found> {
    let home = &context.home;
    let trust = Trust::load(home)?;
    let trusted: BTreeMap<RegistryId, &RegistryName> = trust.all().iter().map(|trusted| (trusted.id, &trusted.name)).collect();
    let registry = |id: RegistryId| {
        let path = home.cache_of(id);
        let used = Cache::used(&path).and_then(|used| used.duration_since(UNIX_EPOCH).ok());
        Registry {
            id,
            name: trusted.get(&id).map(|name| (*name).clone()),
            trusted: trusted.contains_key(&id),
            size: size(&path),
            used: used.and_then(|used| Timestamp::from_unix(used.as_secs()).ok()),
            path,
        }
    };
    let mut registries: Vec<Registry> = home.cached()?.into_iter().map(registry).collect();
    registries.sort_by_cached_key(|registry| (registry.name.is_none(), registry.shown()));
    let mut left = if home.cache().is_dir() { cache::left(home.cache())? } else { Vec::new() };
    left.extend(Quarantine::left());
    let left = left.into_iter().map(|path| (size(&path), path)).map(|(size, path)| (path, size)).collect();
    Ok(Found { registries, looks: verified::all(home)?, left })
}

/// Returns how many bytes the files below a folder have.
fn size(folder: &Path) -> u64 {
    // What vanishes while it is looked at has no size.
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(|entry| entry.ok()?.metadata().ok());
    files.filter(std::fs::Metadata::is_file).map(|found| found.len()).sum()
}

fn list(context: &Context) -> Result<Answer> {
    let found = look(context)?;
    let mut answer = Answer::new();
    let rows: Vec<Vec<String>> = found
        .registries
        .iter()
        .map(|registry| {
            let used = registry.used.map_or("-".to_owned(), |used| ago(context, used));
            let name = registry.name.as_ref().map_or("not trusted".to_owned(), ToString::to_string);
            vec![name, bytes_in_words(registry.size), used, registry.id.to_string()]
        })
        .collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    let looks: u64 = found.looks.iter().map(|kept| kept.size).sum();
    if !found.looks.is_empty() {
        answer.line(format!("{} at repositories on disk: {}", count(found.looks.len() as u64, "look"), bytes_in_words(looks)));
    }
    let left: u64 = found.left.iter().map(|(_, size)| size).sum();
    if !found.left.is_empty() {
        answer.line(format!("left by killed commands: {} (quipu cache prune)", bytes_in_words(left)));
    }
    let all = looks + left + found.registries.iter().map(|registry| registry.size).sum::<u64>();
    answer.line(match all {
        0 => format!("nothing is kept in {}", context.home.cache().display()),
        _ => format!("{} in all, in {}", bytes_in_words(all), context.home.cache().display()),
    });
    answer.field("folder", context.home.cache().display().to_string());
    answer.field("registries", found.registries.iter().map(Registry::object).collect::<Vec<_>>());
    answer.field("looks", json!({ "number": found.looks.len(), "size": looks }));
    answer.field("left", json!({ "number": found.left.len(), "size": left }));
    answer.field("size", all);
    Ok(answer)
}

/// Says how long ago something was.
fn ago(context: &Context, time: Timestamp) -> String {
    match context.now.unix().saturating_sub(time.unix()) / DAY {
        0 => "used today".to_owned(),
        1 => "used yesterday".to_owned(),
        days => format!("used {days} days ago"),
    }
}

fn prune(context: &Context, args: &Prune) -> Result<Answer> {
    let mut names = args.names.clone();
    if let Some(name) = &context.flags.registry
        && names.is_empty()
        && std::env::var("QUIPU_REGISTRY").as_deref() != Ok(name.as_str())
    {
        names.push(name.to_string());
    }
    let found = look(context)?;
    let (chosen, is_named) = (choose(context, args, &names, &found)?, !names.is_empty());
    let looks = found.looks.iter().filter(|kept| !is_named && (args.all || !kept.is_of_use()));
    let left = found.left.iter().filter(|_| !is_named);
    let is_dry = context.flags.dry_run;
    let (mut pruned, mut in_use, mut freed) = (Vec::new(), Vec::new(), 0);
    let mut answer = Answer::new();
    let would = if is_dry { "would delete" } else { "deleted" };
    for registry in chosen {
        if !is_dry && !Cache::remove(&registry.path)? {
            answer.line(format!("  {} is in use, and stays as it is", registry.shown()));
            in_use.push(registry);
            continue;
        }
        freed += registry.size;
        let why = if registry.trusted { "" } else { ", which is not trusted" };
        answer.line(format!("  {would} what was kept of {}{why}: {}", registry.shown(), bytes_in_words(registry.size)));
        pruned.push(registry.object());
    }
    let (mut gone, mut scratch) = (0, 0);
    for kept in looks {
        if !is_dry {
            replace::remove(&kept.file)?;
        }
        (freed, gone) = (freed + kept.size, gone + 1);
    }
    for (path, size) in left {
        if !is_dry {
            cache::discard(path)?;
        }
        (freed, scratch) = (freed + size, scratch + 1);
    }
    if gone > 0 {
        answer.line(format!("  {would} {} at repositories on disk", count(gone, "remembered look")));
    }
    if scratch > 0 {
        answer.line(format!("  {would} {} that killed commands left", count(scratch, "folder")));
    }
    answer.line(match (freed, is_dry) {
        (0, _) => "nothing to delete".to_owned(),
        (_, true) => format!("would free {}", bytes_in_words(freed)),
        (_, false) => format!("freed {}", bytes_in_words(freed)),
    });
    if let Some(registry) = in_use.first().filter(|_| is_named) {
        let fault = fault!(Conflict, "{} is in use by another quipu", registry.path.display());
        answer.fault = Some(fault.hint("try again when that process is done"));
    }
    answer.field("registries", pruned);
    answer.field("in-use", in_use.iter().map(|registry| registry.object()).collect::<Vec<_>>());
    answer.field("looks", gone);
    answer.field("left", scratch);
    answer.field("size", freed);
    Ok(answer)
}

/// Chooses the registries of which nothing is to be kept.
fn choose<'f>(context: &Context, args: &Prune, names: &[String], found: &'f Found) -> Result<Vec<&'f Registry>> {
    let all = || found.registries.iter();
    let is_meant = |registry: &Registry, name: &String| registry.shown() == *name || registry.id.to_string() == *name;
    for name in names {
        if !all().any(|registry| is_meant(registry, name)) {
            let known: Vec<String> = all().map(Registry::shown).collect();
            let error = fault!(NotFound, "nothing is kept of {name}");
            return Err(if known.is_empty() { error } else { error.hint(format!("something is of {}", known.join(", "))) });
        }
    }
    let is_unused = |registry: &Registry, days: u64| {
        let unused = registry.used.map(|used| context.now.unix().saturating_sub(used.unix()));
        unused.is_some_and(|unused| unused >= days.saturating_mul(DAY))
    };
    let is_chosen = |registry: &&Registry| match (names, args.older_than) {
        ([_, ..], _) => names.iter().any(|name| is_meant(registry, name)),
        ([], Some(days)) => !registry.trusted || is_unused(registry, days),
        ([], None) => args.all || !registry.trusted,
    };
    Ok(all().filter(is_chosen).collect())
}
