//! Graphs of dependencies that are hard, through `install`: what is chosen where packages come from registries one after the other, and what is said
//! where nothing fits.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use support::{Person, World};

const ACME: &str = "acme.example";
const OTHER: &str = "other.example";

/// What the registries have: of each release what it needs. Without a registry a name is of the first one.
const GRAPH: &str = "\
base 1.0.0
base 1.1.0
base 1.2.0
base 1.3.0
base 2.0.0
left 1.0.0: base ^1.1
left 2.0.0: base ^2
right 1.0.0: base >=1.0, <1.3
right 1.1.0: base =1.3.0
strict 1.0.0: base <1.1
deep 1.0.0: step ^1.0
deep 1.1.0: step ^1.1
deep 1.2.0: step ^1.2
step 1.0.0: stone ^1.0
step 1.1.0: stone ^1.1
step 1.2.0: stone ^1.2
stone 1.0.0: base ^1.0
stone 1.1.0: base ^2.1
stone 1.2.0: nothing ^1
hopeless 1.0.0: nothing ^1
hopeless 1.1.0: base ^7
early 1.0.0-rc.1
early 1.0.0-rc.2
early 0.9.0
wants-early 1.0.0: early ^1
takes-early 1.0.0: early ^1.0.0-rc.1
pulled 1.0.0
pulled 1.1.0 yanked
gone 1.0.0 yanked
gone 1.1.0 yanked
wants-gone 1.0.0: gone ^1
round 1.0.0: robin ^1
robin 1.0.0: round ^1
robin 1.1.0: round ^2
itself 1.0.0
itself 1.1.0: itself =1.0.0
itself 2.0.0: itself ^1
far 1.0.0: other.example/near ^1
other.example/near 1.0.0: acme.example/far ^1 | base ^1
other.example/base 1.0.0
other.example/base 1.9.0
both 1.0.0: base ^1 | other.example/base ^1
clash 1.0.0: other.example/base >=1.9
other.example/clash 1.0.0: base <1.9
any-of 1.0.0: base >=1.0
";

struct Scene {
    world: World,
    bob: Person,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let bob = world.person("bob");
        let registries = [(ACME, "acme.git", "sha1"), (OTHER, "other.git", "sha256")];
        for (name, path, format) in registries {
            bob.trust(name, &world.at(path), &world.registry(&alice, path, name, format));
        }
        let mut yanked = Vec::new();
        for line in GRAPH.lines() {
            let (head, needs) = line.split_once(": ").unwrap_or((line, ""));
            let mut words = head.split(' ');
            let (name, version) = (words.next().unwrap(), words.next().unwrap());
            let (registry, name) = name.split_once('/').unwrap_or((ACME, name));
            if words.next() == Some("yanked") {
                yanked.push(format!("{registry}/demo:{name}@{version}"));
            }
            let place = format!("from/{registry}/demo/{name}/{version}");
            world.write(&format!("{place}/quipu.toml"), &manifest(needs));
            world.write(&format!("{place}/text"), line);
        }
        for (name, path, _) in registries {
            let from = world.at(&format!("from/{name}"));
            alice.quipu(["registry", "import", &world.at(path), "--from", &from]).ok();
        }
        for release in yanked {
            alice.quipu(["yank", &release, "--reason", "it breaks"]).ok();
        }
        Scene { world, bob }
    }

    /// Runs `install` for these needs, from nothing.
    fn install(&self, needs: &str) -> Result<BTreeSet<String>, String> {
        let _ = std::fs::remove_dir_all(self.world.path("app"));
        let needs: Vec<String> =
            needs.split(" | ").map(|need| if need.contains('/') { need.to_owned() } else { format!("{ACME}/{need}") }).collect();
        self.world.write("app/quipu.toml", &manifest(&needs.join(" | ")));
        let done = self.bob.within(self.world.path("app")).quipu(["install"]);
        if done.status != 0 {
            assert_eq!((done.status, done.stdout.as_str()), (8, ""), "{}", done.stderr);
            assert!(!self.world.path("app/quipu.lock").exists() && !self.world.path("app/quipu_packages").exists());
            return Err(done.stderr);
        }
        let mut found = BTreeSet::new();
        let lock = std::fs::read_to_string(self.world.path("app/quipu.lock")).unwrap();
        let field =
            |line: &str, name: &str| line.strip_prefix(&format!("{name} = \"")).map(|rest| rest.trim_end_matches('"').to_owned());
        let mut name = String::new();
        for line in lock.lines() {
            if let Some(said) = field(line, "name") {
                name = said;
            } else if let Some(version) = field(line, "version") {
                let (registry, package) = name.split_once("/demo:").unwrap();
                let text = self.world.path(&format!("app/quipu_packages/{registry}/demo/{package}/{version}/text"));
                assert!(text.exists(), "{name} {version}");
                let package = if registry == ACME { package.to_owned() } else { format!("{registry}/{package}") };
                found.insert(format!("{package} {version}"));
            }
        }
        Ok(found)
    }
}

