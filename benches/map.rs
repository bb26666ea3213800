//! Measures the map of a registry: `cargo bench --bench map [-- sha256]`.
//!
//! Objects are in memory, so that times are the map's own. A proof is the bytes of all trees on one path, and so is
//! what an update writes.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use quipu::model::digest::{GitId, ObjectFormat, ObjectKind};
use quipu::model::error::Result;
use quipu::model::map::Map;
use quipu::model::object::{MemoryObjects, ReadObjects};
use quipu::model::slot::Slot;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Objects that count what is read of them.
struct Counted<'a> {
    objects: &'a MemoryObjects,
    trees: Cell<usize>,
    bytes: Cell<usize>,
    time: Cell<Duration>,
}

impl ReadObjects for Counted<'_> {
    fn format(&self) -> ObjectFormat {
        self.objects.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        let start = Instant::now();
        let bytes = self.objects.read(kind, id, limit)?;
        self.time.set(self.time.get() + start.elapsed());
        self.trees.set(self.trees.get() + 1);
        self.bytes.set(self.bytes.get() + bytes.len());
        Ok(bytes)
    }
}

fn main() -> Result<()> {
    // Without this argument cargo only tests that the benchmark runs.
    let whole = std::env::args().any(|argument| argument == "--bench");
    let format = if std::env::args().any(|argument| argument == "sha256") { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
    let shapes: &[(u32, u32)] = if whole {
        &[(1, 100), (1, 128), (1, 1_000), (1, 10_000), (1, 100_000), (1, 1_000_000), (1_000, 1_000)]
    } else {
        &[(2, 300)]
    };
    println!("{format}");
    println!(
        "{:>12} {:>8} {:>9} {:>8} {:>8} {:>6} {:>8} {:>10} {:>8} {:>8}",
        "packages", "trees", "all bytes", "proof", "max", "trees", "get µs", "update µs", "diff10 µs", "walk µs"
    );
    for (namespaces, names) in shapes {
        measure(format, *namespaces, *names)?;
    }
    Ok(())
}

fn measure(format: ObjectFormat, namespaces: u32, names: u32) -> Result<()> {
    let id = |number: u32| GitId::of(format, ObjectKind::Blob, &number.to_le_bytes());
    // Names of 8 to 15 bytes.
    let slot = |number: u32| -> Slot {
        let (namespace, name) = (number / names, number % names);
        Slot::Package(format!("space{namespace}:package-{name}").parse().unwrap())
    };
    let count = namespaces * names;
    let all: BTreeMap<Slot, GitId> = (0..count).map(|n| (slot(n), id(n))).collect();
    let mut objects = MemoryObjects::new(format);
    let map = Map::build(&mut objects, &all)?;
    let (trees, bytes) = objects.iter().fold((0, 0), |(trees, sum), (_, _, bytes)| (trees + 1, sum + bytes.len()));

    let rounds = 1_000;
    let some = |round: u32| slot((round.wrapping_mul(2_654_435_761)) % count);
    let counted = Counted { objects: &objects, trees: Cell::new(0), bytes: Cell::new(0), time: Cell::new(Duration::ZERO) };
    let (mut longest, mut before) = (0, 0);
    let start = Instant::now();
    for round in 0..rounds {
        map.get(&counted, &some(round))?;
        longest = longest.max(counted.bytes.get() - before);
        before = counted.bytes.get();
    }
    let get = (start.elapsed() - counted.time.get()).as_secs_f64() * 1e6 / f64::from(rounds);
    let (proof, path) = (counted.bytes.get() as f64 / f64::from(rounds), counted.trees.get() as f64 / f64::from(rounds));

    let start = Instant::now();
    for round in 0..rounds {
        map.update(&mut objects, &BTreeMap::from([(some(round), Some(id(count + round)))]))?;
    }
    let update = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);

    let ten = (0..10).map(|round| (some(round * 77), Some(id(count)))).collect();
    let next = map.update(&mut objects, &ten)?;
    let start = Instant::now();
    for _ in 0..100 {
        let mut changes = 0;
        Map::diff(&objects, map, next, &mut |_| {
            changes += 1;
            Ok(())
        })?;
        assert_eq!(changes, ten.len());
    }
    let diff = start.elapsed().as_secs_f64() * 1e6 / 100.0;

    let start = Instant::now();
    assert_eq!(map.check(&objects, u64::MAX)?, u64::from(count));
    let walk = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    println!(
        "{:>12} {trees:>8} {bytes:>9} {proof:>8.0} {longest:>8} {path:>6.1} {get:>8.1} {update:>10.1} {diff:>8.0} {walk:>8.2}",
        format!("{namespaces}x{names}")
    );
    Ok(())
}
