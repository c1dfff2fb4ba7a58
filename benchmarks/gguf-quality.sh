#!/bin/sh
# What quantizing to a GGUF type costs: nibble quantize against llama.cpp's own quantizer, with and without the same importance matrix (of 100 windows).
#
#     npm ci --ignore-scripts --prefix tests/clients/llama.cpp
#     benchmarks/gguf-quality.sh MODEL CALIBRATION_TEXT EVALUATION_TEXT [WINDOWS]
#
# Prints for each type the squared error as a share of the weights' squares (weighted by the importance matrix, where there is one), and what llama.cpp computes
# with the file: perplexity, and KL divergence from the float model in nats a token.
set -eu
if [ $# -lt 3 ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2 >&2
    exit 2
fi
model=$(realpath "$1")
calibration=$(realpath "$2")
evaluation=$(realpath "$3")
windows=${4:-8}
cd "$(dirname "$0")"
dotnet build -c Release -v quiet Nibble.Benchmarks >&2
dotnet build -c Release -v quiet ../src/Nibble.Cli >&2
bench=Nibble.Benchmarks/bin/Release/net10.0/Nibble.Benchmarks
nibble=../src/Nibble.Cli/bin/Release/net10.0/nibble
libraries=$PWD/../tests/clients/llama.cpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$nibble" export "$model" --to gguf --type f16 -o "$work/f16.gguf" > /dev/null 2>&1
"$nibble" imatrix "$model" --data "$calibration" --windows 100 --threads 1 -o "$work/imatrix.gguf" > /dev/null 2>&1

# Arguments: the file's name without its end, what to print before it, and an importance matrix or nothing.
score() {
    error=$("$bench" gguf-error "$work/f16.gguf" "$work/$1.gguf" $3)
    { "$nibble" verify "$model" --data "$evaluation" --file "$work/$1.gguf" --windows "$windows" --threads 1 --json 2> /dev/null || [ $? -eq 4 ]; } |
        awk -v what="$2" -v error="$error" '/"enginePerplexity"/ { perplexity = $2 + 0 } /"kl"/ { kl = $2 + 0 } END { printf "%-28s error %s  perplexity %.4f  KL %.5f\n", what, error, perplexity, kl }'
    rm "$work/$1.gguf"
}

for type in q2_k:10 q3_k_m:12 q4_0:2 q4_k_m:15 q5_k_m:17 q6_k:18; do
    name=${type%:*}
    "$bench" llama.cpp-quantize "$libraries" "$work/f16.gguf" "$work/theirs.gguf" "${type#*:}" 2 > /dev/null
    score theirs "$name llama.cpp" ""
    "$nibble" quantize "$work/f16.gguf" --type "$name" -o "$work/ours.gguf" > /dev/null
    score ours "$name nibble" ""
    "$bench" llama.cpp-quantize "$libraries" "$work/f16.gguf" "$work/theirs.gguf" "${type#*:}" 2 "$work/imatrix.gguf" > /dev/null
    score theirs "$name imatrix llama.cpp" "$work/imatrix.gguf"
    "$nibble" quantize "$work/f16.gguf" --type "$name" --imatrix "$work/imatrix.gguf" -o "$work/ours.gguf" > /dev/null
    score ours "$name imatrix nibble" "$work/imatrix.gguf"
done
