//! Anything that may be said is written in one way and read again; anything that may be done is done.

use crate::cast::*;
use proptest::prelude::*;
use quipu::model::digest::{
    ChangesDigest, ContentDigest, FileDigest, GitId, LogId, ObjectFormat, OriginDigest, RecordDigest, RegistryId,
};
use quipu::model::entry::*;
use quipu::model::name::{FullName, Label, PackageName, RegistryName, Version};
use quipu::model::record::{Draft, Link, Record};
use quipu::model::sshsig::Signer as _;
use std::collections::{BTreeMap, BTreeSet};

fn label() -> BoxedStrategy<Label> {
    "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4}){0,2}".prop_filter_map("a reserved word", |text| text.parse().ok()).boxed()
}

fn registry() -> BoxedStrategy<RegistryName> {
    "[a-z0-9]{1,8}\\.(example|test|x-y\\.org)".prop_filter_map("a device's name", |text| text.parse().ok()).boxed()
}

fn package() -> BoxedStrategy<PackageName> {
    (label(), label()).prop_map(|(namespace, name)| PackageName::new(namespace, name)).boxed()
}

fn full_name() -> BoxedStrategy<FullName> {
    (registry(), package()).prop_map(|(registry, package)| FullName { registry, package }).boxed()
}

fn version() -> BoxedStrategy<Version> {
    "(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})(-(alpha|rc\\.[1-9]|x-y\\.Z))?"
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

/// Any text, rich in what has to be escaped.
fn text() -> BoxedStrategy<String> {
    let odd = prop::sample::select(vec![
        '"',
        '\\',
        '\n',
        '\t',
        '\r',
        '\0',
        '\u{7}',
        '\u{7f}',
        '\u{85}',
        '\u{ad}',
        '\u{200b}',
        '\u{200d}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{fe0f}',
        '\u{e0041}',
        '\u{e01ef}',
        '\u{1f980}',
        'é',
        'u',
        '0',
        ']',
        '[',
        '=',
        '#',
        ',',
        ' ',
    ]);
    prop::collection::vec(prop_oneof![any::<char>(), odd], 0..24).prop_map(String::from_iter).boxed()
}

fn words() -> BoxedStrategy<String> {
    text().prop_filter("not empty", |text| !text.is_empty()).boxed()
}

fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, 0..=i64::MAX as u64]
}

macro_rules! digests {
    ($($function:ident $name:ident)*) => {$(
        fn $function() -> impl Strategy<Value = $name> {
            any::<[u8; 32]>().prop_map($name::from_sha256)
        }
    )*};
}
digests!(record_digest RecordDigest  log_id LogId  registry_id RegistryId  content ContentDigest  file FileDigest  changes ChangesDigest);

fn git_id(format: ObjectFormat) -> impl Strategy<Value = GitId> {
    any::<[u8; 32]>().prop_map(move |bytes| GitId::from_bytes(&bytes[..format.id_len()]).unwrap())
}

fn person() -> BoxedStrategy<Person> {
    (label(), 1..=255u8).prop_map(|(name, seed)| stranger(name.as_str(), seed)).boxed()
}

fn privileges<T: Privilege>() -> impl Strategy<Value = Vec<T>> {
    prop::sample::subsequence(T::ALL.to_vec(), 1..=T::ALL.len())
}

fn grant<T: Privilege>() -> BoxedStrategy<Grant<T>> {
    (person(), privileges::<T>(), prop::collection::btree_set(label(), 0..3))
        .prop_map(|(person, privileges, namespaces)| {
            let mut grant = person.grant(&privileges);
            if privileges.iter().any(|p| p.as_str() == "register") {
                grant.namespaces = namespaces.into_iter().collect();
            }
            grant
        })
        .boxed()
}

fn denial<T: Privilege>() -> BoxedStrategy<Denial<T>> {
    (person(), privileges::<T>(), prop::option::of(integer()))
        .prop_map(|(person, privileges, compromised_since)| Denial {
            name: person.name.clone(),
            key: person.key.public_key().clone(),
            privileges,
            compromised_since,
        })
        .boxed()
}

