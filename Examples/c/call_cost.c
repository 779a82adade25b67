/* Measures what a call of a packed function costs from C, in nanoseconds.
 *
 *   cc -O2 call_cost.c -I Sources/CABI/include -L .build/release -lapus_runtime -o call_cost
 */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#include "apus.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int32_t add_one(void *self, const ApusAny *args, int32_t count, ApusAny *result) {
    (void)self;
    (void)count;
    result->type_index = APUS_INT;
    result->v.i = args[0].v.i + 1;
    return 0;
}

static void measure(const char *name, ApusObject function, const ApusAny *args, int32_t count) {
    enum { CALLS = 1000000, ROUNDS = 7 };
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < CALLS; i++) {
            ApusAny result;
            apus_function_call(function, args, count, &result);
        }
        double each = (now() - start) / CALLS;
        if (each < best) best = each;
    }
    printf("%-32s %6.1f ns\n", name, best);
}

int main(void) {
    ApusObject c_function, size_of, item_of, array;
    ApusAny three = {APUS_INT, 0, {.i = 3}};
    if (apus_function_create("add_one", add_one, NULL, NULL, &c_function) ||
        apus_array_create(&three, 1, &array) || apus_function_get_global("ffi.ArraySize", &size_of) ||
        apus_function_get_global("ffi.ArrayGetItem", &item_of)) {
        fprintf(stderr, "%s\n", apus_get_last_error());
        return 1;
    }
    ApusAny arguments[2] = {{APUS_ARRAY, 0, {.object = array}}, {APUS_INT, 0, {.i = 0}}};
    measure("C function (int) -> int", c_function, &three, 1);
    measure("Swift closure (Array) -> int", size_of, arguments, 1);
    measure("Swift closure (Array, int) -> any", item_of, arguments, 2);
    return 0;
}
