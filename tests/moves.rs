//! A package moves to another registry, whether the one that it was in is there to say so or not.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::fs;
use support::{Person, World, git};

const OLD: &str = "old.example";
const NEW: &str = "new.example";

/// Alice's registry, in which Dave has `wasi:http` in two releases.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    dave: Person,
    id: String,
}

impl Scene {
    fn new(format: &str) -> Self {
        let world = World::new();
        let (alice, bob, dave) = (world.person_with_key("alice"), world.person_with_key("bob"), world.person_with_key("dave"));
        let id = world.registry(&alice, "old.git", OLD, format);
        dave.trust(OLD, &world.at("old.git"), &id);
        for version in ["1.0.0", "1.1.0"] {
            let folder = world.package(&format!("http/{version}"), "wasi:http", version);
            dave.quipu(["publish", &folder, "--registry", OLD]).ok();
            alice.quipu(["registry", "accept", &world.at("old.git")]).ok();
        }
        Scene { world, alice, bob, dave, id }
    }

    /// Makes Bob's registry, a fork of Alice's, which Dave trusts.
    fn fork(&self) {
        let (new, old) = (self.world.at("new.git"), self.world.at("old.git"));
        let made = self.bob.asks(["registry", "init", &new, "--name", NEW, "--from", &old, "--id", &self.id]);
        assert_eq!((&made["from"]["registry"], &made["mirrors"][0]["packages"]), (&OLD.into(), &1.into()), "{made}");
        self.dave.trust(NEW, &new, made["id"].as_str().unwrap());
    }

    fn moves(&self) {
        let said = self.dave.asks(["rename", "old.example/wasi:http", "new.example/wasi:http"]);
        assert_eq!((&said["state"], &said["to"]), (&"proposed".into(), &"new.example/wasi:http".into()), "{said}");
        self.bob.quipu(["registry", "accept", &self.world.at("new.git")]).ok();
        let folder = self.world.package("http/2.0.0", "wasi:http", "2.0.0");
        self.dave.quipu(["publish", &folder, "--registry", NEW]).ok();
        self.bob.quipu(["registry", "accept", &self.world.at("new.git")]).ok();
        let path = self.world.path("new.git");
        git(&path, ["fsck", "--strict", "--no-dangling"]).ok();
        self.bob.quipu(["registry", "fsck", &self.world.at("new.git")]).ok();
        let subjects = git(&path, ["log", "--format=%s", "refs/packages/wasi/http"]).ok().stdout;
        let renamed = "rename wasi:http to new.example/wasi:http";
        let all = ["release wasi:http 2.0.0", renamed, "release wasi:http 1.1.0", "release wasi:http 1.0.0", "init wasi:http"];
        assert_eq!(subjects.lines().collect::<Vec<_>>(), all);
        for version in ["1.0.0", "2.0.0"] {
            let to = self.world.at(&format!("got/{version}"));
            self.dave.quipu(["get", &format!("new.example/wasi:http@{version}"), "--to", &to]).ok();
        }
    }
}

#[test]
fn a_package_moves_on_though_the_registry_that_it_was_in_is_gone() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        scene.fork();
        fs::rename(scene.world.path("old.git"), scene.world.path("gone.git")).unwrap();
        // The fork goes on to serve it under the old name, and takes no proposals for it.
        scene.dave.quipu(["trust", "add", OLD, &scene.world.at("new.git"), "--id", &scene.id]).ok();
        let old = scene.world.at("got/old");
        scene.dave.quipu(["get", "old.example/wasi:http@1.0.0", "--to", &old]).ok();
        let folder = scene.world.package("http/1.2.0", "wasi:http", "1.2.0");
        scene.dave.quipu(["publish", &folder, "--registry", OLD, "--json"]).fails(8, "refused");
        scene.moves();
        scene.dave.quipu(["get", "old.example/wasi:http@1.1.0", "--to", &scene.world.at("got/old-too")]).ok();
    }
}

#[test]
fn a_package_moves_on_and_the_registry_that_it_was_in_says_so() {
    let scene = Scene::new("sha1");
    scene.fork();
    scene.moves();
    // The old registry's operators have the owner's wish too.
    scene.alice.quipu(["registry", "accept", &scene.world.at("old.git")]).ok();
    let log = scene.dave.quipu(["log", "old.example/wasi:http"]).ok();
    assert!(log.stdout.contains("rename wasi:http to new.example/wasi:http"), "{}", log.stdout);
}

#[test]
fn what_cannot_move_stays_where_it_is() {
    let scene = Scene::new("sha1");
    scene.fork();
    let (dave, bob) = (&scene.dave, &scene.bob);
    // A name that is taken, a stranger, another object format.
    let other = scene.world.package("other", "wasi:taken", "1.0.0");
    bob.quipu(["publish", &other, "--registry", NEW]).ok();
    dave.quipu(["rename", "old.example/wasi:http", "new.example/wasi:taken", "--json"]).fails(8, "name-taken");
    bob.quipu(["rename", "old.example/wasi:http", "new.example/wasi:mine", "--json"]).ends(5);
    let id = scene.world.registry(&scene.alice, "wide.git", "wide.example", "sha256");
    dave.trust("wide.example", &scene.world.at("wide.git"), &id);
    let said = dave.quipu(["rename", "old.example/wasi:http", "wide.example/wasi:http", "--json"]);
    assert!(said.fails(7, "bad-repository").contains("quipu fork"));
    // Nobody was asked for anything.
    let incoming = git(&scene.world.path("old.git"), ["for-each-ref", "refs/incoming/"]).ok().stdout;
    assert_eq!(incoming, "");
    scene.bob.quipu(["registry", "fsck", &scene.world.at("new.git")]).ok();
}
