//! The servers that people host git with, from the packages of a distribution, on the loopback interface: sshd, gitolite, nginx. Each runs
//! as whoever runs the test, with nothing but a folder of the test's, and ends when its value is dropped.

// Not every test needs all of it, and a test may panic wherever it stands.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use super::daemon::free_port;
use super::{Person, World, clean, run, skipped};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// Finds a program, also where only an administrator looks. `None` where it is missing, which is said, and is a failure where `CI` is set.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|place| place.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{} is not installed, and CI is set", names[0]);
        skipped(&format!("{} is not installed, and nothing was pushed through it", names[0]));
    }
    found
}

/// Returns the name of the account that runs the test.
pub(crate) fn account() -> String {
    let id = |flag: &str| run(Command::new("id").arg(flag)).ok().stdout.trim().to_owned();
    id("-un")
}

/// A process that is told to end, and waited for, when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has processes of its own ends them when it is asked, and not when it is killed.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().is_ok_and(|status| status.success());
        if !asked {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// An ssh server, in which each key may do one thing.
pub(crate) struct Sshd {
    _server: Server,
    folder: PathBuf,
    port: u16,
}

impl Sshd {
    /// Starts it, with `home` as the home of whoever comes in, and the keys in a file that may be written later. `None` where it is not installed.
    pub(crate) fn start(world: &World, home: &Path, authorized_keys: &Path) -> Option<Self> {
        let program = find(&["sshd"])?;
        let folder = world.path("sshd");
        std::fs::create_dir_all(&folder).unwrap();
        let host_key = folder.join("host");
        new_key(&host_key);
        if account() == "root" {
            // Where it is not started by an init system, nobody has made this one yet.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another process may take the port in between; then there are other ports.
        for _ in 0..20 {
            let port = free_port();
            let config = world.write(
                "sshd/config",
                &format!(
                    "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                     PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin forced-commands-only\nMaxStartups 200\n\
                     MaxSessions 200\nUseDNS no\nPrintMotd no\nSetEnv HOME={} GIT_CONFIG_NOSYSTEM=1\n",
                    host_key.display(),
                    authorized_keys.display(),
                    home.display()
                ),
            );
            let mut command = clean(&program, &folder);
            command.args(["-D", "-e", "-f"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
            let mut said = Vec::new();
            // It says so once it listens, and ends where it cannot.
            let ready = log.by_ref().any(|line| {
                let ready = line.starts_with("Server listening on");
                said.push(line);
                ready
            });
            assert!(ready || said.iter().any(|line| line.contains("Address already in use")), "{said:?}");
            // Nobody reads on, but a full pipe would stop it.
            std::thread::spawn(move || log.for_each(drop));
            let server = Server(child);
            if ready {
                return Some(Sshd { _server: server, folder, port });
            }
        }
        panic!("no port is free");
    }

    /// Gives somebody a key for this server, and returns them, ready to use it, with its public half.
    pub(crate) fn welcome(&self, person: &Person) -> (Person, String) {
        let key = self.folder.join(&person.name);
        new_key(&key);
        let known = self.folder.join("known_hosts");
        let host = std::fs::read_to_string(self.folder.join("host.pub")).unwrap();
        std::fs::write(&known, format!("[127.0.0.1]:{} {host}", self.port)).unwrap();
        let command = format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile='{}' -o StrictHostKeyChecking=yes -i '{}'",
            known.display(),
            key.display()
        );
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        (person.with("GIT_SSH_COMMAND", command), public.trim().to_owned())
    }

    /// Returns the URL of a repository, by its path as the server has it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{path}", account(), self.port)
    }
}

fn new_key(path: &Path) {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path)).ok();
}

/// gitolite, with an account of its own that is a folder, behind an ssh server.
pub(crate) struct Gitolite {
    pub(crate) sshd: Sshd,
    pub(crate) home: PathBuf,
}

