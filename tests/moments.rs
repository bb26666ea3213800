//! What a registry answered at an earlier moment is answered again, and what was said since is said.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::Daemon;
use support::{Person, World, folders, git};

const ACME: &str = "acme.example";
const OTHER: &str = "other.example";

fn publish(world: &World, alice: &Person, registry: &str, name: &str, version: &str, needs: &[(&str, &str)]) {
    let needs: String = needs.iter().map(|(name, wanted)| format!("\"{name}\" = \"{wanted}\"\n")).collect();
    let folder = format!("src/{registry}/{}/{version}", name.replace(':', "/"));
    let text = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n\n[dependencies]\n{needs}");
    world.write(&format!("{folder}/quipu.toml"), &text);
    alice.quipu(["publish", &world.at(&folder), "--registry", registry]).ok();
}

/// Returns number and digest of a registry's newest checkpoint.
fn newest(person: &Person, registry: &str) -> (u64, String) {
    let info = person.quipu(["info", registry, "--json"]).ok().json();
    (info["checkpoint"]["seq"].as_u64().unwrap(), info["checkpoint"]["digest"].as_str().unwrap().to_owned())
}

#[test]
fn what_was_chosen_then_is_chosen_again() {
    for (format, filters, versions) in [("sha1", "true", 20), ("sha256", "false", 4)] {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "acme.git", ACME, format);
        let other = world.registry(&alice, "other.git", OTHER, "sha1");
        git(&world.path("acme.git"), ["config", "uploadpack.allowFilter", filters]).ok();
        publish(&world, &alice, OTHER, "time:clock", "0.1.0", &[]);
        publish(&world, &alice, ACME, "demo:io", "1.0.0", &[]);
        publish(&world, &alice, ACME, "demo:app", "1.0.0", &[("demo:io", "1"), ("other.example/time:clock", "0.1")]);
        let (then, digest) = newest(&alice, ACME);
        for version in 1..versions {
            publish(&world, &alice, ACME, "demo:io", &format!("1.0.{version}"), &[]);
        }
        let (now, newest_digest) = newest(&alice, ACME);
        let daemon = Daemon::serve(&world.root());
        let bob = world.person("bob");
        bob.trust(ACME, &daemon.url("acme.git"), &id);
        bob.trust(OTHER, &daemon.url("other.git"), &other);
        world.write("p/quipu.toml", "[dependencies]\n\"acme.example/demo:app\" = \"1\"\n");
        let project = bob.within(world.path("p"));
        let lock = || std::fs::read_to_string(world.path("p/quipu.lock")).unwrap();
        let has = |version: &str| {
            let found = world.path(&format!("p/quipu_packages/{ACME}/demo/io/{version}"));
            folders::assert_same(&found, &world.path(&format!("src/{ACME}/demo/io/{version}")));
        };
        project.quipu(["install"]).ok();
        has(&format!("1.0.{}", versions - 1));
        // By number, by digest, with the registry's name: the same, and the same again.
        let found = project.quipu(["install", "--at", &then.to_string(), "--json"]).ok().json();
        assert_eq!(found["checkpoints"][0]["seq"].as_u64(), Some(then));
        has("1.0.0");
        let first = lock();
        assert!(first.contains(&format!("checkpoint = {{ seq = {then}, digest = \"{digest}\"")), "{first}");
        for at in [digest.clone(), format!("{ACME}={then}"), format!("{ACME}={digest}")] {
            project.quipu(["install", "--at", &now.to_string()]).ok();
            has(&format!("1.0.{}", versions - 1));
            project.quipu(["install", "--at", &at]).ok();
            assert_eq!(lock(), first, "{at}");
        }
        // What is in that lock is kept, and nothing is forgotten: what was seen is still the newest.
        project.quipu(["install", "--locked"]).ok();
        has("1.0.0");
        let seen = bob.quipu(["trust", "show", ACME, "--json"]).ok().json();
        assert_eq!(seen["checkpoint"]["digest"].as_str(), Some(newest_digest.as_str()));
        // Moments that there are not, and questions that cannot be answered.
        let wrong = format!("sha256:{}", "1".repeat(64));
        let later = (now + 1).to_string();
        for (args, status, code) in [
            (&["--at", &later][..], 3, "not-found"),
            (&["--at", &wrong], 4, "anchor-mismatch"),
            (&["--at", "yesterday"], 2, "usage"),
            (&["--at", "third.example=1"], 2, "usage"),
            (&["--at", "1", "--at", "2"], 2, "usage"),
            (&["--at", "1", "--locked"], 2, "usage"),
            (&["--at", "0"], 8, "no-solution"),
        ] {
            let failed = project.quipu(["install", "--json"].into_iter().chain(args.iter().copied()));
            failed.fails(status, code);
            assert_eq!(lock(), first, "{args:?}");
        }
    }
}

#[test]
fn what_was_said_since_is_said() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "acme.git", ACME, "sha1");
    publish(&world, &alice, ACME, "demo:io", "1.0.0", &[]);
    let (then, _) = newest(&alice, ACME);
    publish(&world, &alice, ACME, "demo:io", "1.1.0", &[]);
    alice.quipu(["yank", "acme.example/demo:io@1.0.0", "--reason", "it leaks"]).ok();
    let bob = world.person("bob");
    bob.trust(ACME, &world.at("acme.git"), &id);
    world.write("p/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1\"\n");
    let project = bob.within(world.path("p"));
    let found = project.quipu(["install", "--at", &then.to_string()]).ok();
    assert!(found.stdout.contains("acme.example/demo:io@1.0.0 is yanked: it leaks"), "{}", found.stdout);
    assert!(world.path("p/quipu_packages/acme.example/demo/io/1.0.0").exists());
}

#[test]
fn a_lock_of_another_history_is_noticed_however_old_it_is() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "acme.git", ACME, "sha1");
    publish(&world, &alice, ACME, "demo:io", "1.0.0", &[]);
    git(&world.root(), ["clone", "-q", "--mirror", "acme.git", "side.git"]).ok();
    // Carol sees the side that nobody else does, and writes a lock there.
    let mallory = alice.with("QUIPU_HOME", world.path("homes/mallory"));
    std::fs::create_dir_all(world.path("homes/mallory/keys")).unwrap();
    for file in std::fs::read_dir(world.path("homes/alice/keys")).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, world.path("homes/mallory/keys").join(file.file_name().unwrap())).unwrap();
    }
    mallory.trust(ACME, &world.at("side.git"), &id);
    publish(&world, &mallory, ACME, "demo:side", "1.0.0", &[]);
    let carol = world.person("carol");
    carol.trust(ACME, &world.at("side.git"), &id);
    world.write("p/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1\"\n");
    carol.within(world.path("p")).quipu(["install"]).ok();
    // Bob has seen more of the other one than the lock has of its own.
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        publish(&world, &alice, ACME, "demo:io", version, &[]);
    }
    let bob = world.person("bob");
    bob.trust(ACME, &world.at("acme.git"), &id);
    bob.quipu(["info", "acme.example/demo:io"]).ok();
    let failed = bob.within(world.path("p")).quipu(["install", "--json"]);
    assert!(failed.fails(4, "fork").contains("checkpoint"), "{}", failed.stdout);
}
