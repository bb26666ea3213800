//! What a fetch over the network costs: counted at the socket, in connections and in bytes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::daemon::Daemon;
use support::{World, git};

const DOMAIN: &str = "acme.example";

/// Stands between a client and a server, and counts.
struct Relay {
    port: u16,
    connections: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay { port: listener.local_addr().unwrap().port(), connections: Arc::default(), bytes: Arc::default() };
        let (connections, bytes) = (relay.connections.clone(), relay.bytes.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server.try_clone().unwrap(), client)]
                {
                    let bytes = bytes.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            bytes.fetch_add(count as u64, Ordering::SeqCst);
                            if to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        relay
    }

    fn url(&self, repository: &str) -> String {
        format!("git://127.0.0.1:{}/{repository}", self.port)
    }

    /// Returns connections and bytes since it was asked last.
    fn spent(&self) -> (u64, u64) {
        (self.connections.swap(0, Ordering::SeqCst), self.bytes.swap(0, Ordering::SeqCst))
    }
}

#[test]
fn a_package_costs_few_connections_and_few_bytes_with_filters_and_without() {
    for filters in ["true", "false"] {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
        for name in ["hello", "other"] {
            alice.quipu(["publish", &world.package(name, &format!("demo:{name}"), "1.0.0")]).ok();
        }
        git(&world.path("reg.git"), ["config", "uploadpack.allowFilter", filters]).ok();
        let daemon = Daemon::serve(&world.root());
        let relay = Relay::to(daemon.port());
        let bob = world.person("bob");
        bob.trust(DOMAIN, &relay.url("reg.git"), &id);
        relay.spent();
        bob.quipu(["get", "demo:hello", "--to", &world.at("got/1")]).ok();
        let (connections, bytes) = relay.spent();
        assert!(connections <= 5 && bytes < 32 * 1024, "filters {filters}, cold: {connections} connections, {bytes} bytes");
        bob.quipu(["get", "demo:hello", "--to", &world.at("got/2")]).ok();
        let (connections, bytes) = relay.spent();
        assert!(connections == 1 && bytes < 8 * 1024, "filters {filters}, nothing new: {connections} connections, {bytes} bytes");
        alice.quipu(["publish", &world.package("third", "demo:third", "1.0.0")]).ok();
        bob.quipu(["get", "demo:hello", "--to", &world.at("got/3")]).ok();
        let (connections, bytes) = relay.spent();
        assert!(connections <= 2 && bytes < 32 * 1024, "filters {filters}, warm: {connections} connections, {bytes} bytes");
        // What is not there is proven not to be, and no repository here would fetch on its own.
        bob.quipu(["get", "demo:absent", "--json"]).fails(3, "not-found");
        let config = git(&bob.home, ["grep", "--no-index", "-il", "promisor", "--", "."]);
        assert_ne!(config.status, 0, "{config:?}");
    }
}

#[test]
fn who_was_away_follows_skip_links() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    let daemon = Daemon::serve(&world.root());
    let relay = Relay::to(daemon.port());
    let bob = world.person("bob");
    bob.trust(DOMAIN, &relay.url("reg.git"), &id);
    for n in 0..6 {
        alice.quipu(["publish", &world.package("hello", "demo:hello", &format!("1.0.{n}"))]).ok();
    }
    relay.spent();
    let got = bob.asks(["get", "demo:hello", "--to", &world.at("got/1")]);
    assert_eq!(got["version"], "1.0.5");
    let (connections, bytes) = relay.spent();
    assert!(connections <= 5 && bytes < 64 * 1024, "{connections} connections, {bytes} bytes");
}
