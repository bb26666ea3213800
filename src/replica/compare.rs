//! Two states of a registry, side by side: which of them goes on from the other, and in which packages they differ.
//!
//! Only trees of the map that differ are read, and the logs of what differs.

use super::chains;
use super::snapshot::Snapshot;
use super::source::is_whole;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::Held;
use crate::model::map::{Change, Map};
use crate::model::object::ReadObjects;
use crate::model::record::Record;
use crate::model::slot::Slot;
use std::cell::RefCell;
use std::collections::HashMap;

/// So many logs that differ are fetched together.
const AT_ONCE: usize = 1000;

/// How one state of a registry, or of a log in it, stands to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// They are the same.
    Same,
    /// The other one goes on from it.
    Behind,
    /// It goes on from the other one.
    Ahead,
    /// Neither goes on from the other.
    Diverged,
    /// The other one does not have it.
    OnlyHere,
    /// Only the other one has it.
    OnlyThere,
    /// One of them is a mirror of a part that does not have it.
    Filtered,
    /// It is named here, and is not handed out.
    WithheldHere,
    /// The other one names it, and does not hand it out.
    WithheldThere,
}

impl Relation {
    /// Returns the word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Relation::Same => "same",
            Relation::Behind => "behind",
            Relation::Ahead => "ahead",
            Relation::Diverged => "diverged",
            Relation::OnlyHere => "only-here",
            Relation::OnlyThere => "only-there",
            Relation::Filtered => "filtered",
            Relation::WithheldHere => "withheld-here",
            Relation::WithheldThere => "withheld-there",
        }
    }
}

/// One place of the map that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The place.
    pub slot: Slot,
    /// How the first state's log stands to the second's.
    pub relation: Relation,
    /// The places of the two heads in their logs, where both have one.
    pub seqs: Option<(u64, u64)>,
    /// How many records the two logs share, where both have one.
    pub shared: Option<u64>,
}

/// Compares two states of one registry, and reports each place of the map that differs.
///
/// # Errors
/// `id-mismatch` where they are of two registries, `bad-repository` where their object formats differ, `bad-map`, `corrupt-object`; those of
/// `report` and of the transport.
pub fn compare(here: &Snapshot<'_>, there: &Snapshot<'_>, report: &mut dyn FnMut(Difference) -> Result<()>) -> Result<Relation> {
    let (ours, theirs) = (&here.operators().log, &there.operators().log);
    if ours.id() != theirs.id() {
        return Err(fault!(
            IdMismatch,
            "they are two registries: {} with the id {}, and {} with the id {}",
            ours.registry(),
            ours.id(),
            theirs.registry(),
            theirs.id()
        ));
    }
    if here.format() != there.format() {
        return Err(fault!(BadRepository, "one has the object format {}, the other {}", here.format(), there.format()));
    }
    let objects = Both { here, there, kept: RefCell::default() };
    let mut changes: Vec<Change> = Vec::new();
    let is_held = |slot: &Slot| [here, there].iter().all(|side| side.held().is_none_or(|held| covers(held, slot)));
    let mut flush = |changes: &mut Vec<Change>| -> Result<()> {
        let logs = |of: fn(&Change) -> Option<GitId>| -> Vec<GitId> {
            let both = changes.iter().filter(|change| is_log(&change.slot) && change.old.is_some() && change.new.is_some());
            both.filter(|change| is_held(&change.slot)).filter_map(of).collect()
        };
        for (side, heads) in [(here, logs(|change| change.old)), (there, logs(|change| change.new))] {
            match side.source().need_logs(&heads, &[]) {
                // Which of them is not handed out is found below.
                Err(error) if is_withheld(&error) => {}
                brought => brought?,
            }
        }
        changes.drain(..).try_for_each(|change| match is_held(&change.slot) {
            true => report(difference(here, there, change)?),
            false => report(Difference { slot: change.slot, relation: Relation::Filtered, seqs: None, shared: None }),
        })
    };
    Map::diff(&objects, here.map(), there.map(), &mut |change| {
        if change.slot != Slot::Skip {
            changes.push(change);
        }
        if changes.len() < AT_ONCE { Ok(()) } else { flush(&mut changes) }
    })?;
    flush(&mut changes)?;
    relation(here, there)
}

