//! Folders of packages as other tools keep them: `<namespace>/<name>/<version>/…` with the files of a version, and
//! `<namespace>/<name>/<version>.wasm` where a version is one file. Both may stand side by side.
//!
//! Names are mapped to those that a registry can hold, by one rule: capital letters become small ones; `_`, `.` and spaces become hyphens;
//! of several hyphens one is kept, and none at the ends. A version loses a `v` before its number, and what stands after `+` becomes its
//! word about the build. What does not fit then is left out. Where two sources come to mean one package, or one version, neither is
//! taken. What begins with a dot is passed over, and symbolic links are not followed.

use super::replace::io_fault;
use crate::model::error::{Error, Result, fault};
use crate::model::name::{Label, PackageName, Version};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The ending of a version that is one file.
pub const SINGLE: &str = ".wasm";

/// Something that is left out.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Where it stands, below the folder that was given.
    pub place: String,
    /// Why.
    pub why: Error,
}

/// A name or a version that is called otherwise in the registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapped {
    /// Where it stands, below the folder that was given.
    pub place: String,
    /// What it is called.
    pub to: String,
}

/// What is to be said of a layout besides what it holds.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What is left out.
    pub left_out: Vec<LeftOut>,
    /// What is called otherwise.
    pub mapped: Vec<Mapped>,
}

impl Notes {
    fn leave_out(&mut self, place: String, why: Error) {
        self.left_out.push(LeftOut { place, why });
    }

    /// Adds other notes.
    pub fn extend(&mut self, other: Notes) {
        self.left_out.extend(other.left_out);
        self.mapped.extend(other.mapped);
    }

    /// Puts the notes in the order of their places.
    pub fn sort(&mut self) {
        self.left_out.sort_by(|one, other| one.place.cmp(&other.place));
        self.mapped.sort();
    }
}

/// The namespaces of a layout.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    namespaces: BTreeMap<Label, Vec<PathBuf>>,
    entries: u64,
}

impl Layout {
    /// Looks at the namespaces in a folder.
    ///
    /// # Errors
    /// `not-found` where there is no such folder, `usage` where it is none, `io`.
    pub fn open(root: &Path, notes: &mut Notes) -> Result<Self> {
        match fs::metadata(root) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(fault!(Usage, "{} is not a folder", root.display())
                    .hint("name the folder in which the packages are: NAMESPACE/NAME/VERSION"));
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                return Err(fault!(NotFound, "{}: there is no such folder", root.display()));
            }
            Err(why) => return Err(io_fault(&why, "read", root)),
        }
        let mut namespaces: BTreeMap<Label, Vec<PathBuf>> = BTreeMap::new();
        let mut entries = 0;
        for entry in list(root, root, notes)? {
            if let Some(label) = entry.label(notes) {
                // One that cannot be read says so when its packages are listed.
                entries += fs::read_dir(&entry.path).map_or(0, |found| found.count() as u64);
                namespaces.entry(label).or_default().push(entry.path);
            }
        }
        Ok(Layout { root: root.to_owned(), namespaces, entries })
    }

    /// Returns how many packages there may be at most.
    pub fn at_most(&self) -> u64 {
        self.entries
    }

    /// Lists the packages of each namespace in turn, so that a large layout is never held whole.
    pub fn packages(self, notes: &mut Notes) -> impl Iterator<Item = Package> {
        let root = self.root;
        self.namespaces.into_iter().flat_map(move |(namespace, folders)| {
            let mut names: BTreeMap<Label, Vec<PathBuf>> = BTreeMap::new();
            for folder in folders {
                match list(&root, &folder, notes) {
                    Ok(found) => {
                        for entry in found {
                            if let Some(label) = entry.label(notes) {
                                names.entry(label).or_default().push(entry.path);
                            }
                        }
                    }
                    Err(why) => notes.leave_out(shown(&root, &folder), why),
                }
            }
            let mut packages = Vec::with_capacity(names.len());
            for (name, places) in names {
                let package = PackageName::new(namespace.clone(), name);
                match <[PathBuf; 1]>::try_from(places) {
                    Ok([place]) => {
                        let path = shown(&root, &place);
                        if path != format!("{}/{}", package.namespace(), package.name()) {
                            notes.mapped.push(Mapped { place: path, to: package.to_string() });
                        }
                        packages.push(Package { package, place, root: root.clone() });
                    }
                    Err(places) => several(&root, &places, &format!("the package {package}"), notes),
                }
            }
            packages
        })
    }
}

/// Leaves out all sources of one name.
fn several(root: &Path, places: &[PathBuf], what: &str, notes: &mut Notes) {
    let all: Vec<String> = places.iter().map(|place| shown(root, place)).collect();
    for place in &all {
        let others: Vec<&str> = all.iter().filter(|other| *other != place).map(String::as_str).collect();
        let why = fault!(Conflict, "{what} would be {} too; neither is taken", others.join(" and "))
            .hint("rename all but one of them, and import again");
        notes.leave_out(place.clone(), why);
    }
}

/// Something in a folder, which has a name that is text and is no link.
struct Entry {
    name: String,
    path: PathBuf,
    place: String,
    is_folder: bool,
}

impl Entry {
    /// Returns the label that a folder's name is mapped to.
    fn label(&self, notes: &mut Notes) -> Option<Label> {
        if !self.is_folder {
            let why = fault!(BadContents, "it is a file, expected a folder").hint("packages lie at NAMESPACE/NAME/VERSION");
            notes.leave_out(self.place.clone(), why);
            return None;
        }
        match mapped_label(&self.name).parse() {
            Ok(label) => Some(label),
            Err(why) => {
                notes.leave_out(self.place.clone(), why);
                None
            }
        }
    }
}

