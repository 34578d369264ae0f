//! The tokenizer section: its layout, the checks on it, and the tables as they are read.
//!
//! [`Header`] is the meaning of the first bytes, shared by the reader here and the writer in the converter. The tables follow it in
//! one fixed order without gaps, so their places follow from the counts in the header and there is no offset to attack.
//! Reading never fails after [`Tokenizer::parse`]: all of these are checked there, in time linear in the section's length:
//! counts against the length, offsets, ids, UTF-8, order of everything that is searched, that a merge gives exactly the text of
//! its two sides (so that merging always ends), and that no merge and no lookup gives a control token.

use super::TokenId;

/// First four bytes of a section.
pub const MAGIC: [u8; 4] = *b"KTOK";
/// The version this reader knows.
pub const VERSION: u32 = 1;
/// Length of the header.
pub const HEADER_BYTES: usize = 80;
/// "No such token" in any field or table that holds an id.
pub const NONE: u32 = u32::MAX;
/// The longest token. It bounds every comparison, so that checking stays linear in the section's length.
pub const MAX_TOKEN_BYTES: usize = 1024;
/// One less than 2^24: the highest value of the tables that hold triples, so the most text and the most merges a section can have.
pub const MAX_TRIPLE: u32 = (1 << 24) - 1;
/// Bytes of an entry of an added-token table.
pub const ADDED_BYTES: usize = 16;
/// Added token: take the white space before it, too.
pub const ADDED_LSTRIP: u32 = 1;
/// Added token: take the white space after it, too.
pub const ADDED_RSTRIP: u32 = 2;

/// Declares a `u8` enum of the header with its checked conversion, so that the list of values is written once.
macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $value,)+ }

        impl $name {
            fn from_byte(byte: u8) -> Result<Self, TokenizerError> {
                match byte {
                    $($value => Ok(Self::$variant),)+
                    got => Err(TokenizerError::UnknownOption { option: stringify!($name), got }),
                }
            }
        }
    };
}

byte_enum! {
    /// What the first symbols of a word are.
    ModelKind {
        /// Bytes.
        ByteLevel = 0,
        /// Characters, with bytes for the characters that the vocabulary lacks. U+2581 and the space are one character, stored as a space.
        SentencePiece = 1,
    }
}
byte_enum! {
    /// What happens to the text between added tokens before anything else.
    Normalizer {
        /// Nothing.
        None = 0,
        /// Unicode normalisation form C.
        Nfc = 1,
        /// Spaces for U+2581; SentencePiece only.
        Spaces = 2,
        /// A space in front of any text that is not empty, and spaces for U+2581; SentencePiece only.
        PrependSpaces = 3,
    }
}
byte_enum! {
    /// How a piece of text is cut into words that no merge crosses.
    Split {
        /// One word.
        None = 0,
        /// The pattern of GPT-2.
        Gpt2 = 1,
        /// The pattern shared by Llama 3 and Qwen 2, with numbers of at most [`Header::max_digits`] digits.
        Llama3 = 2,
        /// A word starts at each space; SentencePiece only.
        Space = 3,
    }
}
byte_enum! {
    /// When splitting puts a space in front of a piece that does not start with one.
    Lead {
        /// Never.
        Never = 0,
        /// At each piece between added tokens.
        Pieces = 1,
        /// Only at the start of the text.
        Start = 2,
    }
}
byte_enum! {
    /// How tokens become text.
    DecoderKind {
        /// The bytes of all tokens, with U+FFFD for each maximal invalid part.
        ByteLevel = 0,
        /// Runs of byte tokens become their text if they are valid, else one U+FFFD per byte.
        ByteRuns = 1,
        /// The same, and a space at the start of the text is taken away.
        ByteRunsStrip = 2,
        /// Each token's text; all spaces of the first token are taken away.
        FirstTokenStrip = 3,
    }
}
byte_enum! {
    /// What a token is.
    Kind {
        /// An id without a token; decodes to nothing.
        Unused = 0,
        /// A piece of text.
        Normal = 1,
        /// One byte, spelled `<0x..>` in the vocabulary; SentencePiece only.
        Byte = 2,
        /// A control token, such as the end of a turn: never made from ordinary text.
        Control = 3,
        /// Text that is cut out as a whole before anything else.
        Added = 4,
    }
}