/// Says whether a mirror of a part has what stands in a place of the map.
fn covers(held: &Held, slot: &Slot) -> bool {
    match slot {
        Slot::Package(package) | Slot::Decisions(package) => held.covers(package),
        Slot::Attestation(of, package) => *of == held.registry && held.covers(package),
        Slot::MirrorLog(_) | Slot::MirrorHeld(_) | Slot::Skip => false,
    }
}

/// Says whether an error tells that something is named and not handed out.
fn is_withheld(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::RefMissing | ErrorCode::NotFound)
}

/// Says whether a place of the map names a log of this registry.
fn is_log(slot: &Slot) -> bool {
    matches!(slot, Slot::Package(_) | Slot::Decisions(_) | Slot::Attestation(..))
}

/// Says how one state stands to another by their checkpoints.
fn relation(here: &Snapshot<'_>, there: &Snapshot<'_>) -> Result<Relation> {
    let (ours, theirs) = (here.checkpoint(), there.checkpoint());
    if ours.digest() == theirs.digest() {
        return Ok(Relation::Same);
    }
    let (later, earlier, relation) = match ours.seq() < theirs.seq() {
        true => (there, here, Relation::Behind),
        false => (here, there, Relation::Ahead),
    };
    match later.check_stands_on(earlier) {
        Ok(()) => Ok(relation),
        Err(error) if matches!(error.code(), ErrorCode::Fork | ErrorCode::Rollback) => Ok(Relation::Diverged),
        Err(error) => Err(error),
    }
}

fn difference(here: &Snapshot<'_>, there: &Snapshot<'_>, change: Change) -> Result<Difference> {
    let Change { slot, old, new } = change;
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) if is_log(&slot) => match (records(here, old), records(there, new)) {
            (Err(error), _) if is_withheld(&error) => {
                return Ok(Difference { slot, relation: Relation::WithheldHere, seqs: None, shared: None });
            }
            (_, Err(error)) if is_withheld(&error) => {
                return Ok(Difference { slot, relation: Relation::WithheldThere, seqs: None, shared: None });
            }
            (old, new) => (old?, new?),
        },
        (old, new) => {
            let relation = match (old, new) {
                (Some(_), None) => Relation::OnlyHere,
                (None, Some(_)) => Relation::OnlyThere,
                _ => Relation::Diverged,
            };
            return Ok(Difference { slot, relation, seqs: None, shared: None });
        }
    };
    let shared = old.iter().zip(&new).take_while(|(a, b)| a.git_id() == b.git_id()).count();
    let relation = match (shared == old.len(), shared == new.len()) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Behind,
        (false, true) => Relation::Ahead,
        (false, false) => Relation::Diverged,
    };
    let last = |records: &[Record]| records.last().map_or(0, Record::seq);
    Ok(Difference { slot, relation, seqs: Some((last(&old), last(&new))), shared: Some(shared as u64) })
}

fn records(snapshot: &Snapshot<'_>, head: GitId) -> Result<Vec<Record>> {
    if !is_whole(&snapshot.reader(), head)? {
        snapshot.source().need(&[head])?;
    }
    chains::walk(&snapshot.reader(), head)
}

/// The objects of both; trees that neither has here are fetched from the one that has them.
struct Both<'s, 'a, 'b> {
    here: &'s Snapshot<'a>,
    there: &'s Snapshot<'b>,
    kept: RefCell<HashMap<GitId, Vec<u8>>>,
}

impl ReadObjects for Both<'_, '_, '_> {
    fn format(&self) -> ObjectFormat {
        self.here.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        if let Some(bytes) = self.kept.borrow().get(&id) {
            return Ok(bytes.clone());
        }
        let mut found = self.here.reader().read(kind, id, limit);
        let is_missing = |found: &Result<Vec<u8>>| matches!(found, Err(error) if error.code() == ErrorCode::NotFound);
        if is_missing(&found) {
            found = self.there.reader().read(kind, id, limit);
        }
        if is_missing(&found) && kind == ObjectKind::Tree && id != id.format().empty_tree() {
            for snapshot in [self.here, self.there] {
                if let Ok(true) = snapshot.source().need_parts(&[id], false, limit) {
                    found = snapshot.reader().read(kind, id, limit);
                    break;
                }
            }
            if let Ok(bytes) = &found {
                self.kept.borrow_mut().insert(id, bytes.clone());
            }
        }
        found
    }
}
