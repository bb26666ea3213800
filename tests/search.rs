//! `quipu search`: what is found, what it costs, and what is said of what was not looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use support::daemon::Daemon;
use support::relay::Relay;
use support::{Person, World, git};

const DOMAIN: &str = "acme.example";

/// Publishes a package that says what it is.
fn publish(world: &World, person: &Person, name: &str, description: &str) {
    let text = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"{description}\"\nlicense = \"MIT\"\n");
    world.write("published/quipu.toml", &text);
    person.quipu(["publish", &world.at("published")]).ok();
}

/// A registry of a few packages, whose operator is Alice.
fn few(format: &str) -> (World, Person, String) {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, format);
    for (name, description) in [
        ("web:http", "Requests and answers"),
        ("web:http-types", "What requests are made of"),
        ("web:server", "Answers HTTP requests"),
        ("time:clock", "Tells the time"),
    ] {
        publish(&world, &alice, name, description);
    }
    (world, alice, id)
}

/// Returns the full names of what is found.
fn names(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| format!("{}/{}", hit["registry"].as_str().unwrap(), hit["package"].as_str().unwrap())).collect()
}

/// Searches, and returns what is found and what is said beside it.
fn search(person: &Person, line: &str) -> (Vec<String>, Value) {
    let args: Vec<&str> = std::iter::once("search").chain(line.split_whitespace()).chain(["--json"]).collect();
    let said = person.quipu(args);
    let answer = said.json();
    let found = names(&answer);
    assert_eq!(said.status, i32::from(found.is_empty()), "{answer:#}");
    (found, answer)
}

#[test]
fn packages_are_found_by_name_and_by_what_is_said_of_them_here_and_elsewhere() {
    for format in ["sha1", "sha256"] {
        let (world, alice, id) = few(format);
        let daemon = Daemon::serve_read_only(&world.root());
        let bob = world.person("bob");
        bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
        // Descriptions are known of what was looked at.
        let (found, answer) = search(&bob, "HTTP");
        assert_eq!(found, ["acme.example/web:http", "acme.example/web:http-types"]);
        assert_eq!((&answer["complete"], &answer["registries"][0]["names"]), (&json!(true), &json!(4)));
        let first = json!({
            "registry": DOMAIN, "package": "web:http", "version": "1.0.0", "description": "Requests and answers",
            "license": "MIT", "state": "released", "renamed-to": null, "error": null,
        });
        assert_eq!(answer["hits"][0], first);
        let (found, answer) = search(&bob, "clock --offline");
        assert_eq!((found, &answer["hits"][0]["state"]), (vec!["acme.example/time:clock".to_owned()], &json!("unknown")));
        bob.quipu(["info", &format!("{DOMAIN}/web:server")]).ok();
        for person in [&alice, &bob] {
            assert_eq!(search(person, "http").0.len(), 3);
            assert_eq!(
                search(person, "requests http").0,
                ["acme.example/web:http", "acme.example/web:http-types", "acme.example/web:server"]
            );
            assert_eq!(search(person, "web:ser").0, ["acme.example/web:server"]);
            assert_eq!(search(person, "acme.example/time:").0, ["acme.example/time:clock"]);
            assert_eq!(search(person, "").0.len(), 4);
            assert_eq!(search(person, "requests clock").0, [""; 0]);
            assert_eq!(search(person, "web: time:").0, [""; 0]);
        }
        assert_eq!(search(&alice, "tells").0, ["acme.example/time:clock"]);
        drop(daemon);
        // Without the network: what is kept.
        let (found, answer) = search(&bob, "http --offline");
        assert_eq!((found.len(), &answer["complete"]), (3, &json!(true)));
        assert_eq!(answer["hits"][0], first);
    }
}

