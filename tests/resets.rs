//! A name gets a new log, and what meant the old one goes on to mean it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use std::fs;
use support::daemon::Daemon;
use support::{Outcome, Person, World, folders, git};

const ACME: &str = "acme.example";
const IO: &str = "acme.example/demo:io";
const WHY: &str = "its only key is lost";

/// A registry of Alice's, and Bob, who owns `demo:io` in 1.0.0 and 1.1.0.
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
            scene.publish(&scene.bob, "old", version);
        }
        scene
    }

    fn path(&self) -> String {
        self.world.at("reg.git")
    }

    fn propose(&self, who: &Person, folder: &str, version: &str) -> Outcome {
        let folder = self.world.package(&format!("{folder}/{version}"), "demo:io", version);
        self.world.write(&format!("{}/src/text", folder), &format!("{} {version}\n", who.name));
        who.quipu(["publish", &folder, "--registry", ACME, "--json"])
    }

    fn publish(&self, who: &Person, folder: &str, version: &str) {
        self.propose(who, folder, version).ok();
        self.operate(&["accept"]).ok();
    }

    fn operate(&self, args: &[&str]) -> Outcome {
        let path = self.path();
        self.alice.quipu(["registry", args[0], &path].into_iter().chain(args[1..].iter().copied()).chain(["--json"]))
    }

    /// Gives the name to Carol.
    fn reset(&self) -> (Value, Person) {
        let carol = self.reader("carol");
        carol.quipu(["key", "new", "carol"]).ok();
        let reset = self.operate(&["reset", "demo:io", "--reason", WHY, "--owner", &carol.public_key()]).ok().json();
        (reset, carol)
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
    fn installed(&self, who: &str, version: &str, from: &str) {
        let there = self.world.path(who).join("quipu_packages/acme.example/demo/io").join(version);
        folders::assert_same(&there, &self.world.path(from).join(version));
    }

    #[track_caller]
    fn is_sound(&self) {
        self.alice.quipu(["verify", &self.path()]).ok();
        self.alice.quipu(["registry", "fsck", &self.path()]).ok();
        let found = git(&self.world.path("reg.git"), ["fsck", "--strict", "--no-dangling", "--no-progress"]).ok();
        assert_eq!(found.stdout, "");
    }

    fn refs(&self) -> String {
        let all = git(&self.world.path("reg.git"), ["for-each-ref"]).ok().stdout;
        all.lines().filter(|line| !line.contains("refs/refused/")).collect::<Vec<_>>().join("\n")
    }

    fn named(&self, reference: &str) -> String {
        git(&self.world.path("reg.git"), ["rev-parse", "--verify", reference]).ok().stdout
    }
}

