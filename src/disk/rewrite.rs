//! Many files of a folder that change together: after a process that was killed, the next one finishes what it had begun.
//!
//! The new bytes go to a folder [`FOLDER`] inside, and last a plan that names them. From then on the change is decided; until then nothing has
//! happened. A file that somebody else changed meanwhile is not touched.

use super::folder::FolderWriter;
use super::replace::{self, Access, create_folders, io_fault, sync_folder};
use crate::model::contents::{ContentPath, FileEntry};
use crate::model::digest::FileDigest;
use crate::model::error::{Error, Result, fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder in which a change is prepared.
pub const FOLDER: &str = ".quipu-merge";
const PLAN: &str = "plan.json";
/// Where the new files are until they have their places.
const FILES: &str = "files";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its bytes.
    pub digest: FileDigest,
    /// Whether it can be executed.
    pub exec: bool,
}

impl From<&FileEntry> for State {
    fn from(file: &FileEntry) -> Self {
        State { digest: file.digest, exec: file.exec }
    }
}

/// What is to become of one file.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where it lies.
    pub path: ContentPath,
    /// What it is now; `None` where it is not there.
    pub old: Option<State>,
    /// What it is to be; `None` where it goes.
    pub new: Option<(Vec<u8>, bool)>,
}

/// A change that was decided.
#[derive(Serialize, Deserialize)]
struct Plan {
    note: serde_json::Value,
    files: Vec<Planned>,
}

#[derive(Serialize, Deserialize)]
struct Planned {
    path: String,
    old: Option<State>,
    new: Option<State>,
}

/// Changes files of a folder: all of them or, where this process is killed, the rest with the next [`finish`]. `note` is what that returns then.
///
/// # Errors
/// `conflict` where a file is not what it is said to be, or something is in the way: then nothing has changed; `io`.
pub fn change(folder: &Path, changes: &[Change], note: &serde_json::Value) -> Result<()> {
    let place = folder.join(FOLDER);
    discard(&place)?;
    let files: Vec<Planned> = changes
        .iter()
        .map(|change| Planned {
            path: change.path.as_str().to_owned(),
            old: change.old,
            new: change.new.as_ref().map(|(bytes, exec)| State { digest: FileDigest::of_bytes(bytes), exec: *exec }),
        })
        .collect();
    for file in &files {
        if file.new.is_some()
            && let Some(above) = file_above(folder, &file.path)
            && !files.iter().any(|other| other.new.is_none() && folder.join(&other.path) == above)
        {
            return Err(in_the_way(&above, "folder"));
        }
        match found(folder, &path_of(file)?)? {
            Found::State(state) if Some(state) == file.old => {}
            Found::Nothing if file.old.is_none() => {}
            // A folder that becomes a file is judged by what is left in it then.
            Found::Folder if file.old.is_none() && is_emptied(folder, &file.path, &files) => {}
            _ if file.old.is_none() => {
                return Err(in_the_way(&folder.join(&file.path), "file"));
            }
            _ => return Err(fault!(Conflict, "{} changed meanwhile", folder.join(&file.path).display()).asked()),
        }
    }
    let mut writer = FolderWriter::new(&place.join(FILES))?;
    for change in changes {
        if let Some((bytes, exec)) = &change.new {
            let digest = FileDigest::of_bytes(bytes);
            let file = FileEntry { path: change.path.clone(), exec: *exec, size: bytes.len() as u64, digest };
            writer.add(&file, bytes.clone())?;
        }
    }
    writer.finish()?;
    let plan = Plan { note: note.clone(), files };
    let text = serde_json::to_vec(&plan).map_err(|why| fault!(Bug, "a plan cannot be written: {why}"))?;
    replace::replace(&place.join(PLAN), &text, Access::Shared)?;
    apply(folder, &plan)
}

/// Finishes a change that was decided and not finished, and returns its note; `None` where there is none.
///
/// # Errors
/// `conflict` where a file is neither what it was nor what it is to be; `io`.
pub fn finish(folder: &Path) -> Result<Option<serde_json::Value>> {
    let Some(plan) = pending(folder)? else {
        discard(&folder.join(FOLDER))?;
        return Ok(None);
    };
    apply(folder, &plan)?;
    Ok(Some(plan.note))
}

/// Says whether a change was decided and not finished.
///
/// # Errors
/// `io`.
pub fn is_pending(folder: &Path) -> Result<bool> {
    Ok(pending(folder)?.is_some())
}

fn pending(folder: &Path) -> Result<Option<Plan>> {
    let path = folder.join(FOLDER).join(PLAN);
    let Some(bytes) = replace::read(&path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|why| {
        fault!(Io, "{}: {why}", path.display())
            .hint(format!("what was begun is given up by removing {}", folder.join(FOLDER).display()))
    })
}

