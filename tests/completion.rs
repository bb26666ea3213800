//! What real shells do with what is typed into them: commands, flags and names are completed, and nothing else appears.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::path::Path;
use support::terminal::Terminal;
use support::{Person, World};

const DOMAIN: &str = "acme.example";
const PROMPT: &str = "ready> ";

/// A shell that completes quipu.
struct Shell(Terminal);

impl Shell {
    /// Starts a shell in a folder; `None` where it is missing, which is not so where everything is to be tested.
    fn start(shell: &str, person: &Person, folder: &Path) -> Option<Self> {
        let begin = match shell {
            "bash" => "exec bash --norc --noprofile -i",
            "zsh" => "exec zsh -f -i",
            _ => "exec fish --no-config --interactive --init-command 'function fish_prompt; echo -n \"ready> \"; end'",
        };
        let terminal = Terminal::start(&[shell], (50, 200), begin, person, folder, &[("PS1", PROMPT)])?;
        let mut shell_at = Shell(terminal);
        shell_at.0.until(PROMPT);
        let switch = if shell == "fish" { "quipu completion fish | source" } else { "source <(quipu completion SHELL)" };
        shell_at.0.press(&format!("{}; echo on''e\n", switch.replace("SHELL", shell)));
        shell_at.0.until("one\r\n");
        shell_at.0.until(PROMPT);
        Some(shell_at)
    }

    /// Types a line, and returns the words that the shell has in the end, with what was shown meanwhile.
    fn words(&mut self, line: &str) -> (Vec<String>, String) {
        self.0.press(line);
        // To the begin of the line and to its end.
        self.0.press("\u{1}printf '<%s>\\n' \u{5} | tr -d '\\n'; echo en''d\n");
        let shown = self.0.until("end\r\n");
        self.0.until(PROMPT);
        let last = shown.lines().next_back().unwrap();
        let said = last[last.find("<quipu>").unwrap_or_else(|| panic!("{line:?}: {shown}"))..].strip_suffix("end").unwrap();
        (said.trim_matches(['<', '>']).split("><").map(str::to_owned).collect(), shown)
    }
}

/// Somebody who looked at two packages of a registry, and a project that needs one of them.
fn scene() -> (World, Person) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    world.registry(&alice, "reg.git", DOMAIN, "sha1");
    for (name, version) in [("demo:hello", "1.0.0"), ("demo:hello", "1.1.0"), ("demo:world", "2.0.0"), ("wasi:http", "0.2.1")] {
        alice.quipu(["publish", &world.package("work/package", name, version)]).ok();
    }
    alice.quipu(["yank", "demo:hello@1.0.0"]).ok();
    world.write("work/a b/file", "");
    world.write("work/quipu.toml", "[dependencies]\n\"demo:hello\" = \"1\"\n\"wasi:http\" = \"0.2\"\n");
    (world, alice)
}

