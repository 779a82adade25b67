/* What the runtime needs from the system and Swift's Glibc does not offer. Not part of the public interface. */
#ifndef APUS_SYSTEM_H_
#define APUS_SYSTEM_H_

#include <stdint.h>

/* Processors this process may be scheduled on; 0 if the system does not say. */
int32_t apus_scheduled_processors(void);

/* Sleeps while *word == expected, until woken; may return early. */
void apus_futex_wait(uint32_t *word, uint32_t expected);

/* Wakes up to count threads that sleep on word. */
void apus_futex_wake(uint32_t *word, int32_t count);

/* A hint to the processor that this thread spins. */
static inline void apus_cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif /* APUS_SYSTEM_H_ */
