//! Whoever does something wrong is told what, and what to do: the same code, exit status and next step each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::{Person, World};

const DOMAIN: &str = "acme.example";

/// Runs a command both ways: for programs, where code and exit status are checked, and for people, who see the same.
#[track_caller]
fn told(person: &Person, line: &str, status: i32, code: &str) -> String {
    let args: Vec<&str> = line.split_whitespace().collect();
    let said = person.quipu(args.iter().copied().chain(["--json"])).fails(status, code);
    let shown = person.quipu(&args).ends(status);
    assert_eq!(shown.stdout, "", "{line}");
    let mut lines = said.lines();
    let message = lines.next().unwrap();
    assert!(shown.stderr.starts_with(&format!("error[{code}]: {message}\n")), "{line}\n{}", shown.stderr);
    for hint in lines {
        assert!(shown.stderr.contains(&format!("  hint: {hint}\n")), "{line}\n{}", shown.stderr);
    }
    assert!(!message.ends_with('.') && !message.is_empty(), "{line}: {message}");
    said
}

/// A registry with one package, whose operator is Alice.
fn world() -> (World, Person, String) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    (world, alice, id)
}

/// Returns the words that stand under `Commands:` in what `--help` prints.
fn commands_in(help: &str) -> Vec<String> {
    let after = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let rows = after.lines().take_while(|line| !line.is_empty());
    // Where a description goes on on the next line, that line is indented further.
    rows.filter(|row| row.starts_with("  ") && !row.starts_with("   "))
        .map(|row| row.split_whitespace().next().unwrap().to_owned())
        .collect()
}

/// Visits every command and returns those that have no commands below them.
fn every_command(person: &Person) -> Vec<(Vec<String>, String)> {
    let (mut waiting, mut found) = (vec![Vec::new()], Vec::new());
    while let Some(path) = waiting.pop() {
        let help = person.quipu(path.iter().map(String::as_str).chain(["--help"])).ok();
        assert_eq!(help.stderr, "", "{path:?}");
        let below = commands_in(&help.stdout);
        if below.is_empty() {
            found.push((path, help.stdout));
        } else {
            waiting.extend(below.into_iter().filter(|word| word != "help").map(|word| {
                let mut path = path.clone();
                path.push(word);
                path
            }));
        }
    }
    found
}

#[test]
fn every_command_says_what_it_does_and_what_it_takes() {
    let world = World::new();
    let nobody = world.person("nobody");
    let commands = every_command(&nobody);
    assert!(commands.len() > 15, "{commands:?}");
    for (path, help) in &commands {
        let place = path.join(" ");
        assert!(help.contains(&format!("Usage: quipu {place}")), "{place}\n{help}");
        let first = help.lines().next().unwrap();
        assert!(first.len() > 10 && !first.ends_with('.'), "{place}: {first}");
        // What the usage names is explained below it.
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
        for word in usage.split_whitespace().filter(|word| word.contains('<')) {
            let name: String = word.chars().filter(|c| c.is_ascii_uppercase() || matches!(c, '-' | '_' | ':')).collect();
            assert!(help.matches(name.as_str()).count() > 1, "{place} does not explain {word}");
        }
        // A short form exists as well.
        assert!(nobody.quipu(path.iter().map(String::as_str).chain(["-h"])).ok().stdout.starts_with(first), "{place}");
    }
    assert!(nobody.quipu(["--version"]).ok().stdout.starts_with("quipu "));
    // Without a command, the list of commands is the answer.
    let nothing = nobody.quipu([] as [&str; 0]).ends(2);
    assert!(nothing.stderr.contains("Commands:"), "{}", nothing.stderr);
}

#[test]
fn every_command_that_is_given_nothing_or_too_much_says_so_as_json_too() {
    let world = World::new();
    let nobody = world.person("nobody");
    for (path, help) in every_command(&nobody) {
        let line = path.join(" ");
        let message = told(&nobody, &format!("{line} --no-such-flag"), 2, "usage");
        assert!(message.contains("--no-such-flag") && message.contains("quipu"), "{message}");
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
        if usage.contains("] <") || usage.contains("> <") {
            let message = told(&nobody, &line, 2, "usage");
            assert!(message.contains('<') && message.contains(&format!("more: quipu {line} --help")), "{message}");
        }
    }
}

