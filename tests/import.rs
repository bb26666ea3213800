//! Packages of other registries come in at once: by a stated rule, by the law, and as often as one likes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use quipu::disk::keys::KeyFile;
use quipu::git::store::Store;
use quipu::model::entry::{OperatorEntry, Policy};
use quipu::model::key::KeyCache;
use quipu::model::time::Timestamp;
use quipu::replica::author::Author;
use quipu::replica::standing::change_operators;
use serde_json::Value;
use std::time::Duration;
use support::{Person, World, clean, git, run};

const DOMAIN: &str = "acme.example";

/// A registry whose operator is Alice.
fn registry(format: &str) -> (World, Person) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    world.registry(&alice, "reg.git", DOMAIN, format);
    (world, alice)
}

fn import(alice: &Person, status: i32) -> Value {
    alice.quipu(["registry", "import", "reg.git", "--from", "packages", "--json"]).ends(status).json()
}

fn manifest(name: &str, version: &str, more: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n{more}")
}

/// Returns what an answer lists as left out: place and code.
fn left_out(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["left-out"].as_array().unwrap().iter().map(|left| (text(&left["place"]), text(&left["error"]["code"]))).collect()
}

/// Returns what an answer lists as refused: package, version, code.
fn refused(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = answer["refused"].as_array().unwrap().iter();
    list.map(|it| format!("{}@{} {}", text(&it["package"]), text(&it["version"]), text(&it["error"]["code"]))).collect()
}

fn assert_sound(world: &World, alice: &Person) {
    alice.quipu(["registry", "fsck", "reg.git"]).ok();
    alice.quipu(["verify", "./reg.git"]).ok();
    let fsck = git(&world.path("reg.git"), ["fsck", "--strict", "--no-dangling", "--no-progress"]).ok();
    assert_eq!((fsck.stdout.as_str(), fsck.stderr.as_str()), ("", ""));
}

#[test]
fn folders_and_single_files_become_releases_that_stock_git_and_quipu_read() {
    for format in ["sha1", "sha256"] {
        let (world, alice) = registry(format);
        world.write("packages/wasi/http/0.10.0/wit/types.wit", "ten\n");
        world.write("packages/wasi/http/0.9.0/wit/types.wit", "nine\n");
        let said =
            manifest("wasi:http", "0.11.0", "description = \"HTTP\"\nlicense = \"MIT\"\n[dependencies]\n\"wasi:io\" = \"^1\"\n");
        world.write("packages/wasi/http/0.11.0/quipu.toml", &said);
        world.write("packages/wasi/io/1.0.0.wasm", "\0asm");
        let answer = import(&alice, 0);
        assert_eq!((&answer["released"], &answer["new"], &answer["checkpoints"]), (&4.into(), &2.into(), &1.into()));
        assert_sound(&world, &alice);

        // In the order of SemVer, which is not that of the alphabet.
        let log = git(&world.path("reg.git"), ["log", "--reverse", "--format=%s", "refs/packages/wasi/http"]).ok();
        let lines: Vec<&str> = log.stdout.lines().collect();
        assert_eq!(lines, ["init wasi:http", "release wasi:http 0.9.0", "release wasi:http 0.10.0", "release wasi:http 0.11.0"]);
        let names = git(&world.path("reg.git"), ["for-each-ref", "--format=%(refname)", "refs/packages", "refs/contents"]).ok();
        let mut names: Vec<&str> = names.stdout.lines().collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["refs/contents/wasi/http", "refs/contents/wasi/io", "refs/packages/wasi/http", "refs/packages/wasi/io"]
        );

        alice.quipu(["get", "wasi:io@1.0.0", "--to", "io"]).ok();
        assert_eq!(std::fs::read(world.path("io/io.wasm")).unwrap(), b"\0asm");
        let info = alice.asks(["info", "wasi:http@0.11.0"]).to_string();
        assert!(info.contains("\"HTTP\"") && info.contains("\"MIT\"") && info.contains("wasi:io"), "{info}");
        // And it goes on as any other package.
        world.write("http/quipu.toml", &manifest("wasi:http", "1.0.0", ""));
        alice.quipu(["publish", "http"]).ok();
        assert_sound(&world, &alice);
    }
}

