//! What operators decide about a package, written down beside its log and published: takedown and restore, the name that its
//! owners ask for, a new log for a name.
//!
//! A takedown lets the files go and leaves the log standing. A restore brings the files back, which have to be those that the log names.

use super::accept::{check_own_name, check_release, contents_at, limits, log_at, released_in, wish_of};
use super::author::Author;
use super::chains::Replayed;
use super::names::{Decided, Entry as Found, Here, Names, Shelf as _};
use super::standing::{Standing, Step, advance, names_of};
use crate::git::layout;
use crate::git::refs::RefEdit;
use crate::git::staging::Staging;
use crate::git::store::{RepositoryLock, Store};
use crate::log::decision::DecisionLog;
use crate::log::names::Takedowns;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::digest::{GitId, ObjectKind};
use crate::model::entry::{Decision, DecisionHead, Entry, OperatorPrivilege, Release, Subject, Verdict};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::name::{FullName, Label, PackageName, Reference, RegistryName, Version};
use crate::model::object::WriteObjects as _;
use crate::model::record::{Draft, SignedRecord};
use crate::model::slot::Slot;
use crate::model::tree::{Entry as TreeEntry, Mode, Tree};
use crate::trust::choose::check_anchor;
use std::collections::{BTreeMap, BTreeSet};

/// Checks that an author may decide about packages, and returns the name that the operators know the key by.
///
/// # Errors
/// `unauthorized`.
pub(crate) fn check_decides<'o>(operators: &'o OperatorLog, author: &Author<'_>) -> Result<&'o Label> {
    let known = operators.now().keys.get(author.key());
    let known = known.filter(|key| key.privileges.contains(&OperatorPrivilege::Decide));
    known.map(|key| &key.name).ok_or_else(|| {
        fault!(Unauthorized, "the key {} may not decide about packages of {}", author.key().fingerprint(), operators.registry())
            .hint(format!("the keys that may: {}", names_of(operators, OperatorPrivilege::Decide)))
            .asked()
    })
}

/// Writes a decision about the log that stands under a name, and returns it with all decisions about that name.
///
/// # Errors
/// `unauthorized` where the author has no part in such decisions; any code of the law.
pub(crate) fn ruling(
    author: &Author<'_>,
    operators: &OperatorLog,
    package: &PackageName,
    log: &PackageLog,
    decisions: Option<&Replayed<DecisionLog>>,
    what: Verdict,
) -> Result<(SignedRecord, DecisionLog)> {
    let known = check_decides(operators, author)?;
    let format = log.chain().format();
    let about = DecisionHead { operators: operators.chain().head(), target: log.chain().id(), head: log.chain().head() };
    let entry = Entry::Decision(Decision { about, what });
    match decisions {
        Some(decisions) => {
            let record = author.next(decisions.log.chain(), known.clone(), format.empty_tree(), entry)?;
            let decided = decisions.log.clone().append(operators, &record).map_err(Error::asked)?;
            Ok((record, decided))
        }
        None => {
            let draft = Draft {
                format,
                tree: format.empty_tree(),
                parent: None,
                signer: known.clone(),
                time: author.now,
                registry: operators.registry().clone(),
                subject: Subject::Decisions(package.clone()),
                link: None,
                entry,
            };
            let record = draft.sign(author.signer).map_err(Error::asked)?;
            let decided = DecisionLog::start(operators, &record).map_err(Error::asked)?;
            Ok((record, decided))
        }
    }
}

/// A package and what was decided about it so far.
pub struct Case {
    /// The name that it has now.
    package: PackageName,
    standing: Standing,
    log: Replayed<PackageLog>,
    /// The log under each of its names: as it was left, but for the name that it has now.
    names: BTreeMap<PackageName, Replayed<PackageLog>>,
    decided: Decided,
}

/// A decision that is published.
pub struct Settled {
    /// The record.
    pub record: SignedRecord,
    /// The checkpoint that publishes it.
    pub checkpoint: SignedRecord,
    /// The releases whose files went or came back.
    pub releases: Vec<Version>,
}

