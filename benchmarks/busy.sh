#!/usr/bin/env bash
# How much longer each command takes beside one busy process for each processor than alone, in turns; and what the ways of waiting cost that OpenMP has.
#
#     npm ci --ignore-scripts --prefix tests/clients/llama.cpp
#     benchmarks/busy.sh commands [REPEATS]     every command, as the program sets its threads
#     benchmarks/busy.sh waiting [REPEATS]      eval and qat with other settings of OpenMP
#
# Times are of whole processes, medians of REPEATS (5) turns, in seconds. It wants the machine for itself. Where others work on it, as root,
#
#     ALONE="chrt -r 1" setsid -w sh -c 'echo -20 > /proc/self/autogroup; exec benchmarks/busy.sh commands'
#
# gives what runs alone all of the processors, and what runs beside busy processes nearly all, to share with them; the others stand still meanwhile.
set -euo pipefail
if [[ ${1:-} != commands && ${1:-} != waiting ]]; then
    sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2 >&2
    exit 2
fi
repeats=${2:-5}
cd "$(dirname "$0")/.."
dotnet build -c Release -v quiet src/Nibble.Cli >&2
nibble=$PWD/src/Nibble.Cli/bin/Release/net10.0/nibble
model=$PWD/samples/storyteller/model
data=$PWD/samples/storyteller/data
work=$(mktemp -d)
busy=()
idle() { for process in "${busy[@]}"; do kill "$process"; wait "$process" 2> /dev/null || true; done; busy=(); }
trap 'idle; rm -rf "$work"' EXIT
crowd() { for _ in $(seq "$(nproc)"); do (while :; do :; done) & busy+=("$!"); done; }

# Runs a command, whose output is called OUTPUT, and leaves its seconds in $seconds.
timed() {
    local start=$EPOCHREALTIME
    "${@//OUTPUT/$work/output}" > "$work/stdout" 2> "$work/stderr" || { cat "$work/stderr" >&2; exit 1; }
    seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }')
    rm -rf "$work"/output*
}
median() { printf '%s\n' "$@" | sort -n | awk '{ all[NR] = $1 } END { printf "%.2f", (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

# One line of a table: a name, then the command.
measure() {
    local name=$1 alone=() beside=()
    shift
    timed ${ALONE:-} "$@"
    for _ in $(seq "$repeats"); do
        timed ${ALONE:-} "$@"
        alone+=("$seconds")
        crowd
        timed "$@"
        beside+=("$seconds")
        idle
    done
    local a b
    a=$(median "${alone[@]}") b=$(median "${beside[@]}")
    awk -v n="$name" -v a="$a" -v b="$b" 'BEGIN { printf "| %s | %.2f | %.2f | %.2f |\n", n, a, b, b / a }'
}

lscpu | grep 'Model name' || true
uptime
echo
if [[ $1 == waiting ]]; then
    echo "| setting, command | alone | busy | times |"
    echo "|---|---:|---:|---:|"
    for setting in GOMP_SPINCOUNT=300000 GOMP_SPINCOUNT=20000 GOMP_SPINCOUNT=1000 GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=passive; do
        measure "$setting, eval" env "$setting" "$nibble" eval "$model" --data "$data/eval.txt"
        measure "$setting, qat" env "$setting" "$nibble" qat "$model" --recipe w4a16-g32 --data "$data/train.txt" --steps 15 --output OUTPUT
    done
    exit
fi

"$nibble" export "$model" --to gguf --type f16 --output "$work/model.gguf" > /dev/null 2>&1
"$nibble" export "$model" --to onnx --output "$work/model.onnx" > /dev/null 2>&1
echo "| command | alone | busy | times |"
echo "|---|---:|---:|---:|"
measure inspect "$nibble" inspect "$model"
measure "eval, 20 windows" "$nibble" eval "$model" --data "$data/eval.txt" --windows 20
measure generate "$nibble" generate "$model" --prompt "Once upon a time" --max-tokens 100
measure "ptq, gptaq" "$nibble" ptq "$model" --recipe w4a16-g32-gptaq --data "$data/train.txt" --windows 16 --output OUTPUT
measure "qat, 8 steps" "$nibble" qat "$model" --recipe w4a16-g32 --data "$data/train.txt" --steps 8 --output OUTPUT
measure "compare, 4 bits, 4 steps" "$nibble" compare "$model" --data "$data/train.txt" --eval-data "$data/eval.txt" --bits 4 --steps 4 --windows 4 --output OUTPUT
measure sensitivity "$nibble" sensitivity "$model" --data "$data/train.txt" --bits 4 --algorithm rtn --windows 2 --cache OUTPUT-cache
measure mix "$nibble" mix "$model" --data "$data/train.txt" --bits 3,4 --budget 3.5bits --algorithm rtn --windows 1 --rounds 0 --points 1 --cache OUTPUT-cache --output OUTPUT.yaml
measure imatrix "$nibble" imatrix "$model" --data "$data/train.txt" --windows 20 --output OUTPUT
measure "export to GGUF" "$nibble" export "$model" --to gguf --output OUTPUT
measure "import of GGUF" "$nibble" import "$work/model.gguf" --output OUTPUT
measure quantize "$nibble" quantize "$work/model.gguf" --type q4_k_m --output OUTPUT
measure "verify in llama.cpp" "$nibble" verify "$model" --data "$data/eval.txt" --windows 5 --tolerance 5
measure "verify in ONNX Runtime" "$nibble" verify "$model" --engine onnxruntime --data "$data/eval.txt" --windows 5
measure "bench in llama.cpp" "$nibble" bench "$work/model.gguf" --prompt-tokens 128 --tokens 60 --repeats 2
measure "bench in ONNX Runtime" "$nibble" bench "$work/model.onnx" --prompt-tokens 128 --tokens 60 --repeats 2
