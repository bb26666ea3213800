//! What is acknowledged stays, and nothing stands half done: every command that writes is killed before each of its writes, and each of its
//! writes fails, and then the same command is run again. `strace` does the killing and the failing; where it cannot, the tests say so
//! and pass, except where `CI` is set.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)] // Tests start programs and make files as others do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "faults/hooks.rs"]
mod hooks;
#[path = "faults/mirrors.rs"]
mod mirrors;
#[path = "faults/upkeep.rs"]
mod upkeep;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const QUIPU: &str = env!("CARGO_BIN_EXE_quipu");

/// The system calls that change what is on disk.
const WRITES: &str = "write,pwrite64,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,mkdir,mkdirat,ftruncate,symlink,symlinkat";

/// So many points are tried at a time: they mostly wait.
const AT_ONCE: usize = 4;

/// What a program said.
#[derive(Clone, Debug)]
struct Said {
    /// Its exit status; `None` where it was killed.
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    /// Says whether it ended with this error.
    fn is(&self, code: &str) -> bool {
        self.err.contains(&format!("error[{code}]"))
    }
}

/// A folder with people's homes and registries in it. A copy of it is a world of its own.
struct World {
    _folder: TempDir,
    root: PathBuf,
}

impl World {
    /// Where disks are slow, what is tried here is not.
    fn empty() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = TempDir::new_in(memory).or_else(|_| TempDir::new()).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("tmp")).unwrap();
        World { _folder: folder, root }
    }

    /// A registry of Alice's, without packages.
    fn registry() -> Self {
        let world = World::empty();
        world.alice(&["key", "new", "alice"]).ok();
        world.alice(&["registry", "init", "reg.git", "--name", "acme.example"]).ok();
        world
    }

    /// The same, with one version of `demo:hello`, and the folder for the next one.
    fn with_hello() -> Self {
        let world = World::registry();
        world.package("hello", "0.1.0");
        world.alice(&["publish", "hello"]).ok();
        world.package("hello", "0.2.0");
        world
    }

    /// Lets somebody else have a key, and trust the registry.
    fn welcome(&self, who: &str) {
        self.person(who, &["key", "new", who]).ok();
        let id = self.id();
        self.person(who, &["trust", "add", "acme.example", "./reg.git", "--id", &id]).ok();
    }

    fn id(&self) -> String {
        let trust = fs::read_to_string(self.at("alice/trust.toml")).unwrap();
        let id = trust.lines().find_map(|line| line.strip_prefix("id = ")).unwrap();
        id.trim_matches('"').to_owned()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a folder to publish.
    fn package(&self, name: &str, version: &str) {
        let folder = self.at(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = format!("[package]\nregistry = \"acme.example\"\nname = \"demo:{name}\"\nversion = \"{version}\"\n");
        fs::write(folder.join("quipu.toml"), manifest).unwrap();
        fs::write(folder.join("src/lib.txt"), format!("{name} {version}\n")).unwrap();
    }

    fn copy(&self) -> World {
        let copy = World::empty();
        copy_folder(&self.root, &copy.root);
        for home in ["alice", "bob", "carol"] {
            let config = copy.at(home).join("config.toml");
            if let Ok(text) = fs::read_to_string(&config) {
                fs::write(config, text.replace(self.root.to_str().unwrap(), copy.root.to_str().unwrap())).unwrap();
            }
        }
        copy
    }

    fn prepare(&self, who: &str, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("LC_ALL", "C")
            .env("HOME", self.at(who))
            .env("QUIPU_HOME", self.at(who))
            .env("TMPDIR", self.at("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn person(&self, who: &str, args: &[&str]) -> Said {
        said(self.prepare(who, QUIPU).args(args))
    }

    fn alice(&self, args: &[&str]) -> Said {
        self.person("alice", args)
    }

    fn git(&self, args: &[&str]) -> Said {
        said(self.prepare("alice", "git").arg("-C").arg(self.at("reg.git")).args(args))
    }

    fn strace(&self, who: &str, options: &[&str], args: &[&str]) -> Said {
        let mut command = self.prepare(who, "strace");
        command.args(["-qq", "-o"]).arg(self.at("trace")).args(options).arg(QUIPU).args(args);
        said(&mut command)
    }

    fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.at("trace")).unwrap()).into_owned()
    }

    /// Returns the writes of a command's main thread: which call, and the how manieth of its kind.
    fn writes(&self, who: &str, args: &[&str]) -> Vec<(String, usize)> {
        let said = self.strace(who, &["-e", &format!("trace={WRITES}")], args);
        assert!(said.status == Some(0) || said.is("refused"), "{said:?}");
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let trace = self.trace();
        let writes: Vec<(String, usize)> = trace
            .lines()
            .filter_map(|line| line.split_once('('))
            .map(|(call, _)| {
                let count = counts.entry(call.to_owned()).or_default();
                *count += 1;
                (call.to_owned(), *count)
            })
            .collect();
        assert!(writes.len() > 3, "{trace}");
        writes
    }

    /// Returns every path below the root, relative to it.
    fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Returns what only a process that is at it, or was killed, has.
    fn strays(&self) -> Vec<String> {
        let is_stray = |path: &String| {
            let name = path.rsplit('/').next().unwrap();
            [".quipu-", "quipu-quarantine-", "tmp_obj_", "tmp_pack_", "tmp_idx_", ".tmp-", "quipu-journal", "packed-refs.new"]
                .iter()
                .any(|start| name.starts_with(start))
                || path.contains("/tmp_objdir-")
                || name.ends_with(".lock") && !["quipu.lock", "quipu-gc.lock", "readers.lock"].contains(&name)
                || name.contains(".quipu-")
        };
        self.paths().into_iter().filter(is_stray).collect()
    }

    /// Lets two days pass for what a process left.
    fn age(&self) {
        let then = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
        for path in self.strays() {
            File::open(self.at(&path)).and_then(|file| file.set_modified(then)).unwrap();
        }
    }

    /// Fails unless all that a registry promises holds.
    fn assert_whole(&self) {
        let fsck = self.alice(&["registry", "fsck", "reg.git"]).ok();
        assert!(fsck.out.starts_with("clean"), "{fsck:?}");
        assert!(!fsck.out.contains("not published yet"), "{fsck:?}");
        let git = self.git(&["fsck", "--strict", "--no-dangling", "--no-progress"]).ok();
        assert!(git.out.is_empty() && git.err.is_empty(), "{git:?}");
        self.alice(&["verify", "./reg.git"]).ok();
    }

    fn assert_released(&self, who: &str, release: &str) {
        let said = self.person(who, &["verify", release]);
        assert_eq!(said.status, Some(0), "{who} {release}: {said:?}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Says whether writes can be made to fail here.
fn can_inject() -> bool {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", "inject=mkdir,mkdirat:error=ENOSPC:when=1", "mkdir"]).arg(&target);
    let works = strace.stdin(Stdio::null()).output().is_ok_and(|output| !output.status.success()) && !target.exists() && {
        // What fails must be the injection, not strace.
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success())
    };
    if !works {
        assert!(std::env::var_os("CI").is_none(), "strace is missing or may not trace, and CI is set");
        println!("SKIPPED: strace is missing or may not trace: no write was made to fail, nothing was killed");
        eprintln!("SKIPPED: strace is missing or may not trace: no write was made to fail, nothing was killed");
    }
    works
}

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    DiskFull,
    BrokenDisk,
}

impl Fault {
    fn injection(self, calls: &str, when: usize) -> String {
        let how = match self {
            Fault::Kill => "signal=SIGKILL",
            Fault::DiskFull => "error=ENOSPC",
            Fault::BrokenDisk => "error=EIO",
        };
        format!("inject={calls}:{how}:when={when}")
    }
}

/// A command that writes, and what holds afterwards.
struct Case<'a> {
    world: &'a World,
    who: &'a str,
    args: &'a [&'a str],
    /// Holds right after the fault, before anything is repaired.
    then: &'a (dyn Fn(&World) + Sync),
    /// Whether the same command, run again, said what it may say.
    again: &'a (dyn Fn(&World, &Said) -> bool + Sync),
    /// Holds in the end.
    end: &'a (dyn Fn(&World) + Sync),
}

