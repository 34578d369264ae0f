#!/bin/sh
# KL divergence of llama.cpp's quantised SmolLM2 from its F16, on a text of one's choice.
#
#     benches/peers/kl.sh WORK_DIR TEXT [BUILD]     WORK_DIR as build.sh left it; BUILD is native (default) or avx2
#
# 16 chunks of 512 tokens; the tool scores the second half of each. Prints a table; the full reports stay in WORK_DIR/kl.
set -eu

[ $# -ge 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
work=$1 text=$2 tool=$1/${3:-native}/llama-perplexity
model=$work/models/smollm2-135m-instruct
parameters=134515008
mkdir -p "$work/kl"

run() { nice -n 10 "$tool" -m "$model.$1.gguf" -f "$text" -c 512 --chunks 16 -t "${THREADS:-1}" \
    --kl-divergence-base "$work/kl/base.bin" $2 > "$work/kl/$1.log" 2>&1; }
figure() { sed -n "s/^$1 *: *\([-0-9.]*\).*/\1/p" "$work/kl/$type.log"; }

run f16 ""
echo "| type | bytes | bits/weight | PPL | mean KL | 99 % KL | max KL | same top |"
echo "|---|---:|---:|---:|---:|---:|---:|---:|"
for type in Q8_0 Q4_K_M Q4_1 Q4_0; do
    run "$type" --kl-divergence
    bytes=$(wc -c < "$model.$type.gguf")
    bits=$(awk "BEGIN { printf \"%.2f\", $bytes * 8 / $parameters }")
    echo "| $type | $bytes | $bits | $(figure 'Mean PPL(Q)') | $(figure 'Mean    KLD') | $(figure '99.0%   KLD') |" \
        "$(figure 'Maximum KLD') | $(figure 'Same top p') % |"
done
echo "F16: PPL $(type=Q8_0; figure 'Mean PPL(base)')"
