//! Registries: what an operator, a host or a copy can show, and what a reader makes of it.

use super::daemon::Daemon;
use super::scene::*;
use quipu::git::layout;
use quipu::model::digest::{GitId, RecordDigest};
use quipu::model::entry::{
    Decision, DecisionHead, Entry, OperatorEntry, OperatorPrivilege, Origin, PackageEntry, PackageInit, PackagePrivilege,
    Privilege as _, Provenance, Subject, TakedownClass, Verdict,
};
use quipu::model::map::Map;
use quipu::model::object::ReadObjects as _;
use quipu::model::record::SignedRecord;
use quipu::model::skip::skip;
use quipu::model::slot::Slot;
use quipu::model::tree::Tree;
use serde_json::Value;
use std::fs;

/// Reads the registry both ways: as a folder, and over the network.
const WAYS: [Way; 2] = [Way::Path, Way::Wire];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Path,
    Wire,
}

/// Serves the repositories of a scene one way.
struct Host(Option<Daemon>);

impl Way {
    fn host(self, scene: &Scene) -> Host {
        Host((self == Way::Wire).then(|| Daemon::serve(&scene.path(""))))
    }
}

impl Host {
    fn url(&self, registry: &Registry) -> String {
        match &self.0 {
            Some(daemon) => daemon.url(registry.path.file_name().unwrap().to_str().unwrap()),
            None => registry.path.display().to_string(),
        }
    }

    fn reader(&self, scene: &Scene, name: &str, registry: &Registry) -> User {
        let user = scene.user(name);
        user.trust(registry, &self.url(registry));
        user
    }
}

fn path_of(registry: &Registry) -> &str {
    registry.path.to_str().unwrap()
}

/// Checks that exactly these two signed objects were kept.
#[track_caller]
fn assert_evidence(user: &User, seen: &SignedRecord, found: &SignedRecord) {
    let mut kept = user.evidence();
    kept.sort();
    let mut expected = vec![seen.bytes().to_vec(), found.bytes().to_vec()];
    expected.sort();
    assert_eq!(kept, expected, "both signed objects are kept");
}

fn log_ref() -> String {
    layout::registry_log().to_string()
}

#[test]
fn a_denied_operator_makes_no_checkpoint_by_naming_older_operators() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let older = registry.operate("olga", OperatorEntry::Allow(operator("oscar", &[OperatorPrivilege::Checkpoint])));
        let mut two = log.clone();
        two.release("alice", registry.text("1.0.1", "two\n"));
        registry.place("demo:hello", &two);
        let twin = registry.copied_to(&scene.path("twin.git"));
        // Before the denial his checkpoint is as good as hers.
        twin.checkpoint("oscar", &[(slot("demo:hello"), Some(two.head().git_id()))], |_, _| {});
        host.reader(&scene, "dora", &twin).gets("demo:hello@1.0.1", "got");

        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        let denial = quipu::model::entry::Denial {
            name: "oscar".parse().unwrap(),
            key: operator("oscar", &[]).key,
            privileges: vec![OperatorPrivilege::Checkpoint],
            compromised_since: None,
        };
        registry.operate("olga", OperatorEntry::Deny(denial));
        let by_oscar = registry.checkpoint("oscar", &[(slot("demo:hello"), Some(two.head().git_id()))], |_, checkpoint| {
            checkpoint.operators = older.digest();
        });
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "unauthorized", 4);
        carol.refused(&registry, &["info", "demo:hello"], "unauthorized", 4);
        if way == Way::Path {
            carol.refused(&registry, &["verify", path_of(&registry)], "unauthorized", 4);
            // Nor does an honest acceptor build on it.
            let olga = scene.cast("olga");
            registry.propose("demo:hello", &two, 1);
            olga.refused(&registry, &["registry", "accept", path_of(&registry)], "unauthorized", 4);
        }
        // With the denial before it at the newest operators it is no better.
        registry.set(&log_ref(), by_oscar.draft().parent.unwrap());
        registry.checkpoint("oscar", &[(slot("demo:hello"), Some(two.head().git_id()))], |_, _| {});
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "unauthorized", 4);
    }
}

#[test]
fn somebody_who_is_no_operator_makes_no_checkpoint() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let good = registry.checkpoint("olga", &[], |_, _| {});
    carol.gets("demo:hello", "twin");
    registry.set(&log_ref(), good.draft().parent.unwrap());
    registry.checkpoint("mallory", &[], |_, _| {});
    carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "unauthorized", 4);
}

#[test]
fn a_disowned_checkpoint_is_not_the_last_word() {
    let (scene, registry, _) = Scene::with_registry();
    registry.operate("olga", OperatorEntry::Allow(operator("oscar", &[OperatorPrivilege::Checkpoint])));
    let by_oscar = registry.checkpoint("oscar", &[], |_, _| {});
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let repudiate = OperatorEntry::Repudiate(vec![by_oscar.digest()], "stolen".into());
    let head = registry.record(registry.named(&layout::operators()));
    let record = after(&head, "olga", Entry::Operator(repudiate)).sign(&key("olga")).unwrap();
    registry.put_record(&layout::operators(), &record);
    carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "unauthorized", 4);
    // Olga goes on from the one before.
    let before = registry.record(by_oscar.draft().parent.unwrap());
    registry.checkpoint_on(&before, "olga", &[], |_, _| {});
    carol.gets("demo:hello", "after");
}

