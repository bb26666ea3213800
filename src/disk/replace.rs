//! Files that are there whole or not at all.
//!
//! New bytes go to a temporary file in the same folder, to the disk, and then to their name in one step: whoever reads, and whatever
//! kills the process, finds the old file or the new one. A symbolic link at that name is replaced, not followed.

use crate::model::error::{Error, ErrorCode, Result, fault};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".quipu-";
/// How old a temporary file is that nobody will finish.
const TEMPORARY_AGE: Duration = Duration::from_secs(60 * 60);

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone: mode 0600 from the first byte on, in folders of mode 0700 where they are made with it.
    Private,
    /// Whoever the process's umask lets: mode 0666 and 0777 less the umask. A file that is replaced keeps the mode that it had.
    Shared,
}

/// Writes a file, in place of one that may be there, and makes the folders above it.
///
/// # Errors
/// `io` with the path; what was there is unchanged.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let folder = folder_of(path);
    let failed = |error: &io::Error| io_fault(error, "write", path);
    let file = write_beside(path, folder, bytes, access)?;
    if access == Access::Shared {
        // Whoever narrowed a file of their own by hand meant it.
        if let Some(before) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file) {
            file.as_file().set_permissions(before.permissions()).map_err(|error| failed(&error))?;
        }
    }
    file.persist(path).map_err(|error| failed(&error.error))?;
    // What cannot be removed does no harm; the next one tries again.
    let _ = sweep(folder);
    sync_folder(folder)
}

/// Removes temporary files that processes left which were killed more than an hour ago.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            let found = entry.metadata()?;
            if found.is_file() && found.modified()?.elapsed().is_ok_and(|age| age >= TEMPORARY_AGE) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Writes a file where none is yet, and makes the folders above it.
///
/// # Errors
/// `exists` where something is there already, `io` with the path elsewhere.
pub fn create_new(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let folder = folder_of(path);
    // The last step would find it too, but only after all the work.
    if fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    let file = write_beside(path, folder, bytes, access)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => io_fault(&error.error, "write", path),
    })?;
    sync_folder(folder)
}

/// Lets a file be executed by whoever may read it.
///
/// # Errors
/// `io`.
pub fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let at = |why: io::Error| fault!(Io, "{}: {why}", path.display());
        let mode = fs::metadata(path).map_err(at)?.permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2))).map_err(at)?;
    }
    Ok(())
}

/// Lets nobody execute a file.
///
/// # Errors
/// `io`.
pub fn make_plain(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let at = |why: io::Error| fault!(Io, "{}: {why}", path.display());
        let mode = fs::metadata(path).map_err(at)?.permissions().mode();
        if mode & 0o111 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o111)).map_err(at)?;
        }
    }
    Ok(())
}

/// Removes a file, and says nothing where there is none.
///
/// # Errors
/// `io`.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(fault!(Io, "{}: {why}", path.display())),
        _ => Ok(()),
    }
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// `io` with the path.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error: &io::Error| io_fault(error, "read", path);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    Ok(Some(bytes))
}

/// Returns the names in a folder, sorted, as far as they are text; none where there is no folder.
///
/// # Errors
/// `io` with the path.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| io_fault(&error, "read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_fault(&error, "read", folder))?;
        names.extend(entry.file_name().to_str().map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Writes a temporary file beside a path, and sees it to the disk.
fn write_beside(path: &Path, folder: &Path, bytes: &[u8], access: Access) -> Result<NamedTempFile> {
    create_folders(folder, access)?;
    let failed = |error: &io::Error| io_fault(error, "write", path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if access == Access::Private { 0o600 } else { 0o666 };
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    let mut file = builder.tempfile_in(folder).map_err(|error| failed(&error))?;
    file.write_all(bytes).map_err(|error| failed(&error))?;
    file.as_file().sync_all().map_err(|error| failed(&error))?;
    Ok(file)
}

/// Makes a folder and those above it where they are missing.
///
/// # Errors
/// `io` with the path.
pub fn create_folders(folder: &Path, access: Access) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    if access == Access::Private {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(|error| io_fault(&error, "make the folder", folder))
}

/// Sees to it that names in a folder are on the disk.
///
/// # Errors
/// `io` with the path.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows opens no folder as a file, and needs none of this.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_fault(&error, "write", folder))?;
    }
    Ok(())
}

