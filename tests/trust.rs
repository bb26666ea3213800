//! Whom somebody trusts, and for what: this machine's own list, the user's word above it, and trust that ends at a namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::{Person, World, folders};

const ACME: &str = "acme.example";

struct Scene {
    world: World,
    alice: Person,
    id: String,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "acme.git", ACME, "sha1");
        alice.quipu(["publish", &world.package("http", "wasi:http", "1.0.0")]).ok();
        alice.quipu(["publish", &world.package("io", "demo:io", "1.0.0")]).ok();
        Scene { world, alice, id }
    }

    /// Writes this machine's list, with an id for the registry and what else is to be said of it.
    fn list(&self, id: &str, more: &str) {
        let url = self.world.at("acme.git");
        let text = format!("[[registry]]\nname = \"{ACME}\"\nid = \"{id}\"\nurl = \"{url}\"\n{more}");
        self.world.write("etc/trust.toml", &text);
    }

    fn user(&self, name: &str) -> Person {
        self.world.person(name).with("QUIPU_SYSTEM", self.world.path("etc"))
    }
}

#[test]
fn a_well_known_registry_needs_no_more_than_this_machines_list() {
    let scene = Scene::new();
    scene.list(&scene.id, "");
    let bob = scene.user("bob");
    let listed = bob.quipu(["trust", "list", "--json"]).ok().json();
    assert_eq!(listed["registries"][0]["source"], "system");
    let shown = bob.quipu(["trust", "show", ACME]).ok();
    assert!(shown.stdout.contains("it is on this machine's list") && shown.stdout.contains("etc/trust.toml"), "{}", shown.stdout);
    bob.quipu(["get", "acme.example/wasi:http", "--to", &scene.world.at("got/1")]).ok();
    folders::assert_same(&scene.world.path("got/1"), &scene.world.path("http"));
    // What was seen of it is remembered, as of any other: what is lost is missed.
    assert_eq!(bob.quipu(["trust", "show", ACME, "--json"]).ok().json()["packages"], 1);
    std::fs::remove_dir_all(bob.home.join("state")).unwrap();
    bob.quipu(["info", "acme.example/wasi:http", "--json"]).fails(4, "state-lost");
    bob.quipu(["trust", "add", ACME, &scene.world.at("acme.git"), "--id", &scene.id]).ok();
    bob.quipu(["info", "acme.example/wasi:http"]).ok();
}

#[test]
fn the_user_overrules_this_machines_list() {
    let scene = Scene::new();
    scene.list(&scene.id, "");
    let bob = scene.user("bob");
    // Against it: the registry is not trusted, and that stays visible.
    let removed = bob.quipu(["trust", "remove", ACME]).ok();
    assert!(removed.stdout.contains("quipu trust add acme.example"), "{}", removed.stdout);
    bob.quipu(["info", "acme.example/wasi:http", "--json"]).fails(5, "not-trusted");
    let listed = bob.quipu(["trust", "list", "--json"]).ok().json();
    assert_eq!((&listed["registries"], &listed["refused"]), (&serde_json::json!([]), &serde_json::json!([ACME])));
    assert!(bob.quipu(["trust", "list"]).ok().stdout.contains("you do not trust it"));
    // Another one of the same name in its stead.
    let mallory = scene.world.person_with_key("mallory");
    let other = scene.world.registry(&mallory, "other.git", ACME, "sha1");
    bob.trust(ACME, &scene.world.at("other.git"), &other);
    let shown = bob.quipu(["trust", "show", ACME, "--json"]).ok().json();
    assert_eq!((shown["id"].as_str(), shown["listed"].as_str()), (Some(other.as_str()), Some(scene.id.as_str())));
    assert!(bob.quipu(["trust", "show", ACME]).ok().stdout.contains("with another id: "));
    // And back to it: its place is known, and its id is what is asked about.
    bob.quipu(["trust", "remove", ACME]).ok();
    bob.quipu(["trust", "add", ACME, "--json"]).fails(5, "not-trusted");
    bob.quipu(["trust", "add", ACME, "--id", &scene.id]).ok();
    bob.quipu(["info", "acme.example/wasi:http"]).ok();
}

