//! What `config.json` means, family by family: defaults as the reference library has them, old and new spellings.

use kinglet::format::Role;
use kinglet::spec::{Activation, BlockSpec, Head, Norm, Positions, RotaryScaling, TensorKey};
use kinglet_tools::family::{Model, Part, Source};
use serde_json::{Value, json};

fn model(family: &str, changes: &Value) -> Model {
    let mut config = json!({
        "model_type": family, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 256, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "n_positions": 32,
    });
    let other = if family == "gpt2" {
        "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads max_position_embeddings"
    } else {
        "n_embd n_layer n_head n_positions"
    };
    for key in other.split(' ') {
        config.as_object_mut().unwrap().remove(key);
    }
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let model = Model::from_config(&config.to_string()).unwrap_or_else(|e| panic!("{config}: {e}"));
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    model
}

fn block(model: &Model, layer: usize) -> BlockSpec {
    *model.spec().stack().block(layer)
}

fn windows(model: &Model) -> Vec<u32> {
    (0..model.spec().stack().len()).map(|layer| block(model, layer).window).collect()
}

/// The rotary frequencies of a model, as its file will hold them.
fn frequencies(model: &Model) -> Vec<f32> {
    let key = TensorKey { stack: 0, role: Role::RotaryFrequencies, layer: 0 };
    let tensor = model.spec().tensors().find(|t| t.key == key).unwrap();
    match model.source(&tensor, "") {
        Source::Computed(values) => values,
        other => panic!("{other:?}"),
    }
}

fn parts(model: &Model, role: Role, layer: u16) -> Vec<(String, usize, usize, bool)> {
    let tensor = model.spec().tensors().find(|t| t.key.role == role && t.key.layer == layer).unwrap();
    match model.source(&tensor, "p.") {
        Source::Stored(parts) => {
            parts.into_iter().map(|Part { name, rows, cols, transposed, .. }| (name, rows, cols, transposed)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_are_tied_as_each_family_does_when_nothing_is_said() {
    for (family, expected) in [("llama", Head::Own), ("mistral", Head::Own), ("qwen2", Head::Own), ("gpt2", Head::Tied)] {
        assert_eq!(model(family, &json!({})).spec().head, expected, "{family}");
        let said = json!({"tie_word_embeddings": expected == Head::Own});
        assert_ne!(model(family, &said).spec().head, expected, "{family}");
    }
}

#[test]
fn biases_are_those_of_the_family() {
    let biases = |model: &Model| (block(model, 0).qkv_bias, block(model, 0).out_bias, block(model, 0).ffn_bias);
    assert_eq!(biases(&model("llama", &json!({}))), (false, false, false));
    assert_eq!(biases(&model("llama", &json!({"attention_bias": true}))), (true, true, false));
    assert_eq!(biases(&model("llama", &json!({"mlp_bias": true}))), (false, false, true));
    assert_eq!(biases(&model("mistral", &json!({}))), (false, false, false));
    assert_eq!(biases(&model("qwen2", &json!({}))), (true, false, false));
    assert_eq!(biases(&model("gpt2", &json!({}))), (true, true, true));
}

#[test]
fn windows_are_where_the_family_has_them() {
    assert_eq!(windows(&model("llama", &json!({}))), [0; 4]);
    assert_eq!(windows(&model("mistral", &json!({"sliding_window": 32}))), [32; 4]);
    assert_eq!(windows(&model("mistral", &json!({"sliding_window": null}))), [0; 4]);
    assert_eq!(windows(&model("mistral", &json!({}))), [4096; 4], "the family's default");
    let qwen2 = |changes: Value| windows(&model("qwen2", &changes));
    assert_eq!(qwen2(json!({"sliding_window": 32, "max_window_layers": 1})), [0; 4], "the window is off by default");
    assert_eq!(qwen2(json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 1})), [0, 32, 32, 32]);
    assert_eq!(qwen2(json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 0})), [32; 4]);
    assert_eq!(qwen2(json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 28})), [0; 4]);
    assert_eq!(qwen2(json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 0})), [0; 4]);
    let types = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"];
    assert_eq!(qwen2(json!({"use_sliding_window": true, "sliding_window": 32, "layer_types": types})), [0, 32, 0, 32]);
    assert_eq!(qwen2(json!({"use_sliding_window": false, "sliding_window": 32, "layer_types": types})), [0; 4]);
}

