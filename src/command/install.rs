//! `quipu install`, `update`, `add`, `remove`, `vendor`: what a project needs is chosen, brought, and written down.

use super::answer::{Answer, count};
use super::client::{Client, which};
use super::context::Context;
use super::needs::{
    Chosen, Doubt, Meaning, Opened, Registries, check_locked, check_meaning, check_own_anchors, choose, clients, insisted,
    lock_of, released, released_now, trust_all,
};
use super::progress::Steps;
use super::workspace::{Locked, Workspace};
use crate::disk::installed::{self, Installed};
use crate::disk::project::Project;
use crate::model::digest::RecordDigest;
use crate::model::error::{Error, Result, fault};
use crate::model::lockfile::{self, Lockfile, Pin};
use crate::model::moment::Moment;
use crate::model::name::{FullName, Reference, RegistryName};
use crate::replica::snapshot::PackageView;
use crate::trust::choose::choose as newest;
use crate::trust::memory::Memory;
use crate::trust::resolve::{PackageKey, Pick};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Bring what quipu.toml needs into quipu_packages, as quipu.lock says
#[derive(clap::Args, Debug, Default)]
pub struct Install {
    /// Fail where quipu.lock is not one for this quipu.toml
    #[arg(long)]
    locked: bool,
    /// Like --locked and --offline together
    #[arg(long)]
    frozen: bool,
    /// Choose anew, as it would have been chosen at this checkpoint: its number or its digest; with the registry's name where several are
    /// needed, once for each
    #[arg(long, value_name = "[REGISTRY=]CHECKPOINT", conflicts_with_all = ["locked", "frozen"])]
    at: Vec<At>,
    #[command(flatten)]
    insist: Insist,
}

/// What is taken although a key in wrong hands released it.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Insist {
    /// Take what quipu.lock names although a key in wrong hands released it: [REGISTRY/]NAMESPACE:NAME@VERSION; may be given more than once
    #[arg(long = "allow-flagged", value_name = "RELEASE")]
    releases: Vec<Reference>,
}

/// A moment to go back to.
#[derive(Clone, Debug)]
struct At {
    /// The registry; where it is not named, that of the project or the only one.
    registry: Option<RegistryName>,
    moment: Moment,
}

impl std::str::FromStr for At {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((registry, moment)) => Ok(At { registry: Some(registry.parse()?), moment: moment.parse()? }),
            None => Ok(At { registry: None, moment: text.parse()? }),
        }
    }
}

/// Choose newer versions of what quipu.toml needs
#[derive(clap::Args, Debug)]
pub struct Update {
    /// The packages, as [REGISTRY/]NAMESPACE:NAME; none: all of them
    #[arg(value_name = "PACKAGE")]
    packages: Vec<Reference>,
    #[command(flatten)]
    insist: Insist,
}

/// Need packages: write them into quipu.toml, and bring them
#[derive(clap::Args, Debug)]
pub struct Add {
    /// The packages, as [REGISTRY/]NAMESPACE:NAME[@REQUIREMENT][#sha256:…]; without a requirement like 1.2, the newest version or one that is
    /// compatible with it
    #[arg(value_name = "PACKAGE", required = true)]
    packages: Vec<Wanted>,
    #[command(flatten)]
    insist: Insist,
}

/// Need packages no longer: take them out of quipu.toml, and delete what nothing else needs
#[derive(clap::Args, Debug)]
pub struct Remove {
    /// The packages, as [REGISTRY/]NAMESPACE:NAME
    #[arg(value_name = "PACKAGE", required = true)]
    packages: Vec<String>,
    #[command(flatten)]
    insist: Insist,
}

/// Put the releases of quipu.lock into a folder of their own, to be kept with the project
#[derive(clap::Args, Debug)]
pub struct Vendor {
    /// The folder
    folder: PathBuf,
    #[command(flatten)]
    insist: Insist,
}

/// What to need.
#[derive(Clone, Debug)]
struct Wanted {
    registry: Option<RegistryName>,
    reference: Reference,
    requirement: Option<String>,
    anchor: Option<RecordDigest>,
}

