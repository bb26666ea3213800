//! The registry log: the chain of checkpoints, each of which commits to the heads of all logs at once.

use super::chain::Chain;
use super::operator::OperatorLog;
use crate::model::digest::{GitId, RecordDigest};
use crate::model::entry::{Checkpoint, Entry, OperatorPrivilege, Subject};
use crate::model::error::{Result, fault};
use crate::model::record::{Record, SignedRecord};
use crate::model::skip::skip;
use crate::model::time::Timestamp;
use std::collections::BTreeMap;

/// One checkpoint whose signer had the authority to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedCheckpoint {
    record: SignedRecord,
    checkpoint: Checkpoint,
    operators_seq: u64,
}

impl CheckedCheckpoint {
    /// Judges a checkpoint by the operators that it names, as one of history is judged.
    ///
    /// # Errors
    /// `wrong-log`, `wrong-registry` where the operator log has no such head, `unauthorized`.
    pub fn of_history(operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let draft = record.draft();
        let (Entry::Checkpoint(checkpoint), Subject::Log) = (&draft.entry, &draft.subject) else {
            return Err(fault!(WrongLog, "a record of {} stands in the registry log", draft.subject));
        };
        let place = || format!("checkpoint {} of {}", record.seq(), draft.registry);
        if draft.registry != *operators.registry() {
            return Err(fault!(WrongLog, "the checkpoint is that of {}, expected {}", draft.registry, operators.registry()));
        }
        let authority = operators.at(&checkpoint.operators).map_err(|error| error.at(place()))?;
        authority.require(record, OperatorPrivilege::Checkpoint).map_err(|error| error.at(place()))?;
        Ok(CheckedCheckpoint { record: record.clone(), checkpoint: checkpoint.clone(), operators_seq: authority.seq })
    }

    /// Judges the newest checkpoint: its signer must have the authority at the operators it names and at the newest ones known, and
    /// it must not be disowned.
    ///
    /// # Errors
    /// Those of [`CheckedCheckpoint::of_history`].
    pub fn newest(operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let checked = Self::of_history(operators, record)?;
        let place = || format!("checkpoint {} of {}", record.seq(), operators.registry());
        operators.now().require(record, OperatorPrivilege::Checkpoint).map_err(|error| error.at(place()))?;
        if operators.repudiates(&record.digest()) {
            return Err(fault!(Unauthorized, "{} is disowned by the operators", place()));
        }
        Ok(checked)
    }

    /// Returns the record.
    pub fn record(&self) -> &SignedRecord {
        &self.record
    }

    /// Returns what it commits to besides the map.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns its place.
    pub fn seq(&self) -> u64 {
        self.record.seq()
    }

    /// Returns its digest.
    pub fn digest(&self) -> RecordDigest {
        self.record.digest()
    }

    /// Returns the root of the map.
    pub fn map(&self) -> GitId {
        self.record.draft().tree
    }

    /// Returns the place of the operators that it names in their log.
    pub fn operators_seq(&self) -> u64 {
        self.operators_seq
    }

    /// Says whether it is past its time.
    ///
    /// # Errors
    /// `stale`.
    pub fn check_fresh(&self, now: Timestamp) -> Result<()> {
        match self.checkpoint.expires {
            Some(expires) if now.unix() > expires => Err(fault!(
                Stale,
                "checkpoint {} of {} was good until {}, and now is {now}",
                self.seq(),
                self.record.draft().registry,
                Timestamp::from_unix(expires).unwrap_or(Timestamp::MAX)
            )),
            _ => Ok(()),
        }
    }
}

/// A registry log that was verified from its first checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLog {
    chain: Chain,
    newest: CheckedCheckpoint,
    /// The number of the checkpoint that this was verified from.
    first: u64,
    /// Checkpoints before that one, as far as they are needed.
    earlier: BTreeMap<u64, RecordDigest>,
    /// Those from it on.
    digests: Vec<RecordDigest>,
}

impl RegistryLog {
    /// Starts with the first checkpoint.
    ///
    /// # Errors
    /// Those of [`CheckedCheckpoint::of_history`], and `broken-chain`.
    pub fn start(operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let newest = CheckedCheckpoint::of_history(operators, record)?;
        let chain = Chain::start(record, false)?;
        Ok(RegistryLog { chain, newest, first: 0, earlier: BTreeMap::new(), digests: vec![record.digest()] })
    }

    /// Goes on from a checkpoint that is taken as it is. `earlier` are the checkpoints before it that later ones skip to; whoever calls
    /// this has proven by links that it stands on them ([`check_hop`]).
    ///
    /// # Errors
    /// Those of [`CheckedCheckpoint::of_history`].
    pub fn resume(operators: &OperatorLog, record: &SignedRecord, earlier: BTreeMap<u64, RecordDigest>) -> Result<Self> {
        let newest = CheckedCheckpoint::of_history(operators, record)?;
        let chain = Chain::resume(record);
        Ok(RegistryLog { chain, newest, first: record.seq(), earlier, digests: vec![record.digest()] })
    }

    /// Appends the next checkpoint.
    ///
    /// # Errors
    /// Those of [`CheckedCheckpoint::of_history`], `broken-chain`, `unauthorized` where it goes back to earlier operators.
    pub fn append(mut self, operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let place = || format!("checkpoint {} of {}", record.seq(), operators.registry());
        self.chain.check(record).map_err(|error| error.at(place()))?;
        let next = CheckedCheckpoint::of_history(operators, record)?;
        if next.operators_seq < self.newest.operators_seq {
            return Err(fault!(
                Unauthorized,
                "{}: it names the operators at seq {}, the checkpoint before named seq {}",
                place(),
                next.operators_seq,
                self.newest.operators_seq
            ));
        }
        let expected = self.digest_at(skip(record.seq()));
        if next.checkpoint.skip != expected {
            return Err(fault!(
                BrokenChain,
                "{}: the skip link is {}, expected {}",
                place(),
                next.checkpoint.skip.map_or("none".into(), |digest| digest.to_string()),
                expected.map_or("none".into(), |digest| digest.to_string())
            ));
        }
        self.chain.advance(record);
        self.digests.push(record.digest());
        self.newest = next;
        Ok(self)
    }

    /// Returns the digest of the checkpoint at a place; `None` where there is none, or it lies before the one that this goes on from and
    /// is not known.
    pub fn digest_at(&self, seq: u64) -> Option<RecordDigest> {
        match seq.checked_sub(self.first) {
            Some(at) => usize::try_from(at).ok().and_then(|at| self.digests.get(at)).copied(),
            None => self.earlier.get(&seq).copied(),
        }
    }

    /// Returns the newest checkpoint.
    pub fn newest(&self) -> &CheckedCheckpoint {
        &self.newest
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// Checks one hop of a descent: that `from` names `to` as the checkpoint before it or as its skip link.
///
/// The digests make the hop certain; who signed what lies between does not matter to whether it lies between.
///
/// # Errors
/// `fork` where it does not.
pub fn check_hop(from: &Record, to: &Record) -> Result<()> {
    let (named, before) = match (from.entry(), to.entry()) {
        (Entry::Checkpoint(checkpoint), Entry::Checkpoint(_)) => (
            checkpoint.skip.filter(|_| from.seq() > 0 && to.seq() == skip(from.seq())),
            from.draft().link.filter(|link| link.seq == to.seq() + 1).map(|link| link.prev),
        ),
        _ => (None, None),
    };
    if named == Some(to.digest()) || before == Some(to.digest()) {
        return Ok(());
    }
    Err(fault!(Fork, "checkpoint {} does not stand on checkpoint {} {}", from.seq(), to.seq(), to.digest()))
}
