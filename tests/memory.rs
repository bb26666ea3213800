//! What `quipu verify` holds in memory grows by a little for each package, and not by what its log holds.
//!
//! What is looked at is memory that a process fills itself; packs and references that it maps the kernel takes back when it needs to.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use support::{Person, World};

const SMALL: u64 = 4_000;
const LARGE: u64 = 12_000;
/// What one package may add. Its records alone have some 2,500 bytes, and more once they are parsed.
const BYTES_A_PACKAGE: u64 = 512;
/// What chance may add: how far the allocator's two arenas are apart, and which buffers were there at the same time.
const CHANCE: u64 = 3 * 1024 * 1024;

/// Runs a command in two threads, and returns the most bytes of its own that it was seen to hold.
fn held(world: &World, person: &Person, line: &str) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args(line.split(' ')).current_dir(world.root()).stdout(Stdio::null()).env_clear();
    command.env("HOME", &person.home).env("QUIPU_HOME", &person.home).env("RAYON_NUM_THREADS", "2");
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut most, mut looks) = (0, 0);
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        if let Some(found) = text.lines().find_map(|line| line.strip_prefix("RssAnon:")) {
            most = most.max(found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024);
            looks += 1;
        }
        std::thread::yield_now();
    };
    assert!(ended.success(), "{line}");
    assert!(looks > 100, "{line} was looked at {looks} times");
    most
}

#[test]
fn what_verify_holds_grows_by_a_little_for_each_package() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    for packages in [SMALL, LARGE] {
        let path = format!("{packages}.git");
        world.registry(&alice, &path, &format!("n{packages}.example"), "sha1");
        alice.quipu(["registry", "import", &path, "--synthetic", &packages.to_string()]).ok();
    }
    for line in ["verify ./N.git", "verify ./N.git --since 0"] {
        let [small, large] = [SMALL, LARGE].map(|packages| held(&world, &alice, &line.replace('N', &packages.to_string())));
        let room = small + (LARGE - SMALL) * BYTES_A_PACKAGE + CHANCE;
        println!("{line}: {small} bytes for {SMALL} packages, {large} for {LARGE}");
        assert!(large <= room, "{line}: {small} bytes for {SMALL} packages, {large} for {LARGE}, expected at most {room}");
    }
}
