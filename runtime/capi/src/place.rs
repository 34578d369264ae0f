//! What C's pointers point to: numbers and text to read, and places to write to.

use crate::status::Fault;
use core::ffi::{CStr, c_char};

/// As a text's length: the text ends with a 0.
///
/// cbindgen:ignore
pub const KGL_TERMINATED: usize = usize::MAX;

/// Where a call returns an object; NULL until it succeeds.
///
/// # Safety
/// `out` is NULL or points to a pointer that nothing else uses.
pub(crate) unsafe fn result<'a, O>(out: *mut *mut O, what: &'static str) -> Result<&'a mut *mut O, Fault<'static>> {
    // SAFETY: the caller's duty.
    let out = unsafe { place(out, what)? };
    *out = core::ptr::null_mut();
    Ok(out)
}

/// Where a call must return something.
///
/// # Safety
/// `out` is NULL or points to a value of its type that nothing else uses.
pub(crate) unsafe fn place<'a, T>(out: *mut T, what: &'static str) -> Result<&'a mut T, Fault<'static>> {
    // SAFETY: the caller's duty.
    unsafe { out.as_mut() }.ok_or(Fault::Null { what })
}

/// The same, with what stands there until the call succeeds.
///
/// # Safety
/// As for [`place`].
pub(crate) unsafe fn start<'a, T>(out: *mut T, value: T, what: &'static str) -> Result<&'a mut T, Fault<'static>> {
    // SAFETY: the caller's duty.
    let out = unsafe { place(out, what)? };
    *out = value;
    Ok(out)
}

/// `len` elements of the caller's; NULL is allowed for none.
///
/// # Safety
/// `data` is NULL or points to as many, which do not change during the call.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize, what: &'static str) -> Result<&'a [T], Fault<'static>> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Fault::Null { what });
    }
    if !data.is_aligned() {
        return Err(Fault::Misaligned { what, expected: align_of::<T>() });
    }
    let most = isize::MAX as usize / size_of::<T>();
    if len > most {
        return Err(Fault::TooLong { what, most, got: len });
    }
    // SAFETY: the caller's duty.
    Ok(unsafe { core::slice::from_raw_parts(data, len) })
}

/// As [`slice`], to write to.
///
/// # Safety
/// As for [`slice`], and nothing else uses the elements, which hold values of the type.
pub(crate) unsafe fn slice_mut<'a, T>(data: *mut T, len: usize, what: &'static str) -> Result<&'a mut [T], Fault<'static>> {
    // SAFETY: the caller's duty.
    let checked = unsafe { slice(data.cast_const(), len, what)? }.len();
    // SAFETY: as above; for none any aligned address will do.
    Ok(if checked == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut(data, checked) } })
}

/// A text of `bytes` bytes, or one that ends with a 0, where `bytes` is [`KGL_TERMINATED`].
///
/// # Safety
/// As for [`slice`]; a text without a length ends with a 0.
pub(crate) unsafe fn text<'a>(data: *const c_char, bytes: usize, what: &'static str) -> Result<&'a str, Fault<'static>> {
    let bytes = if bytes == KGL_TERMINATED {
        if data.is_null() {
            return Err(Fault::Null { what });
        }
        // SAFETY: the caller's duty.
        unsafe { CStr::from_ptr(data) }.to_bytes()
    } else {
        // SAFETY: the caller's duty.
        unsafe { slice(data.cast::<u8>(), bytes, what)? }
    };
    core::str::from_utf8(bytes).map_err(|e| Fault::Utf8 { what, at: e.valid_up_to() })
}

/// Says where a text lies; either place may be NULL.
///
/// # Safety
/// As for [`place`].
pub(crate) unsafe fn tell_text(text: *mut *const c_char, bytes: *mut usize, value: &str) {
    // SAFETY: the caller's duty.
    unsafe { tell(text, value.as_ptr().cast()) };
    // SAFETY: the caller's duty.
    unsafe { tell(bytes, value.len()) };
}

/// Writes a value where the caller wants it; NULL: it does not.
///
/// # Safety
/// As for [`place`].
pub(crate) unsafe fn tell<T>(out: *mut T, value: T) {
    // SAFETY: the caller's duty.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = value;
    }
}
