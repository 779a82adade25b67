import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Convolutions of 1 to 3 spatial axes and their transposes.
//
// data [N, C, spatial…], weight [O, C / groups, kernel…] (transposed: [C, O / groups, kernel…]), in any
// layout that the attributes name. Result extents: floor((x + pads - dilation * (k - 1) - 1) / stride) + 1,
// and for the transpose (x - 1) * stride - pads + dilation * (k - 1) + 1 + output_padding.

extension Ops {
    private static let spatialNames: [String] = ["W", "HW", "DHW"]

    static func registerConvolutions() {
        for n in 1...3 {
            let spatial = spatialNames[n - 1]
            define(
                "nn.conv\(n)d", "convolution over \(n) spatial axes (cross-correlation)", ["data", "weight"],
                attrs: attributes(n, kernelLayout: "OI" + spatial), pattern: .outEWiseFusable
            ) { c in try convolution(c, n) }
            var fields = attributes(n, kernelLayout: "IO" + spatial)
            fields.append(
                AttrField(
                    "output_padding", .ints, default: .ints([Int](repeating: 0, count: n)), in: Limit.natural,
                    doc: "extents added to the end of the result"))
            define(
                "nn.conv\(n)d_transpose", "transposed convolution over \(n) spatial axes",
                ["data", "weight"],
                attrs: fields, pattern: .outEWiseFusable
            ) { c in try transposed(c, n) }
        }
    }

    private static func attributes(_ n: Int, kernelLayout: String) -> [AttrField] {
        let ones = AttrValue.ints([Int](repeating: 1, count: n))
        return [
            AttrField("strides", .ints, default: ones, in: Limit.positive, doc: "steps, one a spatial axis"),
            AttrField(
                "padding", .ints, default: .ints([Int](repeating: 0, count: 2 * n)), in: Limit.natural,
                doc: "zeros around: all begins, then all ends"),
            AttrField(
                "dilation", .ints, default: ones, in: Limit.positive, doc: "distance of kernel elements"),
            AttrField("groups", .int, default: 1, in: Limit.positive, doc: "independent groups of channels"),
            AttrField(
                "channels", .int, default: AttrValue.none, in: Limit.positive, doc: "channels of the result"),
            AttrField(
                "kernel_size", .ints, default: AttrValue.none, in: Limit.positive, doc: "checked if given"),
            AttrField("data_layout", .string, default: .string("NC" + spatialNames[n - 1]), doc: "of data"),
            AttrField("kernel_layout", .string, default: .string(kernelLayout), doc: "of weight"),
            AttrField("out_layout", .string, default: "", doc: "of the result; empty = data_layout"),
            AttrField(
                "out_dtype", .dtype, default: AttrValue.none, doc: "of the result; None = that of data"),
        ]
    }

    /// Operands brought to [N, C, spatial…] and [O, I, kernel…] (or [I, O, kernel…]).
    private struct Parts {
        var data: [PrimExpr]
        var weight: [PrimExpr]
        let order: String
        let kernelLayout: Relay.Layout
        let outLayout: Relay.Layout
        let outType: DataType
        let strides: [Int]
        let padding: [Int]
        let dilation: [Int]
        let groups: Int
        let channels: Int?
        /// `dilation * (k - 1) + 1` of each axis.
        let window: [Int]
    }

    private static func parts(_ c: TypeContext, _ n: Int, kernelOrder: String) throws -> Parts {
        let x = try c.tensor(0, .numeric)
        let w = try c.tensor(1, .numeric)
        let order = "NC" + spatialNames[n - 1]
        let dataLayout = try Relay.Layout(c.attrs.string("data_layout") ?? order)
        let kernelLayout = try Relay.Layout(c.attrs.string("kernel_layout") ?? "")
        let outText = c.attrs.string("out_layout") ?? ""
        let outLayout = outText.isEmpty ? dataLayout : try Relay.Layout(outText)
        if c.attrs.dtype("out_dtype") == nil || x.dtype.isFloat {
            try c.require(w, operand: 1, dtype: x.dtype, as: "data")
        } else if w.dtype.isFloat {
            try c.require(w, operand: 1, dtype: x.dtype, as: "data")
        }
        let data = try within("operand: data") { try dataLayout.logical(x.shape, order: order) }
        let weight = try within("operand: weight") { try kernelLayout.logical(w.shape, order: kernelOrder) }
        let dilation = try c.ints("dilation", count: n, default: 1)
        let given = try c.attrs.ints("kernel_size").map { _ in try c.ints("kernel_size", count: n) }
        var window: [Int] = []
        for i in 0..<n {
            let k = try c.known(weight[2 + i], "the kernel's extent", operand: 1)
            if let given, given[i] != k {
                throw c.attributeError(
                    "kernel_size", "differs from the weight's shape", expected: "\(k) at axis \(i)")
            }
            guard k >= 1, k <= Limit.size else {
                throw c.error(
                    "RELAY007", "the kernel of \(c.op) is empty or too large", operand: 1,
                    expected: "1 to \(Limit.size)",
                    actual: "\(k)")
            }
            let (size, overflow) = (k - 1).multipliedReportingOverflow(by: dilation[i])
            guard !overflow, size < 1 << 62 else {
                throw c.attributeError("dilation", "makes the kernel too large", expected: "a smaller one")
            }
            window.append(size + 1)
        }
        return Parts(
            data: data, weight: weight, order: order, kernelLayout: kernelLayout, outLayout: outLayout,
            outType: try resultType(c, "out_dtype", default: x.dtype, .numeric),
            strides: try c.ints("strides", count: n, default: 1),
            padding: try c.ints("padding", count: 2 * n, default: 0), dilation: dilation,
            groups: c.attrs.int("groups") ?? 1, channels: c.attrs.int("channels"), window: window)
    }

