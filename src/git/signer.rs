//! Signing as git itself does: with `ssh-keygen -Y sign`, which decrypts keys and speaks to agents and devices.

use super::program::{Environment, Program};
use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use crate::model::sshsig::SshSig;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Held while a program signs.
static SIGNING: Mutex<()> = Mutex::new(());

/// Signs with a key file: a private key, or a public one whose other half an agent or a device holds.
///
/// # Errors
/// `bad-signature` where the answer is not the one form of a signature by this key, `git` where ssh-keygen fails.
pub fn sign(path: &Path, key: &PublicKey, message: &[u8]) -> Result<SshSig> {
    // A person is asked for one passphrase at a time, and a device signs one thing at a time.
    let _one = SIGNING.lock().unwrap_or_else(PoisonError::into_inner);
    let output =
        Program::ssh_keygen().args(["-Y", "sign", "-n", "git", "-f"]).arg(path).input(message.to_vec()).terminal(true).run()?;
    if !output.success {
        return Err(fault!(Git, "ssh-keygen could not sign with {}: {}", path.display(), output.words())
            .hint("at a terminal it asks for the passphrase; without one, load the key into an agent: ssh-add"));
    }
    SshSig::checked(&output.stdout, key, message).map_err(|error| error.at("ssh-keygen"))
}

/// Returns the key file that the user's git signs with, where it signs with ssh.
///
/// # Errors
/// `git` where git is missing.
pub fn of_git() -> Result<Option<PathBuf>> {
    let environment = Environment::of_process();
    let format = environment.user_config("gpg.format", false)?;
    if format.as_deref() != Some("ssh") {
        return Ok(None);
    }
    let key = environment.user_config("user.signingkey", true)?;
    Ok(key.filter(|key| !key.starts_with("key::") && !key.starts_with("ssh-")).map(PathBuf::from).filter(|path| path.is_file()))
}
