//! A real graph of dependencies, published and installed: this program's own, as Cargo.lock has it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use semver::Version;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use support::daemon::Daemon;
use support::relay::Relay;
use support::{World, folders};

#[derive(Deserialize)]
struct Lock {
    package: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Makes a version one that a registry takes: without build metadata.
fn bare(version: &str) -> Version {
    let version: Version = version.parse().unwrap();
    Version { build: semver::BuildMetadata::EMPTY, ..version }
}

#[test]
fn what_cargo_chose_is_chosen_and_comes_in_a_few_questions() {
    let lock: Lock = toml::from_str(include_str!("../Cargo.lock")).unwrap();
    let named = |name: &str| format!("crates:{}", name.to_lowercase().replace('_', "-"));
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for found in &lock.package {
        versions.entry(&found.name).or_default().push(&found.version);
    }
    assert!(versions.len() > 200 && versions.values().any(|versions| versions.len() > 1));
    // A dependency is `name`, or `name version` where there are several.
    let needs = |found: &Crate| -> String {
        let line = |needed: &String| {
            let (name, version) = needed.split_once(' ').unwrap_or_else(|| (needed, versions[needed.as_str()][0]));
            (named(name), bare(version))
        };
        // One crate in two versions would be one name twice: then the newest is needed.
        let all: BTreeMap<String, Version> = found.dependencies.iter().map(line).collect();
        all.iter().map(|(name, version)| format!("\"{name}\" = \"{version}\"\n")).collect()
    };
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", "acme.example", "sha1");
    let root = lock.package.iter().find(|found| found.name == "quipu").unwrap();
    let mut all: Vec<&Crate> = lock.package.iter().filter(|found| found.name != "quipu").collect();
    all.sort_by_key(|found| (&found.name, bare(&found.version)));
    for found in &all {
        let (folder, version) = (format!("src/{}/{}", found.name, found.version), bare(&found.version));
        let name = named(&found.name);
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n\n[dependencies]\n{}", needs(found));
        world.write(&format!("{folder}/quipu.toml"), &manifest);
        alice.quipu(["publish", &world.at(&folder)]).ok();
    }
    let daemon = Daemon::serve(&world.root());
    let relay = Relay::to(daemon.port());
    let bob = world.person("bob");
    bob.trust("acme.example", &relay.url("reg.git"), &id);
    let project = needs(root).replace("\"crates:", "\"acme.example/crates:");
    world.write("app/quipu.toml", &format!("[dependencies]\n{project}"));
    relay.spent();
    let bob = bob.within(world.path("app"));
    let found = bob.quipu(["install", "--json"]).ok().json();
    let (connections, _) = relay.spent();
    assert!(connections <= 2, "{connections}");
    let chosen: BTreeSet<(String, Version)> = found["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["package"].as_str().unwrap().to_owned(), found["version"].as_str().unwrap().parse().unwrap()))
        .collect();
    let of_cargo: BTreeSet<(String, Version)> = all.iter().map(|found| (named(&found.name), bare(&found.version))).collect();
    let missing: Vec<_> = of_cargo.difference(&chosen).collect();
    assert!(chosen.is_subset(&of_cargo) && missing.is_empty(), "missing: {missing:?}");
    for found in &all {
        let (place, version) = (named(&found.name).replace(':', "/"), bare(&found.version));
        let brought = world.path(&format!("app/quipu_packages/acme.example/{place}/{version}"));
        folders::assert_same(&brought, &world.path(&format!("src/{}/{}", found.name, found.version)));
    }
    // Once more, and nothing is asked but whether there is something new.
    bob.quipu(["install", "--locked"]).ok();
    let (connections, bytes) = relay.spent();
    assert!(connections == 1 && bytes < 4096, "{connections} {bytes}");
}
