import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// Extents 0 and 1, powers of two and not.
private let shapes: [(Int, Int)] = [(0, 3), (3, 0), (0, 0), (1, 1), (1, 6), (7, 1), (5, 7), (4, 16), (13, 9)]
private let types: [DataType] = [.float64, .float32, .int32, .int64]

private func whole(_ n: Int, _ seed: Int) -> [Double] { numbers(n, seed, -4, 5).map { $0.rounded(.down) } }

private func least(_ d: DataType) -> Double { d.isFloat ? -.infinity : (d == .int32 ? -0x1p31 : -0x1p63) }
private func greatest(_ d: DataType) -> Double { d.isFloat ? .infinity : (d == .int32 ? 0x1p31 - 1 : 0x1p63) }

@Suite struct ReducerInterpretationTests {
    /// A reduction of rows against the same fold in Swift.
    private func check(
        _ s: (Int, Int), _ d: DataType, _ reduce: (PrimExpr, [IterVar]) -> PrimExpr,
        _ fold: ([Double]) -> Double
    ) throws {
        let (m, n) = s
        let a = placeholder([m, n], d, name: "A")
        let k = reduceAxis(n)
        let rows = try compute([m], name: "R") { reduce(a[$0[0], k.variable], [k]) }
        let x = whole(m * n, m * 31 + n)
        let found = try interpret([rows], [(tensor: a, values: x)])[0]
        #expect(found == (0..<m).map { i in fold(Array(x[(i * n)..<(i * n + n)])) })
        // Over both axes at once.
        let (p, q) = (reduceAxis(m, name: "p"), reduceAxis(n, name: "q"))
        let total = try compute([Int](), name: "T") { _ in reduce(a[p.variable, q.variable], [p, q]) }
        #expect(try interpret([total], [(tensor: a, values: x)])[0] == [fold(x)])
    }

    @Test(arguments: shapes, types) func sums(_ s: (Int, Int), _ d: DataType) throws {
        try check(s, d, { reduceSum($0, $1) }) { $0.reduce(0, +) }
        try check(s, d, { reduceSum($0, $1, where: $0 .> const(0, d)) }) { $0.filter { $0 > 0 }.reduce(0, +) }
    }

    @Test(arguments: shapes, types) func products(_ s: (Int, Int), _ d: DataType) throws {
        // Of 1 and -1, which no order and no type rounds.
        func sign(_ v: Double) -> Double { v > 0 ? 1 : -1 }
        try check(s, d, { e, k in reduceProd(select(e .> const(0, d), const(1, d), const(-1, d)), k) }) {
            $0.map(sign).reduce(1, *)
        }
    }

    @Test(arguments: shapes, types) func extremes(_ s: (Int, Int), _ d: DataType) throws {
        try check(s, d, { reduceMax($0, $1) }) { $0.max() ?? least(d) }
        try check(s, d, { reduceMin($0, $1) }) { $0.min() ?? greatest(d) }
        try check(s, d, { reduceMax($0, $1, where: $0 .< const(0, d)) }) {
            $0.filter { $0 < 0 }.max() ?? least(d)
        }
    }

    @Test(arguments: shapes) func anyAndAll(_ s: (Int, Int)) throws {
        func asInt(_ e: PrimExpr, _ k: [IterVar], _ f: (PrimExpr, [IterVar]) -> PrimExpr) -> PrimExpr {
            f(e .> const(2, .int32), k)
        }
        let (m, n) = s
        let a = placeholder([m, n], .int32, name: "A")
        let k = reduceAxis(n)
        let x = whole(m * n, 77)
        for every in [true, false] {
            let r = try compute([m], name: "R") {
                asInt(a[$0[0], k.variable], [k]) { every ? reduceAll($0, $1) : reduceAny($0, $1) }
            }
            let number = try compute([m], name: "N") { cast(.int32, r[$0]) }
            let found = try interpret([number], [(tensor: a, values: x)])[0]
            for i in 0..<m {
                let row = x[(i * n)..<(i * n + n)]
                let expected = every ? row.allSatisfy { $0 > 2 } : row.contains { $0 > 2 }
                #expect(found[i] == (expected ? 1 : 0))
            }
        }
    }

