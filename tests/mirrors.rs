//! Other registries, mirrored in full or in part: what is served is theirs byte for byte, whoever reads it can prove it, and whatever the
//! registry or the way to it does, the mirror goes on serving what it verified.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use support::daemon::Daemon;
use support::relay::{Mood, Relay};
use support::{Outcome, Person, World, folders, git};

const HOME: &str = "home.example";
const OWN: &str = "own.example";
/// The packages of the registry that is mirrored, and how many versions each has.
const PACKAGES: [(&str, &[&str]); 4] =
    [("wasi:http", &["0.1.0", "0.2.0"]), ("wasi:io", &["0.1.0"]), ("cli:run", &["1.0.0"]), ("cli:walk", &["1.0.0"])];

struct Scene {
    world: World,
    /// She runs the registry that is mirrored.
    alice: Person,
    /// She runs the registry that mirrors it.
    olga: Person,
    id: String,
    daemon: Daemon,
    format: &'static str,
}

impl Scene {
    fn new(format: &'static str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "home.git", HOME, format);
        for (name, versions) in PACKAGES {
            for version in versions {
                let folder = format!("from/{name}/{version}").replace(':', "/");
                alice.quipu(["publish", &world.package(&folder, name, version)]).ok();
            }
        }
        let olga = world.person_with_key("olga");
        world.registry(&olga, "own.git", OWN, format);
        let daemon = Daemon::serve(&world.root());
        Scene { world, alice, olga, id, daemon, format }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.world.path(name)
    }

    /// Publishes a version of a package at home.
    fn publish(&self, name: &str, version: &str) {
        let folder = format!("from/{name}/{version}").replace(':', "/");
        self.alice.quipu(["publish", &self.world.package(&folder, name, version)]).ok();
    }

    /// Lets Olga mirror the registry.
    fn add(&self, more: &[&str]) -> Outcome {
        let url = self.daemon.url("home.git");
        let own = self.world.at("own.git");
        let args = ["mirror", "add", HOME, &url, "--in", &own, "--id", &self.id, "--json"];
        self.olga.quipu(args.into_iter().chain(more.iter().copied()))
    }

    fn sync(&self) -> Outcome {
        self.olga.quipu(["mirror", "sync", "--in", &self.world.at("own.git"), "--json"])
    }

    /// Lets somebody who knows nothing yet trust the registry by a repository that mirrors it.
    fn reader(&self, name: &str, url: &str) -> Person {
        let person = self.world.person(name);
        person.trust(HOME, url, &self.id);
        person
    }

    /// Gets a release, and compares the files with what was published.
    fn gets(&self, person: &Person, release: &str) {
        let to = self.path("got").join(&person.name).join(release.replace([':', '@'], "-"));
        person.quipu(["get", &format!("{HOME}/{release}"), "--to", to.to_str().unwrap()]).ok();
        folders::assert_same(&to, &self.path(&format!("from/{}", release.replace([':', '@'], "/"))));
        std::fs::remove_dir_all(to).unwrap();
    }

    /// Checks that nothing is wrong with a repository: for git, before and after it is packed anew, in a clone, and for its registry.
    fn is_sound(&self, name: &str) {
        let path = self.path(name);
        assert_fsck(&path);
        git(&path, ["gc", "-q", "--prune=now"]).ok();
        assert_fsck(&path);
        let clone = format!("{name}-clone");
        let _ = std::fs::remove_dir_all(self.path(&clone));
        git(&self.world.root(), ["clone", "-q", "--mirror", name, &clone]).ok();
        assert_fsck(&self.path(&clone));
        self.olga.quipu(["registry", "fsck", &self.world.at(name)]).ok();
        for repository in [name, &clone] {
            self.olga.quipu(["verify", &self.world.at(repository)]).ok();
        }
    }

    /// Checks that a repository has the references of the mirrored registry that it should, byte for byte, and no others.
    fn mirrors(&self, name: &str, covered: &[&str], has_contents: bool) {
        let is_whole = covered.len() == PACKAGES.len();
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for (name, id) in references(&self.path("home.git"), "refs/") {
            let package = name.splitn(3, '/').nth(2).unwrap_or_default().replace('/', ":");
            let is_wanted = match name.split('/').nth(1).unwrap() {
                "registry" => is_whole || name.ends_with("/operators"),
                "packages" | "decisions" => covered.contains(&package.as_str()),
                "contents" => has_contents && covered.contains(&package.as_str()),
                "retired" => true,
                _ => false,
            };
            if is_wanted {
                expected.insert(name.replacen("refs/", &format!("refs/mirrors/{HOME}/"), 1), id);
            }
        }
        let mut found = references(&self.path(name), &format!("refs/mirrors/{HOME}"));
        let proofs = found.remove(&format!("refs/mirrors/{HOME}/proofs"));
        assert_eq!(found, expected);
        assert_eq!(proofs.is_some(), !is_whole, "{name}");
    }

    /// Returns what the repository says that it mirrors.
    fn listed(&self) -> Value {
        let mut found = self.olga.quipu(["mirror", "list", "--in", &self.world.at("own.git"), "--json"]).ok().json();
        found["mirrors"].as_array_mut().unwrap().pop().unwrap_or_default()
    }
}

/// Returns the newest version of a package of the mirrored registry that somebody sees.
fn newest(person: &Person, package: &str) -> String {
    let info = person.asks(["info", &format!("{HOME}/{package}")]);
    info["versions"].as_array().unwrap().last().unwrap()["version"].as_str().unwrap().to_owned()
}