/// The header's meaning. Fields that hold ids hold [`NONE`] where there is no such token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of ids, including unused ones.
    pub vocab_size: u32,
    /// Length of the vocabulary's text.
    pub text_bytes: u32,
    /// Number of merges.
    pub merge_count: u32,
    /// Number of ids in the index.
    pub index_count: u32,
    /// Added tokens that are looked for in the text as given.
    pub raw_count: u32,
    /// Added tokens that are looked for in the normalised text.
    pub normalized_count: u32,
    /// Length of the added tokens' text.
    pub added_bytes: u32,
    /// Number of ids that end generation.
    pub end_count: u32,
    /// Beginning of text.
    pub bos: u32,
    /// For characters that the vocabulary cannot spell.
    pub unknown: u32,
    /// What the encoder puts before a text.
    pub prefix: u32,
    /// What the encoder puts after a text.
    pub suffix: u32,
    /// The result of the merge of rank 0, if the one of rank `r` is `first_result + r`; [`NONE`] if there is a table of results.
    pub first_result: u32,
    /// See [`ModelKind`].
    pub model: ModelKind,
    /// See [`Normalizer`].
    pub normalizer: Normalizer,
    /// See [`Split`].
    pub split: Split,
    /// Longest number of [`Split::Llama3`], 1 or 3; 0 otherwise.
    pub max_digits: u8,
    /// See [`Lead`].
    pub lead: Lead,
    /// See [`DecoderKind`].
    pub decoder: DecoderKind,
    /// Each digit is a word of its own, cut out before [`Header::split`] sees the rest.
    pub isolate_digits: bool,
    /// A word that is a token is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// A run of unknown characters is one unknown token.
    pub fuse_unknown: bool,
}

/// Reads the little-endian word at `at`; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word))
}

fn flag(name: &'static str, byte: u8) -> Result<bool, TokenizerError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(TokenizerError::UnknownOption { option: name, got }),
    }
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let words = [
            VERSION,
            self.vocab_size,
            self.text_bytes,
            self.merge_count,
            self.index_count,
            self.raw_count,
            self.normalized_count,
            self.added_bytes,
            self.end_count,
            self.bos,
            self.unknown,
            self.prefix,
            self.suffix,
            self.first_result,
        ];
        let options = [
            self.model as u8,
            self.normalizer as u8,
            self.split as u8,
            self.max_digits,
            self.lead as u8,
            self.decoder as u8,
            u8::from(self.isolate_digits),
            u8::from(self.ignore_merges),
            u8::from(self.fuse_unknown),
        ];
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[60..60 + options.len()].copy_from_slice(&options);
        bytes
    }

    /// Reads a header; the counts are not yet compared with anything.
    fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        if bytes.len() < HEADER_BYTES {
            return Err(TokenizerError::Length { expected: HEADER_BYTES as u64, got: bytes.len() as u64 });
        }
        if bytes[..4] != MAGIC {
            return Err(TokenizerError::Magic);
        }
        if word(bytes, 4) != VERSION {
            return Err(TokenizerError::Version { got: word(bytes, 4) });
        }
        if bytes[69..HEADER_BYTES].iter().any(|&byte| byte != 0) {
            return Err(TokenizerError::Reserved);
        }
        Ok(Self {
            vocab_size: word(bytes, 8),
            text_bytes: word(bytes, 12),
            merge_count: word(bytes, 16),
            index_count: word(bytes, 20),
            raw_count: word(bytes, 24),
            normalized_count: word(bytes, 28),
            added_bytes: word(bytes, 32),
            end_count: word(bytes, 36),
            bos: word(bytes, 40),
            unknown: word(bytes, 44),
            prefix: word(bytes, 48),
            suffix: word(bytes, 52),
            first_result: word(bytes, 56),
            model: ModelKind::from_byte(bytes[60])?,
            normalizer: Normalizer::from_byte(bytes[61])?,
            split: Split::from_byte(bytes[62])?,
            max_digits: bytes[63],
            lead: Lead::from_byte(bytes[64])?,
            decoder: DecoderKind::from_byte(bytes[65])?,
            isolate_digits: flag("isolate_digits", bytes[66])?,
            ignore_merges: flag("ignore_merges", bytes[67])?,
            fuse_unknown: flag("fuse_unknown", bytes[68])?,
        })
    }

    /// Options that exclude each other.
    fn check_options(&self) -> Result<(), TokenizerError> {
        let sentencepiece = self.model == ModelKind::SentencePiece;
        let spaces = matches!(self.normalizer, Normalizer::Spaces | Normalizer::PrependSpaces);
        let possible = match self.model {
            ModelKind::ByteLevel => {
                !spaces
                    && self.split != Split::Space
                    && self.lead != Lead::Start
                    && self.decoder == DecoderKind::ByteLevel
                    // A word with a space put in front is not in the text, so it cannot be looked up whole.
                    && !(self.ignore_merges && self.lead != Lead::Never)
            }
            ModelKind::SentencePiece => {
                self.normalizer != Normalizer::Nfc
                    && matches!(self.split, Split::None | Split::Space)
                    && self.decoder != DecoderKind::ByteLevel
                    && !self.isolate_digits
                    && !self.ignore_merges
            }
        };
        let digits = if self.split == Split::Llama3 { matches!(self.max_digits, 1 | 3) } else { self.max_digits == 0 };
        if possible && digits { Ok(()) } else { Err(TokenizerError::Options { sentencepiece }) }
    }

    /// Lengths of the tables in their order.
    fn table_bytes(&self) -> [u64; 12] {
        let ids = u64::from(self.vocab_size);
        let merges = u64::from(self.merge_count);
        let results = if self.first_result == NONE { merges } else { 0 };
        [
            (ids + 1) * 3,
            ids,
            u64::from(self.text_bytes),
            256 * 4,
            (ids + 1) * 3,
            merges * 6,
            results * 3,
            u64::from(self.index_count) * 3,
            u64::from(self.raw_count) * ADDED_BYTES as u64,
            u64::from(self.normalized_count) * ADDED_BYTES as u64,
            u64::from(self.added_bytes),
            u64::from(self.end_count) * 4,
        ]
    }
}

