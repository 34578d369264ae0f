//! Text to token ids and back.
//!
//! A [`Tokenizer`] borrows the tokenizer section of a model file, checks it once and then encodes and decodes in place: no
//! allocation, no regular expressions, nothing that executes. It reproduces the byte-pair tokenizers of the `tokenizers`
//! library, id for id: byte-level (GPT-2, SmolLM2, Llama 3, Qwen 2) and SentencePiece-style with byte fallback (Llama 2, Mistral).
//!
//! It is not a trainer, and it does not read `tokenizer.json`; `docs/format-tokenizer.md` specifies the section, and the
//! converter writes it.
//!
//! | module | job |
//! |---|---|
//! | [`section`] | the bytes: header, tables, and every check on them |
//! | `encode` | text → pieces between added tokens → words → ids |
//! | `split` | the rules that cut a piece into words |
//! | `bpe` | one word → ids by merges, O(n log n) |
//! | `nfc`, `unicode` | Unicode normalisation form C and character classes, from generated tables |
//! | [`chat`] | a conversation → the text that the model was trained on |
//! | `decode` | ids → text, in a stream that never breaks a character |
//!
//! ```
//! use kinglet::tokenizer::{EncodeOptions, TokenId, Tokenizer};
//!
//! fn count(section: &[u8], vocab_size: u32) -> Option<usize> {
//!     let tokenizer = Tokenizer::parse(section, vocab_size).ok()?;
//!     let text = "Hello";
//!     let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
//!     let mut ids = vec![TokenId(0); tokenizer.max_tokens(text.len())];
//!     tokenizer.encode(text, &EncodeOptions::default(), &mut scratch, &mut ids).ok()
//! }
//! assert_eq!(count(b"not a section", 10), None);
//! ```

mod bpe;
pub mod chat;
mod decode;
mod encode;
mod nfc;
pub mod section;
mod split;
mod unicode;
mod unicode_tables;

pub use decode::{DecodeOptions, Decoder};
pub use encode::{EncodeError, EncodeOptions};
pub use section::{Tokenizer, TokenizerError};

/// The number of a token: a row of the embedding, a column of the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TokenId(pub u32);

/// A caller's buffer is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// What is needed, in elements of the buffer.
    pub needed: usize,
    /// What was given.
    pub got: usize,
}

impl core::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "buffer too small: {} needed, {} given", self.needed, self.got)
    }
}

impl core::error::Error for TooSmall {}