/// Returns the references whose names begin so.
fn references(path: &Path, prefix: &str) -> BTreeMap<String, String> {
    let found = git(path, ["for-each-ref", "--format=%(refname) %(objectname)", prefix]).ok().stdout;
    found.lines().filter_map(|line| line.split_once(' ')).map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
}

#[track_caller]
fn assert_fsck(path: &Path) {
    let found = git(path, ["fsck", "--strict", "--no-dangling", "--no-progress"]).ok();
    assert_eq!((found.stdout.as_str(), found.stderr.as_str()), ("", ""), "{}", path.display());
}

const ALL: &[&str] = &["wasi:http", "wasi:io", "cli:run", "cli:walk"];

#[test]
fn a_registry_is_mirrored_as_it_is() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let added = scene.add(&[]).ok().json();
        assert_eq!(added["mirrors"][0]["packages"], 4);
        assert_eq!(added["mirrors"][0]["releases"], 5);
        scene.mirrors("own.git", ALL, true);
        scene.is_sound("own.git");
        // Nothing is new, and nothing is written.
        let before = references(&scene.path("own.git"), "refs/");
        assert_eq!(scene.sync().ok().json()["mirrors"][0]["checkpoint"], Value::Null);
        assert_eq!(references(&scene.path("own.git"), "refs/"), before);
        scene.publish("wasi:io", "0.2.0");
        scene.publish("wasi:http", "0.3.0");
        let synced = scene.sync().ok().json();
        assert_eq!(synced["mirrors"][0]["packages"], 2);
        assert_eq!(synced["mirrors"][0]["releases"], 2);
        scene.mirrors("own.git", ALL, true);
        scene.is_sound("own.git");
        assert_eq!(scene.listed()["patterns"], json!(["*"]));
        // Its home is cut off; a plain clone of our repository serves it to somebody else.
        git(&scene.world.root(), ["clone", "-q", "--mirror", "own.git", "third.git"]).ok();
        std::fs::rename(scene.path("home.git"), scene.path("away.git")).unwrap();
        for (name, url) in [
            ("bob", scene.daemon.url("third.git")),
            ("carol", scene.world.at("third.git")),
            ("dave", scene.daemon.url("own.git")),
        ] {
            let person = scene.reader(name, &url);
            scene.gets(&person, "wasi:http@0.3.0");
            scene.gets(&person, "cli:run@1.0.0");
            assert_eq!(newest(&person, "wasi:io"), "0.2.0", "{name}");
            person.quipu(["search", "--registry", HOME]).ok();
        }
        let bob = scene.world.person("bob");
        scene
            .world
            .write("app/quipu.toml", &format!("[dependencies]\n\"{HOME}/wasi:http\" = \"0.2\"\n\"{HOME}/cli:run\" = \"1\"\n"));
        let bob = bob.within(scene.path("app"));
        bob.quipu(["install"]).ok();
        let place = scene.path("app/quipu_packages").join(HOME).join("wasi/http/0.2.0");
        folders::assert_same(&place, &scene.path("from/wasi/http/0.2.0"));
        std::fs::remove_dir_all(scene.path("app/quipu_packages")).unwrap();
        bob.quipu(["install", "--locked", "--offline"]).ok();
        folders::assert_same(&place, &scene.path("from/wasi/http/0.2.0"));
        // The lock names the registry, and not where it was read.
        let lock = std::fs::read_to_string(scene.path("app/quipu.lock")).unwrap();
        assert!(lock.contains(HOME) && !lock.contains(OWN), "{lock}");
    }
}

#[test]
fn a_part_is_mirrored_with_what_proves_it() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        let added = scene.add(&["--only", "wasi:*", "--only", "cli:run", "--only", "wasi:http"]).ok().json();
        assert_eq!(added["mirrors"][0]["packages"], 3);
        assert_eq!(scene.listed()["patterns"], json!(["cli:run", "wasi:*"]));
        let part = &["wasi:http", "wasi:io", "cli:run"];
        scene.mirrors("own.git", part, true);
        scene.is_sound("own.git");
        let bob = scene.reader("bob", &scene.daemon.url("own.git"));
        scene.gets(&bob, "wasi:http@0.2.0");
        for version in ["0.3.0", "0.4.0"] {
            scene.publish("wasi:http", version);
            scene.publish("cli:walk", version);
            let synced = scene.sync().ok().json();
            assert_eq!(synced["mirrors"][0]["packages"], 1);
            scene.mirrors("own.git", part, true);
            scene.is_sound("own.git");
        }
        // A package that was not there before.
        scene.publish("wasi:new", "1.0.0");
        assert_eq!(scene.sync().ok().json()["mirrors"][0]["packages"], 1);
        scene.is_sound("own.git");
        std::fs::rename(scene.path("home.git"), scene.path("away.git")).unwrap();
        git(&scene.world.root(), ["clone", "-q", "--mirror", "own.git", "third.git"]).ok();
        for (name, url) in [
            ("carol", scene.daemon.url("third.git")),
            ("dave", scene.world.at("third.git")),
            ("erin", scene.daemon.url("own.git")),
        ] {
            let person = scene.reader(name, &url);
            scene.gets(&person, "wasi:http@0.4.0");
            scene.gets(&person, "wasi:new@1.0.0");
            scene.gets(&person, "cli:run@1.0.0");
            person.quipu(["verify", &format!("{HOME}/wasi:http")]).ok();
            let failed = person.quipu(["get", &format!("{HOME}/cli:walk"), "--json"]);
            assert!(failed.fails(4, "ref-missing").contains("mirrors a part of home.example only"), "{}", failed.stdout);
            // That there is none is proven where the part would hold it.
            person.quipu(["get", &format!("{HOME}/wasi:nothing"), "--json"]).fails(3, "not-found");
            scene.gets(&person.with("QUIPU_OFFLINE", "1"), "wasi:http@0.4.0");
        }
        // Who knew an earlier state finds that this one goes on from it.
        scene.gets(&bob, "wasi:http@0.4.0");
    }
}

