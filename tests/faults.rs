//! What is acknowledged stays, and nothing stands half done: every command that writes is killed before each of its writes, and each of its
//! writes fails, and then the same command is run again. `strace` does the killing and the failing; where it cannot, the tests say so
//! and pass, except where `CI` is set.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)] // Tests start programs and make files as others do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
            [".quipu-", "quipu-quarantine-", "tmp_obj_", "tmp_pack_", "tmp_idx_", "quipu-journal"]
                .iter()
                .any(|start| name.starts_with(start))
                || name.ends_with(".lock") && name != "quipu.lock"
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
            (Fault::Kill, None) => assert_eq!(first.out, "", "{}", context()),
            // What cannot be cleared away, or noted for others, is no failure.
            (Fault::DiskFull | Fault::BrokenDisk, Some(0)) => {}
            (Fault::DiskFull | Fault::BrokenDisk, Some(8)) if first.is("refused") => {}
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
