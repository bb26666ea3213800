//! `trust.toml`, which commands write, and this machine's own list of well-known registries, which its users see and can overrule.

use super::config::{self, Config, Place};
use super::home::Home;
use super::replace::{self, Access};
use crate::model::digest::RegistryId;
use crate::model::error::{Result, fault};
use crate::model::name::{PackageName, Pattern, RegistryName};
use serde::{Deserialize, Serialize};

/// How a registry's id was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The user made the registry.
    Made,
    /// The user gave the id.
    Given,
    /// The user was shown what was found, and said yes.
    Asked,
    /// Who set this machine up says so.
    System,
}

impl Source {
    /// Returns the word for it in files and answers.
    pub fn word(self) -> &'static str {
        match self {
            Source::Made => "made",
            Source::Given => "given",
            Source::Asked => "asked",
            Source::System => "system",
        }
    }
}

/// A registry that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trusted {
    /// Its name.
    pub name: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// How the id was come by.
    pub source: Source,
    /// When, in seconds since 1970.
    pub since: u64,
    /// Whether something was seen of it, so that a lost memory is noticed.
    #[serde(default)]
    pub seen: bool,
    /// Which of its packages are trusted; all of them where nothing stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Pattern>,
}

impl Trusted {
    /// Says whether a package of it is trusted.
    pub fn covers(&self, package: &PackageName) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(package))
    }
}

/// The registries that the user decided about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustFile {
    /// Those that are not trusted, whatever this machine's own list says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RegistryName>,
    /// Those that are trusted: one for each name.
    #[serde(default, rename = "registry")]
    pub registries: Vec<Trusted>,
}

impl TrustFile {
    /// Reads the file; one that is missing trusts nobody.
    ///
    /// # Errors
    /// `bad-config`.
    pub fn load(home: &Home) -> Result<Self> {
        config::load(&home.trust_file())
    }

    /// Puts a registry in place of one of the same name.
    pub fn put(&mut self, trusted: Trusted) {
        self.refused.retain(|other| *other != trusted.name);
        self.registries.retain(|other| other.name != trusted.name);
        self.registries.push(trusted);
        self.registries.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Changes the file, without losing what another process changes at the same time.
    ///
    /// # Errors
    /// `bad-config`, `io`.
    pub fn change(home: &Home, change: impl FnOnce(&mut TrustFile)) -> Result<()> {
        let _lock = home.lock()?;
        let before = TrustFile::load(home)?;
        let mut trust = before.clone();
        change(&mut trust);
        if trust == before { Ok(()) } else { trust.save(home) }
    }

    /// Writes the file as a whole.
    ///
    /// # Errors
    /// `io`.
    pub fn save(&self, home: &Home) -> Result<()> {
        let body = toml::to_string(self).map_err(|why| fault!(Bug, "trust.toml cannot be written: {why}"))?;
        let text = format!("# Written by quipu: which registry each name means here.\n\n{body}");
        replace::replace(&home.trust_file(), text.as_bytes(), Access::Shared)
    }
}

/// A well-known registry of this machine's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WellKnown {
    name: RegistryName,
    id: RegistryId,
    url: String,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    only: Vec<Pattern>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemFile {
    #[serde(default, rename = "registry")]
    registries: Vec<WellKnown>,
}

/// All registries that are trusted: by the user's own decisions, and by this machine's list where the user decided nothing.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    user: TrustFile,
    system: SystemFile,
    effective: Vec<Trusted>,
}

impl Trust {
    /// Reads both files; one that is missing says nothing.
    ///
    /// # Errors
    /// `bad-config`.
    pub fn load(home: &Home) -> Result<Self> {
        Ok(Trust::of(TrustFile::load(home)?, config::load(&home.system_trust_file())?))
    }

    fn of(user: TrustFile, system: SystemFile) -> Self {
        let listed = |name: &RegistryName| system.registries.iter().find(|known| known.name == *name);
        // What was looked at because of the list keeps the id that it had then, and goes with the list.
        let mut effective: Vec<Trusted> = user.registries.clone();
        effective.retain(|trusted| trusted.source != Source::System || listed(&trusted.name).is_some());
        for known in &system.registries {
            match effective.iter_mut().find(|trusted| trusted.name == known.name) {
                Some(trusted) if trusted.source == Source::System => trusted.only.clone_from(&known.only),
                Some(_) => {}
                None if user.refused.contains(&known.name) => {}
                None => effective.push(Trusted {
                    name: known.name.clone(),
                    id: known.id,
                    source: Source::System,
                    since: 0,
                    seen: false,
                    only: known.only.clone(),
                }),
            }
        }
        effective.sort_by(|a, b| a.name.cmp(&b.name));
        Trust { user, system, effective }
    }

