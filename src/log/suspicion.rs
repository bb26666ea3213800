//! Which records of a log were appended in wrong hands, as its later records say.
//!
//! A record may declare a key stolen since some place of the log. Then:
//!
//! 1. What a stolen key signed from that place on is flagged.
//! 2. A key that a flagged record let in is suspect from the next record on, and what a suspect key signs is flagged.
//! 3. A record that is not flagged and allows a suspect key something ends the suspicion: from the next record on that key speaks for
//!    itself. It does not where it lies in the time in which the key was stolen, from the declared place to the declaration.
//! 4. Declarations are judged from the last to the first. One that is itself flagged by later ones counts for nothing.
//!
//! So whoever holds `auth` in the end has the last word, as about the keys themselves.

use crate::model::error::{Result, fault};
use crate::model::key::PublicKey;
use std::collections::BTreeMap;

/// The most declarations that one log holds. Each makes all records be judged anew.
pub(super) const DECLARATIONS_MAX: usize = 1024;

/// One record, as far as suspicion goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    signer: usize,
    /// The key that it allows something, and where that stands among the key's events.
    let_in: Option<(usize, usize)>,
}

/// What happens to a key at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Signs(usize),
    IsLetIn(usize),
}

impl Event {
    fn at(self) -> usize {
        match self {
            Event::Signs(at) | Event::IsLetIn(at) => at,
        }
    }
}

/// A key that is declared stolen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Declaration {
    at: usize,
    key: usize,
    since: usize,
}

/// What is known of the records of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Suspicion {
    numbers: BTreeMap<PublicKey, usize>,
    /// By number of the key.
    events: Vec<Vec<Event>>,
    /// By number of the key: whether it is suspect at the end of the log.
    suspect: Vec<bool>,
    /// By place.
    traces: Vec<Trace>,
    /// By place.
    flagged: Vec<bool>,
    declarations: Vec<Declaration>,
}

impl Suspicion {
    /// Takes in the next record: who signed it, whom it allows something, and which key it declares stolen since which place.
    ///
    /// # Errors
    /// `limit` where there are more than [`DECLARATIONS_MAX`] declarations.
    pub(super) fn append(
        &mut self,
        signer: &PublicKey,
        let_in: Option<&PublicKey>,
        stolen: Option<(&PublicKey, u64)>,
    ) -> Result<()> {
        let at = self.traces.len();
        let signer = self.number(signer);
        self.events[signer].push(Event::Signs(at));
        let let_in = let_in.map(|key| {
            let key = self.number(key);
            self.events[key].push(Event::IsLetIn(at));
            (key, self.events[key].len() - 1)
        });
        let flagged = self.suspect[signer];
        if let Some((key, _)) = let_in {
            self.suspect[key] = flagged;
        }
        self.traces.push(Trace { signer, let_in });
        self.flagged.push(flagged);
        if let Some((key, since)) = stolen {
            if self.declarations.len() == DECLARATIONS_MAX {
                return Err(fault!(Limit, "the log declares keys stolen more than {DECLARATIONS_MAX} times"));
            }
            let key = self.number(key);
            self.declarations.push(Declaration { at, key, since: usize::try_from(since).unwrap_or(usize::MAX) });
            self.judge();
        }
        Ok(())
    }

    /// Says whether the record at a place is flagged.
    pub(super) fn is_flagged(&self, seq: u64) -> bool {
        usize::try_from(seq).ok().and_then(|at| self.flagged.get(at)).copied().unwrap_or(false)
    }

    fn number(&mut self, key: &PublicKey) -> usize {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.events.len();
        self.numbers.insert(key.clone(), number);
        self.events.push(Vec::new());
        self.suspect.push(false);
        number
    }

    /// Flags all records anew, in time linear in their number: each is flagged once, and passed once more at most where a key
    /// was stolen.
    fn judge(&mut self) {
        self.flagged.fill(false);
        self.suspect.fill(false);
        // Records that let a key in and ended no suspicion, by place.
        let mut passed = vec![false; self.traces.len()];
        // By number of the key: the earliest place from which on it is known to be stolen.
        let mut stolen_from = vec![usize::MAX; self.events.len()];
        for index in (0..self.declarations.len()).rev() {
            let Declaration { at, key, since } = self.declarations[index];
            // A later declaration says the same and more, since this one was made before it.
            if self.flagged[at] || since >= stolen_from[key] {
                continue;
            }
            let until = at.min(stolen_from[key]);
            stolen_from[key] = since;
            self.suspect_from(key, since, until, &mut passed);
        }
    }

