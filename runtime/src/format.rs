//! The `.kgl` container: header, sections, tensor directory.
//!
//! [`Container::parse`] checks everything that can be checked without reading the weights, in time linear in the size
//! of the head, with checked arithmetic; afterwards no accessor fails. Weights may hold any bytes: kernels give some
//! result for each of them, and `kinglet verify` compares their hashes. The bytes are specified in `docs/format.md`.
//!
//! ```text
//! header (192 bytes) | meta | spec | tokenizer | chat | directory | data
//! ```
//! Every section starts at the next multiple of 64 after the one before, data at a multiple of 4,096; all bytes
//! between are zero, so that the lengths alone determine the offsets.

mod error;

pub use crate::spec::{Role, TensorKey};
pub use error::FormatError;

use crate::spec::{Spec, TensorSpec};
use crate::tensor::Matrix;
use kinglet_quant::DType;

/// The first eight bytes. Like PNG's, they break under a text-mode transfer.
pub const MAGIC: [u8; 8] = *b"\x89KGL\r\n\x1a\n";
/// The version of the format that this module reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 192;
/// Bytes of a directory entry.
pub const ENTRY_BYTES: usize = 64;
/// Sections and tensors start at multiples of this.
pub const ALIGN: usize = 64;
/// The data section starts at a multiple of this.
pub const PAGE: usize = 4096;
/// Bytes of a SHA-256 digest.
pub const DIGEST_BYTES: usize = 32;
/// Where the head's digest stands in the header.
pub const DIGEST_AT: usize = 112;
const RESERVED_AT: usize = DIGEST_AT + DIGEST_BYTES;
/// Bytes of the meta section, at most.
pub const MAX_META_BYTES: usize = 1 << 16;

/// A part of the file, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// Lines `key=value`, UTF-8.
    Meta = 0,
    /// See [`crate::spec`].
    Spec = 1,
    /// See [`crate::tokenizer`]; may be empty.
    Tokenizer = 2,
    /// The compiled chat template; may be empty.
    Chat = 3,
    /// Tensor entries.
    Directory = 4,
    /// Tensors.
    Data = 5,
}

impl Section {
    /// All sections, in order.
    pub const ALL: [Section; 6] = [Section::Meta, Section::Spec, Section::Tokenizer, Section::Chat, Section::Directory, Section::Data];

    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Section::Meta => "meta",
            Section::Spec => "spec",
            Section::Tokenizer => "tokenizer",
            Section::Chat => "chat",
            Section::Directory => "directory",
            Section::Data => "data",
        }
    }

    const fn align(self) -> u64 {
        if matches!(self, Section::Data) { PAGE as u64 } else { ALIGN as u64 }
    }
}

/// Where each section starts and how long it is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    offsets: [u64; 6],
    lens: [u64; 6],
}

impl Layout {
    /// The layout that these lengths determine; `None` on overflow.
    #[must_use]
    pub fn new(lens: [u64; 6]) -> Option<Self> {
        let mut offsets = [0; 6];
        let mut end = HEADER_BYTES as u64;
        for section in Section::ALL {
            let i = section as usize;
            offsets[i] = end.checked_next_multiple_of(section.align())?;
            end = offsets[i].checked_add(lens[i])?;
        }
        Some(Self { offsets, lens })
    }

    /// Offset of a section in the file.
    #[must_use]
    pub fn offset(&self, section: Section) -> u64 {
        self.offsets[section as usize]
    }

    /// Length of a section.
    #[must_use]
    pub fn len(&self, section: Section) -> u64 {
        self.lens[section as usize]
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.offsets[5] + self.lens[5]
    }

    /// The header of a file with this layout. `digest` is the SHA-256 of everything before the data section, with
    /// these 32 bytes zero.
    #[must_use]
    pub fn header(&self, digest: [u8; DIGEST_BYTES]) -> [u8; HEADER_BYTES] {
        let mut h = [0; HEADER_BYTES];
        h[..8].copy_from_slice(&MAGIC);
        h[8..12].copy_from_slice(&VERSION.to_le_bytes());
        h[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        for i in 0..6 {
            h[16 + 16 * i..24 + 16 * i].copy_from_slice(&self.offsets[i].to_le_bytes());
            h[24 + 16 * i..32 + 16 * i].copy_from_slice(&self.lens[i].to_le_bytes());
        }
        h[DIGEST_AT..RESERVED_AT].copy_from_slice(&digest);
        h
    }
}

/// A tensor's entry in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which tensor, and its shape.
    pub tensor: TensorSpec,
    /// Element type.
    pub dtype: DType,
    /// Offset in the data section: a multiple of [`ALIGN`].
    pub offset: u64,
    /// SHA-256 of its bytes.
    pub digest: [u8; DIGEST_BYTES],
}

