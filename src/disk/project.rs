//! A package's own folder: its `quipu.toml`.

use super::config::first_line;
use super::folder::Patterns;
use super::manifest::Upstream;
use super::replace::{self, Access};
use crate::model::digest::{RecordDigest, RegistryId};
use crate::model::entry::Dependency;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName, Version};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The name of the file.
pub const FILE: &str = "quipu.toml";
/// The most bytes that it may have.
const FILE_MAX: u64 = 1024 * 1024;

/// What `quipu.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The package itself; a folder that only needs others has none.
    pub package: Option<Package>,
    /// Registries that dependencies name, by name.
    pub registries: BTreeMap<RegistryName, KnownRegistry>,
    /// Dependencies, in the order of their names.
    pub dependencies: Vec<Needed>,
    /// The release that the files come from, where the package is a fork.
    pub origin: Option<Upstream>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The registry, where it is named.
    pub registry: Option<RegistryName>,
    /// The package.
    pub package: PackageName,
    /// Which versions will do.
    pub requirement: semver::VersionReq,
    /// A record that the package's log must hold.
    pub anchor: Option<RecordDigest>,
}

/// The file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    package: Option<Package>,
    #[serde(default)]
    registries: BTreeMap<RegistryName, KnownRegistry>,
    #[serde(default)]
    dependencies: BTreeMap<toml::Spanned<String>, toml::Spanned<Wanted>>,
    origin: Option<Upstream>,
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
    /// Where else it is.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Its id.
    pub id: Option<RegistryId>,
}

/// An entry of `[dependencies]`: a requirement, or a table with one.
struct Wanted {
    version: String,
    anchor: Option<String>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a requirement like \"1.2\", or a table like { version = \"1.2\", anchor = \"sha256:…\" }")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Wanted, E> {
                Ok(Wanted { version: text.to_owned(), anchor: None })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> std::result::Result<Wanted, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Table {
                    version: String,
                    anchor: Option<String>,
                }
                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Wanted { version: table.version, anchor: table.anchor })
            }
        }
        from.deserialize_any(Visitor)
    }
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
        let written: Written = toml::from_str(text).map_err(|why| fault!(BadManifest, "{}", first_line(&why)))?;
        let mut dependencies = Vec::with_capacity(written.dependencies.len());
        for (name, wanted) in &written.dependencies {
            let wrong = |at: std::ops::Range<usize>, why: &str| {
                fault!(BadManifest, "{}: dependency {:?}: {why}", place(text, at.start), name.get_ref())
            };
            let no_name = |error: Error| wrong(name.span(), error.message());
            let (registry, package) = match name.get_ref().contains('/') {
                true => name.get_ref().parse().map(|full: FullName| (Some(full.registry), full.package)).map_err(no_name)?,
                false => (None, name.get_ref().parse().map_err(no_name)?),
            };
            let Wanted { version, anchor } = wanted.get_ref();
            let requirement = semver::VersionReq::parse(version)
                .map_err(|why| wrong(wanted.span(), &format!("{version:?} is not a SemVer requirement: {why}")))?;
            let anchor = anchor.as_deref().map(str::parse).transpose();
            let anchor = anchor.map_err(|error: Error| wrong(wanted.span(), error.message()))?;
            dependencies.push(Needed { registry, package, requirement, anchor });
        }
        Ok(Project { package: written.package, registries: written.registries, dependencies, origin: written.origin })
    }

    /// Returns the package, which a folder must have that is to be published.
    ///
    /// # Errors
    /// `bad-manifest` where it has none.
    pub fn package(&self) -> Result<&Package> {
        self.package.as_ref().ok_or_else(|| {
            fault!(BadManifest, "{FILE} has no [package]").hint("give it a name and a version: [package], name = …, version = …")
        })
    }

    /// Returns the patterns of the package's files.
    pub fn patterns(&self) -> Patterns {
        let of = |patterns: fn(&Package) -> &Vec<String>| self.package.as_ref().map(patterns).cloned().unwrap_or_default();
        Patterns { include: of(|package| &package.include), exclude: of(|package| &package.exclude) }
    }

    /// Returns the dependencies as a record names them, where `id` knows the ids of other registries.
    ///
    /// # Errors
    /// `not-trusted` where a registry's id is not known.
    pub fn dependencies(&self, own: &RegistryName, id: impl Fn(&RegistryName) -> Option<RegistryId>) -> Result<Vec<Dependency>> {
        let mut found = Vec::new();
        for needed in &self.dependencies {
            let Needed { package, requirement, anchor, .. } = needed.clone();
            let registry = match needed.registry.clone().filter(|registry| registry != own) {
                None => None,
                Some(registry) => {
                    let id = self.registries.get(&registry).and_then(|known| known.id).or_else(|| id(&registry));
                    let Some(id) = id else {
                        return Err(fault!(
                            NotTrusted,
                            "the id of the registry {registry} of dependency {registry}/{package} is not known"
                        )
                        .hint(format!("trust it: quipu trust add {registry} URL")));
                    };
                    Some((registry, id))
                }
            };
            found.push(Dependency { registry, package, requirement, anchor });
        }
        found.sort_by_key(|dependency| (dependency.name(), dependency.requirement.to_string()));
        Ok(found)
    }

    /// Reads the text of a folder's `quipu.toml`, to be changed; none where it is missing.
    ///
    /// # Errors
    /// `bad-manifest`, `io`.
    pub fn text(folder: &Path) -> Result<String> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(String::new());
        }
        // What is wrong in it is said before it is touched.
        Self::load(folder)?;
        let bytes = replace::read(&path)?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| fault!(BadManifest, "{} is not UTF-8", path.display()))
    }

    /// Sets a dependency in the text of a `quipu.toml`, whose comments and order stay.
    ///
    /// # Errors
    /// `bad-manifest`.
    pub fn add(text: &str, name: &str, requirement: &str, anchor: Option<&RecordDigest>) -> Result<String> {
        edit(text, |document| {
            if document.is_empty() {
                // Comments that stand alone stay above what is new.
                let above = std::mem::take(document).to_string();
                let gap = if above.is_empty() || above.ends_with("\n\n") { "" } else { "\n" };
                let mut table = toml_edit::Table::new();
                table.decor_mut().set_prefix(format!("{above}{gap}"));
                document.insert("dependencies", toml_edit::Item::Table(table));
            }
            let table = document.entry("dependencies").or_insert_with(toml_edit::table);
            let Some(table) = table.as_table_like_mut() else { return Ok(()) };
            let mut entry = toml_edit::InlineTable::new();
            if let Some(anchor) = anchor {
                entry.insert("version", requirement.into());
                entry.insert("anchor", anchor.to_string().into());
            }
            let new: toml_edit::Value = if anchor.is_some() { entry.into() } else { requirement.into() };
            match table.get_mut(name).and_then(toml_edit::Item::as_value_mut) {
                Some(value) => {
                    // What stands behind it in the line stays.
                    let decor = value.decor().clone();
                    *value = new;
                    *value.decor_mut() = decor;
                }
                None => drop(table.insert(name, toml_edit::value(new))),
            }
            Ok(())
        })
    }

    /// Takes dependencies out of the text of a `quipu.toml`, whose comments and order stay.
    ///
    /// # Errors
    /// `bad-manifest`.
    pub fn remove(text: &str, names: &[String]) -> Result<String> {
        edit(text, |document| {
            let Some(table) = document.get_mut("dependencies").and_then(toml_edit::Item::as_table_like_mut) else {
                return Ok(());
            };
            for name in names {
                table.remove(name);
            }
            Ok(())
        })
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

/// Changes the text of a `quipu.toml`.
pub(super) fn edit(text: &str, change: impl FnOnce(&mut toml_edit::DocumentMut) -> Result<()>) -> Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|why| fault!(BadManifest, "{}", first_line(&why)))?;
    change(&mut document)?;
    let changed = document.to_string();
    Project::parse(&changed).map_err(|error| fault!(Bug, "{FILE} would become wrong: {error}"))?;
    Ok(changed)
}

