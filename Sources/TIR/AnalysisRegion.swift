import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// The regions that a block's body reads and writes, in terms of the block's own variables: loops inside the
/// block and inner blocks are covered by ranges. Per buffer one box, the hull of all accesses; a dimension
/// whose bounds are not simple (not linear in the loops inside) is taken whole. Buffers that the block
/// allocates are left out. What an inner block accesses is taken from its own signature where it has one.
///
/// (TVM's `GetBlockAccessRegion`.)
public func blockAccessRegion(_ block: Block) -> (reads: [BufferRegion], writes: [BufferRegion]) {
    let collector = RegionCollector(block)
    if let i = block.initial { collector.visit(i) }
    collector.visit(block.body)
    return (reads: collector.reads.regions(), writes: collector.writes.regions())
}

/// A sum of constant multiples of variables and a constant; what it cannot express is one opaque term.
struct TIRLinear {
    var terms: [(term: PrimExpr, factor: Int)] = []
    var constant = 0

    /// nil where a coefficient overflows.
    init?(_ e: PrimExpr, times factor: Int = 1) {
        guard let made = growingStack({ TIRLinear(e, factor) }) else { return nil }
        self = made
    }

    private init?(_ e: PrimExpr, _ factor: Int) {
        guard e.dtype.isInteger, e.dtype.isScalar else { return nil }
        if let v = e.asInt {
            let (c, overflow) = v.multipliedReportingOverflow(by: factor)
            if overflow { return nil }
            constant = c
            return
        }
        if let b = e as? BinaryExpr {
            switch b.kind {
            case .add, .sub:
                let sign = b.kind == .add ? factor : 0 - factor
                guard let x = TIRLinear(b.a, times: factor), let y = TIRLinear(b.b, times: sign) else {
                    return nil
                }
                self = x
                if !add(y) { return nil }
                return
            case .mul:
                for (x, y) in [(b.a, b.b), (b.b, b.a)] {
                    guard let c = x.asInt else { continue }
                    let (f, overflow) = c.multipliedReportingOverflow(by: factor)
                    guard !overflow, let inner = TIRLinear(y, times: f) else { return nil }
                    self = inner
                    return
                }
            default: break
            }
        }
        terms = [(term: e, factor: factor)]
    }

    private mutating func add(_ other: TIRLinear) -> Bool {
        for t in other.terms {
            if let i = terms.firstIndex(where: { $0.term === t.term || structuralEqual($0.term, t.term) }) {
                let (f, overflow) = terms[i].factor.addingReportingOverflow(t.factor)
                if overflow { return false }
                terms[i].factor = f
                if f == 0 { terms.remove(at: i) }
            } else {
                terms.append(t)
            }
        }
        let (c, overflow) = constant.addingReportingOverflow(other.constant)
        constant = c
        return !overflow
    }

    /// `a - b` if it is a constant.
    static func difference(_ a: PrimExpr, _ b: PrimExpr) -> Int? {
        guard var x = TIRLinear(a), let y = TIRLinear(b, times: -1), x.add(y), x.terms.isEmpty else {
            return nil
        }
        return x.constant
    }
}

/// Inclusive bounds of an index.
private struct Bounds {
    var lo: PrimExpr
    var hi: PrimExpr
}

/// Boxes by buffer, in order of first access.
private struct RegionTable {
    private var order: [Buffer] = []
    /// nil = the whole dimension.
    private var boxes: [Buffer: [Bounds?]] = [:]

    mutating func add(_ b: Buffer, _ box: [Bounds?]) {
        guard let known = boxes[b] else {
            order.append(b)
            boxes[b] = box
            return
        }
        boxes[b] = zip(known, box).map { x, y in
            guard let x, let y else { return nil }
            guard let lo = TIRLinear.difference(x.lo, y.lo), let hi = TIRLinear.difference(x.hi, y.hi) else {
                return nil
            }
            return Bounds(lo: lo <= 0 ? x.lo : y.lo, hi: hi >= 0 ? x.hi : y.hi)
        }
    }

    func regions() -> [BufferRegion] {
        order.map { b in
            let box = boxes[b] ?? []
            var ranges: [IRRange] = []
            for (i, extent) in b.shape.enumerated() {
                guard i < box.count, let bounds = box[i] else {
                    ranges.append(IRRange(extent: extent))
                    continue
                }
                let size: PrimExpr
                if let n = TIRLinear.difference(bounds.hi, bounds.lo), n < Int.max {
                    size = IntImm(n + 1, dtype: bounds.lo.dtype)
                } else {
                    size = bounds.hi - bounds.lo + 1
                }
                ranges.append(IRRange(min: bounds.lo, extent: size))
            }
            return BufferRegion(b, ranges)
        }
    }
}

private final class RegionCollector: StmtExprVisitor {
    var reads = RegionTable()
    var writes = RegionTable()
    private var inner: Set<Buffer> = []
    private var ranges: [Var: Bounds] = [:]
    /// Variables defined inside without bounds: what depends on them is unknown.
    private var opaque: Set<Var> = []
    override var walksSharedOnce: Bool { true }

    init(_ block: Block) {
        inner = Set(block.allocBuffers)
        super.init()
    }

    override func visit(_ e: PrimExpr) {
        if let l = e as? BufferLoad { record(l.buffer, l.indices.map { bounds($0) }, isRead: true) }
        if let l = e as? Let { opaque.insert(l.variable) }
        visitChildren(of: e)
    }

    override func visit(_ s: Stmt) { growingStack { collect(s) } }

