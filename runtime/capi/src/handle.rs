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
use kinglet::arena::slice_bytes;

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

/// Memory of an object. That of the system's goes back to it when this goes.
#[derive(Debug)]
pub(crate) struct Block {
    memory: *mut u8,
    bytes: usize,
    /// Bytes at its start that are not used, so that an object lies at a multiple of [`ALIGN`].
    skip: usize,
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "without a system all memory is the caller's"))]
    is_systems: bool,
}

impl Block {
    /// The caller's memory, or `needed` bytes of the system's, zeroed, where `memory` is NULL.
    ///
    /// # Safety
    /// `memory` is NULL, or points to `bytes` bytes that nothing else uses until the object is freed.
    pub(crate) unsafe fn new(memory: *mut c_void, bytes: usize, needed: usize, what: &'static str) -> Result<Self, Fault<'static>> {
        let is_systems = memory.is_null();
        let (memory, bytes) = match is_systems {
            true => (Self::of_system(needed).ok_or(Fault::Memory { what, needed })?, needed),
            // The caller may have more than any object can use.
            false => (memory.cast(), bytes.min(isize::MAX as usize)),
        };
        // What is skipped is counted in `needed`.
        let skip = memory.align_offset(ALIGN);
        if bytes < needed || skip > bytes {
            return Err(Fault::TooSmall { what, needed, got: bytes });
        }
        Ok(Self { memory, bytes, skip, is_systems })
    }

    /// Zeros that the system hands out page by page when they are first used: aligned memory it would write itself.
    #[cfg(feature = "std")]
    fn of_system(bytes: usize) -> Option<*mut u8> {
        let layout = std::alloc::Layout::array::<u64>(bytes.div_ceil(size_of::<u64>())).ok()?;
        // SAFETY: no object has 0 bytes.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        (!memory.is_null()).then_some(memory)
    }

    #[cfg(not(feature = "std"))]
    fn of_system(_: usize) -> Option<*mut u8> {
        None
    }

    /// The first `Handle<T>` of the block, and what lies behind it.
    ///
    /// # Safety
    /// The block was made with what [`block_bytes`] says of a `T`, and nothing else uses it as long as the object lives.
    pub(crate) unsafe fn split<T>(&self) -> (&'static mut MaybeUninit<Handle<T>>, Rest) {
        let front = handle_bytes::<T>();
        // SAFETY: the block begins with these bytes and is aligned.
        unsafe {
            let start = self.memory.add(self.skip);
            let rest = core::slice::from_raw_parts_mut(start.add(front).cast(), self.bytes.saturating_sub(self.skip + front));
            (&mut *start.cast(), Rest(rest))
        }
    }
}

#[cfg(feature = "std")]
impl Drop for Block {
    fn drop(&mut self) {
        if self.is_systems {
            let layout = std::alloc::Layout::array::<u64>(self.bytes.div_ceil(size_of::<u64>()));
            // SAFETY: `of_system` made it with this very layout; an object in it is gone before its block.
            unsafe { std::alloc::dealloc(self.memory, layout.unwrap_unchecked()) };
        }
    }
}

/// What is left of a block, beginning at a multiple of [`ALIGN`].
#[derive(Debug)]
pub(crate) struct Rest(&'static mut [MaybeUninit<u8>]);

impl Rest {
    /// The next `len` elements, each of them `value`. They take the bytes of [`slice_bytes`].
    pub(crate) fn take<T: Clone>(&mut self, len: usize, value: T) -> Result<&'static mut [T], Fault<'static>> {
        let slice = self.room::<T>(len)?;
        for place in &mut *slice {
            place.write(value.clone());
        }
        // SAFETY: all of them were written.
        Ok(unsafe { core::slice::from_raw_parts_mut(slice.as_mut_ptr().cast::<T>(), len) })
    }

    /// Puts one value next.
    pub(crate) fn put<T>(&mut self, value: T) -> Result<&'static mut T, Fault<'static>> {
        match self.room::<T>(1)? {
            [place] => Ok(place.write(value)),
            _ => unreachable!(),
        }
    }

    fn room<T>(&mut self, len: usize) -> Result<&'static mut [MaybeUninit<T>], Fault<'static>> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let got = self.0.len();
        let needed = slice_bytes(len, size_of::<T>()).unwrap_or(usize::MAX);
        let Some((front, rest)) = core::mem::take(&mut self.0).split_at_mut_checked(needed) else {
            return Err(Fault::TooSmall { what: "params.memory", needed, got });
        };
        self.0 = rest;
        // SAFETY: as many bytes are there, aligned; MaybeUninit may hold anything.
        Ok(unsafe { core::slice::from_raw_parts_mut(front.as_mut_ptr().cast::<MaybeUninit<T>>(), len) })
    }

    /// All bytes that are left, as they are.
    ///
    /// # Safety
    /// They hold something: zeros of the system's, or the caller's bytes.
    pub(crate) unsafe fn bytes(self) -> &'static mut [u8] {
        // SAFETY: the caller's duty.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }
}

/// Bytes of the object itself, to a multiple of [`ALIGN`].
pub(crate) const fn handle_bytes<T>() -> usize {
    size_of::<Handle<T>>().next_multiple_of(ALIGN)
}

/// The sum of bytes, each that of a slice; `None` on overflow of any of them.
pub(crate) fn sum<const N: usize>(slices: [(usize, usize); N]) -> Option<usize> {
    slices.into_iter().try_fold(0_usize, |sum, (len, size)| sum.checked_add(slice_bytes(len, size)?))
}

/// Bytes that a block needs so that `bytes` fit behind a `T`, wherever it starts.
pub(crate) const fn block_bytes<T>(bytes: usize) -> Option<usize> {
    (handle_bytes::<T>() + ALIGN - 1).checked_add(bytes)
}

impl<T: Object> Handle<T> {
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
        // SAFETY: bodies that are `Sync` are entered by `free` alone, so there is no exclusive reference.
        unsafe { &*self.body.get() }
    }

