//! The golden samples under `tests/fixtures/records`: one of every kind of record, in both object formats.
//!
//! They are made anew here, from the test keys and fixed times, and compared byte for byte. `UPDATE=1` writes them.

use crate::cast::*;
use quipu::log::attestation::AttestationLog;
use quipu::log::decision::DecisionLog;
use quipu::log::operator::OperatorLog;
use quipu::log::package::PackageLog;
use quipu::log::registry::RegistryLog;
use quipu::model::changes::{ChangeLine, changes_digest};
use quipu::model::commit;
use quipu::model::contents::{ContentsBuilder, Limits, write_tree};
use quipu::model::digest::{ContentDigest, GitId, LogId, ObjectFormat, ObjectKind, RecordDigest, RegistryId};
use quipu::model::entry::{
    Attest, AttestationEntry, Checkpoint, Decision, DecisionHead, Denial, Dependency, Entry, Grant, Mirror, OperatorEntry,
    OperatorInit, OperatorPrivilege as O, Origin, PackageEntry, PackageInit, Policy, Provenance, Registration, Release, Subject,
    TakedownClass, Verdict,
};
use quipu::model::held::Held;
use quipu::model::map::Map;
use quipu::model::object::{MemoryObjects, WriteObjects as _};
use quipu::model::opening::Opening;
use quipu::model::record::{Link, SignedRecord};
use quipu::model::slot::Slot;
use quipu::model::sshsig::Signer as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) struct Sample {
    /// The folder.
    pub(crate) log: &'static str,
    pub(crate) record: SignedRecord,
}

impl Sample {
    /// The file's path below `tests/fixtures/records`.
    pub(crate) fn path(&self) -> String {
        let record = &self.record;
        format!("{}/{}-{}.{}", self.log, record.seq(), record.entry().kind(), record.draft().format)
    }
}

/// All samples of one object format, and the trees that their commits name.
pub(crate) struct World {
    pub(crate) samples: Vec<Sample>,
    /// Contents and proposal: path and bytes.
    pub(crate) commits: Vec<(String, Vec<u8>)>,
    pub(crate) objects: MemoryObjects,
    /// The text that the content digest of the full release is taken of.
    pub(crate) manifest: String,
    pub(crate) operators: OperatorLog,
    pub(crate) package: PackageLog,
    pub(crate) registry: RegistryLog,
    pub(crate) decisions: DecisionLog,
}

impl World {
    pub(crate) fn of_log(&self, log: &str) -> Vec<&SignedRecord> {
        self.samples.iter().filter(|sample| sample.log == log).map(|sample| &sample.record).collect()
    }
}

struct Maker {
    format: ObjectFormat,
    samples: Vec<Sample>,
    clock: u64,
}

impl Maker {
    /// Signs the next record of a log, a minute after the one before.
    fn next(&mut self, log: &'static str, who: &Person, entry: Entry) -> SignedRecord {
        let last = self.samples.iter().rev().find(|sample| sample.log == log).expect("a first record").record.clone();
        let mut draft = last.draft().clone();
        if let Entry::Package(PackageEntry::Release(release)) = &entry
            && release.version.to_string() == "1.1.0"
        {
            // The first record under the new name.
            draft.subject = Subject::Package("wasi:http-client".parse().unwrap());
        }
        draft.signer = who.name.clone();
        draft.parent = Some(last.git_id());
        let id = draft.link.map_or(last.digest().into(), |link| link.log);
        draft.link = Some(Link { log: id, seq: last.seq() + 1, prev: last.digest() });
        draft.entry = entry;
        self.push(log, who, draft)
    }

    fn first(&mut self, log: &'static str, who: &Person, subject: &Subject, parent: Option<GitId>, entry: Entry) -> SignedRecord {
        let mut draft = first(self.format, who, subject, entry);
        draft.parent = parent;
        self.push(log, who, draft)
    }

    fn push(&mut self, log: &'static str, who: &Person, mut draft: quipu::model::record::Draft) -> SignedRecord {
        self.clock += 60;
        draft.time = at(self.clock);
        let record = draft.sign(&who.key).unwrap();
        self.samples.push(Sample { log, record: record.clone() });
        record
    }
}

const ALL: [P; 4] = [P::Auth, P::Release, P::Yank, P::Rename];
const ALL_OPERATOR: [O; 6] = [O::Auth, O::Checkpoint, O::Register, O::Decide, O::Policy, O::Mirror];

