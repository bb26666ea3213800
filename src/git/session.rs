//! One connection to another repository, over which much is asked: git's protocol, version 2.
//!
//! Each `git fetch` makes a connection of its own and several processes, and narrow fetches depend on one another. Here the connection stays:
//! that of `git://` by TCP, of `ssh` by the user's own ssh command, and of `https` and `http` by git's own helper, which knows the user's
//! credentials, proxies and certificates; for a path git's own server is the other side. Where there is no such way, or the other side speaks an older version, nothing is lost: `git fetch`
//! does it then. What comes in is taken apart by `git index-pack`, and checked by it as in every fetch.

use super::layout::RefName;
use super::pktline::{self, Packet};
use super::program::{Environment, Output, Program, Talk};
use super::quarantine::Quarantine;
use super::transport::{FetchOptions, Fetched, Filter, GIT_MEMORY_MAX, Negotiate, failure, prepare, ssh_options};
use super::url::{Address, Url};
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{Error, ErrorCode, Result, fault};
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The port of `git://`.
const GIT_PORT: u16 = 9418;
/// How long a connection may take to be made, for each address of a host.
const CONNECT: Duration = Duration::from_secs(20);
/// The most bytes of a list of references: names that begin alike come along.
const LIST_MAX: usize = 64 << 20;
/// The most lines before a pack.
const LINES_MAX: usize = 100_000;
/// The most that is kept of what the other side says.
const SAID_MAX: usize = 4096;

/// A connection to a repository.
pub struct Session {
    url: Url,
    from: Box<dyn Read + Send>,
    to: Option<Box<dyn Write + Send>>,
    program: Option<Talk>,
    /// Whether each question stands alone, and each answer has an end of its own.
    stateless: bool,
    format: ObjectFormat,
    has_filters: bool,
    has_shallow: bool,
    says_format: bool,
    /// A commit that is here without what it stands on.
    shallow: Option<GitId>,
    /// Whether it is given up where nothing is heard for a while.
    hurries: Arc<AtomicBool>,
    is_silent: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.url)
    }
}

impl Session {
    /// Connects; `None` where only `git fetch` can. Where nothing is heard for as long as `patience`, it is given up.
    ///
    /// # Errors
    /// Those of [`super::transport::fetch`].
    pub fn open(url: &Url, terminal: bool, patience: Duration, environment: &Environment) -> Result<Option<Self>> {
        let opened = match url.address() {
            Some(Address::Git { named, host, port, path }) => {
                if environment.transport_config()?.iter().any(|(key, _)| key == "core.gitproxy") {
                    return Ok(None);
                }
                tcp(url, &named, &host, port.unwrap_or(GIT_PORT), &path, patience).map(Some)?
            }
            Some(Address::Ssh { host, port, path }) => ssh(url, &host, port, &path, terminal, patience, environment)?,
            Some(Address::Http) => web(url, terminal, patience, environment)?,
            None => match url.is_local() {
                Some(path) => here(url, path, patience, environment)?,
                None => None,
            },
        };
        let Some(mut session) = opened else { return Ok(None) };
        // Who is asked for a password takes the time that it takes.
        session.hurries.store(!terminal, Ordering::Relaxed);
        if !session.greet()? {
            return Ok(None);
        }
        session.hurries.store(true, Ordering::Relaxed);
        Ok(Some(session))
    }

    /// Says that a commit is here without what it stands on, and that nothing below it will be asked for but by depth. A server that is told so makes its
    /// packs without the bitmaps of its repository, which in a large one take longer to open than a few objects take to find.
    pub fn stand_on(&mut self, shallow: GitId) {
        self.shallow = Some(shallow);
    }

    /// Returns the object format of the repository.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Says whether it was given up because nothing was heard, as it would be again.
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Says whether the other side knows filters.
    pub fn has_filters(&self) -> bool {
        self.has_filters
    }

