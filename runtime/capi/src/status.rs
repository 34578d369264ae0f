//! Codes, and the sentence behind one.

use crate::sized::Versioned;
use core::ffi::{CStr, c_char};
use core::fmt::{Display, Write};
use kinglet::model::ModelError;
use kinglet::sampler::SamplerError;
use kinglet::session::state::StateError;
use kinglet::session::{PlanError, SessionError};
use kinglet::tokenizer::chat::ChatError;

/// How a call ended. The numbers never change; new ones may come.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_status {
    /// All is well.
    KGL_OK = 0,
    /// A pointer that must point to something is NULL.
    KGL_ERROR_NULL = 1,
    /// A number is out of its range.
    KGL_ERROR_ARGUMENT = 2,
    /// The field `size` of a struct is not one that this library knows: it was not made by its `_default()`.
    KGL_ERROR_SIZE = 3,
    /// The pointer is not to an object of this type, or the object was freed.
    KGL_ERROR_HANDLE = 4,
    /// The object is in use: by another thread, or by the call whose callback this is.
    KGL_ERROR_BUSY = 5,
    /// The model is not freed, because objects that were made from it still live.
    KGL_ERROR_IN_USE = 6,
    /// The caller's buffer is too small; where the call tells a length, it tells the one that is needed.
    KGL_ERROR_TOO_SMALL = 7,
    /// There is no memory: none was given, and the system has none.
    KGL_ERROR_MEMORY = 8,
    /// The file cannot be opened or mapped.
    KGL_ERROR_FILE = 9,
    /// The bytes are not a sound .kgl file.
    KGL_ERROR_FORMAT = 10,
    /// The file is sound, but this version does not run its model.
    KGL_ERROR_MODEL = 11,
    /// No tokens were given, or an id is not below the vocabulary's size.
    KGL_ERROR_TOKEN = 12,
    /// The tokens do not fit what is left of the context.
    KGL_ERROR_CONTEXT_FULL = 13,
    /// A position to go back to is not possible.
    KGL_ERROR_POSITION = 14,
    /// There are no logits: nothing was evaluated since the position moved.
    KGL_ERROR_NO_LOGITS = 15,
    /// A saved state is damaged, or another model's, or does not fit this session.
    KGL_ERROR_STATE = 16,
    /// This machine does not have the instruction set.
    KGL_ERROR_ISA = 17,
    /// The system starts no more threads.
    KGL_ERROR_THREADS = 18,
    /// A callback asked to end.
    KGL_ERROR_CANCELLED = 19,
    /// This library was built without what the call needs: an operating system.
    KGL_ERROR_UNSUPPORTED = 20,
    /// A mistake in this library. Please report it.
    KGL_ERROR_INTERNAL = 21,
    /// The model's file has no tokenizer, or no chat format.
    KGL_ERROR_NO_TOKENIZER = 22,
    /// A text is not UTF-8.
    KGL_ERROR_UTF8 = 23,
    /// A text, or a list, is longer than was planned for, or than is possible at all.
    KGL_ERROR_TOO_LONG = 24,
    /// The model's chat format has no such conversation.
    KGL_ERROR_CHAT = 25,
    /// There is no such entry or token.
    KGL_ERROR_NOT_FOUND = 26,
}

use kgl_status::*;

impl kgl_status {
    /// Every code.
    pub const ALL: [Self; 27] = [
        KGL_OK,
        KGL_ERROR_NULL,
        KGL_ERROR_ARGUMENT,
        KGL_ERROR_SIZE,
        KGL_ERROR_HANDLE,
        KGL_ERROR_BUSY,
        KGL_ERROR_IN_USE,
        KGL_ERROR_TOO_SMALL,
        KGL_ERROR_MEMORY,
        KGL_ERROR_FILE,
        KGL_ERROR_FORMAT,
        KGL_ERROR_MODEL,
        KGL_ERROR_TOKEN,
        KGL_ERROR_CONTEXT_FULL,
        KGL_ERROR_POSITION,
        KGL_ERROR_NO_LOGITS,
        KGL_ERROR_STATE,
        KGL_ERROR_ISA,
        KGL_ERROR_THREADS,
        KGL_ERROR_CANCELLED,
        KGL_ERROR_UNSUPPORTED,
        KGL_ERROR_INTERNAL,
        KGL_ERROR_NO_TOKENIZER,
        KGL_ERROR_UTF8,
        KGL_ERROR_TOO_LONG,
        KGL_ERROR_CHAT,
        KGL_ERROR_NOT_FOUND,
    ];

