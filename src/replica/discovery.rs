//! Where the registry of a domain is: looked for at the domain itself, and in the file that the domain keeps at the well-known place.
//!
//! Nothing that is found here is trusted: it says where to look. `docs/discovery.md` says the same at length.

use crate::git::layout;
use crate::git::program::Environment;
use crate::git::transport::{self, Url};
use crate::git::web;
use crate::model::digest::RegistryId;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::RegistryName;
use crate::model::redact::redact;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

/// The path of the file, below the domain.
pub const WELL_KNOWN: &str = "/.well-known/quipu.toml";
/// The version of the file's format.
pub const VERSION: i64 = 1;
/// The most bytes of the file.
pub const SIZE_MAX: usize = 16 * 1024;
/// The most URLs that it may name.
pub const URLS_MAX: usize = 8;
/// How long one place may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a domain says of its registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WellKnown {
    quipu: i64,
    registry: RegistryName,
    id: RegistryId,
    urls: Vec<String>,
}

impl WellKnown {
    /// Says of a registry where it is.
    ///
    /// # Errors
    /// `bad-url` for none, too many, or one that is not plain https.
    pub fn new(registry: RegistryName, id: RegistryId, urls: Vec<String>) -> Result<Self> {
        check(&urls)?;
        Ok(WellKnown { quipu: VERSION, registry, id, urls })
    }

    /// Reads the file of a domain.
    ///
    /// # Errors
    /// `limit`, `unsupported-format` for another version, `wrong-registry` where it speaks of another name, `bad-well-known` for all else.
    pub fn parse(bytes: &[u8], domain: &RegistryName) -> Result<Self> {
        if bytes.len() > SIZE_MAX {
            return Err(fault!(Limit, "it has {} bytes, at most {SIZE_MAX} are read", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault!(BadWellKnown, "it is not UTF-8"))?;
        let table: toml::Table = text.parse().map_err(|why: toml::de::Error| fault!(BadWellKnown, "{}", why.message()))?;
        // Before all else: another version may have other fields.
        match table.get("quipu").and_then(toml::Value::as_integer) {
            Some(VERSION) => {}
            Some(other) => {
                return Err(
                    fault!(UnsupportedFormat, "it is of version {other}, expected {VERSION}").hint("a newer quipu may read it")
                );
            }
            None => return Err(fault!(BadWellKnown, "the number `quipu` is missing, expected quipu = {VERSION}")),
        }
        let found: WellKnown = table.try_into().map_err(|why: toml::de::Error| fault!(BadWellKnown, "{}", why.message()))?;
        check(&found.urls).map_err(|error| fault!(BadWellKnown, "{}", error.message()))?;
        if found.registry != *domain {
            return Err(fault!(WrongRegistry, "it speaks of the registry {}, expected {domain}", found.registry));
        }
        Ok(found)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// `bug`.
    pub fn to_text(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|why| fault!(Bug, "the file cannot be written: {why}"))?;
        Ok(format!("# https://{}{WELL_KNOWN}: where the registry is. What counts is the repository.\n{body}", self.registry))
    }

    /// Returns the id that it names.
    pub fn id(&self) -> RegistryId {
        self.id
    }

    /// Returns the URLs, best first.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }
}

fn check(urls: &[String]) -> Result<()> {
    if urls.is_empty() || urls.len() > URLS_MAX {
        return Err(fault!(BadUrl, "it names {} URLs, expected 1 to {URLS_MAX}", urls.len()));
    }
    urls.iter().try_for_each(|url| parse_url(url).map(drop))
}

/// Reads a URL that comes from somebody who is not trusted yet.
fn parse_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| fault!(BadUrl, "the URL {:?} is not used: {why}", redact(text));
    if !text.starts_with("https://") {
        return Err(wrong("its scheme is not https"));
    }
    let url: Url = text.parse().map_err(|error: Error| wrong(error.message()))?;
    // What is not shown as it is holds a name, a password or a query.
    if url.to_string() != url.as_str() {
        return Err(wrong("it has a user or a query"));
    }
    Ok(url)
}

/// How to look.
#[derive(Clone, Debug)]
pub struct Looking {
    /// How long one place may take to answer.
    pub patience: Duration,
    /// What the programs inherit.
    pub environment: Environment,
}

impl Default for Looking {
    fn default() -> Self {
        Looking { patience: PATIENCE, environment: Environment::of_process() }
    }
}

/// Where a registry seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Where to fetch it.
    pub url: Url,
    /// The id that it has to have, where the domain's file names one.
    pub id: Option<RegistryId>,
    /// What led there.
    pub found_at: Url,
    /// The domain's file, where there is one.
    pub file: Option<Url>,
}