#[test]
fn a_log_without_its_denial_does_not_come_in_by_a_namesake_of_its_registry() {
    for way in WAYS {
        let (scene, registry, mut log) = Scene::with_registry();
        let host = way.host(&scene);
        log.add("alice", PackageEntry::Allow(grant("mallory", &[PackagePrivilege::Release])));
        let mut forged = log.clone();
        log.add("alice", PackageEntry::Deny(denial("mallory", &[PackagePrivilege::Release])));
        registry.serve("demo:hello", &log);
        forged.release("mallory", registry.text("6.6.6", "mine\n"));

        // Mallory's own registry of the same name: the log as it was before the denial, and her release.
        let namesake = Registry::found_at(&scene.path("namesake.git"), "acme.example", "mallory", THEN);
        namesake.text("1.0.0", "demo:hello 1.0.0\n");
        namesake.text("6.6.6", "mine\n");
        namesake.place("demo:hello", &forged);
        namesake.checkpoint("mallory", &[(slot("demo:hello"), Some(forged.head().git_id()))], |_, _| {});

        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        carol.redirect(&registry, &host.url(&namesake));
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "id-mismatch", 5);
        // Who trusts her registry by its own id sees that the log is not of that registry.
        let dora = host.reader(&scene, "dora", &namesake);
        dora.refused(&namesake, &["get", "demo:hello", "--to", "after"], "wrong-registry", 4);
        dora.refused(&namesake, &["verify", path_of(&namesake)], "wrong-registry", 4);
        let mut own = namesake.begin("mallory", "demo:hello");
        own.release("mallory", namesake.text("6.6.6", "mine\n"));
        namesake.place("demo:hello", &own);
        let first = namesake.record(namesake.newest().draft().parent.unwrap());
        namesake.checkpoint_on(&first, "mallory", &[(slot("demo:hello"), Some(own.head().git_id()))], |_, _| {});
        host.reader(&scene, "erin", &namesake).gets("demo:hello", "twin");
    }
}

#[test]
fn a_registry_of_another_name_is_not_the_one_that_was_meant() {
    let (scene, registry, _) = Scene::with_registry();
    let other = Registry::found(&scene.path("other.git"), "other.example");
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    carol.redirect(&registry, path_of(&other));
    carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "wrong-registry", 4);
    carol.redirect(&registry, path_of(&registry));
    carol.gets("demo:hello", "after");
}

/// Starts a fork of a record, by Bob, whose origin says what `tweak` leaves of the truth.
fn fork_of(registry: &Registry, log: &Log, at: usize, parent: Option<GitId>, tweak: impl FnOnce(&mut Origin)) -> Log {
    let released = registry.text("1.0.0", "demo:hello 1.0.0\n");
    let mut origin = Origin {
        registry: registry.name.clone(),
        registry_id: registry.id,
        package: package("demo:hello"),
        log: log.records[0].digest().into(),
        record: log.records[at].digest(),
        version: Some("1.0.0".parse().unwrap()),
        content: Some(released.content),
        checkpoint: registry.newest().digest(),
        linked: true,
    };
    tweak(&mut origin);
    let mut draft = registry.first("bob", "demo:fork");
    draft.parent = parent;
    let keys = vec![grant("bob", PackagePrivilege::ALL)];
    draft.entry = Entry::Package(PackageEntry::Init(PackageInit {
        registry_id: registry.id,
        origin: Some(Provenance::Fork(Box::new(origin))),
        keys,
    }));
    Log { records: vec![draft.sign(&key("bob")).unwrap()], trees: Vec::new() }
}

#[test]
fn a_fork_stands_on_the_record_that_it_names() {
    let (scene, registry, log) = Scene::with_registry();
    let head = Some(log.head().git_id());
    let bad = [
        // The parent is another record of the origin.
        fork_of(&registry, &log, 1, Some(log.records[0].git_id()), |_| {}),
        // The origin is said to be another log, another package, other files.
        fork_of(&registry, &log, 1, head, |origin| origin.log = RecordDigest::of_bytes(b"other").into()),
        fork_of(&registry, &log, 1, head, |origin| origin.package = package("demo:other")),
        fork_of(&registry, &log, 1, head, |origin| origin.content = Some(digest_of(&[("a", b"b")]))),
        fork_of(&registry, &log, 1, head, |origin| origin.version = Some("2.0.0".parse().unwrap())),
        fork_of(&registry, &log, 1, head, |origin| origin.record = RecordDigest::of_bytes(b"other")),
    ];
    for bad in &bad {
        registry.propose("demo:fork", bad, 0);
        scene.refuses(&registry, "bad-origin");
    }
    // No parent although it says that there is one: said before the origin is looked at.
    registry.propose("demo:fork", &fork_of(&registry, &log, 1, None, |_| {}), 0);
    scene.refuses(&registry, "bad-origin");
    registry.propose("demo:fork", &fork_of(&registry, &log, 1, head, |_| {}), 0);
    scene.accepts(&registry);
}

#[test]
fn a_fork_of_a_forged_chain_is_refused_and_a_reader_refuses_it_too() {
    let (scene, registry, log) = Scene::with_registry();
    // A record of the origin that its keys never signed.
    let mut forged = log.clone();
    forged.add("mallory", PackageEntry::Yank("1.0.0".parse().unwrap(), "no".into()));
    registry.write(&forged.records);
    let bad = fork_of(&registry, &forged, 2, Some(forged.head().git_id()), |_| {});
    let good = fork_of(&registry, &log, 1, Some(log.head().git_id()), |_| {});
    scene.twins(&registry, "demo:fork", &bad, "bad-origin", &good, 0);
    let carol = scene.reader("carol", &registry);
    carol.run(&["verify", "demo:fork"]).well();
    registry.serve("demo:fork", &bad);
    let dora = scene.reader("dora", &registry);
    dora.refused(&registry, &["verify", "demo:fork"], "bad-origin", 4);
    dora.refused(&registry, &["info", "demo:fork"], "bad-origin", 4);
}

