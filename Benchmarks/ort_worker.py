#!/usr/bin/env python3
"""onnxruntime behind the worker protocol: ort_worker.py MODEL.onnx MODEL.npz THREADS (started by compare.py).

The protocol, which `apus bench --worker` and any other program can speak. On start one line
    {"ok": true, "err": E, "compile_s": C, "first": F, "second": S, "rss": MiB}
with err the largest |a-b| / max|b| over the recorded outputs, or {"ok": false, "error": "..."}. Then for each line
{"cmd": "run", "secs": S, "min": N} on standard input: at least N runs and S seconds of runs, answered by
    {"ts": [seconds of each run], "cpu": process seconds, "wall": seconds, "rss": MiB}
until the end of input.
"""

import json
import os
import resource
import sys
import time

MODEL, RECORDED, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print must not disturb the protocol


def say(**fields):
    out.write(json.dumps(fields) + "\n")
    out.flush()


def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


try:
    import numpy as np
    import onnxruntime as ort

    z = np.load(RECORDED)
    inputs = {k[3:]: z[k] for k in z.files if k.startswith("in_")}
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = THREADS, 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    start = time.perf_counter()
    session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    compile_s = time.perf_counter() - start
    names = [o.name for o in session.get_outputs()]
    recorded = [k for k in z.files if k.startswith("out_")]
    start = time.perf_counter()
    results = dict(zip(names, session.run(None, inputs)))
    first = time.perf_counter() - start
    err = 0.0
    for i, k in enumerate(recorded):
        # By name; files made elsewhere may name outputs otherwise, then by position.
        got, want = results[k[4:] if k[4:] in results else names[i]], z[k]
        err = max(err, float(np.abs(got - want).max() / max(1e-30, np.abs(want).max())))
    start = time.perf_counter()
    session.run(None, inputs)
    say(ok=True, err=err, compile_s=compile_s, first=first, second=time.perf_counter() - start, rss=rss(),
        version=ort.__version__)
except BaseException as e:  # also SystemExit of a library: the driver waits for a line
    say(ok=False, error=f"{type(e).__name__}: {str(e)[:400]}")
    sys.exit(1)

for line in sys.stdin:
    request = json.loads(line)
    session.run(None, inputs)  # warms the caches again after the other program's turn
    times, cpu, wall = [], time.process_time(), time.perf_counter()
    while len(times) < 2000 and (len(times) < request["min"] or time.perf_counter() - wall < request["secs"]):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - start)
    say(ts=times, cpu=time.process_time() - cpu, wall=time.perf_counter() - wall, rss=rss())
