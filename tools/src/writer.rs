//! The `.kgl` writer: sizes are known before the first byte, so that a file is written once, front to back, and only
//! its head is written again at the end, with the digests.
//!
//! ```
//! use kinglet::spec::{BlockSpec, Spec};
//! use kinglet_quant::DType;
//! use kinglet_tools::writer::{Head, Writer, entries};
//! use std::io::Cursor;
//!
//! let mut spec = Spec::decoder(&[BlockSpec::default()], &[0]);
//! (spec.vocab, spec.hidden, spec.context) = (16, 64, 8);
//! let head = Head::new(&spec, [("name", "zeros")]).unwrap();
//! let mut writer = Writer::new(Cursor::new(Vec::new()), head, entries(&spec, |_| DType::F32).unwrap()).unwrap();
//! while let Some(entry) = writer.current() {
//!     writer.write(&vec![0; entry.len_bytes().unwrap() as usize]).unwrap();
//! }
//! let file = writer.finish().unwrap().into_inner();
//! let parsed = kinglet::format::Container::parse(&file).unwrap();
//! assert!(kinglet_tools::digest::verify(&parsed).is_ok());
//! ```

use crate::digest;
use kinglet::format::{ALIGN, ENTRY_BYTES, Entry, Layout, MAX_META_BYTES, Section};
use kinglet::spec::{Role, Spec, SpecError};
use kinglet_quant::DType;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};

/// The sections before the directory.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Lines `key=value`, keys ascending.
    pub meta: Vec<u8>,
    /// See [`kinglet::spec`].
    pub spec: Vec<u8>,
    /// See [`kinglet::tokenizer`]; may be empty.
    pub tokenizer: Vec<u8>,
    /// The compiled chat template; may be empty.
    pub chat: Vec<u8>,
}

impl Head {
    /// A head without tokenizer. Keys are sorted; control characters of values become spaces.
    ///
    /// # Errors
    /// If the spec breaks a rule.
    ///
    /// # Panics
    /// If a key is empty or has characters other than `a-z 0-9 _ .`, or the lines are longer than the format allows.
    pub fn new<'a>(spec: &Spec<'_>, meta: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, SpecError> {
        let mut bytes = vec![0; 4096];
        let len = spec.encode(&mut bytes)?;
        bytes.truncate(len);
        Ok(Self { meta: meta_lines(meta), spec: bytes, ..Self::default() })
    }
}

/// The meta section with these keys and values: see [`Head::new`].
///
/// # Panics
/// If a key is empty or has characters other than `a-z 0-9 _ .`, or the lines are longer than the format allows.
#[must_use]
pub fn meta_lines<'a>(meta: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let sorted: BTreeMap<&str, &str> = meta.into_iter().collect();
    let mut lines = String::new();
    for (key, value) in sorted {
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.'), "{key}");
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        lines.push_str(&format!("{key}={value}\n"));
    }
    assert!(lines.len() <= MAX_META_BYTES, "{} bytes of meta", lines.len());
    lines.into_bytes()
}

/// The directory of a file whose matrices have the types that `type_of` says; digests are zero. `None` if the sizes
/// overflow this machine's integers.
#[must_use]
pub fn entries(spec: &Spec<'_>, type_of: impl Fn(Role) -> DType) -> Option<Vec<Entry>> {
    let mut end = 0u64;
    spec.tensors()
        .map(|tensor| {
            let role = tensor.key.role;
            let dtype = if role.is_matrix() { type_of(role) } else { DType::F32 };
            let offset = end.checked_next_multiple_of(ALIGN as u64)?;
            let entry = Entry { tensor, dtype, offset, digest: [0; 32] };
            end = offset.checked_add(entry.len_bytes()?)?;
            Some(entry)
        })
        .collect()
}

/// The layout of a file with this head and directory; `None` if it overflows.
#[must_use]
pub fn layout(head: &Head, entries: &[Entry]) -> Option<Layout> {
    let data = match entries.last() {
        Some(last) => last.offset.checked_add(last.len_bytes()?)?,
        None => 0,
    };
    let len = |bytes: &[u8]| bytes.len() as u64;
    let directory = entries.len() as u64 * ENTRY_BYTES as u64;
    Layout::new([len(&head.meta), len(&head.spec), len(&head.tokenizer), len(&head.chat), directory, data])
}

/// Writes one file.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    head: Head,
    entries: Vec<Entry>,
    layout: Layout,
    /// Index of the tensor being written.
    at: usize,
    /// Bytes of it that are written.
    written: u64,
    hasher: Sha256,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a file at the front of `out`. Its head is zeros until [`Writer::finish`].
    ///
    /// # Errors
    /// If it cannot be written, or its size overflows.
    pub fn new(mut out: W, head: Head, entries: Vec<Entry>) -> io::Result<Self> {
        let layout = layout(&head, &entries).ok_or_else(|| io::Error::other("the file's size overflows"))?;
        let mut left = layout.offset(Section::Data);
        while left > 0 {
            let n = left.min(1 << 16);
            out.write_all(&vec![0; n as usize])?;
            left -= n;
        }
        Ok(Self { out, head, entries, layout, at: 0, written: 0, hasher: Sha256::new() })
    }

    /// The tensor whose bytes come next; `None` after the last one.
    #[must_use]
    pub fn current(&self) -> Option<Entry> {
        self.entries.get(self.at).copied()
    }

    /// Appends bytes to the current tensor; the last of them makes the next one current.
    ///
    /// # Errors
    /// If they cannot be written.
    ///
    /// # Panics
    /// If there is no current tensor, or it is shorter.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = self.entries[self.at].len_bytes().unwrap_or(0);
        assert!(self.written + bytes.len() as u64 <= len, "{} has {len} bytes", self.entries[self.at].tensor.key);
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        if self.written == len {
            self.entries[self.at].digest = self.hasher.finalize_reset().into();
            let end = self.entries[self.at].offset + len;
            (self.at, self.written) = (self.at + 1, 0);
            if let Some(next) = self.entries.get(self.at) {
                self.out.write_all(&[0; ALIGN][..(next.offset - end) as usize])?;
            }
        }
        Ok(())
    }

    /// Writes the head and gives `out` back.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If a tensor is missing.
    pub fn finish(mut self) -> io::Result<W> {
        assert!(self.current().is_none(), "tensor {} of {} is not written", self.at, self.entries.len());
        let directory: Vec<u8> = self.entries.iter().flat_map(Entry::encode).collect();
        let mut head = vec![0; self.layout.offset(Section::Data) as usize];
        head[..kinglet::format::HEADER_BYTES].copy_from_slice(&self.layout.header([0; 32]));
        let sections = [
            (Section::Meta, &self.head.meta),
            (Section::Spec, &self.head.spec),
            (Section::Tokenizer, &self.head.tokenizer),
            (Section::Chat, &self.head.chat),
            (Section::Directory, &directory),
        ];
        for (section, bytes) in sections {
            head[self.layout.offset(section) as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let digest = digest::of_head(&head);
        head[..kinglet::format::HEADER_BYTES].copy_from_slice(&self.layout.header(digest));
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&head)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
