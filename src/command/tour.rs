//! `quipu tour`: a registry from nothing, two people who use it, and a third who forges, all in one folder and with the real commands.

use super::answer::Answer;
use super::context::{Context, Flags};
use crate::disk::home::Home;
use crate::disk::keys;
use crate::disk::replace::{self, Access};
use crate::git::layout;
use crate::git::program::Program;
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::store::Store;
use crate::model::changes::{ChangeLine, changes_digest};
use crate::model::digest::ObjectKind;
use crate::model::entry::{Checkpoint, Entry, PackageEntry, Release};
use crate::model::error::{Error, Result, fault};
use crate::model::key::KeyCache;
use crate::model::map::Map;
use crate::model::name::{Label, PackageName};
use crate::model::object::WriteObjects as _;
use crate::model::slot::Slot;
use crate::replica::author::Author;
use crate::replica::chains;
use crate::replica::standing::Standing;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Take a tour: make a registry, publish, get, verify, and catch a forgery, in one folder
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder; it must not exist or be empty
    #[arg(default_value = "quipu-tour")]
    dir: PathBuf,
}

/// Runs one command line as a person would type it.
pub type Typed<'a> = dyn Fn(&[String], &Context) -> Result<Answer> + 'a;

/// The registry of the tour.
const DOMAIN: &str = "tour.example";

/// The first package, version by version: path, whether it can be executed, text.
const FIRST: &[(&str, bool, &str)] = &[
    (
        "quipu.toml",
        false,
        "[package]\nname = \"demo:greeting\"\nversion = \"0.1.0\"\ndescription = \"Says hello\"\nlicense = \"MIT\"\n",
    ),
    ("README.md", false, "# greeting\n\nSays hello to whoever is named.\n"),
    ("bin/greet", true, "#!/bin/sh\necho \"hello, ${1:-world}\"\n"),
];
const SECOND: &[(&str, bool, &str)] = &[
    (
        "quipu.toml",
        false,
        "[package]\nname = \"demo:greeting\"\nversion = \"0.2.0\"\ndescription = \"Says hello\"\nlicense = \"MIT\"\n",
    ),
    ("bin/greet", true, "#!/bin/sh\necho \"good morning, ${1:-world}\"\n"),
];
const OTHER: &[(&str, bool, &str)] = &[
    (
        "quipu.toml",
        false,
        "[package]\nname = \"demo:words\"\nversion = \"1.0.0\"\ndescription = \"Words for greetings\"\nlicense = \"MIT\"\n\n[dependencies]\n\"demo:greeting\" = \"^0.2\"\n",
    ),
    ("words.txt", false, "hello\ngood morning\n"),
];

