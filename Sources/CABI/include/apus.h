/* The C interface of the Apus runtime: values, tensors, the calling convention of kernels, the exported functions.
 *
 * Everything here is plain C99 and stable: a module exported by one version loads in a later one.
 * Rules: functions that can fail return 0 on success and another value on failure; the reason is then in
 * apus_get_last_error() of the same thread. No function crashes on a null argument. A result of type ApusAny
 * whose type_index is >= APUS_OBJECT is owned by the caller (apus_object_release); arguments are borrowed. */
#ifndef APUS_H_
#define APUS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- DLPack (https://dmlc.github.io/dlpack): the same layout; skipped where dlpack.h came first ---- */
#ifndef DLPACK_DLPACK_H_
#define DLPACK_DLPACK_H_

#define DLPACK_MAJOR_VERSION 1
#define DLPACK_MINOR_VERSION 0
#define DLPACK_FLAG_BITMASK_READ_ONLY (1UL << 0UL)
#define DLPACK_FLAG_BITMASK_IS_COPIED (1UL << 1UL)

typedef struct DLPackVersion {
    uint32_t major;
    uint32_t minor;
} DLPackVersion;

/* device_type: 1 CPU, 2 CUDA, 3 CUDA host memory, 4 OpenCL, 7 Vulkan, 8 Metal, 10 ROCm, 12 extension. */
typedef struct DLDevice {
    int32_t device_type;
    int32_t device_id;
} DLDevice;

/* code: 0 int, 1 uint, 2 float, 3 opaque handle, 4 bfloat, 5 complex, 6 bool. */
typedef struct DLDataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

/* strides are in elements; NULL means compact row-major. The first element is at data + byte_offset. */
typedef struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;
#endif /* DLPACK_DLPACK_H_ */

/* ---- Values ---- */

/* What an ApusAny holds. Below 64: plain data. From 64: a counted object. From 128: kinds numbered at run time. */
enum {
    APUS_NONE = 0,
    APUS_INT = 1,       /* v.i */
    APUS_BOOL = 2,      /* v.i, 0 or 1 */
    APUS_FLOAT = 3,     /* v.f */
    APUS_PTR = 4,       /* v.p */
    APUS_DTYPE = 5,     /* v.dtype */
    APUS_DEVICE = 6,    /* v.device */
    APUS_DLTENSOR = 7,  /* v.tensor, borrowed */
    APUS_RAWSTR = 8,    /* v.s, UTF-8, null-terminated, borrowed */
    APUS_OBJECT = 64,
    APUS_STRING = 65,
    APUS_FUNCTION = 67,
    APUS_NDARRAY = 70,
    APUS_ARRAY = 71,
    APUS_MAP = 72,
    APUS_MODULE = 73,
    APUS_ADT = 74,
    APUS_CLOSURE = 75,
    APUS_DYNAMIC = 128
};

/* A counted object; opaque. */
typedef void *ApusObject;

typedef union ApusValue {
    int64_t i;
    double f;
    void *p;
    const char *s;
    DLTensor *tensor;
    ApusObject object;
    DLDataType dtype;
    DLDevice device;
} ApusValue;

/* One argument or result: 16 bytes. */
typedef struct ApusAny {
    int32_t type_index;
    uint32_t pad;
    ApusValue v;
} ApusAny;

/* Every callable: generated kernels (self is NULL, tensors are DLTensor) and functions given by a host program.
 * Returns 0, or another value after having set an error. *result is APUS_NONE when the call starts. */
typedef int32_t (*ApusCFunction)(void *self, const ApusAny *args, int32_t num_args, ApusAny *result);

/* ---- What generated code may call: one table, reached through the variable apus_backend_api ---- */

/* One share of a parallel loop: 0 <= task_id < num_tasks. Returns 0, or another value after having set an error. */
typedef int32_t (*ApusTask)(int32_t task_id, int32_t num_tasks, void *data);

typedef struct ApusBackendAPI {
    /* Runs task for every id in [0, num_tasks) and waits; num_tasks 0 means one task a thread. 0 if all were. */
    int32_t (*parallel_launch)(ApusTask task, void *data, int32_t num_tasks);
    /* 64-byte aligned scratch memory of this thread; freed in reverse order of allocation. NULL if there is none. */
    void *(*alloc_workspace)(uint64_t bytes);
    void (*free_workspace)(void *pointer);
    /* The error of this thread: a stable code such as "RT301" and a text. Then return a value other than 0. */
    void (*set_error)(const char *code, const char *message);
    /* Calls the global function of this name. wanted: the kind of result that the caller can hold, APUS_INT, APUS_FLOAT
     * or APUS_PTR, to which it is converted, or APUS_NONE for none; objects are refused. 0, or not after an error. */
    int32_t (*call_packed)(const char *name, const ApusAny *args, int32_t num_args, int32_t wanted, ApusAny *result);
} ApusBackendAPI;

