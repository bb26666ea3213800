//! Logs: who may append what, judged where a proposal comes in, and again where a registry serves what it should have refused.

use super::scene::*;
use quipu::git::layout;
use quipu::model::commit;
use quipu::model::entry::{
    Entry, OperatorEntry, OperatorPrivilege, PackageEntry, PackageInit, PackagePrivilege, Policy, Privilege as _, Registration,
    Subject,
};
use quipu::model::name::Version;
use quipu::model::sshsig::Signer as _;

fn yank(version: &str) -> PackageEntry {
    PackageEntry::Yank(version.parse::<Version>().unwrap(), "broken".into())
}

/// A proposal that a registry must refuse, served all the same by an operator who looks at nothing: readers refuse it too.
#[track_caller]
fn readers_refuse(scene: &Scene, registry: &Registry, name: &str, bad: &Log, code: &str) {
    let carol = scene.reader("carol", registry);
    carol.gets(name, "before");
    registry.serve(name, bad);
    carol.refused(registry, &["get", name, "--to", "after"], code, 4);
    let dora = scene.reader("dora", registry);
    dora.refused(registry, &["get", name, "--to", "first"], code, 4);
    dora.refused(registry, &["verify", name], code, 4);
}

#[test]
fn a_key_that_the_log_does_not_know_appends_nothing() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut bad, mut good) = (log.clone(), log);
    bad.release("mallory", registry.text("1.0.1", "mine now\n"));
    good.release("alice", registry.text("1.0.1", "mine now\n"));
    scene.twins(&registry, "demo:hello", &bad, "unauthorized", &good, 1);
    readers_refuse(&scene, &registry, "demo:hello", &bad, "unauthorized");
}

#[test]
fn a_key_without_the_privilege_appends_nothing_of_that_kind() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", PackageEntry::Allow(grant("bob", &[PackagePrivilege::Yank])));
    let (mut bad, mut good) = (log.clone(), log);
    bad.release("bob", registry.text("1.0.1", "two\n"));
    good.add("bob", yank("1.0.0"));
    registry.propose("demo:hello", &bad, 1);
    scene.refuses(&registry, "unauthorized");
    registry.propose("demo:hello", &good, 0);
    scene.accepts(&registry);
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", PackageEntry::Allow(grant("bob", &[PackagePrivilege::Auth])));
    let (mut bad, mut good) = (log.clone(), log);
    bad.add("bob", PackageEntry::Allow(grant("mallory", &[PackagePrivilege::Release])));
    good.add("alice", PackageEntry::Allow(grant("mallory", &[PackagePrivilege::Release])));
    scene.twins(&registry, "demo:hello", &bad, "unauthorized", &good, 0);
}

#[test]
fn a_denied_key_appends_nothing_whatever_time_it_writes() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", PackageEntry::Allow(grant("bob", &[PackagePrivilege::Release])));
    let mut good = log.clone();
    log.add("alice", PackageEntry::Deny(denial("bob", &[PackagePrivilege::Release])));
    let mut bad = log.clone();
    bad.release("bob", registry.text("1.0.1", "two\n"));
    // Before the denial the same record is a good one.
    good.release("bob", registry.text("1.0.1", "two\n"));
    registry.serve("demo:hello", &log);
    registry.propose("demo:hello", &bad, 1);
    scene.refuses(&registry, "unauthorized");
    readers_refuse(&scene, &registry, "demo:hello", &bad, "unauthorized");

    let (scene, registry, _) = Scene::with_registry();
    registry.text("1.0.1", "two\n");
    let mut again = registry.begin("alice", "demo:twin");
    again.add("alice", PackageEntry::Allow(grant("bob", &[PackagePrivilege::Release])));
    again.release("bob", registry.text("1.0.1", "two\n"));
    registry.propose("demo:twin", &again, 1);
    scene.accepts(&registry);
}

