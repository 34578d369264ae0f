//! An output file that is complete or absent: written under a temporary name beside its place, renamed at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file being written. Dropped before [`Output::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    file: File,
    place: PathBuf,
    temporary: PathBuf,
    replace: bool,
    committed: bool,
}

impl Output {
    /// Whether a file may be written to `place`.
    ///
    /// # Errors
    /// If it is a folder, is in none, or (unless `replace`) exists.
    pub fn check(place: &Path, replace: bool) -> Result<(), OutputError> {
        let at = |problem| OutputError { path: place.to_owned(), problem };
        if place.is_dir() {
            return Err(at(Problem::IsFolder));
        }
        if place.file_name().is_none() {
            return Err(at(Problem::NoFolder));
        }
        if !folder_of(place).is_dir() {
            return Err(at(Problem::NoFolder));
        }
        if place.symlink_metadata().is_ok() && !replace {
            return Err(at(Problem::Exists));
        }
        Ok(())
    }

    /// Starts a file of `len` bytes, and reserves them where the system can.
    ///
    /// # Errors
    /// See [`Output::check`]; and if the disk is full or read-only.
    pub fn create(place: &Path, len: u64, replace: bool) -> Result<Self, OutputError> {
        Self::check(place, replace)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder_of(place).join(format!(".{name}.partial-{}", std::process::id()));
        let io = |error| OutputError::io(place, error);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(io)?;
        let output = Self { file, place: place.to_owned(), temporary, replace, committed: false };
        output.reserve(len).map_err(io)?;
        Ok(output)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            // File systems without reservation: a full disk shows later, when it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => Ok(()),
            other => other.map_err(Into::into),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// If the bytes cannot reach the disk, or something stands in the place by now.
    pub fn commit(mut self) -> Result<(), OutputError> {
        let io = |error| OutputError::io(&self.place, error);
        self.file.sync_all().map_err(io)?;
        Self::check(&self.place, self.replace)?;
        std::fs::rename(&self.temporary, &self.place).map_err(io)?;
        self.committed = true;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a file that cannot be removed; what went wrong before matters more.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn folder_of(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Why a file cannot be written.
#[derive(Debug)]
pub struct OutputError {
    /// Where it should have been written.
    pub path: PathBuf,
    /// Why not.
    pub problem: Problem,
}

/// The reasons.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Something stands there.
    Exists,
    /// It is a folder.
    IsFolder,
    /// Its folder does not exist.
    NoFolder,
    /// The system says no.
    Io(io::Error),
}

impl OutputError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), problem: Problem::Io(error) }
    }
}

impl std::fmt::Display for OutputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            Problem::Exists => write!(f, "exists; --force overwrites it"),
            Problem::IsFolder => write!(f, "expected a file name for the output, got a folder"),
            Problem::NoFolder => write!(f, "its folder does not exist"),
            Problem::Io(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl std::error::Error for OutputError {}
