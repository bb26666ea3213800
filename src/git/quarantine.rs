//! Where fetched objects wait until they are verified: a scratch git directory beside a store, not part of it.
//!
//! It reads the store's objects through alternates, and has no references but those that it is given and those that a fetch
//! makes. So nothing unverified is ever served, and git, which looks at every local reference when it fetches, has few to
//! look at.

use super::layout::RefName;
use super::pack::io_error;
use super::refs::{sync_files, sync_folders};
use super::store::{LOCK_FILE, RepositoryLock, Store, TEMPORARY_AGE, alternate_line, write_skeleton};
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{Result, fault};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What the folders of quarantines in a store begin with; see [`Quarantine::sweep`].
pub const PREFIX: &str = "quipu-quarantine-";

/// A scratch git directory; it is deleted when it is dropped.
#[derive(Debug)]
pub struct Quarantine {
    store: Store,
    alternates: Vec<PathBuf>,
    /// Tells a quarantine in use from one that a killed process left.
    owned: RepositoryLock,
    // Dropped last, so that the folder goes after what is open in it.
    folder: TempDir,
}

impl Quarantine {
    /// Makes a quarantine in the system's folder for temporary files. `alternates` are folders of objects that it reads
    /// besides its own; see [`Store::objects_path`].
    ///
    /// # Errors
    /// `io` where it cannot be made or an alternate is missing, `bad-repository` where an alternate's path cannot be written
    /// down.
    pub fn new(format: ObjectFormat, alternates: &[PathBuf]) -> Result<Self> {
        let folder = std::env::temp_dir();
        // Others' are there too, and cannot be looked into.
        let _ = sweep(&folder, PREFIX);
        Quarantine::within(&folder, format, alternates)
    }

    /// Makes a quarantine inside a store's folder, where there is room for much and keeping is renaming.
    ///
    /// # Errors
    /// Those of [`Quarantine::new`].
    pub fn of(store: &Store) -> Result<Self> {
        Quarantine::within(store.path(), store.format(), &[store.objects_path()])
    }

