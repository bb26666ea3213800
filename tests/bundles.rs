//! A mirror in one file: written where there is a network, read where there is none, and by stock git.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::fs;
use support::{Person, World, git};

const HOME: &str = "home.example";
const FAR: &str = "far.example";

/// Alice's registry, and Bob's in a place without a network, where only files come.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    id: String,
}

impl Scene {
    fn new(format: &str) -> Self {
        let world = World::new();
        let (alice, bob) = (world.person_with_key("alice"), world.person_with_key("bob"));
        let id = world.registry(&alice, "home.git", HOME, format);
        world.registry(&bob, "far.git", FAR, format);
        let scene = Scene { world, alice, bob, id };
        for (name, version) in [("wasi:http", "1.0.0"), ("wasi:io", "1.0.0"), ("cli:run", "1.0.0")] {
            scene.publish(name, version);
        }
        scene
    }

    fn publish(&self, name: &str, version: &str) {
        let folder = self.world.package(&format!("{}/{version}", name.replace(':', "/")), name, version);
        self.alice.quipu(["publish", &folder]).ok();
    }

    fn create(&self, file: &str, more: &[&str]) {
        let file = self.world.at(file);
        self.alice.quipu(["bundle", "create", &file].into_iter().chain(more.iter().copied())).ok();
    }

    fn import(&self, file: &str) -> support::Outcome {
        let (file, far) = (self.world.at(file), self.world.at("far.git"));
        self.bob.quipu(["bundle", "import", &file, "--in", &far, "--id", &self.id, "--json"])
    }

    fn held(&self) -> String {
        self.named("far.git", "refs/mirrors/")
    }

    fn named(&self, repository: &str, prefix: &str) -> String {
        git(&self.world.path(repository), ["for-each-ref", "--format=%(objectname) %(refname)", prefix]).ok().stdout
    }

    fn is_sound(&self, repository: &str) {
        let path = self.world.path(repository);
        let said = git(&path, ["fsck", "--strict", "--no-dangling"]).ok();
        // A bundle has no branch for git to stand on.
        let said: Vec<&str> = said.stdout.lines().chain(said.stderr.lines()).collect();
        assert!(said.iter().all(|line| line.starts_with("notice: HEAD points to an unborn branch")), "{repository}: {said:?}");
        self.bob.quipu(["verify", &self.world.at(repository)]).ok();
    }

    /// Lets somebody who has only Bob's repository get a release.
    fn gets(&self, name: &str, release: &str) {
        let person = self.world.person(name);
        person.trust(HOME, &self.world.at("far.git"), &self.id);
        let to = self.world.at(&format!("got-{name}"));
        person.quipu(["get", &format!("{HOME}/{release}"), "--to", &to]).ok();
    }
}

#[test]
fn a_registry_goes_to_a_place_without_a_network_in_files() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        scene.create("all.bundle", &[]);
        scene.import("all.bundle").ok();
        scene.is_sound("far.git");
        // What is held is what is at home, reference by reference.
        let home = |prefix: &str| scene.named("home.git", prefix).replace(" refs/", " refs/mirrors/home.example/");
        let all = |scene: &Scene| {
            let mut lines: Vec<String> = ["refs/packages/", "refs/contents/", "refs/decisions/", "refs/registry/"]
                .iter()
                .flat_map(|prefix| home(prefix).lines().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            lines.sort_by_key(|line| line.split(' ').nth(1).unwrap().to_owned());
            assert_eq!(scene.held().lines().map(str::to_owned).collect::<Vec<_>>(), lines);
        };
        all(&scene);
        let before = scene.held();
        assert_eq!(scene.import("all.bundle").ok().json()["mirrors"][0]["checkpoint"], serde_json::Value::Null);
        // The next file has only what came since, and goes on from there and from nowhere else.
        scene.publish("wasi:http", "1.1.0");
        scene.publish("wasi:new", "1.0.0");
        scene.create("more.bundle", &["--since", "3"]);
        scene.publish("cli:run", "1.1.0");
        scene.create("later.bundle", &["--since", "5"]);
        assert!(scene.import("later.bundle").fails(4, "ref-missing").contains("bundles are imported in their order"));
        assert_eq!(scene.held(), before);
        let said = scene.import("more.bundle").ok().json();
        assert_eq!((&said["mirrors"][0]["packages"], &said["mirrors"][0]["releases"]), (&2.into(), &2.into()), "{said}");
        scene.import("later.bundle").ok();
        all(&scene);
        scene.is_sound("far.git");
        scene.gets("carol", "wasi:http@1.1.0");
        // One that is older than what is held is no news and no way back.
        let now = scene.held();
        scene.import("all.bundle").fails(4, "rollback");
        assert_eq!(scene.held(), now);
    }
}

