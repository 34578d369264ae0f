//! `tokenizer.json` to the tokenizer section of a model file.
//!
//! The compiler accepts exactly the settings whose meaning the runtime reproduces, and refuses everything else by the name of its field:
//! a tokenizer is compiled whole or not at all. What it writes is read back and checked before it is returned.
//!
//! ```
//! use kinglet_tools::tokenizer_compiler::compile;
//!
//! let json = br#"{"model": {"type": "WordPiece", "vocab": {}}}"#;
//! let error = compile(json, None, None, 100).unwrap_err();
//! assert_eq!(error.to_string(), r#"tokenizer.json: model.type: expected "BPE" or nothing, found "WordPiece""#);
//! ```

mod field;
mod pipeline;
mod vocabulary;

use std::fmt;

use kinglet::tokenizer::section::{Header, NONE};
use kinglet::tokenizer::{TokenId, Tokenizer, TokenizerError};
use serde_json::{Value, json};

use field::{Field, object};
use pipeline::Pipeline;
use vocabulary::{Added, Vocabulary};

/// A section and what the converter reports about it.
#[derive(Debug)]
pub struct CompiledTokenizer {
    /// The bytes that `kinglet::tokenizer::Tokenizer::parse` reads.
    pub section: Vec<u8>,
    /// What was left out or changed, in words, for the user to read.
    pub notes: Vec<String>,
    /// The text of the beginning token, for the chat template.
    pub bos: Option<String>,
    /// The text of the end token, for the chat template.
    pub eos: Option<String>,
}

/// Why a tokenizer is not compiled.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum TokenizerCompileError {
    /// A file is not JSON.
    Json {
        /// The file.
        file: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// A field has a value that is malformed or not supported.
    Field {
        /// The file.
        file: &'static str,
        /// The path of the field.
        field: String,
        /// What is supported.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// The section does not pass the runtime's own check.
    Check(TokenizerError),
}

impl fmt::Display for TokenizerCompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { file, reason } => write!(f, "{file}: not JSON: {reason}"),
            Self::Field { file, field, expected, found } => write!(f, "{file}: {field}: expected {expected}, found {found}"),
            Self::Check(error) => write!(f, "tokenizer.json: the compiled tables are not consistent: {error}"),
        }
    }
}

impl std::error::Error for TokenizerCompileError {}

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Compiles the bytes of `tokenizer.json`, with those of `tokenizer_config.json` and `generation_config.json` if there are any.
/// `vocab_size` is the number of rows of the model's embedding.
///
/// # Errors
/// [`TokenizerCompileError`] names the file, the field, what is supported and what was found.
pub fn compile(
    tokenizer_json: &[u8],
    tokenizer_config: Option<&[u8]>,
    generation_config: Option<&[u8]>,
    vocab_size: u32,
) -> Result<CompiledTokenizer, TokenizerCompileError> {
    let parse = |file: &'static str, bytes: &[u8]| {
        serde_json::from_slice::<Value>(bytes).map_err(|error| TokenizerCompileError::Json { file, reason: error.to_string() })
    };
    let tokenizer = parse(TOKENIZER, tokenizer_json)?;
    let tokenizer_config = tokenizer_config.map(|bytes| parse(TOKENIZER_CONFIG, bytes)).transpose()?;
    let generation_config = generation_config.map(|bytes| parse(GENERATION_CONFIG, bytes)).transpose()?;

    let root = Field::root(TOKENIZER, &tokenizer);
    object(&root)?;
    // Files of the library's first versions leave the type out.
    root.get("model").get("type").must_be(&[json!("BPE"), Value::Null])?;
    let pipeline = Pipeline::read(&root)?;
    let vocabulary = Vocabulary::read(&root, &pipeline, vocab_size)?;
    let (prefix, suffix) = pipeline::template(&root.get("post_processor"), &vocabulary)?;

    let bos = match tokenizer_config.as_ref().map(|config| named_token(config, "bos_token")).transpose()?.flatten() {
        Some(text) => Some(text),
        None => prefix.map(|id| vocabulary.text_of(id)),
    };
    let bos_id = bos.as_deref().and_then(|text| vocabulary.id_of(text));
    let eos = tokenizer_config.as_ref().map(|config| named_token(config, "eos_token")).transpose()?.flatten();
    let mut ends = Vec::new();
    if let Some(config) = &generation_config {
        ends.extend(end_ids(config, vocab_size)?);
    }
    ends.extend(eos.as_deref().and_then(|text| vocabulary.id_of(text)));
    ends.sort_unstable();
    ends.dedup();

    let header = Header {
        vocab_size,
        text_bytes: vocabulary.text.iter().map(Vec::len).sum::<usize>() as u32,
        merge_count: vocabulary.merges.len() as u32,
        index_count: vocabulary.index.len() as u32,
        raw_count: vocabulary.raw_added.len() as u32,
        normalized_count: vocabulary.normalized_added.len() as u32,
        added_bytes: vocabulary.raw_added.iter().chain(&vocabulary.normalized_added).map(|added| added.text.len()).sum::<usize>() as u32,
        end_count: ends.len() as u32,
        bos: bos_id.unwrap_or(NONE),
        unknown: vocabulary.unknown.unwrap_or(NONE),
        prefix: prefix.unwrap_or(NONE),
        suffix: suffix.unwrap_or(NONE),
        first_result: first_result(&vocabulary.results),
        model: pipeline.model,
        normalizer: pipeline.normalizer,
        split: pipeline.split,
        max_digits: pipeline.max_digits,
        lead: pipeline.lead,
        decoder: pipeline.decoder,
        isolate_digits: pipeline.isolate_digits,
        ignore_merges: vocabulary.ignore_merges,
        fuse_unknown: vocabulary.fuse_unknown,
    };
    let section = write(&header, &vocabulary, &ends);
    let checked = Tokenizer::parse(&section, vocab_size).map_err(TokenizerCompileError::Check)?;
    debug_assert!(ends.iter().all(|&end| checked.is_end(TokenId(end))));
    Ok(CompiledTokenizer { notes: vocabulary.notes, section, bos, eos })
}

