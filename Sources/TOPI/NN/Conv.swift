import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// How a convolution steps over its input; one number a spatial dimension.
    public struct ConvParameters: Sendable {
        public var strides: [Int]
        /// Added at the begin of each dimension, then at the end of each; negative removes.
        public var padding: [Int]
        public var dilation: [Int]
        public var groups: Int
        public var dataLayout: String
        public var kernelLayout: String
        /// nil = that of the data. 16-bit floats are summed in 32 bits in any case.
        public var outDType: DataType?
        /// Output channels where blocks of the weight are padded; nil = what the weight has.
        public var channels: Int?

        public init(
            strides: [Int], padding: [Int], dilation: [Int], groups: Int = 1, dataLayout: String,
            kernelLayout: String, outDType: DataType? = nil, channels: Int? = nil
        ) {
            self.strides = strides
            self.padding = padding
            self.dilation = dilation
            self.groups = groups
            self.dataLayout = dataLayout
            self.kernelLayout = kernelLayout
            self.outDType = outDType
            self.channels = channels
        }

        /// The attributes that schedules read off the block.
        var attrs: Attrs {
            Attrs([
                (key: "strides", value: .ints(strides)), (key: "padding", value: .ints(padding)),
                (key: "dilation", value: .ints(dilation)), (key: "groups", value: .int(groups)),
                (key: "data_layout", value: .string(dataLayout)),
                (key: "kernel_layout", value: .string(kernelLayout)),
            ])
        }

        func check(_ n: Int, _ op: String) throws {
            try require(
                strides.count == n && dilation.count == n && padding.count == 2 * n, op,
                "\(n) strides and dilations and \(2 * n) paddings are needed")
            try require(
                strides.allSatisfy { $0 > 0 } && dilation.allSatisfy { $0 > 0 } && groups > 0, op,
                "strides, dilation and groups must be positive")
            try require(
                (strides + dilation + padding).allSatisfy { $0.magnitude <= 1 << 30 }, op,
                "a stride, dilation or padding is out of range")
        }
    }

    /// Convolution of one spatial dimension; data `NCW`, weight `OIW` unless said.
    public static func conv1d(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1], padding: [Int] = [0, 0],
        dilation: [Int] = [1],
        groups: Int = 1, dataLayout: String = "NCW", kernelLayout: String = "OIW", outDType: DataType? = nil
    ) throws -> Tensor {
        try conv(
            data, weight, spatial: 1,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups,
                dataLayout: dataLayout,
                kernelLayout: kernelLayout, outDType: outDType))
    }

    /// Convolution of two spatial dimensions; data `NCHW`, weight `OIHW` unless said (`OIHW16o` is packed).
    public static func conv2d(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1, 1], padding: [Int] = [0, 0, 0, 0],
        dilation: [Int] = [1, 1], groups: Int = 1, dataLayout: String = "NCHW", kernelLayout: String = "OIHW",
        outDType: DataType? = nil, channels: Int? = nil
    ) throws -> Tensor {
        try conv(
            data, weight, spatial: 2,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups,
                dataLayout: dataLayout,
                kernelLayout: kernelLayout, outDType: outDType, channels: channels))
    }

    /// Convolution of three spatial dimensions; data `NCDHW`, weight `OIDHW` unless said.
    public static func conv3d(
        _ data: Tensor, _ weight: Tensor, strides: [Int] = [1, 1, 1], padding: [Int] = [0, 0, 0, 0, 0, 0],
        dilation: [Int] = [1, 1, 1], groups: Int = 1, dataLayout: String = "NCDHW",
        kernelLayout: String = "OIDHW", outDType: DataType? = nil
    ) throws -> Tensor {
        try conv(
            data, weight, spatial: 3,
            ConvParameters(
                strides: strides, padding: padding, dilation: dilation, groups: groups,
                dataLayout: dataLayout,
                kernelLayout: kernelLayout, outDType: outDType))
    }

    /// Convolution of `n` spatial dimensions with any layouts of the letters N, C, O, I and the spatial
    /// ones. The padded input is a computation of its own, `data_pad`, present only where something is
    /// padded; the reduction runs over input channels (not for depthwise), then the kernel's dimensions.
    public static func conv(
        _ data: Tensor, _ weight: Tensor, spatial n: Int, _ p: ConvParameters
    ) throws -> Tensor {
        let op = "nn.conv\(n)d"
        try p.check(n, op)
        let letters = spatialLetters(n)
        let dataLayout = try Layout(p.dataLayout)
        let kernelLayout = try Layout(p.kernelLayout)
        try require(
            dataLayout.rank == data.rank && Set(dataLayout.letters) == Set(["N", "C"] + letters), op,
            "data of \(data.rank) axes is not of layout \(p.dataLayout)")
        try require(
            kernelLayout.rank == weight.rank && Set(kernelLayout.letters) == Set(["O", "I"] + letters), op,
            "a weight of \(weight.rank) axes is not of layout \(p.kernelLayout)")
        try require(
            letters.allSatisfy { !dataLayout.isBlocked($0) && !kernelLayout.isBlocked($0) }, op,
            "spatial axes cannot be blocked")
        let dataExtents = dataLayout.extents(data.shape)
        let kernelExtents = kernelLayout.extents(weight.shape)
        guard let batch = dataExtents["N"], let inChannels = dataExtents["C"], let allOut = kernelExtents["O"]
        else { internalError("layouts were checked") }
        let outChannels = p.channels.map { imm($0) } ?? allOut
        let groupIn = p.groups == 1 ? inChannels : floorDiv(inChannels, p.groups)
        let groupOut = p.groups == 1 ? outChannels : floorDiv(outChannels, p.groups)
        try checkChannels(inChannels, outChannels, kernelExtents["I"] ?? groupIn, kernelLayout, p.groups, op)
        let depthwise = p.groups > 1 && groupIn.asInt == 1

        let positions = letters.compactMap { dataLayout.position($0) }
        let begins = Array(p.padding[..<n])
        let padded = try padStage(
            data, positions: positions, before: begins, after: Array(p.padding[n...]),
            value: const(0, data.dtype),
            name: "data_pad")

        var outExtents: [Character: PrimExpr] = ["N": batch, "C": outChannels]
        var kernelAxes: [IterVar] = []
        for (k, letter) in letters.enumerated() {
            let kernel = kernelExtents[letter] ?? imm(1)
            let window = (kernel - 1) * p.dilation[k] + 1
            let room = padded.shape[positions[k]] - window
            outExtents[letter] = p.strides[k] == 1 ? room + 1 : floorDiv(room, p.strides[k]) + 1
            kernelAxes.append(reduceAxis(kernel, name: "k\(letter.lowercased())"))
        }
        let channelAxis = reduceAxis(groupIn, name: "ic")
        let reduction = depthwise ? kernelAxes : [channelAxis] + kernelAxes
        let outType = p.outDType ?? data.dtype
        let sumType = accumulator(of: outType)
        let tag = convTag(n, p, dataLayout, kernelLayout, depthwise: depthwise)

        let result = try compute(dataLayout.shape(outExtents), name: tag, tag: tag, attrs: p.attrs) { i in
            let at = dataLayout.values(i)
            let o = at["C"] ?? imm(0)
            var source: [Character: PrimExpr] = ["N": at["N"] ?? imm(0)]
            var kernel: [Character: PrimExpr] = ["O": o, "I": depthwise ? imm(0) : channelAxis.variable]
            if p.groups == 1 {
                source["C"] = channelAxis.variable
            } else {
                let group = groupOut.isOne ? o : floorDivExpr(o, groupOut)
                source["C"] = depthwise ? group : group * groupIn + channelAxis.variable
            }
            for (k, letter) in letters.enumerated() {
                let v = kernelAxes[k].variable
                source[letter] = (at[letter] ?? imm(0)) * p.strides[k] + v * p.dilation[k]
                kernel[letter] = v
            }
            let x = asType(sumType, padded[dataLayout.indices(source)])
            let w = asType(sumType, weight[kernelLayout.indices(kernel)])
            return reduceSum(x * w, reduction)
        }
        return sumType == outType ? result : try cast(result, outType)
    }

    private static func checkChannels(
        _ inChannels: PrimExpr, _ outChannels: PrimExpr, _ kernelIn: PrimExpr, _ kernelLayout: Layout,
        _ groups: Int, _ op: String
    ) throws {
        if let i = inChannels.asInt, let o = outChannels.asInt {
            try require(
                i % groups == 0 && o % groups == 0, op,
                "\(groups) groups do not divide \(i) and \(o) channels")
            if let w = kernelIn.asInt, !kernelLayout.isBlocked("I"), w != i / groups {
                throw ApusError(
                    "TOPI007", "\(op): the weight does not fit the data's channels",
                    expected: "\(i / groups)",
                    actual: "\(w)")
            }
        } else if groups != 1, inChannels.asInt == nil {
            throw ApusError("TOPI007", "\(op): groups need a known number of channels")
        }
    }

    private static func convTag(
        _ n: Int, _ p: ConvParameters, _ data: Layout, _ kernel: Layout, depthwise: Bool
    ) -> String {
        var layout = ""
        for a in data.axes { layout += a.factor == nil ? a.letter.lowercased() : "c" }
        let base = "conv\(n)d_\(layout)"
        if depthwise { return "depthwise_" + base }
        if p.groups > 1 { return "group_" + base }
        return kernel.isBlocked("O") && !data.isBlocked("C") ? base + "_pack" : base
    }
}
