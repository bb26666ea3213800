//! Records: signed commits, byte for byte.
//!
//! ```text
//! tree <the empty tree; in a checkpoint the map>
//! parent <previous record>
//! author <signer's name> <<key fingerprint>> <unix> +0000
//! committer quipu <<subject>@<registry>> <unix> +0000
//! gpgsig <SSHSIG>
//!
//! <one line, derived from the body>
//!
//! <body: canonical TOML>
//! ```
//!
//! A [`Record`] has been read from exactly the bytes that it would be written as; its signature has not been looked at. A
//! [`SignedRecord`] is one whose signature holds. There is no other way to have either:
//!
//! ```compile_fail
//! use quipu::model::record::{Record, SignedRecord};
//! fn append(_: SignedRecord) {}
//! fn forged(record: Record) { append(record) }
//! ```

use super::canonical::{Reader, Writer};
use super::digest::{GitId, LogId, ObjectFormat, ObjectKind, RecordDigest, object_sha256};
use super::entry::{Entry, Subject};
use super::error::{Error, ErrorCode, Result, fault};
use super::key::{Fingerprint, KeyCache, PublicKey};
use super::name::{Label, RegistryName};
use super::skip::skip;
use super::sshsig::{Signer, SshSig};
use super::time::Timestamp;
use std::fmt::{self, Display};

/// The format of records that this program reads and writes.
pub const FORMAT: u64 = 1;
/// The largest record in bytes.
pub const RECORD_MAX: u64 = 256 * 1024;

/// How a record that is not the first hangs on the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The log's id.
    pub log: LogId,
    /// The record's place in its log; the first record has 0.
    pub seq: u64,
    /// The digest of the record before.
    pub prev: RecordDigest,
}

/// All of a record but its signature: what there is to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The object format of the repository.
    pub format: ObjectFormat,
    /// The empty tree, or a checkpoint's map.
    pub tree: GitId,
    /// The commit of the record before; of a linked fork's first record the origin's.
    pub parent: Option<GitId>,
    /// The simple name of the signing key in this log.
    pub signer: Label,
    /// When it was signed, by the signer's clock.
    pub time: Timestamp,
    /// The registry that the log belongs to.
    pub registry: RegistryName,
    /// The log.
    pub subject: Subject,
    /// What it hangs on; `None` in a first record.
    pub link: Option<Link>,
    /// What it says.
    pub entry: Entry,
}

impl Draft {
    /// Returns the record's place in its log.
    pub fn seq(&self) -> u64 {
        self.link.map_or(0, |link| link.seq)
    }

    /// Signs the record.
    ///
    /// # Errors
    /// Those of the signer, and all that [`Record::parse`] would find wrong with the result.
    pub fn sign(&self, signer: &dyn Signer) -> Result<SignedRecord> {
        // The key itself says that its signature holds; a signer is only believed what it can show.
        let at_hand = signer.in_bulk();
        let fingerprint = at_hand.map_or(signer.public_key(), |key| key.public_key()).fingerprint();
        let payload = self.payload(&fingerprint);
        let signature = match at_hand {
            Some(key) => key.sign(payload.as_bytes())?,
            None => signer.sign(payload.as_bytes())?,
        };
        let header = format!("\n{} {}", signature_header(self.format), signature.to_header());
        let mut bytes = payload;
        bytes.insert_str(bytes.find("\n\n").unwrap_or_default(), &header);
        let record = Record::parse(self.format, bytes.into_bytes())?;
        match at_hand {
            Some(key) => Ok(SignedRecord { record, key: key.public_key().clone() }),
            None => record.verify(&mut KeyCache::default()),
        }
    }

    /// Returns the bytes that are signed: the commit without its signature.
    pub fn payload(&self, fingerprint: &Fingerprint) -> String {
        let mut out = String::with_capacity(1024);
        // Writing to a string cannot fail.
        let _ = self.write(fingerprint, &mut out);
        out
    }

    /// Returns the canonical text of the body.
    pub fn body(&self) -> String {
        let mut out = String::new();
        self.write_body(&mut Writer::new(&mut out));
        out
    }