impl Case<'_> {
    /// Tries every write of the main thread with every fault.
    fn try_all(&self) {
        let writes = self.world.copy().writes(self.who, self.args);
        let points: Vec<(&(String, usize), Fault)> = writes
            .iter()
            .flat_map(|write| [Fault::Kill, Fault::DiskFull, Fault::BrokenDisk].map(|fault| (write, fault)))
            .collect();
        let (killed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        in_parallel(&points, |((call, when), fault)| {
            let said = self.try_one(*fault, &["-e", &format!("trace={WRITES}"), "-e", &fault.injection(call, *when)]);
            match said.status {
                None => killed.fetch_add(1, Ordering::Relaxed),
                Some(0 | 8) => 0,
                Some(_) => failed.fetch_add(1, Ordering::Relaxed),
            };
        });
        println!("{:?}: {} writes, {killed:?} killed, {failed:?} failed", self.args, writes.len());
        assert_eq!(killed.into_inner(), writes.len(), "not every kill came");
        assert!(failed.into_inner() > writes.len(), "hardly a failed write was noticed");
    }

    fn try_one(&self, fault: Fault, options: &[&str]) -> Said {
        let world = self.world.copy();
        let first = world.strace(self.who, options, self.args);
        let trace = || world.trace();
        let context = || format!("{fault:?} {options:?}\n{first:?}\n{}", trace());
        match (fault, first.status) {
            // An acceptor answers before it complains. What it has said is in a checkpoint, as the end shows.
            (Fault::Kill, None) => assert!(first.out.is_empty() || first.out.contains("\ncheckpoint "), "{}", context()),
            // What cannot be cleared away, or noted for others, is no failure.
            (Fault::DiskFull | Fault::BrokenDisk, Some(0)) => {}
            (Fault::DiskFull | Fault::BrokenDisk, Some(8)) if first.out.contains("\nrefused ") || first.is("refused") => {}
            (Fault::DiskFull | Fault::BrokenDisk, Some(7)) => {
                assert!(first.is("io"), "{}", context());
                let full = first.err.contains("No space left on device") || first.err.contains("disk is full");
                assert_eq!(full, fault == Fault::DiskFull, "{}", context());
            }
            _ => panic!("{}", context()),
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (self.then)(&world);
            world.age();
            let again = world.person(self.who, self.args);
            assert!((self.again)(&world, &again), "run again: {again:?}");
            (self.end)(&world);
            if !world.strays().is_empty() {
                // Whoever writes next in that place sweeps it away.
                world.package("sweeper", "1.0.0");
                world.alice(&["publish", "sweeper"]).ok();
                world.assert_released(self.who, "demo:sweeper@1.0.0");
            }
            assert_eq!(world.strays(), Vec::<String>::new(), "something was left");
        }));
        assert!(outcome.is_ok(), "after {}", context());
        first
    }
}

