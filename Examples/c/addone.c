/* Loads a compiled operator and calls it: addone compiled_artifact.so
 *
 *   cc addone.c -I Sources/CABI/include -L .build/release -lapus_runtime -o addone
 */
#include <stdio.h>
#include <stdlib.h>

#include "apus.h"

static void check(ApusStatus status) {
    if (status == 0) return;
    fprintf(stderr, "%s\n", apus_get_last_error());
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s compiled_artifact.so\n", argv[0]);
        return 2;
    }
    ApusObject module, addone, tensor;
    check(apus_module_load(argv[1], &module));
    check(apus_module_get_function(module, "addone", 1, &addone));

    const int64_t values[3] = {1, 2, 3};
    const int64_t shape[1] = {3};
    const DLDataType int64 = {0, 64, 1};
    const DLDevice cpu = {1, 0};
    check(apus_tensor_create(shape, 1, int64, cpu, &tensor));
    check(apus_tensor_copy_from_bytes(tensor, values, sizeof values));

    ApusAny argument = {APUS_NDARRAY, 0, {.object = tensor}};
    ApusAny result;
    check(apus_function_call(addone, &argument, 1, &result));

    int64_t out[3];
    check(apus_tensor_copy_to_bytes(tensor, out, sizeof out));
    printf("[%lld %lld %lld]\n", (long long)out[0], (long long)out[1], (long long)out[2]);

    apus_any_release(&result);
    apus_object_release(tensor);
    apus_object_release(addone);
    apus_object_release(module);
    return 0;
}
