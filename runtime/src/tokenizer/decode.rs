//! Ids to text, in a stream.

use super::section::{DecoderKind, Kind, Tokenizer};
use super::{TokenId, TooSmall};

/// U+FFFD in UTF-8.
const REPLACEMENT: &[u8; 3] = "\u{fffd}".as_bytes().first_chunk().unwrap();

/// How many bytes of a run of byte tokens are held back, see [`Decoder`].
const RUN_BYTES: usize = 32;

/// How tokens become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Leave control tokens out of the text.
    pub skip_special: bool,
    /// The text continues earlier text: its first space stays.
    pub continues: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { skip_special: true, continues: false }
    }
}

/// Turns tokens into text as they come, and never gives out part of a character.
///
/// The parts together, with [`finish`](Self::finish), are what decoding all tokens at once gives: invalid bytes become U+FFFD by the same
/// rules. One case is limited: a SentencePiece vocabulary spells rare characters by byte tokens, and if any byte of a run
/// of them is wrong, the whole run becomes U+FFFD. To keep the state bounded and the stream flowing, only the first 32 bytes of a run are held back
/// for that; what is behind them is decided character by character.
#[derive(Clone, Debug)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer<'t>,
    options: DecodeOptions,
    /// Bytes whose text is not decided: an unfinished character, or a run of byte tokens.
    held: [u8; RUN_BYTES],
    held_len: usize,
    /// The run of byte tokens is longer than what is held, and its beginning has been given out.
    run_committed: bool,
    /// No token has given text so far.
    at_start: bool,
}

impl<'t> Decoder<'t> {
    /// A decoder at the start of a text.
    #[must_use]
    pub fn new(tokenizer: &'t Tokenizer<'t>, options: DecodeOptions) -> Self {
        Self { tokenizer, options, held: [0; RUN_BYTES], held_len: 0, run_committed: false, at_start: !options.continues }
    }