/// Why a section is refused. Numbers are positions in the table that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The section does not begin with [`MAGIC`].
    Magic,
    /// A version this reader does not know.
    Version {
        /// The version found.
        got: u32,
    },
    /// The section is not exactly as long as its header says.
    Length {
        /// By the header.
        expected: u64,
        /// The slice given.
        got: u64,
    },
    /// Another number of tokens than the model has.
    VocabularySize {
        /// The model's.
        expected: u32,
        /// The section's.
        got: u32,
    },
    /// A value that names no option.
    UnknownOption {
        /// The option.
        option: &'static str,
        /// The value found.
        got: u8,
    },
    /// Options that exclude each other.
    Options {
        /// Whether the model kind is SentencePiece.
        sentencepiece: bool,
    },
    /// Reserved bytes of the header are not zero.
    Reserved,
    /// A header field names a token that does not exist.
    HeaderToken {
        /// The id found.
        got: u32,
    },
    /// Offsets of the vocabulary's text fall, leave the text, leave part of it out, or make a token too long.
    TextOffset {
        /// The token.
        token: u32,
    },
    /// A token's kind is unknown, or its text does not fit its kind.
    TokenKind {
        /// The token.
        token: u32,
    },
    /// A token's text is not UTF-8 although the model is made of characters.
    TokenUtf8 {
        /// The token.
        token: u32,
    },
    /// A byte's token does not exist or is not that byte.
    ByteToken {
        /// The byte.
        byte: u8,
    },
    /// Offsets of the merge table fall, leave it, or leave part of it out.
    MergeOffset {
        /// The left token.
        left: u32,
    },
    /// The right sides of a left token's merges do not rise.
    MergeOrder {
        /// The merge.
        merge: u32,
    },
    /// A merge names a token that does not exist or may not take part, or a rank that does not exist.
    MergeToken {
        /// The merge.
        merge: u32,
    },
    /// A merge's result is not the text of its two sides.
    MergeText {
        /// The merge.
        merge: u32,
    },
    /// The index names a token that does not exist or may not be looked up.
    IndexToken {
        /// The position in the index.
        position: u32,
    },
    /// The texts of the index do not rise.
    IndexOrder {
        /// The position in the index.
        position: u32,
    },
    /// The space has no token although the model is made of characters.
    SpaceToken,
    /// An added token's id, kind, flags, text or parent is wrong.
    Added {
        /// The position among the added tokens.
        position: u32,
    },
    /// The texts of the added tokens do not rise.
    AddedOrder {
        /// The position among the added tokens.
        position: u32,
    },
    /// The end tokens do not exist or do not rise.
    EndToken {
        /// The position among the end tokens.
        position: u32,
    },
}

