//! One connection for all that is asked of a registry, by each of the ways that there are, and what happens where it breaks.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::daemon::Daemon;
use support::servers::{Http, local_ssh};
use support::{Person, World, folders};

const DOMAIN: &str = "acme.example";

/// Makes a registry with packages, and returns its operator and its id.
fn registry(world: &World, format: &str) -> (Person, String) {
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, format);
    for n in 0..3 {
        alice.quipu(["publish", &world.package(&format!("p{n}"), &format!("demo:p{n}"), "1.0.0")]).ok();
    }
    (alice, id)
}

/// Stands between a client and a server, and hangs up in the middle of some connections.
struct Flaky {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Flaky {
    /// Lets each connection say so many bytes, as the function says of its number, from 0 on.
    fn to(server: u16, most: impl Fn(usize) -> usize + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let flaky = Flaky { port: listener.local_addr().unwrap().port(), connections: Arc::default() };
        let connections = flaky.connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut left = most(connections.fetch_add(1, Ordering::SeqCst));
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut to, mut from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                std::thread::spawn(move || {
                    let (mut client, mut server) = (client, server);
                    let mut buffer = [0; 4096];
                    while left > 0 {
                        let most = left.min(buffer.len());
                        match server.read(&mut buffer[..most]) {
                            Ok(count @ 1..) if client.write_all(&buffer[..count]).is_ok() => left -= count,
                            _ => break,
                        }
                    }
                    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                });
            }
        });
        flaky
    }

    fn url(&self) -> String {
        format!("git://127.0.0.1:{}/reg.git", self.port)
    }
}

#[test]
fn a_get_is_one_connection() {
    for format in ["sha1", "sha256"] {
        let world = World::new();
        let (alice, id) = registry(&world, format);
        let daemon = Daemon::serve(&world.root());
        let relay = Flaky::to(daemon.port(), |_| usize::MAX);
        let bob = world.person("bob");
        bob.trust(DOMAIN, &relay.url(), &id);
        let spent = || relay.connections.swap(0, Ordering::SeqCst);
        assert_eq!(spent(), 1, "the first look");
        for (n, of) in [("cold", "p0"), ("nothing new", "p0"), ("another package", "p1")] {
            bob.quipu(["get", &format!("demo:{of}"), "--to", &world.at(&format!("got/{n}"))]).ok();
            assert_eq!(spent(), 1, "{n}");
            folders::assert_same(&world.path(&format!("got/{n}")), &world.path(of));
        }
        alice.quipu(["publish", &world.package("p0", "demo:p0", "1.1.0")]).ok();
        bob.quipu(["get", "demo:p0", "--to", &world.at("got/changed")]).ok();
        assert_eq!(spent(), 1, "a new version");
        folders::assert_same(&world.path("got/changed"), &world.path("p0"));
        bob.quipu(["get", "demo:absent", "--json"]).fails(3, "not-found");
        assert_eq!(spent(), 1, "a package that is not there");
    }
}

#[test]
fn over_ssh_it_is_one_program_and_over_http_one_helper() {
    let world = World::new();
    let (_, id) = registry(&world, "sha256");
    let bob = world.person("bob");
    let ssh = local_ssh(&world.path("bin"), &world.path("hosts"));
    let bob = bob.with("GIT_SSH_COMMAND", ssh);
    let url = format!("ssh://git@host.example{}", world.at("reg.git"));
    bob.trust(DOMAIN, &url, &id);
    let hosts = || std::fs::read_to_string(world.path("hosts")).unwrap().lines().count();
    let before = hosts();
    bob.quipu(["get", "demo:p1", "--to", &world.at("got/ssh")]).ok();
    assert_eq!(hosts() - before, 1);
    folders::assert_same(&world.path("got/ssh"), &world.path("p1"));
    // Another program than OpenSSH is git's affair, and all the same works.
    let other = world.path("bin/other");
    std::fs::copy(world.path("bin/ssh"), &other).unwrap();
    let bob = bob.with("GIT_SSH_COMMAND", &other);
    bob.quipu(["get", "demo:p2", "--to", &world.at("got/other")]).ok();
    assert!(hosts() - before > 3, "each fetch has a program of its own: {}", hosts() - before);
    folders::assert_same(&world.path("got/other"), &world.path("p2"));

    let server = Http::serve(&world.root());
    let carol = world.person("carol");
    carol.trust(DOMAIN, &server.url("reg.git"), &id);
    // A git that notes what it is asked to do.
    let path = std::env::var("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|git| git.is_file()).unwrap();
    let log = world.path("asked");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), real.display());
    let git = world.write("noting/git", &script);
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    let carol = carol.with("PATH", format!("{}:{path}", world.at("noting")));
    carol.quipu(["get", "demo:p1", "--to", &world.at("got/http")]).ok();
    folders::assert_same(&world.path("got/http"), &world.path("p1"));
    let asked = std::fs::read_to_string(log).unwrap();
    let times = |word: &str| asked.lines().filter(|line| line.split(' ').any(|had| had == word)).count();
    assert_eq!((times("remote-http"), times("fetch")), (1, 0), "{asked}");
    assert!(times("index-pack") >= 2, "{asked}");
}

#[test]
fn a_connection_that_breaks_is_made_again_by_git() {
    let world = World::new();
    let (_, id) = registry(&world, "sha1");
    let daemon = Daemon::serve(&world.root());
    // In the greeting, in the list, in the packs that follow one another.
    for (n, most) in [150, 250, 420, 800, 1300, 1800, 2600].into_iter().enumerate() {
        let flaky = Flaky::to(daemon.port(), move |number| if number == 1 { most } else { usize::MAX });
        let bob = world.person(&format!("bob{n}"));
        bob.trust(DOMAIN, &flaky.url(), &id);
        flaky.connections.store(1, Ordering::SeqCst);
        let to = world.at(&format!("got/{n}"));
        let got = bob.quipu(["get", "demo:p0", "--to", &to, "--json"]);
        if got.status == 0 {
            folders::assert_same(std::path::Path::new(&to), &world.path("p0"));
        } else {
            // Before it has said anything there is nothing to go on with.
            got.fails(7, "network");
            assert!(most < 200, "{most}");
        }
    }
    // One that breaks each time is said to.
    let flaky = Flaky::to(daemon.port(), |number| if number == 0 { usize::MAX } else { 600 });
    let carol = world.person("carol");
    carol.trust(DOMAIN, &flaky.url(), &id);
    let message = carol.quipu(["get", "demo:p0", "--to", &world.at("got/never"), "--json"]).fails(7, "network");
    assert!(message.contains("--offline") || message.contains("broke off"), "{message}");
    assert!(!world.path("got/never").exists());
}
