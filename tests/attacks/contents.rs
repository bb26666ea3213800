//! Contents: what may be in a release, judged where it comes in and again where it is served.

use super::daemon::Daemon;
use super::scene::*;
use quipu::git::layout;
use quipu::git::staging::Staging;
use quipu::model::digest::{GitId, ObjectKind};
use quipu::model::object::WriteObjects as _;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Files as an attacker lays them: mode, path in raw bytes, and what is in them.
type Files<'a> = &'a [(&'a str, &'a [u8], &'a [u8])];

/// Writes such files as trees, in git's order, without asking whether any path is allowed.
fn lay(objects: &mut Staging<'_>, files: Files<'_>) -> GitId {
    let mut entries: BTreeMap<Vec<u8>, (&str, Vec<u8>, GitId)> = BTreeMap::new();
    let mut below: BTreeMap<&[u8], Vec<(&str, &[u8], &[u8])>> = BTreeMap::new();
    for (mode, path, bytes) in files {
        match path.iter().position(|byte| *byte == b'/') {
            Some(at) => below.entry(&path[..at]).or_default().push((mode, &path[at + 1..], bytes)),
            None => {
                let id = match *mode {
                    "160000" => layout_commit(objects),
                    _ => objects.write(ObjectKind::Blob, bytes).unwrap(),
                };
                entries.insert(path.to_vec(), (mode, path.to_vec(), id));
            }
        }
    }
    for (name, files) in below {
        let id = lay(objects, &files);
        entries.insert([name, b"/"].concat(), ("40000", name.to_vec(), id));
    }
    let raw: Vec<RawEntry<'_>> = entries.values().map(|(mode, name, id)| (*mode, name.as_slice(), *id)).collect();
    objects.write(ObjectKind::Tree, &raw_tree(&raw)).unwrap()
}

fn layout_commit(objects: &mut Staging<'_>) -> GitId {
    let tree = objects.write(ObjectKind::Tree, b"").unwrap();
    objects.write(ObjectKind::Commit, &quipu::model::commit::contents(tree)).unwrap()
}

/// One file with this path.
fn one(path: &str) -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    vec![("100644", path.as_bytes().to_vec(), b"x")]
}

fn some(paths: &[&str]) -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    paths.iter().flat_map(|path| one(path)).collect()
}

fn with(mode: &'static str, path: &str, bytes: &'static [u8]) -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    vec![("100644", b"README.md".to_vec(), b"x"), (mode, path.as_bytes().to_vec(), bytes)]
}

