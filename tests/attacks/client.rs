//! Clients: their memory, their terminal, their command line, and two of them at once.

use super::daemon::Daemon;
use super::scene::*;
use quipu::git::layout;
use quipu::model::entry::{OperatorEntry, OperatorPrivilege, PackageEntry, PackagePrivilege, Privilege as _};
use std::fs;

fn url(registry: &Registry) -> &str {
    registry.path.to_str().unwrap()
}

#[test]
fn a_damaged_memory_is_an_error_and_no_new_beginning() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let file = carol.state_file(&registry);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let first_line = good.iter().position(|byte| *byte == b'\n').unwrap();
    let damaged: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("half of the first line", good[..first_line / 2].to_vec()),
        ("the first line", good[..=first_line].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("all but the last byte", good[..good.len() - 1].to_vec()),
        ("a byte more", [&good[..], b"\n"].concat()),
        ("a bit flipped", flipped),
        ("no text", vec![0xff; 64]),
    ];
    for (what, bytes) in &damaged {
        put(&file, bytes);
        let said = carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "state-lost", 4);
        assert!(said.json["error"]["hint"].is_string(), "{what}");
    }
    for command in
        [&["info"][..], &["info", "demo:hello"], &["verify", "demo:hello"], &["verify", "acme.example"], &["publish", "."]]
    {
        if command[0] == "publish" {
            put(&carol.folder().join("quipu.toml"), "[package]\nname = \"demo:new\"\nversion = \"1.0.0\"\n");
            let said = carol.run(command);
            assert!(said.stdout.contains("damaged"), "{}", said.stdout);
            continue;
        }
        carol.refused(&registry, command, "state-lost", 4);
    }
    // Saying yes is not saying which.
    carol.refused(&registry, &["trust", "add", "acme.example", url(&registry), "--yes"], "state-lost", 4);
    put(&file, &good);
    carol.gets("demo:hello", "after");
}

#[test]
fn a_deleted_memory_is_an_error_and_no_new_beginning() {
    let (scene, registry, mut log) = Scene::with_registry();
    let old = registry.copied_to(&scene.path("old.git"));
    log.release("alice", registry.text("1.0.1", "two\n"));
    registry.serve("demo:hello", &log);
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let file = carol.state_file(&registry);
    let good = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    carol.redirect(&registry, url(&old));
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "state-lost", 4);
    carol.refused(&registry, &["info"], "state-lost", 4);
    carol.refused(&registry, &["trust", "add", "acme.example", url(&old), "--yes"], "state-lost", 4);
    // On purpose, with the id: that is what the hint says.
    put(&file, &good);
    carol.redirect(&registry, url(&registry));
    carol.gets("demo:hello", "after");
    fs::remove_file(&file).unwrap();
    carol.trust(&registry, url(&registry));
    carol.gets("demo:hello", "anew");
}

#[test]
fn trusting_again_does_not_forget_what_was_seen() {
    let (scene, registry, mut log) = Scene::with_registry();
    let old = registry.copied_to(&scene.path("old.git"));
    log.release("alice", registry.text("1.0.1", "two\n"));
    registry.serve("demo:hello", &log);
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let remembered = fs::read(carol.state_file(&registry)).unwrap();
    let id = registry.id.to_string();
    carol.run(&["trust", "add", "acme.example", url(&old), "--id", &id]);
    assert_eq!(fs::read(carol.state_file(&registry)).unwrap(), remembered);
    carol.redirect(&registry, url(&old));
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "rollback", 4);
    carol.trust(&registry, url(&registry));
    carol.gets("demo:hello", "after");
}

#[test]
fn an_unknown_registry_is_not_trusted_by_itself() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.user("carol");
    carol.refused(&registry, &["get", "acme.example/demo:hello", "--to", "x"], "not-trusted", 5);
    carol.refused(&registry, &["trust", "add", "acme.example", url(&registry)], "not-trusted", 5);
    let wrong = format!("sha256:{}", "0".repeat(64));
    carol.refused(&registry, &["trust", "add", "acme.example", url(&registry), "--id", &wrong], "id-mismatch", 5);
    carol.refused(&registry, &["trust", "add", "other.example", url(&registry), "--yes"], "wrong-registry", 4);
    carol.trust(&registry, url(&registry));
    carol.gets("acme.example/demo:hello", "twin");
    // Trusted as one id, a registry of the same name is another.
    let namesake = Registry::found_at(&scene.path("namesake.git"), "acme.example", "mallory", THEN);
    carol.refused(&registry, &["trust", "add", "acme.example", url(&namesake), "--yes"], "id-mismatch", 5);
}

