//! What was seen of a registry, and what contradicts it.
//!
//! The text is TOML behind a first line with the SHA-256 of the rest, so that a file that was cut off is known for what it is.

use crate::log::decision::DecisionLog;
use crate::log::operator::OperatorLog;
use crate::log::package::PackageLog;
use crate::log::registry::{CheckedCheckpoint, check_hop};
use crate::model::digest::{FileDigest, GitId, LogId, RecordDigest, RegistryId};
use crate::model::entry::Entry;
use crate::model::error::{Error, Result, fault};
use crate::model::lockfile::{Head, Lockfile};
use crate::model::name::{PackageName, RegistryName};
use crate::model::record::{Record, SignedRecord};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest that was seen of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SeenLog {
    /// The log's id.
    pub log: LogId,
    /// Its head's place.
    pub seq: u64,
    /// Its head.
    pub head: RecordDigest,
    /// Its head's commit.
    pub commit: GitId,
    /// Its head's bytes, so that a contradiction can be shown to others.
    pub record: String,
}

impl SeenLog {
    fn of(log: LogId, record: &SignedRecord) -> Self {
        SeenLog {
            log,
            seq: record.seq(),
            head: record.digest(),
            commit: record.git_id(),
            record: String::from_utf8_lossy(record.bytes()).into_owned(),
        }
    }
}

/// What was seen of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memory {
    /// The registry's name.
    pub registry: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// The operator log.
    pub operators: SeenLog,
    /// The newest checkpoint.
    pub checkpoint: SeenLog,
    /// The packages that were looked at.
    #[serde(default)]
    pub packages: BTreeMap<PackageName, SeenLog>,
    /// The decision logs that were looked at.
    #[serde(default)]
    pub decisions: BTreeMap<PackageName, SeenLog>,
    /// Logs that a reset put aside and that were looked at since.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<LogId, SeenLog>,
    /// The packages whose names the user follows to the logs that operators gave them by a reset. Nothing that lasts.
    #[serde(skip)]
    pub followed: BTreeSet<PackageName>,
}

/// What a short look at a memory tells, without the digest and the records in it: enough for suggestions, and for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// The newest checkpoint.
    pub checkpoint: Option<GitId>,
    /// The packages that were looked at, each with its head.
    pub packages: BTreeMap<PackageName, GitId>,
}

impl Glance {
    /// Looks at the text of a memory. It may hold many records, and they are passed over.
    pub fn at(text: &str) -> Self {
        let mut glance = Glance::default();
        let (mut place, mut within) = ("", None);
        for line in text.lines() {
            if let Some(end) = within {
                within = if line.ends_with(end) { None } else { within };
            } else if let Some(value) = line.strip_prefix("record = ") {
                within = ["\"\"\"", "'''"].into_iter().find(|mark| value == *mark);
            } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                place = name;
            } else if let Some(commit) = line.strip_prefix("commit = \"").and_then(|line| line.strip_suffix('"')) {
                let package = place.strip_prefix("packages.\"").and_then(|name| name.strip_suffix('"')?.parse().ok());
                match (place, package, commit.parse().ok()) {
                    ("checkpoint", _, commit) => glance.checkpoint = commit,
                    (_, Some(package), Some(commit)) => drop(glance.packages.insert(package, commit)),
                    _ => {}
                }
            }
        }
        glance
    }
}

/// A contradiction, with the two signed objects that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What is wrong.
    pub error: Error,
    /// What was seen before.
    pub seen: Vec<u8>,
    /// What was found now.
    pub found: Vec<u8>,
}

impl Memory {
    /// Begins with a registry's operators and its newest checkpoint.
    pub fn new(operators: &OperatorLog, operators_head: &SignedRecord, checkpoint: &CheckedCheckpoint) -> Self {
        Memory {
            registry: operators.registry().clone(),
            id: operators.id(),
            operators: SeenLog::of(operators.chain().id(), operators_head),
            checkpoint: SeenLog::of(log_of(checkpoint.record()), checkpoint.record()),
            packages: BTreeMap::new(),
            decisions: BTreeMap::new(),
            retired: BTreeMap::new(),
            followed: BTreeSet::new(),
        }
    }

