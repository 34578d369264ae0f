//! Random calls of the C library: a program of any bytes is a sequence of calls on a few objects, with good and bad arguments, that
//! must end in codes. The fuzzer drives it, and the suite with random bytes.
//!
//! What pointers point to is true, because that is the caller's word; everything else may be wrong.
#![expect(unsafe_code, reason = "the calls take pointers")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{null, null_mut};
use kinglet_capi::kgl_status::{KGL_ERROR_INTERNAL, KGL_OK};
use kinglet_capi::*;

/// How many kinds of calls there are.
pub const CALLS: usize = 31;

/// Bytes that say what is called, and with what. After their end all are 0.
struct Program<'p>(&'p [u8]);

impl<'p> Program<'p> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn rarely(&mut self) -> bool {
        self.byte() > 0xf4
    }

    fn bytes(&mut self, most: usize) -> &'p [u8] {
        let (bytes, rest) = self.0.split_at(self.0.len().min(self.below(most + 1)));
        self.0 = rest;
        bytes
    }

    /// A small number, or one that nothing fits.
    fn number(&mut self) -> usize {
        if self.rarely() { usize::MAX - self.below(3) } else { usize::from(self.byte()) }
    }

    fn signed(&mut self) -> i32 {
        if self.rarely() { i32::from(self.byte()) - 128 } else { self.below(4) as i32 }
    }

    fn float(&mut self) -> f32 {
        match self.byte() {
            0..=200 => f32::from(self.byte()) / 64.0,
            byte => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, f32::MAX, 1.0, 0.0][usize::from(byte) % 7],
        }
    }

    fn pointer<T>(&mut self, pointer: *const T) -> *const T {
        if self.rarely() { null() } else { pointer }
    }

    fn place<T>(&mut self, place: *mut T) -> *mut T {
        if self.rarely() { null_mut() } else { place }
    }

    fn size(&mut self, size: usize) -> usize {
        if self.rarely() { size + 1 - self.below(3).min(size) } else { size }
    }

    /// Tokens, most of them in a vocabulary of 263.
    fn tokens(&mut self) -> Vec<u32> {
        let bytes = self.bytes(40);
        bytes.iter().enumerate().map(|(i, &b)| if b == 255 { u32::MAX - i as u32 } else { u32::from(b) }).collect()
    }
}

/// Memory at an address that is a multiple of 64.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "memory")] [u8; 64]);

/// Memory that outlives all objects, so that what was freed in it can be asked for.
struct Kept {
    lines: Vec<Line>,
    bytes: usize,
}

impl Kept {
    fn new(bytes: usize) -> Self {
        Self { lines: vec![Line([0xa5; 64]); bytes.div_ceil(64) + 1], bytes }
    }

    fn of(bytes: &[u8]) -> Self {
        let mut kept = Self::new(bytes.len());
        // SAFETY: the lines have as many bytes.
        unsafe { kept.start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        kept
    }

    fn start(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }
}

/// Everything that calls may be about.
struct World<'p> {
    program: Program<'p>,
    file: &'p [u8],
    models: [*mut kgl_model; 2],
    sessions: [*mut kgl_session; 3],
    tokenizers: [*mut kgl_tokenizer; 2],
    samplers: [*mut kgl_sampler; 2],
    kept: Vec<Kept>,
    state: Vec<u8>,
    error: kgl_error,
}

/// What a callback may use.
struct Callback {
    session: *mut kgl_session,
    answer: i32,
}

unsafe extern "C" fn on_text(user: *mut c_void, _: kgl_token, text: *const c_char, bytes: usize) -> i32 {
    // SAFETY: the world below hands over what it says, and the library ends the text with a 0.
    unsafe {
        let callback = &mut *user.cast::<Callback>();
        assert!(core::str::from_utf8(core::slice::from_raw_parts(text.cast(), bytes)).is_ok() && *text.add(bytes) == 0);
        assert_ne!(kgl_session_decode(callback.session, 1, null_mut()), KGL_OK);
        callback.answer -= 1;
        i32::from(callback.answer == 0)
    }
}

