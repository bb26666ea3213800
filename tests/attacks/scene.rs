//! What every case starts from: a registry whose records are laid by hand, attackers who can write any object into it, and users who
//! run the program.

use quipu::git::layout::{self, RefName};
use quipu::git::staging::Staging;
use quipu::git::store::{Reader, Store};
use quipu::log::operator::OperatorLog;
use quipu::model::changes::{ChangeLine, changes_digest};
use quipu::model::commit;
use quipu::model::contents::{self, Limits};
use quipu::model::digest::{ContentDigest, FileDigest, GitId, ObjectFormat, ObjectKind, RecordDigest, RegistryId};
use quipu::model::entry::{
    Checkpoint, Denial, Entry, Grant, OperatorEntry, OperatorPrivilege, PackageEntry, PackageInit, PackagePrivilege,
    Privilege as _, Release, Subject,
};
use quipu::model::key::KeyCache;
use quipu::model::map::Map;
use quipu::model::name::{PackageName, Reference, RegistryName};
use quipu::model::object::WriteObjects as _;
use quipu::model::openssh::{SecretKey, to_openssh};
use quipu::model::record::{Draft, Link, Record, SignedRecord};
use quipu::model::skip::skip;
use quipu::model::slot::Slot;
use quipu::model::sshsig::Signer as _;
use quipu::model::time::Timestamp;
use quipu::model::tree::{Entry as TreeEntry, Mode, Tree};
use quipu::replica::audit::line_of;
use quipu::replica::author::Author;
use quipu::replica::chains;
use quipu::replica::standing::{Founding, found};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// When everything in these registries was signed, unless a case says otherwise.
pub(crate) const THEN: u64 = 1_700_000_000;

/// Returns the key of one of the cast: Alice owns packages, Bob helps her, Olga and Oscar run registries, Mallory attacks.
pub(crate) fn key(name: &str) -> SecretKey {
    let seed = match name {
        "alice" => 1,
        "bob" => 2,
        "mallory" => 3,
        "olga" => 4,
        "oscar" => 5,
        _ => panic!("{name} is not one of the cast"),
    };
    SecretKey::from_seed([seed; 32].into())
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(seconds).unwrap()
}

pub(crate) fn package(name: &str) -> PackageName {
    name.parse().unwrap()
}

pub(crate) fn slot(name: &str) -> Slot {
    Slot::Package(package(name))
}

/// Runs a program in a clean environment and returns what it said.
#[allow(clippy::disallowed_methods)]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    command
}

/// Runs git in a repository as somebody with nothing to hide: no configuration but the repository's.
pub(crate) fn git(repository: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = program("git")
        .env("GIT_DIR", repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", repository)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Writes a file that a case needs, and the folders above it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Copies a folder as it is.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Reads all files below a folder, but for what `skip` says; folders count too.
pub(crate) fn everything_below(folder: &Path, skip: &dyn Fn(&Path) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = entry.path();
            if skip(&path) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                found.insert(path.clone(), Vec::new());
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap_or_default());
            }
        }
    }
    found
}

/// A package log on its way: records that its keys signed, good or bad.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<SignedRecord>,
    /// Version and contents tree of each release.
    pub(crate) trees: Vec<(String, GitId)>,
}

impl Log {
    pub(crate) fn head(&self) -> &SignedRecord {
        self.records.last().unwrap()
    }

    /// Drafts the record after the last one.
    pub(crate) fn draft(&self, signer: &str, entry: PackageEntry) -> Draft {
        after(self.head(), signer, Entry::Package(entry))
    }

    /// Appends a record as its signer would.
    pub(crate) fn add(&mut self, signer: &str, entry: PackageEntry) {
        let draft = self.draft(signer, entry);
        self.sign(signer, &draft);
    }

    /// Appends whatever was drafted.
    pub(crate) fn sign(&mut self, signer: &str, draft: &Draft) {
        self.records.push(draft.sign(&key(signer)).unwrap());
    }

