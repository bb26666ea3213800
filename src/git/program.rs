//! The one place where other programs are started: `git`, `ssh`, `ssh-keygen` and `curl`, and quipu itself for what need not be waited for.
//!
//! A program sees its user's environment without git's own variables, and none of the user's git configuration but what the
//! network needs: credential helpers, the ssh command, proxies and certificates. Aliases, hooks, `url.*.insteadOf`,
//! `transfer.*`, `fetch.*` and `protocol.*` do not reach in. What does is read once, by one process, and only when a program
//! asks for it.

use crate::model::error::{Error, Result, fault};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The oldest git that has all that is used.
pub const GIT_MIN: &str = "2.42";

/// The most that is kept of what a program prints on stdout, where nothing else is said.
const OUTPUT_MAX: usize = 64 * 1024 * 1024;
/// The most that is kept of what a program prints on stderr: the end of it, where git says why it failed.
const COMPLAINT_MAX: usize = 16 * 1024;
/// The most characters of a program's own words in a message.
const WORDS_MAX: usize = 600;
/// How often a deadline and a guard are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long the stdout of a program that has ended is waited for: a process that it left behind may hold it for ever.
const OUTPUT_LINGERS: Duration = Duration::from_secs(5);
/// The same for stderr, which a kept ssh connection does hold.
const COMPLAINT_LINGERS: Duration = Duration::from_millis(200);

/// Variables of git that say how to reach and authenticate to another host.
const KEPT_OF_GIT: &[&str] = &[
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
];

/// Variables that change the words of a program or let it wait for a person.
const DROPPED: &[&str] = &["LANG", "LANGUAGE", "PAGER", "EDITOR", "VISUAL"];

/// Keys of the user's git configuration that transport needs, as `git config` matches them.
const TRANSPORT_KEYS: &str = r"^(credential\..*|http\..*|ssh\.variant|core\.(sshcommand|askpass|gitproxy)|safe\.directory)$";

/// What a program inherits: environment variables, and the user's git configuration as far as transport needs it.
#[derive(Clone)]
pub struct Environment(Arc<Inherited>);

struct Inherited {
    variables: Vec<(OsString, OsString)>,
    transport: OnceLock<Result<Vec<(String, String)>>>,
}

impl Environment {
    /// Returns the environment of this process, the same one each time, so that its configuration is read once.
    pub fn of_process() -> Self {
        static OF_PROCESS: OnceLock<Environment> = OnceLock::new();
        OF_PROCESS.get_or_init(|| Environment::new(std::env::vars_os())).clone()
    }

