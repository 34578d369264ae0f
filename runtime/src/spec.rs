//! What a model *is*, as checked data: read from a file's `spec` section, written there by a converter.
//!
//! A [`Spec`] names an embedding, one or two stacks of blocks, and a head. It says which tensors the file must hold
//! and in which shapes ([`Spec::tensors`]), so that converter, loader, planner and inspector share one list.
//! It can say more than this version runs: [`Spec::check_supported`] names what is missing.
//! The bytes are specified in `docs/format.md`.
//!
//! ```
//! use kinglet::spec::{BlockSpec, Spec, Stack};
//! let mut spec = Spec::decoder(&[BlockSpec::default()], &[0, 0]);
//! (spec.vocab, spec.hidden, spec.context) = (1024, 64, 128);
//! let mut bytes = [0; 512];
//! let len = spec.encode(&mut bytes).unwrap();
//! assert_eq!(Spec::parse(&bytes[..len]).unwrap(), spec);
//! ```

mod bytes;
mod tensors;

pub use crate::kernels::Activation;
pub use tensors::{Role, TensorKey, TensorSpec};

/// Layers of a stack, at most.
pub const MAX_LAYERS: usize = 1024;
/// Kinds of block in a stack, at most.
pub const MAX_KINDS: usize = 4;
/// Stacks, at most.
pub const MAX_STACKS: usize = 2;

macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $value),+ }
        impl $name {
            /// The variant with this value in the file.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

byte_enum! {
    /// What turns the last hidden vectors into results.
    Head {
        /// Nothing: the hidden vectors are the result.
        None = 0,
        /// Next-token logits, with the token embedding as the matrix.
        Tied = 1,
        /// Next-token logits, with a matrix of its own.
        Own = 2,
        /// Masked-token logits: dense, activation, norm, then the token embedding.
        MaskedLm = 3,
        /// A classifier over the first position.
        Classifier = 4,
        /// The mean of all positions.
        PoolMean = 5,
        /// The first position.
        PoolFirst = 6,
    }
}
byte_enum! {
    /// Positions that are added to the token embedding.
    Positions {
        /// None: the blocks know positions themselves, or not at all.
        None = 0,
        /// A learned vector per position.
        Learned = 1,
        /// Sines and cosines.
        Sinusoidal = 2,
    }
}
byte_enum! {
    /// How a vector is normalised.
    Norm {
        /// Not at all.
        None = 0,
        /// By its root mean square, with a weight.
        Rms = 1,
        /// By mean and variance, with a weight and a bias.
        Layer = 2,
    }
}
byte_enum! {
    /// Where a block's norms stand.
    NormPlace {
        /// Before attention and before the feed-forward layer.
        Pre = 0,
        /// After each residual sum.
        Post = 1,
        /// Before and after each.
        Sandwich = 2,
        /// One norm before attention and feed-forward, which run side by side.
        Parallel = 3,
    }
}
byte_enum! {
    /// How attention knows positions.
    AttnPositions {
        /// Not at all.
        None = 0,
        /// Rotary embedding of halves: channel `i` is rotated with channel `i + n/2`.
        RotaryHalves = 1,
        /// Rotary embedding of neighbours: channel `2i` is rotated with channel `2i + 1`.
        RotaryPairs = 2,
        /// ALiBi slopes.
        Alibi = 3,
        /// Learned relative buckets.
        Relative = 4,
    }
}
byte_enum! {
    /// What a position attends to.
    Mask {
        /// Itself and what came before.
        Causal = 0,
        /// Everything.
        Bidirectional = 1,
    }
}
byte_enum! {
    /// How the rotary frequencies were made. For people: the frequencies themselves are a tensor.
    RotaryScaling {
        /// `theta^(-2i/n)`.
        None = 0,
        /// Divided by a factor.
        Linear = 1,
        /// Llama 3's three bands.
        Llama3 = 2,
        /// YaRN.
        Yarn = 3,
    }
}
byte_enum! {
    /// The shape of a feed-forward layer.
    Ffn {
        /// `down(f(up(x)))`.
        Plain = 0,
        /// `down(f(gate(x)) * up(x))`.
        Gated = 1,
    }
}
byte_enum! {
    /// What a stack is for.
    StackKind {
        /// Text in, next token out.
        Decoder = 0,
        /// Everything at once.
        Encoder = 1,
        /// A decoder that also attends to the encoder.
        CrossDecoder = 2,
    }
}

/// Parameters that all blocks of one kind share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSpec {
    /// Kind of the norms.
    pub norm: Norm,
    /// Place of the norms.
    pub norm_place: NormPlace,
    /// Added to the variance.
    pub norm_eps: f32,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads; divides `heads`.
    pub kv_heads: u32,
    /// Channels of a head.
    pub head_dim: u32,
    /// Biases of queries, keys and values.
    pub qkv_bias: bool,
    /// Bias of the attention output.
    pub out_bias: bool,
    /// Queries and keys are normalised per head.
    pub qk_norm: bool,
    /// How attention knows positions.
    pub positions: AttnPositions,
    /// Channels that are rotated, at most `head_dim`.
    pub rotary_dim: u32,
    /// How the frequencies were made.
    pub rotary_scaling: RotaryScaling,
    /// Base of the frequencies, for people.
    pub rotary_theta: f32,
    /// Factor on sines and cosines (YaRN); 1 otherwise.
    pub rotary_magnitude: f32,
    /// What a position attends to.
    pub mask: Mask,
    /// Positions seen, itself included; 0 means all.
    pub window: u32,
    /// Factor on `q · k`.
    pub attn_scale: f32,
    /// `cap * tanh(score / cap)`; 0 means none.
    pub attn_soft_cap: f32,
    /// Shape of the feed-forward layer.
    pub ffn: Ffn,
    /// Its activation function.
    pub activation: Activation,
    /// Its inner size.
    pub ffn_dim: u32,
    /// Biases of the feed-forward layer.
    pub ffn_bias: bool,
    /// Experts; 0 means one dense layer.
    pub experts: u32,
    /// Experts a token uses.
    pub experts_used: u32,
    /// Factor on what a block adds to the residual stream.
    pub residual_scale: f32,
}