    const fn text(self) -> &'static CStr {
        match self {
            KGL_OK => c"no error",
            KGL_ERROR_NULL => c"a required pointer is NULL",
            KGL_ERROR_ARGUMENT => c"an argument is out of range",
            KGL_ERROR_SIZE => c"the size field of a struct is wrong",
            KGL_ERROR_HANDLE => c"not an object of this type, or freed",
            KGL_ERROR_BUSY => c"the object is in use",
            KGL_ERROR_IN_USE => c"objects made from the model still live",
            KGL_ERROR_TOO_SMALL => c"the buffer is too small",
            KGL_ERROR_MEMORY => c"no memory",
            KGL_ERROR_FILE => c"the file cannot be opened",
            KGL_ERROR_FORMAT => c"not a sound .kgl file",
            KGL_ERROR_MODEL => c"the model is not supported",
            KGL_ERROR_TOKEN => c"no token, or an unknown one",
            KGL_ERROR_CONTEXT_FULL => c"the context is full",
            KGL_ERROR_POSITION => c"the position cannot be gone back to",
            KGL_ERROR_NO_LOGITS => c"there are no logits",
            KGL_ERROR_STATE => c"the saved state does not fit",
            KGL_ERROR_ISA => c"the instruction set is not there",
            KGL_ERROR_THREADS => c"threads cannot be started",
            KGL_ERROR_CANCELLED => c"ended by a callback",
            KGL_ERROR_UNSUPPORTED => c"not in this build of the library",
            KGL_ERROR_INTERNAL => c"a mistake in the library",
            KGL_ERROR_NO_TOKENIZER => c"the model has no tokenizer or chat format",
            KGL_ERROR_UTF8 => c"the text is not UTF-8",
            KGL_ERROR_TOO_LONG => c"the text or list is too long",
            KGL_ERROR_CHAT => c"not a conversation of this model",
            KGL_ERROR_NOT_FOUND => c"not found",
        }
    }
}

/// What a code means, in English: a static text, for any number.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_strerror(status: i32) -> *const c_char {
    let known = kgl_status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"unknown code", kgl_status::text).as_ptr()
}

/// Bytes of the text of an error, its final 0 included.
pub const KGL_ERROR_TEXT_BYTES: usize = 256;

/// Where a call says what went wrong, in memory of the caller's. Any call may be given NULL instead. One whose `size` is not right is
/// left as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_error {
    /// Bytes of this struct.
    pub size: usize,
    /// What the call returned: a number of `kgl_status`.
    pub status: i32,
    /// One sentence, ended by a 0: the file if there is one, the field, what was expected, what was found. Empty after `KGL_OK`.
    pub text: [c_char; KGL_ERROR_TEXT_BYTES],
}

/// An error that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_error_default() -> kgl_error {
    kgl_error { size: size_of::<kgl_error>(), status: KGL_OK as i32, text: [0; KGL_ERROR_TEXT_BYTES] }
}

// SAFETY: repr(C), begins with its size; the text is a sequence of numbers, and the status is only ever written here.
unsafe impl Versioned for kgl_error {}

/// Why a call fails, before it is a code and a sentence.
#[derive(Debug)]
pub(crate) enum Fault<'a> {
    Null {
        what: &'static str,
    },
    Argument {
        what: &'static str,
        expected: &'static str,
        got: i64,
    },
    Size {
        what: &'static str,
        expected: usize,
        got: usize,
    },
    Length {
        what: &'static str,
        expected: usize,
        got: usize,
    },
    Handle {
        what: &'static str,
    },
    Busy {
        what: &'static str,
    },
    InUse {
        children: usize,
    },
    TooSmall {
        what: &'static str,
        needed: usize,
        got: usize,
    },
    Memory {
        what: &'static str,
        needed: usize,
    },
    Misaligned {
        what: &'static str,
        expected: usize,
    },
    Model(ModelError),
    Plan(PlanError),
    Session(SessionError),
    State(StateError),
    NoLogits,
    Sampler(SamplerError),
    NoTokenizer {
        what: &'static str,
    },
    Utf8 {
        what: &'static str,
        at: usize,
    },
    TooLong {
        what: &'static str,
        most: usize,
        got: usize,
    },
    Chat(ChatError),
    NotFound {
        what: &'static str,
    },
    Isa {
        name: &'static str,
    },
    Cancelled {
        done: usize,
        of: usize,
    },
    #[cfg_attr(feature = "std", expect(dead_code, reason = "only a build without a system lacks anything"))]
    Unsupported {
        what: &'static str,
    },
    #[cfg(feature = "std")]
    File(kinglet::map::MapError),
    #[cfg(feature = "std")]
    Threads(kinglet::workers::PoolError),
    #[cfg(feature = "std")]
    Panic,
    /// A fault of a file's content.
    In {
        path: &'a str,
        fault: &'a Fault<'a>,
    },
}

