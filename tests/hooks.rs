//! A registry that is pushed to: what its hooks let in, publish and refuse, and what whoever pushed hears of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use support::daemon::Daemon;
use support::{Person, World, folders, git};

const DOMAIN: &str = "acme.example";

/// A registry with hooks behind `git daemon`.
struct Served {
    world: World,
    operator: Person,
    id: String,
    url: String,
    _daemon: Daemon,
}

impl Served {
    fn new(format: &str) -> Self {
        let world = World::new();
        let operator = world.person_with_key("olga");
        let registry = world.at("reg.git");
        let init = ["registry", "init", &registry, "--name", DOMAIN, "--object-format", format, "--hooks"];
        let made = operator.asks(init);
        assert_eq!(made["hooks"], true);
        let id = made["id"].as_str().unwrap().to_owned();
        let daemon = Daemon::serve(&world.root());
        let url = daemon.url("reg.git");
        Served { world, operator, id, url, _daemon: daemon }
    }

    fn person(&self, name: &str) -> Person {
        let person = self.world.person_with_key(name);
        person.trust(DOMAIN, &self.url, &self.id);
        person
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.world.path("reg.git"), args).ok().stdout
    }

    fn set(&self, key: &str, value: &str) {
        self.git(&["config", key, value]);
    }

    /// All references and all objects, so that two moments can be compared.
    fn all(&self) -> String {
        let objects = self.git(&["cat-file", "--batch-all-objects", "--batch-check", "--unordered"]);
        let mut objects: Vec<&str> = objects.lines().collect();
        objects.sort_unstable();
        format!("{}{}", self.git(&["for-each-ref"]), objects.join("\n"))
    }

    fn fsck(&self) {
        let found = self.operator.asks(["registry", "fsck", &self.world.at("reg.git")]);
        assert_eq!((&found["clean"], &found["waiting"]), (&true.into(), &0.into()), "{found}");
    }
}

#[test]
fn what_is_pushed_is_published_when_the_push_ends() {
    for format in ["sha1", "sha256"] {
        let served = Served::new(format);
        let (alice, bob) = (served.person("alice"), served.person("bob"));
        let published = alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.0.0")]);
        assert_eq!((&published["state"], &published["checkpoint"]["seq"]), (&"published".into(), &1.into()), "{published}");
        let allowed = alice.asks(["owner", "allow", "demo:hello", &bob.public_key()]);
        assert_eq!(allowed["state"], "published", "{allowed}");
        let published = bob.asks(["publish", &served.world.package("hello", "demo:hello", "1.1.0")]);
        assert_eq!(published["checkpoint"]["seq"], 3, "{published}");
        assert_eq!(alice.asks(["yank", "demo:hello@1.0.0", "--reason", "old"])["state"], "published");
        alice.asks(["get", "demo:hello", "--to", &served.world.at("got")]);
        folders::assert_same(&served.world.path("got"), &served.world.path("hello"));
        served.fsck();
        // Nothing is left of the way there.
        let references = served.git(&["for-each-ref", "--format=%(refname)"]);
        assert!(!references.contains("refs/incoming") && !references.contains("refs/refused"), "{references}");
    }
}

