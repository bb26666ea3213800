//! What a project needs: read from the registries that have it, chosen, and checked against what the lock says.

use super::client::{Client, which};
use super::context::Context;
use super::trust;
use super::workspace::Workspace;
use crate::disk::config::Config;
use crate::disk::trusted::Trust;
use crate::log::decision::Takedown;
use crate::log::package::Released;
use crate::model::digest::{LogId, RecordDigest, RegistryId};
use crate::model::entry::TakedownClass;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::lockfile::{Head, LockedDecisions, LockedPackage, LockedRegistry, Lockfile, Pin};
use crate::model::moment::Moment;
use crate::model::name::{FullName, PackageName, Reference, RegistryName};
use crate::model::record::SignedRecord;
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::check_anchor;
use crate::trust::memory::Memory;
use crate::trust::resolve::{Candidate, Edge, Known, Need, Outcome, PackageKey, Pick, Request, Solution, Universe, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What asks for the needs of a project, in messages.
const ASKER: &str = "quipu.toml";

/// A registry that is read, with the packages of it that were looked at.
pub struct Opened<'s> {
    /// Whose it is.
    pub client: &'s Client<'s>,
    /// The registry.
    pub snapshot: Snapshot<'s>,
    /// Its packages.
    pub views: BTreeMap<PackageName, PackageView>,
    /// Those that were chosen at an earlier moment, as they are now.
    pub now: Option<BTreeMap<PackageName, PackageView>>,
    /// Which logs are meant by names that may have been reset.
    pub meant: BTreeMap<PackageName, Meaning>,
}

/// Which log a project means by a name, whatever the name means now.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// The one that a lock names.
    Log(LogId),
    /// The one that holds this record.
    Anchor(RecordDigest),
}

/// All registries that are read, by name.
pub type Registries<'s> = BTreeMap<RegistryName, Opened<'s>>;

impl<'s> Opened<'s> {
    /// Reads a registry as it is now. Where neither it nor a mirror can be reached, what was seen last has to do, and that is said.
    ///
    /// # Errors
    /// Those of [`Client::snapshot`], `stale`.
    pub fn open(client: &'s Client<'s>) -> Result<Self> {
        let snapshot = client.snapshot(None).or_else(|error| {
            if client.context.flags.offline || error.exit() != ErrorCode::Network.exit_when_asked() {
                return Err(error);
            }
            let Ok(kept) = client.snapshot_kept() else { return Err(error) };
            client.context.warn(&format!("{} could not be reached: {error}", client.name));
            let seq = kept.checkpoint().seq();
            client.context.note(&format!("what was seen of {} last is used, its checkpoint {seq}", client.name));
            Ok(kept)
        })?;
        snapshot.check_fresh(client.context.now)?;
        client.check_locked(&snapshot)?;
        Ok(Opened { client, snapshot, views: BTreeMap::new(), now: None, meant: BTreeMap::new() })
    }