#[test]
fn whoever_saw_any_earlier_checkpoint_can_go_on_by_a_part() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        scene.add(&["--only", "wasi:*"]).ok();
        let count = 12;
        for seq in 0..count {
            let person = scene.world.person(&format!("p{seq}"));
            person.trust(HOME, &scene.daemon.url("home.git"), &scene.id);
            scene.gets(&person, "wasi:io@0.1.0");
            scene.publish("wasi:http", &format!("1.{seq}.0"));
            if seq % 5 == 0 {
                scene.sync().ok();
            }
        }
        scene.sync().ok();
        git(&scene.world.root(), ["clone", "-q", "--mirror", "own.git", "third.git"]).ok();
        std::fs::rename(scene.path("home.git"), scene.path("away.git")).unwrap();
        for seq in 0..count {
            let url = if seq % 2 == 0 { scene.daemon.url("third.git") } else { scene.world.at("third.git") };
            let person = scene.world.person(&format!("p{seq}"));
            person.trust(HOME, &url, &scene.id);
            scene.gets(&person, &format!("wasi:http@1.{}.0", count - 1));
        }
    }
}

#[test]
fn logs_alone_are_mirrored_where_that_is_asked_for() {
    for only in [&[][..], &["--only", "wasi:*", "--only", "cli:*"], &["--only", "wasi:*"]] {
        let scene = Scene::new("sha1");
        let covered = if only.len() == 2 { &ALL[..2] } else { ALL };
        scene.add(&[only, &["--logs-only"]].concat()).ok();
        let is_whole = only.is_empty();
        let check = || {
            if is_whole || only.len() == 2 {
                scene.mirrors("own.git", covered, false);
            }
            scene.is_sound("own.git");
        };
        check();
        assert_eq!(references(&scene.path("own.git"), "refs/mirrors").keys().filter(|name| name.contains("contents")).count(), 0);
        scene.publish("wasi:io", "0.2.0");
        let synced = scene.sync().ok().json();
        assert_eq!((&synced["mirrors"][0]["packages"], &synced["mirrors"][0]["releases"]), (&json!(1), &json!(0)));
        check();
        let bob = scene.reader("bob", &scene.daemon.url("own.git"));
        assert_eq!(newest(&bob, "wasi:io"), "0.2.0");
        let failed = bob.quipu(["get", &format!("{HOME}/wasi:io"), "--to", &scene.world.at("x"), "--json"]);
        failed.fails(4, "ref-missing");
        // Files come when they are asked for after all.
        let again = scene.add(only).ok().json();
        assert!(again["mirrors"][0]["releases"].as_u64().unwrap() >= 3, "{again}");
        scene.is_sound("own.git");
        scene.gets(&bob, "wasi:io@0.2.0");
        // And go again.
        scene.add(&[only, &["--logs-only"]].concat()).ok();
        check();
    }
}

#[test]
fn a_lock_says_what_is_mirrored() {
    let scene = Scene::new("sha1");
    scene.world.write("app/quipu.toml", &format!("[dependencies]\n\"{HOME}/wasi:http\" = \"0.2\"\n\"{HOME}/cli:run\" = \"1\"\n"));
    let bob = scene.reader("bob", &scene.daemon.url("home.git"));
    bob.within(scene.path("app")).quipu(["install"]).ok();
    let lock = scene.world.at("app/quipu.lock");
    scene.add(&["--from-lock", &lock]).ok();
    assert_eq!(scene.listed()["patterns"], json!(["cli:run", "wasi:http"]));
    scene.mirrors("own.git", &["wasi:http", "cli:run"], true);
    scene.is_sound("own.git");
    std::fs::rename(scene.path("home.git"), scene.path("away.git")).unwrap();
    let carol = scene.reader("carol", &scene.daemon.url("own.git")).within(scene.path("app"));
    std::fs::remove_dir_all(scene.path("app/quipu_packages")).unwrap();
    carol.quipu(["install", "--locked"]).ok();
    let place = scene.path("app/quipu_packages").join(HOME).join("wasi/http/0.2.0");
    folders::assert_same(&place, &scene.path("from/wasi/http/0.2.0"));
    // A lock that names nothing of it, and none.
    let own = scene.world.at("own.git");
    let add = |lock: &str| scene.olga.quipu(["mirror", "add", "third.example", "--from-lock", lock, "--in", &own, "--json"]);
    add(&lock).fails(3, "not-found");
    add(&scene.world.at("nothing")).fails(3, "not-found");
    add(&scene.world.write("broken", "x").display().to_string()).fails(2, "bad-lock");
}

#[test]
fn a_mirror_becomes_wider_and_narrower() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        for only in [&["cli:run"][..], &["cli:run", "wasi:http"], &["wasi:http"], ALL, &["wasi:http"], &["wasi:*"], ALL] {
            let args: Vec<&str> = if only == ALL { vec![] } else { only.iter().flat_map(|only| ["--only", *only]).collect() };
            scene.add(&args).ok();
            let covered = if only == ["wasi:*"] { &["wasi:http", "wasi:io"] } else { only };
            scene.mirrors("own.git", covered, true);
            scene.is_sound("own.git");
            assert_eq!(scene.listed()["patterns"], if only == ALL { json!(["*"]) } else { json!(only) });
            // It is as it is, and stays so.
            let before = references(&scene.path("own.git"), "refs/");
            scene.sync().ok();
            assert_eq!(references(&scene.path("own.git"), "refs/"), before, "{only:?}");
        }
        scene.publish("cli:run", "2.0.0");
        scene.sync().ok();
        scene.mirrors("own.git", ALL, true);
        scene.is_sound("own.git");
        scene.gets(&scene.reader("bob", &scene.daemon.url("own.git")), "cli:run@2.0.0");
    }
}

