//! The map of a registry: which log ends in which record, as one git tree.
//!
//! The tree of every checkpoint is a map. Its leaves are gitlinks (mode 160000) to the last records of logs, and one blob a
//! mirror:
//!
//! ```text
//! attestations/<domain>/<ns>.<name>   the head of an attestation log
//! mirrors/<domain>/held               what is kept of that registry, a blob (mode 100644)
//! mirrors/<domain>/log                the head of the registry log of a mirrored registry
//! packages/<ns>/<name>                the head of a package log
//! packages/<ns>/<name>.decisions      the head of its decision log
//! skip                                the checkpoint that `model::skip` names; absent in checkpoint 0
//! ```
//!
//! A map has one shape, which follows from its entries alone:
//!
//! 1. `packages` (of namespaces), each namespace (of packages), `attestations` (of domains), each domain in it (of
//!    packages) and `mirrors` (of domains) are folders of names. A package and its decisions are one name.
//! 2. A folder of at most [`FOLDER_NAMES`] names holds them as they are. In a larger one all names stand in folders `_0` to
//!    `_f` by the first half-byte (the high one) of the SHA-256 of the name (without `.decisions`), and so on with the next
//!    half-byte in each of those that holds more than [`FOLDER_NAMES`].
//! 3. No folder is empty; a map of nothing is the empty tree.
//! 4. Decisions stand beside a package, `held` beside a `log`.
//!
//! So a name is looked up, and its absence proven, by the few trees on its path; a namespace is one subtree; and where two maps
//! agree their trees are the same.
//!
//! 128 names and 16 folders were chosen by measuring. A proof is the trees on one path, and most of its bytes are the neighbours
//! in them: with 256 names and 256 folders a proof has 15.4 KB where 1,000 namespaces hold 1,000 packages each, and with these 5.6 KB, in
//! 17,018 trees instead of 251,252. In one namespace of 1,000,000 packages it has 2.6 KB instead of 16.1 KB, for two more trees
//! on the path.

use super::digest::{GitId, ObjectFormat, ObjectKind};
use super::error::{Error, ErrorCode, Result, fault};
use super::name::{Label, RegistryName};
use super::object::{ReadObjects, WriteObjects};
use super::slot::{ATTESTATIONS, DECISIONS, HELD, LOG, MIRRORS, PACKAGES, SKIP, Slot, attestation_slot, package_slot};
use super::tree::{EntryRef, Mode, git_order, parse_entries, write_entry};
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// The number of names that a folder holds before they move into folders by their hashes.
pub const FOLDER_NAMES: usize = 128;

/// The largest tree that can belong to a map, in bytes. The fullest is a folder of 128 domains of 253 bytes each.
const TREE_MAX: u64 = 40 * 1024;

/// What a look into a map that may lack trees came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The id that stands there.
    Found(GitId),
    /// Nothing stands there, and the trees read prove it.
    Absent,
    /// This tree must be had first.
    Missing(GitId),
}

/// How many packages a part of a map has, as far as it can be known from outside. It decides how much is fetched at once, and nothing
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// At most so many, as hashes spread them.
    pub most: u64,
    /// So many, if all namespaces have the same number.
    pub likely: u64,
    /// Whether it is a namespace or a part of one; else it has namespaces in it.
    pub is_of_names: bool,
}

impl Size {
    /// Begins with a whole map.
    pub fn of(packages: u64) -> Self {
        Size { most: packages, likely: packages, is_of_names: false }
    }

    /// Goes on with one of so many parts of a folder that is split.
    fn divide(&mut self, parts: u64) {
        if self.is_of_names {
            // Parts are not all of one size; what is split has more names than a folder holds.
            self.most = (self.most / parts).saturating_add(self.most / parts / 4).saturating_add(32);
            self.likely = self.likely.max(FOLDER_NAMES as u64 + 1);
        }
        self.likely /= parts;
    }
}

impl From<Option<GitId>> for Lookup {
    fn from(found: Option<GitId>) -> Self {
        found.map_or(Lookup::Absent, Lookup::Found)
    }
}

/// One difference between two maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The place.
    pub slot: Slot,
    /// What stood there.
    pub old: Option<GitId>,
    /// What stands there now.
    pub new: Option<GitId>,
}

/// A map, named by its root tree. Trees are read when they are needed, and each that is read is held against the one shape it
/// may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    root: GitId,
}

impl Map {
    /// Takes the tree of a checkpoint for its map. Nothing is read yet.
    pub fn at(root: GitId) -> Self {
        Map { root }
    }

    /// Returns the map without entries. Its tree need not be among the objects to be read.
    pub fn empty(format: ObjectFormat) -> Self {
        Map { root: format.empty_tree() }
    }

    /// Returns the id of the root tree.
    pub fn root(&self) -> GitId {
        self.root
    }

    /// Builds the map of these entries.
    ///
    /// # Errors
    /// Those of [`Map::update`].
    pub fn build(objects: &mut impl WriteObjects, all: &BTreeMap<Slot, GitId>) -> Result<Self> {
        let changes = all.iter().map(|(slot, id)| (slot, Some(*id)));
        Map::empty(objects.format()).apply(objects, changes, &mut |_, _| {})
    }

    /// Looks up what stands in one place, and reads the trees on its path only.
    ///
    /// # Errors
    /// `bad-map` where one of those trees has not the shape of a map, `corrupt-object` where one is missing or damaged.
    pub fn get(&self, objects: &impl ReadObjects, slot: &Slot) -> Result<Option<GitId>> {
        match self.lookup(objects, slot)? {
            Lookup::Found(id) => Ok(Some(id)),
            Lookup::Absent => Ok(None),
            Lookup::Missing(tree) => Err(missing(tree).at(format!("map entry {slot}"))),
        }
    }

    /// Looks up what stands in one place where trees may be missing, and says which tree is needed next.
    ///
    /// # Errors
    /// `bad-map` where a tree on the path has not the shape of a map, `corrupt-object` where one is damaged.
    pub fn lookup(&self, objects: &impl ReadObjects, slot: &Slot) -> Result<Lookup> {
        self.lookup_sized(objects, slot, &mut Size::of(u64::MAX))
    }

    /// Looks up as [`Map::lookup`] does, in a map of which `size` says how many packages it has; where a tree is missing, `size` says
    /// afterwards how many are in that tree.
    ///
    /// # Errors
    /// Those of [`Map::lookup`].
    pub fn lookup_sized(&self, objects: &impl ReadObjects, slot: &Slot, size: &mut Size) -> Result<Lookup> {
        let Some(bytes) = load(objects, self.root, &"the map")? else {
            return Ok(Lookup::Missing(self.root));
        };
        let top = Top::parse(objects.format(), &bytes)?;
        let Some((folder, tree)) = top.folder_of(slot) else {
            return Ok(top.skip.into());
        };
        let Some(tree) = tree else { return Ok(Lookup::Absent) };
        let inner = match Place::top(folder.clone()).find(objects, tree, slot.folder(), size)? {
            Lookup::Found(inner) => inner,
            other => return Ok(other),
        };
        if let Some(below) = folder.below(slot.folder())? {
            size.is_of_names = true;
            return Place::top(below).find(objects, inner, &slot.entry(), size);
        }
        match load(objects, inner, &format_args!("{MIRRORS}/{}", slot.folder()))? {
            Some(bytes) => Ok(Mirror::parse(objects.format(), slot.folder(), &bytes)?.get(slot).into()),
            None => Ok(Lookup::Missing(inner)),
        }
    }

    /// Puts ids into places and takes what is `None` away, all at once; each tree that changes is written once. The result is
    /// the map that [`Map::build`] makes of the same entries. Taking away what is not there changes nothing.
    ///
    /// # Errors
    /// `bad-map` where a tree on the way has not the shape of a map, or where the result would break rule 4 or hold an id
    /// of another object format; `corrupt-object` where one is missing or damaged; `io` where one could not be written.
    pub fn update(&self, objects: &mut impl WriteObjects, changes: &BTreeMap<Slot, Option<GitId>>) -> Result<Self> {
        self.replace(objects, changes, &mut |_, _| {})
    }

    /// Does the same, and says of each package, decision log and attestation log that changes what stood there, where something did.
    ///
    /// # Errors
    /// Those of [`Map::update`].
    pub fn replace(
        &self,
        objects: &mut impl WriteObjects,
        changes: &BTreeMap<Slot, Option<GitId>>,
        stood: &mut dyn FnMut(&Slot, GitId),
    ) -> Result<Self> {
        self.apply(objects, changes.iter().map(|(slot, id)| (slot, *id)), stood)
    }

    fn apply<'a>(
        &self,
        objects: &mut impl WriteObjects,
        changes: impl Iterator<Item = (&'a Slot, Option<GitId>)>,
        stood: &mut dyn FnMut(&Slot, GitId),
    ) -> Result<Self> {
        let mut top = Top::read(objects, self.root)?;
        let mut edits = [const { Vec::new() }; 3];
        for (slot, id) in changes {
            if let Some(id) = id.filter(|id| id.format() != objects.format()) {
                let (found, expected) = (id.format(), objects.format());
                return Err(fault!(BadMap, "map entry {slot}: {id} is a {found} id, expected {expected}"));
            }
            match TOP.iter().position(|folder| folder.holds(slot)) {
                Some(index) => edits[index].push((slot, id)),
                None => top.skip = id,
            }
        }
        for ((folder, tree), edits) in TOP.into_iter().zip(&mut top.folders).zip(edits) {
            if !edits.is_empty() {
                *tree = edit_folder(objects, folder, *tree, edits, stood)?;
            }
        }
        let root = objects.write(ObjectKind::Tree, &top.to_bytes())?;
        Ok(Map { root })
    }

    /// Visits every entry and checks the whole shape on the way: only when this has come to its end without an error is
    /// the map proven to be one.
    ///
    /// It goes folder by folder as git sorts them, `skip` last; in a folder that is split the names come by their hashes, elsewhere
    /// in the order of [`Slot`]. One tree a level is held in memory.
    ///
    /// Namespaces, or domains, can share trees, so that a stranger's map of a few trees may unfold into a great many entries. An error of
    /// `visit` ends the walk: stop after as many packages as the checkpoint states, and at the first head whose record belongs
    /// to another slot (a head that belongs where it stands stands nowhere else). There is no work without visits: every folder
    /// that is read leads to an entry or to an error.
    ///
    /// # Errors
    /// Those of `visit`; `bad-map` with the path of the tree that has not the shape of a map, `corrupt-object` where a
    /// tree is missing or damaged.
    pub fn for_each(&self, objects: &impl ReadObjects, visit: &mut dyn FnMut(Slot, GitId) -> Result<()>) -> Result<()> {
        let top = Top::read(objects, self.root)?;
        for part in top.parts() {
            part.for_each(objects, visit)?;
        }
        top.skip.map_or(Ok(()), |id| visit(Slot::Skip, id))
    }

