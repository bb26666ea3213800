//! What the law of operators, decisions, attestations and checkpoints refuses, and what a client that remembers finds out.

use crate::cast::*;
use quipu::log::attestation::AttestationLog;
use quipu::log::decision::DecisionLog;
use quipu::log::names::{Takedowns, check_steps, leads_to, path};
use quipu::log::operator::OperatorLog;
use quipu::log::registry::{CheckedCheckpoint, RegistryLog, check_hop};
use quipu::model::digest::{ChangesDigest, ContentDigest, LogId, RecordDigest, RegistryId};
use quipu::model::entry::{
    Attest, AttestationEntry, Checkpoint, Decision, DecisionHead, Denial, Entry, Grant, Mirror, OperatorEntry,
    OperatorPrivilege as O, PackageEntry, Policy, Registration, Subject, TakedownClass, Verdict,
};
use quipu::model::error::Result;
use quipu::model::name::{Label, PackageName};
use quipu::model::record::{Record, SignedRecord};
use quipu::model::skip::{descent, skip};
use quipu::model::sshsig::Signer as _;
use quipu::trust::choose::choose;
use quipu::trust::memory::Memory;

const ALL: [O; 6] = [O::Auth, O::Checkpoint, O::Register, O::Decide, O::Policy, O::Mirror];

fn labels(texts: &[&str]) -> Vec<Label> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn limited(who: &Person, privileges: &[O], namespaces: &[&str]) -> Grant<O> {
    Grant { namespaces: labels(namespaces), ..who.grant(privileges) }
}

fn deny(who: &Person, privileges: &[O]) -> OperatorEntry {
    let key = who.key.public_key().clone();
    OperatorEntry::Deny(Denial { name: who.name.clone(), key, privileges: privileges.to_vec(), compromised_since: None })
}

fn policy(registration: Registration) -> OperatorEntry {
    OperatorEntry::Policy(Policy { registration, ..Policy::default() })
}

fn mirror(name: &str, id: u8, patterns: &[&str]) -> OperatorEntry {
    OperatorEntry::Mirror(Mirror {
        name: name.parse().unwrap(),
        id: RegistryId::from_sha256([id; 32]),
        patterns: patterns.iter().map(|text| (*text).into()).collect(),
        contents: true,
        keep_taken_down: false,
    })
}

/// An operator log that Alice began, holding everything.
fn operators(others: Vec<Grant<O>>) -> (OperatorLog, SignedRecord) {
    let keys = [vec![alice().grant(&ALL)], others].concat();
    let record = first(SHA1, &alice(), &Subject::Operators, operator_init(keys)).sign(&alice().key).unwrap();
    (OperatorLog::start(&record).unwrap(), record)
}

fn next(log: &OperatorLog, who: &Person, entry: OperatorEntry) -> SignedRecord {
    after(log.chain(), who, Entry::Operator(entry)).sign(&who.key).unwrap()
}

fn with(log: &OperatorLog, who: &Person, entry: OperatorEntry) -> OperatorLog {
    log.clone().append(&next(log, who, entry)).unwrap()
}

#[track_caller]
fn refused(log: &OperatorLog, who: &Person, entry: OperatorEntry, expected: &str) {
    let before = log.clone();
    let record = next(log, who, entry);
    assert_eq!(code(log.clone().append(&record)), expected, "{}", record.summary());
    assert_eq!(*log, before);
}

#[track_caller]
fn accepted(log: &OperatorLog, who: &Person, entry: OperatorEntry) -> OperatorLog {
    let record = next(log, who, entry);
    match log.clone().append(&record) {
        Ok(log) => log,
        Err(error) => panic!("{}: {error}", record.summary()),
    }
}

#[test]
fn an_operator_does_what_its_privileges_say_and_nothing_else() {
    let steps: [(O, fn() -> OperatorEntry); 6] = [
        (O::Auth, || OperatorEntry::Allow(carol().grant(&[O::Auth]))),
        (O::Auth, || deny(&mallory(), &[O::Auth])),
        (O::Auth, || OperatorEntry::Repudiate(vec![digest("a checkpoint")], "stolen".into())),
        (O::Auth, || OperatorEntry::Upgrade(2)),
        (O::Policy, || policy(Registration::Listed)),
        (O::Mirror, || mirror("other.example", 1, &["*"])),
    ];
    for (needed, entry) in steps {
        for held in ALL {
            let (log, _) = operators(vec![bob().grant(&[held]), mallory().grant(&[O::Auth])]);
            if held == needed {
                accepted(&log, &bob(), entry());
            } else {
                refused(&log, &bob(), entry(), "unauthorized");
            }
            refused(&log, &carol(), entry(), "unauthorized");
        }
    }
}

