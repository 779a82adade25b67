import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import Testing

@Suite struct FuseAttentionTests {
    private var always: some Pass { fuseAttention { _ in true } }

    @Test("heads of dense layers, the scale at the scores, a mask by key, the transposition behind")
    func encoder() throws {
        try expectPass(
            always,
            """
            def @main(%q: Tensor[(1, 20, 24), float32], %k: Tensor[(1, 20, 24), float32],
                      %v: Tensor[(1, 20, 24), float32], %m: Tensor[(1, 1, 1, 20), float32]) {
              %0 = reshape(transpose(reshape(%q, newshape=[1, 20, 3, 8]), axes=[0, 2, 1, 3]), newshape=[3, 20, 8]);
              %1 = reshape(transpose(reshape(%k, newshape=[1, 20, 3, 8]), axes=[0, 2, 3, 1]), newshape=[3, 8, 20]);
              %2 = reshape(transpose(reshape(%v, newshape=[1, 20, 3, 8]), axes=[0, 2, 1, 3]), newshape=[3, 20, 8]);
              %3 = reshape(nn.batch_matmul(%0, %1, transpose_b=False), newshape=[1, 3, 20, 20]);
              %4 = nn.softmax(add(divide(%3, 4f), %m), axis=3);
              %5 = nn.batch_matmul(reshape(%4, newshape=[3, 20, 20]), %2, transpose_b=False);
              reshape(transpose(reshape(%5, newshape=[1, 3, 20, 8]), axes=[0, 2, 1, 3]), newshape=[1, 20, 24])
            }
            """,
            """
            def @main(%q: Tensor[(1, 20, 24), float32], %k: Tensor[(1, 20, 24), float32],
                      %v: Tensor[(1, 20, 24), float32], %m: Tensor[(1, 1, 1, 20), float32]) {
              %0 = nn.contrib_strided_view(%q, shape=[3, 20, 8], strides=[8, 24, 1]);
              %1 = nn.contrib_strided_view(%k, shape=[3, 20, 8], strides=[8, 24, 1]);
              %2 = nn.contrib_strided_view(%v, shape=[3, 20, 8], strides=[8, 24, 1]);
              %3 = nn.contrib_strided_view(%m, shape=[1, 1, 20], strides=[0, 0, 1]);
              %4 = nn.attention(%0, %1, %2, %3, scale=0.25f, axes=[1, 0, 2]);
              reshape(reshape(%4, newshape=[1, 20, 3, 8]), newshape=[1, 20, 24])
            }
            """)
    }

    @Test("parts of one dense layer, the root of the scale at both operands")
    func partsOfOneMatrix() throws {
        try expectPass(
            always,
            """
            def @main(%x: Tensor[(10, 48), float32]) {
              %0 = split(%x, indices_or_sections=[16, 32], axis=1);
              %1 = multiply(transpose(reshape(%0.0, newshape=[10, 2, 8]), axes=[1, 0, 2]), 0.5f);
              %2 = multiply(transpose(reshape(%0.1, newshape=[10, 2, 8]), axes=[1, 2, 0]), 0.5f);
              %3 = transpose(reshape(%0.2, newshape=[10, 2, 8]), axes=[1, 0, 2]);
              %4 = nn.softmax(nn.batch_matmul(%1, %2, transpose_b=False), axis=2);
              nn.batch_matmul(%4, %3, transpose_b=False)
            }
            """,
            """
            def @main(%x: Tensor[(10, 48), float32]) {
              %0 = nn.contrib_strided_view(%x, shape=[2, 10, 8], strides=[8, 48, 1]);
              %1 = nn.contrib_strided_view(%x, shape=[2, 10, 8], strides=[8, 48, 1], offset=16);
              %2 = nn.contrib_strided_view(%x, shape=[2, 10, 8], strides=[8, 48, 1], offset=32);
              nn.attention(%0, %1, %2, scale=0.25f)
            }
            """)
    }

