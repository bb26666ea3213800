//! A registry that has mirrors: one that is out of reach, old or wrong is passed over and named, and two histories are an error wherever they are.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::{Daemon, free_port};
use support::relay::{Mood, Relay};
use support::{Person, World, folders, git};

const DOMAIN: &str = "acme.example";

/// Adds mirrors to what somebody has set for the registry.
fn mirrors(person: &Person, urls: &[&str]) {
    let path = person.home.join("config.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    assert!(text.trim_end().ends_with('"') && text.contains("[registries.\"acme.example\"]"), "{text}");
    text.push_str(&format!("mirrors = {urls:?}\n"));
    std::fs::write(path, text).unwrap();
}

/// Makes a registry with one package, two mirrors of it, one of them behind by a version, and the URL of a place where there is none.
fn scene(world: &World) -> (Person, String, Daemon, String) {
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    git(&world.root(), ["clone", "-q", "--mirror", "reg.git", "old.git"]).ok();
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.1.0")]).ok();
    git(&world.root(), ["clone", "-q", "--mirror", "reg.git", "mirror.git"]).ok();
    let daemon = Daemon::serve(&world.root());
    (alice, id, daemon, format!("git://127.0.0.1:{}/reg.git", free_port()))
}

#[test]
fn a_mirror_answers_where_the_registry_cannot_and_that_is_said() {
    let world = World::new();
    let (_, id, daemon, nowhere) = scene(&world);
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let config = bob.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&daemon.url("reg.git"), &nowhere)).unwrap();
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/0"), "--json"]).fails(7, "network");
    // One that is out of reach as well, one that lies behind what was seen, one that is no registry, and one that is right.
    mirrors(
        &bob,
        &[
            &format!("git://127.0.0.1:{}/x.git", free_port()),
            &daemon.url("old.git"),
            &daemon.url("none.git"),
            &daemon.url("mirror.git"),
        ],
    );
    let got = bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    folders::assert_same(&world.path("got/1"), &world.path("hello"));
    for (place, word) in [(nowhere.as_str(), "cannot be reached"), ("old.git", "behind"), ("none.git", "not-found")] {
        let said = got.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(place) && line.contains(word));
        assert!(said, "{place} {word}: {}", got.stderr);
    }
    let note = format!("note: {} answers for acme.example instead", daemon.url("mirror.git"));
    assert!(got.stderr.contains(&note), "{}", got.stderr);
    // Nobody is told where all is as it should be.
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace(&nowhere, &daemon.url("reg.git"))).unwrap();
    let got = bob.quipu(["get", "demo:hello", "--to", &world.at("got/2")]).ok();
    assert_eq!(got.stderr, "");
    // Where nobody answers, the registry's own failure is the answer.
    drop(daemon);
    let failed = bob.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--json"]);
    assert!(failed.fails(7, "network").contains("reg.git cannot be reached"), "{}", failed.stdout);
    assert!(failed.json()["error"]["hints"].to_string().contains("mirror.git did not answer either"), "{}", failed.stdout);
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--offline"]).ok();
}

#[test]
fn two_histories_are_an_error_also_where_a_mirror_has_the_right_one() {
    let world = World::new();
    let (alice, id, daemon, _) = scene(&world);
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    mirrors(&bob, &[&daemon.url("mirror.git")]);
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    // The operator goes back and publishes something else under the same number.
    for name in ["refs/registry/log", "refs/packages/demo/hello", "refs/contents/demo/hello"] {
        let old = git(&world.path("old.git"), ["rev-parse", name]).ok().stdout;
        git(&world.path("reg.git"), ["update-ref", name, old.trim()]).ok();
    }
    alice.quipu(["trust", "remove", DOMAIN]).ok();
    alice.trust(DOMAIN, &world.at("reg.git"), &id);
    alice.quipu(["publish", &world.package("other", "demo:other", "1.0.0")]).ok();
    let failed = bob.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--json"]);
    failed.fails(4, "fork");
    assert!(failed.json()["error"]["hint"].as_str().unwrap().contains("kept in"), "{}", failed.stdout);
    assert!(!world.path("got/2").exists());
}

#[test]
fn what_is_published_goes_to_the_registry_itself() {
    let world = World::new();
    let (_, id, daemon, nowhere) = scene(&world);
    let bob = world.person_with_key("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    let config = bob.home.join("config.toml");
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace(&daemon.url("reg.git"), &nowhere)).unwrap();
    mirrors(&bob, &[&daemon.url("mirror.git")]);
    bob.quipu(["publish", &world.package("mine", "bob:mine", "1.0.0"), "--json"]).fails(7, "network");
    assert_eq!(git(&world.path("mirror.git"), ["for-each-ref", "refs/incoming"]).ok().stdout, "");
}

