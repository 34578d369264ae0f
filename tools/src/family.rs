//! Model families: from `config.json` to a [`Spec`], and from each tensor of the spec to those of the checkpoint.
//!
//! A family is an entry of [`FAMILIES`]. What it does not know it refuses by name: a key of `config.json` that
//! changes the arithmetic and is not handled is an error, a key that nobody knows is a warning.
//!
//! ```
//! let model = kinglet_tools::family::Model::from_config(r#"{
//!     "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "vocab_size": 259
//! }"#).unwrap();
//! assert_eq!(model.spec().stack().block(0).head_dim, 16);
//! ```

mod config;
mod gpt2;
mod llama;
mod rotary;

pub use config::ConfigError;

use config::Config;
use kinglet::spec::{BlockSpec, Role, Spec, SpecError, TensorSpec};

/// A family's entry.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Values of `architectures` that have a language-model head.
    architectures: &'static [&'static str],
    /// What may stand before the names of tensors.
    prefixes: &'static [&'static str],
    read: fn(&Config) -> Result<Draft, ConfigError>,
    /// The tensors to stack for a role, without prefix; `{}` stands for the layer.
    parts: fn(Role) -> &'static [PartName],
    /// Tensors of the checkpoint that carry no weights.
    is_buffer: fn(&str) -> bool,
}

/// Every family, in the order of listings.
pub static FAMILIES: &[Family] = &[llama::LLAMA, llama::MISTRAL, llama::QWEN2, gpt2::GPT2];

/// What a family reads from a configuration.
struct Draft {
    /// Everything but the stack.
    sizes: Sizes,
    kinds: Vec<BlockSpec>,
    /// Index in `kinds` of each layer.
    layers: Vec<u8>,
    /// Radians per position, of each kind; empty without rotary embedding.
    frequencies: Vec<f32>,
}

/// The part of a spec around its stack.
struct Sizes {
    vocab: u32,
    hidden: u32,
    context: u32,
    positions: kinglet::spec::Positions,
    final_norm: kinglet::spec::Norm,
    final_norm_eps: f32,
    head: kinglet::spec::Head,
}

/// One tensor of a checkpoint that feeds one of the spec.
#[derive(Clone, Copy, Debug)]
struct PartName {
    name: &'static str,
    /// What share of the rows it holds.
    share: Share,
    /// Stored with inputs first.
    transposed: bool,
    /// Stands outside the prefix.
    root: bool,
}

/// How many rows of a stacked tensor a part holds.
#[derive(Clone, Copy, Debug)]
enum Share {
    All,
    Queries,
    Keys,
    Half,
}

const fn part(name: &'static str, share: Share) -> PartName {
    PartName { name, share, transposed: false, root: false }
}

/// Where the values of a tensor come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Tensors of the checkpoint, one below the other (vectors: one after the other).
    Stored(Vec<Part>),
    /// Values that the configuration determines.
    Computed(Vec<f32>),
}

/// A tensor of the checkpoint, as a part of one of the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Rows that it gives; 1 for vectors.
    pub rows: usize,
    /// Columns; the length of vectors.
    pub cols: usize,
    /// Stored with columns first.
    pub transposed: bool,
    /// A vector: its shape has one dimension.
    pub vector: bool,
}

impl Part {
    /// The shape that the checkpoint must have for it.
    #[must_use]
    pub fn stored_shape(&self) -> Vec<usize> {
        match (self.vector, self.transposed) {
            (true, _) => vec![self.cols],
            (false, false) => vec![self.rows, self.cols],
            (false, true) => vec![self.cols, self.rows],
        }
    }
}

/// A model as its `config.json` describes it.
#[derive(Clone, Debug)]
pub struct Model {
    family: &'static Family,
    spec: Vec<u8>,
    frequencies: Vec<f32>,
    warnings: Vec<String>,
}

