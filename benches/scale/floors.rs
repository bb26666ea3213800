//! What stock git does with as much: plain repositories, and what is pushed to them and fetched from them.

use crate::pairs::bed::Bed;
use crate::pairs::time;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A working copy whose commits go to a bare repository.
pub(crate) struct Working<'b> {
    bed: &'b Bed,
    folder: PathBuf,
    round: Cell<usize>,
}

impl<'b> Working<'b> {
    pub(crate) fn new(bed: &'b Bed, name: &str, url: &str) -> Self {
        let folder = bed.path(name);
        fs::create_dir_all(&folder).unwrap();
        bed.git(&folder, &["init", "-q"]);
        bed.git(&folder, &["remote", "add", "origin", url]);
        Working { bed, folder, round: Cell::new(0) }
    }

    /// Changes its files, then signs and pushes one commit: three processes, as a person does it.
    pub(crate) fn commit_and_push(&self, write: impl FnOnce(&Path, usize)) -> Duration {
        self.round.set(self.round.get() + 1);
        write(&self.folder, self.round.get());
        time(|| {
            self.bed.git(&self.folder, &["add", "-A"]);
            self.bed.git(&self.folder, &["commit", "-q", "-S", "-m", "release"]);
            self.bed.git(&self.folder, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
        })
    }
}

/// A plain repository with the references and objects of a registry, and with as many commits more as are pushed to it.
pub(crate) struct Crowded<'b> {
    bed: &'b Bed,
    path: PathBuf,
    drafts: PathBuf,
    round: Cell<usize>,
}

impl<'b> Crowded<'b> {
    /// Makes it from a registry whose references are all packed.
    pub(crate) fn like(bed: &'b Bed, registry: &Path, name: &str) -> Self {
        let path = bed.bare(&format!("{name}/crowded.git"));
        fs::copy(registry.join("packed-refs"), path.join("packed-refs")).unwrap();
        copy_linking_packs(&registry.join("objects"), &path.join("objects"));
        let drafts = bed.bare(&format!("{name}/drafts.git"));
        Crowded { bed, path, drafts, round: Cell::new(0) }
    }

    /// Configures it so that git looks at no reference but those that are pushed, as the configuration of a registry does. Without that a push is
    /// told of all references.
    pub(crate) fn hide(&self) {
        self.bed.git(&self.path, &["config", "receive.hideRefs", "refs/"]);
        self.bed.git(&self.path, &["config", "--add", "receive.hideRefs", "!refs/heads/"]);
        self.bed.git(&self.path, &["config", "core.alternateRefsPrefixes", "refs/none/"]);
    }

    /// Makes so many commits of one small file each, without parents, and pushes them as so many new references by one `git push`; the push is timed.
    pub(crate) fn push(&self, commits: usize) -> Duration {
        self.round.set(self.round.get() + 1);
        let round = self.round.get();
        // Commits as they are made: for one that is older than what is there, git would look through all of it, in time that grows by the square.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut stream = String::new();
        let mut wanted = vec!["push".to_owned(), "-q".to_owned(), self.path.to_str().unwrap().to_owned()];
        for number in 0..commits {
            let name = format!("refs/heads/r{round}-{number}");
            let text = format!("release {round} of {number}\n");
            let _ = write!(
                stream,
                "commit {name}\ncommitter a <a@b> {now} +0000\ndata 0\nM 644 inline README\ndata {}\n{text}\n",
                text.len()
            );
            wanted.push(format!("{name}:{name}"));
        }
        let commands = self.bed.path("fast-import");
        fs::write(&commands, stream).unwrap();
        self.bed.git_from(&commands, &self.drafts, &["fast-import", "--quiet"]);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        time(|| drop(self.bed.git(&self.drafts, &wanted)))
    }
}

/// Copies a folder of objects. Packs never change, so that they are only linked.
pub(crate) fn copy_linking_packs(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_linking_packs(&from, &to);
        } else {
            let is_pack = entry.file_name().to_string_lossy().starts_with("pack-");
            if !(is_pack && fs::hard_link(&from, &to).is_ok()) {
                fs::copy(from, to).unwrap();
            }
        }
    }
}

/// An empty repository, or one that was there before, that fetches a package's log and contents from a server.
pub(crate) struct Fetching<'b> {
    bed: &'b Bed,
    into: PathBuf,
}

impl<'b> Fetching<'b> {
    pub(crate) fn new(bed: &'b Bed, name: &str) -> Self {
        Fetching { bed, into: bed.bare(name) }
    }

    /// Fetches references of a package (`packages`, `contents`), by their names.
    pub(crate) fn fetch(&self, url: &str, package: &str, kinds: &[&str]) -> Duration {
        let place = package.replace(':', "/");
        // Contents have no parents: each new version replaces them.
        let wanted: Vec<String> = kinds.iter().map(|kind| format!("+refs/{kind}/{place}:refs/{kind}/{place}")).collect();
        let mut args = vec!["fetch", "-q", "--no-tags", url];
        args.extend(wanted.iter().map(String::as_str));
        time(|| drop(self.bed.git(&self.into, &args)))
    }
}

/// What git can say of two checkpoints: which heads differ, and whether their signatures are good.
pub(crate) fn diff_and_verify(bed: &Bed, repository: &Path, signers: &Path, before: &str, after: &str) -> (Duration, usize) {
    let mut changed = 0;
    let took = time(|| {
        let said = bed.git(repository, &["diff-tree", "-r", before, after]);
        let heads: Vec<String> = said.lines().filter_map(|line| line.split(' ').nth(3)).map(str::to_owned).collect();
        changed = heads.len();
        verify_commits(bed, repository, signers, &heads);
    });
    (took, changed)
}

/// Lets `git verify-commit` check some commits.
pub(crate) fn verify_commits(bed: &Bed, repository: &Path, signers: &Path, commits: &[String]) {
    let signers = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    let args: Vec<&str> = ["-c", &signers, "verify-commit"].into_iter().chain(commits.iter().map(String::as_str)).collect();
    bed.git(repository, &args);
}