#[test]
fn a_backdated_record_is_refused_and_a_late_one_of_the_same_time_is_not() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut bad, mut good) = (log.clone(), log);
    for (log, time) in [(&mut bad, THEN - 1), (&mut good, THEN)] {
        let mut draft = log.draft("alice", yank("1.0.0"));
        draft.time = at(time);
        log.sign("alice", &draft);
    }
    scene.twins(&registry, "demo:hello", &bad, "bad-record", &good, 0);
}

#[test]
fn a_denied_key_gains_nothing_by_a_record_of_a_time_before_the_denial() {
    let (scene, registry, mut log) = Scene::with_registry();
    let later = |log: &mut Log, signer: &str, entry: PackageEntry, time: u64| {
        let mut draft = log.draft(signer, entry);
        draft.time = at(time);
        log.sign(signer, &draft);
    };
    later(&mut log, "alice", PackageEntry::Allow(grant("bob", &[PackagePrivilege::Yank])), THEN + 10);
    let mut good = log.clone();
    later(&mut log, "alice", PackageEntry::Deny(denial("bob", &[PackagePrivilege::Yank])), THEN + 30);
    let mut bad = log;
    later(&mut bad, "bob", yank("1.0.0"), THEN + 20);
    later(&mut good, "bob", yank("1.0.0"), THEN + 20);
    scene.twins(&registry, "demo:hello", &bad, "unauthorized", &good, 0);
}

#[test]
fn a_record_more_than_a_day_ahead_is_refused() {
    let (scene, registry, log) = Scene::with_registry();
    let now = quipu::command::context::now().unwrap().unix();
    let (mut bad, mut good) = (log.clone(), log);
    for (log, time) in [(&mut bad, now + 25 * 3600), (&mut good, now + 23 * 3600)] {
        let mut draft = log.draft("alice", yank("1.0.0"));
        draft.time = at(time);
        log.sign("alice", &draft);
    }
    scene.twins(&registry, "demo:hello", &bad, "bad-record", &good, 0);
}

#[test]
fn a_record_let_in_by_a_wrong_clock_does_not_keep_later_ones_out() {
    let (scene, registry, mut log) = Scene::with_registry();
    let ahead = quipu::command::context::now().unwrap().unix() + 10 * 24 * 3600;
    let signed_at = |log: &mut Log, entry, time| {
        let mut draft = log.draft("alice", entry);
        draft.time = at(time);
        log.sign("alice", &draft);
    };
    signed_at(&mut log, yank("1.0.0"), ahead);
    registry.serve("demo:hello", &log);
    let unyank = || PackageEntry::Unyank("1.0.0".parse().unwrap(), String::new());
    let (mut bad, mut good) = (log.clone(), log);
    signed_at(&mut bad, unyank(), ahead + 1);
    signed_at(&mut good, unyank(), ahead);
    scene.twins(&registry, "demo:hello", &bad, "bad-record", &good, 0);
}

#[test]
fn a_whole_log_under_another_name_is_refused() {
    let (scene, registry, log) = Scene::with_registry();
    registry.propose("demo:copy", &log, 1);
    scene.refuses(&registry, "wrong-log");
    registry.propose("demo:copy", &registry.hello("demo:copy", "1.0.0"), 1);
    scene.accepts(&registry);
    // An operator who does it all the same deceives nobody.
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:copy", "twin");
    registry.serve("demo:other", &log);
    for command in [&["get", "demo:other", "--to", "x"][..], &["info", "demo:other"], &["verify", "demo:other"]] {
        carol.refused(&registry, command, "wrong-log", 4);
    }
    carol.refused(&registry, &["verify", registry.path.to_str().unwrap()], "wrong-log", 4);
}

