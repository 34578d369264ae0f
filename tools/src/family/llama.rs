//! Llama, and the families that differ from it in biases and windows: Mistral, Qwen2.

use super::config::{Config, ConfigError};
use super::rotary::Rotary;
use super::{Draft, Family, PartName, Share, Sizes, part};
use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, MAX_LAYERS, Norm, Positions, Role};

pub(super) const LLAMA: Family = Family {
    model_type: "llama",
    architectures: &["LlamaForCausalLM", "LLaMAForCausalLM"],
    prefixes: &["model."],
    read: read_llama,
    parts,
    is_buffer,
};

pub(super) const MISTRAL: Family =
    Family { model_type: "mistral", architectures: &["MistralForCausalLM"], prefixes: &["model."], read: read_mistral, parts, is_buffer };

pub(super) const QWEN2: Family =
    Family { model_type: "qwen2", architectures: &["Qwen2ForCausalLM"], prefixes: &["model."], read: read_qwen2, parts, is_buffer };

/// What the three families leave to their defaults when `config.json` is silent.
struct Defaults {
    context: u32,
    /// Key/value heads when the key is absent; null always means one per query head.
    kv_heads: Option<u32>,
}

fn read_llama(config: &Config) -> Result<Draft, ConfigError> {
    let attention_bias = config.flag("attention_bias", false)?;
    let mut draft = read(config, &Defaults { context: 2048, kv_heads: None })?;
    for kind in &mut draft.kinds {
        kind.qkv_bias = attention_bias;
        kind.out_bias = attention_bias;
        kind.ffn_bias = config.flag("mlp_bias", false)?;
    }
    Ok(draft)
}

fn read_mistral(config: &Config) -> Result<Draft, ConfigError> {
    let window = window(config)?;
    let mut draft = read(config, &Defaults { context: 131_072, kv_heads: Some(8) })?;
    draft.kinds[0].window = window.unwrap_or(0);
    Ok(draft)
}

fn read_qwen2(config: &Config) -> Result<Draft, ConfigError> {
    let window = if config.flag("use_sliding_window", false)? { window(config)? } else { None };
    // Read even when the window is off, so that they count as known.
    let (window_value, first, types) =
        (config.count("sliding_window")?, config.count("max_window_layers")?.unwrap_or(28), config.texts("layer_types")?);
    let mut draft = read(config, &Defaults { context: 32_768, kv_heads: Some(32) })?;
    draft.kinds[0].qkv_bias = true;
    let n_layers = draft.layers.len();
    if !types.is_empty() && types.len() != n_layers {
        let expected = format!("{n_layers} entries, one per layer");
        return Err(ConfigError::Value { key: "layer_types".into(), expected, got: types.len().to_string() });
    }
    for (layer, name) in types.iter().enumerate() {
        if !matches!(name.as_str(), "full_attention" | "sliding_attention") {
            let (key, supported) = (format!("layer_types[{layer}]"), "full_attention, sliding_attention".into());
            return Err(ConfigError::Unsupported { key, got: name.clone(), supported });
        }
    }
    let Some(window) = window else { return Ok(draft) };
    debug_assert!(window_value.is_none_or(|value| value == window));
    let windowed = |layer: usize| types.get(layer).map_or(layer >= first as usize, |name| name == "sliding_attention");
    let n_windowed = (0..n_layers).filter(|&layer| windowed(layer)).count();
    if n_windowed == n_layers {
        draft.kinds[0].window = window;
    } else if n_windowed > 0 {
        draft.kinds.push(BlockSpec { window, ..draft.kinds[0] });
        draft.layers = (0..n_layers).map(|layer| u8::from(windowed(layer))).collect();
    }
    Ok(draft)
}

/// `sliding_window`: 4,096 in both families when the key is absent, none when it is null.
fn window(config: &Config) -> Result<Option<u32>, ConfigError> {
    let window = config.count("sliding_window")?;
    if window == Some(0) {
        return Err(ConfigError::Value { key: "sliding_window".into(), expected: "null or a positive number".into(), got: "0".into() });
    }
    Ok(if config.has("sliding_window") { window } else { Some(4096) })
}

