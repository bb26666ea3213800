//! Where another repository is: the forms of URL that are used, and how they are shown.
//!
//! A URL is checked before any process starts, so that nothing in it is taken for an option or the name of a program.

use crate::model::error::{Error, Result, fault};
use crate::model::name::looks_like_path;
use crate::model::redact::redact;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest URL in bytes.
const URL_MAX: usize = 4096;

/// Where a repository is: `https`, `http`, `ssh`, `git` or `file`, a path, or `user@host:path`. Nothing in it is taken for an
/// option or a helper program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    /// As git gets it.
    text: String,
    /// As people may see it.
    shown: String,
    local: Option<PathBuf>,
    is_ssh: bool,
}

impl Url {
    /// Takes a path on this machine; a relative one is taken from the current folder.
    ///
    /// # Errors
    /// `bad-url` where it is not UTF-8 or has control characters.
    pub fn local(path: &Path) -> Result<Self> {
        let absolute = std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .map_err(|why| fault!(BadUrl, "{path:?} is not a path: {why}"))?;
        let text = absolute.to_str().ok_or_else(|| fault!(BadUrl, "the path {path:?} is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(fault!(BadUrl, "the path {path:?} has control characters"));
        }
        Ok(Url { text: text.to_owned(), shown: text.to_owned(), local: Some(absolute), is_ssh: false })
    }

    /// Reads a URL; a relative path is taken from `base`.
    ///
    /// # Errors
    /// `bad-url` with what is wrong.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let shown = redact(text);
        let wrong = |why: &str| Err(fault!(BadUrl, "{shown:?} is not the URL of a repository: {why}"));
        if text.len() > URL_MAX {
            return wrong("it is longer than 4096 bytes");
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return wrong("it is empty or has control characters");
        }
        if text.starts_with('-') {
            return wrong("it begins with a hyphen");
        }
        if looks_like_path(text) {
            return Url::local(&base.join(text));
        }
        // `ext::sh -c …` would run a program. An address like [::1] is no helper.
        if let Some((before, _)) = text.split_once("::")
            && !before.contains('[')
        {
            return wrong("helper programs (name::…) are not used");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "https" | "http" | "ssh" | "git" => match check_remote(scheme, rest) {
                    Ok(()) => Ok(Url { text: text.to_owned(), shown, local: None, is_ssh: scheme == "ssh" }),
                    Err(why) => wrong(why),
                },
                "file" => match percent_decoded(rest) {
                    Some(path) if path.starts_with('/') => Url::local(Path::new(&path)),
                    _ => wrong("file:// is followed by an absolute path"),
                },
                _ => wrong("its scheme is not https, http, ssh, git or file"),
            };
        }
        if let Some((user, rest)) = text.split_once('@')
            && let Some((host, path)) = split_host(rest)
            && let Some(path) = path.strip_prefix(':')
        {
            return match check_ssh(user, host, path) {
                Ok(()) => Ok(Url { text: text.to_owned(), shown, local: None, is_ssh: true }),
                Err(why) => wrong(why),
            };
        }
        wrong("it is neither a path, nor scheme://…, nor user@host:path")
            .map_err(|error| error.hint("a path begins with /, ./ or ../"))
    }

    /// Returns the URL as git gets it and configuration keeps it. It may hold a password: never print it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether a person may be asked for a password by whoever reaches it.
    pub fn may_ask(&self) -> bool {
        self.is_local().is_none() && !self.as_str().starts_with("git://")
    }

    /// Returns the path, where it is one on this machine.
    pub fn is_local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// Says whether ssh is what reaches it.
    pub(crate) fn is_ssh(&self) -> bool {
        self.is_ssh
    }

    /// Returns what a connection needs; `None` for a path, and for what only its own program understands.
    pub(crate) fn address(&self) -> Option<Address> {
        if self.local.is_some() {
            return None;
        }
        let Some((scheme, rest)) = self.text.split_once("://") else {
            let (user, rest) = self.text.split_once('@')?;
            let (host, path) = split_host(rest)?;
            let path = path.strip_prefix(':')?;
            return Some(Address::Ssh { host: format!("{user}@{}", bare(host)), port: None, path: path.to_owned() });
        };
        if matches!(scheme, "https" | "http") {
            return Some(Address::Http);
        }
        let decoded = percent_decoded(rest)?;
        let (authority, path) = decoded.split_at(decoded.find('/')?);
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
        let (host, port) = split_host(address)?;
        let port = port.strip_prefix(':').map(str::parse::<u16>).transpose().ok()?;
        match scheme {
            "git" if user.is_none() => {
                Some(Address::Git { named: address.to_owned(), host: bare(host).to_owned(), port, path: path.to_owned() })
            }
            "ssh" => {
                let user = user.map(|user| format!("{user}@")).unwrap_or_default();
                // A path below somebody's home begins with a tilde.
                let path = if path.starts_with("/~") { &path[1..] } else { path };
                Some(Address::Ssh { host: format!("{user}{}", bare(host)), port, path: path.to_owned() })
            }
            _ => None,
        }
    }

    /// Takes what must not be seen out of what git said.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut text = text.replace(&self.text, &self.shown);
        if self.text != self.shown
            && let Some((_, rest)) = self.text.split_once("://")
        {
            let authority = rest.split(['/', '?']).next().unwrap_or(rest);
            if let Some((user, _)) = authority.rsplit_once('@') {
                for secret in user.split(':').filter(|secret| secret.len() > 2) {
                    text = text.replace(secret, "***");
                }
            }
        }
        text
    }
}

