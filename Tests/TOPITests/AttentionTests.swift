import ApusRuntime
import ApusTE
import ApusTOPI
import ApusTarget
import Foundation
import Testing

/// Attention against a reference of plain loops: the formula, and the kernel for machines of other vectors and caches.
@Suite struct AttentionTests {
    struct Case: Sendable, CustomStringConvertible {
        var outer = [2, 3]
        let rows: Int
        let keys: Int
        let depth: Int
        var width: Int?
        var causal = false
        /// Extents of the mask: the last ones are rows and keys.
        var mask: [Int]?
        /// Leading extents of keys and values.
        var shared: [Int]?
        var axes: [Int] = []
        var description: String {
            "\(outer) \(rows)x\(keys)x\(depth)x\(width ?? depth) causal \(causal) mask \(mask ?? []) of \(shared ?? outer) axes \(axes)"
        }
    }

    static let cases: [Case] = [
        Case(rows: 16, keys: 16, depth: 16),
        // A row alone (decoding), a key alone, nothing a multiple of anything.
        Case(rows: 1, keys: 37, depth: 8),
        Case(rows: 5, keys: 1, depth: 3, width: 1),
        Case(rows: 7, keys: 11, depth: 5, width: 3),
        Case(outer: [], rows: 33, keys: 29, depth: 20, width: 12),
        // Several tiles of rows, the last one part full.
        Case(outer: [1], rows: 197, keys: 64, depth: 24),
        // Masks by key, by row and key, of each head.
        Case(rows: 9, keys: 13, depth: 8, mask: [13]),
        Case(rows: 9, keys: 13, depth: 8, mask: [1, 1, 9, 13]),
        Case(rows: 20, keys: 21, depth: 8, mask: [2, 1, 1, 21]),
        Case(rows: 20, keys: 21, depth: 8, mask: [3, 20, 21]),
        Case(rows: 70, keys: 150, depth: 16, mask: [70, 1]),
        // Each row to its own key, with more keys than rows too.
        Case(rows: 40, keys: 40, depth: 16, causal: true),
        Case(outer: [3], rows: 67, keys: 90, depth: 7, causal: true),
        Case(rows: 30, keys: 33, depth: 16, causal: true, mask: [1, 1, 1, 33]),
        // Many blocks of keys.
        Case(outer: [1, 2], rows: 35, keys: 403, depth: 16, width: 20),
        Case(outer: [2], rows: 131, keys: 301, depth: 16, causal: true, mask: [131, 301]),
        // Heads that share keys and values.
        Case(outer: [4, 2], rows: 12, keys: 12, depth: 16, shared: [4, 1]),
        Case(
            outer: [4, 2], rows: 12, keys: 15, depth: 16, causal: true, shared: [1, 1], axes: [2, 0, 1, 3]),
        Case(rows: 18, keys: 22, depth: 16, axes: [0, 2, 1, 3]),
    ]

    /// Processors of vectors of 4, 8 and 16 numbers, one with a cache that holds a few keys only.
    static let targets = [
        "llvm -mcpu=x86-64", "llvm -mcpu=haswell", "llvm -mcpu=znver4 -l1-bytes=4096",
    ]

    private struct Data {
        let q: Arr
        let k: Arr
        let v: Arr
        let mask: Arr?
        let expected: Arr
    }

    /// Operands, and the result by the formula in double precision.
    private func data(_ c: Case, scale: Double) -> Data {
        var dice = Dice(c.rows * 1000 + c.keys)
        let shared = c.shared ?? c.outer
        let width = c.width ?? c.depth
        let q = dice.array(c.outer + [c.rows, c.depth])
        let k = dice.array(shared + [c.keys, c.depth])
        let v = dice.array(shared + [c.keys, width])
        var mask = c.mask.map { dice.array($0) }
        if let m = mask {
            // Some keys hidden altogether, the first one never.
            let step = m.shape[m.shape.count - 1]
            mask?.data = m.data.enumerated().map { n, x in
                n % step > 0 && n % 5 == 3 ? -3.4028234663852886e38 : x
            }
        }
        let order = c.axes.isEmpty ? Array(0..<(c.outer.count + 2)) : c.axes
        let full = c.outer + [c.rows, width]
        let expected = Arr(order.map { full[$0] }) { i in
            var at = i
            for (n, a) in order.enumerated() { at[a] = i[n] }
            let outer = Array(at.dropLast(2))
            let own = zip(outer, shared).map { $1 == 1 ? 0 : $0 }
            let row = at[at.count - 2]
            var scores: [Double] = []
            for key in 0..<c.keys {
                if c.causal, key > row + c.keys - c.rows { continue }
                var s = 0.0
                for d in 0..<c.depth { s += q[outer + [row, d]] * k[own + [key, d]] }
                s *= scale
                if let mask { s += mask.broadcast(outer + [row, key]) }
                scores.append(s)
            }
            let top = scores.max() ?? 0
            let e = scores.map { exp($0 - top) }
            var sum = 0.0
            for (key, w) in e.enumerated() { sum += w * v[own + [key, at[at.count - 1]]] }
            return sum / e.reduce(0, +)
        }
        return Data(q: q, k: k, v: v, mask: mask, expected: expected)
    }

    @Test(arguments: cases)
    func formula(_ c: Case) throws {
        let d = data(c, scale: 0.3)
        try check(
            "nn.attention", ["scale": .float(0.3), "causal": .bool(c.causal), "axes": .ints(c.axes)],
            [d.q, d.k, d.v] + [d.mask].compactMap { $0 }, [d.expected], tolerance: 1e-5)
    }