#[test]
fn a_record_of_another_registry_is_refused() {
    let (scene, registry, log) = Scene::with_registry();
    let other = Registry::found(&scene.path("other.git"), "other.example");
    let bad = other.hello("demo:new", "1.0.0");
    registry.text("1.0.0", "demo:new 1.0.0\n");
    let good = registry.hello("demo:new", "1.0.0");
    scene.twins(&registry, "demo:new", &bad, "wrong-log", &good, 1);
    // A record of one's own other registry, in the middle of a log.
    let (mut bad, mut good) = (log.clone(), log);
    let mut draft = bad.draft("alice", yank("1.0.0"));
    draft.registry = other.name;
    bad.sign("alice", &draft);
    good.add("alice", yank("1.0.0"));
    scene.twins(&registry, "demo:hello", &bad, "wrong-log", &good, 0);
}

#[test]
fn a_log_for_a_registry_of_the_same_name_and_another_id_is_refused() {
    let (scene, registry, _) = Scene::with_registry();
    let namesake = Registry::found_at(&scene.path("namesake.git"), "acme.example", "mallory", THEN);
    let bad = namesake.hello("demo:new", "1.0.0");
    registry.text("1.0.0", "demo:new 1.0.0\n");
    let good = registry.hello("demo:new", "1.0.0");
    scene.twins(&registry, "demo:new", &bad, "wrong-registry", &good, 1);
}

#[test]
fn a_first_record_that_was_replaced_does_not_hold_the_anchor() {
    let (scene, registry, log) = Scene::with_registry();
    let anchored = registry.reference("demo:hello", log.records[0].digest());
    let head = registry.reference("demo:hello", log.head().digest());
    let carol = scene.reader("carol", &registry);
    carol.gets(&anchored, "first");
    carol.gets(&head, "head");
    // The operator gives the name a new log, by the same key and with the same files, and forgets to say so.
    let mut other = registry.first("alice", "demo:hello");
    other.time = at(THEN + 1);
    let mut new = Log { records: vec![other.sign(&key("alice")).unwrap()], trees: Vec::new() };
    new.release("alice", registry.text("1.0.0", "demo:hello 1.0.0\n"));
    registry.serve("demo:hello", &new);
    let dora = scene.reader("dora", &registry);
    for anchor in [&anchored, &head] {
        for command in [&["get", anchor, "--to", "x"][..], &["info", anchor], &["verify", anchor]] {
            dora.refused(&registry, command, "anchor-mismatch", 4);
        }
    }
    dora.gets(&registry.reference("demo:hello", new.head().digest()), "new");
    // Who saw the old log needs no anchor.
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "fork", 4);
}

#[test]
fn a_proposal_with_another_first_record_does_not_take_a_name() {
    let (scene, registry, log) = Scene::with_registry();
    let mut bad = registry.begin("mallory", "demo:hello");
    bad.release("mallory", registry.text("2.0.0", "mine\n"));
    let mut good = log;
    good.release("alice", registry.text("2.0.0", "mine\n"));
    scene.twins(&registry, "demo:hello", &bad, "name-taken", &good, 1);
}

#[test]
fn a_dropped_name_does_not_begin_anew_for_who_knows_it() {
    let (scene, registry, log) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    // The operator takes the name out of the map and lets Mallory register it.
    registry.delete(layout::package(&package("demo:hello")).as_str());
    registry.checkpoint("olga", &[(slot("demo:hello"), None)], |_, _| {});
    let mut new = registry.begin("mallory", "demo:hello");
    new.release("mallory", registry.text("1.0.1", "mine\n"));
    registry.serve("demo:hello", &new);
    let state = carol.state();
    carol.refused(&registry, &["get", "demo:hello", "--to", "after"], "fork", 4);
    assert_eq!(carol.state(), state);
    let mut kept = carol.evidence();
    kept.sort();
    let mut expected = vec![log.head().bytes().to_vec(), new.head().bytes().to_vec()];
    expected.sort();
    assert_eq!(kept, expected, "both signed objects are kept");
    let dora = scene.reader("dora", &registry);
    dora.refused(&registry, &["get", &registry.reference("demo:hello", log.head().digest())], "anchor-mismatch", 4);
    // The twin went on with the log that the name had.
    let (scene, registry, mut log) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello", "before");
    log.release("alice", registry.text("1.0.1", "mine\n"));
    registry.serve("demo:hello", &log);
    carol.gets("demo:hello", "after");
}

