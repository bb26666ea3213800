//! References on disk: reading them, and changing several of them as one compare-and-swap.
//!
//! A change takes git's own lock of each reference (`<ref>.lock`), compares, writes and syncs the new values into the locks,
//! and only then gives them their names. A process that is killed in between leaves some references new and some old, each of
//! them whole: whoever needs more has one reference that is changed last. Reading asks the loose file first and `packed-refs`
//! after it, never the other way round, so that a `git pack-refs` at the same time hides nothing.

use super::effort;
use super::layout::{MIRRORS, RefName};
use super::pack::io_error;
use super::packed::{self, Opened, PackedFile};
use super::program::in_one_line;
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::RegistryName;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock that another process holds is waited for: such locks are held for milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long the lock of `packed-refs` is waited for where all of it is rewritten.
const PACKED_LOCK_WAIT: Duration = Duration::from_secs(60);
/// The first line of `packed-refs`: tags are followed by what they name, and the names are sorted.
const PACKED_HEADER: &[u8] = b"# pack-refs with: peeled fully-peeled sorted \n";
/// The most of a loose reference that is read.
const LOOSE_MAX: u64 = 256;
/// So many files are open at a time.
const OPEN_MAX: usize = 64;
/// How deep folders of references are walked; the layout needs nine.
const DEPTH_MAX: usize = 32;
/// So often a folder is made again that was swept away.
const SWEPT_MAX: usize = 16;
/// From this size on `packed-refs` is mapped, not read.
const PACKED_MAP_MIN: u64 = 32 * 1024;

/// What a reference must be before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It names this object.
    At(GitId),
}

impl Expected {
    fn id(self) -> Option<GitId> {
        match self {
            Expected::Absent => None,
            Expected::At(id) => Some(id),
        }
    }
}

impl From<Option<GitId>> for Expected {
    fn from(id: Option<GitId>) -> Self {
        id.map_or(Expected::Absent, Expected::At)
    }
}

/// One change of one reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    /// Which reference.
    pub name: RefName,
    /// What it must be.
    pub expected: Expected,
    /// What it becomes; `None` removes it.
    pub new: Option<GitId>,
}

/// The references of a repository.
#[derive(Clone, Debug)]
pub(crate) struct References {
    root: PathBuf,
    format: ObjectFormat,
    /// The registry under whose name in `refs/mirrors/` all of them stand, where it is not the repository's own.
    under: Option<RegistryName>,
}

/// References that are asked for by the thousand: `packed-refs` is opened once, and which of them are loose is looked up once. That may have
/// changed since.
pub struct OpenedReferences<'a> {
    references: &'a References,
    /// Which are loose; where that was not looked up, each that is asked for may be.
    loose: Option<HashSet<RefName>>,
    packed: Packed,
}

/// `packed-refs` as it was when it was opened.
enum Packed {
    /// There is none.
    Absent,
    /// Searched where it lies, for few questions.
    OnDisk(PackedFile),
    /// Mapped, for many.
    Mapped(gix::refs::packed::Buffer),
}

impl Packed {
    /// Returns what a reference names there.
    fn find(&self, references: &References, name: &str) -> Result<Option<GitId>> {
        effort::references(1);
        match self {
            Packed::Absent => Ok(None),
            Packed::OnDisk(packed) => packed.find(name),
            Packed::Mapped(packed) => {
                let found = packed.try_find(name).map_err(|why| references.packed_broken(&why))?;
                found.map(|reference| super::store::from_gix(&reference.target())).transpose()
            }
        }
    }

    /// Returns a name there that begins so, where there is one.
    fn any_below(&self, references: &References, prefix: &str) -> Result<Option<String>> {
        let found = match self {
            Packed::Absent => None,
            Packed::OnDisk(packed) => {
                packed.first_from(prefix.as_bytes())?.map(|line| line.name).filter(|name| name.starts_with(prefix.as_bytes()))
            }
            Packed::Mapped(packed) => {
                let mut below = packed.iter_prefixed(prefix.into()).map_err(|why| references.packed_broken(&why))?;
                let first = below.next().transpose().map_err(|why| references.packed_broken(&why))?;
                first.map(|reference| reference.name.as_bstr().to_vec())
            }
        };
        Ok(found.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }
}

impl OpenedReferences<'_> {
    /// Says whether a reference, one of those that were opened, names this object. Where it does not, what it names is for
    /// [`super::store::Store::reference`] to say.
    ///
    /// # Errors
    /// `bad-repository` where it is symbolic or broken, `io` where it cannot be read.
    pub fn names(&self, name: &RefName, id: GitId) -> Result<bool> {
        Ok(self.find(name)? == Some(id))
    }

    /// Returns what a reference, one of those that were opened, named then.
    ///
    /// # Errors
    /// Those of [`OpenedReferences::names`].
    pub fn find(&self, name: &RefName) -> Result<Option<GitId>> {
        let may_be_loose = self.loose.as_ref().is_none_or(|loose| loose.contains(name));
        let loose = if may_be_loose { self.references.loose(name)? } else { None };
        match loose {
            Some(id) => Ok(Some(id)),
            None => self.packed.find(self.references, &self.references.real(name.as_str())),
        }
    }
}

impl References {
    /// Takes the references of the git directory `root`.
    pub(crate) fn new(root: PathBuf, format: ObjectFormat) -> Self {
        References { root, format, under: None }
    }

    /// Takes those that a registry has that is mirrored here, for reading: each has the name that it has at home.
    pub(crate) fn under(&self, domain: &RegistryName) -> Self {
        References { under: Some(domain.clone()), ..self.clone() }
    }

    /// Returns the registry under whose name all of them stand.
    pub(crate) fn domain(&self) -> Option<&RegistryName> {
        self.under.as_ref()
    }

