import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTestSupport

/// A function made by TE, with what its inputs may hold and how exact its results are.
public struct FuzzProgram {
    public let name: String
    public let function: PrimFunc
    /// 0 = results must be equal bit by bit: integers, and floats that hold integers far below 2^24.
    public let tolerance: Double
    /// For a parameter by its name: values in `0 ..< n` instead of -4 ... 4.
    public let limits: [String: Int]
}

/// Builds one program: small extents, odd ones and 1 among them.
public struct ProgramGenerator {
    public var random: SeededRandom

    public init(seed: UInt64) { random = SeededRandom(seed: seed &* 0x9E37_79B9 &+ 77) }

    private mutating func extent(_ most: Int = 7) -> Int {
        random.below(9) == 0 ? 1 : 1 + random.below(most)
    }
    private mutating func type() -> DataType {
        [DataType.float32, .float32, .int32, .int64, .float64][random.below(5)]
    }

    /// Parameters: inputs, then outputs.
    private func program(
        _ name: String, _ args: [Tensor], tolerance: Double = 0, limits: [String: Int] = [:]
    ) throws -> FuzzProgram {
        FuzzProgram(
            name: name, function: try createPrimFunc(args, name: name), tolerance: tolerance, limits: limits)
    }

    /// An elementwise step after another.
    private mutating func epilogue(_ t: Tensor, _ name: String) throws -> Tensor {
        let zero = const(0, t.dtype)
        switch random.below(4) {
        case 0: return try compute(t.shape, name: name) { maximum(t[$0], zero) }
        case 1: return try compute(t.shape, name: name) { t[$0] * const(2, t.dtype) - const(1, t.dtype) }
        case 2:
            let half = try compute(t.shape, name: "\(name)_a") { t[$0] + const(3, t.dtype) }
            return try compute(t.shape, name: name) { half[$0] + t[$0] }
        default: return t
        }
    }

    public mutating func next() throws -> FuzzProgram {
        switch random.below(16) {
        case 0, 1: return try matmul()
        case 2, 3: return try conv()
        case 4: return try pool()
        case 5: return try reductions()
        case 6: return try softmax()
        case 7: return try scan()
        case 8: return try gather()
        case 9: return try transposes()
        case 10: return try broadcasts()
        case 11: return try argument()
        case 12: return try blur()
        case 13: return try batched()
        case 14: return try pieces()
        default: return try prefix()
        }
    }

    private mutating func matmul() throws -> FuzzProgram {
        let (n, m, k) = (extent(8), extent(8), extent(6))
        let t = type()
        let turned = random.below(2) == 0
        let a = placeholder([n, k], t, name: "A")
        let b = placeholder(turned ? [m, k] : [k, m], t, name: "B")
        let r = reduceAxis(k)
        let c = try compute([n, m], name: "C") {
            reduceSum(
                a[$0[0], r.variable] * (turned ? b[$0[1], r.variable] : b[r.variable, $0[1]]), [r])
        }
        if random.below(2) == 0 { return try program("matmul", [a, b, c]) }
        let bias = placeholder([m], t, name: "bias")
        let d = try compute([n, m], name: "D") { c[$0] + bias[$0[1]] }
        return try program("dense", [a, b, bias, try epilogue(d, "E")])
    }

    private mutating func batched() throws -> FuzzProgram {
        let (p, n, m, k) = (extent(3), extent(4), extent(5), extent(4))
        let a = placeholder([p, n, k], .int8, name: "A")
        let b = placeholder([p, k, m], .int8, name: "B")
        let r = reduceAxis(k)
        let c = try compute([p, n, m], name: "C") { v in
            reduceSum(cast(.int32, a[v[0], v[1], r.variable]) * cast(.int32, b[v[0], r.variable, v[2]]), [r])
        }
        return try program("batched", [a, b, try epilogue(c, "D")])
    }

    private mutating func conv() throws -> FuzzProgram {
        let groups = 1 + random.below(2)
        let (ci, co) = ((1 + random.below(2)) * groups, (1 + random.below(3)) * groups)
        let (h, w) = (2 + random.below(5), 2 + random.below(5))
        let (kh, kw) = (1 + random.below(min(3, h)), 1 + random.below(min(3, w)))
        let (pad, stride) = (random.below(2), 1 + random.below(2))
        let t = type()
        let data = placeholder([ci, h, w], t, name: "data")
        let weight = placeholder([co, ci / groups, kh, kw], t, name: "weight")
        let (oh, ow) = ((h + 2 * pad - kh) / stride + 1, (w + 2 * pad - kw) / stride + 1)
        var input = data
        if pad > 0 {
            input = try compute([ci, h + 2 * pad, w + 2 * pad], name: "pad") { v in
                let rows = and(v[1] .>= pad, v[1] .< (h + pad))
                let columns = and(v[2] .>= pad, v[2] .< (w + pad))
                return ifThenElse(and(rows, columns), data[v[0], v[1] - pad, v[2] - pad], const(0, t))
            }
        }
        let (rc, ry, rx) = (
            reduceAxis(ci / groups, name: "rc"), reduceAxis(kh, name: "ry"), reduceAxis(kw, name: "rx")
        )
        let conv = try compute([co, oh, ow], name: "conv") { v in
            let channel = floorDiv(v[0], co / groups) * (ci / groups) + rc.variable
            let x = input[channel, v[1] * stride + ry.variable, v[2] * stride + rx.variable]
            return reduceSum(x * weight[v[0], rc.variable, ry.variable, rx.variable], [rc, ry, rx])
        }
        let bias = placeholder([co], t, name: "bias")
        let d = try compute([co, oh, ow], name: "biased") { conv[$0] + bias[$0[0]] }
        return try program("conv", [data, weight, bias, try epilogue(d, "out")])
    }

