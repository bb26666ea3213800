//! `quipu fork`: a package of one's own with the history of another one behind it, and what its origin releases later.

use super::answer::{Answer, count};
use super::client::{self, Client};
use super::context::Context;
use super::origin::{self, OURS, THEIRS};
use crate::disk::folder::{self, FolderWriter, LEFT_OUT};
use crate::disk::manifest::{self, Becoming, Upstream};
use crate::disk::project::{FILE, Project};
use crate::disk::rewrite::{self, Change, State};
use crate::disk::trusted::Trust;
use crate::git::merge::{self, Sides};
use crate::git::quarantine::Quarantine;
use crate::git::staging::Staging;
use crate::git::transport::Url;
use crate::log::package::Released;
use crate::model::contents::{self, ContentPath, ContentsBuilder, FileEntry, Limits, TreeFile, write_tree};
use crate::model::digest::{FileDigest, GitId, ObjectKind, RegistryId};
use crate::model::entry::Subject;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, Reference, RegistryName, Version};
use crate::model::object::{ReadObjects as _, WriteObjects as _};
use crate::replica::origin::origin_log;
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::choose;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Make a package of your own from another one, and keep up with what is released there
///
/// The files of the release go to a folder whose quipu.toml has the new name and says where they come from. Change what you like, then
/// `quipu publish` it: the first record of the new log stands on the record of that release, so that `git log` runs on into the history before.
/// In such a folder, `quipu fork --sync` merges what its origin released since.
#[derive(clap::Args, Debug)]
#[command(override_usage = "quipu fork [OPTIONS] REFERENCE [NAME]\n       quipu fork --sync [--to VERSION] [DIR]")]
pub struct Args {
    /// The package or release to fork: [REGISTRY/]NAMESPACE:NAME[@VERSION][#sha256:…]; with --sync the fork's folder [default: .]
    reference: Option<String>,
    /// The new package, [REGISTRY/]NAMESPACE:NAME [default: the same name in the default registry]
    name: Option<String>,
    /// The folder to make, which must not exist or be empty [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Merge a later release of the origin into the fork's folder
    #[arg(long)]
    sync: bool,
    /// With --sync: merge this release [default: the newest]
    #[arg(long, value_name = "VERSION", requires = "sync")]
    to: Option<Version>,
}

/// Runs the command.
///
/// # Errors
/// `usage`, `exists`, `not-found`, `name-taken`; with `--sync` `conflict`, `bad-origin`; and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    if args.sync {
        let more = args.name.is_some() || args.dir.is_some() && args.reference.is_some();
        if more {
            return Err(fault!(Usage, "--sync takes one folder").hint("to bring a fork up to date: quipu fork --sync [DIR]"));
        }
        let shown = args.dir.clone().or_else(|| args.reference.as_ref().map(PathBuf::from)).unwrap_or_else(|| ".".into());
        return sync(context, &shown, args.to.as_ref());
    }
    let Some(reference) = &args.reference else {
        return Err(fault!(Usage, "it is not said what to fork")
            .hint("quipu fork [REGISTRY/]NAMESPACE:NAME[@VERSION] [NAME]")
            .hint("to bring a fork up to date: quipu fork --sync"));
    };
    let reference: Reference = reference.parse().map_err(|error: Error| match context.path(reference).is_dir() {
        true => error.hint(format!("to bring that folder up to date: quipu fork --sync {reference}")),
        false => error,
    })?;
    fork(context, args, &reference)
}