#[test]
fn a_word_that_is_no_command_is_answered_with_the_one_that_was_meant() {
    let world = World::new();
    let nobody = world.person("nobody");
    let known = commands_in(&nobody.quipu(["--help"]).ok().stdout);
    let tries = [
        ("fetch wasi:http", "quipu get"),
        ("i", "quipu install"),
        ("require wasi:http", "quipu add"),
        ("list", "quipu info"),
        ("find http", "quipu search"),
        ("changes demo:hello", "quipu diff"),
        ("upgrade", "quipu update"),
        ("init", "quipu new"),
        ("init reg.git", "quipu registry init"),
        ("push", "quipu publish"),
        ("rm demo:hello", "quipu yank"),
        ("uninstall demo:hello", "quipu remove"),
        ("fsck", "quipu verify"),
        ("login", "quipu key new"),
        ("accept reg.git", "quipu registry accept"),
        ("help", "quipu --help"),
        ("registry add acme.example", "quipu trust add"),
        ("registry create reg.git", "quipu registry init"),
        ("key create", "quipu key new"),
        ("completions bash", "quipu completion"),
        ("clean", "quipu cache prune"),
        ("cache clear", "quipu cache prune"),
        ("cache ls", "quipu cache list"),
        ("owner add demo:hello", "quipu owner allow"),
        ("gett", "'get'"),
        ("publsh", "'publish'"),
        ("trust lst", "'list'"),
        ("frobnicate", "usage: quipu"),
    ];
    for (line, meant) in tries {
        let first = line.split(' ').next().unwrap();
        if known.iter().any(|word| word == first) && !matches!(first, "registry" | "key" | "owner" | "trust" | "cache") {
            continue;
        }
        let message = told(&nobody, line, 2, "usage");
        assert!(message.contains("unrecognized subcommand") && message.contains(meant), "{line}\n{message}");
    }
}

#[test]
fn whoever_needs_a_package_is_told_how_to_say_so() {
    let world = World::new();
    let nobody = world.person("nobody");
    assert!(told(&nobody, "install wasi:http", 2, "usage").contains("quipu add"));
    for line in ["install", "update", "vendor third-party"] {
        let message = told(&nobody.within(world.path("homes")), line, 2, "bad-manifest");
        assert!(message.contains("there is no quipu.toml in") && message.contains("quipu add"), "{message}");
    }
}

#[test]
fn whoever_has_nothing_yet_is_told_what_to_make_first() {
    let world = World::new();
    let nobody = world.person("nobody");
    world.package("hello", "demo:hello", "1.0.0");
    // Everything that is missing at once, with its command.
    let message = told(&nobody, &format!("publish {}", world.at("hello")), 2, "no-key");
    for part in ["no key to sign with", "no registry is named", "quipu key new", "quipu registry init", "quipu trust add"] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let message = told(&nobody.within(world.path("homes")), "publish", 2, "bad-manifest");
    assert!(message.contains("there is no quipu.toml in") && message.contains("quipu new"), "{message}");
    assert!(!message.contains("/. ") && !message.contains("/.;"), "{message}");
    for line in [
        "get demo:hello",
        "info",
        "info demo:hello",
        "log demo:hello",
        "diff demo:hello",
        "search hello",
        "verify demo:hello",
        "owner list demo:hello",
    ] {
        let message = told(&nobody, line, 2, "no-registry");
        assert!(message.contains("quipu trust add DOMAIN URL"), "{message}");
    }
    for line in ["get acme.example/demo:hello", "info acme.example", "verify acme.example", "yank acme.example/demo:hello@1.0.0"]
    {
        let message = told(&nobody, line, 5, "not-trusted");
        assert!(message.contains("quipu trust add acme.example URL"), "{message}");
    }
    let message = told(&nobody, "registry init ./new.git --name new.example", 2, "no-key");
    assert!(message.contains("quipu key new"), "{message}");
    assert!(!world.path("new.git").exists());
    assert!(nobody.quipu(["key", "list"]).ok().stdout.contains("quipu key new"));
    assert!(nobody.quipu(["trust", "list"]).ok().stdout.contains("quipu trust add"));
    told(&nobody, "key show", 2, "no-key");
    told(&nobody, "trust remove acme.example", 3, "not-found");
}

