"""Tests of the command `apus` and of the C library, from outside; started by scripts/test-cli.

Python's standard library only: models, .npy and .npz files are written here byte by byte, from the descriptions of
the formats, and the results are compared with arithmetic done here.
"""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
APUS = os.path.abspath(os.environ["APUS"])
RUNTIME = os.path.abspath(os.environ["APUS_RUNTIME_LIBRARY"])
MODELS = os.environ.get("APUS_MODELS", "")
# One compilation of a large model on a busy machine.
TIMEOUT = 300


# MARK: Protocol buffers and ONNX (onnx.proto3 gives the field numbers)


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, shape, values):
    raw = struct.pack("<%df" % len(values), *values)
    return b"".join(field(1, d) for d in shape) + field(2, 1) + field(8, name) + field(9, raw)


def external_tensor(name, shape, location):
    entry = field(1, "location") + field(2, location)
    return b"".join(field(1, d) for d in shape) + field(2, 1) + field(8, name) + field(13, entry) + field(14, 1)


def value_info(name, shape):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def node(op, inputs, outputs, name, **attributes):
    out = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    out += field(3, name) + field(4, op)
    for key, v in attributes.items():
        if isinstance(v, list):
            out += field(5, field(1, key) + b"".join(field(8, i) for i in v) + field(20, 7))
        else:
            out += field(5, field(1, key) + field(3, v) + field(20, 2))
    return out


def model(nodes, inputs, outputs, weights=()):
    graph = b"".join(field(1, n) for n in nodes) + field(2, "g")
    graph += b"".join(field(5, w) for w in weights)
    graph += b"".join(field(11, value_info(*i)) for i in inputs)
    graph += b"".join(field(12, value_info(*o)) for o in outputs)
    return field(1, 8) + field(2, "test") + field(7, graph) + field(8, field(1, "") + field(2, 17))


# MARK: NumPy files


