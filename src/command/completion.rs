//! `quipu completion`: what a shell offers while a command is typed. All of it is of this machine: nothing is fetched, nothing is verified, and
//! what cannot be read is passed over in silence.

use super::answer::Answer;
use super::client;
use super::context::{Context, Flags};
use super::keyarg::KeyArg;
use super::shells::{self, ASKED, Bash, Fish, Zsh};
use super::workspace::Workspace;
use crate::disk::home::Home;
use crate::disk::keys;
use crate::disk::replace;
use crate::disk::trusted::Trust;
use crate::git::transport::Url;
use crate::model::digest::ObjectFormat;
use crate::model::entry::{OperatorPrivilege, PackagePrivilege, Privilege as _};
use crate::model::error::{Result, fault};
use crate::model::name::{Label, PackageName, Reference, RegistryName};
use crate::replica::suggest::Here;
use crate::trust::memory::Glance;
use clap::{Arg, Command, ValueEnum, ValueHint};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{EnvCompleter, Shells};
use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// So many names are offered at most. Of more, it is offered how they begin.
const MOST: usize = 200;

/// Print what makes a shell complete quipu's commands, flags and names
///
/// Switch it on by one line in the shell's own start file:
///
///   bash, in ~/.bashrc:                    source <(quipu completion bash)
///
///   zsh, in ~/.zshrc:                      source <(quipu completion zsh)
///
///   fish, in ~/.config/fish/config.fish:   quipu completion fish | source
///
/// What is offered is known on this machine: packages that were looked at or that the cached map of a registry names, versions of cached logs,
/// registries, keys, and what quipu.toml needs. Nothing is fetched for it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// The shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// The Bourne again shell.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Shell::Bash => &Bash(prepare),
            Shell::Zsh => &Zsh(prepare),
            Shell::Fish => &Fish(prepare),
        }
    }
}

/// Runs `quipu completion`. No home is read for it: what a shell runs as it starts is not to fail.
///
/// # Errors
/// `bug`.
pub fn run(args: &Args) -> Result<Answer> {
    let shell = args.shell.completer();
    let mut script = Vec::new();
    let written = shell.write_registration(ASKED, "quipu", "quipu", &program(), &mut script);
    written.map_err(|why| fault!(Bug, "the script of {}: {why}", shell.name()))?;
    let mut answer = Answer::new();
    answer.text = String::from_utf8_lossy(&script).into_owned();
    answer.field("shell", shell.name());
    answer.field("script", answer.text.clone());
    Ok(answer)
}

/// Returns how the shell is to call this program: as it was called now.
fn program() -> String {
    let called = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let path = match called.components().count() {
        // By its name, which the shell looks up each time.
        0 | 1 => called,
        _ => std::path::absolute(&called).unwrap_or(called),
    };
    let text = path.to_string_lossy().into_owned();
    if text.is_empty() { "quipu".to_owned() } else { text }
}

/// Answers a shell that asks what may stand at the cursor; `None` where none asks. Whatever goes wrong, nothing but candidates is printed: it
/// would stand in the middle of what somebody types.
pub fn answer(command: impl Fn() -> Command) -> Option<ExitCode> {
    std::env::var_os(ASKED).filter(|shell| !shell.is_empty())?;
    panic::set_hook(Box::new(|_| {}));
    let shells = Shells(&[&Bash(prepare), &Zsh(prepare), &Fish(prepare)]);
    let asked = CompleteEnv::with_factory(command).var(ASKED).bin("quipu").shells(shells);
    let folder = std::env::current_dir().ok();
    let answered = panic::catch_unwind(AssertUnwindSafe(|| asked.try_complete(std::env::args_os(), folder.as_deref())));
    Some(if matches!(answered, Ok(Ok(true))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the values of an argument are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A package, with a version where one follows.
    Package,
    /// A release: its version has to follow.
    Release(Yanked),
    /// A package or a registry.
    PackageOrRegistry,
    /// What `quipu verify` takes: that, or a path.
    Anything,
    /// A registry that is trusted.
    Registry,
    /// A registry of which something is in the cache.
    Cached,
    /// A key: its name, or a file.
    Key,
    /// What quipu.toml needs.
    Needed,
    /// What quipu.toml needs or quipu.lock has.
    NeededOrLocked,
    /// One of these words.
    Words(Vec<&'static str>),
    /// A file or a folder.
    File,
}

/// Which releases are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yanked {
    Only,
    Never,
}

/// Puts into a command, and into those below it, what is known of the values of their arguments.
pub fn prepare(command: Command, words: &[OsString]) -> Command {
    let Some(desk) = Desk::open(words) else { return command };
    attach(command, &Arc::new(desk))
}

fn attach(command: Command, desk: &Arc<Desk>) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match what(&name, &arg) {
        Some(what) => {
            let desk = desk.clone();
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| desk.candidates(&what, typed)))
        }
        None => arg,
    });
    command.mut_subcommands(|below| attach(below, desk))
}

