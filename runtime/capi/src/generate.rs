//! Generation: from a prompt to a stream of text.

use crate::handle::Handle;
use crate::place;
use crate::sampler::{Chooser, kgl_sampler};
use crate::session::{Talk, enter, kgl_session, kgl_token, tokens};
use crate::sized::{self, Versioned};
use crate::status::{Fault, kgl_error, kgl_status, report};
use crate::tokenizer::{KGL_STOP_BYTES, KGL_STOPS, KGL_TOKEN_NONE, Texts, kgl_tokenizer};
use core::ffi::{c_char, c_void};
use kinglet::sampler::{StopMatcher, greedy};
use kinglet::tokenizer::{DecodeOptions, TokenId};

/// Is told each token as it is chosen, but for one that ends the text, and what is known to be text now: `bytes` bytes of UTF-8, whole characters, often none, ended by a 0, gone after
/// the call. Text that was held back at the end comes with `KGL_TOKEN_NONE`. Anything but 0 ends the generation.
pub type kgl_text_fn = unsafe extern "C" fn(user: *mut c_void, token: kgl_token, text: *const c_char, bytes: usize) -> i32;

/// How text is generated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_generate_params {
    /// Bytes of this struct.
    pub size: usize,
    /// Tokens to generate, at most; 0: as many as the context has room for.
    pub max_tokens: usize,
    /// Texts that end the generation and are no part of it, each ended by a 0; `KGL_STOPS` at most, of `KGL_STOP_BYTES` at most.
    pub stops: *const *const c_char,
    /// How many.
    pub stop_count: usize,
    /// May be NULL.
    pub text: Option<kgl_text_fn>,
    /// Handed to `text`.
    pub text_user: *mut c_void,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_generate_params {}

/// Text until the model ends it or the context is full.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_generate_params_default() -> kgl_generate_params {
    kgl_generate_params {
        size: size_of::<kgl_generate_params>(),
        max_tokens: 0,
        stops: core::ptr::null(),
        stop_count: 0,
        text: None,
        text_user: core::ptr::null_mut(),
    }
}

/// Why a text ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_end {
    /// The model ended it.
    KGL_END_TOKEN = 0,
    /// As many tokens as were asked for.
    KGL_END_LIMIT = 1,
    /// A stop text.
    KGL_END_STOP = 2,
    /// The callback.
    KGL_END_CALLBACK = 3,
    /// The context has no room for another token.
    KGL_END_CONTEXT = 4,
}

/// What was generated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_generation {
    /// Bytes of this struct.
    pub size: usize,
    /// Tokens generated, the one that ended the text included.
    pub tokens: usize,
    /// Why the text ended.
    pub end: kgl_end,
    /// The last token. It was chosen, but not run: whoever goes on from here passes it first, unless `end` is `KGL_END_TOKEN` and what
    /// comes next says itself what stands there, as chat formats do.
    pub last: kgl_token,
    /// Which stop text, if `end` is `KGL_END_STOP`.
    pub stop: usize,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_generation {}

/// A generation of nothing.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_generation_default() -> kgl_generation {
    kgl_generation { size: size_of::<kgl_generation>(), tokens: 0, end: kgl_end::KGL_END_LIMIT, last: KGL_TOKEN_NONE, stop: 0 }
}

/// The caller's function for text, and what it made of it.
struct Sink {
    function: Option<kgl_text_fn>,
    user: *mut c_void,
}

impl Sink {
    /// Passes text on; says whether to go on. `text` is ended by a 0 behind it, in `place`.
    fn pass(&self, token: kgl_token, place: &mut [u8], len: usize) -> bool {
        place[len] = 0;
        // SAFETY: the caller's word for its own function.
        self.function.is_none_or(|function| unsafe { function(self.user, token, place.as_ptr().cast(), len) == 0 })
    }
}

