//! Registries that are large or long, read over the network by the trees on one path and the checkpoints along skip links alone: what the
//! rest of the map holds is not seen, and must not matter.

use super::daemon::Daemon;
use super::relay::Relay;
use super::scene::*;
use quipu::git::layout;
use quipu::model::digest::{FileDigest, GitId, ObjectKind};
use quipu::model::map::Map;
use quipu::model::name::PackageName;
use quipu::model::object::{ReadObjects as _, WriteObjects as _};
use quipu::model::record::SignedRecord;
use quipu::model::skip::{descent, skip};
use quipu::model::slot::Slot;
use quipu::model::tree::{Mode, Tree};
use quipu::replica::chains;
use std::fs;

/// What one command may cost, whoever serves, in connections.
const CONNECTIONS: u64 = 5;
/// And in bytes, besides what is asked for: a lie may make a client fetch a small map whole.
const BYTES: u64 = 160 * 1024;

/// A server of a scene's repositories, and a count of what it sends.
struct Host {
    _daemon: Daemon,
    relay: Relay,
}

impl Host {
    fn of(scene: &Scene) -> Self {
        let daemon = Daemon::serve(&scene.path(""));
        let relay = Relay::to(daemon.port());
        Host { _daemon: daemon, relay }
    }

    fn url(&self, registry: &Registry) -> String {
        self.relay.url(registry.path.file_name().unwrap().to_str().unwrap())
    }

    fn reader(&self, scene: &Scene, name: &str, registry: &Registry) -> User {
        let user = scene.user(name);
        user.trust(registry, &self.url(registry));
        self.relay.spent();
        user
    }

    /// Fails unless what was done since the last time cost little.
    #[track_caller]
    #[allow(clippy::print_stdout)]
    fn cost(&self, what: &str, bytes_max: u64) {
        let (connections, bytes) = self.relay.spent();
        println!("{what}: {connections} connections, {bytes} bytes");
        assert!(connections <= CONNECTIONS && bytes < bytes_max, "{what}: {connections} connections, {bytes} bytes");
    }
}

/// Names beside `demo:hello`: 2,000 in its own namespace, 1,000 in as many others.
fn neighbours() -> impl Iterator<Item = PackageName> {
    let beside = (0..2000).map(|number| package(&format!("demo:n{number:04}")));
    beside.chain((0..1000).map(|number| package(&format!("n{number:04}:one"))))
}

/// A registry of 3,001 packages with `demo:hello` 1.0.0 among them, and its server.
fn crowded() -> (Scene, Registry, Log, Host) {
    let (scene, registry, log) = Scene::with_registry();
    registry.crowd(neighbours());
    let host = Host::of(&scene);
    (scene, registry, log, host)
}

/// Returns the trees of a map on the way to a package: names of folders, and the tree in each.
fn way_to(registry: &Registry, root: GitId, name: &str) -> Vec<(String, GitId)> {
    fn walk(registry: &Registry, tree: GitId, wanted: &str, way: &mut Vec<(String, GitId)>) -> bool {
        let found = Tree::read(&registry.reader(), tree).unwrap();
        for entry in found.entries() {
            match entry.mode {
                Mode::Gitlink if entry.name == wanted => return true,
                // Another namespace is none of ours.
                Mode::Tree if entry.name.starts_with('_') || ["packages", "demo"].contains(&entry.name.as_str()) => {
                    way.push((entry.name.clone(), entry.id));
                    if walk(registry, entry.id, wanted, way) {
                        return true;
                    }
                    way.pop();
                }
                _ => {}
            }
        }
        false
    }
    let mut way = Vec::new();
    assert!(walk(registry, root, name, &mut way), "{name} is not in the map");
    way
}

/// Replaces the tree at the end of a way, and returns the root that results. Nothing is checked.
fn replaced(registry: &Registry, root: GitId, way: &[(String, GitId)], mode: &str, new: GitId) -> GitId {
    let Some(((name, _), above)) = way.split_last() else { return new };
    let parent = above.last().map_or(root, |(_, tree)| *tree);
    let entries = entries_of(registry, parent);
    let changed: Vec<RawEntry<'_>> = entries
        .iter()
        .map(|(old, at, id)| match at == name {
            true => (mode, at.as_bytes(), new),
            false => (old.as_str(), at.as_bytes(), *id),
        })
        .collect();
    replaced(registry, root, above, "40000", registry.raw("tree", &raw_tree(&changed)))
}

