//! Finds single objects in packs without mapping and checking the indexes of all of them: by a small read or two, at the place where an id stands
//! if ids are spread as hashes are. Whoever reads a few objects of a large repository pays for those, and not for the repository. It is a
//! shortcut: what is not found here, or is not sound, is for gix to say.

use super::packed::read_exact_at;
use super::store::gix_kind;
use crate::model::digest::{GitId, ObjectFormat};
use gix::odb::pack;
use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many packs are looked into at most, the largest first.
const PACKS_MAX: usize = 64;
/// So many ids are read at a time.
const WINDOW: u64 = 64;
/// So often is an id looked for where it stands if ids are spread evenly, which they are: most often once or twice is enough.
const TRIES_EVEN: usize = 8;
/// So often in all, then by halves.
const TRIES: usize = 48;
/// What an index of version 2 begins with; 256 counts follow.
const INDEX_HEADER: &[u8; 8] = b"\xfftOc\0\0\0\x02";
const FAN_OUT: usize = 256;

/// The packs of one folder of objects, as they were when they were opened.
pub(crate) struct Packs {
    format: ObjectFormat,
    packs: Vec<Pack>,
    /// Which one held what was found last.
    recent: AtomicUsize,
    memory: usize,
}

struct Pack {
    path: PathBuf,
    index: File,
    /// How many ids begin with this byte or a smaller one.
    fan_out: Box<[u32; FAN_OUT]>,
    /// `None` where it cannot be opened any more.
    data: OnceLock<Option<pack::data::File>>,
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
    pack: &'a Pack,
    data: &'a pack::data::File,
    offset: u64,
    pub(crate) kind: gix::objs::Kind,
    pub(crate) size: u64,
}

impl Packs {
    /// Opens the packs in the folder `pack` of a folder of objects. What cannot be opened is left out. No object takes more than so many
    /// bytes of memory.
    pub(crate) fn open(objects: &Path, format: ObjectFormat, memory: usize) -> Self {
        let entries = fs::read_dir(objects.join("pack")).into_iter().flatten().flatten();
        let indexes = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "idx"));
        let mut packs: Vec<Pack> = indexes.filter_map(|path| Pack::open(&path, format)).collect();
        packs.sort_unstable_by(|one, other| (other.count(), &other.path).cmp(&(one.count(), &one.path)));
        packs.truncate(PACKS_MAX);
        Packs { format, packs, recent: AtomicUsize::new(0), memory }
    }

    /// Finds an object, and what the pack says of its kind and size; `None` where it is not found.
    pub(crate) fn find(&self, id: GitId, decoder: &Decoder) -> Option<Found<'_>> {
        let recent = self.recent.load(Ordering::Relaxed);
        let order = (0..self.packs.len()).map(|at| if at == 0 { recent } else { at - usize::from(at <= recent) });
        for at in order {
            let pack = self.packs.get(at)?;
            if let Some(offset) = pack.find(id, self.format) {
                self.recent.store(at, Ordering::Relaxed);
                return self.found(pack, offset, decoder);
            }
        }
        None
    }

    fn found<'a>(&'a self, pack: &'a Pack, offset: u64, decoder: &Decoder) -> Option<Found<'a>> {
        let open = || {
            let data = pack::data::File::at(pack.path.with_extension("pack"), gix_kind(self.format)).ok()?;
            Some(data.with_alloc_limit_bytes(Some(self.memory)))
        };
        let data = pack.data.get_or_init(open).as_ref()?;
        let entry = self.entry(data, offset)?;
        let resolve = |base: &gix::hash::oid| {
            let base = self.base(pack, base).and_then(|offset| self.entry(data, offset));
            Ok(base.map(pack::data::decode::header::ResolvedBase::InPack))
        };
        let header = data.decode_header(entry, &mut decoder.inflate.borrow_mut(), &resolve).ok()?;
        Some(Found { packs: self, pack, data, offset, kind: header.kind, size: header.object_size })
    }

    /// An offset that lies beyond the pack's end would be a panic to gix.
    fn entry(&self, data: &pack::data::File, offset: u64) -> Option<pack::data::Entry> {
        if offset < 12 || offset >= data.pack_end() as u64 { None } else { data.entry(offset).ok() }
    }

    /// Finds what a delta stands on, in the same pack.
    fn base(&self, pack: &Pack, id: &gix::hash::oid) -> Option<u64> {
        pack.find(GitId::from_bytes(id.as_bytes())?, self.format)
    }
}

impl Found<'_> {
    /// Returns the object's bytes, not checked against the id; `None` where they cannot be read.
    pub(crate) fn read(&self, decoder: &Decoder) -> Option<Vec<u8>> {
        let entry = self.packs.entry(self.data, self.offset)?;
        let resolve = |base: &gix::hash::oid, _: &mut Vec<u8>| {
            let base = self.packs.base(self.pack, base).and_then(|offset| self.packs.entry(self.data, offset));
            Ok(base.map(pack::data::decode::entry::ResolvedBase::InPack))
        };
        let mut bases = decoder.bases.borrow_mut();
        let bases = bases.get_or_insert_with(super::store::delta_bases);
        let mut bytes = Vec::new();
        self.data.decode_entry(entry, &mut bytes, &mut decoder.inflate.borrow_mut(), &resolve, bases).ok()?;
        Some(bytes)
    }
}

