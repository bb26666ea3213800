//! Keys that people have already: with a passphrase, in an agent, in git's configuration; and OpenSSH as a second opinion on quipu's own.

// A test may panic wherever it stands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use support::World;
use support::agent::Agent;

fn ssh_keygen(args: &[&str]) -> String {
    let output = Command::new("ssh-keygen").args(args).output().expect("ssh-keygen runs");
    assert!(output.status.success(), "ssh-keygen {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_key_in_an_agent_signs_whole_logs_that_git_calls_good() {
    let world = World::new();
    let key = world.at("enc");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "secret", "-C", "Carol@host", "-f", &key]);
    let agent = Agent::start(&world);
    let carol = world.person("carol").with("SSH_AUTH_SOCK", &agent.socket).with("QUIPU_KEY", &key);

    // Without the passphrase nothing is made.
    let refused = carol.quipu(["registry", "init", &world.at("reg.git"), "--name", "acme.example", "--json"]);
    refused.fails(7, "git");
    assert!(!world.path("reg.git").exists());

    agent.load(&world, &key);
    carol.quipu(["registry", "init", &world.at("reg.git"), "--name", "acme.example"]).ok();
    // The public half is enough where the agent has the rest.
    let carol = carol.with("QUIPU_KEY", format!("{key}.pub"));
    carol.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
    carol.quipu(["verify", "./reg.git"]).ok();
    let line = carol.quipu(["key", "show", "--allowed-signers"]).ok().stdout;
    let signers = world.write("allowed_signers", &line);
    for name in ["refs/registry/log", "refs/registry/operators", "refs/packages/demo/hello"] {
        let output = Command::new("git")
            .args(["-c", &format!("gpg.ssh.allowedSignersFile={}", signers.display()), "verify-commit", name])
            .current_dir(world.path("reg.git"))
            .output()
            .expect("git runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_key_that_git_signs_with_and_the_one_that_ssh_takes_just_work() {
    let world = World::new();
    let carol = world.person("carol");
    carol.quipu(["key", "show", "--json"]).fails(2, "no-key");
    let ssh = carol.home.join(".ssh");
    std::fs::create_dir_all(&ssh).expect("the folder is made");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "carol@host", "-f", &ssh.join("id_ed25519").display().to_string()]);
    let of_ssh = carol.quipu(["key", "show", "--json"]).ok().json();
    assert_eq!(of_ssh["name"], "carol");

    let of_git = carol.home.join("signing");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "work", "-f", &of_git.display().to_string()]);
    let config = |format: &str| {
        let text = format!("[gpg]\n\tformat = {format}\n[user]\n\tsigningkey = ~/signing\n");
        std::fs::write(carol.home.join(".gitconfig"), text).expect("the file is written");
    };
    config("ssh");
    assert_eq!(carol.quipu(["key", "show", "--json"]).ok().json()["name"], "work");
    // A name of an OpenPGP key is no file, and none of ours.
    config("openpgp");
    assert_eq!(carol.quipu(["key", "show", "--json"]).ok().json(), of_ssh);
}

#[test]
fn openssh_reads_what_key_new_wrote() {
    let world = World::new();
    let alice = world.person_with_key("alice");
    let shown = alice.quipu(["key", "show", "--json"]).ok().json();
    let file = shown["file"].as_str().expect("a file");
    assert_eq!(std::fs::metadata(file).expect("the key").permissions().mode() & 0o777, 0o600);
    assert_eq!(ssh_keygen(&["-y", "-f", file]).trim(), format!("{} alice", shown["public-key"].as_str().expect("a key")));
    assert!(ssh_keygen(&["-l", "-f", file]).contains(shown["fingerprint"].as_str().expect("a fingerprint")));
}

#[test]
fn a_key_of_another_kind_is_named_and_refused() {
    let world = World::new();
    let alice = world.person("alice");
    for (kind, word) in [("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256")] {
        let key = world.at(kind);
        ssh_keygen(&["-q", "-t", kind, "-N", "", "-f", &key]);
        let refused = alice.quipu(["--key", &key, "key", "show", "--json"]);
        refused.fails(4, "bad-key");
        assert!(refused.stdout.contains(word), "{}", refused.stdout);
    }
}
