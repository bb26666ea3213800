//! What a record says: one entry of a closed set of kinds for each kind of log, read from and written to canonical text.
//!
//! `docs/format.md` is the normative text for every field.

use super::canonical::{Reader, Writer};
use super::digest::{ChangesDigest, ContentDigest, FileDigest, GitId, LogId, OriginDigest, RecordDigest, RegistryId};
use super::error::{Error, Result, fault};
use super::key::PublicKey;
use super::name::{FullName, Label, PackageName, RegistryName, Version};
use super::time::Timestamp;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

/// The longest text in a record (a description, a reason), in bytes.
pub const TEXT_MAX: usize = 4096;
/// The most keys, dependencies, links, patterns or checkpoints that one record lists.
pub const LIST_MAX: usize = 1024;

/// Which log a record belongs to: the part of the committer's address before the `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A package log: `wasi:http`.
    Package(PackageName),
    /// The decisions of operators about a package: `wasi:http+decisions`.
    Decisions(PackageName),
    /// The operator log: `operators`.
    Operators,
    /// The registry log: `log`.
    Log,
    /// Statements about a package, also another registry's: `attest+acme.example/wasi:http`.
    Attestations(FullName),
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Package(package) => write!(f, "{package}"),
            Subject::Decisions(package) => write!(f, "{package}+decisions"),
            Subject::Operators => f.write_str("operators"),
            Subject::Log => f.write_str("log"),
            Subject::Attestations(package) => write!(f, "attest+{package}"),
        }
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "operators" => Ok(Subject::Operators),
            "log" => Ok(Subject::Log),
            _ => match (text.strip_prefix("attest+"), text.strip_suffix("+decisions")) {
                (Some(package), _) => Ok(Subject::Attestations(package.parse()?)),
                (_, Some(package)) => Ok(Subject::Decisions(package.parse()?)),
                _ => Ok(Subject::Package(text.parse()?)),
            },
        }
    }
}

/// A closed set of things that a log lets a key do.
pub trait Privilege: Copy + Eq + Ord + fmt::Debug + 'static {
    /// All of them, in the order in which they are written.
    const ALL: &'static [Self];
    /// The one that lets a key change keys.
    const AUTH: Self;
    /// Returns the word in a record.
    fn as_str(self) -> &'static str;
}

macro_rules! privileges {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $what:literal])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $what])* $variant),* }

        impl Privilege for $name {
            const ALL: &'static [Self] = &[$($name::$variant),*];
            const AUTH: Self = $name::Auth;
            fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|p| p.as_str() == text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|p| p.as_str()).collect();
                    fault!(Usage, "{text:?} is not a privilege: expected one of {}", known.join(", "))
                })
            }
        }
    };
}

privileges! {
    /// What a package log lets a key append.
    PackagePrivilege {
        /// `allow`, `deny` and `upgrade`.
        Auth = "auth",
        /// `release`.
        Release = "release",
        /// `yank` and `unyank`.
        Yank = "yank",
        /// `rename`.
        Rename = "rename",
    }
}

privileges! {
    /// What an operator log lets a key do for the registry.
    OperatorPrivilege {
        /// `allow`, `deny`, `repudiate` and `upgrade` in the operator log.
        Auth = "auth",
        /// Checkpoints.
        Checkpoint = "checkpoint",
        /// First records of packages, where the policy lists who may register.
        Register = "register",
        /// Records of decision logs.
        Decide = "decide",
        /// `policy`.
        Policy = "policy",
        /// `mirror`.
        Mirror = "mirror",
    }
}

/// A key, the simple name that it goes by in one log, and what it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<P> {
    /// The simple name, unique among the keys of the log.
    pub name: Label,
    /// The key.
    pub key: PublicKey,
    /// In the order of [`Privilege::ALL`], none twice, at least one.
    pub privileges: Vec<P>,
    /// The namespaces that `register` is limited to; empty: no limit. Only in operator logs.
    pub namespaces: Vec<Label>,
}

/// What is taken from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial<P> {
    /// The key's simple name in this log.
    pub name: Label,
    /// The key.
    pub key: PublicKey,
    /// What is taken, in the order of [`Privilege::ALL`], at least one.
    pub privileges: Vec<P>,
    /// The `seq` from which on the key was in wrong hands.
    pub compromised_since: Option<u64>,
}

/// Where a fork comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The origin's registry.
    pub registry: RegistryName,
    /// The id of that registry.
    pub registry_id: RegistryId,
    /// The package there.
    pub package: PackageName,
    /// Its log.
    pub log: LogId,
    /// The record that the fork starts from.
    pub record: RecordDigest,
    /// The release that the fork starts from.
    pub version: Option<Version>,
    /// The contents of that release.
    pub content: Option<ContentDigest>,
    /// The checkpoint of the origin's registry that held the record.
    pub checkpoint: RecordDigest,
    /// Whether the fork's first commit has the origin's record as its parent. Without it only the digest is named.
    pub linked: bool,
}

/// What a log says of where its package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is a fork, and its origin is named.
    Fork(Box<Origin>),
    /// It was promoted from another registry, of which nothing is said but this digest.
    Promoted(OriginDigest),
}

/// The first entry of a package log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageInit {
    /// The id of the registry that the log belongs to.
    pub registry_id: RegistryId,
    /// Where it comes from, if it is a fork or was promoted.
    pub origin: Option<Provenance>,
    /// Every first key, the signer's among them.
    pub keys: Vec<Grant<PackagePrivilege>>,
}

