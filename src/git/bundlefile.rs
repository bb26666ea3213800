//! Bundles: files of git's that hold references and the objects that they lead to, written by `git bundle` and read here as a fetch would be.

use super::layout::RefName;
use super::pack::io_error;
use super::program::Program;
use super::quarantine::Quarantine;
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{Result, fault};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

/// The longest line of a header in bytes.
const LINE_MAX: u64 = 4096;
/// The longest header in bytes: some ten million references.
const HEADER_MAX: u64 = 1 << 30;
/// A megabyte at a time goes to git.
const PIECE: usize = 1024 * 1024;
/// The most memory that git takes for one object.
const GIT_MEMORY_MAX: &str = "1g";

/// The header of a bundle.
#[derive(Clone, Debug)]
pub struct BundleFile {
    path: PathBuf,
    /// The format of its ids.
    pub format: ObjectFormat,
    /// The commits that whoever reads it must have.
    pub prerequisites: Vec<GitId>,
    /// Its references.
    pub refs: Vec<(RefName, GitId)>,
    /// Where the pack begins.
    pack: u64,
}

impl BundleFile {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// `not-found` where there is none, `bad-repository` where it is no bundle or one of a kind that is not read, `io`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|why| match why.kind() {
            std::io::ErrorKind::NotFound => fault!(NotFound, "{}: there is no such file", path.display()),
            _ => io_error(path, &why),
        })?;
        let wrong = |why: &str| fault!(BadRepository, "{}: {why}", path.display());
        let mut input = BufReader::new(file);
        let mut at = 0;
        let mut line = |at: &mut u64| -> Result<String> {
            let mut bytes = Vec::new();
            let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes).map_err(|why| io_error(path, &why))?;
            *at += read as u64;
            if bytes.pop() != Some(b'\n') || *at > HEADER_MAX {
                return Err(wrong("it is no git bundle, or is cut off"));
            }
            String::from_utf8(bytes).map_err(|_| wrong("a line of its header is not UTF-8"))
        };
        let mut format = ObjectFormat::Sha1;
        match line(&mut at)?.as_str() {
            "# v2 git bundle" | "# v3 git bundle" => {}
            _ => return Err(wrong("it is no git bundle of version 2 or 3")),
        }
        let (mut prerequisites, mut refs) = (Vec::new(), Vec::new());
        loop {
            let text = line(&mut at)?;
            let id = |text: &str| -> Result<GitId> {
                let id = text.parse::<GitId>().map_err(|_| wrong(&format!("{text:?} in its header is no id")))?;
                if id.format() == format { Ok(id) } else { Err(wrong("it mixes object formats")) }
            };
            match (text.as_bytes().first(), text.split_once(' ')) {
                (None, _) => break,
                (Some(b'@'), _) => match text.as_str() {
                    "@object-format=sha1" => format = ObjectFormat::Sha1,
                    "@object-format=sha256" => format = ObjectFormat::Sha256,
                    other => return Err(wrong(&format!("it asks for {other:?}, which is not read"))),
                },
                (Some(b'-'), parts) => {
                    let name = parts.map_or(text.as_str(), |(id, _)| id);
                    prerequisites.push(id(&name[1..])?);
                }
                (Some(_), Some((found, name))) => refs.push((name.parse()?, id(found)?)),
                (Some(_), None) => return Err(wrong("a line of its header has no name")),
            }
        }
        Ok(BundleFile { path: path.to_owned(), format, prerequisites, refs, pack: at })
    }

    /// Puts its objects into a quarantine, which must have what the bundle stands on. Its references are for the caller to set.
    ///
    /// # Errors
    /// `ref-missing` where the quarantine lacks a commit that the bundle stands on, `bad-repository` where the formats differ, `git` where the
    /// pack is not whole, `io`.
    pub fn unpack(&self, into: &Quarantine) -> Result<()> {
        let path = &self.path;
        if into.store().format() != self.format {
            let here = into.store().format();
            return Err(fault!(BadRepository, "{}: it has the object format {}, expected {here}", path.display(), self.format));
        }
        let reader = into.store().reader();
        if let Some(missing) = self.prerequisites.iter().find(|id| !reader.contains(**id)) {
            return Err(fault!(RefMissing, "{}: it stands on {missing}, which is not here", path.display())
                .hint("it holds only what came since another checkpoint than the one that is held here; bundles are imported in their order"));
        }
        drop(reader);
        let mut file = File::open(path).map_err(|why| io_error(path, &why))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.pack)).map_err(|why| io_error(path, &why))?;
        let mut unpacker = Program::git()
            .env("GIT_DIR", into.path())
            .env("GIT_ALLOC_LIMIT", GIT_MEMORY_MAX)
            .config("core.bigFileThreshold", "8m")
            .args(["index-pack", "--stdin", "--fix-thin", "--fsck-objects"])
            .talk()?;
        let mut pack = unpacker.take_stdin().ok_or_else(|| fault!(Bug, "git has no stdin"))?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).map_err(|why| io_error(path, &why))?;
            // Where git ended early, it says why below.
            if read == 0 || pack.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        drop(pack);
        let output = unpacker.finish()?;
        if !output.success {
            return Err(fault!(Git, "{}: {}", path.display(), output.words()));
        }
        into.store().refresh()
    }
}

/// Writes a bundle of references of a quarantine, less what these commits lead to. It is there as a whole or not at all.
///
/// # Errors
/// `git`, `io`.
pub fn write(from: &Quarantine, path: &Path, refs: &[RefName], without: &[GitId]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".quipu-bundle-").tempdir_in(folder).map_err(|why| io_error(folder, &why))?;
    let made = scratch.path().join("bundle");
    let mut lines: String = refs.iter().map(|name| format!("{name}\n")).collect();
    lines.extend(without.iter().map(|id| format!("^{id}\n")));
    let output = Program::git()
        .env("GIT_DIR", from.path())
        .args(["bundle", "create", "--quiet"])
        .arg(made.display().to_string())
        .arg("--stdin")
        .input(lines.into_bytes())
        .run()?;
    if !output.success {
        return Err(fault!(Git, "git bundle: {}", output.words()));
    }
    let file = File::open(&made).map_err(|why| io_error(&made, &why))?;
    file.sync_all().map_err(|why| io_error(&made, &why))?;
    std::fs::rename(&made, path).map_err(|why| io_error(path, &why))
}
