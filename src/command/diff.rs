//! `quipu diff`: one release against another, or against the folder that is to be the next one.

use super::answer::{Answer, bytes_in_words, count};
use super::client::{self, Client};
use super::context::Context;
use super::table::Table;
use crate::disk::folder::{self, Collected};
use crate::disk::project::{self, Project};
use crate::disk::trusted::Trust;
use crate::git::patch::{self, Asked, Form, Patch};
use crate::git::quarantine::Quarantine;
use crate::git::staging::Staging;
use crate::log::decision::Takedown;
use crate::log::names::Takedowns;
use crate::log::package::Released;
use crate::model::contents::{Contents, FileEntry, write_tree};
use crate::model::difference::{self, DependencyChange, Fate, FileChange};
use crate::model::digest::{GitId, LogId, ObjectFormat, ObjectKind, RegistryId};
use crate::model::entry::{Dependency, Origin, Release};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::{FullName, Label, PackageName, Reference, RegistryName, looks_like_path};
use crate::model::object::WriteObjects as _;
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::{before, check_anchor, choose};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

/// The most bytes of a patch in an answer for programs.
const PATCH_MAX: u64 = 16 * 1024 * 1024;

/// Show what changed between two releases, or between a release and a folder
///
/// Without B: what A changed against the release before it, or, where A is a folder, what it would change against the newest release of
/// its package. Without A: the folder one is in. Files are compared once they are known to be those of their releases, and what
/// differs is shown by git. Exit status 0: files, description, license, links, build and dependencies are the same; 1: they are not.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A release, [REGISTRY/]NAMESPACE:NAME[@VERSION][#sha256:…], or a folder with a quipu.toml (/…, ./…, ../…), as `publish` would
    /// take it
    a: Option<String>,
    /// What it is compared with: likewise, or @VERSION of the same package
    b: Option<String>,
    /// Only these files and what is below these folders
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Of files show only how many lines changed
    #[arg(long, group = "form")]
    stat: bool,
    /// Show only the paths of files that differ
    #[arg(long, group = "form")]
    name_only: bool,
    /// Show only the paths of files that differ, each with a letter: A added, D deleted, M modified, R renamed
    #[arg(long, group = "form")]
    name_status: bool,
    /// Show files that are no text as well, so that `git apply` can use the patch
    #[arg(long)]
    binary: bool,
    /// So many lines around each change [default: 3]
    #[arg(long, short = 'U', value_name = "LINES")]
    unified: Option<u32>,
    /// In a fork's folder: what it changed against the release that it comes from
    #[arg(long, conflicts_with = "b")]
    origin: bool,
    /// With --json: the patch as well, up to 16 MiB
    #[arg(long)]
    patch: bool,
}

impl Args {
    fn form(&self) -> Form {
        match (self.stat, self.name_only, self.name_status) {
            (true, ..) => Form::Stat,
            (_, true, _) => Form::NameOnly,
            (.., true) => Form::NameStatus,
            _ => Form::Patch,
        }
    }

    /// Says whether a path is one of those that are asked for.
    fn asks_for(&self, path: &str) -> bool {
        let is_below = |wanted: &String| {
            let wanted = wanted.strip_prefix("./").unwrap_or(wanted).trim_end_matches('/');
            matches!(wanted, "" | ".") || path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.paths.is_empty() || self.paths.iter().any(is_below)
    }
}

/// What is named on the command line.
enum Named {
    Release(Reference),
    Folder(Box<Folder>),
}

/// A folder that would be a release.
struct Folder {
    shown: String,
    path: PathBuf,
    project: Project,
    package: project::Package,
}

impl Folder {
    fn open(context: &Context, shown: &str) -> Result<Self> {
        let path = context.path(shown);
        let project = Project::load(&path)?;
        let package = project.package()?.clone();
        Ok(Folder { shown: shown.to_owned(), path, project, package })
    }
}

impl Named {
    fn read(context: &Context, text: &str) -> Result<Self> {
        if looks_like_path(text) {
            return Folder::open(context, text).map(|folder| Named::Folder(Box::new(folder)));
        }
        text.parse().map(Named::Release).map_err(|error: Error| match context.path(text).is_dir() {
            true => error.hint(format!("for the folder: quipu diff ./{text}")),
            false => error,
        })
    }