/// Tells by the type of an argument what it takes and, where that is any text, by its name.
fn what(command: &str, arg: &Arg) -> Option<What> {
    let kind = arg.get_value_parser().type_id();
    let is = |wanted: TypeId| kind == wanted;
    if is(TypeId::of::<Reference>()) {
        return Some(match command {
            "yank" => What::Release(Yanked::Never),
            "unyank" => What::Release(Yanked::Only),
            "update" => What::NeededOrLocked,
            _ => What::Package,
        });
    }
    if is(TypeId::of::<RegistryName>()) {
        return Some(What::Registry);
    }
    if is(TypeId::of::<KeyArg>()) {
        return Some(What::Key);
    }
    if is(TypeId::of::<PackagePrivilege>()) {
        return Some(What::Words(PackagePrivilege::ALL.iter().map(|privilege| privilege.as_str()).collect()));
    }
    if is(TypeId::of::<OperatorPrivilege>()) {
        return Some(What::Words(OperatorPrivilege::ALL.iter().map(|privilege| privilege.as_str()).collect()));
    }
    if is(TypeId::of::<ObjectFormat>()) {
        return Some(What::Words(vec!["sha1", "sha256"]));
    }
    let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (command, name.unwrap_or_default()) {
        ("remove", "PACKAGE") => Some(What::Needed),
        ("add", "PACKAGE") => Some(What::Package),
        ("info", "REFERENCE") => Some(What::PackageOrRegistry),
        ("verify", "WHAT") | ("fork", "REFERENCE") => Some(What::Anything),
        ("prune", "NAME") => Some(What::Cached),
        (_, "KEY") => Some(What::Key),
        (_, "URL") => Some(What::File),
        _ => match arg.get_value_hint() {
            ValueHint::AnyPath | ValueHint::DirPath | ValueHint::FilePath => Some(What::File),
            _ => None,
        },
    }
}

/// What there is to choose from.
struct Desk {
    context: Context,
}

impl Desk {
    /// Reads the user's settings, for a line of these words.
    fn open(words: &[OsString]) -> Option<Self> {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let after = words.iter().position(|word| word == "--registry").and_then(|at| words.get(at + 1));
        let inside = words.iter().find_map(|word| word.strip_prefix("--registry="));
        let own = std::env::var("QUIPU_REGISTRY").ok();
        let registry = after.map(|word| &**word).or(inside).or(own.as_deref()).and_then(|name| name.parse().ok());
        let home = Home::find(|name| std::env::var_os(name)).ok()?;
        let folder = std::env::current_dir().ok()?;
        let flags = Flags { registry, offline: true, quiet: true, ..Flags::default() };
        Some(Desk { context: Context::new(flags, home, folder).ok()? })
    }

    fn candidates(&self, what: &What, typed: &OsStr) -> Vec<CompletionCandidate> {
        // What is not text is no name of ours.
        let Some(typed) = typed.to_str() else { return Vec::new() };
        let is_path = typed.starts_with(['.', '/', '~']);
        match what {
            What::File => vec![shells::files()],
            What::Anything | What::Key if is_path => vec![shells::files()],
            What::Package => self.packages(typed, None),
            What::Release(yanked) => self.packages(typed, Some(*yanked)),
            What::PackageOrRegistry | What::Anything => {
                let mut found = self.packages(typed, None);
                found.extend(begins(typed, self.trusted().iter().map(ToString::to_string)));
                found
            }
            What::Registry => begins(typed, self.trusted().iter().map(ToString::to_string)),
            What::Cached => begins(typed, self.cached()),
            What::Key => begins(typed, self.keys()),
            What::Needed => begins(typed, self.needed(false)),
            What::NeededOrLocked => begins(typed, self.needed(true)),
            What::Words(words) => begins(typed, words.iter().map(|word| (*word).to_owned())),
        }
    }

