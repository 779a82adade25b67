import ApusIR
import ApusNode
import ApusRelay
import ApusRelayTransforms
import ApusRuntime
import Testing

/// Texts; `SimplifyConvolutionFuzz` (RelayBackendTests) compares what is computed.
@Suite struct SimplifyConvolutionTests {
    @Test func windowsThatDoNotOverlap() throws {
        try expectPass(
            simplifyConvolution(lanes: 4),
            """
            def @main(%x: Tensor[(1, 3, 4, 5), float32], %w: Tensor[(3, 2, 2, 2), float32]) {
              nn.conv2d_transpose(%x, %w, strides=[2, 2], kernel_size=[2, 2])
            }
            """,
            """
            def @main(%x: Tensor[(1, 3, 4, 5), float32], %w: Tensor[(3, 2, 2, 2), float32]) {
              %0 = transpose(reshape(%w, newshape=[1, 3, 2, 1, 2, 1, 2]), axes=[0, 2, 4, 6, 1, 3, 5]);
              %1 = reshape(%0, newshape=[8, 3, 1, 1]);
              %2 = nn.conv2d(%x, %1, kernel_size=[1, 1], channels=8);
              %3 = transpose(reshape(%2, newshape=[1, 2, 2, 2, 4, 5]), axes=[0, 1, 4, 2, 5, 3]);
              reshape(%3, newshape=[1, 2, 8, 10])
            }
            """)
    }

    /// Two taps a phase in each axis, one of them of zeros for the second phase; a pixel cut off at each end.
    @Test func windowsThatOverlap() throws {
        try expectPass(
            simplifyConvolution(lanes: 4),
            """
            def @main(%x: Tensor[(1, 3, 4, 5), float32], %w: Tensor[(3, 2, 3, 3), float32]) {
              nn.conv2d_transpose(%x, %w, strides=[2, 2], kernel_size=[3, 3], padding=[1, 1, 1, 1])
            }
            """,
            """
            def @main(%x: Tensor[(1, 3, 4, 5), float32], %w: Tensor[(3, 2, 3, 3), float32]) {
              %0 = nn.pad(%w, 0.0f, pad_width=[0, 0, 0, 0, 0, 1, 0, 1]);
              %1 = reverse(reshape(%0, newshape=[1, 3, 2, 2, 2, 2, 2]), axis=[3, 5]);
              %2 = reshape(transpose(%1, axes=[0, 2, 4, 6, 1, 3, 5]), newshape=[8, 3, 2, 2]);
              %3 = nn.conv2d(%x, %2, kernel_size=[2, 2], channels=8, padding=[1, 1, 1, 1]);
              %4 = transpose(reshape(%3, newshape=[1, 2, 2, 2, 5, 6]), axes=[0, 1, 4, 2, 5, 3]);
              strided_slice(reshape(%4, newshape=[1, 2, 10, 12]), begin=[1, 1], end=[8, 10], strides=[1, 1], axes=[2, 3])
            }
            """)
    }

    @Test func oneAxis() throws {
        try expectPass(
            simplifyConvolution(lanes: 4),
            """
            def @main(%x: Tensor[(2, 3, 9), float32], %w: Tensor[(4, 3, 5), float32]) {
              nn.conv1d(%x, %w, strides=[2], padding=[2, 1], kernel_size=[5], channels=4)
            }
            """,
            """
            def @main(%x: Tensor[(2, 3, 9), float32], %w: Tensor[(4, 3, 5), float32]) {
              %0 = reshape(%x, newshape=[2, 3, 1, 9]);
              %1 = reshape(%w, newshape=[4, 3, 1, 5]);
              %2 = nn.conv2d(%0, %1, strides=[1, 2], padding=[0, 2, 0, 1], kernel_size=[1, 5], channels=4);
              reshape(%2, newshape=[2, 4, 4])
            }
            """)
    }

    /// Of one input channel each: depthwise.
    @Test func severalResultsOfAChannel() throws {
        try expectPass(
            simplifyConvolution(lanes: 4),
            """
            def @main(%x: Tensor[(1, 3, 4, 4), float32], %w: Tensor[(6, 1, 3, 3), float32]) {
              nn.conv2d(%x, %w, kernel_size=[3, 3], channels=6, groups=3)
            }
            """,
            """
            def @main(%x: Tensor[(1, 3, 4, 4), float32], %w: Tensor[(6, 1, 3, 3), float32]) {
              %0 = broadcast_to(reshape(%x, newshape=[1, 3, 1, 4, 4]), shape=[1, 3, 2, 4, 4]);
              nn.conv2d(reshape(%0, newshape=[1, 6, 4, 4]), %w, kernel_size=[3, 3], channels=6, groups=6)
            }
            """)
    }

