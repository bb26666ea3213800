//! What this process has looked for so far, in all repositories: objects, references, and the programs that it started to look for more. Tests
//! hold it against the size of a registry.

use std::sync::atomic::{AtomicU64, Ordering};

static OBJECTS: AtomicU64 = AtomicU64::new(0);
static REFERENCES: AtomicU64 = AtomicU64::new(0);
static PROGRAMS: AtomicU64 = AtomicU64::new(0);

/// Three numbers that only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Objects that were asked for, whether they were there or not. Those of a reader count once it is dropped.
    pub objects: u64,
    /// References that were asked for, and those that were met where all were listed.
    pub references: u64,
    /// Programs that were started.
    pub programs: u64,
}

impl Effort {
    /// Returns what it came to until now.
    pub fn so_far() -> Self {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Effort { objects: read(&OBJECTS), references: read(&REFERENCES), programs: read(&PROGRAMS) }
    }

    /// Returns what came since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Effort {
            objects: self.objects - earlier.objects,
            references: self.references - earlier.references,
            programs: self.programs - earlier.programs,
        }
    }
}

/// Counts objects.
pub(crate) fn objects(number: u64) {
    OBJECTS.fetch_add(number, Ordering::Relaxed);
}

/// Counts references.
pub(crate) fn references(number: u64) {
    REFERENCES.fetch_add(number, Ordering::Relaxed);
}

/// Counts a program.
pub(crate) fn program() {
    PROGRAMS.fetch_add(1, Ordering::Relaxed);
}
