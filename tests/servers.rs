//! A registry with hooks behind the servers that people host git with: who pushes is published or reads why not, and a third one, with
//! nothing but URL and id, gets and verifies it all. Where a server is not installed the test says so and passes, except where `CI` is set.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use support::daemon::Daemon;
use support::hosts::{Gitolite, Nginx, Sshd};
use support::{Outcome, Person, World, folders, git};

const DOMAIN: &str = "acme.example";

/// Returns the setting of this kind in the manual for hosts.
fn from_the_manual(kind: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hosting.md")).unwrap();
    let block = text.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the manual has such a setting").to_owned()
}

/// A registry whose hooks judge and publish; Alice keeps it.
struct Served {
    alice: Person,
    path: String,
    id: String,
}

impl Served {
    fn new(world: &World, path: &str) -> Self {
        let alice = world.person_with_key("alice");
        let made = alice.asks(["registry", "init", &world.at(path), "--name", DOMAIN, "--hooks"]);
        Served { alice, path: world.at(path), id: made["id"].as_str().unwrap().to_owned() }
    }

    /// Fails unless the repository is whole, with so many releases and nothing that waits.
    #[track_caller]
    fn holds(&self, releases: u64) {
        let fsck = self.alice.asks(["registry", "fsck", &self.path]);
        assert_eq!((&fsck["clean"], &fsck["releases"], &fsck["waiting"]), (&true.into(), &releases.into(), &0.into()), "{fsck}");
    }
}

/// Fails unless a command was refused for this reason: by the code of its own error, or by the one that the server said.
#[track_caller]
fn assert_refused(outcome: &Outcome, code: &str) {
    let error = &outcome.json()["error"];
    let said = error["code"] == code || error["message"].as_str().unwrap_or_default().contains(&format!("[{code}]"));
    assert!(outcome.status == 8 && said, "{code}: {outcome:?}");
}

/// The life of a registry at one server, which lets Bob, Carol and Mallory push, and Dave only fetch.
fn life(world: &World, served: &Served, (url, read_url): (&str, &str), [bob, carol, mallory, dave]: [&Person; 4]) {
    for person in [bob, carol] {
        person.trust(DOMAIN, url, &served.id);
    }
    dave.trust(DOMAIN, read_url, &served.id);
    // Mallory looks at a copy of before anything was published, and pushes to where it is.
    git(&world.root(), ["clone", "-q", "--mirror", &served.path, "old.git"]).ok();
    mallory.trust(DOMAIN, &world.at("old.git"), &served.id);
    let config = mallory.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("url = ", &format!("push = \"{url}\"\nurl = "))).unwrap();

    bob.quipu(["publish", &world.package("one", "bob:one", "1.0.0")]).ok();
    carol.quipu(["publish", &world.package("two", "carol:two", "1.0.0")]).ok();
    // Whoever has only the URL and the id gets both at once, and nobody accepted anything by hand.
    for (name, folder) in [("bob:one", "one"), ("carol:two", "two")] {
        dave.asks(["get", name, "--to", &world.at(&format!("got/{folder}"))]);
        folders::assert_same(&world.path(&format!("got/{folder}")), &world.path(folder));
    }
    let stolen = mallory.quipu(["publish", &world.package("stolen", "bob:one", "2.0.0"), "--json"]);
    assert_refused(&stolen, "name-taken");
    mallory.quipu(["publish", &world.package("own", "mallory:own", "1.0.0")]).ok();
    bob.quipu(["publish", &world.package("one", "bob:one", "1.1.0")]).ok();
    assert_eq!(dave.asks(["info", "bob:one"])["version"], "1.1.0");

    let refused = dave.quipu(["publish", &world.package("three", "dave:three", "1.0.0"), "--json"]);
    assert_eq!(refused.status, 7, "{refused:?}");
    let whole = dave.asks(["verify", DOMAIN]);
    assert_eq!((&whole["verified"], &whole["packages"], &whole["releases"]), (&true.into(), &3.into(), &4.into()));
    served.holds(4);
}

/// People with keys who may push, and one who may not.
fn people(world: &World) -> [Person; 4] {
    ["bob", "carol", "mallory", "dave"].map(|name| world.person_with_key(name))
}