    /// Bytes of output that suffice for any [`push`](Self::push) and [`finish`](Self::finish): each byte held or pushed may become a U+FFFD.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        (self.tokenizer.longest_token() + RUN_BYTES) * REPLACEMENT.len()
    }

    /// Adds a token and returns the text that is decided now, often empty.
    ///
    /// # Errors
    /// [`TooSmall`] if `out` is shorter than this token may need; the decoder is then unchanged.
    pub fn push<'o>(&mut self, token: TokenId, out: &'o mut [u8]) -> Result<&'o str, TooSmall> {
        let kind = self.tokenizer.kind(token);
        if kind == Kind::Unused || (kind == Kind::Control && self.options.skip_special) {
            return Ok("");
        }
        let bytes = self.tokenizer.bytes(token);
        let needed = (bytes.len() + self.held_len) * REPLACEMENT.len();
        if out.len() < needed {
            return Err(TooSmall { needed, got: out.len() });
        }
        let mut out = Output { out, len: 0 };
        match (self.tokenizer.header.decoder, kind) {
            (DecoderKind::ByteLevel, _) => self.push_bytes(bytes, &mut out),
            (_, Kind::Byte) => self.push_run(bytes, &mut out),
            (DecoderKind::FirstTokenStrip, _) => {
                self.end_run(&mut out);
                let strip = self.at_start;
                self.at_start = false;
                for &byte in bytes.iter().filter(|byte| !strip || **byte != b' ') {
                    out.put(&[byte]);
                }
            }
            (DecoderKind::ByteRuns | DecoderKind::ByteRunsStrip, _) => {
                self.end_run(&mut out);
                self.put_text(bytes, &mut out);
            }
        }
        Ok(out.text())
    }

    /// Ends the text: what is held becomes text. The decoder is then at the start of a new text.
    ///
    /// # Errors
    /// [`TooSmall`] if `out` is shorter than what is held may need; the decoder is then unchanged.
    pub fn finish<'o>(&mut self, out: &'o mut [u8]) -> Result<&'o str, TooSmall> {
        let needed = self.held_len * REPLACEMENT.len();
        if out.len() < needed {
            return Err(TooSmall { needed, got: out.len() });
        }
        let mut out = Output { out, len: 0 };
        if self.tokenizer.header.decoder == DecoderKind::ByteLevel {
            // What is held is the beginning of one character: one maximal invalid part.
            if self.held_len > 0 {
                out.put(REPLACEMENT);
            }
        } else {
            self.end_run(&mut out);
        }
        *self = Self::new(self.tokenizer, self.options);
        Ok(out.text())
    }

    /// Byte-level: any bytes; up to three are held as the beginning of a character.
    fn push_bytes(&mut self, bytes: &[u8], out: &mut Output<'_>) {
        let mut rest = bytes;
        // A character begun by earlier tokens is finished, or found invalid, byte by byte.
        while self.held_len > 0 {
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            self.held[self.held_len] = byte;
            self.held_len += 1;
            rest = after;
            match core::str::from_utf8(&self.held[..self.held_len]) {
                Ok(_) => {
                    out.put(&self.held[..self.held_len]);
                    self.held_len = 0;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => {
                    // The bytes before this one were a valid beginning; this one is not its continuation and starts anew.
                    out.put(REPLACEMENT);
                    self.held_len = 0;
                    self.push_fresh(&[byte], out);
                }
            }
        }
        self.push_fresh(rest, out);
    }

    /// The same with nothing held.
    fn push_fresh(&mut self, bytes: &[u8], out: &mut Output<'_>) {
        let mut rest = bytes;
        loop {
            let error = match core::str::from_utf8(rest) {
                Ok(_) => return out.put(rest),
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            out.put(valid);
            match error.error_len() {
                Some(len) => {
                    out.put(REPLACEMENT);
                    rest = &invalid[len..];
                }
                None => {
                    self.held[..invalid.len()].copy_from_slice(invalid);
                    self.held_len = invalid.len();
                    return;
                }
            }
        }
    }

    /// A byte token: one byte of a run.
    fn push_run(&mut self, bytes: &[u8], out: &mut Output<'_>) {
        let Some(&byte) = bytes.first() else { return };
        if self.held_len == RUN_BYTES {
            // Full: give out what is decided, however the run ends. That leaves at most an unfinished character, unless the run is already invalid.
            self.commit(out);
        }
        self.held[self.held_len] = byte;
        self.held_len += 1;
        if self.run_committed {
            self.commit(out);
        }
    }

    /// Gives out the held characters of a long run, and a U+FFFD for each invalid byte; keeps an unfinished character.
    fn commit(&mut self, out: &mut Output<'_>) {
        let held = self.held;
        let mut rest = &held[..self.held_len];
        let first_commit = !core::mem::replace(&mut self.run_committed, true);
        if first_commit && core::str::from_utf8(rest).is_err_and(|error| error.error_len().is_some()) {
            // The run is invalid already: all that is held of it is.
            for _ in rest {
                self.put_text(REPLACEMENT, out);
            }
            self.held_len = 0;
            return;
        }
        loop {
            let error = match core::str::from_utf8(rest) {
                Ok(_) => {
                    self.put_text(rest, out);
                    self.held_len = 0;
                    return;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            self.put_text(valid, out);
            let Some(len) = error.error_len() else {
                self.held[..invalid.len()].copy_from_slice(invalid);
                self.held_len = invalid.len();
                return;
            };
            for _ in 0..len {
                self.put_text(REPLACEMENT, out);
            }
            rest = &invalid[len..];
        }
    }

    /// Ends a run of byte tokens: its text if all of it is valid, else a U+FFFD for each byte.
    fn end_run(&mut self, out: &mut Output<'_>) {
        let held = self.held;
        let run = &held[..self.held_len];
        if core::str::from_utf8(run).is_ok() {
            self.put_text(run, out);
        } else {
            for _ in run {
                self.put_text(REPLACEMENT, out);
            }
        }
        self.held_len = 0;
        self.run_committed = false;
    }

    /// Puts text out, without its first space at the start if the decoder takes that away.
    fn put_text(&mut self, text: &[u8], out: &mut Output<'_>) {
        if text.is_empty() {
            return;
        }
        let strip = self.at_start && self.tokenizer.header.decoder == DecoderKind::ByteRunsStrip;
        self.at_start = false;
        out.put(if strip { text.strip_prefix(b" ").unwrap_or(text) } else { text });
    }
}

struct Output<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl<'o> Output<'o> {
    /// Appends bytes; the callers have checked the room.
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// What was put is whole characters.
    fn text(self) -> &'o str {
        let out: &'o [u8] = self.out;
        core::str::from_utf8(&out[..self.len]).unwrap_or_default()
    }
}
