#!/usr/bin/env bash
# How long a model takes to compile from a cold and from a warm cache, and whether two processes make the same bytes.
#
#     Benchmarks/compile_time.sh MODEL.onnx [apus compile options, such as --shape x=1,3,224,224]
#
# MODEL defaults to $APUS_MODELS/resnet18.onnx. Prints one line of JSON; exits 1 where bytes differ.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
apus="${APUS:-$root/.build/release/apus}"
die() { printf 'compile_time: error: %s\n' "$*" >&2; exit 2; }

model="${1:-${APUS_MODELS:+$APUS_MODELS/resnet18.onnx}}"
[ -n "$model" ] || die "name a model: compile_time.sh MODEL.onnx, or set APUS_MODELS to the folder of resnet18.onnx"
[ -f "$model" ] || die "no file $model"
[ -x "$apus" ] || die "no command $apus; run \`make build\` or set APUS"
if [ $# -gt 0 ]; then shift; fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export APUS_CACHE_DIR="$work/cache"

# compile OUTPUT OPTIONS…: prints the seconds it took.
compile() {
    local output="$1" start end
    shift
    start="$(date +%s.%N)"
    "$apus" compile "$model" -o "$output" --name model --quiet "$@" >&2
    end="$(date +%s.%N)"
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.3f", b - a }'
}

cold="$(compile "$work/cold.so" "$@")"
warm="$(compile "$work/warm.so" "$@")"
# Another process in another folder, without the cache: Swift seeds its hash tables anew in each process.
mkdir "$work/elsewhere"
model="$(realpath "$model")"
apus="$(realpath "$apus")"
again="$(cd "$work/elsewhere" && compile other.so --no-cache "$@")"

same=true
cmp -s "$work/cold.so" "$work/elsewhere/other.so" || same=false
cmp -s "$work/cold.so" "$work/warm.so" || same=false
printf '{"model": "%s", "cold_s": %s, "warm_s": %s, "second_process_s": %s, "bytes": %s, "identical": %s}\n' \
    "$(basename "$model")" "$cold" "$warm" "$again" "$(stat -c %s "$work/cold.so")" "$same"
"$same" || { sha256sum "$work"/*.so "$work"/elsewhere/*.so >&2; exit 1; }
