//! Writes the seeds of the fuzz targets: `cargo run --release -p kinglet-tests --example fuzz_corpus`.
//!
//! Seeds are sound inputs, as small as they come, of every kind: what is malformed the fuzzer finds by itself.

use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Spec};
use kinglet_quant::DType;
use kinglet_tests::synthetic;
use kinglet_tools::chat_template;
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
    let tokenizers = corpus.join("tokenizer");
    std::fs::create_dir_all(&tokenizers)?;
    for (name, (json, vocab)) in [("byte-level", byte_level()), ("sentencepiece", sentencepiece())] {
        let ends = format!(r#"{{"eos_token_id": [{}]}}"#, vocab - 2);
        let mut seed = compile(json.as_bytes(), None, Some(ends.as_bytes()), vocab).map_err(std::io::Error::other)?.section;
        let text = "ab abcd<s>x \u{e1}\u{1f426}";
        seed.extend(text.as_bytes());
        seed.extend((text.len() as u16).to_le_bytes());
        std::fs::write(tokenizers.join(name), seed)?;
    }
    let (json, vocab) = sentencepiece();
    let tokenizer = compile(json.as_bytes(), None, Some(br#"{"eos_token_id": [2]}"#), vocab).map_err(std::io::Error::other)?.section;
    let template = "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] + '</s>' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}";
    let chat = chat_template::compile(template, Some("<s>"), Some("</s>")).map_err(std::io::Error::other)?.section;
    let spec = Spec { vocab, context: 128, ..specs[1].1 };
    let model = synthetic::with_text(&spec, DType::Q4, 1, &tokenizer, &chat);
    std::fs::write(corpus.join("../../models/random.kgl"), model.bytes())?;
    // Programs of calls: any bytes are one.
    let calls = corpus.join("calls");
    std::fs::create_dir_all(&calls)?;
    let mut random = synthetic::Random::new(1);
    for seed in 0..8 {
        let program: Vec<u8> = (0..400).map(|_| random.next_u64() as u8).collect();
        std::fs::write(calls.join(format!("random-{seed}")), program)?;
    }
    println!("wrote {}", corpus.display());
    Ok(())
}

/// A byte-level tokenizer and its number of ids. 0 to 4 are the bytes a, b, c, d and a space, 5 to 7 are ab, cd and
/// abcd, then `<s>` and `<s>x`; 10 is unused.
fn byte_level() -> (String, u32) {
    let json = r#"{
        "added_tokens": [
            {"id": 8, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 9, "content": "<s>x", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
        ],
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "\u0120": 4, "ab": 5, "cd": 6, "abcd": 7, "<s>": 8, "<s>x": 9},
            "merges": ["a b", "c d", "ab cd"]}
    }"#;
    (json.to_owned(), 11)
}

/// A SentencePiece-style tokenizer and its number of ids. 0 to 2 are control tokens, 3 to 258 the bytes, 259 a space,
/// 260 an a with an accent, 261 both, 262 two of the latter. The later token has the earlier merge, so that there is a table of results.
fn sentencepiece() -> (String, u32) {
    let bytes: String = (0..256).map(|b| format!(r#""<0x{b:02X}>": {}, "#, b + 3)).collect();
    let added = |id: u32, text: &str| {
        format!(
            r#"{{"id": {id}, "content": "{text}", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}"#
        )
    };
    let json = format!(
        r#"{{
        "added_tokens": [{}, {}, {}],
        "normalizer": {{"type": "Sequence", "normalizers": [
            {{"type": "Prepend", "prepend": "▁"}}, {{"type": "Replace", "pattern": {{"String": " "}}, "content": "▁"}}]}},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {{"type": "Sequence", "decoders": [
            {{"type": "Replace", "pattern": {{"String": "▁"}}, "content": " "}}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}},
            {{"type": "Strip", "content": " ", "start": 1, "stop": 0}}]}},
        "model": {{"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": {{"<unk>": 0, "<s>": 1, "</s>": 2, {bytes}"▁": 259, "á": 260, "▁á": 261, "áá": 262}},
            "merges": ["á á", "▁ á"]}}
    }}"#,
        added(0, "<unk>"),
        added(1, "<s>"),
        added(2, "</s>")
    );
    (json, 263)
}
