//! SSH signatures, in the one form that quipu writes and reads.
//!
//! A signature is what `ssh-keygen -Y sign -n git` prints for an ed25519 key: version 1, namespace `git`, nothing reserved,
//! hash `sha512`. Nothing about that form is open but the key and the 64 bytes of the signature, so it has 173 bytes,
//! and its armour 293. Alice's for the five bytes `hello`:
//!
//! ```text
//! -----BEGIN SSH SIGNATURE-----
//! U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgiojj3XQJ8ZX9UtstPLpdcspnCb
//! 8dlBIb83SIAbQPb1wAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5
//! AAAAQObb6KZuZCDk6waF1AOieLxWWwB4jl8e2V7L3JrWiGwQx2Yc08sOc+LjVRDVPbh6eY
//! 2eIwEi9xRekxq4Ej9J/go=
//! -----END SSH SIGNATURE-----
//! ```
//!
//! In the header of a commit each of its lines but the first stands after one blank. Every other string of bytes is refused, also
//! where git calls it good.

use super::error::{Error, Result, fault};
use super::key::{KEY_TYPE, PublicKey};
use super::openssh::SecretKey;
use super::ssh_wire::{COLUMNS, Fields, from_lines, quoted};
use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha512};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// What stands before the key: magic, version, and the head of the key's blob.
const BEFORE_KEY: &[u8; 33] = b"SSHSIG\0\0\0\x01\0\0\0\x33\0\0\0\x0bssh-ed25519\0\0\0\x20";
/// What stands between key and signature: namespace, reserved, hash, and the head of the signature's blob.
const BEFORE_SIGNATURE: &[u8; 44] = b"\0\0\0\x03git\0\0\0\0\0\0\0\x06sha512\0\0\0\x53\0\0\0\x0bssh-ed25519\0\0\0\x40";
const BLOB_LEN: usize = BEFORE_KEY.len() + 32 + BEFORE_SIGNATURE.len() + 64;
const BASE64_LEN: usize = BLOB_LEN.div_ceil(3) * 4;
const LINES: usize = BASE64_LEN.div_ceil(COLUMNS);

/// What ed25519 signs begins with this: magic, namespace, reserved, hash, and the length of a SHA-512.
const BEFORE_HASH: &[u8; 31] = b"SSHSIG\0\0\0\x03git\0\0\0\0\0\0\0\x06sha512\0\0\0\x40";
/// The number of bytes that ed25519 signs, whatever the length of the message.
pub const SIGNED_LEN: usize = BEFORE_HASH.len() + 64;

/// What is larger is no signature of any kind, and is not looked at to say what it is.
const LARGEST: usize = 64 * 1024;

/// A signature together with the key that it says it is from. It was read, not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SshSig {
    /// The 32 bytes of the signer's key, not admitted yet.
    pub key: [u8; 32],
    /// The 64 bytes of the ed25519 signature.
    pub signature: [u8; 64],
}

impl SshSig {
    /// The length of an armour in bytes.
    pub const ARMOUR_LEN: usize = BEGIN.len() + BASE64_LEN + LINES + 1 + END.len();
    /// The length of a commit's header in bytes, without the header's name.
    pub const HEADER_LEN: usize = SshSig::ARMOUR_LEN + LINES + 1;

    /// Reads an armour, without a line break at its end.
    ///
    /// # Errors
    /// `bad-signature` where it is not the one form that is valid; the message says what differs.
    pub fn parse_armour(armour: &[u8]) -> Result<Self> {
        SshSig::read(armour, b"\n").ok_or_else(|| refusal(&what_differs(armour)))
    }

    /// Reads an armour from a commit's header: what stands between `gpgsig ` and the line break before the next header, with
    /// the blank that begins each line after the first.
    ///
    /// # Errors
    /// As [`SshSig::parse_armour`].
    pub fn parse_header(value: &[u8]) -> Result<Self> {
        SshSig::read(value, b"\n ").ok_or_else(|| refusal(&what_differs_in_header(value)))
    }

