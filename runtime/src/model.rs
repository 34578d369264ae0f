//! A checked file, bound to typed weights.
//!
//! [`Model::new`] accepts a file only if this version can run it; afterwards nothing fails. A [`Block`] gathers the
//! weights of one layer from the directory, which is in the order of its keys.

use crate::format::{Container, Entry, FormatError, Role, Section, TensorKey};
use crate::ops::NormWeights;
use crate::spec::{BlockSpec, Norm, Spec, SpecError};
use crate::tensor::Matrix;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a file is not a model that runs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// The container is not right.
    Format(FormatError),
    /// The container is right, but this version does not run the model.
    Spec(SpecError),
    /// The tokenizer section is not right.
    Tokenizer(TokenizerError),
    /// The file's bytes do not start at an address that is a multiple of 4.
    Misaligned,
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Format(e) => e.fmt(f),
            Self::Spec(e) => e.fmt(f),
            Self::Tokenizer(e) => e.fmt(f),
            Self::Misaligned => f.write_str("the file's bytes must start at an address that is a multiple of 4"),
        }
    }
}

impl core::error::Error for ModelError {}

/// A model over a file's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    container: Container<'m>,
    tokenizer: Option<Tokenizer<'m>>,
}

/// The weights of one layer.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named and shaped as the roles of the directory")]
pub struct Block<'m> {
    pub spec: BlockSpec,
    pub attn_norm: NormWeights<'m>,
    pub qkv: Matrix<'m>,
    /// Empty without bias.
    pub qkv_bias: &'m [f32],
    pub out: Matrix<'m>,
    pub out_bias: Option<&'m [f32]>,
    pub ffn_norm: NormWeights<'m>,
    pub up: Matrix<'m>,
    pub up_bias: Option<&'m [f32]>,
    pub down: Matrix<'m>,
    pub down_bias: Option<&'m [f32]>,
}

/// The tensors of one layer, or of the whole model, by role.
struct Tensors<'a, 'm> {
    container: &'a Container<'m>,
    stack: u8,
    layer: u16,
}

impl<'m> Tensors<'_, 'm> {
    fn find(&self, role: Role) -> Option<Entry> {
        self.container.find(TensorKey { stack: self.stack, layer: self.layer, role })
    }

    fn vector(&self, role: Role) -> Option<&'m [f32]> {
        self.find(role).map(|e| self.container.vector(&e))
    }

    fn matrix(&self, role: Role) -> Matrix<'m> {
        match self.find(role) {
            Some(entry) => self.container.matrix(&entry),
            // The directory holds every tensor that the spec implies, and every block has these.
            None => unreachable!(),
        }
    }

    fn norm(&self, kind: Norm, eps: f32, weight: Role, bias: Role) -> NormWeights<'m> {
        NormWeights { kind, weight: self.vector(weight).unwrap_or_default(), bias: self.vector(bias).unwrap_or_default(), eps }
    }
}

impl<'m> Model<'m> {
    /// Checks a file and that this version runs it.
    ///
    /// # Errors
    /// The first thing that is wrong or unsupported.
    pub fn new(bytes: &'m [u8]) -> Result<Self, ModelError> {
        let container = Container::parse(bytes).map_err(ModelError::Format)?;
        let spec = container.spec();
        spec.check_supported().map_err(ModelError::Spec)?;
        if bytes.as_ptr().align_offset(align_of::<f32>()) != 0 {
            return Err(ModelError::Misaligned);
        }
        let tokenizer = match container.section(Section::Tokenizer) {
            [] => None,
            section => Some(Tokenizer::parse(section, spec.vocab).map_err(ModelError::Tokenizer)?),
        };
        Ok(Self { container, tokenizer })
    }

    /// The file.
    #[must_use]
    pub fn container(&self) -> &Container<'m> {
        &self.container
    }

    /// What the model is.
    #[must_use]
    pub fn spec(&self) -> &Spec<'m> {
        self.container.spec()
    }

    /// The tokenizer, if the file has one.
    #[must_use]
    pub fn tokenizer(&self) -> Option<&Tokenizer<'m>> {
        self.tokenizer.as_ref()
    }

    /// Weights that decoding one token reads, in bytes: everything but embeddings that are only looked up.
    #[must_use]
    pub fn bytes_per_token(&self) -> u64 {
        let tied = self.find(Role::Head).is_none();
        let read = |role: Role| match role {
            Role::TokenEmbedding => tied,
            Role::PositionEmbedding | Role::RotaryFrequencies => false,
            _ => true,
        };
        self.container.entries().filter(|e| read(e.tensor.key.role)).filter_map(|e| e.len_bytes()).sum()
    }

    fn globals(&self) -> Tensors<'_, 'm> {
        Tensors { container: &self.container, stack: 0, layer: 0 }
    }

    fn find(&self, role: Role) -> Option<Entry> {
        self.globals().find(role)
    }

    /// `[vocab, hidden]`.
    #[must_use]
    pub fn token_embedding(&self) -> Matrix<'m> {
        self.globals().matrix(Role::TokenEmbedding)
    }

    /// `[context, hidden]`, if positions are learned.
    #[must_use]
    pub fn position_embedding(&self) -> Option<Matrix<'m>> {
        self.find(Role::PositionEmbedding).map(|e| self.container.matrix(&e))
    }

    /// Radians per position for blocks of kind `kind`; empty without rotary embedding.
    #[must_use]
    pub fn rotary_frequencies(&self, kind: usize) -> &'m [f32] {
        let key = TensorKey { stack: 0, layer: kind as u16, role: Role::RotaryFrequencies };
        self.container.find(key).map(|e| self.container.vector(&e)).unwrap_or_default()
    }

    /// The norm before the head.
    #[must_use]
    pub fn final_norm(&self) -> NormWeights<'m> {
        let spec = self.spec();
        self.globals().norm(spec.final_norm, spec.final_norm_eps, Role::FinalNorm, Role::FinalNormBias)
    }

    /// `[vocab, hidden]`: the head's own matrix, or the token embedding.
    #[must_use]
    pub fn head(&self) -> Matrix<'m> {
        self.find(Role::Head).map_or_else(|| self.token_embedding(), |e| self.container.matrix(&e))
    }

    /// `[vocab]`, if the head has a bias.
    #[must_use]
    pub fn head_bias(&self) -> Option<&'m [f32]> {
        self.globals().vector(Role::HeadBias)
    }

    /// The weights of layer `layer`.
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn block(&self, layer: usize) -> Block<'m> {
        let stack = self.spec().stack();
        let spec = *stack.block(layer);
        // A stack has at most 1,024 layers.
        let t = Tensors { container: &self.container, stack: 1, layer: layer as u16 };
        Block {
            spec,
            attn_norm: t.norm(spec.norm, spec.norm_eps, Role::AttnNorm, Role::AttnNormBias),
            qkv: t.matrix(Role::AttnQkv),
            qkv_bias: t.vector(Role::AttnQkvBias).unwrap_or_default(),
            out: t.matrix(Role::AttnOut),
            out_bias: t.vector(Role::AttnOutBias),
            ffn_norm: t.norm(spec.norm, spec.norm_eps, Role::FfnNorm, Role::FfnNormBias),
            up: t.matrix(Role::FfnUp),
            up_bias: t.vector(Role::FfnUpBias),
            down: t.matrix(Role::FfnDown),
            down_bias: t.vector(Role::FfnDownBias),
        }
    }
}
