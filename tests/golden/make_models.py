#!/usr/bin/env python3
"""Make the small random models of this folder, and what `transformers` computes with them in float32.

    python3.10 -m venv .venv && .venv/bin/pip install torch==1.12.1 transformers==4.46.3 "numpy<2" safetensors tokenizers
    .venv/bin/python tests/golden/make_models.py [NAME...]      # all of them without a name

Each model is a Hugging Face folder `tests/golden/NAME/` with `golden.json` and `golden.bin` in it; README.md has the
layout. The same versions on the same kind of machine write the same weights to the byte; logits may differ in their
last bits from one matrix library to the next.
"""
import json
import pathlib
import shutil
import sys
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

HERE = pathlib.Path(__file__).resolve().parent
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB = len(SPECIALS) + 256  # 259: not a multiple of 8, so that the last tile of the head is ragged
PROMPT, GREEDY = 40, 12
POSITIONS = [0, 1, 2, 3] + list(range(PROMPT - 8, PROMPT))
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

BASE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=0)
GPT2 = dict(vocab_size=VOCAB, n_positions=64, n_embd=64, n_layer=2, n_head=4, n_inner=96, bos_token_id=0, eos_token_id=0)

# name: (family, configuration, stored type, the option that must matter: {key: value without it} or None)
MODELS = {
    "llama-plain": ("llama", BASE | dict(num_key_value_heads=4, tie_word_embeddings=False), "F32", None),
    "llama-gqa-bias": ("llama", BASE | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), "F16", None),
    "llama-rope-linear": ("llama", BASE | dict(rope_scaling={"type": "linear", "factor": 4.0}, tie_word_embeddings=True),
                          "F16", {"rope_scaling": None}),
    # Wavelengths of the eight frequencies: 6.3, 20, 63, 199, 628, ... With 64 original positions the first stays as it is
    # (below 64 / 4), the next two are blended, and the rest are divided (above 64 / 1).
    "llama-rope-llama3": ("llama", BASE | dict(
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64},
        tie_word_embeddings=True), "F16", {"rope_scaling": None}),
    "llama-head-dim": ("llama", BASE | dict(head_dim=32, rope_theta=500000.0, intermediate_size=160,
                                            tie_word_embeddings=False), "F16", {"rope_theta": 10000.0}),
    "llama-sharded": ("llama", BASE | dict(num_key_value_heads=1, tie_word_embeddings=True), "BF16", None),
    "mistral-window": ("mistral", BASE | dict(sliding_window=8, tie_word_embeddings=False), "BF16",
                       {"sliding_window": None}),
    "qwen2-tied": ("qwen2", BASE | dict(vocab_size=272, rope_theta=1000000.0, rms_norm_eps=1e-6,
                                        tie_word_embeddings=True), "F32", None),
    "qwen2-untied": ("qwen2", BASE | dict(tie_word_embeddings=False), "F16", None),
    "qwen2-window": ("qwen2", BASE | dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=8,
                                          max_window_layers=1, tie_word_embeddings=True), "BF16",
                     {"sliding_window": None, "use_sliding_window": False}),
    "gpt2": ("gpt2", GPT2, "BF16", None),
    "gpt2-bare": ("gpt2", GPT2 | dict(n_inner=None, n_embd=32, n_head=2, n_layer=3), "F32", None),
}
FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM),
            "qwen2": (Qwen2Config, Qwen2ForCausalLM), "gpt2": (GPT2Config, GPT2LMHeadModel)}
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def build(family, config):
    make_config, make_model = FAMILIES[family]
    model = make_model._from_config(make_config(**config), attn_implementation="eager").eval()
    if family == "qwen2" and config.get("use_sliding_window"):
        # The window belongs to the layers from `max_window_layers` on, and to no other; this version of the library
        # says so in its documentation and obeys only with flash attention. The first layers get the plain causal mask.
        for layer in model.model.layers[: config["max_window_layers"]]:
            layer.forward = full_causal(layer.forward)
    return model


def full_causal(inner):
    def forward(hidden_states, attention_mask=None, **rest):
        causal = torch.full_like(attention_mask, torch.finfo(attention_mask.dtype).min).triu(1)
        return inner(hidden_states, attention_mask=causal, **rest)
    return forward


