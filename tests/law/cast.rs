//! Alice, Bob and Mallory, and the ways to make records and things that look like records.

use quipu::log::chain::Chain;
use quipu::log::package::PackageLog;
use quipu::model::digest::{ContentDigest, FileDigest, GitId, ObjectFormat, RecordDigest, RegistryId};
use quipu::model::entry::{
    Entry, Grant, OperatorEntry, OperatorInit, OperatorPrivilege, PackageEntry, PackageInit, Release, Subject,
};
use quipu::model::error::Result;
use quipu::model::key::KeyCache;
use quipu::model::name::{FullName, Label, RegistryName};
use quipu::model::openssh::{PrivateKeyFile, SecretKey, parse_private_key};
use quipu::model::record::{Draft, Record, SignedRecord, signature_header};
use quipu::model::sshsig::{Signer, SshSig};
use quipu::model::time::Timestamp;

/// One of the cast: a simple name and a key.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) name: Label,
    pub(crate) key: SecretKey,
}

impl Person {
    pub(crate) fn grant<P: Copy>(&self, privileges: &[P]) -> Grant<P> {
        Grant { name: self.name.clone(), key: self.key.public_key().clone(), privileges: privileges.to_vec(), namespaces: vec![] }
    }
}

fn person(name: &str, file: &[u8]) -> Person {
    let PrivateKeyFile::Plain(key, _) = parse_private_key(file).unwrap() else { panic!("{name}'s key is encrypted") };
    Person { name: name.parse().unwrap(), key }
}

pub(crate) fn alice() -> Person {
    person("alice", include_bytes!("../fixtures/keys/alice"))
}

pub(crate) fn bob() -> Person {
    person("bob", include_bytes!("../fixtures/keys/bob"))
}

pub(crate) fn mallory() -> Person {
    person("mallory", include_bytes!("../fixtures/keys/mallory"))
}

/// Someone whose key is in no file: of 32 times this byte.
pub(crate) fn stranger(name: &str, seed: u8) -> Person {
    Person { name: name.parse().unwrap(), key: SecretKey::from_seed(zeroize::Zeroizing::new([seed; 32])) }
}

pub(crate) fn carol() -> Person {
    stranger("carol", 4)
}

pub(crate) const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];
pub(crate) const SHA1: ObjectFormat = ObjectFormat::Sha1;

pub(crate) fn acme() -> RegistryName {
    "acme.example".parse().unwrap()
}

pub(crate) fn http() -> Subject {
    Subject::Package("wasi:http".parse().unwrap())
}

pub(crate) fn full(text: &str) -> FullName {
    text.parse().unwrap()
}

pub(crate) fn any_registry() -> RegistryId {
    RegistryId::from_sha256([7; 32])
}

/// Noon of some day, and so many seconds.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(1_750_000_000 + seconds).unwrap()
}

/// A first record: no link, no parent.
pub(crate) fn first(format: ObjectFormat, who: &Person, subject: &Subject, entry: Entry) -> Draft {
    Draft {
        format,
        tree: format.empty_tree(),
        parent: None,
        signer: who.name.clone(),
        time: at(0),
        registry: acme(),
        subject: subject.clone(),
        link: None,
        entry,
    }
}

pub(crate) use quipu::model::entry::PackagePrivilege as P;

pub(crate) fn init(keys: Vec<Grant<P>>) -> Entry {
    Entry::Package(PackageEntry::Init(PackageInit { registry_id: any_registry(), origin: None, keys }))
}

pub(crate) fn operator_init(keys: Vec<Grant<OperatorPrivilege>>) -> Entry {
    Entry::Operator(OperatorEntry::Init(OperatorInit { origin: None, keys }))
}

/// A package log and the record that it ends in: it grows by one record a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Growing {
    pub(crate) log: PackageLog,
    pub(crate) head: SignedRecord,
}

impl Growing {
    /// `wasi:http` with Alice holding everything, and Bob what is said.
    pub(crate) fn new(bob_holds: &[P]) -> Self {
        let mut keys = vec![alice().grant(&[P::Auth, P::Release, P::Yank, P::Rename])];
        if !bob_holds.is_empty() {
            keys.push(bob().grant(bob_holds));
        }
        let head = first(SHA1, &alice(), &http(), init(keys)).sign(&alice().key).unwrap();
        Growing { log: PackageLog::start(&head).unwrap(), head }
    }

