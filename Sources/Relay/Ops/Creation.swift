import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

// Tensors from attributes and scalars.

extension Ops {
    static func registerCreation() {
        let dtype = AttrField(
            "dtype", .dtype, default: AttrValue.none, doc: "of the result; None = of the operand")
        define(
            "full", "one value everywhere", ["fill_value"],
            attrs: [AttrField("shape", .ints, in: Limit.natural, doc: "of the result"), dtype],
            pattern: .elemWise
        ) { c in
            let fill = try c.tensor(0, rank: 0...0)
            let type = try resultType(c, default: fill.dtype)
            return TensorType(c.attrs.ints("shape") ?? [], type)
        }

        define(
            "one_hot", "on_value where the new axis equals the index, else off_value",
            ["indices", "on_value", "off_value"],
            attrs: [
                AttrField("depth", .int, in: Limit.natural, doc: "extent of the new axis"),
                AttrField("axis", .int, default: -1, doc: "where the new axis is put"), dtype,
            ], pattern: .injective, axisRank: { c in try c.tensor(0).rank + 1 }
        ) { c in
            let indices = try c.tensor(0, .integer)
            let on = try c.tensor(1, rank: 0...0)
            let off = try c.tensor(2, rank: 0...0)
            try c.require(off, operand: 2, dtype: on.dtype, as: "on_value")
            let type = try resultType(c, default: on.dtype)
            try c.require(on, operand: 1, dtype: type, as: "the attribute `dtype`")
            var shape = indices.shape
            shape.insert(IntImm(c.attrs.int("depth") ?? 0), at: c.axis)
            return TensorType(shape, type)
        }

        define(
            "shape_of", "the extents of data as a vector", ["data"],
            attrs: [AttrField("dtype", .dtype, default: .dtype(.int64), doc: "of the result")],
            pattern: .opaque
        ) { c in
            let x = try c.tensor(0)
            return TensorType([x.rank], try resultType(c, default: .int64, .integer))
        }

        let arange = Op.register(
            "arange", doc: "start, start + step, … before stop; the operands must be constants",
            args: ["start", "stop", "step"], attrs: [dtype])
        arange.setting(Relay.opPattern, OpPattern.opaque)
        arange.setting(
            Relay.valueRelation,
            { (args: [RelayExpr], attrs: Attrs) throws -> IRType in
                let c = TypeContext(
                    op: "arange", argNames: ["start", "stop", "step"], types: args.map(\.checkedType),
                    attrs: attrs)
                return try arangeType(c, args)
            })
    }

    private static func arangeType(_ c: TypeContext, _ args: [RelayExpr]) throws -> IRType {
        let type = try c.tensor(0, .numeric, rank: 0...0)
        var whole: [Int] = []
        var real: [Double] = []
        for i in 0..<3 {
            let t = try c.tensor(i, .numeric, rank: 0...0)
            try c.require(t, operand: i, dtype: type.dtype, as: "start")
            guard let constant = args[i] as? Relay.Constant, let value = try constant.data.toDoubles().first
            else {
                throw c.error(
                    "RELAY008", "`\(c.label(i))` of arange must be a constant", operand: i,
                    expected: "a constant",
                    actual: "\(t)")
            }
            real.append(value)
            // Exact beyond 2^53; unsigned bit patterns above the signed range are refused by the check below.
            whole.append(
                type.dtype.bits == 64 ? constant.data.data.load(as: Int.self) : Int(exactly: value) ?? 0)
        }
        func failure() -> ApusError {
            c.error(
                "RELAY006", "arange with these operands has no length",
                expected: "a step other than 0 and finite numbers",
                actual: "\(real[0]), \(real[1]), \(real[2])")
        }
        var count = 0
        if type.dtype.isInteger {
            let (span, o1) = whole[1].subtractingReportingOverflow(whole[0])
            guard !o1, whole[2] != 0, whole[2] != .min, span != .min,
                type.dtype != .uint64 || whole.allSatisfy({ $0 >= 0 })
            else { throw failure() }
            let step = abs(whole[2])
            let forward = whole[2] > 0 ? span : -span
            count = forward <= 0 ? 0 : (forward - 1) / step + 1
        } else {
            let n = ((real[1] - real[0]) / real[2]).rounded(.up)
            guard n.isFinite, n <= Double(Limit.size) else { throw failure() }
            count = max(0, Int(n))
        }
        return TensorType([count], try resultType(c, default: type.dtype, .numeric))
    }
}
