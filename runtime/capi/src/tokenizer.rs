//! Tokenizers: text to tokens and back.

use crate::handle::{self, Block, Handle, Object, Rest};
use crate::model::{Parent, kgl_model};
use crate::place::{self, result, slice_mut};
use crate::room::Room;
use crate::session::{kgl_token, tokens};
use crate::sized::{self, Versioned};
use crate::status::{Fault, kgl_error, kgl_status, report};
use core::ffi::{c_char, c_void};
use core::ops::Range;
use kinglet::format::Section;
use kinglet::session::{PlanError, SessionError};
use kinglet::tokenizer::chat::{ChatTemplate, Message, Role};
use kinglet::tokenizer::section::Kind;
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeError, EncodeOptions, TokenId, Tokenizer};

/// No token.
pub const KGL_TOKEN_NONE: kgl_token = u32::MAX;

/// To tokenize: add what the model expects around a text, such as the token that begins it.
pub const KGL_TEXT_ADD_SPECIAL: u32 = 1;
/// To tokenize: text that spells a control token becomes that token. Not for text that comes from outside.
pub const KGL_TEXT_PARSE_SPECIAL: u32 = 2;
/// Both ways: the text goes on from earlier text, so that nothing is put in front of it, and its first space stays.
pub const KGL_TEXT_CONTINUES: u32 = 4;
/// To make text: control tokens are shown in it.
pub const KGL_TEXT_SHOW_SPECIAL: u32 = 8;

const TOKENIZE: u32 = KGL_TEXT_ADD_SPECIAL | KGL_TEXT_PARSE_SPECIAL | KGL_TEXT_CONTINUES;
const DETOKENIZE: u32 = KGL_TEXT_CONTINUES | KGL_TEXT_SHOW_SPECIAL;

/// A model's tokenizer and its chat format, with working memory. One thread at a time.
pub struct kgl_tokenizer {
    _opaque: [u8; 0],
}

/// How a tokenizer is made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_tokenizer_params {
    /// Bytes of this struct.
    pub size: usize,
    /// In the caller's memory: bytes of the longest text, or rendered conversation, that is sure to be tokenized. The system's
    /// memory takes what a text needs.
    pub text_bytes: usize,
    /// In the caller's memory: messages of a conversation, at most.
    pub messages: usize,
    /// Where the tokenizer lies until it is freed, as many bytes as `kgl_tokenizer_plan` says; NULL: in memory of the system's.
    pub memory: *mut c_void,
    /// Bytes of `memory`.
    pub memory_bytes: usize,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_tokenizer_params {}

/// Texts of 4,096 bytes and 32 messages in the caller's memory.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_tokenizer_params_default() -> kgl_tokenizer_params {
    let size = size_of::<kgl_tokenizer_params>();
    kgl_tokenizer_params { size, text_bytes: 4096, messages: 32, memory: core::ptr::null_mut(), memory_bytes: 0 }
}

/// What a tokenizer is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_tokenizer_info {
    /// Bytes of this struct.
    pub size: usize,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// The token that begins a text, or `KGL_TOKEN_NONE`.
    pub begin: kgl_token,
    /// The token for what the vocabulary cannot spell, or `KGL_TOKEN_NONE`.
    pub unknown: kgl_token,
    /// Bytes of the longest token.
    pub longest_token_bytes: u32,
    /// Whether `KGL_TEXT_ADD_SPECIAL` puts `begin` in front.
    pub adds_begin: bool,
    /// Whether there is a chat format.
    pub has_chat: bool,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_tokenizer_info {}

/// An info that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_tokenizer_info_default() -> kgl_tokenizer_info {
    kgl_tokenizer_info {
        size: size_of::<kgl_tokenizer_info>(),
        vocab: 0,
        begin: KGL_TOKEN_NONE,
        unknown: KGL_TOKEN_NONE,
        longest_token_bytes: 0,
        adds_begin: false,
        has_chat: false,
    }
}

/// What a token is for.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_token_kind {
    /// It stands for text.
    KGL_TOKEN_NORMAL = 0,
    /// It is for the model, not for people.
    KGL_TOKEN_CONTROL = 1,
    /// It is one byte of a character.
    KGL_TOKEN_BYTE = 2,
    /// The vocabulary has a gap here.
    KGL_TOKEN_UNUSED = 3,
    /// It stands for text that is cut out as a whole before anything else.
    KGL_TOKEN_ADDED = 4,
}

