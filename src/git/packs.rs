//! Finds single objects in packs without mapping and checking the indexes of all of them: by a small read or two, at the place where an id stands
//! if ids are spread as hashes are. Whoever reads a few objects of a large repository pays for those, and not for the repository. It is a
//! shortcut: what is not found here, or is not sound, is for gix to say.

use super::packed::read_exact_at;
use super::store::gix_kind;
use crate::model::digest::{GitId, ObjectFormat};
use gix::odb::pack;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many indexes are looked into at most, the largest first.
const INDEXES_MAX: usize = 64;
/// So many ids are read at a time, at least and at most.
const WINDOW: std::ops::RangeInclusive<u64> = 32..=256;
/// So often is an id looked for where it stands if ids are spread evenly, which they are: most often once or twice is enough.
const TRIES_EVEN: usize = 8;
/// So often in all, then by halves.
const TRIES: usize = 48;
/// What an index of one pack, of version 2, begins with; 256 counts follow.
const INDEX_HEADER: &[u8; 8] = b"\xfftOc\0\0\0\x02";
/// What an index of several packs begins with; the kind of its ids follows, then the number of its parts, none, and the number of packs.
const SEVERAL_HEADER: &[u8; 5] = b"MIDX\x01";
/// The most that is read of the names of packs.
const NAMES_MAX: u64 = 1024 * 1024;
const FAN_OUT: usize = 256;

/// The packs of one folder of objects, as they were when they were opened.
pub(crate) struct Packs {
    format: ObjectFormat,
    indexes: Vec<Index>,
    packs: Vec<Pack>,
    /// Which index held what was found last.
    recent: AtomicUsize,
    memory: usize,
}

struct Pack {
    path: PathBuf,
    /// `None` where it cannot be opened any more.
    data: OnceLock<Option<pack::data::File>>,
}

/// What says where objects stand.
struct Index {
    file: File,
    /// How many ids begin with this byte or a smaller one.
    fan_out: Box<[u32; FAN_OUT]>,
    /// Where the ids begin.
    ids: u64,
    /// Where the offsets begin, which are in the order of the ids.
    offsets: u64,
    /// Where those begin that are too large for that table; an index of several packs need have none.
    large: Option<u64>,
    of: Of,
    path: PathBuf,
    /// The same, mapped and checked, once so much is looked for that it is worth that; `None` where it cannot be.
    mapped: OnceLock<Option<Mapped>>,
}

enum Mapped {
    One(pack::index::File),
    Several(pack::multi_index::File),
}

/// How an id is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// By small reads, where few are looked for.
    Few,
    /// In mapped indexes.
    Many,
}

enum Of {
    One(usize),
    /// Each offset is preceded by the number of its pack among these.
    Several(Vec<usize>),
}

/// What one thread decodes with.
#[derive(Default)]
pub(crate) struct Decoder {
    inflate: RefCell<gix::zlib::Inflate>,
    bases: RefCell<Option<Box<dyn pack::cache::DecodeEntry + Send>>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// An object in a pack, whose kind and size are known.
pub(crate) struct Found<'a> {
    packs: &'a Packs,
    index: &'a Index,
    pack: usize,
    data: &'a pack::data::File,
    offset: u64,
    pub(crate) kind: gix::objs::Kind,
    pub(crate) size: u64,
}

impl Packs {
    /// Opens the packs in the folder `pack` of a folder of objects. What cannot be opened is left out. No object takes more than so many
    /// bytes of memory.
    pub(crate) fn open(objects: &Path, format: ObjectFormat, memory: usize) -> Self {
        let folder = objects.join("pack");
        let mut found = Packs { format, indexes: Vec::new(), packs: Vec::new(), recent: AtomicUsize::new(0), memory };
        let mut names = HashSet::new();
        if let Some((index, packs)) = Index::of_several(&folder.join("multi-pack-index"), format) {
            found.indexes.push(index);
            found.packs.extend(packs.iter().map(|name| Pack { path: folder.join(name), data: OnceLock::new() }));
            names.extend(packs);
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_new = entry.file_name().to_str().is_some_and(|name| name.ends_with(".idx") && !names.contains(name));
            if is_new && let Some(index) = Index::of_one(&entry.path(), found.packs.len(), format) {
                found.indexes.push(index);
                found.packs.push(Pack { path: entry.path(), data: OnceLock::new() });
            }
        }
        found.indexes.sort_by_key(|index| std::cmp::Reverse(index.count()));
        found.indexes.truncate(INDEXES_MAX);
        found
    }

