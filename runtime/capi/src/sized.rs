//! Structs that cross the border: each begins with its own size.
//!
//! A caller makes one by its `_default()`, changes what it wants, and passes its address; NULL stands for the defaults.
//! Every struct has one size within a major version of the library, and before 1.0 within a minor one: the shared library's name
//! changes with it. The size tells structs that no `_default()` made from those that one did.

use crate::status::Fault;

/// A struct whose first field is its size in bytes.
///
/// # Safety
/// The type is `repr(C)` and its first field is that size.
pub(crate) unsafe trait Versioned: Copy {}

/// The parameters that `place` points to, or `default` for NULL.
///
/// # Safety
/// `place` is NULL or points to a struct of this type, or of another version of it, whose first field is true.
pub(crate) unsafe fn read<T: Versioned>(place: *const T, what: &'static str, default: T) -> Result<T, Fault<'static>> {
    if place.is_null() {
        return Ok(default);
    }
    // SAFETY: the caller's duty: whatever the version, this field is there.
    unsafe { check::<T>(place, what)? };
    // SAFETY: it is as long as this version's.
    Ok(unsafe { place.read() })
}

/// Writes `value` to where a caller has a struct of its type.
///
/// # Safety
/// As for [`read`], and nothing else uses the struct.
pub(crate) unsafe fn write<T: Versioned>(place: *mut T, what: &'static str, value: T) -> Result<(), Fault<'static>> {
    if place.is_null() {
        return Err(Fault::Null { what });
    }
    // SAFETY: as in `read`.
    unsafe { check::<T>(place, what)? };
    // SAFETY: as in `read`.
    unsafe { place.write(value) };
    Ok(())
}

/// # Safety
/// `place` points to a struct whose first field is its size.
unsafe fn check<T: Versioned>(place: *const T, what: &'static str) -> Result<(), Fault<'static>> {
    if !place.is_aligned() {
        return Err(Fault::Misaligned { what, expected: align_of::<T>() });
    }
    let expected = size_of::<T>();
    // SAFETY: the caller's duty.
    let got = unsafe { place.cast::<usize>().read() };
    if got == expected { Ok(()) } else { Err(Fault::Size { what, expected, got }) }
}
