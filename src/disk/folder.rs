//! Folders: one that a person made becomes a release, and a release becomes a folder.

use super::replace::{Access, create_folders, exists, folder_of, io_fault, sync_folder};
use super::writers::{NewFile, Writers, failed};
use crate::model::contents::{ContentPath, Contents, ContentsBuilder, FileEntry, Limits, all_at_once, clashes, write_tree};
use crate::model::digest::{GitId, ObjectKind};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::object::WriteObjects;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use walkdir::WalkDir;

/// Names that are no part of a release wherever they stand: what version control keeps for itself, and what `quipu install` and
/// `quipu fork --sync` wrote.
pub const LEFT_OUT: &[&str] = &[".git", ".hg", ".svn", ".jj", ".bzr", "quipu_packages", super::rewrite::FOLDER];

/// How old a scratch folder is that nobody will finish.
const SCRATCH_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Which files of a folder belong to a release, as quipu.toml has it.
///
/// Patterns mean what they mean in `.gitignore`, and `{a,b}` either of the two: `*` and `?` stand for anything but `/`, `**` for any number of
/// folders. A pattern without `/` matches at any depth, another one from the root of the folder; `/` at the end keeps it to folders.
/// Where it matches a folder, it holds for all that is below. `!` has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Only what matches one of these belongs to the release; where there is none, everything does.
    pub include: Vec<String>,
    /// What matches one of these does not belong to it, included or not.
    pub exclude: Vec<String>,
}

/// What a folder holds: checked, digested, and written to objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The files of the release.
    pub contents: Contents,
    /// The same files with their blobs, sorted by path.
    pub blobs: Vec<(FileEntry, GitId)>,
    /// The git tree that holds them.
    pub tree: GitId,
}

/// Reads a folder into objects. Symbolic links are not followed, empty folders and [`LEFT_OUT`] are passed over.
///
/// All paths are checked before the first file is read.
///
/// # Errors
/// `bad-manifest` for a pattern that cannot be read; `bad-contents` and `limit` for what cannot be released, up to 20 paths at once; `io`
/// where a file cannot be read or changes meanwhile; those of [`WriteObjects::write`].
pub fn collect(root: &Path, patterns: &Patterns, limits: &Limits, objects: &mut impl WriteObjects) -> Result<Collected> {
    let selection = Selection::compile(patterns)?;
    let found = survey(root, &selection, limits)?;
    let mut builder = ContentsBuilder::new(*limits);
    let mut blobs = Vec::with_capacity(found.len());
    let mut faults = Vec::new();
    for file in found {
        let bytes = read_whole(&file)?;
        match builder.add(file.path, is_exec(&file.seen), &bytes) {
            Ok(entry) => blobs.push((entry.clone(), objects.write(ObjectKind::Blob, &bytes)?)),
            Err(error) if error.code() == ErrorCode::BadContents => faults.push(error),
            Err(error) => return Err(error),
        }
    }
    all_at_once(faults)?;
    let contents = builder.finish()?;
    let tree = write_tree(objects, &blobs)?;
    Ok(Collected { contents, blobs, tree })
}

/// Reads one file as a release that holds it alone, under another name.
///
/// # Errors
/// `bad-contents` and `limit` for what cannot be released; `io` where it cannot be read or changes meanwhile; those of
/// [`WriteObjects::write`].
pub fn collect_file(place: &Path, path: ContentPath, limits: &Limits, objects: &mut impl WriteObjects) -> Result<Collected> {
    let seen = fs::symlink_metadata(place).map_err(|error| io_fault(&error, "read", place))?;
    if !seen.is_file() {
        return Err(fault!(BadContents, "{} is not a file", place.display()));
    }
    let mut builder = ContentsBuilder::new(*limits);
    builder.reserve(&path, seen.len())?;
    let file = Found { path, place: place.to_owned(), seen };
    let bytes = read_whole(&file)?;
    // Whether it can be executed here says nothing about what it is.
    let entry = builder.add(file.path, false, &bytes)?.clone();
    let blobs = vec![(entry, objects.write(ObjectKind::Blob, &bytes)?)];
    let contents = builder.finish()?;
    let tree = write_tree(objects, &blobs)?;
    Ok(Collected { contents, blobs, tree })
}

/// The patterns, compiled.
struct Selection {
    include: Option<Globs>,
    exclude: Globs,
}

