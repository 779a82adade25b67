import ApusIR
import ApusRelay
import ApusTIR

/// How the elements of a value lie in the memory of another: axes made of one or several regular steps each.
struct StridedLayout {
    /// `extent` elements, `stride` apart.
    struct Step: Equatable {
        var extent: Int
        var stride: Int
    }

    /// The steps of each axis, outermost first; none for an extent of 1.
    private(set) var axes: [[Step]]
    private(set) var offset = 0

    var shape: [Int] { axes.map { $0.reduce(1) { $0 * $1.extent } } }

    /// A compact value of its own.
    init(compact shape: [Int]) {
        var stride = 1
        var axes: [[Step]] = []
        for n in shape.reversed() {
            axes.insert(n == 1 ? [] : [Step(extent: n, stride: stride)], at: 0)
            stride *= n
        }
        self.axes = axes
    }

    /// The step along an axis that is a single one; 0 along an axis of extent 1, nil for several steps.
    func stride(_ axis: Int) -> Int? {
        let merged = StridedLayout.merge(axes[axis])
        return merged.count > 1 ? nil : merged.first?.stride ?? 0
    }

    /// All steps, outermost first, those that continue each other as one.
    var steps: [Step] { StridedLayout.merge(axes.flatMap { $0 }) }

    static func merge(_ steps: [Step]) -> [Step] {
        var result: [Step] = []
        for s in steps where s.extent > 1 {
            if let last = result.last, last.stride == s.extent * s.stride {
                result[result.count - 1] = Step(extent: last.extent * s.extent, stride: s.stride)
            } else {
                result.append(s)
            }
        }
        return result
    }

    /// The same elements in the same order with other extents; nil where an axis would not be made of whole steps.
    func reshaped(_ shape: [Int]) -> StridedLayout? {
        guard let parts = StridedLayout.cut(steps, shape) else { return nil }
        var result = self
        result.axes = parts
        return result
    }

    /// `steps` shared out to axes of the given extents.
    static func cut(_ steps: [Step], _ extents: [Int]) -> [[Step]]? {
        var left = Array(steps.reversed())
        var parts: [[Step]] = []
        for n in extents {
            var need = n
            var own: [Step] = []
            while need > 1 {
                guard let s = left.popLast() else { return nil }
                if need % s.extent == 0 {
                    own.append(s)
                    need /= s.extent
                } else if s.extent % need == 0 {
                    let rest = s.extent / need
                    own.append(Step(extent: need, stride: s.stride * rest))
                    left.append(Step(extent: rest, stride: s.stride))
                    need = 1
                } else {
                    return nil
                }
            }
            parts.append(own)
        }
        return left.isEmpty ? parts : nil
    }

    func transposed(_ order: [Int]) -> StridedLayout {
        var result = self
        result.axes = order.map { axes[$0] }
        return result
    }

    /// The elements at `index` along an axis, which goes.
    func taking(_ index: Int, axis: Int) -> StridedLayout {
        var result = self
        var rest = index
        for s in axes[axis].reversed() {
            result.offset += rest % s.extent * s.stride
            rest /= s.extent
        }
        result.axes.remove(at: axis)
        return result
    }

    /// `count` elements along an axis, from `begin` on; nil where the axis is made of several steps.
    func sliced(_ begin: Int, _ count: Int, axis: Int) -> StridedLayout? {
        guard let stride = stride(axis) else { return nil }
        var result = self
        result.offset += begin * stride
        result.axes[axis] = count == 1 ? [] : [Step(extent: count, stride: stride)]
        return result
    }

    /// The elements repeated to a shape they broadcast to.
    func broadcast(_ shape: [Int]) -> StridedLayout {
        let own = self.shape
        var result = self
        result.axes = shape.enumerated().map { d, n in
            let at = d - (shape.count - own.count)
            if at >= 0, own[at] == n { return axes[at] }
            return n == 1 ? [] : [Step(extent: n, stride: 0)]
        }
        return result
    }
}

/// A value as elements of another that something before it computes, times a number.
struct StridedValue {
    let base: RelayExpr
    var layout: StridedLayout
    var factor = 1.0

