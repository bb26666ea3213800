//! The operator log: who may act for a registry, and by which policy it admits records.

use super::chain::Chain;
use super::keys::{KeyState, Keys};
use crate::model::digest::{RecordDigest, RegistryId};
use crate::model::entry::{Entry, Mirror, OperatorEntry, OperatorPrivilege, Policy, Registration, Subject};
use crate::model::error::{Result, fault};
use crate::model::name::{Label, RegistryName};
use crate::model::record::SignedRecord;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The operators and the policy as one record of the operator log left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The record's place in the operator log.
    pub seq: u64,
    /// The record.
    pub head: RecordDigest,
    /// The operators.
    pub keys: Arc<Keys<OperatorPrivilege>>,
    /// The policy.
    pub policy: Arc<Policy>,
}

impl Authority {
    /// Checks that whoever signed a record may act so for the registry.
    ///
    /// # Errors
    /// `unauthorized`.
    pub fn require(&self, record: &SignedRecord, privilege: OperatorPrivilege) -> Result<&KeyState<OperatorPrivilege>> {
        self.keys.require(record, privilege).map_err(|error| error.at(format!("operators at seq {}", self.seq)))
    }

    /// Checks that the policy lets the signer of a first record register in this namespace.
    ///
    /// # Errors
    /// `unauthorized`.
    pub fn may_register(&self, record: &SignedRecord, namespace: &Label) -> Result<()> {
        if self.policy.registration == Registration::Open {
            return Ok(());
        }
        let fitting = self.keys.get(record.key()).is_some_and(|state| {
            state.privileges.contains(&OperatorPrivilege::Register)
                && (state.namespaces.is_empty() || state.namespaces.contains(namespace))
        });
        if fitting {
            return Ok(());
        }
        Err(fault!(
            Unauthorized,
            "the policy lists who may register names, and {} may not register one in {namespace}",
            record.key().fingerprint()
        )
        .hint("ask an operator of the registry: quipu registry operator allow … --privilege register"))
    }
}

/// A verified operator log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorLog {
    chain: Chain,
    id: RegistryId,
    history: Vec<Authority>,
    places: HashMap<RecordDigest, usize>,
    mirrors: BTreeMap<RegistryName, Mirror>,
    repudiated: BTreeSet<RecordDigest>,
    origin: Option<(RegistryName, RegistryId, RecordDigest)>,
}

impl OperatorLog {
    /// Starts with the first record; its digest is the registry's id.
    ///
    /// # Errors
    /// `wrong-log`, `broken-chain`, `unauthorized` where the signer is not among the first operators.
    pub fn start(record: &SignedRecord) -> Result<Self> {
        let draft = record.draft();
        let (Entry::Operator(entry), Subject::Operators) = (&draft.entry, &draft.subject) else {
            return Err(fault!(WrongLog, "a record of {} stands where an operator log begins", draft.subject));
        };
        let OperatorEntry::Init(init) = entry else {
            return Err(fault!(
                BrokenChain,
                "the operator log begins with a record of kind {}, expected init",
                draft.entry.kind()
            ));
        };
        let chain = Chain::start(record, false)?;
        let authority =
            Authority { seq: 0, head: record.digest(), keys: Arc::new(Keys::start(&init.keys, record)?), policy: Arc::default() };
        Ok(OperatorLog {
            id: chain.id().into(),
            chain,
            places: HashMap::from([(authority.head, 0)]),
            history: vec![authority],
            mirrors: BTreeMap::new(),
            repudiated: BTreeSet::new(),
            origin: init.origin.clone(),
        })
    }

    /// Appends the next record.
    ///
    /// # Errors
    /// Any code of the law.
    pub fn append(mut self, record: &SignedRecord) -> Result<Self> {
        self.apply(record).map_err(|error| error.at(format!("seq {} of the operator log", record.seq())))?;
        Ok(self)
    }