fn apply(folder: &Path, plan: &Plan) -> Result<()> {
    let place = folder.join(FOLDER);
    for file in &plan.files {
        let now = found(folder, &path_of(file)?)?;
        let is_known = match now {
            Found::State(state) => Some(state) == file.old || Some(state.digest) == file.new.map(|new| new.digest),
            Found::Nothing => file.old.is_none() || file.new.is_none(),
            // What is left in it stands in the way when the file is written.
            Found::Folder => true,
            Found::Other => false,
        };
        if !is_known {
            let path = folder.join(&file.path);
            return Err(fault!(Conflict, "{} changed after a merge was begun that was not finished", path.display())
                .hint(format!("its merged form is in {}; to give the merge up, remove that folder", place.display()))
                .asked());
        }
    }
    // First what goes, so that a folder can stand where a file was.
    for file in plan.files.iter().filter(|file| file.new.is_none()) {
        let path = folder.join(&file.path);
        if !matches!(found(folder, &path_of(file)?)?, Found::State(_)) {
            continue;
        }
        replace::remove(&path)?;
        let above = path.ancestors().skip(1).take_while(|above| *above != folder);
        for above in above {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
    }
    let mut folders = BTreeSet::from([folder.to_owned()]);
    for file in &plan.files {
        let Some(new) = file.new else { continue };
        let path = folder.join(&file.path);
        let now = found(folder, &path_of(file)?)?;
        if matches!(now, Found::State(state) if state == new) {
            continue;
        }
        if !matches!(now, Found::State(state) if state.digest == new.digest) {
            let files = place.join(FILES);
            let stored = files.join(&file.path);
            // A folder may come from anywhere, and with a plan that nobody here made.
            let is_sound = [&place, &files].iter().all(|folder| fs::symlink_metadata(folder).is_ok_and(|seen| seen.is_dir()));
            if !is_sound || !matches!(found(&files, &path_of(file)?)?, Found::State(state) if state.digest == new.digest) {
                return Err(fault!(Conflict, "{} is not what was prepared", stored.display())
                    .hint(format!("to give the merge up, remove {}", place.display()))
                    .asked());
            }
            let above = path.parent().unwrap_or(folder);
            create_folders(above, Access::Shared)?;
            if let Ok(before) = fs::symlink_metadata(&path) {
                // Whoever narrowed a file of their own by hand meant it.
                fs::set_permissions(&stored, before.permissions()).map_err(|why| io_fault(&why, "write", &stored))?;
            }
            // Renamed, so that no half of it is ever left beside it.
            fs::rename(&stored, &path).map_err(|why| io_fault(&why, "write", &path))?;
            folders.insert(above.to_owned());
        }
        if new.exec { replace::make_executable(&path)? } else { replace::make_plain(&path)? }
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))?;
    replace::remove(&place.join(PLAN))?;
    discard(&place)
}

fn path_of(file: &Planned) -> Result<ContentPath> {
    file.path.parse()
}

fn discard(place: &Path) -> Result<()> {
    match fs::remove_dir_all(place) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io_fault(&why, "remove", place)),
        _ => Ok(()),
    }
}

fn in_the_way(path: &Path, what: &str) -> Error {
    fault!(Conflict, "{} is in the way: the other release has a {what} there", path.display())
        .hint("move it away, then run the same command again")
        .asked()
}

/// Finds a file where a folder is to be.
fn file_above(folder: &Path, path: &str) -> Option<PathBuf> {
    let place = folder.join(path);
    let mut above = place.ancestors().skip(1).take_while(|above| *above != folder);
    above.find(|above| fs::symlink_metadata(above).is_ok_and(|seen| !seen.is_dir())).map(Path::to_path_buf)
}

/// Says whether all that lies in a folder goes.
fn is_emptied(folder: &Path, path: &str, files: &[Planned]) -> bool {
    let goes = |found: &Path| {
        let found = found.strip_prefix(folder).ok().and_then(Path::to_str);
        found.is_some_and(|found| files.iter().any(|file| file.new.is_none() && file.path == found))
    };
    walkdir::WalkDir::new(folder.join(path))
        .into_iter()
        .all(|entry| entry.is_ok_and(|entry| entry.file_type().is_dir() || goes(entry.path())))
}

enum Found {
    Nothing,
    State(State),
    Folder,
    /// A link, or what is no file; or one of them is on the way.
    Other,
}

