import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// Transposed convolution of one spatial dimension; data `NCW`, weight `IOW`.
    public static func conv1dTranspose(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1], padding: [Int] = [0, 0],
        outputPadding: [Int] = [0], dilation: [Int] = [1], groups: Int = 1, outDType: DataType? = nil
    ) throws -> Tensor {
        try convTranspose(
            data, weight, spatial: 1, outputPadding: outputPadding,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups, dataLayout: "NCW",
                kernelLayout: "IOW", outDType: outDType))
    }

    /// Transposed convolution of two spatial dimensions; data `NCHW`, weight `IOHW`.
    public static func conv2dTranspose(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1, 1], padding: [Int] = [0, 0, 0, 0],
        outputPadding: [Int] = [0, 0], dilation: [Int] = [1, 1], groups: Int = 1, outDType: DataType? = nil
    ) throws -> Tensor {
        try convTranspose(
            data, weight, spatial: 2, outputPadding: outputPadding,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups, dataLayout: "NCHW",
                kernelLayout: "IOHW", outDType: outDType))
    }

    /// Transposed convolution of three spatial dimensions; data `NCDHW`, weight `IODHW`.
    public static func conv3dTranspose(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1, 1, 1], padding: [Int] = [0, 0, 0, 0, 0, 0],
        outputPadding: [Int] = [0, 0, 0], dilation: [Int] = [1, 1, 1], groups: Int = 1,
        outDType: DataType? = nil
    ) throws -> Tensor {
        try convTranspose(
            data, weight, spatial: 3, outputPadding: outputPadding,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups, dataLayout: "NCDHW",
                kernelLayout: "IODHW", outDType: outDType))
    }

    /// Transposed convolution of `n` spatial dimensions: the input, spread by the strides and padded
    /// (`data_dilate`), convolved with the kernel turned round. The weight's I is the data's channels, its
    /// O those of one group.
    public static func convTranspose(
        _ data: Tensor, _ weight: Tensor, spatial n: Int, outputPadding: [Int], _ p: ConvParameters
    ) throws -> Tensor {
        let op = "nn.conv\(n)d_transpose"
        try p.check(n, op)
        try require(outputPadding.count == n, op, "\(n) output paddings are needed")
        let letters = spatialLetters(n)
        let dataLayout = try Layout(p.dataLayout)
        let kernelLayout = try Layout(p.kernelLayout)
        try require(
            dataLayout.rank == data.rank && Set(dataLayout.letters) == Set(["N", "C"] + letters)
                && dataLayout.rank == n + 2, op, "data of \(data.rank) axes is not of layout \(p.dataLayout)")
        try require(
            kernelLayout.rank == weight.rank && Set(kernelLayout.letters) == Set(["O", "I"] + letters)
                && kernelLayout.rank == n + 2, op,
            "a weight of \(weight.rank) axes is not of layout \(p.kernelLayout)")
        let dataExtents = dataLayout.extents(data.shape)
        let kernelExtents = kernelLayout.extents(weight.shape)
        guard let batch = dataExtents["N"], let inChannels = dataExtents["C"],
            let groupOut = kernelExtents["O"]
        else { internalError("layouts were checked") }
        if let i = inChannels.asInt {
            try require(i % p.groups == 0, op, "\(p.groups) groups do not divide \(i) channels")
        }
        let groupIn = p.groups == 1 ? inChannels : floorDiv(inChannels, p.groups)

        // Element y * stride + shift of the spread input is element y of the input.
        var spreadExtents: [Character: PrimExpr] = ["N": batch, "C": inChannels]
        var outExtents: [Character: PrimExpr] = ["N": batch, "C": groupOut * p.groups]
        var shifts: [PrimExpr] = []
        var kernelAxes: [IterVar] = []
        for (k, letter) in letters.enumerated() {
            let extent = dataExtents[letter] ?? imm(1)
            let kernel = kernelExtents[letter] ?? imm(1)
            let window = (kernel - 1) * p.dilation[k]
            let out =
                (extent - 1) * p.strides[k] + window
                + (1 + outputPadding[k] - p.padding[k] - p.padding[n + k])
            outExtents[letter] = out
            spreadExtents[letter] = out + window
            shifts.append(window - p.padding[k])
            kernelAxes.append(reduceAxis(kernel, name: "k\(letter.lowercased())"))
        }
        let spread = try compute(dataLayout.shape(spreadExtents), name: "data_dilate", tag: Tag.injective) {
            i in
            var at = dataLayout.values(i)
            var inside: [PrimExpr] = []
            for (k, letter) in letters.enumerated() {
                let extent = dataExtents[letter] ?? imm(1)
                let v = (at[letter] ?? imm(0)) - shifts[k]
                inside.append(v .>= 0)
                inside.append(v .< (extent - 1) * p.strides[k] + 1)
                if p.strides[k] > 1 { inside.append(floorMod(v, p.strides[k]) .== 0) }
                at[letter] = p.strides[k] > 1 ? floorDiv(v, p.strides[k]) : v
            }
            return ifThenElse(conjunction(inside), data[dataLayout.indices(at)], const(0, data.dtype))
        }
        let channelAxis = reduceAxis(groupIn, name: "ic")
        let outType = p.outDType ?? data.dtype
        let sumType = accumulator(of: outType)
        let tag = "conv\(n)d_transpose_\(p.dataLayout.lowercased())"
        let result = try compute(dataLayout.shape(outExtents), name: tag, tag: tag, attrs: p.attrs) { i in
            let at = dataLayout.values(i)
            let o = at["C"] ?? imm(0)
            var source: [Character: PrimExpr] = ["N": at["N"] ?? imm(0), "C": channelAxis.variable]
            var kernel: [Character: PrimExpr] = ["O": o, "I": channelAxis.variable]
            if p.groups > 1 {
                let c = floorDivExpr(o, groupOut) * groupIn + channelAxis.variable
                source["C"] = c
                kernel["I"] = c
                kernel["O"] = floorModExpr(o, groupOut)
            }
            for (k, letter) in letters.enumerated() {
                let v = kernelAxes[k].variable
                source[letter] = (at[letter] ?? imm(0)) + v * p.dilation[k]
                kernel[letter] = (kernelExtents[letter] ?? imm(1)) - 1 - v
            }
            let x = asType(sumType, spread[dataLayout.indices(source)])
            let w = asType(sumType, weight[kernelLayout.indices(kernel)])
            return reduceSum(x * w, [channelAxis] + kernelAxes)
        }
        return sumType == outType ? result : try cast(result, outType)
    }
}
