#!/usr/bin/env python3
"""Latency of models under Apus and under onnxruntime, turn by turn in one run, at 1 and 2 threads.

    Benchmarks/compare.py --models-dir DIR [--models resnet18,mobilenet_v2] [--python VENV/bin/python] [--out NAME]

DIR (or $APUS_MODELS) holds NAME.onnx with NAME.npz: arrays in_<input>, out_<output>. Benchmarks/real_models.py makes
such pairs for published models; any exporter can write them. The interpreter given by --python (or $APUS_PYTHON) needs
numpy and onnxruntime. Writes NAME.json and NAME.md. Exits 1 where a model fails, or its error is above --tolerance, or
a ratio is above --limit.

A machine's speed drifts, and neighbours come and go: so the programs take turns within seconds of each other, each
model's figure is the median of its turns' medians, and the range of those medians is shown. More programs join with
--join NAME='COMMAND' through the worker protocol that ort_worker.py describes.
"""

import argparse
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OURS, PEER = "apus", "onnxruntime"


def fail(*lines):
    print("compare: error: " + "\n         ".join(lines), file=sys.stderr)
    sys.exit(2)


class Worker:
    """A program that has loaded one model and runs it when asked."""

    def __init__(self, command, model, threads, log):
        self.log = log
        self.process = subprocess.Popen(
            command + [model + ".onnx", model + ".npz", str(threads)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True)

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            return {"ok": False, "error": f"ended with status {self.process.wait()}"}
        try:
            return json.loads(line)
        except ValueError:
            return {"ok": False, "error": f"no JSON: {line[:200]!r}"}

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"ok": False, "error": f"ended with status {self.process.wait()}"}
        return self.read()

    def end(self):
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.wait()


def measure(workers, rounds, seconds):
    """Gives each worker its turns; returns what each said, with the medians of its turns in ms."""
    records, running = {}, {}
    for name, worker in workers.items():
        records[name] = worker.read()
        if records[name].get("ok"):
            records[name]["turns_ms"] = []
            running[name] = worker
    for turn in range(rounds):
        # Whoever follows finds the caches and the clock rate that the other left: change the order.
        order = list(running) if turn % 2 == 0 else list(reversed(running))
        for name in order:
            answer = running[name].ask(cmd="run", secs=seconds, min=3)
            if not answer.get("ts"):
                records[name] = {"ok": False, "error": answer.get("error", "no times")}
                del running[name]
                continue
            records[name]["turns_ms"].append(statistics.median(answer["ts"]) * 1e3)
            records[name]["rss"] = answer["rss"]
    for worker in workers.values():
        worker.end()
    for name in running:
        records[name]["median_ms"] = statistics.median(records[name]["turns_ms"])
    return records


def processor():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith("model name"):
                    model = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} processors"