    /// Proves that the whole map has the one shape that its entries ask for, and returns the number of its packages. It
    /// gives up after `most` entries, since a stranger's map of a few trees may have a great many.
    ///
    /// # Errors
    /// `limit` where there are more than `most` entries; `bad-map` with the path of the tree that has not the shape of a map,
    /// `corrupt-object` where a tree is missing or damaged.
    pub fn check(&self, objects: &impl ReadObjects, most: u64) -> Result<u64> {
        let (mut entries, mut packages) = (0, 0);
        self.for_each(objects, &mut |slot, _| {
            if entries == most {
                return Err(fault!(Limit, "the map has more than {most} entries"));
            }
            entries += 1;
            packages += u64::from(matches!(slot, Slot::Package(_)));
            Ok(())
        })?;
        Ok(packages)
    }

    /// Returns all namespaces that hold a package, sorted, without reading the namespaces themselves.
    ///
    /// # Errors
    /// Those of [`Map::get`], as far as the trees above the namespaces go.
    pub fn namespaces(&self, objects: &impl ReadObjects) -> Result<Vec<Label>> {
        let mut namespaces = Vec::new();
        for part in Top::read(objects, self.root)?.parts() {
            if part.place.folder == Folder::Namespaces {
                part.walk(objects, &mut |name, _| {
                    namespaces.push(name.parse()?);
                    Ok(())
                })?;
            }
        }
        namespaces.sort_unstable();
        Ok(namespaces)
    }

    /// Returns the part of the map that holds all packages and decisions of one namespace; `None` where it has none.
    ///
    /// # Errors
    /// Those of [`Map::get`].
    pub fn packages_of(&self, objects: &impl ReadObjects, namespace: &Label) -> Result<Option<SubMap>> {
        let top = Top::read(objects, self.root)?;
        let namespaces = top.parts().find(|part| part.place.folder == Folder::Namespaces);
        let Some(SubMap { place, tree }) = namespaces else {
            return Ok(None);
        };
        match place.find(objects, tree, namespace.as_str(), &mut Size::of(u64::MAX))? {
            Lookup::Found(tree) => Ok(Some(SubMap::new(Folder::Packages(namespace.clone()), tree))),
            Lookup::Absent => Ok(None),
            Lookup::Missing(tree) => Err(missing(tree).at(format!("namespace {namespace}"))),
        }
    }

    /// Returns the part of the map that holds all packages and decisions; `None` where there are none.
    ///
    /// # Errors
    /// Those of [`Map::get`], as far as the uppermost tree goes.
    pub fn packages(&self, objects: &impl ReadObjects) -> Result<Option<SubMap>> {
        Ok(Top::read(objects, self.root)?.parts().find(|part| part.place.folder == Folder::Namespaces))
    }

    /// Visits the namespaces or, within one, the packages, as far as their trees are here, and says whether all of them are. It is for
    /// suggestions: that a name is not visited proves nothing, and what is visited is not all checked.
    ///
    /// # Errors
    /// `bad-map` where a tree on the way has not the shape of a map, `corrupt-object` where one is damaged; what was visited by then was there.
    pub fn names_here(&self, objects: &impl ReadObjects, within: Option<&Label>, visit: &mut dyn FnMut(&str)) -> Result<bool> {
        let Some(bytes) = load(objects, self.root, &"the map")? else { return Ok(false) };
        let namespaces = Top::parse(objects.format(), &bytes)?.parts().find(|part| part.place.folder == Folder::Namespaces);
        let Some(namespaces) = namespaces else { return Ok(true) };
        let Some(namespace) = within else { return namespaces.names_here(objects, visit) };
        match namespaces.place.find(objects, namespaces.tree, namespace.as_str(), &mut Size::of(u64::MAX))? {
            Lookup::Found(tree) => SubMap::new(Folder::Packages(namespace.clone()), tree).names_here(objects, visit),
            Lookup::Absent => Ok(true),
            Lookup::Missing(_) => Ok(false),
        }
    }

    /// Takes the map apart into at least this many parts where it has that many folders, each to be walked on its own, by
    /// another thread for one. Together they hold every entry but `skip`; where all of them are walked without an error, the map has
    /// been checked as by [`Map::for_each`].
    ///
    /// # Errors
    /// Those of [`Map::get`], as far as the trees above the parts go.
    pub fn subtrees(&self, objects: &impl ReadObjects, at_least: usize) -> Result<Vec<SubMap>> {
        let mut waiting: VecDeque<SubMap> = Top::read(objects, self.root)?.parts().collect();
        let mut whole = Vec::new();
        while waiting.len() + whole.len() < at_least {
            let Some(part) = waiting.pop_front() else { break };
            match part.divide(objects)? {
                Some(parts) => waiting.extend(parts),
                None => whole.push(part),
            }
        }
        whole.extend(waiting);
        Ok(whole)
    }

    /// Reports every place where two maps differ, and reads only trees that differ.
    ///
    /// It goes folder by folder as git sorts them, `skip` last; in a folder that is split in one of the two maps the names come
    /// by their hashes, elsewhere in the order of [`Slot`]. An error of `report` ends it; as with [`Map::for_each`], there may be a
    /// great many differences between few trees, and trees that differ lead to a difference or to an error.
    ///
    /// # Errors
    /// Those of `report`; `bad-map` where a tree that was read has not the shape of a map, `corrupt-object` where one is
    /// missing or damaged.
    pub fn diff(objects: &impl ReadObjects, old: Map, new: Map, report: &mut dyn FnMut(Change) -> Result<()>) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let (before, after) = (Top::read(objects, old.root)?, Top::read(objects, new.root)?);
        for ((folder, old), new) in TOP.into_iter().zip(before.folders).zip(after.folders) {
            diff_folders(objects, &Place::top(folder), old.into(), new.into(), report)?;
        }
        report_change(Slot::Skip, before.skip, after.skip, report)
    }
}

/// A part of a map that can be walked without the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubMap {
    place: Place,
    tree: GitId,
}

impl SubMap {
    fn new(folder: Folder, tree: GitId) -> Self {
        SubMap { place: Place::top(folder), tree }
    }

    /// Returns the id of the tree at its top.
    pub fn tree(&self) -> GitId {
        self.tree
    }

    /// Visits every entry of this part as [`Map::for_each`] does.
    ///
    /// # Errors
    /// Those of [`Map::for_each`].
    pub fn for_each(&self, objects: &impl ReadObjects, visit: &mut dyn FnMut(Slot, GitId) -> Result<()>) -> Result<()> {
        let mut below = |name: &str, id| match &self.place.folder {
            Folder::Packages(namespace) => visit(package_slot(namespace, name)?, id),
            Folder::Attestations(domain) => visit(attestation_slot(domain, name)?, id),
            Folder::Mirrors => Mirror::read(objects, name, id)?.for_each(&name.parse()?, visit),
            Folder::Namespaces => SubMap::new(Folder::Packages(name.parse()?), id).for_each(objects, visit),
            Folder::Domains => SubMap::new(Folder::Attestations(name.parse()?), id).for_each(objects, visit),
        };
        self.walk(objects, &mut below).map(drop)
    }

    /// Visits the entries of the folder itself and returns the number of its names.
    fn walk(&self, objects: &impl ReadObjects, visit: &mut dyn FnMut(&str, GitId) -> Result<()>) -> Result<usize> {
        match self.place.read(objects, self.tree)? {
            Shape::Flat(names) => {
                for (name, id) in &names {
                    visit(name, *id)?;
                }
                Ok(self.place.folder.count(&names))
            }
            Shape::Split(parts) => {
                let mut names = 0;
                for (half, tree) in parts {
                    let place = self.place.part(half);
                    names += SubMap { place, tree }.walk(objects, visit)?;
                }
                if names <= FOLDER_NAMES {
                    return Err(self.place.split_too_early(names));
                }
                Ok(names)
            }
        }
    }

    /// Visits the packages in those trees of this part that are here: namespace, name and head. The uppermost of the trees that are not
    /// here are put to `missing`, each to be visited on its own once it is here; that a folder is not split without need is not checked. As
    /// with [`Map::for_each`], an error of `visit` ends it: there may be more visits than packages.
    ///
    /// # Errors
    /// Those of `visit`; `bad-map` where a tree has not the shape of a map, `corrupt-object` where one is damaged.
    pub fn packages_here(
        &self,
        objects: &impl ReadObjects,
        missing: &mut Vec<SubMap>,
        visit: &mut dyn FnMut(&Label, &str, GitId) -> Result<()>,
    ) -> Result<()> {
        let Some(bytes) = load(objects, self.tree, &self.place)? else {
            missing.push(self.clone());
            return Ok(());
        };
        match (self.place.parse(objects.format(), &bytes)?, &self.place.folder) {
            (Shape::Split(parts), _) => parts.into_iter().try_for_each(|(half, tree)| {
                SubMap { place: self.place.part(half), tree }.packages_here(objects, missing, visit)
            }),
            (Shape::Flat(names), Folder::Packages(namespace)) => {
                let mut packages = names.iter().filter(|(entry, _)| !entry.ends_with(DECISIONS));
                packages.try_for_each(|(name, id)| visit(namespace, name, *id))
            }
            (Shape::Flat(names), Folder::Namespaces) => names.iter().try_for_each(|(name, tree)| {
                SubMap::new(Folder::Packages(name.parse()?), *tree).packages_here(objects, missing, visit)
            }),
            _ => Ok(()),
        }
    }

    /// Visits the names of the folder itself, and passes over parts that are not here.
    fn names_here(&self, objects: &impl ReadObjects, visit: &mut dyn FnMut(&str)) -> Result<bool> {
        let Some(bytes) = load(objects, self.tree, &self.place)? else { return Ok(false) };
        match self.place.parse(objects.format(), &bytes)? {
            Shape::Flat(names) => {
                for (name, _) in names.iter().filter(|(name, _)| self.place.folder.name_of(name) == name) {
                    visit(name);
                }
                Ok(true)
            }
            Shape::Split(parts) => {
                let mut all = true;
                for (half, tree) in parts {
                    all &= SubMap { place: self.place.part(half), tree }.names_here(objects, visit)?;
                }
                Ok(all)
            }
        }
    }

