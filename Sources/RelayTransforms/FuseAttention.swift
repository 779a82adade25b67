import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR

/// Makes one operator `nn.attention` of a product of queries and keys, the softmax of its rows and the product with values,
/// as models are exported: with the scale at the scores, at the queries or at both operands, masks added or chosen, keys and
/// values shared by groups of heads.
///
/// Operands are read where they lie, through `nn.contrib_strided_view`: the heads of one dense layer, parts of one that makes
/// queries, keys and values, transpositions and repetitions cost nothing. The transposition behind it becomes the order of its
/// result's axes. A mask in which every key behind a row's own is hidden, and no other, becomes the attribute `causal`, and
/// what it hides is not computed.
///
/// - Parameter pays: whether one kernel for all of it is faster than one for each part.
public func fuseAttention(pays: @escaping @Sendable (AttentionQuestion) -> Bool) -> some Pass {
    FunctionPass<Relay.Function>(
        PassInfo("FuseAttention", "products, softmax and products become attention", level: 2)
    ) { function, _, _ in
        var fusion = AttentionFusion(uses: Relay.useCounts(function.body), pays: pays)
        let body = try Relay.rewrite(function.body, intoFunctions: false) { old, new in
            let result = try fusion.visit(old) ?? new
            fusion.done[ObjectIdentifier(old)] = result
            return result
        }
        return body === function.body ? function : try function.with(body: body)
    }
}

/// Attention that one kernel could compute.
public struct AttentionQuestion: Sendable {
    /// Of the stack of matrices.
    public let outer: [Int]
    public let rows: Int
    public let keys: Int
    /// Elements of a query and of a key.
    public let depth: Int
    /// Elements of a value.
    public let width: Int
}

private struct AttentionFusion {
    let uses: [ObjectIdentifier: Int]
    let pays: @Sendable (AttentionQuestion) -> Bool
    /// What each expression became.
    var done: [ObjectIdentifier: RelayExpr] = [:]
    /// Products that became attention.
    private var fused: [ObjectIdentifier: Relay.Call] = [:]

    init(uses: [ObjectIdentifier: Int], pays: @escaping @Sendable (AttentionQuestion) -> Bool) {
        self.uses = uses
        self.pays = pays
    }

    mutating func visit(_ old: RelayExpr) throws -> RelayExpr? {
        guard let call = old as? Relay.Call else { return nil }
        switch call.opName {
        case "nn.batch_matmul": return try attention(call)
        case "transpose": return try reordered(call)
        default: return nil
        }
    }

    /// What an expression of the old graph is in the new one.
    private func mapped(_ old: RelayExpr) -> RelayExpr { done[ObjectIdentifier(old)] ?? old }

    private func isOnlyUse(_ e: RelayExpr) -> Bool { uses[ObjectIdentifier(e)] == 1 }

    // MARK: The pattern

    /// Scores before the softmax: `scale * (queries times keys) + masks`.
    private struct Scores {
        let product: Relay.Call
        var scale = 1.0
        var masks: [RelayExpr] = []
    }

