"""Tests of the Python package and, through it, of the C interface. Run: python -m unittest discover python/tests

APUS_RUNTIME_LIBRARY names the library where it is not in .build; a C compiler makes the test modules.
"""

import ctypes
import gc
import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "python"))

import numpy as np  # noqa: E402

import apus as tvm  # noqa: E402
from apus import _ffi  # noqa: E402

ADDONE = """
#include "apus.h"
const ApusBackendAPI *apus_backend_api;
int32_t apus_fn_addone(void *self, const ApusAny *args, int32_t count, ApusAny *result) {
    (void)self; (void)result;
    if (count != 1 || args[0].type_index != APUS_DLTENSOR) {
        apus_backend_api->set_error("RT301", "addone takes one tensor");
        return -1;
    }
    DLTensor *t = args[0].v.tensor;
    if (t->dtype.code != 0 || t->dtype.bits != 64) {
        apus_backend_api->set_error("RT302", "addone takes int64");
        return -1;
    }
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    for (int64_t i = 0; i < n; i++) ((int64_t *)t->data)[i] += 1;
    return 0;
}
"""

KERNELS = """
#include "apus.h"
const ApusBackendAPI *apus_backend_api;
int32_t apus_fn_add(void *self, const ApusAny *a, int32_t count, ApusAny *result) {
    (void)self; (void)count; (void)result;
    for (int64_t i = 0; i < a[2].v.tensor->shape[0]; i++)
        ((float *)a[2].v.tensor->data)[i] = ((float *)a[0].v.tensor->data)[i] + ((float *)a[1].v.tensor->data)[i];
    return 0;
}
"""


def model_blob():
    """The bytes of the model y = x + w over 4 floats, by the description in Executable.swift alone."""

    def text(t):
        return struct.pack("<Q", len(t)) + t.encode()

    tensor = struct.pack("<BBHQq", 2, 32, 1, 1, 4)  # float32, one lane, rank 1, extent 4

    def spec(name):
        return text(name) + tensor

    def view(kind, index):
        return struct.pack("<IIq", kind, index, 0) + tensor

    plan = text("resnet18")
    plan += struct.pack("<Qqq", 1, 16, 64)
    plan += struct.pack("<Q", 1) + spec("x")
    plan += struct.pack("<Q", 1) + spec("w") + struct.pack("<q", 0)
    plan += struct.pack("<Q", 1) + text("add") + text("") + struct.pack("<Q", 3)
    plan += view(1, 0) + view(2, 0) + view(0, 0)
    plan += struct.pack("<Q", 1) + text("y") + view(0, 0)
    checksum = 0xCBF29CE484222325
    for byte in plan:
        checksum = ((checksum ^ byte) * 0x100000001B3) % (1 << 64)
    begin = (64 + len(plan) + 63) // 64 * 64
    head = b"APUSEXEC" + struct.pack("<IIQQQQQQ", 1, 0, len(plan), checksum, begin, 64, 0, 0)
    weights = struct.pack("<4f", 10, 20, 40, 30)
    return (head + plan).ljust(begin, b"\0") + weights.ljust(64, b"\0")


