//! The calls of the C library, from Rust: objects, codes, sentences, and the same bits as the crate's.
#![expect(unsafe_code, reason = "the calls take pointers")]

use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};
use kinglet::kernels::Kernels;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Pooling, Session};
use kinglet::spec::{BlockSpec, Spec};
use kinglet::tokenizer::TokenId;
use kinglet::workers::Serial;
use kinglet_capi::kgl_status::*;
use kinglet_capi::*;
use kinglet_quant::DType;
use kinglet_tests::calls;
use kinglet_tests::synthetic::{self, FileBytes};
use std::io::Write;

const VOCAB: u32 = 48;

/// A model file at an aligned address, and tokens for it.
fn file() -> (FileBytes, Vec<u32>) {
    let block = BlockSpec { heads: 2, kv_heads: 1, head_dim: 16, rotary_dim: 16, ffn_dim: 24, ..BlockSpec::default() };
    let spec = Spec { vocab: VOCAB, hidden: 24, context: 1024, ..Spec::decoder(&[block], &[0, 0]) };
    (synthetic::file(&spec, DType::Q4, 5), (0..40).map(|i| i * 7 % VOCAB).collect())
}

fn text(error: &kgl_error) -> String {
    // SAFETY: the library ends it with a 0.
    unsafe { CStr::from_ptr(error.text.as_ptr()) }.to_str().unwrap().to_owned()
}

struct Opened {
    file: FileBytes,
    model: *mut kgl_model,
    tokens: Vec<u32>,
}

fn open() -> Opened {
    let (file, tokens) = file();
    let (mut model, mut error) = (null_mut(), kgl_error_default());
    let bytes = file.bytes();
    // SAFETY: the bytes outlive the model.
    let status = unsafe { kgl_model_from_memory(bytes.as_ptr().cast(), bytes.len(), null(), &mut model, &mut error) };
    assert_eq!((status, text(&error).as_str()), (KGL_OK, ""));
    Opened { file, model, tokens }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: every test frees its sessions first, or this says so.
        let status = unsafe { kgl_model_free(&mut self.model, null_mut()) };
        assert!(std::thread::panicking() || (status, self.model) == (KGL_OK, null_mut()));
    }
}

fn session(model: *const kgl_model, params: &kgl_session_params) -> *mut kgl_session {
    let (mut session, mut error) = (null_mut(), kgl_error_default());
    // SAFETY: as each test says of its model.
    let status = unsafe { kgl_session_new(model, params, &mut session, &mut error) };
    assert_eq!((status, text(&error).as_str()), (KGL_OK, ""));
    session
}

fn params() -> kgl_session_params {
    kgl_session_params { context: 64, batch: 16, threads: 1, ..kgl_session_params_default() }
}

fn logits(session: *const kgl_session) -> Vec<u32> {
    let (mut logits, mut count) = (null(), 0);
    // SAFETY: they stay until the next call.
    unsafe {
        assert_eq!(kgl_session_logits(session, &mut logits, &mut count, null_mut()), KGL_OK);
        core::slice::from_raw_parts(logits, count).iter().map(|x| x.to_bits()).collect()
    }
}

unsafe extern "C" fn backwards(user: *mut c_void, chunks: usize, task: kgl_task_fn, context: *const c_void) {
    // SAFETY: the test hands over a counter.
    unsafe { *user.cast::<usize>() += 1 };
    for chunk in (0..chunks).rev() {
        // SAFETY: what the library asked for.
        unsafe { task(context, chunk) };
    }
}