def npy(shape, values, form="<f4"):
    header = "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }" % (form, "".join(f"{d}, " for d in shape))
    header += " " * (-(11 + len(header)) % 64) + "\n"
    data = struct.pack("<%d%s" % (len(values), {"<f4": "f", "<i4": "i"}[form]), *values)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def from_npy(data):
    """(shape, values) of float32."""
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length = struct.unpack_from("<H", data, 8)[0]
    header = data[10:10 + length].decode()
    assert "'<f4'" in header and "False" in header, header
    shape = tuple(int(d) for d in header.split("(")[1].split(")")[0].split(",") if d.strip())
    return shape, struct.unpack("<%df" % ((len(data) - 10 - length) // 4), data[10 + length:])


# MARK: The model of these tests

# y = global average pool(relu(conv(x, w, padding 1) + b)), flattened: [1, 3, 8, 8] to [1, 4].
SIDE, IN, OUT = 8, 3, 4
random.seed(7)
X = [random.uniform(-1, 1) for _ in range(IN * SIDE * SIDE)]
W = [random.uniform(-1, 1) for _ in range(OUT * IN * 9)]
B = [random.uniform(-1, 1) for _ in range(OUT)]
SMALL_NODES = [
    node("Conv", ["x", "w", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    node("Relu", ["c"], ["r"], "relu"),
    node("GlobalAveragePool", ["r"], ["p"], "pool"),
    node("Flatten", ["p"], ["y"], "flatten", axis=1),
]
SMALL_WEIGHTS = [tensor("w", [OUT, IN, 3, 3], W), tensor("b", [OUT], B)]


def small(batch=1):
    return model(SMALL_NODES, [("x", [batch, IN, SIDE, SIDE])], [("y", [batch, OUT])], SMALL_WEIGHTS)


def reference(x):
    result = []
    for o in range(OUT):
        total = 0.0
        for i in range(SIDE):
            for j in range(SIDE):
                s = B[o]
                for c in range(IN):
                    for a in range(3):
                        for b in range(3):
                            u, v = i + a - 1, j + b - 1
                            if 0 <= u < SIDE and 0 <= v < SIDE:
                                s += x[(c * SIDE + u) * SIDE + v] * W[((o * IN + c) * 3 + a) * 3 + b]
                total += max(0.0, s)
        result.append(total / (SIDE * SIDE))
    return result


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="apus-cli-")
        cls.environment = dict(os.environ, APUS_CACHE_DIR=os.path.join(cls.folder, "cache"))
        cls.write("small.onnx", small())
        cls.write("x.npy", npy([1, IN, SIDE, SIDE], X))
        cls.expected = reference(X)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def write(cls, name, data):
        with open(cls.path(name), "wb") as f:
            f.write(data)
        return cls.path(name)

    @classmethod
    def read(cls, name):
        with open(cls.path(name), "rb") as f:
            return f.read()

    @classmethod
    def write_npz(cls, name, arrays):
        with zipfile.ZipFile(cls.path(name), "w") as z:
            for key, data in arrays.items():
                z.writestr(key + ".npy", data)
        return cls.path(name)

    def apus(self, *arguments, status=0, cwd=None, given=None):
        """Runs the command; the result has stdout, stderr and returncode, which must be `status`."""
        # In a session of its own: what it started ends with it.
        process = subprocess.Popen(
            [APUS, *arguments], cwd=cwd or self.folder, env=self.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = process.communicate(given or "", timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.fail(f"apus {' '.join(arguments)}\ntook longer than {TIMEOUT} s")
        run = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        self.assertEqual(
            run.returncode, status, f"apus {' '.join(arguments)}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
        return run

    def assertClose(self, values, expected, tolerance=1e-4):
        self.assertEqual(len(values), len(expected))
        for a, b in zip(values, expected):
            # NaN is not less either.
            self.assertTrue(abs(a - b) <= tolerance * max(map(abs, expected)), (values, expected))


class CommandTest(Case):
    def test_help_has_an_example_each(self):
        for command in ("check", "compile", "run", "bench", "doctor"):
            self.assertIn(f"Example: apus {command}", self.apus(command, "--help").stdout)
        self.assertIn("compile", self.apus("--help").stdout)
        self.assertRegex(self.apus("--version").stdout, r"^\d+\.\d+\.\d+")

    def test_doctor(self):
        out = self.apus("doctor").stdout
        for part in ("LLVM", "C compiler", "OpenCL", "CUDA"):
            self.assertIn(part, out)
        self.assertNotIn("MISSING", out)

    def test_doctor_describes_machines(self):
        out = self.apus("doctor", "--machine", "--measure").stdout
        for part in ("target", "vectors", "multiply-add", "L1 data", "for this process", "GFLOP/s", "no work"):
            self.assertIn(part, out)
        haswell = json.loads(self.apus(
            "doctor", "--machine", "--json", "--target", "llvm -mtriple=x86_64-linux-gnu -mcpu=haswell").stdout)
        self.assertEqual(haswell["machine"]["vector_bytes"], 32)
        self.assertEqual(haswell["machine"]["features"], ["FMA", "F16C"])
        self.assertEqual(haswell["target"]["mcpu"], "haswell")

    def test_check(self):
        out = self.apus("check", "small.onnx").stdout
        for part in ("opset 17", "x", "y", "Conv", "GlobalAveragePool", "every operator is supported"):
            self.assertIn(part, out)
        report = json.loads(self.apus("check", "--json", "small.onnx").stdout)
        self.assertEqual(report["operators"], {"Conv": 1, "Flatten": 1, "GlobalAveragePool": 1, "Relu": 1})
        self.assertEqual(report["unsupported"], [])

    def test_every_unsupported_operator_is_named(self):
        nodes = [
            node("Relu", ["x"], ["a"], "fine"), node("Frobnicate", ["a"], ["b"], "first_bad"),
            node("Mystify", ["b"], ["y"], "second_bad"),
        ]
        self.write("bad.onnx", model(nodes, [("x", [2])], [("y", [2])]))
        out = self.apus("check", "bad.onnx", status=1).stdout
        for part in ("first_bad", "Frobnicate", "second_bad", "Mystify"):
            self.assertIn(part, out)
        self.assertEqual(len(json.loads(self.apus("check", "--json", "bad.onnx", status=1).stdout)["unsupported"]), 2)
        err = self.apus("compile", "bad.onnx", "-o", "bad.so", status=2).stderr
        self.assertIn("first_bad", err)
        self.assertIn("second_bad", err)
        self.assertFalse(os.path.exists(self.path("bad.so")))

    def test_compile_then_run(self):
        run = self.apus("compile", "small.onnx", "-o", "small.so", "--no-cache")
        stages = [json.loads(line) for line in run.stderr.splitlines()]
        self.assertTrue(all({"stage", "progress", "elapsed_s"} <= set(s) for s in stages), stages)
        self.assertEqual(stages[-1]["progress"], 1)
        self.apus("run", "small.so", "--input", "x=x.npy", "--output", "y.npy")
        shape, values = from_npy(self.read("y.npy"))
        self.assertEqual(shape, (1, OUT))
        self.assertClose(values, self.expected)

    def test_every_way_agrees(self):
        for options in (
            [], ["--no-cache"], ["--target", "llvm"], ["--target", "c"], ["--opt-level", "0"], ["--opt-level", "1"],
            ["--opt-level", "2"], ["--target", '{"kind": "llvm"}'], ["--threads", "1"], ["--threads", "3"],
        ):
            with self.subTest(options=options):
                self.apus("run", "small.onnx", "--input", "x=x.npy", "--output", "y.npz", *options)
                with zipfile.ZipFile(self.path("y.npz")) as z:
                    self.assertEqual(z.namelist(), ["y.npy"])
                    shape, values = from_npy(z.read("y.npy"))
                self.assertEqual(shape, (1, OUT))
                self.assertClose(values, self.expected)

    def test_expected(self):
        x, right = npy([1, IN, SIDE, SIDE], X), npy([1, OUT], self.expected)
        wrong = npy([1, OUT], [v + 0.5 for v in self.expected])
        self.write_npz("right.npz", {"in_x": x, "out_y": right})
        self.write_npz("wrong.npz", {"in_x": x, "out_y": wrong})
        self.write_npz("none.npz", {"in_x": x})
        self.write_npz("shape.npz", {"in_x": x, "out_y": npy([OUT], self.expected)})
        self.assertIn("largest error", self.apus("run", "small.onnx", "--expected", "right.npz").stdout)
        self.apus("run", "small.onnx", "--expected", "wrong.npz", status=1)
        self.apus("run", "small.onnx", "--expected", "wrong.npz", "--atol", "1")
        self.apus("run", "small.onnx", "--expected", "shape.npz", status=1)
        self.assertIn("error[CLI003]", self.apus("run", "small.onnx", "--expected", "none.npz", status=2).stderr)

    def test_seeds(self):
        outputs = [self.apus("run", "small.onnx", "--seed", s).stdout for s in ("1", "1", "2")]
        self.assertEqual(outputs[0], outputs[1])
        self.assertNotEqual(outputs[0], outputs[2])

    def test_two_processes_make_the_same_bytes(self):
        os.makedirs(self.path("elsewhere"), exist_ok=True)
        for target in ("llvm", "c"):
            with self.subTest(target=target):
                self.apus("compile", "small.onnx", "-o", "one.so", "--no-cache", "--target", target)
                self.apus(
                    "compile", self.path("small.onnx"), "-o", "two.so", "--no-cache", "--target", target,
                    cwd=self.path("elsewhere"))
                self.assertEqual(self.read("one.so"), self.read("elsewhere/two.so"))

    def test_cache(self):
        self.write("cached.onnx", model(
            SMALL_NODES[:2], [("x", [1, IN, SIDE, SIDE])], [("r", [1, OUT, SIDE, SIDE])], SMALL_WEIGHTS))
        cold = self.apus("compile", "cached.onnx", "-o", "cold.so")
        warm = self.apus("compile", "cached.onnx", "-o", "warm.so")
        self.assertNotIn("from the cache", cold.stderr)
        self.assertIn("from the cache", warm.stderr)
        self.assertEqual(self.read("cold.so"), self.read("warm.so"))

    def test_dump_ir(self):
        out = self.apus("compile", "small.onnx", "-o", "d.so", "--dump-ir", "FuseOps", "--no-cache").stdout
        self.assertIn("nn.relu", out)
        everything = self.apus("compile", "small.onnx", "-o", "d.so", "--dump-ir", "all", "--no-cache").stdout
        self.assertGreater(len(everything), len(out))

    def test_dynamic_shapes_are_given(self):
        self.write("dynamic.onnx", small("n"))
        err = self.apus("compile", "dynamic.onnx", "-o", "dynamic.so", status=2).stderr
        self.assertIn("error[ONNX203]", err)
        self.assertIn("x", err)
        self.apus("compile", "dynamic.onnx", "-o", "dynamic.so", "--shape", f"x=2,{IN},{SIDE},{SIDE}", "--quiet")
        self.write("x2.npy", npy([2, IN, SIDE, SIDE], X + X))
        self.apus("run", "dynamic.so", "--input", "x=x2.npy", "--output", "y2.npy")
        shape, values = from_npy(self.read("y2.npy"))
        self.assertEqual(shape, (2, OUT))
        self.assertClose(values, self.expected * 2)
        self.apus("compile", "small.onnx", "-o", "no.so", "--shape", "x=1,4,8,8", status=2)

    def test_bench(self):
        report = json.loads(self.apus("bench", "small.onnx", "--json", "--seconds", "0.05", "--threads", "1").stdout)
        self.assertEqual(report["threads"], 1)
        for key in ("import_s", "compile_s", "load_s", "first_s", "p50_s", "p90_s", "p99_s"):
            self.assertGreaterEqual(report[key], 0)
        self.assertLessEqual(report["p50_s"], report["p99_s"])
        self.assertGreaterEqual(report["runs"], 10)
        self.assertIn("p99", self.apus("bench", "small.onnx", "--seconds", "0.05").stdout)

    def test_worker(self):
        self.write_npz(
            "worker.npz", {"in_x": npy([1, IN, SIDE, SIDE], X), "out_y": npy([1, OUT], self.expected)})
        request = json.dumps({"cmd": "run", "secs": 0.02, "min": 3}) + "\n"
        run = self.apus("bench", "--worker", "small.onnx", "worker.npz", "2", given=request * 2)
        hello, *answers = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertTrue(hello["ok"], hello)
        self.assertLess(hello["err"], 1e-4)
        self.assertTrue({"compile_s", "first", "second", "rss"} <= set(hello))
        self.assertEqual(len(answers), 2)
        for answer in answers:
            self.assertGreaterEqual(len(answer["ts"]), 3)
            self.assertTrue({"cpu", "wall", "rss"} <= set(answer))


class ExampleTest(Case):
    def test_matmul_equals_plain_loops(self):
        program = os.path.join(os.path.dirname(APUS), "matmul")
        if not os.path.exists(program):
            self.skipTest("the example is not built")
        run = subprocess.run([program, "100"], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual(run.returncode, 0)
        self.assertIn("T.vectorized(32)", run.stdout)
        self.assertIn("equal to plain loops", run.stdout)


    def test_script_reads_prints_and_runs(self):
        program = os.path.join(os.path.dirname(APUS), "script")
        if not os.path.exists(program):
            self.skipTest("the example is not built")
        run = subprocess.run([program], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual(run.returncode, 0)
        self.assertIn("        y[i] = x[i] * T.float32(2.0)", run.stdout)
        self.assertIn("        total += x[i]", run.stdout)
        self.assertIn("[2.0, 6.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0]", run.stdout)


class BadInputTest(Case):
    def fails(self, code, *arguments):
        """An error of that code on stderr, exit status 2 and no crash; returns the text."""
        err = self.apus(*arguments, status=2).stderr
        self.assertIn(f"error[{code}", err)
        return err

    def test_usage(self):
        for arguments in (
            ["run"], ["compile", "small.onnx"], ["nothing"], ["bench", "--worker", "a"],
            ["compile", "small.onnx", "-o", "x.so", "--shape", "x"],
            ["compile", "small.onnx", "-o", "x.so", "--shape", "x=1,two"],
            ["compile", "small.onnx", "-o", "x.so", "--opt-level", "9"], ["run", "small.onnx", "--threads", "-1"],
        ):
            with self.subTest(arguments=arguments):
                self.apus(*arguments, status=64)

    def test_files(self):
        self.fails("IO", "check", "missing.onnx")
        self.fails("IO", "check", self.folder)
        self.fails("RT", "run", "missing.so")
        self.write("text.so", b"this is no library")
        self.fails("RT", "run", "text.so")
        self.write("bad.npy", b"\x93NUMPY\x01\x00\xff\xff{")
        self.fails("NPY", "run", "small.onnx", "--input", "x=bad.npy")
        self.write("bad.npz", b"PK\x05\x06 no archive")
        self.fails("ZIP", "run", "small.onnx", "--expected", "bad.npz")

    def test_inputs(self):
        self.assertIn("expected: one of x", self.fails("ONNX201", "run", "small.onnx", "--input", "z=x.npy"))
        self.apus("compile", "small.onnx", "-o", "small.so", "--quiet")
        self.fails("RT071", "run", "small.so", "--input", "z=x.npy")
        self.write("ints.npy", npy([1, IN, SIDE, SIDE], [1] * len(X), "<i4"))
        self.fails("RT073", "run", "small.onnx", "--input", "x=ints.npy")
        self.write("short.npy", npy([3], [1.0, 2.0, 3.0]))
        self.apus("run", "small.onnx", "--input", "x=short.npy", status=2)

    def test_targets(self):
        self.fails("TGT", "compile", "small.onnx", "-o", "t.so", "--target", "abacus")
        self.fails("", "compile", "small.onnx", "-o", "t.so", "--target", '{"kind": 3}')

    def test_damaged_models(self):
        whole = small()
        random.seed(11)
        cases = {"empty": b"", "noise": random.randbytes(4096)}
        for part in range(1, 12):
            cases[f"cut_{part}"] = whole[:len(whole) * part // 12]
        for i in range(30):
            mutant = bytearray(whole)
            for _ in range(3):
                mutant[random.randrange(len(mutant))] = random.randrange(256)
            cases[f"mutant_{i}"] = bytes(mutant)
        for name, data in cases.items():
            with self.subTest(name):
                self.write("damaged.onnx", data)
                run = subprocess.run(
                    [APUS, "compile", "damaged.onnx", "-o", "damaged.so", "--quiet", "--no-cache"], cwd=self.folder,
                    env=self.environment, capture_output=True, text=True, timeout=60)
                # Some mutants are models still; none may crash, which would be a negative status or 128 and more.
                self.assertIn(run.returncode, (0, 2), run.stderr[-1000:])
                if run.returncode == 2:
                    self.assertRegex(run.stderr, r"error\[[A-Z]+\d+\]")
                elif name == "empty" or name == "noise" or name.startswith("cut_"):
                    self.fail("a damaged file was taken for a model")

    def test_graphs_that_are_none(self):
        x, y = [("x", [2])], [("y", [2])]
        cycle = [node("Add", ["x", "b"], ["a"], "one"), node("Relu", ["a"], ["b"], "two"), node("Relu", ["b"], ["y"], "n")]
        self.write("cycle.onnx", model(cycle, x, y))
        self.fails("ONNX032", "check", "cycle.onnx")
        self.write("undefined.onnx", model([node("Relu", ["nowhere"], ["y"], "lost")], x, y))
        self.assertIn("lost", self.fails("ONNX031", "check", "undefined.onnx"))
        self.write("negative.onnx", model([node("Relu", ["x"], ["y"], "n")], [("x", [-5])], y))
        self.apus("compile", "negative.onnx", "-o", "n.so", status=2)
        huge = [("x", [1 << 40, 1 << 40])]
        self.write("huge.onnx", model([node("Relu", ["x"], ["y"], "n")], huge, [("y", huge[0][1])]))
        self.apus("compile", "huge.onnx", "-o", "n.so", status=2)

    def test_external_data_stays_in_its_folder(self):
        os.makedirs(self.path("inner"), exist_ok=True)
        self.write("secret.bin", struct.pack("<2f", 1, 2))
        for location in ("../secret.bin", self.path("secret.bin"), "link.bin", "missing.bin"):
            with self.subTest(location):
                link = self.path("inner/link.bin")
                if not os.path.islink(link):
                    os.symlink("../secret.bin", link)
                nodes = [node("Add", ["x", "w"], ["y"], "add")]
                data = model(nodes, [("x", [2])], [("y", [2])], [external_tensor("w", [2], location)])
                self.write("inner/external.onnx", data)
                self.assertIn("error[", self.apus("compile", "inner/external.onnx", "-o", "e.so", status=2).stderr)
        self.write("inner/weights.bin", struct.pack("<2f", 10, 20))
        data = model(nodes, [("x", [2])], [("y", [2])], [external_tensor("w", [2], "weights.bin")])
        self.write("inner/external.onnx", data)
        self.write("two.npy", npy([2], [1.0, 2.0]))
        self.apus("run", "inner/external.onnx", "--input", "x=two.npy", "--output", "sum.npy")
        self.assertEqual(from_npy(self.read("sum.npy"))[1], (11.0, 22.0))

    def test_a_long_chain(self):
        count = 10_000
        nodes = [node("Relu", [f"v{i}"], [f"v{i + 1}"], f"n{i}") for i in range(count)]
        self.write("chain.onnx", model(nodes, [("v0", [4])], [(f"v{count}", [4])]))
        self.assertIn(f"{count} x Relu", self.apus("check", "chain.onnx").stdout)
        self.write("four.npy", npy([4], [-1.0, 2.0, -3.0, 4.0]))
        self.apus("run", "chain.onnx", "--input", "v0=four.npy", "--output", "chain.npy")
        self.assertEqual(from_npy(self.read("chain.npy"))[1], (0.0, 2.0, 0.0, 4.0))


@unittest.skipUnless(os.path.isfile(RUNTIME), f"no {RUNTIME}")
class RuntimeLibraryTest(Case):
    def test_only_the_c_interface_is_seen(self):
        if not shutil.which("nm"):
            self.skipTest("no nm")
        out = subprocess.check_output(["nm", "-D", "--defined-only", RUNTIME], text=True)
        # A small letter is a symbol that nobody outside can link to; one linker lists some.
        names = [line.split()[-1] for line in out.splitlines() if line.split()[-2].isupper()]
        self.assertIn("apus_function_call", names)
        self.assertEqual([n for n in names if not n.startswith("apus_")], [])

    def test_it_stands_alone(self):
        if not shutil.which("ldd"):
            self.skipTest("no ldd")
        out = "".join(subprocess.check_output(["ldd", file], text=True) for file in (RUNTIME, APUS))
        for name in ("swift", "Foundation", "LLVM"):
            self.assertNotIn(name, out, "`make` sets APUS_STANDALONE_RUNTIME=1, a plain `swift build` does not")

    def test_size(self):
        if not shutil.which("strip"):
            self.skipTest("no strip")
        subprocess.check_call(["strip", "-o", self.path("stripped.so"), RUNTIME])
        self.assertLess(os.path.getsize(self.path("stripped.so")), 8 << 20)

    def test_a_model_from_c(self):
        compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
        if not compiler:
            self.skipTest("no C compiler")
        program = self.path("classify")
        subprocess.check_call([
            compiler, "-Wall", "-Werror", os.path.join(ROOT, "Examples/c/classify.c"), "-I",
            os.path.join(ROOT, "Sources/CABI/include"), RUNTIME, f"-Wl,-rpath,{os.path.dirname(RUNTIME)}", "-o", program])
        self.apus("compile", "small.onnx", "-o", "small.so", "--quiet")
        self.write("image.f32", struct.pack("<%df" % len(X), *X))
        out = subprocess.check_output([program, self.path("small.so"), self.path("image.f32")], text=True, timeout=60)
        pairs = [line.split() for line in out.splitlines()]
        best = sorted(range(OUT), key=lambda i: -self.expected[i])
        self.assertEqual([int(p[0]) for p in pairs], best)
        self.assertClose([float(p[1]) for p in pairs], [self.expected[i] for i in best])


class PublishedModelTest(Case):
    """Every NAME.onnx with NAME.npz of $APUS_MODELS: JIT and library, the C target for the small ones."""

    C_TARGET = ("squeezenet1_1", "mobilenet_v2", "magika")

    def test_recorded_outputs(self):
        if not MODELS:
            self.skipTest("APUS_MODELS is not set")
        names = sorted(
            f[:-5] for f in os.listdir(MODELS)
            if f.endswith(".onnx") and os.path.isfile(os.path.join(MODELS, f[:-5] + ".npz")))
        self.assertTrue(names, f"no NAME.onnx with NAME.npz in {MODELS}")
        for name in names:
            file, recorded = (os.path.abspath(os.path.join(MODELS, name + end)) for end in (".onnx", ".npz"))
            with self.subTest(name, way="jit"):
                self.apus("run", file, "--expected", recorded, "--no-cache")
            with self.subTest(name, way="library"):
                shapes = []
                with zipfile.ZipFile(recorded) as z:
                    for member in z.namelist():
                        if member.startswith("in_"):
                            header = z.read(member)[:256].split(b"(")[1].split(b")")[0].decode()
                            dims = ",".join(d.strip() for d in header.split(",") if d.strip())
                            shapes += ["--shape", f"{member[3:-4]}={dims}"]
                self.apus("compile", file, "-o", "model.so", "--no-cache", "--quiet", *shapes)
                self.apus("run", "model.so", "--expected", recorded)
            if name in self.C_TARGET:
                with self.subTest(name, way="c"):
                    self.apus("run", file, "--expected", recorded, "--no-cache", "--target", "c")

    def test_demonstration(self):
        if not os.path.isfile(os.path.join(ROOT, ".build/demo/model.onnx")):
            self.skipTest("`make demo` has not fetched its model")
        run = subprocess.run([os.path.join(ROOT, "scripts/demo")], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
