//! A user's own store of verified objects. It has no references, and every fetch that brings something adds a pack to it: when there are
//! many they are merged.
//!
//! Whoever reads it shares a lock with all others who do, and packs are merged, and the whole is removed, only by a process that is alone with
//! it. So no pack vanishes from under a reader. When the file of that lock was written last says when the cache was used last.

use super::pack::io_error;
use super::program::Program;
use super::quarantine;
use super::refs::sync_folders;
use super::store::{INIT_PREFIX, Store};
use crate::model::digest::ObjectFormat;
use crate::model::error::{ErrorCode, Result, fault};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most small packs that there may be; git's `gc.autoPackLimit` is the same.
const PACKS_MAX: usize = 50;
/// A pack of so many bytes is not small: it stays as it is, so that merging does not copy all that there is again and again.
const LARGE: u64 = 64 * 1024 * 1024;
/// The name of the file that readers lock.
const LOCK_FILE: &str = "readers.lock";
/// What a cache is called that was removed, until all of it is deleted.
const REMOVED: &str = ".quipu-removed-";
/// So often a cache that is removed just then is looked for again.
const TRIES: usize = 8;

/// A store of verified objects, open for reading.
#[derive(Debug)]
pub struct Cache {
    store: Store,
    /// Missing where the file cannot be made; then nothing is merged by this process.
    readers: Option<File>,
}

