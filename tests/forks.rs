//! Forks: a log of one's own with the history of another one behind it, and what its origin releases later.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use support::daemon::Daemon;
use support::{Person, World, git};

const A: &str = "a.example";
const B: &str = "b.example";
const FORMATS: [(&str, &str); 4] = [("sha1", "sha1"), ("sha256", "sha256"), ("sha1", "sha256"), ("sha256", "sha1")];

/// Alice's registry with `demo:hello`, and Bob's, in which he forks it.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    ids: (String, String),
}

impl Scene {
    fn new(a: &str, b: &str) -> Self {
        let world = World::new();
        let (alice, bob) = (world.person_with_key("alice"), world.person_with_key("bob"));
        let ids = (world.registry(&alice, "a.git", A, a), world.registry(&bob, "b.git", B, b));
        bob.trust(A, &world.at("a.git"), &ids.0);
        let scene = Scene { world, alice, bob, ids };
        scene.alice.quipu(["publish", &scene.world.package("io", "demo:io", "1.2.0")]).ok();
        scene.release("1.0.0", |_| {});
        scene
    }

    /// Publishes the next release of the origin, whose folder `change` changes.
    fn release(&self, version: &str, change: impl FnOnce(&World)) {
        let world = &self.world;
        let manifest = "# Says hello\n[package]\nname = \"demo:hello\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\n[dependencies]\n\
                        \"demo:io\" = \"^1\" # reads\n";
        if !world.path("hello").exists() {
            let lines: Vec<String> = (1..=30).map(|line| line.to_string()).collect();
            world.write("hello/text", &(lines.join("\n") + "\n"));
            world.write("hello/gone", "later it goes\n");
            world.write("hello/old/name", "a text that is long enough\nto be known again\nunder another name\n");
            let run = world.write("hello/run", "#!/bin/sh\n");
            std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o755)).unwrap();
            world.write("hello/quipu.toml", manifest);
        }
        change(world);
        self.put("hello/quipu.toml", "version = \"1.0.0\"", &format!("version = \"{version}\""));
        self.alice.quipu(["publish", &world.at("hello")]).ok();
        self.put("hello/quipu.toml", &format!("version = \"{version}\""), "version = \"1.0.0\"");
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.world.path(path)).unwrap()
    }

    /// Puts one text in the place of another in a file.
    fn put(&self, path: &str, old: &str, new: &str) {
        let text = self.text(path);
        assert!(text.contains(old), "{old:?} in {path}: {text}");
        self.world.write(path, &text.replacen(old, new, 1));
    }

    fn fork(&self) -> Value {
        self.bob.asks(["fork", "a.example/demo:hello", "me:hello", "--dir", &self.world.at("fork")])
    }

    fn publish(&self) -> Value {
        self.bob.asks(["publish", &self.world.at("fork")])
    }

    fn subjects(&self, repository: &str, package: &str) -> Vec<String> {
        let name = format!("refs/packages/{package}");
        let log = git(&self.world.path(repository), ["log", "--format=%s", &name]).ok().stdout;
        log.lines().map(str::to_owned).collect()
    }

    fn fsck(&self, repository: &str) {
        let said = git(&self.world.path(repository), ["fsck", "--strict", "--no-dangling"]).ok();
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{repository}");
        self.bob.quipu(["registry", "fsck", &self.world.at(repository)]).ok();
    }
}

#[test]
fn the_history_of_a_fork_runs_on_into_that_of_its_origin() {
    for (a, b) in FORMATS {
        let scene = Scene::new(a, b);
        scene.release("1.1.0", |world| drop(world.write("hello/more", "more\n")));
        let made = scene.bob.asks(["fork", "a.example/demo:hello@1.0.0", "b.example/me:hello", "--dir", &scene.world.at("fork")]);
        assert_eq!(made["origin"]["version"], "1.0.0");
        assert!(!scene.world.path("fork/more").exists());
        let mode = scene.world.path("fork/run").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "what can be executed stays so");
        scene.put("fork/text", "1\n", "one\n");
        scene.publish();
        let own = ["release me:hello 1.0.0", "init me:hello from a.example/demo:hello@1.0.0"];
        let origins = ["release demo:hello 1.0.0", "init demo:hello"];
        let all: Vec<&str> = if a == b { [own, origins].concat() } else { own.to_vec() };
        assert_eq!(scene.subjects("b.git", "me/hello"), all, "{a} {b}");
        scene.fsck("b.git");
        scene.bob.quipu(["verify", &scene.world.at("b.git")]).ok();
        scene.bob.quipu(["verify", "me:hello"]).ok();
        // Good signatures all the way down, by stock git.
        let signers = scene.bob.quipu(["owner", "list", "me:hello", "--allowed-signers"]).ok().stdout
            + &scene.bob.quipu(["owner", "list", "a.example/demo:hello", "--allowed-signers"]).ok().stdout;
        let signers = scene.world.write("signers", &signers);
        let config = format!("gpg.ssh.allowedSignersFile={}", signers.display());
        let shown = git(&scene.world.path("b.git"), ["-c", &config, "log", "--format=%G?", "refs/packages/me/hello"]);
        assert!(shown.ok().stdout.lines().all(|line| line == "G"));
    }
}