    private mutating func attention(_ call: Relay.Call) throws -> RelayExpr? {
        guard call.tensorType?.dtype == .float32, !(call.attrs.bool("transpose_a") ?? false),
            let softmax = sameMatrices(call.args[0]) as? Relay.Call, softmax.opName == "nn.softmax",
            isOnlyUse(softmax),
            let full = softmax.tensorType?.staticShape, full.count >= 2, !full.contains(0),
            [-1, full.count - 1].contains(softmax.attrs.int("axis") ?? -1),
            let scores = try scores(softmax.args[0], full, depth: 16), let out = call.tensorType?.staticShape
        else { return nil }
        let product = scores.product
        let matrices = out[0]
        guard
            var q = operand(
                product.args[0], transposed: product.attrs.bool("transpose_a") ?? false, scaled: true),
            var k = operand(
                product.args[1], transposed: !(product.attrs.bool("transpose_b") ?? false), scaled: true),
            var v = operand(call.args[1], transposed: call.attrs.bool("transpose_b") ?? false, scaled: false)
        else { return nil }
        let (rows, keys) = (full[full.count - 2], full[full.count - 1])
        let (depth, width) = (q.layout.shape[2], v.layout.shape[2])
        guard
            [q.layout.shape[0], k.layout.shape[0], v.layout.shape[0]].allSatisfy({ $0 == 1 || $0 == matrices }
            ),
            full.dropLast(2).reduce(1, *) == matrices
        else { return nil }
        // Whole vectors of queries and values are read.
        if q.layout.stride(2) ?? 2 > 1 { q = try compact(q) }
        if v.layout.stride(2) ?? 2 > 1 { v = try compact(v) }
        if k.layout.stride(1) == nil || k.layout.stride(2) == nil { k = try compact(k) }
        if q.layout.stride(1) == nil { q = try compact(q) }
        if v.layout.stride(1) == nil { v = try compact(v) }

        var causal = false
        var mask: StridedValue?
        if scores.masks.count == 1, isCausal(scores.masks[0], full) {
            causal = true
        } else if !scores.masks.isEmpty {
            mask = try self.mask(scores.masks, full)
        }

        // The stack in the extents that all operands can be told apart by.
        let layouts = [q, k, v].map { $0.layout.broadcast([matrices] + $0.layout.shape.dropFirst()) }
        var stacks = layouts.map { Array($0.axes[0]) }
        if let mask { stacks.append(Array(mask.layout.axes.dropLast(2).joined())) }
        guard let outer = commonExtents(stacks.map { $0.map(\.extent) }, full.dropLast(2), matrices) else {
            return nil
        }
        guard pays(AttentionQuestion(outer: outer, rows: rows, keys: keys, depth: depth, width: width)) else {
            return nil
        }

        func view(_ v: StridedValue, _ stack: [StridedLayout.Step], _ last: [[StridedLayout.Step]]) throws
            -> RelayExpr?
        {
            guard let cut = StridedLayout.cut(stack, outer) else { return nil }
            let axes = cut + last
            let shape = outer + last.map { $0.reduce(1) { $0 * $1.extent } }
            // Repeated matrices are there once.
            var extents: [Int] = []
            var strides: [Int] = []
            for (d, own) in axes.enumerated() {
                guard own.count <= 1 else { return nil }
                let stride = own.first?.stride ?? 0
                extents.append(stride == 0 ? 1 : shape[d])
                strides.append(stride)
            }
            return try self.view(mapped(v.base), extents, strides, v.layout.offset)
        }
        let parts = zip([q, k, v], layouts)
        var args: [RelayExpr] = []
        for (i, (value, layout)) in parts.enumerated() {
            let last = [StridedLayout.merge(layout.axes[1]), StridedLayout.merge(layout.axes[2])]
            guard let a = try view(value, stacks[i], last) else { return nil }
            args.append(a)
        }
        if args[0].tensorType?.staticShape != outer + [rows, depth] {
            // Queries that all matrices share: the operator takes the stack from them.
            args[0] = try Relay.call("broadcast_to", [args[0]], ["shape": .ints(outer + [rows, depth])])
        }
        if let mask {
            let n = mask.layout.axes.count
            let last = [
                StridedLayout.merge(mask.layout.axes[n - 2]), StridedLayout.merge(mask.layout.axes[n - 1]),
            ]
            guard let m = try view(mask, stacks[3], last) else { return nil }
            args.append(m)
        }
        let scale = scores.scale * q.factor * k.factor
        let result = try Relay.Call(
            try Op.get("nn.attention"), args, Attrs(["scale": .float(scale), "causal": .bool(causal)]),
            span: call.span)
        fused[ObjectIdentifier(call)] = result
        return try reshaped(result, out)
    }

    /// `e` before reshapes that keep its matrices.
    private func sameMatrices(_ e: RelayExpr) -> RelayExpr {
        var e = e
        while let call = e as? Relay.Call, call.opName == "reshape", isOnlyUse(call), call.args.count == 1,
            let shape = call.tensorType?.staticShape, let before = call.args[0].tensorType?.staticShape,
            shape.count >= 2, before.count >= 2, shape.suffix(2) == before.suffix(2)
        { e = call.args[0] }
        return e
    }

