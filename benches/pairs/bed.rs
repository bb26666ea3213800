//! What a measurement of whole processes stands on: a folder on the disk of the build, the built program, the installed git.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder with one user in it: `home` is QUIPU_HOME, `registry.git` the registry, `alice` the key.
pub(crate) struct Bed {
    folder: TempDir,
}

impl Bed {
    /// Makes the user, the key and an empty registry.
    pub(crate) fn new() -> Self {
        let bed = Bed::with_key(Path::new(env!("CARGO_TARGET_TMPDIR")));
        bed.quipu(&bed.home(), &["registry", "init", "registry.git", "--name", "acme.example"]);
        bed
    }

    /// Makes the user and the key alone, in a folder inside this one.
    pub(crate) fn with_key(inside: &Path) -> Self {
        let bed = Bed { folder: tempfile::tempdir_in(inside).unwrap() };
        bed.quipu(&bed.home(), &["key", "new", "alice"]);
        bed
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Runs the built program in the folder and returns what it printed.
    pub(crate) fn quipu(&self, home: &Path, args: &[&str]) -> String {
        self.finish(Command::new(env!("CARGO_BIN_EXE_quipu")).env("QUIPU_HOME", home), self.folder.path(), args)
    }

    /// Runs the built program in the folder, which may end with one of these exit statuses.
    pub(crate) fn quipu_with(&self, home: &Path, args: &[&str], statuses: &[i32]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
        command.env_remove("QUIPU_REGISTRY").env_remove("QUIPU_KEY").env("HOME", self.folder.path()).env("QUIPU_HOME", home);
        let output = command.current_dir(self.folder.path()).args(args).output().unwrap();
        let is_one = output.status.code().is_some_and(|code| statuses.contains(&code));
        assert!(is_one, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the built program in another folder.
    pub(crate) fn quipu_in(&self, folder: &Path, home: &Path, args: &[&str]) -> String {
        self.finish(Command::new(env!("CARGO_BIN_EXE_quipu")).env("QUIPU_HOME", home), folder, args)
    }

    /// Runs the built program by way of another that ends by running what its last arguments say, as `time` does.
    pub(crate) fn quipu_by(&self, by: &[&str], home: &Path, args: &[&str]) -> String {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_quipu")).env("QUIPU_HOME", home);
        self.finish(&mut command, self.folder.path(), args)
    }

    /// Runs git in a folder, without anybody's configuration, and returns what it printed.
    pub(crate) fn git(&self, at: &Path, args: &[&str]) -> String {
        self.git_reading(Stdio::null(), at, args)
    }

    /// Does the same with a file for it to read.
    pub(crate) fn git_from(&self, input: &Path, at: &Path, args: &[&str]) -> String {
        self.git_reading(File::open(input).unwrap().into(), at, args)
    }

    fn git_reading(&self, input: Stdio, at: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.stdin(input);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").args([
            "-c",
            "user.name=Alice",
            "-c",
            "user.email=alice@example.org",
            "-c",
            "gpg.format=ssh",
            "-c",
        ]);
        command.arg(format!("user.signingkey={}", self.home().join("keys/alice").display()));
        self.finish(&mut command, at, args)
    }

    fn finish(&self, command: &mut Command, at: &Path, args: &[&str]) -> String {
        command.env_remove("QUIPU_REGISTRY").env_remove("QUIPU_KEY").env("HOME", self.folder.path());
        let output = command.current_dir(at).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes an empty repository that pushes go to.
    pub(crate) fn bare(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.git(self.folder.path(), &["init", "-q", "--bare", name]);
        path
    }

    /// Makes another home that trusts the registry at a URL and has the same keys, if it is to sign.
    pub(crate) fn another_home(&self, name: &str, url: &str, keys: bool) -> PathBuf {
        let shown = self.quipu(&self.home(), &["trust", "list", "--json"]);
        let id = shown.find("sha256:").map(|at| &shown[at..at + 71]).unwrap();
        self.home_that_trusts(name, ("acme.example", id), url, keys.then(|| self.home().join("keys")).as_deref())
    }

    /// Makes a home that trusts a registry, by its name and id, at a URL, with a copy of these keys.
    pub(crate) fn home_that_trusts(&self, name: &str, registry: (&str, &str), url: &str, keys: Option<&Path>) -> PathBuf {
        let home = self.path(name);
        if let Some(keys) = keys {
            copy(keys, &home.join("keys"));
        }
        self.quipu(&home, &["trust", "add", registry.0, url, "--id", registry.1, "--yes"]);
        home
    }
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Writes so many files of so many bytes of text that no earlier round had.
pub(crate) fn write_files(folder: &Path, files: usize, bytes: usize, round: usize) {
    for file in 0..files {
        let folder = folder.join(format!("part{}", file / 20));
        fs::create_dir_all(&folder).unwrap();
        let mut text = format!("round {round} of file {file}\n");
        let mut state = (round as u64) << 32 | file as u64 | 1;
        while text.len() < bytes {
            // Words as a program has them, so that they compress as one does.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(
                ["let ", "value", "  fn ", "(self)", " -> ", "Result", "{\n", "}\n", "name", "match "]
                    [(state >> 60) as usize % 10],
            );
            text.push_str(&format!("{:x}", (state >> 40) % 97));
        }
        fs::write(folder.join(format!("file{file}.rs")), text).unwrap();
    }
}
