//! The files of one release: which paths there may be, how many, and the one digest over all of them.
//!
//! The digest is SHA-256 over a text ([`Contents::manifest_text`]), one line a file, sorted by the bytes of the paths:
//!
//! ```text
//! quipu-contents 1
//! file 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 4 README.md
//! exec e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 bin/run
//! ```
//!
//! There is no archive format and no time stamp, so there is nothing to normalise: the same files have the same digest, whether
//! they are read from a folder or from a git tree of either object format.
//!
//! A path ([`ContentPath`]) means the same file on every system, or it is refused:
//!
//! 1. It is UTF-8 in Unicode normalisation form C, its components joined by `/`; none is empty, `.` or `..`, and none is longer than 255
//!    bytes.
//! 2. It has no control, invisible or direction-changing character, nor one of `\ : < > " | ? *`, nor one of U+F000 to U+F0FF, by which
//!    some systems write these.
//! 3. No component ends in a dot or a space, or is a device name of Windows, with or without an extension.
//! 4. No component is `.git` under any disguise, and no folder is called `.gitmodules` or `.gitattributes`.
//!
//! The files of a release, together ([`ContentsBuilder`]):
//!
//! 5. No two files, and no two folders above them, have the same name once case is folded and the result normalised; none is both file and
//!    folder.
//! 6. No folder, the root included, could be taken for a bare git repository.
//! 7. What git itself reads, it accepts ([`super::gitfiles`]).
//! 8. They stay within [`Limits`], which are applied before bytes are held. There is at least one file.
//! 9. In a git tree every entry is a file, an executable file or a folder, and no folder is empty.
//!
//! These rules are checked when a release is made and again wherever one is read. A verdict could change only for a path with characters
//! that Unicode had not assigned when this was built: no normalisation or folding of an assigned one ever changes.

use super::digest::{ContentDigest, FileDigest, GitId, ObjectKind};
use super::error::{Error, Result, fault};
use super::gitfiles::{self, GitFile};
use super::name::is_device_name;
use super::object::{ReadObjects, WriteObjects};
use super::tree::{Entry, Mode, Tree};
use std::collections::hash_map;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use unicase::UniCase;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The longest component of a path in bytes: what common file systems can hold.
pub const COMPONENT_MAX: usize = 255;
/// How many faults one error names; the rest are counted.
pub const FAULTS_MAX: usize = 20;

/// Where a file lies in a release: see rules 1 to 4 of this module.
///
/// Paths are ordered by their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentPath(Box<str>);

impl ContentPath {
    /// Returns the path as text, with `/` between its components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names of the folders and, last, of the file.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the name of the file itself.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the number of components: 1 for a file in the root.
    pub fn depth(&self) -> usize {
        self.components().count()
    }
}

impl FromStr for ContentPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check_path(text)
            .map_err(|why| fault!(BadContents, "path {text:?} {why}").hint("rename it, or name it in `exclude` in quipu.toml"))?;
        Ok(ContentPath(text.into()))
    }
}

impl fmt::Display for ContentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ContentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path stands in messages as it is quoted there.
        fmt::Debug::fmt(&self.0, f)
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("is empty".into());
    }
    if path.starts_with('/') {
        return Err("begins with a slash".into());
    }
    for c in path.chars() {
        if let Some(why) = refusal(c) {
            return Err(format!("has U+{:04X}, {why}", u32::from(c)));
        }
    }
    if !is_nfc(path) {
        return Err("is not in Unicode normalisation form C".into());
    }
    let mut components = path.split('/').peekable();
    while let Some(component) = components.next() {
        let is_folder = components.peek().is_some();
        check_component(component, is_folder).map_err(|why| match component {
            _ if component == path => why.to_owned(),
            "" => format!("has an empty component: {why}"),
            _ => format!("has a component {component:?} that {why}"),
        })?;
    }
    Ok(())
}

fn refusal(c: char) -> Option<&'static str> {
    match c {
        _ if c.is_control() => Some("a control character"),
        _ if gitfiles::is_invisible(c) => Some("a character that is not seen or changes the direction of writing"),
        '\\' => Some("a backslash, which separates folders on Windows"),
        ':' => Some("a colon, which separates streams on Windows"),
        '<' | '>' | '"' | '|' | '?' | '*' => Some("a character that no name has on Windows"),
        '\u{F000}'..='\u{F0FF}' => Some("by which some systems write a character that no name has"),
        _ => None,
    }
}

fn check_component(name: &str, is_folder: bool) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("two slashes stand together, or one at the end");
    }
    if name == "." || name == ".." {
        return Err("stands for another folder");
    }
    if name.len() > COMPONENT_MAX {
        return Err("is longer than 255 bytes");
    }
    if name.ends_with(['.', ' ']) {
        return Err("ends in a dot or a space, which Windows takes off");
    }
    if gitfiles::is_dot_git(name) {
        return Err("some system takes for .git");
    }
    if is_folder && GitFile::ALL.iter().any(|file| file.is_named(name)) {
        return Err("is a folder, where git expects a file of this name");
    }
    // Windows knows a device by what stands before the first dot, whatever the extension.
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    if is_device_name(&stem.to_lowercase()) {
        return Err("Windows keeps for a device");
    }
    Ok(())
}

/// How large a release may be. A registry's policy can change each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of files.
    pub files: u64,
    /// The largest number of bytes in one file.
    pub file_bytes: u64,
    /// The largest number of bytes in all files together.
    pub release_bytes: u64,
    /// The largest number of bytes in one path.
    pub path_bytes: u64,
    /// The largest number of components in one path.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { files: 10_000, file_bytes: 100 * 1024 * 1024, release_bytes: 512 * 1024 * 1024, path_bytes: 512, depth: 32 }
    }
}