    /// Returns the name that a reference has here.
    fn real<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match (&self.under, name.strip_prefix("refs/")) {
            (Some(domain), Some(rest)) => format!("{MIRRORS}{domain}/{rest}").into(),
            _ => name.into(),
        }
    }

    /// Returns the name at home of what has this name here; `None` where it is none.
    fn at_home(&self, real: &str) -> Option<RefName> {
        match &self.under {
            None => real.parse().ok(),
            Some(domain) => {
                let rest = real.strip_prefix(MIRRORS)?.strip_prefix(domain.as_str())?.strip_prefix('/')?;
                format!("refs/{rest}").parse().ok()
            }
        }
    }

    fn path(&self, name: &RefName) -> PathBuf {
        self.root.join(&*self.real(name.as_str()))
    }

    fn packed_path(&self) -> PathBuf {
        self.root.join("packed-refs")
    }

    /// Reads one reference.
    pub(crate) fn get(&self, name: &RefName) -> Result<Option<GitId>> {
        match self.loose(name)? {
            Some(id) => Ok(Some(id)),
            None => self.packed()?.find(self, &self.real(name.as_str())),
        }
    }

    /// Opens the references whose names begin with `prefix`, for many questions.
    pub(crate) fn opened(&self, prefix: &str) -> Result<OpenedReferences<'_>> {
        let loose = Some(self.loose_names(prefix)?.into_iter().collect());
        let packed = self.mapped()?.map_or(Packed::Absent, Packed::Mapped);
        Ok(OpenedReferences { references: self, loose, packed })
    }

    /// Opens all references, for some questions: whether one is loose is looked up when it is asked for.
    pub(crate) fn opened_for_some(&self) -> Result<OpenedReferences<'_>> {
        Ok(OpenedReferences { references: self, loose: None, packed: self.packed()? })
    }

    fn loose(&self, name: &RefName) -> Result<Option<GitId>> {
        effort::references(1);
        let path = self.path(name);
        let mut bytes = Vec::new();
        let mut options = OpenOptions::new();
        // What is no file is not waited for.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        match options.read(true).open(&path).and_then(|file| file.take(LOOSE_MAX).read_to_end(&mut bytes)) {
            Ok(_) => {}
            // A folder in its place holds other references, or nothing.
            Err(why)
                if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory) =>
            {
                return Ok(None);
            }
            Err(why) => return Err(io_error(&path, &why)),
        }
        if bytes.starts_with(b"ref:") {
            return Err(fault!(BadRepository, "{name} is a symbolic reference, expected one that names an object")
                .hint("a registry has no symbolic references; remove it with: git symbolic-ref --delete"));
        }
        let id = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_ascii_end().parse::<GitId>().ok());
        match id {
            Some(id) if id.format() == self.format => Ok(Some(id)),
            _ => Err(fault!(
                BadRepository,
                "{name} is broken: found {:?}, expected a {} id",
                in_one_line(&String::from_utf8_lossy(&bytes)),
                self.format
            )
            .hint("git fsck says more")),
        }
    }

    /// Opens `packed-refs` as it is now, for few questions. It is not kept open: a cache that goes by the time of the file can miss a change.
    fn packed(&self) -> Result<Packed> {
        Ok(match PackedFile::open(&self.packed_path(), self.format)? {
            Opened::Absent => Packed::Absent,
            Opened::Sorted(packed) => Packed::OnDisk(packed),
            Opened::Unsorted => self.mapped()?.map_or(Packed::Absent, Packed::Mapped),
        })
    }

    /// Does the same for many questions.
    fn mapped(&self) -> Result<Option<gix::refs::packed::Buffer>> {
        let path = self.packed_path();
        if !path.try_exists().map_err(|why| io_error(&path, &why))? {
            return Ok(None);
        }
        let kind = super::store::gix_kind(self.format);
        gix::refs::packed::Buffer::open(path, PACKED_MAP_MIN, kind).map(Some).map_err(|why| self.packed_broken(&why))
    }

    fn packed_broken(&self, why: &dyn std::fmt::Display) -> crate::model::error::Error {
        packed::broken(&self.packed_path(), why)
    }

    /// Gives every reference whose name begins with `prefix`, in the order of their names, until `each` fails.
    pub(crate) fn each(&self, prefix: &str, mut each: impl FnMut(RefName, GitId) -> Result<()>) -> Result<()> {
        let mut loose = self.loose_names(prefix)?.into_iter().peekable();
        let give = |name: &RefName, each: &mut dyn FnMut(RefName, GitId) -> Result<()>| match self.get(name)? {
            Some(id) => each(name.clone(), id),
            // Deleted since the walk.
            None => Ok(()),
        };
        if let Some(packed) = self.mapped()? {
            let prefix = self.real(prefix);
            let packed = packed.iter_prefixed(prefix.as_ref().into()).map_err(|why| self.packed_broken(&why))?;
            for reference in packed {
                effort::references(1);
                let reference = reference.map_err(|why| self.packed_broken(&why))?;
                // A name that is not ASCII is none of ours.
                let Some(name) = self.at_home(&reference.name.as_bstr().to_string()) else {
                    continue;
                };
                while let Some(before) = loose.next_if(|other| *other < name) {
                    give(&before, &mut each)?;
                }
                if loose.next_if_eq(&name).is_some() {
                    give(&name, &mut each)?;
                } else {
                    each(name, super::store::from_gix(&reference.target())?)?;
                }
            }
        }
        for name in loose {
            give(&name, &mut each)?;
        }
        Ok(())
    }

    /// Lists the loose references whose names begin with `prefix`.
    pub(crate) fn loose_names(&self, prefix: &str) -> Result<BTreeSet<RefName>> {
        let mut found = BTreeSet::new();
        let prefix = &*self.real(prefix);
        let folder = prefix.rfind('/').map_or("refs", |slash| &prefix[..slash]);
        if folder == "refs" || folder.parse::<RefName>().is_ok() {
            self.walk(folder, prefix, 0, &mut found)?;
        }
        if self.under.is_some() {
            found = found.iter().filter_map(|name| self.at_home(name.as_str())).collect();
        }
        Ok(found)
    }

    /// Collects the names of loose references below a folder.
    fn walk(&self, folder: &str, prefix: &str, depth: usize, found: &mut BTreeSet<RefName>) -> Result<()> {
        let path = self.root.join(folder);
        if depth > DEPTH_MAX {
            return Err(fault!(BadRepository, "{} is nested deeper than {DEPTH_MAX} folders", path.display()));
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            Err(why) => return Err(io_error(&path, &why)),
        };
        for entry in entries {
            effort::references(1);
            let entry = entry.map_err(|why| io_error(&path, &why))?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}/{name}")) else {
                continue;
            };
            // What is not on the way to the prefix need not be walked.
            if !name.starts_with(prefix) && !prefix.starts_with(&name) {
                continue;
            }
            // Locks and what else lies about have no name of a reference.
            let Ok(reference) = name.parse::<RefName>() else { continue };
            if entry.file_type().map_err(|why| io_error(&path, &why))?.is_dir() {
                self.walk(&name, prefix, depth + 1, found)?;
            } else if name.starts_with(prefix) {
                found.insert(reference);
            }
        }
        Ok(())
    }

    /// Makes all changes, or none where one reference is not what was expected. A step is on disk before the next one begins.
    pub(crate) fn update(&self, steps: &[&[RefEdit]]) -> Result<()> {
        self.check_own()?;
        let mut sorted: BTreeMap<&RefName, (usize, &RefEdit)> = BTreeMap::new();
        for (step, edit) in steps.iter().enumerate().flat_map(|(step, edits)| edits.iter().map(move |edit| (step, edit))) {
            let ids = [edit.new, edit.expected.id()];
            if let Some(foreign) = ids.into_iter().flatten().find(|id| id.format() != self.format) {
                return Err(fault!(Bug, "{} is to name {foreign} in a {} repository", edit.name, self.format));
            }
            if sorted.insert(&edit.name, (step, edit)).is_some() {
                return Err(fault!(Bug, "{} is to be changed twice at once", edit.name));
            }
        }
        let mut folders = vec![BTreeSet::new(); steps.len()];
        // Always in the order of the names, so that two processes never wait for each other.
        let mut locked = Vec::with_capacity(sorted.len());
        let mut open = Vec::new();
        for (step, edit) in sorted.into_values() {
            let (lock, mut file) = self.lock(&edit.name, &mut folders[step])?;
            if let Some(new) = edit.new {
                file.write_all(format!("{new}\n").as_bytes()).map_err(|why| io_error(&lock.path, &why))?;
                open.push((lock.path.clone(), file));
            }
            locked.push((step, edit, lock));
            if open.len() == OPEN_MAX {
                sync_open(&mut open)?;
            }
        }
        let packed = self.packed()?;
        for (_, edit, _) in &locked {
            self.compare(edit, &packed)?;
        }
        sync_open(&mut open)?;
        let mut removed: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); steps.len()];
        for (step, edit, _) in locked.iter().filter(|(_, edit, _)| edit.new.is_none()) {
            if packed.find(self, edit.name.as_str())?.is_some() {
                removed[*step].insert(edit.name.as_str());
            }
        }
        drop(packed);

        for (step, (mut folders, removed)) in folders.into_iter().zip(removed).enumerate() {
            let without_removed = if removed.is_empty() { None } else { Some(self.packed_without(&removed)?) };
            let mut removals = Vec::new();
            let mut later = Vec::with_capacity(locked.len());
            for (its, edit, lock) in locked {
                match edit.new {
                    _ if its != step => later.push((its, edit, lock)),
                    Some(_) => lock.commit()?,
                    None => removals.push(lock),
                }
            }
            locked = later;
            if let Some(packed) = without_removed {
                packed.commit()?;
                folders.insert(self.root.clone());
            }
            // A loose file hides the packed line, so it goes after it.
            for lock in removals {
                lock.remove_resource()?;
            }
            sync_folders_that_are_there(&folders)?;
        }
        Ok(())
    }

    /// What is mirrored is changed under the names that it has here.
    fn check_own(&self) -> Result<()> {
        match &self.under {
            Some(domain) => Err(fault!(Bug, "references of the mirrored registry {domain} are to be changed as if it were here")),
            None => Ok(()),
        }
    }

    /// Takes the lock of a reference, in a folder that may have to be made.
    fn lock(&self, name: &RefName, changed: &mut BTreeSet<PathBuf>) -> Result<(Lock, File)> {
        let mut tries = 0;
        loop {
            match self.make_folders(name, changed).and_then(|()| Lock::take(&self.path(name), name)) {
                // An acceptor sweeps folders away until there is something in them.
                Err(error) if error.code() == ErrorCode::Io && tries < SWEPT_MAX => tries += 1,
                taken => return taken,
            }
        }
    }

    /// Makes the folders above a reference, and notes those whose list of names changes.
    fn make_folders(&self, name: &RefName, changed: &mut BTreeSet<PathBuf>) -> Result<()> {
        let path = self.path(name);
        let mut missing = Vec::new();
        let mut folder = path.parent();
        while let Some(here) = folder
            && here.starts_with(&self.root)
        {
            changed.insert(here.to_owned());
            if here.is_dir() {
                break;
            }
            missing.push(here);
            folder = here.parent();
        }
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => {}
                Err(why) if matches!(why.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                    // It may be gone again by now: then nothing is in the way, and who calls tries once more.
                    match fs::symlink_metadata(folder) {
                        Ok(found) if found.is_dir() => {}
                        Ok(_) => return Err(fault!(Conflict, "{name} cannot exist beside a reference {}", folder.display())),
                        Err(why) => return Err(io_error(folder, &why)),
                    }
                }
                Err(why) => return Err(io_error(folder, &why)),
            }
        }
        Ok(())
    }

    /// Compares a reference, whose lock is held, with what is expected of it.
    fn compare(&self, edit: &RefEdit, packed: &Packed) -> Result<()> {
        let name = &edit.name;
        let found = match self.loose(name)? {
            Some(id) => Some(id),
            None => packed.find(self, name.as_str())?,
        };
        expect(name, edit.expected, found)?;
        match found {
            None => self.compare_neighbours(name, packed).map_err(|error| error.hint("somebody else was first: read it again")),
            Some(_) => Ok(()),
        }
    }

    /// Refuses a new reference that is a folder of another one, or lies in another one. For loose ones the file system
    /// refuses it.
    fn compare_neighbours(&self, name: &RefName, packed: &Packed) -> Result<()> {
        let text = name.as_str();
        for (slash, _) in text.match_indices('/').skip(1) {
            if packed.find(self, &text[..slash])?.is_some() {
                return Err(fault!(Conflict, "{name} cannot exist beside a reference {}", &text[..slash]));
            }
        }
        match packed.any_below(self, &format!("{text}/"))? {
            Some(other) => Err(fault!(Conflict, "{name} cannot exist beside a reference {other}")),
            None => Ok(()),
        }
    }

    /// Returns those of these references that have a file of their own.
    pub(crate) fn loose_among<'a>(&self, names: impl IntoIterator<Item = &'a RefName>) -> Vec<&'a RefName> {
        let is_loose = |name: &&RefName| fs::symlink_metadata(self.path(name)).is_ok_and(|found| !found.is_dir());
        names.into_iter().filter(is_loose).collect()
    }

    /// Makes all changes, however many, by giving `packed-refs` a new content once. See [`super::store::Store::update_at_once`].
    pub(crate) fn update_packed(&self, edits: &[RefEdit]) -> Result<()> {
        self.check_own()?;
        let mut sorted: Vec<&RefEdit> = edits.iter().collect();
        sorted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(fault!(Bug, "{} is to be changed twice at once", twice[0].name));
        }
        let ids = |edit: &&&RefEdit| [edit.new, edit.expected.id()].into_iter().flatten().any(|id| id.format() != self.format);
        if let Some(foreign) = sorted.iter().find(ids) {
            return Err(fault!(Bug, "{} is to name an id of another format in a {} repository", foreign.name, self.format));
        }

        // A file of its own would hide what `packed-refs` says. So what it says is packed as it is, and it goes; that changes no reference.
        let loose = self.loose_among(sorted.iter().map(|edit| &edit.name));
        let mut locks = Vec::with_capacity(loose.len());
        let mut as_they_are = Vec::with_capacity(loose.len());
        for name in loose {
            // It stays locked until all is done: nobody is to make the file anew.
            let (lock, _) = Lock::take(&self.path(name), name)?;
            let id = self.loose(name)?.ok_or_else(|| fault!(Conflict, "{name} went while it was read"))?;
            locks.push(lock);
            as_they_are.push(PackedEdit { name, expected: None, new: Some(id) });
        }
        if !as_they_are.is_empty() {
            self.rewrite_packed(&as_they_are)?;
            let mut folders = BTreeSet::new();
            for lock in &locks {
                remove_if_there(&lock.resource)?;
                folders.extend(lock.resource.parent().map(Path::to_owned));
            }
            sync_folders_that_are_there(&folders)?;
        }
        let edits: Vec<PackedEdit<'_>> = sorted
            .into_iter()
            .map(|edit| PackedEdit { name: &edit.name, expected: Some(edit.expected), new: edit.new })
            .collect();
        self.rewrite_packed(&edits)?;
        // One that stays is in the journal, which must stay then.
        locks.into_iter().try_for_each(Lock::release)
    }

    /// Gives `packed-refs` a new content: the old one, read and written as a stream, with these changes, which are sorted. It is on disk
    /// when this returns.
    fn rewrite_packed(&self, edits: &[PackedEdit<'_>]) -> Result<()> {
        let path = self.packed_path();
        let at = |why: io::Error| io_error(&path, &why);
        // Whoever packs references in a large repository takes longer than a moment.
        let (lock, file) = Lock::take_within(&path, &"packed-refs", PACKED_LOCK_WAIT)?;
        let mut out = BufWriter::with_capacity(1024 * 1024, file);
        match File::open(&path) {
            Ok(input) => self.merge_packed(&mut BufReader::with_capacity(1024 * 1024, input), &mut out, edits)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => self.merge_packed(&mut io::empty(), &mut out, edits)?,
            Err(why) => return Err(at(why)),
        }
        let file = out.into_inner().map_err(|why| at(why.into_error()))?;
        file.sync_all().map_err(at)?;
        drop(file);
        lock.commit()?;
        sync_folders(&BTreeSet::from([self.root.clone()]))
    }

    fn merge_packed(&self, input: &mut impl BufRead, out: &mut impl Write, edits: &[PackedEdit<'_>]) -> Result<()> {
        let path = self.packed_path();
        let at = |why: io::Error| io_error(&path, &why);
        let mut edits = edits.iter().peekable();
        let put = |edit: &PackedEdit<'_>, found: Option<GitId>, out: &mut dyn Write| {
            if let Some(expected) = edit.expected {
                expect(edit.name, expected, found)?;
            }
            edit.new.map_or(Ok(()), |new| writeln!(out, "{new} {}", edit.name).map_err(at))
        };
        let mut line = Vec::new();
        let (mut first, mut kept) = (true, true);
        while input.read_until(b'\n', &mut line).map_err(at)? > 0 {
            effort::references(1);
            match line.first() {
                Some(b'#') if first && line.split(|byte| byte.is_ascii_whitespace()).any(|word| word == b"sorted") => {
                    out.write_all(&line).map_err(at)?;
                }
                _ if first => {
                    return Err(fault!(BadRepository, "{} does not say that it is sorted", path.display())
                        .hint("git writes it anew: git pack-refs --all"));
                }
                // It belongs to the line before it.
                Some(b'^') if !kept => {}
                Some(b'^') => out.write_all(&line).map_err(at)?,
                _ => {
                    let (id, name) = packed_line(&line).ok_or_else(|| {
                        self.packed_broken(&format_args!("{:?} is no line of it", String::from_utf8_lossy(&line)))
                    })?;
                    while let Some(edit) = edits.next_if(|edit| edit.name.as_str().as_bytes() < name) {
                        put(edit, None, out)?;
                    }
                    match edits.next_if(|edit| edit.name.as_str().as_bytes() == name) {
                        None => {
                            kept = true;
                            out.write_all(&line).map_err(at)?;
                        }
                        Some(edit) => {
                            kept = false;
                            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse::<GitId>().ok());
                            let id = id.ok_or_else(|| self.packed_broken(&format_args!("{} has no id", edit.name)))?;
                            put(edit, Some(id), out)?;
                        }
                    }
                }
            }
            first = false;
            line.clear();
        }
        if first {
            out.write_all(PACKED_HEADER).map_err(at)?;
        }
        edits.try_for_each(|edit| put(edit, None, out))
    }

    /// Writes `packed-refs` without these names into its lock.
    fn packed_without(&self, names: &BTreeSet<&str>) -> Result<Lock> {
        let path = self.packed_path();
        let (lock, mut file) = Lock::take(&path, &"packed-refs")?;
        let at = |why| io_error(&path, &why);
        let mut out = BufWriter::with_capacity(256 * 1024, &mut file);
        let mut input = BufReader::with_capacity(256 * 1024, File::open(&path).map_err(at)?);
        let mut line = Vec::new();
        let mut dropped = false;
        while input.read_until(b'\n', &mut line).map_err(at)? > 0 {
            effort::references(1);
            // A line that begins with `^` belongs to the one before it.
            if !line.starts_with(b"^") {
                let name = line.iter().position(|b| *b == b' ').map(|space| line[space + 1..].trim_ascii_end());
                dropped = !line.starts_with(b"#")
                    && name.and_then(|name| std::str::from_utf8(name).ok()).is_some_and(|name| names.contains(name));
            }
            if !dropped {
                out.write_all(&line).map_err(at)?;
            }
            line.clear();
        }
        out.flush().map_err(at)?;
        drop(out);
        file.sync_all().map_err(at)?;
        Ok(lock)
    }

    /// Removes locks that dead processes left.
    pub(crate) fn break_locks(&self, names: &[RefName]) -> Result<()> {
        names.iter().try_for_each(|name| break_lock(&lock_path(&self.path(name))))
    }

    /// Removes the locks below a folder that nobody has written to for an hour, and the folders below it that are empty.
    pub(crate) fn sweep_locks(folder: &Path, depth: usize) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) if depth <= DEPTH_MAX => entries,
            _ => return Ok(()),
        };
        for entry in entries {
            let entry = entry.map_err(|why| io_error(folder, &why))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                Self::sweep_locks(&entry.path(), depth + 1)?;
                // One that is empty is one more to look into, for every push to come. One that is not stays.
                let _ = fs::remove_dir(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "lock") {
                super::store::remove_if_old(&entry)?;
            }
        }
        Ok(())
    }

    /// Removes the lock of `packed-refs` that a dead process left.
    pub(crate) fn break_packed_lock(&self) -> Result<()> {
        let path = self.packed_path();
        break_lock(&lock_path(&path))?;
        // Where git writes what is to be packed-refs, while it has that lock.
        break_lock(&path.with_extension("new"))
    }
}