/// One thing that a release needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The registry, where it is not the package's own.
    pub registry: Option<(RegistryName, RegistryId)>,
    /// The package.
    pub package: PackageName,
    /// A SemVer requirement, in the spelling of [`semver::VersionReq`].
    pub requirement: semver::VersionReq,
    /// A record that the package's log must hold.
    pub anchor: Option<RecordDigest>,
}

impl Dependency {
    /// Returns the name as a record writes it: full where it is another registry's.
    pub fn name(&self) -> String {
        match &self.registry {
            Some((registry, _)) => format!("{registry}/{}", self.package),
            None => self.package.to_string(),
        }
    }
}

/// A version and all that is said about it for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The version.
    pub version: Version,
    /// The digest of its files.
    pub content: ContentDigest,
    /// The git tree of its files: a hint where to fetch, never trusted.
    pub tree: GitId,
    /// The sum of the sizes of its files in bytes.
    pub size: u64,
    /// The number of its files.
    pub files: u64,
    /// What it is, in a sentence or a few.
    pub description: Option<String>,
    /// An SPDX licence expression.
    pub license: Option<String>,
    /// URLs: homepage, source, documentation.
    pub links: Vec<String>,
    /// SemVer build metadata or another word about the build.
    pub build: Option<String>,
    /// Sorted by name and requirement.
    pub dependencies: Vec<Dependency>,
}

/// An entry of a package log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageEntry {
    /// Starts the log.
    Init(PackageInit),
    /// Gives privileges to a key.
    Allow(Grant<PackagePrivilege>),
    /// Takes privileges from a key.
    Deny(Denial<PackagePrivilege>),
    /// Releases a version.
    Release(Arc<Release>),
    /// Takes a version out of new choices.
    Yank(Version, String),
    /// Takes a yank back.
    Unyank(Version, String),
    /// Asks for another name, and says the id of its registry where that is another one. The name that the package has takes an
    /// earlier wish back.
    Rename(FullName, Option<RegistryId>),
    /// Changes the format of the log.
    Upgrade(u64),
}

/// Who may register new names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Registration {
    /// Anyone.
    #[default]
    Open,
    /// Keys with the privilege `register`.
    Listed,
}

/// The rules by which a registry admits records. Judged as of the checkpoint that admits one, and never backwards.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Who may register new names.
    pub registration: Registration,
    /// Whether a release must name its licence.
    pub license_required: bool,
    /// The most files of a release, where it is not the default limit.
    pub max_files: Option<u64>,
    /// The largest file in bytes.
    pub max_file_bytes: Option<u64>,
    /// The largest release in bytes.
    pub max_release_bytes: Option<u64>,
    /// For how many seconds a checkpoint is good; it then says so itself in `expires`.
    pub checkpoint_expiry: Option<u64>,
    /// Types of attestations that a release needs.
    pub attestations: Vec<String>,
    /// SHA-256 of the registry's `policy.toml`, where there is one.
    pub digest: Option<FileDigest>,
}

/// A registry that this one mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its name.
    pub name: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// Which packages; none: the mirror has ended.
    pub patterns: Vec<String>,
    /// Whether contents are kept, or logs alone.
    pub contents: bool,
    /// Whether contents stay that the mirrored registry takes down.
    pub keep_taken_down: bool,
}

/// The first entry of an operator log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInit {
    /// The registry that this one is a fork of: its name, id and checkpoint.
    pub origin: Option<(RegistryName, RegistryId, RecordDigest)>,
    /// Every first key, the signer's among them.
    pub keys: Vec<Grant<OperatorPrivilege>>,
}

/// An entry of the operator log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorEntry {
    /// Starts the registry.
    Init(OperatorInit),
    /// Gives privileges to a key.
    Allow(Grant<OperatorPrivilege>),
    /// Takes privileges from a key.
    Deny(Denial<OperatorPrivilege>),
    /// Sets the policy as a whole.
    Policy(Policy),
    /// Begins, changes or ends a mirror.
    Mirror(Mirror),
    /// Disowns checkpoints that a stolen key signed.
    Repudiate(Vec<RecordDigest>, String),
    /// Changes the format of the log.
    Upgrade(u64),
}

/// Why something was taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TakedownClass {
    /// The law asks for it.
    Legal,
    /// It does harm; refused even from a lock.
    Malware,
    /// Anything else.
    Other,
}

/// What a decision is about, and by which operators' authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionHead {
    /// The head of the operator log that gives its signer the privilege.
    pub operators: RecordDigest,
    /// The package log that is decided about.
    pub target: LogId,
    /// The head of that log when it was decided.
    pub head: RecordDigest,
}

/// An entry of a decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it is about.
    pub about: DecisionHead,
    /// What was decided.
    pub what: Verdict,
}

/// What operators decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A package (no version) or one version is not handed out any more.
    Takedown {
        /// The version; without one, the whole package.
        version: Option<Version>,
        /// The class.
        class: TakedownClass,
        /// The reason.
        reason: String,
    },
    /// A takedown is taken back.
    Restore {
        /// The version; without one, the whole package.
        version: Option<Version>,
        /// The reason.
        reason: String,
    },
    /// A rename is granted.
    Rename {
        /// The old name.
        from: FullName,
        /// The new name.
        to: FullName,
        /// The owner's `rename` record.
        consent: RecordDigest,
    },
    /// The name gets a new log.
    Reset {
        /// The new log.
        new: LogId,
        /// The reason.
        reason: String,
    },
}

