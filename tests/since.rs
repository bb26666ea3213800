//! `quipu verify ./PATH --since`: only what changed after a checkpoint is looked at, and that is said.

// A test may panic wherever it stands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = World(tempfile::tempdir().unwrap());
        world.done("key new alice");
        world.done("registry init reg.git --name acme.example");
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_quipu"))
            .args(line.split(' '))
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("USER", "alice")
            .env("QUIPU_HOME", self.at("home"))
            .output()
            .unwrap()
    }

    fn done(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `verify`, whose answer must be good.
    fn good(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("verify {line} --json"))).unwrap()
    }

    /// Runs `verify`, which must end with this status and code.
    fn bad(&self, line: &str, status: i32, code: &str) {
        let output = self.run(&format!("verify {line} --json"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{line}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["code"], code, "{line}: {value:#}");
    }

    /// Publishes a package, by one checkpoint.
    fn publish(&self, name: &str, version: &str) {
        let folder = self.at(name);
        if !folder.exists() {
            self.done(&format!("new {name} --name demo:{name}"));
        }
        let manifest = fs::read_to_string(folder.join("quipu.toml")).unwrap();
        let line = manifest.lines().find(|line| line.starts_with("version")).unwrap().to_owned();
        fs::write(folder.join("quipu.toml"), manifest.replace(&line, &format!("version = \"{version}\""))).unwrap();
        fs::write(folder.join("file"), format!("{name} {version}")).unwrap();
        self.done(&format!("publish {name}"));
    }

    fn git(&self, repository: &str, args: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(self.at(repository)).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Damages the last record of a package on disk.
    fn damage(&self, name: &str) {
        let id = self.git("reg.git", &["rev-parse", &format!("refs/packages/demo/{name}")]);
        let path = self.at("reg.git/objects").join(&id[..2]).join(&id[2..]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"nothing").unwrap();
    }
}

#[test]
fn from_every_checkpoint_on_only_what_changed_is_looked_at() {
    let world = World::new();
    for number in 0..13 {
        world.publish(&format!("p{number}"), "0.1.0");
    }
    world.publish("p3", "0.2.0");
    world.publish("p3", "0.3.0");
    let whole = world.good("./reg.git");
    assert_eq!((&whole["packages"], &whole["looked-at"], whole.get("since")), (&13.into(), &13.into(), None));
    let newest = whole["checkpoint"]["seq"].as_u64().unwrap();
    assert_eq!(newest, 15);
    for seq in 0..=newest {
        let found = world.good(&format!("./reg.git --since {seq}"));
        assert_eq!(found["since"]["seq"], seq);
        assert_eq!(found["checkpoint"], whole["checkpoint"]);
        // The first checkpoint has no package; the last two changed one that was there.
        let expected = if seq < 13 { 13 - seq + u64::from(seq > 3) } else { u64::from(seq < 15) };
        assert_eq!(found["looked-at"], expected, "{found:#}");
        let releases = if seq < 13 { 13 - seq + 2 } else { 15 - seq };
        assert_eq!(found["releases"], releases, "{found:#}");
        // By its digest it is the same one.
        let digest = found["since"]["digest"].as_str().unwrap();
        assert_eq!(world.good(&format!("./reg.git --since {digest}")), found);
    }
    let text = world.done("verify ./reg.git --since 13");
    assert!(text.starts_with("verified since checkpoint 13: acme.example"), "{text}");
    assert!(text.contains("was looked at: 1 of 13 packages") && text.contains("was not"), "{text}");
    // Nothing tells of progress but a terminal.
    assert!(world.run("verify ./reg.git --since 13").stderr.is_empty());
    // By name it goes as well.
    assert_eq!(world.good("acme.example --since 14")["looked-at"], 1);
}

#[test]
fn what_is_bad_is_seen_where_it_came_after_the_checkpoint() {
    let world = World::new();
    world.publish("old", "0.1.0");
    world.publish("new", "0.1.0");
    world.damage("old");
    assert_eq!(world.good("./reg.git --since 1")["looked-at"], 1);
    assert!(!world.run("verify ./reg.git").status.success());
    assert!(!world.run("verify ./reg.git --since 0").status.success());
    world.damage("new");
    assert!(!world.run("verify ./reg.git --since 1").status.success());
    assert_eq!(world.good("./reg.git --since 2")["looked-at"], 0);
}

#[test]
fn files_that_went_are_missed_in_what_was_released_since() {
    let world = World::new();
    world.publish("p", "0.1.0");
    world.publish("p", "0.2.0");
    world.git("reg.git", &["update-ref", "-d", "refs/contents/demo/p"]);
    world.bad("./reg.git --since 1", 4, "ref-missing");
    assert_eq!(world.good("./reg.git --since 1 --logs-only")["looked-at"], 1);
    assert_eq!(world.good("./reg.git --since 2")["releases"], 0);
}

#[test]
fn a_log_that_went_back_since_is_a_fault() {
    let world = World::new();
    world.publish("p", "0.1.0");
    world.publish("p", "0.2.0");
    let first = world.git("reg.git", &["rev-parse", "refs/packages/demo/p~1"]);
    world.git("reg.git", &["update-ref", "refs/packages/demo/p", &first]);
    world.bad("./reg.git --since 1", 4, "rollback");
}

#[test]
fn a_checkpoint_that_is_not_there_is_named() {
    let world = World::new();
    world.publish("p", "0.1.0");
    world.bad("./reg.git --since 2", 3, "not-found");
    world.bad(&format!("./reg.git --since sha256:{}", "ab".repeat(32)), 4, "anchor-mismatch");
    for wrong in ["-1", "+1", "first", "1.0", "sha256:ab", ""] {
        assert_eq!(world.run(&format!("verify ./reg.git --since={wrong}")).status.code(), Some(2), "{wrong:?}");
    }
    world.bad("demo:p --since 1", 2, "usage");
}

#[test]
fn a_checkpoint_of_another_history_is_refused() {
    let world = World::new();
    world.publish("p", "0.1.0");
    let copy = |from: &str, to: &str| {
        assert!(Command::new("cp").args(["-r", from, to]).current_dir(world.0.path()).status().unwrap().success());
    };
    copy("reg.git", "other.git");
    copy("home/state", "state");
    world.publish("q", "0.1.0");
    let there = world.good("./reg.git")["checkpoint"]["digest"].as_str().unwrap().to_owned();
    // The other copy goes on in its own way.
    fs::rename(world.at("reg.git"), world.at("mine.git")).unwrap();
    fs::rename(world.at("other.git"), world.at("reg.git")).unwrap();
    fs::remove_dir_all(world.at("home/state")).unwrap();
    copy("state", "home/state");
    world.publish("r", "0.1.0");
    world.publish("r", "0.2.0");
    world.bad(&format!("./reg.git --since {there}"), 4, "anchor-mismatch");
    // What was verified last at this path is another checkpoint 2.
    world.bad("./reg.git --since last", 4, "anchor-mismatch");
    world.good("./reg.git");
    assert_eq!(world.good("./reg.git --since last")["looked-at"], 0);
}

#[test]
fn what_was_verified_last_is_remembered_and_may_be_thrown_away() {
    let world = World::new();
    world.publish("p", "0.1.0");
    world.bad("./reg.git --since last", 3, "not-found");
    // Whoever names a checkpoint has not looked at what lies before it.
    world.good("./reg.git --since 0");
    world.bad("./reg.git --since last", 3, "not-found");
    world.good("./reg.git --logs-only");
    world.bad("./reg.git --since last", 3, "not-found");
    assert_eq!(world.good("./reg.git --since last --logs-only")["looked-at"], 0);
    world.good("./reg.git");
    world.publish("q", "0.1.0");
    assert_eq!(world.good("./reg.git --since last")["looked-at"], 1);
    assert_eq!(world.good("./reg.git --since last")["looked-at"], 0);
    // A fault moves nothing on.
    world.publish("r", "0.1.0");
    world.git("reg.git", &["update-ref", "-d", "refs/contents/demo/r"]);
    world.bad("./reg.git --since last", 4, "ref-missing");
    world.bad("./reg.git --since last", 4, "ref-missing");
    fs::remove_dir_all(world.at("home/cache")).unwrap();
    world.bad("./reg.git --since last", 3, "not-found");
}