    private static func checkDivides(_ c: TypeContext, _ groups: Int, _ d: PrimExpr, _ what: String) throws {
        if let n = d.asInt, n % groups != 0 {
            throw c.attributeError("groups", "does not divide \(what)", expected: "a divisor of \(n)")
        }
    }

    private static func convolution(_ c: TypeContext, _ n: Int) throws -> IRType {
        let p = try parts(c, n, kernelOrder: "OI" + spatialNames[n - 1])
        try checkDivides(c, p.groups, p.data[1], "the channels of data")
        try c.require(
            try Dim.mul(p.weight[1], p.groups), equals: p.data[1],
            "the number of input channels (weight's times groups)",
            operand: 1)
        let channels = try resultChannels(c, p, p.weight[0])
        try checkDivides(c, p.groups, channels, "the channels of the result")
        var result: [PrimExpr] = [p.data[0], channels]
        for i in 0..<n {
            result.append(
                try windowed(
                    c, p.data[2 + i], window: p.window[i], stride: p.strides[i], begin: p.padding[i],
                    end: p.padding[n + i], ceil: false))
        }
        return TensorType(
            try within("layout of the result") { try p.outLayout.physical(result, order: p.order) }, p.outType
        )
    }

    /// The weight's number of output channels, or the attribute's where a packed weight is padded to whole
    /// pieces.
    private static func resultChannels(_ c: TypeContext, _ p: Parts, _ inWeight: PrimExpr) throws -> PrimExpr
    {
        guard let channels = p.channels else { return inWeight }
        let piece = p.kernelLayout.factor(of: "O")
        let padded = (channels + piece - 1) / piece * piece
        try c.require(inWeight, equals: IntImm(padded), "the number of output channels", operand: 1)
        return IntImm(channels)
    }

    private static func transposed(_ c: TypeContext, _ n: Int) throws -> IRType {
        let p = try parts(c, n, kernelOrder: "IO" + spatialNames[n - 1])
        let extra = try c.ints("output_padding", count: n, default: 0)
        try checkDivides(c, p.groups, p.data[1], "the channels of data")
        try c.require(p.weight[0], equals: p.data[1], "the number of input channels", operand: 1)
        let channels = try Dim.mul(p.weight[1], p.groups)
        if let wanted = p.channels {
            try c.require(channels, equals: IntImm(wanted), "the number of output channels", operand: 1)
        }
        var result: [PrimExpr] = [p.data[0], channels]
        for i in 0..<n {
            if let m = p.data[2 + i].asInt, m < 1 {
                throw c.error(
                    "RELAY007", "\(c.op) of an empty axis", operand: 0, expected: "spatial extents > 0",
                    actual: "\(m)")
            }
            let spread = try Dim.mul(try Dim.add(p.data[2 + i], -1), p.strides[i])
            let extent = try Dim.add(
                try Dim.add(spread, p.window[i]), extra[i] - p.padding[i] - p.padding[n + i])
            if let m = extent.asInt, m < 0 {
                throw c.attributeError(
                    "padding", "is larger than the result", expected: "a result of extent >= 0")
            }
            result.append(extent)
        }
        return TensorType(
            try within("layout of the result") { try p.outLayout.physical(result, order: p.order) }, p.outType
        )
    }

    /// How many windows fit: `floor((x + begin + end - window) / stride) + 1`; with `ceil`, a last window may
    /// hang over the end if it starts inside the data or the padding before it (the rule of ONNX and
    /// PyTorch).
    static func windowed(
        _ c: TypeContext, _ x: PrimExpr, window: Int, stride: Int, begin: Int, end: Int, ceil: Bool
    ) throws -> PrimExpr {
        let room = try Dim.add(x, begin + end - window)
        if let r = room.asInt {
            guard r >= 0 else {
                throw c.error(
                    "RELAY007", "the window of \(c.op) is larger than the padded input", operand: 0,
                    expected: "at least \(window)", actual: "\(x) + \(begin) + \(end)")
            }
            var count = (ceil ? r / stride + (r % stride == 0 ? 0 : 1) : r / stride) + 1
            if ceil, let n = x.asInt,
                (count - 1).multipliedReportingOverflow(by: stride).partialValue >= n + begin
            {
                count -= 1
            }
            return IntImm(count)
        }
        let numerator = ceil ? try Dim.add(room, stride - 1) : room
        return try Dim.add(Dim.floorDiv(numerator, stride), 1)
    }
}
