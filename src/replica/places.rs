//! The places where one registry can be read: its own, its mirrors, other registries that mirror it. All are asked at once; the newest
//! checkpoint that holds is the registry's, and each other one has to be of the same history.

use super::place::{Dialed, Manners, Place};
use super::snapshot::{Reading, Snapshot};
use crate::git::transport::Url;
use crate::model::error::{Error, ErrorCode, Result, fault};
use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A registry's own place has so much time before its mirrors are listened to.
const HEAD_START: Duration = Duration::from_millis(1500);
/// Once one place has answered, the others have so much time, and twice what that one took.
const GRACE: Duration = Duration::from_secs(1);

/// What came of one place.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It answers.
    Answers,
    /// It has the same checkpoint as the one that answers.
    Same,
    /// It has this earlier checkpoint of the same history.
    Behind(u64),
    /// It was not heard of when another one had answered.
    Slow,
    /// It did not answer, or with what does not hold.
    Failed(Error),
}

/// A place that was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where it is.
    pub url: Url,
    /// What came of it.
    pub standing: Standing,
}

/// Says whether an error tells of the place that was asked rather than of the registry, so that another place may answer.
fn is_of_one_place(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::Fork | ErrorCode::StateLost | ErrorCode::Io | ErrorCode::Bug | ErrorCode::Usage)
}