    /// This runs for every record of an audit, and allocates nothing.
    fn read(armour: &[u8], separator: &[u8]) -> Option<Self> {
        let mut rest = armour.strip_prefix(BEGIN.as_bytes())?;
        let mut base64 = [0; BASE64_LEN];
        for line in base64.chunks_mut(COLUMNS) {
            let (found, after) = rest.strip_prefix(separator)?.split_at_checked(line.len())?;
            line.copy_from_slice(found);
            rest = after;
        }
        if rest.strip_prefix(separator)? != END.as_bytes() {
            return None;
        }
        let mut blob = [0; BLOB_LEN];
        Base64::decode(base64, &mut blob).ok().filter(|read| read.len() == BLOB_LEN)?;
        let (key, rest) = blob.strip_prefix(BEFORE_KEY)?.split_first_chunk()?;
        let signature = rest.strip_prefix(BEFORE_SIGNATURE)?.try_into().ok()?;
        Some(SshSig { key: *key, signature })
    }

    /// Returns the armour, without a line break at its end.
    pub fn to_armour(&self) -> String {
        self.write("\n")
    }

    /// Returns the armour as it stands in a commit's header, after `gpgsig `.
    pub fn to_header(&self) -> String {
        self.write("\n ")
    }

    fn write(&self, separator: &str) -> String {
        let mut blob = Vec::with_capacity(BLOB_LEN);
        blob.extend_from_slice(BEFORE_KEY);
        blob.extend_from_slice(&self.key);
        blob.extend_from_slice(BEFORE_SIGNATURE);
        blob.extend_from_slice(&self.signature);
        let base64 = Base64::encode_string(&blob);
        let mut armour = String::with_capacity(SshSig::HEADER_LEN);
        armour.push_str(BEGIN);
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(COLUMNS));
            armour.push_str(separator);
            armour.push_str(line);
            rest = after;
        }
        armour.push_str(separator);
        armour.push_str(END);
        armour
    }

    /// Checks that this key signed this message.
    ///
    /// # Errors
    /// `bad-signature` where the signature is by another key, or does not hold.
    pub fn verify(&self, key: &PublicKey, message: &[u8]) -> Result<()> {
        if self.key != *key.as_bytes() {
            let found = match PublicKey::from_bytes(&self.key) {
                Ok(found) => found.fingerprint().to_string(),
                Err(why) => format!("no key ({})", why.message()),
            };
            return Err(fault!(BadSignature, "the signature is by {found}, expected one by {}", key.fingerprint()));
        }
        key.verify(&signed_bytes(message), &self.signature)
    }

    /// Reads what another program gave as this key's signature of this message, and verifies it. One line break may stand at
    /// the end, as ssh-keygen prints it.
    ///
    /// # Errors
    /// `bad-signature` where it is not in the one form that is valid, is by another key, or does not hold.
    pub fn checked(armour: &[u8], key: &PublicKey, message: &[u8]) -> Result<Self> {
        let signature = SshSig::parse_armour(armour.strip_suffix(b"\n").unwrap_or(armour))?;
        signature.verify(key, message)?;
        Ok(signature)
    }
}

/// Returns the bytes that ed25519 signs in place of a message: they hold its SHA-512.
pub fn signed_bytes(message: &[u8]) -> [u8; SIGNED_LEN] {
    let mut signed = [0; SIGNED_LEN];
    let (head, hash) = signed.split_at_mut(BEFORE_HASH.len());
    head.copy_from_slice(BEFORE_HASH);
    hash.copy_from_slice(&Sha512::digest(message));
    signed
}

/// Signs with one key.
///
/// A key outside of this process (an agent, an encrypted file, hardware) signs through another program. What that program
/// returns has to be the same bytes that ed25519 gives for the key and the message, or it is refused: an implementation
/// passes it through [`SshSig::checked`].
///
/// Several threads may sign with one signer at a time.
pub trait Signer: Sync {
    /// Returns the key that the signatures are by.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message, in namespace `git`.
    ///
    /// # Errors
    /// `bad-signature` where another program was asked and gave no signature that holds, and the code of its failure where
    /// it gave none at all.
    fn sign(&self, message: &[u8]) -> Result<SshSig>;

