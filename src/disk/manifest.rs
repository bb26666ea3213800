//! What becomes of the text of a `quipu.toml` when its package is forked or catches up with its origin. Comments and order stay.

use super::project::{Project, edit};
use crate::model::digest::{ContentDigest, LogId, RecordDigest, RegistryId};
use crate::model::entry::Release;
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName, Version};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};

/// The table `[origin]`: the release that the files of a fork were taken from, or caught up with last.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its registry.
    pub registry: RegistryName,
    /// The id of that registry.
    pub id: RegistryId,
    /// The package there.
    pub package: PackageName,
    /// The release.
    pub version: Version,
    /// Its contents.
    pub content: ContentDigest,
    /// The package's log.
    pub log: LogId,
    /// The record in it that is the release.
    pub record: RecordDigest,
    /// A checkpoint of the registry that holds the record.
    pub checkpoint: RecordDigest,
}

impl Upstream {
    /// Returns the package's full name.
    pub fn name(&self) -> FullName {
        FullName { registry: self.registry.clone(), package: self.package.clone() }
    }
}

/// What a `quipu.toml` is to say after its package became another one.
pub struct Becoming<'a> {
    /// The registry that names without one belonged to, and its id.
    pub from: (&'a RegistryName, RegistryId),
    /// Where that registry is, where others can know it.
    pub url: Option<&'a str>,
    /// The new name.
    pub to: &'a FullName,
    /// The version.
    pub version: &'a Version,
    /// Ids of other registries that dependencies name.
    pub known: BTreeMap<RegistryName, RegistryId>,
}

/// What stands above the table.
const ABOUT: &str = "\n# The release that these files come from: quipu fork wrote it, quipu fork --sync goes on from it.\n";

/// The fields of `[package]` that a fork takes over from its origin while it has not changed them itself.
const FIELDS: &[&str] = &["version", "description", "license", "links", "build", "include", "exclude"];

/// Writes the `quipu.toml` of a release whose files have none.
pub fn of_release(name: &PackageName, release: &Release) -> Result<String> {
    edit("", |document| {
        let mut package = Table::new();
        package.insert("name", name.to_string().into());
        package.insert("version", release.version.to_string().into());
        let texts = [("description", &release.description), ("license", &release.license), ("build", &release.build)];
        for (field, text) in texts {
            if let Some(text) = text {
                package.insert(field, text.as_str().into());
            }
        }
        if !release.links.is_empty() {
            package.insert("links", toml_edit::value(release.links.iter().collect::<Array>()));
        }
        document.insert("package", Item::Table(package));
        let mut dependencies = Table::new();
        for dependency in &release.dependencies {
            let mut wanted = Value::from(dependency.requirement.to_string());
            if let Some(anchor) = &dependency.anchor {
                let mut entry = InlineTable::new();
                entry.insert("version", wanted);
                entry.insert("anchor", anchor.to_string().into());
                wanted = entry.into();
            }
            dependencies.insert(&dependency.name(), Item::Value(wanted));
        }
        if !dependencies.is_empty() {
            document.insert("dependencies", Item::Table(dependencies));
        }
        Ok(())
    })
}