impl core::fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Magic => write!(f, "not a tokenizer section"),
            Self::Version { got } => write!(f, "tokenizer section version {got}, this reader knows {VERSION}"),
            Self::Length { expected, got } => {
                write!(f, "tokenizer section has {got} bytes, {expected} expected")
            }
            Self::VocabularySize { expected, got } => {
                write!(f, "the model has {expected} tokens, its tokenizer {got}")
            }
            Self::UnknownOption { option, got } => write!(f, "{option} has no value {got}"),
            Self::Options { sentencepiece } => {
                let kind = if sentencepiece { "SentencePiece" } else { "byte-level" };
                write!(f, "options that do not go together in a {kind} tokenizer")
            }
            Self::Reserved => write!(f, "reserved bytes are not zero"),
            Self::HeaderToken { got } => {
                write!(f, "the header names token {got}, which does not exist")
            }
            Self::TextOffset { token } => write!(f, "wrong text offset of token {token}"),
            Self::TokenKind { token } => write!(f, "kind and text of token {token} do not agree"),
            Self::TokenUtf8 { token } => write!(f, "text of token {token} is not UTF-8"),
            Self::ByteToken { byte } => write!(f, "wrong token for byte {byte:#04x}"),
            Self::MergeOffset { left } => write!(f, "wrong merge offset of token {left}"),
            Self::MergeOrder { merge } => write!(f, "merge {merge} is out of order"),
            Self::MergeToken { merge } => {
                write!(f, "merge {merge} names a token or rank that cannot be")
            }
            Self::MergeText { merge } => {
                write!(f, "merge {merge} does not give the text of its sides")
            }
            Self::IndexToken { position } => write!(f, "index entry {position} names a token that cannot be looked up"),
            Self::IndexOrder { position } => write!(f, "index entry {position} is out of order"),
            Self::SpaceToken => write!(f, "the space has no token"),
            Self::Added { position } => write!(f, "added token {position} is malformed"),
            Self::AddedOrder { position } => write!(f, "added token {position} is out of order"),
            Self::EndToken { position } => {
                write!(f, "end token {position} does not exist or is out of order")
            }
        }
    }
}

impl core::error::Error for TokenizerError {}

/// Little-endian numbers of `BYTES` bytes at any alignment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'m, const BYTES: usize>(&'m [[u8; BYTES]]);

/// Numbers that may be [`NONE`], in the small tables.
type Words<'m> = Numbers<'m, 4>;
/// Numbers up to [`MAX_TRIPLE`], in the tables that grow with the vocabulary.
type Triples<'m> = Numbers<'m, 3>;

impl<'m, const BYTES: usize> Numbers<'m, BYTES> {
    fn new(bytes: &'m [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    fn len(self) -> usize {
        self.0.len()
    }

    /// Number `at`; 0 beyond the end, which no checked section reaches.
    #[inline]
    fn get(self, at: usize) -> u32 {
        let mut word = [0; 4];
        if let Some(number) = self.0.get(at) {
            word[..BYTES].copy_from_slice(number);
        }
        u32::from_le_bytes(word)
    }
}

/// One of the two tables of added tokens, sorted by text.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddedTable<'m> {
    entries: Words<'m>,
    text: &'m [u8],
    /// Where the first entry's text starts.
    text_start: usize,
    /// Bit `b` of the set: some token starts with byte `b`.
    first_bytes: [u64; 4],
}