    /// Appends a release of these contents.
    pub(crate) fn release(&mut self, signer: &str, release: Release) {
        self.trees.push((release.version.to_string(), release.tree));
        self.add(signer, PackageEntry::Release(std::sync::Arc::new(release)));
    }
}

/// Drafts the record after another.
pub(crate) fn after(head: &Record, signer: &str, entry: Entry) -> Draft {
    let draft = head.draft();
    Draft {
        format: draft.format,
        tree: draft.format.empty_tree(),
        parent: Some(head.git_id()),
        signer: signer.parse().unwrap(),
        time: draft.time,
        registry: draft.registry.clone(),
        subject: draft.subject.clone(),
        link: Some(Link {
            log: draft.link.map_or(head.digest().into(), |link| link.log),
            seq: head.seq() + 1,
            prev: head.digest(),
        }),
        entry,
    }
}

pub(crate) fn grant(name: &str, privileges: &[PackagePrivilege]) -> Grant<PackagePrivilege> {
    let key = key(name).public_key().clone();
    Grant { name: name.parse().unwrap(), key, privileges: privileges.to_vec(), namespaces: Vec::new() }
}

pub(crate) fn denial(name: &str, privileges: &[PackagePrivilege]) -> Denial<PackagePrivilege> {
    let key = key(name).public_key().clone();
    Denial { name: name.parse().unwrap(), key, privileges: privileges.to_vec(), compromised_since: None }
}

pub(crate) fn operator(name: &str, privileges: &[OperatorPrivilege]) -> Grant<OperatorPrivilege> {
    let key = key(name).public_key().clone();
    Grant { name: name.parse().unwrap(), key, privileges: privileges.to_vec(), namespaces: Vec::new() }
}

/// One entry of a tree as an attacker writes it: mode, name, id.
pub(crate) type RawEntry<'a> = (&'a str, &'a [u8], GitId);

