//! The proposal file: how a proposal that lies in somebody's fork is named in a pull request.
//!
//! It is canonical text, unsigned: what counts is the proposal's own records. Its path says the same as it does:
//! `proposals/<ns>/<name>/<commit>.toml`.
//!
//! ```text
//! format = 1
//! registry = "acme.example"
//! id = "sha256:…"
//! package = "demo:hello"
//! proposal = "5b91551f681be9c34d1ab0773b813dfefb0c1b9c"
//! fork = "https://forge.example/bob/registry.git"
//! signer = "bob"
//! key = "SHA256:…"
//! ```

use super::canonical::{Reader, Writer};
use super::digest::{GitId, RegistryId};
use super::error::{Result, fault};
use super::key::Fingerprint;
use super::name::{Label, PackageName, RegistryName};

/// The format that this program reads and writes.
const FORMAT: u64 = 1;
/// The longest proposal file in bytes.
pub const PROPOSAL_FILE_MAX: u64 = 8 * 1024;
/// The longest URL of a fork in bytes.
const FORK_MAX: usize = 1024;
/// The folder of proposal files.
pub const PROPOSALS: &str = "proposals";

/// A proposal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalFile {
    /// The registry that it is for.
    pub registry: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// The package.
    pub package: PackageName,
    /// The proposal's commit.
    pub proposal: GitId,
    /// The URL from which everybody can fetch that commit; not judged here.
    pub fork: String,
    /// Who signed the newest record of the proposal, by the name in its log.
    pub signer: Label,
    /// With which key.
    pub key: Fingerprint,
}

impl ProposalFile {
    /// Returns where the file is in the tree of a branch.
    pub fn path(&self) -> String {
        format!("{PROPOSALS}/{}/{}/{}.toml", self.package.namespace(), self.package.name(), self.proposal)
    }

    /// Writes the file.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut w = Writer::new(&mut text);
        w.integer("format", FORMAT);
        w.text("registry", &self.registry);
        w.text("id", self.id);
        w.text("package", &self.package);
        w.text("proposal", self.proposal);
        w.string("fork", &self.fork);
        w.text("signer", &self.signer);
        w.text("key", self.key);
        text
    }

    /// Reads a file, which is nobody's word yet.
    ///
    /// # Errors
    /// `limit` where it is too long, `unsupported-format` where it is of a newer format, `not-canonical` for whatever
    /// [`ProposalFile::to_text`] would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > PROPOSAL_FILE_MAX {
            return Err(fault!(Limit, "the file has {} bytes, at most {PROPOSAL_FILE_MAX} are allowed", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault!(NotCanonical, "the file is not UTF-8"))?;
        let mut r = Reader::new(text);
        let format = r.integer("format")?;
        if format != FORMAT {
            return Err(fault!(UnsupportedFormat, "the file has format {format}, this program reads format {FORMAT}"));
        }
        let file = ProposalFile {
            registry: r.text("registry")?,
            id: r.text("id")?,
            package: r.text("package")?,
            proposal: r.text("proposal")?,
            fork: r.string("fork")?,
            signer: r.text("signer")?,
            key: r.text("key")?,
        };
        r.end()?;
        if file.fork.len() > FORK_MAX || !file.fork.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(fault!(NotCanonical, "the URL of the fork is longer than {FORK_MAX} bytes, or not plain ASCII"));
        }
        Ok(file)
    }

    /// Checks that a path ends as [`ProposalFile::path`] says.
    ///
    /// # Errors
    /// `bad-proposal`.
    pub fn expect_at(&self, path: &str) -> Result<()> {
        let own = self.path();
        let is_below = path.strip_suffix(&own).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        if is_below { Ok(()) } else { Err(fault!(BadProposal, "the file says of itself that it is {own}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorCode;

    fn file() -> ProposalFile {
        ProposalFile {
            registry: "acme.example".parse().unwrap(),
            id: RegistryId::of_bytes(b"x"),
            package: "demo:hello".parse().unwrap(),
            proposal: "5b91551f681be9c34d1ab0773b813dfefb0c1b9c".parse().unwrap(),
            fork: "https://forge.example/bob/registry.git".into(),
            signer: "bob".parse().unwrap(),
            key: "SHA256:PRL3LFoj/ICClwVxBnoLMd2H/guVfX/2jONW2I5tXs8".parse().unwrap(),
        }
    }

    #[test]
    fn a_file_reads_as_it_was_written_and_is_toml() -> Result<()> {
        let text = file().to_text();
        assert_eq!(ProposalFile::parse(text.as_bytes())?, file());
        let toml: toml::Table = text.parse().unwrap();
        assert_eq!(toml["fork"].as_str(), Some("https://forge.example/bob/registry.git"));
        Ok(())
    }

    #[test]
    fn a_file_has_one_spelling_and_an_end() {
        let good = file().to_text();
        for (from, to, code) in [
            ("format = 1", "format = 2", ErrorCode::UnsupportedFormat),
            ("format = 1\n", "", ErrorCode::NotCanonical),
            ("\nregistry", "\n\nregistry", ErrorCode::NotCanonical),
            ("demo:hello", "Demo:hello", ErrorCode::NotCanonical),
            ("5b91551f", "5B91551f", ErrorCode::NotCanonical),
            ("5b91551f", "", ErrorCode::NotCanonical),
            ("https://forge", "https://f\\u00FCrge", ErrorCode::NotCanonical),
            ("https://forge", "https://f orge", ErrorCode::NotCanonical),
            ("\"bob\"", "\"bob\"\nmore = \"x\"", ErrorCode::NotCanonical),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good);
            assert_eq!(ProposalFile::parse(wrong.as_bytes()).unwrap_err().code(), code, "{wrong}");
        }
        let long = good + &"#".repeat(9000);
        assert_eq!(ProposalFile::parse(long.as_bytes()).unwrap_err().code(), ErrorCode::Limit);
        assert_eq!(ProposalFile::parse(&[0xff]).unwrap_err().code(), ErrorCode::NotCanonical);
        let far = file().to_text().replace("forge.example", &"a".repeat(2000));
        assert_eq!(ProposalFile::parse(far.as_bytes()).unwrap_err().code(), ErrorCode::NotCanonical);
    }

    #[test]
    fn its_path_says_the_same() {
        let path = file().path();
        assert_eq!(path, "proposals/demo/hello/5b91551f681be9c34d1ab0773b813dfefb0c1b9c.toml");
        for good in [path.clone(), format!("/tmp/x/{path}"), format!("./{path}")] {
            assert_eq!(file().expect_at(&good), Ok(()));
        }
        for wrong in [path.replace("5b9", "5b8"), path.replace("hello", "world"), format!("x{path}"), "a.toml".into()] {
            assert_eq!(file().expect_at(&wrong).unwrap_err().code(), ErrorCode::BadProposal, "{wrong}");
        }
    }
}
