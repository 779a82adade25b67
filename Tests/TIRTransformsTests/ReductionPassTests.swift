import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

/// The reducer as the text of an attribute's node.
private func reducer(_ types: [DataType], _ identity: [PrimExpr], _ combine: ([Var], [Var]) -> [PrimExpr])
    -> String
{
    let x = types.enumerated().map { Var("x\($0)", dtype: $1) }
    let y = types.enumerated().map { Var("y\($0)", dtype: $1) }
    let r = CommReducer(lhs: x, rhs: y, result: combine(x, y), identity: identity)
    return TIRPrinter.text(AttrStmt(r, "reduce_scope", IntImm(0), Evaluate.noOp))
        .split(separator: "\n").first { $0.contains("T.attr(") }.map { line in
            String(line.drop { $0 == " " }).replacingOccurrences("T.attr(", "").replacingOccurrences(
                ", \"reduce_scope\", 0)", "")
        } ?? ""
}

extension String {
    fileprivate func replacingOccurrences(_ a: String, _ b: String) -> String {
        var out = ""
        var rest = Substring(self)
        while let r = rest.range(of: a) {
            out += rest[..<r.lowerBound] + b
            rest = rest[r.upperBound...]
        }
        return out + rest
    }
}

extension Substring {
    fileprivate func range(of a: String) -> Range<Substring.Index>? {
        var i = startIndex
        while i < endIndex {
            if self[i...].hasPrefix(a) { return i..<index(i, offsetBy: a.count) }
            i = index(after: i)
        }
        return nil
    }
}

private let sum = reducer([.float32], [FloatImm(0)]) { [$0[0] + $1[0]] }

let rowSum = """
    @T.prim_func
    def main(A: T.Buffer((4, 64), "float32"), B: T.Buffer((4,), "float32")):
        with T.block("root"):
            for i in T.thread_binding(4, thread="blockIdx.x"):
                for t in T.thread_binding(16, thread="threadIdx.x"):
                    for k in range(4):
                        with T.block("B"):
                            vi = T.axis.spatial(4, i)
                            vk = T.axis.reduce(64, k * 16 + t)
                            T.reads(A[vi, vk])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0)
                            B[vi] = B[vi] + A[vi, vk]
    """

@Suite struct CrossThreadReductionTests {
    @Test func addition() throws {
        try expectText(
            lowerCrossThreadReduction, rowSum,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 64), "float32"), B: T.Buffer((4,), "float32")):
                with T.block("root"):
                    for i in T.thread_binding(4, thread="blockIdx.x"):
                        for t in T.thread_binding(16, thread="threadIdx.x"):
                            with T.block("B_threads"):
                                P = T.alloc_buffer((1,), "float32", scope="local")
                                R = T.alloc_buffer((1,), "float32", scope="local")
                                P[0] = T.float32(0)
                                for k in range(4):
                                    P[0] = P[0] + A[i, k * 16 + t]
                                with T.attr(\(sum), "reduce_scope", 0):
                                    T.evaluate(T.thread_allreduce(T.int32(1), P[0], True, T.address_of(R[0]), t, dtype="void"))
                                if t == 0:
                                    B[i] = R[0]
            """)
    }

    @Test func refusals() throws {
        try expectRefused(
            "TTR055", lowerCrossThreadReduction,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((1,), "float32")):
                with T.block("root"):
                    for b in T.thread_binding(4, thread="blockIdx.x"):
                        for t in T.thread_binding(16, thread="threadIdx.x"):
                            with T.block("B"):
                                vi = T.axis.spatial(1, 0)
                                vk = T.axis.reduce(64, b * 16 + t)
                                with T.init():
                                    B[vi] = T.float32(0)
                                B[vi] = B[vi] + A[vk]
            """)
        try expectRefused(
            "TTR054", lowerCrossThreadReduction,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((1,), "float32")):
                with T.block("root"):
                    for t in T.thread_binding(64, thread="threadIdx.x"):
                        with T.block("B"):
                            vi = T.axis.spatial(1, 0)
                            vk = T.axis.reduce(64, t)
                            with T.init():
                                B[vi] = T.float32(0)
                            B[vi] = B[vi] - A[vk]
            """)
    }
}

@Suite struct ThreadAllreduceTests {
    private func kernel(_ threads: Int, _ body: String) -> String {
        """
        @T.prim_func
        def main(A: T.Buffer((\(threads),), "float32"), B: T.Buffer((\(threads),), "float32")):
            for t in T.thread_binding(\(threads), thread="threadIdx.x"):
                R = T.allocate((1,), "float32", scope="local")
        \(body)
        """
    }
    private static let reduce = """
                with T.attr(\(sum), "reduce_scope", 0):
                    T.evaluate(T.thread_allreduce(T.int32(1), A[t], True, T.address_of(R[0]), t, dtype="void"))
                B[t] = R[0]
        """

    @Test("a power of two within a warp: shuffles")
    func shuffles() throws {
        try expectText(
            { try lowerThreadAllreduce($0, warpSize: 32) }, kernel(4, Self.reduce),
            kernel(
                4,
                """
                        with T.let(mask: T.uint32, T.warp_activemask(dtype="uint32")):
                            part: T.float32 = A[t]
                            other: T.float32 = T.warp_shuffle_down(mask, part, T.int32(1), T.int32(4), T.int32(32), dtype="float32")
                            sum: T.float32 = part + other
                            other1: T.float32 = T.warp_shuffle_down(mask, sum, T.int32(2), T.int32(4), T.int32(32), dtype="float32")
                            sum1: T.float32 = sum + other1
                            R[0] = T.warp_shuffle(mask, sum1, T.int32(0), T.int32(4), T.int32(32), dtype="float32")
                        B[t] = R[0]
                """))
    }

    @Test("other numbers of threads: a tree in shared memory, its end folded first")
    func tree() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        try expectText(
            { try lowerThreadAllreduce($0, warpSize: 32) }, kernel(6, Self.reduce),
            """
            @T.prim_func
            def main(A: T.Buffer((6,), "float32"), B: T.Buffer((6,), "float32")):
                S = T.allocate((6,), "float32", scope="shared")
                for t in T.thread_binding(6, thread="threadIdx.x"):
                    R = T.allocate((1,), "float32", scope="local")
                    S[t] = A[t]
                    \(sync)
                    if t < 2:
                        S[t] = S[t] + S[t + 4]
                    \(sync)
                    if t < 2:
                        S[t] = S[t] + S[t + 2]
                    \(sync)
                    if t < 1:
                        S[t] = S[t] + S[t + 1]
                    \(sync)
                    R[0] = S[0]
                    \(sync)
                    B[t] = R[0]
            """)
    }

    @Test func refusals() throws {
        try expectRefused(
            "TTR056", { try lowerThreadAllreduce($0, warpSize: 32) },
            kernel(
                4,
                """
                        with T.attr(\(sum), "reduce_scope", 0):
                            T.evaluate(T.thread_allreduce(T.int32(2), A[t], True, T.address_of(R[0]), t, dtype="void"))
                        B[t] = R[0]
                """))
        try expectRefused(
            "TTR057", { try lowerThreadAllreduce($0, warpSize: 32) },
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((n,), "float32")):
                for t in T.thread_binding(n, thread="threadIdx.x"):
                    R = T.allocate((1,), "float32", scope="local")
                    with T.attr(\(sum), "reduce_scope", 0):
                        T.evaluate(T.thread_allreduce(T.int32(1), A[t], True, T.address_of(R[0]), t, dtype="void"))
                    B[t] = R[0]
            """)
    }
}
