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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_aligned_and_disjoint_wherever_the_memory_starts() {
        let mut memory = vec![0xffu8; 1024];
        for skip in [0, 1, 7, 63] {
            let mut arena = Arena::new(&mut memory[skip..]);
            let floats = arena.take::<f32>(17).unwrap();
            let none = arena.take::<i16>(0).unwrap();
            let bytes = arena.take::<i8>(65).unwrap();
            let words = arena.take::<u64>(1).unwrap();
            let places = [floats.as_ptr() as usize, none.as_ptr() as usize, bytes.as_ptr() as usize, words.as_ptr() as usize];
            assert!(places.iter().all(|place| place % ALIGN == 0), "memory at {skip}: {places:x?}");
            // All live at once, all written.
            floats.fill(1.0);
            bytes.fill(-1);
            words.fill(2);
            assert!(floats.iter().all(|x| *x == 1.0) && none.is_empty() && bytes.iter().all(|x| *x == -1) && words == [2]);
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut memory = vec![0u8; 3 * ALIGN];
        let total = memory.len();
        let mut arena = Arena::new(&mut memory);
        assert_eq!(arena.take::<u8>(1).unwrap(), [0]);
        for len in [total, usize::MAX / 4, usize::MAX] {
            let error = arena.take::<f32>(len).unwrap_err();
            assert!(error.got == total && error.needed > total, "{len}: {error}");
        }
        // A failure takes nothing.
        assert!(arena.take::<u8>(ALIGN).is_ok());
    }
}