#[test]
fn an_operator_log_is_a_chain_of_its_own() {
    let (log, zero) = operators(vec![]);
    let one = next(&log, &alice(), policy(Registration::Listed));
    let two = log.clone().append(&one).unwrap();
    for old in [&zero, &one] {
        assert_eq!(code(two.clone().append(old)), "broken-chain");
    }
    assert_eq!(code(OperatorLog::start(&one)), "broken-chain");
    assert_eq!(code(OperatorLog::start(&Growing::new(&[]).head)), "wrong-log");
    let (other, _) = operators(vec![bob().grant(&[O::Auth])]);
    assert_eq!(code(other.append(&one)), "wrong-log");
    let elsewhere = resigned(one.draft().clone(), &alice(), |draft| draft.registry = "evil.example".parse().unwrap());
    assert_eq!(code(log.clone().append(&elsewhere)), "wrong-log");
    let by_mallory = resigned(zero.draft().clone(), &mallory(), |draft| draft.signer = "mallory".parse().unwrap());
    assert_eq!(code(OperatorLog::start(&by_mallory)), "unauthorized");
    refused(&log, &alice(), deny(&alice(), &[O::Auth]), "last-owner");
    refused(
        &log,
        &alice(),
        OperatorEntry::Init(quipu::model::entry::OperatorInit { origin: None, keys: vec![alice().grant(&ALL)] }),
        "broken-chain",
    );
    let upgraded = accepted(&log, &alice(), OperatorEntry::Upgrade(2));
    refused(&upgraded, &alice(), policy(Registration::Listed), "unsupported-format");
}

#[test]
fn register_is_granted_and_taken_within_the_namespaces_that_one_holds_it_for() {
    let limits = vec![limited(&bob(), &[O::Auth, O::Register], &["cli", "wasi"]), mallory().grant(&[O::Register])];
    let (log, _) = operators(limits);
    let grant = |who: &Person, namespaces: &[&str]| OperatorEntry::Allow(limited(who, &[O::Register], namespaces));
    refused(&log, &bob(), grant(&carol(), &[]), "unauthorized");
    refused(&log, &bob(), grant(&carol(), &["acme"]), "unauthorized");
    refused(&log, &bob(), grant(&carol(), &["acme", "wasi"]), "unauthorized");
    refused(&log, &bob(), grant(&bob(), &[]), "unauthorized");
    let log = accepted(&log, &bob(), grant(&carol(), &["wasi"]));
    let spaces = |log: &OperatorLog, who: &Person| log.now().keys.get(who.key.public_key()).unwrap().namespaces.clone();
    assert_eq!(spaces(&log, &carol()), labels(&["wasi"]));
    // A grant adds, and takes nothing away.
    let more = accepted(&log, &bob(), grant(&carol(), &["cli"]));
    assert_eq!(spaces(&more, &carol()), labels(&["cli", "wasi"]));
    let all = accepted(&more, &bob(), grant(&mallory(), &["cli"]));
    assert_eq!(spaces(&all, &mallory()), labels(&[]));
    let unlimited = accepted(&more, &alice(), grant(&carol(), &[]));
    assert_eq!(spaces(&unlimited, &carol()), labels(&[]));
    // Nor can one take what one does not hold.
    refused(&all, &bob(), deny(&mallory(), &[O::Register]), "unauthorized");
    refused(&unlimited, &bob(), deny(&carol(), &[O::Register]), "unauthorized");
    let none = accepted(&more, &bob(), deny(&carol(), &[O::Register]));
    accepted(&none, &bob(), grant(&carol(), &["cli"]));
    assert_eq!(spaces(&none, &carol()), labels(&[]));
}

#[test]
fn a_listed_policy_says_who_registers_and_an_open_one_lets_anyone() {
    let (open, _) = operators(vec![limited(&bob(), &[O::Register], &["wasi"])]);
    let listed = with(&open, &alice(), policy(Registration::Listed));
    let init_by = |who: &Person| first(SHA1, who, &http(), init(vec![who.grant(&[P::Auth])])).sign(&who.key).unwrap();
    let may = |log: &OperatorLog, who: &Person, namespace: &str| {
        code(log.now().may_register(&init_by(who), &namespace.parse().unwrap()))
    };
    assert_eq!(may(&open, &mallory(), "wasi"), "accepted");
    assert_eq!(may(&listed, &mallory(), "wasi"), "unauthorized");
    assert_eq!(may(&listed, &bob(), "wasi"), "accepted");
    assert_eq!(may(&listed, &bob(), "cli"), "unauthorized");
    assert_eq!(may(&listed, &alice(), "cli"), "accepted");
    let denied = with(&listed, &alice(), deny(&bob(), &[O::Register]));
    assert_eq!(may(&denied, &bob(), "wasi"), "unauthorized");
    // What was admitted is judged by the policy of its day.
    assert_eq!(
        code(listed.at(&open.chain().head()).unwrap().may_register(&init_by(&mallory()), &labels(&["wasi"])[0])),
        "accepted"
    );
}

#[test]
fn a_mirrored_name_means_one_registry() {
    let (log, _) = operators(vec![]);
    refused(&log, &alice(), mirror("acme.example", 1, &["*"]), "bad-record");
    refused(&log, &alice(), mirror("other.example", 1, &[]), "bad-record");
    let log = accepted(&log, &alice(), mirror("other.example", 1, &["*"]));
    refused(&log, &alice(), mirror("other.example", 2, &["*"]), "wrong-registry");
    let log = accepted(&log, &alice(), mirror("other.example", 1, &["wasi:*"]));
    let ended = accepted(&log, &alice(), mirror("other.example", 1, &[]));
    refused(&ended, &alice(), mirror("other.example", 2, &["*"]), "wrong-registry");
    accepted(&ended, &alice(), mirror("other.example", 1, &["wasi:http"]));
    for (patterns, expected) in [
        (vec!["**"], "bad-record"),
        (vec!["*:http"], "bad-record"),
        (vec!["wasi"], "bad-record"),
        (vec!["wasi:h*"], "bad-record"),
        (vec![""], "bad-record"),
        (vec!["wasi:*", "cli:*"], "not-canonical"),
        (vec!["cli:*", "cli:*"], "not-canonical"),
    ] {
        let draft = after(log.chain(), &alice(), Entry::Operator(mirror("other.example", 1, &patterns)));
        assert_eq!(code(draft.sign(&alice().key)), expected, "{patterns:?}");
    }
}