#[test]
fn dependencies_mean_what_they_meant_and_are_installed() {
    for registry in [B, A] {
        let scene = Scene::new("sha1", "sha1");
        let owner = if registry == B { &scene.bob } else { &scene.alice };
        let name = format!("{registry}/me:hello");
        owner.quipu(["fork", "a.example/demo:hello", &name, "--dir", &scene.world.at("fork")]).ok();
        let text = scene.text("fork/quipu.toml");
        assert!(text.starts_with("# Says hello\n[package]\n"), "{text}");
        let needs = if registry == B { "\"a.example/demo:io\" = \"^1\" # reads" } else { "\n\"demo:io\" = \"^1\" # reads" };
        assert!(text.contains(needs), "{text}");
        owner.quipu(["publish", &scene.world.at("fork")]).ok();
        scene.world.write("app/quipu.toml", &format!("[dependencies]\n\"{name}\" = \"1\"\n"));
        owner.within(scene.world.path("app")).quipu(["install"]).ok();
        assert!(scene.world.path("app/quipu_packages/a.example/demo/io/1.2.0/src/text").exists());
        assert!(scene.world.path(&format!("app/quipu_packages/{registry}/me/hello/1.0.0/text")).exists());
    }
}

#[test]
fn where_a_fork_comes_from_is_proven_where_its_registry_is_known_and_claimed_elsewhere() {
    for (a, b) in FORMATS {
        let scene = Scene::new(a, b);
        scene.fork();
        scene.publish();
        let origin =
            |person: &Person, more: &[&str]| person.asks([&["info", "b.example/me:hello"], more].concat())["origin"].clone();
        let found = origin(&scene.bob, &["--offline"]);
        assert_eq!((&found["status"], &found["why"]), (&"proven".into(), &Value::Null));
        assert_eq!(found["linked"], a == b);
        assert_eq!(
            (&found["registry"], &found["package"], &found["version"]),
            (&A.into(), &"demo:hello".into(), &"1.0.0".into())
        );
        let carol = scene.world.person("carol");
        carol.trust(B, &scene.world.at("b.git"), &scene.ids.1);
        let found = origin(&carol, &[]);
        assert_eq!(found["status"], "claimed");
        assert!(found["why"].as_str().unwrap().contains("not trusted"));
        // Nothing was seen of its registry yet: then it is looked at once, and after that nobody is asked.
        let daemon = Daemon::serve(&scene.world.root());
        carol.trust(A, &daemon.url("a.git"), &scene.ids.0);
        assert_eq!(origin(&carol, &["--offline"])["status"], "claimed");
        assert_eq!(origin(&carol, &[])["status"], "proven");
        drop(daemon);
        assert_eq!(origin(&carol, &[])["status"], "proven");
        assert_eq!(origin(&carol, &["--offline"])["status"], "proven");

        // Who knows another registry by that name is told so.
        let dave = scene.world.person_with_key("dave");
        let other = scene.world.registry(&dave, "other.git", A, a);
        dave.trust(B, &scene.world.at("b.git"), &scene.ids.1);
        assert_ne!(other, scene.ids.0);
        let found = origin(&dave, &[]);
        assert_eq!(found["status"], "contradicted");
        let said = dave.quipu(["info", "b.example/me:hello"]).ok().stdout;
        assert!(said.contains("contradicted"), "{said}");
    }
}

