//! Commits whose every byte follows from what they hold: contents and proposals. Nobody signs them.

use super::digest::{GitId, ObjectFormat};
use super::error::{Result, fault};

/// Returns the commit of a package's contents: its tree has one folder a version.
///
/// ```text
/// tree <id>
/// author quipu <contents> 0 +0000
/// committer quipu <contents> 0 +0000
///
/// contents
/// ```
pub fn contents(tree: GitId) -> Vec<u8> {
    fixed(tree, None, "contents")
}

/// Returns a proposal: the head of the log that is proposed, and a tree with one folder for each new version, its contents.
///
/// ```text
/// tree <id>
/// parent <head of the log>
/// author quipu <proposal> 0 +0000
/// committer quipu <proposal> 0 +0000
///
/// proposal
/// ```
pub fn proposal(tree: GitId, head: GitId) -> Vec<u8> {
    fixed(tree, Some(head), "proposal")
}

/// Returns the commit of the proofs of a part of a registry's map.
///
/// ```text
/// tree <id>
/// author quipu <proofs> 0 +0000
/// committer quipu <proofs> 0 +0000
///
/// proofs
/// ```
pub fn proofs(tree: GitId) -> Vec<u8> {
    fixed(tree, None, "proofs")
}

fn fixed(tree: GitId, parent: Option<GitId>, word: &str) -> Vec<u8> {
    let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
    format!("tree {tree}\n{parent}author quipu <{word}> 0 +0000\ncommitter quipu <{word}> 0 +0000\n\n{word}\n").into_bytes()
}

/// Reads a contents commit and returns its tree.
///
/// # Errors
/// `not-canonical` for any other bytes.
pub fn parse_contents(format: ObjectFormat, bytes: &[u8]) -> Result<GitId> {
    let tree = header(format, bytes, "tree ", 0);
    tree.filter(|tree| contents(*tree) == bytes).ok_or_else(|| fault!(NotCanonical, "the commit is not one of contents"))
}

/// Reads a commit of proofs and returns its tree.
///
/// # Errors
/// `not-canonical` for any other bytes.
pub fn parse_proofs(format: ObjectFormat, bytes: &[u8]) -> Result<GitId> {
    let tree = header(format, bytes, "tree ", 0);
    tree.filter(|tree| proofs(*tree) == bytes).ok_or_else(|| fault!(NotCanonical, "the commit is not one of proofs"))
}

/// Reads a proposal and returns its tree and the head of the log.
///
/// # Errors
/// `not-canonical` for any other bytes.
pub fn parse_proposal(format: ObjectFormat, bytes: &[u8]) -> Result<(GitId, GitId)> {
    let tree = header(format, bytes, "tree ", 0);
    let head = header(format, bytes, "parent ", 1);
    tree.zip(head)
        .filter(|(tree, head)| proposal(*tree, *head) == bytes)
        .ok_or_else(|| fault!(NotCanonical, "the commit is not a proposal"))
}

fn header(format: ObjectFormat, bytes: &[u8], name: &str, line: usize) -> Option<GitId> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().nth(line)?.strip_prefix(name)?.parse::<GitId>().ok().filter(|id| id.format() == format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_has_no_byte_to_choose() {
        let tree = ObjectFormat::Sha1.empty_tree();
        let bytes = proposal(tree, tree);
        assert_eq!(parse_proposal(ObjectFormat::Sha1, &bytes), Ok((tree, tree)));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // Another id is another proposal; everything else is none.
            if let Ok((other, head)) = parse_proposal(ObjectFormat::Sha1, &changed) {
                assert_eq!(proposal(other, head), changed);
            }
        }
        assert!(parse_contents(ObjectFormat::Sha1, &bytes).is_err());
        assert!(parse_proposal(ObjectFormat::Sha256, &bytes).is_err());
        assert!(parse_proposal(ObjectFormat::Sha1, &[bytes, b"\n".to_vec()].concat()).is_err());
    }
}