/// The bytes of a tree with these entries in this order, whatever they are.
pub(crate) fn raw_tree(entries: &[RawEntry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes
}

/// The digest that files at these paths would have, were the paths allowed.
pub(crate) fn digest_of(files: &[(&str, &[u8])]) -> ContentDigest {
    let mut files = files.to_vec();
    files.sort();
    let mut text = String::from("quipu-contents 1\n");
    for (path, bytes) in files {
        text.push_str(&format!("file {} {} {path}\n", FileDigest::of_bytes(bytes).hex(), bytes.len()));
    }
    ContentDigest::of_bytes(text.as_bytes())
}

/// A release of contents that are told, not read.
pub(crate) fn release(version: &str, tree: GitId, files: u64, size: u64, content: ContentDigest) -> Release {
    Release {
        version: version.parse().unwrap(),
        content,
        tree,
        size,
        files,
        description: None,
        license: None,
        links: Vec::new(),
        build: None,
        dependencies: Vec::new(),
    }
}

/// A registry's repository, and hands that may do anything in it.
pub(crate) struct Registry {
    pub(crate) path: PathBuf,
    pub(crate) name: RegistryName,
    pub(crate) id: RegistryId,
}

impl Registry {
    /// Makes a registry that Olga runs.
    pub(crate) fn found(path: &Path, name: &str) -> Self {
        Registry::found_at(path, name, "olga", THEN)
    }

    pub(crate) fn found_at(path: &Path, name: &str, operator: &str, time: u64) -> Self {
        let (signer, name) = (key(operator), name.parse().unwrap());
        let author = Author { signer: &signer, name: operator.parse().unwrap(), now: at(time) };
        let founding = Founding { name: &name, format: ObjectFormat::Sha1, origin: None, front_page: &|_| Vec::new() };
        let standing = found(path, &author, &founding).unwrap();
        Registry { path: path.to_path_buf(), name, id: standing.operators.log.id() }
    }

    /// The same registry in another place.
    pub(crate) fn copied_to(&self, path: &Path) -> Self {
        copy(&self.path, path);
        Registry { path: path.to_path_buf(), name: self.name.clone(), id: self.id }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.path).unwrap()
    }

    pub(crate) fn reader(&self) -> Reader {
        self.store().reader()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.path, args, b"")
    }

    /// Writes any bytes as an object of any kind.
    pub(crate) fn raw(&self, kind: &str, bytes: &[u8]) -> GitId {
        git(&self.path, &["hash-object", "-w", "-t", kind, "--stdin", "--literally"], bytes).parse().unwrap()
    }

    /// Writes many objects at once.
    pub(crate) fn stage<T>(&self, write: impl FnOnce(&mut Staging<'_>) -> T) -> T {
        let store = self.store();
        let mut objects = Staging::new(&store);
        let result = write(&mut objects);
        objects.finish().unwrap();
        result
    }

    pub(crate) fn refs(&self) -> String {
        // Why something was refused is kept, and is no state of the registry.
        let refs = self.git(&["for-each-ref"]);
        refs.lines().filter(|line| !line.contains("refs/refused/")).collect::<Vec<_>>().join("\n")
    }

    /// All references but proposals.
    pub(crate) fn settled(&self) -> String {
        self.refs().lines().filter(|line| !line.contains("refs/incoming/")).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn named(&self, name: &RefName) -> GitId {
        self.store().reference(name).unwrap().unwrap_or_else(|| panic!("{name} is gone"))
    }

    pub(crate) fn set(&self, name: &str, id: GitId) {
        self.git(&["update-ref", name, &id.to_string()]);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.git(&["update-ref", "-d", name]);
    }

    pub(crate) fn record(&self, id: GitId) -> SignedRecord {
        chains::record(&self.reader(), id).unwrap().verify(&mut KeyCache::default()).unwrap()
    }

    pub(crate) fn newest(&self) -> SignedRecord {
        self.record(self.named(&layout::registry_log()))
    }

    pub(crate) fn operators(&self) -> OperatorLog {
        chains::operators(&self.reader(), self.named(&layout::operators()), &mut KeyCache::default()).unwrap().log
    }

    /// Writes files as a tree.
    pub(crate) fn files(&self, files: &[(&str, &[u8])]) -> GitId {
        fn folder(objects: &mut Staging<'_>, files: &[(&str, &[u8])]) -> GitId {
            let mut below: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
            let mut entries = Vec::new();
            for (path, bytes) in files {
                match path.split_once('/') {
                    Some((name, rest)) => below.entry(name).or_default().push((rest, bytes)),
                    None => {
                        let id = objects.write(ObjectKind::Blob, bytes).unwrap();
                        entries.push(TreeEntry { name: (*path).to_owned(), mode: Mode::File, id });
                    }
                }
            }
            for (name, files) in below {
                let id = folder(objects, &files);
                entries.push(TreeEntry { name: name.to_owned(), mode: Mode::Tree, id });
            }
            Tree::new(entries).unwrap().write(objects).unwrap()
        }
        self.stage(|objects| folder(objects, files))
    }

    /// Describes files that were written as the release that they are.
    pub(crate) fn release_of(&self, version: &str, tree: GitId) -> Release {
        let found = contents::read_tree(&self.reader(), tree, &Limits::default(), |_, _| Ok(())).unwrap();
        release(version, tree, found.len() as u64, found.size(), found.digest())
    }

    /// Describes a release with one file.
    pub(crate) fn text(&self, version: &str, text: &str) -> Release {
        self.release_of(version, self.files(&[("README.md", text.as_bytes())]))
    }

    /// The first record of a package of this registry.
    pub(crate) fn first(&self, signer: &str, name: &str) -> Draft {
        let keys = vec![grant(signer, PackagePrivilege::ALL)];
        Draft {
            format: ObjectFormat::Sha1,
            tree: ObjectFormat::Sha1.empty_tree(),
            parent: None,
            signer: signer.parse().unwrap(),
            time: at(THEN),
            registry: self.name.clone(),
            subject: Subject::Package(package(name)),
            link: None,
            entry: Entry::Package(PackageEntry::Init(PackageInit { registry_id: self.id, origin: None, keys })),
        }
    }

    pub(crate) fn begin(&self, signer: &str, name: &str) -> Log {
        Log { records: vec![self.first(signer, name).sign(&key(signer)).unwrap()], trees: Vec::new() }
    }

    /// The usual package: Alice's, with one release.
    pub(crate) fn hello(&self, name: &str, version: &str) -> Log {
        self.hello_of("alice", name, version)
    }

    /// The same of somebody else.
    pub(crate) fn hello_of(&self, owner: &str, name: &str, version: &str) -> Log {
        let mut log = self.begin(owner, name);
        log.release(owner, self.text(version, &format!("{name} {version}\n")));
        log
    }

    /// Writes the records of a log.
    pub(crate) fn write(&self, records: &[SignedRecord]) {
        self.stage(|objects| {
            objects.write(ObjectKind::Tree, b"").unwrap();
            for record in records {
                objects.write(ObjectKind::Commit, record.bytes()).unwrap();
            }
        });
    }

    /// Writes one record and makes a reference name it.
    pub(crate) fn put_record(&self, name: &RefName, record: &SignedRecord) {
        self.write(std::slice::from_ref(record));
        self.set(name.as_str(), record.git_id());
    }

    /// Proposes a log with the contents of the releases named last.
    pub(crate) fn propose(&self, name: &str, log: &Log, releases: usize) -> GitId {
        self.write(&log.records);
        self.propose_raw(name, log.head().git_id(), &log.trees[log.trees.len() - releases..])
    }

    pub(crate) fn propose_raw(&self, name: &str, head: GitId, releases: &[(String, GitId)]) -> GitId {
        let entries = releases.iter().map(|(version, id)| TreeEntry { name: version.clone(), mode: Mode::Tree, id: *id });
        let tree = Tree::new(entries.collect()).unwrap();
        self.propose_tree(name, head, &tree.to_bytes())
    }

    pub(crate) fn propose_tree(&self, name: &str, head: GitId, tree: &[u8]) -> GitId {
        let id = self.stage(|objects| {
            let tree = objects.write(ObjectKind::Tree, tree).unwrap();
            objects.write(ObjectKind::Commit, &commit::proposal(tree, head)).unwrap()
        });
        self.set(layout::incoming(&package(name), id).as_str(), id);
        id
    }

    /// Makes the references of a package name a log and its contents, without a checkpoint.
    pub(crate) fn place(&self, name: &str, log: &Log) {
        self.write(&log.records);
        self.set(layout::package(&package(name)).as_str(), log.head().git_id());
        self.place_contents(name, &log.trees);
    }

    pub(crate) fn place_contents(&self, name: &str, trees: &[(String, GitId)]) {
        if trees.is_empty() {
            return;
        }
        let folders: BTreeMap<&String, GitId> = trees.iter().map(|(version, id)| (version, *id)).collect();
        let entries = folders.iter().map(|(version, id)| TreeEntry { name: (*version).clone(), mode: Mode::Tree, id: *id });
        let tree = Tree::new(entries.collect()).unwrap();
        let id = self.stage(|objects| {
            let tree = tree.write(objects).unwrap();
            objects.write(ObjectKind::Commit, &commit::contents(tree)).unwrap()
        });
        self.set(layout::contents(&package(name)).as_str(), id);
    }

    /// Publishes a log as an operator who looks at nothing.
    pub(crate) fn serve(&self, name: &str, log: &Log) -> SignedRecord {
        self.place(name, log);
        self.checkpoint("olga", &[(slot(name), Some(log.head().git_id()))], |_, _| {})
    }

    /// Makes the next checkpoint, changed by `tweak` before it is signed.
    pub(crate) fn checkpoint(
        &self,
        signer: &str,
        changes: &[(Slot, Option<GitId>)],
        tweak: impl FnOnce(&mut Draft, &mut Checkpoint),
    ) -> SignedRecord {
        self.checkpoint_on(&self.newest(), signer, changes, tweak)
    }

    pub(crate) fn checkpoint_on(
        &self,
        previous: &SignedRecord,
        signer: &str,
        changes: &[(Slot, Option<GitId>)],
        tweak: impl FnOnce(&mut Draft, &mut Checkpoint),
    ) -> SignedRecord {
        let reader = self.reader();
        let Entry::Checkpoint(before) = previous.entry() else { panic!("not a checkpoint") };
        let target = skip(previous.seq() + 1);
        let mut skipped = previous.clone();
        while skipped.seq() > target {
            skipped = self.record(skipped.draft().parent.unwrap());
        }
        let map = Map::at(previous.draft().tree);
        let mut packages = before.packages;
        let mut lines = BTreeMap::new();
        let mut slots: BTreeMap<Slot, Option<GitId>> = changes.iter().cloned().collect();
        for (slot, id) in changes {
            if let Slot::Package(_) = slot {
                let held = map.get(&reader, slot).unwrap().is_some();
                packages = packages + u64::from(id.is_some()) - u64::from(held);
            }
            let line = id.map_or(ChangeLine::Gone, |id| line_of(&chains::record(&reader, id).unwrap()));
            lines.insert(slot.clone(), line);
        }
        slots.insert(Slot::Skip, Some(skipped.git_id()));
        let map = self.stage(|objects| map.update(objects, &slots).unwrap());
        let mut checkpoint = Checkpoint {
            skip: Some(skipped.digest()),
            operators: self.operators().chain().head(),
            packages,
            changes: changes_digest(&lines),
            expires: None,
        };
        let mut draft = after(previous, signer, Entry::Checkpoint(checkpoint.clone()));
        draft.tree = map.root();
        tweak(&mut draft, &mut checkpoint);
        draft.entry = Entry::Checkpoint(checkpoint);
        let record = draft.sign(&key(signer)).unwrap();
        self.put_record(&layout::registry_log(), &record);
        record
    }

    /// Makes so many checkpoints that change nothing, all at once, and returns the last.
    pub(crate) fn pass(&self, count: u64) -> SignedRecord {
        let (reader, mut keys) = (self.reader(), KeyCache::default());
        let mut all = vec![self.newest()];
        while let Some(parent) = all.last().unwrap().draft().parent {
            all.push(chains::record(&reader, parent).unwrap().verify(&mut keys).unwrap());
        }
        all.reverse();
        self.stage(|objects| {
            for _ in 0..count {
                let last = all.last().unwrap();
                let Entry::Checkpoint(before) = last.entry() else { panic!("not a checkpoint") };
                let skipped = &all[usize::try_from(skip(last.seq() + 1)).unwrap()];
                let slots = [(Slot::Skip, Some(skipped.git_id()))].into_iter().collect();
                let map = Map::at(last.draft().tree).update(objects, &slots).unwrap();
                let changes = changes_digest(&BTreeMap::new());
                let checkpoint = Checkpoint { skip: Some(skipped.digest()), changes, ..before.clone() };
                let mut draft = after(last, "olga", Entry::Checkpoint(checkpoint));
                draft.tree = map.root();
                let next = draft.sign(&key("olga")).unwrap();
                objects.write(ObjectKind::Commit, next.bytes()).unwrap();
                all.push(next);
            }
        });
        let last = all.pop().unwrap();
        self.set(layout::registry_log().as_str(), last.git_id());
        last
    }

    /// Puts names into the map whose logs nobody has: what is not asked for is not looked at. It is a checkpoint of its own.
    pub(crate) fn crowd(&self, names: impl IntoIterator<Item = PackageName>) -> SignedRecord {
        let head = |name: &PackageName| GitId::from_bytes(&FileDigest::of_bytes(name.to_string().as_bytes()).as_bytes()[..20]);
        let slots: BTreeMap<Slot, Option<GitId>> =
            names.into_iter().map(|name| (Slot::Package(name.clone()), Some(head(&name).unwrap()))).collect();
        self.checkpoint("olga", &[], |draft, checkpoint| {
            draft.tree = self.stage(|objects| Map::at(draft.tree).update(objects, &slots).unwrap()).root();
            checkpoint.packages += slots.len() as u64;
        })
    }

    /// Appends to the operator log and makes the checkpoint that names it.
    pub(crate) fn operate(&self, signer: &str, entry: OperatorEntry) -> SignedRecord {
        let head = self.record(self.named(&layout::operators()));
        let record = after(&head, signer, Entry::Operator(entry)).sign(&key(signer)).unwrap();
        self.put_record(&layout::operators(), &record);
        self.checkpoint("olga", &[], |_, _| {});
        record
    }

    /// Says the anchor of a record on the command line.
    pub(crate) fn reference(&self, name: &str, anchor: RecordDigest) -> String {
        let reference: Reference = format!("{}/{name}#{anchor}", self.name).parse().unwrap();
        reference.to_string()
    }
}

/// What the program said.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) json: Value,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Said { status: output.status.code().unwrap_or(-1), json, stdout, stderr }
    }

    pub(crate) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("none")
    }

    pub(crate) fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }

    /// Fails unless all went well.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert!(self.status == 0 && self.json["error"].is_null(), "status {}: {}{}", self.status, self.stdout, self.stderr);
        self
    }

    /// Fails unless it ended with this code and this status.
    #[track_caller]
    pub(crate) fn is(self, code: &str, status: i32) -> Self {
        assert_eq!((self.code(), self.status), (code, status), "{}{}", self.stdout, self.stderr);
        self
    }
}

