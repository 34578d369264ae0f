//! Samplers: logits to a token.

use crate::handle::{self, Block, Handle, Object};
use crate::model::{Parent, kgl_model};
use crate::place::{self, result, slice, slice_mut};
use crate::session::{self, kgl_session, kgl_token, tokens};
use crate::sized::{self, Versioned};
use crate::status::{Fault, kgl_error, kgl_status, report};
use crate::tokenizer::KGL_TOKEN_NONE;
use core::ffi::c_void;
use kinglet::fnv::{self, fnv1a};
use kinglet::sampler::{Candidate, Pcg32, Sampler, SamplerConfig};
use kinglet::session::PlanError;
use kinglet::session::state::StateError;
use kinglet::tokenizer::TokenId;

/// Chooses tokens: settings, a generator, and the tokens that it has seen. One thread at a time.
pub struct kgl_sampler {
    _opaque: [u8; 0],
}

/// What is added to a token's logit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_logit_bias {
    /// The token; one beyond the vocabulary is ignored.
    pub token: kgl_token,
    /// A number, or minus infinity to forbid the token.
    pub bias: f32,
}

/// How tokens are chosen, in this order: biases, penalties, top-k, top-p, min-p, temperature.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_sampler_params {
    /// Bytes of this struct.
    pub size: usize,
    /// Above 1 flattens the distribution, below 1 sharpens it; 0 takes the most probable token always.
    pub temperature: f32,
    /// How many of the highest logits are kept; 0 keeps all.
    pub top_k: u32,
    /// The probability that the kept tokens reach together; 1 keeps all.
    pub top_p: f32,
    /// The least probability kept, as a part of the highest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the other logits of recent tokens; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Taken off a recent token's logit for each time it occurs.
    pub frequency_penalty: f32,
    /// Taken off a recent token's logit once.
    pub presence_penalty: f32,
    /// How many of the last tokens are recent; they take memory.
    pub repeat_last_n: u32,
    /// Where the generator starts.
    pub seed: u64,
    /// May be NULL; copied.
    pub biases: *const kgl_logit_bias,
    /// How many.
    pub bias_count: usize,
    /// Where the sampler lies until it is freed, as many bytes as `kgl_sampler_plan` says; NULL: in memory of the system's.
    pub memory: *mut c_void,
    /// Bytes of `memory`.
    pub memory_bytes: usize,
}

// SAFETY: repr(C), the size first.
unsafe impl Versioned for kgl_sampler_params {}

/// Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalties, seed 0.
#[unsafe(no_mangle)]
pub extern "C" fn kgl_sampler_params_default() -> kgl_sampler_params {
    let config = SamplerConfig::default();
    kgl_sampler_params {
        size: size_of::<kgl_sampler_params>(),
        temperature: config.temperature,
        top_k: config.top_k,
        top_p: config.top_p,
        min_p: config.min_p,
        repeat_penalty: config.repeat_penalty,
        frequency_penalty: config.frequency_penalty,
        presence_penalty: config.presence_penalty,
        repeat_last_n: config.repeat_last_n,
        seed: config.seed,
        biases: core::ptr::null(),
        bias_count: 0,
        memory: core::ptr::null_mut(),
        memory_bytes: 0,
    }
}

impl kgl_sampler_params {
    fn config(&self) -> SamplerConfig {
        SamplerConfig {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        }
    }

    fn block_bytes(&self, vocab: usize) -> Result<usize, Fault<'static>> {
        let bytes = (self.repeat_last_n as usize).checked_mul(2).and_then(|history| {
            let bias = (self.bias_count, size_of::<(TokenId, f32)>());
            handle::sum([(vocab, size_of::<f32>()), (vocab, size_of::<Candidate>()), bias, (history, size_of::<TokenId>())])
        });
        let bytes = bytes.and_then(handle::block_bytes::<Chooser>).filter(|bytes| *bytes <= isize::MAX as usize);
        bytes.ok_or(Fault::Plan(PlanError::TooLarge))
    }
}

/// A sampler and its working memory.
pub(crate) struct Chooser {
    sampler: Sampler<'static>,
    logits: &'static mut [f32],
    candidates: &'static mut [Candidate],
    /// The tokens seen, the last one last: twice as many as are recent, so that they are seldom moved.
    history: &'static mut [TokenId],
    seen: usize,
    _parent: Parent,
}

impl Object for Chooser {
    const MAGIC: u32 = u32::from_le_bytes(*b"KGLp");
    const NAME: &'static str = "sampler";
}