    fn write(&self, fingerprint: &Fingerprint, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "tree {}", self.tree)?;
        if let Some(parent) = self.parent {
            writeln!(out, "parent {parent}")?;
        }
        let time = self.time.unix();
        writeln!(out, "author {} <{fingerprint}> {time} +0000", self.signer)?;
        writeln!(out, "committer quipu <{}@{}> {time} +0000", self.subject, self.registry)?;
        write!(out, "\n{}\n\n", self.entry.summary(&self.subject, &self.registry, self.seq()))?;
        self.write_body(&mut Writer::new(out));
        Ok(())
    }

    fn write_body(&self, w: &mut Writer<'_>) {
        w.integer("format", FORMAT);
        w.string("kind", self.entry.kind());
        w.string("registry", self.registry.as_str());
        w.optional("package", package_field(&self.subject));
        w.optional("log", self.link.map(|link| link.log));
        w.integer("seq", self.seq());
        w.optional("prev", self.link.map(|link| link.prev));
        self.entry.write(w);
    }
}

/// Compares what is written with what was received, so that no copy of it is needed.
struct Expects<'a> {
    /// What has not been written yet.
    rest: [&'a [u8]; 2],
    differs: bool,
}

impl Expects<'_> {
    fn is_met(&self) -> bool {
        !self.differs && self.rest.iter().all(|part| part.is_empty())
    }
}

impl fmt::Write for Expects<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut text = text.as_bytes();
        for part in &mut self.rest {
            let (taken, rest) = text.split_at(text.len().min(part.len()));
            match part.strip_prefix(taken) {
                Some(left) => (*part, text) = (left, rest),
                None => break,
            }
        }
        self.differs |= !text.is_empty();
        if self.differs { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Returns the header that git reads a signature from in a repository of this format.
pub fn signature_header(format: ObjectFormat) -> &'static str {
    match format {
        ObjectFormat::Sha1 => "gpgsig",
        ObjectFormat::Sha256 => "gpgsig-sha256",
    }
}

fn package_field(subject: &Subject) -> Option<&dyn Display> {
    match subject {
        Subject::Package(package) | Subject::Decisions(package) => Some(package),
        Subject::Attestations(package) => Some(package),
        Subject::Operators | Subject::Log => None,
    }
}

/// A record in its one valid form. Whether its signature holds, and whether it fits into a log, is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    draft: Draft,
    fingerprint: Fingerprint,
    signature: SshSig,
    bytes: Vec<u8>,
    /// Where the signature header begins and where it ends, its line feed included.
    signature_at: (usize, usize),
    git_id: GitId,
    digest: RecordDigest,
}

impl Record {
    /// Reads a commit.
    ///
    /// # Errors
    /// `broken-chain` for a merge, `unsigned`, `bad-signature` for a signature in any but the one form, `bad-key`, `unsupported-format` for
    /// a newer format, `bad-record` for a rule that one record can break by itself, `limit`, and `not-canonical` for all else.
    pub fn parse(format: ObjectFormat, bytes: Vec<u8>) -> Result<Self> {
        Record::parse_as(GitId::of(format, ObjectKind::Commit, &bytes), bytes)
    }

    /// Reads a commit whose id was computed from these bytes before.
    pub(crate) fn parse_as(git_id: GitId, bytes: Vec<u8>) -> Result<Self> {
        let format = git_id.format();
        let digest = match git_id {
            GitId::Sha256(id) => RecordDigest::from_sha256(id),
            GitId::Sha1(_) => RecordDigest::from_sha256(object_sha256(ObjectKind::Commit, &bytes)),
        };
        let Parts { draft, fingerprint, signature, signature_at } =
            parse_parts(format, &bytes).map_err(|error| error.at(format!("record {git_id}")))?;
        Ok(Record { draft, fingerprint, signature, bytes, signature_at, git_id, digest })
    }

    /// Checks the signature over the bytes received.
    ///
    /// # Errors
    /// `bad-key` where the key is not admitted, `bad-signature` where the signature does not hold.
    pub fn verify(self, keys: &mut KeyCache) -> Result<SignedRecord> {
        let place = || format!("record {}", self.git_id);
        let key = keys.admit(&self.signature.key).map_err(|error| error.at(place()))?;
        if key.fingerprint() != self.fingerprint {
            return Err(fault!(
                NotCanonical,
                "the author's fingerprint is {}, the signing key has {}",
                self.fingerprint,
                key.fingerprint()
            )
            .at(place()));
        }
        let (start, end) = self.signature_at;
        let payload = [&self.bytes[..start], &self.bytes[end..]].concat();
        self.signature.verify(&key, &payload).map_err(|error| error.at(place()))?;
        Ok(SignedRecord { record: self, key })
    }