fn in_parallel<T: Sync>(all: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(one);
                }
            });
        }
    });
}

/// What a publish may say that is run again: it does it now, or it was done.
fn published_or_before(said: &Said) -> bool {
    match said.status {
        Some(0) => said.out.starts_with("published"),
        Some(8) => said.is("already-released"),
        _ => false,
    }
}

#[test]
fn a_first_publish_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::registry();
    world.package("hello", "0.1.0");
    Case {
        world: &world,
        who: "alice",
        args: &["publish", "hello"],
        then: &|world| {
            world.alice(&["verify", "./reg.git"]).ok();
        },
        again: &|_, said| published_or_before(said),
        end: &|world| {
            world.assert_whole();
            world.assert_released("alice", "demo:hello@0.1.0");
        },
    }
    .try_all();
}

#[test]
fn a_second_publish_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    Case {
        world: &world,
        who: "alice",
        args: &["publish", "hello"],
        then: &|world| {
            world.alice(&["verify", "./reg.git"]).ok();
            world.assert_released("alice", "demo:hello@0.1.0");
        },
        again: &|_, said| published_or_before(said),
        end: &|world| {
            world.assert_whole();
            world.assert_released("alice", "demo:hello@0.1.0");
            world.assert_released("alice", "demo:hello@0.2.0");
        },
    }
    .try_all();
}

/// What Bob and Carol, who are no operators, propose: two packages each, and one name that both want.
fn with_proposals() -> World {
    let world = World::with_hello();
    for who in ["bob", "carol"] {
        world.welcome(who);
        for name in [who, "wanted"] {
            world.package(name, "1.0.0");
            let said = world.person(who, &["publish", name]).ok();
            assert!(said.out.starts_with("proposed"), "{said:?}");
        }
    }
    world
}

#[test]
fn an_acceptor_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = with_proposals();
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "accept", "reg.git"],
        then: &|world| {
            world.alice(&["verify", "./reg.git"]).ok();
            world.assert_released("alice", "demo:hello@0.1.0");
        },
        // Who comes second is refused, now or in the run before.
        again: &|_, said| said.status == Some(0) || said.status == Some(8) && said.is("refused"),
        end: &|world| {
            let third = world.alice(&["registry", "accept", "reg.git"]).ok();
            assert!(third.out.contains("no proposal is waiting"), "{third:?}");
            world.assert_whole();
            for name in ["bob", "carol", "wanted"] {
                world.assert_released("bob", &format!("demo:{name}@1.0.0"));
            }
            world.assert_released("bob", "demo:hello@0.1.0");
        },
    }
    .try_all();
}

/// Says whether a package has its new name, and fails where anything is in between.
fn is_renamed(world: &World) -> bool {
    world.alice(&["verify", "./reg.git"]).ok();
    let info = world.alice(&["info", "demo:hello", "--json"]).ok().out;
    world.assert_released("alice", "demo:hello@0.1.0");
    info.contains("\"package\":\"demo:bonjour\"")
}

#[test]
fn a_rename_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    Case {
        world: &world,
        who: "alice",
        args: &["rename", "demo:hello", "demo:bonjour"],
        then: &|world| {
            is_renamed(world);
        },
        again: &|_, said| said.out.starts_with("renamed") || said.status == Some(8) && said.is("bad-record"),
        end: &|world| {
            assert!(is_renamed(world));
            world.assert_whole();
            let refs = world.git(&["for-each-ref", "--format=%(refname)"]).ok().out;
            assert_eq!(refs.lines().filter(|name| name.contains("/demo/")).count(), 5, "{refs}");
            world.alice(&["yank", "demo:hello@0.1.0"]).ok();
            world.assert_whole();
        },
    }
    .try_all();
}