fn fork(context: &Context, args: &Args, reference: &Reference) -> Result<Answer> {
    let client = Client::of(context, reference)?;
    let to = new_name(context, args.name.as_deref(), reference)?;
    let (mut snapshot, view) = client.look(reference)?;
    snapshot.check_fresh(context.now)?;
    let released = choose(&view.log.log, &view.takedowns, reference.version.as_ref())?;
    let release = &released.release;
    let from = view.name.clone();
    let (id, version) = (client.id, &release.version);
    if released.flagged {
        return Err(fault!(Flagged, "{from}@{version} was released by a key in wrong hands, as its log says later")
            .hint("fork another version: quipu fork NAMESPACE:NAME@VERSION"));
    }
    if to == from {
        return Err(fault!(NameTaken, "{from} is the package itself, and a fork needs a name of its own")
            .hint(format!("give it one: quipu fork {reference} NAMESPACE:NAME"))
            .asked());
    }
    if to.registry == from.registry && snapshot.package(&to.package).is_ok() {
        return Err(fault!(NameTaken, "{to} is there already")
            .hint(format!("give the fork another name: quipu fork {reference} NAMESPACE:NAME"))
            .asked());
    }
    if Trust::load(&context.home)?.get(&to.registry).is_none() {
        context.warn(&format!("the registry {0} is not trusted yet: before you publish, quipu trust add {0} URL", to.registry));
    }
    let shown = args.dir.clone().unwrap_or_else(|| PathBuf::from(to.package.name().as_str()));
    let target = context.path(&shown);
    let upstream = upstream_of(&client, &snapshot, &view, released);
    let exists = |error: Error| match error.code() {
        ErrorCode::Exists => error.hint("choose another folder: --dir DIR"),
        _ => error,
    };
    let plan = Becoming {
        from: (&released.registry.0, released.registry.1),
        url: public(&client.url),
        to: &to,
        version,
        known: ids(released),
    };
    if !context.flags.dry_run {
        let mut writer = FolderWriter::new(&target).map_err(exists)?;
        let text = read(context, &mut snapshot, &from, released, &plan, |file, bytes| writer.add(file, bytes))?;
        let text = manifest::set_origin(&text, &upstream)?;
        let mut own = ContentsBuilder::new(Limits::default());
        let entry = own.add(FILE.parse()?, false, text.as_bytes())?;
        writer.add(entry, text.into_bytes())?;
        writer.finish().map_err(exists)?;
        client.remember(&snapshot, [(&from.package, &view)])?;
    }
    let mut answer = Answer::new();
    let verb = if context.flags.dry_run { "would fork" } else { "forked" };
    answer.line(format!("{verb} {from}@{version} into {}", shown.display()));
    answer.line(format!("  name      {to} {version}"));
    answer.line(format!("  from      {}", released.digest));
    answer.line(format!("            seq {} of {}", released.seq, view.log.log.chain().id()));
    if let Some(reason) = &released.yanked {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        answer.line(format!("  note: this version is yanked: {reason}"));
    }
    answer.line(format!(
        "next: change what you like, look at it with quipu diff --origin ./{0}, then quipu publish {0}",
        shown.display()
    ));
    answer.field("registry", to.registry.as_str());
    answer.field("package", to.package.to_string());
    answer.field("version", version.to_string());
    answer.field("folder", target.display().to_string());
    answer.field("origin", to_json(&upstream, id));
    answer.field("sources", Client::sources(&snapshot));
    Ok(answer)
}

/// Finds the name of the new package.
fn new_name(context: &Context, given: Option<&str>, reference: &Reference) -> Result<FullName> {
    let package = |registry: Option<&RegistryName>, package| -> Result<FullName> {
        Ok(FullName { registry: client::which(context, registry, None)?, package })
    };
    match given {
        Some(text) if text.contains('/') => text.parse(),
        Some(text) => package(None, text.parse()?),
        None => package(None, reference.package.clone()),
    }
}

/// Names a release by the name that its record bears, whatever its package is called now: what a fork says is checked against that.
fn upstream_of(client: &Client<'_>, snapshot: &Snapshot<'_>, view: &PackageView, released: &Released) -> Upstream {
    let record = view.log.records.iter().find(|record| record.digest() == released.digest);
    let package = match record.map(|record| &record.draft().subject) {
        Some(Subject::Package(package)) => package,
        _ => &view.name.package,
    };
    let log = view.log.log.chain().id();
    Upstream {
        registry: client.name.clone(),
        id: client.id,
        package: package.clone(),
        version: released.release.version.clone(),
        content: released.release.content,
        log,
        record: released.digest,
        checkpoint: snapshot.checkpoint().digest(),
    }
}