/// Returns the entries of a tree: mode, name, id.
fn entries_of(registry: &Registry, tree: GitId) -> Vec<(String, String, GitId)> {
    let tree = Tree::read(&registry.reader(), tree).unwrap();
    let mode = |mode| if mode == Mode::Tree { "40000" } else { "160000" };
    tree.entries().iter().map(|entry| (mode(entry.mode).to_owned(), entry.name.clone(), entry.id)).collect()
}

/// Writes a tree of some entries.
fn tree_of(registry: &Registry, entries: &[(String, String, GitId)]) -> GitId {
    let entries: Vec<RawEntry<'_>> = entries.iter().map(|(mode, name, id)| (mode.as_str(), name.as_bytes(), *id)).collect();
    registry.raw("tree", &raw_tree(&entries))
}

#[test]
fn a_tree_on_the_way_that_is_another_one_is_found() {
    let (scene, registry, _, host) = crowded();
    let carol = host.reader(&scene, "carol", &registry);
    carol.gets("demo:hello", "before");
    let good = registry.newest();
    let root = good.draft().tree;
    let way = way_to(&registry, root, "hello");
    let names: Vec<&str> = way.iter().map(|(name, _)| name.as_str()).collect();
    assert!(matches!(names[..], ["packages", _, "demo", _, ..]), "{names:?}");
    let leaf = way.last().unwrap().1;
    let parent = way[way.len() - 2].1;
    let sibling = entries_of(&registry, parent).into_iter().find(|(.., id)| *id != leaf).unwrap();
    let of_leaf = entries_of(&registry, leaf);
    let (blob, empty) = (registry.raw("blob", b"x"), registry.raw("tree", b""));
    let whole_folder: Vec<_> = (0..200).map(|n| ("160000".to_owned(), format!("a{n:03}"), root)).collect();
    let mut lowered = of_leaf.clone();
    lowered.iter_mut().find(|(_, name, _)| name == "hello").unwrap().0 = "40000".to_owned();
    let mut mixed = of_leaf;
    mixed.insert(0, ("40000".to_owned(), "_0".to_owned(), sibling.2));
    let bad = [
        ("a part in the place of another", way.len(), "40000", sibling.2),
        ("the folder above in the place of a part", way.len(), "40000", parent),
        ("more names than a folder holds", 3, "40000", tree_of(&registry, &whole_folder)),
        ("a folder in the place of a head", way.len(), "40000", tree_of(&registry, &lowered)),
        ("names beside parts", way.len(), "40000", tree_of(&registry, &mixed)),
        ("nothing in a folder", way.len(), "40000", empty),
        ("a file in the place of a folder", way.len(), "100644", blob),
        ("a head in the place of a folder", way.len(), "160000", good.git_id()),
        ("a namespace in the place of all", 1, "40000", way[2].1),
        ("a part of all in the place of a namespace", 3, "40000", way[1].1),
    ];
    for (what, depth, mode, new) in bad {
        let tree = replaced(&registry, root, &way[..depth], mode, new);
        registry.checkpoint("olga", &[], |draft, _| draft.tree = tree);
        let dora = host.reader(&scene, "dora", &registry);
        for user in [&carol, &dora] {
            let (state, refs) = (user.state(), registry.refs());
            let said = user.run(&["get", "demo:hello", "--to", "after"]);
            println!("{what}: {} {}", said.code(), said.message());
            // Git itself hands out no folder that is none.
            let by_git = what.starts_with("a folder in the place of a head") && (said.code(), said.status) == ("git", 7);
            assert!(by_git || (said.code(), said.status) == ("bad-map", 4), "{what}: {}{}", said.stdout, said.stderr);
            assert_eq!((user.state(), registry.refs()), (state, refs), "{what}");
            host.cost(what, BYTES);
        }
        registry.set(layout::registry_log().as_str(), good.git_id());
        fs::remove_dir_all(dora.home()).unwrap();
    }
    // Built by the same hands, but right.
    let tree = replaced(&registry, root, &way, "40000", leaf);
    assert_eq!(tree, root);
    registry.checkpoint("olga", &[], |draft, _| draft.tree = tree);
    carol.gets("demo:hello", "after");
    host.cost("twin", 32 * 1024);
}

