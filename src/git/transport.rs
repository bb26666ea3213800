//! Fetching from and pushing to another repository, by the `git` program: its ssh configuration, credentials and proxies are
//! the user's own.
//!
//! What comes in goes to a [`Quarantine`], by refspecs that name everything and force nothing, checked by `fsck` on arrival,
//! and bounded in size. A fetch by id asks for exactly what is missing: a commit, or a single tree.

use super::layout::RefName;
use super::program::{Environment, Output, Program, in_one_line};
use super::quarantine::Quarantine;
use super::refs::{Expected, RefEdit};
pub use super::url::Url;
use crate::model::digest::GitId;
use crate::model::error::{Error, ErrorCode, Result, fault};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The most ids that are asked for at once; more at once takes memory, fewer takes round trips.
const IDS_AT_ONCE: usize = 10_000;
/// The most names that are asked for at once: the time for them grows by their square.
const NAMES_AT_ONCE: usize = 500;
/// The most references of one push: they are arguments of a program.
const PUSH_MAX: usize = 4_000;
/// The most commits that the other side is told of as arguments of a program; references have no such limit.
const TIPS_MAX: usize = 1_000;
/// What one fetch may bring where nothing else is said, in bytes on disk.
const FETCH_MAX: u64 = 4 << 30;
/// The largest single piece of memory that git may take while it fetches, so that no object can exhaust it.
pub(super) const GIT_MEMORY_MAX: &str = "1g";
/// The same while it only asks what references there are: their list is held in memory.
const LIST_MEMORY_MAX: &str = "256m";
/// What git's receiver says where an empty folder of objects was taken away under its hands, as upkeep does on the other side. Nothing was let
/// in then, and the next attempt makes the folder anew.
const NOT_MIGRATED: &str = "unable to migrate objects to permanent storage";
/// So many more attempts are made.
const MIGRATIONS: usize = 5;
/// How long ssh waits for a connection, in seconds.
const SSH_CONNECT_SECONDS: u32 = 20;

/// What git says whenever another program could not connect.
const ADVICE: [&str; 3] = [
    "fatal: Could not read from remote repository.",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

/// What is asked of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A reference by its name.
    Ref(RefName),
    /// An object by its id: a commit or a tree.
    Id(GitId),
    /// All references in this folder; that there are none is no error.
    Below(RefName),
}

/// One thing to fetch, and the reference of the quarantine that is to name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What is asked for.
    pub source: Source,
    /// What names it here; for all references in a folder, the folder that they go to. Trees have no name.
    pub to: Option<RefName>,
}

impl Want {
    /// Asks for a reference.
    pub fn reference(name: RefName) -> Self {
        Want { source: Source::Ref(name), to: None }
    }

    /// Asks for an object by its id.
    pub fn id(id: GitId) -> Self {
        Want { source: Source::Id(id), to: None }
    }

    /// Asks for all references in a folder.
    pub fn below(folder: RefName) -> Self {
        Want { source: Source::Below(folder), to: None }
    }

    /// Returns the id that is asked for, where it gets no name.
    pub(crate) fn plain_id(&self) -> Option<GitId> {
        match (&self.source, &self.to) {
            (Source::Id(id), None) => Some(*id),
            _ => None,
        }
    }

    /// Names it in the quarantine.
    #[must_use]
    pub fn to(mut self, name: RefName) -> Self {
        self.to = Some(name);
        self
    }

    /// Writes the refspec; without a `+`, so that a reference moves forward only.
    fn refspec(&self) -> String {
        let below = if matches!(self.source, Source::Below(_)) { "/*" } else { "" };
        let source = match &self.source {
            Source::Ref(name) | Source::Below(name) => name.to_string(),
            Source::Id(id) => id.to_string(),
        };
        match &self.to {
            Some(to) => format!("{source}{below}:{to}{below}\n"),
            None => format!("{source}{below}\n"),
        }
    }
}

/// What is left out of a fetch, where the other side can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Trees and blobs from this depth on. With 0 exactly the objects asked for by id come: a commit without its tree, a tree
    /// without what is in it. With 1 a commit comes with its tree, and a tree with what stands directly in it.
    Trees(u32),
    /// All blobs.
    Blobs,
}

/// What the other side is told that we hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Negotiate {
    /// Nothing: it sends all that is asked for, also what lies below a commit that we hold without its trees.
    #[default]
    Nothing,
    /// These commits and what they stand on.
    Commits(Vec<GitId>),
    /// All references of the quarantine.
    References,
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// How many commits of each chain; all where it is missing.
    pub depth: Option<u32>,
    /// What to leave out.
    pub filter: Option<Filter>,
    /// What the other side is told.
    pub negotiate: Negotiate,
    /// How many bytes the quarantine's own objects may have on disk.
    pub max_bytes: u64,
    /// After which time it is given up; never where it is missing.
    pub deadline: Option<Duration>,
    /// Whether commits come with all that they stand on, also where it was said before that this is not here.
    pub deep: bool,
    /// Whether the person at the terminal may be asked for a password.
    pub terminal: bool,
    /// Whether the URL is a stranger's: only `https`, `ssh` and `git` are spoken then, also where the other side sends us elsewhere, and no
    /// password is handed out.
    pub stranger: bool,
    /// What git inherits.
    pub environment: Environment,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            depth: None,
            filter: None,
            negotiate: Negotiate::default(),
            max_bytes: FETCH_MAX,
            deadline: None,
            deep: false,
            terminal: false,
            stranger: false,
            environment: Environment::of_process(),
        }
    }
}

/// What is to be said of a fetch that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The other side does not know filters, and sent everything.
    pub filter_ignored: bool,
}