    /// Returns the secret key, where it is in this process.
    fn secret(&self) -> Option<&SecretKey> {
        None
    }

    /// Returns the secret key where records are signed by the thousand. What is signed with it here and now is not verified once more:
    /// for a single record that costs nothing that anyone would notice, and finds a processor that errs.
    fn in_bulk(&self) -> Option<&SecretKey> {
        None
    }
}

/// Signs by the thousand; see [`Signer::in_bulk`].
#[derive(Clone, Copy, Debug)]
pub struct InBulk<'a>(pub &'a SecretKey);

impl Signer for InBulk<'_> {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<SshSig> {
        self.0.sign(message)
    }

    fn secret(&self) -> Option<&SecretKey> {
        Some(self.0)
    }

    fn in_bulk(&self) -> Option<&SecretKey> {
        Some(self.0)
    }
}

fn refusal(why: &str) -> Error {
    fault!(BadSignature, "the signature is not in the one form that is valid: {why}")
}

fn what_differs_in_header(value: &[u8]) -> String {
    let mut lines = value.split(|byte| *byte == b'\n');
    let mut armour = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        let Some(line) = line.strip_prefix(b" ") else {
            return "a line of it is not indented by one blank".into();
        };
        armour.push(b'\n');
        armour.extend_from_slice(line);
    }
    what_differs(&armour)
}

/// Says what makes these bytes another thing than a valid signature. It reads more loosely than what it explains.
fn what_differs(armour: &[u8]) -> String {
    if armour.len() > LARGEST {
        return format!("it has {} bytes, expected {}", armour.len(), SshSig::ARMOUR_LEN);
    }
    let Some(body) = armour.strip_prefix(BEGIN.as_bytes()) else {
        return if armour.starts_with(b"-----BEGIN PGP") {
            "it is by PGP, expected one by SSH".into()
        } else if position(armour, BEGIN).is_some() {
            format!("something stands before `{BEGIN}`")
        } else {
            format!("it does not begin with `{BEGIN}`")
        };
    };
    let Some(end) = position(body, END) else {
        return format!("it does not end with `{END}`");
    };
    let (body, after) = body.split_at(end);
    if after.len() > END.len() {
        return format!("something stands after `{END}`");
    }
    let Some(blob) = from_lines(body) else {
        return "what it holds is not base64 in its one spelling".into();
    };
    match check_fields(&blob) {
        Err(why) => why,
        Ok(()) => format!("its base64 is not in lines of {COLUMNS} columns that end in LF"),
    }
}

/// Compares each field of a signature with the one value that it may have.
fn check_fields(blob: &[u8]) -> Result<(), String> {
    let mut fields = Fields::of(blob);
    if fields.take(6) != Some(b"SSHSIG") {
        return Err("what it holds does not begin with `SSHSIG`".into());
    }
    let short = || format!("it is cut short: it has {} bytes, expected {BLOB_LEN}", blob.len());
    let version = fields.number().ok_or_else(short)?;
    if version != 1 {
        return Err(format!("its version is {version}, expected 1"));
    }
    check_blob(fields.field().ok_or_else(short)?, "key", 32)?;
    for (name, expected) in [("namespace", "git"), ("reserved field", ""), ("hash", "sha512")] {
        let found = fields.field().ok_or_else(short)?;
        if found != expected.as_bytes() {
            return Err(format!("its {name} is {}, expected {expected:?}", quoted(found)));
        }
    }
    check_blob(fields.field().ok_or_else(short)?, "signature", 64)?;
    match fields.rest().len() {
        0 => Ok(()),
        more => Err(format!("{more} bytes stand after its last field")),
    }
}

/// Checks a field that holds a type and as many bytes.
fn check_blob(blob: &[u8], name: &str, len: usize) -> Result<(), String> {
    let mut fields = Fields::of(blob);
    match fields.field() {
        Some(found) if found != KEY_TYPE.as_bytes() => {
            return Err(format!("its {name} is of type {}, expected {KEY_TYPE:?}", quoted(found)));
        }
        _ => {}
    }
    match fields.field() {
        Some(found) if found.len() == len && fields.rest().is_empty() => Ok(()),
        _ => Err(format!("its {name} does not have {len} bytes")),
    }
}

