//! How much memory a program takes, and whether it ends well with less.

use crate::pairs::bed::Bed;
use crate::pairs::time;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs the built program and returns what it printed and the most KiB that were resident in it, or in one program that it ran; `None` where there is
/// no `time` that tells. (A small program in between asks the kernel, since a child begins with the figure of whoever started it.)
pub(crate) fn with_peak(bed: &Bed, home: &Path, args: &[&str]) -> (String, Option<u64>) {
    let time = "/usr/bin/time";
    if !Path::new(time).exists() {
        return (bed.quipu(home, args), None);
    }
    let to = bed.path("peak");
    let said = bed.quipu_by(&[time, "-f", "%M", "-o", to.to_str().unwrap()], home, args);
    (said, fs::read_to_string(to).unwrap().trim().parse().ok())
}

/// Runs the built program in a control group of so many bytes, in which it must end well, and returns how long that took.
///
/// # Errors
/// Why there can be no such group here, in words.
pub(crate) fn within(bytes: u64, bed: &Bed, home: &Path, args: &[&str]) -> Result<Duration, String> {
    let group = Group::new(bytes)?;
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    Ok(time(|| drop(bed.quipu_by(&["sh", "-c", enter, group.0.to_str().unwrap()], home, args))))
}

/// A control group; it goes when this value is dropped.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Result<Self, String> {
        let name = format!("quipu-scale-{}", std::process::id());
        let mut why = "no control groups for memory are here".to_owned();
        // Those of version 2, then those of version 1.
        for (parent, limit) in [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")] {
            if !Path::new(parent).join("cgroup.procs").exists() {
                continue;
            }
            let group = Group(Path::new(parent).join(&name));
            let made = fs::create_dir(&group.0).and_then(|()| {
                // The kernel puts it there; a file of our own would limit nothing.
                fs::metadata(group.0.join(limit))?;
                fs::write(group.0.join(limit), bytes.to_string())
            });
            match made {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("{}: {error}", group.0.display()),
            }
        }
        Err(why)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
