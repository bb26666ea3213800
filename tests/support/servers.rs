//! Servers on the loopback interface: git over HTTP, and an ssh that stays here.

use super::clean;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Git over HTTP: each request is handed to `git http-backend`. It ends with the process of the test.
pub(crate) struct Http {
    port: u16,
}

impl Http {
    /// Serves all repositories in a folder, for fetch and push.
    pub(crate) fn serve(folder: &Path) -> Self {
        Http::start(folder, true)
    }

    /// Serves all repositories in a folder, for fetch alone.
    pub(crate) fn serve_read_only(folder: &Path) -> Self {
        Http::start(folder, false)
    }

    fn start(folder: &Path, push: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let folder = folder.clone();
                // A client that breaks off is its own affair.
                std::thread::spawn(move || -> std::io::Result<()> {
                    stream.set_nodelay(true)?;
                    let mut reader = BufReader::new(stream.try_clone()?);
                    while answer(&mut reader, &mut &stream, &folder, push)? {}
                    Ok(())
                });
            }
        });
        Http { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        format!("http://127.0.0.1:{}/{repository}", self.port)
    }
}

/// Answers one request from the repositories in a folder, and says whether there was one. Another may follow on the same connection.
fn answer(reader: &mut impl BufRead, out: &mut impl Write, folder: &Path, push: bool) -> std::io::Result<bool> {
    let mut request = String::new();
    if reader.read_line(&mut request)? == 0 {
        return Ok(false);
    }
    answer_line(&request, reader, out, folder, push, "keep-alive").map(|()| true)
}

/// The same where the first line was read before; `connection` says what becomes of the connection.
pub(crate) fn answer_line(
    request: &str,
    reader: &mut impl BufRead,
    out: &mut impl Write,
    folder: &Path,
    push: bool,
    connection: &str,
) -> std::io::Result<()> {
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = clean("git", folder);
    backend.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    backend.env("GIT_PROJECT_ROOT", folder).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    if push {
        // Whom a server knows may push.
        backend.env("REMOTE_USER", "somebody");
    }
    let (mut length, mut chunked) = (0, false);
    for line in reader.by_ref().lines() {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = value == "chunked",
            "content-type" => drop(backend.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(backend.env("HTTP_CONTENT_ENCODING", value)),
            "git-protocol" => drop(backend.env("GIT_PROTOCOL", value)),
            "expect" => out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            _ => {}
        }
    }
    let body = if chunked { read_chunks(reader)? } else { read_exactly(reader, length)? };
    backend.env("CONTENT_LENGTH", body.len().to_string());
    let mut child = backend.spawn()?;
    let mut input = child.stdin.take().unwrap();
    // It may answer before it has read everything.
    std::thread::spawn(move || input.write_all(&body));
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let (mut status, mut headers) = ("200 OK".to_owned(), String::new());
    for line in said.by_ref().lines() {
        let line = line?;
        match line.trim_end().split_once(": ") {
            None => break,
            Some(("Status", value)) => status = value.to_owned(),
            Some((name, value)) => headers.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    // A whole answer says how long it is, so that its end is none of TLS's affair.
    let mut body = Vec::new();
    said.read_to_end(&mut body)?;
    child.wait()?;
    write!(out, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: {connection}\r\n\r\n", body.len())?;
    out.write_all(&body)?;
    out.flush()
}

fn read_exactly(reader: &mut impl Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        bytes.extend(read_exactly(reader, length)?);
        // The end of a chunk's line.
        reader.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(bytes);
        }
    }
}

/// Writes a program that takes the arguments of ssh and runs the command here, as git's own tests do. It notes each host in `log`.
pub(crate) fn local_ssh(folder: &Path, log: &Path) -> PathBuf {
    let program = folder.join("ssh");
    let script = format!(
        "#!/bin/sh\n\
         while test $# -gt 0; do\n\
         case \"$1\" in\n\
         -o|-p) shift 2 ;;\n\
         -*) shift ;;\n\
         *) break ;;\n\
         esac\n\
         done\n\
         echo \"$1\" >> '{}'\n\
         shift\n\
         exec sh -c \"$*\"\n",
        log.display()
    );
    fs::create_dir_all(folder).unwrap();
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}