/// Says in which line and column a byte stands, as the TOML parser says it.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
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
    fn comments_and_order_stay_where_dependencies_come_and_go() {
        assert_eq!(Project::add("", "a:b", "^1", None).unwrap(), "[dependencies]\n\"a:b\" = \"^1\"\n");
        let alone = Project::add("# mine\n", "a:b", "^1", None).unwrap();
        assert_eq!(alone, "# mine\n\n[dependencies]\n\"a:b\" = \"^1\"\n");
        let text = "# ours\n[dependencies] # all\n# the first\n\"z:z\" = \"1\" # pinned, see the wiki\n\"a:b\" = \"2\"\n\n[package]\nname = \"x:y\" \nversion = \"1.0.0\"\n";
        let anchor: RecordDigest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let third = Project::add(text, "z:z", "3", None).unwrap();
        assert_eq!(third, text.replace("\"1\" #", "\"3\" #"));
        let anchored = Project::add(&third, "o.example/n:m", "^1", Some(&anchor)).unwrap();
        let project = Project::parse(&anchored).unwrap();
        assert_eq!(project.dependencies.iter().map(|needed| needed.anchor).collect::<Vec<_>>(), [None, Some(anchor), None]);
        assert_eq!(Project::remove(&anchored, &["o.example/n:m".to_owned(), "no:no".to_owned()]).unwrap(), third);
        assert_eq!(Project::add("[dependencies\n", "a:b", "1", None).unwrap_err().code(), ErrorCode::BadManifest);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, word) in [
            ("[package]\nname = \"b\"\nversion = \"1.0.0\"\n", "colon"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0\"\n", "version"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0.0+x\"\n", "build"),
            ("[package]\nname = \"a:b\"\nversion = \"1.0.0\"\nlicence = \"MIT\"\n", "licence"),
            ("[package\n", "line 1"),
            ("[dependencies]\n# é\n\"a:b\" = \"1.x.y\"\n", "line 3, column 9"),
            ("[dependencies]\n\"a:b\" = \"1\"\n\"b\" = \"1\"\n", "line 3, column 1"),
            ("[dependencies]\n\"a:b\" = 1\n", "line 2, column 9"),
            ("[dependencies]\n\"a:b\" = 1\n", "a requirement like"),
            ("[dependencies]\n\"a:b\" = { version = \"1\", anchor = \"sha256:x\" }\n", "line 2, column 9"),
            ("[dependencies]\n\"a:b\" = { version = \"1\", anchr = \"\" }\n", "anchr"),
            ("[dependencies.\"a:b\"]\nanchor = \"\"\n", "version"),
        ] {
            let error = Project::parse(text).expect_err(text);
            assert_eq!(error.code(), ErrorCode::BadManifest);
            assert!(error.message().contains(word), "{error}");
        }
    }
}
