//! A git server on the loopback interface, for tests.

use super::program::Program;
use super::transport::Url;
use crate::model::error::Result;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;

/// A running `git daemon`; it ends when this value is dropped.
pub(crate) struct Daemon {
    server: Child,
    port: u16,
}

impl Daemon {
    /// Serves all repositories in a folder, for fetch and push, and returns once it answers.
    pub(crate) fn serve(folder: &Path) -> Self {
        // Another process may take the port in between; then there are other ports.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Program::git()
                .args(["daemon", "--verbose", "--export-all", "--reuseaddr", "--enable=receive-pack", "--listen=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={}", folder.display()))
                .start_server()
                .unwrap();
            let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(std::result::Result::ok);
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

    /// Returns the URL of a repository in the folder.
    pub(crate) fn url(&self, name: &str) -> Result<Url> {
        format!("git://127.0.0.1:{}/{name}", self.port).parse()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        super::program::end(&mut self.server, true);
    }
}