    /// Makes a quarantine in some folder.
    ///
    /// # Errors
    /// Those of [`Quarantine::new`].
    pub fn within(parent: &Path, format: ObjectFormat, alternates: &[PathBuf]) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // What was not accepted yet is nobody else's business.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.tempdir_in(parent).map_err(|why| io_error(parent, &why))?;
        // What is kept is synced then; the rest need not be.
        write_skeleton(folder.path(), format, "none")?;
        let mut lines = Vec::new();
        let mut absolute = Vec::new();
        for alternate in alternates {
            let path = fs::canonicalize(alternate).map_err(|why| io_error(alternate, &why))?;
            lines.extend_from_slice(alternate_line(&path)?);
            lines.push(b'\n');
            absolute.push(path);
        }
        if !lines.is_empty() {
            let path = folder.path().join("objects/info/alternates");
            File::create_new(&path).and_then(|mut file| file.write_all(&lines)).map_err(|why| io_error(&path, &why))?;
        }
        let store = Store::open(folder.path())?;
        Ok(Quarantine { owned: store.lock(Duration::ZERO, "quarantine")?, store, alternates: absolute, folder })
    }

    /// Deletes the quarantines in a store's folder that killed processes left, and returns how many there were.
    ///
    /// # Errors
    /// `io` where one cannot be looked at or deleted.
    pub fn sweep(store: &Store) -> Result<usize> {
        sweep(store.path(), PREFIX)
    }

    /// Finds the quarantines in the system's folder for temporary files that killed processes left. Others' cannot be looked into, and are
    /// left out.
    pub fn left() -> Vec<PathBuf> {
        left(&std::env::temp_dir(), PREFIX).unwrap_or_default()
    }

    /// Returns the path of the git directory.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// Returns the quarantine as a store: what it holds and what its alternates hold.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the lock by which the quarantine is its owner's alone: for whoever moves a registry on in it.
    pub fn lock(&self) -> &RepositoryLock {
        &self.owned
    }

    /// Returns the folders of objects that are read besides its own.
    pub fn alternates(&self) -> &[PathBuf] {
        &self.alternates
    }

    /// Sets a reference, whatever it was: a head that we hold, so that a fetch sends only what is new.
    ///
    /// # Errors
    /// `io` where it cannot be written.
    pub fn set_ref(&self, name: &RefName, id: GitId) -> Result<()> {
        self.set_refs(&[(name.clone(), id)])
    }

    /// Sets many references at once.
    ///
    /// # Errors
    /// `io` where they cannot be written.
    pub fn set_refs(&self, refs: &[(RefName, GitId)]) -> Result<()> {
        // Nobody else writes here, so that one file can be written as a whole.
        let mut all: BTreeMap<RefName, GitId> = self.store.references("refs/")?.into_iter().collect();
        all.extend(refs.iter().cloned());
        let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for (name, id) in &all {
            text.push_str(&format!("{id} {name}\n"));
            let loose = self.path().join(name.as_str());
            match fs::remove_file(&loose) {
                Err(why) if !matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Err(io_error(&loose, &why));
                }
                _ => {}
            }
        }
        let path = self.path().join("packed-refs");
        let mut file = tempfile::NamedTempFile::new_in(self.path()).map_err(|why| io_error(&path, &why))?;
        file.write_all(text.as_bytes()).map_err(|why| io_error(&path, &why))?;
        file.persist(&path).map_err(|failed| io_error(&path, &failed.error))?;
        Ok(())
    }

    /// Says that the history below these commits is not here, and is not to be asked for.
    ///
    /// # Errors
    /// `io` where it cannot be written.
    pub fn set_shallow(&self, commits: &[GitId]) -> Result<()> {
        let path = self.path().join("shallow");
        let text: String = commits.iter().map(|id| format!("{id}\n")).collect();
        let written = File::create(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|why| io_error(&path, &why))
    }

    /// Moves all objects of the quarantine into a store and brings them to disk. Whoever calls has verified them; what is to
    /// be left out is written with [`Store::write_durable`] instead, object by object. The quarantine is empty afterwards,
    /// but for what it reads through alternates.
    ///
    /// # Errors
    /// `io` where they could not be moved; then some of them may be in the store, each of them whole. `bug` where the formats
    /// differ.
    pub fn keep(&self, into: &Store) -> Result<()> {
        if into.format() != self.store.format() {
            return Err(fault!(
                Bug,
                "objects of a {} quarantine cannot be kept in a {} repository",
                self.store.format(),
                into.format()
            ));
        }
        let mut moves = Vec::new();
        let objects = self.store.objects_path();
        for folder in names(&objects)? {
            let is_fan_out = folder.len() == 2 && folder.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_fan_out && folder != "pack" {
                continue;
            }
            for name in names(&objects.join(&folder))? {
                let rank = if is_fan_out && name.len() == self.store.format().id_len() * 2 - 2 { Some(0) } else { rank(&name) };
                // Half of a pack that a failed fetch left stays behind.
                if let Some(rank) = rank {
                    moves.push((rank, folder.clone(), name));
                }
            }
        }
        // An index makes its pack visible: it goes last.
        moves.sort();
        let files = moves
            .iter()
            .map(|(_, folder, name)| {
                let path = objects.join(folder).join(name);
                File::open(&path).map(|file| (path.clone(), file)).map_err(|why| io_error(&path, &why))
            })
            .collect::<Result<Vec<_>>>()?;
        let to_sync: Vec<(&Path, &File)> = files.iter().map(|(path, file)| (path.as_path(), file)).collect();
        sync_files(&to_sync)?;
        let target = into.objects_path();
        let mut folders = BTreeSet::new();
        for (_, folder, name) in &moves {
            let to = target.join(folder);
            match fs::create_dir(&to) {
                Ok(()) => {
                    folders.insert(target.clone());
                }
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(io_error(&to, &why)),
            }
            move_file(&objects.join(folder).join(name), &to.join(name))?;
            folders.insert(to);
        }
        sync_folders(&folders)?;
        into.refresh()?;
        self.store.refresh()
    }

    /// Returns how many bytes the quarantine's own objects have on disk, half-fetched ones included.
    pub fn size(&self) -> u64 {
        // What vanishes while it is looked at has no size.
        walkdir::WalkDir::new(self.store.objects_path())
            .into_iter()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .filter(fs::Metadata::is_file)
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Deletes the quarantine now and says whether that went well.
    ///
    /// # Errors
    /// `io` where something could not be deleted.
    pub fn close(self) -> Result<()> {
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|why| io_error(&path, &why))
    }
}