/// Returns what was said of the places of a registry: where each is, by the name of its repository, and what came of it.
fn standings(answer: &serde_json::Value) -> Vec<(String, String)> {
    let sources = answer["sources"].as_array().unwrap().iter();
    let of = |source: &serde_json::Value| {
        let name = source["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (name, source["standing"].as_str().unwrap().to_owned())
    };
    sources.map(of).collect()
}

/// Somebody for whom the registry and its mirror each stand behind a relay, and silence is given up after a second.
fn relayed(world: &World, name: &str, id: &str, daemon: &Daemon, all: &[&str]) -> (Person, Vec<Relay>) {
    let person = world.person(name);
    let relays: Vec<Relay> = all.iter().map(|_| Relay::to(daemon.port())).collect();
    let urls: Vec<String> = relays.iter().zip(all).map(|(relay, name)| relay.url(name)).collect();
    let more = urls[1..].iter().flat_map(|url| ["--mirror", url]);
    person.quipu(["trust", "add", DOMAIN, &urls[0], "--id", id].into_iter().chain(more)).ok();
    let config = person.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("timeout = 1\n{text}")).unwrap();
    (person, relays)
}

#[test]
fn whoever_is_cut_off_silent_or_slow_is_passed_over_at_whatever_point() {
    let world = World::new();
    let (_, id, daemon, _) = scene(&world);
    let (bob, relays) = relayed(&world, "bob", &id, &daemon, &["reg.git", "mirror.git"]);
    let mut at = 0;
    let mut get = || {
        at += 1;
        // Nothing is kept, so that all of it has to come.
        let _ = std::fs::remove_dir_all(bob.home.join("cache"));
        let got = bob.quipu(["get", "demo:hello", "--to", &world.at(&format!("got/{at}")), "--json"]);
        if got.status == 0 {
            folders::assert_same(&world.path(&format!("got/{at}")), &world.path("hello"));
        }
        got
    };
    // What a whole answer takes, so that it can be cut at any point.
    relays[0].spent();
    assert_eq!(standings(&get().ok().json())[0].1, "answers");
    let (_, whole) = relays[0].spent();
    for mood in [Mood::Shut, Mood::Silent] {
        relays[0].becomes(mood);
        let found = standings(&get().ok().json());
        assert!(found[0].1 != "answers" && found[1].1 == "answers", "{mood:?}: {found:?}");
    }
    for share in 1..8 {
        relays[0].becomes(Mood::CutAfter(whole * share / 8));
        get().ok();
    }
    for share in [1, 5, 7] {
        relays[0].becomes(Mood::SilentAfter(whole * share / 8));
        get().ok();
    }
    // Without the mirror it is an error, and one that says who was silent.
    relays[1].becomes(Mood::Shut);
    relays[0].becomes(Mood::Silent);
    let failed = get();
    assert!(failed.fails(7, "network").contains("nothing was heard for 1 seconds"), "{}", failed.stdout);
    // Who comes back answers again, and it does not matter what becomes of the other one.
    relays[0].becomes(Mood::Pass);
    for mood in [Mood::Shut, Mood::Silent, Mood::CutAfter(100), Mood::Pass] {
        relays[1].becomes(mood);
        assert_eq!(standings(&get().ok().json())[0].1, "answers", "{mood:?}");
    }
}

