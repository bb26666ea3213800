//! A package's own folder: its `quipu.toml`.

use super::config::first_line;
use super::folder::Patterns;
use super::replace::{self, Access};
use crate::model::digest::{RecordDigest, RegistryId};
use crate::model::entry::Dependency;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName, Version};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of the file.
pub const FILE: &str = "quipu.toml";
/// The most bytes that it may have.
const FILE_MAX: u64 = 1024 * 1024;

/// What `quipu.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The package itself.
    pub package: Package,
    /// Registries that dependencies name, by name.
    #[serde(default)]
    pub registries: BTreeMap<RegistryName, KnownRegistry>,
    /// Dependencies by name: `namespace:name`, or `registry/namespace:name`.
    #[serde(default)]
    pub dependencies: BTreeMap<String, Wanted>,
}

/// The table `[package]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The registry to publish to; without one, the default.
    pub registry: Option<RegistryName>,
    /// The package's name.
    pub name: PackageName,
    /// The version to publish next.
    pub version: Version,
    /// What it is.
    pub description: Option<String>,
    /// An SPDX licence expression.
    pub license: Option<String>,
    /// URLs.
    #[serde(default)]
    pub links: Vec<String>,
    /// A word about the build.
    pub build: Option<String>,
    /// Patterns of the files that belong to it; none: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of the files that do not.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// An entry of `[registries]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownRegistry {
    /// Where it is.
    pub url: Option<String>,
    /// Its id.
    pub id: Option<RegistryId>,
}

/// An entry of `[dependencies]`: a requirement, or a table with one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// `"^1.2"`
    Requirement(String),
    /// `{ version = "^1.2", anchor = "sha256:…" }`
    Table(WantedTable),
}

/// A dependency written as a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedTable {
    /// The requirement.
    pub version: String,
    /// A record that the package's log must hold.
    pub anchor: Option<RecordDigest>,
}

