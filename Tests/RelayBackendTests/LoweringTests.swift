import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRelayTransforms
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Testing

@Suite struct LoweringTests {
    init() { Relay.registerAll() }

    @Test func primitivesBecomeLoopFunctions() throws {
        let before = try Relay.parse(
            """
            def @main(%x: Tensor[(6,), float32]) {
              %0 = fn (%p0: Tensor[(6,), float32], primitive=True) { add(exp(%p0), 1.0f) };
              %1 = %0(%x);
              %0(%1)
            }
            """)
        let module = try lowerTE(.llvm).run(before)
        // One loop function for the two calls.
        #expect(module.globals.map(\.name) == ["main", "fused_exp_add"])
        let main = try #require(module["main"] as? Relay.Function)
        #expect(
            "\(main)" == """
                fn (%x: Tensor[(6,), float32]) -> Tensor[(6,), float32] {
                  %0 = @fused_exp_add(%x) /* ty=Tensor[(6,), float32] */;
                  @fused_exp_add(%0) /* ty=Tensor[(6,), float32] */
                }
                """)
        let kernel = try #require(module["fused_exp_add"] as? PrimFunc)
        #expect(
            "\(kernel)" == """
                @T.prim_func
                def fused_exp_add(p0: T.Buffer((6,), "float32"), add: T.Buffer((6,), "float32")):
                    T.func_attr({"global_symbol": "fused_exp_add", "tir.noalias": True})
                    with T.block("root"):
                        for i0_0 in range(2):
                            for i0_1 in T.vectorized(4):
                                with T.block("add"):
                                    v_i0 = T.axis.spatial(6, i0_0 * 4 + i0_1)
                                    T.where(i0_0 * 4 + i0_1 < 6)
                                    T.reads(p0[v_i0])
                                    T.writes(add[v_i0])
                                    T.block_attr({"tag": "broadcast"})
                                    add[v_i0] = T.exp(p0[v_i0]) + T.float32(1.0)

                """)
    }

    @Test func viewsStayInTheGraph() throws {
        let before = try Relay.parse(
            """
            def @main(%x: Tensor[(6,), float32]) {
              %0 = fn (%p0: Tensor[(6,), float32], primitive=True) { reshape(%p0, newshape=[2, 3]) };
              %0(%x)
            }
            """)
        let module = try lowerTE(.llvm).run(before)
        #expect(module.globals.map(\.name) == ["main"])
        #expect(structuralEqual(module, before))
    }

    @Test func planText() throws {
        let module = try Relay.parse(
            """
            def @main(%x: Tensor[(2, 3), float32]) {
              %0 = cumsum(%x, axis=1);
              %1 = reshape(cumsum(%0, axis=0), newshape=[6]);
              %2 = cumsum(%1, axis=0);
              (%2, cumsum(%2, axis=0), %x)
            }
            """)
        let model = try compile(module, CompileOptions(target: .llvm))
        // The first storage is free again when the third sum needs one; results keep theirs.
        #expect(
            "\(model.executable.plan)" == """
                executable main
                  storage[0] 24 bytes at 64
                  storage[1] 24 bytes at 64
                  input[0] x: float32[2, 3]
                  fused_cumsum(input[0]: float32[2, 3], storage[0]: float32[2, 3])  # text:2:8
                  fused_cumsum_1(storage[0]: float32[2, 3], storage[1]: float32[2, 3])  # text:3:16
                  fused_cumsum_2(storage[1]: float32[6], storage[0]: float32[6])  # text:4:8
                  fused_cumsum_2(storage[0]: float32[6], storage[1]: float32[6])  # text:5:8
                  output[0] output_0 = storage[0]: float32[6]
                  output[1] output_1 = storage[1]: float32[6]
                  output[2] output_2 = input[0]: float32[2, 3]
                """)
    }
}
