//! New files, written in threads of their own while whoever has their bytes reads on: to make a file can take longer than to unpack and
//! to check it.

use super::replace::{exists, io_fault};
use crate::model::error::{Error, Result, fault};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// More threads do not help: a file system makes files in few places at a time.
const THREADS_MAX: usize = 4;
/// A file with more bytes is written by the caller's thread, so that no two of them are held; making it is the least of the work.
const FILE_MAX: usize = 1024 * 1024;
/// A thread is given what was gathered for it from so many bytes on, or so many files: to wake it costs as much as to write a file.
const GATHERED_BYTES: usize = 256 * 1024;
const GATHERED_FILES: usize = 64;
/// How many bytes wait at most.
const WAITING_MAX: usize = 16 * 1024 * 1024;

/// A file that is to be made.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// Where it is made; nothing may be there.
    pub(crate) place: PathBuf,
    /// The path that errors name.
    pub(crate) shown: PathBuf,
    /// Whether it can be executed: mode 0755, else 0644, less the umask.
    pub(crate) exec: bool,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

impl NewFile {
    fn write(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if self.exec { 0o755 } else { 0o644 });
        options.open(&self.place).and_then(|mut file| file.write_all(&self.bytes)).map_err(|why| failed(&why, &self.shown))
    }
}

/// Says why something could not be made that must be new.
pub(crate) fn failed(why: &io::Error, shown: &std::path::Path) -> Error {
    match why.kind() {
        io::ErrorKind::AlreadyExists => exists(shown),
        _ => io_fault(why, "write", shown),
    }
}

/// The threads. When this value is dropped they have ended, and write nothing any more.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    threads: Vec<Writer>,
    room: Arc<Room>,
}

#[derive(Debug)]
struct Writer {
    gathered: Vec<Waiting>,
    gathered_bytes: usize,
    queue: Sender<Vec<Waiting>>,
    thread: JoinHandle<Result<()>>,
}

impl Writers {
    /// Has a file written. Those of one folder have the same `lane` and one thread: a folder takes one new name at a time.
    ///
    /// # Errors
    /// `exists`, `io`: of this file, or of one that was given before.
    pub(crate) fn write(&mut self, lane: usize, file: NewFile) -> Result<()> {
        if file.bytes.len() > FILE_MAX {
            return file.write();
        }
        if self.threads.is_empty() {
            self.start()?;
        }
        let lane = lane % self.threads.len();
        let writer = &mut self.threads[lane];
        writer.gathered_bytes += file.bytes.len();
        writer.gathered.push(self.room.take(file));
        if writer.gathered_bytes < GATHERED_BYTES && writer.gathered.len() < GATHERED_FILES {
            return Ok(());
        }
        writer.gathered_bytes = 0;
        match writer.queue.send(std::mem::take(&mut writer.gathered)) {
            Ok(()) => Ok(()),
            // That thread ended with an error.
            Err(_) => self.finish(),
        }
    }

    /// Waits until all files are written.
    ///
    /// # Errors
    /// `exists`, `io`: the first of each thread that failed, and of these one.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let threads: Vec<_> = self
            .threads
            .drain(..)
            .map(|writer| {
                // A thread that is gone says why below.
                let _ = writer.queue.send(writer.gathered);
                writer.thread
            })
            .collect();
        let ends: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(fault!(Bug, "a thread that writes files panicked"))))
            .collect();
        ends.into_iter().collect()
    }

    fn start(&mut self) -> Result<()> {
        let wanted = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        for _ in 0..wanted {
            let (queue, files) = mpsc::channel();
            let thread = thread::Builder::new()
                .name("files".to_owned())
                .spawn(move || write_all(&files))
                .map_err(|why| fault!(Io, "cannot start a thread: {why}"))?;
            self.threads.push(Writer { gathered: Vec::new(), gathered_bytes: 0, queue, thread });
        }
        Ok(())
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // Whoever wants the files calls `finish`; what was not given to a thread yet is not written any more.
        for Writer { queue, thread, gathered, .. } in self.threads.drain(..) {
            drop((queue, gathered));
            let _ = thread.join();
        }
    }
}

fn write_all(files: &Receiver<Vec<Waiting>>) -> Result<()> {
    files.iter().flatten().try_for_each(|waiting| waiting.file.write())
}

/// How many bytes wait to be written.
#[derive(Debug, Default)]
struct Room {
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Room {
    /// Waits until there is room for a file.
    fn take(self: &Arc<Self>, file: NewFile) -> Waiting {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken > WAITING_MAX - FILE_MAX;
        *self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += file.bytes.len();
        Waiting { file, room: Arc::clone(self) }
    }
}

/// A file that takes room until it is written, or given up.
#[derive(Debug)]
struct Waiting {
    file: NewFile,
    room: Arc<Room>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.file.bytes.len();
        self.room.freed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make files as other programs do.
mod tests {
    use super::*;
    use crate::model::error::ErrorCode;
    use std::fs;
    use tempfile::TempDir;

    fn new_file(folder: &TempDir, name: &str, bytes: Vec<u8>) -> NewFile {
        let place = folder.path().join(name);
        NewFile { shown: PathBuf::from("shown").join(name), place, exec: false, bytes }
    }

    #[test]
    fn more_is_written_than_may_wait() {
        let folder = TempDir::new().unwrap();
        let mut writers = Writers::default();
        let sizes = [0, 1, FILE_MAX, FILE_MAX + 1];
        for number in 0..3 * WAITING_MAX / FILE_MAX {
            let bytes = vec![u8::try_from(number).unwrap(); sizes[number % sizes.len()]];
            writers.write(number, new_file(&folder, &number.to_string(), bytes)).unwrap();
            assert!(*writers.room.taken.lock().unwrap() <= WAITING_MAX);
        }
        writers.finish().unwrap();
        assert_eq!(*writers.room.taken.lock().unwrap(), 0);
        for number in 0..3 * WAITING_MAX / FILE_MAX {
            let bytes = fs::read(folder.path().join(number.to_string())).unwrap();
            assert_eq!(bytes, vec![u8::try_from(number).unwrap(); sizes[number % sizes.len()]], "{number}");
        }
    }

    #[test]
    fn the_first_error_ends_it_however_much_is_waiting() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("7"), b"mine").unwrap();
        let mut writers = Writers::default();
        // One lane, so that more waits behind the error than there is room for.
        let written =
            (0..60).try_for_each(|number: u32| writers.write(0, new_file(&folder, &number.to_string(), vec![0; FILE_MAX])));
        let error = written.and_then(|()| writers.finish()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Exists);
        assert!(error.message().contains("shown/7"), "{error}");
        drop(writers);
        assert_eq!(fs::read(folder.path().join("7")).unwrap(), b"mine");
        assert!(!folder.path().join("8").exists());
    }
}
