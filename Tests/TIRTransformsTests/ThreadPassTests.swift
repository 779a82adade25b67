import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import Testing

/// `pass(before)` reads as `after`, and the same pass does not change it again.
func expectText(
    _ pass: (PrimFunc) throws -> PrimFunc, _ before: String, _ after: String,
    _ location: SourceLocation = #_sourceLocation
) throws {
    let f = try parse(before)
    let g = try pass(f)
    let want = try parse(after)
    if !structuralEqual(g, want) { Issue.record("got\n\(g)\nexpected\n\(want)", sourceLocation: location) }
    try verifyWellFormed(g)
    #expect(structuralEqual(try pass(g), g), "not idempotent", sourceLocation: location)
    #expect(structuralEqual(try parse("\(g)"), g), "text does not read back", sourceLocation: location)
}

func expectRefused(
    _ code: String, _ pass: (PrimFunc) throws -> PrimFunc, _ text: String,
    _ location: SourceLocation = #_sourceLocation
) throws {
    let f = try parse(text)
    do {
        let g = try pass(f)
        Issue.record("not refused:\n\(g)", sourceLocation: location)
    } catch let e as ApusError {
        #expect(e.code == code, "\(e)", sourceLocation: location)
    }
}

@Suite struct UnifyThreadBindingTests {
    @Test func twoLoopsOfOneAxis() throws {
        try expectText(
            unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    S = T.allocate((32,), "float32", scope="shared")
                    for t in T.thread_binding(32, thread="threadIdx.x"):
                        S[t] = A[b * 32 + t]
                    for u in T.thread_binding(32, thread="threadIdx.x"):
                        B[b * 32 + u] = S[31 - u]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    S = T.allocate((32,), "float32", scope="shared")
                    for t in T.thread_binding(32, thread="threadIdx.x"):
                        S[t] = A[b * 32 + t]
                        B[b * 32 + t] = S[31 - t]
            """)
    }

    @Test("a loop of an environment of threads runs within them")
    func environment() throws {
        try expectText(
            unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((8, 64), "float32")):
                for s in T.serial(7, annotations={"env_threads": ["blockIdx.x", "threadIdx.x"]}):
                    for b in T.thread_binding(2, thread="blockIdx.x"):
                        for t in T.thread_binding(32, thread="threadIdx.x"):
                            A[s + 1, b * 32 + t] = A[s, b * 32 + t] * T.float32(2)
                for s in T.serial(7, annotations={"env_threads": ["blockIdx.x"]}):
                    A[s, 0] = T.float32(1)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8, 64), "float32")):
                for b in T.thread_binding(2, thread="blockIdx.x"):
                    for t in T.thread_binding(32, thread="threadIdx.x"):
                        for s in T.serial(7):
                            A[s + 1, b * 32 + t] = A[s, b * 32 + t] * T.float32(2)
                for s in T.serial(7, annotations={"env_threads": ["blockIdx.x"]}):
                    A[s, 0] = T.float32(1)
            """)
    }