/// Runs the command; `typed` runs the commands that people type in it.
///
/// # Errors
/// `exists` where the folder is not empty, and whatever a step of the tour ends in that it should not.
pub fn run(context: &Context, args: &Args, typed: &Typed<'_>) -> Result<Answer> {
    let folder = context.folder.join(&args.dir);
    let folder = std::path::absolute(&folder).map_err(|why| fault!(Io, "{}: {why}", folder.display()))?;
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(fault!(Exists, "{} is not an empty folder", folder.display()).hint("choose another: quipu tour DIR"));
    }
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would make a registry, keys and packages in {}", args.dir.display()));
        return Ok(answer);
    }
    replace::create_folders(&folder, Access::Shared)?;
    let mut tour = Tour { folder: folder.clone(), now: context, typed, answer, steps: Vec::new() };

    tour.say("1. Alice makes a key and a registry: one bare git repository.");
    tour.types("alice", &["key", "new", "alice"])?;
    let made = tour.types("alice", &["registry", "init", "registry.git", "--name", DOMAIN])?;
    let id = made.fields.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();

    tour.say("2. She publishes a folder, changes it, and publishes it again.");
    tour.write("greeting", FIRST)?;
    tour.types("alice", &["publish", "greeting"])?;
    tour.write("greeting", SECOND)?;
    tour.types("alice", &["publish", "greeting"])?;

    tour.say("3. Bob knows nothing but the path and the registry id. He trusts, gets, and has the same bytes.");
    tour.types("bob", &["key", "new", "bob"])?;
    tour.types("bob", &["trust", "add", DOMAIN, "./registry.git", "--id", &id])?;
    tour.types("bob", &["get", "demo:greeting", "--to", "bob/greeting"])?;
    tour.same_bytes("greeting", "bob/greeting")?;

    tour.say("4. Bob publishes too. He is no operator, so his package waits until Alice accepts it.");
    tour.write("words", OTHER)?;
    tour.types("bob", &["publish", "words"])?;
    tour.types("alice", &["registry", "accept", "registry.git"])?;
    tour.types("bob", &["info", "demo:words@1.0.0"])?;

    tour.say("5. Anyone can verify all of it.");
    tour.types("bob", &["verify", "./registry.git"])?;

    tour.say("6. Mallory serves a copy with a release of her own in Alice's log, and a checkpoint that holds it. Bob's quipu refuses it.");
    tour.forge()?;
    tour.fails("bob", &["verify", "./mallory.git"])?;
    tour.fails("bob", &["trust", "add", DOMAIN, "./mallory.git", "--id", &id])?;

    tour.say("Look around with git alone:");
    let show = args.dir.display().to_string();
    for command in [
        "log refs/packages/demo/greeting",
        "ls-tree -r refs/registry/log",
        "log --oneline refs/registry/log",
        "show refs/contents/demo/greeting:0.2.0/bin/greet",
        "-c gpg.ssh.allowedSignersFile=alice/allowed_signers log --show-signature refs/packages/demo/greeting",
    ] {
        let command = command.replace("alice/", &format!("{}/alice/", folder.display()));
        tour.answer.line(format!("  git -C {show}/registry.git {command}"));
    }
    let key = keys::find(&tour.home("alice"), Some("alice"), || Ok(None))?;
    let line = crate::model::key::allowed_signers_line("alice", &key.public) + "\n";
    replace::replace(&folder.join("alice/allowed_signers"), line.as_bytes(), Access::Shared)?;

    let Tour { mut answer, steps, .. } = tour;
    answer.field("folder", folder.display().to_string());
    answer.field("id", id);
    answer.field("steps", steps);
    Ok(answer)
}

struct Tour<'a> {
    folder: PathBuf,
    now: &'a Context,
    typed: &'a Typed<'a>,
    answer: Answer,
    steps: Vec<Value>,
}

impl Tour<'_> {
    fn home(&self, who: &str) -> Home {
        Home::below(&self.folder.join(who))
    }

    fn say(&mut self, what: &str) {
        if !self.answer.text.is_empty() {
            self.answer.line("");
        }
        self.answer.line(what);
        self.answer.line("");
    }

    fn run(&mut self, who: &str, args: &[&str]) -> Result<Result<Answer>> {
        let context = Context::new(Flags::default(), self.home(who), self.folder.clone())?;
        let line: Vec<String> = std::iter::once("quipu").chain(args.iter().copied()).map(str::to_owned).collect();
        self.answer.line(format!("  {who}$ {}", line.join(" ")));
        let result = (self.typed)(&line, &context);
        let (text, failed) = match &result {
            Ok(answer) => (answer.text.clone(), answer.fault.clone()),
            Err(error) => (String::new(), Some(error.clone())),
        };
        for output in text.lines() {
            self.answer.line(format!("  {output}"));
        }
        if let Some(error) = &failed {
            self.answer.line(format!("  error[{}]: {}", error.code(), error.message()));
        }
        self.steps.push(json!({
            "who": who,
            "command": line,
            "error": failed.map(|error| error.code().as_str()),
        }));
        Ok(result)
    }

    fn types(&mut self, who: &str, args: &[&str]) -> Result<Answer> {
        let answer = self.run(who, args)??;
        match answer.fault {
            Some(fault) => Err(fault),
            None => Ok(answer),
        }
    }

    /// Runs what must be refused.
    fn fails(&mut self, who: &str, args: &[&str]) -> Result<()> {
        match self.run(who, args)? {
            Ok(answer) if answer.fault.is_none() => Err(fault!(Bug, "`quipu {}` took a forgery for genuine", args.join(" "))),
            _ => Ok(()),
        }
    }

    fn write(&mut self, package: &str, files: &[(&str, bool, &str)]) -> Result<()> {
        for (path, exec, text) in files {
            let path = self.folder.join(package).join(path);
            replace::replace(&path, text.as_bytes(), Access::Shared)?;
            if *exec {
                replace::make_executable(&path)?;
            }
        }
        Ok(())
    }

    fn same_bytes(&mut self, ours: &str, theirs: &str) -> Result<()> {
        let read = |folder: &str| {
            let mut objects = crate::model::object::MemoryObjects::new(crate::model::digest::ObjectFormat::Sha1);
            let patterns = crate::disk::folder::Patterns::default();
            let limits = crate::model::contents::Limits::default();
            crate::disk::folder::collect(&self.folder.join(folder), &patterns, &limits, &mut objects)
        };
        let (ours, theirs) = (read(ours)?.contents.digest(), read(theirs)?.contents.digest());
        if ours != theirs {
            return Err(fault!(Bug, "the folder that came out has the digest {theirs}, the one that went in {ours}"));
        }
        self.answer.line(format!("  the two folders have the same digest, {ours}"));
        Ok(())
    }

    /// Copies the registry and gives the copy a release that Alice never made, by a key that she never allowed.
    fn forge(&mut self) -> Result<()> {
        let evil = self.folder.join("mallory.git");
        let output = Program::git()
            .args(["clone", "--quiet", "--mirror", "--no-hardlinks", "--"])
            .arg(self.folder.join("registry.git"))
            .arg(&evil)
            .run()?;
        if !output.success {
            return Err(fault!(Git, "git clone --mirror: {}", output.words()));
        }
        let home = self.home("mallory");
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|why| fault!(Io, "this machine has no random numbers: {why}"))?;
        let key = keys::create(&home, &"mallory".parse()?, seed)?;
        let secret = key.secret()?.ok_or_else(|| fault!(Bug, "a new key has no secret"))?;
        // She calls herself Alice: a name is no key.
        let alice: Label = "alice".parse()?;
        let author = Author { signer: &secret, name: alice.clone(), now: self.now.now };
        forged_release(&evil, &author, &alice, &"demo:greeting".parse()?)
    }
}