/// One change of a line of `packed-refs`; without an expectation, whatever stands there.
struct PackedEdit<'a> {
    name: &'a RefName,
    expected: Option<Expected>,
    new: Option<GitId>,
}

/// Takes a line of `packed-refs` apart: id and name.
fn packed_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let space = line.iter().position(|byte| *byte == b' ')?;
    Some((&line[..space], &line[space + 1..]))
}

/// Compares what a reference is with what is expected of it.
fn expect(name: &RefName, expected: Expected, found: Option<GitId>) -> Result<()> {
    match (expected, found) {
        (Expected::Absent, None) => Ok(()),
        (Expected::At(expected), Some(found)) if expected == found => Ok(()),
        (Expected::Absent, Some(found)) => Err(fault!(Conflict, "{name} is at {found}, expected it not to exist")),
        (Expected::At(expected), Some(found)) => Err(fault!(Conflict, "{name} is at {found}, expected {expected}")),
        (Expected::At(expected), None) => Err(fault!(Conflict, "{name} does not exist, expected {expected}")),
    }
    .map_err(|error| error.hint("somebody else was first: read it again"))
}

/// Removes a lock once nobody has written to it for as long as a lock is waited for.
fn break_lock(path: &Path) -> Result<()> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let written = match fs::metadata(path).and_then(|found| found.modified()) {
            Ok(written) => written,
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            Err(why) => return Err(io_error(path, &why)),
        };
        if written.elapsed().is_ok_and(|age| age >= LOCK_WAIT) {
            return remove_if_there(path);
        }
        if Instant::now() >= until {
            // Somebody writes to it, or its time lies ahead of the clock: whoever needs the lock says so.
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if !matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(io_error(path, &why)),
        _ => Ok(()),
    }
}