/// What a token is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_token_info {
    /// Bytes of this struct.
    pub size: usize,
    /// The bytes that it stands for, in the model's file; no 0 ends them, and they may be a part of a character.
    pub text: *const c_char,
    /// How many.
    pub text_bytes: usize,
    /// What it is for.
    pub kind: kgl_token_kind,
    /// Whether it ends a text.
    pub is_end: bool,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_token_info {}

/// An info that says nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_token_info_default() -> kgl_token_info {
    let (size, text) = (size_of::<kgl_token_info>(), core::ptr::null());
    kgl_token_info { size, text, text_bytes: 0, kind: kgl_token_kind::KGL_TOKEN_UNUSED, is_end: false }
}

/// Most stop texts of a generation.
pub const KGL_STOPS: usize = 16;
/// Most bytes of a stop text.
pub const KGL_STOP_BYTES: usize = 256;

/// What stands where no message does.
pub(crate) const NOTHING: Message<'static> = Message { role: Role::User, content: "" };

/// Where conversations are put together.
#[derive(Debug, Default)]
pub(crate) struct Paper {
    pub(crate) messages: &'static mut [Message<'static>],
    pub(crate) literal: &'static mut [Range<usize>],
    pub(crate) text: &'static mut [u8],
}

/// A tokenizer and its working memory.
pub(crate) struct Texts {
    pub(crate) tokenizer: &'static Tokenizer<'static>,
    pub(crate) chat: Option<ChatTemplate<'static>>,
    decoder: Decoder<'static>,
    /// The text of a token, ended by a 0.
    piece: &'static mut [u8],
    /// What a generation knows to be its text, ended by a 0.
    pub(crate) decided: &'static mut [u8],
    scratch: &'static mut [u32],
    /// Bytes of a text for which the scratch surely suffices.
    text_bytes: usize,
    paper: Paper,
    /// The system has more than these.
    grows: bool,
    _parent: Parent,
}

impl Object for Texts {
    const MAGIC: u32 = u32::from_le_bytes(*b"KGLt");
    const NAME: &'static str = "tokenizer";
}

/// Elements of the working memory.
struct Lens {
    piece: usize,
    decided: usize,
    scratch: usize,
    text: usize,
    messages: usize,
}

impl Lens {
    fn new(tokenizer: &'static Tokenizer<'static>, params: &kgl_tokenizer_params, is_systems: bool) -> Self {
        let piece = Decoder::new(tokenizer, DecodeOptions::default()).buffer_bytes() + 1;
        let decided = piece + KGL_STOP_BYTES;
        match is_systems {
            true => Self { piece, decided, scratch: 0, text: 0, messages: 0 },
            false => {
                let (text, messages) = (params.text_bytes, params.messages);
                Self { piece, decided, scratch: tokenizer.scratch_words(text), text, messages }
            }
        }
    }

    fn block_bytes(&self) -> Result<usize, Fault<'static>> {
        let bytes = handle::sum([
            (self.piece, 1),
            (self.decided, 1),
            (self.scratch, size_of::<u32>()),
            (self.text, 1),
            (self.messages, size_of::<Message<'_>>()),
            (self.messages, size_of::<Range<usize>>()),
        ]);
        let bytes = bytes.and_then(handle::block_bytes::<Texts>).filter(|bytes| *bytes <= isize::MAX as usize);
        bytes.ok_or(Fault::Plan(PlanError::TooLarge))
    }
}

