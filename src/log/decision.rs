//! The decision log: what operators decided about one package. It stands beside the package log and never changes it.
//!
//! 1. A decision names a head of the operator log, at which its signer holds `decide`, and never an earlier one than the decision before.
//! 2. The first decision says which log the name means. From then on only a `reset` changes that, to a log that the name did not mean before.
//! 3. A `reset` and a `rename` are about the log that the name means; a `takedown` and a `restore` about that or one put aside.
//! 4. What is taken down is not taken down again, and only that is restored.
//! 5. A `rename` leads from this package to another name.
//! 6. What a decision says of a package log holds in that log ([`DecisionLog::check_log`]).

use super::chain::Chain;
use super::operator::OperatorLog;
use super::package::PackageLog;
use crate::model::digest::{LogId, RecordDigest};
use crate::model::entry::{Decision, Entry, OperatorPrivilege, Subject, TakedownClass, Verdict};
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, Version};
use crate::model::record::SignedRecord;
use std::collections::BTreeMap;
use std::fmt;

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

impl fmt::Display for Takedown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "taken down ({}): {}", self.class.as_str(), self.reason)
    }
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

/// A name that was granted to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The log.
    pub log: LogId,
    /// The name that it had.
    pub from: FullName,
    /// The name that it gets.
    pub to: FullName,
    /// Its owner's record that asks for the name.
    pub consent: RecordDigest,
}

/// A verified decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLog {
    chain: Chain,
    target: LogId,
    operators_seq: u64,
    /// By log and version; without one, the whole package.
    takedowns: BTreeMap<(LogId, Option<Version>), Takedown>,
    renames: Vec<Granted>,
    resets: Vec<Reset>,
    /// Which log had which head when something was decided about it.
    heads: Vec<(LogId, RecordDigest)>,
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
            heads: Vec::new(),
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
        let log = decision.about.target;
        let put_aside = |log: &LogId| self.resets.iter().any(|reset| reset.old == *log);
        let of_any_time = matches!(decision.what, Verdict::Takedown { .. } | Verdict::Restore { .. });
        if log != self.target && !(of_any_time && put_aside(&log)) {
            return Err(fault!(WrongLog, "the decision is about the log {log}, expected {}", self.target));
        }
        match &decision.what {
            Verdict::Takedown { version, class, reason } => {
                if self.takedowns.contains_key(&(log, version.clone())) {
                    return Err(fault!(BadRecord, "{} is taken down already", of(version)));
                }
                let takedown = Takedown { class: *class, reason: reason.clone(), seq: record.seq() };
                self.takedowns.insert((log, version.clone()), takedown);
            }
            Verdict::Restore { version, .. } => {
                if self.takedowns.remove(&(log, version.clone())).is_none() {
                    return Err(fault!(BadRecord, "{} is not taken down", of(version)));
                }
            }
            Verdict::Rename { from, to, consent } => {
                let here = record.draft();
                if from.registry != here.registry || here.subject != Subject::Decisions(from.package.clone()) {
                    return Err(fault!(WrongLog, "a rename of {from} stands in the log {}@{}", here.subject, here.registry));
                }
                self.renames.push(Granted { log, from: from.clone(), to: to.clone(), consent: *consent });
            }
            Verdict::Reset { new, reason } => {
                if put_aside(new) {
                    return Err(fault!(BadRecord, "the log {new} was put aside by an earlier reset"));
                }
                self.resets.push(Reset { old: log, old_head: decision.about.head, new: *new, reason: reason.clone() });
                self.target = *new;
            }
        }
        self.heads.push((log, decision.about.head));
        self.operators_seq = authority.seq;
        Ok(())
    }

    /// Checks that a package log is the one that the name means, and that what was decided about it holds in it: it had the heads
    /// that decisions name, and asked for the names that were granted.
    ///
    /// # Errors
    /// `wrong-log` where the name means another log, `broken-chain` for a head that the log never had, `bad-record` for a rename that it
    /// did not ask for.
    pub fn check_log(&self, log: &PackageLog) -> Result<()> {
        let id = log.chain().id();
        if id != self.target {
            return Err(fault!(WrongLog, "the log of {} is {id}, by the operators' decisions it is {}", log.name(), self.target));
        }
        if let Some((_, head)) = self.heads.iter().find(|(about, head)| *about == id && log.place_of(head).is_none()) {
            return Err(fault!(
                BrokenChain,
                "a decision about {} names the head {head}, which its log does not hold",
                log.name()
            ));
        }
        let asked = |granted: &Granted| log.renamings().iter().any(|r| r.record == granted.consent && r.to == granted.to);
        match self.renames.iter().find(|granted| granted.log == id && !asked(granted)) {
            Some(granted) => {
                Err(fault!(BadRecord, "{} was renamed to {}, which its owners did not ask for", granted.from, granted.to))
            }
            None => Ok(()),
        }
    }

    /// Says why a version of a log, or all of it, is not handed out.
    pub fn takedown_of(&self, log: LogId, version: &Version) -> Option<&Takedown> {
        self.takedowns.get(&(log, None)).or_else(|| self.takedowns.get(&(log, Some(version.clone()))))
    }

    /// Returns everything that is taken down: of which log, and the version; without one, the whole package.
    pub fn takedowns(&self) -> impl Iterator<Item = (LogId, Option<&Version>, &Takedown)> {
        self.takedowns.iter().map(|((log, version), takedown)| (*log, version.as_ref(), takedown))
    }

    /// Returns the names that were granted, oldest first.
    pub fn renames(&self) -> &[Granted] {
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
