//! The front page: the branch that a forge shows. Nothing on it is signed, and no rule reads it; proposal files pass over it.

use super::author::Author;
use crate::model::digest::{GitId, ObjectKind};
use crate::model::error::{Result, fault};
use crate::model::object::{ReadObjects, STRUCTURE_MAX, WriteObjects};
use crate::model::tree::{Entry, Mode, Tree};
use std::collections::BTreeMap;

/// One file of a front page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// Its path, with slashes.
    pub path: String,
    /// Whether it can be executed.
    pub executable: bool,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Puts files into a tree, or into a new one, and returns it.
///
/// # Errors
/// `bad-contents` where the tree has something that no tree of ours has, or a file where a folder is needed.
pub fn put<O: ReadObjects + WriteObjects>(objects: &mut O, tree: Option<GitId>, files: &[PageFile]) -> Result<GitId> {
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let mode = if file.executable { Mode::Exec } else { Mode::File };
        all.push((file.path.clone(), mode, objects.write(ObjectKind::Blob, &file.bytes)?));
    }
    put_all(objects, tree, all)?.map_or_else(|| objects.write(ObjectKind::Tree, b""), Ok)
}

/// Puts blobs into a tree, or into a new one, all at once, and returns it; `None` where nothing is in it.
///
/// # Errors
/// `bad-contents` where the tree has something that no tree of ours has, or a file where a folder is needed.
pub fn put_all<O: ReadObjects + WriteObjects>(
    objects: &mut O,
    tree: Option<GitId>,
    files: Vec<(String, Mode, GitId)>,
) -> Result<Option<GitId>> {
    let mut entries = match tree {
        Some(tree) => read(objects, tree)?.entries().to_vec(),
        None => Vec::new(),
    };
    let mut below: BTreeMap<String, Vec<(String, Mode, GitId)>> = BTreeMap::new();
    for (path, mode, id) in files {
        match path.split_once('/') {
            Some((folder, rest)) => below.entry(folder.to_owned()).or_default().push((rest.to_owned(), mode, id)),
            None => {
                entries.retain(|entry| entry.name != path);
                entries.push(Entry { name: path, mode, id });
            }
        }
    }
    for (folder, files) in below {
        let old = entries.iter().position(|entry| entry.name == folder).map(|at| entries.swap_remove(at));
        if old.as_ref().is_some_and(|old| old.mode != Mode::Tree) {
            return Err(fault!(BadContents, "{folder} is a file, expected a folder"));
        }
        if let Some(id) = put_all(objects, old.map(|old| old.id), files)? {
            entries.push(Entry { name: folder, mode: Mode::Tree, id });
        }
    }
    if entries.is_empty() { Ok(None) } else { Tree::new(entries)?.write(objects).map(Some) }
}

/// Takes files out of a tree, and the folders that are empty then, and returns it; `None` where none of them is there.
///
/// # Errors
/// `bad-contents` where the tree has something that no tree of ours has.
pub fn take<O: ReadObjects + WriteObjects>(objects: &mut O, tree: GitId, paths: &[String]) -> Result<Option<GitId>> {
    let mut left = tree;
    for path in paths {
        if blob(objects, left, path)?.is_some() {
            let without = set(objects, Some(left), path, None)?;
            left = without.map_or_else(|| objects.write(ObjectKind::Tree, b""), Ok)?;
        }
    }
    Ok((left != tree).then_some(left))
}

