"""Runs models that the Apus compiler made.

`import apus as tvm` lets programs written for TVM's runtime work as they are: `tvm.runtime.load_module`,
`tvm.nd.array`, `tvm.cpu(0)`, `tvm.contrib.graph_executor.GraphModule`.
"""

from . import _ffi, contrib, nd, runtime
from ._ffi import ApusError, DataType, Device
from .nd import NDArray
from .runtime import Module, PackedFunc, get_global_func, num_threads, register_func, set_num_threads

__version__ = _ffi.LIB.apus_version().decode("ascii")


def cpu(index=0):
    """The host."""
    return Device("cpu", index)


def cuda(index=0):
    """A CUDA device."""
    return Device("cuda", index)


def gpu(index=0):
    """A CUDA device, by its older name."""
    return Device("cuda", index)


def opencl(index=0):
    """An OpenCL device."""
    return Device("opencl", index)


def device(kind, index=0):
    """A device by the name of its kind."""
    return Device(kind, index)


context = device