#[test]
fn an_audit_finds_a_dropped_name_that_began_anew_without_a_reset() {
    let (scene, registry, _) = Scene::with_registry();
    let carol = scene.reader("carol", &registry);
    carol.run(&["verify", registry.path.to_str().unwrap()]).well();
    registry.delete(layout::package(&package("demo:hello")).as_str());
    registry.checkpoint("olga", &[(slot("demo:hello"), None)], |_, _| {});
    let mut new = registry.begin("mallory", "demo:hello");
    new.release("mallory", registry.text("1.0.1", "mine\n"));
    registry.serve("demo:hello", &new);
    carol.refused(&registry, &["verify", registry.path.to_str().unwrap()], "name-taken", 4);
}

#[test]
fn an_unsigned_commit_in_a_chain_is_refused() {
    let (scene, registry, log) = Scene::with_registry();
    let mut good = log.clone();
    good.add("alice", yank("1.0.0"));
    // The very same commit, without its signature.
    let payload = good.head().draft().payload(&key("alice").public_key().fingerprint());
    let bare = registry.raw("commit", payload.as_bytes());
    registry.propose_raw("demo:hello", bare, &[]);
    scene.refuses(&registry, "unsigned");
    // And in the middle: a good record on top of it.
    let mut draft = good.draft("alice", PackageEntry::Unyank("1.0.0".parse().unwrap(), String::new()));
    draft.parent = Some(bare);
    let top = draft.sign(&key("alice")).unwrap();
    registry.write(std::slice::from_ref(&top));
    registry.propose_raw("demo:hello", top.git_id(), &[]);
    scene.refuses(&registry, "unsigned");
    registry.propose("demo:hello", &good, 0);
    scene.accepts(&registry);
    // Served as it is by an operator.
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:hello@1.0.0", "before");
    registry.set(layout::package(&package("demo:hello")).as_str(), top.git_id());
    registry.checkpoint("olga", &[(slot("demo:hello"), Some(top.git_id()))], |_, _| {});
    carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "unsigned", 4);
    drop(log);
}

#[test]
fn a_merge_commit_in_a_chain_is_refused() {
    let (scene, registry, log) = Scene::with_registry();
    let mut good = log.clone();
    good.add("alice", yank("1.0.0"));
    let head = good.head();
    let other = registry.named(&layout::operators());
    // Signed anew over both parents: only the merge is wrong.
    let fingerprint = key("alice").public_key().fingerprint();
    let payload = head.draft().payload(&fingerprint);
    let parent = format!("parent {}\n", log.head().git_id());
    let merged = payload.replacen(&parent, &format!("{parent}parent {other}\n"), 1);
    let bad = registry.raw("commit", signed(&merged).as_bytes());
    registry.propose_raw("demo:hello", bad, &[]);
    scene.refuses(&registry, "broken-chain");
    // The same by hand without the second parent is the very record.
    let twin = registry.raw("commit", signed(&payload).as_bytes());
    assert_eq!(twin, head.git_id());
    registry.propose_raw("demo:hello", twin, &[]);
    scene.accepts(&registry);
}

/// Puts Alice's signature into a commit that is not signed yet.
fn signed(payload: &str) -> String {
    let signature = key("alice").sign(payload.as_bytes()).unwrap();
    let (header, message) = payload.split_once("\n\n").unwrap();
    format!("{header}\ngpgsig {}\n\n{message}", signature.to_header())
}

