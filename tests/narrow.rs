//! What a fetch over the network costs: counted at the socket, in connections and in bytes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)]

mod support;

use support::daemon::Daemon;
use support::relay::Relay;
use support::servers::Http;
use support::{Outcome, Person, World, folders, git};

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
}

/// So many packages: their whole map would take some 130 KiB.
const MANY: &str = "4000";

/// A package with releases, whatever the shape.
const HERE: &str = "load-000:package-000001";
/// One with releases in a small namespace, where namespaces are of falling sizes.
const THERE: &str = "load-100:package-000000";

/// A registry of packages that nobody wrote, and a server for it.
struct Large {
    world: World,
    alice: Person,
    id: String,
    daemon: Daemon,
    git: Relay,
    web: Relay,
}

/// Ways over a network.
#[derive(Clone, Copy, Debug)]
enum Way {
    Git,
    Web,
}

const WAYS: [Way; 2] = [Way::Git, Way::Web];

impl Large {
    fn new(shape: &str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
        alice.quipu(["registry", "import", "reg.git", "--synthetic", MANY, "--shape", shape, "--files", "shared"]).ok();
        let daemon = Daemon::serve(&world.root());
        let (git, web) = (Relay::to(daemon.port()), Relay::to(Http::serve(&world.root()).port()));
        Large { world, alice, id, daemon, git, web }
    }

    fn relay(&self, way: Way) -> &Relay {
        match way {
            Way::Git => &self.git,
            Way::Web => &self.web,
        }
    }

    fn url(&self, way: Way, repository: &str) -> String {
        match way {
            Way::Git => self.git.url(repository),
            Way::Web => self.web.http(repository),
        }
    }

    /// Returns somebody who trusts the registry and has nothing of it.
    fn reader(&self, name: &str, way: Way) -> Person {
        let reader = self.world.person(&format!("{name}-{way:?}"));
        self.relay(way).spent();
        reader.trust(DOMAIN, &self.url(way, "reg.git"), &self.id);
        let (connections, bytes) = self.relay(way).spent();
        assert!(connections <= 2 && bytes < 32 * 1024, "{way:?}: {connections} connections, {bytes} bytes");
        reader
    }

    /// Publishes a version of a package.
    fn publish(&self, package: &str, version: &str) {
        self.alice.quipu(["publish", &self.world.package("published", package, version)]).ok();
    }

    /// Gets a release whole, and says what it cost.
    fn get(&self, reader: &Person, way: Way, release: &str) -> (Outcome, u64, u64) {
        let to = reader.home.join("got");
        let got = reader.quipu(["get", release, "--to", &to.display().to_string()]).ok();
        std::fs::remove_dir_all(&to).unwrap();
        let (connections, bytes) = self.relay(way).spent();
        (got, connections, bytes)
    }

    /// Gets a release within a bound of connections, and of 32 KiB.
    #[track_caller]
    fn gets(&self, reader: &Person, way: Way, release: &str, most: u64) {
        let (_, connections, bytes) = self.get(reader, way, release);
        println!("{way:?} {release}: {connections} connections, {bytes} bytes");
        assert!((1..=most).contains(&connections) && bytes < 32 * 1024, "{way:?} {release}: {connections}, {bytes} bytes");
    }

    /// Fails to find a package, within the same bounds.
    #[track_caller]
    fn misses(&self, reader: &Person, way: Way, package: &str) {
        reader.quipu(["info", package, "--json"]).fails(3, "not-found");
        let (connections, bytes) = self.relay(way).spent();
        println!("{way:?} {package}: {connections} connections, {bytes} bytes");
        assert!((1..=5).contains(&connections) && bytes < 32 * 1024, "{way:?} {package}: {connections}, {bytes} bytes");
    }
}

/// Lives with a registry of some shape: `here` and `there` are packages with releases.
fn lives_within_bounds(shape: &str, here: &str, there: &str, absent: &[&str]) {
    let large = Large::new(shape);
    for way in WAYS {
        let version = if matches!(way, Way::Git) { "8.0.0" } else { "9.0.0" };
        let bob = large.reader("bob", way);
        large.gets(&bob, way, here, 5);
        large.gets(&bob, way, here, 1);
        // Another package out of the same map.
        large.gets(&bob, way, there, 5);
        for package in absent {
            large.misses(&bob, way, package);
            // Who has nothing yet comes to the same end.
            large.misses(&large.reader("carol", way), way, package);
        }
        large.publish(there, version);
        large.gets(&bob, way, here, 2);
        large.gets(&bob, way, here, 1);
        large.publish(here, version);
        large.gets(&bob, way, &format!("{here}@{version}"), 2);
        large.publish(&format!("new-{}:package", version.replace('.', "-")), "1.0.0");
        large.gets(&bob, way, here, 2);
    }
}

#[test]
fn one_namespace_of_many_packages_costs_no_more() {
    let absent = ["load-000:package-004000", "nowhere:package", "load-001:package-000000"];
    lives_within_bounds("one", HERE, "load-000:package-003998", &absent);
}

#[test]
fn many_namespaces_cost_no_more() {
    lives_within_bounds("many", HERE, "load-999:package-000002", &["load-500:package-000004", "nowhere:package"]);
}