def table(results, peers, settings):
    """Markdown."""
    lines = [
        f"Median ms over {settings['rounds']} turns of {settings['secs']} s each, with the range of the turns' medians;",
        "error is the largest |a-b| / max|b| against the recorded outputs; ratio below 1 means Apus is faster.",
        f"{settings['processor']}; onnxruntime {settings.get('onnxruntime', 'not run')}.",
        "",
        "| model | threads | apus ms | " + " | ".join(f"{p} ms" for p in peers)
        + f" | ratio to {PEER} | error | compile s | peak MiB |",
        "|---|---|---|" + "---|" * len(peers) + "---|---|---|---|",
    ]

    def figure(record):
        if not record.get("ok"):
            return "failed"
        turns = record["turns_ms"]
        return f"{record['median_ms']:.2f} ({min(turns):.2f} to {max(turns):.2f})"

    for model, by_threads in results.items():
        for threads, records in by_threads.items():
            ours = records[OURS]
            ratio = records.get("ratio")
            cells = [model, threads, figure(ours)] + [figure(records[p]) for p in peers]
            cells.append(f"{ratio:.2f}" if ratio is not None else "")
            if ours.get("ok"):
                cells += [f"{ours['err']:.1e}", f"{ours['compile_s']:.2f}", f"{ours['rss']:.0f}"]
            else:
                cells += ["", "", ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", default=os.environ.get("APUS_MODELS", ""))
    parser.add_argument("--models", default="", help="names, separated by commas; all if left out")
    parser.add_argument("--apus", default=os.environ.get("APUS", os.path.join(ROOT, ".build/release/apus")))
    parser.add_argument("--python", default=os.environ.get("APUS_PYTHON", sys.executable))
    parser.add_argument("--join", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--secs", type=float, default=0.4, help="seconds of each turn")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest error allowed")
    parser.add_argument("--limit", type=float, default=None, help="largest ratio to onnxruntime allowed")
    parser.add_argument("--out", default="compare", help="NAME of NAME.json and NAME.md")
    parser.add_argument("--log", default=os.devnull, help="where the programs' own messages go")
    a = parser.parse_args()

    if not a.models_dir:
        fail("no folder of models", "give --models-dir DIR or set APUS_MODELS; it holds NAME.onnx with NAME.npz",
             "Benchmarks/real_models.py DIR makes some")
    if not os.path.isdir(a.models_dir):
        fail(f"{a.models_dir} is no folder")
    if not os.access(a.apus, os.X_OK):
        fail(f"no command {a.apus}", "run `make build`, or give --apus PATH or set APUS")
    try:
        imported = subprocess.run([a.python, "-c", "import numpy, onnxruntime"], capture_output=True).returncode == 0
    except OSError as e:
        fail(f"cannot run {a.python}: {e.strerror}", "--python names the interpreter, such as V/bin/python")
    if not imported:
        fail(f"{a.python} has no numpy or no onnxruntime",
             "python3 -m venv V && V/bin/pip install numpy onnxruntime", "then give --python V/bin/python")

    def is_pair(name):
        return all(os.path.isfile(os.path.join(a.models_dir, name + end)) for end in (".onnx", ".npz"))

    found = sorted(f[:-5] for f in os.listdir(a.models_dir) if f.endswith(".onnx") and is_pair(f[:-5]))
    models = [m for m in a.models.split(",") if m] or found
    for m in models:
        if not is_pair(m):
            fail(f"{a.models_dir} has no {m}.onnx with {m}.npz", "it has: " + (", ".join(found) or "none"))
    if not models:
        fail(f"{a.models_dir} has no NAME.onnx with NAME.npz")

    commands = {OURS: [a.apus, "bench", "--worker"], PEER: [a.python, os.path.join(HERE, "ort_worker.py")]}
    for join in a.join:
        name, _, command = join.partition("=")
        if not name or not command or name in commands:
            fail(f"--join needs NAME=COMMAND with a new name, not {join!r}")
        commands[name] = shlex.split(command)
    peers = [n for n in commands if n != OURS]
    settings = {"rounds": a.rounds, "secs": a.secs, "processor": processor(), "threads": a.threads}
    results, ratios, failures = {}, {}, []

    with open(a.log, "w", encoding="utf-8") as log:
        for model in models:
            for threads in a.threads.split(","):
                path = os.path.join(a.models_dir, model)
                workers = {n: Worker(c, path, int(threads), log) for n, c in commands.items()}
                records = measure(workers, a.rounds, a.secs)
                where = f"{model}, {threads} threads"
                for name, record in records.items():
                    if not record.get("ok"):
                        failures.append(f"{where}, {name}: {record.get('error')}")
                        print(f"{where}, {name}: FAILED: {record.get('error')}", flush=True)
                ours, peer = records[OURS], records[PEER]
                settings["onnxruntime"] = peer.get("version", settings.get("onnxruntime", "not run"))
                if ours.get("ok"):
                    if not ours["err"] <= a.tolerance:
                        failures.append(f"{where}: error {ours['err']:.2e} is above {a.tolerance}")
                    if peer.get("ok"):
                        ratio = records["ratio"] = ours["median_ms"] / peer["median_ms"]
                        ratios.setdefault(threads, []).append(ratio)
                        if a.limit is not None and ratio > a.limit:
                            failures.append(f"{where}: ratio {ratio:.2f} is above {a.limit}")
                        print(f"{where}: apus {ours['median_ms']:.2f} ms, onnxruntime {peer['median_ms']:.2f} ms, "
                              f"ratio {ratio:.2f}, error {ours['err']:.1e}", flush=True)
                results.setdefault(model, {})[threads] = records
                with open(a.out + ".json", "w", encoding="utf-8") as f:
                    json.dump({"settings": settings, "results": results}, f, indent=1)
                with open(a.out + ".md", "w", encoding="utf-8") as f:
                    f.write(table(results, peers, settings))

    for threads, values in ratios.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        print(f"{threads} threads: geometric mean of {len(values)} ratios {mean:.2f}, worst {max(values):.2f}")
    print(f"wrote {a.out}.json and {a.out}.md")
    for f in failures:
        print("FAILED " + f, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