/// Reads a registry where it is best read.
///
/// # Errors
/// Those of its own place, where no mirror can answer either; `fork` where any two of them have signed histories that exclude each other.
pub(super) fn open<'a>(reading: Reading<'a>) -> Result<Snapshot<'a>> {
    let urls: Vec<&'a Url> = std::iter::once(reading.url).chain(reading.mirrors).collect();
    let (sender, heard) = mpsc::channel();
    for (at, url) in urls.iter().enumerate() {
        let (sender, url, manners, names) = (sender.clone(), Url::clone(url), manners(&reading, at), reading.names());
        // It is left behind where it takes too long, and ends with the program; nobody listens any more then.
        std::thread::spawn(move || drop(sender.send((at, Place::dial(&url, manners, &names)))));
    }
    drop(sender);
    let mut race =
        Race { reading, standings: vec![None; urls.len()], urls, waiting: BTreeMap::new(), best: None, spare: Vec::new() };
    let begun = Instant::now();
    let mut is_home_heard = false;
    let mut end = None;
    loop {
        let now = Instant::now();
        let until = match (is_home_heard, end) {
            (false, _) if now < begun + HEAD_START => Some(begun + HEAD_START),
            (_, end) => end,
        };
        let event = match until {
            Some(until) => heard.recv_timeout(until.saturating_duration_since(now)),
            None => heard.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok((at, dialed)) => {
                is_home_heard |= at == 0;
                race.waiting.insert(at, dialed);
                if !is_home_heard && Instant::now() < begun + HEAD_START {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) if end.is_some() => break,
            Err(RecvTimeoutError::Timeout) => is_home_heard = true,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        race.look()?;
        if end.is_none() && race.is_won() {
            end = Some(Instant::now() + GRACE + 2 * begun.elapsed());
        }
    }
    race.end()
}

/// Nobody is asked for a password by several programs at once.
fn manners(reading: &Reading<'_>, at: usize) -> Manners {
    Manners { terminal: false, is_mirror: at > 0, ..reading.manners() }
}

struct Race<'a> {
    reading: Reading<'a>,
    urls: Vec<&'a Url>,
    standings: Vec<Option<Standing>>,
    /// Those that were heard of and not looked at yet.
    waiting: BTreeMap<usize, Result<Dialed>>,
    best: Option<(usize, Snapshot<'a>)>,
    spare: Vec<Place>,
}

impl<'a> Race<'a> {
    /// Looks at those that were heard of, in their order.
    fn look(&mut self) -> Result<()> {
        while let Some((at, dialed)) = self.waiting.pop_first() {
            let dialed = match dialed {
                // Who wants to know who asks may ask the person at the terminal, one after the other.
                Err(error) if self.reading.terminal && at == 0 && wants_to_know(&error) => {
                    Place::dial(self.urls[at], self.reading.manners(), &self.reading.names())
                }
                dialed => dialed,
            };
            self.take(at, dialed)?;
        }
        Ok(())
    }

    fn take(&mut self, at: usize, dialed: Result<Dialed>) -> Result<()> {
        let standing = match dialed.and_then(|dialed| self.compare(at, dialed)) {
            Ok(standing) => standing,
            Err(error) if is_of_one_place(error.code()) => Standing::Failed(error),
            Err(error) => return Err(error),
        };
        self.standings[at] = Some(standing);
        Ok(())
    }

    /// Reads what a place has, and takes it where it is the newest.
    fn compare(&mut self, at: usize, dialed: Dialed) -> Result<Standing> {
        if let Some((_, best)) = &self.best
            && let Some(found) = &dialed.found
            && found.first() == Some(&Some(best.checkpoint().record().git_id()))
        {
            self.spare.push(dialed.place);
            return Ok(Standing::Same);
        }
        let reading = Reading { url: self.urls[at], mirrors: &[], ..self.reading.clone() };
        let snapshot = Snapshot::over(reading, dialed)?;
        let Some((of, best)) = self.best.take() else {
            self.best = Some((at, snapshot.standing_on_memory()?));
            return Ok(Standing::Answers);
        };
        let (seq, seq_of_best) = (snapshot.checkpoint().seq(), best.checkpoint().seq());
        let is_newer = seq > seq_of_best;
        let compared = if is_newer { snapshot.check_stands_on(&best) } else { best.check_stands_on(&snapshot) };
        if compared.is_ok() && is_newer {
            self.standings[of] = Some(Standing::Behind(seq_of_best));
            self.spare.extend(best.into_places());
            self.best = Some((at, snapshot));
            return Ok(Standing::Answers);
        }
        self.best = Some((of, best));
        compared?;
        self.spare.extend(snapshot.into_places());
        Ok(if seq == seq_of_best { Standing::Same } else { Standing::Behind(seq) })
    }

    /// Says whether what was found will do.
    fn is_won(&self) -> bool {
        self.best.as_ref().is_some_and(|(_, best)| best.check_fresh(self.reading.now).is_ok())
    }

    fn end(mut self) -> Result<Snapshot<'a>> {
        for at in 1..self.urls.len() {
            if self.best.is_none()
                && self.reading.terminal
                && matches!(&self.standings[at], Some(Standing::Failed(error)) if wants_to_know(error))
            {
                let manners = Manners { terminal: true, ..manners(&self.reading, at) };
                let dialed = Place::dial(self.urls[at], manners, &self.reading.names());
                self.take(at, dialed)?;
            }
        }
        let standings = self.standings.into_iter().map(|standing| standing.unwrap_or(Standing::Slow));
        let asked = self.urls.iter().zip(standings).map(|(url, standing)| Asked { url: (*url).clone(), standing });
        let asked: Vec<Asked> = asked.collect();
        if let Some((_, mut best)) = self.best {
            best.stand_in(self.spare, asked);
            return Ok(best);
        }
        let mut failures = asked.into_iter().filter_map(|asked| match asked.standing {
            Standing::Failed(error) => Some((asked.url, error)),
            _ => None,
        });
        let Some((_, error)) = failures.next() else { return Err(fault!(Bug, "a registry has no place")) };
        Err(failures.fold(error, |error, (mirror, why)| {
            error.hint(format!("its mirror {mirror} did not answer either: {}", why.message()))
        }))
    }
}

/// Says whether a place did not answer because it does not know who asks.
fn wants_to_know(error: &Error) -> bool {
    error.code() == ErrorCode::Network && error.message().contains("does not let you in")
}