/// A person with a home, a folder to work in, and the program.
pub(crate) struct User {
    root: PathBuf,
}

impl User {
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Prepares the program with its arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.prepare(program(env!("CARGO_BIN_EXE_quipu")), args)
    }

    pub(crate) fn prepare(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .current_dir(self.folder())
            .env("HOME", self.root.join("user"))
            .env("QUIPU_HOME", self.home())
            .env("TMPDIR", self.root.join("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(args);
        command
    }

    /// Runs the program for a program.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let mut all = vec!["--json"];
        all.extend(args);
        let said = Said::of(&self.command(&all).output().unwrap());
        self.assert_tidy();
        said
    }

    /// Runs the program for a person.
    pub(crate) fn say(&self, args: &[&str]) -> Said {
        let said = Said::of(&self.command(args).output().unwrap());
        self.assert_tidy();
        said
    }

    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        let left: Vec<_> = fs::read_dir(self.root.join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }

    /// Everything that must not change where a command fails: trust, settings, memory, and the folder that the user works in.
    pub(crate) fn state(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let passing = [self.home().join("cache"), self.home().join("state/evidence"), self.root.join("tmp")];
        everything_below(&self.root, &|path| passing.iter().any(|passing| path == passing))
    }

    /// The signed objects that were kept as evidence.
    pub(crate) fn evidence(&self) -> Vec<Vec<u8>> {
        let folder = self.home().join("state/evidence");
        everything_below(&folder, &|_| false).into_iter().filter(|(path, _)| path.is_file()).map(|(_, bytes)| bytes).collect()
    }

    /// Trusts a registry by its id.
    pub(crate) fn trust(&self, registry: &Registry, url: &str) {
        self.run(&["trust", "add", registry.name.as_str(), url, "--id", &registry.id.to_string()]).well();
    }

    /// Says that a registry is somewhere else now, as a hijacked name or network would.
    pub(crate) fn redirect(&self, registry: &Registry, url: &str) {
        put(
            &self.home().join("config.toml"),
            format!("registry = \"{0}\"\n\n[registries.\"{0}\"]\nurl = \"{url}\"\n", registry.name),
        );
    }

    pub(crate) fn state_file(&self, registry: &Registry) -> PathBuf {
        self.home().join(format!("state/{}.toml", registry.id.hex()))
    }

    /// Runs a command that must fail, and checks that nothing here or in the registry has changed.
    #[track_caller]
    pub(crate) fn refused(&self, registry: &Registry, args: &[&str], code: &str, status: i32) -> Said {
        let (state, refs) = (self.state(), registry.refs());
        let said = self.run(args).is(code, status);
        assert_eq!(self.state(), state, "the user's files have changed");
        assert_eq!(registry.refs(), refs, "the registry's references have changed");
        said
    }

    /// Gets something into a new folder.
    #[track_caller]
    pub(crate) fn gets(&self, what: &str, into: &str) -> Said {
        let said = self.run(&["get", what, "--to", into]).well();
        assert!(self.folder().join(into).is_dir());
        said
    }
}