#[test]
fn behind_git_daemon() {
    let world = World::new();
    let served = Served::new(&world, "git/acme.git");
    let [bob, carol, mallory, dave] = people(&world);
    // It knows nobody: whoever is not to push comes to another port.
    let (writers, readers) = (Daemon::serve(&world.path("git")), Daemon::serve_read_only(&world.path("git")));
    life(&world, &served, (&writers.url("acme.git"), &readers.url("acme.git")), [&bob, &carol, &mallory, &dave]);
}

#[test]
fn behind_sshd_with_accounts_that_can_do_nothing_else() {
    let world = World::new();
    let served = Served::new(&world, "git/acme.git");
    let keys = world.path("authorized_keys");
    std::fs::create_dir_all(world.path("account")).unwrap();
    let Some(sshd) = Sshd::start(&world, &world.path("account"), &keys) else { return };
    let (setting, mut lines) = (from_the_manual("authorized_keys"), String::new());
    let [bob, carol, mallory, dave] = people(&world).map(|person| {
        let (ready, public) = sshd.welcome(&person);
        let like = if person.name == "dave" { "dave" } else { "bob" };
        let line = setting.lines().find_map(|line| line.strip_suffix(&format!("ssh-ed25519 AAAA… {like}"))).unwrap();
        lines += &format!("{line}{public}\n");
        ready
    });
    std::fs::write(&keys, lines).unwrap();
    let url = sshd.url(&served.path);
    life(&world, &served, (&url, &url), [&bob, &carol, &mallory, &dave]);
}

#[test]
fn behind_nginx_where_everybody_reads_and_whoever_has_a_password_pushes() {
    let world = World::new();
    let served = Served::new(&world, "git/acme.git");
    let setting = from_the_manual("nginx");
    let Some(nginx) = Nginx::start(&world, &world.path("git"), &["bob", "carol", "mallory"], &setting) else { return };
    let [bob, carol, mallory, dave] = people(&world);
    let [bob, carol, mallory] = [bob, carol, mallory].map(|person| nginx.welcome(&person));
    let url = nginx.url("acme.git");
    life(&world, &served, (&url, &url), [&bob, &carol, &mallory, &dave]);
}

#[test]
fn behind_gitolite_with_hooks_of_the_repository_and_with_common_ones() {
    for common in [false, true] {
        let world = World::new();
        let Some(gitolite) = Gitolite::start(&world) else { return };
        let served = Served::new(&world, "gitolite/repositories/acme.git");
        let everybody = people(&world).map(|person| gitolite.welcome(&person));
        if common {
            // What `quipu registry hooks` wrote goes where gitolite gives it to every repository.
            let hooks = world.path("gitolite/.gitolite/hooks/common");
            for name in ["pre-receive", "proc-receive", "post-receive"] {
                let script = Path::new(&served.path).join("hooks").join(name);
                let text = std::fs::read_to_string(&script).unwrap();
                std::fs::remove_file(&script).unwrap();
                let script = hooks.join(name);
                std::fs::write(&script, text.replacen('\n', &format!("\n{}\n", from_the_manual("sh").trim()), 1)).unwrap();
                std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        gitolite.configure(&from_the_manual("gitolite"));
        let url = gitolite.url("acme");
        let [bob, carol, mallory, dave] = &everybody;
        if !common {
            life(&world, &served, (&url, &url), [bob, carol, mallory, dave]);
        } else {
            bob.trust(DOMAIN, &url, &served.id);
            bob.quipu(["publish", &world.package("one", "bob:one", "1.0.0")]).ok();
            served.holds(1);
            let pushed = bob.git(Path::new(&served.path), ["push", &url, "refs/registry/log:refs/heads/other"]);
            assert!(pushed.status != 0 && pushed.stderr.contains("[refused]"), "{pushed:?}");
            // A repository that is no registry is none of its affair.
            let other = gitolite.url("other");
            git(&world.root(), ["init", "-q", "work"]).ok();
            let commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"];
            git(&world.path("work"), commit).ok();
            bob.git(&world.path("work"), ["push", &other, "HEAD:refs/heads/main"]).ok();
        }
    }
}
