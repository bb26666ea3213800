//! The attestation log: signed statements about the releases of one package.
//!
//! Anyone may sign one; whose word counts is for the reader's policy to say. The log itself holds three rules: a simple name belongs
//! to the key that used it first, a statement is taken back by the key that made it, and only once.

use super::chain::Chain;
use crate::model::digest::{RecordDigest, RegistryId};
use crate::model::entry::{Attest, AttestationEntry, Entry, Subject};
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::Label;
use crate::model::record::SignedRecord;
use std::collections::HashMap;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The record.
    pub digest: RecordDigest,
    /// What it states.
    pub attest: Attest,
    /// Who says so.
    pub signer: (Label, PublicKey),
    /// Why it was taken back.
    pub revoked: Option<String>,
}

/// A verified attestation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationLog {
    chain: Chain,
    registry_id: RegistryId,
    /// Each name with its key, and each key with its name: anyone may sign, so there may be many.
    names: HashMap<Label, PublicKey>,
    signers: HashMap<PublicKey, Label>,
    statements: Vec<Statement>,
    places: HashMap<RecordDigest, usize>,
}

impl AttestationLog {
    /// Starts with a first statement in the registry with this id.
    ///
    /// # Errors
    /// `wrong-log`, `broken-chain`, `wrong-registry`.
    pub fn start(registry_id: RegistryId, record: &SignedRecord) -> Result<Self> {
        let draft = record.draft();
        if !matches!(draft.subject, Subject::Attestations(_)) {
            return Err(fault!(WrongLog, "a record of {} stands where an attestation log begins", draft.subject));
        }
        let mut log = AttestationLog {
            chain: Chain::start(record, false)?,
            registry_id,
            names: HashMap::new(),
            signers: HashMap::new(),
            statements: Vec::new(),
            places: HashMap::new(),
        };
        log.apply(record).map_err(|error| error.at(format!("seq 0 of {}", draft.subject)))?;
        Ok(log)
    }

    /// Appends the next record.
    ///
    /// # Errors
    /// Any code of the law.
    pub fn append(mut self, record: &SignedRecord) -> Result<Self> {
        let place = format!("seq {} of {}", record.seq(), self.chain.subject());
        self.chain.check(record).and_then(|()| self.apply(record)).map_err(|error| error.at(place))?;
        self.chain.advance(record);
        Ok(self)
    }

    fn apply(&mut self, record: &SignedRecord) -> Result<()> {
        let signer = (record.draft().signer.clone(), record.key().clone());
        if let Some(name) = self.signers.get(&signer.1).filter(|name| **name != signer.0) {
            return Err(fault!(NotCanonical, "the author is {}, this log knows the key as {name}", signer.0));
        }
        if let Some(key) = self.names.get(&signer.0).filter(|key| **key != signer.1) {
            return Err(fault!(NotCanonical, "the name {} belongs to another key, {}", signer.0, key.fingerprint()));
        }
        match record.entry() {
            Entry::Attestation(AttestationEntry::Attest(attest)) => {
                if attest.registry_id != self.registry_id {
                    return Err(fault!(
                        WrongRegistry,
                        "the statement stands in the registry {}, expected {}",
                        attest.registry_id,
                        self.registry_id
                    ));
                }
                self.places.insert(record.digest(), self.statements.len());
                self.statements.push(Statement {
                    digest: record.digest(),
                    attest: (**attest).clone(),
                    signer: signer.clone(),
                    revoked: None,
                });
            }
            Entry::Attestation(AttestationEntry::Revoke(digest, reason)) => {
                let Some(statement) = self.places.get(digest).and_then(|place| self.statements.get_mut(*place)) else {
                    return Err(fault!(BadRecord, "the log holds no statement {digest}"));
                };
                if statement.signer.1 != signer.1 {
                    return Err(fault!(
                        Unauthorized,
                        "{} takes back what {} stated; only the same key can",
                        signer.0,
                        statement.signer.0
                    ));
                }
                if statement.revoked.is_some() {
                    return Err(fault!(BadRecord, "the statement {digest} was taken back already"));
                }
                statement.revoked = Some(reason.clone());
            }
            other => {
                return Err(fault!(WrongLog, "a record of kind {} stands in an attestation log", other.kind()));
            }
        }
        if !self.signers.contains_key(&signer.1) {
            self.names.insert(signer.0.clone(), signer.1.clone());
            self.signers.insert(signer.1, signer.0);
        }
        Ok(())
    }

    /// Returns all statements, oldest first.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Returns the end of the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}