/// What a connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A connection by TCP.
    Git {
        /// Host and port as they are written.
        named: String,
        host: String,
        port: Option<u16>,
        path: String,
    },
    /// A program on another host, through ssh; the host with its user, where there is one.
    Ssh { host: String, port: Option<u16>, path: String },
    /// A web server; what it needs is for git's own helper to know.
    Http,
}

impl FromStr for Url {
    type Err = Error;

    /// Reads a URL; a relative path is taken from the current folder.
    fn from_str(text: &str) -> Result<Self> {
        Url::parse(text, Path::new("."))
    }
}

impl fmt::Display for Url {
    /// Prints it without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

fn check_remote(scheme: &str, rest: &str) -> Result<(), &'static str> {
    if rest.contains(|c: char| c.is_whitespace() || matches!(c, '#' | '\\' | '"' | '<' | '>' | '`')) {
        return Err("it has a character that no URL has");
    }
    let decoded = percent_decoded(rest).ok_or("its %-encoding is broken, or hides control characters")?;
    if decoded.starts_with('-') {
        return Err("user or host begins with a hyphen");
    }
    let (authority, path) = rest.split_at(rest.find('/').ok_or("it has no path")?);
    // A whole host can be a repository over HTTP, where it is asked for by its slash.
    if path.len() < 2 && !matches!(scheme, "https" | "http") {
        return Err("it has no path");
    }
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    if let Some(user) = user {
        if user.is_empty() || user.contains('@') {
            return Err("its user is empty or has an @");
        }
        if scheme == "ssh" {
            check_user(user)?;
        }
    }
    let (host, port) = split_host(address).ok_or("its host is not closed by ]")?;
    check_host(host)?;
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn check_ssh(user: &str, host: &str, path: &str) -> Result<(), &'static str> {
    check_user(user)?;
    check_host(host)?;
    if path.is_empty() || path.starts_with('-') {
        return Err("its path is empty or begins with a hyphen");
    }
    Ok(())
}

/// Splits a host, which may be in brackets, from what follows.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    Some(text.split_at(end))
}

/// Takes the brackets from an address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn check_user(user: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(allowed) {
        return Err("an ssh user is letters, digits, dots, hyphens; a password is not given in a URL");
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| "its host in brackets is not an IPv6 address");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if host.is_empty() || host.starts_with(['-', '.']) || !host.bytes().all(allowed) {
        return Err("its host is not letters, digits, dots and hyphens, beginning with a letter or digit");
    }
    Ok(())
}

