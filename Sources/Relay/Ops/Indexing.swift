import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Reading and writing elements at places given by attributes or by tensors of indices.

extension Ops {
    static func registerIndexing() {
        define(
            "strided_slice", "every stride-th element from begin to before end along axes", ["data"],
            attrs: [
                AttrField("begin", .ints, doc: "first element; negative counts from the end"),
                AttrField(
                    "end", .ints,
                    doc:
                        "first element left out; negative counts from the end, but with a negative stride "
                        + "any negative end means through element 0"),
                AttrField("strides", .ints, default: AttrValue.none, doc: "steps, not 0; None = 1"),
                AttrField("axes", .ints, default: AttrValue.none, doc: "the axes; None = the first ones"),
            ], pattern: .injective, canonical: sliceAttrs
        ) { c in
            let x = try c.tensor(0)
            let begin = c.attrs.ints("begin") ?? []
            let end = c.attrs.ints("end") ?? []
            let strides = c.attrs.ints("strides") ?? []
            var shape = x.shape
            for (k, axis) in (c.attrs.ints("axes") ?? []).enumerated() {
                let step = strides[k]
                if x.shape[axis].asInt == nil {
                    // The canonical form leaves only slices to the end here.
                    shape[axis] = try Dim.add(
                        Dim.floorDiv(try Dim.add(x.shape[axis], -begin[k] - 1), step), 1)
                    continue
                }
                let span = step > 0 ? end[k] - begin[k] : begin[k] - end[k]
                let size = step == .min ? Int.max : abs(step)
                shape[axis] = IntImm(span <= 0 ? 0 : (span - 1) / size + 1)
            }
            return TensorType(shape, x.dtype)
        }

        define(
            "take", "elements (without axis: of the flattened data) or slices along an axis, by index",
            ["data", "indices"],
            attrs: [
                AttrField("axis", .int, default: AttrValue.none, doc: "the axis; None = flattened"),
                AttrField(
                    "mode", .string, default: "clip", oneOf: ["clip", "wrap", "fast"],
                    doc: "what becomes of an index out of range; fast = it does not occur"),
                AttrField(
                    "batch_dims", .int, default: 0, in: 0...64, doc: "leading axes common to both operands"),
            ], pattern: .injective, axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0)
            let indices = try c.tensor(1, .integer)
            let batch = c.attrs.int("batch_dims") ?? 0
            guard let axis = c.attrs.int("axis") else {
                guard batch == 0 else {
                    throw c.attributeError("batch_dims", "of take needs `axis`", expected: "0")
                }
                return TensorType(indices.shape, x.dtype)
            }
            guard batch <= axis, batch <= indices.rank else {
                throw c.attributeError(
                    "batch_dims", "of take is too large", expected: "at most \(min(axis, indices.rank))")
            }
            for i in 0..<batch {
                try c.require(indices.shape[i], equals: x.shape[i], "batch axis \(i)", operand: 1)
            }
            return TensorType(
                Array(x.shape[..<axis]) + Array(indices.shape[batch...]) + Array(x.shape[(axis + 1)...]),
                x.dtype)
        }

        define(
            "gather", "out[i, j, …] = data[indices[i, j, …], j, …] for axis 0, and so on",
            ["data", "indices"],
            attrs: [AttrField("axis", .int, doc: "the axis")], pattern: .injective,
            axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            let indices = try c.tensor(1, .integer, rank: x.rank...x.rank)
            try fits(c, indices, into: x, axis: c.axis, operand: 1)
            return TensorType(indices.shape, x.dtype)
        }

        define(
            "gather_nd", "slices of data at the index tuples in the last axis of indices (ONNX GatherND)",
            ["data", "indices"],
            attrs: [
                AttrField("batch_dims", .int, default: 0, in: 0...64, doc: "leading axes common to both")
            ],
            pattern: .injective
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            let indices = try c.tensor(1, .integer, rank: 1...64)
            let batch = c.attrs.int("batch_dims") ?? 0
            let width = try c.known(indices.shape[indices.rank - 1], "the length of an index", operand: 1)
            guard batch < indices.rank, batch <= x.rank, width <= x.rank - batch else {
                throw c.error(
                    "RELAY005", "indices are longer than data has axes", operand: 1,
                    expected: "at most \(max(0, x.rank - batch)) with batch_dims \(batch)",
                    actual: "\(indices)")
            }
            for i in 0..<batch {
                try c.require(indices.shape[i], equals: x.shape[i], "batch axis \(i)", operand: 1)
            }
            return TensorType(indices.shape.dropLast() + Array(x.shape[(batch + width)...]), x.dtype)
        }