    fn apply(&mut self, record: &SignedRecord) -> Result<()> {
        self.chain.check(record)?;
        let Entry::Operator(entry) = record.entry() else {
            return Err(fault!(WrongLog, "a record of kind {} stands in an operator log", record.entry().kind()));
        };
        let mut next = self.now().clone();
        match entry {
            OperatorEntry::Init(_) => return Err(fault!(BrokenChain, "a second init stands at seq {}", record.seq())),
            OperatorEntry::Allow(grant) => Arc::make_mut(&mut next.keys).allow(record, grant)?,
            OperatorEntry::Deny(denial) => {
                Arc::make_mut(&mut next.keys).deny(record, denial)?;
                if let Some(since) = denial.compromised_since.filter(|since| *since > self.chain.seq()) {
                    return Err(fault!(BadRecord, "compromised-since is {since}, expected a place up to {}", self.chain.seq()));
                }
            }
            OperatorEntry::Policy(policy) => {
                next.keys.require(record, OperatorPrivilege::Policy)?;
                next.policy = Arc::new(policy.clone());
            }
            OperatorEntry::Mirror(mirror) => {
                next.keys.require(record, OperatorPrivilege::Mirror)?;
                self.mirror(mirror)?;
            }
            OperatorEntry::Repudiate(checkpoints, _) => {
                next.keys.require(record, OperatorPrivilege::Auth)?;
                self.repudiated.extend(checkpoints);
            }
            OperatorEntry::Upgrade(format) => {
                next.keys.require(record, OperatorPrivilege::Auth)?;
                self.chain.upgrade(*format);
            }
        }
        self.chain.advance(record);
        next.seq = self.chain.seq();
        next.head = self.chain.head();
        self.places.insert(next.head, self.history.len());
        self.history.push(next);
        Ok(())
    }

    fn mirror(&mut self, mirror: &Mirror) -> Result<()> {
        if mirror.name == *self.chain.registry() {
            return Err(fault!(BadRecord, "a registry does not mirror itself"));
        }
        match self.mirrors.get(&mirror.name) {
            Some(known) if known.id != mirror.id => {
                return Err(fault!(
                    WrongRegistry,
                    "{} is mirrored with the id {}, the record says {}",
                    mirror.name,
                    known.id,
                    mirror.id
                ));
            }
            None if mirror.patterns.is_empty() => return Err(fault!(BadRecord, "{} is not mirrored", mirror.name)),
            _ => {}
        }
        // The id of a mirror that ended stays known, so that the name cannot come to mean another registry.
        self.mirrors.insert(mirror.name.clone(), mirror.clone());
        Ok(())
    }

    /// Returns the operators and the policy at the end of the log.
    pub fn now(&self) -> &Authority {
        &self.history[self.history.len() - 1]
    }

    /// Returns the operators and the policy as a record left them.
    ///
    /// # Errors
    /// `wrong-registry` where the log does not hold that record.
    pub fn at(&self, head: &RecordDigest) -> Result<&Authority> {
        self.places.get(head).and_then(|place| self.history.get(*place)).ok_or_else(|| {
            fault!(WrongRegistry, "the operator log of {} with the id {} has no record {head}", self.registry(), self.id)
        })
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the registry's name.
    pub fn registry(&self) -> &RegistryName {
        self.chain.registry()
    }

    /// Returns the registry's id: the digest of the first record.
    pub fn id(&self) -> RegistryId {
        self.id
    }

    /// Returns the registries that were ever mirrored; those without patterns have ended.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.mirrors.values()
    }

    /// Says whether a checkpoint is disowned.
    pub fn repudiates(&self, checkpoint: &RecordDigest) -> bool {
        self.repudiated.contains(checkpoint)
    }

    /// Returns the registry that this one is a fork of: name, id and checkpoint.
    pub fn origin(&self) -> Option<&(RegistryName, RegistryId, RecordDigest)> {
        self.origin.as_ref()
    }
}
