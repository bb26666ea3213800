//! Which versions go together: one for each SemVer-compatible range of each package that is needed, or why there is none.
//!
//! 1. What a requirement fits is what [`semver::VersionReq::matches`] says; nothing else is asked.
//! 2. Versions are compatible as cargo has it: 1.x with 1.y, 0.1.x with 0.1.y, 0.0.1 with itself alone. Of each such range of
//!    a package one version is chosen. Different ranges of one package stand side by side.
//! 3. The versions of a lock are chosen wherever they fit, else the newest.
//! 4. What was taken down is never chosen. What is yanked is chosen only where a lock names it; what is flagged, only where the user
//!    insists on it as well.
//! 5. Nothing is fetched here. A package that is not known yet is taken to have what is asked of it; [`Outcome::NeedMore`] names all of
//!    those that a solution would need, so that they are fetched together.
//! 6. The same input has the same answer, and a lock of what was chosen has that answer again.

use super::conflict;
use crate::model::digest::RegistryId;
use crate::model::error::{Result, fault};
use crate::model::name::{FullName, Version};
use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError, VersionSet};
use semver::VersionReq;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

/// The decisions that are made before the search is given up, beside [`DECISIONS_EACH`]: the problem is as hard as any, what is asked for may
/// be meant to be, and each decision takes longer than the one before.
const DECISIONS_MAX: u64 = 5_000;
/// The decisions that each package that was met adds to them.
const DECISIONS_EACH: u64 = 8;

/// A package, wherever it is named from. The same name in two registries is two packages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageKey {
    /// Its full name.
    pub name: FullName,
    /// The id of its registry.
    pub registry: RegistryId,
}

impl fmt::Display for PackageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, f)
    }
}

/// One version of a package.
pub type Pick = (PackageKey, Version);

/// What a release, or the user, needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// The package.
    pub package: PackageKey,
    /// Which versions of it will do.
    pub requirement: VersionReq,
}

/// A release that could be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its version.
    pub version: Version,
    /// What it needs.
    pub needs: Vec<Need>,
    /// The reason, while it is yanked.
    pub yanked: Option<String>,
    /// Whether a key in wrong hands released it.
    pub flagged: bool,
    /// The reason, where it was taken down.
    pub taken_down: Option<String>,
}

impl Candidate {
    /// Makes a candidate that nothing is said against.
    pub fn new(version: Version, needs: Vec<Need>) -> Self {
        Candidate { version, needs, yanked: None, flagged: false, taken_down: None }
    }
}

/// All that is known of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its releases, in any order.
    pub candidates: Vec<Candidate>,
    /// What else there is to say where none of them fits, as `acme.example has no package of that name`.
    pub note: Option<String>,
}

/// What is known of packages. One that is missing here was not fetched yet.
pub type Universe = BTreeMap<PackageKey, Known>;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Who needs it, as messages name it: `quipu.toml`.
    pub asker: String,
    /// What is needed.
    pub needs: Vec<Need>,
    /// The versions of a lock: chosen where they fit. To update a package, leave it out.
    pub preferred: BTreeSet<Pick>,
    /// Flagged versions that will do all the same, where they are preferred, too.
    pub insist: BTreeSet<Pick>,
    /// Packages that come before the preferred versions of others: each is as new as it can be, even where others must move for it.
    pub sought: BTreeSet<PackageKey>,
}

/// How far a resolution came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These packages are needed and not known yet. With them, ask again.
    NeedMore(BTreeSet<PackageKey>),
    /// Everything is chosen.
    Solved(Solution),
}

/// A need, and the version that was chosen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The need.
    pub need: Need,
    /// The version.
    pub version: Version,
}

impl Edge {
    /// Returns what was chosen for the need.
    pub fn pick(&self) -> Pick {
        (self.need.package.clone(), self.version.clone())
    }
}

/// The versions that were chosen, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    /// What was chosen for each need of the request, in its order.
    pub roots: Vec<Edge>,
    /// Each chosen version with what was chosen for each of its needs, in the order of the candidate's needs.
    pub picks: BTreeMap<Pick, Vec<Edge>>,
}

/// Chooses versions.
///
/// # Errors
/// `no-solution` with the reasons, `limit` where the search takes too long.
pub fn resolve(universe: &Universe, request: &Request) -> Result<Outcome> {
    resolve_within(DECISIONS_MAX, universe, request)
}

fn resolve_within(decisions: u64, universe: &Universe, request: &Request) -> Result<Outcome> {
    let mut outcome = resolve_once(decisions, universe, request)?;
    // Where a package has several versions, one that was chosen for one need may serve another better than what was chosen for that: a
    // lock with both would have another answer than the one it was written for.
    while let Outcome::Solved(solution) = &outcome
        && solution.picks.keys().zip(solution.picks.keys().skip(1)).any(|((one, _), (next, _))| one == next)
    {
        let chosen = solution.picks.keys().cloned().collect();
        let again =
            resolve_once(decisions, universe, &Request { preferred: chosen, sought: BTreeSet::new(), ..request.clone() })?;
        if again == outcome {
            break;
        }
        outcome = again;
    }
    Ok(outcome)
}

fn resolve_once(decisions: u64, universe: &Universe, request: &Request) -> Result<Outcome> {
    let solver = Solver::new(decisions, universe, request);
    match pubgrub::resolve(&solver, Node::Root, 0u32) {
        Ok(chosen) => Ok(solver.outcome(&chosen.into_iter().collect())),
        Err(PubGrubError::NoSolution(proof)) => Err(conflict::explain(&solver.tables.borrow(), request, proof)),
        Err(PubGrubError::ErrorInShouldCancel(Tired)) => {
            Err(fault!(Limit, "no choice of versions was found for {} in {} steps", request.asker, solver.steps.get())
                .hint("ask for fewer versions: the requirements leave too many ways to try"))
        }
        Err(PubGrubError::ErrorChoosingVersion { .. } | PubGrubError::ErrorRetrievingDependencies { .. }) => {
            Err(fault!(Bug, "the choice of versions broke off"))
        }
    }
}

/// A range of compatible versions, by the numbers that stay the same in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Line(u64, u64, u64);

