//! A patch as it is printed: to a program byte for byte, to a person in colour and without anything that a terminal would obey.

use super::answer::for_terminal;
use crate::git::patch::Patch;
use crate::model::error::{Result, fault};
use anstream::ColorChoice;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write};

const PLAIN: &str = "";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const CYAN: &str = "\u{1b}[36m";
const RESET: &str = "\u{1b}[0m";

/// Prints a patch to stdout. A reader that has gone away is no failure; a full disk behind it is.
///
/// # Errors
/// `io`.
pub fn print(patch: &Patch) -> Result<()> {
    let out = io::stdout();
    let is_colored = anstream::AutoStream::choice(&out) != ColorChoice::Never;
    let is_seen = out.is_terminal() || is_colored;
    let mut input = BufReader::new(patch.open()?);
    let mut out = io::BufWriter::new(out.lock());
    let printed = match is_seen {
        true => show(&mut input, &mut out, is_colored),
        false => io::copy(&mut input, &mut out).map(drop),
    };
    match printed.and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(fault!(Io, "the difference could not be printed: {why}")),
        _ => Ok(()),
    }
}

/// Copies a patch line by line for people to see.
fn show(input: &mut impl BufRead, out: &mut impl Write, is_colored: bool) -> io::Result<()> {
    let mut hunk = Hunk::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_ended = line.last() == Some(&b'\n');
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let color = if is_colored { hunk.color(text) } else { PLAIN };
        let end = if color.is_empty() { "" } else { RESET };
        write!(out, "{color}{}{end}", visible(text))?;
        if is_ended {
            out.write_all(b"\n")?;
        }
    }
}

/// Makes bytes safe for a terminal. Tabs stay, and what is no text is shown byte by byte.
fn visible(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\t').enumerate() {
            if at > 0 {
                shown.push('\t');
            }
            shown.push_str(&for_terminal(part));
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{{{byte:02x}}}");
        }
    }
    shown
}

/// How many lines of the files are still to come in the part of a patch that is being read: only there a first character says what a line is.
#[derive(Default)]
struct Hunk {
    old: u64,
    new: u64,
}

impl Hunk {
    fn color(&mut self, line: &[u8]) -> &'static str {
        if (self.old, self.new) == (0, 0) {
            if let Some(counts) = counts(line) {
                (self.old, self.new) = counts;
                return CYAN;
            }
            let is_head = [&b"diff "[..], b"index ", b"--- ", b"+++ ", b"old mode", b"new mode", b"new file", b"deleted file"];
            return if is_head.iter().any(|head| line.starts_with(head)) { BOLD } else { PLAIN };
        }
        match line.first() {
            Some(b'-') => {
                self.old = self.old.saturating_sub(1);
                RED
            }
            Some(b'+') => {
                self.new = self.new.saturating_sub(1);
                GREEN
            }
            // No newline at end of file: a remark.
            Some(b'\\') => PLAIN,
            _ => {
                self.old = self.old.saturating_sub(1);
                self.new = self.new.saturating_sub(1);
                PLAIN
            }
        }
    }
}

/// Reads how many lines follow a line like `@@ -1,4 +1,5 @@`.
fn counts(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line.get(..line.len().min(80))?).unwrap_or_else(|why| {
        // The end of the line is of the file.
        std::str::from_utf8(&line[..why.valid_up_to()]).unwrap_or_default()
    });
    let (old, rest) = text.strip_prefix("@@ -")?.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let count = |range: &str| range.split_once(',').map_or(Some(1), |(_, count)| count.parse().ok());
    Some((count(old)?, count(new)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(patch: &[u8], is_colored: bool) -> String {
        let mut out = Vec::new();
        show(&mut &*patch, &mut out, is_colored).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_in_a_file_moves_the_cursor() {
        let patch = b"@@ -1 +1,2 @@\n-a\x1b[2J\tb\n+\xe9\r\n+x\xe2\x80\xaey";
        assert_eq!(shown(patch, false), "@@ -1 +1,2 @@\n-a\\u{1b}[2J\tb\n+\\x{e9}\\u{d}\n+x\\u{202e}y");
    }

    #[test]
    fn colors_tell_lines_of_a_file_from_those_around_them() {
        let patch = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@ fn\n---- a/y\n same\n++++ b/y\n\\ No newline\nrest\n";
        let expected = "B{diff --git a/x b/x}\nB{--- a/x}\nB{+++ b/x}\nC{@@ -1,2 +1,2 @@ fn}\nR{---- a/y}\n same\nG{++++ b/y}\n\\ No newline\nrest\n";
        let named = [(BOLD, "B{"), (CYAN, "C{"), (RED, "R{"), (GREEN, "G{"), (RESET, "}")];
        let found = named.iter().fold(shown(patch, true), |text, (code, name)| text.replace(code, name));
        assert_eq!(found, expected);
        assert!(!shown(patch, false).contains('\u{1b}'));
    }
}