    /// Takes this part apart into the folders below it; `None` where there are none.
    fn divide(&self, objects: &impl ReadObjects) -> Result<Option<Vec<SubMap>>> {
        match self.place.read(objects, self.tree)? {
            Shape::Split(parts) => {
                self.place.expect_many(objects, &parts)?;
                let part = |(half, tree)| SubMap { place: self.place.part(half), tree };
                Ok(Some(parts.into_iter().map(part).collect()))
            }
            Shape::Flat(names) => {
                let parts = names.iter().map(|(name, tree)| {
                    let below = self.place.folder.below(name)?;
                    Ok(below.map(|folder| SubMap::new(folder, *tree)))
                });
                parts.collect()
            }
        }
    }
}

/// The folders of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Folder {
    /// `packages`
    Namespaces,
    /// `packages/<ns>`
    Packages(Label),
    /// `attestations`
    Domains,
    /// `attestations/<domain>`
    Attestations(RegistryName),
    /// `mirrors`
    Mirrors,
}

impl Folder {
    /// Returns what the entries are.
    fn mode(&self) -> Mode {
        match self {
            Folder::Namespaces | Folder::Domains | Folder::Mirrors => Mode::Tree,
            Folder::Packages(_) | Folder::Attestations(_) => Mode::Gitlink,
        }
    }

    /// Says whether a slot is in this folder of the top, or below it.
    fn holds(&self, slot: &Slot) -> bool {
        match slot {
            Slot::Package(_) | Slot::Decisions(_) => *self == Folder::Namespaces,
            Slot::Attestation(..) => *self == Folder::Domains,
            Slot::MirrorLog(_) | Slot::MirrorHeld(_) => *self == Folder::Mirrors,
            Slot::Skip => false,
        }
    }

    /// Returns the name in this folder that a slot belongs to.
    fn name_for(&self, slot: &Slot) -> String {
        match self {
            Folder::Namespaces | Folder::Domains | Folder::Mirrors => slot.folder().to_owned(),
            Folder::Packages(_) | Folder::Attestations(_) => self.name_of(&slot.entry()).to_owned(),
        }
    }

    /// Returns the folder of names below one name, where there is one.
    fn below(&self, name: &str) -> Result<Option<Folder>> {
        Ok(match self {
            Folder::Namespaces => Some(Folder::Packages(name.parse()?)),
            Folder::Domains => Some(Folder::Attestations(name.parse()?)),
            Folder::Mirrors | Folder::Packages(_) | Folder::Attestations(_) => None,
        })
    }

    /// Returns the name that an entry belongs to: of a package's decisions, the package.
    fn name_of<'a>(&self, entry: &'a str) -> &'a str {
        match self {
            Folder::Packages(_) => entry.strip_suffix(DECISIONS).unwrap_or(entry),
            _ => entry,
        }
    }

    /// Counts the names among entries; a package's decisions do not count.
    fn count(&self, entries: &Names) -> usize {
        let is_name = |entry: &&(String, GitId)| self.name_of(&entry.0).len() == entry.0.len();
        entries.iter().filter(is_name).count()
    }

    /// Checks that an entry has a name that belongs here.
    fn check_name(&self, entry: &str) -> Result<()> {
        match self {
            Folder::Namespaces | Folder::Packages(_) => self.name_of(entry).parse::<Label>().map(drop),
            Folder::Domains | Folder::Mirrors => entry.parse::<RegistryName>().map(drop),
            Folder::Attestations(domain) => attestation_slot(domain, entry).map(drop),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Folder::Namespaces => f.write_str(PACKAGES),
            Folder::Packages(namespace) => write!(f, "{PACKAGES}/{}", namespace.as_str()),
            Folder::Domains => f.write_str(ATTESTATIONS),
            Folder::Attestations(domain) => write!(f, "{ATTESTATIONS}/{}", domain.as_str()),
            Folder::Mirrors => f.write_str(MIRRORS),
        }
    }
}

/// Where a tree stands: a folder of names or, where that is split, the part for the names whose hashes begin with these half-bytes.
/// It prints as its path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    folder: Folder,
    prefix: Vec<u8>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)?;
        self.prefix.iter().try_for_each(|half| write!(f, "/{}", part_name(*half)))
    }
}

/// The SHA-256 of a name in half-bytes, the high one of each byte first.
type Hash = [u8; HASH_LEN];
const HASH_LEN: usize = 64;

fn hash(name: &str) -> Hash {
    let mut halves = [0; HASH_LEN];
    halves_of(&Sha256::digest(name.as_bytes())).zip(&mut halves).for_each(|(half, place)| *place = half);
    halves
}

fn halves_of(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15])
}

/// Returns the name of the folder for the names whose next half-byte is this one.
fn part_name(half: u8) -> String {
    format!("_{half:x}")
}

fn part_half(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'_', digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [b'_', digit @ b'a'..=b'f'] => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Entries of a folder, in git's order. Their modes are the folder's.
type Names = Vec<(String, GitId)>;

/// Folders `_0` to `_f`, by their half-bytes and in their order.
type Parts = Vec<(u8, GitId)>;

/// What one tree of a folder holds.
enum Shape {
    /// Names as they are; while a folder changes there may be none.
    Flat(Names),
    /// Folders, since the names are more than [`FOLDER_NAMES`].
    Split(Parts),
}

impl Place {
    fn top(folder: Folder) -> Self {
        Place { folder, prefix: Vec::new() }
    }

    fn part(&self, half: u8) -> Self {
        Place { folder: self.folder.clone(), prefix: [&self.prefix[..], &[half]].concat() }
    }

    fn depth(&self) -> usize {
        self.prefix.len()
    }

    fn read(&self, objects: &impl ReadObjects, tree: GitId) -> Result<Shape> {
        self.parse(objects.format(), &need(objects, tree, self)?)
    }

    /// Reads a tree of a folder, and checks all that can be seen from this tree alone.
    fn parse(&self, format: ObjectFormat, bytes: &[u8]) -> Result<Shape> {
        let shape = parse(format, bytes).and_then(|entries| {
            if entries.is_empty() {
                return Err(fault!(BadMap, "the folder is empty, expected none"));
            }
            if entries.iter().any(|entry| entry.name.starts_with('_')) {
                self.parts(&entries).map(Shape::Split)
            } else {
                self.names(&entries).map(Shape::Flat)
            }
        });
        shape.map_err(|error| match error.code() {
            // A name that breaks the grammar of names.
            ErrorCode::BadName | ErrorCode::BadReference => fault!(BadMap, "{}", error.message()).at(self),
            _ => error.at(self),
        })
    }

    fn names(&self, entries: &[EntryRef<'_>]) -> Result<Names> {
        let mut count = 0;
        for entry in entries {
            expect_mode(entry, self.folder.mode())?;
            self.folder.check_name(entry.name)?;
            let name = self.folder.name_of(entry.name);
            if name.len() < entry.name.len() {
                if entries.binary_search_by(|other| other.name.cmp(name)).is_err() {
                    return Err(fault!(BadMap, "{:?} stands there without {name:?}", entry.name));
                }
                continue;
            }
            count += 1;
            if !self.prefix.is_empty() {
                let hash = Sha256::digest(name.as_bytes());
                if !halves_of(&hash).zip(&self.prefix).all(|(half, expected)| half == *expected) {
                    let place = Place { folder: self.folder.clone(), prefix: halves_of(&hash).take(self.depth()).collect() };
                    return Err(fault!(BadMap, "{name:?} stands here, expected in {place}"));
                }
            }
        }
        if count > FOLDER_NAMES {
            return Err(fault!(BadMap, "the folder holds {count} names, expected folders _0 to _f beyond {FOLDER_NAMES}"));
        }
        Ok(entries.iter().map(|entry| (entry.name.to_owned(), entry.id)).collect())
    }

    fn parts(&self, entries: &[EntryRef<'_>]) -> Result<Parts> {
        if self.depth() >= HASH_LEN {
            return Err(fault!(BadMap, "the folder is split further than a hash is long"));
        }
        let part = |entry: &EntryRef<'_>| {
            let half = part_half(entry.name).ok_or_else(|| fault!(BadMap, "{:?} stands beside folders _0 to _f", entry.name))?;
            expect_mode(entry, Mode::Tree)?;
            Ok((half, entry.id))
        };
        entries.iter().map(part).collect()
    }

    /// Finds an entry of a folder, through the folders it may be split into.
    fn find(mut self, objects: &impl ReadObjects, mut tree: GitId, entry: &str, size: &mut Size) -> Result<Lookup> {
        let mode = self.folder.mode();
        let hash = hash(self.folder.name_of(entry));
        loop {
            let Some(bytes) = load(objects, tree, &self)? else {
                return Ok(Lookup::Missing(tree));
            };
            match self.parse(objects.format(), &bytes)? {
                Shape::Flat(names) => {
                    let index = names.binary_search_by(|(name, _)| git_order((name, mode), (entry, mode)));
                    size.likely /= names.len() as u64;
                    return Ok(index.ok().map(|index| names[index].1).into());
                }
                Shape::Split(parts) => {
                    // What is split deeper than a hash is long was refused.
                    let half = hash[self.depth()];
                    size.divide(parts.len() as u64);
                    match parts.binary_search_by_key(&half, |(half, _)| *half) {
                        Ok(index) => tree = parts[index].1,
                        Err(_) => return Ok(Lookup::Absent),
                    }
                    self.prefix.push(half);
                }
            }
        }
    }

    /// Divides names by the next half-byte of their hashes. There is a next one: names of one whole hash are not known, so that they are
    /// never too many, and what is split deeper than a hash is long was refused.
    fn divide(&self, names: Names) -> BTreeMap<u8, Names> {
        let mut parts: BTreeMap<u8, Names> = BTreeMap::new();
        for (entry, id) in names {
            let half = hash(self.folder.name_of(&entry))[self.depth()];
            parts.entry(half).or_default().push((entry, id));
        }
        parts
    }

    /// Reads the names in these parts, as long as they and `others` are no more than a folder holds unsplit; `None` where they are.
    fn few(&self, objects: &impl ReadObjects, others: usize, parts: &Parts) -> Result<Option<Names>> {
        // Every part that is not read yet counts for the one name that it has at least.
        let mut count = others + parts.len();
        let mut all = Names::new();
        for (half, tree) in parts {
            if count > FOLDER_NAMES {
                break;
            }
            match self.part(*half).read(objects, *tree)? {
                Shape::Flat(names) => {
                    count += self.folder.count(&names) - 1;
                    all.extend(names);
                }
                Shape::Split(_) => return Ok(None),
            }
        }
        Ok((count <= FOLDER_NAMES).then_some(all))
    }

    /// Checks that a folder is not split without need, as far as it is seen without reading all of it.
    fn expect_many(&self, objects: &impl ReadObjects, parts: &Parts) -> Result<()> {
        match self.few(objects, 0, parts)? {
            Some(names) => Err(self.split_too_early(self.folder.count(&names))),
            None => Ok(()),
        }
    }

    fn split_too_early(&self, names: usize) -> Error {
        fault!(BadMap, "{names} names stand in folders _0 to _f, expected them as they are up to {FOLDER_NAMES}").at(self)
    }
}

fn missing(tree: GitId) -> Error {
    fault!(CorruptObject, "tree {tree} is missing")
}

/// Reads the bytes of a tree; `None` where it is missing.
fn load(objects: &impl ReadObjects, tree: GitId, place: &dyn fmt::Display) -> Result<Option<Vec<u8>>> {
    match objects.read(ObjectKind::Tree, tree, TREE_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        // Git knows the empty tree without having it, and so do we.
        Err(error) if error.code() == ErrorCode::NotFound => Ok((tree == tree.format().empty_tree()).then(Vec::new)),
        Err(error) if error.code() == ErrorCode::Limit => Err(fault!(BadMap, "{}", error.message()).at(place)),
        Err(error) => Err(error.at(place)),
    }
}

/// Reads the bytes of a tree that must be there.
fn need(objects: &impl ReadObjects, tree: GitId, place: &dyn fmt::Display) -> Result<Vec<u8>> {
    load(objects, tree, place)?.ok_or_else(|| missing(tree).at(place))
}

fn parse<'a>(format: ObjectFormat, bytes: &'a [u8]) -> Result<Vec<EntryRef<'a>>> {
    parse_entries(format, bytes).map_err(|error| fault!(BadMap, "{}", error.message()))
}