fn git_id(format: ObjectFormat, text: &str) -> GitId {
    GitId::of(format, ObjectKind::Blob, text.as_bytes())
}

fn minimal(format: ObjectFormat, version: &str) -> Release {
    Release { tree: git_id(format, version), ..release(version) }
}

fn package_init(registry_id: RegistryId, origin: Option<Provenance>, keys: Vec<Grant<P>>) -> Entry {
    Entry::Package(PackageEntry::Init(PackageInit { registry_id, origin, keys }))
}

/// Makes everything anew.
pub(crate) fn world(format: ObjectFormat) -> World {
    let (alice, bob, mallory) = (alice(), bob(), mallory());
    let mut objects = MemoryObjects::new(format);
    objects.write(ObjectKind::Tree, b"").unwrap();
    let mut m = Maker { format, samples: vec![], clock: 0 };

    // The registry's operators.
    let op = Entry::Operator;
    let keys = vec![alice.grant(&ALL_OPERATOR), bob.grant(&[O::Auth, O::Checkpoint])];
    let first_operators = m.first("operators", &alice, &Subject::Operators, None, operator_init(keys));
    let registry_id = RegistryId::from(LogId::from(first_operators.digest()));
    let register = Grant { namespaces: vec!["cli".parse().unwrap(), "wasi".parse().unwrap()], ..mallory.grant(&[O::Register]) };
    m.next("operators", &alice, op(OperatorEntry::Allow(register)));

    // The package, and what its releases hold.
    let mut builder = ContentsBuilder::new(Limits::default());
    let mut files = Vec::new();
    for (path, exec, bytes) in
        [("README.md", false, &b"# http\n"[..]), ("bin/serve", true, b"#!/bin/sh\n"), ("wit/types.wit", false, b"")]
    {
        let entry = builder.add(path.parse().unwrap(), exec, bytes).unwrap().clone();
        files.push((entry, objects.write(ObjectKind::Blob, bytes).unwrap()));
    }
    let contents = builder.finish().unwrap();
    let contents_tree = write_tree(&mut objects, &files).unwrap();

    let pkg = Entry::Package;
    let package_first = m.first("package", &alice, &http(), None, package_init(registry_id, None, vec![alice.grant(&ALL)]));
    let log_id = LogId::from(package_first.digest());
    m.next("package", &alice, pkg(PackageEntry::Allow(bob.grant(&[P::Auth, P::Release, P::Yank]))));
    m.next("package", &bob, pkg(PackageEntry::Release(std::sync::Arc::new(minimal(format, "0.1.0")))));
    let whole = Release {
        version: "1.0.0-rc.1".parse().unwrap(),
        content: contents.digest(),
        tree: contents_tree,
        size: contents.size(),
        files: contents.len() as u64,
        description: Some(
            "Says \"hi\" \\ bye,\n\tthen \u{7} and \u{202e}turns\u{2069}; \u{e9}\u{65e5}\u{1f980} stay, \u{e0041} does not"
                .into(),
        ),
        license: Some("MIT OR Apache-2.0".into()),
        links: vec!["https://http.example/".into(), "https://http.example/docs".into()],
        build: Some("spec.2025-06".into()),
        dependencies: vec![
            Dependency {
                registry: Some(("other.example".parse().unwrap(), RegistryId::from_sha256([0xcd; 32]))),
                package: "wasi:clocks".parse().unwrap(),
                requirement: ">=1.2.0, <2.0.0".parse().unwrap(),
                anchor: Some(digest("a record of wasi:clocks")),
            },
            Dependency {
                registry: None,
                package: "wasi:io".parse().unwrap(),
                requirement: "^0.2.1".parse().unwrap(),
                anchor: None,
            },
        ],
    };
    m.next("package", &alice, pkg(PackageEntry::Release(std::sync::Arc::new(whole))));
    let yank = |version: &str, reason: &str| PackageEntry::Yank(version.parse().unwrap(), reason.into());
    m.next("package", &bob, pkg(yank("0.1.0", "leaks\tmemory")));
    let unyank = PackageEntry::Unyank("0.1.0".parse().unwrap(), "it did not".into());
    let at_head = m.next("package", &bob, pkg(unyank));
    m.next("package", &alice, pkg(PackageEntry::Allow(mallory.grant(&[P::Release]))));
    m.next("package", &mallory, pkg(PackageEntry::Release(std::sync::Arc::new(minimal(format, "1.0.0")))));
    let deny = |who: &Person, privileges: &[P], since| {
        let key = who.key.public_key().clone();
        PackageEntry::Deny(Denial { name: who.name.clone(), key, privileges: privileges.to_vec(), compromised_since: since })
    };
    m.next("package", &alice, pkg(deny(&mallory, &[P::Release], Some(7))));
    m.next("package", &alice, pkg(deny(&bob, &[P::Auth], None)));
    let consent = m.next("package", &alice, pkg(PackageEntry::Rename(full("acme.example/wasi:http-client"), None)));
    m.next("package", &alice, pkg(PackageEntry::Release(std::sync::Arc::new(minimal(format, "1.1.0")))));
    let elsewhere = PackageEntry::Rename(full("new.example/wasi:http"), Some(RegistryId::from_sha256([0xef; 32])));
    m.next("package", &alice, pkg(elsewhere));
    m.next("package", &alice, pkg(PackageEntry::Upgrade(2)));

    // Checkpoints: each with the map of what there was.
    let mut map = Map::empty(format);
    let package_slot = Slot::Package("wasi:http".parse().unwrap());
    let package_records: Vec<SignedRecord> =
        m.samples.iter().filter(|sample| sample.log == "package").map(|sample| sample.record.clone()).collect();
    let mut checkpoints: Vec<SignedRecord> = Vec::new();
    for seq in 0..8u64 {
        let head = &package_records[usize::try_from(seq).unwrap()];
        let mut changes = BTreeMap::from([(package_slot.clone(), Some(head.git_id()))]);
        let skip = (seq > 0).then(|| checkpoints[usize::try_from(quipu::model::skip::skip(seq)).unwrap()].clone());
        if let Some(skip) = &skip {
            changes.insert(Slot::Skip, Some(skip.git_id()));
        }
        map = map.update(&mut objects, &changes).unwrap();
        let line = ChangeLine::Head { log: log_id, seq: head.seq(), head: head.digest() };
        let checkpoint = Entry::Checkpoint(Checkpoint {
            skip: skip.map(|record| record.digest()),
            operators: if seq < 4 { first_operators.digest() } else { m.samples[1].record.digest() },
            packages: 1,
            changes: changes_digest(&BTreeMap::from([(package_slot.clone(), line)])),
            expires: (seq == 7).then_some(at(86_400).unix()),
        });
        let signer = if seq % 2 == 0 { &alice } else { &bob };
        let mut draft = match checkpoints.last() {
            None => first(format, signer, &Subject::Log, checkpoint),
            Some(last) => {
                let mut draft = last.draft().clone();
                draft.parent = Some(last.git_id());
                let id = draft.link.map_or(last.digest().into(), |link| link.log);
                draft.link = Some(Link { log: id, seq, prev: last.digest() });
                draft.entry = checkpoint;
                draft
            }
        };
        draft.signer = signer.name.clone();
        draft.tree = map.root();
        checkpoints.push(m.push("log", signer, draft));
    }

    // The rest of the operator log.
    let policy = Policy::default();
    m.next("operators", &alice, op(OperatorEntry::Policy(policy)));
    let policy = Policy {
        registration: Registration::Listed,
        license_required: true,
        max_files: Some(1000),
        max_file_bytes: Some(1 << 20),
        max_release_bytes: Some(1 << 24),
        checkpoint_expiry: Some(86_400),
        attestations: vec!["https://slsa.dev/provenance/v1".into(), "https://slsa.dev/verification_summary/v1".into()],
        digest: Some(file_digest("policy.toml")),
    };
    m.next("operators", &alice, op(OperatorEntry::Policy(policy)));
    let mirror = |patterns: &[&str], contents| {
        op(OperatorEntry::Mirror(Mirror {
            name: "other.example".parse().unwrap(),
            id: RegistryId::from_sha256([0xcd; 32]),
            patterns: patterns.iter().map(|pattern| (*pattern).into()).collect(),
            contents,
            keep_taken_down: false,
        }))
    };
    m.next("operators", &alice, mirror(&["cli:run", "wasi:*"], true));
    m.next("operators", &alice, mirror(&[], false));
    let denial = Denial {
        name: mallory.name.clone(),
        key: mallory.key.public_key().clone(),
        privileges: vec![O::Register],
        compromised_since: None,
    };
    m.next("operators", &alice, op(OperatorEntry::Deny(denial)));
    let denial = Denial {
        name: bob.name.clone(),
        key: bob.key.public_key().clone(),
        privileges: vec![O::Auth, O::Checkpoint],
        compromised_since: Some(5),
    };
    m.next("operators", &alice, op(OperatorEntry::Deny(denial)));
    let mut disowned = vec![digest("one checkpoint"), digest("another")];
    disowned.sort_unstable();
    m.next("operators", &alice, op(OperatorEntry::Repudiate(disowned, "signed with Bob's stolen key".into())));
    m.next("operators", &alice, op(OperatorEntry::Upgrade(2)));

    // A registry that begins as a fork of it.
    let origin = Some(("acme.example".parse().unwrap(), registry_id, checkpoints[7].digest()));
    let mut draft = first(
        format,
        &bob,
        &Subject::Operators,
        op(OperatorEntry::Init(OperatorInit { origin, keys: vec![bob.grant(&ALL_OPERATOR)] })),
    );
    draft.registry = "new.example".parse().unwrap();
    m.push("operators-of-a-fork", &bob, draft);

    // Forks of the package: one that stands on its origin's record, and one that names it alone.
    let origin = |linked: bool| Origin {
        registry: acme(),
        registry_id,
        package: "wasi:http".parse().unwrap(),
        log: log_id,
        record: package_records[3].digest(),
        version: linked.then(|| "1.0.0-rc.1".parse().unwrap()),
        content: linked.then(|| contents.digest()),
        checkpoint: checkpoints[3].digest(),
        linked,
    };
    let keys = || vec![mallory.grant(&[P::Auth, P::Release])];
    let fork = Subject::Package("mallory:http".parse().unwrap());
    let parent = Some(package_records[3].git_id());
    m.first("fork", &mallory, &fork, parent, package_init(registry_id, Some(Provenance::Fork(origin(true).into())), keys()));
    m.first(
        "fork-without-parent",
        &mallory,
        &fork,
        None,
        package_init(registry_id, Some(Provenance::Fork(origin(false).into())), keys()),
    );

    // What the operators decided.
    let about = |operators: RecordDigest, head: &SignedRecord| DecisionHead { operators, target: log_id, head: head.digest() };
    let heads: Vec<RecordDigest> =
        m.samples.iter().filter(|sample| sample.log == "operators").map(|sample| sample.record.digest()).collect();
    let decision = |about: DecisionHead, what: Verdict| Entry::Decision(Decision { about, what });
    let decisions = Subject::Decisions("wasi:http".parse().unwrap());
    let takedown = Verdict::Takedown {
        version: Some("0.1.0".parse().unwrap()),
        class: TakedownClass::Malware,
        reason: "sends keys to \u{2067}evil\u{2069}".into(),
    };
    m.first("decisions", &alice, &decisions, None, decision(about(heads[1], &at_head), takedown));
    let restore = Verdict::Restore { version: Some("0.1.0".parse().unwrap()), reason: "it did not".into() };
    m.next("decisions", &alice, decision(about(heads[1], &at_head), restore));
    let whole = Verdict::Takedown { version: None, class: TakedownClass::Legal, reason: String::new() };
    m.next("decisions", &alice, decision(about(heads[2], &at_head), whole));
    let restore = Verdict::Restore { version: None, reason: "settled".into() };
    m.next("decisions", &alice, decision(about(heads[2], &at_head), restore));
    let rename = Verdict::Rename {
        from: full("acme.example/wasi:http"),
        to: full("acme.example/wasi:http-client"),
        consent: consent.digest(),
    };
    m.next("decisions", &alice, decision(about(heads[2], &consent), rename));
    let reset = Verdict::Reset { new: LogId::from(digest("a new log")), reason: "all keys are lost".into() };
    m.next("decisions", &alice, decision(about(heads[9], &consent), reset));

    // What others say about it.
    let attest = |version: &str, pass: Option<bool>, whole: bool| {
        Entry::Attestation(AttestationEntry::Attest(Box::new(Attest {
            registry_id,
            target: log_id,
            version: version.parse().unwrap(),
            content: ContentDigest::of_bytes(version.as_bytes()),
            predicate: "https://slsa.dev/provenance/v1".into(),
            pass,
            statement: whole.then(|| file_digest("a statement")),
            expires: whole.then(|| at(86_400).unix()),
        })))
    };
    let statements = Subject::Attestations(full("acme.example/wasi:http"));
    let stated = m.first("attestations", &bob, &statements, None, attest("0.1.0", None, false));
    m.next("attestations", &mallory, attest("1.0.0", Some(true), true));
    m.next("attestations", &bob, attest("1.0.0", Some(false), false));
    m.next("attestations", &bob, Entry::Attestation(AttestationEntry::Revoke(stated.digest(), "a mistake".into())));

    // A package that was promoted from a registry of which nothing is said.
    let opening = Opening {
        registry: "inside.example".parse().unwrap(),
        registry_id: RegistryId::of_bytes(b"inside"),
        package: "team:http".parse().unwrap(),
        log: digest("the log inside").into(),
        record: digest("the release inside"),
        version: "1.0.0".parse().unwrap(),
        content: contents.digest(),
    };
    let promoted = Subject::Package("team:http".parse().unwrap());
    let origin = Some(Provenance::Promoted(opening.digest()));
    m.first("promoted", &mallory, &promoted, None, package_init(registry_id, origin, keys()));

    // Contents and a proposal.
    let folder = |name: &str, id| quipu::model::tree::Entry { name: name.into(), mode: quipu::model::tree::Mode::Tree, id };
    let versions = quipu::model::tree::Tree::new(vec![folder("1.0.0-rc.1", contents_tree)]).unwrap().write(&mut objects).unwrap();
    let commits = vec![
        (format!("commits/contents.{format}"), commit::contents(versions)),
        (format!("commits/proposal.{format}"), commit::proposal(versions, package_records[3].git_id())),
        (format!("commits/proofs.{format}"), commit::proofs(versions)),
    ];

    let of_log = |log: &str| m.samples.iter().filter(|s| s.log == log).map(|s| &s.record).collect::<Vec<_>>();
    let logs = ["operators", "package", "log", "decisions"].map(of_log);
    let operators = logs[0][1..].iter().fold(OperatorLog::start(logs[0][0]).unwrap(), |log, r| log.append(r).unwrap());
    let package = logs[1][1..].iter().fold(PackageLog::start(logs[1][0]).unwrap(), |log, r| log.append(r).unwrap());
    let registry = logs[2][1..]
        .iter()
        .fold(RegistryLog::start(&operators, logs[2][0]).unwrap(), |log, r| log.append(&operators, r).unwrap());
    let decisions = logs[3][1..]
        .iter()
        .fold(DecisionLog::start(&operators, logs[3][0]).unwrap(), |log, r| log.append(&operators, r).unwrap());
    World { samples: m.samples, commits, objects, manifest: contents.manifest_text(), operators, package, registry, decisions }
}

