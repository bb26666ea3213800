//! Keys on disk: OpenSSH files, quipu's own and those that a user has already.

use super::home::Home;
use super::replace::{self, Access};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::key::PublicKey;
use crate::model::name::Label;
use crate::model::openssh::{PrivateKeyFile, SecretKey, parse_private_key, to_openssh};
use crate::model::sshsig::Signer;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A key that was found, and what can sign with it.
#[derive(Debug)]
pub struct KeyFile {
    /// The file: the private key, or its public half where an agent or a device holds the rest.
    pub path: PathBuf,
    /// The public key.
    pub public: PublicKey,
    /// The comment in the file.
    pub comment: String,
    /// Why the key does not sign by itself: how it is encrypted, or that only its public half is here.
    pub protected: Option<String>,
}

/// Makes a key of a seed and writes `<name>` (mode 0600) and `<name>.pub` into the folder of keys.
///
/// # Errors
/// `exists` where a key of that name is there, `io`.
pub fn create(home: &Home, name: &Label, seed: Zeroizing<[u8; 32]>) -> Result<KeyFile> {
    let secret = SecretKey::from_seed(seed);
    let path = home.keys().join(name.as_str());
    let public = path.with_extension("pub");
    if replace::read(&public)?.is_some() {
        return Err(taken(name, &public));
    }
    replace::create_new(&path, to_openssh(&secret, name.as_str()).as_bytes(), Access::Private).map_err(|error| {
        match error.code() {
            ErrorCode::Exists => taken(name, &path),
            _ => error,
        }
    })?;
    replace::replace(&public, format!("{} {name}\n", secret.public_key()).as_bytes(), Access::Shared)?;
    Ok(KeyFile { path, public: secret.public_key().clone(), comment: name.to_string(), protected: None })
}

fn taken(name: &Label, path: &Path) -> crate::model::error::Error {
    fault!(Exists, "there is a key {name} already, in {}", path.display())
        .hint("give the new one another name: quipu key new NAME")
}

impl KeyFile {
    /// Reads a key file, private or public.
    ///
    /// # Errors
    /// `no-key` where there is no such file, `bad-key` where it is no ed25519 key.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = Zeroizing::new(replace::read(path)?.ok_or_else(|| fault!(NoKey, "there is no key file {}", path.display()))?);
        let key = |public, comment, protected| KeyFile { path: path.to_path_buf(), public, comment, protected };
        let place = |error: crate::model::error::Error| error.at(path.display());
        if bytes.starts_with(b"-----BEGIN") {
            return Ok(match parse_private_key(&bytes).map_err(place)? {
                PrivateKeyFile::Plain(secret, comment) => key(secret.public_key().clone(), comment, None),
                PrivateKeyFile::Encrypted { public_key, cipher } => {
                    let comment = comment_of(path, &public_key);
                    key(public_key, comment, Some(format!("encrypted with {cipher}")))
                }
            });
        }
        let text = String::from_utf8_lossy(&bytes);
        let (public, comment) = PublicKey::parse_line(text.trim_end()).map_err(place)?;
        Ok(key(public, comment, Some("in an agent or a device".into())))
    }

    /// Returns what signs in this process; `None` where ssh-keygen has to be asked.
    ///
    /// # Errors
    /// Those of [`KeyFile::open`].
    pub fn secret(&self) -> Result<Option<SecretKey>> {
        if self.protected.is_some() {
            return Ok(None);
        }
        let bytes = Zeroizing::new(
            replace::read(&self.path)?.ok_or_else(|| fault!(NoKey, "there is no key file {} any more", self.path.display()))?,
        );
        Ok(match parse_private_key(&bytes).map_err(|error| error.at(self.path.display()))? {
            PrivateKeyFile::Plain(secret, _) => Some(secret),
            PrivateKeyFile::Encrypted { .. } => None,
        })
    }

    /// Returns a simple name for the key: what its file or its comment suggests.
    pub fn suggested_name(&self, home: &Home) -> Option<Label> {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if self.path.parent() == Some(&home.keys()) {
            return stem.parse().ok();
        }
        let word = self.comment.split(['@', ' ']).next().unwrap_or_default();
        simple(word).or_else(|| simple(stem))
    }
}

/// Makes a label of a word, where that is possible by small letters and hyphens alone.
pub fn simple(word: &str) -> Option<Label> {
    let mut text = String::new();
    for c in word.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => text.push(c),
            _ if !text.is_empty() && !text.ends_with('-') => text.push('-'),
            _ => {}
        }
    }
    text.trim_end_matches('-').parse().ok()
}

fn comment_of(path: &Path, public: &PublicKey) -> String {
    let mut file = path.as_os_str().to_owned();
    file.push(".pub");
    let line = replace::read(Path::new(&file)).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let parsed = line.and_then(|line| PublicKey::parse_line(line.trim_end()).ok());
    parsed.filter(|(key, _)| key == public).map(|(_, comment)| comment).unwrap_or_default()
}

