import Apus

/// Index expressions such as tiling, fusing and padding make, from a fixed seed: the same on every machine and run.
struct Corpus {
    let variables: [Var]
    let expressions: [PrimExpr]
    static let extents = [4, 8, 7, 16, 3, 32, 14, 64]

    init(count: Int) {
        var state: UInt64 = 2020
        func below(_ n: Int) -> Int {
            // Steps of a linear congruential generator (Knuth, MMIX); the upper bits are the random ones.
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(n))
        }
        let variables = Corpus.extents.indices.map { Var("i\($0)") }
        func expression(_ depth: Int) -> PrimExpr {
            if depth == 0 { return below(4) == 0 ? const(below(40)) : variables[below(variables.count)] }
            let a = expression(depth - 1)
            switch below(12) {
            case 0, 1, 2: return a + expression(depth - 1)
            case 3: return a - expression(depth - 1)
            case 4, 5: return a * const(Corpus.extents[below(Corpus.extents.count)])
            case 6, 7: return floorDiv(a, const(1 + below(16)))
            case 8, 9: return floorMod(a, const(1 + below(16)))
            case 10: return minimum(a, expression(depth - 1))
            default: return maximum(a, const(below(30)))
            }
        }
        self.variables = variables
        expressions = (0..<count).map { i in
            let e = expression(2 + i % 4)
            return i % 5 == 0 ? e .< expression(1 + i % 3) : e
        }
    }

    /// An analyzer that knows the range of each variable.
    func analyzer() -> Analyzer {
        let a = Analyzer()
        for (v, n) in zip(variables, Corpus.extents) { a.bind(v, IRRange(extent: const(n))) }
        return a
    }
}