/// An added token as it is matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddedToken<'m> {
    pub(super) id: TokenId,
    pub(super) text: &'m [u8],
    pub(super) flags: u32,
    /// Position of the longest other token that this one starts with, or [`NONE`].
    parent: u32,
}

impl<'m> AddedTable<'m> {
    pub(super) fn len(&self) -> usize {
        self.entries.len() / 4
    }

    pub(super) fn get(&self, at: usize) -> AddedToken<'m> {
        let start = if at == 0 { self.text_start } else { self.entries.get(at * 4 - 3) as usize };
        let end = self.entries.get(at * 4 + 1) as usize;
        AddedToken {
            id: TokenId(self.entries.get(at * 4)),
            text: self.text.get(start..end).unwrap_or_default(),
            flags: self.entries.get(at * 4 + 2),
            parent: self.entries.get(at * 4 + 3),
        }
    }

    fn starts_with(&self, byte: u8) -> bool {
        self.first_bytes[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// The longest token that `text` starts with.
    ///
    /// The tokens that `text` starts with are all prefixes of one another, and the last of the tokens not above `text` in the order has each of them as
    /// a prefix. So one binary search finds that token, and its parents lead to the longest match.
    pub(super) fn longest_prefix(&self, text: &[u8]) -> Option<AddedToken<'m>> {
        let first = *text.first()?;
        if !self.starts_with(first) {
            return None;
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let token = self.get(middle).text;
            if token <= &text[..text.len().min(token.len())] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut token = self.get(low.checked_sub(1)?);
        let common = token.text.iter().zip(text).take_while(|(a, b)| a == b).count();
        while token.text.len() > common {
            if token.parent == NONE {
                return None;
            }
            token = self.get(token.parent as usize);
        }
        Some(token)
    }
}

/// A checked tokenizer section.
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'m> {
    pub(super) header: Header,
    text_offsets: Triples<'m>,
    kinds: &'m [u8],
    text: &'m [u8],
    byte_tokens: Words<'m>,
    merge_offsets: Triples<'m>,
    /// Right side and rank of each merge.
    merges: Triples<'m>,
    /// By rank; empty if [`Header::first_result`] says them.
    results: Triples<'m>,
    index: Triples<'m>,
    pub(super) raw_added: AddedTable<'m>,
    pub(super) normalized_added: AddedTable<'m>,
    ends: Words<'m>,
    longest_token: usize,
}

impl<'m> Tokenizer<'m> {
    /// Checks a section and borrows it. `vocab_size` is the number of tokens the model has.
    ///
    /// The bytes may have any alignment. The work is linear in their number.
    ///
    /// # Errors
    /// A [`TokenizerError`] for the first fault found. After `Ok`, no method of the tokenizer fails because of the section.
    pub fn parse(section: &'m [u8], vocab_size: u32) -> Result<Self, TokenizerError> {
        let header = Header::parse(section)?;
        header.check_options()?;
        if header.vocab_size != vocab_size {
            return Err(TokenizerError::VocabularySize { expected: vocab_size, got: header.vocab_size });
        }
        let sizes = header.table_bytes();
        let expected = HEADER_BYTES as u64 + sizes.iter().sum::<u64>();
        if expected != section.len() as u64 {
            return Err(TokenizerError::Length { expected, got: section.len() as u64 });
        }
        let mut rest = &section[HEADER_BYTES..];
        // The sizes add up to the length of a slice, so each fits usize and the splits are inside.
        let tables = sizes.map(|size| {
            let (table, after) = rest.split_at_checked(size as usize).unwrap_or_default();
            rest = after;
            table
        });
        let [text_offsets, kinds, text, byte_tokens, merge_offsets, merges, results, index, raw, normalized, added_text, ends] = tables;
        let table = |bytes, text_start| AddedTable { entries: Words::new(bytes), text: added_text, text_start, first_bytes: [0; 4] };
        let raw_added = table(raw, 0);
        let raw_end = raw_added.len().checked_sub(1).map_or(0, |last| raw_added.entries.get(last * 4 + 1));
        let mut tokenizer = Self {
            header,
            text_offsets: Triples::new(text_offsets),
            kinds,
            text,
            byte_tokens: Words::new(byte_tokens),
            merge_offsets: Triples::new(merge_offsets),
            merges: Triples::new(merges),
            results: Triples::new(results),
            index: Triples::new(index),
            raw_added,
            normalized_added: table(normalized, raw_end as usize),
            ends: Words::new(ends),
            longest_token: 0,
        };
        tokenizer.longest_token = tokenizer.check_vocabulary()?;
        tokenizer.check_header_tokens()?;
        tokenizer.check_byte_tokens()?;
        tokenizer.check_merges()?;
        tokenizer.check_index()?;
        tokenizer.raw_added.first_bytes = tokenizer.check_added(&tokenizer.raw_added, 0)?;
        tokenizer.normalized_added.first_bytes = tokenizer.check_added(&tokenizer.normalized_added, header.raw_count)?;
        let added_end = if header.normalized_count == 0 {
            raw_end
        } else {
            tokenizer.normalized_added.entries.get(header.normalized_count as usize * 4 - 3)
        };
        if added_end != header.added_bytes {
            return Err(TokenizerError::Added { position: header.raw_count.saturating_add(header.normalized_count) });
        }
        tokenizer.check_ends()?;
        Ok(tokenizer)
    }

