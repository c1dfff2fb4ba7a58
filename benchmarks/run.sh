#!/bin/sh
# Nibble's kernels, the memory they walk over, and PyTorch on the same shape, in one run, so that ratios compare like with like.
# Run it on an idle machine. Arguments go to BenchmarkDotNet, for instance: benchmarks/run.sh --warmupCount 0 --iterationCount 1
set -eu
cd "$(dirname "$0")"
lscpu | grep 'Model name' || true
uptime
dotnet run --project Nibble.Benchmarks -c Release -- --filter '*' --join "$@"
if python3 -c 'import torch' 2>/dev/null; then
    python3 peer_torch.py
elif /usr/bin/python3 -c 'import torch' 2>/dev/null; then
    /usr/bin/python3 peer_torch.py
else
    echo "PyTorch is not installed (apt-get install python3-torch): no comparison with it." >&2
fi
uptime
