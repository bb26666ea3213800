//! A package takes another name: its owners ask, operators grant, the same chain goes on, and what named the old name goes on to hold.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use std::fs;
use support::daemon::Daemon;
use support::{Outcome, Person, World, folders, git};

const ACME: &str = "acme.example";
const OLD: &str = "acme.example/demo:old";
const NEW: &str = "acme.example/demo:new";

/// A registry of Alice's, and Bob, who owns `demo:old` in 1.0.0 and 1.1.0 and is no operator.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    id: String,
}

impl Scene {
    fn new(format: &str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", ACME, format);
        let bob = world.person_with_key("bob");
        bob.trust(ACME, &world.at("reg.git"), &id);
        let scene = Scene { world, alice, bob, id };
        for version in ["1.0.0", "1.1.0"] {
            scene.publish("demo:old", version);
        }
        scene
    }

    fn path(&self) -> String {
        self.world.at("reg.git")
    }

    fn propose(&self, name: &str, version: &str) -> Outcome {
        let folder = self.world.package(&format!("{}/{version}", name.replace(':', "/")), name, version);
        self.bob.quipu(["publish", &folder, "--registry", ACME, "--json"])
    }

    fn publish(&self, name: &str, version: &str) {
        self.propose(name, version).ok();
        self.accept();
    }

    fn accept(&self) -> Value {
        self.alice.asks(["registry", "accept", &self.path()])
    }

    fn rename(&self, from: &str, to: &str) -> Value {
        self.bob.asks(["rename", &format!("{ACME}/{from}"), to]);
        self.accept()
    }

    fn operate(&self, args: &[&str]) -> Outcome {
        let path = self.path();
        self.alice.quipu(["registry", args[0], &path].into_iter().chain(args[1..].iter().copied()).chain(["--json"]))
    }

    fn reader(&self, name: &str) -> Person {
        let person = self.world.person(name);
        person.trust(ACME, &self.path(), &self.id);
        fs::create_dir_all(self.world.path(name)).unwrap();
        person.within(self.world.path(name))
    }

    fn project(&self, name: &str, needs: &str) -> Person {
        let person = self.reader(name);
        self.world.write(&format!("{name}/quipu.toml"), &format!("[dependencies]\n{needs}"));
        person
    }

    fn lock(&self, name: &str) -> String {
        fs::read_to_string(self.world.path(name).join("quipu.lock")).unwrap()
    }

    #[track_caller]
    fn installed(&self, who: &str, place: &str, from: &str) {
        let there = self.world.path(who).join("quipu_packages/acme.example/demo").join(place);
        folders::assert_same(&there, &self.world.path(from));
    }

    #[track_caller]
    fn is_sound(&self) {
        self.alice.quipu(["verify", &self.path()]).ok();
        self.alice.quipu(["registry", "fsck", &self.path()]).ok();
        let found = git(&self.world.path("reg.git"), ["fsck", "--strict", "--no-dangling", "--no-progress"]).ok();
        assert_eq!(found.stdout, "");
    }

    fn named(&self, reference: &str) -> String {
        git(&self.world.path("reg.git"), ["rev-parse", "--verify", reference]).ok().stdout
    }

    fn refs(&self) -> String {
        let all = git(&self.world.path("reg.git"), ["for-each-ref"]).ok().stdout;
        all.lines().filter(|line| !line.contains("refs/refused/")).collect::<Vec<_>>().join("\n")
    }

