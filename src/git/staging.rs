//! Objects on their way into a store: held in memory while they are few, written to a pack as soon as they are many, and on disk all at
//! once when it is finished. Until then the store has none of them.

use super::pack::{LEVEL_DEFAULT, PackWriter};
use super::refs::sync_folders;
use super::store::{Reader, Store};
use super::upkeep;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::object::{MemoryObjects, ReadObjects, WriteObjects};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// So many objects are still written one by one.
const LOOSE_OBJECTS: usize = 64;
/// So many bytes are still held in memory.
const LOOSE_BYTES: usize = 8 * 1024 * 1024;

/// Objects for one store, and all that the store has already.
pub struct Staging<'a> {
    store: &'a Store,
    reader: Reader,
    /// Looks for no packs that came since: what is new to it is written once more than needed at worst, and most of what is asked is new.
    known: Reader,
    /// How often objects had been dropped when the store was opened.
    drops: u64,
    /// Trees and commits, and files while they are few.
    memory: MemoryObjects,
    count: usize,
    bytes: usize,
    pack: Option<PackWriter>,
    /// Whether what goes into the pack can be read back.
    keeps: bool,
}

impl<'a> Staging<'a> {
    /// Begins without objects.
    pub fn new(store: &'a Store) -> Self {
        let drops = store.opened_at();
        let (reader, known) = (store.reader(), store.reader_of_now());
        let memory = MemoryObjects::new(store.format());
        Staging { store, reader, known, drops, memory, count: 0, bytes: 0, pack: None, keeps: true }
    }

    /// Goes on with a pack of a great many objects: none is held in memory, none can be read back, and what the store has already is
    /// written once more.
    pub fn bulk(store: &'a Store, pack: PackWriter) -> Self {
        Staging { pack: Some(pack), keeps: false, ..Staging::new(store) }
    }

    /// Brings all objects to disk, and only then makes them visible.
    ///
    /// # Errors
    /// `conflict` where objects were dropped from the store since it was opened, `io`.
    pub fn finish(self) -> Result<()> {
        self.finish_with(BTreeSet::new())
    }

    /// Does the same, and brings other files and folders to disk in one go with them.
    ///
    /// # Errors
    /// `io`.
    pub fn finish_with(self, others: BTreeSet<PathBuf>) -> Result<()> {
        if upkeep::drops(self.store.path()) != self.drops {
            return Err(
                fault!(Conflict, "{} was cleared of old objects meanwhile", self.store.path().display()).hint("try again")
            );
        }
        match self.pack {
            None => self.store.write_durable_with(&self.known, self.memory.iter(), others).map(drop),
            Some(pack) => {
                pack.finish()?;
                sync_folders(&others)
            }
        }
    }

    /// Says whether there were so many objects that some can be read only when all are finished.
    pub fn is_spilled(&self) -> bool {
        self.pack.is_some()
    }

    fn spill(&mut self) -> Result<()> {
        let mut pack = self.store.pack(self.count, LEVEL_DEFAULT)?;
        let mut kept = MemoryObjects::new(self.store.format());
        for (_, kind, bytes) in self.memory.iter() {
            pack.add(kind, bytes)?;
            if kind != ObjectKind::Blob {
                kept.write(kind, bytes)?;
            }
        }
        self.memory = kept;
        self.pack = Some(pack);
        Ok(())
    }
}

impl ReadObjects for Staging<'_> {
    fn format(&self) -> ObjectFormat {
        self.store.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        match self.memory.read(kind, id, limit) {
            Err(error) if error.code() == ErrorCode::NotFound => self.reader.read(kind, id, limit),
            read => read,
        }
    }
}

impl WriteObjects for Staging<'_> {
    fn write(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<GitId> {
        let id = GitId::of(self.format(), kind, bytes);
        if let Some(pack) = self.pack.as_mut().filter(|_| !self.keeps) {
            pack.add_as(id, kind, bytes)?;
            return Ok(id);
        }
        if self.memory.contains(id) || self.known.contains(id) {
            return Ok(id);
        }
        self.count += 1;
        self.bytes += bytes.len();
        if let Some(pack) = &mut self.pack {
            pack.add(kind, bytes)?;
            if kind == ObjectKind::Blob {
                return Ok(id);
            }
        }
        self.memory.write(kind, bytes)?;
        if self.pack.is_none() && (self.count > LOOSE_OBJECTS || self.bytes > LOOSE_BYTES) {
            self.spill()?;
        }
        Ok(id)
    }
}