impl Selection {
    fn compile(patterns: &Patterns) -> Result<Self> {
        let include = match patterns.include.as_slice() {
            [] => None,
            include => Some(Globs::compile("include", include)?),
        };
        Ok(Selection { include, exclude: Globs::compile("exclude", &patterns.exclude)? })
    }

    /// Says whether a file, or a folder with all that is in it, is left out; the folders above it are known not to be.
    fn leaves_out(&self, path: &Path, is_folder: bool) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| LEFT_OUT.contains(&name)) || self.exclude.matches(path, is_folder)
    }

    /// Says whether a file, or a folder above it, is included.
    fn takes(&self, path: &Path) -> bool {
        self.include.as_ref().is_none_or(|include| {
            include.matches(path, false) || path.ancestors().skip(1).any(|folder| include.matches(folder, true))
        })
    }
}

/// One list of patterns.
struct Globs {
    anything: GlobSet,
    folders: GlobSet,
}

impl Globs {
    fn compile(list: &str, patterns: &[String]) -> Result<Self> {
        let mut anything = GlobSetBuilder::new();
        let mut folders = GlobSetBuilder::new();
        for pattern in patterns {
            let wrong = |why: &str| {
                fault!(BadManifest, "the pattern {pattern:?} in `{list}` {why}")
                    .hint("patterns are those of .gitignore, like \"*.log\", \"target/\" or \"docs/**/*.md\"")
            };
            if pattern.starts_with('!') {
                return Err(wrong("begins with `!`, which has no meaning here"));
            }
            let (rest, only_folders) = match pattern.strip_suffix('/') {
                Some(rest) => (rest, true),
                None => (pattern.as_str(), false),
            };
            let from_root = rest.strip_prefix("./").or(rest.strip_prefix('/'));
            let rest = from_root.unwrap_or(rest);
            if rest.split('/').any(|component| matches!(component, "" | "." | "..")) {
                return Err(wrong("has an empty component, `.` or `..`"));
            }
            let glob = if from_root.is_some() || rest.contains('/') { rest.to_owned() } else { format!("**/{rest}") };
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| wrong(&format!("cannot be read: {}", error.kind())))?;
            if only_folders { &mut folders } else { &mut anything }.add(glob);
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| fault!(BadManifest, "the patterns in `{list}` cannot be used: {error}"))
        };
        Ok(Globs { anything: build(anything)?, folders: build(folders)? })
    }

    fn matches(&self, path: &Path, is_folder: bool) -> bool {
        self.anything.is_match(path) || is_folder && self.folders.is_match(path)
    }
}

/// A file as it was seen before it is read.
struct Found {
    path: ContentPath,
    place: PathBuf,
    seen: Metadata,
}

/// Walks a folder and checks all that can be said without reading a file. The files come sorted by path.
fn survey(root: &Path, selection: &Selection, limits: &Limits) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut faults = Vec::new();
    let mut held = 0;
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().filter_entry(|entry| {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        entry.depth() == 0 || !selection.leaves_out(path, entry.file_type().is_dir())
    });
    for entry in walk {
        let entry = entry.map_err(|error| {
            let place = error.path().unwrap_or(root).to_owned();
            io_fault(&io::Error::from(error), "read", &place)
        })?;
        let place = entry.path();
        let relative = place.strip_prefix(root).unwrap_or(place);
        if entry.file_type().is_dir() || !selection.takes(relative) {
            continue;
        }
        let path = match portable_path(relative, entry.file_type()) {
            Ok(path) => path,
            Err(error) => {
                faults.push(error);
                continue;
            }
        };
        let seen = fs::symlink_metadata(place).map_err(|error| io_fault(&error, "read", place))?;
        let size = seen.len();
        if let Err(error) = limits.admit(found.len() as u64, held, &path, size) {
            let alone = limits.admit(0, 0, &path, size).is_err();
            faults.push(error.hint("name what does not belong to the release in `exclude` in quipu.toml"));
            if alone {
                continue;
            }
            break;
        }
        held += size;
        found.push(Found { path, place: place.to_owned(), seen });
    }
    if found.is_empty() && faults.is_empty() {
        return Err(fault!(BadContents, "{}: there are no files to release", root.display())
            .hint("see `include` and `exclude` in quipu.toml, and whether this is the folder that was meant"));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    faults.extend(clashes(found.iter().map(|file| &file.path)));
    all_at_once(faults)?;
    Ok(found)
}

