import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// A copy of a box between two buffers, as `injectCopyIntrin` finds it: dimension `d` of the loops runs over
/// `extents[d]` elements with strides of its own on each side.
public struct CopyRegion: Sendable {
    /// Where to read from: strides and element offset as the loops have them; with padding, of the inner box.
    public let source: Buffer
    /// Where to write to.
    public let destination: Buffer
    /// Elements of padding in front of and behind the source, a dimension; empty = none.
    public let padBefore: [PrimExpr]
    public let padAfter: [PrimExpr]
    /// What padding holds; nil = no padding.
    public let padValue: PrimExpr?
}

/// What replaces a copy.
public typealias CopyIntrin = @Sendable (CopyRegion) throws -> Stmt

private struct CopyMatcher {
    let analyzer: Analyzer
    private var loops: [For] = []

    init(_ analyzer: Analyzer) { self.analyzer = analyzer }

    /// nil where the statement is no copy.
    mutating func match(_ s: Stmt) -> CopyRegion? {
        var s = s
        while let loop = s as? For, loop.forKind != .threadBinding {
            loops.append(loop)
            s = loop.body
        }
        guard let store = s as? BufferStore, store.indices.allSatisfy({ $0.dtype == .index }) else {
            return nil
        }
        var value = store.value
        if let c = value as? Cast, c.dtype == c.value.dtype { value = c.value }
        var condition: PrimExpr?
        var padValue: PrimExpr?
        if let c = value as? Call, c.name == "tir.if_then_else" {
            condition = c.args[0]
            value = c.args[1]
            padValue = c.args[2]
        } else if let c = value as? Select {
            condition = c.condition
            value = c.trueValue
            padValue = c.falseValue
        }
        let variables = Set(loops.map(\.loopVar))
        guard let load = value as? BufferLoad, load.dtype == store.value.dtype,
            load.indices.allSatisfy({ $0.dtype == .index }),
            padValue.map({ !uses($0, variables) && !touchesState($0) }) ?? true,
            loops.allSatisfy({ !uses($0.min, variables) && !uses($0.extent, variables) })
        else { return nil }
        for loop in loops { analyzer.bind(loop.loopVar, interval(of: loop)) }
        guard let from = place(load.buffer, load.indices), let to = place(store.buffer, store.indices) else {
            return nil
        }
        var before: [PrimExpr] = []
        var after: [PrimExpr] = []
        var extents = loops.map(\.extent)
        var start = from.offset
        if let condition {
            guard let window = window(condition) else { return nil }
            for (d, w) in window.enumerated() {
                before.append(analyzer.simplify(w.lo - loops[d].min))
                after.append(analyzer.simplify(loops[d].min + loops[d].extent - w.hi))
                extents[d] = analyzer.simplify(w.hi - w.lo)
                start = start + before[d] * from.strides[d]
            }
        }
        return CopyRegion(
            source: view(load.buffer, extents, from.strides, start),
            destination: view(store.buffer, loops.map(\.extent), to.strides, to.offset),
            padBefore: before, padAfter: after, padValue: padValue)
    }

    private func view(_ b: Buffer, _ shape: [PrimExpr], _ strides: [PrimExpr], _ offset: PrimExpr) -> Buffer {
        Buffer(
            data: b.data, dtype: b.dtype, shape: shape.isEmpty ? [IntImm(1)] : shape,
            strides: strides.isEmpty ? [IntImm(1)] : strides, elemOffset: analyzer.simplify(offset),
            name: b.name,
            alignment: b.alignment)
    }

    /// Element stride of each loop, and the offset of the first element.
    private func place(_ b: Buffer, _ indices: [PrimExpr]) -> (strides: [PrimExpr], offset: PrimExpr)? {
        var flat = b.elemOffset
        for (i, s) in zip(indices, flatStrides(b)) { flat = flat + i * s }
        var strides: [PrimExpr] = []
        let variables = Set(loops.map(\.loopVar))
        var rest = flat
        for loop in loops {
            // The difference of two neighbours, if it is the same everywhere.
            let next = substitute(flat, [loop.loopVar: loop.loopVar + 1])
            let stride = analyzer.simplify(next - flat)
            if uses(stride, variables) { return nil }
            strides.append(stride)
            rest = substitute(rest, [loop.loopVar: loop.min])
        }
        let offset = analyzer.simplify(rest)
        return uses(offset, variables) || touchesState(offset) ? nil : (strides, offset)
    }

    /// For each loop, the part in which the condition holds; nil if it is not such a box.
    private func window(_ condition: PrimExpr) -> [(lo: PrimExpr, hi: PrimExpr)]? {
        var result = loops.map { (lo: $0.min, hi: analyzer.simplify($0.min + $0.extent)) }
        for c in conjuncts(condition) {
            let used = loops.indices.filter { uses(c, [loops[$0].loopVar]) }
            guard used.count == 1, let d = used.first, let s = analyzer.solve(c, for: loops[d].loopVar) else {
                return nil
            }
            if let lo = s.lower { result[d].lo = analyzer.simplify(maximum(result[d].lo, lo)) }
            if let hi = s.upper { result[d].hi = analyzer.simplify(minimum(result[d].hi, hi + 1)) }
        }
        return result
    }
}

/// Replaces copies marked with the pragma `key` by what `intrin` makes of them: a `T.attr(node, "pragma_<key>", …)`
/// around, or an annotation `pragma_<key>` on the outermost of, loops that store one element of one buffer in another,
/// possibly with a constant where a condition on single loop variables fails (padding, by `if_then_else` or `Select`).
/// Throws TTR031 for a marked statement that is no copy. (TVM's InjectCopyIntrin.)
public func injectCopyIntrin(_ f: PrimFunc, key: String, _ intrin: CopyIntrin) throws -> PrimFunc {
    let name = "pragma_\(key)"
    let analyzer = shapeAnalyzer(f)
    func replaced(_ s: Stmt) throws -> Stmt {
        var matcher = CopyMatcher(analyzer)
        guard let region = matcher.match(s) else {
            throw ApusError(
                "TTR031", "the statement marked with \(name) is no copy",
                expected: "loops over one store of one element, plain or padded", actual: "\(s)"
            ).located(s.span)
        }
        return try intrin(region)
    }
    func rewrite(_ s: Stmt) throws -> Stmt {
        if let a = s as? AttrStmt, a.key == name { return try replaced(a.body) }
        if let loop = s as? For {
            if loop.annotations[name] != nil {
                return try replaced(loop.with(annotations: loop.annotations.removing(name)))
            }
            analyzer.bind(loop.loopVar, interval(of: loop))
        }
        return try mapChildren(of: s, expr: { $0 }, stmt: { try rewrite($0) })
    }
    return try f.rewritingBody { (s: Stmt) throws -> Stmt in try rewrite(s) }
}

extension TIRPasses {
    /// The pass for one key and one replacement.
    public static func injectCopyIntrin(_ key: String, _ intrin: @escaping CopyIntrin) -> FunctionPass<
        PrimFunc
    > {
        primFuncPass(PassInfo("tir.InjectCopyIntrin", "copies marked with `pragma_\(key)` become calls")) {
            f, _, _ in
            try ApusTIRTransforms.injectCopyIntrin(f, key: key, intrin)
        }
    }
}
