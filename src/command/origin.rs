//! Where a fork comes from, as several verbs need it: read again for its first record, and proven where it can be.

use super::client::Client;
use super::context::Context;
use crate::disk::folder::Collected;
use crate::disk::manifest::Upstream;
use crate::disk::replace::{self, Access};
use crate::disk::rewrite;
use crate::disk::trusted::Trust;
use crate::model::digest::OriginDigest;
use crate::model::entry::Origin;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::opening::Opening;
use crate::replica::origin::{Ground, Proof, origin_log, prove};
use crate::replica::snapshot::{PackageView, Snapshot};
use serde_json::{Value, json};
use std::path::Path;

/// What conflict markers call the files in the folder.
pub const OURS: &str = "yours";
/// What the name begins with that they give to those of the origin.
pub const THEIRS: &str = "upstream-";

/// Names the release that a fork comes from.
pub fn in_words(origin: &Origin) -> String {
    let version = origin.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
    format!("{}/{}{version}", origin.registry, origin.package)
}

/// Opens the registry that a fork's origin is in.
///
/// # Errors
/// `id-mismatch` where another registry of that name is trusted; those of [`Client::open`].
pub fn registry<'c>(context: &'c Context, upstream: &Upstream) -> Result<Client<'c>> {
    let mut client = Client::open(context, upstream.registry.clone()).map_err(|error| error.at("the fork's origin"))?;
    if client.id != upstream.id {
        return Err(fault!(
            IdMismatch,
            "the registry {} that is trusted here is {}, the one that this was forked from is {}",
            client.name,
            client.id,
            upstream.id
        ));
    }
    client.check_trusted(&upstream.package)?;
    // It is said which log is meant, whichever was seen before.
    client.follow(&upstream.package);
    Ok(client)
}

/// Finds the release in its log that `[origin]` names.
///
/// # Errors
/// `bad-origin` where the log is another one or does not hold it.
pub fn check(view: &PackageView, upstream: &Upstream) -> Result<()> {
    let log = &view.log.log;
    let name = upstream.name();
    let wrong = |what: &str, found: String, expected: String| {
        fault!(BadOrigin, "{what} is {found}, [origin] in quipu.toml says {expected}")
            .hint("the table is written by quipu fork; fork the package anew, or take the table out to publish it as no fork")
            .asked()
    };
    if log.chain().id() != upstream.log {
        return Err(wrong(&format!("the log of {name}"), log.chain().id().to_string(), upstream.log.to_string()));
    }
    let Some(released) = log.release_of(&upstream.version) else {
        return Err(wrong(&format!("{name}@{}", upstream.version), "not released".into(), "it was".into()));
    };
    if released.digest != upstream.record {
        return Err(wrong("the record of the release", released.digest.to_string(), upstream.record.to_string()));
    }
    if released.release.content != upstream.content {
        return Err(wrong("its content", released.release.content.to_string(), upstream.content.to_string()));
    }
    Ok(())
}

/// Reads what a fork's first record stands on: from its registry as it is now or, where that is out of reach, as it was seen last.
///
/// # Errors
/// Those of [`registry`] and [`check`], and of reading a registry.
pub fn ground(context: &Context, upstream: &Upstream) -> Result<Ground> {
    let client = registry(context, upstream)?;
    let from = |mut snapshot: Snapshot<'_>| {
        let view = origin_log(&mut snapshot, &upstream.package, &upstream.record)?;
        check(&view, upstream)?;
        let released = view.log.log.release_of(&upstream.version).ok_or_else(|| fault!(Bug, "a release that is not there"))?;
        let ground = Ground::fork(&snapshot, &view, released)?;
        client.remember(&snapshot, [(&view.name.package, &view)])?;
        Ok(ground)
    };
    let found = client.snapshot(Some(&upstream.package)).and_then(from);
    let found = match found {
        Err(error) if matches!(error.code(), ErrorCode::Network | ErrorCode::Git) && !context.flags.offline => {
            client.snapshot_kept().and_then(from).map_err(|_| error)
        }
        found => found,
    };
    found.map_err(|error| error.at(format!("{}@{}, of which this is a fork", upstream.name(), upstream.version)))
}

/// Says what is known of where a fork comes from: of what is kept on this machine and, where that is not enough, of the origin's registry as it
/// is now, if that is trusted. `own` is the fork's registry.
///
/// # Errors
/// `io`. What cannot be looked at leaves a claim, with why.
pub fn proof(context: &Context, own: &mut Snapshot<'_>, origin: &Origin) -> Result<(Proof, Option<String>)> {
    let claimed = |why: String| Ok((Proof::Claimed, Some(why)));
    if own.operators().log.id() == origin.registry_id
        && let Ok(proof) = prove(own, origin)
    {
        return Ok((proof, None));
    }
    let name = &origin.registry;
    let trust = Trust::load(&context.home)?;
    let Some(trusted) = trust.get(name) else { return claimed(format!("the registry {name} is not trusted here")) };
    if trusted.id != origin.registry_id {
        let id = trusted.id;
        return Ok((Proof::Contradicted(format!("the {name} that is trusted here is {id}, the fork's is another")), None));
    }
    if !trusted.covers(&origin.package) {
        return claimed(format!("the registry {name} is not trusted for {}", origin.package));
    }
    let mut client = match Client::open(context, name.clone()) {
        Ok(client) => client,
        Err(error) => return claimed(error.message().to_owned()),
    };
    client.follow(&origin.package);
    // Nothing is asked of anybody where what is known is enough.
    if let Ok(proof @ Proof::Proven(..)) = client.snapshot_kept().and_then(|mut kept| prove(&mut kept, origin)) {
        return Ok((proof, None));
    }
    let now = client.snapshot(Some(&origin.package)).and_then(|mut snapshot| {
        let proof = prove(&mut snapshot, origin)?;
        if matches!(proof, Proof::Proven(..)) {
            // Only then it is the log that was meant; another one that the name may mean by now is not taken for seen.
            let view = origin_log(&mut snapshot, &origin.package, &origin.record)?;
            client.remember(&snapshot, [(&view.name.package, &view)])?;
        }
        Ok(proof)
    });
    now.map(|proof| (proof, None)).or_else(|error| claimed(error.message().to_owned()))
}

