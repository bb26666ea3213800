//! A repository on disk: its objects, its references, its lock.
//!
//! Nothing that a repository says about itself changes what is read: objects are taken by id, checked against it, and
//! replacements, grafts and shallow boundaries are not looked at. What is written is on disk before it is visible.

use super::effort;
use super::layout::{RefName, front_page};
use super::pack::{Deflate, LEVEL_DEFAULT, LEVEL_FAST, PackWriter, io_error, new_file};
use super::packs::{Decoder, Found, Look, Packs};
use super::program::in_one_line;
use super::quarantine::{self, Quarantine};
use super::refs::{Lock, OpenedReferences, RefEdit, References, sync_files, sync_folders, sync_folders_that_are_there};
use super::upkeep;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::error::{Error, Result, fault};
use crate::model::name::RegistryName;
use crate::model::object::ReadObjects;
use gix::hash::ObjectId;
use gix::objs::{Find as _, FindHeader as _};
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempDir};

/// From this number of new objects on they are written as one pack, as git does by `transfer.unpackLimit`.
const PACK_FROM: usize = 100;
/// The largest configuration file that is read.
const CONFIG_MAX: u64 = 1024 * 1024;
/// The most memory that one object may take, so that a small delta of a huge object stays out.
const OBJECT_MEMORY_MAX: usize = 1024 * 1024 * 1024;
/// The memory of a reader for what deltas stand on.
const DELTA_BASES_MAX: usize = 16 * 1024 * 1024;
/// So many objects a reader looks for without mapping the indexes of packs; whoever reads more than that is quicker with them.
const READS_UNMAPPED: u64 = 8192;
/// Room for packs that appear while a repository is open; a read sees more of them only after [`Store::refresh`].
const NEW_PACKS_MAX: usize = 256;
/// Extensions of a repository that do not matter to its objects and loose references.
const HARMLESS_EXTENSIONS: &[&str] =
    &["noop", "noop-v1", "preciousobjects", "partialclone", "worktreeconfig", "relativeworktrees"];
/// The name of the file that [`Store::lock`] locks.
pub(crate) const LOCK_FILE: &str = "quipu.lock";
/// The name of the file that whoever keeps the repository quick locks.
const UPKEEP_LOCK_FILE: &str = "quipu-gc.lock";
/// What the folders begin with in which repositories are made.
pub(super) const INIT_PREFIX: &str = ".quipu-init-";
/// How old a temporary file is that nobody will finish.
pub(crate) const TEMPORARY_AGE: Duration = Duration::from_secs(60 * 60);
/// The most of a lock's note that is read.
const NOTE_MAX: u64 = 256;

/// A repository that is open: bare, or the `.git` of a working copy. It can be shared among threads; each has its own [`Reader`].
pub struct Store {
    root: PathBuf,
    format: ObjectFormat,
    references: References,
    objects: RwLock<Objects>,
    /// How often objects had been dropped when the objects were opened.
    drops: AtomicU64,
    /// The folder that the objects are read through, where it is not the repository's own.
    through: Option<TempDir>,
}

/// The objects of a repository, as they were when they were opened.
#[derive(Clone)]
struct Objects {
    all: Arc<gix::odb::Store>,
    /// The packs of its own; opened when the first object is read.
    packs: Arc<OnceLock<Packs>>,
    folder: Arc<Path>,
}