unsafe extern "C" fn on_progress(user: *mut c_void, done: usize, total: usize) -> i32 {
    assert!(done < total && user.is_null());
    i32::from(done > 20)
}

unsafe extern "C" fn on_log(_: *mut c_void, level: i32, text: *const c_char) {
    // SAFETY: the library ends it with a 0.
    assert!((0..2).contains(&level) && unsafe { CStr::from_ptr(text) }.to_str().is_ok_and(|text| !text.is_empty()));
}

unsafe extern "C" fn on_run(_: *mut c_void, chunks: usize, task: kgl_task_fn, context: *const c_void) {
    for chunk in (0..chunks).rev() {
        // SAFETY: what the library asked for.
        unsafe { task(context, chunk) };
    }
}

/// Runs a program of calls over a model's file. Returns how often each kind of call succeeded.
///
/// # Panics
/// If a call does not keep a promise.
#[must_use]
pub fn run(file: &[u8], program: &[u8]) -> [usize; CALLS] {
    let mut world = World {
        program: Program(program),
        file,
        models: [null_mut(); 2],
        sessions: [null_mut(); 3],
        tokenizers: [null_mut(); 2],
        samplers: [null_mut(); 2],
        kept: Vec::new(),
        state: Vec::new(),
        error: kgl_error_default(),
    };
    let mut good = [0; CALLS];
    for _ in 0..200 {
        if world.program.0.is_empty() {
            break;
        }
        let call = world.program.below(CALLS);
        // SAFETY: whatever the program says, pointers point to what they say.
        let status = unsafe { world.call(call) };
        // SAFETY: the library ends it with a 0.
        let text = unsafe { CStr::from_ptr(world.error.text.as_ptr()) }.to_str();
        assert_eq!((world.error.status, text.is_ok_and(str::is_empty)), (status as i32, status == KGL_OK), "call {call}: {text:?}");
        assert_ne!(status, KGL_ERROR_INTERNAL, "call {call}: {text:?}");
        good[call] += usize::from(status == KGL_OK);
    }
    // SAFETY: each is NULL, or an object that lives.
    unsafe {
        for session in &mut world.sessions {
            assert_eq!(kgl_session_free(session, null_mut()), KGL_OK);
        }
        for tokenizer in &mut world.tokenizers {
            assert_eq!(kgl_tokenizer_free(tokenizer, null_mut()), KGL_OK);
        }
        for sampler in &mut world.samplers {
            assert_eq!(kgl_sampler_free(sampler, null_mut()), KGL_OK);
        }
        for model in &mut world.models {
            assert_eq!(kgl_model_free(model, null_mut()), KGL_OK);
        }
    }
    good
}

