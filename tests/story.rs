//! The life of packages beyond one registry, told from outside: published at one, mirrored in part at another, which answers for it while it is away;
//! renamed, taken down, reset; forked with patches that go over what its origin releases next.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::daemon::Daemon;
use support::{Person, World, git};

const A: &str = "a.example";
const B: &str = "b.example";

/// Alice operates A, and Bob B; Dave owns nothing yet.
struct Story {
    world: World,
    alice: Person,
    bob: Person,
    dave: Person,
    ids: (String, String),
    daemon: Daemon,
}

impl Story {
    fn begin(format: &str) -> Self {
        let world = World::new();
        let (alice, bob, dave) = (world.person_with_key("alice"), world.person_with_key("bob"), world.person_with_key("dave"));
        let ids = (world.registry(&alice, "a.git", A, format), world.registry(&bob, "b.git", B, format));
        let daemon = Daemon::serve(&world.root());
        bob.trust(A, &daemon.url("a.git"), &ids.0);
        dave.trust(A, &world.at("a.git"), &ids.0);
        Story { world, alice, bob, dave, ids, daemon }
    }

    /// Publishes a release with one file.
    fn publish(&self, who: &Person, name: &str, version: &str, text: &str) {
        let folder = format!("{}/{version}", name.replace(':', "/"));
        self.world.write(&format!("{folder}/text"), text);
        self.world.write(&format!("{folder}/quipu.toml"), &format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n"));
        who.quipu(["publish", &self.world.at(&folder), "--registry", A]).ok();
        self.accept();
    }

    fn accept(&self) {
        self.alice.quipu(["registry", "accept", &self.world.at("a.git")]).ok();
    }

    /// Takes A away, or brings it back.
    fn away(&self, is_away: bool) {
        let (from, to) = if is_away { ("a.git", "away.git") } else { ("away.git", "a.git") };
        fs::rename(self.world.path(from), self.world.path(to)).unwrap();
    }

    fn sync(&self) -> Value {
        self.bob.asks(["mirror", "sync", A, "--in", &self.world.at("b.git")])["mirrors"][0].clone()
    }

    /// Compares A with what B holds of it: the relation of the checkpoints, and of each package that differs.
    fn compare(&self) -> (String, BTreeMap<String, String>) {
        let said = self.bob.quipu(["compare", A, &self.world.at("b.git"), "--json"]).json();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let differences = said["differences"].as_array().unwrap().iter();
        (word(&said["relation"]), differences.map(|one| (word(&one["place"]), word(&one["relation"]))).collect())
    }

    /// Makes somebody with a project who knows A by its own URL and by B's.
    fn project(&self, name: &str, needs: &[&str]) -> Person {
        let person = self.world.person(name);
        let (home, mirror) = (self.daemon.url("a.git"), self.daemon.url("b.git"));
        // Who comes while A is away trusts it where it is mirrored.
        let url = if self.world.path("a.git").exists() { &home } else { &mirror };
        person.quipu(["trust", "add", A, url, "--id", &self.ids.0, "--mirror", &mirror]).ok();
        let needs: String = needs.iter().map(|need| format!("\"a.example/{need}\" = \"1\"\n")).collect();
        self.world.write(&format!("{name}/quipu.toml"), &format!("[dependencies]\n{needs}"));
        person.within(self.world.path(name))
    }

    fn copy_lock(&self, from: &str, to: &str) {
        fs::copy(self.world.path(from).join("quipu.lock"), self.world.path(to).join("quipu.lock")).unwrap();
    }

    /// Everything about B that git can check, and everything that quipu can, also of a clone of it.
    fn is_sound(&self) {
        let b = self.world.path("b.git");
        let fsck = |path: &Path| {
            let said = git(path, ["fsck", "--strict", "--no-dangling"]).ok();
            assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{}", path.display());
        };
        fsck(&b);
        self.bob.quipu(["registry", "fsck", &self.world.at("b.git")]).ok();
        let clone = self.world.path("clone.git");
        git(&self.world.root(), ["clone", "-q", "--mirror", "b.git", "clone.git"]).ok();
        git(&clone, ["gc", "-q", "--prune=now"]).ok();
        fsck(&clone);
        self.bob.quipu(["verify", &self.world.at("clone.git")]).ok();
        fs::remove_dir_all(clone).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.world.path(path)).unwrap()
    }
}