#[test]
fn all_places_are_compared_and_the_newest_counts() {
    let world = World::new();
    let (alice, id, daemon, _) = scene(&world);
    let (bob, _relays) = relayed(&world, "bob", &id, &daemon, &["reg.git", "old.git", "mirror.git"]);
    let get = |to: &str| bob.quipu(["get", "demo:hello", "--to", &world.at(to), "--json"]);
    let found = standings(&get("got/1").ok().json());
    let expected = [("reg.git", "answers"), ("old.git", "behind"), ("mirror.git", "same")];
    assert_eq!(found, expected.map(|(name, standing)| (name.to_owned(), standing.to_owned())));
    // The registry itself shows an old state to somebody who never saw another one.
    let (carol, _relays) = relayed(&world, "carol", &id, &daemon, &["old.git", "mirror.git"]);
    let got = carol.quipu(["get", "demo:hello", "--to", &world.at("got/2")]).ok();
    assert!(got.stderr.contains("old.git is behind: it has checkpoint"), "{}", got.stderr);
    assert!(got.stderr.contains("mirror.git answers for acme.example instead"), "{}", got.stderr);
    folders::assert_same(&world.path("got/2"), &world.path("hello"));
    // It shows one history to some, and another one to others: nobody has seen either, and both are kept.
    git(&world.root(), ["clone", "-q", "--mirror", "old.git", "other.git"]).ok();
    alice.quipu(["trust", "remove", DOMAIN]).ok();
    alice.trust(DOMAIN, &world.at("other.git"), &id);
    alice.quipu(["publish", &world.package("evil", "demo:evil", "1.0.0")]).ok();
    for (at, order) in [["reg.git", "other.git"], ["other.git", "reg.git"], ["mirror.git", "other.git"]].iter().enumerate() {
        let dave = world.person(&format!("dave{at}"));
        dave.trust(DOMAIN, &daemon.url(order[0]), &id);
        // What was seen of one of them would tell by itself.
        std::fs::remove_dir_all(dave.home.join("state")).unwrap();
        dave.quipu(["trust", "add", DOMAIN, &daemon.url(order[0]), "--id", &id]).ok();
        mirrors(&dave, &[&daemon.url(order[1])]);
        let failed = dave.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--json"]);
        failed.fails(4, "fork");
        let evidence = dave.home.join("state/evidence").join(id.trim_start_matches("sha256:"));
        let kept: Vec<Vec<u8>> =
            std::fs::read_dir(evidence).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert_eq!(kept.len(), 2);
        assert!(kept[0] != kept[1] && kept.iter().all(|bytes| bytes.starts_with(b"tree ")));
    }
}

