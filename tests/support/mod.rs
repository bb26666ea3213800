//! What the tests of the program share: people with homes of their own, the program as they run it, and servers on the loopback interface.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[cfg(unix)]
pub(crate) mod agent;
pub(crate) mod crowd;
pub(crate) mod daemon;
pub(crate) mod folders;
pub(crate) mod hosts;
pub(crate) mod relay;
pub(crate) mod servers;
#[cfg(unix)]
pub(crate) mod terminal;
pub(crate) mod web;

use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder in which a test happens; it goes when the test ends.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        World { folder: tempfile::Builder::new().prefix("quipu-test-").tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Returns a path as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Returns somebody who has a home, and nothing in it.
    pub(crate) fn person(&self, name: &str) -> Person {
        let home = self.path("homes").join(name);
        std::fs::create_dir_all(&home).unwrap();
        Person { name: name.to_owned(), home, folder: self.root(), environment: Vec::new() }
    }

    /// Returns somebody who has a home with a key.
    pub(crate) fn person_with_key(&self, name: &str) -> Person {
        let person = self.person(name);
        person.quipu(["key", "new", name]).ok();
        person
    }

    /// Lets somebody make a registry, and returns its id.
    pub(crate) fn registry(&self, operator: &Person, path: &str, domain: &str, format: &str) -> String {
        let made = operator.quipu(["registry", "init", &self.at(path), "--name", domain, "--object-format", format, "--json"]);
        made.ok().json()["id"].as_str().unwrap().to_owned()
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes the folder of a small package, and returns it as an argument.
    pub(crate) fn package(&self, folder: &str, name: &str, version: &str) -> String {
        self.write(&format!("{folder}/quipu.toml"), &format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n"));
        self.write(&format!("{folder}/src/text"), &format!("{name} {version}\n"));
        self.at(folder)
    }
}

/// Somebody with a home of their own.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Person {
    /// Says in which folder the next commands run.
    pub(crate) fn within(&self, folder: impl AsRef<Path>) -> Self {
        Person { folder: folder.as_ref().to_owned(), ..self.clone() }
    }

    /// Returns the folder in which the next commands run.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a variable to the environment of the next commands.
    pub(crate) fn with(&self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut person = self.clone();
        person.environment.push((name.into(), value.as_ref().to_owned()));
        person
    }

    /// Returns the file with their public key.
    pub(crate) fn public_key(&self) -> String {
        self.home.join("keys").join(format!("{}.pub", self.name)).display().to_string()
    }

    /// Runs the program, with nothing in its environment but what it needs.
    pub(crate) fn quipu<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        let mut command = clean(env!("CARGO_BIN_EXE_quipu"), &self.home);
        command.env("QUIPU_HOME", &self.home).envs(self.environment.iter().cloned()).current_dir(&self.folder);
        run(command.args(args))
    }

    /// Runs git in a folder, with what this person has set.
    pub(crate) fn git<A: AsRef<OsStr>>(&self, folder: &Path, args: impl IntoIterator<Item = A>) -> Outcome {
        let mut command = clean("git", &self.home);
        run(command.envs(self.environment.iter().cloned()).current_dir(folder).args(args))
    }

    /// Trusts a registry whose id is known.
    pub(crate) fn trust(&self, domain: &str, url: &str, id: &str) {
        self.quipu(["trust", "add", domain, url, "--id", id]).ok();
    }

    /// Runs a command with `--json` that has to succeed, and returns what it says.
    pub(crate) fn asks<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).chain([OsString::from("--json")]).collect();
        self.quipu(args).ok().json()
    }
}

/// What became of a process.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ends(0)
    }

    #[track_caller]
    pub(crate) fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}{}", self.command, self.stdout, self.stderr);
        self
    }

    /// Returns what was printed with `--json`: one object and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("{}: {why}\n{}{}", self.command, self.stdout, self.stderr))
    }

    /// Checks the exit status and, in the object printed with `--json`, the code; returns message and hints in one text.
    #[track_caller]
    pub(crate) fn fails(&self, status: i32, code: &str) -> String {
        let json = self.json();
        let error = &json["error"];
        let found = (self.status, error["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{}\n{}{}", self.command, self.stdout, self.stderr);
        assert_eq!((&json["quipu"], self.stderr.as_str()), (&Value::from(1), ""), "{}", self.command);
        let hints = error["hints"].as_array().unwrap();
        let lines = std::iter::once(&error["message"]).chain(hints).map(|line| line.as_str().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Runs git in a folder as somebody whose configuration says nothing.
pub(crate) fn git<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Outcome {
    run(clean("git", folder).arg("-C").arg(folder).args(args))
}

/// Prepares a program with an environment that holds nothing of the user's.
pub(crate) fn clean(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).env("HOME", home).env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Says that something was not tested, where the runner of tests does not swallow it.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        command: format!("{command:?}"),
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
