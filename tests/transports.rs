//! The same registry by path, file://, git://, http:// and ssh://: the same answers, and help where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use support::daemon::{Daemon, free_port};
use support::servers::{Http, local_ssh};
use support::{Person, World, folders, git};

const DOMAIN: &str = "acme.example";

/// Runs one registry's life over one transport: `reach` says by which URL, and prepares whoever is not on the registry's machine.
fn over(reach: impl Fn(&World, Person) -> (String, Person)) {
    for format in ["sha1", "sha256"] {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", DOMAIN, format);
        let registry = world.at("reg.git");
        alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
        let (url, bob) = reach(&world, world.person_with_key("bob"));

        // An id that nobody vouched for is not trusted, a wrong one is refused, the right one is taken.
        let refused = bob.quipu(["trust", "add", DOMAIN, &url, "--json"]);
        assert!(refused.fails(5, "not-trusted").contains(&id));
        let other = format!("sha256:{}", "0".repeat(64));
        bob.quipu(["trust", "add", DOMAIN, &url, "--id", &other, "--json"]).fails(5, "id-mismatch");
        bob.quipu(["get", "acme.example/demo:hello", "--json"]).fails(5, "not-trusted");
        let added = bob.asks(["trust", "add", DOMAIN, &url, "--id", &id]);
        assert_eq!(added["checkpoint"]["seq"], 1, "{added}");

        let got = bob.asks(["get", "demo:hello", "--to", &world.at("got/1")]);
        assert_eq!((&got["version"], &got["checkpoint"]["seq"]), (&"1.0.0".into(), &1.into()));
        folders::assert_same(&world.path("got/1"), &world.path("hello"));

        // What somebody proposes is not there until an operator accepts it.
        let proposed = bob.asks(["publish", &world.package("second", "bob:second", "0.1.0")]);
        assert_eq!(proposed["state"], "proposed", "{proposed}");
        bob.quipu(["get", "bob:second", "--json"]).fails(3, "not-found");
        alice.quipu(["registry", "accept", &registry]).ok();
        bob.asks(["get", "bob:second", "--to", &world.at("got/2")]);
        folders::assert_same(&world.path("got/2"), &world.path("second"));

        // The registry moves on: what is new comes, and is remembered.
        alice.quipu(["publish", &world.package("hello", "demo:hello", "1.1.0")]).ok();
        let got = bob.asks(["get", "demo:hello", "--to", &world.at("got/3")]);
        assert_eq!((&got["version"], &got["checkpoint"]["seq"]), (&"1.1.0".into(), &3.into()));
        folders::assert_same(&world.path("got/3"), &world.path("hello"));
        let state = bob.home.join("state").join(format!("{}.toml", id.trim_start_matches("sha256:")));
        let memory: toml::Table = std::fs::read_to_string(state).unwrap().parse().unwrap();
        assert_eq!(memory["checkpoint"]["seq"].as_integer(), Some(3));
        assert_eq!(memory["packages"]["demo:hello"]["seq"].as_integer(), Some(2));

        // What was got once is there without the network, and the rest is said to be missing.
        bob.asks(["get", "demo:hello@1.1.0", "--offline", "--to", &world.at("got/4")]);
        folders::assert_same(&world.path("got/4"), &world.path("hello"));
        assert_eq!(bob.asks(["info", "demo:hello", "--offline"])["version"], "1.1.0");

        let whole = bob.asks(["verify", DOMAIN]);
        assert_eq!((&whole["verified"], &whole["packages"], &whole["releases"]), (&true.into(), &2.into(), &3.into()));
        let one = bob.asks(["verify", "demo:hello"]);
        assert_eq!((&one["verified"], &one["releases"]), (&true.into(), &2.into()));

        // The cache may be deleted at any time.
        let cache = bob.home.join("cache");
        if cache.exists() {
            std::fs::remove_dir_all(&cache).unwrap();
        }
        alice.quipu(["yank", "demo:hello@1.1.0", "--reason", "it was hasty"]).ok();
        let got = bob.asks(["get", "demo:hello", "--to", &world.at("got/5")]);
        assert_eq!((&got["version"], &got["checkpoint"]["seq"]), (&"1.0.0".into(), &4.into()));
        folders::assert_same(&world.path("got/5"), &world.path("got/1"));

        // A second proposal of the same package stands on the first; one for somebody else's package is refused.
        assert_eq!(bob.asks(["publish", &world.package("second", "bob:second", "0.2.0")])["state"], "proposed");
        bob.quipu(["publish", &world.package("hello", "demo:hello", "1.2.0"), "--json"]).fails(8, "unauthorized");
        bob.quipu(["publish", &world.package("second", "bob:second", "0.1.0"), "--json"]).fails(8, "already-released");
        alice.quipu(["registry", "accept", &registry]).ok();
        assert_eq!(bob.asks(["info", "bob:second"])["version"], "0.2.0");
        assert_eq!(alice.asks(["registry", "fsck", &registry])["clean"], true);
    }
}

