//! What a project needs: chosen across registries, brought, written down, and the same ever after.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::Daemon;
use support::relay::Relay;
use support::{Person, World, folders, git};

const ACME: &str = "acme.example";
const OTHER: &str = "other.example";

/// Two registries on one person's disk.
struct Scene {
    world: World,
    alice: Person,
    acme: String,
    other: String,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let acme = world.registry(&alice, "acme.git", ACME, "sha1");
        let other = world.registry(&alice, "other.git", OTHER, "sha256");
        let scene = Scene { world, alice, acme, other };
        scene.publish(ACME, "demo:io", "1.0.0", &[]);
        scene.publish(OTHER, "time:clock", "0.3.0", &[]);
        scene.publish(ACME, "demo:http", "2.0.0", &[("demo:io", "1"), ("other.example/time:clock", "0.3")]);
        scene
    }

    fn publish(&self, registry: &str, name: &str, version: &str, needs: &[(&str, &str)]) {
        let folder = format!("src/{registry}/{}/{version}", name.replace(':', "/"));
        let needs: String = needs.iter().map(|(name, requirement)| format!("\"{name}\" = \"{requirement}\"\n")).collect();
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n\n[dependencies]\n{needs}");
        self.world.write(&format!("{folder}/quipu.toml"), &manifest);
        self.world.write(&format!("{folder}/text"), &format!("{name} {version}\n"));
        self.alice.quipu(["publish", &self.world.at(&folder), "--registry", registry]).ok();
    }

    /// Somebody who trusts both registries, in a folder that needs this.
    fn reader(&self, name: &str, needs: &str) -> Person {
        let person = self.world.person(name);
        person.trust(ACME, &self.world.at("acme.git"), &self.acme);
        person.trust(OTHER, &self.world.at("other.git"), &self.other);
        self.project(&person, name, needs)
    }

    fn project(&self, person: &Person, folder: &str, needs: &str) -> Person {
        self.world.write(&format!("{folder}/quipu.toml"), &format!("# what it needs\n[dependencies]\n{needs}"));
        person.within(self.world.path(folder))
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.world.path(path)).unwrap()
    }

    fn has(&self, folder: &str, registry: &str, place: &str) {
        let found = self.world.path(&format!("{folder}/quipu_packages/{registry}/{place}"));
        folders::assert_same(&found, &self.world.path(&format!("src/{registry}/{place}")));
    }
}

