import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

typealias LV = LLVMValueRef
typealias LT = LLVMTypeRef

/// Lowered TIR to LLVM IR, in memory: one instance a module.
///
/// Every kernel becomes `apus_fn_<name>` (checks and unpacks the arguments) and an internal body whose
/// pointers are parameters, because `noalias` is a property of parameters. A parallel loop becomes a task of
/// the same shape, called through `parallel_launch`. Floating arithmetic may be contracted to multiply-adds
/// and nothing else. float16 and bfloat16 live in integer registers and are computed in float32, rounded
/// after each operation. The scheme of wrapper, body and outlined tasks follows TVM's `CodeGenCPU`.
final class CodeGenLLVM {
    /// State of the LLVM function that is being written.
    struct Frame {
        var function: LV!
        /// Holds the stack allocations; gets its branch to the code when the function is complete.
        var entry: LLVMBasicBlockRef!
        var returnsTo: LLVMBasicBlockRef!
        var values: [ObjectIdentifier: LV] = [:]
        /// Variables in scope, in order of definition: what a task captures must not depend on hashing.
        var order: [Var] = []
        /// Data pointers of memory that was allocated here, hence aligned.
        var aligned: Set<ObjectIdentifier> = []
        /// Data pointers.
        var pointers: Set<ObjectIdentifier> = []
        var facts = IndexFacts()
        /// Workspaces to free when the function is left.
        var workspaces: [LV] = []
        /// Memory taken before a loop for allocations inside it.
        var hoisted: [ObjectIdentifier: LV] = [:]
        var stackBytes = 0
        var loopDepth = 0
        var insideParallel = false
        /// Lanes that are active, if not all.
        var mask: LV?
    }

    let unit: LLVMUnit
    let context: LLVMContextRef
    let module: LLVMModuleRef
    let builder: LLVMBuilderRef
    let hasHalf: Bool
    /// The products of words that the target has instructions for.
    let dots: Set<DotProduct>
    /// Whether reading costs no more where elements are not aligned.
    let readsUnaligned: Bool
    let i1, i8, i16, i32, i64, half, bfloat, float, double, ptr, void: LT
    let api: LV
    var frame = Frame()
    var kernel = ""
    var noAlias = false
    /// Whether a rounding to bfloat16 may take subnormal numbers for zero, as the processors' instruction does.
    var flushesBFloat = false
    var taskCount = 0
    /// Set while an affine index is generated: its additions cannot wrap.
    var noWrap = false
    var strings: [String: LV] = [:]
    /// Largest allocation that goes to the stack, in bytes.
    static let stackLimit = 16 << 10
    /// Largest sum of stack allocations of a function, in bytes: threads of the pool have small stacks.
    static let stackTotal = 128 << 10

    /// `definesAPI`: this module holds the variable `apus_backend_api`; the others of a library refer to it.
    init(
        name: String, hasHalf: Bool, dots: Set<DotProduct>, readsUnaligned: Bool, definesAPI: Bool
    ) throws {
        let ir =
            (definesAPI
                ? "@apus_backend_api = global ptr null\n" : "@apus_backend_api = external global ptr\n")
            + KernelPrelude.ir + KernelPrelude.irReport
        unit = try LLVMUnit(name: name, ir: ir)
        context = unit.context
        module = unit.module
        builder = LLVMCreateBuilderInContext(context)
        self.hasHalf = hasHalf
        self.dots = dots
        self.readsUnaligned = readsUnaligned
        i1 = LLVMInt1TypeInContext(context)
        i8 = LLVMInt8TypeInContext(context)
        i16 = LLVMInt16TypeInContext(context)
        i32 = LLVMInt32TypeInContext(context)
        i64 = LLVMInt64TypeInContext(context)
        half = LLVMHalfTypeInContext(context)
        bfloat = LLVMBFloatTypeInContext(context)
        float = LLVMFloatTypeInContext(context)
        double = LLVMDoubleTypeInContext(context)
        ptr = LLVMPointerTypeInContext(context, 0)
        void = LLVMVoidTypeInContext(context)
        api = LLVMGetNamedGlobal(module, "apus_backend_api")
    }

    deinit { LLVMDisposeBuilder(builder) }

    // MARK: Types and constants

