#!/usr/bin/env bash
# Quantizes ONNX files of several origins, and measures what they lose and how fast they are in ONNX Runtime beside the float files, in turns, one thread.
#
#     benchmarks/onnx.sh DATA      where DATA holds the models and data of ../shared/data
#
# Writes one JSON document per model and mode to benchmarks/results/onnx. ResNet-18 comes from the package Microsoft.ML.DnnImageFeaturizer.ResNet18 if it has
# been restored; MiniLM is exported from its checkpoint first. It wants the machine for itself, and takes about ten minutes.
set -euo pipefail
data=$(realpath "$1")
cd "$(dirname "$0")/.."
dotnet build -c Release -v quiet src/Nibble.Cli >&2
nibble=$PWD/src/Nibble.Cli/bin/Release/net10.0/nibble
results=$PWD/benchmarks/results/onnx
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$results"

# name, model, then the options of its data
measure() {
    local name=$1 model=$2 mode
    shift 2
    for mode in static dynamic weights auto; do
        rm -f "$work/quantized.onnx"
        "$nibble" quantize "$model" "$@" --mode "$mode" --output "$work/quantized.onnx" --json --quiet > "$work/result.json"
        sed -e 's|"output": ".*"|"output": "'"$name.$mode.onnx"'"|' -e "s|$data/||" "$work/result.json" > "$results/$name-$mode.json"
        echo "$name $mode" >&2
    done
}

cifar=$data/resnet20-cifar10/cifar10-jpeg-train-8000.bin
measure resnet20 "$data/resnet20-cifar10/resnet20.onnx" --data "$cifar" --preprocess imagenet,stretch
measure mnist "$data/onnx/opt-mnist.onnx" --data "$data/mnist/train-images-idx3-ubyte.gz" --preprocess raw
measure vit "$data/onnx/pgd_2_3_16.onnx" --data "$cifar" --preprocess unit
measure ocr "$data/onnx/ch_ppocr_mobile_v2.0_cls_infer.onnx" --data "$cifar" --preprocess symmetric --fix-shape x=1x3x48x192
measure yunet "$data/onnx/yunet_n_320_320.onnx" --data "$cifar" --preprocess raw,bgr --samples 32
measure rfb "$data/onnx/version-RFB-320.onnx" --data "$cifar" --preprocess symmetric --samples 32
"$nibble" export "$data/all-MiniLM-L6-v2" --task embedding --to onnx --output "$work/minilm/model.onnx" > /dev/null
measure minilm "$work/minilm/model.onnx" --data "$data/sts-benchmark/train.tsv" --tokenizer "$data/all-MiniLM-L6-v2"
resnet18=$(find "${NUGET_PACKAGES:-$HOME/.nuget/packages}/microsoft.ml.dnnimagefeaturizer.resnet18" -name ResNet18.onnx 2> /dev/null | head -1)
[[ -z $resnet18 ]] || measure resnet18 "$resnet18" --data "$cifar" --preprocess imagenet --samples 32

# The same beside files by the rules of ONNX Runtime's Python package: what is fused, how large the error is, how fast they are.
dotnet build -c Release -v quiet benchmarks/OnnxRules >&2
rules() {
    benchmarks/OnnxRules/bin/Release/net10.0/OnnxRules "$@" > "$results/rules-$1.json"
    echo "rules $1" >&2
}

rules resnet20 "$data/resnet20-cifar10/resnet20.onnx" "$cifar" imagenet,stretch 64
rules mnist "$data/onnx/opt-mnist.onnx" "$data/mnist/train-images-idx3-ubyte.gz" raw 64
rules vit "$data/onnx/pgd_2_3_16.onnx" "$cifar" unit 64
rules yunet "$data/onnx/yunet_n_320_320.onnx" "$cifar" raw,bgr 32
[[ -z $resnet18 ]] || rules resnet18 "$resnet18" "$cifar" imagenet 32
