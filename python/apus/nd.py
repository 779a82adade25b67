"""Tensors: `array`, `empty`, `from_dlpack`, and the class NDArray."""

import ctypes
from ctypes import POINTER, byref, c_int64, c_void_p

from . import _ffi
from ._ffi import LIB, DataType, Device, DLDevice, DLManagedTensor, check

_capsule_new = ctypes.pythonapi.PyCapsule_New
_capsule_new.restype = ctypes.py_object
_capsule_new.argtypes = [c_void_p, ctypes.c_char_p, c_void_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_valid = ctypes.pythonapi.PyCapsule_IsValid
_capsule_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_rename = ctypes.pythonapi.PyCapsule_SetName
_capsule_rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
# In a destructor the capsule's count is 0: it must be passed as a bare pointer.
_raw_valid = ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_raw_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))

_NAME, _USED = b"dltensor", b"used_dltensor"


@ctypes.PYFUNCTYPE(None, c_void_p)
def _drop_capsule(capsule):
    """An exported capsule that nobody took: the tensor is given back."""
    if _raw_valid(capsule, _NAME):
        managed = ctypes.cast(_raw_pointer(capsule, _NAME), POINTER(DLManagedTensor))
        managed.contents.deleter(managed)


class NDArray(_ffi.Object):
    """A tensor of the runtime."""

    __slots__ = ()
    type_index_hint = _ffi.NDARRAY

    @property
    def _tensor(self):
        out = POINTER(_ffi.DLTensor)()
        check(LIB.apus_tensor_view(self.handle, byref(out)))
        return out.contents

    @property
    def shape(self):
        tensor = self._tensor
        return tuple(tensor.shape[i] for i in range(tensor.ndim))

    @property
    def dtype(self):
        return DataType.from_c(self._tensor.dtype)

    @property
    def device(self):
        device = self._tensor.device
        return Device(device.device_type, device.device_id)

    ctx = device

    def asnumpy(self):
        """A NumPy copy; bfloat16 comes as its bits in uint16."""
        import numpy

        dtype = self.dtype
        result = numpy.empty(self.shape, "uint16" if dtype == "bfloat16" else str(dtype))
        check(LIB.apus_tensor_copy_to_bytes(self.handle, result.ctypes.data, result.nbytes))
        return result

    numpy = asnumpy

    def __array__(self, dtype=None, copy=None):
        result = self.asnumpy()
        return result if dtype is None else result.astype(dtype)

    def copyfrom(self, source):
        """Copies a NumPy array, list or tensor of the same shape to this one; NumPy data is cast to its type."""
        if isinstance(source, NDArray):
            check(LIB.apus_tensor_copy(source.handle, self.handle))
            return self
        import numpy

        dtype = self.dtype
        data = numpy.asarray(source, "uint16" if dtype == "bfloat16" else str(dtype), order="C")
        if data.shape != self.shape:
            raise ValueError(f"shape {data.shape} does not fit {self.shape}")
        check(LIB.apus_tensor_copy_from_bytes(self.handle, data.ctypes.data, data.nbytes))
        return self

    def copyto(self, target):
        """Copies to another tensor, or to a new one on a device."""
        if isinstance(target, Device):
            target = empty(self.shape, self.dtype, target)
        return target.copyfrom(self)

    def __setitem__(self, key, value):
        if not isinstance(key, slice) or (key.start, key.stop, key.step) != (None, None, None):
            raise ValueError("only whole tensors can be assigned: a[:] = value")
        self.copyfrom(value)

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<apus.nd.NDArray shape={self.shape} dtype={self.dtype} device={self.device}>\n{self.asnumpy()!r}"

    def __dlpack__(self, **_):
        out = POINTER(DLManagedTensor)()
        check(LIB.apus_tensor_to_dlpack(self.handle, byref(out)))
        return _capsule_new(ctypes.cast(out, c_void_p), _NAME, ctypes.cast(_drop_capsule, c_void_p))

    to_dlpack = __dlpack__

    def __dlpack_device__(self):
        device = self._tensor.device
        return (device.device_type, device.device_id)


_ffi.CLASSES[_ffi.NDARRAY] = NDArray


def empty(shape, dtype="float32", device=None, ctx=None):
    """A tensor of zeros."""
    device = device or ctx or Device("cpu")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    extents = (c_int64 * max(len(shape), 1))(*shape)
    out = c_void_p()
    check(LIB.apus_tensor_create(
        extents, len(shape), DataType(dtype).to_c(), DLDevice(device.device_type, device.device_id), byref(out)))
    return NDArray(out.value)


def array(source, device=None, ctx=None, dtype=None):
    """A tensor with a copy of a list, NumPy array or tensor (`from_dlpack` shares memory instead)."""
    if isinstance(source, NDArray) and dtype is None:
        return empty(source.shape, source.dtype, device or ctx).copyfrom(source)
    import numpy

    data = numpy.asarray(source, None if dtype is None else str(dtype))
    return empty(data.shape, data.dtype.name, device or ctx).copyfrom(data)


def from_dlpack(source):
    """A tensor over the memory of another framework's tensor or of a DLPack capsule; nothing is copied."""
    capsule = source.__dlpack__() if hasattr(source, "__dlpack__") else source
    if not _capsule_valid(capsule, _NAME):
        raise ValueError("not a DLPack capsule, or already used")
    managed = ctypes.cast(_capsule_pointer(capsule, _NAME), POINTER(DLManagedTensor))
    out = c_void_p()
    _capsule_rename(capsule, _USED)
    check(LIB.apus_tensor_from_dlpack(managed, byref(out)))
    return NDArray(out.value)