    /// Returns the versions whose files are handed out under a name.
    fn served(&self, name: &str) -> String {
        let found = git(&self.world.path("reg.git"), ["ls-tree", "--name-only", &format!("refs/contents/demo/{name}")]);
        found.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn the_chain_goes_on_under_the_new_name_and_the_old_one_leads_there_and_says_so() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let accepted = scene.rename("demo:old", "demo:new");
        assert_eq!(accepted["renames"], json!([{ "from": "demo:old", "to": "demo:new", "state": "granted", "error": null }]));
        scene.is_sound();
        assert_eq!(scene.named("refs/packages/demo/new"), scene.named("refs/packages/demo/old"));
        assert_eq!(scene.named("refs/contents/demo/new"), scene.named("refs/contents/demo/old"));
        scene.publish("demo:new", "1.2.0");
        scene.is_sound();
        // The one chain, as git sees it.
        let repository = scene.world.path("reg.git");
        git(&repository, ["merge-base", "--is-ancestor", "refs/packages/demo/old", "refs/packages/demo/new"]).ok();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("1.0.0 1.1.0", "1.0.0 1.1.0 1.2.0"));
        let carol = scene.reader("carol");
        for verb in ["info", "log", "verify", "get"] {
            let found = carol.asks([verb, OLD]);
            assert_eq!((&found["package"], &found["renamed-to"]), (&json!("demo:new"), &json!(NEW)), "{verb}");
            assert_eq!(carol.asks([verb, NEW, "--dry-run"])["renamed-to"], Value::Null, "{verb}");
            let said = carol.quipu([verb, OLD, "--dry-run"]).ok().stdout;
            assert!(said.contains("acme.example/demo:old was renamed, its name is acme.example/demo:new now"), "{said}");
        }
        let hits = carol.asks(["search", "demo:"])["hits"].as_array().unwrap().clone();
        let renamed: Vec<&Value> = hits.iter().filter(|hit| hit["package"] == "demo:old").map(|hit| &hit["renamed-to"]).collect();
        assert_eq!(renamed, [&json!(NEW)]);
        folders::assert_same(&scene.world.path("carol/old-1.2.0"), &scene.world.path("demo/new/1.2.0"));
        carol.quipu(["get", &format!("{OLD}@1.0.0"), "--to", "first"]).ok();
        folders::assert_same(&scene.world.path("carol/first"), &scene.world.path("demo/old/1.0.0"));
        let compared = carol.quipu(["diff", &format!("{OLD}@1.0.0"), &format!("{NEW}@1.2.0"), "--json"]).ends(1).json();
        assert_eq!(compared["renamed-to"], NEW);
        // Over git's own protocol, and from a plain copy.
        git(&scene.world.root(), ["clone", "-q", "--mirror", "reg.git", "copy.git"]).ok();
        let daemon = Daemon::serve(&scene.world.root());
        for place in ["reg.git", "copy.git"] {
            let dora = scene.world.person(&format!("dora-{place}"));
            dora.trust(ACME, &daemon.url(place), &scene.id);
            let found = dora.asks(["get", &format!("{OLD}@1.2.0"), "--to", &scene.world.at(&format!("got-{place}"))]);
            assert_eq!(found["renamed-to"], NEW);
            folders::assert_same(&scene.world.path(&format!("got-{place}")), &scene.world.path("demo/new/1.2.0"));
            // Everything was seen; without a network it is the same.
            assert_eq!(dora.asks(["info", OLD, "--offline"])["renamed-to"], NEW);
        }
    }
}

#[test]
fn a_lock_of_the_old_name_goes_on_to_hold_and_newer_versions_come_by_either_name() {
    let scene = Scene::new("sha1");
    let carol = scene.project("carol", "\"acme.example/demo:old\" = \"1.0\"\n");
    carol.quipu(["install"]).ok();
    let before = scene.lock("carol");
    scene.rename("demo:old", "demo:new");
    scene.publish("demo:new", "1.2.0");
    for (who, args) in [("carol", &["install"][..]), ("carol", &["install", "--locked"]), ("dora", &["install", "--locked"])] {
        let person = if who == "carol" { carol.clone() } else { scene.project(who, "\"acme.example/demo:old\" = \"1.0\"\n") };
        fs::write(scene.world.path(who).join("quipu.lock"), &before).unwrap();
        let told = person.asks(args);
        assert_eq!(told["notes"], json!(["acme.example/demo:old was renamed, its name is acme.example/demo:new now"]));
        assert_eq!(scene.lock(who), before);
        scene.installed(who, "old/1.1.0", "demo/old/1.1.0");
        person.asks(["install", "--frozen"]);
    }
    // What only the new name has is found by the old one.
    let erin = scene.project("erin", "\"acme.example/demo:old\" = \"1.2\"\n");
    let told = erin.asks(["install"]);
    assert_eq!(told["added"], json!(["acme.example/demo:new@1.2.0"]));
    assert_eq!(told["packages"][0]["asked-as"], json!([OLD]));
    scene.installed("erin", "new/1.2.0", "demo/new/1.2.0");
    assert!(scene.lock("erin").contains("asked-as = [\n  \"acme.example/demo:old\",\n]"), "{}", scene.lock("erin"));
    let lock = scene.lock("erin");
    for args in
        [&["install"][..], &["install", "--locked"], &["install", "--frozen"], &["update"], &["update", OLD], &["update", NEW]]
    {
        let told = erin.asks(args);
        assert!(told["notes"][0].as_str().unwrap().contains("was renamed"), "{args:?}");
        assert_eq!(scene.lock("erin"), lock, "{args:?}");
    }
    // Chosen anew, the lock of before goes on with the version that it had.
    scene.world.write("carol/quipu.toml", "[dependencies]\n\"acme.example/demo:new\" = \"1.0\"\n");
    let told = carol.asks(["install"]);
    assert_eq!(told["added"], json!(["acme.example/demo:new@1.1.0"]));
    scene.installed("carol", "new/1.1.0", "demo/old/1.1.0");
    carol.asks(["update"]);
    scene.installed("carol", "new/1.2.0", "demo/new/1.2.0");
}