    /// Returns the length of the longest token.
    fn check_vocabulary(&self) -> Result<usize, TokenizerError> {
        let (mut start, mut longest) = (0, 0);
        if self.text_offsets.get(0) != 0 {
            return Err(TokenizerError::TextOffset { token: 0 });
        }
        for token in 0..self.header.vocab_size {
            let end = self.text_offsets.get(token as usize + 1) as usize;
            let text = match self.text.get(start..end) {
                Some(text) if text.len() <= MAX_TOKEN_BYTES => text,
                _ => return Err(TokenizerError::TextOffset { token }),
            };
            start = end;
            longest = longest.max(text.len());
            let sentencepiece = self.header.model == ModelKind::SentencePiece;
            let kind = self.kinds.get(token as usize).map(|&kind| Kind::from_byte(kind));
            let fits = match kind {
                Some(Ok(Kind::Unused)) => text.is_empty(),
                Some(Ok(Kind::Normal | Kind::Control | Kind::Added)) => !text.is_empty(),
                Some(Ok(Kind::Byte)) => sentencepiece && text.len() == 1,
                _ => false,
            };
            if !fits {
                return Err(TokenizerError::TokenKind { token });
            }
            if sentencepiece && kind != Some(Ok(Kind::Byte)) && core::str::from_utf8(text).is_err() {
                return Err(TokenizerError::TokenUtf8 { token });
            }
        }
        if start != self.text.len() {
            return Err(TokenizerError::TextOffset { token: self.header.vocab_size });
        }
        Ok(longest)
    }

    fn check_header_tokens(&self) -> Result<(), TokenizerError> {
        let header = &self.header;
        for got in [header.bos, header.unknown, header.prefix, header.suffix, header.first_result] {
            if got != NONE && self.kind(TokenId(got)) == Kind::Unused {
                return Err(TokenizerError::HeaderToken { got });
            }
        }
        Ok(())
    }

    fn check_byte_tokens(&self) -> Result<(), TokenizerError> {
        let expected = match self.header.model {
            ModelKind::ByteLevel => Kind::Normal,
            ModelKind::SentencePiece => Kind::Byte,
        };
        for byte in 0..=255 {
            let id = self.byte_tokens.get(usize::from(byte));
            let right = self.kind(TokenId(id)) == expected && self.bytes(TokenId(id)) == [byte];
            if id != NONE && !right {
                return Err(TokenizerError::ByteToken { byte });
            }
        }
        Ok(())
    }

