//! What one package costs does not grow with the registry: in a small one and in one of twenty times as many packages the same commands look for as
//! many objects and references, but for the depth of the map.
//!
//! The commands run in this process, which counts what it looks for, and what it starts.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)]

use clap::Parser;
use quipu::command::answer::Answer;
use quipu::command::context::{Context, Flags};
use quipu::command::{get, info, key, log, publish, registry, trust, verify, yank};
use quipu::disk::home::Home;
use quipu::git::effort::Effort;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// What is counted is counted for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SMALL: u64 = 200;
const LARGE: u64 = 4_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Get(get::Args),
    Info(info::Args),
    #[command(subcommand)]
    Key(key::Args),
    Log(log::Args),
    Publish(publish::Args),
    #[command(subcommand)]
    Registry(registry::Args),
    #[command(subcommand)]
    Trust(trust::Args),
    Verify(verify::Args),
    Yank(yank::Args),
}

/// Somebody in a folder.
struct Person<'a> {
    name: &'static str,
    folder: &'a Path,
}

impl Person<'_> {
    fn quipu(&self, line: &str) -> Answer {
        let Line { flags, verb } = Line::try_parse_from(["quipu"].into_iter().chain(line.split(' '))).unwrap();
        let home = self.folder.join("homes").join(self.name);
        fs::create_dir_all(&home).unwrap();
        let context = Context::new(flags, Home::below(&home), self.folder.to_owned()).unwrap();
        let answer = match verb {
            Verb::Get(args) => get::run(&context, &args),
            Verb::Info(args) => info::run(&context, &args),
            Verb::Key(args) => key::run(&context, &args),
            Verb::Log(args) => log::run(&context, &args),
            Verb::Publish(args) => publish::run(&context, &args),
            Verb::Registry(args) => registry::run(&context, &args),
            Verb::Trust(args) => trust::run(&context, &args),
            Verb::Verify(args) => verify::run(&context, &args),
            Verb::Yank(args) => yank::run(&context, &args, false),
        };
        let answer = answer.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(answer.fault.is_none(), "{line}: {:?}", answer.fault);
        answer
    }

    /// Runs a command and returns what it looked for.
    fn effort(&self, line: &str) -> Effort {
        let before = Effort::so_far();
        self.quipu(line);
        Effort::so_far().since(before)
    }
}

/// Writes the folder of a package.
fn package(folder: &Path, name: &str, version: &str) {
    fs::create_dir_all(folder.join("work")).unwrap();
    fs::write(folder.join("work/quipu.toml"), format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n")).unwrap();
    fs::write(folder.join("work/file"), format!("{name} {version}\n")).unwrap();
}

/// Gives every reference a file of its own.
fn unpack_references(repository: &Path) {
    let packed = repository.join("packed-refs");
    for line in fs::read_to_string(&packed).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let (id, name) = line.split_once(' ').unwrap();
        let path = repository.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{id}\n")).unwrap();
    }
    fs::remove_file(packed).unwrap();
}

/// Makes a registry of so many packages and returns what each step cost there.
fn costs(packages: u64, shape: &str, loose: bool) -> BTreeMap<&'static str, Effort> {
    let folder = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    let alice = Person { name: "alice", folder: &folder };
    let bob = Person { name: "bob", folder: &folder };
    alice.quipu("key new alice");
    bob.quipu("key new bob");
    let made = alice.quipu("registry init reg.git --name acme.example").to_json("registry");
    let id = made["id"].as_str().unwrap().to_owned();
    bob.quipu(&format!("trust add acme.example {}/reg.git --id {id}", folder.display()));
    alice.quipu(&format!("registry import reg.git --synthetic {packages} --shape {shape}"));
    let repository = folder.join("reg.git");
    if loose {
        unpack_references(&repository);
    }
    let names = alice.quipu("info acme.example").to_json("info");
    assert_eq!(names["packages"], packages, "{names:#}");

    let mut costs = BTreeMap::new();
    package(&folder, "load-000:one", "0.1.0");
    costs.insert("publish of a new package", alice.effort("publish work"));
    package(&folder, "load-000:one", "0.2.0");
    costs.insert("publish of a release", alice.effort("publish work"));
    costs.insert("yank", alice.effort("yank load-000:one@0.1.0 --reason old"));
    package(&folder, "load-000:two", "0.1.0");
    costs.insert("publish of a proposal", bob.effort("publish work"));
    costs.insert("accept", alice.effort("registry accept reg.git"));
    costs.insert("get", bob.effort("get load-000:one@0.2.0 --to got"));
    costs.insert("get again", bob.effort("get load-000:one@0.2.0 --to got-again"));
    costs.insert("info", bob.effort("info load-000:one"));
    costs.insert("info of the registry", bob.effort("info acme.example"));
    costs.insert("log", bob.effort("log load-000:one"));
    costs.insert("verify of a package", bob.effort("verify load-000:one"));
    costs.insert("verify since the last but four", alice.effort("verify ./reg.git --since 1"));
    costs.insert("verify since the newest", alice.effort("verify ./reg.git --since 5"));
    let all = alice.effort("verify ./reg.git");
    assert!(all.objects > packages && all.references > packages, "what reads all is seen to read all: {all:?}");
    fs::remove_dir_all(&folder).unwrap();
    costs
}

/// By so many objects a step may cost more where the map is deeper: a tree or two more on each path, and few paths a step. Whoever asks for a
/// name that is not there is told of names like it, and some forty trees are read for that.
const DEEPER: u64 = 48;
/// No step looks for more objects, or references, than this.
const MOST: u64 = 160;

#[test]
fn what_one_package_costs_does_not_grow_with_the_registry() {
    let _held = ONE_AT_A_TIME.lock().unwrap();
    // Packages in many namespaces, in one, and with a file for each reference.
    for (shape, loose) in [("many", false), ("one", false), ("many", true)] {
        let (small, large) = (costs(SMALL, shape, loose), costs(LARGE, shape, loose));
        for (step, small) in small {
            let large = large[step];
            let place = format!("{step}, {shape}, {loose}: {small:?} of {SMALL} packages, {large:?} of {LARGE}");
            println!("{place}");
            assert!(large.objects <= small.objects + DEEPER && large.objects <= MOST, "{place}");
            assert!(large.references <= small.references + 2 && large.references <= MOST, "{place}");
            assert_eq!((small.programs, large.programs), (0, 0), "{place}");
        }
    }
}