fn to_json(upstream: &Upstream, id: RegistryId) -> Value {
    json!({
        "registry": upstream.registry.as_str(),
        "registry-id": id.to_string(),
        "package": upstream.package.to_string(),
        "version": upstream.version.to_string(),
        "content": upstream.content.to_string(),
        "log": upstream.log.to_string(),
        "record": upstream.record.to_string(),
        "checkpoint": upstream.checkpoint.to_string(),
    })
}

/// Returns a URL that says something to others.
fn public(url: &Url) -> Option<&str> {
    url.is_local().is_none().then(|| url.as_str())
}

fn ids(released: &Released) -> BTreeMap<RegistryName, RegistryId> {
    released.release.dependencies.iter().filter_map(|dependency| dependency.registry.clone()).collect()
}

/// Reads the files of a release but its quipu.toml, and returns the text of that, as the fork is to have it.
fn read(
    context: &Context,
    snapshot: &mut Snapshot<'_>,
    name: &FullName,
    released: &Released,
    plan: &Becoming<'_>,
    mut on_file: impl FnMut(&FileEntry, Vec<u8>) -> Result<()>,
) -> Result<String> {
    let mut own = None;
    snapshot.contents(&name.package, &released.release, |file, bytes| {
        if file.path.as_str() == FILE {
            own = Some(bytes);
            return Ok(());
        }
        if file.path.components().next() == Some(FILE) {
            return Err(fault!(
                BadContents,
                "{name}@{} has a folder {FILE}, where a fork has its file",
                released.release.version
            ));
        }
        // What a folder keeps for version control and for quipu is not for others to fill.
        if file.path.components().any(|component| LEFT_OUT.contains(&component)) {
            context.warn(&format!("{name}@{} has the file {}, which a folder is not given", released.release.version, file.path));
            return Ok(());
        }
        on_file(file, bytes)
    })?;
    let is_there = own.is_some();
    let own = own.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| Project::parse(text).is_ok());
    if is_there && own.is_none() {
        context.warn(&format!("the {FILE} of {name}@{} cannot be read and is made anew", released.release.version));
    }
    let text = own.map_or_else(|| manifest::of_release(&name.package, &released.release), Ok)?;
    plan.apply(&text)
}

