// swift-format-ignore-file
// The errors of `refusals`, by `APUS_UPDATE_GOLDEN=1`; read every change.

func goldenError(_ name: String) -> String {
    switch name {
    case "unknown block":
        return #"""
            error[SCH004]: no block is called `X`
              expected: one of root, C
            """#
    case "block gone after inline":
        return #"""
            error[SCH003]: the block `B` is no longer there
              hint: it was inlined or removed by an earlier primitive
            """#
    case "loop gone after split":
        return #"""
            error[SCH003]: the loop i is no longer there
              at: primitive: parallel
              hint: an earlier split, fuse or compute_at replaced it; ask getLoops again
            """#
    case "split with two open factors":
        return #"""
            error[SCH030]: split needs positive factors, at most one of them nil
              at: primitive: split
              actual: [nil, nil]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: factors that divide 6: 1, 2, 3, 6
            """#
    case "split with no factor":
        return #"""
            error[SCH030]: split needs positive factors, at most one of them nil
              at: primitive: split
              actual: []
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: factors that divide 6: 1, 2, 3, 6
            """#
    case "split by zero":
        return #"""
            error[SCH030]: split needs positive factors, at most one of them nil
              at: primitive: split
              actual: [nil, 0]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: factors that divide 6: 1, 2, 3, 6
            """#
    case "split that does not cover":
        return #"""
            error[SCH030]: the factors of split do not cover the loop
              at: primitive: split
              expected: a product >= 6
              actual: 4
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: leave one factor nil; factors that divide 6: 1, 2, 3, 6
            """#
    case "split with overflow":
        return #"""
            error[SCH030]: the factors of split overflow
              at: primitive: split
              actual: [nil, 9223372036854775807, 4]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "split of a parallel loop":
        return #"""
            error[SCH031]: loop i is parallel
              at: primitive: split
              expected: a serial loop
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.parallel(6):
                        ^
                        for j, r0 in T.grid(7, 5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: rearrange loops first, then parallelise, vectorise, unroll or bind
            """#
    case "fuse of loops apart":
        return #"""
            error[SCH033]: loop r0 is not the only statement of loop i
              at: primitive: fuse
              expected: loops nested directly in each other, outermost first: i, j, r0
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "fuse inside out":
        return #"""
            error[SCH033]: loop i is not the only statement of loop j
              at: primitive: fuse
              expected: loops nested directly in each other, outermost first: j, r0
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                           ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "fuse of a vectorized loop":
        return #"""
            error[SCH031]: loop j is vectorized
              at: primitive: fuse
              expected: a serial loop
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in range(6):
                        for j in T.vectorized(7):
                            ^
                            for r0 in range(5):
                                with T.block("C"):
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: rearrange loops first, then parallelise, vectorise, unroll or bind
            """#
    case "reorder of a loop named twice":
        return #"""
            error[SCH033]: loop i is named twice, or of another function
              at: primitive: reorder
              expected: different loops of one chain
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "reorder across nests":
        return #"""
            error[SCH033]: the loops to reorder are not nested in one chain
              at: primitive: reorder
              expected: each loop to be the only statement of the one around it; with i: i, j
              actual: i, i
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        ^
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
    case "reorder around two blocks":
        return #"""
            error[SCH033]: the loops to reorder are not nested in one chain
              at: primitive: reorder
              expected: each loop to be the only statement of the one around it; with i: i
              actual: ax0, i
              note: in the function
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
                        ^
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
    case "reorder of spatial and reduction fused":
        return #"""
            error[SCH035]: reorder: the loops meet elements of `C` more than once
              at: primitive: reorder
              expected: loops whose iterations are different elements
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_j_r0_fused_0, i_j_r0_fused_1 in T.grid(70, 3):
                        ^^^^^^^^^^^^^^
                        with T.block("C"):
                                     ^^^
                            vi = T.axis.spatial(6, (i_j_r0_fused_0 * 3 + i_j_r0_fused_1) // 35)
                            vj = T.axis.spatial(7, (i_j_r0_fused_0 * 3 + i_j_r0_fused_1) // 5 % 7)
                            vr0 = T.axis.reduce(5, (i_j_r0_fused_0 * 3 + i_j_r0_fused_1) % 5)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "parallel reduction":
        return #"""
            error[SCH040]: parallel: the iterations of r0 combine in the reduction `C`
              at: primitive: parallel
              expected: a loop of independent (spatial) iterations: i, j
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                              ^^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: rfactor makes a reduction loop spatial
            """#
    case "vectorized reduction":
        return #"""
            error[SCH040]: vectorize: the iterations of r0 combine in the reduction `C`
              at: primitive: vectorize
              expected: a loop of independent (spatial) iterations: i, j
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                              ^^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: rfactor makes a reduction loop spatial
            """#
    case "parallel twice in another way":
        return #"""
            error[SCH041]: loop i is already vectorized
              at: primitive: parallel
              expected: a serial loop
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.vectorized(6):
                        ^
                        for j, r0 in T.grid(7, 5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "nested parallel":
        return #"""
            error[SCH042]: loops j and i would be parallel, one inside the other
              at: primitive: parallel
              expected: one parallel loop around a block
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in range(6):
                        ^
                        for j in T.parallel(7):
                            ^
                            for r0 in range(5):
                                with T.block("C"):
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: fuse them
            """#
    case "parallel with repeated results":
        return #"""
            error[SCH040]: parallel: every iteration of u_1 writes the same elements of D
              at: primitive: parallel
              expected: a loop that `D` runs over: i, j
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for u_0, u_1, i, j in T.grid(1, 2, 6, 10):
                             ^^^
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.where(u_1 < 1)
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    case "bind to nothing":
        return #"""
            error[SCH044]: `lane` is not a thread axis
              at: primitive: bind
              expected: one of blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, vthread, vthread.x, vthread.y, vthread.z, cthread
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "bind twice":
        return #"""
            error[SCH041]: loop i is already threadBinding
              at: primitive: bind
              expected: a serial loop
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.thread_binding(6, thread="blockIdx.x"):
                        ^
                        for j, r0 in T.grid(7, 5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "unannotate nothing":
        return #"""
            error[SCH045]: block `B` has no annotation `x`
              at: primitive: unannotate
              expected: one of none
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "unannotate nothing on a loop":
        return #"""
            error[SCH045]: loop i has no annotation `x`
              at: primitive: unannotate
              expected: one of none
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        ^
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
    case "storageAlign of a parameter":
        return #"""
            error[SCH046]: the layout of D is fixed: it is a parameter
              at: primitive: storageAlign
              expected: a buffer allocated in the function
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: cacheRead or cacheWrite makes one
            """#
    case "storageAlign of an axis too far":
        return #"""
            error[SCH046]: storageAlign needs an axis of B, a positive factor, an offset >= 0
              at: primitive: storageAlign
              expected: an axis in 0..<2
              actual: axis 2, factor 8, offset 1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "setScope of a parameter":
        return #"""
            error[SCH047]: the memory of D is given: it is a parameter
              at: primitive: setScope
              expected: a buffer allocated in the function
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: cacheWrite makes one
            """#
    case "setScope of another write":
        return #"""
            error[SCH047]: block `B` writes 1 buffers
              at: primitive: setScope
              expected: 0: B[vi, vj]
              actual: 1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "sampleCategorical without weights":
        return #"""
            error[SCH050]: sampleCategorical needs one weight >= 0 a candidate, and a decision among them
            """#
    case "samplePerfectTile with a wrong decision":
        return #"""
            error[SCH051]: the decision does not tile the loop
              at: primitive: samplePerfectTile
              expected: 2 factors of 6
              actual: [4, 2]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "inline a reduction":
        return #"""
            error[SCH060]: computeInline: block `C` is a reduction
              at: primitive: computeInline
              expected: a block of spatial iteration variables without init
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
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
    case "inline a result":
        return #"""
            error[SCH063]: computeInline: D, written by `D`, is a result of the function
              at: primitive: computeInline
              expected: a buffer allocated in the function
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    case "reverse inline into a reduction":
        return #"""
            error[SCH060]: reverseComputeInline: block `C` is a reduction
              at: primitive: reverseComputeInline
              expected: a block of spatial iteration variables without init
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
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
    case "reverse inline with two readers":
        return #"""
            error[SCH060]: reverseComputeInline: block `sum` is a reduction
              at: primitive: reverseComputeInline
              expected: a block of spatial iteration variables without init
              note: in the function
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
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                                     ^^^^^
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
            """#
    case "reverse inline of the first block":
        return #"""
            error[SCH066]: reverseComputeInline: `B` reads nothing computed before it
              at: primitive: reverseComputeInline
              expected: a producer in the same scope
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "reverse inline of a window":
        return #"""
            error[SCH067]: reverseComputeInline: `out` reads bx in several places
              at: primitive: reverseComputeInline
              expected: one form of indices
              actual: bx[vi, vj], bx[vi + 1, vj], bx[vi + 2, vj]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for i, j in T.grid(9, 6):
                        with T.block("bx"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj:vj + 3])
                            T.writes(bx[vi, vj])
                            bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                    for i, j in T.grid(7, 6):
                        with T.block("out"):
                                     ^^^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(bx[vi:vi + 3, vj])
                            T.writes(out[vi, vj])
                            out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]
            """#
    case "reverse inline of padding":
        return #"""
            error[SCH067]: reverseComputeInline: data_global[vi, vj - 1, vk - 1] does not visit each element of data_global once
              at: primitive: reverseComputeInline
              expected: indices that permute, split or fuse the variables of `pad`
              note: in the function
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    data_global = T.alloc_buffer((2, 5, 6), "float32")
                    for ax0, ax1, ax2 in T.grid(2, 5, 6):
                        with T.block("data_global"):
                            v0, v1, v2 = T.axis.remap("SSS", [ax0, ax1, ax2])
                            T.reads(data[v0, v1, v2])
                            T.writes(data_global[v0, v1, v2])
                            data_global[v0, v1, v2] = data[v0, v1, v2]
                    for i, j, k in T.grid(2, 7, 8):
                        with T.block("pad"):
                                     ^^^^^
                            vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                            T.reads(data_global[vi, vj - 1, vk - 1])
                            T.writes(pad[vi, vj, vk])
                            pad[vi, vj, vk] = T.if_then_else(vj >= 1 and vj < 6 and (vk >= 1 and vk < 7), data_global[vi, vj - 1, vk - 1], T.float32(0.0))
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
    case "computeAt without readers":
        return #"""
            error[SCH063]: computeAt: D, written by `D`, is a result of the function
              at: primitive: computeAt
              expected: a buffer allocated in the function
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    case "computeAt with a reader outside":
        return #"""
            error[SCH074]: computeAt: block `ex` reads `mx` outside loop i
              at: primitive: computeAt
              expected: one of the loops i, j
              note: in the function
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
                                     ^^^^ a reader
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj], mx[vi])
                            T.writes(ex[vi, vj])
                            ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        ^
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
            """#
    case "computeAt of a decomposed reduction":
        return #"""
            error[SCH072]: computeAt: `C_update` updates C in place
              at: primitive: computeAt
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i_init, j_init in T.grid(6, 8):
                        with T.block("C_init"):
                            vi_init, vj_init = T.axis.remap("SS", [i_init, j_init])
                            T.writes(C[vi_init, vj_init])
                            C[vi_init, vj_init] = T.float32(0.0)
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C_update"):
                                     ^^^^^^^^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
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
              hint: move the block before decomposeReduction
            """#
    case "computeAt under a vectorized loop":
        return #"""
            error[SCH073]: computeAt: loop j is vectorized
              at: primitive: computeAt
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i in range(6):
                        for j in T.vectorized(10):
                            ^
                            with T.block("D"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(C[vi, vj], A[vi, vj])
                                T.writes(D[vi, vj])
                                D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: vectorize after moving blocks
            """#
    case "reverseComputeAt under a reduction":
        return #"""
            error[SCH021]: block `T` would read C inside the reduction loop r0 of `C`, before the sum is complete
              at: primitive: reverseComputeAt
              expected: a loop outside all reduction loops: i, j
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                              ^^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                        with T.block("T"):
                                     ^^^ the reader
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
              hint: place it there, or reorder the reduction loops inward
            """#
    case "reverseComputeAt of a window":
        return #"""
            error[SCH022]: an iteration of i would not write all that block `out` reads of bx in it
              at: primitive: reverseComputeAt
              expected: the region written by `bx` to cover the region read
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for i in range(9):
                        ^
                        for j in range(6):
                            with T.block("bx"):
                                         ^^^^ writes bx[vi, vj]
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(A[vi, vj:vj + 3])
                                T.writes(bx[vi, vj])
                                bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                        for ax0, ax1 in T.grid(7, 6):
                            with T.block("out"):
                                         ^^^^^ reads bx[vi:vi + 3, vj]
                                vi, vj = T.axis.remap("SS", [ax0, ax1])
                                T.reads(bx[vi:vi + 3, vj])
                                T.writes(out[vi, vj])
                                out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]
              hint: keep `out` outside the loops that divide what it reads
            """#
    case "reverseComputeAt away from producers":
        return #"""
            error[SCH075]: reverseComputeAt: nothing that `D` reads is computed under loop i
              at: primitive: reverseComputeAt
              expected: one of the loops i, j
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        ^
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
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    case "reverseComputeAt of a reduction over the tile":
        return #"""
            error[SCH022]: an iteration of j would not write all that block `sum` reads of ex in it
              at: primitive: reverseComputeAt
              expected: the region written by `ex` to cover the region read
              note: in the function
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
                           ^
                        with T.block("ex"):
                                     ^^^^ writes ex[vi, vj]
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj], mx[vi])
                            T.writes(ex[vi, vj])
                            ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                        for ax0 in range(6):
                            with T.block("sum"):
                                         ^^^^^ reads ex[vi, vr0]
                                vi, vr0 = T.axis.remap("SR", [i, ax0])
                                T.reads(ex[vi, vr0])
                                T.writes(sum[vi])
                                with T.init():
                                    sum[vi] = T.float32(0.0)
                                sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
              hint: keep `sum` outside the loops that divide what it reads
            """#
    case "reverseComputeAt before another producer":
        return #"""
            error[SCH020]: block `out` would read sum before `sum` has written it
              at: primitive: reverseComputeAt
              expected: `sum` before `out`
              note: in the function
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
                    for i in range(5):
                        for j in range(6):
                            with T.block("ex"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(A[vi, vj], mx[vi])
                                T.writes(ex[vi, vj])
                                ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                        for ax0 in range(6):
                            with T.block("out"):
                                         ^^^^^
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(ex[vi, vj], sum[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = ex[vi, vj] / sum[vi]
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                                     ^^^^^ the writer
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
            """#
    case "cacheRead of nothing":
        return #"""
            error[SCH080]: cacheRead: `C` reads 2 buffers
              at: primitive: cacheRead
              expected: a scope, and one of 0: A[vi, vr0], 1: B[vr0, vj]
              actual: index 2, scope "local"
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "cacheRead of an update":
        return #"""
            error[SCH080]: cacheRead: `C_update` writes C itself
              at: primitive: cacheRead
              expected: one of A, B
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_init, j_init in T.grid(6, 7):
                        with T.block("C_init"):
                            vi_init, vj_init = T.axis.remap("SS", [i_init, j_init])
                            T.writes(C[vi_init, vj_init])
                            C[vi_init, vj_init] = T.float32(0.0)
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C_update"):
                                     ^^^^^^^^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "cacheWrite of nothing":
        return #"""
            error[SCH081]: cacheWrite: `C` writes 1 buffers
              at: primitive: cacheWrite
              expected: a scope, and one of 0: C[vi, vj]
              actual: index 1, scope "local"
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "cacheWrite after decomposition":
        return #"""
            error[SCH081]: cacheWrite: C is also written by `C_init`
              at: primitive: cacheWrite
              expected: one writer
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_init, j_init in T.grid(6, 7):
                        with T.block("C_init"):
                                     ^^^^^^^^
                            vi_init, vj_init = T.axis.remap("SS", [i_init, j_init])
                            T.writes(C[vi_init, vj_init])
                            C[vi_init, vj_init] = T.float32(0.0)
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C_update"):
                                     ^^^^^^^^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj], C[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: cacheWrite before decomposeReduction
            """#
    case "decompose no reduction":
        return #"""
            error[SCH082]: decomposeReduction: `B` has no init
              at: primitive: decomposeReduction
              expected: a reduction that initialises its result
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "decompose at another loop":
        return #"""
            error[SCH083]: decomposeReduction: loop i is not around `C`
              at: primitive: decomposeReduction
              expected: one of the loops i, j, r0
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
                    for i, j in T.grid(6, 8):
                        ^
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
    case "decompose inside the reduction":
        return #"""
            error[SCH083]: decomposeReduction: loop r1 runs inside the reduction loop r0, the init would be repeated
              at: primitive: decomposeReduction
              expected: one of the loops i, r0
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    for i, r0, r1 in T.grid(2, 6, 7):
                           ^^
                               ^^
                        with T.block("B"):
                            vi, vr0, vr1 = T.axis.remap("SRR", [i, r0, r1])
                            T.reads(A[vi, vr0, vr1])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + A[vi, vr0, vr1]
            """#
    case "decompose a mixed loop":
        return #"""
            error[SCH084]: decomposeReduction: loop i_j_r0_fused runs over spatial and reduction variables
              at: primitive: decomposeReduction
              expected: loops over one kind of variables each
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i_j_r0_fused in range(210):
                        ^^^^^^^^^^^^
                        with T.block("C"):
                            vi = T.axis.spatial(6, i_j_r0_fused // 35)
                            vj = T.axis.spatial(7, i_j_r0_fused // 5 % 7)
                            vr0 = T.axis.reduce(5, i_j_r0_fused % 5)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: decompose before fusing the two kinds
            """#
    case "rfactor of a spatial loop":
        return #"""
            error[SCH086]: rfactor: i is not a reduction loop of `B`
              at: primitive: rfactor
              expected: one of its reduction loops: r0, r1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    for i, r0, r1 in T.grid(2, 6, 7):
                        ^
                        with T.block("B"):
                            vi, vr0, vr1 = T.axis.remap("SRR", [i, r0, r1])
                            T.reads(A[vi, vr0, vr1])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + A[vi, vr0, vr1]
            """#
    case "rfactor at an axis too far":
        return #"""
            error[SCH087]: rfactor: no such axis
              at: primitive: rfactor
              expected: 0...1
              actual: 2
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    for i, r0, r1 in T.grid(2, 6, 7):
                        with T.block("B"):
                                     ^^^
                            vi, vr0, vr1 = T.axis.remap("SRR", [i, r0, r1])
                            T.reads(A[vi, vr0, vr1])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + A[vi, vr0, vr1]
            """#
    case "trace of an unknown instruction":
        return #"""
            error[SCH091]: unknown schedule instruction `melt`
              at: instruction 0: melt
            """#
    case "trace with an undefined operand":
        return #"""
            error[SCH091]: an operand is used before it is defined
              at: instruction 0: parallel
              actual: loop(7)
            """#
    case "trace with a missing attribute":
        return #"""
            error[SCH091]: malformed instruction getBlock
              at: instruction 0: getBlock
              expected: the attribute name
            """#
    case "trace that is none":
        return #"""
            error[SCH090]: not a schedule trace
              expected: [kind, inputs, attrs, outputs, decision] as instruction 0
            """#
    case "trace with a bad operand":
        return #"""
            error[SCH090]: not a schedule trace
              expected: an operand such as b0, l1, v2, 4 or none
              actual: "q1"
            """#
    case "a loop of another schedule":
        return #"""
            error[SCH003]: not a loop of this schedule
              at: primitive: parallel
              actual: l37
            """#
    case "a module without functions":
        return #"""
            error[SCH001]: the module has no PrimFunc to schedule
            """#
    case "a body in loop variables":
        return #"""
            error[SCH002]: block `fill` uses the loop variable i from around it
              expected: a body in terms of the block's own variables
              note: with T.block("fill"):
                v = T.axis.spatial(4, i)
                T.writes(A[v])
                A[v] = T.Cast("float32", i)

            """#
    case "work on a function that is not there":
        return #"""
            error[SCH004]: no function is called `g`
              expected: one of main
            """#
    case "a handle that was removed":
        return #"""
            error[SCH003]: not a block of this schedule
              actual: b0
            """#
    case "another decision of no sampling":
        return #"""
            error[SCH092]: instruction 0 of the trace takes no decision
              expected: one of none
            """#
    case "a compute location that is not allowed":
        return #"""
            error[SCH054]: sampleComputeLocation: `B` cannot be computed there
              at: primitive: sampleComputeLocation
              expected: one of -2, -1, 0 (i), 1 (j)
              actual: 7
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "samplePerfectTile of nothing":
        return #"""
            error[SCH051]: samplePerfectTile needs a constant extent and at least one factor
              at: primitive: samplePerfectTile
              expected: n >= 1 and maxInnermost >= 1
              actual: extent 6, n 0, maxInnermost 16
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        ^
                        with T.block("C"):
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "split around a loose statement":
        return #"""
            error[SCH032]: a statement outside any block cannot take a predicate
              at: primitive: split
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        for j in range(i + 1):
                            with T.block("fill"):
                                v = T.axis.remap("S", [i])
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
                        B[i] = T.float32(2.0)
                        ^^^^^^^^^^^^^^^^^^^^^
              hint: split by factors whose product is the extent
            """#
    case "reorder of a triangle":
        return #"""
            error[SCH034]: the extent of loop j depends on i
              at: primitive: reorder
              expected: i outside of j
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        ^
                        for j in range(i + 1):
                            with T.block("fill"):
                                v = T.axis.remap("S", [i])
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
            """#
    case "fuse of a triangle":
        return #"""
            error[SCH034]: the extent of loop j depends on i
              at: primitive: fuse
              expected: extents that do not depend on the other loops
              actual: i + 1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        ^
                        for j in range(i + 1):
                            with T.block("fill"):
                                v = T.axis.remap("S", [i])
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
            """#
    case "reorder of ordered iterations":
        return #"""
            error[SCH035]: the iterations of `fill` over v are ordered and must stay in order
              at: primitive: reorder
              expected: spatial and reduction variables only
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        for j in range(i + 1):
                            with T.block("fill"):
                                         ^^^^^^
                                v = T.axis.ordered(5, i)
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
            """#
    case "a loop around the root":
        return #"""
            error[SCH036]: the root block has no place for a loop around it
              at: primitive: addUnitLoop
              expected: a block inside it
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                             ^^^^^^
                    B = T.alloc_buffer((6, 10), "float32")
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
    case "split by a strange variable":
        return #"""
            error[SCH037]: split: m is no symbol of the function
              at: primitive: split
              expected: an expression of n
              note: in the function
            @T.prim_func
            def main(n: T.int64, A: T.Buffer((n,), "float32", align=64), B: T.Buffer((n,), "float32", align=64)):
                with T.block("root"):
                    for i in range(n):
                        ^
                        with T.block("B"):
                            v = T.axis.remap("S", [i])
                            T.reads(A[v])
                            T.writes(B[v])
                            B[v] = A[v]
            """#
    case "vectorize a symbolic loop":
        return #"""
            error[SCH043]: vectorize needs a constant extent
              at: primitive: vectorize
              actual: n
              note: in the function
            @T.prim_func
            def main(n: T.int64, A: T.Buffer((n,), "float32", align=64), B: T.Buffer((n,), "float32", align=64)):
                with T.block("root"):
                    for i in range(n):
                        ^
                        with T.block("B"):
                            v = T.axis.remap("S", [i])
                            T.reads(A[v])
                            T.writes(B[v])
                            B[v] = A[v]
              hint: split by a constant first
            """#
    case "one axis twice in a nest":
        return #"""
            error[SCH044]: bind: loop i of the same nest is bound to blockIdx.x: loop j cannot share its iterations
              at: primitive: bind
              expected: one of blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, vthread, vthread.x, vthread.y, vthread.z, cthread
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i in T.thread_binding(6, thread="blockIdx.x"):
                        for j in T.thread_binding(7, thread="blockIdx.x"):
                            ^
                            for r0 in range(5):
                                with T.block("C"):
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: threads share the iterations of a loop that fills shared memory for all of them: computeAt under the bound loop makes one
            """#
    case "threads cannot share iterations that differ":
        return #"""
            error[SCH044]: bind: loop j of the same nest is bound to threadIdx.x: `C` is not the same for each of its threads
              at: primitive: bind
              expected: one of blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.y, threadIdx.z, vthread, vthread.x, vthread.y, vthread.z, cthread
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for j in T.thread_binding(7, thread="threadIdx.x"):
                        for i in T.thread_binding(6, thread="threadIdx.x"):
                            for r0 in range(5):
                                with T.block("C"):
                                             ^^^
                                    vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                    T.reads(A[vi, vr0], B[vr0, vj])
                                    T.writes(C[vi, vj])
                                    with T.init():
                                        C[vi, vj] = T.float32(0.0)
                                    C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: threads share the iterations of a loop that fills shared memory for all of them: computeAt under the bound loop makes one
            """#
    case "threads that all update one memory":
        return #"""
            error[SCH040]: each thread of threadIdx.x would update the same elements of sum in `sum`
              at: primitive: bind
              expected: memory of a thread's own, or a block that runs over loop j
              note: in the function
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
                        for j in T.thread_binding(6, thread="threadIdx.x"):
                            ^
                            for ax0 in range(6):
                                with T.block("sum"):
                                             ^^^^^
                                    vi, vr0 = T.axis.remap("SR", [i, ax0])
                                    T.reads(ex[vi, vr0])
                                    T.writes(sum[vi])
                                    with T.init():
                                        sum[vi] = T.float32(0.0)
                                    sum[vi] = sum[vi] + ex[vi, vr0]
                            with T.block("out"):
                                vi, vj = T.axis.remap("SS", [i, j])
                                T.reads(ex[vi, vj], sum[vi])
                                T.writes(out[vi, vj])
                                out[vi, vj] = ex[vi, vj] / sum[vi]
              hint: setScope local, or computeAt outside of the loop
            """#
    case "more iterations than threads that share them":
        return #"""
            error[SCH044]: bind: loop i_1 of the same nest is bound to threadIdx.x: there is no thread for each iteration of ax1
              at: primitive: bind
              expected: one of blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.y, threadIdx.z, vthread, vthread.x, vthread.y, vthread.z, cthread
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    A_shared = T.alloc_buffer((6, 5), "float32", scope="shared")
                    for i_0 in range(2):
                        for i_1 in T.thread_binding(3, thread="threadIdx.x"):
                            for ax0 in range(3):
                                for ax1 in T.thread_binding(5, thread="threadIdx.x"):
                                    ^^^
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
              hint: threads share the iterations of a loop that fills shared memory for all of them: computeAt under the bound loop makes one
            """#
    case "threads cannot share memory of their own":
        return #"""
            error[SCH044]: bind: loop i of the same nest is bound to threadIdx.x: what `B_local` writes is not in shared memory, where all of its threads see it
              at: primitive: bind
              expected: one of blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.y, threadIdx.z, vthread, vthread.x, vthread.y, vthread.z, cthread
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    B_local = T.alloc_buffer((5, 7), "float32", scope="local")
                    for i in T.thread_binding(6, thread="threadIdx.x"):
                        for ax0 in T.thread_binding(5, thread="threadIdx.x"):
                            for ax1 in range(7):
                                with T.block("B_local"):
                                             ^^^^^^^^^
                                    v0, v1 = T.axis.remap("SS", [ax0, ax1])
                                    T.reads(B[v0, v1])
                                    T.writes(B_local[v0, v1])
                                    B_local[v0, v1] = B[v0, v1]
                        for j, r0 in T.grid(7, 5):
                            with T.block("C"):
                                vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                                T.reads(A[vi, vr0], B_local[vr0, vj])
                                T.writes(C[vi, vj])
                                with T.init():
                                    C[vi, vj] = T.float32(0.0)
                                C[vi, vj] = C[vi, vj] + A[vi, vr0] * B_local[vr0, vj]
              hint: threads share the iterations of a loop that fills shared memory for all of them: computeAt under the bound loop makes one
            """#
    case "parallel loose statements":
        return #"""
            error[SCH040]: a statement outside any block may depend on other iterations
              at: primitive: parallel
              expected: blocks only below loop i
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        for j in range(i + 1):
                            with T.block("fill"):
                                v = T.axis.remap("S", [i])
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
                        B[i] = T.float32(2.0)
                        ^^^^^^^^^^^^^^^^^^^^^
            """#
    case "inline what is not indexed by variables":
        return #"""
            error[SCH061]: computeInline: the store of `conv_local` is not indexed by distinct variables
              at: primitive: computeInline
              expected: a different one of v0, v1, v2 as each index
              actual: v0 * 4 + v2
              note: in the function
            @T.prim_func
            def main(data: T.Buffer((3, 5), "float32", align=64), weight: T.Buffer((2, 3, 4), "float32", align=64), out: T.Buffer((6, 5), "float32", align=64)):
                with T.block("root"):
                    conv = T.alloc_buffer((8, 5), "float32")
                    conv_local = T.alloc_buffer((8, 5), "float32", scope="local")
                    for i, j, k, r0 in T.grid(2, 5, 4, 3):
                        with T.block("conv"):
                            vi, vj, vk, vr0 = T.axis.remap("SSSR", [i, j, k, r0])
                            T.reads(data[vr0, vj], weight[vi, vr0, vk])
                            T.writes(conv_local[vi * 4 + vk, vj])
                            with T.init():
                                conv_local[vi * 4 + vk, vj] = T.float32(0.0)
                            conv_local[vi * 4 + vk, vj] = conv_local[vi * 4 + vk, vj] + data[vr0, vj] * weight[vi, vr0, vk]
                    for ax0, ax1, ax2 in T.grid(2, 5, 4):
                        with T.block("conv_local"):
                                     ^^^^^^^^^^^^
                            v0, v1, v2 = T.axis.remap("SSS", [ax0, ax1, ax2])
                            T.reads(conv_local[v0 * 4 + v2, v1])
                            T.writes(conv[v0 * 4 + v2, v1])
                            conv[v0 * 4 + v2, v1] = conv_local[v0 * 4 + v2, v1]
                    for i, j in T.grid(6, 5):
                        with T.block("unpack"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(conv[vi, vj])
                            T.writes(out[vi, vj])
                            out[vi, vj] = conv[vi, vj]
              hint: reverseComputeInline puts the reader into this block instead
            """#
    case "computeAt of what leaves elements out":
        return #"""
            error[SCH062]: computeAt: the predicate of `pad` leaves elements out
              at: primitive: computeAt
              expected: a block that visits all of its domain
              note: in the function
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    for i_pad, j_pad, k_pad in T.grid(2, 7, 8):
                        with T.block("pad_pad_const"):
                            vi_pad, vj_pad, vk_pad = T.axis.remap("SSS", [i_pad, j_pad, k_pad])
                            T.writes(pad[vi_pad, vj_pad, vk_pad])
                            pad[vi_pad, vj_pad, vk_pad] = T.float32(0.0)
                    for i, j, k in T.grid(2, 7, 8):
                        with T.block("pad"):
                                     ^^^^^
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
    case "inline into a block of blocks":
        return #"""
            error[SCH064]: block `C_o` holds blocks of its own
              at: primitive: computeInline
              expected: a consumer that is one statement
              note: in the function
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
                        with T.block("C_o"):
                                     ^^^^^
                            vi_o = T.axis.remap("S", [i])
                            T.reads(B[vi_o, 0:10])
                            T.writes(C[vi_o, 0:10])
                            for j in range(10):
                                with T.block("C"):
                                    vi = T.axis.spatial(6, vi_o)
                                    vj = T.axis.remap("S", [j])
                                    T.reads(B[vi, vj])
                                    T.writes(C[vi, vj])
                                    C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: inline before blockize
            """#
    case "inline one of two writers":
        return #"""
            error[SCH065]: computeInline: pad needs a reader, and `pad_pad_const` as its only writer
              at: primitive: computeInline
              expected: one writer and at least one reader
              actual: readers: conv; other writers: pad
              note: in the function
            @T.prim_func
            def main(data: T.Buffer((2, 5, 6), "float32", align=64), weight: T.Buffer((4, 2, 3, 3), "float32", align=64), bias: T.Buffer((4,), "float32", align=64), out: T.Buffer((4, 5, 6), "float32", align=64)):
                with T.block("root"):
                    pad = T.alloc_buffer((2, 7, 8), "float32")
                    conv = T.alloc_buffer((4, 5, 6), "float32")
                    biased = T.alloc_buffer((4, 5, 6), "float32")
                    for i_pad, j_pad, k_pad in T.grid(2, 7, 8):
                        with T.block("pad_pad_const"):
                                     ^^^^^^^^^^^^^^^
                            vi_pad, vj_pad, vk_pad = T.axis.remap("SSS", [i_pad, j_pad, k_pad])
                            T.writes(pad[vi_pad, vj_pad, vk_pad])
                            pad[vi_pad, vj_pad, vk_pad] = T.float32(0.0)
                    for i, j, k in T.grid(2, 7, 8):
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
    case "computeAt across scopes":
        return #"""
            error[SCH070]: computeAt: the block and the loop are not in one scope
              at: primitive: computeAt
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            B[vi, vj] = A[vi, vj] + T.float32(1.0)
                    for i in range(6):
                        with T.block("C_o"):
                            vi_o = T.axis.remap("S", [i])
                            T.reads(B[vi_o, 0:10])
                            T.writes(C[vi_o, 0:10])
                            for j in range(10):
                                ^
                                with T.block("C"):
                                    vi = T.axis.spatial(6, vi_o)
                                    vj = T.axis.remap("S", [j])
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
    case "computeRoot of ordered iterations":
        return #"""
            error[SCH071]: computeRoot: the iterations of `fill` over v are ordered
              at: primitive: computeRoot
              expected: spatial and reduction variables only
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), B: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    for i in range(5):
                        for j in range(i + 1):
                            with T.block("fill"):
                                         ^^^^^^
                                v = T.axis.ordered(5, i)
                                w = T.axis.spatial(6, j)
                                T.writes(A[v, w])
                                A[v, w] = T.float32(1.0)
            """#
    case "computeRoot within one loop":
        return #"""
            error[SCH076]: computeRoot: no statement of the scope lies between what `ex` reads and its readers
              at: primitive: computeRoot
              expected: producers (mx) and readers (sum, out) in different loops
              note: in the function
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
                                         ^^^^
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
    case "rfactor of no known reduction":
        return #"""
            error[SCH085]: rfactor: the body of `best` is no reduction that is known
              at: primitive: rfactor
              expected: an init, and C[…] = C[…] op value, of one of sum, prod, min, max, all, any, argmax, argmin, argmax.first, argmin.first, te.argmax, te.argmin, test.absmax
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 7), "float32", align=64), place: T.Buffer((5,), "float32", align=64), double: T.Buffer((5,), "float32", align=64)):
                with T.block("root"):
                    best = T.alloc_buffer((5,), "float32")
                    for i, k in T.grid(5, 7):
                        with T.block("best"):
                                     ^^^^^^
                            vi, vk = T.axis.remap("SR", [i, k])
                            T.reads(A[vi, vk])
                            T.writes(best[vi], place[vi])
                            with T.init():
                                best[vi] = T.float32("-inf")
                                place[vi] = T.float32(-1.0)
                            value: T.float32 = T.max(A[vi, vk], best[vi])
                            position: T.float32 = T.Select(A[vi, vk] > best[vi] or not A[vi, vk] < best[vi] and T.Cast("float32", vk) < place[vi], T.Cast("float32", vk), place[vi])
                            best[vi] = value
                            place[vi] = position
                    for i in range(5):
                        with T.block("double"):
                            vi = T.axis.remap("S", [i])
                            T.reads(best[vi])
                            T.writes(double[vi])
                            double[vi] = best[vi] * T.float32(2.0)
              hint: Reducers.register makes a combination known; rfactor before decomposeReduction
            """#
    case "blockize of two blocks by their loop":
        return #"""
            error[SCH095]: blockize: loop i must be around one block
              at: primitive: blockize
              actual: around sum, out
              note: in the function
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
                        ^
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
              hint: blockize a list of blocks makes one of several
            """#
    case "blockize of an uneven tile":
        return #"""
            error[SCH096]: blockize: the predicate j_0 * 2 + j_1 < 7 of `C` depends on the inner loops
              at: primitive: blockize
              expected: a predicate of the loops outside j_1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, r0, j_0, j_1 in T.grid(6, 5, 4, 2):
                        with T.block("C"):
                                     ^^^
                            vi = T.axis.remap("S", [i])
                            vj = T.axis.spatial(7, j_0 * 2 + j_1)
                            vr0 = T.axis.remap("R", [r0])
                            T.where(j_0 * 2 + j_1 < 7)
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
              hint: blockize full tiles only
            """#
    case "tensorize by nothing":
        return #"""
            error[SCH097]: no intrinsic is called `test.none`
              at: primitive: tensorize
              expected: one of fuzz.madd1, fuzz.madd2, fuzz.madd4, test.dot4
              hint: register it with TensorIntrin.register
            """#
    case "tensorize of something else":
        return #"""
            error[SCH098]: tensorize: the loops compute something else than `test.dot4`
              at: primitive: tensorize
              expected: with T.block("root"):
                for k in range(4):
                    with T.block("dot"):
                        vk = T.axis.remap("R", [k])
                        c[0] = c[0] + a[vk] * b[vk]

              note: in the function
            @T.prim_func
            def main(A: T.Buffer((2, 6, 7), "float32", align=64), B: T.Buffer((2,), "float32", align=64)):
                with T.block("root"):
                    for i, r0, r1_0, r1_1 in T.grid(2, 6, 1, 7):
                                     ^^^^
                        with T.block("B"):
                            vi, vr0, vr1 = T.axis.remap("SRR", [i, r0, r1_1])
                            T.reads(A[vi, vr0, vr1])
                            T.writes(B[vi])
                            with T.init():
                                B[vi] = T.float32(0.0)
                            B[vi] = B[vi] + A[vi, vr0, vr1]
            """#
    case "blockize of blocks apart":
        return #"""
            error[SCH109]: blockize: other blocks stand between them
              at: primitive: blockize
              expected: all of mx, ex, sum
              note: in the function
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
                                     ^^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj], mx[vi])
                            T.writes(ex[vi, vj])
                            ex[vi, vj] = T.exp(A[vi, vj] - mx[vi])
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
            """#
    case "blockize of nothing":
        return #"""
            error[SCH109]: blockize needs a block
              at: primitive: blockize
              expected: blocks that follow each other
            """#
    case "cacheRead for one that does not read it":
        return #"""
            error[SCH080]: cacheRead: `out` does not read A in the same scope
              at: primitive: cacheRead
              expected: some of mx, ex
              note: in the function
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
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        with T.block("out"):
                                     ^^^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
            """#
    case "no index map":
        return #"""
            error[SCH100]: not an index map
              expected: (i, j) -> (i // 4, j, i % 4)
              actual: i
            """#
    case "a map of another rank":
        return #"""
            error[SCH100]: transformLayout: the map takes 1 indices
              at: primitive: transformLayout
              expected: 2, the rank of B
              actual: (i) -> (i)
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "a map that is not injective":
        return #"""
            error[SCH100]: transformLayout: the map sends two elements of B to one place
              at: primitive: transformLayout
              expected: indices that permute, split or fuse those of shape (6, 10)
              actual: (i, j) -> (i // 2, j)
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "the layout of a parameter":
        return #"""
            error[SCH101]: transformLayout: the layout of A is fixed: it is a parameter
              at: primitive: transformLayout
              expected: a buffer allocated in the function
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
              hint: cacheRead first, and transform the copy
            """#
    case "the layout of an aligned buffer":
        return #"""
            error[SCH101]: the layout of B is relied upon: a view, a pointer or an alignment
              at: primitive: transformLayout
              expected: a buffer that only loads and stores name
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj])
                            T.writes(B[vi, vj])
                            T.block_attr({"buffer_dim_align": [0, 0, 8, 1]})
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
              hint: change the layout before tensorize and storageAlign
            """#
    case "padding of a reduction":
        return #"""
            error[SCH102]: transformLayout: `C` cannot fill the padding of C
              at: primitive: transformLayout
              expected: one store indexed by the block's variables, alone in its loops
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 8), "float32", align=64), bias: T.Buffer((8,), "float32", align=64), D: T.Buffer((6, 8), "float32", align=64)):
                with T.block("root"):
                    C = T.alloc_buffer((6, 8), "float32")
                    T_ = T.alloc_buffer((6, 8), "float32")
                    for i, j, r0 in T.grid(6, 8, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
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
              hint: leave padValue out, or transform right after the block was made
            """#
    case "a block layout that mixes kinds":
        return #"""
            error[SCH103]: transformBlockLayout: j * 5 + k mixes spatial and reduction variables
              at: primitive: transformBlockLayout
              expected: spatial: vi, vj; reduction: vr0
              actual: (i, j, k) -> (i, j * 5 + k)
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "a block layout within shared loops":
        return #"""
            error[SCH103]: transformBlockLayout: `B` must be alone in its loops, over all of its domain
              at: primitive: transformBlockLayout
              expected: a block from 0, before computeAt, blockize and decomposeReduction
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in range(6):
                        for ax0 in range(10):
                            with T.block("B"):
                                         ^^^
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
    case "an order that is none":
        return #"""
            error[SCH104]: reorderBlockIterVar: not an order of the variables of `C`
              at: primitive: reorderBlockIterVar
              expected: each of 0..<3 once, for vi, vj, vr0
              actual: [0, 1, 1]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "reindex of a window":
        return #"""
            error[SCH105]: reindex: `out` accesses bx at several places
              at: primitive: reindex
              expected: one form of indices
              actual: [vi, vj], [vi + 1, vj], [vi + 2, vj]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((9, 8), "float32", align=64), out: T.Buffer((7, 6), "float32", align=64)):
                with T.block("root"):
                    bx = T.alloc_buffer((9, 6), "float32")
                    for i, j in T.grid(9, 6):
                        with T.block("bx"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(A[vi, vj:vj + 3])
                            T.writes(bx[vi, vj])
                            bx[vi, vj] = A[vi, vj] + A[vi, vj + 1] + A[vi, vj + 2]
                    for i, j in T.grid(7, 6):
                        with T.block("out"):
                                     ^^^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(bx[vi:vi + 3, vj])
                            T.writes(out[vi, vj])
                            out[vi, vj] = bx[vi, vj] + bx[vi + 1, vj] + bx[vi + 2, vj]
            """#
    case "decomposePadding without padding":
        return #"""
            error[SCH106]: decomposePadding: `B` does not pad, or not all of its domain is visited once
              at: primitive: decomposePadding
              expected: B[…] = if_then_else(inside, value, constant) over serial loops
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "padEinsum of a maximum":
        return #"""
            error[SCH107]: padEinsum: `mx` is not a sum of products alone in its loops
              at: primitive: padEinsum
              expected: C[i, j] = C[i, j] + A[i, k] * B[k, j], all indices distinct variables from 0
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((5, 6), "float32", align=64), out: T.Buffer((5, 6), "float32", align=64)):
                with T.block("root"):
                    mx = T.alloc_buffer((5,), "float32")
                    ex = T.alloc_buffer((5, 6), "float32")
                    sum = T.alloc_buffer((5,), "float32")
                    for i, r0 in T.grid(5, 6):
                        with T.block("mx"):
                                     ^^^^
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
                    for i, r0 in T.grid(5, 6):
                        with T.block("sum"):
                            vi, vr0 = T.axis.remap("SR", [i, r0])
                            T.reads(ex[vi, vr0])
                            T.writes(sum[vi])
                            with T.init():
                                sum[vi] = T.float32(0.0)
                            sum[vi] = sum[vi] + ex[vi, vr0]
                    for i, j in T.grid(5, 6):
                        with T.block("out"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(ex[vi, vj], sum[vi])
                            T.writes(out[vi, vj])
                            out[vi, vj] = ex[vi, vj] / sum[vi]
            """#
    case "padEinsum by zero":
        return #"""
            error[SCH107]: padEinsum needs a positive multiple for each variable of `C`
              at: primitive: padEinsum
              expected: one each for vi, vj, vr0
              actual: [4, 0, 4]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 5), "float32", align=64), B: T.Buffer((5, 7), "float32", align=64), C: T.Buffer((6, 7), "float32", align=64)):
                with T.block("root"):
                    for i, j, r0 in T.grid(6, 7, 5):
                        with T.block("C"):
                                     ^^^
                            vi, vj, vr0 = T.axis.remap("SSR", [i, j, r0])
                            T.reads(A[vi, vr0], B[vr0, vj])
                            T.writes(C[vi, vj])
                            with T.init():
                                C[vi, vj] = T.float32(0.0)
                            C[vi, vj] = C[vi, vj] + A[vi, vr0] * B[vr0, vj]
            """#
    case "the type of a parameter":
        return #"""
            error[SCH108]: unsafeSetDType: the type of D is fixed: it is a parameter
              at: primitive: unsafeSetDType
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    case "a type that is no number":
        return #"""
            error[SCH108]: unsafeSetDType: `handle` is not a type of numbers
              at: primitive: unsafeSetDType
              expected: such as float16, float64 or int32
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "doubleBuffer of a parameter":
        return #"""
            error[SCH048]: doubleBuffer: the memory of D is given: it is a parameter
              at: primitive: doubleBuffer
              expected: a buffer allocated in the function
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        with T.block("D"):
                                     ^^^
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: cacheRead or cacheWrite makes one
            """#
    case "a pipeline against its dependencies":
        return #"""
            error[SCH049]: softwarePipeline: statement 1 reads what is written by statement 0
              at: primitive: softwarePipeline
              expected: stage 0 <= stage 1; of one stage, statement 0 first
              actual: stages [1, 0], order [0, 1]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in range(6):
                        ^
                        for ax0 in range(10):
                            ^^^ statement 0
                            with T.block("B"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(A[vi, vj])
                                T.writes(B[vi, vj])
                                B[vi, vj] = A[vi, vj] + T.float32(1.0)
                        for j in range(10):
                            ^ statement 1
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
    case "a pipeline of another length":
        return #"""
            error[SCH049]: softwarePipeline: the body of i has 2 statements
              at: primitive: softwarePipeline
              expected: a stage >= 0 for each, and an order that is a permutation of 0..<2
              actual: stages [0, 1, 1], order [0, 1, 2]
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in range(6):
                        ^
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
    case "a pipeline of one statement":
        return #"""
            error[SCH049]: softwarePipeline: the body of i is one statement
              at: primitive: softwarePipeline
              expected: statements that can overlap
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        ^
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
              hint: computeAt and cacheRead put stages into a loop
            """#
    case "parallel iterations of a pipeline":
        return #"""
            error[SCH049]: the software pipeline of loop i would no longer fit its body
              at: primitive: parallel
              expected: a serial loop of 2 statements
              actual: parallel, 2 statements
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.parallel(6, annotations={"software_pipeline_stage": [0, 1], "software_pipeline_order": [0, 1]}):
                        ^
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
              hint: softwarePipeline last, once the body of the loop is final
            """#
    case "a further statement in a pipeline":
        return #"""
            error[SCH049]: the software pipeline of loop i would no longer fit its body
              at: primitive: reverseComputeAt
              expected: a serial loop of 2 statements
              actual: serial, 3 statements
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"software_pipeline_stage": [0, 1], "software_pipeline_order": [0, 1]}):
                        ^
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
                        for ax0 in range(10):
                            with T.block("D"):
                                vi, vj = T.axis.remap("SS", [i, ax0])
                                T.reads(C[vi, vj], A[vi, vj])
                                T.writes(D[vi, vj])
                                D[vi, vj] = C[vi, vj] - A[vi, vj]
              hint: softwarePipeline last, once the body of the loop is final
            """#
    case "a pragma that is no name":
        return #"""
            error[SCH052]: pragma: not a name
              at: primitive: pragma
              expected: lower-case letters, digits and _
              actual: `a b`
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        ^
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
    case "prefetch from another nest":
        return #"""
            error[SCH052]: prefetch: `B` is not inside loop i, or an offset < 0
              at: primitive: prefetch
              expected: one of the loops i, j
              actual: offset 1
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        ^
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
    case "prefetch of what the loop computes":
        return #"""
            error[SCH052]: prefetch: B would be computed inside loop i
              at: primitive: computeAt
              expected: a buffer that is complete before the loop
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i in T.serial(6, annotations={"prefetch_scope": ["B:1"]}):
                        ^
                        for ax0 in range(10):
                            with T.block("B"):
                                         ^^^
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
              hint: prefetch after moving blocks
            """#
    case "an annotation that is a node":
        return #"""
            error[SCH052]: annotate: the value cannot be part of a trace
              at: primitive: annotate
              expected: a number, a string, a truth value or a list of these
              actual: 1
              note: in the function
            @T.prim_func
            def main(A: T.Buffer((6, 10), "float32", align=64), D: T.Buffer((6, 10), "float32", align=64)):
                with T.block("root"):
                    B = T.alloc_buffer((6, 10), "float32")
                    C = T.alloc_buffer((6, 10), "float32")
                    for i, j in T.grid(6, 10):
                        with T.block("B"):
                                     ^^^
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
    case "a store predicate on the block's own loop":
        return #"""
            error[SCH053]: setStorePredicate: loop i is not around `D`, or the block depends on it
              at: primitive: setStorePredicate
              expected: a loop that only repeats the block: none
              note: in the function
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
                    for i, j in T.grid(6, 10):
                        with T.block("C"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(B[vi, vj])
                            T.writes(C[vi, vj])
                            C[vi, vj] = B[vi, vj] * B[vi, vj]
                    for i, j in T.grid(6, 10):
                        ^
                        with T.block("D"):
                            vi, vj = T.axis.remap("SS", [i, j])
                            T.reads(C[vi, vj], A[vi, vj])
                            T.writes(D[vi, vj])
                            D[vi, vj] = C[vi, vj] - A[vi, vj]
            """#
    default: return ""
    }
}
