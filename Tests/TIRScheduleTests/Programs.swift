import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Builds functions as tensor-expression lowering makes them: a root block, one loop nest a block.
struct Program {
    var parameters: [Buffer] = []
    var allocated: [Buffer] = []
    var nests: [Stmt] = []

    mutating func input(_ name: String, _ shape: [Int]) -> Buffer {
        let b = Buffer(name, shape)
        parameters.append(b)
        return b
    }
    mutating func output(_ name: String, _ shape: [Int]) -> Buffer { input(name, shape) }
    mutating func temporary(_ name: String, _ shape: [Int]) -> Buffer {
        let b = Buffer(name, shape)
        allocated.append(b)
        return b
    }

    /// One block writing `out` over its whole shape, with reduction loops of the given extents.
    mutating func compute(
        _ name: String, _ out: Buffer, reduce: [Int] = [], initial: PrimExpr? = nil,
        _ value: ([PrimExpr], [PrimExpr]) -> PrimExpr
    ) {
        let shape = out.staticShape ?? []
        var loops: [(Var, Int)] = []
        var iters: [IterVar] = []
        let spatialNames = ["i", "j", "k", "l"]
        for (d, n) in shape.enumerated() {
            loops.append((Var(spatialNames[d]), n))
            iters.append(IterVar(IRRange(0, extent: n), Var("v" + spatialNames[d]), .dataParallel))
        }
        for (d, n) in reduce.enumerated() {
            loops.append((Var("r\(d)"), n))
            iters.append(IterVar(IRRange(0, extent: n), Var("vr\(d)"), .commReduce))
        }
        let s: [PrimExpr] = iters.prefix(shape.count).map { $0.variable }
        let r: [PrimExpr] = iters.dropFirst(shape.count).map { $0.variable }
        let v = value(s, r)
        var reads: [BufferRegion] = []
        postOrderVisit(v) { e in
            guard let l = e as? BufferLoad, l.buffer !== out,
                !reads.contains(where: { $0.buffer === l.buffer })
            else { return }
            reads.append(BufferRegion(l.buffer, point: l.indices))
        }
        let block = Block(
            name, iterVars: iters, reads: reads, writes: [BufferRegion(out, point: s)],
            body: BufferStore(out, v, s), initial: initial.map { BufferStore(out, $0, s) })
        var nest: Stmt = BlockRealize(loops.map { $0.0 }, block)
        for (v, n) in loops.reversed() { nest = For(v, const(0), const(n), body: nest) }
        nests.append(nest)
    }

    var function: PrimFunc {
        let root = Block("root", body: SeqStmt.flat(nests), allocBuffers: allocated)
        return PrimFunc(buffers: parameters, body: BlockRealize([], root))
    }
}

func load(_ b: Buffer, _ i: PrimExpr...) -> PrimExpr { BufferLoad(b, i) }
private let zero: PrimExpr = FloatImm(0)

