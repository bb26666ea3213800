//! What can go wrong, as a closed set of codes, and the exit status of each.
//!
//! An [`Error`] names the place, what was found and what was expected; the remedy stands apart as a
//! hint. Codes and exit statuses are interface: `docs/errors.md` lists this table, and a test compares the two.

use super::redact::redact_all;
use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $exit:literal, $asked:literal;)*) => {
        /// A stable name for one way of failing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// Returns the code as it is printed and written to JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// Returns the one sentence that says what the code means.
            pub fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$name => concat!($($doc),*),)* }
            }

            /// Returns the exit status where the fault lies in something that was read.
            pub fn exit_when_read(self) -> u8 {
                match self { $(ErrorCode::$name => $exit,)* }
            }

            /// Returns the exit status where the fault is the answer to something that was asked for:
            /// a record that a registry would refuse is not a forgery, it is a refusal.
            pub fn exit_when_asked(self) -> u8 {
                match self { $(ErrorCode::$name => $asked,)* }
            }
        }
    };
}

codes! {
    /// The command line does not make sense.
    Usage = "usage", 2, 2;
    /// A name does not follow the grammar of names.
    BadName = "bad-name", 2, 2;
    /// A version is not SemVer without build metadata.
    BadVersion = "bad-version", 2, 2;
    /// A reference to a package, record or file cannot be read.
    BadReference = "bad-reference", 2, 2;
    /// A URL has a form that is not used for transport.
    BadUrl = "bad-url", 2, 2;
    /// A package's quipu.toml is missing or wrong.
    BadManifest = "bad-manifest", 2, 2;
    /// A file of the user's own configuration is wrong.
    BadConfig = "bad-config", 2, 2;
    /// A lock file cannot be read.
    BadLock = "bad-lock", 2, 2;
    /// No key to sign with was found.
    NoKey = "no-key", 2, 2;
    /// No registry was named, and there is no default.
    NoRegistry = "no-registry", 2, 2;

    /// The thing asked for does not exist.
    NotFound = "not-found", 3, 3;
    /// A registry says that a package exists, and does not hand out its log.
    RefMissing = "ref-missing", 4, 4;
    /// A log is in the repository, and no checkpoint holds it yet.
    NotPublished = "not-published", 3, 3;

    /// Bytes are not in the one form that is valid.
    NotCanonical = "not-canonical", 4, 8;
    /// A record has no signature.
    Unsigned = "unsigned", 4, 8;
    /// A signature does not hold, or is not in the one form that is valid.
    BadSignature = "bad-signature", 4, 8;
    /// A public key is not canonical, of small order, or of another kind than ed25519.
    BadKey = "bad-key", 4, 8;
    /// The signer lacks the privilege that the record needs.
    Unauthorized = "unauthorized", 4, 8;
    /// The last key that may change keys cannot be denied.
    LastOwner = "last-owner", 4, 8;
    /// A record does not follow on the one before it.
    BrokenChain = "broken-chain", 4, 8;
    /// A record belongs to another log.
    WrongLog = "wrong-log", 4, 8;
    /// A log belongs to another registry.
    WrongRegistry = "wrong-registry", 4, 8;
    /// A log does not hold the record that was trusted beforehand.
    AnchorMismatch = "anchor-mismatch", 4, 4;
    /// A fork does not stand on the record that it names as its origin.
    BadOrigin = "bad-origin", 4, 8;
    /// A version was released before and is never released again.
    AlreadyReleased = "already-released", 4, 8;
    /// A version was never released, or is not in the state that the record needs.
    NotReleased = "not-released", 4, 8;
    /// A name belongs to another log, for ever.
    NameTaken = "name-taken", 4, 8;
    /// A record breaks a rule of its kind.
    BadRecord = "bad-record", 4, 8;
    /// A log is written in a newer format than this program reads.
    UnsupportedFormat = "unsupported-format", 4, 8;
    /// A path, mode or tree breaks a rule of contents.
    BadContents = "bad-contents", 4, 8;
    /// Contents are not those that the release names.
    ContentMismatch = "content-mismatch", 4, 8;
    /// The map of a checkpoint does not have its one shape, or names what is not there.
    BadMap = "bad-map", 4, 4;
    /// A registry went back behind what was seen of it before.
    Rollback = "rollback", 4, 4;
    /// A registry shows a history that excludes the one that was seen before.
    Fork = "fork", 4, 4;
    /// A checkpoint is past the time until which it is good.
    Stale = "stale", 4, 4;
    /// What was remembered of a registry is gone or damaged.
    StateLost = "state-lost", 4, 4;
    /// A git object is missing or not what its id says.
    CorruptObject = "corrupt-object", 4, 4;
    /// What was taken down is not handed out.
    TakenDown = "taken-down", 4, 8;
    /// A key in wrong hands released it, and nobody insisted.
    Flagged = "flagged", 4, 8;

    /// What is to be public names what is inside, or needs it.
    Reveals = "reveals", 8, 8;
    /// A registry is not trusted yet.
    NotTrusted = "not-trusted", 5, 5;
    /// A registry's id is not the one that is trusted.
    IdMismatch = "id-mismatch", 5, 5;

    /// A lock file does not match.
    LockMismatch = "lock-mismatch", 6, 6;

    /// The network or the other side did not answer.
    Network = "network", 7, 7;
    /// The git program is missing or failed.
    Git = "git", 7, 7;
    /// A repository on disk is not one that quipu can use.
    BadRepository = "bad-repository", 7, 7;
    /// What a domain says of its registry at the well-known place cannot be used.
    BadWellKnown = "bad-well-known", 7, 7;
    /// Reading or writing a file failed.
    Io = "io", 7, 7;

    /// A limit of size, number or depth was passed.
    Limit = "limit", 4, 8;
    /// No choice of versions fits everything that is needed.
    NoSolution = "no-solution", 8, 8;
    /// Somebody else was first.
    Conflict = "conflict", 8, 8;
    /// A registry's policy says no.
    Policy = "policy", 8, 8;
    /// A proposal file does not say what its proposal or its place says.
    BadProposal = "bad-proposal", 4, 8;
    /// A registry refused one or more proposals.
    Refused = "refused", 8, 8;
    /// Something is already there and is not overwritten.
    Exists = "exists", 8, 8;

    /// A bug in quipu.
    Bug = "bug", 70, 70;
}