/// Says how much is known of where a fork comes from, in a few lines.
pub fn told(origin: &Origin, proof: &Proof, why: Option<&str>) -> Vec<String> {
    let name = &origin.registry;
    let mut lines = vec![match proof {
        Proof::Proven(seq, _) => format!("proven: checkpoint {seq} of {name} holds that log with record {}", origin.record),
        Proof::Claimed => format!("claimed: nothing that is known here shows that {name} published record {}", origin.record),
        Proof::Contradicted(how) => format!("contradicted: {how}"),
    }];
    lines.extend(why.map(|why| format!("since {why}")));
    lines.push(match origin.linked {
        true => "its records stand in this log's history, each signed by its key".to_owned(),
        false => "its records are not in this log's history: the first record names them by digest".to_owned(),
    });
    lines
}

/// Returns the same for programs.
pub fn to_json(origin: &Origin, proof: &Proof, why: Option<&str>) -> Value {
    let checkpoint = match proof {
        Proof::Proven(seq, digest) => Some(json!({ "seq": seq, "digest": digest.to_string() })),
        _ => None,
    };
    let why = match proof {
        Proof::Contradicted(how) => Some(how.as_str()),
        _ => why,
    };
    json!({
        "registry": origin.registry.as_str(),
        "registry-id": origin.registry_id.to_string(),
        "package": origin.package.to_string(),
        "version": origin.version.as_ref().map(ToString::to_string),
        "content": origin.content.map(|content| content.to_string()),
        "log": origin.log.to_string(),
        "record": origin.record.to_string(),
        "checkpoint": origin.checkpoint.to_string(),
        "linked": origin.linked,
        "status": proof.as_str(),
        "proven-by": checkpoint,
        "why": why,
    })
}

/// Returns what is known of where a promoted package comes from, for programs.
pub fn promoted_to_json(digest: OriginDigest, known: Option<&(Origin, Proof, Option<String>)>) -> Value {
    let mut object = match known {
        None => json!({ "status": "sealed" }),
        Some((origin, proof, why)) => to_json(origin, proof, why.as_deref()),
    };
    if let Some(object) = object.as_object_mut() {
        object.remove("checkpoint");
        object.insert("digest".into(), digest.to_string().into());
    }
    object
}

/// Keeps what says where a promoted package comes from.
///
/// # Errors
/// `io`.
pub fn keep_opening(context: &Context, opening: &Opening) -> Result<()> {
    let path = context.home.opening_file(opening.digest());
    replace::replace(&path, opening.to_text().as_bytes(), Access::Private)
}

/// Returns what this machine knows of where a promoted package comes from, and how much of that is proven.
///
/// # Errors
/// `io`.
pub fn promoted(
    context: &Context,
    own: &mut Snapshot<'_>,
    digest: OriginDigest,
) -> Result<Option<(Origin, Proof, Option<String>)>> {
    let Some(bytes) = replace::read(&context.home.opening_file(digest))? else { return Ok(None) };
    // Whoever changed the file makes it say nothing.
    let Some(opening) = Opening::parse(&bytes).ok().filter(|opening| opening.digest() == digest) else { return Ok(None) };
    let origin = opening.as_origin(opening.record);
    let (proof, why) = proof(context, own, &origin)?;
    Ok(Some((origin, proof, why)))
}

/// Checks that no merge of a folder was begun and not finished.
///
/// # Errors
/// `conflict`.
pub fn check_finished(folder: &Path) -> Result<()> {
    if rewrite::is_pending(folder)? {
        return Err(fault!(Conflict, "a merge of {} was begun and not finished", folder.display())
            .hint("finish it: quipu fork --sync")
            .asked());
    }
    Ok(())
}

/// Checks that files hold no conflict markers of a merge.
///
/// # Errors
/// `conflict` with the places.
pub fn check_markers(folder: &Path, collected: &Collected) -> Result<()> {
    let (begins, ends) = (format!("<<<<<<< {OURS}"), format!(">>>>>>> {THEIRS}"));
    let mut found = Vec::new();
    for file in collected.contents.files() {
        // What was written to objects may be in a pack that is not finished.
        let bytes = replace::read(&folder.join(file.path.as_str()))?.unwrap_or_default();
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if let Some(at) = lines.position(|line| line.trim_ascii_end() == begins.as_bytes())
            && lines.any(|line| line.starts_with(ends.as_bytes()))
        {
            found.push(format!("{} line {}", file.path, at + 1));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(fault!(Conflict, "{}: conflict markers are left in {}", folder.display(), found.join(", "))
        .hint("decide what is to stand there, take the markers out, then run the same command again")
        .asked())
}
