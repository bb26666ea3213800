//! The digest of what a checkpoint changed in the map of a registry.

use super::digest::{ChangesDigest, FileDigest, LogId, RecordDigest};
use super::slot::Slot;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// What a checkpoint says of one place that it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeLine {
    /// A log that now ends in another record.
    Head {
        /// The log.
        log: LogId,
        /// The number of its last record.
        seq: u64,
        /// The digest of its last record.
        head: RecordDigest,
    },
    /// The bytes of a blob.
    Held(FileDigest),
    /// The entry went.
    Gone,
}

/// Computes the digest of what a checkpoint changed: a checkpoint signs it, so that a full audit holds at the strength of
/// SHA-256 where the map's own ids are SHA-1.
///
/// It is the SHA-256 of `quipu-changes 1\n` and one line for each place that changed, sorted by their bytes:
///
/// ```text
/// <slot> <log id> <seq> <head record digest>
/// <slot> <digest of the blob>
/// <slot> gone
/// ```
///
/// with one space between, each line ended by `\n`, digests as they print (`sha256:…`). [`Slot::Skip`] is left out: the checkpoint states
/// that one itself.
pub fn changes_digest(lines: &BTreeMap<Slot, ChangeLine>) -> ChangesDigest {
    let mut hasher = ChangesHasher::default();
    for (slot, line) in lines.iter().filter(|(slot, _)| **slot != Slot::Skip) {
        hasher.add(slot, line);
    }
    hasher.finish()
}

/// Computes [`changes_digest`] line by line, for more lines than one wants to hold.
pub struct ChangesHasher {
    hasher: Sha256,
    text: String,
}

impl Default for ChangesHasher {
    fn default() -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"quipu-changes 1\n");
        ChangesHasher { hasher, text: String::new() }
    }
}

impl ChangesHasher {
    /// Adds a line; they come sorted by the bytes of their slots, each slot once, and [`Slot::Skip`] is not among them.
    pub fn add(&mut self, slot: impl fmt::Display, line: &ChangeLine) {
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = match line {
            ChangeLine::Head { log, seq, head } => writeln!(self.text, "{slot} {log} {seq} {head}"),
            ChangeLine::Held(digest) => writeln!(self.text, "{slot} {digest}"),
            ChangeLine::Gone => writeln!(self.text, "{slot} gone"),
        };
        self.hasher.update(self.text.as_bytes());
    }

    /// Returns the digest.
    pub fn finish(self) -> ChangesDigest {
        ChangesDigest::from_sha256(self.hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Result;
    use super::*;

    #[test]
    fn the_digest_of_changes_is_over_sorted_lines() -> Result<()> {
        let log = LogId::from(RecordDigest::of_bytes(b"first"));
        let head = RecordDigest::of_bytes(b"head");
        let held = FileDigest::of_bytes(b"held");
        let mut lines = BTreeMap::from([
            ("packages/wasi/http".parse()?, ChangeLine::Head { log, seq: 7, head }),
            ("packages/wasi-x/http".parse()?, ChangeLine::Gone),
            (Slot::MirrorHeld("acme.example".parse()?), ChangeLine::Held(held)),
        ]);
        let mut text = [
            format!("packages/wasi/http {log} 7 {head}\n"),
            "packages/wasi-x/http gone\n".to_owned(),
            format!("mirrors/acme.example/held {held}\n"),
        ];
        text.sort();
        let expected = ChangesDigest::of_bytes(format!("quipu-changes 1\n{}", text.concat()).as_bytes());
        assert_eq!(changes_digest(&lines), expected);
        lines.insert(Slot::Skip, ChangeLine::Gone);
        assert_eq!(changes_digest(&lines), expected);
        assert_eq!(changes_digest(&BTreeMap::new()), ChangesDigest::of_bytes(b"quipu-changes 1\n"));
        Ok(())
    }
}