#[test]
fn a_folder_that_is_split_for_ever_comes_to_an_end() {
    let (scene, registry, log, host) = crowded();
    let carol = host.reader(&scene, "carol", &registry);
    let good = registry.newest();
    let way = way_to(&registry, good.draft().tree, "hello");
    // Where names are one half-byte after the other until the hash ends, a head stands there; and beyond its end, nothing may.
    let hash = FileDigest::of_bytes(b"hello").to_string();
    let halves: Vec<String> = hash.trim_start_matches("sha256:").chars().map(|half| format!("_{half}")).collect();
    let leaf = vec![("160000".to_owned(), "hello".to_owned(), log.head().git_id())];
    for more in [0, 1] {
        let mut tree = tree_of(&registry, &leaf);
        for half in halves.iter().chain(halves.first().into_iter().take(more)).rev() {
            tree = tree_of(&registry, &[("40000".to_owned(), half.clone(), tree)]);
        }
        let root = replaced(&registry, good.draft().tree, &way[..3], "40000", tree);
        registry.checkpoint("olga", &[], |draft, _| draft.tree = root);
        let said = carol.run(&["get", "demo:hello", "--to", "deep"]);
        assert!(matches!((said.code(), said.status), ("none", 0) if more == 0) || (said.code(), said.status) == ("bad-map", 4));
        host.cost("deep", BYTES);
        let _ = fs::remove_dir_all(carol.folder().join("deep"));
        registry.set(layout::registry_log().as_str(), good.git_id());
        fs::remove_dir_all(carol.home()).unwrap();
        carol.trust(&registry, &host.url(&registry));
        host.relay.spent();
    }
}

#[test]
fn a_package_that_the_map_hides_is_said_not_to_be_published() {
    let (scene, registry, log, host) = crowded();
    let good = registry.newest();
    let root = good.draft().tree;
    let way = way_to(&registry, root, "hello");
    let mut without = entries_of(&registry, way.last().unwrap().1);
    without.retain(|(_, name, _)| name != "hello");
    let mut parts = entries_of(&registry, way[way.len() - 2].1);
    parts.retain(|(_, name, _)| *name != way.last().unwrap().0);
    let mut namespaces = entries_of(&registry, way[1].1);
    namespaces.retain(|(_, name, _)| name != "demo");
    for (depth, hidden) in [(way.len(), without), (way.len() - 1, parts), (2, namespaces)] {
        let tree = replaced(&registry, root, &way[..depth], "40000", tree_of(&registry, &hidden));
        registry.checkpoint("olga", &[], |draft, checkpoint| {
            draft.tree = tree;
            checkpoint.packages -= 1;
        });
        let carol = host.reader(&scene, "carol", &registry);
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "not-published", 3);
        host.cost("hidden", 32 * 1024);
        // With the reference gone as well, it never was.
        registry.delete(layout::package(&package("demo:hello")).as_str());
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "not-found", 3);
        host.cost("gone", 32 * 1024);
        registry.set(layout::package(&package("demo:hello")).as_str(), log.head().git_id());
        registry.set(layout::registry_log().as_str(), good.git_id());
        fs::remove_dir_all(carol.home()).unwrap();
    }
    host.reader(&scene, "carol", &registry).gets("demo:hello", "twin");
}

