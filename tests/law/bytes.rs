//! Every byte of every sample, changed, left out and doubled, and signed again by the same key: what comes out is refused, or it is another
//! record in its one form. So there is no second spelling of anything.

use crate::cast::*;
use crate::golden::world;
use quipu::model::digest::ObjectFormat;
use quipu::model::record::{Record, SignedRecord};
use quipu::model::sshsig::Signer as _;

fn signer(record: &SignedRecord) -> Person {
    [alice(), bob(), mallory()].into_iter().find(|person| person.key.public_key() == record.key()).unwrap()
}

/// Reads an edited payload under a new signature and says whether it is a record.
fn judge(format: ObjectFormat, original: &SignedRecord, who: &Person, edited: &[u8], place: &str) -> bool {
    // The signature counts only for what has the form of a record, so it is made only then.
    let Some(end) = edited.windows(2).position(|pair| pair == b"\n\n") else { return false };
    if end == 0 {
        return false;
    }
    let bytes = with_signature(format, edited, &who.key.sign(b"").unwrap());
    if Record::parse(format, bytes).is_err() {
        return false;
    }
    let Ok(record) = read(format, &signed(format, edited, &who.key)) else { return false };
    assert_ne!(record.draft(), original.draft(), "{place}: two spellings of one record");
    assert_eq!(record.draft().payload(&record.key().fingerprint()).as_bytes(), edited, "{place}: not in its one form");
    true
}

/// Edits every byte of a record in every way, and returns how many other records came out.
fn edit_all(format: ObjectFormat, path: &str, record: &SignedRecord) -> usize {
    let who = signer(record);
    let text = payload(record).into_bytes();
    let mut others = 0;
    for at in 0..text.len() {
        let (before, byte, after) = (&text[..at], text[at], &text[at + 1..]);
        let mut edits: Vec<Vec<u8>> = vec![vec![byte ^ 1]];
        // One object format in full; of the other, what differs is the ids.
        if format == SHA1 {
            edits.extend([
                vec![byte ^ 0x20],
                vec![0],
                vec![b'\n'],
                vec![],
                vec![byte, byte],
                vec![b'\n', byte],
                vec![b' ', byte],
            ]);
        }
        for edit in edits.iter().filter(|edit| **edit != [byte]) {
            let edited = [before, edit, after].concat();
            others += usize::from(judge(format, record, &who, &edited, &format!("{path} at {at}")));
        }
    }
    others
}

#[test]
fn no_byte_of_any_record_can_be_changed_without_changing_what_it_says() {
    let worlds = FORMATS.map(world);
    // All checkpoints are of one form but the first.
    let samples: Vec<_> = worlds.iter().flat_map(|w| &w.samples).filter(|s| s.log != "log" || s.record.seq() % 6 < 2).collect();
    let half = |odd: usize| {
        let mine = samples.iter().skip(odd).step_by(2);
        mine.map(|sample| edit_all(sample.record.draft().format, &sample.path(), &sample.record)).sum::<usize>()
    };
    let others = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        half(0) + other.join().unwrap()
    });
    // Digests, numbers and words can say something else: the test would not notice if all were refused for one reason.
    assert!(others > 1000, "{others}");
}

#[test]
fn no_byte_of_any_signature_can_be_changed() {
    for format in FORMATS {
        let mut kinds = std::collections::BTreeSet::new();
        for sample in world(format).samples {
            let record = &sample.record;
            // The signature has the same form whatever it is over: one of each kind will do.
            if !kinds.insert((sample.log, record.entry().kind())) {
                continue;
            }
            let start = record.bytes().windows(7).position(|window| window == b"\ngpgsig").unwrap();
            let end = start + record.bytes()[start..].windows(2).position(|pair| pair == b"\n\n").unwrap();
            for at in start..end {
                for changed in [record.bytes()[at] ^ 1, record.bytes()[at] ^ 0x20, 0, b'\n'] {
                    if changed != record.bytes()[at] {
                        let mut edited = record.bytes().to_vec();
                        edited[at] = changed;
                        assert_ne!(code(read(format, &edited)), "accepted", "{} at {at}", sample.path());
                    }
                }
            }
        }
    }
}

#[test]
fn no_byte_of_a_record_can_be_changed_under_its_signature() {
    for sample in world(SHA1).samples.iter().filter(|sample| sample.log == "package") {
        let bytes = sample.record.bytes();
        for at in 0..bytes.len() {
            let mut edited = bytes.to_vec();
            edited[at] ^= 1;
            assert_ne!(code(read(SHA1, &edited)), "accepted", "{} at {at}", sample.path());
        }
    }
}
