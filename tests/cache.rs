//! What is kept only to be quick can be listed, and deleted while others use it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};
use support::daemon::Daemon;
use support::relay::Held;
use support::{Person, World, clean};

const DOMAIN: &str = "acme.example";

/// A registry with packages behind a server, and somebody who trusts it.
fn scene() -> (World, Daemon, Person, String) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    for n in 0..3 {
        alice.quipu(["publish", &world.package(&format!("p{n}"), &format!("demo:p{n}"), "1.0.0")]).ok();
    }
    let daemon = Daemon::serve(&world.root());
    let scratch = world.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let bob = world.person("bob").with("TMPDIR", scratch);
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    (world, daemon, bob, id)
}

/// Begins a command and does not wait for it.
fn begin(person: &Person, scratch: &std::path::Path, args: &[&str]) -> Child {
    let mut command = clean(env!("CARGO_BIN_EXE_quipu"), &person.home);
    command.env("QUIPU_HOME", &person.home).env("TMPDIR", scratch).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn kept(person: &Person) -> usize {
    person.asks(["cache", "list"])["registries"].as_array().unwrap().len()
}

#[test]
fn what_is_kept_is_listed_and_goes_when_its_registry_is_not_trusted_any_more() {
    let (_world, _daemon, bob, id) = scene();
    bob.quipu(["info", "demo:p0"]).ok();
    let listed = bob.asks(["cache", "list"]);
    let registry = &listed["registries"][0];
    assert_eq!((&registry["registry"], &registry["id"]), (&DOMAIN.into(), &id.as_str().into()));
    assert!(registry["size"].as_u64().unwrap() > 1000 && listed["size"].as_u64() >= registry["size"].as_u64(), "{listed}");
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - registry["used"].as_u64().unwrap();
    assert!(age < 600, "{listed}");
    // A registry that is trusted keeps what it has.
    assert!(bob.quipu(["cache", "prune"]).ok().stdout.contains("nothing to delete"));
    bob.quipu(["trust", "remove", DOMAIN]).ok();
    assert!(bob.quipu(["cache", "list"]).ok().stdout.contains("not trusted"));
    let dry = bob.asks(["cache", "prune", "--dry-run"]);
    assert_eq!((dry["registries"][0]["id"].as_str().unwrap(), kept(&bob)), (id.as_str(), 1));
    assert!(bob.quipu(["cache", "prune"]).ok().stdout.contains("which is not trusted"));
    assert_eq!(kept(&bob), 0);
}

#[test]
fn what_was_seen_is_no_cache() {
    let (_world, _daemon, bob, id) = scene();
    bob.quipu(["info", "demo:p0"]).ok();
    let seen = bob.home.join("state").join(format!("{}.toml", &id["sha256:".len()..]));
    let before = fs::read(&seen).unwrap();
    assert_eq!(bob.asks(["cache", "prune", "--all"])["registries"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read(&seen).unwrap(), before);
    assert_eq!(kept(&bob), 0);
    // Without it nothing is known offline, and everything is as before with the network.
    bob.quipu(["info", "demo:p0", "--offline", "--json"]).fails(7, "network");
    bob.quipu(["info", "demo:p0"]).ok();
    bob.quipu(["info", "demo:p0", "--offline"]).ok();
    assert_eq!(kept(&bob), 1);
}

#[test]
fn what_was_not_used_for_so_long_goes() {
    let (_world, _daemon, bob, id) = scene();
    bob.quipu(["info", "demo:p0"]).ok();
    let lock = bob.home.join("cache").join(format!("{}.git/readers.lock", &id["sha256:".len()..]));
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60 + 60);
    let used = |time| fs::File::options().write(true).open(&lock).unwrap().set_modified(time).unwrap();
    used(days(3));
    assert!(bob.quipu(["cache", "list"]).ok().stdout.contains("used 3 days ago"));
    assert_eq!(bob.asks(["cache", "prune", "--older-than", "4"])["size"], 0);
    // Reading it is using it.
    bob.quipu(["info", "demo:p0", "--offline"]).ok();
    assert_eq!(bob.asks(["cache", "prune", "--older-than", "3"])["size"], 0);
    used(days(3));
    assert_eq!(bob.asks(["cache", "prune", "--older-than", "3"])["registries"].as_array().unwrap().len(), 1);
    assert_eq!(kept(&bob), 0);
}

#[test]
fn looks_at_repositories_that_are_gone_are_forgotten() {
    let (world, _daemon, bob, _) = scene();
    support::folders::copy(&world.path("reg.git"), &world.path("copy.git"));
    bob.quipu(["verify", &world.at("copy.git")]).ok();
    bob.quipu(["verify", &world.at("reg.git")]).ok();
    assert_eq!(bob.asks(["cache", "list"])["looks"]["number"], 2);
    assert_eq!(bob.asks(["cache", "prune"])["looks"], 0);
    fs::remove_dir_all(world.path("copy.git")).unwrap();
    assert_eq!(bob.asks(["cache", "prune"])["looks"], 1);
    bob.quipu(["verify", &world.at("reg.git"), "--since", "last"]).ok();
    assert_eq!(bob.asks(["cache", "prune", "--all"])["looks"], 1);
    bob.quipu(["verify", &world.at("reg.git"), "--since", "last", "--json"]).fails(3, "not-found");
}

#[test]
fn what_is_in_use_stays_and_the_one_who_uses_it_goes_on() {
    let (world, daemon, bob, id) = scene();
    bob.quipu(["info", "demo:p0"]).ok();
    let held = Held::to(daemon.port());
    bob.quipu(["trust", "remove", DOMAIN]).ok();
    // The relay lets the fetches of this one pass.
    held.let_go();
    bob.trust(DOMAIN, &held.url(), &id);
    let held = Held::to(daemon.port());
    let config = bob.home.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let port = text.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().to_owned();
    fs::write(&config, text.replace(&port, &held.port().to_string())).unwrap();

    let to = world.at("got");
    let getting = begin(&bob, &world.path("scratch"), &["get", "demo:p1", "--to", &to]);
    held.asked();
    let refused = bob.quipu(["cache", "prune", DOMAIN, "--json"]).ends(8).json();
    assert_eq!((&refused["error"]["code"], &refused["in-use"][0]["id"]), (&"conflict".into(), &id.as_str().into()));
    let all = bob.asks(["cache", "prune", "--all"]);
    assert_eq!((all["in-use"].as_array().unwrap().len(), &all["left"]), (1, &0.into()), "nor is its scratch folder deleted");
    held.let_go();
    let got = getting.wait_with_output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert!(world.path("got/src/text").exists());
    bob.quipu(["cache", "prune", DOMAIN]).ok();
    assert_eq!(kept(&bob), 0);
}

#[test]
fn what_a_killed_command_left_goes() {
    let (world, daemon, bob, id) = scene();
    let held = Held::to(daemon.port());
    let carol = world.person("carol").with("TMPDIR", world.path("scratch"));
    for _ in 0..2 {
        let mut trusting = begin(&carol, &world.path("scratch"), &["trust", "add", DOMAIN, &held.url(), "--id", &id]);
        held.asked();
        trusting.kill().unwrap();
        trusting.wait().unwrap();
    }
    let left = |person: &Person| person.asks(["cache", "list"])["left"]["number"].as_u64().unwrap();
    // The second one swept what the first had left, and left its own.
    assert_eq!((left(&bob), fs::read_dir(world.path("scratch")).unwrap().count()), (1, 1));
    assert_eq!(bob.asks(["cache", "prune", "--dry-run"])["left"], 1);
    // What is asked for by name is all that goes.
    bob.quipu(["info", "demo:p0", "--offline"]);
    assert_eq!(left(&bob), 1);
    let pruned = bob.asks(["cache", "prune"]);
    assert!(pruned["left"] == 1 && pruned["size"].as_u64().unwrap() > 0, "{pruned}");
    assert_eq!((left(&bob), fs::read_dir(world.path("scratch")).unwrap().count()), (0, 0));
}

#[test]
fn readers_and_those_who_prune_do_not_disturb_each_other() {
    let (world, _daemon, bob, _) = scene();
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (bob, world) = (&bob, &world);
            scope.spawn(move || {
                for round in 0..12 {
                    let name = format!("demo:p{}", (reader + round) % 3);
                    match round % 3 {
                        0 => bob.quipu(["get", &name, "--to", &world.at(&format!("got-{reader}-{round}"))]).ok(),
                        1 => bob.quipu(["info", &name]).ok(),
                        _ => bob.quipu(["verify", &name]).ok(),
                    };
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..25 {
                    bob.quipu(["cache", "prune", "--all"]).ok();
                }
            });
        }
    });
    bob.quipu(["cache", "prune", "--all"]).ok();
    assert_eq!(
        fs::read_dir(bob.home.join("cache")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
        [] as [&str; 0]
    );
    assert_eq!(fs::read_dir(world.path("scratch")).unwrap().count(), 0);
}

#[test]
fn who_names_what_is_not_there_is_told_what_is() {
    let (_world, _daemon, bob, id) = scene();
    bob.quipu(["info", "demo:p0"]).ok();
    assert!(bob.quipu(["cache", "prune", "other.example", "--json"]).fails(3, "not-found").contains(DOMAIN));
    bob.quipu(["cache", "prune", "--all", DOMAIN, "--json"]).fails(2, "usage");
    // The registry that is meant everywhere is not the one to be pruned.
    assert_eq!(bob.with("QUIPU_REGISTRY", DOMAIN).asks(["cache", "prune"])["size"], 0);
    bob.quipu(["cache", "prune", "--registry", DOMAIN]).ok();
    assert_eq!(kept(&bob), 0);
    bob.quipu(["info", "demo:p0"]).ok();
    bob.quipu(["cache", "prune", &id]).ok();
    assert_eq!(kept(&bob), 0);
}