    fn check_merges(&self) -> Result<(), TokenizerError> {
        let mut start = 0;
        if self.merge_offsets.get(0) != 0 {
            return Err(TokenizerError::MergeOffset { left: 0 });
        }
        for left in 0..self.header.vocab_size {
            let end = self.merge_offsets.get(left as usize + 1);
            if end < start || end > self.header.merge_count {
                return Err(TokenizerError::MergeOffset { left });
            }
            let mut before = None;
            for merge in start..end {
                let (right, rank) = self.merge_entry(merge);
                let result = self.result(rank);
                if before.is_some_and(|before| before >= right) {
                    return Err(TokenizerError::MergeOrder { merge });
                }
                before = Some(right);
                let side = |id| matches!(self.kind(TokenId(id)), Kind::Normal | Kind::Byte | Kind::Added);
                let made = matches!(self.kind(TokenId(result)), Kind::Normal | Kind::Added);
                if !(side(left) && side(right) && made && rank < self.header.merge_count) {
                    return Err(TokenizerError::MergeToken { merge });
                }
                let (left, right) = (self.bytes(TokenId(left)), self.bytes(TokenId(right)));
                let rest = self.bytes(TokenId(result)).strip_prefix(left);
                if rest != Some(right) {
                    return Err(TokenizerError::MergeText { merge });
                }
            }
            start = end;
        }
        if start != self.header.merge_count {
            return Err(TokenizerError::MergeOffset { left: self.header.vocab_size });
        }
        Ok(())
    }

    fn check_index(&self) -> Result<(), TokenizerError> {
        let mut before: &[u8] = &[];
        for position in 0..self.header.index_count {
            let id = TokenId(self.index.get(position as usize));
            if !matches!(self.kind(id), Kind::Normal | Kind::Added) {
                return Err(TokenizerError::IndexToken { position });
            }
            let text = self.bytes(id);
            if text <= before {
                return Err(TokenizerError::IndexOrder { position });
            }
            before = text;
        }
        if self.header.model == ModelKind::SentencePiece && self.find(b" ").is_none() {
            return Err(TokenizerError::SpaceToken);
        }
        Ok(())
    }

    /// Checks one table, whose first entry is number `first` among all added tokens, and returns the set of first bytes.
    fn check_added(&self, table: &AddedTable<'m>, first: u32) -> Result<[u64; 4], TokenizerError> {
        let mut first_bytes = [0; 4];
        let mut start = table.text_start;
        for at in 0..table.len() {
            let position = first + at as u32;
            let end = table.entries.get(at * 4 + 1) as usize;
            let token = table.get(at);
            let kind = self.kind(token.id);
            // A checked length keeps `longest_prefix` bounded, and the text must be what `start..end` says.
            let text_fits = end > start && end - start <= MAX_TOKEN_BYTES && token.text.len() == end - start;
            let known = matches!(kind, Kind::Control | Kind::Added) && token.flags & !(ADDED_LSTRIP | ADDED_RSTRIP) == 0;
            if !text_fits || !known || core::str::from_utf8(token.text).is_err() {
                return Err(TokenizerError::Added { position });
            }
            if at > 0 && token.text <= table.get(at - 1).text {
                return Err(TokenizerError::AddedOrder { position });
            }
            // Going up from the entry before, the first prefix met is the longest: that is what the parent must be.
            // Each entry climbed over is shorter than the one before it, so a token's length bounds the climb.
            let mut parent = if at == 0 { NONE } else { at as u32 - 1 };
            while parent != NONE && !token.text.starts_with(table.get(parent as usize).text) {
                parent = table.get(parent as usize).parent;
            }
            if token.parent != parent {
                return Err(TokenizerError::Added { position });
            }
            first_bytes[usize::from(token.text[0] >> 6)] |= 1 << (token.text[0] & 63);
            start = end;
        }
        Ok(first_bytes)
    }

    fn check_ends(&self) -> Result<(), TokenizerError> {
        for position in 0..self.header.end_count {
            let id = self.ends.get(position as usize);
            let rises = position == 0 || self.ends.get(position as usize - 1) < id;
            if !rises || self.kind(TokenId(id)) == Kind::Unused {
                return Err(TokenizerError::EndToken { position });
            }
        }
        Ok(())
    }

    /// Number of ids, including unused ones.
    #[must_use]
    pub fn vocab_size(&self) -> u32 {
        self.header.vocab_size
    }

    /// What a token is; [`Kind::Unused`] for an id outside the vocabulary.
    #[must_use]
    pub fn kind(&self, id: TokenId) -> Kind {
        self.kinds.get(id.0 as usize).and_then(|&kind| Kind::from_byte(kind).ok()).unwrap_or(Kind::Unused)
    }