    /// Reads what the other side can; `false` where it speaks another version.
    fn greet(&mut self) -> Result<bool> {
        let first = match pktline::read(&mut self.from) {
            Ok(Packet::Line(line)) => line,
            // A server of old, or one that says good day first: git knows how to take it.
            Ok(_) => return Ok(false),
            Err(why) if why.kind() == io::ErrorKind::InvalidData => return Ok(false),
            Err(why) => return Err(self.broken(&why)),
        };
        if let Some(words) = first.strip_prefix(b"ERR ") {
            return Err(self.refused(words));
        }
        if text(&first) != "version 2" {
            return Ok(false);
        }
        let mut fetches = false;
        for _ in 0..LINES_MAX {
            let line = match self.packet()? {
                Packet::Line(line) => line,
                _ => return Ok(fetches),
            };
            match text(&line).split_once('=') {
                Some(("object-format", "sha1")) => self.says_format = true,
                Some(("object-format", "sha256")) => (self.says_format, self.format) = (true, ObjectFormat::Sha256),
                Some(("object-format", _)) => return Ok(false),
                Some(("fetch", features)) => {
                    fetches = true;
                    self.has_filters = features.split(' ').any(|feature| feature == "filter");
                    self.has_shallow = features.split(' ').any(|feature| feature == "shallow");
                }
                _ if text(&line) == "fetch" => fetches = true,
                _ => {}
            }
        }
        Err(fault!(Limit, "{} says too much of what it can", self.url))
    }

    /// Asks what references name.
    ///
    /// # Errors
    /// Those of [`super::transport::fetch`].
    pub fn references(&mut self, names: &[RefName]) -> Result<Vec<Option<GitId>>> {
        let mut question = self.question("ls-refs");
        for name in names {
            pktline::write(&mut question, &format!("ref-prefix {name}\n"));
        }
        self.ask(question)?;
        let mut found = vec![None; names.len()];
        let mut bytes = 0;
        while let Packet::Line(line) = self.packet()? {
            bytes += line.len();
            if bytes > LIST_MAX {
                return Err(fault!(Limit, "{} sends a list of references of more than {LIST_MAX} bytes", self.url));
            }
            let line = text(&line);
            let mut words = line.split(' ');
            if let (Some(id), Some(name)) = (words.next(), words.next())
                && let Some(at) = names.iter().position(|wanted| wanted.as_str() == name)
            {
                let id = id.parse::<GitId>().ok().filter(|id| id.format() == self.format);
                found[at] = Some(id.ok_or_else(|| fault!(Network, "{} says of {name} what is no id", self.url))?);
            }
        }
        self.end_of_answer()?;
        Ok(found)
    }

    /// Fetches objects by their ids into a quarantine: with what they stand on, less what the options leave out and what lies below the
    /// commits that they name as held.
    ///
    /// # Errors
    /// Those of [`super::transport::fetch`].
    pub fn fetch(&mut self, into: &Quarantine, ids: &[GitId], options: &FetchOptions) -> Result<Fetched> {
        if into.store().format() != self.format {
            return Err(fault!(BadRepository, "{} has the object format {}", self.url, self.format)
                .hint("a mirror has the object format of its upstream"));
        }
        let mut question = self.question("fetch");
        for line in ["no-progress\n", "ofs-delta\n"] {
            pktline::write(&mut question, line);
        }
        for id in ids {
            pktline::write(&mut question, &format!("want {id}\n"));
        }
        if let Negotiate::Commits(held) = &options.negotiate {
            for id in held {
                pktline::write(&mut question, &format!("have {id}\n"));
            }
        }
        match (options.depth, self.shallow.filter(|_| self.has_shallow && !options.deep)) {
            (Some(depth), _) => pktline::write(&mut question, &format!("deepen {depth}\n")),
            (None, Some(commit)) => pktline::write(&mut question, &format!("shallow {commit}\n")),
            (None, None) => {}
        }
        match options.filter.filter(|_| self.has_filters) {
            Some(Filter::Trees(depth)) => pktline::write(&mut question, &format!("filter tree:{depth}\n")),
            Some(Filter::Blobs) => pktline::write(&mut question, "filter blob:none\n"),
            None => {}
        }
        pktline::write(&mut question, "done\n");
        self.ask(question)?;
        self.find_pack()?;
        self.take_pack(into, options.max_bytes)?;
        self.end_of_answer()?;
        into.store().refresh()?;
        let reader = into.store().reader();
        match ids.iter().find(|id| !reader.contains(**id)) {
            Some(id) => Err(fault!(RefMissing, "{} has no object {id}", self.url)),
            None => Ok(Fetched { filter_ignored: options.filter.is_some() && !self.has_filters }),
        }
    }