#[test]
fn what_is_added_is_brought_and_stays_the_same() {
    let scene = Scene::new();
    let bob = scene.reader("bob", "# nothing yet\n");
    let added = bob.quipu(["add", "acme.example/demo:http", "--json"]).ok().json();
    let all = ["acme.example/demo:http@2.0.0", "acme.example/demo:io@1.0.0", "other.example/time:clock@0.3.0"];
    assert_eq!(added["added"], serde_json::json!(all));
    assert_eq!(added["brought"], serde_json::json!(all));
    let manifest = scene.text("bob/quipu.toml");
    assert!(manifest.starts_with("# what it needs\n[dependencies]\n"), "{manifest}");
    assert!(manifest.contains("\"acme.example/demo:http\" = \"2.0.0\"\n") && manifest.contains("# nothing yet"), "{manifest}");
    for (registry, place) in [(ACME, "demo/http/2.0.0"), (ACME, "demo/io/1.0.0"), (OTHER, "time/clock/0.3.0")] {
        scene.has("bob", registry, place);
    }
    let lock = scene.text("bob/quipu.lock");
    // What is newer is not taken by itself, whoever installs, and the lock does not change.
    scene.publish(ACME, "demo:io", "1.1.0", &[]);
    scene.publish(OTHER, "time:clock", "0.4.0", &[]);
    for args in [&["install"][..], &["install", "--locked"], &["install", "--frozen"], &["install", "--offline"]] {
        let found = bob.quipu(args.iter().copied().chain(["--json"])).ok().json();
        assert_eq!((&found["brought"], &found["lock-written"]), (&serde_json::json!([]), &false.into()), "{found:#}");
    }
    let carol = scene.reader("carol", "");
    std::fs::copy(scene.world.path("bob/quipu.toml"), scene.world.path("carol/quipu.toml")).unwrap();
    std::fs::copy(scene.world.path("bob/quipu.lock"), scene.world.path("carol/quipu.lock")).unwrap();
    carol.quipu(["install", "--locked"]).ok();
    scene.has("carol", ACME, "demo/io/1.0.0");
    assert_eq!((scene.text("carol/quipu.lock"), scene.text("bob/quipu.lock")), (lock.clone(), lock.clone()));
    // What was deleted comes back, from what is kept.
    std::fs::remove_dir_all(scene.world.path("bob/quipu_packages")).unwrap();
    bob.quipu(["install", "--frozen"]).ok();
    scene.has("bob", OTHER, "time/clock/0.3.0");
    // One package moves where it is asked to, and the others stay.
    let dry = bob.quipu(["update", "--dry-run", "--json"]).ok().json();
    assert_eq!(dry["added"], serde_json::json!(["acme.example/demo:io@1.1.0"]));
    assert_eq!(scene.text("bob/quipu.lock"), lock);
    let updated = bob.quipu(["update", "acme.example/demo:io", "--json"]).ok().json();
    assert_eq!(updated["added"], serde_json::json!(["acme.example/demo:io@1.1.0"]));
    assert_eq!(updated["deleted"], serde_json::json!(["acme.example/demo:io@1.0.0"]));
    assert!(!scene.world.path("bob/quipu_packages/acme.example/demo/io/1.0.0").exists());
    // A vendored folder has the same, and what nobody needs goes everywhere.
    bob.quipu(["vendor", "third-party"]).ok();
    folders::assert_same(
        &scene.world.path("bob/third-party/acme.example/demo/io/1.1.0"),
        &scene.world.path("src/acme.example/demo/io/1.1.0"),
    );
    bob.quipu(["remove", "acme.example/demo:http"]).ok();
    assert!(!scene.world.path("bob/quipu_packages/acme.example").exists());
    assert_eq!(scene.text("bob/quipu.toml").matches("demo").count(), 0);
}

#[test]
fn what_cannot_be_leaves_everything_as_it_was() {
    let scene = Scene::new();
    let bob = scene.reader("bob", "\"acme.example/demo:http\" = \"2\" # stays\n");
    bob.quipu(["install", "--locked", "--json"]).fails(6, "lock-mismatch");
    bob.quipu(["install", "--frozen", "--json"]).fails(6, "lock-mismatch");
    bob.quipu(["install"]).ok();
    let before = (scene.text("bob/quipu.toml"), scene.text("bob/quipu.lock"));
    for (args, status, code, word) in [
        (&["add", "acme.example/demo:nothing"][..], 3, "not-found", "demo:nothing"),
        (&["add", "acme.example/demo:io@7"], 8, "no-solution", "no version of demo:io fits ^7"),
        (&["add", "acme.example/demo:io@one"], 2, "bad-version", "not a SemVer requirement"),
        (&["add", "third.example/demo:io"], 5, "not-trusted", "quipu trust add third.example"),
        (&["remove", "demo:nothing"], 3, "not-found", "acme.example/demo:http"),
        (&["update", "acme.example/demo:nothing"], 3, "not-found", "quipu add"),
        (&["update", "acme.example/demo:io@1.0.0"], 2, "usage", "quipu add"),
    ] {
        let failed = bob.quipu(args.iter().copied().chain(["--json"]));
        failed.fails(status, code);
        assert!(failed.stdout.contains(word), "{}", failed.stdout);
        assert_eq!((scene.text("bob/quipu.toml"), scene.text("bob/quipu.lock")), before, "{args:?}");
    }
    bob.quipu(["remove", "acme.example/demo:http", "--dry-run"]).ok();
    bob.quipu(["add", "acme.example/demo:io", "--dry-run"]).ok();
    assert_eq!((scene.text("bob/quipu.toml"), scene.text("bob/quipu.lock")), before);
    scene.has("bob", ACME, "demo/http/2.0.0");
    // Where quipu.toml asks for something else, the lock does not do any more.
    scene.world.write("bob/quipu.toml", "[dependencies]\n\"acme.example/demo:http\" = \"3\"\n");
    let failed = bob.quipu(["install", "--locked", "--json"]);
    assert!(failed.fails(6, "lock-mismatch").contains("no version of acme.example/demo:http that fits ^3"), "{}", failed.stdout);
    bob.quipu(["install", "--json"]).fails(8, "no-solution");
    // What somebody else put where a release belongs is not overwritten.
    scene.world.write("bob/quipu.toml", &before.0);
    std::fs::remove_dir_all(scene.world.path("bob/quipu_packages")).unwrap();
    scene.world.write("bob/quipu_packages/acme.example/demo/io/1.0.0/mine", "mine\n");
    bob.quipu(["install", "--json"]).fails(8, "exists");
    assert_eq!(scene.text("bob/quipu_packages/acme.example/demo/io/1.0.0/mine"), "mine\n");
}

