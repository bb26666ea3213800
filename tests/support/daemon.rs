//! git's own server on the loopback interface, for every test and measurement that needs one: it depends on nothing beside it.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running `git daemon`; it ends when this value is dropped.
pub(crate) struct Daemon {
    server: Child,
    port: u16,
}

/// Finds a port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Daemon {
    /// Serves all repositories in a folder, for fetch and push, and returns once it answers.
    pub(crate) fn serve(folder: &Path) -> Self {
        Daemon::start(folder, true)
    }

    /// Serves all repositories in a folder, for fetch alone.
    pub(crate) fn serve_read_only(folder: &Path) -> Self {
        Daemon::start(folder, false)
    }

    fn start(folder: &Path, push: bool) -> Self {
        // The program itself, not `git daemon`: what is ended is then the server and not its parent.
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let program = Path::new(std::str::from_utf8(&programs).unwrap().trim_end()).join("git-daemon");
        // Another process may take the port in between; then there are other ports.
        for _ in 0..20 {
            let port = free_port();
            let mut command = Command::new(&program);
            command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
            command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
            command.args(["--verbose", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
            command.arg(if push { "--enable=receive-pack" } else { "--disable=receive-pack" });
            command.arg(format!("--port={port}")).arg(format!("--base-path={}", folder.display()));
            let mut server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
            // It says so once it listens, and ends where it cannot.
            let ready = log.any(|line| line.ends_with("Ready to rumble"));
            // Nobody reads on, but a full pipe would stop it.
            std::thread::spawn(move || log.for_each(drop));
            let daemon = Daemon { server, port };
            if ready {
                return daemon;
            }
        }
        panic!("no port is free");
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of a repository in the folder.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("git://127.0.0.1:{}/{repository}", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