impl World<'_> {
    fn model(&mut self) -> *mut kgl_model {
        self.models[self.program.below(16).saturating_sub(14)]
    }

    fn session(&mut self) -> *mut kgl_session {
        self.sessions[self.program.below(16).saturating_sub(13)]
    }

    fn tokenizer(&mut self) -> *mut kgl_tokenizer {
        self.tokenizers[self.program.below(16).saturating_sub(14)]
    }

    fn sampler(&mut self) -> *mut kgl_sampler {
        self.samplers[self.program.below(16).saturating_sub(14)]
    }

    /// Memory of the caller's, sometimes too small; none: the system's.
    fn memory(&mut self, needed: usize) -> (*mut c_void, usize) {
        if needed > 1 << 22 || self.program.byte() < 128 {
            return (null_mut(), 0);
        }
        let skip = self.program.below(64);
        let bytes = if self.program.rarely() { needed - 1 } else { needed };
        let mut kept = Kept::new(bytes + skip);
        let start = kept.start().wrapping_add(skip).cast();
        self.kept.push(kept);
        (start, bytes)
    }

    fn session_params(&mut self) -> kgl_session_params {
        let p = &mut self.program;
        let mut params = kgl_session_params { context: 64, batch: 8, threads: 1, ..kgl_session_params_default() };
        params.size = p.size(params.size);
        params.context = p.number();
        params.batch = p.number();
        params.cache = p.signed() & !2;
        params.isa = if p.rarely() { p.signed() } else { p.signed() & 1 };
        params.threads = if p.rarely() { p.below(4) } else { 1 };
        params.run = (p.byte() > 200).then_some(on_run as kgl_run_fn);
        params.run_count = p.below(4);
        params.progress = (p.byte() > 100).then_some(on_progress as kgl_progress_fn);
        params
    }

    fn sampler_params<'b>(&mut self, biases: &'b mut Vec<kgl_logit_bias>) -> (kgl_sampler_params, &'b [kgl_logit_bias]) {
        let p = &mut self.program;
        let mut params = kgl_sampler_params { repeat_last_n: p.byte().into(), seed: p.byte().into(), ..kgl_sampler_params_default() };
        params.size = p.size(params.size);
        if p.byte() > 128 {
            (params.temperature, params.top_k, params.top_p, params.min_p) = (p.float(), p.byte().into(), p.float(), p.float());
            (params.repeat_penalty, params.frequency_penalty, params.presence_penalty) = (p.float(), p.float(), p.float());
        }
        biases.extend(p.tokens().iter().map(|&token| kgl_logit_bias { token, bias: p.float() }));
        (params.biases, params.bias_count) = (p.pointer(biases.as_ptr()), biases.len());
        (params, biases)
    }

    /// # Safety
    /// None that a program could break; the calls are unsafe.
    #[expect(clippy::too_many_lines, reason = "a list")]
    unsafe fn call(&mut self, call: usize) -> kgl_status {
        let error = &raw mut self.error;
        // SAFETY: pointers point to what lengths say, or are NULL, or to objects that were freed in memory that is kept.
        unsafe {
            match call {
                0 | 1 => {
                    let mut bytes = self.file.to_vec();
                    for _ in 0..self.program.below(3) * call {
                        let at = (self.program.below(256) << 8 | self.program.below(256)) % bytes.len();
                        bytes[at] ^= self.program.byte();
                    }
                    if self.program.rarely() {
                        bytes.truncate(self.program.below(256) << 8 | self.program.below(256));
                    }
                    let mut kept = Kept::of(&bytes);
                    let (data, len) = (kept.start(), kept.bytes);
                    self.kept.push(kept);
                    let (memory, memory_bytes) = self.memory(kgl_model_bytes());
                    let mut params = kgl_model_params { memory, memory_bytes, log: Some(on_log), ..kgl_model_params_default() };
                    params.size = self.program.size(params.size);
                    let mut model = null_mut();
                    let data = self.program.pointer(data.cast_const()).cast();
                    let status = kgl_model_from_memory(data, len, &params, &mut model, error);
                    assert_eq!(status == KGL_OK, !model.is_null());
                    // The sound one is the first; where one lives already, it stays.
                    if self.models[call].is_null() {
                        self.models[call] = model;
                    } else {
                        assert_eq!(kgl_model_free(&mut model, null_mut()), KGL_OK);
                    }
                    status
                }
                2 => {
                    let at = self.program.below(8);
                    kgl_model_free(if at < 2 { &raw mut self.models[at] } else { null_mut() }, error)
                }
                3 => {
                    let mut info = kgl_model_info_default();
                    info.size = self.program.size(info.size);
                    let (model, out) = (self.model(), self.program.place(&mut info));
                    kgl_model_get_info(model, out, error)
                }
                4 => {
                    let (mut key, mut value, mut a, mut b) = (null(), null(), 0, 0);
                    let (model, index) = (self.model(), self.program.number());
                    if self.program.rarely() {
                        return kgl_model_meta(model, c"name".as_ptr(), &mut value, &mut a, error);
                    }
                    kgl_model_meta_at(model, index % 3, &mut key, &mut a, self.program.place(&mut value), &mut b, error)
                }
                5 => {
                    let (mut info, params, model) = (kgl_plan_info_default(), self.session_params(), self.model());
                    kgl_plan(model, &params, self.program.place(&mut info), error)
                }
                6 => {
                    let (mut info, mut params, model) = (kgl_plan_info_default(), self.session_params(), self.model());
                    let status = kgl_plan(model, &params, &mut info, error);
                    if status != KGL_OK {
                        return status;
                    }
                    (params.memory, params.memory_bytes) = self.memory(info.memory_bytes);
                    let (mut session, at) = (null_mut(), self.program.below(3));
                    let status = kgl_session_new(model, &params, &mut session, error);
                    assert_eq!(status == KGL_OK, !session.is_null());
                    assert_eq!(kgl_session_free(&mut self.sessions[at], null_mut()), KGL_OK);
                    self.sessions[at] = session;
                    status
                }
                7 => {
                    let at = self.program.below(8);
                    let mut stale = self.sessions[at % 3];
                    let is_kept = self.kept.iter_mut().any(|kept| kept.lines.as_ptr_range().contains(&stale.cast_const().cast()));
                    let status = kgl_session_free(if at < 3 { &raw mut self.sessions[at] } else { null_mut() }, error);
                    if at < 3 && is_kept {
                        assert_ne!(kgl_session_decode(stale, 0, null_mut()), KGL_OK);
                        assert_ne!(kgl_session_free(&mut stale, null_mut()), KGL_OK);
                    }
                    status
                }
                8 => {
                    let (session, tokens) = (self.session(), self.program.tokens());
                    kgl_session_prefill(session, self.program.pointer(tokens.as_ptr()), tokens.len(), error)
                }
                9 => {
                    let (session, token) = (self.session(), self.program.number());
                    kgl_session_decode(session, token as u32, error)
                }
                10 => {
                    let (session, mut logits, mut count) = (self.session(), null(), 0);
                    let status = kgl_session_logits(session, self.program.place(&mut logits), &mut count, error);
                    if status == KGL_OK {
                        assert!(!core::slice::from_raw_parts(logits, count).is_empty());
                    }
                    status
                }
                11 => {
                    let (session, tokens, pooling) = (self.session(), self.program.tokens(), self.program.signed());
                    let mut out = vec![0.0; self.program.below(64)];
                    kgl_session_embed(session, tokens.as_ptr(), tokens.len(), pooling & 1, out.as_mut_ptr(), out.len(), error)
                }
                12 => {
                    let (session, position) = (self.session(), self.program.number());
                    kgl_session_truncate(session, position, error)
                }
                13 => {
                    let (mut info, session) = (kgl_session_info_default(), self.session());
                    info.size = self.program.size(info.size);
                    kgl_session_get_info(session, self.program.place(&mut info), error)
                }
                14 => {
                    let (session, mut bytes) = (self.session(), 0);
                    let _ = kgl_session_save(session, null_mut(), 0, &mut bytes, error);
                    self.state = vec![0; bytes.saturating_sub(usize::from(self.program.rarely()))];
                    kgl_session_save(session, self.state.as_mut_ptr().cast(), self.state.len(), &mut bytes, error)
                }
                15 => {
                    self.damage();
                    let (session, state) = (self.session(), self.program.pointer(self.state.as_ptr()));
                    kgl_session_restore(session, state.cast(), self.state.len(), error)
                }
                16 => {
                    let (model, mut params, mut bytes) = (self.model(), kgl_tokenizer_params_default(), 0);
                    params.size = self.program.size(params.size);
                    (params.text_bytes, params.messages) = (self.program.number(), self.program.number());
                    let status = kgl_tokenizer_plan(model, &params, &mut bytes, error);
                    if status != KGL_OK {
                        return status;
                    }
                    (params.memory, params.memory_bytes) = self.memory(bytes);
                    let (mut tokenizer, at) = (null_mut(), self.program.below(2));
                    let status = kgl_tokenizer_new(model, &params, &mut tokenizer, error);
                    assert_eq!(kgl_tokenizer_free(&mut self.tokenizers[at], null_mut()), KGL_OK);
                    self.tokenizers[at] = tokenizer;
                    status
                }
                17 => {
                    let at = self.program.below(8);
                    kgl_tokenizer_free(if at < 2 { &raw mut self.tokenizers[at] } else { null_mut() }, error)
                }
                18 => {
                    let (mut info, tokenizer) = (kgl_tokenizer_info_default(), self.tokenizer());
                    kgl_tokenizer_get_info(tokenizer, self.program.place(&mut info), error)
                }
                19 => {
                    let (mut info, tokenizer, token) = (kgl_token_info_default(), self.tokenizer(), self.program.number());
                    let status = kgl_token_get_info(tokenizer, token as u32, &mut info, error);
                    if status == KGL_OK {
                        let text = core::slice::from_raw_parts(info.text.cast::<u8>(), info.text_bytes);
                        let mut id = 0;
                        let _ = kgl_token_find(tokenizer, text.as_ptr().cast(), text.len(), &mut id, null_mut());
                    }
                    status
                }
                20 => {
                    let (tokenizer, text, flags) = (self.tokenizer(), self.program.bytes(80), self.program.below(9) as u32);
                    let mut out = vec![0; self.program.below(200)];
                    let mut count = 0;
                    let data = self.program.pointer(text.as_ptr()).cast();
                    let status = kgl_tokenize(tokenizer, data, text.len(), flags, out.as_mut_ptr(), out.len(), &mut count, error);
                    assert!(status != KGL_OK || count <= out.len());
                    status
                }
                21 => {
                    let (tokenizer, tokens, flags) = (self.tokenizer(), self.program.tokens(), self.program.below(16) as u32 & !1);
                    let (mut out, mut bytes) = (vec![0 as c_char; self.program.below(256)], 0);
                    let status = kgl_detokenize(
                        tokenizer,
                        tokens.as_ptr(),
                        tokens.len(),
                        flags & 12,
                        out.as_mut_ptr(),
                        out.len(),
                        &mut bytes,
                        error,
                    );
                    if status == KGL_OK {
                        assert_eq!(out[bytes], 0);
                    }
                    status
                }
                22 => {
                    let tokenizer = self.tokenizer();
                    kgl_tokenizer_start(tokenizer, self.program.below(16) as u32, error)
                }
                23 => {
                    let (tokenizer, token, mut text, mut bytes) = (self.tokenizer(), self.program.byte(), null(), 0);
                    let status = if token < 20 {
                        kgl_tokenizer_finish(tokenizer, &mut text, &mut bytes, error)
                    } else {
                        kgl_tokenizer_push(tokenizer, token.into(), self.program.place(&mut text), &mut bytes, error)
                    };
                    if status == KGL_OK {
                        assert!(core::str::from_utf8(core::slice::from_raw_parts(text.cast(), bytes)).is_ok() && *text.add(bytes) == 0);
                    }
                    status
                }
                24 => {
                    let tokenizer = self.tokenizer();
                    let parts: Vec<&[u8]> = (0..self.program.below(4)).map(|_| self.program.bytes(24)).collect();
                    let messages: Vec<kgl_message> = parts
                        .iter()
                        .map(|part| kgl_message { role: 1 + self.program.signed(), text: part.as_ptr().cast(), text_bytes: part.len() })
                        .collect();
                    let (from, end, mut n) = (self.program.signed(), self.program.signed() & 1, 0);
                    let mut out = vec![0_u32; self.program.below(256)];
                    if self.program.byte() < 128 {
                        return kgl_chat_render(
                            tokenizer,
                            from,
                            messages.as_ptr(),
                            messages.len(),
                            end,
                            out.as_mut_ptr().cast(),
                            out.len(),
                            &mut n,
                            error,
                        );
                    }
                    kgl_chat_tokenize(tokenizer, from, messages.as_ptr(), messages.len(), end, out.as_mut_ptr(), out.len(), &mut n, error)
                }
                25 => {
                    let (mut biases, mut bytes, model) = (Vec::new(), 0, self.model());
                    let (mut params, _biases) = self.sampler_params(&mut biases);
                    let status = kgl_sampler_plan(model, &params, &mut bytes, error);
                    if status != KGL_OK {
                        return status;
                    }
                    (params.memory, params.memory_bytes) = self.memory(bytes);
                    let (mut sampler, at) = (null_mut(), self.program.below(2));
                    let status = kgl_sampler_new(model, &params, &mut sampler, error);
                    assert_eq!(kgl_sampler_free(&mut self.samplers[at], null_mut()), KGL_OK);
                    self.samplers[at] = sampler;
                    status
                }
                26 => {
                    let at = self.program.below(8);
                    kgl_sampler_free(if at < 2 { &raw mut self.samplers[at] } else { null_mut() }, error)
                }
                27 => {
                    let (sampler, mut token) = (self.sampler(), 0);
                    if self.program.byte() > 60 {
                        let session = self.session();
                        return kgl_sampler_sample(sampler, session, self.program.place(&mut token), error);
                    }
                    let logits: Vec<f32> = (0..263 - self.program.below(2)).map(|_| self.program.float()).collect();
                    kgl_sampler_sample_logits(sampler, logits.as_ptr(), logits.len(), &mut token, error)
                }
                28 => {
                    let (sampler, tokens) = (self.sampler(), self.program.tokens());
                    if self.program.rarely() {
                        return kgl_sampler_reset(sampler, error);
                    }
                    kgl_sampler_accept(sampler, self.program.pointer(tokens.as_ptr()), tokens.len(), error)
                }
                29 => {
                    let (sampler, mut bytes) = (self.sampler(), 0);
                    if self.program.byte() < 128 {
                        self.damage();
                        return kgl_sampler_restore(sampler, self.state.as_ptr().cast(), self.state.len(), error);
                    }
                    let _ = kgl_sampler_save(sampler, null_mut(), 0, &mut bytes, error);
                    self.state = vec![0; bytes];
                    kgl_sampler_save(sampler, self.state.as_mut_ptr().cast(), self.state.len(), &mut bytes, error)
                }
                _ => {
                    let (session, sampler, tokenizer) = (self.session(), self.sampler(), self.tokenizer());
                    let tokens = self.program.tokens();
                    let mut stop: Vec<u8> = self.program.bytes(5).iter().map(|&byte| byte.max(1)).collect();
                    stop.push(0);
                    let stops = [stop.as_ptr().cast(), c"ab".as_ptr()];
                    let mut callback = Callback { session, answer: self.program.byte().into() };
                    let params = kgl_generate_params {
                        max_tokens: self.program.below(40),
                        stops: stops.as_ptr(),
                        stop_count: self.program.below(3),
                        text: Some(on_text),
                        text_user: (&raw mut callback).cast(),
                        ..kgl_generate_params_default()
                    };
                    let mut out = kgl_generation_default();
                    let out = self.program.place(&mut out);
                    kgl_generate(session, sampler, tokenizer, tokens.as_ptr(), tokens.len(), &params, out, error)
                }
            }
        }
    }

    /// Sometimes changes a byte of the saved state.
    fn damage(&mut self) {
        if self.program.rarely() && !self.state.is_empty() {
            let at = (self.program.below(256) << 8 | self.program.below(256)) % self.state.len();
            self.state[at] ^= self.program.byte();
        }
    }
}
