//! What the library has to say, told to the caller's function.

use crate::status::write_text;
use core::ffi::{c_char, c_void};
use core::fmt::Display;

/// How much a message matters.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_log_level {
    /// For those who want to know.
    KGL_LOG_INFO = 0,
    /// Something is probably not as it was meant.
    KGL_LOG_WARNING = 1,
}

/// Is told something: `level`, a number of `kgl_log_level`, and a text that ends with a 0 and is gone after the call. Threads that
/// share a model may call it at the same time.
pub type kgl_log_fn = unsafe extern "C" fn(user: *mut c_void, level: i32, text: *const c_char);

/// Bytes of a message, its final 0 included.
const BYTES: usize = 256;

/// Where messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    function: Option<kgl_log_fn>,
    user: *mut c_void,
}

// SAFETY: what the caller's `user` points to is handed to the caller's function only, which is for any thread.
unsafe impl Sync for Log {}

impl Log {
    pub(crate) fn new(function: Option<kgl_log_fn>, user: *mut c_void) -> Self {
        Self { function, user }
    }

    pub(crate) fn tell(self, level: kgl_log_level, message: &dyn Display) {
        if let Some(function) = self.function {
            let mut text = [0; BYTES];
            write_text(&mut text, message);
            // SAFETY: the caller's word for its own function.
            unsafe { function(self.user, level as i32, text.as_ptr()) };
        }
    }
}