/// Orders the files of a pack: what the index speaks of goes before it.
fn rank(name: &str) -> Option<u8> {
    let extension = Path::new(name).extension().and_then(OsStr::to_str)?;
    match (name.starts_with("pack-"), extension) {
        (true, "pack") => Some(1),
        (true, "rev") => Some(2),
        (true, "idx") => Some(3),
        _ => None,
    }
}

/// Deletes the scratch folders in a folder that killed processes left, and returns how many there were.
pub(crate) fn sweep(folder: &Path, prefix: &str) -> Result<usize> {
    let left = left(folder, prefix)?;
    for folder in &left {
        fs::remove_dir_all(folder).map_err(|why| io_error(folder, &why))?;
    }
    Ok(left.len())
}

/// Finds the scratch folders in a folder that killed processes left. One is in use while its lock is held. The note in the lock stays where a
/// process was killed, and only there; without lock or note a folder is being made or about to go, or was, if it is old.
pub(crate) fn left(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for name in names(folder)?.into_iter().filter(|name| name.starts_with(prefix)) {
        let folder = folder.join(name);
        let lock = folder.join(LOCK_FILE);
        let at = |why: &io::Error| io_error(&folder, why);
        let is_old = || {
            let made = fs::symlink_metadata(&folder).and_then(|found| found.modified());
            made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age >= TEMPORARY_AGE))
        };
        let has_note = |file: &File| file.metadata().is_ok_and(|found| found.len() > 0);
        let is_left = match fs::symlink_metadata(&lock) {
            Ok(found) if found.is_file() => match File::open(&lock) {
                // Not even for a moment is a lock taken that its owner may be about to take; and it may have been given up since.
                Ok(file) => has_note(&file) && file.try_lock().is_ok() && has_note(&file) || !has_note(&file) && is_old(),
                Err(why) if why.kind() == io::ErrorKind::NotFound => false,
                Err(why) => return Err(at(&why)),
            },
            Ok(_) => false,
            Err(why) if why.kind() == io::ErrorKind::NotFound => is_old(),
            Err(why) => return Err(at(&why)),
        };
        if is_left {
            left.push(folder);
        }
    }
    Ok(left)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|why| io_error(folder, &why))? {
        let entry = entry.map_err(|why| io_error(folder, &why))?;
        // Objects have names in ASCII.
        names.extend(entry.file_name().to_str().map(str::to_owned));
    }
    Ok(names)
}