#[test]
fn a_name_gets_a_new_log_and_locks_and_anchors_go_on_to_mean_the_old_one() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let (head, files) = (scene.named("refs/packages/demo/io"), scene.named("refs/contents/demo/io"));
        let dora = scene.project("dora", "\"acme.example/demo:io\" = \"1\"\n");
        dora.quipu(["install"]).ok();
        let lock = scene.lock("dora");
        let (reset, carol) = scene.reset();
        scene.is_sound();
        let (old, new) = (reset["old"].as_str().unwrap(), reset["new"].as_str().unwrap());
        let retired = format!("refs/retired/{}", &old["sha256:".len()..]);
        assert_eq!((scene.named(&format!("{retired}/log")), scene.named(&format!("{retired}/contents"))), (head, files));
        assert_ne!(git(&scene.world.path("reg.git"), ["rev-parse", "--verify", "refs/contents/demo/io"]).status, 0);
        // Carol goes on alone, with the same version in other files, and later ones.
        for version in ["1.1.0", "1.2.0"] {
            scene.publish(&carol, "new", version);
        }
        scene.is_sound();
        let keys = carol.asks(["owner", "list", IO]);
        let holders: Vec<&str> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|key| key["privileges"] != json!([]))
            .map(|key| key["name"].as_str().unwrap())
            .collect();
        assert_eq!(holders, ["carol"]);
        // Who never saw the old log gets the new one, and is told that there was another.
        let erin = scene.reader("erin");
        assert!(erin.quipu(["get", &format!("{IO}@1.1.0"), "--to", "got"]).ok().stdout.contains(WHY));
        folders::assert_same(&scene.world.path("erin/got"), &scene.world.path("new/1.1.0"));
        let info = erin.asks(["info", IO]);
        assert_eq!(
            (&info["resets"][0]["old"], &info["resets"][0]["new"], &info["resets"][0]["reason"]),
            (&json!(old), &json!(new), &json!(WHY))
        );
        // Whoever saw it is asked, and never gets the new one by itself.
        for args in [&["get", IO][..], &["info", IO], &["log", IO], &["verify", IO], &["add", IO]] {
            let told = dora.quipu(args.iter().copied().chain(["--json"])).fails(4, "wrong-log");
            assert!(told.contains(WHY) && told.contains(new), "{args:?}: {told}");
            if args[0] == "add" {
                break;
            }
        }
        // The lock means what it meant: here, for a colleague, from a plain copy over the wire, and without a network.
        git(&scene.world.root(), ["clone", "-q", "--mirror", "reg.git", &format!("copy-{format}.git")]).ok();
        let daemon = Daemon::serve(&scene.world.root());
        let fred = scene.world.person("fred");
        fred.trust(ACME, &daemon.url(&format!("copy-{format}.git")), &scene.id);
        scene.world.write("fred/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1\"\n");
        let fred = fred.within(scene.world.path("fred"));
        let gina = scene.project("gina", "\"acme.example/demo:io\" = \"1\"\n");
        for (name, person) in [("dora", &dora), ("fred", &fred), ("gina", &gina)] {
            let _ = fs::remove_dir_all(scene.world.path(name).join("quipu_packages"));
            fs::write(scene.world.path(name).join("quipu.lock"), &lock).unwrap();
            for args in [&["install", "--locked"][..], &["install"], &["install", "--frozen"], &["update"], &["vendor", "third"]]
            {
                let told = person.asks(args);
                let note = told["notes"][0].as_str().unwrap_or_default().to_owned();
                assert!(note.contains(WHY) && note.contains(old) && note.contains("quipu update"), "{name} {args:?}: {told}");
                assert_eq!(scene.lock(name), lock, "{name} {args:?}");
                scene.installed(name, "1.1.0", "old");
            }
        }
        // An anchor of the old log means the old log.
        let found = erin.asks(["get", &format!("{IO}@1.1.0#{old}"), "--to", "before"]);
        assert_eq!((&found["put-aside"]["new"], &found["put-aside"]["reason"]), (&json!(new), &json!(WHY)));
        folders::assert_same(&scene.world.path("erin/before"), &scene.world.path("old/1.1.0"));
        assert_eq!(erin.asks(["info", IO])["log"], new);
        for verb in ["info", "log", "verify"] {
            assert_eq!(erin.asks([verb, &format!("{IO}#{old}")])["log"], old, "{verb}");
            assert_eq!(dora.asks([verb, &format!("{IO}#{old}")])["log"], old, "{verb}");
        }
        let henry = scene.project("henry", &format!("\"acme.example/demo:io\" = {{ version = \"1\", anchor = \"{old}\" }}\n"));
        assert_eq!(henry.asks(["install"])["added"], json!(["acme.example/demo:io@1.1.0"]));
        scene.installed("henry", "1.1.0", "old");
        // And who says that the new one is meant has it.
        dora.asks(["update", IO]);
        scene.installed("dora", "1.2.0", "new");
        assert!(scene.lock("dora").contains(new));
        assert_eq!(gina.asks(["get", &format!("{IO}#{new}"), "--to", "followed"])["version"], "1.2.0");
    }
}

#[test]
fn what_stands_on_the_old_log_is_refused_with_the_reason() {
    let scene = Scene::new("sha1");
    scene.propose(&scene.bob, "late", "1.2.0").ok();
    let (_, carol) = scene.reset();
    let accepted = scene.operate(&["accept"]).ends(8).json();
    let error = &accepted["outcomes"][0]["error"];
    let told = error["message"].as_str().unwrap();
    assert!(error["code"] == "wrong-log" && told.contains(WHY) && told.contains(" on 20"), "{error}");
    // Bob saw the old log: he is told before he proposes.
    let told = scene.propose(&scene.bob, "late", "1.3.0").fails(4, "wrong-log");
    assert!(told.contains(WHY), "{told}");
    scene.publish(&carol, "new", "0.1.0");
    scene.is_sound();
}

#[test]
fn a_name_can_be_reset_again_and_without_an_owner_it_is_the_operators() {
    let scene = Scene::new("sha1");
    let mut logs = vec![scene.bob.asks(["info", IO])["log"].as_str().unwrap().to_owned()];
    for number in 0..3 {
        let reset = scene.operate(&["reset", "demo:io", "--reason", &format!("reason {number}")]).ok().json();
        assert_eq!(reset["old"], *logs.last().unwrap());
        logs.push(reset["new"].as_str().unwrap().to_owned());
        let folder = scene.world.package(&format!("alice/{number}"), "demo:io", &format!("2.{number}.0"));
        let anchored = format!("{IO}#{}", reset["new"].as_str().unwrap());
        scene.alice.quipu(["info", &anchored]).ok();
        scene.alice.quipu(["publish", &folder]).ok();
        scene.is_sound();
    }
    let erin = scene.reader("erin");
    for (number, log) in logs.iter().enumerate() {
        let found = erin.asks(["info", &format!("{IO}#{log}")]);
        assert_eq!((&found["log"], found["put-aside"].is_null()), (&json!(log), number == 3), "{number}");
    }
    assert_eq!(erin.asks(["info", IO])["resets"].as_array().unwrap().len(), 3);
    // What is proposed on a log of long ago is told of its own reset.
    let told = scene.propose(&scene.bob, "late", "1.2.0").fails(4, "wrong-log");
    assert!(told.contains("reason 0"), "{told}");
}