impl Store {
    /// Opens the repository at `path` or at `path/.git`.
    ///
    /// # Errors
    /// `not-found` where there is nothing, `bad-repository` where it is not a repository or one of a kind that cannot be
    /// used, `io` where it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let root = find_root(path)?;
        let format = read_format(&root)?;
        let drops = upkeep::drops(&root).into();
        let objects = open_objects(&root.join("objects"), format)?;
        let references = References::new(root.clone(), format);
        Ok(Store { references, root, format, objects: RwLock::new(objects), drops, through: None })
    }

    /// Opens a repository together with objects that were pushed to it and are not part of it yet: git keeps them in a folder of their own
    /// while `pre-receive` runs. Nothing is to be written to what is opened so.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_with_pushed(path: &Path, pushed: &Path) -> Result<Self> {
        let mut store = Store::open(path)?;
        let through = tempfile::tempdir().map_err(|why| io_error(&std::env::temp_dir(), &why))?;
        let info = through.path().join("info");
        let mut lines = Vec::new();
        for folder in [pushed, &store.objects_path()] {
            let folder = fs::canonicalize(folder).map_err(|why| io_error(folder, &why))?;
            lines.extend_from_slice(alternate_line(&folder)?);
            lines.push(b'\n');
        }
        let written = fs::create_dir(&info).and_then(|()| File::create_new(info.join("alternates"))?.write_all(&lines));
        written.map_err(|why| io_error(&info, &why))?;
        store.objects = RwLock::new(open_objects(through.path(), store.format)?);
        store.through = Some(through);
        Ok(store)
    }

    /// Makes a bare repository without anything in it; the folder may exist if it is empty.
    ///
    /// # Errors
    /// `exists` where something is there already, `io` where it cannot be made.
    pub fn init(path: &Path, format: ObjectFormat) -> Result<Self> {
        Store::init_with(path, format, |_| Ok(()))
    }

    /// Makes a bare repository with what `fill` puts into it. It gets its name when all of that is on disk, so that a process that is
    /// killed leaves nothing under it.
    ///
    /// # Errors
    /// Those of [`Store::init`], and those of `fill`.
    pub fn init_with(path: &Path, format: ObjectFormat, fill: impl FnOnce(&Store) -> Result<()>) -> Result<Self> {
        let exists = || {
            fault!(Exists, "{}: something is there already, expected an empty folder or none", path.display())
                .hint("choose another folder, or use the repository that is there")
        };
        let at = |why: &io::Error| io_error(path, why);
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(exists());
                }
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) if why.kind() == io::ErrorKind::NotADirectory => return Err(exists()),
            Err(why) => return Err(at(&why)),
        }
        let absolute = std::path::absolute(path).map_err(|why| at(&why))?;
        let Some(parent) = absolute.parent() else {
            return Err(exists());
        };
        fs::create_dir_all(parent).map_err(|why| at(&why))?;
        // What cannot be swept away now is somebody else's, or is tried again the next time.
        let _ = quarantine::sweep(parent, INIT_PREFIX);
        let mut builder = tempfile::Builder::new();
        builder.prefix(INIT_PREFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let scratch = builder.tempdir_in(parent).map_err(|why| at(&why))?;
        // git by itself does not sync loose objects that are pushed.
        let written = write_skeleton(scratch.path(), format, "all")?;
        sync_folders(&written)?;
        let store = Store::open(scratch.path())?;
        // Tells a folder in use from one that a killed process left.
        let owned = store.lock(Duration::ZERO, "being made")?;
        fill(&store)?;
        drop(owned);
        match fs::rename(scratch.path(), &absolute) {
            Ok(()) => {}
            Err(why) if matches!(why.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return Err(exists());
            }
            Err(why) => return Err(at(&why)),
        }
        // Nothing is left to clean up under the scratch name.
        let _ = scratch.keep();
        sync_folders(&BTreeSet::from([parent.to_owned()]))?;
        Store::open(&absolute)
    }

    /// Looks at the repository as at one of a registry that is mirrored in it: each reference has the name that it has at home. It is for
    /// reading.
    ///
    /// # Errors
    /// `io` where objects cannot be read.
    pub fn mirrored(&self, domain: &RegistryName) -> Result<Self> {
        let objects = open_objects(&self.objects_path(), self.format)?;
        Ok(Store {
            references: self.references.under(domain),
            root: self.root.clone(),
            format: self.format,
            objects: RwLock::new(objects),
            drops: upkeep::drops(&self.root).into(),
            through: None,
        })
    }

    /// Returns the registry that is looked at, where it is one that is mirrored here.
    pub fn mirrors(&self) -> Option<&RegistryName> {
        self.references.domain()
    }

    /// Returns the path of the git directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the folder of objects, as alternates name it.
    pub fn objects_path(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Returns the format of the ids.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Returns a reader for one thread.
    pub fn reader(&self) -> Reader {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = objects.all.to_cache_arc();
        all.set_pack_cache(|| delta_bases());
        Reader {
            objects: all,
            format: self.format,
            few: objects.clone(),
            decoder: Decoder::default(),
            reads: Cell::new(0),
            unmapped: READS_UNMAPPED,
            is_of_now: false,
        }
    }

    /// Returns a reader for one thread that is to read most of what is there.
    pub(crate) fn reader_for_many(&self) -> Reader {
        let mut reader = self.reader();
        reader.unmapped = 0;
        reader
    }

    /// Returns a reader that does not look for packs that came since the objects were opened: what it does not find costs nothing.
    pub(crate) fn reader_of_now(&self) -> Reader {
        let mut reader = self.reader();
        reader.objects.refresh_never();
        reader.is_of_now = !objects_have_alternates(&reader.few.folder);
        reader
    }

    /// Opens the objects anew. Readers that are there already go on with what they know.
    ///
    /// # Errors
    /// `io` where they cannot be read.
    pub fn refresh(&self) -> Result<()> {
        let folder = self.through.as_ref().map_or_else(|| self.objects_path(), |through| through.path().to_owned());
        let drops = upkeep::drops(&self.root);
        let fresh = open_objects(&folder, self.format)?;
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        *objects = fresh;
        self.drops.store(drops, Ordering::Relaxed);
        Ok(())
    }

    /// Returns how often objects had been dropped when the objects were opened: what was seen since may be gone where it is another number now.
    pub(crate) fn opened_at(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// Says whether objects were dropped since they were opened: then something that was found may be gone.
    pub fn is_behind(&self) -> bool {
        upkeep::drops(&self.root) != self.opened_at()
    }

    /// Says whether an object is there and its header can be read.
    pub fn contains(&self, id: GitId) -> bool {
        self.reader().contains(id)
    }

    /// Returns what a reference names; `None` where it does not exist.
    ///
    /// # Errors
    /// `bad-repository` where it is symbolic or broken, `io` where it cannot be read.
    pub fn reference(&self, name: &RefName) -> Result<Option<GitId>> {
        self.references.get(name)
    }

    /// Opens the references whose names begin with `prefix`, for many questions.
    ///
    /// # Errors
    /// `bad-repository` where they are broken, `io` where they cannot be read.
    pub fn opened_references(&self, prefix: &str) -> Result<OpenedReferences<'_>> {
        self.references.opened(prefix)
    }

    /// Opens all references for some questions, without a look at which of them are loose.
    ///
    /// # Errors
    /// Those of [`Store::opened_references`].
    pub fn opened_references_for_some(&self) -> Result<OpenedReferences<'_>> {
        self.references.opened_for_some()
    }

    /// Returns all references whose names begin with `prefix`, in the order of their names.
    ///
    /// # Errors
    /// Those of [`Store::reference`].
    pub fn references(&self, prefix: &str) -> Result<Vec<(RefName, GitId)>> {
        let mut found = Vec::new();
        self.for_each_reference(prefix, |name, id| {
            found.push((name, id));
            Ok(())
        })?;
        Ok(found)
    }

    /// Gives all references whose names begin with `prefix`, in the order of their names and without holding them in memory.
    ///
    /// # Errors
    /// Those of [`Store::reference`], and the first that `each` returns.
    pub fn for_each_reference(&self, prefix: &str, each: impl FnMut(RefName, GitId) -> Result<()>) -> Result<()> {
        self.references.each(prefix, each)
    }

    /// Lists the references that have files of their own and whose names begin with `prefix`.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn loose_names(&self, prefix: &str) -> Result<BTreeSet<RefName>> {
        self.references.loose_names(prefix)
    }

    /// Changes references, if each of them is what is expected, and brings them to disk. A process that is killed in here
    /// leaves each of them as it was or as it is to be.
    ///
    /// # Errors
    /// `conflict` where one of them is something else, with both ids, or is locked; then none is changed. `io` where
    /// something could not be written.
    pub fn update(&self, edits: &[RefEdit]) -> Result<()> {
        self.references.update(&[edits])
    }

    /// Changes references step by step, if each of them, in all steps, is what is expected. A step is on disk before the next one
    /// begins, and all locks are held until the last one is done.
    ///
    /// # Errors
    /// Those of [`Store::update`]; after `io`, earlier steps may be done.
    pub fn update_in_order(&self, steps: &[&[RefEdit]]) -> Result<()> {
        self.references.update(steps)
    }

    /// Changes any number of references, if each of them is what is expected, by giving `packed-refs` a new content once: a process that is
    /// killed in here leaves all of them as they were, or all as they are to be. It takes as long as reading and writing that file.
    ///
    /// Those of them that have a file of their own are packed as they are first, and locked meanwhile; they are to be in the journal. The
    /// others are not locked: nobody but holders of the repository's lock may write to them. Where names could lie in one another is not
    /// looked at: the layout has no such names.
    ///
    /// # Errors
    /// `conflict` where one of them is something else, or is locked; `bad-repository` where `packed-refs` is broken or not sorted; `io`. Then
    /// none is changed.
    pub fn update_at_once(&self, _held: &RepositoryLock, edits: &[RefEdit]) -> Result<()> {
        self.references.update_packed(edits)
    }

    /// Returns those of these references that have a file of their own.
    pub fn loose_among<'a>(&self, names: impl IntoIterator<Item = &'a RefName>) -> Vec<&'a RefName> {
        self.references.loose_among(names)
    }

    /// Removes git's locks of these references. They are stale: whoever holds the repository's lock and knows from its
    /// journal that a dead process was changing exactly these calls this.
    ///
    /// # Errors
    /// `io` where one cannot be removed.
    pub fn break_ref_locks(&self, _held: &RepositoryLock, names: &[RefName]) -> Result<()> {
        self.references.break_locks(names)
    }

    /// Removes git's lock of `packed-refs`, where the dead process was deleting references.
    ///
    /// # Errors
    /// `io` where it cannot be removed.
    pub fn break_packed_refs_lock(&self, _held: &RepositoryLock) -> Result<()> {
        self.references.break_packed_lock()
    }

    /// Stores objects that are not there yet: few as loose objects, many as one pack. Returns how many were new. They are on
    /// disk before one of them is visible.
    ///
    /// # Errors
    /// `io` where something could not be written.
    pub fn write_durable<'a>(&self, objects: impl IntoIterator<Item = (GitId, ObjectKind, &'a [u8])>) -> Result<usize> {
        self.write_durable_with(&self.reader(), objects, BTreeSet::new())
    }

    /// Does the same with all that a reader does not find, and brings other files and folders to disk in one go with them.
    pub(crate) fn write_durable_with<'a>(
        &self,
        reader: &Reader,
        objects: impl IntoIterator<Item = (GitId, ObjectKind, &'a [u8])>,
        others: BTreeSet<PathBuf>,
    ) -> Result<usize> {
        let mut seen = HashSet::new();
        let mut new = Vec::new();
        for (id, kind, bytes) in objects {
            if seen.insert(id) && !reader.contains(id) {
                if GitId::of(self.format, kind, bytes) != id {
                    return Err(fault!(Bug, "an object that is to be stored does not have its id {id}"));
                }
                new.push((id, kind, bytes));
            }
        }
        if new.len() < PACK_FROM {
            self.write_loose(&new, others)?;
        } else {
            // What is read together stands together, and the same objects give the same pack.
            new.sort_unstable_by_key(|(id, kind, _)| (*kind != ObjectKind::Commit, *kind != ObjectKind::Tree, *id));
            let mut pack = self.pack(new.len(), LEVEL_DEFAULT)?;
            for (id, kind, bytes) in &new {
                pack.add_as(*id, *kind, bytes)?;
            }
            pack.finish()?;
            sync_folders(&others)?;
        }
        Ok(new.len())
    }

    /// Begins a pack in this repository; see [`PackWriter::create`].
    ///
    /// # Errors
    /// `io` where the file cannot be made.
    pub fn pack(&self, expected: usize, level: i32) -> Result<PackWriter> {
        PackWriter::create(&self.objects_path().join("pack"), self.format, expected, level)
    }

    fn write_loose(&self, objects: &[(GitId, ObjectKind, &[u8])], mut folders: BTreeSet<PathBuf>) -> Result<()> {
        let folder = self.objects_path();
        let mut deflate = Deflate::new(LEVEL_FAST);
        let mut files: Vec<(NamedTempFile, PathBuf)> = Vec::with_capacity(objects.len());
        for (id, kind, bytes) in objects {
            let hex = id.to_string();
            let (first, rest) = hex.split_at(2);
            let fan_out = folder.join(first);
            match fs::create_dir(&fan_out) {
                Ok(()) => {
                    folders.insert(folder.clone());
                }
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(io_error(&fan_out, &why)),
            }
            // git sweeps away files of this name that a killed process left.
            let mut file = new_file(&folder, "tmp_obj_").map_err(|why| io_error(&folder, &why))?;
            let header = format!("{} {}\0", kind.as_str(), bytes.len());
            let mut compressed = Vec::with_capacity(bytes.len() / 2 + 64);
            deflate
                .run(&[header.as_bytes(), bytes], |piece| {
                    compressed.extend_from_slice(piece);
                    Ok(())
                })
                .and_then(|()| file.write_all(&compressed))
                .map_err(|why| io_error(file.path(), &why))?;
            files.push((file, fan_out.join(rest)));
            folders.insert(fan_out);
        }
        let to_sync: Vec<(&Path, &File)> = files.iter().map(|(file, path)| (path.as_path(), file.as_file())).collect();
        sync_files(&to_sync)?;
        for (file, path) in files {
            let persisted = file.persist(&path).or_else(|failed| match path.parent() {
                // Git removes a folder when it has packed all that was in it.
                Some(folder) if failed.error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(folder).and_then(|()| failed.file.persist(&path).map_err(|failed| failed.error))
                }
                _ => Err(failed.error),
            });
            persisted.map_err(|why| io_error(&path, &why))?;
        }
        sync_folders_that_are_there(&folders)
    }

    /// Removes what killed processes left: files that never became objects, git's own quarantines of what was pushed and locks of proposals,
    /// once nobody has written to them for an hour, and quarantines of ours.
    ///
    /// # Errors
    /// `io` where a folder cannot be read, or something cannot be removed.
    pub fn sweep(&self, _held: &RepositoryLock) -> Result<()> {
        for folder in [self.objects_path(), self.objects_path().join("pack")] {
            sweep(&folder, &["tmp_obj_", "tmp_pack_", "tmp_idx_"])?;
        }
        sweep_pushed(&self.objects_path())?;
        // Only proposers, who have no journal, leave locks there.
        References::sweep_locks(&self.root.join("refs/incoming"), 0)?;
        Quarantine::sweep(self).map(drop)
    }

    /// Sets keys of the repository's configuration: all values of each key that is named are replaced by those given, so that
    /// a key given twice gets two values.
    ///
    /// # Errors
    /// `bad-repository` where the configuration cannot be parsed, `conflict` where it is locked, `io` where it cannot be written.
    pub fn set_config(&self, values: &[(&str, &str)]) -> Result<()> {
        let path = self.root.join("config");
        let (lock, mut file) = Lock::take(&path, &"the configuration")?;
        let mut config = read_config(&path)?;
        let wrong = |key: &str| fault!(Bug, "{key:?} is not a key of git's configuration");
        let mut cleared = BTreeSet::new();
        for (key, value) in values {
            let (section, rest) = key.split_once('.').ok_or_else(|| wrong(key))?;
            let (subsection, name) = match rest.rsplit_once('.') {
                Some((subsection, name)) => (Some(subsection), name),
                None => (None, rest),
            };
            if cleared.insert(*key) {
                let ids: Vec<_> = config
                    .sections_and_ids_by_name(section)
                    .into_iter()
                    .flatten()
                    .filter(|(found, _)| found.header().subsection_name().map(ToString::to_string).as_deref() == subsection)
                    .map(|(_, id)| id)
                    .collect();
                for id in ids {
                    if let Some(mut section) = config.section_mut_by_id(id) {
                        while section.remove(name).is_some() {}
                    }
                }
            }
            config
                .section_mut_or_create_new(section, subsection.map(gix::bstr::BStr::new))
                .and_then(|mut section| section.push(name, *value).map(drop))
                .map_err(|_| wrong(key))?;
        }
        let bytes = config.to_bstring();
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|why| io_error(&path, &why))?;
        lock.commit()?;
        sync_folders(&BTreeSet::from([self.root.clone()]))
    }

    /// Returns a value of the repository's own configuration, the last one where there are several.
    ///
    /// # Errors
    /// `bad-repository` where the configuration cannot be parsed, `io` where it cannot be read.
    pub fn config(&self, key: &str) -> Result<Option<String>> {
        Ok(read_config(&self.root.join("config"))?.string(key).map(|value| value.to_string()))
    }

    /// Takes the one lock that all who accept into this repository share, and waits at most this long for it. `note` says
    /// what for, and since when: it is shown to whoever waits in vain. The lock ends with this process, however it ends.
    ///
    /// # Errors
    /// `conflict` with the process that holds it, `io` where the lock file cannot be made.
    pub fn lock(&self, wait: Duration, note: &str) -> Result<RepositoryLock> {
        self.lock_file(LOCK_FILE, wait, note)
    }

    /// Takes the lock of whoever keeps the repository quick; acceptors do not mind it.
    ///
    /// # Errors
    /// `conflict` where another process has it, `io`.
    pub(crate) fn lock_for_upkeep(&self) -> Result<RepositoryLock> {
        self.lock_file(UPKEEP_LOCK_FILE, Duration::ZERO, "quipu: registry gc")
    }

    fn lock_file(&self, name: &str, wait: Duration, note: &str) -> Result<RepositoryLock> {
        let path = self.root.join(name);
        let at = |why: &io::Error| io_error(&path, why);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|why| at(&why))?;
        let until = Instant::now() + wait;
        let mut pause = Duration::from_millis(2);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let mut holder = String::new();
                        // A note that cannot be read leaves the message without it.
                        let _ = file.take(NOTE_MAX).read_to_string(&mut holder);
                        let holder = in_one_line(&holder);
                        let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
                        return Err(fault!(Conflict, "{} is in use by {holder}", self.root.display())
                            .hint("try again when that process is done"));
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(TryLockError::Error(why)) => return Err(at(&why)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("process {}: {note}\n", std::process::id()).as_bytes()))
            .map_err(|why| at(&why))?;
        Ok(RepositoryLock { file })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.root).field("format", &self.format).finish_non_exhaustive()
    }
}