/// A registry log and all that it says, as records.
struct Checkpoints {
    operators: OperatorLog,
    log: RegistryLog,
    records: Vec<SignedRecord>,
}

fn says(operators: &RecordDigest, skip: Option<RecordDigest>) -> Checkpoint {
    Checkpoint { skip, operators: *operators, packages: 1, changes: ChangesDigest::of_bytes(b""), expires: None }
}

impl Checkpoints {
    fn new(operators: &OperatorLog, count: u64) -> Self {
        let entry = Entry::Checkpoint(says(&operators.chain().head(), None));
        let record = first(SHA1, &alice(), &Subject::Log, entry).sign(&alice().key).unwrap();
        let log = RegistryLog::start(operators, &record).unwrap();
        let mut checkpoints = Checkpoints { operators: operators.clone(), log, records: vec![record] };
        while checkpoints.log.chain().seq() < count {
            checkpoints.grow(&alice(), |_| {}).unwrap();
        }
        checkpoints
    }

    fn next(&self, who: &Person, change: impl FnOnce(&mut Checkpoint)) -> SignedRecord {
        let back = self.log.digest_at(skip(self.log.chain().seq() + 1));
        let mut says = says(&self.operators.chain().head(), back);
        change(&mut says);
        after(self.log.chain(), who, Entry::Checkpoint(says)).sign(&who.key).unwrap()
    }

    fn judge(&self, record: &SignedRecord) -> &'static str {
        let before = self.log.clone();
        let verdict = code(self.log.clone().append(&self.operators, record));
        assert_eq!(self.log, before);
        verdict
    }

    fn grow(&mut self, who: &Person, change: impl FnOnce(&mut Checkpoint)) -> Result<()> {
        let record = self.next(who, change);
        self.log = self.log.clone().append(&self.operators, &record)?;
        self.records.push(record);
        Ok(())
    }

    fn newest(&self) -> CheckedCheckpoint {
        CheckedCheckpoint::newest(&self.operators, self.records.last().unwrap()).unwrap()
    }

    /// The checkpoints from the newest down to that place, each standing on the next.
    fn down_to(&self, seq: u64) -> Vec<Record> {
        let from = self.log.chain().seq();
        let places = std::iter::once(from).chain(descent(from, seq).map(|hop| hop.seq()));
        places.map(|seq| (*self.records[usize::try_from(seq).unwrap()]).clone()).collect()
    }
}

#[test]
fn a_checkpoint_is_made_by_who_may() {
    let (ops, _) = operators(vec![bob().grant(&[O::Checkpoint]), carol().grant(&[O::Auth, O::Decide])]);
    let log = Checkpoints::new(&ops, 3);
    assert_eq!(log.judge(&log.next(&alice(), |_| {})), "accepted");
    assert_eq!(log.judge(&log.next(&bob(), |_| {})), "accepted");
    assert_eq!(log.judge(&log.next(&carol(), |_| {})), "unauthorized");
    assert_eq!(log.judge(&log.next(&mallory(), |_| {})), "unauthorized");
}

#[test]
fn a_denied_operator_makes_no_checkpoint_by_naming_earlier_operators() {
    let (before, _) = operators(vec![bob().grant(&[O::Checkpoint])]);
    let mut log = Checkpoints::new(&before, 2);
    let by_bob = log.next(&bob(), |_| {});
    assert_eq!(code(CheckedCheckpoint::newest(&before, &by_bob)), "accepted");
    let after = with(&before, &alice(), deny(&bob(), &[O::Checkpoint]));
    log.operators = after.clone();
    // As a part of history it is judged by the operators that it names, as the newest by the newest too.
    assert_eq!(log.judge(&by_bob), "accepted");
    assert_eq!(code(CheckedCheckpoint::newest(&after, &by_bob)), "unauthorized");
    assert_eq!(log.judge(&log.next(&bob(), |_| {})), "unauthorized");
    // Once a checkpoint names the operators without Bob, no later one goes back.
    log.grow(&alice(), |_| {}).unwrap();
    let back = log.next(&bob(), |says| says.operators = before.chain().head());
    assert_eq!(log.judge(&back), "unauthorized");
    let back = log.next(&alice(), |says| says.operators = before.chain().head());
    assert_eq!(log.judge(&back), "unauthorized");
    assert_eq!(log.judge(&log.next(&alice(), |_| {})), "accepted");
}

#[test]
fn a_checkpoint_of_another_registry_of_the_same_name_is_none_of_this_one() {
    let (ours, _) = operators(vec![]);
    let (theirs, _) = operators(vec![mallory().grant(&[O::Checkpoint])]);
    let log = Checkpoints::new(&theirs, 1);
    assert_eq!(code(CheckedCheckpoint::newest(&ours, log.records.last().unwrap())), "wrong-registry");
    assert_eq!(code(CheckedCheckpoint::newest(&theirs, log.records.last().unwrap())), "accepted");
    let record = resigned(log.records[0].draft().clone(), &alice(), |draft| draft.registry = "evil.example".parse().unwrap());
    assert_eq!(code(CheckedCheckpoint::newest(&theirs, &record)), "wrong-log");
    assert_eq!(code(CheckedCheckpoint::newest(&theirs, &Growing::new(&[]).head)), "wrong-log");
}