    fn trusted(&self) -> Vec<RegistryName> {
        let trust = Trust::load(&self.context.home);
        trust.iter().flat_map(Trust::all).map(|trusted| trusted.name.clone()).collect()
    }

    fn cached(&self) -> Vec<String> {
        let ids = self.context.home.cached().unwrap_or_default();
        let Ok(trust) = Trust::load(&self.context.home) else { return Vec::new() };
        let name = |id| trust.all().iter().find(|trusted| trusted.id == id).map(|trusted| trusted.name.to_string());
        ids.into_iter().map(|id| name(id).unwrap_or_else(|| id.to_string())).collect()
    }

    fn keys(&self) -> Vec<String> {
        let own = keys::own(&self.context.home).unwrap_or_default();
        own.iter().filter_map(|key| Some(key.path.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// Returns what the project needs as it is written there, and what else its lock has.
    fn needed(&self, with_lock: bool) -> BTreeSet<String> {
        let Ok(workspace) = Workspace::open(&self.context, &self.context.folder) else { return BTreeSet::new() };
        let written = workspace.project.dependencies.iter().map(|needed| match &needed.registry {
            Some(registry) => format!("{registry}/{}", needed.package),
            None => needed.package.to_string(),
        });
        let locked = workspace.lock.known().filter(|_| with_lock).into_iter().flat_map(|lock| lock.packages.keys());
        let locked = locked.map(|pin| match workspace.own.as_ref() == Some(&pin.name.registry) {
            true => pin.name.package.to_string(),
            false => pin.name.to_string(),
        });
        written.chain(locked).collect()
    }

    /// Looks at what is here of a registry that is trusted.
    fn here(&self, registry: &RegistryName) -> Option<Here> {
        let home = &self.context.home;
        let trust = Trust::load(home).ok()?;
        let id = trust.get(registry)?.id;
        let seen = replace::read(&home.state_file(id)).ok()?.unwrap_or_default();
        let seen = Glance::at(&String::from_utf8_lossy(&seen));
        let url = trust.place(registry, &self.context.config);
        let url = url.and_then(|place| Url::parse(&place.url, &self.context.folder).ok());
        Some(match url.as_ref().and_then(Url::is_local) {
            Some(path) => Here::look(seen, path, true),
            None => Here::look(seen, &home.cache_of(id), false),
        })
    }

    /// Finds packages, step by step: first registries and namespaces, then names, then versions.
    fn packages(&self, typed: &str, release: Option<Yanked>) -> Vec<CompletionCandidate> {
        let (before, rest) = match typed.split_once('/') {
            Some((registry, rest)) => (format!("{registry}/"), rest),
            None => (String::new(), typed),
        };
        let named = before.strip_suffix('/').map(str::parse::<RegistryName>);
        let registry = match &named {
            Some(named) => named.clone().ok(),
            None => client::which(&self.context, None, None).ok(),
        };
        let mut found = Vec::new();
        if named.is_none() && !typed.contains([':', '@']) {
            // Who means the default registry need not name it.
            let others = self.trusted().into_iter().filter(|name| !typed.is_empty() || Some(name) != registry.as_ref());
            let names = others.map(|name| format!("{name}/")).filter(|name| name.starts_with(typed));
            found.extend(names.map(shells::part));
        }
        let Some(here) = registry.and_then(|registry| self.here(&registry)) else { return found };
        if let Some((name, version)) = rest.split_once('@') {
            let Ok(package) = name.parse::<PackageName>() else { return found };
            let fits = |yanked: bool| match release {
                Some(Yanked::Only) => yanked,
                Some(Yanked::Never) => !yanked,
                None => true,
            };
            for released in here.versions(&package).into_iter().filter(|released| fits(released.yanked)) {
                let text = released.version.to_string();
                if text.starts_with(version) {
                    let candidate = CompletionCandidate::new(format!("{before}{name}@{text}"));
                    found.push(candidate.help(released.yanked.then(|| "yanked".into())));
                }
            }
            found.truncate(MOST);
            return found;
        }
        let name = |namespace: &str, begin: &str, found: &mut Vec<CompletionCandidate>| {
            let Ok(label) = namespace.parse::<Label>() else { return };
            let names = here.packages(&label, begin);
            for (name, is_whole) in at_most(&names.names, begin.len(), MOST) {
                let text = format!("{before}{namespace}:{name}");
                found.push(match (is_whole && names.whole, release) {
                    // Of names that are not all known, none is the only one.
                    (false, _) => shells::part(text),
                    (true, Some(_)) => shells::part(format!("{text}@")),
                    (true, None) => text.into(),
                });
            }
        };
        if let Some((namespace, begin)) = rest.split_once(':') {
            name(namespace, begin, &mut found);
            return found;
        }
        let namespaces = here.namespaces(rest);
        match (namespaces.names.first(), namespaces.names.len()) {
            // The only one: its names are what is sought.
            (Some(namespace), 1) if found.is_empty() && namespaces.whole => name(namespace, "", &mut found),
            _ => {
                let offered = at_most(&namespaces.names, rest.len(), MOST).into_iter();
                found.extend(offered.map(|(name, is_whole)| {
                    shells::part(if is_whole { format!("{before}{name}:") } else { format!("{before}{name}") })
                }));
            }
        }
        found
    }
}

/// Makes candidates of those that begin with what was typed.
fn begins(typed: &str, all: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    all.into_iter().filter(|one| one.starts_with(typed)).take(MOST).map(CompletionCandidate::new).collect()
}

/// Returns these names, or how they begin where they are more than so many, and of each whether it is a name. All of them begin with
/// the same `typed` bytes. Some of the names alone would look like all of them, and a shell would go on with what those have in common.
fn at_most(names: &BTreeSet<String>, typed: usize, most: usize) -> Vec<(&str, bool)> {
    let longest = names.iter().map(String::len).max().unwrap_or(0);
    let begin =
        |name: &'_ str, length: usize| name.char_indices().map(|(at, _)| at).find(|at| *at >= length).unwrap_or(name.len());
    let mut offered: Vec<(&str, bool)> = Vec::new();
    for length in (typed + 1)..=longest.max(typed + 1) {
        let mut next: Vec<(&str, bool)> =
            names.iter().map(|name| &name[..begin(name, length)]).map(|name| (name, false)).collect();
        next.dedup();
        if next.len() > most && !offered.is_empty() {
            break;
        }
        offered = next;
        offered.truncate(most);
    }
    let mut offered: Vec<(&str, bool)> = offered.into_iter().map(|(name, _)| (name, names.contains(name))).collect();
    // A name with which others begin is no end where only the beginnings are offered.
    let is_cut = offered.len() < names.len();
    for (name, is_whole) in &mut offered {
        *is_whole &= !is_cut
            || names
                .range::<str, _>((Bound::Included(*name), Bound::Unbounded))
                .nth(1)
                .is_none_or(|next| !next.starts_with(&**name));
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn few_names_are_offered_as_they_are() {
        assert_eq!(at_most(&set(&["http", "http2", "io"]), 0, 3), [("http", true), ("http2", true), ("io", true)]);
        assert_eq!(at_most(&set(&[]), 0, 3), []);
        assert_eq!(at_most(&set(&["a"]), 1, 3), [("a", true)]);
    }

    #[test]
    fn of_many_names_is_offered_how_they_begin() {
        let names = set(&["aa", "aab", "ab", "b", "ca", "cb"]);
        assert_eq!(at_most(&names, 0, 3), [("a", false), ("b", true), ("c", false)]);
        assert_eq!(at_most(&names, 0, 5), [("aa", false), ("ab", true), ("b", true), ("ca", true), ("cb", true)]);
        assert_eq!(at_most(&names, 0, 1), [("a", false)], "never more, whatever it costs");
    }
}
