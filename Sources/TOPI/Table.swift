import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// The computation of every operator of the graph IR, by name.
    public static let table: [String: Compute] = {
        var t: [String: Compute] = [:]
        addElementwise(&t)
        addBroadcast(&t)
        addReductions(&t)
        addNN(&t)
        addAttention(&t)
        addTransforms(&t)
        addIndexing(&t)
        return t
    }()

    /// The computation of the operator `name`; TOPI020 where there is none.
    public static func results(
        of name: String, _ attrs: Attrs, _ inputs: [Tensor], _ outType: IRType
    ) throws -> [Tensor] {
        guard let f = table[name] else {
            throw ApusError("TOPI020", "no computation is known for the operator `\(name)`")
        }
        return try within("operator: \(name)") { try f(attrs, inputs, outType) }
    }

    /// The operand `n`; TOPI021 where the call has fewer.
    static func operand(_ inputs: [Tensor], _ n: Int) throws -> Tensor {
        guard n < inputs.count else {
            throw ApusError(
                "TOPI021", "an operand is missing", expected: "\(n + 1)", actual: "\(inputs.count)")
        }
        return inputs[n]
    }

    /// The shape of result `n`, or nil where the type does not say.
    static func resultShape(_ type: IRType, _ n: Int = 0) -> [PrimExpr]? {
        if let t = type as? TensorType { return n == 0 ? t.shape : nil }
        guard let tuple = type as? TupleType, n < tuple.fields.count else { return nil }
        return (tuple.fields[n] as? TensorType)?.shape
    }

    private static func knownShape(_ type: IRType, _ op: String) throws -> [PrimExpr] {
        guard let shape = resultShape(type) else {
            throw ApusError("TOPI022", "\(op): the type of the result is needed", actual: "\(type)")
        }
        return shape
    }

    private static func addUnary(
        _ t: inout [String: Compute], _ name: String, _ f: @escaping @Sendable (Tensor) throws -> Tensor
    ) { t[name] = { _, x, _ in [try f(try operand(x, 0))] } }

    private static func addBinary(
        _ t: inout [String: Compute], _ name: String,
        _ f: @escaping @Sendable (Tensor, Tensor) throws -> Tensor
    ) { t[name] = { _, x, _ in [try f(try operand(x, 0), try operand(x, 1))] } }

    private static func addElementwise(_ t: inout [String: Compute]) {
        addUnary(&t, "exp") { try exp($0) }
        addUnary(&t, "log") { try log($0) }
        addUnary(&t, "log2") { try log2($0) }
        addUnary(&t, "log10") { try log10($0) }
        addUnary(&t, "log1p") { try log1p($0) }
        addUnary(&t, "expm1") { try expm1($0) }
        addUnary(&t, "sqrt") { try sqrt($0) }
        addUnary(&t, "rsqrt") { try rsqrt($0) }
        addUnary(&t, "tanh") { try tanh($0) }
        addUnary(&t, "sigmoid") { try sigmoid($0) }
        addUnary(&t, "erf") { try erf($0) }
        addUnary(&t, "nn.gelu") { try gelu($0) }
        addUnary(&t, "sin") { try sin($0) }
        addUnary(&t, "cos") { try cos($0) }
        addUnary(&t, "tan") { try tan($0) }
        addUnary(&t, "asin") { try asin($0) }
        addUnary(&t, "acos") { try acos($0) }
        addUnary(&t, "atan") { try atan($0) }
        addUnary(&t, "sinh") { try sinh($0) }
        addUnary(&t, "cosh") { try cosh($0) }
        addUnary(&t, "asinh") { try asinh($0) }
        addUnary(&t, "acosh") { try acosh($0) }
        addUnary(&t, "atanh") { try atanh($0) }
        addUnary(&t, "floor") { try floor($0) }
        addUnary(&t, "ceil") { try ceil($0) }
        addUnary(&t, "round") { try round($0) }
        addUnary(&t, "trunc") { try trunc($0) }
        addUnary(&t, "abs") { try abs($0) }
        addUnary(&t, "negative") { try negative($0) }
        addUnary(&t, "sign") { try sign($0) }
        addUnary(&t, "nn.relu") { try relu($0) }
        addUnary(&t, "copy") { try copy($0) }
        addUnary(&t, "logical_not") { try logicalNot($0) }
        addUnary(&t, "bitwise_not") { try bitwiseNot($0) }
        addUnary(&t, "isnan") { try isNaN($0) }
        addUnary(&t, "isfinite") { try isFinite($0) }
        t["isinf"] = { a, x, _ in
            [
                try isInf(
                    try operand(x, 0), negative: a.bool("detect_negative") ?? true,
                    positive: a.bool("detect_positive") ?? true)
            ]
        }
        t["clip"] = { a, x, _ in
            [
                try clip(
                    try operand(x, 0), lower: a.float("a_min") ?? -.infinity,
                    upper: a.float("a_max") ?? .infinity)
            ]
        }
        t["cast"] = { a, x, _ in
            let v = try operand(x, 0)
            return [try cast(v, a.dtype("dtype") ?? v.dtype)]
        }
    }

    private static func addBroadcast(_ t: inout [String: Compute]) {
        addBinary(&t, "add") { try add($0, $1) }
        addBinary(&t, "subtract") { try subtract($0, $1) }
        addBinary(&t, "multiply") { try multiply($0, $1) }
        addBinary(&t, "divide") { try divide($0, $1) }
        addBinary(&t, "floor_divide") { try floorDivide($0, $1) }
        addBinary(&t, "mod") { try mod($0, $1) }
        addBinary(&t, "floor_mod") { try floorModulo($0, $1) }
        addBinary(&t, "power") { try power($0, $1) }
        addBinary(&t, "maximum") { try maximum($0, $1) }
        addBinary(&t, "minimum") { try minimum($0, $1) }
        addBinary(&t, "bitwise_and") { try bitwiseAnd($0, $1) }
        addBinary(&t, "bitwise_or") { try bitwiseOr($0, $1) }
        addBinary(&t, "bitwise_xor") { try bitwiseXor($0, $1) }
        addBinary(&t, "left_shift") { try leftShift($0, $1) }
        addBinary(&t, "right_shift") { try rightShift($0, $1) }
        addBinary(&t, "equal") { try equal($0, $1) }
        addBinary(&t, "not_equal") { try notEqual($0, $1) }
        addBinary(&t, "less") { try less($0, $1) }
        addBinary(&t, "less_equal") { try lessEqual($0, $1) }
        addBinary(&t, "greater") { try greater($0, $1) }
        addBinary(&t, "greater_equal") { try greaterEqual($0, $1) }
        addBinary(&t, "logical_and") { try logicalAnd($0, $1) }
        addBinary(&t, "logical_or") { try logicalOr($0, $1) }
        addBinary(&t, "logical_xor") { try logicalXor($0, $1) }
        t["where"] = { _, x, _ in [try `where`(try operand(x, 0), try operand(x, 1), try operand(x, 2))] }
        t["broadcast_to"] = { a, x, type in
            let shape = resultShape(type) ?? (a.ints("shape") ?? []).map { imm($0) }
            return [try broadcastTo(try operand(x, 0), shape)]
        }
    }

    private static func addReduction(
        _ t: inout [String: Compute], _ name: String,
        _ f: @escaping @Sendable (Tensor, [Int], Bool, Attrs) throws -> Tensor
    ) {
        t[name] = { a, x, _ in
            let v = try operand(x, 0)
            let axes = try reductionAxes(v, a.ints("axis"), exclude: a.bool("exclude") ?? false, name)
            return [try f(v, axes, a.bool("keepdims") ?? false, a)]
        }
    }

    private static func addReductions(_ t: inout [String: Compute]) {
        addReduction(&t, "sum") { x, a, k, _ in try sum(x, axes: a, keepdims: k) }
        addReduction(&t, "prod") { x, a, k, _ in try prod(x, axes: a, keepdims: k) }
        addReduction(&t, "max") { x, a, k, _ in try max(x, axes: a, keepdims: k) }
        addReduction(&t, "min") { x, a, k, _ in try min(x, axes: a, keepdims: k) }
        addReduction(&t, "mean") { x, a, k, _ in try mean(x, axes: a, keepdims: k) }
        addReduction(&t, "all") { x, a, k, _ in try all(x, axes: a, keepdims: k) }
        addReduction(&t, "any") { x, a, k, _ in try any(x, axes: a, keepdims: k) }
        addReduction(&t, "argmax") { x, a, k, attrs in
            try argmax(x, axes: a, keepdims: k, selectLast: attrs.bool("select_last_index") ?? false)
        }
        addReduction(&t, "argmin") { x, a, k, attrs in
            try argmin(x, axes: a, keepdims: k, selectLast: attrs.bool("select_last_index") ?? false)
        }
    }

    private static func addTransforms(_ t: inout [String: Compute]) {
        t["reshape"] = { _, x, type in [try reshape(try operand(x, 0), try knownShape(type, "reshape"))] }
        t["transpose"] = { a, x, _ in [try transpose(try operand(x, 0), axes: a.ints("axes"))] }
        t["squeeze"] = { a, x, _ in [try squeeze(try operand(x, 0), axes: a.ints("axis"))] }
        t["expand_dims"] = { a, x, _ in
            [try expandDims(try operand(x, 0), axis: a.int("axis") ?? 0, count: a.int("num_newaxis") ?? 1)]
        }
        t["concatenate"] = { a, x, _ in [try concatenate(x, axis: a.int("axis") ?? 0)] }
        t["stack"] = { a, x, _ in [try stack(x, axis: a.int("axis") ?? 0)] }
        t["split"] = { a, x, _ in
            try split(try operand(x, 0), at: a.ints("indices_or_sections") ?? [], axis: a.int("axis") ?? 0)
        }
        t["strided_slice"] = { a, x, type in
            [
                try stridedSlice(
                    try operand(x, 0), begin: a.ints("begin") ?? [], end: a.ints("end") ?? [],
                    strides: a.ints("strides"), axes: a.ints("axes"), shape: resultShape(type))
            ]
        }
        t["full"] = { a, x, type in
            let shape = resultShape(type) ?? (a.ints("shape") ?? []).map { imm($0) }
            return [try full(try operand(x, 0), shape: shape, dtype: a.dtype("dtype"))]
        }
        t["tile"] = { a, x, _ in [try tile(try operand(x, 0), reps: a.ints("reps") ?? [])] }
        t["repeat"] = { a, x, _ in
            [try `repeat`(try operand(x, 0), repeats: a.int("repeats") ?? 1, axis: a.int("axis") ?? 0)]
        }
        t["reverse"] = { a, x, _ in [try reverse(try operand(x, 0), axes: a.ints("axis") ?? [])] }
        t["arange"] = { a, x, type in
            let start = try operand(x, 0)
            let count = try knownShape(type, "arange").first ?? imm(0)
            return [
                try arange(
                    start: start, step: try operand(x, 2), count: count,
                    dtype: a.dtype("dtype") ?? start.dtype)
            ]
        }
        t["shape_of"] = { a, x, _ in [try shapeOf(try operand(x, 0), dtype: a.dtype("dtype") ?? .int64)] }
        t["trilu"] = { a, x, _ in
            [try trilu(try operand(x, 0), k: a.int("k") ?? 0, upper: a.bool("upper") ?? true)]
        }
        t["layout_transform"] = { a, x, type in
            [
                try layoutTransform(
                    try operand(x, 0), from: a.string("src_layout") ?? "", to: a.string("dst_layout") ?? "",
                    shape: resultShape(type))
            ]
        }
        t["image.resize"] = { a, x, _ in [try resize(try operand(x, 0), resizeParameters(a))] }
    }

    private static func resizeParameters(_ a: Attrs) -> ResizeParameters {
        var p = ResizeParameters(size: a.ints("size") ?? [])
        if let v = a.floats("scales"), !v.isEmpty { p.scales = v }
        if let v = a.floats("roi"), !v.isEmpty { p.roi = v }
        p.layout = a.string("layout") ?? "NCHW"
        p.method = a.string("method") ?? "linear"
        p.coordinateMode = a.string("coordinate_transformation_mode") ?? "half_pixel"
        p.rounding = a.string("rounding_method") ?? ""
        p.cubicAlpha = a.float("cubic_alpha") ?? -0.75
        p.cubicExclude = a.int("cubic_exclude") ?? 0 != 0
        p.extrapolation = a.float("extrapolation_value") ?? 0
        return p
    }

    private static func addIndexing(_ t: inout [String: Compute]) {
        t["take"] = { a, x, _ in
            guard let mode = TakeMode(rawValue: a.string("mode") ?? "clip") else {
                throw ApusError("TOPI002", "take: unknown mode", actual: a.string("mode"))
            }
            return [
                try take(
                    try operand(x, 0), try operand(x, 1), axis: a.int("axis"), mode: mode,
                    batchDims: a.int("batch_dims") ?? 0)
            ]
        }
        t["gather"] = { a, x, _ in
            [try gather(try operand(x, 0), try operand(x, 1), axis: a.int("axis") ?? 0)]
        }
        t["gather_nd"] = { a, x, _ in
            [try gatherND(try operand(x, 0), try operand(x, 1), batchDims: a.int("batch_dims") ?? 0)]
        }
        t["scatter_elements"] = { a, x, _ in
            [
                try scatterElements(
                    try operand(x, 0), try operand(x, 1), try operand(x, 2), axis: a.int("axis") ?? 0,
                    mode: try scatterMode(a.string("reduction")))
            ]
        }
        t["scatter_nd"] = { a, x, _ in
            [
                try scatterND(
                    try operand(x, 0), try operand(x, 1), try operand(x, 2),
                    mode: try scatterMode(a.string("mode")))
            ]
        }
        t["one_hot"] = { a, x, _ in
            [
                try oneHot(
                    try operand(x, 0), on: try operand(x, 1), off: try operand(x, 2),
                    depth: a.int("depth") ?? 0,
                    axis: a.int("axis") ?? -1, dtype: a.dtype("dtype"))
            ]
        }
        t["cumsum"] = { a, x, _ in
            [
                try cumsum(
                    try operand(x, 0), axis: a.int("axis") ?? 0, exclusive: a.bool("exclusive") ?? false,
                    reverse: a.bool("reverse") ?? false)
            ]
        }
        t["topk"] = { a, x, _ in
            let r = try topK(
                try operand(x, 0), k: a.int("k") ?? 1, axis: a.int("axis") ?? -1,
                ascending: a.bool("is_ascend") ?? false, indexType: a.dtype("dtype") ?? .int64)
            switch a.string("ret_type") ?? "both" {
            case "values": return [r.values]
            case "indices": return [r.indices]
            default: return [r.values, r.indices]
            }
        }
    }

    private static func scatterMode(_ text: String?) throws -> ScatterMode {
        guard let mode = ScatterMode(rawValue: text ?? "update") else {
            throw ApusError("TOPI002", "scatter: unknown reduction", actual: text)
        }
        return mode
    }
}
