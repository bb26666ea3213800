//! What the tests of this room start from: small repositories, and stock git as the second opinion.

use super::program::Program;
use super::store::Store;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
use crate::model::object::{MemoryObjects, WriteObjects as _};
use crate::model::tree::{Entry, Mode, Tree};
use std::path::Path;
use tempfile::TempDir;

/// Both object formats: every test of this room holds in each.
pub(crate) const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];

/// Runs git in a repository and returns what it printed; fails where git does.
pub(crate) fn git(repository: &Path, args: &[&str]) -> String {
    let output = try_git(repository, args);
    assert!(output.success, "git {args:?}: {}", output.stderr);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs git in a repository, whatever comes of it.
pub(crate) fn try_git(repository: &Path, args: &[&str]) -> super::program::Output {
    Program::git()
        .env("GIT_DIR", repository)
        .config("user.name", "Alice")
        .config("user.email", "alice@example.org")
        .args(args)
        .run()
        .unwrap()
}

/// Fails unless `git fsck --strict` finds nothing at all to say.
pub(crate) fn assert_sound(repository: &Path) {
    let output = try_git(repository, &["fsck", "--strict", "--full", "--no-dangling", "--no-progress"]);
    let notes: Vec<&str> = output
        .stderr
        .lines()
        // No branch has been made yet: a registry without a front page.
        .filter(|line| !line.starts_with("notice: "))
        .collect();
    assert!(
        output.success && output.stdout.is_empty() && notes.is_empty(),
        "{} {}",
        String::from_utf8_lossy(&output.stdout),
        output.stderr
    );
}

/// Writes a file.
#[allow(clippy::disallowed_methods)]
pub(crate) fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap();
}

/// Makes an empty repository in a folder of its own.
pub(crate) fn empty(format: ObjectFormat) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("registry.git"), format).unwrap();
    (folder, store)
}

/// A chain of commits, each with one more file in its tree; the commits are returned oldest first.
pub(crate) fn history(format: ObjectFormat, length: usize) -> (MemoryObjects, Vec<GitId>) {
    let mut objects = MemoryObjects::new(format);
    let mut entries = Vec::new();
    let mut commits: Vec<GitId> = Vec::new();
    for number in 0..length {
        let id = objects.write(ObjectKind::Blob, format!("file {number}\n").as_bytes()).unwrap();
        entries.push(Entry { name: format!("f{number}"), mode: Mode::File, id });
        let tree = Tree::new(entries.clone()).unwrap().write(&mut objects).unwrap();
        let parent = commits.last().map(|id| format!("parent {id}\n")).unwrap_or_default();
        let who = format!("Alice <alice@example.org> {} +0000", 1_700_000_000 + number);
        let bytes = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\ncommit {number}\n");
        commits.push(objects.write(ObjectKind::Commit, bytes.as_bytes()).unwrap());
    }
    (objects, commits)
}