#[test]
fn a_checkpoint_stands_on_the_one_before_and_on_its_skip() {
    let (ops, _) = operators(vec![]);
    let log = Checkpoints::new(&ops, 6);
    // 7 skips to 0, whose digest is the log's id: a wrong link shows without another record.
    let entry = |skip| Entry::Checkpoint(says(&ops.chain().head(), skip));
    let sign = |log: &Checkpoints, skip| after(log.log.chain(), &alice(), entry(skip)).sign(&alice().key);
    assert_eq!(code(sign(&log, log.log.digest_at(3))), "broken-chain");
    assert_eq!(code(sign(&log, None)), "broken-chain");
    assert_eq!(code(sign(&log, log.log.digest_at(0))), "accepted");
    // 8 skips to 7, which is `prev` too.
    let log = Checkpoints::new(&ops, 7);
    assert_eq!(code(sign(&log, log.log.digest_at(0))), "broken-chain");
    assert_eq!(code(sign(&log, log.log.digest_at(7))), "accepted");
    // 6 skips to 3: only who knows 3 can tell.
    let log = Checkpoints::new(&ops, 5);
    for (place, expected) in [(3, "accepted"), (0, "broken-chain"), (5, "broken-chain"), (2, "broken-chain")] {
        assert_eq!(log.judge(&sign(&log, log.log.digest_at(place)).unwrap()), expected, "{place}");
    }
    let good = log.next(&alice(), |_| {});
    let gap = resigned(good.draft().clone(), &alice(), |draft| draft.parent = Some(log.records[3].git_id()));
    assert_eq!(log.judge(&gap), "broken-chain");
    assert_eq!(log.judge(&log.records[5]), "broken-chain");
    assert_eq!(code(first(SHA1, &alice(), &Subject::Log, entry(Some(digest("x")))).sign(&alice().key)), "broken-chain");
    // Every hop of every descent holds, and no other pair does.
    let log = Checkpoints::new(&ops, 12);
    for from in 0..=12usize {
        for to in 0..=12usize {
            let linked = from > 0 && (to == from - 1 || to as u64 == skip(from as u64));
            let verdict = code(check_hop(&log.records[from], &log.records[to]));
            assert_eq!(verdict, if linked { "accepted" } else { "fork" }, "{from} to {to}");
        }
    }
}

#[test]
fn a_checkpoint_past_its_time_is_stale() {
    let (ops, _) = operators(vec![]);
    let mut log = Checkpoints::new(&ops, 0);
    log.grow(&alice(), |says| says.expires = Some(at(100).unix())).unwrap();
    assert_eq!(code(log.newest().check_fresh(at(100))), "accepted");
    assert_eq!(code(log.newest().check_fresh(at(101))), "stale");
    let beyond = |says: &mut Checkpoint| says.expires = Some(253_402_300_800);
    let mut said = says(&ops.chain().head(), log.log.digest_at(1));
    beyond(&mut said);
    assert_eq!(code(after(log.log.chain(), &alice(), Entry::Checkpoint(said)).sign(&alice().key)), "bad-record");
}

fn about(operators: &OperatorLog, package: &Growing) -> DecisionHead {
    DecisionHead { operators: operators.chain().head(), target: package.log.chain().id(), head: package.head.digest() }
}

fn takedown(version: Option<&str>) -> Verdict {
    Verdict::Takedown { version: version.map(|text| text.parse().unwrap()), class: TakedownClass::Malware, reason: "harm".into() }
}

fn restore(version: Option<&str>) -> Verdict {
    Verdict::Restore { version: version.map(|text| text.parse().unwrap()), reason: "no harm".into() }
}

fn reset(new: &str) -> Verdict {
    Verdict::Reset { new: LogId::from(digest(new)), reason: "keys lost".into() }
}

fn decide(who: &Person, about: &DecisionHead, what: Verdict) -> SignedRecord {
    let entry = Entry::Decision(Decision { about: about.clone(), what });
    first(SHA1, who, &Subject::Decisions("wasi:http".parse().unwrap()), entry).sign(&who.key).unwrap()
}

fn decide_next(log: &DecisionLog, who: &Person, about: &DecisionHead, what: Verdict) -> SignedRecord {
    after(log.chain(), who, Entry::Decision(Decision { about: about.clone(), what })).sign(&who.key).unwrap()
}

#[test]
fn decisions_are_made_by_operators_who_may() {
    let (ops, _) = operators(vec![bob().grant(&[O::Decide]), carol().grant(&[O::Auth, O::Checkpoint])]);
    let package = Growing::new(&[]);
    let about = about(&ops, &package);
    let start = |who: &Person| DecisionLog::start(&ops, &decide(who, &about, takedown(None)));
    assert_eq!(code(start(&bob())), "accepted");
    assert_eq!(code(start(&carol())), "unauthorized");
    assert_eq!(code(start(&mallory())), "unauthorized");
    let log = start(&alice()).unwrap();
    let before = log.clone();
    for (who, expected) in [(bob(), "accepted"), (carol(), "unauthorized"), (mallory(), "unauthorized")] {
        assert_eq!(code(log.clone().append(&ops, &decide_next(&log, &who, &about, restore(None)))), expected);
    }
    assert_eq!(log, before);
    // The owner of the package decides nothing, and an operator releases nothing.
    let by_operator = package.sign(&bob(), released("1.0.0"));
    super::refused(&package, &by_operator, "unauthorized");
    // Operators that this registry never had.
    let (theirs, _) = operators(vec![mallory().grant(&[O::Decide])]);
    let other = DecisionHead { operators: theirs.chain().head(), ..about.clone() };
    assert_eq!(code(DecisionLog::start(&ops, &decide(&alice(), &other, takedown(None)))), "wrong-registry");
    assert_eq!(code(DecisionLog::start(&ops, &package.head)), "wrong-log");
}

