//! A relay on the loopback interface, which counts what passes between a client and a server.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

/// Stands between a client and a server, and holds back every fetch until it is let go.
pub(crate) struct Held {
    port: u16,
    asked: Receiver<()>,
    go: Sender<()>,
}

impl Held {
    /// Holds back what is fetched from a port; it ends with the process of the test.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((say, asked), (go, wait)) = (channel(), channel::<()>());
        let wait = Arc::new(Mutex::new(wait));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut answers, &mut back);
                    let _ = back.shutdown(Shutdown::Both);
                });
                let (say, wait) = (say.clone(), wait.clone());
                std::thread::spawn(move || {
                    let (mut client, mut server) = (client, server);
                    let mut buffer = [0; 16 * 1024];
                    while let Ok(count @ 1..) = client.read(&mut buffer) {
                        if buffer[..count].windows(5).any(|part| part == b"want ") {
                            let _ = say.send(());
                            let _ = wait.lock().unwrap().recv();
                        }
                        if server.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = server.shutdown(Shutdown::Write);
                });
            }
        });
        Held { port, asked, go }
    }

    /// Returns the URL of the registry `reg.git` behind a `git daemon`.
    pub(crate) fn url(&self) -> String {
        format!("git://127.0.0.1:{}/reg.git", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until somebody fetches.
    pub(crate) fn asked(&self) {
        self.asked.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    /// Lets what is fetched pass from now on.
    pub(crate) fn let_go(&self) {
        for _ in 0..100 {
            self.go.send(()).unwrap();
        }
    }
}