#[test]
fn an_anchor_that_only_the_origin_holds_is_none_of_the_fork() {
    let (scene, registry, log) = Scene::with_registry();
    let mut fork = fork_of(&registry, &log, 1, Some(log.head().git_id()), |_| {});
    fork.release("bob", registry.text("1.0.1", "fork\n"));
    registry.serve("demo:fork", &fork);
    let carol = scene.reader("carol", &registry);
    for record in &log.records {
        let anchored = registry.reference("demo:fork", record.digest());
        let said = carol.refused(&registry, &["get", &anchored, "--to", "x"], "anchor-mismatch", 4);
        assert!(said.message().contains("does not hold"), "{}", said.message());
        // The origin itself holds it.
        carol.run(&["verify", &registry.reference("demo:hello", record.digest())]).well();
    }
    carol.gets(&registry.reference("demo:fork", fork.records[0].digest()), "twin");
}

#[test]
fn a_deleted_reference_is_missing_and_not_unknown() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let name = layout::package(&package("demo:hello")).to_string();
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        registry.delete(&name);
        let dora = host.reader(&scene, "dora", &registry);
        for user in [&carol, &dora] {
            user.refused(&registry, &["get", "demo:hello", "--to", "after"], "ref-missing", 4);
            user.refused(&registry, &["info", "demo:hello"], "ref-missing", 4);
            // A name that never was is not found.
            user.refused(&registry, &["info", "demo:nothing"], "not-found", 3);
        }
        dora.refused(&registry, &["verify", path_of(&registry)], "ref-missing", 4);
        registry.set(&name, log.head().git_id());
        dora.gets("demo:hello", "after");
    }
}

#[test]
fn a_registry_without_its_own_log_says_so() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        let operators = registry.named(&layout::operators());
        registry.delete(layout::operators().as_str());
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "ref-missing", 4);
        registry.set(layout::operators().as_str(), operators);
        carol.gets("demo:hello", "after");
    }
}

#[test]
fn a_reference_behind_the_map_is_a_rollback() {
    for way in WAYS {
        let (scene, registry, mut log) = Scene::with_registry();
        let host = way.host(&scene);
        let behind = log.head().git_id();
        log.release("alice", registry.text("1.0.1", "two\n"));
        registry.serve("demo:hello", &log);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello@1.0.1", "before");
        registry.set(layout::package(&package("demo:hello")).as_str(), behind);
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "rollback", 4);
        carol.refused(&registry, &["verify", path_of(&registry)], "rollback", 4);
        let dora = host.reader(&scene, "dora", &registry);
        dora.refused(&registry, &["get", "demo:hello", "--to", "after"], "rollback", 4);
    }
}

#[test]
fn a_reference_beside_the_map_is_a_fork_and_both_records_are_kept() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let (mut one, mut other) = (log.clone(), log);
        one.release("alice", registry.text("1.0.1", "one\n"));
        other.release("alice", registry.text("1.0.1", "other\n"));
        registry.serve("demo:hello", &one);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        registry.write(&other.records);
        registry.set(layout::package(&package("demo:hello")).as_str(), other.head().git_id());
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "fork", 4);
        assert_evidence(&carol, one.head(), other.head());
        carol.refused(&registry, &["verify", path_of(&registry)], "fork", 4);
    }
}

#[test]
fn a_head_beyond_the_map_is_not_published_yet_and_is_ignored() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let mut newer = log;
        newer.release("alice", registry.text("1.0.1", "two\n"));
        registry.place("demo:hello", &newer);
        let carol = host.reader(&scene, "carol", &registry);
        assert_eq!(carol.gets("demo:hello", "got").json["version"], "1.0.0");
        carol.refused(&registry, &["get", "demo:hello@1.0.1", "--to", "x"], "not-found", 3);
        let whole = carol.run(&["verify", path_of(&registry)]);
        assert_eq!(whole.json["unpublished"][0], "demo:hello");
        registry.serve("demo:hello", &newer);
        assert_eq!(carol.gets("demo:hello", "twin").json["version"], "1.0.1");
    }
}

#[test]
fn a_log_beyond_the_map_that_is_forged_changes_nothing_either() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let mut forged = log;
        forged.release("mallory", registry.text("1.0.1", "mine\n"));
        registry.place("demo:hello", &forged);
        let carol = host.reader(&scene, "carol", &registry);
        assert_eq!(carol.gets("demo:hello", "got").json["version"], "1.0.0");
    }
}

#[test]
fn a_log_that_no_map_holds_is_not_published() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let new = registry.hello("demo:new", "1.0.0");
        registry.place("demo:new", &new);
        let carol = host.reader(&scene, "carol", &registry);
        for command in [&["get", "demo:new", "--to", "x"][..], &["info", "demo:new"], &["verify", "demo:new"]] {
            carol.refused(&registry, command, "not-published", 3);
        }
        registry.serve("demo:new", &new);
        carol.gets("demo:new", "twin");
    }
}

