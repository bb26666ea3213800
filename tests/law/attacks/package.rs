//! What the law of package logs refuses.

use super::{accepted, refused};
use crate::cast::*;
use quipu::log::package::PackageLog;
use quipu::model::digest::RegistryId;
use quipu::model::entry::{Denial, Dependency, PackageEntry, Release, Subject};
use quipu::model::record::Link;
use quipu::model::sshsig::Signer as _;
use quipu::trust::choose::check_anchor;

fn allow(who: &Person, privileges: &[P]) -> PackageEntry {
    PackageEntry::Allow(who.grant(privileges))
}

fn denial(who: &Person, privileges: &[P], since: Option<u64>) -> PackageEntry {
    let key = who.key.public_key().clone();
    PackageEntry::Deny(Denial { name: who.name.clone(), key, privileges: privileges.to_vec(), compromised_since: since })
}

fn deny(who: &Person, privileges: &[P]) -> PackageEntry {
    denial(who, privileges, None)
}

#[test]
fn an_unknown_key_appends_nothing() {
    let log = Growing::new(&[]);
    refused(&log, &log.sign(&mallory(), released("1.0.0")), "unauthorized");
    accepted(&log, &log.sign(&alice(), released("1.0.0")));
    // Alice's name does not make the key Alice's.
    let not_alice = stranger("alice", 3);
    refused(&log, &log.sign(&not_alice, released("1.0.0")), "unauthorized");
    // Nor may Alice call herself otherwise than the log does.
    let alice_as_bob = stranger("bob", 1);
    refused(&log, &log.sign(&alice_as_bob, released("1.0.0")), "not-canonical");
}

#[test]
fn a_key_appends_what_its_privileges_say_and_nothing_else() {
    let steps: [(P, fn() -> PackageEntry); 7] = [
        (P::Auth, || allow(&carol(), &[P::Yank])),
        (P::Release, || released("2.0.0")),
        (P::Yank, || yank("1.0.0")),
        (P::Yank, || unyank("0.9.0")),
        (P::Rename, || PackageEntry::Rename(full("acme.example/wasi:web"), None)),
        (P::Auth, || PackageEntry::Upgrade(2)),
        (P::Auth, || deny(&mallory(), &[P::Yank])),
    ];
    for (needed, entry) in steps {
        for held in [P::Auth, P::Release, P::Yank, P::Rename] {
            // To grant and to take needs what is granted or taken, too.
            let holds = if held == P::Auth && needed == P::Auth { vec![P::Auth, P::Yank] } else { vec![held] };
            let log = Growing::new(&holds)
                .with(&alice(), released("1.0.0"))
                .with(&alice(), released("0.9.0"))
                .with(&alice(), yank("0.9.0"))
                .with(&alice(), allow(&mallory(), &[P::Yank]));
            let record = log.sign(&bob(), entry());
            if held == needed {
                accepted(&log, &record);
            } else {
                refused(&log, &record, "unauthorized");
            }
        }
    }
}

#[test]
fn a_denied_key_appends_no_more_and_did_before() {
    let log = Growing::new(&[P::Release, P::Yank]).with(&bob(), released("1.0.0"));
    accepted(&log, &log.sign(&bob(), released("1.1.0")));
    let denied = log.with(&alice(), deny(&bob(), &[P::Release]));
    refused(&denied, &denied.sign(&bob(), released("1.1.0")), "unauthorized");
    // What was not taken is still there.
    accepted(&denied, &denied.sign(&bob(), yank("1.0.0")));
    let nothing_left = denied.with(&alice(), deny(&bob(), &[P::Yank]));
    for entry in [released("1.1.0"), yank("1.0.0"), deny(&alice(), &[P::Auth])] {
        refused(&nothing_left, &nothing_left.sign(&bob(), entry), "unauthorized");
    }
    // Who let it in once may do so again.
    let again = nothing_left.with(&alice(), allow(&bob(), &[P::Release]));
    accepted(&again, &again.sign(&bob(), released("1.1.0")));
}

