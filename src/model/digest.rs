//! Digests and git ids, each kind a type of its own.
//!
//! All digests are SHA-256 and are written `sha256:` and 64 lower-case hexadecimal digits. A digest of
//! one kind does not stand in for another:
//!
//! ```compile_fail
//! use quipu::model::digest::{ContentDigest, RecordDigest};
//! fn release(_: ContentDigest) {}
//! release(RecordDigest::of_bytes(b""));
//! ```

use super::error::{Error, Result, fault};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

macro_rules! digest {
    ($(#[doc = $doc:literal])* $name:ident) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Returns the SHA-256 of exactly these bytes.
            pub fn of_bytes(bytes: &[u8]) -> Self {
                $name(Sha256::digest(bytes).into())
            }

            /// Takes the 32 bytes of a SHA-256 that was computed elsewhere.
            pub fn from_sha256(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }

            /// Returns the 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 hexadecimal digits without the `sha256:` before them.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256:")?;
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                text.strip_prefix("sha256:")
                    .and_then(|digits| from_hex::<32>(digits.as_bytes()))
                    .map($name)
                    .ok_or_else(|| fault!(BadReference, "{text:?} is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits"))
            }
        }
    };
}

digest! {
    /// SHA-256 of a record: of the git object, header `commit <len>\0` and bytes.
    RecordDigest
}
digest! {
    /// The identity of a log: the digest of its first record.
    LogId
}
digest! {
    /// The identity of a registry: the digest of the first record of its operator log.
    RegistryId
}
digest! {
    /// The digest of one release's files; see [`super::contents`].
    ContentDigest
}
digest! {
    /// SHA-256 of the bytes of one file.
    FileDigest
}
digest! {
    /// SHA-256 of what says where a promoted package comes from; see [`super::opening`].
    OriginDigest
}
digest! {
    /// SHA-256 over what a checkpoint changed; see [`super::changes`].
    ChangesDigest
}

impl From<RecordDigest> for LogId {
    /// Reads the digest of a first record as the identity of the log that it starts.
    fn from(first: RecordDigest) -> Self {
        LogId(first.0)
    }
}

impl From<LogId> for RegistryId {
    /// Reads the identity of an operator log as the identity of its registry.
    fn from(operators: LogId) -> Self {
        RegistryId(operators.0)
    }
}

impl From<RegistryId> for LogId {
    /// Reads the identity of a registry as that of its operator log.
    fn from(registry: RegistryId) -> Self {
        LogId(registry.0)
    }
}

impl LogId {
    /// Returns the digest of the first record of this log.
    pub fn first_record(self) -> RecordDigest {
        RecordDigest(self.0)
    }
}

/// The hash that a git repository names its objects by, chosen when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectFormat {
    /// 20 bytes; every git host has it.
    Sha1,
    /// 32 bytes.
    Sha256,
}

impl ObjectFormat {
    /// Returns the name that git gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        }
    }

    /// Returns the length of an id in bytes.
    pub fn id_len(self) -> usize {
        match self {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        }
    }

    /// Returns the id of the tree without entries.
    pub fn empty_tree(self) -> GitId {
        GitId::of(self, ObjectKind::Tree, b"")
    }
}

impl fmt::Display for ObjectFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ObjectFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "sha1" => Ok(ObjectFormat::Sha1),
            "sha256" => Ok(ObjectFormat::Sha256),
            _ => Err(fault!(Usage, "{text:?} is not an object format: expected sha1 or sha256")),
        }
    }
}

/// The kind of a git object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A file's bytes.
    Blob,
    /// A folder.
    Tree,
    /// A commit.
    Commit,
    /// An annotated tag, which quipu never writes.
    Tag,
}

impl ObjectKind {
    /// Returns the word in the object's header.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Blob => "blob",
            ObjectKind::Tree => "tree",
            ObjectKind::Commit => "commit",
            ObjectKind::Tag => "tag",
        }
    }
}

/// The id of a git object in the object format of its repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitId {
    /// An id in a SHA-1 repository.
    Sha1([u8; 20]),
    /// An id in a SHA-256 repository.
    Sha256([u8; 32]),
}

impl GitId {
    /// Computes the id of an object.
    pub fn of(format: ObjectFormat, kind: ObjectKind, bytes: &[u8]) -> Self {
        let header = format!("{} {}\0", kind.as_str(), bytes.len());
        match format {
            ObjectFormat::Sha1 => {
                // A known collision attack is answered with another hash, so that its object is not what its id says.
                let mut hasher = sha1dc::mitigate::Hasher::new();
                hasher.update(header.as_bytes());
                hasher.update(bytes);
                GitId::Sha1(match hasher.finalize() {
                    Ok(digest) => digest.into(),
                    Err(attack) => attack.digest().into(),
                })
            }
            ObjectFormat::Sha256 => GitId::Sha256(object_sha256(kind, bytes)),
        }
    }

    /// Takes the bytes of an id; `None` where their number fits no format.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            20 => bytes.try_into().ok().map(GitId::Sha1),
            32 => bytes.try_into().ok().map(GitId::Sha256),
            _ => None,
        }
    }

    /// Returns the 20 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            GitId::Sha1(bytes) => bytes,
            GitId::Sha256(bytes) => bytes,
        }
    }

    /// Returns the format that this id belongs to.
    pub fn format(&self) -> ObjectFormat {
        match self {
            GitId::Sha1(_) => ObjectFormat::Sha1,
            GitId::Sha256(_) => ObjectFormat::Sha256,
        }
    }
}

impl fmt::Display for GitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_bytes(), f)
    }
}

impl fmt::Debug for GitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitId({self})")
    }
}

impl FromStr for GitId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = match text.len() {
            40 => from_hex(text.as_bytes()).map(GitId::Sha1),
            64 => from_hex(text.as_bytes()).map(GitId::Sha256),
            _ => None,
        };
        id.ok_or_else(|| fault!(BadReference, "{text:?} is not a git id: expected 40 or 64 lower-case hexadecimal digits"))
    }
}

/// Returns the SHA-256 of a git object, header and bytes: in a SHA-256 repository its id, elsewhere its
/// strong digest.
pub fn object_sha256(kind: ObjectKind, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(format!("{} {}\0", kind.as_str(), bytes.len()).as_bytes());
    hasher.update(bytes);
    hasher.finalize().into()
}

/// Returns lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.write_str(std::str::from_utf8(&text[..bytes.len() * 2]).map_err(|_| fmt::Error)?)
}

/// Reads exactly `N` bytes from `2 * N` lower-case hexadecimal digits.
fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_empty_tree_are_the_ones_git_prints() {
        assert_eq!(ObjectFormat::Sha1.empty_tree().to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(
            ObjectFormat::Sha256.empty_tree().to_string(),
            "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
        );
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = RecordDigest::of_bytes(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in [digest.hex(), digest.to_string().to_uppercase(), format!("{digest}0"), "sha256:".into()] {
            assert!(wrong.parse::<RecordDigest>().is_err(), "{wrong}");
        }
    }
}
