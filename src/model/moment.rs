//! A moment of a registry: one of its checkpoints, by its number or its digest.

use super::digest::RecordDigest;
use super::error::{Error, Result, fault};
use std::fmt;
use std::str::FromStr;

/// A checkpoint, as it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The one with this number.
    Seq(u64),
    /// The one with this digest, wherever it stands.
    Digest(RecordDigest),
    /// The one with this number, which must have this digest.
    Both(u64, RecordDigest),
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let seq = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit())).map(Moment::Seq);
        seq.or_else(|| text.parse().ok().map(Moment::Digest))
            .ok_or_else(|| fault!(Usage, "{text:?} is no checkpoint, expected its number or its digest (sha256:…)"))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Seq(seq) => write!(f, "{seq}"),
            Moment::Digest(digest) => write!(f, "{digest}"),
            Moment::Both(seq, digest) => write!(f, "{seq} {digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_number_or_a_digest() -> Result<()> {
        let digest = RecordDigest::of_bytes(b"x");
        assert_eq!("12".parse::<Moment>()?, Moment::Seq(12));
        assert_eq!(digest.to_string().parse::<Moment>()?, Moment::Digest(digest));
        for bad in ["", "-1", "+1", "1.0", "last", "sha256:12", "99999999999999999999999"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
        Ok(())
    }
}