#[test]
fn the_logits_are_the_crates_on_any_cores_in_any_memory() {
    let opened = open();
    let model = Model::new(opened.file.bytes()).unwrap();
    let plan = Plan::new(model.spec(), Options { context: 64, batch: 16, ..Options::default() }).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut oracle = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial).unwrap();
    let ids: Vec<TokenId> = opened.tokens.iter().map(|&id| TokenId(id)).collect();
    let expected: Vec<u32> = oracle.prefill(&ids).unwrap().iter().map(|x| x.to_bits()).collect();

    let mut runs = 0usize;
    let mut info = kgl_plan_info_default();
    // SAFETY: all of these live until the end.
    assert_eq!(unsafe { kgl_plan(opened.model, &params(), &mut info, null_mut()) }, KGL_OK);
    let mut memory = vec![0xa5u8; info.memory_bytes + 1];
    for skip in [0, 1] {
        let here = kgl_session_params { memory: memory[skip..].as_mut_ptr().cast(), memory_bytes: info.memory_bytes, ..params() };
        let callers = kgl_session_params { run: Some(backwards), run_user: (&raw mut runs).cast(), run_count: 3, ..params() };
        for params in [here, callers, params(), kgl_session_params { threads: 3, ..params() }, kgl_session_params { isa: 1, ..params() }] {
            let mut session = session(opened.model, &params);
            let mut info = kgl_session_info_default();
            // SAFETY: the session lives.
            unsafe {
                assert_eq!(kgl_session_prefill(session, opened.tokens.as_ptr(), 39, null_mut()), KGL_OK);
                assert_eq!(kgl_session_decode(session, opened.tokens[39], null_mut()), KGL_OK);
                assert_eq!(kgl_session_get_info(session, &mut info, null_mut()), KGL_OK);
                assert_eq!((info.position, info.context, info.has_logits), (40, 64, true));
                assert!(logits(session) == expected, "isa {:?}", info.isa);
                assert_eq!((kgl_session_free(&mut session, null_mut()), session), (KGL_OK, null_mut()));
            }
        }
    }
    assert!(runs > 0);
}

#[test]
fn a_state_goes_on_in_another_session() {
    let opened = open();
    let (mut a, mut b) = (session(opened.model, &params()), session(opened.model, &kgl_session_params { isa: 1, threads: 2, ..params() }));
    let (tokens, mut bytes, mut error) = (opened.tokens.as_ptr(), 0, kgl_error_default());
    // SAFETY: everything lives until the end.
    unsafe {
        assert_eq!(kgl_session_prefill(a, tokens, 30, null_mut()), KGL_OK);
        assert_eq!(kgl_session_save(a, null_mut(), 0, &mut bytes, &mut error), KGL_ERROR_TOO_SMALL);
        let mut state = vec![0u8; bytes];
        assert_eq!(kgl_session_save(a, state.as_mut_ptr().cast(), bytes, &mut bytes, null_mut()), KGL_OK);
        assert_eq!(kgl_session_restore(b, state.as_ptr().cast(), bytes, &mut error), KGL_OK);
        assert_eq!(kgl_session_logits(b, &mut null(), null_mut(), &mut error), KGL_ERROR_NO_LOGITS);
        for session in [a, b] {
            assert_eq!(kgl_session_prefill(session, tokens.add(30), 10, null_mut()), KGL_OK);
        }
        assert!(logits(a) == logits(b));
        state[bytes / 2] ^= 1;
        assert_eq!(kgl_session_restore(b, state.as_ptr().cast(), bytes, &mut error), KGL_ERROR_STATE);
        assert_eq!(text(&error), "state: the checksum is wrong: a byte has changed");
        assert_eq!(kgl_session_truncate(b, 41, &mut error), KGL_ERROR_POSITION);
        assert_eq!(kgl_session_truncate(b, 0, &mut error), KGL_OK);
        assert_eq!((kgl_session_free(&mut a, null_mut()), kgl_session_free(&mut b, null_mut())), (KGL_OK, KGL_OK));
    }
}

/// A session, and what its own progress callback got from it.
struct Inside {
    session: *mut kgl_session,
    statuses: Vec<kgl_status>,
}

unsafe extern "C" fn call_again(user: *mut c_void, done: usize, total: usize) -> i32 {
    // SAFETY: the test hands over an `Inside`, and holds no reference to it during the call.
    let inside = unsafe { &mut *user.cast::<Inside>() };
    // SAFETY: the session lives.
    unsafe {
        inside.statuses.push(kgl_session_decode(inside.session, 1, null_mut()));
        inside.statuses.push(kgl_session_free(&mut inside.session, null_mut()));
    }
    i32::from(total == 40 && done == 32)
}

