//! `quipu registry import`: packages that exist elsewhere, brought in at once.

use super::answer::{Answer, count, error_object};
use super::context::{Context, Signing};
use super::progress::Progress;
use super::submit;
use crate::disk::folder;
use crate::disk::layouts::{self, FoundVersion, Layout, Notes, Package};
use crate::disk::project::{self, Project};
use crate::disk::trusted::Trust;
use crate::git::bundle::Bundle;
use crate::git::store::Store;
use crate::model::contents::Limits;
use crate::model::entry::Release;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{PackageName, RegistryName, Version};
use crate::replica::import::{BATCH, Import, Offer, Refused, Report, Tally, import};
use crate::replica::standing::Standing;
use crate::replica::synthetic::{Files, Shape, Synthetic};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bring in packages that exist as files, many at once
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The registry's repository
    pub path: PathBuf,
    /// The packages: NAMESPACE/NAME/VERSION/…, or NAMESPACE/NAME/VERSION.wasm
    #[arg(long, value_name = "DIR", required_unless_present = "synthetic", conflicts_with = "synthetic")]
    from: Option<PathBuf>,
    /// Instead of DIR, so many small packages that nobody wrote, for load tests
    #[arg(long, value_name = "N", hide_short_help = true)]
    synthetic: Option<u64>,
    /// Of those: how they are spread over namespaces: one, many (a thousand), skewed (a thousand of falling sizes)
    #[arg(long, value_name = "SHAPE", default_value = "many", hide_short_help = true)]
    shape: Shape,
    /// Of those: what each release holds: own (a file of its own), shared (one file, the same in all), none (logs alone)
    #[arg(long, value_name = "FILES", default_value = "own", hide_short_help = true)]
    files: Files,
    /// Of those: another number gives other numbers of releases
    #[arg(long, value_name = "SEED", default_value_t = 1, hide_short_help = true)]
    seed: u64,
    /// So many packages at least are published by one checkpoint, where there are so many
    #[arg(long, value_name = "N", default_value_t = BATCH, hide_short_help = true)]
    batch: u64,
}

/// How long another acceptor on this machine is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// From this time on it is said how long it took.
const SHOWN_FROM: Duration = Duration::from_secs(1);
/// So many lines of one kind are shown to people.
const SHOWN_MAX: usize = 20;

/// Runs the command.
///
/// # Errors
/// `not-found` where there is nothing to import, `unauthorized`, `no-key`, `io`; `refused` where something was not let in, as the answer.
pub fn run(context: &Context, store: &Store, args: &Args) -> Result<Answer> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let operator = operator(context, &standing)?;
    let author = operator.author(None)?;
    let mut notes = Notes::default();
    let layout = args.from.as_ref().map(|from| Layout::open(&context.path(from), &mut notes)).transpose()?;
    let lock = match context.flags.dry_run {
        true => None,
        false => Some(store.lock(LOCK_WAIT, "quipu: importing packages")?),
    };
    let began = Instant::now();
    let progress = Progress::new(context, "packages");
    let all = layout.as_ref().map_or(args.synthetic.unwrap_or_default(), Layout::at_most);
    let told = |tally: &Tally| progress.at(tally.offered, all.max(tally.offered));
    let job =
        Import { store, lock: lock.as_ref(), author: &author, clock: &super::context::now, batch: args.batch, progress: &told };
    let (report, notes) = match &layout {
        None => {
            let synthetic = Synthetic { packages: all, seed: args.seed, shape: args.shape, files: args.files };
            (import(&job, synthetic.offers())?, Notes::default())
        }
        Some(layout) => {
            let source = Source {
                registry: standing.operators.log.registry(),
                trust: Trust::load(&context.home)?,
                notes: Mutex::default(),
            };
            let offers = layout
                .clone()
                .packages(&mut notes)
                .map(|package| Ok(Folder { package, source: &source, found: OnceLock::new() }));
            let report = import(&job, offers)?;
            notes.extend(source.notes.into_inner().unwrap_or_else(PoisonError::into_inner));
            notes.sort();
            (report, notes)
        }
    };
    progress.end();
    if let (Some(from), 0) = (&args.from, report.tally.offered + notes.left_out.len() as u64) {
        return Err(fault!(NotFound, "{}: there are no packages", from.display())
            .hint("they are looked for at NAMESPACE/NAME/VERSION, a folder, and NAMESPACE/NAME/VERSION.wasm"));
    }
    let mut answer = Answer::new();
    answer.field("registry", standing.operators.log.registry().as_str());
    tell(&mut answer, context, &report, &notes, began.elapsed());
    Ok(answer)
}

