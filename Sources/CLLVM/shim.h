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

/* The families of processors that Apus generates code for; those with an assembly parser are apart. scripts/bootstrap links
 * the same ones. */
#define APUS_LLVM_FAMILIES_WITH_PARSER(DO) DO(X86) DO(AArch64) DO(ARM) DO(RISCV) DO(AMDGPU) DO(WebAssembly)
#define APUS_LLVM_FAMILIES(DO) APUS_LLVM_FAMILIES_WITH_PARSER(DO) DO(NVPTX) DO(SPIRV)

/* Makes them known, with their assembly printers and parsers. */
static inline void apus_llvm_initialize_targets(void) {
#define APUS_LLVM_INITIALIZE(NAME)     \
    LLVMInitialize##NAME##TargetInfo(); \
    LLVMInitialize##NAME##Target();     \
    LLVMInitialize##NAME##TargetMC();   \
    LLVMInitialize##NAME##AsmPrinter();
    APUS_LLVM_FAMILIES(APUS_LLVM_INITIALIZE)
#undef APUS_LLVM_INITIALIZE
#define APUS_LLVM_INITIALIZE(NAME) LLVMInitialize##NAME##AsmParser();
    APUS_LLVM_FAMILIES_WITH_PARSER(APUS_LLVM_INITIALIZE)
#undef APUS_LLVM_INITIALIZE
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

/* Gives up the parts of the object with LLVM in it, a library or the program itself, that are the file's and never written. */
static inline int apus_llvm_forget_object(struct apus_llvm_object *object, size_t size, void *data) {
    (void)size;
    uintptr_t inside = (uintptr_t)data;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int found = 0;
    for (int i = 0; i < object->count; i++) {
        const Elf64_Phdr *p = &object->headers[i];
        uintptr_t start = object->base + p->p_vaddr;
        found |= p->p_type == PT_LOAD && start <= inside && inside < start + p->p_memsz;
    }
    for (int i = 0; found && i < object->count; i++) {
        const Elf64_Phdr *p = &object->headers[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W)) continue;
        uintptr_t from = (object->base + p->p_vaddr + page - 1) / page * page;
        uintptr_t to = (object->base + p->p_vaddr + p->p_filesz) / page * page;
        if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return found;
}

static inline void apus_llvm_forget_pages(void) {
    apus_llvm_iterate_objects(apus_llvm_forget_object, (void *)(uintptr_t)&LLVMGetVersion);
}

#endif /* APUS_CLLVM_SHIM_H_ */