    /// Reads packages, all of them at once, and returns for each that there is none of why.
    ///
    /// # Errors
    /// Those of [`Snapshot::package`], but for `not-found` and `not-published`.
    pub fn look<'n>(&mut self, packages: impl IntoIterator<Item = &'n PackageName>) -> Result<BTreeMap<PackageName, Error>> {
        let packages: BTreeSet<PackageName> =
            packages.into_iter().filter(|package| !self.views.contains_key(*package)).cloned().collect();
        let packages: Vec<PackageName> = packages.into_iter().collect();
        packages.iter().try_for_each(|package| self.client.check_trusted(package))?;
        if !packages.is_empty() {
            self.snapshot.gather(&packages)?;
        }
        let mut absent = BTreeMap::new();
        for package in packages {
            match self.snapshot.package(&package) {
                Ok(view) => {
                    let view = self.meant(&package, view)?;
                    self.views.insert(package, view);
                }
                Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::NotPublished) => {
                    absent.insert(package, error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(absent)
    }

    /// Takes the log that is meant by a name, where a reset gave the name another one.
    fn meant(&mut self, package: &PackageName, view: PackageView) -> Result<PackageView> {
        match self.meant.get(package) {
            Some(Meaning::Anchor(anchor)) => self.snapshot.meant_by(view, anchor),
            Some(Meaning::Log(log)) if view.log.log.chain().id() != *log => {
                Ok(self.snapshot.put_aside(&view, *log)?.unwrap_or(view))
            }
            _ => Ok(view),
        }
    }

    /// Looks at the registry as it was at an earlier moment.
    ///
    /// # Errors
    /// Those of [`Snapshot::go_back`].
    pub fn go_back(&mut self, moment: &Moment) -> Result<()> {
        self.now = Some(BTreeMap::new());
        self.snapshot.go_back(moment).map_err(|error| error.at("--at"))
    }

    /// Looks at what was chosen at an earlier moment as it is now, and goes back.
    ///
    /// # Errors
    /// Those of [`Snapshot::package`].
    pub fn look_at_now(&mut self) -> Result<()> {
        if self.now.is_none() {
            return Ok(());
        }
        let moment = Moment::Both(self.snapshot.checkpoint().seq(), self.snapshot.checkpoint().digest());
        self.snapshot.come_back();
        let then = std::mem::take(&mut self.views);
        for (package, view) in &then {
            self.meant.insert(package.clone(), Meaning::Log(view.log.log.chain().id()));
        }
        let packages: Vec<PackageName> = then.keys().cloned().collect();
        let absent = self.look(&packages);
        self.now = Some(std::mem::replace(&mut self.views, then));
        match absent?.into_iter().next() {
            Some((_, why)) => Err(why),
            None => self.snapshot.go_back(&moment),
        }
    }

    /// Keeps what was fetched and verified, and remembers what was seen.
    ///
    /// # Errors
    /// Those of [`Client::remember`].
    pub fn remember(&self) -> Result<()> {
        self.client.remember(&self.snapshot, self.now.as_ref().unwrap_or(&self.views))
    }
}

/// Finds registries among those that are trusted. At a terminal the user is asked about each other one; elsewhere nothing is trusted.
///
/// # Errors
/// `not-trusted` with the commands that would trust them, `id-mismatch`.
pub fn trust_all(context: &Context, workspace: &Workspace, names: &BTreeMap<RegistryName, Option<RegistryId>>) -> Result<()> {
    let file = Trust::load(&context.home)?;
    let config = Config::load(&context.home)?;
    let mut unknown = Vec::new();
    for (name, id) in names {
        let said = workspace.project.registries.get(name);
        if let (Some(one), Some(other)) = (*id, said.and_then(|said| said.id))
            && one != other
        {
            return Err(fault!(IdMismatch, "the registry {name} is needed with the id {one}, {ASKER} says {other}"));
        }
        let wanted = id.or(said.and_then(|said| said.id));
        match (file.get(name), wanted) {
            (Some(trusted), Some(wanted)) if trusted.id != wanted => {
                return Err(fault!(
                    IdMismatch,
                    "the registry {name} is needed with the id {wanted}, it is trusted with {}",
                    trusted.id
                )
                .hint("one of the two is another registry that bears the same name"));
            }
            (Some(_), _) => {}
            (None, _) => {
                let url = file.place(name, &config).map(|place| place.url).or_else(|| said.and_then(|said| said.url.clone()));
                unknown.push((name, url, wanted));
            }
        }
    }
    if context.can_ask() && !context.flags.dry_run {
        for (name, url, wanted) in unknown {
            let mirrors = workspace.project.registries.get(name).map_or(&[][..], |said| &said.mirrors);
            let add = trust::Wanted { domain: name, url: url.as_deref(), id: wanted, mirrors, only: &[], is_hearsay: true };
            trust::add(context, &add).map_err(|error| match (error.code(), &url) {
                (ErrorCode::NotFound | ErrorCode::Network, None) => {
                    let id = wanted.map(|id| format!(" --id {id}")).unwrap_or_default();
                    fault!(NotTrusted, "the registry {name} is needed, and is not trusted; {}", error.message())
                        .hint(format!("where you know its URL: quipu trust add {name} URL{id}"))
                }
                _ => error,
            })?;
        }
        return Ok(());
    }
    let Some((first, ..)) = unknown.first() else { return Ok(()) };
    let error = match unknown.len() {
        1 => fault!(NotTrusted, "the registry {first} is needed, and is not trusted"),
        more => fault!(NotTrusted, "{more} registries are needed that are not trusted, {first} first"),
    };
    Err(unknown.into_iter().fold(error, |error, (name, url, wanted)| {
        let url = url.map(|url| format!(" {url}")).unwrap_or_default();
        let id = wanted.map(|id| format!(" --id {id}")).unwrap_or_default();
        error.hint(format!("look at it and decide: quipu trust add {name}{url}{id}"))
    }))
}

/// Finds clients of registries, to whom what the lock says was seen is seen, and who follow these names through resets.
///
/// # Errors
/// Those of [`Client::open`].
pub fn clients<'c>(
    context: &'c Context,
    workspace: &Workspace,
    names: impl IntoIterator<Item = RegistryName>,
    followed: &BTreeSet<FullName>,
) -> Result<Vec<Client<'c>>> {
    let mut clients = names.into_iter().map(|name| Client::open(context, name)).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        if let Some(seen) = workspace.lock.known().and_then(|lock| Memory::of_lock(&client.name, lock)) {
            client.also_seen(seen);
        }
        for name in followed.iter().filter(|name| name.registry == client.name).cloned().collect::<Vec<_>>() {
            client.follow(&name.package);
        }
    }
    Ok(clients)
}

