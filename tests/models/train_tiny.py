#!/usr/bin/env python3
"""Train the tiny model of this project from nothing, on five novels by Jane Austen.

    python3 -m venv .venv && .venv/bin/pip install torch==1.12.1 "numpy<2" tokenizers safetensors   # Python 3.10
    .venv/bin/python tests/models/train_tiny.py OUT_DIR [--corpus DIR]

OUT_DIR becomes a Hugging Face folder of a Llama with 1.77 million parameters: tokenizer, f16 weights, and a
`training.json` with every figure that README.md quotes. Without `--corpus`, `tests/corpus/fetch.py` provides the text.
Training is plain: AdamW, a cosine schedule, sequences of 512 tokens cut at random places, matrices multiplied in
bfloat16 over f32 master weights. `persuasion.txt` is read for validation and for nothing else.

A run can be cut in two: `--stop N` ends before the schedule does, and `--start DIR` begins with the weights of an earlier
run instead of random ones (and with the optimiser's moments at zero).
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
NOVELS = ["emma", "mansfieldpark", "northangerabbey", "prideprejudice", "sensesensibility"]
HELD_OUT = "persuasion"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

VOCAB, HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 1024, 192, 512, 4, 6, 2, 32
CONTEXT, THETA, EPS = 512, 10000.0, 1e-5
BATCH, LAST_RATE, DECAY, DROPOUT = 4, 5e-5, 0.1, 0.1

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    assert [tokenizer.token_to_id(s) for s in SPECIALS] == [0, 1, 2]
    return tokenizer


def new_weights():
    """Hugging Face names and shapes; the output head is the embedding itself."""
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        shapes[p + "input_layernorm.weight"] = (HIDDEN,)
        shapes[p + "post_attention_layernorm.weight"] = (HIDDEN,)
        shapes[p + "self_attn.q_proj.weight"] = (HEADS * HEAD_DIM, HIDDEN)
        shapes[p + "self_attn.k_proj.weight"] = (KV_HEADS * HEAD_DIM, HIDDEN)
        shapes[p + "self_attn.v_proj.weight"] = (KV_HEADS * HEAD_DIM, HIDDEN)
        shapes[p + "self_attn.o_proj.weight"] = (HIDDEN, HEADS * HEAD_DIM)
        shapes[p + "mlp.gate_proj.weight"] = (INNER, HIDDEN)
        shapes[p + "mlp.up_proj.weight"] = (INNER, HIDDEN)
        shapes[p + "mlp.down_proj.weight"] = (HIDDEN, INNER)
    weights = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            w = torch.ones(shape)
        else:
            std = 0.05 if "embed" in name else shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std /= math.sqrt(2 * LAYERS)
            w = torch.randn(shape) * std
        weights[name] = w.requires_grad_(True)
    return weights


def rotary_tables(n):
    frequency = THETA ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = torch.outer(torch.arange(n).float(), frequency)
    return torch.cat([angle, angle], 1).cos(), torch.cat([angle, angle], 1).sin()


def forward(weights, tokens, dtype, dropout=0.0):
    """tokens: [batch, n] -> logits: [batch, n, VOCAB]; `dtype` is the type of the matrix products."""
    batch, n = tokens.shape
    cos, sin = (t.to(dtype) for t in rotary_tables(n))
    group = HEADS // KV_HEADS
    mask = torch.full((n, n), float("-inf")).triu(1).to(dtype)

    def norm(x, name):
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weights[name]).to(dtype)

    def linear(x, name):
        return F.linear(x, weights[name].to(dtype))

    def heads(x, count):
        return x.view(batch, n, count, HEAD_DIM).transpose(1, 2)

    def rotate(x):
        half = HEAD_DIM // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    x = F.embedding(tokens, weights["model.embed_tokens.weight"])
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        h = norm(x, p + "input_layernorm.weight")
        q = rotate(heads(linear(h, p + "self_attn.q_proj.weight"), HEADS)) * HEAD_DIM ** -0.5
        k = rotate(heads(linear(h, p + "self_attn.k_proj.weight"), KV_HEADS))
        v = heads(linear(h, p + "self_attn.v_proj.weight"), KV_HEADS)
        # The query heads of one group share their keys: [batch, KV_HEADS, group * n, HEAD_DIM]
        q = q.reshape(batch, KV_HEADS, group * n, HEAD_DIM)
        scores = (q @ k.transpose(2, 3)).view(batch, KV_HEADS, group, n, n) + mask
        mixed = torch.softmax(scores, -1).view(batch, KV_HEADS, group * n, n) @ v
        mixed = mixed.view(batch, HEADS, n, HEAD_DIM).transpose(1, 2).reshape(batch, n, HEADS * HEAD_DIM)
        x = x + F.dropout(linear(mixed, p + "self_attn.o_proj.weight"), dropout, dropout > 0).float()
        h = norm(x, p + "post_attention_layernorm.weight")
        h = F.silu(linear(h, p + "mlp.gate_proj.weight")) * linear(h, p + "mlp.up_proj.weight")
        x = x + F.dropout(linear(h, p + "mlp.down_proj.weight"), dropout, dropout > 0).float()
    return linear(norm(x, "model.norm.weight"), "model.embed_tokens.weight").float()


@torch.no_grad()
def mean_loss(weights, tokens, limit=None):
    """Mean cross-entropy in f32 over windows of CONTEXT tokens that do not overlap, each window starting cold."""
    windows = (len(tokens) - 1) // CONTEXT
    windows = windows if limit is None else min(windows, limit)
    total = 0.0
    for w in range(windows):
        piece = tokens[w * CONTEXT : (w + 1) * CONTEXT + 1]
        logits = forward(weights, piece[None, :-1], torch.float32)[0]
        total += F.cross_entropy(logits, piece[1:], reduction="sum").item()
    return total / (windows * CONTEXT)


def save(weights, tokenizer, out, report):
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    half = {n: w.detach().half().contiguous() for n, w in weights.items()}
    save_file(half, str(out / "model.safetensors"), metadata={"format": "pt"})

    def write(name, data):
        (out / name).write_text(json.dumps(data, indent=2) + "\n")

    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "rope_theta": THETA, "rms_norm_eps": EPS,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float16",
    })
    write("generation_config.json", {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": 0})
    write("tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": SPECIALS[0], "eos_token": SPECIALS[0], "unk_token": SPECIALS[0],
        "pad_token": SPECIALS[0], "additional_special_tokens": SPECIALS[1:], "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE,
    })
    write("training.json", report)


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("out", type=pathlib.Path)
    cli.add_argument("--corpus", type=pathlib.Path)
    cli.add_argument("--start", type=pathlib.Path, help="folder of an earlier run to begin with")
    cli.add_argument("--steps", type=int, default=6000, help="length of the cosine schedule")
    cli.add_argument("--stop", type=int, help="steps to do, when fewer than the schedule has")
    cli.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    cli.add_argument("--warmup", type=int, default=400, help="steps until it is reached")
    cli.add_argument("--seed", type=int, default=1811)
    cli.add_argument("--every", type=int, default=500, help="steps between snapshots")
    cli.add_argument("--threads", type=int, default=1)
    args = cli.parse_args()
    if args.corpus is None:
        args.corpus = HERE.parent / "corpus" / "novels"
        subprocess.run([sys.executable, str(HERE.parent / "corpus" / "fetch.py"), str(args.corpus)], check=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    texts = [(args.corpus / f"{n}.txt").read_text(encoding="utf-8") for n in NOVELS]
    held_out = (args.corpus / f"{HELD_OUT}.txt").read_text(encoding="utf-8")
    tokenizer = train_tokenizer(texts)
    train = torch.tensor([i for t in texts for i in [0] + tokenizer.encode(t).ids])
    valid = torch.tensor(tokenizer.encode(held_out).ids)
    bytes_per_token = len(held_out.encode()) / len(valid)

    weights = new_weights()
    if args.start is not None:
        for name, w in load_file(args.start / "model.safetensors").items():
            weights[name].data.copy_(w.float())
    steps = args.stop or args.steps
    matrices = [w for w in weights.values() if w.dim() == 2]
    vectors = [w for w in weights.values() if w.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.95)
    )
    report = {
        "parameters": sum(w.numel() for w in weights.values()), "batch": BATCH, "sequence": CONTEXT,
        "schedule": args.steps, "steps": steps, "peak_rate": args.peak, "last_rate": LAST_RATE, "warmup": args.warmup,
        "dropout": DROPOUT, "weight_decay": DECAY, "seed": args.seed, "torch": torch.__version__.split("+")[0],
        "train_tokens": len(train), "epochs": round(steps * BATCH * CONTEXT / len(train), 2),
        "validation_tokens": len(valid), "validation_bytes_per_token": round(bytes_per_token, 4), "curve": [],
    }
    if args.start is not None:
        report["before"] = json.loads((args.start / "training.json").read_text())
    print(json.dumps(report), flush=True)

    def rate(step):
        if step < args.warmup:
            return args.peak * (step + 1) / args.warmup
        done = (step - args.warmup) / max(1, args.steps - args.warmup)
        return LAST_RATE + (args.peak - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))

    generator = torch.Generator().manual_seed(args.seed)
    offsets = torch.arange(CONTEXT + 1)
    smooth, started = None, time.time()
    for step in range(steps):
        for g in optimiser.param_groups:
            g["lr"] = rate(step)
        begin = torch.randint(0, len(train) - CONTEXT, (BATCH, 1), generator=generator)
        piece = train[begin + offsets]
        logits = forward(weights, piece[:, :-1], torch.bfloat16, DROPOUT)
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), piece[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % args.every == 0 or step + 1 == steps:
            point = {
                "step": step + 1, "seconds": round(time.time() - started),
                "train_loss": round(smooth, 4), "validation_loss": round(mean_loss(weights, valid, 64), 4),
            }
            report["curve"].append(point)
            print(json.dumps(point), flush=True)
            save(weights, tokenizer, args.out, report)

    # The figures that count: the weights as stored, every window of both texts' measure.
    stored = {n: w.detach().half().float() for n, w in weights.items()}
    report["final"] = {
        "train_loss_f16": round(mean_loss(stored, train, 300), 4),
        "validation_loss_f16": round(mean_loss(stored, valid), 4),
    }
    report["final"]["validation_perplexity_f16"] = round(math.exp(report["final"]["validation_loss_f16"]), 3)
    report["final"]["validation_bits_per_byte_f16"] = round(
        report["final"]["validation_loss_f16"] / math.log(2) / bytes_per_token, 4)
    save(weights, tokenizer, args.out, report)
    print(json.dumps(report["final"]))


if __name__ == "__main__":
    main()
