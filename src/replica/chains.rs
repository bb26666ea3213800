//! Logs as they are read from git: walked from a head to the first record, then replayed through the law.

use crate::log::attestation::AttestationLog;
use crate::log::decision::DecisionLog;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::digest::{GitId, ObjectKind, RegistryId};
use crate::model::entry::{Origin, PackageEntry};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::Version;
use crate::model::object::ReadObjects;
use crate::model::record::{RECORD_MAX, Record, SignedRecord};

/// A log and the records that it was replayed from, oldest first.
#[derive(Clone, Debug)]
pub struct Replayed<L> {
    /// The state.
    pub log: L,
    /// Its records; there is always one.
    pub records: Vec<SignedRecord>,
}

impl<L> Replayed<L> {
    /// Returns the last record.
    pub fn head(&self) -> &SignedRecord {
        &self.records[self.records.len() - 1]
    }
}

/// Reads one record.
///
/// # Errors
/// Those of [`ReadObjects::read`] and [`Record::parse`].
pub fn record(objects: &impl ReadObjects, id: GitId) -> Result<Record> {
    // Whoever reads an object checks its id against its bytes.
    Record::parse_as(id, objects.read(ObjectKind::Commit, id, RECORD_MAX)?)
}

/// Reads a log from its head to its first record and returns the records, oldest first. Where the log is a fork, the walk ends at
/// its own first record.
///
/// # Errors
/// Those of [`record`]; `broken-chain` where the commits are more or fewer than the head's place says.
pub fn walk(objects: &impl ReadObjects, head: GitId) -> Result<Vec<Record>> {
    walk_from(objects, record(objects, head)?)
}

fn walk_from(objects: &impl ReadObjects, head: Record) -> Result<Vec<Record>> {
    let mut records = vec![head];
    loop {
        let after = &records[records.len() - 1];
        let id = match (after.draft().link, after.draft().parent) {
            (None, _) => break,
            (Some(_), Some(parent)) => parent,
            (Some(link), None) => {
                return Err(fault!(BrokenChain, "record {} has seq {} and no parent", after.git_id(), link.seq));
            }
        };
        let found = record(objects, id)?;
        if after.seq() != found.seq() + 1 {
            return Err(fault!(BrokenChain, "record {id} has seq {}, the one after it has {}", found.seq(), after.seq()));
        }
        records.push(found);
    }
    records.reverse();
    Ok(records)
}

/// Checks the signature of each record.
///
/// # Errors
/// Those of [`Record::verify`].
pub fn verify(records: Vec<Record>, keys: &mut KeyCache) -> Result<Vec<SignedRecord>> {
    records.into_iter().map(|record| record.verify(keys)).collect()
}

/// Replays records through the law: the first with `start`, each other with `append`.
fn replay<L>(
    records: Vec<SignedRecord>,
    start: impl FnOnce(&SignedRecord) -> Result<L>,
    append: impl Fn(L, &SignedRecord) -> Result<L>,
) -> Result<Replayed<L>> {
    let Some((first, rest)) = records.split_first() else {
        return Err(fault!(BrokenChain, "the log has no record"));
    };
    let log = rest.iter().try_fold(start(first)?, append)?;
    Ok(Replayed { log, records })
}

/// Reads and verifies an operator log.
///
/// # Errors
/// Any code of the law.
pub fn operators(objects: &impl ReadObjects, head: GitId, keys: &mut KeyCache) -> Result<Replayed<OperatorLog>> {
    let records = verify(walk(objects, head)?, keys)?;
    replay(records, OperatorLog::start, OperatorLog::append).map_err(|error| error.at("operator log"))
}

/// Reads and verifies a package log, and the log that it was forked from where its commits stand on it.
///
/// # Errors
/// Any code of the law.
pub fn package(objects: &impl ReadObjects, head: GitId, keys: &mut KeyCache) -> Result<Replayed<PackageLog>> {
    package_at_depth(objects, record(objects, head)?, keys, 0)
}

/// Does the same with a log of at most so many records; `None` where it has more.
///
/// # Errors
/// Those of [`package`].
pub(crate) fn short_package(
    objects: &impl ReadObjects,
    head: GitId,
    keys: &mut KeyCache,
    most: u64,
) -> Result<Option<Replayed<PackageLog>>> {
    let head = record(objects, head)?;
    if head.seq() >= most { Ok(None) } else { package_at_depth(objects, head, keys, 0).map(Some) }
}

