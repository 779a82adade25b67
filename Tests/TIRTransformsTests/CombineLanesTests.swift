import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct CombineLanesTests {
    private func reduction(
        _ n: Int, _ value: String = "R[i] + A[i * 64 + k]", type: String = "float32",
        notes: String = ", annotations={\"combine_lanes\": 1}"
    ) throws -> PrimFunc {
        try parse(
            """
            @T.prim_func
            def f(A: T.Buffer((256,), "\(type)"), R: T.Buffer((4,), "\(type)")):
                for i in range(4):
                    R[i] = A[i]
                    for k in T.unroll(\(n)\(notes)):
                        R[i] = \(value)

            """)
    }

    @Test func halves() throws {
        let text = TIRPrinter.text(combineLanes(try reduction(4)))
        #expect(
            text == """
                @T.prim_func
                def main(A: T.Buffer((256,), "float32"), R: T.Buffer((4,), "float32")):
                    for i in range(4):
                        R[i] = A[i]
                        lanes: T.float32x4 = A[T.Ramp(i * 64, 1, 4)]
                        lanes_1: T.float32x2 = T.Shuffle([lanes], [0, 1])
                        lanes_2: T.float32x2 = T.Shuffle([lanes], [2, 3])
                        lanes_3: T.float32x2 = lanes_1 + lanes_2
                        lanes_4: T.float32 = T.Shuffle([lanes_3], [0])
                        lanes_5: T.float32 = T.Shuffle([lanes_3], [1])
                        lanes_6: T.float32 = lanes_4 + lanes_5
                        R[i] = R[i] + lanes_6

                """, "\(text)")
    }

    /// Small integers, so that every order of a sum is exact.
    @Test(
        arguments: [4, 5, 6, 8, 12, 24, 40, 48, 64],
        [
            "R[i] + A[i * 64 + k]", "A[i * 64 + k] + R[i]", "T.max(R[i], A[i * 64 + k])",
            "T.min(R[i], A[k + i * 64])", "T.Select(R[i] > A[i * 64 + k], R[i], A[i * 64 + k])",
            "T.Select(R[i] <= A[i * 64 + k], R[i], A[i * 64 + k])",
        ])
    func sameResults(_ n: Int, _ value: String) throws {
        for type in ["float32", "int32"] {
            let f = try reduction(n, value, type: type)
            let g = combineLanes(f)
            #expect(g !== f)
            try verifyWellFormed(g)
            try expectSame(f, g)
        }
    }

    /// What is no such reduction stays a loop: not asked for, elements apart, another operation, a result that moves, too few.
    @Test func others() throws {
        for f in [
            try reduction(8, notes: ""),
            try reduction(8, "R[i] + A[i * 64 + k * 2]"),
            try reduction(8, "R[i] - A[i * 64 + k]"),
            try reduction(8, "A[i * 64 + k] + A[i]"),
            try reduction(8, "R[i] + R[k]"),
            try reduction(8, "T.Select(R[i] > A[i * 64 + k], A[i * 64 + k], R[i])"),
            try reduction(3),
        ] { #expect(combineLanes(f) === f) }
    }
}
