#!/usr/bin/env bash
# Measures the peak memory of quantizing ResNet-18 with few and with many samples: it must not grow by more than 20 MB.
#
#     benchmarks/onnx-memory.sh [FEW] [MANY]      default: 100 and 10000 samples, random ones
#
# ResNet-18 comes from the package Microsoft.ML.DnnImageFeaturizer.ResNet18, which must have been restored. Prints the expected and the measured peaks in
# bytes, and fails if a limit does not hold. 1,000 samples took 11 minutes on two
# busy cores.
set -euo pipefail
few=${1:-100} many=${2:-10000}
cd "$(dirname "$0")/.."
dotnet build -c Release -v quiet src/Nibble.Cli >&2
nibble=$PWD/src/Nibble.Cli/bin/Release/net10.0/nibble
model=$(find "${NUGET_PACKAGES:-$HOME/.nuget/packages}/microsoft.ml.dnnimagefeaturizer.resnet18" -name ResNet18.onnx | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# samples, then further options
peak() {
    local samples=$1
    shift
    rm -f "$work/quantized.onnx"
    "$nibble" quantize "$model" --mode static --data random --samples "$samples" --output "$work/quantized.onnx" --json --quiet "$@" 2> /dev/null \
        | sed -n 's/.*"peakBytes": \([0-9]*\).*/\1/p'
}

expected=$(peak "$many" --dry-run)
first=$(peak "$few")
second=$(peak "$many")
echo "expected at most $expected, $few samples $first, $many samples $second, grown by $((second - first))"
((second <= expected && second - first < 20000000))
