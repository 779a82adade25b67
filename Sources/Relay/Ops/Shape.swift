import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Operators that move elements or rename axes.

extension Ops {
    static func registerShape() {
        define(
            "reshape", "the same elements in row-major order under another shape", ["data"],
            attrs: [
                AttrField(
                    "newshape", .ints, in: -1...Limit.size,
                    doc: "0 copies the extent, -1 (once) is what is left over"),
                AttrField("allowzero", .bool, default: false, doc: "0 is an extent, not a copy"),
            ], pattern: .injective,
            canonical: { c in
                let shape = try reshaped(c)
                var known: [Int] = []
                for d in shape {
                    guard let n = d.asInt else { return c.attrs }
                    known.append(n)
                }
                var attrs = c.attrs
                if attrs.ints("newshape") != known { attrs = attrs.setting("newshape", .ints(known)) }
                // Resolved zeros must not be read as copies again.
                if known.contains(0) && attrs.bool("allowzero") != true {
                    attrs = attrs.setting("allowzero", true)
                }
                return attrs
            }
        ) { c in TensorType(try reshaped(c), try c.tensor(0).dtype) }

        define(
            "transpose", "axes in another order", ["data"],
            attrs: [
                AttrField("axes", .ints, default: AttrValue.none, doc: "source axis of each; None = reversed")
            ],
            pattern: .injective,
            canonical: { c in
                let rank = try c.tensor(0).rank
                guard let axes = c.attrs.ints("axes") else {
                    return c.attrs.setting("axes", .ints(Array((0..<rank).reversed())))
                }
                guard axes.count == rank else {
                    throw c.attributeError(
                        "axes", "of transpose must list every axis", expected: "\(rank) axes")
                }
                let resolved = try axes.map { try c.resolve($0, rank: rank, "axes") }
                guard Set(resolved).count == rank else {
                    throw c.attributeError(
                        "axes", "of transpose lists an axis twice", expected: "a permutation")
                }
                return resolved == axes ? c.attrs : c.attrs.setting("axes", .ints(resolved))
            }
        ) { c in
            let x = try c.tensor(0)
            return TensorType((c.attrs.ints("axes") ?? []).map { x.shape[$0] }, x.dtype)
        }

        define(
            "squeeze", "axes of extent 1 removed", ["data"],
            attrs: [AttrField("axis", .ints, default: AttrValue.none, doc: "which; None = all of extent 1")],
            pattern: .injective, axisRank: { c in try c.tensor(0).rank },
            canonical: { c in
                if c.attrs.ints("axis") != nil { return c.attrs }
                let x = try c.tensor(0)
                return c.attrs.setting("axis", .ints(x.shape.indices.filter { x.shape[$0].asInt == 1 }))
            }
        ) { c in
            let x = try c.tensor(0)
            let axes = c.attrs.ints("axis") ?? []
            for a in axes where x.shape[a].asInt != 1 {
                throw c.attributeError(
                    "axis", "of squeeze names an axis that is not of extent 1", expected: "1 at axis \(a)",
                    actual: "\(x.shape[a])")
            }
            return TensorType(x.shape.indices.filter { !axes.contains($0) }.map { x.shape[$0] }, x.dtype)
        }

        define(
            "expand_dims", "new axes of extent 1", ["data"],
            attrs: [
                AttrField("axis", .int, doc: "where the first is put"),
                AttrField("num_newaxis", .int, default: 1, in: 0...Relay.maximumRank, doc: "how many"),
            ], pattern: .broadcast, axisRank: { c in try c.tensor(0).rank + 1 }
        ) { c in
            let x = try c.tensor(0)
            let new = [PrimExpr](repeating: Dim.one, count: c.attrs.int("num_newaxis") ?? 1)
            return TensorType(Array(x.shape[..<c.axis]) + new + Array(x.shape[c.axis...]), x.dtype)
        }

        define(
            "reverse", "elements in reverse order along axes", ["data"],
            attrs: [AttrField("axis", .ints, doc: "the axes")], pattern: .injective,
            axisRank: { c in try c.tensor(0).rank }
        ) { c in try c.tensor(0) }

        define(
            "broadcast_to", "repeated along axes of extent 1", ["data"],
            attrs: [AttrField("shape", .ints, in: Limit.natural, doc: "of the result")], pattern: .broadcast
        ) { c in
            let x = try c.tensor(0)
            let shape: [PrimExpr] = (c.attrs.ints("shape") ?? []).map { IntImm($0) }
            guard shape.count >= x.rank else {
                throw c.attributeError(
                    "shape", "has fewer axes than the operand", expected: "at least \(x.rank)")
            }
            for (i, d) in x.shape.enumerated() {
                let wanted = shape[shape.count - x.rank + i]
                guard d.asInt == 1 || Relay.dimsEqual(d, wanted) else {
                    throw c.error(
                        "RELAY005", "an extent cannot be repeated to what is asked for", operand: 0,
                        expected: "1 or \(wanted) at axis \(i)", actual: "\(d)")
                }
            }
            return TensorType(shape, x.dtype)
        }

        define(
            "tile", "the whole repeated along each axis", ["data"],
            attrs: [AttrField("reps", .ints, in: Limit.natural, doc: "how often, aligned at the last axis")],
            pattern: .injective
        ) { c in
            let x = try c.tensor(0)
            var reps = c.attrs.ints("reps") ?? []
            guard reps.count <= Relay.maximumRank else {
                throw c.attributeError(
                    "reps", "of tile is too long", expected: "at most \(Relay.maximumRank)")
            }
            let rank = max(x.rank, reps.count)
            reps = [Int](repeating: 1, count: rank - reps.count) + reps
            let shape = [PrimExpr](repeating: Dim.one, count: rank - x.rank) + x.shape
            var result: [PrimExpr] = []
            for (d, r) in zip(shape, reps) { result.append(try Dim.mul(d, r)) }
            return TensorType(result, x.dtype)
        }

        define(
            "repeat", "each element repeated along an axis", ["data"],
            attrs: [
                AttrField("repeats", .int, in: Limit.natural, doc: "how often"),
                AttrField("axis", .int, doc: "the axis"),
            ], pattern: .injective, axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            var shape = x.shape
            shape[c.axis] = try Dim.mul(shape[c.axis], c.attrs.int("repeats") ?? 1)
            return TensorType(shape, x.dtype)
        }

        define(
            "trilu", "the lower (or upper) triangle of the last two axes, zero elsewhere", ["data"],
            attrs: [
                AttrField("k", .int, default: 0, doc: "diagonal up (down) to which elements are kept"),
                AttrField("upper", .bool, default: true, doc: "the upper triangle"),
            ], pattern: .injective
        ) { c in try c.tensor(0, rank: 2...64) }

        define(
            "nn.pad", "values put around (or, negative, cut off) each axis", ["data", "pad_value"],
            attrs: [
                AttrField("pad_width", .ints, in: Limit.any, doc: "begin and end of axis 0, of axis 1, …"),
                AttrField(
                    "pad_mode", .string, default: "constant", oneOf: ["constant", "edge", "reflect", "wrap"],
                    doc: "what is put"),
            ], pattern: .injective
        ) { c in try padded(c) }
    }