/// What all packages of a layout are read with.
struct Source<'a> {
    registry: &'a RegistryName,
    trust: Trust,
    notes: Mutex<Notes>,
}

/// A package of a layout.
struct Folder<'a> {
    package: Package,
    source: &'a Source<'a>,
    found: OnceLock<(Vec<FoundVersion>, Vec<Version>)>,
}

impl Folder<'_> {
    fn found(&self) -> &(Vec<FoundVersion>, Vec<Version>) {
        self.found.get_or_init(|| {
            let (found, notes) = self.package.versions();
            self.source.notes.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
            let versions = found.iter().map(|found| found.version.clone()).collect();
            (found, versions)
        })
    }

    /// Reads the manifest of a version, where it has one, and checks that it says what its place says.
    fn manifest(&self, found: &FoundVersion) -> Result<Option<Project>> {
        if found.is_file || std::fs::symlink_metadata(found.place.join(project::FILE)).is_err() {
            return Ok(None);
        }
        let read = Project::load(&found.place)?;
        let (package, version) = (self.package.package(), &found.version);
        // One that only says what else is needed contradicts nothing.
        let Some(said) = &read.package else { return Ok(Some(read)) };
        if said.name != *package || said.version != *version {
            return Err(fault!(
                BadManifest,
                "{} says {}@{}, its place says {package}@{version}",
                project::FILE,
                said.name,
                said.version
            ));
        }
        match &said.registry {
            Some(other) if other != self.source.registry => {
                Err(fault!(BadManifest, "{} says the registry {other}, expected {}", project::FILE, self.source.registry))
            }
            _ => Ok(Some(read)),
        }
    }
}

impl Offer for Folder<'_> {
    fn package(&self) -> &PackageName {
        self.package.package()
    }

    fn versions(&self) -> &[Version] {
        &self.found().1
    }

    fn release(&self, version: &Version, limits: &Limits, objects: &mut Bundle<'_>) -> Result<Release> {
        let found = self.found().0.iter().find(|found| found.version == *version);
        let found = found.ok_or_else(|| fault!(Bug, "{version} is asked for and was never offered"))?;
        let manifest = self.manifest(found)?;
        let collected = if found.is_file {
            let path = format!("{}{}", self.package.package().name(), layouts::SINGLE).parse()?;
            folder::collect_file(&found.place, path, limits, objects)?
        } else {
            let patterns = manifest.as_ref().map(Project::patterns).unwrap_or_default();
            folder::collect(&found.place, &patterns, limits, objects)?
        };
        let trust = &self.source.trust;
        let dependencies = match &manifest {
            Some(project) => project.dependencies(self.source.registry, |name| trust.get(name).map(|trusted| trusted.id))?,
            None => Vec::new(),
        };
        let said = manifest.and_then(|project| project.package);
        Ok(Release {
            version: version.clone(),
            content: collected.contents.digest(),
            tree: collected.tree,
            size: collected.contents.size(),
            files: collected.contents.len() as u64,
            description: said.as_ref().and_then(|said| said.description.clone()),
            license: said.as_ref().and_then(|said| said.license.clone()),
            links: said.as_ref().map(|said| said.links.clone()).unwrap_or_default(),
            build: said.and_then(|said| said.build).or_else(|| found.build.clone()),
            dependencies,
        })
    }
}

