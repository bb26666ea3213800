//! Why a proposal was refused: what its registry keeps for whoever proposed it, until there are too many of them.
//!
//! It is canonical text in a blob, unsigned: nobody's word depends on it. One that was refused because another was first:
//!
//! ```text
//! format = 1
//! time = 1750000000
//! code = "conflict"
//! message = "bob was first at seq 4 of acme.example/wasi:http: release 0.2.2"
//! hints = ["fetch what is published and propose again"]
//! ```

use super::canonical::{Reader, Writer};
use super::error::{Error, ErrorCode, Result, fault};
use super::time::Timestamp;

/// The format that this program reads and writes.
const FORMAT: u64 = 1;
/// The longest refusal in bytes.
pub const REFUSAL_MAX: u64 = 16 * 1024;
/// The longest message and the longest hint that are kept, in bytes.
const TEXT_MAX: usize = 2000;
/// So many hints are kept.
const HINTS_MAX: usize = 3;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When, by the acceptor's clock.
    pub time: Timestamp,
    /// Why.
    pub why: Error,
}

impl Refusal {
    /// Writes a refusal; what is too long of it is cut.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut w = Writer::new(&mut text);
        w.integer("format", FORMAT);
        w.integer("time", self.time.unix());
        w.string("code", self.why.code().as_str());
        w.string("message", cut(self.why.message()));
        w.strings("hints", self.why.hints().iter().take(HINTS_MAX).map(|hint| cut(hint)));
        text
    }

    /// Reads a refusal. A code that this program does not know is `refused`.
    ///
    /// # Errors
    /// `unsupported-format` where it is of a newer format, `not-canonical`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| fault!(NotCanonical, "the refusal is not UTF-8"))?;
        let mut r = Reader::new(text);
        let format = r.integer("format")?;
        if format != FORMAT {
            return Err(fault!(UnsupportedFormat, "the refusal has format {format}, this program reads format {FORMAT}"));
        }
        let time = Timestamp::from_unix(r.integer("time")?)?;
        let code = r.borrowed("code")?;
        let message = r.string("message")?;
        let hints = r.strings("hints")?;
        r.end()?;
        let code = code.parse().unwrap_or(ErrorCode::Refused);
        let why = hints.into_iter().fold(Error::new(code, message), Error::hint).asked();
        let refusal = Refusal { time, why };
        Ok(refusal)
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: &str) -> Refusal {
        let why = fault!(Conflict, "{message}").hint("fetch \"it\"\nagain").asked();
        Refusal { time: Timestamp::from_unix(1_750_000_000).unwrap(), why }
    }

    #[test]
    fn a_refusal_reads_as_it_was_written() -> Result<()> {
        let written = refusal("bob was first: \u{1b}[31m");
        assert_eq!(Refusal::parse(written.to_text().as_bytes())?, written);
        assert_eq!(written.why.exit(), 8);
        Ok(())
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_unknown_is_a_refusal() -> Result<()> {
        let long = refusal(&"ü\u{1b}".repeat(5000));
        let text = long.to_text();
        assert!(text.len() as u64 <= REFUSAL_MAX, "{}", text.len());
        assert!(long.why.message().starts_with(Refusal::parse(text.as_bytes())?.why.message()));
        let unknown = refusal("why").to_text().replace("conflict", "from-the-future");
        assert_eq!(Refusal::parse(unknown.as_bytes())?.why.code(), ErrorCode::Refused);
        let newer = refusal("why").to_text().replace("format = 1", "format = 2");
        assert_eq!(Refusal::parse(newer.as_bytes()).unwrap_err().code(), ErrorCode::UnsupportedFormat);
        for wrong in ["", "format = 1\n", "\u{ff}"] {
            assert_eq!(Refusal::parse(wrong.as_bytes()).unwrap_err().code(), ErrorCode::NotCanonical, "{wrong:?}");
        }
        Ok(())
    }
}
