import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// How axes of a stage come from others.
public enum IterVarRelation: Sendable {
    /// `parent = outer * factor + inner`; exactly one of `factor` (inner extent) and `parts` (outer extent) is given.
    case split(parent: IterVar, outer: IterVar, inner: IterVar, factor: Int?, parts: Int?)
    /// `fused = outer * extent(inner) + inner`
    case fuse(outer: IterVar, inner: IterVar, fused: IterVar)
    /// `rebased = parent - min(parent)`
    case rebase(parent: IterVar, rebased: IterVar)
    /// One iteration that comes from nothing.
    case singleton(IterVar)

    /// The axes that it makes.
    public var results: [IterVar] {
        switch self {
        case .split(_, let outer, let inner, _, _): [outer, inner]
        case .fuse(_, _, let fused): [fused]
        case .rebase(_, let rebased): [rebased]
        case .singleton(let iter): [iter]
        }
    }

    /// The axes that it consumes.
    public var parents: [IterVar] {
        switch self {
        case .split(let parent, _, _, _, _): [parent]
        case .fuse(let outer, let inner, _): [outer, inner]
        case .rebase(let parent, _): [parent]
        case .singleton: []
        }
    }
}

/// What a schedule says about one axis.
public struct IterVarAttr: Sendable {
    /// How a loop over the axis runs.
    public enum Kind: String, Sendable {
        case serial, unrolled, vectorized, parallelized, tensorized
    }
    public var kind: Kind = .serial
    public var bindThread: IterVar?
    public var prefetch: [(tensor: Tensor, offset: Int)] = []
    public var tensorIntrin: TETensorIntrin?
    public var dimAlignFactor = 0
    public var dimAlignOffset = 0
    public var pragmas: [(key: String, value: AttrValue)] = []
}

/// Where a stage is computed.
public enum AttachType: String, Sendable {
    /// By itself, before what reads it; or where its group is.
    case groupRoot
    /// In the formulas that read it.
    case inline
    /// Within a loop of another stage.
    case scope
    /// Within the steps of a scan.
    case scanUpdate
}

// MARK: - Message passing

/// Values of axes, such as ranges or indices.
public typealias AxisMap<T> = [IterVar: T]

/// From the ranges of the root axes in `state` to those of all others: extents as the relations give them. A range that
/// `state` has already stays. (TVM's PassDownDomain.)
public func passDownDomain(_ relations: [IterVarRelation], _ state: inout AxisMap<IRRange>) {
    func put(_ v: IterVar, _ r: IRRange) { if state[v] == nil { state[v] = r } }
    for r in relations {
        switch r {
        case .split(let parent, let outer, let inner, let factor, let parts):
            guard let p = state[parent] else { continue }
            let type = p.extent.dtype
            if let factor {
                // A tile is no longer than what is tiled.
                let f = Swift.min(factor, Swift.max(p.extent.asInt ?? factor, 1))
                put(inner, IRRange(extent: const(f, type)))
                put(outer, IRRange(extent: ceilDiv(p.extent, const(f, type))))
            } else if let parts {
                put(outer, IRRange(extent: const(parts, type)))
                put(inner, IRRange(extent: ceilDiv(p.extent, const(parts, type))))
            }
        case .fuse(let outer, let inner, let fused):
            guard let a = state[outer], let b = state[inner] else { continue }
            put(fused, IRRange(extent: a.extent * b.extent))
        case .rebase(let parent, let rebased):
            guard let p = state[parent] else { continue }
            put(rebased, IRRange(extent: p.extent))
        case .singleton(let iter): put(iter, IRRange(0, extent: 1))
        }
    }
}