fn lock_path(resource: &Path) -> PathBuf {
    let mut path = resource.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Git's lock of a file: another file beside it, which only one process can make. It goes when this value does.
pub(crate) struct Lock {
    resource: PathBuf,
    path: PathBuf,
    held: bool,
}

impl Lock {
    /// Takes the lock of a file, and waits at most a second for it. Returns the lock's own file too, to be written.
    pub(crate) fn take(resource: &Path, name: &dyn std::fmt::Display) -> Result<(Self, File)> {
        Lock::take_within(resource, name, LOCK_WAIT)
    }

    fn take_within(resource: &Path, name: &dyn std::fmt::Display, wait: Duration) -> Result<(Self, File)> {
        let path = lock_path(resource);
        let until = Instant::now() + wait;
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok((Lock { resource: resource.to_owned(), path, held: true }, file));
                }
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
                    if Instant::now() >= until {
                        return Err(fault!(Conflict, "{name} is locked by {}", path.display())
                            .hint("another process is changing it; if none is, a killed one left the file: remove it"));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(why) => return Err(io_error(&path, &why)),
            }
        }
    }

    /// Puts what was written into the lock in the place of the file.
    pub(crate) fn commit(mut self) -> Result<()> {
        let renamed = match fs::rename(&self.path, &self.resource) {
            // Empty folders are what deleted references leave.
            Err(_) if self.resource.is_dir() => {
                remove_empty_folders(&self.resource, 0).and_then(|()| fs::rename(&self.path, &self.resource))
            }
            other => other,
        };
        renamed.map_err(|why| io_error(&self.resource, &why))?;
        self.held = false;
        Ok(())
    }

    /// Gives the lock up, and leaves the file as it is.
    fn release(mut self) -> Result<()> {
        remove_if_there(&self.path)?;
        self.held = false;
        Ok(())
    }

    /// Removes the file that the lock is for, and gives the lock up: one that stayed would be in the way of the next change.
    fn remove_resource(self) -> Result<()> {
        // In the place of a packed reference there may be an empty folder.
        if !self.resource.is_dir() {
            remove_if_there(&self.resource)?;
        }
        self.release()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held {
            // A lock that cannot be removed is found by the next one, who says so.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_empty_folders(folder: &Path, depth: usize) -> io::Result<()> {
    if depth < DEPTH_MAX {
        for entry in fs::read_dir(folder)? {
            remove_empty_folders(&entry?.path(), depth + 1)?;
        }
    }
    fs::remove_dir(folder)
}

/// Brings files to disk, and closes them.
fn sync_open(open: &mut Vec<(PathBuf, File)>) -> Result<()> {
    at_once(open, |(path, file)| file.sync_all().map_err(|why| io_error(path, &why)))?;
    open.clear();
    Ok(())
}

/// Brings files to disk.
pub(crate) fn sync_files(files: &[(&Path, &File)]) -> Result<()> {
    at_once(files, |(path, file)| file.sync_all().map_err(|why| io_error(path, &why)))
}

/// Brings the names in folders to disk; a file among them, with its bytes.
pub(crate) fn sync_folders(folders: &BTreeSet<PathBuf>) -> Result<()> {
    // Windows has no such thing and does not need it.
    if cfg!(windows) {
        return Ok(());
    }
    let folders: Vec<&PathBuf> = folders.iter().collect();
    at_once(&folders, |path| File::open(path).and_then(|file| file.sync_all()).map_err(|why| io_error(path, &why)))
}

/// Does the same where folders may have been swept away since nothing is in them: then there is nothing to bring to disk.
pub(crate) fn sync_folders_that_are_there(folders: &BTreeSet<PathBuf>) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let folders: Vec<&PathBuf> = folders.iter().collect();
    at_once(&folders, |path| match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => opened.and_then(|file| file.sync_all()).map_err(|why| io_error(path, &why)),
    })
}