    /// Makes a memory of what a lock says was seen of a registry: digests and places, without the bytes of records.
    pub fn of_lock(name: &RegistryName, lock: &Lockfile) -> Option<Self> {
        let registry = lock.registries.get(name)?;
        let seen = |log: LogId, head: &Head| SeenLog {
            log,
            seq: head.seq,
            head: head.digest,
            commit: head.commit,
            record: String::new(),
        };
        let mut memory = Memory {
            registry: name.clone(),
            id: registry.id,
            operators: seen(registry.id.into(), &registry.operators),
            // A lock does not say how the registry log begins; its head is what tells.
            checkpoint: seen(registry.checkpoint.digest.into(), &registry.checkpoint),
            packages: BTreeMap::new(),
            decisions: BTreeMap::new(),
            retired: BTreeMap::new(),
            followed: BTreeSet::new(),
        };
        for (pin, package) in lock.packages.iter().filter(|(pin, _)| pin.name.registry == *name) {
            memory.packages.insert(pin.name.package.clone(), seen(package.log, &package.head));
            if let Some(decisions) = &package.decisions {
                memory.decisions.insert(pin.name.package.clone(), seen(decisions.log, &decisions.head));
            }
        }
        Some(memory)
    }

    /// Forgets the packages of which no record is here, but only what a lock said of them.
    pub fn keep_records_only(&mut self) {
        self.packages.retain(|_, seen| !seen.record.is_empty());
        self.decisions.retain(|_, seen| !seen.record.is_empty());
    }

