//! What a person searches for, and how well a package answers it.

use super::error::{Result, fault};
use super::name::{Label, PackageName, RegistryName};
use std::collections::BTreeSet;

/// Words that all have to be found in a package's name or description, in whatever case.
///
/// A word with a colon is found in names alone: `wasi:` in that namespace, `wasi:ht` in those of its names that have `ht`, `:ht` in the names of
/// all namespaces. A domain before it, `acme.example/wasi:ht`, keeps the search to one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// The namespace, where the word names one.
    namespace: Option<Label>,
    /// Whether it is looked for in the package's own name and nowhere else.
    of_names: bool,
    /// In small letters.
    text: String,
}

/// How well a package answers: the less, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The sum of how far off each word is.
    off: u32,
    /// Of two names the shorter one has less beside what was asked for.
    length: usize,
}

// How far off a word is.
const SAME: u32 = 0;
const BEGINS: u32 = 1;
const BEGINS_PART: u32 = 2;
const WITHIN: u32 = 4;
const NAMESPACE: u32 = 5;
const WITHIN_NAMESPACE: u32 = 8;
const WORD_OF_DESCRIPTION: u32 = 10;
const WITHIN_DESCRIPTION: u32 = 12;

impl Query {
    /// Reads words, and the registry that they name.
    ///
    /// # Errors
    /// `bad-name` for what stands where a namespace should and can be none, `usage` where words name two registries.
    pub fn read(words: &[String]) -> Result<(Self, Option<RegistryName>)> {
        let mut query = Query::default();
        let mut registry: Option<RegistryName> = None;
        for text in words.iter().flat_map(|words| words.split_whitespace()) {
            let mut text = text.to_lowercase();
            if let Some((domain, rest)) = text.split_once('/')
                && let Ok(domain) = domain.parse::<RegistryName>()
            {
                if let Some(other) = registry.replace(domain.clone()).filter(|other| *other != domain) {
                    return Err(fault!(Usage, "no package is in two registries: {other} and {domain}"));
                }
                text = rest.to_owned();
            }
            let word = match text.split_once(':') {
                Some((namespace, rest)) => {
                    let namespace = (!namespace.is_empty()).then(|| namespace.parse()).transpose()?;
                    Word { namespace, of_names: true, text: rest.to_owned() }
                }
                None => Word { namespace: None, of_names: false, text },
            };
            if !(word.text.is_empty() && word.namespace.is_none()) {
                query.words.push(word);
            }
        }
        Ok((query, registry))
    }

    /// Returns the namespace that all answers are in, where there is one.
    pub fn namespace(&self) -> Option<&Label> {
        self.words.iter().find_map(|word| word.namespace.as_ref())
    }

    /// Returns the one package that is named in full, where there is one; others may answer as well.
    pub fn named(&self) -> Option<PackageName> {
        let full = |word: &Word| Some(PackageName::new(word.namespace.clone()?, word.text.parse().ok()?));
        self.words.iter().find_map(full)
    }

    /// Says whether a description can make a package an answer that by its name is none.
    pub fn is_of_descriptions(&self) -> bool {
        self.words.iter().any(|word| !word.of_names)
    }

    /// Judges a package; `None` where a word is found nowhere.
    pub fn rank(&self, namespace: &str, name: &str, description: Option<&str>) -> Option<Rank> {
        let mut off = 0;
        let mut lower: Option<String> = None;
        for word in &self.words {
            let found = word.in_name(namespace, name).or_else(|| {
                let description = description.filter(|_| !word.of_names)?;
                in_description(&word.text, lower.get_or_insert_with(|| description.to_lowercase()))
            });
            off += found?;
        }
        Some(Rank { off, length: name.len() })
    }
}

impl Word {
    fn in_name(&self, namespace: &str, name: &str) -> Option<u32> {
        let text = self.text.as_str();
        if self.namespace.as_ref().is_some_and(|wanted| wanted.as_str() != namespace) {
            return None;
        }
        if name == text {
            Some(SAME)
        } else if name.starts_with(text) {
            Some(BEGINS)
        } else if name.split('-').any(|part| part.starts_with(text)) {
            Some(BEGINS_PART)
        } else if name.contains(text) {
            Some(WITHIN)
        } else if self.of_names {
            None
        } else if namespace == text {
            Some(NAMESPACE)
        } else {
            namespace.contains(text).then_some(WITHIN_NAMESPACE)
        }
    }
}

fn in_description(word: &str, description: &str) -> Option<u32> {
    let mut words = description.split(|c: char| !c.is_alphanumeric());
    if words.any(|other| !other.is_empty() && other.starts_with(word)) {
        return Some(WORD_OF_DESCRIPTION);
    }
    description.contains(word).then_some(WITHIN_DESCRIPTION)
}

/// The best of however many answers, held in memory that does not grow with them.
#[derive(Clone, Debug)]
pub struct Best {
    most: usize,
    held: BTreeSet<(Rank, PackageName)>,
    all: u64,
}

