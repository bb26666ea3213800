//! Measures mirroring and comparing, against git: `cargo bench --bench mirror [-- --packages N --rounds N]`.
//!
//! The floor of a step in which ten packages have a new release is one `git fetch` of the ten heads by their ids into an empty repository, which
//! verifies nothing, brings no files and keeps no other references. Where nothing is new it is `git ls-remote` of the one reference that tells. Beside them stands
//! `git remote update` of a mirror that git made, which is what a step would be without a registry log. Comparing has no floor: its time is that of the whole
//! process, and its processor time is less.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::bed::{Bed, write_files};
use pairs::daemon::Daemon;
use pairs::{Duel, Pairs, flag, is_whole, print_head, time};
use std::cell::Cell;
use std::fs;

/// So many packages have a new release in each step.
const CHANGED: usize = 10;

fn main() {
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 7 } else { 1 });
    let packages: usize = flag("--packages").unwrap_or(if is_whole() { 100_000 } else { 30 });
    let bed = Bed::new();
    let (home, a) = (bed.home(), bed.path("registry.git"));
    bed.quipu(&home, &["registry", "import", "registry.git", "--synthetic", &packages.to_string()]);
    let release = Cell::new(0);
    let publish = || {
        release.set(release.get() + 1);
        for at in 0..CHANGED {
            let folder = bed.path(&format!("sources/p{at}"));
            write_files(&folder, 3, 500, release.get());
            let manifest = format!("[package]\nname = \"bench:p{at}\"\nversion = \"1.0.{}\"\n", release.get());
            fs::write(folder.join("quipu.toml"), manifest).unwrap();
            bed.quipu(&home, &["publish", folder.to_str().unwrap(), "--registry", "acme.example"]);
        }
    };
    publish();
    bed.quipu(&home, &["registry", "gc", "registry.git"]);
    let daemon = Daemon::serve(&bed.path(""));
    let url = daemon.url("registry.git");
    bed.quipu(&home, &["registry", "init", "mirror.git", "--name", "mirror.example"]);
    let first = time(|| drop(bed.quipu(&home, &["mirror", "add", "acme.example", &url, "--in", "mirror.git"])));
    let cloned = bed.path("clone.git");
    let clone = time(|| drop(bed.git(&bed.path(""), &["clone", "-q", "--mirror", &url, cloned.to_str().unwrap()])));
    print_head(&format!("mirror of {packages} packages"));
    Pairs::from_seconds(&[clone.as_secs_f64()], &[first.as_secs_f64()]).print_row("first time; git clone --mirror");

    let sync = || time(|| drop(bed.quipu(&home, &["mirror", "sync", "--in", "mirror.git"])));
    let number = Cell::new(0);
    let heads = || {
        number.set(number.get() + 1);
        let ids: Vec<String> =
            (0..CHANGED).map(|at| bed.git(&a, &["rev-parse", &format!("refs/packages/bench/p{at}")]).trim().to_owned()).collect();
        let empty = bed.path(&format!("empty-{}", number.get()));
        bed.git(&bed.path(""), &["init", "-q", "--bare", empty.to_str().unwrap()]);
        let mut args = vec!["fetch", "-q", "--no-tags", &url];
        args.extend(ids.iter().map(String::as_str));
        time(|| drop(bed.git(&empty, &args)))
    };
    Pairs::of(rounds, Duel::new(heads, sync).after(publish)).print_row("10 packages changed; git fetch of the 10 heads");
    // In a step that has nothing to do all is as it was.
    let tells = || time(|| drop(bed.git(&bed.path(""), &["ls-remote", &url, "refs/registry/log"])));
    Pairs::run(rounds, tells, sync).print_row("nothing new; git ls-remote of one reference");
    let update = || time(|| drop(bed.git(&cloned, &["remote", "update"])));
    let few = rounds.min(3);
    Pairs::of(few, Duel::new(update, sync).after(publish)).print_row("10 packages changed; git remote update");

    publish();
    let compared = |other: &str| {
        let compare = ["compare", "./registry.git", other];
        time(|| drop(bed.quipu_with(&home, &compare, &[0, 1])))
    };
    Pairs::run(rounds, || compared("./registry.git"), || compared("./mirror.git"))
        .print_row("compare, 10 differ; compare with itself");
}
