/* The part of LLVM's C API that the room Target uses. LLVM stays invisible outside that room. */
#ifndef APUS_CLLVM_SHIM_H_
#define APUS_CLLVM_SHIM_H_

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Comdat.h>
#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Error.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/IRReader.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/LLJITUtils.h>
#include <llvm-c/Linker.h>
#include <llvm-c/Object.h>
#include <llvm-c/Orc.h>
#include <llvm-c/OrcEE.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#if LLVM_VERSION_MAJOR < 22
#error "Apus needs LLVM 22: run scripts/bootstrap"
#endif

/* Makes every target that this LLVM was built with known, with its assembly printer and parser. */
static inline void apus_llvm_initialize_targets(void) {
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
    LLVMInitializeAllAsmParsers();
}

/* Only the host's own: quick, and enough for compiling in place. 0 on success. */
static inline int apus_llvm_initialize_native_target(void) {
    return LLVMInitializeNativeTarget() | LLVMInitializeNativeAsmPrinter() | LLVMInitializeNativeAsmParser();
}

/* The system's dl_iterate_phdr and what it tells: its own header declares them only to programs that ask for all GNU
 * extensions, which a header for Swift cannot do. */
struct apus_llvm_object {
    uintptr_t base;
    const char *name;
    const Elf64_Phdr *headers;
    uint16_t count;
};
extern int apus_llvm_iterate_objects(
    int (*callback)(struct apus_llvm_object *, size_t, void *), void *data) __asm__("dl_iterate_phdr");

/* Gives up the parts of LLVM's library that are the file's and never written. */
static inline int apus_llvm_forget_object(struct apus_llvm_object *object, size_t size, void *data) {
    (void)size;
    (void)data;
    if (!object->name || !strstr(object->name, "libLLVM")) return 0;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->count; i++) {
        const Elf64_Phdr *p = &object->headers[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W)) continue;
        uintptr_t from = (object->base + p->p_vaddr + page - 1) / page * page;
        uintptr_t to = (object->base + p->p_vaddr + p->p_filesz) / page * page;
        if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 1;
}

/* Does nothing where LLVM is no library of its own. */
static inline void apus_llvm_forget_pages(void) { apus_llvm_iterate_objects(apus_llvm_forget_object, 0); }

#endif /* APUS_CLLVM_SHIM_H_ */
