#!/usr/bin/env bash
# Quantization-aware training beside the best post-training recipes, width by width and over several seeds. Prints Markdown for docs/results/qat.md.
#
#     dotnet build -c Release
#     benchmarks/qat-table.sh src/Nibble.Cli/bin/Release/net10.0/nibble MODEL TRAIN.txt VALID.txt [--threads N] [--seeds N] [--only PATTERN]
#
# Everything learns from TRAIN.txt. The score is the perplexity of the first 20 windows of VALID.txt; "all" that of all its windows, of the first seed; "s" and
# "MiB" time and most memory of `nibble ptq` or `nibble qat`. Each row is run for --seeds seeds (3 when not given), the long recipes for one. --threads is 2 when
# not given. --only runs the rows whose recipe matches a shell pattern, such as 'w3*'. Run it on an idle machine.
set -euo pipefail

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

[ $# -ge 4 ] || usage
nibble=$1 model=$2 train=$3 valid=$4
shift 4
threads=2 seeds=3 only='*'
while [ $# -gt 0 ]; do
    case $1 in
        --threads) threads=${2-} ;;
        --seeds) seeds=${2-} ;;
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

# A number of a JSON document that has one field a line; "inf" where the document has null.
number() {
    sed -n "s/^ *\"$1\": \([^,]*\),\{0,1\}\$/\1/p" "$2" | sed 's/^null$/inf/'
}

# row ROAD RECIPE SEEDS: a preset, or a file under recipes.
row() {
    local road=$1 recipe=$2 count=$3 name seed
    name=$(basename "$recipe" .yaml)
    # shellcheck disable=SC2053 # a pattern is meant
    [[ $name == $only ]] || return 0
    [ "$recipe" = "$name" ] || recipe=$recipes/$recipe
    : >"$work/rows"
    for seed in $(seq 1 "$count"); do
        echo "$road $name, seed $seed" >&2
        rm -rf "$work/artifact" "$work/artifact.job"
        "$nibble" "$road" "$model" --recipe "$recipe" --data "$train" --seed "$seed" --output "$work/artifact" --threads "$threads" --json 2>"$work/log" >"$work/made.json" ||
            { tail -n 5 "$work/log" >&2; exit 1; }
        "$nibble" eval "$work/artifact" --data "$valid" --windows 20 --threads "$threads" --json 2>/dev/null >"$work/eval.json"
        [ "$seed" -ne 1 ] || "$nibble" eval "$work/artifact" --data "$valid" --threads "$threads" --json 2>/dev/null >"$work/all.json"
        echo "$(number perplexity "$work/eval.json") $(number loss "$work/eval.json") $(number seconds "$work/made.json") $(number peakBytes "$work/made.json")" >>"$work/rows"
    done
    awk -v road="$road" -v name="$name" -v float="$float" -v all="$(number perplexity "$work/all.json")" '
        { n++; sum += $1; squares += $1 * $1; loss += $2; seconds += $3; if ($4 > peak) peak = $4 }
        END {
            mean = sum / n
            deviation = n > 1 ? sprintf(" ± %.3f", sqrt((squares - n * mean * mean) / (n - 1) > 0 ? (squares - n * mean * mean) / (n - 1) : 0)) : ""
            printf "| %s | `%s` | %.3f%s | %+.4f | %.3f | %.0f | %.0f |\n", road, name, mean, deviation, loss / n - float, all, seconds / n, peak / 1048576
        }' "$work/rows"
}

"$nibble" eval "$model" --data "$valid" --windows 20 --threads "$threads" --json 2>/dev/null >"$work/float.json"
float=$(number loss "$work/float.json")
echo "Nibble $("$nibble" --version), $(basename "$model"), --threads $threads,$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo 2>/dev/null | head -n 1) x $(getconf _NPROCESSORS_ONLN); load before: $(uptime | sed 's/.*average[s]*: //')"
printf '\nFloat: perplexity %.3f.\n\n' "$(number perplexity "$work/float.json")"
printf '| road | recipe | perplexity | nats | all | s | MiB |\n|---|---|---:|---:|---:|---:|---:|\n'
row ptq w4a16-g32-awq-gptaq "$seeds"
row qat w4a16-g32 "$seeds"
row qat w4a16-g32-long.yaml 1
row ptq w3a16-g32-signround "$seeds"
row qat w3a16-g32 "$seeds"
row qat w3a16-g32-long.yaml 1
row qat w3a16-g32-hybrid-long.yaml 1
row ptq w2a16-g32-signround "$seeds"
row qat w2a16-g32 "$seeds"
row qat w2a16-g32-long.yaml 1
row ptq wta16-g32-signround "$seeds"
row qat wta16-g32 "$seeds"
row qat wta16-g32-long.yaml 1
