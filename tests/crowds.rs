//! Many publishers at once, through the hooks of one registry: what is acknowledged is there, once, and who comes second is told who was first.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use support::daemon::Daemon;
use support::{Person, World, crowd};

const PUBLISHERS: usize = 8;
const RELEASES: usize = 5;

fn crowd_of(world: &World, url: &str, id: &str) -> Vec<Person> {
    let person = |number| {
        let person = world.person_with_key(&format!("p{number}"));
        person.trust("acme.example", url, id);
        person
    };
    (0..PUBLISHERS).map(person).collect()
}

/// Lets them release, half of them packages of their own and half one that they share; then everything that was acknowledged is looked for.
#[test]
fn what_is_acknowledged_to_many_at_once_is_there_and_nothing_is_there_twice() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let made = alice.asks(["registry", "init", &world.at("acme.git"), "--name", "acme.example", "--hooks"]);
    let daemon = Daemon::serve(&world.root());
    let people = crowd_of(&world, &daemon.url("acme.git"), made["id"].as_str().unwrap());
    people[0].quipu(["publish", &world.package("first", "demo:shared", "0.1.0")]).ok();
    for person in &people[1..PUBLISHERS / 2] {
        people[0].quipu(["owner", "allow", "demo:shared", &person.public_key(), "--privilege", "release"]).ok();
    }
    let told = crowd::release(&world, &people, RELEASES, (1, 100), |number| {
        if number < PUBLISHERS / 2 { "demo:shared".into() } else { format!("demo:own{number}") }
    });
    let fsck = alice.asks(["registry", "fsck", &world.at("acme.git")]);
    let all = PUBLISHERS * RELEASES;
    assert_eq!((&fsck["clean"], &fsck["releases"]), (&true.into(), &(all + 1).into()), "{fsck}");
    assert_eq!((&fsck["waiting"], &fsck["packages"]), (&0.into(), &(PUBLISHERS / 2 + 1).into()), "{fsck}");
    let dave = world.person("dave");
    dave.trust("acme.example", &daemon.url("acme.git"), made["id"].as_str().unwrap());
    assert_eq!(dave.asks(["verify", "acme.example"])["releases"], all + 1);
    let names: BTreeSet<&str> = told.released.iter().map(|release| release.split_once('@').unwrap().0).collect();
    let there: BTreeSet<String> = names
        .iter()
        .flat_map(|name| {
            let versions = dave.asks(["info", name])["versions"].as_array().unwrap().clone();
            let of = |version: &serde_json::Value| format!("{name}@{}", version["version"].as_str().unwrap());
            versions.iter().map(of).collect::<Vec<_>>()
        })
        .filter(|release| release != "demo:shared@0.1.0")
        .collect();
    assert_eq!(told.released.len(), all);
    assert_eq!(told.released.into_iter().collect::<BTreeSet<_>>(), there);
    println!("{} conflicts", told.conflicts);
}
