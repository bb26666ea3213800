//! The shells in which quipu completes what is typed: what each of them is to run, how it asks, and how it is answered.
//!
//! A shell asks by running quipu with its name in `QUIPU_COMPLETE`. The answer has a line for each candidate, and the line `files` where the
//! shell is to offer the names of files, which it does better itself.

use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::env::EnvCompleter;
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{Result, Write};
use std::path::Path;

/// The variable by which a shell asks.
pub const ASKED: &str = "QUIPU_COMPLETE";

/// What the ids of candidates begin with after which no space is to follow, since more has to.
const PART: &str = "part ";
/// The id of the candidate in whose place the shell offers files.
const FILES: &str = "files";

/// Makes a candidate after which more has to follow.
pub fn part(value: impl Into<String>) -> CompletionCandidate {
    let value = value.into();
    CompletionCandidate::new(value.clone()).id(Some(format!("{PART}{value}")))
}

/// Makes the candidate that stands for files.
pub fn files() -> CompletionCandidate {
    CompletionCandidate::new("").id(Some(FILES.to_owned()))
}

fn is_part(candidate: &CompletionCandidate) -> bool {
    candidate.get_id().is_some_and(|id| id.starts_with(PART))
}

/// Puts into a command what is known of the values of its arguments, for a line of these words.
pub type Prepare = fn(clap::Command, &[OsString]) -> clap::Command;

/// Finds what may stand where the last of these words begins.
fn candidates(
    prepare: Prepare,
    command: &clap::Command,
    words: Vec<OsString>,
    folder: Option<&Path>,
) -> Result<Vec<CompletionCandidate>> {
    let is_empty = words.last().is_none_or(|word| word.is_empty());
    let last = words.len().saturating_sub(1);
    let mut command = prepare(command.clone(), &words);
    let mut found = complete(&mut command, words, last, folder)?;
    // Who typed nothing yet asks what may stand here; flags always may.
    let is_flag = |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    if is_empty && !found.iter().all(is_flag) {
        found.retain(|candidate| !is_flag(candidate));
    }
    Ok(found)
}

/// Writes the lines of an answer.
fn answer(
    found: Vec<CompletionCandidate>,
    out: &mut dyn Write,
    line: impl Fn(&CompletionCandidate) -> Option<String>,
) -> Result<()> {
    let (files, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| one.get_id().is_some_and(|id| id == FILES));
    for line in found.iter().filter_map(line) {
        writeln!(out, "{line}")?;
    }
    if files.is_empty() { Ok(()) } else { writeln!(out, "{FILES}") }
}

fn text(candidate: &CompletionCandidate) -> Cow<'_, str> {
    candidate.get_value().to_string_lossy()
}

/// Returns the first line of what is said of a candidate.
fn help(candidate: &CompletionCandidate) -> Option<String> {
    let help = candidate.get_help()?.to_string();
    help.lines().next().map(str::to_owned)
}

/// Writes what a shell is to run, with the program that it is to ask.
fn register(script: &str, completer: &str, out: &mut dyn Write) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let quoted = match completer.chars().all(is_plain) {
        true => completer.to_owned(),
        false => format!("'{}'", completer.replace('\'', "'\\''")),
    };
    out.write_all(script.replace("COMPLETER", &quoted).as_bytes())
}

/// bash.
pub struct Bash(pub Prepare);

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(&self, _: &str, _: &str, _: &str, completer: &str, out: &mut dyn Write) -> Result<()> {
        register(include_str!("../../shell/quipu.bash"), completer, out)
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        let (line, breaks) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
        let typed = Typed::parse(&line, &breaks);
        let found = candidates(self.0, command, typed.words.iter().map(OsString::from).collect(), folder)?;
        answer(found, out, |candidate| {
            // A quote that is open is closed by bash.
            let space = if is_part(candidate) || typed.is_open { "" } else { " " };
            Some(format!("{}{space}", text(candidate).get(typed.kept..)?))
        })
    }
}

/// What was typed into bash, up to the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    /// The words without their quotes; the last one is being typed, and may be empty.
    words: Vec<String>,
    /// So many bytes of the last one stay as they are: bash replaces only what comes after the last character that breaks words for it.
    kept: usize,
    /// Whether a quote is open.
    is_open: bool,
}