    private mutating func pool() throws -> FuzzProgram {
        let (c, h, w) = (extent(3), 2 + random.below(5), 2 + random.below(5))
        let (k, stride) = (1 + random.below(2), 1 + random.below(2))
        let t = type()
        let data = placeholder([c, h, w], t, name: "data")
        let (ry, rx) = (reduceAxis(k, name: "ry"), reduceAxis(k, name: "rx"))
        let largest = random.below(2) == 0
        let out = try compute([c, (h - k) / stride + 1, (w - k) / stride + 1], name: "pool") { v in
            let x = data[v[0], v[1] * stride + ry.variable, v[2] * stride + rx.variable]
            return largest ? reduceMax(x, [ry, rx]) : reduceSum(x, [ry, rx])
        }
        return try program("pool", [data, try epilogue(out, "out")])
    }

    private mutating func reductions() throws -> FuzzProgram {
        let (n, m, k) = (extent(4), extent(5), extent(5))
        let t = type()
        let a = placeholder([n, m, k], t, name: "A")
        let (r, q) = (reduceAxis(m, name: "r"), reduceAxis(k, name: "q"))
        let which = random.below(4)
        let first = try compute([n], name: "first") { v in
            let x = a[v[0], r.variable, q.variable]
            switch which {
            case 0: return reduceSum(x, [r, q])
            case 1: return reduceMax(x, [r, q])
            case 2: return reduceMin(x, [r, q])
            default: return reduceSum(x * x, [r, q], where: (r.variable + q.variable) .< (m + k - 2))
            }
        }
        let second = try compute([n, m], name: "second") { v in first[v[0]] + a[v[0], v[1], const(0)] }
        let s = reduceAxis(n, name: "s")
        let third = try compute([m], name: "third") { v in reduceSum(second[s.variable, v[0]], [s]) }
        return try program("reductions", [a, second, third])
    }

    private mutating func softmax() throws -> FuzzProgram {
        let (n, m) = (extent(5), extent(6))
        let exact = random.below(3) > 0
        let t = exact ? type() : DataType.float32
        let a = placeholder([n, m], t, name: "A")
        let (k, q) = (reduceAxis(m, name: "k"), reduceAxis(m, name: "q"))
        let most = try compute([n], name: "most") { reduceMax(a[$0[0], k.variable], [k]) }
        let part = try compute([n, m], name: "part") { v in
            let d = a[v] - most[v[0]]
            return exact ? d * d : exp(d)
        }
        let sum = try compute([n], name: "sum") { reduceSum(part[$0[0], q.variable], [q]) }
        let out = try compute([n, m], name: "out") { v in
            exact ? part[v] - sum[v[0]] : part[v] / sum[v[0]]
        }
        return try program(exact ? "softmax.exact" : "softmax", [a, out], tolerance: exact ? 0 : 1e-5)
    }

    /// A recurrence written out: each step reads the one before and a row of the input.
    private mutating func scan() throws -> FuzzProgram {
        let (steps, m) = (2 + random.below(3), extent(6))
        let t = type()
        let x = placeholder([steps, m], t, name: "X")
        var state = try compute([m], name: "s0") { x[const(0), $0[0]] }
        for i in 1..<steps {
            let before = state
            state = try compute([m], name: "s\(i)") { v in
                maximum(before[v] + x[const(i), v[0]], x[const(i - 1), v[0]])
            }
        }
        let last = state
        let out = try compute([m], name: "out") { last[$0] * const(2, t) }
        return try program("scan", [x, out])
    }

