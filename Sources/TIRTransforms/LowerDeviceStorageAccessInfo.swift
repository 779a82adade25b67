import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class StorageAccessLowerer: StmtExprMutator {
    private let memories: [String: MemoryInfo]
    private let analyzer: Analyzer
    var failure: ApusError?

    init(_ memories: [String: MemoryInfo], _ analyzer: Analyzer) {
        self.memories = memories
        self.analyzer = analyzer
    }

    private func fail(_ e: ApusError) { failure = failure ?? e }

    private var views: [(data: Var, type: DataType, buffer: Buffer)] = []

    /// Memory behind a pointer as elements of `type`, as many as any address may name: whose it is knows how many.
    private func view(_ data: Var, _ type: DataType) -> Buffer {
        if let known = views.first(where: { $0.data === data && $0.type == type }) { return known.buffer }
        let b = Buffer(data: data, dtype: type, shape: [IntImm(1 << 40)], name: data.name)
        views.append((data: data, type: type, buffer: b))
        return b
    }

    private func pointer(_ units: PrimExpr) -> PrimExpr {
        intrinsic("reinterpret", .handle, [cast(.int64, units)])
    }

    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let a = n as? Allocate, let info = memories[a.buffer.scope] else { return n }
        guard let count = constantProduct(a.buffer.shape) else {
            fail(
                ApusError(
                    "TTR062", "memory of an accelerator needs a constant size",
                    at: ["buffer: \(a.buffer.name)"],
                    actual: "\(a.buffer.shape)"
                ).located(s.span))
            return n
        }
        let bits = count * Int(a.buffer.dtype.bits) * Int(a.buffer.dtype.lanes)
        if info.maxBytes > 0, bits > 8 * info.maxBytes {
            fail(
                ApusError(
                    "TTR062", "an allocation exceeds the memory \(a.buffer.scope)",
                    at: ["buffer: \(a.buffer.name)"],
                    expected: "at most \(8 * info.maxBytes) bits", actual: "\(bits) bits"
                ).located(s.span))
        }
        return info.headAddress.map { LetStmt(a.buffer.data, pointer(IntImm($0)), a.body) } ?? n
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildren(of: e)
        guard let c = n as? Call, c.name == "tir.access_ptr", c.args.count == 5, let data = c.args[1] as? Var
        else {
            return n
        }
        let type = c.args[0].dtype
        let offset = c.args[2]
        let scope = (data.type as? PointerType)?.storageScope ?? ""
        guard let info = memories[scope] else {
            return intrinsic("address_of", .handle, [BufferLoad(view(data, type), [offset])])
        }
        let bits = Int(type.bits) * Int(type.lanes)
        guard bits > 0, 8 * info.unitBytes % bits == 0 else {
            fail(
                ApusError(
                    "TTR062", "elements do not fill the units of \(scope)", at: ["buffer: \(data.name)"],
                    expected: "a divisor of \(8 * info.unitBytes) bits", actual: "\(bits) bits"
                ).located(e.span))
            return n
        }
        let units = analyzer.simplify(floorDiv(offset, 8 * info.unitBytes / bits))
        return pointer(units + (info.headAddress ?? 0))
    }
}

/// `access_ptr` becomes an address: in a memory that `memories` describes (by scope) the number of a unit, elsewhere
/// `address_of` an element. Allocations in such memory are held against its size and, where it has a head address, become
/// that address. Throws TTR062. Source of the idea: TVM's LowerDeviceStorageAccessInfo.
public func lowerDeviceStorageAccessInfo(_ f: PrimFunc, _ memories: [String: MemoryInfo]) throws -> PrimFunc {
    let m = StorageAccessLowerer(memories, shapeAnalyzer(f))
    return try f.rewritingBody { body throws(ApusError) -> Stmt in
        let new = m.mutate(body)
        if let failure = m.failure { throw failure }
        return new
    }
}