fn tell(format: &str) {
    let story = Story::begin(format);
    let Story { world, alice, bob, dave, .. } = &story;
    let a = world.at("a.git");

    // Published at A, mirrored at B in part.
    story.publish(dave, "wasi:http", "1.0.0", "http, by dave\n");
    story.publish(dave, "wasi:io", "1.0.0", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
    story.publish(alice, "wasi:log", "1.0.0", "log\n");
    story.publish(alice, "cli:run", "1.0.0", "run\n");
    bob.quipu(["mirror", "add", A, "--only", "wasi:*", "--in", &world.at("b.git")]).ok();
    assert_eq!(story.compare(), ("same".into(), BTreeMap::new()));
    story.is_sound();

    // A is away, and B answers in its name; for what it holds.
    let carol = story.project("carol", &["wasi:http", "wasi:io", "wasi:log"]);
    story.away(true);
    let said = carol.quipu(["install"]).ok();
    assert!(said.stderr.contains("answers for a.example instead"), "{}", said.stderr);
    let installed = |who: &str, package: &str| story.text(&format!("{who}/quipu_packages/a.example/wasi/{package}/1.0.0/text"));
    assert_eq!((installed("carol", "http"), installed("carol", "log")), ("http, by dave\n".into(), "log\n".into()));
    let early = story.text("carol/quipu.lock");
    story.project("ken", &["wasi:http", "wasi:io"]).quipu(["install"]).ok();
    let erin = story.project("erin", &["cli:run"]);
    let told = erin.quipu(["install", "--json"]).fails(4, "ref-missing");
    assert!(told.contains("mirrors a part of a.example only: wasi:*"), "{told}");
    story.away(false);

    // A renames one, takes one down, and resets one, whose new owner begins anew with the same version.
    dave.quipu(["rename", "a.example/wasi:io", "wasi:streams"]).ok();
    story.accept();
    alice.quipu(["registry", "takedown", &a, "wasi:log", "--reason", "it phones home", "--class", "legal"]).ok();
    alice.quipu(["registry", "reset", &a, "wasi:http", "--reason", "all keys were lost", "--yes"]).ok();
    story.publish(alice, "wasi:http", "1.0.0", "http, by alice\n");
    let (relation, differences) = story.compare();
    assert_eq!(relation, "ahead");
    let relation_of = |place: &str| differences.get(place).map(String::as_str);
    assert_eq!(relation_of("packages/wasi/http"), Some("diverged"), "{differences:?}");
    assert_eq!(relation_of("packages/wasi/streams"), Some("only-here"), "{differences:?}");
    for place in ["packages/wasi/http.decisions", "packages/wasi/io.decisions", "packages/wasi/log.decisions"] {
        assert_eq!(relation_of(place), Some("only-here"), "{place}: {differences:?}");
    }
    assert_eq!(relation_of("packages/cli/run"), None);

    // B follows.
    let synced = story.sync();
    assert_eq!(synced["dropped"], 1, "{synced}");
    assert_eq!(story.compare(), ("same".into(), BTreeMap::new()));
    assert_eq!(story.sync()["checkpoint"], Value::Null);
    story.is_sound();

    // While A is away again, old locks go on to mean what they meant, or say exactly why not: for who has seen A, and for a machine that has
    // nothing but the lock.
    story.away(true);
    for name in ["frank", "grace"] {
        let person = if name == "frank" { carol.clone() } else { story.project(name, &[]) };
        let project = format!("{name}-both");
        world.write(&format!("{project}/quipu.toml"), &story.text("carol/quipu.toml"));
        world.write(&format!("{project}/quipu.lock"), &early);
        let person = person.within(world.path(&project));
        let told = person.quipu(["install", "--locked", "--json"]).fails(4, "taken-down");
        assert!(told.contains("it phones home") && told.contains("wasi:log"), "{told}");
        assert!(!world.path(&format!("{project}/quipu_packages")).exists(), "nothing is installed by halves");
    }
    story.away(false);
    let heidi = story.project("heidi", &["wasi:http", "wasi:io"]);
    story.copy_lock("carol", "heidi");
    // Nobody on this machine has seen anything but what the lock says.
    let judy = story.project("judy", &["wasi:http", "wasi:io"]);
    story.copy_lock("ken", "judy");
    story.away(true);
    // What the lock has too much is taken out of it, and the rest stays as it is.
    let said = heidi.quipu(["install"]).ok();
    assert_eq!(
        (installed("heidi", "http"), installed("heidi", "streams")),
        (installed("carol", "http"), installed("carol", "io"))
    );
    assert!(said.stdout.contains("its name is a.example/wasi:streams now"), "{}", said.stdout);
    assert!(said.stdout.contains("the operators reset a.example/wasi:http: all keys were lost"), "{}", said.stdout);
    judy.quipu(["install", "--locked"]).ok();
    assert_eq!((installed("judy", "http"), installed("judy", "io")), (installed("carol", "http"), installed("carol", "io")));
    let ivan = story.project("ivan", &["wasi:http", "wasi:io"]);
    ivan.quipu(["install"]).ok();
    assert_eq!(installed("ivan", "http"), "http, by alice\n", "who asks anew gets what the name means now");
    story.away(false);

    // A fork at B of A's package: two patches, and then what upstream releases next.
    let fork = world.at("fork");
    bob.quipu(["fork", "a.example/wasi:io", "b.example/me:io", "--dir", &fork]).ok();
    for (version, from, to) in [("1.0.1", "two", "two, mended"), ("1.0.2", "six", "six, mended")] {
        world.write("fork/text", &story.text("fork/text").replace(from, to));
        let manifest = story.text("fork/quipu.toml");
        let line = manifest.lines().find(|line| line.starts_with("version = ")).unwrap().to_owned();
        world.write("fork/quipu.toml", &manifest.replacen(&line, &format!("version = \"{version}\""), 1));
        bob.quipu(["publish", &fork]).ok();
    }
    story.publish(dave, "wasi:streams", "2.0.0", "zero\none\ntwo\nthree\nfour, new\nfive\nsix\nseven\n");
    assert_eq!(story.compare().1.get("packages/wasi/streams").map(String::as_str), Some("ahead"));
    story.sync();
    story.away(true);
    bob.quipu(["trust", "add", A, &story.daemon.url("b.git"), "--id", &story.ids.0]).ok();
    bob.quipu(["fork", "--sync", &fork]).ok();
    assert_eq!(story.text("fork/text"), "zero\none\ntwo, mended\nthree\nfour, new\nfive\nsix, mended\nseven\n");
    let manifest = story.text("fork/quipu.toml");
    let line = manifest.lines().find(|line| line.starts_with("version = ")).unwrap().to_owned();
    world.write("fork/quipu.toml", &manifest.replacen(&line, "version = \"2.0.1\"", 1));
    bob.quipu(["publish", &fork]).ok();
    let info = bob.asks(["info", "b.example/me:io"]);
    assert_eq!((&info["origin"]["status"], &info["origin"]["package"]), (&"proven".into(), &"wasi:io".into()), "{info}");
    let history = git(&world.path("b.git"), ["log", "--format=%s", "refs/packages/me/io"]).ok().stdout;
    assert!(history.contains("release me:io 1.0.2") && history.trim_end().ends_with("init wasi:io"), "{history}");
    story.is_sound();
}

#[test]
fn packages_live_on_beyond_one_registry_in_sha1() {
    tell("sha1");
}

#[test]
fn packages_live_on_beyond_one_registry_in_sha256() {
    tell("sha256");
}
