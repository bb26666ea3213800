//! Which references an acceptor is about to move: written before the first of them moves, gone after the last. Whoever finds it knows
//! that its writer was killed, which locks it may have left, and which packages to look at.

use super::layout::RefName;
use super::pack::io_error;
use super::store::{RepositoryLock, Store};
use crate::model::error::{Result, fault};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

const FILE: &str = "quipu-journal";
/// The last line of a journal that is whole.
const END: &str = "end\n";

impl Store {
    /// Writes down which references are about to move, besides those that a killed process left in the journal. Returns what is to be
    /// brought to disk before the first of them moves; see [`Staging::finish_with`].
    ///
    /// # Errors
    /// `io`.
    ///
    /// [`Staging::finish_with`]: super::staging::Staging::finish_with
    pub fn write_journal<'a>(
        &self,
        held: &RepositoryLock,
        names: impl IntoIterator<Item = &'a RefName>,
    ) -> Result<BTreeSet<PathBuf>> {
        let mut all: BTreeSet<RefName> = self.read_journal(held)?.into_iter().collect();
        all.extend(names.into_iter().cloned());
        let path = self.path().join(FILE);
        let new = path.with_extension("new");
        let at = |why: &std::io::Error| io_error(&path, why);
        let text: String = all.iter().map(|name| format!("{name}\n")).collect::<String>() + END;
        File::create(&new).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|why| at(&why))?;
        fs::rename(&new, &path).map_err(|why| at(&why))?;
        Ok(BTreeSet::from([path, self.path().to_owned()]))
    }

    /// Says whether a process that moved references was killed, or is at it.
    pub fn has_journal(&self) -> bool {
        self.path().join(FILE).exists()
    }

    /// Reads what a killed process was about to move; empty where none was.
    ///
    /// # Errors
    /// `io`; `bad-repository` where the journal holds what no acceptor writes.
    pub fn read_journal(&self, _held: &RepositoryLock) -> Result<Vec<RefName>> {
        let path = self.path().join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(io_error(&path, &why)),
        };
        // A journal that is cut off never came to disk, and then nothing that it names was moved.
        let Some(names) = text.strip_suffix(END) else { return Ok(Vec::new()) };
        let names: Result<Vec<RefName>> = names.lines().map(str::parse).collect();
        names.map_err(|_| {
            fault!(BadRepository, "{} is no journal of an acceptor", path.display())
                .hint("remove it, then: quipu registry fsck, which says whether something is amiss")
        })
    }

    /// Ends the journal: all that it names is where it belongs.
    ///
    /// # Errors
    /// `io`.
    pub fn end_journal(&self, _held: &RepositoryLock) -> Result<()> {
        let path = self.path().join(FILE);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
            Err(why) => Err(io_error(&path, &why)),
        }
    }

    /// Removes the locks that the writer of a journal left. One that is younger than a second is waited for first: it may belong to
    /// a `git pack-refs` that is at it now.
    ///
    /// # Errors
    /// `io`.
    pub fn break_locks_of_journal(&self, held: &RepositoryLock, names: &[RefName]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        self.break_ref_locks(held, names)?;
        self.break_packed_refs_lock(held)
    }
}