    /// The shape that `newshape` describes.
    private static func reshaped(_ c: TypeContext) throws -> [PrimExpr] {
        let x = try c.tensor(0)
        let new = c.attrs.ints("newshape") ?? []
        let literalZero = c.attrs.bool("allowzero") ?? false
        guard new.count <= Relay.maximumRank else {
            throw c.attributeError(
                "newshape", "is too long", expected: "at most \(Relay.maximumRank) extents")
        }
        var result: [PrimExpr] = []
        var inferred: Int?
        // What is not copied must be made up of the same factors on both sides.
        var left = x.shape
        var product = 1
        for (i, n) in new.enumerated() {
            guard n >= -1 else {
                throw c.attributeError("newshape", "has a negative extent", expected: "-1 or more")
            }
            if n == -1 {
                guard inferred == nil else {
                    throw c.attributeError("newshape", "has two extents to be inferred", expected: "one -1")
                }
                inferred = i
                result.append(Dim.one)
            } else if n == 0 && !literalZero {
                guard i < x.rank else {
                    throw c.attributeError(
                        "newshape", "copies an axis that is not there", expected: "0 below index \(x.rank)")
                }
                result.append(x.shape[i])
                if let at = left.firstIndex(where: { $0 === x.shape[i] || Relay.dimsEqual($0, x.shape[i]) }) {
                    left.remove(at: at)
                } else {
                    let n = try c.known(x.shape[i], "an extent copied twice", operand: 0)
                    product = try multiplied(product, n)
                }
            } else {
                result.append(IntImm(n))
                product = try multiplied(product, n)
            }
        }
        let symbols = left.filter { $0.asInt == nil }
        let number = try Dim.product(left.filter { $0.asInt != nil }).asInt ?? 0
        func mismatch() -> ApusError {
            c.attributeError(
                "newshape", "does not have as many elements as the operand", expected: "those of \(x)")
        }
        guard let inferred else {
            if symbols.isEmpty {
                guard number == product else { throw mismatch() }
            } else if number != 0 || product != 0 {
                throw c.error(
                    "RELAY008", "reshape of an extent not known yet needs a 0 or -1 for it", operand: 0,
                    expected: "0 or -1 in newshape", actual: "\(x)")
            }
            return result
        }
        guard product != 0 else {
            throw c.attributeError(
                "newshape", "leaves -1 undetermined beside an extent of 0", expected: "no -1")
        }
        if symbols.isEmpty {
            guard number % product == 0 else { throw mismatch() }
            result[inferred] = IntImm(number / product)
        } else if number % product == 0 {
            result[inferred] = try symbols.dropFirst().reduce(try Dim.mul(symbols[0], number / product)) {
                try Dim.mul($0, $1)
            }
        } else {
            let total = try symbols.reduce(IntImm(number) as PrimExpr) { try Dim.mul($0, $1) }
            result[inferred] = Dim.floorDiv(total, product)
        }
        return result
    }