/// Says what a release calls a file, where it is one that a release can hold.
fn portable_path(relative: &Path, kind: FileType) -> Result<ContentPath> {
    let kind = match kind {
        _ if kind.is_file() => None,
        _ if kind.is_symlink() => Some("a symbolic link"),
        _ => Some("a socket, pipe or device"),
    };
    if let Some(kind) = kind {
        return Err(fault!(BadContents, "path {relative:?} is {kind}, expected a file")
            .hint("put a file in its place, or name it in `exclude` in quipu.toml"));
    }
    let mut path = String::new();
    for component in relative {
        let Some(component) = component.to_str() else {
            return Err(
                fault!(BadContents, "path {relative:?} is not UTF-8").hint("rename it, or name it in `exclude` in quipu.toml")
            );
        };
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(component);
    }
    path.parse()
}

/// Reads a file that is still the one that was seen, and stays so while it is read.
fn read_whole(file: &Found) -> Result<Vec<u8>> {
    let failed = |error: io::Error| io_fault(&error, "read", &file.place);
    let changed = || {
        fault!(Io, "{} changed while it was read", file.place.display())
            .hint("run the same command again once nothing writes to this folder")
    };
    let handle = File::open(&file.place).map_err(failed)?;
    // What was opened may be another file by now, or a link to one.
    let before = handle.metadata().map_err(failed)?;
    if !is_unchanged(&file.seen, &before) {
        return Err(changed());
    }
    let size = before.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    (&handle).take(size + 1).read_to_end(&mut bytes).map_err(failed)?;
    let after = handle.metadata().map_err(failed)?;
    if bytes.len() as u64 != size || !is_unchanged(&before, &after) {
        return Err(changed());
    }
    Ok(bytes)
}

fn is_unchanged(before: &Metadata, after: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |m: &Metadata| (m.dev(), m.ino(), m.ctime(), m.ctime_nsec());
        if identity(before) != identity(after) {
            return false;
        }
    }
    after.is_file() && before.len() == after.len() && before.modified().ok() == after.modified().ok()
}

/// Says whether a file's owner can execute it; nobody can where there is no such bit.
#[cfg_attr(not(unix), allow(unused_variables))]
pub(super) fn is_exec(seen: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        seen.permissions().mode() & 0o100 != 0
    }
    #[cfg(not(unix))]
    false
}

/// So many files are seen to the disk one by one.
#[cfg(target_os = "linux")]
const ONE_BY_ONE: usize = 16;

/// Writes a release to a folder that is there whole or not at all.
///
/// The files go to a folder beside the target, which takes the target's name with [`FolderWriter::finish`]; dropped before, it goes, and
/// the target is as it was.
#[derive(Debug)]
pub struct FolderWriter {
    target: PathBuf,
    // Dropped before the folder that they write to.
    writers: Writers,
    scratch: TempDir,
    /// The folders in it, each with its number.
    folders: BTreeMap<PathBuf, usize>,
    files: Vec<PathBuf>,
}