/// What would move a cursor, hide text or turn it around, for people and for programs alike.
#[track_caller]
fn assert_quiet(what: &str, text: &str) {
    let loud = text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(*c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            || ('\u{e0000}'..='\u{e007f}').contains(c)
    });
    assert_eq!(loud, None, "{what}: {text:?}");
}

const LOUD: &str = "red\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\u{202e}txt\u{2066}\u{200b}\rover\u{8}\u{e0041}end";

#[test]
fn nothing_from_a_registry_moves_the_cursor() {
    let (scene, registry, mut log) = Scene::with_registry();
    let mut release = registry.text("1.0.1", "two\n");
    release.description = Some(LOUD.into());
    log.release("alice", release);
    log.add("alice", PackageEntry::Yank("1.0.0".parse().unwrap(), LOUD.into()));
    registry.serve("demo:hello", &log);
    let carol = scene.reader("carol", &registry);
    let commands = [
        &["info", "demo:hello"][..],
        &["info", "demo:hello@1.0.0"],
        &["info", "demo:hello@1.0.1"],
        &["log", "demo:hello"],
        &["get", "demo:hello@1.0.0", "--to", "one"],
        &["verify", "demo:hello"],
        &["verify", url(&registry)],
    ];
    for command in commands {
        let said = carol.say(command);
        assert_eq!(said.status, 0, "{command:?}: {}", said.stderr);
        assert_quiet(&format!("{command:?}"), &said.stdout);
        assert_quiet(&format!("{command:?}"), &said.stderr);
        if command[0] == "get" {
            fs::remove_dir_all(carol.folder().join("one")).unwrap();
        }
        let said = carol.run(command);
        assert_quiet(&format!("--json {command:?}"), &said.stdout);
        if *command == ["info", "demo:hello"] {
            // For programs nothing is lost.
            let texts: Vec<&str> =
                said.json["versions"].as_array().unwrap().iter().filter_map(|v| v["description"].as_str()).collect();
            assert_eq!(texts, [LOUD]);
        }
    }
    assert!(carol.say(&["info", "demo:hello@1.0.1"]).stdout.contains("\\u{1b}"), "it is shown for what it is");
}

#[test]
fn nothing_in_an_error_moves_the_cursor() {
    let (scene, registry, _) = Scene::with_registry();
    let blob = registry.raw("blob", b"x");
    let tree = registry.raw("tree", &raw_tree(&[("100644", LOUD.as_bytes(), blob)]));
    let mut log = registry.begin("alice", "demo:loud");
    log.release("alice", release("1.0.0", tree, 1, 1, digest_of(&[(LOUD, b"x")])));
    registry.serve("demo:loud", &log);
    let carol = scene.reader("carol", &registry);
    for command in [&["get", "demo:loud", "--to", "x"][..], &["verify", "demo:loud"], &["verify", url(&registry)]] {
        let said = carol.say(command);
        assert_eq!(said.status, 4, "{command:?}");
        assert_quiet(&format!("{command:?}"), &said.stdout);
        assert_quiet(&format!("{command:?}"), &said.stderr);
        assert_quiet(&format!("--json {command:?}"), &carol.run(command).stdout);
    }
    // Nor what was typed.
    for command in
        [&["get", LOUD][..], &["info", LOUD], &["trust", "add", "a.example", LOUD], &["registry", "fsck", LOUD], &[LOUD]]
    {
        let said = carol.say(command);
        assert!(said.status != 0);
        assert_quiet(&format!("{command:?}"), &said.stdout);
        assert_quiet(&format!("{command:?}"), &said.stderr);
        assert_quiet(&format!("--json {command:?}"), &carol.run(command).stdout);
    }
}

#[test]
fn nothing_that_a_git_server_says_moves_the_cursor() {
    let (scene, registry, _) = Scene::with_registry();
    let hook = registry.path.join("hooks/pre-receive");
    put(&hook, format!("#!/bin/sh\nprintf '%s\\n' '{LOUD}' >&2\nexit 1\n"));
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = Daemon::serve(&scene.path(""));
    let alice = scene.cast("alice");
    alice.trust(&registry, &daemon.url("registry.git"));
    put(&alice.folder().join("new/quipu.toml"), "[package]\nname = \"demo:new\"\nversion = \"1.0.0\"\n");
    alice.refused(&registry, &["publish", "new"], "refused", 8);
    let said = alice.say(&["publish", "new"]);
    assert!(said.stderr.contains("red"), "{}", said.stderr);
    assert_quiet("publish", &said.stdout);
    assert_quiet("publish", &said.stderr);
    assert_quiet("publish", &alice.run(&["publish", "new"]).stdout);
    fs::remove_file(&hook).unwrap();
    assert_eq!(alice.run(&["publish", "new"]).well().json["state"], "proposed");
}

