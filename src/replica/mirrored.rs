//! What is held of other registries, verified: as they would be at home, and that it is what our own checkpoint vouches for.

use super::audit::{Audit, Part, PartsFound, audit, audit_parts};
use super::chains;
use super::mirror::Kept;
use super::page;
use super::part::{PartHeads, part_of};
use super::standing::Standing;
use crate::git::layout;
use crate::git::quarantine::Quarantine;
use crate::git::staging::Staging;
use crate::git::store::Store;
use crate::log::registry::{CheckedCheckpoint, RegistryLog};
use crate::model::commit;
use crate::model::digest::{GitId, ObjectKind};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::held::{HELD_MAX, Held};
use crate::model::key::KeyCache;
use crate::model::map::Map;
use crate::model::object::{ReadObjects, STRUCTURE_MAX, WriteObjects as _};
use crate::model::proofs;
use crate::model::record::{RECORD_MAX, Record};
use crate::model::tree::Tree;

/// Returns what is held of each registry that the operators mirror.
///
/// # Errors
/// `bad-map`, `not-canonical`, `corrupt-object`.
pub fn all(store: &Store, standing: &Standing) -> Result<Vec<Kept>> {
    let mirrors = standing.operators.log.mirrors().filter(|mirror| !mirror.patterns.is_empty());
    let kept = mirrors.map(|mirror| Kept::read(store, standing, &mirror.name));
    kept.filter_map(Result::transpose).collect()
}

/// Verifies what is held of one registry. What is wrong with single packages is collected.
///
/// # Errors
/// Any code of the law for its operators and checkpoints; `ref-missing` where a part of the mirror is gone, `corrupt-object` where it is not what
/// our own checkpoint vouches for.
pub fn check(store: &Store, kept: &Kept, contents: bool, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<PartsFound> {
    let held = &kept.held;
    let contents = contents && held.contents;
    // That it stands where our checkpoint says.
    kept.memory(store)?;
    if !held.is_whole() {
        return check_part(store, held, contents);
    }
    let view = store.mirrored(&held.registry)?;
    let found = audit(&Audit { store: &view, expected: Some((&held.registry, held.id)), contents, since: None, progress })?;
    if found.checkpoint.digest() != held.checkpoint {
        return Err(fault!(
            CorruptObject,
            "the mirror of {} is at checkpoint {}, our own checkpoint vouches for {}",
            held.registry,
            found.checkpoint.seq(),
            held.seq
        ));
    }
    Ok(PartsFound {
        packages: found.packages,
        records: found.records,
        releases: found.releases,
        bytes: found.bytes,
        faults: found.faults,
        fault_count: found.fault_count,
    })
}

fn check_part(store: &Store, held: &Held, contents: bool) -> Result<PartsFound> {
    let view = store.mirrored(&held.registry)?;
    let reader = store.reader();
    let gone = |what: &str| fault!(RefMissing, "the mirror of {} has no {what}", held.registry);
    let named = store.reference(&layout::proofs(&held.registry))?.ok_or_else(|| gone("proofs"))?;
    let tree = commit::parse_proofs(reader.format(), &reader.read(ObjectKind::Commit, named, STRUCTURE_MAX)?)?;
    let said = page::blob(&reader, tree, proofs::HELD)?.ok_or_else(|| gone("file that says what is held"))?;
    if Held::parse(&reader.read(ObjectKind::Blob, said, HELD_MAX)?)? != *held {
        return Err(fault!(CorruptObject, "what the proofs say of {} is not what our own checkpoint vouches for", held.registry));
    }
    let mut keys = KeyCache::default();
    let head = view.reference(&layout::operators())?.ok_or_else(|| gone("operator log"))?;
    let operators = chains::operators(&reader, head, &mut keys)?.log;
    let mut log: Option<RegistryLog> = None;
    for seq in 0..=held.seq {
        let blob =
            page::blob(&reader, tree, &proofs::checkpoint(seq)?)?.ok_or_else(|| gone(&format!("proof of checkpoint {seq}")))?;
        let record = Record::parse(reader.format(), reader.read(ObjectKind::Blob, blob, RECORD_MAX)?)?.verify(&mut keys)?;
        log = Some(match log {
            None => RegistryLog::start(&operators, &record)?,
            Some(log) => log.append(&operators, &record)?,
        });
    }
    let newest = log.ok_or_else(|| gone("checkpoint"))?.newest().clone();
    CheckedCheckpoint::newest(&operators, newest.record())?;

    // The trees become objects again in a place of their own, where they may have holes.
    let scratch = Quarantine::of(store)?;
    let mut objects = Staging::new(scratch.store());
    if let Some(trees) = Tree::read(&reader, tree)?.get(proofs::TREES) {
        for first in Tree::read(&reader, trees.id)?.entries() {
            for rest in Tree::read(&reader, first.id)?.entries() {
                objects.write(ObjectKind::Tree, &reader.read(ObjectKind::Blob, rest.id, STRUCTURE_MAX)?)?;
            }
        }
    }
    objects.finish()?;
    scratch.store().refresh()?;
    let refs = view.references("refs/")?;
    scratch.set_refs(&refs)?;
    let reader = scratch.store().reader();
    let found = part_of(&reader, Map::at(newest.map()), &held.patterns).map_err(|error| match error.code() {
        ErrorCode::NotFound => fault!(RefMissing, "the proofs of {} are not whole: {}", held.registry, error.message()),
        _ => error,
    })?;
    // Other names of what is held are held along with it.
    let mut found = found;
    for (name, head) in &refs {
        if let Some(package) = layout::parse_package(name).filter(|package| !held.covers(package)) {
            let decisions = view.reference(&layout::decisions(&package))?;
            found.insert(package, PartHeads { log: Some(*head), decisions });
        }
    }
    let mut parts = Vec::new();
    let mut faults = Vec::new();
    for (package, PartHeads { log, decisions }) in found {
        let Some(head) = log else { continue };
        let is_here = |id: Option<GitId>| id.is_none_or(|id| reader.contains(id));
        if !is_here(Some(head)) || !is_here(decisions) {
            faults.push(fault!(RefMissing, "the map names {head}, which is not here").at(&package));
            continue;
        }
        parts.push(Part { package, head, decisions, known: None });
    }
    let mut found = audit_parts(scratch.store(), &operators, Map::at(newest.map()), contents, &parts)?;
    found.fault_count += faults.len() as u64;
    found.faults.extend(faults);
    found.records += operators.chain().seq() + 1 + held.seq + 1;
    Ok(found)
}
