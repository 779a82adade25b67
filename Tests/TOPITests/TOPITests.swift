import ApusTOPI
import Testing

@Suite struct TableTests {
    /// The operator contract: every one of these has a computation.
    @Test func completeness() {
        let names = """
            exp log log2 log1p expm1 sqrt rsqrt tanh sigmoid erf sin cos tan asin acos atan sinh cosh
            asinh acosh atanh floor ceil round trunc abs negative sign nn.relu copy logical_not
            bitwise_not isnan isfinite isinf clip cast add subtract multiply divide floor_divide mod
            floor_mod power maximum minimum bitwise_and bitwise_or bitwise_xor left_shift right_shift
            equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor
            where sum prod max min mean all any argmax argmin nn.softmax nn.log_softmax nn.layer_norm
            nn.batch_norm nn.bias_add nn.conv1d nn.conv2d nn.conv3d nn.conv1d_transpose
            nn.conv2d_transpose nn.conv3d_transpose nn.dense nn.contrib_dense_pack nn.matmul
            nn.batch_matmul nn.attention nn.contrib_strided_view nn.max_pool1d nn.max_pool2d nn.max_pool3d nn.avg_pool1d nn.avg_pool2d
            nn.avg_pool3d nn.global_max_pool2d nn.global_avg_pool2d nn.pad nn.lrn reshape transpose
            squeeze expand_dims concatenate split stack strided_slice take gather gather_nd
            scatter_elements scatter_nd broadcast_to full tile repeat reverse one_hot arange shape_of
            cumsum topk trilu image.resize layout_transform nn.depth_to_space nn.space_to_depth
            """.split(whereSeparator: \.isWhitespace).map(String.init)
        #expect(names.filter { TOPI.table[$0] == nil } == [])
        #expect(Set(names).count == names.count)
    }
}