impl Texts {
    fn new(parent: Parent, lens: &Lens, rest: &mut Rest, grows: bool) -> Result<Self, Fault<'static>> {
        let tokenizer = tokenizer(&parent)?;
        let chat = match parent.model().container().section(Section::Chat) {
            [] => None,
            section => Some(ChatTemplate::parse(section).map_err(Fault::Chat)?),
        };
        Ok(Self {
            tokenizer,
            chat,
            decoder: Decoder::new(tokenizer, DecodeOptions::default()),
            piece: rest.take(lens.piece, 0)?,
            decided: rest.take(lens.decided, 0)?,
            scratch: rest.take(lens.scratch, 0)?,
            text_bytes: lens.text,
            paper: Paper {
                messages: rest.take(lens.messages, NOTHING)?,
                literal: rest.take(lens.messages, 0..0)?,
                text: rest.take(lens.text, 0)?,
            },
            grows,
            _parent: parent,
        })
    }

    /// Tokenizes; the scratch grows until it suffices, if it can.
    pub(crate) fn encode(&mut self, text: &str, options: &EncodeOptions<'_>, out: &mut [TokenId]) -> Result<usize, Fault<'static>> {
        const FIRST_WORDS: usize = 4096;
        let most = self.tokenizer.scratch_words(text.len());
        let mut words = most.min(FIRST_WORDS).max(self.scratch.len());
        loop {
            let mut scratch = Room::new(self.scratch, words, 0, self.grows)?;
            match self.tokenizer.encode(text, options, &mut scratch, out) {
                Ok(count) => return Ok(count),
                Err(EncodeError::Scratch(_)) if self.grows && words < most => words = words.saturating_mul(8).min(most),
                Err(EncodeError::Scratch(_)) => {
                    return Err(Fault::TooLong { what: "bytes of the text", most: self.text_bytes, got: text.len() });
                }
                Err(EncodeError::Output(size)) => return Err(Fault::TooSmall { what: "tokens", needed: size.needed, got: size.got }),
                Err(_) => return Err(Fault::TooLong { what: "bytes of the text", most: (1 << 28) - 1, got: text.len() }),
            }
        }
    }

    /// Lends out the paper, and whether the system has more; what was said in messages is not kept.
    pub(crate) fn lend<R>(&mut self, work: impl FnOnce(&mut Self, &mut Paper, bool) -> R) -> R {
        let (mut paper, grows) = (core::mem::take(&mut self.paper), self.grows);
        let result = work(self, &mut paper, grows);
        paper.messages.fill(NOTHING);
        self.paper = paper;
        result
    }

    /// Begins a text.
    pub(crate) fn start(&mut self, options: DecodeOptions) {
        self.decoder = Decoder::new(self.tokenizer, options);
    }

    /// Adds a token to the text, or ends it. What is known to be its text now stands in `piece`, ended by a 0.
    pub(crate) fn push(&mut self, token: Option<TokenId>) -> Result<&str, Fault<'static>> {
        let end = self.piece.len() - 1;
        let out = &mut self.piece[..end];
        let len = match token {
            Some(token) => {
                self.check(token)?;
                let out = &mut self.piece[..end];
                self.decoder.push(token, out)
            }
            None => self.decoder.finish(out),
        };
        // The buffer is as long as the decoder asks for.
        let len = len.map(str::len).map_err(|e| Fault::TooSmall { what: "text", needed: e.needed, got: e.got })?;
        self.piece[len] = 0;
        Ok(core::str::from_utf8(&self.piece[..len]).unwrap_or_default())
    }

    fn check(&self, token: TokenId) -> Result<(), Fault<'static>> {
        let vocab = self.tokenizer.vocab_size();
        if token.0 < vocab { Ok(()) } else { Err(Fault::Session(SessionError::Token { got: token, vocab })) }
    }
}

fn tokenizer(parent: &Parent) -> Result<&'static Tokenizer<'static>, Fault<'static>> {
    parent.model().tokenizer().ok_or(Fault::NoTokenizer { what: "tokenizer" })
}

fn flags(got: u32, known: u32) -> Result<u32, Fault<'static>> {
    match got & !known {
        0 => Ok(got),
        _ => Err(Fault::Argument { what: "flags", expected: "a sum of KGL_TEXT_ numbers that this call knows", got: got.into() }),
    }
}

fn decoding(got: u32) -> Result<DecodeOptions, Fault<'static>> {
    let flags = flags(got, DETOKENIZE)?;
    Ok(DecodeOptions { skip_special: flags & KGL_TEXT_SHOW_SPECIAL == 0, continues: flags & KGL_TEXT_CONTINUES != 0 })
}

