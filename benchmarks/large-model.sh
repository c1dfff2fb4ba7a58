#!/bin/sh
# Time and peak memory of post-training quantization on a checkpoint of 1.1 billion random weights (2.2 GB in BF16), which it makes first.
#
#     benchmarks/large-model.sh TOKENIZER_FOLDER TEXT [WINDOWS [RECIPE ...]]
#
# TOKENIZER_FOLDER holds a SentencePiece tokenizer.model, TEXT is any text in its language. The checkpoint goes to $TMPDIR and stays there for the
# next run. Run it on an idle machine.
set -eu
if [ $# -lt 2 ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2 >&2
    exit 2
fi
tokenizer=$1
text=$2
windows=${3:-32}
if [ $# -gt 3 ]; then shift 3; else set -- w4a16-g128 w4a16-g128-gptq; fi
root=$(cd "$(dirname "$0")/.." && pwd)
model=${TMPDIR:-/tmp}/nibble-synthetic-llama
dotnet build -c Release -v quiet "$root/benchmarks/Nibble.Benchmarks" >&2
dotnet build -c Release -v quiet "$root/src/Nibble.Cli" >&2
if [ ! -f "$model/model.safetensors" ]; then
    "$root/benchmarks/Nibble.Benchmarks/bin/Release/net10.0/Nibble.Benchmarks" synthetic-decoder tinyllama "$model" "$tokenizer"
fi
nibble=$root/src/Nibble.Cli/bin/Release/net10.0/nibble
output=$(mktemp -d)/artifact
trap 'rm -rf "$(dirname "$output")"' EXIT
lscpu | grep 'Model name' || true
uptime
for recipe in "$@"; do
    echo "## $recipe, $windows windows of 256 tokens"
    "$nibble" ptq "$model" --recipe "$recipe" --data "$text" --windows "$windows" --output "$output" --dry-run
    "$nibble" ptq "$model" --recipe "$recipe" --data "$text" --windows "$windows" --output "$output"
    rm -rf "$output"
done
uptime