    /// Returns all that the record says besides its signature.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Returns what it says.
    pub fn entry(&self) -> &Entry {
        &self.draft.entry
    }

    /// Returns its place in its log.
    pub fn seq(&self) -> u64 {
        self.draft.seq()
    }

    /// Returns the commit's bytes as they were received.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the commit's id.
    pub fn git_id(&self) -> GitId {
        self.git_id
    }

    /// Returns the record's digest.
    pub fn digest(&self) -> RecordDigest {
        self.digest
    }

    /// Returns the one line that says what it says.
    pub fn summary(&self) -> String {
        self.draft.entry.summary(&self.draft.subject, &self.draft.registry, self.seq())
    }
}

/// A record whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    key: PublicKey,
}

impl SignedRecord {
    /// Returns the key that signed it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl std::ops::Deref for SignedRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// Reads which log a record says that it belongs to, its place there and its digest, and looks at nothing else: enough to name a head that
/// is judged, or was, as part of its log.
///
/// # Errors
/// `not-canonical` where the bytes do not say it where a record does.
pub fn place_of(id: GitId, bytes: &[u8]) -> Result<(LogId, u64, RecordDigest)> {
    let digest = match id {
        GitId::Sha256(id) => RecordDigest::from_sha256(id),
        GitId::Sha1(_) => RecordDigest::from_sha256(object_sha256(ObjectKind::Commit, bytes)),
    };
    let text = std::str::from_utf8(bytes).ok();
    let body =
        text.and_then(|text| text.split_once("\n\n")).and_then(|(_, message)| message.split_once("\n\n")).map(|(_, body)| body);
    let head = body.and_then(|body| body.split_once("\n\n")).map(|(head, _)| head).unwrap_or_default();
    let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key));
    let seq = value("seq = ").and_then(|seq| seq.parse::<u64>().ok());
    let log = match value("log = ").map(|log| log.trim_matches('"').parse::<LogId>()) {
        None => Some(LogId::from(digest)),
        Some(log) => log.ok(),
    };
    match (log, seq) {
        (Some(log), Some(seq)) => Ok((log, seq, digest)),
        _ => Err(fault!(NotCanonical, "the commit {id} does not say its place in a log")),
    }
}

/// Reads the parent of any commit: enough to walk a chain before its records are judged.
///
/// # Errors
/// `broken-chain` for a merge, `not-canonical` where these are not the bytes of a commit.
pub fn parent_of(format: ObjectFormat, bytes: &[u8]) -> Result<Option<GitId>> {
    let not_a_commit = || fault!(NotCanonical, "the commit does not begin with a tree and its parents");
    let text =
        |line: &[u8]| std::str::from_utf8(line).ok().and_then(|t| t.parse::<GitId>().ok()).filter(|id| id.format() == format);
    let mut lines = bytes.split(|b| *b == b'\n');
    lines.next().and_then(|line| line.strip_prefix(b"tree ")).and_then(text).ok_or_else(not_a_commit)?;
    let mut parent = None;
    for line in lines.map_while(|line| line.strip_prefix(b"parent ")) {
        let id = text(line).ok_or_else(not_a_commit)?;
        if parent.replace(id).is_some() {
            return Err(merge());
        }
    }
    Ok(parent)
}

fn merge() -> Error {
    fault!(BrokenChain, "the commit has more than one parent, a record has one at most")
}

struct Parts {
    draft: Draft,
    fingerprint: Fingerprint,
    signature: SshSig,
    signature_at: (usize, usize),
}

