//! What stands under a name of a registry, read from wherever the registry is: its log, judged with the decisions about all names that the log
//! has, and where the name leads on.

use super::chains::{self, Replayed};
use crate::log::decision::{DecisionLog, Reset};
use crate::log::names::{Takedowns, check_steps, leads_to, path};
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::model::digest::GitId;
use crate::model::error::{Error, Result, fault};
use crate::model::key::KeyCache;
use crate::model::map::Map;
use crate::model::name::{FullName, PackageName, RegistryName};
use crate::model::object::ReadObjects;
use crate::model::slot::Slot;
use std::collections::BTreeMap;

/// Where logs are read from.
pub(crate) trait Shelf {
    /// Returns the operators.
    fn operators(&self) -> &OperatorLog;

    /// Returns what the map has in a place.
    fn head(&mut self, slot: &Slot) -> Result<Option<GitId>>;

    /// Reads and verifies a package log.
    fn package(&mut self, head: GitId) -> Result<Replayed<PackageLog>>;

    /// Reads and verifies a decision log.
    fn decisions(&mut self, head: GitId) -> Result<Replayed<DecisionLog>>;
}

/// Decision logs by the names that they are about.
pub(crate) type Decided = BTreeMap<PackageName, Replayed<DecisionLog>>;

/// What stands under a name, beside the log itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Every name that the log stood under in this registry until it stood under this one, oldest first; this one is the last.
    pub(crate) path: Vec<PackageName>,
    /// The decision logs of all names of the log, those that came later included.
    pub(crate) decided: Decided,
    /// The names that this one leads to, one after the other, each with its log.
    pub(crate) leads: Vec<(PackageName, Replayed<PackageLog>)>,
    /// The name after those, where it means another log by now, and the reset that made it so.
    pub(crate) broken: Option<(PackageName, Reset)>,
}

impl Names {
    /// Judges a log that the map, or a reset, has under a name; `own` is the decision log of that name.
    ///
    /// # Errors
    /// `wrong-log`, `wrong-registry`, `unauthorized` where the log may not stand there; `bad-map` where the name leads to one that is not there,
    /// `fork` where that has another log without a reset; any code of the law.
    pub(crate) fn of(
        shelf: &mut impl Shelf,
        package: &PackageName,
        log: &PackageLog,
        own: Option<Replayed<DecisionLog>>,
    ) -> Result<Self> {
        let mut names = Names::default();
        names.decided.extend(own.map(|own| (package.clone(), own)));
        names.path = names.admit(shelf, package, log)?;
        let id = log.chain().id();
        let registry = shelf.operators().registry().clone();
        let mut seen = vec![package.clone()];
        loop {
            let (at, held) = names.leads.last().map_or((package, log), |(name, held)| (name, &held.log));
            let (at, before) = (at.clone(), held.chain().head());
            let full = FullName { registry: registry.clone(), package: at.clone() };
            let Some(granted) = names.decided.get(&at).and_then(|own| leads_to(held, &full, &own.log)) else { return Ok(names) };
            if granted.to.registry != registry {
                return Ok(names);
            }
            let next = granted.to.package.clone();
            if seen.contains(&next) {
                return Err(fault!(BadRecord, "{at} was renamed to {next}, and that back, and its log asks for neither"));
            }
            let Some(head) = shelf.head(&Slot::Package(next.clone()))? else {
                return Err(fault!(BadMap, "{at} was renamed to {next}, which is not in the map"));
            };
            let found = shelf.package(head)?;
            if found.log.chain().id() != id {
                names.read(shelf, &next)?;
                let resets = names.decided.get(&next).map_or(&[][..], |own| own.log.resets());
                let Some(reset) = resets.iter().find(|reset| reset.old == id).cloned() else {
                    let found = found.log.chain().id();
                    return Err(fault!(Fork, "{at} was renamed to {next}, which has the log {found}, expected {id}"));
                };
                names.broken = Some((next, reset));
                return Ok(names);
            }
            if found.log.place_of(&before).is_none() {
                return Err(fault!(Fork, "{at} was renamed to {next}, whose log does not hold {before}"));
            }
            names.admit(shelf, &next, &found.log)?;
            names.read(shelf, &next)?;
            seen.push(next.clone());
            names.leads.push((next, found));
        }
    }

    /// Judges a log that a reset took from a name; `own` is the decision log of that name.
    ///
    /// # Errors
    /// Those of [`Names::of`].
    pub(crate) fn of_retired(
        shelf: &mut impl Shelf,
        package: &PackageName,
        log: &PackageLog,
        own: Option<&Replayed<DecisionLog>>,
    ) -> Result<Self> {
        let mut names = Names::default();
        names.decided.extend(own.map(|own| (package.clone(), own.clone())));
        names.path = names.admit(shelf, package, log)?;
        Ok(names)
    }

