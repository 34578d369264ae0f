//! The whole model in f32 equals `transformers`: every family and option of `golden/`, to 1e-4 of the logits' scale.

use kinglet::format::Container;
use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::Options;
use kinglet::tokenizer::TokenId;
use kinglet::workers::Serial;
use kinglet_quant::DType;
use kinglet_tests::golden::{self, Golden};

/// Largest difference allowed, in units of the largest logit (at least 1).
const TOLERANCE: f32 = 1e-4;

fn folders() -> Vec<std::path::PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(golden::folder())
        .expect("tests/golden")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("golden.json").exists())
        .collect();
    folders.sort();
    folders
}

#[test]
fn f32_models_equal_transformers() {
    let folders = folders();
    assert!(folders.len() >= 12, "only {} golden models", folders.len());
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut failures = Vec::new();
    for folder in folders {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let golden = Golden::read(&folder);
        let out = temporary.path().join("model.kgl");
        golden::convert(&folder, DType::F32, &out);
        let file = MappedFile::open(&out).expect("the file just written");
        let model = Model::new(file.bytes()).expect("a sound file");
        let options = Options { context: 64, batch: 16, cache: CacheType::F32, logit_rows: 16 };
        for isa in Isa::available() {
            let kernels = Kernels::select(isa).expect("an available table");
            let bits = kinglet_tests::run::logits(&model, options, kernels, &Serial, &golden.tokens, &[golden.tokens.len()]);
            let vocab = model.spec().vocab as usize;
            let mut worst = 0.0f32;
            let mut scale = 1.0f32;
            for (&position, expected) in golden.positions.iter().zip(golden.logits.chunks_exact(vocab)) {
                for (got, expected) in bits[position * vocab..][..vocab].iter().zip(expected) {
                    let difference = (f32::from_bits(*got) - expected).abs();
                    // `max` alone would drop a NaN.
                    worst = if difference.is_nan() { f32::INFINITY } else { worst.max(difference) };
                    scale = scale.max(expected.abs());
                }
            }
            println!("{name:20} {:8} largest difference {worst:.2e}, largest logit {scale:.2}", isa.name());
            if worst > TOLERANCE * scale {
                failures.push(format!("{name} on {}: {worst} of {scale}", isa.name()));
            }
        }
        let greedy = greedy(&model, options, &golden);
        if greedy != golden.greedy {
            failures.push(format!("{name}: greedy continuation {greedy:?}, expected {:?}", golden.greedy));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn greedy(model: &Model<'_>, options: Options, golden: &Golden) -> Vec<TokenId> {
    let plan = kinglet::session::Plan::new(model.spec(), options).expect("a plan");
    let mut arena = vec![0; plan.arena_bytes()];
    let mut session = kinglet::session::Session::new(model, &plan, &mut arena, Kernels::best(), &Serial).expect("a session");
    let mut next = golden.tokens.clone();
    let mut out = Vec::new();
    while out.len() < golden.greedy.len() {
        let logits = session.prefill(&next).expect("logits");
        let (id, _) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
        next = vec![TokenId(id as u32)];
        out.push(TokenId(id as u32));
    }
    out
}

#[test]
fn quantised_models_stay_close() {
    // Not a measure of quality (the weights are noise), but a wrong layout or scale would be far outside.
    let temporary = tempfile::tempdir().expect("a temporary folder");
    for folder in folders() {
        let golden = Golden::read(&folder);
        for (dtype, limit) in [(DType::F16, 0.06), (DType::Q8, 0.12), (DType::Q4, 0.7)] {
            let out = temporary.path().join("model.kgl");
            golden::convert(&folder, dtype, &out);
            let file = MappedFile::open(&out).expect("the file just written");
            let model = Model::new(file.bytes()).expect("a sound file");
            let options = Options { context: 64, batch: 16, cache: CacheType::I8, logit_rows: 16 };
            let bits = kinglet_tests::run::logits(&model, options, Kernels::best(), &Serial, &golden.tokens, &[golden.tokens.len()]);
            let vocab = model.spec().vocab as usize;
            let (mut noise, mut signal) = (0.0f64, 0.0f64);
            for (&position, expected) in golden.positions.iter().zip(golden.logits.chunks_exact(vocab)) {
                for (got, expected) in bits[position * vocab..][..vocab].iter().zip(expected) {
                    noise += f64::from(f32::from_bits(*got) - expected).powi(2);
                    signal += f64::from(*expected).powi(2);
                }
            }
            let relative = (noise / signal).sqrt();
            println!("{:20} {dtype}: relative error {relative:.4}", folder.file_name().expect("a name").to_string_lossy());
            assert!(relative < limit, "{}, {dtype}: relative error {relative}", folder.display());
        }
    }
}

#[test]
fn every_golden_file_is_sound() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    for folder in folders() {
        let out = temporary.path().join("model.kgl");
        golden::convert(&folder, DType::Q4, &out);
        let file = MappedFile::open(&out).expect("the file just written");
        let container = Container::parse(file.bytes()).expect("a sound file");
        assert_eq!(container.n_tensors(), container.spec().tensors().count());
    }
}
