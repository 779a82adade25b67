import ApusCABI
import ApusRuntime
import ApusSupport
import CLLVM
import Glibc

/// Kernels in this process: compiled by LLVM's ORC JIT, or a library that the C back end built.
///
/// `apus_backend_api` of the code is filled with the runtime's table. The code lives as long as this object.
public final class JITModule: KernelProvider, @unchecked Sendable {
    private enum Code {
        case orc(LLVMOrcLLJITRef)
        case library(UnsafeMutableRawPointer)
    }
    private let code: Code
    /// Names of the kernels, in the order given.
    public let kernelNames: [String]
    private let addresses: [String: UInt]

    /// Links object files with what this process has: the C library, and functions that `call_extern` names.
    init(objects: [[UInt8]], kernels: [String]) throws {
        _ = LLVMLibrary.native
        var created: LLVMOrcLLJITRef?
        try LLVMLibrary.check(LLVMOrcCreateLLJIT(&created, LLVMOrcCreateLLJITBuilder()), "starting the JIT")
        guard let jit = created else { throw ApusError("LLVM001", "LLVM made no JIT") }
        code = .orc(jit)
        kernelNames = kernels
        var found: [String: UInt] = [:]
        do {
            let library: LLVMOrcJITDylibRef = LLVMOrcLLJITGetMainJITDylib(jit)
            var generator: LLVMOrcDefinitionGeneratorRef?
            try LLVMLibrary.check(
                LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                    &generator, LLVMOrcLLJITGetGlobalPrefix(jit), nil, nil), "looking into the process")
            LLVMOrcJITDylibAddGenerator(library, generator)
            for (i, bytes) in objects.enumerated() {
                let buffer: LLVMMemoryBufferRef? = bytes.withUnsafeBytes { raw in
                    LLVMCreateMemoryBufferWithMemoryRangeCopy(
                        raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count, "apus\(i)")
                }
                try LLVMLibrary.check(LLVMOrcLLJITAddObjectFile(jit, library, buffer), "loading code")
            }
            func address(_ symbol: String) throws -> UInt {
                var a: LLVMOrcExecutorAddress = 0
                try LLVMLibrary.check(LLVMOrcLLJITLookup(jit, &a, symbol), "linking `\(symbol)`")
                return UInt(a)
            }
            if let slot = UnsafeMutablePointer<UnsafePointer<ApusBackendAPI>?>(
                bitPattern: try address("apus_backend_api"))
            {
                slot.pointee = BackendAPI.table
            }
            for k in kernels { found[k] = try address("apus_fn_\(k)") }
        } catch {
            LLVMOrcDisposeLLJIT(jit)
            throw error
        }
        addresses = found
    }

    /// Loads a shared library made for this process only.
    init(library path: String, kernels: [String]) throws {
        guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
            throw ApusError(
                "TGT012", "the compiled library does not load", actual: dlerror().map { String(cString: $0) })
        }
        code = .library(handle)
        kernelNames = kernels
        var found: [String: UInt] = [:]
        do {
            guard let slot = dlsym(handle, "apus_backend_api") else {
                throw ApusError("TGT012", "the compiled library lacks a symbol", actual: "apus_backend_api")
            }
            slot.assumingMemoryBound(to: UnsafePointer<ApusBackendAPI>?.self).pointee = BackendAPI.table
            for k in kernels {
                guard let p = dlsym(handle, "apus_fn_\(k)") else {
                    throw ApusError("TGT012", "the compiled library lacks a symbol", actual: "apus_fn_\(k)")
                }
                found[k] = UInt(bitPattern: p)
            }
        } catch {
            dlclose(handle)
            throw error
        }
        addresses = found
    }

    deinit {
        switch code {
        case .orc(let jit): _ = LLVMOrcDisposeLLJIT(jit)
        case .library(let handle): dlclose(handle)
        }
    }

    /// The C function of the kernel, or nil.
    public func kernel(named name: String) -> ApusCFunction? {
        guard let a = addresses[name] else { return nil }
        return unsafeBitCast(a, to: ApusCFunction?.self)
    }
}