    private func collect(_ s: Stmt) {
        switch s {
        case let f as For:
            beginExpression()
            visit(f.min)
            visit(f.extent)
            if let lo = bounds(f.min), let n = bounds(f.extent) {
                ranges[f.loopVar] = Bounds(lo: lo.lo, hi: lo.hi + n.hi - 1)
            } else {
                opaque.insert(f.loopVar)
            }
            visit(f.body)
        case let l as LetStmt:
            beginExpression()
            visit(l.value)
            opaque.insert(l.variable)
            visit(l.body)
        case let w as BufferStore:
            record(w.buffer, w.indices.map { bounds($0) }, isRead: false)
            visitChildren(of: w)
        case let a as Allocate:
            inner.insert(a.buffer)
            visit(a.body)
        case let r as BlockRealize:
            beginExpression()
            for v in r.iterValues { visit(v) }
            visit(r.predicate)
            realize(r)
        default: visitChildren(of: s)
        }
    }

    private func realize(_ r: BlockRealize) {
        let b = r.block
        for (v, value) in zip(b.iterVars, r.iterValues) {
            if let x = bounds(value) { ranges[v.variable] = x } else { opaque.insert(v.variable) }
        }
        inner.formUnion(b.allocBuffers)
        inner.formUnion(b.matchBuffers.map(\.buffer))
        if b.reads.isEmpty && b.writes.isEmpty {
            if let i = b.initial { visit(i) }
            visit(b.body)
            return
        }
        for (list, isRead) in [(b.reads, true), (b.writes, false)] {
            for region in list {
                let box: [Bounds?] = region.region.map { d in
                    guard let lo = bounds(d.min), let n = bounds(d.extent) else { return nil }
                    return Bounds(lo: lo.lo, hi: lo.hi + n.hi - 1)
                }
                record(region.buffer, box, isRead: isRead)
            }
        }
    }

    private func record(_ b: Buffer, _ box: [Bounds?], isRead: Bool) {
        if inner.contains(b) { return }
        if isRead { reads.add(b, box) } else { writes.add(b, box) }
    }

    /// Bounds of an index over all values of the variables inside; nil where they are not simple.
    private func bounds(_ e: PrimExpr) -> Bounds? { growingStack { simpleBounds(e) } }

    private func simpleBounds(_ e: PrimExpr) -> Bounds? {
        if e.asInt != nil { return Bounds(lo: e, hi: e) }
        switch e.kind {
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            if opaque.contains(v) { return nil }
            return ranges[v] ?? Bounds(lo: e, hi: e)
        case .add:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let x = bounds(b.a), let y = bounds(b.b) else { return nil }
            return Bounds(lo: x.lo + y.lo, hi: x.hi + y.hi)
        case .sub:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let x = bounds(b.a), let y = bounds(b.b) else { return nil }
            return Bounds(lo: x.lo - y.hi, hi: x.hi - y.lo)
        case .mul:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            if let c = b.b.asInt, let x = bounds(b.a) { return scaled(x, c) }
            if let c = b.a.asInt, let x = bounds(b.b) { return scaled(x, c) }
            return fixed(e)
        case .floorDiv:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            // Monotone for a positive divisor.
            guard let c = b.b.asInt, c > 0, let x = bounds(b.a) else { return fixed(e) }
            return Bounds(lo: floorDiv(x.lo, b.b), hi: floorDiv(x.hi, b.b))
        case .floorMod:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let c = b.b.asInt, c > 0, let x = bounds(b.a) else { return fixed(e) }
            if let n = TIRLinear.difference(x.hi, x.lo), n == 0 {
                return Bounds(lo: floorMod(x.lo, b.b), hi: floorMod(x.lo, b.b))
            }
            return Bounds(lo: IntImm(0, dtype: e.dtype), hi: IntImm(c - 1, dtype: e.dtype))
        case .min, .max:
            let b = unsafeDowncast(e, to: BinaryExpr.self)
            guard let x = bounds(b.a), let y = bounds(b.b) else { return nil }
            return Bounds(lo: binary(e.kind, x.lo, y.lo), hi: binary(e.kind, x.hi, y.hi))
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            guard let c = r.stride.asInt, let x = bounds(r.base) else { return nil }
            let (span, overflow) = c.multipliedReportingOverflow(by: r.lanes - 1)
            if overflow { return nil }
            let far = x.hi + span
            let near = x.lo + span
            return span >= 0 ? Bounds(lo: x.lo, hi: far) : Bounds(lo: near, hi: x.hi)
        case .broadcast: return bounds(unsafeDowncast(e, to: Broadcast.self).value)
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            guard c.value.dtype.isInteger, c.dtype.bits >= c.value.dtype.bits, let x = bounds(c.value) else {
                return nil
            }
            return Bounds(lo: ApusTIR.cast(c.dtype.element, x.lo), hi: ApusTIR.cast(c.dtype.element, x.hi))
        default: return fixed(e)
        }
    }

    private func scaled(_ x: Bounds, _ c: Int) -> Bounds {
        c >= 0 ? Bounds(lo: x.lo * c, hi: x.hi * c) : Bounds(lo: x.hi * c, hi: x.lo * c)
    }

    /// An expression that no variable inside touches is its own bounds, if it reads no memory.
    private func fixed(_ e: PrimExpr) -> Bounds? {
        if sideEffect(of: e) != .pure || e.dtype.lanes != 1 { return nil }
        if uses(e, opaque) || uses(e, Set(ranges.keys)) { return nil }
        return Bounds(lo: e, hi: e)
    }
}