impl Limits {
    /// Returns how many bytes one more file may have where `held` bytes are there already.
    pub fn room(&self, held: u64) -> u64 {
        self.file_bytes.min(self.release_bytes.saturating_sub(held))
    }

    /// Checks one more file of `size` bytes where there are `files` files of `held` bytes already.
    ///
    /// # Errors
    /// `limit` with the limit that was passed.
    pub fn admit(&self, files: u64, held: u64, path: &ContentPath, size: u64) -> Result<()> {
        self.admit_count(files + 1)?;
        self.admit_path(path.as_str(), path.depth())?;
        if size > self.file_bytes {
            return Err(fault!(Limit, "{path:?}: the file has {size} bytes, at most {} are allowed", self.file_bytes));
        }
        if size > self.room(held) {
            return Err(fault!(
                Limit,
                "{path:?}: with this file the release has {} bytes, at most {} are allowed",
                held.saturating_add(size),
                self.release_bytes
            ));
        }
        Ok(())
    }

    fn admit_count(&self, files: u64) -> Result<()> {
        if files > self.files {
            return Err(fault!(Limit, "the release has more than {} files", self.files));
        }
        Ok(())
    }

    fn admit_path(&self, path: &str, depth: usize) -> Result<()> {
        if path.len() as u64 > self.path_bytes {
            return Err(fault!(Limit, "path {path:?} has {} bytes, at most {} are allowed", path.len(), self.path_bytes));
        }
        if depth as u64 > self.depth {
            return Err(fault!(Limit, "path {path:?} is {depth} levels deep, at most {} are allowed", self.depth));
        }
        Ok(())
    }
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies.
    pub path: ContentPath,
    /// Whether it can be executed.
    pub exec: bool,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: FileDigest,
}

/// The files of one release. To hold one means that all rules of this module were checked on the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    files: Vec<FileEntry>,
    size: u64,
}

impl Contents {
    /// Returns the files, sorted by the bytes of their paths.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Finds a file by its path.
    pub fn get(&self, path: &ContentPath) -> Option<&FileEntry> {
        let index = self.files.binary_search_by(|file| file.path.cmp(path)).ok()?;
        self.files.get(index)
    }

    /// Returns the number of files, at least 1.
    #[allow(clippy::len_without_is_empty)] // It is never empty.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns the bytes of all files together.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the text that the digest is taken of.
    pub fn manifest_text(&self) -> String {
        use fmt::Write as _;
        let mut text = String::from("quipu-contents 1\n");
        for file in &self.files {
            let kind = if file.exec { "exec" } else { "file" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{kind} {} {} {}", file.digest.hex(), file.size, file.path);
        }
        text
    }

    /// Computes the digest that a release record names.
    pub fn digest(&self) -> ContentDigest {
        ContentDigest::of_bytes(self.manifest_text().as_bytes())
    }
}

/// Takes in the files of a release one by one, in any order, and checks all rules.
#[derive(Clone, Debug)]
pub struct ContentsBuilder {
    limits: Limits,
    files: Vec<FileEntry>,
    size: u64,
}

impl ContentsBuilder {
    /// Begins a release without files.
    pub fn new(limits: Limits) -> Self {
        ContentsBuilder { limits, files: Vec::new(), size: 0 }
    }

    /// Returns how many bytes the next file may have: no more than this need ever be read.
    pub fn room(&self) -> u64 {
        self.limits.room(self.size)
    }

    /// Checks that a file of `size` bytes may be added, before its bytes are there.
    ///
    /// # Errors
    /// `limit` with the limit that was passed.
    pub fn reserve(&self, path: &ContentPath, size: u64) -> Result<()> {
        self.limits.admit(self.files.len() as u64, self.size, path, size)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// `limit` with the limit that was passed; `bad-contents` where git would not accept a file of this name with these bytes.
    pub fn add(&mut self, path: ContentPath, exec: bool, bytes: &[u8]) -> Result<&FileEntry> {
        let size = bytes.len() as u64;
        self.reserve(&path, size)?;
        for file in GitFile::ALL {
            if file.is_named(path.file_name()) {
                file.check(bytes).map_err(|error| error.at(format!("{path:?}")))?;
            }
        }
        self.size += size;
        let index = self.files.len();
        self.files.push(FileEntry { path, exec, size, digest: FileDigest::of_bytes(bytes) });
        Ok(&self.files[index])
    }

    /// Checks the files against one another.
    ///
    /// # Errors
    /// `bad-contents` where there is no file, where two paths are equal on some system, or where a folder could be taken for a git
    /// repository. It names up to [`FAULTS_MAX`] faults.
    pub fn finish(mut self) -> Result<Contents> {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        check_together(self.files.iter().map(|file| &file.path))?;
        Ok(Contents { files: self.files, size: self.size })
    }
}

/// Finds what paths have against one another: rules 5 and 6, one fault a path or folder.
pub fn clashes<'a>(paths: impl IntoIterator<Item = &'a ContentPath>) -> Vec<Error> {
    let mut names = Names::default();
    let mut faults: Vec<Error> = paths.into_iter().filter_map(|path| names.add(path).err()).collect();
    faults.extend(names.hidden_repositories());
    faults
}

fn check_together<'a>(paths: impl ExactSizeIterator<Item = &'a ContentPath>) -> Result<()> {
    if paths.len() == 0 {
        return Err(fault!(BadContents, "there are no files"));
    }
    all_at_once(clashes(paths))
}