fn parse_parts(format: ObjectFormat, bytes: &[u8]) -> Result<Parts> {
    if bytes.len() as u64 > RECORD_MAX {
        return Err(fault!(Limit, "the commit has {} bytes, a record has at most {RECORD_MAX}", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| fault!(NotCanonical, "the commit is not UTF-8"))?;
    let Some((header, message)) = text.split_once("\n\n") else {
        return Err(fault!(NotCanonical, "the commit has no message"));
    };
    parse_canonical(format, bytes, header, message).map_err(|error| what_it_is(format, header, message).unwrap_or(error))
}

/// Says what a commit that is no record is, where that is more than one that is spelled in another way.
fn what_it_is(format: ObjectFormat, header: &str, message: &str) -> Option<Error> {
    if let Err(error) = check_format(message) {
        return Some(error);
    }
    if header.lines().filter(|line| line.starts_with("parent ")).count() > 1 {
        return Some(merge());
    }
    let name = signature_header(format);
    let is_signed = header.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    (!is_signed).then(|| fault!(Unsigned, "the commit has no header {name}"))
}

fn parse_canonical(format: ObjectFormat, bytes: &[u8], header: &str, message: &str) -> Result<Parts> {
    let signature_name = signature_header(format);
    let mut lines = Lines { text: header, at: 0 };
    let tree = lines.value("tree ")?.parse::<GitId>().map_err(not_canonical)?;
    let parent = match lines.peek() {
        Some(line) if line.starts_with("parent ") => Some(lines.value("parent ")?.parse::<GitId>().map_err(not_canonical)?),
        _ => None,
    };
    if tree.format() != format || parent.is_some_and(|parent| parent.format() != format) {
        return Err(fault!(NotCanonical, "an id is not of the object format {format}"));
    }
    let (signer, fingerprint, time) = person(lines.value("author ")?)?;
    let fingerprint: Fingerprint = fingerprint.parse().map_err(not_canonical)?;
    let (program, address, committed) = person(lines.value("committer ")?)?;
    if program != "quipu" || committed != time {
        return Err(fault!(
            NotCanonical,
            "the committer is {program:?} at {committed:?}, expected quipu at the author's time {time:?}"
        ));
    }
    let signer: Label = signer.parse().map_err(not_canonical)?;
    let time: Timestamp = time.parse()?;
    let Some((subject, registry)) = address.rsplit_once('@') else {
        return Err(fault!(NotCanonical, "the committer's address {address:?} names no log, expected `<subject>@<registry>`"));
    };
    let subject: Subject = subject.parse().map_err(not_canonical)?;
    let registry: RegistryName = registry.parse().map_err(not_canonical)?;

    let start = lines.at;
    let armour = lines.signature(signature_name)?;
    let end = start + signature_name.len() + 1 + armour.len() + 1;
    lines.at = end;
    if let Some(extra) = lines.peek() {
        return Err(fault!(NotCanonical, "there is a header {extra:?} after the signature"));
    }
    let signature = SshSig::parse_header(armour.as_bytes())?;

    let Some((summary, body)) = message.split_once("\n\n") else {
        return Err(fault!(NotCanonical, "the message has no body after its first line"));
    };
    let (link, entry) = parse_body(&subject, &registry, body)?;
    let draft = Draft { format, tree, parent, signer, time, registry, subject, link, entry };
    if !matches!(draft.entry, Entry::Checkpoint(_)) && tree != format.empty_tree() {
        return Err(fault!(NotCanonical, "the tree is {tree}, expected the empty tree {}", format.empty_tree()));
    }

    // A signature that was read has one spelling; the rest must be what would be written.
    let mut received = Expects { rest: [&bytes[..start], &bytes[end..]], differs: false };
    let written = draft.write(&fingerprint, &mut received);
    if written.is_err() || !received.is_met() {
        let expected = draft.entry.summary(&draft.subject, &draft.registry, draft.seq());
        return Err(if summary != expected {
            fault!(NotCanonical, "the first line says {summary:?}, the body says {expected:?}")
        } else {
            fault!(NotCanonical, "the commit is not spelled as a record is")
        });
    }
    Ok(Parts { draft, fingerprint, signature, signature_at: (start, end) })
}

/// Looks whether a commit is a record of a newer format, before anything else is said of it: all of it may look different then,
/// but for the line `format = <number>` that the body begins with.
fn check_format(message: &str) -> Result<()> {
    let number = message
        .split_once("\n\n")
        .and_then(|(_, body)| body.strip_prefix("format = "))
        .and_then(|rest| rest.split_once('\n'))
        .and_then(|(number, _)| number.parse::<u64>().ok());
    match number {
        Some(format) if format > FORMAT => {
            Err(fault!(UnsupportedFormat, "the record has format {format}, this program reads format {FORMAT}")
                .hint(format!("use a version of quipu that reads format {format}")))
        }
        _ => Ok(()),
    }
}

fn parse_body(subject: &Subject, registry: &RegistryName, body: &str) -> Result<(Option<Link>, Entry)> {
    let mut r = Reader::new(body);
    let format = r.integer("format")?;
    if format != FORMAT {
        return Err(fault!(NotCanonical, "the record has format {format}, expected {FORMAT}"));
    }
    let kind = r.borrowed("kind")?;
    let body_registry = r.borrowed("registry")?;
    let body_package = if r.next_is("package") { Some(r.borrowed("package")?) } else { None };
    let package = package_field(subject).map(ToString::to_string);
    if body_registry != registry.as_str() || body_package.as_deref() != package.as_deref() {
        return Err(fault!(
            NotCanonical,
            "the body speaks of {body_registry} {}, the committer of {subject}@{registry}",
            body_package.unwrap_or_default()
        ));
    }
    let log: Option<LogId> = r.optional("log")?;
    let seq = r.integer("seq")?;
    let prev: Option<RecordDigest> = r.optional("prev")?;
    let entry = Entry::read(subject, &kind, &mut r)?;
    r.end()?;
    let link = match (log, prev, seq) {
        (None, None, 0) => None,
        (Some(log), Some(prev), 1..) => Some(Link { log, seq, prev }),
        _ => {
            return Err(fault!(BrokenChain, "seq is {seq}: a first record has 0 and neither log nor prev, every other has both"));
        }
    };
    check_links(link, &entry)?;
    Ok((link, entry))
}

/// Checks what the links of one record say about one another, so that it holds for a checkpoint too that is read without those before
/// it: digests of the same place are the same, and the place of a log's first record has the log's id.
fn check_links(link: Option<Link>, entry: &Entry) -> Result<()> {
    let named = match entry {
        Entry::Checkpoint(checkpoint) => checkpoint.skip,
        _ => None,
    };
    let Some(Link { log, seq, prev }) = link else {
        return match named {
            Some(found) => Err(fault!(BrokenChain, "the first checkpoint has the skip link {found}, expected none")),
            None => Ok(()),
        };
    };
    let same = |name: &str, found: RecordDigest, expected: RecordDigest| {
        if found == expected {
            Ok(())
        } else {
            Err(fault!(BrokenChain, "seq is {seq} and {name} is {found}, expected {expected}"))
        }
    };
    if seq == 1 {
        same("prev", prev, log.first_record())?;
    }
    if !matches!(entry, Entry::Checkpoint(_)) {
        return Ok(());
    }
    let Some(found) = named else {
        return Err(fault!(BrokenChain, "checkpoint {seq} has no skip link"));
    };
    match skip(seq) {
        0 => same("skip", found, log.first_record()),
        far if far == seq - 1 => same("skip", found, prev),
        _ => Ok(()),
    }
}

fn not_canonical(error: Error) -> Error {
    if error.code() == ErrorCode::NotCanonical { error } else { fault!(NotCanonical, "{}", error.message()) }
}

/// Splits `name <address> seconds +0000`.
fn person(line: &str) -> Result<(&str, &str, &str)> {
    let parts = line
        .split_once(" <")
        .and_then(|(name, rest)| rest.split_once("> ").map(|(address, when)| (name, address, when)))
        .and_then(|(name, address, when)| when.strip_suffix(" +0000").map(|time| (name, address, time)));
    parts.ok_or_else(|| fault!(NotCanonical, "{line:?} is not `name <address> seconds +0000`"))
}

/// The lines of a commit's header.
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.text.get(self.at..).filter(|rest| !rest.is_empty()).map(|rest| rest.split('\n').next().unwrap_or(rest))
    }

    fn value(&mut self, header: &str) -> Result<&'a str> {
        let line = self.peek().unwrap_or_default();
        let value =
            line.strip_prefix(header).ok_or_else(|| fault!(NotCanonical, "found {line:?}, expected the header {header:?}"))?;
        self.at += line.len() + 1;
        Ok(value)
    }

    /// Returns the value of the signature header, without its name, as far as its lines go.
    fn signature(&self, header: &str) -> Result<&'a str> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let value = rest
            .strip_prefix(header)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| fault!(NotCanonical, "found {:?}, expected the header {header}", self.peek().unwrap_or_default()))?;
        let end = value.match_indices('\n').find(|(at, _)| !value[at + 1..].starts_with(' ')).map_or(value.len(), |(at, _)| at);
        Ok(&value[..end])
    }
}