impl Cache {
    /// Opens a cache, once nobody merges its packs.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(path: &Path) -> Result<Self> {
        for _ in 0..TRIES {
            match share(path) {
                Ok(readers) => return Ok(Cache { store: Store::open(path)?, readers: Some(readers) }),
                // Removed just then; perhaps somebody made it anew.
                Err(why) if why.kind() == io::ErrorKind::NotFound && path.is_dir() => {}
                Err(_) => break,
            }
        }
        Ok(Cache { store: Store::open(path)?, readers: None })
    }

    /// Opens a cache, and makes it where there is none.
    ///
    /// # Errors
    /// Those of [`Store::init`] and of [`Store::open`].
    pub fn open_or_init(path: &Path, format: ObjectFormat) -> Result<Self> {
        let mut tries = 0..TRIES;
        loop {
            let mut readers = None;
            // It is held before it has a name under which others could remove it.
            let made = Store::init_with(path, format, |store| {
                readers = share(store.path()).ok();
                Ok(())
            });
            match made {
                Ok(store) => return Ok(Cache { store, readers }),
                // It was there, or another process was first.
                Err(error) if error.code() == ErrorCode::Exists => match Cache::open(path) {
                    // Removed just then.
                    Err(error) if error.code() == ErrorCode::NotFound && tries.next().is_some() => {}
                    opened => return opened,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the cache at a path, and says whether it did: one that is in use stays as it is.
    ///
    /// It loses its name before anything of it is deleted, so that nobody ever opens half of one.
    ///
    /// # Errors
    /// `io`; what is left of it then has no name that anybody reads, and is among what [`left`] finds.
    pub fn remove(path: &Path) -> Result<bool> {
        let lock = path.join(LOCK_FILE);
        let file = match open_lock(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(true),
            opened => opened.map_err(|why| io_error(&lock, &why))?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            locked => locked.map_err(|why| io_error(&lock, &why.into()))?,
        }
        if !is_at(&file, &lock) {
            // Another process was first.
            return Ok(true);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!("{REMOVED}{}-{name}", std::process::id()));
        discard(&aside)?;
        fs::rename(path, &aside).map_err(|why| io_error(path, &why))?;
        drop(file);
        discard(&aside).map(|()| true)
    }

    /// Returns when the cache at a path was opened last; `None` where that cannot be known.
    pub fn used(path: &Path) -> Option<SystemTime> {
        let found = fs::metadata(path.join(LOCK_FILE)).or_else(|_| fs::metadata(path));
        found.and_then(|found| found.modified()).ok()
    }

    /// Returns the objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Merges the small packs where there are more than fifty of them and nobody else reads the cache at the moment; says whether it did.
    /// Objects that were being read through another store than [`Cache::store`] need a [`Store::refresh`] of that one afterwards.
    ///
    /// # Errors
    /// `git` where git cannot, `io`; all objects are still there.
    pub fn tidy(&self) -> Result<bool> {
        self.tidy_from(PACKS_MAX, LARGE)
    }

    fn tidy_from(&self, most: usize, large: u64) -> Result<bool> {
        let Some(readers) = &self.readers else { return Ok(false) };
        if self.packs()?.values().filter(|pack| pack.is_small(large)).count() <= most {
            return Ok(false);
        }
        let at = |why: io::Error| io_error(&self.store.path().join(LOCK_FILE), &why);
        readers.unlock().map_err(at)?;
        let merged = match readers.try_lock() {
            Ok(()) => self.merge(most, large).and_then(|merged| readers.unlock().map_err(at).map(|()| merged)),
            Err(_) => Ok(false),
        };
        readers.lock_shared().map_err(at)?;
        // Another process may have merged them in between.
        self.store.refresh()?;
        merged
    }

    /// Merges them; nobody else is here.
    fn merge(&self, most: usize, large: u64) -> Result<bool> {
        let folder = self.store.objects_path().join("pack");
        let (whole, halves): (BTreeMap<_, _>, BTreeMap<_, _>) = self.packs()?.into_iter().partition(|(_, pack)| pack.is_whole());
        for name in halves.keys() {
            remove(&folder, name)?;
        }
        self.store.sweep(&self.store.lock(Duration::ZERO, "merging packs")?)?;
        let small: BTreeSet<String> = whole.into_iter().filter(|(_, pack)| pack.is_small(large)).map(|(name, _)| name).collect();
        if small.len() <= most {
            return Ok(false);
        }
        let names: String = small.iter().map(|name| format!("{name}.pack\n")).collect();
        let output = Program::git()
            .env("GIT_DIR", self.store.path())
            .config("core.fsync", "pack,pack-metadata")
            // What is packed is copied, and nothing is compressed again.
            .args(["pack-objects", "--stdin-packs", "--window=0", "--quiet"])
            .arg(folder.join("pack"))
            .input(names.into_bytes())
            .run()?;
        let made = format!("pack-{}", String::from_utf8_lossy(&output.stdout).trim());
        if !output.success || !self.packs()?.get(&made).is_some_and(Pack::is_whole) {
            return Err(fault!(Git, "{}: packs could not be merged: {}", folder.display(), output.words()));
        }
        sync_folders(&BTreeSet::from([folder.clone()]))?;
        for name in small.iter().filter(|name| **name != made) {
            remove(&folder, name)?;
        }
        Ok(true)
    }

    /// Finds the packs by their names without an extension.
    fn packs(&self) -> Result<BTreeMap<String, Pack>> {
        let folder = self.store.objects_path().join("pack");
        let mut packs: BTreeMap<String, Pack> = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|why| io_error(&folder, &why))? {
            let entry = entry.map_err(|why| io_error(&folder, &why))?;
            let name = entry.file_name();
            let Some((name, extension)) = name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
            if !name.starts_with("pack-") {
                continue;
            }
            let pack = packs.entry(name.to_owned()).or_default();
            match extension {
                "pack" => pack.size = Some(entry.metadata().map_err(|why| io_error(&entry.path(), &why))?.len()),
                "idx" => pack.has_index = true,
                _ => {}
            }
        }
        Ok(packs)
    }
}

/// Shares the lock of the cache at a path, and leaves a mark of its use. Where there is no cache, nothing is found.
fn share(path: &Path) -> io::Result<File> {
    // Without its folder it is not made: the file alone would be in the way of who makes a cache.
    let mut file = open_lock(path)?;
    file.lock_shared()?;
    if !is_at(&file, &path.join(LOCK_FILE)) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // The same byte at the same place each time.
    let _ = file.write_all(b"\n");
    Ok(file)
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK_FILE))
}

/// Says whether a file that is open is the one at a path: the lock that was waited for may be that of a cache that was removed since.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |found: &fs::Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(open), Ok(there)) if place(&open) == place(&there))
}

