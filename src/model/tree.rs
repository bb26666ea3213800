//! Git trees, byte for byte: the folders of contents and of maps.

use super::digest::{GitId, ObjectFormat, ObjectKind};
use super::error::{Result, fault};
use super::object::{ReadObjects, STRUCTURE_MAX, WriteObjects};
use std::cmp::Ordering;

/// What an entry of a tree is. Symbolic links are not among them: no tree of ours holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A file, mode 100644.
    File,
    /// A file that can be executed, mode 100755.
    Exec,
    /// A folder, mode 40000.
    Tree,
    /// The id of a commit that need not be there, mode 160000.
    Gitlink,
}

impl Mode {
    /// Returns the digits that git writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::File => "100644",
            Mode::Exec => "100755",
            Mode::Tree => "40000",
            Mode::Gitlink => "160000",
        }
    }
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: UTF-8, without slash or NUL, not empty.
    pub name: String,
    /// What it is.
    pub mode: Mode,
    /// The object it names.
    pub id: GitId,
}

/// One entry of a tree that is read in place, out of the tree's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Its name: UTF-8, without slash or NUL, not empty.
    pub name: &'a str,
    /// What it is.
    pub mode: Mode,
    /// The object it names.
    pub id: GitId,
}

/// Reads the entries of a tree in place, and refuses all bytes that [`Tree::to_bytes`] would not write.
///
/// # Errors
/// `bad-contents` with what is wrong.
pub fn parse_entries(format: ObjectFormat, bytes: &[u8]) -> Result<Vec<EntryRef<'_>>> {
    // The shortest entries of a map have about this many bytes; a wrong guess costs one more allocation.
    let mut entries = Vec::with_capacity(bytes.len() / (format.id_len() + 10) + 1);
    let mut rest = bytes;
    while !rest.is_empty() {
        let truncated = || fault!(BadContents, "a tree ends within an entry");
        let space = rest.iter().take(7).position(|b| *b == b' ').ok_or_else(truncated)?;
        let mode = match &rest[..space] {
            b"100644" => Mode::File,
            b"100755" => Mode::Exec,
            b"40000" => Mode::Tree,
            b"160000" => Mode::Gitlink,
            other => {
                return Err(fault!(
                    BadContents,
                    "a tree entry has mode {:?}, expected 100644, 100755, 40000 or 160000",
                    String::from_utf8_lossy(other)
                ));
            }
        };
        rest = &rest[space + 1..];
        let nul = rest.iter().position(|b| *b == 0).ok_or_else(truncated)?;
        let name = std::str::from_utf8(&rest[..nul]).map_err(|_| {
            fault!(BadContents, "the name {:?} of a tree entry is not UTF-8", String::from_utf8_lossy(&rest[..nul]))
        })?;
        rest = &rest[nul + 1..];
        let (id, after) = rest.split_at_checked(format.id_len()).ok_or_else(truncated)?;
        let id = GitId::from_bytes(id).ok_or_else(truncated)?;
        rest = after;
        entries.push(EntryRef { name, mode, id });
    }
    check(&entries)?;
    Ok(entries)
}

/// Appends one entry to the bytes of a tree.
pub(crate) fn write_entry(bytes: &mut Vec<u8>, name: &str, mode: Mode, id: &GitId) {
    bytes.extend_from_slice(mode.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(id.as_bytes());
}

/// A folder: entries in git's order, no name twice.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Makes a tree of entries in any order.
    ///
    /// # Errors
    /// `bad-contents` where a name stands twice or is not a name of a tree entry.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self> {
        entries.sort_by(|a, b| git_order(a.key(), b.key()));
        check(&entries)?;
        Ok(Tree { entries })
    }

    /// Reads a tree, and refuses all bytes that [`Tree::to_bytes`] would not write.
    ///
    /// # Errors
    /// `bad-contents` with what is wrong.
    pub fn parse(format: ObjectFormat, bytes: &[u8]) -> Result<Self> {
        let entries = parse_entries(format, bytes)?.into_iter().map(|entry| Entry {
            name: entry.name.to_owned(),
            mode: entry.mode,
            id: entry.id,
        });
        Ok(Tree { entries: entries.collect() })
    }

    /// Writes the tree as git does.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * 48);
        for entry in &self.entries {
            write_entry(&mut bytes, &entry.name, entry.mode, &entry.id);
        }
        bytes
    }

    /// Returns the entries in git's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds an entry by its name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        position(&self.entries, name).map(|index| &self.entries[index])
    }

    /// Says whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads a tree from objects.
    ///
    /// # Errors
    /// Those of [`ReadObjects::read`] and of [`Tree::parse`].
    pub fn read(objects: &impl ReadObjects, id: GitId) -> Result<Self> {
        Tree::parse(objects.format(), &objects.read(ObjectKind::Tree, id, STRUCTURE_MAX)?)
            .map_err(|error| error.at(format!("tree {id}")))
    }

    /// Writes the tree to objects and returns its id.
    ///
    /// # Errors
    /// Those of [`WriteObjects::write`].
    pub fn write(&self, objects: &mut impl WriteObjects) -> Result<GitId> {
        objects.write(ObjectKind::Tree, &self.to_bytes())
    }
}