    /// Reads the second one, which may be another version of the first.
    fn read_beside(context: &Context, text: &str, first: &Named) -> Result<Self> {
        let version = text.strip_prefix('@').or(text.starts_with(|c: char| c.is_ascii_digit()).then_some(text));
        let Some(version) = version else { return Named::read(context, text) };
        let (version, anchor) = match version.split_once('#') {
            Some((version, anchor)) => (version, Some(anchor.parse()?)),
            None => (version, None),
        };
        let version = Some(version.parse()?);
        let (registry, package) = match first {
            Named::Release(reference) => (reference.registry.clone(), reference.package.clone()),
            Named::Folder(folder) => (folder.package.registry.clone(), folder.package.name.clone()),
        };
        Ok(Named::Release(Reference { registry, package, version, anchor }))
    }
}

/// What is compared: each a name or, for the old one, what goes before the new one.
struct Operands {
    old: Option<Named>,
    new: Named,
}

impl Operands {
    /// Takes one, which is compared with what goes before it or with what it comes from.
    fn alone(args: &Args, new: Named) -> Result<Self> {
        if !args.origin {
            return Ok(Operands { old: None, new });
        }
        let upstream = match &new {
            Named::Folder(folder) => folder.project.origin.as_ref(),
            Named::Release(_) => {
                return Err(fault!(Usage, "--origin is for a fork's folder").hint(
                    "for a published fork: quipu diff ORIGIN@VERSION FORK@VERSION; quipu info FORK says where it comes from",
                ));
            }
        };
        let Some(upstream) = upstream else {
            return Err(fault!(BadManifest, "{} has no [origin]: it is no fork", project::FILE));
        };
        let old = Reference {
            registry: Some(upstream.registry.clone()),
            package: upstream.package.clone(),
            version: Some(upstream.version.clone()),
            anchor: Some(upstream.record),
        };
        Ok(Operands { old: Some(Named::Release(old)), new })
    }

    fn read(context: &Context, args: &Args) -> Result<Self> {
        let Some(a) = &args.a else {
            let folder = Folder::open(context, ".").map_err(|error| match error.code() {
                ErrorCode::BadManifest => error.hint("to compare releases: quipu diff NAMESPACE:NAME@VERSION [@VERSION]"),
                _ => error,
            })?;
            return Operands::alone(args, Named::Folder(Box::new(folder)));
        };
        if a.starts_with('@') || a.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(fault!(BadReference, "{a:?} names no package")
                .hint("the package stands first: quipu diff NAMESPACE:NAME@VERSION @VERSION"));
        }
        let first = Named::read(context, a)?;
        let Some(b) = &args.b else { return Operands::alone(args, first) };
        let second = Named::read_beside(context, b, &first)?;
        if let (Named::Folder(a), Named::Folder(b)) = (&first, &second) {
            return Err(fault!(Usage, "{} and {} are both folders, and one of the two has to be a release", a.shown, b.shown)
                .hint(format!("for two folders: git diff --no-index {} {}", a.shown, b.shown)));
        }
        Ok(Operands { old: Some(first), new: second })
    }
}

/// A registry that one of the two is in, with the packages that were looked at.
struct Opened<'s> {
    client: &'s Client<'s>,
    snapshot: Snapshot<'s>,
    views: BTreeMap<PackageName, PackageView>,
}

impl Opened<'_> {
    fn look(&mut self, reference: &Reference) -> Result<&PackageView> {
        self.client.check_trusted(&reference.package)?;
        if !self.views.contains_key(&reference.package) {
            let view = self.snapshot.package(&reference.package)?.followed()?;
            self.client.check_trusted(&view.name.package)?;
            self.views.insert(reference.package.clone(), view);
        }
        let view = &self.views[&reference.package];
        check_anchor(&view.log.log, reference.anchor.as_ref())?;
        Ok(view)
    }
}