#[test]
fn a_version_is_released_once_and_stays_so_after_a_yank() {
    let (scene, registry, mut log) = Scene::with_registry();
    let mut bad = log.clone();
    bad.release("alice", registry.text("1.0.0", "other\n"));
    registry.propose("demo:hello", &bad, 1);
    scene.refuses(&registry, "already-released");
    readers_refuse(&scene, &registry, "demo:hello", &bad, "already-released");

    let (scene, registry, _) = Scene::with_registry();
    log = registry.hello("demo:hello", "1.0.0");
    log.add("alice", yank("1.0.0"));
    let (mut bad, mut good) = (log.clone(), log);
    bad.release("alice", registry.text("1.0.0", "demo:hello 1.0.0\n"));
    good.release("alice", registry.text("1.0.1", "demo:hello 1.0.0\n"));
    scene.twins(&registry, "demo:hello", &bad, "already-released", &good, 1);
}

#[test]
fn publishing_a_version_again_is_refused_before_anything_is_sent() {
    let (scene, registry, _) = Scene::with_registry();
    let alice = scene.cast("alice");
    alice.trust(&registry, registry.path.to_str().unwrap());
    let manifest = |version: &str| format!("[package]\nname = \"demo:hello\"\nversion = \"{version}\"\n");
    put(&alice.folder().join("hello/quipu.toml"), manifest("1.0.0"));
    alice.refused(&registry, &["publish", "hello"], "already-released", 8);
    put(&alice.folder().join("hello/quipu.toml"), manifest("1.0.1"));
    let said = alice.run(&["publish", "hello"]).well();
    assert_eq!(said.json["state"], "proposed");
    scene.accepts(&registry);
}

#[test]
fn what_was_never_released_is_not_yanked() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut bad, mut good) = (log.clone(), log);
    bad.add("alice", yank("9.0.0"));
    good.add("alice", yank("1.0.0"));
    scene.twins(&registry, "demo:hello", &bad, "not-released", &good, 0);
}

#[test]
fn the_last_key_with_auth_is_not_denied() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut bad, mut good) = (log.clone(), log);
    bad.add("alice", PackageEntry::Deny(denial("alice", &[PackagePrivilege::Auth])));
    good.add("alice", PackageEntry::Deny(denial("alice", &[PackagePrivilege::Rename])));
    scene.twins(&registry, "demo:hello", &bad, "last-owner", &good, 0);
}

#[test]
fn a_gap_in_a_chain_is_refused() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", yank("1.0.0"));
    let good = log.clone();
    // The record of seq 2 stands on that of seq 0.
    let mut draft = log.head().draft().clone();
    draft.parent = Some(log.records[0].git_id());
    let bad = draft.sign(&key("alice")).unwrap();
    registry.write(&log.records);
    registry.write(std::slice::from_ref(&bad));
    registry.propose_raw("demo:hello", bad.git_id(), &[]);
    scene.refuses(&registry, "broken-chain");
    // And an old record as the new tip: its commit with the new parent.
    let again = commit_on(log.records[1].bytes(), &log.head().git_id().to_string());
    let again = registry.raw("commit", again.as_bytes());
    registry.propose_raw("demo:hello", again, &[]);
    scene.refuses(&registry, "broken-chain");
    registry.propose("demo:hello", &good, 0);
    scene.accepts(&registry);
}

/// Gives a commit another parent and leaves its signature as it was.
fn commit_on(bytes: &[u8], parent: &str) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let old = text.lines().find(|line| line.starts_with("parent ")).unwrap();
    text.replacen(old, &format!("parent {parent}"), 1)
}

#[test]
fn a_proposal_that_is_not_of_the_one_form_is_refused() {
    let (scene, registry, mut log) = Scene::with_registry();
    log.add("alice", yank("1.0.0"));
    registry.write(&log.records);
    let good = commit::proposal(quipu::model::digest::ObjectFormat::Sha1.empty_tree(), log.head().git_id());
    let bad = String::from_utf8(good.clone()).unwrap() + "extra\n";
    let id = registry.raw("commit", bad.as_bytes());
    registry.set(layout::incoming(&package("demo:hello"), id).as_str(), id);
    scene.refuses(&registry, "not-canonical");
    let id = registry.raw("commit", &good);
    registry.set(layout::incoming(&package("demo:hello"), id).as_str(), id);
    scene.accepts(&registry);
}

