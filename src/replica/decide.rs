//! What operators decide about a package, written down beside its log and published: takedown and restore.
//!
//! A takedown lets the files go and leaves the log standing. A restore brings the files back, which have to be those that the log names.

use super::accept::{check_release, contents_at, limits, released_in};
use super::author::Author;
use super::chains::{self, Replayed};
use super::standing::{Standing, Step, advance, names_of};
use crate::git::layout;
use crate::git::refs::RefEdit;
use crate::git::staging::Staging;
use crate::git::store::{RepositoryLock, Store};
use crate::log::decision::DecisionLog;
use crate::log::package::PackageLog;
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::digest::{GitId, ObjectKind};
use crate::model::entry::{Decision, DecisionHead, Entry, OperatorPrivilege, Release, Subject, Verdict};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{PackageName, Reference, RegistryName, Version};
use crate::model::object::WriteObjects as _;
use crate::model::record::{Draft, SignedRecord};
use crate::model::slot::Slot;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use crate::trust::choose::check_anchor;

/// A package and what was decided about it so far.
pub struct Case {
    package: PackageName,
    standing: Standing,
    log: Replayed<PackageLog>,
    decisions: Option<Replayed<DecisionLog>>,
}

/// A decision that is published.
pub struct Decided {
    /// The record.
    pub record: SignedRecord,
    /// The checkpoint that publishes it.
    pub checkpoint: SignedRecord,
    /// The releases whose files went or came back.
    pub releases: Vec<Version>,
}

impl Case {
    /// Reads a package that is published.
    ///
    /// # Errors
    /// `not-found`, any code of the law.
    pub fn open(store: &Store, package: &PackageName) -> Result<Self> {
        let mut keys = KeyCache::default();
        let standing = Standing::read(store, &mut keys)?;
        let reader = store.reader();
        let Some(head) = standing.map.get(&reader, &Slot::Package(package.clone()))? else {
            return Err(fault!(NotFound, "{} has no package {package}", standing.operators.log.registry()));
        };
        let log = chains::package(&reader, head, &mut keys)?;
        let decisions = standing.map.get(&reader, &Slot::Decisions(package.clone()))?;
        let decisions = decisions.map(|head| chains::decisions(&reader, head, &standing.operators.log, &mut keys)).transpose()?;
        Ok(Case { package: package.clone(), standing, log, decisions })
    }

    /// Returns the registry's name.
    pub fn registry(&self) -> &RegistryName {
        self.standing.operators.log.registry()
    }

    /// Checks that this is what a reference means: its registry, and its anchor.
    ///
    /// # Errors
    /// `wrong-registry`, `anchor-mismatch`.
    pub fn check(&self, reference: &Reference) -> Result<()> {
        if let Some(named) = reference.registry.as_ref().filter(|named| *named != self.registry()) {
            return Err(fault!(WrongRegistry, "the repository is that of {}, not of {named}", self.registry()).asked());
        }
        check_anchor(&self.log.log, reference.anchor.as_ref())
    }

    /// Returns the releases that a decision about a version, or about all of the package, is about.
    ///
    /// # Errors
    /// `not-found` where there is no such release.
    pub fn releases(&self, version: Option<&Version>) -> Result<Vec<&Release>> {
        let releases = self.log.log.releases().map(|released| &*released.release);
        let found: Vec<&Release> = releases.filter(|release| version.is_none_or(|version| release.version == *version)).collect();
        match (version, found.is_empty()) {
            (Some(version), true) => Err(fault!(NotFound, "{} has no version {version}", self.package)),
            _ => Ok(found),
        }
    }

    /// Returns the releases whose files a restore would bring back and that are not here.
    ///
    /// # Errors
    /// Those of [`Case::releases`].
    pub fn missing(&self, store: &Store, version: Option<&Version>) -> Result<Vec<&Release>> {
        let limits = limits(&self.standing.operators.log.now().policy);
        let reader = store.reader();
        let mut releases = self.releases(version)?;
        releases.retain(|release| {
            self.stays_down(version, &release.version).is_none()
                && check_release(&reader, release, release.tree, &limits).is_err()
        });
        Ok(releases)
    }

    /// Says whether a release is down for another reason than the takedown that a restore takes back.
    fn stays_down(&self, restored: Option<&Version>, version: &Version) -> Option<()> {
        let decisions = &self.decisions.as_ref()?.log;
        let id = self.log.log.chain().id();
        let is_other =
            |(log, of, _): &(_, Option<&Version>, _)| *log == id && *of != restored && of.is_none_or(|of| of == version);
        decisions.takedowns().find(is_other).map(drop)
    }

