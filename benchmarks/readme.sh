#!/usr/bin/env bash
# Runs the comparison that the README shows, on the built-in model: the chart docs/compare.svg, and the numbers in benchmarks/results/compare/compare.json, from
# which tests check the README; 2 bits also with seeds 2 and 3. Wants the machine for itself, and takes about three minutes after the build.
set -euo pipefail
cd "$(dirname "$0")/.."
dotnet build -c Release -v quiet src/Nibble.Cli >&2
nibble=$PWD/src/Nibble.Cli/bin/Release/net10.0/nibble
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$nibble" compare --output "$work/compared"
mkdir -p benchmarks/results/compare
cp "$work/compared/compare.json" benchmarks/results/compare/compare.json
for seed in 2 3; do
    "$nibble" compare --bits 2 --seed "$seed" --output "$work/seed-$seed"
    mkdir -p "benchmarks/results/compare/seed-$seed"
    cp "$work/seed-$seed/compare.json" "benchmarks/results/compare/seed-$seed/compare.json"
done
rm -f docs/compare.svg
"$nibble" report benchmarks/results/compare --output "$work/report.html" --chart docs/compare.svg