#[test]
fn a_decision_does_not_go_back_to_earlier_operators() {
    let (before, _) = operators(vec![bob().grant(&[O::Decide])]);
    let package = Growing::new(&[]);
    let then = about(&before, &package);
    let log = DecisionLog::start(&before, &decide(&bob(), &then, takedown(Some("1.0.0")))).unwrap();
    let after = with(&before, &alice(), deny(&bob(), &[O::Decide]));
    let now = about(&after, &package);
    assert_eq!(code(log.clone().append(&after, &decide_next(&log, &bob(), &now, takedown(None)))), "unauthorized");
    let newer = log.clone().append(&after, &decide_next(&log, &alice(), &now, takedown(None))).unwrap();
    let back = decide_next(&newer, &bob(), &then, restore(None));
    assert_eq!(code(newer.clone().append(&after, &back)), "unauthorized");
    let back = decide_next(&newer, &alice(), &then, restore(None));
    assert_eq!(code(newer.clone().append(&after, &back)), "unauthorized");
    assert_eq!(code(newer.clone().append(&after, &decide_next(&newer, &alice(), &now, restore(None)))), "accepted");
}

#[test]
fn decisions_follow_from_one_another() {
    let (ops, _) = operators(vec![]);
    let package = Growing::new(&[]).with(&alice(), released("1.0.0"));
    let about = about(&ops, &package);
    let start = |what| DecisionLog::start(&ops, &decide(&alice(), &about, what));
    assert_eq!(code(start(restore(None))), "bad-record");
    assert_eq!(code(start(restore(Some("1.0.0")))), "bad-record");
    let log = start(takedown(Some("1.0.0"))).unwrap();
    let judge = |log: &DecisionLog, about: &DecisionHead, what| {
        let before = log.clone();
        let verdict = code(log.clone().append(&ops, &decide_next(log, &alice(), about, what)));
        assert_eq!(*log, before);
        verdict
    };
    assert_eq!(judge(&log, &about, takedown(Some("1.0.0"))), "bad-record");
    assert_eq!(judge(&log, &about, restore(Some("1.0.1"))), "bad-record");
    assert_eq!(judge(&log, &about, restore(None)), "bad-record");
    assert_eq!(judge(&log, &about, takedown(None)), "accepted");
    assert_eq!(judge(&log, &about, restore(Some("1.0.0"))), "accepted");
    let other = DecisionHead { target: LogId::from(digest("other")), ..about.clone() };
    assert_eq!(judge(&log, &other, takedown(None)), "wrong-log");
    // Old records, and those of another package.
    assert_eq!(code(log.clone().append(&ops, &decide(&alice(), &about, takedown(None)))), "broken-chain");
    let elsewhere = resigned(decide_next(&log, &alice(), &about, takedown(None)).draft().clone(), &alice(), |draft| {
        draft.subject = Subject::Decisions("wasi:io".parse().unwrap());
    });
    assert_eq!(code(log.clone().append(&ops, &elsewhere)), "wrong-log");
    // What is taken down is not chosen, and says why.
    let version = "1.0.0".parse().unwrap();
    assert_eq!(code(choose(&package.log, &Takedowns::of([&log]), Some(&version))), "taken-down");
    assert_eq!(code(choose(&package.log, &Takedowns::of([&log]), None)), "not-found");
    assert_eq!(code(choose(&package.log, &Takedowns::default(), Some(&version))), "accepted");
}

#[test]
fn after_a_reset_the_name_means_the_new_log_and_the_old_one_is_not_forgotten() {
    let (ops, _) = operators(vec![]);
    let package = Growing::new(&[]).with(&alice(), released("1.0.0"));
    let old = about(&ops, &package);
    let log = DecisionLog::start(&ops, &decide(&alice(), &old, takedown(Some("1.0.0")))).unwrap();
    assert_eq!(code(log.check_log(&package.log)), "accepted");
    assert_eq!(
        code(
            after(
                log.chain(),
                &alice(),
                Entry::Decision(Decision { about: old.clone(), what: Verdict::Reset { new: old.target, reason: String::new() } })
            )
            .sign(&alice().key)
        ),
        "bad-record"
    );
    let log = log.clone().append(&ops, &decide_next(&log, &alice(), &old, reset("new"))).unwrap();
    assert_eq!(log.target(), LogId::from(digest("new")));
    assert_eq!(code(log.check_log(&package.log)), "wrong-log");
    let new = DecisionHead { target: log.target(), head: digest("head"), ..old };
    let judge =
        |log: &DecisionLog, about: &DecisionHead, what| code(log.clone().append(&ops, &decide_next(log, &alice(), about, what)));
    assert_eq!(judge(&log, &old, reset("newer")), "wrong-log");
    assert_eq!(judge(&log, &new, takedown(Some("1.0.0"))), "accepted");
    // A lock that means the old log is still warned, and the old log can still be decided about.
    assert!(log.takedown_of(old.target, &"1.0.0".parse().unwrap()).is_some());
    assert!(log.takedown_of(new.target, &"1.0.0".parse().unwrap()).is_none());
    assert_eq!(judge(&log, &old, restore(Some("1.0.0"))), "accepted");
    assert_eq!(judge(&log, &old, takedown(Some("1.1.0"))), "accepted");
    // The name does not go back to a log that was put aside.
    let back = Verdict::Reset { new: old.target, reason: "sorry".into() };
    assert_eq!(judge(&log, &new, back), "bad-record");
    assert_eq!(judge(&log, &new, reset("newer")), "accepted");
}

