//! `packed-refs`, searched where it lies: a question costs a few blocks of it, however many references it holds. Mapping it costs a page
//! for each step of a search, and their going, which is more as long as the questions are few.

use super::pack::io_error;
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{Error, Result, fault};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where so many bytes are left they are read as a whole.
const REST: u64 = 4096;
/// So many bytes are read at first to find a line, which most often is there.
const PIECE: u64 = 512;
/// The most bytes in which there must be a whole line.
const LINE_MAX: u64 = 64 * 1024;

/// A `packed-refs` that says of itself that it is sorted, as every git has written it since 2018.
pub(crate) struct PackedFile {
    path: PathBuf,
    file: File,
    format: ObjectFormat,
    /// Where the first reference stands.
    start: u64,
    end: u64,
}

/// A reference in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: Vec<u8>,
    pub(crate) id: GitId,
}

/// What opening it came to.
pub(crate) enum Opened {
    /// There is none.
    Absent,
    /// It can be searched.
    Sorted(PackedFile),
    /// It does not say that it is sorted.
    Unsorted,
}

impl PackedFile {
    /// Opens the file as it is now. What is renamed over it later does not change what is read.
    pub(crate) fn open(path: &Path, format: ObjectFormat) -> Result<Opened> {
        let at = |why: io::Error| io_error(path, &why);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Opened::Absent),
            Err(why) => return Err(at(why)),
        };
        let end = file.metadata().map_err(at)?.len();
        let packed = PackedFile { path: path.to_owned(), file, format, start: 0, end };
        let head = packed.read(0, end.min(PIECE))?;
        let Some(length) = head.iter().position(|byte| *byte == b'\n') else { return Ok(Opened::Unsorted) };
        let is_sorted = head.starts_with(b"#") && head[..length].split(u8::is_ascii_whitespace).any(|word| word == b"sorted");
        Ok(if is_sorted { Opened::Sorted(PackedFile { start: length as u64 + 1, ..packed }) } else { Opened::Unsorted })
    }

    /// Returns what a reference names; `None` where it is not in the file.
    pub(crate) fn find(&self, name: &str) -> Result<Option<GitId>> {
        Ok(self.first_from(name.as_bytes())?.filter(|line| line.name == name.as_bytes()).map(|line| line.id))
    }

    /// Returns the first reference whose name is this one or comes after it.
    pub(crate) fn first_from(&self, name: &[u8]) -> Result<Option<Line>> {
        // What stands before `low` comes before the name; what stands at `high`, the candidate, does not.
        let (mut low, mut high, mut candidate) = (self.start, self.end, None);
        while high - low > REST {
            let middle = low + (high - low) / 2;
            let Some((from, to, line)) = self.line_after(middle, high)? else { break };
            if line.name.as_slice() < name {
                low = to;
            } else {
                (high, candidate) = (from, Some(line));
            }
        }
        let rest = self.read(low, high - low)?;
        for line in rest.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"^")) {
            let line = self.parse(line)?;
            if line.name.as_slice() >= name {
                return Ok(Some(line));
            }
        }
        Ok(candidate)
    }

    /// Returns the first line of a reference that begins after `middle` and before `high`, and where it begins and ends.
    fn line_after(&self, middle: u64, high: u64) -> Result<Option<(u64, u64, Line)>> {
        let mut length = PIECE;
        loop {
            let piece = self.read(middle, length.min(high - middle))?;
            let mut from = piece.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            while let Some(at) = from
                && let Some(size) = piece[at..].iter().position(|byte| *byte == b'\n')
            {
                let to = at + size + 1;
                // What begins so belongs to the line before it.
                if piece[at] != b'^' {
                    return Ok(Some((middle + at as u64, middle + to as u64, self.parse(&piece[at..to])?)));
                }
                from = Some(to);
            }
            if middle + length >= high {
                return Ok(None);
            }
            if length >= LINE_MAX {
                return Err(self.broken(&format_args!("there is no line of it in {length} bytes")));
            }
            length *= 4;
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Line> {
        let parts = line.strip_suffix(b"\n").and_then(|line| {
            let (id, rest) = line.split_at_checked(2 * self.format.id_len())?;
            let id = std::str::from_utf8(id).ok()?.parse::<GitId>().ok()?;
            Some(Line { id, name: rest.strip_prefix(b" ")?.to_vec() })
        });
        parts.filter(|line| line.id.format() == self.format && !line.name.is_empty()).ok_or_else(|| {
            self.broken(&format_args!("{:?} is no line of it", String::from_utf8_lossy(&line[..line.len().min(200)])))
        })
    }

    fn read(&self, from: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        read_exact_at(&self.file, &mut bytes, from).map_err(|why| io_error(&self.path, &why))?;
        Ok(bytes)
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> Error {
        broken(&self.path, why)
    }
}

/// Says that `packed-refs` is not what git writes.
pub(crate) fn broken(path: &Path, why: &dyn std::fmt::Display) -> Error {
    fault!(BadRepository, "{} is broken: {}", path.display(), super::program::in_one_line(&why.to_string()))
        .hint("git fsck says more")
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], from: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, from)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut from: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = std::os::windows::fs::FileExt::seek_read(file, bytes, from)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[length..];
        from += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FORMATS, put};
    use super::*;
    use crate::model::digest::ObjectKind;
    use crate::model::error::ErrorCode;
    use std::fmt::Write as _;

    fn id(format: ObjectFormat, number: usize) -> GitId {
        GitId::of(format, ObjectKind::Blob, &number.to_le_bytes())
    }

    fn opened(text: &str, format: ObjectFormat) -> (tempfile::TempDir, Opened) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed-refs");
        put(&path, text);
        let opened = PackedFile::open(&path, format).unwrap();
        (folder, opened)
    }

    fn sorted(text: &str, format: ObjectFormat) -> (tempfile::TempDir, PackedFile) {
        match opened(text, format) {
            (folder, Opened::Sorted(packed)) => (folder, packed),
            _ => panic!("it says that it is sorted"),
        }
    }

    const HEADER: &str = "# pack-refs with: peeled fully-peeled sorted \n";

    /// Names of all lengths, some as long as several blocks, some followed by what they lead to.
    fn file(format: ObjectFormat, count: usize) -> (String, Vec<String>) {
        let long = |number: usize| if number % 97 == 5 { "x".repeat(9_000) } else { "x".repeat(number % 120) };
        let mut names: Vec<String> =
            (0..count).map(|number| format!("refs/packages/n{}/{number}{}", number % 7, long(number))).collect();
        names.sort_unstable();
        let mut text = HEADER.to_owned();
        for (number, name) in names.iter().enumerate() {
            writeln!(text, "{} {name}", id(format, number)).unwrap();
            if number % 3 == 0 {
                writeln!(text, "^{}", id(format, 0)).unwrap();
            }
        }
        (text, names)
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for format in FORMATS {
            for count in [0, 1, 2, 3, 50, 700] {
                let (text, names) = file(format, count);
                let (_folder, packed) = sorted(&text, format);
                for (number, name) in names.iter().enumerate() {
                    assert_eq!(packed.find(name).unwrap(), Some(id(format, number)), "{name}");
                    assert_eq!(packed.find(&name[..name.len() - 1]).unwrap(), None);
                    let after = packed.first_from(format!("{name}\u{1}").as_bytes()).unwrap();
                    assert_eq!(after.map(|line| line.name), names.get(number + 1).map(|name| name.as_bytes().to_vec()));
                }
                let first = packed.first_from(b"").unwrap();
                assert_eq!(first.map(|line| line.name), names.first().map(|name| name.as_bytes().to_vec()));
                assert_eq!(packed.first_from(b"z").unwrap(), None);
                assert_eq!(packed.find("refs/heads/main").unwrap(), None);
            }
        }
    }

    #[test]
    fn a_file_that_does_not_say_that_it_is_sorted_is_not_searched() {
        let format = ObjectFormat::Sha1;
        for text in ["", "# pack-refs with: peeled \n", "#sorted", "0123 refs/heads/main\n"] {
            assert!(matches!(opened(text, format).1, Opened::Unsorted), "{text:?}");
        }
        let nowhere = tempfile::tempdir().unwrap().path().join("packed-refs");
        assert!(matches!(PackedFile::open(&nowhere, format).unwrap(), Opened::Absent));
    }

    #[test]
    fn what_git_would_not_write_is_broken() {
        let good = id(ObjectFormat::Sha1, 1);
        let foreign = id(ObjectFormat::Sha256, 1);
        for line in [
            "refs/heads/main\n".to_owned(),
            format!("{good} \n"),
            format!("{good}\trefs/heads/main\n"),
            format!("{good} refs/heads/main"),
            format!("{foreign} refs/heads/main\n"),
            format!("{}g refs/heads/main\n", &good.to_string()[1..]),
            "\n".to_owned(),
        ] {
            let (_folder, packed) = sorted(&format!("{HEADER}{line}"), ObjectFormat::Sha1);
            assert_eq!(packed.find("refs/heads/main").unwrap_err().code(), ErrorCode::BadRepository, "{line:?}");
        }
        // A line that never ends is not read to its end.
        let (_folder, packed) = sorted(&format!("{HEADER}{}", "x".repeat(1 << 20)), ObjectFormat::Sha1);
        assert_eq!(packed.find("refs/heads/main").unwrap_err().code(), ErrorCode::BadRepository);
    }
}
