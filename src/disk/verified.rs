//! Which checkpoint of a repository on disk was verified last: a cache, one small file a repository, that may be removed at any time.

use super::home::Home;
use super::replace::{self, Access};
use crate::model::digest::{FileDigest, RecordDigest, RegistryId};
use crate::model::error::Result;
use crate::model::name::RegistryName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What was verified, from its first record on and without a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verified {
    /// The registry's name.
    pub registry: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// The newest checkpoint's place.
    pub seq: u64,
    /// Its digest.
    pub checkpoint: RecordDigest,
    /// Whether the files of releases were read as well.
    pub contents: bool,
    /// Where the repository is, as far as that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// What is kept of a look at a repository.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What it says, where that can be read.
    pub verified: Option<Verified>,
}

impl Kept {
    /// Says whether the repository that this tells of may still be there. Of a file that does not say where it is that is not known.
    pub fn is_of_use(&self) -> bool {
        let verified = self.verified.as_ref();
        verified.is_some_and(|verified| verified.repository.as_ref().is_none_or(|path| Path::new(path).exists()))
    }
}

/// Returns all that is kept.
///
/// # Errors
/// `io`.
pub fn all(home: &Home) -> Result<Vec<Kept>> {
    let folder = home.verified();
    let names = replace::names(&folder)?.into_iter().filter(|name| name.ends_with(".toml"));
    let mut all = Vec::new();
    for file in names.map(|name| folder.join(name)) {
        if let Some(bytes) = replace::read(&file)? {
            let verified = toml::from_str(&String::from_utf8_lossy(&bytes)).ok();
            all.push(Kept { file, size: bytes.len() as u64, verified });
        }
    }
    Ok(all)
}

/// Returns what was verified last of the repository at a path; `None` where nothing was, or what was kept of it cannot be read.
///
/// # Errors
/// `io`.
pub fn load(home: &Home, repository: &Path) -> Result<Option<Verified>> {
    let bytes = replace::read(&home.verified_file(&key(repository)))?;
    Ok(bytes.and_then(|bytes| toml::from_str(&String::from_utf8_lossy(&bytes)).ok()))
}

/// Keeps what was verified of the repository at a path.
///
/// # Errors
/// `io`.
pub fn keep(home: &Home, repository: &Path, verified: &Verified) -> Result<()> {
    let text = toml::to_string(verified).map_err(|why| crate::model::error::fault!(Bug, "what was verified: {why}"))?;
    replace::replace(&home.verified_file(&key(repository)), text.as_bytes(), Access::Private)
}

/// The name of the file: a path may hold what no name of a file does.
fn key(repository: &Path) -> String {
    FileDigest::of_bytes(repository.as_os_str().as_encoded_bytes()).hex()
}
