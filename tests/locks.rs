//! What a lock names is what it meant, or it is said why not: taken down, reset, flagged. The records are laid by hand, since no command makes all of them.

#![cfg(unix)]
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "attacks/scene.rs"]
mod scene;

use quipu::git::layout;
use quipu::model::entry::{Decision, DecisionHead, Entry, PackageEntry, PackagePrivilege, Subject, TakedownClass, Verdict};
use quipu::model::record::SignedRecord;
use quipu::model::slot::Slot;
use scene::{Log, Registry, Said, Scene, User, after, denial, grant, key, package, slot};
use serde_json::json;
use std::fs;

const HELLO: &str = "demo:hello";

/// A registry with `demo:hello` in 1.0.0 and 1.1.0, and `demo:other` 1.0.0, and Carol, who needs both and has a lock of the newest.
struct Case {
    scene: Scene,
    registry: Registry,
    hello: Log,
    carol: User,
    decided: Option<SignedRecord>,
}

impl Case {
    fn new() -> Self {
        let (scene, registry, mut hello) = Scene::with_registry();
        let mut other = registry.begin("alice", "demo:other");
        other.release("alice", registry.text("1.0.0", "other\n"));
        registry.serve("demo:other", &other);
        let helper = grant("bob", &[PackagePrivilege::Release]);
        hello.add("alice", PackageEntry::Allow(helper));
        hello.release("bob", registry.text("1.1.0", "one more\n"));
        registry.serve(HELLO, &hello);
        let carol = scene.reader("carol", &registry);
        project(&carol, "\"demo:hello\" = \"1\"\n\"demo:other\" = \"1\"\n");
        carol.run(&["install"]).well();
        assert!(lock(&carol).contains("version = \"1.1.0\""));
        Case { scene, registry, hello, carol, decided: None }
    }

    /// Adds a decision about `demo:hello` and publishes it, with a new log where there is one.
    fn decide(&mut self, what: Verdict, new: &[(&str, &Log)]) {
        let registry = &self.registry;
        let about = DecisionHead {
            operators: registry.operators().chain().head(),
            target: self.hello.records[0].digest().into(),
            head: self.hello.head().digest(),
        };
        let entry = Entry::Decision(Decision { about, what });
        let draft = match &self.decided {
            Some(before) => after(before, "olga", entry),
            None => {
                let mut draft = registry.first("olga", HELLO);
                draft.subject = Subject::Decisions(package(HELLO));
                draft.entry = entry;
                draft
            }
        };
        let record = draft.sign(&key("olga")).unwrap();
        registry.put_record(&layout::decisions(&package(HELLO)), &record);
        let mut changes = vec![(Slot::Decisions(package(HELLO)), Some(record.git_id()))];
        for (name, log) in new {
            registry.place(name, log);
            changes.push((slot(name), Some(log.head().git_id())));
        }
        registry.checkpoint("olga", &changes, |_, _| {});
        self.decided = Some(record);
        self.audited();
    }

    /// Takes 1.1.0 down, and its contents away.
    fn take_down(&mut self, class: TakedownClass, reason: &str) {
        let version = Some("1.1.0".parse().unwrap());
        self.registry.place_contents(HELLO, &self.hello.trees[..1]);
        self.decide(Verdict::Takedown { version, class, reason: reason.into() }, &[]);
        self.registry.git(&["gc", "--prune=now", "--quiet"]);
    }

    /// Gives the name to a new log of Bob's, which has a 2.0.0 and a 1.1.0 of its own.
    fn reset(&mut self) -> Log {
        let mut new = self.registry.begin("bob", HELLO);
        new.release("bob", self.registry.text("1.1.0", "not the same\n"));
        new.release("bob", self.registry.text("1.2.0", "newer\n"));
        let old = (self.registry.named(&layout::package(&package(HELLO))), self.hello.records[0].digest().into());
        self.registry.set(layout::retired_log(old.1).as_str(), old.0);
        let contents = self.registry.named(&layout::contents(&package(HELLO)));
        self.registry.set(layout::retired_contents(old.1).as_str(), contents);
        self.decide(
            Verdict::Reset { new: new.records[0].digest().into(), reason: "the keys were lost".into() },
            &[(HELLO, &new)],
        );
        new
    }