/// The lock of a repository among all who accept into it. It ends when this value is dropped, or the process ends.
#[derive(Debug)]
pub struct RepositoryLock {
    file: File,
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        // A note that stays behind says nothing false while nobody holds the lock.
        let _ = self.file.set_len(0);
    }
}

/// Reads objects of a [`Store`] in one thread.
pub struct Reader {
    objects: gix::odb::HandleArc,
    format: ObjectFormat,
    /// The same objects, for the first reads.
    few: Objects,
    decoder: Decoder,
    /// How many objects were looked for.
    reads: Cell<u64>,
    /// So many of them are looked for without mapping the indexes of packs.
    unmapped: u64,
    /// Whether what is in none of the packs, and has no file, is not there.
    is_of_now: bool,
}

impl Reader {
    /// Says whether an object is there and its header can be read.
    pub fn contains(&self, id: GitId) -> bool {
        if id.format() != self.format {
            return false;
        }
        if self.find(id).is_some() {
            return true;
        }
        if self.is_of_now && !loose_path(&self.few.folder, id).exists() {
            return false;
        }
        matches!(self.objects.try_header(&to_gix(id)), Ok(Some(_)))
    }

    /// Finds an object in a pack: by small reads, until so many were read that mapping the indexes costs less.
    fn find(&self, id: GitId) -> Option<Found<'_>> {
        let reads = self.reads.get() + 1;
        self.reads.set(reads);
        let look = if reads > self.unmapped { Look::Many } else { Look::Few };
        let few = &self.few;
        few.packs.get_or_init(|| Packs::open(&few.folder, self.format, OBJECT_MEMORY_MAX)).find(id, look, &self.decoder)
    }

    /// Returns kind and size in bytes of an object; `None` where there is none. Neither was checked against the id.
    ///
    /// # Errors
    /// `corrupt-object` where the header cannot be read.
    pub fn header(&self, id: GitId) -> Result<Option<(ObjectKind, u64)>> {
        if id.format() != self.format {
            return Ok(None);
        }
        if let Some(found) = self.find(id) {
            return Ok(Some((kind_from_gix(found.kind), found.size)));
        }
        let header = self.objects.try_header(&to_gix(id)).map_err(|why| unreadable(id, &why))?;
        Ok(header.map(|header| (kind_from_gix(header.kind), header.size)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        effort::objects(self.reads.get());
    }
}

impl ReadObjects for Reader {
    fn format(&self) -> ObjectFormat {
        self.format
    }

    fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
        let missing = || fault!(NotFound, "there is no object {id}");
        let is_not =
            |found: ObjectKind| fault!(CorruptObject, "object {id} is a {}, expected a {}", found.as_str(), kind.as_str());
        let check = |found: ObjectKind, size: u64| {
            if found != kind {
                return Err(is_not(found));
            }
            if size > limit {
                return Err(fault!(Limit, "object {id} has {size} bytes, at most {limit} are read"));
            }
            Ok(())
        };
        if id.format() != self.format {
            return Err(missing());
        }
        // What is not as it should be may be right in another pack, or else it is for gix to say.
        if let Some(found) = self.find(id)
            && check(kind_from_gix(found.kind), found.size).is_ok()
            && let Some(bytes) = found.read(&self.decoder)
            && GitId::of(self.format, kind, &bytes) == id
        {
            return Ok(bytes);
        }
        let header = self.objects.try_header(&to_gix(id)).map_err(|why| unreadable(id, &why))?.ok_or_else(missing)?;
        check(kind_from_gix(header.kind), header.size)?;
        let mut bytes = Vec::new();
        let data = self.objects.try_find(&to_gix(id), &mut bytes).map_err(|why| unreadable(id, &why))?;
        let found = kind_from_gix(data.ok_or_else(missing)?.kind);
        if found != kind {
            return Err(is_not(found));
        }
        let found = GitId::of(self.format, kind, &bytes);
        if found != id {
            return Err(fault!(CorruptObject, "object {id} has the bytes of {found}")
                .hint("git fsck says more; a mirror may have the right bytes"));
        }
        Ok(bytes)
    }
}