/// Fetches into a quarantine. What it or its alternates hold already is not asked for.
///
/// # Errors
/// `ref-missing` where the other side has no such reference or object, `not-found` where there is no repository, `network`
/// where it was not reached, did not answer or wants to know who asks, `limit` where it sends too much, `conflict` where a
/// reference of the quarantine would not move forward, `git` for all else, in git's words.
pub fn fetch(into: &Quarantine, url: &Url, wants: &[Want], options: &FetchOptions) -> Result<Fetched> {
    let mut fetched = Fetched::default();
    let is_id = |want: &&Want| matches!(want.source, Source::Id(_));
    let (ids, names): (Vec<&Want>, Vec<&Want>) = wants.iter().partition(is_id);
    for batch in names.chunks(NAMES_AT_ONCE).chain(ids.chunks(IDS_AT_ONCE)) {
        let output =
            run(into, url, &options.environment, || fetch_program(into, url, batch, options)).map_err(|error| error.at(url))?;
        if !output.success {
            return Err(failure(url, &output));
        }
        check_size(into, options.max_bytes).map_err(|error| error.at(url))?;
        fetched.filter_ignored |= output.stderr.contains("filtering not recognized by server");
    }
    into.store().refresh()?;
    let reader = into.store().reader();
    let absent = |want: &&&Want| matches!(want.source, Source::Id(id) if !reader.contains(id));
    match ids.iter().find(absent) {
        Some(want) => Err(fault!(RefMissing, "{url} has no object {}", want.refspec().trim_end())),
        None => Ok(fetched),
    }
}

fn fetch_program<'a>(into: &'a Quarantine, url: &Url, wants: &[&Want], options: &FetchOptions) -> Result<Program<'a>> {
    let max = options.max_bytes;
    let mut program = prepare(into.path(), url, &options.environment, options.terminal, options.deadline)?
        .env("GIT_ALLOC_LIMIT", GIT_MEMORY_MAX)
        .config("transfer.fsckObjects", "true")
        .config("fetch.fsckObjects", "true")
        // Always a pack, which is moved as a whole.
        .config("fetch.unpackLimit", "1")
        .config("transfer.unpackLimit", "1")
        // A blob larger than this passes through in pieces.
        .config("core.bigFileThreshold", "8m")
        // git has no limit of its own for what it fetches, only for what is pushed to it.
        .guard(Box::new(move || check_size(into, max)));
    if options.stranger {
        // The empty helper clears the list of those before it.
        program = program.env("GIT_ALLOW_PROTOCOL", "https:ssh:git").config("credential.helper", "");
    }
    if options.negotiate == Negotiate::Nothing {
        program = program.config("fetch.negotiationAlgorithm", "noop");
    }
    program = program.args([
        "fetch",
        "--porcelain",
        "--no-progress",
        "--no-tags",
        "--no-prune",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        // Without this git does not look whether a reference moves forward, and takes every move for one.
        "--show-forced-updates",
    ]);
    if let Some(depth) = options.depth {
        program = program.arg(format!("--depth={depth}"));
    }
    program = program.arg(match options.filter {
        Some(Filter::Trees(depth)) => format!("--filter=tree:{depth}"),
        Some(Filter::Blobs) => "--filter=blob:none".to_owned(),
        // An earlier fetch with a filter would set the rule for this one.
        None => "--no-filter".to_owned(),
    });
    if let Negotiate::Commits(tips) = &options.negotiate {
        // git refuses tips that it does not have; a tip that is left out costs no more than bytes.
        let reader = into.store().reader();
        let held = tips.iter().filter(|tip| reader.contains(**tip)).take(TIPS_MAX);
        program = program.args(held.map(|tip| format!("--negotiation-tip={tip}")));
    }
    let refspecs: String = wants.iter().map(|want| want.refspec()).collect();
    Ok(program.args(["--stdin", "--", url.as_str()]).input(refspecs.into_bytes()))
}

fn check_size(quarantine: &Quarantine, max: u64) -> Result<()> {
    let size = quarantine.size();
    if size > max {
        return Err(fault!(Limit, "what was fetched takes {size} bytes so far, at most {max} are allowed"));
    }
    Ok(())
}

/// Says whether the repository at a URL has a reference. Nothing is fetched, only `https` is spoken, no redirect is followed, and nobody is
/// asked for a password.
///
/// # Errors
/// `not-found` where there is no repository, `network` where it was not reached or did not answer in time, `limit` where it says
/// too much, `git` where git is missing.
pub fn has_reference(url: &Url, name: &RefName, deadline: Duration, environment: &Environment) -> Result<bool> {
    // No repository is looked for around the current folder: its configuration may be anybody's.
    let program = prepare(Path::new("/dev/null/no-repository"), url, environment, false, Some(deadline))?;
    let output = program
        .env("GIT_ALLOW_PROTOCOL", "https")
        .env("GIT_ALLOC_LIMIT", LIST_MEMORY_MAX)
        .config("http.followRedirects", "false")
        .output_max(64 * 1024)
        .args(["ls-remote", "--", url.as_str(), name.as_str()])
        .run()
        .map_err(|error| error.at(url))?;
    if output.success {
        return Ok(!output.stdout.is_empty());
    }
    let error = failure(url, &output);
    let is_nowhere = output.stderr.contains("Could not resolve host");
    Err(match error.code() {
        // Git's other complaints of a web server say that it has no repository there: a page, a redirect, a refusal.
        ErrorCode::Git => fault!(NotFound, "there is no repository at {url}: {}", url.scrub(&output.words())),
        ErrorCode::Limit => fault!(Limit, "{url} sends a list of references that takes more than {LIST_MEMORY_MAX} of memory"),
        ErrorCode::Network if is_nowhere => fault!(NotFound, "{url} is nowhere: {}", url.scrub(&output.words())),
        _ => error,
    })
}