/// The names in every folder, as a system sees them that knows neither case nor normalisation.
#[derive(Default)]
struct Names<'a> {
    /// By number of the folder and folded name.
    entries: HashMap<(usize, String), Named<'a>>,
    /// The number of each folder but the root, which is 0, by its path.
    folders: HashMap<&'a str, usize>,
}

struct Named<'a> {
    path: &'a str,
    is_folder: bool,
}

impl<'a> Names<'a> {
    /// Adds a file and the folders above it.
    fn add(&mut self, path: &'a ContentPath) -> Result<()> {
        let path = path.as_str();
        let mut folder = 0;
        let mut start = 0;
        loop {
            let end = path[start..].find('/').map_or(path.len(), |length| start + length);
            let is_folder = end < path.len();
            let (here, name) = (&path[..end], &path[start..end]);
            folder = match self.folders.get(here) {
                Some(known) if is_folder => *known,
                _ => self.insert(folder, name, here, is_folder)?,
            };
            if !is_folder {
                return Ok(());
            }
            start = end + 1;
        }
    }

    /// Adds one name in one folder, and returns its number where it is a folder itself.
    fn insert(&mut self, folder: usize, name: &str, path: &'a str, is_folder: bool) -> Result<usize> {
        match self.entries.entry((folder, fold(name))) {
            hash_map::Entry::Occupied(other) => {
                let other = other.get();
                Err(if other.path == path && other.is_folder == is_folder {
                    fault!(BadContents, "path {path:?} stands twice")
                } else if other.path == path {
                    fault!(BadContents, "path {path:?} is a file and a folder")
                } else {
                    fault!(
                        BadContents,
                        "paths {:?} and {path:?} are the same where case does not count, as on macOS and Windows",
                        other.path
                    )
                }
                .hint("rename one of them, or name it in `exclude` in quipu.toml"))
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(Named { path, is_folder });
                if !is_folder {
                    return Ok(0);
                }
                let number = self.folders.len() + 1;
                self.folders.insert(path, number);
                Ok(number)
            }
        }
    }

    /// Finds the folders that git would enter as a repository: with hooks and settings of whoever made them.
    fn hidden_repositories(&self) -> Vec<Error> {
        let mut folders: Vec<(&str, usize)> = self.folders.iter().map(|(path, number)| (*path, *number)).collect();
        folders.push(("", 0));
        folders.sort_unstable();
        let has = |folder, name: &str| self.entries.contains_key(&(folder, name.to_owned()));
        let mut faults = Vec::new();
        for (path, number) in folders {
            // With a `commondir` git looks for the other two elsewhere.
            if !has(number, "head") || !(has(number, "commondir") || has(number, "objects") && has(number, "refs")) {
                continue;
            }
            let place = if path.is_empty() { "the root".to_owned() } else { format!("folder {path:?}") };
            faults.push(
                fault!(
                    BadContents,
                    "{place} could be taken for a git repository: it has HEAD beside objects and refs, or beside commondir"
                )
                .hint("rename one of these, or name the folder in `exclude` in quipu.toml"),
            );
        }
        faults
    }
}

/// Returns what two names have in common that are equal under full case folding and canonical equivalence (Unicode, definition
/// D145).
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let decomposed: String = name.nfd().collect();
    UniCase::unicode(decomposed).to_folded_case().nfd().collect()
}

/// Makes one error of many, so that all of them can be mended at once. The first gives the code.
///
/// # Errors
/// Where there is a fault.
pub fn all_at_once(mut faults: Vec<Error>) -> Result<()> {
    if faults.len() <= 1 {
        return faults.pop().map_or(Ok(()), Err);
    }
    let named: Vec<&str> = faults.iter().take(FAULTS_MAX).map(Error::message).collect();
    let mut message = format!("{} faults: {}", faults.len(), named.join("; "));
    if faults.len() > FAULTS_MAX {
        message.push_str(&format!("; and {} more", faults.len() - FAULTS_MAX));
    }
    let mut error = Error::new(faults[0].code(), message);
    let mut hints: Vec<&String> = Vec::new();
    for hint in faults.iter().flat_map(Error::hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
            error = error.hint(hint);
        }
    }
    Err(error)
}

/// Writes the git trees of files whose blobs are written, and returns the id of the uppermost.
///
/// # Errors
/// `bad-contents` where a path stands twice, is a file and a folder, or where there is no file; those of [`WriteObjects::write`].
pub fn write_tree(objects: &mut impl WriteObjects, files: &[(FileEntry, GitId)]) -> Result<GitId> {
    if files.is_empty() {
        return Err(fault!(BadContents, "there are no files"));
    }
    let mut files: Vec<&(FileEntry, GitId)> = files.iter().collect();
    // So all files below one folder come one after another.
    files.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    // The folders that are open, from the root down: name and what is in it so far.
    let mut open: Vec<(&str, Vec<Entry>)> = vec![("", Vec::new())];
    for (file, id) in files {
        let mut above: Vec<&str> = file.path.components().collect();
        let name = above.pop().unwrap_or_default();
        let shared = open[1..].iter().zip(&above).take_while(|((name, _), component)| name == *component).count();
        close_folders(objects, &mut open, shared + 1)?;
        open.extend(above[shared..].iter().map(|component| (*component, Vec::new())));
        if let Some((_, entries)) = open.last_mut() {
            entries.push(Entry { name: name.to_owned(), mode: if file.exec { Mode::Exec } else { Mode::File }, id: *id });
        }
    }
    close_folders(objects, &mut open, 1)?;
    let root = open.pop().map(|(_, entries)| entries).unwrap_or_default();
    Tree::new(root)?.write(objects)
}

