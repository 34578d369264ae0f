//! Mapping a `.kgl` file: the weights are used where the system's page cache holds them.

use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::string::ToString;

/// A file that could not be mapped.
#[derive(Debug)]
pub struct MapError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl core::error::Error for MapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file, mapped for reading.
///
/// The file must not be changed or cut while it is mapped: the system then ends the process (`SIGBUS`), or the
/// weights change under the model. `quantize` never writes in place, so replacing a model by a new one is safe.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `path`.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, or is not a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let error = |source| MapError { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(error)?;
        let kind = file.metadata().map_err(error)?;
        if !kind.is_file() {
            let what = if kind.is_dir() { "is a folder, expected a .kgl file" } else { "is not a regular file" };
            return Err(error(std::io::Error::new(std::io::ErrorKind::InvalidInput, what.to_string())));
        }
        if kind.len() == 0 {
            return Err(error(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file is empty")));
        }
        // SAFETY: the mapping is read-only; that nobody changes the file meanwhile is the documented duty of the user.
        #[expect(unsafe_code, reason = "mapping a file")]
        let map = unsafe { Mmap::map(&file) }.map_err(error)?;
        Ok(Self(map))
    }

    /// The file's bytes, page-aligned.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