fn expect_mode(entry: &EntryRef<'_>, expected: Mode) -> Result<()> {
    if entry.mode != expected {
        return Err(fault!(BadMap, "{:?} has mode {}, expected {}", entry.name, entry.mode.as_str(), expected.as_str()));
    }
    Ok(())
}

/// The folders at the top of a map, in git's order. `skip` stands after them.
const TOP: [Folder; 3] = [Folder::Domains, Folder::Mirrors, Folder::Namespaces];

/// The tree at the top of a map.
#[derive(Default)]
struct Top {
    /// The trees of [`TOP`].
    folders: [Option<GitId>; 3],
    skip: Option<GitId>,
}

impl Top {
    fn read(objects: &impl ReadObjects, root: GitId) -> Result<Self> {
        Top::parse(objects.format(), &need(objects, root, &"the map")?)
    }

    fn parse(format: ObjectFormat, bytes: &[u8]) -> Result<Self> {
        let at_top = |error: Error| error.at("the map");
        let mut top = Top::default();
        for entry in parse(format, bytes).map_err(at_top)? {
            let (place, mode) = match entry.name {
                ATTESTATIONS => (&mut top.folders[0], Mode::Tree),
                MIRRORS => (&mut top.folders[1], Mode::Tree),
                PACKAGES => (&mut top.folders[2], Mode::Tree),
                SKIP => (&mut top.skip, Mode::Gitlink),
                other => {
                    return Err(at_top(fault!(
                        BadMap,
                        "{other:?} stands at its top, expected attestations, mirrors, packages or skip"
                    )));
                }
            };
            expect_mode(&entry, mode).map_err(at_top)?;
            *place = Some(entry.id);
        }
        Ok(top)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in self.parts() {
            write_entry(&mut bytes, &part.place.to_string(), Mode::Tree, &part.tree);
        }
        if let Some(id) = self.skip {
            write_entry(&mut bytes, SKIP, Mode::Gitlink, &id);
        }
        bytes
    }

    fn parts(&self) -> impl Iterator<Item = SubMap> + use<> {
        let folders = TOP.into_iter().zip(self.folders);
        folders.filter_map(|(folder, tree)| Some(SubMap::new(folder, tree?)))
    }

    /// Returns the folder that a slot is below, and its tree; `None` for `skip`, which is below none.
    fn folder_of(&self, slot: &Slot) -> Option<(Folder, Option<GitId>)> {
        TOP.into_iter().zip(self.folders).find(|(folder, _)| folder.holds(slot))
    }
}

/// The folder of one mirrored registry.
#[derive(Default)]
struct Mirror {
    held: Option<GitId>,
    /// Is there, but while the folder changes.
    log: Option<GitId>,
}

impl Mirror {
    fn read(objects: &impl ReadObjects, domain: &str, tree: GitId) -> Result<Self> {
        let bytes = need(objects, tree, &format_args!("{MIRRORS}/{domain}"))?;
        Mirror::parse(objects.format(), domain, &bytes)
    }

    fn parse(format: ObjectFormat, domain: &str, bytes: &[u8]) -> Result<Self> {
        Mirror::parse_bare(format, bytes).map_err(|error| error.at(format!("{MIRRORS}/{domain}")))
    }

    fn parse_bare(format: ObjectFormat, bytes: &[u8]) -> Result<Self> {
        let mut mirror = Mirror::default();
        for entry in parse(format, bytes)? {
            let (place, mode) = match entry.name {
                HELD => (&mut mirror.held, Mode::File),
                LOG => (&mut mirror.log, Mode::Gitlink),
                other => return Err(fault!(BadMap, "{other:?} stands there, expected held or log")),
            };
            expect_mode(&entry, mode)?;
            *place = Some(entry.id);
        }
        if mirror.log.is_none() {
            return Err(fault!(BadMap, "there is no entry log"));
        }
        Ok(mirror)
    }

    fn get(&self, slot: &Slot) -> Option<GitId> {
        match slot {
            Slot::MirrorHeld(_) => self.held,
            _ => self.log,
        }
    }

    fn for_each(&self, domain: &RegistryName, visit: &mut dyn FnMut(Slot, GitId) -> Result<()>) -> Result<()> {
        if let Some(held) = self.held {
            visit(Slot::MirrorHeld(domain.clone()), held)?;
        }
        self.log.map_or(Ok(()), |log| visit(Slot::MirrorLog(domain.clone()), log))
    }
}

/// What becomes of slots: the id, or `None` where the entry goes.
type Edits<'a> = Vec<(&'a Slot, Option<GitId>)>;

/// What becomes of one name of a folder, or of what is below it.
struct Edit<'a> {
    name: String,
    hash: Hash,
    slots: Edits<'a>,
}

/// Applies edits to a whole folder; `None` where nothing is left of it.
fn edit_folder(
    objects: &mut impl WriteObjects,
    folder: Folder,
    old: Option<GitId>,
    edits: Edits<'_>,
    stood: &mut dyn FnMut(&Slot, GitId),
) -> Result<Option<GitId>> {
    let mut names: BTreeMap<String, Edits<'_>> = BTreeMap::new();
    for (slot, id) in edits {
        names.entry(folder.name_for(slot)).or_default().push((slot, id));
    }
    let edits = names.into_iter().map(|(name, slots)| Edit { hash: hash(&name), name, slots });
    let place = Place::top(folder);
    edit_place(objects, &place, old, edits.collect(), stood)?.write(objects, &place.folder)
}

fn edit_place(
    objects: &mut impl WriteObjects,
    place: &Place,
    old: Option<GitId>,
    edits: Vec<Edit<'_>>,
    stood: &mut dyn FnMut(&Slot, GitId),
) -> Result<Shape> {
    match old.map(|tree| place.read(objects, tree)).transpose()? {
        None => edit_names(objects, place, Names::new(), edits, stood),
        Some(Shape::Flat(names)) => edit_names(objects, place, names, edits, stood),
        Some(Shape::Split(parts)) => edit_parts(objects, place, parts, edits, stood),
    }
}

fn edit_names(
    objects: &mut impl WriteObjects,
    place: &Place,
    names: Names,
    edits: Vec<Edit<'_>>,
    stood: &mut dyn FnMut(&Slot, GitId),
) -> Result<Shape> {
    let mut names: BTreeMap<String, GitId> = names.into_iter().collect();
    for Edit { name, slots, .. } in edits {
        let tree = names.get(&name).copied();
        match (&place.folder, place.folder.below(&name)?) {
            (_, Some(below)) => {
                let tree = edit_folder(objects, below, tree, slots, stood)?;
                set(&mut names, name, tree);
            }
            (Folder::Mirrors, None) => {
                let tree = edit_mirror(objects, &name, tree, slots)?;
                set(&mut names, name, tree);
            }
            (_, None) => {
                for (slot, id) in slots {
                    if let Some(old) = set(&mut names, slot.entry(), id) {
                        stood(slot, old);
                    }
                }
                let decisions = format!("{name}{DECISIONS}");
                if names.contains_key(&decisions) && !names.contains_key(&name) {
                    return Err(fault!(BadMap, "{decisions:?} would stand there without {name:?}").at(place));
                }
            }
        }
    }
    settle(objects, place, names.into_iter().collect())
}

/// Puts an id in a place, or takes it away, and returns what stood there.
fn set(names: &mut BTreeMap<String, GitId>, name: String, id: Option<GitId>) -> Option<GitId> {
    match id {
        Some(id) => names.insert(name, id),
        None => names.remove(&name),
    }
}

/// Splits names where they are too many.
fn settle(objects: &mut impl WriteObjects, place: &Place, names: Names) -> Result<Shape> {
    if place.folder.count(&names) <= FOLDER_NAMES {
        return Ok(Shape::Flat(names));
    }
    let mut parts = Parts::new();
    for (half, names) in place.divide(names) {
        let shape = settle(objects, &place.part(half), names)?;
        parts.extend(shape.write(objects, &place.folder)?.map(|tree| (half, tree)));
    }
    Ok(Shape::Split(parts))
}