impl std::str::FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (rest, anchor) = match text.split_once('#') {
            Some((rest, anchor)) => (rest, Some(anchor.parse()?)),
            None => (text, None),
        };
        let (name, requirement) = match rest.split_once('@') {
            Some((name, requirement)) => (name, Some(requirement)),
            None => (rest, None),
        };
        if let Some(requirement) = requirement {
            semver::VersionReq::parse(requirement)
                .map_err(|why| fault!(BadVersion, "{requirement:?} is not a SemVer requirement like 1.2 or >=1.2, <3: {why}"))?;
        }
        let reference: Reference = name.parse()?;
        Ok(Wanted { registry: reference.registry.clone(), reference, requirement: requirement.map(str::to_owned), anchor })
    }
}

/// What to bring, and how.
#[derive(Default)]
struct Plan {
    locked: bool,
    /// What is chosen anew.
    update: Anew,
    /// Whether the names of what is chosen anew are followed to the logs that a reset gave them.
    is_followed: bool,
    /// What is taken although it is flagged.
    insist: BTreeSet<Pin>,
    /// Where the releases go; without one, the project's own folder for them.
    vendor: Option<PathBuf>,
    /// The moments at which registries are asked.
    at: BTreeMap<RegistryName, Moment>,
}

#[derive(Default)]
enum Anew {
    #[default]
    Nothing,
    Some(BTreeSet<FullName>),
    All,
}

/// Runs `quipu install`.
///
/// # Errors
/// `lock-mismatch` where the lock is to be kept and does not fit, `no-solution`, `not-trusted`, `taken-down`, `wrong-log`, and all that
/// reading a registry and its packages can end in. The lock is as it was then.
pub fn install(context: &Context, args: &Install) -> Result<Answer> {
    let workspace = Workspace::open(context, &context.folder)?;
    let at = moments(&workspace, &args.at)?;
    let update = if at.is_empty() { Anew::Nothing } else { Anew::All };
    let insist = insisted(context, workspace.own.as_ref(), &args.insist.releases)?;
    bring(context, &workspace, &Plan { locked: args.locked || args.frozen, update, at, insist, ..Plan::default() })
}

/// Finds out which registry each moment is meant for.
fn moments(workspace: &Workspace, at: &[At]) -> Result<BTreeMap<RegistryName, Moment>> {
    let mut needed = BTreeSet::new();
    for need in &workspace.project.dependencies {
        needed.insert(workspace.full_name(need)?.registry);
    }
    let mut moments = BTreeMap::new();
    for At { registry, moment } in at {
        let own = workspace.own.as_ref().filter(|own| needed.contains(own));
        let only = needed.first().filter(|_| needed.len() == 1);
        let Some(name) = registry.as_ref().or(own).or(only) else {
            let all: Vec<String> = needed.iter().map(ToString::to_string).collect();
            return Err(fault!(Usage, "--at {moment} could mean any of {}", all.join(", "))
                .hint(format!("name the registry: --at {}={moment}", needed.first().map_or("REGISTRY", |name| name.as_str()))));
        };
        if moments.insert(name.clone(), *moment).is_some() {
            return Err(fault!(Usage, "--at names two moments of {name}"));
        }
    }
    Ok(moments)
}

impl Install {
    /// Says whether nothing may be fetched.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }
}

/// Runs `quipu update`.
///
/// # Errors
/// `not-found` where a package is not needed, those of [`install`].
pub fn update(context: &Context, args: &Update) -> Result<Answer> {
    let workspace = Workspace::open(context, &context.folder)?;
    let insist = insisted(context, workspace.own.as_ref(), &args.insist.releases)?;
    if args.packages.is_empty() {
        return bring(context, &workspace, &Plan { update: Anew::All, insist, ..Plan::default() });
    }
    let mut names = BTreeSet::new();
    for reference in &args.packages {
        if reference.version.is_some() || reference.anchor.is_some() {
            return Err(fault!(Usage, "{reference} names a version: update takes the newest that quipu.toml lets in")
                .hint("to need another: quipu add NAMESPACE:NAME@REQUIREMENT"));
        }
        let registry = which(context, reference.registry.as_ref(), workspace.own.as_ref())?;
        let name = FullName { registry, package: reference.package.clone() };
        let is_locked = workspace
            .lock
            .known()
            .is_some_and(|lock| lock.packages.iter().any(|(pin, package)| pin.name == name || package.asked_as.contains(&name)));
        let mut needed = workspace.project.dependencies.iter().map(|needed| workspace.full_name(needed));
        if !is_locked && !needed.any(|needed| needed.is_ok_and(|needed| needed == name)) {
            return Err(fault!(NotFound, "{name} is neither in quipu.toml nor in {}", lockfile::FILE)
                .hint(format!("to need it: quipu add {name}")));
        }
        names.insert(name);
    }
    bring(context, &workspace, &Plan { update: Anew::Some(names), is_followed: true, insist, ..Plan::default() })
}

