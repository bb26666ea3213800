//! What `--json` prints is what `docs/json` says.

// A test may panic wherever it stands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Home(tempfile::TempDir);

impl Home {
    /// Runs a command and checks its object against the schema of its name.
    fn run(&self, line: &str) -> Value {
        self.run_in("", line)
    }

    fn run_in(&self, folder: &str, line: &str) -> Value {
        let args: Vec<&str> = line.split(' ').collect();
        let output = Command::new(env!("CARGO_BIN_EXE_quipu"))
            .args(&args)
            .arg("--json")
            .current_dir(self.0.path().join(folder))
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("USER", "alice")
            .env("QUIPU_HOME", self.0.path().join("quipu"))
            .output()
            .expect("quipu runs");
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        assert_eq!(text.lines().count(), 1, "{line}: one object: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with("{\"quipu\":1,\"command\":\""), "{line}: {text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let path = schemas().join(format!("{}.json", args[0]));
        let schema: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a schema")).expect("a schema is JSON");
        let validator = jsonschema::validator_for(&schema).expect("a valid schema");
        if let Err(why) = validator.validate(&value) {
            panic!("{line}: {why}\n{value:#}");
        }
        // 1 is an answer: no.
        assert_eq!(value.get("error").is_some(), !matches!(output.status.code(), Some(0 | 1)), "{line}: {value:#}");
        value
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, text).expect("the file is written");
    }
}

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json")
}

