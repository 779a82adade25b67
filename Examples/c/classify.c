/* Runs a compiled image classifier and prints its five best classes: classify model.so [image.f32]
 *
 * image.f32: the input tensor's float32 values, little-endian, in its own order; without it, zeros.
 *
 *   cc classify.c -I Sources/CABI/include -L .build/release -lapus_runtime -o classify
 */
#include <stdio.h>
#include <stdlib.h>

#include "apus.h"

static void check(ApusStatus status) {
    if (status == 0) return;
    fprintf(stderr, "%s\n", apus_get_last_error());
    exit(1);
}

/* module[name](args...) */
static ApusAny call(ApusObject module, const char *name, const ApusAny *args, int32_t count) {
    ApusObject function;
    ApusAny result;
    check(apus_module_get_function(module, name, 1, &function));
    check(apus_function_call(function, args, count, &result));
    apus_object_release(function);
    return result;
}

static size_t element_count(const DLTensor *tensor) {
    size_t n = 1;
    for (int i = 0; i < tensor->ndim; i++) n *= (size_t)tensor->shape[i];
    return n;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s model.so [image.f32]\n", argv[0]);
        return 2;
    }
    ApusObject factory;
    check(apus_module_load(argv[1], &factory));

    ApusAny device = {APUS_DEVICE, 0, {.device = {1, 0}}};
    ApusAny executor = call(factory, "default", &device, 1);

    /* The input's own tensor tells the shape; what is written to it is what the model reads. */
    ApusAny zero = {APUS_INT, 0, {.i = 0}};
    ApusAny input = call(executor.v.object, "get_input", &zero, 1);
    DLTensor *image;
    check(apus_tensor_view(input.v.object, &image));
    if (argc == 3) {
        FILE *file = fopen(argv[2], "rb");
        size_t n = element_count(image);
        if (!file || image->dtype.code != 2 || image->dtype.bits != 32 || fread(image->data, 4, n, file) != n) {
            fprintf(stderr, "%s does not hold the %zu float32 values of the input\n", argv[2], n);
            return 1;
        }
        fclose(file);
    }

    call(executor.v.object, "run", NULL, 0);

    ApusAny output = call(executor.v.object, "get_output", &zero, 1);
    DLTensor *scores;
    check(apus_tensor_view(output.v.object, &scores));
    if (scores->dtype.code != 2 || scores->dtype.bits != 32) {
        fprintf(stderr, "the output is not float32\n");
        return 1;
    }
    const float *score = scores->data;
    size_t n = element_count(scores);
    size_t best[5];
    size_t found = 0;
    while (found < 5 && found < n) {
        size_t pick = n;
        for (size_t i = 0; i < n; i++) {
            int taken = 0;
            for (size_t j = 0; j < found; j++) taken |= best[j] == i;
            if (!taken && (pick == n || score[i] > score[pick])) pick = i;
        }
        best[found++] = pick;
        printf("%zu %g\n", pick, score[pick]);
    }

    apus_any_release(&output);
    apus_any_release(&input);
    apus_any_release(&executor);
    apus_object_release(factory);
    return 0;
}
