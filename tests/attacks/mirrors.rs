//! What a registry can do to whoever mirrors it: nothing but stop. The mirror goes on serving what it verified last.

use crate::daemon::Daemon;
use crate::registry::{decide, takedown};
use crate::scene::{Log, Registry, Said, Scene, User, after, copy, digest_of, git, key, package, release, slot};
use quipu::git::layout;
use quipu::model::entry::{Attest, AttestationEntry, Entry, OperatorEntry, OperatorPrivilege, PackageEntry, Subject, Verdict};
use quipu::model::record::SignedRecord;
use quipu::model::slot::Slot;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PARTS: [&[&str]; 2] = [&[], &["--only", "demo:*"]];

/// A registry, and Oscar's, which mirrors it.
struct Mirrored {
    scene: Scene,
    registry: Registry,
    log: Log,
    oscar: User,
    daemon: Daemon,
    only: &'static [&'static str],
    is_wire: bool,
}

impl Mirrored {
    fn new(only: &'static [&'static str], is_wire: bool) -> Self {
        let (scene, registry, mut log) = Scene::with_registry();
        registry.serve("other:thing", &registry.hello("other:thing", "1.0.0"));
        let oscar = scene.cast("oscar");
        oscar.run(&["registry", "init", scene.path("own.git").to_str().unwrap(), "--name", "own.example"]).well();
        let daemon = Daemon::serve(&scene.path(""));
        log.release("alice", registry.text("1.1.0", "second\n"));
        let mirrored = Mirrored { scene, registry, log, oscar, daemon, only, is_wire };
        mirrored.add(mirrored.only).well();
        mirrored.goes_on();
        mirrored.sync().well();
        mirrored
    }

    fn own(&self) -> PathBuf {
        self.scene.path("own.git")
    }

    fn url(&self) -> String {
        if self.is_wire { self.daemon.url("registry.git") } else { self.registry.path.display().to_string() }
    }

    fn add(&self, only: &[&str]) -> Said {
        let (own, id, url) = (self.own(), self.registry.id.to_string(), self.url());
        let args = ["mirror", "add", "acme.example", &url, "--id", &id, "--in", own.to_str().unwrap()];
        self.oscar.run(&[&args[..], only].concat())
    }

    fn sync(&self) -> Said {
        self.oscar.run(&["mirror", "sync", "--in", self.own().to_str().unwrap()])
    }

    /// The registry publishes something, as it should.
    fn goes_on(&self) {
        self.registry.serve("demo:hello", &self.log);
    }

    fn references(&self) -> String {
        git(&self.own(), &["for-each-ref"], b"")
    }

    /// Checks that the next step is refused, that nothing has moved, and that what was verified is served.
    fn refuses(&self, what: &str, code: &str, status: i32) -> Said {
        let (references, state) = (self.references(), self.oscar.state());
        let said = self.sync();
        assert_eq!((said.code(), said.status), (code, status), "{what} {:?}: {}", self.only, said.stdout);
        assert_eq!(said.json["mirrors"][0]["error"]["code"], code, "{what}: {}", said.stdout);
        assert_eq!(self.references(), references, "{what}: references have moved");
        assert_eq!(self.oscar.state(), state, "{what}: files of the operator have changed");
        self.serves(what);
        said
    }

    /// Checks that Oscar's repository serves the registry to somebody new, and is sound.
    fn serves(&self, what: &str) {
        let carol = self.scene.user(&format!("carol-{}", what.replace(' ', "-")));
        carol.trust(&self.registry, &self.daemon.url("own.git"));
        let got = carol.run(&["get", "acme.example/demo:hello@1.0.0", "--to", "x"]);
        assert_eq!(got.status, 0, "{what}: {}{}", got.stdout, got.stderr);
        assert_eq!(git(&self.own(), &["fsck", "--strict", "--no-dangling", "--no-progress"], b""), "", "{what}");
        let fsck = self.oscar.run(&["registry", "fsck", self.own().to_str().unwrap()]);
        assert_eq!(fsck.status, 0, "{what}: {}{}", fsck.stdout, fsck.stderr);
        let verified = self.oscar.run(&["verify", self.own().to_str().unwrap()]);
        assert_eq!(verified.status, 0, "{what}: {}{}", verified.stdout, verified.stderr);
    }
}