/// Folders for one case.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Scene { folder: tempfile::tempdir().unwrap() }
    }

    /// A scene, and the registry `acme.example` with Alice's package `demo:hello` 1.0.0.
    pub(crate) fn with_registry() -> (Self, Registry, Log) {
        let scene = Scene::new();
        let registry = Registry::found(&scene.path("registry.git"), "acme.example");
        let log = registry.hello("demo:hello", "1.0.0");
        registry.serve("demo:hello", &log);
        (scene, registry, log)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A user without keys.
    pub(crate) fn user(&self, name: &str) -> User {
        let user = User { root: self.path(name) };
        for folder in ["home", "work", "tmp", "user"] {
            fs::create_dir_all(user.root.join(folder)).unwrap();
        }
        user
    }

    /// One of the cast, with a key.
    pub(crate) fn cast(&self, name: &str) -> User {
        let user = self.user(name);
        let secret = key(name);
        let file = user.home().join("keys").join(name);
        put(&file, to_openssh(&secret, name).as_bytes());
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        put(&file.with_extension("pub"), format!("{} {name}\n", secret.public_key()));
        user
    }

    /// Somebody who trusts the registry and has looked at nothing yet.
    pub(crate) fn reader(&self, name: &str, registry: &Registry) -> User {
        let user = self.user(name);
        user.trust(registry, registry.path.to_str().unwrap());
        user
    }

    /// Lets Olga judge what is proposed, and returns the code for each package; `accepted` where it is in.
    #[track_caller]
    pub(crate) fn judge(&self, registry: &Registry) -> BTreeMap<String, String> {
        let olga = self.cast("olga");
        let state = olga.state();
        let said = olga.run(&["registry", "accept", registry.path.to_str().unwrap()]);
        assert_eq!(olga.state(), state, "the operator's files have changed");
        let outcomes = said.json["outcomes"].as_array().unwrap_or_else(|| panic!("{}{}", said.stdout, said.stderr)).clone();
        let verdicts: BTreeMap<String, String> = outcomes
            .iter()
            .map(|outcome| {
                let verdict = outcome["error"]["code"].as_str().or(outcome["state"].as_str()).unwrap();
                (outcome["package"].as_str().unwrap().to_owned(), verdict.to_owned())
            })
            .collect();
        assert_eq!(verdicts.len(), outcomes.len(), "judge one proposal of a package at a time");
        let refused = verdicts.values().any(|verdict| verdict != "accepted" && verdict != "already-in");
        assert_eq!((said.status, said.code()), if refused { (8, "refused") } else { (0, "none") }, "{}", said.stdout);
        verdicts
    }

    /// Lets Olga judge the one proposal there is: it must be refused for this reason, and nothing but the proposal may be gone.
    #[track_caller]
    pub(crate) fn refuses(&self, registry: &Registry, code: &str) {
        let before = registry.settled();
        let verdicts = self.judge(registry);
        assert_eq!(verdicts.values().collect::<Vec<_>>(), [code], "{verdicts:?}");
        assert_eq!(registry.refs(), before, "the registry's references have changed");
    }

    /// Lets Olga judge the one proposal there is: it must be accepted.
    #[track_caller]
    pub(crate) fn accepts(&self, registry: &Registry) {
        let verdicts = self.judge(registry);
        assert_eq!(verdicts.values().collect::<Vec<_>>(), ["accepted"], "{verdicts:?}");
    }

    /// Proposes and judges: `bad` is refused for this reason, `good` is the same but for the fault, and is accepted.
    #[track_caller]
    pub(crate) fn twins(&self, registry: &Registry, name: &str, bad: &Log, code: &str, good: &Log, releases: usize) {
        registry.propose(name, bad, releases);
        self.refuses(registry, code);
        registry.propose(name, good, releases);
        self.accepts(registry);
    }
}