impl Becoming<'_> {
    /// Says how a dependency is written in the new registry.
    fn written(&self, key: &str) -> String {
        let moves = self.to.registry != *self.from.0;
        match key.split_once('/') {
            None if moves => format!("{}/{key}", self.from.0),
            Some((registry, package)) if registry == self.to.registry.as_str() => package.to_owned(),
            _ => key.to_owned(),
        }
    }

    /// Gives the package its new name and its dependencies names that mean the same there. An `[origin]` goes.
    ///
    /// # Errors
    /// `bad-manifest` where the text is none of a `quipu.toml`, or two dependencies become one.
    pub fn apply(&self, text: &str) -> Result<String> {
        Project::parse(text)?;
        edit(text, |document| {
            document.remove("origin");
            let package = document.entry("package").or_insert_with(toml_edit::table);
            if let Some(package) = package.as_table_like_mut() {
                set(package, "name", self.to.package.to_string().into());
                set(package, "version", self.version.to_string().into());
                set(package, "registry", self.to.registry.as_str().into());
            }
            if let Some(package) = package.as_table_mut() {
                // The name reads from left to right.
                package.sort_values_by(|a, _, b, _| (b.get() == "registry").cmp(&(a.get() == "registry")));
            }
            let mut named = Vec::new();
            if let Some(dependencies) = document.get_mut("dependencies") {
                named = self.rename(dependencies)?;
            }
            let mut registries: BTreeMap<&RegistryName, (RegistryId, Option<&str>)> =
                self.known.iter().map(|(name, id)| (name, (*id, None))).collect();
            if self.to.registry != *self.from.0 {
                registries.insert(self.from.0, (self.from.1, self.url));
            }
            registries.retain(|name, _| named.iter().any(|named| named == name.as_str()));
            if registries.is_empty() {
                return Ok(());
            }
            let mut fresh = Table::new();
            fresh.set_implicit(true);
            let table = document.entry("registries").or_insert(Item::Table(fresh));
            let Some(table) = table.as_table_like_mut() else { return Ok(()) };
            for (name, (id, url)) in registries {
                if let Some(known) = table.get_mut(name.as_str()).and_then(Item::as_table_like_mut) {
                    if !known.contains_key("id") {
                        set(known, "id", id.to_string().into());
                    }
                    continue;
                }
                let mut known = Table::new();
                if let Some(url) = url {
                    known.insert("url", url.into());
                }
                known.insert("id", id.to_string().into());
                table.insert(name.as_str(), Item::Table(known));
            }
            Ok(())
        })
    }

    /// Renames the dependencies, and returns the registries that they name now.
    fn rename(&self, dependencies: &mut Item) -> Result<Vec<String>> {
        if let Some(inline) = dependencies.as_inline_table_mut() {
            *dependencies = Item::Table(std::mem::take(inline).into_table());
        }
        let Some(table) = dependencies.as_table_mut() else { return Ok(Vec::new()) };
        let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
        let entries: Vec<(Key, Item)> = keys.iter().filter_map(|key| table.remove_entry(key)).collect();
        let mut named = Vec::new();
        for (key, item) in entries {
            let new = self.written(key.get());
            if table.contains_key(&new) {
                return Err(fault!(BadManifest, "the dependencies name {new} twice"));
            }
            named.extend(new.split_once('/').map(|(registry, _)| registry.to_owned()));
            let key = if new == key.get() { key } else { Key::new(new).with_leaf_decor(key.leaf_decor().clone()) };
            table.insert_formatted(&key, item);
        }
        Ok(named)
    }
}

/// Writes the table `[origin]`.
///
/// # Errors
/// `bad-manifest`.
pub fn set_origin(text: &str, origin: &Upstream) -> Result<String> {
    edit(text, |document| {
        let fields = [
            ("registry", origin.registry.to_string()),
            ("id", origin.id.to_string()),
            ("package", origin.package.to_string()),
            ("version", origin.version.to_string()),
            ("content", origin.content.to_string()),
            ("log", origin.log.to_string()),
            ("record", origin.record.to_string()),
            ("checkpoint", origin.checkpoint.to_string()),
        ];
        let fresh = || {
            let mut table = Table::new();
            table.decor_mut().set_prefix(ABOUT);
            Item::Table(table)
        };
        if let Some(table) = document.entry("origin").or_insert_with(fresh).as_table_like_mut() {
            fields.into_iter().for_each(|(field, value)| set(table, field, value.into()));
        }
        Ok(())
    })
}

/// What comes of three texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The text.
    pub text: String,
    /// What was taken over, each in a few words.
    pub taken: Vec<String>,
    /// What both sides changed, each in a few words; ours stands.
    pub conflicts: Vec<String>,
}

/// Merges the `quipu.toml` of a fork with what its origin made of its own since; the origin's two are written as the fork's
/// ([`Becoming::apply`]). What the fork did not change itself follows the origin; name and registry stay, and so does the version once it is the
/// fork's own.
///
/// # Errors
/// `bad-manifest`.
pub fn merge(base: &str, ours: &str, theirs: &str) -> Result<Merged> {
    let read = |text: &str| text.parse::<DocumentMut>().map_err(|why| fault!(BadManifest, "{}", why.message()));
    let (base, theirs) = (read(base)?, read(theirs)?);
    let mut merged = Merged::default();
    let (taken, conflicts) = (&mut merged.taken, &mut merged.conflicts);
    merged.text = edit(ours, |document| {
        let package = document.entry("package").or_insert_with(toml_edit::table);
        if let Some(package) = package.as_table_like_mut() {
            for field in FIELDS {
                let (was, is) = (at(&base, "package", field), at(&theirs, "package", field));
                let own = package.get(field);
                match outcome(was, own, is) {
                    Outcome::Keep => {}
                    // The version is the fork's own to choose.
                    Outcome::Conflict if *field == "version" => {}
                    Outcome::Conflict => conflicts.push(format!("{field} in [package]")),
                    Outcome::Take => {
                        taken.push(words(field, own, is));
                        put(package, field, is);
                    }
                }
            }
        }
        let mut names: Vec<String> = Vec::new();
        for side in [&base, &theirs] {
            let table = side.get("dependencies").and_then(Item::as_table_like);
            names.extend(table.into_iter().flat_map(|table| table.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>()));
        }
        names.sort();
        names.dedup();
        for name in names {
            let (was, is) = (at(&base, "dependencies", &name), at(&theirs, "dependencies", &name));
            let table = document.get("dependencies").and_then(Item::as_table_like);
            let own = table.and_then(|table| table.get(&name));
            match outcome(was, own, is) {
                Outcome::Keep => {}
                Outcome::Conflict => conflicts.push(format!("the dependency {name}")),
                Outcome::Take => {
                    taken.push(words(&name, own, is));
                    let table = document.entry("dependencies").or_insert_with(toml_edit::table);
                    if let Some(table) = table.as_table_like_mut() {
                        put(table, &name, is);
                    }
                }
            }
        }
        let known = theirs.get("registries").and_then(Item::as_table_like);
        for (name, item) in known.into_iter().flat_map(|known| known.iter().collect::<Vec<_>>()) {
            let mut fresh = Table::new();
            fresh.set_implicit(true);
            let table = document.entry("registries").or_insert(Item::Table(fresh));
            if let Some(table) = table.as_table_like_mut()
                && !table.contains_key(name)
            {
                let mut item = item.clone();
                if let Some(table) = item.as_table_mut() {
                    // Where it stood in the other text says nothing here.
                    table.set_position(None);
                }
                table.insert(name, item);
            }
        }
        Ok(())
    })?;
    Ok(merged)
}