/// Writes open folders, the innermost first, until `keep` of them are left.
fn close_folders(objects: &mut impl WriteObjects, open: &mut Vec<(&str, Vec<Entry>)>, keep: usize) -> Result<()> {
    while open.len() > keep {
        let Some((name, entries)) = open.pop() else { break };
        let id = Tree::new(entries).map_err(|error| error.at(format!("folder {name:?}")))?.write(objects)?;
        if let Some((_, parent)) = open.last_mut() {
            parent.push(Entry { name: name.to_owned(), mode: Mode::Tree, id });
        }
    }
    Ok(())
}

/// A file that a git tree names, before its bytes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFile {
    /// Where it lies.
    pub path: ContentPath,
    /// Whether it can be executed.
    pub exec: bool,
    /// The blob with its bytes.
    pub blob: GitId,
}

/// Reads the trees of a release, not its files, and checks the paths: rules 1 to 6 and 9. The files come sorted by path.
///
/// However often trees name one another, it stops as soon as there must be more files than the limits allow.
///
/// # Errors
/// `limit` or `bad-contents` with the first fault; those of [`ReadObjects::read`].
pub fn list_tree(objects: &impl ReadObjects, tree: GitId, limits: &Limits) -> Result<Vec<TreeFile>> {
    let mut files = Vec::new();
    // The folders that are still to be read: path, with a slash after it except for the root, number of components, tree.
    let mut folders = VecDeque::from([(String::new(), 0, tree)]);
    while let Some((folder, depth, id)) = folders.pop_front() {
        let tree = Tree::read(objects, id).map_err(|error| match folder.as_str() {
            "" => error,
            _ => error.at(format!("folder {folder:?}")),
        })?;
        if tree.is_empty() {
            return Err(match folder.as_str() {
                "" => fault!(BadContents, "there are no files"),
                _ => fault!(BadContents, "folder {folder:?} is empty"),
            });
        }
        // No folder is empty, so each that is still to be read stands for at least one file.
        limits.admit_count((files.len() + folders.len() + tree.entries().len()) as u64)?;
        for entry in tree.entries() {
            let path = format!("{folder}{}", entry.name);
            match entry.mode {
                Mode::File | Mode::Exec => {
                    limits.admit_path(&path, depth + 1)?;
                    files.push(TreeFile { path: path.parse()?, exec: entry.mode == Mode::Exec, blob: entry.id });
                }
                Mode::Tree => {
                    // At least one character of a file's name comes after the slash, and it lies one level deeper.
                    limits.admit_path(&format!("{path}/_"), depth + 2)?;
                    folders.push_back((path + "/", depth + 1, entry.id));
                }
                Mode::Gitlink => {
                    return Err(fault!(BadContents, "path {path:?} is a submodule (mode 160000), expected a file or a folder"));
                }
            }
        }
    }
    files.sort_by(|a: &TreeFile, b| a.path.cmp(&b.path));
    check_together(files.iter().map(|file| &file.path))?;
    Ok(files)
}