    /// Finds a registry that is trusted.
    pub fn get(&self, name: &RegistryName) -> Option<&Trusted> {
        self.effective.iter().find(|trusted| trusted.name == *name)
    }

    /// Returns all that are trusted, by name.
    pub fn all(&self) -> &[Trusted] {
        &self.effective
    }

    /// Returns those of this machine's list that the user does not trust.
    pub fn refused(&self) -> impl Iterator<Item = &RegistryName> {
        let listed = |name: &&RegistryName| self.system.registries.iter().any(|known| known.name == **name);
        self.user.refused.iter().filter(listed)
    }

    /// Returns the id that this machine's list has for a name.
    pub fn listed(&self, name: &RegistryName) -> Option<RegistryId> {
        self.system.registries.iter().find(|known| known.name == *name).map(|known| known.id)
    }

    /// Returns where a registry is: where the user says, or this machine's list.
    pub fn place(&self, name: &RegistryName, config: &Config) -> Option<Place> {
        config.registries.get(name).cloned().or_else(|| {
            let known = self.system.registries.iter().find(|known| known.name == *name)?;
            Some(Place { url: known.url.clone(), mirrors: known.mirrors.clone(), ..Place::default() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Result<(tempfile::TempDir, Home), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let home = Home::below(folder.path());
        Ok((folder, home))
    }

    #[test]
    fn trust_is_read_as_it_was_written() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, home) = home()?;
        let mut trust = TrustFile::default();
        let id = RegistryId::of_bytes(b"x");
        for seen in [false, true] {
            trust.put(Trusted { name: "acme.example".parse()?, id, source: Source::Given, since: 1, seen, only: Vec::new() });
        }
        trust.save(&home)?;
        assert_eq!(TrustFile::load(&home)?, trust);
        assert_eq!(trust.registries.len(), 1);
        Ok(())
    }

    #[test]
    fn this_machines_list_counts_where_the_user_decided_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, home) = home()?;
        let (acme, other) = ("acme.example".parse()?, "other.example".parse()?);
        let (id, another) = (RegistryId::of_bytes(b"x"), RegistryId::of_bytes(b"y"));
        let list = |acme: RegistryId| {
            format!(
                "[[registry]]\nname = \"acme.example\"\nid = \"{acme}\"\nurl = \"https://acme.example/\"\nonly = [\"wasi:*\"]\n\n\
                 [[registry]]\nname = \"other.example\"\nid = \"{id}\"\nurl = \"/srv/other.git\"\nmirrors = [\"/mnt/other.git\"]\n"
            )
        };
        let write = |text: &str| replace::replace(&home.system_trust_file(), text.as_bytes(), Access::Shared);
        assert!(Trust::load(&home)?.all().is_empty());
        write(&list(id))?;
        let trust = Trust::load(&home)?;
        let found = trust.get(&acme).ok_or("it is listed")?.clone();
        assert_eq!((found.id, found.source, found.seen), (id, Source::System, false));
        assert!(found.covers(&"wasi:http".parse()?) && !found.covers(&"demo:http".parse()?));
        assert_eq!(trust.place(&other, &Config::default()).ok_or("it has a place")?.mirrors, ["/mnt/other.git"]);
        // What was looked at keeps the id that it had, whatever the list says later, and goes with it.
        TrustFile::change(&home, |file| file.put(Trusted { seen: true, ..found.clone() }))?;
        write(&list(another))?;
        let trust = Trust::load(&home)?;
        assert_eq!(trust.get(&acme).map(|trusted| (trusted.id, trusted.seen)), Some((id, true)));
        assert_eq!(trust.listed(&acme), Some(another));
        write("")?;
        assert_eq!(Trust::load(&home)?.get(&acme), None);
        // The user's own decisions stand above it: another id, and none at all.
        write(&list(id))?;
        TrustFile::change(&home, |file| {
            file.refused.push(other.clone());
            file.put(Trusted { id: another, source: Source::Given, only: Vec::new(), ..found.clone() });
        })?;
        let trust = Trust::load(&home)?;
        assert_eq!(trust.get(&acme).map(|trusted| trusted.id), Some(another));
        assert_eq!(trust.get(&other), None);
        assert_eq!(trust.refused().collect::<Vec<_>>(), [&other]);
        TrustFile::change(&home, |file| file.put(Trusted { name: other.clone(), ..found }))?;
        assert!(Trust::load(&home)?.get(&other).is_some());
        // A mistake in it is named with its place.
        write("[[registry]]\nname = \"acme.example\"\n")?;
        assert!(Trust::load(&home).is_err_and(|error| error.message().contains("line 1")));
        Ok(())
    }
}
