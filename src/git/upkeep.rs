//! Keeping a repository quick: references in one file, objects in few packs, and nothing for ever that no reference leads to.
//!
//! Git does the work. The small upkeep loses nothing and runs beside everybody: it costs what is new, since packs are merged only where
//! that leaves each at least twice as large as the next (`git repack --geometric`). The large one makes one pack of all that references
//! lead to, with a bitmap, and drops what they have not led to for a while; nobody accepts meanwhile.

use super::layout::{INCOMING, REFUSED};
use super::pack::io_error;
use super::program::Program;
use super::refs::sync_folders;
use super::store::{RepositoryLock, Store, is_old, remove_if_old};
use crate::model::digest::GitId;
use crate::model::error::{ErrorCode, Result, fault};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From so many loose objects on it is time; git's `gc.auto` is the same.
const LOOSE_MAX: usize = 6_700;
/// From so many packs on it is time; git's `gc.autoPackLimit` is the same.
const PACKS_MAX: usize = 50;
/// From so many packs on that came since all were indexed together it is done anew,
const NEW_PACKS_MAX: u64 = 8;
/// and where they have this part of all objects.
const NEW_PART: u64 = 8;
/// There are so many folders of loose objects, each with as many of them as any other.
const FAN_OUT: usize = 256;
/// The one that is counted to know how many there are in all, as git does.
const SAMPLE: &str = "17";
/// How long acceptors are waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// The key that says whether upkeep happens by itself: `auto`, which is the default, or `never`.
const KEY: &str = "quipu.gc";
/// The file that says that objects were dropped, by a number that changes.
const DROPPED: &str = "quipu-dropped";

/// What is in a repository, as far as upkeep changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// References in files of their own.
    pub loose_references: u64,
    /// Objects in files of their own.
    pub loose_objects: u64,
    /// Packs.
    pub packs: u64,
    /// The bytes of all objects.
    pub bytes: u64,
}

impl Tally {
    /// Counts.
    ///
    /// # Errors
    /// `io`.
    pub fn of(store: &Store) -> Result<Self> {
        let mut tally = Tally { loose_references: store.loose_names("refs/")?.len() as u64, ..Tally::default() };
        let folder = store.objects_path();
        for entry in read_dir(&folder)? {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if name == "pack" {
                for entry in read_dir(&path)? {
                    let pack = entry.file_name().to_string_lossy().ends_with(".pack");
                    tally.packs += u64::from(pack);
                    tally.bytes += if pack { length(&entry) } else { 0 };
                }
            } else if name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                for entry in read_dir(&path)? {
                    tally.loose_objects += 1;
                    tally.bytes += length(&entry);
                }
            }
        }
        Ok(tally)
    }
}

/// Lists a folder; there is nothing in one that is not there.
fn read_dir(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder).and_then(Iterator::collect) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(|why| io_error(folder, &why)),
    }
}

/// The length of a file; none of one that has gone meanwhile.
fn length(entry: &fs::DirEntry) -> u64 {
    entry.metadata().map_or(0, |found| found.len())
}

/// Says whether it is time for upkeep, by a look at two folders, and whether the repository's configuration wants it.
///
/// # Errors
/// `bad-config` where it says something else than `auto` or `never`, `io`.
pub fn is_due(store: &Store) -> Result<bool> {
    match store.config(KEY)?.as_deref() {
        None | Some("auto") => {}
        Some("never") => return Ok(false),
        Some(other) => {
            return Err(fault!(BadConfig, "{KEY} is {other:?} in the repository's configuration, expected auto or never"));
        }
    }
    let objects = store.objects_path();
    let packs = read_dir(&objects.join("pack"))?;
    let packs = packs.iter().filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count();
    Ok(packs > PACKS_MAX || read_dir(&objects.join(SAMPLE))?.len() * FAN_OUT > LOOSE_MAX)
}

/// Keeps others from doing upkeep at the same time, until it is dropped.
#[derive(Debug)]
pub struct Upkeep<'a> {
    store: &'a Store,
    _lock: RepositoryLock,
}

