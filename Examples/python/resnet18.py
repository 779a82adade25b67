"""Runs a compiled model on an input in a .npy file: resnet18.py resnet18.so input.npy"""

import sys

import apus as tvm
import numpy

data = numpy.load(sys.argv[2])
factory = tvm.runtime.load_module(sys.argv[1])
gmod = factory["resnet18"](tvm.cpu(0))
gmod["set_input"](0, data)
gmod["run"]()
result = gmod["get_output"](0).asnumpy()
print("shape", result.shape, "best", result.reshape(-1).argsort()[-5:][::-1])