fn unreadable(id: GitId, why: &dyn std::fmt::Display) -> Error {
    fault!(CorruptObject, "object {id} cannot be read: {}", in_one_line(&why.to_string()))
        .hint("git fsck says more; a mirror may have the right bytes")
}

/// Returns gix's word for an object format.
pub(crate) fn gix_kind(format: ObjectFormat) -> gix::hash::Kind {
    match format {
        ObjectFormat::Sha1 => gix::hash::Kind::Sha1,
        ObjectFormat::Sha256 => gix::hash::Kind::Sha256,
    }
}

fn to_gix(id: GitId) -> ObjectId {
    ObjectId::from_bytes_or_panic(id.as_bytes())
}

/// Takes an id from gix.
pub(crate) fn from_gix(id: &ObjectId) -> Result<GitId> {
    GitId::from_bytes(id.as_slice()).ok_or_else(|| fault!(Bug, "{id} has an unknown length"))
}

fn kind_from_gix(kind: gix::objs::Kind) -> ObjectKind {
    match kind {
        gix::objs::Kind::Blob => ObjectKind::Blob,
        gix::objs::Kind::Tree => ObjectKind::Tree,
        gix::objs::Kind::Commit => ObjectKind::Commit,
        gix::objs::Kind::Tag => ObjectKind::Tag,
    }
}