fn edit_parts(
    objects: &mut impl WriteObjects,
    place: &Place,
    parts: Parts,
    edits: Vec<Edit<'_>>,
    stood: &mut dyn FnMut(&Slot, GitId),
) -> Result<Shape> {
    let removes = edits.iter().flat_map(|edit| &edit.slots).any(|(_, id)| id.is_none());
    let mut edits_of: BTreeMap<u8, Vec<Edit<'_>>> = BTreeMap::new();
    for edit in edits {
        edits_of.entry(edit.hash[place.depth()]).or_default().push(edit);
    }
    let mut untouched: BTreeMap<u8, GitId> = parts.into_iter().collect();
    let mut touched: Vec<(u8, Shape)> = Vec::new();
    for (half, edits) in edits_of {
        let old = untouched.remove(&half);
        touched.push((half, edit_place(objects, &place.part(half), old, edits, stood)?));
    }
    let mut parts: Parts = untouched.into_iter().collect();

    // A split folder that loses no name stays split.
    let counts = touched.iter().map(|(_, shape)| match shape {
        Shape::Flat(names) => Some(place.folder.count(names)),
        Shape::Split(_) => None,
    });
    if removes
        && let Some(count) = counts.sum()
        && let Some(mut names) = place.few(objects, count, &parts)?
    {
        for (_, shape) in touched {
            if let Shape::Flat(more) = shape {
                names.extend(more);
            }
        }
        return Ok(Shape::Flat(names));
    }
    for (half, shape) in touched {
        parts.extend(shape.write(objects, &place.folder)?.map(|tree| (half, tree)));
    }
    parts.sort_unstable_by_key(|(half, _)| *half);
    Ok(Shape::Split(parts))
}

impl Shape {
    /// Writes the tree; `None` where it would be empty.
    fn write(self, objects: &mut impl WriteObjects, folder: &Folder) -> Result<Option<GitId>> {
        let mut bytes = Vec::new();
        match self {
            Shape::Flat(mut names) => {
                let mode = folder.mode();
                names.sort_unstable_by(|one, other| git_order((&one.0, mode), (&other.0, mode)));
                for (name, id) in &names {
                    write_entry(&mut bytes, name, mode, id);
                }
            }
            Shape::Split(parts) => {
                for (half, tree) in &parts {
                    write_entry(&mut bytes, &part_name(*half), Mode::Tree, tree);
                }
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        objects.write(ObjectKind::Tree, &bytes).map(Some)
    }
}

fn edit_mirror(objects: &mut impl WriteObjects, domain: &str, old: Option<GitId>, slots: Edits<'_>) -> Result<Option<GitId>> {
    let old = old.map(|tree| Mirror::read(objects, domain, tree)).transpose()?;
    let mut mirror = old.unwrap_or_default();
    for (slot, id) in slots {
        match slot {
            Slot::MirrorHeld(_) => mirror.held = id,
            _ => mirror.log = id,
        }
    }
    let mut bytes = Vec::new();
    if let Some(held) = mirror.held {
        write_entry(&mut bytes, HELD, Mode::File, &held);
    }
    match mirror.log {
        Some(log) => write_entry(&mut bytes, LOG, Mode::Gitlink, &log),
        None if mirror.held.is_none() => return Ok(None),
        None => {
            return Err(fault!(BadMap, "{HELD:?} would stand there without {LOG:?}").at(format!("{MIRRORS}/{domain}")));
        }
    }
    objects.write(ObjectKind::Tree, &bytes).map(Some)
}

/// One side of a comparison of two folders.
#[derive(PartialEq)]
enum Side {
    Tree(GitId),
    /// Names of a folder that is not split, or those of them that fall into the part compared; in git's order.
    Names(Names),
}

impl From<Option<GitId>> for Side {
    fn from(tree: Option<GitId>) -> Self {
        tree.map_or(Side::Names(Names::new()), Side::Tree)
    }
}

impl Side {
    fn open(self, objects: &impl ReadObjects, place: &Place) -> Result<Shape> {
        match self {
            Side::Tree(tree) => place.read(objects, tree),
            Side::Names(names) => Ok(Shape::Flat(names)),
        }
    }

    /// Divides a folder or a part of it by the next half-byte, whether it is split or not.
    fn divide(shape: Shape, place: &Place) -> [Side; 16] {
        let mut sides = [const { Side::Names(Vec::new()) }; 16];
        match shape {
            Shape::Split(parts) => parts.into_iter().for_each(|(half, tree)| sides[usize::from(half)] = Side::Tree(tree)),
            Shape::Flat(names) => {
                let parts = place.divide(names).into_iter();
                parts.for_each(|(half, names)| sides[usize::from(half)] = Side::Names(names));
            }
        }
        sides
    }
}

fn report_change(slot: Slot, old: Option<GitId>, new: Option<GitId>, report: &mut dyn FnMut(Change) -> Result<()>) -> Result<()> {
    if old == new {
        return Ok(());
    }
    report(Change { slot, old, new })
}

fn diff_folders(
    objects: &impl ReadObjects,
    place: &Place,
    old: Side,
    new: Side,
    report: &mut dyn FnMut(Change) -> Result<()>,
) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let (old, new) = match (old.open(objects, place)?, new.open(objects, place)?) {
        (Shape::Flat(old), Shape::Flat(new)) => return diff_names(objects, &place.folder, &old, &new, report),
        (old, new) => {
            // Else two maps could differ in their shapes alone, and much be read without a difference to report.
            if let (Shape::Flat(names), Shape::Split(parts)) | (Shape::Split(parts), Shape::Flat(names)) = (&old, &new)
                && !names.is_empty()
            {
                place.expect_many(objects, parts)?;
            }
            (Side::divide(old, place), Side::divide(new, place))
        }
    };
    for ((half, old), new) in (0..).zip(old).zip(new) {
        diff_folders(objects, &place.part(half), old, new, report)?;
    }
    Ok(())
}

fn diff_names(
    objects: &impl ReadObjects,
    folder: &Folder,
    old: &Names,
    new: &Names,
    report: &mut dyn FnMut(Change) -> Result<()>,
) -> Result<()> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => git_order((&old.0, folder.mode()), (&new.0, folder.mode())),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let Some((name, _)) = before.or(after) else { return Ok(()) };
        let (before, after) = (before.map(|(_, id)| *id), after.map(|(_, id)| *id));
        if before == after {
            continue;
        }
        match folder {
            Folder::Packages(namespace) => report_change(package_slot(namespace, name)?, before, after, report)?,
            Folder::Attestations(domain) => report_change(attestation_slot(domain, name)?, before, after, report)?,
            Folder::Namespaces => {
                let place = Place::top(Folder::Packages(name.parse()?));
                diff_folders(objects, &place, before.into(), after.into(), report)?;
            }
            Folder::Domains => {
                let place = Place::top(Folder::Attestations(name.parse()?));
                diff_folders(objects, &place, before.into(), after.into(), report)?;
            }
            Folder::Mirrors => {
                let domain: RegistryName = name.parse()?;
                let read = |tree: Option<GitId>| tree.map_or(Ok(Mirror::default()), |tree| Mirror::read(objects, name, tree));
                let (before, after) = (read(before)?, read(after)?);
                report_change(Slot::MirrorHeld(domain.clone()), before.held, after.held, report)?;
                report_change(Slot::MirrorLog(domain), before.log, after.log, report)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::MemoryObjects;
    use super::super::tree::{Entry, Tree};
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    type Model = BTreeMap<Slot, GitId>;

    fn id(number: u64) -> GitId {
        GitId::of(ObjectFormat::Sha1, ObjectKind::Blob, &number.to_le_bytes())
    }

    fn package(namespace: &str, name: &str) -> Slot {
        Slot::Package(format!("{namespace}:{name}").parse().unwrap())
    }

    fn decisions(namespace: &str, name: &str) -> Slot {
        Slot::Decisions(format!("{namespace}:{name}").parse().unwrap())
    }

    fn objects() -> MemoryObjects {
        MemoryObjects::new(ObjectFormat::Sha1)
    }

    fn packages(count: usize) -> Model {
        (0..count).map(|n| (package("wasi", &format!("p{n}")), id(n as u64))).collect()
    }

    /// Names whose hashes begin with 7a, so that a folder of them splits again and again.
    static COLLIDING: LazyLock<Vec<String>> = LazyLock::new(|| {
        let names = (0..160_000).map(|n| format!("c{n}"));
        names.filter(|name| hash(name).starts_with(&[7, 0xa])).collect()
    });

    fn entries_of(map: Map, objects: &MemoryObjects) -> Result<Vec<(Slot, GitId)>> {
        let mut all = Vec::new();
        map.for_each(objects, &mut |slot, id| {
            all.push((slot, id));
            Ok(())
        })?;
        Ok(all)
    }

    fn differences(objects: &MemoryObjects, old: Map, new: Map) -> Result<Vec<Change>> {
        let mut all = Vec::new();
        Map::diff(objects, old, new, &mut |change| {
            all.push(change);
            Ok(())
        })?;
        Ok(all)
    }

    /// Objects that count what is read of them, and may lack one.
    struct Watched<'a> {
        objects: &'a MemoryObjects,
        reads: Cell<usize>,
        bytes: Cell<usize>,
        lacks: Option<GitId>,
    }

    impl<'a> Watched<'a> {
        fn new(objects: &'a MemoryObjects) -> Self {
            Watched { objects, reads: Cell::new(0), bytes: Cell::new(0), lacks: None }
        }
    }

    impl ReadObjects for Watched<'_> {
        fn format(&self) -> ObjectFormat {
            self.objects.format()
        }

        fn read(&self, kind: ObjectKind, id: GitId, limit: u64) -> Result<Vec<u8>> {
            if self.lacks == Some(id) {
                return Err(fault!(NotFound, "there is no object {id}"));
            }
            let bytes = self.objects.read(kind, id, limit)?;
            self.reads.set(self.reads.get() + 1);
            self.bytes.set(self.bytes.get() + bytes.len());
            Ok(bytes)
        }
    }

    #[test]
    fn the_map_of_nothing_is_the_empty_tree() -> Result<()> {
        let mut objects = objects();
        let empty = Map::empty(ObjectFormat::Sha1);
        assert_eq!(empty.get(&objects, &package("wasi", "http"))?, None);
        assert_eq!(entries_of(empty, &objects)?, []);
        assert_eq!(Map::build(&mut objects, &Model::new())?, empty);
        let one = Map::build(&mut objects, &packages(1))?;
        assert_eq!(differences(&objects, empty, one)?.len(), 1);
        let gone = packages(1).into_keys().map(|slot| (slot, None)).collect();
        assert_eq!(one.update(&mut objects, &gone)?, empty);
        Ok(())
    }