impl std::str::FromStr for ErrorCode {
    type Err = ();

    /// Reads a code as it is printed.
    fn from_str(text: &str) -> Result<Self, ()> {
        ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failure: a code, a message that names place, found and expected, and what to do next.
///
/// What an error quotes may be a URL with a password, wherever people write one; it is hidden in the message and the hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    code: ErrorCode,
    message: String,
    hints: Vec<String>,
    asked: bool,
}

impl Error {
    /// Makes an error from its code and a message without capital or full stop.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error { inner: Box::new(Inner { code, message: redact_all(message.into()), hints: Vec::new(), asked: false }) }
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hints.push(redact_all(hint.into()));
        self
    }

    /// Puts the place in front of the message.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.inner.message = redact_all(format!("{place}: {}", self.inner.message));
        self
    }

    /// Says that this is the answer to something that was asked for, not a fault in something read.
    #[must_use]
    pub fn asked(mut self) -> Self {
        self.inner.asked = true;
        self
    }

    /// Returns the stable code.
    pub fn code(&self) -> ErrorCode {
        self.inner.code
    }

    /// Returns what happened, in one line that is not yet escaped for a terminal.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns what can be done about it, most useful first.
    pub fn hints(&self) -> &[String] {
        &self.inner.hints
    }

    /// Returns the exit status of a process that ends with this error.
    pub fn exit(&self) -> u8 {
        if self.inner.asked { self.inner.code.exit_when_asked() } else { self.inner.code.exit_when_read() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.inner.message, self.inner.code)
    }
}

impl std::error::Error for Error {}

/// Builds an error with a formatted message: `fault!(BrokenChain, "seq is {found}, expected {expected}")`.
macro_rules! fault {
    ($code:ident, $($message:tt)+) => {
        $crate::model::error::Error::new($crate::model::error::ErrorCode::$code, format!($($message)+))
    };
}
pub(crate) use fault;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        let url = "https://bob:s3cret@host.example/x";
        let error = fault!(Usage, "{url} is a URL").hint(format!("quipu trust add DOMAIN {url}")).at(url);
        assert_eq!(error.message(), "https://***@host.example/x: https://***@host.example/x is a URL");
        assert_eq!(error.hints(), ["quipu trust add DOMAIN https://***@host.example/x"]);
    }

    #[test]
    fn a_refusal_is_not_a_forgery() {
        let error = fault!(Unauthorized, "no");
        assert_eq!((error.clone().exit(), error.asked().exit()), (4, 8));
    }
}
