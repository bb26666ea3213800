//! What git says to the hooks of a repository that is pushed to, and what they answer.
//!
//! `pre-receive` and `post-receive` are told of each reference in a line; `pre-receive` runs while what was pushed lies in git's own
//! quarantine, and answers with its exit status for all of them. `proc-receive` runs when the objects are in, takes the place of git's own
//! update of the references that `receive.procReceiveRefs` names, and answers for each of them.

use super::pktline::{self, PACKET_MAX, Packet};
use crate::model::digest::GitId;
use crate::model::error::{Error, Result, fault};
use std::io::{BufRead, Read, Write};

/// The longest line that is read.
const LINE_MAX: usize = 4096;

/// What a push wants of one reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it was; `None` where it is new.
    pub old: Option<GitId>,
    /// What it is to be; `None` where it is to go.
    pub new: Option<GitId>,
    /// The reference, as the pusher wrote it.
    pub name: String,
}

impl Wanted {
    fn parse(line: &[u8]) -> Result<Self> {
        let wrong = || {
            fault!(Git, "git gave the hook a line that is none: {}", super::program::in_one_line(&String::from_utf8_lossy(line)))
        };
        let text = std::str::from_utf8(line).map_err(|_| wrong())?;
        let mut words = text.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else { return Err(wrong()) };
        let id = |word: &str| match word.bytes().all(|b| b == b'0') {
            true if !word.is_empty() => Ok(None),
            _ => word.parse::<GitId>().map(Some).map_err(|_| wrong()),
        };
        Ok(Wanted { old: id(old)?, new: id(new)?, name: name.to_owned() })
    }
}

/// Reads what `pre-receive` and `post-receive` are told; at most `most` references.
///
/// # Errors
/// `limit` where there are more, `git` where these are not the lines that git writes, `io`.
pub fn read_wanted(input: impl BufRead, most: usize) -> Result<Vec<Wanted>> {
    let mut input = input;
    let mut wanted = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line).map_err(|why| fault!(Io, "stdin: {why}"))?;
        if read == 0 {
            return Ok(wanted);
        }
        if wanted.len() == most {
            return Err(too_many(most));
        }
        let line =
            line.strip_suffix(b"\n").ok_or_else(|| fault!(Limit, "git gave the hook a line of more than {LINE_MAX} bytes"))?;
        wanted.push(Wanted::parse(line)?);
    }
}

fn too_many(most: usize) -> Error {
    fault!(Limit, "more than {most} references are pushed at once").hint("push fewer of them at a time").asked()
}

/// The conversation of `proc-receive` with git.
pub struct Conversation<W> {
    output: W,
}

impl<W: Write> Conversation<W> {
    /// Greets git and reads what is wanted; at most `most` references.
    ///
    /// # Errors
    /// `git` where it speaks another version, `limit`, `io`.
    pub fn begin(input: &mut impl Read, output: W, most: usize) -> Result<(Self, Vec<Wanted>)> {
        let mut conversation = Conversation { output };
        let mut greeting = None;
        while let Some(line) = packet(input)? {
            greeting.get_or_insert(line);
        }
        let greeting = greeting.unwrap_or_default();
        let version = greeting.split(|b| *b == 0 || *b == b'\n').next().unwrap_or_default();
        if version != b"version=1" {
            let version = super::program::in_one_line(&String::from_utf8_lossy(version));
            return Err(fault!(Git, "git speaks {version:?} to proc-receive, expected version=1"));
        }
        conversation.send("version=1\n")?;
        conversation.flush()?;
        let mut wanted = Vec::new();
        while let Some(line) = packet(input)? {
            if wanted.len() == most {
                return Err(too_many(most));
            }
            wanted.push(Wanted::parse(line.strip_suffix(b"\n").unwrap_or(&line))?);
        }
        Ok((conversation, wanted))
    }

    /// Answers for one reference: that it is as it is to be, or why not.
    ///
    /// # Errors
    /// `io` where git has gone away.
    pub fn answer(&mut self, name: &str, verdict: Result<(), &str>) -> Result<()> {
        match verdict {
            Ok(()) => self.send(&format!("ok {name}\n")),
            Err(reason) => self.send(&format!("ng {name} {}\n", super::program::in_one_line(reason))),
        }
    }

    /// Ends the conversation.
    ///
    /// # Errors
    /// `io` where git has gone away.
    pub fn end(mut self) -> Result<()> {
        self.flush()
    }