#[test]
fn what_is_refused_leaves_nothing_and_its_pusher_hears_the_code() {
    let served = Served::new("sha1");
    let alice = served.person("alice");
    alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.0.0")]);
    let before = served.all();

    // Garbage, under the name of a proposal.
    let folder = served.world.path("garbage");
    std::fs::create_dir(&folder).unwrap();
    git(&folder, ["init", "-q"]).ok();
    let commit = ["-c", "user.name=m", "-c", "user.email=m@x", "commit", "-q", "--allow-empty", "-m", "garbage"];
    git(&folder, commit).ok();
    let id = git(&folder, ["rev-parse", "HEAD"]).ok().stdout.trim().to_owned();
    let push = |to: &str| git(&folder, ["push", "-q", &served.url, &format!("HEAD:{to}")]).ends(1).stderr;
    let said = push(&format!("refs/incoming/demo/hello/{id}"));
    assert!(said.contains("quipu: [not-canonical] demo:hello: the commit is not a proposal"), "{said}");
    assert_eq!(served.all(), before);
    // Whatever is served is hidden from pushes, and the hook says no even where the configuration was lost.
    for to in ["refs/packages/demo/hello", "refs/registry/log", "refs/heads/main", "refs/heads/new", "refs/tags/v1"] {
        assert!(push(to).contains("deny updating a hidden ref"), "{to}");
    }
    served.git(&["config", "--unset-all", "receive.hideRefs"]);
    for to in ["refs/packages/demo/new", "refs/heads/new", "refs/tags/v1", "refs/refused/demo/hello/x"] {
        let said = push(to);
        assert!(said.contains(&format!("quipu: [refused] {to} moves by accepted proposals")), "{said}");
    }
    for (to, why) in [
        (format!("refs/incoming/demo/hello/{}", "0".repeat(40)), "named after"),
        ("refs/incoming/demo/hello".to_owned(), "is no name of a proposal"),
        (format!("refs/incoming/demo/Hello/{id}"), "is no name of a proposal"),
    ] {
        let said = push(&to);
        assert!(said.contains("quipu: [refused] ") && said.contains(why), "{to}: {said}");
    }
    assert_eq!(served.all(), before);

    served.fsck();
}

#[test]
fn who_is_second_builds_anew_and_nothing_is_lost() {
    let served = Served::new("sha1");
    let alice = served.person("alice");
    alice.asks(["publish", &served.world.package("first", "demo:hello", "1.0.0")]);
    let people: Vec<Person> = (0..4).map(|number| served.person(&format!("bob{number}"))).collect();
    for person in &people {
        alice.asks(["owner", "allow", "demo:hello", &person.public_key()]);
    }
    // Each releases three versions of the same package and one of a package of their own, all at the same time.
    std::thread::scope(|scope| {
        for (number, person) in people.iter().enumerate() {
            let served = &served;
            scope.spawn(move || {
                for patch in 0..3 {
                    let folder =
                        served.world.package(&format!("shared{number}"), "demo:hello", &format!("1.{number}.{}", patch + 1));
                    assert_eq!(person.asks(["publish", &folder])["state"], "published");
                }
                let folder = served.world.package(&format!("own{number}"), &format!("demo:own{number}"), "1.0.0");
                assert_eq!(person.asks(["publish", &folder])["state"], "published");
            });
        }
    });
    let info = alice.asks(["info", "demo:hello"]);
    assert_eq!((info["versions"].as_array().unwrap().len(), &info["seq"]), (13, &17.into()), "{info}");
    assert_eq!(alice.asks(["verify", DOMAIN])["releases"], 17);
    served.fsck();
}

