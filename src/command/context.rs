//! What every command has at hand: the flags that all share, the user's folders, the clock.

use super::answer::{for_terminal, one_line};
use super::progress::aside;
use crate::disk::config::Config;
use crate::disk::home::Home;
use crate::disk::keys::{self, KeyFile};
use crate::git::signer;
use crate::git::transport::Url;
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::{Label, RegistryName};
use crate::model::sshsig::{Signer, SshSig};
use crate::model::time::Timestamp;
use crate::replica::author::Author;
use crate::replica::snapshot::PATIENCE;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// Flags that every command takes.
#[derive(Args, Debug, Clone, Default)]
pub struct Flags {
    /// Print one JSON object on stdout
    #[arg(long, global = true, help_heading = "Every command")]
    pub json: bool,
    /// The registry meant where a name has none
    #[arg(long, global = true, value_name = "DOMAIN", env = "QUIPU_REGISTRY", help_heading = "Every command")]
    pub registry: Option<RegistryName>,
    /// The key to sign with: a name from `quipu key list`, or a path
    #[arg(long, global = true, value_name = "KEY", env = "QUIPU_KEY", help_heading = "Every command")]
    pub key: Option<String>,
    /// Use only what is on this machine
    #[arg(long, global = true, help_heading = "Every command")]
    pub offline: bool,
    /// Say yes where it would ask
    #[arg(long, short, global = true, help_heading = "Every command")]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long, global = true, help_heading = "Every command")]
    pub dry_run: bool,
    /// Print nothing but errors
    #[arg(long, short, global = true, help_heading = "Every command")]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Every command")]
    pub color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Default)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a command works with.
pub struct Context {
    /// The flags.
    pub flags: Flags,
    /// The user's folders.
    pub home: Home,
    /// The user's settings.
    pub config: Config,
    /// Now.
    pub now: Timestamp,
    /// The folder that paths are relative to.
    pub folder: PathBuf,
}

impl Context {
    /// Reads the environment and the user's settings.
    ///
    /// # Errors
    /// `bad-config`, `io`.
    pub fn from_environment(flags: Flags) -> Result<Self> {
        let home = Home::find(|name| std::env::var_os(name))?;
        let folder = std::env::current_dir().map_err(|why| fault!(Io, "the current folder cannot be read: {why}"))?;
        Context::new(flags, home, folder)
    }

    /// Makes a context for another home.
    ///
    /// # Errors
    /// `bad-config`, `io`.
    pub fn new(flags: Flags, home: Home, folder: PathBuf) -> Result<Self> {
        let config = Config::load(&home)?;
        Ok(Context { config, flags, home, now: now()?, folder })
    }

    /// Returns a path as it was given on the command line, from the root on and without `.` in it.
    pub fn path(&self, given: impl AsRef<Path>) -> PathBuf {
        self.folder.join(given).components().collect()
    }

    /// Says whether something may be fetched from another machine, or pushed there.
    ///
    /// # Errors
    /// `network` where the user said that nothing may.
    pub fn may_reach(&self, url: &Url) -> Result<()> {
        match url.is_local() {
            None if self.flags.offline => {
                Err(fault!(Network, "{url} is not on this machine, and --offline rules out all else").hint("leave out --offline"))
            }
            _ => Ok(()),
        }
    }

    /// Says whether a person can be asked something.
    pub fn can_ask(&self) -> bool {
        !self.flags.json && self.terminal()
    }

    /// Says whether a person may be asked for a password by git or ssh.
    pub fn terminal(&self) -> bool {
        std::io::stderr().is_terminal() && std::io::stdin().is_terminal()
    }

    /// Returns how many columns the terminal has that the answer goes to; `None` where it goes to none.
    pub fn width(&self) -> Option<usize> {
        let size = (!self.flags.json).then(|| terminal_size::terminal_size_of(std::io::stdout()))?;
        size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
    }

    /// Says on stderr what the user should look at.
    pub fn warn(&self, what: &str) {
        say(self.flags.quiet, "warning", what);
    }

    /// Says on stderr what the user is to know beside the answer.
    pub fn note(&self, what: &str) {
        say(self.flags.quiet, "note", what);
    }

