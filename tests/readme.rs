//! The sessions in the README and the docs, run as they stand there: each command with its real output. Only ids, times, ports and temporary
//! paths are elided, on both sides. A command that goes on has `> ` before its further lines. `UPDATE=1` writes what was really printed into the documents
//! that are wrong, `UPDATE=all` into all.

// A test may panic wherever it stands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The documents with sessions.
const DOCUMENTS: &[&str] = &["README.md", "docs/review.md", "docs/hosting.md", "docs/import.md", "docs/mirrors.md"];

struct Session {
    folder: tempfile::TempDir,
    who: String,
    port: u16,
    registry_id: String,
    status: i32,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.folder.path().join("daemon.pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

impl Session {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        Session {
            folder: tempfile::tempdir().expect("a folder"),
            who: "alice".into(),
            port,
            registry_id: String::new(),
            status: 0,
        }
    }

    /// Runs a line as a shell would, and returns stdout and stderr as a terminal would show them.
    fn run(&mut self, line: &str) -> String {
        let root = fs::canonicalize(self.folder.path()).expect("the folder is there");
        let line = line.replace("9419", &self.port.to_string());
        let binary = Path::new(env!("CARGO_BIN_EXE_quipu"));
        let path = format!("{}:{}", binary.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
        let script = format!("(exit {}); {line}", self.status);
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {script}")])
            .current_dir(&root)
            .env_clear()
            .env("PATH", path)
            .env("HOME", root.join("home-of").join(&self.who))
            .env("QUIPU_HOME", root.join("home-of").join(&self.who))
            .env("REGISTRY_ID", &self.registry_id)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .output()
            .expect("sh runs");
        self.status = output.status.code().unwrap_or(-1);
        let text = String::from_utf8(output.stdout).expect("output is text");
        if let Some(id) = text.lines().find_map(|line| line.trim().strip_prefix("id ")).filter(|_| line.contains("registry init"))
        {
            self.registry_id = id.trim().to_owned();
        }
        if line.starts_with("git daemon") {
            let until = Instant::now() + Duration::from_secs(20);
            while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                assert!(Instant::now() < until, "git daemon does not listen");
                std::thread::yield_now();
            }
        }
        text.replace(&*root.to_string_lossy(), "/tmp/quipu").replace(&self.port.to_string(), "9419")
    }
}

/// Puts words in place of what differs from run to run.
fn elide(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || "+/=:.-_".contains(c);
    let flush = |word: &mut String, out: &mut String| {
        let bare = word.trim_end_matches(['.', ':', ',']);
        let rest = word[bare.len()..].to_owned();
        let hex = |text: &str| text.len() >= 7 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let like = |text: &str, form: &str| {
            let fits = |(a, b): (u8, u8)| if b == b'0' { a.is_ascii_digit() } else { a == b };
            text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
        };
        if bare.strip_prefix("sha256:").is_some_and(hex) {
            out.push_str("sha256:<id>");
        } else if hex(bare) {
            out.push_str("<id>");
        } else if bare.split_once("..").is_some_and(|(from, to)| hex(from) && hex(to)) {
            out.push_str("<id>..<id>");
        } else if like(bare, "0000-00-00") {
            out.push_str("<date>");
        } else if bare.starts_with("SHA256:") && bare.len() == 50 {
            out.push_str("SHA256:<key>");
        } else if bare.starts_with("AAAAC3NzaC1lZDI1NTE5") {
            out.push_str("<key>");
        } else if bare.len() == 20 && bare.as_bytes()[10] == b'T' && bare.ends_with('Z') {
            out.push_str("<time>");
        } else {
            out.push_str(bare);
        }
        out.push_str(&rest);
        word.clear();
    };
    for c in text.chars() {
        if part_of_word(c) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

fn check(document: &Path) {
    let text = fs::read_to_string(document).expect("the document");
    let mut session = Session::new();
    let mut found = String::new();
    let mut inside = false;
    let mut wrong = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(who) = line.strip_prefix("<!-- as ").and_then(|rest| rest.strip_suffix(" -->")) {
            session.who = who.to_owned();
        }
        found.push_str(line);
        found.push('\n');
        if line == "```console" {
            inside = true;
        } else if line == "```" {
            inside = false;
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| inside) else { continue };
        let mut command = command.to_owned();
        while let Some(next) = lines.next_if(|next| next.starts_with("> ")) {
            found.push_str(next);
            found.push('\n');
            command.push('\n');
            command.push_str(&next[2..]);
        }
        let mut expected = String::new();
        while let Some(next) = lines.next_if(|next| !next.starts_with("$ ") && *next != "```") {
            expected.push_str(next);
            expected.push('\n');
        }
        let printed = session.run(&command);
        if elide(&printed) != elide(&expected) {
            wrong.push(format!("$ {command}\n--- the document\n{}--- printed\n{}", elide(&expected), elide(&printed)));
        }
        found.push_str(&printed);
    }
    if let Some(update) = std::env::var_os("UPDATE") {
        // All of it comes from one run; what is the same but for ids stays as it is, so that the document does not change for nothing.
        let is_wanted = update == "all" || !wrong.is_empty();
        fs::write(document, if is_wanted { found } else { text }).expect("the document can be written");
    } else {
        assert!(wrong.is_empty(), "{}: UPDATE=1 writes it anew\n{}", document.display(), wrong.join("\n"));
    }
}

#[test]
fn sessions_in_the_documents_are_real() {
    for document in DOCUMENTS {
        check(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(document));
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_elided() {
    assert_eq!(elide("seq 1 of sha256:0123456789abcdef, signed"), "seq 1 of sha256:<id>, signed");
    assert_eq!(elide("2 files, 192 bytes in 2026-11-23T18:42:58Z."), "2 files, 192 bytes in <time>.");
    assert_eq!(elide("^0123abc (alice 2026-11-23 1) 2026"), "^<id> (alice <date> 1) 2026");
    assert_eq!(elide("index 0123abc..4567def 160000"), "index <id>..<id> 160000");
    assert_eq!(elide("demo:hello 0.1.0 facade"), "demo:hello 0.1.0 facade");
}