fn read(config: &Config, defaults: &Defaults) -> Result<Draft, ConfigError> {
    let hidden = config.need_count("hidden_size")?;
    let heads = config.need_count("num_attention_heads")?;
    let layers = config.need_count("num_hidden_layers")?;
    let kv_heads = match config.count("num_key_value_heads")? {
        Some(n) => n,
        None if config.has("num_key_value_heads") => heads,
        None => defaults.kv_heads.unwrap_or(heads),
    };
    let head_dim = match config.count("head_dim")? {
        Some(n) => n,
        None => divide(hidden, heads)?,
    };
    let eps = config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32;
    let rotary = Rotary::read(config)?;
    let block = BlockSpec {
        norm: Norm::Rms,
        norm_eps: eps,
        heads,
        kv_heads,
        head_dim,
        positions: AttnPositions::RotaryHalves,
        rotary_dim: head_dim,
        rotary_scaling: rotary.kind(),
        rotary_theta: rotary.theta as f32,
        attn_scale: attn_scale(head_dim),
        ffn: Ffn::Gated,
        activation: config.activation("hidden_act", Activation::Silu)?,
        ffn_dim: config.need_count("intermediate_size")?,
        ..BlockSpec::default()
    };
    Ok(Draft {
        sizes: Sizes {
            vocab: config.need_count("vocab_size")?,
            hidden,
            context: config.count("max_position_embeddings")?.unwrap_or(defaults.context),
            positions: Positions::None,
            final_norm: Norm::Rms,
            final_norm_eps: eps,
            head: if config.flag("tie_word_embeddings", false)? { Head::Tied } else { Head::Own },
        },
        kinds: vec![block],
        layers: all_layers("num_hidden_layers", layers)?,
        // A head too large for the spec is refused by it; the table need not be made.
        frequencies: if head_dim <= 1 << 16 { rotary.frequencies(head_dim) } else { Vec::new() },
    })
}

/// `hidden / heads`, if that is a whole number.
pub(super) fn divide(hidden: u32, heads: u32) -> Result<u32, ConfigError> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let expected = format!("a multiple of the {heads} attention heads");
        return Err(ConfigError::Value { key: "hidden size".into(), expected, got: hidden.to_string() });
    }
    Ok(hidden / heads)
}

/// One kind of block in every layer.
pub(super) fn all_layers(key: &str, layers: u32) -> Result<Vec<u8>, ConfigError> {
    if layers as usize > MAX_LAYERS || layers == 0 {
        return Err(ConfigError::Value { key: key.into(), expected: format!("1 to {MAX_LAYERS}"), got: layers.to_string() });
    }
    Ok(vec![0; layers as usize])
}

/// `1 / sqrt(head_dim)`, rounded once.
pub(super) fn attn_scale(head_dim: u32) -> f32 {
    f64::from(head_dim.max(1)).powf(-0.5) as f32
}

fn parts(role: Role) -> &'static [PartName] {
    use Share::{All, Half, Keys, Queries};
    const HEAD: PartName = PartName { root: true, ..part("lm_head.weight", All) };
    match role {
        Role::TokenEmbedding => const { &[part("embed_tokens.weight", All)] },
        Role::FinalNorm => const { &[part("norm.weight", All)] },
        Role::Head => &[HEAD],
        Role::AttnNorm => const { &[part("layers.{}.input_layernorm.weight", All)] },
        Role::AttnQkv => {
            const {
                &[
                    part("layers.{}.self_attn.q_proj.weight", Queries),
                    part("layers.{}.self_attn.k_proj.weight", Keys),
                    part("layers.{}.self_attn.v_proj.weight", Keys),
                ]
            }
        }
        Role::AttnQkvBias => {
            const {
                &[
                    part("layers.{}.self_attn.q_proj.bias", Queries),
                    part("layers.{}.self_attn.k_proj.bias", Keys),
                    part("layers.{}.self_attn.v_proj.bias", Keys),
                ]
            }
        }
        Role::AttnOut => const { &[part("layers.{}.self_attn.o_proj.weight", All)] },
        Role::AttnOutBias => const { &[part("layers.{}.self_attn.o_proj.bias", All)] },
        Role::FfnNorm => const { &[part("layers.{}.post_attention_layernorm.weight", All)] },
        Role::FfnUp => const { &[part("layers.{}.mlp.gate_proj.weight", Half), part("layers.{}.mlp.up_proj.weight", Half)] },
        Role::FfnUpBias => const { &[part("layers.{}.mlp.gate_proj.bias", Half), part("layers.{}.mlp.up_proj.bias", Half)] },
        Role::FfnDown => const { &[part("layers.{}.mlp.down_proj.weight", All)] },
        Role::FfnDownBias => const { &[part("layers.{}.mlp.down_proj.bias", All)] },
        // A spec of these families has no other roles.
        _ => &[],
    }
}

fn is_buffer(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}