    /// Begins a question.
    fn question(&self, command: &str) -> Vec<u8> {
        let mut question = Vec::new();
        pktline::write(&mut question, &format!("command={command}\n"));
        if self.says_format {
            pktline::write(&mut question, &format!("object-format={}\n", self.format));
        }
        question.extend_from_slice(b"0001");
        question
    }

    /// Sends a question, in one piece: what is sent piece by piece waits for the other side's acknowledgement.
    fn ask(&mut self, mut question: Vec<u8>) -> Result<()> {
        question.extend_from_slice(b"0000");
        let sent = match &mut self.to {
            Some(to) => to.write_all(&question).and_then(|()| to.flush()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|why| self.broken(&why))
    }

    /// Reads up to where a pack begins.
    fn find_pack(&mut self) -> Result<()> {
        for _ in 0..LINES_MAX {
            match self.packet()? {
                Packet::Line(line) if text(&line) == "packfile" => return Ok(()),
                // What is said of shallow commits is known: they are where we asked for them.
                Packet::Line(_) | Packet::Delimiter => {}
                Packet::Flush | Packet::End => return Err(fault!(Network, "{} answers without a pack", self.url)),
            }
        }
        Err(fault!(Limit, "{} says too much before a pack", self.url))
    }

    /// Reads a pack, which goes to git as it comes.
    fn take_pack(&mut self, into: &Quarantine, max: u64) -> Result<()> {
        let mut unpacker = Program::git()
            .env("GIT_DIR", into.path())
            .env("GIT_ALLOC_LIMIT", GIT_MEMORY_MAX)
            // A blob larger than this passes through in pieces.
            .config("core.bigFileThreshold", "8m")
            .args(["index-pack", "--stdin", "--fsck-objects"])
            .talk()?;
        let mut pack = unpacker.take_stdin().ok_or_else(|| fault!(Bug, "git has no stdin"))?;
        let mut bytes = 0;
        let mut said = Vec::new();
        let mut is_taken = true;
        while let Packet::Line(line) = self.packet()? {
            match line.split_first() {
                Some((1, data)) => {
                    bytes += data.len() as u64;
                    if bytes > max {
                        return Err(fault!(
                            Limit,
                            "{}: what was fetched takes {bytes} bytes so far, at most {max} are allowed",
                            self.url
                        ));
                    }
                    // It ended, and says why below.
                    is_taken = is_taken && pack.write_all(data).is_ok();
                }
                Some((2, words)) if said.len() < SAID_MAX => said.extend_from_slice(words),
                Some((3, words)) => return Err(self.refused(words)),
                _ => {}
            }
        }
        drop(pack);
        let output = unpacker.finish()?;
        match output.success && is_taken {
            true => Ok(()),
            false => Err(failure(&self.url, &output)),
        }
    }

    /// Reads where an answer ends that stands alone.
    fn end_of_answer(&mut self) -> Result<()> {
        match self.stateless {
            true => self.packet().map(drop),
            false => Ok(()),
        }
    }

    fn packet(&mut self) -> Result<Packet> {
        match pktline::read(&mut self.from) {
            Ok(Packet::Line(line)) => match line.strip_prefix(b"ERR ") {
                Some(words) => Err(self.refused(words)),
                None => Ok(Packet::Line(line)),
            },
            Ok(packet) => Ok(packet),
            Err(why) => Err(self.broken(&why)),
        }
    }

    /// Says what the other side said no with, in git's words, so that all that git reports is told apart in one place.
    fn refused(&self, words: &[u8]) -> Error {
        failed(&self.url, &format!("fatal: remote error: {}", text(words)))
    }

    /// Says why a connection broke: the program that held it knows.
    fn broken(&mut self, why: &io::Error) -> Error {
        self.to = None;
        if why.kind() == io::ErrorKind::InvalidData {
            return fault!(Network, "{} answers what is not git's protocol", self.url);
        }
        if why.kind() == io::ErrorKind::TimedOut {
            // Whoever holds the connection waits as well, and is ended.
            self.program = None;
            self.is_silent = true;
            return failed(&self.url, &format!("fatal: timed out: {why}"));
        }
        let own = match why.kind() {
            io::ErrorKind::UnexpectedEof => "fatal: the remote end hung up unexpectedly".to_owned(),
            _ => format!("fatal: the remote end hung up unexpectedly: {why}"),
        };
        match self.program.take().map(Talk::finish) {
            Some(Ok(output)) if !output.stderr.trim().is_empty() => failure(&self.url, &output),
            _ => failed(&self.url, &own),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who is told that nothing more comes ends in peace.
        if let Some(mut to) = self.to.take()
            && !self.stateless
        {
            let _ = to.write_all(b"0000").and_then(|()| to.flush());
        }
    }
}

/// Returns a line of text without its end.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

fn failed(url: &Url, words: &str) -> Error {
    failure(url, &Output { success: false, code: None, stdout: Vec::new(), stderr: words.to_owned() })
}

fn session(
    url: &Url,
    from: impl Listen + 'static,
    to: Box<dyn Write + Send>,
    program: Option<Talk>,
    stateless: bool,
    patience: Duration,
) -> Session {
    let hurries = Arc::new(AtomicBool::new(false));
    let from = Patient { from, patience, hurries: hurries.clone() };
    Session {
        url: url.clone(),
        from: Box::new(BufReader::with_capacity(64 * 1024, from)),
        to: Some(to),
        program,
        stateless,
        format: ObjectFormat::Sha1,
        has_filters: false,
        has_shallow: false,
        says_format: false,
        shallow: None,
        hurries,
        is_silent: false,
    }
}

/// What is read from a connection, and can be waited for.
#[cfg(unix)]
trait Listen: Read + std::os::fd::AsFd + Send {}
#[cfg(unix)]
impl<R: Read + std::os::fd::AsFd + Send> Listen for R {}
#[cfg(not(unix))]
trait Listen: Read + Send {}
#[cfg(not(unix))]
impl<R: Read + Send> Listen for R {}

/// Gives up where nothing comes for a while.
struct Patient<R> {
    from: R,
    patience: Duration,
    hurries: Arc<AtomicBool>,
}

impl<R: Listen> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        if self.hurries.load(Ordering::Relaxed) {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let patience = Timespec::try_from(self.patience).map_err(io::Error::other)?;
            let mut waiting = [PollFd::new(&self.from, PollFlags::IN)];
            let heard = loop {
                match poll(&mut waiting, Some(&patience)) {
                    Err(rustix::io::Errno::INTR) => {}
                    heard => break heard?,
                }
            };
            if heard == 0 {
                let seconds = self.patience.as_secs_f32();
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing was heard for {seconds} seconds")));
            }
        }
        self.from.read(buffer)
    }
}