/// Does the same with many, several at a time: a disk that is asked for many things at once does them together.
fn at_once<T: Sync>(all: &[T], each: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    /// More does not help.
    const AT_ONCE: usize = 16;
    if all.len() < 2 {
        return all.iter().try_for_each(each);
    }
    let each = &each;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            all.chunks(all.len().div_ceil(AT_ONCE)).map(|some| scope.spawn(move || some.iter().try_for_each(each))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(fault!(Bug, "a thread that syncs files panicked"))))
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make files as other programs do.
mod tests {
    use super::*;
    use crate::git::fixture::{FORMATS, assert_sound, empty, git, history, put};
    use crate::git::layout;
    use crate::git::store::Store;
    use std::sync::Barrier;

    fn name(text: &str) -> RefName {
        text.parse().unwrap()
    }

    fn edit(text: &str, expected: Option<GitId>, new: Option<GitId>) -> RefEdit {
        RefEdit { name: name(text), expected: expected.into(), new }
    }

    /// A repository with four commits and no reference.
    fn four(format: ObjectFormat) -> (tempfile::TempDir, Store, Vec<GitId>) {
        let (folder, store) = empty(format);
        let (objects, commits) = history(format, 4);
        store.write_durable(objects.iter()).unwrap();
        (folder, store, commits)
    }

