//! Why no choice of versions fits, in plain words.
//!
//! The solver's proof is taken apart into the facts that it stands on: who needs what, and what of it there is. They are told from the
//! request outward.

use super::resolve::{Line, Listed, Node, Numbers, Proof, Request, Tables, Target};
use crate::model::error::{Error, fault};
use crate::model::name::Version;
use pubgrub::{DerivationTree, External, VersionSet as _};
use semver::VersionReq;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The most facts that are told.
const FACTS_MAX: usize = 12;
/// The most versions that are named in a row.
const VERSIONS_MAX: usize = 5;
/// The most characters of a requirement, or of somebody's reason, that are shown.
const TEXT_MAX: usize = 160;

/// Who needs something: the request, or versions of a line of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Request,
    Package(usize, Line),
}

/// Which versions of whom need what: needs by number.
type Facts = BTreeMap<(Subject, usize), Numbers>;

/// Tells why a request has no solution.
pub(super) fn explain(tables: &Tables<'_>, request: &Request, proof: Proof) -> Error {
    let facts = facts(tables, request, proof);
    let story = Story { tables, request, one_registry: one_registry(tables, request) };
    let mut clauses = story.needs(&facts);
    if clauses.len() > FACTS_MAX {
        let more = clauses.len() - FACTS_MAX;
        clauses.truncate(FACTS_MAX);
        clauses.push(format!("and {more} more reasons of this kind"));
    }
    let mut hints = BTreeSet::new();
    let hopeless: BTreeSet<usize> =
        facts.keys().map(|(_, need)| *need).filter(|need| tables.needs[*need].target == Target::Nothing).collect();
    clauses.extend(hopeless.iter().take(VERSIONS_MAX).map(|need| {
        let is_asked = facts.contains_key(&(Subject::Request, *need));
        story.nothing_fits(*need, is_asked, &mut hints)
    }));
    clauses.extend(story.clashes(&facts).into_iter().take(VERSIONS_MAX));
    let mut error = fault!(NoSolution, "no choice of versions fits: {}", clauses.join("; "));
    for hint in hints.into_iter().take(3) {
        error = error.hint(hint);
    }
    error
}

/// Takes a proof apart. The tree is as deep as the search was long and shares its branches, so it is neither walked nor dropped
/// by recursion: a branch is opened when its last owner lets go of it.
fn facts(tables: &Tables<'_>, request: &Request, proof: Proof) -> Facts {
    let mut facts = Facts::new();
    let mut waiting = vec![Arc::new(proof)];
    while let Some(shared) = waiting.pop() {
        match Arc::try_unwrap(shared) {
            Ok(DerivationTree::Derived(derived)) => waiting.extend([derived.cause1, derived.cause2]),
            Ok(DerivationTree::External(fact)) => note(&mut facts, tables, request, &fact),
            Err(_held) => {}
        }
    }
    facts
}

fn note(facts: &mut Facts, tables: &Tables<'_>, request: &Request, fact: &External<Node, Numbers, usize>) {
    let mut add = |subject, need, versions: Numbers| {
        facts.entry((subject, need)).and_modify(|known| *known = known.union(&versions)).or_insert(versions);
    };
    let subject = |node: &Node| match node {
        Node::Root => Some(Subject::Request),
        Node::Package(package, line) => Some(Subject::Package(*package, *line)),
        // A requirement that several lines fit: what it comes to is said where it is needed.
        Node::Choice(_) => None,
    };
    match fact {
        External::Custom(node, versions, need) => {
            if let Some(subject) = subject(node) {
                add(subject, *need, versions.clone());
            }
        }
        External::FromDependencyOf(node, versions, target, fitting) => {
            let Some(who) = subject(node) else { return };
            let is_meant = |need: usize| matches!(&tables.needs[need].target, Target::Fits(t, f) if t == target && f == fitting);
            match who {
                Subject::Request => {
                    for need in tables.numbers_of(&request.needs).filter(|need| is_meant(*need)) {
                        add(who, need, versions.clone());
                    }
                }
                Subject::Package(package, _) => {
                    let candidates = tables.packages[package].candidates.as_deref().unwrap_or_default();
                    for at in versions.iter(candidates.len()) {
                        for need in tables.numbers_of(&candidates[at].needs).filter(|need| is_meant(*need)) {
                            add(who, need, Numbers::singleton(u32::try_from(at).unwrap_or(u32::MAX)));
                        }
                    }
                }
            }
        }
        External::NotRoot(..) | External::NoVersions(..) => {}
    }
}