/// Connects by TCP.
fn tcp(url: &Url, named: &str, host: &str, port: u16, path: &str, patience: Duration) -> Result<Session> {
    let no = |why: io::Error| failed(url, &format!("fatal: unable to connect to {named}: {why}"));
    let mut last = None;
    let mut stream = None;
    for address in (host, port).to_socket_addrs().map_err(no)? {
        match TcpStream::connect_timeout(&address, CONNECT.min(patience)) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(why) => last = Some(why),
        }
    }
    let stream = stream.ok_or_else(|| no(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))?;
    let mut question = Vec::new();
    pktline::write(&mut question, &format!("git-upload-pack {path}\0host={named}\0\0version=2\0"));
    let begun =
        stream.set_nodelay(true).and_then(|()| stream.try_clone()).and_then(|mut to| to.write_all(&question).map(|()| to));
    let to = begun.map_err(no)?;
    Ok(session(url, Prompt(stream), Box::new(to), None, false, patience))
}

/// Acknowledges at once what it has read: git's own daemon sends a few bytes, and holds the rest back until they are acknowledged, for which a
/// kernel takes 40 ms where nothing is sent the other way.
struct Prompt(TcpStream);

#[cfg(unix)]
impl std::os::fd::AsFd for Prompt {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Prompt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // It is in force until the kernel thinks better of it. Without it all is only slower.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
        self.0.read(buffer)
    }
}

