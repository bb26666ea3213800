//! Secret keys, and the files that OpenSSH keeps them in.
//!
//! A key that lies unencrypted in a file signs in this process. An encrypted one is only recognised: its public half is read, and
//! `ssh-keygen -Y sign` signs with it, which knows agents and passphrases.
//!
//! A file is base64 between two lines, over: `openssh-key-v1\0`, cipher, function that derives its key, that function's
//! options, the number of keys (1), the public key, and the private section, which for an ed25519 key is:
//!
//! ```text
//! check  check  "ssh-ed25519"  public  seed || public  comment  1 2 3 … up to a multiple of 8
//! ```

use super::error::{Error, Result, fault};
use super::key::{KEY_TYPE, PublicKey, wrong_type};
use super::ssh_wire::{COLUMNS, Fields, from_lines, put_field, quoted};
use super::sshsig::{Signer, SshSig, signed_bytes};
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const NONE: &[u8] = b"none";
/// The private section is filled up to a multiple of this where there is no cipher.
const BLOCK: usize = 8;

/// The largest file that is read, in bytes: as large as OpenSSH reads.
pub const FILE_MAX: usize = 1024 * 1024;

/// An ed25519 key that can sign. Its memory is overwritten when it is dropped, and nothing prints it.
pub struct SecretKey {
    // Boxed, so that a move leaves no copy of the seed behind.
    key: Box<SigningKey>,
    public: PublicKey,
}

impl SecretKey {
    /// Makes the key that belongs to a seed of 32 random bytes. The seed comes from the caller.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let key = Box::new(SigningKey::from_bytes(&seed));
        drop(seed);
        let public = PublicKey::of_secret(&key);
        SecretKey { key, public }
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<SshSig> {
        Ok(SshSig { key: *self.public.as_bytes(), signature: self.key.sign(&signed_bytes(message)).to_bytes() })
    }

    fn secret(&self) -> Option<&SecretKey> {
        Some(self)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public)
    }
}

/// What a private key's file holds.
#[derive(Debug)]
pub enum PrivateKeyFile {
    /// A key that can sign, and its comment.
    Plain(SecretKey, String),
    /// A key that needs a passphrase before it can sign.
    Encrypted {
        /// Its public half, which is not encrypted and which nothing vouches for until it signs.
        public_key: PublicKey,
        /// The cipher, by OpenSSH's name for it.
        cipher: String,
    },
}