/// Maps a folder's name to the nearest one that could be a label.
fn mapped_label(name: &str) -> String {
    let mut mapped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '_' | '.' | ' ' | '-' if mapped.is_empty() || mapped.ends_with('-') => {}
            '_' | '.' | ' ' => mapped.push('-'),
            other => mapped.push(other.to_ascii_lowercase()),
        }
    }
    mapped.truncate(mapped.trim_end_matches('-').len());
    mapped
}

/// Lists a folder by name, without what begins with a dot.
fn list(root: &Path, folder: &Path, notes: &mut Notes) -> Result<Vec<Entry>> {
    let failed = |why: std::io::Error| io_fault(&why, "read", folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let place = shown(root, &path);
        let Ok(name) = entry.file_name().into_string() else {
            notes.leave_out(place, fault!(BadName, "its name is not UTF-8").hint("rename it, and import again"));
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if !kind.is_dir() && !kind.is_file() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "a socket, pipe or device" };
            notes.leave_out(place, fault!(BadContents, "it is {what}, expected a folder or a file"));
            continue;
        }
        found.push(Entry { name, path, place, is_folder: kind.is_dir() });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Shows a path below the root.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// A package of a layout.
#[derive(Clone, Debug)]
pub struct Package {
    package: PackageName,
    place: PathBuf,
    root: PathBuf,
}

/// A version of it.
#[derive(Clone, Debug)]
pub struct FoundVersion {
    /// The version.
    pub version: Version,
    /// What stood after `+`.
    pub build: Option<String>,
    /// The folder, or the file.
    pub place: PathBuf,
    /// Whether it is one file.
    pub is_file: bool,
}

impl Package {
    /// Returns the name in the registry.
    pub fn package(&self) -> &PackageName {
        &self.package
    }

    /// Lists the versions in the order of SemVer.
    pub fn versions(&self) -> (Vec<FoundVersion>, Notes) {
        let mut notes = Notes::default();
        let mut versions: BTreeMap<Version, Vec<FoundVersion>> = BTreeMap::new();
        let entries = match list(&self.root, &self.place, &mut notes) {
            Ok(entries) => entries,
            Err(why) => {
                notes.leave_out(shown(&self.root, &self.place), why);
                return (Vec::new(), notes);
            }
        };
        let is_empty = entries.is_empty() && notes.left_out.is_empty();
        if is_empty {
            notes.leave_out(shown(&self.root, &self.place), fault!(BadContents, "there is no version in it"));
        }
        for entry in entries {
            let Some(name) = (if entry.is_folder { Some(&*entry.name) } else { entry.name.strip_suffix(SINGLE) }) else {
                let why = fault!(BadContents, "it is a file, expected a folder of files, or a file VERSION{SINGLE}");
                notes.leave_out(entry.place, why);
                continue;
            };
            match mapped_version(name) {
                Ok((version, build)) => {
                    let found = FoundVersion { version, build, place: entry.path, is_file: !entry.is_folder };
                    versions.entry(found.version.clone()).or_default().push(found);
                }
                Err(why) => notes.leave_out(entry.place, why),
            }
        }
        let mut found = Vec::with_capacity(versions.len());
        for (version, sources) in versions {
            match <[FoundVersion; 1]>::try_from(sources) {
                Ok([source]) => {
                    let place = shown(&self.root, &source.place);
                    let name = place.rsplit('/').next().unwrap_or_default();
                    if name.strip_suffix(SINGLE).filter(|_| source.is_file).unwrap_or(name) != version.to_string() {
                        notes.mapped.push(Mapped { place, to: format!("{}@{version}", self.package) });
                    }
                    found.push(source);
                }
                Err(sources) => {
                    let places: Vec<PathBuf> = sources.into_iter().map(|source| source.place).collect();
                    several(&self.root, &places, &format!("{}@{version}", self.package), &mut notes);
                }
            }
        }
        (found, notes)
    }
}

/// Reads a version, and the word about the build that stands after it.
fn mapped_version(name: &str) -> Result<(Version, Option<String>)> {
    let bare = name.strip_prefix(['v', 'V']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(name);
    let (bare, build) = match bare.split_once('+') {
        // What is no SemVer with it is none without it.
        Some((version, build)) if semver::BuildMetadata::new(build).is_ok_and(|build| !build.is_empty()) => {
            (version, Some(build.to_owned()))
        }
        _ => (bare, None),
    };
    Ok((bare.parse()?, build))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_by_one_rule() {
        for (name, mapped) in [
            ("http", "http"),
            ("My_Package", "my-package"),
            ("a.b c", "a-b-c"),
            ("_a__-b_", "a-b"),
            ("a-b", "a-b"),
            ("3d", "3d"),
            ("Straße", "straße"),
            ("___", ""),
        ] {
            assert_eq!(mapped_label(name), mapped, "{name}");
        }
    }

    #[test]
    fn versions_lose_a_v_and_keep_their_build() {
        let mapped = |name: &str| mapped_version(name).map(|(version, build)| (version.to_string(), build)).ok();
        let whole = |version: &str, build: Option<&str>| Some((version.to_owned(), build.map(str::to_owned)));
        assert_eq!(mapped("1.2.3"), whole("1.2.3", None));
        assert_eq!(mapped("v1.2.3-rc.1"), whole("1.2.3-rc.1", None));
        assert_eq!(mapped("V1.2.3+linux.5"), whole("1.2.3", Some("linux.5")));
        for none in ["1.2", "latest", "vv1.0.0", "1.0.0+", "1.0.0+a+b", "1.0.0+ü", "01.0.0", ""] {
            assert_eq!(mapped(none), None, "{none}");
        }
    }
}
