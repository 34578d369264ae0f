//! `config.json` with an account of its keys: what a family has read, what is harmless, what must be refused.

use kinglet::spec::{Activation, SpecError};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Keys that never change what a model computes, or only how it is trained, sampled from or stored.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "classifier_dropout",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "n_ctx",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// Keys that change what a model computes, with the one value (beside null) that does not.
const MATHS: &[(&str, Neutral)] = &[
    ("add_cross_attention", Neutral::False),
    ("alibi", Neutral::False),
    ("attention_bias", Neutral::False),
    ("attention_chunk_size", Neutral::Null),
    ("attention_multiplier", Neutral::Null),
    ("attn_logit_softcapping", Neutral::Null),
    ("attn_output_gate", Neutral::False),
    ("clip_qkv", Neutral::Null),
    ("cross_attention_hidden_size", Neutral::Null),
    ("embedding_multiplier", Neutral::One),
    ("final_logit_softcapping", Neutral::Null),
    ("is_encoder_decoder", Neutral::False),
    ("layer_types", Neutral::AllFull),
    ("logit_scale", Neutral::One),
    ("logits_scaling", Neutral::One),
    ("mlp_bias", Neutral::False),
    ("moe_intermediate_size", Neutral::Null),
    ("multi_query", Neutral::False),
    ("no_rope_layers", Neutral::Null),
    ("norm_type", Neutral::Null),
    ("num_experts", Neutral::Zero),
    ("num_local_experts", Neutral::Zero),
    ("parallel_attn", Neutral::False),
    ("partial_rotary_factor", Neutral::One),
    ("pruned_heads", Neutral::EmptyObject),
    ("qk_layernorm", Neutral::False),
    ("qk_norm", Neutral::False),
    ("quantization", Neutral::Null),
    ("quantization_config", Neutral::Null),
    ("query_pre_attn_scalar", Neutral::Null),
    ("residual_multiplier", Neutral::One),
    ("rope_interleaved", Neutral::False),
    ("rope_parameters", Neutral::Null),
    ("rope_scaling", Neutral::Null),
    ("rotary_pct", Neutral::One),
    ("scale_attn_by_inverse_layer_idx", Neutral::False),
    ("sliding_window", Neutral::Null),
    ("sparsity_config", Neutral::Null),
    ("tie_encoder_decoder", Neutral::False),
    ("use_mrope", Neutral::False),
    ("use_parallel_residual", Neutral::False),
    ("use_qk_norm", Neutral::False),
    ("use_sliding_window", Neutral::False),
];

#[derive(Clone, Copy)]
enum Neutral {
    Null,
    False,
    Zero,
    One,
    EmptyObject,
    /// A list of nothing but `full_attention`.
    AllFull,
}

impl Neutral {
    fn holds(self, value: &Value) -> bool {
        value.is_null()
            || match self {
                Neutral::Null => false,
                Neutral::False => value == &Value::Bool(false),
                Neutral::Zero => value.as_f64() == Some(0.0),
                Neutral::One => value.as_f64() == Some(1.0),
                Neutral::EmptyObject => value.as_object().is_some_and(Map::is_empty),
                Neutral::AllFull => value.as_array().is_some_and(|list| list.iter().all(|v| v == "full_attention")),
            }
    }

    const fn name(self) -> &'static str {
        match self {
            Neutral::Null => "null",
            Neutral::False => "false",
            Neutral::Zero => "0",
            Neutral::One => "1",
            Neutral::EmptyObject => "{}",
            Neutral::AllFull => "full_attention in every layer",
        }
    }
}

/// An object of a configuration, and which of its keys have been read.
pub(super) struct Config {
    map: Map<String, Value>,
    /// What stands before its keys in messages.
    path: String,
    read: RefCell<BTreeSet<String>>,
}

