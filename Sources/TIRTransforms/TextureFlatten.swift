import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Whether memory of this scope is an image: addressed by row and column, one vector of channels a pixel.
func isTexture(_ scope: String) -> Bool { scope.hasPrefix("global.texture") }

/// The dimension of an n-dimensional array at which columns begin: rows before it, channels last.
private func columnAxis(_ scope: String, rank: Int) throws -> Int {
    switch scope {
    // Activations, all but the innermost axis in rows: best for neighbouring columns.
    case "global.texture": return rank - 2
    // Weights: one row an output channel.
    case "global.texture-weight": return 1
    // [N, H, W, C/4, 4]: rows of N * H, columns of W * C/4.
    case "global.texture-nhwc": return 2
    default:
        throw ApusError(
            "TTR064", "no such layout of a texture",
            expected: "global.texture, global.texture-weight, global.texture-nhwc",
            actual: scope)
    }
}

private final class TextureFolder: StmtExprMutator {
    private let analyzer: Analyzer
    private var images: [Buffer: (image: Buffer, axis: Int)] = [:]
    var failure: ApusError?

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    private func image(_ b: Buffer) -> (image: Buffer, axis: Int)? {
        guard isTexture(b.scope) else { return nil }
        if let known = images[b] { return known }
        do {
            guard b.rank >= 3, b.strides.isEmpty, b.elemOffset.isZero else {
                throw ApusError(
                    "TTR064", "a texture needs rows, columns and channels, compact",
                    at: ["buffer: \(b.name)"],
                    expected: "3 or more dimensions", actual: "\(b.rank)"
                ).located(b.data.span)
            }
            // Three dimensions are an image already.
            let layout = try columnAxis(b.scope, rank: b.rank)
            let axis = b.rank == 3 ? 1 : layout
            guard axis >= 1, axis < b.rank - 1 else {
                throw ApusError(
                    "TTR064", "too few dimensions for the layout", at: ["buffer: \(b.name)"], actual: b.scope
                ).located(b.data.span)
            }
            func product(_ d: ArraySlice<PrimExpr>) -> PrimExpr {
                analyzer.simplify(d.reduce(IntImm(1)) { $0 * $1 })
            }
            let shape = [
                product(b.shape[..<axis]), product(b.shape[axis..<(b.rank - 1)]), b.shape[b.rank - 1],
            ]
            let new =
                b.rank == 3 && axis == 1
                ? b : Buffer(data: b.data, dtype: b.dtype, shape: shape, name: b.name, alignment: b.alignment)
            images[b] = (image: new, axis: axis)
            return images[b]
        } catch {
            failure = failure ?? (error as? ApusError)
            return nil
        }
    }

    private func fold(_ indices: ArraySlice<PrimExpr>, _ shape: ArraySlice<PrimExpr>) -> PrimExpr {
        var sum: PrimExpr = IntImm(0)
        for (i, n) in zip(indices, shape) { sum = sum * n + i }
        return analyzer.simplify(sum)
    }

    private func indices(_ b: Buffer, _ axis: Int, _ i: [PrimExpr]) -> [PrimExpr] {
        if b.rank == 3 && axis == 1 { return i }
        return [
            fold(i[..<axis], b.shape[..<axis]), fold(i[axis..<(b.rank - 1)], b.shape[axis..<(b.rank - 1)]),
            i[b.rank - 1],
        ]
    }

    override func mutate(_ b: Buffer) -> Buffer { image(b)?.image ?? b }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let n = mutateChildrenKeepingBuffers(e)
        guard let l = n as? BufferLoad, let (new, axis) = image(l.buffer), new !== l.buffer else { return n }
        return BufferLoad(new, indices(l.buffer, axis, l.indices))
    }
    private func mutateChildrenKeepingBuffers(_ e: PrimExpr) -> PrimExpr { mapChildren(of: e) { mutate($0) } }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let store = s as? BufferStore, let (new, axis) = image(store.buffer), new !== store.buffer
        else {
            return mutateChildren(of: s)
        }
        return BufferStore(
            new, mutate(store.value), indices(store.buffer, axis, store.indices.map { mutate($0) }))
    }
}

/// Buffers of scope `global.texture` get the three dimensions that an image has: [row, column, channel]. Which axes
/// become rows depends on the layout in the scope's name. An access stays a load or store of that buffer, which code
/// generators turn into reads and writes of pixels; there are no intrinsics of its own.
/// Throws TTR064 for fewer than three dimensions. Source of the idea: TVM's TextureFlatten.
public func textureFlatten(_ f: PrimFunc) throws -> PrimFunc {
    let m = TextureFolder(shapeAnalyzer(f))
    return try f.rewritingBody { body throws(ApusError) -> Stmt in
        let new = m.mutate(body)
        if let failure = m.failure { throw failure }
        return new
    }
}
