//! The package log: who owns a package, what was released, and what its owners took back.

use super::chain::Chain;
use super::keys::Keys;
use super::suspicion::Suspicion;
use crate::model::digest::{OriginDigest, RecordDigest, RegistryId};
use crate::model::entry::{Denial, Entry, Origin, PackageEntry, PackagePrivilege, Provenance, Release, Subject};
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName, Version};
use crate::model::record::SignedRecord;
use crate::model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One release, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// What the record says.
    pub release: Arc<Release>,
    /// The record's place.
    pub seq: u64,
    /// The record's digest.
    pub digest: RecordDigest,
    /// The signer's clock.
    pub time: Timestamp,
    /// The registry that dependencies without one belong to: the log's own when this was released, whatever it moved to since.
    pub registry: (RegistryName, RegistryId),
    /// The reason, while it is yanked.
    pub yanked: Option<String>,
    /// Whether a key in wrong hands released it, as a later record says.
    pub flagged: bool,
}

/// A name that the owners asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// The name.
    pub to: FullName,
    /// The id of the registry that the name is in.
    pub registry_id: RegistryId,
    /// The record that asks.
    pub record: RecordDigest,
}

/// A move of a log to another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The name that it left.
    pub from: FullName,
    /// The id of the registry that it left the name in.
    pub from_registry: RegistryId,
    /// The name that it took, and who asked for that.
    pub to: Renaming,
}

/// A verified package log. There are two ways to have one: a first record, and a next record.
///
/// ```compile_fail
/// use quipu::log::package::PackageLog;
/// use quipu::model::record::Record;
/// fn unverified(record: &Record) -> PackageLog { PackageLog::start(record).unwrap() }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageLog {
    chain: Chain,
    name: FullName,
    moves: Vec<Move>,
    pending: Option<Renaming>,
    renamings: Vec<Renaming>,
    registry_id: RegistryId,
    origin: Option<Provenance>,
    keys: Keys<PackagePrivilege>,
    releases: BTreeMap<Version, Released>,
    suspicion: Suspicion,
    digests: Vec<RecordDigest>,
}

impl PackageLog {
    /// Starts a log with its first record, which anyone may sign.
    ///
    /// # Errors
    /// `wrong-log` where this is no package's record, `broken-chain`, `bad-origin`, `unauthorized` where the signer is not among the first keys.
    pub fn start(record: &SignedRecord) -> Result<Self> {
        let draft = record.draft();
        let (Entry::Package(entry), Subject::Package(package)) = (&draft.entry, &draft.subject) else {
            return Err(fault!(WrongLog, "a record of {} stands where a package log begins", draft.subject));
        };
        let PackageEntry::Init(init) = entry else {
            return Err(fault!(BrokenChain, "the log begins with a record of kind {}, expected init", draft.entry.kind()));
        };
        let linked = matches!(&init.origin, Some(Provenance::Fork(origin)) if origin.linked);
        let chain = Chain::start(record, linked)?;
        let keys = Keys::start(&init.keys, record)?;
        let mut suspicion = Suspicion::default();
        suspicion.append(record.key(), None, None)?;
        Ok(PackageLog {
            chain,
            name: FullName { registry: draft.registry.clone(), package: package.clone() },
            moves: Vec::new(),
            pending: None,
            renamings: Vec::new(),
            registry_id: init.registry_id,
            origin: init.origin.clone(),
            keys,
            releases: BTreeMap::new(),
            suspicion,
            digests: vec![record.digest()],
        })
    }

    /// Appends the next record.
    ///
    /// # Errors
    /// Any code of the law; the log that was consumed is gone, and nothing else has changed.
    pub fn append(mut self, record: &SignedRecord) -> Result<Self> {
        match self.apply(record) {
            Ok(()) => Ok(self),
            Err(error) => Err(error.at(format!("seq {} of {}", record.seq(), self.name))),
        }
    }