#[test]
fn errors_in_the_files_are_named_with_their_places() {
    let scene = Scene::new();
    let bob = scene.reader("bob", "\"acme.example/demo:io\" = \"1\"\n");
    bob.quipu(["install"]).ok();
    let lock = scene.text("bob/quipu.lock");
    scene.world.write("bob/quipu.lock", &lock.replace("version = \"1.0.0\"", "version = \"1.0\""));
    let failed = bob.quipu(["install", "--json"]);
    assert!(failed.fails(2, "bad-lock").contains("quipu.lock: line 12, column 11"), "{}", failed.stdout);
    let digest = lock.split("content = \"sha256:").nth(1).unwrap()[..64].to_owned();
    scene.world.write("bob/quipu.lock", &lock.replace(&digest, &"1".repeat(64)));
    let failed = bob.quipu(["install", "--json"]);
    assert!(failed.fails(6, "lock-mismatch").contains(&digest), "{}", failed.stdout);
    scene.world.write("bob/quipu.toml", "[dependencies]\n\"acme.example/demo:io\" = \"1.x.y\"\n");
    let failed = bob.quipu(["install", "--json"]);
    assert!(failed.fails(2, "bad-manifest").contains("line 2, column 26"), "{}", failed.stdout);
}

#[test]
fn a_registry_that_is_not_trusted_is_named_with_the_command_that_would_trust_it() {
    let scene = Scene::new();
    let bob = scene.world.person("bob");
    bob.trust(ACME, &scene.world.at("acme.git"), &scene.acme);
    let bob = scene.project(&bob, "bob", "\"acme.example/demo:http\" = \"2\"\n");
    // It is needed by what is needed, and its id is known by the record that needs it.
    let failed = bob.quipu(["install", "--json"]);
    failed.fails(5, "not-trusted");
    let hint = format!("quipu trust add other.example --id {}", scene.other);
    assert!(failed.json()["error"]["hint"].as_str().unwrap().ends_with(&hint), "{}", failed.stdout);
    assert!(!scene.world.path("bob/quipu.lock").exists() && !scene.world.path("bob/quipu_packages").exists());
    // Another registry of the same name will not do.
    let mallory = scene.world.person_with_key("mallory");
    let fake = scene.world.registry(&mallory, "fake.git", OTHER, "sha1");
    bob.trust(OTHER, &scene.world.at("fake.git"), &fake);
    let failed = bob.quipu(["install", "--json"]);
    assert!(failed.fails(5, "id-mismatch").contains(&scene.other), "{}", failed.stdout);
    bob.quipu(["trust", "remove", OTHER]).ok();
    bob.trust(OTHER, &scene.world.at("other.git"), &scene.other);
    bob.quipu(["install"]).ok();
    scene.has("bob", OTHER, "time/clock/0.3.0");
}

#[test]
fn a_yanked_version_is_for_those_who_have_it() {
    let scene = Scene::new();
    let bob = scene.reader("bob", "\"acme.example/demo:io\" = \"1\"\n");
    bob.quipu(["install"]).ok();
    scene.publish(ACME, "demo:io", "1.0.1", &[]);
    scene.alice.quipu(["yank", "acme.example/demo:io@1.0.0", "--reason", "it leaks"]).ok();
    let found = bob.quipu(["install"]).ok();
    assert!(found.stdout.contains("acme.example/demo:io@1.0.0 is yanked: it leaks"), "{}", found.stdout);
    let carol = scene.reader("carol", "\"acme.example/demo:io\" = \"=1.0.0\"\n");
    let failed = carol.quipu(["install", "--json"]);
    assert!(failed.fails(8, "no-solution").contains("yanked"), "{}", failed.stdout);
    bob.quipu(["update"]).ok();
    scene.has("bob", ACME, "demo/io/1.0.1");
}

