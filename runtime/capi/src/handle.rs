//! Objects that C holds by a pointer.
//!
//! An object lies at the start of a block of memory: the caller's, or, with `std`, the system's. It begins with a word that
//! says what it is, which is checked by every call and taken away when the object is freed: a freed object in the caller's memory
//! is an error, not a crash. (The system's memory is gone then; so freeing takes the address of the caller's pointer and makes
//! it NULL.) A second word says whether a call is in it, so that two threads, or a callback, cannot be in one object at once.

use crate::status::Fault;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// Every block begins at a multiple of this: a cache line.
pub(crate) const ALIGN: usize = 64;

/// What lies behind a pointer of C.
pub(crate) trait Object {
    /// The word that says so.
    const MAGIC: u32;
    /// As C calls it.
    const NAME: &'static str;
}

#[repr(C)]
pub(crate) struct Handle<T> {
    magic: AtomicU32,
    busy: AtomicU32,
    block: Block,
    body: UnsafeCell<T>,
}

/// Memory of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    start: *mut u8,
    bytes: usize,
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "without a system all memory is the caller's"))]
    is_systems: bool,
}

impl Block {
    /// The caller's memory, or `needed` bytes of the system's, zeroed, where `memory` is NULL.
    ///
    /// # Safety
    /// `memory` is NULL, or points to `bytes` bytes that nothing else uses until the object is freed.
    pub(crate) unsafe fn new(memory: *mut c_void, bytes: usize, needed: usize, what: &'static str) -> Result<Self, Fault<'static>> {
        if memory.is_null() {
            return Self::of_system(needed, what);
        }
        // A caller's block of any alignment; what is skipped at its start is counted in `needed`.
        let skip = memory.cast::<u8>().align_offset(ALIGN);
        if bytes < needed || bytes > isize::MAX as usize || skip > bytes {
            return Err(Fault::TooSmall { what, needed, got: bytes });
        }
        Ok(Self { start: memory.cast::<u8>().wrapping_add(skip), bytes: bytes - skip, is_systems: false })
    }

    #[cfg(feature = "std")]
    fn of_system(bytes: usize, what: &'static str) -> Result<Self, Fault<'static>> {
        let memory = Fault::Memory { what, needed: bytes };
        let Ok(layout) = std::alloc::Layout::from_size_align(bytes, ALIGN) else { return Err(memory) };
        // SAFETY: no object has 0 bytes.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        if start.is_null() { Err(memory) } else { Ok(Self { start, bytes, is_systems: true }) }
    }

    #[cfg(not(feature = "std"))]
    fn of_system(needed: usize, what: &'static str) -> Result<Self, Fault<'static>> {
        Err(Fault::Memory { what, needed })
    }

    /// Gives the memory back to the system, if it came from there.
    ///
    /// # Safety
    /// Nothing in it is used any more.
    pub(crate) unsafe fn free(self) {
        #[cfg(feature = "std")]
        if self.is_systems {
            // SAFETY: `of_system` made it with this very layout.
            unsafe { std::alloc::dealloc(self.start, std::alloc::Layout::from_size_align_unchecked(self.bytes, ALIGN)) };
        }
    }

    /// The first `Handle<T>` of the block, and the bytes behind it, which begin at a multiple of [`ALIGN`].
    ///
    /// # Safety
    /// Nothing else uses the block, as long as the object lives.
    pub(crate) unsafe fn split<T>(self) -> (&'static mut MaybeUninit<Handle<T>>, &'static mut [MaybeUninit<u8>]) {
        let front = handle_bytes::<T>();
        // SAFETY: `new` checked that the block has what was needed, which begins with these bytes; the block is aligned.
        unsafe {
            (&mut *self.start.cast(), core::slice::from_raw_parts_mut(self.start.add(front).cast(), self.bytes.saturating_sub(front)))
        }
    }
}

/// Bytes of the object itself, to a multiple of [`ALIGN`].
pub(crate) const fn handle_bytes<T>() -> usize {
    size_of::<Handle<T>>().next_multiple_of(ALIGN)
}

/// Bytes that a block needs so that `bytes` fit behind a `T`, wherever it starts.
pub(crate) const fn block_bytes<T>(bytes: usize) -> Option<usize> {
    (handle_bytes::<T>() + ALIGN - 1).checked_add(bytes)
}

impl<T: Object> Handle<T> {
    pub(crate) fn new(block: Block, body: T) -> Self {
        Self { magic: AtomicU32::new(T::MAGIC), busy: AtomicU32::new(0), block, body: UnsafeCell::new(body) }
    }

    /// The living object behind a pointer of C's.
    ///
    /// # Safety
    /// The pointer is NULL, or to memory of 4 bytes at least; if those are the type's word, to an object that lives as long as `'a`.
    pub(crate) unsafe fn of<'a, O>(object: *const O) -> Result<&'a Self, Fault<'static>> {
        if object.is_null() {
            return Err(Fault::Null { what: T::NAME });
        }
        let handle = object.cast::<Self>();
        // SAFETY: the caller's duty; the word is read before anything else.
        if !handle.is_aligned() || unsafe { (*handle.cast::<AtomicU32>()).load(Ordering::Acquire) } != T::MAGIC {
            return Err(Fault::Handle { what: T::NAME });
        }
        // SAFETY: the word says that it is one.
        Ok(unsafe { &*handle })
    }

    /// The body, which threads share.
    pub(crate) fn shared(&self) -> &T
    where
        T: Sync,
    {
        // SAFETY: bodies that are `Sync` are never entered, so there is no exclusive reference but that of `take`.
        unsafe { &*self.body.get() }
    }

    /// The body, for one call.
    pub(crate) fn enter(&self) -> Result<Entered<'_, T>, Fault<'static>> {
        match self.busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(_) => Err(Fault::Busy { what: T::NAME }),
        }
    }

    /// Ends the object's life: hands out its body and its memory.
    ///
    /// # Safety
    /// Nobody else has a reference to it.
    pub(crate) unsafe fn take(&self) -> (T, Block) {
        self.magic.store(0, Ordering::Release);
        // SAFETY: the word is gone, so nobody reads the body again.
        (unsafe { self.body.get().read() }, self.block)
    }
}

/// A body while a call is in it.
pub(crate) struct Entered<'h, T>(&'h Handle<T>);

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `busy` keeps every other call out.
        unsafe { &*self.0.body.get() }
    }
}

impl<T> DerefMut for Entered<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.body.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        self.0.busy.store(0, Ordering::Release);
    }
}
