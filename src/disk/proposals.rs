//! What a user proposed to a registry and has not heard of since: one file for each registry.

use super::home::Home;
use super::replace::{self, Access};
use crate::model::digest::{GitId, RecordDigest, RegistryId};
use crate::model::error::{Result, fault};
use crate::model::name::PackageName;
use serde::{Deserialize, Serialize};

/// So many proposals are kept; the oldest go first.
const PROPOSALS_MAX: usize = 200;

/// A proposal of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The package.
    pub package: PackageName,
    /// The proposal's commit.
    #[serde(with = "as_text")]
    pub proposal: GitId,
    /// The last record that it proposes.
    #[serde(with = "as_text")]
    pub record: RecordDigest,
    /// When it was made, in seconds since 1970.
    pub time: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    proposal: Vec<Own>,
}

/// Returns the proposals to a registry that were not seen published or refused, oldest first.
///
/// # Errors
/// `bad-config` where the file is damaged, `io`.
pub fn load(home: &Home, registry: RegistryId) -> Result<Vec<Own>> {
    let path = home.proposals_file(registry);
    let Some(bytes) = replace::read(&path)? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&bytes);
    let file: File = toml::from_str(&text).map_err(|why| {
        fault!(BadConfig, "{}: {}", path.display(), why.message())
            .hint("remove it: it only says which proposals of yours may still wait")
    })?;
    Ok(file.proposal)
}

/// Keeps a proposal.
///
/// # Errors
/// Those of [`load`].
pub fn add(home: &Home, registry: RegistryId, own: &Own) -> Result<()> {
    change(home, registry, |all| {
        all.retain(|other| other.proposal != own.proposal);
        all.push(own.clone());
        let surplus = all.len().saturating_sub(PROPOSALS_MAX);
        all.drain(..surplus);
    })
}

/// Forgets proposals that were published or refused.
///
/// # Errors
/// Those of [`load`].
pub fn remove(home: &Home, registry: RegistryId, proposals: &[GitId]) -> Result<()> {
    if proposals.is_empty() || !home.proposals_file(registry).exists() {
        return Ok(());
    }
    change(home, registry, |all| all.retain(|own| !proposals.contains(&own.proposal)))
}

fn change(home: &Home, registry: RegistryId, change: impl FnOnce(&mut Vec<Own>)) -> Result<()> {
    let _lock = home.lock()?;
    let mut file = File { proposal: load(home, registry)? };
    change(&mut file.proposal);
    let text = toml::to_string(&file).map_err(|why| fault!(Bug, "proposals cannot be written: {why}"))?;
    replace::replace(&home.proposals_file(registry), text.as_bytes(), Access::Private)
}

/// Ids and digests as they print.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_kept_until_something_was_heard_of_them() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::below(folder.path());
        let id = RegistryId::from_sha256([1; 32]);
        let own = |number: usize| -> Result<Own> {
            let proposal = format!("{number:040x}").parse()?;
            let record = RecordDigest::of_bytes(&number.to_le_bytes());
            Ok(Own { package: "wasi:http".parse()?, proposal, record, time: 7 })
        };
        assert_eq!(load(&home, id)?, Vec::new());
        remove(&home, id, &[own(0)?.proposal])?;
        for number in 0..PROPOSALS_MAX + 2 {
            add(&home, id, &own(number)?)?;
        }
        let kept = load(&home, id)?;
        assert_eq!((kept.len(), &kept[0]), (PROPOSALS_MAX, &own(2)?));
        // Once more the same: it is kept once.
        add(&home, id, &own(5)?)?;
        remove(&home, id, &[own(2)?.proposal, own(3)?.proposal])?;
        let kept = load(&home, id)?;
        assert_eq!((kept.len(), &kept[0], kept.last()), (PROPOSALS_MAX - 2, &own(4)?, Some(&own(5)?)));
        assert_eq!(load(&home, RegistryId::from_sha256([2; 32]))?, Vec::new());
        Ok(())
    }
}