/// What is typed, with its keys, and the words that come of it in every shell.
const LINES: &[(&str, &[&str])] = &[
    ("quipu inst\t", &["install"]),
    ("quipu regi\tfs\t", &["registry", "fsck"]),
    ("quipu get --off\t", &["get", "--offline"]),
    ("quipu --col\tne\t", &["--color", "never"]),
    // The only package of its namespace, with a space behind it.
    ("quipu get w\tX", &["get", "wasi:http", "X"]),
    ("quipu get wasi:\tX", &["get", "wasi:http", "X"]),
    ("quipu get wasi:h\tX", &["get", "wasi:http", "X"]),
    ("quipu get demo:w\tX", &["get", "demo:world", "X"]),
    ("quipu get acme.example/wasi:h\tX", &["get", "acme.example/wasi:http", "X"]),
    ("quipu get acme\tdemo:h\tX", &["get", "acme.example/demo:hello", "X"]),
    ("quipu get demo:hello@1.1\tX", &["get", "demo:hello@1.1.0", "X"]),
    ("quipu get wasi:http@\tX", &["get", "wasi:http@0.2.1", "X"]),
    ("quipu owner list acme.example/demo:hello@1.0\tX", &["owner", "list", "acme.example/demo:hello@1.0.0", "X"]),
    // What is yanked is not yanked again, and a version has to follow.
    ("quipu yank demo:h\t\tX", &["yank", "demo:hello@1.1.0", "X"]),
    ("quipu unyank demo:hello@\tX", &["unyank", "demo:hello@1.0.0", "X"]),
    ("quipu info --registry=ac\tX", &["info", "--registry=acme.example", "X"]),
    ("quipu info --registry ac\tX", &["info", "--registry", "acme.example", "X"]),
    ("quipu trust show a\tX", &["trust", "show", "acme.example", "X"]),
    ("quipu key show al\tX", &["key", "show", "alice", "X"]),
    ("quipu --key al\tX", &["--key", "alice", "X"]),
    (
        "quipu owner allow demo:hello alice --privilege auth,rel\tX",
        &["owner", "allow", "demo:hello", "alice", "--privilege", "auth,release", "X"],
    ),
    ("quipu remove demo:\tX", &["remove", "demo:hello", "X"]),
    ("quipu update w\tX", &["update", "wasi:http", "X"]),
    ("quipu publish pack\tsr\t", &["publish", "package/src/"]),
    ("quipu publish a\t", &["publish", "a b/"]),
    ("quipu verify ./pack\t", &["verify", "./package/"]),
    // What nothing begins with stays as it is.
    ("quipu get nosuch:thing\tX", &["get", "nosuch:thingX"]),
    ("quipu get demo:hello@7\tX", &["get", "demo:hello@7X"]),
    ("quipu nosuch\tX", &["nosuchX"]),
];