#[test]
fn a_mirror_ends_and_its_name_means_the_same_for_ever() {
    for only in [&[][..], &["--only", "wasi:*"]] {
        let scene = Scene::new("sha1");
        let own = scene.world.at("own.git");
        scene.add(only).ok();
        scene.olga.quipu(["mirror", "remove", HOME, "--in", &own]).ok();
        assert_eq!(references(&scene.path("own.git"), "refs/mirrors"), BTreeMap::new());
        scene.is_sound("own.git");
        assert_eq!(scene.listed(), Value::Null);
        scene.olga.quipu(["mirror", "remove", HOME, "--in", &own, "--json"]).fails(3, "not-found");
        scene.olga.quipu(["mirror", "sync", HOME, "--in", &own, "--json"]).fails(3, "not-found");
        assert_eq!(scene.sync().ok().json()["mirrors"], json!([]));
        scene.olga.quipu(["registry", "gc", &own, "--prune", "0"]).ok();
        // Another registry with that name.
        let other = scene.world.registry(&scene.olga, "other.git", HOME, "sha1");
        let url = scene.daemon.url("other.git");
        let add = |id: &[&str]| {
            let args = ["mirror", "add", HOME, &url, "--in", &own, "--json"];
            scene.olga.quipu(args.into_iter().chain(id.iter().copied()))
        };
        add(&["--id", &other]).fails(5, "id-mismatch");
        add(&[]).fails(5, "id-mismatch");
        // What it was is known, so that nobody has to say its id again.
        let home = scene.daemon.url("home.git");
        let again = ["mirror", "add", HOME, &home, "--in", &own];
        scene.olga.quipu(again.into_iter().chain(only.iter().copied())).ok();
        let covered = if only.is_empty() { ALL } else { &ALL[..2] };
        scene.mirrors("own.git", covered, true);
        scene.is_sound("own.git");
        scene.gets(&scene.reader("bob", &scene.daemon.url("own.git")), "wasi:io@0.1.0");
    }
}

#[test]
fn one_repository_mirrors_several_and_one_that_is_down_stops_none() {
    let scene = Scene::new("sha1");
    let own = scene.world.at("own.git");
    let dave = scene.world.person_with_key("dave");
    let id = scene.world.registry(&dave, "dave.git", "dave.example", "sha1");
    dave.quipu(["publish", &scene.world.package("dave", "wasi:http", "9.0.0")]).ok();
    scene.add(&["--only", "wasi:*"]).ok();
    let url = scene.world.at("dave.git");
    scene.olga.quipu(["mirror", "add", "dave.example", &url, "--id", &id, "--in", &own]).ok();
    scene.olga.quipu(["publish", &scene.world.package("ours", "wasi:http", "5.0.0")]).ok();
    scene.is_sound("own.git");
    scene.mirrors("own.git", &["wasi:http", "wasi:io"], true);
    scene.publish("wasi:io", "0.2.0");
    dave.quipu(["publish", &scene.world.package("dave2", "wasi:http", "9.1.0")]).ok();
    let synced = scene.sync().ok().json();
    assert_eq!(synced["mirrors"].as_array().unwrap().len(), 2);
    scene.is_sound("own.git");
    // Each of the three is found by its name.
    let bob = scene.reader("bob", &scene.daemon.url("own.git"));
    bob.trust("dave.example", &scene.daemon.url("own.git"), &id);
    scene.gets(&bob, "wasi:io@0.2.0");
    bob.quipu(["get", "dave.example/wasi:http", "--to", &scene.world.at("x")]).ok();
    folders::assert_same(&scene.path("x"), &scene.path("dave2"));
    // The first in order is down.
    std::fs::rename(scene.path("dave.git"), scene.path("away.git")).unwrap();
    scene.publish("wasi:io", "0.3.0");
    let failed = scene.sync();
    assert_eq!(failed.status, 3, "{failed:?}");
    let told = failed.json();
    assert_eq!(told["error"]["code"], "not-found", "{told}");
    assert_eq!(told["mirrors"][0]["error"]["code"], "not-found", "{told}");
    assert_eq!(told["mirrors"][1]["releases"], 1, "{told}");
    scene.is_sound("own.git");
    scene.gets(&bob, "wasi:io@0.3.0");
    // One of them ends, the other stays.
    scene.olga.quipu(["mirror", "remove", "dave.example", "--in", &own]).ok();
    scene.sync().ok();
    scene.mirrors("own.git", &["wasi:http", "wasi:io"], true);
    scene.is_sound("own.git");
}