impl<'a> Upkeep<'a> {
    /// Begins; `None` where another process is at it.
    ///
    /// # Errors
    /// `io`.
    pub fn begin(store: &'a Store) -> Result<Option<Self>> {
        match store.lock_for_upkeep() {
            Ok(lock) => Ok(Some(Upkeep { store, _lock: lock })),
            Err(error) if error.code() == ErrorCode::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Packs references and new objects. Whoever reads or writes meanwhile need not wait, but for references. First `settle` may end a journal
    /// that a killed process left.
    ///
    /// # Errors
    /// `conflict` where acceptors do not end, `git` where git cannot, `io`; nothing is lost then.
    pub fn small(&self, settle: impl FnOnce(&RepositoryLock) -> Result<()>) -> Result<()> {
        let lock = self.accepting()?;
        settle(&lock)?;
        self.pack_references(&lock)?;
        drop(lock);
        self.adopt_packs()?;
        self.git("packing objects", &["repack", "-d", "-n", "-q", "--geometric=2"])?;
        index_packs(self.store)
    }

    /// Makes one pack of all that references lead to, with a bitmap, and an index of all commits. What they do not lead to is dropped once it
    /// is so many days old. Nobody accepts meanwhile.
    ///
    /// # Errors
    /// Those of [`Upkeep::small`]. What was begun can be begun again.
    pub fn large(&self, days: u32, settle: impl FnOnce(&RepositoryLock) -> Result<()>) -> Result<()> {
        let lock = self.accepting()?;
        settle(&lock)?;
        self.pack_references(&lock)?;
        self.store.sweep(&lock)?;
        self.adopt_packs()?;
        // Who relied on an object that goes now hears of it.
        self.store.tell_of_drop(&lock)?;
        let expiry = if days == 0 { "now".to_owned() } else { format!("{days}.days.ago") };
        let cruft = format!("--cruft-expiration={expiry}");
        // Without the table each fetch would read the whole bitmap first, which takes longer than the rest of it.
        let table = "pack.writeBitmapLookupTable=true";
        self.git("packing objects", &["-c", table, "repack", "-a", "-d", "-b", "-n", "-q", "--cruft", &cruft])?;
        index_packs(self.store)?;
        self.drop_loose(&expiry)?;
        self.git("indexing commits", &["commit-graph", "write", "--reachable", "--split", "--no-progress"])
    }

    /// Drops what is so old and in files of their own: it goes into no pack. Git says which they are; it would also remove folders, under the
    /// hands of whoever is about to put an object there.
    fn drop_loose(&self, expiry: &str) -> Result<()> {
        let expire = format!("--expire={expiry}");
        let output = Program::git().args(["prune", "-n", &expire]).env("GIT_DIR", self.store.path()).run()?;
        if !output.success {
            return Err(fault!(Git, "finding what nothing leads to: git failed: {}", output.words()));
        }
        let objects = self.store.objects_path();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some(id) = line.split(' ').next().and_then(|id| id.parse::<GitId>().ok()) else { continue };
            let id = id.to_string();
            let path = objects.join(&id[..2]).join(&id[2..]);
            match fs::remove_file(&path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, &why)),
                _ => {}
            }
        }
        Ok(())
    }

    fn accepting(&self) -> Result<RepositoryLock> {
        self.store.lock(LOCK_WAIT, "quipu: registry gc")
    }

    /// Gives packs their names that a killed `git repack` had finished: git reads them under the names that they have until then, so that
    /// what is in them may be nowhere else by now. What it had not finished goes.
    fn adopt_packs(&self) -> Result<()> {
        let folder = self.store.objects_path().join("pack");
        let mut left: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
        for entry in read_dir(&folder)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".tmp-")
                && is_old(&entry)
                && let Some((stem, extension)) = name.rsplit_once('.')
            {
                left.entry(stem.to_owned()).or_default().push((extension.to_owned(), entry.path()));
            }
        }
        for (stem, mut files) in left {
            let has = |wanted: &str| files.iter().any(|(extension, _)| extension == wanted);
            let name = stem.find("pack-").map(|at| &stem[at..]).filter(|_| has("pack") && has("idx"));
            // The index is what makes it a pack: it goes first, and comes last.
            files.sort_by_key(|(extension, _)| (extension == "idx") == name.is_some());
            for (extension, path) in files {
                let done = match name.map(|name| folder.join(format!("{name}.{extension}"))).filter(|to| !to.exists()) {
                    Some(to) => fs::rename(&path, to),
                    None => fs::remove_file(&path),
                };
                done.map_err(|why| io_error(&path, &why))?;
            }
        }
        Ok(())
    }

    /// Packs all references but those that soon go.
    fn pack_references(&self, lock: &RepositoryLock) -> Result<()> {
        let store = self.store;
        let left = store.read_journal(lock)?;
        let mut names = store.loose_names("refs/")?;
        names.retain(|name| !name.as_str().starts_with(INCOMING) && !name.as_str().starts_with(REFUSED));
        if names.is_empty() {
            return Ok(());
        }
        // Should git be killed, the next acceptor finds the locks that it left.
        sync_folders(&store.write_journal(lock, &names)?)?;
        let except: Vec<String> = [INCOMING, REFUSED].iter().map(|prefix| format!("--exclude={prefix}*")).collect();
        self.git("packing references", &["pack-refs", "--all", "--prune", &except[0], &except[1]])?;
        // A lock that it could not remove is none of its failures to git.
        store.break_ref_locks(lock, &names.into_iter().collect::<Vec<_>>())?;
        sync_folders(&BTreeSet::from([store.path().to_owned()]))?;
        store.end_journal(lock)?;
        if !left.is_empty() {
            // What a killed acceptor left is still for the next one to look at.
            store.write_journal(lock, &left)?;
        }
        Ok(())
    }

    fn git(&self, what: &str, args: &[&str]) -> Result<()> {
        git(self.store, what, args)
    }
}