impl Pack {
    /// Opens an index; `None` where it is no index of version 2, or shorter than it says.
    fn open(path: &Path, format: ObjectFormat) -> Option<Self> {
        let index = File::open(path).ok()?;
        let mut head = [0; INDEX_HEADER.len() + 4 * FAN_OUT];
        read_exact_at(&index, &mut head, 0).ok()?;
        let counts = head.strip_prefix(INDEX_HEADER.as_slice())?;
        let mut fan_out = Box::new([0; FAN_OUT]);
        for (place, count) in fan_out.iter_mut().zip(counts.chunks_exact(4)) {
            *place = u32::from_be_bytes(count.try_into().ok()?);
        }
        let pack = Pack { path: path.to_owned(), index, fan_out, data: OnceLock::new() };
        let length = pack.index.metadata().ok()?.len();
        let is_whole = pack.fan_out.is_sorted() && length >= pack.offsets(format) + 4 * pack.count() + 2 * format.id_len() as u64;
        is_whole.then_some(pack)
    }

    fn count(&self) -> u64 {
        self.fan_out[FAN_OUT - 1].into()
    }

    /// Where the ids begin.
    const IDS: u64 = (INDEX_HEADER.len() + 4 * FAN_OUT) as u64;

    /// Where the offsets begin: behind the ids and as many check sums.
    fn offsets(&self, format: ObjectFormat) -> u64 {
        Pack::IDS + self.count() * (format.id_len() as u64 + 4)
    }

    /// Finds where an object stands.
    fn find(&self, id: GitId, format: ObjectFormat) -> Option<u64> {
        let at = self.search(id, format)?;
        let mut offset = [0; 4];
        read_exact_at(&self.index, &mut offset, self.offsets(format) + 4 * at).ok()?;
        let offset = u32::from_be_bytes(offset);
        if offset & 1 << 31 == 0 {
            return Some(offset.into());
        }
        let mut large = [0; 8];
        let row = u64::from(offset & !(1 << 31));
        read_exact_at(&self.index, &mut large, self.offsets(format) + 4 * self.count() + 8 * row).ok()?;
        Some(u64::from_be_bytes(large))
    }

    /// Finds which one of the ids it is.
    fn search(&self, id: GitId, format: ObjectFormat) -> Option<u64> {
        let wanted = id.as_bytes();
        let first = usize::from(*wanted.first()?);
        let mut low = if first == 0 { 0 } else { u64::from(self.fan_out[first - 1]) };
        let mut high = u64::from(self.fan_out[first]);
        // All of them begin with the same byte; the next ones say how far on it is.
        let (mut from, mut to) = (0, 1 << 32);
        let length = format.id_len();
        let mut window = [0; WINDOW as usize * 32];
        for attempt in 0..TRIES {
            if low >= high {
                return None;
            }
            let guess = if attempt < TRIES_EVEN {
                let share = next_bytes(wanted).clamp(from, to) - from;
                low + (u128::from(high - low) * u128::from(share) / u128::from((to - from).max(1))) as u64
            } else {
                low + (high - low) / 2
            };
            let start = guess.saturating_sub(WINDOW / 2).clamp(low, high - 1);
            let count = WINDOW.min(high - start);
            let ids = &mut window[..count as usize * length];
            read_exact_at(&self.index, ids, Pack::IDS + start * length as u64).ok()?;
            let (head, tail) = (&ids[..length], &ids[ids.len() - length..]);
            if wanted < head {
                (high, to) = (start, next_bytes(head).max(from));
            } else if wanted > tail {
                (low, from) = (start + count, next_bytes(tail).min(to));
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
            let look = |count: usize| {
                let packs = Packs::open(&store.objects_path(), format, MEMORY);
                assert_eq!(packs.packs.len(), count);
                let decoder = Decoder::default();
                for (id, _, bytes) in &all {
                    let found = packs.find(*id, &decoder).unwrap();
                    assert_eq!(found.size, bytes.len() as u64);
                    assert_eq!(&found.read(&decoder).unwrap(), bytes);
                    let other = GitId::of(format, ObjectKind::Blob, id.as_bytes());
                    assert!(packs.find(other, &decoder).is_none());
                }
            };
            look(3);
            // As deltas of one another, in one pack.
            git(store.path(), &["update-ref", "refs/heads/main", &commits[899].to_string()]);
            git(store.path(), &["repack", "-adfq", "--depth=50"]);
            look(1);
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
        let pack = Pack::open(&path, format).unwrap();
        for number in 0..3000 {
            assert_eq!(pack.find(id(number), format), Some(u64::from(number) + 12));
        }
        assert_eq!(pack.find(id(3000), format), None);
        // One that is shorter than it says is none.
        super::super::fixture::put(&path, &index[..index.len() - 1]);
        assert!(Pack::open(&path, format).is_none());
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
                let read = packs.find(id, &decoder).and_then(|found| found.read(&decoder));
                assert!(read.is_none_or(|read| read != bytes), "{offset}");
            }
        }
        fs::remove_file(index.with_extension("pack")).unwrap();
        fs::remove_file(&index).unwrap();
        super::super::fixture::put(&index, &whole);
        let packs = Packs::open(&store.objects_path(), format, MEMORY);
        assert!(objects.iter().all(|(id, ..)| packs.find(id, &decoder).is_none()));
        Ok(())
    }
}