#[test]
fn a_proposal_under_a_name_that_is_none_of_ours_says_nothing() {
    let (scene, registry, log) = Scene::with_registry();
    let mut next = log;
    next.release("alice", registry.text("1.0.1", "two\n"));
    let id = registry.propose("demo:hello", &next, 1);
    let good = layout::incoming(&package("demo:hello"), id).to_string();
    registry.delete(&good);
    let head = next.head().git_id();
    let settled = registry.settled();
    let names = [
        "refs/incoming/x".to_owned(),
        "refs/incoming/demo/latest".to_owned(),
        "refs/incoming/demo/other/tip".to_owned(),
        "refs/incoming/demo/deep/er/tip".to_owned(),
        format!("refs/incoming/Demo/Hello/{id}"),
        format!("refs/incoming/con/aux/{id}"),
        format!("refs/incoming/demo/hello/{head}"),
    ];
    for name in &names {
        registry.set(name, id);
    }
    assert!(scene.judge(&registry).is_empty());
    assert_eq!(registry.refs(), settled);
    // An object that is no commit, under a name that is right.
    let blob = registry.raw("blob", b"not a commit");
    registry.set(layout::incoming(&package("demo:hello"), blob).as_str(), blob);
    scene.refuses(&registry, "corrupt-object");
    registry.set(&good, id);
    scene.accepts(&registry);
}

#[test]
fn two_publishers_at_once_do_not_lose_each_others_work() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", PackageEntry::Allow(grant("bob", PackagePrivilege::ALL)));
    registry.serve("demo:hello", &log);
    for name in ["alice", "bob"] {
        registry.operate("olga", OperatorEntry::Allow(operator(name, &[OperatorPrivilege::Checkpoint])));
    }
    let cast = ["alice", "bob"].map(|name| (name, scene.cast(name)));
    for (_, user) in &cast {
        user.trust(&registry, url(&registry));
    }
    let (mut won, mut rounds) = (Vec::new(), 0);
    for (name, version) in [("demo:hello", "1.0.1"), ("demo:hello", "1.0.2"), ("demo:new", "1.0.0"), ("demo:hello", "1.0.3")] {
        rounds += 1;
        let children = cast.each_ref().map(|(who, user)| {
            let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n");
            put(&user.folder().join("package/quipu.toml"), manifest);
            put(&user.folder().join("package/README.md"), format!("{version} by {who}\n"));
            let mut command = user.command(&["--json", "publish", "package"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            (*who, command.spawn().unwrap())
        });
        let said = children.map(|(who, child)| (who, child.wait_with_output().unwrap()));
        let winners: Vec<&str> = said.iter().filter(|(_, output)| output.status.success()).map(|(who, _)| *who).collect();
        let all: Vec<String> =
            said.iter().map(|(who, output)| format!("{who}: {}", String::from_utf8_lossy(&output.stdout))).collect();
        assert_eq!(winners.len(), 1, "one wins {name} {version}: {all:?}");
        let (_, lost) = said.iter().find(|(_, output)| !output.status.success()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&lost.stdout).unwrap();
        let code = json["error"]["code"].as_str().unwrap();
        assert!(["conflict", "already-released", "name-taken", "unauthorized"].contains(&code), "{all:?}");
        assert_eq!(lost.status.code(), Some(8), "{all:?}");
        if matches!(code, "conflict" | "name-taken") {
            assert!(json["error"]["message"].as_str().unwrap().contains(winners[0]), "it names the winner: {all:?}");
        }
        won.push((name, version, winners[0]));
    }
    assert_eq!(won.len(), rounds);
    let carol = scene.reader("carol", &registry);
    for (at, (name, version, winner)) in won.iter().enumerate() {
        let into = format!("got-{at}");
        carol.gets(&format!("{name}@{version}"), &into);
        assert_eq!(fs::read_to_string(carol.folder().join(into).join("README.md")).unwrap(), format!("{version} by {winner}\n"));
    }
    carol.run(&["verify", url(&registry)]).well();
    scene.cast("olga").run(&["registry", "fsck", url(&registry)]).well();
    assert!(!registry.refs().contains("refs/incoming/"), "nothing is left waiting: {}", registry.refs());
}

#[test]
fn hostile_names_on_the_command_line_are_no_names() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    let references = [
        "../../etc:passwd",
        "demo:../hello",
        "demo:hello/..",
        "demo:hello@../1.0.0",
        "demo:hello@1.0.0+build",
        "demo:hello@1.0.0\n",
        "demo:hello@1.0.0;touch x",
        "DEMO:hello",
        "demo:Hello",
        "demo:hello\u{0}",
        "demo:he\u{301}llo",
        "dem\u{43e}:hello",
        "con:hello",
        "demo:aux",
        "demo:hello.git",
        "demo:.git",
        ":hello",
        "demo:",
        "demo::hello",
        "demo:hello:x",
        "acme.example/../demo:hello",
        "acme.example//demo:hello",
        "-demo:hello",
        "demo:hello#sha256:xyz",
        "demo:hello#sha1:0000000000000000000000000000000000000000",
        "refs/packages/demo/hello",
    ];
    for reference in references {
        if reference.contains('\0') {
            continue;
        }
        for command in [&["get", "--to", "x", "--", reference][..], &["info", "--", reference]] {
            let (state, refs) = (carol.state(), registry.refs());
            let said = carol.run(command);
            assert!(
                ["bad-name", "bad-version", "bad-reference", "usage"].contains(&said.code()),
                "{reference:?}: {}",
                said.stdout
            );
            assert_eq!(said.status, 2, "{reference:?}: {}", said.stdout);
            assert_eq!((carol.state(), registry.refs()), (state, refs), "{reference:?}");
        }
    }
    carol.gets("demo:hello", "twin");
}

