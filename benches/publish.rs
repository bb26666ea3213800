//! Measures publishing against git: `cargo bench --bench publish [-- --rounds N]`.
//!
//! The floor is `git add -A`, `git commit -S` with the same key, and `git push` of the same files into a bare repository on the same disk, or over
//! the same server. Whole processes on both sides. Each round changes every file.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::bed::{Bed, write_files};
use pairs::daemon::Daemon;
use pairs::{Pairs, flag, is_whole, print_head, time};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn main() {
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 21 } else { 1 });
    print_head("publish");
    for (what, files, bytes) in [("10 files, 20 KB", 10, 2_048), ("100 files, 1 MB", 100, 10_240)] {
        by_path(what, files, bytes, rounds);
        by_server(what, files, bytes, rounds);
    }
}

fn by_path(what: &str, files: usize, bytes: usize, rounds: usize) {
    let bed = Bed::new();
    let bare = bed.bare("bare.git");
    let (mut floor, mut subject) =
        (Side::git(&bed, "work", files, bytes, bare.to_str().unwrap()), Side::quipu(&bed, files, bytes));
    let home = bed.home();
    Pairs::run(
        rounds,
        || floor.round(|folder| commit_and_push(&bed, folder)),
        || {
            subject.round(|folder| {
                bed.quipu(&home, &["publish", folder.to_str().unwrap(), "--quiet"]);
            })
        },
    )
    .print_row(&format!("{what}, into a registry by path"));
}

fn by_server(what: &str, files: usize, bytes: usize, rounds: usize) {
    let bed = Bed::new();
    let daemon = Daemon::serve(&bed.path(""));
    bed.bare("bare.git");
    let home = bed.another_home("far", &daemon.url("registry.git"), true);
    let registry = bed.path("registry.git");
    let (mut floor, mut subject) =
        (Side::git(&bed, "work", files, bytes, &daemon.url("bare.git")), Side::quipu(&bed, files, bytes));
    Pairs::run(
        rounds,
        || floor.round(|folder| commit_and_push(&bed, folder)),
        || {
            subject.round(|folder| {
                bed.quipu(&home, &["publish", folder.to_str().unwrap(), "--quiet"]);
                bed.quipu(&bed.home(), &["registry", "accept", registry.to_str().unwrap(), "--quiet"]);
            })
        },
    )
    .print_row(&format!("{what}, over git:// and accepted"));
}

fn commit_and_push(bed: &Bed, folder: &Path) {
    bed.git(folder, &["add", "-A"]);
    bed.git(folder, &["commit", "-q", "-S", "-m", "release"]);
    bed.git(folder, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
}

/// A folder that gets new files in each round, before the clock runs.
struct Side {
    folder: std::path::PathBuf,
    files: usize,
    bytes: usize,
    round: usize,
}

impl Side {
    fn git(bed: &Bed, name: &str, files: usize, bytes: usize, url: &str) -> Self {
        let folder = bed.path(name);
        fs::create_dir(&folder).unwrap();
        bed.git(&folder, &["init", "-q"]);
        bed.git(&folder, &["remote", "add", "origin", url]);
        Side { folder, files, bytes, round: 0 }
    }

    fn quipu(bed: &Bed, files: usize, bytes: usize) -> Self {
        Side { folder: bed.path("demo"), files, bytes, round: 0 }
    }

    fn round(&mut self, run: impl FnOnce(&Path)) -> Duration {
        self.round += 1;
        // One of the files is the manifest.
        write_files(&self.folder, self.files - 1, self.bytes, self.round);
        let manifest = format!(
            "[package]\nname = \"demo:hello\"\nversion = \"1.{}.0\"\ndescription = \"A package to measure with\"\nlicense = \"MIT\"\n",
            self.round
        );
        fs::write(self.folder.join("quipu.toml"), manifest).unwrap();
        time(|| run(&self.folder))
    }
}