#[test]
fn a_record_after_a_denial_is_not_saved_by_an_earlier_date() {
    let log = Growing::new(&[P::Release]);
    let denied = log.with(&alice(), deny(&bob(), &[P::Release]));
    let backdated = resigned(denied.draft(&bob(), released("6.6.6")), &bob(), |draft| draft.time = at(0));
    refused(&denied, &backdated, "unauthorized");
    // One that hangs on the record before the denial is not the next, and with it the denial would be gone.
    let sibling = log.sign(&bob(), released("6.6.6"));
    refused(&denied, &sibling, "broken-chain");
    // The same record before the denial is good.
    accepted(&log, &sibling);
}

#[test]
fn the_last_key_with_auth_keeps_it() {
    let alone = Growing::new(&[P::Release]);
    refused(&alone, &alone.sign(&alice(), deny(&alice(), &[P::Auth])), "last-owner");
    refused(&alone, &alone.sign(&alice(), denial(&alice(), &[P::Auth], Some(0))), "last-owner");
    accepted(&alone, &alone.sign(&alice(), deny(&alice(), &[P::Release])));
    let both = Growing::new(&[P::Auth]);
    let bobs = accepted(&both, &both.sign(&alice(), deny(&alice(), &[P::Auth])));
    refused(&bobs, &bobs.sign(&bob(), deny(&bob(), &[P::Auth])), "last-owner");
}

#[test]
fn nobody_grants_or_takes_what_they_do_not_hold() {
    let log = Growing::new(&[P::Auth, P::Yank]);
    refused(&log, &log.sign(&bob(), allow(&carol(), &[P::Release])), "unauthorized");
    refused(&log, &log.sign(&bob(), allow(&bob(), &[P::Release])), "unauthorized");
    refused(&log, &log.sign(&bob(), allow(&carol(), &[P::Yank, P::Rename])), "unauthorized");
    accepted(&log, &log.sign(&bob(), allow(&carol(), &[P::Auth, P::Yank])));
    refused(&log, &log.sign(&bob(), deny(&alice(), &[P::Release])), "unauthorized");
    accepted(&log, &log.sign(&bob(), deny(&alice(), &[P::Auth])));
}

#[test]
fn a_name_belongs_to_one_key_at_a_time_and_a_key_keeps_its_name() {
    let log = Growing::new(&[P::Release]);
    let other_bob = stranger("bob", 9);
    refused(&log, &log.sign(&alice(), allow(&other_bob, &[P::Yank])), "bad-record");
    let robert = stranger("robert", 2);
    refused(&log, &log.sign(&alice(), allow(&robert, &[P::Yank])), "bad-record");
    refused(&log, &log.sign(&alice(), deny(&robert, &[P::Release])), "bad-record");
    refused(&log, &log.sign(&alice(), deny(&carol(), &[P::Release])), "bad-record");
    // What is not held cannot be taken.
    refused(&log, &log.sign(&alice(), deny(&bob(), &[P::Yank])), "bad-record");
    accepted(&log, &log.sign(&alice(), allow(&bob(), &[P::Yank])));
    // The name of a key that may append nothing is free.
    let freed = log.with(&alice(), deny(&bob(), &[P::Release]));
    let taken = accepted(&freed, &freed.sign(&alice(), allow(&other_bob, &[P::Release])));
    refused(&taken, &taken.sign(&bob(), released("1.0.0")), "unauthorized");
    accepted(&taken, &taken.sign(&other_bob, released("1.0.0")));
    refused(&taken, &taken.sign(&alice(), allow(&bob(), &[P::Release])), "bad-record");
}