#[test]
fn a_checkpoint_behind_the_remembered_one_is_a_rollback() {
    for way in WAYS {
        let (scene, registry, mut log) = Scene::with_registry();
        let host = way.host(&scene);
        let old = registry.copied_to(&scene.path("old.git"));
        log.release("alice", registry.text("1.0.1", "two\n"));
        registry.serve("demo:hello", &log);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        carol.redirect(&registry, &host.url(&old));
        for command in [&["get", "demo:hello", "--to", "x"][..], &["info", "demo:hello"], &["info"], &["verify", "acme.example"]]
        {
            carol.refused(&old, command, "rollback", 4);
        }
        // Who never saw the newer one has no way to tell.
        host.reader(&scene, "dora", &old).gets("demo:hello", "twin");
        carol.redirect(&registry, &host.url(&registry));
        carol.gets("demo:hello", "after");
    }
}

#[test]
fn operators_behind_the_remembered_ones_are_a_rollback() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let first = registry.named(&layout::operators());
        let newest = registry.operate("olga", OperatorEntry::Allow(operator("oscar", &[OperatorPrivilege::Checkpoint])));
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        let good = registry.newest();
        // The checkpoint is new and names the old operators.
        registry.set(layout::operators().as_str(), first);
        registry.checkpoint("olga", &[], |_, _| {});
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "rollback", 4);
        registry.set(layout::operators().as_str(), newest.git_id());
        registry.set(&log_ref(), good.git_id());
        registry.checkpoint("olga", &[], |_, _| {});
        carol.gets("demo:hello", "after");
    }
}

#[test]
fn another_checkpoint_of_the_same_seq_is_a_fork() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let other = registry.copied_to(&scene.path("other.git"));
        let mine = registry.checkpoint("olga", &[], |_, _| {});
        let theirs = other.checkpoint("olga", &[], |draft, _| draft.time = at(THEN + 1));
        assert_eq!(mine.seq(), theirs.seq());
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        carol.redirect(&registry, &host.url(&other));
        carol.refused(&other, &["get", "demo:hello", "--to", "after"], "fork", 4);
        assert_evidence(&carol, &mine, &theirs);
        host.reader(&scene, "dora", &other).gets("demo:hello", "twin");
    }
}

#[test]
fn a_history_beside_the_remembered_one_is_a_fork_however_long_it_is() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let other = registry.copied_to(&scene.path("other.git"));
        let mine = registry.checkpoint("olga", &[], |_, _| {});
        other.checkpoint("olga", &[], |draft, _| draft.time = at(THEN + 1));
        let mut theirs = other.newest();
        for _ in 0..3 {
            theirs = other.checkpoint("olga", &[], |_, _| {});
        }
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        carol.redirect(&registry, &host.url(&other));
        carol.refused(&other, &["get", "demo:hello", "--to", "after"], "fork", 4);
        assert_evidence(&carol, &mine, &theirs);
        // The twin goes on from what was seen.
        for _ in 0..3 {
            registry.checkpoint("olga", &[], |_, _| {});
        }
        carol.redirect(&registry, &host.url(&registry));
        carol.gets("demo:hello", "after");
    }
}

#[test]
fn a_package_log_that_went_back_or_aside_is_caught_by_memory() {
    for way in WAYS {
        let (scene, registry, log) = Scene::with_registry();
        let host = way.host(&scene);
        let (mut one, mut other) = (log.clone(), log.clone());
        one.release("alice", registry.text("1.0.1", "one\n"));
        other.release("alice", registry.text("1.0.1", "other\n"));
        registry.serve("demo:hello", &one);
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        // The operator puts an older head into a newer map, and then another log of the same length.
        registry.serve("demo:hello", &log);
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "rollback", 4);
        carol.refused(&registry, &["verify", path_of(&registry)], "rollback", 4);
        registry.serve("demo:hello", &other);
        carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "fork", 4);
        // Whoever looks at all of history sees it too.
        carol.refused(&registry, &["verify", path_of(&registry)], "rollback", 4);
        registry.serve("demo:hello", &one);
        carol.gets("demo:hello", "after");
    }
}

#[test]
fn an_audit_finds_a_log_that_went_aside() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut one, mut other) = (log.clone(), log);
    one.release("alice", registry.text("1.0.1", "one\n"));
    other.release("alice", registry.text("1.0.1", "other\n"));
    registry.serve("demo:hello", &one);
    let carol = scene.user("carol");
    carol.run(&["verify", path_of(&registry)]).well();
    registry.serve("demo:hello", &other);
    carol.refused(&registry, &["verify", path_of(&registry)], "fork", 4);
}

#[test]
fn an_expired_checkpoint_is_stale_and_what_is_here_stays_usable() {
    for way in WAYS {
        let (scene, registry, _) = Scene::with_registry();
        let host = way.host(&scene);
        let carol = host.reader(&scene, "carol", &registry);
        let now = quipu::command::context::now().unwrap().unix();
        registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.expires = Some(now - 60));
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "stale", 4);
        carol.run(&["info", "demo:hello"]).well();
        carol.run(&["verify", path_of(&registry)]).well();
        registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.expires = Some(now + 3600));
        carol.gets("demo:hello", "twin");
    }
}

#[test]
fn a_map_that_names_what_is_not_there_is_refused() {
    for way in WAYS {
        let (scene, registry, mut log) = Scene::with_registry();
        let host = way.host(&scene);
        log.release("alice", registry.text("1.0.1", "two\n"));
        registry.serve("demo:hello", &log);
        let head = log.head().git_id().to_string();
        let carol = host.reader(&scene, "carol", &registry);
        carol.gets("demo:hello", "before");
        // The host lost the newest record, and the reference names the one before.
        registry.set(layout::package(&package("demo:hello")).as_str(), log.records[1].git_id());
        fs::remove_file(registry.path.join("objects").join(&head[..2]).join(&head[2..])).unwrap();
        let dora = host.reader(&scene, "dora", &registry);
        dora.refused(&registry, &["get", "demo:hello", "--to", "x"], "ref-missing", 4);
    }
}