impl Line {
    pub(super) fn of(version: &Version) -> Self {
        match version.as_semver() {
            semver::Version { major: 0, minor: 0, patch, .. } => Line(0, 0, *patch),
            semver::Version { major: 0, minor, .. } => Line(0, *minor, 0),
            semver::Version { major, .. } => Line(*major, 0, 0),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line(0, 0, patch) => write!(f, "0.0.{patch}"),
            Line(0, minor, _) => write!(f, "0.{minor}.x"),
            Line(major, ..) => write!(f, "{major}.x"),
        }
    }
}

/// What the solver chooses a version of. Packages and choices go by their places in [`Tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    /// The request.
    Root,
    /// A line of a package; its versions are places of candidates.
    Package(usize, Line),
    /// A requirement that more than one line fits; its versions are places of lines.
    Choice(usize),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A set of numbers: some, or all but some.
///
/// Versions are numbered, and what a requirement means is found by asking it about each version: so the sets of the solver agree with
/// the requirement whatever it says. No union of ranges could, for `>=1.0.0-rc.1` leaves out the pre-releases of all later versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Numbers {
    /// Whether numbers are in the set unless their bit is set.
    all_but: bool,
    /// Without zeros at the end, so that equal sets are equal.
    bits: Vec<u64>,
}

impl Numbers {
    fn word(&self, at: usize) -> u64 {
        let bits = self.bits.get(at).copied().unwrap_or(0);
        if self.all_but { !bits } else { bits }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.word(number / 64) >> (number % 64) & 1 == 1
    }

    pub(super) fn iter(&self, below: usize) -> impl DoubleEndedIterator<Item = usize> {
        (0..below).filter(|number| self.has(*number))
    }
}

impl FromIterator<usize> for Numbers {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut bits = Vec::new();
        for number in numbers {
            if bits.len() <= number / 64 {
                bits.resize(number / 64 + 1, 0);
            }
            bits[number / 64] |= 1 << (number % 64);
        }
        Numbers { all_but: false, bits }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl VersionSet for Numbers {
    type V = u32;

    fn empty() -> Self {
        Numbers { all_but: false, bits: Vec::new() }
    }

    fn singleton(number: u32) -> Self {
        [number as usize].into_iter().collect()
    }

    fn complement(&self) -> Self {
        Numbers { all_but: !self.all_but, bits: self.bits.clone() }
    }

    fn intersection(&self, other: &Self) -> Self {
        let all_but = self.all_but && other.all_but;
        let flip = if all_but { u64::MAX } else { 0 };
        let words = self.bits.len().max(other.bits.len());
        let mut bits: Vec<u64> = (0..words).map(|at| (self.word(at) & other.word(at)) ^ flip).collect();
        bits.truncate(bits.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        Numbers { all_but, bits }
    }

    fn contains(&self, number: &u32) -> bool {
        self.has(*number as usize)
    }
}

/// A package as the solver has it.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    pub(super) key: &'a PackageKey,
    /// Its candidates from the oldest to the newest; `None` where it is not known yet.
    pub(super) candidates: Option<Vec<&'a Candidate>>,
    pub(super) note: Option<&'a str>,
    /// Those that may be chosen.
    pub(super) usable: Numbers,
    preferred: Numbers,
}

/// What a need comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The package is not known yet.
    Unknown,
    /// Nothing that may be chosen fits.
    Nothing,
    /// These versions of this fit.
    Fits(Node, Numbers),
}

/// A need as the solver has it.
#[derive(Debug)]
pub(super) struct ListedNeed<'a> {
    pub(super) package: usize,
    pub(super) requirement: &'a VersionReq,
    pub(super) target: Target,
}

#[derive(Debug)]
struct Choice {
    package: usize,
    lines: Vec<(Line, Numbers)>,
}

/// Packages and needs by number, filled as the solver meets them.
#[derive(Debug, Default)]
pub(super) struct Tables<'a> {
    pub(super) packages: Vec<Listed<'a>>,
    pub(super) needs: Vec<ListedNeed<'a>>,
    choices: Vec<Choice>,
    numbers: HashMap<&'a PackageKey, usize>,
    need_numbers: HashMap<(usize, &'a VersionReq), usize>,
}

impl<'a> Tables<'a> {
    /// Returns the numbers of needs that were met before.
    pub(super) fn numbers_of(&self, needs: &'a [Need]) -> impl Iterator<Item = usize> {
        needs.iter().filter_map(|need| {
            let package = self.numbers.get(&need.package)?;
            self.need_numbers.get(&(*package, &need.requirement)).copied()
        })
    }
}

/// Why the search was given up.
#[derive(Debug)]
struct Tired;

impl fmt::Display for Tired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many steps")
    }
}

impl std::error::Error for Tired {}

struct Solver<'a> {
    universe: &'a Universe,
    request: &'a Request,
    preferred: BTreeMap<&'a PackageKey, BTreeSet<&'a Version>>,
    insist: BTreeMap<&'a PackageKey, BTreeSet<&'a Version>>,
    /// What is sought, and all that leads to it.
    upward: BTreeSet<&'a PackageKey>,
    tables: RefCell<Tables<'a>>,
    steps: Cell<u64>,
    decisions: u64,
}

fn grouped(picks: &BTreeSet<Pick>) -> BTreeMap<&PackageKey, BTreeSet<&Version>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (package, version) in picks {
        found.entry(package).or_default().insert(version);
    }
    found
}

impl<'a> Solver<'a> {
    fn new(decisions: u64, universe: &'a Universe, request: &'a Request) -> Self {
        Solver {
            universe,
            request,
            preferred: grouped(&request.preferred),
            insist: grouped(&request.insist),
            upward: if request.sought.is_empty() { BTreeSet::new() } else { leading_to(universe, &request.sought) },
            tables: RefCell::default(),
            steps: Cell::new(0),
            decisions,
        }
    }

