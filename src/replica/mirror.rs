//! Mirroring: another registry's logs and files, as they are, under that registry's own name in this repository.
//!
//! What is new is fetched into a quarantine, verified there as it would be at home, and only then moved here. References of the mirror move
//! before the head of its registry log does, and that before our own checkpoint, which says what is held. Killed anywhere, the mirror serves the
//! old state or the new one, and the next step goes on from what our newest checkpoint says.
//!
//! Of all packages, the registry log is here as it is at home. Of a part of them, the trees of its map that prove the part are here as files
//! ([`crate::model::proofs`]), together with all checkpoints: a commit whose tree is not whole would be a hole in the repository.

use super::author::Author;
use super::chains::{self};
use super::gather::{Gathered, Gathering, Synced};
use super::part::proven;
use super::standing::{Standing, Step, advance, names_of};
use crate::git::layout::{self, RefName};
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::{RepositoryLock, Store};
use crate::log::operator::OperatorLog;
use crate::log::registry::CheckedCheckpoint;
use crate::model::changes::ChangeLine;
use crate::model::digest::{FileDigest, GitId, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::{Entry, Mirror, OperatorEntry, OperatorPrivilege};
use crate::model::error::{Error, Result, fault};
use crate::model::held::{HELD_MAX, Held};
use crate::model::key::KeyCache;
use crate::model::name::{PackageName, Pattern, RegistryName};
use crate::model::object::{ReadObjects, WriteObjects as _};
use crate::model::slot::Slot;
use crate::trust::memory::Memory;
use std::collections::{BTreeMap, BTreeSet};

/// From so many references on all of them move in one new `packed-refs`.
const REFS_AT_ONCE: usize = 2_000;
/// What is to be held of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// Which packages, in order: see [`crate::model::held::in_order`].
    pub patterns: Vec<Pattern>,
    /// Whether contents are held, or logs alone.
    pub contents: bool,
    /// Whether contents stay that the registry takes down.
    pub keep_taken_down: bool,
}

impl Wanted {
    /// Reads what the operators said.
    ///
    /// # Errors
    /// `bad-name` for a pattern that is none.
    pub fn of(mirror: &Mirror) -> Result<Self> {
        Ok(Wanted {
            name: mirror.name.clone(),
            id: mirror.id,
            patterns: mirror.patterns.iter().map(|pattern| pattern.parse()).collect::<Result<_>>()?,
            contents: mirror.contents,
            keep_taken_down: mirror.keep_taken_down,
        })
    }

    /// Writes what the operators are to say.
    pub fn entry(&self) -> OperatorEntry {
        OperatorEntry::Mirror(Mirror {
            name: self.name.clone(),
            id: self.id,
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            contents: self.contents,
            keep_taken_down: self.keep_taken_down,
        })
    }

    pub(super) fn covers(&self, package: &PackageName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(package))
    }

    pub(super) fn is_held_as(&self, held: &Held) -> bool {
        (&self.patterns, self.contents, self.keep_taken_down) == (&held.patterns, held.contents, held.keep_taken_down)
    }
}

/// What a repository holds of another registry now, by its own newest checkpoint.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What is held.
    pub held: Held,
    /// The commit of its newest checkpoint.
    pub commit: GitId,
}

impl Kept {
    /// Reads what is held of a registry; `None` where nothing is.
    ///
    /// # Errors
    /// `bad-map`, `not-canonical`, `corrupt-object`.
    pub fn read(store: &Store, standing: &Standing, domain: &RegistryName) -> Result<Option<Self>> {
        let reader = store.reader();
        let blob = standing.map.get(&reader, &Slot::MirrorHeld(domain.clone()))?;
        let commit = standing.map.get(&reader, &Slot::MirrorLog(domain.clone()))?;
        let (Some(blob), Some(commit)) = (blob, commit) else { return Ok(None) };
        let held = Held::parse(&reader.read(ObjectKind::Blob, blob, HELD_MAX)?)?;
        if held.registry != *domain {
            return Err(fault!(BadMap, "what is held of {domain} says that it is of {}", held.registry));
        }
        Ok(Some(Kept { held, commit }))
    }

    /// Returns what was seen of the registry, for whoever reads it again.
    ///
    /// # Errors
    /// `ref-missing` where a part of the mirror is gone; any code of the law.
    pub fn memory(&self, store: &Store) -> Result<Memory> {
        let mut keys = KeyCache::default();
        let domain = &self.held.registry;
        let view = store.mirrored(domain)?;
        let reader = view.reader();
        let gone = |name: RefName| fault!(RefMissing, "the mirror of {domain} has no {name}");
        let head = view.reference(&layout::operators())?.ok_or_else(|| gone(layout::operators()))?;
        let operators = chains::operators(&reader, head, &mut keys)?;
        let record = match self.held.is_whole() {
            true => chains::record(&reader, self.commit)?,
            false => {
                let commit = store.reference(&layout::proofs(domain))?.ok_or_else(|| gone(layout::proofs(domain)))?;
                proven(&reader, commit, self.held.seq)?
            }
        };
        if record.digest() != self.held.checkpoint {
            return Err(fault!(
                CorruptObject,
                "the mirror of {domain} has checkpoint {}, our own checkpoint vouches for {}",
                record.digest(),
                self.held.checkpoint
            ));
        }
        let checkpoint = CheckedCheckpoint::of_history(&operators.log, &record.verify(&mut keys)?)?;
        Ok(Memory::new(&operators.log, operators.head(), &checkpoint))
    }
}

