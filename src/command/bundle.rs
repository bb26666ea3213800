//! `quipu bundle`: a mirror in one file, for a place without a network.

use super::answer::{Answer, bytes_in_words, count};
use super::client::{Client, which};
use super::context::Context;
use super::mirror::{One, identity, known_mirror, open, report};
use super::progress::Progress;
use crate::git::bundlefile::{self, BundleFile};
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::store::Store;
use crate::git::transport::Url;
use crate::model::digest::{GitId, LogId, ObjectKind, RegistryId};
use crate::model::error::{Error, Result, fault};
use crate::model::held::{HELD_MAX, Held, in_order};
use crate::model::moment::Moment;
use crate::model::name::{Pattern, RegistryName, looks_like_path, looks_like_url};
use crate::model::object::{ReadObjects as _, STRUCTURE_MAX};
use crate::model::{commit, proofs};
use crate::replica::gather::{Gathered, Gathering};
use crate::replica::mirror::{Kept, Wanted};
use crate::replica::snapshot::{Reading, Snapshot};
use crate::replica::{chains, page};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// A mirror in one file, for a place without a network
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Write a registry, or a part of it, into a file that git reads as well
    Create {
        /// The file
        file: PathBuf,
        /// Which packages, like 'wasi:*' or wasi:http [default: all]
        #[arg(value_name = "PATTERN")]
        patterns: Vec<Pattern>,
        /// Which registry: a trusted one's name, a path or a URL [default: as other commands choose]
        #[arg(long, value_name = "REGISTRY")]
        of: Option<String>,
        /// Only what came after this checkpoint, a number or a digest: for a place that holds it
        #[arg(long, value_name = "CHECKPOINT")]
        since: Option<Moment>,
        /// Logs, and not the files of releases
        #[arg(long)]
        logs_only: bool,
    },
    /// Take what a file holds into the mirror of its registry, verified as if it came from a wire
    Import {
        /// The file
        file: PathBuf,
        /// Our own registry's repository [default: this folder]
        #[arg(long = "in", value_name = "PATH", default_value = ".", hide_default_value = true)]
        path: PathBuf,
        /// The registry id that it must have, where it is neither mirrored yet nor trusted here
        #[arg(long, value_name = "sha256:…")]
        id: Option<RegistryId>,
    },
}

/// Runs the command.
///
/// # Errors
/// All that reading a registry can end in, and all that `mirror` can.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::Create { file, patterns, of, since, logs_only } => {
            let patterns = in_order(if patterns.is_empty() { vec![Pattern::All] } else { patterns.clone() })?;
            create(context, file, patterns, of.as_deref(), since.as_ref(), !logs_only)
        }
        Args::Import { file, path, id } => import(context, file, &open(context, path)?, *id),
    }
}

/// Where a registry is read.
enum From<'c> {
    Known(Box<Client<'c>>),
    Url(Url),
}

impl<'c> From<'c> {
    fn find(context: &'c Context, of: Option<&str>) -> Result<Self> {
        match of {
            Some(what) if looks_like_path(what) || looks_like_url(what) => {
                let url = Url::parse(what, &context.folder)?;
                context.may_reach(&url)?;
                Ok(From::Url(url))
            }
            _ => {
                let named = of.map(str::parse::<RegistryName>).transpose().map_err(|error| match of {
                    Some(what) if context.path(what).exists() => error.hint(format!("for the path: --of ./{what}")),
                    _ => error,
                })?;
                let client = Client::open(context, which(context, named.as_ref(), None)?)?;
                context.may_reach(&client.url)?;
                Ok(From::Known(Box::new(client)))
            }
        }
    }

    /// Opens the registry, with what is fetched of it beside a repository.
    fn open<'s>(&'s self, context: &'s Context, beside: &'s Store) -> Result<Snapshot<'s>> {
        match self {
            From::Known(client) => client.snapshot_beside(beside),
            From::Url(url) => Snapshot::open(Reading {
                beside: Some(beside),
                terminal: context.terminal(),
                patience: context.patience(),
                ..Reading::anew(url, context.now, &|contradiction| contradiction.error)
            }),
        }
    }
}