#[test]
fn a_rename_is_granted_to_who_asked_for_it_in_the_log_of_the_old_name() {
    let (ops, _) = operators(vec![]);
    let package = Growing::new(&[]).with(&alice(), PackageEntry::Rename(full("acme.example/wasi:web"), None));
    let about = about(&ops, &package);
    let rename = |from: &str, to: &str, consent: RecordDigest| Verdict::Rename { from: full(from), to: full(to), consent };
    let (old, new) = ("acme.example/wasi:http", "acme.example/wasi:web");
    let start = |what| DecisionLog::start(&ops, &decide(&alice(), &about, what));
    let log = start(rename(old, new, package.head.digest())).unwrap();
    assert_eq!(code(log.check_log(&package.log)), "accepted");
    assert_eq!(code(start(rename("acme.example/wasi:io", new, package.head.digest()))), "wrong-log");
    assert_eq!(code(start(rename("evil.example/wasi:http", new, package.head.digest()))), "wrong-log");
    // It stands under the new name by that decision alone, and the old one leads there.
    let http: PackageName = "wasi:http".parse().unwrap();
    let web: PackageName = "wasi:web".parse().unwrap();
    let acme = full(old).registry;
    let steps = path(&package.log, &web, &acme, any_registry()).unwrap();
    assert_eq!(steps, [(http.clone(), None), (web.clone(), Some(package.head.digest()))]);
    let granted_by =
        |decisions: Option<&DecisionLog>| check_steps(&package.log, &steps, |name| decisions.filter(|_| *name == http));
    assert_eq!(code(granted_by(Some(&log))), "accepted");
    assert_eq!(code(granted_by(None)), "unauthorized");
    assert_eq!(path(&package.log, &http, &acme, any_registry()).unwrap().len(), 1);
    assert_eq!(code(path(&package.log, &"wasi:io".parse().unwrap(), &acme, any_registry())), "wrong-log");
    assert_eq!(leads_to(&package.log, &full(old), &log).map(|granted| granted.to.clone()), Some(full(new)));
    // Who asks for the old name again has come back to it.
    let back = package.clone().with(&alice(), PackageEntry::Rename(full(old), None));
    assert_eq!(leads_to(&back.log, &full(old), &log), None);
    assert_eq!(code(path(&back.log, &web, &acme, any_registry())), "wrong-log");
    // What the owners did not ask for.
    for (to, consent) in [("acme.example/mallory:web", package.head.digest()), (new, package.log.chain().id().first_record())] {
        let log = start(rename(old, to, consent)).unwrap();
        assert_eq!(code(log.check_log(&package.log)), "bad-record");
    }
    // A head that the log never had.
    let never = DecisionHead { head: digest("never"), ..about.clone() };
    let log = DecisionLog::start(&ops, &decide(&alice(), &never, takedown(None))).unwrap();
    assert_eq!(code(log.check_log(&package.log)), "broken-chain");
    let nowhere = Entry::Decision(Decision { about: about.clone(), what: rename(old, old, package.head.digest()) });
    assert_eq!(
        code(first(SHA1, &alice(), &Subject::Decisions("wasi:http".parse().unwrap()), nowhere).sign(&alice().key)),
        "bad-record"
    );
}

fn attest(version: &str) -> AttestationEntry {
    AttestationEntry::Attest(Box::new(Attest {
        registry_id: any_registry(),
        target: LogId::from(digest("log")),
        version: version.parse().unwrap(),
        content: ContentDigest::of_bytes(b""),
        predicate: "https://slsa.dev/provenance/v1".into(),
        pass: None,
        statement: None,
        expires: None,
    }))
}

#[test]
fn anyone_states_something_and_only_the_same_key_takes_it_back() {
    let subject = Subject::Attestations(full("acme.example/wasi:http"));
    let stated = first(SHA1, &mallory(), &subject, Entry::Attestation(attest("1.0.0"))).sign(&mallory().key).unwrap();
    let log = AttestationLog::start(any_registry(), &stated).unwrap();
    assert_eq!(code(AttestationLog::start(RegistryId::from_sha256([1; 32]), &stated)), "wrong-registry");
    assert_eq!(code(AttestationLog::start(any_registry(), &Growing::new(&[]).head)), "wrong-log");
    let judge = |log: &AttestationLog, who: &Person, entry: AttestationEntry| {
        let before = log.clone();
        let record = after(log.chain(), who, Entry::Attestation(entry)).sign(&who.key).unwrap();
        let verdict = code(log.clone().append(&record));
        assert_eq!(*log, before);
        verdict
    };
    let revoke = |record: RecordDigest| AttestationEntry::Revoke(record, "a mistake".into());
    assert_eq!(judge(&log, &bob(), attest("1.0.0")), "accepted");
    assert_eq!(judge(&log, &bob(), revoke(stated.digest())), "unauthorized");
    assert_eq!(judge(&log, &mallory(), revoke(stated.digest())), "accepted");
    assert_eq!(judge(&log, &mallory(), revoke(digest("nothing"))), "bad-record");
    // A name belongs to the key that used it first, and a key to its name.
    assert_eq!(judge(&log, &stranger("mallory", 2), attest("1.0.1")), "not-canonical");
    assert_eq!(judge(&log, &stranger("bob", 3), attest("1.0.1")), "not-canonical");
    let record = after(log.chain(), &mallory(), Entry::Attestation(revoke(stated.digest()))).sign(&mallory().key).unwrap();
    let revoked = log.clone().append(&record).unwrap();
    assert_eq!(judge(&revoked, &mallory(), revoke(stated.digest())), "bad-record");
    assert_eq!(judge(&revoked, &mallory(), revoke(record.digest())), "bad-record");
    assert_eq!(
        code(AttestationLog::start(
            any_registry(),
            &resigned(record.draft().clone(), &mallory(), |draft| {
                draft.link = None;
                draft.parent = None;
            })
        )),
        "bad-record"
    );
    assert_eq!(code(log.append(&stated)), "broken-chain");
}