/// Packages by names that they left, and what they are called now. The two are one package.
#[derive(Clone, Debug, Default)]
pub struct Renamed(BTreeMap<PackageKey, PackageKey>);

impl Renamed {
    /// Returns the package under the name that it has now, as far as that is known.
    fn now<'k>(&'k self, key: &'k PackageKey) -> &'k PackageKey {
        self.0.get(key).unwrap_or(key)
    }

    fn apply(&self, key: &mut PackageKey) {
        if let Some(now) = self.0.get(key) {
            *key = now.clone();
        }
    }

    fn apply_to_picks(&self, picks: &BTreeSet<Pick>) -> BTreeSet<Pick> {
        picks.iter().map(|(key, version)| (self.now(key).clone(), version.clone())).collect()
    }

    /// Asks for everything by the names that packages have now.
    fn apply_to(&self, request: &mut Request, universe: &mut Universe) {
        let candidates = universe.values_mut().flat_map(|known| &mut known.candidates);
        candidates
            .flat_map(|candidate| &mut candidate.needs)
            .chain(&mut request.needs)
            .for_each(|need| self.apply(&mut need.package));
        request.preferred = self.apply_to_picks(&request.preferred);
        request.insist = self.apply_to_picks(&request.insist);
        request.sought = request.sought.iter().map(|key| self.now(key).clone()).collect();
    }
}

/// What came of an attempt to choose.
pub enum Chosen {
    /// Everything is chosen.
    All(Solution, Renamed),
    /// This registry has to be read as well, which has this id.
    Beyond(RegistryName, RegistryId),
}