#[test]
fn old_and_new_name_are_one_package_wherever_they_are_needed() {
    let scene = Scene::new("sha1");
    let library = scene.world.package("library", "demo:library", "1.0.0");
    scene.world.write(
        "library/quipu.toml",
        "[package]\nname = \"demo:library\"\nversion = \"1.0.0\"\n[dependencies]\n\"demo:old\" = \"1\"\n",
    );
    scene.alice.quipu(["publish", &library]).ok();
    scene.rename("demo:old", "demo:new");
    scene.publish("demo:new", "1.2.0");
    let carol = scene.project("carol", "\"acme.example/demo:library\" = \"1\"\n\"acme.example/demo:new\" = \"1.1\"\n");
    let told = carol.asks(["install"]);
    assert_eq!(told["added"], json!(["acme.example/demo:library@1.0.0", "acme.example/demo:new@1.2.0"]));
    carol.asks(["install", "--locked"]);
    // They cannot be had in two versions of one line.
    scene.world.write(
        "carol/quipu.toml",
        "[dependencies]\n\"acme.example/demo:library\" = \"1\"\n\"acme.example/demo:old\" = \"=1.0.0\"\n\"acme.example/demo:new\" = \"=1.2.0\"\n",
    );
    carol.quipu(["install", "--json"]).fails(8, "no-solution");
}

#[test]
fn a_name_that_was_left_is_free_for_nobody_and_takes_no_records() {
    let scene = Scene::new("sha1");
    scene.rename("demo:old", "demo:new");
    let before = scene.refs();
    // Bob has the old name in his quipu.toml still.
    let told = scene.propose("demo:old", "1.3.0").fails(8, "wrong-log");
    assert!(told.contains("demo:new") && told.contains("quipu.toml"), "{told}");
    // Mallory never saw it: what is proposed at the name is judged by what the map has.
    let mallory = scene.world.person_with_key("mallory");
    mallory.trust(ACME, &scene.path(), &scene.id);
    let folder = scene.world.package("mine", "demo:old", "2.0.0");
    mallory.quipu(["publish", &folder, "--registry", ACME, "--json"]).fails(8, "wrong-log");
    assert_eq!(scene.refs(), before);
    // What an owner does by the old name is done to the package.
    let yanked = scene.bob.asks(["yank", &format!("{OLD}@1.0.0"), "--reason", "a bug"]);
    assert_eq!((&yanked["package"], &yanked["renamed-to"]), (&json!("demo:new"), &json!(NEW)));
    let accepted = scene.accept();
    assert_eq!(accepted["outcomes"][0]["package"], "demo:new");
    assert_eq!(accepted["outcomes"][0]["records"], json!(["yank demo:new 1.0.0"]));
    scene.is_sound();
}

