"""Modules and functions of the runtime."""

import ctypes
from ctypes import byref, c_void_p

from . import _ffi
from ._ffi import C_DELETER, C_FUNCTION, LIB, ApusAny, ApusError, DataType, Device, Object, check
from .nd import NDArray

__all__ = ["ApusError", "DataType", "Device", "Module", "NDArray", "Object", "PackedFunc", "load_module",
           "get_global_func", "register_func", "list_global_func_names"]


class PackedFunc(Object):
    """A function of the runtime; call it with numbers, strings, tensors, NumPy arrays, lists, dicts, functions."""

    __slots__ = ()
    type_index_hint = _ffi.FUNCTION

    def __call__(self, *args):
        packed, alive = _ffi.pack(args)
        result = ApusAny()
        status = LIB.apus_function_call(self.handle, packed, len(args), byref(result))
        del alive
        check(status)
        return _ffi.unpack(result)

    @staticmethod
    def from_callable(function, name=""):
        """A packed function that calls a Python one."""

        def run(_, args, count, result):
            try:
                value = function(*[_ffi.unpack(args[i], owned=False) for i in range(count)])
                packed, alive = _ffi.pack([value])
                kind = packed[0].type_index
                if kind == _ffi.DLTENSOR:
                    raise TypeError("return an NDArray, not a NumPy array")
                if kind >= _ffi.OBJECT:
                    LIB.apus_object_retain(packed[0].v.p)
                result[0] = packed[0]
                del alive
                return 0
            except Exception as error:  # an exception must not pass through C
                text = f"{type(error).__name__}: {error}"
                LIB.apus_set_last_error(b"RT095", text.encode("utf-8", "replace"))
                return -1

        callback = C_FUNCTION(run)
        key = id(callback)
        _callbacks[key] = callback
        out = c_void_p()
        check(LIB.apus_function_create(name.encode("utf-8"), callback, key, _drop_callback, byref(out)))
        return PackedFunc(out.value)


_callbacks = {}


@C_DELETER
def _drop_callback(key):
    _callbacks.pop(key, None)


class Module(Object):
    """Compiled code or an executor: `module["name"]` is a PackedFunc."""

    __slots__ = ()
    type_index_hint = _ffi.MODULE

    def get_function(self, name, query_imports=True):
        out = c_void_p()
        check(LIB.apus_module_get_function(self.handle, name.encode("utf-8"), int(query_imports), byref(out)))
        return PackedFunc(out.value)

    def __getitem__(self, name):
        return self.get_function(name)

    def import_module(self, module):
        check(LIB.apus_module_import(self.handle, module.handle))


_ffi.CLASSES[_ffi.FUNCTION] = PackedFunc
_ffi.CLASSES[_ffi.MODULE] = Module


def load_module(path):
    """Loads a compiled module."""
    out = c_void_p()
    check(LIB.apus_module_load(str(path).encode("utf-8"), byref(out)))
    return Module(out.value)


def get_global_func(name, allow_missing=False):
    """A function of the registry."""
    out = c_void_p()
    status = LIB.apus_function_get_global(name.encode("utf-8"), byref(out))
    if status != 0 and allow_missing:
        return None
    check(status)
    return PackedFunc(out.value)


def list_global_func_names():
    """Every name of the registry, sorted."""
    return get_global_func("ffi.FunctionListGlobalNames")()


def register_func(name, function=None, override=False):
    """Adds a Python function to the registry; also a decorator."""
    if function is None:
        return lambda f: register_func(name, f, override)
    packed = PackedFunc.from_callable(function, name)
    check(LIB.apus_function_register_global(name.encode("utf-8"), packed.handle, int(override)))
    return function


def num_threads():
    """The threads of parallel loops."""
    out = ctypes.c_int32()
    check(LIB.apus_get_num_threads(byref(out)))
    return out.value


def set_num_threads(count):
    """Changes the threads of parallel loops."""
    check(LIB.apus_set_num_threads(count))