/// Says whether all packages that are asked for or were met are of one registry, so that its name need not be said each time.
fn one_registry(tables: &Tables<'_>, request: &Request) -> bool {
    let met = tables.packages.iter().map(|listed| listed.key.registry);
    let all: BTreeSet<_> = met.chain(request.needs.iter().map(|need| need.package.registry)).collect();
    all.len() < 2
}

struct Story<'a> {
    tables: &'a Tables<'a>,
    request: &'a Request,
    one_registry: bool,
}

impl Story<'_> {
    fn name(&self, package: usize) -> String {
        let key = self.tables.packages[package].key;
        let is_double = self.tables.packages.iter().any(|other| other.key.name == key.name && other.key.registry != key.registry);
        match (self.one_registry, is_double) {
            (true, _) => key.name.package.to_string(),
            (false, false) => key.to_string(),
            (false, true) => format!("{key} (of the registry {})", key.registry),
        }
    }

    fn need(&self, need: usize) -> String {
        let need = &self.tables.needs[need];
        format!("{} {}", self.name(need.package), quoted(need.requirement))
    }

    /// Says who needs what, from the request outward.
    fn needs(&self, facts: &Facts) -> Vec<String> {
        let mut by_subject: BTreeMap<Subject, BTreeMap<&Numbers, Vec<usize>>> = BTreeMap::new();
        for ((subject, need), versions) in facts {
            by_subject.entry(*subject).or_default().entry(versions).or_default().push(*need);
        }
        let mut clauses = Vec::new();
        let mut waiting = VecDeque::from([Subject::Request]);
        while let Some(subject) = waiting.pop_front().or_else(|| by_subject.keys().next().copied()) {
            for (versions, needs) in by_subject.remove(&subject).unwrap_or_default() {
                let who = match subject {
                    Subject::Request => format!("{} needs", self.request.asker),
                    Subject::Package(package, _) => {
                        let listed = &self.tables.packages[package];
                        let candidates = listed.candidates.as_deref().unwrap_or_default();
                        let named: Vec<&Version> = versions.iter(candidates.len()).map(|at| &candidates[at].version).collect();
                        let verb = if named.len() == 1 { "needs" } else { "need" };
                        format!("{} {} {verb}", self.name(package), range(&named))
                    }
                };
                let texts: Vec<String> = needs.iter().map(|need| self.need(*need)).collect();
                clauses.push(format!("{who} {}", listing(&texts, "and")));
                for need in needs {
                    let package = self.tables.needs[need].package;
                    waiting.extend(by_subject.keys().filter(|s| matches!(s, Subject::Package(p, _) if *p == package)));
                }
            }
        }
        clauses
    }

    /// Says why nothing fits a need, and what there is.
    fn nothing_fits(&self, need: usize, is_asked: bool, hints: &mut BTreeSet<String>) -> String {
        let package = self.tables.needs[need].package;
        let requirement = self.tables.needs[need].requirement;
        let listed = &self.tables.packages[package];
        let name = self.name(package);
        let candidates = listed.candidates.as_deref().unwrap_or_default();
        if candidates.is_empty() {
            return match listed.note {
                Some(note) => format!("there is no {name}: {}", cut(note)),
                None => format!("{name} has no versions"),
            };
        }
        let barred = barred(listed, |version| requirement.matches(version.as_semver()));
        if !barred.is_empty() {
            if candidates.iter().any(|c| c.yanked.is_some() && requirement.matches(c.version.as_semver())) {
                hints.insert("a yanked version is chosen only where quipu.lock names it already".into());
            }
            return format!("of {name} only what may not be chosen fits {}: {}", quoted(requirement), barred.join(", "));
        }
        let without_pre = |version: &Version| {
            let version = version.as_semver();
            requirement.matches(&semver::Version::new(version.major, version.minor, version.patch))
        };
        let early: Vec<&Version> = listed
            .usable
            .iter(candidates.len())
            .map(|at| &candidates[at].version)
            .filter(|version| version.is_prerelease() && without_pre(version))
            .collect();
        if let Some(newest) = early.last() {
            // Where another package needs it, naming it beside that changes nothing.
            if is_asked {
                hints.insert(format!("to have a pre-release, name it: quipu add {}@{newest}", listed.key));
            }
            return format!("of {name} only pre-releases would fit {}: {}", quoted(requirement), newest_first(&early));
        }
        let all: Vec<&Version> = candidates.iter().map(|candidate| &candidate.version).collect();
        let note = listed.note.map(|note| format!(" ({})", cut(note))).unwrap_or_default();
        format!("no version of {name} fits {}, there are {}{note}", quoted(requirement), newest_first(&all))
    }

    /// Says where needs meet that nothing fits together.
    fn clashes(&self, facts: &Facts) -> Vec<String> {
        let mut met: BTreeMap<(usize, Line), BTreeSet<usize>> = BTreeMap::new();
        for (_, need) in facts.keys() {
            if let Target::Fits(Node::Package(package, line), _) = &self.tables.needs[*need].target {
                met.entry((*package, *line)).or_default().insert(*need);
            }
        }
        let mut clauses = Vec::new();
        for ((package, line), needs) in met {
            let fitting = needs.iter().fold(Numbers::full(), |all, need| match &self.tables.needs[*need].target {
                Target::Fits(_, fitting) => all.intersection(fitting),
                _ => all,
            });
            if needs.len() < 2 || fitting != Numbers::empty() {
                continue;
            }
            let requirements: Vec<&VersionReq> = needs.iter().map(|need| self.tables.needs[*need].requirement).collect();
            let texts: Vec<String> = requirements.iter().take(VERSIONS_MAX).map(|requirement| quoted(requirement)).collect();
            let barred = barred(&self.tables.packages[package], |version| {
                requirements.iter().all(|requirement| requirement.matches(version.as_semver()))
            });
            let barred =
                if barred.is_empty() { String::new() } else { format!(" but what may not be chosen: {}", barred.join(", ")) };
            let what = if texts.len() == 2 { "both" } else { "all of" };
            let name = self.name(package);
            clauses.push(format!(
                "only one version of {name} {line} can be used at a time, and none fits {what} {}{barred}",
                listing(&texts, "and")
            ));
        }
        clauses
    }
}