/// A statement about one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// The id of the registry in whose repository the statement stands.
    pub registry_id: RegistryId,
    /// The package log that it is about.
    pub target: LogId,
    /// The version.
    pub version: Version,
    /// The contents.
    pub content: ContentDigest,
    /// A URI: what is stated.
    pub predicate: String,
    /// Whether it speaks for the release, where it is a verdict.
    pub pass: Option<bool>,
    /// SHA-256 of the in-toto statement.
    pub statement: Option<FileDigest>,
    /// Unix seconds after which it counts for nothing.
    pub expires: Option<u64>,
}

/// An entry of an attestation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestationEntry {
    /// States something.
    Attest(Box<Attest>),
    /// Takes a statement back: the record that made it, and the reason.
    Revoke(RecordDigest, String),
}

/// What a checkpoint commits to besides its tree, which is the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The digest of the earlier checkpoint that [`super::skip`] names; absent in the first.
    pub skip: Option<RecordDigest>,
    /// The head of the operator log.
    pub operators: RecordDigest,
    /// The number of packages in the map.
    pub packages: u64,
    /// What changed since the checkpoint before.
    pub changes: ChangesDigest,
    /// Unix seconds after which it is stale.
    pub expires: Option<u64>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In a package log.
    Package(PackageEntry),
    /// In a decision log.
    Decision(Decision),
    /// In the operator log.
    Operator(OperatorEntry),
    /// In the registry log.
    Checkpoint(Checkpoint),
    /// In an attestation log.
    Attestation(AttestationEntry),
}