#[test]
fn a_tree_of_the_map_that_the_server_lacks_is_named() {
    let (scene, registry, _, host) = crowded();
    let good = registry.newest();
    let way = way_to(&registry, good.draft().tree, "hello");
    // The server has it, and does not show it: as when a disk fails, or a host holds back.
    let nowhere: GitId = "1234567890123456789012345678901234567890".parse().unwrap();
    for depth in 1..=way.len() {
        let tree = replaced(&registry, good.draft().tree, &way[..depth], "40000", nowhere);
        registry.checkpoint("olga", &[], |draft, _| draft.tree = tree);
        let carol = scene.user("carol");
        let added = carol.run(&["trust", "add", registry.name.as_str(), &host.url(&registry), "--id", &registry.id.to_string()]);
        let said = match added.status {
            0 => carol.run(&["get", "demo:hello", "--to", "x"]),
            _ => added,
        };
        assert!(["ref-missing", "git"].contains(&said.code()), "{depth}: {}{}", said.stdout, said.stderr);
        println!("{depth}: {}", said.message());
        assert!(!carol.folder().join("x").exists());
        host.cost("missing", BYTES);
        registry.set(layout::registry_log().as_str(), good.git_id());
        fs::remove_dir_all(carol.home()).unwrap();
    }
    host.reader(&scene, "carol", &registry).gets("demo:hello", "twin");
}

#[test]
fn a_number_of_packages_that_lies_costs_little_and_changes_nothing() {
    let (scene, registry, _, host) = crowded();
    let carol = host.reader(&scene, "carol", &registry);
    let good = registry.newest();
    let lies = [0, 1, 3, 500, 30_000, 2_000_000, u64::from(u32::MAX), 1 << 62, i64::MAX as u64];
    for (number, lie) in lies.into_iter().enumerate() {
        let lying = registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.packages = lie);
        let dora = host.reader(&scene, "dora", &registry);
        for (user, name) in [(&carol, "carol"), (&dora, "dora")] {
            // The number is no part of what is asked, and who audits the whole finds the lie.
            user.gets("demo:hello", &format!("got-{name}-{number}"));
            host.cost(&format!("{lie} packages, {name}"), BYTES);
            user.refused(&registry, &["info", "demo:absent"], "not-found", 3);
            user.refused(&registry, &["info", "absent:absent"], "not-found", 3);
            host.cost(&format!("{lie} packages, {name}, absent"), 2 * BYTES);
        }
        fs::remove_dir_all(dora.home()).unwrap();
        fs::remove_dir_all(dora.folder()).unwrap();
        assert_eq!(registry.newest().digest(), lying.digest());
    }
    // A number that no record can hold is none.
    let text = String::from_utf8(registry.newest().bytes().to_vec()).unwrap();
    let beyond = text.replace("packages = 9223372036854775807", "packages = 9223372036854775808");
    assert_ne!(text, beyond);
    registry.set(layout::registry_log().as_str(), registry.raw("commit", beyond.as_bytes()));
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "not-canonical", 4);
    registry.set(layout::registry_log().as_str(), good.git_id());
    host.reader(&scene, "erin", &registry).gets("demo:hello", "twin");
}

/// 33,001 packages: 30,000 more than [`crowded`] has, in 100 namespaces of 300.
fn more_crowded() -> (Scene, Registry, Log, Host) {
    let (scene, registry, log, host) = crowded();
    registry.crowd((0..30_000).map(|number| package(&format!("m{:02}:p{number:05}", number % 100))));
    (scene, registry, log, host)
}

#[test]
fn a_large_namespace_among_small_ones_costs_no_more() {
    let (scene, registry, _, host) = more_crowded();
    // Where names are 30 in a namespace on average, this one has 2,001.
    host.reader(&scene, "carol", &registry).gets("demo:hello", "got");
    host.cost("cold", 32 * 1024);
}

#[test]
fn a_small_number_of_packages_makes_nobody_fetch_a_large_map() {
    let (scene, registry, _, host) = more_crowded();
    registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.packages = 3);
    let carol = host.reader(&scene, "carol", &registry);
    carol.gets("demo:hello", "got");
    host.cost("3 packages, it says", BYTES);
    carol.refused(&registry, &["info", "demo:absent"], "not-found", 3);
    // Names like it are looked for in a map that is small, as it says; that it is not is noticed, and the rest is left where it is.
    // What was on its way when that was noticed counts at the relay, as much as sockets hold; none of it is kept.
    host.cost("3 packages, it says, absent", u64::MAX);
    let kept: u64 = walkdir::WalkDir::new(carol.home().join("cache"))
        .into_iter()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file))
        .map(|file| file.len())
        .sum();
    assert!((1..256 * 1024).contains(&kept), "{kept}");
}