/// Runs `quipu add`.
///
/// # Errors
/// `not-found`, those of [`install`]. quipu.toml is as it was then.
pub fn add(context: &Context, args: &Add) -> Result<Answer> {
    let mut text = Project::text(&context.folder)?;
    let project = Project::parse(&text)?;
    let mut added = BTreeSet::new();
    for wanted in &args.packages {
        let named = project.package.as_ref().and_then(|package| package.registry.as_ref());
        let registry = which(context, wanted.registry.as_ref(), named)?;
        let name = FullName { registry, package: wanted.reference.package.clone() };
        let requirement = match &wanted.requirement {
            Some(requirement) => requirement.clone(),
            None => newest_of(context, &name, wanted)?,
        };
        // What is no default here stands with its registry, so that the file means the same to everybody.
        let key = if named == Some(&name.registry) { name.package.to_string() } else { name.to_string() };
        let also = if key == name.to_string() { name.package.to_string() } else { name.to_string() };
        let key = if project.dependencies.iter().any(|needed| key_of(needed) == also) && wanted.registry.is_none() {
            also
        } else {
            key
        };
        text = Project::add(&text, &key, &requirement, wanted.anchor.as_ref())?;
        added.insert(name);
    }
    let workspace = Workspace::with_text(context, &context.folder, text)?;
    let insist = insisted(context, workspace.own.as_ref(), &args.insist.releases)?;
    bring(context, &workspace, &Plan { update: Anew::Some(added), insist, ..Plan::default() })
}

fn key_of(needed: &crate::disk::project::Needed) -> String {
    match &needed.registry {
        Some(registry) => format!("{registry}/{}", needed.package),
        None => needed.package.to_string(),
    }
}

/// Returns the newest version of a package, as a requirement.
fn newest_of(context: &Context, name: &FullName, wanted: &Wanted) -> Result<String> {
    let client = Client::open(context, name.registry.clone())?;
    let reference = Reference { registry: Some(name.registry.clone()), anchor: wanted.anchor, ..wanted.reference.clone() };
    let (snapshot, view) = client.look(&reference)?;
    let version = newest(&view.log.log, &view.takedowns, None)?.release.version.to_string();
    client.remember(&snapshot, [(&name.package, &view)])?;
    Ok(version)
}

/// Runs `quipu remove`.
///
/// # Errors
/// `not-found` where quipu.toml has none of that name, those of [`install`]. quipu.toml is as it was then.
pub fn remove(context: &Context, args: &Remove) -> Result<Answer> {
    Project::load(&context.folder)?;
    let text = Project::text(&context.folder)?;
    let known: Vec<String> = Project::parse(&text)?.dependencies.iter().map(key_of).collect();
    let mut keys = Vec::new();
    for name in &args.packages {
        // What is written without its registry is meant by its name, where only one has that.
        let mut alike = known.iter().filter(|key| key.rsplit('/').next() == Some(name));
        let key = match (known.contains(name), alike.next(), alike.next()) {
            (true, ..) => name,
            (false, Some(key), None) => key,
            (false, first, _) => {
                let error = fault!(
                    NotFound,
                    "quipu.toml needs no {name:?}{}",
                    if first.is_some() { " of one registry alone" } else { "" }
                );
                return Err(if known.is_empty() { error } else { error.hint(format!("it needs {}", known.join(", "))) });
            }
        };
        keys.push(key.clone());
    }
    let text = Project::remove(&text, &keys)?;
    let workspace = Workspace::with_text(context, &context.folder, text)?;
    let insist = insisted(context, workspace.own.as_ref(), &args.insist.releases)?;
    bring(context, &workspace, &Plan { insist, ..Plan::default() })
}

