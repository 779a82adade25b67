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

    @Test(arguments: [
        // Whole vectors already; depthwise; groups without a number that fills vectors.
        "%x: Tensor[(1, 8, 4, 4), float32], %w: Tensor[(8, 4, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=8, groups=2)",
        "%x: Tensor[(1, 8, 4, 4), float32], %w: Tensor[(8, 1, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=8, groups=8)",
        "%x: Tensor[(1, 33, 4, 4), float32], %w: Tensor[(33, 3, 3, 3), float32]) {\n  nn.conv2d(%x, %w, kernel_size=[3, 3], channels=33, groups=11)",
        // Taps apart, and another layout.
        "%x: Tensor[(1, 2, 4, 4), float32], %w: Tensor[(2, 2, 3, 3), float32]) {\n  nn.conv2d_transpose(%x, %w, kernel_size=[3, 3], dilation=[2, 2])",
        "%x: Tensor[(1, 9, 2), float32], %w: Tensor[(4, 2, 5), float32]) {\n  nn.conv1d(%x, %w, kernel_size=[5], channels=4, data_layout=\"NWC\")",
    ]) func others(_ rest: String) throws {
        let text = "def @main(\(rest)\n}"
        try expectPass(simplifyConvolution(lanes: 4), text, text)
    }
}
