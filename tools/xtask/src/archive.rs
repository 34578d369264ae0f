//! Archives whose bytes depend on nothing but their contents and one time.

use crate::dist::Archive;
use flate2::{Compression, GzBuilder};
use std::io::{self, Write};

/// A file of an archive.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// What is behind a name.
pub(crate) enum Content {
    File {
        mode: u32,
        bytes: Vec<u8>,
    },
    /// Another name for a file in the same folder.
    Link(String),
}

impl Entry {
    pub(crate) fn file(path: &str, mode: u32, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content: Content::File { mode, bytes } }
    }

    /// Another name for a file.
    pub(crate) fn link(path: &str, to: String) -> Self {
        Self { path: path.to_owned(), content: Content::Link(to) }
    }
}

impl Content {
    /// The file's bytes, or those of the name.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::File { bytes, .. } => bytes,
            Self::Link(name) => name.as_bytes(),
        }
    }
}

/// A compressed archive of files, in their order, owned by user and group 0, all of one time.
pub(crate) fn tar_gz(entries: &[Entry], time: u64) -> io::Result<Vec<u8>> {
    // The name, time and system that gzip has room for are left out.
    let mut archive = tar::Builder::new(GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best()));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        match &entry.content {
            Content::File { mode, bytes } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(bytes.len() as u64);
                header.set_mode(*mode);
                archive.append_data(&mut header, &entry.path, bytes.as_slice())?;
            }
            Content::Link(name) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                archive.append_link(&mut header, &entry.path, name)?;
            }
        }
    }
    let mut gzip = archive.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

/// Where two archives of the same contents differ, if they do.
pub(crate) fn difference(a: &Archive, b: &Archive) -> Option<String> {
    if a.name == b.name && a.bytes == b.bytes {
        return None;
    }
    let mut lines = Vec::new();
    for (a, b) in a.entries.iter().zip(&b.entries) {
        let (ours, theirs) = (a.content.bytes(), b.content.bytes());
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
        if a.path != b.path {
            lines.push(format!("{} and {}", a.path, b.path));
        } else if ours.len() != theirs.len() || at.is_some() {
            let (place, lens) = (at.unwrap_or(ours.len().min(theirs.len())), (ours.len(), theirs.len()));
            lines.push(format!("{}: {} and {} bytes, from byte {place} on", a.path, lens.0, lens.1));
        }
    }
    if a.entries.len() != b.entries.len() {
        lines.push(format!("{} and {} files", a.entries.len(), b.entries.len()));
    }
    if lines.is_empty() {
        lines.push(String::from("the archive itself, not what is in it"));
    }
    Some(format!("{}:\n  {}", a.name, lines.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, bytes: &[u8]) -> Entry {
        Entry::file(path, 0o755, bytes.to_vec())
    }

    #[test]
    fn headers_say_what_was_asked() {
        let entries = [entry("a/b", b"text"), entry("a/c", &[7; 1000]), Entry::link("a/d", String::from("c"))];
        let packed = tar_gz(&entries, 1_234_567).expect("an archive");
        // No name, no time, no system.
        assert_eq!(packed[3..8], [0; 5]);
        assert_eq!(packed[9], 255);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut seen = Vec::new();
        for file in archive.entries().expect("a sound archive") {
            let mut file = file.expect("a sound entry");
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut file, &mut bytes).expect("its bytes");
            let header = file.header();
            assert_eq!((header.uid().ok(), header.gid().ok(), header.mtime().ok()), (Some(0), Some(0), Some(1_234_567)));
            let link = header.link_name().expect("a name or none").map(|name| name.display().to_string());
            assert_eq!(header.mode().ok(), Some(if link.is_some() { 0o777 } else { 0o755 }));
            seen.push((file.path().expect("a path").display().to_string(), bytes, link));
        }
        let names: Vec<(&str, &[u8], Option<&str>)> = seen.iter().map(|(path, bytes, link)| (&**path, &**bytes, link.as_deref())).collect();
        assert_eq!(names, [("a/b", b"text" as &[u8], None), ("a/c", &[7; 1000], None), ("a/d", b"", Some("c"))]);
    }

    #[test]
    fn a_difference_is_named() {
        let archive = |bytes: &[u8], time| {
            let entries = vec![entry("x/one", b"1"), entry("x/two", bytes)];
            Archive::new("x.tar.gz", tar_gz(&entries, time).expect("an archive"), entries)
        };
        assert_eq!(difference(&archive(b"abc", 1), &archive(b"abc", 1)), None);
        let text = difference(&archive(b"abc", 1), &archive(b"abd", 1)).expect("a difference");
        assert!(text.contains("x/two: 3 and 3 bytes, from byte 2 on") && !text.contains("one"), "{text}");
        let text = difference(&archive(b"abc", 1), &archive(b"abcd", 1)).expect("a difference");
        assert!(text.contains("x/two: 3 and 4 bytes, from byte 3 on"), "{text}");
        assert!(difference(&archive(b"abc", 1), &archive(b"abc", 2)).expect("a difference").contains("the archive itself"));
    }
}
