//! Many publishers at once: each releases version after version through a server, and remembers what it was told.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use super::{Outcome, Person, World};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a crowd was told.
#[derive(Default)]
pub(crate) struct Told {
    /// The releases that were acknowledged, as `name@version`.
    pub(crate) released: Vec<String>,
    /// How long each of them took, from the first try on.
    pub(crate) times: Vec<Duration>,
    /// How often somebody was told that another one was first, and tried again.
    pub(crate) conflicts: usize,
    /// How long all of it took.
    pub(crate) whole: Duration,
}

/// Writes the folder of a release; the files change with the version.
pub(crate) fn folder(world: &World, who: &str, name: &str, version: &str, files: usize, bytes: usize) -> String {
    let folder = world.package(&format!("work/{who}"), name, version);
    for file in 0..files {
        let mut text = format!("{who} {version} {file}\n");
        let mut state = 1_u64;
        for byte in text.bytes() {
            state = state.wrapping_mul(31).wrapping_add(byte.into());
        }
        while text.len() < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(["let ", "value ", "fn ", "self", " -> ", "Result", "{\n", "}\n"][(state >> 61) as usize]);
            text.push_str(&format!("{:x}", (state >> 40) % 97));
        }
        world.write(&format!("work/{who}/src/file{file}"), &text);
    }
    folder
}

/// Lets each publisher make so many releases, of the package that `name` says, all publishers at once. Who is told that another one was first
/// tries again. Fails where somebody is told anything else.
pub(crate) fn release(
    world: &World,
    publishers: &[Person],
    releases: usize,
    (files, bytes): (usize, usize),
    name: impl Fn(usize) -> String + Sync,
) -> Told {
    let told = Mutex::new(Told::default());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (number, person) in publishers.iter().enumerate() {
            let (told, name) = (&told, name(number));
            scope.spawn(move || {
                for round in 0..releases {
                    let version = format!("1.{number}.{round}");
                    let folder = folder(world, &person.name, &name, &version, files, bytes);
                    let begun = Instant::now();
                    while !is_released(&person.quipu(["publish", &folder, "--json"])) {
                        told.lock().unwrap().conflicts += 1;
                    }
                    let mut told = told.lock().unwrap();
                    told.times.push(begun.elapsed());
                    told.released.push(format!("{name}@{version}"));
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap();
    told.whole = start.elapsed();
    told.times.sort_unstable();
    told
}

/// Says whether a release was acknowledged; if not, then because another one was first, whom the answer names.
fn is_released(said: &Outcome) -> bool {
    if said.status == 0 {
        return true;
    }
    let json = said.json();
    let message = json["error"]["message"].as_str().unwrap_or_default();
    let conflict = json["error"]["code"] == "conflict" || message.contains("[conflict]");
    assert!(said.status == 8 && conflict && message.contains(" was first at seq "), "{said:?}");
    false
}