/// Chooses versions for what a project needs, and reads what has to be known for it.
///
/// # Errors
/// `no-solution`, `anchor-mismatch`, `id-mismatch`, and all that reading a package can end in.
pub fn choose(
    registries: &mut Registries<'_>,
    workspace: &Workspace,
    preferred: BTreeSet<Pick>,
    insist: BTreeSet<Pick>,
    sought: BTreeSet<PackageKey>,
) -> Result<Chosen> {
    let mut needs = Vec::new();
    for needed in &workspace.project.dependencies {
        let name = workspace.full_name(needed)?;
        let Some(opened) = registries.get(&name.registry) else { return Err(fault!(Bug, "{} was not opened", name.registry)) };
        let key = PackageKey { registry: opened.client.id, name };
        needs.push(Need { package: key, requirement: needed.requirement.clone() });
    }
    let mut request = Request { asker: ASKER.to_owned(), needs, preferred, insist, sought };
    let mut universe = Universe::new();
    // What a lock names is needed most likely: so it comes with the first fetch.
    let mut wanted: BTreeSet<PackageKey> = request.preferred.iter().map(|(key, _)| key.clone()).collect();
    wanted.retain(|key| registries.get(&key.name.registry).is_some_and(|opened| opened.client.id == key.registry));
    wanted.extend(request.needs.iter().map(|need| need.package.clone()));
    let mut renamed = Renamed::default();
    loop {
        while !wanted.is_empty() {
            if let Some(beyond) = read_known(registries, &mut universe, &wanted)? {
                return Ok(beyond);
            }
            wanted = follow(registries, &mut universe, &wanted, &mut renamed);
        }
        renamed.apply_to(&mut request, &mut universe);
        // Before anything of what was read is remembered.
        check_own_anchors(registries, workspace)?;
        match resolve(&universe, &request)? {
            Outcome::NeedMore(more) => wanted = more,
            Outcome::Solved(solution) => {
                check_anchors(registries, workspace, &solution)?;
                return Ok(Chosen::All(solution, renamed));
            }
        }
    }
}

/// Reads packages into what the choice is made from; returns a registry that is not read yet, where one of them is of such a one.
fn read_known(registries: &mut Registries<'_>, universe: &mut Universe, wanted: &BTreeSet<PackageKey>) -> Result<Option<Chosen>> {
    for key in wanted {
        let name = &key.name.registry;
        match registries.get(name) {
            None => return Ok(Some(Chosen::Beyond(name.clone(), key.registry))),
            Some(opened) if opened.client.id != key.registry => {
                let found = opened.client.id;
                return Err(fault!(IdMismatch, "{key} is needed of the registry {}, {name} is {found} here", key.registry)
                    .hint("two registries bear the same name, and only one of them is trusted"));
            }
            Some(_) => {}
        }
    }
    for (name, opened) in registries.iter_mut() {
        let keys: Vec<&PackageKey> = wanted.iter().filter(|key| key.name.registry == *name).collect();
        let absent = opened.look(keys.iter().map(|key| &key.name.package))?;
        for key in keys {
            let package = &key.name.package;
            let known = match (opened.views.get(package), absent.get(package)) {
                (Some(view), _) => known(key, view),
                (None, why) => Known { candidates: Vec::new(), note: why.map(|why| why.message().to_owned()) },
            };
            universe.insert(key.clone(), known);
        }
    }
    Ok(None)
}

/// Finds those among packages that left the names that they were asked for by, and returns what they are called now, as far as that is not known
/// yet.
fn follow(
    registries: &Registries<'_>,
    universe: &mut Universe,
    asked: &BTreeSet<PackageKey>,
    renamed: &mut Renamed,
) -> BTreeSet<PackageKey> {
    let mut further = BTreeSet::new();
    for key in asked {
        let opened = registries.get(&key.name.registry);
        let Some((opened, view)) = opened.and_then(|opened| Some((opened, opened.views.get(&key.name.package)?))) else {
            continue;
        };
        // A lock may mean the very log that was put aside.
        let is_meant =
            |to: &PackageName| matches!(opened.meant.get(to), Some(Meaning::Log(log)) if *log == view.log.log.chain().id());
        let kept = view.lost_to().filter(|(to, _)| is_meant(to));
        let kept = kept.map(|(to, _)| FullName { registry: key.name.registry.clone(), package: to.clone() });
        if let Some((to, reset)) = view.lost_to().filter(|_| kept.is_none()) {
            let note = format!("{} was renamed to {to}, which means another log now: {}", key.name, reset.reason);
            universe.insert(key.clone(), Known { candidates: Vec::new(), note: Some(note) });
        } else if let Some(name) = kept.or(view.renamed_to()) {
            let now = PackageKey { name, registry: key.registry };
            universe.remove(key);
            if !universe.contains_key(&now) {
                further.insert(now.clone());
            }
            renamed.0.insert(key.clone(), now);
        }
    }
    further
}