    /// Eleven groups of three: four fill vectors, and a twelfth of zeros fills the last four up.
    @Test func groupsThatAreNoMultiple() throws {
        Relay.registerAll()
        let result = try simplifyConvolution(lanes: 4).run(
            try Relay.parse(
                """
                def @main(%x: Tensor[(1, 33, 4, 4), float32], %w: Tensor[(33, 3, 3, 3), float32]) {
                  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=33, groups=11)
                }
                """), PassContext())
        let main = try #require(result.function("main") as? Relay.Function)
        let calls = Relay.postOrder(main.body, intoFunctions: false).compactMap { $0 as? Relay.Call }
        #expect(
            calls.map(\.opName) == [
                "nn.pad", "nn.pad", "reshape", "reshape", "multiply", "reshape", "nn.conv2d", "strided_slice",
            ])
        let convolution = calls[6]
        #expect(convolution.attrs.int("groups") == 3)
        #expect(convolution.args[0].tensorType?.staticShape == [1, 36, 4, 4])
        #expect(convolution.args[1].tensorType?.staticShape == [36, 12, 3, 3])
        #expect(calls[7].tensorType?.staticShape == [1, 33, 2, 2])
    }

    /// Taps as far apart as the image is high see it once, in the middle.
    @Test func tapsOutsideTheImage() throws {
        try expectPass(
            simplifyConvolution(lanes: 4),
            """
            def @main(%x: Tensor[(1, 3, 5, 9), float32], %w: Tensor[(4, 3, 3, 3), float32]) {
              nn.conv2d(%x, %w, kernel_size=[3, 3], channels=4, padding=[5, 6, 5, 6], dilation=[5, 6])
            }
            """,
            """
            def @main(%x: Tensor[(1, 3, 5, 9), float32], %w: Tensor[(4, 3, 3, 3), float32]) {
              %0 = strided_slice(%w, begin=[1, 0], end=[2, 3], strides=[1, 1], axes=[2, 3]);
              nn.conv2d(%x, %0, kernel_size=[1, 3], channels=4, padding=[0, 6, 0, 6], dilation=[1, 6])
            }
            """)
    }

    /// An odd number of groups of half a vector: half vectors need no zeros. Two whole vectors: nothing to do.
    @Test func blocksOfTheGroupsSize() throws {
        #expect(GroupPlan(groups: 13, inputs: 8, outputs: 8, block: 16).work == 7 * 256)
        #expect(GroupPlan(groups: 13, inputs: 8, outputs: 8, block: 8).together == 1)
        #expect(GroupPlan(groups: 3, inputs: 24, outputs: 24, block: 16).together == 2)
        #expect(GroupPlan(groups: 2, inputs: 3, outputs: 5, block: 16).together == 2)
        let text = """
            def @main(%x: Tensor[(1, 104, 4, 4), float32], %w: Tensor[(104, 8, 3, 3), float32]) {
              nn.conv2d(%x, %w, kernel_size=[3, 3], channels=104, groups=13)
            }
            """
        try expectPass(simplifyConvolution(lanes: 16), text, text)
    }

    @Test(arguments: [
        // Whole vectors already; depthwise; taps that meet the image at some place each.
        "%x: Tensor[(1, 8, 4, 4), float32], %w: Tensor[(8, 4, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=8, groups=2)",
        "%x: Tensor[(1, 8, 4, 4), float32], %w: Tensor[(8, 1, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=8, groups=8)",
        "%x: Tensor[(1, 3, 5, 5), float32], %w: Tensor[(4, 3, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=4, padding=[4, 4, 4, 4], dilation=[4, 4])",
        // Taps apart, and another layout.
        "%x: Tensor[(1, 2, 4, 4), float32], %w: Tensor[(2, 2, 3, 3), float32]) {\n  nn.conv2d_transpose(%x, %w, kernel_size=[3, 3], dilation=[2, 2])",
        "%x: Tensor[(1, 9, 2), float32], %w: Tensor[(4, 2, 5), float32]) {\n  nn.conv1d(%x, %w, kernel_size=[5], channels=4, data_layout=\"NWC\")",
    ]) func others(_ rest: String) throws {
        let text = "def @main(\(rest)\n}"
        try expectPass(simplifyConvolution(lanes: 4), text, text)
    }
}
