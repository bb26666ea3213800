//! Where a registry's own repository stands, and moving it on by one checkpoint.
//!
//! The order of every step: objects and the journal, brought to disk together; references of contents and logs; the registry log's reference,
//! which is the commit point; what is no longer needed. All references are locked and compared before the first of them moves. Killed
//! anywhere, the next acceptor finds the old state or the new one, and the journal.

use super::author::Author;
use super::chains::{self, Replayed};
use super::page::{self, PageFile};
use crate::git::layout::{self, RefName};
use crate::git::refs::{Expected, RefEdit, sync_folders};
use crate::git::staging::Staging;
use crate::git::store::{Reader, RepositoryLock, Store};
use crate::log::operator::OperatorLog;
use crate::log::registry::CheckedCheckpoint;
use crate::model::changes::{ChangeLine, changes_digest};
use crate::model::digest::{GitId, ObjectFormat, ObjectKind, RecordDigest, RegistryId};
use crate::model::entry::{Checkpoint, Entry, OperatorEntry, OperatorInit, OperatorPrivilege, Privilege as _, Subject};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::KeyCache;
use crate::model::map::Map;
use crate::model::name::RegistryName;
use crate::model::object::{ReadObjects, WriteObjects};
use crate::model::record::{Draft, Link, SignedRecord};
use crate::model::skip::skip;
use crate::model::slot::Slot;
use std::collections::BTreeMap;
use std::path::Path;

/// A registry as its own repository has it now.
pub struct Standing {
    /// The operator log.
    pub operators: Replayed<OperatorLog>,
    /// The newest checkpoint.
    pub checkpoint: CheckedCheckpoint,
    /// Its map.
    pub map: Map,
}

impl Standing {
    /// Reads and verifies operators and newest checkpoint.
    ///
    /// # Errors
    /// `bad-repository` where this is no registry; any code of the law.
    pub fn read(store: &Store, keys: &mut KeyCache) -> Result<Self> {
        let reader = store.reader();
        let (log, operators) = heads(store)?;
        let operators = chains::operators(&reader, operators, keys)?;
        let newest = chains::record(&reader, log)?.verify(keys)?;
        let checkpoint = CheckedCheckpoint::of_history(&operators.log, &newest)?;
        if let Err(error) = CheckedCheckpoint::newest(&operators.log, &newest) {
            // Its signer was denied since, and then another must have gone on from it, or the change of operators was cut short before its
            // own checkpoint. But who was denied, by a checkpoint below this one, does not get in again by naming older operators.
            check_not_behind(&reader, &operators.log, &checkpoint).map_err(|_| error)?;
        }
        let map = Map::at(checkpoint.map());
        Ok(Standing { operators, checkpoint, map })
    }
}

/// Checks that no checkpoint below this one names later operators.
fn check_not_behind(reader: &Reader, operators: &OperatorLog, newest: &CheckedCheckpoint) -> Result<()> {
    let mut below = newest.record().draft().parent;
    while let Some(id) = below {
        let record = chains::record(reader, id)?;
        if let Entry::Checkpoint(checkpoint) = record.entry()
            && operators.at(&checkpoint.operators)?.seq > newest.operators_seq()
        {
            return Err(fault!(Unauthorized, "checkpoint {} names earlier operators than the one below it", newest.seq()));
        }
        below = record.draft().parent;
    }
    Ok(())
}