#[test]
fn stock_git_reads_a_bundle_as_a_mirror() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        scene.create("all.bundle", &[]);
        git(&scene.world.root(), ["clone", "-q", "--mirror", "all.bundle", "clone.git"]).ok();
        scene.is_sound("clone.git");
        scene.publish("wasi:io", "1.1.0");
        scene.create("more.bundle", &["--since", "3"]);
        git(&scene.world.path("clone.git"), ["bundle", "verify", "-q", "../more.bundle"]).ok();
        git(&scene.world.path("clone.git"), ["fetch", "-q", "../more.bundle", "+refs/*:refs/*"]).ok();
        scene.is_sound("clone.git");
        let same = scene.alice.quipu(["compare", &scene.world.at("home.git"), &scene.world.at("clone.git")]).ok();
        assert!(same.stdout.contains("are the same, checkpoint 4"), "{}", same.stdout);
    }
}

#[test]
fn a_part_goes_in_a_file_with_what_proves_it() {
    for format in ["sha1", "sha256"] {
        let scene = Scene::new(format);
        scene.create("part.bundle", &["wasi:*"]);
        scene.import("part.bundle").ok();
        scene.is_sound("far.git");
        assert!(!scene.held().contains("cli/run") && scene.held().contains("home.example/proofs"), "{}", scene.held());
        scene.publish("wasi:http", "1.1.0");
        scene.publish("cli:run", "1.1.0");
        scene.create("more.bundle", &["wasi:*", "--since", "3"]);
        let said = scene.import("more.bundle").ok().json();
        assert_eq!((&said["mirrors"][0]["packages"], &said["mirrors"][0]["seq"]), (&1.into(), &5.into()), "{said}");
        scene.is_sound("far.git");
        scene.gets("carol", "wasi:http@1.1.0");
        // A file with less than what is mirrored is enough where the rest has not changed, and only there.
        scene.publish("wasi:io", "1.1.0");
        scene.create("less.bundle", &["wasi:io"]);
        scene.import("less.bundle").ok();
        scene.publish("wasi:http", "1.2.0");
        scene.create("less.bundle", &["wasi:io"]);
        let before = scene.held();
        scene.import("less.bundle").fails(4, "ref-missing");
        assert_eq!(scene.held(), before);
        scene.is_sound("far.git");
    }
}

#[test]
fn what_is_no_bundle_or_not_the_right_one_is_refused_and_changes_nothing() {
    let scene = Scene::new("sha1");
    scene.create("all.bundle", &[]);
    let (all, far) = (scene.world.path("all.bundle"), scene.world.at("far.git"));
    let bytes = fs::read(&all).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        fs::write(scene.world.path(name), bytes).unwrap();
    };
    put("empty.bundle", b"");
    put("text.bundle", b"# v2 git bundle\nwhat?\n\n");
    put("cut.bundle", &bytes[..bytes.len() - 40]);
    let header = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    put("bare.bundle", &bytes[..header + 2]);
    let mut wrong = bytes.clone();
    let middle = header + (bytes.len() - header) / 2;
    wrong[middle] ^= 0x10;
    put("wrong.bundle", &wrong);
    let before = scene.held();
    for (file, status, code) in [
        ("none.bundle", 3, "not-found"),
        ("empty.bundle", 7, "bad-repository"),
        ("text.bundle", 7, "bad-repository"),
        ("cut.bundle", 7, "git"),
        ("bare.bundle", 7, "git"),
        ("wrong.bundle", 7, "git"),
    ] {
        let said = scene.import(file).json();
        let found = said["error"]["code"].as_str().unwrap();
        assert_eq!((file, found), (file, code), "{said}");
        scene.import(file).ends(status);
    }
    // Without anybody's word for the id nothing is taken.
    scene.bob.quipu(["bundle", "import", &scene.world.at("all.bundle"), "--in", &far, "--json"]).fails(5, "not-trusted");
    let other = format!("sha256:{}", "0".repeat(64));
    let args = ["bundle", "import", &scene.world.at("all.bundle"), "--in", &far, "--id", &other, "--json"];
    scene.bob.quipu(args).fails(5, "id-mismatch");
    // A bundle of something else that git made.
    git(&scene.world.root(), ["init", "-q", "--bare", "plain.git"]).ok();
    let plain = scene.world.path("plain.git");
    let tree = git(&plain, ["mktree"]).ok().stdout;
    let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
    let commit = git(&plain, identity.into_iter().chain(["commit-tree", "-m", "x", tree.trim()])).ok().stdout;
    git(&plain, ["update-ref", "refs/heads/main", commit.trim()]).ok();
    git(&plain, ["bundle", "create", "-q", "../plain.bundle", "--all"]).ok();
    assert!(scene.import("plain.bundle").fails(7, "bad-repository").contains("holds no registry"));
    assert_eq!(scene.held(), before);
    scene.is_sound("far.git");
}

#[test]
fn nothing_new_is_no_file() {
    let scene = Scene::new("sha1");
    let said = scene.alice.quipu(["bundle", "create", &scene.world.at("x.bundle"), "--since", "3"]).ends(1);
    assert!(said.stdout.contains("nothing came after checkpoint 3"), "{}", said.stdout);
    assert!(!scene.world.path("x.bundle").exists());
    scene.alice.quipu(["bundle", "create", &scene.world.at("x.bundle"), "--since", "9", "--json"]).fails(3, "not-found");
    scene
        .alice
        .quipu(["bundle", "create", &scene.world.at("x.bundle"), "--of", "nobody.example", "--json"])
        .fails(5, "not-trusted");
}