#[test]
fn a_mirror_is_mirrored() {
    for only in [&[][..], &["--only", "wasi:*"]] {
        for how in ["url", "path"] {
            let scene = Scene::new("sha1");
            scene.add(only).ok();
            let peter = scene.world.person_with_key("peter");
            scene.world.registry(&peter, "second.git", "peter.example", scene.format);
            let (second, id) = (scene.world.at("second.git"), scene.id.as_str());
            let url = if how == "url" { scene.daemon.url("own.git") } else { scene.world.at("own.git") };
            let add = |more: &[&str]| {
                let args = ["mirror", "add", HOME, &url, "--id", id, "--in", &second, "--json"];
                peter.quipu(args.into_iter().chain(more.iter().copied()))
            };
            std::fs::rename(scene.path("home.git"), scene.path("away.git")).unwrap();
            if only.is_empty() {
                add(&[]).ok();
            } else {
                // It has no more than that.
                assert!(add(&[]).fails(4, "ref-missing").contains("part"), "{}", add(&[]).stdout);
                add(&["--only", "cli:run"]).fails(4, "ref-missing");
                add(only).ok();
            }
            std::fs::rename(scene.path("away.git"), scene.path("home.git")).unwrap();
            let covered = if only.is_empty() { ALL } else { &ALL[..2] };
            scene.mirrors("second.git", covered, true);
            scene.is_sound("second.git");
            scene.publish("wasi:io", "0.2.0");
            scene.sync().ok();
            peter.quipu(["mirror", "sync", "--in", &second]).ok();
            scene.mirrors("second.git", covered, true);
            scene.is_sound("second.git");
            add(&["--only", "wasi:io"]).ok();
            scene.mirrors("second.git", &["wasi:io"], true);
            scene.is_sound("second.git");
            scene.gets(&scene.reader("bob", &scene.daemon.url("second.git")), "wasi:io@0.2.0");
        }
    }
}

#[test]
fn a_registry_that_mirrors_is_mirrored_with_what_it_says_of_others() {
    let scene = Scene::new("sha1");
    scene.add(&["--only", "wasi:*"]).ok();
    scene.olga.quipu(["publish", &scene.world.package("ours", "our:own", "5.0.0")]).ok();
    let peter = scene.world.person_with_key("peter");
    scene.world.registry(&peter, "second.git", "peter.example", "sha1");
    let second = scene.world.at("second.git");
    let id = scene.olga.asks(["trust", "show", OWN])["id"].as_str().unwrap().to_owned();
    for only in [&[][..], &["--only", "our:*"], &[]] {
        let url = scene.daemon.url("own.git");
        let args = ["mirror", "add", OWN, &url, "--id", &id, "--in", &second];
        peter.quipu(args.into_iter().chain(only.iter().copied())).ok();
        scene.is_sound("second.git");
        let bob = scene.world.person(&format!("bob{}", only.len()));
        bob.trust(OWN, &scene.daemon.url("second.git"), &id);
        bob.quipu(["get", &format!("{OWN}/our:own"), "--to", &scene.world.at("x")]).ok();
        folders::assert_same(&scene.path("x"), &scene.path("ours"));
        std::fs::remove_dir_all(scene.path("x")).unwrap();
    }
    scene.publish("wasi:io", "0.2.0");
    scene.sync().ok();
    peter.quipu(["mirror", "sync", "--in", &second]).ok();
    scene.is_sound("second.git");
}

