//! Which tensors a spec implies, in which order and shape.

use super::{BlockSpec, Head, Norm, Positions, Spec};

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $value:literal $name:literal),+ $(,)?) => {
        /// What a tensor is for. The discriminants are those of the file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Role { $($(#[$doc])* $role = $value),+ }
        impl Role {
            /// Every role, ascending.
            pub const ALL: &'static [Role] = &[$(Role::$role),+];
            /// The role with this value in the file.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Role> {
                match value { $($value => Some(Role::$role),)+ _ => None }
            }
            /// Its name in messages and listings.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Role::$role => $name),+ }
            }
        }
    };
}

roles! {
    /// `[vocab, hidden]`, matrix.
    TokenEmbedding = 0 "token_embedding",
    /// `[context, hidden]`, matrix.
    PositionEmbedding = 1 "position_embedding",
    /// `[1, hidden]`.
    FinalNorm = 2 "final_norm",
    /// `[1, hidden]`.
    FinalNormBias = 3 "final_norm_bias",
    /// `[vocab, hidden]`, matrix.
    Head = 4 "head",
    /// `[1, vocab]`.
    HeadBias = 5 "head_bias",
    /// `[1, rotary_dim / 2]`: radians per position, one tensor per kind of block (its layer number).
    RotaryFrequencies = 6 "rotary_frequencies",
    /// `[1, hidden]`.
    AttnNorm = 16 "attn_norm",
    /// `[1, hidden]`.
    AttnNormBias = 17 "attn_norm_bias",
    /// `[(heads + 2 kv_heads) head_dim, hidden]`, matrix: rows of all queries, then keys, then values.
    AttnQkv = 18 "attn_qkv",
    /// `[1, (heads + 2 kv_heads) head_dim]`.
    AttnQkvBias = 19 "attn_qkv_bias",
    /// `[hidden, heads head_dim]`, matrix.
    AttnOut = 20 "attn_out",
    /// `[1, hidden]`.
    AttnOutBias = 21 "attn_out_bias",
    /// `[1, hidden]`.
    FfnNorm = 24 "ffn_norm",
    /// `[1, hidden]`.
    FfnNormBias = 25 "ffn_norm_bias",
    /// `[2 ffn_dim, hidden]` if gated (rows of the gate, then of up), else `[ffn_dim, hidden]`; matrix.
    FfnUp = 26 "ffn_up",
    /// `[1, rows of ffn_up]`.
    FfnUpBias = 27 "ffn_up_bias",
    /// `[hidden, ffn_dim]`, matrix.
    FfnDown = 28 "ffn_down",
    /// `[1, hidden]`.
    FfnDownBias = 29 "ffn_down_bias",
}

impl Role {
    /// Whether tensors of this role are matrices, which may be of any type. The others are vectors, always f32.
    #[must_use]
    pub const fn is_matrix(self) -> bool {
        matches!(
            self,
            Role::TokenEmbedding | Role::PositionEmbedding | Role::Head | Role::AttnQkv | Role::AttnOut | Role::FfnUp | Role::FfnDown
        )
    }

    /// Whether each layer has its own; the others belong to the whole model.
    #[must_use]
    pub const fn is_layer(self) -> bool {
        self as u8 >= Role::AttnNorm as u8
    }
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// Which tensor: directory entries ascend by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorKey {
    /// 0 for the whole model, else 1 + index of the stack.
    pub stack: u8,
    /// Layer in the stack; for rotary frequencies the kind of block; else 0.
    pub layer: u16,
    /// What it is for.
    pub role: Role,
}

impl core::fmt::Display for TensorKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.stack, self.role) {
            (0, Role::RotaryFrequencies) => write!(f, "{}.{}", self.role, self.layer),
            (0, role) => write!(f, "{role}"),
            (1, role) => write!(f, "layer.{}.{role}", self.layer),
            (stack, role) => write!(f, "stack.{}.layer.{}.{role}", stack - 1, self.layer),
        }
    }
}

/// A tensor that a spec implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Which tensor.
    pub key: TensorKey,
    /// Outputs; 1 for vectors.
    pub rows: usize,
    /// Inputs; the length of vectors.
    pub cols: usize,
}

impl Spec<'_> {
    /// Every tensor that a file with this spec holds, in the order of its directory.
    pub fn tensors(&self) -> impl Iterator<Item = TensorSpec> {
        let kinds = self.stack().kinds().len();
        let globals = (0..kinds).flat_map(move |kind| {
            Role::ALL.iter().filter_map(move |&role| {
                let shape = match role {
                    Role::RotaryFrequencies => self.rotary_shape(kind),
                    _ if kind == 0 => self.global_shape(role),
                    _ => None,
                };
                let (rows, cols) = shape?;
                Some(TensorSpec { key: TensorKey { stack: 0, layer: kind as u16, role }, rows, cols })
            })
        });
        let layers = self.stacks().enumerate().flat_map(move |(stack, s)| {
            (0..s.len()).flat_map(move |layer| {
                Role::ALL.iter().filter_map(move |&role| {
                    let (rows, cols) = self.layer_shape(s.block(layer), role)?;
                    Some(TensorSpec { key: TensorKey { stack: 1 + stack as u8, layer: layer as u16, role }, rows, cols })
                })
            })
        });
        globals.chain(layers)
    }

    fn rotary_shape(&self, kind: usize) -> Option<(usize, usize)> {
        let block = &self.stack().kinds()[kind];
        block.is_rotary().then_some((1, block.rotary_dim as usize / 2))
    }

    fn global_shape(&self, role: Role) -> Option<(usize, usize)> {
        let (vocab, hidden, context) = (self.vocab as usize, self.hidden as usize, self.context as usize);
        match role {
            Role::TokenEmbedding => Some((vocab, hidden)),
            Role::PositionEmbedding => (self.positions == Positions::Learned).then_some((context, hidden)),
            Role::FinalNorm => (self.final_norm != Norm::None).then_some((1, hidden)),
            Role::FinalNormBias => (self.final_norm == Norm::Layer).then_some((1, hidden)),
            Role::Head => (self.head == Head::Own).then_some((vocab, hidden)),
            Role::HeadBias => self.head_bias.then_some((1, vocab)),
            _ => None,
        }
    }

    fn layer_shape(&self, block: &BlockSpec, role: Role) -> Option<(usize, usize)> {
        let (hidden, ffn) = (self.hidden as usize, block.ffn_dim as usize);
        let up = block.up_rows();
        let norm = block.norm != Norm::None;
        let norm_bias = block.norm == Norm::Layer;
        match role {
            Role::AttnNorm | Role::FfnNorm => norm.then_some((1, hidden)),
            Role::AttnNormBias | Role::FfnNormBias => norm_bias.then_some((1, hidden)),
            Role::AttnQkv => Some((block.qkv_rows(), hidden)),
            Role::AttnQkvBias => block.qkv_bias.then_some((1, block.qkv_rows())),
            Role::AttnOut => Some((hidden, block.q_dim())),
            Role::AttnOutBias => block.out_bias.then_some((1, hidden)),
            Role::FfnUp => Some((up, hidden)),
            Role::FfnUpBias => block.ffn_bias.then_some((1, up)),
            Role::FfnDown => Some((hidden, ffn)),
            Role::FfnDownBias => block.ffn_bias.then_some((1, hidden)),
            _ => None,
        }
    }
}
