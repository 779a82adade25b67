#define _GNU_SOURCE
#include "apus_system.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Stacks beside the thread's own: deep recursion goes on upon fresh memory, and coroutines have one each. Contexts are
   switched with ucontext, on the same thread, so that thread-local state stays what it was. The idea of growing at
   chosen points is that of Rust's crate `stacker`. */

__thread uintptr_t apus_stack_limit_ __attribute__((tls_model("initial-exec"))) = 0;

/* What a function may use below the point where the check passed. */
#define APUS_STACK_MARGIN ((size_t)160 << 10)
#define APUS_SEGMENT_BYTES ((size_t)64 << 20)
#define APUS_SEGMENT_CACHE 8

uintptr_t apus_stack_find_limit(void) {
    pthread_attr_t attributes;
    uintptr_t limit = 1;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        void *low = 0;
        size_t size = 0, guard = 0;
        if (pthread_attr_getstack(&attributes, &low, &size) == 0 && low) {
            pthread_attr_getguardsize(&attributes, &guard);
            size_t margin = APUS_STACK_MARGIN < size / 2 ? APUS_STACK_MARGIN : size / 2;
            limit = (uintptr_t)low + guard + margin;
        }
        pthread_attr_destroy(&attributes);
    }
    apus_stack_limit_ = limit;
    return limit;
}

/* ---- Segments ---- */

static pthread_mutex_t segment_mutex = PTHREAD_MUTEX_INITIALIZER;
static void *segments[APUS_SEGMENT_CACHE];
static int segment_count = 0;

static void *map_stack(size_t bytes) {
    void *low = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (low == MAP_FAILED) return 0;
    mprotect(low, (size_t)getpagesize(), PROT_NONE);
    return low;
}

static void *take_segment(void) {
    void *low = 0;
    pthread_mutex_lock(&segment_mutex);
    if (segment_count > 0) low = segments[--segment_count];
    pthread_mutex_unlock(&segment_mutex);
    return low ? low : map_stack(APUS_SEGMENT_BYTES);
}

static void give_segment(void *low) {
    /* The deep part goes back to the system; what the next short use touches stays. */
    madvise((char *)low + getpagesize(), APUS_SEGMENT_BYTES - (256 << 10) - (size_t)getpagesize(), MADV_DONTNEED);
    pthread_mutex_lock(&segment_mutex);
    int kept = segment_count < APUS_SEGMENT_CACHE;
    if (kept) segments[segment_count++] = low;
    pthread_mutex_unlock(&segment_mutex);
    if (!kept) munmap(low, APUS_SEGMENT_BYTES);
}

/* ---- Switching ---- */

typedef struct {
    void (*body)(void *);
    void *argument;
} start_t;

static void start(unsigned int high, unsigned int low) {
    start_t *s = (start_t *)(((uintptr_t)high << 32) | (uintptr_t)low);
    s->body(s->argument);
}

static void prepare(ucontext_t *context, void *low, size_t bytes, ucontext_t *after, start_t *s) {
    getcontext(context);
    context->uc_stack.ss_sp = low;
    context->uc_stack.ss_size = bytes;
    context->uc_link = after;
    uintptr_t at = (uintptr_t)s;
    makecontext(context, (void (*)(void))start, 2, (unsigned int)(at >> 32), (unsigned int)at);
}

static uintptr_t limit_of(void *low, size_t bytes) {
    size_t margin = APUS_STACK_MARGIN < bytes / 2 ? APUS_STACK_MARGIN : bytes / 2;
    return (uintptr_t)low + (uintptr_t)getpagesize() + margin;
}

int32_t apus_stack_call(void (*body)(void *), void *argument) {
    void *low = take_segment();
    if (!low) return 0;
    ucontext_t here, there;
    start_t s = {body, argument};
    uintptr_t before = apus_stack_limit_;
    prepare(&there, low, APUS_SEGMENT_BYTES, &here, &s);
    apus_stack_limit_ = limit_of(low, APUS_SEGMENT_BYTES);
    swapcontext(&here, &there);
    apus_stack_limit_ = before;
    give_segment(low);
    return 1;
}

/* ---- Coroutines ---- */

struct apus_coroutine {
    ucontext_t own, resumer;
    void *low;
    size_t bytes;
    uintptr_t limit;
    start_t outer;
    start_t inner;
    int32_t done;
};

static void run_coroutine(void *raw) {
    apus_coroutine *c = raw;
    c->inner.body(c->inner.argument);
    c->done = 1;
}

apus_coroutine *apus_coroutine_make(uint64_t bytes, void (*body)(void *), void *argument) {
    size_t page = (size_t)getpagesize();
    size_t size = ((size_t)bytes + 2 * page - 1) / page * page;
    apus_coroutine *c = calloc(1, sizeof(apus_coroutine));
    if (!c) return 0;
    c->low = map_stack(size);
    if (!c->low) {
        free(c);
        return 0;
    }
    c->bytes = size;
    c->limit = limit_of(c->low, size);
    c->inner = (start_t){body, argument};
    c->outer = (start_t){run_coroutine, c};
    prepare(&c->own, c->low, size, &c->resumer, &c->outer);
    return c;
}

int32_t apus_coroutine_resume(apus_coroutine *c) {
    if (c->done) return 0;
    uintptr_t before = apus_stack_limit_;
    apus_stack_limit_ = c->limit;
    swapcontext(&c->resumer, &c->own);
    apus_stack_limit_ = before;
    return !c->done;
}

void apus_coroutine_yield(apus_coroutine *c) {
    c->limit = apus_stack_limit_;
    swapcontext(&c->own, &c->resumer);
}

void apus_coroutine_free(apus_coroutine *c) {
    munmap(c->low, c->bytes);
    free(c);
}