    /// Decides, and publishes that with a checkpoint.
    ///
    /// # Errors
    /// `unauthorized` where the author has no part in such decisions; `ref-missing` where the files of what is restored are not here; any code
    /// of the law; those of [`advance`].
    pub fn decide(&self, lock: &RepositoryLock, store: &Store, author: &Author<'_>, what: Verdict) -> Result<Decided> {
        let operators = &self.standing.operators.log;
        let format = store.format();
        let known = operators.now().keys.get(author.key());
        let Some(known) = known.filter(|key| key.privileges.contains(&OperatorPrivilege::Decide)) else {
            return Err(fault!(
                Unauthorized,
                "the key {} may not decide about packages of {}",
                author.key().fingerprint(),
                operators.registry()
            )
            .hint(format!("the keys that may: {}", names_of(operators, OperatorPrivilege::Decide)))
            .asked());
        };
        let log = &self.log.log;
        let about =
            DecisionHead { operators: operators.chain().head(), target: log.chain().id(), head: self.log.head().digest() };
        let entry = Entry::Decision(Decision { about, what });
        let (record, decided) = match &self.decisions {
            Some(decisions) => {
                let record = author.next(decisions.log.chain(), known.name.clone(), format.empty_tree(), entry)?;
                let decided = decisions.log.clone().append(operators, &record).map_err(Error::asked)?;
                (record, decided)
            }
            None => {
                let draft = Draft {
                    format,
                    tree: format.empty_tree(),
                    parent: None,
                    signer: known.name.clone(),
                    time: author.now,
                    registry: operators.registry().clone(),
                    subject: Subject::Decisions(self.package.clone()),
                    link: None,
                    entry,
                };
                let record = draft.sign(author.signer).map_err(Error::asked)?;
                let decided = DecisionLog::start(operators, &record).map_err(Error::asked)?;
                (record, decided)
            }
        };
        decided.check_log(log).map_err(Error::asked)?;
        let mut objects = Staging::new(store);
        objects.write(ObjectKind::Tree, b"")?;
        objects.write(ObjectKind::Commit, record.bytes())?;
        let name = layout::contents(&self.package);
        let was = store.reference(&name)?;
        let (entries, releases) = self.contents(store, was, &decided)?;
        let new = match entries.is_empty() {
            true => None,
            false => {
                let tree = Tree::new(entries)?.write(&mut objects)?;
                Some(objects.write(ObjectKind::Commit, &commit::contents(tree))?)
            }
        };
        let mut step = Step::default();
        if new != was {
            step.refs.push(RefEdit { name, expected: was.into(), new });
        }
        let name = layout::decisions(&self.package);
        step.refs.push(RefEdit { expected: store.reference(&name)?.into(), name, new: Some(record.git_id()) });
        let line = ChangeLine::Head { log: decided.chain().id(), seq: record.seq(), head: record.digest() };
        step.changes.insert(Slot::Decisions(self.package.clone()), (Some(record.git_id()), line));
        let checkpoint = advance(lock, store, &self.standing, operators, objects, author, step)?;
        Ok(Decided { record, checkpoint, releases })
    }

    /// Returns the folders of the releases that are handed out after a decision, and the versions that went or came.
    fn contents(&self, store: &Store, was: Option<GitId>, decided: &DecisionLog) -> Result<(Vec<TreeEntry>, Vec<Version>)> {
        let log = &self.log.log;
        let reader = store.reader();
        let limits = limits(&self.standing.operators.log.now().policy);
        let old = was.map(|id| contents_at(&reader, id)).transpose()?.map(|tree| released_in(&tree, log)).unwrap_or_default();
        let (mut entries, mut changed) = (Vec::new(), Vec::new());
        for released in log.releases() {
            let release = &released.release;
            let version = &release.version;
            let is_down = decided.takedown_of(log.chain().id(), version).is_some();
            let there = old.iter().find(|entry| entry.name == version.to_string());
            match there {
                Some(_) if is_down => changed.push(version.clone()),
                Some(entry) => entries.push(entry.clone()),
                None if is_down => {}
                None => {
                    check_release(&reader, release, release.tree, &limits).map_err(|error| match error.code() {
                        ErrorCode::Io => error,
                        _ => fault!(RefMissing, "the files of {} {version} are not here any more", self.package)
                            .hint("name a mirror or a copy that has them: --from URL"),
                    })?;
                    entries.push(TreeEntry { name: version.to_string(), mode: Mode::Tree, id: release.tree });
                    changed.push(version.clone());
                }
            }
        }
        Ok((entries, changed))
    }
}