#[test]
fn a_takedown_stays_with_the_log_and_is_said_of_its_locks() {
    let scene = Scene::new("sha1");
    let dora = scene.project("dora", "\"acme.example/demo:io\" = \"=1.1.0\"\n");
    dora.quipu(["install"]).ok();
    let gina = scene.project("gina", "\"acme.example/demo:io\" = \"=1.0.0\"\n");
    gina.quipu(["install"]).ok();
    scene.operate(&["takedown", "demo:io@1.1.0", "--reason", "it mines", "--class", "malware"]).ok();
    let (reset, carol) = scene.reset();
    let old = reset["old"].as_str().unwrap();
    scene.publish(&carol, "new", "1.1.0");
    scene.is_sound();
    let told = dora.quipu(["install", "--json"]).fails(4, "taken-down");
    assert!(told.contains("demo:io@1.1.0 was taken down (malware): it mines"), "{told}");
    // The new log's version of that number is another one.
    scene.reader("erin").quipu(["get", &format!("{IO}@1.1.0")]).ok();
    // What was put aside can be taken down and brought back, by its anchor.
    let anchored = format!("demo:io@1.0.0#{old}");
    scene.operate(&["takedown", &anchored, "--reason", "a court", "--class", "legal"]).ok();
    scene.is_sound();
    fs::remove_dir_all(scene.world.path("gina/quipu_packages")).unwrap();
    let told = gina.quipu(["install", "--json"]).fails(4, "taken-down");
    assert!(told.contains("a court"), "{told}");
    scene.operate(&["restore", &anchored, "--reason", "another court"]).ok();
    scene.is_sound();
    gina.quipu(["install"]).ok();
    scene.installed("gina", "1.0.0", "old");
    scene.operate(&["takedown", "demo:io@1.0.0", "--reason", "x"]).fails(3, "not-found");
}

#[test]
fn a_name_that_leads_on_is_not_reset_and_a_reset_of_the_new_name_is_not_followed() {
    let scene = Scene::new("sha1");
    let dora = scene.project("dora", "\"acme.example/demo:io\" = \"1\"\n");
    dora.quipu(["install"]).ok();
    let lock = scene.lock("dora");
    let old = dora.asks(["info", IO])["log"].as_str().unwrap().to_owned();
    scene.bob.quipu(["rename", IO, "demo:streams"]).ok();
    scene.operate(&["accept"]).ok();
    let told = scene.operate(&["reset", "demo:io", "--reason", WHY]).fails(8, "wrong-log");
    assert!(told.contains("demo:streams"), "{told}");
    let henry = scene.reader("henry");
    henry.asks(["info", "acme.example/demo:streams"]);
    scene.project("ivan", "\"acme.example/demo:io\" = \"1\"\n").asks(["install"]);
    let renamed_lock = scene.lock("ivan");
    assert!(renamed_lock.contains("asked-as"));
    scene.operate(&["reset", "demo:streams", "--reason", WHY]).ok();
    scene.is_sound();
    // The old name leads to no log that it did not mean.
    let erin = scene.reader("erin");
    for args in [&["get", IO][..], &["info", IO]] {
        let told = erin.quipu(args.iter().copied().chain(["--json"])).fails(4, "wrong-log");
        assert!(told.contains("demo:streams") && told.contains(WHY) && told.contains(&old), "{told}");
    }
    let found = erin.asks(["get", &format!("{IO}@1.0.0#{old}"), "--to", "first"]);
    assert_eq!(found["version"], "1.0.0");
    folders::assert_same(&scene.world.path("erin/first"), &scene.world.path("old/1.0.0"));
    // Locks of either name go on to hold.
    fs::remove_dir_all(scene.world.path("dora/quipu_packages")).unwrap();
    dora.asks(["install", "--locked"]);
    assert_eq!(scene.lock("dora"), lock);
    scene.installed("dora", "1.1.0", "old");
    henry.quipu(["get", "acme.example/demo:streams", "--json"]).fails(4, "wrong-log");
    // What a lock had of the new name, asked for by the old one, stays what it was, also where something else is chosen anew.
    scene.world.write("ida/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1\"\n");
    let ida = scene.reader("ida");
    fs::write(scene.world.path("ida/quipu.lock"), &renamed_lock).unwrap();
    for args in [&["install"][..], &["update"], &["install", "--locked"]] {
        ida.asks(args);
        assert_eq!(scene.lock("ida"), renamed_lock, "{args:?}");
    }
    assert_eq!(henry.asks(["info", &format!("acme.example/demo:streams#{old}")])["log"], old);
    scene.world.write("erin/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1\"\n");
    let told = erin.quipu(["install", "--json"]).fails(8, "no-solution");
    assert!(told.contains("demo:streams") && told.contains(WHY), "{told}");
    // A takedown of the old name's log reaches it wherever it stands.
    let anchored = format!("demo:streams@1.1.0#{old}");
    scene.operate(&["takedown", &anchored, "--reason", "it mines"]).ok();
    scene.is_sound();
    fs::remove_dir_all(scene.world.path("dora/quipu_packages")).unwrap();
    dora.quipu(["install", "--json"]).fails(4, "taken-down");
}