    /// Denies Bob's key, which was stolen before it released 1.1.0.
    fn flag(&mut self) {
        let mut stolen = denial("bob", &[PackagePrivilege::Release]);
        stolen.compromised_since = Some(2);
        self.hello.add("alice", PackageEntry::Deny(stolen));
        self.registry.serve(HELLO, &self.hello);
        self.audited();
    }

    /// What was laid by hand is what the law lets stand.
    #[track_caller]
    fn audited(&self) {
        self.scene.reader("auditor", &self.registry).run(&["verify", self.registry.path.to_str().unwrap()]).well();
    }

    /// Somebody else with the same project and lock, and nothing installed.
    fn colleague(&self, name: &str) -> User {
        let user = self.scene.reader(name, &self.registry);
        for file in ["quipu.toml", "quipu.lock"] {
            fs::copy(self.carol.folder().join(file), user.folder().join(file)).unwrap();
        }
        user
    }

    fn refused(&self, user: &User, args: &[&str], code: &str, status: i32) -> String {
        said(&user.refused(&self.registry, args, code, status))
    }
}

fn project(user: &User, needs: &str) {
    fs::write(user.folder().join("quipu.toml"), format!("[dependencies]\n{needs}")).unwrap();
}

fn lock(user: &User) -> String {
    fs::read_to_string(user.folder().join("quipu.lock")).unwrap()
}

fn installed(user: &User, place: &str) -> Option<String> {
    fs::read_to_string(user.folder().join("quipu_packages/acme.example/demo").join(place).join("README.md")).ok()
}

