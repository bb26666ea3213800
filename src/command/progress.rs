//! What is going on, on a terminal and for what takes longer than a second: a bar where it is known how much there is to do, else a line that
//! moves.

use super::context::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long nothing is shown.
const QUIET: Duration = Duration::from_secs(1);
/// How often a line moves.
const TICK: Duration = Duration::from_millis(120);

fn is_wanted(context: &Context) -> bool {
    !context.flags.quiet && !context.flags.json && std::io::stderr().is_terminal()
}

/// The line that moves at the moment.
static MOVING: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints something to stderr, with the line that moves out of its way.
pub fn aside(print: impl FnOnce()) {
    let moving = MOVING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match moving {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

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
        Progress { wanted: is_wanted(context), what, since: Instant::now(), bar: OnceLock::new() }
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

/// Shows which step of a command is being done. The second in which nothing is shown is the first of the whole command.
pub struct Steps {
    wanted: bool,
    since: Instant,
}

impl Steps {
    /// Begins, and shows nothing yet.
    pub fn new(context: &Context) -> Self {
        Steps { wanted: is_wanted(context), since: Instant::now() }
    }

    /// Begins a step, which lasts until what is returned is dropped. Where git or ssh may ask a person for something meanwhile, nothing is shown:
    /// a line that moves would go over the question.
    #[must_use]
    pub fn step(&self, what: impl Into<String>, may_ask: bool) -> Step {
        if !self.wanted || may_ask {
            return Step { shown: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.into());
        *MOVING.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        let left = QUIET.saturating_sub(self.since.elapsed());
        let (end, ended) = channel::<()>();
        let late = bar.clone();
        let waiting = std::thread::spawn(move || {
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                late.set_draw_target(ProgressDrawTarget::stderr());
                late.enable_steady_tick(TICK);
            }
        });
        Step { shown: Some((bar, end, waiting)) }
    }
}

/// A step that is being done.
pub struct Step {
    shown: Option<(ProgressBar, Sender<()>, JoinHandle<()>)>,
}

impl Step {
    /// Says what is being done now.
    pub fn say(&self, what: impl Into<String>) {
        if let Some((bar, ..)) = &self.shown {
            bar.set_message(what.into());
        }
    }
}

impl Drop for Step {
    /// Clears what was shown.
    fn drop(&mut self) {
        if let Some((bar, end, waiting)) = self.shown.take() {
            *MOVING.lock().unwrap_or_else(PoisonError::into_inner) = None;
            drop(end);
            // It ends at once, and a panic in it harms nobody.
            let _ = waiting.join();
            bar.finish_and_clear();
        }
    }
}