impl Entry {
    /// Bytes of the tensor; `None` on overflow.
    #[must_use]
    pub fn len_bytes(&self) -> Option<u64> {
        self.dtype.matrix_bytes(self.tensor.rows, self.tensor.cols).map(|n| n as u64)
    }

    /// The entry as it stands in the file.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut e = [0; ENTRY_BYTES];
        e[0] = self.tensor.key.stack;
        e[1] = self.tensor.key.role as u8;
        e[2..4].copy_from_slice(&self.tensor.key.layer.to_le_bytes());
        e[4] = self.dtype as u8;
        e[8..12].copy_from_slice(&(self.tensor.rows as u32).to_le_bytes());
        e[12..16].copy_from_slice(&(self.tensor.cols as u32).to_le_bytes());
        e[16..24].copy_from_slice(&self.offset.to_le_bytes());
        e[24..32].copy_from_slice(&self.len_bytes().unwrap_or(u64::MAX).to_le_bytes());
        e[32..64].copy_from_slice(&self.digest);
        e
    }

    fn decode(index: usize, e: &[u8; ENTRY_BYTES]) -> Result<Self, FormatError> {
        let role = Role::from_u8(e[1]).ok_or(FormatError::UnknownRole { index, value: e[1] })?;
        let dtype = DType::from_u8(e[4]).ok_or(FormatError::UnknownType { index, value: e[4] })?;
        if e[5..8] != [0; 3] {
            return Err(FormatError::ReservedEntry { index });
        }
        let key = TensorKey { stack: e[0], role, layer: u16::from_le_bytes([e[2], e[3]]) };
        let too_large = |_| FormatError::TooLarge { what: "a tensor's shape" };
        let (rows, cols) = (usize::try_from(u32_at(e, 8)).map_err(too_large)?, usize::try_from(u32_at(e, 12)).map_err(too_large)?);
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&e[32..64]);
        let entry = Self { tensor: TensorSpec { key, rows, cols }, dtype, offset: u64_at(e, 16), digest };
        let expected = entry.len_bytes().ok_or(FormatError::TooLarge { what: "a tensor's size" })?;
        let got = u64_at(e, 24);
        if got != expected {
            return Err(FormatError::TensorLength { index, key, expected, got });
        }
        Ok(entry)
    }
}

/// A checked file.
#[derive(Clone, Copy, Debug)]
pub struct Container<'m> {
    bytes: &'m [u8],
    layout: Layout,
    spec: Spec<'m>,
}

impl<'m> Container<'m> {
    /// Checks a file's head: magic, version, layout, padding, meta, spec, directory against spec.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place, what was expected and what was found.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, FormatError> {
        let layout = parse_header(bytes)?;
        let section = |s| section(bytes, &layout, s);
        check_padding(bytes, &layout)?;
        check_meta(section(Section::Meta))?;
        let spec = Spec::parse(section(Section::Spec)).map_err(FormatError::Spec)?;
        check_directory(section(Section::Directory), layout.len(Section::Data), &spec)?;
        Ok(Self { bytes, layout, spec })
    }

    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Where the sections are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the model is.
    #[must_use]
    pub fn spec(&self) -> &Spec<'m> {
        &self.spec
    }

    /// The bytes of a section.
    #[must_use]
    pub fn section(&self, which: Section) -> &'m [u8] {
        section(self.bytes, &self.layout, which)
    }

    /// Key and value of every line of the meta section.
    pub fn meta(&self) -> impl Iterator<Item = (&'m str, &'m str)> {
        core::str::from_utf8(self.section(Section::Meta)).unwrap_or_default().lines().filter_map(|line| line.split_once('='))
    }

    /// The value of a key of the meta section.
    #[must_use]
    pub fn meta_value(&self, key: &str) -> Option<&'m str> {
        self.meta().find_map(|(k, v)| (k == key).then_some(v))
    }

    /// The digest of the head that the header states.
    #[must_use]
    pub fn head_digest(&self) -> &'m [u8] {
        &self.bytes[DIGEST_AT..RESERVED_AT]
    }

    /// Tensors in the file.
    #[must_use]
    pub fn n_tensors(&self) -> usize {
        self.section(Section::Directory).len() / ENTRY_BYTES
    }

    /// The directory, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.n_tensors()).map(|i| self.entry(i))
    }

    /// Entry `index` of the directory.
    ///
    /// # Panics
    /// If `index` is not below [`Container::n_tensors`].
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry {
        let (entries, _) = self.section(Section::Directory).as_chunks::<ENTRY_BYTES>();
        match Entry::decode(index, &entries[index]) {
            Ok(entry) => entry,
            // `parse` decoded every entry.
            Err(_) => unreachable!(),
        }
    }

    /// The entry of a tensor, if the file has it.
    #[must_use]
    pub fn find(&self, key: TensorKey) -> Option<Entry> {
        let (entries, _) = self.section(Section::Directory).as_chunks::<ENTRY_BYTES>();
        // Keys alone are compared; one entry is decoded.
        let key_of = |e: &[u8; ENTRY_BYTES]| (e[0], u16::from_le_bytes([e[2], e[3]]), e[1]);
        let index = entries.binary_search_by_key(&(key.stack, key.layer, key.role as u8), key_of).ok()?;
        Some(self.entry(index))
    }

    /// The bytes of a tensor of this file.
    ///
    /// # Panics
    /// If `entry` is not one of this file's.
    #[must_use]
    pub fn tensor_bytes(&self, entry: &Entry) -> &'m [u8] {
        let len = entry.len_bytes().unwrap_or(u64::MAX) as usize;
        &self.section(Section::Data)[entry.offset as usize..][..len]
    }

    /// A tensor of this file as a matrix; a vector has one row.
    ///
    /// # Panics
    /// If `entry` is not one of this file's.
    #[must_use]
    pub fn matrix(&self, entry: &Entry) -> Matrix<'m> {
        match Matrix::new(entry.dtype, entry.tensor.rows, entry.tensor.cols, self.tensor_bytes(entry)) {
            Ok(matrix) => matrix,
            // `Entry::decode` computed the length from the shape.
            Err(_) => unreachable!(),
        }
    }
}

