//! Promotion: a release of a registry inside becomes public elsewhere, and nothing else of the inside does.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::process::Command;
use support::daemon::Daemon;
use support::{Person, World, git};

const INSIDE: &str = "inside.example";
const PUBLIC: &str = "public.example";
const FORMATS: [(&str, &str); 4] = [("sha1", "sha1"), ("sha256", "sha256"), ("sha1", "sha256"), ("sha256", "sha1")];

/// Ines's registry inside, and Paul's public one. Ines has a second key, which nobody inside knows.
struct Scene {
    world: World,
    ines: Person,
    paul: Person,
    ids: (String, String),
}

impl Scene {
    fn new(inside: &str, public: &str) -> Self {
        let world = World::new();
        let (ines, paul) = (world.person_with_key("ines"), world.person_with_key("paul"));
        ines.quipu(["key", "new", "outside"]).ok();
        let ids = (world.registry(&ines, "in.git", INSIDE, inside), world.registry(&paul, "pub.git", PUBLIC, public));
        ines.trust(PUBLIC, &world.at("pub.git"), &ids.1);
        paul.quipu(["publish", &world.package("io", "demo:io", "1.0.0")]).ok();
        ines.quipu(["publish", &world.package("own", "team:io", "1.0.0")]).ok();
        let scene = Scene { world, ines, paul, ids };
        scene.release("1.0.0", "");
        scene
    }

    /// Publishes a release inside.
    fn release(&self, version: &str, more: &str) {
        let manifest = format!(
            "# of inside.example\n[package]\nregistry = \"inside.example\"\nname = \"team:hello\"\nversion = \"{version}\"\n\
             license = \"MIT\"\n{more}\n[registries.\"inside.example\"]\nurl = \"git://git.inside.example/r.git\"\n\n[dependencies]\n\
             \"team:io\" = \"1\"\n"
        );
        self.world.write("hello/quipu.toml", &manifest);
        self.world.write("hello/src/text", &format!("hello {version}\n"));
        self.ines.quipu(["publish", &self.world.at("hello")]).ok();
    }

    fn promote(&self, more: &[&str]) -> support::Outcome {
        let args = ["promote", "inside.example/team:hello", "--to", PUBLIC, "--name", "demo:hello", "--key", "outside", "--json"];
        self.ines.quipu([&args[..], &["--map", "team:io=demo:io"], more].concat())
    }

    fn accept(&self) {
        self.paul.quipu(["registry", "accept", &self.world.at("pub.git")]).ok();
    }

    /// Returns all that lies in a repository: objects of any kind, references, and files as they are.
    fn all(&self, repository: &str) -> Vec<u8> {
        let path = self.world.path(repository);
        let run = |args: &[&str]| {
            Command::new("git").arg("-C").arg(&path).args(args).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap().stdout
        };
        let mut all = run(&["cat-file", "--batch-all-objects", "--batch", "--unordered"]);
        all.extend(run(&["for-each-ref"]));
        for entry in walkdir::WalkDir::new(&path).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file()) {
            all.extend(entry.path().strip_prefix(&path).unwrap().to_str().unwrap().as_bytes());
            all.extend(std::fs::read(entry.path()).unwrap());
        }
        all
    }

    /// Returns what tells of the inside: names, ids, digests, keys, and the ids of its commits.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = vec!["inside.example".to_owned(), "inside".into(), "ines".into(), "team".into()];
        secrets.push(self.ids.0.trim_start_matches("sha256:").to_owned());
        let log = self.ines.asks(["log", "inside.example/team:hello"]);
        let mut digests = |value: &Value| {
            if let Some(digest) = value.as_str().and_then(|text| text.strip_prefix("sha256:")) {
                secrets.push(digest.to_owned());
            }
        };
        digests(&log["log"]);
        for record in log["records"].as_array().unwrap() {
            digests(&record["digest"]);
        }
        let ids = git(&self.world.path("in.git"), ["for-each-ref", "--format=%(objectname)"]).ok().stdout;
        secrets.extend(ids.lines().map(str::to_owned));
        let commits = git(&self.world.path("in.git"), ["rev-list", "--all"]).ok().stdout;
        secrets.extend(commits.lines().map(str::to_owned));
        let key = std::fs::read_to_string(self.ines.public_key()).unwrap();
        secrets.push(key.split(' ').nth(1).unwrap().to_owned());
        let shown = self.ines.asks(["owner", "list", "inside.example/team:hello"]);
        secrets.push(shown["keys"][0]["fingerprint"].as_str().unwrap().trim_start_matches("SHA256:").to_owned());
        assert!(secrets.len() > 12 && secrets.iter().all(|secret| secret.len() > 3), "{secrets:?}");
        secrets
    }
}

