//! Which references an acceptor is about to move: written before the first of them moves, gone after the last. Whoever finds it knows
//! that its writer was killed, which locks it may have left, and which packages to look at.

use super::layout::RefName;
use super::pack::io_error;
use super::refs::sync_folders;
use super::store::{RepositoryLock, Store};
use crate::model::error::Result;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};

const FILE: &str = "quipu-journal";

impl Store {
    /// Writes down which references are about to move.
    ///
    /// # Errors
    /// `io`.
    pub fn write_journal<'a>(&self, _held: &RepositoryLock, names: impl IntoIterator<Item = &'a RefName>) -> Result<()> {
        let path = self.path().join(FILE);
        let new = path.with_extension("new");
        let at = |why: &std::io::Error| io_error(&path, why);
        let mut text = String::new();
        for name in names {
            text.push_str(name.as_str());
            text.push('\n');
        }
        let mut file = File::create(&new).map_err(|why| at(&why))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|why| at(&why))?;
        fs::rename(&new, &path).map_err(|why| at(&why))?;
        sync_folders(&BTreeSet::from([self.path().to_owned()]))
    }

    /// Says whether a process that moved references was killed, or is at it.
    pub fn has_journal(&self) -> bool {
        self.path().join(FILE).exists()
    }

    /// Reads what a killed process was about to move; empty where none was.
    ///
    /// # Errors
    /// `io`.
    pub fn read_journal(&self, _held: &RepositoryLock) -> Result<Vec<RefName>> {
        let path = self.path().join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => text.lines().map(str::parse).collect(),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(why) => Err(io_error(&path, &why)),
        }
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

    /// Removes the locks that the writer of a journal left.
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
