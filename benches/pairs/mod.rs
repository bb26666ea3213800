//! A subject beside its floor: both run in turn, so that what disturbs the machine disturbs both, and what is reported is the median of
//! the ratios of neighbours.

#![allow(dead_code)]

use std::time::{Duration, Instant};

pub(crate) mod bed;
#[path = "../../tests/support/daemon.rs"]
pub(crate) mod daemon;
#[path = "../../tests/support/relay.rs"]
pub(crate) mod relay;
pub(crate) mod signed;

/// What runs in each round: something beforehand that is not timed, the floor, and the subject. The last two return how long they took.
pub(crate) struct Duel<'a> {
    before: Box<dyn FnMut() + 'a>,
    floor: Box<dyn FnMut() -> Duration + 'a>,
    subject: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Duel<'a> {
    pub(crate) fn new(floor: impl FnMut() -> Duration + 'a, subject: impl FnMut() -> Duration + 'a) -> Self {
        Duel { before: Box::new(|| {}), floor: Box::new(floor), subject: Box::new(subject) }
    }

    pub(crate) fn after(self, before: impl FnMut() + 'a) -> Self {
        Duel { before: Box::new(before), ..self }
    }

    fn round(&mut self, round: usize) -> (Duration, Duration) {
        (self.before)();
        // Whoever is second finds other caches than whoever is first.
        if round.is_multiple_of(2) {
            let floor = (self.floor)();
            (floor, (self.subject)())
        } else {
            let subject = (self.subject)();
            ((self.floor)(), subject)
        }
    }
}

/// What came of running two things in turn.
#[derive(Clone)]
pub(crate) struct Pairs {
    floor: Vec<Duration>,
    subject: Vec<Duration>,
}

impl Pairs {
    /// Runs both so many times, after one run of each that does not count. Each returns how long it took.
    pub(crate) fn run(rounds: usize, floor: impl FnMut() -> Duration, subject: impl FnMut() -> Duration) -> Self {
        Pairs::of(rounds, Duel::new(floor, subject))
    }

    /// Does the same with something that is done before each round.
    pub(crate) fn of(rounds: usize, duel: Duel<'_>) -> Self {
        Pairs::in_turn(1, rounds, vec![duel]).remove(0)
    }

    /// Runs several of them, each once in every round, so that they can be compared among themselves too; the first rounds do not count.
    pub(crate) fn in_turn(uncounted: usize, rounds: usize, mut duels: Vec<Duel<'_>>) -> Vec<Self> {
        let mut all = vec![Pairs { floor: Vec::new(), subject: Vec::new() }; duels.len()];
        for round in 0..uncounted + rounds {
            for (pairs, duel) in all.iter_mut().zip(&mut duels) {
                let (floor, subject) = duel.round(round);
                if round >= uncounted {
                    pairs.floor.push(floor);
                    pairs.subject.push(subject);
                }
            }
        }
        all
    }

    /// Takes up times that were measured before, in seconds.
    pub(crate) fn from_seconds(floor: &[f64], subject: &[f64]) -> Self {
        let durations = |seconds: &[f64]| seconds.iter().copied().map(Duration::from_secs_f64).collect();
        Pairs { floor: durations(floor), subject: durations(subject) }
    }

    /// Returns all times, in seconds: the floor's and the subject's.
    pub(crate) fn seconds(&self) -> (Vec<f64>, Vec<f64>) {
        let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect();
        (seconds(&self.floor), seconds(&self.subject))
    }

    /// Returns the medians of the times here, each divided by that of the same round there: the floor's and the subject's.
    pub(crate) fn growth_over(&self, other: &Pairs) -> (f64, f64) {
        let ratio = |here: &[Duration], there: &[Duration]| {
            median(here.iter().zip(there).map(|(here, there)| here.as_secs_f64() / there.as_secs_f64()))
        };
        (ratio(&self.floor, &other.floor), ratio(&self.subject, &other.subject))
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

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

/// Reads `--name N` from the command line.
pub(crate) fn flag(name: &str) -> Option<usize> {
    word(name)?.parse().ok()
}

/// Reads `--name WORD` from the command line.
pub(crate) fn word(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// Says whether this is a measurement: without that argument cargo only tests that a benchmark runs.
pub(crate) fn is_whole() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}