/// Returns the heads of the registry log and of the operator log.
///
/// # Errors
/// `bad-repository` where this is no registry, `ref-missing` where one of the two is gone, `corrupt-object` where the repository does not
/// have what it names.
pub fn heads(store: &Store) -> Result<(GitId, GitId)> {
    let log = store.reference(&layout::registry_log())?;
    let operators = store.reference(&layout::operators())?;
    match (log, operators) {
        (Some(log), Some(operators)) => {
            let reader = store.reader();
            for (name, id) in [(layout::registry_log(), log), (layout::operators(), operators)] {
                // Else it would look as if what was asked for were not there.
                if !reader.contains(id) {
                    return Err(fault!(CorruptObject, "{}: {name} names {id}, which is not there", store.path().display())
                        .hint("git fsck says more; a mirror may have it"));
                }
            }
            Ok((log, operators))
        }
        (None, None) => Err(fault!(BadRepository, "{} is a git repository and no registry", store.path().display())
            .hint("make one: quipu registry init PATH --name DOMAIN")),
        (None, Some(_)) => Err(fault!(RefMissing, "{}: {} is gone", store.path().display(), layout::registry_log())),
        (Some(_), None) => Err(fault!(RefMissing, "{}: {} is gone", store.path().display(), layout::operators())),
    }
}

/// What one checkpoint is to publish.
#[derive(Debug, Default)]
pub struct Step {
    /// Heads in the map, and what the checkpoint says of each.
    pub changes: BTreeMap<Slot, (Option<GitId>, ChangeLine)>,
    /// References that move before the checkpoint does, in this order.
    pub refs: Vec<RefEdit>,
    /// References that move after it.
    pub after: Vec<RefEdit>,
    /// Whether they are so many that all of them move with the checkpoint's in one new `packed-refs`.
    pub at_once: bool,
    /// How many of the packages that change are in the map already, where that is known; another number is an error.
    pub known: Option<u64>,
}

/// Moves a registry on by one checkpoint.
///
/// # Errors
/// `unauthorized` where the author may not make checkpoints, `conflict` where a reference moved meanwhile, `io`. Nothing is published then.
pub fn advance(
    lock: &RepositoryLock,
    store: &Store,
    standing: &Standing,
    operators: &OperatorLog,
    mut objects: Staging<'_>,
    author: &Author<'_>,
    step: Step,
) -> Result<SignedRecord> {
    let Step { changes, mut refs, after, at_once, known: counted } = step;
    let left = store.read_journal(lock)?;
    store.break_locks_of_journal(lock, &left)?;
    let Some(known) =
        operators.now().keys.get(author.key()).filter(|key| key.privileges.contains(&OperatorPrivilege::Checkpoint))
    else {
        return Err(fault!(
            Unauthorized,
            "the key {} may not make checkpoints of {}",
            author.key().fingerprint(),
            operators.registry()
        )
        .hint(format!("the keys that may: {}", names_of(operators, OperatorPrivilege::Checkpoint)))
        .asked());
    };
    let previous = standing.checkpoint.record();
    let next = Link {
        log: previous.draft().link.map_or(previous.digest().into(), |link| link.log),
        seq: previous.seq() + 1,
        prev: previous.digest(),
    };
    let (skip_digest, skip_commit) = skip_of(&objects, &standing.checkpoint)?;
    let mut slots: BTreeMap<Slot, Option<GitId>> = changes.iter().map(|(slot, (head, _))| (slot.clone(), *head)).collect();
    slots.insert(Slot::Skip, Some(skip_commit));
    let mut stood = 0;
    let map = standing.map.replace(&mut objects, &slots, &mut |slot, _| stood += u64::from(matches!(slot, Slot::Package(_))))?;
    if let Some(counted) = counted.filter(|counted| *counted != stood) {
        return Err(fault!(RefMissing, "{stood} packages are in the map, and {counted} of them have references")
            .hint("nothing was changed; say what is wrong: quipu registry fsck"));
    }
    drop(slots);
    let mut packages = standing.checkpoint.checkpoint().packages;
    packages =
        packages.checked_sub(stood).ok_or_else(|| fault!(BadMap, "the map holds more than the {packages} packages it counts"))?;
    let mut lines = BTreeMap::new();
    for (slot, (head, line)) in changes {
        packages += u64::from(matches!(slot, Slot::Package(_)) && head.is_some());
        lines.insert(slot, line);
    }
    let time = author.now.max(previous.draft().time);
    let entry = Checkpoint {
        skip: Some(skip_digest),
        operators: operators.chain().head(),
        packages,
        changes: changes_digest(&lines),
        expires: operators.now().policy.checkpoint_expiry.map(|seconds| time.plus(seconds).unix()),
    };
    let draft = Draft {
        format: store.format(),
        tree: map.root(),
        parent: Some(previous.git_id()),
        signer: known.name.clone(),
        time,
        registry: operators.registry().clone(),
        subject: Subject::Log,
        link: Some(next),
        entry: Entry::Checkpoint(entry),
    };
    let record = draft.sign(author.signer).map_err(Error::asked)?;
    CheckedCheckpoint::newest(operators, &record).map_err(Error::asked)?;
    objects.write(ObjectKind::Commit, record.bytes())?;

    let log = RefEdit { name: layout::registry_log(), expected: Expected::At(previous.git_id()), new: Some(record.git_id()) };
    let moved = if at_once {
        // They are never left in between. Only files of their own are locked, and named so that the locks can be broken.
        refs.push(log.clone());
        let names = store.loose_among(refs.iter().map(|edit| &edit.name));
        let moved = objects
            .finish()
            .and_then(|()| store.write_journal(lock, names.into_iter().chain([&log.name])))
            .and_then(|journal| sync_folders(&journal))
            .and_then(|()| store.update_at_once(lock, &refs));
        refs.pop();
        moved
    } else {
        let names = refs.iter().chain(&after).map(|edit| &edit.name).chain([&log.name]);
        store
            .write_journal(lock, names)
            .and_then(|journal| objects.finish_with(journal))
            .and_then(|()| store.update_in_order(&[&refs, std::slice::from_ref(&log)]))
    };
    match moved {
        Ok(()) => {
            // It is published. What cannot be cleared away now is in the journal, or is found to be in by the next acceptor.
            let _ = store.update(&after).and_then(|()| settle(lock, store, &left, map));
            Ok(record)
        }
        Err(error) => {
            let nothing_moved = |edit: &RefEdit| store.reference(&edit.name).is_ok_and(|found| found != edit.new);
            if refs.iter().chain([&log]).all(nothing_moved) {
                // The error that counts is the first one.
                let _ = settle(lock, store, &left, standing.map);
            }
            Err(error)
        }
    }
}