    #[test]
    fn many_move_at_once_from_wherever_they_are() -> Result<()> {
        for format in FORMATS {
            let (_folder, store, commits) = four(format);
            let held = store.lock(Duration::ZERO, "test")?;
            let (a, b, c) = (commits[0], commits[1], commits[2]);
            // One packed, one in a file of its own, one both.
            store.update(&[edit("refs/packages/a/packed", None, Some(a)), edit("refs/packages/a/both", None, Some(a))])?;
            git(store.path(), &["pack-refs", "--all"]);
            store.update(&[edit("refs/packages/a/both", Some(a), Some(b)), edit("refs/packages/a/loose", None, Some(a))])?;
            store.update(&[edit("refs/packages/z/other", None, Some(a)), edit("refs/packages/a/gone", None, Some(a))])?;
            let all = [
                edit("refs/packages/a/new", None, Some(c)),
                edit("refs/packages/a/packed", Some(a), Some(c)),
                edit("refs/packages/a/loose", Some(a), Some(c)),
                edit("refs/packages/a/gone", Some(a), None),
                edit("refs/packages/a/both", Some(b), Some(c)),
            ];
            // One that is not what was expected stops all of them, wherever it stands.
            for at in 0..all.len() {
                let mut wrong = all.clone();
                wrong[at].expected = Expected::At(commits[3]);
                assert_eq!(store.update_at_once(&held, &wrong).unwrap_err().code(), ErrorCode::Conflict);
                for (name, id) in [("packed", Some(a)), ("loose", Some(a)), ("both", Some(b)), ("new", None), ("gone", Some(a))] {
                    assert_eq!(store.reference(&self::name(&format!("refs/packages/a/{name}")))?, id, "{name}");
                }
            }
            store.update_at_once(&held, &all)?;
            let found: Vec<(RefName, GitId)> = store.references("refs/packages/")?;
            let expected = [("a/both", c), ("a/loose", c), ("a/new", c), ("a/packed", c), ("z/other", a)];
            assert_eq!(found, expected.map(|(at, id)| (name(&format!("refs/packages/{at}")), id)));
            // Git sees the same, and no lock is left.
            let listed = git(store.path(), &["for-each-ref", "--format=%(refname) %(objectname)", "refs/packages/"]);
            let lines: String = expected.iter().map(|(at, id)| format!("refs/packages/{at} {id}\n")).collect();
            assert_eq!(listed, lines);
            assert_sound(store.path());
            assert!(!store.path().join("packed-refs.lock").exists() && !store.path().join("refs/packages/a/loose.lock").exists());
        }
        Ok(())
    }

