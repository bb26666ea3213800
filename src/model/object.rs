//! Git objects as law and algorithms see them: something that can be read by id, and written.

use super::digest::{GitId, ObjectFormat, ObjectKind};
use super::error::{Result, fault};
use std::cell::RefCell;
use std::collections::HashMap;

/// The largest commit or tree that is read. The fullest folder of a map has 256 entries and a release at most 10,000 files; what is
/// larger is no object of ours.
pub const STRUCTURE_MAX: u64 = 16 * 1024 * 1024;

/// Reads git objects by their ids.
pub trait ReadObjects {
    /// Returns the format of the ids.
    fn format(&self) -> ObjectFormat;

    /// Reads an object and checks that its bytes have this id.
    ///
    /// # Errors
    /// `not-found` where there is no such object, `corrupt-object` where its kind or its bytes are not what was asked
    /// for, `limit` where it has more than `limit` bytes; then it was not held in memory.
    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>>;
}

/// Writes git objects, and reads what it wrote.
pub trait WriteObjects: ReadObjects {
    /// Writes an object and returns its id. Writing one that is there already is no error.
    ///
    /// # Errors
    /// `io` where it could not be written.
    fn write(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<GitId>;
}

/// Reads objects through another reader, and keeps trees: whoever looks up many names reads the upper trees again and again.
#[derive(Debug)]
pub struct Keeping<R> {
    objects: R,
    room: usize,
    kept: RefCell<(HashMap<GitId, Vec<u8>>, usize)>,
}

impl<R: ReadObjects> Keeping<R> {
    /// Keeps so many bytes at most; once they are used up all are dropped.
    pub fn new(objects: R, room: usize) -> Self {
        Keeping { objects, room, kept: RefCell::default() }
    }
}

impl<R: ReadObjects> ReadObjects for Keeping<R> {
    fn format(&self) -> ObjectFormat {
        self.objects.format()
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        if kind != ObjectKind::Tree {
            return self.objects.read(kind, id, limit);
        }
        if let Some(bytes) = self.kept.borrow().0.get(&id)
            && bytes.len() as u64 <= limit
        {
            return Ok(bytes.clone());
        }
        let bytes = self.objects.read(kind, id, limit)?;
        let (kept, held) = &mut *self.kept.borrow_mut();
        if *held + bytes.len() > self.room {
            kept.clear();
            *held = 0;
        }
        if bytes.len() <= self.room && kept.insert(id, bytes.clone()).is_none() {
            *held += bytes.len();
        }
        Ok(bytes)
    }
}

/// Objects in memory: what is being built, before any of it is stored.
#[derive(Clone, Debug)]
pub struct MemoryObjects {
    format: ObjectFormat,
    objects: HashMap<GitId, (ObjectKind, Vec<u8>)>,
}

impl MemoryObjects {
    /// Makes an empty set of objects.
    pub fn new(format: ObjectFormat) -> Self {
        MemoryObjects { format, objects: HashMap::new() }
    }

    /// Returns each object with its kind and bytes, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (GitId, ObjectKind, &[u8])> {
        self.objects.iter().map(|(id, (kind, bytes))| (*id, *kind, bytes.as_slice()))
    }

    /// Says whether this object is here.
    pub fn contains(&self, id: GitId) -> bool {
        self.objects.contains_key(&id)
    }
}

impl ReadObjects for MemoryObjects {
    fn format(&self) -> ObjectFormat {
        self.format
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        let Some((found, bytes)) = self.objects.get(&id) else {
            return Err(fault!(NotFound, "there is no object {id}"));
        };
        if *found != kind {
            return Err(fault!(CorruptObject, "object {id} is a {}, expected a {}", found.as_str(), kind.as_str()));
        }
        if bytes.len() as u64 > limit {
            return Err(fault!(Limit, "object {id} has {} bytes, at most {limit} are read", bytes.len()));
        }
        Ok(bytes.clone())
    }
}

impl WriteObjects for MemoryObjects {
    fn write(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<GitId> {
        let id = GitId::of(self.format, kind, bytes);
        self.objects.entry(id).or_insert_with(|| (kind, bytes.to_vec()));
        Ok(id)
    }
}
