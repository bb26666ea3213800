//! OpenSSH's agent, with a folder of the test's.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use super::World;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

/// An ssh-agent that ends with the test.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    pid: String,
}

impl Agent {
    /// Starts it, with no key.
    pub(crate) fn start(world: &World) -> Self {
        let socket = world.path("agent");
        let output = Command::new("ssh-agent").args(["-s", "-a"]).arg(&socket).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = text.split("SSH_AGENT_PID=").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_owned();
        Agent { socket, pid }
    }

    /// Gives it a key whose passphrase is `secret`.
    pub(crate) fn load(&self, world: &World, key: &str) {
        let ask = world.write("ask", "#!/bin/sh\necho secret\n");
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
        let status = Command::new("ssh-add")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS", &ask)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.pid).status();
    }
}