impl Default for BlockSpec {
    /// A small Llama block: RMS norms, rotary halves, a gated SiLU feed-forward layer, no biases.
    fn default() -> Self {
        Self {
            norm: Norm::Rms,
            norm_place: NormPlace::Pre,
            norm_eps: 1e-5,
            heads: 2,
            kv_heads: 1,
            head_dim: 32,
            qkv_bias: false,
            out_bias: false,
            qk_norm: false,
            positions: AttnPositions::RotaryHalves,
            rotary_dim: 32,
            rotary_scaling: RotaryScaling::None,
            rotary_theta: 10_000.0,
            rotary_magnitude: 1.0,
            mask: Mask::Causal,
            window: 0,
            attn_scale: 0.176_776_7,
            attn_soft_cap: 0.0,
            ffn: Ffn::Gated,
            activation: Activation::Silu,
            ffn_dim: 128,
            ffn_bias: false,
            experts: 0,
            experts_used: 0,
            residual_scale: 1.0,
        }
    }
}

impl BlockSpec {
    /// Rows of the fused query/key/value matrix.
    #[must_use]
    pub const fn qkv_rows(&self) -> usize {
        (self.heads as usize + 2 * self.kv_heads as usize) * self.head_dim as usize
    }

    /// Channels of all query heads.
    #[must_use]
    pub const fn q_dim(&self) -> usize {
        self.heads as usize * self.head_dim as usize
    }

    /// Channels of all key heads.
    #[must_use]
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads as usize * self.head_dim as usize
    }

    /// Rows of the up projection: a gated layer's has the gate first.
    #[must_use]
    pub const fn up_rows(&self) -> usize {
        let ffn_dim = self.ffn_dim as usize;
        if matches!(self.ffn, Ffn::Gated) { 2 * ffn_dim } else { ffn_dim }
    }

    /// Whether the rotary embedding is used.
    #[must_use]
    pub const fn is_rotary(&self) -> bool {
        matches!(self.positions, AttnPositions::RotaryHalves | AttnPositions::RotaryPairs)
    }
}

/// A run of layers. Each layer has one of a few kinds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stack<'m> {
    /// What the stack is for.
    pub kind: StackKind,
    kinds: [BlockSpec; MAX_KINDS],
    n_kinds: usize,
    layers: &'m [u8],
}

impl<'m> Stack<'m> {
    /// A stack of `layers.len()` layers; `layers[i]` is the index in `kinds` of layer `i`.
    ///
    /// # Errors
    /// If there are no or too many kinds or layers, or a layer names a kind that is not there.
    pub fn new(kind: StackKind, kinds: &[BlockSpec], layers: &'m [u8]) -> Result<Self, SpecError> {
        range("block kinds", kinds.len() as u64, 1, MAX_KINDS as u64)?;
        range("layers", layers.len() as u64, 1, MAX_LAYERS as u64)?;
        for &k in layers {
            range("a layer's kind", k.into(), 0, kinds.len() as u64 - 1)?;
        }
        let mut own = [kinds[0]; MAX_KINDS];
        own[..kinds.len()].copy_from_slice(kinds);
        Ok(Self { kind, kinds: own, n_kinds: kinds.len(), layers })
    }