/// Says of a package what there is to choose from.
fn known(key: &PackageKey, view: &PackageView) -> Known {
    let log = &view.log.log;
    let candidate = |released: &Released| {
        let release = &released.release;
        let needs = release.dependencies.iter().map(|dependency| {
            let (registry, id) = dependency.registry.clone().unwrap_or_else(|| released.registry.clone());
            let name = FullName { registry, package: dependency.package.clone() };
            Need { package: PackageKey { name, registry: id }, requirement: dependency.requirement.clone() }
        });
        let takedown = view.takedown_of(&release.version);
        Candidate {
            version: release.version.clone(),
            needs: needs.collect(),
            yanked: released.yanked.clone(),
            flagged: released.flagged,
            taken_down: takedown.map(|takedown| format!("{}, {}", takedown.class.as_str(), takedown.reason)),
        }
    };
    debug_assert_eq!(view.name, key.name);
    Known { candidates: log.releases().map(candidate).collect(), note: None }
}

/// Finds a package that was looked at, and a release of it.
///
/// # Errors
/// `lock-mismatch` where there is none.
pub fn released<'r>(registries: &'r Registries<'_>, pin: &Pin) -> Result<(&'r PackageView, &'r Released)> {
    let view = view_of(registries, pin)?;
    view.log.log.release_of(&pin.version).map(|found| (view, found)).ok_or_else(|| missing(pin))
}

fn view_of<'r>(registries: &'r Registries<'_>, pin: &Pin) -> Result<&'r PackageView> {
    let view = registries.get(&pin.name.registry).and_then(|opened| opened.views.get(&pin.name.package));
    view.ok_or_else(|| missing(pin))
}

fn missing(pin: &Pin) -> Error {
    fault!(LockMismatch, "{pin} is in the lock, and its registry has no such release")
}

/// Finds a package as it is now, also where it was chosen at an earlier moment, and a release of it.
///
/// # Errors
/// `lock-mismatch` where there is none.
pub fn released_now<'r>(registries: &'r Registries<'_>, pin: &Pin) -> Result<(&'r PackageView, &'r Released)> {
    let now = registries.get(&pin.name.registry).and_then(|opened| opened.now.as_ref()?.get(&pin.name.package));
    match now.and_then(|view| Some((view, view.log.log.release_of(&pin.version)?))) {
        Some(found) => Ok(found),
        None => released(registries, pin),
    }
}

fn view_now<'r>(registries: &'r Registries<'_>, pin: &Pin) -> Result<&'r PackageView> {
    let now = registries.get(&pin.name.registry).and_then(|opened| opened.now.as_ref()?.get(&pin.name.package));
    now.map_or_else(|| view_of(registries, pin), Ok)
}

fn pin_of((key, version): &Pick) -> Pin {
    Pin { name: key.name.clone(), version: version.clone() }
}

/// Checks that each log that was chosen for a need with an anchor holds the anchor.
fn check_anchors(registries: &Registries<'_>, workspace: &Workspace, solution: &Solution) -> Result<()> {
    check_own_anchors(registries, workspace)?;
    for (pick, edges) in &solution.picks {
        let (_, chosen) = released(registries, &pin_of(pick))?;
        let anchors = chosen.release.dependencies.iter().map(|dependency| dependency.anchor);
        for (edge, anchor) in edges.iter().zip(anchors) {
            let (view, _) = released(registries, &pin_of(&edge.pick()))?;
            check_anchor(&view.log.log, anchor.as_ref()).map_err(|error| error.at(format_args!("{} {}", pick.0, pick.1)))?;
        }
    }
    Ok(())
}