/// Ends a journal that a killed process left, but for packages that are ahead of the map: those are for the next acceptor to look at.
///
/// # Errors
/// `bad-repository`, `io`.
pub fn settle_journal(lock: &RepositoryLock, store: &Store) -> Result<()> {
    let left = store.read_journal(lock)?;
    if left.is_empty() && !store.has_journal() {
        return Ok(());
    }
    store.break_locks_of_journal(lock, &left)?;
    settle(lock, store, &left, Standing::read(store, &mut KeyCache::default())?.map)
}

/// Ends the journal, but for packages that an earlier acceptor, which was killed, left ahead of the map.
fn settle(lock: &RepositoryLock, store: &Store, left: &[RefName], map: Map) -> Result<()> {
    let reader = store.reader();
    let mut ahead = Vec::new();
    for name in left {
        if let Some(package) = layout::parse_package(name)
            && let Some(head) = store.reference(name)?
            && map.get(&reader, &Slot::Package(package))? != Some(head)
        {
            ahead.push(name);
        }
    }
    // A decision that was not published is taken back with what was moved for it.
    let is_undecided = |name: &&RefName| -> Result<bool> {
        let Some(package) = layout::parse_decisions(name) else { return Ok(false) };
        Ok(store.reference(name)? != map.get(&reader, &Slot::Decisions(package))?)
    };
    let mut undecided = false;
    for name in left.iter() {
        undecided |= is_undecided(&name)?;
    }
    if undecided {
        let is_of_decisions = |name: &&RefName| layout::parse_decisions(name).is_some() || layout::parse_retired(name).is_some();
        ahead.extend(left.iter().filter(is_of_decisions));
    }
    store.end_journal(lock)?;
    if !ahead.is_empty() {
        store.write_journal(lock, ahead)?;
    }
    Ok(())
}

