//! `quipu promote`: a release of a registry inside becomes public elsewhere, and nothing else of the inside does.

use super::answer::{Answer, bytes_in_words, count};
use super::client::Client;
use super::context::{Context, Signing};
use super::origin;
use super::request::Way;
use super::submit::{self, State, Submission, Wait, submit};
use crate::disk::manifest::{self, Becoming};
use crate::disk::project::FILE;
use crate::disk::trusted::Trust;
use crate::git::staging::Staging;
use crate::log::package::{PackageLog, Released};
use crate::model::contents::{ContentPath, Contents, ContentsBuilder, FileEntry, Limits, write_tree};
use crate::model::digest::{ContentDigest, GitId, ObjectKind, RegistryId};
use crate::model::entry::{Dependency, PackageEntry, Release};
use crate::model::error::{Error, Result, fault};
use crate::model::name::{FullName, Label, PackageName, Reference, RegistryName, Version};
use crate::model::object::WriteObjects as _;
use crate::model::opening::Opening;
use crate::replica::accept::{check_policy, limits};
use crate::replica::origin::{Ground, opening};
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::choose;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Publish a release of a registry inside in another one, and nothing else of the inside
///
/// The files are the same; quipu.toml is written anew, and the release is signed with your key. Of where it comes from the new log says a digest,
/// which nobody can guess. Whoever has the registry inside can prove the link: `quipu promote REFERENCE --prove PUBLIC`.
#[derive(clap::Args, Debug)]
#[command(override_usage = "quipu promote [OPTIONS] REFERENCE --to REGISTRY\n       quipu promote REFERENCE --prove PUBLIC")]
pub struct Args {
    /// The package or release inside: [REGISTRY/]NAMESPACE:NAME[@VERSION][#sha256:…]
    reference: Reference,
    /// The registry where it is to be public
    #[arg(long, value_name = "REGISTRY", required_unless_present = "prove", conflicts_with = "prove")]
    to: Option<RegistryName>,
    /// Its name there [default: the name that it has]
    #[arg(long, value_name = "NAMESPACE:NAME", conflicts_with = "prove")]
    name: Option<PackageName>,
    /// What stands there for a package that it needs: [REGISTRY/]NAMESPACE:NAME=[REGISTRY/]NAMESPACE:NAME
    #[arg(long = "map", value_name = "INSIDE=PUBLIC", conflicts_with = "prove")]
    maps: Vec<Mapping>,
    /// Publish it although it names the inside
    #[arg(long, conflicts_with = "prove")]
    allow_mentions: bool,
    /// The simple name of your key in the new log [default: from the key's file or comment]
    #[arg(long, value_name = "NAME", conflicts_with = "prove")]
    signer: Option<Label>,
    /// Show that this public package was promoted from the one inside
    #[arg(long, value_name = "PUBLIC")]
    prove: Option<Reference>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    wait: Wait,
}

/// What stands for what.
#[derive(Clone, Debug)]
struct Mapping {
    inside: (Option<RegistryName>, PackageName),
    public: (Option<RegistryName>, PackageName),
}

impl FromStr for Mapping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((inside, public)) = text.split_once('=') else {
            return Err(fault!(Usage, "{text:?} is not INSIDE=PUBLIC").hint("for example: --map team:io=demo:io"));
        };
        let name = |text: &str| -> Result<(Option<RegistryName>, PackageName)> {
            Ok(match text.contains('/') {
                true => text.parse::<FullName>().map(|full| (Some(full.registry), full.package))?,
                false => (None, text.parse()?),
            })
        };
        Ok(Mapping { inside: name(inside)?, public: name(public)? })
    }
}

/// Runs the command.
///
/// # Errors
/// `reveals` where something names the inside, or needs what is there alone; `name-taken`, `not-found`, all that publishing can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let inside = Client::of(context, &args.reference)?;
    match (&args.prove, &args.to) {
        (Some(public), _) => prove(context, &inside, &args.reference, public),
        (None, Some(to)) => promote(context, args, &inside, to),
        (None, None) => Err(fault!(Usage, "it is not said where it is to be public").hint("say it: --to REGISTRY")),
    }
}

