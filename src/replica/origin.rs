//! Where a fork comes from: the release of another log that its own first record names, and stands on where both are in repositories of one
//! object format.

use super::chains;
use super::snapshot::{PackageView, Snapshot};
use crate::log::package::{PackageLog, Released};
use crate::model::digest::{GitId, ObjectFormat, ObjectKind, RecordDigest};
use crate::model::entry::Origin;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::object::{ReadObjects, WriteObjects};
use crate::model::record::Record;

/// What a fork's first record is to say, and the commits that it stands on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What it says; whether it is linked follows from the repository that it goes to.
    pub origin: Origin,
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
    pub fn of(snapshot: &Snapshot<'_>, view: &PackageView, released: &Released) -> Result<Self> {
        let record = view.log.records.iter().find(|record| record.digest() == released.digest);
        let record = record.ok_or_else(|| fault!(Bug, "a release without a record"))?;
        let (registry, registry_id) = released.registry.clone();
        let crate::model::entry::Subject::Package(package) = &record.draft().subject else {
            return Err(fault!(Bug, "a release of no package"));
        };
        let origin = Origin {
            registry,
            registry_id,
            package: package.clone(),
            log: view.log.log.chain().id(),
            record: record.digest(),
            version: Some(released.release.version.clone()),
            content: Some(released.release.content),
            checkpoint: snapshot.checkpoint().digest(),
            linked: false,
        };
        let history = history(&snapshot.reader(), record.git_id())?;
        Ok(Ground { origin, record: record.git_id(), history })
    }

    /// Returns what a first record in a repository of this format says, and its parent.
    pub fn in_format(&self, format: ObjectFormat) -> (Origin, Option<GitId>) {
        let linked = self.record.format() == format;
        (Origin { linked, ..self.origin.clone() }, linked.then_some(self.record))
    }

    /// Writes the commits that a first record in this repository stands on, where it stands on any.
    ///
    /// # Errors
    /// Those of [`WriteObjects::write`].
    pub fn write(&self, objects: &mut impl WriteObjects) -> Result<()> {
        if self.record.format() != objects.format() {
            return Ok(());
        }
        self.history.iter().try_for_each(|record| objects.write(ObjectKind::Commit, record.bytes()).map(drop))
    }
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
    let view = match snapshot.package(&origin.package) {
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
