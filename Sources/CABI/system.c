#define _GNU_SOURCE
#include "apus_system.h"

#include <linux/futex.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int32_t apus_scheduled_processors(void) {
    /* The kernel refuses a set smaller than its own: grow until it accepts. */
    for (int limit = 1024; limit <= 1 << 18; limit *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)limit);
        if (!set) return 0;
        size_t size = CPU_ALLOC_SIZE((size_t)limit);
        CPU_ZERO_S(size, set);
        int status = sched_getaffinity(0, size, set);
        int count = status == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (status == 0) return count;
    }
    return 0;
}

void apus_futex_wait(uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, (void *)0, (void *)0, 0);
}

void apus_futex_wake(uint32_t *word, int32_t count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, (void *)0, (void *)0, 0);
}