#[test]
fn a_name_that_is_not_there_is_answered_with_those_that_are_near() {
    let (world, alice, _) = world();
    alice.quipu(["publish", &world.package("help", "demo:help", "1.0.0")]).ok();
    for line in ["get demo:helo", "info demo:helo", "log demo:helo", "diff demo:helo", "verify demo:helo", "owner list demo:helo"]
    {
        let message = told(&alice, line, 3, "not-found");
        assert!(message.contains("did you mean") && message.contains("demo:help"), "{line}\n{message}");
    }
    let message = told(&alice, "get dema:hello", 3, "not-found");
    assert!(message.contains("demo:hello"), "{message}");
    for line in ["yank demo:helo@1.0.0", "owner deny demo:helo alice"] {
        let message = told(&alice, line, 3, "not-found");
        assert!(message.contains("did you mean"), "{line}\n{message}");
    }
    for line in ["get demo:hello@9.0.0", "info demo:hello@9.0.0", "verify demo:hello@9.0.0"] {
        let message = told(&alice, line, 3, "not-found");
        assert!(message.contains("1.0.0"), "{line}\n{message}");
    }
    told(&alice, "yank demo:hello@9.0.0", 8, "not-released");
    let message = told(&alice, "owner deny demo:hello bob", 3, "not-found");
    assert!(message.contains("the keys are alice"), "{message}");
    told(&alice, "get zzzzzz:qqqqqq", 3, "not-found");
}

#[test]
fn a_name_that_is_none_is_answered_with_the_form_of_names() {
    let (_world, alice, _) = world();
    for (line, code, word) in [
        ("get hello", "bad-name", "namespace:name"),
        ("get Demo:hello", "bad-name", "lower-case"),
        ("get demo/hello", "bad-name", "like acme.example"),
        ("get demo:hello@1", "bad-version", "1.4.0"),
        ("get demo:hello@latest", "bad-version", "1.4.0"),
        ("get demo:hello@1.0.0#sha256:12", "bad-reference", "sha256:"),
        ("get ./hello", "bad-reference", "is a path"),
        ("get https://acme.example/reg.git", "bad-reference", "quipu trust add DOMAIN URL"),
        ("get git@acme.example:reg.git", "bad-reference", "quipu trust add DOMAIN URL"),
        ("info hello", "bad-name", "namespace:name"),
        ("get demo:hello --registry acme", "bad-name", "like acme.example"),
        ("trust add https://acme.example/r.git acme.example", "bad-name", "like acme.example"),
        ("new ./x --name hello", "bad-name", "namespace:name"),
        ("key new Alice!", "bad-name", "lower-case"),
        ("registry init ./x.git --name acme", "bad-name", "like acme.example"),
        ("yank demo:hello", "usage", "quipu yank demo:hello@VERSION"),
        ("registry init ./x.git --name x.example --object-format md5", "bad-name", "sha256"),
        ("owner allow demo:hello alice --privilege all", "bad-name", "release"),
    ] {
        // Where several codes would do, what counts is that the word is there.
        let args: Vec<&str> = line.split(' ').collect();
        let outcome = alice.quipu(args.iter().copied().chain(["--json"]));
        let found = outcome.json()["error"]["code"].as_str().unwrap().to_owned();
        let message = told(&alice, line, 2, &found);
        assert!(message.contains(word), "{line}\n{message}");
        if !matches!(code, "bad-name") {
            assert_eq!(found, code, "{line}\n{message}");
        }
    }
}

