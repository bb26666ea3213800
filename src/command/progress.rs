//! A progress bar, on a terminal and for what takes longer than a second.

use super::context::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long nothing is shown.
const QUIET: Duration = Duration::from_secs(1);

/// Shows how far something is.
pub struct Progress {
    wanted: bool,
    what: &'static str,
    since: Instant,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Begins, and shows nothing yet.
    pub fn new(context: &Context, what: &'static str) -> Self {
        let wanted = !context.flags.quiet && !context.flags.json && std::io::stderr().is_terminal();
        Progress { wanted, what, since: Instant::now(), bar: OnceLock::new() }
    }

    /// Says that so many are done, of so many.
    pub fn at(&self, done: u64, all: u64) {
        // A look at the clock for each of two million would be felt.
        if !self.wanted || (!done.is_multiple_of(64) && done != all) || self.since.elapsed() < QUIET {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
            let template = format!("{{bar:30}} {{pos}}/{{len}} {} {{per_sec}} {{eta}}", self.what);
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(done);
    }

    /// Clears what was shown.
    pub fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
