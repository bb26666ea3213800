//! What one might push to a registry with hooks besides proposals, by git itself or by a program that speaks git's protocol and knows no
//! manners: nothing of it moves a reference or leaves an object behind, and the twin that is the same but for the fault is published.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::io::{BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use support::daemon::Daemon;
use support::{Outcome, Person, World, git};

const DOMAIN: &str = "acme.example";
const ZERO: &str = "0000000000000000000000000000000000000000";
/// A pack without objects.
const EMPTY_PACK: &[u8] =
    b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e";

/// A registry at `git/acme.git` that is pushed to, and a copy at `draft.git` where proposals are made and wait.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    daemon: Daemon,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let made = alice.asks(["registry", "init", &world.at("git/acme.git"), "--name", DOMAIN, "--hooks"]);
        git(&world.root(), ["clone", "-q", "--mirror", &world.at("git/acme.git"), "draft.git"]).ok();
        let bob = world.person_with_key("bob");
        bob.trust(DOMAIN, &world.at("draft.git"), made["id"].as_str().unwrap());
        let daemon = Daemon::serve(&world.path("git"));
        Scene { world, alice, bob, daemon }
    }

    /// Makes a proposal of Bob's in the copy, and returns its reference.
    fn proposal(&self, name: &str, version: &str) -> String {
        let folder = self.world.package(&name.replace(':', "-"), name, version);
        self.propose(name, &folder)
    }

    fn propose(&self, name: &str, folder: &str) -> String {
        let id = self.bob.asks(["publish", folder])["proposal"].as_str().unwrap().to_owned();
        format!("refs/incoming/{}/{id}", name.replace(':', "/"))
    }

    fn push<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome {
        self.push_from("draft.git", args)
    }

    fn push_from<'a>(&self, folder: &str, args: impl IntoIterator<Item = &'a str>) -> Outcome {
        let url = self.daemon.url("acme.git");
        let mut all = vec!["push".to_owned()];
        let (options, specs): (Vec<&str>, Vec<&str>) = args.into_iter().partition(|arg| arg.starts_with('-'));
        all.extend(options.into_iter().map(str::to_owned));
        all.push(url);
        all.extend(specs.into_iter().map(str::to_owned));
        git(&self.world.path(folder), all)
    }

    fn registry(&self) -> std::path::PathBuf {
        self.world.path("git/acme.git")
    }

    /// Returns all that a push could leave: references, objects, and files where git and we keep what is on its way.
    fn all(&self) -> String {
        let refs = git(&self.registry(), ["for-each-ref"]).ok().stdout;
        let objects = git(&self.registry(), ["cat-file", "--batch-all-objects", "--batch-check", "--unordered"]).ok().stdout;
        let mut objects: Vec<&str> = objects.lines().collect();
        objects.sort_unstable();
        let is_left = |name: &str| {
            name.starts_with("tmp_") || name.starts_with("quipu-") || name.ends_with(".lock") && name != "quipu.lock"
        };
        let left: Vec<String> = walkdir::WalkDir::new(self.registry())
            .into_iter()
            // What goes while it is looked at is gone.
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_str().unwrap().to_owned())
            .filter(|name| is_left(name))
            .collect();
        format!("{refs}{}\n{}", objects.join("\n"), left.join("\n"))
    }

    /// Fails unless all is as it was, as soon as git has cleared away what it refused: it answers before it does.
    #[track_caller]
    fn is_still(&self, before: &str, after: &dyn std::fmt::Debug) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.all() != before {
            if Instant::now() > until {
                assert_eq!(self.all(), before, "{after:?}");
            }
        }
    }

    /// Fails unless a push is refused with these words and leaves nothing.
    #[track_caller]
    fn refuses<'a>(&self, args: impl IntoIterator<Item = &'a str>, words: &str) {
        let before = self.all();
        let said = self.push(args);
        assert!(said.status != 0 && said.stderr.contains(words), "expected {words:?}: {said:?}");
        self.is_still(&before, &said);
    }

    /// Fails unless a push is published.
    #[track_caller]
    fn publishes<'a>(&self, args: impl IntoIterator<Item = &'a str>) {
        let said = self.push(args);
        assert!(said.status == 0 && said.stderr.contains("quipu: published "), "{said:?}");
    }

    #[track_caller]
    fn holds(&self, releases: u64) {
        let fsck = self.alice.asks(["registry", "fsck", &self.registry().display().to_string()]);
        assert_eq!((&fsck["clean"], &fsck["releases"], &fsck["waiting"]), (&true.into(), &releases.into(), &0.into()), "{fsck}");
    }

    /// Says these commands to `git receive-pack`, as old id, new id and name each, with a pack that holds nothing; returns what it answers.
    fn say(&self, commands: &[(&str, &str, Vec<u8>)]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.daemon.port())).unwrap();
        stream.write_all(&packet(b"git-receive-pack /acme.git\0host=127.0.0.1\0")).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_until_flush(&mut reader);
        let mut said = Vec::new();
        for (number, (old, new, name)) in commands.iter().enumerate() {
            let mut line = format!("{old} {new} ").into_bytes();
            line.extend_from_slice(name);
            if number == 0 {
                line.extend_from_slice(b"\0report-status side-band-64k");
            }
            said.extend(packet(&line));
        }
        said.extend_from_slice(b"0000");
        if commands.iter().any(|(_, new, _)| *new != ZERO) {
            said.extend_from_slice(EMPTY_PACK);
        }
        // A server that has heard enough hangs up.
        let _ = stream.write_all(&said);
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn packet(line: &[u8]) -> Vec<u8> {
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

fn read_until_flush(reader: &mut impl Read) {
    loop {
        let mut head = [0; 4];
        reader.read_exact(&mut head).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&head).unwrap(), 16).unwrap();
        if length == 0 {
            return;
        }
        reader.read_exact(&mut vec![0; length - 4]).unwrap();
    }
}

