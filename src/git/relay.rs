//! Carries the bytes between git and a server of the `git://` protocol without waiting.
//!
//! git writes a request in small pieces and does not set `TCP_NODELAY`, and so does its server with what it answers: each waits for an
//! acknowledgement that the other side delays by some 40 ms, once or twice a connection. git lets another program hold the connection
//! (`GIT_PROXY_COMMAND`); this one sends at once, and acknowledges at once.

use super::program::Program;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

/// Says to this program, started by git, that it is to be a relay.
const ASKED: &str = "QUIPU_RELAY";

/// The program that can be started as a relay.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Is a relay where git asks for one, and returns how it ended; returns nothing in any other process, which can start relays from here on.
/// What calls this has done nothing else before.
pub fn serve_if_asked() -> Option<ExitCode> {
    if std::env::var_os(ASKED).is_none() {
        if let Ok(program) = std::env::current_exe() {
            // Set before: it is the same one.
            let _ = PROGRAM.set(program);
        }
        return None;
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    Some(match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let host = args.first().map(|host| host.to_string_lossy()).unwrap_or_default();
            let why = why.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            // In the words of git's own connections.
            let _ = writeln!(io::stderr(), "fatal: unable to connect to {host}: {why}");
            ExitCode::FAILURE
        }
    })
}

/// Lets git connect by a relay, where this process can start one.
pub(crate) fn with_relay(program: Program<'_>) -> Program<'_> {
    match PROGRAM.get() {
        Some(relay) if relay.is_file() => program.env("GIT_PROXY_COMMAND", relay).env(ASKED, "1"),
        _ => program,
    }
}

/// Connects stdin and stdout to a host and a port.
fn serve(args: &[OsString]) -> io::Result<()> {
    let [host, port] = args else { return Err(io::Error::new(ErrorKind::InvalidInput, "expected a host and a port")) };
    let (host, port) = (host.to_string_lossy(), port.to_string_lossy());
    let port: u16 = port.parse().map_err(|_| io::Error::new(ErrorKind::InvalidInput, format!("{port} is no port")))?;
    let mut server = TcpStream::connect((&*host, port))?;
    server.set_nodelay(true)?;
    let mut sender = server.try_clone()?;
    std::thread::spawn(move || {
        // git says by the end of its output that no more comes; what the server still has to say is waited for.
        let _ = carry(&mut io::stdin().lock(), &mut sender, |_| {});
        let _ = sender.shutdown(Shutdown::Write);
    });
    // Broken off by either side is for git to notice.
    let _ = carry(&mut server, &mut io::stdout().lock(), acknowledge);
    Ok(())
}

fn carry<R: Read>(from: &mut R, to: &mut impl Write, before: impl Fn(&R)) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        before(from);
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).and_then(|()| to.flush())?,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

/// Asks the system to acknowledge at once what comes next; it forgets that soon.
#[allow(unused_variables)]
fn acknowledge(server: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = std::os::linux::net::TcpStreamExt::set_quickack(server, true);
}