type Case = (&'static str, Vec<(&'static str, Vec<u8>, &'static [u8])>);

fn refused_paths() -> Vec<Case> {
    let deep = format!("{}f", "d/".repeat(32));
    let long = format!("{}/{}/{}", "a".repeat(200), "b".repeat(200), "c".repeat(111));
    vec![
        ("folder above", one("../a")),
        ("this folder", one("./a")),
        ("above, deeper", one("a/../../b")),
        ("backslash", one("a\\b")),
        ("stream", one("c:")),
        ("line feed", one("a\nb")),
        ("escape", one("a\u{1b}[2J")),
        ("delete", one("a\u{7f}")),
        ("C1", one("a\u{9b}2J")),
        ("right to left", one("a\u{202e}txt.exe")),
        ("isolate", one("a\u{2066}")),
        ("zero width", one("a\u{200b}b")),
        ("decomposed", one("cafe\u{301}")),
        ("not UTF-8", vec![("100644", b"caf\xe9".to_vec(), b"x")]),
        ("dot at the end", one("a.")),
        ("space at the end", one("a ")),
        (".git", one(".git/config")),
        (".GIT", one("a/.GIT/hooks/pre-commit")),
        ("short name", one("GIT~1/config")),
        (".git with a dot", one(".git./config")),
        (".git with a stream", one(".git::$INDEX_ALLOCATION/config")),
        (".git with ignorable letters", one(".g\u{200c}it/config")),
        (".git, a file", one(".git")),
        ("folder .gitmodules", one(".gitmodules/a")),
        ("aux", one("aux.txt")),
        ("NUL", one("a/NUL")),
        ("COM1", one("COM1.c")),
        ("case clash", some(&["README", "readme"])),
        ("case clash of folders", some(&["A/x", "a/y"])),
        ("folded clash", some(&["Straße", "STRASSE"])),
        ("normalised clash", some(&["\u{c5}", "A\u{30a}"])),
        ("file and folder but for case", some(&["a", "A/b"])),
        ("bare repository", some(&["x/HEAD", "x/objects/a", "x/refs/b", "y"])),
        ("bare repository at the root", some(&["HEAD", "objects/a", "refs/b"])),
        ("symbolic link", with("120000", "link", b"/etc/passwd")),
        ("symbolic link to a folder", with("120000", "folder", b"..")),
        ("submodule", with("160000", "module", b"")),
        ("mode 100664", with("100664", "a", b"x")),
        ("mode 100600", with("100600", "a", b"x")),
        ("mode 100777", with("100777", "a", b"x")),
        (
            "submodule with a program for a URL",
            with("100644", ".gitmodules", b"[submodule \"a\"]\n\tpath = a\n\turl = --upload-pack=touch\n"),
        ),
        ("submodule above", with("100644", ".gitmodules", b"[submodule \"../../x\"]\n\tpath = a\n\turl = https://a.example/b\n")),
        ("limit: depth", one(&deep)),
        ("limit: length", one(&long)),
    ]
}

fn accepted_paths() -> Vec<Case> {
    let deep = format!("{}f", "d/".repeat(31));
    let long = format!("{}/{}/{}", "a".repeat(200), "b".repeat(200), "c".repeat(110));
    vec![
        ("folder above", one("..a")),
        ("this folder", one(".a")),
        ("above, deeper", one("a/...b/c")),
        ("backslash", one("a_b")),
        ("stream", one("c")),
        ("line feed", one("a b")),
        ("right to left", one("atxt.exe")),
        ("decomposed", one("caf\u{e9}")),
        ("dot at the end", one("a.b")),
        (".git", one(".github/config")),
        (".git, a file", one(".gitignore")),
        ("short name", one("GIT-1/config")),
        ("aux", one("auxi.txt")),
        ("COM1", one("COM10.c")),
        ("case clash", some(&["README", "readme.md"])),
        ("folded clash", some(&["Straße", "STRASE"])),
        ("bare repository", some(&["x/HEAD", "x/objects/a", "y"])),
        ("symbolic link", with("100755", "link", b"/etc/passwd")),
        ("submodule", with("100644", ".gitmodules", b"[submodule \"a\"]\n\tpath = a\n\turl = https://a.example/b\n")),
        ("limit: depth", one(&deep)),
        ("limit: length", one(&long)),
    ]
}

/// Builds for each case a package of its own with one release of such files; the digest is what they would have.
fn logs_of(registry: &Registry, cases: &[Case]) -> Vec<(String, Log)> {
    let trees: Vec<GitId> = registry.stage(|objects| {
        cases
            .iter()
            .map(|(_, files)| {
                let files: Vec<(&str, &[u8], &[u8])> =
                    files.iter().map(|(mode, path, bytes)| (*mode, path.as_slice(), *bytes)).collect();
                lay(objects, &files)
            })
            .collect()
    });
    cases
        .iter()
        .zip(trees)
        .enumerate()
        .map(|(at, ((_, files), tree))| {
            let name = format!("demo:case-{at}");
            let mut told: Vec<(String, String, &[u8])> = Vec::new();
            for (mode, path, bytes) in files {
                let word = if *mode == "100755" { "exec" } else { "file" };
                told.push((String::from_utf8_lossy(path).into_owned(), word.to_owned(), bytes));
            }
            told.sort();
            let mut text = String::from("quipu-contents 1\n");
            for (path, word, bytes) in &told {
                let digest = quipu::model::digest::FileDigest::of_bytes(bytes).hex();
                text.push_str(&format!("{word} {digest} {} {path}\n", bytes.len()));
            }
            let content = quipu::model::digest::ContentDigest::of_bytes(text.as_bytes());
            let size = told.iter().map(|(.., bytes)| bytes.len() as u64).sum();
            let mut log = registry.begin("alice", &name);
            log.release("alice", release("1.0.0", tree, told.len() as u64, size, content));
            (name, log)
        })
        .collect()
}

fn propose_all(registry: &Registry, logs: &[(String, Log)]) {
    for (name, log) in logs {
        registry.propose(name, log, log.trees.len());
    }
}

#[test]
fn no_path_that_could_do_harm_comes_in() {
    let (scene, registry, _) = Scene::with_registry();
    let cases = refused_paths();
    propose_all(&registry, &logs_of(&registry, &cases));
    let before = registry.settled();
    let verdicts = scene.judge(&registry);
    for (at, (what, _)) in cases.iter().enumerate() {
        let expected = if what.starts_with("limit") { "limit" } else { "bad-contents" };
        assert_eq!(verdicts[&format!("demo:case-{at}")], expected, "{what}");
    }
    assert_eq!(registry.refs(), before);
}

#[test]
fn near_twins_of_harmful_paths_come_in() {
    let (scene, registry, _) = Scene::with_registry();
    let cases = accepted_paths();
    propose_all(&registry, &logs_of(&registry, &cases));
    let verdicts = scene.judge(&registry);
    for (at, (what, _)) in cases.iter().enumerate() {
        assert_eq!(verdicts[&format!("demo:case-{at}")], "accepted", "{what}");
    }
    scene.user("carol").run(&["verify", registry.path.to_str().unwrap()]).well();
}

#[test]
fn no_path_that_could_do_harm_goes_out() {
    let (scene, registry, _) = Scene::with_registry();
    let cases = refused_paths();
    let logs = logs_of(&registry, &cases);
    for (name, log) in &logs {
        registry.place(name, log);
    }
    let changes: Vec<_> = logs.iter().map(|(name, log)| (slot(name), Some(log.head().git_id()))).collect();
    registry.checkpoint("olga", &changes, |_, _| {});
    let carol = scene.reader("carol", &registry);
    let said = carol.run(&["verify", registry.path.to_str().unwrap()]);
    assert_eq!(said.status, 4);
    let faults: Vec<(&str, &str)> = said.json["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["code"].as_str().unwrap(), fault["message"].as_str().unwrap()))
        .collect();
    assert_eq!(faults.len(), cases.len(), "{}", said.stdout);
    for (at, (what, _)) in cases.iter().enumerate() {
        let expected = if what.starts_with("limit") { "limit" } else { "bad-contents" };
        let place = format!("demo:case-{at}@");
        let (code, _) = faults.iter().find(|(_, message)| message.contains(&place)).unwrap();
        assert_eq!(*code, expected, "{what}");
    }
    for what in
        ["folder above", ".git", "case clash", "symbolic link", "submodule", "file and folder but for case", "limit: depth"]
    {
        let at = cases.iter().position(|(name, _)| *name == what).unwrap();
        let code = if what.starts_with("limit") { "limit" } else { "bad-contents" };
        carol.refused(&registry, &["get", &format!("demo:case-{at}"), "--to", "x"], code, 4);
    }
    carol.gets("demo:hello", "twin");
}

/// A release of a tree that is told, not read.
fn log_with(registry: &Registry, name: &str, tree: GitId, files: u64) -> Log {
    let mut log = registry.begin("alice", name);
    log.release("alice", release("1.0.0", tree, files, files, digest_of(&[("a", b"x")])));
    log
}

#[test]
fn trees_that_no_git_would_write_are_refused() {
    let (scene, registry, _) = Scene::with_registry();
    let blob = registry.raw("blob", b"x");
    let empty = registry.raw("tree", b"");
    let good = registry.raw("tree", &raw_tree(&[("100644", b"a", blob)]));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("an empty folder", raw_tree(&[("100644", b"a", blob), ("40000", b"b", empty)])),
        ("a name twice", raw_tree(&[("100644", b"a", blob), ("100644", b"a", blob)])),
        ("a file and a folder of one name", raw_tree(&[("100644", b"a", blob), ("40000", b"a", good)])),
        ("out of order", raw_tree(&[("100644", b"b", blob), ("100644", b"a", blob)])),
        ("a slash in a name", raw_tree(&[("100644", b"a/b", blob)])),
        ("no name", raw_tree(&[("100644", b"", blob)])),
        ("a leading slash", raw_tree(&[("100644", b"/etc/passwd", blob)])),
        ("a mode with a zero before it", raw_tree(&[("040000", b"a", good)])),
        ("cut off", raw_tree(&[("100644", b"a", blob)])[..20].to_vec()),
    ];
    let mut names = Vec::new();
    for (at, (what, bytes)) in bad.iter().enumerate() {
        let name = format!("demo:tree-{at}");
        let tree = registry.raw("tree", bytes);
        registry.propose(&name, &log_with(&registry, &name, tree, 1), 1);
        names.push((name, *what));
    }
    registry.propose("demo:good", &log_with(&registry, "demo:good", good, 1), 1);
    let verdicts = scene.judge(&registry);
    for (name, what) in names {
        assert_eq!(verdicts[&name], "bad-contents", "{what}");
    }
    assert_eq!(verdicts["demo:good"], "accepted");
}

#[test]
fn a_tree_that_unfolds_without_end_is_refused_at_once() {
    let (scene, registry, _) = Scene::with_registry();
    let blob = registry.raw("blob", b"x");
    let sixteen: Vec<String> = (0..16).map(|number| format!("{number:02}")).collect();
    // 16^12 files in thirteen objects.
    let bomb = registry.stage(|objects| {
        let mut id = blob;
        for level in 0..12 {
            let mode = if level == 0 { "100644" } else { "40000" };
            let entries: Vec<RawEntry<'_>> = sixteen.iter().map(|name| (mode, name.as_bytes(), id)).collect();
            id = objects.write(ObjectKind::Tree, &raw_tree(&entries)).unwrap();
        }
        id
    });
    let many: Vec<String> = (0..10_001).map(|number| format!("{number:05}")).collect();
    let flat = |count: usize| {
        let entries: Vec<RawEntry<'_>> = many[..count].iter().map(|name| ("100644", name.as_bytes(), blob)).collect();
        raw_tree(&entries)
    };
    let too_many = registry.raw("tree", &flat(10_001));
    let enough = registry.raw("tree", &flat(10_000));
    registry.propose("demo:bomb", &log_with(&registry, "demo:bomb", bomb, 1), 1);
    registry.propose("demo:many", &log_with(&registry, "demo:many", too_many, 10_001), 1);
    let mut twin = registry.begin("alice", "demo:twin");
    let files: Vec<(&str, &[u8])> = many[..10_000].iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    twin.release("alice", release("1.0.0", enough, 10_000, 10_000, digest_of(&files)));
    registry.propose("demo:twin", &twin, 1);
    let verdicts = scene.judge(&registry);
    assert_eq!((&*verdicts["demo:bomb"], &*verdicts["demo:many"], &*verdicts["demo:twin"]), ("limit", "limit", "accepted"));
    // The same from an operator who looks at nothing, and for one who asks over the network.
    registry.serve("demo:bomb", &log_with(&registry, "demo:bomb", bomb, 1));
    let daemon = Daemon::serve(&scene.path(""));
    for (user, url) in [("carol", registry.path.display().to_string()), ("dora", daemon.url("registry.git"))] {
        let user = scene.user(user);
        user.trust(&registry, &url);
        user.refused(&registry, &["get", "demo:bomb", "--to", "x"], "limit", 4);
        user.gets("demo:hello", "twin");
    }
}

#[test]
fn a_huge_file_is_refused_before_it_is_held() {
    let (scene, registry, _) = Scene::with_registry();
    let size = 300_u64 << 20;
    // Streamed into git, so that this test does not hold it either.
    let mut child = git_streaming(&registry, &["-c", "core.compression=1", "hash-object", "-w", "-t", "blob", "--stdin"]);
    {
        let mut input = child.stdin.take().unwrap();
        let zeros = vec![0_u8; 1 << 20];
        for _ in 0..300 {
            input.write_all(&zeros).unwrap();
        }
    }
    let output = child.wait_with_output().unwrap();
    let blob: GitId = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let tree = registry.raw("tree", &raw_tree(&[("100644", b"zeros", blob)]));
    let mut log = registry.begin("alice", "demo:zeros");
    log.release("alice", release("1.0.0", tree, 1, size, digest_of(&[("zeros", b"")])));
    registry.propose("demo:zeros", &log, 1);
    // 96 MiB of memory, where the file has 300.
    let olga = scene.cast("olga");
    let said = limited(&olga, &["--json", "registry", "accept", registry.path.to_str().unwrap()]);
    assert!(said.contains("\"code\":\"limit\""), "{said}");
    registry.serve("demo:zeros", &log);
    let daemon = Daemon::serve(&scene.path(""));
    for (name, url) in [("carol", registry.path.display().to_string()), ("dora", daemon.url("registry.git"))] {
        let user = scene.user(name);
        user.trust(&registry, &url);
        let state = user.state();
        let said = limited(&user, &["--json", "get", "demo:zeros", "--to", "x"]);
        assert!(said.contains("\"code\":\"limit\""), "{name}: {said}");
        assert_eq!(user.state(), state);
        // The limit is not in the way of what is small.
        let said = limited(&user, &["--json", "get", "demo:hello", "--to", "twin"]);
        assert!(said.contains("\"version\":\"1.0.0\""), "{name}: {said}");
    }
}

#[allow(clippy::disallowed_methods)]
fn git_streaming(registry: &Registry, args: &[&str]) -> std::process::Child {
    let mut command = Command::new("git");
    command.env("GIT_DIR", &registry.path).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs the program with at most 96 MiB of memory of its own.
#[allow(clippy::disallowed_methods)]
fn limited(user: &User, args: &[&str]) -> String {
    let mut all = vec!["-c", "ulimit -d 98304 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_quipu")];
    all.extend(args);
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    let output = user.prepare(command, &all).output().unwrap();
    user.assert_tidy();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn other_bytes_than_a_release_names_do_not_come_in() {
    let (scene, registry, _) = Scene::with_registry();
    let told = registry.text("1.0.0", "what the record says\n");
    let other = registry.files(&[("README.md", b"other bytes\n")]);
    // The record names the digest of one and the tree of the other; then both of the one, and the proposal holds the other.
    let mut cases = Vec::new();
    for (name, change) in [("demo:tree", 0), ("demo:size", 1), ("demo:count", 2), ("demo:folder", 3), ("demo:good", 4)] {
        let mut release = told.clone();
        match change {
            0 => release.tree = other,
            1 => release.size += 1,
            2 => release.files += 1,
            _ => {}
        }
        let mut log = registry.begin("alice", name);
        log.release("alice", release);
        if change == 3 {
            log.trees[0].1 = other;
        }
        registry.propose(name, &log, 1);
        cases.push(name);
    }
    let verdicts = scene.judge(&registry);
    for name in &cases[..4] {
        assert_eq!(verdicts[*name], "content-mismatch", "{name}");
    }
    assert_eq!(verdicts["demo:good"], "accepted");
}

#[test]
fn other_bytes_than_a_release_names_do_not_go_out() {
    for wire in [false, true] {
        let (scene, registry, log) = Scene::with_registry();
        let daemon = wire.then(|| Daemon::serve(&scene.path("")));
        let url = daemon.as_ref().map_or(registry.path.display().to_string(), |daemon| daemon.url("registry.git"));
        let carol = scene.user("carol");
        carol.trust(&registry, &url);
        // The host swaps the files: another tree under the version, and the right one gone.
        let evil = registry.files(&[("README.md", b"mine\n")]);
        let good = registry.named(&layout::contents(&package("demo:hello")));
        registry.place_contents("demo:hello", &[("1.0.0".into(), evil)]);
        let tree = log.trees[0].1.to_string();
        let file = registry.path.join("objects").join(&tree[..2]).join(&tree[2..]);
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let said = carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "content-mismatch", 4);
        assert!(said.message().contains("the record says"), "{}", said.message());
        // Nor are they shown.
        let mine = b"[package]\nname = \"demo:hello\"\nversion = \"2.0.0\"\n".to_vec();
        fs::create_dir_all(carol.folder().join("mine")).unwrap();
        put(&carol.folder().join("mine/quipu.toml"), mine);
        let said = carol.refused(&registry, &["diff", "demo:hello", "./mine", "--patch"], "content-mismatch", 4);
        assert!(!said.stdout.contains("mine\\n"), "{}", said.stdout);
        assert!(!carol.folder().join("x").exists());
        carol.refused(&registry, &["verify", registry.path.to_str().unwrap()], "content-mismatch", 4);
        // Neither the right files nor others.
        registry.delete(layout::contents(&package("demo:hello")).as_str());
        carol.refused(&registry, &["get", "demo:hello", "--to", "x"], "ref-missing", 4);
        put(&file, kept);
        registry.set(layout::contents(&package("demo:hello")).as_str(), good);
        carol.gets("demo:hello", "twin");
    }
}

#[test]
fn a_release_whose_own_tree_is_not_what_it_says_does_not_go_out() {
    for wire in [false, true] {
        let (scene, registry, _) = Scene::with_registry();
        let daemon = wire.then(|| Daemon::serve(&scene.path("")));
        let url = daemon.as_ref().map_or(registry.path.display().to_string(), |daemon| daemon.url("registry.git"));
        let mut told = registry.text("1.0.0", "what the record says\n");
        told.tree = registry.files(&[("README.md", b"other bytes\n")]);
        let mut log = registry.begin("alice", "demo:other");
        log.release("alice", told);
        registry.serve("demo:other", &log);
        let carol = scene.user("carol");
        carol.trust(&registry, &url);
        carol.refused(&registry, &["get", "demo:other", "--to", "x"], "content-mismatch", 4);
        carol.gets("demo:hello", "twin");
    }
}

#[test]
fn a_proposal_holds_the_folders_of_its_new_releases_and_no_other() {
    let (scene, registry, log) = Scene::with_registry();
    let mut next = log;
    next.release("alice", registry.text("1.0.1", "two\n"));
    registry.write(&next.records);
    let (old, new) = (next.trees[0].1, next.trees[1].1);
    let blob = registry.raw("blob", b"x");
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("a version released before", raw_tree(&[("40000", b"1.0.0", old), ("40000", b"1.0.1", new)])),
        ("a version never released", raw_tree(&[("40000", b"1.0.1", new), ("40000", b"2.0.0", new)])),
        ("a file beside", raw_tree(&[("40000", b"1.0.1", new), ("100644", b"README.md", blob)])),
        ("a hook beside", raw_tree(&[("40000", b".git", new), ("40000", b"1.0.1", new)])),
        ("a file for the folder", raw_tree(&[("100644", b"1.0.1", blob)])),
        ("a submodule for the folder", raw_tree(&[("160000", b"1.0.1", next.head().git_id())])),
        ("nothing", Vec::new()),
    ];
    for (what, tree) in &bad {
        registry.propose_tree("demo:hello", next.head().git_id(), tree);
        let before = registry.settled();
        assert_eq!(scene.judge(&registry)["demo:hello"], "bad-contents", "{what}");
        assert_eq!(registry.refs(), before);
    }
    registry.propose_tree("demo:hello", next.head().git_id(), &raw_tree(&[("40000", b"1.0.1", new)]));
    scene.accepts(&registry);
}

#[test]
fn a_folder_with_a_link_out_of_it_is_not_published() {
    let (scene, registry, _) = Scene::with_registry();
    let alice = scene.cast("alice");
    alice.trust(&registry, registry.path.to_str().unwrap());
    let folder = alice.folder().join("new");
    put(&folder.join("quipu.toml"), "[package]\nname = \"demo:new\"\nversion = \"1.0.0\"\n");
    std::os::unix::fs::symlink("/etc/passwd", folder.join("passwd")).unwrap();
    alice.refused(&registry, &["publish", "new"], "bad-contents", 8);
    fs::remove_file(folder.join("passwd")).unwrap();
    put(&folder.join("aux.c"), "x");
    alice.refused(&registry, &["publish", "new"], "bad-contents", 8);
    fs::remove_file(folder.join("aux.c")).unwrap();
    alice.run(&["publish", "new"]).well();
    scene.accepts(&registry);
}