#[test]
fn nothing_but_a_proposal_is_pushed_where_it_is_not_for_the_pusher_to_write() {
    let scene = Scene::new();
    let first = scene.proposal("bob:one", "1.0.0");
    scene.publishes([format!("{first}:{first}").as_str()]);
    let next = scene.proposal("bob:two", "1.0.0");
    // What is there and what is not; new, moved, forced and deleted. Git's own rule already hides them, and the hooks do not trust to that.
    for hidden in [true, false] {
        if !hidden {
            git(&scene.registry(), ["config", "--unset-all", "receive.hideRefs"]).ok();
        }
        for name in [
            "refs/packages/bob/one",
            "refs/packages/bob/two",
            "refs/contents/bob/one",
            "refs/decisions/bob/one",
            "refs/registry/log",
            "refs/registry/operators",
            "refs/refused/bob/one/x",
            "refs/heads/main",
            "refs/heads/other",
            "refs/tags/v1",
            "refs/replace/x",
            "refs/quipu/x",
        ] {
            let words = if hidden { "deny updating a hidden ref" } else { "[refused]" };
            scene.refuses([format!("+{next}:{name}").as_str()], words);
            scene.refuses(["--force", &format!("{next}:{name}"), "--no-verify"], words);
        }
        for name in ["refs/packages/bob/one", "refs/contents/bob/one", "refs/registry/log", "refs/heads/main"] {
            // A reference that is hidden is not one that a client finds to delete; git's server is asked all the same.
            let id = git(&scene.registry(), ["rev-parse", name]).ok().stdout.trim().to_owned();
            let before = scene.all();
            let answer = scene.say(&[(&id, ZERO, name.into())]);
            assert!(answer.contains(&format!("ng {name} ")), "{answer}");
            let answer = scene.say(&[(ZERO, &id, name.into())]);
            assert!(answer.contains(&format!("ng {name} ")), "{answer}");
            scene.is_still(&before, &answer);
        }
    }
    // One of several is none of ours: then git takes none of them into its quarantine, or ours alone.
    scene.refuses([format!("{next}:{next}").as_str(), &format!("{next}:refs/heads/x")], "[refused]");
    scene.publishes([format!("{next}:{next}").as_str()]);
    scene.holds(2);
}

#[test]
fn what_waits_is_neither_changed_nor_taken_away_by_a_push() {
    let scene = Scene::new();
    let (one, two) = (scene.proposal("bob:one", "1.0.0"), scene.proposal("bob:two", "1.0.0"));
    git(&scene.registry(), ["config", "quipu.accept", "later"]).ok();
    let said = scene.push([format!("{one}:{one}").as_str()]);
    assert!(said.status == 0 && said.stderr.contains("it waits for an operator"), "{said:?}");
    scene.refuses([format!(":{one}").as_str()], "proposals are neither changed nor removed by a push");
    scene.refuses([format!("+{two}:{one}").as_str()], "[refused]");
    scene.refuses(["--prune", "--force", "refs/incoming/bob/two/*:refs/incoming/bob/*"], "[refused]");
    // To push it again is to push nothing, to whatever it is said to have been before.
    let said = scene.push([format!("{one}:{one}").as_str()]);
    assert!(said.status == 0 && said.stderr.contains("Everything up-to-date"), "{said:?}");
    scene.alice.quipu(["registry", "accept", &scene.registry().display().to_string()]).ok();
    scene.holds(1);
    // Nor does it come twice when it is published: it is said to be in.
    git(&scene.registry(), ["config", "quipu.accept", "now"]).ok();
    scene.publishes([format!("{one}:{one}").as_str()]);
    scene.holds(1);
    scene.publishes([format!("{two}:{two}").as_str()]);
    scene.holds(2);
}