    /// What the softmax is of; nil where it is something else.
    private func scores(_ e: RelayExpr, _ full: [Int], depth: Int) throws -> Scores? {
        let e = sameMatrices(e)
        guard depth > 0, let call = e as? Relay.Call, isOnlyUse(call),
            let shape = call.tensorType?.staticShape,
            shape.suffix(2) == full.suffix(2), shape.reduce(1, *) == full.reduce(1, *)
        else { return nil }
        switch call.opName {
        case "nn.batch_matmul":
            return call.tensorType?.dtype == .float32 ? Scores(product: call) : nil
        case "multiply", "divide":
            for (i, other) in [(0, 1), (1, 0)] where i == 0 || call.opName == "multiply" {
                guard let n = StridedValue.number(call.args[other]), n.isFinite, n != 0,
                    var s = try scores(call.args[i], full, depth: depth - 1), s.masks.isEmpty
                else { continue }
                s.scale = call.opName == "multiply" ? s.scale * n : s.scale / n
                return s
            }
            return nil
        case "add":
            for (i, other) in [(0, 1), (1, 0)] where shape == full {
                guard var s = try scores(call.args[i], full, depth: depth - 1) else { continue }
                s.masks.append(mapped(call.args[other]))
                return s
            }
            return nil
        case "where":
            // A number so low that adding it leaves nothing of a score.
            for (i, other) in [(1, 2), (2, 1)] where shape == full {
                guard let low = StridedValue.number(call.args[other]), low <= -1e30,
                    var s = try scores(call.args[i], full, depth: depth - 1)
                else { continue }
                let numbers = [try Relay.scalar(0, .float32), try Relay.scalar(low, .float32)]
                s.masks.append(
                    try Relay.call("where", [mapped(call.args[0])] + (i == 1 ? numbers : numbers.reversed())))
                return s
            }
            return nil
        default: return nil
        }
    }

    // MARK: Operands

    private func operand(_ e: RelayExpr, transposed: Bool, scaled: Bool) -> StridedValue? {
        guard var v = StridedValue.of(e, scaled: scaled), v.layout.axes.count == 3 else { return nil }
        if transposed { v.layout = v.layout.transposed([0, 2, 1]) }
        return v
    }

    /// A copy in memory of its own.
    private func compact(_ v: StridedValue) throws -> StridedValue {
        let shape = v.layout.shape
        var strides: [Int] = []
        var extents: [Int] = []
        for s in v.layout.axes.flatMap({ $0 }) {
            extents.append(s.extent)
            strides.append(s.stride)
        }
        let view = try Relay.call(
            "nn.contrib_strided_view", [mapped(v.base)],
            ["shape": .ints(extents), "strides": .ints(strides), "offset": .int(v.layout.offset)])
        let base = try reshaped(view, shape)
        return StridedValue(base: base, layout: StridedLayout(compact: shape), factor: v.factor)
    }

    /// The sum of masks as the kernel reads it: all rows of a key side by side, or one for all rows.
    private func mask(_ masks: [RelayExpr], _ full: [Int]) throws -> StridedValue? {
        var sum = masks[0]
        for m in masks.dropFirst() { sum = try Relay.call("add", [sum, m]) }
        guard let shape = sum.tensorType?.staticShape, shape.count <= full.count,
            sum.tensorType?.dtype == .float32
        else {
            return nil
        }
        let n = full.count
        guard var v = StridedValue.of(sum) else { return nil }
        let rowStride = shape.count >= 2 ? v.layout.stride(shape.count - 2) : 0
        if shape.count >= 2, shape[shape.count - 2] > 1, rowStride != 1 {
            let order = Array(0..<(shape.count - 2)) + [shape.count - 1, shape.count - 2]
            let turned = try Relay.call("transpose", [sum], ["axes": .ints(order)])
            let compact = order.map { shape[$0] }
            v = StridedValue(base: turned, layout: StridedLayout(compact: compact).transposed(order))
        }
        v.layout = v.layout.broadcast(full)
        guard v.layout.stride(n - 1) != nil, v.layout.stride(n - 2) != nil else { return nil }
        return v
    }

