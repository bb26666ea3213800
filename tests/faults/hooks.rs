//! A push that goes wrong in the middle: each of the hooks, and git's own server, killed before each of its writes, and each of the hooks'
//! writes failing. Nothing is visible that was not verified, nothing is lost that was acknowledged, and the next push works.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

/// A registry of Alice's with hooks and one release, and a proposal of Bob's in a copy of it, ready to be pushed.
struct Pushed {
    world: World,
    proposal: String,
}

impl Pushed {
    fn new() -> Self {
        let world = World::with_hello();
        world.alice(&["registry", "hooks", "reg.git"]).ok();
        world.git(&["clone", "-q", "--mirror", ".", "../draft.git"]).ok();
        world.person("bob", &["key", "new", "bob"]).ok();
        world.person("bob", &["trust", "add", "acme.example", "./draft.git", "--id", &world.id()]).ok();
        world.package("bob", "1.0.0");
        let said = world.person("bob", &["publish", "bob", "--json"]).ok();
        let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let proposal = format!("refs/incoming/demo/bob/{}", said["proposal"].as_str().unwrap());
        Pushed { world, proposal }
    }

    /// Makes another one of it, in which the hooks know where they are.
    fn copy(&self) -> Self {
        let copy = Pushed { world: self.world.copy(), proposal: self.proposal.clone() };
        let config = copy.world.at("reg.git/config");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(config, text.replace(self.world.root.to_str().unwrap(), copy.world.root.to_str().unwrap())).unwrap();
        copy
    }

    fn hook(&self, name: &str) -> PathBuf {
        self.world.at("reg.git/hooks").join(name)
    }

    /// Lets a host have no `proc-receive`.
    fn without_proc_receive(self) -> Self {
        fs::remove_file(self.hook("proc-receive")).unwrap();
        self.world.git(&["config", "--unset", "receive.procReceiveRefs"]).ok();
        self
    }

    /// Pushes as Bob, with git's own server under `strace` where there are options for it.
    fn push(&self, options: &[&str]) -> Said {
        let mut command = self.world.prepare("bob", "git");
        command.arg("-C").arg(self.world.at("draft.git")).arg("push");
        if !options.is_empty() {
            let trace = self.world.at("trace");
            command.arg(format!("--receive-pack=strace -qq -o {} {} git-receive-pack", trace.display(), options.join(" ")));
        }
        said(command.arg(self.world.at("reg.git")).arg(format!("{0}:{0}", self.proposal)))
    }

    /// Pushes with a hook under `strace`, and puts the hook back.
    fn push_with(&self, hook: &str, options: &[&str]) -> Said {
        let place = self.hook(hook);
        let script = fs::read(&place).unwrap();
        let trace = self.world.at("trace");
        let wrapped = format!("#!/bin/sh\nexec strace -qq -o {} {} {QUIPU} hook {hook}\n", trace.display(), options.join(" "));
        fs::write(&place, wrapped).unwrap();
        let said = self.push(&[]);
        fs::write(&place, script).unwrap();
        said
    }

    /// Tries every write of one process of a push with every one of these faults.
    fn try_all(&self, what: &str, faults: &[Fault], push: impl Fn(&Pushed, &[&str]) -> Said + Sync) {
        let trace = format!("trace={WRITES}");
        let first = self.copy();
        push(&first, &["-e", &trace]).ok();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut points = Vec::new();
        for call in first.world.trace().lines().filter_map(|line| line.split_once('(')).map(|(call, _)| call.to_owned()) {
            let count = counts.entry(call.clone()).or_default();
            *count += 1;
            points.extend(faults.iter().map(|fault| (call.clone(), *count, *fault)));
        }
        let acknowledged = AtomicUsize::new(0);
        in_parallel(&points, |(call, when, fault)| {
            let one = self.copy();
            let said = push(&one, &["-e", &trace, "-e", &fault.injection(call, *when)]);
            acknowledged.fetch_add(usize::from(said.status == Some(0)), Ordering::Relaxed);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.recovers(&said)));
            assert!(outcome.is_ok(), "{what} {fault:?} {call} {when}\n{said:?}\n{}", one.world.trace());
        });
        println!("{what}: {} points, {acknowledged:?} acknowledged all the same", points.len());
        assert!(points.len() > 5, "{points:?}");
    }

    /// Fails unless all holds after a push that went wrong, and the next one goes well.
    fn recovers(&self, first: &Said) {
        let world = &self.world;
        world.alice(&["verify", "./reg.git"]).ok();
        world.assert_released("alice", "demo:hello@0.1.0");
        if first.status == Some(0) && first.err.contains("quipu: published ") {
            world.assert_released("alice", "demo:bob@1.0.0");
        }
        world.age();
        // Where it waits, git has nothing to push; whoever pushes next takes it along, and so does an operator.
        let again = self.push(&[]);
        if again.status != Some(0) || again.err.contains("Everything up-to-date") {
            // Where git itself writes the reference, it does not know that a killed hook left its lock, and says whose file it is.
            assert!(
                again.status == Some(0) || again.err.contains(".lock': File exists") && !self.hook("proc-receive").exists(),
                "{again:?}"
            );
            world.alice(&["registry", "accept", "reg.git"]).ok();
        }
        if again.status != Some(0) {
            self.push(&[]).ok();
        }
        world.assert_whole();
        world.assert_released("alice", "demo:bob@1.0.0");
        if !world.strays().is_empty() {
            // An object that is in git's quarantine and in the repository too is written to when it is pushed again.
            world.age();
            world.package("sweeper", "1.0.0");
            world.alice(&["publish", "sweeper"]).ok();
        }
        assert_eq!(world.strays(), Vec::<String>::new(), "something was left");
    }
}

