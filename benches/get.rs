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
use std::path::Path;

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

fn cold(bed: &Bed, rounds: usize, what: &str, name: &str, url: &str) {
    let template = bed.path("template");
    if template.exists() {
        fs::remove_dir_all(&template).unwrap();
    }
    bed.another_home("template", url, false);
    let _ = fs::remove_dir_all(template.join("cache"));
    let round = Cell::new(0);
    let fresh = |kind: &str| {
        round.set(round.get() + 1);
        bed.path(&format!("{kind}{}", round.get()))
    };
    Pairs::run(
        rounds,
        || {
            let into = fresh("empty");
            bed.git(&bed.path(""), &["init", "-q", "--bare", into.to_str().unwrap()]);
            let took = time(|| fetch(bed, &into, name, url));
            fs::remove_dir_all(into).unwrap();
            took
        },
        || {
            let home = fresh("home");
            copy(&template, &home);
            let to = bed.path("got");
            let took =
                time(|| drop(bed.quipu(&home, &["get", &format!("acme.example/demo:{name}"), "--to", to.to_str().unwrap()])));
            fs::remove_dir_all(to).unwrap();
            fs::remove_dir_all(home).unwrap();
            took
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
    let to = bed.path("got");
    Pairs::run(
        rounds,
        || time(|| fetch(bed, &into, name, url)),
        || {
            let took =
                time(|| drop(bed.quipu(&home, &["get", &format!("acme.example/demo:{name}"), "--to", to.to_str().unwrap()])));
            fs::remove_dir_all(&to).unwrap();
            took
        },
    )
    .print_row(what);
}
