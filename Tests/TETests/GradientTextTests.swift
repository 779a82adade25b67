import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTestSupport
import Testing

private func input(_ shape: [Int], _ name: String = "A") -> Tensor {
    placeholder(shape, .float32, name: name)
}

/// The text of the function that computes the gradient of `output` by `x`, without its first line.
private func body(_ output: Tensor, _ x: Tensor, _ parameters: [Tensor] = []) throws -> String {
    let head = placeholder(output.shape, output.dtype, name: "head")
    let g = try gradient(output, [x], head: head)
    return statements(try createPrimFunc(parameters + [head] + g))
}

private func statements(_ f: PrimFunc) -> String {
    let lines = f.description.split(separator: "\n").drop { !$0.contains("T.block(\"root\")") }.dropFirst()
    return lines.map { String($0.dropFirst(8)) }.joined(separator: "\n")
}

@Suite struct GradientTextTests {
    @Test func matmul() throws {
        let a = input([16, 32])
        let b = input([32, 8], "B")
        let k = reduceAxis(32)
        let c = try compute([16, 8], name: "C") {
            reduceSum(a[$0[0], k.variable] * b[k.variable, $0[1]], [k])
        }
        #expect(
            try body(c, a, [b]) == """
                for i0, i1, i1_1 in T.grid(16, 32, 8):
                    with T.block("A_grad"):
                        v_i0, v_i1, v_i1_1 = T.axis.remap("SSR", [i0, i1, i1_1])
                        T.reads(head[v_i0, v_i1_1], B[v_i1, v_i1_1])
                        T.writes(A_grad[v_i0, v_i1])
                        with T.init():
                            A_grad[v_i0, v_i1] = T.float32(0.0)
                        A_grad[v_i0, v_i1] = A_grad[v_i0, v_i1] + head[v_i0, v_i1_1] * B[v_i1, v_i1_1]
                """)
        #expect(
            statements(try createPrimFunc([b, try jacobian(c, a)])) == """
                for i0, i1, i2, i3 in T.grid(16, 8, 16, 32):
                    with T.block("C_jacobian"):
                        v_i0, v_i1, v_i2, v_i3 = T.axis.remap("SSSS", [i0, i1, i2, i3])
                        T.reads(B[v_i3, v_i1])
                        T.writes(C_jacobian[v_i0, v_i1, v_i2, v_i3])
                        C_jacobian[v_i0, v_i1, v_i2, v_i3] = T.if_then_else(v_i0 == v_i2, B[v_i3, v_i1], T.float32(0.0))
                """)
    }

    /// The loops of the only sum in a gradient: (spatial…, summed…).
    private func loops(_ output: Tensor, _ x: Tensor, _ parameters: [Tensor] = []) throws -> [Int] {
        let head = placeholder(output.shape, output.dtype, name: "head")
        let g = try gradient(output, [x], head: head)
        var extents: [Int] = []
        postOrderVisit(
            try createPrimFunc(parameters + [head] + g).body,
            stmt: { s in if let f = s as? For { extents.insert(f.extent.asInt ?? -1, at: 0) } })
        return extents
    }

    /// No loop is longer than the positions of the window that cover an element.
    @Test(arguments: [(1, 3, 3), (2, 3, 2), (3, 3, 0), (2, 4, 2), (3, 4, 2), (4, 3, 0), (2, 1, 0)])
    func windowsAreEnumeratedTightly(_ s: (stride: Int, window: Int, summed: Int)) throws {
        let x = input([25], "x")
        let r = reduceAxis(s.window, name: "r")
        let p = try compute([(25 - s.window) / s.stride + 1], name: "P") {
            reduceSum(x[$0[0] * s.stride + r.variable], [r])
        }
        #expect(try loops(p, x) == [25] + (s.summed > 1 ? [s.summed] : []))
    }

    @Test func whatOnlyMovesElementsNeedsNoLoop() throws {
        let a = input([16, 32])
        let flat = try compute([512], name: "flat") { a[floorDiv($0[0], 32), floorMod($0[0], 32)] }
        #expect(
            try body(flat, a) == """
                for i0, i1 in T.grid(16, 32):
                    with T.block("A_grad"):
                        v_i0, v_i1 = T.axis.remap("SS", [i0, i1])
                        T.reads(head[v_i0 * 32 + v_i1])
                        T.writes(A_grad[v_i0, v_i1])
                        A_grad[v_i0, v_i1] = head[v_i0 * 32 + v_i1]
                """)
        let padded = try compute([18, 34], name: "padded") { i in
            ifThenElse(
                all([i[0] .>= 1, i[0] .< 17, i[1] .>= 1, i[1] .< 33]), a[i[0] - 1, i[1] - 1],
                const(0.0, .float32))
        }
        #expect(try body(padded, a).hasSuffix("A_grad[v_i0, v_i1] = head[v_i0 + 1, v_i1 + 1]"))
        let turned = try compute([32, 16], name: "turned") { a[const(15) - $0[1], $0[0]] }
        #expect(try body(turned, a).hasSuffix("A_grad[v_i0, v_i1] = head[v_i1, 15 - v_i0]"))
        let cube = try compute([16, 4, 8], name: "cube") { a[$0[0], $0[1] * 8 + $0[2]] }
        #expect(try loops(cube, a) == [16, 32])
        let broadcast = try compute([5, 16, 32], name: "many") { a[$0[1], $0[2]] }
        #expect(try loops(broadcast, a) == [16, 32, 5])
    }

    /// A chain of n operations has a gradient of a constant number of statements each.
    @Test(arguments: [4, 8, 16, 32]) func gradientsDoNotBlowUp(_ n: Int) throws {
        let a = input([8])
        var t = a
        for _ in 0..<n {
            let before = t
            t = try compute([8], name: "T") { tanh(before[$0]) * before[$0] + exp(before[$0]) }
        }
        let head = placeholder([8], .float32, name: "head")
        let f = try createPrimFunc([a, head] + (try gradient(t, [a], head: head)))
        var stores = 0
        var nodes = 0
        postOrderVisit(
            f.body, expr: { _ in nodes += 1 }, stmt: { s in if s.stmtKind == .bufferStore { stores += 1 } })
        #expect(stores == 2 * n - 1)
        #expect(nodes <= 80 * n)
        // Within one formula: the adjoint of a nest of n functions grows with n squared at most, not exponentially.
        var e = a[const(0)] as PrimExpr
        for _ in 0..<n { e = tanh(e) }
        let deep = try compute([1], name: "D") { _ in e }
        let one = placeholder([1], .float32, name: "one")
        let g = try gradient(deep, [a], head: one)[0]
        let body = try #require((g.op as? ComputeOp)?.body.first)
        #expect(expressionSize(body) <= 8 * n * n + 40)
    }
}