#[test]
fn a_damaged_object_is_noticed() {
    let (scene, registry, log) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    // Another commit under the id of the head.
    let file = |id: GitId| {
        let id = id.to_string();
        registry.path.join("objects").join(&id[..2]).join(&id[2..])
    };
    let good = fs::read(file(log.head().git_id())).unwrap();
    let mut other = log.clone();
    other.records.pop();
    other.release("mallory", registry.text("1.0.0", "mine\n"));
    registry.write(&other.records);
    let swapped = fs::read(file(other.head().git_id())).unwrap();
    fs::remove_file(file(log.head().git_id())).unwrap();
    put(&file(log.head().git_id()), swapped);
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "corrupt-object", 4);
    fs::remove_file(file(log.head().git_id())).unwrap();
    put(&file(log.head().git_id()), good);
    carol.gets("demo:hello", "after");
}

/// What git itself would believe of a repository instead of its objects.
const TRICKS: [&str; 7] =
    ["replace record", "replace contents", "replace map", "grafts", "shallow", "alternates", "commit-graph"];

fn play(trick: &str, scene: &Scene, registry: &Registry, log: &Log) {
    let head = log.head().git_id();
    let replace = |old: GitId, new: GitId| registry.set(&format!("refs/replace/{old}"), new);
    match trick {
        "replace record" => {
            let mut forged = log.clone();
            forged.records.pop();
            forged.release("alice", registry.text("1.0.0", "mine\n"));
            registry.write(&forged.records);
            replace(head, forged.head().git_id());
        }
        "replace contents" => {
            let evil = registry.files(&[("README.md", b"mine\n")]);
            replace(log.trees[0].1, evil);
            let blob = registry.raw("blob", b"demo:hello 1.0.0\n");
            replace(blob, registry.raw("blob", b"mine\n"));
        }
        "replace map" => {
            let newest = registry.newest();
            replace(newest.draft().tree, registry.raw("tree", b""));
            replace(newest.git_id(), newest.draft().parent.unwrap());
        }
        "grafts" => put(&registry.path.join("info/grafts"), format!("{head}\n")),
        "shallow" => put(&registry.path.join("shallow"), format!("{head}\n")),
        "alternates" => {
            let other = Registry::found(&scene.path("evil.git"), "evil.example");
            other.text("1.0.0", "mine\n");
            let line = format!("{}\n", other.path.join("objects").display());
            put(&registry.path.join("objects/info/alternates"), line);
        }
        "commit-graph" => {
            registry.git(&["commit-graph", "write", "--reachable", "--no-progress"]);
            forge_commit_graph(&registry.path.join("objects/info/commit-graph"), head);
        }
        _ => unreachable!(),
    }
}

/// Makes a commit-graph say that a commit has no parent.
fn forge_commit_graph(path: &std::path::Path, commit: GitId) {
    let mut bytes = fs::read(path).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let chunks: Vec<(Vec<u8>, usize)> =
        (0..usize::from(bytes[6])).map(|n| (bytes[8 + 12 * n..12 + 12 * n].to_vec(), word(&bytes, 16 + 12 * n))).collect();
    let find = |name: &[u8]| chunks.iter().find(|(id, _)| id == name).unwrap().1;
    let (fanout, ids, data) = (find(b"OIDF"), find(b"OIDL"), find(b"CDAT"));
    let count = word(&bytes, fanout + 255 * 4);
    let place = (0..count).find(|n| bytes[ids + 20 * n..ids + 20 * n + 20] == *commit.as_bytes()).unwrap();
    bytes[data + 36 * place + 20..data + 36 * place + 24].copy_from_slice(&0x7000_0000_u32.to_be_bytes());
    let end = bytes.len() - 20;
    let sum = sha1dc::digest(&bytes[..end]).unwrap_or_else(|_| panic!("a collision"));
    bytes[end..].copy_from_slice(sum.as_ref());
    let _ = fs::remove_file(path);
    put(path, bytes);
}

#[test]
fn what_git_would_believe_instead_of_objects_changes_no_verdict() {
    for way in WAYS {
        for trick in TRICKS {
            let (scene, registry, log) = Scene::with_registry();
            let host = way.host(&scene);
            let carol = host.reader(&scene, "carol", &registry);
            let before = carol.gets("demo:hello", "before");
            play(trick, &scene, &registry, &log);
            registry.reader();
            let dora = host.reader(&scene, "dora", &registry);
            for user in [&carol, &dora] {
                let state = user.state();
                let after = user.run(&["get", "demo:hello", "--to", "after"]);
                // A git server that believes its own grafts, boundary or graph holds objects back, which deceives nobody.
                if way == Way::Wire && ["grafts", "shallow", "commit-graph"].contains(&trick) && after.status == 4 {
                    assert!(["corrupt-object", "ref-missing"].contains(&after.code()), "{trick}: {}", after.stdout);
                    assert_eq!(user.state(), state, "{trick}");
                    continue;
                }
                assert_eq!(after.status, 0, "{way:?}, {trick}: {}{}", after.stdout, after.stderr);
                assert_eq!(after.json["content"], before.json["content"], "{way:?}, {trick}");
                assert_eq!(fs::read(user.folder().join("after/README.md")).unwrap(), b"demo:hello 1.0.0\n", "{way:?}, {trick}");
            }
            if way == Way::Path {
                let whole = dora.run(&["verify", path_of(&registry)]);
                assert_eq!((whole.status, &whole.json["records"]), (0, &5.into()), "{trick}: {}", whole.stdout);
                let mut next = log.clone();
                next.add("alice", PackageEntry::Yank("1.0.0".parse().unwrap(), "x".into()));
                registry.propose("demo:hello", &next, 0);
                scene.accepts(&registry);
            }
        }
    }
}