impl Model {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// The first key that is missing, wrong, or asks for something that is not supported.
    pub fn from_config(text: &str) -> Result<Self, ConfigError> {
        let config = Config::parse(text)?;
        let model_type = config.text("model_type")?.ok_or(ConfigError::Missing { key: "model_type".into() })?;
        let family = FAMILIES.iter().find(|f| f.model_type == model_type).ok_or(ConfigError::Family { got: model_type })?;
        for name in config.texts("architectures")? {
            if !family.architectures.contains(&name.as_str()) {
                return Err(ConfigError::Unsupported {
                    key: "architectures".into(),
                    got: name,
                    supported: family.architectures.join(", "),
                });
            }
        }
        let draft = (family.read)(&config)?;
        let warnings = config.finish()?;
        let bytes = draft.encode().map_err(ConfigError::Spec)?;
        Ok(Self { family, spec: bytes, frequencies: draft.frequencies, warnings })
    }

    /// `model_type`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.family.model_type
    }

    /// What the model is.
    #[must_use]
    pub fn spec(&self) -> Spec<'_> {
        Spec::parse(&self.spec).expect("these bytes were written by `Spec::encode`")
    }

    /// The bytes of [`Model::spec`] as they stand in a file.
    #[must_use]
    pub fn spec_bytes(&self) -> &[u8] {
        &self.spec
    }

    /// Keys of the configuration that nothing is known about, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The prefix of this checkpoint's tensor names: the one under which the token embedding stands, else the usual.
    #[must_use]
    pub fn prefix(&self, has: impl Fn(&str) -> bool) -> &'static str {
        let found = self.family.prefixes.iter().find(|prefix| has(&self.embedding_name(prefix)));
        found.unwrap_or(&self.family.prefixes[0])
    }

    /// Where the values of a tensor of the spec come from; `prefix` is that of [`Model::prefix`].
    #[must_use]
    pub fn source(&self, tensor: &TensorSpec, prefix: &str) -> Source {
        if tensor.key.role == Role::RotaryFrequencies {
            return Source::Computed(self.frequencies.clone());
        }
        let spec = self.spec();
        let vector = !tensor.key.role.is_matrix();
        let total = if vector { tensor.cols } else { tensor.rows };
        let parts = (self.family.parts)(tensor.key.role).iter().map(|part| {
            let block = spec.stack().block(if tensor.key.role.is_layer() { tensor.key.layer.into() } else { 0 });
            let len = match part.share {
                Share::All => total,
                Share::Half => total / 2,
                Share::Queries => block.q_dim(),
                Share::Keys => block.kv_dim(),
            };
            let (rows, cols) = if vector { (1, len) } else { (len, tensor.cols) };
            let name = part.name.replace("{}", &tensor.key.layer.to_string());
            let name = if part.root { name } else { format!("{prefix}{name}") };
            Part { name, rows, cols, transposed: part.transposed, vector }
        });
        Source::Stored(parts.collect())
    }

    /// The name of the token embedding.
    #[must_use]
    pub fn embedding_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", (self.family.parts)(Role::TokenEmbedding)[0].name)
    }

    /// The name that a head has, where it is not tied.
    #[must_use]
    pub fn head_name(&self) -> &'static str {
        (self.family.parts)(Role::Head)[0].name
    }

    /// Whether a tensor of the checkpoint carries no weights: a mask or a table that every run computes.
    #[must_use]
    pub fn is_buffer(&self, name: &str) -> bool {
        (self.family.is_buffer)(name)
    }
}

impl Draft {
    fn encode(&self) -> Result<Vec<u8>, SpecError> {
        let stack = kinglet::spec::Stack::new(kinglet::spec::StackKind::Decoder, &self.kinds, &self.layers)?;
        let s = &self.sizes;
        let mut spec = Spec::with_stack(stack);
        spec.vocab = s.vocab;
        spec.hidden = s.hidden;
        spec.context = s.context;
        spec.positions = s.positions;
        spec.final_norm = s.final_norm;
        spec.final_norm_eps = s.final_norm_eps;
        spec.head = s.head;
        let mut bytes = vec![0; MAX_SPEC_BYTES];
        let len = spec.encode(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// More than any spec takes: its head, and per stack a head, four kinds of block and a byte per layer.
const MAX_SPEC_BYTES: usize = 4096;
