#!/usr/bin/env bash
# Deterministic figures of the compiler: allocations (and, asked for, instructions) of simplifying a fixed corpus, of
# scheduling and lowering a 1024 x 1024 x 1024 matmul, and of lowering resnet18's functions.
#
#     Benchmarks/compile_figures.sh                   measure, and fail where a count is over its limit
#     Benchmarks/compile_figures.sh --update          write what was measured to compile_figures.json
#     Benchmarks/compile_figures.sh --instructions    count instructions too (valgrind's callgrind; minutes)
#
# A count may be 2 % over the recorded one: dictionaries may grow at other moments with another hash seed, although the
# seed is fixed here.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export SWIFT_DETERMINISTIC_HASHING=1 PKG_CONFIG_PATH="$here/../.deps/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
# The flags of the stand-alone runtime forbid other packages to depend on Apus.
unset APUS_STANDALONE_RUNTIME

"$here/../scripts/bootstrap" >&2
# A kept list of sources would miss files that are new in Apus.
swift build -c release --package-path "$here" --disable-build-manifest-caching --product compile-figures >&2
program="$here/.build/release/compile-figures"

mode="${1:-}"
if [ "$mode" = --instructions ]; then
    command -v valgrind >/dev/null || { echo "compile_figures: error: no valgrind" >&2; exit 2; }
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    # valgrind 3.19 does not read Swift's debug information.
    strip -o "$work/program" "$program"
    # count FIGURE TIMES: the instructions of the whole process.
    count() {
        valgrind --tool=callgrind --callgrind-out-file="$work/out" "$work/program" "$@" 2>&1 >/dev/null |
            sed -n 's/.*Collected : //p'
    }
    for figure in simplify.corpus schedule.matmul1024 lower.matmul1024 graph.resnet18 lower.resnet18; do
        # The difference of doing the work twice and once: start-up and preparation cancel.
        once="$(count "$figure" 1)"
        twice="$(count "$figure" 2)"
        printf '{"figure": "%s", "instructions": %s}\n' "$figure" "$((twice - once))"
    done
    exit 0
fi
measured="$("$program")"
printf '%s\n' "$measured"
MEASURED="$measured" python3 - "$here/compile_figures.json" "$mode" <<'PY'
import json, os, sys

path, mode = sys.argv[1:3]
measured = {}
for line in os.environ["MEASURED"].splitlines():
    row = json.loads(line)
    measured[row["figure"]] = {k: row[k] for k in ("units", "blocks", "bytes")}
if mode == "--update":
    with open(path, "w") as f:
        json.dump(measured, f, indent=2)
        f.write("\n")
    sys.exit(0)
with open(path) as f:
    recorded = json.load(f)
failed = False
for name, want in recorded.items():
    have = measured.get(name)
    for key in ("blocks", "bytes"):
        if have is None or have[key] > want[key] * 1.02:
            failed = True
            print(f"compile_figures: {name}: {key} {have and have[key]}, recorded {want[key]}", file=sys.stderr)
        elif have[key] < want[key] * 0.9:
            print(f"compile_figures: {name}: {key} fell to {have[key]} from {want[key]}; record it with --update", file=sys.stderr)
sys.exit(1 if failed else 0)
PY
