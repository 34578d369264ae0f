//! Text to ids.
//!
//! ```text
//! put the prefix token
//! cut the text at the added tokens that are looked for in raw text; for each piece between them:
//!     normalise it (form C, or spaces for U+2581)
//!     cut it at the added tokens that are looked for in normalised text; for each piece:
//!         cut it into words; merge each word's symbols
//! put the suffix token
//! ```

use core::ops::Range;

use super::bpe::{WORDS_PER_SYMBOL, Word};
use super::section::{ADDED_LSTRIP, ADDED_RSTRIP, AddedTable, Kind, Lead, ModelKind, Normalizer, Tokenizer};
use super::split::{digit_part_len, word_len};
use super::unicode::is_space;
use super::{TokenId, TooSmall, nfc};

/// What a SentencePiece vocabulary writes for a space.
const LOWER_BLOCK: char = '\u{2581}';

/// How a text is encoded. The default parses control tokens and adds what the model's own settings add.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions<'a> {
    /// Whether text that spells a control token becomes that token.
    pub parse_special: bool,
    /// Byte ranges of the text, in rising order, inside which text never becomes a control token: what a user typed, inside
    /// a prompt whose own control tokens are parsed.
    pub literal: &'a [Range<usize>],
    /// Whether to add the tokens that the model expects around a text, such as the beginning token.
    pub add_special: bool,
    /// Whether the text continues earlier text: then nothing is put in front of it, neither token nor space.
    pub continues: bool,
}

impl Default for EncodeOptions<'_> {
    fn default() -> Self {
        Self { parse_special: true, literal: &[], add_special: true, continues: false }
    }
}

/// Why a text was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The scratch is too small for this text; `needed` suffices for any text of its length.
    Scratch(TooSmall),
    /// The ids do not fit; `needed` is their exact number.
    Output(TooSmall),
    /// The text has 2^28 bytes or more.
    TextTooLong,
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Scratch(size) => write!(f, "scratch: {size}"),
            Self::Output(size) => write!(f, "token ids: {size}"),
            Self::TextTooLong => write!(f, "text of 2^28 bytes or more"),
        }
    }
}

impl core::error::Error for EncodeError {}

const MAX_TEXT_BYTES: usize = 1 << 28;

impl Tokenizer<'_> {
    /// Words of scratch that suffice to encode any text of `text_bytes` bytes: six per symbol of the longest possible word, and the normalised text.
    ///
    /// Ordinary text needs far less when it is cut into words: [`encode`](Self::encode) fails only if the scratch is too small for the text at hand.
    #[must_use]
    pub fn scratch_words(&self, text_bytes: usize) -> usize {
        let (normalized, ordering) = match self.header.normalizer {
            Normalizer::None => (0, 0),
            Normalizer::Spaces | Normalizer::PrependSpaces => (text_bytes.saturating_add(1), 0),
            Normalizer::Nfc => (text_bytes.saturating_mul(nfc::MAX_EXPANSION), nfc::scratch_words(text_bytes)),
        };
        let symbols = normalized.max(text_bytes).saturating_add(1).saturating_mul(WORDS_PER_SYMBOL);
        normalized.div_ceil(4).saturating_add(symbols.max(ordering))
    }

    /// A number of ids that no text of `text_bytes` bytes exceeds.
    #[must_use]
    pub fn max_tokens(&self, text_bytes: usize) -> usize {
        let symbols = match self.header.normalizer {
            Normalizer::Nfc => text_bytes.saturating_mul(nfc::MAX_EXPANSION),
            Normalizer::None | Normalizer::Spaces | Normalizer::PrependSpaces => text_bytes,
        };
        // A space in front of each piece, and pieces of one byte each, at worst; and the tokens around the text.
        symbols.saturating_mul(2).saturating_add(2)
    }

    /// Encodes a text into `out` and returns the number of ids.
    ///
    /// Takes O(n log n) time for any text of n bytes.
    ///
    /// # Errors
    /// See [`EncodeError`]. `out` then holds no meaningful ids.
    pub fn encode(&self, text: &str, options: &EncodeOptions<'_>, scratch: &mut [u32], out: &mut [TokenId]) -> Result<usize, EncodeError> {
        if text.len() >= MAX_TEXT_BYTES {
            return Err(EncodeError::TextTooLong);
        }
        let too_small = EncodeError::Scratch(TooSmall { needed: self.scratch_words(text.len()), got: scratch.len() });
        let mut encoder = Encoder { tokenizer: self, options, out, count: 0 };
        if options.add_special && !options.continues {
            encoder.put(self.header.prefix);
        }
        let mut parts = Parts::new(&self.raw_added, text);
        while let Some(part) = parts.next(|id, range| encoder.is_parsed(id, range)) {
            match part {
                Part::Token(id) => encoder.put(id.0),
                Part::Text(range) => encoder.normalize(&text[range.clone()], range.start, scratch).ok_or(too_small)?,
            }
        }
        if options.add_special {
            encoder.put(self.header.suffix);
        }
        let (count, got) = (encoder.count, encoder.out.len());
        if count > got { Err(EncodeError::Output(TooSmall { needed: count, got })) } else { Ok(count) }
    }
}

