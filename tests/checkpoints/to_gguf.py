#!/usr/bin/env python3
"""Write the SmolLM2 folder that fetch.py makes as an F16 GGUF, so that other runtimes can be compared on the same weights.

    .venv/bin/python tests/checkpoints/to_gguf.py OUT_DIR      # the packages of fetch.py suffice

    OUT_DIR/smollm2-135m-instruct/        read: the tensors
    OUT_DIR/smollm2-135m-instruct.gguf    read: configuration and tokenizer, which the new file repeats
    OUT_DIR/smollm2-135m-instruct.f16.gguf   written

Norms stay f32, as GGUF wants them. Quantised files are then the business of the other runtime's own quantiser.
"""
import json
import pathlib
import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from safetensors.numpy import load_file

NAME = "smollm2-135m-instruct"
MOSTLY_F16 = 1
WRITTEN_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")
LAYER_TENSORS = [  # Hugging Face's name, GGUF's name, the configuration key that counts its rotary heads
    ("input_layernorm", "attn_norm", None),
    ("post_attention_layernorm", "ffn_norm", None),
    ("self_attn.q_proj", "attn_q", "num_attention_heads"),
    ("self_attn.k_proj", "attn_k", "num_key_value_heads"),
    ("self_attn.v_proj", "attn_v", None),
    ("self_attn.o_proj", "attn_output", None),
    ("mlp.gate_proj", "ffn_gate", None),
    ("mlp.up_proj", "ffn_up", None),
    ("mlp.down_proj", "ffn_down", None),
]


def pairs_from_halves(matrix, heads):
    """Rows of a query or key matrix in GGUF's order, where the two members of a rotary pair are adjacent."""
    half = matrix.shape[0] // heads // 2
    return matrix.reshape(heads, 2, half, -1).transpose(0, 2, 1, 3).reshape(matrix.shape)


def copy_metadata(reader, writer):
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in WRITTEN_ANEW:
            continue
        if field.types[0] == GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    writer.add_file_type(MOSTLY_F16)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    config = json.loads((out / NAME / "config.json").read_text())
    tensors = {}
    for shard in sorted((out / NAME).glob("*.safetensors")):
        tensors.update(load_file(shard))
    target = out / f"{NAME}.f16.gguf"
    partial = out / f"{NAME}.partial-gguf"  # whoever finds the target finds all of it
    writer = GGUFWriter(partial, "llama")
    copy_metadata(GGUFReader(out / f"{NAME}.gguf"), writer)

    def add(name, tensor):
        stored = np.float32 if tensor.ndim == 1 else np.float16
        writer.add_tensor(name, np.ascontiguousarray(tensor.astype(stored)))

    add("token_embd.weight", tensors["model.embed_tokens.weight"])
    add("output_norm.weight", tensors["model.norm.weight"])
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours, heads in LAYER_TENSORS:
            tensor = tensors[f"model.layers.{layer}.{theirs}.weight"]
            add(f"blk.{layer}.{ours}.weight", tensor if heads is None else pairs_from_halves(tensor, config[heads]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)
    print(target)


if __name__ == "__main__":
    main()