#[test]
fn a_checkpoint_that_lies_about_its_map_is_found() {
    let (scene, registry, _) = Scene::with_registry();
    let good = registry.newest();
    let carol = scene.user("carol");
    let audits = |code: &str| {
        carol.refused(&registry, &["verify", path_of(&registry)], code, 4);
        registry.set(&log_ref(), good.git_id());
    };
    let other = registry.hello("demo:other", "1.0.0");
    registry.place("demo:other", &other);
    let change = [(slot("demo:other"), Some(other.head().git_id()))];

    registry.checkpoint("olga", &change, |_, checkpoint| checkpoint.packages = 1);
    audits("bad-map");
    registry.checkpoint("olga", &change, |_, checkpoint| checkpoint.packages = 3);
    audits("bad-map");
    let Entry::Checkpoint(before) = good.entry() else { panic!() };
    registry.checkpoint("olga", &change, |_, checkpoint| checkpoint.changes = before.changes);
    audits("bad-map");
    registry.checkpoint("olga", &change, |_, _| {});
    carol.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn a_map_of_another_shape_is_found() {
    let (scene, registry, _) = Scene::with_registry();
    let good = registry.newest();
    let carol = scene.user("carol");
    let root = Tree::read(&registry.reader(), good.draft().tree).unwrap();
    let packages = root.get("packages").unwrap().id;
    let demo = Tree::read(&registry.reader(), packages).unwrap().get("demo").unwrap().id;
    let skip = root.get("skip").unwrap().id;
    let empty = registry.raw("tree", b"");
    let blob = registry.raw("blob", b"x");
    let in_demo = registry.reader().read(quipu::model::digest::ObjectKind::Tree, demo, 1 << 20).unwrap();
    let packages_of = |demo: GitId| registry.raw("tree", &raw_tree(&[("40000", b"demo", demo)]));
    let parts: Vec<GitId> = (0..16_u8)
        .map(|half| {
            let name = format!("_{half:x}");
            packages_of(registry.raw("tree", &raw_tree(&[("40000", name.as_bytes(), demo)])))
        })
        .collect();
    let head = GitId::from_bytes(&in_demo[in_demo.len() - 20..]).unwrap();
    let in_blob = packages_of(registry.raw("tree", &raw_tree(&[("100644", b"hello", blob)])));
    let uppercase = packages_of(registry.raw("tree", &raw_tree(&[("160000", b"HELLO", head), ("160000", b"hello", head)])));
    let orphan = packages_of(registry.raw("tree", &raw_tree(&[("160000", b"hello", head), ("160000", b"x.decisions", head)])));
    let mut shapes: Vec<(&str, Vec<u8>)> = vec![
        (
            "an entry that no map has",
            raw_tree(&[("100644", b"extra", blob), ("40000", b"packages", packages), ("160000", b"skip", skip)]),
        ),
        (
            "an empty folder",
            raw_tree(&[("40000", b"mirrors", empty), ("40000", b"packages", packages), ("160000", b"skip", skip)]),
        ),
        ("an empty namespace", {
            let packages = registry.raw("tree", &raw_tree(&[("40000", b"demo", demo), ("40000", b"empty", empty)]));
            raw_tree(&[("40000", b"packages", packages), ("160000", b"skip", skip)])
        }),
        ("out of order", raw_tree(&[("160000", b"skip", skip), ("40000", b"packages", packages)])),
        ("a file for a head", raw_tree(&[("40000", b"packages", in_blob), ("160000", b"skip", skip)])),
        ("a name that is none", raw_tree(&[("40000", b"packages", uppercase), ("160000", b"skip", skip)])),
        ("a name twice", {
            let packages =
                packages_of(registry.raw("tree", &raw_tree(&[("160000", b"hello", head), ("160000", b"hello", head)])));
            raw_tree(&[("40000", b"packages", packages), ("160000", b"skip", skip)])
        }),
        ("decisions about nothing", raw_tree(&[("40000", b"packages", orphan), ("160000", b"skip", skip)])),
    ];
    for part in &parts {
        shapes.push(("split although it is small", raw_tree(&[("40000", b"packages", *part), ("160000", b"skip", skip)])));
    }
    for (what, bytes) in &shapes {
        let tree = registry.raw("tree", bytes);
        registry.checkpoint("olga", &[], |draft, _| draft.tree = tree);
        let said = carol.run(&["verify", path_of(&registry)]);
        assert_eq!((said.code(), said.status), ("bad-map", 4), "{what}: {}", said.stdout);
        registry.set(&log_ref(), good.git_id());
    }
    // Built by the same hands, but right.
    let tree = registry.raw("tree", &raw_tree(&[("40000", b"packages", packages), ("160000", b"skip", skip)]));
    assert_eq!(tree, good.draft().tree);
    registry.checkpoint("olga", &[], |_, _| {});
    carol.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn skip_links_that_lead_elsewhere_are_found() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.user("carol");
    let one = registry.newest();
    for _ in 0..4 {
        registry.checkpoint("olga", &[], |_, _| {});
    }
    let good = registry.newest();
    // Seq 6 skips to 3; here record and map agree on seq 1.
    assert_eq!((good.seq(), skip(6)), (5, 3));
    let map = registry.stage(|objects| {
        Map::at(good.draft().tree).update(objects, &[(Slot::Skip, Some(one.git_id()))].into_iter().collect()).unwrap()
    });
    registry.checkpoint("olga", &[], |draft, checkpoint| {
        draft.tree = map.root();
        checkpoint.skip = Some(one.digest());
    });
    carol.refused(&registry, &["verify", path_of(&registry)], "broken-chain", 4);
    // Only the record lies, only the map.
    registry.set(&log_ref(), good.git_id());
    registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.skip = Some(one.digest()));
    carol.refused(&registry, &["verify", path_of(&registry)], "broken-chain", 4);
    registry.set(&log_ref(), good.git_id());
    registry.checkpoint("olga", &[], |draft, _| draft.tree = map.root());
    carol.refused(&registry, &["verify", path_of(&registry)], "bad-map", 4);
    registry.set(&log_ref(), good.git_id());
    registry.checkpoint("olga", &[], |_, _| {});
    carol.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn a_checkpoint_out_of_its_place_is_found() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.user("carol");
    // The next one skips to the first, so that neither its place nor what it hangs on shows by itself.
    let good = registry.checkpoint("olga", &[], |_, _| {});
    assert_eq!((good.seq(), skip(3)), (2, 0));
    registry.checkpoint("olga", &[], |draft, _| {
        draft.link.as_mut().unwrap().seq += 3;
    });
    carol.refused(&registry, &["verify", path_of(&registry)], "broken-chain", 4);
    registry.set(&log_ref(), good.git_id());
    registry.checkpoint("olga", &[], |draft, _| {
        draft.link.as_mut().unwrap().prev = RecordDigest::of_bytes(b"another");
    });
    carol.refused(&registry, &["verify", path_of(&registry)], "broken-chain", 4);
    registry.set(&log_ref(), good.git_id());
    registry.checkpoint("olga", &[], |_, _| {});
    carol.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn an_acceptor_does_not_build_on_a_map_that_lies() {
    let (scene, registry, log) = Scene::with_registry();
    let good = registry.newest();
    let mut next = log;
    next.release("alice", registry.text("1.0.1", "two\n"));
    // A package log stands where the registry log is expected.
    registry.set(&log_ref(), next.records[1].git_id());
    registry.propose("demo:hello", &next, 1);
    let olga = scene.cast("olga");
    olga.refused(&registry, &["registry", "accept", path_of(&registry)], "wrong-log", 4);
    registry.set(&log_ref(), good.git_id());
    scene.accepts(&registry);
}

/// Adds a decision about a package and publishes it.
pub(crate) fn decide(registry: &Registry, signer: &str, log: &Log, what: Verdict, before: Option<&SignedRecord>) -> SignedRecord {
    let about = DecisionHead {
        operators: registry.operators().chain().head(),
        target: log.records[0].digest().into(),
        head: log.head().digest(),
    };
    let entry = Entry::Decision(Decision { about, what });
    let draft = match before {
        Some(before) => after(before, signer, entry),
        None => {
            let mut draft = registry.first(signer, "demo:hello");
            draft.subject = Subject::Decisions(package("demo:hello"));
            draft.entry = entry;
            draft
        }
    };
    let record = draft.sign(&key(signer)).unwrap();
    registry.put_record(&layout::decisions(&package("demo:hello")), &record);
    registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), Some(record.git_id()))], |_, _| {});
    record
}

