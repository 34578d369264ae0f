//! The SHA-256 digests of a `.kgl` file: one of the head, one of every tensor.

use kinglet::format::{Container, DIGEST_AT, DIGEST_BYTES, Entry, Section};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(bytes).into()
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// The digest of a head (everything before the data section) that stands in its header, whatever stands there now.
///
/// # Panics
/// If `head` is shorter than a header.
#[must_use]
pub fn of_head(head: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(&head[..DIGEST_AT]);
    hasher.update([0; DIGEST_BYTES]);
    hasher.update(&head[DIGEST_AT + DIGEST_BYTES..]);
    hasher.finalize().into()
}

/// Compares every digest of a file with its bytes.
///
/// # Errors
/// The first part whose bytes are not those that were written.
pub fn verify(file: &Container<'_>) -> Result<(), DigestMismatch> {
    let data = file.layout().offset(Section::Data) as usize;
    if of_head(&file.bytes()[..data]) != file.head_digest() {
        return Err(DigestMismatch { tensor: None });
    }
    match file.entries().find(|entry| sha256(file.tensor_bytes(entry)) != entry.digest) {
        Some(entry) => Err(DigestMismatch { tensor: Some(entry) }),
        None => Ok(()),
    }
}

/// A part of a file whose bytes changed since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestMismatch {
    /// The tensor, or the head.
    pub tensor: Option<Entry>,
}

impl std::fmt::Display for DigestMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tensor {
            Some(entry) => write!(f, "tensor {} is damaged: its SHA-256 is not the one in the directory", entry.tensor.key),
            None => write!(f, "the head is damaged: its SHA-256 is not the one in the header"),
        }
    }
}

impl std::error::Error for DigestMismatch {}
