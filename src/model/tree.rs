//! Git trees, byte for byte: the folders of contents and of maps.

use super::digest::{GitId, ObjectFormat, ObjectKind};
use super::error::{Result, fault};
use super::object::{ReadObjects, STRUCTURE_MAX, WriteObjects};

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
        entries.sort_by(|a, b| git_order(a).cmp(git_order(b)));
        let tree = Tree { entries };
        tree.check()?;
        Ok(tree)
    }

    /// Reads a tree, and refuses all bytes that [`Tree::to_bytes`] would not write.
    ///
    /// # Errors
    /// `bad-contents` with what is wrong.
    pub fn parse(format: ObjectFormat, bytes: &[u8]) -> Result<Self> {
        let mut entries = Vec::new();
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
            if rest.len() < format.id_len() {
                return Err(truncated());
            }
            let (id, after) = rest.split_at(format.id_len());
            let id = GitId::from_bytes(id).ok_or_else(truncated)?;
            rest = after;
            entries.push(Entry { name: name.to_owned(), mode, id });
        }
        let tree = Tree { entries };
        tree.check()?;
        Ok(tree)
    }

    fn check(&self) -> Result<()> {
        for entry in &self.entries {
            if entry.name.is_empty() || entry.name == "." || entry.name == ".." || entry.name.contains(['/', '\0']) {
                return Err(fault!(BadContents, "{:?} is not a name of a tree entry", entry.name));
            }
        }
        for pair in self.entries.windows(2) {
            if !git_order(&pair[0]).lt(git_order(&pair[1])) {
                return Err(fault!(BadContents, "tree entries {:?} and {:?} are not in git's order", pair[0].name, pair[1].name));
            }
        }
        // A file and a folder of one name are apart in git's order, with other names between them.
        let mut names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(fault!(BadContents, "the tree entry {:?} stands twice", pair[0]));
        }
        Ok(())
    }

    /// Writes the tree as git does.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * 48);
        for entry in &self.entries {
            bytes.extend_from_slice(entry.mode.as_str().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(entry.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(entry.id.as_bytes());
        }
        bytes
    }

    /// Returns the entries in git's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds an entry by its name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
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

/// Returns the bytes that git sorts an entry by: a folder as if its name ended in a slash.
fn git_order(entry: &Entry) -> impl Iterator<Item = u8> + '_ {
    entry.name.bytes().chain((entry.mode == Mode::Tree).then_some(b'/'))
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