#[test]
fn a_proposal_that_was_made_before_the_rename_is_told_the_new_name() {
    let scene = Scene::new("sha1");
    // Two of Bob's machines: the second one proposes on the log as it was.
    let late = scene.world.package("late", "demo:old", "1.2.0");
    let bob = scene.bob.quipu(["publish", &late, "--registry", ACME, "--json"]).ok().json();
    let proposal = bob["proposal"].as_str().unwrap().to_owned();
    let repository = scene.world.path("reg.git");
    let name = format!("refs/incoming/demo/old/{proposal}");
    git(&repository, ["update-ref", "refs/heads/aside", &proposal]).ok();
    git(&repository, ["update-ref", "-d", &name]).ok();
    scene.rename("demo:old", "demo:new");
    git(&repository, ["update-ref", &name, &proposal]).ok();
    let refused = scene.operate(&["accept"]).fails(8, "refused");
    assert!(refused.contains("demo:old"), "{refused}");
    let told = scene.bob.asks(["info", OLD]);
    assert_eq!(told["renamed-to"], NEW);
    git(&repository, ["update-ref", "-d", "refs/heads/aside"]).ok();
    scene.is_sound();
}

#[test]
fn a_wish_waits_for_a_person_where_the_policy_leaves_a_question() {
    let scene = Scene::new("sha1");
    // An operator who makes checkpoints, and decides nothing.
    let oscar = scene.world.person_with_key("oscar");
    scene.operate(&["operator", "list"]);
    let allow =
        ["registry", "operator", "allow", &scene.path(), &oscar.public_key(), "--privilege", "checkpoint", "--name", "oscar"];
    scene.alice.quipu(allow).ok();
    scene.bob.asks(["rename", OLD, "demo:new"]);
    let accepted = oscar.asks(["registry", "accept", &scene.path()]);
    assert_eq!(
        (&accepted["renames"][0]["state"], &accepted["renames"][0]["error"]["code"]),
        (&json!("waits"), &json!("unauthorized"))
    );
    scene.is_sound();
    let info = scene.bob.quipu(["info", OLD]).ok().stdout;
    assert!(info.contains("waits for an operator"), "{info}");
    // Meanwhile all is as it was.
    scene.propose("demo:old", "1.2.0").ok();
    oscar.asks(["registry", "accept", &scene.path()]);
    scene.bob.quipu(["get", NEW, "--json"]).fails(3, "not-found");
    let again = scene.bob.quipu(["rename", OLD, "demo:new", "--json"]);
    let hints = again.fails(8, "bad-record");
    assert!(
        hints.contains("quipu registry rename PATH demo:old") && hints.contains(&format!("quipu rename {OLD} {OLD}")),
        "{hints}"
    );
    // Who may decide grants it as soon as there is something to judge.
    scene.propose("demo:old", "1.3.0").ok();
    let accepted = scene.accept();
    assert_eq!(accepted["renames"][0]["state"], "granted");
    assert_eq!(scene.bob.asks(["info", OLD])["renamed-to"], NEW);
    scene.is_sound();
}

#[test]
fn an_operator_grants_by_hand_what_waits_and_nothing_else() {
    let scene = Scene::new("sha256");
    let told = scene.operate(&["rename", "demo:old"]).fails(8, "bad-record");
    assert!(told.contains("quipu rename demo:old NEW"), "{told}");
    scene.operate(&["rename", "demo:nothing"]).fails(3, "not-found");
    scene.operate(&["rename", "demo:old@1.0.0"]).fails(2, "usage");
    scene.operate(&["rename", "other.example/demo:old"]).fails(8, "wrong-registry");
    // New names are to wait.
    scene.bob.asks(["rename", OLD, "demo:new"]);
    let accepted = scene.operate(&["accept", "--known"]).ok().json();
    assert_eq!((&accepted["renames"][0]["state"], &accepted["renames"][0]["error"]["code"]), (&json!("waits"), &json!("policy")));
    let before = scene.refs();
    let said = scene.alice.quipu(["registry", "rename", &scene.path(), "demo:old", "--dry-run"]).ok().stdout;
    assert_eq!(said, "would rename demo:old to demo:new\n");
    assert_eq!(scene.refs(), before);
    let mallory = scene.world.person_with_key("mallory");
    mallory.quipu(["registry", "rename", &scene.path(), "demo:old", "--json"]).fails(8, "unauthorized");
    assert_eq!(scene.refs(), before);
    let granted = scene.operate(&["rename", "demo:old"]).ok().json();
    assert_eq!((&granted["package"], &granted["to"]), (&json!("demo:old"), &json!("demo:new")));
    scene.is_sound();
    assert_eq!(scene.bob.asks(["info", OLD])["renamed-to"], NEW);
    let told = scene.operate(&["rename", "demo:old"]).fails(8, "bad-record");
    assert!(told.contains("demo:old is called demo:new already"), "{told}");
}

