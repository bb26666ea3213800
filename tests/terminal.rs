//! What is shown at a terminal, and at a terminal alone: how far a command is, and tables that fit.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::Daemon;
use support::relay::Held;
use support::terminal::Terminal;
use support::{Person, World};

const DOMAIN: &str = "acme.example";

/// A registry with packages behind a server that holds back what is fetched from it, and a project that needs one of them.
fn scene() -> (World, Daemon, Held, Person) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["publish", &world.package("p", "demo:hello", "1.0.0")]).ok();
    let daemon = Daemon::serve(&world.root());
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let held = Held::to(daemon.port());
    let config = bob.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&daemon.url("reg.git"), &held.url())).unwrap();
    world.write("project/quipu.toml", &format!("[dependencies]\n\"{DOMAIN}/demo:hello\" = \"1\"\n"));
    (world, daemon, held, bob)
}

#[test]
fn what_takes_long_is_shown_at_a_terminal_and_gone_in_the_end() {
    for (command, done) in [("install", "brought 1"), ("update", "brought 1"), ("vendor third-party", "1 release in third-party")]
    {
        let (world, _daemon, held, bob) = scene();
        let Some(mut terminal) = Terminal::start(&[], (24, 80), &format!("quipu {command}"), &bob, &world.path("project"), &[])
        else {
            return;
        };
        held.asked();
        terminal.until("choosing versions");
        held.let_go();
        let shown = terminal.rest();
        assert!(shown.contains(done), "{shown}");
        // The line is cleared before the answer.
        let answer = shown.rfind("  + ").unwrap();
        assert!(shown[..answer].rfind("\u{1b}[2K").is_some_and(|at| !shown[at..answer].contains("choosing")), "{shown:?}");
        assert!(!shown[answer..].contains('\u{1b}'), "{shown:?}");
    }
}

#[test]
fn nothing_is_shown_where_it_is_not_wanted() {
    let (world, _daemon, held, bob) = scene();
    let Some(mut terminal) = Terminal::start(
        &[],
        (24, 80),
        "quipu install --quiet; quipu cache list --json; echo e''nd",
        &bob,
        &world.path("project"),
        &[],
    ) else {
        return;
    };
    held.asked();
    // The command is held for longer than nothing would be shown anyway.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(1500) {
        std::thread::yield_now();
    }
    held.let_go();
    let shown = terminal.until("end");
    assert!(!shown.contains("choosing") && !shown.contains("fetching") && shown.starts_with("{\"quipu\":1"), "{shown}");
}

/// Runs a command at a terminal of so many columns, and returns its lines.
fn lines(world: &World, person: &Person, columns: u16, line: &str) -> Option<Vec<String>> {
    let terminal = Terminal::start(&[], (50, columns), &format!("quipu {line}"), person, &world.root(), &[])?;
    Some(terminal.rest().lines().map(|line| line.trim_end().to_owned()).collect())
}

#[test]
fn tables_fit_the_terminal_and_lose_nothing() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let long = "a-registry-with-a-long-name.of-a-department.acme.example";
    world.registry(&alice, "reg.git", long, "sha1");
    let folder = world.package("p", "demo:hello", "1.0.0");
    let words =
        "a description of many words that goes on and on until it is much longer than any terminal is wide, and then some more";
    world.write("p/quipu.toml", &format!("[package]\nname = \"demo:hello\"\nversion = \"1.0.0\"\ndescription = \"{words}\"\n"));
    alice.quipu(["publish", &folder]).ok();
    alice.quipu(["yank", "demo:hello@1.0.0", "--reason", words]).ok();
    for line in [
        "trust list",
        "trust show ".to_owned().as_str(),
        "key list",
        "owner list demo:hello",
        "info demo:hello@1.0.0",
        "info",
        "log demo:hello",
        "registry operator list reg.git",
    ] {
        let line = if line == "trust show " { format!("trust show {long}") } else { line.to_owned() };
        let piped = alice.within(world.root()).quipu(line.split(' ')).ok().stdout;
        for columns in [60, 200] {
            let Some(shown) = lines(&world, &alice, columns, &line) else { return };
            for row in &shown {
                // Only a word that is too long by itself stands out.
                let fits = row.chars().count() <= usize::from(columns);
                let longest = row.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
                assert!(fits || longest + 20 > usize::from(columns), "{line} at {columns}: {row:?}\n{}", shown.join("\n"));
            }
            let all = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(all(&shown.join("\n")), all(&piped), "{line} at {columns}");
        }
    }
    // A pipe gets a row a line, however long.
    let piped = alice.quipu(["info", "demo:hello@1.0.0"]).ok().stdout;
    assert!(piped.lines().any(|row| row.ends_with(words) && row.trim_start().starts_with("about")), "{piped}");
}