#[test]
fn a_proposal_has_the_one_name_that_is_its_own() {
    let scene = Scene::new();
    let proposal = scene.proposal("bob:one", "1.0.0");
    let id = proposal.rsplit('/').next().unwrap();
    let other = git(&scene.world.path("draft.git"), ["rev-parse", "refs/heads/main"]).ok().stdout.trim().to_owned();
    for (name, words) in [
        ("refs/incoming/bob/one".to_owned(), "[refused]"),
        (format!("refs/incoming/{id}"), "[refused]"),
        (format!("refs/incoming/bob/{id}"), "[refused]"),
        (format!("refs/incoming/bob/one/{id}/x"), "[refused]"),
        (format!("refs/incoming/bob/one/{other}"), "[refused]"),
        (format!("refs/incoming/Bob/one/{id}"), "[refused]"),
        (format!("refs/incoming/bob/o_ne/{id}"), "[refused]"),
        (format!("refs/incoming/bob/{}/{id}", "x".repeat(200)), "[refused]"),
        ("refs/incoming/HEAD".to_owned(), "[refused]"),
        // The name of somebody else's package.
        (format!("refs/incoming/carol/two/{id}"), "[wrong-log]"),
        (format!("refs/incoming/bob/other/{id}"), "[wrong-log]"),
    ] {
        scene.refuses([format!("{proposal}:{name}").as_str()], words);
    }
    // What git's own client would not even send.
    for name in [
        &b"HEAD"[..],
        b"FETCH_HEAD",
        b"../../x",
        b"refs/incoming/../packages/bob/one",
        b"refs/incoming/bob/one/../../../heads/main",
        b"refs/incoming//bob/one/x",
        b"refs/incoming/bob/a b/x",
        b"refs/incoming/bob/one/x.lock",
        b"refs/incoming/bob/\x1b[31m/x",
        b"refs/incoming/bob/\xff\xfe/x",
        b"refs/incoming/bob/one/@{1}",
        b"refs/incoming/",
        b"refs/incoming",
        b"",
        format!("refs/incoming/bob/{}", "x".repeat(60_000)).as_bytes(),
        format!("refs/incoming/bob/{}", "x/".repeat(1_500)).as_bytes(),
    ] {
        let before = scene.all();
        let answer = scene.say(&[(ZERO, &other, name.to_vec())]);
        assert!(!answer.contains("ok refs/") && !answer.contains("ok HEAD"), "{}: {answer}", String::from_utf8_lossy(name));
        assert!(answer.lines().all(|line| !line.contains("quipu: ") || !line.contains('\x1b')), "{answer:?}");
        scene.is_still(&before, &answer);
    }
    // Two for one name, of which the second could only come because of the first.
    let before = scene.all();
    let name = format!("refs/incoming/bob/one/{other}");
    let answer = scene.say(&[(ZERO, &other, name.clone().into()), (ZERO, &other, name.into())]);
    assert!(!answer.contains("ok refs/"), "{answer}");
    scene.is_still(&before, &answer);
    scene.refuses(["--push-option=quipu.accept=later", &format!("{proposal}:{proposal}")], "push options");
    scene.publishes(["--atomic", &format!("{proposal}:{proposal}")]);
    scene.holds(1);
}