pub(crate) fn takedown(version: Option<&str>) -> Verdict {
    let version = version.map(|version| version.parse().unwrap());
    Verdict::Takedown { version, class: TakedownClass::Malware, reason: "it steals keys".into() }
}

#[test]
fn what_was_taken_down_is_not_handed_out() {
    for way in WAYS {
        let (scene, registry, mut log) = Scene::with_registry();
        let host = way.host(&scene);
        log.release("alice", registry.text("1.0.1", "two\n"));
        registry.serve("demo:hello", &log);
        let first = decide(&registry, "olga", &log, takedown(Some("1.0.1")), None);
        let carol = host.reader(&scene, "carol", &registry);
        let said = carol.refused(&registry, &["get", "demo:hello@1.0.1", "--to", "x"], "taken-down", 4);
        assert!(said.message().contains("it steals keys"), "{}", said.message());
        assert_eq!(carol.gets("demo:hello", "other").json["version"], "1.0.0");
        // Its files are not shown; that they are others is on record.
        let said = carol.run(&["diff", "demo:hello@1.0.0", "@1.0.1", "--patch"]);
        assert_eq!((said.status, &said.json["files"], &said.json["patch"]), (1, &Value::Null, &Value::Null), "{}", said.stdout);
        assert_eq!((&said.json["changed"][0], &said.json["to"]["taken-down"]["class"]), (&"contents".into(), &"malware".into()));
        let said = carol.say(&["diff", "demo:hello@1.0.0", "@1.0.1"]).stdout;
        assert!(said.contains("not compared") && said.contains("was taken down (malware): it steals keys"), "{said}");
        let second = decide(&registry, "olga", &log, takedown(None), Some(&first));
        carol.refused(&registry, &["get", "demo:hello@1.0.0", "--to", "x"], "taken-down", 4);
        // Nobody publishes into what was taken down.
        let mut next = log.clone();
        next.release("alice", registry.text("1.0.2", "three\n"));
        registry.propose("demo:hello", &next, 1);
        scene.refuses(&registry, "taken-down");
        let restore = Verdict::Restore { version: None, reason: "a mistake".into() };
        let third = decide(&registry, "olga", &log, restore, Some(&second));
        carol.gets("demo:hello@1.0.0", "again");
        // A decision that was seen does not go away.
        registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), Some(first.git_id()))], |_, _| {});
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "rollback", 4);
        registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), None)], |_, _| {});
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "rollback", 4);
        registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), Some(third.git_id()))], |_, _| {});
        carol.gets("demo:hello@1.0.0", "once-more");
    }
}