impl Project {
    /// Reads `quipu.toml` in a folder.
    ///
    /// # Errors
    /// `bad-manifest` where it is missing or wrong, with the place.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if !folder.is_dir() {
            return Err(fault!(BadManifest, "{} is not a folder", folder.display()).hint("name the folder of a package"));
        }
        // What is no file may never end, or never begin.
        if let Ok(found) = std::fs::metadata(&path)
            && (!found.is_file() || found.len() > FILE_MAX)
        {
            let what = if found.is_file() { "is larger than 1 MiB" } else { "is not a file" };
            return Err(fault!(BadManifest, "{} {what}", path.display()));
        }
        let Some(bytes) = replace::read(&path)? else {
            let error = fault!(BadManifest, "there is no {FILE} in {}", folder.display());
            return Err(match nearest(folder) {
                Some(above) => error.hint(format!("there is one in {}: run the command there", above.display())),
                None => error.hint(format!("make it a package: quipu new {}", folder.display())),
            });
        };
        let text = String::from_utf8(bytes).map_err(|_| fault!(BadManifest, "{} is not UTF-8", path.display()))?;
        Self::parse(&text).map_err(|error| error.at(path.display()))
    }

    /// Reads the text of a `quipu.toml`.
    ///
    /// # Errors
    /// `bad-manifest` with the place.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|why| fault!(BadManifest, "{}", first_line(&why)))
    }

    /// Returns the patterns of the package's files.
    pub fn patterns(&self) -> Patterns {
        Patterns { include: self.package.include.clone(), exclude: self.package.exclude.clone() }
    }

    /// Returns the dependencies as a record names them, where `id` knows the ids of other registries.
    ///
    /// # Errors
    /// `bad-manifest` for a name or requirement that is none, `not-trusted` where a registry's id is not known.
    pub fn dependencies(&self, own: &RegistryName, id: impl Fn(&RegistryName) -> Option<RegistryId>) -> Result<Vec<Dependency>> {
        let mut found = Vec::new();
        for (name, wanted) in &self.dependencies {
            let wrong = |why: &str| fault!(BadManifest, "{FILE}: dependency {name:?}: {why}");
            let (registry, package) = if name.contains('/') {
                let full: FullName = name.parse().map_err(|error: crate::model::error::Error| wrong(error.message()))?;
                (Some(full.registry), full.package)
            } else {
                (None, name.parse().map_err(|error: crate::model::error::Error| wrong(error.message()))?)
            };
            let registry = match registry.filter(|registry| registry != own) {
                None => None,
                Some(registry) => {
                    let id = self.registries.get(&registry).and_then(|known| known.id).or_else(|| id(&registry));
                    let Some(id) = id else {
                        return Err(fault!(NotTrusted, "the id of the registry {registry} of dependency {name} is not known")
                            .hint(format!("trust it: quipu trust add {registry} URL")));
                    };
                    Some((registry, id))
                }
            };
            let (requirement, anchor) = match wanted {
                Wanted::Requirement(text) => (text, None),
                Wanted::Table(table) => (&table.version, table.anchor),
            };
            let requirement = semver::VersionReq::parse(requirement)
                .map_err(|why| wrong(&format!("{requirement:?} is not a SemVer requirement: {why}")))?;
            found.push(Dependency { registry, package, requirement, anchor });
        }
        found.sort_by_key(|dependency| (dependency.name(), dependency.requirement.to_string()));
        Ok(found)
    }

    /// Writes a first `quipu.toml` into a folder, which is made where it is missing.
    ///
    /// # Errors
    /// `exists` where there is one already, `io`.
    pub fn create(folder: &Path, registry: Option<&RegistryName>, name: &PackageName) -> Result<PathBuf> {
        let path = folder.join(FILE);
        let registry = registry.map(|registry| format!("registry = \"{registry}\"\n")).unwrap_or_default();
        let text = format!(
            "[package]\n{registry}name = \"{name}\"\nversion = \"0.1.0\"\n# description = \"What it is, in a sentence\"\n\
             # license = \"MIT OR Apache-2.0\"\n# exclude = [\"target\"]\n\n[dependencies]\n"
        );
        replace::create_new(&path, text.as_bytes(), Access::Shared).map_err(|error| match error.code() {
            ErrorCode::Exists => error.hint("it is a package already: quipu publish"),
            _ => error,
        })?;
        Ok(path)
    }
}

/// Finds the nearest folder above that has a `quipu.toml`.
fn nearest(folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().skip(1).find(|above| above.join(FILE).is_file()).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_other_registries_need_an_id() -> Result<(), Box<dyn std::error::Error>> {
        let project = Project::parse(
            "[package]\nname = \"a:b\"\nversion = \"1.0.0\"\n[dependencies]\n\"a:c\" = \"1\"\n\"other.example/a:c\" = { version = \"^2\" }\n",
        )?;
        let own = "acme.example".parse()?;
        let id = RegistryId::of_bytes(b"other");
        let found = project.dependencies(&own, |_| Some(id))?;
        assert_eq!(
            found.iter().map(|d| format!("{} {}", d.name(), d.requirement)).collect::<Vec<_>>(),
            ["a:c ^1", "other.example/a:c ^2"]
        );
        assert_eq!(found[1].registry, Some(("other.example".parse()?, id)));
        let error = project.dependencies(&own, |_| None).expect_err("no id");
        assert_eq!(error.code(), ErrorCode::NotTrusted);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, word) in [
            ("", "package"),
            ("[package]\nname = \"b\"\nversion = \"1.0.0\"\n", "colon"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0\"\n", "version"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0.0+x\"\n", "build"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0.0\"\nlicence = \"MIT\"\n", "licence"),
            ("[package\n", "line 1"),
        ] {
            let error = Project::parse(text).expect_err(text);
            assert_eq!(error.code(), ErrorCode::BadManifest);
            assert!(error.message().contains(word), "{error}");
        }
    }
}