    /// Makes an environment of exactly these variables.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Environment(Arc::new(Inherited { variables: variables.into_iter().collect(), transport: OnceLock::new() }))
    }

    /// Says whether a variable is set.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the value of a variable, where it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let mut set = self.0.variables.iter().filter(|(key, value)| key == name && !value.is_empty());
        set.next().map(|(_, value)| value.as_os_str())
    }

    /// Returns keys and values of the user's git configuration that transport needs, in the order in which git reads them.
    /// The first call starts a process.
    ///
    /// # Errors
    /// `git` where git is missing or cannot read the configuration.
    pub fn transport_config(&self) -> Result<&[(String, String)]> {
        self.0.transport.get_or_init(|| self.read_transport_config()).as_deref().map_err(Error::clone)
    }

    /// Returns one value of the user's git configuration, outside of any repository; a path with its `~` resolved.
    ///
    /// # Errors
    /// `git` where git is missing.
    pub fn user_config(&self, key: &str, path: bool) -> Result<Option<String>> {
        let mut program = Program::new("git").environment(self);
        program.shut = false;
        program.variables = self.variables(|name| name.starts_with("GIT_CONFIG"));
        let output = program
            .env("GIT_DIR", "/dev/null/no-repository")
            .args(["config", "--null", if path { "--type=path" } else { "--no-type" }, "--get", key])
            .run()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(output.success.then(|| text.trim_end_matches('\0').to_owned()))
    }

    fn read_transport_config(&self) -> Result<Vec<(String, String)>> {
        let mut program = Program::new("git").environment(self);
        program.shut = false;
        program.variables = self.variables(|name| name.starts_with("GIT_CONFIG"));
        let output = program
            // No repository is looked for, so that only the user's and the system's files are read.
            .env("GIT_DIR", "/dev/null/no-repository")
            .env("LC_ALL", "C")
            .args(["config", "--null", "--get-regexp", TRANSPORT_KEYS])
            .run()?;
        // Exit status 1 says that no key matched.
        if !output.success && output.code != Some(1) {
            return Err(fault!(Git, "your git configuration cannot be read: {}", output.words()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let entries = text.split('\0').filter(|entry| !entry.is_empty());
        Ok(entries
            .map(|entry| match entry.split_once('\n') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                // A key without `=` is a flag that is set.
                None => (entry.to_owned(), "true".to_owned()),
            })
            .collect())
    }

    /// Returns what a program inherits: all but git's own variables, of which `kept` are left. Variables of other programs
    /// stay, because a credential helper may need any of them.
    fn variables(&self, kept: impl Fn(&str) -> bool) -> Vec<(OsString, OsString)> {
        let inherits = |name: &OsStr| {
            let Some(name) = name.to_str() else { return false };
            match name.strip_prefix("GIT_") {
                Some(_) => kept(name),
                None => !name.starts_with("LC_") && !DROPPED.contains(&name),
            }
        };
        self.0.variables.iter().filter(|(name, _)| inherits(name)).cloned().collect()
    }
}

impl Default for Environment {
    fn default() -> Self {
        Environment::of_process()
    }
}

impl std::fmt::Debug for Environment {
    /// Prints names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.variables.iter().map(|(name, _)| name)).finish()
    }
}

/// Looks at a running program now and then, and ends it with an error.
pub type Guard<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

/// One run of a program, before it starts.
pub struct Program<'a> {
    name: &'static str,
    environment: Environment,
    variables: Vec<(OsString, OsString)>,
    config: Vec<(String, String)>,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    input: Vec<u8>,
    talks: bool,
    terminal: bool,
    shut: bool,
    transport_config: bool,
    output_max: usize,
    deadline: Option<Duration>,
    guard: Option<Guard<'a>>,
}

/// What a program that ended said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended with exit status 0.
    pub success: bool,
    /// Its exit status; `None` where a signal ended it.
    pub code: Option<i32>,
    /// All that it printed.
    pub stdout: Vec<u8>,
    /// The end of what it complained of, at most 16 KiB.
    pub stderr: String,
}

impl Output {
    /// Returns the program's own words on one line, bounded, and without characters that a terminal would obey.
    pub fn words(&self) -> String {
        let words = in_one_line(&self.stderr);
        match (words.is_empty(), self.code) {
            (false, _) => words,
            (true, Some(code)) => format!("it ended with exit status {code} and said nothing"),
            (true, None) => "a signal ended it".to_owned(),
        }
    }
}