#[test]
fn the_granting_of_a_name_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world.welcome("bob");
    world.package("mine", "1.0.0");
    world.person("bob", &["publish", "mine"]).ok();
    world.alice(&["registry", "accept", "reg.git"]).ok();
    world.person("bob", &["rename", "demo:mine", "demo:bonjour"]).ok();
    world.alice(&["registry", "accept", "reg.git", "--known"]).ok();
    let is_granted = |world: &World| {
        world.alice(&["verify", "./reg.git"]).ok();
        world.assert_released("bob", "demo:mine@1.0.0");
        let info = world.person("bob", &["info", "demo:mine", "--json"]).ok().out;
        info.contains("\"package\":\"demo:bonjour\"")
    };
    let case = |args: &[&str], done: &str| {
        Case {
            world: &world,
            who: "alice",
            args,
            then: &|world| {
                is_granted(world);
            },
            again: &|_, said| said.out.starts_with(done) || said.status == Some(8) && said.is("bad-record"),
            end: &|world| {
                assert!(is_granted(world));
                world.assert_whole();
            },
        }
        .try_all();
    };
    case(&["registry", "rename", "reg.git", "demo:mine"], "renamed demo:mine");
}

#[test]
fn a_reset_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world.welcome("bob");
    let first = world.alice(&["info", "demo:hello", "--json"]).ok().out;
    let old = first.split("\"log\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let is_reset = |world: &World| {
        world.alice(&["verify", "./reg.git"]).ok();
        let anchored = format!("demo:hello@0.1.0#{old}");
        world.assert_released("bob", &anchored);
        world.alice(&["info", &format!("demo:hello#{old}"), "--json"]).ok().out.contains("\"new\":")
    };
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "reset", "reg.git", "demo:hello", "--reason", "why", "--owner", "bob/keys/bob.pub"],
        then: &|world| {
            is_reset(world);
        },
        again: &|_, said| said.out.starts_with("reset demo:hello"),
        end: &|world| {
            assert!(is_reset(world));
            world.assert_whole();
            let refs = world.git(&["for-each-ref", "--format=%(refname)"]).ok().out;
            let is_of_it = |name: &&str| name.contains("/demo/hello") || name.contains("refs/retired/");
            assert_eq!(refs.lines().filter(is_of_it).count(), 4, "{refs}");
        },
    }
    .try_all();
    // Killed before it was published, and not run again: whoever accepts next takes back what was moved for it.
    for when in 1..40 {
        let world = world.copy();
        let fault = Fault::Kill.injection("rename,renameat,renameat2", when);
        let args = ["registry", "reset", "reg.git", "demo:hello", "--reason", "why"];
        if world.strace("alice", &["-e", &format!("trace={WRITES}"), "-e", &fault], &args).status.is_some() {
            assert!(when > 3, "hardly a kill came");
            return;
        }
        let done = is_reset(&world);
        world.alice(&["registry", "accept", "reg.git"]).ok();
        assert_eq!(is_reset(&world), done);
        world.assert_whole();
        let refs = world.git(&["for-each-ref", "--format=%(refname)"]).ok().out;
        assert_eq!((refs.contains("refs/retired/"), refs.contains("refs/decisions/")), (done, done), "{refs}");
    }
    panic!("there is no end to its writes");
}

/// Writes packages as another registry keeps them: one that is there already with a version more, and new ones.
fn with_packages(world: World) -> World {
    for (place, text) in [
        ("demo/hello/0.2.0/text", "hello"),
        ("demo/one/1.0.0/text", "one"),
        ("demo/Two/v1.0.0/text", "two"),
        ("a/b/1.0.0.wasm", "b"),
    ] {
        let path = world.at("packages").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    world
}

const IMPORTED: [&str; 4] = ["demo:hello@0.2.0", "demo:one@1.0.0", "demo:two@1.0.0", "a:b@1.0.0"];

/// Fails unless what stands there is sound, with all of a checkpoint's packages or none of them.
fn assert_sound_after_a_kill(world: &World) {
    world.alice(&["verify", "./reg.git"]).ok();
    let fsck = world.alice(&["registry", "fsck", "reg.git"]);
    assert!(!fsck.out.contains("not published yet"), "{fsck:?}");
    // The lock of packed references may be left, and the journal says so.
    let is_left = fsck.is("bad-repository") && fsck.err.contains("was killed while it moved references");
    assert!(fsck.status == Some(0) || is_left && fsck.out.lines().count() == 3, "{fsck:?}");
}

#[test]
fn an_import_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    // Two checkpoints: the first finds references in files of their own, the second all of them packed.
    let world = with_packages(World::with_hello());
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "import", "reg.git", "--from", "packages", "--batch", "2"],
        then: &|world| {
            assert_sound_after_a_kill(world);
            world.assert_released("alice", "demo:hello@0.1.0");
        },
        again: &|_, said| said.status == Some(0) && said.out.starts_with("imported"),
        end: &|world| {
            let third = world.alice(&["registry", "import", "reg.git", "--from", "packages"]).ok();
            assert!(third.out.starts_with("imported 0 versions") && third.out.contains("in already  4 versions"), "{third:?}");
            world.assert_whole();
            for release in IMPORTED {
                world.assert_released("alice", release);
            }
            world.assert_released("alice", "demo:hello@0.1.0");
        },
    }
    .try_all();
}