impl Fault<'_> {
    pub(crate) fn status(&self) -> kgl_status {
        match self {
            Self::Null { .. } => KGL_ERROR_NULL,
            Self::Argument { .. } | Self::Length { .. } | Self::Misaligned { .. } => KGL_ERROR_ARGUMENT,
            Self::Size { .. } => KGL_ERROR_SIZE,
            Self::Handle { .. } => KGL_ERROR_HANDLE,
            Self::Busy { .. } => KGL_ERROR_BUSY,
            Self::InUse { .. } => KGL_ERROR_IN_USE,
            Self::TooSmall { .. } => KGL_ERROR_TOO_SMALL,
            Self::Memory { .. } => KGL_ERROR_MEMORY,
            Self::Model(ModelError::Spec(_)) => KGL_ERROR_MODEL,
            Self::Model(ModelError::Misaligned) | Self::Plan(_) => KGL_ERROR_ARGUMENT,
            Self::Model(_) => KGL_ERROR_FORMAT,
            Self::Session(SessionError::NoTokens | SessionError::Token { .. }) => KGL_ERROR_TOKEN,
            Self::Session(SessionError::ContextFull { .. }) => KGL_ERROR_CONTEXT_FULL,
            Self::Session(SessionError::Truncate { .. }) => KGL_ERROR_POSITION,
            Self::Session(SessionError::Arena(_)) => KGL_ERROR_MEMORY,
            Self::Session(_) => KGL_ERROR_INTERNAL,
            Self::State(StateError::TooSmall { .. }) => KGL_ERROR_TOO_SMALL,
            Self::State(_) => KGL_ERROR_STATE,
            Self::NoLogits => KGL_ERROR_NO_LOGITS,
            Self::Sampler(_) => KGL_ERROR_ARGUMENT,
            Self::NoTokenizer { .. } => KGL_ERROR_NO_TOKENIZER,
            Self::Utf8 { .. } => KGL_ERROR_UTF8,
            Self::TooLong { .. } => KGL_ERROR_TOO_LONG,
            Self::Chat(ChatError::Unsupported { .. } | ChatError::EmptyContent { .. }) => KGL_ERROR_CHAT,
            Self::Chat(_) => KGL_ERROR_FORMAT,
            Self::NotFound { .. } => KGL_ERROR_NOT_FOUND,
            Self::Isa { .. } => KGL_ERROR_ISA,
            Self::Cancelled { .. } => KGL_ERROR_CANCELLED,
            Self::Unsupported { .. } => KGL_ERROR_UNSUPPORTED,
            #[cfg(feature = "std")]
            Self::File(_) => KGL_ERROR_FILE,
            #[cfg(feature = "std")]
            Self::Threads(_) => KGL_ERROR_THREADS,
            #[cfg(feature = "std")]
            Self::Panic => KGL_ERROR_INTERNAL,
            Self::In { fault, .. } => fault.status(),
        }
    }
}