    private static func multiplied(_ a: Int, _ b: Int) throws -> Int {
        let (r, o) = a.multipliedReportingOverflow(by: b)
        if o { throw ApusError("RELAY009", "the new shape is too large", actual: "\(a) * \(b)") }
        return r
    }

    private static func padded(_ c: TypeContext) throws -> IRType {
        let x = try c.tensor(0)
        let value = try c.tensor(1, rank: 0...0)
        try c.require(value, operand: 1, dtype: x.dtype, as: "data")
        let widths = try c.ints("pad_width", count: 2 * x.rank)
        let mode = c.attrs.string("pad_mode") ?? "constant"
        var shape: [PrimExpr] = []
        for (i, d) in x.shape.enumerated() {
            let begin = widths[2 * i]
            let end = widths[2 * i + 1]
            let extent = try Dim.add(d, begin + end)
            if let n = d.asInt, let m = extent.asInt {
                // Each cut alone must lie within the data as well.
                guard m >= 0, n + min(begin, 0) >= 0, n + min(end, 0) >= 0 else {
                    throw c.attributeError(
                        "pad_width", "cuts off more than there is", expected: "at most \(n) at axis \(i)")
                }
                let most = max(begin, end)
                if most > 0 && mode != "constant" && n == 0 {
                    throw c.attributeError(
                        "pad_width", "has nothing to copy from", expected: "an extent > 0 at axis \(i)")
                }
                if mode == "reflect" && most > n - 1 && most > 0 {
                    throw c.attributeError(
                        "pad_width", "reflects beyond the data", expected: "at most \(n - 1) at axis \(i)")
                }
            }
            shape.append(extent)
        }
        return TensorType(shape, x.dtype)
    }
}
