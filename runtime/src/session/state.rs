//! A session's state in the caller's bytes: its cache and its position, to go on from in another process, on another machine
//! and with other kernels.
//!
//! ```text
//! 0   magic, 8 bytes
//! 8   version, u32
//! 12  cache type, u32: 0 int8, 1 f32
//! 16  position, u64
//! 24  one past the highest position stored, u64
//! 32  bytes after the header, u64
//! 40  checksum, u64: FNV-1a of all bytes, these being 0
//! 48  digest of the model file's head, 32 bytes
//! 80  zeros
//! 96  for each layer, for each key/value head: keys, values and, of int8, their scales, of the blocks that hold positions
//! ```
//! Numbers are little-endian, as are the floats of a cache. A layer without a window is stored alike whatever the context;
//! one with a window wraps around as many blocks as context and batch ask for, and once it has, it can only be restored
//! where there are as many.

use super::{Options, Session};
use crate::fnv::{self, fnv1a};
use crate::format::DIGEST_BYTES;
use crate::kv::{CacheType, Geometry};
use crate::spec::Spec;
use core::ops::Range;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"\x89KGS\r\n\x1a\n";
/// The version that this module reads and writes.
pub const VERSION: u32 = 1;
/// Bytes before the cache.
pub const HEADER_BYTES: usize = 96;

const CHECKSUM: Range<usize> = 40..48;
const DIGEST: Range<usize> = 48..48 + DIGEST_BYTES;

/// Why a state is not saved or restored; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The buffer is too small.
    TooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes handed over.
        got: usize,
    },
    /// It does not begin as a state does.
    Magic,
    /// A field is not what it must be for this session.
    Field {
        /// Which.
        field: &'static str,
        /// What it must be; of positions, at most, of a position in a window, at least.
        expected: u64,
        /// What it is.
        got: u64,
    },
    /// It is the state of another model.
    Model,
    /// A byte has changed.
    Checksum,
    /// A key or value is -128, which no session stores: kernels would not agree on it.
    Quant,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooSmall { needed, got } => write!(f, "the buffer has {got} bytes, the state needs {needed}"),
            Self::Magic => f.write_str("not a saved state, or one of another kind"),
            Self::Field { field, expected, got } => write!(f, "state: {field}: expected {expected}, got {got}"),
            Self::Model => f.write_str("the state of another model"),
            Self::Checksum => f.write_str("state: the checksum is wrong: a byte has changed"),
            Self::Quant => f.write_str("state: cache: expected -127 to 127, got -128"),
        }
    }
}

impl core::error::Error for StateError {}