#[test]
fn an_import_can_be_killed_while_a_large_packed_refs_is_written() {
    if !can_inject() {
        return;
    }
    let world = with_packages(World::with_hello());
    // Branches that are none of ours, so many that they are not written in one piece.
    let main = world.git(&["rev-parse", "refs/heads/main"]).ok().out;
    let packed = world.at("reg.git/packed-refs");
    assert!(!packed.exists(), "the branches would take the place of what is packed");
    let branches = (0..12_000).map(|number| format!("{} refs/heads/{number:0100}\n", main.trim()));
    fs::write(&packed, format!("# pack-refs with: peeled fully-peeled sorted \n{}", branches.collect::<String>())).unwrap();
    let case = Case {
        world: &world,
        who: "alice",
        args: &["registry", "import", "reg.git", "--from", "packages", "--batch", "2"],
        then: &|world| {
            assert_sound_after_a_kill(world);
            world.assert_released("alice", "demo:hello@0.1.0");
        },
        again: &|_, said| said.status == Some(0) && said.out.starts_with("imported"),
        end: &|world| {
            world.assert_whole();
            for release in IMPORTED {
                world.assert_released("alice", release);
            }
            let branches = world.git(&["for-each-ref", "--format=x", "refs/heads"]).ok().out.lines().count();
            assert_eq!(branches, 12_001);
        },
    };
    // All that is done with it: written in pieces, brought to disk, put in its place.
    let probe = world.copy();
    probe.strace("alice", &["-y", "-s", "0", "-e", &format!("trace={WRITES}")], case.args).ok();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in probe.trace().lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let count = counts.entry(call.to_owned()).or_default();
        *count += 1;
        if rest.contains("packed-refs") {
            points.push((call.to_owned(), *count));
        }
    }
    let written = points.iter().filter(|(call, _)| call == "write").count();
    assert!(written >= 4 && points.len() >= written + 4, "{points:?}");
    in_parallel(&points, |(call, when)| {
        let options = [format!("trace={WRITES}"), Fault::Kill.injection(call, *when)];
        let said = case.try_one(Fault::Kill, &["-e", &options[0], "-e", &options[1]]);
        assert_eq!(said.status, None, "{call} {when}: not killed");
    });
    println!("killed at {points:?}");
}

#[test]
fn another_acceptor_goes_on_after_an_import_that_was_killed() {
    if !can_inject() {
        return;
    }
    let world = with_packages(World::with_hello());
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "import", "reg.git", "--from", "packages"],
        then: &|world| {
            // Whatever was left, a publish repairs it.
            world.package("other", "1.0.0");
            world.alice(&["publish", "other"]).ok();
            world.assert_whole();
        },
        again: &|_, said| said.status == Some(0) && said.out.starts_with("imported"),
        end: &|world| {
            world.assert_whole();
            for release in IMPORTED {
                world.assert_released("alice", release);
            }
            world.assert_released("alice", "demo:other@1.0.0");
        },
    }
    .try_all();
}

#[test]
fn a_proposal_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world.welcome("bob");
    world.package("bob", "1.0.0");
    Case {
        world: &world,
        who: "bob",
        args: &["publish", "bob"],
        then: &|world| {
            world.alice(&["verify", "./reg.git"]).ok();
        },
        again: &|_, said| said.status == Some(0) && said.out.starts_with("proposed"),
        end: &|world| {
            let accepted = world.alice(&["registry", "accept", "reg.git"]);
            assert!(accepted.out.contains("accepted demo:bob"), "{accepted:?}");
            world.assert_whole();
            world.assert_released("bob", "demo:bob@1.0.0");
        },
    }
    .try_all();
}

#[test]
fn a_change_of_operators_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world.welcome("bob");
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "operator", "allow", "reg.git", "bob/keys/bob.pub", "--privilege", "auth,checkpoint"],
        then: &|world| {
            world.alice(&["verify", "./reg.git"]).ok();
            world.assert_released("bob", "demo:hello@0.1.0");
        },
        again: &|_, said| said.status == Some(0) || said.status == Some(8) && said.err.contains("bob"),
        end: &|world| {
            let listed = world.alice(&["registry", "operator", "list", "reg.git"]).ok();
            assert!(listed.out.contains("bob"), "{listed:?}");
            world.assert_whole();
            world.assert_released("bob", "demo:hello@0.1.0");
            // Bob may, and does.
            world.package("bobs", "1.0.0");
            let said = world.person("bob", &["publish", "bobs"]).ok();
            assert!(said.out.starts_with("published"), "{said:?}");
            world.assert_whole();
        },
    }
    .try_all();
}

#[test]
fn the_making_of_a_registry_can_be_killed_and_can_fail_anywhere() {
    if !can_inject() {
        return;
    }
    let world = World::empty();
    world.alice(&["key", "new", "alice"]).ok();
    Case {
        world: &world,
        who: "alice",
        args: &["registry", "init", "reg.git", "--name", "acme.example"],
        then: &|world| {
            if world.at("reg.git").exists() {
                world.alice(&["verify", "./reg.git"]).ok();
            }
        },
        again: &|_, said| said.status == Some(0) || said.is("exists") && said.err.contains("trusted already"),
        end: &|world| {
            world.assert_whole();
            world.package("hello", "0.1.0");
            world.alice(&["publish", "hello"]).ok();
            world.assert_whole();
        },
    }
    .try_all();
}