#[test]
fn what_cannot_be_reset_is_refused_and_changes_nothing() {
    let scene = Scene::new("sha1");
    let mallory = scene.world.person_with_key("mallory");
    let before = scene.refs();
    mallory.quipu(["registry", "reset", &scene.path(), "demo:io", "--reason", "mine", "--json"]).fails(8, "unauthorized");
    for (args, status, code) in [
        (&["reset", "demo:io"][..], 2, "usage"),
        (&["reset", "demo:io", "--reason", ""], 2, "usage"),
        (&["reset", "demo:io@1.0.0", "--reason", "x"], 2, "usage"),
        (&["reset", "demo:nothing", "--reason", "x"], 3, "not-found"),
        (&["reset", "other.example/demo:io", "--reason", "x"], 8, "wrong-registry"),
        (&["reset", "demo:io", "--reason", "x", "--owner", "nobody"], 2, "no-key"),
        (&["reset", "demo:io", "--reason", "x", "--owner", &mallory.public_key(), "--name", "alice"], 8, "bad-record"),
    ] {
        scene.operate(args).fails(status, code);
        assert_eq!(scene.refs(), before, "{args:?}");
    }
    let wrong = format!("demo:io#sha256:{}", "0".repeat(64));
    scene.operate(&["reset", &wrong, "--reason", "x"]).fails(4, "anchor-mismatch");
    let said = scene.alice.quipu(["registry", "reset", &scene.path(), "demo:io", "--reason", "x", "--dry-run"]).ok().stdout;
    assert!(said.starts_with("would reset demo:io: the log sha256:") && said.contains("with 2 releases"), "{said}");
    assert_eq!(scene.refs(), before);
    // The same command again is the same reset.
    let once = scene.operate(&["reset", "demo:io", "--reason", "x"]).ok().json();
    let twice = scene.operate(&["reset", "demo:io", "--reason", "x"]).ok().json();
    assert_eq!(once["new"], twice["new"]);
    scene.is_sound();
}

#[test]
fn an_audit_sees_an_old_log_that_is_gone_or_is_not_the_one_put_aside() {
    let scene = Scene::new("sha1");
    let (reset, _) = scene.reset();
    let repository = scene.world.path("reg.git");
    let retired = format!("refs/retired/{}", &reset["old"].as_str().unwrap()["sha256:".len()..]);
    let (log, contents) = (format!("{retired}/log"), format!("{retired}/contents"));
    let (was, files) = (scene.named(&log).trim().to_owned(), scene.named(&contents).trim().to_owned());
    let verify = || scene.alice.quipu(["verify", &scene.path(), "--json"]);
    git(&repository, ["update-ref", &log, &format!("{was}^")]).ok();
    assert_eq!(verify().ends(4).json()["faults"][0]["code"], "fork");
    git(&repository, ["update-ref", "-d", &log]).ok();
    assert_eq!(verify().ends(4).json()["faults"][0]["code"], "ref-missing");
    let erin = scene.reader("erin");
    erin.quipu(["get", &format!("{IO}#{}", reset["old"].as_str().unwrap()), "--json"]).fails(4, "ref-missing");
    git(&repository, ["update-ref", &log, &was]).ok();
    git(&repository, ["update-ref", "-d", &contents]).ok();
    assert_eq!(verify().ends(4).json()["faults"][0]["code"], "ref-missing");
    git(&repository, ["update-ref", &contents, &files]).ok();
    scene.is_sound();
}