impl Case {
    /// Reads a package that is published. Under a name that it left, it is the same package.
    ///
    /// # Errors
    /// `not-found`, `wrong-log` where the name leads to one that means another log by now; any code of the law.
    pub fn open(store: &Store, package: &PackageName) -> Result<Self> {
        let mut keys = KeyCache::default();
        let standing = Standing::read(store, &mut keys)?;
        let reader = store.reader();
        let operators = &standing.operators.log;
        let mut here = Here { operators, map: standing.map, objects: &reader, keys: &mut keys };
        let Some(entry) = Found::read(&mut here, package)? else {
            return Err(fault!(NotFound, "{} has no package {package}", operators.registry()));
        };
        let Found { log, names: Names { path, decided, mut leads, broken } } = entry;
        if let Some((to, reset)) = broken {
            return Err(fault!(WrongLog, "{package} was renamed to {to}, which was reset: {}", reset.reason).asked());
        }
        let own = path.into_iter().chain(leads.iter().map(|(name, _)| name.clone()));
        let own: BTreeSet<PackageName> = own.collect();
        let (package, log) = leads.pop().unwrap_or((package.clone(), log));
        let mut names = BTreeMap::new();
        for name in own {
            if let Some(head) = here.head(&Slot::Package(name.clone()))? {
                let held = here.package(head)?;
                // What a reset gave to another log is its business.
                if held.log.chain().id() == log.log.chain().id() {
                    names.insert(name, held);
                }
            }
        }
        Ok(Case { package, standing, log, names, decided })
    }

    /// Returns the registry's name.
    pub fn registry(&self) -> &RegistryName {
        self.standing.operators.log.registry()
    }

    /// Returns the name that the package has now.
    pub fn package(&self) -> &PackageName {
        &self.package
    }