/// One attack: what it is, the code that it ends with for a whole mirror and for a part, whether it leaves evidence, and how it is made.
type Attack = (&'static str, [&'static str; 2], bool, fn(&Mirrored));

/// Goes back by a checkpoint.
fn back(registry: &Registry) -> SignedRecord {
    registry.record(registry.newest().draft().parent.unwrap())
}

fn next(mirrored: &Mirrored) -> Log {
    let mut log = mirrored.log.clone();
    log.release("alice", mirrored.registry.text("1.2.0", "third\n"));
    log
}

/// Takes away all that no reference of a repository leads to.
fn forget(registry: &Registry) {
    registry.git(&["repack", "-q", "-a", "-d"]);
    registry.git(&["prune", "--expire=now"]);
}

const ATTACKS: &[Attack] = &[
    ("goes back", ["rollback"; 2], true, |m| {
        m.registry.set(layout::registry_log().as_str(), back(&m.registry).git_id());
    }),
    ("goes aside", ["fork"; 2], true, |m| {
        m.registry.checkpoint_on(&back(&m.registry), "olga", &[], |_, _| {});
    }),
    ("goes aside and on", ["fork"; 2], true, |m| {
        m.registry.checkpoint_on(&back(&m.registry), "olga", &[], |_, _| {});
        m.registry.pass(5);
    }),
    ("operators go back", ["rollback"; 2], true, |m| {
        let first = m.registry.named(&layout::operators());
        m.registry.operate("olga", OperatorEntry::Allow(crate::scene::operator("oscar", &[OperatorPrivilege::Checkpoint])));
        m.sync().well();
        m.registry.set(layout::operators().as_str(), first);
        m.registry.checkpoint("olga", &[], |_, _| {});
    }),
    ("somebody else's checkpoint", ["unauthorized"; 2], false, |m| {
        m.registry.checkpoint("mallory", &[], |_, _| {});
    }),
    ("expired", ["stale"; 2], false, |m| {
        let now = quipu::command::context::now().unwrap().unix();
        m.registry.checkpoint("olga", &[], |_, checkpoint| checkpoint.expires = Some(now - 60));
    }),
    ("a log goes back", ["rollback"; 2], true, |m| {
        let id = m.log.records[1].git_id();
        m.registry.checkpoint("olga", &[(slot("demo:hello"), Some(id))], |_, _| {});
        m.registry.set("refs/packages/demo/hello", id);
    }),
    ("a log goes aside", ["fork"; 2], true, |m| {
        let mut log = m.log.clone();
        log.records.pop();
        log.trees.pop();
        log.release("alice", m.registry.text("1.1.0", "another second\n"));
        m.registry.serve("demo:hello", &log);
    }),
    ("another log", ["name-taken"; 2], false, |m| {
        m.registry.serve("demo:hello", &m.registry.hello_of("mallory", "demo:hello", "1.0.0"));
    }),
    ("a log is gone", ["rollback"; 2], true, |m| {
        m.registry.checkpoint("olga", &[(slot("demo:hello"), None)], |_, _| {});
    }),
    ("a forged record", ["unauthorized"; 2], false, |m| {
        let mut log = m.log.clone();
        log.release("mallory", m.registry.text("1.2.0", "third\n"));
        m.registry.serve("demo:hello", &log);
    }),
    ("other files than a release says", ["content-mismatch"; 2], false, |m| {
        let mut told = m.registry.text("1.2.0", "what the record says\n");
        told.tree = m.registry.files(&[("README.md", b"other bytes\n")]);
        let mut log = m.log.clone();
        log.release("alice", told);
        m.registry.serve("demo:hello", &log);
    }),
    ("paths that leave the folder", ["corrupt-object"; 2], false, |m| {
        let blob = m.registry.raw("blob", b"x");
        let tree = m.registry.raw("tree", &crate::scene::raw_tree(&[("100644", b"..", blob)]));
        let mut log = m.log.clone();
        log.release("alice", release("1.2.0", tree, 1, 1, digest_of(&[("..", b"x")])));
        m.registry.serve("demo:hello", &log);
    }),
    ("a log is withheld", ["ref-missing"; 2], false, |m| {
        m.registry.crowd([package("demo:withheld")]);
    }),
    ("the log of a package is deleted", ["ref-missing"; 2], false, |m| {
        m.registry.serve("demo:hello", &next(m));
        m.registry.delete("refs/packages/demo/hello");
        forget(&m.registry);
    }),
    ("files are withheld", ["ref-missing"; 2], false, |m| {
        m.registry.serve("demo:hello", &next(m));
        m.registry.delete("refs/contents/demo/hello");
        forget(&m.registry);
    }),
    ("a log that was put aside is withheld", ["ref-missing"; 2], false, |m| {
        let new = m.registry.hello_of("bob", "demo:hello", "5.0.0");
        let reset = Verdict::Reset { new: new.records[0].digest().into(), reason: "the key was lost".into() };
        decide(&m.registry, "olga", &m.log, reset, None);
        m.registry.serve("demo:hello", &new);
    }),
    ("other files under the name", ["ref-missing"; 2], false, |m| {
        m.registry.serve("demo:hello", &next(m));
        let tree = m.registry.files(&[("README.md", b"other bytes\n")]);
        m.registry.place_contents("demo:hello", &[("1.2.0".to_owned(), tree)]);
        forget(&m.registry);
    }),
    ("the registry log is deleted", ["bad-repository"; 2], false, |m| m.registry.delete(layout::registry_log().as_str())),
    ("the operators are deleted", ["ref-missing"; 2], false, |m| m.registry.delete(layout::operators().as_str())),
    ("a tree of the map is withheld", ["git"; 2], false, |m| {
        let newest = m.registry.serve("demo:hello", &next(m));
        let tree = m.registry.git(&["rev-parse", &format!("{}:packages/demo", newest.draft().tree)]);
        fs::remove_file(m.registry.path.join("objects").join(&tree[..2]).join(&tree[2..])).unwrap();
    }),
    ("a namesake", ["id-mismatch"; 2], false, |m| {
        let other = Registry::found_at(&m.scene.path("namesake.git"), "acme.example", "mallory", 1_600_000_000);
        fs::remove_dir_all(&m.registry.path).unwrap();
        copy(&other.path, &m.registry.path);
    }),
    ("another registry", ["wrong-registry"; 2], false, |m| {
        let other = Registry::found_at(&m.scene.path("another.git"), "another.example", "mallory", 1_600_000_000);
        fs::remove_dir_all(&m.registry.path).unwrap();
        copy(&other.path, &m.registry.path);
    }),
    ("no registry", ["bad-repository"; 2], false, |m| {
        fs::remove_dir_all(&m.registry.path).unwrap();
        git(&m.scene.path(""), &["init", "-q", "--bare", m.registry.path.to_str().unwrap()], b"");
    }),
    ("nothing", ["not-found"; 2], false, |m| fs::remove_dir_all(&m.registry.path).unwrap()),
    ("decisions by somebody else", ["unauthorized"; 2], false, |m| {
        decide(&m.registry, "mallory", &m.log, takedown(Some("1.0.0")), None);
    }),
    ("decisions about another log", ["wrong-log"; 2], false, |m| {
        let other = m.registry.hello("demo:more", "1.0.0");
        m.registry.serve("demo:more", &other);
        decide(&m.registry, "olga", &other, takedown(Some("1.0.0")), None);
    }),
    ("decisions go back", ["rollback"; 2], true, |m| {
        let first = decide(&m.registry, "olga", &m.log, takedown(Some("1.1.0")), None);
        decide(&m.registry, "olga", &m.log, takedown(Some("9.0.0")), Some(&first));
        m.sync().well();
        m.registry.set("refs/decisions/demo/hello", first.git_id());
        m.registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), Some(first.git_id()))], |_, _| {});
    }),
    ("decisions go", ["rollback"; 2], true, |m| {
        decide(&m.registry, "olga", &m.log, takedown(Some("1.1.0")), None);
        m.sync().well();
        m.registry.delete("refs/decisions/demo/hello");
        m.registry.checkpoint("olga", &[(Slot::Decisions(package("demo:hello")), None)], |_, _| {});
    }),
];