/// Removes the temporary files in a folder that nobody has written to for an hour.
fn sweep(folder: &Path, prefixes: &[&str]) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|why| io_error(folder, &why))? {
        let entry = entry.map_err(|why| io_error(folder, &why))?;
        let name = entry.file_name();
        let is_temporary = name.to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        if is_temporary {
            remove_if_old(&entry)?;
        }
    }
    Ok(())
}

/// Removes the folders that git puts pushed objects into, until hooks have looked at them, where nobody has written for an hour.
fn sweep_pushed(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|why| io_error(folder, &why))? {
        let entry = entry.map_err(|why| io_error(folder, &why))?;
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with("tmp_objdir-")) {
            continue;
        }
        // A push that takes hours writes to its pack all the while. What cannot be looked at is somebody else's, or going right now.
        let is_old = |entry: &walkdir::DirEntry| {
            let written = entry.metadata().ok().and_then(|found| found.modified().ok());
            written.is_some_and(|written| written.elapsed().is_ok_and(|age| age >= TEMPORARY_AGE))
        };
        if walkdir::WalkDir::new(entry.path()).into_iter().all(|entry| entry.is_ok_and(|entry| is_old(&entry))) {
            match fs::remove_dir_all(entry.path()) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error(&entry.path(), &why)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Says whether nobody has written to a file for an hour.
pub(crate) fn is_old(entry: &fs::DirEntry) -> bool {
    let written = entry.metadata().and_then(|found| found.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age >= TEMPORARY_AGE))
}

/// Removes a file that nobody has written to for an hour.
pub(crate) fn remove_if_old(entry: &fs::DirEntry) -> Result<()> {
    if is_old(entry) {
        match fs::remove_file(entry.path()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error(&entry.path(), &why)),
            _ => {}
        }
    }
    Ok(())
}

/// Finds the git directory, and sees that it is one.
fn find_root(path: &Path) -> Result<PathBuf> {
    if !path.try_exists().map_err(|why| io_error(path, &why))? {
        return Err(fault!(NotFound, "{}: there is no repository", path.display())
            .hint("look at the path; a registry is made with: quipu registry init PATH --name DOMAIN"));
    }
    let inner = path.join(".git");
    if inner.is_file() || path.join("commondir").is_file() {
        return Err(fault!(BadRepository, "{} is a linked working copy, expected a repository", path.display())
            .hint("name the repository that it was made from: git rev-parse --git-common-dir"));
    }
    let root = if inner.is_dir() { inner } else { path.to_owned() };
    for (name, is_folder) in [("HEAD", false), ("objects", true), ("refs", true)] {
        let part = root.join(name);
        // HEAD may be a symbolic link to a branch that does not exist yet.
        if !(if is_folder { part.is_dir() } else { part.symlink_metadata().is_ok() }) {
            return Err(fault!(BadRepository, "{} is not a git repository: it has no {name}", path.display()));
        }
    }
    fs::canonicalize(&root).map_err(|why| io_error(&root, &why))
}