fn holds(all: &[u8], word: &str) -> bool {
    all.to_ascii_lowercase().windows(word.len()).any(|window| window == word.to_ascii_lowercase().as_bytes())
}

#[test]
fn a_promoted_package_says_a_digest_and_nothing_else_of_the_inside() {
    for (inside, public) in FORMATS {
        let scene = Scene::new(inside, public);
        let before = git(&scene.world.path("in.git"), ["for-each-ref"]).ok().stdout;
        let promoted = scene.promote(&[]).ok().json();
        assert_eq!((&promoted["state"], &promoted["same-key"]), (&"proposed".into(), &false.into()));
        scene.accept();
        let all = scene.all("pub.git");
        assert!(holds(&all, promoted["origin"].as_str().unwrap().trim_start_matches("sha256:")));
        for secret in scene.secrets() {
            assert!(!holds(&all, &secret), "{inside} {public}: {secret}");
        }
        assert_eq!(git(&scene.world.path("in.git"), ["for-each-ref"]).ok().stdout, before, "nothing changes inside");
        git(&scene.world.path("pub.git"), ["fsck", "--strict"]).ok();
        scene.paul.quipu(["registry", "fsck", &scene.world.at("pub.git")]).ok();
        scene.paul.quipu(["verify", &scene.world.at("pub.git")]).ok();
        // The files are the same, but for what quipu.toml says.
        scene.paul.quipu(["get", "demo:hello", "--to", &scene.world.at("got")]).ok();
        assert_eq!(std::fs::read_to_string(scene.world.path("got/src/text")).unwrap(), "hello 1.0.0\n");
        let manifest = std::fs::read_to_string(scene.world.path("got/quipu.toml")).unwrap();
        assert!(manifest.contains("\"demo:io\" = \"^1\"") && manifest.contains("license = \"MIT\""), "{manifest}");
        scene.world.write("app/quipu.toml", "[dependencies]\n\"demo:hello\" = \"1\"\n");
        scene.paul.within(scene.world.path("app")).quipu(["install"]).ok();
    }
}

#[test]
fn whoever_has_the_inside_can_show_the_link_and_nobody_else() {
    for (inside, public) in FORMATS {
        let scene = Scene::new(inside, public);
        let promoted = scene.promote(&[]).ok().json();
        scene.accept();
        // Paul sees that there is something, and what.
        let found = scene.paul.asks(["info", "demo:hello"])["origin"].clone();
        assert_eq!(found, serde_json::json!({ "status": "sealed", "digest": promoted["origin"] }));
        scene.paul.quipu(["promote", "inside.example/team:hello", "--prove", "demo:hello", "--json"]).fails(5, "not-trusted");
        // Whoever promoted it knows it, offline as well.
        let known = scene.ines.asks(["info", "public.example/demo:hello", "--offline"])["origin"].clone();
        assert_eq!((&known["status"], &known["package"]), (&"proven".into(), &"team:hello".into()));
        // So does a colleague, who has the inside and was told nothing.
        let carl = scene.world.person("carl");
        carl.trust(INSIDE, &scene.world.at("in.git"), &scene.ids.0);
        carl.trust(PUBLIC, &scene.world.at("pub.git"), &scene.ids.1);
        assert_eq!(carl.asks(["info", "public.example/demo:hello"])["origin"]["status"], "sealed");
        let proven = carl.asks(["promote", "inside.example/team:hello", "--prove", "public.example/demo:hello"]);
        assert_eq!((&proven["proven"], &proven["from"]), (&true.into(), &"inside.example/team:hello@1.0.0".into()));
        let text = scene.world.write("text", proven["text"].as_str().unwrap());
        let sum = Command::new("sha256sum").arg(text).output().unwrap().stdout;
        let sum = format!("sha256:{}", String::from_utf8(sum).unwrap().split(' ').next().unwrap());
        assert_eq!(proven["origin"], sum.as_str());
        assert_eq!(carl.asks(["info", "public.example/demo:hello"])["origin"]["status"], "proven");
    }
}

