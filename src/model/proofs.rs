//! Where the proofs of a part of a registry's map stand: in the tree of one commit, as blobs that hold the bytes of commits and trees.
//!
//! ```text
//! held                what is held, as our own map says it ([`crate::model::held`])
//! log/00/00/01/2c     the checkpoint with the number 300
//! trees/ab/cdef…      the tree abcdef… of the newest checkpoint's map
//! ```
//!
//! The commit that they hold is not whole where only a part of its tree is there, and git takes a repository with such a commit for a broken
//! one. So the bytes stand as files, and whoever reads them makes objects of them again.

use super::digest::GitId;
use super::error::{Result, fault};

/// The file that says what is held.
pub const HELD: &str = "held";
/// The folder of checkpoints.
pub const LOG: &str = "log";
/// The folder of trees of the map.
pub const TREES: &str = "trees";

/// Returns the path of a checkpoint.
///
/// # Errors
/// `limit` where the number is beyond four bytes.
pub fn checkpoint(seq: u64) -> Result<String> {
    let [a, b, c, d] = u32::try_from(seq).map_err(|_| fault!(Limit, "there is no proof of checkpoint {seq}"))?.to_be_bytes();
    Ok(format!("{LOG}/{a:02x}/{b:02x}/{c:02x}/{d:02x}"))
}

/// Returns the path of a tree.
pub fn tree(id: GitId) -> String {
    let text = id.to_string();
    let (first, rest) = text.split_at(2);
    format!("{TREES}/{first}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::ObjectFormat;

    #[test]
    fn every_checkpoint_and_every_tree_has_its_place() -> Result<()> {
        assert_eq!(checkpoint(300)?, "log/00/00/01/2c");
        assert_eq!(checkpoint(u64::from(u32::MAX))?, "log/ff/ff/ff/ff");
        assert!(checkpoint(1 << 32).is_err());
        assert_eq!(tree(ObjectFormat::Sha1.empty_tree()), "trees/4b/825dc642cb6eb9a060e54bf8d69288fbee4904");
        Ok(())
    }
}
