//! The names that one package log has in a registry: which it bore, who let it have each, where one leads, and what is taken down under
//! any of them.
//!
//! 1. A log stands under a name that its last record bears or that its owners asked for last ([`PackageLog::expect`]).
//! 2. For every step from one name of the registry to another, operators granted it to this log, in the decision log of the name that was left.
//!    Names that it had in other registries meanwhile do not count: what those decided is not the business of this one.
//! 3. A name leads on to the one that it was left for, unless its log asked for it again later, and so came back.
//! 4. What is taken down of a log is taken down under each of its names.

use super::decision::{DecisionLog, Granted, Takedown};
use super::package::{Move, PackageLog};
use crate::model::digest::{LogId, RecordDigest, RegistryId};
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName, Version};
use std::collections::BTreeMap;

/// A name that a log had, and the record that asked for it; the name that it began with was not asked for.
pub type Named = (PackageName, Option<RecordDigest>);

/// Returns the names of a registry under which a log stood until it stands under `package`, oldest first; that one is the last.
///
/// # Errors
/// Those of [`PackageLog::expect`].
pub fn path(log: &PackageLog, package: &PackageName, registry: &RegistryName, id: RegistryId) -> Result<Vec<Named>> {
    let here = FullName { registry: registry.clone(), package: package.clone() };
    log.expect(&here, id)?;
    let is_here = |name: &FullName, of: RegistryId| name.registry == *registry && of == id;
    let mut names: Vec<Named> = Vec::new();
    let mut add = |name: &FullName, consent: Option<RecordDigest>| {
        if names.last().is_none_or(|(last, _)| *last != name.package) {
            names.push((name.package.clone(), consent));
        }
    };
    if let Some(Move { from, from_registry, .. }) = log.moves().first() {
        if is_here(from, *from_registry) {
            add(from, None);
        }
    } else if is_here(log.name(), log.registry_id()) {
        add(log.name(), None);
    }
    for Move { to, .. } in log.moves() {
        if is_here(&to.to, to.registry_id) {
            add(&to.to, Some(to.record));
        }
    }
    if let Some(asked) = log.pending_name().filter(|asked| asked.to == here && asked.registry_id == id) {
        add(&asked.to, Some(asked.record));
    }
    Ok(names)
}

/// Checks that each step between names was granted, by the decision logs of the names.
///
/// # Errors
/// `unauthorized` where one was not.
pub fn check_steps<'d>(
    log: &PackageLog,
    path: &[Named],
    decisions: impl Fn(&PackageName) -> Option<&'d DecisionLog>,
) -> Result<()> {
    for step in path.windows(2) {
        let ((from, _), (to, consent)) = (&step[0], &step[1]);
        let is_it =
            |granted: &Granted| granted.log == log.chain().id() && granted.to.package == *to && Some(granted.consent) == *consent;
        if !decisions(from).is_some_and(|decisions| decisions.renames().iter().any(is_it)) {
            return Err(fault!(Unauthorized, "the log of {from} stands as {to}, and no operator granted it that name"));
        }
    }
    Ok(())
}

/// Says where a name leads that a log was found under, by the name's own decisions.
pub fn leads_to<'d>(log: &PackageLog, name: &FullName, decisions: &'d DecisionLog) -> Option<&'d Granted> {
    let granted = decisions.renames().iter().rev().find(|granted| granted.log == log.chain().id())?;
    let consent = log.place_of(&granted.consent)?;
    let is_back = log.renamings().iter().any(|asked| asked.to == *name && log.place_of(&asked.record) > Some(consent));
    (!is_back).then_some(granted)
}

/// What is taken down, of whichever log, by the decisions about any of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takedowns(BTreeMap<(LogId, Option<Version>), Takedown>);

impl Takedowns {
    /// Collects what decision logs say.
    pub fn of<'d>(decisions: impl IntoIterator<Item = &'d DecisionLog>) -> Self {
        let all = decisions.into_iter().flat_map(DecisionLog::takedowns);
        Takedowns(all.map(|(log, version, takedown)| ((log, version.cloned()), takedown.clone())).collect())
    }

    /// Says why a version of a log, or all of it, is not handed out.
    pub fn find(&self, log: LogId, version: &Version) -> Option<&Takedown> {
        self.whole(log).or_else(|| self.0.get(&(log, Some(version.clone()))))
    }

    /// Leaves out what was said of a version, or of all of a log.
    pub fn forget(&mut self, log: LogId, version: Option<&Version>) {
        self.0.remove(&(log, version.cloned()));
    }

    /// Says why nothing of a log is handed out.
    pub fn whole(&self, log: LogId) -> Option<&Takedown> {
        self.0.get(&(log, None))
    }

    /// Returns what is taken down of a log: the version; without one, all of it.
    pub fn of_log(&self, log: LogId) -> impl Iterator<Item = (Option<&Version>, &Takedown)> {
        self.0.iter().filter(move |((of, _), _)| *of == log).map(|((_, version), takedown)| (version.as_ref(), takedown))
    }
}