/// Where ids go. Its steps return `None` if the scratch is too small.
struct Encoder<'e> {
    tokenizer: &'e Tokenizer<'e>,
    options: &'e EncodeOptions<'e>,
    out: &'e mut [TokenId],
    /// Ids made so far; may exceed `out`, so that the exact need is known.
    count: usize,
}

impl Encoder<'_> {
    /// Appends an id unless it is "none".
    fn put(&mut self, id: u32) {
        if id == super::section::NONE {
            return;
        }
        if let Some(place) = self.out.get_mut(self.count) {
            *place = TokenId(id);
        }
        self.count += 1;
    }

    /// Whether an added token found at `range` of the text counts.
    fn is_parsed(&self, id: TokenId, range: Range<usize>) -> bool {
        if self.tokenizer.kind(id) != Kind::Control {
            return true;
        }
        let literal = self.options.literal;
        let after = literal.partition_point(|literal| literal.end <= range.start);
        let touches = literal.get(after).is_some_and(|literal| literal.start < range.end);
        self.options.parse_special && !touches
    }

    /// Encodes the piece that starts at byte `base` of the text.
    fn normalize(&mut self, piece: &str, base: usize, scratch: &mut [u32]) -> Option<()> {
        let front = base == 0;
        match self.tokenizer.header.normalizer {
            Normalizer::Nfc if !nfc::is_normalized(piece) => {
                let (text, rest) = scratch.split_at_mut_checked((piece.len() * nfc::MAX_EXPANSION).div_ceil(4))?;
                let text = bytemuck::cast_slice_mut(text);
                let len = nfc::normalize(piece, rest, text)?;
                let normalized = core::str::from_utf8(&text[..len]).ok()?;
                // Where in the piece a token was found is not known here, so a piece with literal text has no control tokens in form C.
                let whole = base..base + piece.len();
                self.extract(normalized, |_| whole.clone(), front, rest)
            }
            Normalizer::None | Normalizer::Nfc => self.extract(piece, |range| range.start + base..range.end + base, front, scratch),
            Normalizer::Spaces | Normalizer::PrependSpaces => {
                let prepend = self.tokenizer.header.normalizer == Normalizer::PrependSpaces && !(front && self.options.continues);
                let (text, rest) = scratch.split_at_mut_checked((piece.len() + 1).div_ceil(4))?;
                let text: &mut [u8] = bytemuck::cast_slice_mut(text);
                let mut len = 0;
                if prepend {
                    text[0] = b' ';
                    len = 1;
                }
                for part in piece.split_inclusive(LOWER_BLOCK) {
                    let kept = part.strip_suffix(LOWER_BLOCK);
                    let bytes = kept.unwrap_or(part).as_bytes();
                    text[len..len + bytes.len()].copy_from_slice(bytes);
                    len += bytes.len();
                    if kept.is_some() {
                        text[len] = b' ';
                        len += 1;
                    }
                }
                let normalized = core::str::from_utf8(&text[..len]).ok()?;
                let mut places = Places { piece, base, piece_at: 0, normalized_at: 0, prepended: prepend };
                self.extract(normalized, |range| places.source(range.start)..places.source(range.end), front, rest)
            }
        }
    }

    /// Cuts a normalised piece at added tokens. `source` gives the place in the text of a range of the piece; ranges rise. `front`: the text starts here.
    fn extract(
        &mut self,
        piece: &str,
        mut source: impl FnMut(Range<usize>) -> Range<usize>,
        front: bool,
        scratch: &mut [u32],
    ) -> Option<()> {
        let tokenizer = self.tokenizer;
        let mut parts = Parts::new(&tokenizer.normalized_added, piece);
        while let Some(part) = parts.next(|id, range| self.is_parsed(id, source(range))) {
            match part {
                Part::Token(id) => self.put(id.0),
                Part::Text(range) => self.split(&piece[range.clone()], front && range.start == 0, scratch)?,
            }
        }
        Some(())
    }

    /// Cuts a piece into words and merges each.
    fn split(&mut self, piece: &str, mut front: bool, scratch: &mut [u32]) -> Option<()> {
        let header = &self.tokenizer.header;
        let mut rest = piece;
        while !rest.is_empty() {
            let part_len = if header.isolate_digits { digit_part_len(rest) } else { rest.len() };
            let (mut part, after) = rest.split_at(part_len);
            rest = after;
            let has_space = part.starts_with(' ') || (header.model == ModelKind::SentencePiece && part.starts_with(LOWER_BLOCK));
            let mut lead = !has_space
                && match header.lead {
                    Lead::Never => false,
                    Lead::Pieces => !(front && self.options.continues),
                    Lead::Start => front && !self.options.continues,
                };
            front = false;
            while !part.is_empty() || lead {
                let (word, after) = part.split_at(word_len(header, lead, part));
                self.merge(lead, word, scratch)?;
                part = after;
                lead = false;
            }
        }
        Some(())
    }

    /// Encodes one word.
    fn merge(&mut self, lead: bool, text: &str, scratch: &mut [u32]) -> Option<()> {
        let tokenizer = self.tokenizer;
        if tokenizer.header.ignore_merges
            && !lead
            && let Some(id) = tokenizer.find(text.as_bytes())
        {
            self.put(id.0);
            return Some(());
        }
        let mut symbols = Symbols { tokenizer, word: Word::new(scratch), unknown: false };
        match tokenizer.header.model {
            ModelKind::ByteLevel => {
                for byte in lead.then_some(b' ').into_iter().chain(text.bytes()) {
                    symbols.push(tokenizer.byte_token(byte), &[])?;
                }
            }
            ModelKind::SentencePiece => {
                for character in lead.then_some(' ').into_iter().chain(text.chars()) {
                    let character = if character == LOWER_BLOCK { ' ' } else { character };
                    let mut bytes = [0; 4];
                    let bytes = character.encode_utf8(&mut bytes).as_bytes();
                    symbols.push(tokenizer.find(bytes), bytes)?;
                }
            }
        }
        symbols.flush_unknown()?;
        let mut word = symbols.word;
        word.merge_all(tokenizer);
        for id in word.ids() {
            self.put(id);
        }
        Some(())
    }
}