/// Prepares what all that reaches another repository has in common.
pub(super) fn prepare<'a>(
    at: &Path,
    url: &Url,
    environment: &Environment,
    terminal: bool,
    deadline: Option<Duration>,
) -> Result<Program<'a>> {
    let is_remote = url.is_local().is_none();
    let mut program = Program::git()
        .environment(environment)
        .env("GIT_DIR", at)
        .terminal(terminal)
        .deadline(deadline)
        .with_transport_config(is_remote)
        .config("protocol.version", "2")
        .config("core.hooksPath", "/dev/null")
        .config("core.fsmonitor", "false")
        .config("gc.auto", "0")
        .config("maintenance.auto", "false")
        // What the alternates' references name is not looked at: there may be millions of them. This is quicker than a git that finds none.
        .config("core.alternateRefsCommand", "true");
    if is_remote {
        let config = environment.transport_config()?;
        let has =
            |wanted: &str| config.iter().any(|(key, _)| key == wanted || (key.starts_with("http.") && key.ends_with(wanted)));
        if !has("lowspeedlimit") && !has("lowspeedtime") {
            program = program.config("http.lowSpeedLimit", "1000").config("http.lowSpeedTime", "30");
        }
        if url.is_ssh() && !environment.has("GIT_SSH") && !environment.has("GIT_SSH_COMMAND") && !has("core.sshcommand") {
            program = program.env("GIT_SSH_COMMAND", format!("ssh {}", ssh_options(terminal).join(" ")));
        }
    }
    Ok(program)
}

/// Returns what ssh is told where the user has no command of their own.
pub(super) fn ssh_options(terminal: bool) -> Vec<String> {
    let mut options = vec!["-o".to_owned(), format!("ConnectTimeout={SSH_CONNECT_SECONDS}")];
    if !terminal {
        // Nobody can answer a question.
        options.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
    }
    options
}

/// Begins to read what every fetch and push over a network needs, so that it is there when the first one starts.
pub fn prepare_ahead(url: &Url) {
    if url.is_local().is_none() {
        // Whoever needs it waits for it, and hears what went wrong.
        std::thread::spawn(|| Environment::of_process().transport_config().map(drop));
    }
}

/// Runs git, and once more where a repository on this machine belongs to somebody whom the user's own configuration says to
/// be safe. That part of the configuration is not read before: a fetch by path costs one process.
fn run<'a>(at: &Quarantine, url: &Url, environment: &Environment, program: impl Fn() -> Result<Program<'a>>) -> Result<Output> {
    let output = program()?.run()?;
    let Some(path) = url.is_local() else { return Ok(output) };
    if output.success || !output.stderr.contains("dubious ownership") {
        return Ok(output);
    }
    let safe: Vec<&str> = environment
        .transport_config()?
        .iter()
        .filter(|(key, _)| key == "safe.directory")
        .map(|(_, value)| value.as_str())
        .collect();
    if !safe.is_empty() {
        // In a file: the other side's git does not see what ours is told by argument.
        let mut text = String::from("[safe]\n");
        for value in safe {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text.push_str(&format!("\tdirectory = \"{escaped}\"\n"));
        }
        let file = tempfile::NamedTempFile::new_in(at.path())
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()).map(|()| file))
            .map_err(|why| super::pack::io_error(at.path(), &why))?;
        let output = program()?.env("GIT_CONFIG_GLOBAL", file.path()).run()?;
        if output.success || !output.stderr.contains("dubious ownership") {
            return Ok(output);
        }
    }
    Err(fault!(BadRepository, "the repository belongs to another user")
        .hint(format!("if you trust that user with your programs: git config --global --add safe.directory {}", path.display())))
}

/// Says why git failed. Its words are those of the C locale; those of the other side begin with `remote: ` and are not looked at.
pub(super) fn failure(url: &Url, output: &Output) -> Error {
    let stderr = url.scrub(&output.stderr);
    let own: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("remote: ")).collect();
    let after = |start: &str| own.iter().find_map(|line| line.split_once(start).map(|(_, rest)| in_one_line(rest)));
    let says = |words: &[&str]| {
        let lower = own.join("\n").to_lowercase();
        words.iter().any(|word| lower.contains(word))
    };
    // git's advice for every connection that another program holds says nothing that is not said before it.
    let said: Vec<&str> = stderr.lines().filter(|line| !ADVICE.contains(&line.trim())).collect();
    let words = if said.is_empty() { in_one_line(&stderr) } else { in_one_line(&said.join("\n")) };
    if let Some(name) = after("couldn't find remote ref ") {
        return fault!(RefMissing, "{url} has no reference {name}");
    }
    if let Some(id) = after("not our ref ") {
        return fault!(RefMissing, "{url} has no object {id}");
    }
    // Rejections stand on stdout.
    let stdout = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = stdout.lines().find(|line| line.starts_with("! ")) {
        let name = line.rsplit(' ').next().unwrap_or(line);
        return fault!(Conflict, "{url}: what it has does not follow on what {} names", in_one_line(name));
    }
    if says(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied (",
        "terminal prompts disabled",
        "returned error: 401",
        "returned error: 403",
        "host key verification failed",
        "logon failed",
    ]) {
        return fault!(Network, "{url} does not let you in: {words}")
            .hint("set up access as for any other repository of this host: a credential helper or an ssh key; `git ls-remote` shows whether it works");
    }
    if says(&[
        "could not resolve",
        "unable to look up",
        "unable to connect",
        "failed to connect",
        "couldn't connect",
        "connection refused",
        "connection reset",
        "connection timed out",
        "connection closed",
        "timed out",
        "timeout",
        "no route to host",
        "network is unreachable",
        "name or service not known",
        "temporary failure",
        "operation too slow",
        "transfer closed",
        "ssl",
        "certificate",
        "returned error: 5",
        "returned error: 429",
    ]) {
        return fault!(Network, "{url} cannot be reached: {words}").hint(
            "try again once the network is there, and look at the URL; what was fetched before can be used with --offline",
        );
    }
    if says(&[
        "does not appear to be a git repository",
        "repository not exported",
        "repository not found",
        "returned error: 404",
        "does not exist",
        "no such file or directory",
    ]) || own.iter().any(|line| line.starts_with("fatal: repository '") && line.ends_with("' not found"))
    {
        return fault!(NotFound, "there is no repository at {url}: {words}");
    }
    if says(&["mismatched algorithms", "unsupported hash algorithm"]) {
        return fault!(BadRepository, "{url} has another object format: {words}")
            .hint("a mirror has the object format of its upstream");
    }
    if says(&["attempting to allocate"]) {
        return fault!(Limit, "{url} sends an object that takes more than {GIT_MEMORY_MAX} of memory: {words}");
    }
    // A pack that ends too early is one that was cut off.
    let is_cut_off = says(&["early eof", "unexpected disconnect"]);
    if says(&["invalid index-pack", "index-pack failed"]) && !is_cut_off
        || says(&[
            "fsck error",
            "did not receive expected object",
            "bad object",
            "pack has bad",
            "pack signature mismatch",
            "missing necessary objects",
            "did not send all necessary objects",
        ])
    {
        return fault!(CorruptObject, "{url} sends broken objects: {words}");
    }
    if says(&[
        "early eof",
        "hung up unexpectedly",
        "the remote end",
        "could not read from remote",
        "rpc failed",
        "unexpected disconnect",
    ]) {
        return fault!(Network, "{url} broke off: {words}").hint("try again; what was fetched before can be used with --offline");
    }
    fault!(Git, "{url}: {}", url.scrub(&output.words()))
}

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// All references or none; not every host can.
    pub atomic: bool,
    /// After which time it is given up; never where it is missing.
    pub deadline: Option<Duration>,
    /// Whether the person at the terminal may be asked for a password.
    pub terminal: bool,
    /// What git inherits.
    pub environment: Environment,
}

