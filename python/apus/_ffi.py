"""The C interface (Sources/CABI/include/apus.h) through ctypes, and conversion of values both ways."""

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32
from ctypes import c_uint64, c_void_p

NONE, INT, BOOL, FLOAT, PTR, DTYPE, DEVICE, DLTENSOR, RAWSTR = range(9)
OBJECT, STRING, FUNCTION, NDARRAY, ARRAY, MAP, MODULE = 64, 65, 67, 70, 71, 72, 73


class DLDevice(ctypes.Structure):
    _fields_ = [("device_type", c_int32), ("device_id", c_int32)]


class DLDataType(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p), ("device", DLDevice), ("ndim", c_int32), ("dtype", DLDataType),
        ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)), ("byte_offset", c_uint64),
    ]


class DLManagedTensor(ctypes.Structure):
    pass


DLManagedTensor._fields_ = [
    ("dl_tensor", DLTensor), ("manager_ctx", c_void_p),
    ("deleter", ctypes.CFUNCTYPE(None, POINTER(DLManagedTensor))),
]


class ApusValue(ctypes.Union):
    _fields_ = [
        ("i", c_int64), ("f", c_double), ("p", c_void_p), ("dtype", DLDataType), ("device", DLDevice),
    ]


class ApusAny(ctypes.Structure):
    _fields_ = [("type_index", c_int32), ("pad", c_uint32), ("v", ApusValue)]


C_FUNCTION = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(ApusAny), c_int32, POINTER(ApusAny))
C_DELETER = ctypes.CFUNCTYPE(None, c_void_p)