#[test]
fn by_path() {
    over(|world, bob| (world.at("reg.git"), bob));
}

#[test]
fn by_file_url() {
    over(|world, bob| (format!("file://{}", world.at("reg.git")), bob));
}

#[test]
fn by_git_daemon() {
    let servers = std::cell::RefCell::new(Vec::new());
    over(|world, bob| {
        let daemon = Daemon::serve(&world.root());
        let url = daemon.url("reg.git");
        servers.borrow_mut().push(daemon);
        (url, bob)
    });
}

#[test]
fn by_http() {
    over(|world, bob| (Http::serve(&world.root()).url("reg.git"), bob));
}

#[test]
fn by_ssh_with_a_command_from_the_environment() {
    over(|world, bob| {
        let ssh = local_ssh(&world.path("bin"), &world.path("hosts"));
        (format!("ssh://git@host.example{}", world.at("reg.git")), bob.with("GIT_SSH_COMMAND", ssh))
    });
}

#[test]
fn by_ssh_with_a_command_from_the_users_configuration() {
    over(|world, bob| {
        let ssh = local_ssh(&world.path("bin"), &world.path("hosts"));
        git(
            &world.root(),
            ["config", "-f", &bob.home.join(".gitconfig").display().to_string(), "core.sshCommand"]
                .into_iter()
                .chain([ssh.to_str().unwrap()]),
        )
        .ok();
        (format!("git@host.example:{}", world.at("reg.git")), bob)
    });
}

#[test]
fn what_could_be_taken_for_an_option_or_a_program_is_no_url() {
    let world = World::new();
    let bob = world.person("bob");
    let trap = world.at("trap");
    for url in [
        format!("ext::sh -c 'touch {trap}'"),
        format!("fd::{trap}"),
        format!("ssh://-oProxyCommand=touch {trap}/x"),
        format!("ssh://-oProxyCommand=touch%20{trap}/x"),
        format!("git@-oProxyCommand=touch:{trap}"),
        "registry.git".to_owned(),
        "acme.example:registry.git".to_owned(),
        "ftp://acme.example/registry.git".to_owned(),
        "https://acme.example".to_owned(),
        String::new(),
    ] {
        let message = bob.quipu(["trust", "add", DOMAIN, &url, "--json"]).fails(2, "bad-url");
        assert!(message.contains("is not the URL of a repository"), "{message}");
    }
    for url in [format!("--upload-pack=touch {trap}"), format!("-utouch {trap}")] {
        bob.quipu(["trust", "add", DOMAIN, &url, "--json"]).fails(2, "usage");
        bob.quipu(["trust", "add", "--json", "--", DOMAIN, &url]).fails(2, "bad-url");
    }
    // Nor is it where the user's own configuration names it.
    world.write("homes/bob/config.toml", &format!("[registries.\"{DOMAIN}\"]\nurl = \"ext::touch {trap}\"\n"));
    let id = format!("sha256:{}", "0".repeat(64));
    let trusted = format!("[[registry]]\nname = \"{DOMAIN}\"\nid = \"{id}\"\nsource = \"given\"\nsince = 1\n");
    world.write("homes/bob/trust.toml", &trusted);
    bob.quipu(["get", "acme.example/demo:hello", "--json"]).fails(2, "bad-url");
    assert!(!world.path("trap").exists());
}

#[test]
fn who_cannot_be_reached_is_named_and_what_to_do_about_it() {
    let world = World::new();
    let ssh = world.write("bin/ssh", "#!/bin/sh\necho \"ssh: connect to host $1 port 22: Connection refused\" >&2\nexit 255\n");
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bob = world.person("bob").with("GIT_SSH_COMMAND", &ssh);
    for url in [
        format!("git://127.0.0.1:{}/reg.git", free_port()),
        format!("http://127.0.0.1:{}/reg.git", free_port()),
        "git://nowhere.invalid/reg.git".to_owned(),
        "http://nowhere.invalid/reg.git".to_owned(),
        "ssh://git@nowhere.invalid/reg.git".to_owned(),
    ] {
        let outcome = bob.quipu(["trust", "add", DOMAIN, &url, "--json"]);
        let message = outcome.fails(7, "network");
        assert!(message.starts_with(&format!("{url} cannot be reached: ")), "{message}");
        assert!(outcome.json()["error"]["hint"].is_string(), "{message}");
    }
}