#[test]
fn paths_names_and_urls_in_each_others_place_are_told_apart() {
    let (world, alice, _) = world();
    let here = alice.within(world.root());
    let bob = world.person("bob").within(world.root());
    let message = told(&bob, "trust add acme.example reg.git", 2, "bad-url");
    assert!(message.contains("quipu trust add acme.example ./reg.git"), "{message}");
    let message = told(&bob, "verify reg.git", 5, "not-trusted");
    assert!(message.contains("quipu verify ./reg.git"), "{message}");
    let message = told(&here, "verify hello", 2, "usage");
    assert!(message.contains("quipu verify ./hello"), "{message}");
    told(&here, "verify ./hello", 7, "bad-repository");
    told(&here, "verify ./nothing", 3, "not-found");
    let message = told(&here, "verify https://acme.example/reg.git", 2, "usage");
    assert!(message.contains("quipu trust add DOMAIN https://acme.example/reg.git"), "{message}");
    for line in ["registry accept", "registry fsck", "registry operator list"] {
        told(&here, &format!("{line} https://acme.example/reg.git"), 2, "usage");
        let message = told(&here, &format!("{line} ./nothing"), 3, "not-found");
        assert!(message.contains("quipu registry init"), "{message}");
        told(&here, &format!("{line} ./hello"), 7, "bad-repository");
    }
    told(&here, "registry init git://acme.example/reg.git --name x.example", 2, "usage");
    // What is there is not written over.
    told(&here, "registry init ./hello --name x.example", 8, "exists");
    told(&here, "registry init ./x.git --name acme.example", 8, "exists");
    told(&here, "new ./hello --name demo:hello", 8, "exists");
    told(&here, "key new alice", 8, "exists");
    let message = told(&here, "get demo:hello --to ./hello", 8, "exists");
    assert!(message.contains("--to DIR"), "{message}");
    assert!(!world.path("x.git").exists());
}

#[test]
fn a_folder_that_cannot_be_published_is_told_why() {
    let (world, alice, _) = world();
    let here = alice.within(world.root());
    told(&here, "publish ./nowhere", 2, "bad-manifest");
    world.write("empty/file", "");
    let message = told(&here, "publish ./empty", 2, "bad-manifest");
    assert!(message.contains("quipu new"), "{message}");
    // The folder above is the package.
    let message = told(&here, "publish ./hello/src", 2, "bad-manifest");
    assert!(message.contains(&world.at("hello")), "{message}");
    let manifests = [
        ("", "package"),
        ("[package]\nname = \"hello\"\nversion = \"1.0.0\"\n", "colon"),
        ("[package]\nname = \"demo:x\"\nversion = \"1\"\n", "version"),
        ("[package]\nname = \"demo:x\"\nversion = \"1.0.0\"\ncolour = \"red\"\n", "colour"),
        ("[package]\nname = \"demo:x\"\nversion = \"1.0.0\"\n[dependencies]\n\"demo:y\" = \"new\"\n", "demo:y"),
        ("[package\n", "line 1"),
    ];
    for (text, word) in manifests {
        world.write("bad/quipu.toml", text);
        let message = told(&here, "publish ./bad", 2, "bad-manifest");
        assert!(message.contains(word) && message.contains("quipu.toml"), "{message}");
    }
    world.package("linked", "demo:linked", "1.0.0");
    std::os::unix::fs::symlink("/etc/passwd", world.path("linked/passwd")).unwrap();
    let message = told(&here, "publish ./linked", 8, "bad-contents");
    assert!(message.contains("symbolic link") && message.contains("exclude"), "{message}");
    let message = told(&here, "publish ./hello", 8, "already-released");
    assert!(message.contains("above 1.0.0"), "{message}");
}

#[test]
fn without_the_network_it_is_said_and_nothing_is_asked_of_it() {
    let (world, alice, id) = world();
    let bob = world.person_with_key("bob");
    let url = "git://127.0.0.1:1/reg.git";
    let message = told(&bob, &format!("trust add acme.example {url} --id {id}"), 7, "network");
    assert!(message.contains(url), "{message}");
    let message = told(&bob, &format!("trust add acme.example {url} --id {id} --offline"), 7, "network");
    assert!(message.contains("--offline"), "{message}");
    bob.trust(DOMAIN, &world.at("reg.git"), &id);
    let config = bob.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&world.at("reg.git"), url);
    std::fs::write(&config, text).unwrap();
    world.package("second", "bob:second", "0.1.0");
    for line in ["get demo:hello", "info", "verify acme.example", &format!("publish {}", world.at("second"))] {
        let message = told(&bob, line, 7, "network");
        assert!(message.contains(url) && message.lines().count() > 1, "{message}");
        let message = told(&bob, &format!("{line} --offline"), 7, "network");
        assert!(message.contains("--offline"), "{message}");
    }
    // A registry on this machine needs no network.
    alice.quipu(["get", "demo:hello", "--offline", "--to", &world.at("got")]).ok();
}