#[test]
fn what_is_taken_down_at_home_goes_and_comes_back() {
    for only in [&[][..], &["--only", "wasi:*"]] {
        for keeps in [false, true] {
            let scene = Scene::new("sha1");
            let covered = if only.is_empty() { ALL } else { &ALL[..2] };
            let keep: &[&str] = if keeps { &["--keep-taken-down"] } else { &[] };
            scene.add(&[only, keep].concat()).ok();
            let home = scene.world.at("home.git");
            let decide = |verb: &str, what: &str| {
                scene.alice.quipu(["registry", verb, &home, what, "--reason", "a reason"]).ok();
            };
            decide("takedown", "wasi:http@0.2.0");
            decide("takedown", "wasi:io");
            let synced = scene.sync().ok().json();
            let served = |package: &str| {
                let name = format!("refs/mirrors/{HOME}/contents/{package}");
                let found = git(&scene.path("own.git"), ["ls-tree", "--name-only", &name]);
                found.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            if keeps {
                assert_eq!(synced["mirrors"][0]["dropped"], 0);
                assert_eq!((served("wasi/http").as_str(), served("wasi/io").as_str()), ("0.1.0 0.2.0", "0.1.0"));
                let held = format!("refs/registry/log:mirrors/{HOME}/held");
                let held = git(&scene.path("own.git"), ["show", &held]).ok().stdout;
                assert!(held.ends_with("keep-taken-down = true\n"), "{held}");
                assert_eq!(scene.listed()["keep-taken-down"], true);
            } else {
                assert_eq!(synced["mirrors"][0]["dropped"], 2);
                assert_eq!((served("wasi/http").as_str(), served("wasi/io").as_str()), ("0.1.0", ""));
                scene.mirrors("own.git", covered, true);
            }
            scene.is_sound("own.git");
            let bob = scene.reader("bob", &scene.daemon.url("own.git"));
            let failed = bob.quipu(["get", &format!("{HOME}/wasi:http@0.2.0"), "--to", &scene.world.at("x"), "--json"]);
            assert!(failed.fails(4, "taken-down").contains("a reason"), "{}", failed.stdout);
            scene.gets(&bob, "wasi:http@0.1.0");
            decide("restore", "wasi:http@0.2.0");
            decide("restore", "wasi:io");
            let synced = scene.sync().ok().json();
            assert_eq!(synced["mirrors"][0]["releases"], if keeps { 0 } else { 2 });
            scene.mirrors("own.git", covered, true);
            scene.is_sound("own.git");
            scene.gets(&bob, "wasi:http@0.2.0");
            scene.gets(&bob, "wasi:io@0.1.0");
            // It was taken down before it was mirrored at all.
            decide("takedown", "wasi:http@0.1.0");
            scene.olga.quipu(["mirror", "remove", HOME, "--in", &scene.world.at("own.git")]).ok();
            scene.add(&[only, keep].concat()).ok();
            assert_eq!(served("wasi/http"), "0.2.0");
            scene.is_sound("own.git");
        }
    }
}

#[test]
fn what_cannot_be_mirrored_is_refused_and_changes_nothing() {
    let scene = Scene::new("sha1");
    let own = scene.world.at("own.git");
    let (url, id) = (scene.daemon.url("home.git"), scene.id.clone());
    git(&scene.world.root(), ["init", "-q", "--bare", "plain.git"]).ok();
    let plain = scene.world.at("plain.git");
    scene.world.registry(&scene.olga, "other-format.git", "format.example", "sha256");
    let other_format = scene.world.at("other-format.git");
    let mallory = scene.world.person_with_key("mallory");
    let nobody = scene.world.person("nobody");
    let state = || (references(&scene.path("own.git"), "refs/"), std::fs::read(scene.path("own.git/config")).unwrap());
    let before = state();
    let cases: &[(&Person, &[&str], i32, &str)] = &[
        (&scene.olga, &["add", HOME, &url, "--in", &own], 5, "not-trusted"),
        (&scene.olga, &["add", HOME, "--id", &id, "--in", &own], 2, "bad-config"),
        (&scene.olga, &["add", HOME, &url, "--id", &id.replace("sha256:", "sha256:0")[..71], "--in", &own], 5, "id-mismatch"),
        (&scene.olga, &["add", "else.example", &url, "--id", &id, "--in", &own], 4, "wrong-registry"),
        (&scene.olga, &["add", HOME, &plain, "--id", &id, "--in", &own], 7, "bad-repository"),
        (&scene.olga, &["add", HOME, "./nothing", "--id", &id, "--in", &own], 3, "not-found"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", &plain], 7, "bad-repository"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", "nothing"], 3, "not-found"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", &own, "--only", "wasi:"], 2, "bad-name"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", &own, "--only", "Wasi:*"], 2, "bad-name"),
        (&scene.olga, &["add", OWN, &url, "--id", &id, "--in", &own], 2, "usage"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", &other_format], 7, "bad-repository"),
        (&scene.olga, &["add", HOME, &url, "--id", &id, "--in", &own, "--logs-only", "--keep-taken-down"], 2, "usage"),
        (&mallory, &["add", HOME, &url, "--id", &id, "--in", &own], 8, "unauthorized"),
        (&nobody, &["add", HOME, &url, "--id", &id, "--in", &own], 2, "no-key"),
        (&scene.olga, &["remove", HOME, "--in", &own], 3, "not-found"),
        (&scene.olga, &["sync", HOME, "--in", &own], 3, "not-found"),
    ];
    for (person, args, status, code) in cases {
        let failed = person.quipu(["mirror"].iter().chain(args.iter()).chain(&["--json"]));
        let said = failed.json();
        assert_eq!((failed.status, said["error"]["code"].as_str().unwrap()), (*status, *code), "{args:?}\n{said}");
        assert_eq!(state(), before, "{args:?}");
    }
    let dry = scene.add(&["--dry-run"]).ok().json();
    assert_eq!(dry["mirrors"][0]["before"], Value::Null);
    assert_eq!(state(), before);
    scene.add(&[]).ok();
    scene.publish("wasi:io", "0.2.0");
    let before = state();
    let (home, key) = (scene.olga.public_key(), mallory.public_key());
    assert!(home != key);
    for (person, args, status, code) in [
        (&mallory, &["sync", "--in", &own][..], 8, "unauthorized"),
        (&mallory, &["remove", HOME, "--in", &own], 8, "unauthorized"),
    ] {
        let failed = person.quipu(["mirror"].iter().chain(args.iter()).chain(&["--json"]));
        let said = failed.json();
        assert_eq!((failed.status, said["error"]["code"].as_str().unwrap_or_default()), (status, code), "{args:?}\n{said}");
        assert_eq!(state(), before, "{args:?}");
    }
    scene.olga.quipu(["mirror", "sync", "--in", &own, "--dry-run"]).ok();
    scene.olga.quipu(["mirror", "remove", HOME, "--in", &own, "--dry-run"]).ok();
    assert_eq!(state(), before);
    // Who may make checkpoints may bring mirrors up to date, and may not say what is mirrored.
    let peter = scene.world.person_with_key("peter");
    let key = peter.public_key();
    scene.olga.quipu(["registry", "operator", "allow", &own, &key, "--privilege", "checkpoint"]).ok();
    peter.quipu(["mirror", "remove", HOME, "--in", &own, "--json"]).fails(8, "unauthorized");
    let narrower = ["mirror", "add", HOME, &url, "--only", "wasi:*", "--in", &own, "--json"];
    peter.quipu(narrower).fails(8, "unauthorized");
    peter.quipu(["mirror", "sync", "--in", &own]).ok();
    scene.mirrors("own.git", ALL, true);
    scene.is_sound("own.git");
}