    fn package(&self, tables: &mut Tables<'a>, key: &'a PackageKey) -> usize {
        if let Some(number) = tables.numbers.get(key) {
            return *number;
        }
        let number = tables.packages.len();
        tables.numbers.insert(key, number);
        let known = self.universe.get(key);
        let candidates = known.map(|known| {
            let mut candidates: Vec<&Candidate> = known.candidates.iter().collect();
            candidates.sort_by(|a, b| a.version.cmp(&b.version));
            candidates.dedup_by(|a, b| a.version == b.version);
            candidates
        });
        let all = || candidates.iter().flatten().enumerate();
        let named = |picks: &BTreeMap<&PackageKey, BTreeSet<&Version>>, candidate: &Candidate| {
            picks.get(key).is_some_and(|versions| versions.contains(&candidate.version))
        };
        let is_usable = |candidate: &Candidate| {
            let preferred = named(&self.preferred, candidate);
            candidate.taken_down.is_none()
                && (candidate.yanked.is_none() || preferred)
                && (!candidate.flagged || (preferred && named(&self.insist, candidate)))
        };
        let usable = all().filter(|(_, candidate)| is_usable(candidate)).map(|(at, _)| at).collect();
        let preferred = all().filter(|(_, candidate)| named(&self.preferred, candidate)).map(|(at, _)| at).collect();
        let note = known.and_then(|known| known.note.as_deref());
        tables.packages.push(Listed { key, candidates, note, usable, preferred });
        number
    }

    fn need(&self, tables: &mut Tables<'a>, need: &'a Need) -> usize {
        let package = self.package(tables, &need.package);
        let requirement = &need.requirement;
        if let Some(number) = tables.need_numbers.get(&(package, requirement)) {
            return *number;
        }
        let listed = &tables.packages[package];
        let target = match &listed.candidates {
            None => Target::Unknown,
            Some(candidates) => {
                let mut lines: BTreeMap<Line, Vec<usize>> = BTreeMap::new();
                for at in listed.usable.iter(candidates.len()) {
                    let version = &candidates[at].version;
                    if requirement.matches(version.as_semver()) {
                        lines.entry(Line::of(version)).or_default().push(at);
                    }
                }
                let mut lines: Vec<(Line, Numbers)> =
                    lines.into_iter().map(|(line, fitting)| (line, fitting.into_iter().collect())).collect();
                match lines.pop() {
                    None => Target::Nothing,
                    Some((line, fitting)) if lines.is_empty() => Target::Fits(Node::Package(package, line), fitting),
                    Some(newest) => {
                        lines.push(newest);
                        let fitting = (0..lines.len()).collect();
                        tables.choices.push(Choice { package, lines });
                        Target::Fits(Node::Choice(tables.choices.len() - 1), fitting)
                    }
                }
            }
        };
        let number = tables.needs.len();
        tables.needs.push(ListedNeed { package, requirement, target });
        tables.need_numbers.insert((package, requirement), number);
        number
    }

    /// Returns what a version of a node needs; for the versions of a choice this is their line, not a need.
    fn needs_of(&self, tables: &Tables<'a>, node: Node, version: usize) -> &'a [Need] {
        match node {
            Node::Root => &self.request.needs,
            Node::Choice(_) => &[],
            Node::Package(package, _) => {
                let candidate = tables.packages[package].candidates.as_ref().and_then(|candidates| candidates.get(version));
                candidate.map_or(&[], |candidate| &candidate.needs)
            }
        }
    }

    /// Follows the needs from the request on, so that nothing is in the answer that nobody needs.
    fn outcome(&self, chosen: &HashMap<Node, u32>) -> Outcome {
        let mut tables = self.tables.borrow_mut();
        let mut unknown = BTreeSet::new();
        let mut solution = Solution::default();
        let mut waiting = VecDeque::from([(Node::Root, 0usize)]);
        let mut met: BTreeSet<Node> = BTreeSet::from([Node::Root]);
        while let Some((node, version)) = waiting.pop_front() {
            let mut edges = Vec::new();
            for need in self.needs_of(&tables, node, version) {
                let number = self.need(&mut tables, need);
                let mut target = match &tables.needs[number].target {
                    Target::Fits(node, _) => *node,
                    Target::Unknown => {
                        unknown.insert(need.package.clone());
                        continue;
                    }
                    // No solution chooses what has such a need.
                    Target::Nothing => continue,
                };
                if let Node::Choice(choice) = target {
                    let line = chosen.get(&target).map_or(0, |line| *line as usize);
                    let choice = &tables.choices[choice];
                    target = Node::Package(choice.package, choice.lines[line].0);
                }
                let (Node::Package(package, _), Some(version)) = (target, chosen.get(&target)) else { continue };
                let Some(candidates) = &tables.packages[package].candidates else { continue };
                let version = *version as usize;
                edges.push(Edge { need: need.clone(), version: candidates[version].version.clone() });
                if met.insert(target) {
                    waiting.push_back((target, version));
                }
            }
            match node {
                Node::Package(package, _) => {
                    let listed = &tables.packages[package];
                    let candidate = listed.candidates.as_ref().and_then(|candidates| candidates.get(version));
                    if let Some(candidate) = candidate {
                        solution.picks.insert((listed.key.clone(), candidate.version.clone()), edges);
                    }
                }
                Node::Root | Node::Choice(_) => solution.roots = edges,
            }
        }
        if unknown.is_empty() { Outcome::Solved(solution) } else { Outcome::NeedMore(unknown) }
    }
}

/// Finds the packages of which any release needs one of these, however far away.
fn leading_to<'a>(universe: &'a Universe, sought: &'a BTreeSet<PackageKey>) -> BTreeSet<&'a PackageKey> {
    let mut needed_by: BTreeMap<&PackageKey, BTreeSet<&PackageKey>> = BTreeMap::new();
    for (package, known) in universe {
        for need in known.candidates.iter().flat_map(|candidate| &candidate.needs) {
            needed_by.entry(&need.package).or_default().insert(package);
        }
    }
    let mut found: BTreeSet<&PackageKey> = sought.iter().collect();
    let mut waiting: Vec<&PackageKey> = sought.iter().collect();
    while let Some(package) = waiting.pop() {
        for above in needed_by.get(package).into_iter().flatten() {
            if found.insert(above) {
                waiting.push(above);
            }
        }
    }
    found
}

impl DependencyProvider for Solver<'_> {
    type P = Node;
    type V = u32;
    type VS = Numbers;
    /// What matters first; conflicts so far; the fewest versions; what was met first.
    type Priority = (u8, u32, Reverse<usize>, Reverse<Node>);
    /// The number of the need that cannot be met.
    type M = usize;
    type Err = Tired;