    @Test(arguments: shapes) func argmaxAndArgmin(_ s: (Int, Int)) throws {
        let (m, n) = s
        let a = placeholder([m, n], .float64, name: "A")
        let k = te.reduceAxis(0..<n)
        let x = whole(m * n, 5)
        for greatest in [true, false] {
            let r = te.computeTupleIndexed([m], name: "R") { i in
                let value = a[i[0], k.variable]
                return greatest
                    ? te.argmax(k.variable, value, axis: k) : te.argmin(k.variable, value, axis: k)
            }
            let found = try interpret(r, [(tensor: a, values: x)])
            for i in 0..<m where n > 0 {
                let row = Array(x[(i * n)..<(i * n + n)])
                let best = (greatest ? row.max() : row.min()) ?? 0
                #expect(found[1][i] == best)
                #expect(found[0][i] == Double(row.firstIndex(of: best) ?? -1))
            }
        }
    }

    @Test(arguments: shapes) func initialValuesAndOwnReducers(_ s: (Int, Int)) throws {
        let (m, n) = s
        let a = placeholder([m, n], .float64, name: "A")
        let x = numbers(m * n, 9, 0, 0.5)
        let k = te.reduceAxis(0..<n)
        let started = try compute([m], name: "S") {
            te.sum(a[$0[0], k.variable], axis: k, initial: const(2.5, .float64))
        }
        // x + y + x * y: the product of 1 + x, less 1.
        let (p, q) = (Var("p", dtype: .float64), Var("q", dtype: .float64))
        let own = CommReducer(lhs: [p], rhs: [q], result: [p + q + p * q], identity: [const(0.0, .float64)])
        let mine = try compute([m], name: "M") { Reduce(own, [a[$0[0], k.variable]], [k]) }
        let found = try interpret([started, mine], [(tensor: a, values: x)])
        for i in 0..<m {
            let row = x[(i * n)..<(i * n + n)]
            #expect(abs(found[0][i] - row.reduce(2.5, +)) < 1e-12)
            #expect(abs(found[1][i] - (row.reduce(1) { $0 * (1 + $1) } - 1)) < 1e-9)
        }
    }

    @Test func notANumberWins() throws {
        let a = placeholder([4], .float64, name: "A")
        let k = reduceAxis(4)
        let r = try [reduceMax(a[k.variable], [k]), reduceMin(a[k.variable], [k])].map { e in
            try compute([Int](), name: "R") { _ in e }
        }
        #expect(try interpret(r, [(tensor: a, values: [1, .nan, 3, 2])]).allSatisfy { $0[0].isNaN })
    }
}

@Suite struct OperationInterpretationTests {
    @Test(arguments: shapes, types) func arithmeticOfTensors(_ s: (Int, Int), _ d: DataType) throws {
        let (m, n) = s
        let a = placeholder([m, n], d, name: "A")
        let b = placeholder([n], d, name: "B")
        let (x, y) = (whole(m * n, 21), whole(n, 22))
        let results = [a + b, a - b, a * b, a + a, 3 * a, -a]
        let found = try interpret(results, [(tensor: a, values: x), (tensor: b, values: y)])
        for i in 0..<(m * n) {
            let (p, q) = (x[i], y[i % n])
            let got = found.map { $0[i] }
            // -0 and 0 are one number here.
            #expect(got == [p + q, p - q, p * q, p + p, 3 * p, -p])
        }
    }