fn found(folder: &Path, path: &ContentPath) -> Result<Found> {
    let mut place = PathBuf::from(folder);
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        place.push(component);
        let seen = match fs::symlink_metadata(&place) {
            Ok(seen) => seen,
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            Err(why) => return Err(io_fault(&why, "look at", &place)),
        };
        if components.peek().is_some() {
            if seen.is_dir() {
                continue;
            }
            // A file on the way may be one that goes.
            return Ok(if seen.is_file() { Found::Nothing } else { Found::Other });
        }
        if seen.is_dir() {
            return Ok(Found::Folder);
        }
        if !seen.is_file() {
            return Ok(Found::Other);
        }
        let bytes = replace::read(&place)?.unwrap_or_default();
        return Ok(Found::State(State { digest: FileDigest::of_bytes(&bytes), exec: super::folder::is_exec(&seen) }));
    }
    Ok(Found::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(text: &str) -> Option<State> {
        Some(State { digest: FileDigest::of_bytes(text.as_bytes()), exec: false })
    }

    fn to(path: &str, old: Option<&str>, new: Option<&str>) -> Change {
        Change { path: path.parse().unwrap(), old: old.and_then(state), new: new.map(|text| (text.as_bytes().to_vec(), false)) }
    }

    fn put(folder: &Path, path: &str, text: &str) {
        replace::replace(&folder.join(path), text.as_bytes(), Access::Shared).unwrap();
    }

    fn get(folder: &Path, path: &str) -> Option<String> {
        replace::read(&folder.join(path)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn files_change_come_and_go_and_a_folder_can_stand_where_a_file_was() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (path, text) in [("a", "1"), ("b/c", "2"), ("d", "3"), ("own", "mine")] {
            put(folder, path, text);
        }
        let changes = [
            to("a", Some("1"), Some("one")),
            to("b/c", Some("2"), None),
            to("b", None, Some("a file now")),
            to("d", Some("3"), None),
            to("d/e", None, Some("below")),
        ];
        change(folder, &changes, &json!(null))?;
        assert_eq!(get(folder, "a").as_deref(), Some("one"));
        assert_eq!(get(folder, "b").as_deref(), Some("a file now"));
        assert_eq!(get(folder, "d/e").as_deref(), Some("below"));
        assert_eq!(get(folder, "own").as_deref(), Some("mine"));
        assert!(!folder.join(FOLDER).exists());
        Ok(())
    }

    #[test]
    fn what_is_not_as_it_was_said_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(folder, "a", "1");
        put(folder, "b", "2");
        for wrong in [to("b", Some("other"), Some("x")), to("b", None, Some("x")), to("b/c", None, Some("x"))] {
            let error = change(folder, &[to("a", Some("1"), Some("one")), wrong], &json!(null)).expect_err("b is 2");
            assert_eq!(error.code().as_str(), "conflict");
            assert_eq!((get(folder, "a").as_deref(), get(folder, "b").as_deref()), (Some("1"), Some("2")));
        }
        assert_eq!(finish(folder).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        let error = change(folder.path(), &[to("link/a", None, Some("x"))], &json!(null)).expect_err("a link");
        assert_eq!(error.code().as_str(), "conflict");
        assert!(!elsewhere.path().join("a").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_plan_that_somebody_else_made_leads_nowhere_else() {
        let elsewhere = tempfile::tempdir().unwrap();
        put(elsewhere.path(), "a", "secret");
        for (path, at) in [("a", "files/a"), ("a", "files"), ("../a", "files/a")] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let file = Planned { path: path.to_owned(), old: None, new: state("secret") };
            let plan = Plan { note: json!(null), files: vec![file] };
            put(folder, ".quipu-merge/plan.json", &serde_json::to_string(&plan).unwrap());
            let link = folder.join(FOLDER).join(at);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let target = if at == "files" { elsewhere.path().to_owned() } else { elsewhere.path().join("a") };
            std::os::unix::fs::symlink(target, link).unwrap();
            assert!(finish(folder).is_err(), "{path} {at}");
            assert_eq!((get(folder, "a"), get(elsewhere.path(), "a").as_deref()), (None, Some("secret")));
        }
    }

    #[test]
    fn what_was_begun_is_finished_wherever_it_ended() -> Result<()> {
        // As a process leaves it that was killed after each of the files.
        for done in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let changes = [to("a", Some("1"), Some("one")), to("b", Some("2"), None), to("c", None, Some("three"))];
            put(folder, "a", if done > 0 { "one" } else { "1" });
            if done < 2 {
                put(folder, "b", "2");
            }
            if done > 2 {
                put(folder, "c", "three");
            }
            let files = changes
                .iter()
                .map(|change| Planned {
                    path: change.path.as_str().to_owned(),
                    old: change.old,
                    new: change.new.as_ref().map(|(bytes, exec)| State { digest: FileDigest::of_bytes(bytes), exec: *exec }),
                })
                .collect();
            let plan = Plan { note: json!("was begun"), files };
            put(folder, ".quipu-merge/files/a", "one");
            put(folder, ".quipu-merge/files/c", "three");
            put(folder, ".quipu-merge/plan.json", &serde_json::to_string(&plan).unwrap());
            assert!(is_pending(folder)?);
            assert_eq!(finish(folder)?, Some(json!("was begun")));
            assert_eq!(get(folder, "a").as_deref(), Some("one"));
            assert_eq!(get(folder, "b"), None);
            assert_eq!(get(folder, "c").as_deref(), Some("three"));
            assert!(!is_pending(folder)? && !folder.join(FOLDER).exists());
        }
        Ok(())
    }
}