#[test]
fn two_peoples_changes_are_merged_by_git_and_install() {
    let scene = Scene::new();
    for (name, version) in [("demo:red", "1.0.0"), ("demo:blue", "1.0.0")] {
        scene.publish(ACME, name, version, &[("demo:io", "1")]);
    }
    let bob = scene.reader("bob", "\"acme.example/demo:io\" = \"1\"\n");
    bob.quipu(["install"]).ok();
    let folder = scene.world.path("bob");
    scene.world.write("bob/.gitignore", "quipu_packages\n");
    let act = |args: &[&str]| bob.git(&folder, args);
    act(&["init", "-q", "-b", "main"]).ok();
    act(&["config", "user.name", "bob"]).ok();
    act(&["config", "user.email", "bob@example"]).ok();
    let commit = |what: &str| {
        act(&["add", "-A"]).ok();
        act(&["commit", "-q", "-m", what]).ok();
    };
    commit("base");
    act(&["checkout", "-q", "-b", "red"]).ok();
    bob.quipu(["add", "acme.example/demo:red"]).ok();
    commit("red");
    act(&["checkout", "-q", "main"]).ok();
    scene.publish(ACME, "demo:io", "1.2.0", &[]);
    bob.quipu(["add", "acme.example/demo:blue"]).ok();
    bob.quipu(["update", "acme.example/demo:io"]).ok();
    commit("blue");
    act(&["merge", "red"]).ends(1);
    assert!(scene.text("bob/quipu.lock").contains("<<<<<<< "), "{}", scene.text("bob/quipu.lock"));
    let needs = ["demo:io", "demo:blue", "demo:red"].map(|name| format!("\"acme.example/{name}\" = \"1\"\n")).concat();
    scene.world.write("bob/quipu.toml", &format!("[dependencies]\n{needs}"));
    let failed = bob.quipu(["install", "--locked", "--json"]);
    assert!(failed.fails(6, "lock-mismatch").contains("conflict markers"), "{}", failed.stdout);
    bob.quipu(["install"]).ok();
    bob.quipu(["install", "--locked"]).ok();
    for place in ["demo/io/1.2.0", "demo/red/1.0.0", "demo/blue/1.0.0"] {
        scene.has("bob", ACME, place);
    }
    assert!(!scene.text("bob/quipu.lock").contains("1.0.0\"\ncontent = \"<"));
}

#[test]
fn a_lock_is_a_memory_on_a_machine_that_has_no_other() {
    let scene = Scene::new();
    git(&scene.world.root(), ["clone", "-q", "--mirror", "acme.git", "old.git"]).ok();
    scene.publish(ACME, "demo:io", "1.1.0", &[]);
    let bob = scene.reader("bob", "\"acme.example/demo:io\" = \"1\"\n");
    bob.quipu(["install"]).ok();
    // A new machine, to which the registry shows itself as it was before.
    let carol = scene.world.person("carol");
    carol.trust(ACME, &scene.world.at("old.git"), &scene.acme);
    carol.quipu(["trust", "remove", ACME]).ok();
    let carol = scene.project(&carol, "carol", "\"acme.example/demo:io\" = \"1\"\n");
    carol.trust(ACME, &scene.world.at("old.git"), &scene.acme);
    std::fs::copy(scene.world.path("bob/quipu.lock"), scene.world.path("carol/quipu.lock")).unwrap();
    let failed = carol.quipu(["install", "--json"]);
    failed.fails(4, "rollback");
    assert!(!scene.world.path("carol/quipu_packages").exists());
    // And another history, as long.
    let mallory = scene.alice.within(scene.world.root());
    scene.world.write("evil/quipu.toml", "[package]\nname = \"demo:evil\"\nversion = \"1.0.0\"\n");
    mallory.quipu(["trust", "remove", ACME]).ok();
    mallory.trust(ACME, &scene.world.at("old.git"), &scene.acme);
    mallory.quipu(["publish", &scene.world.at("evil"), "--registry", ACME]).ok();
    let failed = carol.quipu(["install", "--json"]);
    failed.fails(4, "fork");
}

