import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

@Suite struct TransposeTilesTests {
    private func tile(
        _ n: Int, type: String = "float32", load: String = "j + T.Ramp(0, 7, N)",
        store: String = "T.Ramp(j * 9, 1, N)",
        attrs: String = "\"tir.noalias\": True"
    ) throws -> PrimFunc {
        let text = """
            @T.prim_func
            def f(A: T.Buffer((512,), "\(type)"), B: T.Buffer((512,), "\(type)")):
                T.func_attr({\(attrs)})
                for i in range(2):
                    for j in range(N):
                        B[\(store)] = A[\(load)]

            """
        return try parse(text.replacing("N", with: "\(n)"))
    }

    @Test func fourRows() throws {
        let f = try tile(4, load: "T.Ramp(i * 40 + j, 7, N)")
        let text = TIRPrinter.text(transposeTiles(f))
        #expect(
            text == """
                @T.prim_func
                def main(A: T.Buffer((512,), "float32"), B: T.Buffer((512,), "float32")):
                    T.func_attr({"tir.noalias": True})
                    for i in range(2):
                        row: T.float32x4 = A[T.Ramp(i * 40, 1, 4)]
                        row_1: T.float32x4 = A[T.Ramp(i * 40 + 7, 1, 4)]
                        row_2: T.float32x4 = A[T.Ramp(i * 40 + 14, 1, 4)]
                        row_3: T.float32x4 = A[T.Ramp(i * 40 + 21, 1, 4)]
                        row_4: T.float32x4 = T.Shuffle([row, row_2], [0, 1, 4, 5])
                        row_5: T.float32x4 = T.Shuffle([row, row_2], [2, 3, 6, 7])
                        row_6: T.float32x4 = T.Shuffle([row_1, row_3], [0, 1, 4, 5])
                        row_7: T.float32x4 = T.Shuffle([row_1, row_3], [2, 3, 6, 7])
                        row_8: T.float32x4 = T.Shuffle([row_4, row_6], [0, 4, 2, 6])
                        row_9: T.float32x4 = T.Shuffle([row_4, row_6], [1, 5, 3, 7])
                        row_10: T.float32x4 = T.Shuffle([row_5, row_7], [0, 4, 2, 6])
                        row_11: T.float32x4 = T.Shuffle([row_5, row_7], [1, 5, 3, 7])
                        B[T.Ramp(0, 1, 4)] = row_8
                        B[T.Ramp(9, 1, 4)] = row_9
                        B[T.Ramp(18, 1, 4)] = row_10
                        B[T.Ramp(27, 1, 4)] = row_11

                """, "\(text)")
        try verifyWellFormed(transposeTiles(f))
    }

    @Test(arguments: [4, 8, 16], ["float32", "int32", "int64"])
    func sameResults(_ n: Int, _ type: String) throws {
        let f = try tile(
            n, type: type, load: "T.Ramp(i * 100 + j, 7, N)", store: "T.Ramp(i * 16 + j * 15, 1, N)")
        let g = transposeTiles(f)
        #expect(g !== f)
        try expectSame(f, g)
    }

    /// What is no tile: buffers that may overlap, other extents, steps between the columns read, rows written apart.
    @Test func others() throws {
        for f in [
            try tile(4, load: "T.Ramp(j, 7, N)", attrs: "\"other\": True"),
            try tile(5, load: "T.Ramp(j, 7, N)"),
            try tile(4, load: "T.Ramp(j * 2, 7, N)"),
            try tile(4, load: "T.Ramp(j, 1, N)"),
            try tile(4, load: "T.Ramp(j * j, 7, N)"),
            try tile(4, load: "T.Ramp(j, 7, N)", store: "T.Ramp(j, 5, N)"),
            try tile(4, type: "int8", load: "T.Ramp(j, 7, N)"),
        ] { #expect(transposeTiles(f) === f) }
    }
}