#[test]
fn new_names_can_wait_for_a_person_and_known_keys_never_do() {
    let served = Served::new("sha1");
    let (alice, bob) = (served.person("alice"), served.person("bob"));
    let registry = served.world.at("reg.git");
    alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.0.0")]);
    served.set("quipu.newNames", "later");
    assert_eq!(alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.1.0")])["state"], "published");

    let proposed = bob.asks(["publish", &served.world.package("new", "demo:new", "1.0.0")]);
    assert_eq!(proposed["state"], "proposed", "{proposed}");
    let info = bob.asks(["info", "demo:new"]);
    let waiting = &info["proposals"][0];
    assert_eq!((&waiting["proposal"], &waiting["state"]), (&proposed["proposal"], &"proposed".into()), "{info}");
    // Others know nothing of it, and he himself is not let run into it.
    alice.quipu(["info", "demo:new", "--json"]).fails(3, "not-found");
    let said = bob.quipu(["publish", &served.world.package("new", "demo:new", "1.0.0"), "--json"]);
    assert!(said.fails(8, "conflict").contains("still waits"));
    // Known names go on meanwhile, also past one that waits.
    assert_eq!(alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.2.0")])["state"], "published");

    // A person says no, and why.
    let id = proposed["proposal"].as_str().unwrap();
    served.operator.quipu(["registry", "refuse", &registry, &"0".repeat(40), "--reason", "x", "--json"]).fails(3, "not-found");
    served.operator.asks(["registry", "refuse", &registry, id, "--reason", "we have one like it"]);
    let info = bob.asks(["info", "demo:new"]);
    let refused = &info["proposals"][0];
    assert_eq!((&refused["state"], &refused["error"]["code"]), (&"refused".into(), &"refused".into()), "{info}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("we have one like it"));
    bob.quipu(["info", "demo:new", "--json"]).fails(3, "not-found");

    // Another time a person says yes, and who waits hears it.
    let waits = bob.quipu(["publish", &served.world.package("new", "demo:new", "1.0.1"), "--wait=0", "--json"]).ends(1);
    assert_eq!(waits.json()["state"], "proposed");
    served.operator.asks(["registry", "accept", &registry]);
    assert_eq!(bob.asks(["info", "demo:new"])["versions"].as_array().unwrap().len(), 1);
    let published = std::thread::scope(|scope| {
        let (bob, served) = (&bob, &served);
        served.set("quipu.accept", "later");
        let publish = scope.spawn(move || bob.asks(["publish", &served.world.package("new", "demo:new", "1.1.0"), "--wait=60"]));
        while served.git(&["for-each-ref", "refs/incoming"]).is_empty() {
            std::thread::yield_now();
        }
        served.operator.asks(["registry", "accept", &served.world.at("reg.git")]);
        publish.join().unwrap()
    });
    assert_eq!(published["state"], "published", "{published}");
    served.fsck();
}

#[test]
fn a_server_without_a_key_says_so_and_lets_nothing_wait() {
    let served = Served::new("sha1");
    let alice = served.person("alice");
    served.set("quipu.home", &served.world.at("empty"));
    let said = alice.quipu(["publish", &served.world.package("hello", "demo:hello", "1.0.0"), "--json"]);
    assert!(said.fails(8, "unauthorized").contains("this server has no key"));
    assert_eq!(served.git(&["for-each-ref", "refs/incoming"]), "");
    // It can let proposals wait for whoever has the key.
    served.set("quipu.accept", "later");
    let proposed = alice.asks(["publish", &served.world.package("hello", "demo:hello", "1.0.0")]);
    assert_eq!(proposed["state"], "proposed");
    served.operator.asks(["registry", "accept", &served.world.at("reg.git")]);
    assert_eq!(alice.asks(["info", "demo:hello"])["version"], "1.0.0");
    served.set("quipu.accept", "sometimes");
    let said = alice.quipu(["publish", &served.world.package("hello", "demo:hello", "1.1.0"), "--json"]);
    assert!(said.fails(2, "bad-config").contains("expected now or later"));
    served.fsck();
}

#[test]
fn hooks_of_another_kind_are_not_overwritten() {
    let world = World::new();
    let olga = world.person_with_key("olga");
    world.registry(&olga, "reg.git", DOMAIN, "sha1");
    let hook = world.write("reg.git/hooks/pre-receive", "#!/bin/sh\nexit 1\n");
    let said = olga.quipu(["registry", "hooks", &world.at("reg.git"), "--json"]);
    assert!(said.fails(8, "exists").contains("hook of another kind"));
    assert_eq!(git(&world.path("reg.git"), ["config", "receive.procReceiveRefs"]).status, 1);
    std::fs::remove_file(&hook).unwrap();
    for _ in 0..2 {
        let said = olga.asks(["registry", "hooks", &world.at("reg.git")]);
        assert_eq!(said["scripts"].as_array().unwrap().len(), 3);
    }
    for name in ["pre-receive", "proc-receive", "post-receive"] {
        let mode = std::fs::metadata(world.path("reg.git/hooks").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name}: {mode:o}");
    }
    git(&world.path("reg.git"), ["config", "core.hooksPath", "/elsewhere"]).ok();
    olga.quipu(["registry", "hooks", &world.at("reg.git"), "--json"]).fails(7, "bad-repository");
}