/// Returns the simple names of the operators that hold a privilege.
pub fn names_of(operators: &OperatorLog, privilege: OperatorPrivilege) -> String {
    let names: Vec<&str> =
        operators.now().keys.iter().filter(|key| key.privileges.contains(&privilege)).map(|key| key.name.as_str()).collect();
    names.join(", ")
}

/// Finds the checkpoint that the skip link of the next one names: its digest and its commit. Two hops at most.
fn skip_of(objects: &impl ReadObjects, head: &CheckedCheckpoint) -> Result<(RecordDigest, GitId)> {
    let target = skip(head.seq() + 1);
    let mut at = (*head.record()).clone();
    let mut keys = KeyCache::default();
    while at.seq() != target {
        let follow = skip(at.seq()) >= target;
        let id = if follow { Map::at(at.draft().tree).get(objects, &Slot::Skip)? } else { at.draft().parent };
        let id = id.ok_or_else(|| fault!(BadMap, "checkpoint {} has no link to an earlier one", at.seq()))?;
        at = chains::record(objects, id)?.verify(&mut keys)?;
    }
    Ok((at.digest(), at.git_id()))
}

/// What a new registry is made of.
pub struct Founding<'a> {
    /// Its name.
    pub name: &'a RegistryName,
    /// The object format of its repository.
    pub format: ObjectFormat,
    /// The registry that it is a fork of: name, id and checkpoint.
    pub origin: Option<(RegistryName, RegistryId, RecordDigest)>,
    /// Makes the files of its front page, once the registry's id is known.
    pub front_page: &'a dyn Fn(RegistryId) -> Vec<PageFile>,
}

