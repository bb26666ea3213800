//! A subject beside its floor: both run in turn, so that what disturbs the machine disturbs both, and what is reported is the median of
//! the ratios of neighbours.

#![allow(dead_code)]

use std::time::{Duration, Instant};

pub(crate) mod bed;
#[path = "../../tests/support/daemon.rs"]
pub(crate) mod daemon;

/// What came of running two things in turn.
pub(crate) struct Pairs {
    floor: Vec<Duration>,
    subject: Vec<Duration>,
}

impl Pairs {
    /// Runs both so many times, after one run of each that does not count. Each returns how long it took.
    pub(crate) fn run(rounds: usize, mut floor: impl FnMut() -> Duration, mut subject: impl FnMut() -> Duration) -> Self {
        floor();
        subject();
        let mut pairs = Pairs { floor: Vec::new(), subject: Vec::new() };
        for round in 0..rounds {
            // Whoever is second finds other caches than whoever is first.
            if round % 2 == 0 {
                pairs.floor.push(floor());
                pairs.subject.push(subject());
            } else {
                pairs.subject.push(subject());
                pairs.floor.push(floor());
            }
        }
        pairs
    }

    /// Returns the floor's median.
    pub(crate) fn floor(&self) -> Duration {
        Duration::from_secs_f64(median(self.floor.iter().map(Duration::as_secs_f64)))
    }

    /// Returns the subject's median.
    pub(crate) fn subject(&self) -> Duration {
        Duration::from_secs_f64(median(self.subject.iter().map(Duration::as_secs_f64)))
    }

    /// Returns the median of the subject's times, each divided by that of the floor beside it.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.floor.iter().zip(&self.subject).map(|(floor, subject)| subject.as_secs_f64() / floor.as_secs_f64()))
    }

    /// Returns how far the ratios lie apart: the first and the last quarter's end.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let mut ratios: Vec<f64> =
            self.floor.iter().zip(&self.subject).map(|(floor, subject)| subject.as_secs_f64() / floor.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        (ratios[ratios.len() / 4], ratios[ratios.len() - 1 - ratios.len() / 4])
    }

    /// Prints a row: what, floor and subject in milliseconds, their ratio and its quartiles.
    pub(crate) fn print_row(&self, what: &str) {
        let (low, high) = self.spread();
        println!(
            "| {what} | {:.1} ms | {:.1} ms | **{:.2}** | {low:.2} to {high:.2} |",
            self.floor().as_secs_f64() * 1e3,
            self.subject().as_secs_f64() * 1e3,
            self.ratio()
        );
    }
}

/// Prints the head of a table of such rows.
pub(crate) fn print_head(what: &str) {
    println!("| {what} | floor | quipu | quipu / floor | middle half |");
    println!("|---|---:|---:|---:|---:|");
}

/// Times one run.
pub(crate) fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

/// Reads `--name N` from the command line.
pub(crate) fn flag(name: &str) -> Option<usize> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.next()?;
    args.next()?.parse().ok()
}

/// Says whether this is a measurement: without that argument cargo only tests that a benchmark runs.
pub(crate) fn is_whole() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}