impl Display for Fault<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Null { what } => write!(f, "{what}: expected a pointer, got NULL"),
            Self::Argument { what, expected, got } => write!(f, "{what}: expected {expected}, got {got}"),
            Self::Size { what, expected, got } => {
                write!(f, "{what}.size: expected {expected}, got {got}; the struct's _default() sets it")
            }
            Self::Length { what, expected, got } => write!(f, "{what}: expected {expected} of them, got {got}"),
            Self::Handle { what } => write!(f, "{what}: expected a living {what}, got something else or a freed one"),
            Self::Busy { what } => write!(f, "{what}: in use by another thread, or by the call whose callback this is"),
            Self::InUse { children } => write!(f, "model: {children} objects made from it are not freed yet"),
            Self::TooSmall { what, needed, got } => write!(f, "{what}: expected room for {needed}, got {got}"),
            Self::Memory { what, needed } => write!(f, "{what}: no memory of {needed} bytes"),
            Self::Misaligned { what, expected } => write!(f, "{what}: expected an address that is a multiple of {expected}"),
            Self::Model(e) => e.fmt(f),
            Self::Plan(e) => e.fmt(f),
            Self::Session(e) => e.fmt(f),
            Self::State(e) => e.fmt(f),
            Self::NoLogits => f.write_str("no logits: nothing was evaluated since the position moved"),
            Self::Sampler(e) => e.fmt(f),
            Self::NoTokenizer { what } => write!(f, "the model's file has no {what}"),
            Self::Utf8 { what, at } => write!(f, "{what}: expected UTF-8, which it is not from byte {at} on"),
            Self::TooLong { what, most, got } => write!(f, "{what}: expected at most {most}, got {got}"),
            Self::Chat(e) => e.fmt(f),
            Self::NotFound { what } => write!(f, "{what}: there is no such"),
            Self::Isa { name } => write!(f, "isa: this machine has no {name}"),
            Self::Cancelled { done, of } => write!(f, "the progress callback ended it after {done} of {of} tokens"),
            Self::Unsupported { what } => write!(f, "{what}: this library was built for machines without an operating system"),
            #[cfg(feature = "std")]
            Self::File(e) => e.fmt(f),
            #[cfg(feature = "std")]
            Self::Threads(e) => e.fmt(f),
            #[cfg(feature = "std")]
            Self::Panic => f.write_str("a mistake in the library: a panic was stopped at its border"),
            Self::In { path, fault } => write!(f, "{path}: {fault}"),
        }
    }
}

/// Writes text into C's characters, whole UTF-8 characters only, but for what stands between the first and the last bytes that fit.
struct Text<'a> {
    out: &'a mut [c_char],
    len: usize,
    /// Bytes of the whole text that came so far, and those that are left out of it.
    seen: usize,
    gap: core::ops::Range<usize>,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for character in text.chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let (start, end) = (self.seen, self.seen + bytes.len());
            self.seen = end;
            if end > self.gap.start && start < self.gap.end {
                if start <= self.gap.start {
                    self.put(b"...");
                }
                continue;
            }
            self.put(bytes);
        }
        Ok(())
    }
}

impl Text<'_> {
    fn put(&mut self, bytes: &[u8]) {
        for (place, byte) in self.out[self.len..].iter_mut().zip(bytes) {
            *place = *byte as c_char;
            self.len += 1;
        }
    }
}

/// Bytes of a text.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Writes `value` into `out` and ends it with a 0. What does not fit is left out of the middle: a long name of a file keeps its
/// beginning, and the reason behind it stays.
pub(crate) fn write_text(out: &mut [c_char], value: &dyn Display) {
    out.fill(0);
    let mut length = Length(0);
    // Neither fails.
    let _ = write!(length, "{value}");
    let room = out.len() - 1;
    let gap = if length.0 <= room { 0..0 } else { room / 4..length.0 - (room - room / 4 - 3) };
    let _ = write!(Text { out: &mut out[..room], len: 0, seen: 0, gap }, "{value}");
}

/// Runs the body of a call. A panic ends at this border.
pub(crate) fn caught(body: impl FnOnce() -> Result<(), Fault<'static>>) -> Result<(), Fault<'static>> {
    #[cfg(feature = "std")]
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(Err(Fault::Panic));
    #[cfg(not(feature = "std"))]
    let result = body();
    result
}

/// Runs the body of a call and tells its result: as a code, and in `error` if there is one.
///
/// # Safety
/// `error` is NULL, or points to memory that is as long as its field `size` says and that nothing else uses.
pub(crate) unsafe fn report(error: *mut kgl_error, body: impl FnOnce() -> Result<(), Fault<'static>>) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { tell(error, caught(body).as_ref().err()) }
}

/// # Safety
/// As for [`report`].
pub(crate) unsafe fn tell(error: *mut kgl_error, fault: Option<&Fault<'_>>) -> kgl_status {
    let status = fault.map_or(KGL_OK, Fault::status);
    // SAFETY: the caller's duty: whatever the version, this field is there.
    let is_ours = !error.is_null() && error.is_aligned() && unsafe { (&raw const (*error).size).read() } == size_of::<kgl_error>();
    if is_ours {
        // SAFETY: it is as long as this version's.
        let error = unsafe { &mut *error };
        error.status = status as i32;
        error.text.fill(0);
        if let Some(fault) = fault {
            write_text(&mut error.text, fault);
        }
    }
    status
}
