//! `quipu registry gc`: keeping a registry's repository quick and small.

use super::answer::{Answer, count};
use super::context::Context;
use crate::git::program::in_background;
use crate::git::store::{RepositoryLock, Store};
use crate::git::upkeep::{self, Tally, Upkeep};
use crate::model::error::{Result, fault};
use crate::replica::standing::{heads, settle_journal};
use serde_json::{Value, json};
use std::time::Instant;

/// How much is done.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct How {
    /// Pack what is new, and leave all else as it is: quick, and nobody waits for it
    #[arg(long, conflicts_with = "prune")]
    quick: bool,
    /// The same, where it is time for it: thousands of loose objects, or fifty packs. Hooks, accept and publish do this by themselves
    #[arg(long, conflicts_with_all = ["quick", "prune"])]
    auto: bool,
    /// Drop what nothing led to for so many days: refused and superseded objects. 0 drops all of it, and only while nobody pushes
    #[arg(long, value_name = "DAYS", default_value = "14")]
    prune: u32,
}

/// Runs the command.
///
/// # Errors
/// `bad-repository` where this is no registry, `conflict` where another process is at it or acceptors do not end, `git`, `io`.
pub fn run(context: &Context, store: &Store, how: How) -> Result<Answer> {
    let mut answer = Answer::new();
    // What is right for a registry may not be for any other repository.
    heads(store)?;
    let before = Tally::of(store)?;
    let done = if how.quick || how.auto { "quick" } else { "full" };
    if context.flags.dry_run {
        answer.line(format!("would do a {done} upkeep of {}", store.path().display()));
        answer.line(format!("  {}", told(&before)));
        answer.field("done", "nothing");
        fields(&mut answer, &before, &before);
        return Ok(answer);
    }
    if how.auto && !upkeep::is_due(store)? {
        answer.line("it is not time yet");
        answer.line(format!("  {}", told(&before)));
        answer.field("done", "nothing");
        fields(&mut answer, &before, &before);
        return Ok(answer);
    }
    let Some(upkeep) = Upkeep::begin(store)? else {
        if how.auto {
            answer.line("another process is at it");
            answer.field("done", "nothing");
            fields(&mut answer, &before, &before);
            return Ok(answer);
        }
        return Err(
            fault!(Conflict, "another process does the upkeep of {}", store.path().display()).hint("try again when it is done")
        );
    };
    let since = Instant::now();
    let settle = |lock: &RepositoryLock| settle_journal(lock, store);
    if done == "quick" {
        upkeep.small(settle)?
    } else {
        upkeep.large(how.prune, settle)?
    }
    drop(upkeep);
    let after = Tally::of(store)?;
    answer.line(format!("{done} upkeep of {} in {:.1} s", store.path().display(), since.elapsed().as_secs_f64()));
    answer.line(format!("  before  {}", told(&before)));
    answer.line(format!("  now     {}", told(&after)));
    answer.field("done", done);
    fields(&mut answer, &before, &after);
    Ok(answer)
}

/// Has the upkeep done by another process, where it is time for it. What fails here is tried again by the next one.
pub fn in_passing(store: &Store) {
    if upkeep::is_due(store).is_ok_and(|is_due| is_due)
        && let Ok(path) = std::path::absolute(store.path())
    {
        let _ = in_background(["registry".as_ref(), "gc".as_ref(), "--auto".as_ref(), path.as_os_str()]);
    }
}

fn told(tally: &Tally) -> String {
    let references = match tally.loose_references {
        1 => "1 loose reference".to_owned(),
        more => format!("{more} loose references"),
    };
    format!(
        "{references}, {}, {}, {:.1} MB",
        count(tally.loose_objects, "loose object"),
        count(tally.packs, "pack"),
        tally.bytes as f64 / 1e6
    )
}

fn fields(answer: &mut Answer, before: &Tally, after: &Tally) {
    let object = |tally: &Tally| -> Value {
        json!({
            "loose-references": tally.loose_references,
            "loose-objects": tally.loose_objects,
            "packs": tally.packs,
            "bytes": tally.bytes,
        })
    };
    answer.field("before", object(before));
    answer.field("after", object(after));
}
