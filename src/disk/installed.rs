//! `quipu_packages`: the folder of a project that holds the releases which it needs, and the list of what quipu put there.

use super::folder::{FolderWriter, Patterns, collect, finish_all};
use super::replace::{self, Access};
use crate::model::contents::Limits;
use crate::model::digest::{ContentDigest, ObjectFormat};
use crate::model::error::{Result, fault};
use crate::model::lockfile::Pin;
use crate::model::object::MemoryObjects;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The name of the folder.
pub const FOLDER: &str = "quipu_packages";
/// The name of the list in it; no registry has a name that begins with a dot.
const LIST: &str = ".installed";
/// What whoever changes the folder holds a lock of.
const LOCK: &str = ".lock";

/// The folder.
#[derive(Debug)]
pub struct Installed {
    root: PathBuf,
    list: BTreeMap<Pin, ContentDigest>,
    /// Held as long as somebody may write there.
    _lock: Option<File>,
}

impl Installed {
    /// Reads what is in a folder, which may be missing.
    ///
    /// # Errors
    /// `io`.
    pub fn look(root: &Path) -> Result<Self> {
        let bytes = replace::read(&root.join(LIST))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // A line that cannot be read is of something that is not known to be there.
        let list = text.lines().filter_map(parse).collect();
        Ok(Installed { root: root.to_owned(), list, _lock: None })
    }

    /// Reads what is in a folder, to change it. Another process that does so is waited for.
    ///
    /// # Errors
    /// `io`.
    pub fn change(root: &Path) -> Result<Self> {
        replace::create_folders(root, Access::Shared)?;
        let path = root.join(LOCK);
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = open.and_then(|file| file.lock().map(|()| file)).map_err(|why| replace::io_fault(&why, "lock", &path))?;
        Ok(Installed { _lock: Some(lock), ..Installed::look(root)? })
    }

    /// Returns where a release is.
    pub fn path(&self, pin: &Pin) -> PathBuf {
        let package = &pin.name.package;
        let parts = [pin.name.registry.as_str(), package.namespace().as_str(), package.name().as_str()];
        parts.iter().fold(self.root.clone(), |path, part| path.join(part)).join(pin.version.to_string())
    }

    /// Says whether a release is there, as far as the list and the folder's presence say.
    pub fn has(&self, place: &Pin, content: ContentDigest) -> bool {
        self.list.get(place) == Some(&content) && self.path(place).is_dir()
    }

    /// Returns all that quipu put there.
    pub fn all(&self) -> impl Iterator<Item = &Pin> {
        self.list.keys()
    }

    /// Begins to write a release. `None` where a folder with exactly its files is there, of a run that did not come to its end.
    ///
    /// # Errors
    /// `exists` where something else is there that quipu did not put there, `io`.
    pub fn begin(&mut self, place: &Pin, content: ContentDigest, limits: &Limits) -> Result<Option<FolderWriter>> {
        let path = self.path(place);
        if path.is_dir() {
            if self.list.contains_key(place) {
                remove(&path)?;
                self.list.remove(place);
            } else if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
                let mut objects = MemoryObjects::new(ObjectFormat::Sha1);
                let found = collect(&path, &Patterns::default(), limits, &mut objects);
                if found.is_ok_and(|found| found.contents.digest() == content) {
                    self.list.insert(place.clone(), content);
                    return Ok(None);
                }
                return Err(fault!(Exists, "{} is there, and quipu did not put it there", path.display())
                    .hint("move it away, and install again"));
            }
        }
        if let Some(parent) = path.parent() {
            replace::create_folders(parent, Access::Shared)?;
        }
        FolderWriter::new(&path).map(Some)
    }

    /// Finishes what was begun.
    ///
    /// # Errors
    /// Those of [`finish_all`].
    pub fn finish(&mut self, written: Vec<(Pin, ContentDigest, FolderWriter)>) -> Result<()> {
        let (pins, writers): (Vec<_>, Vec<_>) =
            written.into_iter().map(|(pin, content, writer)| ((pin, content), writer)).unzip();
        finish_all(&self.root, writers)?;
        self.list.extend(pins);
        Ok(())
    }

    /// Deletes what quipu put there and is no longer needed, and returns what that was.
    ///
    /// # Errors
    /// `io`.
    pub fn keep_only(&mut self, needed: impl Fn(&Pin) -> bool) -> Result<Vec<Pin>> {
        let gone: Vec<Pin> = self.list.keys().filter(|place| !needed(place)).cloned().collect();
        for place in &gone {
            let path = self.path(place);
            remove(&path)?;
            self.list.remove(place);
            // Folders that are empty now: version, name, namespace, registry.
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| *folder != self.root)
                && fs::remove_dir(folder).is_ok()
            {
                above = folder.parent();
            }
        }
        Ok(gone)
    }

    /// Writes the list.
    ///
    /// # Errors
    /// `io`.
    pub fn save(&self) -> Result<()> {
        let lines: String = self.list.iter().map(|(pin, content)| format!("{content} {pin}\n")).collect();
        replace::replace(&self.root.join(LIST), lines.as_bytes(), Access::Shared)
    }
}

