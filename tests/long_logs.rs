//! Logs that are so long that an audit reads them in pieces, on all cores: wherever in them something is bad, it is found, and so it is where only what
//! came after a checkpoint is looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use quipu::git::layout;
use quipu::git::refs::RefEdit;
use quipu::git::staging::Staging;
use quipu::git::store::Store;
use quipu::model::changes::ChangeLine;
use quipu::model::digest::{ContentDigest, ObjectFormat, ObjectKind, RegistryId};
use quipu::model::entry::{Entry, Grant, PackageEntry, PackageInit, PackagePrivilege, Privilege as _, Release, Subject};
use quipu::model::error::{Error, ErrorCode};
use quipu::model::key::KeyCache;
use quipu::model::moment::Moment;
use quipu::model::name::{PackageName, Version};
use quipu::model::object::WriteObjects as _;
use quipu::model::openssh::SecretKey;
use quipu::model::record::{Draft, Link, Record};
use quipu::model::slot::Slot;
use quipu::model::sshsig::Signer as _;
use quipu::model::time::Timestamp;
use quipu::replica::audit::{Audit, Findings, audit};
use quipu::replica::author::Author;
use quipu::replica::standing::{Founding, Standing, Step, advance, found};
use std::time::Duration;
use zeroize::Zeroizing;

/// More than two of the pieces that a log is read in, which have 1,024 records.
const RECORDS: usize = 2_600;
/// The first of them that the second checkpoint does not hold; in the second piece.
const SINCE: usize = 1_500;

/// What is wrong with one record of the log, if anything is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Its signature is one over something else.
    Signature(usize),
    /// It says what no law lets it say there: that a version is taken back which is not yanked.
    Law(usize),
    /// It hangs on the record before the last.
    Link(usize),
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(Zeroizing::new([number; 32]))
}

fn now() -> Timestamp {
    Timestamp::from_unix(1_700_000_000).unwrap()
}

fn package() -> PackageName {
    "demo:long".parse().unwrap()
}

/// Returns what the record in a place says: the log begins, releases one version, and yanks it and takes that back ever after.
fn entry(place: usize, owner: &SecretKey, registry_id: RegistryId, format: ObjectFormat) -> PackageEntry {
    let version: Version = "1.0.0".parse().unwrap();
    match place {
        0 => PackageEntry::Init(PackageInit {
            registry_id,
            origin: None,
            keys: vec![Grant {
                name: "alice".parse().unwrap(),
                key: owner.public_key().clone(),
                privileges: PackagePrivilege::ALL.to_vec(),
                namespaces: Vec::new(),
            }],
        }),
        1 => PackageEntry::Release(std::sync::Arc::new(Release {
            version,
            content: ContentDigest::of_bytes(b"one"),
            tree: format.empty_tree(),
            size: 1,
            files: 1,
            description: None,
            license: None,
            links: Vec::new(),
            build: None,
            dependencies: Vec::new(),
        })),
        place if place % 2 == 0 => PackageEntry::Yank(version, "old".to_owned()),
        _ => PackageEntry::Unyank(version, "not so old".to_owned()),
    }
}

/// Writes the log, by hand: what is wrong in it goes through no law.
fn records(format: ObjectFormat, standing: &Standing, fault: Fault) -> Vec<Record> {
    let owner = secret(2);
    let id = standing.operators.log.id();
    let mut records: Vec<Record> = Vec::with_capacity(RECORDS);
    for place in 0..RECORDS {
        let before = match fault {
            Fault::Link(bad) if place == bad => records.len().checked_sub(2),
            _ => records.len().checked_sub(1),
        }
        .map(|at| &records[at]);
        let shifted = place + usize::from(fault == Fault::Law(place));
        let draft = Draft {
            format,
            tree: format.empty_tree(),
            parent: before.map(Record::git_id),
            signer: "alice".parse().unwrap(),
            time: now(),
            registry: "acme.example".parse().unwrap(),
            subject: Subject::Package(package()),
            link: before.map(|before| Link { log: records[0].digest().into(), seq: place as u64, prev: before.digest() }),
            entry: Entry::Package(entry(shifted, &owner, id, format)),
        };
        let mut bytes = draft.payload(&owner.public_key().fingerprint());
        let signed = if fault == Fault::Signature(place) { "another message" } else { &bytes };
        let header = match format {
            ObjectFormat::Sha1 => "gpgsig",
            ObjectFormat::Sha256 => "gpgsig-sha256",
        };
        let signature = format!("\n{header} {}", owner.sign(signed.as_bytes()).unwrap().to_header());
        bytes.insert_str(bytes.find("\n\n").unwrap(), &signature);
        records.push(Record::parse(format, bytes.into_bytes()).unwrap());
    }
    records
}