#[test]
fn what_a_client_keeps_survives_every_kill_and_failure() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world.alice(&["publish", "hello"]).ok();
    world.person("bob", &["key", "new", "bob"]).ok();
    let id = world.id();
    Case {
        world: &world,
        who: "bob",
        args: &["trust", "add", "acme.example", "./reg.git", "--id", &id],
        then: &|_| {},
        again: &|_, said| said.status == Some(0),
        end: &|world| world.assert_released("bob", "demo:hello@0.2.0"),
    }
    .try_all();

    world.welcome("carol");
    world.person("carol", &["verify", "demo:hello"]).ok();
    world.package("hello", "0.3.0");
    world.alice(&["publish", "hello"]).ok();
    Case {
        world: &world,
        who: "carol",
        args: &["get", "demo:hello", "--to", "got"],
        // Neither lost nor ahead: a lost memory and one that is ahead are both errors.
        then: &|world| {
            world.assert_released("carol", "demo:hello@0.1.0");
            if world.at("got").exists() {
                assert_eq!(fs::read_to_string(world.at("got/src/lib.txt")).unwrap(), "hello 0.3.0\n");
            }
        },
        again: &|world, said| said.status == Some(0) || said.is("exists") && world.at("got").exists(),
        end: &|world| {
            assert_eq!(fs::read_to_string(world.at("got/src/lib.txt")).unwrap(), "hello 0.3.0\n");
            world.assert_released("carol", "demo:hello@0.3.0");
            // The newest that was seen is remembered.
            let state: Vec<String> =
                world.paths().into_iter().filter(|path| path.starts_with("carol/state/") && path.ends_with(".toml")).collect();
            assert_eq!(state.len(), 1, "{state:?}");
            let text = fs::read_to_string(world.at(&state[0])).unwrap();
            assert!(text.contains("\nseq = 3\n"), "{text}");
        },
    }
    .try_all();
}

/// One finished system call of a trace of several threads.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
}

/// Reads a trace of several threads into calls, in the order in which they ended.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut done = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let text = if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, begin);
            continue;
        } else if rest.starts_with("<... ") {
            let begin = begun.remove(thread).unwrap();
            format!("{begin}{}", rest.split_once("resumed>").unwrap().1)
        } else {
            rest.to_owned()
        };
        if let Some((name, _)) = text.split_once('(')
            && text.contains("= 0")
        {
            done.push(Call { name: name.to_owned(), text });
        } else if text.starts_with("write(1") {
            done.push(Call { name: "answer".into(), text });
        }
    }
    done
}

#[test]
fn everything_is_on_disk_before_what_stands_on_it() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    world
        .strace("alice", &["-f", "-y", "-s", "8", "-e", "trace=fsync,rename,renameat,mkdir,unlink,write"], &["publish", "hello"])
        .ok();
    let trace = world.trace().replace(&format!("{}/", world.root.display()), "");
    let calls = calls(&trace);
    // Where the first call is that ends one of these ways.
    let find = |from: usize, name: &str, text: &dyn Fn(&str) -> bool| -> Option<usize> {
        calls.iter().enumerate().skip(from).find(|(_, call)| call.name.starts_with(name) && text(&call.text)).map(|(at, _)| at)
    };
    let synced = |from: usize, path: &str| {
        let needle = format!("<{path}>");
        find(from, "fsync", &|text| text.contains(&needle))
            .unwrap_or_else(|| panic!("{path} is not synced after {from}:\n{trace}"))
    };
    let renamed = |to: &str| {
        let needle = format!("\"{to}\")");
        find(0, "rename", &|text| text.contains(&needle)).unwrap_or_else(|| panic!("nothing becomes {to}:\n{trace}"))
    };
    let contents = renamed("reg.git/refs/contents/demo/hello");
    let package = renamed("reg.git/refs/packages/demo/hello");
    let log = renamed("reg.git/refs/registry/log");
    let first = find(0, "rename", &|text| text.contains("reg.git/refs/")).unwrap();
    assert!(first == contents && contents < package && package < log, "{first} {contents} {package} {log}\n{trace}");

    // Objects: each is synced before it gets its name, and its folder after that, all before the first reference moves.
    let mut objects = 0;
    for (at, call) in
        calls.iter().enumerate().filter(|(_, call)| call.name.starts_with("rename") && call.text.contains("tmp_obj_"))
    {
        let paths: Vec<&str> = call.text.split('"').skip(1).step_by(2).collect();
        assert!(synced(0, paths[0]) < at, "{call:?}\n{trace}");
        let folder = paths[1].rsplit_once('/').unwrap().0;
        assert!(synced(at, folder) < first, "{call:?}\n{trace}");
        objects += 1;
    }
    assert!(objects > 5, "{trace}");
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.name == "mkdir" && call.text.contains("reg.git/objects/"))
    {
        assert!(synced(at, "reg.git/objects") < first, "{call:?}\n{trace}");
    }

    // The journal is there, and on disk, before the first reference moves, and goes after the last.
    let journal = renamed("reg.git/quipu-journal");
    assert!(synced(journal, "reg.git/quipu-journal") < first && synced(journal, "reg.git") < first, "{trace}");
    let ended = find(0, "unlink", &|text| text.contains("reg.git/quipu-journal")).unwrap();

    // References: the bytes before the name, contents and log of the package before the registry log, and that before all else.
    for (name, at) in [("contents/demo/hello", contents), ("packages/demo/hello", package), ("registry/log", log)] {
        assert!(synced(0, &format!("reg.git/refs/{name}.lock")) < at, "{name}\n{trace}");
    }
    assert!(
        synced(contents, "reg.git/refs/contents/demo") < log && synced(package, "reg.git/refs/packages/demo") < log,
        "{trace}"
    );
    let committed = synced(log, "reg.git/refs/registry");
    assert!(committed < ended, "{trace}");

    // And then what is remembered, and then the answer.
    let state = find(0, "rename", &|text| text.contains("alice/state/.quipu-")).unwrap();
    let answer = find(0, "answer", &|text| text.contains("publishe")).unwrap();
    assert!(committed < state && synced(state, "alice/state") < answer, "{trace}");
}