/// Connects by the user's ssh; `None` where it is not OpenSSH, as far as its name says.
fn ssh(
    url: &Url,
    host: &str,
    port: Option<u16>,
    path: &str,
    terminal: bool,
    patience: Duration,
    environment: &Environment,
) -> Result<Option<Session>> {
    let config = environment.transport_config()?;
    if environment.has("GIT_SSH") || environment.has("GIT_SSH_VARIANT") || config.iter().any(|(key, _)| key == "ssh.variant") {
        return Ok(None);
    }
    let configured = config.iter().rev().find(|(key, _)| key == "core.sshcommand").map(|(_, value)| value.as_str());
    let command = match environment.get("GIT_SSH_COMMAND") {
        Some(command) => match command.to_str() {
            Some(command) => Some(command),
            None => return Ok(None),
        },
        None => configured,
    };
    let is_open_ssh = |command: &str| {
        let program = command.split_whitespace().next().unwrap_or_default();
        !program.contains(['\'', '"', '\\', '$']) && program.rsplit('/').next() == Some("ssh")
    };
    if command.is_some_and(|command| !is_open_ssh(command)) {
        return Ok(None);
    }
    let mut program = Program::ssh(command).environment(environment).terminal(terminal).env("GIT_PROTOCOL", "version=2");
    program = program.args(["-o", "SendEnv=GIT_PROTOCOL"]);
    if command.is_none() {
        program = program.args(ssh_options(terminal));
    }
    if let Some(port) = port {
        program = program.args(["-p", &port.to_string()]);
    }
    // As git writes it: a server may compare it letter by letter.
    let quoted = path.replace('\'', r"'\''").replace('!', r"'\!'");
    talk(url, program.args([host, &format!("git-upload-pack '{quoted}'")]), false, patience)
}

/// Talks with the program that would serve a repository on this machine, which knows all that we ask for.
fn here(url: &Url, path: &std::path::Path, patience: Duration, environment: &Environment) -> Result<Option<Session>> {
    let program = Program::git()
        .environment(environment)
        .env("GIT_PROTOCOL", "version=2")
        .config("uploadpack.allowFilter", "true")
        .arg("upload-pack")
        .arg(path);
    talk(url, program, false, patience)
}

/// Connects by git's helper for web servers; `None` where that knows no such way.
fn web(url: &Url, terminal: bool, patience: Duration, environment: &Environment) -> Result<Option<Session>> {
    let scheme = if url.as_str().starts_with("https:") { "remote-https" } else { "remote-http" };
    let nowhere = std::path::Path::new("/dev/null/no-repository");
    let program = prepare(nowhere, url, environment, terminal, None)?.args([scheme, url.as_str(), url.as_str()]);
    let Some(mut session) = talk(url, program, true, patience)? else { return Ok(None) };
    session.hurries.store(!terminal, Ordering::Relaxed);
    let asked = match &mut session.to {
        Some(to) => to.write_all(b"stateless-connect git-upload-pack\n").and_then(|()| to.flush()),
        None => Ok(()),
    };
    asked.map_err(|why| session.broken(&why))?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.len() < SAID_MAX {
        session.from.read_exact(&mut byte).map_err(|why| session.broken(&why))?;
        if byte == *b"\n" {
            break;
        }
        answer.extend_from_slice(&byte);
    }
    Ok(answer.is_empty().then_some(session))
}

