//! Measures getting one package out of a registry of many, against git: `cargo bench --bench get [-- --packages N --rounds N]`.
//!
//! The floor is one `git fetch` of the package's log and contents into an empty repository or, where the client was there before, into one that has
//! them; it verifies nothing and writes no files. Whole processes on both sides.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::bed::{Bed, copy, write_files};
use pairs::daemon::Daemon;
use pairs::{Pairs, flag, is_whole, print_head, time};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 21 } else { 1 });
    let packages = flag("--packages").unwrap_or(if is_whole() { 200 } else { 2 });
    let bed = Bed::new();
    publish(&bed, "small", 10, 2_048);
    publish(&bed, "large", 300, 17_000);
    for number in 2..packages {
        publish(&bed, &format!("other{number}"), 2, 500);
    }
    let daemon = Daemon::serve(&bed.path(""));
    print_head("get");
    for (way, url) in [("git://", daemon.url("registry.git")), ("path", bed.path("registry.git").display().to_string())] {
        for (what, name) in [("10 files, 20 KB", "small"), ("300 files, 5 MB", "large")] {
            cold(&bed, rounds, &format!("{what}, {way}, cold"), name, &url);
            warm(&bed, rounds, &format!("{what}, {way}, warm"), name, &url);
        }
    }
}

fn publish(bed: &Bed, name: &str, files: usize, bytes: usize) {
    let folder = bed.path(name);
    write_files(&folder, files - 1, bytes, 1);
    let manifest = format!("[package]\nname = \"demo:{name}\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n");
    fs::write(folder.join("quipu.toml"), manifest).unwrap();
    bed.quipu(&bed.home(), &["publish", folder.to_str().unwrap()]);
}

fn fetch(bed: &Bed, into: &Path, name: &str, url: &str) {
    let (log, contents) = (format!("refs/packages/demo/{name}"), format!("refs/contents/demo/{name}"));
    bed.git(into, &["fetch", "-q", "--no-tags", url, &format!("{log}:{log}"), &format!("{contents}:{contents}")]);
}

fn get(bed: &Bed, home: &Path, name: &str, to: &Path) {
    bed.quipu(home, &["get", &format!("acme.example/demo:{name}"), "--to", to.to_str().unwrap(), "--quiet"]);
    fs::remove_dir_all(to).unwrap();
}

/// Names a new folder each time. None is deleted before the end: some file systems take long to make a file where others were just deleted.
fn fresh<'b>(bed: &'b Bed, what: &str) -> impl Fn(&str) -> PathBuf + use<'b> {
    let what = what.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let round = Cell::new(0);
    move |kind| {
        round.set(round.get() + 1);
        bed.path(&format!("{kind}-{what}-{}", round.get()))
    }
}

fn cold(bed: &Bed, rounds: usize, what: &str, name: &str, url: &str) {
    let template = bed.path("template");
    if template.exists() {
        fs::remove_dir_all(&template).unwrap();
    }
    bed.another_home("template", url, false);
    let _ = fs::remove_dir_all(template.join("cache"));
    let fresh = fresh(bed, what);
    Pairs::run(
        rounds,
        || {
            let into = fresh("empty");
            bed.git(&bed.path(""), &["init", "-q", "--bare", into.to_str().unwrap()]);
            time(|| fetch(bed, &into, name, url))
        },
        || {
            let home = fresh("home");
            copy(&template, &home);
            let to = fresh("got");
            time(|| drop(bed.quipu(&home, &["get", &format!("acme.example/demo:{name}"), "--to", to.to_str().unwrap()])))
        },
    )
    .print_row(what);
}

fn warm(bed: &Bed, rounds: usize, what: &str, name: &str, url: &str) {
    let (home, into) = (bed.path("warm-home"), bed.path("warm.git"));
    for folder in [&home, &into] {
        if folder.exists() {
            fs::remove_dir_all(folder).unwrap();
        }
    }
    bed.another_home("warm-home", url, false);
    get(bed, &home, name, &bed.path("got"));
    bed.git(&bed.path(""), &["init", "-q", "--bare", into.to_str().unwrap()]);
    fetch(bed, &into, name, url);
    let fresh = fresh(bed, what);
    Pairs::run(
        rounds,
        || time(|| fetch(bed, &into, name, url)),
        || {
            let to = fresh("got");
            time(|| drop(bed.quipu(&home, &["get", &format!("acme.example/demo:{name}"), "--to", to.to_str().unwrap()])))
        },
    )
    .print_row(what);
}