#[test]
fn a_line_says_what_a_package_is_and_what_became_of_it() {
    let (world, alice, _) = few("sha1");
    publish(&world, &alice, "time:zone", &format!("{} end\\u001b[2J\\u202e", "long ".repeat(30)));
    alice.quipu(["yank", "time:clock@1.0.0"]).ok();
    let shown = alice.quipu(["search", "time:"]).ok();
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("acme.example/time:zone   1.0.0  long long") && lines[0].ends_with('…'), "{lines:?}");
    assert_eq!(lines[1], "acme.example/time:clock  -      (yanked) Tells the time");
    assert_eq!((lines.len(), shown.stderr.as_str()), (2, ""));
    assert!(!alice.quipu(["search", "zone", "--json"]).ok().stdout.contains('\u{1b}'));
    let (_, answer) = search(&alice, "clock");
    assert_eq!((&answer["hits"][0]["state"], &answer["hits"][0]["version"]), (&json!("yanked"), &Value::Null));
    let shown = alice.quipu(["search", "web:", "-n", "2"]).ok();
    assert_eq!(shown.stdout.lines().count(), 2);
    assert_eq!(shown.stderr, "note: the best 2 of 3 packages are shown; more: --limit NUMBER\n");
    let nothing = alice.quipu(["search", "nothing", "at", "all"]).ends(1);
    assert_eq!((nothing.stdout.as_str(), nothing.stderr.as_str()), ("", "note: nothing was found\n"));
    assert_eq!(alice.quipu(["search", "nothing", "--quiet"]).ends(1).stderr, "");
}

#[test]
fn a_registry_that_is_out_of_reach_is_named_and_the_others_are_searched() {
    let (world, alice, _) = few("sha1");
    let bob = world.person_with_key("bob");
    world.registry(&bob, "other.git", "other.example", "sha256");
    publish(&world, &bob, "web:http", "Another one");
    let daemon = Daemon::serve_read_only(&world.root());
    alice.quipu(["trust", "add", "other.example", &daemon.url("other.git"), "--yes"]).ok();
    let both = ["acme.example/web:http", "other.example/web:http"];
    assert_eq!(search(&alice, ":http -n 2").0, both, "the default registry first");
    assert_eq!(search(&alice, "other.example/http").0, both[1..]);
    assert_eq!(search(&alice, "http --registry other.example").0, both[1..]);
    drop(daemon);
    let (found, answer) = search(&alice, ":http -n 2");
    assert_eq!((found.as_slice(), &answer["complete"]), (&both.map(str::to_owned)[..], &json!(false)));
    assert_eq!((&answer["registries"][1]["error"]["code"], &answer["registries"][0]["error"]), (&json!("network"), &Value::Null));
    let shown = alice.quipu(["search", "web:http"]).ok();
    assert!(shown.stderr.contains("warning: other.example could not be searched: "), "{}", shown.stderr);
    assert!(shown.stderr.contains("note: of other.example what is kept here was searched: 1 of 1 names\n"), "{}", shown.stderr);
    // One of which nothing is kept.
    std::fs::remove_dir_all(alice.home.join("cache")).unwrap();
    let (found, answer) = search(&alice, "http");
    assert_eq!((found.len(), &answer["registries"][1]["packages"]), (3, &Value::Null));
    let message = alice.quipu(["search", "other.example/http", "--json"]).fails(7, "network");
    assert!(message.starts_with("other.example: "), "{message}");
    std::fs::rename(world.path("reg.git"), world.path("away.git")).unwrap();
    let message = alice.quipu(["search", "http", "--json"]).fails(3, "not-found");
    assert!(message.contains("acme.example: ") && message.contains("other.example: "), "{message}");
}

#[test]
fn packages_for_which_a_registry_is_not_trusted_are_no_answers() {
    let (world, _, id) = few("sha1");
    let bob = world.person("bob");
    bob.quipu(["trust", "add", DOMAIN, &world.at("reg.git"), "--id", &id, "--only", "time:*"]).ok();
    let (found, answer) = search(&bob, "");
    assert_eq!((found, &answer["matches"]), (vec!["acme.example/time:clock".to_owned()], &json!(1)));
    bob.quipu(["diff", "acme.example/web:http", "acme.example/time:clock", "--json"]).fails(5, "not-trusted");
}