    fn send(&mut self, line: &str) -> Result<()> {
        if line.len() + 4 > PACKET_MAX {
            return Err(fault!(Bug, "an answer to git has {} bytes", line.len() + 4));
        }
        let mut packet = Vec::new();
        pktline::write(&mut packet, line);
        self.output.write_all(&packet).map_err(|why| gone(&why))
    }

    fn flush(&mut self) -> Result<()> {
        self.output.write_all(b"0000").and_then(|()| self.output.flush()).map_err(|why| gone(&why))
    }
}

fn gone(why: &std::io::Error) -> Error {
    fault!(Io, "git cannot be answered: {why}")
}

/// Reads one pkt-line; `None` where a group of them ends.
fn packet(input: &mut impl Read) -> Result<Option<Vec<u8>>> {
    match pktline::read(input) {
        Ok(Packet::Line(line)) => Ok(Some(line)),
        Ok(Packet::Flush) => Ok(None),
        Ok(_) => Err(fault!(Git, "git says to proc-receive what is no pkt-line of text")),
        Err(why) if why.kind() == std::io::ErrorKind::InvalidData => {
            Err(fault!(Git, "git says to proc-receive what is no pkt-line"))
        }
        Err(why) => Err(fault!(Git, "git ended in the middle of what it says to proc-receive: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorCode;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn line(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    #[test]
    fn lines_say_what_is_wanted() -> Result<()> {
        let text = format!("{ZERO} {ONE} refs/incoming/a/b/c\n{ONE} {ZERO} refs/heads/with space\n");
        let wanted = read_wanted(text.as_bytes(), 2)?;
        let one = ONE.parse::<GitId>()?;
        assert_eq!(wanted[0], Wanted { old: None, new: Some(one), name: "refs/incoming/a/b/c".to_owned() });
        assert_eq!(wanted[1], Wanted { old: Some(one), new: None, name: "refs/heads/with space".to_owned() });
        assert_eq!(read_wanted(text.as_bytes(), 1).unwrap_err().code(), ErrorCode::Limit);
        assert_eq!(read_wanted(&b""[..], 0)?, Vec::new());
        for wrong in ["x\n", "a b c\n", &format!("{ZERO} {ONE}\n"), &format!("{ZERO}  {ONE} refs/x\n")] {
            assert_eq!(read_wanted(wrong.as_bytes(), 9).unwrap_err().code(), ErrorCode::Git, "{wrong}");
        }
        let endless = "x".repeat(LINE_MAX + 1);
        assert_eq!(read_wanted(endless.as_bytes(), 9).unwrap_err().code(), ErrorCode::Limit);
        Ok(())
    }

    #[test]
    fn the_conversation_is_the_one_that_git_has() -> Result<()> {
        let greeting = line("version=1\0push-options atomic\n");
        let asked = line(&format!("{ZERO} {ONE} refs/incoming/a/b/{ONE}"));
        let said = format!("{greeting}0000{asked}{asked}0000");
        let mut output = Vec::new();
        let (mut conversation, wanted) = Conversation::begin(&mut said.as_bytes(), &mut output, 2)?;
        assert_eq!((wanted.len(), wanted[0].new), (2, Some(ONE.parse()?)));
        conversation.answer("refs/a", Ok(()))?;
        conversation.answer("refs/b", Err("two\nlines \u{1b}[31m"))?;
        conversation.end()?;
        let expected = [
            line("version=1\n"),
            "0000".to_owned(),
            line("ok refs/a\n"),
            line("ng refs/b two; lines \\u{1b}[31m\n"),
            "0000".to_owned(),
        ]
        .concat();
        assert_eq!(String::from_utf8_lossy(&output), expected);

        let begin = |said: &str| Conversation::begin(&mut said.as_bytes(), Vec::new(), 1).map(drop).unwrap_err().code();
        assert_eq!(begin(&said), ErrorCode::Limit);
        assert_eq!(begin(&format!("{}0000", line("version=2\0\n"))), ErrorCode::Git);
        assert_eq!(begin("0000"), ErrorCode::Git);
        assert_eq!(begin("0003"), ErrorCode::Git);
        assert_eq!(begin("zzzz"), ErrorCode::Git);
        assert_eq!(begin(&greeting[..10]), ErrorCode::Git);
        Ok(())
    }
}