impl Entry {
    /// Returns the word in the body's field `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Package(entry) => match entry {
                PackageEntry::Init(_) => "init",
                PackageEntry::Allow(_) => "allow",
                PackageEntry::Deny(_) => "deny",
                PackageEntry::Release(_) => "release",
                PackageEntry::Yank(..) => "yank",
                PackageEntry::Unyank(..) => "unyank",
                PackageEntry::Rename(..) => "rename",
                PackageEntry::Upgrade(_) => "upgrade",
            },
            Entry::Operator(entry) => match entry {
                OperatorEntry::Init(_) => "init",
                OperatorEntry::Allow(_) => "allow",
                OperatorEntry::Deny(_) => "deny",
                OperatorEntry::Policy(_) => "policy",
                OperatorEntry::Mirror(_) => "mirror",
                OperatorEntry::Repudiate(..) => "repudiate",
                OperatorEntry::Upgrade(_) => "upgrade",
            },
            Entry::Decision(decision) => match decision.what {
                Verdict::Takedown { .. } => "takedown",
                Verdict::Restore { .. } => "restore",
                Verdict::Rename { .. } => "rename",
                Verdict::Reset { .. } => "reset",
            },
            Entry::Checkpoint(_) => "checkpoint",
            Entry::Attestation(AttestationEntry::Attest(_)) => "attest",
            Entry::Attestation(AttestationEntry::Revoke(..)) => "revoke",
        }
    }

    /// Returns the one line that says it to a person, for a log with this subject in this registry.
    ///
    /// `seq` is the record's own place in its log.
    pub fn summary(&self, subject: &Subject, registry: &RegistryName, seq: u64) -> String {
        match self {
            Entry::Package(PackageEntry::Init(init)) => match &init.origin {
                None => format!("init {subject}"),
                Some(Provenance::Promoted(origin)) => format!("init {subject} from {origin}"),
                Some(Provenance::Fork(origin)) => {
                    let version = origin.version.as_ref().map(|v| format!("@{v}")).unwrap_or_default();
                    format!("init {subject} from {}/{}{version}", origin.registry, origin.package)
                }
            },
            Entry::Operator(OperatorEntry::Init(init)) => match &init.origin {
                None => format!("init registry {registry}"),
                Some((origin, ..)) => format!("init registry {registry} from {origin}"),
            },
            Entry::Package(PackageEntry::Allow(grant)) => summary_of_keys("allow", &grant.name, &grant.privileges, None),
            Entry::Operator(OperatorEntry::Allow(grant)) => summary_of_keys("allow", &grant.name, &grant.privileges, None),
            Entry::Package(PackageEntry::Deny(denial)) => {
                summary_of_keys("deny", &denial.name, &denial.privileges, denial.compromised_since)
            }
            Entry::Operator(OperatorEntry::Deny(denial)) => {
                summary_of_keys("deny", &denial.name, &denial.privileges, denial.compromised_since)
            }
            Entry::Package(PackageEntry::Release(release)) => format!("release {subject} {}", release.version),
            Entry::Package(PackageEntry::Yank(version, _)) => format!("yank {subject} {version}"),
            Entry::Package(PackageEntry::Unyank(version, _)) => format!("unyank {subject} {version}"),
            Entry::Package(PackageEntry::Rename(to, _)) => format!("rename {subject} to {to}"),
            Entry::Package(PackageEntry::Upgrade(format)) | Entry::Operator(OperatorEntry::Upgrade(format)) => {
                format!("upgrade to format {format}")
            }
            Entry::Operator(OperatorEntry::Policy(policy)) => format!("policy: registration {}", policy.registration.as_str()),
            Entry::Operator(OperatorEntry::Mirror(mirror)) if mirror.patterns.is_empty() => {
                format!("mirror of {} ends", mirror.name)
            }
            Entry::Operator(OperatorEntry::Mirror(mirror)) => format!("mirror {}", mirror.name),
            Entry::Operator(OperatorEntry::Repudiate(checkpoints, _)) => match checkpoints.len() {
                1 => "repudiate 1 checkpoint".into(),
                n => format!("repudiate {n} checkpoints"),
            },
            Entry::Decision(decision) => {
                let package = match subject {
                    Subject::Decisions(package) => package.to_string(),
                    other => other.to_string(),
                };
                let of = |version: &Option<Version>| match version {
                    Some(version) => format!("{package} {version}"),
                    None => package.clone(),
                };
                match &decision.what {
                    Verdict::Takedown { version, class, .. } => format!("takedown {} ({})", of(version), class.as_str()),
                    Verdict::Restore { version, .. } => format!("restore {}", of(version)),
                    Verdict::Rename { to, .. } => format!("rename {package} to {to}"),
                    Verdict::Reset { .. } => format!("reset {package}"),
                }
            }
            Entry::Checkpoint(checkpoint) => match checkpoint.packages {
                1 => format!("checkpoint {seq}: 1 package"),
                n => format!("checkpoint {seq}: {n} packages"),
            },
            Entry::Attestation(entry) => {
                let package = match subject {
                    Subject::Attestations(package) => package.to_string(),
                    other => other.to_string(),
                };
                match entry {
                    AttestationEntry::Attest(attest) => format!("attest {package}@{}", attest.version),
                    AttestationEntry::Revoke(..) => format!("revoke a statement about {package}"),
                }
            }
        }
    }

    /// Writes the table that is named after the kind, and what belongs to it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.table(self.kind());
        match self {
            Entry::Package(entry) => write_package(entry, w),
            Entry::Operator(entry) => write_operator(entry, w),
            Entry::Decision(decision) => write_decision(decision, w),
            Entry::Checkpoint(checkpoint) => {
                w.optional("skip", checkpoint.skip);
                w.text("operators", checkpoint.operators);
                w.integer("packages", checkpoint.packages);
                w.text("changes", checkpoint.changes);
                write_optional_integer(w, "expires", checkpoint.expires);
            }
            Entry::Attestation(AttestationEntry::Attest(attest)) => {
                w.text("registry-id", attest.registry_id);
                w.text("target", attest.target);
                w.text("version", &attest.version);
                w.text("content", attest.content);
                w.string("type", &attest.predicate);
                w.optional("result", attest.pass.map(|pass| if pass { "pass" } else { "fail" }));
                w.optional("statement", attest.statement);
                write_optional_integer(w, "expires", attest.expires);
            }
            Entry::Attestation(AttestationEntry::Revoke(record, reason)) => {
                w.text("record", record);
                w.string("reason", reason);
            }
        }
    }

    /// Reads the table of a record of this kind in a log with this subject.
    ///
    /// # Errors
    /// `not-canonical` where it is not what [`Entry::write`] writes, `bad-record` where a kind does not belong into such a log or a
    /// rule within the record is broken.
    pub fn read(subject: &Subject, kind: &str, r: &mut Reader<'_>) -> Result<Self> {
        r.table(kind)?;
        let entry = match subject {
            Subject::Package(_) => Entry::Package(read_package(kind, r)?),
            Subject::Operators => Entry::Operator(read_operator(kind, r)?),
            Subject::Decisions(_) => Entry::Decision(read_decision(kind, r)?),
            Subject::Log if kind == "checkpoint" => Entry::Checkpoint(Checkpoint {
                skip: r.optional("skip")?,
                operators: r.text("operators")?,
                packages: r.integer("packages")?,
                changes: r.text("changes")?,
                expires: r.optional_integer("expires")?,
            }),
            Subject::Attestations(_) if kind == "attest" => Entry::Attestation(AttestationEntry::Attest(Box::new(Attest {
                registry_id: r.text("registry-id")?,
                target: r.text("target")?,
                version: r.text("version")?,
                content: r.text("content")?,
                predicate: r.string("type")?,
                pass: match r.optional_string("result")?.as_deref() {
                    None => None,
                    Some("pass") => Some(true),
                    Some("fail") => Some(false),
                    Some(other) => return Err(fault!(NotCanonical, "result is {other:?}, expected pass or fail")),
                },
                statement: r.optional("statement")?,
                expires: r.optional_integer("expires")?,
            }))),
            Subject::Attestations(_) if kind == "revoke" => {
                Entry::Attestation(AttestationEntry::Revoke(r.text("record")?, r.string("reason")?))
            }
            Subject::Log | Subject::Attestations(_) => return Err(unknown_kind(kind, subject)),
        };
        entry.check()?;
        Ok(entry)
    }

    /// Checks the rules that one record can break by itself.
    ///
    /// # Errors
    /// `bad-record` with the rule.
    pub fn check(&self) -> Result<()> {
        match self {
            Entry::Package(PackageEntry::Init(init)) => {
                check_grants(&init.keys)?;
                if let Some(Provenance::Fork(origin)) = &init.origin
                    && origin.version.is_some() != origin.content.is_some()
                {
                    return Err(fault!(BadRecord, "an origin names a version and its content together, or neither"));
                }
                Ok(())
            }
            Entry::Operator(OperatorEntry::Init(init)) => check_grants(&init.keys),
            Entry::Package(PackageEntry::Allow(grant)) => check_grant(grant),
            Entry::Operator(OperatorEntry::Allow(grant)) => check_grant(grant),
            Entry::Package(PackageEntry::Deny(denial)) => check_privileges(&denial.name, &denial.privileges),
            Entry::Operator(OperatorEntry::Deny(denial)) => check_privileges(&denial.name, &denial.privileges),
            Entry::Package(PackageEntry::Release(release)) => check_release(release),
            Entry::Package(PackageEntry::Yank(_, reason) | PackageEntry::Unyank(_, reason)) => check_text("reason", reason),
            Entry::Package(PackageEntry::Upgrade(format)) | Entry::Operator(OperatorEntry::Upgrade(format)) => {
                if *format < 2 {
                    return Err(fault!(BadRecord, "an upgrade leads to format {format}, expected 2 or later"));
                }
                Ok(())
            }
            Entry::Operator(OperatorEntry::Repudiate(checkpoints, reason)) => {
                check_text("reason", reason)?;
                check_list("checkpoints", checkpoints, true)
            }
            Entry::Operator(OperatorEntry::Policy(policy)) => {
                policy.attestations.iter().try_for_each(|uri| check_words("attestations", uri))?;
                check_list("attestations", &policy.attestations, false)
            }
            Entry::Operator(OperatorEntry::Mirror(mirror)) => {
                mirror.patterns.iter().try_for_each(|pattern| check_pattern(pattern))?;
                check_list("patterns", &mirror.patterns, false)
            }
            Entry::Decision(decision) => match &decision.what {
                Verdict::Takedown { reason, .. } | Verdict::Restore { reason, .. } => check_text("reason", reason),
                Verdict::Reset { new, reason } => {
                    check_text("reason", reason)?;
                    if *new == decision.about.target {
                        return Err(fault!(BadRecord, "a reset leads from the log {new} to itself"));
                    }
                    Ok(())
                }
                Verdict::Rename { from, to, .. } => {
                    if from == to {
                        return Err(fault!(BadRecord, "a rename leads from {from} to itself"));
                    }
                    Ok(())
                }
            },
            Entry::Attestation(AttestationEntry::Attest(attest)) => {
                check_expiry(attest.expires)?;
                check_words("type", &attest.predicate)
            }
            Entry::Attestation(AttestationEntry::Revoke(_, reason)) => check_text("reason", reason),
            Entry::Checkpoint(checkpoint) => check_expiry(checkpoint.expires),
            Entry::Package(PackageEntry::Rename(..)) => Ok(()),
        }
    }
}