def randomise(model, rng, dtype):
    """Weights large enough that logits are of order 1 to 10 and every mistake shows; exact in the stored type."""
    for name, p in model.named_parameters():
        shape = tuple(p.shape)
        if name.endswith("bias"):
            value = 0.3 * rng.standard_normal(shape)
        elif len(shape) == 1:
            value = 1 + 0.25 * rng.standard_normal(shape)
        elif "wpe" in name:
            value = 0.3 * rng.standard_normal(shape)
        elif "embed" in name or "wte" in name:
            value = 0.25 * rng.standard_normal(shape)
        elif any(k in name for k in ("q_proj", "k_proj", "c_attn")):
            value = 0.2 * rng.standard_normal(shape)
        else:
            value = 0.15 * rng.standard_normal(shape)
        p.data.copy_(torch.from_numpy(value).to(dtype).float())


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0]


def write_tokenizer(folder):
    """Byte-level BPE without merges: one token per byte after the three specials."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(SPECIALS + alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": SPECIALS[0], "eos_token": SPECIALS[0], "unk_token": SPECIALS[0],
        "add_bos_token": False, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE,
    })
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0})


def write_json(path, data):
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in data.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make(name):
    family, config, stored, option = MODELS[name]
    seed = zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    model = build(family, config)
    randomise(model, rng, TYPES[stored])
    tokens = [int(t) for t in rng.integers(len(SPECIALS), VOCAB, PROMPT)]
    logits = logits_of(model, tokens)

    if option is not None:  # an option that changed nothing would prove nothing
        without = build(family, config | option)
        without.load_state_dict(model.state_dict(), strict=False)
        change = (logits_of(without, tokens) - logits)[POSITIONS].abs().max().item()
        assert change > 0.1, (name, option, change)
    if family == "qwen2" and config.get("use_sliding_window"):
        everywhere = build(family, config | {"max_window_layers": 0})
        everywhere.load_state_dict(model.state_dict())
        assert (logits_of(everywhere, tokens) - logits)[POSITIONS].abs().max() > 0.1, name
    exact = build(family, config)
    exact.load_state_dict(model.state_dict())
    exact.double()
    rounding = (logits_of(exact, tokens) - logits.double()).abs().max().item()
    assert rounding < 3e-5, (name, rounding)

    greedy, margin = [], float("inf")
    for _ in range(GREEDY):
        last = logits_of(model, tokens + greedy)[-1]
        best = last.topk(2).values
        margin = min(margin, (best[0] - best[1]).item())
        greedy.append(int(last.argmax()))
    assert margin > 1e-3, (name, margin)

    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_tokenizer(folder)
    shard = {"max_shard_size": "60KB"} if name == "llama-sharded" else {}
    model.to(TYPES[stored]).save_pretrained(folder, safe_serialization=True, **shard)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0})
    if name == "gpt2-bare":  # names and mask buffers as in the first published GPT-2 checkpoints
        path = folder / "model.safetensors"
        tensors = {n.removeprefix("transformer."): t for n, t in load_file(path).items()}
        n = config["n_positions"]
        mask = torch.ones(n, n).tril().view(1, 1, n, n)
        tensors |= {f"h.{i}.attn.bias": mask.clone() for i in range(config["n_layer"])}
        save_file(tensors, path, metadata={"format": "pt"})
    chosen = logits[POSITIONS].numpy().astype("<f4")
    chosen.tofile(folder / "golden.bin")
    write_json(folder / "golden.json", {
        "tokens": tokens, "positions": POSITIONS, "vocab_size": chosen.shape[1], "logits": "golden.bin", "greedy": greedy,
        "greedy_margin": round(margin, 5), "f32_rounding": float(f"{rounding:.2e}"),
        "largest_logit": round(float(np.abs(chosen).max()), 3), "seed": seed, "stored_type": stored,
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
    })
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:20} {stored:4} {size:7} bytes  logits within ±{np.abs(chosen).max():.2f} (sd {chosen.std():.2f})  "
          f"f32 rounding {rounding:.1e}  greedy margin {margin:.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[1:] or MODELS:
        make(wanted)