#[test]
fn every_answer_has_the_documented_shape() {
    let home = Home(tempfile::tempdir().expect("a folder"));
    home.run("info a:b");
    home.run("key show");
    home.run("key new alice");
    home.run("key new alice");
    home.run("key list");
    home.run("key show");
    home.run("key show alice --allowed-signers");
    home.run("publish nowhere");
    let made = home.run("registry init reg.git --name acme.example --object-format sha256");
    home.run("registry hooks reg.git");
    home.run("registry init reg.git --name acme.example");
    home.run("new hello --name demo:hello");
    home.run("new hello --name demo:hello");
    home.run("publish hello --dry-run");
    let published = home.run("publish hello");
    assert_eq!(published["state"], "published");
    home.run("publish hello");
    home.run("key new bob");
    home.run("owner allow demo:hello bob --privilege release");
    home.run("owner list demo:hello");
    home.run("owner list demo:hello --allowed-signers");
    home.run("owner deny demo:hello bob");
    home.run("owner deny demo:hello carol");
    home.write(
        "world/quipu.toml",
        "[package]\nname = \"demo:world\"\nversion = \"1.0.0-rc.1\"\ndescription = \"d\"\nlicense = \"MIT\"\nlinks = [\"https://example\"]\nbuild = \"b\"\n[dependencies]\n\"demo:hello\" = \"^0.1\"\n",
    );
    home.run("publish world --key bob");
    home.run("yank demo:hello@0.1.0 --reason why");
    home.run("yank demo:hello@0.1.0");
    home.run("yank demo:hello");
    home.run("info demo:hello@0.1.0");
    home.run("info demo:world");
    home.run("info");
    home.run("info acme.example");
    home.run("unyank demo:hello@0.1.0");
    home.run("log demo:hello");
    home.run("log demo:nothing");
    home.run("search");
    assert_eq!(home.run("search hello")["complete"], true);
    assert_eq!(home.run("search nothing")["matches"], 0);
    home.run("search foo_:");
    home.run("diff demo:hello");
    assert_eq!(home.run("diff demo:world ./world")["same"], true);
    assert_eq!(home.run("diff demo:hello demo:world --patch")["same"], false);
    home.run("get demo:hello");
    home.run("get demo:hello");
    home.run("fork demo:hello mine:hello --dry-run");
    home.run("fork demo:hello mine:hello --dir mine");
    assert_eq!(home.run("fork --sync mine")["state"], "up-to-date");
    home.run("fork --sync hello");
    home.run("publish mine");
    assert_eq!(home.run("info mine:hello")["origin"]["status"], "proven");
    home.run("get demo:hello --dry-run --to elsewhere");
    home.write("app/quipu.toml", "[dependencies]\n");
    for line in
        ["install", "install --locked", "add demo:hello", "add demo:nothing", "update", "vendor third-party", "remove demo:hello"]
    {
        home.run_in("app", line);
    }
    home.run("install");
    home.run("add");
    home.run("remove a:b");
    home.run("update a:b");
    home.run("vendor");
    home.run("verify demo:hello");
    home.run("verify demo:hello@0.1.0 --logs-only");
    home.run("verify ./reg.git");
    home.run("verify acme.example");
    home.run("verify ./hello");
    home.run("registry init public.git --name public.example");
    home.run("promote acme.example/demo:hello --to public.example --dry-run");
    let promoted = home.run("promote acme.example/demo:hello --to public.example");
    assert_eq!((&promoted["state"], &promoted["same-key"]), (&"published".into(), &true.into()));
    home.run("promote acme.example/demo:hello --to public.example");
    assert_eq!(home.run("promote acme.example/demo:hello --prove public.example/demo:hello")["proven"], true);
    assert_eq!(home.run("promote acme.example/demo:world@1.0.0-rc.1 --prove public.example/demo:hello")["proven"], false);
    home.run("promote acme.example/demo:world@1.0.0-rc.1 --to public.example");
    home.run("promote acme.example/demo:hello");
    assert_eq!(home.run("info public.example/demo:hello")["origin"]["status"], "proven");
    home.run("registry takedown reg.git demo:world@1.0.0-rc.1 --reason why --dry-run");
    home.run("registry takedown reg.git demo:world@1.0.0-rc.1 --reason why --class malware");
    home.run("registry takedown reg.git demo:world@1.0.0-rc.1 --reason why");
    home.run("registry restore reg.git demo:world@1.0.0-rc.1 --reason because");
    assert_eq!(home.run("rename demo:world demo:globe --key bob")["granted"], true);
    home.run("rename demo:world demo:other --key bob --dry-run");
    home.run("rename demo:world");
    home.run("rename demo:nothing demo:something");
    for line in [
        "get demo:world --to globe",
        "info demo:world",
        "log demo:world",
        "owner list demo:world",
        "verify demo:world",
        "diff demo:world ./world",
    ] {
        assert_eq!(home.run(line)["renamed-to"], "acme.example/demo:globe", "{line}");
    }
    home.run("registry rename reg.git demo:world");
    home.run("rename demo:globe demo:world --key bob");
    home.run("registry reset reg.git demo:globe --reason why --dry-run");
    home.run("registry reset reg.git demo:world");
    let reset = home.run("registry reset reg.git demo:world --reason why");
    for line in ["get", "info", "log", "owner list", "verify"] {
        let found = home.run(&format!("{line} demo:world#{}", reset["old"].as_str().unwrap_or_default()));
        assert_eq!(found["put-aside"]["reason"], "why", "{line}");
    }
    home.run("info demo:world");
    home.run(&format!("info demo:world#{}", reset["new"].as_str().unwrap_or_default()));
    assert_eq!(home.run("compare acme.example ./reg.git")["relation"], "same");
    assert_eq!(home.run("compare acme.example@1")["relation"], "behind");
    home.run("compare acme.example");
    home.run("registry init other.git --name other.example --object-format sha256");
    home.run("mirror list --in other.git");
    home.run("mirror sync --in other.git");
    home.run("mirror add acme.example ./reg.git --only demo:hello --in other.git --dry-run");
    let added = home.run("mirror add acme.example ./reg.git --only demo:hello --in other.git");
    assert_eq!(added["mirrors"][0]["packages"], 1);
    home.run("mirror add nowhere.example --in other.git");
    home.run("mirror list --in other.git");
    home.run("mirror sync --in other.git");
    home.run("mirror sync --in other.git --dry-run");
    home.run("mirror sync nowhere.example --in other.git");
    home.run("mirror remove acme.example --in other.git --dry-run");
    home.run("mirror remove acme.example --in other.git");
    home.run("mirror remove acme.example --in other.git");
    home.run("mirror add acme.example ./nowhere --in other.git");
    home.run("bundle create all.bundle --of acme.example --dry-run");
    let written = home.run("bundle create all.bundle --of acme.example");
    home.run("bundle create more.bundle --of acme.example --since 0");
    home.run(&format!("bundle create none.bundle --of acme.example --since {}", written["checkpoint"]["seq"]));
    home.run("bundle create none.bundle --of nowhere.example");
    home.run("bundle import all.bundle --in other.git --dry-run");
    home.run("bundle import all.bundle --in other.git");
    home.run("bundle import all.bundle --in other.git");
    home.run("bundle import nowhere.bundle --in other.git");
    home.run("registry init forked.git --name forked.example --from ./reg.git");
    home.run("registry accept reg.git");
    home.run("registry accept reg.git --dry-run");
    home.write("proposals/demo/hello/x.toml", "format = 1\n");
    home.run("registry check reg.git proposals/demo/hello/x.toml");
    home.run("registry accept reg.git --from proposals/demo/hello/x.toml nowhere.toml");
    home.run("registry accept reg.git --push ./reg.git");
    home.run("registry operator allow reg.git bob --privilege checkpoint,register --namespace demo");
    home.run("registry operator list reg.git");
    home.run("registry operator deny reg.git bob");
    home.run("registry operator deny reg.git alice");
    home.write("packages/demo/imported/1.0.0/text", "one\n");
    home.write("packages/demo/hello/0.1.0/text", "other\n");
    home.write("packages/demo/Shouted/v1.0.0/text", "two\n");
    home.write("packages/demo/imported/latest/text", "three\n");
    home.run("registry import reg.git --from packages --dry-run");
    let imported = home.run("registry import reg.git --from packages");
    assert_eq!(imported["refused"][0]["state"], "conflict");
    home.run("registry import reg.git --from nowhere");
    home.run("registry import reg.git --synthetic 5");
    home.run("registry fsck reg.git");
    assert_eq!(home.run("registry gc reg.git --auto")["done"], "nothing");
    assert_eq!(home.run("registry gc reg.git --quick --dry-run")["done"], "nothing");
    assert_eq!(home.run("registry gc reg.git --quick")["done"], "quick");
    assert_eq!(home.run("registry gc reg.git")["done"], "full");
    home.run("registry well-known reg.git https://acme.example/reg.git");
    home.run("registry well-known reg.git http://acme.example/reg.git");
    home.run("trust add nowhere.invalid");
    home.run("trust list");
    home.run("trust show acme.example");
    home.run("trust show other.example");
    home.run(&format!("trust add acme.example ./reg.git --id {}", made["id"].as_str().unwrap_or_default()));
    home.run("trust add acme.example ./reg.git");
    home.run("trust add other.example ./reg.git");
    home.run("trust add other.example /nowhere");
    home.run("search hello");
    home.run("trust remove other.example");
    home.run("trust remove acme.example");
    home.run("trust add acme.example ./reg.git");
    home.run("cache list");
    home.run("cache prune --dry-run");
    home.run("cache prune --all");
    home.run("cache prune nowhere.example");
    home.run("completion bash");
    home.run("completion tcsh");
    home.run("man");
    home.run("man nothing");
    home.run("man --dir man1");
    home.run("tour tour");
    home.run("tour tour");
    home.run("get");
    home.run("get a:b --nonsense");

    // A damaged registry, seen by both commands that look at all of it.
    let git = |args: &[&str]| {
        let status = Command::new("git").arg("-C").arg(home.0.path().join("reg.git")).args(args).status();
        assert!(status.is_ok_and(|status| status.success()), "git {args:?}");
    };
    git(&["update-ref", "-d", "refs/packages/demo/world"]);
    assert_eq!(home.run("verify ./reg.git")["faults"][0]["code"], "ref-missing");
    assert_eq!(home.run("registry fsck reg.git")["clean"], false);
}

#[test]
fn every_command_has_a_schema() {
    let help = Command::new(env!("CARGO_BIN_EXE_quipu")).arg("--help").output().expect("quipu runs");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What is said of a command may go on in a further line, which is indented.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 10, "{help}");
    // A hook speaks to git.
    for command in commands.into_iter().filter(|command| *command != "hook") {
        assert!(schemas().join(format!("{command}.json")).exists(), "{command} has no schema");
    }
}