#[test]
fn a_claim_that_no_registry_bears_out_is_never_proven() {
    // Mallory makes a registry that calls itself Alice's, with a package that Alice never published.
    let scene = Scene::new("sha1", "sha1");
    let mallory = scene.world.person_with_key("mallory");
    let id = scene.world.registry(&mallory, "fake.git", A, "sha1");
    mallory.quipu(["publish", &scene.world.package("evil", "demo:hello", "1.0.0"), "--registry", A]).ok();
    mallory.trust(B, &scene.world.at("b.git"), &scene.ids.1);
    mallory.quipu(["fork", "a.example/demo:hello", "b.example/mal:hello", "--dir", &scene.world.at("bad")]).ok();
    mallory.quipu(["publish", &scene.world.at("bad")]).ok();
    scene.bob.quipu(["registry", "accept", &scene.world.at("b.git")]).ok();
    let found = scene.bob.asks(["info", "b.example/mal:hello"]);
    assert_eq!(found["origin"]["registry-id"], id.as_str());
    assert_eq!((&found["origin"]["linked"], &found["origin"]["status"]), (&true.into(), &"contradicted".into()));
}

#[test]
fn a_fork_is_proposed_over_a_connection_and_accepted_there() {
    for (a, b) in FORMATS {
        let world = World::new();
        let (alice, bob) = (world.person_with_key("alice"), world.person_with_key("bob"));
        let a_id = world.registry(&alice, "git/a.git", A, a);
        let made = bob.asks(["registry", "init", &world.at("git/b.git"), "--name", B, "--hooks", "--object-format", b]);
        let daemon = Daemon::serve(&world.root());
        alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
        let carol = world.person_with_key("carol");
        carol.trust(A, &daemon.url("git/a.git"), &a_id);
        carol.trust(B, &daemon.url("git/b.git"), made["id"].as_str().unwrap());
        carol.quipu(["fork", "a.example/demo:hello", "b.example/carol:hello", "--dir", &world.at("fork")]).ok();
        let manifest = std::fs::read_to_string(world.path("fork/quipu.toml")).unwrap();
        assert!(manifest.contains("[origin]"), "{manifest}");
        // On another machine there is the folder alone.
        let other = world.person("other");
        std::fs::create_dir_all(other.home.join("keys")).unwrap();
        for name in ["carol", "carol.pub"] {
            std::fs::copy(carol.home.join("keys").join(name), other.home.join("keys").join(name)).unwrap();
        }
        other.trust(A, &daemon.url("git/a.git"), &a_id);
        other.trust(B, &daemon.url("git/b.git"), made["id"].as_str().unwrap());
        let published = other.asks(["publish", &world.at("fork"), "--wait", "--name", "carol"]);
        assert_eq!(published["state"], "published", "{published}");
        let log = git(&world.path("git/b.git"), ["log", "--format=%s", "refs/packages/carol/hello"]).ok().stdout;
        assert_eq!(log.lines().count(), if a == b { 4 } else { 2 }, "{log}");
        git(&world.path("git/b.git"), ["fsck", "--strict"]).ok();
        // A reader who fetches it gets all of it, and verifies it.
        let dave = world.person("dave");
        dave.trust(B, &daemon.url("git/b.git"), made["id"].as_str().unwrap());
        let found = dave.asks(["info", "b.example/carol:hello"]);
        assert_eq!((&found["origin"]["linked"], &found["origin"]["status"]), (&(a == b).into(), &"claimed".into()));
        dave.quipu(["get", "b.example/carol:hello", "--to", &world.at("got")]).ok();
        dave.quipu(["verify", "b.example/carol:hello", "--offline"]).ok();
        // It goes on from there, and the log behind it is not sent again.
        world.write("fork/more", "more\n");
        let text = std::fs::read_to_string(world.path("fork/quipu.toml")).unwrap();
        world.write("fork/quipu.toml", &text.replacen("1.0.0", "1.0.1", 1));
        assert_eq!(carol.asks(["publish", &world.at("fork"), "--wait"])["state"], "published");
        assert_eq!(dave.asks(["info", "b.example/carol:hello"])["seq"], 2);
    }
}

#[test]
fn a_fork_of_a_fork_keeps_both_histories() {
    let scene = Scene::new("sha256", "sha256");
    scene.fork();
    scene.publish();
    scene.bob.quipu(["fork", "me:hello", "two:hello", "--dir", &scene.world.at("second")]).ok();
    scene.bob.quipu(["publish", &scene.world.at("second")]).ok();
    let subjects = scene.subjects("b.git", "two/hello");
    assert_eq!(subjects.len(), 6, "{subjects:?}");
    scene.fsck("b.git");
    assert_eq!(scene.bob.asks(["info", "two:hello"])["origin"]["package"], "me:hello");
}

