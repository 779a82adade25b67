import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Layouts, blocks of space and resampling.

extension Ops {
    static func registerImage() {
        define(
            "layout_transform", "axes cut, joined and reordered from one layout to another", ["data"],
            attrs: [
                AttrField("src_layout", .string, doc: "of data, such as NCHW"),
                AttrField("dst_layout", .string, doc: "of the result, such as NCHW16c"),
            ], pattern: .injective
        ) { c in
            let x = try c.tensor(0)
            let from = try Relay.Layout(c.attrs.string("src_layout") ?? "")
            let to = try Relay.Layout(c.attrs.string("dst_layout") ?? "")
            let order = String(from.names)
            return TensorType(try to.physical(try from.logical(x.shape, order: order), order: order), x.dtype)
        }

        let blocks = [
            AttrField("block_size", .int, in: 1...(1 << 20), doc: "extent of a block in each spatial axis"),
            AttrField(
                "layout", .string, default: "NCHW", oneOf: ["NCHW", "NHWC"], doc: "of data and result"),
        ]
        let mode = AttrField(
            "mode", .string, default: "DCR", oneOf: ["DCR", "CRD"],
            doc: "whether the channel is split as depth-column-row or column-row-depth")
        define(
            "nn.depth_to_space", "channels moved into blocks of space", ["data"], attrs: blocks + [mode],
            pattern: .injective
        ) { c in try moveBlocks(c, toSpace: true) }
        define(
            "nn.space_to_depth", "blocks of space moved into channels", ["data"], attrs: blocks,
            pattern: .injective
        ) { c in try moveBlocks(c, toSpace: false) }

        define(
            "image.resize", "resampling of 1 to 3 spatial axes (ONNX Resize)", ["data"],
            attrs: [
                AttrField("size", .ints, in: Limit.natural, doc: "spatial extents of the result"),
                AttrField(
                    "scales", .floats, default: AttrValue.none, doc: "exact scales; None = from the extents"),
                AttrField(
                    "roi", .floats, default: AttrValue.none, doc: "begins then ends, for tf_crop_and_resize"),
                AttrField("layout", .string, default: "NCHW", doc: "of data and result"),
                AttrField(
                    "method", .string, default: "linear", oneOf: ["nearest_neighbor", "linear", "cubic"],
                    doc: "interpolation"),
                AttrField(
                    "coordinate_transformation_mode", .string, default: "half_pixel",
                    oneOf: [
                        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                        "asymmetric",
                        "tf_half_pixel_for_nn", "tf_crop_and_resize",
                    ], doc: "from coordinates of the result to those of data"),
                AttrField(
                    "rounding_method", .string, default: "",
                    oneOf: ["", "round", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"],
                    doc: "of nearest_neighbor; empty = round_prefer_floor"),
                AttrField("cubic_alpha", .float, default: -0.75, doc: "coefficient of cubic interpolation"),
                AttrField("cubic_exclude", .int, default: 0, doc: "1 = weights outside the data count as 0"),
                AttrField(
                    "extrapolation_value", .float, default: 0.0, doc: "outside, for tf_crop_and_resize"),
            ], pattern: .injective
        ) { c in try resized(c) }
    }

    private static func moveBlocks(_ c: TypeContext, toSpace: Bool) throws -> IRType {
        let x = try c.tensor(0, rank: 4...4)
        let block = c.attrs.int("block_size") ?? 1
        let layout = try Relay.Layout(c.attrs.string("layout") ?? "NCHW")
        var e = try layout.logical(x.shape, order: "NCHW")
        func divided(_ d: PrimExpr, _ by: Int, _ what: String) throws -> PrimExpr {
            if let n = d.asInt, n % by != 0 {
                throw c.error(
                    "RELAY005", "\(what) does not divide into blocks", operand: 0,
                    expected: "a multiple of \(by)",
                    actual: "\(n)")
            }
            return Dim.floorDiv(d, by)
        }
        if toSpace {
            e[1] = try divided(e[1], block * block, "the number of channels")
            e[2] = try Dim.mul(e[2], block)
            e[3] = try Dim.mul(e[3], block)
        } else {
            e[1] = try Dim.mul(e[1], block * block)
            e[2] = try divided(e[2], block, "the height")
            e[3] = try divided(e[3], block, "the width")
        }
        return TensorType(try layout.physical(e, order: "NCHW"), x.dtype)
    }

    private static func resized(_ c: TypeContext) throws -> IRType {
        let x = try c.tensor(0, .numeric, rank: 3...6)
        let layout = try Relay.Layout(c.attrs.string("layout") ?? "NCHW")
        let n = layout.names.count - 2
        guard x.rank == layout.axes.count, (1...3).contains(n),
            layout.axes.allSatisfy({ $0.factor == nil || $0.name == "C" })
        else {
            throw c.attributeError(
                "layout", "does not have the operand's axes", expected: "\(x.rank) axes, none cut but C")
        }
        let order = ["NCW", "NCHW", "NCDHW"][n - 1]
        var e = try layout.logical(x.shape, order: order)
        let size = try c.ints("size", count: n)
        for (name, count) in [("scales", n), ("roi", 2 * n)] {
            guard let values = c.attrs.floats(name) else { continue }
            guard values.count == count, values.allSatisfy({ $0.isFinite }),
                name != "scales" || values.allSatisfy({ $0 > 0 })
            else {
                throw c.attributeError(
                    name, "of image.resize is not valid", expected: "\(count) positive numbers")
            }
        }
        for i in 0..<n {
            if e[2 + i].asInt == 0 && size[i] > 0 {
                throw c.error(
                    "RELAY007", "image.resize of an empty axis", operand: 0, expected: "spatial extents > 0",
                    actual: "\(x)")
            }
            e[2 + i] = IntImm(size[i])
        }
        return TensorType(try layout.physical(e, order: order), x.dtype)
    }
}