/// Finds a key of the user's that may make checkpoints of a registry.
fn operator(context: &Context, standing: &Standing) -> Result<Signing> {
    let signing = context.signing(&context.key()?)?;
    if context.flags.key.is_some() {
        return Ok(signing);
    }
    Ok(submit::operator(context, &standing.operators.log, &signing)?.unwrap_or(signing))
}

fn tell(answer: &mut Answer, context: &Context, report: &Report, notes: &Notes, took: Duration) {
    let tally = &report.tally;
    let done = if context.flags.dry_run { "would import" } else { "imported" };
    answer.line(format!(
        "{done} {} of {}, {} of them new",
        count(tally.released, "version"),
        count(tally.begun + tally.grown, "package"),
        tally.begun
    ));
    if tally.already_in > 0 {
        answer.line(format!("  in already  {}, with the same files", count(tally.already_in, "version")));
    }
    if took >= SHOWN_FROM && tally.records > 0 {
        let (seconds, rate) = (took.as_secs_f64(), tally.records as f64 / took.as_secs_f64());
        answer.line(format!("  records     {} in {seconds:.1} s, {rate:.0} a second", tally.records));
    }
    let mapped = notes.mapped.iter().map(|mapped| format!("{} as {}", mapped.place, mapped.to));
    list(answer, "mapped", &mapped.collect::<Vec<_>>());
    let left_out = notes.left_out.iter().map(|left| format!("{}: {}", left.place, left.why));
    list(answer, "left out", &left_out.collect::<Vec<_>>());
    let of = |refused: &Refused| match &refused.version {
        Some(version) => format!("{}@{version}", refused.package),
        None => refused.package.to_string(),
    };
    let is_conflict = |refused: &Refused| refused.why.code() == ErrorCode::Conflict;
    for (word, conflicts) in [("refused", false), ("conflict", true)] {
        let lines = report.refused.iter().filter(|refused| is_conflict(refused) == conflicts);
        list(answer, word, &lines.map(|refused| format!("{}: {}", of(refused), refused.why)).collect::<Vec<_>>());
    }
    if let Some(checkpoint) = &report.checkpoint {
        answer.line(format!("checkpoint {} {}", checkpoint.seq(), checkpoint.digest()));
    }
    answer.field("packages", tally.begun + tally.grown);
    answer.field("new", tally.begun);
    answer.field("released", tally.released);
    answer.field("already-in", tally.already_in);
    answer.field("records", tally.records);
    answer.field("checkpoints", tally.checkpoints);
    let mapped = notes.mapped.iter().map(|mapped| json!({ "place": mapped.place, "to": mapped.to }));
    answer.field("mapped", mapped.collect::<Vec<Value>>());
    let left_out = notes.left_out.iter().map(|left| json!({ "place": left.place, "error": error_object(&left.why) }));
    answer.field("left-out", left_out.collect::<Vec<Value>>());
    let refused = report.refused.iter().map(|refused| {
        json!({
            "package": refused.package.to_string(),
            "version": refused.version.as_ref().map(ToString::to_string),
            "state": if is_conflict(refused) { "conflict" } else { "refused" },
            "error": error_object(&refused.why),
        })
    });
    answer.field("refused", refused.collect::<Vec<Value>>());
    if let Some(checkpoint) = &report.checkpoint {
        answer.checkpoint(checkpoint.seq(), checkpoint.digest());
    }
    let (left_out, conflicts) = (notes.left_out.len(), report.refused.iter().filter(|refused| is_conflict(refused)).count());
    let words: Vec<String> =
        [(left_out, "left out"), (report.refused.len() - conflicts, "refused"), (conflicts, "in already with other files")]
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
    if !words.is_empty() {
        answer.fault = Some(fault!(Refused, "not everything was let in: {}", words.join(", ")).asked());
    }
}

/// Adds lines of one kind, as many as people read.
fn list(answer: &mut Answer, what: &str, lines: &[String]) {
    for line in lines.iter().take(SHOWN_MAX) {
        answer.line(format!("{what} {line}"));
    }
    if lines.len() > SHOWN_MAX {
        answer.line(format!("{what} {} more; --json names all", lines.len() - SHOWN_MAX));
    }
}