class ApusError(RuntimeError):
    """What the runtime reports: `code` is stable (such as RT073), the text names place, expected and actual."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text[text.find("[") + 1:text.find("]")] if text.startswith("error[") else "RT000"


def _find_library():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    name = "libapus_runtime.so"
    named = os.environ.get("APUS_RUNTIME_LIBRARY")
    candidates = [named] if named else [
        os.path.join(here, name), os.path.join(root, ".build", "release", name),
        os.path.join(root, ".build", "debug", name),
    ]
    for path in candidates:
        if os.path.exists(path):
            return path
    raise ImportError(
        "libapus_runtime.so not found; looked at " + ", ".join(candidates)
        + ". Build it with `swift build -c release` or set APUS_RUNTIME_LIBRARY.")


def _load():
    library = ctypes.CDLL(_find_library(), mode=ctypes.RTLD_LOCAL)
    library.apus_get_last_error.restype = c_char_p
    library.apus_version.restype = c_char_p
    library.apus_set_last_error.argtypes = [c_char_p, c_char_p]
    library.apus_set_last_error.restype = None
    signatures = {
        "apus_object_release": [c_void_p],
        "apus_object_retain": [c_void_p],
        "apus_object_type_key": [c_void_p, POINTER(c_void_p)],
        "apus_function_get_global": [c_char_p, POINTER(c_void_p)],
        "apus_function_list_global": [POINTER(c_void_p)],
        "apus_function_register_global": [c_char_p, c_void_p, c_int32],
        "apus_function_create": [c_char_p, C_FUNCTION, c_void_p, C_DELETER, POINTER(c_void_p)],
        "apus_function_call": [c_void_p, POINTER(ApusAny), c_int32, POINTER(ApusAny)],
        "apus_module_load": [c_char_p, POINTER(c_void_p)],
        "apus_module_get_function": [c_void_p, c_char_p, c_int32, POINTER(c_void_p)],
        "apus_module_import": [c_void_p, c_void_p],
        "apus_string_create": [c_char_p, c_size_t, POINTER(c_void_p)],
        "apus_string_data": [c_void_p, POINTER(c_void_p), POINTER(c_size_t)],
        "apus_array_create": [POINTER(ApusAny), c_int64, POINTER(c_void_p)],
        "apus_array_size": [c_void_p, POINTER(c_int64)],
        "apus_array_get": [c_void_p, c_int64, POINTER(ApusAny)],
        "apus_map_create": [POINTER(ApusAny), c_int64, POINTER(c_void_p)],
        "apus_map_items": [c_void_p, POINTER(c_void_p)],
        "apus_tensor_create": [POINTER(c_int64), c_int32, DLDataType, DLDevice, POINTER(c_void_p)],
        "apus_tensor_view": [c_void_p, POINTER(POINTER(DLTensor))],
        "apus_tensor_from_dlpack": [POINTER(DLManagedTensor), POINTER(c_void_p)],
        "apus_tensor_to_dlpack": [c_void_p, POINTER(POINTER(DLManagedTensor))],
        "apus_tensor_copy": [c_void_p, c_void_p],
        "apus_tensor_copy_from_bytes": [c_void_p, c_void_p, c_size_t],
        "apus_tensor_copy_to_bytes": [c_void_p, c_void_p, c_size_t],
        "apus_device_synchronize": [DLDevice],
        "apus_set_num_threads": [c_int32],
        "apus_get_num_threads": [POINTER(c_int32)],
    }
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = c_int32
    return library


LIB = _load()


def check(status):
    """Raises ApusError for a status other than 0."""
    if status != 0:
        raise ApusError(LIB.apus_get_last_error().decode("utf-8", "replace"))


class Object:
    """A counted object of the runtime; released with the Python object."""

    __slots__ = ("handle", "__weakref__")

    def __init__(self, handle):
        self.handle = handle

    def __del__(self):
        handle, self.handle = getattr(self, "handle", None), None
        if handle and LIB is not None:
            LIB.apus_object_release(handle)

    @property
    def type_key(self):
        out = c_void_p()
        check(LIB.apus_object_type_key(self.handle, byref(out)))
        return take_string(out.value)

    def same_as(self, other):
        return isinstance(other, Object) and self.handle == other.handle


def take_string(handle):
    """The text of a string object that the caller owns; releases it."""
    data, size = c_void_p(), c_size_t()
    try:
        check(LIB.apus_string_data(handle, byref(data), byref(size)))
        return ctypes.string_at(data, size.value).decode("utf-8")
    finally:
        LIB.apus_object_release(handle)


class Device:
    """Where memory lives and kernels run: `cpu(0)`."""

    KINDS = {"cpu": 1, "cuda": 2, "gpu": 2, "opencl": 4, "cl": 4, "vulkan": 7, "metal": 8, "rocm": 10}

    def __init__(self, kind, index=0):
        self.device_type = self.KINDS[kind] if isinstance(kind, str) else int(kind)
        self.device_id = int(index)

    def sync(self):
        check(LIB.apus_device_synchronize(DLDevice(self.device_type, self.device_id)))

    def __eq__(self, other):
        return isinstance(other, Device) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return (self.device_type, self.device_id)

    def __repr__(self):
        names = {number: name for name, number in reversed(list(self.KINDS.items()))}
        return f"{names.get(self.device_type, self.device_type)}({self.device_id})"


class DataType(str):
    """An element type in text form: `float32`, `bool`, `bfloat16`."""

    CODES = {0: "int", 1: "uint", 2: "float", 3: "handle", 4: "bfloat"}

    @staticmethod
    def from_c(type_):
        if type_.code in (1, 6) and (type_.bits == 1 or type_.code == 6):
            text = "bool"
        else:
            text = f"{DataType.CODES.get(type_.code, 'unknown')}{type_.bits}"
        return DataType(text if type_.lanes == 1 else f"{text}x{type_.lanes}")

    def to_c(self):
        text, _, lanes = self.partition("x")
        if text == "bool":
            return DLDataType(1, 1, int(lanes or 1))
        name = text.rstrip("0123456789")
        for code, known in DataType.CODES.items():
            if known == name:
                return DLDataType(code, int(text[len(name):]), int(lanes or 1))
        raise ValueError(f"unknown dtype {self!r}")


def numpy_tensor(array):
    """A DLTensor over a NumPy array, and what keeps it alive."""
    rank = array.ndim
    shape = (c_int64 * max(rank, 1))(*array.shape)
    strides = None
    if not array.flags.c_contiguous:
        if any(s % array.itemsize for s in array.strides):
            return numpy_tensor(array.copy())
        strides = (c_int64 * max(rank, 1))(*[s // array.itemsize for s in array.strides])
    tensor = DLTensor(
        array.ctypes.data, DLDevice(1, 0), rank, DataType(array.dtype.name).to_c(), shape, strides, 0)
    return tensor, (array, shape, strides)


def pack(values):
    """Arguments in C form, and what keeps them alive during the call."""
    packed = (ApusAny * max(len(values), 1))()
    alive = []
    for slot, value in zip(packed, values):
        _pack_one(slot, value, alive)
    return packed, alive


def _pack_one(slot, value, alive):
    if value is None:
        slot.type_index = NONE
    elif isinstance(value, bool):
        slot.type_index, slot.v.i = BOOL, int(value)
    elif isinstance(value, int):
        slot.type_index, slot.v.i = INT, value
    elif isinstance(value, float):
        slot.type_index, slot.v.f = FLOAT, value
    elif isinstance(value, DataType):
        slot.type_index, slot.v.dtype = DTYPE, value.to_c()
    elif isinstance(value, (str, bytes)):
        data = value if isinstance(value, bytes) else value.encode("utf-8")
        out = c_void_p()
        check(LIB.apus_string_create(data, len(data), byref(out)))
        alive.append(Object(out.value))
        slot.type_index, slot.v.p = STRING, out.value
    elif isinstance(value, Device):
        slot.type_index, slot.v.device = DEVICE, DLDevice(value.device_type, value.device_id)
    elif isinstance(value, Object):
        alive.append(value)
        slot.type_index, slot.v.p = value.type_index_hint, value.handle
    elif isinstance(value, (list, tuple)):
        items, kept = pack(value)
        out = c_void_p()
        check(LIB.apus_array_create(items, len(value), byref(out)))
        alive += [kept, Object(out.value)]
        slot.type_index, slot.v.p = ARRAY, out.value
    elif isinstance(value, dict):
        items, kept = pack([x for pair in value.items() for x in pair])
        out = c_void_p()
        check(LIB.apus_map_create(items, len(value), byref(out)))
        alive += [kept, Object(out.value)]
        slot.type_index, slot.v.p = MAP, out.value
    elif hasattr(value, "ctypes") and hasattr(value, "dtype") and hasattr(value, "strides"):
        tensor, kept = numpy_tensor(value)
        alive += [tensor, kept]
        slot.type_index, slot.v.p = DLTENSOR, ctypes.addressof(tensor)
    elif hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        _pack_one(slot, value.item(), alive)
    elif callable(value):
        function = CLASSES[FUNCTION].from_callable(value)
        alive.append(function)
        slot.type_index, slot.v.p = FUNCTION, function.handle
    else:
        raise TypeError(f"cannot pass a {type(value).__name__} to the runtime")


# Class of each type index; the modules that define them fill it.
CLASSES = {}


def unpack(any_, owned=True):
    """A C value as a Python value. `owned`: whether the reference in it is ours (else it is retained)."""
    kind = any_.type_index
    if kind == NONE:
        return None
    if kind == INT:
        return any_.v.i
    if kind == BOOL:
        return bool(any_.v.i)
    if kind == FLOAT:
        return any_.v.f
    if kind == DTYPE:
        return DataType.from_c(any_.v.dtype)
    if kind == DEVICE:
        return Device(any_.v.device.device_type, any_.v.device.device_id)
    if kind == RAWSTR:
        return ctypes.string_at(any_.v.p).decode("utf-8")
    if kind < OBJECT:
        return any_.v.p
    handle = any_.v.p
    if not owned:
        LIB.apus_object_retain(handle)
    if kind == STRING:
        return take_string(handle)
    if kind == ARRAY:
        return list(_array_items(Object(handle)))
    if kind == MAP:
        out = c_void_p()
        whole = Object(handle)
        check(LIB.apus_map_items(whole.handle, byref(out)))
        items = list(_array_items(Object(out.value)))
        return dict(zip(items[::2], items[1::2]))
    return CLASSES.get(kind, AnyObject)(handle)


def _array_items(array):
    size = c_int64()
    check(LIB.apus_array_size(array.handle, byref(size)))
    for i in range(size.value):
        element = ApusAny()
        check(LIB.apus_array_get(array.handle, i, byref(element)))
        yield unpack(element)


class AnyObject(Object):
    """An object of a kind that Python has no class for."""

    __slots__ = ()
    type_index_hint = OBJECT


if sys.byteorder != "little":
    raise ImportError("the Apus runtime needs a little-endian machine")