impl Gitolite {
    /// Sets it up, with `admin` as its first user. `None` where it is not installed.
    pub(crate) fn start(world: &World) -> Option<Self> {
        find(&["gitolite"])?;
        let home = world.path("gitolite");
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        let sshd = Sshd::start(world, &home, &home.join(".ssh/authorized_keys"))?;
        new_key(&home.join("admin"));
        let gitolite = Gitolite { sshd, home };
        gitolite.run(&["setup", "-pk", "admin.pub"]);
        Some(gitolite)
    }

    /// Runs one of gitolite's own commands on the server.
    pub(crate) fn run(&self, args: &[&str]) {
        run(clean("gitolite", &self.home).args(args).current_dir(&self.home)).ok();
    }

    /// Gives somebody a key.
    pub(crate) fn welcome(&self, person: &Person) -> Person {
        let (ready, public) = self.sshd.welcome(person);
        std::fs::write(self.home.join(".gitolite/keydir").join(format!("{}.pub", person.name)), public + "\n").unwrap();
        ready
    }

    /// Adds to gitolite's configuration, as its administrator would by a push.
    pub(crate) fn configure(&self, lines: &str) {
        let path = self.home.join(".gitolite/conf/gitolite.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + lines).unwrap();
        self.run(&["setup"]);
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        self.sshd.url(&format!("/{repository}"))
    }
}

/// nginx with git's own CGI program behind it: everybody may fetch, and whoever has a password may push.
pub(crate) struct Nginx {
    // nginx ends first.
    _nginx: Server,
    _wrap: Server,
    port: u16,
}

impl Nginx {
    /// Serves all repositories in a folder to people with these names, whose password is `secret`, by a setting that has `/srv/git`, `8080` and
    /// `/run/fcgiwrap.socket` where this server has others. `None` where it is not installed.
    pub(crate) fn start(world: &World, served: &Path, people: &[&str], setting: &str) -> Option<Self> {
        let (nginx, fcgiwrap) = (find(&["nginx"])?, find(&["fcgiwrap"])?);
        let folder = world.path("nginx");
        std::fs::create_dir_all(&folder).unwrap();
        let users: String = people
            .iter()
            .map(|name| format!("{name}:{}", run(Command::new("openssl").args(["passwd", "-apr1", "secret"])).ok().stdout))
            .collect();
        let users = world.write("nginx/users", &users);
        let socket = folder.join("socket");
        let mut wrap = clean(fcgiwrap, &folder);
        wrap.args(["-c", "40", "-s"]).arg(format!("unix:{}", socket.display())).stdout(Stdio::null()).stderr(Stdio::null());
        let wrap = Server(wrap.spawn().unwrap());
        until("fcgiwrap", || UnixStream::connect(&socket).is_ok());
        let programs = run(Command::new("git").arg("--exec-path")).ok().stdout;
        let port = free_port();
        let setting = setting
            .replace("/srv/git", &served.display().to_string())
            .replace("8080", &format!("127.0.0.1:{port}"))
            .replace("/run/fcgiwrap.socket", &socket.display().to_string())
            .replace("/etc/nginx/git-users", &users.display().to_string())
            .replace("/usr/lib/git-core", programs.trim());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
            .concat();
        let account = if account() == "root" { "user root;\n" } else { "" };
        let config = world.write(
            "nginx/nginx.conf",
            &format!(
                "{account}daemon off;\npid {0}/pid;\nerror_log {0}/errors;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
                 {temporary}{setting}}}\n",
                folder.display()
            ),
        );
        let mut command = clean(nginx, &folder);
        command.arg("-p").arg(&folder).arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = Server(command.spawn().unwrap());
        until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Nginx { _nginx: nginx, _wrap: wrap, port })
    }

    /// Gives somebody their password, in the helper that git asks for it.
    pub(crate) fn welcome(&self, person: &Person) -> Person {
        let passwords = person.home.join("passwords");
        std::fs::write(&passwords, format!("http://{}:secret@127.0.0.1:{}\n", person.name, self.port)).unwrap();
        let setting = format!("[credential]\n\thelper = store --file='{}'\n", passwords.display());
        std::fs::write(person.home.join(".gitconfig"), setting).unwrap();
        person.clone()
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        format!("http://127.0.0.1:{}/{repository}", self.port)
    }
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} does not begin");
        std::thread::yield_now();
    }
}
