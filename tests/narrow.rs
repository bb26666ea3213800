//! What a fetch over the network costs: counted at the socket, in connections and in bytes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use support::daemon::Daemon;
use support::relay::Relay;
use support::{World, git};

const DOMAIN: &str = "acme.example";

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
    assert!(connections >= 3);
}