#[test]
fn what_went_back_or_aside_is_found_in_a_large_map_too() {
    let (scene, registry, log, host) = crowded();
    let old = registry.copied_to(&scene.path("old.git"));
    let other = registry.copied_to(&scene.path("other.git"));
    let mine = registry.pass(3);
    other.checkpoint("olga", &[], |draft, _| draft.time = at(THEN + 1));
    let beside = other.pass(2);
    let carol = host.reader(&scene, "carol", &registry);
    carol.gets("demo:hello", "before");
    host.cost("cold", 32 * 1024);
    let mut expected = Vec::new();
    for (copy, code) in [(&old, "rollback"), (&other, "fork")] {
        carol.redirect(&registry, &host.url(copy));
        for command in [&["get", "demo:hello", "--to", "x"][..], &["info", "demo:n0001"], &["info"]] {
            carol.refused(copy, command, code, 4);
            host.cost(code, 32 * 1024);
        }
        expected.extend([mine.bytes().to_vec(), copy.newest().bytes().to_vec()]);
    }
    let further = other.pass(20);
    carol.refused(&other, &["get", "demo:hello", "--to", "x"], "fork", 4);
    host.cost("further", BYTES);
    expected.push(further.bytes().to_vec());
    expected.sort();
    expected.dedup();
    let mut kept = carol.evidence();
    kept.sort();
    kept.dedup();
    assert_eq!(kept, expected);
    assert_eq!(mine.seq(), beside.seq());
    carol.redirect(&registry, &host.url(&registry));
    let mut newer = log;
    newer.release("alice", registry.text("1.0.1", "two\n"));
    registry.serve("demo:hello", &newer);
    assert_eq!(carol.gets("demo:hello", "after").json["version"], "1.0.1");
    host.cost("twin", 32 * 1024);
}

/// Lets Carol see `demo:hello`, go away while so many checkpoints are made, and come back.
fn away(filters: &str, count: u64, bytes_max: u64) {
    let (scene, registry, mut log, host) = crowded();
    registry.git(&["config", "uploadpack.allowFilter", filters]);
    registry.pass(40);
    let carol = host.reader(&scene, "carol", &registry);
    carol.gets("demo:hello", "before");
    registry.pass(count - 1);
    log.release("alice", registry.text("1.0.1", "two\n"));
    registry.serve("demo:hello", &log);
    host.relay.spent();
    assert_eq!(carol.gets("demo:hello", "after").json["version"], "1.0.1");
    host.cost(&format!("away for {count}, filters {filters}"), bytes_max);
    carol.gets("demo:hello", "again");
    host.cost("nothing new", 2 * 1024);
    // Who was never there before has no way to go.
    host.reader(&scene, "dora", &registry).gets("demo:hello", "cold");
    host.cost("cold", if filters == "true" { 32 * 1024 } else { BYTES });
}

#[test]
fn who_was_away_for_50_checkpoints_comes_back() {
    away("true", 50, 32 * 1024);
    away("false", 50, 256 * 1024);
}

#[test]
fn who_was_away_for_499_checkpoints_comes_back() {
    away("true", 499, 32 * 1024);
}

#[test]
fn who_was_away_for_1200_checkpoints_comes_back_by_skip_links() {
    away("true", 1200, 32 * 1024);
}

#[test]
fn who_was_away_for_1200_checkpoints_comes_back_without_filters() {
    away("false", 1200, 2 * 1024 * 1024);
}

#[test]
fn a_fork_far_back_is_found_by_who_was_away() {
    let (scene, registry, log, host) = crowded();
    let other = registry.copied_to(&scene.path("other.git"));
    let seen = registry.pass(700);
    let carol = host.reader(&scene, "carol", &registry);
    carol.gets("demo:hello", "before");
    // The other history parted long before what Carol saw, and is longer by now.
    other.checkpoint("olga", &[], |draft, _| draft.time = at(THEN + 1));
    let mut newer = log;
    other.pass(2000);
    newer.release("alice", other.text("1.0.1", "two\n"));
    let beside = other.serve("demo:hello", &newer);
    host.relay.spent();
    carol.redirect(&registry, &host.url(&other));
    carol.refused(&other, &["get", "demo:hello", "--to", "after"], "fork", 4);
    host.cost("fork", 64 * 1024);
    let mut kept = carol.evidence();
    kept.sort();
    let mut expected = vec![seen.bytes().to_vec(), beside.bytes().to_vec()];
    expected.sort();
    assert_eq!(kept, expected, "both signed objects are kept");
    // The twin goes on from what she saw, and as far.
    registry.pass(1301);
    carol.redirect(&registry, &host.url(&registry));
    carol.gets("demo:hello", "after");
    host.cost("twin", 64 * 1024);
}