#[test]
fn a_callback_ends_a_prompt_and_cannot_enter_its_own_session() {
    let opened = open();
    let mut inside = Inside { session: null_mut(), statuses: Vec::new() };
    let user = &raw mut inside;
    let mut session = session(opened.model, &kgl_session_params { progress: Some(call_again), progress_user: user.cast(), ..params() });
    let (mut error, mut info) = (kgl_error_default(), kgl_session_info_default());
    // SAFETY: everything lives until the end.
    unsafe {
        (*user).session = session;
        assert_eq!(kgl_session_prefill(session, opened.tokens.as_ptr(), 40, &mut error), KGL_ERROR_CANCELLED);
        assert_eq!(text(&error), "the progress callback ended it after 32 of 40 tokens");
        assert_eq!((*user).statuses, [KGL_ERROR_BUSY; 4]);
        assert_eq!(kgl_session_get_info(session, &mut info, null_mut()), KGL_OK);
        assert_eq!((info.position, info.has_logits), (32, false));
        assert_eq!(kgl_session_free(&mut session, null_mut()), KGL_OK);
    }
}

#[test]
fn mistakes_are_codes_with_a_sentence() {
    let mut opened = open();
    let (file, _) = file();
    let mut session = session(opened.model, &params());
    let mut error = kgl_error_default();
    let (mut other, mut none): (*mut kgl_model, *mut kgl_session) = (null_mut(), null_mut());
    let (data, bytes, err) = (file.bytes().as_ptr().cast::<c_void>(), file.bytes().len(), &raw mut error);
    // SAFETY: what is wrong in each is what the library promises to see.
    unsafe {
        let check = |status: kgl_status, expected: kgl_status, sentence: &str| {
            assert_eq!((status, (*err).status, text(&*err).as_str()), (expected, expected as i32, sentence));
        };
        check(kgl_model_free(&mut opened.model, err), KGL_ERROR_IN_USE, "model: 1 objects made from it are not freed yet");
        check(kgl_model_from_memory(null(), 9, null(), &mut other, err), KGL_ERROR_NULL, "data: expected a pointer, got NULL");
        check(kgl_model_from_memory(data, bytes, null(), null_mut(), err), KGL_ERROR_NULL, "out: expected a pointer, got NULL");
        let sized = kgl_model_params { size: 4, ..kgl_model_params_default() };
        let sentence = format!("params.size: expected {}, got 4; the struct's _default() sets it", size_of::<kgl_model_params>());
        check(kgl_model_from_memory(data, bytes, &sized, &mut other, err), KGL_ERROR_SIZE, &sentence);
        let small = kgl_model_params { memory: (&raw mut error).cast(), memory_bytes: 8, ..kgl_model_params_default() };
        let sentence = format!("params.memory: expected room for {}, got 8", kgl_model_bytes());
        check(kgl_model_from_memory(data, bytes, &small, &mut other, err), KGL_ERROR_TOO_SMALL, &sentence);
        let sentence = "not a .kgl file: its first 8 bytes are another file type's";
        check(kgl_model_from_memory(data.add(8), bytes - 8, null(), &mut other, err), KGL_ERROR_FORMAT, sentence);
        check(kgl_session_decode(null_mut(), 0, err), KGL_ERROR_NULL, "session: expected a pointer, got NULL");
        let sentence = "session: expected a living session, got something else or a freed one";
        check(kgl_session_decode(opened.model.cast(), 0, err), KGL_ERROR_HANDLE, sentence);
        let sentence = format!("token id {} is not below the vocabulary's {}", u32::MAX, VOCAB);
        check(kgl_session_decode(session, u32::MAX, err), KGL_ERROR_TOKEN, &sentence);
        check(kgl_session_prefill(session, null(), 0, err), KGL_ERROR_TOKEN, "no tokens were given");
        check(kgl_session_prefill(session, null(), 1, err), KGL_ERROR_NULL, "tokens: expected a pointer, got NULL");
        let sentence = format!("tokens: expected at most {}, got {}", isize::MAX as usize / 4, usize::MAX);
        check(kgl_session_prefill(session, opened.tokens.as_ptr(), usize::MAX, err), KGL_ERROR_TOO_LONG, &sentence);
        for (wrong, sentence) in [
            (kgl_session_params { cache: 7, ..params() }, "params.cache: expected a number of kgl_cache, got 7"),
            (kgl_session_params { cache: -7, ..params() }, "params.cache: expected a number of kgl_cache, got -7"),
            (kgl_session_params { isa: 99, ..params() }, "isa: expected a number of kgl_isa, got 99"),
            (kgl_session_params { threads: 5000, ..params() }, "params.threads: expected at most 1024, got 5000"),
            (kgl_session_params { batch: 0, ..params() }, "batch must be at least 1"),
            (kgl_session_params { run: Some(backwards), run_count: 0, ..params() }, "params.run_count: expected at least 1, got 0"),
        ] {
            check(kgl_session_new(opened.model, &wrong, &mut none, err), KGL_ERROR_ARGUMENT, sentence);
        }
        let sentence = "out: expected room for 24, got 1";
        check(kgl_session_embed(session, opened.tokens.as_ptr(), 2, 0, &mut 0.0, 1, err), KGL_ERROR_TOO_SMALL, sentence);
        check(kgl_session_free(&mut session, err), KGL_OK, "");
        check(kgl_session_free(&mut session, err), KGL_OK, "");
        check(
            kgl_model_open(c"/nowhere/x.kgl".as_ptr(), null(), &mut other, err),
            KGL_ERROR_FILE,
            "/nowhere/x.kgl: No such file or directory (os error 2)",
        );
    }
    assert!(other.is_null() && none.is_null());
}

