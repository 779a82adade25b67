import ApusIR
import ApusRuntime
import ApusTIR

/// Rules for shuffles and for vectors of one lane; the tests compare every lane for all small shapes.
enum ShuffleRules {
    /// `e`, whose vectors are simplified, by one rule; nil if none fits.
    static func rewrite(_ e: Shuffle) -> PrimExpr? {
        // Which lane of which vector each result lane is.
        var sources: [(vector: Int, lane: Int)] = []
        for i in e.indices {
            var k = 0
            var rest = i
            while k < e.vectors.count, rest >= Int(e.vectors[k].dtype.lanes) {
                rest -= Int(e.vectors[k].dtype.lanes)
                k += 1
            }
            guard k < e.vectors.count else { return nil }
            sources.append((vector: k, lane: rest))
        }
        guard let first = sources.first else { return nil }
        let one = sources.allSatisfy { $0.vector == first.vector }
        let v = e.vectors[first.vector]
        if one && sources.count == Int(v.dtype.lanes)
            && sources.indices.allSatisfy({ sources[$0].lane == $0 })
        {
            return v
        }
        if one {
            let step = sources.count > 1 ? sources[1].lane - first.lane : 0
            let even = sources.indices.allSatisfy { sources[$0].lane == first.lane + $0 * step }
            switch v.kind {
            case .broadcast:
                let value = unsafeDowncast(v, to: Broadcast.self).value
                return sources.count == 1 ? value : Broadcast(value, sources.count)
            case .ramp where even && v.dtype.isInteger:
                let r = unsafeDowncast(v, to: Ramp.self)
                let base = scaled(r.stride, first.lane).map { binary(.add, r.base, $0) }
                if sources.count == 1 { return base }
                guard let base, let stride = scaled(r.stride, step) else { return nil }
                return step == 0 ? Broadcast(base, sources.count) : Ramp(base, stride, sources.count)
            default: break
            }
        }
        // A vector that no lane comes from is not needed.
        if !one || e.vectors.count == 1 {
            let used = Set(sources.map { $0.vector })
            if used.count == e.vectors.count { return nil }
            var start: [Int: Int] = [:]
            var vectors: [PrimExpr] = []
            var total = 0
            for (k, v) in e.vectors.enumerated() where used.contains(k) {
                start[k] = total
                total += Int(v.dtype.lanes)
                vectors.append(v)
            }
            return Shuffle(vectors, sources.map { (start[$0.vector] ?? 0) + $0.lane })
        }
        return Shuffle([v], sources.map { $0.lane })
    }

    /// `e * k` for a constant k; nil if k is no value of the type.
    private static func scaled(_ e: PrimExpr, _ k: Int) -> PrimExpr? {
        if k == 0 { return ConstFold.make(0, e.dtype) }
        if let c = ConstFold.constant(e) {
            return ConstFold.binary(.mul, c, ConstFold.wrapped(k, e.dtype), e.dtype).map {
                ConstFold.make($0, e.dtype)
            }
        }
        return binary(.mul, e, ConstFold.make(ConstFold.wrapped(k, e.dtype), e.dtype))
    }
}