#[test]
fn upstreams_next_release_comes_in_by_gits_own_merge() {
    for (a, b) in [("sha1", "sha1"), ("sha256", "sha1")] {
        let scene = Scene::new(a, b);
        scene.fork();
        scene.put("fork/text", "1\n2\n", "one\ntwo\n");
        scene.world.write("fork/mine", "mine\n");
        scene.put("fork/old/name", "long enough", "long enough, I think,");
        scene.publish();
        scene.release("2.0.0", |world| {
            let text = std::fs::read_to_string(world.path("hello/text")).unwrap();
            world.write("hello/text", &text.replace("\n30\n", "\nthirty\n"));
            std::fs::remove_file(world.path("hello/gone")).unwrap();
            std::fs::create_dir(world.path("hello/new")).unwrap();
            std::fs::rename(world.path("hello/old/name"), world.path("hello/new/name")).unwrap();
            std::fs::set_permissions(world.path("hello/run"), std::fs::Permissions::from_mode(0o644)).unwrap();
            let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
            world.write("hello/quipu.toml", &toml.replace("\"^1\"", "\"^1.2\"").replace("MIT", "Apache-2.0"));
        });
        let would = scene.bob.asks(["fork", "--sync", &scene.world.at("fork"), "--dry-run"]);
        assert_eq!(would["state"], "merged");
        assert!(scene.world.path("fork/gone").exists(), "nothing was done yet");
        let merged = scene.bob.within(scene.world.path("fork")).asks(["fork", "--sync"]);
        assert_eq!((&merged["state"], &merged["from"], &merged["to"]), (&"merged".into(), &"1.0.0".into(), &"2.0.0".into()));
        let text = scene.text("fork/text");
        assert!(text.starts_with("one\ntwo\n3\n") && text.ends_with("29\nthirty\n"), "{text}");
        assert!(!scene.world.path("fork/gone").exists() && !scene.world.path("fork/old").exists());
        assert!(scene.text("fork/new/name").contains("I think"), "what was renamed there keeps what was changed here");
        assert_eq!(scene.world.path("fork/run").metadata().unwrap().permissions().mode() & 0o111, 0);
        assert_eq!(scene.text("fork/mine"), "mine\n");
        let manifest = scene.text("fork/quipu.toml");
        for line in
            ["name = \"me:hello\"", "version = \"2.0.0\"", "license = \"Apache-2.0\"", "\"a.example/demo:io\" = \"^1.2\" # reads"]
        {
            assert!(manifest.contains(line), "{line}: {manifest}");
        }
        let again = scene.bob.asks(["fork", "--sync", &scene.world.at("fork")]);
        assert_eq!(again["state"], "up-to-date");
        assert_eq!(scene.publish()["version"], "2.0.0");
        let diff = scene.bob.quipu(["diff", "a.example/demo:hello@2.0.0", "me:hello@2.0.0", "--name-status"]).ends(1).stdout;
        assert_eq!(diff, "A\tmine\nM\tnew/name\nM\tquipu.toml\nM\ttext\n");
        let own = scene.bob.within(scene.world.path("fork")).quipu(["diff", "--origin", "--name-status"]).ends(1).stdout;
        assert_eq!(own, diff);
        scene.fsck("b.git");
    }
}