fn create(
    context: &Context,
    file: &Path,
    patterns: Vec<Pattern>,
    of: Option<&str>,
    since: Option<&Moment>,
    contents: bool,
) -> Result<Answer> {
    let path = context.path(file);
    if path.is_dir() {
        return Err(fault!(Exists, "{}: a folder is there, expected a file or nothing", file.display()));
    }
    let from = From::find(context, of)?;
    let scratch = tempfile::tempdir().map_err(|why| fault!(Io, "{}: {why}", std::env::temp_dir().display()))?;
    let beside = |format| Store::init(&scratch.path().join("registry"), format);
    // Which object format it has is known when it was looked at.
    let format = {
        let look = Store::init(&scratch.path().join("look"), crate::model::digest::ObjectFormat::Sha1)?;
        from.open(context, &look)?.format()
    };
    let store = beside(format)?;
    let upstream = from.open(context, &store)?;
    upstream.check_fresh(context.now)?;
    let operators = &upstream.operators().log;
    let wanted = Wanted { name: operators.registry().clone(), id: operators.id(), patterns, contents, keep_taken_down: false };
    let then = match since {
        None => None,
        Some(moment) => {
            let mut then = from.open(context, &store)?;
            then.go_back(moment)?;
            Some(then)
        }
    };
    let kept = then.as_ref().map(|then| kept(&wanted, then));
    let newest = upstream.checkpoint();
    let mut answer = Answer::new();
    answer.field("registry", wanted.name.as_str());
    answer.field("id", wanted.id.to_string());
    answer.field("file", path.display().to_string());
    answer.field("patterns", wanted.patterns.iter().map(ToString::to_string).collect::<Vec<_>>());
    answer.field("contents", contents);
    answer.field("since", kept.as_ref().map(|kept| kept.held.seq));
    answer.checkpoint(newest.seq(), newest.digest());
    if context.flags.dry_run {
        answer.line(format!("would write {} at checkpoint {} into {}", wanted.name, newest.seq(), file.display()));
        return Ok(answer);
    }
    let bar = Progress::new(context, "packages");
    let progress = &|done, all| bar.at(done, all);
    let what =
        Gathering { store: &store, wanted: &wanted, kept: kept.as_ref(), upstream: &upstream, since: then.as_ref(), progress };
    let gathered = what.run();
    bar.end();
    let Some(gathered) = gathered? else {
        answer.line(format!("{}: nothing came after checkpoint {}, no file was written", wanted.name, newest.seq()));
        answer.field("packages", 0);
        answer.field("releases", 0);
        answer.exit = 1;
        return Ok(answer);
    };
    write(&gathered, &wanted.name, &path, then.as_ref())?;
    let size = std::fs::metadata(&path).map_or(0, |found| found.len());
    let after = kept.as_ref().map(|kept| format!(" since checkpoint {}", kept.held.seq)).unwrap_or_default();
    answer.line(format!(
        "wrote {} at checkpoint {}{after} into {}: {}, files of {} ({})",
        wanted.name,
        newest.seq(),
        file.display(),
        count(gathered.synced.packages, "package"),
        count(gathered.synced.releases, "release"),
        bytes_in_words(size)
    ));
    answer.line("where it is to be held:");
    answer.line(format!("    quipu bundle import {} --id {}", file.display(), wanted.id));
    answer.field("packages", gathered.synced.packages);
    answer.field("releases", gathered.synced.releases);
    answer.field("bytes", size);
    Ok(answer)
}

/// Returns what is held where a registry is held as it was then.
fn kept(wanted: &Wanted, then: &Snapshot<'_>) -> Kept {
    let checkpoint = then.checkpoint();
    let held = Held {
        registry: wanted.name.clone(),
        id: wanted.id,
        log: checkpoint.record().draft().link.map_or(LogId::from(checkpoint.digest()), |link| link.log),
        seq: checkpoint.seq(),
        checkpoint: checkpoint.digest(),
        patterns: wanted.patterns.clone(),
        contents: wanted.contents,
        keep_taken_down: wanted.keep_taken_down,
    };
    Kept { held, commit: checkpoint.record().git_id() }
}