    @Test("slices of a stack of three, and heads that share keys and values")
    func sharedHeads() throws {
        try expectPass(
            always,
            """
            def @main(%x: Tensor[(3, 9, 4, 8), float32], %q: Tensor[(8, 9, 8), float32]) {
              %0 = transpose(take(%x, 1i64, axis=0), axes=[1, 0, 2]);
              %1 = reshape(broadcast_to(reshape(%0, newshape=[4, 1, 9, 8]), shape=[4, 2, 9, 8]), newshape=[8, 9, 8]);
              %2 = transpose(take(%x, 2i64, axis=0), axes=[1, 0, 2]);
              %3 = reshape(broadcast_to(reshape(%2, newshape=[4, 1, 9, 8]), shape=[4, 2, 9, 8]), newshape=[8, 9, 8]);
              %4 = nn.softmax(nn.batch_matmul(%q, %1, transpose_b=True), axis=-1);
              nn.batch_matmul(%4, %3, transpose_b=False)
            }
            """,
            """
            def @main(%x: Tensor[(3, 9, 4, 8), float32], %q: Tensor[(8, 9, 8), float32]) {
              %0 = nn.contrib_strided_view(%q, shape=[4, 2, 9, 8], strides=[144, 72, 8, 1]);
              %1 = nn.contrib_strided_view(%x, shape=[4, 1, 9, 8], strides=[8, 0, 32, 1], offset=288);
              %2 = nn.contrib_strided_view(%x, shape=[4, 1, 9, 8], strides=[8, 0, 32, 1], offset=576);
              reshape(nn.attention(%0, %1, %2), newshape=[8, 9, 8])
            }
            """)
    }

    @Test("a mask by row and key is read with its rows side by side; a choice of scores is a mask")
    func maskOfRows() throws {
        try expectPass(
            always,
            """
            def @main(%q: Tensor[(2, 9, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32],
                      %m: Tensor[(9, 7), bool]) {
              %0 = where(%m, nn.batch_matmul(%q, %k, transpose_b=True), -1e38f);
              nn.batch_matmul(nn.softmax(%0, axis=2), %v, transpose_b=False)
            }
            """,
            """
            def @main(%q: Tensor[(2, 9, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32],
                      %m: Tensor[(9, 7), bool]) {
              %0 = transpose(where(%m, 0f, -1e38f), axes=[1, 0]);
              %1 = nn.contrib_strided_view(%q, shape=[2, 9, 8], strides=[72, 8, 1]);
              %2 = nn.contrib_strided_view(%k, shape=[2, 7, 8], strides=[56, 8, 1]);
              %3 = nn.contrib_strided_view(%v, shape=[2, 7, 8], strides=[56, 8, 1]);
              %4 = nn.contrib_strided_view(%0, shape=[1, 9, 7], strides=[0, 1, 9]);
              nn.attention(%1, %2, %3, %4)
            }
            """)
    }

    @Test("what hides every key behind a row's own is no mask but an attribute")
    func causal() throws {
        Relay.registerAll()
        func attrs(_ change: (inout [Float]) -> Void) throws -> Attrs? {
            let (rows, keys) = (5, 7)
            var values: [Float] = []
            for r in 0..<rows { for k in 0..<keys { values.append(k <= r + 2 ? 0 : -.infinity) } }
            change(&values)
            let mask = Relay.Constant(try NDArray(values).reshaped(to: [1, 1, rows, keys]))
            let q = Relay.Var("q", shape: [2, rows, 8])
            let k = Relay.Var("k", shape: [2, keys, 8])
            let v = Relay.Var("v", shape: [2, keys, 8])
            let product = try Relay.call("nn.batch_matmul", [q, k], ["transpose_b": true])
            let stack = try Relay.call("reshape", [product], ["newshape": .ints([1, 2, rows, keys])])
            let weights = try Relay.call("nn.softmax", [try Relay.call("add", [mask, stack])], ["axis": -1])
            let flat = try Relay.call("reshape", [weights], ["newshape": .ints([2, rows, keys])])
            let body = try Relay.call("nn.batch_matmul", [flat, v])
            let module = try always.run(IRModule(Relay.Function([q, k, v], body)))
            let call = (module["main"] as? Relay.Function)?.body as? Relay.Call
            #expect(call?.opName == "nn.attention")
            #expect(call?.args.count == (call?.attrs.bool("causal") == true ? 3 : 4))
            return call?.attrs
        }
        #expect(try attrs { _ in }?.bool("causal") == true)
        #expect(try attrs { $0[0] = 1 }?.bool("causal") == false)
        #expect(try attrs { $0[6] = -10000 }?.bool("causal") == false)
        #expect(try attrs { $0[1] = -.infinity }?.bool("causal") == false)
    }