    /// Finds an object, and what the pack says of its kind and size; `None` where it is not found.
    pub(crate) fn find(&self, id: GitId, look: Look, decoder: &Decoder) -> Option<Found<'_>> {
        let recent = self.recent.load(Ordering::Relaxed);
        let order = (0..self.indexes.len()).map(|at| if at == 0 { recent } else { at - usize::from(at <= recent) });
        for at in order {
            let index = self.indexes.get(at)?;
            let found = match look {
                Look::Few => index.find(id, self.format),
                Look::Many => index.find_mapped(id, self.format),
            };
            if let Some((pack, offset)) = found {
                self.recent.store(at, Ordering::Relaxed);
                return self.found(index, pack, offset, decoder);
            }
        }
        None
    }

    fn found<'a>(&'a self, index: &'a Index, pack: usize, offset: u64, decoder: &Decoder) -> Option<Found<'a>> {
        let Pack { path, data } = self.packs.get(pack)?;
        let open = || {
            let data = pack::data::File::at(path.with_extension("pack"), gix_kind(self.format)).ok()?;
            Some(data.with_alloc_limit_bytes(Some(self.memory)))
        };
        let data = data.get_or_init(open).as_ref()?;
        let entry = entry_at(data, offset)?;
        let resolve = |base: &gix::hash::oid| {
            let base = self.base(index, pack, base).and_then(|offset| entry_at(data, offset));
            Ok(base.map(pack::data::decode::header::ResolvedBase::InPack))
        };
        let header = data.decode_header(entry, &mut decoder.inflate.borrow_mut(), &resolve).ok()?;
        Some(Found { packs: self, index, pack, data, offset, kind: header.kind, size: header.object_size })
    }

    /// Finds what a delta stands on, in the same pack.
    fn base(&self, index: &Index, pack: usize, id: &gix::hash::oid) -> Option<u64> {
        let (found, offset) = index.find(GitId::from_bytes(id.as_bytes())?, self.format)?;
        (found == pack).then_some(offset)
    }
}

/// Reads the head of an entry. An offset beyond the pack's end would be a panic to gix.
fn entry_at(data: &pack::data::File, offset: u64) -> Option<pack::data::Entry> {
    if offset < 12 || offset >= data.pack_end() as u64 { None } else { data.entry(offset).ok() }
}

impl Found<'_> {
    /// Returns the object's bytes, not checked against the id; `None` where they cannot be read.
    pub(crate) fn read(&self, decoder: &Decoder) -> Option<Vec<u8>> {
        let entry = entry_at(self.data, self.offset)?;
        let resolve = |base: &gix::hash::oid, _: &mut Vec<u8>| {
            let base = self.packs.base(self.index, self.pack, base).and_then(|offset| entry_at(self.data, offset));
            Ok(base.map(pack::data::decode::entry::ResolvedBase::InPack))
        };
        let mut bases = decoder.bases.borrow_mut();
        let bases = bases.get_or_insert_with(super::store::delta_bases);
        let mut bytes = Vec::new();
        self.data.decode_entry(entry, &mut bytes, &mut decoder.inflate.borrow_mut(), &resolve, bases).ok()?;
        Some(bytes)
    }
}

impl Index {
    /// Opens the index of one pack; `None` where it is none of version 2, or shorter than it says.
    fn of_one(path: &Path, pack: usize, format: ObjectFormat) -> Option<Self> {
        let file = File::open(path).ok()?;
        let ids = (INDEX_HEADER.len() + 4 * FAN_OUT) as u64;
        let head = read(&file, 0, ids)?;
        let fan_out = fan_out(head.strip_prefix(INDEX_HEADER.as_slice())?)?;
        let count = u64::from(fan_out[FAN_OUT - 1]);
        // Between ids and offsets stand check sums.
        let offsets = ids + count * (format.id_len() as u64 + 4);
        let large = offsets + 4 * count;
        let is_whole = file.metadata().ok()?.len() >= large + 2 * format.id_len() as u64;
        let (path, mapped) = (path.to_owned(), OnceLock::new());
        is_whole.then_some(Index { file, fan_out, ids, offsets, large: Some(large), of: Of::One(pack), path, mapped })
    }