/* ---- Functions of libapus_runtime ---- */

/* Returns 0 on success; otherwise apus_get_last_error() tells why. */
typedef int32_t ApusStatus;

/* The last error of this thread: "error[CODE]: what", then where, expected, actual, hint on lines of their own.
 * Valid until the next call of this function on this thread; empty if there was none; never NULL. */
const char *apus_get_last_error(void);
/* For functions given by a host program: call it, then return a value other than 0. */
void apus_set_last_error(const char *code, const char *message);
/* major.minor.patch */
const char *apus_version(void);

/* Objects. retain and release accept NULL. */
ApusStatus apus_object_retain(ApusObject object);
ApusStatus apus_object_release(ApusObject object);
ApusStatus apus_object_type_index(ApusObject object, int32_t *out);
/* The type's key, such as "runtime.NDArray", as a new string object. */
ApusStatus apus_object_type_key(ApusObject object, ApusObject *out);
/* Releases the object in value, if it is one, and makes it APUS_NONE. */
ApusStatus apus_any_release(ApusAny *value);

/* Functions. */
ApusStatus apus_function_get_global(const char *name, ApusObject *out);
/* An array of strings, sorted. */
ApusStatus apus_function_list_global(ApusObject *out);
ApusStatus apus_function_register_global(const char *name, ApusObject function, int32_t override_existing);
/* context is given to function as self; deleter (may be NULL) is called with it once. */
ApusStatus apus_function_create(
    const char *name, ApusCFunction function, void *context, void (*deleter)(void *context), ApusObject *out);
ApusStatus apus_function_call(ApusObject function, const ApusAny *args, int32_t num_args, ApusAny *result);

/* Modules. */
ApusStatus apus_module_load(const char *path, ApusObject *out);
ApusStatus apus_module_get_function(ApusObject module, const char *name, int32_t query_imports, ApusObject *out);
ApusStatus apus_module_import(ApusObject module, ApusObject imported);

/* Strings: UTF-8; a byte sequence that is none is refused. The data lives as long as the object. */
ApusStatus apus_string_create(const char *bytes, size_t length, ApusObject *out);
ApusStatus apus_string_data(ApusObject string, const char **bytes, size_t *length);

/* Arrays and maps never change: set releases *container and puts a changed copy in its place. An element that
 * comes out is owned by the caller. */
ApusStatus apus_array_create(const ApusAny *elements, int64_t count, ApusObject *out);
ApusStatus apus_array_size(ApusObject array, int64_t *out);
ApusStatus apus_array_get(ApusObject array, int64_t index, ApusAny *out);
ApusStatus apus_array_set(ApusObject *array, int64_t index, const ApusAny *value);
/* keys_and_values alternates; count is the number of pairs. */
ApusStatus apus_map_create(const ApusAny *keys_and_values, int64_t count, ApusObject *out);
ApusStatus apus_map_size(ApusObject map, int64_t *out);
ApusStatus apus_map_get(ApusObject map, const ApusAny *key, ApusAny *out);
ApusStatus apus_map_set(ApusObject *map, const ApusAny *key, const ApusAny *value);
/* Keys and values in turn, in order of insertion. */
ApusStatus apus_map_items(ApusObject map, ApusObject *out);

/* Tensors. */
ApusStatus apus_tensor_create(
    const int64_t *shape, int32_t ndim, DLDataType dtype, DLDevice device, ApusObject *out);
/* What the tensor looks like; lives as long as the object. */
ApusStatus apus_tensor_view(ApusObject tensor, DLTensor **out);
/* Takes the managed tensor over, also where it fails. */
ApusStatus apus_tensor_from_dlpack(DLManagedTensor *tensor, ApusObject *out);
ApusStatus apus_tensor_from_dlpack_versioned(DLManagedTensorVersioned *tensor, ApusObject *out);
/* The receiver calls the deleter of what comes out. */
ApusStatus apus_tensor_to_dlpack(ApusObject tensor, DLManagedTensor **out);
ApusStatus apus_tensor_to_dlpack_versioned(ApusObject tensor, DLManagedTensorVersioned **out);
ApusStatus apus_tensor_copy(ApusObject source, ApusObject target);
/* bytes must be the size of the tensor; compact row-major. */
ApusStatus apus_tensor_copy_from_bytes(ApusObject tensor, const void *data, size_t bytes);
ApusStatus apus_tensor_copy_to_bytes(ApusObject tensor, void *data, size_t bytes);

ApusStatus apus_device_synchronize(DLDevice device);
/* The threads of parallel loops in this process, the calling one included. */
ApusStatus apus_set_num_threads(int32_t count);
ApusStatus apus_get_num_threads(int32_t *out);

#ifdef __cplusplus
}
#endif
#endif /* APUS_H_ */
