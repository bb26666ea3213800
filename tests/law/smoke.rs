//! What `fuzz/` does for hours, for a second: samples damaged by chance, with a fixed seed so that a failure repeats.

use crate::cast::*;
use crate::golden::world;
use crate::invariants;
use quipu::model::digest::ObjectKind;

/// A small sequence of numbers in place of chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Changes, cuts, doubles or exchanges some of the bytes, with pieces of another sample among them.
fn damaged(sample: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len());
        let end = at + chance.below(40.min(bytes.len() - at + 1));
        match chance.below(6) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = b"\n\r\t \"\\[]=0#~/.:\x00\xff"[chance.below(17)],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let from = chance.below(other.len());
                let piece = &other[from..from + chance.below(60.min(other.len() - from + 1))];
                bytes.splice(at..end, piece.iter().copied());
            }
            _ => bytes.truncate(at),
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    bytes
}

fn smoke(samples: &[Vec<u8>], rounds: usize, check: fn(&[u8]) -> bool) -> usize {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for sample in samples {
        assert!(check(sample), "{}", String::from_utf8_lossy(sample));
    }
    let mut read = 0;
    for _ in 0..rounds {
        let (one, other) = (chance.below(samples.len()), chance.below(samples.len()));
        read += usize::from(check(&damaged(&samples[one], &samples[other], &mut chance)));
    }
    read
}

#[test]
fn damaged_records_are_read_in_their_one_form_or_not_at_all() {
    let worlds = FORMATS.map(world);
    let records: Vec<Vec<u8>> = worlds.iter().flat_map(|w| &w.samples).map(|sample| sample.record.bytes().to_vec()).collect();
    // Some are other records: a digit of a digest was exchanged, say.
    assert!(smoke(&records, 20_000, invariants::commits) > 0);
    for (path, bytes) in worlds.iter().flat_map(|w| &w.commits) {
        assert!(!invariants::commits(bytes), "{path} is no record");
    }
}

#[test]
fn damaged_signatures_are_read_in_their_one_form_or_not_at_all() {
    let signature = |who: &Person| quipu::model::sshsig::Signer::sign(&who.key, b"message").unwrap();
    let samples: Vec<Vec<u8>> = [alice(), bob(), mallory()]
        .iter()
        .flat_map(|who| [signature(who).to_armour().into_bytes(), signature(who).to_header().into_bytes()])
        .collect();
    smoke(&samples, 50_000, invariants::armours);
}

#[test]
fn damaged_paths_and_trees_are_read_in_their_one_form_or_not_at_all() {
    let mut samples: Vec<Vec<u8>> = ["README.md", "a/b/c.txt", "src/lib.rs", ".gitignore", "é/日本/x-1"]
        .iter()
        .map(|path| path.as_bytes().to_vec())
        .collect();
    assert!(smoke(&samples, 50_000, invariants::contents) > 100);
    samples = world(SHA1)
        .objects
        .iter()
        .filter(|(_, kind, bytes)| *kind == ObjectKind::Tree && !bytes.is_empty())
        .map(|(_, _, bytes)| bytes.to_vec())
        .collect();
    assert!(smoke(&samples, 50_000, invariants::contents) > 100);
}

#[test]
fn damaged_private_keys_are_read_as_keys_that_sign_or_not_at_all() {
    let samples = [
        include_bytes!("../fixtures/keys/alice").to_vec(),
        include_bytes!("../fixtures/keys/bob").to_vec(),
        include_bytes!("../fixtures/keys/mallory").to_vec(),
    ];
    smoke(&samples, 20_000, invariants::private_keys);
}
