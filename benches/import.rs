//! Measures a bulk import against bare signing: `cargo bench --bench import [-- --packages N --rounds N]`.
//!
//! The floor signs as many messages of 95 bytes, which is what ed25519 signs of a record, with one key on all cores, and does nothing else. Ours
//! makes the records, signs, hashes and compresses them, writes pack, index, map, references and checkpoints, and brings them to disk.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::bed::Bed;
use pairs::{Pairs, flag, is_whole, print_head, signed, time};

fn main() {
    let packages = flag("--packages").unwrap_or(if is_whole() { 100_000 } else { 100 });
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 7 } else { 1 });
    print_head("import");
    for (what, files) in [("logs alone", "none"), ("one file, the same in all", "shared"), ("a file in each release", "own")] {
        measure(what, files, packages, rounds);
    }
}

fn measure(what: &str, files: &str, packages: usize, rounds: usize) {
    let bed = Bed::new();
    let home = bed.home();
    let import = |to: &str| {
        let said =
            bed.quipu(&home, &["registry", "import", to, "--synthetic", &packages.to_string(), "--files", files, "--json"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["records"].as_u64().unwrap()
    };
    let mut round = 0;
    let mut fresh = || {
        round += 1;
        let to = bed.path(&format!("import-{round}.git"));
        let to = to.to_str().unwrap().to_owned();
        bed.quipu(&home, &["registry", "init", &to, "--name", &format!("import-{round}.example"), "--quiet"]);
        to
    };
    let to = fresh();
    let records = import(&to);
    std::fs::remove_dir_all(to).unwrap();
    Pairs::run(
        rounds,
        || signed::sign(records),
        || {
            let to = fresh();
            let took = time(|| assert_eq!(import(&to), records));
            std::fs::remove_dir_all(to).unwrap();
            took
        },
    )
    .print_row(&format!("{packages} packages, {records} records, {what}"));
}