/// Finds a file in a tree.
///
/// # Errors
/// `bad-contents` where the tree has something that no tree of ours has.
pub fn blob(objects: &impl ReadObjects, tree: GitId, path: &str) -> Result<Option<GitId>> {
    let mut at = tree;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let is_last = names.peek().is_none();
        let wanted = |mode| if is_last { matches!(mode, Mode::File | Mode::Exec) } else { mode == Mode::Tree };
        let found = read(objects, at)?.get(name).filter(|entry| wanted(entry.mode)).map(|entry| entry.id);
        match found {
            Some(id) => at = id,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Returns the tree of a commit, whoever made it.
///
/// # Errors
/// `bad-contents` where it is no commit.
pub fn tree_of(objects: &impl ReadObjects, commit: GitId) -> Result<GitId> {
    let bytes = objects.read(ObjectKind::Commit, commit, STRUCTURE_MAX)?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let tree = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("tree "));
    tree.and_then(|tree| tree.parse().ok()).ok_or_else(|| fault!(BadContents, "the commit {commit} names no tree"))
}

/// Writes a commit of a front page, and returns it.
///
/// # Errors
/// Those of [`WriteObjects::write`].
pub fn commit(
    objects: &mut impl WriteObjects,
    author: &Author<'_>,
    tree: GitId,
    parent: Option<GitId>,
    message: &str,
) -> Result<GitId> {
    let who = format!("{} <{}> {} +0000", author.name, author.key().fingerprint(), author.now.unix());
    let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
    let text = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{message}\n");
    objects.write(ObjectKind::Commit, text.as_bytes())
}

fn read(objects: &impl ReadObjects, tree: GitId) -> Result<Tree> {
    if tree == objects.format().empty_tree() { Ok(Tree::default()) } else { Tree::read(objects, tree) }
}

/// Sets or removes one path; `None` is a tree without anything in it.
fn set<O: ReadObjects + WriteObjects>(
    objects: &mut O,
    tree: Option<GitId>,
    path: &str,
    new: Option<(Mode, GitId)>,
) -> Result<Option<GitId>> {
    let old = tree.map(|tree| read(objects, tree)).transpose()?.unwrap_or_default();
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let new = match rest {
        None => new,
        Some(rest) => {
            let below = match old.get(name) {
                Some(entry) if entry.mode == Mode::Tree => Some(entry.id),
                Some(_) if new.is_some() => {
                    return Err(fault!(BadContents, "{name} is a file of the front page, expected a folder"));
                }
                _ => None,
            };
            set(objects, below, rest, new)?.map(|id| (Mode::Tree, id))
        }
    };
    let mut entries: Vec<Entry> = old.entries().iter().filter(|entry| entry.name != name).cloned().collect();
    entries.extend(new.map(|(mode, id)| Entry { name: name.to_owned(), mode, id }));
    if entries.is_empty() { Ok(None) } else { Tree::new(entries)?.write(objects).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::ObjectFormat;
    use crate::model::object::MemoryObjects;

    fn file(path: &str, executable: bool) -> PageFile {
        PageFile { path: path.into(), executable, bytes: path.as_bytes().to_vec() }
    }

    #[test]
    fn what_is_put_is_found_and_what_is_taken_leaves_nothing_behind() -> Result<()> {
        let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
        let page = put(&mut objects, None, &[file("README.md", false), file("ci/verify.sh", true)])?;
        let more = put(&mut objects, Some(page), &[file("proposals/demo/hello/x.toml", false)])?;
        assert!(
            blob(&objects, more, "proposals/demo/hello/x.toml")?.is_some() && blob(&objects, more, "ci/verify.sh")?.is_some()
        );
        for nothing in ["proposals", "proposals/demo/hello/y.toml", "README.md/x", "ci"] {
            assert_eq!(blob(&objects, more, nothing)?, None, "{nothing}");
        }
        assert_eq!(Tree::read(&objects, more)?.get("ci").map(|entry| entry.mode), Some(Mode::Tree));
        let taken = take(&mut objects, more, &["proposals/demo/hello/x.toml".into(), "proposals/demo/no.toml".into()])?;
        assert_eq!(taken, Some(page));
        assert_eq!(take(&mut objects, page, &["proposals/demo/hello/x.toml".into()])?, None);
        assert!(put(&mut objects, Some(page), &[file("README.md/x", false)]).is_err());
        Ok(())
    }
}
