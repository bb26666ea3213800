//! Measures bringing what a project needs, against git: `cargo bench --bench install [-- --packages N --rounds N]`.
//!
//! The floor of the first install is one `git fetch` of the logs and contents of all packages into an empty repository, and copying their files into a
//! folder, where git's own checkout would cost a process each; it verifies nothing, and syncs nothing. Where nothing is new, it is the same once more. Whole processes on both sides.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::bed::{Bed, copy, write_files};
use pairs::daemon::Daemon;
use pairs::{Pairs, flag, is_whole, print_head, time};
use std::cell::Cell;
use std::fs;
use std::path::Path;

fn main() {
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 7 } else { 1 });
    let packages: usize = flag("--packages").unwrap_or(if is_whole() { 300 } else { 3 });
    let bed = Bed::new();
    let names: Vec<String> = (0..packages).map(|number| format!("package-{number}")).collect();
    for (at, name) in names.iter().enumerate() {
        publish(&bed, name, &names[at.saturating_sub(2)..at]);
    }
    let daemon = Daemon::serve(&bed.path(""));
    let url = daemon.url("registry.git");
    bed.another_home("template", &url, false);
    let _ = fs::remove_dir_all(bed.path("template/cache"));
    let round = Cell::new(0);
    // None is deleted before the end: some file systems take long to make a file where others were just deleted.
    let fresh = |kind: &str| {
        round.set(round.get() + 1);
        bed.path(&format!("{kind}-{}", round.get()))
    };
    print_head("install");
    let floor = || {
        let into = fresh("empty");
        bed.git(&bed.path(""), &["init", "-q", "--bare", into.to_str().unwrap()]);
        let folder = fresh("files");
        time(|| {
            fetch(&bed, &into, &url);
            copy(&bed.path("sources"), &folder);
        })
    };
    let first = || {
        let (home, project) = (fresh("home"), fresh("project"));
        copy(&bed.path("template"), &home);
        write_project(&project, &names);
        time(|| install(&bed, &home, &project))
    };
    Pairs::run(rounds, floor, first).print_row(&format!("{packages} packages, git://, first"));
    let (home, project) = (bed.path("warm-home"), bed.path("warm-project"));
    copy(&bed.path("template"), &home);
    write_project(&project, &names);
    install(&bed, &home, &project);
    Pairs::run(rounds, floor, || time(|| install(&bed, &home, &project)))
        .print_row(&format!("{packages} packages, git://, nothing new"));
}

fn publish(bed: &Bed, name: &str, needs: &[String]) {
    let folder = bed.path(&format!("sources/{name}"));
    write_files(&folder, 5, 2_000, 1);
    let needs: String = needs.iter().map(|name| format!("\"demo:{name}\" = \"1\"\n")).collect();
    let manifest = format!("[package]\nname = \"demo:{name}\"\nversion = \"1.0.0\"\n\n[dependencies]\n{needs}");
    fs::write(folder.join("quipu.toml"), manifest).unwrap();
    bed.quipu(&bed.home(), &["publish", folder.to_str().unwrap()]);
}

fn write_project(folder: &Path, names: &[String]) {
    fs::create_dir_all(folder).unwrap();
    let needs: String = names.iter().map(|name| format!("\"acme.example/demo:{name}\" = \"1\"\n")).collect();
    fs::write(folder.join("quipu.toml"), format!("[dependencies]\n{needs}")).unwrap();
}

fn install(bed: &Bed, home: &Path, project: &Path) {
    bed.quipu_in(project, home, &["install"]);
}

fn fetch(bed: &Bed, into: &Path, url: &str) {
    let all = |kind: &str| format!("refs/{kind}/*:refs/{kind}/*");
    bed.git(into, &["fetch", "-q", "--no-tags", url, &all("packages"), &all("contents")]);
}
