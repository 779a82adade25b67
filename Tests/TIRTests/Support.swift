import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

func code(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "none"
    } catch let e as ApusError {
        return e.code
    } catch {
        return "other"
    }
}

func attrs(_ entries: (String, AttrValue)...) -> Attrs { Attrs(entries.map { (key: $0.0, value: $0.1) }) }

/// Prints, parses, compares, prints again.
func expectRoundTrip(_ f: PrimFunc, _ place: SourceLocation = #_sourceLocation) {
    let text = TIRPrinter.text(f)
    do {
        let back = try TIRParser.parseFunction(text)
        let again = TIRPrinter.text(back)
        #expect(again == text, sourceLocation: place)
        #expect(
            firstDifference(f, back, mapFreeVariables: text.contains("T.var"))?.description == nil, "\(text)",
            sourceLocation: place)
        #expect(structuralHash(f) == structuralHash(back), sourceLocation: place)
    } catch {
        Issue.record("\(error)\n\(text)", sourceLocation: place)
    }
}

/// A body as a function of one buffer `A: float32[16]` and one scalar `n`.
func function(_ body: (Buffer, Var) -> Stmt) -> PrimFunc {
    let a = Buffer("A", [16], alignment: 0)
    let h = Var("A_handle", dtype: .handle)
    let n = Var("n")
    return PrimFunc([h, n], bufferMap: [(param: h, buffer: a)], body: body(a, n))
}

let matmulText = """
    @T.prim_func
    def main(A: T.Buffer((4, 6), "float32"), B: T.Buffer((6, 5), "float32"), C: T.Buffer((4, 5), "float32")):
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        with T.block("root"):
            for i, j, k in T.grid(4, 5, 6):
                with T.block("C"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    T.reads(A[vi, vk], B[vk, vj])
                    T.writes(C[vi, vj])
                    with T.init():
                        C[vi, vj] = T.float32(0.0)
                    C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]

    """

/// Functions in text that between them use every construct; each is in the printer's own form.
let programs: [String] = [
    matmulText,
    """
    @T.prim_func
    def f(A: T.Buffer((n, 4), "float32"), B: T.Buffer((n,), "float32", strides=(s,), elem_offset=o, align=16), m: T.int32):
        T.func_attr({"a": 1, "b": -2.5, "c": None, "d": [1, 2], "e": T.ints([]), "g": T.list([1, "x", [0.5]]), "h": T.dtype("int8x4"), "i": T.float("inf"), "j": T.expr(T.int32(3))})
        for i in range(n):
            B[i] = T.max(A[i, 0], A[i, m_cast]) if_not

    """.replacingLast("T.max(A[i, 0], A[i, m_cast]) if_not", "T.max(A[i, 0], A[i, T.Cast(\"int64\", m)])"),
    """
    @T.prim_func
    def lowered(A: T.Buffer((64,), "float32"), p: T.handle, q: T.Ptr("int8", "shared")):
        T.attr(A, "pragma", T.int32(1))
        W = T.allocate((16,), "float16", scope="local", align=32)
        for i in T.parallel(4, annotations={"unroll": 2}):
            for j in T.serial(2, 6):
                W[T.Ramp(0, 1, 4)] = T.Cast("float16x4", A[T.Ramp(j * 4, 1, 4)])
                A[T.Ramp(j * 4, 1, 4)] = T.Broadcast(T.float32(1.5), 4) + T.Cast("float32x4", W[T.Ramp(0, 1, 4)])
        for t in T.thread_binding(8, thread="threadIdx.x"):
            T.evaluate(T.storage_sync("shared", dtype="void"))
        x: T.int64 = 5
        assert x < 7, "too large"
        assert x > 0, ("TIR999", "line\\n\\"quoted\\"")
        while A[x] < T.float32(3.0):
            A[x] = A[x] + T.float32("-inf")
        if not x == 3 and (x < 2 or x >= 9):
            pass
        else:
            T.evaluate(T.call_extern("foo", A.data, T.address_of(A[3]), dtype="int32"))

    """,
    """
    @T.prim_func
    def nest(A: T.Buffer((), "int32")):
        with T.let(x: T.int32, A[()]):
            A[()] = x * (x + T.int32(-1)) - (x - (x - T.int32(2)))
        with T.seq():
            with T.seq():
                pass
            T.evaluate(0)
        with T.allocate():
            B = T.allocate((2, 2), "bool")
            B[0, 1] = True
        with T.attr("note", "k", 1):
            T.evaluate(T.Let(y, T.truncdiv(7, 2), T.truncmod(y, 3) // 2 % 5))
        for i in T.unroll(3):
            for j in T.vectorized(i, i + 4, annotations={"s": ["a", "b"]}):
                A[()] = T.Select(j > i, T.Cast("int32", T.Shuffle([T.Ramp(0, 2, 4), T.Broadcast(9, 2)], [5])), A[()])

    """,
    """
    @T.prim_func
    def blocks(A: T.Buffer((16, 16), "float32"), C: T.Buffer((8, 8), "float32")):
        with T.block("root"):
            L = T.alloc_buffer((16,), "float32", scope="local")
            for io, ii in T.grid(2, 4):
                with T.block("tile"):
                    v0 = T.axis.spatial(8, io * 4 + ii)
                    v1 = T.axis.reduce((2, 6), ii + 2)
                    v2 = T.axis.opaque((io, io + 4), 0)
                    T.where(io * 4 + ii < 7)
                    S = T.match_buffer(A[v0:v0 + 4, 0:16], (4, 16), "float32", strides=(s0, s1), elem_offset=off)
                    T.reads(A[v0 * 2:v0 * 2 + 2, 0:16], L[v1])
                    T.writes(C[v0, v1])
                    T.block_attr({"tag": "x"})
                    with T.init():
                        C[v0, v1] = T.float32(0.0)
                    C[v0, v1] = T.exp(S[0, v1]) + T.if_then_else(v2 == 0, L[0], T.float32("nan"))

    """,
    """
    @T.prim_func
    def views(A: T.Buffer((4, 4), "float32")):
        A_flat = T.decl_buffer((16,), "float32", data=A.data, align=0)
        for i in range(16):
            A_flat[i] = T.float32(2.0)

    """,
    """
    @T.prim_func
    def free(x: T.bfloat16):
        k = T.var(T.int64)
        T.evaluate(k + 1)
        T.evaluate(T.reinterpret(x, dtype="int16"))
        T.evaluate(T.popcount(T.bitwise_and(T.uint8(255), T.uint8(15))))
        T.evaluate(T.call_global("other", x, dtype="void"))
        T.evaluate(T.op("tir.min", 1)) if_absent

    """.replacingLast("    T.evaluate(T.op(\"tir.min\", 1)) if_absent\n", ""),
    """
    @T.prim_func
    def red(A: T.Buffer((8,), "float32")):
        T.evaluate(T.Reduce([T.float32(0.0)], lambda x, y: (x + y,), [T.iter_var(k, 8, "reduce")], [A[k]], where=k < 5))

    """,
    """
    @T.prim_func
    def matched(p: T.handle, q: T.handle):
        A = T.match_buffer(q, (n,), "int64")
        B = T.match_buffer(p, (n,), "int64", scope="shared")
        B[0] = A[0]
        T.evaluate(T.address_of(A[0]) == q)

    """,
]

extension String {
    func replacingLast(_ old: String, _ new: String) -> String {
        var i = endIndex
        while i > startIndex {
            i = index(before: i)
            if self[i...].hasPrefix(old) {
                return String(self[..<i]) + new + String(self[i...].dropFirst(old.count))
            }
        }
        return self
    }
}