/// Keys of a first record: no name and no key twice, and somebody has `auth`.
fn grants<T: Privilege>() -> BoxedStrategy<Vec<Grant<T>>> {
    prop::collection::vec(grant::<T>(), 1..4)
        .prop_map(|mut grants| {
            let mut seen = BTreeSet::new();
            grants.retain(|grant| seen.insert(grant.name.to_string()) && seen.insert(grant.key.to_string()));
            if !grants[0].privileges.contains(&T::AUTH) {
                grants[0].privileges.insert(0, T::AUTH);
            }
            grants
        })
        .boxed()
}

fn requirement() -> BoxedStrategy<semver::VersionReq> {
    prop::sample::select(vec!["*", "^1.2.3", "~0.4", ">=1.0.0, <3.0.0", "=0.0.1-rc.1", "<7", "2.*"])
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

fn dependencies() -> BoxedStrategy<Vec<Dependency>> {
    let one = (prop::option::of((registry(), registry_id())), package(), requirement(), prop::option::of(record_digest()));
    prop::collection::vec(one, 0..4)
        .prop_map(|all| {
            let all = all.into_iter().map(|(registry, package, requirement, anchor)| {
                let dependency = Dependency { registry, package, requirement, anchor };
                ((dependency.name(), dependency.requirement.to_string()), dependency)
            });
            all.collect::<BTreeMap<_, _>>().into_values().collect()
        })
        .boxed()
}

fn release_entry(format: ObjectFormat) -> BoxedStrategy<PackageEntry> {
    (
        (version(), content(), git_id(format), integer(), 1..=i64::MAX as u64),
        (prop::option::of(words()), prop::option::of(words()), prop::collection::vec(words(), 0..3), prop::option::of(words())),
        dependencies(),
    )
        .prop_map(|((version, content, tree, size, files), (description, license, links, build), dependencies)| {
            PackageEntry::Release(std::sync::Arc::new(Release {
                version,
                content,
                tree,
                size,
                files,
                description,
                license,
                links,
                build,
                dependencies,
            }))
        })
        .boxed()
}

fn origin() -> BoxedStrategy<Option<Provenance>> {
    let names = (registry(), registry_id(), package(), log_id(), record_digest(), record_digest());
    let fork = (names, prop::option::of((version(), content())), any::<bool>()).prop_map(
        |((registry, registry_id, package, log, record, checkpoint), release, linked)| {
            let (version, content) = release.unzip();
            let origin = Origin { registry, registry_id, package, log, record, version, content, checkpoint, linked };
            Provenance::Fork(Box::new(origin))
        },
    );
    let promoted = any::<[u8; 32]>().prop_map(|bytes| Provenance::Promoted(OriginDigest::from_sha256(bytes)));
    prop::option::of(prop_oneof![fork, promoted]).boxed()
}

fn package_entry(format: ObjectFormat) -> BoxedStrategy<PackageEntry> {
    prop_oneof![
        (registry_id(), origin(), grants()).prop_map(|(registry_id, origin, keys)| PackageEntry::Init(PackageInit {
            registry_id,
            origin,
            keys
        })),
        grant().prop_map(PackageEntry::Allow),
        denial().prop_map(PackageEntry::Deny),
        release_entry(format),
        release_entry(format),
        (version(), text()).prop_map(|(version, reason)| PackageEntry::Yank(version, reason)),
        (version(), text()).prop_map(|(version, reason)| PackageEntry::Unyank(version, reason)),
        (full_name(), prop::option::of(registry_id())).prop_map(|(to, id)| PackageEntry::Rename(to, id)),
        (2..=i64::MAX as u64).prop_map(PackageEntry::Upgrade),
    ]
    .boxed()
}

fn pattern() -> BoxedStrategy<String> {
    prop_oneof![Just("*".to_owned()), label().prop_map(|l| format!("{l}:*")), package().prop_map(|p| p.to_string())].boxed()
}

fn policy() -> BoxedStrategy<Policy> {
    let limits = || prop::option::of(integer());
    let rest = (prop::collection::btree_set(words(), 0..3), prop::option::of(file()));
    (any::<bool>(), any::<bool>(), limits(), limits(), limits(), limits(), rest)
        .prop_map(
            |(
                listed,
                license_required,
                max_files,
                max_file_bytes,
                max_release_bytes,
                checkpoint_expiry,
                (attestations, digest),
            )| Policy {
                registration: if listed { Registration::Listed } else { Registration::Open },
                license_required,
                max_files,
                max_file_bytes,
                max_release_bytes,
                checkpoint_expiry,
                attestations: attestations.into_iter().collect(),
                digest,
            },
        )
        .boxed()
}

fn operator_entry() -> BoxedStrategy<OperatorEntry> {
    prop_oneof![
        (prop::option::of((registry(), registry_id(), record_digest())), grants())
            .prop_map(|(origin, keys)| OperatorEntry::Init(OperatorInit { origin, keys })),
        grant().prop_map(OperatorEntry::Allow),
        denial().prop_map(OperatorEntry::Deny),
        policy().prop_map(OperatorEntry::Policy),
        (registry(), registry_id(), prop::collection::btree_set(pattern(), 0..3), any::<bool>(), any::<bool>()).prop_map(
            |(name, id, patterns, contents, keep_taken_down)| OperatorEntry::Mirror(Mirror {
                name,
                id,
                patterns: patterns.into_iter().collect(),
                contents,
                keep_taken_down,
            })
        ),
        (prop::collection::btree_set(record_digest(), 1..3), text())
            .prop_map(|(checkpoints, reason)| OperatorEntry::Repudiate(checkpoints.into_iter().collect(), reason)),
        (2..=i64::MAX as u64).prop_map(OperatorEntry::Upgrade),
    ]
    .boxed()
}

fn decision() -> BoxedStrategy<Decision> {
    let about = (record_digest(), log_id(), record_digest()).prop_map(|(operators, target, head)| DecisionHead {
        operators,
        target,
        head,
    });
    let class = prop::sample::select(vec![TakedownClass::Legal, TakedownClass::Malware, TakedownClass::Other]);
    let what = prop_oneof![
        (prop::option::of(version()), class, text()).prop_map(|(version, class, reason)| Verdict::Takedown {
            version,
            class,
            reason
        }),
        (prop::option::of(version()), text()).prop_map(|(version, reason)| Verdict::Restore { version, reason }),
        (full_name(), full_name(), record_digest())
            .prop_filter("two names", |(from, to, _)| from != to)
            .prop_map(|(from, to, consent)| Verdict::Rename { from, to, consent }),
        (log_id(), text()).prop_map(|(new, reason)| Verdict::Reset { new, reason }),
    ];
    (about, what).prop_map(|(about, what)| Decision { about, what }).boxed()
}

fn seconds() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(0..=253_402_300_799u64)
}