    /// The bytes that a token stands for in decoded text: any bytes in a byte-level tokenizer, otherwise UTF-8 except for
    /// [`Kind::Byte`]. Empty for an unused id.
    #[must_use]
    pub fn bytes(&self, id: TokenId) -> &'m [u8] {
        if id.0 >= self.header.vocab_size {
            return &[];
        }
        let (start, end) = (self.text_offsets.get(id.0 as usize), self.text_offsets.get(id.0 as usize + 1));
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Length of the longest token's bytes.
    #[must_use]
    pub fn longest_token(&self) -> usize {
        self.longest_token
    }

    /// The token that begins a text, if the model has one; whether [`encode`](Self::encode) adds it is another question ([`adds_bos`](Self::adds_bos)).
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        token(self.header.bos)
    }

    /// Whether a text is encoded with the beginning token in front, unless the caller says no.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.header.prefix != NONE && self.header.prefix == self.header.bos
    }

    /// The token for what the vocabulary cannot spell.
    #[must_use]
    pub fn unknown(&self) -> Option<TokenId> {
        token(self.header.unknown)
    }

    /// The tokens that end generation, in rising order.
    pub fn ends(&self) -> impl ExactSizeIterator<Item = TokenId> + use<'m> {
        self.ends.0.iter().map(|word| TokenId(u32::from_le_bytes(*word)))
    }

    /// Whether a token ends generation.
    #[must_use]
    pub fn is_end(&self, id: TokenId) -> bool {
        self.ends().any(|end| end == id)
    }

    /// The id of an added token's or an ordinary token's text, such as `<|im_end|>`.
    #[must_use]
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        for table in [&self.raw_added, &self.normalized_added] {
            match table.longest_prefix(text.as_bytes()) {
                Some(token) if token.text.len() == text.len() => return Some(token.id),
                _ => {}
            }
        }
        self.find(text.as_bytes())
    }

    /// The token of the index with exactly these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<TokenId> {
        let (mut low, mut high) = (0, self.header.index_count as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            let id = TokenId(self.index.get(middle));
            match self.bytes(id).cmp(bytes) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Equal => return Some(id),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The token of a byte.
    pub(super) fn byte_token(&self, byte: u8) -> Option<TokenId> {
        token(self.byte_tokens.get(usize::from(byte)))
    }

    /// Right side and rank of a merge.
    fn merge_entry(&self, merge: u32) -> (u32, u32) {
        let at = merge as usize * 2;
        (self.merges.get(at), self.merges.get(at + 1))
    }

    /// The rank of the merge of two tokens.
    pub(super) fn rank(&self, left: u32, right: u32) -> Option<u32> {
        let (mut low, mut high) = (self.merge_offsets.get(left as usize), self.merge_offsets.get(left as usize + 1));
        while low < high {
            let middle = low + (high - low) / 2;
            let (candidate, rank) = self.merge_entry(middle);
            match candidate.cmp(&right) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Equal => return Some(rank),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The token that the merge of a rank makes.
    pub(super) fn result(&self, rank: u32) -> u32 {
        match self.header.first_result {
            NONE => self.results.get(rank as usize),
            // No token has the highest number, so a sum that stays there fails the check.
            first => first.saturating_add(rank),
        }
    }
}

fn token(id: u32) -> Option<TokenId> {
    (id != NONE).then_some(TokenId(id))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An empty byte-level tokenizer's header.
    pub(in crate::tokenizer) fn header() -> Header {
        Header {
            vocab_size: 0,
            text_bytes: 0,
            merge_count: 0,
            index_count: 0,
            raw_count: 0,
            normalized_count: 0,
            added_bytes: 0,
            end_count: 0,
            bos: NONE,
            unknown: NONE,
            prefix: NONE,
            suffix: NONE,
            first_result: NONE,
            model: ModelKind::ByteLevel,
            normalizer: Normalizer::None,
            split: Split::None,
            max_digits: 0,
            lead: Lead::Never,
            decoder: DecoderKind::ByteLevel,
            isolate_digits: false,
            ignore_merges: false,
            fuse_unknown: false,
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header { vocab_size: 7, suffix: 3, split: Split::Llama3, max_digits: 3, fuse_unknown: true, ..header() };
        assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
    }
}