/// Writes needs that are joined by ` | ` as a quipu.toml.
fn manifest(needs: &str) -> String {
    let mut text = "[dependencies]\n".to_owned();
    for need in needs.split(" | ").filter(|need| !need.is_empty()) {
        let (name, requirement) = need.split_once(' ').unwrap();
        let name = name.split_once('/').map_or(format!("demo:{name}"), |(registry, name)| format!("{registry}/demo:{name}"));
        text += &format!("\"{name}\" = \"{requirement}\"\n");
    }
    text
}

#[test]
fn what_goes_together_is_found() {
    let scene = Scene::new();
    for (needs, expected) in [
        // Diamonds: one version that all agree on, or two that are not compatible.
        ("left ^1 | right =1.0.0", "base 1.2.0, left 1.0.0, right 1.0.0"),
        ("left ^1 | right ^1", "base 1.3.0, left 1.0.0, right 1.1.0"),
        ("left * | right *", "base 1.3.0, base 2.0.0, left 2.0.0, right 1.1.0"),
        // Who needs what is not there is passed over, however far away.
        ("deep ^1", "base 1.3.0, deep 1.0.0, step 1.0.0, stone 1.0.0"),
        ("deep ^1 | strict ^1", "base 1.0.0, deep 1.0.0, step 1.0.0, stone 1.0.0, strict 1.0.0"),
        ("step >=1.0 | any-of *", "any-of 1.0.0, base 1.3.0, base 2.0.0, step 1.0.0, stone 1.0.0"),
        // Pre-releases are for those who name them.
        ("early *", "early 0.9.0"),
        ("takes-early ^1", "early 1.0.0-rc.2, takes-early 1.0.0"),
        ("early =1.0.0-rc.1 | takes-early ^1", "early 1.0.0-rc.1, takes-early 1.0.0"),
        ("pulled ^1", "pulled 1.0.0"),
        // Cycles: of two packages, of one with itself, and across registries.
        ("round ^1", "robin 1.0.0, round 1.0.0"),
        ("itself ^1", "itself 1.0.0"),
        ("itself ^2", "itself 1.0.0, itself 2.0.0"),
        ("far ^1", "far 1.0.0, other.example/base 1.9.0, other.example/near 1.0.0"),
        // One name in two registries is two packages.
        ("both ^1", "base 1.3.0, both 1.0.0, other.example/base 1.9.0"),
        ("both ^1 | base <1.1", "base 1.0.0, both 1.0.0, other.example/base 1.9.0"),
    ] {
        let found = scene.install(needs).unwrap_or_else(|told| panic!("{needs}: {told}"));
        let expected: BTreeSet<String> = expected.split(", ").map(str::to_owned).collect();
        assert_eq!(found, expected, "{needs}");
    }
}

#[test]
fn what_does_not_go_together_is_told_in_sentences() {
    let scene = Scene::new();
    let mut told = String::new();
    for needs in [
        "left ^1 | strict ^1",
        "deep ^1.1",
        "hopeless ^1",
        "hopeless =1.1.0",
        "early ^1",
        "wants-early ^1",
        "gone ^1",
        "wants-gone ^1",
        "robin ^1.1",
        "itself =1.1.0",
        "clash ^1 | other.example/base <1.9",
        "other.example/clash ^1 | other.example/base ^2",
        "far ^2",
        "nobody ^1",
    ] {
        let failed = scene.install(needs).expect_err(needs);
        told += &format!("needs {needs}\n{failed}\n");
    }
    let expected = include_str!("fixtures/graphs/conflicts.txt");
    assert!(told == expected, "{told}");
}
