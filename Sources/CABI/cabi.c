#include "apus.h"

/* The layouts that generated code and bindings in other languages rely on. */
_Static_assert(sizeof(ApusAny) == 16, "ApusAny is two words");
_Static_assert(offsetof(ApusAny, v) == 8, "the value follows the tag");
_Static_assert(sizeof(DLTensor) == 48, "DLTensor as in DLPack");
_Static_assert(offsetof(DLTensor, shape) == 24, "DLTensor as in DLPack");
_Static_assert(offsetof(DLTensor, strides) == 32, "DLTensor as in DLPack");
_Static_assert(offsetof(DLTensor, byte_offset) == 40, "DLTensor as in DLPack");
