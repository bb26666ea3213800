//! Which release is meant, where several would do.

use crate::log::names::Takedowns;
use crate::log::package::{PackageLog, Released};
use crate::model::digest::RecordDigest;
use crate::model::error::{Result, fault};
use crate::model::name::Version;

/// Checks that a log holds the record that was trusted beforehand, as one of its own.
///
/// # Errors
/// `anchor-mismatch`.
pub fn check_anchor(log: &PackageLog, anchor: Option<&RecordDigest>) -> Result<()> {
    match anchor {
        Some(anchor) if log.place_of(anchor).is_none() => {
            let origin = log.origin().is_some_and(|origin| origin.record == *anchor || origin.log.first_record() == *anchor);
            let error =
                fault!(AnchorMismatch, "the log {} of {} does not hold the record {anchor}", log.chain().id(), log.name());
            Err(if origin { error.hint("the record is one of the log that this one was forked from") } else { error })
        }
        _ => Ok(()),
    }
}

/// Chooses a release: the one asked for, or the newest that is neither a pre-release nor yanked, flagged or taken down.
///
/// # Errors
/// `not-found` where there is none, `taken-down` with the reason.
pub fn choose<'a>(log: &'a PackageLog, takedowns: &Takedowns, wanted: Option<&Version>) -> Result<&'a Released> {
    let takedown = |version: &Version| takedowns.find(log.chain().id(), version);
    if let Some(version) = wanted {
        let Some(released) = log.release_of(version) else {
            let known: Vec<String> = log.releases().rev().take(5).map(|released| released.release.version.to_string()).collect();
            let error = fault!(NotFound, "{} has no version {version}", log.name());
            return Err(if known.is_empty() {
                error.hint("nothing was released yet")
            } else {
                error.hint(format!("the newest are {}", known.join(", ")))
            });
        };
        if let Some(takedown) = takedown(version) {
            return Err(fault!(TakenDown, "{}@{version} was {takedown}", log.name()));
        }
        return Ok(released);
    }
    let fitting: Vec<&Released> = log
        .releases()
        .rev()
        .filter(|released| released.yanked.is_none() && !released.flagged && takedown(&released.release.version).is_none())
        .collect();
    let newest = fitting.iter().find(|released| !released.release.version.is_prerelease()).or(fitting.first()).copied();
    newest.ok_or_else(|| {
        let count = log.releases().count();
        let error = fault!(NotFound, "{} has no release to choose from", log.name());
        match count {
            0 => error.hint("nothing was released yet"),
            _ => error.hint(format!(
                "all {count} are yanked, flagged or taken down; one that is not taken down can be named: @VERSION"
            )),
        }
    })
}

/// Finds the release that another one is compared with where nobody says which: the newest below it that can be had, a pre-release only
/// where there is no other or the release itself is one.
///
/// # Errors
/// `not-found` where there is none.
pub fn before<'a>(log: &'a PackageLog, takedowns: &Takedowns, version: &Version) -> Result<&'a Released> {
    let is_down = |version: &Version| takedowns.find(log.chain().id(), version).is_some();
    let lower: Vec<&Released> = log
        .releases()
        .rev()
        .filter(|released| released.release.version < *version && !is_down(&released.release.version))
        .collect();
    let is_fine = |released: &&&Released| released.yanked.is_none() && !released.flagged;
    let fits = |released: &&&Released| version.is_prerelease() || !released.release.version.is_prerelease();
    let found = lower.iter().filter(is_fine).find(fits).or(lower.iter().find(is_fine)).or(lower.first()).copied();
    found.ok_or_else(|| fault!(NotFound, "{} has no release before {version}", log.name()))
}
