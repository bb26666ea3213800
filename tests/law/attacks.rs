//! One attack a test, beside a twin that is the same but for the fault and is accepted.
//!
//! `record` is about one commit by itself, `package` about package logs, `registry` about what operators and others sign, and about
//! what a client remembers.

mod package;
mod record;
mod registry;

use crate::cast::*;
use quipu::model::record::SignedRecord;

/// Checks that the law refuses a record with this code, and that the log is as it was.
#[track_caller]
fn refused(log: &Growing, record: &SignedRecord, expected: &str) {
    let before = log.clone();
    assert_eq!(code(log.append(record)), expected, "{}", record.summary());
    assert_eq!(*log, before);
}

/// Checks that the law accepts a record.
#[track_caller]
fn accepted(log: &Growing, record: &SignedRecord) -> Growing {
    match log.append(record) {
        Ok(log) => log,
        Err(error) => panic!("{}: {error}", record.summary()),
    }
}