impl Registration {
    /// Returns the word in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Registration::Open => "open",
            Registration::Listed => "listed",
        }
    }
}

impl TakedownClass {
    /// Returns the word in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            TakedownClass::Legal => "legal",
            TakedownClass::Malware => "malware",
            TakedownClass::Other => "other",
        }
    }
}

fn summary_of_keys<P: Privilege>(verb: &str, name: &Label, privileges: &[P], since: Option<u64>) -> String {
    let privileges: Vec<&str> = privileges.iter().map(|p| p.as_str()).collect();
    let since = since.map(|seq| format!(", compromised since {seq}")).unwrap_or_default();
    format!("{verb} {name}: {}{since}", privileges.join(", "))
}

fn unknown_kind(kind: &str, subject: &Subject) -> Error {
    fault!(NotCanonical, "a record of kind {kind:?} does not belong into the log {subject}")
}

fn write_optional_integer(w: &mut Writer, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        w.integer(key, value);
    }
}

fn check_text(field: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_MAX {
        return Err(fault!(BadRecord, "{field} has {} bytes, at most {TEXT_MAX} are allowed", text.len()));
    }
    Ok(())
}

/// Checks a text that is left out where there is nothing to say.
fn check_words(field: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(fault!(BadRecord, "{field} is an empty text"));
    }
    check_text(field, text)
}

fn check_expiry(expires: Option<u64>) -> Result<()> {
    match expires {
        Some(seconds) if Timestamp::from_unix(seconds).is_err() => {
            Err(fault!(BadRecord, "expires is {seconds}, which is beyond the year 9999"))
        }
        _ => Ok(()),
    }
}

/// Checks which packages of a mirrored registry are meant: all (`*`), those of a namespace (`wasi:*`), or one (`wasi:http`).
fn check_pattern(pattern: &str) -> Result<()> {
    let good = match pattern.strip_suffix(":*") {
        Some(namespace) => namespace.parse::<Label>().is_ok(),
        None => pattern == "*" || pattern.parse::<PackageName>().is_ok(),
    };
    if good {
        return Ok(());
    }
    Err(fault!(BadRecord, "{pattern:?} is not a pattern: expected `*`, `namespace:*` or `namespace:name`"))
}