#[test]
fn a_link_that_is_none_is_not_proven() {
    let scene = Scene::new("sha1", "sha1");
    let promoted = scene.promote(&[]).ok().json();
    scene.accept();
    let ines = &scene.ines;
    for (inside, public) in
        [("inside.example/team:io", "public.example/demo:hello"), ("inside.example/team:hello", "public.example/demo:io")]
    {
        let answer = ines.quipu(["promote", inside, "--prove", public, "--json"]).ends(1).json();
        assert_eq!((&answer["proven"], &answer["from"]), (&false.into(), &Value::Null));
    }
    // A text that somebody changed says nothing.
    let kept = std::path::PathBuf::from(promoted["opening"].as_str().unwrap());
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("team:hello", "team:other")).unwrap();
    assert_eq!(ines.asks(["info", "public.example/demo:hello"])["origin"]["status"], "sealed");
}

#[test]
fn what_names_the_inside_is_not_promoted() {
    let scene = Scene::new("sha1", "sha1");
    let refused = |more: &[&str], place: &str| {
        let before = git(&scene.world.path("pub.git"), ["for-each-ref"]).ok().stdout;
        let said = scene.promote(more).fails(8, "reveals");
        assert!(said.contains(place), "{said}");
        assert_eq!(git(&scene.world.path("pub.git"), ["for-each-ref"]).ok().stdout, before);
        assert!(!scene.ines.home.join("state/promoted").exists());
    };
    let id = scene.ids.0.trim_start_matches("sha256:").to_owned();
    let log = scene.ines.asks(["log", "inside.example/team:hello"])["log"].as_str().unwrap().to_owned();
    let cases = [
        ("one\nSee https://Git.Inside.Example/wiki\n".to_owned(), "notes line 2 (the registry's name)"),
        (format!("id = {id}\n"), "notes line 1 (the registry's id)"),
        (format!("\n\n{log}"), "notes line 3 (the package's log)"),
        ("it was team:hello before\n".into(), "notes line 1 (the package's name)"),
    ];
    for (at, (text, place)) in cases.iter().enumerate() {
        scene.world.write("hello/notes", text);
        scene.release(&format!("1.1.{at}"), "");
        refused(&[], place);
    }
    // What only looks like it does no harm.
    scene.world.write("hello/notes", "xinside.example, inside.examples, team:hello-world\n");
    scene.release("1.2.0", "");
    scene.promote(&["--dry-run"]).ok();
    scene.release("1.3.0", "description = \"From inside.example\"\n");
    refused(&[], "[package] description line 1");
    scene.release("1.4.0", "links = [\"https://inside.example/hello\"]\n");
    refused(&[], "[package] links line 1");
    let promoted = scene.promote(&["--allow-mentions"]).ok().json();
    assert!(promoted["mentions"][0].as_str().unwrap().contains("links"), "{promoted}");
}