fn read_config(path: &Path) -> Result<gix::config::File> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(CONFIG_MAX).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(io_error(path, &why)),
    }
    let source = gix::config::file::Metadata::from(gix::config::Source::Local);
    gix::config::File::from_bytes_no_includes(&bytes, source, gix::config::file::init::Options::default())
        .map_err(|why| fault!(BadRepository, "{}: {}", path.display(), in_one_line(&why.to_string())))
}

/// Reads the object format, and refuses repositories whose objects or references are kept in a way that is not known.
fn read_format(root: &Path) -> Result<ObjectFormat> {
    let config = read_config(&root.join("config"))?;
    let text = |key: &str| config.string(key).map(|value| value.to_string());
    let bad = |why: String| fault!(BadRepository, "{}: {why}", root.display());
    let version = match text("core.repositoryFormatVersion") {
        None => 0,
        Some(version) => match version.parse() {
            Ok(version @ 0..=1) => version,
            _ => return Err(bad(format!("its repository format version is {version:?}, expected 0 or 1"))),
        },
    };
    if let Some(references) = text("extensions.refStorage")
        && references != "files"
    {
        return Err(bad(format!("it keeps references as {references:?}, expected \"files\""))
            .hint("convert it: git refs migrate --ref-format=files"));
    }
    let format = match text("extensions.objectFormat") {
        None => ObjectFormat::Sha1,
        Some(_) if version == 0 => {
            return Err(bad("it names an object format, and its repository format version is 0, expected 1".to_owned()));
        }
        Some(name) => name.parse().map_err(|_| {
            bad(format!("its object format is {name:?}, expected sha1 or sha256")).hint("a newer version of quipu may know it")
        })?,
    };
    if version > 0 {
        for section in config.sections_by_name("extensions").into_iter().flatten() {
            for name in section.body().value_names() {
                let name = name.to_ascii_lowercase();
                if !["objectformat", "refstorage"].contains(&name.as_str()) && !HARMLESS_EXTENSIONS.contains(&name.as_str()) {
                    return Err(bad(format!("it has the extension {name:?}, which is not known"))
                        .hint("a newer version of quipu may know it"));
                }
            }
        }
    }
    Ok(format)
}

/// Returns what names a folder of objects in `objects/info/alternates`.
pub(crate) fn alternate_line(folder: &Path) -> Result<&[u8]> {
    let bytes = folder.as_os_str().as_encoded_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_control()) {
        return Err(fault!(BadRepository, "{}: git cannot read objects from a path with control characters", folder.display()));
    }
    Ok(bytes)
}

fn open_objects(path: &Path, format: ObjectFormat) -> Result<Objects> {
    let options = gix::odb::store::init::Options {
        slots: gix::odb::store::init::Slots::AsNeededByDiskState { multiplier: 1.25, minimum: NEW_PACKS_MAX },
        alloc_limit_bytes: Some(OBJECT_MEMORY_MAX),
        ..Default::default()
    };
    // The second argument but one would be what replaces what: nothing does.
    let all = gix::odb::Store::at_opts(path.to_owned(), gix_kind(format), &mut std::iter::empty(), options)
        .map_err(|why| io_error(path, &why))?;
    Ok(Objects { all: Arc::new(all), packs: Arc::default(), folder: path.into() })
}

/// Makes room for what deltas stand on.
pub(crate) fn delta_bases() -> Box<dyn gix::odb::pack::cache::DecodeEntry + Send> {
    Box::new(gix::odb::pack::cache::lru::StaticLinkedList::<64>::new(DELTA_BASES_MAX))
}

/// Says whether objects are read from other folders as well.
fn objects_have_alternates(objects: &Path) -> bool {
    objects.join("info/alternates").exists()
}

/// Where an object is that has a file of its own.
fn loose_path(objects: &Path, id: GitId) -> PathBuf {
    let hex = id.to_string();
    let (first, rest) = hex.split_at(2);
    objects.join(first).join(rest)
}