fn check_list<T: Ord + fmt::Debug>(field: &str, items: &[T], needed: bool) -> Result<()> {
    if items.len() > LIST_MAX {
        return Err(fault!(BadRecord, "{field} has {} items, at most {LIST_MAX} are allowed", items.len()));
    }
    if needed && items.is_empty() {
        return Err(fault!(BadRecord, "{field} is empty"));
    }
    if let Some(pair) = items.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(fault!(NotCanonical, "{field}: {:?} and {:?} are not in order, or equal", pair[0], pair[1]));
    }
    Ok(())
}

fn check_privileges<P: Privilege>(name: &Label, privileges: &[P]) -> Result<()> {
    if privileges.is_empty() {
        return Err(fault!(BadRecord, "no privilege is named for {name}"));
    }
    if privileges.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(fault!(NotCanonical, "the privileges of {name} are not in order, or one stands twice"));
    }
    Ok(())
}

fn check_grant<P: Privilege>(grant: &Grant<P>) -> Result<()> {
    check_privileges(&grant.name, &grant.privileges)?;
    check_list("namespaces", &grant.namespaces, false)?;
    if !grant.namespaces.is_empty() && !grant.privileges.iter().any(|p| p.as_str() == OperatorPrivilege::Register.as_str()) {
        return Err(fault!(BadRecord, "{} has namespaces without the privilege register", grant.name));
    }
    Ok(())
}

fn check_grants<P: Privilege>(grants: &[Grant<P>]) -> Result<()> {
    if grants.len() > LIST_MAX {
        return Err(fault!(BadRecord, "{} keys are named, at most {LIST_MAX} are allowed", grants.len()));
    }
    for (index, grant) in grants.iter().enumerate() {
        check_grant(grant)?;
        if grants[..index].iter().any(|other| other.name == grant.name || other.key == grant.key) {
            return Err(fault!(BadRecord, "the key {} stands twice, or its name does", grant.name));
        }
    }
    if !grants.iter().any(|grant| grant.privileges.contains(&P::AUTH)) {
        return Err(fault!(BadRecord, "no key has the privilege auth, so no other key could ever be let in"));
    }
    Ok(())
}

fn check_release(release: &Release) -> Result<()> {
    if release.files == 0 {
        return Err(fault!(BadRecord, "a release has no files, expected one at least"));
    }
    for (field, text) in [("description", &release.description), ("license", &release.license), ("build", &release.build)] {
        if let Some(text) = text {
            check_words(field, text)?;
        }
    }
    release.links.iter().try_for_each(|link| check_words("links", link))?;
    if release.links.len() > LIST_MAX || release.dependencies.len() > LIST_MAX {
        return Err(fault!(BadRecord, "a release lists at most {LIST_MAX} links and {LIST_MAX} dependencies"));
    }
    let order = |dependency: &Dependency| (dependency.name(), dependency.requirement.to_string());
    if let Some(pair) = release.dependencies.windows(2).find(|pair| order(&pair[0]) >= order(&pair[1])) {
        return Err(fault!(
            NotCanonical,
            "the dependencies {} and {} are not in order, or equal",
            pair[0].name(),
            pair[1].name()
        ));
    }
    Ok(())
}

fn write_grant<P: Privilege>(grant: &Grant<P>, w: &mut Writer<'_>) {
    w.string("name", grant.name.as_str());
    w.text("key", &grant.key);
    w.strings("privileges", grant.privileges.iter().map(|p| p.as_str()));
    if !grant.namespaces.is_empty() {
        w.strings("namespaces", &grant.namespaces);
    }
}

fn read_grant<P: Privilege + FromStr<Err = Error>>(r: &mut Reader<'_>, namespaces: bool) -> Result<Grant<P>> {
    Ok(Grant {
        name: r.text("name")?,
        key: r.text("key")?,
        privileges: parse_all(&r.strings("privileges")?)?,
        namespaces: match r.optional_strings("namespaces")? {
            Some(names) if namespaces && !names.is_empty() => parse_all(&names)?,
            None => Vec::new(),
            Some(_) => return Err(fault!(NotCanonical, "namespaces are empty, or do not belong into this log")),
        },
    })
}

fn parse_all<T: FromStr<Err = Error>>(texts: &[String]) -> Result<Vec<T>> {
    texts.iter().map(|text| text.parse().map_err(|error: Error| fault!(NotCanonical, "{}", error.message()))).collect()
}

fn write_denial<P: Privilege>(denial: &Denial<P>, w: &mut Writer<'_>) {
    w.string("name", denial.name.as_str());
    w.text("key", &denial.key);
    w.strings("privileges", denial.privileges.iter().map(|p| p.as_str()));
    write_optional_integer(w, "compromised-since", denial.compromised_since);
}

fn read_denial<P: Privilege + FromStr<Err = Error>>(r: &mut Reader<'_>) -> Result<Denial<P>> {
    Ok(Denial {
        name: r.text("name")?,
        key: r.text("key")?,
        privileges: parse_all(&r.strings("privileges")?)?,
        compromised_since: r.optional_integer("compromised-since")?,
    })
}