/// Elsewhere a folder in which a file is open keeps its name.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Finds what processes left in a folder of caches that were killed while they made or removed one.
///
/// # Errors
/// `io`.
pub fn left(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = quarantine::left(folder, INIT_PREFIX)?;
    for entry in fs::read_dir(folder).map_err(|why| io_error(folder, &why))? {
        let entry = entry.map_err(|why| io_error(folder, &why))?;
        found.extend(entry.file_name().to_str().is_some_and(|name| name.starts_with(REMOVED)).then(|| entry.path()));
    }
    Ok(found)
}

/// Deletes a folder that nobody reads, and says nothing where there is none.
///
/// # Errors
/// `io`.
pub fn discard(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io_error(folder, &why)),
        _ => Ok(()),
    }
}

/// What there is of a pack.
#[derive(Default)]
struct Pack {
    size: Option<u64>,
    has_index: bool,
}

impl Pack {
    fn is_whole(&self) -> bool {
        self.size.is_some() && self.has_index
    }

    fn is_small(&self, large: u64) -> bool {
        self.is_whole() && self.size.is_some_and(|size| size < large)
    }
}

/// Removes a pack, the index first: without it there is no pack.
fn remove(folder: &Path, name: &str) -> Result<()> {
    for extension in ["idx", "rev", "pack"] {
        let path = folder.join(format!("{name}.{extension}"));
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, &why)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::{FORMATS, history, put, try_git};
    use crate::git::pack::LEVEL_FAST;
    use crate::model::object::{MemoryObjects, ReadObjects as _};
    use tempfile::TempDir;

    /// Makes a cache with one pack for each object of a short history; the first commit is not there, as after a fetch with a depth.
    fn scattered(format: ObjectFormat) -> (TempDir, Cache, MemoryObjects, usize) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open_or_init(&folder.path().join("cache.git"), format).unwrap();
        let (objects, commits) = history(format, 4);
        let mut packs = 0;
        for (id, kind, bytes) in objects.iter().filter(|(id, ..)| *id != commits[0]) {
            let mut pack = cache.store.pack(1, LEVEL_FAST).unwrap();
            pack.add_as(id, kind, bytes).unwrap();
            pack.finish().unwrap();
            packs += 1;
        }
        cache.store.refresh().unwrap();
        (folder, cache, objects, packs)
    }

    fn held(cache: &Cache, objects: &MemoryObjects) -> usize {
        let reader = cache.store.reader();
        let read = |(id, kind, bytes)| match reader.read(kind, id, 1 << 20) {
            Ok(found) => assert_eq!(found, bytes),
            Err(error) => panic!("{error}"),
        };
        objects.iter().filter(|(id, ..)| reader.contains(*id)).map(read).count()
    }

    #[test]
    fn many_small_packs_become_one_that_holds_everything() -> Result<()> {
        for format in FORMATS {
            let (_folder, cache, objects, packs) = scattered(format);
            assert!(!cache.tidy_from(packs, LARGE)?, "they are not too many yet");
            assert_eq!((cache.packs()?.len(), held(&cache, &objects)), (packs, packs));
            // Halves of a pack: what a process leaves that is killed while it moves one here or removes one.
            let half = cache.store.objects_path().join("pack/pack-00");
            put(half.with_extension("pack"), b"half");
            assert!(cache.tidy_from(packs - 1, LARGE)?);
            assert_eq!((cache.packs()?.len(), held(&cache, &objects)), (1, packs));
            assert!(try_git(cache.store.path(), &["count-objects", "-v"]).stdout.ends_with(b"garbage: 0\nsize-garbage: 0\n"));
            assert!(!cache.tidy_from(1, LARGE)?);
        }
        Ok(())
    }

    #[test]
    fn large_packs_stay_as_they_are() -> Result<()> {
        let (_folder, cache, objects, packs) = scattered(ObjectFormat::Sha1);
        assert!(!cache.tidy_from(0, 1)?);
        let largest = cache.packs()?.into_values().filter_map(|pack| pack.size).max().unwrap();
        assert!(cache.tidy_from(1, largest)?);
        let after = cache.packs()?;
        assert!((2..packs).contains(&after.len()) && after.values().any(|pack| pack.size == Some(largest)));
        assert_eq!(held(&cache, &objects), packs);
        Ok(())
    }

    #[test]
    fn nothing_is_merged_while_another_process_reads() -> Result<()> {
        let (_folder, cache, objects, packs) = scattered(ObjectFormat::Sha1);
        // A lock belongs to who opened the file: another opening is as good as another process.
        let other = Cache::open(cache.store.path())?;
        assert!(!cache.tidy_from(1, LARGE)?);
        assert!(!other.tidy_from(1, LARGE)?, "whoever tried goes on reading");
        assert_eq!((cache.packs()?.len(), held(&other, &objects)), (packs, packs));
        drop(other);
        assert!(cache.tidy_from(1, LARGE)?);
        Ok(())
    }

    #[test]
    fn a_cache_in_use_is_not_removed_and_one_that_was_is_made_anew() -> Result<()> {
        let (folder, cache, objects, packs) = scattered(ObjectFormat::Sha1);
        let path = cache.store.path().to_owned();
        assert!(!Cache::remove(&path)?, "it is open");
        assert_eq!(held(&Cache::open(&path)?, &objects), packs);
        drop(cache);
        assert!(Cache::remove(&path)?);
        assert!(!path.exists() && left(folder.path())?.is_empty());
        assert!(Cache::remove(&path)?, "it is gone already");
        assert_eq!(Cache::open(&path).unwrap_err().code(), ErrorCode::NotFound);
        let made = Cache::open_or_init(&path, ObjectFormat::Sha1)?;
        assert_eq!(held(&made, &objects), 0);
        Ok(())
    }

    #[test]
    fn whoever_waited_for_the_lock_of_a_cache_that_was_removed_takes_the_one_that_is_there() -> Result<()> {
        let (_folder, cache, ..) = scattered(ObjectFormat::Sha1);
        let path = cache.store.path().to_owned();
        drop(cache);
        let old = open_lock(&path).unwrap();
        assert!(is_at(&old, &path.join(LOCK_FILE)));
        assert!(Cache::remove(&path)?);
        assert!(!is_at(&old, &path.join(LOCK_FILE)));
        let _made = Cache::open_or_init(&path, ObjectFormat::Sha1)?;
        old.lock().unwrap();
        assert!(!is_at(&old, &path.join(LOCK_FILE)), "this lock is of no cache");
        assert!(!Cache::remove(&path)?, "and that one is held");
        Ok(())
    }

    #[test]
    fn what_a_process_left_that_was_killed_while_it_removed_is_found() -> Result<()> {
        let (folder, cache, ..) = scattered(ObjectFormat::Sha1);
        let aside = folder.path().join(format!("{REMOVED}1-x.git"));
        drop(cache);
        fs::rename(folder.path().join("cache.git"), &aside).unwrap();
        assert_eq!(left(folder.path())?, std::slice::from_ref(&aside));
        discard(&aside)?;
        discard(&aside)?;
        assert!(left(folder.path())?.is_empty());
        Ok(())
    }

    #[test]
    fn every_opening_marks_the_use() {
        let (_folder, cache, ..) = scattered(ObjectFormat::Sha1);
        let path = cache.store.path().to_owned();
        drop(cache);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let lock = File::options().write(true).open(path.join(LOCK_FILE)).unwrap();
        lock.set_modified(long_ago).unwrap();
        assert_eq!(Cache::used(&path), Some(long_ago));
        drop(Cache::open(&path).unwrap());
        assert!(Cache::used(&path).is_some_and(|used| used > long_ago));
        assert_eq!(lock.metadata().unwrap().len(), 1);
        drop(Cache::open(&path).unwrap());
        assert_eq!(lock.metadata().unwrap().len(), 1);
    }

    #[test]
    fn what_git_cannot_merge_stays() -> Result<()> {
        let (_folder, cache, objects, packs) = scattered(ObjectFormat::Sha1);
        let broken = cache.store.objects_path().join("pack").join(format!("pack-{}", "0".repeat(40)));
        put(broken.with_extension("pack"), b"not a pack");
        put(broken.with_extension("idx"), b"not an index");
        assert_eq!(cache.tidy_from(1, LARGE).unwrap_err().code(), ErrorCode::Git);
        assert_eq!(cache.packs()?.len(), packs + 1);
        let again = Cache::open(cache.store.path())?;
        assert_eq!(held(&again, &objects), packs);
        Ok(())
    }
}