#[test]
fn what_an_owner_asks_for_can_be_taken_back_until_it_is_granted() {
    let scene = Scene::new("sha1");
    scene.bob.asks(["rename", OLD, "demo:new"]);
    scene.operate(&["accept", "--known"]).ok();
    let told = scene.bob.quipu(["rename", OLD, "demo:old"]).ok().stdout;
    assert!(told.contains("keeps its name"), "{told}");
    scene.accept();
    scene.operate(&["rename", "demo:old"]).fails(8, "bad-record");
    scene.bob.quipu(["rename", OLD, "demo:old", "--json"]).fails(8, "bad-record");
    // The name is free for whoever comes first.
    let folder = scene.world.package("mine", "demo:new", "0.1.0");
    scene.alice.quipu(["publish", &folder]).ok();
    let accepted = scene.rename("demo:old", "demo:new");
    assert_eq!(
        (&accepted["renames"][0]["state"], &accepted["renames"][0]["error"]["code"]),
        (&json!("waits"), &json!("name-taken"))
    );
    scene.operate(&["rename", "demo:old"]).fails(8, "name-taken");
    // Another wish takes its place.
    let accepted = scene.rename("demo:old", "demo:newer");
    assert_eq!(accepted["renames"][0]["state"], "granted");
    scene.is_sound();
}

#[test]
fn under_listed_registration_a_new_name_is_for_whoever_may_register_it() {
    let scene = Scene::new("sha1");
    let path = scene.path();
    scene.alice.quipu(["registry", "operator", "list", &path]).ok();
    let policy = scene.alice.quipu(["registry", "policy", &path, "--registration", "listed", "--json"]);
    if policy.status != 0 {
        // There is no such command yet; the law of it is tested where records are laid by hand.
        return;
    }
    scene.bob.asks(["rename", OLD, "demo:new"]);
    let accepted = scene.accept();
    assert_eq!(accepted["renames"][0]["error"]["code"], "unauthorized");
    scene.operate(&["rename", "demo:old"]).ok();
    scene.is_sound();
}

#[test]
fn a_package_comes_back_to_a_name_that_it_left_and_goes_on_from_there() {
    let scene = Scene::new("sha1");
    let carol = scene.reader("carol");
    scene.rename("demo:old", "demo:new");
    scene.publish("demo:new", "1.2.0");
    carol.asks(["info", OLD]);
    let accepted = scene.rename("demo:new", "demo:old");
    assert_eq!(accepted["renames"][0]["state"], "granted");
    scene.is_sound();
    assert_eq!(carol.asks(["info", NEW])["renamed-to"], OLD);
    assert_eq!(carol.asks(["info", OLD])["renamed-to"], Value::Null);
    scene.publish("demo:old", "1.3.0");
    scene.is_sound();
    assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("1.0.0 1.1.0 1.2.0 1.3.0", "1.0.0 1.1.0 1.2.0"));
    // And to and fro, and on.
    scene.rename("demo:old", "demo:new");
    scene.is_sound();
    scene.rename("demo:new", "else:where");
    scene.publish("else:where", "2.0.0");
    scene.is_sound();
    for name in [OLD, NEW] {
        let found = carol.asks(["info", name]);
        assert_eq!((&found["renamed-to"], &found["version"]), (&json!("acme.example/else:where"), &json!("2.0.0")));
    }
    // Nobody else comes to a name that was left, not by a rename either.
    let folder = scene.world.package("mine", "demo:mine", "0.1.0");
    scene.alice.quipu(["publish", &folder]).ok();
    scene.alice.quipu(["rename", "acme.example/demo:mine", "demo:new", "--json"]).ok();
    scene.operate(&["rename", "demo:mine"]).fails(8, "name-taken");
    scene.is_sound();
}

