#!/bin/sh
# Build the peer that Kinglet is compared with, llama.cpp, and give it the same weights.
#
#     benches/peers/build.sh WORK_DIR        JOBS=1 by default; needs python3 (3.10 or later), a C++ compiler, network
#
# WORK_DIR/native/llama-*    built for this machine's own instructions
# WORK_DIR/avx2/llama-*      built for AVX2, FMA and F16C only
# WORK_DIR/models/*.gguf     SmolLM2-135M-Instruct in F16, Q8_0, Q4_K_M, Q4_1 and Q4_0
#
# The source is the one inside the Python package `llama-cpp-python`, so that the package index is all it takes. What is
# there already is kept: the script can be run again after an interruption.
set -eu

version=0.3.36
[ $# -eq 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
checkpoints=$here/../../tests/checkpoints
jobs=${JOBS:-1}
mkdir -p "$1"
work=$(cd "$1" && pwd)
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
    for tool in bench perplexity quantize completion cli; do
        cp "build/bin/llama-$tool" "$name/"
    done
}
build native -DGGML_NATIVE=ON
build avx2 -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF

model=$work/models/smollm2-135m-instruct
[ -f "$model.gguf" ] || python "$checkpoints/fetch.py" "$work/models"
[ -f "$model.f16.gguf" ] || python "$checkpoints/to_gguf.py" "$work/models"
for type in Q8_0 Q4_K_M Q4_1 Q4_0; do
    [ -f "$model.$type.gguf" ] || native/llama-quantize "$model.f16.gguf" "$model.$type.gguf" "$type" 1
done
ls -l native avx2 models