/// Publishes the log up to a place.
fn publish(store: &Store, records: &[Record], upto: usize) {
    let operator = secret(1);
    let author = Author { signer: &operator, name: "olga".parse().unwrap(), now: now() };
    let standing = Standing::read(store, &mut KeyCache::default()).unwrap();
    let name = layout::package(&package());
    let was = store.reference(&name).unwrap();
    let mut objects = Staging::new(store);
    objects.write(ObjectKind::Tree, b"").unwrap();
    for record in &records[..upto] {
        objects.write(ObjectKind::Commit, record.bytes()).unwrap();
    }
    let head = &records[upto - 1];
    let line = ChangeLine::Head { log: records[0].digest().into(), seq: head.seq(), head: head.digest() };
    let mut step = Step::default();
    step.changes.insert(Slot::Package(package()), (Some(head.git_id()), line));
    step.refs.push(RefEdit { name, expected: was.into(), new: Some(head.git_id()) });
    let lock = store.lock(Duration::ZERO, "test").unwrap();
    advance(&lock, store, &standing, &standing.operators.log, objects, &author, step).unwrap();
    drop(lock);
    store.refresh().unwrap();
}

impl World {
    /// Makes a registry whose second checkpoint holds the log up to [`SINCE`], and the third all of it.
    fn with(format: ObjectFormat, fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reg.git");
        let operator = secret(1);
        let author = Author { signer: &operator, name: "olga".parse().unwrap(), now: now() };
        let name = "acme.example".parse().unwrap();
        let standing =
            found(&path, &author, &Founding { name: &name, format, origin: None, front_page: &|_| Vec::new() }).unwrap();
        let records = records(format, &standing, fault);
        let store = Store::open(&path).unwrap();
        publish(&store, &records, SINCE);
        publish(&store, &records, RECORDS);
        World { _folder: folder, store }
    }

    fn audit(&self, since: Option<u64>) -> Result<Findings, Error> {
        audit(&Audit { store: &self.store, expected: None, contents: false, since: since.map(Moment::Seq), progress: &|_, _| {} })
    }

    /// Returns the one fault that is found.
    fn fault(&self, since: Option<u64>) -> Error {
        match self.audit(since) {
            Ok(found) => {
                assert_eq!(found.fault_count, 1, "{:?}", found.faults);
                found.faults[0].clone()
            }
            Err(error) => error,
        }
    }
}

#[test]
fn a_log_of_thousands_of_records_is_good_from_end_to_end() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let world = World::with(format, Fault::None);
        let whole = world.audit(None).unwrap();
        assert_eq!((whole.fault_count, whole.faults.len()), (0, 0), "{:?}", whole.faults);
        // With one operator record, and three checkpoints.
        assert_eq!((whole.packages, whole.records), (1, RECORDS as u64 + 4));
        for since in [0, 1, 2] {
            let found = world.audit(Some(since)).unwrap();
            assert_eq!((found.fault_count, found.looked_at), (0, u64::from(since < 2)), "{since}: {:?}", found.faults);
        }
    }
}

#[test]
fn a_bad_signature_is_found_in_every_piece_and_on_both_sides_of_a_checkpoint() {
    // First and last of the log and of its pieces, and around what the second checkpoint holds.
    for place in [0, 1, 1_023, 1_024, SINCE - 2, SINCE - 1, SINCE, SINCE + 1, 2_047, 2_048, RECORDS - 2, RECORDS - 1] {
        let world = World::with(ObjectFormat::Sha1, Fault::Signature(place));
        for since in [None, Some(0), Some(1)] {
            let error = world.fault(since);
            assert_eq!(error.code(), ErrorCode::BadSignature, "{place}, {since:?}: {error}");
            assert!(error.message().contains("demo/long"), "{error}");
        }
        // A log that did not change since is taken as it is, and that is said.
        assert_eq!(world.audit(Some(2)).unwrap().looked_at, 0);
    }
}

#[test]
fn what_the_law_refuses_is_found_in_every_piece() {
    for place in [2, 1_024, SINCE, 2_048, RECORDS - 2] {
        let world = World::with(ObjectFormat::Sha1, Fault::Law(place));
        for since in [None, Some(1)] {
            let error = world.fault(since);
            assert_eq!(error.code(), ErrorCode::NotReleased, "{place}, {since:?}: {error}");
        }
    }
}

#[test]
fn a_chain_that_passes_over_a_record_is_broken_in_every_piece() {
    for place in [2, 1_024, SINCE, 2_048, RECORDS - 1] {
        let world = World::with(ObjectFormat::Sha1, Fault::Link(place));
        for since in [None, Some(1)] {
            let error = world.fault(since);
            // Where it does so after the checkpoint before, its head is not as far from that one's as it says.
            let expected = if place >= SINCE { ErrorCode::Fork } else { ErrorCode::BrokenChain };
            assert_eq!(error.code(), expected, "{place}, {since:?}: {error}");
        }
    }
}
