//! What a repository holds of a registry that it mirrors: the blob `held` beside the head of the mirrored registry log.
//!
//! It is canonical text, vouched for by the checkpoint whose map names it:
//!
//! ```text
//! format = 1
//! registry = "other.example"
//! id = "sha256:2d71…"
//! log = "sha256:99ab…"
//! seq = 12
//! checkpoint = "sha256:07fe…"
//! patterns = ["wasi:*"]
//! contents = true
//! ```

use super::canonical::{Reader, Writer};
use super::digest::{LogId, RecordDigest, RegistryId};
use super::error::{Result, fault};
use super::name::{PackageName, Pattern, RegistryName};

/// The format that this program reads and writes.
const FORMAT: u64 = 1;
/// The longest blob in bytes.
pub const HELD_MAX: u64 = 256 * 1024;
/// So many patterns it has at most.
pub const PATTERNS_MAX: usize = 1024;

/// What is held of a mirrored registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub registry: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// The id of its registry log.
    pub log: LogId,
    /// The place of its newest checkpoint that is held.
    pub seq: u64,
    /// That checkpoint.
    pub checkpoint: RecordDigest,
    /// Which packages; sorted, none twice, one at least.
    pub patterns: Vec<Pattern>,
    /// Whether contents are held, or logs alone.
    pub contents: bool,
    /// Whether contents stay that the registry takes down.
    pub keep_taken_down: bool,
}

impl Held {
    /// Says whether all packages are held, so that the whole map is.
    pub fn is_whole(&self) -> bool {
        is_whole(&self.patterns)
    }

    /// Says whether a package is among what is held.
    pub fn covers(&self, package: &PackageName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(package))
    }

    /// Writes the text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut w = Writer::new(&mut text);
        w.integer("format", FORMAT);
        w.text("registry", &self.registry);
        w.text("id", self.id);
        w.text("log", self.log);
        w.integer("seq", self.seq);
        w.text("checkpoint", self.checkpoint);
        w.strings("patterns", &self.patterns);
        w.boolean("contents", self.contents);
        if self.keep_taken_down {
            w.boolean("keep-taken-down", true);
        }
        text
    }

    /// Reads what [`Held::to_text`] wrote.
    ///
    /// # Errors
    /// `unsupported-format` where it is of a newer format, `not-canonical`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| fault!(NotCanonical, "what is held is not UTF-8"))?;
        let mut r = Reader::new(text);
        let format = r.integer("format")?;
        if format != FORMAT {
            return Err(fault!(UnsupportedFormat, "what is held has format {format}, this program reads format {FORMAT}"));
        }
        let held = Held {
            registry: r.text("registry")?,
            id: r.text("id")?,
            log: r.text("log")?,
            seq: r.integer("seq")?,
            checkpoint: r.text("checkpoint")?,
            patterns: r.strings("patterns")?.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            contents: r.boolean("contents")?,
            keep_taken_down: r.next_is("keep-taken-down") && r.boolean("keep-taken-down")?,
        };
        r.end()?;
        let is_sorted = held.patterns.windows(2).all(|pair| pair[0].to_string() < pair[1].to_string());
        if held.patterns.is_empty() || held.patterns.len() > PATTERNS_MAX || !is_sorted || held.to_text() != text {
            return Err(fault!(NotCanonical, "what is held of {} is not written as it should be", held.registry));
        }
        Ok(held)
    }
}

/// Says whether patterns mean all packages.
pub fn is_whole(patterns: &[Pattern]) -> bool {
    patterns.contains(&Pattern::All)
}

/// Puts patterns in order: sorted, none twice, and none that another one covers.
///
/// # Errors
/// `limit` where there are too many.
pub fn in_order(mut patterns: Vec<Pattern>) -> Result<Vec<Pattern>> {
    if is_whole(&patterns) {
        return Ok(vec![Pattern::All]);
    }
    let namespaces: Vec<Pattern> = patterns.iter().filter(|pattern| matches!(pattern, Pattern::Namespace(_))).cloned().collect();
    patterns.retain(|pattern| match pattern {
        Pattern::Package(package) => !namespaces.iter().any(|namespace| namespace.matches(package)),
        _ => true,
    });
    patterns.sort_by_cached_key(ToString::to_string);
    patterns.dedup();
    if patterns.len() > PATTERNS_MAX {
        return Err(fault!(Limit, "{} patterns are asked for, at most {PATTERNS_MAX} are possible", patterns.len())
            .hint("whole namespaces take one pattern each: 'namespace:*'"));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        let digest = RecordDigest::of_bytes(b"x");
        Held {
            registry: "other.example".parse().unwrap(),
            id: RegistryId::from_sha256([1; 32]),
            log: digest.into(),
            seq: 12,
            checkpoint: digest,
            patterns: vec!["cli:run".parse().unwrap(), "wasi:*".parse().unwrap()],
            contents: true,
            keep_taken_down: false,
        }
    }

    #[test]
    fn what_is_held_reads_back_and_nothing_else_does() {
        let held = held();
        let text = held.to_text();
        assert_eq!(Held::parse(text.as_bytes()), Ok(held.clone()));
        let kept = Held { keep_taken_down: true, contents: false, ..held };
        assert_eq!(Held::parse(kept.to_text().as_bytes()), Ok(kept));
        for wrong in [
            text.replace("[\"cli:run\", \"wasi:*\"]", "[\"wasi:*\", \"cli:run\"]"),
            text.replace("[\"cli:run\", \"wasi:*\"]", "[]"),
            text.replace("\"wasi:*\"", "\"wasi:**\""),
            format!("{text}keep-taken-down = false\n"),
            text.replace("seq = 12", "seq = 012"),
            format!("{text}\n"),
        ] {
            assert!(Held::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(
            Held::parse(text.replace("format = 1", "format = 2").as_bytes())
                .is_err_and(|error| error.code().as_str() == "unsupported-format")
        );
    }

    #[test]
    fn patterns_cover_what_they_say_and_are_kept_short() -> Result<()> {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Pattern>>>();
        let words =
            |texts: &[&str]| -> Result<Vec<String>> { Ok(in_order(patterns(texts)?)?.iter().map(ToString::to_string).collect()) };
        assert_eq!(words(&["wasi:http", "wasi:*", "cli:run", "cli:run"])?, ["cli:run", "wasi:*"]);
        assert_eq!(words(&["wasi:http", "*", "cli:run"])?, ["*"]);
        let held = held();
        assert!(held.covers(&"wasi:http".parse()?) && held.covers(&"cli:run".parse()?) && !held.covers(&"cli:walk".parse()?));
        assert!(!held.is_whole());
        let many: Vec<Pattern> = (0..=PATTERNS_MAX).map(|at| format!("a:p{at}").parse()).collect::<Result<_>>()?;
        assert!(in_order(many).is_err());
        Ok(())
    }
}