impl<'m> Container<'m> {
    /// A vector of this file.
    ///
    /// # Panics
    /// If `entry` is not a vector of this file, or the file's bytes are not aligned to 4.
    #[must_use]
    pub fn vector(&self, entry: &Entry) -> &'m [f32] {
        bytemuck::cast_slice(self.tensor_bytes(entry))
    }
}

#[cfg(not(target_endian = "little"))]
compile_error!("floats and integers in a .kgl file are used in place, which needs a little-endian machine");

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The bytes of a section of a file whose layout is checked.
fn section<'m>(bytes: &'m [u8], layout: &Layout, which: Section) -> &'m [u8] {
    &bytes[layout.offset(which) as usize..][..layout.len(which) as usize]
}

fn parse_header(bytes: &[u8]) -> Result<Layout, FormatError> {
    let got = bytes.len() as u64;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(8)]) || bytes.is_empty() {
        return Err(FormatError::Magic);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(FormatError::Truncated { expected: HEADER_BYTES as u64, got });
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return Err(FormatError::Version { got: version });
    }
    if u32_at(bytes, 12) != HEADER_BYTES as u32 {
        return Err(FormatError::HeaderLength { got: u32_at(bytes, 12) });
    }
    if let Some(at) = (RESERVED_AT..HEADER_BYTES).find(|&at| bytes[at] != 0) {
        return Err(FormatError::ReservedHeader { at });
    }
    let mut lens = [0; 6];
    for (i, len) in lens.iter_mut().enumerate() {
        *len = u64_at(bytes, 24 + 16 * i);
    }
    let layout = Layout::new(lens).ok_or(FormatError::TooLarge { what: "the sum of the sections" })?;
    for section in Section::ALL {
        let (expected, found) = (layout.offset(section), u64_at(bytes, 16 + 16 * section as usize));
        if found != expected {
            return Err(FormatError::SectionOffset { section, expected, got: found });
        }
    }
    let expected = layout.file_bytes();
    if got < expected {
        return Err(FormatError::Truncated { expected, got });
    }
    if got > expected {
        return Err(FormatError::TrailingBytes { expected, got });
    }
    Ok(layout)
}

fn check_padding(bytes: &[u8], layout: &Layout) -> Result<(), FormatError> {
    let mut end = HEADER_BYTES;
    for section in Section::ALL {
        let start = layout.offset(section) as usize;
        if let Some(at) = (end..start).find(|&at| bytes[at] != 0) {
            return Err(FormatError::Padding { before: section, at });
        }
        end = start + layout.len(section) as usize;
    }
    Ok(())
}

fn check_meta(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() > MAX_META_BYTES {
        return Err(FormatError::MetaTooLong { got: bytes.len() });
    }
    let text = core::str::from_utf8(bytes).map_err(|e| FormatError::MetaUtf8 { at: e.valid_up_to() })?;
    let mut last = "";
    for (line_number, line) in text.split_terminator('\n').enumerate() {
        let named =
            |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.');
        let key = match line.split_once('=') {
            // Values are shown on terminals, which obey control characters.
            Some((key, value)) if named(key) && !value.chars().any(char::is_control) => key,
            _ => return Err(FormatError::MetaLine { line: line_number + 1 }),
        };
        if key <= last {
            return Err(FormatError::MetaOrder { line: line_number + 1 });
        }
        last = key;
    }
    Ok(())
}

