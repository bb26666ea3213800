//! `quipu diff`: what two releases differ in is what stock git says, and nothing in them does anything.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use support::daemon::Daemon;
use support::{Person, World, git};

const DOMAIN: &str = "acme.example";

/// Writes a file of any bytes, and the folders above it.
fn put(world: &World, path: &str, bytes: &[u8]) {
    let path = world.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A registry with two releases that differ in all ways in which files can.
fn two_releases(format: &str) -> (World, Person, String) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, format);
    let toml = "[package]\nname = \"demo:hello\"\nversion = \"1.0.0\"\ndescription = \"Says hello\"\nlicense = \"MIT\"\n\
                links = [\"https://a.example\"]\n[dependencies]\n\"demo:a\" = \"1\"\n\"demo:b\" = \"1\"\n";
    world.write("hello/quipu.toml", toml);
    put(&world, "hello/same", b"the same\n");
    put(&world, "hello/moved", b"a text that is long enough\nto be known again\nunder another name\n");
    put(&world, "hello/picture", b"\0\x01\x02");
    put(&world, "hello/latin", b"caf\xe9\n");
    put(&world, "hello/run", b"#!/bin/sh\n");
    alice.quipu(["publish", &world.at("hello")]).ok();
    let toml = toml
        .replace("1.0.0", "1.1.0")
        .replace("Says hello", "Says hello, aloud")
        .replace("MIT", "Apache-2.0")
        .replace("\"demo:a\" = \"1\"", "\"demo:a\" = \"2\"")
        .replace("\"demo:b\"", "\"demo:c\"");
    world.write("hello/quipu.toml", &toml);
    std::fs::rename(world.path("hello/moved"), world.path("hello/there")).unwrap();
    put(&world, "hello/picture", b"\0\x01\x03\x04");
    put(&world, "hello/latin", b"caf\xe9s\n");
    put(&world, "hello/sub/new", b"new\n");
    std::fs::set_permissions(world.path("hello/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    alice.quipu(["publish", &world.at("hello")]).ok();
    (world, alice, id)
}

/// Runs `git diff` on what a registry's repository has of the two, as bytes are read that may be no text.
fn stock(world: &World, more: &[&str]) -> String {
    let contents = ["refs/contents/demo/hello:1.0.0", "refs/contents/demo/hello:1.1.0"];
    let all = ["-c", "core.abbrev=12", "diff"].iter().chain(more).chain(&contents).copied();
    git(&world.path("reg.git"), all).ok().stdout
}

#[test]
fn what_git_says_of_two_releases_is_what_is_shown() {
    for format in ["sha1", "sha256"] {
        let (world, alice, _) = two_releases(format);
        for (flags, more) in
            [(&[][..], &[][..]), (&["--stat"], &["--stat"]), (&["--binary"], &["--binary"]), (&["--unified", "0"], &["-U0"])]
        {
            let shown = alice.quipu([&["diff", "demo:hello@1.0.0", "@1.1.0"], flags].concat()).ends(1);
            let (said, patch) = shown.stdout.split_once("\n\n").unwrap();
            assert_eq!(patch, stock(&world, more), "{flags:?}");
            assert!(said.starts_with("acme.example/demo:hello@1.0.0 → acme.example/demo:hello@1.1.0\n"), "{said}");
            assert_eq!(shown.stderr, "");
        }
        for flag in ["--name-only", "--name-status"] {
            let shown = alice.quipu(["diff", "demo:hello@1.0.0", "1.1.0", flag]).ends(1);
            assert_eq!(shown.stdout, stock(&world, &[flag]), "nothing but the list");
        }
        let shown = alice.quipu(["diff", "demo:hello@1.0.0", "@1.1.0", "--", "sub", "./run", "lat"]).ends(1).stdout;
        assert_eq!(shown.matches("diff --git").count(), 2, "{shown}");
        assert!(shown.contains("b/sub/new") && shown.contains("b/run") && !shown.contains("b/latin"), "{shown}");
    }
}

#[test]
fn a_patch_makes_the_one_release_of_the_other() {
    let (world, alice, _) = two_releases("sha1");
    alice.quipu(["get", "demo:hello@1.0.0", "--to", &world.at("got")]).ok();
    // Byte for byte: latin is no UTF-8.
    let script = format!("'{}' diff demo:hello@1.0.0 @1.1.0 --binary > all.patch", env!("CARGO_BIN_EXE_quipu"));
    let mut shell = support::clean("sh", &alice.home);
    let made = support::run(shell.env("QUIPU_HOME", &alice.home).current_dir(world.root()).args(["-c", &script]));
    assert_eq!(made.status, 1, "{made:?}");
    git(&world.path("got"), ["init", "-q"]).ok();
    git(&world.path("got"), ["apply", &world.at("all.patch")]).ok();
    std::fs::remove_dir_all(world.path("got/.git")).unwrap();
    let same = alice.quipu(["diff", "demo:hello@1.1.0", "./got"]).ok().stdout;
    assert!(same.contains("files      the same"), "{same}");
}

#[test]
fn what_is_said_of_releases_comes_before_what_is_in_them() {
    let (_world, alice, _) = two_releases("sha1");
    let shown = alice.quipu(["diff", "demo:hello"]).ends(1).stdout;
    for line in [
        "  signed by  = alice SHA256:",
        "  about      - Says hello\n             + Says hello, aloud\n",
        "  license    - MIT\n             + Apache-2.0\n",
        "  needs      - demo:a ^1\n             + demo:a ^2\n             - demo:b ^1\n             + demo:c ^1\n",
        "  files      2 added, 1 deleted, 3 modified, 1 with another mode\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("link "), "what is the same is not shown: {shown}");
    let json = alice.quipu(["diff", "demo:hello", "--json"]).ends(1).json();
    assert_eq!(json["same"], false);
    assert_eq!(json["changed"], json!(["description", "license", "dependencies", "contents"]));
    assert_eq!((&json["from"]["version"], &json["to"]["version"]), (&json!("1.0.0"), &json!("1.1.0")));
    let states = |key: &str, name: &str| -> Vec<String> {
        let all = json[key].as_array().unwrap();
        all.iter().map(|one| format!("{} {}", one[name].as_str().unwrap(), one["status"].as_str().unwrap())).collect()
    };
    assert_eq!(states("dependencies", "name"), ["demo:a changed", "demo:b removed", "demo:c added"]);
    let files = [
        "latin modified",
        "moved deleted",
        "picture modified",
        "quipu.toml modified",
        "run mode",
        "sub/new added",
        "there added",
    ];
    assert_eq!(states("files", "path"), files);
    let run = &json["files"][4];
    assert_eq!((&run["old"]["executable"], &run["new"]["executable"]), (&json!(false), &json!(true)));
    assert_eq!(run["old"]["digest"], run["new"]["digest"]);
    assert!(json.get("patch").is_none(), "a patch is for who asks for it");
    let json = alice.quipu(["diff", "demo:hello", "--json", "--patch"]).ends(1).json();
    assert_eq!((&json["patch"], &json["patch-omitted"]), (&Value::Null, &json!("not-utf-8")));
    let json = alice.quipu(["diff", "demo:hello", "--json", "--patch", "--", "sub"]).ends(1).json();
    assert!(json["patch"].as_str().unwrap().ends_with("@@ -0,0 +1 @@\n+new\n"), "{json}");
}

#[test]
fn nothing_in_a_release_or_in_ones_own_git_runs_or_hides_anything() {
    let (world, alice, _) = two_releases("sha1");
    let evil = world.write("evil", "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n");
    std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o755)).unwrap();
    let evil = evil.display();
    let config = format!(
        "[diff]\n external = {evil}\n noprefix = true\n[diff \"evil\"]\n command = {evil}\n textconv = {evil}\n[core]\n pager = {evil}\n\
         [pager]\n diff = {evil}\n[filter \"evil\"]\n smudge = {evil}\n clean = {evil}\n"
    );
    std::fs::write(alice.home.join(".gitconfig"), config).unwrap();
    std::fs::create_dir_all(alice.home.join(".config/git")).unwrap();
    std::fs::write(alice.home.join(".config/git/attributes"), "* diff=evil filter=evil\nlatin -diff\n").unwrap();
    let alice = alice.with("GIT_EXTERNAL_DIFF", evil.to_string()).with("GIT_PAGER", evil.to_string());
    let expected = stock(&world, &[]);
    let shown = alice.quipu(["diff", "demo:hello"]).ends(1).stdout;
    assert!(shown.ends_with(&expected), "{shown}");
    // A release that would hide what it changes, and that speaks to a terminal.
    world.write("hello/.gitattributes", "* -diff\nlatin diff=evil filter=evil\n");
    world.write("hello/latin", "mine\u{1b}[2J\r\u{202e}\n");
    let shown = alice.quipu(["diff", "demo:hello", &world.at("hello")]).ends(1).stdout;
    assert!(shown.contains("+* -diff\n") && shown.contains("+mine\u{1b}[2J\r\u{202e}\n"), "bytes for a program: {shown}");
    let shown = alice.quipu(["diff", "demo:hello", &world.at("hello"), "--color=always"]).ends(1).stdout;
    assert!(shown.contains("\u{1b}[32m+mine\\u{1b}[2J\\u{d}\\u{202e}\u{1b}[0m\n"), "text for a person: {shown}");
    assert!(!world.path("ran").exists());
}

