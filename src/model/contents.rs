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
        write!(f, "ContentPath({:?})", &self.0)
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
    mut on_file: impl FnMut(&FileEntry, &[u8]) -> Result<()>,
) -> Result<Contents> {
    let mut builder = ContentsBuilder::new(*limits);
    for TreeFile { path, exec, blob } in list_tree(objects, tree, limits)? {
        let bytes = objects.read(ObjectKind::Blob, blob, builder.room()).map_err(|error| error.at(format!("{path:?}")))?;
        on_file(builder.add(path, exec, &bytes)?, &bytes)?;
    }
    builder.finish()
}