#[test]
fn rotary_scaling_has_an_old_and_a_new_spelling() {
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let with = |key: &str, name: &str, theta: Value| {
        let mut object = llama3.clone();
        object[key] = json!(name);
        if !theta.is_null() {
            object["rope_theta"] = theta;
        }
        object
    };
    let old = model("llama", &json!({"rope_theta": 5e5, "rope_scaling": with("type", "llama3", Value::Null)}));
    let middle = model("llama", &json!({"rope_theta": 5e5, "rope_scaling": with("rope_type", "llama3", Value::Null)}));
    let new = model("llama", &json!({"rope_parameters": with("rope_type", "llama3", json!(5e5))}));
    assert_eq!(old.spec_bytes(), middle.spec_bytes());
    assert_eq!(old.spec_bytes(), new.spec_bytes());
    assert_eq!((block(&new, 0).rotary_scaling, block(&new, 0).rotary_theta), (RotaryScaling::Llama3, 5e5));
    assert_eq!(frequencies(&old), frequencies(&new));
    let plain = frequencies(&model("llama", &json!({"rope_theta": 5e5})));
    assert_ne!(frequencies(&old), plain);
    let linear = frequencies(&model("llama", &json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}})));
    assert_eq!(linear, plain.iter().map(|f| f / 4.0).collect::<Vec<_>>());
    for default in [json!(null), json!({"rope_type": "default"}), json!({"rope_type": "default", "factor": 8.0})] {
        assert_eq!(frequencies(&model("llama", &json!({"rope_theta": 5e5, "rope_scaling": default}))), plain, "{default}");
    }
}

#[test]
fn sizes_that_are_not_said_have_their_defaults() {
    let llama = model("llama", &json!({"num_key_value_heads": null, "rms_norm_eps": 1e-6}));
    assert_eq!((block(&llama, 0).kv_heads, block(&llama, 0).head_dim, block(&llama, 0).norm_eps), (8, 8, 1e-6));
    assert_eq!(block(&model("mistral", &json!({"head_dim": 32})), 0).q_dim(), 256, "heads wider than the hidden size");
    let gpt2 = model("gpt2", &json!({"n_inner": null}));
    let (spec, b) = (gpt2.spec(), block(&gpt2, 0));
    assert_eq!((b.ffn_dim, b.activation, b.norm, spec.positions), (256, Activation::GeluTanh, Norm::Layer, Positions::Learned));
    assert_eq!((b.attn_scale, spec.context, spec.final_norm_eps), (0.25, 32, 1e-5));
    assert_eq!(block(&model("gpt2", &json!({"scale_attn_weights": false})), 0).attn_scale, 1.0);
}

#[test]
fn stacked_matrices_name_their_parts_in_order() {
    let qwen2 = model("qwen2", &json!({}));
    let part = |name: &str, rows, cols| (name.to_owned(), rows, cols, false);
    assert_eq!(
        parts(&qwen2, Role::AttnQkv, 3),
        [
            part("p.layers.3.self_attn.q_proj.weight", 64, 64),
            part("p.layers.3.self_attn.k_proj.weight", 16, 64),
            part("p.layers.3.self_attn.v_proj.weight", 16, 64)
        ]
    );
    assert_eq!(parts(&qwen2, Role::AttnQkvBias, 0)[1], part("p.layers.0.self_attn.k_proj.bias", 1, 16));
    assert_eq!(
        parts(&qwen2, Role::FfnUp, 1),
        [part("p.layers.1.mlp.gate_proj.weight", 96, 64), part("p.layers.1.mlp.up_proj.weight", 96, 64)]
    );
    assert_eq!(parts(&qwen2, Role::Head, 0), [part("lm_head.weight", 100, 64)], "the head stands outside the prefix");
    let gpt2 = model("gpt2", &json!({}));
    assert_eq!(parts(&gpt2, Role::AttnQkv, 1), [("p.h.1.attn.c_attn.weight".to_owned(), 192, 64, true)]);
    assert_eq!(gpt2.prefix(|name| name == "wte.weight"), "");
    assert_eq!(gpt2.prefix(|name| name == "transformer.wte.weight"), "transformer.");
    assert!(gpt2.is_buffer("h.0.attn.bias") && !gpt2.is_buffer("h.0.attn.c_attn.bias"));
}
