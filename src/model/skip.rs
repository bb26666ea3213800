//! Skip links: from any checkpoint back to any earlier one in a few steps.
//!
//! Each checkpoint names the one before it and one further back, its skip. Who remembers an old checkpoint reads
//! the newest and a few between them, not all, to see that the one descends from the other.
//!
//! Which one is the skip follows from the number alone. Write `seq` as a sum of numbers 2^k - 1, the largest that fits first
//! (a skew-binary number: no term stands twice but the last); the skip is `seq` without its last term:
//!
//! ```
//! # use quipu::model::skip::skip;
//! // 12 = 7 + 3 + 1 + 1
//! assert_eq!((skip(12), skip(11), skip(10), skip(7)), (11, 10, 7, 0));
//! ```
//!
//! A term 2^k - 1 is a block: its end skips to before its beginning, and the number before its end is the end of the second
//! of the two halves, each again a block. With K = ⌊log2(n + 1)⌋ a descent from n first skips blocks smaller than the one that it
//! ends in, at most K of them since only the smallest can stand twice, and then goes down at most K - 1 halvings, two steps each: one
//! to the end of the second half, one over it. So it never takes more than 3K - 2 steps, and that many it can take; on average it
//! takes about 1.6 log2 n: below 2^20, 33 steps. (The simpler link, `seq` with its lowest set bit cleared, takes O((log2 n)²), there
//! 94 on average and up to 210: every step back from a round number lands on one with all lower bits set.)

/// Returns the number of the checkpoint that checkpoint `seq` names as its skip. Checkpoint 0 has none; for it, 0 is returned.
pub fn skip(seq: u64) -> u64 {
    let mut rest = seq;
    let mut term = u64::MAX.checked_shr(seq.leading_zeros()).unwrap_or(0);
    while rest > 0 {
        while term > rest {
            term >>= 1;
        }
        rest -= term;
    }
    seq - term
}

/// One step back along a registry log, and the number that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Along the link `skip`.
    Skip(u64),
    /// Along the link `prev`.
    Prev(u64),
}

impl Hop {
    /// Returns the number of the checkpoint that the step leads to.
    pub fn seq(self) -> u64 {
        match self {
            Hop::Skip(seq) | Hop::Prev(seq) => seq,
        }
    }
}

/// Returns the steps from checkpoint `from` back to checkpoint `to`: a skip wherever it does not lead behind `to`. There are none
/// where `from` is not later than `to`, and never more than 3⌊log2(from + 1)⌋ - 2 (from 2 to 0: two).
///
/// A skip that leads just to the checkpoint before is called [`Hop::Prev`]: both links name the same one.
pub fn descent(from: u64, to: u64) -> impl Iterator<Item = Hop> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at <= to {
            return None;
        }
        let far = skip(at);
        let hop = if far < to || far == at - 1 { Hop::Prev(at - 1) } else { Hop::Skip(far) };
        at = hop.seq();
        Some(hop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(from: u64) -> usize {
        (3 * (from + 1).ilog2() as usize - 2).max(2)
    }

    #[test]
    fn the_first_skips_are_the_ones_in_the_format() {
        let skips: Vec<u64> = (0..=15).map(skip).collect();
        assert_eq!(skips, [0, 0, 1, 0, 3, 4, 3, 0, 7, 8, 7, 10, 11, 10, 7, 0]);
        assert_eq!(skip(u64::MAX), 0);
        assert_eq!(skip(u64::MAX - 1), u64::MAX >> 1);
    }

    #[test]
    fn skips_are_the_jump_pointers_of_the_recurrence() {
        let mut jump = vec![0u64];
        for seq in 1..100_000u64 {
            let previous = seq - 1;
            let near = jump[previous as usize];
            let far = jump[near as usize];
            jump.push(if previous - near == near - far { far } else { previous });
            assert_eq!(skip(seq), jump[seq as usize], "at {seq}");
        }
    }

    #[test]
    fn a_descent_follows_links_and_ends_at_its_target() {
        for from in 0..200 {
            for to in 0..=from + 2 {
                let mut at = from;
                for hop in descent(from, to) {
                    match hop {
                        Hop::Skip(seq) => assert_eq!(seq, skip(at)),
                        Hop::Prev(seq) => assert_eq!(seq, at - 1),
                    }
                    assert!(hop.seq() >= to);
                    at = hop.seq();
                }
                assert_eq!(at, if from < to { from } else { to });
            }
        }
    }

    /// Measured: the longest of all descents from below 2000 has 27 steps (bound 28); from 1014 and others the bound is reached.
    #[test]
    fn no_descent_from_below_2000_is_longer_than_its_bound() {
        let (mut longest, mut reached) = (0, false);
        for from in 1..2000 {
            for to in 0..from {
                let hops = descent(from, to).count();
                assert!(hops <= bound(from), "{from} to {to}: {hops} steps");
                reached |= hops == bound(from) && from > 100;
                longest = longest.max(hops);
            }
        }
        assert_eq!((longest, reached), (27, true));
    }

    /// Measured: the longest has 49 steps (bound 58), the mean is 33.
    #[test]
    fn no_descent_within_a_million_is_longer_than_its_bound() {
        // A fixed multiplicative sequence in place of chance, so that a failure repeats.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 44
        };
        let (mut longest, mut total, pairs) = (0, 0, 200_000);
        for _ in 0..pairs {
            let (a, b) = (next(), next());
            let (from, to) = (a.max(b) + 1, a.min(b));
            let hops = descent(from, to).count();
            assert!(hops <= bound(from), "{from} to {to}: {hops} steps");
            longest = longest.max(hops);
            total += hops;
        }
        assert!(longest >= 45 && total / pairs == 33, "longest {longest}, mean {}", total / pairs);
    }
}