impl FolderWriter {
    /// Begins to write what will be `target`, and makes the folders above it.
    ///
    /// # Errors
    /// `exists` where the target is there and is not an empty folder, `bad-reference` where it has no name, `io`.
    pub fn new(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).map_err(|error| io_fault(&error, "write", target))?;
        let Some(name) = target.file_name() else {
            return Err(fault!(BadReference, "{} is not a name for a folder", target.display()));
        };
        check_free(&target)?;
        let above = folder_of(&target);
        create_folders(above, Access::Shared)?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".quipu-");
        // What cannot be removed does no harm; the next one tries again.
        let _ = sweep(above, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o755));
        }
        let scratch = builder.tempdir_in(above).map_err(|error| io_fault(&error, "make a folder in", above))?;
        Ok(FolderWriter { target, writers: Writers::default(), scratch, folders: BTreeMap::new(), files: Vec::new() })
    }

    /// Writes one file, mode 0644 or 0755 less the umask, and the folders above it. That `bytes` are those of `file` is the caller's word.
    ///
    /// # Errors
    /// `exists` where the path was written before, or is the same as one that was on this file system; `io`. A file is written while the
    /// caller goes on: what is wrong with it may be said of a later one, or by [`FolderWriter::finish`].
    pub fn add(&mut self, file: &FileEntry, bytes: Vec<u8>) -> Result<()> {
        let shown = self.target.join(file.path.as_str());
        // A `ContentPath` has no component that leads out of a folder, on any system.
        let mut place = self.scratch.path().to_owned();
        let mut folder = 0;
        let mut components = file.path.components().peekable();
        while let Some(component) = components.next() {
            place.push(component);
            if components.peek().is_some() {
                folder = match self.folders.get(&place) {
                    Some(known) => *known,
                    None => {
                        let mut builder = fs::DirBuilder::new();
                        #[cfg(unix)]
                        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
                        builder.create(&place).map_err(|why| failed(&why, &shown))?;
                        let number = self.folders.len() + 1;
                        self.folders.insert(place.clone(), number);
                        number
                    }
                };
            }
        }
        self.files.push(place.clone());
        self.writers.write(folder, NewFile { place, shown, exec: file.exec, bytes })
    }

    /// Sees files and folders to the disk. Many are seen there by one call for the whole file system, which waits once; one by one, each
    /// would wait for a journal of its own.
    fn sync(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        if self.files.len() > ONE_BY_ONE {
            let folder = self.scratch.path();
            let synced = File::open(folder).and_then(|folder| rustix::fs::syncfs(&folder).map_err(io::Error::from));
            return synced.map_err(|error| io_fault(&error, "write", folder));
        }
        for file in &self.files {
            // Windows lets only what could write see bytes to the disk.
            let opened = OpenOptions::new().read(true).write(!cfg!(unix)).open(file);
            opened.and_then(|file| file.sync_all()).map_err(|error| io_fault(&error, "write", file))?;
        }
        for folder in self.folders.keys() {
            sync_folder(folder)?;
        }
        sync_folder(self.scratch.path())
    }

    /// Waits until all files are written, if not on the disk yet.
    ///
    /// # Errors
    /// Those of [`FolderWriter::add`].
    pub fn settle(&mut self) -> Result<()> {
        self.writers.finish()
    }

    /// Sees everything to the disk and gives it the target's name.
    ///
    /// # Errors
    /// `exists` where something came to be at the target meanwhile, `io`; the target is as it was. Those of [`FolderWriter::add`].
    pub fn finish(mut self) -> Result<()> {
        self.settle()?;
        self.sync()?;
        let target = self.rename()?;
        sync_folder(folder_of(&target))
    }

    fn rename(self) -> Result<PathBuf> {
        if !cfg!(unix) {
            // Elsewhere a rename takes the place of an empty folder by itself.
            let _ = fs::remove_dir(&self.target);
        }
        fs::rename(self.scratch.path(), &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                exists(&self.target)
            }
            _ => io_fault(&error, "write", &self.target),
        })?;
        // Its name is the target's now: there is nothing left to remove.
        let _ = self.scratch.keep();
        Ok(self.target)
    }
}

/// Finishes folders that are all below one, and waits for the disk as seldom as that allows: all that is in them is there before the first
/// has its name.
///
/// # Errors
/// Those of [`FolderWriter::finish`]; those before the one that failed have their names.
pub fn finish_all(root: &Path, mut writers: Vec<FolderWriter>) -> Result<()> {
    writers.iter_mut().try_for_each(FolderWriter::settle)?;
    #[cfg(target_os = "linux")]
    if writers.len() > 1 {
        let sync = || File::open(root).and_then(|root| rustix::fs::syncfs(&root).map_err(io::Error::from));
        let sync = || sync().map_err(|error| io_fault(&error, "write", root));
        sync()?;
        writers.into_iter().try_for_each(|writer| writer.rename().map(drop))?;
        return sync();
    }
    let _ = root;
    writers.into_iter().try_for_each(FolderWriter::finish)
}

