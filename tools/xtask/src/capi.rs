//! The C library as others get it: its header, archives that are one object each, and what a linker and a build system must know.

mod check;
mod compilers;
mod examples;
pub(crate) mod header;
pub(crate) mod install;
mod library;
mod package;
mod suite;
mod symbols;

pub(crate) use check::gate;
pub(crate) use compilers::AARCH64_MUSL_SPECS;
pub(crate) use library::{TARGETS, Target, build};
pub(crate) use package::{about, entries};
pub(crate) use suite::gate as tests;

use crate::archive::Content;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file beside its place, and then there: nobody sees half of it, and what was there is replaced.
fn put(path: &Path, content: &Content) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let folder = path.parent().ok_or_else(|| format!("{}: expected a file in a folder", path.display()))?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let beside = tempfile::Builder::new();
    match content {
        Content::File { mode, bytes } => {
            let mut file = beside.tempfile_in(folder).map_err(failed)?;
            file.write_all(bytes).map_err(failed)?;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(*mode)).map_err(failed)?;
            file.persist(path).map_err(|e| failed(e.error))?;
        }
        Content::Link(to) => {
            let link = beside.make_in(folder, |path| std::os::unix::fs::symlink(to, path)).map_err(failed)?;
            link.persist(path).map_err(|e| failed(e.error))?;
        }
    }
    Ok(())
}