    /// What comes next, not signed yet.
    pub(crate) fn draft(&self, who: &Person, entry: PackageEntry) -> Draft {
        after(self.log.chain(), who, Entry::Package(entry))
    }

    pub(crate) fn sign(&self, who: &Person, entry: PackageEntry) -> SignedRecord {
        self.draft(who, entry).sign(&who.key).unwrap()
    }

    pub(crate) fn append(&self, record: &SignedRecord) -> Result<Self> {
        Ok(Growing { log: self.log.clone().append(record)?, head: record.clone() })
    }

    /// The log with one more record, which has to be accepted.
    pub(crate) fn with(&self, who: &Person, entry: PackageEntry) -> Self {
        self.append(&self.sign(who, entry)).unwrap()
    }

    /// Whether the law takes this record by this person, as a code.
    pub(crate) fn try_with(&self, who: &Person, entry: PackageEntry) -> Result<Self> {
        self.append(&self.sign(who, entry))
    }
}

/// What comes next in a log of any kind, not signed yet.
pub(crate) fn after(chain: &Chain, who: &Person, entry: Entry) -> Draft {
    chain.place(Draft { time: at(chain.seq() + 1), ..first(chain.format(), who, chain.subject(), entry) })
}

/// The last record of a log with something else said about its place or itself, signed by the same person.
pub(crate) fn resigned(draft: Draft, who: &Person, change: impl FnOnce(&mut Draft)) -> SignedRecord {
    let mut draft = draft;
    change(&mut draft);
    draft.sign(&who.key).unwrap()
}

pub(crate) fn release(version: &str) -> Release {
    Release {
        version: version.parse().unwrap(),
        content: ContentDigest::of_bytes(version.as_bytes()),
        tree: GitId::Sha1([0x11; 20]),
        size: 1234,
        files: 2,
        description: None,
        license: None,
        links: vec![],
        build: None,
        dependencies: vec![],
    }
}

pub(crate) fn released(version: &str) -> PackageEntry {
    PackageEntry::Release(Box::new(release(version)))
}

pub(crate) fn yank(version: &str) -> PackageEntry {
    PackageEntry::Yank(version.parse().unwrap(), "broken".into())
}

pub(crate) fn unyank(version: &str) -> PackageEntry {
    PackageEntry::Unyank(version.parse().unwrap(), "mended".into())
}

pub(crate) fn digest(text: &str) -> RecordDigest {
    RecordDigest::of_bytes(text.as_bytes())
}

pub(crate) fn file_digest(text: &str) -> FileDigest {
    FileDigest::of_bytes(text.as_bytes())
}

/// Puts a signature by this key over a payload, whatever the payload says: what a forger with a key can do.
pub(crate) fn signed(format: ObjectFormat, payload: &[u8], key: &SecretKey) -> Vec<u8> {
    with_signature(format, payload, &key.sign(payload).unwrap())
}

/// Puts a signature as the last header of a commit.
pub(crate) fn with_signature(format: ObjectFormat, payload: &[u8], signature: &SshSig) -> Vec<u8> {
    with_header(payload, &format!("{} {}", signature_header(format), signature.to_header()))
}

/// Puts a header after the last one of a commit.
pub(crate) fn with_header(payload: &[u8], header: &str) -> Vec<u8> {
    let end = payload.windows(2).position(|pair| pair == b"\n\n").expect("a commit has a message") + 1;
    [&payload[..end], header.as_bytes(), b"\n", &payload[end..]].concat()
}

/// The bytes of a record without its signature.
pub(crate) fn payload(record: &SignedRecord) -> String {
    record.draft().payload(&record.key().fingerprint())
}

/// Reads and verifies bytes as a client does.
pub(crate) fn read(format: ObjectFormat, bytes: &[u8]) -> Result<SignedRecord> {
    Record::parse(format, bytes.to_vec())?.verify(&mut KeyCache::new())
}

/// The code that something fails with, or "accepted".
pub(crate) fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(error) => error.code().as_str(),
    }
}