    fn prioritize(&self, node: &Node, range: &Numbers, conflicts: &PackageResolutionStatistics) -> Self::Priority {
        let tables = self.tables.borrow();
        let weigh = |package: usize, range: &Numbers| {
            let listed = &tables.packages[package];
            let held = listed.preferred.intersection(range) != Numbers::empty();
            let order = match (self.upward.contains(listed.key), held) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            };
            (order, range.iter(listed.candidates.as_ref().map_or(0, Vec::len)).count())
        };
        let (order, count) = match node {
            Node::Root => (u8::MAX, 1),
            Node::Package(package, _) => weigh(*package, range),
            Node::Choice(choice) => {
                let choice = &tables.choices[*choice];
                let all = choice.lines.iter().fold(Numbers::empty(), |all, (_, fitting)| all.union(fitting));
                weigh(choice.package, &all)
            }
        };
        (order, conflicts.conflict_count(), Reverse(count), Reverse(*node))
    }

    fn choose_version(&self, node: &Node, range: &Numbers) -> Result<Option<u32>, Tired> {
        let tables = self.tables.borrow();
        let newest = match node {
            Node::Root => Some(0),
            Node::Package(package, _) => {
                let listed = &tables.packages[*package];
                let count = listed.candidates.as_ref().map_or(0, Vec::len);
                let range = listed.usable.intersection(range);
                range.intersection(&listed.preferred).iter(count).next_back().or_else(|| range.iter(count).next_back())
            }
            Node::Choice(choice) => {
                let choice = &tables.choices[*choice];
                let preferred = &tables.packages[choice.package].preferred;
                let held = |line: &usize| !choice.lines[*line].1.is_disjoint(preferred);
                let mut lines = range.iter(choice.lines.len()).rev();
                range.iter(choice.lines.len()).rev().find(held).or_else(|| lines.next())
            }
        };
        Ok(newest.and_then(|number| u32::try_from(number).ok()))
    }

    fn get_dependencies(&self, node: &Node, version: &u32) -> Result<Dependencies<Node, Numbers, usize>, Tired> {
        let mut tables = self.tables.borrow_mut();
        let version = *version as usize;
        if let Node::Choice(choice) = node {
            let choice = &tables.choices[*choice];
            let (line, fitting) = &choice.lines[version];
            let one = (Node::Package(choice.package, *line), fitting.clone());
            return Ok(Dependencies::Available([one].into_iter().collect()));
        }
        let mut found = Vec::new();
        for need in self.needs_of(&tables, *node, version) {
            let number = self.need(&mut tables, need);
            match &tables.needs[number].target {
                Target::Unknown => {}
                Target::Nothing => return Ok(Dependencies::Unavailable(number)),
                // A version that needs itself has it; one that needs another of its own line can never be.
                Target::Fits(target, fitting) if target == node => {
                    if !fitting.has(version) {
                        return Ok(Dependencies::Unavailable(number));
                    }
                }
                Target::Fits(target, fitting) => found.push((*target, fitting.clone())),
            }
        }
        Ok(Dependencies::Available(found.into_iter().collect()))
    }

    fn should_cancel(&self) -> Result<(), Tired> {
        self.steps.set(self.steps.get() + 1);
        let most = self.decisions + DECISIONS_EACH * self.tables.borrow().packages.len() as u64;
        if self.steps.get() > most { Err(Tired) } else { Ok(()) }
    }
}