    @Test("the first thread does what stands outside of the threads' loops; own memory is written by all")
    func outside() throws {
        try expectText(
            unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8, 4), "float32")):
                for b in T.thread_binding(8, thread="blockIdx.x"):
                    S = T.allocate((1,), "float32", scope="shared")
                    L = T.allocate((1,), "float32", scope="local")
                    S[0] = A[b]
                    L[0] = T.float32(2)
                    for t in T.thread_binding(4, thread="threadIdx.x"):
                        B[b, t] = S[0] * L[0]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8, 4), "float32")):
                for b in T.thread_binding(8, thread="blockIdx.x"):
                    S = T.allocate((1,), "float32", scope="shared")
                    for t in T.thread_binding(4, thread="threadIdx.x"):
                        L = T.allocate((1,), "float32", scope="local")
                        if t == 0:
                            S[0] = A[b]
                        L[0] = T.float32(2)
                        B[b, t] = S[0] * L[0]
            """)
    }

    @Test("fewer threads in one loop: guarded; blocks go outside, shared memory is found anywhere")
    func fewer() throws {
        try expectText(
            unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 16), "float32"), B: T.Buffer((4, 16), "float32")):
                for t in T.thread_binding(16, thread="threadIdx.x"):
                    for b in T.thread_binding(4, thread="blockIdx.x"):
                        S = T.allocate((8,), "float32", scope="shared")
                        for u in T.thread_binding(8, thread="threadIdx.x"):
                            S[u] = A[b, u]
                        B[b, t] = S[t % 8]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 16), "float32"), B: T.Buffer((4, 16), "float32")):
                for b in T.thread_binding(4, thread="blockIdx.x"):
                    S = T.allocate((8,), "float32", scope="shared")
                    for t in T.thread_binding(16, thread="threadIdx.x"):
                        if t < 8:
                            S[t] = A[b, t]
                        B[b, t] = S[t % 8]
            """)
    }

    @Test func refusals() throws {
        try expectRefused(
            "TTR050", unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((n,), "float32")):
                for b in T.thread_binding(1, thread="blockIdx.x"):
                    for t in T.thread_binding(n, thread="threadIdx.x"):
                        A[t] = T.float32(0)
                    for u in T.thread_binding(8, thread="threadIdx.x"):
                        A[u] = T.float32(1)
            """)
        try expectRefused(
            "TTR051", unifyThreadBinding,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for b in T.thread_binding(8, thread="blockIdx.x"):
                    for i in range(2):
                        for t in T.thread_binding(b + 1, thread="threadIdx.x"):
                            A[t] = T.float32(0)
            """)
    }

    @Test func remap() throws {
        try expectText(
            { remapThreadAxis($0, ["threadIdx.x": "threadIdx.y"]) },
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for t in T.thread_binding(8, thread="threadIdx.x"):
                    A[t] = T.float32(0)
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((8,), "float32")):
                for t in T.thread_binding(8, thread="threadIdx.y"):
                    A[t] = T.float32(0)
            """)
    }
}

@Suite struct ThreadSyncTests {
    /// The body within one block of 32 threads, with shared memory S of 64 elements.
    private func kernel(_ body: String) -> String {
        let lines = body.split(separator: "\n", omittingEmptySubsequences: false)
            .map { "            " + $0 }.joined(separator: "\n")
        return """
            @T.prim_func
            def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
                S = T.allocate((64,), "float32", scope="shared")
                for t in T.thread_binding(32, thread="threadIdx.x"):

            """ + lines
    }

    private func check(_ before: String, _ after: String, _ location: SourceLocation = #_sourceLocation)
        throws
    {
        try expectText({ try threadSync($0, scope: "shared") }, kernel(before), kernel(after), location)
    }

    @Test func neighbour() throws {
        try check(
            "S[t] = A[t]\nB[t] = S[31 - t]",
            "S[t] = A[t]\nT.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))\nB[t] = S[31 - t]")
    }

    @Test("a thread may read what it wrote itself")
    func own() throws {
        try check("S[t] = A[t]\nB[t] = S[t]", "S[t] = A[t]\nB[t] = S[t]")
        let tile =
            "for i in range(2):\n    S[t * 2 + i] = A[t * 2 + i]\nfor j in range(2):\n    B[t * 2 + j] = S[t * 2 + 1 - j]"
        try check(tile, tile)
        let halves = "S[t] = A[t]\nB[t] = S[63 - t]"
        try check(halves, halves)
        let swizzled = "S[t // 4 * 8 + t % 4] = A[t]\nB[t] = S[t // 4 * 8 + t % 4]"
        try check(swizzled, swizzled)
    }

    @Test("all threads write the same element")
    func same() throws {
        try check(
            "S[0] = A[t]\nB[t] = S[0]",
            "S[0] = A[t]\nT.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))\nB[t] = S[0]")
    }

    @Test("what the end of an iteration reads must not be overwritten by the next")
    func carried() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        try check(
            "for k in range(2):\n    S[t] = A[k * 32 + t]\n    B[k * 32 + t] = S[31 - t]",
            "for k in range(2):\n    \(sync)\n    S[t] = A[k * 32 + t]\n    \(sync)\n    B[k * 32 + t] = S[31 - t]"
        )
    }

    @Test("a double buffer needs one barrier an iteration")
    func doubleBuffer() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        try check(
            "for k in range(2):\n    S[k % 2 * 32 + t] = A[k * 32 + t]\n    B[k * 32 + t] = S[k % 2 * 32 + 31 - t]",
            "for k in range(2):\n    S[k % 2 * 32 + t] = A[k * 32 + t]\n    \(sync)\n    B[k * 32 + t] = S[k % 2 * 32 + 31 - t]"
        )
    }

    @Test("barriers that are there count")
    func there() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        let text = "S[t] = A[t]\n\(sync)\nB[t] = S[31 - t]"
        try check(text, text)
    }

    @Test("a condition that depends on the thread is taken apart around a barrier")
    func divergent() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        try check(
            "if t < 20:\n    S[t] = A[t]\n    B[t] = S[19 - t]",
            "if t < 20:\n    S[t] = A[t]\n\(sync)\nif t < 20:\n    B[t] = S[19 - t]")
        try expectRefused(
            "TTR052", { try threadSync($0, scope: "shared") },
            kernel("if A[t] < T.float32(0):\n    S[t] = A[t]\n    B[t] = S[19 - t]"))
    }

    @Test("guards tell the halves of a tree apart")
    func guards() throws {
        let text = "if t < 16:\n    x = S[t + 16] + S[t]\n    S[t] = x"
        try check(text, text)
    }

    @Test func whileLoop() throws {
        let sync = "T.evaluate(T.storage_sync(\"shared\", dtype=\"void\"))"
        try check(
            "while S[0] < T.float32(3):\n    S[1] = T.float32(2)\n    S[0] = S[1] + S[0]",
            "while S[0] < T.float32(3):\n    \(sync)\n    S[1] = T.float32(2)\n    \(sync)\n    S[0] = S[1] + S[0]\n    \(sync)"
        )
    }

    @Test("memory of the grid: blocks that meet need the barrier of the grid, threads of a block theirs")
    func grid() throws {
        try expectText(
            { try threadSync($0, scope: "global") },
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32"), B: T.Buffer((4, 8), "float32"), C: T.Buffer((4, 8), "float32")):
                for b in T.thread_binding(4, thread="blockIdx.x"):
                    for t in T.thread_binding(8, thread="threadIdx.x"):
                        B[b, t] = A[b, t]
                        C[b, t] = B[b, 7 - t]
                        A[b, t] = C[3 - b, t]
            """,
            """
            @T.prim_func
            def main(A: T.Buffer((4, 8), "float32"), B: T.Buffer((4, 8), "float32"), C: T.Buffer((4, 8), "float32")):
                for b in T.thread_binding(4, thread="blockIdx.x"):
                    for t in T.thread_binding(8, thread="threadIdx.x"):
                        T.evaluate(T.global_barrier_kinit(dtype="void"))
                        B[b, t] = A[b, t]
                        T.evaluate(T.storage_sync("shared", dtype="void"))
                        C[b, t] = B[b, 7 - t]
                        T.evaluate(T.storage_sync("global", t == 0, 4, dtype="void"))
                        A[b, t] = C[3 - b, t]
            """)
    }
}
