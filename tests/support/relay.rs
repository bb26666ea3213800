//! A relay on the loopback interface, which counts what passes between a client and a server.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// It is passed on.
    Pass,
    /// It is closed at once.
    Shut,
    /// It is taken, and nothing is ever said.
    Silent,
    /// It is closed once so many bytes were passed to the client.
    CutAfter(u64),
    /// It falls silent once so many bytes were passed to the client.
    SilentAfter(u64),
}

/// Stands between a client and a server, and counts.
pub(crate) struct Relay {
    port: u16,
    connections: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    mood: Arc<Mutex<Mood>>,
}

impl Relay {
    /// Passes everything on to a port; it ends with the process of the test.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mood = Arc::new(Mutex::new(Mood::Pass));
        let relay =
            Relay { port: listener.local_addr().unwrap().port(), connections: Arc::default(), bytes: Arc::default(), mood };
        let (connections, bytes, mood) = (relay.connections.clone(), relay.bytes.clone(), relay.mood.clone());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let (most, is_cut) = match *mood.lock().unwrap() {
                    Mood::Pass => (u64::MAX, true),
                    Mood::Shut => continue,
                    Mood::Silent => {
                        held.push(client);
                        continue;
                    }
                    Mood::CutAfter(bytes) => (bytes, true),
                    Mood::SilentAfter(bytes) => {
                        held.push(client.try_clone().unwrap());
                        (bytes, false)
                    }
                };
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (here, there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (mut from, mut to, most) in [(here, there, u64::MAX), (server, client, most)] {
                    let bytes = bytes.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        let mut left = most;
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            let passed = left.min(count as u64) as usize;
                            left -= passed as u64;
                            bytes.fetch_add(passed as u64, Ordering::SeqCst);
                            if to.write_all(&buffer[..passed]).is_err() {
                                break;
                            }
                            if passed < count {
                                let _ = from.shutdown(Shutdown::Both);
                                if !is_cut {
                                    return;
                                }
                                let _ = to.shutdown(Shutdown::Both);
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        relay
    }

    /// Returns the URL of a repository behind a `git daemon`.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("git://127.0.0.1:{}/{repository}", self.port)
    }

    /// Returns the URL of a repository behind a web server.
    pub(crate) fn http(&self, repository: &str) -> String {
        format!("http://127.0.0.1:{}/{repository}", self.port)
    }

    /// Changes what becomes of connections from now on.
    pub(crate) fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Returns connections and bytes since it was asked last.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.connections.swap(0, Ordering::SeqCst), self.bytes.swap(0, Ordering::SeqCst))
    }
}
