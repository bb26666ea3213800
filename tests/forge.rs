//! A forge without hooks, played by two bare repositories and `git daemon`: the workflow files of the front page are read as the forge would read
//! them, and their steps are run with the environment that they declare.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use support::daemon::Daemon;
use support::{Outcome, Person, World, clean, folders, git, run};

const DOMAIN: &str = "acme.example";
const KINDS: [Kind; 3] = [Kind::GitHub, Kind::GitLab, Kind::Forgejo];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    GitHub,
    GitLab,
    Forgejo,
}

/// A forge with one registry, whose operator is Alice, and a fork of it, which is everybody else's.
struct Forge {
    world: World,
    daemon: Daemon,
    kind: Kind,
    id: String,
    key: String,
}

impl Forge {
    fn new(kind: Kind, format: &str) -> Self {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "made.git", DOMAIN, format);
        // The job has a key of its own, which makes checkpoints and nothing else.
        alice.quipu(["key", "new", "ci"]).ok();
        alice.quipu(["registry", "operator", "allow", &world.at("made.git"), "ci", "--privilege", "checkpoint"]).ok();
        let key = fs::read_to_string(alice.home.join("keys/ci")).unwrap();
        for name in ["up.git", "fork.git"] {
            let init = ["init", "--quiet", "--bare", "--initial-branch=main"];
            git(&world.root(), init.into_iter().chain([&*format!("--object-format={format}"), name])).ok();
        }
        git(&world.path("made.git"), ["push", "--quiet", &world.at("up.git"), "refs/*:refs/*"]).ok();
        git(&world.path("up.git"), ["push", "--quiet", &world.at("fork.git"), "main"]).ok();
        let forge = Forge { daemon: Daemon::serve(&world.root()), world, kind, id, key };
        forge.program("quipu", None);
        // What the forge's own interface answers, and hears.
        let close = forge.world.at("closed");
        let (open, json) = (forge.world.at("open"), forge.world.at("open.json"));
        forge.program(
            "gh",
            Some(&format!("case \"$1 $2\" in 'pr list') cat {open};; 'pr close') echo \"$3\" >> {close};; *) exit 1;; esac")),
        );
        forge.program(
            "curl",
            Some(&format!(
                "for last; do :; done\ncase \"$*\" in *-X*) last=${{last%%\\?*}}; echo \"${{last##*/}}\" >> {close};; *) cat {json};; esac"
            )),
        );
        forge.opens(&[]);
        forge
    }

    fn program(&self, name: &str, script: Option<&str>) {
        let path = self.world.path("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match script {
            None => symlink(env!("CARGO_BIN_EXE_quipu"), path).unwrap(),
            Some(script) => {
                fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    fn up(&self) -> PathBuf {
        self.world.path("up.git")
    }

    fn fork_url(&self) -> String {
        self.daemon.url("fork.git")
    }

    /// Returns somebody with a key who trusts the registry and has the fork.
    fn person(&self, name: &str) -> Person {
        let person = self.world.person_with_key(name);
        person.trust(DOMAIN, &self.daemon.url("up.git"), &self.id);
        let config = person.home.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let with = text.replace("\nurl = ", &format!("\nfork = \"{}\"\nurl = ", self.fork_url()));
        assert_ne!(text, with);
        fs::write(config, with).unwrap();
        person
    }

    fn request_ref(&self, number: u32) -> String {
        match self.kind {
            Kind::GitLab => format!("refs/merge-requests/{number}/head"),
            _ => format!("refs/pull/{number}/head"),
        }
    }

    /// Does what the forge does when somebody opens a pull request from a branch of the fork.
    fn open(&self, number: u32, branch: &str) {
        let spec = format!("+refs/heads/{branch}:{}", self.request_ref(number));
        git(&self.up(), ["fetch", "--quiet", &self.world.at("fork.git"), &spec]).ok();
    }

    /// Says which pull requests are open.
    fn opens(&self, numbers: &[u32]) {
        let lines: String = numbers.iter().map(|number| format!("{number} {}\n", self.request_ref(*number))).collect();
        self.world.write("open", &lines);
        let all: Vec<Value> = numbers
            .iter()
            .map(|number| serde_json::json!({ "number": number, "iid": number, "base": { "ref": "main" } }))
            .collect();
        self.world.write("open.json", &Value::from(all).to_string());
    }

    fn closed(&self) -> String {
        fs::read_to_string(self.world.path("closed")).unwrap_or_default()
    }

    /// Does what the forge's button does.
    fn merge(&self, number: u32) {
        let work = self.world.path(&format!("merge-{number}"));
        git(&self.world.root(), ["clone", "--quiet", &self.world.at("up.git"), &work.display().to_string()]).ok();
        git(&work, ["fetch", "--quiet", "origin", &self.request_ref(number)]).ok();
        let who = ["-c", "user.name=alice", "-c", "user.email=alice@acme.example"];
        git(&work, who.into_iter().chain(["merge", "--quiet", "--no-edit", "--no-ff", "FETCH_HEAD"])).ok();
        git(&work, ["push", "--quiet", "origin", "HEAD:refs/heads/main"]).ok();
    }

    /// Opens a pull request that somebody wrote by hand.
    fn hostile(&self, number: u32, change: impl FnOnce(&Path)) {
        let work = self.world.path(&format!("hostile-{number}"));
        git(&self.world.root(), ["clone", "--quiet", &self.world.at("up.git"), &work.display().to_string()]).ok();
        change(&work);
        git(&work, ["add", "--all"]).ok();
        let who = ["-c", "user.name=mallory", "-c", "user.email=mallory@evil.example"];
        git(&work, who.into_iter().chain(["commit", "--quiet", "-m", "Hello"])).ok();
        git(&work, ["push", "--quiet", "origin", &format!("HEAD:{}", self.request_ref(number))]).ok();
    }

    /// Returns all references that the registry has on the forge, but for pull requests.
    fn references(&self) -> String {
        let all = git(&self.up(), ["for-each-ref", "--format=%(refname) %(objectname)"]).ok().stdout;
        all.lines().filter(|line| !line.contains("/head ")).map(|line| format!("{line}\n")).collect()
    }

    fn checkpoints(&self) -> usize {
        git(&self.up(), ["rev-list", "--count", "refs/registry/log"]).ok().stdout.trim().parse().unwrap()
    }

    /// Returns what the forge gives to the steps of its jobs, and what `${{ … }}` means.
    fn meaning(&self, number: u32) -> BTreeMap<String, String> {
        let server = self.daemon.url("");
        let server = server.trim_end_matches('/').to_owned();
        let pairs = match self.kind {
            Kind::GitLab => vec![
                ("CI_PROJECT_URL", format!("{server}/up")),
                ("CI_MERGE_REQUEST_PROJECT_URL", format!("{server}/up")),
                ("CI_MERGE_REQUEST_IID", number.to_string()),
                ("CI_SERVER_FQDN", server.clone()),
                ("CI_PROJECT_PATH", "up".into()),
                ("CI_PROJECT_ID", "1".into()),
                ("CI_API_V4_URL", format!("{server}/api")),
                ("OPERATOR_KEY", self.world.write("operator-key", &self.key).display().to_string()),
                ("PUSH_TOKEN", "t0ken".into()),
            ],
            _ => vec![
                ("github.server_url", server.clone()),
                ("github.api_url", format!("{server}/api")),
                ("github.repository", "up".into()),
                ("github.token", "t0ken".into()),
                ("github.event.pull_request.number", number.to_string()),
                ("secrets.OPERATOR_KEY", self.key.clone()),
            ],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Runs a job as the forge does, step by step. Only where to push is another URL: this forge knows no tokens.
    fn job(&self, name: &str, number: u32) -> Outcome {
        let folder = tempfile::tempdir_in(self.world.root()).unwrap();
        let show = |path: &str| git(&self.up(), ["show", &format!("main:{path}")]).ok().stdout;
        let meaning = self.meaning(number);
        let mut said = String::new();
        let mut steps: Vec<(Vec<(String, String)>, String)> = Vec::new();
        match self.kind {
            Kind::GitLab => {
                let file: Value = serde_saphyr::from_str(&show(".gitlab-ci.yml")).unwrap();
                let mut script = String::from("set -e\n");
                for place in [&file["variables"], &file[name]["variables"]] {
                    for (key, value) in place.as_object().into_iter().flatten() {
                        script += &format!("export {key}=\"{}\"\n", value.as_str().unwrap());
                    }
                }
                script += &format!("export PUSH_URL=\"{}\"\n", self.daemon.url("up.git"));
                let lines = file[name]["script"].as_array().unwrap().iter();
                script.extend(lines.map(|line| format!("{}\n", line.as_str().unwrap())));
                steps.push((meaning.into_iter().collect(), script));
            }
            _ => {
                let folder = if self.kind == Kind::GitHub { ".github" } else { ".forgejo" };
                let file: Value = serde_saphyr::from_str(&show(&format!("{folder}/workflows/{name}.yml"))).unwrap();
                let job = &file["jobs"][name];
                let fill = |text: &Value| {
                    let mut text = text.as_str().unwrap().to_owned();
                    for (word, value) in &meaning {
                        text = text.replace(&format!("${{{{ {word} }}}}"), value);
                    }
                    assert!(!text.contains("${{"), "{text}");
                    text
                };
                for step in job["steps"].as_array().unwrap() {
                    assert!(step.get("uses").is_none(), "nothing of others is run");
                    // What a stranger writes does not get into a script by way of an expression.
                    assert!(!step["run"].as_str().unwrap().contains("${{"), "{step}");
                    let mut env = Vec::new();
                    for (key, value) in
                        [&job["env"], &step["env"]].into_iter().flat_map(|env| env.as_object().into_iter().flatten())
                    {
                        env.push((key.clone(), fill(value)));
                    }
                    env.push(("PUSH_URL".into(), self.daemon.url("up.git")));
                    steps.push((env, step["run"].as_str().unwrap().to_owned()));
                }
            }
        }
        let mut status = 0;
        for (env, script) in steps {
            let mut command = self.shell(folder.path());
            let done = run(command.envs(env).arg(script));
            said += &format!("{}{}", done.stdout, done.stderr);
            status = done.status;
            if status != 0 {
                break;
            }
        }
        assert!(!said.contains("t0ken"), "{said}");
        Outcome { command: format!("{:?} {name}", self.kind), status, stdout: said, stderr: String::new() }
    }

    /// Returns a shell as a runner has it, with an empty home.
    fn shell(&self, folder: &Path) -> std::process::Command {
        let mut command = clean("bash", folder);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.world.path("bin").display())).current_dir(folder).args(["-e", "-c"]);
        command
    }

    /// Lets somebody propose, and opens the pull request.
    fn proposed(&self, number: u32, person: &Person, args: &[&str]) -> Value {
        let answer = person.asks(args);
        assert_eq!(answer["state"], "proposed", "{answer}");
        self.open(number, answer["request"]["branch"].as_str().unwrap());
        answer
    }
}

#[test]
fn a_stranger_proposes_by_pull_request_and_it_is_published() {
    for (kind, format) in KINDS.into_iter().zip(["sha1", "sha256", "sha1"]) {
        let forge = Forge::new(kind, format);
        let (bob, carol) = (forge.person("bob"), forge.person("carol"));
        let world = &forge.world;

        // Without a fork it is said what is missing; a dry run pushes nothing.
        let hello = world.package("hello", "demo:hello", "1.0.0");
        let dry = bob.asks(["publish", &hello, "--propose", "--dry-run"]);
        assert_eq!((&dry["state"], dry.get("request")), (&"dry-run".into(), None));
        assert!(!git(&world.path("fork.git"), ["for-each-ref"]).ok().stdout.contains("quipu"));

        // The diff of the pull request is one file.
        let proposed = forge.proposed(1, &bob, &["publish", &hello, "--fork", &forge.fork_url()]);
        let diff = git(&forge.up(), ["diff", "--name-status", &format!("main...{}", forge.request_ref(1))]).ok().stdout;
        assert_eq!(diff, format!("A\t{}\n", proposed["request"]["file"].as_str().unwrap()));
        let judged = forge.job("verify", 1).ok();
        assert!(judged.stdout.contains("holds ") && judged.stdout.contains("the name demo:hello is new"), "{}", judged.stdout);

        // A new name waits for a person.
        forge.opens(&[1]);
        let before = forge.references();
        let held = forge.job("accept", 0).ok();
        assert!(held.stdout.contains("\"state\":\"held\""), "{}", held.stdout);
        assert_eq!((forge.references(), forge.closed()), (before, String::new()));
        carol.quipu(["get", "demo:hello", "--json"]).fails(3, "not-found");

        forge.merge(1);
        forge.opens(&[]);
        let accepted = forge.job("accept", 0).ok();
        assert!(accepted.stdout.contains("\"state\":\"accepted\""), "{}", accepted.stdout);
        assert_eq!(git(&forge.up(), ["ls-tree", "main", "proposals/"]).ok().stdout, "");
        carol.asks(["get", "demo:hello", "--to", &world.at("got/1")]);
        folders::assert_same(&world.path("got/1"), &world.path("hello"));

        // Who has the package already waits for nobody.
        let hello = world.package("hello", "demo:hello", "1.1.0");
        forge.proposed(2, &bob, &["publish", &hello, "--propose"]);
        forge.job("verify", 2).ok();
        forge.opens(&[2]);
        forge.job("accept", 0).ok();
        assert_eq!(forge.closed(), "2\n");
        carol.asks(["get", "demo:hello", "--to", &world.at("got/2")]);
        folders::assert_same(&world.path("got/2"), &world.path("hello"));
        forge.proposed(3, &bob, &["yank", "demo:hello@1.1.0", "--propose"]);
        forge.proposed(4, &bob, &["owner", "allow", "demo:hello", &carol.public_key(), "--propose", "--yes"]);
        // Both stand on the same record: one is first, and the other is refused, and stays open.
        forge.opens(&[3, 4]);
        let said = forge.job("accept", 0).ok().stdout;
        assert!(said.contains("\"conflict\""), "{said}");
        assert!(["2\n3\n", "2\n4\n"].contains(&&*forge.closed()), "{}", forge.closed());
        assert_eq!(forge.checkpoints(), 5);

        // Nothing new: nothing happens.
        let before = forge.references();
        forge.job("accept", 0).ok();
        assert_eq!(forge.references(), before);
        let audited = forge.job("audit", 0).ok();
        assert!(audited.stdout.contains("verified: acme.example") && audited.stdout.contains("clean: acme.example"));
        git(&forge.up(), ["fsck", "--strict", "--no-dangling"]).ok();
    }
}

#[test]
fn a_fork_of_another_registrys_package_is_proposed_with_the_history_behind_it() {
    let forge = Forge::new(Kind::GitHub, "sha1");
    let bob = forge.person("bob");
    let world = &forge.world;
    let dave = world.person_with_key("dave");
    let id = world.registry(&dave, "other.git", "other.example", "sha1");
    dave.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    bob.trust("other.example", &forge.daemon.url("other.git"), &id);
    let name = format!("{DOMAIN}/bob:hello");
    bob.quipu(["fork", "other.example/demo:hello", &name, "--dir", &world.at("mine")]).ok();
    forge.proposed(1, &bob, &["publish", &world.at("mine"), "--propose"]);
    forge.job("verify", 1).ok();
    forge.merge(1);
    forge.opens(&[]);
    forge.job("accept", 0).ok();
    let log = git(&forge.up(), ["log", "--format=%s", "refs/packages/bob/hello"]).ok().stdout;
    let all = "release bob:hello 1.0.0\ninit bob:hello from other.example/demo:hello@1.0.0\nrelease demo:hello 1.0.0\ninit demo:hello\n";
    assert_eq!(log, all);
    let carol = forge.person("carol");
    assert_eq!(carol.asks(["info", &name])["origin"]["linked"], true);
}

#[test]
fn what_is_hostile_is_refused_with_its_code_and_nothing_of_it_is_run() {
    let forge = Forge::new(Kind::GitHub, "sha1");
    let (bob, mallory) = (forge.person("bob"), forge.person("mallory"));
    let world = &forge.world;
    let taken = forge.proposed(90, &mallory, &["publish", &world.package("evil", "demo:hello", "9.0.0"), "--propose"]);
    let proposed = forge.proposed(1, &bob, &["publish", &world.package("hello", "demo:hello", "1.0.0"), "--propose"]);
    forge.merge(1);
    forge.job("accept", 0).ok();
    let text = |answer: &Value, number| {
        let name = format!("{}:{}", forge.request_ref(number), answer["request"]["file"].as_str().unwrap());
        git(&forge.up(), ["show", &name]).ok().stdout
    };
    // Another's name.
    let said = forge.job("verify", 90);
    assert!(said.status != 0 && said.stdout.contains("[name-taken]"), "{}", said.stdout);

    let good = text(&proposed, 1);
    let file = proposed["request"]["file"].as_str().unwrap().to_owned();
    let id = proposed["proposal"].as_str().unwrap();
    let fork = forge.fork_url();
    let main = git(&world.path("fork.git"), ["rev-parse", "main"]).ok().stdout.trim().to_owned();
    let nowhere = "0123456789".repeat(4);
    let marker = world.at("marker");
    let zeros = format!("sha256:{}", "0".repeat(64));
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replace(from, to)
    };
    let cases: Vec<(String, String, &str)> = vec![
        (file.clone(), "garbage\n".into(), "not-canonical"),
        (file.clone(), String::new(), "not-canonical"),
        (file.replace(id, &nowhere), good.clone(), "bad-proposal"),
        (file.replace("hello", "world"), good.clone(), "bad-proposal"),
        (file.clone(), swap(DOMAIN, "other.example"), "wrong-registry"),
        (file.clone(), swap(&forge.id, &zeros), "id-mismatch"),
        (file.clone(), swap(&fork, &world.at("fork.git")), "bad-url"),
        (file.clone(), swap(&fork, &format!("file://{}", world.at("fork.git"))), "bad-url"),
        (file.clone(), swap(&fork, "http://127.0.0.1:9/fork.git"), "bad-url"),
        (file.clone(), swap(&fork, &format!("ext::sh$IFS-c$IFS'touch$IFS{marker}'")), "bad-url"),
        (file.clone(), swap(&fork, "ssh://-oProxyCommand=evil/r"), "bad-url"),
        (file.clone(), swap(&fork, "https://bob:secret@forge.example/r"), "bad-url"),
        (file.clone(), swap(&fork, &forge.daemon.url("none.git")), "not-found"),
        (file.replace(id, &nowhere), swap(id, &nowhere), "ref-missing"),
        (file.replace(id, &main), swap(id, &main), "not-canonical"),
    ];
    let before = forge.references();
    let mut numbers = vec![90];
    for (number, (path, text, code)) in (10..).zip(cases) {
        forge.hostile(number, |work| {
            let path = work.join(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &text).unwrap();
        });
        let said = forge.job("verify", number);
        assert!(said.status != 0 && said.stdout.contains(&format!("[{code}]")), "{code}: {text}{}", said.stdout);
        numbers.push(number);
    }
    // Who signed is said as it is.
    let lied = forge.proposed(2, &bob, &["publish", &world.package("hello", "demo:hello", "1.1.0"), "--propose"]);
    let lie = text(&lied, 2).replace("signer = \"bob\"", "signer = \"alice\"");
    let script = format!("#!/bin/sh\ntouch {marker}\n");
    let lied_path = lied["request"]["file"].as_str().unwrap().to_owned();
    let put = |work: &Path, path: &str, text: &str| {
        let path = work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    forge.hostile(60, |work| put(work, &lied_path, &lie));
    forge.hostile(66, |work| put(work, &lied_path, &text(&lied, 2)));
    assert!(forge.job("verify", 60).stdout.contains("[bad-proposal]"));
    // What is no proposal file, or comes with something else, is not even looked at.
    forge.hostile(61, |work| {
        put(work, &lied_path, &text(&lied, 2));
        put(work, "ci/verify.sh", &script);
        put(work, "ci/lib.sh", &script);
        put(work, "ci/accept.sh", &script);
    });
    forge.hostile(62, |work| put(work, "proposals/demo/hello/a b\n.toml", "x"));
    forge.hostile(63, |work| put(work, &lied_path, &"#".repeat(9000)));
    forge.hostile(64, |work| {
        fs::create_dir_all(work.join("proposals/demo/hello")).unwrap();
        symlink("/etc/passwd", work.join(&lied_path)).unwrap();
    });
    forge.hostile(67, |work| (0..11).for_each(|n| put(work, &format!("proposals/demo/hello/{n:040}.toml"), "x")));
    assert!(forge.job("verify", 67).stdout.contains("at most ten"));
    for number in 61..65 {
        let said = forge.job("verify", number);
        assert!(
            said.status != 0 && !said.stdout.contains("holds") && !said.stdout.contains("root:"),
            "{number}: {}",
            said.stdout
        );
    }
    // A change of the front page alone is none of the registry's business.
    forge.hostile(65, |work| put(work, "README.md", "# Hello\n"));
    assert!(forge.job("verify", 65).ok().stdout.contains("no proposal in"));

    // An acceptor says the same, and publishes nothing.
    numbers.extend((60..66).chain([67]));
    forge.opens(&numbers);
    let said = forge.job("accept", 0).ok().stdout;
    for code in ["name-taken", "bad-url", "ref-missing", "wrong-registry", "id-mismatch", "bad-proposal"] {
        assert!(said.contains(&format!("\"code\":\"{code}\"")), "{code}: {said}");
    }
    assert_eq!((forge.references(), forge.closed()), (before, String::new()));
    assert!(!Path::new(&marker).exists());
    // The one that is well goes through among them, named once or twice.
    numbers.extend([66, 2]);
    forge.opens(&numbers);
    forge.job("accept", 0).ok();
    assert_eq!(forge.closed(), "66\n2\n");
    assert_eq!(bob.asks(["info", "demo:hello"])["version"], "1.1.0");
    assert_eq!(taken["state"], "proposed");
}

/// A registry with packages of two people, and a new release of each in a pull request.
fn two_proposals() -> Forge {
    let forge = Forge::new(Kind::GitHub, "sha1");
    let (bob, carol) = (forge.person("bob"), forge.person("carol"));
    for (number, person, name) in [(1, &bob, "bob:one"), (2, &carol, "carol:two")] {
        forge.proposed(number, person, &["publish", &forge.world.package(&person.name, name, "1.0.0"), "--propose"]);
        forge.merge(number);
    }
    forge.job("accept", 0).ok();
    for (number, person, name) in [(3, &bob, "bob:one"), (4, &carol, "carol:two")] {
        forge.proposed(number, person, &["publish", &forge.world.package(&person.name, name, "2.0.0"), "--propose"]);
    }
    forge
}

fn assert_both_are_in(forge: &Forge) {
    let dave = forge.person("dave");
    for name in ["bob:one", "carol:two"] {
        assert_eq!(dave.asks(["info", name])["version"], "2.0.0");
    }
    forge.job("audit", 0).ok();
}

#[test]
fn two_acceptors_at_once_publish_everything_once() {
    let forge = two_proposals();
    let before = forge.checkpoints();
    std::thread::scope(|scope| {
        let script = |number: u32| {
            let forge = &forge;
            move || {
                let folder = tempfile::tempdir_in(forge.world.root()).unwrap();
                let url = forge.daemon.url("up.git");
                let script = format!(
                    "git clone --quiet --depth=1 --branch=main \"$REGISTRY_URL\" front\necho '{number} {}' > open\nfront/ci/accept.sh open",
                    forge.request_ref(number)
                );
                let mut shell = forge.shell(folder.path());
                run(shell.env("REGISTRY_URL", url).env("OPERATOR_KEY", &forge.key).arg(script))
            }
        };
        let both = [scope.spawn(script(3)), scope.spawn(script(4))];
        for one in both {
            one.join().unwrap().ok();
        }
    });
    assert_eq!(forge.checkpoints(), before + 2);
    assert_both_are_in(&forge);
}

#[test]
fn a_push_that_is_lost_to_another_is_judged_again() {
    let forge = two_proposals();
    let before = forge.checkpoints();
    // While the first push arrives, somebody else publishes.
    let other = forge.world.at("other");
    let clone = forge.world.path("clone.git");
    git(&forge.world.root(), ["init", "--quiet", "--bare", "clone.git"]).ok();
    git(&clone, ["fetch", "--quiet", &forge.daemon.url("up.git"), "+refs/registry/*:refs/registry/*"]).ok();
    let extracted = |number: u32| {
        let name = git(&forge.up(), ["diff", "--name-only", &format!("main...{}", forge.request_ref(number))]).ok().stdout;
        let text = git(&forge.up(), ["show", &format!("{}:{}", forge.request_ref(number), name.trim())]).ok().stdout;
        forge.world.write(&format!("from-{number}/{}", name.trim()), &text).display().to_string()
    };
    let (first, second) = (extracted(3), extracted(4));
    let alice = forge.world.person("alice");
    let url = forge.daemon.url("up.git");
    let accept = |clone: &str, file: &str, key: &str| format!("registry accept {clone} --push {url} --from {file} --key {key}");
    let key = alice.home.join("keys/ci").display().to_string();
    let hook = forge.up().join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let program = env!("CARGO_BIN_EXE_quipu");
    let script = format!(
        "#!/bin/sh\n[ -e {other} ] && exit 0\ntouch {other}\nexec env -i PATH=\"$PATH\" HOME={0} QUIPU_HOME={0} {program} {1} >&2\n",
        alice.home.display(),
        accept(&clone.display().to_string(), &first, &key)
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();

    git(&forge.world.root(), ["init", "--quiet", "--bare", "mine.git"]).ok();
    let mine = forge.world.path("mine.git");
    git(&mine, ["fetch", "--quiet", &url, "+refs/registry/*:refs/registry/*"]).ok();
    let line = accept(&mine.display().to_string(), &second, &key);
    let answer = alice.asks(line.split(' '));
    assert!(Path::new(&other).exists());
    assert_eq!(answer["checkpoint"]["seq"].as_u64(), Some(before as u64 + 1), "{answer}");
    assert_eq!(forge.checkpoints(), before + 2);
    assert_both_are_in(&forge);

    // A clone that has what the registry has not is nobody's to publish from.
    let reset = git(&forge.up(), ["rev-parse", "refs/registry/log^"]).ok().stdout;
    git(&forge.up(), ["update-ref", "refs/registry/log", reset.trim()]).ok();
    let line = format!("{line} --json");
    let why = alice.quipu(line.split(' ')).fails(8, "conflict");
    assert!(why.contains("which the registry there does not have"), "{why}");
}

#[test]
fn a_host_that_says_no_is_quoted() {
    let forge = two_proposals();
    let hook = forge.up().join("hooks/update");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho 'protected branch' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let before = forge.references();
    forge.opens(&[3]);
    let said = forge.job("accept", 0);
    assert!(
        said.status != 0 && said.stdout.contains("\"refused\"") && said.stdout.contains("protected branch"),
        "{}",
        said.stdout
    );
    assert_eq!(forge.references(), before);
}

#[test]
fn a_fork_that_takes_branches_alone_gets_branches() {
    let forge = Forge::new(Kind::GitHub, "sha1");
    let bob = forge.person("bob");
    let hook = forge.world.path("fork.git/hooks/update");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ncase $1 in refs/heads/*) exit 0;; esac\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    forge.proposed(1, &bob, &["publish", &forge.world.package("hello", "demo:hello", "1.0.0"), "--propose"]);
    forge.job("verify", 1).ok();
    // A person in a hurry says it twice: the same second makes the same, another second another.
    bob.asks(["publish", &forge.world.at("hello"), "--propose", "--yes"]);
}

#[test]
fn who_has_no_fork_or_one_that_nobody_can_fetch_is_told() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    world.registry(&alice, "reg.git", DOMAIN, "sha1");
    let hello = world.package("hello", "demo:hello", "1.0.0");
    let why = alice.quipu(["publish", &hello, "--propose", "--json"]).fails(2, "usage");
    assert!(why.contains("fork = \"URL\"") && why.contains("--fork URL"), "{why}");
    git(&world.root(), ["init", "--quiet", "--bare", "fork.git"]).ok();
    alice.quipu(["publish", &hello, "--fork", &world.at("fork.git"), "--json"]).fails(2, "bad-url");
    assert_eq!(git(&world.path("fork.git"), ["for-each-ref"]).ok().stdout, "");
}

#[test]
fn the_documented_proposal_file_is_one() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let after = text.split("### Proposal file").nth(1).unwrap();
    let sample = after.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = quipu::model::proposal::ProposalFile::parse(sample.as_bytes()).unwrap();
    assert_eq!(file.to_text(), sample);
}

#[test]
fn what_the_front_page_is_made_of_is_the_template() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let id = world.registry(&alice, "reg.git", DOMAIN, "sha1");
    let listed = git(&world.path("reg.git"), ["ls-tree", "-r", "main"]).ok().stdout;
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("index-template");
    let mut expected = vec!["allowed_signers".to_owned()];
    for entry in walkdir::WalkDir::new(&template).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file()) {
        let path = entry.path().strip_prefix(&template).unwrap().display().to_string();
        let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        let mode = if executable { "100755" } else { "100644" };
        let line = listed.lines().find(|line| line.ends_with(&format!("\t{path}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{path}: {line:?}");
        expected.push(path);
    }
    assert_eq!(listed.lines().count(), expected.len());
    for path in expected.iter().filter(|path| path.ends_with(".md") || path.ends_with(".toml")) {
        let text = git(&world.path("reg.git"), ["show", &format!("main:{path}")]).ok().stdout;
        for word in ["{domain}", "{id}", "{format}", "{version}"] {
            assert!(!text.contains(word), "{path} has {word}");
        }
    }
    let readme = git(&world.path("reg.git"), ["show", "main:README.md"]).ok().stdout;
    assert!(readme.contains(&format!("quipu trust add {DOMAIN} URL --id {id}")), "{readme}");
}
