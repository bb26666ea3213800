//! Where a promoted package comes from: the text whose digest alone its first record holds.
//!
//! It is canonical text (`docs/format.md`, section 7), and `sha256sum` of it is the digest. Who has the registry that it names can write it again
//! from the record there. Nobody else can guess it: the record's digest goes over a signature.
//!
//! ```text
//! format = 1
//! registry = "inside.example"
//! registry-id = "sha256:…"
//! package = "team:hello"
//! log = "sha256:…"
//! record = "sha256:…"
//! version = "1.0.0"
//! content = "sha256:…"
//! ```

use super::canonical::{Reader, Writer};
use super::digest::{ContentDigest, LogId, OriginDigest, RecordDigest, RegistryId};
use super::entry::Origin;
use super::error::{Result, fault};
use super::name::{PackageName, RegistryName, Version};

/// The format that this program reads and writes.
const FORMAT: u64 = 1;
/// The longest such text in bytes.
pub const OPENING_MAX: u64 = 4096;

/// The release that a promoted package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its registry, as its record names it.
    pub registry: RegistryName,
    /// The id of that registry.
    pub registry_id: RegistryId,
    /// The package, as its record names it.
    pub package: PackageName,
    /// The package's log.
    pub log: LogId,
    /// The record that is the release.
    pub record: RecordDigest,
    /// The version.
    pub version: Version,
    /// The contents.
    pub content: ContentDigest,
}

impl Opening {
    /// Writes the text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut w = Writer::new(&mut text);
        w.integer("format", FORMAT);
        w.text("registry", &self.registry);
        w.text("registry-id", self.registry_id);
        w.text("package", &self.package);
        w.text("log", self.log);
        w.text("record", self.record);
        w.text("version", &self.version);
        w.text("content", self.content);
        text
    }

    /// Returns the digest of the text.
    pub fn digest(&self) -> OriginDigest {
        OriginDigest::of_bytes(self.to_text().as_bytes())
    }

    /// Reads the text.
    ///
    /// # Errors
    /// `limit` where it is too long, `unsupported-format` where it is of a newer format, `not-canonical` for whatever [`Opening::to_text`] would not
    /// have written.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > OPENING_MAX {
            return Err(fault!(Limit, "the text has {} bytes, at most {OPENING_MAX} are allowed", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault!(NotCanonical, "the text is not UTF-8"))?;
        let mut r = Reader::new(text);
        let format = r.integer("format")?;
        if format != FORMAT {
            return Err(fault!(UnsupportedFormat, "the text has format {format}, this program reads format {FORMAT}"));
        }
        let opening = Opening {
            registry: r.text("registry")?,
            registry_id: r.text("registry-id")?,
            package: r.text("package")?,
            log: r.text("log")?,
            record: r.text("record")?,
            version: r.text("version")?,
            content: r.text("content")?,
        };
        r.end()?;
        Ok(opening)
    }

    /// Returns it as a fork would name it, at a checkpoint that is said to hold the record.
    pub fn as_origin(&self, checkpoint: RecordDigest) -> Origin {
        Origin {
            registry: self.registry.clone(),
            registry_id: self.registry_id,
            package: self.package.clone(),
            log: self.log,
            record: self.record,
            version: Some(self.version.clone()),
            content: Some(self.content),
            checkpoint,
            linked: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        Opening {
            registry: "inside.example".parse().unwrap(),
            registry_id: RegistryId::of_bytes(b"registry"),
            package: "team:hello".parse().unwrap(),
            log: LogId::of_bytes(b"log"),
            record: RecordDigest::of_bytes(b"record"),
            version: "1.0.0".parse().unwrap(),
            content: ContentDigest::of_bytes(b"content"),
        }
    }

    #[test]
    fn the_text_says_all_and_is_read_in_one_form_alone() {
        let text = opening().to_text();
        assert_eq!(Opening::parse(text.as_bytes()).unwrap(), opening());
        assert_eq!(opening().digest(), OriginDigest::of_bytes(text.as_bytes()));
        for other in [text.replace("\n", "\r\n"), text.clone() + "\n", text.replace(" = ", "="), text.replace("1.0.0", "1.0")] {
            assert!(Opening::parse(other.as_bytes()).is_err(), "{other}");
        }
        let newer = Opening::parse(text.replace("format = 1", "format = 2").as_bytes()).unwrap_err();
        assert_eq!(newer.code().as_str(), "unsupported-format");
    }

    #[test]
    fn another_release_has_another_digest() {
        let other = Opening { version: "1.0.1".parse().unwrap(), ..opening() };
        assert_ne!(other.digest(), opening().digest());
    }
}
