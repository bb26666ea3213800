//! Which checkpoint of a repository on disk was verified last: a cache, one small file a repository, that may be removed at any time.

use super::home::Home;
use super::replace::{self, Access};
use crate::model::digest::{FileDigest, RecordDigest, RegistryId};
use crate::model::error::Result;
use crate::model::name::RegistryName;
use serde::{Deserialize, Serialize};
use std::path::Path;

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