/// Who released it.
struct Signed {
    released: Released,
    log: LogId,
    signer: Label,
    key: PublicKey,
    origin: Option<Origin>,
    takedown: Option<Takedown>,
    /// Which of the registries it is in.
    at: usize,
}

/// One of the two.
struct Side {
    name: FullName,
    release: Arc<Release>,
    /// The registry that dependencies without one belong to.
    home: (RegistryName, RegistryId),
    /// How it came to be, or which folder it is.
    from: From,
}

enum From {
    Record(Box<Signed>),
    Folder { shown: String, collected: Collected },
}

impl Side {
    fn of_release(view: &PackageView, released: &Released, at: usize) -> Result<Self> {
        let log = &view.log.log;
        let record = view.log.records.iter().find(|record| record.digest() == released.digest);
        let record = record.ok_or_else(|| fault!(Bug, "a release without a record"))?;
        let takedown = view.takedown_of(&released.release.version);
        Ok(Side {
            name: view.name.clone(),
            release: released.release.clone(),
            home: released.registry.clone(),
            from: From::Record(Box::new(Signed {
                released: released.clone(),
                log: log.chain().id(),
                signer: record.draft().signer.clone(),
                key: record.key().clone(),
                origin: log.origin().cloned(),
                takedown: takedown.cloned(),
                at,
            })),
        })
    }

    fn signed(&self) -> Option<&Signed> {
        match &self.from {
            From::Record(signed) => Some(signed),
            From::Folder { .. } => None,
        }
    }

    fn collected(&self) -> Option<&Collected> {
        match &self.from {
            From::Record(_) => None,
            From::Folder { collected, .. } => Some(collected),
        }
    }

    fn takedown(&self) -> Option<&Takedown> {
        self.signed().and_then(|signed| signed.takedown.as_ref())
    }

    fn title(&self) -> String {
        match &self.from {
            From::Record(_) => format!("{}@{}", self.name, self.release.version),
            From::Folder { shown, .. } => format!("{}@{} in {shown}", self.name, self.release.version),
        }
    }