#[test]
fn every_sync_that_fails_is_noticed() {
    if !can_inject() {
        return;
    }
    let world = World::with_hello();
    let again = |said: &Said| published_or_before(said);
    let published = "alice/state";
    for path in [
        "",
        "reg.git",
        "reg.git/quipu-journal",
        "reg.git/refs/contents/demo/hello.lock",
        "reg.git/refs/packages/demo/hello.lock",
        "reg.git/refs/registry/log.lock",
        "reg.git/refs/contents/demo",
        "reg.git/refs/packages/demo",
        "reg.git/refs/registry",
        published,
    ] {
        let copy = world.copy();
        let full = copy.at(path);
        let only = if path.is_empty() { vec![] } else { vec!["-P", full.to_str().unwrap()] };
        let options = ["-f", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1"];
        let first = copy.strace("alice", &[&options[..], &only].concat(), &["publish", "hello"]);
        assert!(first.status == Some(7) && first.is("io"), "{path}: {first:?}\n{}", copy.trace());
        copy.alice(&["verify", "./reg.git"]).ok();
        copy.assert_released("alice", "demo:hello@0.1.0");
        let second = copy.alice(&["publish", "hello"]);
        assert!(again(&second), "{path}: {second:?}");
        copy.assert_whole();
        copy.assert_released("alice", "demo:hello@0.2.0");
    }
}

#[test]
fn a_lock_that_nothing_explains_is_named() {
    let world = World::with_hello();
    for lock in ["refs/registry/log.lock", "refs/packages/demo/hello.lock", "refs/contents/demo/hello.lock"] {
        let path = world.at("reg.git").join(lock);
        File::create(&path).unwrap();
        let said = world.alice(&["publish", "hello"]);
        assert!(said.status == Some(8) && said.is("conflict"), "{said:?}");
        assert!(said.err.contains(path.to_str().unwrap()) && said.err.contains("remove it"), "{said:?}");
        // Nothing moved, and nothing else is left.
        assert_eq!(world.strays(), [format!("reg.git/{lock}")]);
        world.alice(&["registry", "fsck", "reg.git"]).ok();
        fs::remove_file(path).unwrap();
    }
    world.alice(&["publish", "hello"]).ok();
    world.assert_whole();
}

#[test]
fn locks_that_a_journal_explains_are_broken() {
    let world = World::with_hello();
    let names = ["refs/contents/demo/hello", "refs/packages/demo/hello", "refs/registry/log"];
    let journal = world.at("reg.git/quipu-journal");
    for old in [true, false] {
        fs::write(&journal, format!("{}\nend\n", names.join("\n"))).unwrap();
        for name in names.iter().chain(&["packed-refs"]) {
            File::create(world.at("reg.git").join(format!("{name}.lock"))).unwrap();
        }
        let fsck = world.alice(&["registry", "fsck", "reg.git"]);
        // Nothing had moved, and the next one clears it away.
        assert!(fsck.status == Some(0) && fsck.out.contains("an acceptor was killed"), "{fsck:?}");
        if old {
            world.age();
        }
        world.alice(&["publish", "hello"]).ok();
        assert_eq!(world.strays(), Vec::<String>::new());
        world.assert_whole();
        world.package("hello", "0.3.0");
    }
    // One that is cut off never came to disk: nothing had moved.
    world.package("hello", "0.4.0");
    fs::write(&journal, "refs/contents/demo/hello\nrefs/pack").unwrap();
    world.alice(&["publish", "hello"]).ok();
    world.assert_whole();
    // One that no acceptor writes is not obeyed.
    world.package("hello", "0.5.0");
    fs::write(&journal, "../../etc/passwd\nend\n").unwrap();
    let said = world.alice(&["publish", "hello"]);
    assert!(said.is("bad-repository") && said.err.contains("quipu-journal"), "{said:?}");
}

#[test]
fn of_two_acceptors_one_comes_after_the_other() {
    let world = with_proposals();
    let said: Mutex<Vec<Said>> = Mutex::new(Vec::new());
    in_parallel(&[(); 4], |()| {
        let one = world.alice(&["registry", "accept", "reg.git"]);
        said.lock().unwrap().push(one);
    });
    let said = said.into_inner().unwrap();
    let count = |what: &str| said.iter().flat_map(|said| said.out.lines()).filter(|line| line.starts_with(what)).count();
    assert_eq!((count("accepted "), count("refused "), count("already in")), (3, 1, 0), "{said:?}");
    assert!(said.iter().all(|said| said.status == Some(0) || said.is("refused")), "{said:?}");
    world.assert_whole();
    assert_eq!(world.strays(), Vec::<String>::new());
}

#[test]
fn of_many_publishers_at_once_none_loses_and_none_doubles_anything() {
    let world = World::with_hello();
    // Eight packages, one name for three new logs, and one log for three next versions, of which two are the same.
    let mut folders: Vec<(String, String)> = (0..8).map(|n| (format!("p{n}"), format!("demo:p{n}@1.0.0"))).collect();
    for (n, version) in ["1.0.0", "1.1.0", "1.2.0"].iter().enumerate() {
        folders.push((format!("same{n}"), format!("demo:same@{version}")));
    }
    for (n, version) in ["0.2.0", "0.2.0", "0.3.0"].iter().enumerate() {
        folders.push((format!("hello{n}"), format!("demo:hello@{version}")));
    }
    for (folder, release) in &folders {
        let (name, version) = release.trim_start_matches("demo:").split_once('@').unwrap();
        world.package(name, version);
        if folder != name {
            fs::rename(world.at(name), world.at(folder)).unwrap();
        }
    }
    let said: Mutex<Vec<(String, Said)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (folder, release) in &folders {
            let (world, said) = (&world, &said);
            scope.spawn(move || {
                let one = world.alice(&["publish", folder]);
                said.lock().unwrap().push((release.clone(), one));
            });
        }
    });
    let said = said.into_inner().unwrap();
    let mut published: Vec<&str> = Vec::new();
    for (release, said) in &said {
        match said.status {
            Some(0) if said.out.starts_with("published") => published.push(release),
            Some(8) if ["conflict", "already-released", "name-taken"].iter().any(|code| said.is(code)) => {}
            _ => panic!("{release}: {said:?}"),
        }
    }
    for n in 0..8 {
        assert!(published.contains(&format!("demo:p{n}@1.0.0").as_str()), "{said:?}");
    }
    for name in ["demo:same@", "demo:hello@"] {
        assert!(published.iter().any(|release| release.starts_with(name)), "{said:?}");
    }
    world.assert_whole();
    // What was remembered by each is remembered by all.
    let state = world.paths().into_iter().find(|path| path.starts_with("alice/state/") && path.ends_with(".toml")).unwrap();
    let state = fs::read_to_string(world.at(&state)).unwrap();
    for release in &published {
        world.assert_released("alice", release);
        let package = release.split_once('@').unwrap().0;
        assert!(state.contains(&format!("[packages.\"{package}\"]")), "{package}\n{state}");
    }
    let fsck = world.alice(&["registry", "fsck", "reg.git", "--json"]).ok();
    let fsck: serde_json::Value = serde_json::from_str(&fsck.out).unwrap();
    assert_eq!(fsck["releases"].as_u64().unwrap() as usize, published.len() + 1, "{fsck}");
    assert_eq!(fsck["packages"], 10);
    published.sort_unstable();
    published.dedup();
    assert_eq!(fsck["releases"].as_u64().unwrap() as usize, published.len() + 1, "a version was published twice");
    assert_eq!(world.strays(), Vec::<String>::new());
}