fn git(store: &Store, what: &str, args: &[&str]) -> Result<()> {
    let path = store.path();
    let output = Program::git().env("GIT_DIR", path).config("core.fsync", "all").args(args).run()?;
    if output.success {
        return Ok(());
    }
    Err(fault!(Git, "{}: {what} failed, and nothing is lost: {}", path.display(), output.words()))
}

/// Makes one index of all packs, so that an object is looked for once and not in one pack after another. The packs' own ones stay.
fn index_packs(store: &Store) -> Result<()> {
    let entries = read_dir(&store.objects_path().join("pack"))?;
    if !entries.iter().any(|entry| entry.path().extension().is_some_and(|end| end == "idx")) {
        return Ok(());
    }
    for entry in entries.iter().filter(|entry| entry.file_name() == "multi-pack-index.lock") {
        // A killed process left it; or another one is at it right now, and then git says so.
        remove_if_old(entry)?;
    }
    git(store, "indexing packs", &["multi-pack-index", "write", "--no-progress"])
}

/// Does the same where enough has come since it was done last: it takes as long as reading all indexes, a second or two for a million
/// packages.
///
/// # Errors
/// `git` where git cannot, `io`.
pub(crate) fn index_new_packs(store: &Store) -> Result<()> {
    let (mut new, mut bytes, mut all) = (0, 0, 0);
    let folder = store.objects_path().join("pack");
    let last = fs::metadata(folder.join("multi-pack-index")).and_then(|found| found.modified()).ok();
    for entry in read_dir(&folder)?.iter().filter(|entry| entry.path().extension().is_some_and(|end| end == "idx")) {
        let length = length(entry);
        all += length;
        if last.is_none_or(|last| entry.metadata().and_then(|found| found.modified()).is_ok_and(|made| made >= last)) {
            new += 1;
            bytes += length;
        }
    }
    if new > NEW_PACKS_MAX || bytes * NEW_PART > all { index_packs(store) } else { Ok(()) }
}

impl Store {
    /// Says that objects are about to be dropped.
    fn tell_of_drop(&self, _held: &RepositoryLock) -> Result<()> {
        let path = self.path().join(DROPPED);
        let next = drops(self.path()) + 1;
        let new = path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| file.write_all(format!("{next}\n").as_bytes()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(|why| io_error(&path, &why))?;
        sync_folders(&BTreeSet::from([path, self.path().to_owned()]))
    }
}

/// How often objects were dropped from the repository in a git directory. Whoever relies on objects that no reference leads to yet compares it
/// with what it was when it opened them.
pub(crate) fn drops(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join(DROPPED)).unwrap_or_default();
    text.trim_ascii_end().parse().unwrap_or(0)
}