/// Runs a prompt and generates what follows.
///
/// `sampler` may be NULL: then the most probable token is taken. `prompt` has at least one token. `out`, made by
/// `kgl_generation_default()`, may be NULL. All three objects are in use until the call returns; a text that the tokenizer has begun
/// (`kgl_tokenizer_start`) is lost.
///
/// If the progress callback of the session ends the prompt: `KGL_ERROR_CANCELLED`. After it, as after any error, the tokens that were run are
/// stored: `kgl_session_truncate` goes back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_generate(
    session: *mut kgl_session,
    sampler: *mut kgl_sampler,
    tokenizer: *mut kgl_tokenizer,
    prompt: *const kgl_token,
    prompt_count: usize,
    params: *const kgl_generate_params,
    out: *mut kgl_generation,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_generate_params_default())? };
        // SAFETY: the caller's duty.
        let (mut talk, mut texts) = unsafe { (enter(session)?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        let mut chooser = match sampler.is_null() {
            true => None,
            // SAFETY: the caller's duty.
            false => Some(unsafe { Handle::<Chooser>::of(sampler)? }.enter()?),
        };
        if !out.is_null() {
            // SAFETY: the caller's duty; a struct of the wrong size is told before anything runs.
            unsafe { sized::write(out, "out", kgl_generation_default())? };
        }
        let mut stops = [""; KGL_STOPS];
        // SAFETY: the caller's duty.
        let given = unsafe { place::slice(params.stops, params.stop_count, "params.stops")? };
        let stops = stops.get_mut(..given.len()).ok_or(Fault::TooLong { what: "params.stop_count", most: KGL_STOPS, got: given.len() })?;
        for (stop, given) in stops.iter_mut().zip(given) {
            // SAFETY: the caller's duty.
            *stop = unsafe { place::text(*given, place::KGL_TERMINATED, "params.stops")? };
            if stop.len() > KGL_STOP_BYTES {
                return Err(Fault::TooLong { what: "bytes of params.stops", most: KGL_STOP_BYTES, got: stop.len() });
            }
        }
        // SAFETY: the caller's duty.
        let prompt = unsafe { tokens(prompt, prompt_count)? };
        let generation = generate(&mut talk, chooser.as_deref_mut(), &mut texts, prompt, &params, stops)?;
        if !out.is_null() {
            // SAFETY: the caller's duty.
            unsafe { sized::write(out, "out", generation)? };
        }
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

fn generate(
    talk: &mut Talk,
    mut chooser: Option<&mut Chooser>,
    texts: &mut Texts,
    prompt: &[TokenId],
    params: &kgl_generate_params,
    stops: &[&str],
) -> Result<kgl_generation, Fault<'static>> {
    let sink = Sink { function: params.text, user: params.text_user };
    let mut held = [0; KGL_STOP_BYTES];
    // Stop texts are at most as long as what is held.
    let too_small = |e: kinglet::tokenizer::TooSmall| Fault::TooSmall { what: "text", needed: e.needed, got: e.got };
    let mut matcher = StopMatcher::new(stops, &mut held).map_err(too_small)?;
    texts.start(DecodeOptions { skip_special: true, continues: true });
    talk.prefill(prompt)?;
    if let Some(chooser) = &mut chooser {
        chooser.see(prompt);
    }
    let mut generation = kgl_generation_default();
    generation.end = loop {
        let logits = talk.session.logits().ok_or(Fault::NoLogits)?;
        let token = match &mut chooser {
            Some(chooser) => chooser.choose(logits)?,
            None => greedy(logits),
        };
        generation.tokens += 1;
        generation.last = token.0;
        if texts.tokenizer.is_end(token) {
            break kgl_end::KGL_END_TOKEN;
        }
        let decided = core::mem::take(&mut texts.decided);
        let stopped = texts.push(Some(token)).and_then(|piece| {
            let stopped = matcher.push(piece, decided).map_err(too_small)?;
            Ok((stopped.text.len(), stopped.stop))
        });
        texts.decided = decided;
        let (len, stop) = stopped?;
        if !sink.pass(token.0, texts.decided, len) {
            break kgl_end::KGL_END_CALLBACK;
        }
        if let Some(stop) = stop {
            generation.stop = stop;
            break kgl_end::KGL_END_STOP;
        }
        if params.max_tokens != 0 && generation.tokens >= params.max_tokens {
            break kgl_end::KGL_END_LIMIT;
        }
        if talk.session.position() == talk.session.context() {
            break kgl_end::KGL_END_CONTEXT;
        }
        talk.prefill(&[token])?;
    };
    if let Some(chooser) = chooser {
        // It was not run, and who goes on passes it again: penalties must not count it twice.
        chooser.forget_last();
    }
    if generation.end != kgl_end::KGL_END_STOP && generation.end != kgl_end::KGL_END_CALLBACK {
        // What the tokenizer held back may still complete a stop text, and what the stop texts held back is text after all.
        let decided = core::mem::take(&mut texts.decided);
        let rest = texts.push(None).and_then(|piece| {
            let stopped = matcher.push(piece, decided).map_err(too_small)?;
            Ok((stopped.text.len(), stopped.stop))
        });
        texts.decided = decided;
        let (len, stop) = rest?;
        if let Some(stop) = stop {
            (generation.end, generation.stop) = (kgl_end::KGL_END_STOP, stop);
        }
        let end = matcher.finish();
        if let Some(place) = texts.decided.get_mut(len..len + end.len()) {
            place.copy_from_slice(end.as_bytes());
        }
        let len = len + end.len();
        if len > 0 {
            sink.pass(KGL_TOKEN_NONE, texts.decided, len);
        }
    }
    Ok(generation)
}