    /// The type of a value in registers.
    func type(_ t: DataType) throws -> LT {
        let scalar: LT
        switch (t.code, t.bits) {
        case (.int, 8), (.uint, 8): scalar = i8
        case (.int, 16), (.uint, 16), (.float, 16), (.bfloat, 16): scalar = i16
        case (.int, 32), (.uint, 32): scalar = i32
        case (.int, 64), (.uint, 64): scalar = i64
        case (.uint, 1): scalar = i1
        case (.float, 32): scalar = float
        case (.float, 64): scalar = double
        case (.handle, 64): scalar = ptr
        default:
            throw ApusError(
                "TGT021", "LLVM code cannot hold values of type \(t)", at: ["kernel: \(kernel)"],
                expected: "int8…int64, uint8…uint64, bool, float16, bfloat16, float32, float64, handle")
        }
        return t.lanes > 1 ? LLVMVectorType(scalar, UInt32(t.lanes)) : scalar
    }

    /// The type of a value in memory: as in registers, except that a bool takes a byte.
    func memoryType(_ t: DataType) throws -> LT {
        t.isBool ? (t.lanes > 1 ? LLVMVectorType(i8, UInt32(t.lanes)) : i8) : try type(t)
    }

    func wide(_ scalar: LT, _ lanes: Int) -> LT { lanes > 1 ? LLVMVectorType(scalar, UInt32(lanes)) : scalar }
    func index(_ n: Int) -> LV { LLVMConstInt(i64, UInt64(bitPattern: Int64(n)), 1) }
    func int32(_ n: Int) -> LV { LLVMConstInt(i32, UInt64(bitPattern: Int64(n)), 1) }

    /// A constant of an integer type (scalar or vector) of this width.
    func constant(_ n: Int, _ type: LT) -> LV {
        guard LLVMGetTypeKind(type) == LLVMVectorTypeKind else {
            return LLVMConstInt(type, UInt64(bitPattern: Int64(n)), 1)
        }
        return splatConstant(LLVMConstInt(LLVMGetElementType(type), UInt64(bitPattern: Int64(n)), 1), type)
    }

    /// A constant of a floating type (scalar or vector).
    func real(_ x: Double, _ type: LT) -> LV {
        guard LLVMGetTypeKind(type) == LLVMVectorTypeKind else { return LLVMConstReal(type, x) }
        return splatConstant(LLVMConstReal(LLVMGetElementType(type), x), type)
    }

    private func splatConstant(_ scalar: LV, _ type: LT) -> LV {
        var parts: [LV?] = Array(repeating: scalar, count: Int(LLVMGetVectorSize(type)))
        return LLVMConstVector(&parts, UInt32(parts.count))
    }