enum Programs {
    /// C = A * B
    static func matmul(_ n: Int = 6, _ m: Int = 7, _ k: Int = 5) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, k])
        let b = p.input("B", [k, m])
        let c = p.output("C", [n, m])
        p.compute("C", c, reduce: [k], initial: zero) { s, r in
            load(c, s[0], s[1]) + load(a, s[0], r[0]) * load(b, r[0], s[1])
        }
        return p.function
    }

    /// D = relu(A * B + bias)
    static func matmulRelu(_ n: Int = 6, _ m: Int = 8, _ k: Int = 5) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, k])
        let b = p.input("B", [k, m])
        let bias = p.input("bias", [m])
        let d = p.output("D", [n, m])
        let c = p.temporary("C", [n, m])
        let t = p.temporary("T", [n, m])
        p.compute("C", c, reduce: [k], initial: zero) { s, r in
            load(c, s[0], s[1]) + load(a, s[0], r[0]) * load(b, r[0], s[1])
        }
        p.compute("T", t) { s, _ in load(c, s[0], s[1]) + load(bias, s[1]) }
        p.compute("D", d) { s, _ in maximum(load(t, s[0], s[1]), zero) }
        return p.function
    }

    /// 3x3 convolution, padding 1, stride given, then bias and relu. data [C, H, W], weight [O, C, 3, 3].
    static func conv(c: Int = 2, h: Int = 5, w: Int = 6, o: Int = 4, stride: Int = 1) -> PrimFunc {
        var p = Program()
        let data = p.input("data", [c, h, w])
        let weight = p.input("weight", [o, c, 3, 3])
        let bias = p.input("bias", [o])
        let oh = (h + 2 - 3) / stride + 1
        let ow = (w + 2 - 3) / stride + 1
        let out = p.output("out", [o, oh, ow])
        let pad = p.temporary("pad", [c, h + 2, w + 2])
        let conv = p.temporary("conv", [o, oh, ow])
        let biased = p.temporary("biased", [o, oh, ow])
        p.compute("pad", pad) { s, _ in
            let (y, x): (PrimExpr, PrimExpr) = (s[1], s[2])
            let rows: PrimExpr = and(y .>= 1, y .< (h + 1))
            let columns: PrimExpr = and(x .>= 1, x .< (w + 1))
            let inside: PrimExpr = and(rows, columns)
            return ifThenElse(inside, load(data, s[0], s[1] - 1, s[2] - 1), zero)
        }
        p.compute("conv", conv, reduce: [c, 3, 3], initial: zero) { s, r in
            load(conv, s[0], s[1], s[2])
                + load(pad, r[0], s[1] * stride + r[1], s[2] * stride + r[2])
                * load(weight, s[0], r[0], r[1], r[2])
        }
        p.compute("biased", biased) { s, _ in load(conv, s[0], s[1], s[2]) + load(bias, s[0]) }
        p.compute("relu", out) { s, _ in maximum(load(biased, s[0], s[1], s[2]), zero) }
        return p.function
    }

    /// Softmax over rows: maximum, exponential, sum, division.
    static func softmax(_ n: Int = 5, _ m: Int = 6) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let out = p.output("out", [n, m])
        let mx = p.temporary("mx", [n])
        let ex = p.temporary("ex", [n, m])
        let sum = p.temporary("sum", [n])
        p.compute("mx", mx, reduce: [m], initial: minValue(.float32)) { s, r in
            maximum(load(mx, s[0]), load(a, s[0], r[0]))
        }
        p.compute("ex", ex) { s, _ in exp(load(a, s[0], s[1]) - load(mx, s[0])) }
        p.compute("sum", sum, reduce: [m], initial: zero) { s, r in load(sum, s[0]) + load(ex, s[0], r[0]) }
        p.compute("out", out) { s, _ in load(ex, s[0], s[1]) / load(sum, s[0]) }
        return p.function
    }

    /// Three elementwise steps.
    static func chain(_ n: Int = 6, _ m: Int = 10) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let d = p.output("D", [n, m])
        let b = p.temporary("B", [n, m])
        let c = p.temporary("C", [n, m])
        p.compute("B", b) { s, _ in load(a, s[0], s[1]) + FloatImm(1) }
        p.compute("C", c) { s, _ in load(b, s[0], s[1]) * load(b, s[0], s[1]) }
        p.compute("D", d) { s, _ in load(c, s[0], s[1]) - load(a, s[0], s[1]) }
        return p.function
    }

    /// Rows doubled through views of two rows each.
    static func views() throws -> PrimFunc {
        let text = """
            @T.prim_func
            def main(A: T.Buffer((6, 4), "float32", align=64), B: T.Buffer((6, 4), "float32", align=64)):
                for i in range(3):
                    for j in range(4):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            V = T.match_buffer(A[vi * 2:vi * 2 + 2, vj], (2, 1), "float32", strides=(s0, 1), elem_offset=o)
                            W = T.match_buffer(B[vi * 2:vi * 2 + 2, vj], (2, 1), "float32", strides=(t0, 1), elem_offset=p)
                            T.reads(A[vi * 2:vi * 2 + 2, vj])
                            T.writes(B[vi * 2:vi * 2 + 2, vj])
                            for k in range(2):
                                W[k, 0] = V[k, 0] * T.float32(2)
            """
        return try TIRParser.parseFunction(text)
    }

    /// A step, then a transposition, then a reshape [8, 6] -> [4, 12].
    static func layout() -> PrimFunc {
        var p = Program()
        let a = p.input("A", [6, 8])
        let d = p.output("D", [4, 12])
        let b = p.temporary("B", [6, 8])
        let c = p.temporary("C", [8, 6])
        p.compute("B", b) { s, _ in load(a, s[0], s[1]) * FloatImm(2) }
        p.compute("C", c) { s, _ in load(b, s[1], s[0]) }
        p.compute("D", d) { s, _ in
            let flat = s[0] * 12 + s[1]
            return load(c, floorDiv(flat, 6), floorMod(flat, 6))
        }
        return p.function
    }

    /// Rows of a picture laid end to end: B[24] = A * 2; C[2, 3, 4] = B, read line by line.
    static func lines() -> PrimFunc {
        var p = Program()
        let a = p.input("A", [24])
        let b = p.temporary("B", [24])
        let c = p.output("C", [2, 3, 4])
        p.compute("B", b) { s, _ in load(a, s[0]) * FloatImm(2) }
        p.compute("C", c) { s, _ in load(b, (s[0] * 3 + s[1]) * 4 + s[2]) }
        return p.function
    }

    /// A blur in two steps with a window of three: both steps have overlapping regions.
    static func blur(_ n: Int = 9, _ m: Int = 8) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let out = p.output("out", [n - 2, m - 2])
        let bx = p.temporary("bx", [n, m - 2])
        p.compute("bx", bx) { s, _ in
            load(a, s[0], s[1]) + load(a, s[0], s[1] + 1) + load(a, s[0], s[1] + 2)
        }
        p.compute("out", out) { s, _ in
            load(bx, s[0], s[1]) + load(bx, s[0] + 1, s[1]) + load(bx, s[0] + 2, s[1])
        }
        return p.function
    }

    /// Sum over both axes.
    static func total(_ n: Int = 6, _ m: Int = 7) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [2, n, m])
        let b = p.output("B", [2])
        p.compute("B", b, reduce: [n, m], initial: zero) { s, r in load(b, s[0]) + load(a, s[0], r[0], r[1]) }
        return p.function
    }

    /// Softmax over the last of four axes.
    static func softmax4() -> PrimFunc {
        var p = Program()
        let a = p.input("A", [2, 3, 2, 5])
        let out = p.output("out", [2, 3, 2, 5])
        let mx = p.temporary("mx", [2, 3, 2])
        let ex = p.temporary("ex", [2, 3, 2, 5])
        let sum = p.temporary("sum", [2, 3, 2])
        p.compute("mx", mx, reduce: [5], initial: minValue(.float32)) { s, r in
            maximum(BufferLoad(mx, s), BufferLoad(a, s + r))
        }
        p.compute("ex", ex) { s, _ in exp(BufferLoad(a, s) - BufferLoad(mx, Array(s.prefix(3)))) }
        p.compute("sum", sum, reduce: [5], initial: zero) { s, r in BufferLoad(sum, s) + BufferLoad(ex, s + r)
        }
        p.compute("out", out) { s, _ in BufferLoad(ex, s) / BufferLoad(sum, Array(s.prefix(3))) }
        return p.function
    }

    /// Mean and variance of rows, and the normalised rows.
    static func normalize(_ n: Int = 6, _ m: Int = 8) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let out = p.output("out", [n, m])
        let sum = p.temporary("sum", [n])
        let square = p.temporary("square", [n])
        let mean = p.temporary("mean", [n])
        p.compute("sum", sum, reduce: [m], initial: zero) { s, r in load(sum, s[0]) + load(a, s[0], r[0]) }
        p.compute("square", square, reduce: [m], initial: zero) { s, r in
            let x = load(a, s[0], r[0])
            return load(square, s[0]) + x * x
        }
        p.compute("mean", mean) { s, _ in load(sum, s[0]) / FloatImm(Double(m)) }
        p.compute("out", out) { s, _ in
            let variance: PrimExpr =
                load(square, s[0]) / FloatImm(Double(m)) - load(mean, s[0]) * load(mean, s[0])
            return (load(a, s[0], s[1]) - load(mean, s[0])) / (variance + FloatImm(1))
        }
        return p.function
    }

    /// A 1x1 convolution in the layout [C/4, H, 4], channels padded from 6 to 8, then back to [C, H].
    static func packed() -> PrimFunc {
        var p = Program()
        let data = p.input("data", [3, 5])
        let weight = p.input("weight", [2, 3, 4])
        let out = p.output("out", [6, 5])
        let conv = p.temporary("conv", [2, 5, 4])
        p.compute("conv", conv, reduce: [3], initial: zero) { s, r in
            load(conv, s[0], s[1], s[2]) + load(data, r[0], s[1]) * load(weight, s[0], r[0], s[2])
        }
        p.compute("unpack", out) { s, _ in load(conv, floorDiv(s[0], 4), s[1], floorMod(s[0], 4)) }
        return p.function
    }

    /// The largest element of each row and its place, as one reduction of pairs; then twice the largest.
    static func argmax(_ n: Int = 5, _ m: Int = 7) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let place = p.output("place", [n])
        let double = p.output("double", [n])
        let best = p.temporary("best", [n])
        let (i, k) = (Var("i"), Var("k"))
        let (vi, vk) = (Var("vi"), Var("vk"))
        let x: PrimExpr = BufferLoad(a, [vi, vk])
        let old: PrimExpr = BufferLoad(best, [vi])
        // Of equal elements the first, in whatever order they come.
        let earlier: PrimExpr = cast(.float32, vk) .< BufferLoad(place, [vi])
        let better: PrimExpr = or(x .> old, and(not(x .< old), earlier))
        let (value, position) = (Var("value", dtype: .float32), Var("position", dtype: .float32))
        let stores: Stmt = SeqStmt([BufferStore(best, value, [vi]), BufferStore(place, position, [vi])])
        let second: Stmt = LetStmt(
            position, select(better, cast(.float32, vk), BufferLoad(place, [vi])), stores)
        let block = Block(
            "best",
            iterVars: [
                IterVar(IRRange(0, extent: n), vi, .dataParallel),
                IterVar(IRRange(0, extent: m), vk, .commReduce),
            ],
            body: LetStmt(value, maximum(x, old), second),
            initial: SeqStmt([
                BufferStore(best, minValue(.float32), [vi]), BufferStore(place, FloatImm(-1), [vi]),
            ]))
        p.nests.append(
            For(i, const(0), const(n), body: For(k, const(0), const(m), body: BlockRealize([i, k], block))))
        p.compute("double", double) { s, _ in load(best, s[0]) * FloatImm(2) }
        return p.function
    }

    /// As `argmax`, the place an integer, the pair as TE writes it.
    static func argmaxPairs(_ n: Int = 4, _ m: Int = 7) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n, m])
        let place = Buffer("place", [n], .index)
        let best = Buffer("best", [n])
        p.parameters += [place, best]
        let (i, k, vi, vk) = (Var("i"), Var("k"), Var("vi"), Var("vk"))
        let (j, x): (PrimExpr, PrimExpr) = (BufferLoad(place, [vi]), BufferLoad(best, [vi]))
        let y: PrimExpr = BufferLoad(a, [vi, vk])
        let better: PrimExpr = or(x .> y, and(x .== y, j .< vk))
        let (p0, p1) = (Var("value_0"), Var("value_1", dtype: .float32))
        let stores: Stmt = SeqStmt([BufferStore(place, p0, [vi]), BufferStore(best, p1, [vi])])
        let body: Stmt = LetStmt(p0, select(better, j, vk), LetStmt(p1, select(better, x, y), stores))
        let block = Block(
            "best",
            iterVars: [
                IterVar(IRRange(0, extent: n), vi, .dataParallel),
                IterVar(IRRange(0, extent: m), vk, .commReduce),
            ],
            body: body,
            initial: SeqStmt([
                BufferStore(place, const(-1), [vi]), BufferStore(best, minValue(.float32), [vi]),
            ]))
        p.nests.append(
            For(i, const(0), const(n), body: For(k, const(0), const(m), body: BlockRealize([i, k], block))))
        return p.function
    }

    /// Doubles the input four times over: a loop that its block does not use.
    static func repeated(_ n: Int = 5) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n])
        let b = p.output("B", [n])
        p.compute("B", b) { s, _ in load(a, s[0]) * FloatImm(2) }
        let t = Var("t")
        p.nests = p.nests.map { For(t, const(0), const(4), body: $0) }
        return p.function
    }

    /// A sum over everything to a scalar, a block without variables that loops by itself, and a use of both.
    static func scalar(_ n: Int = 6) -> PrimFunc {
        var p = Program()
        let a = p.input("A", [n])
        let out = p.output("out", [n])
        let sum = p.temporary("sum", [])
        let prefix = p.temporary("prefix", [n])
        p.compute("sum", sum, reduce: [n], initial: zero) { _, r in
            BufferLoad(sum, []) + load(a, r[0])
        }
        let t = Var("t")
        let before: PrimExpr = select(t .>= 1, load(prefix, maximum(t - 1, const(0))), zero)
        let scan: Stmt = For(
            t, const(0), const(n),
            body: SeqStmt([BufferStore(prefix, zero, [t]), BufferStore(prefix, before + load(a, t), [t])]))
        p.nests.append(
            BlockRealize(
                [],
                Block(
                    "prefix", reads: [BufferRegion(all: a)], writes: [BufferRegion(all: prefix)], body: scan))
        )
        p.compute("out", out) { s, _ in load(prefix, s[0]) - BufferLoad(sum, []) }
        return p.function
    }

    static let all: [(name: String, make: @Sendable () -> PrimFunc)] = [
        (name: "matmul", make: { matmul() }), (name: "matmulRelu", make: { matmulRelu() }),
        (name: "conv", make: { conv() }), (name: "conv stride 2", make: { conv(stride: 2) }),
        (name: "softmax", make: { softmax() }), (name: "chain", make: { chain() }),
        (name: "layout", make: { layout() }), (name: "blur", make: { blur() }),
        (name: "total", make: { total() }),
        (name: "softmax4", make: { softmax4() }), (name: "normalize", make: { normalize() }),
        (name: "packed", make: { packed() }), (name: "argmax", make: { argmax() }),
        (name: "scalar", make: { scalar() }),
    ]
}
