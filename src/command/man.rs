//! `quipu man`: manual pages, made of what `--help` says and of what holds for every command.

use super::answer::{Answer, count};
use super::context::Flags;
use crate::disk::replace::{self, Access};
use crate::model::error::{Result, fault};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use std::io::Write as _;
use std::path::PathBuf;

/// Print a manual page, or write all of them into a folder
///
/// To read one:    quipu man install | man -l -
///
/// To keep them:   quipu man --dir ~/.local/share/man/man1
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The command whose page is wanted, as in `quipu man registry accept` [default: quipu itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What exit statuses mean, as docs/errors.md says it too.
pub const EXITS: &[(u8, &str)] = &[
    (0, "done"),
    (1, "the answer is no: a difference, something outdated"),
    (2, "the command line, a name or a file of yours does not make sense"),
    (3, "not found"),
    (4, "verification failed"),
    (5, "not trusted"),
    (6, "the lock file does not match"),
    (7, "network, git or disk"),
    (8, "refused: a privilege, a policy, a conflict, a limit"),
    (70, "a bug in quipu"),
];

/// Variables that quipu reads.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("QUIPU_HOME", "one folder for settings, keys, state and cache, by an absolute path, in place of those under FILES"),
    ("QUIPU_REGISTRY", "the registry meant where a name has none, like --registry"),
    ("QUIPU_KEY", "the key to sign with, like --key"),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME", "where settings, state and cache are, without QUIPU_HOME"),
    ("TMPDIR", "where what was fetched waits until it is verified"),
    ("NO_COLOR, CLICOLOR_FORCE", "no colour, and colour in a pipe too; --color decides before them"),
    ("HTTPS_PROXY, SSH_AUTH_SOCK, GIT_SSH_COMMAND", "as git and ssh read them"),
];

/// Files that quipu reads and writes.
const FILES: &[(&str, &str)] = &[
    ("quipu.toml", "what a folder is as a package, and which packages it needs"),
    ("quipu.lock", "which releases were chosen for it; it belongs into version control"),
    ("quipu_packages/", "the releases that quipu install brought"),
    ("~/.config/quipu/config.toml", "the default key and registry, and where each registry is; to be edited"),
    ("~/.config/quipu/trust.toml", "which registry each name means; written by quipu trust"),
    ("~/.config/quipu/keys/", "keys that quipu key new made"),
    ("~/.local/state/quipu/", "what was seen of each registry, so that one that goes back is found out; not to be deleted"),
    ("~/.cache/quipu/", "verified objects; may be deleted, best by quipu cache prune"),
];

/// Runs `quipu man`, with the command that quipu is. No home is read for it.
///
/// # Errors
/// `usage` where there is no such command, `io`.
pub fn run(flags: &Flags, args: &Args, mut quipu: Command) -> Result<Answer> {
    quipu.build();
    let mut answer = Answer::new();
    let Some(folder) = &args.dir else {
        let (mut command, mut above) = (&quipu, Vec::new());
        for word in &args.command {
            above.push(name(command));
            command = command.find_subcommand(word).ok_or_else(|| {
                let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
                let error = fault!(Usage, "{} has no command {word:?}", command.get_bin_name().unwrap_or("quipu"));
                if names.is_empty() { error } else { error.hint(format!("it has {}", names.join(", "))) }
            })?;
        }
        answer.text = page(command, &above)?;
        answer.field("page", name(command));
        answer.field("roff", answer.text.clone());
        return Ok(answer);
    };
    let mut waiting = vec![(&quipu, Vec::new())];
    let mut files = Vec::new();
    while let Some((command, above)) = waiting.pop() {
        files.push((folder.join(format!("{}.1", name(command))), page(command, &above)?));
        let above = [above, vec![name(command)]].concat();
        waiting.extend(below(command).map(|command| (command, above.clone())));
    }
    files.sort();
    if !flags.dry_run {
        for (path, text) in &files {
            replace::replace(path, text.as_bytes(), Access::Shared)?;
        }
    }
    let wrote = if flags.dry_run { "would write" } else { "wrote" };
    answer.line(format!("{wrote} {} to {}", count(files.len() as u64, "page"), folder.display()));
    answer.field("folder", folder.display().to_string());
    answer.field("pages", files.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>());
    Ok(answer)
}

/// Returns the name of a command's page: `quipu-registry-accept`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn below(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

/// Writes the page of a command that stands below these others.
fn page(command: &Command, above: &[String]) -> Result<String> {
    let name = name(command);
    let mut shown = command.clone();
    let usage = shown.render_usage().to_string();
    let shown = shown.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let man = Man::new(shown);
    // A page has no date: the same quipu writes the same page.
    let mut out = format!(".TH {} 1 \"\" \"quipu {}\" quipu\n", name.to_uppercase(), env!("CARGO_PKG_VERSION")).into_bytes();
    let written = man
        .render_name_section(&mut out)
        .and_then(|()| man.render_synopsis_section(&mut out))
        .and_then(|()| man.render_description_section(&mut out))
        .and_then(|()| man.render_options_section(&mut out))
        .and_then(|()| if command.has_subcommands() { man.render_subcommands_section(&mut out) } else { Ok(()) })
        .and_then(|()| out.write_all(ending(command, above).to_roff().as_bytes()));
    written.map_err(|why| fault!(Bug, "the page {name}: {why}"))?;
    // Breaks around an empty line are one space, and those who check pages mind them.
    Ok(String::from_utf8_lossy(&out).replace("\n.br\n\n.br\n", "\n.sp\n"))
}

/// Writes what stands at the end of every page.
fn ending(command: &Command, above: &[String]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXITS {
        roff.control("TP", ["4"]).text([bold(status.to_string())]).text([roman(*meaning)]);
    }
    roff.control("PP", []);
    roff.text([roman("With --json an error has a code as well, which says more; docs/errors.md lists them.")]);
    for (heading, rows) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        roff.control("SH", [heading]);
        for (name, meaning) in rows {
            let name = if heading == "FILES" { italic(*name) } else { bold(*name) };
            roff.control("TP", []).text([name]).text([roman(*meaning)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = ["git", "ssh-keygen"].map(str::to_owned);
    let all: Vec<String> = above.iter().cloned().chain(below(command).map(name)).chain(others).collect();
    for (number, other) in all.iter().enumerate() {
        roff.text([bold(other.as_str()), roman(if number + 1 < all.len() { "(1)," } else { "(1)" })]);
    }
    roff
}