/// Checks the anchors in quipu.toml against the logs that were looked at.
///
/// # Errors
/// `anchor-mismatch`.
pub fn check_own_anchors(registries: &Registries<'_>, workspace: &Workspace) -> Result<()> {
    for needed in workspace.project.dependencies.iter().filter(|needed| needed.anchor.is_some()) {
        let name = workspace.full_name(needed)?;
        if let Some(view) = registries.get(&name.registry).and_then(|opened| opened.views.get(&name.package)) {
            // A name that was left goes on where it leads to.
            let log = view.found().last().map_or(&view.log, |(_, log)| log);
            check_anchor(&log.log, needed.anchor.as_ref()).map_err(|error| error.at(ASKER))?;
        }
    }
    Ok(())
}

/// Checks that a package still is the one that a lock means.
///
/// # Errors
/// `wrong-log` where the name means another log now, `rollback` and `fork` where its log is not the one that was seen.
pub fn check_meaning(pin: &Pin, locked: &LockedPackage, view: &PackageView) -> Result<()> {
    let log = &view.log.log;
    let (name, found) = (&pin.name, log.chain().id());
    if found != locked.log {
        let reset = view.decision_log().and_then(|decisions| decisions.resets().iter().find(|reset| reset.old == locked.log));
        let why = reset.map(|reset| format!(": the operators reset it, {}", reset.reason)).unwrap_or_default();
        return Err(fault!(WrongLog, "the lock means the log {} by {name}, which means {found} now{why}", locked.log)
            .hint(format!("if the new one is what you want: quipu update {name}")));
    }
    match log.place_of(&locked.head.digest) {
        Some(seq) if seq == locked.head.seq => Ok(()),
        _ if log.chain().seq() < locked.head.seq => Err(fault!(
            Rollback,
            "the log of {name} ends at seq {}, the lock has seen seq {}",
            log.chain().seq(),
            locked.head.seq
        )),
        _ => Err(fault!(
            Fork,
            "the log of {name} does not hold {} at seq {}, which the lock has seen",
            locked.head.digest,
            locked.head.seq
        )),
    }
}

/// Returns the releases that `--allow-flagged` names, by their full names.
///
/// # Errors
/// `usage` where one names no version, `no-registry`.
pub fn insisted(context: &Context, own: Option<&RegistryName>, releases: &[Reference]) -> Result<BTreeSet<Pin>> {
    let pin = |reference: &Reference| match (&reference.version, &reference.anchor) {
        (Some(version), None) => {
            let registry = which(context, reference.registry.as_ref(), own)?;
            let name = FullName { registry, package: reference.package.clone() };
            Ok(Pin { name, version: version.clone() })
        }
        _ => Err(fault!(Usage, "--allow-flagged {reference}: expected a release, like {}@1.2.3", reference.package)),
    };
    releases.iter().map(pin).collect()
}

/// What a person has to know of a release that is taken from a lock all the same.
pub enum Doubt {
    /// A key in wrong hands released it, and the user insists.
    Flagged,
    /// It was taken down for this reason; its files are here already.
    TakenDown(Takedown),
}

impl Doubt {
    /// Says it in a sentence about a release.
    pub fn tell(&self, pin: &Pin) -> String {
        match self {
            Doubt::Flagged => format!("{pin} was released by a key in wrong hands, and is taken because --allow-flagged insists"),
            Doubt::TakenDown(takedown) => {
                format!("{pin} was {takedown}; its files are here already and stay, elsewhere nobody gets them")
            }
        }
    }
}

