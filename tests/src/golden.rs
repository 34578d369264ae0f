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