impl Chooser {
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<TokenId, Fault<'static>> {
        let (expected, got) = (self.logits.len(), logits.len());
        if got != expected {
            return Err(Fault::Length { what: "logits", expected, got });
        }
        self.logits.copy_from_slice(logits);
        let token = self.sampler.sample(self.logits, &self.history[..self.seen], self.candidates);
        // There are as many candidates as logits.
        let token = token.map_err(|e| Fault::TooSmall { what: "candidates", needed: e.needed, got: e.got })?;
        self.see(&[token]);
        Ok(token)
    }

    pub(crate) fn see(&mut self, tokens: &[TokenId]) {
        let most = self.history.len() / 2;
        let recent = &tokens[tokens.len().saturating_sub(most)..];
        if self.seen + recent.len() > self.history.len() {
            let kept = most - recent.len().min(most);
            self.history.copy_within(self.seen - kept.min(self.seen)..self.seen, 0);
            self.seen = kept.min(self.seen);
        }
        self.history[self.seen..self.seen + recent.len()].copy_from_slice(recent);
        self.seen += recent.len();
    }

    pub(crate) fn forget_last(&mut self) {
        self.seen = self.seen.saturating_sub(1);
    }

    fn recent(&self) -> &[TokenId] {
        &self.history[self.seen.saturating_sub(self.history.len() / 2)..self.seen]
    }

    /// Goes to where another sampler was saved.
    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let field = |field, expected: usize, got: u64| StateError::Field { field, expected: expected as u64, got };
        let (header, rest) = state.split_first_chunk::<STATE_HEADER>().ok_or(field("bytes", STATE_BYTES, state.len() as u64))?;
        let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if !header.starts_with(&STATE_MAGIC) {
            return Err(StateError::Magic);
        }
        if word(8) != STATE_VERSION {
            return Err(field("version", STATE_VERSION as usize, word(8).into()));
        }
        let (words, tail) = rest.as_chunks::<4>();
        let expected = (word(12) as usize).checked_add(2).filter(|expected| words.len() == *expected && tail.is_empty());
        let Some((tokens, [low, high])) = expected.and_then(|_| words.split_last_chunk()) else {
            return Err(field("tokens", words.len().saturating_sub(2), word(12).into()));
        };
        let number = |low: [u8; 4], high: [u8; 4]| u64::from(u32::from_le_bytes(high)) << 32 | u64::from(u32::from_le_bytes(low));
        if fnv1a(fnv::START, state[..state.len() - 8].iter().copied()) != number(*low, *high) {
            return Err(StateError::Checksum);
        }
        let random = header[16..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.sampler.set_random(Pcg32::from_state(random));
        self.seen = 0;
        for token in tokens {
            self.see(&[TokenId(u32::from_le_bytes(*token))]);
        }
        Ok(())
    }
}

const STATE_MAGIC: [u8; 8] = *b"\x89KGP\r\n\x1a\n";
const STATE_VERSION: u32 = 1;
/// Magic, version, number of tokens, the generator's state.
const STATE_HEADER: usize = 24;
/// Bytes of a state without tokens, its checksum included.
const STATE_BYTES: usize = STATE_HEADER + 8;

/// Tells the exact memory of a sampler of a model with these parameters, for those who bring it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_plan(
    model: *const kgl_model,
    params: *const kgl_sampler_params,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, parent) = unsafe { (place::start(bytes, 0, "bytes")?, Parent::of(model)?) };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_sampler_params_default())? };
        *bytes = params.block_bytes(parent.model().spec().vocab as usize)?;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Makes a sampler for a model's logits. The model must not be freed before it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_new(
    model: *const kgl_model,
    params: *const kgl_sampler_params,
    out: *mut *mut kgl_sampler,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let out = unsafe { result(out, "out")? };
        // SAFETY: the caller's duty.
        let parent = unsafe { Parent::of(model)? };
        // SAFETY: the caller's duty.
        let params = unsafe { sized::read(params, "params", kgl_sampler_params_default())? };
        // SAFETY: the caller's duty.
        let biases = unsafe { slice(params.biases, params.bias_count, "params.biases")? };
        let vocab = parent.model().spec().vocab as usize;
        // SAFETY: the caller's duty.
        let block = unsafe { Block::new(params.memory, params.memory_bytes, params.block_bytes(vocab)?, "params.memory")? };
        // SAFETY: the block is new and was made for one.
        let (place, mut rest) = unsafe { block.split::<Chooser>() };
        let (logits, candidates) = (rest.take(vocab, 0.0)?, rest.take(vocab, Candidate::default())?);
        let own = rest.take(biases.len(), (TokenId(0), 0.0))?;
        for (own, bias) in own.iter_mut().zip(biases) {
            *own = (TokenId(bias.token), bias.bias);
        }
        let history = rest.take(2 * params.repeat_last_n as usize, TokenId(0))?;
        let sampler = Sampler::new(params.config(), own).map_err(Fault::Sampler)?;
        handle::put(place, block, Chooser { sampler, logits, candidates, history, seen: 0, _parent: parent }, out);
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Frees a sampler and makes the caller's pointer NULL. `sampler` or `*sampler` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_free(sampler: *mut *mut kgl_sampler, error: *mut kgl_error) -> kgl_status {
    // SAFETY: the caller's duty.
    unsafe { report(error, || handle::free(sampler, |_: &Chooser| Ok(()))) }
}