    #[test]
    fn tags_keep_what_they_name_and_what_is_not_sorted_is_refused() -> Result<()> {
        let (_folder, store, commits) = four(ObjectFormat::Sha1);
        let held = store.lock(Duration::ZERO, "test")?;
        let peeled = format!(
            "# pack-refs with: peeled fully-peeled sorted \n{} refs/tags/one\n^{}\n{} refs/tags/two\n^{}\n",
            commits[0], commits[1], commits[2], commits[3]
        );
        let path = store.path().join("packed-refs");
        fs::write(&path, &peeled).unwrap();
        store.update_at_once(&held, &[edit("refs/packages/a/b", None, Some(commits[0]))])?;
        let line = format!("{} refs/packages/a/b\n", commits[0]);
        let head = peeled.find('\n').unwrap() + 1;
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}{line}{}", &peeled[..head], &peeled[head..]));
        store.update_at_once(&held, &[edit("refs/tags/one", Some(commits[0]), None)])?;
        assert!(!fs::read_to_string(&path).unwrap().contains(&format!("^{}", commits[1])));
        for broken in ["", "# pack-refs with: peeled \n", "# pack-refs with: sorted \nnonsense\n"] {
            fs::write(&path, format!("{broken}{} refs/x/y\n", commits[0])).unwrap();
            let error = store.update_at_once(&held, &[edit("refs/packages/c/d", None, Some(commits[0]))]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadRepository, "{broken}");
        }
        Ok(())
    }

    #[test]
    fn folders_are_swept_away_while_references_come_and_go() -> Result<()> {
        let (_folder, store, commits) = four(ObjectFormat::Sha1);
        let id = commits[0];
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let store = &store;
                    scope.spawn(move || -> Result<()> {
                        for round in 0..60 {
                            let name: RefName = format!("refs/incoming/a/p{}/{worker}", round % 2).parse()?;
                            store.update(&[RefEdit { name: name.clone(), expected: Expected::Absent, new: Some(id) }])?;
                            assert_eq!(store.reference(&name)?, Some(id));
                            store.update(&[RefEdit { name, expected: Expected::At(id), new: None }])?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let sweeper = scope.spawn(|| -> Result<()> {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    References::sweep_locks(&store.path().join("refs/incoming"), 0)?;
                }
                Ok(())
            });
            let worked = workers.into_iter().try_for_each(|worker| worker.join().unwrap());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            sweeper.join().unwrap().and(worked)
        })?;
        References::sweep_locks(&store.path().join("refs/incoming"), 0)?;
        assert_eq!(fs::read_dir(store.path().join("refs/incoming")).unwrap().count(), 0);
        Ok(())
    }

    #[test]
    fn what_is_written_is_what_git_and_we_read_loose_and_packed() -> Result<()> {
        for format in FORMATS {
            let (_folder, store, ids) = four(format);
            store.update(&[
                edit("refs/packages/wasi/http", None, Some(ids[0])),
                edit("refs/packages/wasi/io", None, Some(ids[1])),
                edit("refs/registry/log", None, Some(ids[2])),
            ])?;
            let listed = |store: &Store| git(store.path(), &["for-each-ref", "--format=%(objectname) %(refname)"]);
            let ours = |store: &Store| -> Result<String> {
                Ok(store.references("refs/")?.iter().map(|(name, id)| format!("{id} {name}\n")).collect())
            };
            assert_eq!(listed(&store), ours(&store)?);
            git(store.path(), &["pack-refs", "--all", "--prune"]);
            assert!(!store.path().join("refs/packages/wasi/io").exists());
            assert_eq!(store.reference(&name("refs/packages/wasi/io"))?, Some(ids[1]));
            assert_eq!(listed(&store), ours(&store)?);
            // Packed and loose together: the loose one counts.
            store.update(&[edit("refs/packages/wasi/http", Some(ids[0]), Some(ids[3]))])?;
            store.update(&[edit("refs/packages/wasi/a", None, Some(ids[3]))])?;
            assert_eq!(store.reference(&name("refs/packages/wasi/http"))?, Some(ids[3]));
            assert_eq!(listed(&store), ours(&store)?);
            let wasi: Vec<String> = store.references(layout::PACKAGES)?.iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(wasi, ["refs/packages/wasi/a", "refs/packages/wasi/http", "refs/packages/wasi/io"]);
            assert_eq!(store.references("refs/packages/wasi/h")?.len(), 1);
            assert_eq!(store.references("refs/packages/was/")?, []);
            // And gone, from both places.
            store.update(&[
                edit("refs/packages/wasi/http", Some(ids[3]), None),
                edit("refs/packages/wasi/io", Some(ids[1]), None),
                edit("refs/packages/wasi/a", Some(ids[3]), Some(ids[0])),
            ])?;
            assert_eq!(store.reference(&name("refs/packages/wasi/http"))?, None);
            assert_eq!(listed(&store), ours(&store)?);
            assert_eq!(store.references("refs/packages/")?, [(name("refs/packages/wasi/a"), ids[0])]);
            assert_sound(store.path());
        }
        Ok(())
    }

    #[test]
    fn one_reference_that_is_not_what_was_expected_keeps_all_as_they_are() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        store.update(&[edit("refs/packages/a/a", None, Some(ids[0])), edit("refs/packages/b/b", None, Some(ids[0]))])?;
        for (wrong, both) in [
            (edit("refs/packages/b/b", Some(ids[1]), Some(ids[2])), [ids[0].to_string(), ids[1].to_string()]),
            (edit("refs/packages/b/b", None, Some(ids[2])), [ids[0].to_string(), "not to exist".into()]),
            // Even where it is what it would become.
            (edit("refs/packages/b/b", None, Some(ids[0])), [ids[0].to_string(), "not to exist".into()]),
            (edit("refs/packages/c/c", Some(ids[1]), Some(ids[2])), ["does not exist".into(), ids[1].to_string()]),
            (edit("refs/packages/b/b", Some(ids[1]), None), [ids[0].to_string(), ids[1].to_string()]),
        ] {
            let error = store.update(&[edit("refs/packages/a/a", Some(ids[0]), Some(ids[1])), wrong.clone()]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Conflict);
            for part in both.iter().map(String::as_str).chain([wrong.name.as_str()]) {
                assert!(error.message().contains(part), "{part} not in {error}");
            }
            assert_eq!(store.references("refs/")?, [(name("refs/packages/a/a"), ids[0]), (name("refs/packages/b/b"), ids[0])]);
            assert_eq!(git(store.path(), &["for-each-ref"]).lines().count(), 2);
        }
        let locks = fs::read_dir(store.path().join("refs/packages/a")).unwrap().count();
        assert_eq!(locks, 1, "a lock was left");
        Ok(())
    }

    #[test]
    fn of_many_writers_at_once_exactly_one_wins_each_step() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        let target = "refs/registry/log";
        store.update(&[edit(target, None, Some(ids[0]))])?;
        for step in 0..12 {
            let (from, to) = (ids[step % 4], ids[(step + 1) % 4]);
            if step % 4 == 2 {
                git(store.path(), &["pack-refs", "--all"]);
            }
            let start = Barrier::new(6);
            let results: Vec<Result<()>> = std::thread::scope(|scope| {
                let one = || {
                    start.wait();
                    store.update(&[edit(target, Some(from), Some(to)), edit("refs/registry/other", None, None)])
                };
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            assert!(results.into_iter().filter_map(Result::err).all(|error| error.code() == ErrorCode::Conflict));
            assert_eq!(store.reference(&name(target))?, Some(to));
        }
        Ok(())
    }

    #[test]
    fn a_lock_that_a_dead_process_left_is_named_and_can_be_broken() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        let change = edit("refs/packages/a/a", None, Some(ids[0]));
        fs::create_dir_all(store.path().join("refs/packages/a")).unwrap();
        File::create(store.path().join("refs/packages/a/a.lock")).unwrap();
        let error = store.update(std::slice::from_ref(&change)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Conflict);
        assert!(error.message().contains("refs/packages/a/a.lock"), "{error}");
        // A lock is no reference.
        assert_eq!(store.references("refs/")?, []);
        let held = store.lock(Duration::ZERO, "test")?;
        store.break_ref_locks(&held, &[change.name.clone(), name("refs/packages/none/none")])?;
        store.update(&[change])?;
        Ok(())
    }

    #[test]
    fn a_reference_cannot_be_a_folder_of_another_one() -> Result<()> {
        for packed in [false, true] {
            let (_folder, store, ids) = four(ObjectFormat::Sha1);
            store.update(&[edit("refs/packages/a/b", None, Some(ids[0]))])?;
            if packed {
                git(store.path(), &["pack-refs", "--all"]);
            }
            for wrong in ["refs/packages/a", "refs/packages/a/b/c"] {
                let result = store.update(&[edit(wrong, None, Some(ids[1]))]);
                assert!(result.is_err(), "{wrong} {packed}");
                assert_eq!(store.references("refs/")?, [(name("refs/packages/a/b"), ids[0])]);
            }
            // A folder that a deleted reference left is no obstacle.
            store.update(&[edit("refs/packages/a/b", Some(ids[0]), None)])?;
            store.update(&[edit("refs/packages/a", None, Some(ids[1]))])?;
            assert_eq!(git(store.path(), &["for-each-ref", "--format=%(refname)"]), "refs/packages/a\n");
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_no_reference_and_is_not_waited_for() -> Result<()> {
        let (_folder, store) = empty(ObjectFormat::Sha1);
        let path = store.path().join("refs/heads/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(store.reference(&name("refs/heads/pipe")).unwrap_err().code(), ErrorCode::BadRepository);
        Ok(())
    }

    #[test]
    fn symbolic_and_broken_references_are_refused() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        store.update(&[edit("refs/registry/log", None, Some(ids[0]))])?;
        git(store.path(), &["symbolic-ref", "refs/packages/a/a", "refs/registry/log"]);
        let a = name("refs/packages/a/a");
        assert_eq!(store.reference(&a).unwrap_err().code(), ErrorCode::BadRepository);
        assert!(store.references(layout::PACKAGES).is_err());
        assert!(store.update(&[edit(a.as_str(), Some(ids[0]), Some(ids[1]))]).is_err());
        assert_eq!(store.reference(&layout::registry_log())?, Some(ids[0]));
        for broken in ["", "\n", "0123\n", &format!("{}\n", ObjectFormat::Sha256.empty_tree())] {
            put(store.path().join(a.as_str()), broken);
            assert_eq!(store.reference(&a).unwrap_err().code(), ErrorCode::BadRepository, "{broken:?}");
        }
        Ok(())
    }

    #[test]
    fn packed_references_are_read_in_every_form_that_git_leaves() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        let path = store.path().join("packed-refs");
        let log = layout::registry_log();
        for (text, found) in [
            (String::new(), None),
            ("# pack-refs with: peeled fully-peeled sorted \n".to_owned(), None),
            (format!("{} refs/registry/log\n", ids[0]), Some(ids[0])),
            (format!("{} refs/registry/z\n{} refs/registry/log\n", ids[1], ids[2]), Some(ids[2])),
            (format!("# pack-refs with: peeled fully-peeled sorted \n{} refs/registry/log\n^{}\n", ids[3], ids[0]), Some(ids[3])),
        ] {
            put(&path, &text);
            assert_eq!(store.reference(&log)?, found, "{text:?}");
            assert_eq!(store.references("refs/registry/l")?.first().map(|(_, id)| *id), found, "{text:?}");
        }
        for broken in ["x refs/registry/log\n", "# pack-refs with: sorted \nnonsense\n"] {
            put(&path, broken);
            assert_eq!(store.reference(&log).unwrap_err().code(), ErrorCode::BadRepository, "{broken:?}");
        }
        Ok(())
    }

    #[test]
    fn removing_packed_references_keeps_the_others_as_git_wrote_them() -> Result<()> {
        let (_folder, store, ids) = four(ObjectFormat::Sha1);
        let mut edits: Vec<RefEdit> =
            (0..50).map(|n| edit(&format!("refs/packages/p/n{n:02}"), None, Some(ids[n % 4]))).collect();
        store.update(&edits)?;
        git(store.path(), &["tag", "-a", "-m", "t", "v1", &ids[0].to_string()]);
        git(store.path(), &["pack-refs", "--all", "--prune"]);
        edits.retain(|edit| edit.name.as_str().ends_with('7'));
        for edit in &mut edits {
            edit.expected = Expected::At(edit.new.take().unwrap());
        }
        store.update(&edits)?;
        assert_eq!(store.references("refs/packages/")?.len(), 45);
        assert_eq!(git(store.path(), &["for-each-ref"]).lines().count(), 46);
        assert_sound(store.path());
        Ok(())
    }
}