/// From ranges that the leaves take (parts of their domains in `domains`) to the part of each parent that is reached,
/// as a range that is never too small. (TVM's PassUpDomain.)
public func passUpDomain(
    _ relations: [IterVarRelation], domains: AxisMap<IRRange>, _ state: inout AxisMap<IRRange>
) {
    func isWhole(_ v: IterVar, _ r: IRRange) -> Bool {
        guard let d = domains[v] else { return false }
        return r.min.isZero && structuralEqual(r.extent, d.extent)
    }
    for r in relations.reversed() {
        switch r {
        case .split(let parent, let outer, let inner, _, _):
            guard let a = state[outer], let b = state[inner], let p = domains[parent],
                let step = domains[inner]?.extent
            else { continue }
            if isWhole(outer, a) && isWhole(inner, b) {
                state[parent] = p
            } else {
                state[parent] = IRRange(
                    min: a.min * step + b.min + p.min, extent: (a.extent - 1) * step + b.extent)
            }
        case .fuse(let outer, let inner, let fused):
            guard let f = state[fused], let a = domains[outer], let b = domains[inner] else { continue }
            if isWhole(fused, f) {
                state[outer] = a
                state[inner] = b
            } else {
                let first = floorDiv(f.min, b.extent)
                let last = floorDiv(f.min + f.extent - 1, b.extent)
                state[outer] = IRRange(min: first + a.min, extent: last - first + 1)
                // Within one row of the inner axis only if it is one iteration.
                state[inner] =
                    f.extent.asInt == 1
                    ? IRRange(min: floorMod(f.min, b.extent) + b.min, extent: const(1, b.extent.dtype)) : b
            }
        case .rebase(let parent, let rebased):
            guard let x = state[rebased], let p = domains[parent] else { continue }
            state[parent] = IRRange(min: x.min + p.min, extent: x.extent)
        case .singleton: continue
        }
    }
}

/// From the values of the leaves to those of all axes above them. (TVM's PassUpIndex.)
public func passUpIndex(
    _ relations: [IterVarRelation], domains: AxisMap<IRRange>, _ state: inout AxisMap<PrimExpr>
) {
    for r in relations.reversed() {
        switch r {
        case .split(let parent, let outer, let inner, _, _):
            guard let a = state[outer], let b = state[inner], let step = domains[inner]?.extent else {
                continue
            }
            let value = step.asInt == 1 ? a : a * step + b
            let low = domains[parent]?.min
            state[parent] = low.map { $0.isZero ? value : value + $0 } ?? value
        case .fuse(let outer, let inner, let fused):
            guard let f = state[fused], let a = domains[outer], let b = domains[inner] else { continue }
            let first = a.extent.asInt == 1 ? const(0, f.dtype) : floorDiv(f, b.extent)
            let second = a.extent.asInt == 1 ? f : floorMod(f, b.extent)
            state[outer] = a.min.isZero ? first : first + a.min
            state[inner] = b.min.isZero ? second : second + b.min
        case .rebase(let parent, let rebased):
            guard let x = state[rebased], let p = domains[parent] else { continue }
            state[parent] = p.min.isZero ? x : x + p.min
        case .singleton: continue
        }
    }
}

/// From the values of the roots to those of all axes below them. (TVM's PassDownIndex.)
public func passDownIndex(
    _ relations: [IterVarRelation], domains: AxisMap<IRRange>, _ state: inout AxisMap<PrimExpr>
) {
    for r in relations {
        switch r {
        case .split(let parent, let outer, let inner, _, _):
            guard let p = state[parent], let step = domains[inner]?.extent else { continue }
            let value = domains[parent].map { $0.min.isZero ? p : p - $0.min } ?? p
            state[outer] = floorDiv(value, step)
            state[inner] = floorMod(value, step)
        case .fuse(let outer, let inner, let fused):
            guard let x = state[outer], let y = state[inner], let a = domains[outer], let b = domains[inner]
            else { continue }
            let first = a.min.isZero ? x : x - a.min
            let second = b.min.isZero ? y : y - b.min
            state[fused] = b.extent.asInt == 1 ? first : first * b.extent + second
        case .rebase(let parent, let rebased):
            guard let p = state[parent], let dom = domains[parent] else { continue }
            state[rebased] = dom.min.isZero ? p : p - dom.min
        case .singleton(let iter): state[iter] = IntImm(0)
        }
    }
}

/// Marks of leaves to all axes above them: a parent has every mark of what came from it.
public func passUpBitMaskOr(_ relations: [IterVarRelation], _ state: inout AxisMap<Int>) {
    for r in relations.reversed() {
        let mask = r.results.reduce(0) { $0 | (state[$1] ?? 0) }
        if mask == 0 { continue }
        for p in r.parents { state[p, default: 0] |= mask }
    }
}

/// Marks of roots to all axes below them: an axis has every mark of what it came from.
public func passDownBitMaskOr(_ relations: [IterVarRelation], _ state: inout AxisMap<Int>) {
    for r in relations {
        let mask = r.parents.reduce(0) { $0 | (state[$1] ?? 0) }
        if mask == 0 { continue }
        for v in r.results { state[v, default: 0] |= mask }
    }
}