/// Reads an OpenSSH private key's file. Lines of base64 may have any length and end in LF or CRLF.
///
/// # Errors
/// `bad-key` where the key is of another type than ed25519, or in another format, or the file is damaged: where its two check
/// numbers differ, its public key does not belong to its secret key, or anything stands where nothing should. `limit`
/// where it has more than [`FILE_MAX`] bytes.
pub fn parse_private_key(file: &[u8]) -> Result<PrivateKeyFile> {
    if file.len() > FILE_MAX {
        return Err(fault!(Limit, "the key's file has {} bytes, at most {FILE_MAX} are read", file.len()));
    }
    let text = file.strip_suffix(b"\n").unwrap_or(file);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let base64 = text
        .strip_prefix(BEGIN.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")))
        .ok_or_else(|| not_openssh(file))?
        .strip_suffix(END.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .ok_or_else(|| damaged(&format!("it does not end with the line `{END}`")))?;
    let blob = from_lines(base64).ok_or_else(|| damaged("what it holds is not base64 in its one spelling"))?;

    let fields = &mut Fields::of(&blob);
    if fields.take(MAGIC.len()) != Some(MAGIC) {
        return Err(damaged("it does not begin with `openssh-key-v1`"));
    }
    let cipher = fields.field().ok_or_else(cut_short)?;
    let derivation = fields.field().ok_or_else(cut_short)?;
    let options = fields.field().ok_or_else(cut_short)?;
    let number = fields.number().ok_or_else(cut_short)?;
    if number != 1 {
        return Err(damaged(&format!("it holds {number} keys, expected 1")));
    }
    let public = PublicKey::from_blob(fields.field().ok_or_else(cut_short)?)?;
    let section = fields.field().ok_or_else(cut_short)?;
    let after = fields.rest().len();

    if cipher == NONE {
        if derivation != NONE || !options.is_empty() {
            return Err(damaged("it derives a key for a cipher, and has none"));
        }
        if after != 0 {
            return Err(damaged(&format!("{after} bytes stand after the key")));
        }
        return parse_section(section, &public).map(|(key, comment)| PrivateKeyFile::Plain(key, comment));
    }
    if derivation != b"bcrypt" {
        let found = quoted(derivation);
        return Err(damaged(&format!("its passphrase goes through {found}, expected \"bcrypt\"")));
    }
    let cipher = match std::str::from_utf8(cipher) {
        Ok(name) if (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) => name.to_owned(),
        _ => return Err(damaged(&format!("{} is not the name of a cipher", quoted(cipher)))),
    };
    // These ciphers put a tag behind what they encrypt, and its length is not in a field.
    let tag = match cipher.as_str() {
        "aes128-gcm@openssh.com" | "aes256-gcm@openssh.com" | "chacha20-poly1305@openssh.com" => 16,
        _ => 0,
    };
    if after != tag {
        return Err(damaged(&format!("{after} bytes stand after the key, expected {tag}")));
    }
    Ok(PrivateKeyFile::Encrypted { public_key: public, cipher })
}

/// Reads a private section that is not encrypted. Nothing of what it holds goes into a message.
fn parse_section(section: &[u8], public: &PublicKey) -> Result<(SecretKey, String)> {
    let fields = &mut Fields::of(section);
    let check = fields.number().ok_or_else(cut_short)?;
    if fields.number().ok_or_else(cut_short)? != check {
        return Err(damaged("its two check numbers differ"));
    }
    if fields.field().ok_or_else(cut_short)? != KEY_TYPE.as_bytes() {
        return Err(damaged("its public and its private part are of different types"));
    }
    let public_again = fields.field().ok_or_else(cut_short)?;
    let (seed, public_third) = fields
        .field()
        .ok_or_else(cut_short)?
        .split_first_chunk::<32>()
        .ok_or_else(|| damaged("its secret key does not have 64 bytes"))?;
    let key = SecretKey::from_seed(Zeroizing::new(*seed));
    if key.public != *public || public_again != public.as_bytes() || public_third != public.as_bytes() {
        return Err(damaged("its public key does not belong to its secret key"));
    }
    let comment = fields.field().ok_or_else(cut_short)?;
    if comment.contains(&0) {
        return Err(damaged("its comment has a NUL"));
    }
    let padding = fields.rest();
    if !section.len().is_multiple_of(BLOCK) || padding.len() >= BLOCK || padding.iter().zip(1..).any(|(found, n)| *found != n) {
        return Err(damaged("its padding is not 1, 2, 3 … up to a multiple of 8"));
    }
    Ok((key, String::from_utf8_lossy(comment).into_owned()))
}

/// Returns the file of a key without a passphrase, byte for byte as OpenSSH writes it, but for the check number, which it draws at
/// random and which here follows from the public key. Control characters are left out of the comment.
pub fn to_openssh(key: &SecretKey, comment: &str) -> Zeroizing<String> {
    let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(key.public.as_bytes()));
    write_file(key, &comment, [a, b, c, d])
}

fn write_file(key: &SecretKey, comment: &str, check: [u8; 4]) -> Zeroizing<String> {
    // The capacities are enough, so that nothing is moved and left behind while it grows.
    let mut section = Zeroizing::new(Vec::with_capacity(160 + comment.len()));
    section.extend_from_slice(&check);
    section.extend_from_slice(&check);
    put_field(&mut section, KEY_TYPE.as_bytes());
    put_field(&mut section, key.public.as_bytes());
    put_field(&mut section, Zeroizing::new(key.key.to_keypair_bytes()).as_slice());
    put_field(&mut section, comment.as_bytes());
    let padding = section.len().next_multiple_of(BLOCK) - section.len();
    section.extend((1..=7).take(padding));

    let mut blob = Zeroizing::new(Vec::with_capacity(128 + section.len()));
    blob.extend_from_slice(MAGIC);
    put_field(&mut blob, NONE);
    put_field(&mut blob, NONE);
    put_field(&mut blob, b"");
    blob.extend_from_slice(&1u32.to_be_bytes());
    put_field(&mut blob, &key.public.to_blob());
    put_field(&mut blob, &section);

    let base64 = Zeroizing::new(Base64::encode_string(&blob));
    let mut file = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / COLUMNS + 80));
    file.push_str(BEGIN);
    file.push('\n');
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(COLUMNS));
        file.push_str(line);
        file.push('\n');
        rest = after;
    }
    file.push_str(END);
    file.push('\n');
    file
}

