//! Small checkpoints, made on the spot, to be broken one way each.

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    pub(crate) fn f32(shape: &[usize], value: impl Fn(usize) -> f32) -> Self {
        let n = shape.iter().product();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes: (0..n).flat_map(|i| value(i).to_le_bytes()).collect() }
    }
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// Deterministic, and different for every tensor.
fn weight(seed: usize, i: usize) -> f32 {
    let x = (seed * 7919 + i).wrapping_mul(2_654_435_761) % 65_536;
    (x as f32 / 32_768.0 - 1.0) * 0.1
}

impl Checkpoint {
    /// A Llama of the given sizes, head tied.
    pub(crate) fn llama(vocab: usize, hidden: usize, ffn: usize, layers: usize) -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocab,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": true, "torch_dtype": "float32",
        });
        let mut shapes =
            vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]), ("model.norm.weight".to_owned(), vec![hidden])];
        for layer in 0..layers {
            for (name, shape) in [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![hidden / 2, hidden]),
                ("self_attn.v_proj", vec![hidden / 2, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![ffn, hidden]),
                ("mlp.up_proj", vec![ffn, hidden]),
                ("mlp.down_proj", vec![hidden, ffn]),
            ] {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
            }
        }
        let tensors = shapes.into_iter().enumerate().map(|(seed, (name, shape))| (name, Tensor::f32(&shape, |i| weight(seed, i))));
        Self { config, tensors: tensors.collect() }
    }

    /// The smallest one.
    pub(crate) fn small() -> Self {
        Self::llama(20, 64, 96, 2)
    }

    pub(crate) fn set(&mut self, name: &str, index: usize, value: f32) {
        let tensor = self.tensors.get_mut(name).expect(name);
        tensor.bytes[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn write(&self, folder: &Path) {
        self.write_config(folder);
        write_shard(&folder.join("model.safetensors"), self.tensors.iter());
    }

    pub(crate) fn write_config(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Two shards and an index; returns the index, to be changed and written again.
    pub(crate) fn write_shards(&self, folder: &Path) -> Value {
        self.write_config(folder);
        let (mut map, mut shards) = (serde_json::Map::new(), [Vec::new(), Vec::new()]);
        for (i, (name, tensor)) in self.tensors.iter().enumerate() {
            shards[i % 2].push((name, tensor));
            map.insert(name.clone(), json!(shard_name(i % 2)));
        }
        for (i, shard) in shards.into_iter().enumerate() {
            write_shard(&folder.join(shard_name(i)), shard.into_iter());
        }
        let index = json!({ "metadata": { "total_size": 0 }, "weight_map": map });
        write_index(folder, &index);
        index
    }
}

pub(crate) fn shard_name(i: usize) -> String {
    format!("model-0000{}-of-00002.safetensors", i + 1)
}

pub(crate) fn write_index(folder: &Path, index: &Value) {
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

pub(crate) fn write_shard<'t>(path: &Path, tensors: impl Iterator<Item = (&'t String, &'t Tensor)>) {
    let views = tensors.map(|(name, t)| (name.clone(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    std::fs::write(path, serialize(views.collect::<Vec<_>>(), None).unwrap()).unwrap();
}

/// Every file of a folder, by name.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
