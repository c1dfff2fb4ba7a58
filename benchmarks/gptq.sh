#!/bin/sh
# GPTQ on one layer with its Hessian given, the Cholesky factor included: Nibble against gptq.py of IST-DASLab/gptq, in one run on the same layers.
#
#     git clone https://github.com/IST-DASLab/gptq /tmp/gptq
#     apt-get install python3-torch libopenblas0-pthread
#     benchmarks/gptq.sh /tmp/gptq [ROWSxCOLUMNS:REPEATS ...]
#
# Run it on an idle machine: threads of OpenMP spin when they have to share a core. Layers are written to $TMPDIR (670 MB for the largest).
set -eu
if [ $# -lt 1 ] || [ ! -f "$1/gptq.py" ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2 >&2
    exit 2
fi
checkout=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"
dotnet build -c Release -v quiet Nibble.Benchmarks >&2
lscpu | grep 'Model name' || true
uptime
# Debian's PyTorch lives in the system's Python.
/usr/bin/python3 peer_gptq.py table "$checkout" Nibble.Benchmarks/bin/Release/net10.0/Nibble.Benchmarks "$@"
uptime