    fn apply(&mut self, record: &SignedRecord) -> Result<()> {
        let draft = record.draft();
        let moves = |asked: &mut Renaming| {
            draft.registry == asked.to.registry && matches!(&draft.subject, Subject::Package(name) if *name == asked.to.package)
        };
        if let Some(to) = self.pending.take_if(moves) {
            self.chain.move_to(to.to.registry.clone(), draft.subject.clone());
            let from = std::mem::replace(&mut self.name, to.to.clone());
            let from_registry = std::mem::replace(&mut self.registry_id, to.registry_id);
            self.moves.push(Move { from, from_registry, to });
        }
        self.chain.check(record)?;
        let Entry::Package(entry) = &draft.entry else {
            return Err(fault!(WrongLog, "a record of kind {} stands in a package log", draft.entry.kind()));
        };
        let (mut let_in, mut stolen) = (None, None);
        match entry {
            PackageEntry::Init(_) => return Err(fault!(BrokenChain, "a second init stands at seq {}", record.seq())),
            PackageEntry::Allow(grant) => {
                self.keys.allow(record, grant)?;
                let_in = Some(&grant.key);
            }
            PackageEntry::Deny(denial) => {
                self.keys.deny(record, denial)?;
                self.check_stolen(denial)?;
                stolen = denial.compromised_since.map(|since| (&denial.key, since));
            }
            PackageEntry::Release(release) => self.release(record, release)?,
            PackageEntry::Yank(version, reason) => {
                self.keys.require(record, PackagePrivilege::Yank)?;
                let released = self.released_mut(version)?;
                if released.yanked.is_some() {
                    return Err(fault!(NotReleased, "version {version} is yanked already"));
                }
                released.yanked = Some(reason.clone());
            }
            PackageEntry::Unyank(version, _) => {
                self.keys.require(record, PackagePrivilege::Yank)?;
                let released = self.released_mut(version)?;
                if released.yanked.take().is_none() {
                    return Err(fault!(NotReleased, "version {version} is not yanked"));
                }
            }
            PackageEntry::Rename(to, registry_id) => self.rename(record, to, *registry_id)?,
            PackageEntry::Upgrade(format) => {
                self.keys.require(record, PackagePrivilege::Auth)?;
                self.chain.upgrade(*format);
            }
        }
        self.suspicion.append(record.key(), let_in, stolen)?;
        self.digests.push(record.digest());
        self.chain.advance(record);
        match entry {
            PackageEntry::Release(release) => {
                let flagged = self.suspicion.is_flagged(record.seq());
                self.released_mut(&release.version)?.flagged = flagged;
            }
            _ if stolen.is_some() => {
                for released in self.releases.values_mut() {
                    released.flagged = self.suspicion.is_flagged(released.seq);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rename(&mut self, record: &SignedRecord, to: &FullName, registry_id: Option<RegistryId>) -> Result<()> {
        self.keys.require(record, PackagePrivilege::Rename)?;
        let registry_id = match registry_id {
            Some(id) if to.registry != self.name.registry => id,
            None if to.registry == self.name.registry => self.registry_id,
            Some(_) => return Err(fault!(BadRecord, "a rename within {} names a registry's id", to.registry)),
            None => return Err(fault!(BadRecord, "a rename into {} does not name that registry's id", to.registry)),
        };
        if *to == self.name && self.pending.is_none() {
            return Err(fault!(BadRecord, "the package has the name {to} already"));
        }
        let renaming = Renaming { to: to.clone(), registry_id, record: record.digest() };
        self.pending = (*to != self.name).then(|| renaming.clone());
        self.renamings.push(renaming);
        Ok(())
    }

    fn release(&mut self, record: &SignedRecord, release: &Arc<Release>) -> Result<()> {
        self.keys.require(record, PackagePrivilege::Release)?;
        if let Some(earlier) = self.released_as(&release.version) {
            return Err(fault!(
                AlreadyReleased,
                "version {} was released at seq {}, and a version is released once",
                earlier.release.version,
                earlier.seq
            ));
        }
        if release.tree.format() != record.draft().format {
            return Err(fault!(BadRecord, "the tree {} is not an id of this repository's object format", release.tree));
        }
        let released = Released {
            release: Arc::clone(release),
            seq: record.seq(),
            digest: record.digest(),
            time: record.draft().time,
            registry: (self.name.registry.clone(), self.registry_id),
            yanked: None,
            flagged: false,
        };
        let registry = &self.name.registry;
        if let Some(full) = release.dependencies.iter().find(|d| d.registry.as_ref().is_some_and(|(name, _)| name == registry)) {
            return Err(fault!(
                BadRecord,
                "the dependency {} names the registry that the package is in; expected {}",
                full.name(),
                full.package
            ));
        }
        self.releases.insert(release.version.clone(), released);
        Ok(())
    }

    /// Finds a release whose version differs at most in the case of letters: the two could not lie side by side in a folder
    /// on every system.
    fn released_as(&self, version: &Version) -> Option<&Released> {
        if let Some(released) = self.releases.get(version) {
            return Some(released);
        }
        if !version.is_prerelease() {
            return None;
        }
        let folded = version.to_string().to_ascii_lowercase();
        self.releases.values().find(|released| released.release.version.to_string().to_ascii_lowercase() == folded)
    }

    fn released_mut(&mut self, version: &Version) -> Result<&mut Released> {
        self.releases.get_mut(version).ok_or_else(|| fault!(NotReleased, "version {version} was never released"))
    }

    fn check_stolen(&self, denial: &Denial<PackagePrivilege>) -> Result<()> {
        match denial.compromised_since {
            Some(since) if since > self.chain.seq() => {
                Err(fault!(BadRecord, "compromised-since is {since}, expected a place up to {}", self.chain.seq()))
            }
            _ => Ok(()),
        }
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the name that the last record bears.
    pub fn name(&self) -> &FullName {
        &self.name
    }

    /// Returns how it came to that name, oldest first.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Returns the name that its owners asked for last, where no record bears it yet.
    pub fn pending_name(&self) -> Option<&Renaming> {
        self.pending.as_ref()
    }

    /// Returns every name that its owners asked for, oldest first; one that is the package's own took back the one before.
    pub fn renamings(&self) -> &[Renaming] {
        &self.renamings
    }

    /// Returns the id of the registry that the log is in.
    pub fn registry_id(&self) -> RegistryId {
        self.registry_id
    }

    /// Returns where the log comes from, if it is a fork.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.origin {
            Some(Provenance::Fork(origin)) => Some(origin),
            _ => None,
        }
    }

    /// Returns what it says of where it comes from, if it was promoted.
    pub fn promoted_from(&self) -> Option<OriginDigest> {
        match &self.origin {
            Some(Provenance::Promoted(origin)) => Some(*origin),
            _ => None,
        }
    }

    /// Returns the keys.
    pub fn keys(&self) -> &Keys<PackagePrivilege> {
        &self.keys
    }

    /// Returns all releases by version.
    pub fn releases(&self) -> impl DoubleEndedIterator<Item = &Released> {
        self.releases.values()
    }

    /// Finds a release.
    pub fn release_of(&self, version: &Version) -> Option<&Released> {
        self.releases.get(version)
    }

    /// Says whether the record at a place was appended in wrong hands, as a later record says.
    pub fn is_flagged(&self, seq: u64) -> bool {
        self.suspicion.is_flagged(seq)
    }

    /// Says whether a record is one of this log's own, and its place.
    pub fn place_of(&self, record: &RecordDigest) -> Option<u64> {
        self.digests.iter().position(|digest| digest == record).and_then(|at| u64::try_from(at).ok())
    }

    /// Checks that this log can stand under that name in that registry: its last record bears the name, or its owners asked for it last.
    ///
    /// # Errors
    /// `wrong-log` for another name, `wrong-registry` where a registry of the same name has another id.
    pub fn expect(&self, name: &FullName, registry_id: RegistryId) -> Result<()> {
        if self.pending.as_ref().is_some_and(|asked| asked.to == *name && asked.registry_id == registry_id) {
            return Ok(());
        }
        if self.name.registry == name.registry && self.registry_id != registry_id {
            return Err(fault!(
                WrongRegistry,
                "the log of {} belongs to a registry {} with the id {}, expected {registry_id}",
                self.name.package,
                self.name.registry,
                self.registry_id
            ));
        }
        if self.name != *name {
            return Err(fault!(WrongLog, "the log is that of {}, expected {name}", self.name));
        }
        Ok(())
    }

    /// Returns the package that the log is about.
    pub fn package(&self) -> &PackageName {
        &self.name.package
    }
}
