import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI.Tag {
    /// Convolution with channels in blocks.
    public static let conv2dNCHWc = "conv2d_NCHWc"
    /// As `conv2dNCHWc`, each channel by itself.
    public static let depthwiseConv2dNCHWc = "depthwise_conv2d_NCHWc"
    /// Zeros around the input of a windowed operator, as a stage of its own.
    public static let pad = "pad"
    /// Matrix product with weights in panels of one vector of outputs.
    public static let densePacked = "dense_packed"
}

extension TOPI {
    /// Annotation of a convolution over one axis of channels that lie in blocks of this size.
    static let channelBlock = "channel_block"
    /// Annotation of a convolution in groups: how many blocks of channels of the result a group has.
    static let groupBlocks = "group_blocks"

    /// 2-d convolution with channels in blocks.
    ///
    /// - Parameters:
    ///   - data: `[N][C/c][H][W][c]`, or `[N][C][H][W]` read as blocks of one channel.
    ///   - weight: `[O/o][I/i][KH][KW][i][o]`, `i` the channels of a block of `data`; depthwise: `[C/c][1][KH][KW][1][c]`.
    ///   - padding: top, left, bottom, right.
    ///   - inChannels: the channels of blocked `data` that are real, where its last block is not full; those behind
    ///     them are never read, so that they may hold anything.
    ///   - dot: where channels are words of several narrow ones, their product.
    ///   - outDType: of the result; nil = that of the data.
    /// - Returns: `[N][O/o][OH][OW][o]`.
    public static func conv2dNCHWc(
        _ data: Tensor, _ weight: Tensor, strides: [Int], padding: [Int], dilation: [Int], groups: Int,
        inChannels: Int? = nil, dot: DotProduct? = nil, outDType: DataType? = nil
    ) throws -> Tensor {
        guard let w = weight.staticShape, w.count == 6, let inH = data.shape[2].asInt,
            let inW = data.shape[3].asInt,
            let chunks = data.shape[1].asInt
        else {
            throw ApusError("TOPI020", "conv2d_NCHWc needs static shapes", actual: "\(data), \(weight)")
        }
        let blocked = data.rank == 5
        let outH = (inH + padding[0] + padding[2] - (w[2] - 1) * dilation[0] - 1) / strides[0] + 1
        let outW = (inW + padding[1] + padding[3] - (w[3] - 1) * dilation[1] - 1) / strides[1] + 1
        let depthwise = groups > 1 && blocked && w[1] == 1 && w[4] == 1 && groups == chunks * w[5]
        let shape: [PrimExpr] = [data.shape[0], IntImm(w[0]), IntImm(outH), IntImm(outW), IntImm(w[5])]
        let kh = reduceAxis(w[2], name: "kh")
        let kw = reduceAxis(w[3], name: "kw")
        let attrs = Attrs(["strides": .ints(strides)])
        let sumType = outDType ?? data.dtype
        func term(_ x: PrimExpr, _ w: PrimExpr) -> PrimExpr {
            dot.map { $0(x, w) } ?? asType(sumType, x) * asType(sumType, w)
        }
        func row(_ y: PrimExpr) -> PrimExpr { y * strides[0] + kh.variable * dilation[0] }
        func column(_ x: PrimExpr) -> PrimExpr { x * strides[1] + kw.variable * dilation[1] }
        if depthwise {
            return try compute(shape, name: "conv", tag: Tag.depthwiseConv2dNCHWc, attrs: attrs) { i in
                let at = [i[0], i[1], row(i[2]) - padding[0], column(i[3]) - padding[1], i[4]]
                let value = guarded(
                    data, at, axes: [2, 3], before: Array(padding[..<2]), after: Array(padding[2...]),
                    value: const(0, data.dtype))
                return reduceSum(
                    term(value, weight[i[1], imm(0), kh.variable, kw.variable, imm(0), i[4]]), [kh, kw])
            }
        }
        let input = try padded(data, padding, height: inH, width: inW)
        if let inChannels, blocked, groups == 1, inChannels < chunks * w[4] {
            // The last block is part full: one axis of the real channels, cut into blocks by the schedule.
            let ic = reduceAxis(inChannels, name: "ic")
            let single = inChannels <= w[4]
            let chunk = single ? imm(0) : floorDiv(ic.variable, w[4])
            let lane = single ? ic.variable : floorMod(ic.variable, w[4])
            let cut = single ? attrs : attrs.setting(channelBlock, .int(w[4]))
            return try compute(shape, name: "conv", tag: Tag.conv2dNCHWc, attrs: cut) { i in
                let value = input[i[0], chunk, row(i[2]), column(i[3]), lane]
                return reduceSum(
                    term(value, weight[i[1], chunk, kh.variable, kw.variable, lane, i[4]]),
                    single ? [kh, kw, ic] : [ic, kh, kw])
            }
        }
        let icc = reduceAxis(w[1], name: "icc")
        let ici = reduceAxis(w[4], name: "ici")
        let outChunksPerGroup = w[0] / max(1, groups)
        let cut = groups == 1 ? attrs : attrs.setting(groupBlocks, .int(outChunksPerGroup))
        return try compute(shape, name: "conv", tag: Tag.conv2dNCHWc, attrs: cut) { i in
            // The group of an output block decides which input blocks it sees.
            let chunk = groups == 1 ? icc.variable : floorDiv(i[1], outChunksPerGroup) * w[1] + icc.variable
            let value =
                blocked
                ? input[i[0], chunk, row(i[2]), column(i[3]), ici.variable]
                : input[i[0], chunk, row(i[2]), column(i[3])]
            return reduceSum(
                term(value, weight[i[1], icc.variable, kh.variable, kw.variable, ici.variable, i[4]]),
                [icc, kh, kw, ici])
        }
    }

    /// `data` with zeros around its two spatial axes; itself where there is nothing to add.
    private static func padded(_ data: Tensor, _ padding: [Int], height: Int, width: Int) throws -> Tensor {
        if padding.allSatisfy({ $0 == 0 }) { return data }
        var shape = data.shape
        shape[2] = IntImm(height + padding[0] + padding[2])
        shape[3] = IntImm(width + padding[1] + padding[3])
        return try compute(shape, name: "data_pad", tag: Tag.pad) { i in
            var source = i
            source[2] = i[2] - padding[0]
            source[3] = i[3] - padding[1]
            let inside = inside(
                data, source, axes: [2, 3], before: Array(padding[..<2]), after: Array(padding[2...]))
            return ifThenElse(conjunction(inside), data[source], const(0, data.dtype))
        }
    }
}
