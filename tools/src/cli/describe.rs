//! A model's spec in words.

use super::text::{count, ranges, thousands};
use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, Mask, Norm, NormPlace, Positions, RotaryScaling, Spec, StackKind};

/// The spec as lines `subject: words`.
pub(crate) fn spec(spec: &Spec<'_>) -> Vec<(String, String)> {
    let mut lines = vec![(
        "embedding".to_owned(),
        format!(
            "{} of width {}{}{}",
            count(spec.vocab.into(), "token"),
            thousands(spec.hidden.into()),
            match spec.positions {
                Positions::None => "",
                Positions::Learned => ", learned positions",
                Positions::Sinusoidal => ", sinusoidal positions",
            },
            if spec.embed_scale == 1.0 { String::new() } else { format!(", times {}", spec.embed_scale) },
        ),
    )];
    if spec.token_types > 1 {
        lines.push(("token types".to_owned(), spec.token_types.to_string()));
    }
    for stack in spec.stacks() {
        let kind = match stack.kind {
            StackKind::Decoder => "decoder",
            StackKind::Encoder => "encoder",
            StackKind::CrossDecoder => "decoder with cross-attention",
        };
        for (index, block) in stack.kinds().iter().enumerate() {
            let layers: Vec<usize> = (0..stack.len()).filter(|&l| stack.kind_of(l) == index).collect();
            let which = if layers.len() == stack.len() { String::new() } else { format!(" ({})", ranges(&layers)) };
            lines.push((kind.to_owned(), format!("{}{which}", count(layers.len() as u64, "layer"))));
            lines.extend(block_words(block).into_iter().map(|(subject, words)| (format!("  {subject}"), words)));
        }
    }
    let norm = norm_words(spec.final_norm, spec.final_norm_eps);
    let head = match spec.head {
        Head::None => "none: hidden vectors are the result",
        Head::Tied => "next-token logits by the token embedding",
        Head::Own => "next-token logits by a matrix of its own",
        Head::MaskedLm => "masked-token logits",
        Head::Classifier => "classifier over the first position",
        Head::PoolMean => "mean of all positions",
        Head::PoolFirst => "first position",
    };
    let mut words = format!("{norm}, then {head}");
    if spec.head_bias {
        words += ", with bias";
    }
    if spec.head_scale != 1.0 {
        words += &format!(", times {}", spec.head_scale);
    }
    if spec.head_soft_cap != 0.0 {
        words += &format!(", soft cap {}", spec.head_soft_cap);
    }
    lines.push(("head".to_owned(), words));
    lines.push(("context".to_owned(), format!("made for {}", count(spec.context.into(), "position"))));
    lines
}

fn norm_words(norm: Norm, eps: f32) -> String {
    match norm {
        Norm::None => "no norm".to_owned(),
        Norm::Rms => format!("RMS norm (eps {eps:e})"),
        Norm::Layer => format!("layer norm (eps {eps:e})"),
    }
}

fn block_words(block: &BlockSpec) -> Vec<(&'static str, String)> {
    let place = match block.norm_place {
        NormPlace::Pre => "before attention and feed-forward",
        NormPlace::Post => "after each residual sum",
        NormPlace::Sandwich => "before and after attention and feed-forward",
        NormPlace::Parallel => "one, before attention and feed-forward side by side",
    };
    let mut attention = format!(
        "{} of {} channels, {}",
        count(block.heads.into(), "query head"),
        block.head_dim,
        if block.heads == block.kv_heads {
            "as many for keys and values".to_owned()
        } else {
            count(block.kv_heads.into(), "head") + " for keys and values"
        }
    );
    attention += match block.mask {
        Mask::Causal => ", causal",
        Mask::Bidirectional => ", both directions",
    };
    if block.window > 0 {
        attention += &format!(", window of {}", count(block.window.into(), "position"));
    }
    for (there, words) in
        [(block.qkv_bias, ", biases on q, k, v"), (block.out_bias, ", bias on the output"), (block.qk_norm, ", q and k normalised")]
    {
        if there {
            attention += words;
        }
    }
    if block.attn_soft_cap != 0.0 {
        attention += &format!(", soft cap {}", block.attn_soft_cap);
    }
    let mut positions = match block.positions {
        AttnPositions::None => "not in attention".to_owned(),
        AttnPositions::RotaryHalves => {
            format!("rotary, halves, {} channels, base {}", block.rotary_dim, thousands(block.rotary_theta as u64))
        }
        AttnPositions::RotaryPairs => {
            format!("rotary, pairs, {} channels, base {}", block.rotary_dim, thousands(block.rotary_theta as u64))
        }
        AttnPositions::Alibi => "ALiBi".to_owned(),
        AttnPositions::Relative => "relative buckets".to_owned(),
    };
    if block.is_rotary() {
        positions += match block.rotary_scaling {
            RotaryScaling::None => "",
            RotaryScaling::Linear => ", linear scaling",
            RotaryScaling::Llama3 => ", Llama 3 scaling",
            RotaryScaling::Yarn => ", YaRN scaling",
        };
    }
    let activation = match block.activation {
        Activation::Silu => "SiLU",
        Activation::GeluTanh => "GELU (tanh)",
        Activation::GeluErf => "GELU (erf)",
        Activation::Relu => "ReLU",
    };
    let mut ffn =
        format!("{} of {}, {activation}", if block.ffn == Ffn::Gated { "gated" } else { "plain" }, thousands(block.ffn_dim.into()));
    if block.ffn_bias {
        ffn += ", biases";
    }
    if block.experts > 0 {
        ffn += &format!(", {} experts, {} used", block.experts, block.experts_used);
    }
    let mut lines = vec![
        ("norms", format!("{}, {place}", norm_words(block.norm, block.norm_eps))),
        ("attention", attention),
        ("positions", positions),
        ("feed-forward", ffn),
    ];
    if block.residual_scale != 1.0 {
        lines.push(("residual", format!("times {}", block.residual_scale)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges(&[3]), "3");
    }

    #[test]
    fn the_default_block_reads_as_a_small_llama() {
        let blocks = [BlockSpec::default(), BlockSpec { window: 16, ..BlockSpec::default() }];
        let mut small = Spec::decoder(&blocks, &[0, 1, 0]);
        (small.vocab, small.hidden, small.context) = (1024, 64, 128);
        let lines = spec(&small);
        let find = |subject: &str| lines.iter().find(|(s, _)| s.trim() == subject).map(|(_, words)| words.as_str());
        assert_eq!(find("embedding"), Some("1,024 tokens of width 64"));
        assert_eq!(find("decoder"), Some("2 layers (0, 2)"));
        assert_eq!(find("attention"), Some("2 query heads of 32 channels, 1 head for keys and values, causal"));
        assert_eq!(find("feed-forward"), Some("gated of 128, SiLU"));
        assert_eq!(find("context"), Some("made for 128 positions"));
        assert!(lines.iter().any(|(_, words)| words.ends_with("window of 16 positions")));
    }
}