fn write_package(entry: &PackageEntry, w: &mut Writer<'_>) {
    match entry {
        PackageEntry::Init(init) => {
            w.text("registry-id", init.registry_id);
            if let Some(Provenance::Promoted(origin)) = &init.origin {
                w.table("init.origin");
                w.text("digest", origin);
            }
            if let Some(Provenance::Fork(origin)) = &init.origin {
                w.table("init.origin");
                w.text("registry", &origin.registry);
                w.text("registry-id", origin.registry_id);
                w.text("package", &origin.package);
                w.text("log", origin.log);
                w.text("record", origin.record);
                w.optional("version", origin.version.as_ref());
                w.optional("content", origin.content);
                w.text("checkpoint", origin.checkpoint);
                w.boolean("linked", origin.linked);
            }
            for grant in &init.keys {
                w.element("init.keys");
                write_grant(grant, w);
            }
        }
        PackageEntry::Allow(grant) => write_grant(grant, w),
        PackageEntry::Deny(denial) => write_denial(denial, w),
        PackageEntry::Release(release) => {
            w.text("version", &release.version);
            w.text("content", release.content);
            w.text("tree", release.tree);
            w.integer("size", release.size);
            w.integer("files", release.files);
            w.optional("description", release.description.as_ref());
            w.optional("license", release.license.as_ref());
            if !release.links.is_empty() {
                w.strings("links", &release.links);
            }
            w.optional("build", release.build.as_ref());
            for dependency in &release.dependencies {
                w.element("release.dependencies");
                w.string("name", &dependency.name());
                w.text("requirement", &dependency.requirement);
                w.optional("registry-id", dependency.registry.as_ref().map(|(_, id)| id));
                w.optional("anchor", dependency.anchor);
            }
        }
        PackageEntry::Yank(version, reason) | PackageEntry::Unyank(version, reason) => {
            w.text("version", version);
            w.string("reason", reason);
        }
        PackageEntry::Rename(to, registry_id) => {
            w.text("to", to);
            w.optional("registry-id", *registry_id);
        }
        PackageEntry::Upgrade(format) => w.integer("format", *format),
    }
}

fn read_package(kind: &str, r: &mut Reader<'_>) -> Result<PackageEntry> {
    Ok(match kind {
        "init" => {
            let registry_id = r.text("registry-id")?;
            let origin = match r.optional_table("init.origin") {
                false => None,
                true => Some(match r.optional("digest")? {
                    Some(digest) => Provenance::Promoted(digest),
                    None => Provenance::Fork(Box::new(Origin {
                        registry: r.text("registry")?,
                        registry_id: r.text("registry-id")?,
                        package: r.text("package")?,
                        log: r.text("log")?,
                        record: r.text("record")?,
                        version: r.optional("version")?,
                        content: r.optional("content")?,
                        checkpoint: r.text("checkpoint")?,
                        linked: r.boolean("linked")?,
                    })),
                }),
            };
            PackageEntry::Init(PackageInit { registry_id, origin, keys: read_grants(r, false)? })
        }
        "allow" => PackageEntry::Allow(read_grant(r, false)?),
        "deny" => PackageEntry::Deny(read_denial(r)?),
        "release" => {
            let mut release = Release {
                version: r.text("version")?,
                content: r.text("content")?,
                tree: r.text("tree")?,
                size: r.integer("size")?,
                files: r.integer("files")?,
                description: r.optional_string("description")?,
                license: r.optional_string("license")?,
                links: r.optional_strings("links")?.unwrap_or_default(),
                build: r.optional_string("build")?,
                dependencies: Vec::new(),
            };
            while r.element("release.dependencies") {
                release.dependencies.push(read_dependency(r)?);
            }
            PackageEntry::Release(Arc::new(release))
        }
        "yank" => PackageEntry::Yank(r.text("version")?, r.string("reason")?),
        "unyank" => PackageEntry::Unyank(r.text("version")?, r.string("reason")?),
        "rename" => PackageEntry::Rename(r.text("to")?, r.optional("registry-id")?),
        "upgrade" => PackageEntry::Upgrade(r.integer("format")?),
        other => {
            return Err(fault!(NotCanonical, "a record of kind {other:?} does not belong into a package log"));
        }
    })
}

fn read_grants<P: Privilege + FromStr<Err = Error>>(r: &mut Reader<'_>, namespaces: bool) -> Result<Vec<Grant<P>>> {
    let mut grants = Vec::new();
    while r.element("init.keys") {
        grants.push(read_grant(r, namespaces)?);
    }
    Ok(grants)
}

fn read_dependency(r: &mut Reader<'_>) -> Result<Dependency> {
    let name = r.string("name")?;
    let requirement = r.string("requirement")?;
    let requirement = semver::VersionReq::parse(&requirement)
        .map_err(|why| fault!(NotCanonical, "the requirement {requirement:?} of {name} is not SemVer: {why}"))?;
    let id: Option<RegistryId> = r.optional("registry-id")?;
    let not_a_name = |error: Error| fault!(NotCanonical, "{}", error.message());
    let (registry, package) = match (name.contains('/'), id) {
        (true, Some(id)) => {
            let name: FullName = name.parse().map_err(not_a_name)?;
            (Some((name.registry, id)), name.package)
        }
        (false, None) => (None, name.parse().map_err(not_a_name)?),
        (true, None) => {
            return Err(fault!(BadRecord, "the dependency {name} of another registry does not say that registry's id"));
        }
        (false, Some(_)) => {
            return Err(fault!(BadRecord, "the dependency {name} of the same registry says a registry's id"));
        }
    };
    Ok(Dependency { registry, package, requirement, anchor: r.optional("anchor")? })
}