    /// What `e` is before operators that only rearrange, select or repeat; `e` itself where they do not stay regular.
    ///
    /// - Parameter scaled: whether products with numbers are looked through too.
    static func of(_ e: RelayExpr, scaled: Bool = false, depth: Int = 64) -> StridedValue? {
        guard let shape = e.tensorType?.staticShape, !shape.contains(0) else { return nil }
        return before(e, shape, scaled, depth) ?? StridedValue(base: e, layout: StridedLayout(compact: shape))
    }

    private static func before(_ e: RelayExpr, _ shape: [Int], _ scaled: Bool, _ depth: Int) -> StridedValue?
    {
        guard depth > 0 else { return nil }
        func source(_ e: RelayExpr) -> StridedValue? { of(e, scaled: scaled, depth: depth - 1) }
        if let item = e as? Relay.TupleGetItem { return part(item, source) }
        guard let call = e as? Relay.Call, let x = call.args.first else { return nil }
        let rank = x.tensorType?.rank ?? 0
        func resolved(_ axis: Int) -> Int { axis < 0 ? axis + rank : axis }
        switch call.opName {
        case "reshape", "squeeze", "expand_dims":
            guard call.args.count == 1, var v = source(x), let new = v.layout.reshaped(shape) else {
                return nil
            }
            v.layout = new
            return v
        case "transpose":
            guard var v = source(x) else { return nil }
            let given = call.attrs.ints("axes") ?? []
            v.layout = v.layout.transposed(given.isEmpty ? Array((0..<rank).reversed()) : given.map(resolved))
            return v
        case "broadcast_to":
            guard call.args.count == 1, var v = source(x) else { return nil }
            v.layout = v.layout.broadcast(shape)
            return v
        case "take":
            guard let axis = call.attrs.int("axis").map(resolved), call.attrs.int("batch_dims") ?? 0 == 0,
                let index = number(call.args[1]), call.args[1].tensorType?.rank == 0, var v = source(x),
                let at = Int(exactly: index), at >= 0, at < v.layout.shape[axis]
            else { return nil }
            v.layout = v.layout.taking(at, axis: axis)
            return v
        case "strided_slice":
            guard call.args.count == 1, let begin = call.attrs.ints("begin"),
                let axes = call.attrs.ints("axes"),
                (call.attrs.ints("strides") ?? []).allSatisfy({ $0 == 1 }), begin.count == axes.count,
                var v = source(x)
            else { return nil }
            for (b, axis) in zip(begin, axes.map(resolved)) {
                guard b >= 0, b + shape[axis] <= v.layout.shape[axis],
                    let new = v.layout.sliced(b, shape[axis], axis: axis)
                else { return nil }
                v.layout = new
            }
            return v
        case "multiply", "divide":
            guard scaled, call.args.count == 2, call.tensorType?.dtype == .float32 else { return nil }
            let isQuotient = call.opName == "divide"
            for (i, other) in [(0, 1), (1, 0)] where i == 0 || !isQuotient {
                guard let n = number(call.args[other]), n.isFinite, n != 0,
                    call.args[i].tensorType?.staticShape == shape,
                    var v = source(call.args[i])
                else { continue }
                v.factor = isQuotient ? v.factor / n : v.factor * n
                return v
            }
            return nil
        default: return nil
        }
    }

    private static func part(_ item: Relay.TupleGetItem, _ source: (RelayExpr) -> StridedValue?)
        -> StridedValue?
    {
        guard let call = item.tuple as? Relay.Call, call.opName == "split", let x = call.args.first,
            let rank = x.tensorType?.rank, let given = call.attrs.int("axis"),
            let points = call.attrs.ints("indices_or_sections"), let shape = item.tensorType?.staticShape,
            var v = source(x)
        else { return nil }
        let axis = given < 0 ? given + rank : given
        guard let new = v.layout.sliced(item.index == 0 ? 0 : points[item.index - 1], shape[axis], axis: axis)
        else {
            return nil
        }
        v.layout = new
        return v
    }

    /// The one number of a constant.
    static func number(_ e: RelayExpr) -> Double? {
        guard let constant = e as? Relay.Constant, constant.data.shape.allSatisfy({ $0 == 1 }) else {
            return nil
        }
        return (try? constant.data.toDoubles())?.first
    }
}