fn talk(url: &Url, program: Program<'_>, stateless: bool, patience: Duration) -> Result<Option<Session>> {
    let mut program = match program.talk() {
        Ok(program) => program,
        // Git says better what it misses.
        Err(error) if error.code() == ErrorCode::Git => return Ok(None),
        Err(error) => return Err(error),
    };
    let (Some(from), Some(to)) = (program.take_stdout(), program.take_stdin()) else { return Ok(None) };
    Ok(Some(session(url, from, Box::new(to), Some(program), stateless, patience)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::daemon::Daemon;
    use crate::git::fixture::{FORMATS, empty, git, history};
    use crate::git::layout::registry_log;
    use crate::git::refs::{Expected, RefEdit};
    use crate::model::object::ReadObjects as _;
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn over(url: &Url) -> Result<Option<Session>> {
        Session::open(url, false, PATIENCE, &Environment::of_process())
    }

    fn name(text: &str) -> RefName {
        text.parse().unwrap()
    }

    #[test]
    fn much_is_asked_over_one_connection() -> Result<()> {
        for format in FORMATS {
            let (folder, store) = empty(format);
            let (objects, commits) = history(format, 6);
            store.write_durable(objects.iter())?;
            let edit = |text: &str, id| RefEdit { name: name(text), expected: Expected::Absent, new: Some(id) };
            store.update(&[edit("refs/registry/log", commits[5]), edit("refs/registry/log2", commits[1])])?;
            for filters in ["true", "false"] {
                git(store.path(), &["config", "uploadpack.allowFilter", filters]);
                let daemon = Daemon::serve(folder.path());
                let mut session = over(&daemon.url("registry.git").parse()?)?.unwrap();
                assert_eq!((session.format(), session.has_filters()), (format, filters == "true"));
                let found = session.references(&[registry_log(), name("refs/none"), name("refs/registry/log2")])?;
                assert_eq!(found, [Some(commits[5]), None, Some(commits[1])]);
                // The newest commit alone, and then what lies between it and one that is held.
                let into = Quarantine::new(format, &[])?;
                let shallow = FetchOptions { depth: Some(1), filter: Some(Filter::Trees(0)), ..FetchOptions::default() };
                let fetched = session.fetch(&into, &[commits[5]], &shallow)?;
                assert_eq!(fetched.filter_ignored, filters == "false");
                assert!(into.store().contains(commits[5]) && !into.store().contains(commits[4]));
                let above = FetchOptions { negotiate: Negotiate::Commits(vec![commits[2]]), ..FetchOptions::default() };
                session.fetch(&into, &[commits[5]], &above)?;
                let reader = into.store().reader();
                let here: Vec<bool> = commits.iter().map(|id| reader.contains(*id)).collect();
                assert_eq!(here, [false, false, false, true, true, true]);
                session.fetch(&into, &[commits[1], commits[2]], &FetchOptions::default())?;
                for (id, kind, bytes) in objects.iter() {
                    assert_eq!(into.store().reader().read(kind, id, 1 << 20)?, bytes);
                }
                let absent = GitId::of(format, crate::model::digest::ObjectKind::Blob, b"absent");
                let error = session.fetch(&into, &[absent], &FetchOptions::default()).unwrap_err();
                assert_eq!(error.code(), ErrorCode::RefMissing, "{error}");
                assert!(error.message().contains(&absent.to_string()), "{error}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_pack_may_not_be_larger_than_it_is_allowed_to_be_and_formats_do_not_mix() -> Result<()> {
        let (folder, store) = empty(ObjectFormat::Sha1);
        let (objects, commits) = history(ObjectFormat::Sha1, 6);
        store.write_durable(objects.iter())?;
        let daemon = Daemon::serve(folder.path());
        let url: Url = daemon.url("registry.git").parse()?;
        let small = FetchOptions { max_bytes: 100, ..FetchOptions::default() };
        let error = over(&url)?.unwrap().fetch(&Quarantine::new(ObjectFormat::Sha1, &[])?, &[commits[5]], &small).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Limit, "{error}");
        let other = Quarantine::new(ObjectFormat::Sha256, &[])?;
        let error = over(&url)?.unwrap().fetch(&other, &[commits[5]], &FetchOptions::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadRepository, "{error}");
        Ok(())
    }

    /// Says these things to whoever comes, one after each question.
    fn peer(answers: Vec<Vec<u8>>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("git://127.0.0.1:{}/r", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                // The first one ends with a nul, the others with a flush.
                let mut heard = Vec::new();
                let mut byte = [0];
                while !heard.ends_with(b"0000") && !heard.ends_with(b"version=2\0") {
                    match stream.read(&mut byte) {
                        Ok(1) => heard.push(byte[0]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(&answer);
            }
        });
        url.parse().unwrap()
    }

    fn lines(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            pktline::write(&mut bytes, line);
        }
        bytes.extend_from_slice(b"0000");
        bytes
    }

    fn greeting() -> Vec<u8> {
        lines(&["version 2\n", "agent=x\n", "ls-refs=unborn\n", "fetch=shallow filter\n", "object-format=sha1\n"])
    }

    #[test]
    fn who_falls_silent_is_not_waited_for() -> Result<()> {
        let open = |answers| Session::open(&peer(answers), false, Duration::from_millis(100), &Environment::of_process());
        // Neither at the greeting nor later: the peer waits for a question that never ends.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("git://{}/r", listener.local_addr().unwrap()).parse()?;
        let error = Session::open(&url, false, Duration::from_millis(100), &Environment::of_process()).unwrap_err();
        assert_eq!((error.code(), error.message().contains("nothing was heard for 0.1 seconds")), (ErrorCode::Network, true));
        let mut session = open(vec![greeting(), b"0032".to_vec(), Vec::new()])?.unwrap();
        let error = session.references(&[registry_log()]).unwrap_err();
        assert_eq!((error.code(), error.message().contains("nothing was heard")), (ErrorCode::Network, true), "{error}");
        Ok(())
    }

    #[test]
    fn who_speaks_another_language_is_left_to_git() -> Result<()> {
        let id = "1".repeat(40);
        let old = lines(&[&format!("{id} HEAD\0multi_ack\n")]);
        for first in [old, b"HTTP/1.1 400 Bad Request\r\n".to_vec(), b"0000".to_vec(), lines(&["version 2\n", "ls-refs\n"])] {
            assert!(over(&peer(vec![first.clone()]))?.is_none(), "{:?}", String::from_utf8_lossy(&first));
        }
        let odd = lines(&["version 2\n", "fetch\n", "object-format=sha512\n"]);
        assert!(over(&peer(vec![odd]))?.is_none());
        Ok(())
    }

    #[test]
    fn what_the_other_side_says_no_with_is_told_apart() {
        let code = |answers: Vec<Vec<u8>>| over(&peer(answers)).map(drop).unwrap_err().code();
        assert_eq!(code(vec![lines(&["ERR access denied or repository not exported: /r"])]), ErrorCode::NotFound);
        assert_eq!(code(vec![lines(&["ERR service not enabled: /r"])]), ErrorCode::Git);
        assert_eq!(code(vec![Vec::new()]), ErrorCode::Network);
        assert_eq!(code(vec![b"0010version 2".to_vec()]), ErrorCode::Network);
        let url = "git://127.0.0.1:1/r".parse().unwrap();
        let error = over(&url).map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Network);
        assert!(error.message().starts_with("git://127.0.0.1:1/r cannot be reached: "), "{error}");
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let id = "1".repeat(40);
        let list = |answer: Vec<u8>| {
            over(&peer(vec![greeting(), answer])).unwrap().unwrap().references(&[name("refs/a")]).map_err(|error| error.code())
        };
        assert_eq!(list(lines(&[&format!("{id} refs/a\n"), &format!("{id} refs/ab\n")])), Ok(vec![id.parse().ok()]));
        assert_eq!(list(lines(&["unborn HEAD\n", "", "x"])), Ok(vec![None]));
        assert_eq!(list(lines(&["zz refs/a\n"])), Err(ErrorCode::Network));
        assert_eq!(list(lines(&[&format!("{} refs/a\n", "1".repeat(64))])), Err(ErrorCode::Network));
        assert_eq!(list(b"zzzz".to_vec()), Err(ErrorCode::Network));
        assert_eq!(list(Vec::new()), Err(ErrorCode::Network));
        let fetch = |answer: Vec<u8>| {
            let into = Quarantine::new(ObjectFormat::Sha1, &[]).unwrap();
            let mut session = over(&peer(vec![greeting(), answer])).unwrap().unwrap();
            session.fetch(&into, &[id.parse().unwrap()], &FetchOptions::default()).unwrap_err().code()
        };
        assert_eq!(fetch(lines(&["ERR upload-pack: not our ref 1111"])), ErrorCode::RefMissing);
        assert_eq!(fetch(lines(&["packfile\n", "\u{3}fatal: it is late"])), ErrorCode::Git);
        assert_eq!(fetch(lines(&["packfile\n", "\u{1}PACK"])), ErrorCode::Network);
        assert_eq!(fetch(lines(&["packfile\n", "\u{2}well\n", "", "\u{1}nonsense without end"])), ErrorCode::CorruptObject);
        assert_eq!(fetch(lines(&["packfile\n"])), ErrorCode::Network);
        assert_eq!(fetch(lines(&["shallow-info\n"])), ErrorCode::Network);
        assert_eq!(fetch(b"000dpackfile\n0008\x01PAC".to_vec()), ErrorCode::Network);
        // A pack without the object that was asked for.
        let empty =
            [&b"PACK\0\0\0\x02\0\0\0\0"[..], b"\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e"]
                .concat();
        let answer = [b"000dpackfile\n", format!("{:04x}\u{1}", empty.len() + 5).as_bytes(), &empty, b"0000"].concat();
        assert_eq!(fetch(answer), ErrorCode::RefMissing);
    }
}