#[test]
fn a_rename_shakes_off_no_takedown_and_one_name_stands_for_all() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let dora = scene.project("dora", "\"acme.example/demo:old\" = \"=1.1.0\"\n");
        dora.quipu(["install"]).ok();
        let lock = scene.lock("dora");
        scene.operate(&["takedown", "demo:old@1.1.0", "--reason", "it mines", "--class", "malware"]).ok();
        scene.rename("demo:old", "demo:new");
        scene.is_sound();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("1.0.0", "1.0.0"));
        let carol = scene.reader("carol");
        for name in [OLD, NEW] {
            let told = carol.quipu(["get", &format!("{name}@1.1.0"), "--json"]).fails(4, "taken-down");
            assert!(told.contains("it mines"), "{told}");
            assert_eq!(carol.asks(["info", name])["version"], "1.0.0");
        }
        // What is released later under the new name, and taken down by either, is gone under both.
        scene.publish("demo:new", "1.2.0");
        scene.operate(&["takedown", "demo:old@1.0.0", "--reason", "a court", "--class", "legal"]).ok();
        scene.operate(&["takedown", "demo:new@1.0.0", "--reason", "again"]).fails(8, "bad-record");
        scene.is_sound();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("", "1.2.0"));
        fs::remove_dir_all(scene.world.path("dora/quipu_packages")).unwrap();
        let told = dora.quipu(["install", "--json"]).fails(4, "taken-down");
        assert!(told.contains("demo:old@1.1.0 was taken down (malware): it mines"), "{told}");
        assert_eq!(scene.lock("dora"), lock);
        // A restore finds the decision wherever it stands.
        scene.operate(&["restore", "demo:new@1.1.0", "--reason", "it does not"]).ok();
        scene.operate(&["restore", "demo:old@1.0.0", "--reason", "another court"]).ok();
        scene.operate(&["restore", "demo:old@1.0.0", "--reason", "x"]).fails(8, "bad-record");
        scene.is_sound();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("1.0.0 1.1.0", "1.0.0 1.1.0 1.2.0"));
        dora.quipu(["install", "--locked"]).ok();
        // All of it.
        scene.operate(&["takedown", "demo:old", "--reason", "all of it"]).ok();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("", ""));
        scene.propose("demo:new", "1.3.0").ok();
        assert_eq!(scene.operate(&["accept"]).ends(8).json()["outcomes"][0]["error"]["code"], "taken-down");
        scene.operate(&["restore", "demo:new", "--reason", "none of it"]).ok();
        scene.is_sound();
        assert_eq!((scene.served("old").as_str(), scene.served("new").as_str()), ("1.0.0 1.1.0", "1.0.0 1.1.0 1.2.0"));
    }
}

#[test]
fn one_who_is_no_owner_renames_nothing_and_what_makes_no_sense_is_said() {
    let scene = Scene::new("sha1");
    let before = scene.refs();
    let mallory = scene.world.person_with_key("mallory");
    mallory.trust(ACME, &scene.path(), &scene.id);
    mallory.quipu(["rename", OLD, "demo:mine", "--json"]).fails(8, "unauthorized");
    let bob = &scene.bob;
    for (args, status, code) in [
        ([OLD, "demo:old"], 8, "bad-record"),
        ([OLD, "demo:new@1.0.0"], 2, "usage"),
        (["acme.example/demo:old@1.0.0", "demo:new"], 2, "usage"),
        (["acme.example/demo:nothing", "demo:new"], 3, "not-found"),
        ([OLD, "other.example/demo:new"], 5, "not-trusted"),
    ] {
        bob.quipu(["rename", args[0], args[1], "--json"]).fails(status, code);
    }
    for args in [&["rename", OLD][..], &["rename", OLD, "New Name"], &["rename"]] {
        assert_eq!(bob.quipu(args).status, 2, "{args:?}");
    }
    bob.quipu(["rename", OLD, "demo:new", "--dry-run"]).ok();
    assert_eq!(scene.refs(), before);
}

