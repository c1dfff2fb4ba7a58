#!/usr/bin/env bash
# ResNet-20 on CIFAR-10: top-1 after post-training quantization and after quantization-aware training at W8A8, W4A4 and W2A4, with minutes and
# peak memory of each method. Prints Markdown for docs/results/resnet20.md.
#
#     benchmarks/resnet20.sh FOLDER [--threads N] [--seeds "1 2 3"] [--epochs N] [--images N]
#
# FOLDER holds the weights (resnet20-12fca82f.safetensors) and images (cifar10-*.bin). Threads are 2, seeds 1, 2 and 3, epochs 2 and images 8000 when
# not given. The first convolution and the last layer have 8 bits; weights are symmetric per channel (2 bits: without zero), activations asymmetric per
# tensor. QAT learns scales, with images flipped and shifted by up to 4 pixels; "float, trained" is the float network after the same training, which is what
# QAT has to be compared with. Each road runs in a process of its own, and is scored on the model that was written and read back.
# Run it on an idle machine.
set -euo pipefail

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '/^set/d' >&2
    exit 2
}

[ $# -ge 1 ] || usage
folder=$(realpath "$1")
shift
threads=2 seeds='1 2 3' epochs=2 images=8000
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --threads) threads=$2 ;;
        --seeds) seeds=$2 ;;
        --epochs) epochs=$2 ;;
        --images) images=$2 ;;
        *) usage ;;
    esac
    shift 2
done

cd "$(dirname "${BASH_SOURCE[0]}")"
dotnet build -c Release -v quiet Nibble.Torch.Benchmarks >&2
bench=Nibble.Torch.Benchmarks/bin/Release/net10.0/Nibble.Torch.Benchmarks
export OMP_NUM_THREADS="$threads"
lines=$(mktemp)
errors=$(mktemp)
trap 'rm -f "$lines" "$errors"' EXIT

run() {
    "$bench" resnet20 "$folder" "$threads" "$1" "$2" "$3" "$epochs" "$images" 2>"$errors" | tee -a "$lines" >&2 || {
        cat "$errors" >&2
        exit 1
    }
}

run float float 0
for seed in $seeds; do
    run control float "$seed"
    for widths in w8a8 w4a4 w2a4; do
        run ptq "$widths" "$seed"
        run qat "$widths" "$seed"
    done
done

echo "ResNet-20, $epochs epochs of $images images, --threads $threads,$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo 2>/dev/null | head -n 1) x $(getconf _NPROCESSORS_ONLN); mean and deviation over seeds $seeds:"
echo
echo "| widths | method | jpeg-test-2000, % | lossless-100, % | minutes | MiB |"
echo "|---|---|---:|---:|---:|---:|"
awk -F '\t' '
    { key = $2 "\t" $1; if (!(key in n)) order[++keys] = key; n[key]++; t[key] += $4; tt[key] += $4 * $4; l[key] += $5; ll[key] += $5 * $5; s[key] += $6; if ($7 > m[key]) m[key] = $7 }
    function deviation(sum, squares, count,   variance) { variance = count > 1 ? (squares - sum * sum / count) / (count - 1) : 0; return sqrt(variance > 0 ? variance : 0) }
    END {
        for (i = 1; i <= keys; i++) {
            split(order[i], part, "\t"); k = order[i]
            road = part[2] == "control" ? "trained" : part[2] == "float" ? "as given" : toupper(part[2])
            printf "| %s | %s | %.1f ± %.1f | %.1f ± %.1f | %.1f | %d |\n", part[1], road, t[k] / n[k], deviation(t[k], tt[k], n[k]), l[k] / n[k], deviation(l[k], ll[k], n[k]), s[k] / n[k] / 60, m[k]
        }
    }' "$lines"
