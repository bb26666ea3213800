//! What holds for any bytes whatever: what can be read is in its one form. The targets under `fuzz/` run these on bytes that they look for, and a
//! test on samples that it damages.

use quipu::model::commit;
use quipu::model::contents::ContentPath;
use quipu::model::digest::ObjectFormat;
use quipu::model::key::KeyCache;
use quipu::model::openssh::{PrivateKeyFile, parse_private_key, to_openssh};
use quipu::model::record::{Record, parent_of};
use quipu::model::sshsig::{Signer as _, SshSig};
use quipu::model::tree::Tree;

const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];

/// A commit that is read as a record, as contents or as a proposal is what these are written as. Returns whether it was a record.
pub(crate) fn commits(bytes: &[u8]) -> bool {
    let mut any = false;
    for format in FORMATS {
        if let Ok(record) = Record::parse(format, bytes.to_vec()) {
            any = true;
            let signature = bytes.windows(7).position(|window| window == b"\ngpgsig").expect("a record is signed");
            let end = bytes.windows(2).position(|pair| pair == b"\n\n").expect("a record has a message");
            let author = std::str::from_utf8(bytes).ok().and_then(|text| text.split('<').nth(1)?.split('>').next()?.parse().ok());
            let written = record.draft().payload(&author.expect("a record has an author"));
            assert_eq!([&bytes[..signature], &bytes[end..]].concat(), written.into_bytes());
            assert_eq!(parent_of(format, bytes), Ok(record.draft().parent));
            let body: Result<toml::Table, _> = record.draft().body().parse();
            assert!(body.is_ok(), "a body is TOML");
            if let Ok(signed) = record.clone().verify(&mut KeyCache::new()) {
                assert_eq!(*signed, record);
            }
        }
        if let Ok(tree) = commit::parse_contents(format, bytes) {
            assert_eq!(commit::contents(tree), bytes);
        }
        if let Ok((tree, head)) = commit::parse_proposal(format, bytes) {
            assert_eq!(commit::proposal(tree, head), bytes);
        }
    }
    any
}

/// An armour that is read is the one that is written, alone and in a header.
pub(crate) fn armours(bytes: &[u8]) -> bool {
    let alone = SshSig::parse_armour(bytes);
    if let Ok(signature) = &alone {
        assert_eq!(signature.to_armour().as_bytes(), bytes);
    }
    let in_header = SshSig::parse_header(bytes);
    if let Ok(signature) = &in_header {
        assert_eq!(signature.to_header().as_bytes(), bytes);
    }
    alone.is_ok() || in_header.is_ok()
}

/// A path that is read is the path that is printed, and a tree that is read is the tree that is written.
pub(crate) fn contents(bytes: &[u8]) -> bool {
    let mut any = false;
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(path) = text.parse::<ContentPath>()
    {
        any = true;
        assert_eq!(path.as_str(), text);
        assert!(path.components().all(|component| !component.is_empty() && component != "." && component != ".."));
        assert!(!text.contains(['\\', ':', '\0', '\n']));
    }
    for format in FORMATS {
        if let Ok(tree) = Tree::parse(format, bytes) {
            any = true;
            assert_eq!(tree.to_bytes(), bytes);
        }
    }
    any
}

/// A private key that is read signs, and is written so that it is read again.
pub(crate) fn private_keys(bytes: &[u8]) -> bool {
    match parse_private_key(bytes) {
        Ok(PrivateKeyFile::Plain(key, comment)) => {
            let written = to_openssh(&key, &comment);
            let Ok(PrivateKeyFile::Plain(again, _)) = parse_private_key(written.as_bytes()) else {
                panic!("what is written is not read")
            };
            assert_eq!(again.public_key(), key.public_key());
            let signature = key.sign(b"x").expect("a key in memory signs");
            assert_eq!(signature.verify(key.public_key(), b"x"), Ok(()));
            true
        }
        Ok(PrivateKeyFile::Encrypted { .. }) => true,
        Err(_) => false,
    }
}