fn completes(shell: &str) {
    let (world, alice) = scene();
    let Some(mut terminal) = Shell::start(shell, &alice, &world.path("work")) else { return };
    let mut wrong = Vec::new();
    let quoted: &[(&str, &[&str])] =
        &[("quipu get 'wasi:h\tX", &["get", "wasi:http", "X"]), ("quipu get \"demo:w\tX", &["get", "demo:world", "X"])];
    for (line, expected) in LINES.iter().chain(quoted) {
        let (words, shown) = terminal.words(&match (line.contains(['\'', '"']), shell) {
            // bash closes the quote and leaves the space to whoever types.
            (true, "bash") => line.replace("\tX", "\t X"),
            (true, _) => continue,
            _ => (*line).to_owned(),
        });
        // zsh takes a slash back that it put there itself, once the word is at its end.
        let is_same = |(word, expected): (&String, &&str)| word == expected || shell == "zsh" && format!("{word}/") == **expected;
        if words.len() != expected.len() + 1 || !words[1..].iter().zip(*expected).all(is_same) {
            wrong.push(format!("{line:?}: {words:?}\n{shown}"));
        }
        if shown.contains("error") || shown.contains("panicked") || shown.contains("hint") {
            wrong.push(format!("{line:?} shows: {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Where there are several, all of them are shown.
    terminal.0.press(if shell == "bash" { "quipu get demo:\t\t" } else { "quipu get demo:\t" });
    let shown = format!("{}{}", terminal.0.until("hello"), terminal.0.until("world"));
    assert!(!shown.contains("wasi"), "{shown}");
    let (words, _) = terminal.words("w\tX");
    assert_eq!(words[1..], ["get", "demo:world", "X"]);

    // Settings that are no TOML: nothing is offered, and nothing is said.
    std::fs::write(alice.home.join("config.toml"), "[[[").unwrap();
    let (words, shown) = terminal.words("quipu get wasi:h\tX");
    assert_eq!(words[1..], ["get", "wasi:hX"], "{shown}");
    assert!(!shown.contains("config"), "{shown}");
    let (words, _) = terminal.words("quipu inst\tX");
    assert_eq!(words[1..], ["install", "X"]);
}

#[test]
fn bash_completes_what_is_typed() {
    completes("bash");
}

#[test]
fn zsh_completes_what_is_typed() {
    completes("zsh");
}

#[test]
fn fish_completes_what_is_typed() {
    completes("fish");
}

/// Asks as bash does, and returns the lines of the answer.
fn asked(person: &Person, line: &str) -> Vec<String> {
    let said = person.with("QUIPU_COMPLETE", "bash").quipu(["--", line, " \t\n\"'@><=;|&(:"]).ok();
    assert_eq!(said.stderr, "");
    said.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_is_fetched_and_nothing_is_written_for_it() {
    let (world, alice) = scene();
    let daemon = support::daemon::Daemon::serve(&world.root());
    let bob = world.person("bob");
    let id = alice.asks(["trust", "show", DOMAIN])["id"].as_str().unwrap().to_owned();
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    bob.quipu(["info", "demo:hello", "--registry", DOMAIN]).ok();
    drop(daemon);
    let files = || {
        let found = support::folders::files(&bob.home);
        found.into_iter().map(|(name, path)| (name, std::fs::metadata(path).unwrap().modified().unwrap())).collect::<Vec<_>>()
    };
    let before = files();
    // What was looked at, and what the map beside it names.
    assert_eq!(asked(&bob, "quipu get acme.example/demo:"), ["hello ", "world "]);
    assert_eq!(asked(&bob, "quipu get acme.example/demo:hello@"), ["@1.1.0 ", "@1.0.0 "]);
    assert_eq!(asked(&bob, "quipu get acme.example/demo:world@"), [] as [&str; 0]);
    assert_eq!(files(), before);
    // Without the cache, what was looked at is still known; it may not be all, so that no space follows.
    bob.quipu(["cache", "prune", "--all"]).ok();
    assert_eq!(asked(&bob, "quipu get acme.example/demo:"), ["hello"]);
}

#[test]
fn damage_is_passed_over_in_silence() {
    let (world, alice) = scene();
    assert_eq!(asked(&alice, "quipu get wasi:"), ["http "]);
    let state = std::fs::read_dir(alice.home.join("state")).unwrap().map(|entry| entry.unwrap().path());
    for file in state.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        std::fs::write(file, b"\xff\x00[packages.\"x:y\"]\ncommit = \"1\"\n[packages.\"\ncommit = ").unwrap();
    }
    asked(&alice, "quipu get wasi:");
    std::fs::remove_dir_all(world.path("reg.git/objects")).unwrap();
    assert_eq!(asked(&alice, "quipu get wasi:"), [] as [&str; 0]);
    for line in [
        "",
        " ",
        "quipu",
        "quipu get \\",
        "quipu get '",
        "quipu get \u{1b}[2J",
        "quipu get demo:\u{301}",
        "quipu get //@:#",
        "quipu -- --",
    ] {
        let said = alice.with("QUIPU_COMPLETE", "bash").quipu(["--", line, " \t\n\"'@><=;|&(:"]);
        assert!(said.status < 2 && said.stderr.is_empty() && !said.stdout.contains("error"), "{line:?}: {said:?}");
    }
    // A shell that is not known, and one that asks without saying what.
    let nobody = alice.with("QUIPU_COMPLETE", "tcsh").quipu(["--", "quipu"]);
    assert_eq!((nobody.status, nobody.stdout.as_str(), nobody.stderr.as_str()), (1, "", ""));
    alice.with("QUIPU_COMPLETE", "").quipu(["--version"]).ok();
}

#[test]
fn the_script_needs_no_home_and_says_how_it_is_switched_on() {
    let world = World::new();
    let nobody = world.person("nobody");
    world.write("homes/nobody/config.toml", "[[[");
    for shell in ["bash", "zsh", "fish"] {
        let script = nobody.quipu(["completion", shell]).ok().stdout;
        assert!(script.contains("QUIPU_COMPLETE") && !script.contains("COMPLETER") && !script.contains("\\u{"), "{script}");
        let help = nobody.quipu(["completion", "--help"]).ok().stdout;
        assert!(help.contains(&format!("quipu completion {shell}")), "{help}");
    }
}
