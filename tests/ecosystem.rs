//! A real graph of dependencies, imported and installed: what starship 1.27.0 needs, as its Cargo.lock and the index of crates.io have it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use semver::{Version, VersionReq};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use support::daemon::Daemon;
use support::relay::Relay;
use support::{Person, World};

const ACME: &str = "acme.example";
const OTHER: &str = "other.example";
/// The one crate that both registries have: the range of 0.17 is in one of them, what is older in the other.
const IN_BOTH: &str = "hashbrown";

/// A crate and a requirement.
type Need = (String, VersionReq);
/// A registry, a crate and a version.
type Pick = (&'static str, String, Version);

#[derive(Default)]
struct Graph {
    /// What starship needs.
    root: Vec<Need>,
    /// Each release with what it needs.
    releases: BTreeMap<(String, Version), Vec<Need>>,
    /// What the lock has.
    locked: BTreeSet<(String, Version)>,
    is_split: bool,
}

impl Graph {
    fn read(is_split: bool) -> Self {
        let mut graph = Graph { is_split, ..Graph::default() };
        for line in include_str!("fixtures/ecosystem/starship.txt").lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let versions = if name == "." { "" } else { words.next().unwrap() };
            let need = |word: &str| word.split_once('@').map(|(name, text)| (name.to_owned(), text.parse().unwrap())).unwrap();
            let needs: Vec<Need> = words.map(need).collect();
            if name == "." {
                graph.root = needs;
                continue;
            }
            for text in versions.split(',') {
                let version: Version = text.trim_start_matches('=').parse().unwrap();
                if text.starts_with('=') {
                    graph.locked.insert((name.to_owned(), version.clone()));
                }
                graph.releases.insert((name.to_owned(), version), needs.clone());
            }
        }
        graph
    }

    /// Says which registry has a release.
    fn home(&self, name: &str, version: &Version) -> &'static str {
        let is_other = match name {
            _ if !self.is_split => false,
            IN_BOTH => *version < Version::new(0, 17, 0),
            _ => name.bytes().map(u32::from).sum::<u32>() % 2 == 1,
        };
        if is_other { OTHER } else { ACME }
    }

    /// Writes a need as the quipu.toml of a package in a registry has it: where two registries would do, the one with the newest that fits is named.
    fn line(&self, from: &str, (name, requirement): &Need) -> String {
        let fitting = |((other, version), _): &(&(String, Version), &Vec<Need>)| other == name && requirement.matches(version);
        let newest = self.releases.iter().rev().find(fitting).map(|((_, version), _)| version);
        let home = self.home(name, newest.unwrap_or(&Version::new(0, 0, 0)));
        if home == from {
            format!("\"crates:{name}\" = \"{requirement}\"\n")
        } else {
            format!("\"{home}/crates:{name}\" = \"{requirement}\"\n")
        }
    }

    fn lines(&self, from: &str, needs: &[Need]) -> String {
        needs.iter().map(|need| self.line(from, need)).collect()
    }

    /// Returns packages that need each release of the lock and no other: of a crate that it has several of, each has one.
    fn pins(&self) -> Vec<Vec<Need>> {
        let mut pins: Vec<Vec<Need>> = Vec::new();
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, version) in &self.locked {
            let at = met.entry(name).or_default();
            if pins.len() <= *at {
                pins.push(Vec::new());
            }
            pins[*at].push((name.clone(), format!("={version}").parse().unwrap()));
            *at += 1;
        }
        pins
    }

    fn all_locked(&self) -> BTreeSet<Pick> {
        self.locked.iter().map(|(name, version)| (self.home(name, version), name.clone(), version.clone())).collect()
    }
}

/// The registries, and somebody who trusts them and has a project.
struct Scene {
    world: World,
    bob: Person,
    relays: Vec<Relay>,
    _daemon: Daemon,
}

