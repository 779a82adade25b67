// swift-format-ignore-file
// The texts of `cases` after their schedules, by `APUS_UPDATE_GOLDEN=1`; read every change.

func golden(_ name: String) -> String {
    switch name {
    case "split divisible":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0, i_1, j, r0 in T.grid(2, 3, 7, 5):
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_0 * 3 + i_1)
                            vj, vr0 = T.axis.remap("SR", [j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "split with predicate":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j_0, j_1, j_2, r0 in T.grid(6, 2, 2, 2, 5):
                        with T.block("C"):
                            vi = T.axis.remap("S", [i])
                            vj = T.axis.spatial(7, j_0 * 4 + j_1 * 2 + j_2)
                            vr0 = T.axis.remap("R", [r0])
                            T.where(j_0 * 4 + j_1 * 2 + j_2 < 7)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "split with given outer factor":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0_0, r0_1 in T.grid(6, 7, 2, 3):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            vr0 = T.axis.reduce(5, r0_0 * 3 + r0_1)
                            T.where(r0_0 * 3 + r0_1 < 5)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "fuse":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_j_fused, r0 in T.grid(42, 5):
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_j_fused // 7)
                            vj = T.axis.spatial(7, i_j_fused % 7)
                            vr0 = T.axis.remap("R", [r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "fuse undoes split":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0_i_1_fused, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i_0_i_1_fused, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "reorder":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for r0, j, i in T.grid(5, 7, 6):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "tile":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0, j_0, r0, i_1, j_1 in T.grid(2, 2, 5, 3, 4):
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_0 * 3 + i_1)
                            vj = T.axis.spatial(7, j_0 * 4 + j_1)
                            vr0 = T.axis.remap("R", [r0])
                            T.where(j_0 * 4 + j_1 < 7)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "loop kinds":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.parallel(6):
                        for j in T.vectorized(7):
                            for r0 in T.unroll(5):
                                with T.block("C"):
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "bind":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.thread_binding(6, thread="blockIdx.x"):
                        for j in T.thread_binding(7, thread="threadIdx.x"):
                            for r0 in range(5):
                                with T.block("C"):
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "annotate":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"pragma_unroll": True}):
                        for j in range(10):
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                T.block_attr({"note": 3})
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "storageAlign":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            T.block_attr({"buffer_dim_align": [0, 0, 32, 16]})
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "setScope":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32", scope="local")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "addUnitLoop":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for u, i, j, u_1 in T.grid(1, 6, 10, 1):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "computeInline elementwise":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = (A[vi, vj] + T.float32(1.0)) * (A[vi, vj] + T.float32(1.0))
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "computeInline padding":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    for i, j, k, r0, r1, r2 in T.grid(4, 5, 6, 2, 3, 3):
                        with T.block("conv"):
                            vi, vj, vk, vr0, vr1, vr2 = T.axis.remap("SSSRRR", [i, j, k, r0, r1, r2])
                            T.reads(data[vr0, vj + vr1 - 1, vk + vr2 - 1], weight[vi, vr0, vr1, vr2])
                            T.writes(conv[vi, vj, vk])
                            with T.init():
                                conv[vi, vj, vk] = T.float32(0.0)
                            conv[vi, vj, vk] = conv[vi, vj, vk] + T.if_then_else(vj + vr1 >= 1 and vj + vr1 < 6 and (vk + vr2 >= 1 and vk + vr2 < 7), data[vr0, vj + vr1 - 1, vk + vr2 - 1], T.float32(0.0)) * weight[vi, vr0, vr1, vr2]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("biased"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(conv[vi, vj, vk], bias[vi])
                            T.writes(biased[vi, vj, vk])
                            biased[vi, vj, vk] = conv[vi, vj, vk] + bias[vi]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("relu"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(biased[vi, vj, vk])
                            T.writes(out[vi, vj, vk])
                            out[vi, vj, vk] = T.max(biased[vi, vj, vk], T.float32(0.0))

            """#
    case "computeInline transposition":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), D: T.Buffer((4, 12), "float32", align=64)):
                with T.block("root"):
                    for i, j in T.grid(4, 12):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vj % 6, vi * 2 + vj // 6])
                            T.writes(D[vi, vj])
                            D[vi, vj] = A[vj % 6, vi * 2 + vj // 6] * T.float32(2.0)

            """#
    case "reverseComputeInline chain":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    for i, j, k in T.grid(2, 7, 8):
                        with T.block("pad"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(data[vi, vj - 1, vk - 1])
                            T.writes(pad[vi, vj, vk])
                            pad[vi, vj, vk] = T.if_then_else(vj >= 1 and vj < 6 and (vk >= 1 and vk < 7), data[vi, vj - 1, vk - 1], T.float32(0.0))
                    for i, j, k, r0, r1, r2 in T.grid(4, 5, 6, 2, 3, 3):
                        with T.block("conv"):
                            vi, vj, vk, vr0, vr1, vr2 = T.axis.remap("SSSRRR", [i, j, k, r0, r1, r2])
                            T.reads(pad[vr0, vj + vr1, vk + vr2], weight[vi, vr0, vr1, vr2])
                            T.writes(conv[vi, vj, vk])
                            with T.init():
                                conv[vi, vj, vk] = T.float32(0.0)
                            conv[vi, vj, vk] = conv[vi, vj, vk] + pad[vr0, vj + vr1, vk + vr2] * weight[vi, vr0, vr1, vr2]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("biased"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(conv[vi, vj, vk], bias[vi])
                            T.writes(out[vi, vj, vk])
                            out[vi, vj, vk] = T.max(conv[vi, vj, vk] + bias[vi], T.float32(0.0))

            """#
    case "reverseComputeInline layout":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), D: T.Buffer((4, 12), "float32", align=64)):
                with T.block("root"):
                    for i, j in T.grid(6, 8):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(D[vj // 2, vi + vj % 2 * 6])
                            D[vj // 2, vi + vj % 2 * 6] = A[vi, vj] * T.float32(2.0)

            """#
    case "computeAt elementwise":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i in range(6):
                        for ax0 in range(10):
                            with T.block("C"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(B[vi, vj])
                                T.writes(C[vi, vj])
                                C[vi, vj] = B[vi, vj] * B[vi, vj]
                        for j in range(10):
                            with T.block("D"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(C[vi, vj], A[vi, vj])
                                T.writes(D[vi, vj])
                                D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "computeAt window":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for i in range(7):
                        for ax0, ax1 in T.grid(3, 6):
                            with T.block("bx"):
                                vi = T.axis.spatial(9, i + ax0)
                                vj = T.axis.remap("S", [ax1])
                                T.reads(A[vi, vj:vj + 3])
                                T.writes(bx[vi, vj])
                                bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                        for j in range(6):
                            with T.block("out"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(bx[vi:vi + 3, vj])
                                T.writes(out[vi, vj])
                                out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]

            """#
    case "computeAt tile of a window":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for i_0, j_0 in T.grid(3, 2):
                        for ax0, ax1 in T.grid(5, 4):
                            with T.block("bx"):
                                vi = T.axis.spatial(9, i_0 * 3 + ax0)
                                vj = T.axis.spatial(6, j_0 * 4 + ax1)
                                T.where(i_0 * 3 + ax0 < 9 and j_0 * 4 + ax1 < 6)
                                T.reads(A[vi, vj:vj + 3])
                                T.writes(bx[vi, vj])
                                bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                        for i_1, j_1 in T.grid(3, 4):
                            with T.block("out"):
                                vi = T.axis.spatial(7, i_0 * 3 + i_1)
                                vj = T.axis.spatial(6, j_0 * 4 + j_1)
                                T.where(i_0 * 3 + i_1 < 7 and j_0 * 4 + j_1 < 6)
                                T.reads(bx[vi:vi + 3, vj])
                                T.writes(out[vi, vj])
                                out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]

            """#
    case "computeAt padding stage":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    for j_0 in range(3):
                        for ax0, ax1, ax2 in T.grid(2, 4, 8):
                            with T.block("pad"):
                                vi = T.axis.remap("S", [ax0])
                                vj = T.axis.spatial(7, j_0 * 2 + ax1)
                                vk = T.axis.remap("S", [ax2])
                                T.where(j_0 * 2 + ax1 < 7)
                                T.reads(data[vi, vj - 1, vk - 1])
                                T.writes(pad[vi, vj, vk])
                                pad[vi, vj, vk] = T.if_then_else(vj >= 1 and vj < 6 and (vk >= 1 and vk < 7), data[vi, vj - 1, vk - 1], T.float32(0.0))
                        for i, j_1, k, r0, r1, r2 in T.grid(4, 2, 6, 2, 3, 3):
                            with T.block("conv"):
                                vi = T.axis.remap("S", [i])
                                vj = T.axis.spatial(5, j_0 * 2 + j_1)
                                vk, vr0, vr1, vr2 = T.axis.remap("SRRR", [k, r0, r1, r2])
                                T.where(j_0 * 2 + j_1 < 5)
                                T.reads(pad[vr0, vj + vr1, vk + vr2], weight[vi, vr0, vr1, vr2])
                                T.writes(conv[vi, vj, vk])
                                with T.init():
                                    conv[vi, vj, vk] = T.float32(0.0)
                                conv[vi, vj, vk] = conv[vi, vj, vk] + pad[vr0, vj + vr1, vk + vr2] * weight[vi, vr0, vr1, vr2]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("biased"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(conv[vi, vj, vk], bias[vi])
                            T.writes(biased[vi, vj, vk])
                            biased[vi, vj, vk] = conv[vi, vj, vk] + bias[vi]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("relu"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(biased[vi, vj, vk])
                            T.writes(out[vi, vj, vk])
                            out[vi, vj, vk] = T.max(biased[vi, vj, vk], T.float32(0.0))

            """#
    case "computeAt reduction":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), out: T.Buffer((5, 6), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((5,), "float32")
                    ex = T.alloc_buffer((5, 6), "float32")
                    sum = T.alloc_buffer((5,), "float32")
                    for i in range(5):
                        for ax0 in range(6):
                            with T.block("mx"):
                                vi, vr0 = T.axis.remap("SR", [i, ax0])
                                T.reads(A[vi, vr0])
                                T.writes(mx[vi])
                                with T.init():
                                    mx[vi] = T.float32("-inf")
                                mx[vi] = T.max(mx[vi], A[vi, vr0])
                        for ax0 in range(6):
                            with T.block("ex"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(A[vi, vj], mx[vi])
                                T.writes(ex[vi, vj])
                                ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                        for ax0 in range(6):
                            with T.block("sum"):
                                vi, vr0 = T.axis.remap("SR", [i, ax0])
                                T.reads(ex[vi, vr0])
                                T.writes(sum[vi])
                                with T.init():
                                    sum[vi] = T.float32(0.0)
                                sum[vi] = sum[vi] + ex[vi, vr0]
                        for j in range(6):
                            with T.block("out"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(ex[vi, vj], sum[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = ex[vi, vj] / sum[vi]

            """#
    case "reverseComputeAt":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i in range(6):
                        for j, r0 in T.grid(8, 5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                        for ax0 in range(8):
                            with T.block("T"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(C[vi, vj], bias[vj])
                                T.writes(T_[vi, vj])
                                T_[vi, vj] = C[vi, vj] + bias[vj]
                        for ax0 in range(8):
                            with T.block("D"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(T_[vi, vj])
                                T.writes(D[vi, vj])
                                D[vi, vj] = T.max(T_[vi, vj], T.float32(0.0))

            """#
    case "reverseComputeAt tile":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    for i_0, j_0 in T.grid(2, 2):
                        for r0, i_1, j_1 in T.grid(5, 4, 4):
                            with T.block("C"):
                                vi = T.axis.spatial(6, i_0 * 4 + i_1)
                                vj = T.axis.spatial(8, j_0 * 4 + j_1)
                                vr0 = T.axis.remap("R", [r0])
                                T.where(i_0 * 4 + i_1 < 6)
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                        for ax0, ax1 in T.grid(4, 4):
                            with T.block("T"):
                                vi = T.axis.spatial(6, i_0 * 4 + ax0)
                                vj = T.axis.spatial(8, j_0 * 4 + ax1)
                                T.where(i_0 * 4 + ax0 < 6)
                                T.reads(C[vi, vj], bias[vj])
                                T.writes(D[vi, vj])
                                D[vi, vj] = T.max(C[vi, vj] + bias[vj], T.float32(0.0))

            """#
    case "reverseComputeAt softmax":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), out: T.Buffer((5, 6), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((5,), "float32")
                    ex = T.alloc_buffer((5, 6), "float32")
                    sum = T.alloc_buffer((5,), "float32")
                    for i in range(5):
                        for r0 in range(6):
                            with T.block("mx"):
                                vi, vr0 = T.axis.remap("SR", [i, r0])
                                T.reads(A[vi, vr0])
                                T.writes(mx[vi])
                                with T.init():
                                    mx[vi] = T.float32("-inf")
                                mx[vi] = T.max(mx[vi], A[vi, vr0])
                        for ax0 in range(6):
                            with T.block("ex"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(A[vi, vj], mx[vi])
                                T.writes(ex[vi, vj])
                                ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                        for ax0 in range(6):
                            with T.block("sum"):
                                vi, vr0 = T.axis.remap("SR", [i, ax0])
                                T.reads(ex[vi, vr0])
                                T.writes(sum[vi])
                                with T.init():
                                    sum[vi] = T.float32(0.0)
                                sum[vi] = sum[vi] + ex[vi, vr0]
                        for ax0 in range(6):
                            with T.block("out"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(ex[vi, vj], sum[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = ex[vi, vj] / sum[vi]

            """#
    case "cacheRead":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    B_global = T.alloc_buffer((5, 7), "float32")
                    for i, j in T.grid(6, 7):
                        for ax0 in range(5):
                            with T.block("B_global"):
                                v0, v1 = T.axis.remap("SS", [ax0, j])
                                T.reads(B[v0, v1])
                                T.writes(B_global[v0, v1])
                                B_global[v0, v1] = B[v0, v1]
                        for r0 in range(5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B_global[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B_global[vr0, vj]

            """#
    case "cacheRead of an intermediate":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    B_local = T.alloc_buffer((6, 10), "float32", scope="local")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for ax0, ax1 in T.grid(6, 10):
                        with T.block("B_local"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(B[v0, v1])
                            T.writes(B_local[v0, v1])
                            B_local[v0, v1] = B[v0, v1]
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B_local[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B_local[vi, vj] * B_local[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "cacheWrite":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    C_local = T.alloc_buffer((6, 7), "float32", scope="local")
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C_local[vi, vj])
                            with T.init():
                                C_local[vi, vj] = T.float32(0.0)
                            C_local[vi, vj] = C_local[vi, vj] + A[vi, vr0] * B[vr0, vj]
                    for ax0, ax1 in T.grid(6, 7):
                        with T.block("C_local"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(C_local[v0, v1])
                            T.writes(C[v0, v1])
                            C[v0, v1] = C_local[v0, v1]

            """#
    case "cacheWrite accumulator":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    C_local = T.alloc_buffer((6, 7), "float32", scope="local")
                    for i, j_0 in T.grid(6, 2):
                        for r0, j_1 in T.grid(5, 4):
                            with T.block("C"):
                                vi = T.axis.remap("S", [i])
                                vj = T.axis.spatial(7, j_0 * 4 + j_1)
                                vr0 = T.axis.remap("R", [r0])
                                T.where(j_0 * 4 + j_1 < 7)
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C_local[vi, vj])
                                with T.init():
                                    C_local[vi, vj] = T.float32(0.0)
                                C_local[vi, vj] = C_local[vi, vj] + A[vi, vr0] * B[vr0, vj]
                        for ax0 in range(4):
                            with T.block("C_local"):
                                v0 = T.axis.remap("S", [i])
                                v1 = T.axis.spatial(7, j_0 * 4 + ax0)
                                T.where(j_0 * 4 + ax0 < 7)
                                T.reads(C_local[v0, v1])
                                T.writes(C[v0, v1])
                                C[v0, v1] = C_local[v0, v1]

            """#
    case "decomposeReduction":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j in T.grid(6, 7):
                        with T.block("C_init"):
                            vi_init, vj_init = T.axis.remap("SS", [i, j])
                            T.writes(C[vi_init, vj_init])
                            C[vi_init, vj_init] = T.float32(0.0)
                        for r0 in range(5):
                            with T.block("C_update"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                                T.writes(C[vi, vj])
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "decomposeReduction of a tile":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j_0 in T.grid(6, 2):
                        for j_1_init in T.vectorized(4):
                            with T.block("C_init"):
                                vi_init = T.axis.remap("S", [i])
                                vj_init = T.axis.spatial(7, j_0 * 4 + j_1_init)
                                T.where(j_0 * 4 + j_1_init < 7)
                                T.writes(C[vi_init, vj_init])
                                C[vi_init, vj_init] = T.float32(0.0)
                        for r0_0, r0_1 in T.grid(3, 2):
                            for j_1 in T.vectorized(4):
                                with T.block("C_update"):
                                    vi = T.axis.remap("S", [i])
                                    vj = T.axis.spatial(7, j_0 * 4 + j_1)
                                    vr0 = T.axis.reduce(5, r0_0 * 2 + r0_1)
                                    T.where(j_0 * 4 + j_1 < 7 and r0_0 * 2 + r0_1 < 5)
                                    T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                                    T.writes(C[vi, vj])
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "rfactor":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    B_rf = T.alloc_buffer((7, 2), "float32")
                    for i, r0, r1 in T.grid(2, 6, 7):
                        with T.block("B_rf"):
                            vi, vr1, vr0 = T.axis.remap("SSR", [i, r1, r0])
                            T.reads(A[vi, vr0, vr1])
                            T.writes(B_rf[vr1, vi])
                            with T.init():
                                B_rf[vr1, vi] = T.float32(0.0)
                            B_rf[vr1, vi] = B_rf[vr1, vi] + A[vi, vr0, vr1]
                    for ax0, ax1 in T.grid(2, 7):
                        with T.block("B"):
                            vi, vr1 = T.axis.remap("SR", [ax0, ax1])
                            T.reads(B_rf[vr1, vi])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + B_rf[vr1, vi]

            """#
    case "rfactor of a split loop":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    B_rf = T.alloc_buffer((2, 4), "float32")
                    for i, r0, r1_0, r1_1 in T.grid(2, 6, 2, 4):
                        with T.block("B_rf"):
                            vi, vr1_1, vr0, vr1_0 = T.axis.remap("SSRR", [i, r1_1, r0, r1_0])
                            T.reads(A[vi, vr0, vr1_0 * 4 + vr1_1])
                            T.writes(B_rf[vi, vr1_1])
                            with T.init():
                                B_rf[vi, vr1_1] = T.float32(0.0)
                            B_rf[vi, vr1_1] = B_rf[vi, vr1_1] + T.if_then_else(vr1_0 * 4 + vr1_1 < 7, A[vi, vr0, vr1_0 * 4 + vr1_1], T.float32(0.0))
                    for ax0, ax1 in T.grid(2, 4):
                        with T.block("B"):
                            vi, vr1_1 = T.axis.remap("SR", [ax0, ax1])
                            T.reads(B_rf[vi, vr1_1])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + B_rf[vi, vr1_1]

            """#
    case "sampling":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0, i_1, i_2, j, r0 in T.grid(2, 1, 3, 7, 5):
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_0 * 3 + i_2)
                            vj, vr0 = T.axis.remap("SR", [j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            T.block_attr({"unroll": 2})
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "cpu matmul":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32", scope="local")
                    for i_0_j_0_fused in T.parallel(2):
                        for i_1_init in T.unroll(4):
                            for j_1_init in T.vectorized(8):
                                with T.block("C_init"):
                                    vi_init = T.axis.spatial(6, i_0_j_0_fused * 4 + i_1_init)
                                    vj_init = T.axis.remap("S", [j_1_init])
                                    T.where(i_0_j_0_fused * 4 + i_1_init < 6)
                                    T.writes(C[vi_init, vj_init])
                                    C[vi_init, vj_init] = T.float32(0.0)
                        for r0_0, r0_1 in T.grid(3, 2):
                            for i_1 in T.unroll(4):
                                for j_1 in T.vectorized(8):
                                    with T.block("C_update"):
                                        vi = T.axis.spatial(6, i_0_j_0_fused * 4 + i_1)
                                        vj = T.axis.remap("S", [j_1])
                                        vr0 = T.axis.reduce(5, r0_0 * 2 + r0_1)
                                        T.where(i_0_j_0_fused * 4 + i_1 < 6 and r0_0 * 2 + r0_1 < 5)
                                        T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                                        T.writes(C[vi, vj])
                                        C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                        for ax0 in range(4):
                            for ax1 in T.vectorized(8):
                                with T.block("T"):
                                    vi = T.axis.spatial(6, i_0_j_0_fused * 4 + ax0)
                                    vj = T.axis.remap("S", [ax1])
                                    T.where(i_0_j_0_fused * 4 + ax0 < 6)
                                    T.reads(C[vi, vj], bias[vj])
                                    T.writes(D[vi, vj])
                                    D[vi, vj] = T.max(C[vi, vj] + bias[vj], T.float32(0.0))

            """#
    case "cpu convolution":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv_local = T.alloc_buffer((4, 5, 6), "float32", scope="local")
                    for i_0_j_fused in T.parallel(5):
                        for ax0, ax1, ax2 in T.grid(2, 3, 8):
                            with T.block("pad"):
                                vi = T.axis.remap("S", [ax0])
                                vj = T.axis.spatial(7, i_0_j_fused + ax1)
                                vk = T.axis.remap("S", [ax2])
                                T.reads(data[vi, vj - 1, vk - 1])
                                T.writes(pad[vi, vj, vk])
                                pad[vi, vj, vk] = T.if_then_else(vj >= 1 and vj < 6 and (vk >= 1 and vk < 7), data[vi, vj - 1, vk - 1], T.float32(0.0))
                        for k_0 in range(2):
                            for k_1_init in T.unroll(4):
                                for i_1_init in T.vectorized(4):
                                    with T.block("conv_init"):
                                        vi_init, vj_init = T.axis.remap("SS", [i_1_init, i_0_j_fused])
                                        vk_init = T.axis.spatial(6, k_0 * 4 + k_1_init)
                                        T.where(k_0 * 4 + k_1_init < 6)
                                        T.writes(conv_local[vi_init, vj_init, vk_init])
                                        conv_local[vi_init, vj_init, vk_init] = T.float32(0.0)
                            for r0, r1, r2 in T.grid(2, 3, 3):
                                for k_1 in T.unroll(4):
                                    for i_1 in T.vectorized(4):
                                        with T.block("conv_update"):
                                            vi, vj = T.axis.remap("SS", [i_1, i_0_j_fused])
                                            vk = T.axis.spatial(6, k_0 * 4 + k_1)
                                            vr0, vr1, vr2 = T.axis.remap("RRR", [r0, r1, r2])
                                            T.where(k_0 * 4 + k_1 < 6)
                                            T.reads(pad[vr0, vj + vr1, vk + vr2], weight[vi, vr0, vr1, vr2], conv_local[vi, vj, vk])
                                            T.writes(conv_local[vi, vj, vk])
                                            conv_local[vi, vj, vk] = conv_local[vi, vj, vk] + pad[vr0, vj + vr1, vk + vr2] * weight[vi, vr0, vr1, vr2]
                            for ax0, ax1 in T.grid(4, 4):
                                with T.block("conv_local"):
                                    v0, v1 = T.axis.remap("SS", [ax0, i_0_j_fused])
                                    v2 = T.axis.spatial(6, k_0 * 4 + ax1)
                                    T.where(k_0 * 4 + ax1 < 6)
                                    T.reads(conv_local[v0, v1, v2], bias[v0])
                                    T.writes(out[v0, v1, v2])
                                    out[v0, v1, v2] = T.max(conv_local[v0, v1, v2] + bias[v0], T.float32(0.0))

            """#
    case "blockize":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0 in T.parallel(2):
                        for j in range(7):
                            with T.block("C_o"):
                                vi_o, vj_o = T.axis.remap("SS", [i_0, j])
                                T.reads(A[vi_o * 3:vi_o * 3 + 3, 0:5], B[0:5, vj_o])
                                T.writes(C[vi_o * 3:vi_o * 3 + 3, vj_o])
                                for i_1, r0 in T.grid(3, 5):
                                    with T.block("C"):
                                        vi = T.axis.spatial(6, vi_o * 3 + i_1)
                                        vj = T.axis.spatial(7, vj_o)
                                        vr0 = T.axis.remap("R", [r0])
                                        T.reads(A[vi, vr0], B[vr0, vj])
                                        T.writes(C[vi, vj])
                                        with T.init():
                                            C[vi, vj] = T.float32(0.0)
                                        C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "blockize inside a reduction":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j_0 in T.grid(6, 2):
                        with T.block("C_o_init"):
                            vi_o_init, vj_o_init = T.axis.remap("SS", [i, j_0])
                            T.writes(C[vi_o_init, vj_o_init * 4:vj_o_init * 4 + 4])
                            for j_1_init in range(4):
                                with T.block("C_init"):
                                    vi_init = T.axis.spatial(6, vi_o_init)
                                    vj_init = T.axis.spatial(8, vj_o_init * 4 + j_1_init)
                                    T.writes(C[vi_init, vj_init])
                                    C[vi_init, vj_init] = T.float32(0.0)
                        for r0 in range(5):
                            with T.block("C_o_update"):
                                vi_o, vj_o, vr0_o = T.axis.remap("SSR", [i, j_0, r0])
                                T.reads(A[vi_o, vr0_o], B[vr0_o, vj_o * 4:vj_o * 4 + 4], C[vi_o, vj_o * 4:vj_o * 4 + 4])
                                T.writes(C[vi_o, vj_o * 4:vj_o * 4 + 4])
                                for j_1 in range(4):
                                    with T.block("C"):
                                        vi = T.axis.spatial(6, vi_o)
                                        vj = T.axis.spatial(8, vj_o * 4 + j_1)
                                        vr0 = T.axis.reduce(5, vr0_o)
                                        T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                                        T.writes(C[vi, vj])
                                        C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                    for i, j in T.grid(6, 8):
                        with T.block("T"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], bias[vj])
                            T.writes(T_[vi, vj])
                            T_[vi, vj] = C[vi, vj] + bias[vj]
                    for i, j in T.grid(6, 8):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(T_[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = T.max(T_[vi, vj], T.float32(0.0))

            """#
    case "inner block":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0, j in T.grid(2, 7):
                        with T.block("C_o"):
                            vi_o, vj_o = T.axis.remap("SS", [i_0, j])
                            T.reads(A[vi_o * 3:vi_o * 3 + 3, 0:5], B[0:5, vj_o])
                            T.writes(C[vi_o * 3:vi_o * 3 + 3, vj_o])
                            for i_1 in T.unroll(3):
                                with T.block("C_init"):
                                    vi_init = T.axis.spatial(6, vi_o * 3 + i_1)
                                    vj_init = T.axis.spatial(7, vj_o)
                                    T.writes(C[vi_init, vj_init])
                                    C[vi_init, vj_init] = T.float32(0.0)
                                for r0 in range(5):
                                    with T.block("C_update"):
                                        vi = T.axis.spatial(6, vi_o * 3 + i_1)
                                        vj = T.axis.spatial(7, vj_o)
                                        vr0 = T.axis.remap("R", [r0])
                                        T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                                        T.writes(C[vi, vj])
                                        C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "rows in parallel":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((2, 3, 2, 5), "float32", align=64), out: T.Buffer((2, 3, 2, 5), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((2, 3, 2), "float32")
                    ex = T.alloc_buffer((2, 3, 2, 5), "float32")
                    sum = T.alloc_buffer((2, 3, 2), "float32")
                    for i_j_k_fused in T.parallel(12):
                        for r0 in range(5):
                            with T.block("mx"):
                                vi = T.axis.spatial(2, i_j_k_fused // 6)
                                vj = T.axis.spatial(3, i_j_k_fused // 2 % 3)
                                vk = T.axis.spatial(2, i_j_k_fused % 2)
                                vr0 = T.axis.remap("R", [r0])
                                T.reads(A[vi, vj, vk, vr0])
                                T.writes(mx[vi, vj, vk])
                                with T.init():
                                    mx[vi, vj, vk] = T.float32("-inf")
                                mx[vi, vj, vk] = T.max(mx[vi, vj, vk], A[vi, vj, vk, vr0])
                        for ax0 in range(5):
                            with T.block("ex"):
                                vi = T.axis.spatial(2, i_j_k_fused // 6)
                                vj = T.axis.spatial(3, i_j_k_fused // 2 % 3)
                                vk = T.axis.spatial(2, i_j_k_fused % 2)
                                vl = T.axis.remap("S", [ax0])
                                T.reads(A[vi, vj, vk, vl], mx[vi, vj, vk])
                                T.writes(ex[vi, vj, vk, vl])
                                ex[vi, vj, vk, vl] = T.exp(A[vi, vj, vk, vl] - mx[vi, vj, vk])
                        for ax0 in range(5):
                            with T.block("sum"):
                                vi = T.axis.spatial(2, i_j_k_fused // 6)
                                vj = T.axis.spatial(3, i_j_k_fused // 2 % 3)
                                vk = T.axis.spatial(2, i_j_k_fused % 2)
                                vr0 = T.axis.remap("R", [ax0])
                                T.reads(ex[vi, vj, vk, vr0])
                                T.writes(sum[vi, vj, vk])
                                with T.init():
                                    sum[vi, vj, vk] = T.float32(0.0)
                                sum[vi, vj, vk] = sum[vi, vj, vk] + ex[vi, vj, vk, vr0]
                        for ax0 in T.vectorized(5):
                            with T.block("out"):
                                vi = T.axis.spatial(2, i_j_k_fused // 6)
                                vj = T.axis.spatial(3, i_j_k_fused // 2 % 3)
                                vk = T.axis.spatial(2, i_j_k_fused % 2)
                                vl = T.axis.remap("S", [ax0])
                                T.reads(ex[vi, vj, vk, vl], sum[vi, vj, vk])
                                T.writes(out[vi, vj, vk, vl])
                                out[vi, vj, vk, vl] = ex[vi, vj, vk, vl] / sum[vi, vj, vk]

            """#
    case "rows in chunks":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((2, 3, 2, 5), "float32", align=64), out: T.Buffer((2, 3, 2, 5), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((2, 3, 2), "float32")
                    ex = T.alloc_buffer((2, 3, 2, 5), "float32")
                    sum = T.alloc_buffer((2, 3, 2), "float32")
                    for i_j_k_fused_0 in T.parallel(6):
                        for i_j_k_fused_1 in range(2):
                            for ax0 in range(5):
                                with T.block("mx"):
                                    vi = T.axis.spatial(2, (i_j_k_fused_0 * 2 + i_j_k_fused_1) // 6)
                                    vj = T.axis.spatial(3, i_j_k_fused_0 % 3)
                                    vk, vr0 = T.axis.remap("SR", [i_j_k_fused_1, ax0])
                                    T.reads(A[vi, vj, vk, vr0])
                                    T.writes(mx[vi, vj, vk])
                                    with T.init():
                                        mx[vi, vj, vk] = T.float32("-inf")
                                    mx[vi, vj, vk] = T.max(mx[vi, vj, vk], A[vi, vj, vk, vr0])
                            for ax0 in range(5):
                                with T.block("ex"):
                                    vi = T.axis.spatial(2, (i_j_k_fused_0 * 2 + i_j_k_fused_1) // 6)
                                    vj = T.axis.spatial(3, i_j_k_fused_0 % 3)
                                    vk, vl = T.axis.remap("SS", [i_j_k_fused_1, ax0])
                                    T.reads(A[vi, vj, vk, vl], mx[vi, vj, vk])
                                    T.writes(ex[vi, vj, vk, vl])
                                    ex[vi, vj, vk, vl] = T.exp(A[vi, vj, vk, vl] - mx[vi, vj, vk])
                            for ax0 in range(5):
                                with T.block("sum"):
                                    vi = T.axis.spatial(2, (i_j_k_fused_0 * 2 + i_j_k_fused_1) // 6)
                                    vj = T.axis.spatial(3, i_j_k_fused_0 % 3)
                                    vk, vr0 = T.axis.remap("SR", [i_j_k_fused_1, ax0])
                                    T.reads(ex[vi, vj, vk, vr0])
                                    T.writes(sum[vi, vj, vk])
                                    with T.init():
                                        sum[vi, vj, vk] = T.float32(0.0)
                                    sum[vi, vj, vk] = sum[vi, vj, vk] + ex[vi, vj, vk, vr0]
                            for l in range(5):
                                with T.block("out"):
                                    vi = T.axis.spatial(2, (i_j_k_fused_0 * 2 + i_j_k_fused_1) // 6)
                                    vj = T.axis.spatial(3, i_j_k_fused_0 % 3)
                                    vk, vl = T.axis.remap("SS", [i_j_k_fused_1, l])
                                    T.reads(ex[vi, vj, vk, vl], sum[vi, vj, vk])
                                    T.writes(out[vi, vj, vk, vl])
                                    out[vi, vj, vk, vl] = ex[vi, vj, vk, vl] / sum[vi, vj, vk]

            """#
    case "two reductions under one loop":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), out: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    sum = T.alloc_buffer((6,), "float32")
                    square = T.alloc_buffer((6,), "float32")
                    for i_0 in T.parallel(2):
                        for ax0, ax1 in T.grid(4, 8):
                            with T.block("sum"):
                                vi = T.axis.spatial(6, i_0 * 4 + ax0)
                                vr0 = T.axis.remap("R", [ax1])
                                T.where(i_0 * 4 + ax0 < 6)
                                T.reads(A[vi, vr0])
                                T.writes(sum[vi])
                                with T.init():
                                    sum[vi] = T.float32(0.0)
                                sum[vi] = sum[vi] + A[vi, vr0]
                        for ax0, ax1 in T.grid(4, 8):
                            with T.block("square"):
                                vi = T.axis.spatial(6, i_0 * 4 + ax0)
                                vr0 = T.axis.remap("R", [ax1])
                                T.where(i_0 * 4 + ax0 < 6)
                                T.reads(A[vi, vr0])
                                T.writes(square[vi])
                                with T.init():
                                    square[vi] = T.float32(0.0)
                                square[vi] = square[vi] + A[vi, vr0] * A[vi, vr0]
                        for i_1, j in T.grid(4, 8):
                            with T.block("out"):
                                vi = T.axis.spatial(6, i_0 * 4 + i_1)
                                vj = T.axis.remap("S", [j])
                                T.where(i_0 * 4 + i_1 < 6)
                                T.reads(A[vi, vj], sum[vi], square[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = (A[vi, vj] - sum[vi] / T.float32(8.0)) / (square[vi] / T.float32(8.0) - sum[vi] / T.float32(8.0) * (sum[vi] / T.float32(8.0)) + T.float32(1.0))

            """#
    case "packed output":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((3, 5), "float32", align=64), weight: T.Buffer((2, 3, 4), "float32", align=64), out: T.Buffer((6, 5), "float32", align=64)):
                with T.block("root"):
                    conv_local = T.alloc_buffer((2, 5, 4), "float32", scope="local")
                    for i_j_fused in T.parallel(10):
                        for k_init in T.vectorized(4):
                            with T.block("conv_init"):
                                vi_init = T.axis.spatial(2, i_j_fused // 5)
                                vj_init = T.axis.spatial(5, i_j_fused % 5)
                                vk_init = T.axis.remap("S", [k_init])
                                T.writes(conv_local[vi_init, vj_init, vk_init])
                                conv_local[vi_init, vj_init, vk_init] = T.float32(0.0)
                        for r0 in range(3):
                            for k in T.vectorized(4):
                                with T.block("conv_update"):
                                    vi = T.axis.spatial(2, i_j_fused // 5)
                                    vj = T.axis.spatial(5, i_j_fused % 5)
                                    vk, vr0 = T.axis.remap("SR", [k, r0])
                                    T.reads(data[vr0, vj], weight[vi, vr0, vk], conv_local[vi, vj, vk])
                                    T.writes(conv_local[vi, vj, vk])
                                    conv_local[vi, vj, vk] = conv_local[vi, vj, vk] + data[vr0, vj] * weight[vi, vr0, vk]
                        for ax0 in range(4):
                            with T.block("conv_local"):
                                v0 = T.axis.spatial(2, i_j_fused // 5)
                                v1 = T.axis.spatial(5, i_j_fused % 5)
                                v2 = T.axis.remap("S", [ax0])
                                T.where(ax0 + i_j_fused // 5 * 4 < 6)
                                T.reads(conv_local[v0, v1, v2])
                                T.writes(out[v2 + v0 * 4, v1])
                                out[v2 + v0 * 4, v1] = conv_local[v0, v1, v2]

            """#
    case "reduction of pairs":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5, 7), "float32", align=64), place: T.Buffer((5,), "float32", align=64), double: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    best = T.alloc_buffer((5,), "float32")
                    for i in T.parallel(5):
                        with T.block("best_init"):
                            vi_init = T.axis.remap("S", [i])
                            T.writes(best[vi_init], place[vi_init])
                            best[vi_init] = T.float32("-inf")
                            place[vi_init] = T.float32(-1.0)
                        for k in range(7):
                            with T.block("best_update"):
                                vi, vk = T.axis.remap("SR", [i, k])
                                T.reads(A[vi, vk], best[vi], place[vi])
                                T.writes(best[vi], place[vi])
                                value: T.float32 = T.max(A[vi, vk], best[vi])
                                position: T.float32 = T.Select(A[vi, vk] > best[vi] or not A[vi, vk] < best[vi] and T.Cast("float32", vk) < place[vi], T.Cast("float32", vk), place[vi])
                                best[vi] = value
                                place[vi] = position
                        with T.block("double"):
                            vi = T.axis.remap("S", [i])
                            T.reads(best[vi])
                            T.writes(double[vi])
                            double[vi] = best[vi] * T.float32(2.0)

            """#
    case "scalars and opaque blocks":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6,), "float32", align=64), out: T.Buffer((6,), "float32", align=64)):
                with T.block("root"):
                    sum = T.alloc_buffer((), "float32")
                    prefix = T.alloc_buffer((6,), "float32")
                    sum_local = T.alloc_buffer((), "float32", scope="local")
                    with T.block("sum_init"):
                        T.writes(sum_local[()])
                        sum_local[()] = T.float32(0.0)
                    for r0_0, r0_1 in T.grid(2, 4):
                        with T.block("sum_update"):
                            vr0 = T.axis.reduce(6, r0_0 * 4 + r0_1)
                            T.where(r0_0 * 4 + r0_1 < 6)
                            T.reads(A[vr0], sum_local[()])
                            T.writes(sum_local[()])
                            sum_local[()] = sum_local[()] + A[vr0]
                    with T.block("sum_local"):
                        T.reads(sum_local[()])
                        T.writes(sum[()])
                        sum[()] = sum_local[()]
                    with T.block("prefix"):
                        T.reads(A[0:6], prefix[0:6])
                        T.writes(prefix[0:6])
                        for t in range(6):
                            prefix[t] = T.float32(0.0)
                            prefix[t] = T.Select(t >= 1, prefix[T.max(t - 1, 0)], T.float32(0.0)) + A[t]
                    for i in T.vectorized(6):
                        with T.block("out"):
                            vi = T.axis.remap("S", [i])
                            T.reads(prefix[vi], sum[()])
                            T.writes(out[vi])
                            out[vi] = prefix[vi] - sum[()]

            """#
    case "transformLayout permutes":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((10, 6), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vj, vi])
                            B[vj, vi] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vj, vi])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vj, vi] * B[vj, vi]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "transformLayout packs":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), D: T.Buffer((4, 12), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 8), "float32")
                    C = T.alloc_buffer((2, 6, 4), "float32")
                    for i, j in T.grid(6, 8):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] * T.float32(2.0)
                    for i, j in T.grid(8, 6):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vj, vi])
                            T.writes(C[vi // 4, vj, vi % 4])
                            C[vi // 4, vj, vi % 4] = B[vj, vi]
                    for i, j in T.grid(4, 12):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[(vi * 2 + vj // 6) // 4, vj % 6, (vi * 2 + vj // 6) % 4])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[(vi * 2 + vj // 6) // 4, vj % 6, (vi * 2 + vj // 6) % 4]

            """#
    case "transformLayout with padding":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((2, 3, 4, 3), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi // 4, vj // 3, vi % 4, vj % 3])
                            with T.init():
                                C[vi // 4, vj // 3, vi % 4, vj % 3] = T.float32(0.0)
                            C[vi // 4, vj // 3, vi % 4, vj % 3] = C[vi // 4, vj // 3, vi % 4, vj % 3] + A[vi, vr0] * B[vr0, vj]
                    for i, j in T.grid(6, 8):
                        with T.block("T"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi // 4, vj // 3, vi % 4, vj % 3], bias[vj])
                            T.writes(T_[vi, vj])
                            T_[vi, vj] = C[vi // 4, vj // 3, vi % 4, vj % 3] + bias[vj]
                    for i, j in T.grid(6, 8):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(T_[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = T.max(T_[vi, vj], T.float32(0.0))

            """#
    case "transformLayout fills the padding":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((2, 10, 4), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for ax0, ax1, ax2 in T.grid(2, 10, 4):
                        with T.block("B"):
                            u0, u1, u2 = T.axis.remap("SSS", [ax0, ax1, ax2])
                            T.reads(A[u2 + u0 * 4, u1])
                            T.writes(B[u0, u1, u2])
                            B[u0, u1, u2] = T.if_then_else(u2 + u0 * 4 < 6, A[u2 + u0 * 4, u1] + T.float32(1.0), T.float32(0.0))
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi // 4, vj, vi % 4])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi // 4, vj, vi % 4] * B[vi // 4, vj, vi % 4]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "transformBlockLayout":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for ax0, ax1, ax2 in T.grid(42, 3, 2):
                        with T.block("C"):
                            v0, v1, v2 = T.axis.remap("SRR", [ax0, ax1, ax2])
                            T.where(ax2 + ax1 * 2 < 5)
                            T.reads(A[v0 // 7, v2 + v1 * 2], B[v2 + v1 * 2, v0 % 7])
                            T.writes(C[v0 // 7, v0 % 7])
                            with T.init():
                                C[v0 // 7, v0 % 7] = T.float32(0.0)
                            C[v0 // 7, v0 % 7] = C[v0 // 7, v0 % 7] + A[v0 // 7, v2 + v1 * 2] * B[v2 + v1 * 2, v0 % 7]

            """#
    case "transformBlockLayout of views":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 4), "float32", align=64), B: T.Buffer((6, 4), "float32", align=64)):
                with T.block("root"):
                    for ax0, ax1 in T.grid(4, 3):
                        with T.block("B"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            V = T.match_buffer(A[v1 * 2:v1 * 2 + 2, v0], (2, 1), "float32", strides=(s0, 1), elem_offset=o)
                            W = T.match_buffer(B[v1 * 2:v1 * 2 + 2, v0], (2, 1), "float32", strides=(t0, 1), elem_offset=p)
                            T.reads(A[v1 * 2:v1 * 2 + 2, v0])
                            T.writes(B[v1 * 2:v1 * 2 + 2, v0])
                            for k in range(2):
                                W[k, 0] = V[k, 0] * T.float32(2.0)

            """#
    case "reorderBlockIterVar":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                            vr0, vi, vj = T.axis.remap("RSS", [r0, i, j])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "reindex a read":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    pad_reindex = T.alloc_buffer((5, 6, 2, 3, 3), "float32")
                    for i, j, k in T.grid(2, 7, 8):
                        with T.block("pad"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(data[vi, vj - 1, vk - 1])
                            T.writes(pad[vi, vj, vk])
                            pad[vi, vj, vk] = T.if_then_else(vj >= 1 and vj < 6 and (vk >= 1 and vk < 7), data[vi, vj - 1, vk - 1], T.float32(0.0))
                    for ax0, ax1, ax2, ax3, ax4 in T.grid(5, 6, 2, 3, 3):
                        with T.block("pad_reindex"):
                            vj, vk, vr0, vr1, vr2 = T.axis.remap("SSSSS", [ax0, ax1, ax2, ax3, ax4])
                            T.reads(pad[vr0, vj + vr1, vk + vr2])
                            T.writes(pad_reindex[vj, vk, vr0, vr1, vr2])
                            pad_reindex[vj, vk, vr0, vr1, vr2] = pad[vr0, vj + vr1, vk + vr2]
                    for i, j, k, r0, r1, r2 in T.grid(4, 5, 6, 2, 3, 3):
                        with T.block("conv"):
                            vi, vj, vk, vr0, vr1, vr2 = T.axis.remap("SSSRRR", [i, j, k, r0, r1, r2])
                            T.reads(pad_reindex[vj, vk, vr0, vr1, vr2], weight[vi, vr0, vr1, vr2])
                            T.writes(conv[vi, vj, vk])
                            with T.init():
                                conv[vi, vj, vk] = T.float32(0.0)
                            conv[vi, vj, vk] = conv[vi, vj, vk] + pad_reindex[vj, vk, vr0, vr1, vr2] * weight[vi, vr0, vr1, vr2]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("biased"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(conv[vi, vj, vk], bias[vi])
                            T.writes(biased[vi, vj, vk])
                            biased[vi, vj, vk] = conv[vi, vj, vk] + bias[vi]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("relu"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(biased[vi, vj, vk])
                            T.writes(out[vi, vj, vk])
                            out[vi, vj, vk] = T.max(biased[vi, vj, vk], T.float32(0.0))

            """#
    case "reindex a write":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), D: T.Buffer((4, 12), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 8), "float32")
                    C = T.alloc_buffer((8, 6), "float32")
                    C_reindex = T.alloc_buffer((8, 6), "float32")
                    for i, j in T.grid(6, 8):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] * T.float32(2.0)
                    for i, j in T.grid(8, 6):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vj, vi])
                            T.writes(C_reindex[vi, vj])
                            C_reindex[vi, vj] = B[vj, vi]
                    for ax0, ax1 in T.grid(8, 6):
                        with T.block("C_reindex"):
                            vi, vj = T.axis.remap("SS", [ax0, ax1])
                            T.reads(C_reindex[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = C_reindex[vi, vj]
                    for i, j in T.grid(4, 12):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi * 2 + vj // 6, vj % 6])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[(vi * 12 + vj) // 6, (vi * 12 + vj) % 6]

            """#
    case "unsafeSetDType":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float64")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float64(0.0)
                            C[vi, vj] = T.Cast("float64", T.Cast("float32", C[vi, vj]) + A[vi, vr0] * B[vr0, vj])
                    for i, j in T.grid(6, 8):
                        with T.block("T"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], bias[vj])
                            T.writes(T_[vi, vj])
                            T_[vi, vj] = T.Cast("float32", C[vi, vj]) + bias[vj]
                    for i, j in T.grid(6, 8):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(T_[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = T.max(T_[vi, vj], T.float32(0.0))

            """#
    case "computeRoot":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for ax0, ax1 in T.grid(9, 6):
                        with T.block("bx"):
                            vi, vj = T.axis.remap("SS", [ax0, ax1])
                            T.reads(A[vi, vj:vj + 3])
                            T.writes(bx[vi, vj])
                            bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                    for i, j in T.grid(7, 6):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(bx[vi:vi + 3, vj])
                            T.writes(out[vi, vj])
                            out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]

            """#
    case "tile helper":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0, j_0, i_1, j_1, r0 in T.grid(2, 2, 3, 4, 5):
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_0 * 3 + i_1)
                            vj = T.axis.spatial(7, j_0 * 4 + j_1)
                            vr0 = T.axis.remap("R", [r0])
                            T.where(j_0 * 4 + j_1 < 7)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "fuse of no loops":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6,), "float32", align=64), out: T.Buffer((6,), "float32", align=64)):
                with T.block("root"):
                    sum = T.alloc_buffer((), "float32")
                    prefix = T.alloc_buffer((6,), "float32")
                    for r0 in range(6):
                        with T.block("sum"):
                            vr0 = T.axis.remap("R", [r0])
                            T.reads(A[vr0])
                            T.writes(sum[()])
                            with T.init():
                                sum[()] = T.float32(0.0)
                            sum[()] = sum[()] + A[vr0]
                    for u in range(1):
                        with T.block("prefix"):
                            T.reads(A[0:6], prefix[0:6])
                            T.writes(prefix[0:6])
                            for t in range(6):
                                prefix[t] = T.float32(0.0)
                                prefix[t] = T.Select(t >= 1, prefix[T.max(t - 1, 0)], T.float32(0.0)) + A[t]
                    for i in range(6):
                        with T.block("out"):
                            vi = T.axis.remap("S", [i])
                            T.reads(prefix[vi], sum[()])
                            T.writes(out[vi])
                            out[vi] = prefix[vi] - sum[()]

            """#
    case "split by parts":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j_0, j_1, r0 in T.grid(6, 3, 3, 5):
                        with T.block("C"):
                            vi = T.axis.remap("S", [i])
                            vj = T.axis.spatial(7, j_0 * 3 + j_1)
                            vr0 = T.axis.remap("R", [r0])
                            T.where(j_0 * 3 + j_1 < 7)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "cacheRead for several readers":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 8), "float32", align=64), out: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    sum = T.alloc_buffer((6,), "float32")
                    square = T.alloc_buffer((6,), "float32")
                    mean = T.alloc_buffer((6,), "float32")
                    A_shared = T.alloc_buffer((6, 8), "float32", scope="shared")
                    for ax0, ax1 in T.grid(6, 8):
                        with T.block("A_shared"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(A[v0, v1])
                            T.writes(A_shared[v0, v1])
                            A_shared[v0, v1] = A[v0, v1]
                    for i, r0 in T.grid(6, 8):
                        with T.block("sum"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(A_shared[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + A_shared[vi, vr0]
                    for i, r0 in T.grid(6, 8):
                        with T.block("square"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(A_shared[vi, vr0])
                            T.writes(square[vi])
                            with T.init():
                                square[vi] = T.float32(0.0)
                            square[vi] = square[vi] + A_shared[vi, vr0] * A_shared[vi, vr0]
                    for i in range(6):
                        with T.block("mean"):
                            vi = T.axis.remap("S", [i])
                            T.reads(sum[vi])
                            T.writes(mean[vi])
                            mean[vi] = sum[vi] / T.float32(8.0)
                    for i, j in T.grid(6, 8):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A_shared[vi, vj], mean[vi], square[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = (A_shared[vi, vj] - mean[vi]) / (square[vi] / T.float32(8.0) - mean[vi] * mean[vi] + T.float32(1.0))

            """#
    case "decomposePadding":
        return #"""
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    for i in range(2):
                        for j_pad, k_pad in T.grid(7, 8):
                            with T.block("pad_pad_const"):
                                vi_pad, vj_pad, vk_pad = T.axis.remap("SSS", [i, j_pad, k_pad])
                                T.writes(pad[vi_pad, vj_pad, vk_pad])
                                pad[vi_pad, vj_pad, vk_pad] = T.float32(0.0)
                        for j, k in T.grid(7, 8):
                            with T.block("pad"):
                                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                                T.where(j >= 1 and j < 6 and k >= 1 and k < 7)
                                T.reads(data[vi, vj - 1, vk - 1])
                                T.writes(pad[vi, vj, vk])
                                pad[vi, vj, vk] = data[vi, vj - 1, vk - 1]
                    for i, j, k, r0, r1, r2 in T.grid(4, 5, 6, 2, 3, 3):
                        with T.block("conv"):
                            vi, vj, vk, vr0, vr1, vr2 = T.axis.remap("SSSRRR", [i, j, k, r0, r1, r2])
                            T.reads(pad[vr0, vj + vr1, vk + vr2], weight[vi, vr0, vr1, vr2])
                            T.writes(conv[vi, vj, vk])
                            with T.init():
                                conv[vi, vj, vk] = T.float32(0.0)
                            conv[vi, vj, vk] = conv[vi, vj, vk] + pad[vr0, vj + vr1, vk + vr2] * weight[vi, vr0, vr1, vr2]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("biased"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(conv[vi, vj, vk], bias[vi])
                            T.writes(biased[vi, vj, vk])
                            biased[vi, vj, vk] = conv[vi, vj, vk] + bias[vi]
                    for i, j, k in T.grid(4, 5, 6):
                        with T.block("relu"):
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(biased[vi, vj, vk])
                            T.writes(out[vi, vj, vk])
                            out[vi, vj, vk] = T.max(biased[vi, vj, vk], T.float32(0.0))

            """#
    case "padEinsum":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    A_pad = T.alloc_buffer((8, 8), "float32")
                    B_pad = T.alloc_buffer((8, 8), "float32")
                    C_pad = T.alloc_buffer((8, 8), "float32")
                    for ax0, ax1 in T.grid(8, 8):
                        with T.block("A_pad"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(A[v0, v1])
                            T.writes(A_pad[v0, v1])
                            A_pad[v0, v1] = T.if_then_else(v0 < 6 and v1 < 5, A[v0, v1], T.float32(0.0))
                    for ax0, ax1 in T.grid(8, 8):
                        with T.block("B_pad"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(B[v0, v1])
                            T.writes(B_pad[v0, v1])
                            B_pad[v0, v1] = T.if_then_else(v0 < 5 and v1 < 7, B[v0, v1], T.float32(0.0))
                    for ax0, ax1, ax2 in T.grid(8, 8, 8):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [ax0, ax1, ax2])
                            T.reads(A_pad[vi, vr0], B_pad[vr0, vj])
                            T.writes(C_pad[vi, vj])
                            with T.init():
                                C_pad[vi, vj] = T.float32(0.0)
                            C_pad[vi, vj] = C_pad[vi, vj] + A_pad[vi, vr0] * B_pad[vr0, vj]
                    for ax0, ax1 in T.grid(6, 7):
                        with T.block("C_unpad"):
                            v0, v1 = T.axis.remap("SS", [ax0, ax1])
                            T.reads(C_pad[v0, v1])
                            T.writes(C[v0, v1])
                            C[v0, v1] = C_pad[v0, v1]

            """#
    case "blockize several blocks":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), out: T.Buffer((5, 6), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((5,), "float32")
                    ex = T.alloc_buffer((5, 6), "float32")
                    sum = T.alloc_buffer((5,), "float32")
                    for i, r0 in T.grid(5, 6):
                        with T.block("mx"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(A[vi, vr0])
                            T.writes(mx[vi])
                            with T.init():
                                mx[vi] = T.float32("-inf")
                            mx[vi] = T.max(mx[vi], A[vi, vr0])
                    for i, j in T.grid(5, 6):
                        with T.block("ex"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj], mx[vi])
                            T.writes(ex[vi, vj])
                            ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                    for i in range(5):
                        with T.block("sum_o"):
                            v_i = T.axis.remap("S", [i])
                            T.reads(ex[v_i, 0:6])
                            T.writes(sum[v_i], out[v_i, 0:6])
                            for ax0 in range(6):
                                with T.block("sum"):
                                    vi = T.axis.spatial(5, v_i)
                                    vr0 = T.axis.remap("R", [ax0])
                                    T.reads(ex[vi, vr0])
                                    T.writes(sum[vi])
                                    with T.init():
                                        sum[vi] = T.float32(0.0)
                                    sum[vi] = sum[vi] + ex[vi, vr0]
                            for j in range(6):
                                with T.block("out"):
                                    vi = T.axis.spatial(5, v_i)
                                    vj = T.axis.remap("S", [j])
                                    T.reads(ex[vi, vj], sum[vi])
                                    T.writes(out[vi, vj])
                                    out[vi, vj] = ex[vi, vj] / sum[vi]

            """#
    case "sampleComputeLocation":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    for i, ax0 in T.grid(6, 10):
                        with T.block("B"):
                            vi, vj = T.axis.remap("SS", [i, ax0])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = B[vi, vj] * B[vi, vj] - A[vi, vj]

            """#
    case "setStorePredicate":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5,), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for t, i in T.grid(4, 5):
                        with T.block("B"):
                            vi = T.axis.remap("S", [i])
                            T.where(t == 2)
                            T.reads(A[vi])
                            T.writes(B[vi])
                            B[vi] = A[vi] * T.float32(2.0)

            """#
    case "doubleBuffer":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in range(6):
                        for ax0 in range(10):
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                T.block_attr({"double_buffer_scope": 0})
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                        for j in range(10):
                            with T.block("C"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(B[vi, vj])
                                T.writes(C[vi, vj])
                                C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "softwarePipeline":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"software_pipeline_stage": [0, 1], "software_pipeline_order": [0, 1]}):
                        for ax0 in range(10):
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                        for j in range(10):
                            with T.block("C"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(B[vi, vj])
                                T.writes(C[vi, vj])
                                C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "prefetch and pragma":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"prefetch_scope": ["A:2"]}):
                        for j in T.serial(10, annotations={"pragma_auto_unroll_max_step": 16, "pragma_unroll_explicit": True}):
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "annotate with a sampled number":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"step": 16}):
                        for j in range(10):
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                T.block_attr({"step": 16, "list": T.list([0.5, "x", [1.0, 2.0], T.strings([])])})
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]

            """#
    case "virtual threads":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_0 in T.thread_binding(3, thread="blockIdx.x"):
                        for i_1 in T.thread_binding(2, thread="vthread.x"):
                            for j, r0 in T.grid(7, 5):
                                with T.block("C"):
                                    vi = T.axis.spatial(6, i_0 * 2 + i_1)
                                    vj, vr0 = T.axis.remap("SR", [j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]

            """#
    case "threads fetch together":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    A_shared = T.alloc_buffer((6, 5), "float32", scope="shared")
                    for i_0 in T.thread_binding(2, thread="blockIdx.x"):
                        for i_1 in T.thread_binding(3, thread="threadIdx.x"):
                            for ax0 in T.thread_binding(3, thread="threadIdx.x"):
                                for ax1 in range(5):
                                    with T.block("A_shared"):
                                        v0 = T.axis.spatial(6, i_0 * 3 + ax0)
                                        v1 = T.axis.remap("S", [ax1])
                                        T.reads(A[v0, v1])
                                        T.writes(A_shared[v0, v1])
                                        A_shared[v0, v1] = A[v0, v1]
                            for j, r0 in T.grid(7, 5):
                                with T.block("C"):
                                    vi = T.axis.spatial(6, i_0 * 3 + i_1)
                                    vj, vr0 = T.axis.remap("SR", [j, r0])
                                    T.reads(A_shared[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A_shared[vi, vr0] * B[vr0, vj]

            """#
    case "each thread fetches its own":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    A_local = T.alloc_buffer((6, 5), "float32", scope="local")
                    for i_0 in T.thread_binding(2, thread="blockIdx.x"):
                        for i_1 in T.thread_binding(3, thread="threadIdx.x"):
                            for ax0 in range(5):
                                with T.block("A_local"):
                                    v0 = T.axis.spatial(6, i_0 * 3 + i_1)
                                    v1 = T.axis.remap("S", [ax0])
                                    T.reads(A[v0, v1])
                                    T.writes(A_local[v0, v1])
                                    A_local[v0, v1] = A[v0, v1]
                            for j, r0 in T.grid(7, 5):
                                with T.block("C"):
                                    vi = T.axis.spatial(6, i_0 * 3 + i_1)
                                    vj, vr0 = T.axis.remap("SR", [j, r0])
                                    T.reads(A_local[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A_local[vi, vr0] * B[vr0, vj]

            """#
    case "rfactor at the first axis":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    C_rf = T.alloc_buffer((5, 6, 7), "float32")
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C_rf"):
                            vi, vj, vr0 = T.axis.remap("SSS", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C_rf[vr0, vi, vj])
                            with T.init():
                                C_rf[vr0, vi, vj] = T.float32(0.0)
                            C_rf[vr0, vi, vj] = C_rf[vr0, vi, vj] + A[vi, vr0] * B[vr0, vj]
                    for ax0, ax1, ax2 in T.grid(6, 7, 5):
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [ax0, ax1, ax2])
                            T.reads(C_rf[vr0, vi, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + C_rf[vr0, vi, vj]

            """#
    case "rfactor of one loop of several":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    B_rf = T.alloc_buffer((2, 2), "float32")
                    for i, r0_0, r0_1, r1 in T.grid(2, 2, 4, 7):
                        with T.block("B_rf"):
                            vi, vr0_0, vr0_1, vr1 = T.axis.remap("SSRR", [i, r0_0, r0_1, r1])
                            T.reads(A[vi, vr0_0 * 4 + vr0_1, vr1])
                            T.writes(B_rf[vi, vr0_0])
                            with T.init():
                                B_rf[vi, vr0_0] = T.float32(0.0)
                            B_rf[vi, vr0_0] = B_rf[vi, vr0_0] + T.if_then_else(vr0_0 * 4 + vr0_1 < 6, A[vi, vr0_0 * 4 + vr0_1, vr1], T.float32(0.0))
                    for ax0, ax1 in T.grid(2, 2):
                        with T.block("B"):
                            vi, vr0_0 = T.axis.remap("SR", [ax0, ax1])
                            T.reads(B_rf[vi, vr0_0])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + B_rf[vi, vr0_0]

            """#
    case "rfactor of pairs":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((4, 7), "float32", align=64), place: T.Buffer((4,), "int64", align=64), best: T.Buffer((4,), "float32", align=64)):
                with T.block("root"):
                    place_rf = T.alloc_buffer((4, 3), "int64")
                    best_rf = T.alloc_buffer((4, 3), "float32")
                    for i, k_0, k_1 in T.grid(4, 3, 3):
                        with T.block("best_rf"):
                            vi, vk_1, vk_0 = T.axis.remap("SSR", [i, k_1, k_0])
                            T.reads(A[vi, vk_0 * 3 + vk_1])
                            T.writes(place_rf[vi, vk_1], best_rf[vi, vk_1])
                            with T.init():
                                place_rf[vi, vk_1] = 9223372036854775807
                                best_rf[vi, vk_1] = T.float32("-inf")
                            value_0: T.int64 = T.Select(best_rf[vi, vk_1] > T.if_then_else(vk_0 * 3 + vk_1 < 7, A[vi, vk_0 * 3 + vk_1], T.float32("-inf")) or best_rf[vi, vk_1] == T.if_then_else(vk_0 * 3 + vk_1 < 7, A[vi, vk_0 * 3 + vk_1], T.float32("-inf")) and place_rf[vi, vk_1] < T.if_then_else(vk_0 * 3 + vk_1 < 7, vk_0 * 3 + vk_1, 9223372036854775807), place_rf[vi, vk_1], T.if_then_else(vk_0 * 3 + vk_1 < 7, vk_0 * 3 + vk_1, 9223372036854775807))
                            value_1: T.float32 = T.Select(best_rf[vi, vk_1] > T.if_then_else(vk_0 * 3 + vk_1 < 7, A[vi, vk_0 * 3 + vk_1], T.float32("-inf")) or best_rf[vi, vk_1] == T.if_then_else(vk_0 * 3 + vk_1 < 7, A[vi, vk_0 * 3 + vk_1], T.float32("-inf")) and place_rf[vi, vk_1] < T.if_then_else(vk_0 * 3 + vk_1 < 7, vk_0 * 3 + vk_1, 9223372036854775807), best_rf[vi, vk_1], T.if_then_else(vk_0 * 3 + vk_1 < 7, A[vi, vk_0 * 3 + vk_1], T.float32("-inf")))
                            place_rf[vi, vk_1] = value_0
                            best_rf[vi, vk_1] = value_1
                    for ax0, ax1 in T.grid(4, 3):
                        with T.block("best"):
                            vi, vk_1 = T.axis.remap("SR", [ax0, ax1])
                            T.reads(best_rf[vi, vk_1], place_rf[vi, vk_1])
                            T.writes(place[vi], best[vi])
                            with T.init():
                                place[vi] = -1
                                best[vi] = T.float32("-inf")
                            value_0: T.int64 = T.Select(best[vi] > best_rf[vi, vk_1] or best[vi] == best_rf[vi, vk_1] and place[vi] < place_rf[vi, vk_1], place[vi], place_rf[vi, vk_1])
                            value_1: T.float32 = T.Select(best[vi] > best_rf[vi, vk_1] or best[vi] == best_rf[vi, vk_1] and place[vi] < place_rf[vi, vk_1], best[vi], best_rf[vi, vk_1])
                            place[vi] = value_0
                            best[vi] = value_1

            """#
    case "rfactor under a shared loop":
        return #"""
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), out: T.Buffer((5, 6), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((5,), "float32")
                    ex = T.alloc_buffer((5, 6), "float32")
                    sum = T.alloc_buffer((5,), "float32")
                    sum_rf = T.alloc_buffer((2, 5), "float32")
                    for i, r0 in T.grid(5, 6):
                        with T.block("mx"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(A[vi, vr0])
                            T.writes(mx[vi])
                            with T.init():
                                mx[vi] = T.float32("-inf")
                            mx[vi] = T.max(mx[vi], A[vi, vr0])
                    for i, j in T.grid(5, 6):
                        with T.block("ex"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj], mx[vi])
                            T.writes(ex[vi, vj])
                            ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                    for i in range(5):
                        for ax0_0, ax0_1 in T.grid(3, 2):
                            with T.block("sum_rf"):
                                vi, vax0_1, vax0_0 = T.axis.remap("SSR", [i, ax0_1, ax0_0])
                                T.reads(ex[vi, vax0_0 * 2 + vax0_1])
                                T.writes(sum_rf[vax0_1, vi])
                                with T.init():
                                    sum_rf[vax0_1, vi] = T.float32(0.0)
                                sum_rf[vax0_1, vi] = sum_rf[vax0_1, vi] + ex[vi, vax0_0 * 2 + vax0_1]
                        for ax0 in range(2):
                            with T.block("sum"):
                                vi, vax0_1 = T.axis.remap("SR", [i, ax0])
                                T.reads(sum_rf[vax0_1, vi])
                                T.writes(sum[vi])
                                with T.init():
                                    sum[vi] = T.float32(0.0)
                                sum[vi] = sum[vi] + sum_rf[vax0_1, vi]
                        for j in range(6):
                            with T.block("out"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(ex[vi, vj], sum[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = ex[vi, vj] / sum[vi]

            """#
    default: return ""
    }
}
