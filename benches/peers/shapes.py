#!/usr/bin/env python3
"""Make models of larger shapes with seeded random weights, since a small model hides the limits of memory in the caches.

    WORK_DIR/venv/bin/python benches/peers/shapes.py WORK_DIR [NAME...]      after build.sh WORK_DIR

    NAME: llama-1b, the shape of Llama-3.2-1B; qwen-0.5b, that of Qwen2.5-0.5B; both if none is given
    WORK_DIR/models/NAME/            a Hugging Face folder, weights in BF16
    WORK_DIR/models/NAME.f16.gguf    the very same values for llama.cpp, which F16 holds exactly, too

A weight is the sum of four random bytes less 510, times a step that gives its matrix the deviation 1/sqrt(columns),
rounded to BF16. The bytes are raw words of NumPy's PCG64, whose stream NumPy promises never to change, seeded by the
tensor's name; no distribution of NumPy's is used. So the weights are the same on every machine, with every version.

The vocabularies are those that llama.cpp's source carries for its own tests (WORK_DIR/llama_cpp_python-*). So text goes in
and out, merges and special tokens cost what they cost, though what comes out means nothing. One tensor is in memory at a time.
"""
import argparse
import json
import pathlib
import shutil
import sys
import zlib

import numpy as np
from gguf import GGUFReader, GGUFWriter, TokenType

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "checkpoints"))
from to_gguf import LAYER_TENSORS, MOSTLY_F16, pairs_from_halves  # noqa: E402

SEED = 6670
BYTES_PER_WEIGHT = 4
MIDDLE = BYTES_PER_WEIGHT * 255 // 2
SUM_DEVIATION = (BYTES_PER_WEIGHT * (256 ** 2 - 1) / 12) ** 0.5
LEAST_NORMAL_F16 = 2.0 ** -14
NORM_SPREAD, BIAS_DEVIATION = 0.1, 0.25