fn attestation_entry() -> BoxedStrategy<AttestationEntry> {
    let whole = (registry_id(), log_id(), version(), content(), words());
    prop_oneof![
        (whole, prop::option::of(any::<bool>()), prop::option::of(file()), seconds()).prop_map(
            |((registry_id, target, version, content, predicate), pass, statement, expires)| {
                AttestationEntry::Attest(Box::new(Attest {
                    registry_id,
                    target,
                    version,
                    content,
                    predicate,
                    pass,
                    statement,
                    expires,
                }))
            }
        ),
        (record_digest(), text()).prop_map(|(record, reason)| AttestationEntry::Revoke(record, reason)),
    ]
    .boxed()
}

fn entry(format: ObjectFormat) -> BoxedStrategy<(Subject, Entry)> {
    prop_oneof![
        4 => (package(), package_entry(format)).prop_map(|(p, e)| (Subject::Package(p), Entry::Package(e))),
        3 => operator_entry().prop_map(|e| (Subject::Operators, Entry::Operator(e))),
        2 => (package(), decision()).prop_map(|(p, e)| (Subject::Decisions(p), Entry::Decision(e))),
        2 => (full_name(), attestation_entry()).prop_map(|(p, e)| (Subject::Attestations(p), Entry::Attestation(e))),
        1 => (record_digest(), integer(), changes(), seconds()).prop_map(|(operators, packages, changes, expires)| {
            (Subject::Log, Entry::Checkpoint(Checkpoint { skip: None, operators, packages, changes, expires }))
        }),
    ]
    .boxed()
}