/// The longest line of forks of forks that is followed.
const FORKS_MAX: usize = 32;

fn package_at_depth(objects: &impl ReadObjects, head: Record, keys: &mut KeyCache, depth: usize) -> Result<Replayed<PackageLog>> {
    let records = verify(walk_from(objects, head)?, keys)?;
    let replayed = replay(records, PackageLog::start, PackageLog::append)?;
    if let Some(origin) = replayed.log.origin().filter(|origin| origin.linked) {
        let place = format!("origin of {}", replayed.log.name());
        let parent = replayed.records[0].draft().parent.ok_or_else(|| fault!(BadOrigin, "{place}: no parent"))?;
        if depth == FORKS_MAX {
            return Err(fault!(Limit, "{place}: more than {FORKS_MAX} forks stand on one another"));
        }
        let before = record(objects, parent).and_then(|parent| package_at_depth(objects, parent, keys, depth + 1));
        let before = before.map_err(|error| match error.code() {
            // What is not there is not proven wrong.
            ErrorCode::NotFound | ErrorCode::Io => error.at(&place),
            _ => fault!(BadOrigin, "{place}: {}", error.message()),
        })?;
        check_origin(origin, &before).map_err(|error| error.at(&place))?;
    }
    Ok(replayed)
}

/// Checks that a fork says of its origin what its origin says of itself.
fn check_origin(origin: &Origin, before: &Replayed<PackageLog>) -> Result<()> {
    let differs = |what: &str, found: String, expected: String| {
        fault!(BadOrigin, "{what} is {found} in the origin's log, the fork says {expected}")
    };
    if before.head().digest() != origin.record {
        return Err(differs("the record", before.head().digest().to_string(), origin.record.to_string()));
    }
    if before.log.chain().id() != origin.log {
        return Err(differs("the log", before.log.chain().id().to_string(), origin.log.to_string()));
    }
    if before.log.registry_id() != origin.registry_id {
        return Err(differs("the registry's id", before.log.registry_id().to_string(), origin.registry_id.to_string()));
    }
    let name = before.log.name();
    if name.registry != origin.registry || name.package != origin.package {
        return Err(differs("the name", name.to_string(), format!("{}/{}", origin.registry, origin.package)));
    }
    if let (Some(version), Some(content)) = (&origin.version, origin.content) {
        let found = released_content(before, version);
        if found != Some(content) {
            return Err(differs(
                &format!("the content of {version}"),
                found.map_or("none".into(), |digest| digest.to_string()),
                content.to_string(),
            ));
        }
    }
    Ok(())
}

fn released_content(log: &Replayed<PackageLog>, version: &Version) -> Option<crate::model::digest::ContentDigest> {
    log.log.release_of(version).map(|released| released.release.content)
}

/// Reads and verifies a decision log.
///
/// # Errors
/// Any code of the law.
pub fn decisions(
    objects: &impl ReadObjects,
    head: GitId,
    operators: &OperatorLog,
    keys: &mut KeyCache,
) -> Result<Replayed<DecisionLog>> {
    let records = verify(walk(objects, head)?, keys)?;
    replay(records, |first| DecisionLog::start(operators, first), |log, record| log.append(operators, record))
}

/// Reads and verifies an attestation log of the registry with this id.
///
/// # Errors
/// Any code of the law.
pub fn attestations(
    objects: &impl ReadObjects,
    head: GitId,
    registry: RegistryId,
    keys: &mut KeyCache,
) -> Result<Replayed<AttestationLog>> {
    let records = verify(walk(objects, head)?, keys)?;
    replay(records, |first| AttestationLog::start(registry, first), AttestationLog::append)
}

/// Returns the versions that records release, with their records' places, in order.
pub fn releases_in(records: &[SignedRecord]) -> impl Iterator<Item = &crate::model::entry::Release> {
    records.iter().filter_map(|record| match record.entry() {
        crate::model::entry::Entry::Package(PackageEntry::Release(release)) => Some(&**release),
        _ => None,
    })
}
