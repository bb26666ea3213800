//! What stock git says of the difference between two trees.
//!
//! Git runs in a scratch repository that holds nothing but the two, and is shut to all that could make it run something or hide something: no
//! configuration, no attributes (neither the user's nor those in the trees), no drivers, no pager. What it says goes to a file, since it may be
//! larger than memory.

use super::pack::io_error;
use super::program::Program;
use super::quarantine::Quarantine;
use crate::model::digest::GitId;
use crate::model::error::{Result, fault};
use std::fs::File;
use std::path::PathBuf;

/// How a difference is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Line by line, as `git apply` reads it.
    #[default]
    Patch,
    /// How many lines changed in each file.
    Stat,
    /// The paths, one a line.
    NameOnly,
    /// A letter and a path, one a line.
    NameStatus,
}

/// What is asked of git.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The form.
    pub form: Form,
    /// Whether files that are no text are written out as well, so that the patch can be applied.
    pub binary: bool,
    /// How many lines around a change are shown; git's 3 where nothing is said.
    pub context: Option<u32>,
}

/// What git said of a difference. It goes with the scratch repository when it is dropped.
#[derive(Debug)]
pub struct Patch {
    path: PathBuf,
    _scratch: Quarantine,
}

impl Patch {
    /// Opens it for reading, from its beginning on.
    ///
    /// # Errors
    /// `io`.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(|why| io_error(&self.path, &why))
    }

    /// Returns the number of its bytes.
    ///
    /// # Errors
    /// `io`.
    pub fn size(&self) -> Result<u64> {
        self.path.metadata().map(|found| found.len()).map_err(|why| io_error(&self.path, &why))
    }
}

/// Lets git compare two trees of a scratch repository; what it says has the prefixes `a/` and `b/`.
///
/// # Errors
/// `git` where it is missing or fails, `io`.
pub fn compare(scratch: Quarantine, old: GitId, new: GitId, asked: Asked) -> Result<Patch> {
    let path = scratch.path().join("quipu-patch");
    let mut program = Program::git()
        .env("GIT_DIR", scratch.path())
        // Git reads the user's own file of attributes even where it reads none of the user's configuration.
        .config("core.attributesFile", "/dev/null")
        .config("core.quotePath", "false")
        // As many as it takes in the largest repository: the same two releases give the same text everywhere.
        .config("core.abbrev", "12")
        .args(["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"]);
    program = program.args(match asked.form {
        Form::Patch => ["--patch"],
        Form::Stat => ["--stat"],
        Form::NameOnly => ["--name-only"],
        Form::NameStatus => ["--name-status"],
    });
    if asked.form == Form::Patch {
        if asked.binary {
            program = program.arg("--binary");
        }
        if let Some(context) = asked.context {
            program = program.arg(format!("--unified={context}"));
        }
    }
    let mut output = std::ffi::OsString::from("--output=");
    output.push(&path);
    let ended = program.arg(output).args([old.to_string(), new.to_string()]).arg("--").run()?;
    if !ended.success {
        return Err(fault!(Git, "git could not compare two releases: {}", ended.words()));
    }
    Ok(Patch { path, _scratch: scratch })
}