impl Typed {
    fn parse(line: &str, breaks: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut word: Option<String> = None;
        let (mut kept, mut quote) = (0, None);
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some('\''), _) => word.get_or_insert_default().push(c),
                (_, '\\') => word.get_or_insert_default().extend(chars.next()),
                (Some(_), _) => word.get_or_insert_default().push(c),
                (None, '\'' | '"') => {
                    kept = word.get_or_insert_default().len();
                    quote = Some(c);
                }
                (None, _) if c.is_ascii_whitespace() => {
                    words.extend(word.take());
                    kept = 0;
                }
                (None, _) => {
                    let word = word.get_or_insert_default();
                    let before = word.len();
                    word.push(c);
                    if breaks.contains(c) {
                        // These two say what kind of thing follows, and belong to it.
                        kept = if "$@".contains(c) { before } else { word.len() };
                    }
                }
            }
        }
        words.push(word.unwrap_or_default());
        Typed { words, kept, is_open: quote.is_some() }
    }
}

/// zsh.
pub struct Zsh(pub Prepare);

impl EnvCompleter for Zsh {
    fn name(&self) -> &'static str {
        "zsh"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(&self, _: &str, _: &str, _: &str, completer: &str, out: &mut dyn Write) -> Result<()> {
        register(include_str!("../../shell/quipu.zsh"), completer, out)
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<()> {
        answer(candidates(self.0, command, args, folder)?, out, |candidate| {
            // A colon would end the value and begin what is said of it.
            let escaped = text(candidate).replace('\\', "\\\\").replace(':', "\\:");
            let said = help(candidate).map(|help| format!(":{}", help.replace('\\', "\\\\"))).unwrap_or_default();
            Some(format!("{} {escaped}{said}", if is_part(candidate) { "part" } else { "whole" }))
        })
    }
}

/// fish.
pub struct Fish(pub Prepare);

impl EnvCompleter for Fish {
    fn name(&self) -> &'static str {
        "fish"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(&self, _: &str, _: &str, _: &str, completer: &str, out: &mut dyn Write) -> Result<()> {
        register(include_str!("../../shell/quipu.fish"), completer, out)
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<()> {
        // Whether a space follows, fish decides by the last character.
        answer(candidates(self.0, command, args, folder)?, out, |candidate| {
            let said = help(candidate).map(|help| format!("\t{help}")).unwrap_or_default();
            Some(format!("{}{said}", text(candidate)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What breaks words in bash, if nobody changes it.
    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    fn typed(line: &str) -> (Vec<String>, usize, bool) {
        let Typed { words, kept, is_open } = Typed::parse(line, BREAKS);
        (words, kept, is_open)
    }

    #[test]
    fn a_line_is_taken_apart_as_bash_does_but_for_its_breaks() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(typed("quipu get "), (words(&["quipu", "get", ""]), 0, false));
        assert_eq!(typed("quipu get wasi:ht"), (words(&["quipu", "get", "wasi:ht"]), 5, false));
        assert_eq!(
            typed("quipu get acme.example/wasi:http@0."),
            (words(&["quipu", "get", "acme.example/wasi:http@0."]), 22, false)
        );
        assert_eq!(typed("quipu --registry=ac"), (words(&["quipu", "--registry=ac"]), 11, false));
        assert_eq!(typed("quipu get 'wasi:ht"), (words(&["quipu", "get", "wasi:ht"]), 0, true));
        assert_eq!(typed("quipu get \"wasi:ht"), (words(&["quipu", "get", "wasi:ht"]), 0, true));
        assert_eq!(typed("quipu get wasi\\:ht"), (words(&["quipu", "get", "wasi:ht"]), 0, false));
        assert_eq!(typed("quipu new 'a b' --name "), (words(&["quipu", "new", "a b", "--name", ""]), 0, false));
        assert_eq!(typed(""), (words(&[""]), 0, false));
        assert_eq!(typed("\\"), (words(&[""]), 0, false));
        // Somebody took the colon out.
        assert_eq!(Typed::parse("quipu get wasi:ht", " \t").kept, 0);
    }

    #[test]
    fn a_program_with_an_odd_path_is_quoted() {
        let script = |completer: &str| {
            let mut out = Vec::new();
            register("x COMPLETER --", completer, &mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
        };
        assert_eq!(script("/usr/bin/quipu").ok().as_deref(), Some("x /usr/bin/quipu --"));
        assert_eq!(script("/a b/it's").ok().as_deref(), Some("x '/a b/it'\\''s' --"));
    }
}
