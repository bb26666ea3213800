//! Where a user's files are, and the raw reading and writing of each.
//!
//! | file | holds | written by |
//! |---|---|---|
//! | `config.toml` | default key and registry, where each registry is fetched and pushed | people, and commands that keep their comments |
//! | `trust.toml` | registry ids, and how each was come by | commands |
//! | machine: `/etc/quipu/trust.toml` | well-known registries: ids and places | whoever set the machine up |
//! | `keys/` | OpenSSH keys | `quipu key new` |
//! | state: `<registry id>.toml` | what was seen of a registry | every command that looks at it |
//! | state: `<registry id>.proposals.toml` | proposals that were not heard of since | `publish` and the like |
//! | state: `promoted/<digest>.toml` | where a promoted package comes from, which its registry does not say | `quipu promote` |
//! | cache: `verified/<digest of a path>.toml` | which checkpoint of a repository on disk was verified last | `quipu verify ./PATH` |
//! | cache: `<registry id>.git` | git objects; may be deleted at any time | likewise |

use super::replace::{self, Access};
use crate::model::digest::{OriginDigest, RegistryId};
use crate::model::error::{Result, fault};
use etcetera::BaseStrategy;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The folders of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    user: PathBuf,
    system: PathBuf,
}

impl Home {
    /// Finds the folders: all below `$QUIPU_HOME` where it is set, else by the XDG rules; and the folder of this machine, which is
    /// `$QUIPU_SYSTEM` or `/etc/quipu`.
    ///
    /// # Errors
    /// `bad-config` where there is no home folder, or `$QUIPU_HOME` is not absolute.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let system = variable("QUIPU_SYSTEM").filter(|folder| !folder.is_empty()).map_or("/etc/quipu".into(), PathBuf::from);
        let no_home = || fault!(BadConfig, "no home folder is known").hint("set HOME, or QUIPU_HOME for quipu alone");
        if let Some(home) = variable("QUIPU_HOME").filter(|home| !home.is_empty()) {
            let home = PathBuf::from(home);
            if !home.is_absolute() {
                return Err(fault!(BadConfig, "QUIPU_HOME is {}, expected an absolute path", home.display()));
            }
            let user = variable("HOME").map(PathBuf::from).unwrap_or_else(|| home.clone());
            return Ok(Home { config: home.clone(), state: home.join("state"), cache: home.join("cache"), user, system });
        }
        let base = etcetera::base_strategy::Xdg::new().map_err(|_| no_home())?;
        Ok(Home {
            config: base.config_dir().join("quipu"),
            state: base.state_dir().ok_or_else(no_home)?.join("quipu"),
            cache: base.cache_dir().join("quipu"),
            user: base.home_dir().to_path_buf(),
            system,
        })
    }

    /// Takes one folder for everything, this machine's own included.
    pub fn below(home: &Path) -> Self {
        Home {
            config: home.into(),
            state: home.join("state"),
            cache: home.join("cache"),
            user: home.into(),
            system: home.join("system"),
        }
    }

    /// Returns the one folder that all is below, where `QUIPU_HOME` names it.
    pub fn folder(&self) -> Option<&Path> {
        (self.state == self.config.join("state")).then_some(&self.config)
    }

    /// Returns the user's own folder, in which `.ssh` is.
    pub fn user(&self) -> &Path {
        &self.user
    }

    /// Returns the folder of keys.
    pub fn keys(&self) -> PathBuf {
        self.config.join("keys")
    }

    /// Returns the file that people edit.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Returns the file of trusted registries.
    pub fn trust_file(&self) -> PathBuf {
        self.config.join("trust.toml")
    }

    /// Returns the file of the registries that whoever set this machine up trusts.
    pub fn system_trust_file(&self) -> PathBuf {
        self.system.join("trust.toml")
    }

    /// Returns the file that remembers what was seen of a registry.
    pub fn state_file(&self, id: RegistryId) -> PathBuf {
        self.state.join(format!("{}.toml", id.hex()))
    }

    /// Returns the file of the user's own proposals to a registry.
    pub fn proposals_file(&self, id: RegistryId) -> PathBuf {
        self.state.join(format!("{}.proposals.toml", id.hex()))
    }

    /// Returns the file that says where a package comes from that this user promoted, or was shown the origin of.
    pub fn opening_file(&self, origin: OriginDigest) -> PathBuf {
        self.state.join("promoted").join(format!("{}.toml", origin.hex()))
    }

    /// Returns the file that says what was verified of a repository on disk.
    pub(crate) fn verified_file(&self, key: &str) -> PathBuf {
        self.verified().join(format!("{key}.toml"))
    }

    /// Returns the git repository that keeps the verified objects of a registry.
    pub fn cache_of(&self, id: RegistryId) -> PathBuf {
        self.cache.join(format!("{}.git", id.hex()))
    }

    /// Returns the folder of what may be deleted at any time.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns the registries of which objects are kept, by their ids.
    ///
    /// # Errors
    /// `io`.
    pub fn cached(&self) -> Result<Vec<RegistryId>> {
        let names = replace::names(&self.cache)?;
        let id = |name: &String| format!("sha256:{}", name.strip_suffix(".git")?).parse().ok();
        Ok(names.iter().filter_map(id).collect())
    }

    /// Returns the folder of what was verified of repositories on disk.
    pub(crate) fn verified(&self) -> PathBuf {
        self.cache.join("verified")
    }

    /// Takes the lock of the files that commands read, change and write again: held briefly, for one file at a time, and gone with the
    /// process.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.state.join("lock");
        replace::create_folders(&self.state, Access::Private)?;
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|why| replace::io_fault(&why, "lock", &path))
    }

    /// Saves two signed objects that contradict each other and returns the folder. Nothing is ever overwritten.
    ///
    /// # Errors
    /// `io`.
    pub fn save_evidence(&self, id: RegistryId, seen: &[u8], found: &[u8]) -> Result<PathBuf> {
        let folder = self.state.join("evidence").join(id.hex());
        let name = |bytes: &[u8]| crate::model::digest::FileDigest::of_bytes(bytes).hex()[..16].to_owned();
        for (word, bytes) in [("seen", seen), ("found", found)] {
            let file = folder.join(format!("{word}-{}", name(bytes)));
            if replace::read(&file)?.is_none() {
                replace::replace(&file, bytes, Access::Shared)?;
            }
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quipu_home_moves_everything() -> Result<()> {
        let home = Home::find(|name| (name == "QUIPU_HOME").then(|| "/q".into()))?;
        assert_eq!(home, Home { system: "/etc/quipu".into(), ..Home::below(Path::new("/q")) });
        let home = Home::find(|name| ["QUIPU_HOME", "QUIPU_SYSTEM"].contains(&name).then(|| "/q".into()))?;
        assert_eq!(home.system_trust_file(), Path::new("/q/trust.toml"));
        assert!(Home::find(|name| (name == "QUIPU_HOME").then(|| "q".into())).is_err());
        Ok(())
    }
}