#[test]
fn a_connection_that_is_cut_off_at_any_point_changes_nothing() {
    for only in [&[][..], &["--only", "wasi:*"]] {
        let scene = Scene::new("sha1");
        let own = scene.world.at("own.git");
        scene.add(only).ok();
        let relay = Relay::to(scene.daemon.port());
        let config = git(&scene.path("own.git"), ["config", &format!("quipu-mirror.{HOME}.url"), &relay.url("home.git")]);
        config.ok();
        let sync = || scene.olga.quipu(["mirror", "sync", "--in", &own, "--json"]);
        // What a whole step takes.
        scene.publish("wasi:io", "0.2.0");
        sync().ok();
        let (_, all) = relay.spent();
        scene.publish("wasi:io", "0.3.0");
        let before = references(&scene.path("own.git"), "refs/");
        for bytes in (0..all).step_by(usize::try_from(all / 12).unwrap()) {
            relay.becomes(Mood::CutAfter(bytes));
            let failed = sync();
            if failed.status == 0 {
                // Each connection that is made again gets as far.
                break;
            }
            failed.fails(7, "network");
            assert_eq!(references(&scene.path("own.git"), "refs/"), before, "{bytes}");
        }
        let bob = scene.reader("bob", &scene.daemon.url("own.git"));
        scene.gets(&bob, "wasi:io@0.2.0");
        relay.becomes(Mood::Pass);
        sync().ok();
        scene.gets(&bob, "wasi:io@0.3.0");
        scene.is_sound("own.git");
    }
}

/// Changes one file of the proofs of a mirror.
fn tamper(path: &Path, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let name = format!("refs/mirrors/{HOME}/proofs");
    let show = Command::new("git").arg("-C").arg(path).args(["cat-file", "blob", &format!("{name}:{file}")]).output().unwrap();
    assert!(show.status.success(), "{file}");
    let write = path.join("tampered");
    std::fs::write(&write, change(show.stdout)).unwrap();
    let blob = git(path, ["hash-object", "-w", write.to_str().unwrap()]).ok().stdout;
    let index = path.join("index-of-proofs");
    let run = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(path).args(args).env("GIT_INDEX_FILE", &index);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "x")
                .env(format!("GIT_{who}_EMAIL"), "x")
                .env(format!("GIT_{who}_DATE"), "0 +0000");
        }
        let output = git.output().unwrap();
        assert!(output.status.success(), "{args:?} {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    run(&["read-tree", &name]);
    run(&["update-index", "--add", "--cacheinfo", &format!("100644,{},{file}", blob.trim())]);
    let tree = run(&["write-tree"]);
    // The same commit, but for its tree.
    let old = Command::new("git").arg("-C").arg(path).args(["cat-file", "commit", &name]).output().unwrap().stdout;
    let old = String::from_utf8(old).unwrap();
    std::fs::write(&write, format!("tree {tree}\n{}", old.split_once('\n').unwrap().1)).unwrap();
    let commit = git(path, ["hash-object", "-w", "-t", "commit", write.to_str().unwrap()]).ok().stdout;
    run(&["update-ref", &name, commit.trim()]);
    std::fs::remove_file(write).unwrap();
    std::fs::remove_file(index).unwrap();
}

#[test]
fn whoever_changes_what_is_held_is_found_out() {
    let scene = Scene::new("sha1");
    scene.add(&["--only", "wasi:*"]).ok();
    scene.publish("wasi:io", "0.2.0");
    scene.sync().ok();
    let own = scene.path("own.git");
    let proofs = format!("refs/mirrors/{HOME}/proofs");
    // Finds files of the proofs as they are now.
    let files = |start: &str| -> Vec<String> {
        let all = git(&own, ["ls-tree", "-r", "--name-only", &proofs]).ok().stdout;
        all.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    };
    let seen = scene.reader("seen", &scene.daemon.url("own.git"));
    scene.gets(&seen, "wasi:io@0.2.0");
    let first = format!("{proofs}:{}", files("log/")[0]);
    let older = Command::new("git").arg("-C").arg(&own).args(["cat-file", "blob", &first]).output().unwrap().stdout;
    type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    let flip = || -> Change {
        Box::new(|mut bytes| {
            let at = bytes.len() - 9;
            bytes[at] ^= 1;
            bytes
        })
    };
    let held = |from: &'static str, to: &'static str| -> Change {
        Box::new(move |bytes| String::from_utf8(bytes).unwrap().replace(from, to).into_bytes())
    };
    // What a reader who is new finds, and one who saw the newest state.
    let cases: [(&str, Change, Option<i32>, i32); 5] = [
        ("trees/", flip(), Some(4), 4),
        ("log/", flip(), Some(4), 4),
        // An old state is an old state: who is new cannot tell, as with any mirror that is behind.
        ("log/", Box::new(move |_| older.clone()), None, 4),
        // What is held is for the reader's words alone.
        ("held", held("\"wasi:*\"", "\"*\""), Some(0), 0),
        ("held", held("format = 1", "format = 1 "), Some(4), 4),
    ];
    for (at, (start, change, new, old)) in cases.into_iter().enumerate() {
        let file = files(start).pop().unwrap();
        tamper(&own, &file, change);
        let verified = scene.olga.quipu(["verify", &scene.world.at("own.git"), "--json"]);
        assert_eq!(verified.status, 4, "{at} {file}: {}", verified.stdout);
        let reader = scene.world.person(&format!("new{at}"));
        let trusted = reader.quipu(["trust", "add", HOME, &scene.daemon.url("own.git"), "--id", &scene.id, "--json"]);
        let got = if trusted.status == 0 {
            reader.quipu(["get", &format!("{HOME}/wasi:io"), "--to", &scene.world.at(&format!("x{at}")), "--json"])
        } else {
            trusted
        };
        assert!(new.is_none_or(|new| got.status == new), "{at} {file}: {}", got.stdout);
        let place = scene.world.at(&format!("y{at}"));
        let got = seen.quipu(["get", &format!("{HOME}/wasi:io"), "--to", &place, "--json"]);
        assert_eq!(got.status, old, "{at} {file}: {}", got.stdout);
        // The mirror is made anew.
        scene.olga.quipu(["mirror", "remove", HOME, "--in", &scene.world.at("own.git")]).ok();
        scene.publish("cli:walk", &format!("7.{at}.0"));
        scene.add(&["--only", "wasi:*"]).ok();
        scene.is_sound("own.git");
        scene.gets(&seen, "wasi:io@0.2.0");
    }
}

