//! What operators decide about a package: its files go and come back, its log stays, and everybody is told why.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::Daemon;
use support::{Person, World, folders, git};

const ACME: &str = "acme.example";

struct Scene {
    world: World,
    alice: Person,
    id: String,
}

impl Scene {
    /// A registry with two packages, of which one has three releases.
    fn new(format: &str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", ACME, format);
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            alice.quipu(["publish", &world.package(&format!("io/{version}"), "demo:io", version)]).ok();
        }
        alice.quipu(["publish", &world.package("other", "demo:other", "1.0.0")]).ok();
        Scene { world, alice, id }
    }

    fn decide(&self, args: &[&str]) -> support::Outcome {
        let path = self.world.at("reg.git");
        self.alice.quipu(["registry", args[0], &path].into_iter().chain(args[1..].iter().copied()).chain(["--json"]))
    }

    fn project(&self, name: &str, needs: &str) -> Person {
        let person = self.world.person(name);
        person.trust(ACME, &self.world.at("reg.git"), &self.id);
        self.world.write(&format!("{name}/quipu.toml"), &format!("[dependencies]\n\"acme.example/demo:io\" = \"{needs}\"\n"));
        person.within(self.world.path(name))
    }

    fn is_sound(&self) {
        let path = self.world.at("reg.git");
        self.alice.quipu(["verify", &path]).ok();
        self.alice.quipu(["registry", "fsck", &path]).ok();
    }

    /// Returns the versions whose files are handed out.
    fn served(&self) -> String {
        let found = git(&self.world.path("reg.git"), ["ls-tree", "--name-only", "refs/contents/demo/io"]);
        found.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_release_goes_and_its_log_says_why() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let bob = scene.project("bob", "1");
        bob.quipu(["install"]).ok();
        let early = scene.project("early", "=1.1.0");
        early.quipu(["install"]).ok();
        let taken = scene.decide(&["takedown", "demo:io@1.2.0", "--reason", "it mines coins", "--class", "malware"]).ok().json();
        assert_eq!(taken["releases"], serde_json::json!(["1.2.0"]));
        assert_eq!(scene.served(), "1.0.0 1.1.0");
        scene.is_sound();
        // Whoever has it in a lock is told exactly why it does not come, and nothing changes.
        let lock = std::fs::read_to_string(scene.world.path("bob/quipu.lock")).unwrap();
        for again in 0..2 {
            let failed = bob.quipu(["install", "--json"]);
            let said = failed.fails(4, "taken-down");
            assert!(said.contains("demo:io@1.2.0") && said.contains("it mines coins"), "{said}");
            assert_eq!(std::fs::read_to_string(scene.world.path("bob/quipu.lock")).unwrap(), lock, "{again}");
        }
        bob.quipu(["get", "acme.example/demo:io@1.2.0", "--json"]).fails(4, "taken-down");
        // Whoever chooses now gets another one; whoever has another one in a lock keeps it.
        bob.quipu(["update"]).ok();
        folders::assert_same(&scene.world.path("bob/quipu_packages/acme.example/demo/io/1.1.0"), &scene.world.path("io/1.1.0"));
        early.quipu(["install", "--locked"]).ok();
        // The name goes on, and the version does not come again.
        let failed = scene.alice.quipu(["publish", &scene.world.package("again", "demo:io", "1.2.0"), "--json"]);
        failed.fails(8, "already-released");
        scene.alice.quipu(["publish", &scene.world.package("io/1.3.0", "demo:io", "1.3.0")]).ok();
        assert_eq!(scene.served(), "1.0.0 1.1.0 1.3.0");
        scene.is_sound();
        // It was a mistake.
        let restored = scene.decide(&["restore", "demo:io@1.2.0", "--reason", "it does not"]).ok().json();
        assert_eq!(restored["releases"], serde_json::json!(["1.2.0"]));
        assert_eq!(scene.served(), "1.0.0 1.1.0 1.2.0 1.3.0");
        scene.is_sound();
        let to = scene.world.at("got");
        bob.quipu(["get", "acme.example/demo:io@1.2.0", "--to", &to]).ok();
        folders::assert_same(&scene.world.path("got"), &scene.world.path("io/1.2.0"));
    }
}

