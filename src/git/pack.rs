//! Writes packs: any number of objects in one file, with its index, as git reads them.
//!
//! Objects are compressed and not deltified: a pack is written in one pass and at the speed of the compression. `git gc`
//! finds the deltas later. Nothing is visible under its final name before it is on disk.

use super::bundle::Bundle;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{Error, Result, fault};
use sha2::Digest as _;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The compression level that git uses for packs.
pub const LEVEL_DEFAULT: i32 = 6;
/// The quickest compression level.
pub const LEVEL_FAST: i32 = 1;

/// Offsets from here on stand in the index's second table.
const LARGE_OFFSET: u64 = 1 << 31;

/// A pack that is being written.
pub struct PackWriter {
    folder: PathBuf,
    format: ObjectFormat,
    file: BufWriter<NamedTempFile>,
    /// Of all that was written so far; it holds as long as the number of objects in the header does.
    hash: Hash,
    deflate: Deflate,
    expected: u32,
    offset: u64,
    entries: Vec<Entry>,
    ids: HashSet<GitId>,
}

/// Where an object stands in a pack, or in a bundle.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: GitId,
    pub(crate) crc: u32,
    pub(crate) offset: u64,
}

impl PackWriter {
    /// Begins a pack in a folder, that of a repository's `objects/pack`. A right guess of the number of objects saves one reading
    /// of the whole pack at its end, and 0 says that there is none. `level` is zlib's, 1 to 9.
    ///
    /// # Errors
    /// `io` where the file cannot be made.
    pub fn create(folder: &Path, format: ObjectFormat, expected: usize, level: i32) -> Result<Self> {
        let at = |why| io_error(folder, &why);
        // git sweeps away files of this name that a killed process left.
        let file = new_file(folder, "tmp_pack_").map_err(at)?;
        let mut pack = PackWriter {
            folder: folder.to_owned(),
            format,
            file: BufWriter::with_capacity(256 * 1024, file),
            hash: Hash::new(format),
            deflate: Deflate::new(level),
            expected: u32::try_from(expected).unwrap_or(u32::MAX),
            offset: 0,
            entries: Vec::new(),
            ids: HashSet::new(),
        };
        pack.write(&header(pack.expected)).map_err(at)?;
        Ok(pack)
    }

    /// Adds an object, unless it is there already, and returns its id.
    ///
    /// # Errors
    /// `io` where it cannot be written.
    pub fn add(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<GitId> {
        let id = GitId::of(self.format, kind, bytes);
        self.add_as(id, kind, bytes)?;
        Ok(id)
    }

    /// Adds an object whose id was computed from these bytes before.
    pub(crate) fn add_as(&mut self, id: GitId, kind: ObjectKind, bytes: &[u8]) -> Result<()> {
        if !self.ids.insert(id) {
            return Ok(());
        }
        self.room_for_one()?;
        let folder = self.folder.clone();
        self.append(id, kind, bytes).map_err(|why| io_error(&folder, &why))
    }

    fn append(&mut self, id: GitId, kind: ObjectKind, bytes: &[u8]) -> io::Result<()> {
        let offset = self.offset;
        let mut crc = crc32fast::Hasher::new();
        let (head, length) = entry_header(kind, bytes.len() as u64);
        crc.update(&head[..length]);
        self.write(&head[..length])?;
        let mut deflate = std::mem::take(&mut self.deflate);
        let done = deflate.run(&[bytes], |compressed| {
            crc.update(compressed);
            self.write(compressed)
        });
        self.deflate = deflate;
        done?;
        self.entries.push(Entry { id, crc: crc.finalize(), offset });
        Ok(())
    }

    /// Says how many objects were added.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether no object was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what another thread compressed, but for what is there already.
    pub(crate) fn add_bundle(&mut self, bundle: &Bundle<'_>) -> Result<()> {
        let folder = self.folder.clone();
        for (entry, bytes) in bundle.entries() {
            if self.ids.insert(entry.id) {
                self.room_for_one()?;
                let offset = self.offset;
                self.write(bytes).map_err(|why| io_error(&folder, &why))?;
                self.entries.push(Entry { offset, ..*entry });
            }
        }
        Ok(())
    }

    fn room_for_one(&self) -> Result<()> {
        if self.entries.len() == u32::MAX as usize {
            return Err(fault!(Limit, "a pack holds at most {} objects", u32::MAX));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.expected > 0 {
            self.hash.update(bytes);
        }
        self.offset += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Ends the pack: writes pack and index to disk, then gives them their names. Returns the path of the index; `None` where
    /// nothing was added, and then nothing is left.
    ///
    /// # Errors
    /// `io` where something could not be written; the pack is not visible then.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        let folder = self.folder.clone();
        self.complete().map_err(|why| io_error(&folder, &why))
    }

    fn complete(mut self) -> io::Result<Option<PathBuf>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let count = self.entries.len() as u32;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        if count != self.expected {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header(count))?;
            self.hash = Hash::new(self.format);
            file.seek(SeekFrom::Start(0))?;
            let mut reader = BufReader::with_capacity(256 * 1024, file.as_file());
            let mut buffer = vec![0; 256 * 1024];
            while let length @ 1.. = reader.read(&mut buffer)? {
                self.hash.update(&buffer[..length]);
            }
            file.seek(SeekFrom::End(0))?;
        }
        let trailer = self.hash.finish();
        file.write_all(&trailer)?;

        self.entries.sort_unstable_by_key(|entry| entry.id);
        let mut index = new_file(&self.folder, "tmp_idx_")?;
        let mut out = BufWriter::with_capacity(256 * 1024, index.as_file_mut());
        write_index(&mut out, self.format, &self.entries, &trailer)?;
        out.flush()?;
        drop(out);

        file.as_file().sync_all()?;
        index.as_file().sync_all()?;
        let stem = format!("pack-{}", crate::model::digest::hex(&trailer));
        // The index makes a pack visible, so it is named last. A pack of the same name has the same bytes.
        file.persist(self.folder.join(format!("{stem}.pack"))).map_err(|failed| failed.error)?;
        let path = self.folder.join(format!("{stem}.idx"));
        index.persist(&path).map_err(|failed| failed.error)?;
        sync_folder(&self.folder)?;
        Ok(Some(path))
    }
}