    /// Reads the files of a release, which are vouched for when this returns.
    fn read(&self, opened: &mut [Opened<'_>], mut on_file: impl FnMut(&FileEntry, Vec<u8>) -> Result<()>) -> Result<Contents> {
        match &self.from {
            From::Folder { collected, .. } => Ok(collected.contents.clone()),
            From::Record(signed) => {
                let snapshot = &mut opened[signed.at].snapshot;
                let read = snapshot.contents(&self.name.package, &self.release, &mut on_file);
                read.map_err(|error| error.at(self.title()))
            }
        }
    }

    /// Says what was said of it that a reader must know.
    fn notes(&self) -> Vec<String> {
        let Some(signed) = self.signed() else { return Vec::new() };
        let title = self.title();
        let reason = |reason: &str| if reason.is_empty() { "no reason given".to_owned() } else { reason.to_owned() };
        let mut notes = Vec::new();
        if let Some(takedown) = &signed.takedown {
            notes.push(format!("{title} was taken down ({}): {}", takedown.class.as_str(), reason(&takedown.reason)));
        }
        if signed.released.flagged {
            notes.push(format!("{title} was released by a key in wrong hands, as its log says later"));
        }
        if let Some(why) = &signed.released.yanked {
            notes.push(format!("{title} is yanked: {}", reason(why)));
        }
        notes
    }

    fn to_json(&self) -> Value {
        let release = &self.release;
        let signed = self.signed();
        json!({
            "registry": self.name.registry.as_str(),
            "package": self.name.package.to_string(),
            "version": release.version.to_string(),
            "folder": match &self.from { From::Record(_) => None, From::Folder { shown, .. } => Some(shown) },
            "content": release.content.to_string(),
            "files": release.files,
            "size": release.size,
            "description": release.description,
            "license": release.license,
            "links": release.links,
            "build": release.build,
            "log": signed.map(|signed| signed.log.to_string()),
            "record": signed.map(|signed| signed.released.digest.to_string()),
            "seq": signed.map(|signed| signed.released.seq),
            "time": signed.map(|signed| signed.released.time.unix()),
            "signer": signed.map(|signed| signed.signer.as_str()),
            "fingerprint": signed.map(|signed| signed.key.fingerprint().to_string()),
            "yanked": signed.and_then(|signed| signed.released.yanked.clone()),
            "flagged": signed.is_some_and(|signed| signed.released.flagged),
            "taken-down": self.takedown().map(|takedown| json!({ "class": takedown.class.as_str(), "reason": takedown.reason })),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// `not-found` with near names, `anchor-mismatch`, `bad-manifest`, `content-mismatch`, and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let operands = Operands::read(context, args)?;
    let registry_of = |named: &Named| match named {
        Named::Release(reference) => reference.registry.clone(),
        Named::Folder(folder) => folder.package.registry.clone(),
    };
    let (old, new) = (&operands.old, &operands.new);
    // A release on one side says where the folder on the other belongs, unless its own quipu.toml does.
    let beside = old.as_ref().and_then(registry_of).or(registry_of(new));
    let mut names: Vec<RegistryName> = Vec::new();
    let mut place = |named: &Named| -> Result<usize> {
        let own = match named {
            Named::Release(reference) => client::which(context, reference.registry.as_ref(), None)?,
            Named::Folder(folder) => client::which(context, None, folder.package.registry.as_ref().or(beside.as_ref()))?,
        };
        let at = names.iter().position(|name| *name == own).unwrap_or(names.len());
        if at == names.len() {
            names.push(own);
        }
        Ok(at)
    };
    // Which registry a folder would go to matters only where there is no release to say it.
    let old_at = match old {
        Some(named @ Named::Release(_)) => Some(place(named)?),
        _ => None,
    };
    let new_at = match (new, old_at) {
        (Named::Folder(_), Some(at)) => at,
        _ => place(new)?,
    };
    let old_at = old_at.unwrap_or(new_at);
    let clients = names.into_iter().map(|name| Client::open(context, name)).collect::<Result<Vec<Client<'_>>>>()?;
    let package_at = |at: usize| {
        let named = if old_at == at { old.as_ref().unwrap_or(new) } else { new };
        match named {
            Named::Release(reference) => reference.package.clone(),
            Named::Folder(folder) => folder.package.name.clone(),
        }
    };
    let first: Vec<PackageName> = (0..clients.len()).map(package_at).collect();
    let mut opened = Vec::new();
    for (client, package) in clients.iter().zip(&first) {
        opened.push(Opened { client, snapshot: client.snapshot(Some(package))?, views: BTreeMap::new() });
    }
    let formats: Vec<ObjectFormat> = opened.iter().map(|opened| opened.snapshot.format()).collect();
    // The ids in a patch are those of the registry, where there is one.
    let format = if formats.iter().all(|format| *format == formats[0]) { formats[0] } else { ObjectFormat::Sha256 };
    let scratch = Quarantine::new(format, &[])?;
    let mut objects = Staging::new(scratch.store());

    let mut side = |named: &Named, at: usize| -> Result<Side> {
        match named {
            Named::Release(reference) => {
                let view = opened[at].look(reference)?;
                // What was taken down is compared as far as its record goes.
                let takedowns = if reference.version.is_some() { &Takedowns::default() } else { &view.takedowns };
                let released = choose(&view.log.log, takedowns, reference.version.as_ref())?;
                Side::of_release(view, released, at)
            }
            Named::Folder(folder) => collect(&opened[at], folder, &mut objects),
        }
    };
    let new = side(new, new_at)?;
    let old = match (old, &operands.new) {
        (Some(named), _) => side(named, old_at)?,
        (None, Named::Release(reference)) => {
            let view = &opened[new_at].views[&reference.package];
            let released = before(&view.log.log, &view.takedowns, &new.release.version)
                .map_err(|error| error.hint("say what it is to be compared with: quipu diff A B"))?;
            Side::of_release(view, released, new_at)?
        }
        (None, Named::Folder(folder)) => {
            let newest = Reference { registry: None, package: folder.package.name.clone(), version: None, anchor: None };
            let view = opened[new_at].look(&newest).map_err(|error| match error.code() {
                ErrorCode::NotFound if folder.project.origin.is_some() => {
                    error.hint("to compare the folder with what it was forked from: quipu diff --origin")
                }
                ErrorCode::NotFound => error.hint("nothing of it is published that the folder could be compared with"),
                _ => error,
            })?;
            Side::of_release(view, choose(&view.log.log, &view.takedowns, None)?, new_at)?
        }
    };
    let compared = compare_files(context, args, &mut opened, &old, &new, objects)?;
    for Opened { client, snapshot, views } in &opened {
        client.remember(snapshot, views)?;
    }
    let (old_needs, new_needs) = needs(&old, &new);
    let needs = difference::dependencies(&old_needs, &new_needs);
    let changed = changed(&old, &new, &needs);

    let mut answer = Answer::new();
    answer.exit = u8::from(!changed.is_empty());
    let mut notes: Vec<String> = [&old, &new].into_iter().flat_map(Side::notes).collect();
    notes.extend([&old, &new].into_iter().filter_map(|side| released_already(side, &opened)));
    for view in opened.iter().flat_map(|opened| opened.views.values()) {
        notes.extend(view.asked_as().map(|asked| format!("{asked} was renamed, its name is {} now", view.name)));
    }
    match args.form() {
        // A list of paths is for other programs, too.
        Form::NameOnly | Form::NameStatus if !context.flags.json => notes.iter().for_each(|note| context.warn(note)),
        _ => {
            answer.line(format!("{} → {}", old.title(), new.title()));
            answer.text.push_str(&Table::from(rows(&old, &new, &needs, compared.as_ref())).lay(context.width()));
            for note in notes.iter().chain(&relation(&old, &new)) {
                answer.line(format!("  note: {note}"));
            }
        }
    }
    let renamed = opened.iter().flat_map(|opened| opened.views.values()).filter(|view| view.asked_as().is_some());
    answer.field("renamed-to", renamed.map(|view| view.name.to_string()).next());
    answer.field("from", old.to_json());
    answer.field("to", new.to_json());
    answer.field("same", changed.is_empty());
    answer.field("changed", changed);
    answer.field("dependencies", needs.iter().map(need_object).collect::<Vec<Value>>());
    let changes: Option<Vec<FileChange<'_>>> = compared.as_ref().map(|compared| compared.changes(args));
    answer.field("files", changes.as_ref().map(|changes| changes.iter().map(file_object).collect::<Vec<Value>>()));
    let is_wanted = if context.flags.json { args.patch } else { !context.flags.quiet };
    if let Some(trees) = compared.as_ref().and_then(|compared| compared.trees).filter(|_| is_wanted) {
        let asked = Asked { form: args.form(), binary: args.binary, context: args.unified };
        let patch = patch::compare(scratch, trees.0, trees.1, asked)?;
        if context.flags.json {
            let (text, omitted) = in_json(&patch)?;
            answer.field("patch", text);
            answer.field("patch-omitted", omitted);
        } else {
            if matches!(asked.form, Form::Patch | Form::Stat) && patch.size()? > 0 {
                answer.text.push('\n');
            }
            answer.patch = Some(patch);
        }
    } else if args.patch && context.flags.json {
        answer.field("patch", changes.is_some().then_some(""));
        answer.field("patch-omitted", changes.is_none().then_some("taken-down"));
    }
    Ok(answer)
}

/// Says of a folder that `publish` would refuse it, since its version is taken.
fn released_already(side: &Side, opened: &[Opened<'_>]) -> Option<String> {
    let shown = match &side.from {
        From::Record(_) => return None,
        From::Folder { shown, .. } => shown,
    };
    let opened = opened.iter().find(|opened| opened.client.name == side.name.registry)?;
    let mut views = opened.views.values();
    let released = views.find(|view| view.name == side.name)?.log.log.release_of(&side.release.version)?;
    Some(format!(
        "{}@{} was released at seq {}: to publish {shown}, raise the version in its {}",
        side.name,
        side.release.version,
        released.seq,
        project::FILE
    ))
}

/// Reads a folder as `publish` does.
fn collect(opened: &Opened<'_>, folder: &Folder, objects: &mut Staging<'_>) -> Result<Side> {
    let Opened { client, snapshot, .. } = opened;
    let Folder { shown, path, project, package } = folder;
    let trust = Trust::load(&client.context.home)?;
    let id_of = |name: &RegistryName| trust.get(name).map(|trusted| trusted.id);
    let registry = package.registry.clone().unwrap_or_else(|| client.name.clone());
    let id = id_of(&registry).ok_or_else(|| {
        fault!(NotTrusted, "the registry {registry} that {shown} belongs to is not trusted")
            .hint(format!("look at it and decide: quipu trust add {registry} URL"))
    })?;
    let dependencies = project.dependencies(&registry, id_of)?;
    let collected = folder::collect(path, &project.patterns(), &snapshot.limits(), objects).map_err(Error::asked)?;
    let release = Release {
        version: package.version.clone(),
        content: collected.contents.digest(),
        tree: collected.tree,
        size: collected.contents.size(),
        files: collected.contents.len() as u64,
        description: package.description.clone(),
        license: package.license.clone(),
        links: package.links.clone(),
        build: package.build.clone(),
        dependencies,
    };
    Ok(Side {
        name: FullName { registry: registry.clone(), package: package.name.clone() },
        release: release.into(),
        home: (registry, id),
        from: From::Folder { shown: shown.clone(), collected },
    })
}

/// The files of both, where they are not the same, and trees with those that differ.
#[derive(Default)]
struct Compared {
    both: Option<(Contents, Contents)>,
    trees: Option<(GitId, GitId)>,
}

impl Compared {
    fn changes(&self, args: &Args) -> Vec<FileChange<'_>> {
        let mut changes = self.all_changes();
        changes.retain(|change| args.asks_for(change.path()));
        changes
    }

    fn all_changes(&self) -> Vec<FileChange<'_>> {
        self.both.as_ref().map_or_else(Vec::new, |(old, new)| difference::files(old, new))
    }
}

/// Reads and verifies the files of both, and writes those that differ side by side for git; `None` where they are not to be had because they
/// were taken down.
fn compare_files(
    context: &Context,
    args: &Args,
    opened: &mut [Opened<'_>],
    old: &Side,
    new: &Side,
    mut objects: Staging<'_>,
) -> Result<Option<Compared>> {
    if old.takedown().or(new.takedown()).is_some() {
        return Ok(None);
    }
    if old.release.content == new.release.content {
        return Ok(Some(Compared::default()));
    }
    for (at, opened) in opened.iter().enumerate() {
        let here = |side: &&Side| side.signed().is_some_and(|signed| signed.at == at);
        opened.snapshot.gather_contents([old, new].iter().filter(|side| here(side)).map(|side| &*side.release))?;
    }
    let before = old.read(opened, |_, _| Ok(()))?;
    let is_for_git = if context.flags.json { args.patch } else { !context.flags.quiet };
    let mut blobs = [Vec::new(), Vec::new()];
    let mut keep = |blobs: &mut Vec<(FileEntry, GitId)>, other: &Contents, file: &FileEntry, bytes: &[u8]| -> Result<()> {
        if is_for_git && args.asks_for(file.path.as_str()) && other.get(&file.path) != Some(file) {
            blobs.push((file.clone(), objects.write(ObjectKind::Blob, bytes)?));
        }
        Ok(())
    };
    let after = new.read(opened, |file, bytes| keep(&mut blobs[1], &before, file, &bytes))?;
    if !is_for_git {
        return Ok(Some(Compared { both: Some((before, after)), trees: None }));
    }
    // They are read once more rather than held: which of them differ is known only now.
    old.read(opened, |file, bytes| keep(&mut blobs[0], &after, file, &bytes))?;
    for ((side, other), blobs) in [(old, &after), (new, &before)].into_iter().zip(&mut blobs) {
        if let Some(collected) = side.collected() {
            let differs =
                |(file, _): &&(FileEntry, GitId)| args.asks_for(file.path.as_str()) && other.get(&file.path) != Some(file);
            *blobs = collected.blobs.iter().filter(differs).cloned().collect();
        }
    }
    let [old_blobs, new_blobs] = blobs;
    let known: BTreeMap<GitId, &FileEntry> = old_blobs.iter().map(|(file, id)| (*id, file)).collect();
    for (file, id) in &new_blobs {
        if let Some(other) = known.get(id).filter(|other| other.digest != file.digest) {
            // Git would call them the same.
            return Err(fault!(CorruptObject, "{:?} and {:?} are two files with one git id, {id}", other.path, file.path));
        }
    }
    let mut tree = |blobs: &[(FileEntry, GitId)]| match blobs {
        [] => objects.write(ObjectKind::Tree, b""),
        files => write_tree(&mut objects, files),
    };
    let trees = (tree(&old_blobs)?, tree(&new_blobs)?);
    objects.finish()?;
    Ok(Some(Compared { both: Some((before, after)), trees: Some(trees) }))
}

/// Returns what both need: where they are of two registries, with the registry of each.
fn needs(old: &Side, new: &Side) -> (Vec<Dependency>, Vec<Dependency>) {
    let is_same = old.home == new.home;
    let all = |side: &Side| -> Vec<Dependency> {
        let mut all = side.release.dependencies.clone();
        for dependency in all.iter_mut().filter(|_| !is_same) {
            dependency.registry.get_or_insert_with(|| side.home.clone());
        }
        all
    };
    (all(old), all(new))
}

/// Names what counts as a difference.
fn changed(old: &Side, new: &Side, needs: &[DependencyChange<'_>]) -> Vec<&'static str> {
    let (a, b) = (&old.release, &new.release);
    let all = [
        ("description", a.description != b.description),
        ("license", a.license != b.license),
        ("links", a.links != b.links),
        ("build", a.build != b.build),
        ("dependencies", !needs.is_empty()),
        ("contents", a.content != b.content),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Lays out what differs: `-` is of the old one, `+` of the new one, `=` of both.
fn rows(old: &Side, new: &Side, needs: &[DependencyChange<'_>], compared: Option<&Compared>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |key: &str, mark: &str, value: String| {
        let is_first = rows.iter().rev().map(|row| row[0].trim()).find(|key| !key.is_empty()) != Some(key);
        rows.push(vec![format!("  {}", if is_first { key } else { "" }), format!("{mark} {value}")]);
    };
    let (a, b) = (&old.release, &new.release);
    let signed = |side: &Side| side.signed().map(|signed| format!("{} {}", signed.signer, signed.key.fingerprint()));
    let time = |side: &Side| side.signed().map(|signed| signed.released.time.to_string());
    let mut pair = |key: &str, old: Option<String>, new: Option<String>| {
        if old == new {
            return;
        }
        old.into_iter().for_each(|old| row(key, "-", old));
        new.into_iter().for_each(|new| row(key, "+", new));
    };
    pair("released", time(old), time(new));
    let signers = (signed(old), signed(new));
    let is_same_signer = signers.0.is_some() && signers.0 == signers.1;
    if !is_same_signer {
        pair("signed by", signers.0.clone(), signers.1);
    }
    pair("about", a.description.clone(), b.description.clone());
    pair("license", a.license.clone(), b.license.clone());
    for link in a.links.iter().filter(|link| !b.links.contains(link)) {
        pair("link", Some(link.clone()), None);
    }
    for link in b.links.iter().filter(|link| !a.links.contains(link)) {
        pair("link", None, Some(link.clone()));
    }
    pair("build", a.build.clone(), b.build.clone());
    for change in needs {
        pair("needs", change.old.map(need_in_words), change.new.map(need_in_words));
    }
    let size = |release: &Release| Some(format!("{}, {}", count(release.files, "file"), bytes_in_words(release.size)));
    pair("size", size(a), size(b));
    pair("contents", Some(a.content.to_string()), Some(b.content.to_string()));
    if is_same_signer {
        let at = rows.iter().take_while(|row| matches!(row[0].trim(), "released" | "")).count();
        rows.insert(at, vec!["  signed by".to_owned(), format!("= {}", signers.0.unwrap_or_default())]);
    }
    let said = match compared {
        None => "not compared: they were taken down".to_owned(),
        Some(compared) => files_in_words(&compared.all_changes()),
    };
    rows.push(vec!["  files".to_owned(), said]);
    rows
}

fn files_in_words(changes: &[FileChange<'_>]) -> String {
    let words: Vec<String> = [Fate::Added, Fate::Deleted, Fate::Modified, Fate::Mode]
        .into_iter()
        .map(|fate| (fate, changes.iter().filter(|change| change.fate == fate).count()))
        .filter(|(_, number)| *number > 0)
        .map(|(fate, number)| match fate {
            Fate::Mode => format!("{number} with another mode"),
            _ => format!("{number} {}", fate.as_str()),
        })
        .collect();
    if words.is_empty() { "the same".to_owned() } else { words.join(", ") }
}

fn need_in_words(dependency: &Dependency) -> String {
    let anchor = dependency.anchor.map_or(String::new(), |anchor| format!(" #{anchor}"));
    format!("{} {}{anchor}", dependency.name(), dependency.requirement)
}

/// Says how two logs belong together, where they are two.
fn relation(old: &Side, new: &Side) -> Option<String> {
    let (a, b) = (old.signed()?, new.signed()?);
    let forked = |fork: &Side, of: &Side| {
        let origin = fork.signed()?.origin.as_ref()?;
        (origin.log == of.signed()?.log).then(|| format!("{} was forked from {}", fork.name, of.name))
    };
    match a.log == b.log {
        true => None,
        false => forked(new, old).or_else(|| forked(old, new)).or_else(|| Some("they are of two logs".to_owned())),
    }
}

fn need_object(change: &DependencyChange<'_>) -> Value {
    let object = |dependency: &Dependency| {
        json!({
            "requirement": dependency.requirement.to_string(),
            "registry-id": dependency.registry.as_ref().map(|(_, id)| id.to_string()),
            "anchor": dependency.anchor.map(|anchor| anchor.to_string()),
        })
    };
    let status = match (change.old, change.new) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    json!({
        "name": change.new.or(change.old).map(Dependency::name),
        "status": status,
        "old": change.old.map(object),
        "new": change.new.map(object),
    })
}

fn file_object(change: &FileChange<'_>) -> Value {
    let object = |file: &FileEntry| json!({ "digest": file.digest.to_string(), "size": file.size, "executable": file.exec });
    json!({ "path": change.path(), "status": change.fate.as_str(), "old": change.old.map(object), "new": change.new.map(object) })
}

/// Returns a patch as a field, or why it is none.
fn in_json(patch: &Patch) -> Result<(Option<String>, Option<&'static str>)> {
    if patch.size()? > PATCH_MAX {
        return Ok((None, Some("too-large")));
    }
    let mut bytes = Vec::new();
    patch.open()?.read_to_end(&mut bytes).map_err(|why| fault!(Io, "the difference could not be read: {why}"))?;
    Ok(String::from_utf8(bytes).map_or((None, Some("not-utf-8")), |text| (Some(text), None)))
}