    /// The body, for one call.
    pub(crate) fn enter(&self) -> Result<Entered<'_, T>, Fault<'static>> {
        match self.busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Entered(self)),
            Err(_) => Err(Fault::Busy { what: T::NAME }),
        }
    }
}

/// Writes an object to the front of its block, and where it is to `out`.
pub(crate) fn put<T: Object, O>(place: &'static mut MaybeUninit<Handle<T>>, block: Block, body: T, out: &mut *mut O) {
    let (magic, busy) = (AtomicU32::new(0), AtomicU32::new(0));
    let handle = place.write(Handle { magic, busy, block, body: UnsafeCell::new(body) });
    // The word comes last: whoever sees it sees the object.
    handle.magic.store(T::MAGIC, Ordering::Release);
    *out = core::ptr::from_mut(handle).cast();
}

/// Ends the life of an object and makes the caller's pointer NULL; no pointer, or NULL, is nothing to free. `may_go` has the last
/// word.
///
/// # Safety
/// As for [`Handle::of`]; `place` is NULL or points to a pointer that nothing else uses, and no call is in the object or begins.
pub(crate) unsafe fn free<T: Object, O>(place: *mut *mut O, may_go: fn(&T) -> Result<(), Fault<'static>>) -> Result<(), Fault<'static>> {
    // SAFETY: the caller's duty.
    let Some(object) = unsafe { place.as_mut() }.filter(|object| !object.is_null()) else { return Ok(()) };
    // SAFETY: the caller's duty.
    let handle = unsafe { Handle::<T>::of(*object)? };
    // A callback of the object must not free what it is called from.
    let entered = handle.enter()?;
    may_go(&entered)?;
    *object = core::ptr::null_mut();
    handle.magic.store(0, Ordering::Release);
    // Whoever saw the word before it was taken away finds the object busy for good.
    core::mem::forget(entered);
    // SAFETY: the word is gone, so nobody reads it again.
    let Handle { block: _block, body, .. } = unsafe { core::ptr::from_ref(handle).read() };
    // The body goes first: it lies in the block.
    drop(body);
    Ok(())
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