    /// Layers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Never: a stack has at least one layer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The kinds of block.
    #[must_use]
    pub fn kinds(&self) -> &[BlockSpec] {
        &self.kinds[..self.n_kinds]
    }

    /// Index of layer `layer`'s kind in [`Stack::kinds`].
    ///
    /// # Panics
    /// If `layer` is not below [`Stack::len`].
    #[must_use]
    pub fn kind_of(&self, layer: usize) -> usize {
        self.layers[layer].into()
    }

    /// The parameters of layer `layer`.
    ///
    /// # Panics
    /// If `layer` is not below [`Stack::len`].
    #[must_use]
    pub fn block(&self, layer: usize) -> &BlockSpec {
        &self.kinds[self.kind_of(layer)]
    }
}

/// A whole model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec<'m> {
    /// Token ids are below this.
    pub vocab: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Positions that the model was made for.
    pub context: u32,
    /// Positions added to the embedding.
    pub positions: Positions,
    /// Token types (segments); 0 or 1 means none.
    pub token_types: u8,
    /// Factor on the token embedding.
    pub embed_scale: f32,
    /// Norm before the head.
    pub final_norm: Norm,
    /// Added to its variance.
    pub final_norm_eps: f32,
    /// The head.
    pub head: Head,
    /// The head has a bias.
    pub head_bias: bool,
    /// Factor on the logits.
    pub head_scale: f32,
    /// `cap * tanh(logit / cap)`; 0 means none.
    pub head_soft_cap: f32,
    /// The first stack: the only one of most models.
    pub first: Stack<'m>,
    /// The second: a decoder that attends to the first.
    pub second: Option<Stack<'m>>,
}

impl<'m> Spec<'m> {
    /// A tied causal decoder with one stack; sizes to be filled in.
    ///
    /// # Panics
    /// If the stack is not one: see [`Stack::new`]. For data from outside, call that and [`Spec::with_stack`].
    #[must_use]
    pub fn decoder(kinds: &[BlockSpec], layers: &'m [u8]) -> Self {
        match Stack::new(StackKind::Decoder, kinds, layers) {
            Ok(stack) => Self::with_stack(stack),
            Err(e) => panic!("{e}"),
        }
    }

    /// A tied decoder with this stack; sizes to be filled in.
    #[must_use]
    pub fn with_stack(stack: Stack<'m>) -> Self {
        Self {
            vocab: 1,
            hidden: 1,
            context: 1,
            positions: Positions::None,
            token_types: 0,
            embed_scale: 1.0,
            final_norm: Norm::Rms,
            final_norm_eps: 1e-5,
            head: Head::Tied,
            head_bias: false,
            head_scale: 1.0,
            head_soft_cap: 0.0,
            first: stack,
            second: None,
        }
    }

