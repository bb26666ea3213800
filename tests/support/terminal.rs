//! A terminal of its own for a program, which `script` makes.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use super::{Person, skipped};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A program at a terminal. Both end when this value is dropped.
pub(crate) struct Terminal {
    script: Child,
    keys: ChildStdin,
    shown: Receiver<String>,
    seen: String,
}

impl Terminal {
    /// Runs a line of sh in a folder, at a terminal of so many rows and columns; `quipu` is this one. `None` where a program that it needs is
    /// missing, which is a failure where everything is to be tested.
    pub(crate) fn start(
        needs: &[&str],
        (rows, columns): (u16, u16),
        line: &str,
        person: &Person,
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        for program in needs.iter().chain(&["script"]) {
            if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                assert!(std::env::var_os("CI").is_none(), "{program} is missing");
                skipped(&format!("{program} is missing"));
                return None;
            }
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_quipu")).parent().unwrap();
        let mut script = Command::new("script");
        let line = format!("stty rows {rows} cols {columns}; {line}");
        script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        script.env_clear().env("HOME", &person.home).env("QUIPU_HOME", &person.home).env("SHELL", "/bin/sh");
        script.env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()));
        script.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").envs(environment.iter().copied());
        let mut script = script.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, shown) = channel();
        let mut output = script.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if say.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                    break;
                }
            }
        });
        Some(Terminal { keys: script.stdin.take().unwrap(), script, shown, seen: String::new() })
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until something is shown, and returns all that was shown up to there.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(more) => self.seen.push_str(&more),
                Err(_) => panic!("{text:?} does not appear:\n{}", self.seen),
            }
        }
    }

    /// Waits until the program ends, and returns all that was shown since it was asked last.
    pub(crate) fn rest(mut self) -> String {
        while let Ok(more) = self.shown.recv_timeout(Duration::from_secs(60)) {
            self.seen.push_str(&more);
        }
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