/// Joins lines, escapes what a terminal would obey, and cuts at some 600 characters.
pub fn in_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line = String::new();
    for (count, c) in lines.join("; ").chars().enumerate() {
        if count == WORDS_MAX {
            line.push('…');
            break;
        }
        let bidirectional = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || bidirectional {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    line
}

/// Starts this program anew with other arguments, and does not wait for it: it reads nothing, says nothing to anybody, and goes on when this
/// process has ended.
///
/// # Errors
/// `io` where it cannot be started.
#[allow(clippy::disallowed_methods)]
pub fn in_background(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let program = std::env::current_exe().map_err(|why| fault!(Io, "this program is not found: {why}"))?;
    super::effort::program();
    let mut command = Command::new(&program);
    command.args(args).env_clear().envs(Environment::of_process().variables(|_| false));
    // Whoever waits for the end of an output that it inherited would wait for it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map(drop).map_err(|why| fault!(Io, "{}: {why}", program.display()))
}

impl<'a> Program<'a> {
    /// Prepares a run of git that is shut to its surroundings: no configuration of user or system, no prompt, no pager, no
    /// replaced objects, no fetch of what is missing, no other protocols than those of [`super::transport::Url`].
    pub fn git() -> Self {
        Program::new("git")
    }

    /// Prepares a run of `ssh-keygen`.
    pub fn ssh_keygen() -> Self {
        Program::new("ssh-keygen")
    }

    /// Prepares a run of `ssh`, or of a user's command in its place, which a shell reads as git has it read.
    pub fn ssh(command: Option<&str>) -> Self {
        match command {
            None => Program::new("ssh"),
            Some(command) => Program::new("sh").args(["-c", &format!("{command} \"$@\""), command]),
        }
    }

    /// Prepares a run of `curl`, without its user's configuration.
    pub fn curl() -> Self {
        // It is heeded as the first argument only.
        Program::new("curl").arg("-q")
    }

    fn new(name: &'static str) -> Self {
        Program {
            name,
            environment: Environment::of_process(),
            variables: Vec::new(),
            config: Vec::new(),
            args: Vec::new(),
            folder: None,
            input: Vec::new(),
            talks: false,
            terminal: false,
            shut: name == "git",
            transport_config: false,
            output_max: OUTPUT_MAX,
            deadline: None,
            guard: None,
        }
    }

    /// Takes another environment than that of this process.
    #[must_use]
    pub fn environment(mut self, environment: &Environment) -> Self {
        self.environment = environment.clone();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable, whatever the environment says of it.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets a key of git's configuration for this run; it goes before that of any file.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Gives these bytes on stdin; without them it is empty.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// Lets the program ask the person at the terminal, for a password say.
    #[must_use]
    pub fn terminal(mut self, wanted: bool) -> Self {
        self.terminal = wanted;
        self
    }

    /// Lets the user's git configuration reach in as far as the network needs it.
    #[must_use]
    pub fn with_transport_config(mut self, wanted: bool) -> Self {
        self.transport_config = wanted;
        self
    }

    /// Bounds what it may print on stdout, in bytes; 64 MiB where nothing is said.
    #[must_use]
    pub fn output_max(mut self, bytes: usize) -> Self {
        self.output_max = bytes;
        self
    }

    /// Ends the program, and the processes that it started, after this time.
    #[must_use]
    pub fn deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Looks at this twenty times a second, and ends the program with the first error it returns.
    #[must_use]
    pub fn guard(mut self, guard: Guard<'a>) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Runs the program to its end. A program that fails is no error here: see [`Output::success`].
    ///
    /// # Errors
    /// `git` where it is missing or cannot be started, `network` where the deadline passed, `limit` where it printed too
    /// much, `io` where its folder is missing, and what the guard returns.
    pub fn run(mut self) -> Result<Output> {
        let mut child = self.start()?;
        let input = std::mem::take(&mut self.input);
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading its input says why on stderr.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (closed, events) = mpsc::channel();
        let stdout = Capture::start(child.stdout.take(), self.output_max, Keep::Beginning, closed.clone());
        let stderr = Capture::start(child.stderr.take(), COMPLAINT_MAX, Keep::End, closed);
        let status = match self.supervise(&mut child, &stdout, &events) {
            Ok(status) => status,
            Err(error) => {
                end(&mut child, !self.terminal);
                return Err(error);
            }
        };
        stdout.wait(OUTPUT_LINGERS, &events);
        stderr.wait(COMPLAINT_LINGERS, &events);
        stdout.check(self.name)?;
        Ok(Output {
            success: status.success(),
            code: status.code(),
            stdout: stdout.take(),
            stderr: String::from_utf8_lossy(&stderr.take()).into_owned(),
        })
    }

    /// Starts the program to talk with it. Deadline, guard and a bound of what it prints are not for this.
    ///
    /// # Errors
    /// `git` where it is missing or cannot be started, `io` where its folder is missing.
    pub fn talk(mut self) -> Result<Talk> {
        self.talks = true;
        let mut child = self.start()?;
        let (closed, events) = mpsc::channel();
        let stderr = Capture::start(child.stderr.take(), COMPLAINT_MAX, Keep::End, closed);
        Ok(Talk { stdin: child.stdin.take(), stdout: child.stdout.take(), child, stderr, events, leads_group: !self.terminal })
    }

    #[allow(clippy::disallowed_methods)]
    fn start(&self) -> Result<Child> {
        super::effort::program();
        let mut command = Command::new(self.name);
        command.env_clear();
        command.envs(self.environment.variables(|name| KEPT_OF_GIT.contains(&name)));
        command.env("LC_ALL", "C");
        if self.shut {
            self.close(&mut command)?;
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        for (key, value) in &self.config {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        command.args(&self.args);
        if let Some(folder) = &self.folder {
            if !folder.is_dir() {
                return Err(fault!(Io, "{}: there is no such folder", folder.display()));
            }
            command.current_dir(folder);
        }
        command.stdin(if self.input.is_empty() && !self.talks { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own can be ended as a whole; but only the terminal's own group may ask the person at it.
        #[cfg(unix)]
        if !self.terminal {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command.spawn().map_err(|why| {
            let error = fault!(Git, "the program {} cannot be started: {why}", self.name);
            match (why.kind(), self.name) {
                (io::ErrorKind::NotFound, "git") => error.hint(format!("install git {GIT_MIN} or later, so that it is on PATH")),
                (io::ErrorKind::NotFound, "curl") => error.hint("install curl, so that it is on PATH"),
                (io::ErrorKind::NotFound, _) => error.hint(format!("install OpenSSH, so that {} is on PATH", self.name)),
                _ => error,
            }
        })
    }

    /// Closes the ways by which git's surroundings reach in.
    fn close(&self, command: &mut Command) -> Result<()> {
        let nothing = "/dev/null";
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", nothing)
            .env("GIT_CONFIG_GLOBAL", nothing)
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_PAGER", "cat")
            .env("GIT_EDITOR", ":");
        if !self.terminal {
            command.env("GIT_TERMINAL_PROMPT", "0");
        }
        if self.transport_config {
            // In the environment, not among the arguments: values may be secrets, and arguments are seen by every user.
            let config = self.environment.transport_config()?;
            command.env("GIT_CONFIG_COUNT", config.len().to_string());
            for (number, (key, value)) in config.iter().enumerate() {
                command.env(format!("GIT_CONFIG_KEY_{number}"), key);
                command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
        }
        Ok(())
    }

    fn supervise(&mut self, child: &mut Child, stdout: &Capture, events: &mpsc::Receiver<()>) -> Result<ExitStatus> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            // A pipe that closes is a program about to end. With both closed there is nothing left to wait for but the end
            // itself.
            if let Err(RecvTimeoutError::Disconnected) = events.recv_timeout(TICK) {
                std::thread::sleep(pause);
                pause = (pause * 2).min(TICK);
            }
            if let Some(status) = child.try_wait().map_err(|why| fault!(Git, "waiting for {}: {why}", self.name))? {
                return Ok(status);
            }
            stdout.check(self.name)?;
            if let Some(deadline) = self.deadline
                && started.elapsed() >= deadline
            {
                return Err(fault!(Network, "{} did not end within {} seconds", self.name, deadline.as_secs_f32()));
            }
            if let Some(guard) = &mut self.guard {
                guard()?;
            }
        }
    }
}

/// A program that is talked with. It is ended when this is dropped.
pub struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Capture,
    events: mpsc::Receiver<()>,
    leads_group: bool,
}

impl Talk {
    /// Hands out, once, where it reads.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Hands out, once, where it prints.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Waits until it ends, as it does when nobody talks to it any more. What it still prints is not kept.
    ///
    /// # Errors
    /// `git` where it cannot be waited for.
    pub fn finish(mut self) -> Result<Output> {
        drop(self.stdin.take());
        if let Some(mut stdout) = self.stdout.take() {
            // A pipe that nobody reads would end it with a signal.
            let _ = io::copy(&mut stdout, &mut io::sink());
        }
        let status = self.child.wait().map_err(|why| fault!(Git, "waiting for a program: {why}"))?;
        self.stderr.wait(COMPLAINT_LINGERS, &self.events);
        Ok(Output {
            success: status.success(),
            code: status.code(),
            stdout: Vec::new(),
            stderr: String::from_utf8_lossy(&self.stderr.take()).into_owned(),
        })
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // One that was waited for has given up its number, and must not be looked for any more.
        if let Ok(None) = self.child.try_wait() {
            end(&mut self.child, self.leads_group);
        }
    }
}

/// Ends a program, with all of its group where it leads one.
fn end(child: &mut Child, leads_group: bool) {
    #[cfg(unix)]
    if leads_group && let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // The group's number is taken until its leader is waited for, so that no other one is meant; one that ended by itself
        // is as good.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

enum Keep {
    Beginning,
    End,
}

/// Bytes that a thread of its own drains from a pipe, so that no program waits for another pipe to be read.
#[derive(Clone)]
struct Capture(Arc<Mutex<Captured>>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    overflow: bool,
    closed: bool,
    max: usize,
}

impl Capture {
    fn start(pipe: Option<impl Read + Send + 'static>, max: usize, keep: Keep, closed: mpsc::Sender<()>) -> Self {
        let capture = Capture(Arc::new(Mutex::new(Captured { max, ..Captured::default() })));
        let written = capture.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            if let Some(mut pipe) = pipe {
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    written.lock().add(&buffer[..length], &keep);
                }
            }
            written.lock().closed = true;
            // Nobody listens any more where the program was ended.
            let _ = closed.send(());
        });
        capture
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the pipe is closed, but not longer than this.
    fn wait(&self, longest: Duration, events: &mpsc::Receiver<()>) {
        let until = Instant::now() + longest;
        while !self.lock().closed
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            // Any end of waiting is answered by looking again.
            let _ = events.recv_timeout(left);
        }
    }

    fn check(&self, name: &str) -> Result<()> {
        let captured = self.lock();
        if captured.overflow {
            return Err(fault!(Limit, "{name} printed more than {} bytes", captured.max));
        }
        Ok(())
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().bytes)
    }
}

impl Captured {
    fn add(&mut self, bytes: &[u8], keep: &Keep) {
        match keep {
            Keep::Beginning if self.bytes.len() + bytes.len() > self.max => self.overflow = true,
            Keep::Beginning => self.bytes.extend_from_slice(bytes),
            Keep::End => {
                self.bytes.extend_from_slice(bytes);
                let surplus = self.bytes.len().saturating_sub(self.max);
                self.bytes.drain(..surplus);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::put;
    use crate::model::error::ErrorCode;

    fn with_home(home: &Path, more: &[(&str, &str)]) -> Environment {
        let path = std::env::var_os("PATH").map(|path| (OsString::from("PATH"), path));
        let more = more.iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
        Environment::new(path.into_iter().chain([("HOME".into(), home.into())]).chain(more))
    }

    #[test]
    fn only_what_transport_needs_reaches_in_from_the_users_configuration() -> Result<()> {
        let home = tempfile::tempdir().unwrap();
        let text = "[credential]\n helper =\n helper = store\n[credential \"https://a.example\"]\n username = alice\n[http]\n proxy = p:1\n sslVerify\n\
                    [core]\n sshCommand = ssh -4\n hooksPath = /evil\n fsmonitor = /evil\n[url \"/evil\"]\n insteadOf = /good\n\
                    [alias]\n fetch = !evil\n[transfer]\n fsckObjects = false\n[fetch]\n prune = true\n[protocol]\n allow = always\n\
                    [safe]\n directory = /srv/a\n";
        put(home.path().join(".gitconfig"), text);
        let environment = with_home(home.path(), &[("GIT_DIR", "/evil"), ("GIT_CONFIG_NOSYSTEM", "1")]);
        let wanted = [
            ("credential.helper", ""),
            ("credential.helper", "store"),
            ("credential.https://a.example.username", "alice"),
            ("http.proxy", "p:1"),
            ("http.sslverify", "true"),
            ("core.sshcommand", "ssh -4"),
            ("safe.directory", "/srv/a"),
        ];
        let found = environment.transport_config()?;
        assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), wanted);
        // And a git that is run sees exactly this.
        let seen = Program::git().environment(&environment).with_transport_config(true).in_folder(home.path());
        let seen = seen.args(["config", "--null", "--list"]).run()?;
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        let wanted: String = wanted.iter().map(|(key, value)| format!("{key}\n{value}\0")).collect();
        assert_eq!(seen, wanted);
        Ok(())
    }

    #[test]
    fn nothing_is_read_of_the_users_configuration_unless_it_is_wanted() -> Result<()> {
        let home = tempfile::tempdir().unwrap();
        put(home.path().join(".gitconfig"), "[credential]\n helper = store\n");
        let environment = with_home(home.path(), &[]);
        let output = Program::git().environment(&environment).in_folder(home.path()).args(["config", "--list"]).run()?;
        assert_eq!(output.stdout, b"");
        assert!(environment.0.transport.get().is_none());
        Ok(())
    }

    #[test]
    fn variables_of_git_stay_outside() -> Result<()> {
        let home = tempfile::tempdir().unwrap();
        let environment = with_home(
            home.path(),
            &[
                ("GIT_DIR", "/evil"),
                ("GIT_PROTOCOL", "version=0"),
                ("GIT_TRACE", "1"),
                ("GIT_ASKPASS", "ask"),
                ("TOKEN", "t"),
                ("LANG", "de_DE"),
            ],
        );
        let output = Program::git().environment(&environment).config("alias.show-env", "!env").arg("show-env").run()?;
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        for absent in ["GIT_DIR=/evil", "GIT_PROTOCOL=", "GIT_TRACE=", "LANG="] {
            assert!(!seen.contains(absent), "{absent} in {seen}");
        }
        for present in [
            "GIT_ASKPASS=ask",
            "TOKEN=t",
            "LC_ALL=C",
            "GIT_TERMINAL_PROMPT=0",
            "GIT_NO_REPLACE_OBJECTS=1",
            "GIT_CONFIG_GLOBAL=/dev/null",
        ] {
            assert!(seen.contains(present), "{present} not in {seen}");
        }
        Ok(())
    }

    #[test]
    fn both_pipes_are_drained_while_input_is_given() -> Result<()> {
        let input = vec![b'x'; 3_000_000];
        let output = Program::git()
            .config("alias.both", "!cat; head -c 3000000 /dev/zero >&2; echo end >&2")
            .arg("both")
            .input(input.clone())
            .run()?;
        assert!(output.success && output.stdout == input);
        assert!(output.stderr.len() <= COMPLAINT_MAX && output.stderr.ends_with("end\n"));
        Ok(())
    }

    #[test]
    fn too_much_output_ends_the_program() {
        let run = Program::git().config("alias.endless", "!yes").arg("endless").output_max(100_000).run();
        assert_eq!(run.unwrap_err().code(), ErrorCode::Limit);
    }

    #[test]
    fn a_deadline_ends_a_program_and_those_it_started() {
        let started = Instant::now();
        let run = Program::git()
            .config("alias.wait", "!tail -f /dev/null | cat")
            .arg("wait")
            .deadline(Some(Duration::from_millis(100)))
            .run();
        assert_eq!(run.unwrap_err().code(), ErrorCode::Network);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_guard_ends_a_program_with_its_own_words() {
        let run = Program::git()
            .config("alias.wait", "!tail -f /dev/null")
            .arg("wait")
            .guard(Box::new(|| Err(fault!(Limit, "enough"))))
            .run();
        assert_eq!(run.unwrap_err().message(), "enough");
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let environment = Environment::new([("PATH".into(), "/nowhere".into())]);
        let error = Program::git().environment(&environment).arg("version").run().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Git);
        assert!(error.hints()[0].contains("git 2.42"), "{error:?}");
        let error = Program::ssh_keygen().environment(&environment).run().unwrap_err();
        assert!(error.hints()[0].contains("OpenSSH"), "{error:?}");
    }

    #[test]
    fn words_of_others_are_one_bounded_line_without_commands_to_the_terminal() {
        assert_eq!(in_one_line("fatal: a\n\n  b\u{1b}[31m\u{202e}\n"), "fatal: a; b\\u{1b}[31m\\u{202e}");
        assert!(in_one_line(&"x".repeat(5000)).chars().count() <= WORDS_MAX + 1);
    }
}
