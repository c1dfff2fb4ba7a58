#!/usr/bin/env bash
# Post-training quantization, recipe by recipe: what each costs and what the model is worth afterwards. Prints Markdown for docs/results/ptq.md.
#
#     dotnet build -c Release
#     benchmarks/ptq-table.sh src/Nibble.Cli/bin/Release/net10.0/nibble MODEL TRAIN.txt VALID.txt [--threads N] [--only PATTERN]
#
# Recipes that look at activations are calibrated on 64 windows of 256 tokens of TRAIN.txt. The score is the perplexity of the first 20
# windows of VALID.txt, "nats" how much more loss a token costs than in float, "MB" the tensors' file, "s" and "MiB" time and most
# memory of `nibble ptq`. --threads is 2 when not given. --only runs the rows whose recipe matches a shell pattern, such as 'w3*'.
# Run it on an idle machine. A row that fails is shown as such, and the exit status is then 1.
set -euo pipefail

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

[ $# -ge 4 ] || usage
nibble=$1 model=$2 train=$3 valid=$4
shift 4
threads=2 only='*'
while [ $# -gt 0 ]; do
    case $1 in
        --threads) threads=${2-} ;;
        --only) only=${2-} ;;
        *) usage ;;
    esac
    [ $# -ge 2 ] || usage
    shift 2
done
[ -x "$nibble" ] || { echo "$nibble: no program; build it with: dotnet build -c Release" >&2; exit 2; }
recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/recipes

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failures=0

# A number of a JSON document that has one field a line; "inf" where the document has null.
number() {
    sed -n "s/^ *\"$1\": \([^,]*\),\{0,1\}\$/\1/p" "$work/$2.json" | sed 's/^null$/inf/'
}

run() {
    local status=0
    "$nibble" "$@" --threads "$threads" --json 2>"$work/log" || status=$?
    [ "$status" -ne 130 ] || exit 130
    return "$status"
}

score() {
    run eval "$1" --data "$valid" --windows 20 >"$work/eval.json"
}

heading() {
    title=$1
}

# The heading of a group, once its first row is there.
begin() {
    if [ -n "$title" ]; then
        printf '\n%s:\n\n| recipe | perplexity | nats | MB | s | MiB |\n|---|---:|---:|---:|---:|---:|\n' "$title"
        title=
    fi
}

# row RECIPE [TEXT]: a preset, or a file under recipes; a text to calibrate on, or self, for recipes that need one.
row() {
    local recipe=$1 text=${2-} name label
    name=$(basename "$recipe" .yaml)
    label="\`$name\`"
    # shellcheck disable=SC2053 # a pattern is meant
    [[ $name == $only ]] || return 0
    begin
    [ "$recipe" = "$name" ] || recipe=$recipes/$recipe
    [ "$text" != self ] || label="$label, \`--data self\`"
    echo "$label" >&2
    rm -rf "$work/artifact" "$work/artifact.job"
    if ! run ptq "$model" --recipe "$recipe" ${text:+--data "$text"} --windows 64 --length 256 --output "$work/artifact" >"$work/ptq.json" || ! score "$work/artifact"; then
        failures=$((failures + 1))
        echo "failed:" >&2
        tail -n 5 "$work/log" >&2
        echo "| $label | failed | | | | |"
        return 0
    fi
    awk -v label="$label" -v perplexity="$(number perplexity eval)" -v loss="$(number loss eval)" -v float="$float" \
        -v bytes="$(number bytes ptq)" -v seconds="$(number seconds ptq)" -v peak="$(number peakBytes ptq)" 'BEGIN {
            shown = perplexity == "inf" ? "infinite" : sprintf(perplexity < 10 ? "%.3f" : perplexity < 1000 ? "%.1f" : "%.0f", perplexity)
            nats = loss == "inf" ? "" : sprintf("%+.4f", loss - float)
            printf "| %s | %s | %s | %.3f | %.1f | %.0f |\n", label, shown, nats, bytes / 1e6, seconds, peak / 1048576
        }'
}

echo "Nibble $("$nibble" --version), $(basename "$model"), --threads $threads,$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo 2>/dev/null | head -n 1) x $(getconf _NPROCESSORS_ONLN); load before: $(uptime | sed 's/.*average[s]*: //')"
score "$model" || { tail -n 5 "$work/log" >&2; exit 1; }
float=$(number loss eval)
printf '\nFloat: perplexity %.3f.\n' "$(number perplexity eval)"

for bits in 4 3 2; do
    w=w${bits}a16-g32
    heading "Weights only, $bits bits, asymmetric in groups of 32"
    row $w
    row $w-mse
    row $w-search.yaml
    row $w-hqq
    row $w-importance "$train"
    row $w-awq "$train"
    row $w-gptq "$train"
    row $w-gptaq "$train"
    row $w-gptaq self
    row $w-awq-gptaq "$train"
    row $w-adaround "$train"
    row $w-signround "$train"
    row $w-gptaq-signround "$train"
    row $w-rotated
    row $w-rotated-gptq "$train"
    row $w-rotated-gptaq "$train"
done

heading "Weights only, 4 bits, asymmetric in groups of 64"
row w4a16-g64
row w4a16-g64-mse
row w4a16-g64-hqq
row w4a16-g64-importance "$train"
row w4a16-g64-awq "$train"
row w4a16-g64-gptaq "$train"

heading "Weights and activations of 8 bits"
row w8a8
row w8a8-smoothquant "$train"
row w8a8-static "$train"
row w8a8-static-average "$train"
row w8a8-static-percentile "$train"
row w8a8-static-mse "$train"
row w8a8-static-entropy "$train"
row w8a8-smoothquant-static "$train"

heading "Weights of 4 bits in groups of 32, activations of 8 bits"
row w4a8-g32
row w4a8-g32-awq "$train"
row w4a8-g32-gptq "$train"
row w4a8-g32-smoothquant-gptq "$train"
row w4a8-g32-rotated
row w4a8-g32-rotated-gptq "$train"
row w4a8-g32-rotated-gptaq "$train"

heading "Weights of 4 bits in groups of 32, activations of 4 bits"
row w4a4-g32
row w4a4-g32-awq "$train"
row w4a4-g32-gptq "$train"
row w4a4-g32-rotated
row w4a4-g32-rotated-gptq "$train"
row w4a4-g32-rotated-gptaq "$train"

heading "Key-value cache"
row w16a16-kv8
row w16a16-kv8c "$train"
row w16a16-kv4
row w16a16-kv4c "$train"
row w16a16-kv4c-mse.yaml "$train"
row w4a16-g32-gptaq-kv8c "$train"

[ "$failures" -eq 0 ] || { echo "$failures rows failed" >&2; exit 1; }
