//! Kinglet for C and C++: the calls of its library, as `cargo xtask install` makes and installs it.
//!
//! Every call returns a code and takes, as its last argument, a place to say in one sentence what went wrong; NULL does without.
//! Nothing is printed (but what Rust says on stderr of a mistake in this library), no call ends the program, and there is no global state. What a pointer points to is the caller's word;
//! everything else (NULL, sizes, ids, the bytes of files and states, objects that are in use) is checked.
//!
//! | module | job |
//! |---|---|
//! | `status` | codes, and the sentence behind one |
//! | `sized` | structs that begin with their size |
//! | `handle` | objects behind pointers: what they are, whether they live, whether a call is in them |
//! | `place` | what other pointers point to: numbers and text to read, places to write to |
//! | `room` | working memory, of an object or of the system |
//! | `log` | what is told to the caller's function |
//! | `isa`, `model`, `session`, `tokenizer`, `chat`, `sampler`, `generate` | the calls |
//! | `panic` | without `std`: a trap |
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![expect(unsafe_code, reason = "what C hands over is pointers")]
#![expect(non_camel_case_types, reason = "C's names")]
#![expect(clippy::missing_safety_doc, reason = "the same duty for every call: pointers point to what their types and lengths say")]

mod chat;
mod generate;
mod handle;
mod isa;
mod log;
mod model;
#[cfg(not(any(test, feature = "std")))]
mod panic;
mod place;
mod room;
mod sampler;
mod session;
mod sized;
mod status;
mod tokenizer;

pub use chat::*;
pub use generate::*;
pub use isa::*;
pub use log::{kgl_log_fn, kgl_log_level};
pub use model::*;
pub use place::KGL_TERMINATED;
pub use sampler::*;
pub use session::*;
pub use tokenizer::*;

use core::ffi::c_char;
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

/// The same as a text, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_version_string() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// What the library was built with: the sum of `KGL_FEATURE_` numbers.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_features() -> u32 {
    if cfg!(feature = "std") { KGL_FEATURE_STD } else { 0 }
}