    /// Opens the index of several packs, and returns the names of their own indexes; `None` where there is none, or it is not sound.
    fn of_several(path: &Path, format: ObjectFormat) -> Option<(Self, Vec<String>)> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let head = read(&file, 0, 12)?;
        let kind = match format {
            ObjectFormat::Sha1 => 1,
            ObjectFormat::Sha256 => 2,
        };
        if !head.starts_with(SEVERAL_HEADER) || head[5] != kind || head[7] != 0 {
            return None;
        }
        // Each part has a name and begins at an offset, and the last one, without a name, is the end.
        let parts = read(&file, 12, 12 * (u64::from(head[6]) + 1))?;
        let part = |name: &[u8; 4]| {
            let at = parts.chunks_exact(12).position(|part| part.starts_with(name))?;
            let from = be_u64(parts.get(12 * at + 4..)?)?;
            let to = be_u64(parts.get(12 * at + 16..)?)?;
            (from <= to && to <= length).then_some((from, to))
        };
        let (from, to) = part(b"OIDF")?;
        let fan_out = fan_out(&read(&file, from, (to - from).min(4 * FAN_OUT as u64))?)?;
        let count = u64::from(fan_out[FAN_OUT - 1]);
        let (ids, ids_end) = part(b"OIDL")?;
        let (offsets, offsets_end) = part(b"OOFF")?;
        if ids_end - ids != count * format.id_len() as u64 || offsets_end - offsets != 8 * count {
            return None;
        }
        let (from, to) = part(b"PNAM")?;
        let names = read(&file, from, (to - from).min(NAMES_MAX))?;
        let packs = be_u32(&head[8..])? as usize;
        let names: Option<Vec<String>> = names.split(|byte| *byte == 0).take(packs).map(file_name).collect();
        let names = names.filter(|names| names.len() == packs)?;
        let large = part(b"LOFF").map(|(from, _)| from);
        let (path, mapped) = (path.to_owned(), OnceLock::new());
        Some((Index { file, fan_out, ids, offsets, large, of: Of::Several((0..packs).collect()), path, mapped }, names))
    }

    fn count(&self) -> u64 {
        self.fan_out[FAN_OUT - 1].into()
    }

    /// Finds in which pack an object stands, and where.
    fn find(&self, id: GitId, format: ObjectFormat) -> Option<(usize, u64)> {
        let at = self.search(id, format)?;
        let (pack, offset) = match &self.of {
            Of::One(pack) => (*pack, be_u32(&read(&self.file, self.offsets + 4 * at, 4)?)?),
            Of::Several(packs) => {
                let row = read(&self.file, self.offsets + 8 * at, 8)?;
                (*packs.get(be_u32(&row)? as usize)?, be_u32(&row[4..])?)
            }
        };
        let offset = match self.large {
            Some(large) if offset & 1 << 31 != 0 => {
                let row = u64::from(offset & !(1 << 31));
                be_u64(&read(&self.file, large + 8 * row, 8)?)?
            }
            _ => offset.into(),
        };
        Some((pack, offset))
    }

    /// Does the same in the mapped index, which is that file only where it is as long.
    fn find_mapped(&self, id: GitId, format: ObjectFormat) -> Option<(usize, u64)> {
        let kind = gix_kind(format);
        let open = || match self.of {
            Of::One(_) => pack::index::File::at(&self.path, kind).ok().map(Mapped::One),
            Of::Several(_) => pack::multi_index::File::at(&self.path, None).ok().map(Mapped::Several),
        };
        let wanted = id.as_bytes();
        let range = Range::of(wanted, &self.fan_out)?;
        match (self.mapped.get_or_init(open).as_ref()?, &self.of) {
            (Mapped::One(index), Of::One(pack)) if u64::from(index.num_objects()) == self.count() => {
                let at = range.search(wanted, |at| index.oid_at_index(at).as_bytes())?;
                Some((*pack, index.pack_offset_at_index(at)))
            }
            (Mapped::Several(index), Of::Several(packs))
                if u64::from(index.num_objects()) == self.count() && index.object_hash() == kind =>
            {
                let at = range.search(wanted, |at| index.oid_at_index(at).as_bytes())?;
                let (pack, offset) = index.pack_id_and_pack_offset_at_index(at).ok()?;
                Some((*packs.get(pack as usize)?, offset))
            }
            _ => None,
        }
    }

    /// Finds which one of the ids it is.
    fn search(&self, id: GitId, format: ObjectFormat) -> Option<u64> {
        let wanted = id.as_bytes();
        let mut range = Range::of(wanted, &self.fan_out)?;
        let length = format.id_len();
        // Hashes stray from their place by the root of their number.
        let most = ((range.high - range.low).isqrt() * 2).clamp(*WINDOW.start(), *WINDOW.end());
        for attempt in 0..TRIES {
            let guess = range.guess(wanted, attempt)?;
            let start = guess.saturating_sub(most / 2).max(range.low);
            let count = most.min(range.high - start);
            let ids = read(&self.file, self.ids + start * length as u64, count * length as u64)?;
            let (head, tail) = (&ids[..length], &ids[ids.len() - length..]);
            if wanted < head {
                range.below(start, next_bytes(head));
            } else if wanted > tail {
                range.above(start + count, next_bytes(tail));
            } else {
                let (mut one, mut other) = (0, count as usize);
                while one < other {
                    let middle = one + (other - one) / 2;
                    match ids[middle * length..(middle + 1) * length].cmp(wanted) {
                        std::cmp::Ordering::Less => one = middle + 1,
                        std::cmp::Ordering::Equal => return Some(start + middle as u64),
                        std::cmp::Ordering::Greater => other = middle,
                    }
                }
                return None;
            }
        }
        None
    }
}