    @Test(arguments: [
        // Scores that something else reads.
        """
        def @main(%q: Tensor[(2, 9, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32]) {
          %0 = nn.softmax(nn.batch_matmul(%q, %k, transpose_b=True), axis=2);
          (nn.batch_matmul(%0, %v, transpose_b=False), %0)
        }
        """,
        // Sums over rows.
        """
        def @main(%q: Tensor[(2, 7, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32]) {
          %0 = nn.softmax(nn.batch_matmul(%q, %k, transpose_b=True), axis=1);
          nn.batch_matmul(%0, %v, transpose_b=False)
        }
        """,
        // A choice that is no mask: it would show in rows hidden as a whole.
        """
        def @main(%q: Tensor[(2, 7, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32],
                  %m: Tensor[(7, 7), bool]) {
          %0 = where(%m, nn.batch_matmul(%q, %k, transpose_b=True), -10000f);
          nn.batch_matmul(nn.softmax(%0, axis=2), %v, transpose_b=False)
        }
        """,
        // No product before it.
        """
        def @main(%s: Tensor[(2, 7, 7), float32], %v: Tensor[(2, 7, 8), float32]) {
          nn.batch_matmul(nn.softmax(%s, axis=2), %v, transpose_b=False)
        }
        """,
    ])
    func others(_ text: String) throws { try expectPass(always, text, text) }

    @Test func whereItDoesNotPay() throws {
        let text = """
            def @main(%q: Tensor[(2, 9, 8), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 6), float32]) {
              %0 = nn.softmax(nn.batch_matmul(%q, %k, transpose_b=True), axis=2);
              nn.batch_matmul(%0, %v, transpose_b=False)
            }
            """
        let pass = fuseAttention { q in
            #expect(q.outer == [2] && q.rows == 9 && q.keys == 7 && q.depth == 8 && q.width == 6)
            return false
        }
        try expectPass(pass, text, text)
    }

    @Test("views join the attention that reads them, what computes their memory does not")
    func fusion() throws {
        try expectPass(
            fuseOps,
            """
            def @main(%x: Tensor[(10, 16), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32]) {
              %0 = nn.contrib_strided_view(exp(%x), shape=[2, 10, 8], strides=[8, 16, 1]);
              negative(nn.attention(%0, %k, %v))
            }
            """,
            """
            def @main(%x: Tensor[(10, 16), float32], %k: Tensor[(2, 7, 8), float32], %v: Tensor[(2, 7, 8), float32]) {
              %0 = fn (%p: Tensor[(10, 16), float32], primitive=True) { exp(%p) };
              %1 = %0(%x);
              %2 = fn (%p1: Tensor[(10, 16), float32], %p2: Tensor[(2, 7, 8), float32],
                       %p3: Tensor[(2, 7, 8), float32], primitive=True) {
                nn.attention(nn.contrib_strided_view(%p1, shape=[2, 10, 8], strides=[8, 16, 1]), %p2, %p3)
              };
              %3 = %2(%1, %k, %v);
              %4 = fn (%p4: Tensor[(2, 10, 8), float32], primitive=True) { negative(%p4) };
              %4(%3)
            }
            """)
    }
}