/// Gradients of random reads against the definition: every iteration adds its head to the element it reads.
@Suite struct GradientFuzzTests {
    private static func index(
        _ random: inout SeededRandom, _ vars: [(e: PrimExpr, extent: Int)], depth: Int
    ) -> PrimExpr {
        guard depth > 0, let v = random.pick(vars) else { return const(random.below(3)) }
        switch random.below(7) {
        case 0, 1: return v.e
        case 2: return v.e * (random.below(5) - 2) + index(&random, vars, depth: depth - 1)
        case 3: return index(&random, vars, depth: depth - 1) + index(&random, vars, depth: depth - 1)
        case 4: return index(&random, vars, depth: depth - 1) - v.e
        case 5: return floorDiv(index(&random, vars, depth: depth - 1), random.below(4) + 1)
        default: return floorMod(index(&random, vars, depth: depth - 1), random.below(4) + 1)
        }
    }

    @Test func randomReadsFuzz() throws {
        let run = FuzzRun("te.gradient", cases: 400)
        var differences = 0
        var summed = 0
        while let seed = run.next() {
            var random = SeededRandom(seed: seed)
            let shape = (0..<(1 + random.below(2))).map { _ in 1 + random.below(5) }
            let reduce = (0..<random.below(3)).map { reduceAxis(1 + random.below(4), name: "r\($0)") }
            let dims = (0..<(1 + random.below(2))).map { _ in 2 + random.below(6) }
            let a = placeholder(dims, .float64, name: "A")
            var functions: [PrimExpr] = []
            let all = shape + reduce.map { $0.dom.extent.asInt ?? 1 }
            let vars = all.indices.map { Var("x\($0)") }
            let bounded = zip(vars, all).map { (e: $0 as PrimExpr, extent: $1) }
            for d in dims { functions.append(floorMod(Self.index(&random, bounded, depth: 3), d)) }
            // Half of the time within bounds by a guard instead of a remainder.
            var guardExpr: PrimExpr = trueExpr
            if random.below(2) == 0 {
                functions = functions.map { ($0 as? FloorMod)?.a ?? $0 }
                for (f, d) in zip(functions, dims) { guardExpr = and(guardExpr, and(f .>= 0, f .< d)) }
            }
            func at(_ e: PrimExpr, _ i: [PrimExpr]) -> PrimExpr {
                substitute(e, Dictionary(uniqueKeysWithValues: zip(vars, i)))
            }
            let out = try compute(shape, name: "out") { i in
                let point = i + reduce.map { $0.variable as PrimExpr }
                let read = ifThenElse(
                    at(guardExpr, point), a[functions.map { at($0, point) }], const(0.0, .float64))
                return reduce.isEmpty ? read : reduceSum(read, reduce)
            }
            let head = placeholder(shape, .float64, name: "head")
            let weights = numbers(shape.reduce(1, *), Int(truncatingIfNeeded: seed))
            let g = try gradient(out, [a], head: head)[0]
            if (g.op as? ComputeOp)?.reduction != nil { summed += 1 }
            let found = try interpret([g], [(tensor: head, values: weights)])[0]
            // The indices themselves, for every iteration.
            let tables = try (functions + [cast(.index, guardExpr)]).map { f in
                try compute(all, name: "table") { at(f, $0) }
            }
            let values = try interpret(tables, [])
            var expected = [Double](repeating: 0, count: dims.reduce(1, *))
            let inner = reduce.reduce(1) { $0 * ($1.dom.extent.asInt ?? 1) }
            for i in values[0].indices where values[dims.count][i] != 0 {
                var flat = 0
                for (d, n) in dims.enumerated() { flat = flat * n + Int(values[d][i]) }
                expected[flat] += weights[i / inner]
            }
            if zip(found, expected).contains(where: { abs($0 - $1) > 1e-9 }) {
                differences += 1
                Issue.record(
                    "seed \(seed): \(functions) of \(all), guard \(guardExpr)\n\(found)\n\(expected)")
            }
        }
        run.finish(differences: differences, "summed \(summed)")
    }
}
