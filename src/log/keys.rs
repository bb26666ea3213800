//! Who may append what: the keys of one log, and the rules by which they change.
//!
//! 1. Whoever signs needs the privilege that the record's kind asks for.
//! 2. Nobody grants or takes what they do not hold.
//! 3. The last key with `auth` keeps it.
//! 4. A key keeps its simple name, and no two keys that may append something share one.

use crate::model::entry::{Denial, Grant, Privilege};
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::Label;
use crate::model::record::SignedRecord;

/// One key of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState<P> {
    /// Its simple name.
    pub name: Label,
    /// The key.
    pub key: PublicKey,
    /// What it may append, in order; empty for one that was denied.
    pub privileges: Vec<P>,
    /// What `register` is limited to; empty: no limit.
    pub namespaces: Vec<Label>,
}

/// The keys of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys<P> {
    keys: Vec<KeyState<P>>,
}

impl<P: Privilege> Keys<P> {
    /// Takes the keys of a first record, whose signer must be among them.
    pub(crate) fn start(grants: &[Grant<P>], record: &SignedRecord) -> Result<Self> {
        let keys = grants.iter().map(|grant| KeyState {
            name: grant.name.clone(),
            key: grant.key.clone(),
            privileges: grant.privileges.clone(),
            namespaces: grant.namespaces.clone(),
        });
        let keys = Keys { keys: keys.collect() };
        keys.signer(record)?;
        Ok(keys)
    }

    /// Finds who signed a record.
    ///
    /// # Errors
    /// `unauthorized` for an unknown key, `not-canonical` where the record calls the key by another name.
    pub fn signer(&self, record: &SignedRecord) -> Result<&KeyState<P>> {
        let Some(state) = self.get(record.key()) else {
            return Err(fault!(
                Unauthorized,
                "{} was signed by {}, a key that this log does not know",
                record.summary(),
                record.key().fingerprint()
            ));
        };
        if state.name != record.draft().signer {
            return Err(fault!(
                NotCanonical,
                "the author is {}, this log knows the key as {}",
                record.draft().signer,
                state.name
            ));
        }
        Ok(state)
    }

    /// Finds who signed a record, and checks that the privilege is there.
    ///
    /// # Errors
    /// Those of [`Keys::signer`], and `unauthorized`.
    pub fn require(&self, record: &SignedRecord, privilege: P) -> Result<&KeyState<P>> {
        let state = self.signer(record)?;
        if state.privileges.contains(&privilege) {
            return Ok(state);
        }
        Err(fault!(
            Unauthorized,
            "{} was signed by {}, who {}; it needs {}",
            record.summary(),
            state.name,
            privileges_in_words(&state.privileges),
            privilege.as_str()
        ))
    }

    /// Applies rules 2 and 4 to a grant and returns the keys after it.
    pub(crate) fn allow(mut self, record: &SignedRecord, grant: &Grant<P>) -> Result<Self> {
        let granter = self.require(record, P::AUTH)?;
        must_hold(granter, &grant.privileges, "grant")?;
        if !granter.namespaces.is_empty() && grant.privileges.iter().any(|p| p.as_str() == "register") {
            let beyond = grant.namespaces.iter().find(|namespace| !granter.namespaces.contains(namespace));
            if grant.namespaces.is_empty() || beyond.is_some() {
                return Err(fault!(Unauthorized, "{} cannot grant register beyond the namespaces it holds", granter.name));
            }
        }
        let namesake =
            self.keys.iter().find(|state| state.name == grant.name && state.key != grant.key && !state.privileges.is_empty());
        if let Some(other) = namesake {
            return Err(fault!(BadRecord, "the name {} belongs to another key, {}", other.name, other.key.fingerprint()));
        }
        match self.keys.iter_mut().find(|state| state.key == grant.key) {
            Some(state) if state.name != grant.name => {
                return Err(fault!(BadRecord, "this log knows the key as {}, not as {}", state.name, grant.name));
            }
            Some(state) => {
                let fresh = state.privileges.is_empty();
                state.privileges.extend(grant.privileges.iter().copied());
                state.privileges.sort_unstable();
                state.privileges.dedup();
                if fresh || grant.privileges.iter().any(|p| p.as_str() == "register") {
                    state.namespaces.clone_from(&grant.namespaces);
                }
            }
            None => self.keys.push(KeyState {
                name: grant.name.clone(),
                key: grant.key.clone(),
                privileges: grant.privileges.clone(),
                namespaces: grant.namespaces.clone(),
            }),
        }
        Ok(self)
    }

    /// Applies rules 2, 3 and 4 to a denial and returns the keys after it.
    pub(crate) fn deny(mut self, record: &SignedRecord, denial: &Denial<P>) -> Result<Self> {
        let denier = self.require(record, P::AUTH)?;
        must_hold(denier, &denial.privileges, "take")?;
        let Some(state) = self.keys.iter_mut().find(|state| state.key == denial.key) else {
            return Err(fault!(BadRecord, "the log does not know the key {} of {}", denial.key.fingerprint(), denial.name));
        };
        if state.name != denial.name {
            return Err(fault!(BadRecord, "this log knows the key as {}, not as {}", state.name, denial.name));
        }
        if let Some(missing) = denial.privileges.iter().find(|privilege| !state.privileges.contains(privilege)) {
            // A stolen key can be declared stolen after it was denied.
            if denial.compromised_since.is_none() {
                return Err(fault!(BadRecord, "{} does not hold {}, which is to be taken", state.name, missing.as_str()));
            }
        }
        state.privileges.retain(|privilege| !denial.privileges.contains(privilege));
        if !self.keys.iter().any(|state| state.privileges.contains(&P::AUTH)) {
            return Err(fault!(LastOwner, "{} is the last key with auth, which cannot be taken from it", denial.name)
                .hint("allow another key auth first"));
        }
        Ok(self)
    }

    /// Finds a key.
    pub fn get(&self, key: &PublicKey) -> Option<&KeyState<P>> {
        self.keys.iter().find(|state| state.key == *key)
    }

    /// Returns all keys, those without any privilege left included, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &KeyState<P>> {
        self.keys.iter()
    }

    /// Says whether a key holds a privilege.
    pub fn holds(&self, key: &PublicKey, privilege: P) -> bool {
        self.get(key).is_some_and(|state| state.privileges.contains(&privilege))
    }
}

fn must_hold<P: Privilege>(state: &KeyState<P>, privileges: &[P], verb: &str) -> Result<()> {
    match privileges.iter().find(|privilege| !state.privileges.contains(privilege)) {
        None => Ok(()),
        Some(missing) => {
            Err(fault!(Unauthorized, "{} cannot {verb} {}, which it does not hold itself", state.name, missing.as_str()))
        }
    }
}

fn privileges_in_words<P: Privilege>(privileges: &[P]) -> String {
    if privileges.is_empty() {
        return "has no privilege left".into();
    }
    let words: Vec<&str> = privileges.iter().map(|p| p.as_str()).collect();
    format!("holds {}", words.join(", "))
}
