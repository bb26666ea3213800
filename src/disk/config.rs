//! `config.toml`, which people edit.

use super::home::Home;
use super::replace::{self, Access};
use crate::model::error::{Result, fault};
use crate::model::name::RegistryName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What people set for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The key to sign with: a path, or the name of a key in `keys/`.
    pub key: Option<String>,
    /// The registry that names without a domain mean.
    pub registry: Option<RegistryName>,
    /// After so many seconds of silence a place is given up.
    pub timeout: Option<std::num::NonZeroU32>,
    /// Where registries are.
    #[serde(default)]
    pub registries: BTreeMap<RegistryName, Place>,
}

/// Where a registry is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Place {
    /// Where it is fetched, and pushed where `push` says nothing else.
    pub url: String,
    /// Where proposals are pushed.
    pub push: Option<String>,
    /// The user's own fork of its repository, for proposals by pull request.
    pub fork: Option<String>,
    /// Where else it can be fetched: mirrors of it, and registries that mirror it.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

impl Config {
    /// Reads the file; one that is missing says nothing.
    ///
    /// # Errors
    /// `bad-config` with the place in the file.
    pub fn load(home: &Home) -> Result<Self> {
        load(&home.config_file())
    }

    /// Sets where a registry is, and where else where mirrors are given, and makes it the default where there is none, keeping comments and
    /// order of the file.
    ///
    /// # Errors
    /// `bad-config`, `io`.
    pub fn set_registry(home: &Home, name: &RegistryName, url: &str, mirrors: &[String]) -> Result<()> {
        edit(home, |document| {
            let registries = document.entry("registries").or_insert_with(|| {
                let mut table = toml_edit::Table::new();
                table.set_implicit(true);
                toml_edit::Item::Table(table)
            });
            let Some(registries) = registries.as_table_like_mut() else { return };
            let place = registries.entry(name.as_str()).or_insert_with(toml_edit::table);
            if let Some(place) = place.as_table_like_mut() {
                place.insert("url", toml_edit::value(url));
                if !mirrors.is_empty() {
                    place.insert("mirrors", toml_edit::value(mirrors.iter().collect::<toml_edit::Array>()));
                }
            }
            if !document.contains_key("registry") {
                document.insert("registry", toml_edit::value(name.as_str()));
            }
        })
    }

    /// Sets the default key where there is none.
    ///
    /// # Errors
    /// `bad-config`, `io`.
    pub fn set_key_if_none(home: &Home, key: &str) -> Result<()> {
        edit(home, |document| {
            if !document.contains_key("key") {
                document.insert("key", toml_edit::value(key));
            }
        })
    }
}

fn edit(home: &Home, change: impl FnOnce(&mut toml_edit::DocumentMut)) -> Result<()> {
    let _lock = home.lock()?;
    let path = home.config_file();
    let text = text_of(&path)?.unwrap_or_default();
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|why| fault!(BadConfig, "{}: {}", path.display(), first_line(&why)))?;
    change(&mut document);
    replace::replace(&path, document.to_string().as_bytes(), Access::Shared)
}

pub(super) fn load<T: Default + for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    match text_of(path)? {
        None => Ok(T::default()),
        Some(text) => toml::from_str(&text).map_err(|why| {
            fault!(BadConfig, "{}: {}", path.display(), first_line(&why)).hint(format!("mend the file {}", path.display()))
        }),
    }
}

fn text_of(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = replace::read(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| fault!(BadConfig, "{} is not UTF-8", path.display()))
}

/// Returns what a TOML parser says without the drawing of the line that it adds.
pub(crate) fn first_line(why: &impl ToString) -> String {
    let text = why.to_string();
    let place = text.lines().next().unwrap_or_default().replace("TOML parse error at ", "");
    match text.trim_end().lines().next_back() {
        Some(last) if last != place => format!("{place}: {last}"),
        _ => place,
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
    fn comments_stay_when_a_registry_is_added() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, home) = home()?;
        replace::replace(&home.config_file(), b"# mine\nkey = \"work\" # the one at work\n", Access::Shared)?;
        Config::set_registry(&home, &"acme.example".parse()?, "/srv/acme.git", &[])?;
        Config::set_registry(&home, &"other.example".parse()?, "/srv/other.git", &["/mnt/other.git".to_owned()])?;
        Config::set_key_if_none(&home, "other")?;
        let text = String::from_utf8(replace::read(&home.config_file())?.unwrap_or_default())?;
        assert!(text.starts_with("# mine\nkey = \"work\" # the one at work\n"), "{text}");
        let config = Config::load(&home)?;
        assert_eq!(config.registry, Some("acme.example".parse()?));
        assert_eq!(config.registries[&"other.example".parse()?].url, "/srv/other.git");
        assert_eq!(config.registries[&"other.example".parse()?].mirrors, ["/mnt/other.git"]);
        assert_eq!(config.key.as_deref(), Some("work"));
        Ok(())
    }

    #[test]
    fn a_wrong_file_is_named_with_the_place() -> Result<(), Box<dyn std::error::Error>> {
        let (_folder, home) = home()?;
        replace::replace(&home.config_file(), b"kee = \"work\"\n", Access::Shared)?;
        let error = Config::load(&home).expect_err("kee is no field");
        assert_eq!(error.code().as_str(), "bad-config");
        assert!(error.message().contains("line 1") && error.message().contains("kee"), "{error}");
        Ok(())
    }
}
