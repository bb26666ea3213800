//! Old worlds: registries, projects and locks that earlier versions left behind, as `tests/fixtures/worlds` keeps them. What they meant they mean for ever.

#![cfg(unix)]
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "attacks/scene.rs"]
mod scene;

use quipu::git::layout;
use quipu::model::digest::FileDigest;
use quipu::model::entry::{Decision, DecisionHead, Entry, Subject, TakedownClass, Verdict};
use quipu::model::record::SignedRecord;
use quipu::model::slot::Slot;
use quipu::model::sshsig::Signer as _;
use quipu::replica::chains;
use scene::{Registry, Scene, User, after, git, key, package};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The world that `a_world_is_made` makes.
const MADE: &str = "v1";

fn worlds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/worlds")
}

/// Lists the files of a folder as `installed.txt` has them.
fn listed(folder: &Path) -> String {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap();
        // What quipu notes for itself may change.
        if entry.file_type().is_dir() || path.starts_with('.') {
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let kind = if entry.metadata().unwrap().permissions().mode() & 0o100 == 0 { "file" } else { "exec" };
        lines.push(format!("{kind} {} {path}\n", FileDigest::of_bytes(&bytes).hex()));
    }
    lines.sort();
    lines.concat()
}

/// A registry that was kept.
struct Kept {
    name: String,
    format: String,
    id: String,
}

impl Kept {
    fn all(world: &Path) -> Vec<Self> {
        let text = fs::read_to_string(world.join("registries.txt")).unwrap();
        let kept = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let [name, format, id] = words.try_into().unwrap();
            Kept { name, format, id }
        };
        text.lines().map(kept).collect()
    }

    /// Makes the repository that a bundle was made of, and returns where.
    fn unpack(&self, world: &Path, stage: &str, into: &Path) -> PathBuf {
        let short = self.name.split('.').next().unwrap();
        let path = into.join(format!("{short}{stage}.git"));
        let format = format!("--object-format={}", self.format);
        git(into, &["init", "-q", "--bare", &format, path.to_str().unwrap()], b"");
        let bundle = world.join(format!("{short}{stage}.bundle"));
        git(&path, &["fetch", "-q", bundle.to_str().unwrap(), "refs/*:refs/*"], b"");
        path
    }
}

/// Somebody who trusts these registries and has the project and its lock.
fn reader(scene: &Scene, name: &str, world: &Path, stage: &str) -> User {
    let user = scene.user(name);
    for kept in Kept::all(world) {
        let path = kept.unpack(world, stage, &user.home());
        user.run(&["trust", "add", &kept.name, path.to_str().unwrap(), "--id", &kept.id]).well();
    }
    for file in ["quipu.toml", "quipu.lock"] {
        fs::copy(world.join(file), user.folder().join(file)).unwrap();
    }
    user
}

#[track_caller]
fn assert_as_ever(user: &User, world: &Path) {
    let lock = |folder: &Path| fs::read_to_string(folder.join("quipu.lock")).unwrap();
    assert_eq!(lock(&user.folder()), lock(world));
    let expected = fs::read_to_string(world.join("installed.txt")).unwrap();
    assert_eq!(listed(&user.folder().join("quipu_packages")), expected);
}

#[test]
fn an_old_lock_brings_what_it_brought() {
    let mut found = 0;
    for entry in fs::read_dir(worlds()).unwrap() {
        let world = entry.unwrap().path();
        if !world.is_dir() {
            continue;
        }
        found += 1;
        let scene = Scene::new();
        // From the registries as they were, and as they are now.
        for stage in ["", "-grown"] {
            let user = reader(&scene, &format!("reader{stage}"), &world, stage);
            for args in [&["install", "--locked"][..], &["install", "--frozen"], &["install"]] {
                user.run(args).well();
                assert_as_ever(&user, &world);
            }
            for kept in Kept::all(&world) {
                let short = kept.name.split('.').next().unwrap();
                let path = user.home().join(format!("{short}{stage}.git"));
                user.run(&["verify", path.to_str().unwrap()]).well();
            }
        }
        // By somebody who knew them when they were young.
        let user = reader(&scene, "witness", &world, "");
        user.run(&["install", "--locked"]).well();
        for kept in Kept::all(&world) {
            let path = kept.unpack(&world, "-grown", &user.home());
            user.run(&["trust", "add", &kept.name, path.to_str().unwrap(), "--id", &kept.id]).well();
        }
        fs::remove_dir_all(user.folder().join("quipu_packages")).unwrap();
        user.run(&["install", "--locked"]).well();
        assert_as_ever(&user, &world);
        // And there is something newer for who asks.
        let updated = user.run(&["update"]).well();
        assert!(!updated.json["added"].as_array().unwrap().is_empty());
        // Nothing goes back to what they were.
        fs::copy(user.folder().join("quipu.lock"), scene.path("new.lock")).unwrap();
        let late = reader(&scene, "late", &world, "");
        fs::copy(scene.path("new.lock"), late.folder().join("quipu.lock")).unwrap();
        late.run(&["install", "--locked"]).is("rollback", 4);
    }
    assert!(found > 0);
}

/// Makes the world [`MADE`].
struct Making {
    scene: Scene,
    acme: Registry,
    olga: User,
    others_id: String,
}

impl Making {
    fn new() -> Self {
        let scene = Scene::new();
        let acme = Registry::found(&scene.path("acme.git"), "acme.example");
        let olga = scene.cast("olga");
        olga.trust(&acme, acme.path.to_str().unwrap());
        let other = scene.path("other.git");
        let init = ["registry", "init", other.to_str().unwrap(), "--name", "other.example", "--object-format", "sha256"];
        let others_id = olga.run(&init).well().json["id"].as_str().unwrap().to_owned();
        Making { scene, acme, olga, others_id }
    }