#[test]
fn files_that_are_gone_come_back_from_a_copy_and_no_other_files_do() {
    let scene = Scene::new("sha1");
    let root = scene.world.root();
    git(&root, ["clone", "-q", "--mirror", "reg.git", "copy.git"]).ok();
    scene.decide(&["takedown", "demo:io", "--reason", "a court says so", "--class", "legal"]).ok();
    assert_eq!(scene.served(), "");
    scene.is_sound();
    // All of it is down: nothing is published there meanwhile, and others are not concerned.
    let failed = scene.alice.quipu(["publish", &scene.world.package("io/1.3.0", "demo:io", "1.3.0"), "--json"]);
    failed.fails(8, "taken-down");
    scene.alice.quipu(["publish", &scene.world.package("other", "demo:other", "1.1.0")]).ok();
    scene.alice.quipu(["registry", "gc", &scene.world.at("reg.git"), "--prune", "0"]).ok();
    let failed = scene.decide(&["restore", "demo:io", "--reason", "it does not any more"]);
    assert!(failed.fails(4, "ref-missing").contains("--from URL"), "{}", failed.stdout);
    let none = scene.decide(&["restore", "demo:io", "--reason", "x", "--from", &scene.world.at("reg.git")]);
    assert!(none.status != 0, "{}", none.stdout);
    let daemon = Daemon::serve(&root);
    scene.decide(&["restore", "demo:io", "--reason", "x", "--from", &daemon.url("copy.git")]).ok();
    assert_eq!(scene.served(), "1.0.0 1.1.0 1.2.0");
    scene.is_sound();
    // What is down for two reasons stays down for the other one.
    scene.decide(&["takedown", "demo:io@1.0.0", "--reason", "a key in it"]).ok();
    scene.decide(&["takedown", "demo:io", "--reason", "all of it"]).ok();
    scene.decide(&["restore", "demo:io", "--reason", "not all"]).ok();
    assert_eq!(scene.served(), "1.1.0 1.2.0");
    scene.is_sound();
}

#[test]
fn what_cannot_be_decided_is_refused_and_changes_nothing() {
    let scene = Scene::new("sha1");
    let mallory = scene.world.person_with_key("mallory");
    let path = scene.world.at("reg.git");
    let state = || git(&scene.world.path("reg.git"), ["for-each-ref"]).ok().stdout;
    let before = state();
    let args = ["registry", "takedown", &path, "demo:io", "--reason", "I want it", "--json"];
    mallory.quipu(args).fails(8, "unauthorized");
    for (args, status, code) in [
        (&["takedown", "demo:nothing", "--reason", "x"][..], 3, "not-found"),
        (&["takedown", "demo:io@9.0.0", "--reason", "x"], 3, "not-found"),
        (&["takedown", "other.example/demo:io", "--reason", "x"], 8, "wrong-registry"),
        (&["takedown", "demo:io"], 2, "usage"),
        (&["takedown", "demo:io", "--reason", " "], 2, "usage"),
        (&["takedown", "demo:io", "--reason", "x", "--class", "mood"], 2, "usage"),
        (&["restore", "demo:io", "--reason", "x"], 8, "bad-record"),
    ] {
        scene.decide(args).fails(status, code);
        assert_eq!(state(), before, "{args:?}");
    }
    scene.decide(&["takedown", "demo:io@1.0.0", "--reason", "x", "--dry-run"]).ok();
    assert_eq!(state(), before);
    scene.decide(&["takedown", "demo:io@1.0.0", "--reason", "x"]).ok();
    scene.decide(&["takedown", "demo:io@1.0.0", "--reason", "x"]).fails(8, "bad-record");
    scene.is_sound();
}