/// A word being filled.
struct Symbols<'s> {
    tokenizer: &'s Tokenizer<'s>,
    word: Word<'s>,
    /// An unknown token is due: before the next known symbol, or with further unknown ones.
    unknown: bool,
}

impl Symbols<'_> {
    /// Appends a symbol, or what stands for it if the vocabulary lacks it: the tokens of its bytes if all exist, else the unknown token, else nothing.
    fn push(&mut self, id: Option<TokenId>, bytes: &[u8]) -> Option<()> {
        if let Some(id) = id {
            self.flush_unknown()?;
            return self.word.push(id.0).then_some(());
        }
        if !bytes.is_empty() && bytes.iter().all(|&byte| self.tokenizer.byte_token(byte).is_some()) {
            for id in bytes.iter().filter_map(|&byte| self.tokenizer.byte_token(byte)) {
                self.word.push(id.0).then_some(())?;
            }
            return Some(());
        }
        if !self.tokenizer.header.fuse_unknown {
            self.flush_unknown()?;
        }
        self.unknown = self.tokenizer.unknown().is_some();
        Some(())
    }

    fn flush_unknown(&mut self) -> Option<()> {
        if core::mem::take(&mut self.unknown) {
            self.word.push(self.tokenizer.header.unknown).then_some(())?;
        }
        Some(())
    }
}