#[test]
fn an_embedding_is_the_crates() {
    let opened = open();
    let model = Model::new(opened.file.bytes()).unwrap();
    let plan = Plan::new(model.spec(), Options { context: 64, batch: 16, ..Options::default() }).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let ids: Vec<TokenId> = opened.tokens.iter().map(|&id| TokenId(id)).collect();
    let mut session = session(opened.model, &params());
    for (number, pooling) in [(0, Pooling::Last), (1, Pooling::Mean)] {
        let (mut expected, mut got) = ([0.0f32; 24], [1.0f32; 25]);
        let mut oracle = Session::new(&model, &plan, &mut arena, Kernels::best(), &Serial).unwrap();
        oracle.embed(&ids, pooling, &mut expected).unwrap();
        // SAFETY: everything lives until the end.
        unsafe {
            assert_eq!(kgl_session_truncate(session, 0, null_mut()), KGL_OK);
            let out = got.as_mut_ptr();
            assert_eq!(kgl_session_embed(session, opened.tokens.as_ptr(), 40, number, out, 25, null_mut()), KGL_OK);
            assert_eq!(kgl_session_embed(session, opened.tokens.as_ptr(), 1, 2, out, 25, null_mut()), KGL_ERROR_ARGUMENT);
        }
        assert_eq!((got[..24] == expected, got[24]), (true, 1.0), "{pooling:?}");
    }
    // SAFETY: as above.
    assert_eq!(unsafe { kgl_session_free(&mut session, null_mut()) }, KGL_OK);
}

#[test]
fn a_freed_object_in_the_callers_memory_is_seen() {
    let opened = open();
    let mut info = kgl_plan_info_default();
    // SAFETY: the memory outlives every pointer into it.
    unsafe {
        assert_eq!(kgl_plan(opened.model, &params(), &mut info, null_mut()), KGL_OK);
        let mut memory = vec![0u8; info.memory_bytes];
        let here = kgl_session_params { memory: memory.as_mut_ptr().cast(), memory_bytes: memory.len(), ..params() };
        let mut session = session(opened.model, &here);
        let mut again = session;
        assert_eq!(kgl_session_free(&mut session, null_mut()), KGL_OK);
        assert_eq!(kgl_session_decode(again, 0, null_mut()), KGL_ERROR_HANDLE);
        assert_eq!(kgl_session_free(&mut again, null_mut()), KGL_ERROR_HANDLE);
        let mut none = null_mut();
        let small = kgl_session_params { memory_bytes: memory.len() - 1, ..here };
        assert_eq!(kgl_session_new(opened.model, &small, &mut none, null_mut()), KGL_ERROR_TOO_SMALL);
    }
}