fn sync(context: &Context, shown: &Path, wanted: Option<&Version>) -> Result<Answer> {
    let folder = context.path(shown);
    if context.flags.dry_run {
        origin::check_finished(&folder)?;
    } else if folder.is_dir()
        && let Some(note) = rewrite::finish(&folder)?
    {
        return Ok(tell(&note, Tense::Finished));
    }
    let project = Project::load(&folder)?;
    let own = project.package()?;
    let Some(upstream) = &project.origin else {
        return Err(fault!(BadManifest, "{} has no [origin]: it is no fork", folder.join(FILE).display())
            .hint("fork a package: quipu fork [REGISTRY/]NAMESPACE:NAME [NAME]"));
    };
    let to = FullName { registry: client::which(context, None, own.registry.as_ref())?, package: own.name.clone() };
    let client = origin::registry(context, upstream)?;
    let mut snapshot = client.snapshot(Some(&upstream.package))?;
    snapshot.check_fresh(context.now)?;
    let view = origin_log(&mut snapshot, &upstream.package, &upstream.record)?;
    origin::check(&view, upstream)?;
    let from = view.name.clone();
    client.remember(&snapshot, [(&from.package, &view)])?;
    let log = &view.log.log;
    let base = log.release_of(&upstream.version).ok_or_else(|| fault!(Bug, "a release that is not there"))?;
    let newest = choose(log, &view.takedowns, wanted)?;
    let version = &newest.release.version;
    if newest.flagged {
        return Err(fault!(Flagged, "{from}@{version} was released by a key in wrong hands, as its log says later"));
    }
    let mut note = Note {
        registry: to.registry.to_string(),
        package: to.package.to_string(),
        folder: folder.display().to_string(),
        origin: from.to_string(),
        from: upstream.version.to_string(),
        to: version.to_string(),
        ..Note::default()
    };
    let scratch = Quarantine::new(snapshot.format(), &[])?;
    let mut objects = Staging::new(scratch.store());
    let ours = folder::collect(&folder, &project.patterns(), &Limits::default(), &mut objects).map_err(Error::asked)?;
    origin::check_markers(&folder, &ours)?;
    if newest.digest == base.digest || wanted.is_none() && version < &upstream.version {
        note.to = upstream.version.to_string();
        return Ok(tell(&note.to_json()?, Tense::Nothing));
    }
    let (our_toml, our_files): (Vec<_>, Vec<_>) = ours.blobs.into_iter().partition(|(file, _)| file.path.as_str() == FILE);
    let mut side = |released: &Released| -> Result<(GitId, String)> {
        let plan = Becoming {
            from: (&released.registry.0, released.registry.1),
            url: public(&client.url),
            to: &to,
            version: &released.release.version,
            known: ids(released),
        };
        let mut blobs = Vec::new();
        let text = read(context, &mut snapshot, &from, released, &plan, |file, bytes| {
            blobs.push((file.clone(), objects.write(ObjectKind::Blob, &bytes)?));
            Ok(())
        });
        let text = text.map_err(|error| error.at(format!("{from}@{}", released.release.version)))?;
        Ok((tree_of(&mut objects, &blobs)?, text))
    };
    let (base_tree, base_text) = side(base)?;
    let (their_tree, their_text) = side(newest)?;
    let our_tree = tree_of(&mut objects, &our_files)?;
    objects.finish()?;
    let theirs = format!("{THEIRS}{version}");
    let merged = merge::three_way(&scratch, Sides { base: base_tree, ours: (our_tree, OURS), theirs: (their_tree, &theirs) })?;
    let our_text = Project::text(&folder)?;
    let written = manifest::merge(&base_text, &our_text, &their_text)?;
    let text = manifest::set_origin(&written.text, &upstream_of(&client, &snapshot, &view, newest))?;

    let mut changes = changes(&scratch, merged.tree, &our_files).map_err(|error| error.at("what git made of both").asked())?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let files = changes.iter().map(|change| {
        let status = match (&change.old, &change.new) {
            (None, _) => "added",
            (_, None) => "deleted",
            _ => "modified",
        };
        (change.path.as_str().to_owned(), status.to_owned())
    });
    note.files = files.collect();
    note.said = merged.said;
    note.said
        .extend(written.conflicts.iter().map(|what| format!("CONFLICT ({FILE}): {what} changed on both sides; yours stands")));
    note.conflicts = merged.conflicts;
    if !written.conflicts.is_empty() {
        note.conflicts.push(FILE.to_owned());
    }
    note.taken = written.taken;
    let note = note.to_json()?;
    if context.flags.dry_run {
        return Ok(tell(&note, Tense::Would));
    }
    let path: ContentPath = FILE.parse()?;
    let exec = our_toml.first().is_some_and(|(file, _)| file.exec);
    let old = State { digest: FileDigest::of_bytes(our_text.as_bytes()), exec };
    changes.push(Change { path, old: Some(old), new: Some((text.into_bytes(), exec)) });
    rewrite::change(&folder, &changes, &note)?;
    Ok(tell(&note, Tense::Done))
}

fn tree_of(objects: &mut Staging<'_>, blobs: &[(FileEntry, GitId)]) -> Result<GitId> {
    if blobs.is_empty() { objects.write(ObjectKind::Tree, b"") } else { write_tree(objects, blobs) }
}