#[test]
fn namespaces_of_falling_sizes_cost_no_more() {
    lives_within_bounds("skewed", HERE, THERE, &["load-000:package-999999", "load-999:x"]);
}

#[test]
fn a_server_without_filters_costs_its_map_once_and_that_is_said_once() {
    let large = Large::new("skewed");
    git(&large.world.path("reg.git"), ["config", "uploadpack.allowFilter", "false"]).ok();
    let note = "knows no filters, so the whole map of the registry was fetched";
    // 4,000 names with their ids, which nothing makes smaller.
    let is_whole = |bytes: u64| (4000 * 20..4000 * 40).contains(&bytes);
    for way in WAYS {
        let version = if matches!(way, Way::Git) { "8.0.0" } else { "9.0.0" };
        let bob = large.world.person(&format!("bob-{way:?}"));
        let url = large.url(way, "reg.git");
        let trusted = bob.quipu(["trust", "add", DOMAIN, &url, "--id", &large.id]).ok();
        assert!(trusted.stdout.contains(note) && trusted.stdout.contains("allowFilter true"), "{way:?}: {}", trusted.stdout);
        let (connections, bytes) = large.relay(way).spent();
        assert!(connections <= 3 && is_whole(bytes), "{way:?}: {connections} connections, {bytes} bytes");
        let again = bob.asks(["trust", "add", DOMAIN, &url, "--id", &large.id]);
        assert_eq!(again["whole-map"], true, "{again}");
        large.relay(way).spent();
        // From then on what changes comes, however it is asked for.
        large.gets(&bob, way, HERE, 5);
        large.gets(&bob, way, HERE, 1);
        large.publish(THERE, version);
        large.gets(&bob, way, HERE, 2);
        large.publish(HERE, version);
        large.gets(&bob, way, HERE, 2);
        large.gets(&bob, way, THERE, 5);
        large.misses(&bob, way, "load-000:package-999999");
        assert_eq!(bob.asks(["info", HERE])["whole-map"], false);
        large.relay(way).spent();

        // Whose cache is gone pays once more, and is told so, by whatever comes first.
        let to = large.world.at("anew");
        for (number, args) in [&["get", HERE, "--to", &to][..], &["info", HERE], &["verify", HERE], &["info"]].iter().enumerate()
        {
            for is_first in [true, false] {
                let _ = std::fs::remove_dir_all(&to);
                if is_first {
                    std::fs::remove_dir_all(bob.home.join("cache")).unwrap();
                }
                let said = bob.quipu(args.iter().copied().chain(["--json"])).ok();
                assert_eq!(
                    (said.json()["whole-map"] == true, said.stderr.matches(note).count()),
                    (is_first, usize::from(is_first))
                );
                let (connections, bytes) = large.relay(way).spent();
                assert!(connections <= 5 && is_whole(bytes) == is_first, "{way:?} {number}: {connections}, {bytes} bytes");
            }
        }
        let _ = std::fs::remove_dir_all(&to);
    }
}

#[test]
fn a_plain_mirror_is_as_good() {
    let large = Large::new("many");
    // As git makes it, of a path and over the network. Settings are not cloned.
    git(&large.world.root(), ["clone", "-q", "--mirror", "reg.git", "path.git"]).ok();
    git(&large.world.root(), ["clone", "-q", "--mirror", &large.daemon.url("reg.git"), "wire.git"]).ok();
    let original = large.alice.asks(["get", HERE, "--to", &large.world.at("original")]);
    for mirror in ["path.git", "wire.git"] {
        for (number, url) in [large.world.at(mirror), large.url(Way::Git, mirror), large.url(Way::Web, mirror)].iter().enumerate()
        {
            let reader = large.world.person(&format!("reader-{number}-{mirror}"));
            reader.trust(DOMAIN, url, &large.id);
            let to = reader.home.join("got");
            let got = reader.asks(["get", HERE, "--to", &to.display().to_string()]);
            assert_eq!((&got["content"], &got["checkpoint"]), (&original["content"], &original["checkpoint"]), "{url}");
            folders::assert_same(&to, &large.world.path("original"));
            reader.quipu(["info", "load-500:package-000004", "--json"]).fails(3, "not-found");
            assert_eq!(reader.asks(["verify", HERE])["verified"], true, "{url}");
        }
        git(&large.world.path(mirror), ["fetch", "-q", "--prune"]).ok();
    }
    // A mirror that fell behind is an old copy for who saw the registry itself, and goes on where it catches up.
    large.publish(HERE, "9.0.0");
    let dora = large.reader("dora", Way::Git);
    large.gets(&dora, Way::Git, HERE, 5);
    let config = dora.home.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("reg.git", "wire.git")).unwrap();
    let message = dora.quipu(["get", HERE, "--to", "old", "--json", "--quiet"]).fails(4, "rollback");
    assert!(message.contains("an old one"), "{message}");
    git(&large.world.path("wire.git"), ["fetch", "-q", "--prune"]).ok();
    large.git.spent();
    large.gets(&dora, Way::Git, &format!("{HERE}@9.0.0"), 5);
}