#[test]
fn an_outage_stops_nobody_who_has_what_is_needed() {
    let scene = Scene::new();
    let daemon = Daemon::serve(&scene.world.root());
    let bob = scene.world.person("bob");
    bob.trust(ACME, &daemon.url("acme.git"), &scene.acme);
    bob.trust(OTHER, &scene.world.at("other.git"), &scene.other);
    let bob = scene.project(&bob, "bob", "\"acme.example/demo:http\" = \"2\"\n");
    bob.quipu(["install"]).ok();
    drop(daemon);
    let found = bob.quipu(["install"]).ok();
    assert!(found.stderr.contains("warning: ") && found.stderr.contains(ACME), "{}", found.stderr);
    std::fs::remove_dir_all(scene.world.path("bob/quipu_packages")).unwrap();
    let found = bob.quipu(["install"]).ok();
    assert!(found.stderr.contains("note: what was seen of acme.example last is used"), "{}", found.stderr);
    scene.has("bob", ACME, "demo/http/2.0.0");
    // Who never was there is told so.
    std::fs::remove_dir_all(bob.home.join("cache")).ok();
    std::fs::remove_dir_all(scene.world.path("bob/quipu_packages")).unwrap();
    bob.quipu(["install", "--json"]).fails(7, "network");
}

#[test]
fn many_packages_come_in_a_few_questions() {
    let scene = Scene::new();
    let names: Vec<String> = (0..40).map(|at| format!("many:p{at}")).collect();
    for (at, name) in names.iter().enumerate() {
        let needs: Vec<(&str, &str)> = names[..at].iter().rev().take(2).map(|name| (name.as_str(), "1")).collect();
        scene.publish(ACME, name, "1.0.0", &needs);
    }
    let daemon = Daemon::serve(&scene.world.root());
    let relay = Relay::to(daemon.port());
    let bob = scene.world.person("bob");
    bob.trust(ACME, &relay.url("acme.git"), &scene.acme);
    let bob =
        scene.project(&bob, "bob", &names.iter().map(|name| format!("\"acme.example/{name}\" = \"1\"\n")).collect::<String>());
    relay.spent();
    let found = bob.quipu(["install", "--json"]).ok().json();
    assert_eq!(found["brought"].as_array().unwrap().len(), 40);
    let (connections, _) = relay.spent();
    assert!(connections <= 2, "{connections}");
    bob.quipu(["install"]).ok();
    let (connections, bytes) = relay.spent();
    assert!(connections == 1 && bytes < 4096, "{connections} {bytes}");
}

/// Runs the program at a terminal, types this, and returns the exit status with all that stood there.
#[cfg(target_os = "linux")]
fn at_a_terminal(person: &Person, line: &str, typed: &str) -> Option<(i32, String)> {
    use std::io::Write as _;
    use std::process::Stdio;
    let quipu = env!("CARGO_BIN_EXE_quipu");
    let mut command = support::clean("script", &person.home);
    command.args(["--quiet", "--return", "--command", &format!("'{quipu}' {line}"), "/dev/null"]);
    command.env("QUIPU_HOME", &person.home).env("TERM", "dumb").env("SHELL", "/bin/sh").current_dir(person.folder());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(why) => {
            support::skipped(&format!("script cannot be run: {why}"));
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).replace('\r', "")))
}

