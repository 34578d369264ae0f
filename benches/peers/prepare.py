"""What has to be there before anything is measured: programs and files. What is there already is kept.

Not a program; compare.py calls `files` and `programs`. Everything lies in WORK_DIR, but Kinglet's own build, which goes
where cargo puts it. What the steps say goes to WORK_DIR/prepare.log.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILDS = ("native", "avx2")
FORMS = {"q4": ["--type", "q4"], "q4e": ["--type", "q4", "--embed-type", "q4"], "q8": ["--type", "q8"]}
# The folder of each model, and what quantize is told besides: random weights have nothing to calibrate on.
MODELS = {
    "smollm2": ("smollm2-135m-instruct", []),
    "llama-1b": ("llama-1b", ["--no-calibration"]),
    "qwen-0.5b": ("qwen-0.5b", ["--no-calibration"]),
}
LOG_TAIL = 2000


class Failed(Exception):
    """A sentence for the user."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def step(work, what, command, **options):
    say(f"prepare: {what}")
    log_path = work / "prepare.log"
    command = [str(c) for c in command]
    with open(log_path, "ab") as log:
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        begin = log.tell()
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options).returncode
        except OSError as error:
            raise Failed(f"{what}: {command[0]}: {error.strerror}")
    if code:
        with open(log_path, "rb") as log:
            log.seek(begin)
            said = log.read().decode(errors="replace").strip()[-LOG_TAIL:]
        raise Failed(f"{what}: {' '.join(command)}: exit code {code} (all of it in {log_path})\n{said}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def cargo_build():
    """Kinglet's two programs, built from this tree."""
    say("prepare: cargo build --release")
    command = ["cargo", "build", "--release", "-p", "kinglet-tools", "--bins", "--message-format=json-render-diagnostics"]
    try:
        built = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise Failed(f"cargo: {error.strerror}; --kinglet PATH takes a program that is built already")
    if built.returncode:
        raise Failed(f"{' '.join(command)}: exit code {built.returncode}\n{built.stderr[-LOG_TAIL:]}")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    paths = {m["target"]["name"]: m["executable"] for m in messages if m.get("reason") == "compiler-artifact" and m.get("executable")}
    for name in ("kinglet", "quantize"):
        if name not in paths:
            raise Failed(f"cargo build: no program of the name {name} came out of it")
    return pathlib.Path(paths["kinglet"]), pathlib.Path(paths["quantize"])


def kgl_path(work, model, form):
    return work / "models" / f"{MODELS[model][0]}.{form}.kgl"


def gguf_path(work, model, kind):
    return work / "models" / f"{MODELS[model][0]}.{kind}.gguf"


def folder_is_whole(work, model):
    return (work / "models" / MODELS[model][0] / "tokenizer_config.json").is_file()


def tools(work, builds):
    """Build what is missing of llama.cpp, and the Python packages that the exports need."""
    if all((work / build / "llama-cli").is_file() for build in builds) and (work / "venv" / "bin" / "python").is_file():
        return
    step(work, f"llama.cpp, builds {', '.join(builds)} (half an hour of one core each)", [HERE / "build.sh", work, *builds])


def checkpoint(work, model):
    if folder_is_whole(work, model) and gguf_path(work, model, "f16").is_file():
        return
    if model == "smollm2":
        step(work, "the checkpoint smollm2, its F16 GGUF", [HERE / "build.sh", work, *existing_builds(work)])
    else:
        step(work, f"the random checkpoint {model}, its F16 GGUF", [work / "venv" / "bin" / "python", HERE / "shapes.py", work, model])


def existing_builds(work):
    return [build for build in BUILDS if (work / build / "llama-quantize").is_file()]


def files(work, models, forms, kinds, quantizer):
    """Make the files of `models`, Kinglet's `forms` and GGUF's `kinds`; `quantizer()` gives Kinglet's quantize.

    Returns { "MODEL.FORM": {path, bytes, sha256} }."""
    (work / "models").mkdir(parents=True, exist_ok=True)
    made = {}
    for model in models:
        wanted = [kgl_path(work, model, form) for form in forms] + [gguf_path(work, model, kind) for kind in kinds]
        if not all(path.is_file() for path in wanted):
            tools(work, existing_builds(work) or ["native"])
            checkpoint(work, model)
        folder, told = MODELS[model]
        for form in forms:
            path = kgl_path(work, model, form)
            if not path.is_file():
                step(work, path.name, [quantizer(), work / "models" / folder, path, "--name", folder, *FORMS[form], *told])
            made[f"{model}.{form}"] = path
        for kind in kinds:
            path = gguf_path(work, model, kind)
            if not path.is_file():
                partial = path.with_suffix(".partial-gguf")
                quantize = work / existing_builds(work)[0] / "llama-quantize"
                step(work, path.name, [quantize, gguf_path(work, model, "f16"), partial, kind, str(os.cpu_count() or 1)])
                os.replace(partial, path)
            made[f"{model}.{kind}"] = path
    say("prepare: sha256 of the files")
    return {key: {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)} for key, path in made.items()}