enum Outcome {
    Keep,
    Take,
    Conflict,
}

fn outcome(was: Option<&Item>, own: Option<&Item>, is: Option<&Item>) -> Outcome {
    let (was, own, is) = (plain(was), plain(own), plain(is));
    if is == was || is == own {
        Outcome::Keep
    } else if own == was {
        Outcome::Take
    } else {
        Outcome::Conflict
    }
}

fn at<'d>(document: &'d DocumentMut, table: &str, key: &str) -> Option<&'d Item> {
    document.get(table).and_then(Item::as_table_like).and_then(|table| table.get(key))
}

/// Writes a value in the one way that does not depend on how it was laid out.
fn plain(item: Option<&Item>) -> Option<String> {
    fn of_table(table: &dyn TableLike) -> String {
        let fields: BTreeMap<&str, String> =
            table.iter().filter_map(|(key, item)| plain(Some(item)).map(|text| (key, text))).collect();
        match (fields.len(), fields.get("version")) {
            // A requirement alone is spelled in two ways.
            (1, Some(version)) => version.clone(),
            _ => format!("{fields:?}"),
        }
    }
    match item? {
        Item::None => None,
        Item::Value(Value::Array(array)) => {
            Some(format!("{:?}", array.iter().map(|value| value.as_str().unwrap_or_default()).collect::<Vec<_>>()))
        }
        item => Some(match (item.as_str(), item.as_table_like()) {
            (Some(text), _) => format!("{text:?}"),
            (_, Some(table)) => of_table(table),
            _ => item.to_string().trim().to_owned(),
        }),
    }
}

fn words(what: &str, own: Option<&Item>, is: Option<&Item>) -> String {
    match (plain(own), plain(is)) {
        (None, Some(is)) => format!("{what} {is}"),
        (Some(own), Some(is)) => format!("{what} {own} → {is}"),
        _ => format!("{what} goes"),
    }
}

fn put(table: &mut dyn TableLike, key: &str, new: Option<&Item>) {
    match new {
        None => drop(table.remove(key)),
        Some(Item::Value(value)) => set(table, key, value.clone()),
        Some(other) => drop(table.insert(key, other.clone())),
    }
}