/// One step of a mirror.
pub struct Syncing<'a> {
    /// The lock of the repository.
    pub lock: &'a RepositoryLock,
    /// Who makes the checkpoint.
    pub author: &'a Author<'a>,
    /// Where the repository's own registry stands.
    pub standing: &'a Standing,
    /// Whether the operators are to say first that they mirror it so.
    pub says: bool,
    /// What is to be brought.
    pub what: Gathering<'a>,
}

impl Syncing<'_> {
    /// Brings the mirror to where the registry is now.
    ///
    /// # Errors
    /// `ref-missing` where the registry does not hand out what it names, `bad-repository` where its object format is another one, any code of
    /// the law for what does not hold; `unauthorized` where the author may not do that, `conflict`, `io`. Then nothing has changed.
    pub fn run(&self) -> Result<Synced> {
        let seq = self.what.upstream.checkpoint().seq();
        if self.what.is_done() {
            return Ok(Synced { seq, ..Synced::default() });
        }
        self.check_authority()?;
        match self.what.run()? {
            None => Ok(Synced { seq, ..Synced::default() }),
            Some(gathered) => {
                gathered.quarantine.keep(self.what.store)?;
                self.publish(gathered)
            }
        }
    }

    fn check_authority(&self) -> Result<()> {
        let operators = &self.standing.operators.log;
        let mut needed = vec![(OperatorPrivilege::Checkpoint, "make checkpoints of")];
        if self.says {
            needed.push((OperatorPrivilege::Mirror, "say what is mirrored in"));
        }
        for (privilege, what) in needed {
            if !operators.now().keys.holds(self.author.key(), privilege) {
                let (key, name) = (self.author.key().fingerprint(), operators.registry());
                return Err(fault!(Unauthorized, "the key {key} may not {what} {name}")
                    .hint(format!("the keys that may: {}", names_of(operators, privilege)))
                    .asked());
            }
        }
        Ok(())
    }

    /// Moves the references of the mirror, and vouches for it with a checkpoint of our own.
    fn publish(&self, gathered: Gathered) -> Result<Synced> {
        let Gathered { refs, proofs, covered, mut synced, .. } = gathered;
        let Gathering { store, wanted, kept, upstream, .. } = self.what;
        let is_anew = !kept.is_some_and(|kept| wanted.is_held_as(&kept.held));
        let (domain, newest) = (&wanted.name, upstream.checkpoint());
        let is_whole = proofs.is_none();
        let mut edits: BTreeMap<RefName, RefEdit> = BTreeMap::new();
        let prefix = format!("{}{domain}/", layout::MIRRORS);
        let opened = store.opened_references(&prefix)?;
        let mut put = |name: RefName, new: Option<GitId>| -> Result<()> {
            let was = opened.find(&name)?;
            if was != new {
                edits.insert(name.clone(), RefEdit { name, expected: was.into(), new });
            }
            Ok(())
        };
        let mut kept: BTreeSet<RefName> = BTreeSet::new();
        for (name, new) in refs {
            let name = layout::mirrored(domain, &name)?;
            kept.insert(name.clone());
            put(name, new)?;
        }
        if let Some(proofs) = proofs {
            kept.insert(layout::proofs(domain));
            put(layout::proofs(domain), Some(proofs))?;
        }
        if is_anew || !is_whole {
            for name in &covered {
                kept.insert(layout::mirrored(domain, name)?);
            }
            store.for_each_reference(&prefix, |name, _| {
                // What a reset put aside stays with what is held.
                let is_retired = name.as_str()[prefix.len()..].starts_with("retired/");
                if kept.contains(&name) || (is_retired && !is_anew) { Ok(()) } else { put(name, None) }
            })?;
        }
        let last = [layout::mirrored(domain, &layout::registry_log())?, layout::proofs(domain)];
        let order = |name: &RefName| {
            let rest = &name.as_str()[prefix.len()..];
            match rest.split('/').next() {
                _ if last.contains(name) => 3,
                Some("registry") => 2,
                Some("packages") => 1,
                // Contents first: a log that is ahead of its map has its contents beside it.
                _ => 0,
            }
        };
        let mut moved: Vec<RefEdit> = edits.into_values().collect();
        moved.sort_by_key(|edit| order(&edit.name));

        let mut objects = Staging::new(store);
        let held = self.what.held();
        let text = held.to_text();
        let blob = objects.write(ObjectKind::Blob, text.as_bytes())?;
        let mut step = Step { at_once: moved.len() >= REFS_AT_ONCE, refs: moved, ..Step::default() };
        let head = ChangeLine::Head { log: held.log, seq: newest.seq(), head: newest.digest() };
        if self.standing.map.get(&store.reader(), &Slot::MirrorLog(domain.clone()))? != Some(newest.record().git_id()) {
            step.changes.insert(Slot::MirrorLog(domain.clone()), (Some(newest.record().git_id()), head));
        }
        let line = ChangeLine::Held(FileDigest::of_bytes(text.as_bytes()));
        step.changes.insert(Slot::MirrorHeld(domain.clone()), (Some(blob), line));
        let mut operators = self.standing.operators.log.clone();
        if self.says {
            operators = say(store, &mut objects, &operators, self.author, wanted.entry(), &mut step)?;
        }
        let checkpoint = advance(self.lock, store, self.standing, &operators, objects, self.author, step)?;
        synced.checkpoint = Some((checkpoint.seq(), checkpoint.digest()));
        Ok(synced)
    }
}