    #[test]
    fn a_small_map_reads_like_a_book() -> Result<()> {
        let mut objects = objects();
        let all: Model = [
            package("wasi", "http"),
            decisions("wasi", "http"),
            package("wasi", "http-x"),
            package("wasi-x", "a"),
            Slot::Attestation("acme.example".parse()?, "wasi:http".parse()?),
            Slot::MirrorLog("other.example".parse()?),
            Slot::MirrorHeld("other.example".parse()?),
            Slot::Skip,
        ]
        .into_iter()
        .zip((0..).map(id))
        .collect();
        let map = Map::build(&mut objects, &all)?;
        assert_eq!(entries_of(map, &objects)?, Vec::from_iter(all.clone()));
        let paths: Vec<String> = all.keys().map(Slot::to_string).collect();
        assert_eq!(
            paths,
            [
                "attestations/acme.example/wasi.http",
                "mirrors/other.example/held",
                "mirrors/other.example/log",
                "packages/wasi-x/a",
                "packages/wasi/http",
                "packages/wasi/http-x",
                "packages/wasi/http.decisions",
                "skip",
            ]
        );
        assert_eq!(map.check(&objects, u64::MAX)?, 3);
        assert_eq!(map.namespaces(&objects)?, ["wasi".parse()?, "wasi-x".parse()?]);
        let mut wasi = Vec::new();
        let part = map.packages_of(&objects, &"wasi".parse()?)?.expect("a namespace");
        part.for_each(&objects, &mut |slot, _| {
            wasi.push(slot.to_string());
            Ok(())
        })?;
        assert_eq!(wasi, paths[4..7]);
        assert_eq!(map.packages_of(&objects, &"nobody".parse()?)?, None);
        Ok(())
    }

    #[test]
    fn a_folder_splits_at_129_names_and_merges_at_128() -> Result<()> {
        let mut objects = objects();
        let mut all = packages(FOLDER_NAMES);
        // Decisions do not count.
        all.extend((0..FOLDER_NAMES).map(|n| (decisions("wasi", &format!("p{n}")), id(1_000))));
        let flat = Map::build(&mut objects, &all)?;
        let wasi = |map: Map, objects: &MemoryObjects| -> Result<Tree> {
            let part = map.packages_of(objects, &"wasi".parse()?)?.expect("a namespace");
            Tree::read(objects, part.tree())
        };
        assert_eq!(wasi(flat, &objects)?.entries().len(), 256);
        let more = BTreeMap::from([(package("wasi", "one-more"), Some(id(0)))]);
        let split = flat.update(&mut objects, &more)?;
        let tree = wasi(split, &objects)?;
        assert!(tree.entries().iter().all(|entry| entry.mode == Mode::Tree && part_half(&entry.name).is_some()));
        // The SHA-256 of p0 begins with 16.
        let p0 = Tree::read(&objects, tree.get("_1").expect("its folder").id)?;
        assert!(p0.get("p0").is_some());
        let p7 = Tree::read(&objects, tree.get(&part_name(hash("p7")[0])).expect("its folder").id)?;
        assert!(p7.get("p7").is_some() && p7.get("p7.decisions").is_some());
        split.check(&objects, u64::MAX)?;
        let less = BTreeMap::from([(package("wasi", "one-more"), None)]);
        assert_eq!(split.update(&mut objects, &less)?, flat);
        assert_eq!(differences(&objects, flat, split)?.len(), 1);
        assert_eq!(differences(&objects, split, flat)?[0].new, None);
        Ok(())
    }

    #[test]
    fn namespaces_and_domains_split_too() -> Result<()> {
        let mut objects = objects();
        let mut all = Model::new();
        for n in 0..300 {
            let domain: RegistryName = format!("d{n}.decisions").parse()?;
            all.insert(package(&format!("n{n}"), "decisions"), id(n));
            all.insert(Slot::Attestation(domain.clone(), "x:decisions".parse()?), id(n));
            all.insert(Slot::Attestation("one.example".parse()?, format!("x:y{n}").parse()?), id(n));
            all.insert(Slot::MirrorLog(domain.clone()), id(n));
            all.insert(Slot::MirrorHeld(domain), id(n));
        }
        let map = Map::build(&mut objects, &all)?;
        map.check(&objects, u64::MAX)?;
        for (slot, id) in &all {
            assert_eq!(map.get(&objects, slot)?, Some(*id));
        }
        assert_eq!(map.namespaces(&objects)?.len(), 300);
        let mut rest = all.clone();
        let gone: Vec<Slot> = all.keys().filter(|slot| slot.to_string().contains("/d2")).cloned().collect();
        for slot in &gone {
            rest.remove(slot);
        }
        let changes = gone.into_iter().map(|slot| (slot, None)).collect();
        let less = map.update(&mut objects, &changes)?;
        assert_eq!(less, Map::build(&mut objects, &rest)?);
        assert_eq!(differences(&objects, map, less)?.len(), changes.len());
        Ok(())
    }

    #[test]
    fn names_that_share_the_beginning_of_their_hashes_split_further_down() -> Result<()> {
        let mut objects = objects();
        assert!(COLLIDING.len() > 400);
        let all: Model = COLLIDING.iter().map(|name| (package("wasi", name), id(1))).collect();
        let map = Map::build(&mut objects, &all)?;
        map.check(&objects, u64::MAX)?;
        let objects_read = Watched::new(&objects);
        assert_eq!(map.get(&objects_read, &package("wasi", &COLLIDING[3]))?, Some(id(1)));
        // Top, packages, wasi, _7, _a, _x.
        assert_eq!(objects_read.reads.get(), 6);
        let keep = 100;
        let changes: BTreeMap<Slot, Option<GitId>> = COLLIDING[keep..].iter().map(|name| (package("wasi", name), None)).collect();
        let few = all.iter().filter(|(slot, _)| !changes.contains_key(*slot)).map(|(slot, id)| (slot.clone(), *id));
        let few: Model = few.collect();
        assert_eq!(map.update(&mut objects, &changes)?, Map::build(&mut objects, &few)?);
        Ok(())
    }

    #[test]
    fn names_of_one_namespace_split_twice() -> Result<()> {
        let mut objects = objects();
        let all = packages(20_000);
        let map = Map::build(&mut objects, &all)?;
        assert_eq!(map.check(&objects, u64::MAX)?, 20_000);
        let name = package("wasi", "p7");
        let before = objects.iter().count();
        let changed = map.update(&mut objects, &BTreeMap::from([(name.clone(), Some(id(20_001)))]))?;
        // Top, packages, wasi, _x, _y.
        assert_eq!(objects.iter().count() - before, 5);
        let watched = Watched::new(&objects);
        let mut changes = Vec::new();
        Map::diff(&watched, map, changed, &mut |change| {
            changes.push(change.slot);
            Ok(())
        })?;
        assert_eq!((changes, watched.reads.get()), (vec![name], 10));
        Ok(())
    }

    #[test]
    fn decisions_stand_beside_a_package_and_what_is_held_beside_a_log() -> Result<()> {
        let mut objects = objects();
        let map = Map::build(&mut objects, &packages(3))?;
        let domain: RegistryName = "acme.example".parse()?;
        let refused = |objects: &mut MemoryObjects, changes: &[(Slot, Option<GitId>)]| {
            let error = map.update(objects, &changes.iter().cloned().collect()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadMap, "{error}");
        };
        refused(&mut objects, &[(decisions("wasi", "x"), Some(id(1)))]);
        refused(&mut objects, &[(Slot::MirrorHeld(domain), Some(id(1)))]);
        refused(&mut objects, &[(decisions("wasi", "p1"), Some(id(1))), (package("wasi", "p1"), None)]);
        let sha256 = GitId::of(ObjectFormat::Sha256, ObjectKind::Blob, b"");
        refused(&mut objects, &[(package("wasi", "p1"), Some(sha256))]);
        Ok(())
    }

    #[test]
    fn a_lookup_names_the_tree_that_it_lacks() -> Result<()> {
        let mut objects = objects();
        let mut all: Model = COLLIDING.iter().map(|name| (package("wasi", name), id(1))).collect();
        all.insert(Slot::MirrorLog("acme.example".parse()?), id(2));
        let map = Map::build(&mut objects, &all)?;
        for (slot, trees) in [(package("wasi", &COLLIDING[3]), 6), (Slot::MirrorLog("acme.example".parse()?), 3)] {
            let found = Lookup::Found(all[&slot]);
            let mut had = MemoryObjects::new(ObjectFormat::Sha1);
            for _ in 0..trees {
                match map.lookup(&had, &slot)? {
                    Lookup::Missing(tree) => {
                        let error = map.get(&had, &slot).unwrap_err();
                        assert_eq!(error.code(), ErrorCode::CorruptObject);
                        had.write(ObjectKind::Tree, &objects.read(ObjectKind::Tree, tree, TREE_MAX)?)?
                    }
                    other => panic!("{other:?} too early"),
                };
            }
            assert_eq!(map.lookup(&had, &slot)?, found);
        }
        let mut watched = Watched::new(&objects);
        watched.lacks = Some(map.packages_of(&objects, &"wasi".parse()?)?.expect("a namespace").tree());
        assert_eq!(map.lookup(&watched, &package("wasi", "c1"))?, Lookup::Missing(watched.lacks.expect("set")));
        assert_eq!(map.lookup(&watched, &package("other", "c1"))?, Lookup::Absent);
        assert_eq!(map.check(&watched, u64::MAX).unwrap_err().code(), ErrorCode::CorruptObject);
        Ok(())
    }

    #[test]
    fn packages_are_found_in_those_trees_that_are_here_and_in_others_once_they_come() -> Result<()> {
        let mut objects = objects();
        let mut all = packages(300);
        for slot in [package("time", "clock"), decisions("time", "clock"), Slot::MirrorLog("acme.example".parse()?)] {
            all.insert(slot, id(7));
        }
        let map = Map::build(&mut objects, &all)?;
        let expected: BTreeSet<String> =
            all.keys().filter(|slot| matches!(slot, Slot::Package(_))).map(ToString::to_string).collect();
        let mut had = MemoryObjects::new(ObjectFormat::Sha1);
        had.write(ObjectKind::Tree, &objects.read(ObjectKind::Tree, map.root(), TREE_MAX)?)?;
        let mut found = BTreeSet::new();
        let mut waiting = vec![map.packages(&had)?.expect("packages")];
        let mut levels = Vec::new();
        while !waiting.is_empty() {
            let mut missing = Vec::new();
            for part in &waiting {
                part.packages_here(&had, &mut missing, &mut |namespace, name, _| {
                    assert!(found.insert(package_slot(namespace, name)?.to_string()), "{name} twice");
                    Ok(())
                })?;
            }
            levels.push(missing.len());
            for part in &missing {
                had.write(ObjectKind::Tree, &objects.read(ObjectKind::Tree, part.tree(), TREE_MAX)?)?;
            }
            waiting = missing;
        }
        assert_eq!((found, levels), (expected, vec![1, 2, 16, 0]));
        Ok(())
    }

