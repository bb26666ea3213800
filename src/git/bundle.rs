//! Objects that one thread makes and compresses, to be put into a pack that many threads fill.

use super::pack::{Deflate, Entry, LEVEL_FAST, PackWriter, entry_header};
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{Error, Result, fault};
use crate::model::object::{ReadObjects, WriteObjects};
use std::sync::{Mutex, PoisonError};

/// So many compressed bytes are held before they go into the pack, wanted or not in the end.
const HELD_MAX: usize = 8 * 1024 * 1024;

/// Objects as they stand in a pack. What is written here cannot be read back.
pub struct Bundle<'a> {
    format: ObjectFormat,
    /// Where they go; without it they are named, and not kept.
    pack: Option<&'a Mutex<PackWriter>>,
    deflate: Deflate,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    failed: Option<Error>,
}

impl<'a> Bundle<'a> {
    /// Begins without objects. Without a pack to go to, what is written is given its id and forgotten.
    pub fn new(format: ObjectFormat, pack: Option<&'a Mutex<PackWriter>>) -> Self {
        Bundle { format, pack, deflate: Deflate::new(LEVEL_FAST), bytes: Vec::new(), entries: Vec::new(), failed: None }
    }

    /// Goes on without keeping anything; what is held already stays. Returns where things went before, for [`Bundle::keep`].
    pub fn keep(&mut self, pack: Option<&'a Mutex<PackWriter>>) -> Option<&'a Mutex<PackWriter>> {
        std::mem::replace(&mut self.pack, pack)
    }

    /// Adds an object whose id was computed from these bytes before.
    ///
    /// # Errors
    /// `io` where there was so much that it had to go into the pack, and could not.
    pub(crate) fn add_as(&mut self, id: GitId, kind: ObjectKind, bytes: &[u8]) -> Result<()> {
        if self.pack.is_none() {
            return Ok(());
        }
        let start = self.bytes.len();
        let (head, length) = entry_header(kind, bytes.len() as u64);
        self.bytes.extend_from_slice(&head[..length]);
        let held = &mut self.bytes;
        let done = self.deflate.run(&[bytes], |compressed| {
            held.extend_from_slice(compressed);
            Ok(())
        });
        done.map_err(|why| fault!(Bug, "{why}"))?;
        let crc = crc32fast::hash(&self.bytes[start..]);
        self.entries.push(Entry { id, crc, offset: start as u64 });
        if self.bytes.len() > HELD_MAX { self.flush() } else { Ok(()) }
    }

    /// Puts all that is held into the pack.
    ///
    /// # Errors
    /// `io` where that fails, or has failed before.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if let Some(pack) = self.pack.filter(|_| !self.entries.is_empty()) {
            let done = pack.lock().unwrap_or_else(PoisonError::into_inner).add_bundle(self);
            self.failed = done.err();
        }
        self.discard();
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Forgets what is held.
    pub fn discard(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Says why something could not go into the pack, where that happened.
    pub fn failure(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    /// Returns each object as it stands in a pack.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let ends = self.entries.iter().skip(1).map(|entry| entry.offset as usize).chain([self.bytes.len()]);
        self.entries.iter().zip(ends).map(|(entry, end)| (entry, &self.bytes[entry.offset as usize..end]))
    }
}

impl ReadObjects for Bundle<'_> {
    fn format(&self) -> ObjectFormat {
        self.format
    }

    fn read(&self, _kind: ObjectKind, id: GitId, _limit: u64) -> Result<Vec<u8>> {
        Err(fault!(NotFound, "{id} is on its way into a pack"))
    }
}

impl WriteObjects for Bundle<'_> {
    fn write(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<GitId> {
        let id = GitId::of(self.format, kind, bytes);
        self.add_as(id, kind, bytes)?;
        Ok(id)
    }
}