#[test]
fn a_registry_that_lies_is_not_overlooked() {
    let (world, alice, _) = few("sha1");
    // A log is withheld: the map names it.
    let head = git(&world.path("reg.git"), ["rev-parse", "refs/packages/web/server"]).ok().stdout;
    std::fs::remove_file(world.path("reg.git/objects").join(&head[..2]).join(head[2..].trim_end())).unwrap();
    let said = alice.quipu(["search", "web:", "--json"]).ends(4).json();
    assert_eq!(said["error"]["code"], "ref-missing");
    let states: Vec<&str> = said["hits"].as_array().unwrap().iter().map(|hit| hit["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["released", "released", "faulty"]);
    // The registry goes back behind what was seen of it.
    git(&world.path("reg.git"), ["update-ref", "refs/registry/log", "refs/registry/log~1"]).ok();
    let bob = world.person_with_key("bob");
    world.registry(&bob, "other.git", "other.example", "sha1");
    alice.quipu(["trust", "add", "other.example", &world.at("other.git"), "--yes"]).ok();
    alice.quipu(["search", "web:", "--json"]).fails(4, "rollback");
}

#[test]
fn a_large_registry_is_not_fetched_for_a_search_unless_that_is_said() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["registry", "import", "reg.git", "--synthetic", "12000", "--shape", "skewed", "--files", "none"]).ok();
    let daemon = Daemon::serve_read_only(&world.root());
    let relay = Relay::to(daemon.port());
    let bob = world.person("bob");
    bob.trust(DOMAIN, &relay.url("reg.git"), &id);
    relay.spent();
    let (found, answer) = search(&bob, "package-000001");
    let (_, bytes) = relay.spent();
    assert!(bytes < 32 * 1024 && found.len() < 20, "{bytes} bytes for {found:?}");
    assert_eq!((&answer["complete"], &answer["registries"][0]["packages"]), (&json!(false), &json!(12000)));
    let shown = bob.quipu(["search", "package-000001"]);
    assert!(shown.stderr.contains("of 12000 names were searched, those that are kept here\n"), "{}", shown.stderr);
    assert!(shown.stderr.contains("KiB, and keep them: quipu search package-000001 --all\n"), "{}", shown.stderr);
    // A namespace is one subtree.
    relay.spent();
    let (found, answer) = search(&bob, "load-010:package-00000");
    let (_, bytes) = relay.spent();
    assert_eq!((found.len(), &answer["complete"], &answer["matches"]), (10, &json!(true), &json!(10)));
    assert!(bytes < 64 * 1024, "{bytes} bytes for a namespace");
    let (found, answer) = search(&bob, "absent-namespace:");
    assert_eq!((found.len(), &answer["complete"]), (0, &json!(true)), "that there is none is proven");
    // All names, once.
    relay.spent();
    let (found, answer) = search(&bob, ":package-000001 --all -n 1000");
    let (_, bytes) = relay.spent();
    assert!(found.len() > 100 && bytes > 200_000, "{bytes} bytes");
    assert_eq!((&answer["complete"], &answer["registries"][0]["names"]), (&json!(true), &json!(12000)));
    let fetched = answer["registries"][0]["fetched"].as_u64().unwrap();
    assert!(fetched > 200_000 && fetched <= bytes, "{fetched} of {bytes} bytes");
    let (again, answer) = search(&bob, ":package-000001 -n 1000");
    let (_, bytes) = relay.spent();
    assert!(bytes < 32 * 1024, "{bytes} bytes for what is kept");
    assert_eq!((again, &answer["complete"]), (found.clone(), &json!(true)));
    // Of what changed since then only that comes.
    publish(&world, &alice, "load-999:package-000001-new", "New");
    let (after, answer) = search(&bob, ":package-000001 -n 1000");
    let (_, bytes) = relay.spent();
    assert!(bytes < 64 * 1024, "{bytes} bytes for what is new");
    assert_eq!((after.len(), &answer["complete"]), (found.len() + 1, &json!(true)));
    drop(daemon);
    let (kept, _) = search(&bob, ":package-000001 -n 1000 --offline");
    assert_eq!(kept, after);
    // Whoever has the repository has all of it.
    assert_eq!(search(&alice, ":package-000001 -n 1000").0, after);
}
