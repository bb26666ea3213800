//! `quipu registry import`: packages that exist elsewhere, brought in at once.

use super::answer::{Answer, count, error_object};
use super::context::{Context, Signing};
use super::progress::Progress;
use super::submit;
use crate::git::store::Store;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::replica::import::{Import, Report, Tally, import};
use crate::replica::standing::Standing;
use crate::replica::synthetic::{Files, Shape, Synthetic};
use serde_json::{Value, json};
use std::path::PathBuf;
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
}

/// How long another acceptor on this machine is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
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
    let lock = match context.flags.dry_run {
        true => None,
        false => Some(store.lock(LOCK_WAIT, "quipu: importing packages")?),
    };
    let began = Instant::now();
    let progress = Progress::new(context, "packages");
    let all = args.synthetic.unwrap_or_default();
    let told = |tally: &Tally| progress.at(tally.offered, all.max(tally.offered));
    let import_from = Import { store, lock: lock.as_ref(), author: &author, progress: &told };
    let mut answer = Answer::new();
    let report = match (args.synthetic, &args.from) {
        (Some(packages), _) => {
            import(&import_from, Synthetic { packages, seed: args.seed, shape: args.shape, files: args.files }.offers())?
        }
        _ => return Err(fault!(Usage, "not yet")),
    };
    progress.end();
    answer.field("registry", standing.operators.log.registry().as_str());
    tell(&mut answer, context, &report, began.elapsed());
    Ok(answer)
}

/// Finds a key of the user's that may make checkpoints of a registry.
fn operator(context: &Context, standing: &Standing) -> Result<Signing> {
    let signing = context.signing(&context.key()?)?;
    if context.flags.key.is_some() {
        return Ok(signing);
    }
    Ok(submit::operator(context, &standing.operators.log, &signing)?.unwrap_or(signing))
}

fn tell(answer: &mut Answer, context: &Context, report: &Report, took: Duration) {
    let tally = &report.tally;
    let (done, made) = if context.flags.dry_run { ("would import", "would be signed") } else { ("imported", "signed") };
    answer.line(format!(
        "{done} {}: {} in {}",
        count(tally.begun + tally.grown, "package"),
        count(tally.released, "version"),
        count(tally.records, "record")
    ));
    answer.line(format!("  new       {}", count(tally.begun, "package")));
    answer.line(format!("  longer    {}", count(tally.grown, "package")));
    answer.line(format!("  in before {}, with the same files", count(tally.already_in, "version")));
    let rate = tally.records as f64 / took.as_secs_f64().max(0.001);
    answer.line(format!("  {made} {rate:.0} records a second in {:.1} s", took.as_secs_f64()));
    let shown: Vec<String> = report
        .refused
        .iter()
        .map(|refused| match &refused.version {
            Some(version) => format!("{}@{version}: {}", refused.package, refused.why),
            None => format!("{}: {}", refused.package, refused.why),
        })
        .collect();
    list(answer, "refused", &shown);
    let objects: Vec<Value> = report
        .refused
        .iter()
        .map(|refused| {
            json!({
                "package": refused.package.to_string(),
                "version": refused.version.as_ref().map(ToString::to_string),
                "state": if refused.why.code() == ErrorCode::Conflict { "conflict" } else { "refused" },
                "error": error_object(&refused.why),
            })
        })
        .collect();
    answer.field("offered", tally.offered);
    answer.field("new", tally.begun);
    answer.field("longer", tally.grown);
    answer.field("released", tally.released);
    answer.field("already-in", tally.already_in);
    answer.field("records", tally.records);
    answer.field("checkpoints", tally.checkpoints);
    answer.field("refused", objects);
    if let Some(checkpoint) = &report.checkpoint {
        answer.line(format!("checkpoint {} {}", checkpoint.seq(), checkpoint.digest()));
        answer.checkpoint(checkpoint.seq(), checkpoint.digest());
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
