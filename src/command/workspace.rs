//! A project as it lies on disk: what its quipu.toml needs, and what its quipu.lock says was chosen for that.

use super::client;
use super::context::Context;
use crate::disk::project::{Needed, Project};
use crate::disk::replace::{self, Access};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::lockfile::{self, Found, Lockfile, Merged, Pin};
use crate::model::name::{FullName, RegistryName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A project.
pub struct Workspace {
    /// Its folder.
    pub folder: PathBuf,
    /// What it needs.
    pub project: Project,
    /// The text of its quipu.toml, where that is another than the one on disk.
    changed: Option<String>,
    /// What a name without a registry belongs to.
    pub own: Option<RegistryName>,
    /// Its lock.
    pub lock: Locked,
}

/// The lock of a project.
pub enum Locked {
    /// There is none.
    Missing,
    /// One that holds together.
    Whole(Lockfile),
    /// One to choose by, and why it is no more than that.
    ToMend(Merged, Error),
}

impl Locked {
    fn read(path: &Path) -> Result<Self> {
        let Some(bytes) = replace::read(path)? else { return Ok(Locked::Missing) };
        let text = String::from_utf8(bytes).map_err(|_| fault!(BadLock, "{} is not UTF-8", path.display()))?;
        Ok(match Found::parse(&text).map_err(|error| error.at(path.display()))? {
            Found::Lock(lock) => Locked::Whole(lock),
            Found::Torn(lock, why) => Locked::ToMend(Merged { lock, earlier: BTreeMap::new() }, why),
            Found::Conflict(sides) => {
                let why = fault!(BadLock, "{} has conflict markers of git", lockfile::FILE);
                Locked::ToMend(lockfile::merge(&sides[0], &sides[1])?, why)
            }
        })
    }

    /// Returns what was chosen before, as far as it is known.
    pub fn known(&self) -> Option<&Lockfile> {
        match self {
            Locked::Missing => None,
            Locked::Whole(lock) => Some(lock),
            Locked::ToMend(merged, _) => Some(&merged.lock),
        }
    }
}

impl Workspace {
    /// Reads the project of a folder.
    ///
    /// # Errors
    /// `bad-manifest`, `bad-lock`, `lock-mismatch` or `fork` where the two sides of a lock contradict each other, `no-registry`.
    pub fn open(context: &Context, folder: &Path) -> Result<Self> {
        let project = Project::load(folder).map_err(|error| match folder.join(crate::disk::project::FILE).exists() {
            true => error,
            false => error.hint("or begin with what it needs: quipu add NAMESPACE:NAME"),
        })?;
        Workspace::of(context, folder, project, None)
    }

    /// Reads the project of a folder as it will be once its quipu.toml has this text.
    ///
    /// # Errors
    /// Those of [`Workspace::open`].
    pub fn with_text(context: &Context, folder: &Path, text: String) -> Result<Self> {
        Workspace::of(context, folder, Project::parse(&text)?, Some(text))
    }

    fn of(context: &Context, folder: &Path, project: Project, changed: Option<String>) -> Result<Self> {
        let named = project.package.as_ref().and_then(|package| package.registry.as_ref());
        let own = match client::which(context, None, named) {
            Ok(registry) => Some(registry),
            Err(_) if project.dependencies.iter().all(|needed| needed.registry.is_some()) => None,
            Err(error) => return Err(error),
        };
        let lock = Locked::read(&folder.join(lockfile::FILE))?;
        Ok(Workspace { folder: folder.to_owned(), project, changed, own, lock })
    }

    /// Returns the full name of a need.
    ///
    /// # Errors
    /// `no-registry`.
    pub fn full_name(&self, needed: &Needed) -> Result<FullName> {
        match needed.registry.as_ref().or(self.own.as_ref()) {
            Some(registry) => Ok(FullName { registry: registry.clone(), package: needed.package.clone() }),
            None => Err(fault!(NoRegistry, "{} is needed, and no registry is named", needed.package)),
        }
    }

    /// Returns the lock where it is one for what quipu.toml asks; else why it is not.
    ///
    /// # Errors
    /// `no-registry`.
    pub fn fitting_lock(&self) -> Result<Result<&Lockfile, Error>> {
        let misses = |what: String| Ok(Err(Error::new(ErrorCode::LockMismatch, what)));
        let lock = match &self.lock {
            Locked::Missing => return misses(format!("there is no {}", lockfile::FILE)),
            Locked::ToMend(_, why) => return Ok(Err(why.clone())),
            Locked::Whole(lock) => lock,
        };
        let mut next = Vec::new();
        for needed in &self.project.dependencies {
            let name = self.full_name(needed)?;
            let fits = |(pin, package): &(&Pin, &lockfile::LockedPackage)| {
                (pin.name == name || package.asked_as.contains(&name)) && needed.requirement.matches(pin.version.as_semver())
            };
            let before = next.len();
            next.extend(lock.packages.iter().filter(fits).map(|(pin, _)| pin));
            if next.len() == before {
                return misses(format!("{} has no version of {name} that fits {}", lockfile::FILE, needed.requirement));
            }
        }
        let mut reached = BTreeSet::new();
        while let Some(pin) = next.pop() {
            if let (true, Some(package)) = (reached.insert(pin), lock.packages.get(pin)) {
                next.extend(&package.dependencies);
            }
        }
        match lock.packages.keys().find(|pin| !reached.contains(pin)) {
            Some(pin) => misses(format!("{} has {pin}, and nothing needs it", lockfile::FILE)),
            None => Ok(Ok(lock)),
        }
    }

    /// Writes what is new: first quipu.toml, then the lock, so that a lock is never of less than was asked for.
    ///
    /// # Errors
    /// `io`.
    pub fn save(&self, lock: &Lockfile) -> Result<bool> {
        if let Some(text) = &self.changed {
            replace::replace(&self.folder.join(crate::disk::project::FILE), text.as_bytes(), Access::Shared)?;
        }
        let is_new = !matches!(&self.lock, Locked::Whole(old) if old == lock);
        if is_new {
            replace::replace(&self.folder.join(lockfile::FILE), lock.to_text().as_bytes(), Access::Shared)?;
        }
        Ok(is_new)
    }
}
