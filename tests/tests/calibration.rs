//! Calibration pays: q4 of the tiny model is closer to f32 with it than without, on a text that it has not seen.

use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::Options;
use kinglet::tokenizer::{EncodeOptions, TokenId};
use kinglet::workers::Serial;
use kinglet_quant::DType;
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{self, Calibration, Conversion};
use std::path::Path;

const TOKENS: usize = 1024;

/// Logits `[TOKENS][vocab]`, in pieces of 512 tokens that each begin anew, and the vocabulary's size.
fn logits(folder: &Path, types: DType, calibration: Calibration<'_>, out: &Path) -> (Vec<f32>, usize) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let options = convert::Options { calibration, ..convert::Options::of(types) };
    Conversion::plan(&checkpoint, &options).unwrap().run(out, true, None, &()).unwrap();
    let file = MappedFile::open(out).unwrap();
    let model = Model::new(file.bytes()).unwrap();
    let text = include_str!("../corpus/persuasion-excerpt.txt");
    let tokenizer = model.tokenizer().unwrap();
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut ids = vec![TokenId(0); tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, &EncodeOptions::default(), &mut scratch, &mut ids).unwrap();
    assert!(n >= TOKENS);
    let options = Options { context: 512, batch: 128, cache: CacheType::F32, logit_rows: 8 };
    let pieces = ids[..TOKENS].chunks(512);
    let bits = pieces.flat_map(|ids| kinglet_tests::run::logits(&model, options, Kernels::best(), &Serial, ids, &[512]));
    (bits.map(f32::from_bits).collect(), model.spec().vocab as usize)
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let greatest = logits.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - greatest).exp()).sum();
    logits.iter().map(|&x| f64::from(x) - greatest - sum.ln()).collect()
}

/// Mean KL divergence of `other` from `reference`.
fn divergence(reference: &[f32], other: &[f32], vocab: usize) -> f64 {
    let rows = reference.chunks_exact(vocab).zip(other.chunks_exact(vocab));
    let each = rows.map(|(p, q)| log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
    each.sum::<f64>() / (reference.len() / vocab) as f64
}

#[test]
fn calibrated_q4_is_closer_to_f32() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    let temporary = tempfile::tempdir().unwrap();
    let out = temporary.path().join("model.kgl");
    let (reference, vocab) = logits(&folder, DType::F32, Calibration::Off, &out);
    let of = |types, calibration| divergence(&reference, &logits(&folder, types, calibration, &out).0, vocab);
    let (q8, plain, calibrated) = (of(DType::Q8, Calibration::Off), of(DType::Q4, Calibration::Off), of(DType::Q4, Calibration::BuiltIn));
    println!("KL divergence from f32: q8 {q8:.5}, q4 {plain:.4}, q4 calibrated {calibrated:.4}");
    assert!(calibrated < plain && q8 < 0.1 * plain, "q8 {q8}, q4 {plain}, calibrated {calibrated}");
}