#[test]
fn the_hook_that_looks_at_a_push_can_be_killed_and_can_fail_anywhere() {
    if can_inject() {
        let faults = [Fault::Kill, Fault::DiskFull, Fault::BrokenDisk];
        Pushed::new().try_all("pre-receive", &faults, |pushed, options| pushed.push_with("pre-receive", options));
    }
}

#[test]
fn the_hook_that_publishes_can_be_killed_and_can_fail_anywhere() {
    if can_inject() {
        let faults = [Fault::Kill, Fault::DiskFull];
        Pushed::new().try_all("proc-receive", &faults, |pushed, options| pushed.push_with("proc-receive", options));
    }
}

#[test]
fn the_hook_that_publishes_afterwards_can_be_killed_anywhere() {
    if can_inject() {
        let host = Pushed::new().without_proc_receive();
        host.try_all("post-receive", &[Fault::Kill], |pushed, options| pushed.push_with("post-receive", options));
    }
}

#[test]
fn git_itself_can_be_killed_anywhere_in_a_push() {
    if can_inject() {
        Pushed::new().try_all("receive-pack", &[Fault::Kill], Pushed::push);
    }
}

/// Hooks that are not there, not executable, or broken.
#[test]
fn a_hook_that_is_missing_or_crashes_lets_nothing_in_that_was_not_looked_at() {
    let pushed = Pushed::new();
    let refs = |pushed: &Pushed| pushed.world.git(&["for-each-ref"]).ok().out;
    for (hook, script) in [
        ("pre-receive", Some("#!/bin/sh\nkill -SEGV $$\n")),
        ("pre-receive", Some("#!/nowhere/sh\n")),
        ("proc-receive", Some("#!/bin/sh\nkill -SEGV $$\n")),
        ("proc-receive", Some("#!/nowhere/sh\n")),
        ("proc-receive", Some("#!/bin/sh\nexit 0\n")),
        ("proc-receive", None),
    ] {
        let one = pushed.copy();
        let before = refs(&one);
        let place = one.hook(hook);
        let own = fs::read(&place).unwrap();
        match script {
            Some(script) => fs::write(&place, script).unwrap(),
            None => fs::remove_file(&place).unwrap(),
        }
        let said = one.push(&[]);
        assert_ne!(said.status, Some(0), "{hook} {script:?}: {said:?}");
        assert_eq!(refs(&one), before, "{hook} {script:?}");
        fs::write(&place, own).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        one.recovers(&said);
    }
    // Without the one that looks first, the one that publishes looks.
    let one = pushed.copy();
    fs::remove_file(one.hook("pre-receive")).unwrap();
    let head = one.world.git(&["rev-parse", "refs/heads/main"]).ok().out.trim().to_owned();
    let bad = Pushed { world: one.world.copy(), proposal: one.proposal.clone() };
    let said = said(
        bad.world
            .prepare("bob", "git")
            .arg("-C")
            .arg(bad.world.at("draft.git"))
            .arg("push")
            .arg(bad.world.at("reg.git"))
            .arg(format!("{head}:refs/incoming/demo/bob/{head}")),
    );
    assert_ne!(said.status, Some(0), "{said:?}");
    let said = one.push(&[]).ok();
    one.recovers(&said);
    // Without the last one nothing is missing: where the other two run, it has nothing to do.
    let one = pushed.copy();
    fs::remove_file(one.hook("post-receive")).unwrap();
    let said = one.push(&[]).ok();
    assert!(said.err.contains("quipu: published "), "{said:?}");
    one.recovers(&said);
    // Where a host has no proc-receive, the last one publishes.
    let one = pushed.copy().without_proc_receive();
    let said = one.push(&[]).ok();
    assert!(said.err.contains("quipu: published "), "{said:?}");
    one.recovers(&said);
}