    /// A tree to write by hand: an entry is a gitlink unless it has entries of its own.
    enum Drawn {
        Link,
        Blob,
        Tree(Vec<(String, Drawn)>),
    }

    fn link(name: &str) -> (String, Drawn) {
        (name.to_owned(), Drawn::Link)
    }

    fn folder(name: &str, entries: Vec<(String, Drawn)>) -> (String, Drawn) {
        (name.to_owned(), Drawn::Tree(entries))
    }

    /// Names in the folders that their hashes ask for at this depth.
    fn by_hash(depth: usize, names: &[String]) -> Vec<(String, Drawn)> {
        let mut parts: BTreeMap<u8, Vec<(String, Drawn)>> = BTreeMap::new();
        for name in names {
            parts.entry(hash(name)[depth]).or_default().push(link(name));
        }
        parts.into_iter().map(|(half, names)| folder(&part_name(half), names)).collect()
    }

    fn draw(objects: &mut MemoryObjects, entries: Vec<(String, Drawn)>) -> GitId {
        let mut drawn = Vec::new();
        for (name, what) in entries {
            let (mode, id) = match what {
                Drawn::Link => (Mode::Gitlink, id(1)),
                Drawn::Blob => (Mode::File, id(1)),
                Drawn::Tree(entries) => (Mode::Tree, draw(objects, entries)),
            };
            drawn.push(Entry { name, mode, id });
        }
        Tree::new(drawn).unwrap().write(objects).unwrap()
    }