fn position(bytes: &[u8], word: &str) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::openssh::SecretKey;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn alice() -> SecretKey {
        SecretKey::from_seed(Zeroizing::new([1; 32]))
    }

    fn armoured(blob: &[u8]) -> Vec<u8> {
        let base64 = Base64::encode_string(blob);
        let lines: Vec<_> = base64.as_bytes().chunks(COLUMNS).map(|line| String::from_utf8_lossy(line)).collect();
        format!("{BEGIN}\n{}\n{END}", lines.join("\n")).into_bytes()
    }

    fn blob_of(signature: &SshSig) -> Vec<u8> {
        [&BEFORE_KEY[..], &signature.key, &BEFORE_SIGNATURE[..], &signature.signature].concat()
    }

    /// Asserts that these bytes are refused for this reason, also as a header.
    #[track_caller]
    fn refused(armour: &[u8], reason: &str) {
        let header = String::from_utf8_lossy(armour).replace('\n', "\n ");
        for error in [SshSig::parse_armour(armour), SshSig::parse_header(header.as_bytes())].map(Result::unwrap_err) {
            assert_eq!(error.code().as_str(), "bad-signature");
            assert!(error.message().contains(reason), "{error}, expected: {reason}");
        }
    }

    #[test]
    fn the_form_has_its_fixed_lengths() {
        let signature = alice().sign(b"hello").unwrap();
        assert_eq!((BLOB_LEN, BASE64_LEN, LINES, SIGNED_LEN), (173, 232, 4, 95));
        assert_eq!((SshSig::ARMOUR_LEN, SshSig::HEADER_LEN), (293, 298));
        assert_eq!(signature.to_armour().len(), 293);
        assert_eq!(signature.to_header(), signature.to_armour().replace('\n', "\n "));
        assert_eq!(armoured(&blob_of(&signature)), signature.to_armour().as_bytes());
    }

    #[test]
    fn the_sample_above_is_alices() {
        let lines = include_str!("sshsig.rs").lines().filter_map(|line| line.strip_prefix("//! "));
        let armour: Vec<_> = lines.skip_while(|line| *line != BEGIN).take(LINES + 2).collect();
        assert_eq!(armour.join("\n"), alice().sign(b"hello").unwrap().to_armour());
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_alone() {
        let (alice, bob) = (alice(), SecretKey::from_seed(Zeroizing::new([2; 32])));
        let signature = alice.sign(b"hello").unwrap();
        assert_eq!(signature.verify(alice.public_key(), b"hello"), Ok(()));
        let code = |result: Result<()>| result.unwrap_err().code().as_str();
        assert_eq!(code(signature.verify(alice.public_key(), b"hellO")), "bad-signature");
        let by_another = signature.verify(bob.public_key(), b"hello").unwrap_err();
        for key in [&alice, &bob] {
            assert!(by_another.message().contains(&key.public_key().fingerprint().to_string()), "{by_another}");
        }
        // Bob puts his name to Alice's signature.
        let stolen = SshSig { key: *bob.public_key().as_bytes(), ..signature };
        assert_eq!(code(stolen.verify(bob.public_key(), b"hello")), "bad-signature");
        let no_key = SshSig { key: [0; 32], ..signature };
        assert_eq!(code(no_key.verify(alice.public_key(), b"hello")), "bad-signature");
    }

    #[test]
    fn what_another_program_signed_is_checked_and_may_end_in_one_line_break() {
        let alice = alice();
        let armour = alice.sign(b"hello").unwrap().to_armour();
        let check = |armour: &str, message: &[u8]| SshSig::checked(armour.as_bytes(), alice.public_key(), message);
        assert_eq!(check(&armour, b"hello"), alice.sign(b"hello"));
        assert_eq!(check(&format!("{armour}\n"), b"hello"), alice.sign(b"hello"));
        for (armour, message) in [
            (format!("{armour}\n\n"), "hello"),
            (format!("{armour}\r\n"), "hello"),
            (armour, "goodbye"),
            (String::new(), "hello"),
        ] {
            assert_eq!(check(&armour, message.as_bytes()).unwrap_err().code().as_str(), "bad-signature");
        }
    }

    #[test]
    fn another_armour_is_refused_and_named() {
        let signature = alice().sign(b"hello").unwrap();
        let armour = signature.to_armour();
        let text = |text: String, reason: &str| refused(text.as_bytes(), reason);
        text(format!("{armour}\n"), "something stands after");
        text(format!("{armour}\n{armour}"), "something stands after");
        text(format!("{armour} "), "something stands after");
        text(format!("\n{armour}"), "something stands before");
        text(format!("signed\n{armour}"), "something stands before");
        text(armour.replace(BEGIN, "-----BEGIN PGP SIGNATURE-----"), "PGP");
        text(armour.replace(END, ""), "does not end");
        text(armour[..200].to_owned(), "does not end");
        text(String::new(), "does not begin");
        text(armour.replace('\n', "\r\n"), "lines of 70 columns");
        text(armour.replacen('\n', "\n\n", 1), "lines of 70 columns");
        text(armour.replacen('\n', "", 2), "lines of 70 columns");
        let base64 = Base64::encode_string(&blob_of(&signature));
        text(format!("{BEGIN}\n{base64}\n{END}"), "lines of 70 columns");
        for columns in [64, 76] {
            let lines: Vec<_> = base64.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap()).collect();
            text(format!("{BEGIN}\n{}\n{END}", lines.join("\n")), "lines of 70 columns");
        }
        text(armour.replace('=', ""), "base64");
        text(armour.replace("=\n", "A\n"), "bytes");
        text(armour.replacen("\nU1", "\n U", 1), "base64");
        text("x".repeat(LARGEST + 1), "expected 293");
    }

    #[test]
    fn bits_that_base64_does_not_need_are_refused() {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let armour = alice().sign(b"hello").unwrap().to_armour().into_bytes();
        let last = armour.iter().position(|byte| *byte == b'=').unwrap() - 1;
        let digit = DIGITS.iter().position(|digit| *digit == armour[last]).unwrap();
        assert_eq!(digit % 4, 0);
        for bits in 1..4 {
            let mut other = armour.clone();
            other[last] = DIGITS[digit + bits];
            refused(&other, "base64");
        }
    }

    #[test]
    fn another_field_is_refused_and_named() {
        let signature = alice().sign(b"hello").unwrap();
        let blob = blob_of(&signature);
        assert!(SshSig::parse_armour(&armoured(&blob)).is_ok());
        let field = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let key = |kind: &str, key: &[u8]| field(&[field(kind.as_bytes()), field(key)].concat());
        let whole = |version: u8, key: Vec<u8>, namespace: &str, reserved: &str, hash: &str, signature: Vec<u8>| {
            let fields = [namespace, reserved, hash].map(|text| field(text.as_bytes())).concat();
            [&b"SSHSIG\0\0\0"[..], &[version], &key, &fields, &signature].concat()
        };
        let our_key = || key(KEY_TYPE, &signature.key);
        let our_signature = || key(KEY_TYPE, &signature.signature);
        assert_eq!(whole(1, our_key(), "git", "", "sha512", our_signature()), blob);
        for (blob, reason) in [
            (whole(2, our_key(), "git", "", "sha512", our_signature()), "version is 2"),
            (whole(1, our_key(), "file", "", "sha512", our_signature()), "namespace is \"file\""),
            (whole(1, our_key(), "gis", "", "sha512", our_signature()), "namespace is \"gis\""),
            (whole(1, our_key(), "", "", "sha512", our_signature()), "namespace is \"\""),
            (whole(1, our_key(), "git", "x", "sha512", our_signature()), "reserved field is \"x\""),
            (whole(1, our_key(), "git", "", "sha256", our_signature()), "hash is \"sha256\""),
            (whole(1, key("ssh-rsa", &[1; 256]), "git", "", "sha512", our_signature()), "type \"ssh-rsa\""),
            (whole(1, key("ecdsa-sha2-nistp256", b"nistp256"), "git", "", "sha512", our_signature()), "ecdsa-sha2"),
            (whole(1, key("ssh-ed25519-cert-v01@openssh.com", b""), "git", "", "sha512", our_signature()), "cert-v01"),
            (whole(1, key("sk-ssh-ed25519@openssh.com", b""), "git", "", "sha512", our_signature()), "sk-ssh"),
            (whole(1, our_key(), "git", "", "sha512", key("rsa-sha2-512", b"")), "signature is of type"),
            (whole(1, key(KEY_TYPE, &[1; 31]), "git", "", "sha512", our_signature()), "key does not have 32"),
            (whole(1, our_key(), "git", "", "sha512", key(KEY_TYPE, &[1; 65])), "signature does not have 64"),
            ([&blob[..], b"x"].concat(), "1 bytes stand after"),
            (blob[..172].to_vec(), "cut short"),
            (blob[..20].to_vec(), "cut short"),
            (blob[1..].to_vec(), "begin with `SSHSIG`"),
        ] {
            refused(&armoured(&blob), reason);
        }
        // A length that says more than there is.
        let mut long = blob;
        long[10] = 0xff;
        refused(&armoured(&long), "cut short");
    }

    #[test]
    fn a_header_indents_each_line_by_one_blank() {
        let signature = alice().sign(b"hello").unwrap();
        let header = signature.to_header();
        assert_eq!(SshSig::parse_header(header.as_bytes()), Ok(signature));
        for wrong in [
            signature.to_armour(),
            header.replacen("\n ", "\n  ", 1),
            header.replacen("\n ", "\n", 1),
            format!("{header}\n"),
            format!("{header}\n "),
            format!(" {header}"),
        ] {
            assert_eq!(SshSig::parse_header(wrong.as_bytes()).unwrap_err().code().as_str(), "bad-signature", "{wrong}");
        }
        assert!(SshSig::parse_armour(header.as_bytes()).is_err());
    }

    #[test]
    fn no_byte_of_an_armour_can_be_changed() {
        let alice = alice();
        let good = alice.sign(b"hello").unwrap();
        for (armour, parse) in
            [(good.to_armour(), SshSig::parse_armour as fn(&[u8]) -> Result<SshSig>), (good.to_header(), SshSig::parse_header)]
        {
            let mut bytes = armour.into_bytes();
            for at in 0..bytes.len() {
                let was = bytes[at];
                for byte in 0..=255u8 {
                    bytes[at] = byte;
                    let held = parse(&bytes).and_then(|read| {
                        // What is read is never another spelling of what was signed.
                        assert_eq!(read == good, byte == was, "byte {at} as {byte:#x}");
                        // Only every sixteenth forgery is worth the time that ed25519 takes to refuse it.
                        if byte != was && byte % 16 != 0 {
                            Err(refusal("skipped"))
                        } else {
                            read.verify(alice.public_key(), b"hello")
                        }
                    });
                    assert_eq!(held.is_ok(), byte == was, "byte {at} as {byte:#x}");
                }
                bytes[at] = was;
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(key: [u8; 32], half: [u8; 32], other: [u8; 32]) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            signature[32..].copy_from_slice(&other);
            let signature = SshSig { key, signature };
            prop_assert_eq!(SshSig::parse_armour(signature.to_armour().as_bytes()), Ok(signature));
            prop_assert_eq!(SshSig::parse_header(signature.to_header().as_bytes()), Ok(signature));
        }

        #[test]
        fn random_bytes_are_refused_without_panic(bytes: Vec<u8>, blob in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SshSig::parse_armour(&bytes).is_err());
            prop_assert!(SshSig::parse_header(&bytes).is_err());
            prop_assert!(SshSig::parse_armour(&armoured(&blob)).is_err());
            let magic = [&b"SSHSIG\0\0\0\x01"[..], &blob].concat();
            prop_assert!(SshSig::parse_armour(&armoured(&magic)).is_err());
        }
    }
}