/// Moves a file that is on disk, across file systems too. Where it exists already, the bytes are the same.
fn move_file(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(why) if why.kind() == io::ErrorKind::CrossesDevices => {
            let folder = to.parent().unwrap_or(to);
            let mut copy = super::pack::new_file(folder, "tmp_obj_").map_err(|why| io_error(folder, &why))?;
            File::open(from)
                .and_then(|mut file| io::copy(&mut file, copy.as_file_mut()))
                .and_then(|_| copy.as_file().sync_all())
                .map_err(|why| io_error(to, &why))?;
            copy.persist(to).map_err(|failed| io_error(to, &failed.error))?;
            fs::remove_file(from).map_err(|why| io_error(from, &why))
        }
        other => other.map_err(|why| io_error(from, &why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::{FORMATS, assert_sound, empty, git, history};
    use crate::git::layout::{front_page, registry_log};
    use crate::git::refs::{Expected, RefEdit};
    use crate::model::error::ErrorCode;
    use crate::model::object::ReadObjects as _;

    #[test]
    fn it_reads_its_store_and_keeps_its_own_apart() -> Result<()> {
        for format in FORMATS {
            let (_folder, store) = empty(format);
            let (old, _) = history(format, 2);
            let (new, commits) = history(format, 40);
            store.write_durable(old.iter())?;
            let quarantine = Quarantine::of(&store)?;
            assert!(quarantine.store().contains(commits[1]));
            // Loose ones and a pack.
            let (few, _) = history(format, 5);
            assert_eq!(quarantine.store().write_durable(few.iter())?, 9);
            assert_eq!(quarantine.store().write_durable(new.iter())?, 105);
            assert!(!store.contains(commits[39]));
            quarantine.set_ref(&registry_log(), commits[39])?;
            assert_sound(quarantine.path());
            assert_eq!(store.references("refs/")?, []);

            quarantine.keep(&store)?;
            assert!(store.contains(commits[39]));
            for (id, kind, bytes) in new.iter() {
                assert_eq!(store.reader().read(kind, id, 1 << 20)?, bytes);
            }
            store.update(&[RefEdit { name: front_page(), expected: Expected::Absent, new: commits.last().copied() }])?;
            assert_sound(store.path());
            // Nothing is left, and keeping it again is no error.
            quarantine.keep(&store)?;
            let path = quarantine.path().to_owned();
            drop(quarantine);
            assert!(!path.exists());
            assert_sound(store.path());
            assert!(git(store.path(), &["count-objects", "-v"]).contains("garbage: 0\n"));
        }
        Ok(())
    }

    #[test]
    fn many_references_are_set_and_set_again() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let (objects, commits) = history(ObjectFormat::Sha1, 3);
        store.write_durable(objects.iter())?;
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[store.objects_path()])?;
        let name = |n: usize| format!("refs/held/n{n}").parse::<RefName>().unwrap();
        let refs: Vec<(RefName, GitId)> = (0..300).map(|n| (name(n), commits[n % 2])).collect();
        quarantine.set_refs(&refs)?;
        quarantine.store().update(&[RefEdit { name: name(7), expected: Expected::At(commits[1]), new: Some(commits[0]) }])?;
        quarantine.set_ref(&name(8), commits[2])?;
        quarantine.set_ref(&name(7), commits[2])?;
        assert_eq!(git(quarantine.path(), &["for-each-ref"]).lines().count(), 300);
        assert_eq!(git(quarantine.path(), &["rev-parse", name(7).as_str(), name(8).as_str()]), format!("{0}\n{0}\n", commits[2]));
        assert_eq!(quarantine.store().reference(&name(9))?, Some(commits[1]));
        Ok(())
    }

    #[test]
    fn an_alternate_must_be_there_and_formats_do_not_mix() -> Result<()> {
        let missing = Quarantine::new(ObjectFormat::Sha1, &["/nowhere/objects".into()]).unwrap_err();
        assert_eq!(missing.code(), ErrorCode::Io);
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let other = Quarantine::new(ObjectFormat::Sha256, &[])?;
        assert_eq!(other.keep(&store).unwrap_err().code(), ErrorCode::Bug);
        Ok(())
    }

    #[test]
    fn only_what_a_killed_process_left_is_swept() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let (left, used) = (Quarantine::of(&store)?, Quarantine::of(&store)?);
        let left_at = left.folder.keep();
        drop(left.owned);
        // A lock without a note is about to be taken, or was given up by a process that goes on.
        assert_eq!(Quarantine::sweep(&store)?, 0);
        // A process that is killed leaves its note.
        fs::OpenOptions::new().write(true).open(left_at.join(LOCK_FILE)).unwrap().write_all(b"process 1: quarantine\n").unwrap();
        assert_eq!(Quarantine::sweep(&store)?, 1);
        assert!(!left_at.exists() && used.path().exists());
        used.close()?;
        assert_eq!(Quarantine::sweep(&store)?, 0);
        Ok(())
    }

    #[test]
    fn half_of_a_pack_stays_behind() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let quarantine = Quarantine::of(&store)?;
        File::create(quarantine.store().objects_path().join("pack/tmp_pack_x")).unwrap();
        quarantine.keep(&store)?;
        assert_eq!(fs::read_dir(store.objects_path().join("pack")).unwrap().count(), 0);
        quarantine.close()
    }
}
