import ApusSupport
import CLLVM

/// Process-wide facts of the LLVM library. All use of LLVM goes through the folder that this file is in.
enum LLVMLibrary {
    /// Registers this machine's code generator once.
    static let native: Bool = {
        forgetPages()
        return apus_llvm_initialize_native_target() == 0
    }()
    /// Registers all code generators once; a little slower, only for foreign triples.
    static let all: Bool = {
        apus_llvm_initialize_targets()
        return true
    }()

    /// The triple of this machine.
    static let hostTriple: String = take(LLVMGetDefaultTargetTriple())
    /// The processor of this machine, as LLVM names it.
    static let hostCPU: String = take(LLVMGetHostCPUName())
    /// Every feature LLVM knows of this machine, `+name` or `-name`.
    static let hostFeatures: [String] = take(LLVMGetHostCPUFeatures()).split(separator: ",").map(String.init)
    /// `22.1.8`
    static let version: String = {
        var major: UInt32 = 0
        var minor: UInt32 = 0
        var patch: UInt32 = 0
        LLVMGetVersion(&major, &minor, &patch)
        return "\(major).\(minor).\(patch)"
    }()

    /// Gives the memory of LLVM's code and constants back to the system; what is used comes back from the file. Relocations and
    /// the initialisers of its options have touched tens of MiB that are never needed again. (LLVM lies in the program
    /// itself: breakpoints that a debugger wrote into its code before are lost.)
    static func forgetPages() { apus_llvm_forget_pages() }

    /// A message that LLVM hands over, as a String; frees it.
    static func take(_ message: UnsafeMutablePointer<CChar>?) -> String {
        guard let message else { return "" }
        defer { LLVMDisposeMessage(message) }
        return String(cString: message)
    }

    /// Throws what an LLVM call reported, if it reported something.
    static func check(_ error: LLVMErrorRef?, _ doing: String) throws {
        guard let error else { return }
        let text = LLVMGetErrorMessage(error)
        defer { LLVMDisposeErrorMessage(text) }
        throw ApusError("LLVM001", "LLVM failed while \(doing)", actual: text.map { String(cString: $0) })
    }
}

/// One LLVM module in a context of its own, so that units are compiled on several threads.
final class LLVMUnit {
    let context: LLVMContextRef
    private(set) var module: LLVMModuleRef

    /// An empty module. `name` must not depend on the machine: it is part of the object file.
    init(name: String) {
        context = LLVMContextCreate()
        module = LLVMModuleCreateWithNameInContext(name, context)
        LLVMSetSourceFileName(module, name, name.utf8.count)
    }

    /// The module of a text of LLVM IR.
    init(name: String, ir: String) throws {
        let context: LLVMContextRef = LLVMContextCreate()
        var parsed: LLVMModuleRef?
        var message: UnsafeMutablePointer<CChar>?
        let buffer = ir.withCString { LLVMCreateMemoryBufferWithMemoryRangeCopy($0, ir.utf8.count, name) }
        if LLVMParseIRInContext(context, buffer, &parsed, &message) != 0 || parsed == nil {
            LLVMContextDispose(context)
            throw ApusError("LLVM002", "LLVM IR does not parse", actual: LLVMLibrary.take(message))
        }
        guard let parsed else { internalError("no module") }
        self.context = context
        module = parsed
        LLVMSetModuleIdentifier(module, name, name.utf8.count)
        LLVMSetSourceFileName(module, name, name.utf8.count)
    }

    deinit {
        LLVMDisposeModule(module)
        LLVMContextDispose(context)
    }

    /// The text of the module.
    var text: String { LLVMLibrary.take(LLVMPrintModuleToString(module)) }

    /// Throws if the module is malformed: a bug of the code generator, with the reason that LLVM gives.
    func verify() throws {
        var message: UnsafeMutablePointer<CChar>?
        let bad = LLVMVerifyModule(module, LLVMReturnStatusAction, &message)
        let text = LLVMLibrary.take(message)
        if bad != 0 {
            throw ApusError(
                "LLVM003", "the generated LLVM module is malformed", actual: text,
                hint: "this is a bug of the code generator: please report it with the function")
        }
    }
}