/// Appends a release to a package log and a checkpoint to the registry log, both signed by a key that neither log knows.
fn forged_release(path: &Path, author: &Author<'_>, name: &Label, package: &PackageName) -> Result<()> {
    let store = Store::open(path)?;
    let mut keys = KeyCache::default();
    let standing = Standing::read(&store, &mut keys)?;
    let mut objects = Staging::new(&store);
    let slot = Slot::Package(package.clone());
    let missing = || -> Error { fault!(Bug, "the registry of the tour has lost {package}") };
    let head = standing.map.get(&objects, &slot)?.ok_or_else(missing)?;
    let log = chains::package(&store.reader(), head, &mut keys)?.log;
    let newest = log.releases().next_back().ok_or_else(missing)?;
    let release = Release { version: "0.3.0".parse()?, ..newest.release.clone() };
    let entry = Entry::Package(PackageEntry::Release(Box::new(release)));
    let record = author.next(log.chain(), name.clone(), store.format().empty_tree(), entry)?;
    objects.write(ObjectKind::Commit, record.bytes())?;

    let before = &standing.checkpoint;
    let changes = BTreeMap::from([(slot.clone(), Some(record.git_id())), (Slot::Skip, Some(before.record().git_id()))]);
    let map: Map = standing.map.update(&mut objects, &changes)?;
    let line = ChangeLine::Head { log: log.chain().id(), seq: record.seq(), head: record.digest() };
    let checkpoint = Checkpoint {
        skip: Some(before.digest()),
        changes: changes_digest(&BTreeMap::from([(slot, line)])),
        ..before.checkpoint().clone()
    };
    let mut draft = before.record().draft().clone();
    let first = draft.link.map_or(before.digest().into(), |link| link.log);
    draft.link = Some(crate::model::record::Link { log: first, seq: before.seq() + 1, prev: before.digest() });
    draft.parent = Some(before.record().git_id());
    draft.tree = map.root();
    draft.entry = Entry::Checkpoint(checkpoint);
    let forged = draft.sign(author.signer)?;
    objects.write(ObjectKind::Commit, forged.bytes())?;
    objects.finish()?;
    let edit = |name, from, to| RefEdit { name, expected: Expected::At(from), new: Some(to) };
    store.update(&[
        edit(layout::package(package), head, record.git_id()),
        edit(layout::registry_log(), before.record().git_id(), forged.git_id()),
    ])
}
