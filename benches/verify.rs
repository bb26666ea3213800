//! Measures a whole audit of logs against the bare checking of their signatures:
//! `cargo bench --bench verify [-- --packages N --keys N --rounds N]`, or of a registry that is there: `-- --registry PATH`.
//!
//! The floor is `verify_strict` over the same bytes by the same keys, decompressed beforehand, on as many threads.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod pairs;

use pairs::signed::{Signed, all_signed, check, taken_apart};
use pairs::{Pairs, flag, is_whole, time};
use quipu::git::layout;
use quipu::git::staging::Staging;
use quipu::git::store::Store;
use quipu::log::chain::Chain;
use quipu::log::package::PackageLog;
use quipu::model::changes::ChangeLine;
use quipu::model::digest::{ContentDigest, GitId, ObjectFormat, ObjectKind};
use quipu::model::entry::{Entry, PackageEntry, Release};
use quipu::model::error::Result;
use quipu::model::name::{FullName, PackageName, RegistryName};
use quipu::model::object::WriteObjects as _;
use quipu::model::openssh::SecretKey;
use quipu::model::slot::Slot;
use quipu::model::time::Timestamp;
use quipu::replica::audit::{Audit, audit};
use quipu::replica::author::{Author, Work};
use quipu::replica::standing::{Founding, Step, advance, found};
use rayon::prelude::*;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

fn main() -> Result<()> {
    let packages = flag("--packages").unwrap_or(if is_whole() { 3_000 } else { 20 });
    let keys = flag("--keys").unwrap_or(packages.div_ceil(10));
    let rounds = flag("--rounds").unwrap_or(if is_whole() { 15 } else { 1 });
    let formats: &[ObjectFormat] = if is_whole() { &[ObjectFormat::Sha1] } else { &[ObjectFormat::Sha1, ObjectFormat::Sha256] };
    let formats = if std::env::args().any(|arg| arg == "sha256") { &[ObjectFormat::Sha256] } else { formats };
    println!("{} threads", rayon::current_num_threads());
    println!("| verify, logs only | records | floor, records/s | quipu, records/s | share of the floor | middle half |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut args = std::env::args().skip_while(|arg| arg != "--registry").skip(1);
    if let Some(path) = args.next() {
        let store = Store::open(Path::new(&path))?;
        let (signed, packages) = all_signed(&store)?;
        return measure(store.path(), &signed, packages, rounds);
    }
    for format in formats {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.git");
        let signed = registry(&path, *format, packages, keys)?;
        measure(&path, &signed, packages, rounds)?;
    }
    Ok(())
}

fn measure(path: &Path, signed: &[Signed], packages: usize, rounds: usize) -> Result<()> {
    let count = signed.len() as f64;
    let subject = || {
        time(|| {
            let store = Store::open(path).unwrap();
            let found =
                audit(&Audit { store: &store, expected: None, contents: false, since: None, progress: &|_, _| {} }).unwrap();
            assert_eq!((found.fault_count, found.faults), (0, Vec::new()));
            assert_eq!((found.packages, found.records), (packages as u64, signed.len() as u64));
        })
    };
    if flag("--profile").is_some() {
        let start: Duration = (0..flag("--profile").unwrap_or(1)).map(|_| subject()).sum();
        println!("{start:?}");
        return Ok(());
    }
    let pairs = Pairs::run(rounds, || check(signed), subject);
    let (low, high) = pairs.spread();
    println!(
        "| {packages} packages, {} | {count} | {:.0} | {:.0} | **{:.2}** | {:.2} to {:.2} |",
        Store::open(path)?.format(),
        count / pairs.floor().as_secs_f64(),
        count / pairs.subject().as_secs_f64(),
        1.0 / pairs.ratio(),
        1.0 / high,
        1.0 / low
    );
    Ok(())
}

/// Makes a registry of so many packages, each of one to four records, and returns what all signatures are over.
fn registry(path: &Path, format: ObjectFormat, packages: usize, keys: usize) -> Result<Vec<Signed>> {
    let now = Timestamp::from_unix(1_700_000_000)?;
    let secret = |number: usize| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        SecretKey::from_seed(Zeroizing::new(seed))
    };
    let name: RegistryName = "acme.example".parse()?;
    let operator = secret(0);
    let operator = Author { signer: &operator, name: "operator".parse()?, now };
    let founding = Founding { name: &name, format, origin: None, front_page: &|_| Vec::new() };
    let standing = found(path, &operator, &founding)?;
    let id = standing.operators.log.id();
    let mut signed = vec![taken_apart(standing.operators.head()), taken_apart(standing.checkpoint.record())];

    let secrets: Vec<SecretKey> = (1..=keys).map(secret).collect();
    let logs: Vec<(PackageName, Work)> = (0..packages)
        .into_par_iter()
        .map(|number| {
            let package: PackageName = format!("space{}:package-{number}", number % 40).parse()?;
            let full = FullName { registry: name.clone(), package: package.clone() };
            // No two neighbours in the map have the same key.
            let signer = &secrets[number.wrapping_mul(2_654_435_761) % keys];
            let author = Author { signer, name: format!("owner-{number}").parse()?, now };
            let mut work = Work::begin(&author, format, &full, id, None)?;
            for minor in 0..number % 4 {
                work.add(&author, PackageEntry::Release(std::sync::Arc::new(release(format, number, minor)?)))?;
            }
            Ok((package, work))
        })
        .collect::<Result<_>>()?;

    let store = Store::open(path)?;
    let mut objects = Staging::new(&store);
    let mut step = Step::default();
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    let mut lines: Vec<String> = Vec::new();
    for (package, work) in &logs {
        work.write(&mut objects)?;
        signed.extend(work.added().iter().map(taken_apart));
        let chain: &Chain = PackageLog::chain(work.log());
        let line = ChangeLine::Head { log: chain.id(), seq: chain.seq(), head: chain.head() };
        step.changes.insert(Slot::Package(package.clone()), (Some(chain.git_head()), line));
        lines.push(format!("{} {}", layout::package(package), chain.git_head()));
    }
    objects.write(ObjectKind::Tree, b"")?;
    let lock = store.lock(Duration::ZERO, "benchmark")?;
    let checkpoint = advance(&lock, &store, &standing, &standing.operators.log, objects, &operator, step)?;
    assert!(matches!(checkpoint.entry(), Entry::Checkpoint(_)));
    signed.push(taken_apart(&checkpoint));
    // References of a served registry are packed.
    lines.sort();
    for line in lines {
        let (name, id) = line.split_once(' ').unwrap();
        let _ = writeln!(packed, "{id} {name}");
    }
    std::fs::write(path.join("packed-refs"), packed).unwrap();
    Ok(signed)
}

fn release(format: ObjectFormat, package: usize, minor: usize) -> Result<Release> {
    let text = format!("{package} {minor}");
    Ok(Release {
        version: format!("1.{minor}.0").parse()?,
        content: ContentDigest::of_bytes(text.as_bytes()),
        tree: GitId::of(format, ObjectKind::Blob, text.as_bytes()),
        size: 20_480,
        files: 10,
        description: Some(format!("What package {package} is for, in one line")),
        license: Some("MIT OR Apache-2.0".to_owned()),
        links: vec![format!("https://example.org/package-{package}")],
        build: None,
        dependencies: Vec::new(),
    })
}
