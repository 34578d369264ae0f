//! Writes the seeds of the fuzz targets: `cargo run --release -p kinglet-tests --example fuzz_corpus`.
//!
//! Seeds are sound inputs, as small as they come, of every kind: what is malformed the fuzzer finds by itself.

use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Spec};
use kinglet_quant::DType;
use kinglet_tests::{synthetic, tokenizers};
use kinglet_tools::tokenizer_compiler::compile;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let containers = corpus.join("container");
    std::fs::create_dir_all(&containers)?;
    let llama = BlockSpec { heads: 1, kv_heads: 1, head_dim: 8, rotary_dim: 8, ffn_dim: 8, ..BlockSpec::default() };
    let window = BlockSpec { window: 4, ..llama };
    let gpt2 = BlockSpec {
        norm: Norm::Layer,
        positions: AttnPositions::None,
        rotary_dim: 0,
        ffn: Ffn::Plain,
        activation: Activation::GeluTanh,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        ..llama
    };
    let sized = |spec| Spec { vocab: 8, hidden: 8, context: 8, ..spec };
    let specs = [
        ("llama", sized(Spec::decoder(&[llama], &[0]))),
        ("window", sized(Spec { head: Head::Own, ..Spec::decoder(&[llama, window], &[0, 1]) })),
        ("gpt2", sized(Spec { positions: Positions::Learned, final_norm: Norm::Layer, head_bias: true, ..Spec::decoder(&[gpt2], &[0]) })),
    ];
    for (name, spec) in &specs {
        for dtype in DType::ALL {
            std::fs::write(containers.join(format!("{name}-{dtype}.kgl")), synthetic::file(spec, dtype, 1).bytes())?;
        }
    }
    let tokenizers_folder = corpus.join("tokenizer");
    std::fs::create_dir_all(&tokenizers_folder)?;
    for (name, (json, vocab)) in [("byte-level", tokenizers::byte_level()), ("sentencepiece", tokenizers::sentencepiece())] {
        let ends = format!(r#"{{"eos_token_id": [{}]}}"#, vocab - 2);
        let mut seed = compile(json.as_bytes(), None, Some(ends.as_bytes()), vocab).map_err(std::io::Error::other)?.section;
        let text = "ab abcd<s>x \u{e1}\u{1f426}";
        seed.extend(text.as_bytes());
        seed.extend((text.len() as u16).to_le_bytes());
        std::fs::write(tokenizers_folder.join(name), seed)?;
    }
    println!("wrote {}", corpus.display());
    Ok(())
}