/// Sets a value; what stands behind it in the line stays.
fn set(table: &mut dyn TableLike, key: &str, mut new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(value) => {
            *new.decor_mut() = value.decor().clone();
            *value = new;
        }
        None => {
            new.decor_mut().clear();
            drop(table.insert(key, Item::Value(new)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[package]\nname = \"demo:hello\" # the name\nversion = \"1.0.0\"\n\n[dependencies]\n# io\n\
                        \"demo:io\" = \"^1\" # one\n\"b.example/demo:x\" = { version = \"2\" }\n\"c.example/demo:y\" = \"3\"\n";

    fn becoming<'a>(from: &'a RegistryName, to: &'a FullName, version: &'a Version) -> Becoming<'a> {
        let known = [("c.example".parse().unwrap(), RegistryId::of_bytes(b"c"))].into();
        Becoming { from: (from, RegistryId::of_bytes(b"a")), url: Some("https://a.example/r.git"), to, version, known }
    }

    #[test]
    fn names_mean_in_the_new_registry_what_they_meant_in_the_old_one() -> Result<()> {
        let (from, version) = ("a.example".parse()?, "1.0.0".parse()?);
        let to = "b.example/me:hello".parse()?;
        let new = becoming(&from, &to, &version).apply(TEXT)?;
        let project = Project::parse(&new)?;
        let names: Vec<String> = project.dependencies(&to.registry, |_| None)?.iter().map(|d| d.name()).collect();
        assert_eq!(names, ["a.example/demo:io", "c.example/demo:y", "demo:x"]);
        let package = project.package()?;
        assert_eq!((&package.name, package.registry.as_ref()), (&to.package, Some(&to.registry)));
        assert!(new.starts_with("# mine\n[package]\nregistry = \"b.example\"\nname = \"me:hello\" # the name\n"), "{new}");
        assert!(new.contains("# io\n\"a.example/demo:io\" = \"^1\" # one\n\"demo:x\""), "{new}");
        assert_eq!(project.registries[&from].url.as_deref(), Some("https://a.example/r.git"));
        Ok(())
    }

    #[test]
    fn in_the_same_registry_dependencies_stay_as_they_are() -> Result<()> {
        let (from, version) = ("a.example".parse()?, "1.0.0".parse()?);
        let new = becoming(&from, &"a.example/me:hello".parse()?, &version).apply(TEXT)?;
        assert!(new.contains("# io\n\"demo:io\" = \"^1\" # one\n\"b.example/demo:x\""), "{new}");
        assert!(!new.contains("registries.\"a.example\""), "{new}");
        Ok(())
    }

    #[test]
    fn a_fork_follows_in_what_it_did_not_change() -> Result<()> {
        let base = "[package]\nname = \"a:b\"\nversion = \"1.0.0\"\ndescription = \"old\"\nlicense = \"MIT\"\n[dependencies]\n\"a:one\" = \"1\"\n\"a:two\" = \"1\"\n\"a:three\" = \"1\"\n";
        let theirs = "[package]\nname = \"a:b\"\nversion = \"2.0.0\"\ndescription = \"new\"\nlicense = \"Apache-2.0\"\n[dependencies]\n\"a:one\" = { version = \"2\" }\n\"a:three\" = \"3\"\n\"a:four\" = \"4\"\n";
        let ours = "[package]\nname = \"me:b\"\nversion = \"1.0.0\"\ndescription = \"old\" # said\nlicense = \"ISC\"\n[dependencies]\n\"a:one\" = \"1\"\n\"a:two\" = \"1\"\n\"a:three\" = \"2\"\n\"me:own\" = \"1\"\n";
        let merged = merge(base, ours, theirs)?;
        let project = Project::parse(&merged.text)?;
        let package = project.package()?;
        assert_eq!(package.name.to_string(), "me:b");
        assert_eq!((package.version.to_string(), package.description.as_deref()), ("2.0.0".into(), Some("new")));
        assert_eq!(package.license.as_deref(), Some("ISC"));
        assert!(merged.text.contains("description = \"new\" # said"), "{}", merged.text);
        let names: Vec<String> =
            project.dependencies.iter().map(|needed| format!("{} {}", needed.package, needed.requirement)).collect();
        assert_eq!(names, ["a:four ^4", "a:one ^2", "a:three ^2", "me:own ^1"]);
        assert_eq!(merged.conflicts, ["license in [package]", "the dependency a:three"]);
        let again = merge(theirs, &merged.text, theirs)?;
        assert_eq!((again.text, again.taken.len()), (merged.text, 0));
        Ok(())
    }

    #[test]
    fn a_version_of_ones_own_stays() -> Result<()> {
        let of = |version: &str| format!("[package]\nname = \"a:b\"\nversion = \"{version}\"\n");
        let merged = merge(&of("1.0.0"), &of("1.0.0-patched"), &of("2.0.0"))?;
        assert_eq!((merged.text, merged.conflicts.len()), (of("1.0.0-patched"), 0));
        Ok(())
    }

    #[test]
    fn the_origin_is_written_and_written_anew() -> Result<()> {
        let mut origin = Upstream {
            registry: "a.example".parse()?,
            id: RegistryId::of_bytes(b"a"),
            package: "demo:hello".parse()?,
            version: "1.0.0".parse()?,
            content: ContentDigest::of_bytes(b"content"),
            log: LogId::of_bytes(b"log"),
            record: RecordDigest::of_bytes(b"record"),
            checkpoint: RecordDigest::of_bytes(b"checkpoint"),
        };
        let text = set_origin(TEXT, &origin)?;
        assert_eq!(Project::parse(&text)?.origin, Some(origin.clone()));
        assert!(text.starts_with(TEXT), "{text}");
        origin.version = "2.0.0".parse()?;
        let again = set_origin(&text, &origin)?;
        assert_eq!(again, text.replace("version = \"1.0.0\"\ncontent", "version = \"2.0.0\"\ncontent"));
        Ok(())
    }
}
