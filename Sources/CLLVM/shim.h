/* The part of LLVM's C API that the room Target uses. LLVM stays invisible outside that room. */
#ifndef APUS_CLLVM_SHIM_H_
#define APUS_CLLVM_SHIM_H_

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

#endif /* APUS_CLLVM_SHIM_H_ */