#[test]
fn a_registry_that_was_there_and_cannot_be_reached_now_can_be_used_as_it_was() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    for name in ["hello", "other"] {
        alice.quipu(["publish", &world.package(name, &format!("demo:{name}"), "1.0.0")]).ok();
    }
    let bob = world.person("bob");
    {
        let daemon = Daemon::serve(&world.root());
        bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
        bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    }
    let message = bob.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--json"]).fails(7, "network");
    assert!(message.contains("--offline"), "{message}");
    assert!(!world.path("got/2").exists());
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--offline"]).ok();
    folders::assert_same(&world.path("got/2"), &world.path("hello"));
    let message = bob.quipu(["get", "demo:other", "--offline", "--json"]).fails(7, "network");
    assert!(message.contains("not kept on this machine") && message.contains("without --offline"), "{message}");
    let message = bob.quipu(["get", "demo:helo", "--offline", "--json"]).fails(3, "not-found");
    assert!(message.contains("did you mean demo:hello?"), "{message}");
    std::fs::remove_dir_all(bob.home.join("cache")).unwrap();
    let message = bob.quipu(["get", "demo:hello", "--to", &world.at("got/3"), "--offline", "--json"]).fails(7, "network");
    assert!(message.contains("without --offline"), "{message}");
}

#[test]
fn what_is_no_registry_is_said_to_be_none() {
    let world = World::new();
    let bob = world.person("bob");
    git(&world.root(), ["init", "-q", "--bare", "plain.git"]).ok();
    git(&world.root(), ["init", "-q", "work"]).ok();
    let commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"];
    git(&world.path("work"), commit).ok();
    world.write("folder/file", "");
    let daemon = Daemon::serve(&world.root());
    let http = Http::serve(&world.root());
    for reach in [&|name: &str| world.at(name) as String, &|name: &str| daemon.url(name), &|name: &str| http.url(name)]
        as [&dyn Fn(&str) -> String; 3]
    {
        for name in ["plain.git", "work/.git"] {
            let message = bob.quipu(["trust", "add", DOMAIN, &reach(name), "--json"]).fails(7, "bad-repository");
            assert!(message.contains("no registry"), "{message}");
        }
        let nothing = bob.quipu(["trust", "add", DOMAIN, &reach("missing.git"), "--json"]);
        let message = nothing.fails(3, "not-found");
        assert!(message.contains("missing.git"), "{message}");
    }
    bob.quipu(["trust", "add", DOMAIN, &world.at("folder"), "--json"]).fails(7, "bad-repository");
    assert!(bob.asks(["trust", "list"])["registries"].as_array().unwrap().is_empty());
}

#[test]
fn a_host_that_takes_no_proposals_says_so() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    let daemon = Daemon::serve_read_only(&world.root());
    let http = Http::serve_read_only(&world.root());
    for (name, url) in [("bob", daemon.url("reg.git")), ("carol", http.url("reg.git"))] {
        let person = world.person_with_key(name);
        person.trust(DOMAIN, &url, &id);
        let message =
            person.quipu(["publish", &world.package(name, &format!("demo:{name}"), "1.0.0"), "--json"]).fails(7, "network");
        assert!(message.contains(&url) && message.contains("push"), "{message}");
        // Where proposals go can be said apart from where the registry is fetched.
        let config = person.home.join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("url = ", &format!("push = \"{}\"\nurl = ", world.at("reg.git")))).unwrap();
        assert_eq!(person.asks(["publish", &world.at(name)])["state"], "proposed");
    }
    alice.quipu(["registry", "accept", &world.at("reg.git")]).ok();
    assert_eq!(alice.asks(["info", DOMAIN])["packages"], 3);
}

#[test]
fn another_registry_in_the_place_of_the_one_that_was_there_is_noticed() {
    let world = World::new();
    let (alice, mallory) = (world.person_with_key("alice"), world.person_with_key("mallory"));
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    world.registry(&mallory, "other.git", DOMAIN, "sha1");
    for (person, folder) in [(&alice, "hello"), (&mallory, "evil")] {
        person.quipu(["publish", &world.package(folder, "demo:hello", "1.0.0")]).ok();
    }
    let daemon = Daemon::serve(&world.root());
    let bob = world.person("bob");
    bob.trust(DOMAIN, &daemon.url("reg.git"), &id);
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
    std::fs::rename(world.path("reg.git"), world.path("old.git")).unwrap();
    std::fs::rename(world.path("other.git"), world.path("reg.git")).unwrap();
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/2"), "--json"]).fails(5, "id-mismatch");
    assert!(!world.path("got/2").exists());
    // Back again, all is well.
    std::fs::rename(world.path("reg.git"), world.path("other.git")).unwrap();
    std::fs::rename(world.path("old.git"), world.path("reg.git")).unwrap();
    bob.quipu(["get", "demo:hello", "--to", &world.at("got/2")]).ok();
}
