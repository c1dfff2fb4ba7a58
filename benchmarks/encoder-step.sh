#!/bin/sh
# Training steps of a classifier of MiniLM-L6's shape, in float and with fake quantizers, beside PyTorch's float step of the same shape.
#
#     benchmarks/encoder-step.sh [THREADS [ROUNDS]]
#
# Debian's PyTorch is slow without a good BLAS: apt-get install python3-torch libopenblas0-pthread. Run it on an idle machine.
set -eu
threads=${1:-2}
rounds=${2:-15}
cd "$(dirname "$0")"
dotnet build -c Release -v quiet Nibble.Torch.Benchmarks >&2
bench=Nibble.Torch.Benchmarks/bin/Release/net10.0/Nibble.Torch.Benchmarks
python=${PYTHON:-/usr/bin/python3}
shape="MiniLM-L6 classifier"
export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads"
lscpu | grep 'Model name' || true
uptime
# The peer before and after, so that a machine that gets busy shows.
"$python" peer_encoder.py "$threads" "$rounds"
for recipe in w4a16 w4a4; do
    for road in float fused; do
        printf 'Nibble %s %s: ' "$recipe" "$road"
        "$bench" profile "$threads" "$shape" "$recipe" "$road"
    done
done
"$python" peer_encoder.py "$threads" "$rounds"
uptime