/// What a client remembers of a registry after `seen` checkpoints.
struct Client {
    memory: Memory,
    operators_head: SignedRecord,
}

fn client(log: &Checkpoints, operators_head: &SignedRecord) -> Client {
    Client { memory: Memory::new(&log.operators, operators_head, &log.newest()), operators_head: operators_head.clone() }
}

impl Client {
    fn judge(&self, log: &Checkpoints) -> &'static str {
        let between = log.down_to(self.memory.checkpoint.seq.min(log.log.chain().seq()));
        self.judge_path(log, &between)
    }

    fn judge_path(&self, log: &Checkpoints, between: &[Record]) -> &'static str {
        match self.memory.check_checkpoint(&log.operators, &log.newest(), between) {
            Ok(()) => "accepted",
            Err(contradiction) => {
                // Both signed objects are there to be shown.
                assert_eq!(contradiction.seen, self.memory.checkpoint.record.as_bytes());
                assert_eq!(contradiction.found, log.records.last().unwrap().bytes());
                contradiction.error.code().as_str()
            }
        }
    }
}

#[test]
fn a_registry_goes_on_from_what_was_seen_of_it() {
    let (ops, head) = operators(vec![bob().grant(&[O::Checkpoint])]);
    let seen = client(&Checkpoints::new(&ops, 4), &head);
    for count in 4..20 {
        assert_eq!(seen.judge(&Checkpoints::new(&ops, count)), "accepted", "{count}");
    }
    // Behind what was seen.
    for count in 0..4 {
        assert_eq!(seen.judge(&Checkpoints::new(&ops, count)), "rollback", "{count}");
    }
    // Another checkpoint in the same place, and a history that went another way.
    let sibling = |at: u64, count: u64| {
        let mut log = Checkpoints::new(&ops, at);
        log.grow(&bob(), |_| {}).unwrap();
        while log.log.chain().seq() < count {
            log.grow(&alice(), |_| {}).unwrap();
        }
        log
    };
    assert_eq!(seen.judge(&sibling(3, 4)), "fork");
    for count in 5..16 {
        assert_eq!(seen.judge(&sibling(3, count)), "fork", "{count}");
        assert_eq!(seen.judge(&sibling(0, count)), "fork", "{count}");
    }
    assert_eq!(seen.judge(&sibling(4, 9)), "accepted");
    // A path with a step left out, from elsewhere, or none at all.
    let log = Checkpoints::new(&ops, 9);
    let path = log.down_to(4);
    assert_eq!(seen.judge_path(&log, &path), "accepted");
    assert!(path.len() >= 3);
    assert_eq!(seen.judge_path(&log, &[&path[..1], &path[2..]].concat()), "fork");
    assert_eq!(seen.judge_path(&log, &path[1..]), "fork");
    assert_eq!(seen.judge_path(&log, &path[..path.len() - 1]), "fork");
    assert_eq!(seen.judge_path(&log, &[]), "fork");
    assert_eq!(seen.judge_path(&log, &sibling(3, 9).down_to(4)), "fork");
}

#[test]
fn the_operators_that_were_seen_stay_and_a_checkpoint_does_not_go_behind_them() {
    let (zero, head) = operators(vec![]);
    let record = next(&zero, &alice(), policy(Registration::Listed));
    let one = zero.clone().append(&record).unwrap();
    let log = Checkpoints::new(&one, 2);
    let seen = Client { memory: Memory::new(&one, &record, &log.newest()), operators_head: record };
    assert_eq!(seen.judge(&log), "accepted");
    // The operator log without its last record, and with another.
    let mut shorter = Checkpoints::new(&zero, 3);
    assert_eq!(seen.judge(&shorter), "rollback");
    shorter.operators = with(&zero, &alice(), mirror("other.example", 1, &["*"]));
    assert_eq!(seen.judge(&shorter), "fork");
    // A later checkpoint that names earlier operators: the law of the whole log refuses it, and so does who sees only its end.
    let mut back = Checkpoints::new(&one, 2);
    let record = back.next(&alice(), |says| says.operators = zero.chain().head());
    assert_eq!(back.judge(&record), "unauthorized");
    back.records.push(record.clone());
    let path = [(*record).clone(), (*back.records[2]).clone()];
    assert_eq!(seen.judge_path(&back, &path), "rollback");
    assert_ne!(seen.operators_head.digest(), head.digest());
}

