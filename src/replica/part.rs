//! A part of a registry: the packages that patterns mean, and the trees of its map and the checkpoints that prove them.

use super::chains::{self};
use super::page;
use super::snapshot::Snapshot;
use crate::git::store::Reader;
use crate::model::commit;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{Result, fault};
use crate::model::map::Map;
use crate::model::name::{Label, PackageName, Pattern};
use crate::model::object::{ReadObjects, STRUCTURE_MAX};
use crate::model::proofs;
use crate::model::record::{RECORD_MAX, Record};
use crate::model::slot::Slot;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The most that the trees of a namespace take, in bytes.
const NAMESPACE_MAX: u64 = 256 * 1024 * 1024;

/// Reads a checkpoint from proofs.
pub(super) fn proven(reader: &Reader, proofs: GitId, seq: u64) -> Result<Record> {
    let tree = commit::parse_proofs(reader.format(), &reader.read(ObjectKind::Commit, proofs, STRUCTURE_MAX)?)?;
    let blob = page::blob(reader, tree, &proofs::checkpoint(seq)?)?;
    let blob = blob.ok_or_else(|| fault!(RefMissing, "there is no proof of checkpoint {seq}"))?;
    Record::parse(reader.format(), reader.read(ObjectKind::Blob, blob, RECORD_MAX)?)
}

/// Reads objects and takes note of the trees that it reads.
pub(super) struct Noting<'r> {
    pub(super) reader: &'r Reader,
    pub(super) trees: RefCell<BTreeMap<GitId, Vec<u8>>>,
}

impl ReadObjects for Noting<'_> {
    fn format(&self) -> ObjectFormat {
        self.reader.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.reader.read(kind, id, limit)?;
        if kind == ObjectKind::Tree {
            self.trees.borrow_mut().insert(id, bytes.clone());
        }
        Ok(bytes)
    }
}

/// Brings the trees of a registry's map here that prove what patterns mean.
pub(super) fn bring_part(registry: &Snapshot<'_>, patterns: &[Pattern]) -> Result<()> {
    let (source, map) = (registry.source(), registry.map());
    let ways = patterns.iter().flat_map(|pattern| match pattern {
        Pattern::Namespace(namespace) => vec![inside(namespace)],
        Pattern::Package(package) => vec![Slot::Package(package.clone()), Slot::Decisions(package.clone())],
        Pattern::All => Vec::new(),
    });
    source.need_slots(map, registry.checkpoint().checkpoint().packages, &ways.collect::<Vec<Slot>>())?;
    let mut folders = Vec::new();
    for pattern in patterns {
        if let Pattern::Namespace(namespace) = pattern {
            folders.extend(map.packages_of(&registry.reader(), namespace)?.map(|folder| folder.tree()));
        }
    }
    if !folders.is_empty() && source.quarantine().is_some() {
        let most = NAMESPACE_MAX.saturating_mul(folders.len() as u64);
        if !source.need_parts(&folders, true, most)? && registry.held().is_none() {
            let name = registry.operators().log.registry();
            return Err(fault!(Limit, "the names of that part of {name} take more than {most} bytes"));
        }
    }
    Ok(())
}

/// Whatever stands in a namespace, the way there leads to its folder.
pub(super) fn inside(namespace: &Label) -> Slot {
    Slot::Package(PackageName::new(namespace.clone(), namespace.clone()))
}

/// Returns the packages of a map that patterns mean, each with the heads of its log and of its decisions. The way to what is absent is read,
/// too: it proves that.
pub(super) fn part_of(objects: &impl ReadObjects, map: Map, patterns: &[Pattern]) -> Result<BTreeMap<PackageName, PartHeads>> {
    let mut found: BTreeMap<PackageName, PartHeads> = BTreeMap::new();
    for pattern in patterns {
        match pattern {
            Pattern::Namespace(namespace) => {
                map.get(objects, &inside(namespace))?;
                if let Some(folder) = map.packages_of(objects, namespace)? {
                    folder.for_each(objects, &mut |slot, head| {
                        match slot {
                            Slot::Package(package) => found.entry(package).or_default().log = Some(head),
                            Slot::Decisions(package) => found.entry(package).or_default().decisions = Some(head),
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
            }
            Pattern::Package(package) => {
                let log = map.get(objects, &Slot::Package(package.clone()))?;
                let decisions = map.get(objects, &Slot::Decisions(package.clone()))?;
                found.insert(package.clone(), PartHeads { log, decisions });
            }
            Pattern::All => {}
        }
    }
    Ok(found)
}

/// The heads that a map names of one package.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartHeads {
    pub(super) log: Option<GitId>,
    pub(super) decisions: Option<GitId>,
}

/// Returns the checkpoints of a registry from a number on, without their maps.
pub(super) fn checkpoints(upstream: &Snapshot<'_>, first: u64) -> Result<Vec<Record>> {
    let (source, newest) = (upstream.source(), upstream.checkpoint());
    let mut records = vec![(**newest.record()).clone()];
    if newest.seq() <= first {
        records.retain(|record| record.seq() >= first);
        return Ok(records);
    }
    if source.proof_of(first)?.is_none() {
        source.need_records(newest.record().git_id(), u32::try_from(newest.seq() - first + 1).ok())?;
    }
    let reader = upstream.reader();
    while let Some(last) = records.last()
        && last.seq() > first
    {
        let before = match source.proof_of(last.seq() - 1)? {
            Some(record) => record,
            None => {
                let parent = last.draft().parent.ok_or_else(|| fault!(BrokenChain, "checkpoint {} has no parent", last.seq()))?;
                chains::record(&reader, parent)?
            }
        };
        crate::log::registry::check_hop(last, &before)?;
        records.push(before);
    }
    Ok(records)
}