impl Config {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self::new(map, String::new())),
            Ok(_) => Err(ConfigError::Json { error: "expected an object".into() }),
            Err(e) => Err(ConfigError::Json { error: e.to_string() }),
        }
    }

    fn new(map: Map<String, Value>, path: String) -> Self {
        Self { map, path, read: RefCell::default() }
    }

    /// A value that is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, null or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn named(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn typed<'v, T>(&'v self, key: &str, expected: &'static str, cast: impl Fn(&'v Value) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let got = || ConfigError::Value { key: self.named(key), expected: expected.into(), got: short(value) };
        cast(value).map(Some).ok_or_else(got)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let list = self
            .typed(key, "a list of strings", |v| v.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>())?;
        Ok(list.unwrap_or_default())
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A count: a whole number that fits 32 bits.
    pub(super) fn count(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        self.typed(key, "a whole number below 2^32", |v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    pub(super) fn need_count(&self, key: &str) -> Result<u32, ConfigError> {
        self.count(key)?.ok_or_else(|| ConfigError::Missing { key: self.named(key) })
    }

    /// A positive number, as the f64 that it is in Python.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let fits = |n: &f64| *n > 0.0 && *n <= f64::from(f32::MAX);
        self.typed(key, "a positive number", |v| v.as_f64().filter(fits))
    }

    pub(super) fn need_number(&self, key: &str) -> Result<f64, ConfigError> {
        self.number(key)?.ok_or_else(|| ConfigError::Missing { key: self.named(key) })
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Config>, ConfigError> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Ok(object.map(|map| Config::new(map.clone(), format!("{}.", self.named(key)))))
    }

    pub(super) fn activation(&self, key: &str, default: Activation) -> Result<Activation, ConfigError> {
        match self.text(key)?.as_deref() {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Activation::GeluTanh),
            Some("gelu" | "gelu_python") => Ok(Activation::GeluErf),
            Some("relu") => Ok(Activation::Relu),
            Some(got) => {
                let supported = "silu, swish, gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, relu".into();
                Err(ConfigError::Unsupported { key: self.named(key), got: got.into(), supported })
            }
        }
    }

    /// Refuses keys that nobody has read.
    pub(super) fn refuse_unread(&self, supported: &str) -> Result<(), ConfigError> {
        let read = self.read.borrow();
        match self.map.iter().find(|(key, value)| !read.contains(*key) && !value.is_null()) {
            None => Ok(()),
            Some((key, value)) => Err(ConfigError::Unsupported { key: self.named(key), got: short(value), supported: supported.into() }),
        }
    }

    /// Settles the keys that the family has not read: refuses what changes the arithmetic, warns of what is unknown.
    pub(super) fn finish(&self) -> Result<Vec<String>, ConfigError> {
        let read = self.read.borrow();
        let mut warnings = Vec::new();
        for (key, value) in self.map.iter().filter(|(key, _)| !read.contains(*key)) {
            if let Some((_, neutral)) = MATHS.iter().find(|(known, _)| known == key) {
                if !neutral.holds(value) {
                    let supported = format!("{} for this family", neutral.name());
                    return Err(ConfigError::Unsupported { key: key.clone(), got: short(value), supported });
                }
            } else if !HARMLESS.contains(&key.as_str()) && !value.is_null() && value != &Value::Bool(false) {
                warnings.push(format!("config.json: the unknown key `{key}` = {} is ignored", short(value)));
            }
        }
        Ok(warnings)
    }
}

/// A value in few words.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What is wrong with a `config.json`, or not supported.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "field names say it; the variants carry the docs")]
pub enum ConfigError {
    /// Not a JSON object.
    Json { error: String },
    /// A key is missing.
    Missing { key: String },
    /// A value has another type or range.
    Value { key: String, expected: String, got: String },
    /// A family that has no entry.
    Family { got: String },
    /// An option that is not supported.
    Unsupported { key: String, got: String, supported: String },
    /// Two keys contradict each other.
    Contradiction { key: String, got: String, other: String, expected: String },
    /// The sizes break a rule of the spec.
    Spec(SpecError),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json { error } => write!(f, "config.json: not a JSON object: {error}"),
            Self::Missing { key } => write!(f, "config.json: `{key}` is missing"),
            Self::Value { key, expected, got } => write!(f, "config.json: `{key}`: expected {expected}, got {got}"),
            Self::Family { got } => {
                write!(f, "config.json: model_type `{got}` is not supported; supported are ")?;
                for (i, family) in super::FAMILIES.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, family.model_type)?;
                }
                Ok(())
            }
            Self::Unsupported { key, got, supported } => {
                write!(f, "config.json: `{key}` = {got} is not supported; supported: {supported}")
            }
            Self::Contradiction { key, got, other, expected } => {
                write!(f, "config.json: `{key}` is {got}, but `{other}` is {expected}")
            }
            Self::Spec(error) => write!(f, "config.json: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}
