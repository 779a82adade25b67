import ApusArith
import ApusIR
import ApusRuntime
import ApusTIR
import Testing

/// Expressions of 100,000 nodes, as chains and as balanced trees, through everything that the analyzer does.
@Suite struct DeepTests {
    enum Shape: String, CaseIterable, Sendable {
        case add, addData, mul, mulData, min, minData, max, floorDiv, floorMod, truncDiv, select, selectData,
            float,
            cast, ifThenElse, ifThenElseData, and, or, not, comparison, letBinding, bitwise, load, vector,
            shuffle
    }

    static let i = Var("i")
    static let j = Var("j")
    static let x = Var("x", dtype: .int32)
    static let y = Var("y", dtype: .int32)
    static let f = Var("f", dtype: .float32)
    static let p = Var("p", dtype: .bool)
    static let data = Buffer("data", [64], .int64)

    static func leaf(_ s: Shape, _ k: Int) -> PrimExpr {
        switch s {
        case .addData, .mulData, .minData, .selectData, .cast, .ifThenElseData, .bitwise:
            return k % 3 == 0 ? IntImm(k % 97, dtype: .int32) : (k % 3 == 1 ? x : y)
        case .float: return k % 2 == 0 ? f : FloatImm(Double(k % 5), dtype: .float32)
        case .and, .or: return LT(k % 2 == 0 ? x : y, IntImm(k % 1000, dtype: .int32))
        case .not, .comparison: return p
        case .vector, .shuffle: return Broadcast(k % 2 == 0 ? x : y, 4)
        default: return k % 3 == 0 ? IntImm(k % 97 + 1) : (k % 3 == 1 ? i : j)
        }
    }

    /// One more node upon `a`, and upon `b` where it has two sides.
    static func node(_ s: Shape, _ a: PrimExpr, _ b: PrimExpr, _ k: Int) -> PrimExpr {
        switch s {
        case .add, .addData, .vector: return Add(a, b)
        case .mul, .mulData: return Mul(a, b)
        case .min, .minData: return Min(Add(a, b), leaf(s, k + 1))
        case .max: return Max(a, Sub(b, leaf(s, k + 1)))
        case .floorDiv: return FloorDiv(Add(a, b), IntImm(k % 3 + 2))
        case .floorMod: return FloorMod(Add(a, b), IntImm(k % 30 + 2))
        case .truncDiv: return Div(Sub(a, b), IntImm(k % 3 + 2))
        case .select, .selectData: return Select(LT(x, IntImm(k, dtype: .int32)), a, b)
        case .float: return k % 2 == 0 ? Mul(a, b) : Add(a, b)
        case .cast:
            return Add(Cast(.int32, Cast(.int8, a)), b)
        // Outer conditions do not decide inner ones.
        case .ifThenElse:
            return intrinsic("if_then_else", .index, [LT(x, IntImm(60_000 - k, dtype: .int32)), b, a])
        case .ifThenElseData: return intrinsic("if_then_else", .int32, [LT(i, IntImm(60_000 - k)), b, a])
        case .and: return And(a, b)
        case .or: return Or(a, b)
        case .not: return k % 2 == 0 ? Not(a) : And(a, LT(x, IntImm(k, dtype: .int32)))
        case .comparison: return EQ(a, b)
        case .letBinding:
            let v = Var("v\(k)")
            return Let(v, Add(leaf(s, k), i), Add(a, v))
        case .bitwise: return intrinsic(k % 2 == 0 ? "bitwise_xor" : "bitwise_and", .int32, [a, b])
        case .load: return BufferLoad(data, [FloorMod(Add(a, b), IntImm(64))])
        case .shuffle: return Shuffle([a, b], [k % 8, 1, 5, 2])
        }
    }

    static func chain(_ s: Shape, _ n: Int) -> PrimExpr {
        var e = leaf(s, 1)
        for k in 0..<n { e = node(s, e, leaf(s, k), k) }
        return e
    }

    static func tree(_ s: Shape, _ depth: Int, _ k: Int = 1) -> PrimExpr {
        depth == 0
            ? leaf(s, k) : node(s, tree(s, depth - 1, 2 * k), tree(s, depth - 1, 2 * k + 1), k % 1009)
    }

    static func analyzer() -> Analyzer {
        let a = Analyzer()
        a.bind(i, IRRange(0, extent: 60_000))
        a.bind(j, IRRange(0, extent: 16))
        return a
    }

    static func run(_ e: PrimExpr) {
        #expect(analyzer().simplify(e).dtype == e.dtype)
        guard e.dtype.isInteger else { return }
        let a = analyzer()
        #expect(!a.constIntBound(e).isEmpty)
        _ = a.modularSet(e)
        #expect(!a.evalSet(e, [i: IntervalSet(IRRange(0, extent: 100))]).isNothing)
        #expect(a.canonicalSimplify(e).dtype == e.dtype)
    }

    @Test(.timeLimit(.minutes(5)), arguments: Shape.allCases) func chains(_ s: Shape) {
        Self.run(Self.chain(s, 50_000))
    }

    @Test(.timeLimit(.minutes(5)), arguments: Shape.allCases) func trees(_ s: Shape) {
        Self.run(Self.tree(s, 15))
    }
}