/// What became of one reference that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is as it was to be.
    Done,
    /// It was so already.
    Unchanged,
    /// It was not what was expected: somebody else was first.
    Stale,
    /// The other side refused it, for this reason.
    Refused(String),
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushReport {
    /// Each reference, in the order of their names.
    pub refs: BTreeMap<RefName, Pushed>,
    /// What the other side said besides, line by line, free of control characters.
    pub said: Vec<String>,
}

impl PushReport {
    /// Says whether every reference is as it was to be.
    pub fn is_done(&self) -> bool {
        self.refs.values().all(|pushed| matches!(pushed, Pushed::Done | Pushed::Unchanged))
    }
}

/// Pushes references: each is changed only if it is what is expected there. Objects are taken from the quarantine and its
/// alternates.
///
/// # Errors
/// Those of [`fetch`] where nothing could be said of the single references; a refusal is no error but part of the report.
/// `limit` for more than 4,000 references.
pub fn push(from: &Quarantine, url: &Url, edits: &[RefEdit], options: &PushOptions) -> Result<PushReport> {
    if edits.is_empty() {
        return Ok(PushReport { refs: BTreeMap::new(), said: Vec::new() });
    }
    if edits.len() > PUSH_MAX {
        return Err(fault!(Limit, "{} references are to be pushed at once, at most {PUSH_MAX} are", edits.len()));
    }
    let mut output = push_once(from, url, edits, options)?;
    for _ in 0..MIGRATIONS {
        if !String::from_utf8_lossy(&output.stdout).contains(NOT_MIGRATED) {
            break;
        }
        output = push_once(from, url, edits, options)?;
    }
    let refs = parse_report(&String::from_utf8_lossy(&output.stdout));
    if let Some(missing) = edits.iter().find(|edit| !refs.contains_key(&edit.name)) {
        return Err(if output.success {
            fault!(Git, "{url}: git says nothing of {}", missing.name)
        } else {
            push_failure(url, &output)
        });
    }
    let said = output
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote: "))
        .map(in_one_line)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(PushReport { refs, said })
}

fn push_once(from: &Quarantine, url: &Url, edits: &[RefEdit], options: &PushOptions) -> Result<Output> {
    run(from, url, &options.environment, || {
        let mut program = prepare(from.path(), url, &options.environment, options.terminal, options.deadline)?
            .args([
                "push",
                "--porcelain",
                "--no-progress",
                "--no-verify",
                "--no-follow-tags",
                "--no-signed",
                "--recurse-submodules=no",
            ])
            .arg(if options.atomic { "--atomic" } else { "--no-atomic" });
        for edit in edits {
            let expected = match edit.expected {
                Expected::Absent => String::new(),
                Expected::At(id) => id.to_string(),
            };
            program = program.arg(format!("--force-with-lease={}:{expected}", edit.name));
        }
        program = program.args(["--", url.as_str()]);
        Ok(program.args(edits.iter().map(|edit| {
            let new = edit.new.map(|id| id.to_string()).unwrap_or_default();
            format!("{new}:{}", edit.name)
        })))
    })
}

/// Says why a push failed where one has fetched before.
fn push_failure(url: &Url, output: &Output) -> Error {
    let error = failure(url, output);
    // `git daemon` says so of a repository that it lets nobody push to, and of one that it does not have.
    if error.code() == ErrorCode::NotFound && output.stderr.contains("access denied or repository not exported") {
        return fault!(Network, "{url} takes no push, or is not there: {}", in_one_line(&url.scrub(&output.stderr)));
    }
    error
}