/// Writes what was gathered into a file: all of a registry with the names that it has at home, a part of it as another one's mirror has it.
fn write(gathered: &Gathered, domain: &RegistryName, path: &Path, then: Option<&Snapshot<'_>>) -> Result<()> {
    let mut without = gathered.before.clone();
    if let Some(then) = then {
        if gathered.proofs.is_none() {
            without.push(then.checkpoint().record().git_id());
        }
        let named = then.checkpoint().checkpoint().operators;
        let records = &then.operators().records;
        without.extend(records.iter().find(|record| record.digest() == named).map(|record| record.git_id()));
    }
    let mut refs: Vec<(RefName, GitId)> = Vec::new();
    for (name, id) in &gathered.refs {
        let Some(id) = id.filter(|id| !without.contains(id)) else { continue };
        let name = if gathered.proofs.is_some() { layout::mirrored(domain, name)? } else { name.clone() };
        refs.push((name, id));
    }
    refs.extend(gathered.proofs.map(|proofs| (layout::proofs(domain), proofs)));
    gathered.quarantine.set_refs(&refs)?;
    let names: Vec<RefName> = refs.into_iter().map(|(name, _)| name).collect();
    bundlefile::write(&gathered.quarantine, path, &names, &without)
}

fn import(context: &Context, file: &Path, store: &Store, id: Option<RegistryId>) -> Result<Answer> {
    let path = context.path(file);
    let bundle = BundleFile::open(&path)?;
    let quarantine = Quarantine::of(store)?;
    bundle.unpack(&quarantine)?;
    let reader = quarantine.store().reader();
    let named = |name: &RefName| bundle.refs.iter().find(|(found, _)| found == name).map(|(_, id)| *id);
    let parts = bundle.refs.iter().find_map(|(name, id)| {
        let domain = name.as_str().strip_prefix(layout::MIRRORS)?.strip_suffix("/proofs")?;
        Some((domain.parse::<RegistryName>().ok()?, *id))
    });
    let (domain, held) = match (named(&layout::registry_log()), parts) {
        (Some(log), _) => (chains::record(&reader, log)?.draft().registry.clone(), None),
        (None, Some((domain, proofs))) => {
            let tree = commit::parse_proofs(reader.format(), &reader.read(ObjectKind::Commit, proofs, STRUCTURE_MAX)?)?;
            let said = page::blob(&reader, tree, proofs::HELD)?
                .ok_or_else(|| fault!(BadRepository, "{}: its proofs do not say what is held", file.display()))?;
            (domain, Some(Held::parse(&reader.read(ObjectKind::Blob, said, HELD_MAX)?)?))
        }
        (None, None) => return Err(fault!(BadRepository, "{}: it is a bundle and holds no registry", file.display())),
    };
    let known = known_mirror(store, &domain)?;
    let url = Url::local(quarantine.path())?;
    let id = identity(context, &domain, None, id, known.as_ref().map(|known| known.id))?;
    let wanted = match known.as_ref().filter(|known| !known.patterns.is_empty()) {
        Some(known) => Wanted::of(known)?,
        None => {
            let has_contents = bundle.refs.iter().any(|(name, _)| name.as_str().starts_with(layout::CONTENTS));
            let contents = held.as_ref().map_or(has_contents, |held| held.contents);
            let patterns = held.map_or_else(|| vec![Pattern::All], |held| held.patterns);
            Wanted { name: domain.clone(), id, patterns, contents, keep_taken_down: false }
        }
    };
    // Operators that did not change since are not in it.
    let mut refs = bundle.refs.clone();
    let there = layout::mirrored(&domain, &layout::operators())?;
    let name = if named(&layout::registry_log()).is_some() { layout::operators() } else { there.clone() };
    if named(&name).is_none() {
        refs.extend(store.reference(&there)?.map(|id| (name, id)));
    }
    quarantine.set_refs(&refs)?;
    drop(reader);
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let says = known.as_ref().is_none_or(|known| known.patterns.is_empty());
    let done = One { context, store, author: &author, url: &url, wanted: &wanted }
        .run(says)
        .map_err(|error: Error| error.at(file.display()))?;
    Ok(report(&wanted, &done, &file.display()))
}
