#!/bin/sh
# Quantizing a GGUF file of 1 GB (F16, random weights): nibble quantize against llama.cpp's own quantizer, in turns, two threads each.
#
#     npm ci --ignore-scripts --prefix tests/clients/llama.cpp
#     benchmarks/gguf.sh FOLDER_WITH_A_SENTENCEPIECE_TOKENIZER [REPEATS]
#
# Files are written to $TMPDIR (3.5 GB) and deleted. Times are of the work alone, without starting .NET, and with the file flushed to disk, which llama.cpp leaves to the system.
set -eu
if [ $# -lt 1 ] || [ ! -f "$1/tokenizer.model" ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2 >&2
    exit 2
fi
tokenizer=$(cd "$1" && pwd)
repeats=${2:-3}
cd "$(dirname "$0")"
dotnet build -c Release -v quiet Nibble.Benchmarks >&2
dotnet build -c Release -v quiet ../src/Nibble.Cli >&2
bench=Nibble.Benchmarks/bin/Release/net10.0/Nibble.Benchmarks
nibble=../src/Nibble.Cli/bin/Release/net10.0/nibble
libraries=$PWD/../tests/clients/llama.cpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lscpu | grep 'Model name' || true
uptime
"$bench" synthetic-decoder tinyllama "$work/model" "$tokenizer" 8
"$nibble" export "$work/model" --to gguf --type f16 -o "$work/f16.gguf" 2> /dev/null
rm -rf "$work/model"
for type in q8_0:7 q4_0:2 q4_k_m:15; do
    for _ in $(seq "$repeats"); do
        "$bench" llama.cpp-quantize "$libraries" "$work/f16.gguf" "$work/theirs.gguf" "${type#*:}" 2 | sed "s/^/llama.cpp ${type%:*}: /"
        rm -f "$work/theirs.gguf"
        "$nibble" quantize "$work/f16.gguf" --type "${type%:*}" -o "$work/ours.gguf" --threads 2 --json |
            awk -v type="${type%:*}" '/"seconds"/ { seconds = $2 + 0 } /"peakBytes"/ { peak = $2 / 1048576 } END { printf "nibble    %s: %.2f s, at most %d MiB\n", type, seconds, peak }'
        rm -f "$work/ours.gguf"
    done
done
uptime
