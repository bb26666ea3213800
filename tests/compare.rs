//! Two states of a registry, side by side.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use support::daemon::Daemon;
use support::{Outcome, Person, World, git};

const ACME: &str = "acme.example";

/// Returns what differs: each place with its relation.
fn differences(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["differences"].as_array().unwrap().iter().map(|one| (text(&one["place"]), text(&one["relation"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(place, relation)| ((*place).to_owned(), (*relation).to_owned())).collect()
}

struct Scene {
    world: World,
    alice: Person,
    id: String,
}

impl Scene {
    fn new(format: &str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", ACME, format);
        let scene = Scene { world, alice, id };
        for name in ["demo:one", "demo:two", "other:three"] {
            scene.publish(name, "1.0.0");
        }
        git(&scene.world.root(), ["clone", "-q", "--mirror", "reg.git", "mirror.git"]).ok();
        scene
    }

    fn publish(&self, name: &str, version: &str) {
        let folder = format!("src/{}/{version}", name.replace(':', "-"));
        self.alice.quipu(["publish", &self.world.package(&folder, name, version), "--registry", ACME]).ok();
    }

    fn compare(&self, args: &[&str]) -> Outcome {
        self.alice.quipu(["compare", "--json"].into_iter().chain(args.iter().copied()))
    }
}

#[test]
fn a_mirror_is_the_same_behind_or_ahead_package_by_package() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let daemon = Daemon::serve(&scene.world.root());
        let (home, mirror) = (scene.world.at("reg.git"), scene.world.at("mirror.git"));
        let (by_git, mirror_by_git) = (daemon.url("reg.git"), daemon.url("mirror.git"));
        let same = scene.compare(&[ACME, &mirror]).ok().json();
        assert_eq!((&same["relation"], &same["differences"]), (&json!("same"), &json!([])));
        scene.publish("demo:one", "1.1.0");
        scene.publish("demo:new", "1.0.0");
        scene.alice.quipu(["registry", "takedown", &home, "other:three@1.0.0", "--reason", "x"]).ok();
        for (a, b) in [(&home, &mirror), (&by_git, &mirror), (&home, &mirror_by_git), (&by_git, &mirror_by_git)] {
            let found = scene.compare(&[a, b]).ends(1).json();
            assert_eq!(found["relation"], "ahead");
            let expected = pairs(&[
                ("packages/demo/new", "only-here"),
                ("packages/demo/one", "ahead"),
                ("packages/other/three.decisions", "only-here"),
            ]);
            assert_eq!(differences(&found), expected, "{a} {b}");
            assert_eq!(found["counts"], json!({ "ahead": 1, "only-here": 2 }));
            let one = &found["differences"][1];
            assert_eq!((&one["here"], &one["there"], &one["shared"]), (&json!(2), &json!(1), &json!(2)));
            assert_eq!(scene.compare(&[b, a]).ends(1).json()["relation"], "behind");
        }
        let few = scene.compare(&[&home, &mirror, "--limit", "1"]).ends(1).json();
        assert_eq!((&few["all"], few["differences"].as_array().unwrap().len()), (&json!(3), 1));
        let shown = scene.alice.quipu(["compare", &home, &mirror, "--limit", "1"]).ends(1);
        assert!(shown.stdout.contains("ahead of") && shown.stdout.contains("and 2 differences more"), "{}", shown.stdout);
    }
}

#[test]
fn two_moments_of_one_registry_are_compared() {
    let scene = Scene::new("sha1");
    let found = scene.compare(&["acme.example@1"]).ends(1).json();
    assert_eq!(found["relation"], "behind");
    assert_eq!(differences(&found), pairs(&[("packages/demo/two", "only-there"), ("packages/other/three", "only-there")]));
    let found = scene.compare(&["acme.example@2", "@1"]).ends(1).json();
    assert_eq!((&found["relation"], differences(&found)), (&json!("ahead"), pairs(&[("packages/demo/two", "only-here")])));
    let digest = found["here"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(scene.compare(&["acme.example@2", &format!("./reg.git@{digest}")]).ok().json()["relation"], "same");
    for (args, status, code) in [
        (&["acme.example"][..], 2, "usage"),
        (&["acme.example@99"], 3, "not-found"),
        (&["acme.example", "@yesterday"], 2, "usage"),
        (&["nowhere.example", "./reg.git"], 5, "not-trusted"),
        (&["acme.example", "./nothing.git"], 3, "not-found"),
    ] {
        scene.compare(args).fails(status, code);
    }
}

#[test]
fn what_went_apart_is_said_to_have_gone_apart() {
    let scene = Scene::new("sha1");
    // The same operator goes on in the mirror as well.
    let twin = scene.world.person("twin");
    std::fs::create_dir_all(twin.home.join("keys")).unwrap();
    for file in std::fs::read_dir(scene.alice.home.join("keys")).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, twin.home.join("keys").join(file.file_name().unwrap())).unwrap();
    }
    twin.trust(ACME, &scene.world.at("mirror.git"), &scene.id);
    scene.publish("demo:one", "1.1.0");
    twin.quipu(["publish", &scene.world.package("src/twin", "demo:one", "1.2.0"), "--registry", ACME]).ok();
    let found = scene.compare(&["./reg.git", "./mirror.git"]).ends(1).json();
    assert_eq!((&found["relation"], differences(&found)), (&json!("diverged"), pairs(&[("packages/demo/one", "diverged")])));
    let shown = scene.alice.quipu(["compare", "./reg.git", "./mirror.git"]).ends(1);
    assert!(shown.stdout.contains("have DIVERGED") && shown.stdout.contains("DIVERGED after 2 records"), "{}", shown.stdout);
    // Another registry is not a state of this one, whatever it is called.
    let mallory = scene.world.person_with_key("mallory");
    scene.world.registry(&mallory, "fake.git", ACME, "sha1");
    scene.compare(&["./reg.git", "./fake.git"]).fails(5, "id-mismatch");
}