/// The tables behind the header, in the order of `docs/format-tokenizer.md`.
fn write(header: &Header, vocabulary: &Vocabulary, ends: &[u32]) -> Vec<u8> {
    let mut out = header.to_bytes().to_vec();
    let word = |out: &mut Vec<u8>, word: u32| out.extend(word.to_le_bytes());
    let triple = |out: &mut Vec<u8>, triple: u32| out.extend(&triple.to_le_bytes()[..3]);

    let mut end = 0;
    triple(&mut out, end);
    for text in &vocabulary.text {
        end += text.len() as u32;
        triple(&mut out, end);
    }
    out.extend(vocabulary.kinds.iter().map(|&kind| kind as u8));
    vocabulary.text.iter().for_each(|text| out.extend(text));
    vocabulary.byte_tokens.iter().for_each(|id| word(&mut out, id.unwrap_or(NONE)));
    let mut counted = 0;
    for left in 0..=header.vocab_size {
        counted += vocabulary.merges[counted..].iter().take_while(|merge| merge.left < left).count();
        triple(&mut out, counted as u32);
    }
    for merge in &vocabulary.merges {
        [merge.right, merge.rank].into_iter().for_each(|value| triple(&mut out, value));
    }
    if header.first_result == NONE {
        vocabulary.results.iter().for_each(|&id| triple(&mut out, id));
    }
    vocabulary.index.iter().for_each(|&id| triple(&mut out, id));
    let mut end = 0;
    for table in [&vocabulary.raw_added, &vocabulary.normalized_added] {
        for (at, added) in table.iter().enumerate() {
            end += added.text.len() as u32;
            [added.id, end, added.flags, parent(table, at)].into_iter().for_each(|value| word(&mut out, value));
        }
    }
    for added in vocabulary.raw_added.iter().chain(&vocabulary.normalized_added) {
        out.extend(added.text.as_bytes());
    }
    ends.iter().for_each(|&id| word(&mut out, id));
    out
}

/// The result of the merge of rank 0 if the others follow it one by one, as they do in a vocabulary numbered while it was trained.
fn first_result(results: &[u32]) -> u32 {
    let follow = results.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    results.first().copied().filter(|_| follow).unwrap_or(NONE)
}

/// The position of the longest other token that token `at` of a sorted table starts with.
fn parent(table: &[Added], at: usize) -> u32 {
    let text = &table[at].text;
    table[..at].iter().rposition(|other| text.starts_with(&other.text)).map_or(NONE, |position| position as u32)
}

/// A token of `tokenizer_config.json`: a string, an object with `content`, or null.
fn named_token(config: &Value, name: &str) -> Result<Option<String>, TokenizerCompileError> {
    let root = Field::root(TOKENIZER_CONFIG, config);
    object(&root)?;
    let token = root.get(name);
    match token.value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(_) => Ok(Some(token.get("content").string()?.to_owned())),
        _ => Err(token.unexpected("a token's text")),
    }
}

/// `eos_token_id`: a number, a list of numbers, or null.
fn end_ids(config: &Value, vocab_size: u32) -> Result<Vec<u32>, TokenizerCompileError> {
    let root = Field::root(GENERATION_CONFIG, config);
    object(&root)?;
    let ids = root.get("eos_token_id");
    let id = |field: &Field<'_>| field.id(vocab_size);
    match ids.value {
        Value::Null => Ok(Vec::new()),
        Value::Array(_) => ids.items()?.iter().map(id).collect(),
        _ => Ok(vec![id(&ids)?]),
    }
}