    fn suspect_from(&mut self, key: usize, since: usize, until: usize, passed: &mut [bool]) {
        let first = self.events[key].partition_point(|event| event.at() < since);
        // Keys to follow: from which of their events on, and up to which place nothing ends the suspicion.
        let mut open = vec![(key, first, until)];
        while let Some((key, mut next, until)) = open.pop() {
            loop {
                match self.events[key].get(next).copied() {
                    None => {
                        self.suspect[key] = true;
                        break;
                    }
                    Some(Event::Signs(at)) if !self.flagged[at] => {
                        self.flagged[at] = true;
                        if let Some((other, event)) = self.traces[at].let_in {
                            open.push((other, event + 1, 0));
                        }
                    }
                    Some(Event::IsLetIn(at)) if at < until || (self.flagged[at] && !passed[at]) => passed[at] = true,
                    Some(Event::Signs(at)) if at < until => {}
                    // The suspicion ends here, or from here on the key was followed before.
                    Some(_) => break,
                }
                next += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::openssh::SecretKey;
    use crate::model::sshsig::Signer as _;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use zeroize::Zeroizing;

    fn keys() -> Vec<PublicKey> {
        (1..=5).map(|n| SecretKey::from_seed(Zeroizing::new([n; 32])).public_key().clone()).collect()
    }

    type Step = (usize, Option<usize>, Option<(usize, usize)>);

    /// The four rules as they are written, at whatever cost.
    fn by_the_rules(steps: &[Step]) -> Vec<bool> {
        let flags = |believed: &[(usize, usize, usize)]| {
            let mut suspects = BTreeSet::new();
            let mut flags = Vec::new();
            for (at, (signer, let_in, _)) in steps.iter().enumerate() {
                suspects.extend(believed.iter().filter(|(_, since, _)| *since == at).map(|(key, ..)| *key));
                let flagged = suspects.contains(signer);
                flags.push(flagged);
                if let Some(key) = let_in {
                    let in_wrong_hands =
                        |(stolen, since, declared): &(usize, usize, usize)| stolen == key && *since <= at && at < *declared;
                    if flagged {
                        suspects.insert(*key);
                    } else if !believed.iter().any(in_wrong_hands) {
                        suspects.remove(key);
                    }
                }
            }
            flags
        };
        let mut believed = Vec::new();
        for (at, (_, _, stolen)) in steps.iter().enumerate().rev() {
            if let Some((key, since)) = stolen
                && !flags(&believed)[at]
            {
                believed.push((*key, *since, at));
            }
        }
        flags(&believed)
    }

    fn flags(steps: &[Step]) -> Vec<bool> {
        let keys = keys();
        let mut suspicion = Suspicion::default();
        for (signer, let_in, stolen) in steps {
            let stolen = stolen.map(|(key, since)| (&keys[key], since as u64));
            suspicion.append(&keys[*signer], let_in.map(|key| &keys[key]), stolen).unwrap();
        }
        suspicion.flagged
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn the_quick_way_flags_what_the_rules_flag(
            steps in prop::collection::vec((0..5usize, prop::option::of(0..5usize), prop::option::weighted(0.3, (0..5usize, 0..40usize))), 1..40)
        ) {
            // A place that is declared lies before the declaration, as the law sees to.
            let steps: Vec<Step> =
                steps.into_iter().enumerate().map(|(at, (s, l, d))| (s, l, d.filter(|_| at > 0).map(|(k, since)| (k, since % at.max(1))))).collect();
            for end in 1..=steps.len() {
                prop_assert_eq!(flags(&steps[..end]), by_the_rules(&steps[..end]));
            }
        }
    }

    #[test]
    fn a_log_full_of_declarations_is_judged_in_linear_time() {
        let keys = keys();
        let mut suspicion = Suspicion::default();
        for at in 0..200_000u64 {
            let key = &keys[(at % 4) as usize];
            suspicion.append(key, Some(&keys[(at % 5) as usize]), None).unwrap();
        }
        for at in 0..16 {
            suspicion.append(&keys[0], None, Some((&keys[1 + (at % 4) as usize], at))).unwrap();
        }
        assert!(suspicion.is_flagged(15) && !suspicion.is_flagged(1));
        for _ in 16..DECLARATIONS_MAX {
            suspicion.declarations.push(Declaration { at: 1, key: 1, since: 0 });
        }
        let error = suspicion.append(&keys[0], None, Some((&keys[1], 0))).unwrap_err();
        assert_eq!(error.code().as_str(), "limit");
    }
}
