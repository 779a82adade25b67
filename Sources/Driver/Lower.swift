import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import ApusTarget

/// Lowers one scheduled loop function to what code generators take: no blocks, one-dimensional accesses, vectors as
/// `Ramp` and `Broadcast`, loops serial or parallel only, allocations as `Allocate`. A function already lowered
/// comes out equivalent. Errors: TTR001 (a view that does not fit), LOW001 (a construct that has no lowered form).
public func lower(_ f: PrimFunc, context: PassContext = PassContext()) throws -> PrimFunc {
    let name = f.globalSymbol ?? "main"
    let module = IRModule([(global: GlobalVar(name), function: f)])
    guard let result = try lowerModule(module, context: context).functions.first as? PrimFunc else {
        internalError("lowering lost the function")
    }
    return result
}

/// What loop passes must know of the target. Without multiply-adds of its own a target would call the library for each.
public func loweringConfig(_ target: Target) -> [String: AttrValue] { ["tir.use_fma": .bool(target.hasFMA)] }

/// Lowers every loop function of a module; graph functions are left alone. Runs on a large stack.
public func lowerModule(_ module: IRModule, context: PassContext = PassContext()) throws -> IRModule {
    try withLargeStack { () throws -> IRModule in
        let lowered = try Sequential("lower", TIRPasses.lowering).run(module, context)
        for (global, function) in lowered.definitions {
            guard let f = function as? PrimFunc else { continue }
            try within("function: @\(global.name)") { try verifyLowered(f) }
        }
        return lowered
    }
}

/// Throws LOW001 for what must not be in a lowered function, naming the first offender.
public func verifyLowered(_ f: PrimFunc) throws {
    var problem: String?
    postOrderVisit(
        f.body,
        expr: { e in
            if e.kind == .producerLoad || e.kind == .reduce {
                problem = problem ?? "a tensor expression (\(e.kind))"
            }
            if let load = e as? BufferLoad, load.indices.count != 1 {
                problem = problem ?? "an access of \(load.buffer.name) with \(load.indices.count) indices"
            }
        },
        stmt: { s in
            switch s.stmtKind {
            case .block, .blockRealize: problem = problem ?? "a block"
            case .forLoop:
                let loop = unsafeDowncast(s, to: For.self)
                if loop.forKind == .vectorized || loop.forKind == .unrolled {
                    problem = problem ?? "a loop of kind \(loop.forKind.rawValue)"
                }
            case .bufferStore:
                let store = unsafeDowncast(s, to: BufferStore.self)
                if store.indices.count != 1 {
                    problem =
                        problem ?? "an access of \(store.buffer.name) with \(store.indices.count) indices"
                }
            default: break
            }
        })
    guard let problem else { return }
    throw ApusError(
        "LOW001", "the function cannot be lowered: it still contains \(problem)",
        hint:
            "tensor expressions become blocks by createPrimFunc; a disabled lowering pass leaves its input as it is"
    )
}