impl Session<'_, '_> {
    /// Bytes that [`Session::save`] writes now: they grow by blocks of 64 positions.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes(self.stored)
    }

    /// Writes the state to the start of `out` and returns its length. The logits are no part of it.
    ///
    /// # Errors
    /// If `out` is smaller than [`Session::state_bytes`].
    pub fn save(&self, out: &mut [u8]) -> Result<usize, StateError> {
        let (needed, got) = (self.state_bytes(), out.len());
        let state = out.get_mut(..needed).ok_or(StateError::TooSmall { needed, got })?;
        let (header, body) = state.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&self.header(self.position, self.stored));
        let mut at = 0;
        parts(self.model.spec(), &self.options, self.stored, &mut |part, _| {
            let len = part.len();
            body[at..at + len].copy_from_slice(&self.memory.cache[part]);
            at += len;
        });
        let sum = checksum(state);
        state[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        Ok(needed)
    }

    /// Goes to where a session of the same model file was saved: the next tokens get the same bits as there.
    ///
    /// # Errors
    /// If `state` is damaged, another model's, or does not fit this session's context, batch or cache type.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let too_short = StateError::Field { field: "bytes", expected: HEADER_BYTES as u64, got: state.len() as u64 };
        let (header, body) = state.split_first_chunk::<HEADER_BYTES>().ok_or(too_short)?;
        if !header.starts_with(&MAGIC) {
            return Err(StateError::Magic);
        }
        let u64_at = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let context = self.options.context as u64;
        let (position, stored) = (u64_at(16), u64_at(24));
        let expected = self.header(0, 0);
        let word = |header: &[u8], at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
        for (field, at) in [("version", 8), ("cache type", 12)] {
            if word(header, at) != word(&expected, at) {
                return Err(StateError::Field { field, expected: word(&expected, at), got: word(header, at) });
            }
        }
        if header[DIGEST] != expected[DIGEST] {
            return Err(StateError::Model);
        }
        for (field, most, got) in [("positions", context, stored), ("position", stored, position)] {
            if got > most {
                return Err(StateError::Field { field, expected: most, got });
            }
        }
        let (position, stored) = (position as usize, stored as usize);
        let least = self.least_position(stored);
        if position < least && position > 0 {
            return Err(StateError::Field { field: "position in a window", expected: least as u64, got: position as u64 });
        }
        let body_bytes = self.body_bytes(stored) as u64;
        for (field, got) in [("bytes of the cache", u64_at(32)), ("bytes after the header", body.len() as u64)] {
            if got != body_bytes {
                return Err(StateError::Field { field, expected: body_bytes, got });
            }
        }
        if checksum(state) != u64_at(CHECKSUM.start) || header[DIGEST.end..] != expected[DIGEST.end..] {
            return Err(StateError::Checksum);
        }
        let (mut at, mut is_sound) = (0, true);
        parts(self.model.spec(), &self.options, stored, &mut |part, is_quants| {
            let next = at + part.len();
            is_sound &= !is_quants || !body[at..next].contains(&i8::MIN.cast_unsigned());
            at = next;
        });
        if !is_sound {
            return Err(StateError::Quant);
        }
        let (mut at, cache) = (0, &mut *self.memory.cache);
        parts(self.model.spec(), &self.options, stored, &mut |part, _| {
            let len = part.len();
            cache[part].copy_from_slice(&body[at..at + len]);
            at += len;
        });
        (self.position, self.stored, self.has_logits) = (position, stored, false);
        Ok(())
    }
}

impl Session<'_, '_> {
    fn header(&self, position: usize, stored: usize) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let kind = match self.options.cache {
            CacheType::I8 => 0_u32,
            CacheType::F32 => 1,
        };
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&kind.to_le_bytes());
        for (at, value) in [(16, position), (24, stored), (32, self.body_bytes(stored))] {
            header[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
        }
        header[DIGEST].copy_from_slice(self.model.container().head_digest());
        header
    }

    /// No more than the cache has.
    fn body_bytes(&self, stored: usize) -> usize {
        let mut bytes = 0;
        parts(self.model.spec(), &self.options, stored, &mut |part, _| bytes += part.len());
        bytes
    }
}

/// Shows `each` where in the cache the blocks are that hold the first `stored` positions, or what a window keeps of them, and
/// whether that is int8.
fn parts(spec: &Spec<'_>, options: &Options, stored: usize, each: &mut dyn FnMut(Range<usize>, bool)) {
    let mut start = 0;
    let stack = spec.stack();
    for layer in 0..stack.len() {
        let geometry = Geometry::new(stack.block(layer), options.context, options.batch, options.cache);
        for _ in 0..geometry.heads {
            for (i, part) in geometry.used(stored).into_iter().enumerate() {
                each(start + part.start..start + part.end, i < 2 && options.cache == CacheType::I8);
            }
            // The plan summed these without overflow.
            start += geometry.head_bytes().unwrap_or(0);
        }
    }
}

/// FNV-1a of a state whose checksum counts as zeros.
fn checksum(state: &[u8]) -> u64 {
    let (before, after) = (&state[..CHECKSUM.start], &state[CHECKSUM.end..]);
    fnv1a(fnv::START, before.iter().chain(&[0; 8]).chain(after).copied())
}