impl Scene {
    fn new(graph: &Graph) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let both = [(ACME, "acme.git", "sha1"), (OTHER, "other.git", "sha256")];
        let registries = &both[..if graph.is_split { 2 } else { 1 }];
        // Their ids have to be known before anything in one needs something in the other.
        let ids: Vec<String> = registries.iter().map(|(name, path, format)| world.registry(&alice, path, name, format)).collect();
        for ((name, version), needs) in &graph.releases {
            let home = graph.home(name, version);
            let text = format!("[dependencies]\n{}", graph.lines(home, needs));
            world.write(&format!("from/{home}/crates/{name}/{version}/quipu.toml"), &text);
            world.write(&format!("from/{home}/crates/{name}/{version}/text"), &format!("{name} {version}\n"));
        }
        for (at, needs) in graph.pins().iter().enumerate() {
            let text = format!("[dependencies]\n{}", graph.lines(ACME, needs));
            world.write(&format!("from/{ACME}/pins/p{at}/1.0.0/quipu.toml"), &text);
        }
        for (name, path, _) in registries {
            let from = world.at(&format!("from/{name}"));
            alice.quipu(["registry", "import", &world.at(path), "--from", &from]).ok();
        }
        let daemon = Daemon::serve(&world.root());
        let bob = world.person("bob");
        let mut relays = Vec::new();
        for ((name, path, _), id) in registries.iter().zip(&ids) {
            let relay = Relay::to(daemon.port());
            bob.trust(name, &relay.url(path), id);
            relay.spent();
            relays.push(relay);
        }
        Scene { world, bob, relays, _daemon: daemon }
    }

    fn project(&self, folder: &str, needs: &str) -> Person {
        self.world.write(&format!("{folder}/quipu.toml"), &format!("[dependencies]\n{needs}"));
        self.bob.within(self.world.path(folder))
    }

    fn lock(&self, folder: &str) -> BTreeMap<Pick, BTreeSet<Pick>> {
        #[derive(Deserialize)]
        struct Lock {
            package: Vec<Locked>,
        }
        #[derive(Deserialize)]
        struct Locked {
            name: String,
            version: String,
            #[serde(default)]
            dependencies: Vec<String>,
        }
        let pick = |name: &str, version: Version| {
            let (registry, package) = name.split_once('/').unwrap();
            let registry = if registry == ACME { ACME } else { OTHER };
            (registry, package.strip_prefix("crates:").unwrap_or(package).to_owned(), version)
        };
        let text = std::fs::read_to_string(self.world.path(folder).join("quipu.lock")).unwrap();
        let lock: Lock = toml::from_str(&text).unwrap();
        let needed = |text: &String| {
            let (name, version) = text.split_once('@').unwrap();
            pick(name, version.parse().unwrap())
        };
        let found = lock.package.iter();
        found
            .map(|found| (pick(&found.name, found.version.parse().unwrap()), found.dependencies.iter().map(needed).collect()))
            .collect()
    }

    fn connections(&self) -> u64 {
        self.relays.iter().map(|relay| relay.spent().0).max().unwrap()
    }
}

