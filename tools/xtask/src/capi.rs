//! The C library as others get it: its header, archives that are one object each, and what a linker and a build system must know.

pub(crate) mod header;
mod symbols;

use std::path::Path;

/// Writes a file beside its place, and then there: nobody sees half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let folder = path.parent().ok_or_else(|| format!("{}: expected a file in a folder", path.display()))?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