/// Reads a release from its git tree, hands each file to `on_file` in the order of paths, and checks all rules.
///
/// No file is read before all paths are known to be good, and none with more bytes than the limits leave. What `on_file` is given
/// is vouched for only once the digest of the result is compared with the one that a record names.
///
/// # Errors
/// `limit` or `bad-contents` with the first fault; those of [`ReadObjects::read`] and of `on_file`.
pub fn read_tree(
    objects: &impl ReadObjects,
    tree: GitId,
    limits: &Limits,
    mut on_file: impl FnMut(&FileEntry, Vec<u8>) -> Result<()>,
) -> Result<Contents> {
    let mut builder = ContentsBuilder::new(*limits);
    for TreeFile { path, exec, blob } in list_tree(objects, tree, limits)? {
        let bytes = objects.read(ObjectKind::Blob, blob, builder.room()).map_err(|error| error.at(format!("{path:?}")))?;
        on_file(builder.add(path, exec, &bytes)?, bytes)?;
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::super::digest::ObjectFormat;
    use super::super::gitfiles::stock_git::StockGit;
    use super::super::object::MemoryObjects;
    use super::*;
    use crate::model::error::ErrorCode;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    fn path(text: &str) -> ContentPath {
        text.parse().unwrap()
    }

    /// Builds a release of empty files.
    fn empty_files(paths: &[&str]) -> Result<Contents> {
        let mut builder = ContentsBuilder::new(Limits::default());
        for text in paths {
            builder.add(path(text), false, b"")?;
        }
        builder.finish()
    }

    fn code<T>(result: Result<T>) -> Option<ErrorCode> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn each_rule_of_paths_has_a_twin_that_is_accepted() {
        let long = format!("{}/{}", "a".repeat(256), "b");
        let fits = format!("{}/{}", "a".repeat(255), "b");
        let table = [
            // refused, what the error says, accepted
            ("", "is empty", "a"),
            ("/a", "begins with a slash", "a"),
            ("a//b", "empty component", "a/b"),
            ("a/", "empty component", "a"),
            (".", "another folder", ".a"),
            ("a/./b", "another folder", "a/.b"),
            ("../a", "another folder", "..a"),
            ("a/..", "another folder", "a/...b"),
            ("a\\b", "U+005C", "a_b"),
            ("c:", "U+003A", "c"),
            ("a\nb", "U+000A", "a b"),
            ("a\u{0}", "U+0000", "a0"),
            ("a\u{7f}", "U+007F", "a~"),
            ("a\u{85}", "U+0085", "a\u{a0}"),
            ("a\u{202e}txt.exe", "U+202E", "atxt.exe"),
            ("a\u{2066}", "U+2066", "a\u{2070}"),
            ("a\u{200b}b", "U+200B", "a\u{2010}b"),
            ("a\u{feff}", "U+FEFF", "a\u{fefc}"),
            ("a\u{ad}b", "U+00AD", "a\u{ae}b"),
            ("❤\u{fe0f}", "U+FE0F", "❤"),
            ("\u{3164}", "U+3164", "ㅏ"),
            ("a\u{e0041}", "U+E0041", "a\u{1f600}"),
            ("a\u{2028}b", "U+2028", "a—b"),
            ("a\u{f03a}b", "U+F03A", "a\u{e03a}b"),
            ("a<b", "U+003C", "a(b"),
            ("a>b", "U+003E", "a)b"),
            ("a\"b", "U+0022", "a'b"),
            ("a|b", "U+007C", "a!b"),
            ("a?", "U+003F", "a!"),
            ("*.c", "U+002A", "+.c"),
            ("cafe\u{301}", "form C", "caf\u{e9}"),
            ("\u{212b}", "form C", "\u{c5}"),
            ("a.", "ends in a dot or a space", ".a"),
            ("a ", "ends in a dot or a space", " a"),
            ("a /b", "ends in a dot or a space", "a/ b"),
            ("a./b", "ends in a dot or a space", "a/b"),
            (".git/config", "takes for .git", ".github/config"),
            ("a/.git", "takes for .git", "a/.gitignore"),
            ("a/.GIT", "takes for .git", "a/.GITIGNORE"),
            (".gIt/x", "takes for .git", "gIt/x"),
            ("git~1", "takes for .git", "git~"),
            ("GIT~2/x", "takes for .git", "GIT-2/x"),
            ("gi12ab~1", "takes for .git", "gi12abc~1"),
            (".git.", "ends in a dot", ".git.a"),
            (".git ", "ends in a dot or a space", ".git a"),
            (".git::$INDEX_ALLOCATION", "U+003A", "$INDEX_ALLOCATION"),
            (".g\u{200c}it", "U+200C", ".gi"),
            (".gitmodules/a", "is a folder", ".gitmodules"),
            ("GITMOD~1/a", "is a folder", "GITMOD~1"),
            ("a/.gitattributes/a", "is a folder", "a/.gitattributes"),
            ("aux", "for a device", "auxi"),
            ("aux.txt", "for a device", "my.aux.txt"),
            ("a/AUX.tar.gz", "for a device", "a/tar.aux"),
            ("COM1.c", "for a device", "COM10.c"),
            ("com\u{b9}.c", "for a device", "com\u{2074}.c"),
            ("lpt0", "for a device", "lpt"),
            ("nul .txt", "for a device", "nul a.txt"),
            ("con/a", "for a device", "icon/a"),
            ("CONIN$", "for a device", "CONIN"),
            (&long, "longer than 255 bytes", &fits),
        ];
        for (refused, why, accepted) in table {
            let error = refused.parse::<ContentPath>().expect_err(refused);
            assert_eq!(error.code(), ErrorCode::BadContents, "{refused:?}");
            assert!(error.message().contains(why), "{refused:?}: {error}");
            assert!(error.message().contains(&format!("{refused:?}")), "{refused:?}: {error}");
            assert_eq!(error.hints().len(), 1);
            assert_eq!(accepted.parse::<ContentPath>().map(|path| path.to_string()), Ok(accepted.to_owned()));
        }
    }

    #[test]
    fn no_two_paths_are_one_on_some_system() {
        let table: [(&[&str], &[&str]); 15] = [
            (&["a", "A"], &["a", "b"]),
            (&["Straße", "STRASSE"], &["Straße", "STRASE"]),
            (&["Src/a", "src/b"], &["src/a", "src/b"]),
            (&["x/Src/y/a", "x/src/z/b"], &["x/src/y/a", "y/Src/z/b"]),
            (&["É", "é"], &["É", "e"]),
            (&["ς", "Σ"], &["ς", "Π"]),
            (&["\u{3a9}", "\u{3c9}"], &["\u{3a9}", "o"]),
            (&["kelvin", "\u{17f}", "S"], &["kelvin", "S"]),
            (&["ﬁ", "FI"], &["ﬁ", "F1"]),
            (&["\u{1fc3}", "\u{1fcc}"], &["\u{1fc3}", "\u{3b7}"]),
            (&["a", "a/b"], &["a.x", "a/b"]),
            (&["a", "A/b"], &["a.x", "A/b"]),
            (&["a/b", "a-c", "a"], &["a/b", "a-c", "ab"]),
            (&["x/a", "x/a"], &["x/a", "y/a"]),
            (&["İ", "i\u{307}"], &["İ", "i"]),
        ];
        for (refused, accepted) in table {
            assert_eq!(code(empty_files(refused)), Some(ErrorCode::BadContents), "{refused:?}");
            assert_eq!(code(empty_files(accepted)), None, "{accepted:?}");
        }
        // Composed and decomposed never meet, since only one of them is a path.
        assert!("e\u{301}".parse::<ContentPath>().is_err());
        let error = empty_files(&["Src/a", "src/b", "src/c", "doc", "DOC"]).unwrap_err();
        for named in ["\"Src\"", "\"src\"", "\"doc\"", "\"DOC\""] {
            assert!(error.message().contains(named), "{error}");
        }
    }

    #[test]
    fn no_folder_is_a_repository_in_hiding() {
        for (refused, accepted) in [
            (["x/HEAD", "x/objects/a", "x/refs/b"], ["x/HEAD", "x/objects/a", "y/refs/b"]),
            (["HEAD", "objects/a", "refs/b"], ["HEAD", "objects/a", "x/refs/b"]),
            (["x/y/head", "x/y/Objects/a", "x/y/REFS/b"], ["x/y/head", "x/y/Objects/a", "x/REFS/b"]),
            (["x/HEAD", "x/objects", "x/refs"], ["x/HEAD", "x/object", "x/refs"]),
            (["x/HEAD", "x/commondir", "y/objects"], ["x/HEAD", "y/commondir", "y/objects"]),
        ] {
            assert_eq!(code(empty_files(&refused)), Some(ErrorCode::BadContents), "{refused:?}");
            assert_eq!(code(empty_files(&accepted)), None, "{accepted:?}");
        }
    }

    #[test]
    fn a_release_holds_a_file() {
        assert_eq!(code(empty_files(&[])), Some(ErrorCode::BadContents));
        assert_eq!(code(empty_files(&["a"])), None);
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        assert_eq!(code(write_tree(&mut objects, &[])), Some(ErrorCode::BadContents));
    }

    type Files = &'static [(&'static str, &'static [u8])];

    #[test]
    fn limits_are_kept_to_the_last_byte() {
        let limits = Limits { files: 2, file_bytes: 4, release_bytes: 6, path_bytes: 5, depth: 3 };
        let add = |files: Files| {
            let mut builder = ContentsBuilder::new(limits);
            for (text, bytes) in files {
                builder.add(path(text), false, bytes)?;
            }
            builder.finish()
        };
        let table: [(Files, Files); 5] = [
            (&[("a", b""), ("b", b""), ("c", b"")], &[("a", b""), ("b", b"")]),
            (&[("a", b"12345")], &[("a", b"1234")]),
            (&[("a", b"1234"), ("b", b"123")], &[("a", b"1234"), ("b", b"12")]),
            (&[("123456", b"")], &[("12345", b"")]),
            (&[("a/b/c/d", b"")], &[("a/b/c", b"")]),
        ];
        for (refused, accepted) in table {
            assert_eq!(code(add(refused)), Some(ErrorCode::Limit), "{refused:?}");
            assert_eq!(code(add(accepted)), None, "{accepted:?}");
        }
        let mut builder = ContentsBuilder::new(limits);
        assert_eq!(builder.room(), 4);
        builder.add(path("a"), false, b"1234").unwrap();
        assert_eq!(builder.room(), 2);
        assert_eq!(code(builder.reserve(&path("b"), 3)), Some(ErrorCode::Limit));
        assert_eq!(code(builder.reserve(&path("b"), u64::MAX)), Some(ErrorCode::Limit));
        assert_eq!(code(builder.reserve(&path("b"), 2)), None);
    }

    /// The files of the golden sample.
    const SAMPLE: &[(&str, bool, &[u8])] = &[
        ("src/lib.wit", false, b"package wasi:sample;\n"),
        ("README.md", false, b"# sample\n"),
        ("bin/run", true, b"#!/bin/sh\n"),
        ("src-extra", false, b""),
        ("src.txt", false, b"\0\xff"),
        ("caf\u{e9}/stra\u{df}e", false, b"sample"),
        (".gitmodules", false, b"[submodule \"a\"]\n\tpath = a\n\turl = ../a.git\n"),
        (".gitattributes", false, b"* text=auto\n"),
    ];

    fn sample(builder: &mut ContentsBuilder, objects: &mut MemoryObjects) -> Vec<(FileEntry, GitId)> {
        SAMPLE
            .iter()
            .map(|(text, exec, bytes)| {
                let id = objects.write(ObjectKind::Blob, bytes).unwrap();
                (builder.add(path(text), *exec, bytes).unwrap().clone(), id)
            })
            .collect()
    }

    #[test]
    fn the_golden_sample_has_the_digest_that_it_always_had() {
        let mut builder = ContentsBuilder::new(Limits::default());
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let blobs = sample(&mut builder, &mut objects);
        let contents = builder.finish().unwrap();
        assert_eq!(contents.manifest_text(), include_str!("../../tests/fixtures/contents/manifest.txt"));
        assert_eq!(format!("{}\n", contents.digest()), include_str!("../../tests/fixtures/contents/digest.txt"));
        let tree = write_tree(&mut objects, &blobs).unwrap();
        assert_eq!(format!("{tree}\n"), include_str!("../../tests/fixtures/contents/tree.sha1.txt"));
        assert_eq!((contents.len(), contents.size()), (8, 102));
        assert!(contents.get(&path("bin/run")).unwrap().exec);
        assert!(contents.get(&path("bin")).is_none());
    }

    #[test]
    fn anything_but_the_same_files_has_another_digest() {
        let digest = |files: &[(&str, bool, &[u8])]| {
            let mut builder = ContentsBuilder::new(Limits::default());
            for (text, exec, bytes) in files {
                builder.add(path(text), *exec, bytes).unwrap();
            }
            builder.finish().unwrap().digest()
        };
        let original: &[(&str, bool, &[u8])] = &[("a", false, b"1"), ("b/c", false, b"2")];
        assert_eq!(digest(original), digest(&[("b/c", false, b"2"), ("a", false, b"1")]));
        for other in [
            &[("a", true, b"1".as_slice()), ("b/c", false, b"2")],
            &[("a", false, b"2"), ("b/c", false, b"1")],
            &[("a", false, b"1"), ("b-c", false, b"2")],
            &[("a", false, b"12"), ("b/c", false, b"")],
        ] {
            assert_ne!(digest(original), digest(other), "{other:?}");
        }
    }

    fn in_tree(objects: &mut MemoryObjects, name: &str, mode: Mode, id: GitId) -> GitId {
        let entry = Entry { name: name.into(), mode, id };
        Tree::new(vec![entry]).unwrap().write(objects).unwrap()
    }

    #[test]
    fn trees_hold_files_and_folders_alone() {
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let blob = objects.write(ObjectKind::Blob, b"x").unwrap();
        let good = in_tree(&mut objects, "a", Mode::File, blob);
        let good = in_tree(&mut objects, "d", Mode::Tree, good);
        assert_eq!(code(read_tree(&objects, good, &Limits::default(), |_, _| Ok(()))), None);
        for mode in ["120000", "100664", "100600", "040000", "160000", "0100644", ""] {
            let mut bytes = format!("{mode} a\0").into_bytes();
            bytes.extend_from_slice(blob.as_bytes());
            let bad = objects.write(ObjectKind::Tree, &bytes).unwrap();
            let bad = in_tree(&mut objects, "d", Mode::Tree, bad);
            let error = read_tree(&objects, bad, &Limits::default(), |_, _| Ok(())).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadContents, "{mode}");
            assert!(error.message().contains("\"d/"), "{error}");
        }
        let empty = ObjectFormat::Sha1.empty_tree();
        objects.write(ObjectKind::Tree, b"").unwrap();
        let holds_empty = in_tree(&mut objects, "d", Mode::Tree, empty);
        for tree in [empty, holds_empty] {
            assert_eq!(code(list_tree(&objects, tree, &Limits::default())), Some(ErrorCode::BadContents));
        }
        // A file where a folder is named, and the other way round.
        let file_as_folder = in_tree(&mut objects, "d", Mode::Tree, blob);
        assert_eq!(code(list_tree(&objects, file_as_folder, &Limits::default())), Some(ErrorCode::CorruptObject));
        let folder_as_file = in_tree(&mut objects, "d", Mode::File, good);
        let read = read_tree(&objects, folder_as_file, &Limits::default(), |_, _| Ok(()));
        assert_eq!(code(read), Some(ErrorCode::CorruptObject));
    }

    #[test]
    fn rules_hold_for_what_is_read_too() {
        let mut objects = MemoryObjects::new(ObjectFormat::Sha256);
        let blob = objects.write(ObjectKind::Blob, b"[core]\n").unwrap();
        for (name, expected) in [
            ("config", None),
            (".gitmodules", Some(ErrorCode::BadContents)),
            (".git", Some(ErrorCode::BadContents)),
            ("aux.c", Some(ErrorCode::BadContents)),
            ("a\u{202e}", Some(ErrorCode::BadContents)),
        ] {
            let file = in_tree(&mut objects, name, Mode::File, blob);
            let below = in_tree(&mut objects, "d", Mode::Tree, file);
            let mut seen = 0;
            let read = read_tree(&objects, below, &Limits::default(), |_, _| {
                seen += 1;
                Ok(())
            });
            assert_eq!((code(read), seen), (expected, usize::from(expected.is_none())), "{name}");
        }
        let twins = ["A", "a"].map(|name| Entry { name: name.into(), mode: Mode::File, id: blob });
        let twins = Tree::new(twins.to_vec()).unwrap().write(&mut objects).unwrap();
        assert_eq!(code(list_tree(&objects, twins, &Limits::default())), Some(ErrorCode::BadContents));
    }

    /// Objects that count what is asked of them, and have an answer to everything: the same tree, and 300 MB of zeros.
    struct Endless {
        tree: Vec<u8>,
        trees_read: RefCell<u64>,
        blob_limits: RefCell<Vec<u64>>,
    }

    impl Endless {
        fn new(entries: Vec<Entry>) -> Self {
            Endless {
                tree: Tree::new(entries).unwrap().to_bytes(),
                trees_read: RefCell::new(0),
                blob_limits: RefCell::new(Vec::new()),
            }
        }
    }

    impl ReadObjects for Endless {
        fn format(&self) -> ObjectFormat {
            ObjectFormat::Sha1
        }

        fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
            if kind == ObjectKind::Tree {
                *self.trees_read.borrow_mut() += 1;
                return Ok(self.tree.clone());
            }
            self.blob_limits.borrow_mut().push(limit);
            let size = 300_000_000;
            if size > limit {
                return Err(fault!(Limit, "object {id} has {size} bytes, at most {limit} are read"));
            }
            Ok(vec![0; usize::try_from(size).unwrap()])
        }
    }

    #[test]
    fn trees_that_name_themselves_are_not_followed() {
        let id = ObjectFormat::Sha1.empty_tree();
        for width in [1, 2, 10, 3000] {
            let names = (0..width).map(|number| Entry { name: number.to_string(), mode: Mode::Tree, id });
            let objects = Endless::new(names.collect());
            assert_eq!(code(list_tree(&objects, id, &Limits::default())), Some(ErrorCode::Limit));
            assert!(*objects.trees_read.borrow() <= 10_000, "{width}: {:?}", objects.trees_read);
        }
        // Honest ids, 10 folders at each of 30 levels.
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let mut below = objects.write(ObjectKind::Blob, b"").unwrap();
        for level in 0..30 {
            let entries = (0..10).map(|number| Entry {
                name: number.to_string(),
                mode: if level == 0 { Mode::File } else { Mode::Tree },
                id: below,
            });
            below = Tree::new(entries.collect()).unwrap().write(&mut objects).unwrap();
            let expected = (level >= 4).then_some(ErrorCode::Limit);
            assert_eq!(code(list_tree(&objects, below, &Limits::default())), expected, "{level}");
        }
    }

    #[test]
    fn deep_trees_are_left_at_the_limit() {
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let blob = objects.write(ObjectKind::Blob, b"").unwrap();
        let mut tree = in_tree(&mut objects, "f", Mode::File, blob);
        for _ in 1..32 {
            tree = in_tree(&mut objects, "d", Mode::Tree, tree);
        }
        assert_eq!(list_tree(&objects, tree, &Limits::default()).unwrap()[0].path.depth(), 32);
        tree = in_tree(&mut objects, "d", Mode::Tree, tree);
        assert_eq!(code(list_tree(&objects, tree, &Limits::default())), Some(ErrorCode::Limit));
    }

    #[test]
    fn no_more_is_asked_for_than_the_limits_leave() {
        let id = ObjectFormat::Sha1.empty_tree();
        let file = |name: &str| Entry { name: name.into(), mode: Mode::File, id };
        let objects = Endless::new(vec![file("zeros")]);
        let read = read_tree(&objects, id, &Limits::default(), |_, _| Ok(()));
        assert_eq!(code(read), Some(ErrorCode::Limit));
        assert_eq!(*objects.blob_limits.borrow(), [100 * 1024 * 1024]);

        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let four = objects.write(ObjectKind::Blob, b"1234").unwrap();
        let entries = ["a", "b", "c"].map(|name| Entry { name: name.into(), mode: Mode::File, id: four });
        let tree = Tree::new(entries.to_vec()).unwrap().write(&mut objects).unwrap();
        for (release_bytes, expected) in [(12, None), (11, Some(ErrorCode::Limit))] {
            let limits = Limits { file_bytes: 4, release_bytes, ..Limits::default() };
            assert_eq!(code(read_tree(&objects, tree, &limits, |_, _| Ok(()))), expected);
        }
    }

    fn a_path() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-cA-C0-2._~é日ßς -]{1,5}", 1..5).prop_map(|components| components.join("/"))
    }

    /// Takes the paths that are valid, and valid together.
    fn valid(files: Vec<(String, bool, Vec<u8>)>) -> BTreeMap<ContentPath, (bool, Vec<u8>)> {
        let mut taken: BTreeMap<ContentPath, (bool, Vec<u8>)> = BTreeMap::new();
        for (text, exec, bytes) in files {
            if let Ok(path) = text.parse::<ContentPath>()
                && clashes(taken.keys().chain([&path])).is_empty()
            {
                taken.insert(path, (exec, bytes));
            }
        }
        taken
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_release_is_read_from_its_tree_as_it_was_written(
            files in prop::collection::vec((a_path(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 1..40),
            sha256: bool,
        ) {
            let files = valid(files);
            prop_assume!(!files.is_empty());
            let format = if sha256 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
            let mut objects = MemoryObjects::new(format);
            let mut builder = ContentsBuilder::new(Limits::default());
            let mut blobs = Vec::new();
            for (path, (exec, bytes)) in files.iter().rev() {
                let id = objects.write(ObjectKind::Blob, bytes).unwrap();
                blobs.push((builder.add(path.clone(), *exec, bytes).unwrap().clone(), id));
            }
            let written = builder.finish().unwrap();
            let tree = write_tree(&mut objects, &blobs).unwrap();
            let mut seen = BTreeMap::new();
            let read = read_tree(&objects, tree, &Limits::default(), |file, bytes| {
                seen.insert(file.path.clone(), (file.exec, bytes));
                Ok(())
            });
            prop_assert_eq!(read.as_ref().map(Contents::digest), Ok(written.digest()));
            prop_assert_eq!(read, Ok(written));
            prop_assert_eq!(&seen, &files);

            // Git makes the same tree of the same files, and finds nothing wrong with it.
            let git = StockGit::new(format);
            let of_kind = |wanted| objects.iter().filter(move |(_, kind, _)| *kind == wanted);
            for kind in [ObjectKind::Blob, ObjectKind::Tree] {
                let ids: Vec<GitId> = of_kind(kind).map(|(id, _, _)| id).collect();
                let bytes: Vec<&[u8]> = of_kind(kind).map(|(_, _, bytes)| bytes).collect();
                prop_assert_eq!(git.put(kind, &bytes), ids);
            }
            let index: String = blobs
                .iter()
                .map(|(file, id)| format!("{} {id}\t{}\n", if file.exec { "100755" } else { "100644" }, file.path))
                .collect();
            git.run(["update-index", "--index-info"], index.as_bytes());
            let by_git = git.run(["write-tree"], b"");
            prop_assert_eq!(by_git.trim(), tree.to_string());
            prop_assert_eq!(git.fsck(), "");
        }

        #[test]
        fn any_text_is_a_path_that_git_accepts_or_is_refused(texts in prop::collection::vec("[.gGiItT~1-4moduleshad7eb: \u{200c}ſ/é\u{301}]{1,12}|\\PC{1,8}|(.g|G)[Ii]t(~1|.| |~2|modules|:)", 100)) {
            let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
            let blob = objects.write(ObjectKind::Blob, b"").unwrap();
            for text in texts {
                if let Ok(path) = text.parse::<ContentPath>() {
                    let file = FileEntry { path, exec: false, size: 0, digest: FileDigest::of_bytes(b"") };
                    let tree = write_tree(&mut objects, &[(file.clone(), blob)]).unwrap();
                    prop_assert_eq!(list_tree(&objects, tree, &Limits::default()).map(|files| files[0].path.clone()), Ok(file.path));
                }
            }
            let git = StockGit::new(ObjectFormat::Sha1);
            git.put(ObjectKind::Blob, &[b""]);
            let trees: Vec<&[u8]> = objects.iter().filter(|(_, kind, _)| *kind == ObjectKind::Tree).map(|(_, _, bytes)| bytes).collect();
            git.put(ObjectKind::Tree, &trees);
            prop_assert_eq!(git.fsck(), "");
        }
    }
}