    /// Checks that a log may stand under a name, and reads what was decided about the names before it.
    fn admit(&mut self, shelf: &mut impl Shelf, package: &PackageName, log: &PackageLog) -> Result<Vec<PackageName>> {
        let operators = shelf.operators();
        let path = path(log, package, operators.registry(), operators.id())?;
        for (name, _) in &path[..path.len() - 1] {
            self.read(shelf, name)?;
        }
        check_steps(log, &path, |name| self.decided.get(name).map(|own| &own.log))?;
        Ok(path.into_iter().map(|(name, _)| name).collect())
    }

    fn read(&mut self, shelf: &mut impl Shelf, package: &PackageName) -> Result<()> {
        if !self.decided.contains_key(package)
            && let Some(head) = shelf.head(&Slot::Decisions(package.clone()))?
        {
            self.decided.insert(package.clone(), shelf.decisions(head)?);
        }
        Ok(())
    }

    /// Says whether the log left this name for another one.
    pub(crate) fn is_left(&self) -> bool {
        !self.leads.is_empty() || self.broken.is_some()
    }

    /// Returns what is taken down under any of the names.
    pub(crate) fn takedowns(&self) -> Takedowns {
        Takedowns::of(self.decided.values().map(|own| &own.log))
    }

    /// Says that a name was left for another one, in the error that whoever goes on under the old one gets.
    pub(crate) fn left(&self, package: &PackageName, registry: &RegistryName) -> Option<Error> {
        let error = |to: &PackageName| fault!(WrongLog, "{package} was renamed, its name is {registry}/{to} now");
        match (self.leads.last(), &self.broken) {
            (_, Some((to, reset))) => {
                Some(error(to).hint(format!("the operators reset {to}, which means another log now: {}", reset.reason)))
            }
            (Some((to, _)), None) => Some(error(to).hint(format!("go on under that name: {to}"))),
            (None, None) => None,
        }
    }
}

/// Checks that a log is the one that a reset put aside, up to its last record.
///
/// # Errors
/// `wrong-log`, `fork` where it ends elsewhere.
pub(crate) fn check_retired(log: &PackageLog, reset: &Reset) -> Result<()> {
    let (id, head) = (log.chain().id(), log.chain().head());
    if id != reset.old {
        return Err(fault!(WrongLog, "the log is {id}, the reset put aside {}", reset.old));
    }
    if head != reset.old_head {
        return Err(fault!(Fork, "the log ends in {head}, the reset put it aside at {}", reset.old_head));
    }
    Ok(())
}

/// What a map has under a name.
pub(crate) struct Entry {
    /// The log.
    pub(crate) log: Replayed<PackageLog>,
    /// Its names.
    pub(crate) names: Names,
}

impl Entry {
    /// Reads a package; `None` where the name is free.
    ///
    /// # Errors
    /// Those of [`Names::of`].
    pub(crate) fn read(shelf: &mut impl Shelf, package: &PackageName) -> Result<Option<Self>> {
        let Some(head) = shelf.head(&Slot::Package(package.clone()))? else { return Ok(None) };
        let log = shelf.package(head)?;
        let own = shelf.head(&Slot::Decisions(package.clone()))?.map(|head| shelf.decisions(head)).transpose()?;
        if let Some(own) = &own {
            own.log.check_log(&log.log)?;
        }
        let names = Names::of(shelf, package, &log.log, own)?;
        Ok(Some(Entry { log, names }))
    }

    /// Says why nothing more may be appended under this name.
    pub(crate) fn closed(&self, package: &PackageName, registry: &RegistryName) -> Option<Error> {
        let takedowns = self.names.takedowns();
        let down = takedowns.whole(self.log.log.chain().id());
        let down = down.map(|takedown| fault!(TakenDown, "{package} was taken down: {}", takedown.reason));
        down.or_else(|| self.names.left(package, registry))
    }
}

/// Logs of a map in objects that are all here.
pub(crate) struct Here<'a, R> {
    /// The operators.
    pub(crate) operators: &'a OperatorLog,
    /// The map.
    pub(crate) map: Map,
    /// The objects.
    pub(crate) objects: &'a R,
    /// The keys that were admitted.
    pub(crate) keys: &'a mut KeyCache,
}

impl<R: ReadObjects> Shelf for Here<'_, R> {
    fn operators(&self) -> &OperatorLog {
        self.operators
    }

    fn head(&mut self, slot: &Slot) -> Result<Option<GitId>> {
        self.map.get(self.objects, slot)
    }

    fn package(&mut self, head: GitId) -> Result<Replayed<PackageLog>> {
        chains::package(self.objects, head, self.keys)
    }

    fn decisions(&mut self, head: GitId) -> Result<Replayed<DecisionLog>> {
        chains::decisions(self.objects, head, self.operators, self.keys)
    }
}