/// What both kinds of entries are sorted by.
trait Keyed {
    fn key(&self) -> (&str, Mode);
}

impl Keyed for Entry {
    fn key(&self) -> (&str, Mode) {
        (&self.name, self.mode)
    }
}

impl Keyed for EntryRef<'_> {
    fn key(&self) -> (&str, Mode) {
        (self.name, self.mode)
    }
}

/// Finds an entry by its name, among entries in git's order.
fn position(entries: &[impl Keyed], name: &str) -> Option<usize> {
    [Mode::File, Mode::Tree]
        .into_iter()
        .find_map(|mode| entries.binary_search_by(|entry| git_order(entry.key(), (name, mode))).ok())
}

fn check(entries: &[impl Keyed]) -> Result<()> {
    for entry in entries {
        let (name, _) = entry.key();
        if name.is_empty() || name == "." || name == ".." || name.bytes().any(|b| b == b'/' || b == 0) {
            return Err(fault!(BadContents, "{name:?} is not a name of a tree entry"));
        }
    }
    for pair in entries.windows(2) {
        let (one, next) = (pair[0].key(), pair[1].key());
        if git_order(one, next) != Ordering::Less {
            return Err(if one.0 == next.0 {
                fault!(BadContents, "the tree entry {:?} stands twice", one.0)
            } else {
                fault!(BadContents, "tree entries {:?} and {:?} are not in git's order", one.0, next.0)
            });
        }
    }
    // A file and a folder of one name are apart in git's order, with other names between them.
    let folders = entries.iter().filter(|entry| entry.key().1 == Mode::Tree).count();
    if folders > 0 && folders < entries.len() {
        for (name, _) in entries.iter().map(Keyed::key).filter(|key| key.1 == Mode::Tree) {
            if entries.binary_search_by(|entry| git_order(entry.key(), (name, Mode::File))).is_ok() {
                return Err(fault!(BadContents, "the tree entry {name:?} stands twice"));
            }
        }
    }
    Ok(())
}

/// Compares two entries as git sorts them: a folder as if its name ended in a slash.
pub(crate) fn git_order(one: (&str, Mode), other: (&str, Mode)) -> Ordering {
    let common = one.0.len().min(other.0.len());
    // The byte after what both have; names hold neither NUL nor slash.
    let next = |(name, mode): (&str, Mode)| match name.as_bytes().get(common) {
        Some(byte) => *byte,
        None if mode == Mode::Tree => b'/',
        None => 0,
    };
    one.0.as_bytes()[..common].cmp(&other.0.as_bytes()[..common]).then_with(|| next(one).cmp(&next(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, mode: Mode) -> Entry {
        Entry { name: name.into(), mode, id: ObjectFormat::Sha1.empty_tree() }
    }

    #[test]
    fn a_folder_sorts_as_if_its_name_ended_in_a_slash() -> Result<()> {
        let tree = Tree::new(vec![entry("a", Mode::Tree), entry("a.b", Mode::File), entry("a-b", Mode::File)])?;
        let names: Vec<&str> = tree.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a-b", "a.b", "a"]);
        assert_eq!(Tree::parse(ObjectFormat::Sha1, &tree.to_bytes())?, tree);
        Ok(())
    }

    #[test]
    fn a_name_stands_once() {
        assert!(Tree::new(vec![entry("a", Mode::Tree), entry("a", Mode::File)]).is_err());
        assert!(Tree::new(vec![entry("a", Mode::Tree), entry("a-", Mode::File), entry("a", Mode::File)]).is_err());
    }

    #[test]
    fn an_entry_is_found_by_its_name_whatever_it_is() -> Result<()> {
        let tree = Tree::new(vec![
            entry("a", Mode::Tree),
            entry("a-", Mode::File),
            entry("a.b", Mode::Gitlink),
            entry("a0", Mode::Tree),
            entry("b", Mode::Exec),
        ])?;
        for name in ["a", "a-", "a.b", "a0", "b"] {
            assert_eq!(tree.get(name).map(|e| e.name.as_str()), Some(name));
        }
        assert!(tree.get("a.").is_none() && tree.get("c").is_none());
        Ok(())
    }

    #[test]
    fn only_the_bytes_that_are_written_are_read() -> Result<()> {
        let bytes = Tree::new(vec![entry("a", Mode::File), entry("b", Mode::File)])?.to_bytes();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        assert!(Tree::parse(ObjectFormat::Sha1, &[second, first].concat()).is_err());
        assert!(Tree::parse(ObjectFormat::Sha1, &bytes[1..]).is_err());
        assert!(Tree::parse(ObjectFormat::Sha1, &bytes[..bytes.len() - 1]).is_err());
        assert!(Tree::parse(ObjectFormat::Sha1, &[b"0", &bytes[..]].concat()).is_err());
        Ok(())
    }
}
