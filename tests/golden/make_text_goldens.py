#!/usr/bin/env python3
"""What `transformers` says and computes in float32 with the two trained models that the tests use.

    .venv/bin/python tests/golden/make_text_goldens.py tiny              # tests/models/tiny -> tiny.json, tiny.bin
    .venv/bin/python tests/golden/make_text_goldens.py smollm2 FOLDER    # FOLDER as tests/checkpoints/fetch.py makes it

The packages are those of make_models.py and jinja2; README.md has the layout of the results.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
GREEDY = 40


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0]


def decode(tokenizer, ids):
    """The text as it is: special tokens spelled out, no spaces tidied away."""
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def continue_greedily(model, tokens):
    """Token ids, and the smallest distance between the best and the second best logit on the way."""
    ids, margin = [], float("inf")
    for _ in range(GREEDY):
        last = logits_of(model, tokens + ids)[-1]
        best = last.topk(2).values
        margin = min(margin, (best[0] - best[1]).item())
        ids.append(int(last.argmax()))
    return ids, margin


def examine(model, exact, tokenizer, name, prompt, tokens, ends, keep):
    """`keep`: how many of the last positions have their logits kept."""
    logits = logits_of(model, tokens)[-keep:]
    rounding = (logits_of(exact, tokens)[-keep:] - logits.double()).abs().max().item()
    ids, margin = continue_greedily(model, tokens)
    end = next((i for i, t in enumerate(ids) if t in ends), None)
    print(f"{name}: {decode(tokenizer, ids)!r}\n  margin {margin:.4f}, f32 rounding {rounding:.1e}")
    return logits.numpy().astype("<f4"), {
        "name": name, "prompt": prompt, "tokens": tokens, "greedy": ids, "greedy_text": decode(tokenizer, ids),
        "first_end_token": end, "greedy_margin": round(margin, 5), "f32_rounding": float(f"{rounding:.2e}"),
    }


def write(path, head, cases):
    lines = ",\n".join("    {\n" + ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}" for k, v in c.items()) + "\n    }"
                       for c in cases)
    start = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
    path.write_text("{\n" + start + '  "cases": [\n' + lines + "\n  ]\n}\n")


def open_model(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    exact = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float64, attn_implementation="eager").eval()
    head = {
        "model": folder.name,
        "sha256": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("*.safetensors"))},
        "vocab_size": model.config.vocab_size, "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    return model, exact, AutoTokenizer.from_pretrained(folder), head


def smollm2(folder):
    model, exact, tokenizer, head = open_model(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompts = {
        "sentence": "The capital of France is",
        "chat": tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True),
        "code": "def fibonacci(n):\n",
    }
    rows, cases = [], []
    for name, prompt in prompts.items():
        tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        logits, case = examine(model, exact, tokenizer, name, prompt, tokens, {model.config.eos_token_id}, 1)
        rows.append(logits[0])
        cases.append(case | {"logits_row": len(rows) - 1})
    np.stack(rows).tofile(HERE / "smollm2.bin")
    write(HERE / "smollm2.json", head | {"logits": "smollm2.bin", "rows": "the last position of each prompt"}, cases)


def tiny():
    model, exact, tokenizer, head = open_model(HERE.parent / "models" / "tiny")
    text = (HERE.parent / "corpus" / "persuasion-excerpt.txt").read_text(encoding="utf-8")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"][:64]
    prompt = decode(tokenizer, tokens)
    assert text.startswith(prompt)
    logits, case = examine(model, exact, tokenizer, "persuasion", prompt, tokens, {0, 2}, len(tokens))
    logits.tofile(HERE / "tiny.bin")
    write(HERE / "tiny.json", head | {"logits": "tiny.bin", "rows": "every position of the prompt"}, [case | {"logits_row": 0}])


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["tiny"]:
        tiny()
    elif len(sys.argv) == 3 and sys.argv[1] == "smollm2":
        smollm2(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
