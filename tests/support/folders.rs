//! Folders: copied, and compared byte for byte and mode for mode.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Returns the files below a folder by their path in it. Whatever is neither file nor folder ends the test.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.unwrap();
        assert!(entry.file_type().is_file() || entry.file_type().is_dir(), "{}", entry.path().display());
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.insert(path, entry.into_path());
        }
    }
    found
}

/// Says whether a file's owner may execute it.
pub(crate) fn is_exec(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, file) in files(from) {
        let target = to.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Checks that a folder that was got holds the files of another one and nothing else: the same bytes, and 0755 where the owner may
/// execute the file, 0644 where not, each less what this process leaves out.
#[track_caller]
pub(crate) fn assert_same(got: &Path, expected: &Path) {
    let (found, wanted) = (files(got), files(expected));
    let names = |files: &BTreeMap<String, PathBuf>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted), "{} and {}", got.display(), expected.display());
    let masked = umask(got);
    for (path, file) in &found {
        let source = &wanted[path];
        assert!(fs::read(file).unwrap() == fs::read(source).unwrap(), "{path} of {} differs", expected.display());
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o7777;
        let full = if is_exec(source) { 0o755 } else { 0o644 };
        assert_eq!(mode, full & !masked, "mode of {path} of {}: {mode:o}", expected.display());
    }
}

/// Finds which bits this process leaves out of the modes of new files.
fn umask(beside: &Path) -> u32 {
    let probe = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
    fs::write(probe.path().join("probe"), "").unwrap();
    let file = fs::metadata(probe.path().join("probe")).unwrap().permissions().mode();
    0o666 & !file & 0o777
}