impl Best {
    /// Begins to hold at most so many.
    pub fn of(most: usize) -> Self {
        Best { most, held: BTreeSet::new(), all: 0 }
    }

    /// Takes in one more. Each package may come once.
    pub fn offer(&mut self, rank: Rank, package: impl FnOnce() -> PackageName) {
        self.all += 1;
        if self.held.len() >= self.most && self.held.last().is_some_and(|(worst, _)| *worst < rank) {
            return;
        }
        self.held.insert((rank, package()));
        if self.held.len() > self.most {
            self.held.pop_last();
        }
    }

    /// Returns how many came.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// Returns the best, the best first.
    pub fn iter(&self) -> impl Iterator<Item = (Rank, &PackageName)> {
        self.held.iter().map(|(rank, package)| (*rank, package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorCode;

    fn query(text: &str) -> Query {
        Query::read(&[text.to_owned()]).unwrap().0
    }

    /// Sorts packages, each with a description after a space, by how well they answer; leaves out those that do not.
    fn found<'a>(words: &str, packages: &[&'a str]) -> Vec<&'a str> {
        let query = query(words);
        let rank = |text: &&'a str| {
            let (package, description) = text.split_once(' ').map_or((*text, None), |(name, text)| (name, Some(text)));
            let (namespace, name) = package.split_once(':').unwrap();
            query.rank(namespace, name, description).map(|rank| (rank, package))
        };
        let mut found: Vec<(Rank, &str)> = packages.iter().filter_map(rank).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, package)| package).collect()
    }

    #[test]
    fn the_name_itself_goes_before_its_beginning_its_parts_and_what_is_said_of_it() {
        let packages = [
            "a:told speaks xhttp",
            "a:said speaks HTTP",
            "xhttp:any",
            "http:any",
            "a:xhttp",
            "a:my-http-client",
            "a:https",
            "a:httpclient",
            "b:http",
            "a:http",
            "a:other nothing",
        ];
        let expected = [
            "a:http",
            "b:http",
            "a:https",
            "a:httpclient",
            "a:my-http-client",
            "a:xhttp",
            "http:any",
            "xhttp:any",
            "a:said",
            "a:told",
        ];
        assert_eq!(found("HTTP", &packages), expected);
    }

    #[test]
    fn all_words_must_be_found_wherever_they_are() {
        let packages = ["a:http-client", "a:http A client", "a:http", "a:client", "client:http", "a:b An HTTP client"];
        assert_eq!(found("http client", &packages), ["a:http-client", "client:http", "a:http", "a:b"]);
        assert_eq!(found("", &packages).len(), packages.len(), "no word is found everywhere");
    }

    #[test]
    fn a_word_with_a_colon_is_found_in_names_alone() {
        let packages = ["wasi:http", "wasi:http-types", "wasi:clock tells wasi:http", "my-wasi:http", "a:wasi"];
        assert_eq!(found("wasi:", &packages), ["wasi:http", "wasi:clock", "wasi:http-types"]);
        assert_eq!(found("Wasi:ht", &packages), ["wasi:http", "wasi:http-types"]);
        assert_eq!(found(":types", &packages), ["wasi:http-types"]);
        assert_eq!(found("wasi: a:", &packages), [""; 0]);
        assert_eq!(query("x wasi:ht").namespace().map(Label::as_str), Some("wasi"));
        assert_eq!(query("wasi:ht").named(), Some("wasi:ht".parse().unwrap()));
        assert_eq!((query("wasi:").named(), query("ht").named(), query(":").namespace()), (None, None, None));
        assert!(query("x wasi:ht").is_of_descriptions() && !query("wasi:ht").is_of_descriptions());
    }

    #[test]
    fn a_domain_keeps_the_search_to_one_registry() {
        let read = |words: &str| Query::read(&[words.to_owned()]);
        let (both, registry) = read("acme.example/wasi:ht acme.example/x").unwrap();
        assert_eq!((both, registry.unwrap().as_str()), (query("wasi:ht x"), "acme.example"));
        assert_eq!(read("tcp/ip").unwrap(), (query("tcp/ip"), None), "a word like any other");
        assert_eq!(read("a.example/x b.example/y").unwrap_err().code(), ErrorCode::Usage);
        assert_eq!(read("foo_bar:x").unwrap_err().code(), ErrorCode::BadName);
    }

    #[test]
    fn only_the_best_are_held_and_all_are_counted() {
        let query = query("b");
        let mut best = Best::of(2);
        for name in ["b", "xb", "bb", "yb", "b-b", "zb"] {
            let rank = query.rank("a", name, None).unwrap();
            best.offer(rank, || format!("a:{name}").parse().unwrap());
        }
        let held: Vec<String> = best.iter().map(|(_, package)| package.to_string()).collect();
        assert_eq!((held, best.all()), (vec!["a:b".to_owned(), "a:bb".to_owned()], 6));
    }
}
