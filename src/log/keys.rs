//! Who may append what: the keys of one log, and the rules by which they change.
//!
//! 1. Whoever signs needs the privilege that the record's kind asks for.
//! 2. Nobody grants or takes what they do not hold; `register`, not beyond the namespaces that they hold it for.
//! 3. The last key with `auth` keeps it.
//! 4. A key keeps its simple name, and no two keys that may append something share one.
//! 5. A grant adds to what the key holds and takes nothing from it.
//! 6. A log knows at most [`KEYS_MAX`] keys, those without any privilege left included.

use crate::model::entry::{Denial, Grant, Privilege};
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::Label;
use crate::model::record::SignedRecord;

/// The most keys that one log knows.
pub const KEYS_MAX: usize = 1024;

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
                "\"{}\" was signed by {}, a key that the log does not know",
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
            "\"{}\" was signed by {}, who {}; it needs {}",
            record.summary(),
            state.name,
            privileges_in_words(&state.privileges),
            privilege.as_str()
        ))
    }

    /// Applies the rules to a grant. Nothing is changed where one is broken.
    pub(crate) fn allow(&mut self, record: &SignedRecord, grant: &Grant<P>) -> Result<()> {
        let granter = self.require(record, P::AUTH)?;
        must_hold(granter, &grant.privileges, "grant")?;
        if registers(&grant.privileges) {
            must_cover(granter, &grant.namespaces, "grant")?;
        }
        let namesake =
            self.keys.iter().find(|state| state.name == grant.name && state.key != grant.key && !state.privileges.is_empty());
        if let Some(other) = namesake {
            return Err(fault!(BadRecord, "the name {} belongs to another key, {}", other.name, other.key.fingerprint()));
        }
        let known = self.keys.len();
        match self.keys.iter_mut().find(|state| state.key == grant.key) {
            Some(state) if state.name != grant.name => {
                return Err(fault!(BadRecord, "this log knows the key as {}, not as {}", state.name, grant.name));
            }
            Some(state) => {
                if registers(&grant.privileges) {
                    if !registers(&state.privileges) {
                        state.namespaces.clone_from(&grant.namespaces);
                    } else if grant.namespaces.is_empty() {
                        state.namespaces.clear();
                    } else if !state.namespaces.is_empty() {
                        state.namespaces.extend(grant.namespaces.iter().cloned());
                        state.namespaces.sort_unstable();
                        state.namespaces.dedup();
                    }
                }
                state.privileges.extend(grant.privileges.iter().copied());
                state.privileges.sort_unstable();
                state.privileges.dedup();
            }
            None if known == KEYS_MAX => {
                return Err(fault!(Limit, "the log knows {KEYS_MAX} keys, and no more are let in"));
            }
            None => self.keys.push(KeyState {
                name: grant.name.clone(),
                key: grant.key.clone(),
                privileges: grant.privileges.clone(),
                namespaces: grant.namespaces.clone(),
            }),
        }
        Ok(())
    }

    /// Applies the rules to a denial. Nothing is changed where one is broken.
    pub(crate) fn deny(&mut self, record: &SignedRecord, denial: &Denial<P>) -> Result<()> {
        let denier = self.require(record, P::AUTH)?;
        must_hold(denier, &denial.privileges, "take")?;
        let Some(at) = self.keys.iter().position(|state| state.key == denial.key) else {
            return Err(fault!(BadRecord, "the log does not know the key {} of {}", denial.key.fingerprint(), denial.name));
        };
        let state = &self.keys[at];
        if state.name != denial.name {
            return Err(fault!(BadRecord, "this log knows the key as {}, not as {}", state.name, denial.name));
        }
        if registers(&denial.privileges) && registers(&state.privileges) {
            must_cover(denier, &state.namespaces, "take")?;
        }
        if let Some(missing) = denial.privileges.iter().find(|privilege| !state.privileges.contains(privilege)) {
            // A stolen key can be declared stolen after it was denied.
            if denial.compromised_since.is_none() {
                return Err(fault!(BadRecord, "{} does not hold {}, which is to be taken", state.name, missing.as_str()));
            }
        }
        let another = self.keys.iter().any(|other| other.key != denial.key && other.privileges.contains(&P::AUTH));
        if denial.privileges.contains(&P::AUTH) && !another {
            return Err(fault!(LastOwner, "{} is the last key with auth, which cannot be taken from it", denial.name)
                .hint("allow another key auth first"));
        }
        let state = &mut self.keys[at];
        state.privileges.retain(|privilege| !denial.privileges.contains(privilege));
        if !registers(&state.privileges) {
            state.namespaces.clear();
        }
        Ok(())
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

/// Says whether `register`, the one privilege that may be limited to namespaces, is among these.
fn registers<P: Privilege>(privileges: &[P]) -> bool {
    privileges.iter().any(|privilege| privilege.as_str() == "register")
}

/// Checks that a key holds `register` for all of these namespaces; none stands for all there are.
fn must_cover<P: Privilege>(state: &KeyState<P>, namespaces: &[Label], verb: &str) -> Result<()> {
    if state.namespaces.is_empty() {
        return Ok(());
    }
    let beyond = namespaces.iter().find(|namespace| !state.namespaces.contains(namespace));
    if namespaces.is_empty() || beyond.is_some() {
        let beyond = beyond.map_or("every namespace".into(), |namespace| format!("the namespace {namespace}"));
        return Err(fault!(Unauthorized, "{} cannot {verb} register for {beyond}, which it does not hold itself", state.name));
    }
    Ok(())
}

fn privileges_in_words<P: Privilege>(privileges: &[P]) -> String {
    if privileges.is_empty() {
        return "has no privilege left".into();
    }
    let words: Vec<&str> = privileges.iter().map(|p| p.as_str()).collect();
    format!("holds {}", words.join(", "))
}