    /// A null-terminated text.
    func string(_ text: String) -> LV {
        if let known = strings[text] { return known }
        let bytes = LLVMConstStringInContext2(context, text, text.utf8.count, 0)
        let global: LV = LLVMAddGlobal(module, LLVMTypeOf(bytes), "")
        LLVMSetInitializer(global, bytes)
        LLVMSetGlobalConstant(global, 1)
        LLVMSetLinkage(global, LLVMPrivateLinkage)
        LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr)
        strings[text] = global
        return global
    }

    // MARK: Functions and blocks

    func block(_ name: String = "") -> LLVMBasicBlockRef {
        LLVMAppendBasicBlockInContext(context, frame.function, name)
    }
    func position(_ block: LLVMBasicBlockRef) { LLVMPositionBuilderAtEnd(builder, block) }
    var currentBlock: LLVMBasicBlockRef { LLVMGetInsertBlock(builder) }

    func functionType(_ result: LT, _ params: [LT], variadic: Bool = false) -> LT {
        var list: [LT?] = params
        return LLVMFunctionType(result, &list, UInt32(params.count), variadic ? 1 : 0)
    }

    func call(_ type: LT, _ function: LV, _ args: [LV]) -> LV {
        var list: [LV?] = args
        return LLVMBuildCall2(builder, type, function, &list, UInt32(args.count), "")
    }

    /// The C function of this name and type.
    func external(_ name: String, _ type: LT) throws -> LV {
        if let known = LLVMGetNamedFunction(module, name) {
            guard LLVMGlobalGetValueType(known) == type else {
                throw ApusError(
                    "TGT022", "the C function `\(name)` is called with different types",
                    at: ["kernel: \(kernel)"])
            }
            return known
        }
        return LLVMAddFunction(module, name, type)
    }

    /// The LLVM intrinsic overloaded on `types`.
    func intrinsic(_ name: String, _ types: [LT], _ args: [LV]) -> LV {
        let id = LLVMLookupIntrinsicID(name, name.utf8.count)
        if id == 0 { internalError("LLVM has no intrinsic \(name)") }
        var list: [LT?] = types
        let function: LV = LLVMGetIntrinsicDeclaration(module, id, &list, types.count)
        return call(LLVMGlobalGetValueType(function), function, args)
    }

    func attribute(_ name: String, _ value: UInt64 = 0) -> LLVMAttributeRef {
        LLVMCreateEnumAttribute(context, LLVMGetEnumAttributeKindForName(name, name.utf8.count), value)
    }

    func addAttribute(_ function: LV, _ name: String, at index: Int? = nil, _ value: UInt64 = 0) {
        // Parameter i has index i + 1; the function itself has the largest.
        LLVMAddAttributeAtIndex(function, index.map { UInt32($0 + 1) } ?? UInt32.max, attribute(name, value))
    }

    /// Starts an internal function; `finish` completes it.
    func begin(_ function: LV) -> Frame {
        let saved = frame
        let entry: LLVMBasicBlockRef = LLVMAppendBasicBlockInContext(context, function, "entry")
        let start: LLVMBasicBlockRef = LLVMAppendBasicBlockInContext(context, function, "start")
        frame = Frame(function: function, entry: entry, returnsTo: start)
        addAttribute(function, "nounwind")
        position(start)
        return saved
    }

    func finish(_ saved: Frame, at outer: LLVMBasicBlockRef?) {
        position(frame.entry)
        LLVMBuildBr(builder, frame.returnsTo)
        frame = saved
        if let outer { position(outer) }
    }

    func define(_ v: Var, _ value: LV) {
        frame.values[ObjectIdentifier(v)] = value
        frame.order.append(v)
    }

    /// Defines a variable for the time of `body` only.
    func scoped<R>(_ v: Var, _ value: LV, _ body: () throws -> R) rethrows -> R {
        let key = ObjectIdentifier(v)
        let shadowed = frame.values[key]
        define(v, value)
        let result = try body()
        frame.values[key] = shadowed
        frame.order.removeLast()
        return result
    }

    /// Memory on the stack, taken once when the function is entered.
    func alloca(_ type: LT, alignment: Int = 0) -> LV {
        let here = currentBlock
        position(frame.entry)
        let p: LV = LLVMBuildAlloca(builder, type, "")
        if alignment > 0 { LLVMSetAlignment(p, UInt32(alignment)) }
        position(here)
        return p
    }

    /// A pointer `bytes` further.
    func offset(_ p: LV, bytes: Int) -> LV { gep(i8, p, index(bytes)) }

    func gep(_ element: LT, _ p: LV, _ i: LV) -> LV {
        var indices: [LV?] = [i]
        return LLVMBuildInBoundsGEP2(builder, element, p, &indices, 1, "")
    }

    func load(_ type: LT, _ p: LV) -> LV { LLVMBuildLoad2(builder, type, p, "") }

    /// Entry `i` of the table of the runtime.
    func apiFunction(_ i: Int) -> LV { load(ptr, offset(load(ptr, api), bytes: 8 * i)) }

    func setError(_ code: String, _ message: String) {
        _ = call(functionType(void, [ptr, ptr]), apiFunction(3), [string(code), string(message)])
    }

    func freeWorkspace(_ p: LV) { _ = call(functionType(void, [ptr]), apiFunction(2), [p]) }

    /// Leaves the function with a status, giving back all workspaces.
    func leave(_ status: LV) {
        for p in frame.workspaces.reversed() { freeWorkspace(p) }
        LLVMBuildRet(builder, status)
    }

    /// Goes on only where `ok` holds; otherwise runs `failure` and leaves with -1.
    func require(_ ok: LV, _ failure: () -> Void) {
        let bad = block()
        let good = block()
        branch(ok, good, bad, likely: true)
        position(bad)
        failure()
        leave(int32(-1))
        position(good)
    }

    /// A conditional branch; `likely` tells which way is usual.
    func branch(_ condition: LV, _ yes: LLVMBasicBlockRef, _ no: LLVMBasicBlockRef, likely: Bool = false) {
        let br: LV = LLVMBuildCondBr(builder, condition, yes, no)
        guard likely else { return }
        let name: LLVMMetadataRef = LLVMMDStringInContext2(context, "branch_weights", 14)
        var parts: [LLVMMetadataRef?] = [
            name, LLVMValueAsMetadata(int32(2000)), LLVMValueAsMetadata(int32(1)),
        ]
        let node = LLVMMDNodeInContext2(context, &parts, 3)
        let kind = LLVMGetMDKindIDInContext(context, "prof", 4)
        LLVMSetMetadata(br, kind, LLVMMetadataAsValue(context, node))
    }
}