fn damaged(why: &str) -> Error {
    fault!(BadKey, "the private key's file is damaged: {why}")
}

fn cut_short() -> Error {
    damaged("a field of it is cut short")
}

/// Says what a file is that is not an OpenSSH private key. Nothing of it goes into the message but a word that is known.
fn not_openssh(file: &[u8]) -> Error {
    const OTHERS: &[(&str, &str)] = &[
        ("-----BEGIN RSA PRIVATE KEY-----", "ssh-rsa"),
        ("-----BEGIN DSA PRIVATE KEY-----", "ssh-dss"),
        ("-----BEGIN EC PRIVATE KEY-----", "ecdsa"),
    ];
    if let Some((_, found)) = OTHERS.iter().find(|(begin, _)| file.starts_with(begin.as_bytes())) {
        return wrong_type(found.as_bytes());
    }
    let expected = "expected an OpenSSH private key";
    let error = if file.starts_with(b"-----BEGIN PRIVATE KEY-----") || file.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    {
        fault!(BadKey, "the file is a private key in PKCS#8, {expected}")
    } else if file.starts_with(b"PuTTY-User-Key-File") {
        fault!(BadKey, "the file is a private key of PuTTY, {expected}")
    } else if file.starts_with(b"ssh-") || file.starts_with(b"ecdsa-") || file.starts_with(b"sk-") {
        return fault!(BadKey, "the file is a public key, {expected}")
            .hint("the private key is in the file of the same name without .pub");
    } else {
        fault!(BadKey, "the file does not begin with the line `{BEGIN}`")
    };
    error.hint("make an ed25519 key with `quipu key new`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::allowed_signers_line;
    use crate::model::object::{MemoryObjects, WriteObjects as _};
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Output, Stdio};

    fn secret(n: u8) -> SecretKey {
        SecretKey::from_seed(Zeroizing::new([n; 32]))
    }

    #[track_caller]
    fn plain(file: &[u8]) -> (SecretKey, String) {
        match parse_private_key(file).unwrap() {
            PrivateKeyFile::Plain(key, comment) => (key, comment),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(file: &[u8], reason: &str) {
        let error = parse_private_key(file).unwrap_err();
        assert_eq!(error.code().as_str(), "bad-key");
        assert!(error.message().contains(reason), "{error}, expected: {reason}");
    }

    /// The bytes of a file, and a file of bytes.
    fn blob_of(file: &str) -> Vec<u8> {
        let base64: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        Base64::decode_vec(&base64).unwrap()
    }

    fn file_of(blob: &[u8]) -> Vec<u8> {
        format!("{BEGIN}\n{}\n{END}\n", Base64::encode_string(blob)).into_bytes()
    }

    const FIXTURES: [(u8, &str, &str, &str); 3] = [
        (1, "alice", include_str!("../../tests/fixtures/keys/alice"), include_str!("../../tests/fixtures/keys/alice.pub")),
        (2, "bob", include_str!("../../tests/fixtures/keys/bob"), include_str!("../../tests/fixtures/keys/bob.pub")),
        (3, "mallory", include_str!("../../tests/fixtures/keys/mallory"), include_str!("../../tests/fixtures/keys/mallory.pub")),
    ];

    #[test]
    fn the_keys_of_the_cast_come_from_their_seeds() {
        for (seed, name, private, public) in FIXTURES {
            let key = secret(seed);
            assert_eq!(*to_openssh(&key, name), private);
            assert_eq!(format!("{} {name}\n", key.public_key()), public);
            let (read, comment) = plain(private.as_bytes());
            assert_eq!((read.public_key(), comment.as_str()), (key.public_key(), name));
            assert_eq!(read.sign(b"hello"), key.sign(b"hello"));
        }
    }

    #[test]
    fn no_message_or_print_shows_a_seed() {
        let key = secret(7);
        let shown = format!("{key:?} {:?}", PrivateKeyFile::Plain(secret(7), "c".into()));
        assert!(shown.contains(&key.public_key().to_string()), "{shown}");
        assert!(!shown.contains("7, 7") && !shown.contains("0707"), "{shown}");
    }

    #[test]
    fn wrapping_and_line_ends_of_a_private_key_are_free() {
        let file = to_openssh(&secret(1), "alice");
        for same in [file.replace('\n', "\r\n"), file.trim_end().to_owned(), String::from_utf8(file_of(&blob_of(&file))).unwrap()]
        {
            assert_eq!(plain(same.as_bytes()).0.public_key(), secret(1).public_key());
        }
        for (other, reason) in [
            (format!("{}\n", *file), "does not end"),
            (format!("{}x", *file), "does not end"),
            (format!(" {}", *file), "does not begin"),
            (file.replacen('\n', "\n ", 2), "base64"),
            (file.replace('\n', ""), "does not begin"),
            (file.replace(END, ""), "does not end"),
            (file.replace(BEGIN, ""), "does not begin"),
            (String::new(), "does not begin"),
            (format!("{BEGIN}\n{END}\n"), "does not end"),
            (format!("{BEGIN}\n\n{END}\n"), "openssh-key-v1"),
        ] {
            refused(other.as_bytes(), reason);
        }
        let large = parse_private_key(&vec![b'A'; FILE_MAX + 1]).unwrap_err();
        assert_eq!(large.code().as_str(), "limit");
    }

    #[test]
    fn a_private_key_that_does_not_agree_with_itself_is_refused() {
        let (blob, bob) = (blob_of(&to_openssh(&secret(1), "alice")), secret(2));
        assert!(parse_private_key(&file_of(&blob)).is_ok());
        let alice = *secret(1).public_key().as_bytes();
        let places: Vec<usize> = (0..blob.len()).filter(|at| blob[*at..].starts_with(&alice)).collect();
        assert_eq!(places.len(), 3);
        let changed = |at: usize, with: &[u8]| {
            let mut blob = blob.clone();
            blob[at..at + with.len()].copy_from_slice(with);
            file_of(&blob)
        };
        for at in &places {
            refused(&changed(*at, bob.public_key().as_bytes()), "does not belong to its secret key");
        }
        // All three of them Bob's: still the seed is Alice's.
        let mut bobs = blob.clone();
        for at in &places {
            bobs[*at..at + 32].copy_from_slice(bob.public_key().as_bytes());
        }
        refused(&file_of(&bobs), "does not belong to its secret key");
        refused(&changed(places[2] - 32, &[9; 32]), "does not belong to its secret key");
        let check = places[0] + 32 + 4;
        refused(&changed(check, &[0, 0, 0, 0]), "check numbers");
        refused(&changed(places[1] - 5, b"8"), "of different types");
        refused(&changed(places[0], &[0; 32]), "small order");
        refused(&changed(places[0] - 5, b"8"), "is of type \"ssh-ed25518\"");
        // Number of keys, cipher, derivation.
        refused(&changed(MAGIC.len() + 8 + 8 + 4 + 3, &[2]), "holds 2 keys");
        refused(&changed(MAGIC.len() + 8 + 4, b"some"), "derives a key");
        refused(&changed(MAGIC.len() + 4, b"some"), "expected \"bcrypt\"");
        let options = MAGIC.len() + 8 + 8;
        let salted = [&blob[..options], &[0, 0, 0, 1, 9], &blob[options + 4..]].concat();
        refused(&file_of(&salted), "derives a key");
        refused(&file_of(&[&blob[..], b"\0"].concat()), "1 bytes stand after");
        for len in 0..blob.len() {
            assert_eq!(parse_private_key(&file_of(&blob[..len])).unwrap_err().code().as_str(), "bad-key");
        }
    }

    /// Writes a section with this after the comment's field.
    fn with_padding(comment: &[u8], padding: &[u8]) -> Vec<u8> {
        let (key, mut section, mut blob) = (secret(1), vec![5; 8], MAGIC.to_vec());
        put_field(&mut section, KEY_TYPE.as_bytes());
        put_field(&mut section, key.public_key().as_bytes());
        put_field(&mut section, &key.key.to_keypair_bytes());
        put_field(&mut section, comment);
        section.extend_from_slice(padding);
        for field in [&b"none"[..], b"none", b""] {
            put_field(&mut blob, field);
        }
        blob.extend_from_slice(&[0, 0, 0, 1]);
        put_field(&mut blob, &key.public_key().to_blob());
        put_field(&mut blob, &section);
        file_of(&blob)
    }

    #[test]
    fn padding_counts_up_to_a_full_block_and_no_further() {
        assert_eq!(plain(&with_padding(b"alice", &[])).1, "alice");
        assert_eq!(plain(&with_padding(b"ali", &[1, 2])).1, "ali");
        assert_eq!(plain(&with_padding(b"alice!", &[1, 2, 3, 4, 5, 6, 7])).1, "alice!");
        assert_eq!(plain(&with_padding(b"\xff23", &[1, 2])).1, "\u{fffd}23");
        for (comment, padding) in [
            (&b"ali"[..], &[][..]),
            (b"ali", &[1]),
            (b"ali", &[2, 1]),
            (b"ali", &[0, 0]),
            (b"ali", &[1, 2, 3]),
            (b"alice", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ] {
            refused(&with_padding(comment, padding), "padding");
        }
        refused(&with_padding(b"al\0", &[1, 2]), "NUL");
    }

    #[test]
    fn no_byte_of_a_file_can_be_changed_into_another_key() {
        let key = secret(1);
        let file = to_openssh(&key, "alice").as_bytes().to_vec();
        let mut comments = 0;
        for at in 0..file.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, file[at] ^ b'\n', file[at] ^ b'A'] {
                let mut changed = file.clone();
                changed[at] ^= flip;
                match parse_private_key(&changed) {
                    Err(error) => assert_eq!(error.code().as_str(), "bad-key"),
                    // Nothing in the format protects a comment.
                    Ok(PrivateKeyFile::Plain(read, comment)) => {
                        assert_eq!(read.public_key(), key.public_key(), "byte {at}");
                        assert_eq!(read.sign(b"hello"), key.sign(b"hello"));
                        if comment == "alice" {
                            assert_eq!(flip, 0, "byte {at} ^ {flip:#x}");
                        } else {
                            comments += 1;
                        }
                    }
                    Ok(other) => panic!("byte {at} ^ {flip:#x}: {other:?}"),
                }
            }
        }
        assert!(comments > 0);
    }

    #[test]
    fn keys_in_other_formats_are_named() {
        for (file, reason) in [
            ("-----BEGIN RSA PRIVATE KEY-----\n", "ssh-rsa"),
            ("-----BEGIN EC PRIVATE KEY-----\n", "ecdsa"),
            ("-----BEGIN DSA PRIVATE KEY-----\n", "ssh-dss"),
            ("-----BEGIN PRIVATE KEY-----\n", "PKCS#8"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "PKCS#8"),
            ("PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY"),
            ("ssh-ed25519 AAAA alice\n", "public key"),
        ] {
            refused(file.as_bytes(), reason);
            assert!(!parse_private_key(file.as_bytes()).unwrap_err().hints().is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seed: [u8; 32], comment in "\\PC{0,40}", check: [u8; 4]) {
            let key = SecretKey::from_seed(Zeroizing::new(seed));
            for file in [to_openssh(&key, &comment), write_file(&key, &comment, check)] {
                let (read, found) = plain(file.as_bytes());
                prop_assert_eq!(read.public_key(), key.public_key());
                prop_assert_eq!(read.key.as_bytes(), &seed);
                // Private-use and unassigned characters are printed, control characters are not.
                prop_assert_eq!(found, comment.clone());
            }
        }

        #[test]
        fn random_bytes_are_refused_without_panic(bytes: Vec<u8>, at in 0usize..250, with: Vec<u8>) {
            prop_assert!(parse_private_key(&bytes).is_err());
            prop_assert!(parse_private_key(&file_of(&bytes)).is_err());
            prop_assert!(parse_private_key(&file_of(&[MAGIC, &bytes].concat())).is_err());
            // Something put into the middle of a good one moves all fields after it.
            let key = secret(1);
            let good = blob_of(&to_openssh(&key, "alice"));
            let at = at.min(good.len());
            let spliced = [&good[..at], &with, &good[at..]].concat();
            if let Ok(PrivateKeyFile::Plain(read, _)) = parse_private_key(&file_of(&spliced)) {
                prop_assert_eq!(read.public_key(), key.public_key());
            }
        }
    }

    /// A folder for one test, in which programs give a second opinion.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            Bench(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        /// Writes a file that only its owner may read, as ssh-keygen wants it of keys.
        fn put(&self, name: &str, bytes: &[u8]) {
            let mut file = tempfile::NamedTempFile::new_in(self.path()).unwrap();
            file.write_all(bytes).unwrap();
            file.persist(self.path().join(name)).unwrap();
        }

        fn get(&self, name: &str) -> Vec<u8> {
            std::fs::read(self.path().join(name)).unwrap()
        }

        #[allow(clippy::disallowed_methods)]
        fn run(&self, program: &str, args: &[&str], input: &[u8]) -> Output {
            let mut child = std::process::Command::new(program)
                .args(args)
                .current_dir(self.path())
                .env("HOME", self.path())
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|why| panic!("{program}: {why}"));
            // A program that ends before it has read everything says so by its status.
            let _ = child.stdin.take().unwrap().write_all(input);
            child.wait_with_output().unwrap()
        }

        #[track_caller]
        fn done(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
            let output = self.run(program, args, input);
            assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        }
    }

    #[test]
    fn ssh_keygen_reads_the_key_that_we_write() {
        let bench = Bench::new();
        for (n, comment) in [(4, "carol@acme.example"), (5, ""), (6, "a"), (7, "å b"), (8, "seven77"), (9, "eight888")] {
            let key = secret(n);
            bench.put("key", to_openssh(&key, comment).as_bytes());
            let public = String::from_utf8(bench.done("ssh-keygen", &["-y", "-f", "key"], b"")).unwrap();
            assert_eq!(PublicKey::parse_line(&public), Ok((key.public_key().clone(), comment.to_owned())));
            bench.put("key.pub", public.as_bytes());
            let listed = String::from_utf8(bench.done("ssh-keygen", &["-l", "-f", "key.pub"], b"")).unwrap();
            let fingerprint = key.public_key().fingerprint().to_string();
            assert_eq!(listed.split(' ').nth(1), Some(fingerprint.as_str()), "{listed}");
        }
    }

    #[test]
    fn a_key_of_ssh_keygen_is_read_and_written_byte_for_byte() {
        let bench = Bench::new();
        for (i, comment) in ["carol@acme.example", "", "a", "alice"].into_iter().enumerate() {
            let name = format!("key{i}");
            bench.done("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &name], b"");
            let file = String::from_utf8(bench.get(&name)).unwrap();
            let (key, found) = plain(file.as_bytes());
            assert_eq!(found, comment);
            let public = String::from_utf8(bench.get(&format!("{name}.pub"))).unwrap();
            assert_eq!(public, format!("{} {comment}\n", key.public_key()));
            let blob = blob_of(&file);
            let check = blob[MAGIC.len() + 8 + 8 + 4 + 4 + 55 + 4..].first_chunk().unwrap();
            assert_eq!(*write_file(&key, comment, *check), file);
        }
    }

    #[test]
    fn ssh_keygen_signs_the_same_bytes_and_verifies_ours() {
        let bench = Bench::new();
        let key = secret(4);
        bench.put("key", to_openssh(&key, "carol").as_bytes());
        bench.put("allowed", format!("{}\n", allowed_signers_line("carol", key.public_key())).as_bytes());
        for message in [&b""[..], b"hello", &[0xfe; 100_000]] {
            let ours = key.sign(message).unwrap();
            let theirs = bench.done("ssh-keygen", &["-Y", "sign", "-n", "git", "-f", "key"], message);
            assert_eq!(String::from_utf8_lossy(&theirs), ours.to_armour() + "\n");
            assert_eq!(SshSig::checked(&theirs, key.public_key(), message), Ok(ours));

            bench.put("sig", ours.to_armour().as_bytes());
            let verify = ["-Y", "verify", "-n", "git", "-f", "allowed", "-I", "carol", "-s", "sig"];
            bench.done("ssh-keygen", &verify, message);
            bench.done("ssh-keygen", &["-Y", "check-novalidate", "-n", "git", "-s", "sig"], message);
            assert!(!bench.run("ssh-keygen", &verify, b"goodbye").status.success());
        }
        let elsewhere = bench.done("ssh-keygen", &["-Y", "sign", "-n", "file", "-f", "key"], b"hello");
        let error = SshSig::checked(&elsewhere, key.public_key(), b"hello").unwrap_err();
        assert!(error.message().contains("namespace is \"file\""), "{error}");
        let weaker = bench.done("ssh-keygen", &["-Y", "sign", "-n", "git", "-O", "hashalg=sha256", "-f", "key"], b"hello");
        let error = SshSig::checked(&weaker, key.public_key(), b"hello").unwrap_err();
        assert!(error.message().contains("hash is \"sha256\""), "{error}");
    }

    #[test]
    fn an_encrypted_key_is_recognised_by_its_public_half() {
        let bench = Bench::new();
        for (i, cipher) in ["aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"].into_iter().enumerate() {
            let name = format!("key{i}");
            let args = ["-q", "-t", "ed25519", "-a", "1", "-Z", cipher, "-N", "secret", "-f", &name];
            bench.done("ssh-keygen", &args, b"");
            let public = String::from_utf8(bench.get(&format!("{name}.pub"))).unwrap();
            let (expected, _) = PublicKey::parse_line(&public).unwrap();
            let file = bench.get(&name);
            match parse_private_key(&file).unwrap() {
                PrivateKeyFile::Encrypted { public_key, cipher: found } => {
                    assert_eq!((public_key, found.as_str()), (expected, cipher));
                }
                other => panic!("{other:?}"),
            }
            let blob = blob_of(std::str::from_utf8(&file).unwrap());
            refused(&file_of(&[&blob[..], b"\0"].concat()), "stand after");
            refused(&file_of(&blob[..blob.len() - 1]), "");
        }
    }

    #[test]
    fn keys_of_other_types_are_refused_by_name() {
        let bench = Bench::new();
        for (args, found) in [
            (&["-t", "ecdsa", "-N", ""][..], "ecdsa-sha2-nistp256"),
            (&["-t", "ecdsa", "-N", "secret"], "ecdsa-sha2-nistp256"),
            (&["-t", "rsa", "-b", "1024", "-N", ""], "ssh-rsa"),
            (&["-t", "rsa", "-b", "1024", "-m", "PEM", "-N", ""], "ssh-rsa"),
        ] {
            let name = format!("key{}", args.join(""));
            bench.done("ssh-keygen", &[&["-q", "-a", "1", "-f", &name], args].concat(), b"");
            refused(&bench.get(&name), found);
            let hints = parse_private_key(&bench.get(&name)).unwrap_err().hints().join(" ");
            assert!(hints.contains("quipu key new"), "{hints}");
            let public = String::from_utf8(bench.get(&format!("{name}.pub"))).unwrap();
            assert!(PublicKey::parse_line(&public).unwrap_err().message().contains(found));
            if found == "ecdsa-sha2-nistp256" {
                continue;
            }
            let signature = bench.done("ssh-keygen", &["-Y", "sign", "-n", "git", "-f", &name], b"hello");
            let error = SshSig::checked(&signature, secret(1).public_key(), b"hello").unwrap_err();
            assert_eq!(error.code().as_str(), "bad-signature");
            assert!(error.message().contains("ssh-rsa"), "{error}");
        }
    }

    #[test]
    fn stock_git_says_good_to_a_commit_with_our_header() {
        use crate::model::digest::{ObjectFormat, ObjectKind};
        for (format, header) in [(ObjectFormat::Sha1, "gpgsig"), (ObjectFormat::Sha256, "gpgsig-sha256")] {
            let bench = Bench::new();
            let (alice, tree) = (secret(1), format.empty_tree());
            bench.done("git", &["init", "-q", "--object-format", format.as_str()], b"");
            bench.done("git", &["hash-object", "-t", "tree", "-w", "--stdin"], b"");
            let head = format!("tree {tree}\nauthor a <a> 1700000000 +0000\ncommitter a <a> 1700000000 +0000\n");
            let unsigned = format!("{head}\nhello\n");
            let signature = alice.sign(unsigned.as_bytes()).unwrap();
            let commit = format!("{head}{header} {}\n\nhello\n", signature.to_header());
            let id = MemoryObjects::new(format).write(ObjectKind::Commit, commit.as_bytes()).unwrap().to_string();
            let written = bench.done("git", &["hash-object", "-t", "commit", "-w", "--stdin"], commit.as_bytes());
            assert_eq!(String::from_utf8_lossy(&written).trim_end(), id);
            let verify = ["-c", "gpg.ssh.allowedSignersFile=allowed", "verify-commit", &id];
            bench.put("allowed", format!("{}\n", allowed_signers_line("alice", alice.public_key())).as_bytes());
            bench.done("git", &verify, b"");
            // The twin: somebody else is allowed.
            bench.put("allowed", format!("{}\n", allowed_signers_line("bob", secret(2).public_key())).as_bytes());
            assert!(!bench.run("git", &verify, b"").status.success());
        }
    }
}
