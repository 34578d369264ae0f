//! Everything that can be wrong with a file's head.

use super::{Section, TensorKey, VERSION};
use crate::spec::SpecError;
use kinglet_quant::DType;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "field names say it; the variants carry the docs")]
pub enum FormatError {
    /// The first eight bytes are not those of a `.kgl` file.
    Magic,
    /// The version is not the one that this library reads.
    Version { got: u32 },
    /// The header states another length than 192.
    HeaderLength { got: u32 },
    /// A reserved byte of the header is not zero.
    ReservedHeader { at: usize },
    /// The file ends early.
    Truncated { expected: u64, got: u64 },
    /// The file goes on after its data section.
    TrailingBytes { expected: u64, got: u64 },
    /// A section is not where the lengths put it.
    SectionOffset { section: Section, expected: u64, got: u64 },
    /// A byte between sections is not zero.
    Padding { before: Section, at: usize },
    /// A size does not fit its integer.
    TooLarge { what: &'static str },
    /// The meta section is longer than 64 KiB.
    MetaTooLong { got: usize },
    /// The meta section is not UTF-8.
    MetaUtf8 { at: usize },
    /// A line of the meta section is not `key=value`, or has control characters.
    MetaLine { line: usize },
    /// Keys of the meta section do not ascend.
    MetaOrder { line: usize },
    /// The spec is not right.
    Spec(SpecError),
    /// The directory's length is not a multiple of 64.
    DirectoryLength { got: usize },
    /// An entry has an unknown role.
    UnknownRole { index: usize, value: u8 },
    /// An entry has an unknown element type.
    UnknownType { index: usize, value: u8 },
    /// A reserved byte of an entry is not zero.
    ReservedEntry { index: usize },
    /// An entry's length is not that of its shape and type.
    TensorLength { index: usize, key: TensorKey, expected: u64, got: u64 },
    /// An entry is not the tensor that the spec implies here (missing, twice, or out of order).
    WrongTensor { index: usize, expected: TensorKey, got: TensorKey },
    /// An entry beyond the last tensor that the spec implies.
    ExtraTensor { index: usize, key: TensorKey },
    /// The directory ends before the last tensor that the spec implies.
    MissingTensor { key: TensorKey },
    /// A tensor's shape is not the one that the spec implies.
    Shape { index: usize, key: TensorKey, expected: (usize, usize), got: (usize, usize) },
    /// A vector is not f32.
    VectorType { index: usize, key: TensorKey, got: DType },
    /// A tensor does not start right after the one before it.
    TensorOffset { index: usize, key: TensorKey, expected: u64, got: u64 },
    /// A tensor ends after the data section.
    TensorBeyondData { index: usize, key: TensorKey, data_len: u64 },
    /// The data section is longer than its tensors.
    DataLength { expected: u64, got: u64 },
}

impl core::fmt::Display for FormatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => write!(f, "not a .kgl file: its first 8 bytes are another file type's"),
            Self::Version { got } => {
                write!(f, "format version: expected {VERSION}, got {got}; convert the checkpoint with this version's quantize")
            }
            Self::HeaderLength { got } => write!(f, "header: expected 192 bytes, got {got}"),
            Self::ReservedHeader { at } => write!(f, "header: reserved byte {at} is not zero"),
            Self::Truncated { expected, got } => write!(f, "the file ends early: expected {expected} bytes, got {got}"),
            Self::TrailingBytes { expected, got } => write!(f, "the file goes on after its end: expected {expected} bytes, got {got}"),
            Self::SectionOffset { section, expected, got } => {
                write!(f, "header: section {} starts at {got}, expected {expected}", section.name())
            }
            Self::Padding { before, at } => write!(f, "byte {at}, padding before section {}, is not zero", before.name()),
            Self::TooLarge { what } => write!(f, "{what} does not fit this machine's integers"),
            Self::MetaTooLong { got } => write!(f, "meta: expected at most {} bytes, got {got}", super::MAX_META_BYTES),
            Self::MetaUtf8 { at } => write!(f, "meta: byte {at} is not UTF-8"),
            Self::MetaLine { line } => write!(f, "meta: line {line} is not key=value without control characters"),
            Self::MetaOrder { line } => write!(f, "meta: the key of line {line} does not follow the one before in order"),
            Self::Spec(e) => e.fmt(f),
            Self::DirectoryLength { got } => {
                write!(f, "directory: expected a multiple of 64 bytes, got {got}")
            }
            Self::UnknownRole { index, value } => {
                write!(f, "directory: entry {index} has the unknown role {value}")
            }
            Self::UnknownType { index, value } => write!(f, "directory: entry {index} has the unknown element type {value}"),
            Self::ReservedEntry { index } => write!(f, "directory: entry {index} has a reserved byte that is not zero"),
            Self::TensorLength { index, key, expected, got } => {
                write!(f, "directory: entry {index} ({key}): expected {expected} bytes for its shape and type, got {got}")
            }
            Self::WrongTensor { index, expected, got } => write!(f, "directory: entry {index}: expected {expected}, got {got}"),
            Self::ExtraTensor { index, key } => write!(f, "directory: entry {index} ({key}) is one more than the spec has"),
            Self::MissingTensor { key } => write!(f, "directory: {key} is missing"),
            Self::Shape { index, key, expected, got } => {
                write!(f, "directory: entry {index} ({key}): expected shape {} x {}, got {} x {}", expected.0, expected.1, got.0, got.1)
            }
            Self::VectorType { index, key, got } => write!(f, "directory: entry {index} ({key}): expected f32, got {got}"),
            Self::TensorOffset { index, key, expected, got } => {
                write!(f, "directory: entry {index} ({key}) starts at {got} of the data, expected {expected}")
            }
            Self::TensorBeyondData { index, key, data_len } => {
                write!(f, "directory: entry {index} ({key}) ends after the data section's {data_len} bytes")
            }
            Self::DataLength { expected, got } => {
                write!(f, "data: expected {expected} bytes, got {got}")
            }
        }
    }
}

impl core::error::Error for FormatError {}