#[test]
fn only_operators_decide_and_only_about_the_log_that_the_name_has() {
    let (scene, registry, log) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    decide(&registry, "mallory", &log, takedown(Some("1.0.0")), None);
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "unauthorized", 4);
    carol.refused(&registry, &["verify", path_of(&registry)], "unauthorized", 4);

    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    let other = registry.hello("demo:other", "1.0.0");
    registry.serve("demo:other", &other);
    decide(&registry, "olga", &other, takedown(Some("9.0.0")), None);
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "wrong-log", 4);
    carol.refused(&registry, &["verify", path_of(&registry)], "wrong-log", 4);

    let (scene, registry, log) = Scene::with_registry();
    decide(&registry, "olga", &log, takedown(Some("9.0.0")), None);
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "twin");
    carol.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn a_reset_of_a_name_is_on_record_and_who_saw_the_old_log_is_told() {
    let (scene, registry, log) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    let mut new = registry.begin("bob", "demo:hello");
    new.release("bob", registry.text("2.0.0", "new\n"));
    let contents = registry.named(&layout::contents(&package("demo:hello")));
    registry.place("demo:hello", &new);
    let reset = Verdict::Reset { new: new.records[0].digest().into(), reason: "the key was lost".into() };
    let about = DecisionHead {
        operators: registry.operators().chain().head(),
        target: log.records[0].digest().into(),
        head: log.head().digest(),
    };
    let mut draft = registry.first("olga", "demo:hello");
    draft.subject = Subject::Decisions(package("demo:hello"));
    draft.entry = Entry::Decision(Decision { about, what: reset });
    let record = draft.sign(&key("olga")).unwrap();
    registry.put_record(&layout::decisions(&package("demo:hello")), &record);
    let changes =
        [(slot("demo:hello"), Some(new.head().git_id())), (Slot::Decisions(package("demo:hello")), Some(record.git_id()))];
    registry.checkpoint("olga", &changes, |_, _| {});
    carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "wrong-log", 4);
    let dora = scene.reader("dora", &registry);
    // The old log is to be handed out, and to be the one that was put aside, up to its end.
    let anchored = registry.reference("demo:hello", log.records[0].digest());
    dora.refused(&registry, &["get", &anchored], "ref-missing", 4);
    let retired = layout::retired_log(log.records[0].digest().into());
    registry.set(retired.as_str(), log.records[0].git_id());
    dora.refused(&registry, &["get", &anchored], "fork", 4);
    registry.set(retired.as_str(), new.head().git_id());
    dora.refused(&registry, &["get", &anchored], "wrong-log", 4);
    registry.set(retired.as_str(), log.head().git_id());
    registry.set(layout::retired_contents(log.records[0].digest().into()).as_str(), contents);
    dora.gets("demo:hello", "twin");
    dora.gets(&anchored, "before");
    // Whoever saw but the old one is asked before the new one.
    let erin = scene.reader("erin", &registry);
    erin.gets(&anchored, "before");
    erin.refused(&registry, &["get", "demo:hello", "--to", "after"], "wrong-log", 4);
    dora.run(&["verify", path_of(&registry)]).well();
}

#[test]
fn a_name_that_no_operator_granted_is_found_out() {
    let (scene, registry, mut log) = Scene::with_registry();
    let before = registry.named(&layout::registry_log());
    let mallory = registry.hello("demo:other", "1.0.0");
    registry.serve("demo:other", &mallory);
    let full = |name: &str| format!("acme.example/{name}").parse::<quipu::model::name::FullName>().unwrap();
    log.add("alice", PackageEntry::Rename(full("demo:mine"), None));
    registry.serve("demo:hello", &log);
    // Whoever makes checkpoints decides nothing by that: neither before a record bears the name nor after.
    for bears in [false, true] {
        if bears {
            let mut draft = log.draft("alice", PackageEntry::Yank("1.0.0".parse().unwrap(), String::new()));
            draft.subject = Subject::Package(package("demo:mine"));
            log.sign("alice", &draft);
        }
        registry.place("demo:mine", &log);
        registry.checkpoint("olga", &[(slot("demo:mine"), Some(log.head().git_id()))], |_, _| {});
        let carol = scene.reader(if bears { "carol" } else { "dora" }, &registry);
        carol.refused(&registry, &["get", "demo:mine", "--to", "x"], "unauthorized", 4);
        carol.refused(&registry, &["verify", path_of(&registry)], "unauthorized", 4);
    }
    // A log that asks for a name does not stand under one that it did not ask for.
    registry.set(layout::registry_log().as_str(), before);
    registry.place("demo:stolen", &log);
    registry.checkpoint("olga", &[(slot("demo:stolen"), Some(log.head().git_id()))], |_, _| {});
    let carol = scene.reader("erin", &registry);
    carol.refused(&registry, &["get", "demo:stolen", "--to", "x"], "wrong-log", 4);
}