/// Message and hints of an error.
fn said(said: &Said) -> String {
    let hints = said.json["error"]["hints"].as_array().unwrap().iter().map(|hint| hint.as_str().unwrap());
    std::iter::once(said.message()).chain(hints).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_was_taken_down_is_not_handed_out_of_a_lock_whatever_the_class() {
    for class in [TakedownClass::Legal, TakedownClass::Malware, TakedownClass::Other] {
        let mut case = Case::new();
        case.take_down(class, "court order 7");
        let dora = case.colleague("dora");
        for args in [&["install"][..], &["install", "--locked"], &["vendor", "third"]] {
            let told = case.refused(&dora, args, "taken-down", 4);
            let expected = format!("acme.example/demo:hello@1.1.0 was taken down ({}): court order 7", class.as_str());
            assert_eq!(told.lines().next(), Some(expected.as_str()));
            assert!(told.contains("choose another version: quipu update acme.example/demo:hello"), "{told}");
        }
        assert_eq!((installed(&dora, "hello/1.1.0"), installed(&dora, "other/1.0.0")), (None, None));
        case.refused(&dora, &["get", "demo:hello@1.1.0"], "taken-down", 4);
        // Another version comes where it is asked for, and the rest of the lock stays.
        let updated = dora.run(&["update", HELLO]).well();
        assert_eq!(updated.json["added"], json!(["acme.example/demo:hello@1.0.0"]));
        assert!(installed(&dora, "hello/1.0.0").is_some() && installed(&dora, "other/1.0.0").is_some());
    }
}

#[test]
fn what_was_taken_down_stays_where_it_is_and_that_is_said_but_malware_is_refused() {
    let mut case = Case::new();
    case.take_down(TakedownClass::Legal, "court order 7");
    let before = lock(&case.carol);
    for _ in 0..2 {
        let found = case.carol.run(&["install", "--locked"]).well();
        let told = "acme.example/demo:hello@1.1.0 was taken down (legal): court order 7; its files are here already and stay, elsewhere nobody gets them";
        assert_eq!(found.json["warnings"], json!([told]));
        assert!(case.carol.say(&["install"]).well().stdout.contains(&format!("  warning: {told}\n")));
    }
    assert_eq!((lock(&case.carol), installed(&case.carol, "hello/1.1.0").is_some()), (before, true));
    // Once the files are gone, they do not come back, not even out of the cache.
    fs::remove_dir_all(case.carol.folder().join("quipu_packages/acme.example/demo/hello")).unwrap();
    case.refused(&case.carol, &["install"], "taken-down", 4);

    let mut case = Case::new();
    case.take_down(TakedownClass::Malware, "it steals keys");
    let told = case.refused(&case.carol, &["install"], "taken-down", 4);
    assert!(told.contains("(malware): it steals keys") && told.contains("do not use them: "), "{told}");
    assert!(told.contains("quipu_packages/acme.example/demo/hello/1.1.0"), "{told}");
    let updated = case.carol.run(&["update"]).well();
    assert_eq!(updated.json["deleted"], json!(["acme.example/demo:hello@1.1.0"]));
    assert_eq!(installed(&case.carol, "hello/1.1.0"), None);
}

#[test]
fn what_was_taken_down_is_not_chosen_and_what_is_restored_is() {
    let mut case = Case::new();
    case.take_down(TakedownClass::Other, "a mistake");
    let dora = case.scene.reader("dora", &case.registry);
    project(&dora, "\"demo:hello\" = \"1\"\n");
    dora.run(&["install"]).well();
    assert!(installed(&dora, "hello/1.0.0").is_some());
    project(&dora, "\"demo:hello\" = \"1.1\"\n");
    let told = case.refused(&dora, &["install"], "no-solution", 8);
    assert!(told.contains("1.1.0 (taken down: other, a mistake)"), "{told}");
    // The lock of before the takedown is good again afterwards.
    case.registry.place_contents(HELLO, &case.hello.trees);
    let tree = case.registry.text("1.1.0", "one more\n").tree;
    assert_eq!(tree, case.hello.trees[1].1);
    case.registry.place_contents(HELLO, &case.hello.trees);
    case.decide(Verdict::Restore { version: Some("1.1.0".parse().unwrap()), reason: "it was one".into() }, &[]);
    let erin = case.colleague("erin");
    erin.run(&["install", "--locked"]).well();
    assert!(installed(&erin, "hello/1.1.0").is_some());
}

#[test]
fn a_package_that_was_taken_down_as_a_whole_is_refused_in_every_version() {
    let mut case = Case::new();
    case.decide(Verdict::Takedown { version: None, class: TakedownClass::Legal, reason: "all of it".into() }, &[]);
    let dora = case.colleague("dora");
    let told = case.refused(&dora, &["install"], "taken-down", 4);
    assert!(told.starts_with("acme.example/demo:hello@1.1.0 was taken down (legal): all of it"), "{told}");
    case.refused(&dora, &["update"], "no-solution", 8);
    project(&dora, "\"demo:other\" = \"1\"\n");
    dora.run(&["install"]).well();
}

#[test]
fn a_lock_never_gets_the_new_log_of_a_name_by_itself() {
    let mut case = Case::new();
    let new = case.reset();
    let (old_id, new_id) = (case.hello.records[0].digest(), new.records[0].digest());
    // Whoever was there, and whoever has but the lock, with the files here or not.
    let dora = case.colleague("dora");
    for user in [&case.carol, &dora] {
        for args in [&["install"][..], &["install", "--locked"], &["update"], &["update", "demo:other"], &["vendor", "third"]] {
            let told = user.run(args).well().json["notes"][0].as_str().unwrap().to_owned();
            assert!(told.contains("the keys were lost") && told.contains(&old_id.to_string()), "{args:?}: {told}");
            assert!(told.contains("quipu update acme.example/demo:hello"), "{args:?}: {told}");
            assert_eq!(installed(user, "hello/1.1.0").as_deref(), Some("one more\n"), "{args:?}");
        }
        let told = case.refused(user, &["get", HELLO], "wrong-log", 4);
        assert!(told.contains(&format!("{HELLO}#{new_id}")) && told.contains(&format!("{HELLO}#{old_id}")), "{told}");
    }
    // An anchor of the old log does not lead to the new one, whoever asks.
    let erin = case.scene.reader("erin", &case.registry);
    project(&erin, &format!("\"demo:hello\" = {{ version = \"1\", anchor = \"{old_id}\" }}\n"));
    erin.run(&["install"]).well();
    assert_eq!(installed(&erin, "hello/1.1.0").as_deref(), Some("one more\n"));
    let none = quipu::model::digest::RecordDigest::of_bytes(b"nobody's");
    for user in [&erin, &case.carol] {
        assert_eq!(
            user.gets(&format!("demo:hello@1.1.0#{old_id}"), "of-before").json["put-aside"]["reason"],
            "the keys were lost"
        );
        case.refused(user, &["get", &format!("demo:hello#{none}")], "anchor-mismatch", 4);
    }
    // Who never saw the old one gets the new one.
    let fred = case.scene.reader("fred", &case.registry);
    project(&fred, "\"demo:hello\" = \"1\"\n");
    fred.run(&["install"]).well();
    assert_eq!(installed(&fred, "hello/1.2.0").as_deref(), Some("newer\n"));
    // So does who says that it is meant: by an anchor of it, or by updating that name.
    case.carol.gets(&format!("demo:hello#{new_id}"), "followed");
    for user in [&case.carol, &dora] {
        user.run(&["update", HELLO]).well();
        assert_eq!(installed(user, "hello/1.2.0").as_deref(), Some("newer\n"));
        assert!(lock(user).contains(&format!("log = \"{new_id}\"")) && !lock(user).contains(&old_id.to_string()));
        user.run(&["install", "--locked"]).well();
    }
}

#[test]
fn a_lock_of_the_old_log_is_told_of_a_takedown_that_came_before_the_reset() {
    let mut case = Case::new();
    case.take_down(TakedownClass::Malware, "it steals keys");
    case.reset();
    let dora = case.colleague("dora");
    for user in [&dora, &case.carol] {
        let told = case.refused(user, &["install"], "taken-down", 4);
        assert!(told.starts_with("acme.example/demo:hello@1.1.0 was taken down (malware): it steals keys"), "{told}");
    }
    let told = case.refused(&case.carol, &["get", HELLO], "wrong-log", 4);
    let down = "of the log that was seen before, 1.1.0 was taken down (malware): it steals keys";
    assert!(told.contains("the keys were lost") && told.contains(down), "{told}");
}

#[test]
fn what_a_key_in_wrong_hands_released_is_never_chosen_and_refused_in_a_lock() {
    let mut case = Case::new();
    case.flag();
    let dora = case.colleague("dora");
    for user in [&case.carol, &dora] {
        for args in [&["install"][..], &["install", "--locked"], &["vendor", "third"]] {
            let told = case.refused(user, args, "flagged", 4);
            assert!(told.starts_with("acme.example/demo:hello@1.1.0 was released by a key in wrong hands"), "{told}");
            assert!(told.contains("--allow-flagged acme.example/demo:hello@1.1.0"), "{told}");
        }
    }
    let told = case.refused(&dora, &["get", "demo:hello@1.1.0"], "flagged", 4);
    assert!(told.contains("--allow-flagged acme.example/demo:hello@1.1.0"), "{told}");
    assert_eq!(dora.gets(HELLO, "newest").json["version"], "1.0.0");
    let erin = case.scene.reader("erin", &case.registry);
    project(&erin, "\"demo:hello\" = \"1.1\"\n");
    // Not even where one insists: there is no lock that names it.
    for args in [&["install"][..], &["install", "--allow-flagged", "demo:hello@1.1.0"]] {
        let told = case.refused(&erin, args, "no-solution", 8);
        assert!(told.contains("1.1.0 (flagged: a key in wrong hands released it)"), "{told}");
    }
    project(&erin, "\"demo:hello\" = \"1\"\n");
    erin.run(&["install"]).well();
    assert!(installed(&erin, "hello/1.0.0").is_some());
    let note = &erin.run(&["install", "--allow-flagged", "demo:hello@1.1.0"]).well().json["notes"][0];
    assert!(note.as_str().unwrap().contains("was not chosen"), "{note}");
    dora.run(&["update"]).well();
    assert!(installed(&dora, "hello/1.0.0").is_some());
}

#[test]
fn whoever_insists_gets_what_is_flagged_and_is_warned_each_time() {
    let mut case = Case::new();
    case.flag();
    let dora = case.colleague("dora");
    let flag = ["--allow-flagged", "demo:hello@1.1.0"];
    let with = |args: &[&'static str]| args.iter().copied().chain(flag).collect::<Vec<_>>();
    let insists = |args: &[&'static str]| {
        let found = dora.run(&with(args)).well();
        assert_eq!(found.json["flagged"], json!(["acme.example/demo:hello@1.1.0"]));
        assert!(found.json["warnings"][0].as_str().unwrap().contains("key in wrong hands"), "{}", found.stdout);
        assert!(dora.say(&with(args)).well().stdout.contains("  warning: acme.example/demo:hello@1.1.0 was released by a key"));
    };
    let before = lock(&dora);
    insists(&["install"]);
    insists(&["install", "--locked"]);
    insists(&["vendor", "third"]);
    assert_eq!((lock(&dora), installed(&dora, "hello/1.1.0").as_deref()), (before, Some("one more\n")));
    let got = dora.run(&with(&["get", "demo:hello@1.1.0", "--to", "x"])).well();
    assert_eq!(got.json["flagged"], true);
    // What is chosen anew keeps it, and the new lock says so: it was made at the very checkpoint that is there still.
    project(&dora, "\"demo:hello\" = \">=1.0\"\n\"demo:other\" = \"1\"\n\"demo:third\" = \"1\"\n");
    let mut third = case.registry.begin("alice", "demo:third");
    third.release("alice", case.registry.text("1.0.0", "third\n"));
    case.registry.serve("demo:third", &third);
    insists(&["install"]);
    assert_eq!(lock(&dora).matches("\nflagged = true\n").count(), 1, "{}", lock(&dora));
    assert!(installed(&dora, "third/1.0.0").is_some());
    insists(&["install"]);
    case.refused(&dora, &["install"], "flagged", 4);
    // Without insisting, what is chosen anew has another version.
    dora.run(&["update", "demo:other"]).well();
    assert!(installed(&dora, "hello/1.0.0").is_some() && !lock(&dora).contains("flagged"));
    let usage = case.refused(&dora, &["install", "--allow-flagged", "demo:hello"], "usage", 2);
    assert!(usage.contains("demo:hello@1.2.3"), "{usage}");
}

#[test]
fn a_rename_that_operators_granted_is_said() {
    let mut case = Case::new();
    let to: quipu::model::name::FullName = "acme.example/demo:bonjour".parse().unwrap();
    case.hello.add("alice", PackageEntry::Rename(to.clone(), None));
    case.registry.serve(HELLO, &case.hello);
    // Asked for is not granted.
    assert_eq!(case.carol.run(&["info", HELLO]).well().json["renamed-to"], serde_json::Value::Null);
    let consent = case.hello.head().digest();
    let from = "acme.example/demo:hello".parse().unwrap();
    let granted = case.hello.clone();
    case.registry.place("demo:bonjour", &granted);
    case.decide(Verdict::Rename { from, to, consent }, &[("demo:bonjour", &granted)]);
    let told = "acme.example/demo:bonjour";
    assert_eq!(case.carol.run(&["info", HELLO]).well().json["renamed-to"], told);
    let shown = case.carol.say(&["info", HELLO]).well().stdout;
    assert!(shown.contains("its name is acme.example/demo:bonjour now"), "{shown}");
    assert_eq!(case.carol.gets(HELLO, "new").json["renamed-to"], told);
    // The lock stays as it is, and brings what it brought.
    let before = lock(&case.carol);
    let found = case.carol.run(&["install"]).well();
    assert_eq!(found.json["notes"], json!(["acme.example/demo:hello was renamed, its name is acme.example/demo:bonjour now"]));
    case.colleague("dora").run(&["install", "--locked"]).well();
    assert_eq!(lock(&case.carol), before);
}

#[test]
fn going_back_to_an_earlier_moment_leads_around_no_flag_and_no_takedown() {
    let mut case = Case::new();
    let then = case.registry.newest().seq().to_string();
    case.flag();
    let dora = case.scene.reader("dora", &case.registry);
    project(&dora, "\"demo:hello\" = \"1\"\n");
    case.refused(&dora, &["install", "--at", &then], "flagged", 4);
    let found = dora.run(&["install", "--at", &then, "--allow-flagged", "demo:hello@1.1.0"]).well();
    assert_eq!(found.json["flagged"], json!(["acme.example/demo:hello@1.1.0"]));
    assert_eq!(found.json["warnings"].as_array().unwrap().len(), 1);
    case.refused(&dora, &["install"], "flagged", 4);

    let mut case = Case::new();
    let then = case.registry.newest().seq().to_string();
    case.take_down(TakedownClass::Legal, "court order 7");
    let dora = case.scene.reader("dora", &case.registry);
    project(&dora, "\"demo:hello\" = \"1\"\n");
    case.refused(&dora, &["install", "--at", &then], "taken-down", 4);
}