#[test]
fn garbage_is_refused_before_it_is_let_in() {
    let scene = Scene::new();
    let draft = scene.world.path("draft.git");
    let proposal = scene.proposal("bob:one", "1.0.0");
    let make = |kind: &str, bytes: &str| {
        let file = scene.world.write("garbage", bytes);
        let args = ["hash-object", "-w", "--literally", "-t", kind, file.to_str().unwrap()];
        git(&draft, args).ok().stdout.trim().to_owned()
    };
    let who = "bob <bob@example.org> 1700000000 +0000";
    let blob = make("blob", "no commit\n");
    let tree = git(&draft, ["rev-parse", &format!("{proposal}^{{tree}}")]).ok().stdout.trim().to_owned();
    let plain = make("commit", &format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nhello\n"));
    let broken = make("commit", &format!("tree {tree}\nauthor nobody\n\n"));
    let tag = make("tag", &format!("object {plain}\ntype commit\ntag x\ntagger {who}\n\nhello\n"));
    for id in [&blob, &tree, &plain, &broken, &tag] {
        scene.refuses([format!("{id}:refs/incoming/bob/one/{id}").as_str()], "");
        scene.refuses([format!("{id}:refs/incoming/bob/two/{id}").as_str(), &format!("{proposal}:{proposal}")], "");
    }
    // Files that the record does not name; and a file that no release may have.
    let text = git(&draft, ["cat-file", "commit", &proposal]).ok().stdout;
    let empty = git(&draft, ["mktree"]).ok().stdout.trim().to_owned();
    let without = make("commit", &text.replacen(&tree, &empty, 1));
    scene.refuses([format!("{without}:refs/incoming/bob/one/{without}").as_str()], "[bad-contents]");
    let huge = scene.world.package("huge", "bob:huge", "1.0.0");
    std::fs::File::create(Path::new(&huge).join("zeros")).unwrap().set_len(101 * 1024 * 1024).unwrap();
    let said = scene.bob.quipu(["publish", &huge, "--json"]);
    said.fails(8, "limit");
    // The client refuses it too; a tree with such a file is made without it.
    let zeros = git(&draft, ["hash-object", "-w", &format!("{huge}/zeros")]).ok().stdout.trim().to_owned();
    let list = scene.world.write("list", &format!("100644 blob {zeros}\tzeros\n"));
    let inner = mktree(&draft, &list);
    let list = scene.world.write("list", &format!("040000 tree {inner}\t1.0.0\n"));
    let outer = mktree(&draft, &list);
    let with_huge = make("commit", &text.replacen(&tree, &outer, 1));
    scene.refuses([format!("{with_huge}:refs/incoming/bob/one/{with_huge}").as_str()], "[limit]");
    // A pack that is larger than the repository takes. The server hangs up on it, so that its words do not always arrive.
    git(&scene.registry(), ["config", "receive.maxInputSize", "50k"]).ok();
    let noise: Vec<u8> = {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(200_000).collect()
    };
    let large = scene.world.package("large", "bob:large", "1.0.0");
    std::fs::write(Path::new(&large).join("noise"), noise).unwrap();
    let large = scene.propose("bob:large", &large);
    scene.refuses([format!("{large}:{large}").as_str()], "");
    git(&scene.registry(), ["config", "receive.maxInputSize", "1g"]).ok();
    scene.publishes([format!("{large}:{large}").as_str()]);
    scene.publishes([format!("{proposal}:{proposal}").as_str()]);
    scene.holds(2);
}

fn mktree(repository: &Path, list: &Path) -> String {
    let mut command = support::clean("git", repository);
    command.arg("-C").arg(repository).arg("mktree").stdin(std::fs::File::open(list).unwrap());
    support::run(&mut command).ok().stdout.trim().to_owned()
}

#[test]
fn a_copy_that_gets_hooks_is_pushed_to_like_the_one_that_was_made_so() {
    let scene = Scene::new();
    let config = |path: &str| {
        let all = git(&scene.world.path(path), ["config", "--local", "--list"]).ok().stdout;
        let of_ours = |line: &&str| !line.starts_with("remote.") && !line.starts_with("core.fsync=");
        let mut lines: Vec<String> = all.lines().filter(of_ours).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    git(&scene.world.path("git"), ["clone", "-q", "--mirror", "acme.git", "copy.git"]).ok();
    git(&scene.world.path("git/copy.git"), ["config", "receive.maxInputSize", "5m"]).ok();
    scene.alice.quipu(["registry", "hooks", &scene.world.at("git/copy.git")]).ok();
    // What somebody has set is left as it is.
    let expected: Vec<String> = config("git/acme.git")
        .into_iter()
        .map(|line| line.replace("receive.maxinputsize=1g", "receive.maxinputsize=5m"))
        .collect();
    assert_eq!(config("git/copy.git"), expected);
    assert!(expected.iter().any(|line| line == "receive.hiderefs=refs/"), "{expected:?}");
}

#[test]
fn ten_thousand_references_at_once_are_refused() {
    let scene = Scene::new();
    let proposal = scene.proposal("bob:one", "1.0.0");
    let id = git(&scene.registry(), ["rev-parse", "refs/heads/main"]).ok().stdout.trim().to_owned();
    let names: Vec<String> = (0..10_000).map(|number| format!("refs/incoming/bob/p{number}/{id}")).collect();
    let commands: Vec<(&str, &str, Vec<u8>)> = names.iter().map(|name| (ZERO, id.as_str(), name.clone().into_bytes())).collect();
    let before = scene.all();
    let answer = scene.say(&commands);
    assert!(answer.contains("[limit] more than 100 references are pushed at once"), "{answer:.2000}");
    assert!(answer.contains(&format!("ng {} ", names[9_999])) && !answer.contains("ok refs/"), "{answer:.2000}");
    scene.is_still(&before, &answer);
    scene.publishes([format!("{proposal}:{proposal}").as_str()]);
    scene.holds(1);
}