#[test]
fn a_file_is_opened_and_its_faults_are_told_with_its_name() {
    let (file, _) = file();
    let mut good = tempfile::NamedTempFile::new().unwrap();
    good.write_all(file.bytes()).unwrap();
    let mut bad = tempfile::NamedTempFile::new().unwrap();
    bad.write_all(b"MZ this is something else").unwrap();
    let name = |file: &tempfile::NamedTempFile| std::ffi::CString::new(file.path().to_str().unwrap()).unwrap();
    let (mut model, mut error, mut info) = (null_mut(), kgl_error_default(), kgl_model_info_default());
    // SAFETY: names end with a 0.
    unsafe {
        assert_eq!(kgl_model_open(name(&good).as_ptr(), null(), &mut model, &mut error), KGL_OK);
        assert_eq!(kgl_model_get_info(model, &mut info, &mut error), KGL_OK);
        assert_eq!((info.vocab, info.file_bytes, info.has_tokenizer), (VOCAB, file.bytes().len() as u64, false));
        assert_eq!(kgl_model_free(&mut model, &mut error), KGL_OK);
        assert_eq!(kgl_model_open(name(&bad).as_ptr(), null(), &mut model, &mut error), KGL_ERROR_FORMAT);
        assert!(text(&error).starts_with(bad.path().to_str().unwrap()), "{}", text(&error));
    }
}

#[test]
fn every_code_and_every_set_has_a_text_and_a_number_of_its_own() {
    // SAFETY: static texts.
    let text = |code: i32| unsafe { CStr::from_ptr(kgl_strerror(code)) }.to_str().unwrap();
    for (i, status) in kgl_status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, i);
        assert!((0..i as i32).all(|other| text(other) != text(i as i32)) && text(i as i32) != "unknown code", "{status:?}");
    }
    assert_eq!((text(-1), text(kgl_status::ALL.len() as i32)), ("unknown code", "unknown code"));
    for isa in kinglet::isa::Isa::ALL {
        let number = (1..8).find(|&n| {
            // SAFETY: a static text.
            unsafe { CStr::from_ptr(kgl_isa_name(n)) }.to_str() == Ok(isa.name())
        });
        assert_eq!(number.map(|n| kgl_isa_available(n)), Some(isa.is_available()), "{isa}");
    }
    assert!(kgl_isa_name(8).is_null() && !kgl_isa_available(8) && kgl_isa_available(0));
    assert_eq!((kgl_version(), kgl_features()), (0x100, KGL_FEATURE_STD));
    assert!(kgl_isa_available(kgl_isa_best() as i32));
}

#[test]
fn any_sequence_of_calls_is_a_sequence_of_codes() {
    let file = include_bytes!("../models/random.kgl");
    let mut random = synthetic::Random::new(7);
    let mut good = [0; calls::CALLS];
    for _ in 0..5000 {
        // Models, tokenizers, samplers and sessions are made first, most often.
        let mut program: Vec<u8> = (0..random.below(900)).map(|_| random.next_u64() as u8).collect();
        for (i, call) in [0, 16, 25, 6].into_iter().enumerate() {
            if let Some(place) = program.get_mut(i * 40) {
                *place = call;
            }
        }
        for (sum, n) in good.iter_mut().zip(calls::run(file, &program)) {
            *sum += n;
        }
    }
    let never: Vec<usize> = (0..calls::CALLS).filter(|&call| good[call] == 0).collect();
    assert!(never.is_empty(), "calls that never succeeded: {never:?}; {good:?}");
    println!("calls that succeeded: {good:?}");
}