/// Maps places in a piece whose U+2581 became spaces back to places in the text. Asked in rising order, it takes linear time in all.
struct Places<'t> {
    piece: &'t str,
    base: usize,
    piece_at: usize,
    normalized_at: usize,
    prepended: bool,
}

impl Places<'_> {
    fn source(&mut self, normalized: usize) -> usize {
        let target = normalized.saturating_sub(usize::from(self.prepended));
        while self.normalized_at < target {
            let Some(character) = self.piece[self.piece_at..].chars().next() else {
                break;
            };
            self.piece_at += character.len_utf8();
            self.normalized_at += if character == LOWER_BLOCK { 1 } else { character.len_utf8() };
        }
        self.base + self.piece_at
    }
}

enum Part {
    Text(Range<usize>),
    Token(TokenId),
}

/// Cuts a text at the leftmost longest added tokens.
struct Parts<'t> {
    table: &'t AddedTable<'t>,
    text: &'t str,
    /// Where the next token is looked for.
    search: usize,
    /// Up to where the text is given out.
    done: usize,
    pending: Option<TokenId>,
    /// The last white space that a token took after itself: asked again inside, it is not scanned again.
    spaces: Range<usize>,
}

impl<'t> Parts<'t> {
    fn new(table: &'t AddedTable<'t>, text: &'t str) -> Self {
        let search = if table.len() == 0 { text.len() } else { 0 };
        Self { table, text, search, done: 0, pending: None, spaces: 0..0 }
    }

    /// The next part. A token that `is_parsed` refuses stays text, and the search goes on behind it.
    fn next(&mut self, mut is_parsed: impl FnMut(TokenId, Range<usize>) -> bool) -> Option<Part> {
        if let Some(id) = self.pending.take() {
            return Some(Part::Token(id));
        }
        while self.search < self.text.len() {
            let start = self.search;
            // Tokens are UTF-8, so a match can only start where a character does.
            let Some(token) = self.table.longest_prefix(&self.text.as_bytes()[start..]) else {
                self.search += 1;
                continue;
            };
            let end = start + token.text.len();
            self.search = end;
            if !is_parsed(token.id, start..end) {
                continue;
            }
            let text_end = if token.flags & ADDED_LSTRIP == 0 {
                start
            } else {
                let from = self.done.min(start);
                from + self.text[from..start].trim_end_matches(is_space).len()
            };
            let done = self.done;
            self.done = if token.flags & ADDED_RSTRIP == 0 { end } else { self.skip_spaces(end) };
            if done < text_end {
                self.pending = Some(token.id);
                return Some(Part::Text(done..text_end));
            }
            return Some(Part::Token(token.id));
        }
        let rest = self.done..self.text.len();
        self.done = self.text.len();
        (!rest.is_empty()).then_some(Part::Text(rest))
    }

    fn skip_spaces(&mut self, from: usize) -> usize {
        if !self.spaces.contains(&from) {
            let rest = &self.text[from..];
            self.spaces = from..from + rest.len() - rest.trim_start_matches(is_space).len();
        }
        self.spaces.end.max(from)
    }
}