/// Runs `quipu vendor`.
///
/// # Errors
/// Those of [`install`].
pub fn vendor(context: &Context, args: &Vendor) -> Result<Answer> {
    let workspace = Workspace::open(context, &context.folder)?;
    let insist = insisted(context, workspace.own.as_ref(), &args.insist.releases)?;
    bring(context, &workspace, &Plan { vendor: Some(context.path(&args.folder)), insist, ..Plan::default() })
}

fn bring(context: &Context, workspace: &Workspace, plan: &Plan) -> Result<Answer> {
    let fitting = workspace.fitting_lock()?;
    let kept = match (&fitting, &plan.update) {
        (Err(why), _) if plan.locked => {
            let error = fault!(LockMismatch, "{}", why.message());
            return Err(error.hint("without --locked it is brought in order: quipu install"));
        }
        (Ok(lock), Anew::Nothing) => Some(*lock),
        _ => None,
    };
    let mut names = BTreeMap::new();
    for needed in &workspace.project.dependencies {
        names.insert(workspace.full_name(needed)?.registry, None);
    }
    if let Some(lock) = workspace.lock.known() {
        // What is chosen anew may need fewer registries; what is kept needs all.
        let is_needed = |name: &RegistryName| kept.is_some() || names.contains_key(name);
        let known: Vec<_> = lock.registries.iter().filter(|(name, _)| is_needed(name)).collect();
        names.extend(known.into_iter().map(|(name, registry)| (name.clone(), Some(registry.id))));
    }
    // Who names an anchor says which log is meant.
    let anchored = workspace.project.dependencies.iter().filter(|needed| needed.anchor.is_some());
    let mut followed = anchored.map(|needed| workspace.full_name(needed)).collect::<Result<BTreeSet<_>>>()?;
    if let (true, Anew::Some(names)) = (plan.is_followed, &plan.update) {
        followed.extend(names.iter().cloned());
    }
    let meant = meanings(workspace, plan)?;
    followed.extend(meant.keys().cloned());
    loop {
        trust_all(context, workspace, &names)?;
        let clients = clients(context, workspace, names.keys().cloned(), &followed)?;
        let root = plan.vendor.clone().unwrap_or_else(|| workspace.folder.join(installed::FOLDER));
        let steps = Steps::new(context);
        let mut work =
            Work { context, workspace, plan, root, meant: &meant, registries: Registries::new(), doubts: Vec::new(), steps };
        if let Some(lock) = kept {
            return work.keep(&clients, lock);
        }
        check_merged(context, workspace)?;
        for client in &clients {
            let mut opened = work.open(client)?;
            if let Some(moment) = plan.at.get(&client.name) {
                opened.go_back(moment)?;
            }
            work.registries.insert(client.name.clone(), opened);
        }
        let (preferred, sought) = work.preferences();
        let insist = preferred
            .iter()
            .filter(|(key, version)| plan.insist.contains(&Pin { name: key.name.clone(), version: version.clone() }));
        let insist = insist.cloned().collect();
        let step = work.steps.step("choosing versions", work.may_ask());
        let chosen = choose(&mut work.registries, workspace, preferred, insist, sought)?;
        drop(step);
        match chosen {
            Chosen::Beyond(name, id) => {
                // What is here is not fetched again.
                work.registries.values().try_for_each(Opened::remember)?;
                names.insert(name, Some(id));
            }
            Chosen::All(solution, renamed) => {
                let lock = lock_of(&work.registries, workspace, &solution, &renamed)?;
                if let Some(name) = plan.at.keys().find(|name| !work.registries.contains_key(*name)) {
                    return Err(fault!(Usage, "--at names {name}, of which nothing is needed"));
                }
                work.check_now(&lock)?;
                work.check_old_meanings(&lock)?;
                let is_told = |pin: &Pin| work.doubts.iter().any(|(told, _)| told == pin);
                let flagged: Vec<&Pin> =
                    lock.packages.iter().filter(|(pin, package)| package.flagged && !is_told(pin)).map(|(pin, _)| pin).collect();
                work.doubts.extend(flagged.into_iter().map(|pin| (pin.clone(), Doubt::Flagged)));
                let written = work.bring(&lock)?;
                return work.finish(&lock, &written);
            }
        }
    }
}

