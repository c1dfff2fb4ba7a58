#!/bin/sh
# Compares the advisor's predictions and choices with runs of each method to completion: about an hour of one core the first time. The table of those runs is kept.
# usage: benchmarks/advisor.sh DATA [SECONDS]   where DATA holds stories260K, tinystories and wikitext-2
set -eu
data=$1
seconds=${2:-12}
export OMP_NUM_THREADS=1
dotnet build -c Release -v quiet benchmarks/Advisor
advisor=benchmarks/Advisor/bin/Release/net10.0/Advisor
"$advisor" truth "$data"
"$advisor" curves
"$advisor" check "$data" --seconds "$seconds"
