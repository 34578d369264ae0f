//! Kinglet for C and C++: the calls of its library. An archive is made by `cargo rustc -p kinglet-capi --crate-type staticlib`.
//!
//! Every call returns a code and takes, as its last argument, a place to say in one sentence what went wrong; NULL does without.
//! Nothing is printed, no call ends the program, and there is no global state. What a pointer points to is the caller's word;
//! everything else (NULL, sizes, ids, the bytes of files and states, objects that are in use) is checked.
//!
//! | module | job |
//! |---|---|
//! | `status` | codes, and the sentence behind one |
//! | `sized` | structs that begin with their size |
//! | `handle` | objects behind pointers: what they are, whether they live, whether a call is in them |
//! | `isa`, `model`, `session` | the calls |
//! | `panic` | without `std`: a trap |
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![expect(unsafe_code, reason = "what C hands over is pointers")]
#![expect(non_camel_case_types, reason = "C's names")]
#![expect(clippy::missing_safety_doc, reason = "the same duty for every call: pointers point to what their types and lengths say")]

mod handle;
mod isa;
mod model;
#[cfg(not(any(test, feature = "std")))]
mod panic;
mod session;
mod sized;
mod status;

pub use isa::*;
pub use model::*;
pub use session::*;
pub use status::{KGL_ERROR_TEXT_BYTES, kgl_error, kgl_error_default, kgl_status, kgl_strerror};

/// The library has files and threads, and asks the CPU what it can do. Without it, it is built for machines without an operating system.
pub const KGL_FEATURE_STD: u32 = 1;

/// The library's version: `major << 16 | minor << 8 | patch`.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_version() -> u32 {
    const fn number(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("cargo's versions are numbers"),
        }
    }
    const {
        number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
            | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
            | number(env!("CARGO_PKG_VERSION_PATCH"))
    }
}

/// What the library was built with: the sum of `KGL_FEATURE_` numbers.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_features() -> u32 {
    if cfg!(feature = "std") { KGL_FEATURE_STD } else { 0 }
}