/// Says what has to change so that files become those of a tree.
fn changes(scratch: &Quarantine, tree: GitId, ours: &[(FileEntry, GitId)]) -> Result<Vec<Change>> {
    let reader = scratch.store().reader();
    let limits = Limits::default();
    let new = if tree == reader.format().empty_tree() { Vec::new() } else { contents::list_tree(&reader, tree, &limits)? };
    let mut old: BTreeMap<&ContentPath, (&FileEntry, GitId)> = ours.iter().map(|(file, id)| (&file.path, (file, *id))).collect();
    let mut changes = Vec::new();
    for TreeFile { path, exec, blob } in new {
        let own = old.remove(&path);
        if own.is_some_and(|(file, id)| id == blob && file.exec == exec) {
            continue;
        }
        let bytes = reader.read(ObjectKind::Blob, blob, limits.file_bytes)?;
        changes.push(Change { path, old: own.map(|(file, _)| file.into()), new: Some((bytes, exec)) });
    }
    let gone = old.into_values().map(|(file, _)| Change { path: file.path.clone(), old: Some(file.into()), new: None });
    changes.extend(gone);
    Ok(changes)
}

/// What came of a merge, as it is kept until it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    registry: String,
    package: String,
    folder: String,
    origin: String,
    from: String,
    to: String,
    files: Vec<(String, String)>,
    taken: Vec<String>,
    conflicts: Vec<String>,
    said: Vec<String>,
}

impl Note {
    fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|why| fault!(Bug, "{why}"))
    }
}

/// Whether a merge is told of as done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tense {
    Done,
    Would,
    /// An earlier run had begun it.
    Finished,
    Nothing,
}

fn tell(note: &Value, tense: Tense) -> Answer {
    let note: Note = serde_json::from_value(note.clone()).unwrap_or_default();
    let mut answer = Answer::new();
    let Note { origin, from, to, .. } = &note;
    answer.line(match tense {
        Tense::Done if note.conflicts.is_empty() => format!("merged {origin}@{to} into {}, which was at {from}", note.package),
        Tense::Done => format!("merged {origin}@{to} into {}, which was at {from}, with conflicts", note.package),
        Tense::Would => format!("would merge {origin}@{to} into {}, which is at {from}", note.package),
        Tense::Finished => format!("finished the merge of {origin}@{to} into {} that was begun before", note.package),
        Tense::Nothing => format!("{} is up to date with {origin}: {to} is the newest release", note.package),
    });
    for (path, status) in &note.files {
        answer.line(format!("  {status:<8}  {path}"));
    }
    for taken in &note.taken {
        answer.line(format!("  {FILE}: {taken}"));
    }
    note.said.iter().for_each(|line| answer.line(line));
    if !note.conflicts.is_empty() {
        answer.exit = 1;
        let what = match note.conflicts.len() {
            1..=5 => note.conflicts.join(", "),
            many => count(many as u64, "path"),
        };
        answer.line(format!("next: decide about {what}, then quipu publish; all of theirs: quipu get {origin}@{to}"));
    } else if tense != Tense::Nothing {
        answer.line("next: look at the version in quipu.toml, then quipu publish");
    }
    let state = match tense {
        Tense::Nothing => "up-to-date",
        _ if note.conflicts.is_empty() => "merged",
        _ => "conflicts",
    };
    answer.field("registry", note.registry);
    answer.field("package", note.package);
    answer.field("folder", note.folder);
    answer.field("state", state);
    answer.field("finished", tense == Tense::Finished);
    answer.field("origin", note.origin.clone());
    answer.field("from", note.from.clone());
    answer.field("to", note.to.clone());
    answer.field("files", note.files.iter().map(|(path, status)| json!({ "path": path, "status": status })).collect::<Vec<_>>());
    answer.field("manifest", note.taken);
    answer.field("conflicts", note.conflicts);
    answer.field("messages", note.said);
    answer
}
