//! One place where a registry can be read: a repository elsewhere, the connection to it, and the names that the registry has there.

use crate::git::layout::{self, RefName};
use crate::git::program::Environment;
use crate::git::quarantine::Quarantine;
use crate::git::session::Session;
use crate::git::transport::{self, FetchOptions, Fetched, Url, Want};
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{ErrorCode, Result};
use crate::model::name::RegistryName;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How a place is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// Whether a person may be asked for a password.
    pub(crate) terminal: bool,
    /// After which silence it is given up.
    pub(crate) patience: Duration,
    /// The registry that another one's repository may mirror beside its own.
    pub(crate) mirrored: Option<RegistryName>,
    /// Whether it is more likely to be a mirror than the registry's own.
    pub(crate) is_mirror: bool,
}

/// A repository that has a registry, its own or one that it mirrors.
pub(crate) struct Place {
    url: Url,
    manners: Manners,
    /// The registry under whose name the references stand, where the repository is another registry's.
    under: Option<RegistryName>,
    /// The proofs of what it holds, where it holds a part of the registry's map.
    proofs: Option<GitId>,
    line: Mutex<Line>,
    is_lost: AtomicBool,
}

/// The connection over which all is asked.
enum Line {
    Open(Box<Session>),
    /// It ended with an answer that was no, and another one is made when there is more to ask.
    Cut,
    /// There is none: each fetch has its own.
    None,
}

/// A place that was asked where the heads are.
pub(crate) struct Dialed {
    /// The place.
    pub(crate) place: Place,
    /// What the names that were asked for name there; `None` where only a fetch can say.
    pub(crate) found: Option<Vec<Option<GitId>>>,
    /// The object format of the repository, where that is known.
    pub(crate) format: Option<ObjectFormat>,
}

impl Place {
    /// Connects to a repository, and asks what these references of the registry name in it.
    pub(crate) fn dial(url: &Url, manners: Manners, names: &[RefName]) -> Result<Dialed> {
        let mut place = Place {
            url: url.clone(),
            manners,
            under: None,
            proofs: None,
            line: Mutex::new(Line::None),
            is_lost: AtomicBool::new(false),
        };
        let (mut all, own) = (names.to_vec(), names.len());
        if let Some(domain) = &place.manners.mirrored {
            for name in names {
                all.push(layout::mirrored(domain, name)?);
            }
            all.push(layout::proofs(domain));
        }
        let Manners { terminal, patience, .. } = place.manners;
        let session = match Session::open(url, terminal, patience, &Environment::of_process()) {
            // Git looks whether the user takes its owner for safe.
            Err(error) if error.message().contains("dubious ownership") => None,
            opened => opened?,
        };
        let format = session.as_ref().map(Session::format);
        place.line = Mutex::new(session.map_or(Line::None, |session| Line::Open(Box::new(session))));
        let mut found = place.over_session(|session| session.references(&all))?;
        if let Some(found) = &mut found {
            let mut mirrored = found.split_off(own);
            let proofs = mirrored.pop().flatten();
            let is_whole = mirrored.first().is_some_and(Option::is_some);
            if is_whole || proofs.is_some() {
                *found = mirrored;
                place.under = place.manners.mirrored.clone();
                place.proofs = proofs.filter(|_| !is_whole);
            }
        }
        Ok(Dialed { place, found, format })
    }

    /// Returns where it is.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the name that a reference of the registry has here.
    pub(crate) fn name(&self, name: &RefName) -> Result<RefName> {
        match &self.under {
            None => Ok(name.clone()),
            Some(domain) => layout::mirrored(domain, name),
        }
    }

    /// Returns the registry under whose name the references stand, where the repository is another registry's.
    pub(crate) fn under(&self) -> Option<&RegistryName> {
        self.under.as_ref()
    }

    /// Takes the repository for one that mirrors the registry, or for the registry's own.
    pub(crate) fn look_under(&mut self, domain: Option<RegistryName>) {
        self.under = domain;
    }

    /// Returns the registry that the repository may mirror beside its own.
    pub(crate) fn may_mirror(&self) -> Option<&RegistryName> {
        self.manners.mirrored.as_ref().filter(|_| self.manners.is_mirror)
    }

    /// Returns the proofs of what it holds, where it holds a part of the registry's map.
    pub(crate) fn proofs(&self) -> Option<GitId> {
        self.proofs
    }

    /// Takes note that it does not answer any more.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Says whether it was found not to answer any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Asks what references name, where there is a connection for it.
    pub(crate) fn references(&self, names: &[RefName]) -> Result<Option<Vec<Option<GitId>>>> {
        let names = names.iter().map(|name| self.name(name)).collect::<Result<Vec<RefName>>>()?;
        self.over_session(|session| session.references(&names))
    }

    /// Fetches objects by their ids over the connection, where there is one.
    pub(crate) fn fetch_ids(&self, into: &Quarantine, ids: &[GitId], options: &FetchOptions) -> Result<Option<Fetched>> {
        self.over_session(|session| session.fetch(into, ids, options))
    }

    /// Fetches by a connection of its own.
    pub(crate) fn fetch(&self, into: &Quarantine, wants: &[Want], options: FetchOptions) -> Result<Fetched> {
        let options = FetchOptions { terminal: self.manners.terminal, ..options };
        if self.url.is_local().is_none() || options.filter.is_none() {
            return transport::fetch(into, &self.url, wants, &options);
        }
        // Git takes a path for the name of where the rest can be had, and no name begins like one.
        transport::fetch(into, &self.url, wants, &FetchOptions { filter: None, ..options })?;
        Ok(Fetched { filter_ignored: true })
    }

    /// Says over the connection that a commit is here without what it stands on.
    pub(crate) fn stand_on(&self, commit: GitId) {
        if let Line::Open(session) = &mut *self.line() {
            session.stand_on(commit);
        }
    }

    /// Says whether a person may be asked for a password when more is asked of it.
    pub(crate) fn may_ask(&self) -> bool {
        !self.has_connection() && self.url.may_ask()
    }

    /// Says whether one connection is there for many questions.
    pub(crate) fn has_connection(&self) -> bool {
        !matches!(*self.line(), Line::None)
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks over the connection, where there is one that holds. One that broke is given up, and git tries with its own.
    fn over_session<T>(&self, ask: impl FnOnce(&mut Session) -> Result<T>) -> Result<Option<T>> {
        let mut line = self.line();
        if matches!(*line, Line::Cut) {
            let Manners { terminal, patience, .. } = self.manners;
            *line = Session::open(&self.url, terminal, patience, &Environment::of_process())?
                .map_or(Line::None, |session| Line::Open(Box::new(session)));
        }
        let Line::Open(session) = &mut *line else { return Ok(None) };
        match ask(session) {
            // Git would wait for ever.
            Err(error) if session.is_silent() => {
                *line = Line::Cut;
                Err(error)
            }
            Err(error) if matches!(error.code(), ErrorCode::Network | ErrorCode::Git) => {
                *line = Line::None;
                Ok(None)
            }
            Err(error) => {
                // What is left of an answer is nothing to go on with.
                *line = Line::Cut;
                Err(error)
            }
            asked => asked.map(Some),
        }
    }
}