    /// Whether a mask hides every key behind a row's own, and no other.
    private func isCausal(_ mask: RelayExpr, _ full: [Int]) -> Bool {
        let (rows, keys) = (full[full.count - 2], full[full.count - 1])
        guard keys >= rows, rows > 1, let constant = mask as? Relay.Constant,
            let shape = mask.tensorType?.staticShape,
            shape.suffix(2) == [rows, keys], shape.dropLast(2).allSatisfy({ $0 == 1 }),
            let values = try? constant.data.toArray(Float.self)
        else { return false }
        for r in 0..<rows {
            let own = r + keys - rows
            for k in 0..<keys {
                let value = values[r * keys + k]
                if k <= own ? value != 0 : !(value <= -1e30) { return false }
            }
        }
        return true
    }

    private func view(_ base: RelayExpr, _ extents: [Int], _ strides: [Int], _ offset: Int) throws
        -> RelayExpr?
    {
        guard let memory = base.tensorType?.staticShape,
            StridedAccess(shape: memory, extents: extents, strides: strides, offset: offset) != nil
        else { return nil }
        return try Relay.call(
            "nn.contrib_strided_view", [base],
            ["shape": .ints(extents), "strides": .ints(strides), "offset": .int(offset)])
    }

    private func reshaped(_ e: RelayExpr, _ shape: [Int]) throws -> RelayExpr {
        e.tensorType?.staticShape == shape ? e : try Relay.call("reshape", [e], ["newshape": .ints(shape)])
    }

    /// The extents greater than 1 that cut a stack such that each of the given ones is a product of neighbours; nil where
    /// there are none.
    private func commonExtents(_ stacks: [[Int]], _ full: ArraySlice<Int>, _ matrices: Int) -> [Int]? {
        var borders: Set<Int> = [matrices]
        for stack in stacks + [Array(full)] {
            var inside = 1
            for n in stack.reversed() {
                inside *= n
                borders.insert(inside)
            }
        }
        var result: [Int] = []
        var before = 1
        for b in borders.sorted() where b > 1 {
            guard b % before == 0 else { return nil }
            result.insert(b / before, at: 0)
            before = b
        }
        return result
    }

    // MARK: The result

    /// A transposition of what became attention, as the order of its result's axes.
    private func reordered(_ call: Relay.Call) throws -> RelayExpr? {
        guard let rank = call.args[0].tensorType?.rank, let shape = call.tensorType?.staticShape else {
            return nil
        }
        let given = call.attrs.ints("axes") ?? []
        let order = given.isEmpty ? Array((0..<rank).reversed()) : given.map { $0 < 0 ? $0 + rank : $0 }
        var chain: [Relay.Call] = []
        var e = call.args[0]
        while let c = e as? Relay.Call, c.opName == "reshape", isOnlyUse(c), c.args.count == 1,
            chain.count < 16
        {
            chain.append(c)
            e = c.args[0]
        }
        guard isOnlyUse(e), let attention = fused[ObjectIdentifier(e)],
            let own = attention.tensorType?.staticShape
        else { return nil }
        var layout = StridedLayout(compact: own)
        for c in chain.reversed() {
            guard let shape = c.tensorType?.staticShape, let new = layout.reshaped(shape) else { return nil }
            layout = new
        }
        // Which axes of the result the steps are.
        var strides = [Int](repeating: 1, count: own.count)
        for d in own.indices.dropLast().reversed() { strides[d] = strides[d + 1] * own[d + 1] }
        var axes = own.indices.filter { own[$0] == 1 && $0 < own.count - 1 }
        for step in layout.transposed(order).steps {
            guard var d = own.indices.last(where: { strides[$0] == step.stride && own[$0] > 1 }) else {
                return nil
            }
            var run = [d]
            var inside = own[d]
            while inside < step.extent, d > 0 {
                d -= 1
                inside *= own[d]
                if own[d] > 1 { run.insert(d, at: 0) }
            }
            guard inside == step.extent else { return nil }
            axes += run
        }
        if own[own.count - 1] == 1 { axes.append(own.count - 1) }
        guard axes.sorted() == Array(own.indices), axes.last == own.count - 1 else { return nil }
        let result = try attention.with(attrs: attention.attrs.setting("axes", .ints(axes)))
        return try reshaped(result, shape)
    }
}