#[test]
fn conflicts_are_shown_as_git_shows_them_and_are_not_published() {
    let scene = Scene::new("sha1", "sha1");
    scene.world.write("hello/picture", "\0one");
    scene.release("1.1.0", |_| {});
    scene.fork();
    scene.put("fork/text", "\n5\n", "\nfive\n");
    scene.put("fork/gone", "later", "not at all");
    std::fs::write(scene.world.path("fork/picture"), "\0mine").unwrap();
    scene.put("fork/quipu.toml", "MIT", "ISC");
    scene.put("fork/quipu.toml", "1.1.0", "1.1.0-patched");
    scene.release("2.0.0", |world| {
        let text = std::fs::read_to_string(world.path("hello/text")).unwrap();
        world.write("hello/text", &text.replace("\n5\n", "\nfünf\n"));
        std::fs::remove_file(world.path("hello/gone")).unwrap();
        world.write("hello/picture", "\0theirs");
        let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
        world.write("hello/quipu.toml", &toml.replace("MIT", "Apache-2.0"));
    });
    // What stock git makes of the same three.
    let at = scene.world.path("stock");
    git(&scene.world.root(), ["init", "-q", "stock"]).ok();
    let put = |from: &str, version: Option<&str>| {
        let (text, gone) = match version {
            Some(version) => {
                let tree = format!("refs/contents/demo/hello:{version}");
                let show = |path: &str| git(&scene.world.path("a.git"), ["show", &format!("{tree}/{path}")]);
                (show("text").ok().stdout, Some(show("gone")).filter(|shown| shown.status == 0).map(|shown| shown.stdout))
            }
            None => (scene.text("fork/text"), Some(scene.text("fork/gone"))),
        };
        scene.world.write("stock/text", &text);
        match gone {
            Some(gone) => drop(scene.world.write("stock/gone", &gone)),
            None => std::fs::remove_file(at.join("gone")).unwrap(),
        }
        let who = ["-c", "user.name=x", "-c", "user.email=x"];
        git(&at, ["add", "-A"]).ok();
        git(&at, [&who[..], &["commit", "-qm", from]].concat()).ok();
    };
    put("base", Some("1.1.0"));
    git(&at, ["checkout", "-qb", "upstream-2.0.0"]).ok();
    put("theirs", Some("2.0.0"));
    git(&at, ["checkout", "-q", "-b", "yours", "HEAD~1"]).ok();
    put("ours", None);
    git(&at, ["-c", "user.name=x", "-c", "user.email=x", "merge", "-q", "upstream-2.0.0"]).ends(1);
    let expected = scene.text("stock/text").replace("<<<<<<< HEAD", "<<<<<<< yours");

    let merged = scene.bob.quipu(["fork", "--sync", &scene.world.at("fork"), "--json"]).ends(1).json();
    assert_eq!(merged["state"], "conflicts");
    assert_eq!(merged["conflicts"], serde_json::json!(["gone", "picture", "text", "quipu.toml"]));
    let said: Vec<&str> = merged["messages"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for line in [
        "CONFLICT (content): Merge conflict in text",
        "CONFLICT (modify/delete): gone deleted in upstream-2.0.0 and modified in yours.  Version yours of gone left in tree.",
        "CONFLICT (quipu.toml): license in [package] changed on both sides; yours stands",
    ] {
        assert!(said.contains(&line), "{line}: {said:?}");
    }
    assert!(said.iter().any(|line| line.starts_with("CONFLICT (") && line.contains("picture")), "{said:?}");
    assert_eq!(scene.text("fork/text"), expected);
    assert_eq!(scene.text("fork/gone"), scene.text("stock/gone"));
    assert_eq!(scene.text("fork/picture"), "\0mine");
    assert!(scene.text("fork/quipu.toml").contains("version = \"1.1.0-patched\""), "a version of one's own stays");

    for command in [&["publish"][..], &["fork", "--sync"]] {
        let said = scene.bob.within(scene.world.path("fork")).quipu([command, &["--json"]].concat()).fails(8, "conflict");
        assert!(said.contains("text line 5"), "{said}");
    }
    scene.world.write("fork/text", "mine\n");
    scene.publish();
}

#[test]
fn nothing_that_is_no_part_of_the_fork_is_overwritten() {
    let scene = Scene::new("sha1", "sha1");
    scene.fork();
    scene.put("fork/quipu.toml", "license = \"MIT\"", "license = \"MIT\"\nexclude = [\"notes\"]");
    scene.world.write("fork/notes", "private\n");
    scene.release("2.0.0", |world| drop(world.write("hello/notes", "public\n")));
    let before = scene.text("fork/quipu.toml");
    let said = scene.bob.quipu(["fork", "--sync", &scene.world.at("fork"), "--json"]).fails(8, "conflict");
    assert!(said.contains("notes is in the way"), "{said}");
    assert_eq!((scene.text("fork/notes"), scene.text("fork/quipu.toml")), ("private\n".to_owned(), before));
    assert!(!scene.world.path("fork/.quipu-merge").exists());
}

#[test]
fn what_the_origin_took_back_is_not_taken_over() {
    let scene = Scene::new("sha1", "sha1");
    scene.release("1.1.0", |world| drop(world.write("hello/more", "more\n")));
    scene.fork();
    scene.alice.quipu(["yank", "demo:hello@1.1.0", "--reason", "broken"]).ok();
    let same = scene.bob.asks(["fork", "--sync", &scene.world.at("fork")]);
    assert_eq!(same["state"], "up-to-date", "what is newest now is older than what the fork has");
    scene.release("2.0.0", |_| {});
    scene.alice.quipu(["yank", "demo:hello@2.0.0"]).ok();
    assert_eq!(scene.bob.asks(["fork", "--sync", &scene.world.at("fork")])["state"], "up-to-date");
    let named = scene.bob.asks(["fork", "--sync", "--to", "2.0.0", &scene.world.at("fork")]);
    assert_eq!((&named["state"], &named["to"]), (&"merged".into(), &"2.0.0".into()));
    // Published for the first time now, it stands on what it was merged with last.
    scene.publish();
    assert_eq!(scene.bob.asks(["info", "me:hello"])["origin"]["version"], "2.0.0");
}

#[test]
fn a_release_without_a_manifest_gets_one() {
    let scene = Scene::new("sha1", "sha1");
    scene.release("1.1.0", |world| {
        let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
        let more = "license = \"MIT\"\ndescription = \"Says \\\"hello\\\"\"\nlinks = [\"https://hello.example\"]\nexclude = [\"quipu.toml\"]";
        world.write("hello/quipu.toml", &toml.replace("license = \"MIT\"", more));
    });
    scene.fork();
    let text = scene.text("fork/quipu.toml");
    for line in ["description = ", "links = [\"https://hello.example\"]", "license = \"MIT\"", "\"a.example/demo:io\" = \"^1\""] {
        assert!(text.contains(line), "{line}: {text}");
    }
    scene.release("2.0.0", |world| drop(world.write("hello/more", "more\n")));
    assert_eq!(scene.bob.asks(["fork", "--sync", &scene.world.at("fork")])["state"], "merged");
    scene.publish();
}

#[test]
fn what_cannot_be_forked_is_refused_with_what_to_do() {
    let scene = Scene::new("sha1", "sha1");
    let bob = &scene.bob;
    for (args, status, code, word) in [
        (&["fork"][..], 2, "usage", "--sync"),
        (&["fork", "a.example/demo:nothing"], 3, "not-found", "demo:nothing"),
        (&["fork", "a.example/demo:hello@7.0.0"], 3, "not-found", "1.0.0"),
        (&["fork", "a.example/demo:hello", "a.example/demo:hello"], 8, "name-taken", "a name of its own"),
        (&["fork", "a.example/demo:hello", "a.example/demo:io"], 8, "name-taken", "is there already"),
        (&["fork", "a.example/demo:hello", "hello"], 2, "bad-name", "colon"),
        (&["fork", "c.example/demo:hello"], 5, "not-trusted", "trust add"),
        (&["fork", "--sync"], 2, "bad-manifest", "quipu.toml"),
        (&["fork", "--sync", "io"], 2, "bad-manifest", "no [origin]"),
        (&["fork", "--sync", "io", "more"], 2, "usage", "one folder"),
    ] {
        let said = bob.quipu([args, &["--json"]].concat()).fails(status, code);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let said = bob.quipu(["fork", "a.example/demo:hello", "--dir", &scene.world.at("hello"), "--json"]).fails(8, "exists");
    assert!(said.contains("--dir"), "{said}");
    bob.quipu(["fork", "a.example/demo:hello", "--dry-run"]).ok();
    assert!(!scene.world.path("hello-fork").exists());

    // An origin that was altered by hand is not signed.
    scene.fork();
    let good = scene.text("fork/quipu.toml");
    let at = good.find("record = \"sha256:").unwrap() + "record = \"sha256:".len();
    let other = if &good[at..=at] == "0" { "1" } else { "0" };
    scene.world.write("fork/quipu.toml", &format!("{}{other}{}", &good[..at], &good[at + 1..]));
    let said = bob.quipu(["publish", &scene.world.at("fork"), "--json"]).fails(8, "bad-origin");
    assert!(said.contains("[origin]"), "{said}");
    scene.world.write("fork/quipu.toml", &good.replace("\nlicense = \"MIT\"", ""));
    scene.publish();
}

#[test]
fn a_merge_that_was_killed_is_finished_by_the_next_run() {
    let scene = Scene::new("sha1", "sha1");
    scene.fork();
    scene.put("fork/text", "1\n", "one\n");
    scene.release("2.0.0", |world| {
        for at in 0..300 {
            world.write(&format!("hello/many/{at}"), &format!("{at}\n"));
        }
    });
    let mut killed = 0;
    // Others may be busy on this machine, too: it is tried until the moment is met.
    for _ in 0..200 {
        let _ = std::fs::remove_dir_all(scene.world.path("copy"));
        let copied =
            std::process::Command::new("cp").arg("-a").arg(scene.world.path("fork")).arg(scene.world.path("copy")).status();
        assert!(copied.unwrap().success());
        let mut command = support::clean(env!("CARGO_BIN_EXE_quipu"), &scene.bob.home);
        command.env("QUIPU_HOME", &scene.bob.home).args(["fork", "--sync", &scene.world.at("copy"), "--quiet"]);
        let mut child = command.spawn().unwrap();
        while !scene.world.path("copy/.quipu-merge/plan.json").exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let begun = scene.world.path("copy/.quipu-merge/plan.json").exists();
        killed += usize::from(begun);
        if begun {
            let said = scene.bob.quipu(["publish", &scene.world.at("copy"), "--json"]).fails(8, "conflict");
            assert!(said.contains("not finished"), "{said}");
        }
        let after = scene.bob.asks(["fork", "--sync", &scene.world.at("copy")]);
        if begun {
            assert_eq!((&after["finished"], &after["state"]), (&true.into(), &"merged".into()));
        }
        assert_eq!(scene.bob.asks(["fork", "--sync", &scene.world.at("copy")])["state"], "up-to-date");
        assert!(scene.text("copy/text").starts_with("one\n2\n"));
        assert_eq!(std::fs::read_dir(scene.world.path("copy/many")).unwrap().count(), 300);
        assert!(scene.text("copy/quipu.toml").contains("version = \"2.0.0\""));
        let mut left = std::fs::read_dir(scene.world.path("copy")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.any(|name| name == ".quipu-merge"));
        if killed == 3 {
            break;
        }
    }
    assert!(killed > 0, "no run was killed while it wrote");
}

#[test]
fn a_fork_goes_on_from_its_origin_under_whatever_name_it_has() {
    let scene = Scene::new("sha1", "sha1");
    scene.fork();
    scene.publish();
    scene.alice.quipu(["rename", "a.example/demo:hello", "demo:hi"]).ok();
    scene.alice.quipu(["registry", "accept", &scene.world.at("a.git")]).ok();
    scene.put("hello/quipu.toml", "demo:hello", "demo:hi");
    scene.release("2.0.0", |world| drop(world.write("hello/more", "more\n")));
    assert_eq!(scene.bob.asks(["info", "me:hello"])["origin"]["status"], "proven");
    let merged = scene.bob.asks(["fork", "--sync", &scene.world.at("fork")]);
    assert_eq!((&merged["state"], &merged["origin"]), (&"merged".into(), &"a.example/demo:hi".into()));
    assert!(scene.text("fork/quipu.toml").contains("package = \"demo:hi\""));
    scene.publish();
    // By the old name, it is forked under the new one; the first record names what the release was called.
    for (release, name) in [("1.0.0", "demo:hello"), ("2.0.0", "demo:hi")] {
        let reference = format!("a.example/demo:hello@{release}");
        let folder = scene.world.at(&format!("fork-{release}"));
        scene.bob.quipu(["fork", &reference, &format!("me:of-{}", &release[..1]), "--dir", &folder]).ok();
        scene.bob.quipu(["publish", &folder]).ok();
        let origin = scene.bob.asks(["info", &format!("me:of-{}", &release[..1])])["origin"].clone();
        assert_eq!((&origin["package"], &origin["status"]), (&name.into(), &"proven".into()), "{origin}");
    }
    scene.fsck("b.git");
}

#[test]
fn a_fork_stays_with_the_log_that_a_reset_put_aside() {
    let scene = Scene::new("sha256", "sha256");
    scene.fork();
    let reset = ["registry", "reset", &scene.world.at("a.git"), "demo:hello", "--reason", "keys are lost"];
    scene.alice.quipu(reset).ok();
    scene.publish();
    assert_eq!(scene.bob.asks(["info", "me:hello"])["origin"]["status"], "proven");
    assert_eq!(scene.bob.asks(["fork", "--sync", &scene.world.at("fork")])["state"], "up-to-date");
    scene.fsck("b.git");
}