    /// Every case for one of the processors in turn.
    @Test(arguments: zip(cases, (0..<cases.count).map { targets[$0 % targets.count] }))
    func kernel(_ c: Case, _ target: String) throws {
        // Other processors' kernels run here as long as this one knows vectors of their length.
        let machine = try Target(target).machine
        let d = data(c, scale: 0.3)
        let inputs = [d.q, d.k, d.v] + [d.mask].compactMap { $0 }
        let places = inputs.enumerated().map { placeholder($0.element.shape, name: "p\($0.offset)") }
        let result = try #require(
            try TOPI.fusedAttention(
                places[0], places[1], places[2], mask: places.count > 3 ? places[3] : nil, scale: 0.3,
                causal: c.causal,
                axes: c.axes, machine: machine))
        let function = try createPrimFunc(places + [result])
        let values = try run(function, [result], inputs) { try runCompiled($0, $1) }
        #expect(values[0].shape == d.expected.shape)
        expectClose(values[0], d.expected, 2e-6, "\(c) \(target)", #_sourceLocation)
    }

    /// Queries, keys and values within one matrix, read in place; keys transposed.
    @Test func operandsWhereTheyLie() throws {
        let (rows, heads, depth) = (37, 3, 16)
        let c = Case(outer: [heads], rows: rows, keys: rows, depth: depth)
        let d = data(c, scale: 0.25)
        let all = Arr([rows, 3 * heads * depth]) { i in
            let part = i[1] / (heads * depth)
            let at = [i[1] / depth % heads, i[0], i[1] % depth]
            return [d.q, d.k, d.v][part][at]
        }
        let turned = Arr([heads, depth, rows]) { d.k[[$0[0], $0[2], $0[1]]] }
        let places = [placeholder(all.shape, name: "all"), placeholder(turned.shape, name: "turned")]
        func part(_ n: Int) throws -> Tensor {
            try TOPI.stridedView(
                places[0], shape: [heads, rows, depth], strides: [depth, 3 * heads * depth, 1],
                offset: n * heads * depth)
        }
        let key = try TOPI.stridedView(
            places[1], shape: [heads, rows, depth], strides: [rows * depth, 1, rows])
        for k in [try part(1), key] {
            let result = try #require(
                try TOPI.fusedAttention(
                    try part(0), k, try part(2), scale: 0.25, machine: try Target(Self.targets[2]).machine))
            let function = try createPrimFunc(places + [result])
            let values = try run(function, [result], [all, turned]) { try runCompiled($0, $1) }
            expectClose(values[0], d.expected, 2e-6, "views", #_sourceLocation)
        }
    }

    /// A row of which nothing can be seen has no weights; one hidden by the least number has equal ones.
    @Test func hiddenRows() throws {
        let places = [[1, 16, 8], [1, 20, 8], [1, 20, 8], [16, 20]].map { placeholder($0) }
        let result = try #require(
            try TOPI.fusedAttention(
                places[0], places[1], places[2], mask: places[3], machine: try Target(Self.targets[2]).machine
            ))
        var dice = Dice(7)
        var inputs = places.prefix(3).map { dice.array($0.staticShape ?? []) }
        inputs.append(Arr([16, 20]) { $0[0] == 3 ? -.infinity : ($0[0] == 4 ? -3.4028234663852886e38 : 0) })
        let values = try run(try createPrimFunc(places + [result]), [result], inputs) {
            try runCompiled($0, $1)
        }
        for column in 0..<8 {
            #expect(values[0][[0, 3, column]].isNaN)
            let mean = (0..<20).reduce(0) { $0 + inputs[2][[0, $1, column]] } / 20
            #expect(abs(values[0][[0, 4, column]] - mean) < 1e-6)
            #expect(values[0][[0, 5, column]].isFinite)
        }
    }

    @Test func whereItPays() throws {
        let machine = try Target("llvm -mcpu=znver4 -num-cores=2").machine
        func pays(_ rows: Int) -> Bool {
            TOPI.attentionPays(
                AttentionShape(outer: [12], rows: rows, keys: 128, depth: 64, width: 64), machine: machine)
        }
        #expect(pays(64) && pays(197) && pays(4096))
        // Most lanes of each vector would be idle.
        #expect(!pays(1) && !pays(4))
        let plan = try #require(
            AttentionPlan(AttentionShape(outer: [12], rows: 4096, keys: 4096, depth: 64, width: 64), machine))
        #expect(plan.blocks > 1 && plan.block * plan.rows * 4 <= machine.l1Bytes)
        // More cores than tiles: smaller ones.
        let many = try Target("llvm -mcpu=znver4 -num-cores=64").machine
        let small = try #require(
            AttentionPlan(AttentionShape(outer: [12], rows: 64, keys: 64, depth: 64, width: 64), many))
        #expect(small.rows < 64)
    }

    @Test func viewsOutsideOfMemory() {
        let x = placeholder([4, 6])
        #expect(throws: (any Error).self) { try TOPI.stridedView(x, shape: [4, 7], strides: [6, 1]) }
        #expect(throws: (any Error).self) { try TOPI.stridedView(x, shape: [5, 6], strides: [6, 1]) }
        #expect(throws: (any Error).self) { try TOPI.stridedView(x, shape: [12], strides: [2]) }
        #expect(throws: (any Error).self) { try TOPI.stridedView(x, shape: [2], strides: [1], offset: 23) }
    }
}