impl Hint {
    /// Checks the id found in the repository against what the domain's file says.
    ///
    /// # Errors
    /// `id-mismatch` with both.
    pub fn check(&self, domain: &RegistryName, found: RegistryId) -> Result<()> {
        match (self.id, &self.file) {
            (Some(id), Some(file)) if id != found => {
                Err(fault!(IdMismatch, "{} has the registry id {found}, and {file} says {id}", self.url)
                    .hint("one of the two is not the registry of this domain: ask its operators which id is right")
                    .hint(format!("with that id: quipu trust add {domain} {} --id …", self.url)))
            }
            _ => Ok(()),
        }
    }
}

/// Looks for the registry of a domain: at `https://DOMAIN/`, and in the file at the well-known place, both at once. The repository at the domain
/// goes first; the file's URLs follow in their order, and the first one that answers is taken.
///
/// # Errors
/// `not-found` where nothing is at either place, `network` where something may be there and did not answer, and those of
/// [`WellKnown::parse`] for a file that is there.
pub fn look(domain: &RegistryName, looking: &Looking) -> Result<Hint> {
    let root: Url = format!("https://{domain}/").parse()?;
    let place: Url = format!("https://{domain}{WELL_KNOWN}").parse()?;
    let (at_root, file) = std::thread::scope(|scope| {
        let file = scope.spawn(|| read_file(domain, &place, looking));
        let at_root = is_registry(&root, looking);
        (at_root, file.join().unwrap_or_else(|_| Err(fault!(Bug, "looking at {place} ended early"))))
    });
    let mut tried = Tried::default();
    let at_root = tried.note(at_root)?;
    let file = tried.note(file)?;
    let (id, named) = (file.as_ref().map(WellKnown::id), file.as_ref().map(|_| place.clone()));
    if at_root.is_some() {
        return Ok(Hint { url: root.clone(), id, found_at: root, file: named });
    }
    for url in file.iter().flat_map(WellKnown::urls) {
        let url = parse_url(url)?;
        if tried.note(is_registry(&url, looking))?.is_some() {
            return Ok(Hint { url, id, found_at: place, file: named });
        }
    }
    Err(tried.into_error(domain))
}

fn read_file(domain: &RegistryName, place: &Url, looking: &Looking) -> Result<WellKnown> {
    let bytes = web::get(place, SIZE_MAX, looking.patience, &looking.environment)?;
    WellKnown::parse(&bytes, domain).map_err(|error| error.at(place))
}

fn is_registry(url: &Url, looking: &Looking) -> Result<()> {
    match transport::has_reference(url, &layout::operators(), looking.patience, &looking.environment)? {
        true => Ok(()),
        false => Err(fault!(NotFound, "the repository at {url} is no registry: it has no {}", layout::operators())),
    }
}

/// What was looked at in vain.
#[derive(Default)]
struct Tried {
    words: String,
    unreached: bool,
    hints: Vec<String>,
}

impl Tried {
    /// Takes note of a place where nothing was, or that could not be looked at.
    fn note<T>(&mut self, found: Result<T>) -> Result<Option<T>> {
        let error = match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        match error.code() {
            ErrorCode::NotFound => {}
            ErrorCode::Network | ErrorCode::Git => {
                self.unreached = true;
                // A program that is missing says how to come by it.
                let help = error.hints().iter().filter(|_| error.code() == ErrorCode::Git);
                self.hints.extend(help.cloned());
            }
            _ => return Err(error),
        }
        // Writing to a string cannot fail.
        let _ = write!(self.words, "; {}", error.message());
        Ok(None)
    }

