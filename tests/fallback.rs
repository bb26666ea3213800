//! A registry that has mirrors: one that is out of reach, old or wrong is passed over and named, and two histories are an error wherever they are.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::{Daemon, free_port};
use support::{Person, World, folders, git};

const DOMAIN: &str = "acme.example";

/// Adds mirrors to what somebody has set for the registry.
fn mirrors(person: &Person, urls: &[&str]) {
    let path = person.home.join("config.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    assert!(text.trim_end().ends_with('"') && text.contains("[registries.\"acme.example\"]"), "{text}");
    text.push_str(&format!("mirrors = {urls:?}\n"));
    std::fs::write(path, text).unwrap();
}

/// Makes a registry with one package, two mirrors of it, one of them behind by a version, and the URL of a place where there is none.
fn scene(world: &World) -> (Person, String, Daemon, String) {
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    git(&world.root(), ["clone", "-q", "--mirror", "reg.git", "old.git"]).ok();
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.1.0")]).ok();
    git(&world.root(), ["clone", "-q", "--mirror", "reg.git", "mirror.git"]).ok();
    let daemon = Daemon::serve(&world.root());
    (alice, id, daemon, format!("git://127.0.0.1:{}/reg.git", free_port()))
}

#[test]
fn a_mirror_answers_where_the_registry_cannot_and_that_is_said() {
    let world = World::new();
    let (_, id, daemon, nowhere) = scene(&world);
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let config = bob.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&daemon.url("reg.git"), &nowhere)).unwrap();
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/0"), "--json"]).fails(7, "network");
    // One that is out of reach as well, one that lies behind what was seen, one that is no registry, and one that is right.
    mirrors(
        &bob,
        &[
            &format!("git://127.0.0.1:{}/x.git", free_port()),
            &daemon.url("old.git"),
            &daemon.url("none.git"),
            &daemon.url("mirror.git"),
        ],
    );
    let got = bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    folders::assert_same(&world.path("got/1"), &world.path("hello"));
    for (place, word) in [(nowhere.as_str(), "cannot be reached"), ("old.git", "rollback"), ("none.git", "not-found")] {
        let said = got.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(place) && line.contains(word));
        assert!(said, "{place} {word}: {}", got.stderr);
    }
    let note = format!("note: {} answers for acme.example instead", daemon.url("mirror.git"));
    assert!(got.stderr.contains(&note), "{}", got.stderr);
    // Nobody is told where all is as it should be.
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace(&nowhere, &daemon.url("reg.git"))).unwrap();
    let got = bob.quipu(["get", "demo:hello", "--to", &world.at("got/2")]).ok();
    assert_eq!(got.stderr, "");
    // Where nobody answers, the registry's own failure is the answer.
    drop(daemon);
    let failed = bob.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--json"]);
    assert!(failed.fails(7, "network").contains("reg.git cannot be reached"), "{}", failed.stdout);
    assert!(failed.json()["error"]["hints"].to_string().contains("mirror.git did not answer either"), "{}", failed.stdout);
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--offline"]).ok();
}

#[test]
fn two_histories_are_an_error_also_where_a_mirror_has_the_right_one() {
    let world = World::new();
    let (alice, id, daemon, _) = scene(&world);
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    mirrors(&bob, &[&daemon.url("mirror.git")]);
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    // The operator goes back and publishes something else under the same number.
    for name in ["refs/registry/log", "refs/packages/demo/hello", "refs/contents/demo/hello"] {
        let old = git(&world.path("old.git"), ["rev-parse", name]).ok().stdout;
        git(&world.path("reg.git"), ["update-ref", name, old.trim()]).ok();
    }
    alice.quipu(["trust", "remove", DOMAIN]).ok();
    alice.trust(DOMAIN, &world.at("reg.git"), &id);
    alice.quipu(["publish", &world.package("other", "demo:other", "1.0.0")]).ok();
    let failed = bob.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--json"]);
    failed.fails(4, "fork");
    assert!(failed.json()["error"]["hint"].as_str().unwrap().contains("kept in"), "{}", failed.stdout);
    assert!(!world.path("got/2").exists());
}

#[test]
fn what_is_published_goes_to_the_registry_itself() {
    let world = World::new();
    let (_, id, daemon, nowhere) = scene(&world);
    let bob = world.person_with_key("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let config = bob.home.join("config.toml");
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace(&daemon.url("reg.git"), &nowhere)).unwrap();
    mirrors(&bob, &[&daemon.url("mirror.git")]);
    bob.quipu(["publish", &world.package("mine", "bob:mine", "1.0.0"), "--json"]).fails(7, "network");
    assert_eq!(git(&world.path("mirror.git"), ["for-each-ref", "refs/incoming"]).ok().stdout, "");
}