    fn publish(&self, registry: &str, name: &str, version: &str, needs: &str, files: &[(&str, &str)]) {
        let folder = self.scene.path(&format!("src/{registry}/{}/{version}", name.replace(':', "/")));
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\n\n[dependencies]\n{needs}");
        for (path, text) in files.iter().copied().chain([("quipu.toml", manifest.as_str())]) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if path.extension().is_some_and(|extension| extension == "sh") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        self.olga.run(&["publish", folder.to_str().unwrap(), "--registry", registry]).well();
    }

    /// Decides something about a package of the first registry, after what was decided before.
    fn decide(&self, name: &str, what: Verdict, before: Option<&SignedRecord>) -> SignedRecord {
        let (acme, package) = (&self.acme, package(name));
        let records = chains::walk(&acme.reader(), acme.named(&layout::package(&package))).unwrap();
        let about = DecisionHead {
            operators: acme.operators().chain().head(),
            target: records[0].digest().into(),
            head: records[records.len() - 1].digest(),
        };
        let entry = Entry::Decision(Decision { about, what });
        let draft = match before {
            Some(before) => after(before, "olga", entry),
            None => {
                let mut draft = acme.first("olga", name);
                draft.subject = Subject::Decisions(package.clone());
                draft.entry = entry;
                draft
            }
        };
        let record = draft.sign(&key("olga")).unwrap();
        acme.put_record(&layout::decisions(&package), &record);
        // The checkpoint before was made by the program, at its own time.
        acme.checkpoint("olga", &[(Slot::Decisions(package), Some(record.git_id()))], |_, _| {});
        record
    }

    fn bundle(&self, into: &Path, stage: &str) {
        for short in ["acme", "other"] {
            let path = self.scene.path(&format!("{short}.git"));
            let bundle = into.join(format!("{short}{stage}.bundle"));
            git(&path, &["repack", "-a", "-d", "-q"], b"");
            git(&path, &["bundle", "create", "-q", bundle.to_str().unwrap(), "--all"], b"");
            fs::set_permissions(&bundle, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[test]
#[ignore = "it writes into tests/fixtures/worlds, once for each new world"]
fn a_world_is_made() {
    let world = worlds().join(MADE);
    fs::create_dir(&world).expect("worlds are not written over: name a new one");
    let making = Making::new();
    let (acme, other, olga) = ("acme.example", "other.example", &making.olga);
    let text = [("text", "a text\n")];
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        making.publish(acme, "demo:base", version, "", &[("text", version)]);
    }
    making.publish(other, "demo:base", "1.5.0", "", &[("text", "another's\n")]);
    making.publish(other, "time:clock", "0.3.0", "\"demo:base\" = \"1\"\n", &[("now.sh", "#!/bin/sh\ndate\n")]);
    let needs = "\"demo:base\" = \"1\"\n\"other.example/time:clock\" = \"0.3\"\n";
    making.publish(acme, "demo:http", "2.0.0", needs, &text);
    let files = [("bin/run.sh", "#!/bin/sh\n"), ("doc/é/read me", "naïve\n"), ("empty", "")];
    making.publish(acme, "demo:tool", "0.1.0-rc.1", "\"demo:base\" = \">=1\"\n", &files);
    for version in ["0.9.0", "1.0.0"] {
        making.publish(acme, "demo:judged", version, "", &text);
    }
    let version = Some("0.9.0".parse().unwrap());
    let takedown = Verdict::Takedown { version: version.clone(), class: TakedownClass::Legal, reason: "for a while".into() };
    let decided = making.decide("demo:judged", takedown, None);
    making.publish(acme, "demo:last", "1.0.0", "", &text);

    let needs = "\"acme.example/demo:base\" = \"2\"\n\"acme.example/demo:http\" = \"2\"\n\"acme.example/demo:judged\" = \"*\"\n\
                 \"acme.example/demo:tool\" = \"=0.1.0-rc.1\"\n\"other.example/demo:base\" = \"1\"\n";
    fs::write(olga.folder().join("quipu.toml"), format!("[dependencies]\n{needs}")).unwrap();
    olga.run(&["install"]).well();
    for file in ["quipu.toml", "quipu.lock"] {
        fs::copy(olga.folder().join(file), world.join(file)).unwrap();
    }
    fs::write(world.join("installed.txt"), listed(&olga.folder().join("quipu_packages"))).unwrap();
    let registries = format!("{acme} sha1 {}\n{other} sha256 {}\n", making.acme.id, making.others_id);
    fs::write(world.join("registries.txt"), registries).unwrap();
    making.bundle(&world, "");

    making.publish(acme, "demo:base", "1.2.0", "", &text);
    making.publish(acme, "demo:base", "2.1.0", "", &text);
    making.publish(other, "time:clock", "0.3.1", "", &text);
    olga.run(&["yank", "acme.example/demo:base@1.1.0", "--reason", "it leaks"]).well();
    making.decide("demo:judged", Verdict::Restore { version, reason: "over".into() }, Some(&decided));
    let bob = key("bob").public_key().to_string();
    olga.run(&["owner", "allow", "acme.example/demo:http", &bob, "--name", "bob"]).well();
    let path = making.acme.path.to_str().unwrap();
    olga.run(&["registry", "operator", "allow", path, &bob, "--name", "bob", "--privilege", "auth"]).well();
    making.bundle(&world, "-grown");
}