/// Chooses what follows the last token of a session, and remembers it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_sample(
    sampler: *mut kgl_sampler,
    session: *const kgl_session,
    token: *mut kgl_token,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (token, mut chooser) = unsafe { (place::start(token, KGL_TOKEN_NONE, "token")?, Handle::<Chooser>::of(sampler)?.enter()?) };
        // SAFETY: the caller's duty.
        let talk = unsafe { session::enter(session)? };
        *token = chooser.choose(talk.session.logits().ok_or(Fault::NoLogits)?)?.0;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Chooses by logits of the caller's, one for each token of the vocabulary, and remembers the token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_sample_logits(
    sampler: *mut kgl_sampler,
    logits: *const f32,
    count: usize,
    token: *mut kgl_token,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (token, mut chooser) = unsafe { (place::start(token, KGL_TOKEN_NONE, "token")?, Handle::<Chooser>::of(sampler)?.enter()?) };
        // SAFETY: the caller's duty.
        *token = chooser.choose(unsafe { slice(logits, count, "logits")? })?.0;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Remembers tokens that it did not choose, such as a prompt's, for the penalties.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_accept(
    sampler: *mut kgl_sampler,
    tokens: *const kgl_token,
    count: usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (mut chooser, tokens) = unsafe { (Handle::<Chooser>::of(sampler)?.enter()?, self::tokens(tokens, count)?) };
        chooser.see(tokens);
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Forgets all tokens and starts the generator again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_reset(sampler: *mut kgl_sampler, error: *mut kgl_error) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let mut chooser = unsafe { Handle::<Chooser>::of(sampler)? }.enter()?;
        let seed = chooser.sampler.config().seed;
        chooser.sampler.set_random(Pcg32::new(seed));
        chooser.seen = 0;
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Writes where the generator stands and the recent tokens to `out`; `*bytes` is the length, also after `KGL_ERROR_TOO_SMALL`. With
/// `out` NULL and `out_bytes` 0 it only tells that. The settings are no part of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_save(
    sampler: *const kgl_sampler,
    out: *mut c_void,
    out_bytes: usize,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, chooser) = unsafe { (place::start(bytes, 0, "bytes")?, Handle::<Chooser>::of(sampler)?.enter()?) };
        let recent = chooser.recent();
        let needed = STATE_BYTES + size_of_val(recent);
        *bytes = needed;
        // SAFETY: the caller's duty.
        let out = unsafe { slice_mut(out.cast::<u8>(), out_bytes, "out")? };
        let state = out.get_mut(..needed).ok_or(Fault::TooSmall { what: "out", needed, got: out_bytes })?;
        let (state, sum) = state.split_at_mut(needed - 8);
        let (header, tokens) = state.split_at_mut(STATE_HEADER);
        header[..8].copy_from_slice(&STATE_MAGIC);
        header[8..12].copy_from_slice(&STATE_VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(recent.len() as u32).to_le_bytes());
        header[16..].copy_from_slice(&chooser.sampler.random().state().to_le_bytes());
        for (place, token) in tokens.chunks_exact_mut(4).zip(recent) {
            place.copy_from_slice(&token.0.to_le_bytes());
        }
        sum.copy_from_slice(&fnv1a(fnv::START, state.iter().copied()).to_le_bytes());
        Ok(())
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// Goes on as the sampler would that was saved, with this one's settings. After an error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_sampler_restore(
    sampler: *mut kgl_sampler,
    state: *const c_void,
    bytes: usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (mut chooser, state) = unsafe { (Handle::<Chooser>::of(sampler)?.enter()?, slice(state.cast::<u8>(), bytes, "state")?) };
        chooser.restore(state).map_err(Fault::State)
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}