    /// A running sum as a statement, between computations.
    private mutating func prefix() throws -> FuzzProgram {
        let n = extent(7)
        let a = placeholder([n], .float32, name: "A")
        let b = try compute([n], name: "B") { a[$0] + const(1, .float32) }
        let sums = extern([(shape: [const(n)], dtype: .float32)], inputs: [b], name: "sums") { i, o in
            let start = BufferStore(o[0], BufferLoad(i[0], [const(0)]), [const(0)])
            let loop = forLoop("t", const(n - 1)) { t in
                BufferStore(o[0], BufferLoad(o[0], [t]) + BufferLoad(i[0], [t + 1]), [t + 1])
            }
            return SeqStmt([start, loop])
        }[0]
        let c = try compute([n], name: "C") { sums[$0] - a[$0] }
        return try program("prefix", [a, try epilogue(c, "D")])
    }

    private mutating func gather() throws -> FuzzProgram {
        let (n, m, k) = (extent(6), extent(5), extent(6))
        let t = type()
        let a = placeholder([n, m], t, name: "A")
        let i = placeholder([k], .int64, name: "I")
        let twice = try compute([n, m], name: "twice") { a[$0] + a[$0] }
        let g = try compute([k, m], name: "G") { v in twice[i[v[0]], v[1]] }
        let r = reduceAxis(m, name: "r")
        let s = try compute([k], name: "S") { v in reduceSum(g[v[0], r.variable], [r]) }
        return try program("gather", [a, i, try epilogue(g, "H"), s], limits: ["I": n])
    }

    private mutating func transposes() throws -> FuzzProgram {
        let (n, m) = (extent(6), extent(6))
        let t = type()
        let a = placeholder([n, m], t, name: "A")
        let b = try compute([n, m], name: "B") { a[$0] * const(3, t) }
        let c = try compute([m, n], name: "C") { b[$0[1], $0[0]] }
        let flat = try compute([n * m], name: "flat") { c[floorDiv($0[0], n), floorMod($0[0], n)] }
        // Into tiles of p, if those divide.
        let p = (1...4).filter { (n * m) % $0 == 0 }.last ?? 1
        let d = try compute([n * m / p, p], name: "D") { flat[$0[0] * p + $0[1]] + const(1, t) }
        return try program("transposes", [a, d])
    }

    private mutating func broadcasts() throws -> FuzzProgram {
        let (n, m) = (extent(7), extent(7))
        let t = type()
        let a = placeholder([n, 1], t, name: "A")
        let b = placeholder([m], t, name: "B")
        let x = try compute([n, m], name: "X") { a[$0[0], const(0)] + b[$0[1]] }
        let y = try compute([n, m], name: "Y") { x[$0] * b[$0[1]] }
        let z = try compute([n, m], name: "Z") { maximum(y[$0], x[$0]) - a[$0[0], const(0)] }
        return try program("broadcasts", [a, b, try epilogue(z, "W")])
    }

    private mutating func argument() throws -> FuzzProgram {
        let (n, m) = (extent(5), extent(7))
        let a = placeholder([n, m], .float32, name: "A")
        let k = reduceAxis(m)
        let (i, x, j, y) = (Var("i"), Var("x", dtype: .float32), Var("j"), Var("y", dtype: .float32))
        // Of equal values the first, in whatever order they come.
        let better = or(x .> y, and(x .== y, i .< j))
        let combiner = CommReducer(
            lhs: [i, x], rhs: [j, y], result: [select(better, i, j), select(better, x, y)],
            identity: [const(-1), minValue(.float32)])
        let best = try computeTuple([const(n)], name: "best") { v in
            reduceTuple(combiner, [k.variable, a[v[0], k.variable]], [k])
        }
        let out = try compute([n], name: "out") { v in best[1][v] * const(2, .float32) }
        return try program("argmax", [a, best[0], out])
    }

    private mutating func blur() throws -> FuzzProgram {
        let (n, m) = (3 + random.below(5), 3 + random.below(5))
        let t = type()
        let a = placeholder([n, m], t, name: "A")
        let x = try compute([n, m - 2], name: "bx") {
            a[$0[0], $0[1]] + a[$0[0], $0[1] + 1] + a[$0[0], $0[1] + 2]
        }
        let y = try compute([n - 2, m - 2], name: "by") {
            x[$0[0], $0[1]] + x[$0[0] + 1, $0[1]] + x[$0[0] + 2, $0[1]]
        }
        return try program("blur", [a, try epilogue(y, "out")])
    }

    /// Two inputs one after the other, a slice of that, and a sum of it.
    private mutating func pieces() throws -> FuzzProgram {
        let (n, m) = (extent(5), extent(5))
        let t = type()
        let (a, b) = (placeholder([n], t, name: "A"), placeholder([m], t, name: "B"))
        let both = try compute([n + m], name: "both") { v in
            ifThenElse(v[0] .< n, a[v[0]], b[v[0] - n])
        }
        let slice = try compute([n + m - 1], name: "slice") { both[$0[0] + 1] + both[$0[0]] }
        let r = reduceAxis(n + m - 1, name: "r")
        let sum = try compute([1], name: "sum") { _ in reduceSum(slice[r.variable], [r]) }
        return try program("pieces", [a, b, slice, sum])
    }
}
