import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Pooling over windows of 1 to 3 spatial axes, in any layout.

extension Ops {
    static func registerPooling() {
        let spatialNames = ["W", "HW", "DHW"]
        for n in 1...3 {
            let order = "NC" + spatialNames[n - 1]
            let ones = AttrValue.ints([Int](repeating: 1, count: n))
            let fields = [
                AttrField("pool_size", .ints, in: Limit.positive, doc: "extents of the window"),
                AttrField("strides", .ints, default: ones, in: Limit.positive, doc: "steps"),
                AttrField(
                    "dilation", .ints, default: ones, in: Limit.positive, doc: "distance of window elements"),
                AttrField(
                    "padding", .ints, default: .ints([Int](repeating: 0, count: 2 * n)), in: Limit.natural,
                    doc: "around the data: all begins, then all ends"),
                AttrField("layout", .string, default: .string(order), doc: "of data and result"),
                AttrField(
                    "ceil_mode", .bool, default: false, doc: "whether a last window may hang over the end"),
            ]
            define(
                "nn.max_pool\(n)d", "greatest of each window; padding never wins", ["data"], attrs: fields,
                pattern: .outEWiseFusable
            ) { c in try pool(c, n, order) }
            let count = AttrField(
                "count_include_pad", .bool, default: false, doc: "whether padding counts in the mean")
            define(
                "nn.avg_pool\(n)d", "mean of each window", ["data"], attrs: fields + [count],
                pattern: .outEWiseFusable
            ) { c in try pool(c, n, order) }
        }
        for (name, doc) in [
            ("nn.global_max_pool2d", "greatest of each channel"),
            ("nn.global_avg_pool2d", "mean of each channel"),
        ] {
            define(
                name, doc, ["data"],
                attrs: [AttrField("layout", .string, default: "NCHW", doc: "of data and result")],
                pattern: .outEWiseFusable
            ) { c in
                let x = try c.tensor(0, .numeric)
                let layout = try Relay.Layout(c.attrs.string("layout") ?? "NCHW")
                var extents = try layout.logical(x.shape, order: "NCHW")
                for i in 2...3 {
                    if extents[i].asInt == 0 {
                        throw c.error(
                            "RELAY007", "\(name) of an empty axis", operand: 0,
                            expected: "spatial extents > 0",
                            actual: "\(x)")
                    }
                    extents[i] = Dim.one
                }
                return TensorType(try layout.physical(extents, order: "NCHW"), x.dtype)
            }
        }
    }

    private static func pool(_ c: TypeContext, _ n: Int, _ order: String) throws -> IRType {
        let x = try c.tensor(0, .numeric)
        let layout = try Relay.Layout(c.attrs.string("layout") ?? order)
        var extents = try layout.logical(x.shape, order: order)
        let size = try c.ints("pool_size", count: n)
        let strides = try c.ints("strides", count: n, default: 1)
        let dilation = try c.ints("dilation", count: n, default: 1)
        let padding = try c.ints("padding", count: 2 * n, default: 0)
        for i in 0..<n {
            let (spread, overflow) = (size[i] - 1).multipliedReportingOverflow(by: dilation[i])
            guard !overflow, spread < 1 << 62 else {
                throw c.attributeError("dilation", "makes the window too large", expected: "a smaller one")
            }
            extents[2 + i] = try windowed(
                c, extents[2 + i], window: spread + 1, stride: strides[i], begin: padding[i],
                end: padding[n + i],
                ceil: c.attrs.bool("ceil_mode") ?? false)
        }
        return TensorType(try layout.physical(extents, order: order), x.dtype)
    }
}
