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
    signers: Vec<(Label, PublicKey)>,
    statements: Vec<Statement>,
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
        let mut log =
            AttestationLog { chain: Chain::start(record, false)?, registry_id, signers: Vec::new(), statements: Vec::new() };
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
        if let Some((name, _)) = self.signers.iter().find(|(name, key)| (*name == signer.0) != (*key == signer.1)) {
            return Err(fault!(NotCanonical, "the author is {}, this log knows the name or the key by {name}", signer.0));
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
                self.statements.push(Statement {
                    digest: record.digest(),
                    attest: (**attest).clone(),
                    signer: signer.clone(),
                    revoked: None,
                });
            }
            Entry::Attestation(AttestationEntry::Revoke(digest, reason)) => {
                let Some(statement) = self.statements.iter_mut().find(|statement| statement.digest == *digest) else {
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
        if !self.signers.contains(&signer) {
            self.signers.push(signer);
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