/// Decodes `%41`; `None` where that gives no UTF-8 or a control character.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorCode;
    use std::fs;

    #[test]
    fn urls_that_are_used_for_transport() -> Result<()> {
        for good in [
            "https://acme.example/registry.git",
            "https://acme.example/",
            "http://127.0.0.1:8080/r",
            "https://[::1]:8443/r",
            "ssh://git@acme.example:2222/~alice/r.git",
            "git://acme.example/r",
            "git@acme.example:org/r.git",
            "git@[::1]:r.git",
            "https://acme.example/r%20s?x=y",
        ] {
            let url: Url = good.parse()?;
            assert_eq!((url.as_str(), url.is_local()), (good, None));
        }
        let base = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(base.path()).unwrap();
        fs::create_dir(real.join("a b")).unwrap();
        for (text, path) in [
            ("./a b".to_owned(), real.join("a b")),
            ("./x/../a b".to_owned(), real.join("x/../a b")),
            (format!("{}/a b", real.display()), real.join("a b")),
            (format!("file://{}/a%20b", real.display()), real.join("a b")),
            (".".to_owned(), real.clone()),
        ] {
            assert_eq!(Url::parse(&text, &real)?.is_local(), Some(path.as_path()), "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_connection_is_told_where_to_go() -> Result<()> {
        let git = |named: &str, host: &str, port, path: &str| Address::Git {
            named: named.to_owned(),
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        let ssh = |host: &str, port, path: &str| Address::Ssh { host: host.to_owned(), port, path: path.to_owned() };
        for (url, address) in [
            ("git://acme.example/a%20b", Some(git("acme.example", "acme.example", None, "/a b"))),
            ("git://[::1]:9/r", Some(git("[::1]:9", "::1", Some(9), "/r"))),
            ("git://alice@acme.example/r", None),
            ("ssh://git@acme.example:2222/~alice/r.git", Some(ssh("git@acme.example", Some(2222), "~alice/r.git"))),
            ("ssh://acme.example/srv/r.git", Some(ssh("acme.example", None, "/srv/r.git"))),
            ("git@[::1]:r.git", Some(ssh("git@::1", None, "r.git"))),
            ("git@acme.example:org/r.git", Some(ssh("git@acme.example", None, "org/r.git"))),
            ("https://acme.example/r", Some(Address::Http)),
            ("/srv/r.git", None),
        ] {
            assert_eq!(url.parse::<Url>()?.address(), address, "{url}");
        }
        Ok(())
    }

    #[test]
    fn urls_that_could_run_something_are_refused() {
        for bad in [
            "",
            "-oProxyCommand=evil",
            "--upload-pack=evil",
            "ext::sh -c evil",
            "fd::17",
            "x::https://acme.example/r",
            "ssh://-oProxyCommand=evil/r",
            "ssh://%2doProxyCommand=evil/r",
            "ssh://-oProxyCommand=evil@acme.example/r",
            "ssh://a@-oProxyCommand=evil/r",
            "ssh://%2Da@acme.example/r",
            "ssh://alice:secret@acme.example/r",
            "-a@acme.example:r",
            "a@-b:r",
            "git@acme.example:-r",
            "git@acme.example:",
            "git@host",
            "acme.example:r",
            "https://acme.example",
            "ssh://acme.example/",
            "git://acme.example/",
            "https:///r",
            "https://a b/r",
            "https://acme.example/r\nx",
            "https://acme.example/r%0ax",
            "https://acme.example/r%0",
            "https://acme.example:99999/r",
            "https://acme.example:-1/r",
            "https://acme.example:/r",
            "https://[::1/r",
            "https://[evil]/r",
            "https://acme.example$(evil)/r",
            "https://acme.example/`evil`",
            "HTTPS://acme.example/r",
            "ftp://acme.example/r",
            "git+ssh://acme.example/r",
            "file://acme.example/r",
            "file://relative",
            "file:///a%00b",
            "wasi:http",
            "registry.git",
            "/a\u{1b}[31m",
            "../\u{7f}",
        ] {
            let error = bad.parse::<Url>().map(|url| url.as_str().to_owned()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadUrl, "{bad}");
        }
        assert!(format!("https://acme.example/{}", "a".repeat(URL_MAX)).parse::<Url>().is_err());
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() -> Result<()> {
        for (url, shown) in [
            ("https://alice:s3cret@acme.example/r", "https://***@acme.example/r"),
            ("https://t0ken@acme.example/r?key=s3cret", "https://***@acme.example/r?***"),
            ("ssh://git@acme.example/r", "ssh://git@acme.example/r"),
            ("git@acme.example:r", "git@acme.example:r"),
        ] {
            let parsed: Url = url.parse()?;
            assert_eq!((parsed.to_string(), format!("{parsed:?}")), (shown.to_owned(), format!("Url({shown})")));
            assert_eq!(parsed.scrub(&format!("fatal: {url}: no")), format!("fatal: {shown}: no"));
        }
        let url: Url = "https://alice:s3cret@acme.example/r".parse()?;
        assert!(!url.scrub("could not read Password for 'https://alice@acme.example': s3cret").contains("s3cret"));
        assert!(!"https:/alice:s3cret@acme.example".parse::<Url>().unwrap_err().message().contains("s3cret"));
        Ok(())
    }
}