/// Any record that a key may sign, whatever its log may say to it.
fn draft() -> BoxedStrategy<Draft> {
    prop::sample::select(FORMATS.to_vec())
        .prop_flat_map(|format| {
            let place = (
                prop::option::of(git_id(format)),
                prop::option::of((log_id(), 1..=i64::MAX as u64, record_digest())),
                git_id(format),
            );
            (entry(format), place, label(), registry(), 0..=253_402_300_799u64, record_digest()).prop_map(
                move |((subject, mut entry), (parent, link, map), signer, registry, seconds, far)| {
                    let link = link.map(|(log, seq, prev)| {
                        let prev = if seq == 1 { log.first_record() } else { prev };
                        Link { log, seq, prev }
                    });
                    if let (Entry::Checkpoint(checkpoint), Some(Link { log, seq, prev })) = (&mut entry, link) {
                        checkpoint.skip = Some(match quipu::model::skip::skip(seq) {
                            0 => log.first_record(),
                            back if back == seq - 1 => prev,
                            _ => far,
                        });
                    }
                    Draft {
                        format,
                        tree: if matches!(entry, Entry::Checkpoint(_)) { map } else { format.empty_tree() },
                        parent,
                        signer,
                        time: quipu::model::time::Timestamp::from_unix(seconds).unwrap(),
                        registry,
                        subject,
                        link,
                        entry,
                    }
                },
            )
        })
        .boxed()
}

/// What TOML should make of a record's body, put together without the writer of records.
fn as_toml(draft: &Draft) -> toml::Table {
    let mut table = toml::Table::new();
    let package = match &draft.subject {
        Subject::Package(package) | Subject::Decisions(package) => Some(package.to_string()),
        Subject::Attestations(package) => Some(package.to_string()),
        Subject::Operators | Subject::Log => None,
    };
    put(&mut table, "format", 1u64);
    put(&mut table, "kind", draft.entry.kind());
    put(&mut table, "registry", draft.registry.as_str());
    maybe(&mut table, "package", package);
    maybe(&mut table, "log", draft.link.map(|link| link.log.to_string()));
    put(&mut table, "seq", draft.seq());
    maybe(&mut table, "prev", draft.link.map(|link| link.prev.to_string()));
    let mut says = toml::Table::new();
    fill(&mut says, &draft.entry);
    table.insert(draft.entry.kind().into(), says.into());
    table
}

struct Value(toml::Value);

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value(toml::Value::Integer(i64::try_from(number).unwrap()))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value(value.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value(text.into())
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Value(texts.into())
    }
}

fn put(table: &mut toml::Table, key: &str, value: impl Into<Value>) {
    table.insert(key.into(), value.into().0);
}

fn maybe(table: &mut toml::Table, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(table, key, value);
    }
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn some<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn key_table<T: Privilege>(grant: &Grant<T>) -> toml::Table {
    let mut table = toml::Table::new();
    put(&mut table, "name", grant.name.as_str());
    put(&mut table, "key", grant.key.to_string());
    put(&mut table, "privileges", grant.privileges.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>());
    if !grant.namespaces.is_empty() {
        put(&mut table, "namespaces", texts(&grant.namespaces));
    }
    table
}

fn denial_table<T: Privilege>(denial: &Denial<T>) -> toml::Table {
    let mut table = toml::Table::new();
    put(&mut table, "name", denial.name.as_str());
    put(&mut table, "key", denial.key.to_string());
    put(&mut table, "privileges", denial.privileges.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>());
    maybe(&mut table, "compromised-since", denial.compromised_since);
    table
}

fn keys_array<T: Privilege>(grants: &[Grant<T>]) -> toml::Value {
    grants.iter().map(key_table).collect::<Vec<_>>().into()
}