fn listed(registry: &Registry) {
    let policy = Policy { registration: Registration::Listed, ..Policy::default() };
    registry.operate("olga", OperatorEntry::Policy(policy));
}

#[test]
fn under_a_listed_policy_only_listed_keys_register_names() {
    let (scene, registry, _) = Scene::with_registry();
    let new = registry.hello("demo:new", "1.0.0");
    listed(&registry);
    registry.propose("demo:new", &new, 1);
    scene.refuses(&registry, "unauthorized");
    // Who may register, but elsewhere.
    let mut grant = operator("alice", &[OperatorPrivilege::Register]);
    grant.namespaces = vec!["other".parse().unwrap()];
    registry.operate("olga", OperatorEntry::Allow(grant.clone()));
    registry.propose("demo:new", &new, 1);
    scene.refuses(&registry, "unauthorized");
    grant.namespaces = vec!["demo".parse().unwrap()];
    registry.operate("olga", OperatorEntry::Allow(grant));
    registry.propose("demo:new", &new, 1);
    scene.accepts(&registry);
}

#[test]
fn a_name_that_was_registered_under_an_open_policy_stays_so() {
    let (scene, registry, _) = Scene::with_registry();
    let mut new = registry.hello("demo:new", "1.0.0");
    registry.propose("demo:new", &new, 1);
    scene.accepts(&registry);
    listed(&registry);
    new.release("alice", registry.text("1.0.1", "two\n"));
    registry.propose("demo:new", &new, 1);
    scene.accepts(&registry);
    let carol = scene.reader("carol", &registry);
    carol.gets("demo:new", "new");
    carol.run(&["verify", registry.path.to_str().unwrap()]).well();
}

#[test]
fn publishing_under_a_listed_policy_is_refused_before_anything_is_sent() {
    let (scene, registry, _) = Scene::with_registry();
    listed(&registry);
    let alice = scene.cast("alice");
    alice.trust(&registry, registry.path.to_str().unwrap());
    put(&alice.folder().join("new/quipu.toml"), "[package]\nname = \"demo:new\"\nversion = \"1.0.0\"\n");
    alice.refused(&registry, &["publish", "new"], "unauthorized", 8);
    registry.operate("olga", OperatorEntry::Allow(operator("alice", &[OperatorPrivilege::Register])));
    assert_eq!(alice.run(&["publish", "new"]).well().json["state"], "proposed");
}

#[test]
fn an_operator_does_not_sign_for_an_owner() {
    let (scene, registry, log) = Scene::with_registry();
    let (mut bad, mut good) = (log.clone(), log);
    bad.release("olga", registry.text("1.0.1", "by the operator\n"));
    good.release("alice", registry.text("1.0.1", "by the operator\n"));
    scene.twins(&registry, "demo:hello", &bad, "unauthorized", &good, 1);
    readers_refuse(&scene, &registry, "demo:hello", &bad, "unauthorized");
}

#[test]
fn a_signer_who_is_not_among_the_first_keys_begins_nothing() {
    let (scene, registry, _) = Scene::with_registry();
    let mut bad = registry.first("mallory", "demo:new");
    let good = registry.first("mallory", "demo:new");
    let keys = vec![grant("alice", PackagePrivilege::ALL)];
    bad.entry = Entry::Package(PackageEntry::Init(PackageInit { registry_id: registry.id, origin: None, keys }));
    let log = |draft: &quipu::model::record::Draft| Log { records: vec![draft.sign(&key("mallory")).unwrap()], trees: vec![] };
    assert_eq!(good.subject, Subject::Package(package("demo:new")));
    scene.twins(&registry, "demo:new", &log(&bad), "unauthorized", &log(&good), 0);
}
