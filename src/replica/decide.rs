//! What operators decide about a package, written down beside its log and published: takedown and restore, the name that its
//! owners ask for, a new log for a name.
//!
//! A takedown lets the files go and leaves the log standing. A restore brings the files back, which have to be those that the log names.

use super::accept::{check_own_name, check_release, contents_at, limits, log_at, released_in, wish_of};
use super::author::{Author, Work};
use super::chains::Replayed;
use super::names::{Decided, Entry as Found, Here, Names, Shelf, check_retired};
use super::standing::{Standing, Step, advance, names_of};
use crate::git::layout::{self, RefName};
use crate::git::refs::RefEdit;
use crate::git::staging::Staging;
use crate::git::store::{RepositoryLock, Store};
use crate::log::decision::DecisionLog;
use crate::log::names::Takedowns;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::changes::ChangeLine;
use crate::model::commit;
use crate::model::digest::{GitId, LogId, ObjectFormat, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::{
    Decision, DecisionHead, Denial, Entry, Grant, OperatorPrivilege, PackageEntry, PackagePrivilege, Privilege as _, Release,
    Subject, Verdict,
};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::{KeyCache, PublicKey};
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
    /// The log that the name means, where this one was put aside by a reset.
    now: Option<Replayed<PackageLog>>,
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
    /// Reads the package that a reference means. Under a name that it left, it is the same package; an anchor may mean a log that a reset took
    /// from the name.
    ///
    /// # Errors
    /// `not-found`, `wrong-registry`, `anchor-mismatch`, `wrong-log` where the name leads to one that means another log by now; any code of the law.
    pub fn open(store: &Store, reference: &Reference) -> Result<Self> {
        let package = &reference.package;
        let mut keys = KeyCache::default();
        let standing = Standing::read(store, &mut keys)?;
        let reader = store.reader();
        let operators = &standing.operators.log;
        if let Some(named) = reference.registry.as_ref().filter(|named| *named != operators.registry()) {
            return Err(fault!(WrongRegistry, "the repository is that of {}, not of {named}", operators.registry()).asked());
        }
        let mut here = Here { operators, map: standing.map, objects: &reader, keys: &mut keys };
        let Some(entry) = Found::read(&mut here, package)? else {
            return Err(fault!(NotFound, "{} has no package {package}", operators.registry()));
        };
        let Found { log, names: Names { path, decided, mut leads, broken } } = entry;
        if let Some((to, reset)) = broken {
            return Err(fault!(WrongLog, "{package} was renamed to {to}, which was reset: {}", reset.reason).asked());
        }
        let own = path.into_iter().chain(leads.iter().map(|(name, _)| name.clone()));
        let mut own: BTreeSet<PackageName> = own.collect();
        let (package, mut log) = leads.pop().unwrap_or((package.clone(), log));
        let (mut decided, mut now) = (decided, None);
        if let Some(anchor) = reference.anchor.filter(|anchor| log.log.place_of(anchor).is_none())
            && let Some((found, names)) = put_aside(store, &mut here, &package, decided.get(&package), &anchor)?
        {
            now = Some(std::mem::replace(&mut log, found));
            own = names.path.into_iter().collect();
            decided = names.decided;
        }
        check_anchor(&log.log, reference.anchor.as_ref())?;
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
        if now.is_some() {
            names.insert(package.clone(), log.clone());
        }
        Ok(Case { package, standing, log, names, decided, now })
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

    /// Returns the log that is decided about, and how many releases it has.
    pub fn log(&self) -> (LogId, usize) {
        (self.log.log.chain().id(), self.log.log.releases().count())
    }

    /// Checks that the log is the one that an anchor means.
    ///
    /// # Errors
    /// `anchor-mismatch`.
    pub fn check_anchor(&self, anchor: Option<&RecordDigest>) -> Result<()> {
        check_anchor(&self.log.log, anchor)
    }

    /// Returns the reference that has the files of the log under a name.
    fn contents_of(&self, name: &PackageName) -> RefName {
        match &self.now {
            Some(_) if *name == self.package => layout::retired_contents(self.log.log.chain().id()),
            _ => layout::contents(name),
        }
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
        let means = self.now.as_ref().filter(|_| *name == self.package).map_or(log, |now| &now.log);
        decided.check_log(means).map_err(Error::asked)?;
        let mut objects = Staging::new(store);
        objects.write(ObjectKind::Tree, b"")?;
        objects.write(ObjectKind::Commit, record.bytes())?;
        let others = self.decided.iter().filter(|(other, _)| *other != name).map(|(_, own)| &own.log);
        let takedowns = Takedowns::of(others.chain([&decided]));
        let mut step = Step::default();
        let mut releases = BTreeSet::new();
        for (name, held) in &self.names {
            let contents = self.contents_of(name);
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

    /// Gives the name to a new log, which begins with the author's key, or with that of an owner who alone is to hold it. The log of before is put
    /// aside with its files. All of it is published by one checkpoint.
    ///
    /// # Errors
    /// `unauthorized`, `bad-record` where the two keys would have one name; any code of the law; those of [`advance`].
    pub fn reset(
        &self,
        lock: &RepositoryLock,
        store: &Store,
        author: &Author<'_>,
        reason: &str,
        owner: Option<&(Label, PublicKey)>,
    ) -> Result<Settled> {
        let operators = &self.standing.operators.log;
        let (package, log, format) = (&self.package, &self.log.log, store.format());
        let known = check_decides(operators, author)?.clone();
        let full = FullName { registry: operators.registry().clone(), package: package.clone() };
        let own = self.decided.get(package);
        let meant =
            |id: LogId| id == log.chain().id() || own.is_some_and(|own| own.log.resets().iter().any(|reset| reset.old == id));
        let mut begins = Author { signer: author.signer, name: known, now: author.now };
        let mut work = Case::begin(&begins, format, &full, operators.id(), owner)?;
        while meant(work.log().chain().id()) {
            // The same key began a log of this name in the same second.
            begins.now = begins.now.plus(1);
            work = Case::begin(&begins, format, &full, operators.id(), owner)?;
        }
        let new = work.log().chain();
        let what = Verdict::Reset { new: new.id(), reason: reason.to_owned() };
        let (record, decided) = ruling(author, operators, package, log, self.decided.get(package), what)?;
        decided.check_log(work.log()).map_err(Error::asked)?;
        let mut objects = Staging::new(store);
        work.write(&mut objects)?;
        objects.write(ObjectKind::Commit, record.bytes())?;
        let old = log.chain().id();
        let contents = layout::contents(package);
        let held = store.reference(&contents)?;
        let mut step = Step::default();
        let put = |name: RefName, new: Option<GitId>| -> Result<Option<RefEdit>> {
            let was = store.reference(&name)?;
            Ok((was != new).then(|| RefEdit { name, expected: was.into(), new }))
        };
        step.refs.extend(put(layout::retired_log(old), Some(log.chain().git_head()))?);
        step.refs.extend(put(layout::retired_contents(old), held)?);
        put_decision(store, &mut step, package, &record, &decided)?;
        // Until it is published, the log of before is served as it was. A reference that names it a moment longer is explained by the decision.
        step.after.extend(put(layout::package(package), Some(new.git_head()))?);
        step.after.extend(held.map(|_| put(contents, None)).transpose()?.flatten());
        let line = ChangeLine::Head { log: new.id(), seq: new.seq(), head: new.head() };
        step.changes.insert(Slot::Package(package.clone()), (Some(new.git_head()), line));
        let checkpoint = advance(lock, store, &self.standing, operators, objects, author, step)?;
        Ok(Settled { record, checkpoint, releases: Vec::new() })
    }

    /// Makes the log that a reset begins: with the author's key alone, or with an owner's, to whom the author leaves it.
    fn begin(
        author: &Author<'_>,
        format: ObjectFormat,
        name: &FullName,
        id: RegistryId,
        owner: Option<&(Label, PublicKey)>,
    ) -> Result<Work> {
        let grant = |name: &Label, key: &PublicKey| Grant {
            name: name.clone(),
            key: key.clone(),
            privileges: PackagePrivilege::ALL.to_vec(),
            namespaces: Vec::new(),
        };
        let mut keys = vec![grant(&author.name, author.key())];
        let owner = owner.filter(|(_, key)| key != author.key());
        keys.extend(owner.map(|(name, key)| grant(name, key)));
        let mut work = Work::begin_with(author, format, name, id, keys)?;
        if owner.is_some() {
            let (key, privileges) = (author.key().clone(), PackagePrivilege::ALL.to_vec());
            let denial = Denial { name: author.name.clone(), key, privileges, compromised_since: None };
            work.add(author, PackageEntry::Deny(denial))?;
        }
        Ok(work)
    }

    /// Returns the checkpoint of the registry where the last thing that was decided is a reset for this reason and this owner, and nobody has gone on
    /// from it yet: a run of the same command made it.
    pub fn was_reset_for(&self, author: &Author<'_>, reason: &str, owner: Option<&(Label, PublicKey)>) -> Option<Settled> {
        let own = self.decided.get(&self.package)?;
        let last = own.head();
        let Entry::Decision(Decision { what: Verdict::Reset { new, reason: given }, .. }) = last.entry() else { return None };
        let log = &self.log.log;
        let holder = owner.map_or(author.key(), |(_, key)| key);
        let holds_alone = log.keys().iter().filter(|key| !key.privileges.is_empty()).all(|key| key.key == *holder);
        let untouched = log.chain().seq() == u64::from(owner.is_some_and(|(_, key)| key != author.key()));
        let is_it = given == reason && *new == log.chain().id() && last.key() == author.key() && holds_alone && untouched;
        is_it.then(|| Settled {
            record: last.clone(),
            checkpoint: self.standing.checkpoint.record().clone(),
            releases: Vec::new(),
        })
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

/// Finds the log that an anchor means among those that resets took from a name.
fn put_aside(
    store: &Store,
    here: &mut impl Shelf,
    package: &PackageName,
    own: Option<&Replayed<DecisionLog>>,
    anchor: &RecordDigest,
) -> Result<Option<(Replayed<PackageLog>, Names)>> {
    for reset in own.map_or(&[][..], |own| own.log.resets()).iter().rev() {
        let name = layout::retired_log(reset.old);
        let Some(head) = store.reference(&name)? else { continue };
        let found = here.package(head)?;
        check_retired(&found.log, reset).map_err(|error| error.at(&name))?;
        if found.log.place_of(anchor).is_some() {
            let names = Names::of_retired(here, package, &found.log, own)?;
            return Ok(Some((found, names)));
        }
    }
    Ok(None)
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
