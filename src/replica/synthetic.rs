//! Packages that nobody wrote, for load tests: as many as wanted, small, and the same ones each time.

use super::import::Offer;
use crate::git::bundle::Bundle;
use crate::model::contents::{ContentsBuilder, Limits, write_tree};
use crate::model::digest::ObjectKind;
use crate::model::entry::Release;
use crate::model::error::{Error, Result, fault};
use crate::model::name::{PackageName, Version};
use crate::model::object::WriteObjects as _;
use std::str::FromStr;

/// So many namespaces there are where there are many.
const NAMESPACES: u64 = 1000;

/// How packages are spread over namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All in one.
    One,
    /// A thousand of one size.
    Many,
    /// A thousand, of which each next one is smaller: the second has half of what the first has, the third a third.
    Skewed,
}

/// What the releases hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// One small file, another one in each.
    Own,
    /// One small file, the same in all, so that files cost nothing.
    Shared,
    /// That file, which is not written: the registry holds logs alone.
    Absent,
}

/// Reads one of a few words.
macro_rules! words {
    ($what:literal, $name:ident: $($word:literal => $variant:ident),*) => {
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok($name::$variant),)*
                    _ => Err(fault!(Usage, "{text:?} is not {}: expected {}", $what, [$($word),*].join(", "))),
                }
            }
        }
    };
}
words!("a shape", Shape: "one" => One, "many" => Many, "skewed" => Skewed);
words!("a kind of files", Files: "own" => Own, "shared" => Shared, "none" => Absent);

/// Packages that nobody wrote.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// How many.
    pub packages: u64,
    /// Another one gives other numbers of releases.
    pub seed: u64,
    /// How they are spread.
    pub shape: Shape,
    /// What is in them.
    pub files: Files,
}

impl Synthetic {
    /// Returns the packages, namespace by namespace. Each has one to four records: zero to three releases.
    pub fn offers(self) -> impl Iterator<Item = Result<SyntheticOffer>> {
        let sizes = match self.shape {
            Shape::One => vec![self.packages],
            Shape::Many => {
                let all = NAMESPACES.min(self.packages.max(1));
                (0..all).map(|number| self.packages * (number + 1) / all - self.packages * number / all).collect()
            }
            Shape::Skewed => {
                let parts: f64 = (1..=NAMESPACES).map(|rank| 1.0 / rank as f64).sum();
                let size = |rank: u64| (self.packages as f64 / parts / rank as f64) as u64;
                let mut sizes: Vec<u64> = (1..=NAMESPACES).map(size).collect();
                // What rounding took goes to the largest.
                sizes[0] += self.packages - sizes.iter().sum::<u64>();
                sizes
            }
        };
        let spread = sizes.into_iter().enumerate().flat_map(|(namespace, size)| (0..size).map(move |number| (namespace, number)));
        spread.map(move |(namespace, number)| self.offer(namespace, number))
    }

    fn offer(self, namespace: usize, number: u64) -> Result<SyntheticOffer> {
        let package: PackageName = format!("load-{namespace:03}:package-{number:06}").parse()?;
        let releases = mixed(self.seed ^ (namespace as u64) << 40 ^ number) % 4;
        let versions: Result<Vec<Version>> = (0..releases).map(|minor| format!("1.{minor}.0").parse()).collect();
        Ok(SyntheticOffer { package, versions: versions?, files: self.files })
    }
}

/// Mixes a number's bits, as SplitMix64 does.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// One of them.
#[derive(Clone, Debug)]
pub struct SyntheticOffer {
    package: PackageName,
    versions: Vec<Version>,
    files: Files,
}

impl Offer for SyntheticOffer {
    fn package(&self) -> &PackageName {
        &self.package
    }

    fn versions(&self) -> &[Version] {
        &self.versions
    }

    fn begins_empty(&self) -> bool {
        true
    }

    fn has_contents(&self) -> bool {
        self.files != Files::Absent
    }

    fn release(&self, version: &Version, limits: &Limits, objects: &mut Bundle<'_>) -> Result<Release> {
        let text = match self.files {
            Files::Own => format!("{} {version}\n", self.package),
            Files::Shared | Files::Absent => "the same in all\n".to_owned(),
        };
        let mut contents = ContentsBuilder::new(*limits);
        let file = contents.add("README".parse()?, false, text.as_bytes())?.clone();
        let kept = if self.has_contents() { None } else { objects.keep(None) };
        let blob = objects.write(ObjectKind::Blob, text.as_bytes())?;
        let tree = write_tree(objects, &[(file, blob)])?;
        if kept.is_some() {
            objects.keep(kept);
        }
        let contents = contents.finish()?;
        Ok(Release {
            version: version.clone(),
            content: contents.digest(),
            tree,
            size: contents.size(),
            files: contents.len() as u64,
            description: None,
            license: Some("MIT".to_owned()),
            links: Vec::new(),
            build: None,
            dependencies: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_shape_has_as_many_packages_as_wanted_and_none_twice() -> Result<()> {
        for shape in [Shape::One, Shape::Many, Shape::Skewed] {
            for packages in [1, 7, 2500] {
                let synthetic = Synthetic { packages, seed: 1, shape, files: Files::Own };
                let names: Result<BTreeSet<_>> = synthetic.offers().map(|offer| Ok(offer?.package)).collect();
                assert_eq!(names?.len() as u64, packages, "{shape:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_seed_says_how_many_releases_there_are() {
        let releases = |seed| -> Vec<usize> {
            let synthetic = Synthetic { packages: 100, seed, shape: Shape::One, files: Files::Own };
            synthetic.offers().map(|offer| offer.unwrap().versions.len()).collect()
        };
        assert_eq!(releases(1), releases(1));
        assert_ne!(releases(1), releases(2));
        assert_eq!(releases(1).iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3]));
    }
}