/// Returns the folder of a path; a path of one word lies in the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Says what failed on which path, and whether anything was lost.
pub(crate) fn io_fault(error: &io::Error, verb: &str, path: &Path) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            fault!(Io, "cannot {verb} {path}: the disk is full; what was there before is unchanged")
                .hint("free some space, then run the same command again")
        }
        io::ErrorKind::PermissionDenied => fault!(Io, "cannot {verb} {path}: permission denied"),
        _ => fault!(Io, "cannot {verb} {path}: {error}"),
    }
}

/// Says that something is there and stays.
pub(crate) fn exists(path: &Path) -> Error {
    Error::new(ErrorCode::Exists, format!("{} is there already and is not overwritten", path.display()))
        .hint("move it away, or choose another place")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make files as other programs do.
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("a/b/file");
        assert_eq!(read(&path), Ok(None));
        for bytes in [b"one".as_slice(), b"", b"three"] {
            replace(&path, bytes, Access::Shared).unwrap();
            assert_eq!(read(&path), Ok(Some(bytes.to_vec())));
        }
        assert_eq!(names(&scratch.path().join("a/b")), ["file"]);
    }

    #[test]
    fn what_is_there_is_not_overwritten_by_create_new() {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("a/file");
        create_new(&path, b"one", Access::Shared).unwrap();
        let error = create_new(&path, b"two", Access::Shared).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Exists);
        assert!(error.message().contains(&path.display().to_string()));
        assert_eq!(read(&path), Ok(Some(b"one".to_vec())));
        assert_eq!(names(&scratch.path().join("a")), ["file"]);
    }

    #[test]
    #[cfg(unix)]
    fn private_files_are_their_owners_alone() {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("keys/own/key");
        create_new(&path, b"secret", Access::Private).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&scratch.path().join("keys")), 0o700);
        assert_eq!(mode(&scratch.path().join("keys/own")), 0o700);
        // Before any byte is in it, too.
        let beside = write_beside(&path, folder_of(&path), b"", Access::Private).unwrap();
        assert_eq!(mode(beside.path()), 0o600);
        // A private file that became readable by others is private again.
        let wide = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, wide).unwrap();
        replace(&path, b"secret", Access::Private).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    #[cfg(unix)]
    fn a_shared_file_keeps_the_mode_that_its_owner_gave_it() {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("config.toml");
        fs::write(&path, b"").unwrap();
        let usual = mode(&path);
        let other = scratch.path().join("other.toml");
        replace(&other, b"", Access::Shared).unwrap();
        assert_eq!(mode(&other), usual, "a new file has the mode that any program would give it");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        replace(&path, b"x", Access::Shared).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_fails_names_the_path_and_leaves_what_was_there() {
        let scratch = TempDir::new().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, b"old").unwrap();
        let below = file.join("x");
        for error in [
            replace(&below, b"", Access::Shared).unwrap_err(),
            create_new(&below, b"", Access::Private).unwrap_err(),
            read(&below).unwrap_err(),
            replace(scratch.path(), b"", Access::Shared).unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::Io);
            assert!(error.message().contains(&scratch.path().display().to_string()), "{error}");
        }
        assert_eq!(read(&file), Ok(Some(b"old".to_vec())));
        assert_eq!(names(scratch.path()), ["file"]);
    }

    #[test]
    fn a_full_disk_is_called_so() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = io_fault(&full, "write", Path::new("state.toml"));
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().contains("state.toml: the disk is full; what was there before is unchanged"));
        assert_eq!(error.hints().len(), 1);
    }
}