    /// Returns after which silence a registry is given up.
    pub fn patience(&self) -> Duration {
        self.config.timeout.map_or(PATIENCE, |seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Finds the key to sign with.
    ///
    /// # Errors
    /// `no-key`, `bad-key`.
    pub fn key(&self) -> Result<KeyFile> {
        let wanted = self.flags.key.as_deref().or(self.config.key.as_deref());
        keys::find(&self.home, wanted, signer::of_git)
    }

    /// Makes a key of random bytes, and the one that signs where it is the first.
    ///
    /// # Errors
    /// `bad-name` where no name is given and the user has none that would do, `exists`, `io`.
    pub fn make_key(&self, name: Option<&Label>) -> Result<KeyFile> {
        let name = match name {
            Some(name) => name.clone(),
            None => ["USER", "LOGNAME", "USERNAME"]
                .iter()
                .find_map(|variable| std::env::var(variable).ok().and_then(|user| keys::simple(&user)))
                .ok_or_else(|| fault!(BadName, "no name for the key was given").hint("give one: quipu key new NAME"))?,
        };
        let first = keys::own(&self.home)?.is_empty();
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|why| fault!(Io, "this machine has no random numbers: {why}"))?;
        let key = keys::create(&self.home, &name, seed)?;
        if first {
            Config::set_key_if_none(&self.home, name.as_str())?;
        }
        Ok(key)
    }

    /// Asks a person yes or no, on stderr, so that stdout holds only the answer.
    ///
    /// # Errors
    /// `io`.
    pub fn ask(&self, question: &str) -> Result<bool> {
        let io = |why: std::io::Error| fault!(Io, "the terminal: {why}");
        let mut err = anstream::stderr();
        write!(err, "{} [y/N] ", for_terminal(question)).and_then(|()| err.flush()).map_err(io)?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).map_err(io)? == 0 {
            // The input ended where the question stands; what follows begins a line.
            writeln!(err).map_err(io)?;
        }
        Ok(matches!(line.trim(), "y" | "Y" | "yes"))
    }

    /// Opens what signs with a key.
    ///
    /// # Errors
    /// `no-key`, `bad-key`.
    pub fn signing(&self, key: &KeyFile) -> Result<Signing> {
        let name = key.suggested_name(&self.home);
        let signer: Box<dyn Signer> = match key.secret()? {
            Some(secret) => Box::new(secret),
            None => Box::new(ByProgram { key: key.public.clone(), path: key.path.clone() }),
        };
        Ok(Signing { signer, name, path: key.path.clone(), now: self.now })
    }
}

/// A key that is ready to sign.
pub struct Signing {
    signer: Box<dyn Signer>,
    name: Option<Label>,
    path: PathBuf,
    now: Timestamp,
}

impl Signing {
    /// Returns the author that signs with it, known by the name that its file suggests, or another.
    ///
    /// # Errors
    /// `bad-name` where no name is suggested and none is given.
    pub fn author(&self, name: Option<&Label>) -> Result<Author<'_>> {
        let name = name.cloned().or_else(|| self.name.clone()).ok_or_else(|| {
            fault!(BadName, "no simple name for the key {} can be made of its file's name or comment", self.path.display())
                .hint("give one: --name NAME")
        })?;
        Ok(Author { signer: &*self.signer, name, now: self.now })
    }

    /// Returns the author that makes checkpoints with it: what it is called in the operator log says that log, so that any name will do.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn operator(&self) -> Result<Author<'_>> {
        self.author(None).or_else(|_| self.author(Some(&"operator".parse()?)))
    }

    /// Returns the public key.
    pub fn key(&self) -> &PublicKey {
        self.signer.public_key()
    }
}

/// Signs through ssh-keygen, which asks for passphrases and speaks to agents.
struct ByProgram {
    key: PublicKey,
    path: PathBuf,
}

impl Signer for ByProgram {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<SshSig> {
        signer::sign(&self.path, &self.key, message)
    }
}

/// What was said on stderr so far.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says something on stderr, in one line and once, but not to those who want quiet.
pub(super) fn say(quiet: bool, word: &str, what: &str) {
    let is_new = || SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{word}: {what}"));
    if !quiet && is_new() {
        // Where nobody listens nothing is said.
        aside(|| drop(writeln!(anstream::stderr(), "{word}: {}", one_line(&for_terminal(what)))));
    }
}

/// Reads the clock.
///
/// # Errors
/// `io` where it shows no time that a record could have.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Result<Timestamp> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_err(|_| fault!(Io, "the clock of this machine shows a time before 1970"))?.as_secs();
    Timestamp::from_unix(seconds)
}
