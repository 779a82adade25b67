import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct BoundCheckerTests {
    /// The instrumented function; assertions in it.
    func instrumented(_ text: String) throws -> (PrimFunc, Int) {
        let f = try parse(text)
        let g = instrumentBoundCheckers(f)
        try verifyWellFormed(g)
        #expect(instrumentBoundCheckers(g) === g, "not idempotent:\n\(g)")
        return (g, count(g) { $0 is AssertStmt })
    }
    /// Runs it and gives the error's code.
    func code(_ f: PrimFunc, _ dims: [String: Int] = [:]) -> String? {
        do {
            try TIRInterpreter.run(f, tensors(f, dims))
            return nil
        } catch { return (error as? ApusError)?.code }
    }

    static let safe: [String] = [
        "for i in range(8):\n        A[i] = B[7 - i]",
        "for i in range(8):\n        A[i] = T.if_then_else(i >= 1, B[i - 1], T.float32(0))",
        "for i, j in T.grid(2, 4):\n        A[i * 4 + j] = T.float32(1)",
        "for i in range(10):\n        if i < 8:\n            A[i] = B[i]",
        "for i in range(8):\n        t: T.int64 = 7 - i\n        A[t] = B[t]",
        "A[T.Ramp(0, 1, 8)] = B[T.Ramp(0, 1, 8)]",
    ]
    @Test(arguments: safe) func provedAccessesNeedNothing(_ body: String) throws {
        let (g, n) = try instrumented(
            "@T.prim_func\ndef main(A: T.Buffer((8,), \"float32\"), B: T.Buffer((8,), \"float32\")):\n    \(body)\n"
        )
        #expect(n == 0)
        #expect(code(g) == nil)
    }

    static let wrong: [String] = [
        "for i in range(9):\n        A[i] = T.float32(1)",
        "for i in range(8):\n        A[i] = B[i + 1]",
        "for i in range(8):\n        A[i - 1] = B[i]",
        "A[T.Ramp(4, 1, 8)] = T.Broadcast(T.float32(1), 8)",
        "for i in range(8):\n        A[i] = T.Select(i < 7, B[i + 1], T.float32(0))",
        "for i in range(8):\n        A[i] = T.if_then_else(i < 9, B[i + 1], T.float32(0))",
        "if B[12] > T.float32(0):\n        A[0] = T.float32(1)",
        "x: T.float32 = B[8]\n    A[0] = x",
        "T.evaluate(B[-1])",
        "while B[9] > T.float32(100):\n        A[0] = T.float32(1)",
    ]
    @Test(arguments: wrong) func accessesOutsideAreFound(_ body: String) throws {
        let (g, n) = try instrumented(
            "@T.prim_func\ndef main(A: T.Buffer((8,), \"float32\"), B: T.Buffer((8,), \"float32\")):\n    \(body)\n"
        )
        #expect(n > 0)
        #expect(code(g) == "RT101")
    }

    @Test func guardsAreKept() throws {
        let (g, n) = try instrumented(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64"), B: T.Buffer((8,), "float32")):
                for i in range(8):
                    B[i] = T.if_then_else(X[i] < 8 and X[i] >= 0, A[X[i]], T.float32(0))
            """)
        #expect(n == 2)
        #expect(code(g) == nil)
    }

    @Test func innerAccessesFirst() throws {
        // X[9] is out of bounds itself: its own assertion must come before the one that reads it.
        let (g, _) = try instrumented(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64")):
                for i in range(1):
                    A[X[i + 9]] = T.float32(0)
            """)
        #expect(code(g) == "RT101")
    }

    @Test func symbolicShapes() throws {
        let (g, n) = try instrumented(
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32"), B: T.Buffer((m,), "float32")):
                for i in range(n):
                    A[i] = B[i]
            """)
        #expect(n == 1)
        #expect(code(g, ["n": 4, "m": 4]) == nil)
        #expect(code(g, ["n": 5, "m": 4]) == "RT101")
    }

    @Test func letsInsideOfExpressions() throws {
        let (g, n) = try instrumented(
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), X: T.Buffer((8,), "int64")):
                A[0] = T.Let(k, X[1], A[k] + A[k])
            """)
        #expect(n == 2)
        #expect([nil, "RT101"].contains(code(g)))
    }
}
