import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Schedule {
    /// The value of a sampled integer. SCH003 if the handle names none.
    public func value(_ v: IntRV) throws -> Int {
        guard handles.indices.contains(v.id), case .int(let n) = handles[v.id] else {
            throw ApusError("SCH003", "not an integer of this schedule", actual: "v\(v.id)")
        }
        return n
    }

    func newInt(_ n: Int) -> IntRV {
        handles.append(.int(n))
        return IntRV(id: handles.count - 1)
    }

    /// One of `candidates`, drawn with the given weights (or the one at `decision`). SCH050 for weights that
    /// are negative, all zero, or not one a candidate.
    public func sampleCategorical(
        _ candidates: [Int], weights: [Double], decision: Int? = nil
    ) throws -> IntRV {
        let total = weights.reduce(0, +)
        guard candidates.count == weights.count, weights.allSatisfy({ $0 >= 0 && $0.isFinite }), total > 0,
            total.isFinite, decision.map({ candidates.indices.contains($0) }) ?? true
        else {
            throw ApusError(
                "SCH050", "sampleCategorical needs one weight >= 0 a candidate, and a decision among them")
        }
        var chosen = decision ?? candidates.count - 1
        if decision == nil {
            var x = Double(random.next() >> 11) / Double(1 << 53) * total
            for (i, w) in weights.enumerated() {
                if w > 0 { chosen = i }
                x -= w
                if x < 0 && w > 0 { break }
            }
        }
        let v = newInt(candidates[chosen])
        record(
            "sampleCategorical", [],
            [
                (key: "candidates", value: .ints(candidates)),
                (key: "weights", value: .floats(weights)),
            ],
            outputs: [.int(v.id)], decision: [chosen])
        return v
    }

    /// `n` factors whose product is the extent of a loop, drawn evenly among all such with an innermost
    /// factor of at most `maxInnermost` (or those of `decision`). SCH051 for an extent that is not constant,
    /// or a decision that does not multiply to it.
    public func samplePerfectTile(
        _ loop: LoopRV, n: Int, maxInnermost: Int = 16, decision: [Int]? = nil
    ) throws -> [IntRV] {
        try step("samplePerfectTile") {
            let (_, _, _, l) = try locate(loop)
            guard let extent = l.extent.asInt, extent >= 1, n >= 1, maxInnermost >= 1 else {
                throw failure(
                    "SCH051", "samplePerfectTile needs a constant extent and at least one factor", l,
                    expected: "n >= 1 and maxInnermost >= 1",
                    actual: "extent \(l.extent), n \(n), maxInnermost \(maxInnermost)")
            }
            var factors: [Int] = []
            if let decision {
                let product = decision.reduce(1) { (a: Int, b: Int) -> Int in
                    let p = a.multipliedReportingOverflow(by: b)
                    return p.overflow ? 0 : p.partialValue
                }
                guard decision.count == n, decision.allSatisfy({ $0 >= 1 }), product == extent else {
                    throw failure(
                        "SCH051", "the decision does not tile the loop", l,
                        expected: "\(n) factors of \(extent)",
                        actual: "\(decision)")
                }
                factors = decision
            } else {
                factors = drawTile(extent, n, maxInnermost)
            }
            let result = factors.map { newInt($0) }
            record(
                "samplePerfectTile", [.loop(loop.id)],
                [(key: "n", value: .int(n)), (key: "maxInnermost", value: .int(maxInnermost))],
                outputs: result.map { .int($0.id) }, decision: factors)
            return result
        }
    }

    private func drawTile(_ extent: Int, _ n: Int, _ maxInnermost: Int) -> [Int] {
        if n == 1 { return [extent] }
        let inner = divisors(extent).filter { $0 <= maxInnermost }
        var rest = extent
        var factors: [Int] = [inner[Int(random.next() % UInt64(inner.count))]]
        rest /= factors[0]
        for _ in 0..<(n - 2) {
            let d = divisors(rest)
            let x = d[Int(random.next() % UInt64(d.count))]
            factors.append(x)
            rest /= x
        }
        factors.append(rest)
        return factors.reversed()
    }

    private func divisors(_ n: Int) -> [Int] {
        var low: [Int] = []
        var high: [Int] = []
        var i = 1
        while i <= n / i {
            if n % i == 0 {
                low.append(i)
                if i != n / i { high.append(n / i) }
            }
            i += 1
        }
        return low + high.reversed()
    }
}