/// Where an id may be among those that begin with the same byte, and between which next bytes.
struct Range {
    low: u64,
    high: u64,
    from: u64,
    to: u64,
}

impl Range {
    fn of(wanted: &[u8], fan_out: &[u32; FAN_OUT]) -> Option<Self> {
        let first = usize::from(*wanted.first()?);
        let low = first.checked_sub(1).map_or(0, |before| u64::from(fan_out[before]));
        Some(Range { low, high: u64::from(fan_out[first]), from: 0, to: 1 << 32 })
    }

    /// Returns where to look next; `None` where nothing is left.
    fn guess(&self, wanted: &[u8], attempt: usize) -> Option<u64> {
        let count = self.high.checked_sub(self.low).filter(|count| *count > 0)?;
        let at = if attempt < TRIES_EVEN {
            let share = next_bytes(wanted).clamp(self.from, self.to) - self.from;
            u128::from(count) * u128::from(share) / u128::from((self.to - self.from).max(1))
        } else {
            u128::from(count / 2)
        };
        Some(self.low + (at as u64).min(count - 1))
    }

    /// Looks at one id after another.
    fn search<'a>(mut self, wanted: &[u8], id_at: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        for attempt in 0..TRIES {
            let at = self.guess(wanted, attempt)?;
            let row = u32::try_from(at).ok()?;
            let found = id_at(row);
            match found.cmp(wanted) {
                std::cmp::Ordering::Equal => return Some(row),
                std::cmp::Ordering::Less => self.above(at + 1, next_bytes(found)),
                std::cmp::Ordering::Greater => self.below(at, next_bytes(found)),
            }
        }
        None
    }

    fn below(&mut self, high: u64, to: u64) {
        (self.high, self.to) = (high, to.max(self.from));
    }

    fn above(&mut self, low: u64, from: u64) {
        (self.low, self.from) = (low, from.min(self.to));
    }
}

fn read(file: &File, from: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    read_exact_at(file, &mut bytes, from).ok()?;
    Some(bytes)
}

fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

fn be_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

fn fan_out(bytes: &[u8]) -> Option<Box<[u32; FAN_OUT]>> {
    let counts: Option<Vec<u32>> = bytes.chunks(4).map(be_u32).collect();
    let counts: Box<[u32; FAN_OUT]> = counts?.try_into().ok()?;
    counts.is_sorted().then_some(counts)
}

/// Takes the name of a file, which is not to lead to another folder.
fn file_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    (name.ends_with(".idx") && !name.contains(['/', '\\'])).then(|| name.to_owned())
}

