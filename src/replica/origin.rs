//! Where a package comes from: the release of another log that a fork's first record names, and stands on where both are in repositories of one
//! object format; or, where it was promoted, a digest alone.

use super::chains;
use super::snapshot::{PackageView, Snapshot};
use crate::log::package::{PackageLog, Released};
use crate::model::digest::{GitId, ObjectFormat, ObjectKind, OriginDigest, RecordDigest};
use crate::model::entry::{Origin, Provenance, Subject};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::PackageName;
use crate::model::object::{ReadObjects, WriteObjects};
use crate::model::opening::Opening;
use crate::model::record::{Record, SignedRecord};

/// What a first record is to say of where its package comes from.
#[derive(Clone, Debug)]
pub enum Ground {
    /// The release that it is a fork of.
    Fork(Box<ForkPoint>),
    /// A digest and nothing else.
    Promoted(OriginDigest),
}

/// A release that is forked, and the commits that a fork stands on.
#[derive(Clone, Debug)]
pub struct ForkPoint {
    /// What the fork says; whether it is linked follows from the repository that it goes to.
    origin: Origin,
    /// The record that is the release.
    record: GitId,
    /// That record and all before it, of the origin's own origins as well.
    history: Vec<Record>,
}

impl Ground {
    /// Takes a release of a package as what a fork stands on.
    ///
    /// # Errors
    /// `not-found` where a part of the history is not there.
    pub fn fork(snapshot: &Snapshot<'_>, view: &PackageView, released: &Released) -> Result<Self> {
        let record = record_of(view, released)?;
        let origin = opening(view, released)?.as_origin(snapshot.checkpoint().digest());
        let history = history(&snapshot.reader(), record.git_id())?;
        Ok(Ground::Fork(Box::new(ForkPoint { origin, record: record.git_id(), history })))
    }

    /// Returns what a first record in a repository of this format says, and its parent.
    pub fn in_format(&self, format: ObjectFormat) -> (Provenance, Option<GitId>) {
        match self {
            Ground::Promoted(origin) => (Provenance::Promoted(*origin), None),
            Ground::Fork(point) => {
                let linked = point.record.format() == format;
                let origin = Origin { linked, ..point.origin.clone() };
                (Provenance::Fork(Box::new(origin)), linked.then_some(point.record))
            }
        }
    }

    /// Writes the commits that a first record in this repository stands on, where it stands on any.
    ///
    /// # Errors
    /// Those of [`WriteObjects::write`].
    pub fn write(&self, objects: &mut impl WriteObjects) -> Result<()> {
        match self {
            Ground::Fork(point) if point.record.format() == objects.format() => {
                point.history.iter().try_for_each(|record| objects.write(ObjectKind::Commit, record.bytes()).map(drop))
            }
            _ => Ok(()),
        }
    }
}

fn record_of<'v>(view: &'v PackageView, released: &Released) -> Result<&'v SignedRecord> {
    let record = view.log.records.iter().find(|record| record.digest() == released.digest);
    record.ok_or_else(|| fault!(Bug, "a release without a record"))
}

/// Says of a release what only those can say who have its record.
///
/// # Errors
/// None that a caller can cause.
pub fn opening(view: &PackageView, released: &Released) -> Result<Opening> {
    let record = record_of(view, released)?;
    let (registry, registry_id) = released.registry.clone();
    let Subject::Package(package) = &record.draft().subject else {
        return Err(fault!(Bug, "a release of no package"));
    };
    Ok(Opening {
        registry,
        registry_id,
        package: package.clone(),
        log: view.log.log.chain().id(),
        record: record.digest(),
        version: released.release.version.clone(),
        content: released.release.content,
    })
}

/// Reads all records from one on downwards, those of origins as well, oldest first.
fn history(objects: &impl ReadObjects, head: GitId) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut next = Some(head);
    while let Some(id) = next {
        let record = chains::record(objects, id)?;
        next = record.draft().parent;
        records.push(record);
    }
    records.reverse();
    Ok(records)
}

/// Reads the log that holds a record, by a name that it has or had: also where it was renamed since, or a reset took the name from it.
///
/// # Errors
/// Those of [`Snapshot::package`] and [`Snapshot::meant_by`].
pub fn origin_log(snapshot: &mut Snapshot<'_>, package: &PackageName, record: &RecordDigest) -> Result<PackageView> {
    let view = snapshot.package(package)?;
    let view = snapshot.meant_by(view, record)?;
    // Who says which log is meant stays with it, whatever the name that it was left for means.
    if view.lost_to().is_some() { Ok(view) } else { view.followed() }
}

/// How much is known of where a fork comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The fork says so. Where it is linked, the records are there and are signed; whether the registry that they name ever published them is
    /// not known here.
    Claimed,
    /// This checkpoint of the origin's registry holds the log that holds the record, and the release is as the fork says.
    Proven(u64, RecordDigest),
    /// The registry says otherwise, and how.
    Contradicted(String),
}

impl Proof {
    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Proof::Claimed => "claimed",
            Proof::Proven(..) => "proven",
            Proof::Contradicted(_) => "contradicted",
        }
    }
}

/// Says what the origin's registry, as it is known here, says of what a fork says.
///
/// # Errors
/// Those of [`Snapshot::package`] that say nothing about the origin.
pub fn prove(snapshot: &mut Snapshot<'_>, origin: &Origin) -> Result<Proof> {
    let id = snapshot.operators().log.id();
    if id != origin.registry_id {
        let (name, known) = (&origin.registry, origin.registry_id);
        return Ok(Proof::Contradicted(format!("the registry {name} that is known here is {id}, the fork says {known}")));
    }
    let name = format!("{}/{}", origin.registry, origin.package);
    let view = match origin_log(snapshot, &origin.package, &origin.record) {
        Ok(view) => view,
        Err(error) if error.code() == ErrorCode::NotFound => {
            return Ok(Proof::Contradicted(format!("{} has no package {}", origin.registry, origin.package)));
        }
        Err(error) => return Err(error),
    };
    let log = &view.log.log;
    if log.chain().id() != origin.log {
        return Ok(Proof::Contradicted(format!("{name} is the log {}, the fork says {}", log.chain().id(), origin.log)));
    }
    Ok(match contradiction(log, origin) {
        Some(why) => Proof::Contradicted(why),
        None => Proof::Proven(snapshot.checkpoint().seq(), snapshot.checkpoint().digest()),
    })
}

/// Says what a log holds against what a fork says of it.
fn contradiction(log: &PackageLog, origin: &Origin) -> Option<String> {
    if log.place_of(&origin.record).is_none() {
        return Some(format!("{} does not hold the record {}", log.name(), origin.record));
    }
    let version = origin.version.as_ref()?;
    let released = log.release_of(version).map(|released| released.release.content);
    (released != origin.content).then(|| match released {
        Some(content) => format!("{}@{version} has the content {content}", log.name()),
        None => format!("{} never released {version}", log.name()),
    })
}