fn parse(line: &str) -> Option<(Pin, ContentDigest)> {
    let (content, pin) = line.split_once(' ')?;
    Some((pin.parse().ok()?, content.parse().ok()?))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(fault!(Io, "{}: {why}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::contents::ContentsBuilder;
    use crate::model::error::ErrorCode;

    const TEXT: &[u8] = b"one\n";

    fn pin(text: &str) -> Pin {
        text.parse().expect("a pin")
    }

    /// Writes a release of one file, and says whether there was something to write.
    fn put(installed: &mut Installed, pin: &Pin) -> Result<bool> {
        let mut builder = ContentsBuilder::new(Limits::default());
        let entry = builder.add("text".parse()?, false, TEXT)?.clone();
        let content = builder.finish()?.digest();
        let Some(mut writer) = installed.begin(pin, content, &Limits::default())? else { return Ok(false) };
        writer.add(&entry, TEXT.to_vec())?;
        installed.finish(vec![(pin.clone(), content, writer)])?;
        Ok(true)
    }

    #[test]
    fn what_was_put_there_is_known_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let (io, http) = (pin("acme.example/demo:io@1.0.0"), pin("acme.example/demo:http@2.0.0-rc.1"));
        let mut installed = Installed::change(folder.path()).expect("a folder to change");
        assert_eq!((put(&mut installed, &io), put(&mut installed, &http)), (Ok(true), Ok(true)));
        assert_eq!(replace::read(&installed.path(&http).join("text")), Ok(Some(TEXT.to_vec())));
        // Killed before the list was written: what is there is recognized by its files.
        drop(installed);
        let mut installed = Installed::change(folder.path()).expect("a folder to change");
        assert_eq!((installed.all().count(), put(&mut installed, &io), put(&mut installed, &http)), (0, Ok(false), Ok(false)));
        installed.save().expect("a list");
        let content = *installed.list.get(&io).expect("a digest");
        assert!(Installed::look(folder.path()).is_ok_and(|there| there.has(&io, content) && there.all().count() == 2));
        // Somebody else's folder stays as it is, needed or not.
        let mine = pin("acme.example/demo:mine@1.0.0");
        replace::create_folders(&installed.path(&mine), Access::Shared).expect("a folder");
        replace::replace(&installed.path(&mine).join("note"), b"mine", Access::Shared).expect("a file");
        assert_eq!(put(&mut installed, &mine).map_err(|error| error.code()), Err(ErrorCode::Exists));
        assert_eq!(installed.keep_only(|pin| *pin == http), Ok(vec![io.clone()]));
        assert!(!folder.path().join("acme.example/demo/io").exists() && installed.path(&mine).join("note").exists());
        installed.save().expect("a list");
        let there = Installed::look(folder.path()).expect("a list");
        assert!(there.has(&http, content) && !there.has(&io, content));
        // What is listed and was deleted is not there.
        fs::remove_dir_all(there.path(&http)).expect("a folder");
        assert!(!there.has(&http, content));
    }
}