    /// Returns the name that the package's owners ask for.
    pub fn wish(&self) -> Option<PackageName> {
        wish_of(&self.log.log, &self.package, &self.standing.operators.log).map(|(to, _)| to)
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
            !self.stays_down(version, &release.version) && check_release(&reader, release, release.tree, &limits).is_err()
        });
        Ok(releases)
    }

    /// Says whether a release is down for another reason than the takedown that a restore takes back.
    fn stays_down(&self, restored: Option<&Version>, version: &Version) -> bool {
        let mut takedowns = Takedowns::of(self.decided.values().map(|own| &own.log));
        takedowns.forget(self.log.log.chain().id(), restored);
        takedowns.find(self.log.log.chain().id(), version).is_some()
    }

    /// Returns the name in whose decisions it stands that a version, or all of the package, is taken down.
    fn taken_down_as(&self, version: Option<&Version>) -> Option<&PackageName> {
        let id = self.log.log.chain().id();
        let is_it = |own: &DecisionLog| own.takedowns().any(|(log, of, _)| log == id && of == version);
        self.decided.iter().find(|(_, own)| is_it(&own.log)).map(|(name, _)| name)
    }

    /// Decides, and publishes that with a checkpoint.
    ///
    /// # Errors
    /// `unauthorized` where the author has no part in such decisions; `ref-missing` where the files of what is restored are not here; any code
    /// of the law; those of [`advance`].
    pub fn decide(&self, lock: &RepositoryLock, store: &Store, author: &Author<'_>, what: Verdict) -> Result<Settled> {
        let operators = &self.standing.operators.log;
        // A decision stands beside the name that it is about; one that is taken back, where it was made.
        let name = match &what {
            Verdict::Takedown { version, .. } if self.taken_down_as(version.as_ref()).is_some() => {
                let of = version.as_ref().map_or("the package".into(), |version| format!("version {version}"));
                return Err(fault!(BadRecord, "{of} is taken down already").asked());
            }
            Verdict::Restore { version, .. } => self.taken_down_as(version.as_ref()).unwrap_or(&self.package),
            _ => &self.package,
        };
        let log = &self.names.get(name).unwrap_or(&self.log).log;
        let (record, decided) = ruling(author, operators, name, log, self.decided.get(name), what)?;
        decided.check_log(log).map_err(Error::asked)?;
        let mut objects = Staging::new(store);
        objects.write(ObjectKind::Tree, b"")?;
        objects.write(ObjectKind::Commit, record.bytes())?;
        let others = self.decided.iter().filter(|(other, _)| *other != name).map(|(_, own)| &own.log);
        let takedowns = Takedowns::of(others.chain([&decided]));
        let mut step = Step::default();
        let mut releases = BTreeSet::new();
        for (name, held) in &self.names {
            let contents = layout::contents(name);
            let was = store.reference(&contents)?;
            let (entries, changed) = self.contents(store, was, &held.log, &takedowns)?;
            releases.extend(changed);
            let new = match entries.is_empty() {
                true => None,
                false => {
                    let tree = Tree::new(entries)?.write(&mut objects)?;
                    Some(objects.write(ObjectKind::Commit, &commit::contents(tree))?)
                }
            };
            if new != was {
                step.refs.push(RefEdit { name: contents, expected: was.into(), new });
            }
        }
        put_decision(store, &mut step, name, &record, &decided)?;
        let checkpoint = advance(lock, store, &self.standing, operators, objects, author, step)?;
        Ok(Settled { record, checkpoint, releases: releases.into_iter().collect() })
    }

    /// Says that the package's owners ask for no other name.
    pub fn no_wish(&self) -> Error {
        fault!(BadRecord, "the owners of {} ask for no other name in {}", self.package, self.registry())
            .hint(format!("an owner asks by: quipu rename {} NEW", self.package))
            .asked()
    }

    /// Grants the package the name that its owners ask for, and publishes that with a checkpoint.
    ///
    /// # Errors
    /// `bad-record` where they ask for none, `name-taken`, `unauthorized`; those of [`advance`].
    pub fn rename(&self, lock: &RepositoryLock, store: &Store, author: &Author<'_>) -> Result<Settled> {
        let operators = &self.standing.operators.log;
        let (from, log) = (&self.package, &self.log.log);
        let Some((to, consent)) = wish_of(log, from, operators) else { return Err(self.no_wish()) };
        let reader = store.reader();
        if let Some(head) = self.standing.map.get(&reader, &Slot::Package(to.clone()))? {
            check_own_name(&self.log, log_at(&reader, head)?, from, &to, operators).map_err(Error::asked)?;
        }
        let full = |package: &PackageName| FullName { registry: operators.registry().clone(), package: package.clone() };
        let what = Verdict::Rename { from: full(from), to: full(&to), consent };
        let (record, decided) = ruling(author, operators, from, log, self.decided.get(from), what)?;
        decided.check_log(log).map_err(Error::asked)?;
        let mut objects = Staging::new(store);
        objects.write(ObjectKind::Tree, b"")?;
        objects.write(ObjectKind::Commit, record.bytes())?;
        let mut step = Step::default();
        let (contents, was) = (layout::contents(&to), store.reference(&layout::contents(&to))?);
        let new = store.reference(&layout::contents(from))?;
        if new != was {
            step.refs.push(RefEdit { name: contents, expected: was.into(), new });
        }
        put_decision(store, &mut step, from, &record, &decided)?;
        let name = layout::package(&to);
        let head = self.log.head();
        step.refs.push(RefEdit { expected: store.reference(&name)?.into(), name, new: Some(head.git_id()) });
        let line = ChangeLine::Head { log: log.chain().id(), seq: head.seq(), head: head.digest() };
        step.changes.insert(Slot::Package(to), (Some(head.git_id()), line));
        let checkpoint = advance(lock, store, &self.standing, operators, objects, author, step)?;
        Ok(Settled { record, checkpoint, releases: Vec::new() })
    }

    /// Returns the folders of the releases that are handed out under a name after a decision, and the versions that went or came.
    fn contents(
        &self,
        store: &Store,
        was: Option<GitId>,
        log: &PackageLog,
        takedowns: &Takedowns,
    ) -> Result<(Vec<TreeEntry>, Vec<Version>)> {
        let reader = store.reader();
        let limits = limits(&self.standing.operators.log.now().policy);
        let old = was.map(|id| contents_at(&reader, id)).transpose()?.map(|tree| released_in(&tree, log)).unwrap_or_default();
        let (mut entries, mut changed) = (Vec::new(), Vec::new());
        for released in log.releases() {
            let release = &released.release;
            let version = &release.version;
            let is_down = takedowns.find(log.chain().id(), version).is_some();
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

/// Adds a decision to what a checkpoint is to publish.
pub(crate) fn put_decision(
    store: &Store,
    step: &mut Step,
    package: &PackageName,
    record: &SignedRecord,
    decided: &DecisionLog,
) -> Result<()> {
    let name = layout::decisions(package);
    step.refs.push(RefEdit { expected: store.reference(&name)?.into(), name, new: Some(record.git_id()) });
    let line = ChangeLine::Head { log: decided.chain().id(), seq: record.seq(), head: record.digest() };
    step.changes.insert(Slot::Decisions(package.clone()), (Some(record.git_id()), line));
    Ok(())
}