/// LLVM's code generator for one target. Not for several threads at a time: make one a thread.
final class LLVMTargetMachine {
    let machine: LLVMTargetMachineRef
    let triple: String
    let layout: LLVMTargetDataRef

    init(_ target: Target, optLevel: Int? = nil) throws {
        let triple = target.mtriple
        _ = triple == LLVMLibrary.hostTriple ? LLVMLibrary.native : LLVMLibrary.all
        var found: LLVMTargetRef?
        var message: UnsafeMutablePointer<CChar>?
        guard LLVMGetTargetFromTriple(triple, &found, &message) == 0, let found else {
            throw ApusError(
                "TGT008", "LLVM cannot generate code for the triple `\(triple)`",
                at: ["target: \(target.kindName)"],
                actual: LLVMLibrary.take(message))
        }
        let level: LLVMCodeGenOptLevel
        switch optLevel ?? target.int("opt-level") ?? 3 {
        case 0: level = LLVMCodeGenLevelNone
        case 1: level = LLVMCodeGenLevelLess
        case 2: level = LLVMCodeGenLevelDefault
        default: level = LLVMCodeGenLevelAggressive
        }
        let options = LLVMCreateTargetMachineOptions()
        defer { LLVMDisposeTargetMachineOptions(options) }
        LLVMTargetMachineOptionsSetCPU(options, target.mcpu)
        LLVMTargetMachineOptionsSetFeatures(options, target.mattr.joined(separator: ","))
        if let abi = target.string("mabi") { LLVMTargetMachineOptionsSetABI(options, abi) }
        LLVMTargetMachineOptionsSetCodeGenOptLevel(options, level)
        LLVMTargetMachineOptionsSetRelocMode(options, LLVMRelocPIC)
        guard let machine = LLVMCreateTargetMachineWithOptions(found, triple, options) else {
            throw ApusError("TGT008", "LLVM cannot generate code for `\(target)`")
        }
        self.machine = machine
        self.triple = triple
        layout = LLVMCreateTargetDataLayout(machine)
    }

    deinit {
        LLVMDisposeTargetData(layout)
        LLVMDisposeTargetMachine(machine)
    }

    /// Gives the unit this machine's triple and data layout.
    func prepare(_ unit: LLVMUnit) {
        LLVMSetTarget(unit.module, triple)
        LLVMSetModuleDataLayout(unit.module, layout)
    }

    /// Runs a pipeline of the new pass manager, such as `default<O2>`, over the unit.
    func optimize(_ unit: LLVMUnit, pipeline: String) throws {
        let options = LLVMCreatePassBuilderOptions()
        defer { LLVMDisposePassBuilderOptions(options) }
        LLVMPassBuilderOptionsSetLoopVectorization(options, 1)
        LLVMPassBuilderOptionsSetSLPVectorization(options, 1)
        try LLVMLibrary.check(LLVMRunPasses(unit.module, pipeline, machine, options), "running `\(pipeline)`")
    }

    /// Machine code: an object file, or assembly text.
    func emit(_ unit: LLVMUnit, assembly: Bool = false) throws -> [UInt8] {
        prepare(unit)
        var buffer: LLVMMemoryBufferRef?
        var message: UnsafeMutablePointer<CChar>?
        let kind = assembly ? LLVMAssemblyFile : LLVMObjectFile
        guard LLVMTargetMachineEmitToMemoryBuffer(machine, unit.module, kind, &message, &buffer) == 0,
            let buffer
        else {
            throw ApusError("LLVM004", "LLVM could not emit machine code", actual: LLVMLibrary.take(message))
        }
        defer { LLVMDisposeMemoryBuffer(buffer) }
        let start = UnsafeRawPointer(LLVMGetBufferStart(buffer))
        return [UInt8](UnsafeRawBufferPointer(start: start, count: LLVMGetBufferSize(buffer)))
    }
}