class RuntimeTest(unittest.TestCase):
    @classmethod
    def compile(cls, name, text):
        source = os.path.join(cls.folder.name, name + ".c")
        library = os.path.join(cls.folder.name, name + ".so")
        with open(source, "w") as f:
            f.write(text)
        include = os.path.join(ROOT, "Sources/CABI/include")
        subprocess.run(["cc", "-shared", "-fPIC", "-I", include, source, "-o", library], check=True)
        return library

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.module = cls.compile("addone", ADDONE)
        blob = model_blob()
        cls.model = cls.compile(
            "resnet18", KERNELS + "__attribute__((aligned(64))) const unsigned char apus_blob[] = {"
            + ",".join(map(str, blob)) + "};\nconst uint64_t apus_blob_size = " + str(len(blob)) + ";\n")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def error(self, code, body):
        with self.assertRaises(tvm.ApusError) as caught:
            body()
        self.assertEqual(caught.exception.code, code, str(caught.exception))

    def test_seed_program(self):
        mod = tvm.runtime.load_module(self.module)
        arr = tvm.nd.array([1, 2, 3], ctx=tvm.cpu(0))
        fun = mod["addone"]
        fun(arr)
        self.assertEqual(arr.asnumpy().tolist(), [2, 3, 4])
        data = np.arange(6).reshape(2, 3)
        fun(data)
        self.assertEqual(data.tolist(), [[1, 2, 3], [4, 5, 6]])

    def test_seed_model(self):
        data = np.arange(4, dtype="float32")
        factory = tvm.runtime.load_module(self.model)
        gmod = factory["resnet18"](tvm.cpu(0))
        gmod["set_input"](0, data)
        gmod["run"]()
        result = gmod["get_output"](0).asnumpy()
        self.assertEqual(result.tolist(), [10, 21, 42, 33])

    def test_graph_module(self):
        factory = tvm.runtime.load_module(self.model)
        m = tvm.contrib.graph_executor.GraphModule(factory["default"](tvm.cpu(0)))
        m.set_input("x", tvm.nd.array(np.ones(4, "float32")))
        m.run()
        self.assertEqual(m.get_output(0).asnumpy().tolist(), [11, 21, 41, 31])
        m.run(x=np.zeros(4, "float32"))
        out = tvm.nd.empty((4,))
        self.assertEqual(m.get_output(0, out).asnumpy().tolist(), [10, 20, 40, 30])
        x = tvm.nd.array(np.full(4, 2, "float32"))
        m.set_input_zero_copy(0, x)
        m.run()
        self.assertEqual(m.get_output(0).asnumpy().tolist(), [12, 22, 42, 32])
        m.load_params({"x": tvm.nd.array(np.full(4, 5, "float32"))})
        self.assertEqual(m.get_input("x").asnumpy().tolist(), [5, 5, 5, 5])
        self.assertEqual((m.get_num_inputs(), m.get_num_outputs(), m.get_input_index("x")), (1, 1, 0))
        self.assertEqual(m.get_input_info(), [{"name": "x", "shape": [4], "dtype": "float32"}])
        self.assertEqual(m.get_output_info()[0]["name"], "y")
        self.assertEqual([row[0] for row in m.profile(3)], ["add"])
        self.error("RT073", lambda: m.set_input("x", np.zeros(3, "float32")))
        self.error("RT073", lambda: m.set_input("x", np.zeros(4)))
        self.error("RT071", lambda: m.set_input("z", np.zeros(4, "float32")))
        self.error("RT010", lambda: factory["default"](tvm.gpu(0)))

    def test_c_examples(self):
        library = os.path.abspath(_ffi._find_library())
        for name, arguments, expected in (
            ("addone", [self.module], "[2 3 4]\n"),
            ("classify", [self.model], "2 40\n3 30\n1 20\n0 10\n"),
        ):
            program = os.path.join(self.folder.name, name)
            subprocess.run(
                ["cc", os.path.join(ROOT, f"Examples/c/{name}.c"), "-I", os.path.join(ROOT, "Sources/CABI/include"),
                 library, f"-Wl,-rpath,{os.path.dirname(library)}", "-o", program], check=True)
            self.assertEqual(subprocess.check_output([program, *arguments], text=True), expected)

    def test_kernel_errors(self):
        fun = tvm.runtime.load_module(self.module)["addone"]
        self.error("RT301", lambda: fun(1))
        self.error("RT302", lambda: fun(np.zeros(3, "float32")))
        self.error("RT050", lambda: tvm.runtime.load_module(self.module)["nothing"])
        self.error("RT054", lambda: tvm.runtime.load_module("/does/not/exist.so"))
        self.error("RT051", lambda: tvm.runtime.load_module("model.xyz"))

    def test_arrays(self):
        for dtype in ["float32", "float64", "float16", "int8", "int64", "uint8", "bool"]:
            data = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
            a = tvm.nd.array(data)
            self.assertEqual((a.shape, a.dtype, a.device), ((3, 4), dtype, tvm.cpu(0)))
            np.testing.assert_array_equal(a.asnumpy(), data)
            np.testing.assert_array_equal(np.asarray(a), data)
        a = tvm.nd.empty((2, 2))
        self.assertEqual(a.asnumpy().tolist(), [[0, 0], [0, 0]])
        a[:] = [[1, 2], [3, 4]]
        self.assertEqual(a.copyto(tvm.cpu(0)).asnumpy().tolist(), [[1, 2], [3, 4]])
        self.assertEqual(tvm.nd.array(np.float32(3)).shape, ())
        self.assertEqual(tvm.nd.array(np.arange(6).reshape(2, 3).T).asnumpy().tolist(), [[0, 3], [1, 4], [2, 5]])
        with self.assertRaises(ValueError):
            a.copyfrom([1, 2, 3])
        self.error("RT001", lambda: tvm.nd.empty((1 << 40, 1 << 40)))
        self.error("RT010", lambda: tvm.nd.empty((1,), device=tvm.cuda(0)))

    def test_dlpack_shares_memory(self):
        data = np.arange(8, dtype="float32")
        a = tvm.nd.from_dlpack(data)
        data[0] = 42
        self.assertEqual(a.asnumpy()[0], 42)
        b = np.from_dlpack(a)
        data[1] = 43
        self.assertEqual(b[1], 43)
        del data, a
        gc.collect()
        self.assertEqual(b[:2].tolist(), [42, 43])
        for _ in range(100):
            capsule = tvm.nd.array([1.0]).__dlpack__()  # dropped unused
            del capsule
        strided = np.arange(6, dtype="float32").reshape(2, 3).T
        self.assertEqual(tvm.nd.from_dlpack(strided).asnumpy().tolist(), strided.tolist())
        self.assertEqual(np.from_dlpack(tvm.nd.array([True, False])).tolist(), [True, False])

    def test_values_both_ways(self):
        seen = []

        @tvm.register_func("test.echo", override=True)
        def echo(*args):
            seen.append(args)
            return list(args)

        f = tvm.get_global_func("test.echo")
        a = tvm.nd.array([1, 2])
        values = [1, -5, True, 2.5, "grüße", None, [1, "x"], {"k": 3}, tvm.cpu(0), tvm.DataType("int8x4")]
        self.assertEqual(f(*values), values)
        self.assertTrue(f(a)[0].same_as(a))
        self.assertEqual(f(np.int32(7), np.float64(0.5)), [7, 0.5])
        self.assertEqual(f(lambda x: x + 1)[0](41), 42)
        self.assertIn("test.echo", tvm.runtime.list_global_func_names())

    def test_python_errors_come_back(self):
        @tvm.register_func("test.fail", override=True)
        def fail():
            raise KeyError("lost")

        with self.assertRaises(tvm.ApusError) as caught:
            tvm.get_global_func("test.fail")()
        self.assertIn("KeyError: 'lost'", str(caught.exception))
        self.error("RT042", lambda: tvm.get_global_func("test.nothing"))
        self.assertIsNone(tvm.get_global_func("test.nothing", allow_missing=True))
        self.error("RT040", lambda: tvm.register_func("test.fail", fail))

    def test_threads(self):
        before = tvm.num_threads()
        tvm.set_num_threads(3)
        self.assertEqual(tvm.num_threads(), 3)
        tvm.set_num_threads(before)
        self.error("RT092", lambda: tvm.set_num_threads(0))

    def test_null_pointers_are_errors(self):
        """Every function of the header with nothing but nulls: an error or nothing to do, never a crash."""
        lib = ctypes.CDLL(_ffi._find_library())
        nothing_to_do = {"apus_object_retain", "apus_object_release", "apus_any_release"}
        with open(os.path.join(ROOT, "Sources/CABI/include/apus.h")) as f:
            text = f.read()
        names = sorted({w.split("(")[0] for w in text.split() if w.startswith("apus_") and "(" in w})
        names = [n for n in names if hasattr(lib, n)]
        self.assertGreater(len(names), 35)
        for name in names:
            function = getattr(lib, name)
            if name in ("apus_version", "apus_get_last_error"):
                continue
            function.restype = None if name == "apus_set_last_error" else ctypes.c_int32
            status = function(*[ctypes.c_void_p(None)] * 6)
            if function.restype is not None and name not in nothing_to_do:
                self.assertNotEqual(status, 0, name)

    def test_wrong_objects_are_errors(self):
        text = ctypes.c_void_p()
        _ffi.check(_ffi.LIB.apus_string_create(b"x", 1, ctypes.byref(text)))
        out = ctypes.c_void_p()
        for call in (
            lambda: _ffi.LIB.apus_function_call(text, None, 0, None),
            lambda: _ffi.LIB.apus_module_get_function(text, b"f", 1, ctypes.byref(out)),
            lambda: _ffi.LIB.apus_array_get(text, 0, ctypes.byref(_ffi.ApusAny())),
            lambda: _ffi.LIB.apus_tensor_copy(text, text),
        ):
            self.error("RT091", lambda: _ffi.check(call()))
        self.error("RT093", lambda: _ffi.check(_ffi.LIB.apus_string_create(b"\xff\xfe", 2, ctypes.byref(out))))
        _ffi.LIB.apus_object_release(text)


if __name__ == "__main__":
    unittest.main()