/// Forges the skip of the newest checkpoint: what its map names, and what its record says, unless that is to be the truth.
fn forge_skip(registry: &Registry, to: GitId, said: Option<&SignedRecord>) -> SignedRecord {
    registry.checkpoint("olga", &[], |draft, checkpoint| {
        let slots = [(Slot::Skip, Some(to))].into_iter().collect();
        draft.tree = registry.stage(|objects| Map::at(draft.tree).update(objects, &slots).unwrap()).root();
        if let Some(said) = said {
            checkpoint.skip = Some(said.digest());
        }
    })
}

#[test]
fn a_skip_link_that_leads_elsewhere_takes_nobody_along() {
    for behind in [30, 1200] {
        let (scene, registry, log, host) = crowded();
        let other = registry.copied_to(&scene.path("other.git"));
        let early = registry.newest();
        registry.pass(5);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        let seen = registry.newest();
        // The next but one is the end of a block, so that its skip is far and lies on the way to what Carol saw.
        let end = (seen.seq() + behind..).find(|seq| (seen.seq() + 1..seq - 8).contains(&skip(*seq))).unwrap();
        let good = registry.pass(end - 1 - seen.seq());
        assert!(descent(end, seen.seq()).next().is_some_and(|hop| hop.seq() == skip(end)), "{end}");
        // A history of another's, with a checkpoint in the very place.
        other.checkpoint("olga", &[], |draft, _| draft.time = at(THEN + 1));
        let theirs = other.pass(skip(end) - other.newest().seq());
        let lend = |from: &SignedRecord, to: &Registry| {
            let mut next = Some(from.git_id());
            let mut records = Vec::new();
            while let Some(id) = next {
                let record = chains::record(&other.reader(), id).unwrap();
                next = record.draft().parent;
                records.push(record);
            }
            to.stage(|objects| {
                for record in &records {
                    objects.write(ObjectKind::Commit, record.bytes()).unwrap();
                    let tree = record.draft().tree;
                    let bytes = other.reader().read(ObjectKind::Tree, tree, 1 << 20).unwrap();
                    objects.write(ObjectKind::Tree, &bytes).unwrap();
                }
            });
        };
        lend(&theirs, &registry);
        assert_eq!(theirs.seq(), skip(end));
        let nowhere: GitId = "1234567890123456789012345678901234567890".parse().unwrap();
        let of_package = log.head().git_id();
        let lies: [(&str, GitId, Option<&SignedRecord>); 7] = [
            ("to a checkpoint of another number", early.git_id(), Some(&early)),
            ("to another number, in the map alone", early.git_id(), None),
            ("to one of another history", theirs.git_id(), Some(&theirs)),
            ("to one of another history, in the map alone", theirs.git_id(), None),
            ("to a record of a package", of_package, None),
            ("to what nobody has", nowhere, None),
            ("to itself, as good as that is possible", good.git_id(), Some(&good)),
        ];
        for (what, to, said) in lies {
            let lying = forge_skip(&registry, to, said);
            assert_eq!(lying.seq(), end);
            let state = carol.state();
            host.relay.spent();
            let answer = carol.run(&["get", "demo:hello", "--to", "after"]);
            println!("{what}: {} {}", answer.code(), answer.message());
            let codes = ["fork", "broken-chain", "ref-missing", "network", "wrong-log"];
            assert!(codes.contains(&answer.code()), "{behind}, {what}: {}{}", answer.stdout, answer.stderr);
            assert_eq!(carol.state(), state, "{what}");
            host.cost(what, 512 * 1024);
            registry.set(layout::registry_log().as_str(), good.git_id());
        }
        let honest = registry.checkpoint("olga", &[], |_, _| {});
        assert_eq!(honest.seq(), end);
        carol.gets("demo:hello", "after");
    }
}
