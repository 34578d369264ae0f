//! Nothing is allocated once the caller has handed over its memory: not by binding a model, making a session, reading
//! a prompt, generating, or turning tokens into text; serially and on a pool.
//!
//! Counted are the threads that take part. Those of the test's own tools, such as the converter's, may go on in peace.

use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::sampler::{Candidate, Sampler, SamplerConfig, StopMatcher};
use kinglet::session::{Options, Plan, Session};
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeOptions, TokenId};
use kinglet::workers::{Pool, Serial, Workers};
use kinglet_quant::DType;
use kinglet_tests::golden;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and how often watched threads asked it.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread's allocations are counted.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if WATCHED.get() {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PROMPT: &str = "Once, há 猫 ☃: 123\n\n end";
const GENERATED: usize = 20;
const TEXT_BYTES: usize = 1 << 14;

/// The caller's memory for everything but the session.
struct Memory {
    scratch: Vec<u32>,
    tokens: Vec<TokenId>,
    candidates: Vec<Candidate>,
    piece: Vec<u8>,
    stopped: Vec<u8>,
    held: Vec<u8>,
    arena: Vec<u8>,
}

/// A whole conversation; returns the bytes of text made.
fn converse(file: &MappedFile, options: Options, config: SamplerConfig, workers: &dyn Workers, m: &mut Memory) -> usize {
    let model = Model::new(file.bytes()).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let plan = Plan::new(model.spec(), options).unwrap();
    let mut session = Session::new(&model, &plan, &mut m.arena, Kernels::best(), workers).unwrap();
    let mut sampler = Sampler::new(config, &[(TokenId(3), -1.0)]).unwrap();
    let mut decoder = Decoder::new(tokenizer, DecodeOptions::default());
    let mut stop = StopMatcher::new(&["\u{1}never\u{1}"], &mut m.held).unwrap();
    let prompt = tokenizer.encode(PROMPT, &EncodeOptions::default(), &mut m.scratch, &mut m.tokens).unwrap();
    session.prefill_each(&m.tokens[..prompt], &mut |_, logits| assert!(logits[0].is_finite())).unwrap();
    session.truncate(session.position() - 1).unwrap();
    let mut logits = session.prefill(&m.tokens[prompt - 1..prompt]).unwrap();
    let mut text = 0;
    for n in prompt..prompt + GENERATED {
        let token = sampler.sample(logits, &m.tokens[..n], &mut m.candidates).unwrap();
        m.tokens[n] = token;
        let piece = decoder.push(token, &mut m.piece).unwrap();
        text += stop.push(piece, &mut m.stopped).unwrap().text.len();
        logits = session.prefill(&[token]).unwrap();
    }
    text + decoder.finish(&mut m.piece).unwrap().len() + stop.finish().len()
}

#[test]
fn nothing_is_allocated() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let pool = Pool::new(3).expect("threads");
    // Every thread takes one chunk, because they wait for each other.
    let together = Barrier::new(pool.count());
    pool.run(pool.count(), &|_| {
        together.wait();
        WATCHED.set(true);
    });
    for name in ["llama-plain", "gpt2", "mistral-window"] {
        for dtype in [DType::Q4, DType::F16] {
            let out = temporary.path().join("model.kgl");
            golden::convert(&golden::folder().join(name), dtype, &out);
            let file = MappedFile::open(&out).expect("the file just written");
            let model = Model::new(file.bytes()).expect("a sound file");
            let tokenizer = model.tokenizer().expect("a tokenizer");
            for cache in [CacheType::I8, CacheType::F32] {
                let n = tokenizer.max_tokens(PROMPT.len()) + GENERATED;
                let options = Options { context: n.min(model.spec().context as usize), batch: 8, cache, logit_rows: 2 };
                let mut memory = Memory {
                    scratch: vec![0; tokenizer.scratch_words(PROMPT.len())],
                    tokens: vec![TokenId(0); n],
                    candidates: vec![Candidate::default(); model.spec().vocab as usize],
                    piece: vec![0; TEXT_BYTES],
                    stopped: vec![0; TEXT_BYTES],
                    held: vec![0; TEXT_BYTES],
                    arena: vec![0; Plan::new(model.spec(), options).expect("a plan").arena_bytes()],
                };
                let greedy = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
                let penalties = SamplerConfig { repeat_penalty: 1.1, frequency_penalty: 0.1, seed: 9, ..SamplerConfig::default() };
                for config in [greedy, penalties] {
                    for workers in [&Serial as &dyn Workers, &pool] {
                        let before = COUNT.load(Ordering::SeqCst);
                        let text = converse(&file, options, config, workers, &mut memory);
                        let count = COUNT.load(Ordering::SeqCst) - before;
                        assert_eq!(count, 0, "allocations: {name}, {dtype}, {cache:?}, {} workers", workers.count());
                        assert!(text > 0, "{name} said nothing");
                    }
                }
            }
        }
    }
    assert!(COUNT.load(Ordering::SeqCst) > 0, "the count must see what the test itself allocates");
}