/// The numbers that stay the same in a range of compatible versions.
fn line(version: &Version) -> (u64, u64, u64) {
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

/// Checks that everything that is needed is chosen, once for each range, and that nothing else is; by what the fixture says, not by what
/// the registries do.
fn check(graph: &Graph, chosen: &BTreeMap<Pick, BTreeSet<Pick>>) {
    let mut lines = BTreeSet::new();
    for (registry, name, version) in chosen.keys() {
        assert!(lines.insert((registry, name, line(version))), "{name} has two versions like {version}");
    }
    let meets = |(registry, name, version): &Pick, need: &Need, from: &str| {
        *name == need.0 && need.1.matches(version) && {
            let full = if *registry == from { String::new() } else { format!("{registry}/") };
            graph.line(from, need).starts_with(&format!("\"{full}crates:{name}\""))
        }
    };
    let mut reached: BTreeSet<Pick> = BTreeSet::new();
    let mut waiting: Vec<Pick> = Vec::new();
    for need in &graph.root {
        let found: Vec<&Pick> = chosen.keys().filter(|pick| meets(pick, need, "")).collect();
        assert!(!found.is_empty(), "nothing was chosen for {} {}", need.0, need.1);
        waiting.extend(found.into_iter().cloned());
    }
    while let Some(pick) = waiting.pop() {
        if !reached.insert(pick.clone()) {
            continue;
        }
        let (registry, name, version) = &pick;
        assert_eq!(*registry, graph.home(name, version));
        let (needs, found) = (&graph.releases[&(name.clone(), version.clone())], &chosen[&pick]);
        for need in needs {
            let meeting = found.iter().filter(|other| meets(other, need, registry)).count();
            assert_eq!(meeting, 1, "{name} {version} needs {} {}", need.0, need.1);
        }
        assert!(found.iter().all(|other| chosen.contains_key(other) && needs.iter().any(|need| meets(other, need, registry))));
        waiting.extend(found.iter().cloned());
    }
    let beyond: Vec<&Pick> = chosen.keys().filter(|pick| !reached.contains(*pick)).collect();
    assert!(beyond.is_empty(), "nobody needs {beyond:?}");
}

/// Installs what the lock of cargo has, and what starship asks for.
fn install_both(is_split: bool) {
    let graph = Graph::read(is_split);
    let names: BTreeSet<&String> = graph.locked.iter().map(|(name, _)| name).collect();
    let twice = names.iter().filter(|name| graph.locked.iter().filter(|(other, _)| other == **name).count() > 1).count();
    assert!(names.len() >= 200 && twice >= 20, "{} {twice}", names.len());
    let scene = Scene::new(&graph);

    let pins: String = (0..graph.pins().len()).map(|at| format!("\"{ACME}/pins:p{at}\" = \"1\"\n")).collect();
    let pinned = scene.project("pinned", &pins);
    pinned.quipu(["install"]).ok();
    assert!(scene.connections() <= 2);
    let mut chosen = scene.lock("pinned");
    chosen.retain(|(_, name, _), _| !name.starts_with("pins:"));
    let chosen: BTreeSet<Pick> = chosen.into_keys().collect();
    let expected = graph.all_locked();
    let missing: Vec<_> = expected.difference(&chosen).collect();
    let beyond: Vec<_> = chosen.difference(&expected).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "missing: {missing:?}, beyond: {beyond:?}");
    for (registry, name, version) in &chosen {
        let brought = scene.world.path(&format!("pinned/quipu_packages/{registry}/crates/{name}/{version}/text"));
        assert_eq!(std::fs::read_to_string(brought).unwrap(), format!("{name} {version}\n"));
    }

    let free = scene.project("free", &graph.lines("", &graph.root));
    free.quipu(["install"]).ok();
    let chosen = scene.lock("free");
    check(&graph, &chosen);
    let several = chosen.keys().zip(chosen.keys().skip(1)).filter(|(one, next)| (one.0, &one.1) == (next.0, &next.1)).count();
    assert!(chosen.len() > 200 && several >= 10, "{} {several}", chosen.len());
    if is_split {
        let of_both: BTreeSet<&str> = chosen.keys().filter(|pick| pick.1 == IN_BOTH).map(|pick| pick.0).collect();
        assert_eq!(of_both, BTreeSet::from([ACME, OTHER]));
    }
    // Once more, and nothing is asked but whether there is something new.
    let lock = std::fs::read(scene.world.path("free/quipu.lock")).unwrap();
    scene.connections();
    free.quipu(["install", "--locked"]).ok();
    for relay in &scene.relays {
        let (connections, bytes) = relay.spent();
        assert!(connections == 1 && bytes < 4096, "{connections} {bytes}");
    }
    // And with the lock forgotten, the same is chosen.
    std::fs::remove_file(scene.world.path("free/quipu.lock")).unwrap();
    free.quipu(["install"]).ok();
    assert_eq!(std::fs::read(scene.world.path("free/quipu.lock")).unwrap(), lock);
}

#[test]
fn what_cargo_chose_is_chosen_and_comes_in_a_few_questions() {
    install_both(false);
}

#[test]
fn what_is_spread_over_two_registries_is_chosen_alike() {
    install_both(true);
}
