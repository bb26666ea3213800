//! A second opinion: stock git reads every sample, calls its signature good, and finds nothing to mend.
#![allow(clippy::disallowed_methods)] // Tests run programs themselves.

use crate::cast::*;
use crate::golden::{World, world};
use quipu::model::digest::{ObjectFormat, ObjectKind};
use quipu::model::key::allowed_signers_line;
use quipu::model::sshsig::Signer as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs git in a repository, shut to the surroundings, and returns what it printed.
pub(crate) fn git(repository: &Path, arguments: &[&str], input: &[u8]) -> String {
    let (good, out) = try_git(repository, arguments, input);
    assert!(good, "git {arguments:?}: {out}");
    out
}

pub(crate) fn try_git(repository: &Path, arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new("git")
        .current_dir(repository)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Makes a repository that knows the cast's keys, and writes every object of a world into it.
pub(crate) fn repository(format: ObjectFormat, world: &World) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    git(path, &["init", "-q", "--bare", &format!("--object-format={format}"), "."], b"");
    let signers = [alice(), bob(), mallory()].map(|p| allowed_signers_line(p.name.as_str(), p.key.public_key()) + "\n").concat();
    std::fs::write(path.join("allowed_signers"), signers).unwrap();
    git(path, &["config", "gpg.ssh.allowedSignersFile", path.join("allowed_signers").to_str().unwrap()], b"");
    for (id, kind, bytes) in world.objects.iter() {
        let kind = match kind {
            ObjectKind::Tree => "tree",
            _ => "blob",
        };
        assert_eq!(git(path, &["hash-object", "-w", "--stdin", "-t", kind, "--literally"], bytes).trim(), id.to_string());
    }
    folder
}

pub(crate) fn write_commit(repository: &Path, bytes: &[u8]) -> String {
    git(repository, &["hash-object", "-w", "--stdin", "-t", "commit", "--literally"], bytes).trim().to_owned()
}

#[test]
fn stock_git_calls_every_sample_good() {
    for format in FORMATS {
        let world = world(format);
        let repository = repository(format, &world);
        let path = repository.path();
        for sample in &world.samples {
            let record = &sample.record;
            let id = write_commit(path, record.bytes());
            assert_eq!(id, record.git_id().to_string());
            let said = git(path, &["verify-commit", "-v", &id], b"");
            assert!(said.contains(&format!("Good \"git\" signature for {} with ED25519 key", record.draft().signer)), "{said}");
            git(path, &["update-ref", &format!("refs/samples/{}", sample.path()), &id], b"");
        }
        for (name, bytes) in &world.commits {
            let id = write_commit(path, bytes);
            git(path, &["update-ref", &format!("refs/samples/{name}"), &id], b"");
        }
        let head = world.of_log("package").last().unwrap().git_id().to_string();
        git(path, &["update-ref", "HEAD", &head], b"");
        assert_eq!(git(path, &["fsck", "--strict", "--no-dangling"], b""), "");
        // What git shows of a log is what its records say.
        let shown = git(path, &["log", "--format=%an|%ae|%ce|%s|%at", &head], b"");
        let last = world.of_log("package");
        for (line, record) in shown.lines().rev().zip(last) {
            let draft = record.draft();
            let expected = format!(
                "{}|{}|{}@{}|{}|{}",
                draft.signer,
                record.key().fingerprint(),
                draft.subject,
                draft.registry,
                record.summary(),
                draft.time.unix()
            );
            assert_eq!(line, expected);
        }
    }
}

/// The key files that ssh-keygen takes: it refuses one that others can read, as a checked out file is.
pub(crate) fn key_file(folder: &Path, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name);
    let copy = folder.join(name);
    std::fs::copy(&fixture, &copy).unwrap();
    std::fs::copy(fixture.with_extension("pub"), copy.with_extension("pub")).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Runs ssh-keygen and returns what it printed.
pub(crate) fn ssh_keygen(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("ssh-keygen")
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Has git itself commit a message: who, when, on which parent and with whose key is said by the caller.
pub(crate) fn commit(
    repository: &Path,
    key: &str,
    author: (&str, &str),
    committer: (&str, &str),
    seconds: u64,
    message: &str,
) -> Vec<u8> {
    let date = format!("{seconds} +0000");
    let mut child = Command::new("git")
        .current_dir(repository)
        .args([
            "-c",
            "gpg.format=ssh",
            "-c",
            &format!("user.signingkey={key}"),
            "commit",
            "-q",
            "-S",
            "--allow-empty",
            "--cleanup=verbatim",
            "-F",
            "-",
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", author.0)
        .env("GIT_AUTHOR_EMAIL", author.1)
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", committer.0)
        .env("GIT_COMMITTER_EMAIL", committer.1)
        .env("GIT_COMMITTER_DATE", &date)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    head(repository)
}

/// Returns the bytes of the commit that HEAD names.
pub(crate) fn head(repository: &Path) -> Vec<u8> {
    git(repository, &["cat-file", "commit", "HEAD"], b"").into_bytes()
}