fn header(count: u32) -> [u8; 12] {
    let mut header = *b"PACK\0\0\0\x02\0\0\0\0";
    header[8..].copy_from_slice(&count.to_be_bytes());
    header
}

/// Writes kind and size of an entry: four bits of the size in the first byte, seven in each that follows.
pub(crate) fn entry_header(kind: ObjectKind, size: u64) -> ([u8; 10], usize) {
    let kind = match kind {
        ObjectKind::Commit => 1u8,
        ObjectKind::Tree => 2,
        ObjectKind::Blob => 3,
        ObjectKind::Tag => 4,
    };
    let mut header = [0; 10];
    let mut length = 0;
    let mut byte = kind << 4 | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        header[length] = byte | 0x80;
        length += 1;
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    header[length] = byte;
    (header, length + 1)
}

/// Writes a version 2 index of entries in the order of their ids.
fn write_index(out: &mut impl Write, format: ObjectFormat, entries: &[Entry], pack: &[u8]) -> io::Result<()> {
    let mut hash = Hash::new(format);
    let mut write = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes)
    };
    write(b"\xfftOc\0\0\0\x02")?;
    let mut upto = 0;
    for first in 0..=255u8 {
        upto += entries[upto..].partition_point(|entry| entry.id.as_bytes()[0] <= first);
        write(&(upto as u32).to_be_bytes())?;
    }
    for entry in entries {
        write(entry.id.as_bytes())?;
    }
    for entry in entries {
        write(&entry.crc.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for entry in entries {
        let offset = if entry.offset < LARGE_OFFSET {
            entry.offset as u32
        } else {
            large.push(entry.offset);
            LARGE_OFFSET as u32 | (large.len() - 1) as u32
        };
        write(&offset.to_be_bytes())?;
    }
    for offset in large {
        write(&offset.to_be_bytes())?;
    }
    write(pack)?;
    let trailer = hash.finish();
    out.write_all(&trailer)
}

/// A zlib compressor that is used again and again, since making one costs more than compressing a record.
pub(crate) struct Deflate {
    state: zlib_rs::Deflate,
    buffer: Vec<u8>,
}

impl Default for Deflate {
    fn default() -> Self {
        Deflate::new(LEVEL_DEFAULT)
    }
}

impl Deflate {
    pub(crate) fn new(level: i32) -> Self {
        Deflate { state: zlib_rs::Deflate::new(level.clamp(1, 9), true, 15), buffer: vec![0; 32 * 1024] }
    }

    /// Compresses the parts to one zlib stream, and gives it out in pieces.
    pub(crate) fn run(&mut self, parts: &[&[u8]], mut out: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.state.reset();
        for (number, part) in parts.iter().enumerate() {
            let last = number + 1 == parts.len();
            let flush = if last { zlib_rs::DeflateFlush::Finish } else { zlib_rs::DeflateFlush::NoFlush };
            let mut rest = *part;
            loop {
                let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
                let status = self
                    .state
                    .compress(rest, &mut self.buffer, flush)
                    .map_err(|why| io::Error::other(format!("compression failed: {}", why.as_str())))?;
                rest = &rest[(self.state.total_in() - before_in) as usize..];
                out(&self.buffer[..(self.state.total_out() - before_out) as usize])?;
                if status == zlib_rs::Status::StreamEnd || (!last && rest.is_empty()) {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The hash of a repository's files. A detected collision does not matter here: a pack's name promises nothing.
enum Hash {
    Sha1(Box<sha1dc::Hasher>),
    Sha256(sha2::Sha256),
}

impl Hash {
    fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Hash::Sha1(Box::new(sha1dc::Hasher::new())),
            ObjectFormat::Sha256 => Hash::Sha256(sha2::Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha1(hasher) => hasher.update(bytes),
            Hash::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Hash::Sha1(hasher) => match hasher.finalize() {
                Ok(digest) => <[u8; 20]>::from(digest).to_vec(),
                Err(collision) => <[u8; 20]>::from(collision.digest()).to_vec(),
            },
            Hash::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Makes a file that gets its name later, with the permissions that git gives to objects.
pub(crate) fn new_file(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444));
    builder.tempfile_in(folder)
}

/// Brings the names in a folder to disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows has no such thing and does not need it.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Names the file of an I/O error, and says what to do where the disk is full.
pub(crate) fn io_error(path: &Path, why: &io::Error) -> Error {
    let error = fault!(Io, "{}: {why}", path.display());
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            error.hint("the disk is full: make room and try again; what was there before is unchanged")
        }
        io::ErrorKind::PermissionDenied => error.hint("you may not write there: become the user that the repository belongs to"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FORMATS, assert_sound, empty, git, history};
    use super::*;
    use crate::model::object::ReadObjects as _;

    #[test]
    fn git_and_gix_read_a_pack() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (objects, commits) = history(format, 40);
            let mut pack = store.pack(120, LEVEL_FAST)?;
            for (id, kind, bytes) in objects.iter() {
                assert_eq!(pack.add(kind, bytes)?, id);
                // Once more: an object is in a pack once.
                pack.add(kind, bytes)?;
            }
            let index = pack.finish()?.unwrap();
            let listing = git(store.path(), &["verify-pack", "-v", index.to_str().unwrap()]);
            assert_eq!(listing.matches(" commit ").count(), 40);
            assert!(listing.contains("non delta: 120 objects"), "{listing}");
            store.update(&[super::super::refs::RefEdit {
                name: super::super::layout::front_page(),
                expected: super::super::refs::Expected::Absent,
                new: commits.last().copied(),
            }])?;
            assert_sound(store.path());
            let reader = store.reader();
            for (id, kind, bytes) in objects.iter() {
                assert_eq!(reader.read(kind, id, 1 << 20)?, bytes);
            }
        }
        Ok(())
    }

    #[test]
    fn the_same_objects_give_the_same_pack_whatever_was_expected() -> Result<()> {
        for format in FORMATS {
            let mut packs = Vec::new();
            for expected in [0, 2, 1000] {
                let (_folder, store) = empty(format);
                let mut pack = store.pack(expected, LEVEL_DEFAULT)?;
                pack.add(ObjectKind::Blob, &vec![b'a'; 100_000])?;
                pack.add(ObjectKind::Blob, b"")?;
                let index = pack.finish()?.unwrap();
                git(store.path(), &["verify-pack", index.to_str().unwrap()]);
                packs.push((index.file_name().unwrap().to_owned(), std::fs::read(&index).unwrap()));
            }
            assert!(packs.windows(2).all(|pair| pair[0] == pair[1]));
        }
        Ok(())
    }

    #[test]
    fn sizes_at_the_edges_of_their_encoding_are_read_by_git() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let sizes = [0usize, 1, 15, 16, 2047, 2048, 32 * 1024, 262_143, 262_144, 262_145];
        let mut pack = store.pack(sizes.len(), LEVEL_FAST)?;
        let mut ids = Vec::new();
        for size in sizes {
            // Bytes that do not compress, so that the compressor's buffer fills too.
            let bytes: Vec<u8> = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            ids.push(pack.add(ObjectKind::Blob, &bytes)?);
        }
        pack.finish()?;
        for (id, size) in ids.iter().zip(sizes) {
            assert_eq!(git(store.path(), &["cat-file", "-s", &id.to_string()]).trim(), size.to_string());
        }
        assert_sound(store.path());
        Ok(())
    }

    #[test]
    fn a_pack_that_is_not_finished_or_empty_leaves_nothing() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha256);
        let mut pack = store.pack(1, LEVEL_FAST)?;
        pack.add(ObjectKind::Blob, b"x")?;
        drop(pack);
        assert_eq!(store.pack(0, LEVEL_FAST)?.finish()?, None);
        assert_eq!(std::fs::read_dir(store.objects_path().join("pack")).unwrap().count(), 0);
        Ok(())
    }

    #[test]
    fn offsets_beyond_two_gigabytes_stand_in_the_second_table() -> Result<()> {
        let offsets = [12, LARGE_OFFSET - 1, LARGE_OFFSET, LARGE_OFFSET + 5, 1 << 40];
        let mut entries: Vec<Entry> = offsets
            .iter()
            .enumerate()
            .map(|(n, offset)| Entry {
                id: GitId::of(ObjectFormat::Sha1, ObjectKind::Blob, &[n as u8]),
                crc: n as u32,
                offset: *offset,
            })
            .collect();
        entries.sort_by_key(|entry| entry.id);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack-x.idx");
        write_index(&mut File::create(&path).unwrap(), ObjectFormat::Sha1, &entries, &[7; 20]).unwrap();
        let listing = super::super::program::Program::git().arg("show-index").input(std::fs::read(&path).unwrap()).run()?;
        let wanted: String = entries.iter().map(|entry| format!("{} {} ({:08x})\n", entry.offset, entry.id, entry.crc)).collect();
        assert_eq!(String::from_utf8_lossy(&listing.stdout), wanted);
        Ok(())
    }
}