#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_an_unknown_registry_is_shown_and_asked_about() {
    let scene = Scene::new();
    let bob = scene.world.person("bob");
    bob.trust(ACME, &scene.world.at("acme.git"), &scene.acme);
    let needs = "\"acme.example/demo:http\" = \"2\"\n";
    let bob = scene.project(&bob, "bob", needs);
    let url = scene.world.at("other.git");
    let manifest = format!("[registries]\n\"other.example\" = {{ url = \"{url}\" }}\n\n[dependencies]\n{needs}");
    scene.world.write("bob/quipu.toml", &manifest);
    let trusted = || bob.asks(["trust", "list"])["registries"].as_array().unwrap().len();
    let nothing = || {
        let made = ["quipu.lock", "quipu_packages"].map(|name| scene.world.path("bob").join(name).exists());
        assert_eq!((made, trusted(), scene.text("bob/quipu.toml")), ([false, false], 1, manifest.clone()));
    };
    // Nobody says yes: with no, with an empty line, with the end of the input.
    for typed in ["n\n", "\n", "", "maybe\n"] {
        let Some((status, shown)) = at_a_terminal(&bob, "install", typed) else { return };
        assert_eq!(status, 5, "{typed:?}: {shown}");
        assert!(shown.contains("other.example is not trusted yet. What was found:\n"), "{shown}");
        let row = |name: &str| {
            let line =
                shown.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
            line.trim().to_owned()
        };
        assert_eq!((row("name "), row("url "), row("registry id ")), (OTHER.to_owned(), url.clone(), scene.other.clone()));
        assert_eq!(row("operators "), "alice");
        assert!(row("since ").starts_with("20") && row("since ").ends_with('Z'), "{shown}");
        assert!(shown.contains("Trust it? [y/N] ") && shown.contains("error[not-trusted]"), "{shown}");
        assert!(shown.contains(&format!("quipu trust add {OTHER} {url} --id {}", scene.other)), "{shown}");
        nothing();
    }
    // Nor is anybody asked where nobody could answer, or a program listens.
    let failed = bob.quipu(["install", "--json"]);
    let told = failed.fails(5, "not-trusted");
    assert!(told.contains(&format!("quipu trust add {OTHER} {url} --id {}", scene.other)), "{told}");
    let (status, shown) = at_a_terminal(&bob, "install --json", "y\n").unwrap();
    assert!(status == 5 && !shown.contains("[y/N]"), "{shown}");
    nothing();
    let (status, shown) = at_a_terminal(&bob, "install --dry-run", "y\n").unwrap();
    assert!(status == 5 && !shown.contains("[y/N]"), "{shown}");
    nothing();
    // Where it is not said where it is, and it is not found, the id that is wanted is said all the same.
    scene.world.write("bob/quipu.toml", &format!("[dependencies]\n{needs}"));
    let (status, shown) = at_a_terminal(&bob, "install --offline", "y\n").unwrap();
    assert!(status == 5 && !shown.contains("[y/N]"), "{shown}");
    assert!(shown.contains(&format!("quipu trust add {OTHER} URL --id {}", scene.other)), "{shown}");
    scene.world.write("bob/quipu.toml", &manifest);
    nothing();
    // A registry of that name that is another one is not even asked about.
    let mallory = scene.world.person_with_key("mallory");
    scene.world.registry(&mallory, "fake.git", OTHER, "sha1");
    scene.world.write("bob/quipu.toml", &manifest.replace("other.git", "fake.git"));
    let (status, shown) = at_a_terminal(&bob, "install", "y\n").unwrap();
    assert!(status == 5 && shown.contains("error[id-mismatch]") && !shown.contains("[y/N]"), "{shown}");
    scene.world.write("bob/quipu.toml", &manifest);
    nothing();
    // Who says yes goes on, in the same run, and is not asked again.
    let (status, shown) = at_a_terminal(&bob, "install", "y\n").unwrap();
    assert_eq!((status, trusted()), (0, 2), "{shown}");
    assert!(shown.contains("  + other.example/time:clock@0.3.0\n"), "{shown}");
    scene.has("bob", OTHER, "time/clock/0.3.0");
    scene.has("bob", ACME, "demo/http/2.0.0");
    let source = bob.asks(["trust", "show", OTHER]);
    assert_eq!(source["id"], scene.other);
    std::fs::remove_dir_all(scene.world.path("bob/quipu_packages")).unwrap();
    let (status, shown) = at_a_terminal(&bob, "install --locked", "").unwrap();
    assert!(status == 0 && !shown.contains("[y/N]"), "{shown}");
}