    /// The stacks, in order.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack<'m>> {
        core::iter::once(&self.first).chain(&self.second)
    }

    /// The one stack of a decoder-only or encoder-only model: the first.
    #[must_use]
    pub fn stack(&self) -> &Stack<'m> {
        &self.first
    }

    /// Every rule that a spec keeps, whoever made it.
    ///
    /// # Errors
    /// The first field that breaks one, with its value and what was expected.
    pub fn check(&self) -> Result<(), SpecError> {
        range("vocab", self.vocab.into(), 1, 1 << 24)?;
        range("hidden", self.hidden.into(), 1, 1 << 17)?;
        range("context", self.context.into(), 1, 1 << 24)?;
        positive("embed_scale", self.embed_scale)?;
        positive("head_scale", self.head_scale)?;
        positive("final_norm_eps", self.final_norm_eps)?;
        not_negative("head_soft_cap", self.head_soft_cap)?;
        for block in self.stacks().flat_map(Stack::kinds) {
            range("heads", block.heads.into(), 1, 1024)?;
            range("kv_heads", block.kv_heads.into(), 1, block.heads.into())?;
            if block.heads % block.kv_heads != 0 {
                return Err(SpecError::NotMultiple { field: "heads", value: block.heads, of: block.kv_heads });
            }
            range("head_dim", block.head_dim.into(), 8, crate::kernels::attention::MAX_HEAD_DIM as u64)?;
            if block.head_dim % 8 != 0 {
                return Err(SpecError::NotMultiple { field: "head_dim", value: block.head_dim, of: 8 });
            }
            if block.is_rotary() {
                range("rotary_dim", block.rotary_dim.into(), 2, block.head_dim.into())?;
                if block.rotary_dim % 2 != 0 {
                    return Err(SpecError::NotMultiple { field: "rotary_dim", value: block.rotary_dim, of: 2 });
                }
            } else {
                range("rotary_dim", block.rotary_dim.into(), 0, 0)?;
            }
            range("ffn_dim", block.ffn_dim.into(), 1, 1 << 20)?;
            range("window", block.window.into(), 0, 1 << 24)?;
            range("experts", block.experts.into(), 0, 1024)?;
            range("experts_used", block.experts_used.into(), 0, block.experts.into())?;
            positive("norm_eps", block.norm_eps)?;
            positive("attn_scale", block.attn_scale)?;
            positive("rotary_theta", block.rotary_theta)?;
            positive("rotary_magnitude", block.rotary_magnitude)?;
            positive("residual_scale", block.residual_scale)?;
            not_negative("attn_soft_cap", block.attn_soft_cap)?;
        }
        Ok(())
    }

    /// Whether this version of the runtime can run the model.
    ///
    /// # Errors
    /// [`SpecError::Unsupported`] with the first option that is not built yet.
    pub fn check_supported(&self) -> Result<(), SpecError> {
        let need = |ok: bool, option: &'static str| {
            if ok { Ok(()) } else { Err(SpecError::Unsupported { option }) }
        };
        need(self.stacks().count() == 1, "more than one stack")?;
        need(self.stack().kind == StackKind::Decoder, "a stack that is not a decoder")?;
        need(matches!(self.head, Head::Tied | Head::Own), "a head that is not a language model's")?;
        need(self.token_types <= 1, "token types")?;
        need(self.positions != Positions::Sinusoidal, "sinusoidal positions")?;
        need(self.final_norm != Norm::None, "no final norm")?;
        need(self.head_soft_cap == 0.0, "a soft cap on logits")?;
        for block in self.stack().kinds() {
            need(block.norm != Norm::None, "blocks without norms")?;
            need(block.norm_place == NormPlace::Pre, "norms that are not before attention and feed-forward")?;
            need(!block.qk_norm, "normalised queries and keys")?;
            need(
                matches!(block.positions, AttnPositions::None | AttnPositions::RotaryHalves),
                "attention positions that are not rotary halves",
            )?;
            need(block.mask == Mask::Causal, "a mask that is not causal")?;
            need(block.attn_soft_cap == 0.0, "a soft cap on scores")?;
            need(block.experts == 0, "experts")?;
            need(block.residual_scale == 1.0, "a residual scale")?;
        }
        Ok(())
    }
}

fn range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), SpecError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(SpecError::Range { field, value, min, max }) }
}

fn positive(field: &'static str, value: f32) -> Result<(), SpecError> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(SpecError::Float { field }) }
}

fn not_negative(field: &'static str, value: f32) -> Result<(), SpecError> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(SpecError::Float { field }) }
}

/// What is wrong with a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// The section has another length than its counts say.
    Length {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        got: usize,
    },
    /// The spec's own version is not this one.
    Version {
        /// The version found.
        got: u16,
    },
    /// A field has a value that means nothing.
    Unknown {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// A reserved byte is not zero.
    Reserved {
        /// Offset in the section.
        at: usize,
    },
    /// A number is out of its range.
    Range {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// A number is not a multiple of another.
    NotMultiple {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What must divide it.
        of: u32,
    },
    /// A float is not finite, or not positive where it must be.
    Float {
        /// Name of the field.
        field: &'static str,
    },
    /// The spec is sound, but this version does not run it.
    Unsupported {
        /// What it asks for.
        option: &'static str,
    },
}

impl core::fmt::Display for SpecError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length { expected, got } => {
                write!(f, "spec: expected {expected} bytes, got {got}")
            }
            Self::Version { got } => write!(f, "spec: expected version 1, got {got}"),
            Self::Unknown { field, value } => {
                write!(f, "spec: {field} has the unknown value {value}")
            }
            Self::Reserved { at } => write!(f, "spec: reserved byte {at} is not zero"),
            Self::Range { field, value, min, max } => write!(f, "spec: {field} is {value}, expected {min} to {max}"),
            Self::NotMultiple { field, value, of } => {
                write!(f, "spec: {field} is {value}, expected a multiple of {of}")
            }
            Self::Float { field } => write!(f, "spec: {field} is not a finite number in its range"),
            Self::Unsupported { option } => write!(f, "this version does not run {option}"),
        }
    }
}

impl core::error::Error for SpecError {}
