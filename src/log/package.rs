//! The package log: who owns a package, what was released, and what its owners took back.

use super::chain::Chain;
use super::keys::Keys;
use crate::model::digest::{RecordDigest, RegistryId};
use crate::model::entry::{Denial, Entry, Origin, PackageEntry, PackagePrivilege, Release, Subject};
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::{FullName, PackageName, Version};
use crate::model::record::SignedRecord;
use crate::model::time::Timestamp;
use std::collections::BTreeMap;

/// One release, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// What the record says.
    pub release: Release,
    /// The record's place.
    pub seq: u64,
    /// The record's digest.
    pub digest: RecordDigest,
    /// The signer's clock.
    pub time: Timestamp,
    /// The reason, while it is yanked.
    pub yanked: Option<String>,
    /// Whether a key in wrong hands released it, as a later record says.
    pub flagged: bool,
}

/// What the later flagging of records needs to know of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    signer: PublicKey,
    /// The key that the record let in.
    let_in: Option<PublicKey>,
    /// The key that the record declares stolen, and since which place.
    stolen: Option<(PublicKey, u64)>,
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
    former_names: Vec<FullName>,
    pending_name: Option<(FullName, RecordDigest)>,
    registry_id: RegistryId,
    origin: Option<Origin>,
    keys: Keys<PackagePrivilege>,
    releases: BTreeMap<Version, Released>,
    traces: Vec<Trace>,
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
        let linked = init.origin.as_ref().is_some_and(|origin| origin.linked);
        let chain = Chain::start(record, linked)?;
        let keys = Keys::start(&init.keys, record)?;
        Ok(PackageLog {
            chain,
            name: FullName { registry: draft.registry.clone(), package: package.clone() },
            former_names: Vec::new(),
            pending_name: None,
            registry_id: init.registry_id,
            origin: init.origin.clone(),
            keys,
            releases: BTreeMap::new(),
            traces: vec![Trace { signer: record.key().clone(), let_in: None, stolen: None }],
            digests: vec![record.digest()],
        })
    }

    /// Appends the next record.
    ///
    /// # Errors
    /// Any code of the law; the log that was consumed is gone, and nothing else has changed.
    pub fn append(mut self, record: &SignedRecord) -> Result<Self> {
        let place = format!("seq {} of {}", record.seq(), self.name);
        self.apply(record).map_err(|error| error.at(place))?;
        Ok(self)
    }

    fn apply(&mut self, record: &SignedRecord) -> Result<()> {
        let draft = record.draft();
        if let Some((to, _)) = &self.pending_name
            && draft.registry == to.registry
            && draft.subject == Subject::Package(to.package.clone())
        {
            let to = to.clone();
            self.pending_name = None;
            self.chain.move_to(to.registry.clone(), Subject::Package(to.package.clone()));
            self.former_names.push(std::mem::replace(&mut self.name, to));
        }
        self.chain.check(record)?;
        let Entry::Package(entry) = &draft.entry else {
            return Err(fault!(WrongLog, "a record of kind {} stands in a package log", draft.entry.kind()));
        };
        let mut trace = Trace { signer: record.key().clone(), let_in: None, stolen: None };
        match entry {
            PackageEntry::Init(_) => return Err(fault!(BrokenChain, "a second init stands at seq {}", record.seq())),
            PackageEntry::Allow(grant) => {
                trace.let_in = Some(grant.key.clone());
                self.keys = self.keys.clone().allow(record, grant)?;
            }
            PackageEntry::Deny(denial) => {
                trace.stolen = self.stolen(denial)?;
                self.keys = self.keys.clone().deny(record, denial)?;
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
            PackageEntry::Rename(to) => {
                self.keys.require(record, PackagePrivilege::Rename)?;
                if *to == self.name {
                    return Err(fault!(BadRecord, "the package has the name {to} already"));
                }
                self.pending_name = Some((to.clone(), record.digest()));
            }
            PackageEntry::Upgrade(format) => {
                self.keys.require(record, PackagePrivilege::Auth)?;
                self.chain.upgrade(*format);
            }
        }
        let declares = trace.stolen.is_some();
        let suspects = self.traces.iter().any(|trace| trace.stolen.is_some());
        self.traces.push(trace);
        self.digests.push(record.digest());
        self.chain.advance(record);
        if declares || suspects {
            self.flag();
        }
        Ok(())
    }

    fn release(&mut self, record: &SignedRecord, release: &Release) -> Result<()> {
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
            release: release.clone(),
            seq: record.seq(),
            digest: record.digest(),
            time: record.draft().time,
            yanked: None,
            flagged: false,
        };
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

    fn stolen(&self, denial: &Denial<PackagePrivilege>) -> Result<Option<(PublicKey, u64)>> {
        match denial.compromised_since {
            None => Ok(None),
            Some(since) if since <= self.chain.seq() => Ok(Some((denial.key.clone(), since))),
            Some(since) => Err(fault!(BadRecord, "compromised-since is {since}, expected a place up to {}", self.chain.seq())),
        }
    }

    /// Flags what stolen keys appended, and what keys that they let in appended.
    ///
    /// A declaration that was itself appended in wrong hands, as a later one says, counts for nothing. So the last is judged first.
    fn flag(&mut self) {
        let mut believed: Vec<(PublicKey, u64, usize)> = Vec::new();
        for at in (0..self.traces.len()).rev() {
            if let Some((key, since)) = self.traces[at].stolen.clone()
                && !self.flags(&believed)[at]
            {
                believed.push((key, since, at));
            }
        }
        let flags = self.flags(&believed);
        for released in self.releases.values_mut() {
            released.flagged = usize::try_from(released.seq).ok().and_then(|seq| flags.get(seq)).copied().unwrap_or(false);
        }
    }

    fn flags(&self, believed: &[(PublicKey, u64, usize)]) -> Vec<bool> {
        let mut suspects: Vec<&PublicKey> = Vec::new();
        let mut flags = Vec::with_capacity(self.traces.len());
        for (at, trace) in self.traces.iter().enumerate() {
            for (key, since, _) in believed {
                if u64::try_from(at).is_ok_and(|at| at == *since) && !suspects.contains(&key) {
                    suspects.push(key);
                }
            }
            let flagged = suspects.contains(&&trace.signer);
            flags.push(flagged);
            if let Some(key) = &trace.let_in {
                if flagged && !suspects.contains(&key) {
                    suspects.push(key);
                } else if !flagged && believed.iter().all(|(stolen, _, declared)| stolen != key || *declared < at) {
                    // Let in by hands that nobody doubts: from here on it speaks for itself.
                    suspects.retain(|suspect| *suspect != key);
                }
            }
        }
        flags
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the name that the last record bears.
    pub fn name(&self) -> &FullName {
        &self.name
    }

    /// Returns the names it had before, oldest first.
    pub fn former_names(&self) -> &[FullName] {
        &self.former_names
    }

    /// Returns the name that its owner asked for and the record that asks.
    pub fn pending_name(&self) -> Option<&(FullName, RecordDigest)> {
        self.pending_name.as_ref()
    }

    /// Returns the id of the registry that the log began in.
    pub fn registry_id(&self) -> RegistryId {
        self.registry_id
    }

    /// Returns where the log comes from, if it is a fork.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
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

    /// Says whether a record is one of this log's own, and its place.
    pub fn place_of(&self, record: &RecordDigest) -> Option<u64> {
        self.digests.iter().position(|digest| digest == record).and_then(|at| u64::try_from(at).ok())
    }

    /// Checks that this is the log of that package in that registry.
    ///
    /// # Errors
    /// `wrong-log` for another name, `wrong-registry` where a registry of the same name has another id.
    pub fn expect(&self, name: &FullName, registry_id: RegistryId) -> Result<()> {
        let first = self.former_names.first().unwrap_or(&self.name);
        if first.registry == name.registry && self.registry_id != registry_id {
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