LLAMA3_SCALING = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 8192}
SHAPES = {
    "llama-1b": {
        "vocabulary": "llama-bpe", "starts_with_bos": True, "biases": (), "digits": r"\p{N}{1,3}", "normalizer": None,
        "config": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
            "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        },
    },
    "qwen-0.5b": {
        "vocabulary": "qwen2", "starts_with_bos": False, "digits": r"\p{N}", "normalizer": {"type": "NFC"},
        "biases": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "config": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
            "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "use_sliding_window": False, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        },
    },
}
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def bf16(values):
    """The nearest BF16 of f64 values, as bits; what is representable in F16 as well stays so."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def draw(name, shape, deviation, centre=0.0):
    """The BF16 bits of a tensor."""
    count = int(np.prod(shape))
    generator = np.random.PCG64(np.random.SeedSequence([SEED, zlib.crc32(name.encode())]))
    words = generator.random_raw(-(-count * BYTES_PER_WEIGHT // 8)).astype("<u8", copy=False)
    sums = words.view(np.uint8)[: count * BYTES_PER_WEIGHT].reshape(count, BYTES_PER_WEIGHT)
    sums = sums[:, 0].astype(np.uint16) + sums[:, 1] + sums[:, 2] + sums[:, 3]
    table = bf16(centre + (np.arange(2 * MIDDLE + 1) - MIDDLE) * (deviation / SUM_DEVIATION))
    least = np.min(np.abs(widen(table)[widen(table) != 0]))
    assert least >= LEAST_NORMAL_F16, f"{name}: {least} has no exact F16"
    return table[sums].reshape(shape)


def tensors(shape):
    """Name, dimensions, deviation and centre of every tensor, in the order of the files."""
    config = shape["config"]
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    sizes = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
    }

    def matrix(name, ours, size, heads=None):
        return (name, ours, size, 1 / size[1] ** 0.5, 0.0, heads)

    def norm(name, ours):
        return (name, ours, (hidden,), NORM_SPREAD, 1.0, None)

    yield matrix("model.embed_tokens.weight", "token_embd.weight", (config["vocab_size"], hidden))
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours, heads in LAYER_TENSORS:
            name, gguf_name, size = f"model.layers.{layer}.{theirs}", f"blk.{layer}.{ours}", sizes[theirs]
            turned = config[heads] if heads and config["model_type"] == "llama" else None
            if len(size) == 1:
                yield norm(f"{name}.weight", f"{gguf_name}.weight")
            else:
                yield matrix(f"{name}.weight", f"{gguf_name}.weight", size, turned)
            if theirs in shape["biases"]:
                yield (f"{name}.bias", f"{gguf_name}.bias", size[:1], BIAS_DEVIATION, 0.0, None)
    yield norm("model.norm.weight", "output_norm.weight")


def rotary_factors(config):
    """By what GGUF divides each frequency to get those of Llama 3."""
    scaling, head = config["rope_scaling"], config["head_dim"]
    frequencies = config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def write_folder_head(folder, shape, vocabulary):
    def write(name, data):
        (folder / name).write_text(json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8")

    def value(key):
        return vocabulary.fields[f"tokenizer.ggml.{key}"].contents()

    texts, kinds = value("tokens"), value("token_type")
    eos, bos = value("eos_token_id"), value("bos_token_id")
    template = None
    if shape["starts_with_bos"]:
        first = {"id": texts[bos], "type_id": 0}
        template = {
            "type": "TemplateProcessing", "single": [{"SpecialToken": first}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {texts[bos]: {"id": texts[bos], "ids": [bos], "tokens": [texts[bos]]}},
        }
    added = [i for i, kind in enumerate(kinds) if kind == TokenType.CONTROL]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": shape["digits"].join(WORDS)}, "behavior": "Isolated", "invert": False}
    write("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": texts[i], "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i in added],
        "normalizer": shape["normalizer"], "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": template, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": shape["vocabulary"] == "llama-bpe",
            "vocab": {text: i for i, (text, kind) in enumerate(zip(texts, kinds)) if kind == TokenType.NORMAL},
            "merges": value("merges"),
        },
    })
    write("tokenizer_config.json", {"bos_token": texts[bos] if template else None, "eos_token": texts[eos]})
    write("generation_config.json", {"eos_token_id": eos})
    write("config.json", {**shape["config"], "bos_token_id": bos, "eos_token_id": eos})


def open_safetensors(path, shape):
    """A file with its head written; the tensors follow in order."""
    head, end = {"__metadata__": {"format": "pt"}}, 0
    for name, _, size, *_ in tensors(shape):
        begin, end = end, end + 2 * int(np.prod(size))
        head[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    out = open(path, "wb")
    out.write(len(text).to_bytes(8, "little") + text)
    return out


def open_gguf(path, name, shape, vocabulary):
    config = shape["config"]
    writer = GGUFWriter(path, config["model_type"])
    writer.add_name(name)
    writer.add_file_type(MOSTLY_F16)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    for key in ("model", "pre", "bos_token_id", "eos_token_id", "tokens", "merges", "token_type"):
        key = f"tokenizer.ggml.{key}"
        field = vocabulary.fields[key]
        value = field.contents()
        if key.endswith("token_type"):  # llama.cpp's own converter calls the padding of a vocabulary unused.
            value = [int(TokenType.UNUSED if kind == TokenType.USER_DEFINED else kind) for kind in value]
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, field.types[0])
    writer.add_add_bos_token(shape["starts_with_bos"])
    for _, ours, size, *_ in tensors(shape):
        stored = np.float32 if len(size) == 1 else np.float16
        writer.add_tensor_info(ours, size, np.dtype(stored), int(np.prod(size)) * np.dtype(stored).itemsize)
    if "rope_scaling" in config:
        factors = rotary_factors(config)
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def make(models, vocabularies, name):
    shape = SHAPES[name]
    folder, gguf = models / name, models / f"{name}.f16.gguf"
    source = vocabularies / f"ggml-vocab-{shape['vocabulary']}.gguf"
    if not source.is_file():
        sys.exit(f"{source}: no such vocabulary; run build.sh first")
    vocabulary = GGUFReader(source)
    n_tokens = len(vocabulary.fields["tokenizer.ggml.tokens"].contents())
    if n_tokens != shape["config"]["vocab_size"]:
        sys.exit(f"{source}: tokenizer.ggml.tokens: expected {shape['config']['vocab_size']}, got {n_tokens}")
    partial, partial_gguf = models / f"{name}.partial-folder", models / f"{name}.partial-gguf"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_folder_head(partial, shape, vocabulary)
    writer = open_gguf(partial_gguf, name, shape, vocabulary)
    with open_safetensors(partial / "model.safetensors", shape) as weights:
        for theirs, _, size, deviation, centre, heads in tensors(shape):
            bits = draw(theirs, size, deviation, centre)
            bits.astype("<u2", copy=False).tofile(weights)
            values = widen(bits)
            if heads is not None:
                values = pairs_from_halves(values, heads)
            writer.write_tensor_data(np.ascontiguousarray(values.astype(np.float32 if len(size) == 1 else np.float16)))
        if "rope_scaling" in shape["config"]:
            writer.write_tensor_data(rotary_factors(shape["config"]))
    writer.close()
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    partial_gguf.rename(gguf)
    print(folder)


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("work", type=pathlib.Path)
    cli.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SHAPES))
    args = cli.parse_args()
    unknown = [n for n in args.names if n not in SHAPES]
    if unknown:
        cli.error(f"NAME: expected one of {', '.join(SHAPES)}, got {unknown[0]}")
    sources = sorted(args.work.glob("llama_cpp_python-*/vendor/llama.cpp/models"))
    if not sources:
        sys.exit(f"{args.work}: no llama_cpp_python-*/vendor/llama.cpp/models there; run build.sh first")
    for name in args.names or SHAPES:
        make(args.work / "models", sources[-1], name)


if __name__ == "__main__":
    main()
