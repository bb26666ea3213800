//! Upkeep that goes wrong in the middle: quipu and each git that it starts killed before each of their writes, and each write failing. All that
//! was there is there, and the next upkeep does what this one did not.

use super::*;

/// A registry with some packages, a proposal that waits, and one that was refused.
fn busy() -> World {
    let world = World::with_hello();
    for name in ["one", "two"] {
        world.package(name, "1.0.0");
        world.alice(&["publish", name]).ok();
    }
    world.alice(&["publish", "hello"]).ok();
    world.alice(&["registry", "gc", "reg.git", "--quick"]).ok();
    world.package("hello", "0.3.0");
    world.alice(&["publish", "hello"]).ok();
    world.welcome("bob");
    for name in ["waits", "goes"] {
        world.package(name, "1.0.0");
        world.person("bob", &["publish", name]).ok();
    }
    let waiting = world.alice(&["registry", "accept", "reg.git", "--dry-run", "--json"]).ok().out;
    let waiting: serde_json::Value = serde_json::from_str(&waiting).unwrap();
    let names = waiting["waiting"].as_array().unwrap();
    let goes = names.iter().filter_map(|name| name.as_str()).find(|name| name.contains("/goes/")).unwrap();
    let id = goes.rsplit('/').next().unwrap();
    world.alice(&["registry", "refuse", "reg.git", id, "--reason", "not wanted"]).ok();
    world
}

const OLD: [&str; 4] = ["demo:hello@0.1.0", "demo:hello@0.3.0", "demo:one@1.0.0", "demo:two@1.0.0"];

fn recovers(world: &World, args: &[&str]) {
    let references = world.git(&["for-each-ref", "refs/packages", "refs/contents", "refs/incoming", "refs/refused"]).ok().out;
    world.alice(&["verify", "./reg.git"]).ok();
    for release in OLD {
        world.assert_released("alice", release);
    }
    world.age();
    world.alice(args).ok();
    world.assert_whole();
    let after = world.git(&["for-each-ref", "refs/packages", "refs/contents", "refs/incoming", "refs/refused"]).ok().out;
    assert_eq!(after, references);
    // Waits still, and can be had.
    let said = world.alice(&["registry", "accept", "reg.git"]).ok();
    assert!(said.out.contains("accepted demo:waits"), "{said:?}");
    // Every reference that was being packed can move.
    for name in ["one", "two"] {
        world.package(name, "2.0.0");
        world.alice(&["publish", name]).ok();
    }
    for release in OLD.iter().chain(&["demo:waits@1.0.0", "demo:one@2.0.0"]) {
        world.assert_released("bob", release);
    }
    assert_eq!(world.strays(), Vec::<String>::new(), "something was left");
}

fn goes_wrong_anywhere(args: &[&str]) {
    let world = busy();
    let trace = format!("trace={WRITES}");
    let copy = world.copy();
    copy.strace("alice", &["-f", "-e", &trace], args).ok();
    // Each process counts its own calls.
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in copy.trace().lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if WRITES.split(',').any(|write| write == call) {
            *counts.entry((process.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, call), count) in &counts {
        let most = most.entry(call).or_default();
        *most = (*most).max(*count);
    }
    let points: Vec<(&str, usize, Fault)> = most
        .iter()
        .flat_map(|(call, most)| (1..=*most).map(move |when| (*call, when)))
        .flat_map(|(call, when)| [Fault::Kill, Fault::DiskFull].map(|fault| (call, when, fault)))
        .collect();
    let failed = AtomicUsize::new(0);
    in_parallel(&points, |(call, when, fault)| {
        let one = world.copy();
        let said = one.strace("alice", &["-f", "-e", &trace, "-e", &fault.injection(call, *when)], args);
        failed.fetch_add(usize::from(said.status != Some(0)), Ordering::Relaxed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recovers(&one, args)));
        assert!(outcome.is_ok(), "{fault:?} {call} {when}\n{said:?}\n{}", one.trace());
    });
    println!("{args:?}: {} points, {failed:?} failed", points.len());
    assert!(failed.into_inner() > points.len() / 3, "hardly anything failed");
}

#[test]
fn a_quick_upkeep_can_be_killed_and_can_fail_anywhere() {
    if can_inject() {
        goes_wrong_anywhere(&["registry", "gc", "reg.git", "--quick"]);
    }
}

#[test]
fn a_full_upkeep_can_be_killed_and_can_fail_anywhere() {
    if can_inject() {
        goes_wrong_anywhere(&["registry", "gc", "reg.git", "--prune", "0"]);
    }
}