#[test]
fn a_disk_that_is_full_is_named_and_changes_nothing() {
    let world = World::with_hello();
    // A file system of its own, which goes with the shell that mounted it.
    let script = r#"
        mkdir -p small && mount -t tmpfs -o size=2m tmpfs small || exit 99
        cp -r reg.git small/reg.git && sed -i "s|$PWD/reg.git|$PWD/small/reg.git|" alice/config.toml
        dd if=/dev/zero of=small/filler bs=4096 >/dev/null 2>&1
        "$QUIPU" publish hello; echo "full: $?"
        rm small/filler
        "$QUIPU" verify ./small/reg.git >/dev/null || echo broken
        "$QUIPU" publish hello; echo "again: $?"
        "$QUIPU" registry fsck small/reg.git
    "#;
    let mut shell = world.prepare("alice", "unshare");
    let said = said(shell.args(["--map-root-user", "--mount", "sh", "-c", script]).env("QUIPU", QUIPU));
    if !said.out.contains("full: ") {
        println!("SKIPPED: no small file system can be mounted here: {}", said.err);
        eprintln!("SKIPPED: no small file system can be mounted here: {}", said.err);
        return;
    }
    assert!(said.out.contains("full: 7\npublished acme.example/demo:hello@0.2.0"), "{said:?}");
    assert!(said.is("io") && said.err.contains("No space left on device") && said.err.contains("disk is full"), "{said:?}");
    assert!(said.out.contains("again: 0\nclean"), "{said:?}");
}
