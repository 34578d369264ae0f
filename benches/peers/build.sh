#!/bin/sh
# Build the peer that Kinglet is compared with, llama.cpp, and give it the same weights.
#
#     benches/peers/build.sh WORK_DIR [BUILD...]     BUILD: native, avx2; both by default, and JOBS=1
#
# Needs python3 (3.10 or later), a C++ compiler, and the package index.
#
# WORK_DIR/native/llama-*    built for this machine's own instructions
# WORK_DIR/avx2/llama-*      built for AVX2, FMA and F16C only
# WORK_DIR/models/*.gguf     SmolLM2-135M-Instruct in F16, Q8_0, Q4_K_M, Q4_1 and Q4_0
#
# The source is the one inside the Python package `llama-cpp-python`, so that the package index is all it takes. What is
# there already is kept: the script can be run again after an interruption. compare.py calls it for what it misses.
set -eu

version=0.3.36
[ $# -ge 1 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
checkpoints=$here/../../tests/checkpoints
jobs=${JOBS:-1}
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
[ $# -ge 1 ] || set -- native avx2
for name; do
    case $name in native | avx2) ;; *) echo "build.sh: BUILD: expected native or avx2, got $name" >&2; exit 2 ;; esac
done
cd "$work"

[ -x venv/bin/python ] || python3 -m venv venv
venv/bin/python -m pip install --quiet "cmake<4" ninja "numpy<2" safetensors gguf tokenizers
PATH=$work/venv/bin:$PATH

source=$work/llama_cpp_python-$version/vendor/llama.cpp
if [ ! -f "$source/CMakeLists.txt" ]; then
    python -m pip download --quiet --no-deps --no-binary llama-cpp-python -d "$work" "llama-cpp-python==$version"
    tar -xzf "llama_cpp_python-$version.tar.gz"
fi

# build NAME FLAG...: one build tree serves both builds, since only the CPU kernels are compiled differently.
build() {
    name=$1
    shift
    [ ! -x "$name/llama-cli" ] || return 0
    cmake -S "$source" -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_OPENSSL=OFF "$@"
    nice -n 10 ninja -C build -j "$jobs" llama-bench llama-perplexity llama-quantize llama-completion llama-cli
    mkdir -p "$name"
    # llama-cli comes last, and under its name only when it is whole.
    for tool in bench perplexity quantize completion cli; do
        cp "build/bin/llama-$tool" "$name/partial"
        mv "$name/partial" "$name/llama-$tool"
    done
}
case " $* " in *" native "*) build native -DGGML_NATIVE=ON ;; esac
case " $* " in *" avx2 "*) build avx2 -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF ;; esac

model=$work/models/smollm2-135m-instruct
[ -f "$model/tokenizer_config.json" ] || python "$checkpoints/fetch.py" "$work/models"
[ -f "$model.f16.gguf" ] || python "$checkpoints/to_gguf.py" "$work/models"
for type in Q8_0 Q4_K_M Q4_1 Q4_0; do
    [ ! -f "$model.$type.gguf" ] || continue
    "$1/llama-quantize" "$model.f16.gguf" "$model.partial-gguf" "$type" 1
    mv "$model.partial-gguf" "$model.$type.gguf"
done
ls -l "$@" models
