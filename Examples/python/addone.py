"""Loads a compiled operator and calls it: addone.py compiled_artifact.so"""

import sys

import apus as tvm

mod = tvm.runtime.load_module(sys.argv[1])
arr = tvm.nd.array([1, 2, 3], ctx=tvm.cpu(0))
fun = mod["addone"]
fun(arr)
print(arr.asnumpy())