fn promote(context: &Context, args: &Args, inside: &Client<'_>, to: &RegistryName) -> Result<Answer> {
    let reference = &args.reference;
    if inside.name == *to {
        return Err(fault!(Usage, "{} is in {to} already", reference.package).hint("for a package of your own there: quipu fork"));
    }
    let mut client = Client::open(context, to.clone())?;
    args.way.tell(&mut client)?;
    let signing = context.key().and_then(|key| context.signing(&key))?;
    let author = signing.author(args.signer.as_ref()).map_err(|error| match args.signer {
        None => error.hint("here: --signer NAME"),
        Some(_) => error,
    })?;
    let (mut snapshot, view) = inside.look(reference)?;
    let from = view.name.clone();
    snapshot.check_fresh(context.now)?;
    inside.remember(&snapshot, [(&from.package, &view)])?;
    let released = choose(&view.log.log, &view.takedowns, reference.version.as_ref())?;
    let version = &released.release.version;
    if released.flagged {
        return Err(fault!(Flagged, "{from}@{version} was released by a key in wrong hands, as its log says later"));
    }
    let public = FullName { registry: to.clone(), package: args.name.clone().unwrap_or_else(|| from.package.clone()) };
    let opening_here = opening(&view, released)?;
    let digest = opening_here.digest();
    let told = Told::new(inside, &snapshot, &view, &opening_here, &public);
    let same_key = told.is_known(&view, &snapshot, &signing);
    if same_key {
        context.warn(&format!(
            "your key {} is known in {} too: whoever sees both can tell that they belong together; another key: --key FILE",
            signing.key().fingerprint(),
            inside.name
        ));
    }
    let dependencies = dependencies(context, args, released, &public, client.id)?;
    let release = Release { dependencies, ..(*released.release).clone() };
    let text = manifest_of(&public, &release, client.id)?;
    let mut mentions = told.in_release(&release);
    mentions.extend(told.in_file(FILE, text.as_bytes()));
    let mut has_manifest = false;
    snapshot.contents(&from.package, &released.release, |file, bytes| {
        if file.path.as_str() == FILE {
            has_manifest = true;
        } else {
            mentions.extend(told.in_file(file.path.as_str(), &bytes));
        }
        Ok(())
    })?;
    if !mentions.is_empty() {
        let more = mentions.len().saturating_sub(MENTIONS_SHOWN);
        mentions.truncate(MENTIONS_SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let all = format!("{}{more}", mentions.join("; "));
        if !args.allow_mentions {
            return Err(fault!(Reveals, "{from}@{version} names what is inside: {all}")
                .hint("release it inside without them, and promote that release")
                .hint("to publish it all the same: --allow-mentions")
                .asked());
        }
        context.warn(&format!("it names what is inside: {all}"));
    }
    let kept = context.home.opening_file(digest);
    if !context.flags.dry_run {
        // Before anything is public: whatever ends this process, the link can be shown.
        origin::keep_opening(context, &opening_here)?;
    }

    let openings: Vec<_> = view.log.log.releases().map(|other| opening(&view, other)).collect::<Result<Vec<Opening>>>()?;
    let ground = || Ok(Some(Ground::Promoted(digest)));
    let mut described = None;
    let submission = Submission {
        client: &client,
        signing: &signing,
        author: &author,
        package: &public.package,
        follow: false,
        wait: args.wait.duration(),
        origin: &ground,
    };
    let submitted = submit(&submission, |ground, objects| {
        let submit::Ground { author, view: there, operators, mut work, .. } = ground;
        if let Some(there) = there {
            check_name(&there.log.log, &public, version, &openings)?;
        }
        let limits = limits(&operators.now().policy);
        let text = has_manifest.then_some(text.as_bytes());
        let (contents, tree) = write(&mut snapshot, &from.package, released, text, &limits, objects)?;
        let release =
            Release { content: contents.digest(), tree, size: contents.size(), files: contents.len() as u64, ..release.clone() };
        check_policy(operators.now(), &release).map_err(Error::asked)?;
        described = Some((release.content, release.size, release.files));
        work.add(author, PackageEntry::Release(release.into()))?;
        Ok((work, vec![(version.to_string(), tree)]))
    })?;
    let (content, size, files): (ContentDigest, u64, u64) = described.ok_or_else(|| fault!(Bug, "a release without contents"))?;
    let head = submitted.added.last().ok_or_else(|| fault!(Bug, "a release without a record"))?;
    let said = submitted.log.promoted_from();

    let mut answer = Answer::new();
    let full = format!("{public}@{version}");
    answer.line(match &submitted.state {
        State::DryRun => format!("would promote {from}@{version} to {full}"),
        State::Proposed(_) => format!("proposed {full}, promoted from {from}"),
        State::Published(seq, _) => format!("promoted {from}@{version} to {full} in checkpoint {seq}"),
    });
    answer.line(format!("  contents  {content}"));
    answer.line(format!("            {}, {}", count(files, "file"), bytes_in_words(size)));
    answer.line(format!("  record    {}", head.digest()));
    answer.line(format!("            seq {} of {}, signed by {}", head.seq(), submitted.log.chain().id(), head.draft().signer));
    if said == Some(digest) {
        answer.line(format!("  origin    {digest}"));
        answer.line("            nothing else is said of where it comes from");
        if !context.flags.dry_run {
            answer.line(format!("            the text behind it is kept in {}", kept.display()));
        }
    } else {
        answer.line("  origin    as its first record says, with the release that was promoted first");
    }
    answer.line(format!("whoever has both registries can show the link: quipu promote {from} --prove {public}"));
    submitted.tell(&mut answer);
    answer.field("registry", to.as_str());
    answer.field("package", public.package.to_string());
    answer.field("version", version.to_string());
    answer.field("content", content.to_string());
    answer.field("files", files);
    answer.field("size", size);
    answer.field("log", submitted.log.chain().id().to_string());
    answer.field("record", head.digest().to_string());
    answer.field("seq", head.seq());
    answer.field("from", format!("{from}@{version}"));
    answer.field("origin", said.map(|said| said.to_string()));
    answer.field("opening", kept.display().to_string());
    answer.field("same-key", same_key);
    answer.field("mentions", mentions);
    Ok(answer)
}

/// How many places are named at once.
const MENTIONS_SHOWN: usize = 10;

/// Checks that a log that is there already was promoted from the same package, and does not have this version.
fn check_name(log: &PackageLog, public: &FullName, version: &Version, openings: &[Opening]) -> Result<()> {
    if !log.promoted_from().is_some_and(|said| openings.iter().any(|opening| opening.digest() == said)) {
        return Err(fault!(NameTaken, "{public} is there already, and was not promoted from this package")
            .hint("give it another name there: --name NAMESPACE:NAME")
            .asked());
    }
    if let Some(released) = log.release_of(version) {
        return Err(fault!(AlreadyReleased, "{public} {version} was released at seq {}", released.seq)
            .hint("promote another version: quipu promote NAMESPACE:NAME@VERSION --to REGISTRY")
            .asked());
    }
    Ok(())
}

/// Writes the files of a release with another quipu.toml, where it had one.
fn write(
    snapshot: &mut Snapshot<'_>,
    package: &PackageName,
    released: &Released,
    text: Option<&[u8]>,
    limits: &Limits,
    objects: &mut Staging<'_>,
) -> Result<(Contents, GitId)> {
    let mut builder = ContentsBuilder::new(*limits);
    let mut blobs: Vec<(FileEntry, GitId)> = Vec::new();
    let mut add = |path: ContentPath, exec: bool, bytes: &[u8]| -> Result<()> {
        let entry = builder.add(path, exec, bytes).map_err(Error::asked)?.clone();
        blobs.push((entry, objects.write(ObjectKind::Blob, bytes)?));
        Ok(())
    };
    snapshot.contents(package, &released.release, |file, bytes| match text.filter(|_| file.path.as_str() == FILE) {
        Some(text) => add(file.path.clone(), false, text),
        None => add(file.path.clone(), file.exec, &bytes),
    })?;
    let tree = write_tree(objects, &blobs)?;
    Ok((builder.finish()?, tree))
}

/// Writes the quipu.toml that is to be public: of what the record says and nothing else.
fn manifest_of(public: &FullName, release: &Release, id: RegistryId) -> Result<String> {
    let known = release.dependencies.iter().filter_map(|dependency| dependency.registry.clone()).collect();
    let plan = Becoming { from: (&public.registry, id), url: None, to: public, version: &release.version, known };
    plan.apply(&manifest::of_release(&public.package, release)?)
}

/// Returns what the release needs as it is to be said in public.
fn dependencies(
    context: &Context,
    args: &Args,
    released: &Released,
    public: &FullName,
    public_id: RegistryId,
) -> Result<Vec<Dependency>> {
    let trust = Trust::load(&context.home)?;
    let home = &released.registry.0;
    let mut maps: BTreeMap<(RegistryName, PackageName), &Mapping> = BTreeMap::new();
    for map in &args.maps {
        let (registry, package) = map.inside.clone();
        maps.insert((registry.unwrap_or_else(|| home.clone()), package), map);
    }
    let (mut found, mut unmapped) = (Vec::new(), Vec::new());
    for dependency in &released.release.dependencies {
        let registry = dependency.registry.as_ref().map_or(home, |(name, _)| name);
        let key = (registry.clone(), dependency.package.clone());
        let known = dependency.registry.as_ref().map(|(_, id)| *id);
        match maps.remove(&key) {
            Some(map) => {
                let (name, package) = map.public.clone();
                let name = name.unwrap_or_else(|| public.registry.clone());
                let registry = match name == public.registry {
                    true => None,
                    false => {
                        let id = trust.get(&name).map(|trusted| trusted.id).or(known.filter(|_| name == *registry));
                        let id = id.ok_or_else(|| {
                            fault!(NotTrusted, "the id of the registry {name} of {name}/{package} is not known")
                                .hint(format!("trust it: quipu trust add {name} URL"))
                        })?;
                        Some((name, id))
                    }
                };
                // An anchor names a record of what stood there before.
                let anchor = dependency
                    .anchor
                    .filter(|_| (registry.as_ref().map_or(&public.registry, |(name, _)| name), &package) == (&key.0, &key.1));
                found.push(Dependency { registry, package, requirement: dependency.requirement.clone(), anchor });
            }
            None if *registry == public.registry && known == Some(public_id) => {
                found.push(Dependency { registry: None, ..dependency.clone() })
            }
            None => unmapped.push(format!("{registry}/{}", dependency.package)),
        }
    }
    if let Some(((registry, package), _)) = maps.into_iter().next() {
        return Err(
            fault!(Usage, "it does not need {registry}/{package}").hint("--map says what stands for a package that it needs")
        );
    }
    if !unmapped.is_empty() {
        let name = &public.registry;
        let error = fault!(Reveals, "it needs what {name} does not have by that name: {}", unmapped.join(", ")).asked();
        return Err(unmapped.iter().fold(error, |error, needed| {
            error.hint(format!("say what stands for it in public: --map {needed}=[REGISTRY/]NAMESPACE:NAME"))
        }));
    }
    found.sort_by_key(|dependency| (dependency.name(), dependency.requirement.to_string()));
    found.dedup_by_key(|dependency| (dependency.name(), dependency.requirement.to_string()));
    Ok(found)
}

/// What is told of the inside where it is named.
struct Told {
    /// What nobody is to read, in lower-case letters, and what it is.
    words: Vec<(Vec<u8>, String)>,
    /// The name that is public: what is a part of it says nothing.
    public: Vec<u8>,
}

impl Told {
    fn new(inside: &Client<'_>, snapshot: &Snapshot<'_>, view: &PackageView, opening: &Opening, public: &FullName) -> Self {
        let mut words: Vec<(String, String)> = vec![
            (inside.name.to_string(), "the registry's name".into()),
            (opening.registry.to_string(), "the registry's name".into()),
            (inside.url.to_string(), "where the registry is".into()),
            (inside.id.hex(), "the registry's id".into()),
            (opening.registry_id.hex(), "the registry's id".into()),
            (opening.log.hex(), "the package's log".into()),
            (opening.record.hex(), "the release's record".into()),
        ];
        for name in [&opening.package, &view.name.package] {
            if *name != public.package {
                words.push((name.to_string(), "the package's name".into()));
            }
        }
        let keys = view.log.log.keys().iter().map(|key| &key.key);
        let operators = snapshot.operators().log.now().keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>();
        for key in keys.chain(&operators) {
            words.push((key.fingerprint().to_string(), "a key".into()));
            words.extend(key.to_string().split(' ').nth(1).map(|text| (text.to_owned(), "a key".into())));
        }
        words.sort();
        words.dedup();
        let words = words.into_iter().map(|(word, what)| (word.to_ascii_lowercase().into_bytes(), what)).collect();
        Told { words, public: public.registry.to_string().into_bytes() }
    }

    /// Says whether the key that signs is known inside.
    fn is_known(&self, view: &PackageView, snapshot: &Snapshot<'_>, signing: &Signing) -> bool {
        let key = signing.key();
        view.log.log.keys().get(key).is_some() || snapshot.operators().log.now().keys.get(key).is_some()
    }

    fn in_release(&self, release: &Release) -> Vec<String> {
        let links = release.links.iter().map(|link| ("links", link));
        let texts = [("description", &release.description), ("license", &release.license), ("build", &release.build)];
        let texts = texts.into_iter().filter_map(|(field, text)| text.as_ref().map(|text| (field, text)));
        texts.chain(links).flat_map(|(field, text)| self.in_file(&format!("[package] {field}"), text.as_bytes())).collect()
    }

    /// Says where a file names the inside, in its path or its lines.
    fn in_file(&self, path: &str, bytes: &[u8]) -> Vec<String> {
        let text = bytes.to_ascii_lowercase();
        let mut found = Vec::new();
        for (word, what) in &self.words {
            if self.finds(path.to_ascii_lowercase().as_bytes(), word).is_some() {
                found.push(format!("the path {path} ({what})"));
            }
            if let Some(at) = self.finds(&text, word) {
                let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count();
                found.push(format!("{path} line {line} ({what})"));
            }
        }
        found
    }

    /// Finds a word that is not a part of another one.
    fn finds(&self, text: &[u8], word: &[u8]) -> Option<usize> {
        let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let within = |at: usize| {
            let longer = &self.public;
            let offsets = (0..=longer.len().saturating_sub(word.len())).filter(|offset| longer[*offset..].starts_with(word));
            offsets.into_iter().any(|offset| at >= offset && text[at - offset..].starts_with(longer))
        };
        let first = *word.first()?;
        (0..(text.len() + 1).saturating_sub(word.len())).find(|at| {
            text[*at] == first
                && text[*at..].starts_with(word)
                && !is_part(at.checked_sub(1).and_then(|before| text.get(before)))
                && !is_part(text.get(at + word.len()))
                && !within(*at)
        })
    }
}

fn prove(context: &Context, inside: &Client<'_>, reference: &Reference, public: &Reference) -> Result<Answer> {
    let client = Client::of(context, public)?;
    let (snapshot, there) = client.look(public)?;
    let (inner, view) = inside.look(reference)?;
    client.remember(&snapshot, [(&there.name.package, &there)])?;
    inside.remember(&inner, [(&view.name.package, &view)])?;
    let said = there.log.log.promoted_from();
    let mut found = None;
    for released in view.log.log.releases() {
        let own = opening(&view, released)?;
        if Some(own.digest()) == said {
            found = Some(own);
        }
    }
    let (outer, inner_name) = (&there.name, &view.name);
    let mut answer = Answer::new();
    match (&said, &found) {
        (None, _) => answer.line(format!("{outer} does not say that it was promoted")),
        (Some(said), None) => {
            answer.line(format!("{outer} was promoted from what has the digest {said}, and no release of {inner_name} has it"));
        }
        (Some(said), Some(own)) => {
            answer.line(format!("proven: {outer} was promoted from {inner_name}@{}", own.version));
            answer.line(format!("  its first record says {said}, which is the SHA-256 of:"));
            own.to_text().lines().for_each(|line| answer.line(format!("    {line}")));
            if !context.flags.dry_run {
                origin::keep_opening(context, own)?;
            }
        }
    }
    answer.exit = u8::from(found.is_none());
    answer.field("registry", client.name.as_str());
    answer.field("package", public.package.to_string());
    answer.field("origin", said.map(|said| said.to_string()));
    answer.field("from", found.as_ref().map(|own| format!("{inner_name}@{}", own.version)));
    answer.field("proven", found.is_some());
    answer.field("text", found.as_ref().map(Opening::to_text));
    Ok(answer)
}
