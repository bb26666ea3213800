//! The one chain rule: what makes a record the next one of a log, whatever the log is about.

use crate::model::digest::{GitId, LogId, ObjectFormat, RecordDigest};
use crate::model::entry::Subject;
use crate::model::error::{Result, fault};
use crate::model::name::RegistryName;
use crate::model::record::{Draft, Link, SignedRecord};
use crate::model::time::Timestamp;

/// The end of a log: all that the next record must hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    registry: RegistryName,
    subject: Subject,
    format: ObjectFormat,
    id: LogId,
    seq: u64,
    head: RecordDigest,
    git_head: GitId,
    time: Timestamp,
    upgraded_to: Option<u64>,
}

impl Chain {
    /// Starts with a first record, whatever log it belongs to.
    ///
    /// # Errors
    /// `broken-chain` where the record is not a first one, or stands on another without saying so.
    pub(crate) fn start(record: &SignedRecord, linked: bool) -> Result<Self> {
        let draft = record.draft();
        if let Some(link) = draft.link {
            return Err(fault!(BrokenChain, "the log begins with seq {}, expected 0", link.seq));
        }
        match draft.parent {
            Some(parent) if !linked => {
                return Err(fault!(BrokenChain, "the first record stands on {parent}, expected no parent"));
            }
            None if linked => {
                return Err(fault!(BadOrigin, "the first record has no parent, expected its origin's record"));
            }
            _ => {}
        }
        Ok(Chain {
            registry: draft.registry.clone(),
            subject: draft.subject.clone(),
            format: draft.format,
            id: record.digest().into(),
            seq: 0,
            head: record.digest(),
            git_head: record.git_id(),
            time: draft.time,
            upgraded_to: None,
        })
    }

    /// Goes on from a record that is taken as the end of its log, whatever stands before it.
    pub(crate) fn resume(record: &SignedRecord) -> Self {
        let draft = record.draft();
        Chain {
            registry: draft.registry.clone(),
            subject: draft.subject.clone(),
            format: draft.format,
            id: draft.link.map_or_else(|| record.digest().into(), |link| link.log),
            seq: record.seq(),
            head: record.digest(),
            git_head: record.git_id(),
            time: draft.time,
            upgraded_to: None,
        }
    }

    /// Checks that a record is the next one.
    ///
    /// # Errors
    /// `wrong-log` where it belongs to another log, `broken-chain` where it does not follow on this head, `unsupported-format` after an
    /// upgrade.
    pub(crate) fn check(&self, record: &SignedRecord) -> Result<()> {
        let draft = record.draft();
        if let Some(format) = self.upgraded_to {
            return Err(fault!(UnsupportedFormat, "the log was upgraded to format {format}, which this program does not read")
                .hint(format!("use a version of quipu that reads format {format}")));
        }
        if draft.registry != self.registry || draft.subject != self.subject {
            return Err(fault!(
                WrongLog,
                "the record belongs to {}@{}, expected {}@{}",
                draft.subject,
                draft.registry,
                self.subject,
                self.registry
            ));
        }
        let Some(link) = draft.link else {
            return Err(fault!(BrokenChain, "a first record stands at seq {}", self.seq + 1));
        };
        if link.log != self.id {
            return Err(fault!(WrongLog, "the record belongs to the log {}, expected {}", link.log, self.id));
        }
        if link.seq != self.seq + 1 {
            return Err(fault!(BrokenChain, "seq is {}, expected {}", link.seq, self.seq + 1));
        }
        if link.prev != self.head {
            return Err(fault!(BrokenChain, "prev is {}, expected {}", link.prev, self.head));
        }
        if draft.parent != Some(self.git_head) {
            let found = draft.parent.map_or("none".into(), |parent| parent.to_string());
            return Err(fault!(BrokenChain, "the parent commit is {found}, expected {}", self.git_head));
        }
        Ok(())
    }

    /// Moves the end to a record that [`Chain::check`] found to be the next.
    pub(crate) fn advance(&mut self, record: &SignedRecord) {
        self.seq += 1;
        self.head = record.digest();
        self.git_head = record.git_id();
        self.time = record.draft().time;
    }

    pub(crate) fn upgrade(&mut self, format: u64) {
        self.upgraded_to = Some(format);
    }

    pub(crate) fn move_to(&mut self, registry: RegistryName, subject: Subject) {
        self.registry = registry;
        self.subject = subject;
    }

    /// Returns what a next record says about its place.
    pub fn next_link(&self) -> Link {
        Link { log: self.id, seq: self.seq + 1, prev: self.head }
    }

    /// Puts a draft at the end of this log: fills in log, place, parent and object format.
    pub fn place(&self, mut draft: Draft) -> Draft {
        draft.format = self.format;
        draft.parent = Some(self.git_head);
        draft.link = Some(self.next_link());
        draft.registry = self.registry.clone();
        draft.subject = self.subject.clone();
        draft
    }

    /// Returns the registry that the next record names.
    pub fn registry(&self) -> &RegistryName {
        &self.registry
    }

    /// Returns what the log is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the log's identity.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Returns the last record's place; the first has 0.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the last record's digest.
    pub fn head(&self) -> RecordDigest {
        self.head
    }

    /// Returns the last record's commit.
    pub fn git_head(&self) -> GitId {
        self.git_head
    }

    /// Returns when the last record was signed, by its signer's clock.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the object format of the log's repository.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }
}
