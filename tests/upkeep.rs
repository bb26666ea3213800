//! `quipu registry gc`: it changes nothing that anybody sees, beside whoever reads and writes, and it happens by itself.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::daemon::Daemon;
use support::{Person, World, crowd, git};

fn packs(repository: &Path) -> usize {
    let names = std::fs::read_dir(repository.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|end| end == "pack")).count()
}

fn references(repository: &Path) -> String {
    git(repository, ["for-each-ref"]).ok().stdout
}

/// A registry of Alice's with two packages, of which one has two releases.
fn registry(world: &World) -> Person {
    let alice = world.person_with_key("alice");
    world.registry(&alice, "acme.git", "acme.example", "sha1");
    for (name, version) in [("demo:one", "1.0.0"), ("demo:two", "1.0.0"), ("demo:one", "1.1.0")] {
        alice.quipu(["publish", &world.package("work", name, version)]).ok();
    }
    alice
}

/// Puts so many packs there, each with a file that nothing leads to.
fn add_packs(repository: &Path, number: usize) {
    for number in 0..number {
        let write = |args: &[&str], input: &str| {
            let mut command = support::clean("git", repository);
            let mut child =
                command.args(args).current_dir(repository).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        let id = write(&["hash-object", "-w", "--stdin"], &format!("file {number}"));
        write(&["pack-objects", "-q", "objects/pack/pack"], &id);
    }
}

#[test]
fn a_full_upkeep_changes_nothing_that_is_seen_and_drops_what_nothing_leads_to() {
    let world = World::new();
    let alice = registry(&world);
    let path = world.path("acme.git");
    let before = references(&path);
    let id = |text: &str| {
        let blob = git(&path, ["rev-parse", text]).ok().stdout;
        blob.trim().to_owned()
    };
    // The files of the first release of all were in a commit that has been superseded since.
    add_packs(&path, 1);
    let loose = support::run(support::clean("git", &path).current_dir(&path).args(["hash-object", "-w", "config"])).stdout;
    let loose = loose.trim();

    let kept = alice.asks(["registry", "gc", "acme.git"]);
    assert_eq!((&kept["done"], &kept["after"]["loose-references"]), (&"full".into(), &0.into()), "{kept}");
    git(&path, ["cat-file", "-e", loose]).ok();
    assert_eq!(references(&path), before);
    let bitmap = |end: &str| {
        std::fs::read_dir(path.join("objects/pack"))
            .unwrap()
            .any(|entry| entry.unwrap().path().extension().is_some_and(|has| has == end))
    };
    assert!(bitmap("bitmap") && bitmap("mtimes"));

    let dropped = alice.asks(["registry", "gc", "acme.git", "--prune", "0"]);
    assert_eq!((&dropped["after"]["packs"], &dropped["after"]["loose-objects"]), (&1.into(), &0.into()), "{dropped}");
    assert_ne!(git(&path, ["cat-file", "-e", loose]).status, 0);
    assert_eq!(references(&path), before);
    git(&path, ["cat-file", "-e", &id("refs/contents/demo/one")]).ok();
    git(&path, ["commit-graph", "verify"]).ok();
    git(&path, ["multi-pack-index", "verify"]).ok();
    assert_eq!(git(&path, ["fsck", "--strict"]).ok().stderr, "");

    assert_eq!(alice.asks(["registry", "fsck", "acme.git"])["releases"], 3);
    alice.quipu(["get", "demo:one@1.0.0", "--to", "got"]).ok();
    alice.quipu(["publish", &world.package("work", "demo:two", "2.0.0")]).ok();
    alice.quipu(["verify", "demo:two@2.0.0"]).ok();
}

#[test]
fn a_repository_that_is_no_registry_is_left_alone() {
    let world = World::new();
    git(&world.root(), ["init", "-q", "--bare", "other.git"]).ok();
    world.person("alice").quipu(["registry", "gc", "other.git", "--json"]).fails(7, "bad-repository");
}

#[test]
fn what_waits_and_why_something_was_refused_stay_in_files_of_their_own() {
    let world = World::new();
    let alice = registry(&world);
    let id = alice.asks(["trust", "list"])["registries"][0]["id"].as_str().unwrap().to_owned();
    let bob = world.person_with_key("bob");
    bob.trust("acme.example", &world.at("acme.git"), &id);
    bob.quipu(["publish", &world.package("waits", "demo:waits", "1.0.0")]).ok();
    let before = references(&world.path("acme.git"));
    let quick = alice.asks(["registry", "gc", "acme.git", "--quick"]);
    // Packed, it would have to be taken out of the one file again as soon as it is accepted.
    assert_eq!(quick["after"]["loose-references"], 1, "{quick}");
    let index = world.path("acme.git/objects/pack/multi-pack-index");
    assert!(index.exists());
    git(&world.path("acme.git"), ["multi-pack-index", "verify"]).ok();
    // One that is not sound is passed over.
    std::fs::remove_file(&index).unwrap();
    std::fs::write(&index, b"MIDX\x01\x01\x04\0\0\0\0\x01nothing").unwrap();
    alice.quipu(["verify", "./acme.git"]).ok();
    assert_eq!(references(&world.path("acme.git")), before);
    alice.quipu(["registry", "accept", "acme.git"]).ok();
    bob.quipu(["verify", "demo:waits@1.0.0"]).ok();
}

#[test]
fn it_happens_by_itself_after_a_publish_once_there_are_fifty_packs() {
    let world = World::new();
    let alice = registry(&world);
    let path = world.path("acme.git");
    alice.quipu(["registry", "gc", "acme.git", "--auto"]).ok();
    assert_eq!(packs(&path), 0, "it was not time yet");
    add_packs(&path, 51);
    git(&path, ["config", "quipu.gc", "never"]).ok();
    alice.quipu(["publish", &world.package("work", "demo:two", "2.0.0")]).ok();
    assert_eq!(packs(&path), 51);
    git(&path, ["config", "quipu.gc", "sometimes"]).ok();
    alice.quipu(["registry", "gc", "acme.git", "--auto", "--json"]).fails(2, "bad-config");
    git(&path, ["config", "quipu.gc", "auto"]).ok();
    alice.quipu(["publish", &world.package("work", "demo:two", "3.0.0")]).ok();
    let until = Instant::now() + Duration::from_secs(60);
    while packs(&path) > 50 {
        assert!(Instant::now() < until, "nobody packed anything");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may be at it still.
    while alice.quipu(["registry", "gc", "acme.git", "--quick"]).status != 0 {
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(alice.asks(["registry", "fsck", "acme.git"])["releases"], 5);
}

#[test]
fn publishers_readers_and_upkeep_do_not_mind_each_other() {
    const PUBLISHERS: usize = 4;
    const RELEASES: usize = 4;
    let world = World::new();
    let alice = world.person_with_key("alice");
    let made = alice.asks(["registry", "init", &world.at("acme.git"), "--name", "acme.example", "--hooks"]);
    let id = made["id"].as_str().unwrap();
    let daemon = Daemon::serve(&world.root());
    let people: Vec<Person> = (0..PUBLISHERS)
        .map(|number| {
            let person = world.person_with_key(&format!("p{number}"));
            // Half of them by the wire, half of them by path.
            let url = if number % 2 == 0 { daemon.url("acme.git") } else { world.at("acme.git") };
            person.trust("acme.example", &url, id);
            alice
                .quipu([
                    "registry",
                    "operator",
                    "allow",
                    &world.at("acme.git"),
                    &person.public_key(),
                    "--privilege",
                    "checkpoint,register",
                ])
                .ok();
            person
        })
        .collect();
    let reader = world.person("reader");
    reader.trust("acme.example", &world.at("acme.git"), id);
    people[0].quipu(["publish", &world.package("read", "demo:read", "1.0.0")]).ok();
    let done = AtomicBool::new(false);
    let (mut rounds, mut reads) = (0, 0);
    let told = std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let how: &[&str] = if rounds % 2 == 0 { &["--quick"] } else { &["--prune", "1"] };
                alice.quipu(["registry", "gc", &world.at("acme.git")].iter().chain(how)).ok();
                rounds += 1;
            }
            rounds
        });
        let reading = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                reader.quipu(["verify", "demo:read@1.0.0"]).ok();
                reader.quipu(["verify", &world.at("acme.git")]).ok();
                reads += 1;
            }
            reads
        });
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            crowd::release(&world, &people, RELEASES, (3, 500), |number| format!("demo:own{number}"))
        }));
        done.store(true, Ordering::Relaxed);
        rounds = upkeep.join().unwrap();
        reads = reading.join().unwrap();
        told.unwrap()
    });
    println!("{rounds} rounds of upkeep, {reads} reads");
    assert!(rounds > 3 && reads > 3, "{rounds} {reads}");
    assert_eq!(told.released.len(), PUBLISHERS * RELEASES);
    let fsck = alice.asks(["registry", "fsck", &world.at("acme.git")]);
    assert_eq!((&fsck["clean"], &fsck["releases"]), (&true.into(), &(PUBLISHERS * RELEASES + 1).into()), "{fsck}");
}
