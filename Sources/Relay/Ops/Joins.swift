import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Joining tensors and taking them apart.

extension Ops {
    static func registerJoins() {
        define(
            "concatenate", "tensors one after another along an axis", ["data"],
            attrs: [AttrField("axis", .int, doc: "the axis")], pattern: .injective,
            axisRank: { c in try c.tensors(0)[0].rank }
        ) { c in
            let all = try c.tensors(0)
            let first = all[0]
            var shape = first.shape
            for (k, t) in all.enumerated().dropFirst() {
                try sameForm(c, first, t, k)
                for i in 0..<first.rank where i != c.axis {
                    guard Relay.dimsEqual(t.shape[i], first.shape[i]) else {
                        throw c.error(
                            "RELAY005", "tensor \(k) to concatenate differs in axis \(i)", operand: 0,
                            expected: "\(first.shape[i])", actual: "\(t.shape[i])")
                    }
                }
                shape[c.axis] = try Dim.add(shape[c.axis], t.shape[c.axis])
            }
            return TensorType(shape, first.dtype)
        }

        define(
            "stack", "tensors of one shape along a new axis", ["data"],
            attrs: [AttrField("axis", .int, doc: "where the new axis is put")], pattern: .injective,
            axisRank: { c in try c.tensors(0)[0].rank + 1 }
        ) { c in
            let all = try c.tensors(0)
            for (k, t) in all.enumerated().dropFirst() {
                try sameForm(c, all[0], t, k)
                try c.require(t, operand: 0, shape: all[0].shape)
            }
            var shape = all[0].shape
            shape.insert(IntImm(all.count), at: c.axis)
            return TensorType(shape, all[0].dtype)
        }

        define(
            "split", "consecutive parts along an axis, cut at the given places", ["data"],
            attrs: [
                AttrField("indices_or_sections", .ints, in: Limit.natural, doc: "places to cut, ascending"),
                AttrField("axis", .int, default: 0, doc: "the axis"),
            ], pattern: .injective, axisRank: { c in try c.tensor(0).rank }
        ) { c in
            let x = try c.tensor(0, rank: 1...64)
            let points = c.attrs.ints("indices_or_sections") ?? []
            let extent = x.shape[c.axis]
            if !points.isEmpty { _ = try c.known(extent, "the extent that is cut", operand: 0) }
            var parts: [IRType] = []
            var start = 0
            for p in points {
                guard p >= start, p <= extent.asInt ?? 0 else {
                    throw c.attributeError(
                        "indices_or_sections", "of split is no ascending list of places in the axis",
                        expected: "0 to \(extent)")
                }
                var shape = x.shape
                shape[c.axis] = IntImm(p - start)
                parts.append(TensorType(shape, x.dtype))
                start = p
            }
            var shape = x.shape
            shape[c.axis] = try Dim.add(extent, -start)
            parts.append(TensorType(shape, x.dtype))
            return TupleType(parts)
        }
    }

    private static func sameForm(_ c: TypeContext, _ first: TensorType, _ t: TensorType, _ k: Int) throws {
        guard t.dtype == first.dtype else {
            throw c.error(
                "RELAY003", "tensor \(k) of \(c.op) has another element type than the first", operand: 0,
                expected: "\(first.dtype)", actual: "\(t.dtype)")
        }
        guard t.rank == first.rank else {
            throw c.error(
                "RELAY004", "tensor \(k) of \(c.op) has another rank than the first", operand: 0,
                expected: "rank \(first.rank)", actual: "\(t)")
        }
    }
}