/// What is held of a registry that is mirrored: a part, and the whole of it with what was taken down.
fn held() -> [(String, Vec<u8>); 2] {
    let digest = |text: &str| RecordDigest::of_bytes(text.as_bytes());
    let part = Held {
        registry: "other.example".parse().unwrap(),
        id: RegistryId::from_sha256([0xcd; 32]),
        log: digest("the first checkpoint").into(),
        seq: 12,
        checkpoint: digest("the newest checkpoint"),
        patterns: vec!["cli:run".parse().unwrap(), "wasi:*".parse().unwrap()],
        contents: true,
        keep_taken_down: false,
    };
    let whole = Held { patterns: vec!["*".parse().unwrap()], keep_taken_down: true, ..part.clone() };
    let sample = |name: &str, held: &Held| {
        let text = held.to_text();
        assert_eq!(Held::parse(text.as_bytes()), Ok(held.clone()));
        (format!("held/{name}.toml"), text.into_bytes())
    };
    [sample("part", &part), sample("whole", &whole)]
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records")
}

#[test]
fn every_sample_is_what_is_written_today() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut index = String::from("# The samples, as `tests/law/golden.rs` makes them.\n");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let worlds = FORMATS.map(world);
    for sample in worlds.iter().flat_map(|world| &world.samples) {
        let record = &sample.record;
        let path = sample.path();
        let _ = write!(
            index,
            "\n[\"{path}\"]\ndigest = \"{}\"\ngit-id = \"{}\"\nsummary = \"{}\"\n",
            record.digest(),
            record.git_id(),
            record.summary()
        );
        files.push((path, record.bytes().to_vec()));
    }
    for (path, bytes) in worlds.iter().flat_map(|world| &world.commits) {
        let format = if path.ends_with("sha1") { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 };
        let id = GitId::of(format, ObjectKind::Commit, bytes);
        let _ = write!(index, "\n[\"{path}\"]\ngit-id = \"{id}\"\n");
        files.push((path.clone(), bytes.clone()));
    }
    files.extend(held());
    files.push(("index.toml".into(), index.into_bytes()));
    if update {
        let _ = std::fs::remove_dir_all(folder());
        for (path, bytes) in &files {
            let path = folder().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            #[allow(clippy::disallowed_methods)] // A fixture in the source tree; nothing reads it at the same time.
            std::fs::write(path, bytes).unwrap();
        }
    }
    for (path, bytes) in &files {
        let found = std::fs::read(folder().join(path)).unwrap_or_default();
        assert!(found == *bytes, "{path} differs; UPDATE=1 writes it");
    }
    let mut on_disk = Vec::new();
    for folder in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        on_disk.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    assert_eq!(on_disk.len() + 1, files.len(), "there are files that no sample is in");
}

