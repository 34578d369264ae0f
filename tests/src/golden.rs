//! The committed golden models: reading what `transformers` computed, converting their checkpoints.

use kinglet::tokenizer::TokenId;
use kinglet_quant::{DType, float};
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{Conversion, Options, Types};
use std::path::{Path, PathBuf};

/// `tests/golden`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// What a `golden.json` and its logits say; `golden/README.md` describes the fields.
#[derive(Debug)]
#[expect(missing_docs, reason = "described in golden/README.md")]
pub struct Golden {
    pub tokens: Vec<TokenId>,
    pub positions: Vec<usize>,
    pub logits: Vec<f32>,
    pub greedy: Vec<TokenId>,
}

impl Golden {
    /// Reads `folder/golden.json` and the logits file that it names.
    ///
    /// # Panics
    /// If they are not there or not as described: golden data is part of the project.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("golden.json")).expect("golden.json");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let list = |key: &str| -> Vec<u64> { json[key].as_array().expect(key).iter().map(|v| v.as_u64().expect(key)).collect() };
        let ids = |key: &str| list(key).into_iter().map(|id| TokenId(id as u32)).collect();
        let bytes = std::fs::read(folder.join(json["logits"].as_str().expect("logits"))).expect("the logits");
        let mut logits = vec![0.0; bytes.len() / 4];
        float::read_f32(&bytes, &mut logits);
        Self {
            tokens: ids("tokens"),
            positions: list("positions").into_iter().map(|p| p as usize).collect(),
            logits,
            greedy: ids("greedy"),
        }
    }
}

/// What `NAME.json` says of a trained model; `golden/README.md` describes the fields.
#[derive(Debug)]
#[expect(missing_docs, reason = "described in golden/README.md")]
pub struct Trained {
    /// Names of the weight files, and their SHA-256 in hexadecimal.
    pub sha256: Vec<(String, String)>,
    pub vocab_size: usize,
    pub cases: Vec<TextCase>,
}

/// A prompt and what follows it.
#[derive(Debug)]
#[expect(missing_docs, reason = "described in golden/README.md")]
pub struct TextCase {
    pub name: String,
    pub prompt: String,
    pub tokens: Vec<TokenId>,
    pub greedy: Vec<TokenId>,
    pub greedy_text: String,
    /// `[rows][vocab_size]`, the logits of the last positions of the prompt.
    pub logits: Vec<f32>,
}

impl Trained {
    /// Reads `golden/NAME.json` and the logits file that it names.
    ///
    /// # Panics
    /// If they are not there or not as described: golden data is part of the project.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).expect("the description");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let bytes = std::fs::read(folder().join(json["logits"].as_str().expect("logits"))).expect("the logits");
        let mut logits = vec![0.0; bytes.len() / 4];
        float::read_f32(&bytes, &mut logits);
        let number = |value: &serde_json::Value| value.as_u64().expect("a number") as usize;
        let string = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let ids = |value: &serde_json::Value| value.as_array().expect("ids").iter().map(|id| TokenId(number(id) as u32)).collect();
        let vocab_size = number(&json["vocab_size"]);
        let cases = json["cases"].as_array().expect("cases");
        let starts: Vec<usize> = cases.iter().map(|case| number(&case["logits_row"]) * vocab_size).chain([logits.len()]).collect();
        let case = |(case, rows): (&serde_json::Value, &[usize])| TextCase {
            name: string(&case["name"]),
            prompt: string(&case["prompt"]),
            tokens: ids(&case["tokens"]),
            greedy: ids(&case["greedy"]),
            greedy_text: string(&case["greedy_text"]),
            logits: logits[rows[0]..rows[1]].to_vec(),
        };
        Self {
            sha256: json["sha256"].as_object().expect("sha256").iter().map(|(file, digest)| (file.clone(), string(digest))).collect(),
            vocab_size,
            cases: cases.iter().zip(starts.windows(2)).map(case).collect(),
        }
    }
}

/// Largest difference to the library that is allowed, in units of the largest logit (at least 1).
pub const TOLERANCE: f32 = 1e-4;

/// The largest difference between logits, as [`run::logits`](crate::run::logits) gives them, and those expected; and the
/// scale that [`TOLERANCE`] is in.
///
/// # Panics
/// If their numbers differ.
#[must_use]
pub fn difference(bits: &[u32], expected: &[f32]) -> (f32, f32) {
    assert_eq!(bits.len(), expected.len());
    let (mut worst, mut scale) = (0.0f32, 1.0f32);
    for (got, expected) in bits.iter().zip(expected) {
        let difference = (f32::from_bits(*got) - expected).abs();
        // `f32::max` would forget a NaN.
        worst = if difference > worst || difference.is_nan() { difference } else { worst };
        scale = scale.max(expected.abs());
    }
    (worst, scale)
}

/// Converts a checkpoint folder with all matrices of type `dtype`, replacing `out`.
///
/// # Panics
/// If the converter refuses.
pub fn convert(folder: &Path, dtype: DType, out: &Path) {
    let checkpoint = Checkpoint::open(folder).unwrap_or_else(|e| panic!("{e}"));
    let options = Options { types: Types { weights: dtype, embed: Some(dtype), head: None }, ..Options::of(dtype) };
    let conversion = Conversion::plan(&checkpoint, &options).unwrap_or_else(|e| panic!("{e}"));
    conversion.run(out, true, None, &()).unwrap_or_else(|e| panic!("{e}"));
}
