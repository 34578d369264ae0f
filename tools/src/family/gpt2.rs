//! GPT-2 and what is built like it: learned positions, layer norms with biases, plain feed-forward layers. Its
//! matrices are stored transposed, inputs first.

use super::config::{Config, ConfigError};
use super::llama::{all_layers, attn_scale, divide};
use super::{Draft, Family, PartName, Share, Sizes, part};
use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Role};

pub(super) const GPT2: Family =
    Family { model_type: "gpt2", architectures: &["GPT2LMHeadModel"], prefixes: &["transformer.", ""], read, parts, is_buffer };

fn read(config: &Config) -> Result<Draft, ConfigError> {
    let hidden = config.need_count("n_embd")?;
    let heads = config.need_count("n_head")?;
    let layers = config.need_count("n_layer")?;
    let head_dim = divide(hidden, heads)?;
    let eps = config.number("layer_norm_epsilon")?.unwrap_or(1e-5) as f32;
    let block = BlockSpec {
        norm: Norm::Layer,
        norm_eps: eps,
        heads,
        kv_heads: heads,
        head_dim,
        qkv_bias: true,
        out_bias: true,
        positions: AttnPositions::None,
        rotary_dim: 0,
        attn_scale: if config.flag("scale_attn_weights", true)? { attn_scale(head_dim) } else { 1.0 },
        ffn: Ffn::Plain,
        activation: config.activation("activation_function", Activation::GeluTanh)?,
        ffn_dim: match config.count("n_inner")? {
            Some(n) => n,
            None => hidden.saturating_mul(4),
        },
        ffn_bias: true,
        ..BlockSpec::default()
    };
    Ok(Draft {
        sizes: Sizes {
            vocab: config.need_count("vocab_size")?,
            hidden,
            context: config.need_count("n_positions")?,
            positions: Positions::Learned,
            final_norm: Norm::Layer,
            final_norm_eps: eps,
            head: if config.flag("tie_word_embeddings", true)? { Head::Tied } else { Head::Own },
        },
        kinds: vec![block],
        layers: all_layers("n_layer", layers)?,
        frequencies: Vec::new(),
    })
}

const fn transposed(name: &'static str) -> PartName {
    PartName { transposed: true, ..part(name, Share::All) }
}

fn parts(role: Role) -> &'static [PartName] {
    use Share::All;
    const HEAD: PartName = PartName { root: true, ..part("lm_head.weight", All) };
    match role {
        Role::TokenEmbedding => const { &[part("wte.weight", All)] },
        Role::PositionEmbedding => const { &[part("wpe.weight", All)] },
        Role::FinalNorm => const { &[part("ln_f.weight", All)] },
        Role::FinalNormBias => const { &[part("ln_f.bias", All)] },
        Role::Head => &[HEAD],
        Role::AttnNorm => const { &[part("h.{}.ln_1.weight", All)] },
        Role::AttnNormBias => const { &[part("h.{}.ln_1.bias", All)] },
        Role::AttnQkv => const { &[transposed("h.{}.attn.c_attn.weight")] },
        Role::AttnQkvBias => const { &[part("h.{}.attn.c_attn.bias", All)] },
        Role::AttnOut => const { &[transposed("h.{}.attn.c_proj.weight")] },
        Role::AttnOutBias => const { &[part("h.{}.attn.c_proj.bias", All)] },
        Role::FfnNorm => const { &[part("h.{}.ln_2.weight", All)] },
        Role::FfnNormBias => const { &[part("h.{}.ln_2.bias", All)] },
        Role::FfnUp => const { &[transposed("h.{}.mlp.c_fc.weight")] },
        Role::FfnUpBias => const { &[part("h.{}.mlp.c_fc.bias", All)] },
        Role::FfnDown => const { &[transposed("h.{}.mlp.c_proj.weight")] },
        Role::FfnDownBias => const { &[part("h.{}.mlp.c_proj.bias", All)] },
        // A spec of this family has no other roles.
        _ => &[],
    }
}

/// The causal masks that old checkpoints carry.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}