/// Returns the keys in quipu's own folder, by name.
///
/// # Errors
/// `io`. A file that is no key is left out.
pub fn own(home: &Home) -> Result<Vec<KeyFile>> {
    let folder = home.keys();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(fault!(Io, "{}: {why}", folder.display())),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|why| fault!(Io, "{}: {why}", folder.display()))?.path();
        // A public half counts by itself only where the private one is elsewhere.
        let lone = path.extension().is_some_and(|extension| extension == "pub") && !path.with_extension("").exists();
        if path.is_file() && (path.extension().is_none() || lone) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.iter().filter_map(|path| KeyFile::open(path).ok()).collect())
}

/// Returns the file that ssh takes by itself, where there is one.
pub fn of_ssh(home: &Home) -> Option<PathBuf> {
    let path = home.user().join(".ssh").join("id_ed25519");
    path.is_file().then_some(path)
}

/// Finds the key to sign with: the one that is wanted (a path, or the name of a key), else the only own one, else git's, else ssh's.
///
/// # Errors
/// `no-key` with the command that makes one; `bad-key`.
pub fn find(home: &Home, wanted: Option<&str>, of_git: impl FnOnce() -> Result<Option<PathBuf>>) -> Result<KeyFile> {
    if let Some(wanted) = wanted {
        let named = home.keys().join(wanted);
        let is_name = wanted.parse::<Label>().is_ok();
        let path = if is_name && (named.exists() || !Path::new(wanted).exists()) {
            if named.exists() { named } else { named.with_extension("pub") }
        } else {
            expand(home, wanted)
        };
        return KeyFile::open(&path).map_err(|error| match error.code() {
            ErrorCode::NoKey if is_name => {
                error.hint(format!("make it: quipu key new {wanted}")).hint("or show the ones there are: quipu key list")
            }
            _ => error,
        });
    }
    let mut own = own(home)?;
    if own.len() > 1 {
        let names: Vec<String> = own.iter().map(|key| key.comment.clone()).collect();
        return Err(fault!(NoKey, "there are {} keys to choose from: {}", own.len(), names.join(", "))
            .hint("choose one: --key NAME")
            .hint(format!("or for always: key = \"{}\" in {}", names[0], home.config_file().display())));
    }
    if let Some(key) = own.pop() {
        return Ok(key);
    }
    if let Some(path) = of_git()? {
        return KeyFile::open(&path);
    }
    if let Some(path) = of_ssh(home) {
        return KeyFile::open(&path);
    }
    Err(fault!(NoKey, "there is no key to sign with")
        .hint("make a key: quipu key new")
        .hint("or use one that you have: --key PATH"))
}

/// Reads `~/` as the user's own folder.
pub fn expand(home: &Home, path: &str) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.user().join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> Zeroizing<[u8; 32]> {
        Zeroizing::new([byte; 32])
    }

    #[test]
    fn a_new_key_is_private_and_never_replaces_one() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let home = Home::below(folder.path());
        let key = create(&home, &"alice".parse()?, seed(1))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&key.path)?.permissions().mode() & 0o777, 0o600);
            assert_eq!(std::fs::metadata(home.keys())?.permissions().mode() & 0o777, 0o700);
        }
        let again = create(&home, &"alice".parse()?, seed(2)).expect_err("there is one");
        assert_eq!(again.code(), ErrorCode::Exists);
        assert_eq!(KeyFile::open(&key.path)?.public, key.public);
        assert_eq!(find(&home, None, || Ok(None))?.public, key.public);
        assert_eq!(find(&home, Some("alice"), || Ok(None))?.public, key.public);
        create(&home, &"bob".parse()?, seed(2))?;
        assert_eq!(find(&home, None, || Ok(None)).expect_err("two").code(), ErrorCode::NoKey);
        Ok(())
    }

    #[test]
    fn a_key_that_ssh_has_is_used_as_it_is() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let home = Home::below(folder.path());
        assert_eq!(find(&home, None, || Ok(None)).expect_err("none").code(), ErrorCode::NoKey);
        let secret = SecretKey::from_seed(seed(3));
        let ssh = folder.path().join(".ssh/id_ed25519");
        replace::replace(&ssh, to_openssh(&secret, "Carol.Smith@host").as_bytes(), Access::Private)?;
        let key = find(&home, None, || Ok(None))?;
        assert_eq!(key.path, ssh);
        assert_eq!(key.suggested_name(&home), Some("carol-smith".parse()?));
        assert_eq!(key.secret()?.map(|secret| secret.public_key().clone()), Some(key.public));
        Ok(())
    }
}