/// Reads what `git push --porcelain` prints: a flag, `from:to` and a summary with the reason, between tabs.
fn parse_report(stdout: &str) -> BTreeMap<RefName, Pushed> {
    let mut refs = BTreeMap::new();
    for line in stdout.lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(flag), Some(pair), Some(summary)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some(name) = pair.rsplit_once(':').and_then(|(_, name)| name.parse().ok()) else {
            continue;
        };
        let reason = summary.split_once(" (").map_or(summary, |(_, reason)| reason.strip_suffix(')').unwrap_or(reason));
        let pushed = match flag {
            " " | "+" | "-" | "*" => Pushed::Done,
            "=" => Pushed::Unchanged,
            _ if summary.starts_with("[rejected]")
                && matches!(reason, "stale info" | "fetch first" | "non-fast-forward" | "already exists") =>
            {
                Pushed::Stale
            }
            _ => Pushed::Refused(in_one_line(reason)),
        };
        refs.insert(name, pushed);
    }
    refs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::daemon::Daemon;
    use crate::git::fixture::{FORMATS, assert_sound, empty, git, history, put};
    use crate::git::layout::{self, front_page, registry_log};
    use crate::git::pack::LEVEL_FAST;
    use crate::git::store::Store;
    use crate::model::digest::{ObjectFormat, ObjectKind};
    use crate::model::object::{ReadObjects as _, WriteObjects as _};
    use crate::model::tree::Tree;
    use std::ffi::OsString;
    use std::fs;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::time::Instant;
    use tempfile::TempDir;

    fn name(text: &str) -> RefName {
        text.parse().unwrap()
    }

    fn edit(text: &str, expected: Option<GitId>, new: Option<GitId>) -> RefEdit {
        RefEdit { name: name(text), expected: expected.into(), new }
    }

    /// A registry with a history, two package logs and a registry log.
    struct Registry {
        folder: TempDir,
        store: Store,
        objects: crate::model::object::MemoryObjects,
        commits: Vec<GitId>,
    }

    fn registry(format: ObjectFormat) -> Registry {
        let (folder, store) = empty(format);
        let (objects, commits) = history(format, 5);
        store.write_durable(objects.iter()).unwrap();
        let set = [
            edit("refs/packages/wasi/http", None, Some(commits[1])),
            edit("refs/packages/wasi/io", None, Some(commits[2])),
            edit("refs/packages/acme/x", None, Some(commits[3])),
            edit("refs/registry/log", None, Some(commits[4])),
        ];
        store.update(&set).unwrap();
        Registry { folder, store, objects, commits }
    }

    impl Registry {
        /// The tree of one of its commits.
        fn tree(&self, commit: usize) -> GitId {
            let bytes = self.objects.read(ObjectKind::Commit, self.commits[commit], 1 << 20).unwrap();
            let end = 5 + self.objects.format().id_len() * 2;
            std::str::from_utf8(&bytes[5..end]).unwrap().parse().unwrap()
        }

        /// By path, by file:// and over the network.
        fn urls(&self, daemon: &Daemon) -> [Url; 3] {
            let path = self.store.path().to_str().unwrap();
            [path.parse().unwrap(), format!("file://{path}").parse().unwrap(), daemon.url("registry.git").parse().unwrap()]
        }
    }

    fn plain(wants: &[Want], url: &Url, into: &Quarantine) -> Result<Fetched> {
        fetch(into, url, wants, &FetchOptions::default())
    }

    fn with_home(home: &Path) -> Environment {
        let path = std::env::var_os("PATH").map(|path| (OsString::from("PATH"), path));
        Environment::new(path.into_iter().chain([("HOME".into(), home.into())]))
    }

    #[test]
    fn references_commits_and_trees_arrive_by_every_way() -> Result<()> {
        for format in FORMATS {
            let registry = registry(format);
            let daemon = Daemon::serve(registry.folder.path());
            for url in registry.urls(&daemon) {
                let (_folder, store) = empty(format);
                let quarantine = Quarantine::of(&store)?;
                plain(&[Want::reference(registry_log()).to(registry_log())], &url, &quarantine)?;
                assert_eq!(quarantine.store().references("refs/")?, [(registry_log(), registry.commits[4])]);
                assert_eq!(store.references("refs/")?, []);
                quarantine.keep(&store)?;
                let reader = store.reader();
                for (id, kind, bytes) in registry.objects.iter() {
                    assert_eq!(reader.read(kind, id, 1 << 20)?, bytes);
                }

                // A folder of references, a commit by id with a name, and none of what was not asked for.
                let quarantine = Quarantine::new(format, &[])?;
                let wants = [
                    Want::below(name("refs/packages/wasi")).to(name("refs/mirrors/acme.example/packages/wasi")),
                    Want::below(name("refs/packages/none")).to(name("refs/none")),
                    Want::id(registry.commits[0]).to(name("refs/held/a")),
                ];
                plain(&wants, &url, &quarantine)?;
                let found: Vec<String> =
                    quarantine.store().references("refs/")?.into_iter().map(|(name, _)| name.to_string()).collect();
                assert_eq!(
                    found,
                    ["refs/held/a", "refs/mirrors/acme.example/packages/wasi/http", "refs/mirrors/acme.example/packages/wasi/io"]
                );
                assert!(!quarantine.store().contains(registry.commits[3]));
                assert_sound(quarantine.path());

                // A tree by its id: it, what is in it, and no commit.
                let quarantine = Quarantine::new(format, &[])?;
                plain(&[Want::id(registry.tree(2))], &url, &quarantine)?;
                let tree = Tree::read(&quarantine.store().reader(), registry.tree(2))?;
                assert_eq!(tree.entries().len(), 3);
                for entry in tree.entries() {
                    quarantine.store().reader().read(ObjectKind::Blob, entry.id, 100)?;
                }
                assert!(!quarantine.store().contains(registry.commits[2]));
                assert_eq!(quarantine.store().references("refs/")?, []);
                quarantine.keep(&store)?;
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_told_apart() -> Result<()> {
        for format in FORMATS {
            let registry = registry(format);
            let daemon = Daemon::serve(registry.folder.path());
            for url in registry.urls(&daemon) {
                let quarantine = Quarantine::new(format, &[])?;
                let missing = name("refs/packages/wasi/gone");
                let error =
                    plain(&[Want::reference(registry_log()), Want::reference(missing.clone())], &url, &quarantine).unwrap_err();
                assert_eq!(error.code(), ErrorCode::RefMissing, "{error}");
                assert!(error.message().ends_with(missing.as_str()), "{error}");
                let absent = GitId::of(format, ObjectKind::Blob, b"absent");
                let error = plain(&[Want::id(absent)], &url, &quarantine).unwrap_err();
                assert_eq!(error.code(), ErrorCode::RefMissing, "{error}");
                assert!(error.message().contains(&absent.to_string()), "{error}");
                let nowhere: Url = url.as_str().replace("registry.git", "nowhere.git").parse()?;
                let error = plain(&[Want::reference(registry_log())], &nowhere, &quarantine).unwrap_err();
                assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
            }
        }
        Ok(())
    }

    #[test]
    fn another_object_format_is_said_to_be_one() -> Result<()> {
        let registry = registry(ObjectFormat::Sha256);
        let daemon = Daemon::serve(registry.folder.path());
        for url in registry.urls(&daemon) {
            let error = plain(&[Want::reference(registry_log())], &url, &Quarantine::new(ObjectFormat::Sha1, &[])?).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadRepository, "{error}");
        }
        Ok(())
    }

    #[test]
    fn only_what_is_new_is_sent_when_the_other_side_knows_what_is_held() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let url = Url::local(registry.store.path())?;
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let (old, _) = history(ObjectFormat::Sha1, 3);
        store.write_durable(old.iter())?;
        let count = |quarantine: &Quarantine| {
            let counts = git(quarantine.path(), &["count-objects", "-v"]);
            counts.lines().find_map(|line| line.strip_prefix("in-pack: ").map(str::to_owned)).unwrap()
        };
        let held = registry.commits[2];
        for (negotiate, objects) in
            [(Negotiate::Nothing, "15"), (Negotiate::Commits(vec![registry.commits[4], held]), "6"), (Negotiate::References, "6")]
        {
            let quarantine = Quarantine::new(ObjectFormat::Sha1, &[store.objects_path()])?;
            quarantine.set_ref(&name("refs/held/log"), held)?;
            let options = FetchOptions { negotiate, ..FetchOptions::default() };
            fetch(&quarantine, &url, &[Want::reference(registry_log())], &options)?;
            assert_eq!(count(&quarantine), objects, "{:?}", options.negotiate);
        }
        // What is held already is not even asked for: this server is not there.
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[store.objects_path()])?;
        plain(&[Want::id(held)], &Url::local(Path::new("/nowhere"))?, &quarantine)?;
        Ok(())
    }

    #[test]
    fn one_path_of_a_map_is_fetched_step_by_step() -> Result<()> {
        for format in FORMATS {
            for allowed in [true, false] {
                let registry = registry(format);
                registry.store.set_config(&[("uploadpack.allowFilter", if allowed { "true" } else { "false" })])?;
                let daemon = Daemon::serve(registry.folder.path());
                let url: Url = daemon.url("registry.git").parse()?;
                let quarantine = Quarantine::new(format, &[])?;
                let step = |want: Want, trees: u32| {
                    let options = FetchOptions { depth: Some(1), filter: Some(Filter::Trees(trees)), ..FetchOptions::default() };
                    fetch(&quarantine, &url, &[want], &options)
                };
                assert_eq!(step(Want::reference(registry_log()), 0)?, Fetched { filter_ignored: !allowed });
                assert!(quarantine.store().contains(registry.commits[4]) && !quarantine.store().contains(registry.commits[3]));
                assert_eq!(quarantine.store().contains(registry.tree(4)), !allowed);
                step(Want::id(registry.tree(4)), 0)?;
                let tree = Tree::read(&quarantine.store().reader(), registry.tree(4))?;
                assert_eq!(quarantine.store().contains(tree.entries()[0].id), !allowed);
                // And then the file itself, without a filter.
                plain(&[Want::id(tree.entries()[0].id)], &url, &quarantine)?;
                assert!(quarantine.store().contains(tree.entries()[0].id));
            }
        }
        Ok(())
    }

    #[test]
    fn more_than_one_batch_of_names_and_ids() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let mut objects = crate::model::object::MemoryObjects::new(ObjectFormat::Sha1);
        let blobs: Vec<GitId> =
            (0..NAMES_AT_ONCE + 20).map(|n| objects.write(ObjectKind::Blob, n.to_string().as_bytes())).collect::<Result<_>>()?;
        registry.store.write_durable(objects.iter())?;
        let edits: Vec<RefEdit> =
            (0..blobs.len()).map(|n| edit(&format!("refs/packages/p/n{n}"), None, Some(registry.commits[n % 5]))).collect();
        registry.store.update(&edits)?;
        git(registry.store.path(), &["pack-refs", "--all"]);
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        let wants: Vec<Want> = edits
            .iter()
            .map(|edit| Want::reference(edit.name.clone()).to(edit.name.clone()))
            .chain(blobs.iter().map(|id| Want::id(*id)))
            .collect();
        plain(&wants, &Url::local(registry.store.path())?, &quarantine)?;
        assert_eq!(quarantine.store().references("refs/packages/p/")?.len(), edits.len());
        assert!(blobs.iter().all(|id| quarantine.store().contains(*id)));
        Ok(())
    }

    #[test]
    fn too_much_is_a_limit_and_a_blob_of_zeros_takes_no_memory() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8 ^ (n >> 3) as u8).collect();
        let mut pack = registry.store.pack(2, LEVEL_FAST)?;
        let large = pack.add(ObjectKind::Blob, &noise)?;
        let zeros = pack.add(ObjectKind::Blob, &vec![0; 100 << 20])?;
        pack.finish()?;
        let url = Url::local(registry.store.path())?;
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        let options = FetchOptions { max_bytes: 100_000, ..FetchOptions::default() };
        let error = fetch(&quarantine, &url, &[Want::id(large)], &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Limit, "{error}");
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        fetch(&quarantine, &url, &[Want::id(zeros)], &FetchOptions { max_bytes: 3_000_000, ..FetchOptions::default() })?;
        assert_eq!(quarantine.store().reader().read(ObjectKind::Blob, zeros, 1 << 20).unwrap_err().code(), ErrorCode::Limit);
        Ok(())
    }

    #[test]
    fn objects_that_fsck_refuses_do_not_come_in() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let blob = registry.objects.iter().find(|(_, kind, _)| *kind == ObjectKind::Blob).map(|(id, ..)| id).unwrap();
        let tree = [b"100644 .git\0".as_slice(), blob.as_bytes()].concat();
        let id = GitId::of(ObjectFormat::Sha1, ObjectKind::Tree, &tree);
        registry.store.write_durable([(id, ObjectKind::Tree, tree.as_slice())])?;
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        let error = plain(&[Want::id(id)], &Url::local(registry.store.path())?, &quarantine).unwrap_err();
        assert_eq!(error.code(), ErrorCode::CorruptObject, "{error}");
        assert!(!quarantine.store().contains(id));
        Ok(())
    }

    #[test]
    fn a_reference_of_the_quarantine_only_moves_forward() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[registry.store.objects_path()])?;
        let url = Url::local(registry.store.path())?;
        let http = layout::package(&"wasi:http".parse()?);
        for (held, moved) in [(registry.commits[0], true), (registry.commits[3], false)] {
            quarantine.set_ref(&http, held)?;
            let result = plain(&[Want::reference(http.clone()).to(http.clone())], &url, &quarantine);
            assert_eq!(result.is_ok(), moved);
            if let Err(error) = result {
                assert_eq!(error.code(), ErrorCode::Conflict, "{error}");
                assert!(error.message().contains(http.as_str()), "{error}");
                assert_eq!(quarantine.store().reference(&http)?, Some(held));
            }
        }
        Ok(())
    }

    #[test]
    fn neither_the_users_nor_the_other_sides_configuration_redirects_or_runs_anything() -> Result<()> {
        for format in FORMATS {
            let registry = registry(format);
            let daemon = Daemon::serve(registry.folder.path());
            let home = tempfile::tempdir().unwrap();
            let evil = home.path().join("evil");
            put(&evil, "#!/bin/sh\ntouch \"$0-ran\"\nexec \"$@\"\n");
            git(registry.store.path(), &["config", "core.fileMode", "true"]);
            #[cfg(unix)]
            fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let evil_text = evil.to_str().unwrap();
            let config = format!(
                "[url \"/nowhere/\"]\n insteadOf = git://\n insteadOf = /\n insteadOf = file://\n[core]\n hooksPath = {0}\n fsmonitor = {evil_text}\n\
                 [uploadpack]\n packObjectsHook = {evil_text}\n[fetch]\n fsckObjects = false\n[protocol]\n allow = never\n\
                 [alias]\n fetch = !{evil_text}\n[transfer]\n hideRefs = refs\n",
                home.path().display()
            );
            put(home.path().join(".gitconfig"), config);
            registry.store.set_config(&[
                ("core.hooksPath", home.path().to_str().unwrap()),
                ("uploadpack.packObjectsHook", evil_text),
                ("core.fsmonitor", evil_text),
                ("core.alternateRefsCommand", evil_text),
            ])?;
            // What replaces a commit there, its grafts and its shallow boundary change nothing of what comes.
            git(registry.store.path(), &["replace", &registry.commits[4].to_string(), &registry.commits[0].to_string()]);
            for url in registry.urls(&daemon) {
                let quarantine = Quarantine::new(format, &[])?;
                let options = FetchOptions { environment: with_home(home.path()), ..FetchOptions::default() };
                fetch(&quarantine, &url, &[Want::reference(registry_log()).to(registry_log())], &options)?;
                assert_eq!(quarantine.store().reference(&registry_log())?, Some(registry.commits[4]));
                let reader = quarantine.store().reader();
                assert!(registry.commits.iter().all(|id| reader.contains(*id)));
                assert!(!home.path().join("evil-ran").exists(), "{url}");
            }
        }
        Ok(())
    }

    #[test]
    fn objects_that_the_other_side_has_from_its_own_alternates_come_too() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let (_folder, front) = empty(ObjectFormat::Sha1);
        put(front.objects_path().join("info/alternates"), format!("{}\n", registry.store.objects_path().display()));
        front.update(&[edit("refs/registry/log", None, Some(registry.commits[4]))])?;
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        plain(&[Want::reference(registry_log())], &Url::local(front.path())?, &quarantine)?;
        assert!(quarantine.store().contains(registry.commits[0]));
        Ok(())
    }

    /// Answers each request with this status line, until the test ends.
    fn http(status: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = move |stream: &mut TcpStream| -> std::io::Result<()> {
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
            write!(
                stream,
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        };
        std::thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| drop(answer(&mut stream))));
        format!("http://alice:s3cret@127.0.0.1:{port}/registry.git").parse().unwrap()
    }

    #[test]
    fn what_keeps_the_network_from_answering_is_told_apart() -> Result<()> {
        let home = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
        // A port that was free a moment ago: nobody listens.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (url, code, hints) in [
            (format!("git://{closed}/r").parse()?, ErrorCode::Network, 1),
            (format!("http://{closed}/r").parse()?, ErrorCode::Network, 1),
            ("http://no-such-host.invalid/r".parse()?, ErrorCode::Network, 1),
            ("git://no-such-host.invalid/r".parse()?, ErrorCode::Network, 1),
            (http("401 Unauthorized"), ErrorCode::Network, 1),
            (http("403 Forbidden"), ErrorCode::Network, 1),
            (http("404 Not Found"), ErrorCode::NotFound, 0),
            (http("500 Broken"), ErrorCode::Network, 1),
        ] {
            let options = FetchOptions { environment: with_home(home.path()), ..FetchOptions::default() };
            let error = fetch(&quarantine, &url, &[Want::reference(registry_log())], &options).unwrap_err();
            assert_eq!((error.code(), error.hints().len()), (code, hints), "{url}: {error}");
            assert!(!error.message().contains("s3cret") && error.message().contains(&url.to_string()), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up_at_the_deadline() -> Result<()> {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("git://{}/r", silent.local_addr().unwrap()).parse()?;
        let options = FetchOptions { deadline: Some(Duration::from_millis(300)), ..FetchOptions::default() };
        let started = Instant::now();
        let error =
            fetch(&Quarantine::new(ObjectFormat::Sha1, &[])?, &url, &[Want::reference(registry_log())], &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Network, "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
        Ok(())
    }

    #[test]
    fn what_git_said_is_cleaned_and_cut() -> Result<()> {
        let url: Url = "https://acme.example/r".parse()?;
        let output = |stderr: &str| Output { success: false, code: Some(128), stdout: Vec::new(), stderr: stderr.to_owned() };
        // The other side cannot pass its words off as those of our git.
        let error =
            failure(&url, &output("remote: fatal: couldn't find remote ref refs/packages/a/b\nfatal: protocol error\u{1b}[2J\n"));
        assert_eq!(error.code(), ErrorCode::Git);
        assert!(!error.message().contains('\u{1b}'));
        let error = failure(&url, &output(&"x".repeat(100_000)));
        assert!(error.message().len() < 1000);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_repository_of_another_user_is_fetched_where_the_user_says_it_is_safe() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        if std::os::unix::fs::chown(registry.store.path(), Some(12345), None).is_err() {
            // Only root can give a folder away; everybody else cannot get into this case here.
            return Ok(());
        }
        let url = Url::local(registry.store.path())?;
        let home = tempfile::tempdir().unwrap();
        for (config, works) in [("", false), ("[safe]\n directory = /elsewhere\n", false), ("[safe]\n directory = *\n", true)] {
            put(home.path().join(".gitconfig"), config);
            let options = FetchOptions { environment: with_home(home.path()), ..FetchOptions::default() };
            let quarantine = Quarantine::new(ObjectFormat::Sha1, &[])?;
            match fetch(&quarantine, &url, &[Want::reference(registry_log())], &options) {
                Ok(_) => assert!(works),
                Err(error) => assert!(
                    !works && error.code() == ErrorCode::BadRepository && error.hints()[0].contains("safe.directory"),
                    "{error}"
                ),
            }
        }
        Ok(())
    }

    #[test]
    fn pushes_change_only_what_is_as_expected() -> Result<()> {
        for format in FORMATS {
            let registry = registry(format);
            let daemon = Daemon::serve(registry.folder.path());
            let (more, commits) = history(format, 8);
            let source = Quarantine::new(format, &[])?;
            source.store().write_durable(more.iter())?;
            let mut log = registry.commits[4];
            for (n, url) in registry.urls(&daemon).into_iter().enumerate() {
                let proposal = |id: GitId| edit(&format!("refs/incoming/wasi/http/{n}"), None, Some(id));
                let send =
                    |edits: &[RefEdit], atomic| push(&source, &url, edits, &PushOptions { atomic, ..PushOptions::default() });
                let outcome = |report: &PushReport| report.refs.values().cloned().collect::<Vec<_>>();
                let sent = send(&[proposal(commits[6])], false)?;
                assert!(sent.is_done() && outcome(&sent) == [Pushed::Done]);
                assert_eq!(registry.store.reference(&proposal(commits[6]).name)?, Some(commits[6]));
                assert_eq!(outcome(&send(&[proposal(commits[6])], false)?), [Pushed::Unchanged]);
                // Neither forward nor elsewhere: it exists.
                assert_eq!(outcome(&send(&[proposal(commits[7])], false)?), [Pushed::Stale]);
                let moved = edit("refs/registry/log", Some(log), Some(commits[5 + n]));
                let stale = edit("refs/packages/wasi/io", Some(commits[7]), Some(commits[6]));
                let mixed = send(&[moved.clone(), stale], true)?;
                assert!(!mixed.is_done() && registry.store.reference(&registry_log())? == Some(log));
                assert!(send(&[moved, edit(&format!("refs/incoming/wasi/http/{n}"), Some(commits[6]), None)], true)?.is_done());
                log = commits[5 + n];
                assert_eq!(registry.store.reference(&registry_log())?, Some(log));
                assert_eq!(registry.store.references("refs/incoming/")?, []);
            }
            assert_sound(registry.store.path());
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn the_reasons_of_a_refused_push_are_handed_on() -> Result<()> {
        let registry = registry(ObjectFormat::Sha1);
        let daemon = Daemon::serve(registry.folder.path());
        let hook = registry.store.path().join("hooks/update");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        put(&hook, "#!/bin/sh\ncase $1 in refs/heads/*) exit 0;; esac\nprintf 'not \\033[31mhere\\n'\nexit 1\n");
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let source = Quarantine::new(ObjectFormat::Sha1, &[registry.store.objects_path()])?;
        for (n, url) in registry.urls(&daemon).into_iter().enumerate() {
            let edits = [
                edit(&format!("refs/heads/b{n}"), None, Some(registry.commits[0])),
                edit("refs/incoming/a/b/c", None, Some(registry.commits[0])),
            ];
            let report = push(&source, &url, &edits, &PushOptions::default())?;
            assert_eq!(
                report.refs.values().cloned().collect::<Vec<_>>(),
                [Pushed::Done, Pushed::Refused("hook declined".into())]
            );
            assert_eq!(report.said[0], "not \\u{1b}[31mhere");
            let nowhere: Url = url.as_str().replace("registry.git", "nowhere.git").parse()?;
            let error = push(&source, &nowhere, &edits, &PushOptions::default()).unwrap_err();
            // git's own protocol does not say which of the two it is: that nothing is there, or that nothing may be pushed.
            let expected = if url.as_str().starts_with("git://") { ErrorCode::Network } else { ErrorCode::NotFound };
            assert_eq!(error.code(), expected, "{error}");
        }
        assert_eq!(registry.store.reference(&front_page())?, None);
        Ok(())
    }
}