/// Tells the exact memory of a tokenizer of a model with these parameters, for those who bring it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_plan(
    model: *const kgl_model,
    params: *const kgl_tokenizer_params,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, parent) = unsafe { (place::start(bytes, 0, "bytes")?, Parent::of(model)?) };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_tokenizer_params_default())? };
        *bytes = Lens::new(tokenizer(&parent)?, &params, false).block_bytes()?;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Makes a tokenizer of a model whose file has one. The model must not be freed before it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_new(
    model: *const kgl_model,
    params: *const kgl_tokenizer_params,
    out: *mut *mut kgl_tokenizer,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let out = unsafe { result(out, "out")? };
        // SAFETY: the caller's duty.
        let parent = unsafe { Parent::of(model)? };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_tokenizer_params_default())? };
        let grows = params.memory.is_null();
        let lens = Lens::new(tokenizer(&parent)?, &params, grows);
        // SAFETY: the caller's duty.
        let block = unsafe { Block::new(params.memory, params.memory_bytes, lens.block_bytes()?, "params.memory")? };
        // SAFETY: the block is new and was made for one.
        let (place, mut rest) = unsafe { block.split::<Texts>() };
        handle::put(place, block, Texts::new(parent, &lens, &mut rest, grows)?, out);
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Frees a tokenizer and makes the caller's pointer NULL. `tokenizer` or `*tokenizer` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_free(tokenizer: *mut *mut kgl_tokenizer, error: *mut kgl_error) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { report(error, || handle::free(tokenizer, |_: &Texts| Ok(()))) }
}