#[test]
fn a_folder_is_compared_as_it_would_be_published() {
    let (world, alice, _) = two_releases("sha1");
    let here = alice.within(world.path("hello"));
    let same = here.quipu(["diff"]).ok().stdout;
    assert!(
        same.contains("demo:hello@1.1.0 in .\n") && same.contains("note: acme.example/demo:hello@1.1.0 was released"),
        "{same}"
    );
    let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
    world.write("hello/quipu.toml", &toml.replace("version = \"1.1.0\"", "version = \"1.2.0\"\nexclude = [\"*.log\"]"));
    world.write("hello/debug.log", "noise\n");
    world.write("hello/more", "more\n");
    let json = alice.quipu(["diff", &world.at("hello"), "--json"]).ends(1).json();
    let paths: Vec<&str> = json["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["more", "quipu.toml"]);
    assert_eq!((&json["to"]["record"], &json["to"]["folder"]), (&Value::Null, &json!(world.at("hello"))));
    // What would be published is what is published.
    let content = json["to"]["content"].clone();
    assert_eq!(alice.asks(["publish", &world.at("hello")])["content"], content);
    let back = alice.quipu(["diff", &world.at("hello"), "@1.1.0", "--name-status"]).ends(1);
    assert_eq!(back.stdout, "D\tmore\nM\tquipu.toml\n");
    assert!(back.stderr.contains("warning: acme.example/demo:hello@1.2.0 was released at seq 3"), "{}", back.stderr);
}

#[test]
fn releases_of_two_registries_and_two_formats_are_compared() {
    let (world, alice, _) = two_releases("sha1");
    world.registry(&alice, "other.git", "other.example", "sha256");
    alice.quipu(["publish", &world.at("hello"), "--registry", "other.example"]).ok();
    let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
    let same = alice.quipu(["diff", "demo:hello", "other.example/demo:hello"]).ends(1).stdout;
    // What they need is of two registries.
    assert!(same.contains("- acme.example/demo:a ^2\n") && same.contains("+ other.example/demo:a ^2\n"), "{same}");
    assert!(same.contains("files      the same") && same.contains("note: they are of two logs"), "{same}");
    world.write("hello/quipu.toml", toml.split("[dependencies]").next().unwrap());
    for (registry, version) in [(DOMAIN, "1.1.1"), ("other.example", "1.1.1")] {
        let toml = std::fs::read_to_string(world.path("hello/quipu.toml")).unwrap();
        world.write("hello/quipu.toml", &toml.replace("1.1.0", version));
        alice.quipu(["publish", &world.at("hello"), "--registry", registry]).ok();
    }
    alice.quipu(["diff", "demo:hello", "other.example/demo:hello"]).ok();
    let shown = alice.quipu(["diff", "demo:hello@1.0.0", "other.example/demo:hello", "--", "sub"]).ends(1).stdout;
    assert!(shown.contains("+++ b/sub/new\n@@ -0,0 +1 @@\n+new\n"), "{shown}");
}

#[test]
fn over_the_network_and_without_it_the_answer_is_the_same() {
    let (world, alice, id) = two_releases("sha1");
    let daemon = Daemon::serve_read_only(&world.root());
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let reference = format!("{DOMAIN}/demo:hello");
    bob.quipu(["diff", &reference, "--offline", "--json"]).fails(7, "network");
    let shown = bob.quipu(["diff", &reference]).ends(1).stdout;
    assert_eq!(shown, alice.quipu(["diff", &reference]).ends(1).stdout);
    drop(daemon);
    assert_eq!(bob.quipu(["diff", &reference, "--offline"]).ends(1).stdout, shown);
}

#[test]
fn what_became_of_a_release_is_said() {
    let (_world, alice, _) = two_releases("sha1");
    alice.quipu(["yank", "demo:hello@1.0.0", "--reason", "it\nshouts"]).ok();
    let shown = alice.quipu(["diff", "demo:hello@1.0.0", "@1.1.0", "--stat"]).ends(1).stdout;
    assert!(shown.contains("  note: acme.example/demo:hello@1.0.0 is yanked: it\\u{a}shouts\n"), "{shown}");
    let json = alice.quipu(["diff", "demo:hello@1.0.0", "@1.1.0", "--json"]).ends(1).json();
    assert_eq!((&json["from"]["yanked"], &json["to"]["yanked"]), (&json!("it\nshouts"), &Value::Null));
    assert_eq!(alice.quipu(["diff", "demo:hello", "--quiet"]).ends(1).stdout, "");
}

#[test]
fn what_cannot_be_compared_is_answered_with_what_can() {
    let (world, alice, _) = two_releases("sha1");
    world.package("new", "demo:brand-new", "1.0.0");
    for (line, status, code, word) in [
        ("diff @1.0.0", 2, "bad-reference", "the package stands first"),
        ("diff demo:hello@1.0.0", 3, "not-found", "has no release before 1.0.0"),
        ("diff demo:hello@1.0.0 @1.5.0", 3, "not-found", "the newest are 1.1.0"),
        ("diff demo:hello@1.0.0 @latest", 2, "bad-version", "1.4.0"),
        ("diff demo:hello demo:helo", 3, "not-found", "did you mean demo:hello"),
        ("diff demo:hello hello", 2, "bad-name", "for the folder: quipu diff ./hello"),
        ("diff ./new", 3, "not-found", "nothing of it is published"),
        ("diff ./hello ./hello", 2, "usage", "git diff --no-index"),
        ("diff ./homes demo:hello", 2, "bad-manifest", "quipu new"),
        ("diff", 2, "bad-manifest", "quipu diff NAMESPACE:NAME@VERSION"),
        ("diff demo:hello --stat --name-only", 2, "usage", "cannot be used with"),
        ("diff demo:hello@1.0.0 nobody.example/demo:hello", 5, "not-trusted", "quipu trust add nobody.example"),
    ] {
        let message = alice.quipu(line.split(' ').chain(["--json"])).fails(status, code);
        assert!(message.contains(word), "{line}: {message}");
    }
    let other = format!("demo:hello@1.1.0#sha256:{}", "0".repeat(64));
    alice.quipu(["diff", "demo:hello@1.0.0", &other, "--json"]).fails(4, "anchor-mismatch");
    drop(world);
}

#[test]
fn a_large_difference_goes_through() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    world.registry(&alice, "reg.git", DOMAIN, "sha1");
    let folder = world.package("large", "demo:large", "1.0.0");
    put(&world, "large/text", "0123456789abcdef\n".repeat(1_100_000).as_bytes());
    alice.quipu(["publish", &folder]).ok();
    world.package("large", "demo:large", "1.1.0");
    put(&world, "large/text", "fedcba9876543210\n".repeat(1_100_000).as_bytes());
    let json = alice.quipu(["diff", &folder, "--json", "--patch"]).ends(1).json();
    assert_eq!((&json["patch"], &json["patch-omitted"]), (&Value::Null, &json!("too-large")));
    let shown = alice.quipu(["diff", &folder, "--name-only"]).ends(1).stdout;
    assert_eq!(shown, "quipu.toml\nsrc/text\ntext\n");
    let shown = alice.quipu(["diff", &folder]).ends(1).stdout;
    assert_eq!(shown.matches("+fedcba9876543210\n").count(), 1_100_000);
}