/// Makes one attack on a whole mirror and on a part.
fn attempt(at: usize, (what, codes, has_evidence, attack): &Attack) {
    for (only, code) in PARTS.into_iter().zip(codes) {
        let mirrored = Mirrored::new(only, at.is_multiple_of(2));
        attack(&mirrored);
        let status = match *code {
            "id-mismatch" => 5,
            "bad-repository" | "git" => 7,
            "not-found" => 3,
            _ => 4,
        };
        mirrored.refuses(what, code, status);
        assert_eq!(mirrored.oscar.evidence().len(), if *has_evidence { 2 } else { 0 }, "{what}");
    }
}

#[test]
fn whatever_a_registry_does_its_mirror_serves_what_it_verified() {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(attack) = ATTACKS.get(at) else { break };
                    if std::panic::catch_unwind(|| attempt(at, attack)).is_err() {
                        failed.lock().unwrap().push(attack.0);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
}

/// Drafts a statement about the package, the first of a log or one after another.
fn statement(m: &Mirrored, signer: &str, before: Option<&SignedRecord>) -> SignedRecord {
    let Entry::Package(PackageEntry::Release(release)) = m.log.records[1].entry().clone() else { panic!("not a release") };
    let attest = Attest {
        registry_id: m.registry.id,
        target: m.log.records[0].digest().into(),
        version: release.version.clone(),
        content: release.content,
        predicate: "https://slsa.dev/provenance/v1".into(),
        pass: None,
        statement: None,
        expires: None,
    };
    let entry = Entry::Attestation(AttestationEntry::Attest(Box::new(attest)));
    let mut draft = m.registry.first(signer, "demo:hello");
    draft.subject = Subject::Attestations(format!("{}/demo:hello", m.registry.name).parse().unwrap());
    draft.entry = entry.clone();
    let draft = before.map_or(draft, |before| after(before, signer, entry));
    draft.sign(&key(signer)).unwrap()
}

#[test]
fn statements_come_along_and_do_not_go_back() {
    for only in PARTS {
        let m = Mirrored::new(only, true);
        let about = Slot::Attestation(m.registry.name.clone(), package("demo:hello"));
        let name = layout::attestation(&m.registry.name, &package("demo:hello"));
        let says = |record: &SignedRecord| {
            m.registry.put_record(&name, record);
            m.registry.checkpoint("olga", &[(about.clone(), Some(record.git_id()))], |_, _| {});
        };
        let first = statement(&m, "bob", None);
        says(&first);
        m.sync().well();
        let second = statement(&m, "alice", Some(&first));
        says(&second);
        m.sync().well();
        m.serves("said");
        let held = format!("refs/mirrors/acme.example/{}", name.as_str().strip_prefix("refs/").unwrap());
        assert_eq!(git(&m.own(), &["rev-parse", &held], b""), second.git_id().to_string());
        says(&first);
        m.refuses("statements go back", "rollback", 4);
        says(&statement(&m, "mallory", Some(&first)));
        m.refuses("statements go aside", "fork", 4);
    }
}
