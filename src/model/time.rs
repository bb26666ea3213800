//! Points in time, which never order records.

use super::error::{Error, Result, fault};
use std::fmt;
use std::str::FromStr;

/// A point in time in whole seconds since 1970-01-01 UTC, up to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last second of the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_300_799);

    /// Takes a number of seconds since 1970.
    ///
    /// # Errors
    /// `limit` beyond the year 9999.
    pub fn from_unix(seconds: u64) -> Result<Self> {
        if seconds > Self::MAX.0 {
            return Err(fault!(Limit, "{seconds} seconds are beyond the year 9999"));
        }
        Ok(Timestamp(seconds))
    }

    /// Returns the seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }

    /// Returns the time so many seconds later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Timestamp(self.0.saturating_add(seconds).min(Self::MAX.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "@{}", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads decimal seconds without sign or leading zero, as they stand in a commit.
    fn from_str(text: &str) -> Result<Self> {
        let canonical = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let seconds = text.parse::<u64>().ok().filter(|_| canonical);
        seconds
            .and_then(|seconds| Timestamp::from_unix(seconds).ok())
            .ok_or_else(|| fault!(NotCanonical, "{text:?} is not a time in seconds since 1970"))
    }
}
