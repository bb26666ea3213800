//! The decision log: what operators decided about one package. It stands beside the package log and never changes it.

use super::chain::Chain;
use super::operator::OperatorLog;
use crate::model::digest::{LogId, RecordDigest};
use crate::model::entry::{Decision, Entry, OperatorPrivilege, Subject, TakedownClass, Verdict};
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, Version};
use crate::model::record::SignedRecord;
use std::collections::BTreeMap;

/// Why something is not handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takedown {
    /// The class.
    pub class: TakedownClass,
    /// The reason.
    pub reason: String,
    /// The deciding record's place.
    pub seq: u64,
}

/// A name that got a new log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The log that was put aside.
    pub old: LogId,
    /// Its head then.
    pub old_head: RecordDigest,
    /// The log that the name means now.
    pub new: LogId,
    /// The reason.
    pub reason: String,
}

/// A verified decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLog {
    chain: Chain,
    target: LogId,
    operators_seq: u64,
    /// By version; `None` is the whole package.
    takedowns: BTreeMap<Option<Version>, Takedown>,
    renames: Vec<(FullName, FullName, RecordDigest)>,
    resets: Vec<Reset>,
}

impl DecisionLog {
    /// Starts with a first decision.
    ///
    /// # Errors
    /// `wrong-log`, `broken-chain`, `unauthorized`, `wrong-registry` where the operators are another registry's.
    pub fn start(operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let draft = record.draft();
        let (Entry::Decision(decision), Subject::Decisions(_)) = (&draft.entry, &draft.subject) else {
            return Err(fault!(WrongLog, "a record of {} stands where a decision log begins", draft.subject));
        };
        let mut log = DecisionLog {
            chain: Chain::start(record, false)?,
            target: decision.about.target,
            operators_seq: 0,
            takedowns: BTreeMap::new(),
            renames: Vec::new(),
            resets: Vec::new(),
        };
        log.decide(operators, record, decision).map_err(|error| error.at(format!("seq 0 of {}", draft.subject)))?;
        Ok(log)
    }

    /// Appends the next decision.
    ///
    /// # Errors
    /// Any code of the law.
    pub fn append(mut self, operators: &OperatorLog, record: &SignedRecord) -> Result<Self> {
        let place = format!("seq {} of {}", record.seq(), self.chain.subject());
        let Entry::Decision(decision) = record.entry() else {
            return Err(fault!(WrongLog, "a record of kind {} stands in a decision log", record.entry().kind()).at(place));
        };
        self.chain.check(record).and_then(|()| self.decide(operators, record, decision)).map_err(|error| error.at(place))?;
        self.chain.advance(record);
        Ok(self)
    }

    fn decide(&mut self, operators: &OperatorLog, record: &SignedRecord, decision: &Decision) -> Result<()> {
        if *operators.registry() != record.draft().registry {
            return Err(fault!(
                WrongLog,
                "the decision is that of {}, expected {}",
                record.draft().registry,
                operators.registry()
            ));
        }
        let authority = operators.at(&decision.about.operators)?;
        if authority.seq < self.operators_seq {
            return Err(fault!(
                Unauthorized,
                "the decision names the operators at seq {}, an earlier one named seq {}",
                authority.seq,
                self.operators_seq
            ));
        }
        authority.require(record, OperatorPrivilege::Decide)?;
        if decision.about.target != self.target {
            return Err(fault!(WrongLog, "the decision is about the log {}, expected {}", decision.about.target, self.target));
        }
        match &decision.what {
            Verdict::Takedown { version, class, reason } => {
                if self.takedowns.contains_key(version) {
                    return Err(fault!(BadRecord, "{} is taken down already", of(version)));
                }
                let takedown = Takedown { class: *class, reason: reason.clone(), seq: record.seq() };
                self.takedowns.insert(version.clone(), takedown);
            }
            Verdict::Restore { version, .. } => {
                if self.takedowns.remove(version).is_none() {
                    return Err(fault!(BadRecord, "{} is not taken down", of(version)));
                }
            }
            Verdict::Rename { from, to, consent } => self.renames.push((from.clone(), to.clone(), *consent)),
            Verdict::Reset { new, reason } => {
                if self.resets.iter().any(|reset| reset.old == *new) {
                    return Err(fault!(BadRecord, "the log {new} was put aside by an earlier reset"));
                }
                self.resets.push(Reset { old: self.target, old_head: decision.about.head, new: *new, reason: reason.clone() });
                self.target = *new;
                self.takedowns.clear();
            }
        }
        self.operators_seq = authority.seq;
        Ok(())
    }

    /// Says why a version, or the whole package, is not handed out.
    pub fn takedown_of(&self, version: &Version) -> Option<&Takedown> {
        self.takedowns.get(&None).or_else(|| self.takedowns.get(&Some(version.clone())))
    }

    /// Returns everything that is taken down; `None` is the whole package.
    pub fn takedowns(&self) -> impl Iterator<Item = (Option<&Version>, &Takedown)> {
        self.takedowns.iter().map(|(version, takedown)| (version.as_ref(), takedown))
    }

    /// Returns the renames that were granted: from, to, and the owner's record.
    pub fn renames(&self) -> &[(FullName, FullName, RecordDigest)] {
        &self.renames
    }

    /// Returns the resets, oldest first.
    pub fn resets(&self) -> &[Reset] {
        &self.resets
    }

    /// Returns the package log that the name means.
    pub fn target(&self) -> LogId {
        self.target
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

fn of(version: &Option<Version>) -> String {
    version.as_ref().map_or("the package".into(), |version| format!("version {version}"))
}
