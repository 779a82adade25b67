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

/* The address below which the present stack counts as nearly used up; 0 = not known yet on this thread. */
extern __thread uintptr_t apus_stack_limit_ __attribute__((tls_model("initial-exec")));

/* Finds the limit of the present thread's own stack. */
uintptr_t apus_stack_find_limit(void);

/* Whether the present stack is nearly used up. */
static inline int32_t apus_stack_is_low(void) {
    uintptr_t limit = apus_stack_limit_;
    if (__builtin_expect(limit == 0, 0)) limit = apus_stack_find_limit();
    return (uintptr_t)__builtin_frame_address(0) < limit;
}

/* Runs body(argument) on a stack of its own on this thread; 0 if there is no memory for one, and it did not run. */
int32_t apus_stack_call(void (*body)(void *), void *argument);

/* A function that can pause: it runs on its own stack, on the thread that resumes it. */
typedef struct apus_coroutine apus_coroutine;

/* NULL if there is no memory for the stack. */
apus_coroutine *apus_coroutine_make(uint64_t bytes, void (*body)(void *), void *argument);

/* Runs it up to its next pause or its end; 1 if it paused. */
int32_t apus_coroutine_resume(apus_coroutine *coroutine);

/* Pauses; to be called on the coroutine's own stack, or one that grew from it. */
void apus_coroutine_yield(apus_coroutine *coroutine);

/* To be called when it has ended, or was never resumed. */
void apus_coroutine_free(apus_coroutine *coroutine);

/* A hint to the processor that this thread spins. */
static inline void apus_cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif /* APUS_SYSTEM_H_ */