fn fill(t: &mut toml::Table, entry: &Entry) {
    match entry {
        Entry::Package(PackageEntry::Init(init)) => {
            put(t, "registry-id", init.registry_id.to_string());
            if let Some(Provenance::Promoted(origin)) = &init.origin {
                let mut from = toml::Table::new();
                put(&mut from, "digest", origin.to_string());
                t.insert("origin".into(), from.into());
            }
            if let Some(Provenance::Fork(origin)) = &init.origin {
                let mut from = toml::Table::new();
                put(&mut from, "registry", origin.registry.as_str());
                put(&mut from, "registry-id", origin.registry_id.to_string());
                put(&mut from, "package", origin.package.to_string());
                put(&mut from, "log", origin.log.to_string());
                put(&mut from, "record", origin.record.to_string());
                maybe(&mut from, "version", some(&origin.version));
                maybe(&mut from, "content", some(&origin.content));
                put(&mut from, "checkpoint", origin.checkpoint.to_string());
                put(&mut from, "linked", origin.linked);
                t.insert("origin".into(), from.into());
            }
            t.insert("keys".into(), keys_array(&init.keys));
        }
        Entry::Package(PackageEntry::Allow(grant)) => *t = key_table(grant),
        Entry::Operator(OperatorEntry::Allow(grant)) => *t = key_table(grant),
        Entry::Package(PackageEntry::Deny(denial)) => *t = denial_table(denial),
        Entry::Operator(OperatorEntry::Deny(denial)) => *t = denial_table(denial),
        Entry::Package(PackageEntry::Release(release)) => {
            put(t, "version", release.version.to_string());
            put(t, "content", release.content.to_string());
            put(t, "tree", release.tree.to_string());
            put(t, "size", release.size);
            put(t, "files", release.files);
            maybe(t, "description", release.description.clone());
            maybe(t, "license", release.license.clone());
            if !release.links.is_empty() {
                put(t, "links", release.links.clone());
            }
            maybe(t, "build", release.build.clone());
            let dependencies: Vec<toml::Table> = release
                .dependencies
                .iter()
                .map(|dependency| {
                    let mut table = toml::Table::new();
                    put(&mut table, "name", dependency.name());
                    put(&mut table, "requirement", dependency.requirement.to_string());
                    maybe(&mut table, "registry-id", dependency.registry.as_ref().map(|(_, id)| id.to_string()));
                    maybe(&mut table, "anchor", some(&dependency.anchor));
                    table
                })
                .collect();
            if !dependencies.is_empty() {
                t.insert("dependencies".into(), dependencies.into());
            }
        }
        Entry::Package(PackageEntry::Yank(version, reason) | PackageEntry::Unyank(version, reason)) => {
            put(t, "version", version.to_string());
            put(t, "reason", reason.clone());
        }
        Entry::Package(PackageEntry::Rename(to, id)) => {
            put(t, "to", to.to_string());
            maybe(t, "registry-id", some(id));
        }
        Entry::Package(PackageEntry::Upgrade(format)) | Entry::Operator(OperatorEntry::Upgrade(format)) => {
            put(t, "format", *format)
        }
        Entry::Operator(OperatorEntry::Init(init)) => {
            if let Some((registry, id, checkpoint)) = &init.origin {
                let mut from = toml::Table::new();
                put(&mut from, "registry", registry.as_str());
                put(&mut from, "registry-id", id.to_string());
                put(&mut from, "checkpoint", checkpoint.to_string());
                t.insert("origin".into(), from.into());
            }
            t.insert("keys".into(), keys_array(&init.keys));
        }
        Entry::Operator(OperatorEntry::Policy(policy)) => {
            put(t, "registration", policy.registration.as_str());
            put(t, "license-required", policy.license_required);
            maybe(t, "max-files", policy.max_files);
            maybe(t, "max-file-bytes", policy.max_file_bytes);
            maybe(t, "max-release-bytes", policy.max_release_bytes);
            maybe(t, "checkpoint-expiry", policy.checkpoint_expiry);
            put(t, "attestations", policy.attestations.clone());
            maybe(t, "digest", some(&policy.digest));
        }
        Entry::Operator(OperatorEntry::Mirror(mirror)) => {
            put(t, "name", mirror.name.as_str());
            put(t, "id", mirror.id.to_string());
            put(t, "patterns", mirror.patterns.clone());
            put(t, "contents", mirror.contents);
            maybe(t, "keep-taken-down", mirror.keep_taken_down.then_some(true));
        }
        Entry::Operator(OperatorEntry::Repudiate(checkpoints, reason)) => {
            put(t, "checkpoints", texts(checkpoints));
            put(t, "reason", reason.clone());
        }
        Entry::Decision(decision) => {
            put(t, "operators", decision.about.operators.to_string());
            put(t, "target", decision.about.target.to_string());
            put(t, "head", decision.about.head.to_string());
            match &decision.what {
                Verdict::Takedown { version, class, reason } => {
                    maybe(t, "version", some(version));
                    put(t, "class", class.as_str());
                    put(t, "reason", reason.clone());
                }
                Verdict::Restore { version, reason } => {
                    maybe(t, "version", some(version));
                    put(t, "reason", reason.clone());
                }
                Verdict::Rename { from, to, consent } => {
                    put(t, "from", from.to_string());
                    put(t, "to", to.to_string());
                    put(t, "consent", consent.to_string());
                }
                Verdict::Reset { new, reason } => {
                    put(t, "new", new.to_string());
                    put(t, "reason", reason.clone());
                }
            }
        }
        Entry::Checkpoint(checkpoint) => {
            maybe(t, "skip", some(&checkpoint.skip));
            put(t, "operators", checkpoint.operators.to_string());
            put(t, "packages", checkpoint.packages);
            put(t, "changes", checkpoint.changes.to_string());
            maybe(t, "expires", checkpoint.expires);
        }
        Entry::Attestation(AttestationEntry::Attest(attest)) => {
            put(t, "registry-id", attest.registry_id.to_string());
            put(t, "target", attest.target.to_string());
            put(t, "version", attest.version.to_string());
            put(t, "content", attest.content.to_string());
            put(t, "type", attest.predicate.clone());
            maybe(t, "result", attest.pass.map(|pass| if pass { "pass" } else { "fail" }));
            maybe(t, "statement", some(&attest.statement));
            maybe(t, "expires", attest.expires);
        }
        Entry::Attestation(AttestationEntry::Revoke(record, reason)) => {
            put(t, "record", record.to_string());
            put(t, "reason", reason.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn every_record_is_read_as_it_was_meant_and_toml_agrees(draft in draft(), seed in 1..=255u8) {
        let signer = stranger("x", seed);
        let record = match draft.sign(&signer.key) {
            Ok(record) => record,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert_eq!(record.draft(), &draft);
        let again = read(draft.format, record.bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&again, &record);
        let table: toml::Table = draft.body().parse().map_err(|error: toml::de::Error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(table, as_toml(&draft));
        // Nothing that hides or reorders stands in it as itself.
        prop_assert!(draft.body().chars().all(|c| c == '\n' || matches!(c, '"' | '\\') || !quipu::model::canonical::needs_escape(c)));
    }

    /// Edits of any number of bytes anywhere: what is read at all is what would be written.
    #[test]
    fn whatever_is_read_is_in_its_one_form(draft in draft(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4)) {
        let record = draft.sign(&alice().key).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut bytes = payload(&record).into_bytes();
        for (place, byte, how) in edits {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if bytes.windows(2).any(|pair| pair == b"\n\n")
            && let Ok(read) = Record::parse(draft.format, signed(draft.format, &bytes, &alice().key))
            && let Ok(read) = read.verify(&mut quipu::model::key::KeyCache::new())
        {
            prop_assert_eq!(payload(&read).into_bytes(), bytes);
        }
    }
}

/// What the law should say, kept in the simplest way.
#[derive(Clone, Default)]
struct Model {
    held: BTreeMap<usize, BTreeSet<P>>,
    known: BTreeSet<usize>,
    released: BTreeSet<u64>,
    yanked: BTreeSet<u64>,
    renamed: usize,
    pending: Option<usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Allow(usize, Vec<P>),
    Deny(usize, Vec<P>),
    Release(u64),
    Yank(u64),
    Unyank(u64),
    Rename(usize),
    /// The next record bears the new name.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize, privileges()).prop_map(|(who, what)| Step::Allow(who, what)),
        (0..4usize, privileges()).prop_map(|(who, what)| Step::Deny(who, what)),
        (0..6u64).prop_map(Step::Release),
        (0..6u64).prop_map(Step::Yank),
        (0..6u64).prop_map(Step::Unyank),
        (0..3usize).prop_map(Step::Rename),
        Just(Step::Move),
    ]
}

impl Model {
    fn holds(&self, who: usize, what: P) -> bool {
        self.held.get(&who).is_some_and(|held| held.contains(&what))
    }

    /// Does what is legal, and says whether it was.
    fn apply(&mut self, who: usize, step: &Step) -> bool {
        let all = |what: &[P], of: &Model, whom: usize| what.iter().all(|p| of.holds(whom, *p));
        let legal = match step {
            Step::Allow(_, what) => self.holds(who, P::Auth) && all(what, self, who),
            Step::Deny(whom, what) => {
                let left =
                    self.held.iter().any(|(key, held)| held.contains(&P::Auth) && (key != whom || !what.contains(&P::Auth)));
                self.holds(who, P::Auth) && all(what, self, who) && all(what, self, *whom) && left
            }
            Step::Release(version) => self.holds(who, P::Release) && !self.released.contains(version),
            Step::Yank(version) => self.holds(who, P::Yank) && self.released.contains(version) && !self.yanked.contains(version),
            Step::Unyank(version) => self.holds(who, P::Yank) && self.yanked.contains(version),
            Step::Rename(to) => self.holds(who, P::Rename) && (*to != self.renamed || self.pending.is_some()),
            Step::Move => false,
        };
        if legal {
            match step {
                Step::Allow(whom, what) => {
                    self.known.insert(*whom);
                    self.held.entry(*whom).or_default().extend(what.iter().copied());
                }
                Step::Deny(whom, what) => self.held.entry(*whom).or_default().retain(|p| !what.contains(p)),
                Step::Release(version) => drop(self.released.insert(*version)),
                Step::Yank(version) => drop(self.yanked.insert(*version)),
                Step::Unyank(version) => drop(self.yanked.remove(version)),
                Step::Rename(to) => self.pending = (*to != self.renamed).then_some(*to),
                Step::Move => {}
            }
        }
        legal
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_legal_is_accepted_and_nothing_else(steps in prop::collection::vec((0..4usize, step()), 1..40)) {
        const NAMES: [&str; 3] = ["wasi:http", "wasi:web", "wasi:w3"];
        let cast = [alice(), bob(), mallory(), carol()];
        let mut log = Growing::new(&[P::Release]);
        let mut model = Model::default();
        model.held.insert(0, [P::Auth, P::Release, P::Yank, P::Rename].into());
        model.held.insert(1, [P::Release].into());
        model.known = [0, 1].into();
        let mut under = 0;
        for (who, step) in steps {
            let person = &cast[who];
            let version = |n: u64| format!("1.{n}.0");
            let entry = match &step {
                Step::Allow(whom, what) => PackageEntry::Allow(cast[*whom].grant(what)),
                Step::Deny(whom, what) => PackageEntry::Deny(Denial {
                    name: cast[*whom].name.clone(),
                    key: cast[*whom].key.public_key().clone(),
                    privileges: what.clone(),
                    compromised_since: None,
                }),
                Step::Release(n) => released(&version(*n)),
                Step::Yank(n) => yank(&version(*n)),
                Step::Unyank(n) => unyank(&version(*n)),
                Step::Rename(to) => PackageEntry::Rename(format!("acme.example/{}", NAMES[*to]).parse().unwrap(), None),
                Step::Move => {
                    under = model.pending.unwrap_or(under);
                    continue;
                }
            };
            let mut draft = log.draft(person, entry);
            draft.subject = Subject::Package(NAMES[under].parse().unwrap());
            let record = draft.sign(&person.key).unwrap();
            // A record under a name that is asked for takes it, and is judged under it.
            let mut then = model.clone();
            let named = under == then.renamed || then.pending == Some(under);
            if then.pending == Some(under) {
                then.renamed = under;
                then.pending = None;
            }
            let legal = named && then.apply(who, &step);
            let before = log.clone();
            match log.append(&record) {
                Ok(next) => {
                    prop_assert!(legal, "accepted by seq {}: {:?} by {}", record.seq(), step, person.name);
                    (log, model) = (next, then);
                }
                Err(error) => {
                    prop_assert!(!legal, "refused: {error}");
                    prop_assert_eq!(&log, &before);
                    under = model.renamed;
                }
            }
            for (n, person) in cast.iter().enumerate() {
                let held = log.log.keys().get(person.key.public_key()).map(|state| state.privileges.clone()).unwrap_or_default();
                prop_assert_eq!(held, model.held.get(&n).map(|held| held.iter().copied().collect::<Vec<_>>()).unwrap_or_default());
            }
            let yanked = log.log.releases().filter(|released| released.yanked.is_some()).count();
            prop_assert_eq!((log.log.releases().count(), yanked), (model.released.len(), model.yanked.len()));
        }
    }
}
