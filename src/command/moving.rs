//! A package that moves to another registry: its owners ask there for a name, and bring its log and its files along.

use super::client::Client;
use super::context::Context;
use super::submit::{NO_FORK, Submission, Submitted, Wait, submit};
use crate::model::contents::write_tree;
use crate::model::digest::{GitId, ObjectFormat, ObjectKind, RegistryId};
use crate::model::entry::PackageEntry;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, Reference};
use crate::model::object::{ReadObjects as _, WriteObjects as _};
use crate::model::record::{RECORD_MAX, SignedRecord, parent_of};
use crate::replica::author::Work;
use crate::replica::snapshot::PackageView;
use std::cell::RefCell;

/// Checks, before anybody is asked for anything, that a package can go to another registry under a name.
///
/// # Errors
/// `name-taken` where the name is there already, `bad-repository` where the object formats differ; those of reading both.
pub fn check(context: &Context, from: &Client<'_>, old: &Reference, to: &FullName) -> Result<()> {
    let there = Client::open(context, to.registry.clone())?;
    let mut snapshot = there.snapshot(Some(&to.package))?;
    let (here, view) = from.look(old)?;
    if snapshot.format() != here.format() {
        return Err(other_format((from, here.format()), (&there, snapshot.format()), old, to));
    }
    match snapshot.package(&to.package) {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
        Ok(held) => Err(taken(&view, &held, to)),
        Err(error) => Err(error),
    }
}

fn taken(view: &PackageView, held: &PackageView, to: &FullName) -> Error {
    let id = held.log.log.chain().id();
    match id == view.log.log.chain().id() {
        true => fault!(NameTaken, "{to} is this package already").asked(),
        false => fault!(NameTaken, "{to} belongs to the log {id}").asked(),
    }
}

fn other_format(
    (from, here): (&Client<'_>, ObjectFormat),
    (to, there): (&Client<'_>, ObjectFormat),
    old: &Reference,
    name: &FullName,
) -> Error {
    fault!(
        BadRepository,
        "{} has the object format {here}, {} has {there}: git cannot hold the history of one in the other",
        from.name,
        to.name
    )
    .hint(format!("fork it there instead: quipu fork {old} {name}"))
}

/// Brings a package to another registry under a name that it asks for there. `asked` are the records that ask, where the registry that it is
/// in has them; without one a record is made that only the new one has.
///
/// # Errors
/// `name-taken` where the name means another log there, `taken-down` and `ref-missing` where files cannot be brought, `bad-repository` where the
/// object formats differ; those of [`submit`].
pub fn bring(
    context: &Context,
    from: &Client<'_>,
    old: &Reference,
    to: &FullName,
    id: RegistryId,
    asked: &[SignedRecord],
    wait: Wait,
) -> Result<Submitted> {
    let there = Client::open(context, to.registry.clone())?;
    let (snapshot, view) = from.look(old)?;
    let snapshot = RefCell::new(snapshot);
    let mut log = view.log.log.clone();
    let mut records = view.log.records.clone();
    for record in asked.iter().filter(|record| view.log.log.place_of(&record.digest()).is_none()) {
        log = log.append(record).map_err(Error::asked)?;
        records.push(record.clone());
    }
    let signing = context.signing(&context.key()?)?;
    let author = signing.author(None)?;
    let package = &to.package;
    let wait = wait.duration();
    let submission =
        Submission { client: &there, signing: &signing, author: &author, package, follow: false, wait, origin: NO_FORK };
    submit(&submission, |ground, objects| {
        if let Some(held) = ground.view {
            return Err(taken(&view, held, to));
        }
        let mut snapshot = snapshot.borrow_mut();
        if snapshot.format() != objects.format() {
            return Err(other_format((from, snapshot.format()), (&there, objects.format()), old, to));
        }
        let mut work = Work::resume(log.clone(), view.name.clone());
        let is_asked = log.pending_name().is_some_and(|asked| asked.to == *to && asked.registry_id == id);
        match log.pending_name().map(|asked| asked.record).filter(|_| is_asked) {
            Some(digest) => {
                let record = records.iter().find(|record| record.digest() == digest);
                work.takes(record.ok_or_else(|| fault!(Bug, "the log has no record {digest}"))?);
            }
            None => work.add(ground.author, PackageEntry::Rename(to.clone(), Some(id)))?,
        }
        objects.write(ObjectKind::Tree, b"")?;
        let reader = snapshot.reader();
        // What a fork's log stands on comes along.
        let mut next = records.first().and_then(|first| first.draft().parent);
        while let Some(at) = next {
            let bytes = reader.read(ObjectKind::Commit, at, RECORD_MAX)?;
            next = parent_of(reader.format(), &bytes)?;
            objects.write(ObjectKind::Commit, &bytes)?;
        }
        for record in &records {
            objects.write(ObjectKind::Commit, record.bytes())?;
        }
        let mut folders: Vec<(String, GitId)> = Vec::new();
        snapshot.gather_contents(log.releases().map(|released| &*released.release))?;
        for released in log.releases() {
            let release = &released.release;
            if let Some(takedown) = view.takedowns.find(log.chain().id(), &release.version) {
                return Err(fault!(TakenDown, "{old}@{} is {takedown}, so its files cannot be brought", release.version).hint(
                    format!("without them the log is not taken in; fork the package there instead: quipu fork {old} {to}"),
                ));
            }
            let mut files = Vec::new();
            snapshot.contents(&view.name.package, release, |file, bytes| {
                files.push((file.clone(), objects.write(ObjectKind::Blob, &bytes)?));
                Ok(())
            })?;
            folders.push((release.version.to_string(), write_tree(objects, &files)?));
        }
        Ok((work, folders))
    })
    .map_err(|error| match error.code() {
        ErrorCode::Unauthorized => error.hint(format!("who may bring new names to {} is for its operators to say", to.registry)),
        _ => error,
    })
}
