//! Workers: run `n` chunks on the cores there are.
//!
//! What a chunk computes never depends on who runs it or on how many workers there are, so the choice of workers
//! cannot change a result. [`Serial`] is always there; `Pool` (feature `std`) keeps threads; a board brings its own
//! cores by implementing [`Workers`].

#[cfg(feature = "std")]
mod pool;
mod split;

#[cfg(feature = "std")]
pub use pool::{Pool, PoolError};
pub use split::{Parts, Split, TileParts, for_each};

/// Something that runs chunks, possibly at the same time.
///
/// # Safety
/// `run` must call `task` exactly once with each index in `0..chunks` (at most once if a call panics), and return, or
/// unwind, only when all calls have. Callers give each index exclusive access to memory, and rely on it for soundness.
#[expect(unsafe_code, reason = "disjointness of parallel writes rests on this contract")]
pub unsafe trait Workers: Sync {
    /// Chunks that can run at the same time; at least 1.
    fn count(&self) -> usize;

    /// Calls `task(i)` for each `i` in `0..chunks`, in any order, on any core. A task must not call `run` of the same
    /// workers: it may wait for itself.
    fn run(&self, chunks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling core alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a plain loop over the indices.
#[expect(unsafe_code, reason = "see the trait")]
unsafe impl Workers for Serial {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, chunks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..chunks).for_each(task);
    }
}