    fn into_error(self, domain: &RegistryName) -> Error {
        let code = if self.unreached { ErrorCode::Network } else { ErrorCode::NotFound };
        let error = Error::new(code, format!("no registry {domain} was found{}", self.words));
        self.hints.into_iter().fold(error, Error::hint).hint(format!("where you know its URL: quipu trust add {domain} URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn domain() -> RegistryName {
        "acme.example".parse().unwrap()
    }

    fn good() -> String {
        format!("quipu = 1\nregistry = \"acme.example\"\nid = \"{ID}\"\nurls = [\"https://git.acme.example/r.git\"]\n")
    }

    fn refused(text: &str) -> ErrorCode {
        WellKnown::parse(text.as_bytes(), &domain()).map(|found| found.urls).unwrap_err().code()
    }

    #[test]
    fn the_file_is_read_as_it_was_written() -> Result<()> {
        let read = WellKnown::parse(good().as_bytes(), &domain())?;
        assert_eq!((read.id().to_string(), read.urls()), (ID.to_owned(), &["https://git.acme.example/r.git".to_owned()][..]));
        let written = WellKnown::new(domain(), read.id(), vec!["https://git.acme.example/r.git".into()])?;
        assert_eq!(WellKnown::parse(written.to_text()?.as_bytes(), &domain())?, read);
        // Comments are for people.
        WellKnown::parse(format!("# hello\n{}", good()).as_bytes(), &domain())?;
        Ok(())
    }

    #[test]
    fn what_is_not_exactly_the_format_is_refused() {
        let bad = ErrorCode::BadWellKnown;
        assert_eq!(refused(""), bad);
        assert_eq!(refused("<!doctype html>\n<title>Acme</title>\n"), bad);
        assert_eq!(refused(&good().replace("quipu = 1", "quipu = \"1\"")), bad);
        assert_eq!(refused(&good().replace("quipu = 1", "quipu = 2\nnew = true")), ErrorCode::UnsupportedFormat);
        assert_eq!(refused(&format!("{}operators = []\n", good())), bad);
        assert_eq!(refused(&format!("{0}{0}", good())), bad);
        assert_eq!(refused(&good().replace("acme.example\"\nid", "other.example\"\nid")), ErrorCode::WrongRegistry);
        for field in ["registry", "id", "urls"] {
            let without: String =
                good().lines().filter(|line| !line.starts_with(field)).map(|line| format!("{line}\n")).collect();
            assert_eq!(refused(&without), bad, "{field}");
        }
        assert_eq!(refused(&good().replace("0123", "0x23")), bad);
        assert_eq!(WellKnown::parse(&[b'#', 0xff], &domain()).unwrap_err().code(), bad);
        assert_eq!(refused(&format!("{}#{}\n", good(), "x".repeat(SIZE_MAX))), ErrorCode::Limit);
        let full = |length: usize| format!("{}#{}", good(), "x".repeat(length - good().len() - 1));
        assert!(WellKnown::parse(full(SIZE_MAX).as_bytes(), &domain()).is_ok());
        assert_eq!(refused(&full(SIZE_MAX + 1)), ErrorCode::Limit);
    }

    #[test]
    fn the_file_names_plain_https_and_nothing_that_runs_or_reads_here() {
        let with = |urls: &str| good().replace("\"https://git.acme.example/r.git\"", urls);
        for url in [
            "ext::sh -c evil",
            "file:///etc",
            "/etc",
            "./reg.git",
            "-oProxyCommand=evil",
            "--upload-pack=evil",
            "http://acme.example/r",
            "git://acme.example/r",
            "ssh://git@acme.example/r",
            "git@acme.example:r",
            "https://acme.example",
            "https://-evil/r",
            "https://user:secret@acme.example/r",
            "https://token@acme.example/r",
            "https://acme.example/r?x=y",
            "https://acme.example/r\\u001b[31m",
        ] {
            assert_eq!(refused(&with(&format!("\"{url}\""))), ErrorCode::BadWellKnown, "{url}");
        }
        assert_eq!(refused(&with("")), ErrorCode::BadWellKnown);
        let many = |number: usize| with(&vec!["\"https://acme.example/r\""; number].join(", "));
        assert!(WellKnown::parse(many(URLS_MAX).as_bytes(), &domain()).is_ok());
        assert_eq!(refused(&many(URLS_MAX + 1)), ErrorCode::BadWellKnown);
        assert!(WellKnown::parse(with("\"https://acme.example:8443/\"").as_bytes(), &domain()).is_ok());
    }
}