/// Returns the logs that a project means by names: those that quipu.toml anchors, and those that the lock has of what is not chosen anew by its
/// name.
fn meanings(workspace: &Workspace, plan: &Plan) -> Result<BTreeMap<FullName, Meaning>> {
    let mut meant = BTreeMap::new();
    let is_let_go = |name: &FullName, package: &lockfile::LockedPackage| match &plan.update {
        Anew::Some(names) => plan.is_followed && (names.contains(name) || !names.is_disjoint(&package.asked_as)),
        Anew::Nothing | Anew::All => false,
    };
    for (pin, package) in workspace.lock.known().into_iter().flat_map(|lock| &lock.packages) {
        if !is_let_go(&pin.name, package) {
            meant.insert(pin.name.clone(), Meaning::Log(package.log));
        }
    }
    for needed in &workspace.project.dependencies {
        if let Some(anchor) = needed.anchor {
            meant.insert(workspace.full_name(needed)?, Meaning::Anchor(anchor));
        }
    }
    Ok(meant)
}

/// Checks that a registry stands on what both sides of a lock have seen that git could not merge.
fn check_merged(context: &Context, workspace: &Workspace) -> Result<()> {
    let Locked::ToMend(merged, _) = &workspace.lock else { return Ok(()) };
    for (name, earlier) in &merged.earlier {
        let mut lock = Lockfile::default();
        if let Some(registry) = merged.lock.registries.get(name) {
            lock.registries.insert(name.clone(), lockfile::LockedRegistry { checkpoint: *earlier, ..registry.clone() });
        }
        let mut client = Client::open(context, name.clone())?;
        if let Some(seen) = Memory::of_lock(name, &lock) {
            client.only_seen(seen);
        }
        Opened::open(&client)?;
    }
    Ok(())
}

/// What was written now, and what was deleted.
#[derive(Default)]
struct Written {
    written: BTreeSet<Pin>,
    removed: Vec<Pin>,
}

/// The work on a project.
struct Work<'w> {
    context: &'w Context,
    workspace: &'w Workspace,
    plan: &'w Plan,
    root: PathBuf,
    /// Which logs are meant by names.
    meant: &'w BTreeMap<FullName, Meaning>,
    registries: Registries<'w>,
    /// What has to be said of what is taken all the same.
    doubts: Vec<(Pin, Doubt)>,
    steps: Steps,
}