#[test]
fn what_needs_the_inside_says_what_stands_for_it() {
    let scene = Scene::new("sha1", "sha1");
    let args = ["promote", "inside.example/team:hello", "--to", PUBLIC, "--name", "demo:hello", "--key", "outside", "--json"];
    let said = scene.ines.quipu(args).fails(8, "reveals");
    assert!(said.contains("inside.example/team:io") && said.contains("--map"), "{said}");
    let said = scene.promote(&["--map", "team:other=demo:io"]).fails(2, "usage");
    assert!(said.contains("team:other"), "{said}");
    let said = scene.promote(&["--map", "nonsense"]).fails(2, "usage");
    assert!(said.contains("INSIDE=PUBLIC"), "{said}");
}

#[test]
fn later_versions_go_on_in_the_same_log() {
    let scene = Scene::new("sha1", "sha256");
    let first = scene.promote(&[]).ok().json();
    scene.accept();
    assert!(scene.promote(&[]).fails(8, "already-released").contains("1.0.0"));
    scene.release("1.1.0", "");
    let second = scene.promote(&[]).ok().json();
    scene.accept();
    assert_eq!((&second["log"], &second["origin"], &second["seq"]), (&first["log"], &first["origin"], &2.into()));
    let other = ["promote", "inside.example/team:io", "--to", PUBLIC, "--name", "demo:hello", "--key", "outside", "--json"];
    scene.release("1.2.0", "");
    let said = scene.ines.quipu(other).fails(8, "reveals");
    assert!(said.contains("the package's name"), "{said}");
    let said = scene.ines.quipu([&other[..], &["--allow-mentions", "--quiet"]].concat()).fails(8, "name-taken");
    assert!(said.contains("--name"), "{said}");
    let proven = scene.ines.asks(["promote", "inside.example/team:hello", "--prove", "public.example/demo:hello"]);
    assert_eq!(proven["from"], "inside.example/team:hello@1.0.0");
}

#[test]
fn the_same_key_on_both_sides_is_warned_about() {
    let scene = Scene::new("sha1", "sha1");
    let args = ["promote", "inside.example/team:hello", "--to", PUBLIC, "--key", "ines", "--map", "team:io=demo:io", "--dry-run"];
    let said = scene.ines.quipu(args).ok();
    assert!(said.stderr.contains("is known in inside.example too"), "{}", said.stderr);
    assert_eq!(scene.ines.asks(args)["same-key"], true);
}

#[test]
fn it_goes_over_connections_and_nothing_else_is_sent() {
    let world = World::new();
    let (ines, paul) = (world.person_with_key("ines"), world.person_with_key("paul"));
    ines.quipu(["key", "new", "outside"]).ok();
    let inside = world.registry(&ines, "git/in.git", INSIDE, "sha1");
    let made = paul.asks(["registry", "init", &world.at("git/pub.git"), "--name", PUBLIC, "--hooks", "--object-format", "sha1"]);
    ines.quipu(["publish", &world.package("hello", "team:hello", "1.0.0")]).ok();
    let daemon = Daemon::serve(&world.root());
    let far = world.person_with_key("far");
    far.trust(INSIDE, &daemon.url("git/in.git"), &inside);
    far.trust(PUBLIC, &daemon.url("git/pub.git"), made["id"].as_str().unwrap());
    let said = far.quipu(["promote", "inside.example/team:hello", "--to", PUBLIC, "--name", "open:hello", "--wait", "--json"]);
    // The text of that package names itself.
    assert!(said.fails(8, "reveals").contains("src/text line 1 (the package's name)"));
    world.write("hello/src/text", "hello\n");
    let manifest = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
    world.write("hello/quipu.toml", &manifest.replace("1.0.0", "1.0.1"));
    ines.quipu(["publish", &world.at("hello")]).ok();
    let done = far.asks(["promote", "inside.example/team:hello", "--to", PUBLIC, "--name", "open:hello", "--wait"]);
    assert_eq!(done["state"], "published");
    let objects = git(&world.path("git/pub.git"), ["cat-file", "--batch-all-objects", "--batch"]).ok().stdout;
    for secret in ["inside", "ines", "team", inside.trim_start_matches("sha256:")] {
        assert!(!objects.contains(secret), "{secret}");
    }
    git(&world.path("git/pub.git"), ["fsck", "--strict"]).ok();
}