#[test]
fn an_owner_moves_a_package_to_another_registry_and_a_stranger_is_kept_out() {
    let scene = Scene::new("sha1");
    let carol = scene.world.person_with_key("carol");
    let id = scene.world.registry(&carol, "other.git", "other.example", "sha1");
    scene.bob.trust("other.example", &scene.world.at("other.git"), &id);
    scene.bob.asks(["rename", OLD, "other.example/moved:here"]);
    let accepted = scene.accept();
    assert_eq!(accepted["renames"], json!([]));
    scene.is_sound();
    // The log is brought there by git alone: its records say that it belongs there now.
    let other = scene.world.path("other.git");
    git(
        &other,
        ["fetch", "-q", &scene.path(), "refs/packages/demo/old:refs/heads/log", "refs/contents/demo/old:refs/heads/contents"],
    )
    .ok();
    let tree = git(&other, ["rev-parse", "refs/heads/contents^{tree}"]).ok().stdout.trim().to_owned();
    let head = git(&other, ["rev-parse", "refs/heads/log"]).ok().stdout.trim().to_owned();
    let body =
        format!("tree {tree}\nparent {head}\nauthor quipu <proposal> 0 +0000\ncommitter quipu <proposal> 0 +0000\n\nproposal\n");
    let file = scene.world.write("proposal", &body);
    let proposal = git(&other, ["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]).ok().stdout.trim().to_owned();
    for name in ["refs/incoming/moved/here/", "refs/incoming/moved/there/"] {
        git(&other, ["update-ref", &format!("{name}{proposal}"), &proposal]).ok();
    }
    git(&other, ["update-ref", "-d", "refs/heads/log"]).ok();
    git(&other, ["update-ref", "-d", "refs/heads/contents"]).ok();
    let accepted = carol.quipu(["registry", "accept", &scene.world.at("other.git"), "--json"]).ends(8).json();
    assert_eq!((&accepted["outcomes"][0]["state"], &accepted["outcomes"][1]["state"]), (&json!("accepted"), &json!("refused")));
    carol.quipu(["registry", "fsck", &scene.world.at("other.git")]).ok();
    carol.quipu(["verify", &scene.world.at("other.git")]).ok();
    let found = scene.bob.asks(["get", "other.example/moved:here@1.0.0", "--to", &scene.world.at("moved")]);
    assert_eq!(found["package"], "moved:here");
    folders::assert_same(&scene.world.path("moved"), &scene.world.path("demo/old/1.0.0"));
    // It goes on there.
    let folder = scene.world.package("next", "moved:here", "1.2.0");
    scene.bob.quipu(["publish", &folder, "--registry", "other.example"]).ok();
    carol.quipu(["registry", "accept", &scene.world.at("other.git")]).ok();
    carol.quipu(["registry", "fsck", &scene.world.at("other.git")]).ok();
    // Where it came from it stays as it was left.
    assert_eq!(scene.bob.asks(["info", OLD])["version"], "1.1.0");
}

#[test]
fn over_the_wire_a_push_is_answered_with_the_new_name() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let made = alice.asks(["registry", "init", &world.at("git/acme.git"), "--name", ACME, "--hooks"]);
    let bob = world.person_with_key("bob");
    let daemon = Daemon::serve(&world.path("git"));
    bob.trust(ACME, &daemon.url("acme.git"), made["id"].as_str().unwrap());
    bob.asks(["publish", &world.package("old", "demo:old", "1.0.0"), "--registry", ACME]);
    let renamed = bob.asks(["rename", OLD, "demo:new"]);
    assert_eq!((&renamed["state"], &renamed["granted"]), (&json!("published"), &json!(true)));
    let published = bob.asks(["publish", &world.package("new", "demo:new", "1.1.0"), "--registry", ACME]);
    assert_eq!(published["state"], "published");
    bob.quipu(["publish", &world.package("late", "demo:old", "1.2.0"), "--registry", ACME, "--json"]).fails(8, "wrong-log");
    let yanked = bob.asks(["yank", &format!("{OLD}@1.0.0")]);
    assert_eq!((&yanked["state"], &yanked["renamed-to"]), (&json!("published"), &json!(NEW)));
    assert_eq!(bob.asks(["get", OLD, "--to", &world.at("got")])["version"], "1.1.0");
    alice.quipu(["registry", "fsck", &world.at("git/acme.git")]).ok();
}