impl<'w> Work<'w> {
    /// Reads a registry as it is now.
    fn open(&self, client: &'w Client<'w>) -> Result<Opened<'w>> {
        let _step = self.steps.step(format!("reading {}", client.name), client.may_ask());
        let mut opened = Opened::open(client)?;
        let own = self.meant.iter().filter(|(name, _)| name.registry == client.name);
        opened.meant = own.map(|(name, meaning)| (name.package.clone(), *meaning)).collect();
        Ok(opened)
    }

    /// Says whether a person may be asked for a password when more is read of these registries.
    fn may_ask(&self) -> bool {
        self.registries.values().any(|opened| opened.snapshot.may_ask())
    }

    /// Brings what a lock says, as it says it.
    fn keep(mut self, clients: &'w [Client<'w>], lock: &Lockfile) -> Result<Answer> {
        let there = Installed::look(&self.root)?;
        let missing: BTreeSet<&Pin> =
            lock.packages.iter().filter(|(pin, package)| !there.has(pin, package.content)).map(|(pin, _)| pin).collect();
        for client in clients {
            let name = &client.name;
            let opened = match self.open(client) {
                Ok(opened) => opened,
                // What is here already is what the lock says, whoever is out of reach.
                Err(error) if error.exit() == 7 && !missing.iter().any(|pin| pin.name.registry == *name) => {
                    self.context.warn(&format!("{name} could not be reached, and all that is needed of it is here: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let opened = self.registries.entry(name.clone()).or_insert(opened);
            let checkpoint = opened.snapshot.checkpoint().digest();
            let is_same = lock.registries.get(name).is_some_and(|seen| seen.checkpoint.digest == checkpoint);
            if let Some(seen) = lock.registries.get(name)
                && !is_same
                && seen.checkpoint.seq == opened.snapshot.checkpoint().seq()
            {
                let (found, seq) = (checkpoint, seen.checkpoint.seq);
                return Err(fault!(Fork, "checkpoint {seq} of {name} is {found}, the lock has seen {}", seen.checkpoint.digest));
            }
            // The checkpoint that the lock was made at says nothing new about what it names.
            let pins: Vec<&Pin> = lock.packages.keys().filter(|pin| pin.name.registry == *name).collect();
            let is_doubted = |pin: &Pin| lock.packages.get(pin).is_some_and(|package| package.flagged);
            let wanted: Vec<&Pin> = pins.into_iter().filter(|pin| !is_same || missing.contains(pin) || is_doubted(pin)).collect();
            let step = self
                .steps
                .step(format!("reading {} of {name}", count(wanted.len() as u64, "package")), opened.snapshot.may_ask());
            let absent = opened.look(wanted.iter().map(|pin| &pin.name.package))?;
            drop(step);
            if let Some((_, why)) = absent.into_iter().next() {
                return Err(why.at(lockfile::FILE));
            }
            for pin in wanted {
                if let Some(package) = lock.packages.get(pin) {
                    let place = (!missing.contains(pin)).then(|| there.path(pin));
                    let doubt = check_locked(&self.registries, pin, package, place.as_deref(), &self.plan.insist)?;
                    self.doubts.extend(doubt.map(|doubt| (pin.clone(), doubt)));
                }
            }
        }
        check_own_anchors(&self.registries, self.workspace)?;
        let written = self.bring(lock)?;
        self.finish(lock, &written)
    }

    /// Returns the versions to stay with, and the packages that come first.
    fn preferences(&self) -> (BTreeSet<Pick>, BTreeSet<PackageKey>) {
        let key = |name: &FullName| {
            let opened = self.registries.get(&name.registry)?;
            Some(PackageKey { name: name.clone(), registry: opened.client.id })
        };
        let sought = match &self.plan.update {
            Anew::Some(names) => names.iter().filter_map(key).collect(),
            Anew::Nothing | Anew::All => BTreeSet::new(),
        };
        let stays = |pin: &Pin, package: &lockfile::LockedPackage| match &self.plan.update {
            Anew::Nothing => true,
            Anew::Some(names) => !names.contains(&pin.name) && names.is_disjoint(&package.asked_as),
            Anew::All => false,
        };
        let Some(lock) = self.workspace.lock.known() else { return (BTreeSet::new(), sought) };
        let known = lock.packages.iter().filter(|(pin, package)| stays(pin, package)).filter_map(|(pin, _)| {
            let id = lock.registries.get(&pin.name.registry)?.id;
            Some((PackageKey { name: pin.name.clone(), registry: id }, pin.version.clone()))
        });
        (known.collect(), sought)
    }

    /// Checks that what was chosen at an earlier moment is handed out still.
    fn check_now(&mut self, lock: &Lockfile) -> Result<()> {
        if self.plan.at.is_empty() {
            return Ok(());
        }
        self.registries.values_mut().try_for_each(Opened::look_at_now)?;
        let there = Installed::look(&self.root)?;
        for (pin, package) in &lock.packages {
            let place = there.has(pin, package.content).then(|| there.path(pin));
            let doubt = check_locked(&self.registries, pin, package, place.as_deref(), &self.plan.insist)?;
            self.doubts.extend(doubt.map(|doubt| (pin.clone(), doubt)));
        }
        Ok(())
    }

    /// Checks that no name means another log than it did, but where it is chosen anew by its name.
    fn check_old_meanings(&self, lock: &Lockfile) -> Result<()> {
        let Some(old) = self.workspace.lock.known() else { return Ok(()) };
        let is_asked = |name: &FullName| matches!(&self.plan.update, Anew::Some(names) if names.contains(name));
        for pin in lock.packages.keys().filter(|pin| !is_asked(&pin.name)) {
            for (before, package) in old.packages.iter().filter(|(before, _)| before.name == pin.name) {
                let (view, _) = released_now(&self.registries, pin)?;
                check_meaning(before, package, view)?;
            }
        }
        Ok(())
    }

    /// Brings the releases of a lock into the folder, and deletes what it does not have.
    fn bring(&mut self, lock: &Lockfile) -> Result<Written> {
        let mut written = Written::default();
        let there = Installed::look(&self.root)?;
        let missing: Vec<(&Pin, &lockfile::LockedPackage)> =
            lock.packages.iter().filter(|(pin, package)| !there.has(pin, package.content)).collect();
        let is_tidy = there.all().all(|pin| lock.packages.contains_key(pin));
        written.written = missing.iter().map(|(pin, _)| (*pin).clone()).collect();
        if self.context.flags.dry_run {
            written.removed = there.all().filter(|pin| !lock.packages.contains_key(pin)).cloned().collect();
            return Ok(written);
        }
        if missing.is_empty() && is_tidy {
            return Ok(written);
        }
        for (name, opened) in &self.registries {
            let mut releases = Vec::new();
            for (pin, _) in missing.iter().filter(|(pin, _)| pin.name.registry == *name) {
                releases.push(released(&self.registries, pin)?.1.release.clone());
            }
            let all = count(releases.len() as u64, "release");
            let _step = self.steps.step(format!("fetching {all} of {name}"), opened.snapshot.may_ask());
            opened.snapshot.gather_contents(releases.iter().map(|release| &**release))?;
        }
        let mut installed = Installed::change(&self.root)?;
        let mut begun = Vec::new();
        let (step, all) = (self.steps.step("writing releases", self.may_ask()), missing.len());
        for (number, (pin, package)) in missing.into_iter().enumerate() {
            step.say(format!("writing release {} of {all}", number + 1));
            let release = released(&self.registries, pin)?.1.release.clone();
            let Some(opened) = self.registries.get_mut(&pin.name.registry) else { continue };
            if let Some(mut writer) = installed.begin(pin, package.content, &opened.snapshot.limits())? {
                let brought = opened.snapshot.contents(&pin.name.package, &release, |file, bytes| writer.add(file, bytes));
                brought.map_err(|error| error.at(pin))?;
                writer.settle()?;
                begun.push((pin.clone(), package.content, writer));
            }
        }
        step.say("writing to disk");
        installed.finish(begun)?;
        written.removed = installed.keep_only(|pin| lock.packages.contains_key(pin))?;
        installed.save()?;
        drop(step);
        Ok(written)
    }

    /// Writes the lock, remembers what was seen, and says what was done.
    fn finish(self, lock: &Lockfile, written: &Written) -> Result<Answer> {
        let is_dry = self.context.flags.dry_run;
        let old = self.workspace.lock.known();
        let is_new = |pin: &&Pin| old.is_none_or(|old| !old.packages.contains_key(*pin));
        let added: Vec<&Pin> = lock.packages.keys().filter(is_new).collect();
        let is_gone = |pin: &&Pin| !lock.packages.contains_key(*pin);
        let dropped: Vec<&Pin> = old.into_iter().flat_map(|old| old.packages.keys()).filter(is_gone).collect();
        // Where the same versions were chosen, the lock stays as it is: it is no diary of checkpoints.
        let is_same = self.plan.at.is_empty()
            && matches!(&self.workspace.lock, Locked::Whole(old) if added.is_empty() && dropped.is_empty()
            && old.packages.iter().all(|(pin, package)| lock.packages.get(pin).is_some_and(|new| new.log == package.log && new.dependencies == package.dependencies)));
        let mut is_written = false;
        if !is_dry {
            self.registries.values().try_for_each(Opened::remember)?;
            is_written = match (&self.workspace.lock, is_same) {
                (Locked::Whole(old), true) => self.workspace.save(old)?,
                _ => self.workspace.save(lock)?,
            };
        }
        let mut answer = Answer::new();
        for pin in &added {
            answer.line(format!("  + {pin}"));
        }
        for pin in &dropped {
            answer.line(format!("  - {pin}"));
        }
        for (pin, doubt) in &self.doubts {
            answer.line(format!("  warning: {}", doubt.tell(pin)));
        }
        let mut notes: Vec<String> = self
            .plan
            .insist
            .iter()
            .filter(|pin| !self.doubts.iter().any(|(doubted, _)| doubted == *pin))
            .map(|pin| match lock.packages.contains_key(pin) {
                true => format!("{pin} is not flagged: --allow-flagged is not needed for it"),
                false => format!("{pin} was not chosen: --allow-flagged is for what quipu.lock names already"),
            })
            .collect();
        for pin in lock.packages.keys() {
            if let Ok((_, found)) = released_now(&self.registries, pin)
                && let Some(reason) = &found.yanked
            {
                let reason = if reason.is_empty() { "no reason given" } else { reason };
                notes.push(format!("{pin} is yanked: {reason}"));
            }
        }
        for (pin, package) in &lock.packages {
            notes.extend(package.asked_as.iter().map(|asked| format!("{asked} was renamed, its name is {} now", pin.name)));
        }
        let names: BTreeSet<&FullName> = lock.packages.keys().map(|pin| &pin.name).collect();
        for name in names {
            let view = self.registries.get(&name.registry).and_then(|opened| opened.views.get(&name.package));
            if let Some(reset) = view.and_then(PackageView::put_aside) {
                notes.push(format!("{}; to take the new one: quipu update {name}", Client::of_put_aside(name, reset)));
            }
            if let Some(renamed) = view.and_then(PackageView::renamed_to) {
                notes.push(format!("{name} was renamed, its name is {renamed} now"));
            }
        }
        for note in &notes {
            answer.line(format!("  note: {note}"));
        }
        let folder = self.root.strip_prefix(&self.workspace.folder).unwrap_or(&self.root).display().to_string();
        let all = count(lock.packages.len() as u64, "release");
        let (would, deleted) = if is_dry { ("would bring", "would delete") } else { ("brought", "deleted") };
        answer.line(match (written.written.len(), written.removed.len()) {
            (0, 0) => format!("{all} in {folder}, nothing to bring"),
            (0, gone) => format!("{all} in {folder}, {deleted} {gone} that nothing needs"),
            (new, 0) => format!("{all} in {folder}, {would} {new}"),
            (new, gone) => format!("{all} in {folder}, {would} {new}, {deleted} {gone} that nothing needs"),
        });
        if is_written {
            answer.line(format!("wrote {}", lockfile::FILE));
        }
        let pins = |pins: &mut dyn Iterator<Item = &Pin>| pins.map(ToString::to_string).collect::<Vec<_>>();
        let packages = lock.packages.iter().map(|(pin, package)| {
            json!({
                "registry": pin.name.registry.as_str(),
                "package": pin.name.package.to_string(),
                "version": pin.version.to_string(),
                "content": package.content.to_string(),
                "asked-as": package.asked_as.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        answer.field("packages", packages.collect::<Vec<_>>());
        answer.field("added", pins(&mut added.into_iter()));
        answer.field("dropped", pins(&mut dropped.into_iter()));
        answer.field("brought", pins(&mut written.written.iter()));
        answer.field("deleted", pins(&mut written.removed.iter()));
        answer.field("warnings", self.doubts.iter().map(|(pin, doubt)| doubt.tell(pin)).collect::<Vec<_>>());
        let flagged = self.doubts.iter().filter(|(_, doubt)| matches!(doubt, Doubt::Flagged));
        answer.field("flagged", flagged.map(|(pin, _)| pin.to_string()).collect::<Vec<_>>());
        answer.field("notes", notes);
        answer.field("folder", self.root.display().to_string());
        answer.field("lock-written", is_written);
        let checkpoints = self.registries.iter().map(|(name, opened)| {
            let checkpoint = opened.snapshot.checkpoint();
            json!({
                "registry": name.as_str(),
                "seq": checkpoint.seq(),
                "digest": checkpoint.digest().to_string(),
                "sources": Client::sources(&opened.snapshot),
            })
        });
        answer.field("checkpoints", checkpoints.collect::<Vec<_>>());
        Ok(answer)
    }
}
