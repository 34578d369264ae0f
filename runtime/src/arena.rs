//! A bump allocator over the caller's memory: carved once, when a session is made, and never again.

use bytemuck::Pod;

/// Every slice starts at a multiple of this, in bytes: a cache line.
pub const ALIGN: usize = 64;

/// The arena is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// Bytes needed.
    pub needed: usize,
    /// Bytes handed over.
    pub got: usize,
}

impl core::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the arena has {} bytes, {} are needed", self.got, self.needed)
    }
}

impl core::error::Error for TooSmall {}

/// The bytes of `len` elements of `size` bytes, rounded up to [`ALIGN`]; `None` on overflow.
#[must_use]
pub const fn slice_bytes(len: usize, size: usize) -> Option<usize> {
    match len.checked_mul(size) {
        Some(bytes) => bytes.checked_next_multiple_of(ALIGN),
        None => None,
    }
}

/// What is left of the caller's memory.
#[derive(Debug)]
pub struct Arena<'a> {
    free: &'a mut [u8],
    total: usize,
}

impl<'a> Arena<'a> {
    /// Takes over `memory`, of any alignment: up to 63 bytes at its start are skipped.
    pub fn new(memory: &'a mut [u8]) -> Self {
        let total = memory.len();
        let skip = memory.as_ptr().align_offset(ALIGN).min(total);
        Self { free: &mut memory[skip..], total }
    }

    /// The next `len` elements, with whatever bytes the memory holds.
    ///
    /// # Errors
    /// If less is left.
    pub fn take<T: Pod>(&mut self, len: usize) -> Result<&'a mut [T], TooSmall> {
        let left = self.free.len();
        let used = self.total - left;
        let bytes = slice_bytes(len, size_of::<T>());
        let too_small = TooSmall { needed: bytes.and_then(|b| b.checked_add(used)).unwrap_or(usize::MAX), got: self.total };
        let bytes = bytes.filter(|&b| b <= left).ok_or(too_small)?;
        let (front, rest) = core::mem::take(&mut self.free).split_at_mut(bytes);
        self.free = rest;
        bytemuck::try_cast_slice_mut(&mut front[..len * size_of::<T>()]).map_err(|_| too_small)
    }
}