    fn wasi(entries: Vec<(String, Drawn)>) -> Vec<(String, Drawn)> {
        vec![folder("packages", vec![folder("wasi", entries)])]
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("p{n}")).collect()
    }

    #[test]
    fn maps_of_the_one_shape_are_accepted() -> Result<()> {
        let links = |count| names(count).iter().map(|name| link(name)).collect();
        for good in [
            vec![],
            vec![link("skip")],
            wasi(vec![link("http"), link("http.decisions")]),
            wasi(links(128)),
            wasi(by_hash(0, &names(129))),
            wasi(vec![folder("_7", vec![folder("_a", by_hash(2, &COLLIDING[..129]))])]),
            vec![folder("mirrors", vec![folder("acme.example", vec![link("log"), ("held".into(), Drawn::Blob)])])],
            vec![folder("attestations", vec![folder("acme.example", vec![link("wasi.http")])])],
        ] {
            let mut objects = objects();
            let map = Map::at(draw(&mut objects, good));
            map.check(&objects, u64::MAX)?;
            let all = entries_of(map, &objects)?.into_iter().collect();
            assert_eq!(Map::build(&mut objects, &all)?, map);
        }
        Ok(())
    }

    #[test]
    fn every_other_shape_is_refused() {
        let links = |count| -> Vec<(String, Drawn)> { names(count).iter().map(|name| link(name)).collect() };
        let with = |mut entries: Vec<(String, Drawn)>, more| {
            entries.push(more);
            entries
        };
        let attested = |entries| vec![folder("attestations", vec![folder("acme.example", entries)])];
        let mirrored = |entries| vec![folder("mirrors", vec![folder("acme.example", entries)])];
        let p0 = part_name(hash("p0")[0]);
        let elsewhere = part_name((hash("p0")[0] + 1) % 16);
        // What is wrong, the map, and a slot whose path leads through the fault where that can be seen from its path.
        type Case = (&'static str, Vec<(String, Drawn)>, Option<Slot>);
        let cases: Vec<Case> = vec![
            ("a stranger at the top", vec![link("other")], Some(Slot::Skip)),
            ("a folder skip", vec![folder("skip", vec![link("a")])], Some(Slot::Skip)),
            ("a gitlink packages", vec![link("packages")], Some(package("wasi", "http"))),
            ("an empty packages", vec![folder("packages", vec![])], Some(package("wasi", "http"))),
            ("an empty namespace", wasi(vec![]), Some(package("wasi", "http"))),
            ("a gitlink namespace", vec![folder("packages", vec![link("wasi")])], Some(package("wasi", "http"))),
            ("a folder package", wasi(vec![folder("http", vec![link("a")])]), Some(package("wasi", "http"))),
            ("a blob package", wasi(vec![("http".into(), Drawn::Blob)]), Some(package("wasi", "http"))),
            ("a capital", wasi(vec![link("Http")]), Some(package("wasi", "http"))),
            (
                "a namespace that is no label",
                vec![folder("packages", vec![folder("a.b", vec![link("a")])])],
                Some(package("wasi", "a")),
            ),
            ("decisions of nothing", wasi(vec![link("http.decisions")]), Some(package("wasi", "http"))),
            ("129 names unsplit", wasi(links(129)), Some(package("wasi", "http"))),
            ("128 names split", wasi(by_hash(0, &names(128))), None),
            (
                "128 colliding names split twice",
                wasi(with(vec![folder("_7", by_hash(1, &COLLIDING[..128]))], folder(&p0, vec![link("p0")]))),
                None,
            ),
            (
                "129 colliding names split once",
                wasi(vec![folder("_7", COLLIDING[..129].iter().map(|name| link(name)).collect())]),
                Some(package("wasi", &COLLIDING[0])),
            ),
            ("a name beside folders", wasi(with(by_hash(0, &names(129)), link("http"))), Some(package("wasi", "http"))),
            ("a gitlink for a folder", wasi(vec![link("_0")]), Some(package("wasi", "http"))),
            (
                "a folder in capitals",
                wasi(vec![folder("_7", vec![folder("_A", by_hash(2, &COLLIDING[..129]))])]),
                Some(package("wasi", &COLLIDING[0])),
            ),
            (
                "a folder of two digits",
                wasi(vec![folder("_7a", by_hash(2, &COLLIDING[..129]))]),
                Some(package("wasi", &COLLIDING[0])),
            ),
            ("an empty folder", wasi(vec![folder(&p0, vec![])]), Some(package("wasi", "p0"))),
            ("a name in another's folder", wasi(vec![folder(&elsewhere, vec![link("p0")])]), None),
            ("another's name in the folder", wasi(vec![folder(&p0, vec![link("p0"), link("p1")])]), Some(package("wasi", "p0"))),
            (
                "an attestation without namespace",
                attested(vec![link("http")]),
                Some(Slot::Attestation("acme.example".parse().unwrap(), "wasi:http".parse().unwrap())),
            ),
            (
                "decisions of an attestation",
                attested(vec![link("wasi.http"), link("wasi.http.decisions")]),
                Some(Slot::Attestation("acme.example".parse().unwrap(), "wasi:http".parse().unwrap())),
            ),
            ("a domain without a dot", vec![folder("attestations", vec![folder("acme", vec![link("wasi.http")])])], None),
            (
                "a mirror without log",
                mirrored(vec![("held".into(), Drawn::Blob)]),
                Some(Slot::MirrorHeld("acme.example".parse().unwrap())),
            ),
            ("a gitlink held", mirrored(vec![link("log"), link("held")]), Some(Slot::MirrorLog("acme.example".parse().unwrap()))),
            ("a blob log", mirrored(vec![("log".into(), Drawn::Blob)]), Some(Slot::MirrorLog("acme.example".parse().unwrap()))),
            (
                "a stranger in a mirror",
                mirrored(vec![link("log"), link("other")]),
                Some(Slot::MirrorLog("acme.example".parse().unwrap())),
            ),
            ("an empty mirror", mirrored(vec![]), Some(Slot::MirrorLog("acme.example".parse().unwrap()))),
        ];
        for (what, drawn, slot) in cases {
            let mut objects = objects();
            let map = Map::at(draw(&mut objects, drawn));
            let error = map.check(&objects, u64::MAX).expect_err(what);
            assert_eq!(error.code(), ErrorCode::BadMap, "{what}: {error}");
            if let Some(slot) = slot {
                let error = map.get(&objects, &slot).expect_err(what);
                assert_eq!(error.code(), ErrorCode::BadMap, "{what}: {error}");
                let error = map.update(&mut objects, &BTreeMap::from([(slot, Some(id(5)))])).expect_err(what);
                assert_eq!(error.code(), ErrorCode::BadMap, "{what}: {error}");
            }
            let parts = map.subtrees(&objects, 1_000);
            let error = parts.and_then(|parts| parts.iter().try_for_each(|part| part.for_each(&objects, &mut |_, _| Ok(()))));
            let top = what.ends_with("top") || what == "a folder skip" || what == "a gitlink packages";
            assert!(error.is_err() || top, "{what}: its parts were accepted");
        }
    }

    #[test]
    fn a_tree_too_large_for_a_map_is_not_read() -> Result<()> {
        let mut objects = objects();
        let large = objects.write(ObjectKind::Tree, &vec![b'1'; 200_000])?;
        assert_eq!(Map::at(large).check(&objects, u64::MAX).unwrap_err().code(), ErrorCode::BadMap);
        let torn = objects.write(ObjectKind::Tree, b"160000 skip")?;
        assert_eq!(Map::at(torn).check(&objects, u64::MAX).unwrap_err().code(), ErrorCode::BadMap);
        Ok(())
    }

    #[test]
    fn the_parts_of_a_map_hold_all_of_it() -> Result<()> {
        let mut objects = objects();
        let mut all = packages(3_000);
        all.extend((0..20).map(|n| (package(&format!("n{n}"), "a"), id(n))));
        all.insert(Slot::Attestation("acme.example".parse()?, "a:b".parse()?), id(1));
        all.insert(Slot::MirrorLog("acme.example".parse()?), id(1));
        let map = Map::build(&mut objects, &all)?;
        for at_least in [0, 1, 4, 22, 23, 24, 100, 10_000] {
            let parts = map.subtrees(&objects, at_least)?;
            assert!(parts.len() >= at_least.min(100), "{} parts", parts.len());
            let mut found = Model::new();
            for part in parts {
                part.for_each(&objects, &mut |slot, id| {
                    assert_eq!(found.insert(slot, id), None);
                    Ok(())
                })?;
            }
            assert_eq!(found, all);
        }
        Ok(())
    }

    #[test]
    fn a_visitor_can_stop() -> Result<()> {
        let mut objects = objects();
        let map = Map::build(&mut objects, &packages(300))?;
        let mut seen = 0;
        let stopped = map.for_each(&objects, &mut |_, _| {
            seen += 1;
            if seen == 5 { Err(fault!(Limit, "enough")) } else { Ok(()) }
        });
        assert_eq!((stopped.unwrap_err().code(), seen), (ErrorCode::Limit, 5));
        Ok(())
    }

    #[test]
    fn a_few_trees_that_unfold_into_many_entries_are_given_up() -> Result<()> {
        let mut objects = objects();
        let shared = || -> Vec<(String, Drawn)> { names(100).iter().map(|name| link(name)).collect() };
        let namespaces = (0..100).map(|n| folder(&format!("n{n}"), shared())).collect();
        let map = Map::at(draw(&mut objects, vec![folder("packages", namespaces)]));
        assert_eq!(objects.iter().count(), 3);
        assert_eq!(map.check(&objects, 10_000)?, 10_000);
        assert_eq!(map.check(&objects, 9_999).unwrap_err().code(), ErrorCode::Limit);
        let watched = Watched::new(&objects);
        assert_eq!(map.check(&watched, 150).unwrap_err().code(), ErrorCode::Limit);
        // Top, packages, two namespaces.
        assert_eq!(watched.reads.get(), 4);
        Ok(())
    }

    #[test]
    fn maps_that_differ_in_their_shapes_alone_are_not_compared() -> Result<()> {
        let mut objects = objects();
        let flat = || names(100).iter().map(|name| link(name)).collect();
        let deeper = |name: &str| {
            let half = hash(name);
            folder(&part_name(half[0]), vec![folder(&part_name(half[1]), vec![link(name)])])
        };
        for (one, other) in [
            (flat(), by_hash(0, &names(100))),
            (vec![link("p0"), link("p1")], vec![deeper("p0"), deeper("p1")]),
            (by_hash(0, &names(2)), vec![deeper("p0"), deeper("p1")]),
        ] {
            let (one, other) = (draw(&mut objects, wasi(one)), draw(&mut objects, wasi(other)));
            for (old, new) in [(one, other), (other, one)] {
                let error = differences(&objects, Map::at(old), Map::at(new)).unwrap_err();
                assert_eq!(error.code(), ErrorCode::BadMap, "{error}");
            }
        }
        Ok(())
    }

    /// Runs git in a repository and returns what it prints.
    #[allow(clippy::disallowed_methods)]
    fn git(folder: &std::path::Path, arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env_remove("GIT_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git runs");
        child.stdin.take().expect("piped").write_all(input).expect("git reads");
        let output = child.wait_with_output().expect("git ends");
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[test]
    fn git_reads_a_map_as_we_do() -> Result<()> {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let link = |n: usize| GitId::of(format, ObjectKind::Commit, &n.to_le_bytes());
            let held = b"everything\n";
            let mut all: Model = (0..258).map(|n| (package("wasi", &format!("p{n}")), link(n))).collect();
            all.insert(decisions("wasi", "p9"), link(1));
            all.insert(package("wasi-x", "a"), link(2));
            all.insert(package("was", "a"), link(2));
            all.insert(Slot::Attestation("acme.example".parse()?, "a:b".parse()?), link(3));
            all.insert(Slot::MirrorLog("acme.example".parse()?), link(4));
            all.insert(Slot::MirrorHeld("acme.example".parse()?), GitId::of(format, ObjectKind::Blob, held));
            all.insert(Slot::Skip, link(5));
            let mut objects = MemoryObjects::new(format);
            let map = Map::build(&mut objects, &all)?;

            let folder = tempfile::tempdir().expect("a folder");
            let option = format!("--object-format={format}");
            git(folder.path(), &["init", "--quiet", "--bare", &option], b"");
            git(folder.path(), &["hash-object", "-w", "--stdin"], held);
            for (id, _, bytes) in objects.iter() {
                let written = git(folder.path(), &["hash-object", "-w", "-t", "tree", "--stdin"], bytes);
                assert_eq!(written.trim(), id.to_string());
            }
            let root = map.root().to_string();
            let author = "author quipu <quipu> 0 +0000\ncommitter quipu <quipu> 0 +0000\n";
            let commit = format!("tree {root}\n{author}\nmap\n");
            let commit = git(folder.path(), &["hash-object", "-w", "-t", "commit", "--stdin"], commit.as_bytes());
            git(folder.path(), &["update-ref", "refs/heads/main", commit.trim()], b"");
            git(folder.path(), &["fsck", "--strict", "--full"], b"");

            let listed = git(folder.path(), &["ls-tree", "-r", &root], b"");
            let mut found = Model::new();
            for line in listed.lines() {
                let (what, path) = line.split_once('\t').expect("a path");
                let words: Vec<&str> = path.split('/').filter(|word| !word.starts_with('_')).collect();
                let slot: Slot = words.join("/").parse()?;
                let mut what = what.split(' ');
                assert_eq!(what.next(), Some(slot.mode().as_str()));
                found.insert(slot, what.nth(1).expect("an id").parse()?);
            }
            assert_eq!(found, all);
        }
        Ok(())
    }

    /// A few namespaces and names, near enough to meet, and enough of them to split and merge.
    fn any_slot() -> impl Strategy<Value = Slot> {
        let domain = |n: u16| -> RegistryName { format!("d{n}.example").parse().unwrap() };
        prop_oneof![
            20 => (0..420u16).prop_map(|n| package("wasi", &format!("p{n}"))),
            8 => (0..COLLIDING.len()).prop_map(|n| package("wasi", &COLLIDING[n])),
            4 => (0..300u16).prop_map(|n| package(&format!("n{n}"), "a")),
            4 => (0..40u16).prop_map(|n| package("wasi-x", &format!("p{n}"))),
            4 => (0..420u16).prop_map(|n| decisions("wasi", &format!("p{n}"))),
            2 => (0..9u16, 0..9u16).prop_map(move |(n, m)| Slot::Attestation(domain(n), format!("a:p{m}").parse().unwrap())),
            2 => (0..9u16).prop_map(move |n| Slot::MirrorLog(domain(n))),
            1 => (0..9u16).prop_map(move |n| Slot::MirrorHeld(domain(n))),
            1 => Just(Slot::Skip),
        ]
    }

    /// Takes out of a batch what would leave decisions without a package, or what is held without a log.
    fn keep_rule_4(model: &mut Model, changes: &mut BTreeMap<Slot, Option<GitId>>) {
        for (slot, id) in changes.iter() {
            match id {
                Some(id) => model.insert(slot.clone(), *id),
                None => model.remove(slot),
            };
        }
        let alone: Vec<Slot> = model
            .keys()
            .filter(|slot| match slot {
                Slot::Decisions(name) => !model.contains_key(&Slot::Package(name.clone())),
                Slot::MirrorHeld(domain) => !model.contains_key(&Slot::MirrorLog(domain.clone())),
                _ => false,
            })
            .cloned()
            .collect();
        for slot in alone {
            model.remove(&slot);
            changes.insert(slot, None);
        }
    }

    fn any_batch() -> impl Strategy<Value = BTreeMap<Slot, Option<GitId>>> {
        let (size, removals) = (prop_oneof![1..8usize, 100..900usize], prop_oneof![Just(5u64), Just(50), Just(95)]);
        (size, removals).prop_flat_map(|(size, removals)| {
            let change = (any_slot(), 0..100u64).prop_map(move |(slot, n)| (slot, (n >= removals).then(|| id(n % 7))));
            prop::collection::vec(change, size).prop_map(|changes| changes.into_iter().collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn updates_lead_to_the_map_that_is_built_at_once(batches in prop::collection::vec(any_batch(), 1..8)) {
            let mut objects = objects();
            let (mut map, mut model) = (Map::empty(ObjectFormat::Sha1), Model::new());
            for mut changes in batches {
                let before = model.clone();
                keep_rule_4(&mut model, &mut changes);
                let next = map.update(&mut objects, &changes).unwrap();
                prop_assert_eq!(next, Map::build(&mut objects, &model).unwrap());

                let walked = entries_of(next, &objects).unwrap();
                prop_assert_eq!(walked.len(), model.len());
                prop_assert_eq!(&walked.into_iter().collect::<Model>(), &model);
                let count = model.keys().filter(|slot| matches!(slot, Slot::Package(_))).count();
                prop_assert_eq!(next.check(&objects, u64::MAX).unwrap(), count as u64);

                let touched: BTreeSet<&Slot> = before.keys().chain(changes.keys()).collect();
                for slot in touched.iter().step_by(7) {
                    prop_assert_eq!(next.get(&objects, slot).unwrap(), model.get(*slot).copied());
                }
                for (old, new, a, b) in [(map, next, &before, &model), (next, map, &model, &before)] {
                    let mut found = differences(&objects, old, new).unwrap();
                    found.sort_by(|one, other| one.slot.cmp(&other.slot));
                    let expected: Vec<Change> = touched
                        .iter()
                        .map(|slot| Change { slot: (*slot).clone(), old: a.get(*slot).copied(), new: b.get(*slot).copied() })
                        .filter(|change| change.old != change.new)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
                map = next;
            }
        }

        #[test]
        fn the_order_of_insertion_leaves_no_trace(slots in prop::collection::hash_set(any_slot(), 1..60), extra in 0..500usize) {
            let mut all = packages(extra);
            all.extend(slots.into_iter().map(|slot| (slot, id(3))));
            let mut changes = BTreeMap::new();
            keep_rule_4(&mut all, &mut changes);
            let mut objects = objects();
            let built = Map::build(&mut objects, &all).unwrap();
            // Packages before decisions and logs before what is held, or the map between would not be one.
            let dependent = |slot: &Slot| matches!(slot, Slot::Decisions(_) | Slot::MirrorHeld(_));
            let (last, first): (Vec<_>, Vec<_>) = all.iter().partition(|(slot, _)| dependent(slot));
            for backwards in [false, true] {
                let mut order = first.clone();
                if backwards {
                    order.reverse();
                }
                let mut map = Map::empty(ObjectFormat::Sha1);
                for (slot, id) in order.into_iter().chain(last.clone()) {
                    map = map.update(&mut objects, &BTreeMap::from([(slot.clone(), Some(*id))])).unwrap();
                }
                prop_assert_eq!(map, built);
            }
        }
    }
}