    @Test(arguments: shapes) func computeTransposesAndGathers(_ s: (Int, Int)) throws {
        let (m, n) = s
        let a = placeholder([m, n], .float32, name: "A")
        let x = whole(m * n, 3)
        let t = try compute([n, m], name: "T") { a[$0[1], $0[0]] }
        let r = try compute([m, n], name: "R") { a[const(m - 1) - $0[0], $0[1]] }
        let found = try interpret([t, r], [(tensor: a, values: x)])
        for i in 0..<m {
            for j in 0..<n {
                #expect(found[0][j * m + i] == x[i * n + j])
                #expect(found[1][i * n + j] == x[(m - 1 - i) * n + j])
            }
        }
    }

    @Test(arguments: shapes) func externSorts(_ s: (Int, Int)) throws {
        // Rows by insertion: a statement over buffers with loops whose bounds depend on each other.
        let (m, n) = s
        let a = placeholder([m, n], .int64, name: "A")
        let x = whole(m * n, 8)
        let sorted = extern([(shape: a.shape, dtype: .int64)], inputs: [a], name: "sorted") { i, o in
            forLoop("r", const(m)) { r in
                SeqStmt([
                    forLoop("c", const(n)) { BufferStore(o[0], BufferLoad(i[0], [r, $0]), [r, $0]) },
                    forLoop("p", const(n)) { p in
                        forLoop("q", const(n - 1)) { q in
                            let (u, v) = (BufferLoad(o[0], [r, q]), BufferLoad(o[0], [r, q + 1]))
                            let hold = Var("hold", dtype: .int64)
                            return IfThenElse(
                                u .> v,
                                LetStmt(
                                    hold, u,
                                    SeqStmt([
                                        BufferStore(o[0], v, [r, q]), BufferStore(o[0], hold, [r, q + 1]),
                                    ])))
                        }
                    },
                ])
            }
        }
        let found = try interpret(sorted, [(tensor: a, values: x)])[0]
        #expect(found == (0..<m).flatMap { i in x[(i * n)..<(i * n + n)].sorted() })
    }

    @Test(arguments: [(1, 1), (1, 4), (2, 3), (9, 5), (16, 1), (3, 0)]) func scanAccumulates(_ s: (Int, Int))
        throws
    {
        let (m, n) = s
        let a = placeholder([m, n], .float64, name: "A")
        let state = placeholder([m, n], .float64, name: "state")
        let first = try compute([1, n], name: "first") { a[const(0), $0[1]] }
        let step = try compute([m, n], name: "step") {
            state[$0[0] - 1, $0[1]] * const(0.5, .float64) + a[$0]
        }
        let r = te.scan(first, step, state, inputs: [a])
        let x = numbers(m * n, 4)
        let found = try interpret([r], [(tensor: a, values: x)])[0]
        var expected = x
        for i in n..<Swift.max(m * n, n) { expected[i] = expected[i - n] * 0.5 + x[i] }
        #expect(found == expected)
    }

    @Test(arguments: [(3, 4, 5), (1, 1, 1), (4, 3, 0), (0, 2, 2), (7, 8, 9)]) func chains(
        _ s: (Int, Int, Int)
    ) throws {
        let (m, n, r) = s
        let a = placeholder([m, r], .float64, name: "A")
        let b = placeholder([r, n], .float64, name: "B")
        let k = reduceAxis(r)
        let c = try compute([m, n], name: "C") { reduceSum(a[$0[0], k.variable] * b[k.variable, $0[1]], [k]) }
        let d = try compute([m, n], name: "D") { maximum(c[$0], const(0.0, .float64)) }
        let j = reduceAxis(n, name: "j")
        let e = try compute([m], name: "E") { reduceSum(d[$0[0], j.variable], [j]) }
        let (x, y) = (whole(m * r, 1), whole(r * n, 2))
        let found = try interpret([e], [(tensor: a, values: x), (tensor: b, values: y)])[0]
        for i in 0..<m {
            var sum = 0.0
            for j in 0..<n {
                var dot = 0.0
                for k in 0..<r { dot += x[i * r + k] * y[k * n + j] }
                sum += Swift.max(dot, 0)
            }
            #expect(found[i] == sum)
        }
    }
}
