//! The embedded tiny model: what `transformers` says of it in f32, and the bits that every machine gives when it is quantised.

use kinglet::format::Section;
use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::Options;
use kinglet::tokenizer::{EncodeOptions, TokenId};
use kinglet::workers::Serial;
use kinglet_quant::DType;
use kinglet_tests::golden::{self, TOLERANCE, Trained};
use kinglet_tests::run;
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{self, Conversion};
use kinglet_tools::digest::sha256;
use kinglet_tools::golden::{TINY, TOKENS, logits_hash, token};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny")
}

/// The file of this type as every command makes it by default.
fn convert(dtype: DType, out: &Path, threads: Option<usize>) -> MappedFile {
    let checkpoint = Checkpoint::open(&folder()).expect("the tiny model");
    let conversion = Conversion::plan(&checkpoint, &convert::Options::of(dtype)).expect("a plan");
    conversion.run(out, true, threads.and_then(NonZeroUsize::new), &()).expect("a file");
    MappedFile::open(out).expect("the file just written")
}

#[test]
fn f32_equals_transformers() {
    let golden = Trained::read("tiny");
    for (file, digest) in &golden.sha256 {
        assert_eq!(kinglet_tools::digest::hex(&sha256(&std::fs::read(folder().join(file)).expect("weights"))), *digest, "{file}");
    }
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let file = convert(DType::F32, &temporary.path().join("tiny.kgl"), None);
    let model = Model::new(file.bytes()).expect("a sound file");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    assert_eq!(model.spec().vocab as usize, golden.vocab_size);
    assert_eq!(golden.cases.len(), 1);
    let options = Options { context: 128, batch: 16, cache: CacheType::F32, logit_rows: 16 };
    for case in &golden.cases {
        let encode = EncodeOptions { add_special: false, ..EncodeOptions::default() };
        assert_eq!(run::encode(tokenizer, &case.prompt, &encode), case.tokens);
        assert_eq!((case.tokens.len(), case.logits.len()), (64, 64 * golden.vocab_size));
        assert_eq!(case.greedy.len(), 40);
        for isa in Isa::available() {
            let kernels = Kernels::select(isa).expect("an available table");
            let bits = run::logits(&model, options, kernels, &Serial, &case.tokens, &[case.tokens.len()]);
            let (worst, scale) = golden::difference(&bits, &case.logits);
            println!("{} {isa}: largest difference {worst:.2e}, largest logit {scale:.2}", case.name);
            assert!(worst <= TOLERANCE * scale, "{isa}: {worst} of {scale}");
            let (_, ids) = run::greedy(&model, options, kernels, &Serial, &case.tokens, case.greedy.len(), |_| false);
            assert_eq!(ids, case.greedy, "{isa}");
            assert_eq!(run::decode(tokenizer, &ids), case.greedy_text, "{isa}");
        }
    }
}

#[test]
fn quantised_logits_are_those_of_every_machine() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut failures = Vec::new();
    for expected in TINY {
        let file = convert(expected.dtype, &temporary.path().join("tiny.kgl"), None);
        let model = Model::new(file.bytes()).expect("a sound file");
        let tokens: Vec<TokenId> = (0..TOKENS).map(|i| token(i, model.spec().vocab)).collect();
        let options = Options { context: TOKENS, batch: 64, cache: CacheType::I8, logit_rows: 1 };
        for isa in Isa::available() {
            let kernels = Kernels::select(isa).expect("an available table");
            let (bits, _) = run::greedy(&model, options, kernels, &Serial, &tokens, 0, |_| false);
            let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let got = logits_hash(&logits);
            if got != expected.logits {
                failures.push(format!("{} on {isa}: expected logits {:016x}, got {got:016x}", expected.dtype, expected.logits));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn quantised_weights_are_those_of_every_machine() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut failures = Vec::new();
    for expected in TINY {
        for threads in [1, 3] {
            let file = convert(expected.dtype, &temporary.path().join("tiny.kgl"), Some(threads));
            let model = Model::new(file.bytes()).expect("a sound file");
            let got = kinglet_tools::digest::hex(&sha256(model.container().section(Section::Data)));
            if got != expected.data {
                failures.push(format!("{}, {threads} threads: expected weights {}, got {got}", expected.dtype, expected.data));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
