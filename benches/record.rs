//! Measures what an audit does to each record: `cargo bench --bench record`.
//!
//! One core, records in memory: a package log of releases like those of the golden samples, in both object formats. What is beside the
//! signature's own check is the difference to `verify_strict`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use ed25519_dalek::{Signature, VerifyingKey};
use quipu::log::package::PackageLog;
use quipu::model::digest::{ContentDigest, GitId, ObjectFormat, RegistryId};
use quipu::model::entry::{
    Dependency, Entry, Grant, PackageEntry, PackageInit, PackagePrivilege as P, Privilege as _, Release, Subject,
};
use quipu::model::key::KeyCache;
use quipu::model::openssh::SecretKey;
use quipu::model::record::{Draft, Record, SignedRecord};
use quipu::model::sshsig::{SIGNED_LEN, Signer as _, signed_bytes};
use quipu::model::time::Timestamp;
use std::hint::black_box;
use std::time::Instant;

/// A log of one first record and as many releases.
fn log(format: ObjectFormat, releases: usize) -> Vec<SignedRecord> {
    let key = SecretKey::from_seed(zeroize::Zeroizing::new([1; 32]));
    let grant =
        Grant { name: "alice".parse().unwrap(), key: key.public_key().clone(), privileges: P::ALL.to_vec(), namespaces: vec![] };
    let draft = |entry| Draft {
        format,
        tree: format.empty_tree(),
        parent: None,
        signer: "alice".parse().unwrap(),
        time: Timestamp::from_unix(1_750_000_000).unwrap(),
        registry: "acme.example".parse().unwrap(),
        subject: Subject::Package("wasi:http".parse().unwrap()),
        link: None,
        entry: Entry::Package(entry),
    };
    let init = PackageInit { registry_id: RegistryId::from_sha256([7; 32]), origin: None, keys: vec![grant] };
    let mut records = vec![draft(PackageEntry::Init(init)).sign(&key).unwrap()];
    let mut log = PackageLog::start(&records[0]).unwrap();
    for n in 0..releases {
        let release = Release {
            version: format!("1.{n}.0").parse().unwrap(),
            content: ContentDigest::of_bytes(&n.to_le_bytes()),
            tree: GitId::from_bytes(&[0x11; 32][..format.id_len()]).unwrap(),
            size: 123_456,
            files: 12,
            description: Some("Types and functions for HTTP requests and responses".into()),
            license: Some("Apache-2.0".into()),
            links: vec!["https://http.example/".into()],
            build: None,
            dependencies: ["wasi:clocks", "wasi:io"]
                .map(|name| Dependency {
                    registry: None,
                    package: name.parse().unwrap(),
                    requirement: "^0.2.1".parse().unwrap(),
                    anchor: None,
                })
                .into(),
        };
        let record = log.chain().place(draft(PackageEntry::Release(std::sync::Arc::new(release)))).sign(&key).unwrap();
        log = log.append(&record).unwrap();
        records.push(record);
    }
    records
}

/// Returns a point in time: of this thread's time on a core where Linux tells, so that other programs count less, else of the clock.
fn now(began: Instant) -> f64 {
    let on_core = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_core.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| began.elapsed().as_secs_f64() * 1e6, |n| n / 1e3)
}

/// Runs something on every record, a few times, and returns the microseconds a record of the quickest run.
fn measure<T>(count: usize, mut run: impl FnMut() -> T) -> f64 {
    let began = Instant::now();
    (0..9)
        .map(|_| {
            let start = now(began);
            black_box(run());
            (now(began) - start) / count as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    // Without this argument cargo only tests that the benchmark runs.
    let releases = if std::env::args().any(|argument| argument == "--bench") { 5000 } else { 50 };
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let records = log(format, releases);
        let count = records.len();
        let bytes: usize = records.iter().map(|record| record.bytes().len()).sum();
        println!("{format}: {count} records of {} bytes", bytes / count);

        let key = VerifyingKey::from_bytes(records[0].key().as_bytes()).unwrap();
        let signatures: Vec<([u8; SIGNED_LEN], Signature)> = records
            .iter()
            .map(|record| {
                let payload = record.draft().payload(&record.key().fingerprint());
                let signer = SecretKey::from_seed(zeroize::Zeroizing::new([1; 32]));
                let signature = signer.sign(payload.as_bytes()).unwrap();
                (signed_bytes(payload.as_bytes()), Signature::from_bytes(&signature.signature))
            })
            .collect();
        let strict = measure(count, || signatures.iter().all(|(signed, signature)| key.verify_strict(signed, signature).is_ok()));
        let copy = measure(count, || records.iter().map(|record| record.bytes().to_vec()).collect::<Vec<_>>());
        let ids = measure(count, || {
            records.iter().map(|r| GitId::of(format, quipu::model::digest::ObjectKind::Commit, r.bytes())).collect::<Vec<_>>()
        });
        // As an audit does it: one record after the other, none kept longer than the law needs it.
        let read = |record: &SignedRecord| Record::parse(format, record.bytes().to_vec()).unwrap();
        let parse = measure(count, || records.iter().for_each(|record| drop(black_box(read(record)))));
        let verify = measure(count, || {
            let mut keys = KeyCache::new();
            records.iter().for_each(|record| drop(black_box(read(record).verify(&mut keys).unwrap())));
        });
        let append = measure(count, || {
            let start = PackageLog::start(&records[0]).unwrap();
            records[1..].iter().fold(start, |log, record| log.append(record).unwrap())
        });
        let audit = measure(count, || {
            let mut keys = KeyCache::new();
            let start = PackageLog::start(&read(&records[0]).verify(&mut keys).unwrap()).unwrap();
            records[1..].iter().fold(start, |log, record| log.append(&read(record).verify(&mut keys).unwrap()).unwrap())
        });
        println!("  verify_strict alone      {strict:7.2} µs");
        println!("  copy of the bytes        {copy:7.2} µs");
        println!("  git id alone             {ids:7.2} µs");
        println!("  parse                    {parse:7.2} µs");
        println!("  parse + verify           {verify:7.2} µs");
        println!("  append to the log        {append:7.2} µs");
        println!("  all three, one by one    {audit:7.2} µs");
        println!("  beside verify_strict     {:7.2} µs", audit - strict);
    }
}