#[test]
fn a_checkpoint_that_the_operators_disown_is_no_reason_to_refuse_another() {
    let (ops, head) = operators(vec![bob().grant(&[O::Checkpoint])]);
    let mut stolen = Checkpoints::new(&ops, 3);
    stolen.grow(&bob(), |_| {}).unwrap();
    let seen = client(&stolen, &head);
    let mut honest = Checkpoints::new(&ops, 3);
    honest.grow(&alice(), |_| {}).unwrap();
    assert_eq!(seen.judge(&honest), "fork");
    let disowned = vec![stolen.newest().digest()];
    honest.operators = with(&ops, &alice(), OperatorEntry::Repudiate(disowned, "stolen".into()));
    assert_eq!(seen.judge(&honest), "accepted");
    let record = stolen.records.last().unwrap();
    assert_eq!(code(CheckedCheckpoint::newest(&honest.operators, record)), "unauthorized");
    assert_eq!(code(CheckedCheckpoint::newest(&ops, record)), "accepted");
}

#[test]
fn a_package_log_goes_on_from_what_was_seen_of_it() {
    let (ops, head) = operators(vec![]);
    let mut memory = client(&Checkpoints::new(&ops, 0), &head).memory;
    let name = "wasi:http".parse().unwrap();
    let one = Growing::new(&[]).with(&alice(), released("1.0.0"));
    let two = one.with(&alice(), released("2.0.0"));
    let judge = |memory: &Memory, log: &Growing, decisions: Option<&DecisionLog>| match memory
        .check_package(&name, &log.log, &log.head, decisions)
    {
        Ok(()) => "accepted",
        Err(contradiction) => {
            assert_eq!(contradiction.found, log.head.bytes());
            assert_eq!(contradiction.seen, memory.packages[&name].record.as_bytes());
            contradiction.error.code().as_str()
        }
    };
    assert_eq!(judge(&memory, &one, None), "accepted");
    memory.remember_package(&name, two.log.chain().id(), &two.head);
    assert_eq!(judge(&memory, &two, None), "accepted");
    assert_eq!(judge(&memory, &two.with(&alice(), yank("1.0.0")), None), "accepted");
    assert_eq!(judge(&memory, &one, None), "rollback");
    let sibling = one.with(&alice(), released("3.0.0"));
    assert_eq!(judge(&memory, &sibling, None), "fork");
    assert_eq!(judge(&memory, &sibling.with(&alice(), released("2.0.0")), None), "fork");
    // Another log under the same name: with and without the operators' word.
    let other = Growing::new(&[P::Yank]).with(&alice(), released("1.0.0"));
    assert_eq!(judge(&memory, &other, None), "fork");
    let about = about(&ops, &two);
    let what = Verdict::Reset { new: other.log.chain().id(), reason: "keys lost".into() };
    let decided = decide(&alice(), &about, what);
    let decisions = DecisionLog::start(&ops, &decided).unwrap();
    assert_eq!(judge(&memory, &other, Some(&decisions)), "wrong-log");
    // And decisions that were seen do not go away.
    let check = |memory: &Memory, decisions: Option<&DecisionLog>, records: &[SignedRecord]| match memory
        .check_decisions(&name, decisions, records)
    {
        Ok(()) => "accepted",
        Err(contradiction) => contradiction.error.code().as_str(),
    };
    assert_eq!(check(&memory, None, &[]), "accepted");
    memory.remember_decisions(&name, decisions.chain().id(), &decided);
    assert_eq!(check(&memory, Some(&decisions), std::slice::from_ref(&decided)), "accepted");
    assert_eq!(check(&memory, None, &[]), "rollback");
    let another = decide(&alice(), &about, takedown(None));
    let forked = DecisionLog::start(&ops, &another).unwrap();
    assert_eq!(check(&memory, Some(&forked), std::slice::from_ref(&another)), "fork");
    let more = decide_next(&decisions, &alice(), &DecisionHead { target: decisions.target(), ..about }, takedown(None));
    let longer = decisions.clone().append(&ops, &more).unwrap();
    assert_eq!(check(&memory, Some(&longer), &[decided.clone(), more.clone()]), "accepted");
    memory.remember_decisions(&name, longer.chain().id(), &more);
    assert_eq!(check(&memory, Some(&decisions), &[decided]), "rollback");
}

#[test]
fn a_memory_that_was_cut_off_or_changed_is_known_for_lost() {
    let (ops, head) = operators(vec![]);
    let mut memory = client(&Checkpoints::new(&ops, 2), &head).memory;
    let package = Growing::new(&[]).with(&alice(), released("1.0.0"));
    memory.remember_package(&"wasi:http".parse().unwrap(), package.log.chain().id(), &package.head);
    let text = memory.to_text().unwrap();
    assert_eq!(Memory::parse(text.as_bytes()), Ok(memory));
    for end in 0..text.len() {
        assert_eq!(code(Memory::parse(&text.as_bytes()[..end])), "state-lost", "cut off at {end}");
    }
    for at in 0..text.len() {
        for changed in [text.as_bytes()[at] ^ 1, b'\n', 0xff] {
            let mut bytes = text.clone().into_bytes();
            if bytes[at] != changed {
                bytes[at] = changed;
                assert_eq!(code(Memory::parse(&bytes)), "state-lost", "changed at {at}");
            }
        }
    }
    assert_eq!(code(Memory::parse(format!("{text}\n").as_bytes())), "state-lost");
}