fn write_operator(entry: &OperatorEntry, w: &mut Writer<'_>) {
    match entry {
        OperatorEntry::Init(init) => {
            if let Some((registry, id, checkpoint)) = &init.origin {
                w.table("init.origin");
                w.text("registry", registry);
                w.text("registry-id", id);
                w.text("checkpoint", checkpoint);
            }
            for grant in &init.keys {
                w.element("init.keys");
                write_grant(grant, w);
            }
        }
        OperatorEntry::Allow(grant) => write_grant(grant, w),
        OperatorEntry::Deny(denial) => write_denial(denial, w),
        OperatorEntry::Policy(policy) => {
            w.string("registration", policy.registration.as_str());
            w.boolean("license-required", policy.license_required);
            write_optional_integer(w, "max-files", policy.max_files);
            write_optional_integer(w, "max-file-bytes", policy.max_file_bytes);
            write_optional_integer(w, "max-release-bytes", policy.max_release_bytes);
            write_optional_integer(w, "checkpoint-expiry", policy.checkpoint_expiry);
            w.strings("attestations", &policy.attestations);
            w.optional("digest", policy.digest);
        }
        OperatorEntry::Mirror(mirror) => {
            w.text("name", &mirror.name);
            w.text("id", mirror.id);
            w.strings("patterns", &mirror.patterns);
            w.boolean("contents", mirror.contents);
            if mirror.keep_taken_down {
                w.boolean("keep-taken-down", true);
            }
        }
        OperatorEntry::Repudiate(checkpoints, reason) => {
            w.strings("checkpoints", checkpoints);
            w.string("reason", reason);
        }
        OperatorEntry::Upgrade(format) => w.integer("format", *format),
    }
}

fn read_operator(kind: &str, r: &mut Reader<'_>) -> Result<OperatorEntry> {
    Ok(match kind {
        "init" => {
            let origin = if r.optional_table("init.origin") {
                Some((r.text("registry")?, r.text("registry-id")?, r.text("checkpoint")?))
            } else {
                None
            };
            OperatorEntry::Init(OperatorInit { origin, keys: read_grants(r, true)? })
        }
        "allow" => OperatorEntry::Allow(read_grant(r, true)?),
        "deny" => OperatorEntry::Deny(read_denial(r)?),
        "policy" => OperatorEntry::Policy(Policy {
            registration: match r.string("registration")?.as_str() {
                "open" => Registration::Open,
                "listed" => Registration::Listed,
                other => return Err(fault!(NotCanonical, "registration is {other:?}, expected open or listed")),
            },
            license_required: r.boolean("license-required")?,
            max_files: r.optional_integer("max-files")?,
            max_file_bytes: r.optional_integer("max-file-bytes")?,
            max_release_bytes: r.optional_integer("max-release-bytes")?,
            checkpoint_expiry: r.optional_integer("checkpoint-expiry")?,
            attestations: r.strings("attestations")?,
            digest: r.optional("digest")?,
        }),
        "mirror" => OperatorEntry::Mirror(Mirror {
            name: r.text("name")?,
            id: r.text("id")?,
            patterns: r.strings("patterns")?,
            contents: r.boolean("contents")?,
            keep_taken_down: r.next_is("keep-taken-down") && r.boolean("keep-taken-down")?,
        }),
        "repudiate" => OperatorEntry::Repudiate(parse_all(&r.strings("checkpoints")?)?, r.string("reason")?),
        "upgrade" => OperatorEntry::Upgrade(r.integer("format")?),
        other => {
            return Err(fault!(NotCanonical, "a record of kind {other:?} does not belong into an operator log"));
        }
    })
}

fn write_decision(decision: &Decision, w: &mut Writer<'_>) {
    w.text("operators", decision.about.operators);
    w.text("target", decision.about.target);
    w.text("head", decision.about.head);
    match &decision.what {
        Verdict::Takedown { version, class, reason } => {
            w.optional("version", version.as_ref());
            w.string("class", class.as_str());
            w.string("reason", reason);
        }
        Verdict::Restore { version, reason } => {
            w.optional("version", version.as_ref());
            w.string("reason", reason);
        }
        Verdict::Rename { from, to, consent } => {
            w.text("from", from);
            w.text("to", to);
            w.text("consent", consent);
        }
        Verdict::Reset { new, reason } => {
            w.text("new", new);
            w.string("reason", reason);
        }
    }
}

fn read_decision(kind: &str, r: &mut Reader<'_>) -> Result<Decision> {
    let about = DecisionHead { operators: r.text("operators")?, target: r.text("target")?, head: r.text("head")? };
    let what = match kind {
        "takedown" => Verdict::Takedown {
            version: r.optional("version")?,
            class: match r.string("class")?.as_str() {
                "legal" => TakedownClass::Legal,
                "malware" => TakedownClass::Malware,
                "other" => TakedownClass::Other,
                other => return Err(fault!(NotCanonical, "class is {other:?}, expected legal, malware or other")),
            },
            reason: r.string("reason")?,
        },
        "restore" => Verdict::Restore { version: r.optional("version")?, reason: r.string("reason")? },
        "rename" => Verdict::Rename { from: r.text("from")?, to: r.text("to")?, consent: r.text("consent")? },
        "reset" => Verdict::Reset { new: r.text("new")?, reason: r.string("reason")? },
        other => {
            return Err(fault!(NotCanonical, "a record of kind {other:?} does not belong into a decision log"));
        }
    };
    Ok(Decision { about, what })
}
