#!/bin/sh
# Training steps in float, with the fused kernels of fake quantization and with composed operators: times of all three in one run, peak memory of
# each in a process of its own, and the kernels alone beside libtorch's fused operator and the memory's speed.
#
#     benchmarks/qat-step.sh [THREADS [ROUNDS]]
#
# Run it on an idle machine: threads of OpenMP spin when they have to share a core.
set -eu
threads=${1:-2}
rounds=${2:-15}
cd "$(dirname "$0")"
dotnet build -c Release -v quiet Nibble.Torch.Benchmarks >&2
bench=Nibble.Torch.Benchmarks/bin/Release/net10.0/Nibble.Torch.Benchmarks
export OMP_NUM_THREADS="$threads"
lscpu | grep 'Model name' || true
uptime
"$bench" kernels "$threads" "$rounds"
echo
"$bench" steps "$threads" "$rounds"
echo
echo "Peak resident memory of a process of its own, MiB, the program and libtorch included:"
echo
echo "| shape | recipe | float | fused | fused / float | composed | composed / float |"
echo "|---|---|---|---|---|---|---|"
for shape in stories260K 256-wide; do
    for recipe in w4a16-g32 w4a4-g32; do
        float=$("$bench" memory "$threads" "$shape" "$recipe" float)
        fused=$("$bench" memory "$threads" "$shape" "$recipe" fused)
        composed=$("$bench" memory "$threads" "$shape" "$recipe" composed)
        awk -v s="$shape" -v r="$recipe" -v a="$float" -v b="$fused" -v c="$composed" \
            'BEGIN { printf "| %s | %s | %.0f | %.0f | %.2f | %.0f | %.2f |\n", s, r, a, b, b / a, c, c / a }'
    done
done
uptime