/// Tells what a tokenizer is. `out` is made by `kgl_tokenizer_info_default()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_get_info(
    tokenizer: *const kgl_tokenizer,
    out: *mut kgl_tokenizer_info,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let texts = unsafe { Handle::<Texts>::of(tokenizer)? }.enter()?;
        let id = |token: Option<TokenId>| token.map_or(KGL_TOKEN_NONE, |token| token.0);
        let info = kgl_tokenizer_info {
            vocab: texts.tokenizer.vocab_size(),
            begin: id(texts.tokenizer.bos()),
            unknown: id(texts.tokenizer.unknown()),
            longest_token_bytes: texts.tokenizer.longest_token() as u32,
            adds_begin: texts.tokenizer.adds_bos(),
            has_chat: texts.chat.is_some(),
            ..kgl_tokenizer_info_default()
        };
        // SAFETY: the caller's duty.
        unsafe { sized::write(out, "info", info) }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Tells what a token is. `out` is made by `kgl_token_info_default()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_token_get_info(
    tokenizer: *const kgl_tokenizer,
    token: kgl_token,
    out: *mut kgl_token_info,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let texts = unsafe { Handle::<Texts>::of(tokenizer)? }.enter()?;
        let token = TokenId(token);
        texts.check(token)?;
        let bytes = texts.tokenizer.bytes(token);
        let kind = match texts.tokenizer.kind(token) {
            Kind::Normal => kgl_token_kind::KGL_TOKEN_NORMAL,
            Kind::Control => kgl_token_kind::KGL_TOKEN_CONTROL,
            Kind::Byte => kgl_token_kind::KGL_TOKEN_BYTE,
            Kind::Added => kgl_token_kind::KGL_TOKEN_ADDED,
            Kind::Unused => kgl_token_kind::KGL_TOKEN_UNUSED,
        };
        let is_end = texts.tokenizer.is_end(token);
        let info = kgl_token_info { text: bytes.as_ptr().cast(), text_bytes: bytes.len(), kind, is_end, ..kgl_token_info_default() };
        // SAFETY: the caller's duty.
        unsafe { sized::write(out, "info", info) }
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Finds the token of exactly this text, such as `<|im_end|>`. `bytes` may be `KGL_TERMINATED`. If there is none:
/// `KGL_ERROR_NOT_FOUND`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_token_find(
    tokenizer: *const kgl_tokenizer,
    text: *const c_char,
    bytes: usize,
    token: *mut kgl_token,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (token, texts) = unsafe { (place::start(token, KGL_TOKEN_NONE, "token")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        // SAFETY: the caller's duty.
        let text = unsafe { place::text(text, bytes, "text")? };
        *token = texts.tokenizer.token_id(text).ok_or(Fault::NotFound { what: "token" })?.0;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Turns a text of UTF-8 into tokens. `bytes` may be `KGL_TERMINATED`; `flags` is a sum of `KGL_TEXT_` numbers. `*count` is the number
/// of tokens, also after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_count` 0 it only tells that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenize(
    tokenizer: *mut kgl_tokenizer,
    text: *const c_char,
    bytes: usize,
    flags: u32,
    out: *mut kgl_token,
    out_count: usize,
    count: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (count, mut texts) = unsafe { (place::start(count, 0, "count")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        let flags = self::flags(flags, TOKENIZE)?;
        // SAFETY: the caller's duty; a TokenId is the number and nothing else.
        let (text, out) = unsafe { (place::text(text, bytes, "text")?, slice_mut(out.cast::<TokenId>(), out_count, "out")?) };
        let options = EncodeOptions {
            parse_special: flags & KGL_TEXT_PARSE_SPECIAL != 0,
            literal: &[],
            add_special: flags & KGL_TEXT_ADD_SPECIAL != 0,
            continues: flags & KGL_TEXT_CONTINUES != 0,
        };
        counted(count, texts.encode(text, &options, out))
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Tells a number of elements that were written, or that are needed.
pub(crate) fn counted(count: &mut usize, result: Result<usize, Fault<'static>>) -> Result<(), Fault<'static>> {
    match &result {
        Ok(n) | Err(Fault::TooSmall { needed: n, .. }) => *count = *n,
        Err(_) => {}
    }
    result.map(drop)
}

/// Turns tokens into text: UTF-8, ended by a 0; what is no character becomes U+FFFD. `flags` is a sum of `KGL_TEXT_` numbers. `*bytes` is the text's length without
/// the 0, for which one more is needed, also after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_bytes` 0 it only tells that. A text begun by
/// `kgl_tokenizer_start` is not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_detokenize(
    tokenizer: *mut kgl_tokenizer,
    tokens: *const kgl_token,
    count: usize,
    flags: u32,
    out: *mut c_char,
    out_bytes: usize,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, mut texts) = unsafe { (place::start(bytes, 0, "bytes")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        let options = decoding(flags)?;
        // SAFETY: the caller's duty.
        let (tokens, out) = unsafe { (self::tokens(tokens, count)?, slice_mut(out.cast::<u8>(), out_bytes, "out")?) };
        let streamed = texts.decoder.clone();
        texts.start(options);
        let mut len = 0;
        let mut put = |piece: Result<&str, Fault<'static>>| {
            let piece = piece?;
            if let Some(place) = out.get_mut(len..len + piece.len()) {
                place.copy_from_slice(piece.as_bytes());
            }
            len += piece.len();
            Ok(())
        };
        let all = tokens.iter().map(|token| Some(*token)).chain([None]).try_for_each(|token| put(texts.push(token)));
        texts.decoder = streamed;
        all?;
        *bytes = len;
        match out.get_mut(len) {
            Some(end) => *end = 0,
            None => {
                // No text without an end.
                out.fill(0);
                return Err(Fault::TooSmall { what: "out", needed: len + 1, got: out_bytes });
            }
        }
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Begins a text that comes token by token; `flags` is a sum of `KGL_TEXT_` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_start(tokenizer: *mut kgl_tokenizer, flags: u32, error: *mut kgl_error) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let mut texts = unsafe { Handle::<Texts>::of(tokenizer)? }.enter()?;
        texts.start(decoding(flags)?);
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Adds a token to the text: `*bytes` bytes of UTF-8 at `*text`, ended by a 0, are what is known to be text now, whole characters, often none. They
/// stay until the next call with this tokenizer. `bytes` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_push(
    tokenizer: *mut kgl_tokenizer,
    token: kgl_token,
    text: *mut *const c_char,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { report(error, || push(tokenizer, Some(TokenId(token)), text, bytes)) }
}

/// Ends the text: as `kgl_tokenizer_push`, with what was held back. Then a new one begins, with the same flags.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_tokenizer_finish(
    tokenizer: *mut kgl_tokenizer,
    text: *mut *const c_char,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { report(error, || push(tokenizer, None, text, bytes)) }
}

unsafe fn push(
    tokenizer: *mut kgl_tokenizer,
    token: Option<TokenId>,
    text: *mut *const c_char,
    bytes: *mut usize,
) -> Result<(), Fault<'static>> {
    // SAFETY: the caller's duty.
    let (text, mut texts) = unsafe { (place::start(text, core::ptr::null(), "text")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
    let piece = texts.push(token)?;
    // SAFETY: the caller's duty.
    unsafe { place::tell_text(text, bytes, piece) };
    Ok(())
}