#[test]
fn a_file_of_the_users_own_that_is_wrong_is_named_with_its_line() {
    let (_world, alice, _) = world();
    let config = alice.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("colour = \"red\"\n{text}")).unwrap();
    let message = told(&alice, "info", 2, "bad-config");
    assert!(message.contains("config.toml") && message.contains("line 1") && message.contains("colour"), "{message}");
    std::fs::write(&config, text).unwrap();
    let state = std::fs::read_dir(alice.home.join("state")).unwrap().map(|entry| entry.unwrap().path());
    for file in state.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    }
    let message = told(&alice, "get demo:hello", 4, "state-lost");
    assert!(message.contains("quipu trust add"), "{message}");
}

#[test]
fn a_password_in_a_url_is_not_shown_wherever_the_url_was_written() {
    let (world, alice, _) = world();
    for url in ["https://bob:s3cret@localhost:1/x.git", "https://s3cret@localhost/x.git", "https://localhost/x.git?token=s3cret"]
    {
        for command in
            ["verify URL", "info URL", "get URL", "trust add URL", "registry fsck URL", "registry init URL --name b.example"]
        {
            let line = command.replace("URL", url);
            for args in [line.clone(), format!("{line} --json")] {
                let said = alice.quipu(args.split(' ')).ends(2);
                assert!(!format!("{}{}", said.stdout, said.stderr).contains("s3cret"), "{args}\n{}{}", said.stdout, said.stderr);
            }
        }
    }
    let config = alice.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let path = world.path("reg.git").display().to_string();
    assert!(text.contains(&path), "{text}");
    std::fs::write(&config, text.replace(&path, "https://bob:s3cret@localhost:1/x.git")).unwrap();
    for args in [["trust", "list", "--quiet"], ["trust", "list", "--json"]] {
        let said = alice.quipu(&args[..2]).ok();
        assert!(said.stdout.contains("https://***@localhost:1/x.git"), "{}", said.stdout);
    }
}

#[test]
fn a_manifest_that_is_no_file_is_not_read() {
    let (world, alice, _) = world();
    let manifest = world.path("hello/quipu.toml");
    std::fs::remove_file(&manifest).unwrap();
    std::fs::create_dir(&manifest).unwrap();
    told(&alice, "publish hello", 2, "bad-manifest");
    std::fs::remove_dir(&manifest).unwrap();
    #[cfg(unix)]
    {
        // Who reads it to its end reads for ever.
        std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
        told(&alice, "publish hello", 2, "bad-manifest");
        std::fs::remove_file(&manifest).unwrap();
    }
    std::fs::File::create(&manifest).unwrap().set_len(1 << 30).unwrap();
    told(&alice, "publish hello", 2, "bad-manifest");
}

#[test]
fn a_registry_that_lost_its_objects_is_damaged_and_not_without_the_package() {
    let (world, alice, _) = world();
    let lost = format!("{:040}", 1);
    for name in ["registry/log", "registry/operators"] {
        let reference = world.path("reg.git/refs").join(name);
        let was = std::fs::read_to_string(&reference).unwrap();
        std::fs::write(&reference, &lost).unwrap();
        for line in ["get demo:hello", "info demo:hello", "publish hello", "verify ./reg.git", "registry fsck reg.git"] {
            let said = told(&alice, line, 4, "corrupt-object");
            assert!(said.contains(name) && said.contains(&lost), "{line}: {said}");
        }
        std::fs::write(&reference, was).unwrap();
    }
    alice.quipu(["get", "demo:hello"]).ok();
}