#[test]
fn every_sample_is_read_as_it_was_written_and_holds() {
    for format in FORMATS {
        for sample in &world(format).samples {
            let bytes = std::fs::read(folder().join(sample.path())).unwrap();
            assert_eq!(read(format, &bytes).unwrap(), sample.record, "{}", sample.path());
            // A glance at the bytes finds the same place as reading them does.
            let record = &sample.record;
            let log = record.draft().link.map_or(record.digest().into(), |link| link.log);
            let glance = quipu::model::record::place_of(record.git_id(), &bytes);
            assert_eq!(glance, Ok((log, record.seq(), record.digest())), "{}", sample.path());
            // What is a record in one object format is none in the other.
            let other = if format == SHA1 { ObjectFormat::Sha256 } else { SHA1 };
            assert_ne!(code(read(other, &bytes)), "accepted", "{}", sample.path());
        }
    }
}

#[test]
fn the_samples_cover_every_kind() {
    let mut found: Vec<String> = world(SHA1).samples.iter().map(|s| format!("{} {}", s.log, s.record.entry().kind())).collect();
    found.sort_unstable();
    found.dedup();
    let all = [
        ("package", "allow deny init release rename unyank upgrade yank"),
        ("fork", "init"),
        ("fork-without-parent", "init"),
        ("promoted", "init"),
        ("operators", "allow deny init mirror policy repudiate upgrade"),
        ("operators-of-a-fork", "init"),
        ("decisions", "rename reset restore takedown"),
        ("attestations", "attest revoke"),
        ("log", "checkpoint"),
    ];
    let mut expected: Vec<String> =
        all.iter().flat_map(|(log, kinds)| kinds.split(' ').map(move |kind| format!("{log} {kind}"))).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn the_samples_make_logs_that_the_law_accepts() {
    for format in FORMATS {
        let world = world(format);
        let flagged: Vec<String> =
            world.package.releases().filter(|r| r.flagged).map(|r| r.release.version.to_string()).collect();
        assert_eq!(flagged, ["1.0.0"]);
        assert_eq!(world.package.name().to_string(), "acme.example/wasi:http-client");
        assert_eq!(world.package.pending_name().unwrap().to.to_string(), "new.example/wasi:http");
        assert_eq!(world.registry.chain().seq(), 7);
        assert_eq!(world.decisions.resets().len(), 1);
        for log in ["fork", "fork-without-parent"] {
            let record = world.of_log(log)[0];
            assert_eq!(PackageLog::start(record).unwrap().origin().unwrap().linked, record.draft().parent.is_some());
        }
        let promoted = PackageLog::start(world.of_log("promoted")[0]).unwrap();
        assert!(promoted.origin().is_none() && promoted.promoted_from().is_some());
        let statements = world.of_log("attestations");
        let start = AttestationLog::start(world.operators.id(), statements[0]).unwrap();
        let log = statements[1..].iter().fold(start, |log, record| log.append(record).unwrap());
        assert_eq!(log.statements().iter().filter(|statement| statement.revoked.is_some()).count(), 1);
        assert!(OperatorLog::start(world.of_log("operators-of-a-fork")[0]).unwrap().origin().is_some());
    }
}