#[test]
fn a_list_that_changes_its_mind_moves_nobody_who_looked_already() {
    let scene = Scene::new();
    let mallory = scene.world.person_with_key("mallory");
    let other = scene.world.registry(&mallory, "other.git", ACME, "sha1");
    scene.list(&scene.id, "");
    let bob = scene.user("bob");
    bob.quipu(["info", "acme.example/wasi:http"]).ok();
    scene.list(&other, "");
    bob.quipu(["info", "acme.example/wasi:http"]).ok();
    assert!(bob.quipu(["trust", "show", ACME]).ok().stdout.contains(&format!("with another id: {other}")));
    let carol = scene.user("carol");
    carol.quipu(["info", "acme.example/wasi:http", "--json"]).fails(5, "id-mismatch");
    // What is on it no more is not trusted any more.
    scene.world.write("etc/trust.toml", "");
    bob.quipu(["info", "acme.example/wasi:http", "--json"]).fails(5, "not-trusted");
    scene.world.write("etc/trust.toml", "[[registry]]\nname = \"acme.example\"\n");
    let failed = bob.quipu(["info", "acme.example/wasi:http", "--json"]);
    assert!(failed.fails(2, "bad-config").contains("etc/trust.toml: line 1"), "{}", failed.stdout);
}

#[test]
fn trust_may_end_at_a_namespace() {
    let scene = Scene::new();
    let bob = scene.user("bob");
    let trust = |more: &[&str]| {
        let (url, id) = (scene.world.at("acme.git"), scene.id.clone());
        let args = ["trust", "add", ACME, &url, "--id", &id, "--json"].into_iter().chain(more.iter().copied());
        bob.quipu(args)
    };
    trust(&["--only", "wasi"]).fails(2, "bad-name");
    assert_eq!(trust(&["--only", "wasi:*", "--only", "demo:io2"]).ok().json()["only"], serde_json::json!(["wasi:*", "demo:io2"]));
    bob.quipu(["get", "acme.example/wasi:http", "--to", &scene.world.at("got/1")]).ok();
    for command in [&["get", "acme.example/demo:io"][..], &["info", "acme.example/demo:io"], &["add", "acme.example/demo:io"]] {
        let failed = bob.within(scene.world.root()).quipu(command.iter().copied().chain(["--json"]));
        let said = failed.fails(5, "not-trusted");
        assert!(said.contains("trusted for wasi:*, demo:io2 only") && said.contains("--only 'demo:*'"), "{said}");
    }
    // Also where a package that is trusted needs one that is not.
    let needs = "[package]\nname = \"wasi:app\"\nversion = \"1.0.0\"\n\n[dependencies]\n\"demo:io\" = \"1\"\n";
    scene.world.write("app/quipu.toml", needs);
    scene.alice.quipu(["publish", &scene.world.at("app")]).ok();
    scene.world.write("project/quipu.toml", "[dependencies]\n\"acme.example/wasi:app\" = \"1\"\n");
    let project = bob.within(scene.world.path("project"));
    assert!(project.quipu(["install", "--json"]).fails(5, "not-trusted").contains("demo:io"));
    assert!(!scene.world.path("project/quipu.lock").exists());
    // What is trusted stays as it is where nothing is said of it, and is widened by saying so.
    assert_eq!(trust(&[]).ok().json()["only"], serde_json::json!(["wasi:*", "demo:io2"]));
    bob.quipu(["trust", "add", ACME, "--only", "*"]).ok();
    assert_eq!(bob.quipu(["trust", "list", "--json"]).ok().json()["registries"][0]["only"], serde_json::json!([]));
    project.quipu(["install"]).ok();
    // A list may narrow as well.
    scene.list(&scene.id, "only = [\"demo:*\"]\n");
    let carol = scene.user("carol");
    carol.quipu(["info", "acme.example/demo:io"]).ok();
    carol.quipu(["info", "acme.example/wasi:http", "--json"]).fails(5, "not-trusted");
}