#[test]
fn a_log_knows_a_limited_number_of_keys() {
    let mut log = Growing::new(&[]);
    let person = |n: usize| {
        let mut seed = [0x55; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        Person {
            name: format!("k{n}").parse().unwrap(),
            key: quipu::model::openssh::SecretKey::from_seed(zeroize::Zeroizing::new(seed)),
        }
    };
    for n in 1..quipu::log::keys::KEYS_MAX {
        log = log.with(&alice(), allow(&person(n), &[P::Yank]));
    }
    refused(&log, &log.sign(&alice(), allow(&person(0), &[P::Yank])), "limit");
    accepted(&log, &log.sign(&alice(), allow(&person(1), &[P::Release])));
}

#[test]
fn a_record_is_the_next_one_or_none() {
    let zero = Growing::new(&[P::Release]);
    let one = zero.with(&alice(), released("1.0.0"));
    let two = one.with(&alice(), yank("1.0.0"));
    let good = two.draft(&alice(), released("2.0.0"));
    accepted(&two, &good.sign(&alice().key).unwrap());
    // An old record again, as it is or as a new tip.
    refused(&two, &one.head, "broken-chain");
    refused(&two, &two.head, "broken-chain");
    refused(&two, &zero.head, "broken-chain");
    let again = resigned(one.head.draft().clone(), &alice(), |draft| draft.parent = two.head.draft().parent);
    refused(&two, &again, "broken-chain");
    let link = good.link.unwrap();
    for (seq, expected) in [(2, "broken-chain"), (4, "broken-chain"), (i64::MAX as u64, "broken-chain")] {
        let record = resigned(good.clone(), &alice(), |draft| draft.link = Some(Link { seq, ..link }));
        refused(&two, &record, expected);
    }
    let record = resigned(good.clone(), &alice(), |draft| draft.link = Some(Link { prev: one.head.digest(), ..link }));
    refused(&two, &record, "broken-chain");
    let record = resigned(good.clone(), &alice(), |draft| draft.parent = Some(one.head.git_id()));
    refused(&two, &record, "broken-chain");
    let record = resigned(good.clone(), &alice(), |draft| draft.parent = None);
    refused(&two, &record, "broken-chain");
    let record = resigned(good, &alice(), |draft| draft.link = Some(Link { log: digest("another").into(), ..link }));
    refused(&two, &record, "wrong-log");
    // A log begins at its beginning, with an init and without a parent.
    assert_eq!(code(PackageLog::start(&one.head)), "broken-chain");
    let parent = resigned(zero.head.draft().clone(), &alice(), |draft| draft.parent = Some(one.head.git_id()));
    assert_eq!(code(PackageLog::start(&parent)), "broken-chain");
    let not_init = resigned(zero.draft(&alice(), released("1.0.0")), &alice(), |draft| {
        draft.link = None;
        draft.parent = None;
    });
    assert_eq!(code(PackageLog::start(&not_init)), "broken-chain");
    // There is no second beginning.
    let second = zero.head.draft().entry.clone();
    let second = resigned(zero.draft(&alice(), released("1.0.0")), &alice(), |draft| draft.entry = second);
    refused(&zero, &second, "broken-chain");
}

#[test]
fn a_record_of_another_package_or_registry_is_none_of_this_log() {
    let log = Growing::new(&[]);
    let good = log.draft(&alice(), released("1.0.0"));
    accepted(&log, &good.sign(&alice().key).unwrap());
    let other = resigned(good.clone(), &alice(), |draft| draft.subject = Subject::Package("wasi:io".parse().unwrap()));
    refused(&log, &other, "wrong-log");
    let other = resigned(good, &alice(), |draft| draft.registry = "evil.example".parse().unwrap());
    refused(&log, &other, "wrong-log");
    // The same record of a log of the same name that began otherwise.
    let twin = Growing::new(&[P::Yank]);
    refused(&log, &twin.sign(&alice(), released("1.0.0")), "wrong-log");
}

#[test]
fn a_log_is_not_another_ones_under_a_copied_name() {
    let log = Growing::new(&[]).with(&alice(), released("1.0.0")).log;
    assert_eq!(code(log.expect(&full("acme.example/wasi:http"), any_registry())), "accepted");
    assert_eq!(code(log.expect(&full("acme.example/wasi:io"), any_registry())), "wrong-log");
    assert_eq!(code(log.expect(&full("evil.example/wasi:http"), any_registry())), "wrong-log");
    // A registry of the same name with another id.
    let other = RegistryId::from_sha256([8; 32]);
    assert_eq!(code(log.expect(&full("acme.example/wasi:http"), other)), "wrong-registry");
}

#[test]
fn another_first_record_makes_another_log() {
    let log = Growing::new(&[]).with(&alice(), released("1.0.0"));
    let first = log.log.chain().id().first_record();
    assert_eq!(code(check_anchor(&log.log, Some(&first))), "accepted");
    assert_eq!(code(check_anchor(&log.log, Some(&log.head.digest()))), "accepted");
    assert_eq!(code(check_anchor(&log.log, None)), "accepted");
    let replaced = Growing::new(&[P::Release]).with(&alice(), released("1.0.0"));
    assert_eq!(code(check_anchor(&replaced.log, Some(&first))), "anchor-mismatch");
}

#[test]
fn an_anchor_of_the_origin_is_none_of_the_fork() {
    let world = crate::golden::world(SHA1);
    let fork = PackageLog::start(world.of_log("fork")[0]).unwrap();
    let origin = fork.origin().unwrap().clone();
    assert_eq!(code(check_anchor(&fork, Some(&origin.record))), "anchor-mismatch");
    assert_eq!(code(check_anchor(&fork, Some(&origin.log.first_record()))), "anchor-mismatch");
    assert_eq!(code(check_anchor(&fork, Some(&fork.chain().head()))), "accepted");
}

#[test]
fn a_fork_stands_on_its_origin_where_it_says_so_and_nowhere_else() {
    let world = crate::golden::world(SHA1);
    let (linked, bare) = (world.of_log("fork")[0].clone(), world.of_log("fork-without-parent")[0].clone());
    assert_eq!(code(PackageLog::start(&linked)), "accepted");
    let without = resigned(linked.draft().clone(), &mallory(), |draft| draft.parent = None);
    assert_eq!(code(PackageLog::start(&without)), "bad-origin");
    assert_eq!(code(PackageLog::start(&bare)), "accepted");
    let with = resigned(bare.draft().clone(), &mallory(), |draft| draft.parent = linked.draft().parent);
    assert_eq!(code(PackageLog::start(&with)), "broken-chain");
}

#[test]
fn the_signer_of_a_first_record_is_among_its_keys() {
    let good = first(SHA1, &alice(), &http(), init(vec![alice().grant(&[P::Auth]), bob().grant(&[P::Release])]));
    assert_eq!(code(PackageLog::start(&good.sign(&alice().key).unwrap())), "accepted");
    // Another of its keys may sign it as well, under its own name.
    let by_bob = resigned(good.clone(), &bob(), |draft| draft.signer = "bob".parse().unwrap());
    assert_eq!(code(PackageLog::start(&by_bob)), "accepted");
    let by_mallory = resigned(good.clone(), &mallory(), |draft| draft.signer = "mallory".parse().unwrap());
    assert_eq!(code(PackageLog::start(&by_mallory)), "unauthorized");
    assert_eq!(code(PackageLog::start(&good.sign(&bob().key).unwrap())), "not-canonical");
}

#[test]
fn a_version_is_released_once_and_never_again() {
    let log = Growing::new(&[]).with(&alice(), released("1.0.0")).with(&alice(), released("2.0.0-RC.1"));
    refused(&log, &log.sign(&alice(), released("1.0.0")), "already-released");
    // The same contents make no difference, nor do others.
    let other = PackageEntry::Release(std::sync::Arc::new(Release { size: 1, ..release("1.0.0") }));
    refused(&log, &log.sign(&alice(), other), "already-released");
    let yanked = log.with(&alice(), yank("1.0.0"));
    refused(&yanked, &yanked.sign(&alice(), released("1.0.0")), "already-released");
    let back = yanked.with(&alice(), unyank("1.0.0"));
    refused(&back, &back.sign(&alice(), released("1.0.0")), "already-released");
    // Two folders on some systems, one on others.
    refused(&log, &log.sign(&alice(), released("2.0.0-rc.1")), "already-released");
    for version in ["1.0.1", "1.0.0-rc.1", "2.0.0-RC.2", "2.0.0", "2.0.0-rc.11"] {
        accepted(&log, &log.sign(&alice(), released(version)));
    }
}

#[test]
fn only_what_was_released_is_yanked_and_only_what_is_yanked_is_brought_back() {
    let log = Growing::new(&[]).with(&alice(), released("1.0.0"));
    refused(&log, &log.sign(&alice(), yank("1.0.1")), "not-released");
    refused(&log, &log.sign(&alice(), unyank("1.0.1")), "not-released");
    refused(&log, &log.sign(&alice(), unyank("1.0.0")), "not-released");
    let yanked = accepted(&log, &log.sign(&alice(), yank("1.0.0")));
    refused(&yanked, &yanked.sign(&alice(), yank("1.0.0")), "not-released");
    let back = accepted(&yanked, &yanked.sign(&alice(), unyank("1.0.0")));
    refused(&back, &back.sign(&alice(), unyank("1.0.0")), "not-released");
}

#[test]
fn a_release_fits_its_repository_and_names_its_own_registry_by_leaving_it_out() {
    let log = Growing::new(&[]);
    let sha256 = Release { tree: quipu::model::digest::GitId::Sha256([1; 32]), ..release("1.0.0") };
    refused(&log, &log.sign(&alice(), PackageEntry::Release(std::sync::Arc::new(sha256))), "bad-record");
    let depends = |registry: &str| {
        let dependency = Dependency {
            registry: Some((registry.parse().unwrap(), any_registry())),
            package: "wasi:io".parse().unwrap(),
            requirement: "^1".parse().unwrap(),
            anchor: None,
        };
        PackageEntry::Release(std::sync::Arc::new(Release { dependencies: vec![dependency], ..release("1.0.0") }))
    };
    refused(&log, &log.sign(&alice(), depends("acme.example")), "bad-record");
    accepted(&log, &log.sign(&alice(), depends("other.example")));
}

#[test]
fn a_log_is_renamed_where_its_owners_asked_for_it() {
    let under = |log: &Growing, name: &str, entry: PackageEntry| {
        let name = full(name);
        resigned(log.draft(&alice(), entry), &alice(), |draft| {
            draft.registry = name.registry;
            draft.subject = Subject::Package(name.package);
        })
    };
    let (old, new) = ("acme.example/wasi:http", "acme.example/wasi:web");
    let rename = |to: &str, id| PackageEntry::Rename(full(to), id);
    let log = Growing::new(&[]);
    refused(&log, &under(&log, new, released("1.0.0")), "wrong-log");
    refused(&log, &log.sign(&alice(), rename(old, None)), "bad-record");
    refused(&log, &log.sign(&alice(), rename(new, Some(any_registry()))), "bad-record");
    let asked = log.with(&alice(), rename(new, None));
    // Until a record bears the new name, the old one goes on.
    accepted(&asked, &under(&asked, old, released("1.0.0")));
    refused(&asked, &under(&asked, "acme.example/wasi:other", released("1.0.0")), "wrong-log");
    refused(&asked, &under(&asked, "evil.example/wasi:web", released("1.0.0")), "wrong-log");
    let moved = accepted(&asked, &under(&asked, new, released("1.0.0")));
    assert_eq!(moved.log.moves().iter().map(|moved| moved.from.clone()).collect::<Vec<_>>(), [full(old)]);
    assert_eq!(code(moved.log.expect(&full(new), any_registry())), "accepted");
    assert_eq!(code(moved.log.expect(&full(old), any_registry())), "wrong-log");
    refused(&moved, &under(&moved, old, released("2.0.0")), "wrong-log");
    accepted(&moved, &under(&moved, new, released("2.0.0")));
    // A wish can be taken back, and another one takes its place.
    let taken_back = accepted(&asked, &under(&asked, old, rename(old, None)));
    refused(&taken_back, &under(&taken_back, new, released("1.0.0")), "wrong-log");
    let other = accepted(&asked, &under(&asked, old, rename("acme.example/wasi:w3", None)));
    refused(&other, &under(&other, new, released("1.0.0")), "wrong-log");
    accepted(&other, &under(&other, "acme.example/wasi:w3", released("1.0.0")));
    // Into another registry, which is named with its id.
    let far = "new.example/wasi:http";
    refused(&log, &log.sign(&alice(), rename(far, None)), "bad-record");
    let id = RegistryId::from_sha256([9; 32]);
    let asked = log.with(&alice(), rename(far, Some(id)));
    let moved = accepted(&asked, &under(&asked, far, released("1.0.0")));
    assert_eq!(code(moved.log.expect(&full(far), id)), "accepted");
    assert_eq!(code(moved.log.expect(&full(far), any_registry())), "wrong-registry");
    assert_eq!(moved.log.release_of(&"1.0.0".parse().unwrap()).unwrap().registry, ("new.example".parse().unwrap(), id));
}

#[test]
fn after_an_upgrade_the_log_says_which_format_it_needs() {
    let log = Growing::new(&[P::Auth]);
    let upgraded = log.with(&alice(), PackageEntry::Upgrade(3));
    let next = log.with(&alice(), released("1.0.0")).sign(&alice(), yank("1.0.0"));
    for record in [upgraded.sign(&alice(), released("1.0.0")), next] {
        let error = upgraded.append(&record).unwrap_err();
        assert_eq!(error.code().as_str(), "unsupported-format");
        assert!(error.message().contains("format 3"), "{error}");
    }
    // A record of that format may look like anything, but says its format where every record does.
    let text = payload(&upgraded.sign(&alice(), released("1.0.0")));
    for edit in [text.clone(), text.replace("\nseq", "\nquorum = 2\nseq"), text.replace("committer quipu", "committer khipu")] {
        let newer = signed(SHA1, edit.replace("\nformat = 1\n", "\nformat = 3\n").as_bytes(), &alice().key);
        let error = read(SHA1, &newer).unwrap_err();
        assert_eq!(error.code().as_str(), "unsupported-format");
        assert!(error.message().contains("format 3") && error.hints()[0].contains("format 3"), "{error}");
    }
}

/// The versions of a log that are flagged.
fn flagged(log: &Growing) -> Vec<String> {
    log.log.releases().filter(|released| released.flagged).map(|released| released.release.version.to_string()).collect()
}

#[test]
fn what_a_stolen_key_released_is_flagged_from_the_place_that_is_declared() {
    let log = Growing::new(&[P::Release]).with(&bob(), released("1.0.0")).with(&bob(), released("1.1.0"));
    let log = log.with(&alice(), released("1.2.0"));
    assert!(flagged(&log).is_empty());
    let all = log.with(&alice(), denial(&bob(), &[P::Release], Some(1)));
    assert_eq!(flagged(&all), ["1.0.0", "1.1.0"]);
    let some = log.with(&alice(), denial(&bob(), &[P::Release], Some(2)));
    assert_eq!(flagged(&some), ["1.1.0"]);
    let none = log.with(&alice(), denial(&bob(), &[P::Release], Some(3)));
    assert!(flagged(&none).is_empty());
    // A place that lies ahead is none.
    refused(&log, &log.sign(&alice(), denial(&bob(), &[P::Release], Some(4))), "bad-record");
    // A key that was denied can be declared stolen later, and once more, from an earlier place.
    let denied = log.with(&alice(), deny(&bob(), &[P::Release]));
    let later = denied.with(&alice(), denial(&bob(), &[P::Release], Some(2)));
    assert_eq!(flagged(&later), ["1.1.0"]);
    assert_eq!(flagged(&later.with(&alice(), denial(&bob(), &[P::Release], Some(1)))), ["1.0.0", "1.1.0"]);
    assert_eq!(flagged(&later.with(&alice(), denial(&bob(), &[P::Release], Some(5)))), ["1.1.0"]);
}

#[test]
fn what_a_stolen_key_let_in_is_flagged_too_and_what_that_let_in() {
    let log = Growing::new(&[P::Auth, P::Release])
        .with(&bob(), allow(&carol(), &[P::Auth, P::Release]))
        .with(&carol(), allow(&mallory(), &[P::Release]))
        .with(&mallory(), released("1.0.0"))
        .with(&carol(), released("1.1.0"))
        .with(&alice(), released("1.2.0"));
    let declared = log.with(&alice(), denial(&bob(), &[P::Auth, P::Release], Some(1)));
    assert_eq!(flagged(&declared), ["1.0.0", "1.1.0"]);
    // Let in before the key was stolen, they are above suspicion.
    assert!(flagged(&log.with(&alice(), denial(&bob(), &[P::Auth, P::Release], Some(2)))).is_empty());
    // What they append later is flagged as well.
    let later = declared.with(&mallory(), released("2.0.0"));
    assert_eq!(flagged(&later), ["1.0.0", "1.1.0", "2.0.0"]);
}

#[test]
fn a_key_that_clean_hands_let_in_again_speaks_for_itself() {
    let log = Growing::new(&[P::Auth, P::Release])
        .with(&bob(), allow(&mallory(), &[P::Release]))
        .with(&mallory(), released("1.0.0"))
        .with(&alice(), denial(&bob(), &[P::Auth, P::Release], Some(1)))
        .with(&alice(), allow(&mallory(), &[P::Release]))
        .with(&mallory(), released("1.1.0"));
    assert_eq!(flagged(&log), ["1.0.0"]);
    // So does the stolen key itself, once it is its owner's again.
    let again = log.with(&alice(), allow(&bob(), &[P::Release])).with(&bob(), released("1.2.0"));
    assert_eq!(flagged(&again), ["1.0.0"]);
    // But not where it was let in during the time in which it was stolen.
    let early = Growing::new(&[P::Auth, P::Release])
        .with(&bob(), released("1.0.0"))
        .with(&alice(), allow(&bob(), &[P::Yank]))
        .with(&bob(), released("1.1.0"))
        .with(&alice(), denial(&bob(), &[P::Auth, P::Release], Some(1)));
    assert_eq!(flagged(&early), ["1.0.0", "1.1.0"]);
}

#[test]
fn a_thief_who_calls_the_owner_a_thief_is_not_believed_once_he_is_found_out() {
    let log = Growing::new(&[P::Auth, P::Release, P::Yank, P::Rename])
        .with(&alice(), allow(&carol(), &[P::Auth, P::Release, P::Yank, P::Rename]))
        .with(&alice(), released("1.0.0"))
        .with(&bob(), released("6.6.6"))
        .with(&bob(), denial(&alice(), &[P::Auth, P::Release, P::Yank, P::Rename], Some(0)));
    assert_eq!(flagged(&log), ["1.0.0", "6.6.6"].map(String::from)[..1]);
    let found_out = log.with(&carol(), denial(&bob(), &[P::Auth, P::Release, P::Yank, P::Rename], Some(3)));
    assert_eq!(flagged(&found_out), ["6.6.6"]);
    // It is the last that counts: were Carol herself found out, Bob's word would stand again.
    let twist =
        found_out.with(&carol(), allow(&alice(), &[P::Auth, P::Release])).with(&alice(), denial(&carol(), &[P::Auth], Some(5)));
    assert_eq!(flagged(&twist), ["1.0.0"]);
}