#[test]
fn a_liar_is_named_and_changes_nothing() {
    let world = World::new();
    let (_, id, daemon, _) = scene(&world);
    let mallory = world.person_with_key("mallory");
    world.registry(&mallory, "fake.git", DOMAIN, "sha1");
    world.registry(&mallory, "elsewhere.git", "evil.example", "sha1");
    // One whose newest checkpoint nobody signed: its message is changed.
    git(&world.root(), ["clone", "-q", "--mirror", "reg.git", "forged.git"]).ok();
    let forged = world.path("forged.git");
    let text = git(&forged, ["cat-file", "commit", "refs/registry/log"]).ok().stdout;
    world.write("forged.txt", &text.replacen("packages = 1", "packages = 2", 1).replacen(": 1 package\n", ": 2 packages\n", 1));
    let made = git(&forged, ["hash-object", "-w", "-t", "commit", &world.at("forged.txt")]).ok().stdout;
    git(&forged, ["update-ref", "refs/registry/log", made.trim()]).ok();
    for (at, (liar, code)) in
        [("fake.git", "id-mismatch"), ("elsewhere.git", "wrong-registry"), ("forged.git", "bad-signature")].iter().enumerate()
    {
        for (turn, order) in [["reg.git", liar], [liar, "mirror.git"]].iter().enumerate() {
            let bob = world.person(&format!("bob{at}{turn}"));
            bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
            let config = bob.home.join("config.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            std::fs::write(&config, text.replace(&daemon.url("reg.git"), &daemon.url(order[0]))).unwrap();
            mirrors(&bob, &[&daemon.url(order[1])]);
            let to = format!("got/{at}{turn}");
            let got = bob.quipu(["get", "demo:hello", "--to", &world.at(&to)]).ok();
            folders::assert_same(&world.path(&to), &world.path("hello"));
            let named = got
                .stderr
                .lines()
                .any(|line| line.starts_with("warning: ") && line.contains(liar) && line.contains(&format!("[{code}]")));
            assert!(named, "{order:?} {code}: {}", got.stderr);
        }
    }
    // None of them is taken for a mirror in the first place.
    let carol = world.person("carol");
    for liar in ["fake.git", "elsewhere.git", "forged.git"] {
        let lie = daemon.url(liar);
        let failed = carol.quipu(["trust", "add", DOMAIN, &daemon.url("reg.git"), "--id", &id, "--mirror", &lie, "--json"]);
        assert!(failed.status == 4 || failed.status == 5, "{}", failed.stdout);
        assert!(!carol.home.join("trust.toml").exists());
    }
}

#[test]
fn a_registry_that_mirrors_another_answers_in_its_name() {
    let world = World::new();
    for format in ["sha1", "sha256"] {
        let root = world.path(format);
        std::fs::create_dir(&root).unwrap();
        let (alice, carol) =
            (world.person_with_key(&format!("alice-{format}")), world.person_with_key(&format!("carol-{format}")));
        let id = world.registry(&alice, &format!("{format}/reg.git"), DOMAIN, format);
        let hello = world.package(&format!("hello-{format}"), "demo:hello", "1.0.0");
        alice.quipu(["publish", &hello]).ok();
        // Carol's registry has packages of its own, one of the same name, and all of the other one under that one's name.
        world.registry(&carol, &format!("{format}/own.git"), "own.example", format);
        carol.quipu(["publish", &world.package(&format!("own-{format}"), "demo:hello", "9.0.0")]).ok();
        let all = format!("+refs/*:refs/mirrors/{DOMAIN}/*");
        git(&root.join("own.git"), ["fetch", "-q", "../reg.git", &all]).ok();
        let daemon = Daemon::serve(&root);
        let gone = Relay::to(daemon.port());
        for (turn, mirror) in [daemon.url("own.git"), root.join("own.git").display().to_string()].iter().enumerate() {
            let bob = world.person(&format!("bob-{format}-{turn}"));
            gone.becomes(Mood::Pass);
            bob.quipu(["trust", "add", DOMAIN, &gone.url("reg.git"), "--id", &id, "--mirror", mirror]).ok();
            gone.becomes(Mood::Shut);
            let to = world.path(&format!("got/{format}{turn}"));
            let got = bob.quipu(["get", "demo:hello", "--to", &to.display().to_string()]).ok();
            assert!(got.stderr.contains("own.git answers for acme.example instead"), "{}", got.stderr);
            folders::assert_same(&to, &world.path(&format!("hello-{format}")));
            let info = bob.quipu(["info", DOMAIN, "--json"]).ok().json();
            assert_eq!(info["id"].as_str(), Some(id.as_str()));
            // What came from there is kept like anything else.
            bob.quipu(["get", "demo:hello", "--to", &world.at(&format!("kept/{format}{turn}")), "--offline"]).ok();
        }
    }
}

#[test]
fn a_registry_on_this_machine_and_its_mirrors_are_one_registry() {
    let world = World::new();
    let (_, id, daemon, _) = scene(&world);
    for (at, mirror) in [world.at("mirror.git"), daemon.url("mirror.git")].iter().enumerate() {
        let bob = world.person(&format!("bob{at}"));
        bob.quipu(["trust", "add", DOMAIN, &world.at("reg.git"), "--id", &id, "--mirror", mirror]).ok();
        let get = |to: &str| bob.quipu(["get", "demo:hello", "--to", &world.at(&format!("got/{at}{to}")), "--json"]);
        let standings = standings(&get("there").ok().json());
        assert_eq!((standings[0].1.as_str(), standings[1].1.as_str()), ("answers", "same"));
        std::fs::rename(world.path("reg.git"), world.path("away.git")).unwrap();
        get("gone").ok();
        folders::assert_same(&world.path(&format!("got/{at}gone")), &world.path("hello"));
        std::fs::rename(world.path("away.git"), world.path("reg.git")).unwrap();
    }
}

#[test]
fn what_one_place_does_not_have_comes_from_another() {
    let world = World::new();
    let (_, id, daemon, _) = scene(&world);
    // A mirror of the logs alone, which is the first place.
    let logs = world.path("logs.git");
    git(&world.root(), ["init", "-q", "--bare", "logs.git"]).ok();
    git(&logs, ["fetch", "-q", "../reg.git", "+refs/registry/*:refs/registry/*", "+refs/packages/*:refs/packages/*"]).ok();
    let (bob, _relays) = relayed(&world, "bob", &id, &daemon, &["logs.git", "reg.git"]);
    let got = bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    folders::assert_same(&world.path("got/1"), &world.path("hello"));
    assert!(got.stderr.contains("logs.git did not hand out all of acme.example"), "{}", got.stderr);
    assert!(got.stderr.contains("reg.git does instead, verified alike"), "{}", got.stderr);
    // Where nobody has it, all who were asked are named.
    let (carol, _relays) = relayed(&world, "carol", &id, &daemon, &["logs.git", "logs.git"]);
    let failed = carol.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--json"]);
    failed.fails(4, "ref-missing");
    assert!(!world.path("got/2").exists());
}
