//! What was measured, as tables to read and as raw figures.

use crate::pairs::Pairs;
use serde_json::{Value, json};
use std::time::Duration;

/// Something that was measured beside its floor, in a registry of one shape and size.
pub(crate) struct Row {
    pub(crate) shape: String,
    pub(crate) packages: u64,
    pub(crate) what: &'static str,
    pub(crate) pairs: Pairs,
    /// How many records were worked on, where that is what counts.
    pub(crate) records: Option<u64>,
}

/// A figure that has no floor, or stands beside its floor in words.
pub(crate) struct Fact {
    pub(crate) shape: String,
    pub(crate) packages: u64,
    pub(crate) what: String,
    pub(crate) value: Value,
    pub(crate) words: String,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Vec<Fact>,
}

/// What grows with the registry is told from what does not by these.
pub(crate) const COMPARED: [&str; 8] = [PUBLISH, PUBLISH_BY_SERVER, ACCEPT, GET_COLD, GET_NEW, GET_WARM, UPDATE, SINCE];
pub(crate) const IMPORT: &str = "import";
pub(crate) const VERIFY: &str = "verify, logs only";
pub(crate) const PUBLISH: &str = "publish, by path";
pub(crate) const PUBLISH_BY_SERVER: &str = "publish, git://, and accept";
pub(crate) const ACCEPT: &str = "accept a batch";
pub(crate) const GET_COLD: &str = "get, cold";
pub(crate) const GET_NEW: &str = "get, a new version";
pub(crate) const GET_WARM: &str = "get, nothing new";
pub(crate) const UPDATE: &str = "verify a package, nothing new";
pub(crate) const SINCE: &str = "verify what a batch changed";

impl Table {
    /// Keeps a row, and prints it.
    pub(crate) fn row(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    pub(crate) fn fact(
        &mut self,
        (shape, packages): (&str, u64),
        what: impl Into<String>,
        value: impl Into<Value>,
        words: String,
    ) {
        self.facts.push(Fact { shape: shape.to_owned(), packages, what: what.into(), value: value.into(), words });
    }

    /// Returns a measurement.
    pub(crate) fn find(&self, shape: &str, packages: u64, what: &str) -> Option<&Pairs> {
        self.rows.iter().find(|row| row.is(shape, packages, what)).map(|row| &row.pairs)
    }

    /// Prints all of one shape, a column for each size: what was measured beside its floor with that ratio, then what has none.
    pub(crate) fn print_shape(&self, shape: &str, sizes: &[u64]) {
        let line = |what: &str, cells: &mut dyn Iterator<Item = String>| {
            println!("| {what} |{}", cells.map(|cell| format!(" {cell} |")).collect::<String>());
        };
        println!();
        line(shape, &mut sizes.iter().map(|size| format!("{} packages", grouped(*size))));
        println!("|---|{}", "---:|".repeat(sizes.len()));
        let of = |size: &u64, what: &str| self.rows.iter().find(|row| row.is(shape, *size, what));
        for row in self.rows.iter().filter(|row| row.is(shape, sizes[0], row.what)) {
            let cell = |row: Option<&Row>| {
                row.map_or(String::new(), |row| format!("{}, **{:.2}**", row.show(row.pairs.subject()), row.pairs.ratio()))
            };
            line(row.what, &mut sizes.iter().map(|size| cell(of(size, row.what))));
        }
        let of = |size: &u64, what: &str| self.facts.iter().find(|fact| fact.is(shape, *size, what));
        for fact in self.facts.iter().filter(|fact| fact.is(shape, sizes[0], &fact.what)) {
            let cell = |fact: Option<&Fact>| fact.map_or(String::new(), |fact| fact.words.clone());
            line(&fact.what, &mut sizes.iter().map(|size| cell(of(size, &fact.what))));
        }
    }

    /// Prints how much longer each takes in the largest registry than in the smallest, round by round.
    pub(crate) fn print_growth(&self, shapes: &[String], sizes: &[u64]) {
        let (Some(small), Some(large)) = (sizes.first(), sizes.last()) else { return };
        println!(
            "\n| {} packages / {} packages |{}",
            grouped(*large),
            grouped(*small),
            shapes.iter().map(|shape| format!(" quipu, {shape} | floor |")).collect::<String>()
        );
        println!("|---|{}", "---:|---:|".repeat(shapes.len()));
        for what in COMPARED {
            let cells = shapes.iter().map(|shape| match (self.find(shape, *small, what), self.find(shape, *large, what)) {
                (Some(small), Some(large)) => {
                    let (floor, subject) = large.growth_over(small);
                    format!(" **{subject:.2}** | {floor:.2} |")
                }
                _ => " | |".to_owned(),
            });
            println!("| {what} |{}", cells.collect::<String>());
        }
    }

    /// Returns the raw figures.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let (floor, subject) = row.pairs.seconds();
            json!({ "shape": row.shape, "packages": row.packages, "what": row.what, "records": row.records,
                "floor-seconds": floor, "quipu-seconds": subject, "ratio": row.pairs.ratio() })
        });
        let facts = self
            .facts
            .iter()
            .map(|fact| json!({ "shape": fact.shape, "packages": fact.packages, "what": fact.what, "value": fact.value }));
        json!({ "machine": machine(), "rows": rows.collect::<Vec<_>>(), "facts": facts.collect::<Vec<_>>() })
    }
}

impl Fact {
    fn is(&self, shape: &str, packages: u64, what: &str) -> bool {
        self.shape == shape && self.packages == packages && self.what == what
    }
}

impl Row {
    fn is(&self, shape: &str, packages: u64, what: &str) -> bool {
        self.shape == shape && self.packages == packages && self.what == what
    }

    fn show(&self, time: Duration) -> String {
        match self.records {
            Some(records) => format!("{} records/s", grouped((records as f64 / time.as_secs_f64()) as u64)),
            None => milliseconds(time),
        }
    }

    fn line(&self) -> String {
        let (low, high) = self.pairs.spread();
        format!(
            "| {}, {} packages | {} | {} | {} | **{:.2}** | {low:.2} to {high:.2} |",
            self.shape,
            grouped(self.packages),
            self.what,
            self.show(self.pairs.floor()),
            self.show(self.pairs.subject()),
            self.pairs.ratio()
        )
    }
}

/// Prints the head of the table of rows.
pub(crate) fn print_head() {
    println!("| registry | what | floor | quipu | time, quipu / floor | middle half |");
    println!("|---|---|---:|---:|---:|---:|");
}

pub(crate) fn milliseconds(time: Duration) -> String {
    let time = time.as_secs_f64();
    if time < 10.0 { format!("{:.1} ms", time * 1e3) } else { format!("{time:.1} s") }
}

/// Writes a number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8_lossy(&groups.join(&b","[..])).into_owned()
}

/// Says what this is measured on.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let git = std::process::Command::new("git").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    format!(
        "{}, {} threads, Linux {}, {}, quipu {}, load before {}",
        cpu.trim_start_matches([' ', '\t', ':']),
        rayon::current_num_threads(),
        read("/proc/sys/kernel/osrelease").trim(),
        String::from_utf8_lossy(&git).trim(),
        env!("CARGO_PKG_VERSION"),
        read("/proc/loadavg").split(' ').next().unwrap_or_default()
    )
}