/// Removes the scratch folders of processes that were killed more than a day ago.
fn sweep(folder: &Path, prefix: &OsStr) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            let found = entry.metadata()?;
            if found.is_dir() && found.modified()?.elapsed().is_ok_and(|age| age >= SCRATCH_AGE) {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Checks that nothing is at a path, or an empty folder.
fn check_free(target: &Path) -> Result<()> {
    let failed = |error: io::Error| io_fault(&error, "read", target);
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(found) if found.is_dir() && fs::read_dir(target).map_err(failed)?.next().is_none() => Ok(()),
        Ok(_) => Err(exists(target)),
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)] // Tests make files as other programs do.
mod tests {
    use super::*;
    use crate::model::contents::read_tree;
    use crate::model::digest::ObjectFormat;
    use crate::model::error::Error;
    use crate::model::object::MemoryObjects;
    use std::io::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// Makes a folder of files, each with its own path in it.
    fn folder(paths: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for path in paths {
            let place = folder.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, path).unwrap();
        }
        folder
    }

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let own = |list: &[&str]| list.iter().map(|pattern| (*pattern).to_owned()).collect();
        Patterns { include: own(include), exclude: own(exclude) }
    }

    fn collected(root: &Path, patterns: &Patterns, limits: &Limits) -> Result<(Collected, MemoryObjects)> {
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let collected = collect(root, patterns, limits, &mut objects)?;
        Ok((collected, objects))
    }

    fn paths_of(root: &Path, patterns: &Patterns) -> Result<Vec<String>> {
        let (collected, _) = collected(root, patterns, &Limits::default())?;
        Ok(collected.contents.files().iter().map(|file| file.path.to_string()).collect())
    }

    fn refusal(root: &Path) -> Error {
        paths_of(root, &Patterns::default()).unwrap_err()
    }

    fn entry(path: &str, exec: bool) -> FileEntry {
        let mut builder = ContentsBuilder::new(Limits::default());
        builder.add(path.parse().unwrap(), exec, b"x").unwrap().clone()
    }

    fn names(folder: &Path) -> Vec<String> {
        let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name();
        walk.into_iter().map(|entry| entry.unwrap().path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_folder_comes_back_as_it_was() {
        let root = folder(&["README.md", "src/a.rs", "src/b/c.rs", "src-x", "caf\u{e9}/d", "bin/run", ".gitignore"]);
        fs::set_permissions(root.path().join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        // Whether others can execute it does not count.
        fs::set_permissions(root.path().join("src-x"), fs::Permissions::from_mode(0o655)).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        let (collected, objects) = collected(root.path(), &Patterns::default(), &Limits::default()).unwrap();

        let elsewhere = TempDir::new().unwrap();
        let target = elsewhere.path().join("deep/1.0.0");
        let mut writer = FolderWriter::new(&target).unwrap();
        let read = read_tree(&objects, collected.tree, &Limits::default(), |file, bytes| writer.add(file, bytes)).unwrap();
        assert_eq!(read, collected.contents);
        assert!(!target.exists(), "nothing is there before all is");
        writer.finish().unwrap();

        let (again, _) = self::collected(&target, &Patterns::default(), &Limits::default()).unwrap();
        assert_eq!(again, collected);
        let exec: Vec<&str> = again.contents.files().iter().filter(|file| file.exec).map(|file| file.path.as_str()).collect();
        assert_eq!(exec, ["bin/run"]);
        assert_eq!(names(&elsewhere.path().join("deep")).iter().filter(|name| !name.contains('/')).count(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let usual = folder(&["d/f"]);
        assert_eq!(mode(&target.join("src/a.rs")), mode(&usual.path().join("d/f")));
        for made in [target.clone(), target.join("src")] {
            assert_eq!(mode(&made), mode(&usual.path().join("d")) & 0o755);
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let root =
            folder(&["a.log", "a.txt", "doc/a.log", "doc/b.txt", "src/doc/c.txt", "src/x/y.txt", "target/t", "src/target"]);
        for (include, exclude, expected) in [
            (&[][..], &["*.log"][..], &["a.txt", "doc/b.txt", "src/doc/c.txt", "src/target", "src/x/y.txt", "target/t"][..]),
            (&[], &["/a.*"], &["doc/a.log", "doc/b.txt", "src/doc/c.txt", "src/target", "src/x/y.txt", "target/t"]),
            (&[], &["doc", "target/"], &["a.log", "a.txt", "src/target", "src/x/y.txt"]),
            (&[], &["/doc", "target", "./src/x/"], &["a.log", "a.txt", "src/doc/c.txt"]),
            (&["src"], &[], &["src/doc/c.txt", "src/target", "src/x/y.txt"]),
            (&["src"], &["x"], &["src/doc/c.txt", "src/target"]),
            (&["doc/"], &[], &["doc/a.log", "doc/b.txt", "src/doc/c.txt"]),
            (&["src/*"], &[], &["src/doc/c.txt", "src/target", "src/x/y.txt"]),
            (&["src/*.txt", "doc/?.txt"], &[], &["doc/b.txt"]),
            (&["**/doc/*.txt"], &[], &["doc/b.txt", "src/doc/c.txt"]),
            (&["src/**"], &["src/**/y.txt"], &["src/doc/c.txt", "src/target"]),
            (&["*.{log,txt}"], &["[ds]*"], &["a.log", "a.txt"]),
        ] {
            let found = paths_of(root.path(), &patterns(include, exclude)).unwrap();
            assert_eq!(found, expected, "include {include:?}, exclude {exclude:?}");
        }
        for bad in ["", "/", "!a", "[a", "a//b", "../a", "a/../b", "a\\", "{a"] {
            for patterns in [patterns(&[bad], &[]), patterns(&[], &[bad])] {
                let error = paths_of(root.path(), &patterns).unwrap_err();
                assert_eq!(error.code(), ErrorCode::BadManifest, "{bad:?}");
                assert!(error.message().contains(&format!("{bad:?}")), "{error}");
            }
        }
        let nothing = paths_of(root.path(), &patterns(&["nothing"], &[])).unwrap_err();
        assert_eq!(nothing.code(), ErrorCode::BadContents);
        assert!(nothing.hints()[0].contains("include"));
    }

    #[test]
    fn what_belongs_to_version_control_is_left_out() {
        let root = folder(&[
            "a",
            ".git/config",
            "sub/.git",
            ".hg/x",
            "b/.svn/x",
            ".jj/x",
            ".bzr/x",
            "quipu_packages/x/y",
            "b/c",
            ".gitignore",
        ]);
        assert_eq!(paths_of(root.path(), &Patterns::default()), Ok(vec![".gitignore".into(), "a".into(), "b/c".into()]));
    }

    #[test]
    fn links_and_sockets_are_refused_unless_they_are_left_out() {
        let root = folder(&["a"]);
        symlink("a", root.path().join("link")).unwrap();
        symlink("/etc", root.path().join("folder-link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        fs::write(root.path().join(OsStr::from_bytes(b"not-utf8-\xff")), b"").unwrap();
        let error = refusal(root.path());
        assert_eq!(error.code(), ErrorCode::BadContents);
        for named in [
            "4 faults",
            "\"link\" is a symbolic link",
            "\"folder-link\" is a symbolic link",
            "\"socket\" is a socket",
            "not UTF-8",
        ] {
            assert!(error.message().contains(named), "{named}: {error}");
        }
        assert!(error.hints().iter().all(|hint| hint.contains("exclude")));
        assert_eq!(paths_of(root.path(), &patterns(&["a"], &[])), Ok(vec!["a".into()]));
        assert_eq!(paths_of(root.path(), &patterns(&[], &["*link", "socket", "not-*"])), Ok(vec!["a".into()]));
    }

    #[test]
    fn folders_that_are_left_out_are_not_entered() {
        let root = folder(&["a", "out/b"]);
        symlink("nowhere", root.path().join("out/link")).unwrap();
        assert_eq!(paths_of(root.path(), &patterns(&[], &["out"])), Ok(vec!["a".into()]));
        assert_eq!(refusal(root.path()).code(), ErrorCode::BadContents);
    }

    #[test]
    fn all_faults_are_named_at_once_up_to_twenty() {
        let bad: Vec<String> = (0..25).map(|number| format!("{number:02}:")).collect();
        let mut paths: Vec<&str> = bad.iter().map(String::as_str).collect();
        paths.push("Src/a");
        paths.push("src/b");
        let error = refusal(folder(&paths).path());
        assert!(error.message().starts_with("26 faults: "), "{error}");
        assert!(error.message().contains("\"19:\"") && !error.message().contains("\"20:\""), "{error}");
        assert!(error.message().ends_with("; and 6 more"), "{error}");
        let error = refusal(folder(&["a:", "Src/a", "src/b", "x/HEAD", "x/objects/a", "x/refs/b"]).path());
        assert!(error.message().starts_with("3 faults: "), "{error}");
        let git = folder(&["a", "b/.gitmodules", "c/.gitmodules"]);
        let error = refusal(git.path());
        assert!(error.message().contains("\"b/.gitmodules\"") && error.message().contains("\"c/.gitmodules\""), "{error}");
    }

    #[test]
    fn limits_are_known_before_a_file_is_read() {
        let root = folder(&["a", "b", "c"]);
        let huge = File::create(root.path().join("d")).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(refusal(root.path()).code(), ErrorCode::Limit);
        fs::remove_file(root.path().join("d")).unwrap();
        for (limits, expected) in [
            (Limits { files: 3, ..Limits::default() }, None),
            (Limits { files: 2, ..Limits::default() }, Some(ErrorCode::Limit)),
            (Limits { release_bytes: 3, ..Limits::default() }, None),
            (Limits { release_bytes: 2, ..Limits::default() }, Some(ErrorCode::Limit)),
        ] {
            let outcome = collected(root.path(), &Patterns::default(), &limits);
            assert_eq!(outcome.err().map(|error| error.code()), expected, "{limits:?}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_not_released() {
        let root = folder(&["a", "b", "c", "d"]);
        let selection = Selection::compile(&Patterns::default()).unwrap();
        let found = survey(root.path(), &selection, &Limits::default()).unwrap();
        assert_eq!(read_whole(&found[0]), Ok(b"a".to_vec()));
        OpenOptions::new().append(true).open(&found[0].place).unwrap().write_all(b"more").unwrap();
        let set_time = |place: &Path, time| File::options().write(true).open(place).unwrap().set_modified(time).unwrap();
        set_time(&found[1].place, std::time::UNIX_EPOCH);
        // Another file of the same length and time.
        fs::write(root.path().join("other"), b"c").unwrap();
        fs::rename(root.path().join("other"), &found[2].place).unwrap();
        set_time(&found[2].place, found[2].seen.modified().unwrap());
        fs::remove_file(&found[3].place).unwrap();
        symlink("a", &found[3].place).unwrap();
        for file in &found {
            let error = read_whole(file).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Io);
            assert!(error.message().contains("changed while it was read"), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let root = folder(&[]);
        assert_eq!(refusal(root.path()).code(), ErrorCode::BadContents);
        let error = refusal(&root.path().join("missing"));
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().contains("missing"), "{error}");
    }

    #[test]
    fn a_target_that_holds_something_is_never_overwritten() {
        let root = folder(&["full/a", "file"]);
        fs::create_dir(root.path().join("empty")).unwrap();
        symlink("empty", root.path().join("link")).unwrap();
        for taken in ["full", "file", "link"] {
            let error = FolderWriter::new(&root.path().join(taken)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Exists, "{taken}");
        }
        // One that comes to hold something meanwhile.
        let mut writer = FolderWriter::new(&root.path().join("empty")).unwrap();
        writer.add(&entry("x/y", false), b"x".to_vec()).unwrap();
        fs::write(root.path().join("empty/mine"), b"mine").unwrap();
        assert_eq!(writer.finish().unwrap_err().code(), ErrorCode::Exists);
        assert_eq!(names(root.path()), ["empty", "empty/mine", "file", "full", "full/a", "link"]);
        fs::remove_file(root.path().join("empty/mine")).unwrap();
        let mut writer = FolderWriter::new(&root.path().join("empty")).unwrap();
        writer.add(&entry("x/y", false), b"x".to_vec()).unwrap();
        writer.finish().unwrap();
        assert_eq!(fs::read(root.path().join("empty/x/y")).unwrap(), b"x");
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let root = folder(&[]);
        let mut writer = FolderWriter::new(&root.path().join("1.0.0")).unwrap();
        // Large enough to be written at once; the other one waits.
        writer.add(&entry("a/b", false), vec![0; 2 << 20]).unwrap();
        writer.add(&entry("a/c", false), b"x".to_vec()).unwrap();
        assert_eq!(names(root.path()).len(), 3);
        drop(writer);
        assert_eq!(names(root.path()), Vec::<String>::new());
    }

    #[test]
    fn a_path_is_written_once() {
        let root = folder(&[]);
        let mut writer = FolderWriter::new(&root.path().join("1.0.0")).unwrap();
        writer.add(&entry("a/b", false), b"x".to_vec()).unwrap();
        let error = writer.add(&entry("a/b", true), b"y".to_vec()).and_then(|()| writer.finish()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Exists);
        assert!(error.message().contains("1.0.0/a/b"), "{error}");
    }
}