    /// Reads what [`Memory::to_text`] wrote.
    ///
    /// # Errors
    /// `state-lost` for anything else.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let lost = |why: String| fault!(StateLost, "what was remembered of the registry is damaged: {why}");
        let text = std::str::from_utf8(text).map_err(|_| lost("not UTF-8".into()))?;
        let (first, rest) = text.split_once('\n').ok_or_else(|| lost("cut off".into()))?;
        let found = FileDigest::of_bytes(rest.as_bytes());
        if first != format!("# {found}") {
            return Err(lost(format!("its digest is {found}, its first line says {first:?}")));
        }
        toml::from_str(rest).map_err(|why| lost(why.to_string()))
    }

    /// Writes the text.
    ///
    /// # Errors
    /// `bug`.
    pub fn to_text(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|why| fault!(Bug, "what was seen cannot be written: {why}"))?;
        Ok(format!("# {}\n{body}", FileDigest::of_bytes(body.as_bytes())))
    }

    /// Checks a registry's newest checkpoint against the one seen before.
    ///
    /// `between` are the checkpoints from the new one down to the seen one, both included, each standing on the next.
    ///
    /// # Errors
    /// `rollback` where it went back, `fork` where it does not stand on what was seen.
    pub fn check_checkpoint(
        &self,
        operators: &OperatorLog,
        new: &CheckedCheckpoint,
        between: &[Record],
    ) -> Result<(), Box<Contradiction>> {
        let contradiction = |error: Error| {
            Box::new(Contradiction {
                error,
                seen: self.checkpoint.record.clone().into_bytes(),
                found: new.record().bytes().to_vec(),
            })
        };
        let place = format!("checkpoint {} of {}", new.seq(), self.registry);
        if operators.chain().seq() < self.operators.seq {
            let error = fault!(
                Rollback,
                "the operator log of {} ends at seq {}, seq {} was seen before",
                self.registry,
                operators.chain().seq(),
                self.operators.seq
            );
            return Err(contradiction(error));
        }
        if operators.at(&self.operators.head).is_err() {
            let error = fault!(Fork, "the operator log of {} does not hold {}, seen before", self.registry, self.operators.head);
            return Err(contradiction(error));
        }
        if operators.repudiates(&self.checkpoint.head) {
            return Ok(());
        }
        if new.seq() < self.checkpoint.seq {
            let error = fault!(Rollback, "{place} lies behind checkpoint {}, seen before", self.checkpoint.seq)
                .hint("the copy may be an old one: try again later, or fetch from the registry's own place");
            return Err(contradiction(error));
        }
        if new.seq() == self.checkpoint.seq {
            if new.digest() == self.checkpoint.head {
                return Ok(());
            }
            let error = fault!(Fork, "{place} is {}, {} was seen before", new.digest(), self.checkpoint.head);
            return Err(contradiction(error));
        }
        let ends = between.first().map(|record| record.digest()) == Some(new.digest())
            && between.last().map(|record| record.digest()) == Some(self.checkpoint.head);
        let hops = between.windows(2).try_for_each(|pair| {
            check_hop(&pair[0], &pair[1])?;
            check_operators(operators, &pair[0], &pair[1])
        });
        match hops {
            Ok(()) if ends => Ok(()),
            Err(error) => Err(contradiction(error)),
            Ok(()) => Err(contradiction(fault!(
                Fork,
                "{place} does not stand on checkpoint {} {}, seen before",
                self.checkpoint.seq,
                self.checkpoint.head
            ))),
        }
    }

    /// Checks a package log against what was seen of that package before.
    ///
    /// # Errors
    /// `rollback` where it is shorter, `fork` where it does not hold what was seen, `wrong-log` where the name means another log by a reset
    /// that the user does not follow.
    pub fn check_package(
        &self,
        package: &PackageName,
        log: &PackageLog,
        head: &SignedRecord,
        decisions: Option<&DecisionLog>,
    ) -> Result<(), Box<Contradiction>> {
        let Some(seen) = self.packages.get(package) else {
            return Ok(());
        };
        let contradiction = |error: Error| {
            Box::new(Contradiction { error, seen: seen.record.clone().into_bytes(), found: head.bytes().to_vec() })
        };
        if log.chain().id() != seen.log {
            let reset = decisions.and_then(|decisions| decisions.resets().iter().find(|reset| reset.old == seen.log));
            if reset.is_some() && self.followed.contains(package) {
                return Ok(());
            }
            let error = match reset {
                Some(reset) => fault!(
                    WrongLog,
                    "the operators reset {package} ({}): its name means the log {} now, {} was seen before",
                    reset.reason,
                    log.chain().id(),
                    seen.log
                )
                .hint(format!("if that is meant to be, name the new log with an anchor: {package}#{}", log.chain().id()))
                .hint(format!("to stay with the log of before, name that one: {package}#{}", seen.log)),
                None => fault!(Fork, "{package} has the log {}, {} was seen before", log.chain().id(), seen.log),
            };
            // Whoever still has what the old log released is to know what was said of it.
            let down = decisions.into_iter().flat_map(DecisionLog::takedowns).filter(|(of, ..)| *of == seen.log);
            return Err(contradiction(down.fold(error, |error, (_, version, takedown)| {
                let what = version.map_or("all of it".to_owned(), ToString::to_string);
                error.hint(format!("of the log that was seen before, {what} was {takedown}"))
            })));
        }
        if log.chain().seq() < seen.seq {
            return Err(contradiction(fault!(
                Rollback,
                "the log of {package} ends at seq {}, seq {} was seen before",
                log.chain().seq(),
                seen.seq
            )));
        }
        if log.place_of(&seen.head) != Some(seen.seq) {
            return Err(contradiction(fault!(
                Fork,
                "the log of {package} does not hold {} at seq {}, seen before",
                seen.head,
                seen.seq
            )));
        }
        Ok(())
    }

    /// Checks that a decision log, of which these are the records, still holds what was seen of it. Where it is gone, nothing was found.
    ///
    /// # Errors
    /// `rollback`, `fork`.
    pub fn check_decisions(
        &self,
        package: &PackageName,
        decisions: Option<&DecisionLog>,
        records: &[SignedRecord],
    ) -> Result<(), Box<Contradiction>> {
        let Some(seen) = self.decisions.get(package) else {
            return Ok(());
        };
        let error = match decisions {
            None => fault!(Rollback, "the decisions about {package} are gone, {} were seen before", seen.seq + 1),
            Some(log) if log.chain().seq() < seen.seq => {
                fault!(Rollback, "the decisions about {package} end at seq {}, seq {} was seen", log.chain().seq(), seen.seq)
            }
            Some(_) if records.iter().any(|record| record.digest() == seen.head) => return Ok(()),
            Some(_) => fault!(Fork, "the decisions about {package} do not hold {}, seen before", seen.head),
        };
        let found = records.last().map(|record| record.bytes().to_vec()).unwrap_or_default();
        Err(Box::new(Contradiction { error, seen: seen.record.clone().into_bytes(), found }))
    }

    /// Joins what two processes saw: of each log what is newer.
    #[must_use]
    pub fn merge(mut self, other: Memory) -> Self {
        if other.id != self.id {
            return self;
        }
        if other.checkpoint.seq > self.checkpoint.seq {
            self.checkpoint = other.checkpoint;
        }
        if other.operators.seq > self.operators.seq {
            self.operators = other.operators;
        }
        for (log, seen) in other.retired {
            self.retired.entry(log).or_insert(seen);
        }
        for (ours, theirs) in [(&mut self.packages, other.packages), (&mut self.decisions, other.decisions)] {
            for (package, seen) in theirs {
                match ours.get(&package) {
                    Some(known) if known.log != seen.log || known.seq >= seen.seq => {}
                    _ => {
                        ours.insert(package, seen);
                    }
                }
            }
        }
        self
    }

    /// Remembers a newer state of the registry as a whole.
    pub fn remember_registry(&mut self, operators: &OperatorLog, operators_head: &SignedRecord, checkpoint: &CheckedCheckpoint) {
        let newer = Memory::new(operators, operators_head, checkpoint);
        self.operators = newer.operators;
        self.checkpoint = newer.checkpoint;
    }

    /// Remembers a package log and its decisions.
    pub fn remember_package(&mut self, package: &PackageName, log: LogId, head: &SignedRecord) {
        self.packages.insert(package.clone(), SeenLog::of(log, head));
    }

    /// Remembers a log that a reset took from a name. Whoever never saw what the name means now has seen this of it.
    pub fn remember_retired(&mut self, package: &PackageName, log: LogId, head: &SignedRecord) {
        self.retired.insert(log, SeenLog::of(log, head));
        if self.packages.get(package).is_none_or(|seen| seen.log == log) {
            self.packages.insert(package.clone(), SeenLog::of(log, head));
        }
    }

    /// Remembers a decision log.
    pub fn remember_decisions(&mut self, package: &PackageName, log: LogId, head: &SignedRecord) {
        self.decisions.insert(package.clone(), SeenLog::of(log, head));
    }
}

/// Returns the id of the log that a record belongs to.
fn log_of(record: &Record) -> LogId {
    record.draft().link.map_or_else(|| record.digest().into(), |link| link.log)
}

/// Checks that a later checkpoint does not go back to operators before those that an earlier one names.
fn check_operators(operators: &OperatorLog, later: &Record, earlier: &Record) -> Result<()> {
    let named = |record: &Record| match record.entry() {
        Entry::Checkpoint(checkpoint) => operators.at(&checkpoint.operators).map(|authority| authority.seq),
        other => Err(fault!(WrongLog, "a record of kind {} stands in the registry log", other.kind())),
    };
    let (before, now) = (named(earlier)?, named(later)?);
    if now < before {
        return Err(fault!(
            Rollback,
            "checkpoint {} names the operators at seq {now}, checkpoint {} before it named seq {before}",
            later.seq(),
            earlier.seq()
        ));
    }
    Ok(())
}
