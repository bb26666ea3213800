//! What differs between two releases: in their files, and in what they need.

use super::contents::{Contents, FileEntry};
use super::entry::Dependency;
use std::cmp::Ordering;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Only the new release has it.
    Added,
    /// Only the old release has it.
    Deleted,
    /// Its bytes differ.
    Modified,
    /// Its bytes are the same, and it can be executed in only one of the two.
    Mode,
}

impl Fate {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Added => "added",
            Fate::Deleted => "deleted",
            Fate::Modified => "modified",
            Fate::Mode => "mode",
        }
    }
}

/// A file that is not the same in two releases. A file under another name is one that was deleted and one that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChange<'a> {
    /// As the old release has it.
    pub old: Option<&'a FileEntry>,
    /// As the new release has it.
    pub new: Option<&'a FileEntry>,
    /// What became of it.
    pub fate: Fate,
}

impl<'a> FileChange<'a> {
    /// Returns the path.
    pub fn path(&self) -> &'a str {
        self.new.or(self.old).map_or("", |file| file.path.as_str())
    }
}

/// Compares the files of two releases. What differs comes sorted by path.
pub fn files<'a>(old: &'a Contents, new: &'a Contents) -> Vec<FileChange<'a>> {
    let (mut before, mut after) = (old.files().iter().peekable(), new.files().iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let fate = match (old, new) {
            (None, _) => Fate::Added,
            (_, None) => Fate::Deleted,
            (Some(old), Some(new)) if old.digest != new.digest => Fate::Modified,
            (Some(old), Some(new)) if old.exec != new.exec => Fate::Mode,
            _ => continue,
        };
        changes.push(FileChange { old, new, fate });
    }
}

/// A dependency that is not the same in two releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependencyChange<'a> {
    /// What the old release needs.
    pub old: Option<&'a Dependency>,
    /// What the new release needs.
    pub new: Option<&'a Dependency>,
}

/// Compares what two releases need. Dependencies of one name that differ are the same one changed, in the order in which they stand;
/// what differs comes sorted by name.
pub fn dependencies<'a>(old: &'a [Dependency], new: &'a [Dependency]) -> Vec<DependencyChange<'a>> {
    let gone: Vec<&Dependency> = old.iter().filter(|dependency| !new.contains(dependency)).collect();
    let mut come: Vec<&Dependency> = new.iter().filter(|dependency| !old.contains(dependency)).collect();
    let mut changes = Vec::new();
    for old in gone {
        let same = come.iter().position(|new| new.name() == old.name());
        changes.push(DependencyChange { old: Some(old), new: same.map(|at| come.remove(at)) });
    }
    changes.extend(come.into_iter().map(|new| DependencyChange { old: None, new: Some(new) }));
    changes.sort_by_key(|change| change.old.or(change.new).map(Dependency::name));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::contents::{ContentsBuilder, Limits};

    fn contents(files: &[(&str, bool, &str)]) -> Contents {
        let mut builder = ContentsBuilder::new(Limits::default());
        for (path, exec, text) in files {
            builder.add(path.parse().unwrap(), *exec, text.as_bytes()).unwrap();
        }
        builder.finish().unwrap()
    }

    fn need(text: &str) -> Dependency {
        let (package, requirement) = text.split_once(' ').unwrap();
        Dependency { registry: None, package: package.parse().unwrap(), requirement: requirement.parse().unwrap(), anchor: None }
    }

    #[test]
    fn each_file_that_differs_is_named_once_with_what_became_of_it() {
        let old = contents(&[("a", false, "1"), ("b/c", false, "2"), ("d", false, "3"), ("e", false, "4"), ("f", true, "5")]);
        let new = contents(&[("0", false, "0"), ("b/c", false, "two"), ("d", true, "3"), ("e", false, "4"), ("f", false, "six")]);
        let found: Vec<(&str, &str)> = files(&old, &new).iter().map(|change| (change.path(), change.fate.as_str())).collect();
        let expected = [("0", "added"), ("a", "deleted"), ("b/c", "modified"), ("d", "mode"), ("f", "modified")];
        assert_eq!(found, expected);
        assert_eq!(files(&old, &old), []);
    }

    #[test]
    fn a_dependency_that_asks_for_another_version_is_changed_and_not_exchanged() {
        let old = [need("a:a ^1.0"), need("b:b ^1.0"), need("c:c ^1.0"), need("c:c ^2.0")];
        let new = [need("a:a ^1.0"), need("b:b ^2.0"), need("c:c ^2.0"), need("c:c ^3.0"), need("d:d ^1.0")];
        let text = |dependency: &Dependency| format!("{} {}", dependency.name(), dependency.requirement);
        let found: Vec<(Option<String>, Option<String>)> =
            dependencies(&old, &new).iter().map(|change| (change.old.map(text), change.new.map(text))).collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = [(some("b:b ^1.0"), some("b:b ^2.0")), (some("c:c ^1.0"), some("c:c ^3.0")), (None, some("d:d ^1.0"))];
        assert_eq!(found, expected);
        let mut anchored = need("a:a ^1.0");
        anchored.anchor = Some(crate::model::digest::RecordDigest::of_bytes(b"a"));
        assert_eq!(dependencies(&old[..1], &[anchored]).len(), 1, "an anchor is part of what is needed");
    }
}