/// The four bytes of an id after the first one.
fn next_bytes(id: &[u8]) -> u64 {
    id.iter().skip(1).take(4).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FORMATS, empty, git, history};
    use super::super::pack::LEVEL_FAST;
    use super::*;
    use crate::model::digest::ObjectKind;
    use crate::model::error::Result;

    const MEMORY: usize = 1 << 20;

    #[test]
    fn every_object_of_every_pack_is_found_with_its_bytes() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (objects, commits) = history(format, 900);
            let all: Vec<_> = objects.iter().collect();
            for part in all.chunks(all.len() / 3 + 1) {
                let mut pack = store.pack(part.len(), LEVEL_FAST)?;
                for (_, kind, bytes) in part {
                    pack.add(*kind, bytes)?;
                }
                pack.finish()?;
            }
            let look = |count: (usize, usize)| {
                let packs = Packs::open(&store.objects_path(), format, MEMORY);
                assert_eq!((packs.indexes.len(), packs.packs.len()), count);
                let decoder = Decoder::default();
                for look in [Look::Few, Look::Many] {
                    for (id, _, bytes) in &all {
                        let found = packs.find(*id, look, &decoder).unwrap();
                        assert_eq!(found.size, bytes.len() as u64);
                        assert_eq!(&found.read(&decoder).unwrap(), bytes);
                        let other = GitId::of(format, ObjectKind::Blob, id.as_bytes());
                        assert!(packs.find(other, look, &decoder).is_none());
                    }
                }
            };
            look((3, 3));
            // By one index of several packs, and one more pack beside it.
            git(store.path(), &["multi-pack-index", "write"]);
            look((1, 3));
            let mut pack = store.pack(1, LEVEL_FAST)?;
            pack.add(ObjectKind::Blob, b"new")?;
            pack.finish()?;
            look((2, 4));
            // As deltas of one another, in one pack.
            git(store.path(), &["update-ref", "refs/heads/main", &commits[899].to_string()]);
            git(store.path(), &["repack", "-adfq", "--depth=50"]);
            look((1, 1));
        }
        Ok(())
    }

    #[test]
    fn ids_that_are_not_spread_as_hashes_are_found_as_well() {
        let format = ObjectFormat::Sha1;
        let folder = tempfile::tempdir().unwrap();
        let id = |number: u32| {
            let mut bytes = [7; 20];
            // All of them close together, and one far away.
            bytes[16..].copy_from_slice(&number.to_be_bytes());
            if number == 2999 {
                bytes[1] = 0xff;
            }
            GitId::from_bytes(&bytes).unwrap()
        };
        let mut index = INDEX_HEADER.to_vec();
        (0..256u32).for_each(|byte| index.extend_from_slice(&(if byte < 7 { 0u32 } else { 3000 }).to_be_bytes()));
        (0..3000).for_each(|number| index.extend_from_slice(id(number).as_bytes()));
        index.resize(index.len() + 4 * 3000, 0);
        (0..3000u32).for_each(|number| index.extend_from_slice(&(number + 12).to_be_bytes()));
        index.resize(index.len() + 40, 0);
        let path = folder.path().join("pack-a.idx");
        super::super::fixture::put(&path, &index);
        let index_file = Index::of_one(&path, 5, format).unwrap();
        for number in 0..3000 {
            assert_eq!(index_file.find(id(number), format), Some((5, u64::from(number) + 12)));
            assert_eq!(index_file.find_mapped(id(number), format), Some((5, u64::from(number) + 12)));
        }
        assert_eq!(index_file.find(id(3000), format), None);
        // One that is shorter than it says is none.
        super::super::fixture::put(&path, &index[..index.len() - 1]);
        assert!(Index::of_one(&path, 0, format).is_none());
    }

    #[test]
    fn what_is_not_sound_is_not_found() -> Result<()> {
        let format = ObjectFormat::Sha1;
        let (_folder, store) = empty(format);
        let (objects, _) = history(format, 2);
        let mut pack = store.pack(6, LEVEL_FAST)?;
        for (_, kind, bytes) in objects.iter() {
            pack.add(kind, bytes)?;
        }
        let index = pack.finish()?.unwrap();
        let whole = fs::read(&index).unwrap();
        let decoder = Decoder::default();
        // Any offset, in the pack, behind its end, and in the table of large ones.
        for offset in [0u32, 1, 11, 13, 1 << 20, u32::MAX >> 1, 1 << 31, u32::MAX] {
            let mut bytes = whole.clone();
            let at = bytes.len() - 40 - 4 * objects.iter().count();
            bytes[at..]
                .chunks_exact_mut(4)
                .take(objects.iter().count())
                .for_each(|place| place.copy_from_slice(&offset.to_be_bytes()));
            fs::remove_file(&index).unwrap();
            super::super::fixture::put(&index, &bytes);
            let packs = Packs::open(&store.objects_path(), format, MEMORY);
            for (id, _, bytes) in objects.iter() {
                for look in [Look::Few, Look::Many] {
                    let read = packs.find(id, look, &decoder).and_then(|found| found.read(&decoder));
                    assert!(read.is_none_or(|read| read != bytes), "{offset}");
                }
            }
        }
        fs::remove_file(index.with_extension("pack")).unwrap();
        fs::remove_file(&index).unwrap();
        super::super::fixture::put(&index, &whole);
        let packs = Packs::open(&store.objects_path(), format, MEMORY);
        assert!(objects.iter().all(|(id, ..)| packs.find(id, Look::Few, &decoder).is_none()));
        Ok(())
    }
}