/// The git configuration that a served registry needs.
///
/// Proposals come in under `refs/incoming/`; whatever else a pusher might move is hidden from pushes, which also keeps a push from
/// being told of every reference there is.
const CONFIG: &[(&str, &str)] = &[
    ("core.logAllRefUpdates", "false"),
    // A pushed proposal is on disk before the pusher hears that it is.
    ("core.fsync", "all"),
    ("gc.auto", "0"),
    ("receive.autogc", "false"),
    ("receive.fsckObjects", "true"),
    // More than the largest release that a policy admits unless it says so, and less than a disk.
    ("receive.maxInputSize", "1g"),
    ("receive.denyDeletes", "true"),
    ("receive.denyNonFastForwards", "true"),
    ("receive.advertiseAtomic", "true"),
    ("receive.hideRefs", "refs/"),
    ("receive.hideRefs", "!refs/incoming/"),
    ("core.alternateRefsPrefixes", "refs/heads/"),
    ("transfer.advertiseSID", "false"),
    ("uploadpack.allowFilter", "true"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("uploadpack.hideRefs", "refs/incoming/"),
];

/// Sets what a registry that is pushed to needs of git's configuration, where it is not set: a clone has nothing of it.
///
/// # Errors
/// `bad-repository` where the configuration cannot be parsed, `conflict` where it is locked, `io`.
pub fn configure(store: &Store) -> Result<()> {
    let mut missing = Vec::new();
    for (key, value) in CONFIG {
        if store.config(key)?.is_none() {
            missing.push((*key, *value));
        }
    }
    if missing.is_empty() { Ok(()) } else { store.set_config(&missing) }
}

/// Makes a registry: operator log, first checkpoint with an empty map, front page. It is there as a whole or not at all.
///
/// # Errors
/// `exists` where the folder is not empty, `io`.
pub fn found(path: &Path, author: &Author<'_>, founding: &Founding<'_>) -> Result<Standing> {
    let format = founding.format;
    let first = operator_init(author, founding)?;
    let operators = OperatorLog::start(&first).map_err(Error::asked)?;
    let checkpoint = Draft {
        format,
        tree: format.empty_tree(),
        parent: None,
        signer: author.name.clone(),
        time: author.now,
        registry: founding.name.clone(),
        subject: Subject::Log,
        link: None,
        entry: Entry::Checkpoint(Checkpoint {
            skip: None,
            operators: operators.chain().head(),
            packages: 0,
            changes: changes_digest(&BTreeMap::new()),
            expires: None,
        }),
    }
    .sign(author.signer)
    .map_err(Error::asked)?;

    let store = Store::init_with(path, format, |store| {
        store.set_config(CONFIG)?;
        let mut objects = Staging::new(store);
        objects.write(ObjectKind::Tree, b"")?;
        objects.write(ObjectKind::Commit, first.bytes())?;
        objects.write(ObjectKind::Commit, checkpoint.bytes())?;
        let page = front_page(&mut objects, author, founding, operators.id())?;
        objects.finish()?;
        let edit = |name, id| RefEdit { name, expected: Expected::Absent, new: Some(id) };
        store.update(&[
            edit(layout::operators(), first.git_id()),
            edit(layout::front_page(), page),
            edit(layout::registry_log(), checkpoint.git_id()),
        ])
    })?;
    Standing::read(&store, &mut KeyCache::default())
}

fn operator_init(author: &Author<'_>, founding: &Founding<'_>) -> Result<SignedRecord> {
    let grant = crate::model::entry::Grant {
        name: author.name.clone(),
        key: author.key().clone(),
        privileges: OperatorPrivilege::ALL.to_vec(),
        namespaces: Vec::new(),
    };
    let draft = Draft {
        format: founding.format,
        tree: founding.format.empty_tree(),
        parent: None,
        signer: author.name.clone(),
        time: author.now,
        registry: founding.name.clone(),
        subject: Subject::Operators,
        link: None,
        entry: Entry::Operator(OperatorEntry::Init(OperatorInit { origin: founding.origin.clone(), keys: vec![grant] })),
    };
    draft.sign(author.signer).map_err(Error::asked)
}

fn front_page(objects: &mut Staging<'_>, author: &Author<'_>, founding: &Founding<'_>, id: RegistryId) -> Result<GitId> {
    let tree = page::put(objects, None, &(founding.front_page)(id))?;
    page::commit(objects, author, tree, None, &format!("Front page of the registry {}", founding.name))
}

/// Appends records to the operator log and publishes them with a checkpoint.
///
/// # Errors
/// Those of the law and of [`advance`].
pub fn change_operators(
    lock: &RepositoryLock,
    store: &Store,
    author: &Author<'_>,
    entry: OperatorEntry,
    keys: &mut KeyCache,
) -> Result<(SignedRecord, SignedRecord)> {
    let standing = Standing::read(store, keys)?;
    let log = &standing.operators.log;
    let Some(known) = log.now().keys.get(author.key()) else {
        return Err(fault!(Unauthorized, "the key {} is no operator of {}", author.key().fingerprint(), log.registry())
            .hint(format!("the operators with auth: {}", names_of(log, OperatorPrivilege::Auth)))
            .asked());
    };
    let record = author.next(log.chain(), known.name.clone(), store.format().empty_tree(), Entry::Operator(entry))?;
    let changed = log.clone().append(&record).map_err(Error::asked)?;
    let mut objects = Staging::new(store);
    objects.write(ObjectKind::Tree, b"")?;
    objects.write(ObjectKind::Commit, record.bytes())?;
    let refs =
        vec![RefEdit { name: layout::operators(), expected: Expected::At(log.chain().git_head()), new: Some(record.git_id()) }];
    let step = Step { refs, ..Step::default() };
    let checkpoint = advance(lock, store, &standing, &changed, objects, author, step).map_err(|error| match error.code() {
        ErrorCode::Unauthorized if !changed.now().keys.holds(author.key(), OperatorPrivilege::Checkpoint) => error
            .hint("whoever changes operators also makes the next checkpoint, so the change must come from a key that still may"),
        _ => error,
    })?;
    Ok((record, checkpoint))
}
