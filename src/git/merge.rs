//! What stock git makes of two trees that go back to a third.
//!
//! As in `git/patch.rs`, git runs in a scratch repository that holds nothing but these, with no configuration, no attributes and no drivers.

use super::program::Program;
use super::quarantine::Quarantine;
use super::staging::Staging;
use crate::model::commit;
use crate::model::digest::{GitId, ObjectKind};
use crate::model::error::{Result, fault};
use crate::model::object::WriteObjects as _;
use std::collections::BTreeSet;

/// What git made of two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The tree; where both sides changed the same, it holds files with conflict markers.
    pub tree: GitId,
    /// The paths that are not merged, sorted.
    pub conflicts: Vec<String>,
    /// What git says about conflicts, a line each.
    pub said: Vec<String>,
}

/// The trees of a merge, and what conflict markers call ours and theirs.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// What both go back to.
    pub base: GitId,
    /// One side, and its name.
    pub ours: (GitId, &'a str),
    /// The other side, and its name.
    pub theirs: (GitId, &'a str),
}

/// Merges trees that lie in a scratch repository, as `git merge` does. What comes of it lies there, too.
///
/// # Errors
/// `git` where it is missing or fails, `io`.
pub fn three_way(scratch: &Quarantine, sides: Sides<'_>) -> Result<Merged> {
    let Sides { base, ours, theirs } = sides;
    let mut objects = Staging::new(scratch.store());
    let mut commit = |tree| objects.write(ObjectKind::Commit, &commit::contents(tree));
    let (base, our_commit, their_commit) = (commit(base)?, commit(ours.0)?, commit(theirs.0)?);
    objects.finish()?;
    let mut names = Vec::new();
    for ((_, name), id) in [(ours, our_commit), (theirs, their_commit)] {
        // Not every version is a name for a branch.
        let name = match format!("refs/heads/{name}").parse() {
            Ok(reference) => {
                scratch.set_ref(&reference, id)?;
                name.to_owned()
            }
            Err(_) => id.to_string(),
        };
        names.push(name);
    }
    let ended = Program::git()
        .env("GIT_DIR", scratch.path())
        .config("core.attributesFile", "/dev/null")
        .config("core.quotePath", "false")
        .config("merge.conflictStyle", "merge")
        .output_max(64 * 1024 * 1024)
        .args(["merge-tree", "--write-tree", "-z", "--messages", "--allow-unrelated-histories"])
        .arg(format!("--merge-base={base}"))
        .args(names)
        .run()?;
    match ended.code {
        Some(0 | 1) => {}
        _ => return Err(fault!(Git, "git could not merge: {}", ended.words())),
    }
    let merged = parse(&ended.stdout).ok_or_else(|| fault!(Git, "git says of a merge what is not understood"))?;
    if merged.conflicts.is_empty() != (ended.code == Some(0)) {
        return Err(fault!(Git, "git ended a merge with {:?} and {} conflicts", ended.code, merged.conflicts.len()));
    }
    scratch.store().refresh()?;
    Ok(merged)
}

/// Reads what `git merge-tree -z` prints: the tree; an entry for each stage of a path in conflict; an empty one; then messages, each a count of
/// paths, the paths, a kind and a text.
fn parse(bytes: &[u8]) -> Option<Merged> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let tree = parts.next()?.trim().parse().ok()?;
    let mut conflicts = BTreeSet::new();
    for part in parts.by_ref() {
        if part.is_empty() {
            break;
        }
        conflicts.insert(part.split_once('\t')?.1.to_owned());
    }
    let mut said = Vec::new();
    while let Some(count) = parts.next().filter(|count| !count.is_empty()) {
        let count: usize = count.trim().parse().ok()?;
        for _ in 0..count {
            parts.next()?;
        }
        let kind = parts.next()?;
        let message = parts.next()?;
        // That a file was merged without a conflict needs no line.
        if kind.starts_with("CONFLICT") {
            said.push(message.trim_end().to_owned());
        }
    }
    Some(Merged { tree, conflicts: conflicts.into_iter().collect(), said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::contents::write_tree;
    use crate::model::contents::{ContentsBuilder, Limits};
    use crate::model::digest::ObjectFormat;
    use crate::model::object::ReadObjects as _;
    use crate::model::tree::Tree;

    fn tree(scratch: &Quarantine, files: &[(&str, &str)]) -> Result<GitId> {
        let mut objects = Staging::new(scratch.store());
        let mut builder = ContentsBuilder::new(Limits::default());
        let mut blobs = Vec::new();
        for (path, text) in files {
            let entry = builder.add(path.parse()?, false, text.as_bytes())?.clone();
            blobs.push((entry, objects.write(ObjectKind::Blob, text.as_bytes())?));
        }
        let tree = write_tree(&mut objects, &blobs)?;
        objects.finish()?;
        Ok(tree)
    }

    #[test]
    fn both_sides_go_in_and_what_both_changed_is_marked() -> Result<()> {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let scratch = Quarantine::new(format, &[])?;
            let text = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
            let base = tree(&scratch, &[("a", text), ("b", "b\n")])?;
            let ours = tree(&scratch, &[("a", &text.replace('1', "one")), ("b", "ours\n")])?;
            let theirs = tree(&scratch, &[("a", &text.replace('9', "nine")), ("b", "b\n")])?;
            let sides = Sides { base, ours: (ours, "yours"), theirs: (theirs, "upstream-2.0.0") };
            let merged = three_way(&scratch, sides)?;
            assert_eq!((merged.conflicts.len(), merged.said.len()), (0, 0));
            let both = text.replace('1', "one").replace('9', "nine");
            assert_eq!(merged.tree, tree(&scratch, &[("a", &both), ("b", "ours\n")])?);

            let theirs = tree(&scratch, &[("a", text), ("b", "theirs\n")])?;
            let merged = three_way(&scratch, Sides { theirs: (theirs, "upstream-2.0.0"), ..sides })?;
            assert_eq!(merged.conflicts, ["b"]);
            assert_eq!(merged.said, ["CONFLICT (content): Merge conflict in b"]);
            let reader = scratch.store().reader();
            let blob = Tree::read(&reader, merged.tree)?.get("b").map(|entry| entry.id).expect("b");
            let bytes = reader.read(ObjectKind::Blob, blob, 1000)?;
            assert_eq!(String::from_utf8_lossy(&bytes), "<<<<<<< yours\nours\n=======\ntheirs\n>>>>>>> upstream-2.0.0\n");
        }
        Ok(())
    }

    #[test]
    fn a_version_that_no_branch_can_be_named_for_is_merged_all_the_same() -> Result<()> {
        let scratch = Quarantine::new(ObjectFormat::Sha1, &[])?;
        let (base, ours, theirs) =
            (tree(&scratch, &[("a", "1")])?, tree(&scratch, &[("a", "2")])?, tree(&scratch, &[("a", "3")])?);
        let sides = Sides { base, ours: (ours, "yours"), theirs: (theirs, "upstream-1.0.0-rc.lock") };
        assert_eq!(three_way(&scratch, sides)?.conflicts, ["a"]);
        Ok(())
    }
}