#[test]
fn what_a_map_names_and_its_place_does_not_hand_out_is_withheld() {
    let scene = Scene::new("sha1");
    let daemon = Daemon::serve(&scene.world.root());
    let (home, mirror) = (scene.world.at("reg.git"), scene.world.path("mirror.git"));
    scene.publish("demo:one", "1.1.0");
    scene.publish("demo:two", "1.1.0");
    git(&mirror, ["update-ref", "-d", "refs/packages/demo/one"]).ok();
    git(&mirror, ["gc", "-q", "--prune=now"]).ok();
    for mirror in [scene.world.at("mirror.git"), daemon.url("mirror.git")] {
        let found = scene.compare(&[&home, &mirror]).ends(1).json();
        let expected = pairs(&[("packages/demo/one", "withheld-there"), ("packages/demo/two", "ahead")]);
        assert_eq!(differences(&found), expected, "{mirror}");
        let found = scene.compare(&[&mirror, &home]).ends(1).json();
        assert_eq!(differences(&found)[0], ("packages/demo/one".to_owned(), "withheld-here".to_owned()), "{mirror}");
    }
}

#[test]
fn what_a_mirror_of_a_part_does_not_hold_is_no_difference() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let bob = scene.world.person_with_key("bob");
        scene.world.registry(&bob, "own.git", "own.example", format);
        let (home, own) = (scene.world.at("reg.git"), scene.world.at("own.git"));
        bob.quipu(["mirror", "add", ACME, &home, "--only", "demo:*", "--id", &scene.id, "--in", &own]).ok();
        let same = scene.compare(&[ACME, &own]).ok().json();
        assert_eq!(
            (&same["relation"], &same["there"]["patterns"], &same["filtered"]),
            (&json!("same"), &json!(["demo:*"]), &json!(0))
        );
        scene.publish("demo:one", "1.1.0");
        scene.publish("other:three", "1.1.0");
        scene.publish("other:four", "1.0.0");
        // By either one's URL, the other's name says which registry is meant.
        for (a, b, relation) in [(&home, &own, "ahead"), (&own, &home, "behind")] {
            let found = scene.compare(&[a, b]).ends(1).json();
            assert_eq!(
                (&found["relation"], &found["filtered"], &found["all"]),
                (&json!(relation), &json!(2), &json!(1)),
                "{found}"
            );
            assert_eq!(differences(&found), pairs(&[("packages/demo/one", relation)]));
        }
    }
}