/// The directory lists exactly the tensors that the spec implies, in their order, one after the other in the data.
fn check_directory(bytes: &[u8], data_len: u64, spec: &Spec<'_>) -> Result<(), FormatError> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(FormatError::DirectoryLength { got: bytes.len() });
    }
    let mut end = 0u64;
    let mut implied = spec.tensors();
    for (index, bytes) in entries.iter().enumerate() {
        let entry = Entry::decode(index, bytes)?;
        let TensorSpec { key, rows, cols } = implied.next().ok_or(FormatError::ExtraTensor { index, key: entry.tensor.key })?;
        if entry.tensor.key != key {
            return Err(FormatError::WrongTensor { index, expected: key, got: entry.tensor.key });
        }
        if (entry.tensor.rows, entry.tensor.cols) != (rows, cols) {
            return Err(FormatError::Shape { index, key, expected: (rows, cols), got: (entry.tensor.rows, entry.tensor.cols) });
        }
        if !key.role.is_matrix() && entry.dtype != DType::F32 {
            return Err(FormatError::VectorType { index, key, got: entry.dtype });
        }
        let start = end.next_multiple_of(ALIGN as u64);
        if entry.offset != start {
            return Err(FormatError::TensorOffset { index, key, expected: start, got: entry.offset });
        }
        let len = entry.len_bytes().ok_or(FormatError::TooLarge { what: "a tensor's size" })?;
        end = start.checked_add(len).filter(|&end| end <= data_len).ok_or(FormatError::TensorBeyondData { index, key, data_len })?;
    }
    if let Some(missing) = implied.next() {
        return Err(FormatError::MissingTensor { key: missing.key });
    }
    if end != data_len {
        return Err(FormatError::DataLength { expected: end, got: data_len });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one layer with zeros for weights, in memory that is aligned as a mapped file is.
    fn file() -> (Vec<u64>, usize) {
        let block = crate::spec::BlockSpec { heads: 1, kv_heads: 1, head_dim: 8, rotary_dim: 8, ffn_dim: 8, ..Default::default() };
        let spec = Spec { vocab: 3, hidden: 8, context: 4, ..Spec::decoder(&[block], &[0]) };
        let mut spec_bytes = vec![0; 1024];
        let spec_len = spec.encode(&mut spec_bytes).unwrap();
        let (mut directory, mut data_len) = (Vec::new(), 0);
        for tensor in spec.tensors() {
            let dtype = if tensor.key.role.is_matrix() { DType::Q8 } else { DType::F32 };
            let entry = Entry { tensor, dtype, offset: u64::next_multiple_of(data_len, ALIGN as u64), digest: [7; DIGEST_BYTES] };
            data_len = entry.offset + entry.len_bytes().unwrap();
            directory.extend(entry.encode());
        }
        let meta = b"name=zeros\n";
        let layout = Layout::new([meta.len() as u64, spec_len as u64, 0, 0, directory.len() as u64, data_len]).unwrap();
        let len = layout.file_bytes() as usize;
        let mut words = vec![0u64; len.div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes[..HEADER_BYTES].copy_from_slice(&layout.header([9; DIGEST_BYTES]));
        for (section, part) in [(Section::Meta, &meta[..]), (Section::Spec, &spec_bytes[..spec_len]), (Section::Directory, &directory)] {
            bytes[layout.offset(section) as usize..][..part.len()].copy_from_slice(part);
        }
        (words, len)
    }

    #[test]
    fn every_tensor_lies_inside_the_file() {
        let (words, len) = file();
        let container = Container::parse(&bytemuck::cast_slice(&words)[..len]).unwrap();
        assert_eq!((container.meta_value("name"), container.head_digest()), (Some("zeros"), &[9; DIGEST_BYTES][..]));
        assert_eq!(container.spec().hidden, 8);
        for entry in container.entries() {
            assert_eq!(container.find(entry.tensor.key), Some(entry));
            if entry.dtype == DType::F32 {
                assert!(container.vector(&entry).iter().all(|x| *x == 0.0));
            } else {
                let mut row = [f32::NAN; 8];
                container.matrix(&entry).read_row(entry.tensor.rows - 1, &mut row[..entry.tensor.cols]);
                assert!(row.iter().all(|x| *x == 0.0), "{}", entry.tensor.key);
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_is_refused() {
        let (words, len) = file();
        let bytes: &[u8] = &bytemuck::cast_slice(&words)[..len];
        for end in (0..len).step_by(if cfg!(miri) { 97 } else { 1 }) {
            assert!(Container::parse(&bytes[..end]).is_err(), "{end} of {len} bytes");
        }
    }
}