#[test]
fn what_happens_to_a_name_at_home_happens_to_it_in_a_mirror() {
    for format in ["sha1", "sha256"] {
        for only in [&[][..], &["--only", "wasi:*"]] {
            let scene = Scene::new(format);
            let covered = if only.is_empty() { ALL } else { &ALL[..2] };
            let home = scene.world.at("home.git");
            scene.add(only).ok();
            let bob = scene.reader("bob", &scene.daemon.url("own.git"));
            scene.gets(&bob, "wasi:http@0.2.0");
            // The name gets a new log; that of before is put aside, with its files.
            let dora = scene.world.person_with_key("dora");
            dora.trust(HOME, &home, &scene.id);
            let reset = ["registry", "reset", &home, "wasi:http", "--reason", "lost", "--owner", &dora.public_key()];
            scene.alice.quipu(reset).ok();
            dora.quipu(["publish", &scene.world.package("from/wasi/http/5.0.0", "wasi:http", "5.0.0")]).ok();
            scene.alice.quipu(["registry", "accept", &home]).ok();
            scene.sync().ok();
            scene.mirrors("own.git", covered, true);
            scene.is_sound("own.git");
            let retired = references(&scene.path("own.git"), &format!("refs/mirrors/{HOME}/retired"));
            assert_eq!(retired.len(), 2, "{retired:?}");
            let carol = scene.reader("carol", &scene.daemon.url("own.git"));
            scene.gets(&carol, "wasi:http@5.0.0");
            // A mirror that begins now has the log of before, too.
            let again = scene.world.at("again.git");
            scene.olga.quipu(["registry", "init", &again, "--name", "again.example", "--object-format", format]).ok();
            let url = scene.daemon.url("own.git");
            let args = ["mirror", "add", HOME, &url, "--id", &scene.id, "--in", &again];
            scene.olga.quipu(args.into_iter().chain(only.iter().copied())).ok();
            scene.mirrors("again.git", covered, true);
            scene.is_sound("again.git");
            // What was put aside goes where it is not covered any more.
            scene.olga.quipu(["mirror", "add", HOME, "--only", "wasi:io", "--in", &scene.world.at("own.git")]).ok();
            assert_eq!(references(&scene.path("own.git"), &format!("refs/mirrors/{HOME}/retired")).len(), 0);
            scene.is_sound("own.git");
        }
    }
}

#[test]
fn a_package_that_takes_another_name_is_mirrored_under_both() {
    for only in [&[][..], &["--only", "wasi:*"], &["--only", "wasi:fresh"], &["--only", "wasi:io"]] {
        let scene = Scene::new("sha1");
        scene.add(only).ok();
        scene.alice.quipu(["rename", &format!("{HOME}/wasi:io"), "wasi:fresh"]).ok();
        scene.alice.quipu(["registry", "accept", &scene.world.at("home.git")]).ok();
        scene.alice.quipu(["publish", &scene.world.package("from/wasi/fresh/0.2.0", "wasi:fresh", "0.2.0")]).ok();
        scene.sync().ok();
        let as_at_home = |what: &str| {
            let at_home = references(&scene.path("home.git"), "refs/");
            for (name, id) in references(&scene.path("own.git"), &format!("refs/mirrors/{HOME}")) {
                let name = name.replacen(&format!("refs/mirrors/{HOME}/"), "refs/", 1);
                assert!(name == "refs/proofs" || at_home.get(&name) == Some(&id), "{what} {only:?}: {name}");
            }
            scene.is_sound("own.git");
        };
        as_at_home("renamed");
        let bob = scene.reader("bob", &scene.daemon.url("own.git"));
        // Whichever name is covered, all names of the package are.
        scene.gets(&bob, "wasi:fresh@0.2.0");
        bob.quipu(["get", &format!("{HOME}/wasi:io"), "--to", &scene.world.at("x")]).ok();
        folders::assert_same(&scene.path("x"), &scene.path("from/wasi/fresh/0.2.0"));
        // In another namespace, and taken down there.
        scene.alice.quipu(["rename", &format!("{HOME}/wasi:fresh"), "cli:old"]).ok();
        scene.alice.quipu(["registry", "accept", &scene.world.at("home.git")]).ok();
        scene.sync().ok();
        as_at_home("renamed again");
        let home = scene.world.at("home.git");
        scene.alice.quipu(["registry", "takedown", &home, "cli:old@0.2.0", "--reason", "a reason"]).ok();
        scene.sync().ok();
        as_at_home("taken down");
        let held = git(&scene.path("own.git"), ["ls-tree", "--name-only", &format!("refs/mirrors/{HOME}/contents/cli/old")]);
        assert_eq!(held.ok().stdout, "0.1.0\n", "{only:?}");
        let failed = bob.quipu(["get", &format!("{HOME}/wasi:io@0.2.0"), "--to", &scene.world.at("y"), "--json"]);
        failed.fails(4, "taken-down");
        scene.alice.quipu(["registry", "restore", &home, "cli:old@0.2.0", "--reason", "no reason"]).ok();
        scene.sync().ok();
        as_at_home("restored");
        std::fs::remove_dir_all(scene.path("x")).unwrap();
        bob.quipu(["get", &format!("{HOME}/cli:old@0.2.0"), "--to", &scene.world.at("x")]).ok();
    }
}