/// Lists the versions that fit and may not be chosen, each with its reason.
fn barred(listed: &Listed<'_>, fits: impl Fn(&Version) -> bool) -> Vec<String> {
    let candidates = listed.candidates.as_deref().unwrap_or_default();
    let found = candidates.iter().enumerate().rev().filter(|(at, c)| !listed.usable.has(*at) && fits(&c.version));
    let mut texts: Vec<String> = found
        .map(|(_, candidate)| {
            let why = match (&candidate.taken_down, &candidate.yanked) {
                (Some(reason), _) => format!("taken down: {}", cut(reason)),
                (None, Some(reason)) => format!("yanked: {}", cut(reason)),
                (None, None) => "flagged: a key in wrong hands released it".into(),
            };
            format!("{} ({why})", candidate.version)
        })
        .collect();
    let more = texts.len().saturating_sub(VERSIONS_MAX);
    if more > 0 {
        texts.truncate(VERSIONS_MAX);
        texts.push(format!("and {more} more"));
    }
    texts
}

/// Names versions that are sorted from the oldest on.
fn range(versions: &[&Version]) -> String {
    match versions {
        [first, _, .., last] if versions.len() > VERSIONS_MAX => format!("{first} to {last} ({} versions)", versions.len()),
        _ => listing(&versions.iter().map(ToString::to_string).collect::<Vec<_>>(), "and"),
    }
}

fn newest_first(versions: &[&Version]) -> String {
    let mut texts: Vec<String> = versions.iter().rev().take(VERSIONS_MAX).map(ToString::to_string).collect();
    if versions.len() > VERSIONS_MAX {
        texts.push(format!("{} more", versions.len() - VERSIONS_MAX));
    }
    listing(&texts, "and")
}

fn listing(texts: &[String], word: &str) -> String {
    match texts {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., last] => format!("{} {word} {last}", many.join(", ")),
    }
}

/// Writes a requirement as people do, in quotes where it has a comma of its own.
fn quoted(requirement: &VersionReq) -> String {
    let text = cut(&requirement.to_string());
    if text.contains(',') { format!("\"{text}\"") } else { text }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