/// Writes the files of an empty bare repository into an empty folder, without bringing them to disk. `fsync` is what git is
/// to bring to disk when it writes there. Returns the files and folders.
pub(crate) fn write_skeleton(root: &Path, format: ObjectFormat, fsync: &str) -> Result<BTreeSet<PathBuf>> {
    let mut written = BTreeSet::new();
    for folder in ["", "objects", "objects/info", "objects/pack", "refs", "refs/heads"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).map_err(|why| io_error(&path, &why))?;
        written.insert(path);
    }
    let (version, extension) = match format {
        ObjectFormat::Sha1 => (0, ""),
        ObjectFormat::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
    };
    let config = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = true\n\tfsync = {fsync}\n{extension}"
    );
    for (name, text) in [("config", config), ("HEAD", format!("ref: {}\n", front_page()))] {
        let path = root.join(name);
        File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|why| io_error(&path, &why))?;
        written.insert(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::{FORMATS, assert_sound, empty, git, history, put, try_git};
    use crate::git::layout;
    use crate::git::program::Program;
    use crate::git::refs::Expected;
    use crate::model::error::ErrorCode;
    use crate::model::object::{MemoryObjects, WriteObjects as _};

    /// Lets a test overwrite a file that is read-only.
    fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::remove_file(path).unwrap();
        put(path, bytes);
    }

    fn loose_path(store: &Store, id: GitId) -> PathBuf {
        super::loose_path(&store.objects_path(), id)
    }

    #[test]
    fn stores_and_readers_go_where_threads_need_them() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Store>();
        sent::<Reader>();
    }

    #[test]
    fn a_new_repository_is_one_to_git_and_opens_again() -> Result<()> {
        for format in FORMATS {
            let (folder, store) = empty(format);
            assert_eq!(
                git(store.path(), &["rev-parse", "--show-object-format", "--is-bare-repository"]),
                format!("{format}\ntrue\n")
            );
            assert_sound(store.path());
            assert_eq!(Store::open(&folder.path().join("registry.git"))?.format(), format);
            let again = Store::init(&folder.path().join("registry.git"), format).unwrap_err();
            assert_eq!(again.code(), ErrorCode::Exists);
            let file = folder.path().join("file");
            put(&file, "");
            assert_eq!(Store::init(&file, format).unwrap_err().code(), ErrorCode::Exists);
            // Nothing else was left in the folder, and an empty one will do.
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
            fs::create_dir(folder.path().join("empty")).unwrap();
            Store::init(&folder.path().join("empty"), format)?;
        }
        Ok(())
    }

    #[test]
    fn working_copies_open_and_other_things_are_refused() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let init = |name: &str, args: &[&str]| {
            let output = Program::git().args(["init", "-q"]).args(args).arg(at(name)).run().unwrap();
            assert!(output.success, "{}", output.stderr);
        };
        init("work", &[]);
        assert_eq!(Store::open(&at("work"))?.path(), fs::canonicalize(at("work/.git")).unwrap());
        assert_eq!(Store::open(&at("none")).unwrap_err().code(), ErrorCode::NotFound);
        assert_eq!(Store::open(folder.path()).unwrap_err().code(), ErrorCode::BadRepository);
        init("reftable", &["--bare", "--ref-format=reftable"]);
        let error = Store::open(&at("reftable")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadRepository);
        assert!(error.message().contains("reftable") && error.hints()[0].contains("git refs migrate"), "{error:?}");
        for (name, config) in [
            ("md5", "[core]\nrepositoryformatversion=1\n[extensions]\nobjectFormat=md5\n"),
            ("unknown", "[core]\nrepositoryformatversion=1\n[extensions]\nfuture=true\n"),
            ("old", "[core]\nrepositoryformatversion=0\n[extensions]\nobjectformat=sha256\n"),
            ("new", "[core]\nrepositoryformatversion=2\n"),
            ("broken", "[core\n"),
        ] {
            init(name, &["--bare"]);
            put(at(name).join("config"), config);
            assert_eq!(Store::open(&at(name)).unwrap_err().code(), ErrorCode::BadRepository, "{name}");
        }
        put(at("work/.git/config"), "[core]\nrepositoryformatversion=1\n[extensions]\nrefStorage=files\nworktreeConfig=true\n");
        Store::open(&at("work"))?;
        Ok(())
    }

    #[test]
    fn objects_are_stored_once_few_loose_and_many_in_a_pack() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (few, _) = history(format, 4);
            let (many, commits) = history(format, 60);
            assert_eq!(store.write_durable(few.iter())?, 12);
            assert_eq!(store.write_durable(few.iter())?, 0);
            assert_eq!(git(store.path(), &["count-objects", "-v"]).lines().next(), Some("count: 12"));
            assert_eq!(store.write_durable(many.iter())?, 168);
            assert_eq!(store.write_durable(many.iter())?, 0);
            let counts = git(store.path(), &["count-objects", "-v"]);
            assert!(counts.contains("count: 12\n") && counts.contains("in-pack: 168\npacks: 1\n"), "{counts}");
            assert!(counts.contains("garbage: 0\n"), "{counts}");
            store.update(&[RefEdit { name: front_page(), expected: Expected::Absent, new: commits.last().copied() }])?;
            assert_sound(store.path());
            let reader = store.reader();
            for (id, kind, bytes) in many.iter() {
                assert!(reader.contains(id));
                assert_eq!(reader.read(kind, id, bytes.len() as u64)?, bytes);
            }
        }
        Ok(())
    }

    #[test]
    fn deltas_and_multi_pack_indices_of_git_are_read() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (objects, commits) = history(format, 60);
            store.write_durable(objects.iter())?;
            store.update(&[RefEdit { name: front_page(), expected: Expected::Absent, new: commits.last().copied() }])?;
            let early = store.reader();
            git(store.path(), &["repack", "-adq", "--depth=50", "--write-midx"]);
            store.refresh()?;
            for reader in [early, store.reader()] {
                for (id, kind, bytes) in objects.iter() {
                    assert_eq!(reader.read(kind, id, STRUCTURE)?, bytes);
                }
            }
        }
        Ok(())
    }

    const STRUCTURE: u64 = 1 << 20;

    #[test]
    fn reading_says_what_is_missing_of_another_kind_or_too_large() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let mut objects = MemoryObjects::new(format);
            let blob = objects.write(ObjectKind::Blob, &[b'x'; 1000])?;
            store.write_durable(objects.iter())?;
            let reader = store.reader();
            let code = |kind, id, limit| reader.read(kind, id, limit).unwrap_err().code();
            assert_eq!(code(ObjectKind::Blob, format.empty_tree(), STRUCTURE), ErrorCode::NotFound);
            assert_eq!(code(ObjectKind::Tree, blob, STRUCTURE), ErrorCode::CorruptObject);
            assert_eq!(code(ObjectKind::Blob, blob, 999), ErrorCode::Limit);
            assert_eq!(reader.read(ObjectKind::Blob, blob, 1000)?.len(), 1000);
            assert_eq!(reader.header(blob)?, Some((ObjectKind::Blob, 1000)));
            let foreign = FORMATS[usize::from(format == FORMATS[0])].empty_tree();
            assert_eq!(code(ObjectKind::Tree, foreign, STRUCTURE), ErrorCode::NotFound);
        }
        Ok(())
    }

    #[test]
    fn a_blob_of_zeros_is_refused_by_its_header() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let mut pack = store.pack(1, LEVEL_FAST)?;
        let zeros = pack.add(ObjectKind::Blob, &vec![0; 64 << 20])?;
        pack.finish()?;
        let before = Instant::now();
        assert_eq!(store.reader().read(ObjectKind::Blob, zeros, STRUCTURE).unwrap_err().code(), ErrorCode::Limit);
        // Not a matter of speed: the point is that it was not inflated, which takes far longer.
        assert!(before.elapsed() < Duration::from_secs(5));
        Ok(())
    }

    #[test]
    fn damaged_objects_are_corrupt_loose_and_packed() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (objects, commits) = history(format, 2);
            store.write_durable(objects.iter())?;
            let read = |store: &Store, n: usize| store.reader().read(ObjectKind::Commit, commits[n], STRUCTURE);
            // The bytes of another object, in perfect order.
            let other = fs::read(loose_path(&store, commits[1])).unwrap();
            overwrite(&loose_path(&store, commits[0]), |bytes| *bytes = other);
            let error = read(&store, 0).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CorruptObject);
            assert!(
                error.message().contains(&commits[0].to_string()) && error.message().contains(&commits[1].to_string()),
                "{error}"
            );
            for damage in [0usize, 5, 40] {
                let path = loose_path(&store, commits[1]);
                let whole = fs::read(&path).unwrap();
                overwrite(&path, |bytes| bytes[damage] ^= 0x55);
                assert_eq!(read(&store, 1).unwrap_err().code(), ErrorCode::CorruptObject, "{damage}");
                overwrite(&path, |bytes| *bytes = whole);
            }
            // An empty file, as a power failure leaves it, is not taken for the object, and is written anew.
            overwrite(&loose_path(&store, commits[0]), Vec::clear);
            assert!(!store.contains(commits[0]));
            assert_eq!(read(&store, 0).unwrap_err().code(), ErrorCode::CorruptObject);
            assert_eq!(store.write_durable(objects.iter())?, 1);
            assert!(read(&store, 0).is_ok());

            let (_folder, packed) = empty(format);
            let mut pack = packed.pack(1, LEVEL_FAST)?;
            let mut id = None;
            for (_, kind, bytes) in objects.iter().filter(|(id, ..)| *id == commits[1]) {
                id = Some(pack.add(kind, bytes)?);
            }
            let path = pack.finish()?.unwrap().with_extension("pack");
            let size = fs::metadata(&path).unwrap().len() as usize;
            assert_eq!(id, Some(commits[1]));
            // Every byte of the compressed object.
            let trailer = format.id_len();
            for place in (14..size - trailer).step_by(7) {
                overwrite(&path, |bytes| bytes[place] ^= 0x10);
                packed.refresh()?;
                match read(&packed, 1) {
                    // A bit that the compression does not care about.
                    Ok(bytes) => assert_eq!(GitId::of(format, ObjectKind::Commit, &bytes), commits[1]),
                    Err(error) => assert_eq!(error.code(), ErrorCode::CorruptObject, "{place}: {error}"),
                }
                overwrite(&path, |bytes| bytes[place] ^= 0x10);
            }
        }
        Ok(())
    }

    #[test]
    fn what_a_repository_says_about_itself_does_not_change_what_is_read() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (objects, commits) = history(format, 3);
            store.write_durable(objects.iter())?;
            store.update(&[RefEdit { name: layout::registry_log(), expected: Expected::Absent, new: Some(commits[2]) }])?;
            let marker = store.path().join("hook-ran");
            let hook = format!("touch {}; cat", marker.display());
            git(store.path(), &["replace", &commits[2].to_string(), &commits[0].to_string()]);
            store.set_config(&[
                ("core.useReplaceRefs", "true"),
                ("core.hooksPath", "/evil"),
                ("core.fsmonitor", &hook),
                ("core.alternateRefsCommand", &hook),
                ("include.path", "/evil"),
                ("gitoxide.objects.allocLimit", "1"),
                ("gitoxide.core.refsNamespace", "evil"),
                ("url./evil.insteadOf", "/"),
            ])?;
            fs::create_dir_all(store.path().join("info")).unwrap();
            put(store.path().join("info/grafts"), format!("{}\n", commits[2]));
            put(store.path().join("shallow"), format!("{}\n", commits[2]));
            let store = Store::open(store.path())?;
            let wanted = objects.read(ObjectKind::Commit, commits[2], STRUCTURE)?;
            assert_eq!(store.reader().read(ObjectKind::Commit, commits[2], STRUCTURE)?, wanted);
            assert_eq!(store.reference(&layout::registry_log())?, Some(commits[2]));
            assert!(!marker.exists());
        }
        Ok(())
    }

    #[test]
    fn objects_of_alternates_are_read_and_not_written_again() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let (_other_folder, other) = empty(ObjectFormat::Sha1);
        let (objects, commits) = history(ObjectFormat::Sha1, 2);
        store.write_durable(objects.iter())?;
        put(other.objects_path().join("info/alternates"), format!("{}\n", store.objects_path().display()));
        assert!(other.contains(commits[1]));
        assert_eq!(other.write_durable(objects.iter())?, 0);
        Ok(())
    }

    #[test]
    fn configuration_is_set_as_git_reads_it() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha256);
        store.set_config(&[
            ("uploadpack.allowFilter", "true"),
            ("receive.hideRefs", "refs/packages"),
            ("receive.hideRefs", "!refs/incoming"),
            ("url.a.b \"c\\.insteadOf", " spaced; \"quoted\" \\ "),
        ])?;
        store.set_config(&[("uploadpack.allowfilter", "false"), ("receive.hideRefs", "refs/registry")])?;
        let get = |key: &str| git(store.path(), &["config", "--local", "--get-all", key]);
        assert_eq!(get("receive.hideRefs"), "refs/registry\n");
        assert_eq!(get("uploadpack.allowFilter").lines().last(), Some("false"));
        assert_eq!(get("url.a.b \"c\\.insteadOf"), " spaced; \"quoted\" \\ \n");
        assert_eq!(get("extensions.objectformat"), "sha256\n");
        assert_eq!(store.set_config(&[("nodot", "x")]).unwrap_err().code(), ErrorCode::Bug);
        store.set_config(&[("core.logAllRefUpdates", "false")])?;
        assert_sound(store.path());
        Ok(())
    }

    #[test]
    fn one_holds_the_lock_and_the_other_learns_who() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let held = store.lock(Duration::ZERO, "accept since noon\u{1b}")?;
        let other = Store::open(store.path())?;
        let error = other.lock(Duration::from_millis(20), "gc").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Conflict);
        assert!(error.message().contains(&format!("process {}: accept since noon", std::process::id())), "{error}");
        assert!(!error.message().contains('\u{1b}'));
        // Whoever waits long enough gets it.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| other.lock(Duration::from_secs(60), "gc").map(drop));
            drop(held);
            waiting.join().unwrap()
        })?;
        // A program that another thread starts has the lock's file, too, until it is what it is to be.
        drop(store.lock(Duration::from_secs(60), "again")?);
        assert!(try_git(store.path(), &["status"]).code.is_some());
        Ok(())
    }
}
