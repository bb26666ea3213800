//! A key as people name one on the command line.

use super::context::Context;
use crate::disk::keys::{self, KeyFile, simple};
use crate::model::entry::Privilege;
use crate::model::error::{Error, Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::Label;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// `ssh-ed25519 AAAA…`, a file, a simple name, or a fingerprint.
#[derive(Clone, Debug)]
pub struct KeyArg(String);

impl FromStr for KeyArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(KeyArg(text.to_owned()))
    }
}

impl fmt::Display for KeyArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyArg {
    /// Finds the key for a log that does not know it yet, under a given name or the one that its comment or file suggests.
    ///
    /// # Errors
    /// `no-key`, `bad-key`, `bad-name` where no name is given and none is suggested.
    pub fn named(&self, context: &Context, name: Option<&Label>) -> Result<(Label, PublicKey)> {
        let (key, suggested) = self.resolve(context)?;
        let name = name.cloned().or(suggested).ok_or_else(|| {
            fault!(BadName, "no simple name for the key can be made of its comment").hint("give one: --name NAME")
        })?;
        Ok((name, key))
    }

    fn resolve(&self, context: &Context) -> Result<(PublicKey, Option<Label>)> {
        if self.0.contains(' ') {
            let (key, comment) = PublicKey::parse_line(&self.0)?;
            return Ok((key, comment.split(['@', ' ']).next().and_then(simple)));
        }
        let path = context.folder.join(keys::expand(&context.home, &self.0));
        let file = if path.is_file() {
            KeyFile::open(&path)?
        } else {
            keys::find(&context.home, Some(&self.0), || Ok(None)).map_err(|_| {
                fault!(NoKey, "{:?} is neither a public key, nor a file, nor the name of one of your keys", self.0)
                    .hint("give the line that `quipu key show` prints as the public key: 'ssh-ed25519 AAAA… name'")
            })?
        };
        let name = file.suggested_name(&context.home);
        Ok((file.public, name))
    }
}

/// Puts privileges into the order in which records have them, none twice.
pub fn sorted<P: Privilege>(privileges: &[P]) -> Vec<P> {
    let mut privileges = privileges.to_vec();
    privileges.sort_unstable();
    privileges.dedup();
    privileges
}

/// Finds the key of a log that is meant: by its name there, its fingerprint, or as itself.
///
/// # Errors
/// `not-found` with the names there are.
pub fn known<'k>(
    context: &Context,
    wanted: &KeyArg,
    keys: impl Iterator<Item = (&'k Label, &'k PublicKey)>,
) -> Result<(Label, PublicKey)> {
    let keys: Vec<(&Label, &PublicKey)> = keys.collect();
    let named = keys.iter().rev().find(|(name, key)| name.as_str() == wanted.0 || key.fingerprint().to_string() == wanted.0);
    let found = match named {
        Some((name, key)) => Some(((*name).clone(), (*key).clone())),
        None => {
            let resolved = wanted.resolve(context).ok().map(|(key, _)| key);
            keys.iter().find(|(_, key)| Some(*key) == resolved.as_ref()).map(|(name, key)| ((*name).clone(), (*key).clone()))
        }
    };
    found.ok_or_else(|| -> Error {
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        fault!(NotFound, "there is no key {wanted} here").hint(format!("the keys are {}", names.join(", ")))
    })
}
