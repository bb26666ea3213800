//! Writing records: what a person asks for becomes the next records of a log, and is refused here where the registry would refuse it.

use super::origin::Ground;
use crate::log::chain::Chain;
use crate::log::package::PackageLog;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind, RegistryId};
use crate::model::entry::{Entry, Grant, PackageEntry, PackageInit, PackagePrivilege, Privilege as _, Subject};
use crate::model::error::{Error, Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::{FullName, Label, RegistryName};
use crate::model::object::WriteObjects;
use crate::model::record::{Draft, SignedRecord};
use crate::model::sshsig::Signer;
use crate::model::time::Timestamp;

/// Who signs, and when.
pub struct Author<'a> {
    /// The key.
    pub signer: &'a dyn Signer,
    /// The name for it in a log that does not know it yet.
    pub name: Label,
    /// Now, by this machine's clock.
    pub now: Timestamp,
}

impl Author<'_> {
    /// Returns the author's key.
    pub fn key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// Signs the next record of a log. Time does not go back within a log, whatever the clock says.
    ///
    /// # Errors
    /// Those of the signer, and `bad-record` for what no record may say.
    pub fn next(&self, chain: &Chain, name: Label, tree: GitId, entry: Entry) -> Result<SignedRecord> {
        let (registry, subject) = (chain.registry().clone(), chain.subject().clone());
        self.next_as(chain, (registry, subject), name, tree, entry)
    }

    /// Signs the next record of a log that bears another name from there on.
    fn next_as(
        &self,
        chain: &Chain,
        (registry, subject): (RegistryName, Subject),
        name: Label,
        tree: GitId,
        entry: Entry,
    ) -> Result<SignedRecord> {
        let draft = Draft {
            format: chain.format(),
            tree,
            parent: None,
            signer: name,
            time: self.now.max(chain.time()),
            registry: registry.clone(),
            subject: subject.clone(),
            link: None,
            entry,
        };
        Draft { registry, subject, ..chain.place(draft) }.sign(self.signer).map_err(Error::asked)
    }
}

/// A package log that grows by records of one author.
#[derive(Clone, Debug)]
pub struct Work {
    log: PackageLog,
    /// The name that new records bear.
    name: FullName,
    added: Vec<SignedRecord>,
    /// What a new log stands on, where it is a fork.
    ground: Option<Ground>,
}

impl Work {
    /// Starts a new log, with the author as its first and only key; a fork's or a promoted one's on the ground that is given.
    ///
    /// # Errors
    /// Those of the signer and of the law.
    pub fn begin(
        author: &Author<'_>,
        format: ObjectFormat,
        name: &FullName,
        registry_id: RegistryId,
        ground: Option<Ground>,
    ) -> Result<Self> {
        let grant = Grant {
            name: author.name.clone(),
            key: author.key().clone(),
            privileges: PackagePrivilege::ALL.to_vec(),
            namespaces: Vec::new(),
        };
        Work::begin_on(author, format, name, registry_id, vec![grant], ground)
    }

    /// Starts a new log with these keys, the author's among them.
    ///
    /// # Errors
    /// Those of [`Work::begin`].
    pub fn begin_with(
        author: &Author<'_>,
        format: ObjectFormat,
        name: &FullName,
        registry_id: RegistryId,
        keys: Vec<Grant<PackagePrivilege>>,
    ) -> Result<Self> {
        Work::begin_on(author, format, name, registry_id, keys, None)
    }

    fn begin_on(
        author: &Author<'_>,
        format: ObjectFormat,
        name: &FullName,
        registry_id: RegistryId,
        keys: Vec<Grant<PackagePrivilege>>,
        ground: Option<Ground>,
    ) -> Result<Self> {
        let (origin, parent) = ground.as_ref().map(|ground| ground.in_format(format)).unzip();
        let draft = Draft {
            format,
            tree: format.empty_tree(),
            parent: parent.flatten(),
            signer: author.name.clone(),
            time: author.now,
            registry: name.registry.clone(),
            subject: Subject::Package(name.package.clone()),
            link: None,
            entry: Entry::Package(PackageEntry::Init(PackageInit { registry_id, origin, keys })),
        };
        let first = draft.sign(author.signer).map_err(Error::asked)?;
        Ok(Work { log: PackageLog::start(&first).map_err(Error::asked)?, name: name.clone(), added: vec![first], ground })
    }

    /// Goes on with a log that stands under a name, by records that bear it.
    pub fn resume(log: PackageLog, name: FullName) -> Self {
        Work { log, name, added: Vec::new(), ground: None }
    }

    /// Takes a record that the log has for one that was added: it is what is asked for.
    pub fn takes(&mut self, record: &SignedRecord) {
        self.added.push(record.clone());
    }

    /// Adds one record.
    ///
    /// # Errors
    /// Those of the law, as the registry would give them.
    pub fn add(&mut self, author: &Author<'_>, entry: PackageEntry) -> Result<()> {
        let Some(known) = self.log.keys().get(author.key()) else {
            let owners: Vec<String> = self.log.keys().iter().map(|key| key.name.to_string()).collect();
            return Err(fault!(
                Unauthorized,
                "your key {} has no part in {}, whose keys are {}",
                author.key().fingerprint(),
                self.name,
                owners.join(", ")
            )
            .hint(format!("ask one of them: quipu owner allow {} '{}'", self.name, author.key()))
            .asked());
        };
        let tree = self.log.chain().format().empty_tree();
        let bears = (self.name.registry.clone(), Subject::Package(self.name.package.clone()));
        let record = author.next_as(self.log.chain(), bears, known.name.clone(), tree, Entry::Package(entry))?;
        self.log = self.log.clone().append(&record).map_err(Error::asked)?;
        self.added.push(record);
        Ok(())
    }

    /// Returns the log with what was added.
    pub fn log(&self) -> &PackageLog {
        &self.log
    }

    /// Returns the records that were added.
    pub fn added(&self) -> &[SignedRecord] {
        &self.added
    }

    /// Writes the records, and those of the origin that a fork stands on.
    ///
    /// # Errors
    /// Those of [`WriteObjects::write`].
    pub fn write(&self, objects: &mut impl WriteObjects) -> Result<()> {
        objects.write(ObjectKind::Tree, b"")?;
        self.ground.iter().try_for_each(|ground| ground.write(objects))?;
        self.added.iter().try_for_each(|record| objects.write(ObjectKind::Commit, record.bytes()).map(drop))
    }
}
