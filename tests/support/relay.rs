//! What a client and a server say to one another, counted at the socket, for every test and measurement that needs it: it depends on nothing beside it.

// Not every test needs it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stands between a client and a server, and counts.
pub(crate) struct Relay {
    port: u16,
    connections: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    /// Begins to listen, for a server on this machine at a port.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay { port: listener.local_addr().unwrap().port(), connections: Arc::default(), bytes: Arc::default() };
        let (connections, bytes) = (relay.connections.clone(), relay.bytes.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server.try_clone().unwrap(), client)]
                {
                    let bytes = bytes.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            bytes.fetch_add(count as u64, Ordering::SeqCst);
                            if to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        relay
    }

    /// Returns the URL of a repository that the server has.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("git://127.0.0.1:{}/{repository}", self.port)
    }

    /// Returns connections and bytes since it was asked last.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.connections.swap(0, Ordering::SeqCst), self.bytes.swap(0, Ordering::SeqCst))
    }
}