/// The proof that nothing fits, as the solver hands it over.
pub(super) type Proof = pubgrub::DerivationTree<Node, Numbers, usize>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::{Error, ErrorCode};
    use proptest::prelude::*;

    fn key(name: &str) -> PackageKey {
        let (registry, name) = name.split_once('/').unwrap_or(("acme.example", name));
        PackageKey {
            name: format!("{registry}/demo:{name}").parse().expect("a name"),
            registry: RegistryId::of_bytes(registry.as_bytes()),
        }
    }

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn pick(text: &str) -> Pick {
        let (name, found) = text.split_once(' ').expect("a name and a version");
        (key(name), version(found))
    }

    /// Reads `b ^1 | c >=1, <3`.
    fn needs(text: &str) -> Vec<Need> {
        let parts = text.split('|').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (name, requirement) = part.split_once(' ').expect("a name and a requirement");
                Need { package: key(name), requirement: requirement.parse().expect("a requirement") }
            })
            .collect()
    }

    /// Reads lines like `a 1.0.0 yanked: b ^1 | c ^2`; `a -` is a package without versions.
    fn universe(text: &str) -> Universe {
        let mut found = Universe::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (head, tail) = line.split_once(':').unwrap_or((line, ""));
            let words: Vec<&str> = head.split(' ').collect();
            let known = found.entry(key(words[0])).or_default();
            if words[1] == "-" {
                known.note = Some("acme.example has no package of that name".into());
                continue;
            }
            let mut candidate = Candidate::new(version(words[1]), needs(tail));
            match words.get(2) {
                Some(&"yanked") => candidate.yanked = Some("it breaks".into()),
                Some(&"flagged") => candidate.flagged = true,
                Some(&"down") => candidate.taken_down = Some("court order 7".into()),
                _ => {}
            }
            known.candidates.push(candidate);
        }
        found
    }

    fn request(text: &str) -> Request {
        Request { asker: "quipu.toml".into(), needs: needs(text), ..Request::default() }
    }

    fn locked(mut request: Request, picks: &[&str]) -> Request {
        request.preferred = picks.iter().map(|text| pick(text)).collect();
        request
    }

    /// Checks that a solution is one, and has nothing that nobody needs.
    fn check(universe: &Universe, request: &Request, solution: &Solution) {
        let mut lines = BTreeSet::new();
        for (package, version) in solution.picks.keys() {
            assert!(lines.insert((package.clone(), Line::of(version))), "{package} has two versions in {}", Line::of(version));
        }
        let mut reached = BTreeSet::new();
        let mut waiting = vec![(&request.needs, &solution.roots)];
        while let Some((needs, edges)) = waiting.pop() {
            assert_eq!(*needs, edges.iter().map(|edge| edge.need.clone()).collect::<Vec<_>>());
            for edge in edges {
                assert!(edge.need.requirement.matches(edge.version.as_semver()), "{edge:?}");
                let candidates = &universe[&edge.need.package].candidates;
                let candidate = candidates.iter().find(|candidate| candidate.version == edge.version).expect("a candidate");
                let is_held = request.preferred.contains(&edge.pick());
                assert!(candidate.taken_down.is_none() && (candidate.yanked.is_none() || is_held), "{edge:?}");
                assert!(!candidate.flagged || (is_held && request.insist.contains(&edge.pick())), "{edge:?}");
                if reached.insert(edge.pick()) {
                    waiting.push((&candidate.needs, &solution.picks[&edge.pick()]));
                }
            }
        }
        assert_eq!(reached, solution.picks.keys().cloned().collect());
    }

    fn shown(picks: impl IntoIterator<Item = Pick>) -> String {
        let name = |key: &PackageKey| key.to_string().replace("acme.example/demo:", "").replace("demo:", "");
        picks.into_iter().map(|(key, version)| format!("{} {version}", name(&key))).collect::<Vec<_>>().join(", ")
    }

    fn solve(universe: &Universe, request: &Request) -> String {
        match resolve(universe, request) {
            Ok(Outcome::Solved(solution)) => {
                check(universe, request, &solution);
                shown(solution.picks.into_keys())
            }
            Ok(Outcome::NeedMore(more)) => panic!("needs {more:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn refused(universe: &Universe, request: &Request) -> Error {
        let error = resolve(universe, request).expect_err("no solution");
        assert_eq!((error.code(), error.exit()), (ErrorCode::NoSolution, 8), "{error}");
        error
    }

    #[test]
    fn the_newest_that_fits_is_chosen() {
        let all = universe("a 1.0.0\na 1.2.0: b ^0.1\na 2.0.0\na 1.3.0-rc.1\nb 0.1.9\nb 0.1.10\nb 0.2.0");
        assert_eq!(solve(&all, &request("a ^1")), "a 1.2.0, b 0.1.10");
        assert_eq!(solve(&all, &request("a *")), "a 2.0.0");
        assert_eq!(solve(&all, &request("a >=1, <2 | b *")), "a 1.2.0, b 0.1.10, b 0.2.0");
        assert_eq!(solve(&all, &request("a ^1.3.0-rc.0")), "a 1.3.0-rc.1");
        assert_eq!(solve(&all, &request("")), "");
    }

    #[test]
    fn lines_that_are_not_compatible_stand_side_by_side() {
        let all = universe("a 1.0.0: c ^1\nb 1.0.0: c ^2 | c ^0.0.1 | c ^0.0.2\nc 1.5.0\nc 2.5.0\nc 0.0.1\nc 0.0.2\nc 0.3.0");
        assert_eq!(solve(&all, &request("a ^1 | b ^1")), "a 1.0.0, b 1.0.0, c 0.0.1, c 0.0.2, c 1.5.0, c 2.5.0");
    }

    #[test]
    fn a_requirement_over_several_lines_chooses_one_that_works() {
        let all = universe("a 1.0.0: b ^1\na 2.0.0: b ^9\na 3.0.0\nb 1.0.0");
        assert_eq!(solve(&all, &request("a >=1, <3")), "a 1.0.0, b 1.0.0");
        assert_eq!(solve(&all, &locked(request("a *"), &["a 1.0.0"])), "a 1.0.0, b 1.0.0");
    }

    #[test]
    fn the_search_goes_back_as_far_as_it_must() {
        let all = universe(
            "a 1.0.0: b ^1.0\na 1.1.0: b ^1.1\nb 1.0.0: c ^1.0\nb 1.1.0: c ^1.1\nc 1.0.0: d ^1.0\nc 1.1.0: d ^1.1\n\
             d 1.0.0\nd 1.1.0: e ^1.1\ne 1.0.0\ne 1.1.0",
        );
        assert_eq!(solve(&all, &request("a ^1 | e ^1")), "a 1.1.0, b 1.1.0, c 1.1.0, d 1.1.0, e 1.1.0");
        assert_eq!(solve(&all, &request("a ^1 | e <1.1")), "a 1.0.0, b 1.0.0, c 1.0.0, d 1.0.0, e 1.0.0");
    }

    #[test]
    fn cycles_are_fine() {
        let all = universe("a 1.0.0: b ^1\nb 1.0.0: a ^1 | b ^1\nc 1.0.0\nc 1.1.0: c =1.0.0\nc 2.0.0: c ^1");
        assert_eq!(solve(&all, &request("a ^1")), "a 1.0.0, b 1.0.0");
        assert_eq!(solve(&all, &request("c ^1")), "c 1.0.0");
        assert_eq!(solve(&all, &request("c ^2")), "c 1.0.0, c 2.0.0");
        let message = refused(&all, &request("c ^1.1")).message().to_owned();
        assert!(message.contains("demo:c 1.1.0 needs demo:c =1.0.0"), "{message}");
    }

    #[test]
    fn one_name_in_two_registries_is_two_packages() {
        let all = universe("a 1.0.0: other.example/a ^1.1\nother.example/a 1.0.0\nother.example/a 1.1.0");
        assert_eq!(solve(&all, &request("a ^1")), "a 1.0.0, other.example/a 1.1.0");
        let message = refused(&all, &request("a ^1 | other.example/a =1.0.0")).message().to_owned();
        assert!(message.contains("acme.example/demo:a 1.0.0 needs other.example/demo:a ^1.1"), "{message}");
        // The same name under another id, too.
        let mut fork = key("a");
        fork.registry = RegistryId::of_bytes(b"fork");
        let mut all = universe("a 1.0.0");
        all.insert(fork.clone(), Known { candidates: vec![Candidate::new(version("1.5.0"), vec![])], note: None });
        let mut both = request("a ^1");
        both.needs.push(Need { package: fork, requirement: "^1".parse().expect("a requirement") });
        let found = solve(&all, &both);
        assert!(found == "a 1.0.0, a 1.5.0" || found == "a 1.5.0, a 1.0.0", "{found}");
    }

    #[test]
    fn what_is_locked_stays() {
        let all = universe("a 1.0.0: b ^1\na 1.1.0: b ^1.2\nb 1.0.0\nb 1.1.0\nb 1.2.0\nc 1.0.0: b ^1\nc 1.1.0: b ^1.2\nc 2.0.0");
        let lock = ["a 1.0.0", "b 1.1.0"];
        assert_eq!(solve(&all, &locked(request("a ^1"), &lock)), "a 1.0.0, b 1.1.0");
        // What is added fits in where it can.
        assert_eq!(solve(&all, &locked(request("a ^1 | c ^1"), &lock)), "a 1.0.0, b 1.1.0, c 1.0.0");
        // A requirement that the lock no longer fits moves that package alone.
        assert_eq!(solve(&all, &locked(request("a ^1 | b >=1.2"), &lock)), "a 1.0.0, b 1.2.0");
        // An update without more moves what it can alone.
        assert_eq!(solve(&all, &locked(request("a ^1 | b ^1"), &["b 1.1.0"])), "a 1.0.0, b 1.1.0");
    }

    #[test]
    fn what_is_sought_moves_others() {
        let all = universe("x 1.0.0: a ^1\na 1.0.0: b ^1\na 1.1.0: b ^1.2\nb 1.0.0\nb 1.2.0\nb 1.3.0\nz 1.0.0\nz 1.1.0");
        let mut update = locked(request("b ^1 | x ^1 | z ^1"), &["b 1.0.0", "x 1.0.0", "z 1.0.0"]);
        update.sought = BTreeSet::from([key("a")]);
        assert_eq!(solve(&all, &update), "a 1.1.0, b 1.3.0, x 1.0.0, z 1.0.0");
    }

    #[test]
    fn all_that_is_unknown_is_asked_for_together() {
        let mut all = universe("a 1.0.0: b ^1 | c ^1\nd 1.0.0: e ^1");
        let first = request("a ^1 | d ^1 | f ^1");
        let Ok(Outcome::NeedMore(more)) = resolve(&all, &first) else { panic!("not all is known") };
        assert_eq!(more, ["b", "c", "e", "f"].map(key).into());
        all.extend(universe("b 1.0.0: g *\nc 1.0.0\ne 1.0.0\nf 1.0.0"));
        assert_eq!(resolve(&all, &first), Ok(Outcome::NeedMore([key("g")].into())));
        all.extend(universe("g 3.0.0"));
        assert_eq!(solve(&all, &first), "a 1.0.0, b 1.0.0, c 1.0.0, d 1.0.0, e 1.0.0, f 1.0.0, g 3.0.0");
        // What cannot be, whatever is unknown, is said at once.
        refused(&all, &request("a ^2 | h ^1"));
    }

    #[test]
    fn yanked_and_flagged_versions_are_held_by_a_lock_alone() {
        let all = universe("a 1.0.0\na 1.1.0 yanked\na 1.2.0 flagged\na 1.3.0 down");
        assert_eq!(solve(&all, &request("a ^1")), "a 1.0.0");
        assert_eq!(solve(&all, &locked(request("a ^1"), &["a 1.1.0"])), "a 1.1.0");
        assert_eq!(solve(&all, &locked(request("a ^1"), &["a 1.2.0"])), "a 1.0.0");
        let mut insisting = locked(request("a ^1"), &["a 1.2.0"]);
        insisting.insist = insisting.preferred.clone();
        assert_eq!(solve(&all, &insisting), "a 1.2.0");
        insisting.preferred = [pick("a 1.3.0")].into();
        insisting.insist = [pick("a 1.3.0"), pick("a 1.2.0")].into();
        assert_eq!(solve(&all, &insisting), "a 1.0.0");
    }

    #[test]
    fn a_conflict_is_told_from_the_request_outward() {
        let all = universe("a 1.0.0: c ^1.3\nb 1.0.0: c ^1, <1.3\nc 1.2.0\nc 1.3.0\nc 2.0.0");
        assert_eq!(
            refused(&all, &request("a ^1 | b ^1")).message(),
            "no choice of versions fits: quipu.toml needs demo:a ^1 and demo:b ^1; demo:a 1.0.0 needs demo:c ^1.3; \
             demo:b 1.0.0 needs demo:c \"^1, <1.3\"; only one version of demo:c 1.x can be used at a time, and none fits both \
             ^1.3 and \"^1, <1.3\""
        );
        let all = universe("a 1.0.0: c ^1.3\na 1.1.0: c ^1.3\nb 1.0.0: c ^1, <1.4\nc 1.2.0\nc 1.3.0 yanked\nc 1.4.0");
        let message = refused(&all, &request("a ^1 | b ^1")).message().to_owned();
        assert!(message.contains("demo:a 1.0.0 and 1.1.0 need demo:c ^1.3"), "{message}");
        assert!(
            message.ends_with("and none fits both \"^1, <1.4\" and ^1.3 but what may not be chosen: 1.3.0 (yanked: it breaks)")
        );
    }

    #[test]
    fn that_nothing_fits_is_told_with_what_there_is() {
        let all = universe(
            "a 1.2.0: c ^1\nc 2.0.0\nc 2.1.0\nd 1.0.0-rc.1\nd 1.0.0-rc.2\ne 1.0.0 yanked\nf 1.0.0 flagged\ng 1.0.0 down\nh -\n\
             i 1.0.0-rc.1 yanked\nj 1.0.0\nj 1.1.0\nj 1.2.0\nj 1.3.0\nj 1.4.0\nj 1.5.0\nj 1.6.0",
        );
        let expected = [
            (
                "a ^1",
                "quipu.toml needs demo:a ^1; demo:a 1.2.0 needs demo:c ^1; no version of demo:c fits ^1, there are 2.1.0 and 2.0.0",
            ),
            ("d ^1", "quipu.toml needs demo:d ^1; of demo:d only pre-releases would fit ^1: 1.0.0-rc.2 and 1.0.0-rc.1"),
            ("e *", "quipu.toml needs demo:e *; of demo:e only what may not be chosen fits *: 1.0.0 (yanked: it breaks)"),
            (
                "f ^1",
                "quipu.toml needs demo:f ^1; of demo:f only what may not be chosen fits ^1: 1.0.0 (flagged: a key in wrong hands released it)",
            ),
            (
                "g ^1",
                "quipu.toml needs demo:g ^1; of demo:g only what may not be chosen fits ^1: 1.0.0 (taken down: court order 7)",
            ),
            ("h ^1", "quipu.toml needs demo:h ^1; there is no demo:h: acme.example has no package of that name"),
            ("i ^1", "quipu.toml needs demo:i ^1; no version of demo:i fits ^1, there are 1.0.0-rc.1"),
            (
                "j ^2",
                "quipu.toml needs demo:j ^2; no version of demo:j fits ^2, there are 1.6.0, 1.5.0, 1.4.0, 1.3.0, 1.2.0 and 2 more",
            ),
        ];
        for (asked, told) in expected {
            assert_eq!(refused(&all, &request(asked)).message(), format!("no choice of versions fits: {told}"));
        }
        assert_eq!(
            refused(&all, &request("d ^1")).hints(),
            ["to have a pre-release, name it: quipu add acme.example/demo:d@1.0.0-rc.2"]
        );
        assert_eq!(solve(&all, &request("d ^1.0.0-rc.2")), "d 1.0.0-rc.2");
    }

    #[test]
    fn long_chains_are_no_matter() {
        use std::fmt::Write as _;
        let chain = |length: usize, end: &str| {
            let mut text = String::new();
            for at in 0..length {
                let _ = writeln!(text, "p{at} 1.0.0: p{} ^1", at + 1);
            }
            universe(&(text + end))
        };
        let deep = chain(2_000, "p2000 1.0.0: p0 ^1");
        assert_eq!(solve(&deep, &request("p0 ^1")).split(", ").count(), 2_001);
        let broken = chain(4_000, "p4000 2.0.0");
        let error = refused(&broken, &request("p0 ^1"));
        assert!(error.message().len() < 2_000, "{error}");
        assert!(error.message().ends_with("no version of demo:p4000 fits ^1, there are 2.0.0"), "{error}");
    }

    #[test]
    fn a_graph_that_is_a_trap_ends() {
        use std::fmt::Write as _;
        // Fifteen packages of fifteen versions, each of which needs what no version of the last two can give together.
        let mut text = String::new();
        for package in 0..15 {
            for minor in 0..15 {
                let _ = writeln!(text, "p{package} 1.{minor}.0: p{} ^1 | x ^1.{minor} | y ^1.{}", package + 1, 15 - minor);
            }
        }
        for minor in 0..16 {
            let _ = writeln!(text, "p15 1.{minor}.0: x =1.0.0 | y =1.0.0\nx 1.{minor}.0\ny 1.{minor}.0");
        }
        let error = refused(&universe(&text), &request("p0 ^1"));
        assert!(error.message().len() < 4_000, "{error}");
    }

    /// Nine pigeons, eight holes: no proof that this solver can find is short.
    #[test]
    fn a_hopeless_search_is_given_up() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for pigeon in 0..9 {
            for hole in 0..8 {
                let _ = writeln!(text, "p{pigeon} 1.{hole}.0: h{hole} =1.{pigeon}.0\nh{hole} 1.{pigeon}.0");
            }
        }
        let asked = request(&(0..9).map(|pigeon| format!("p{pigeon} ^1")).collect::<Vec<_>>().join("|"));
        let error = resolve_within(500, &universe(&text), &asked).expect_err("no solution");
        assert_eq!(error.code(), ErrorCode::Limit, "{error}");
    }

    /// This program's own dependencies: what is locked stays, and without a lock everything moves to the newest.
    #[test]
    fn a_real_lock_resolves_to_itself() {
        let lock: toml::Table = include_str!("../../Cargo.lock").parse().expect("TOML");
        let packages: Vec<&toml::Table> =
            lock["package"].as_array().expect("packages").iter().filter_map(|p| p.as_table()).collect();
        let text = |package: &toml::Table, field: &str| package[field].as_str().expect("text").to_owned();
        let found = |package: &toml::Table| {
            let name = text(package, "name").to_lowercase().replace('_', "-");
            let found = text(package, "version");
            (key(&name), version(found.split('+').next().expect("a version")))
        };
        let mut all = Universe::new();
        let mut asked = request("");
        for package in &packages {
            let needs: Vec<Need> = package
                .get("dependencies")
                .and_then(|list| list.as_array())
                .into_iter()
                .flatten()
                .map(|needed| {
                    let mut words = needed.as_str().expect("text").split(' ');
                    let (name, exact) = (words.next(), words.next());
                    let meant = packages.iter().find(|other| {
                        Some(text(other, "name").as_str()) == name && exact.is_none_or(|exact| text(other, "version") == exact)
                    });
                    let (package, version) = found(meant.expect("what is needed is locked"));
                    Need { package, requirement: format!("^{version}").parse().expect("a requirement") }
                })
                .collect();
            let (name, locked) = found(package);
            if name == key("quipu") {
                asked.needs = needs;
                continue;
            }
            let of = locked.as_semver();
            let newer = version(&format!("{}.{}.{}", of.major, of.minor, of.patch + 1));
            let candidates = &mut all.entry(name.clone()).or_default().candidates;
            if of.patch > 0 && of.pre.is_empty() {
                let older = version(&format!("{}.{}.{}", of.major, of.minor, of.patch - 1));
                candidates.push(Candidate::new(older, needs.clone()));
            }
            candidates.push(Candidate::new(newer, needs.clone()));
            candidates.push(Candidate::new(locked.clone(), needs));
            asked.preferred.insert((name, locked));
        }
        assert!(asked.preferred.len() > 200);
        assert_eq!(solve(&all, &asked), shown(asked.preferred.clone()));
        asked.preferred.clear();
        assert_ne!(solve(&all, &asked), "");
    }

    /// Tries everything.
    fn brute(
        universe: &Universe,
        request: &Request,
        chosen: &mut BTreeMap<(PackageKey, Line), Version>,
        waiting: &[Need],
    ) -> bool {
        let Some((need, rest)) = waiting.split_first() else { return true };
        let fits = |version: &Version| need.requirement.matches(version.as_semver());
        let met = chosen.iter().any(|((package, _), version)| *package == need.package && fits(version));
        if met {
            return brute(universe, request, chosen, rest);
        }
        for candidate in &universe[&need.package].candidates {
            let slot = (need.package.clone(), Line::of(&candidate.version));
            let held = request.preferred.contains(&(need.package.clone(), candidate.version.clone()));
            let barred = candidate.taken_down.is_some() || candidate.flagged || (candidate.yanked.is_some() && !held);
            if !fits(&candidate.version) || chosen.contains_key(&slot) || barred {
                continue;
            }
            chosen.insert(slot.clone(), candidate.version.clone());
            let waiting: Vec<Need> = rest.iter().chain(&candidate.needs).cloned().collect();
            if brute(universe, request, chosen, &waiting) {
                return true;
            }
            chosen.remove(&slot);
        }
        false
    }

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "other.example/a"];
    const VERSIONS: [&str; 12] = [
        "0.0.1",
        "0.0.2",
        "0.1.0",
        "0.1.1",
        "1.0.0-rc.1",
        "1.0.0-rc.2",
        "1.0.0",
        "1.0.1",
        "1.1.0-beta",
        "1.1.0",
        "2.0.0",
        "2.1.0",
    ];
    const REQUIREMENTS: [&str; 20] = [
        "*",
        "^1",
        "^2",
        "~1.0",
        "=1.0.0",
        "=1",
        "<1.1.0",
        "<=1.0",
        ">1.0.0",
        ">=1, <3",
        "^0.1",
        "^0.0.1",
        "0.*",
        "1.*",
        "^1.0.0-rc.1",
        ">=1.0.0-rc.2, <1.1",
        "=1.1.0-beta",
        ">1.0.0-rc.1",
        "<=1.1.0-beta",
        "^3",
    ];

    fn a_need() -> impl Strategy<Value = Need> {
        (prop::sample::select(&NAMES[..]), prop::sample::select(&REQUIREMENTS[..]))
            .prop_map(|(name, requirement)| Need { package: key(name), requirement: requirement.parse().expect("a requirement") })
    }

    fn a_candidate() -> impl Strategy<Value = Candidate> {
        let state = prop_oneof![12 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
        (prop::sample::select(&VERSIONS[..]), prop::collection::vec(a_need(), 0..4), state).prop_map(|(found, needs, state)| {
            let mut candidate = Candidate::new(version(found), needs);
            candidate.yanked = (state == 1).then(|| "it breaks".into());
            candidate.flagged = state == 2;
            candidate.taken_down = (state == 3).then(|| "court order 7".into());
            candidate
        })
    }

    fn a_universe() -> impl Strategy<Value = Universe> {
        prop::collection::vec(prop::collection::vec(a_candidate(), 0..6), NAMES.len()).prop_map(|all| {
            let known = all.into_iter().map(|mut candidates| {
                candidates.sort_by(|a, b| a.version.cmp(&b.version));
                candidates.dedup_by(|a, b| a.version == b.version);
                Known { candidates, note: None }
            });
            NAMES.iter().map(|name| key(name)).zip(known).collect()
        })
    }

    fn a_request() -> impl Strategy<Value = Request> {
        let pick = (prop::sample::select(&NAMES[..]), prop::sample::select(&VERSIONS[..]));
        (prop::collection::vec(a_need(), 1..4), prop::collection::btree_set(pick, 0..8)).prop_map(|(needs, preferred)| Request {
            needs,
            preferred: preferred.into_iter().map(|(name, found)| (key(name), version(found))).collect(),
            ..request("")
        })
    }

    fn some_numbers() -> impl Strategy<Value = Numbers> {
        (prop::collection::btree_set(0..200usize, 0..6), any::<bool>()).prop_map(|(numbers, all_but)| {
            let set: Numbers = numbers.into_iter().collect();
            if all_but { set.complement() } else { set }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// There is a solution exactly where trying everything finds one, and it is one; else the reasons are in plain words.
        #[test]
        fn a_solution_is_found_wherever_there_is_one(all in a_universe(), asked in a_request()) {
            let exists = brute(&all, &asked, &mut BTreeMap::new(), &asked.needs);
            match resolve(&all, &asked) {
                Ok(Outcome::Solved(solution)) => {
                    prop_assert!(exists);
                    check(&all, &asked, &solution);
                    prop_assert_eq!(resolve(&all, &asked), Ok(Outcome::Solved(solution.clone())));
                    // What was chosen is a lock that holds.
                    let again = Request { preferred: solution.picks.keys().cloned().collect(), ..asked };
                    prop_assert_eq!(resolve(&all, &again), Ok(Outcome::Solved(solution)));
                }
                Ok(Outcome::NeedMore(more)) => prop_assert!(false, "{more:?} is known"),
                Err(error) => {
                    prop_assert!(!exists, "{error}");
                    prop_assert_eq!(error.code(), ErrorCode::NoSolution);
                    prop_assert!(error.message().starts_with("no choice of versions fits: quipu.toml needs "), "{error}");
                    let told = [" fits", "would fit", "has no versions", " itself", "need"].iter().any(|word| error.message().contains(word));
                    prop_assert!(told && error.message().len() < 6_000, "{error}");
                    for word in ["Package(", "Choice", "Numbers", "incompatib", "term"] {
                        prop_assert!(!error.message().contains(word), "{error}");
                    }
                }
            }
        }

        /// Where packages are met one after the other, the answer is the same as where all are known at once, or there is none in both.
        #[test]
        fn what_is_fetched_in_steps_ends_alike(all in a_universe(), asked in a_request()) {
            let mut known = Universe::new();
            let ends = loop {
                match resolve(&known, &asked) {
                    Ok(Outcome::NeedMore(more)) => {
                        prop_assert!(more.iter().all(|package| !known.contains_key(package)));
                        known.extend(more.into_iter().map(|package| (package.clone(), all[&package].clone())));
                    }
                    Ok(Outcome::Solved(solution)) => {
                        check(&all, &asked, &solution);
                        break true;
                    }
                    Err(_) => break false,
                }
            };
            prop_assert_eq!(ends, brute(&all, &asked, &mut BTreeMap::new(), &asked.needs));
        }

        #[test]
        fn sets_of_numbers_are_sets(a in some_numbers(), b in some_numbers(), c in some_numbers()) {
            for at in 0..256u32 {
                prop_assert_eq!(a.intersection(&b).contains(&at), a.contains(&at) && b.contains(&at));
                prop_assert_eq!(a.union(&b).contains(&at), a.contains(&at) || b.contains(&at));
                prop_assert_eq!(a.complement().contains(&at), !a.contains(&at));
            }
            // Equal sets are equal, however they came about.
            prop_assert_eq!(a.union(&b).intersection(&c), a.intersection(&c).union(&b.intersection(&c)));
            prop_assert_eq!(&a.complement().complement(), &a);
            prop_assert_eq!(a.union(&a.complement()), Numbers::full());
            prop_assert_eq!(a.intersection(&a.complement()), Numbers::empty());
        }
    }
}