#[test]
fn names_are_mapped_and_what_means_one_thing_twice_is_left_out() {
    let (world, alice) = registry("sha1");
    for place in [
        "Tools/My_Tool/v1.0.0+linux",
        "a/x_y/1.0.0",
        "a/x-y/1.0.0",
        "a/twice/1.0.0",
        "a/twice/v1.0.0",
        "a/twice/2.0.0",
        "a/old/latest",
        "a/3d/1.0.0",
        "a/con/1.0.0",
        ".git/objects/1.0.0",
    ] {
        world.write(&format!("packages/{place}/text"), place);
    }
    world.write("packages/a/twice/README", "a file");
    std::fs::create_dir_all(world.path("packages/a/empty")).unwrap();
    let dry = alice.quipu(["registry", "import", "reg.git", "--from", "packages", "--json", "--dry-run"]).ends(8).json();
    let answer = import(&alice, 8);
    for list in ["mapped", "left-out", "refused", "released", "new"] {
        assert_eq!(dry[list], answer[list], "{list}");
    }
    assert_eq!((&dry["checkpoints"], &answer["released"]), (&0.into(), &2.into()));
    assert_eq!(answer["error"]["code"], "refused");
    let expected = [
        ("a/3d", "bad-name"),
        ("a/con", "bad-name"),
        ("a/empty", "bad-contents"),
        ("a/old/latest", "bad-version"),
        ("a/twice/1.0.0", "conflict"),
        ("a/twice/README", "bad-contents"),
        ("a/twice/v1.0.0", "conflict"),
        ("a/x-y", "conflict"),
        ("a/x_y", "conflict"),
    ];
    assert_eq!(left_out(&answer), expected.map(|(place, code)| (place.to_owned(), code.to_owned())));
    let mapped = answer["mapped"].to_string();
    assert!(mapped.contains("\"Tools/My_Tool\",\"to\":\"tools:my-tool\""), "{mapped}");
    assert!(mapped.contains("\"Tools/My_Tool/v1.0.0+linux\",\"to\":\"tools:my-tool@1.0.0\""), "{mapped}");
    let info = alice.asks(["info", "tools:my-tool@1.0.0"]).to_string();
    assert!(info.contains("\"linux\""), "{info}");
    assert_sound(&world, &alice);
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_and_names_that_are_no_text_are_left_out() {
    use std::os::unix::ffi::OsStrExt as _;
    let (world, alice) = registry("sha1");
    world.write("secret/1.0.0/text", "mine");
    world.write("packages/a/b/1.0.0/text", "one");
    world.write("packages/a/inner/1.0.0/text", "two");
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(world.path(to), world.path(from)).unwrap();
    link("secret", "packages/a/linked");
    link("packages/a", "packages/n");
    link("secret/1.0.0", "packages/a/b/2.0.0");
    link("secret/1.0.0/text", "packages/a/b/3.0.0.wasm");
    link("secret/1.0.0/text", "packages/a/inner/1.0.0/text2");
    std::fs::create_dir(world.path("packages/a").join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
    let answer = import(&alice, 8);
    let places: Vec<String> = left_out(&answer).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["a/b/2.0.0", "a/b/3.0.0.wasm", "a/linked", "a/\u{fffd}", "n"]);
    assert_eq!(refused(&answer), ["a:inner@1.0.0 bad-contents"]);
    assert_eq!(answer["released"], 1);
    assert_sound(&world, &alice);
}

#[test]
fn a_second_import_takes_what_is_new_and_names_what_differs() {
    let (world, alice) = registry("sha1");
    world.write("packages/a/b/1.0.0/text", "one");
    world.write("packages/a/c/1.0.0/text", "one");
    import(&alice, 0);
    let again = import(&alice, 0);
    assert_eq!((&again["already-in"], &again["checkpoints"], &again["records"]), (&2.into(), &0.into(), &0.into()));
    world.write("packages/a/b/1.0.0/text", "changed");
    world.write("packages/a/b/1.1.0/text", "two");
    world.write("packages/a/d/1.0.0/text", "new");
    let third = import(&alice, 8);
    assert_eq!((&third["released"], &third["new"], &third["packages"]), (&2.into(), &1.into(), &2.into()));
    assert_eq!(refused(&third), ["a:b@1.0.0 conflict"]);
    assert_eq!(third["refused"][0]["state"], "conflict");
    alice.quipu(["get", "a:b@1.0.0", "--to", "b"]).ok();
    assert_eq!(std::fs::read(world.path("b/text")).unwrap(), b"one");
    assert_sound(&world, &alice);
}

#[test]
fn many_batches_make_as_many_checkpoints() {
    let (world, alice) = registry("sha1");
    let made = alice.asks(["registry", "import", "reg.git", "--synthetic", "50", "--batch", "8", "--shape", "skewed"]);
    assert_eq!((&made["new"], &made["checkpoints"]), (&50.into(), &7.into()));
    let again = alice.asks(["registry", "import", "reg.git", "--synthetic", "60", "--batch", "8", "--shape", "skewed"]);
    assert!(again["already-in"].as_u64().is_some_and(|there| there > 0));
    // Git may pack, and what was packed stays.
    git(&world.path("reg.git"), ["pack-refs", "--all"]).ok();
    alice.asks(["registry", "import", "reg.git", "--synthetic", "70", "--batch", "8", "--seed", "1"]);
    assert_sound(&world, &alice);
    // All packs have one index between them.
    git(&world.path("reg.git"), ["multi-pack-index", "verify"]).ok();
}

#[test]
fn a_manifest_says_what_its_place_says() {
    let (world, alice) = registry("sha1");
    world.write("packages/a/b/1.0.0/quipu.toml", &manifest("a:other", "1.0.0", ""));
    world.write("packages/a/b/2.0.0/quipu.toml", &manifest("a:b", "2.0.1", ""));
    world.write("packages/a/b/3.0.0/quipu.toml", &manifest("a:b", "3.0.0", "registry = \"other.example\"\n"));
    world.write("packages/a/b/4.0.0/quipu.toml", "no manifest");
    world.write("packages/a/b/5.0.0/quipu.toml", &manifest("a:b", "5.0.0", "exclude = [\"out\"]\n"));
    world.write("packages/a/b/5.0.0/out/left", "not in it");
    let answer = import(&alice, 8);
    let wrong = ["1.0.0", "2.0.0", "3.0.0", "4.0.0"].map(|version| format!("a:b@{version} bad-manifest"));
    assert_eq!(refused(&answer), wrong);
    alice.quipu(["get", "a:b@5.0.0", "--to", "b"]).ok();
    assert!(world.path("b/quipu.toml").exists() && !world.path("b/out").exists());
    assert_sound(&world, &alice);
}

#[test]
fn the_law_is_the_same_as_for_everybody() {
    let (world, alice) = registry("sha1");
    let bob = world.person_with_key("bob");
    world.write("packages/a/b/1.0.0/text", "one");
    // Bob is no operator: he is told at once, and nothing is written.
    let said = bob.quipu(["registry", "import", "reg.git", "--from", "packages", "--json"]).fails(8, "unauthorized");
    assert!(said.contains("may not make checkpoints") && said.contains("alice"), "{said}");
    // Bob may make checkpoints, and a package that is not his does not grow by him.
    import(&alice, 0);
    let key = bob.public_key();
    alice.quipu(["registry", "operator", "allow", "reg.git", &key, "--privilege", "checkpoint"]).ok();
    world.write("packages/a/b/1.1.0/text", "two");
    world.write("packages/b/own/1.0.0/text", "three");
    let answer = bob.quipu(["registry", "import", "reg.git", "--from", "packages", "--json"]).ends(8).json();
    assert_eq!((refused(&answer), &answer["new"]), (vec!["a:b@- unauthorized".to_owned()], &1.into()));
    assert_sound(&world, &alice);
}

#[test]
fn a_policy_that_asks_for_a_licence_refuses_what_names_none() {
    let (world, alice) = registry("sha1");
    let secret = KeyFile::open(&alice.home.join("keys/alice")).unwrap().secret().unwrap().unwrap();
    let author = Author { signer: &secret, name: "alice".parse().unwrap(), now: Timestamp::from_unix(1_750_000_000).unwrap() };
    let store = Store::open(&world.path("reg.git")).unwrap();
    let lock = store.lock(Duration::ZERO, "test").unwrap();
    let policy = Policy { license_required: true, max_release_bytes: Some(1000), ..Policy::default() };
    change_operators(&lock, &store, &author, OperatorEntry::Policy(policy), &mut KeyCache::default()).unwrap();
    drop(lock);
    world.write("packages/a/b/1.0.0/text", "no licence");
    world.write("packages/a/b/1.1.0/quipu.toml", &manifest("a:b", "1.1.0", "license = \"MIT\"\n"));
    world.write("packages/a/c/1.0.0/text", "no licence");
    world.write("packages/a/d/1.0.0.wasm", &"x".repeat(1001));
    let answer = import(&alice, 8);
    assert_eq!(refused(&answer), ["a:b@1.0.0 policy", "a:c@1.0.0 policy", "a:d@1.0.0 limit"]);
    assert_eq!((&answer["released"], &answer["new"]), (&1.into(), &1.into()));
    assert_sound(&world, &alice);
}

#[test]
fn a_package_whose_reference_is_gone_is_named_and_the_others_go_on() {
    let (world, alice) = registry("sha1");
    for package in ["b", "c", "d"] {
        world.write(&format!("packages/a/{package}/1.0.0/text"), package);
    }
    import(&alice, 0);
    let name = "refs/packages/a/c";
    let head = git(&world.path("reg.git"), ["rev-parse", name]).ok().stdout.trim().to_owned();
    git(&world.path("reg.git"), ["update-ref", "-d", name]).ok();
    for package in ["b", "c", "e"] {
        world.write(&format!("packages/a/{package}/1.1.0/text"), package);
    }
    let dry = alice.quipu(["registry", "import", "reg.git", "--from", "packages", "--json", "--dry-run"]).ends(8).json();
    let answer = import(&alice, 8);
    assert_eq!((refused(&dry), refused(&answer)), (vec!["a:c@- ref-missing".to_owned()], vec!["a:c@- ref-missing".to_owned()]));
    assert_eq!((&answer["released"], &answer["new"], &answer["already-in"]), (&2.into(), &1.into(), &2.into()));
    let why = &answer["refused"][0]["error"];
    assert!(why["message"].as_str().unwrap().contains(&head) && why["hint"].as_str().unwrap().contains(name), "{why}");
    // The map still holds it where it was, and with its reference back it goes on.
    let fsck = alice.quipu(["registry", "fsck", "reg.git", "--json"]);
    assert!(fsck.stdout.contains("ref-missing"), "{}", fsck.stdout);
    git(&world.path("reg.git"), ["update-ref", name, &head]).ok();
    assert_eq!(import(&alice, 0)["released"], 1);
    assert_sound(&world, &alice);
}

#[test]
fn a_wrong_folder_is_named() {
    let (world, alice) = registry("sha1");
    let from = |folder: &str| alice.quipu(["registry", "import", "reg.git", "--from", folder, "--json"]);
    from("nowhere").fails(3, "not-found");
    std::fs::create_dir(world.path("empty")).unwrap();
    let said = from("empty").fails(3, "not-found");
    assert!(said.contains("NAMESPACE/NAME/VERSION"), "{said}");
    world.write("file", "text");
    from("file").fails(2, "usage");
    let said = alice.quipu(["registry", "import", "reg.git", "--json"]).fails(2, "usage");
    assert!(said.contains("--from"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_key_in_an_agent_signs_everything_and_is_asked_for_one_thing_at_a_time() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let key = world.at("enc");
    run(clean("ssh-keygen", &world.root()).args(["-q", "-t", "ed25519", "-N", "secret", "-C", "alice", "-f", &key])).ok();
    let agent = support::agent::Agent::start(&world);
    agent.load(&world, &key);
    // Stands before ssh-keygen, and notes where another one is at it: a person is asked one thing at a time, and so is a device.
    let path = std::env::var("PATH").unwrap();
    let script = format!(
        "#!/bin/sh\nmkdir '{0}' 2>/dev/null || touch '{1}'\nPATH='{path}' ssh-keygen \"$@\"\nend=$?\nrmdir '{0}'\necho >> '{2}'\nexit $end\n",
        world.at("busy"),
        world.at("two-at-once"),
        world.at("signed")
    );
    let program = world.write("bin/ssh-keygen", &script);
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let alice = world.person("alice").with("SSH_AUTH_SOCK", &agent.socket).with("QUIPU_KEY", &key);
    let alice = alice.with("PATH", format!("{}:{path}", world.at("bin")));
    world.registry(&alice, "reg.git", DOMAIN, "sha1");
    for package in 0..20 {
        for version in ["1.0.0", "1.1.0"] {
            world.write(&format!("packages/a/p{package}/{version}/text"), version);
        }
    }
    std::fs::remove_file(world.path("signed")).unwrap();
    let answer = import(&alice, 0);
    assert_eq!((&answer["new"], &answer["records"]), (&20.into(), &60.into()));
    let signed = std::fs::read_to_string(world.path("signed")).unwrap().lines().count();
    assert!(signed >= 61, "{signed}");
    assert!(!world.path("two-at-once").exists(), "two programs signed at once");
    assert_sound(&world, &alice);

    // An agent that is gone ends it with its reason, and what was there stays.
    for package in 0..40 {
        world.write(&format!("packages/b/late-{package}/1.0.0/text"), "late");
    }
    drop(agent);
    std::fs::remove_file(world.path("signed")).unwrap();
    let said = alice.quipu(["registry", "import", "reg.git", "--from", "packages", "--json"]).fails(7, "git");
    assert!(said.contains("ssh-keygen could not sign"), "{said}");
    // Nobody is asked forty times.
    let asked = std::fs::read_to_string(world.path("signed")).unwrap().lines().count();
    assert!((1..8).contains(&asked), "{asked}");
    assert_sound(&world, &alice);
}