#[test]
fn hostile_urls_start_no_program() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.user("carol");
    let witness = scene.path("witness");
    let touch = format!("touch {}", witness.display());
    let urls = [
        format!("ext::sh -c \"{touch}\""),
        format!("--upload-pack={touch}"),
        format!("-u{touch}"),
        format!("ssh://-oProxyCommand={touch}/x"),
        format!("ssh://host:-oProxyCommand={touch}/x"),
        format!("-oProxyCommand={touch}@host:x"),
        format!("user@-oProxyCommand={touch}:x"),
        format!("user@host:--upload-pack={touch}"),
        "fd::17".into(),
        "javascript:alert(1)".into(),
        "ftp://host.example/x".into(),
        format!("file://host{}", registry.path.display()),
        "https://host.example/\nx".into(),
        String::new(),
    ];
    for url in &urls {
        let state = carol.state();
        let said = carol.run(&["trust", "add", "--yes", "--", "acme.example", url]);
        assert_eq!((said.code(), said.status), ("bad-url", 2), "{url:?}: {}", said.stdout);
        assert_eq!(carol.state(), state, "{url:?}");
        // Written into the settings by somebody else.
        put(&carol.home().join("config.toml"), format!("[registries.\"acme.example\"]\nurl = {url:?}\n"));
        put(
            &carol.home().join("trust.toml"),
            format!("[[registry]]\nname = \"acme.example\"\nid = \"{}\"\nsource = \"given\"\nsince = 1\n", registry.id),
        );
        let said = carol.run(&["get", "acme.example/demo:hello", "--to", "x"]);
        assert_eq!((said.code(), said.status), ("bad-url", 2), "{url:?}: {}", said.stdout);
        fs::remove_file(carol.home().join("config.toml")).unwrap();
        fs::remove_file(carol.home().join("trust.toml")).unwrap();
        assert!(!witness.exists(), "{url:?} ran a program");
    }
    let file = format!("file://{}", registry.path.display());
    carol.trust(&registry, &file);
    carol.gets("acme.example/demo:hello", "twin");
}

#[test]
fn a_folder_that_is_there_is_not_written_over() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    put(&carol.folder().join("mine/README.md"), "mine\n");
    carol.refused(&registry, &["get", "demo:hello", "--to", "mine"], "exists", 8);
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    put(&outside.join("kept"), "kept\n");
    std::os::unix::fs::symlink(&outside, carol.folder().join("link")).unwrap();
    carol.refused(&registry, &["get", "demo:hello", "--to", "link"], "exists", 8);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    carol.gets("demo:hello", "twin");
}

#[test]
fn the_configuration_of_the_repository_that_is_read_starts_nothing() {
    let (scene, registry, _) = Scene::with_registry();
    let witness = scene.path("witness");
    let script = scene.path("script");
    put(&script, format!("#!/bin/sh\ntouch {}\nexec cat\n", witness.display()));
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = script.to_str().unwrap();
    for key in ["core.fsmonitor", "core.sshCommand", "core.pager", "uploadpack.packObjectsHook", "gpg.program", "core.gitProxy"] {
        registry.git(&["config", key, program]);
    }
    for hook in ["reference-transaction", "post-update", "update", "pre-auto-gc", "post-checkout"] {
        fs::create_dir_all(registry.path.join("hooks")).unwrap();
        fs::copy(&script, registry.path.join("hooks").join(hook)).unwrap();
    }
    registry.git(&["config", "url.file:///nowhere.insteadOf", "/"]);
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "got");
    carol.run(&["info", "demo:hello"]).well();
    carol.run(&["verify", "acme.example"]).well();
    carol.run(&["verify", url(&registry)]).well();
    assert!(!witness.exists(), "a program of the repository's choice was run");
}
