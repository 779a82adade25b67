import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import Testing

@Suite struct AbsorbTransposeTests {
    @Test func denseOfATransposedWeight() throws {
        try expectPass(
            absorbTranspose,
            """
            def @main(%a: Tensor[(3, 5), float32], %b: Tensor[(5, 7), float32]) {
              nn.dense(%a, transpose(%b, axes=[1, 0]))
            }
            """,
            """
            def @main(%a: Tensor[(3, 5), float32], %b: Tensor[(5, 7), float32]) {
              nn.matmul(%a, %b)
            }
            """)
    }

    @Test func stacksOfMatrices() throws {
        try expectPass(
            absorbTranspose,
            """
            def @main(%a: Tensor[(2, 5, 3), float32], %b: Tensor[(2, 7, 5), float32]) {
              nn.batch_matmul(transpose(%a, axes=[0, 2, 1]), transpose(%b, axes=[0, 2, 1]), transpose_b=False)
            }
            """,
            """
            def @main(%a: Tensor[(2, 5, 3), float32], %b: Tensor[(2, 7, 5), float32]) {
              nn.batch_matmul(%a, %b, transpose_a=True, transpose_b=True)
            }
            """)
    }

    /// Decoding with a cache: a row times what was kept of earlier rows.
    @Test func aRowTimesATransposedMatrix() throws {
        try expectPass(
            absorbTranspose,
            """
            def @main(%a: Tensor[(6, 1, 8), float32], %b: Tensor[(2, 3, 7, 8), float32]) {
              nn.batch_matmul(%a, reshape(transpose(%b, axes=[0, 1, 3, 2]), newshape=[6, 8, 7]), transpose_b=False)
            }
            """,
            """
            def @main(%a: Tensor[(6, 1, 8), float32], %b: Tensor[(2, 3, 7, 8), float32]) {
              reshape(sum(multiply(reshape(%b, newshape=[6, 7, 8]), %a), axis=[-1], keepdims=False), newshape=[6, 1, 7])
            }
            """)
    }

    @Test(arguments: [
        // Other axes move too.
        """
        def @main(%a: Tensor[(2, 3, 5), float32], %b: Tensor[(5, 2, 7), float32]) {
          nn.batch_matmul(%a, transpose(%b, axes=[1, 0, 2]), transpose_b=False)
        }
        """,
        // Rows of more than one axis have no matrix product of that kind.
        """
        def @main(%a: Tensor[(2, 3, 5), float32], %b: Tensor[(5, 7), float32]) {
          nn.dense(%a, transpose(%b, axes=[1, 0]))
        }
        """,
    ])
    func others(_ text: String) throws { try expectPass(absorbTranspose, text, text) }
}

@Suite struct FlattenRowsTests {
    @Test func theFlatFormFlowsToTheNextLayer() throws {
        try expectPass(
            flattenRows,
            """
            def @main(%x: Tensor[(2, 3, 8), float32], %w: Tensor[(16, 8), float32], %b: Tensor[(16), float32],
                      %v: Tensor[(8, 16), float32], %g: Tensor[(8), float32]) {
              %0 = nn.relu(add(nn.dense(%x, %w), %b));
              %1 = add(nn.dense(%0, %v), %x);
              nn.layer_norm(%1, %g, %g, axis=-1)
            }
            """,
            """
            def @main(%x: Tensor[(2, 3, 8), float32], %w: Tensor[(16, 8), float32], %b: Tensor[(16), float32],
                      %v: Tensor[(8, 16), float32], %g: Tensor[(8), float32]) {
              %0 = reshape(%x, newshape=[6, 8]);
              %1 = nn.relu(add(nn.dense(%0, %w), %b));
              %2 = add(nn.dense(%1, %v), %0);
              reshape(nn.layer_norm(%2, %g, %g, axis=-1), newshape=[2, 3, 8])
            }
            """)
    }

    /// What is not the same for all rows, or works across them, sees the value in its own shape.
    @Test func theRestSeesItsOwnShape() throws {
        try expectPass(
            flattenRows,
            """
            def @main(%x: Tensor[(2, 3, 8), float32], %w: Tensor[(16, 8), float32], %m: Tensor[(3, 1), float32]) {
              %0 = nn.dense(%x, %w);
              (add(%0, %m), nn.softmax(%0, axis=1))
            }
            """,
            """
            def @main(%x: Tensor[(2, 3, 8), float32], %w: Tensor[(16, 8), float32], %m: Tensor[(3, 1), float32]) {
              %0 = reshape(nn.dense(reshape(%x, newshape=[6, 8]), %w), newshape=[2, 3, 16]);
              (add(%0, %m), nn.softmax(%0, axis=1))
            }
            """)
    }

    @Test func twoAxesStay() throws {
        let text = """
            def @main(%x: Tensor[(3, 8), float32], %w: Tensor[(16, 8), float32]) {
              nn.relu(nn.dense(%x, %w))
            }
            """
        try expectPass(flattenRows, text, text)
    }
}

@Suite struct RearrangedConstantTests {
    /// A large weight that is only transposed waits for the pass that lays it out for good; small ones are folded.
    @Test func largeOnesAreKept() throws {
        Relay.registerAll()
        let x = Relay.Var("x", shape: [2, 512])
        let large = try Relay.call(
            "transpose", [Relay.Constant(NDArray.random(shape: [512, 512], seed: 1))],
            ["axes": .ints([1, 0])])
        let f = Relay.Function([x], try Relay.call("nn.dense", [x, large]))
        let none: ConstantEvaluator = { function in
            Issue.record("nothing is to be evaluated")
            return []
        }
        let kept = try foldConstant(keepRearranged: true, evaluate: none).run(IRModule(f))
        #expect(structuralEqual(kept, IRModule(f)))
        let packed = try alterOpLayout(lanes: 8).run(kept)
        let body = try #require(packed["main"] as? Relay.Function).body
        let names = Relay.postOrder(body).compactMap { (($0 as? Relay.Call)?.op as? Op)?.name }
        #expect(names == ["transpose", "layout_transform", "nn.contrib_dense_pack"])
    }
}