        let modes = ["update", "add", "mul", "min", "max"]
        define(
            "scatter_elements",
            "data with updates put (or combined) at data[indices[i, j, …], j, …] for axis 0, …",
            ["data", "indices", "updates"],
            attrs: [
                AttrField("axis", .int, default: 0, doc: "the axis"),
                AttrField("reduction", .string, default: "update", oneOf: modes, doc: "how they combine"),
            ], pattern: .opaque, axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            let indices = try c.tensor(1, .integer, rank: x.rank...x.rank)
            let updates = try c.tensor(2)
            try fits(c, indices, into: x, axis: c.axis, operand: 1)
            try c.require(updates, operand: 2, dtype: x.dtype, as: "data")
            try c.require(updates, operand: 2, shape: indices.shape)
            return x
        }

        define(
            "scatter_nd",
            "data with slices put (or combined) at the index tuples of indices (ONNX ScatterND)",
            ["data", "indices", "updates"],
            attrs: [AttrField("mode", .string, default: "update", oneOf: modes, doc: "how they combine")],
            pattern: .opaque
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            let indices = try c.tensor(1, .integer, rank: 1...64)
            let updates = try c.tensor(2)
            let width = try c.known(indices.shape[indices.rank - 1], "the length of an index", operand: 1)
            guard width <= x.rank else {
                throw c.error(
                    "RELAY005", "indices are longer than data has axes", operand: 1,
                    expected: "at most \(x.rank)",
                    actual: "\(width)")
            }
            try c.require(updates, operand: 2, dtype: x.dtype, as: "data")
            try c.require(updates, operand: 2, shape: indices.shape.dropLast() + Array(x.shape[width...]))
            return x
        }
    }

    /// Indices must not exceed the data's extents outside the axis they index.
    private static func fits(
        _ c: TypeContext, _ indices: TensorType, into x: TensorType, axis: Int, operand: Int
    ) throws {
        for i in 0..<x.rank where i != axis {
            if let m = indices.shape[i].asInt, let n = x.shape[i].asInt {
                guard m > n else { continue }
            } else if Relay.dimsEqual(indices.shape[i], x.shape[i]) {
                continue
            }
            throw c.error(
                "RELAY005", "`\(c.label(operand))` of \(c.op) exceeds the data at axis \(i)",
                operand: operand,
                expected: "at most \(x.shape[i])", actual: "\(indices.shape[i])")
        }
    }

    /// `strided_slice` in canonical form: all four lists of one length, axes from the front, begin and end
    /// within the data (for a negative stride from -1, "before element 0", to the last element).
    @Sendable private static func sliceAttrs(_ c: TypeContext) throws -> Attrs {
        let x = try c.tensor(0)
        var begin = c.attrs.ints("begin") ?? []
        let count = begin.count
        var end = try c.ints("end", count: count)
        let strides = try c.ints("strides", count: count, default: 1)
        guard count <= x.rank else {
            throw c.attributeError("begin", "of strided_slice is too long", expected: "at most \(x.rank)")
        }
        let given = c.attrs.ints("axes") ?? Array(0..<count)
        guard given.count == count else {
            throw c.attributeError("axes", "of strided_slice has the wrong length", expected: "\(count) axes")
        }
        let axes = try given.map { try c.resolve($0, rank: x.rank, "axes") }
        guard Set(axes).count == count else {
            throw c.attributeError("axes", "of strided_slice names an axis twice", expected: "different axes")
        }
        for k in 0..<count {
            guard strides[k] != 0 else {
                throw c.attributeError("strides", "of strided_slice has a 0", expected: "steps other than 0")
            }
            guard let n = x.shape[axes[k]].asInt else {
                guard strides[k] > 0, begin[k] == 0 || strides[k] == 1, begin[k] >= 0, end[k] >= 1 << 31
                else {
                    throw c.error(
                        "RELAY008", "an axis of unknown extent can only be sliced to its end", operand: 0,
                        expected: "begin >= 0 (0 for strides > 1) and end >= 2^31", actual: "\(x)")
                }
                continue
            }
            if begin[k] < 0 && !(n == 0 && begin[k] == -1) { begin[k] = max(begin[k], -n - 1) + n }
            if strides[k] > 0 {
                if end[k] < 0 { end[k] = max(end[k], -n - 1) + n }
                begin[k] = min(max(begin[k], 0), n)
                end[k] = min(max(end[k], 0), n)
            } else {
                begin[k] = min(max(begin[k], -1), n - 1)
                end[k] = min(max(end[k], -1), n - 1)
                // An empty slice has many spellings and "begin -1" would be read as the last element.
                if begin[k] < 0 {
                    begin[k] = max(n - 1, 0)
                    end[k] = begin[k]
                }
            }
        }
        var attrs = c.attrs
        for (name, value) in [("begin", begin), ("end", end), ("strides", strides), ("axes", axes)] {
            if attrs.ints(name) != value { attrs = attrs.setting(name, .ints(value)) }
        }
        return attrs
    }
}
