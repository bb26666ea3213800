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
//! 6. The same input has the same answer.

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

/// The most decisions that are made before the search is given up: the problem is as hard as any, and what is asked for may be meant to be.
const DECISIONS_MAX: u64 = 100_000;

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
    let solver = Solver::new(universe, request);
    match pubgrub::resolve(&solver, Node::Root, 0u32) {
        Ok(chosen) => Ok(solver.outcome(&chosen.into_iter().collect())),
        Err(PubGrubError::NoSolution(proof)) => Err(conflict::explain(&solver.tables.borrow(), request, proof)),
        Err(PubGrubError::ErrorInShouldCancel(Tired)) => {
            Err(fault!(Limit, "no choice of versions was found for {} in {DECISIONS_MAX} steps", request.asker)
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
}

fn grouped(picks: &BTreeSet<Pick>) -> BTreeMap<&PackageKey, BTreeSet<&Version>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (package, version) in picks {
        found.entry(package).or_default().insert(version);
    }
    found
}

impl<'a> Solver<'a> {
    fn new(universe: &'a Universe, request: &'a Request) -> Self {
        Solver {
            universe,
            request,
            preferred: grouped(&request.preferred),
            insist: grouped(&request.insist),
            upward: if request.sought.is_empty() { BTreeSet::new() } else { leading_to(universe, &request.sought) },
            tables: RefCell::default(),
            steps: Cell::new(0),
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
        if self.steps.get() > DECISIONS_MAX { Err(Tired) } else { Ok(()) }
    }
}

/// The proof that nothing fits, as the solver hands it over.
pub(super) type Proof = pubgrub::DerivationTree<Node, Numbers, usize>;