/// Checks that a release of a lock is handed out still: it is in its log, with the same files, and nothing is said against it that counts.
/// `there` is where its files are, where they are here already.
///
/// # Errors
/// `lock-mismatch`, `taken-down` with class and reason, but for what is here and no malware, `flagged` where the user does not insist, those of
/// [`check_meaning`].
pub fn check_locked(
    registries: &Registries<'_>,
    pin: &Pin,
    locked: &LockedPackage,
    there: Option<&Path>,
    insist: &BTreeSet<Pin>,
) -> Result<Option<Doubt>> {
    let other = |error: Error| error.hint(format!("choose another version: quipu update {}", pin.name));
    let view = view_now(registries, pin)?;
    // A takedown stays with its log: it is said of one that a reset put aside, too.
    let takedown = view.takedowns.find(locked.log, &pin.version);
    match (takedown, there) {
        (Some(takedown), Some(there)) if takedown.class == TakedownClass::Malware => {
            let error = fault!(TakenDown, "{pin} was {takedown}");
            return Err(other(error.hint(format!("its files are still here, do not use them: {}", there.display()))));
        }
        (Some(takedown), None) => return Err(other(fault!(TakenDown, "{pin} was {takedown}"))),
        _ => {}
    }
    check_meaning(pin, locked, view)?;
    let (_, released) = released_now(registries, pin)?;
    let content = released.release.content;
    if content != locked.content {
        return Err(fault!(LockMismatch, "{pin} has the content {content}, the lock says {}", locked.content)
            .hint("a release never changes: find out who changed the lock"));
    }
    if released.flagged && !insist.contains(pin) {
        return Err(other(flagged(pin)).hint(format!("to take it all the same: quipu install --allow-flagged {pin}")));
    }
    Ok(match takedown {
        Some(takedown) => Some(Doubt::TakenDown(takedown.clone())),
        None => released.flagged.then_some(Doubt::Flagged),
    })
}

/// Says that nobody is to have a release.
pub fn flagged(pin: &Pin) -> Error {
    fault!(Flagged, "{pin} was released by a key in wrong hands, as its log says later")
}

fn head(record: &SignedRecord) -> Head {
    Head { seq: record.seq(), digest: record.digest(), commit: record.git_id() }
}

/// Writes down what was chosen.
///
/// # Errors
/// `bug`.
pub fn lock_of(registries: &Registries<'_>, workspace: &Workspace, solution: &Solution, renamed: &Renamed) -> Result<Lockfile> {
    let mut lock = Lockfile::default();
    let mut asked: BTreeMap<Pin, BTreeSet<FullName>> = BTreeMap::new();
    let mut ask = |name: FullName, edge: &Edge| {
        let key = PackageKey { name, registry: edge.need.package.registry };
        if *renamed.now(&key) != key {
            asked.entry(pin_of(&edge.pick())).or_default().insert(key.name);
        }
    };
    for (needed, edge) in workspace.project.dependencies.iter().zip(&solution.roots) {
        ask(workspace.full_name(needed)?, edge);
    }
    for (pick, edges) in &solution.picks {
        let (_, chosen) = released(registries, &pin_of(pick))?;
        for (dependency, edge) in chosen.release.dependencies.iter().zip(edges) {
            let registry = dependency.registry.as_ref().map_or(&chosen.registry.0, |(name, _)| name);
            ask(FullName { registry: registry.clone(), package: dependency.package.clone() }, edge);
        }
    }
    for (pick, edges) in &solution.picks {
        let pin = pin_of(pick);
        let (view, released) = released(registries, &pin)?;
        if let Some(opened) = registries.get(&pin.name.registry) {
            let (operators, checkpoint) = (opened.snapshot.operators().head(), opened.snapshot.checkpoint().record());
            let found = LockedRegistry { id: opened.client.id, operators: head(operators), checkpoint: head(checkpoint) };
            lock.registries.entry(pin.name.registry.clone()).or_insert(found);
        }
        let decisions = view.decisions.as_ref();
        let found = LockedPackage {
            asked_as: asked.remove(&pin).unwrap_or_default(),
            content: released.release.content,
            log: view.log.log.chain().id(),
            head: head(view.log.head()),
            decisions: decisions.map(|found| LockedDecisions { log: found.log.chain().id(), head: head(found.head()) }),
            flagged: released.flagged,
            dependencies: edges.iter().map(|edge: &Edge| pin_of(&edge.pick())).collect(),
        };
        lock.packages.insert(pin, found);
    }
    Ok(lock)
}