/// Lets the operators say something in the same checkpoint.
fn say(
    store: &Store,
    objects: &mut Staging<'_>,
    operators: &OperatorLog,
    author: &Author<'_>,
    entry: OperatorEntry,
    step: &mut Step,
) -> Result<OperatorLog> {
    let Some(known) = operators.now().keys.get(author.key()) else {
        return Err(
            fault!(Unauthorized, "the key {} is no operator of {}", author.key().fingerprint(), operators.registry()).asked()
        );
    };
    let record = author.next(operators.chain(), known.name.clone(), store.format().empty_tree(), Entry::Operator(entry))?;
    let changed = operators.clone().append(&record).map_err(Error::asked)?;
    objects.write(ObjectKind::Tree, b"")?;
    objects.write(ObjectKind::Commit, record.bytes())?;
    let expected = Expected::At(operators.chain().git_head());
    step.refs.push(RefEdit { name: layout::operators(), expected, new: Some(record.git_id()) });
    Ok(changed)
}

/// Says whether something of a mirror is here: in the map, or a reference.
///
/// # Errors
/// `bad-map`, `corrupt-object`, `bad-repository`.
pub fn is_left(store: &Store, standing: &Standing, domain: &RegistryName) -> Result<bool> {
    let held = standing.map.get(&store.reader(), &Slot::MirrorHeld(domain.clone()))?;
    Ok(held.is_some() || !store.references(&format!("{}{domain}/", layout::MIRRORS))?.is_empty())
}

/// Ends a mirror: the operators say so, its references go, and its name stays known with its id.
///
/// # Errors
/// `not-found` where there is none, `unauthorized`, `conflict`, `io`. Then nothing has changed.
pub fn remove(lock: &RepositoryLock, store: &Store, author: &Author<'_>, domain: &RegistryName) -> Result<(u64, RecordDigest)> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let operators = &standing.operators.log;
    let known = operators.mirrors().find(|mirror| mirror.name == *domain);
    let known = known.filter(|known| !known.patterns.is_empty() || is_left(store, &standing, domain).unwrap_or(true));
    let known = known.ok_or_else(|| fault!(NotFound, "{} does not mirror {domain}", operators.registry()))?;
    if !operators.now().keys.holds(author.key(), OperatorPrivilege::Mirror) {
        let (key, name) = (author.key().fingerprint(), operators.registry());
        return Err(fault!(Unauthorized, "the key {key} may not say what is mirrored in {name}")
            .hint(format!("the keys that may: {}", names_of(operators, OperatorPrivilege::Mirror)))
            .asked());
    }
    let ended = OperatorEntry::Mirror(Mirror { patterns: Vec::new(), ..known.clone() });
    let mut step = Step::default();
    let prefix = format!("{}{domain}/", layout::MIRRORS);
    store.for_each_reference(&prefix, |name, id| {
        step.refs.push(RefEdit { name, expected: Expected::At(id), new: None });
        Ok(())
    })?;
    // What says where the mirror stands goes first: nobody is to read a mirror that is half gone.
    let heads = [layout::mirrored(domain, &layout::registry_log())?, layout::proofs(domain)];
    step.refs.sort_by_key(|edit| !heads.contains(&edit.name));
    step.at_once = step.refs.len() >= REFS_AT_ONCE;
    let reader = store.reader();
    for slot in [Slot::MirrorLog(domain.clone()), Slot::MirrorHeld(domain.clone())] {
        if standing.map.get(&reader, &slot)?.is_some() {
            step.changes.insert(slot, (None, ChangeLine::Gone));
        }
    }
    let mut objects = Staging::new(store);
    // Whoever was killed in here may have said it already.
    let changed = match known.patterns.is_empty() {
        true => operators.clone(),
        false => say(store, &mut objects, operators, author, ended, &mut step)?,
    };
    let checkpoint = advance(lock, store, &standing, &changed, objects, author, step)?;
    Ok((checkpoint.seq(), checkpoint.digest()))
}
