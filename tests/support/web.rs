//! A small web of https on the loopback interface: a proxy that knows some hosts by name, and a certificate for all of them.
//! `openssl` speaks TLS, one process for each connection.

use super::servers::answer_line;
use super::{clean, run, skipped};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a host does when it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Whether it takes connections and never says anything.
    pub(crate) silent: bool,
    /// Whether each of its answers goes on for ever.
    pub(crate) endless: bool,
    /// Files by their paths: a status line without the version, other headers, a body.
    pub(crate) files: BTreeMap<String, (String, String, Vec<u8>)>,
    /// The folder whose repositories answer all else; a repository itself answers at the root.
    pub(crate) repositories: Option<PathBuf>,
}

impl Host {
    /// A host that has a file.
    pub(crate) fn with_file(self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.with_answer(path, "200 OK", "", body)
    }

    /// A host that answers in some way.
    pub(crate) fn with_answer(mut self, path: &str, status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (status.to_owned(), headers.to_owned(), body.into()));
        self
    }

    /// A host that serves repositories.
    pub(crate) fn with_repositories(mut self, folder: impl Into<PathBuf>) -> Self {
        self.repositories = Some(folder.into());
        self
    }

    /// A host whose answers never end.
    pub(crate) fn endless() -> Self {
        Host { endless: true, ..Host::default() }
    }

    /// A host that never answers.
    pub(crate) fn silent() -> Self {
        Host { silent: true, ..Host::default() }
    }
}

/// The web; it ends with the process of the test.
pub(crate) struct Web {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    hosts: Mutex<BTreeMap<String, Host>>,
    asked: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

impl Web {
    /// Starts it, with a folder of its own. `None` where there is no openssl; the test says so.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        if !clean("openssl", folder).arg("version").output().is_ok_and(|output| output.status.success()) {
            skipped("openssl is not installed, and nothing was tested over https");
            return None;
        }
        let mut make = clean("openssl", folder);
        make.current_dir(folder).args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        make.args(["-keyout", "key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=a test"]);
        make.args(["-addext", "subjectAltName=DNS:acme.example,DNS:*.acme.example,DNS:other.example"]);
        run(&mut make).ok();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            hosts: Mutex::default(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let known = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let known = known.clone();
                // A client that breaks off is its own affair.
                std::thread::spawn(move || known.connect(&stream).ok());
            }
        });
        Some(Web { port, shared })
    }

    /// Says what a host is from now on.
    pub(crate) fn host(&self, name: &str, host: Host) {
        self.shared.hosts.lock().unwrap().insert(name.to_owned(), host);
    }

    /// Returns the URL of the proxy.
    pub(crate) fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the file with the certificate that all hosts show.
    pub(crate) fn certificate(&self) -> String {
        self.shared.folder.join("ca.pem").display().to_string()
    }

    /// Returns what was asked since the last time: `host path`, in no order; a connection without a request has no path.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }
}

impl Shared {
    /// Serves one connection to the proxy.
    fn connect(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        // The client speaks on only after our answer, so that nothing of it is lost in the buffer.
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let name = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next()).unwrap_or_default().to_owned();
        let host = self.hosts.lock().unwrap().get(&name).cloned();
        let Some(host) = host else {
            return (&mut &*stream).write_all(b"HTTP/1.1 502 no such host\r\nContent-Length: 0\r\n\r\n");
        };
        if host.silent {
            self.asked.lock().unwrap().push(name);
            // Until the client goes away.
            return std::io::copy(&mut &*stream, &mut std::io::sink()).map(drop);
        }
        // openssl takes no path of more than 32 bytes.
        let name_of_socket = format!("{}.sock", self.connections.fetch_add(1, Ordering::Relaxed));
        let socket = self.folder.join(&name_of_socket);
        let mut tls = clean("openssl", &self.folder);
        tls.current_dir(&self.folder).args(["s_server", "-quiet", "-naccept", "1", "-cert", "ca.pem", "-key", "key.pem"]);
        let mut tls =
            tls.arg("-unix").arg(&name_of_socket).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (mut out, said) = (tls.stdin.take().unwrap(), tls.stdout.take().unwrap());
        let inner = loop {
            match UnixStream::connect(&socket) {
                Ok(inner) => break inner,
                Err(why) if tls.try_wait()?.is_some() => return Err(why),
                Err(_) => std::thread::yield_now(),
            }
        };
        (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut client, mut server) = (stream.try_clone()?, inner.try_clone()?);
        std::thread::spawn(move || {
            let copied = std::io::copy(&mut server, &mut client);
            client.shutdown(Shutdown::Both).and(copied)
        });
        let (mut client, mut server) = (stream.try_clone()?, inner.try_clone()?);
        let incoming = std::thread::spawn(move || {
            let copied = std::io::copy(&mut client, &mut server);
            server.shutdown(Shutdown::Both).and(copied)
        });
        let answered = self.answer(&name, &host, said, &mut out);
        // The client closes once it has the whole answer, or has enough.
        let _ = incoming.join();
        let _ = tls.kill();
        tls.wait()?;
        answered
    }

    fn answer(&self, name: &str, host: &Host, said: impl Read, out: &mut impl Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(said);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push(format!("{name} {path}"));
        if host.endless {
            write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")?;
            let chunk = format!("10000\r\n{}\r\n", "#".repeat(0x10000));
            // Until the client goes away.
            loop {
                out.write_all(chunk.as_bytes())?;
            }
        }
        let file = host.files.get(path.split('?').next().unwrap_or_default());
        let nothing = ("404 Not Found".to_owned(), String::new(), b"nothing here\n".to_vec());
        match (file, &host.repositories) {
            (None, Some(folder)) => answer_line(&request, &mut reader, out, folder, false, "close"),
            (file, _) => {
                let (status, headers, body) = file.unwrap_or(&nothing);
                let length = body.len();
                write!(out, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
                out.write_all(body)?;
                out.flush()
            }
        }
    }
}
