import ApusIR
import ApusRelay
import ApusRuntime
import ApusSupport

/// Operators that work element by element, with numpy's broadcasting.
func addElementwise(_ t: inout [String: ONNXConverter]) {
    let unary: KeyValuePairs<String, String> = [
        "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Tanh": "tanh", "Sigmoid": "sigmoid", "Erf": "erf",
        "Sin": "sin",
        "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
        "Cosh": "cosh",
        "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Floor": "floor", "Ceil": "ceil",
        "Round": "round",
        "Abs": "abs", "Neg": "negative", "Sign": "sign", "Relu": "nn.relu", "Not": "logical_not",
        "BitwiseNot": "bitwise_not", "IsNaN": "isnan",
    ]
    for (name, op) in unary { t[name] = { c in [try c.call(op, [try c.x(0)])] } }
    let binary: KeyValuePairs<String, String> = [
        "Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Equal": "equal", "Less": "less",
        "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal",
        "And": "logical_and",
        "Or": "logical_or", "Xor": "logical_xor", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or",
        "BitwiseXor": "bitwise_xor",
    ]
    for (name, op) in binary { t[name] = { c in [try c.call(op, [try c.x(0), try c.x(1)])] } }
    let variadic: KeyValuePairs<String, String> = ["Max": "maximum", "Min": "minimum", "Sum": "add"]
    for (name, op) in variadic {
        t[name] = { c in
            var e = try c.x(0)
            for i in 1..<max(1, c.inputs.count) { e = try c.call(op, [e, try c.x(i)]) }
            return [e]
        }
    }
    t["Mean"] = { c in
        var e = try c.x(0)
        for i in 1..<max(1, c.inputs.count) { e = try c.add(e, try c.x(i)) }
        return [try c.mul(e, 1 / Double(max(1, c.inputs.count)))]
    }
    t["Identity"] = { c in [try c.x(0)] }
    t["Dropout"] = { c in
        let x = try c.x(0)
        if c.opset >= 12, c.optional(2) != nil {
            let training = try c.known(2)?.toDoubles().first ?? 0
            let ratio =
                try training == 0 ? 0 : c.optional(1) == nil ? 0.5 : c.known(1)?.toDoubles().first ?? 0.5
            if training != 0 && ratio != 0 {
                throw ApusError("ONNX237", "Dropout in training mode is random, and not supported")
            }
        }
        // The mask of inference keeps everything.
        let mask =
            c.node.outputs.count > 1
            ? try c.call(
                "full", [try Relay.scalar(1, .bool)],
                ["shape": .ints(try c.shape(x)), "dtype": .dtype(.bool)])
            : nil
        return [x, mask]
    }
    t["Where"] = { c in [try c.call("where", [try c.x(0), try c.x(1), try c.x(2)])] }
    t["Reciprocal"] = { c in
        let x = try c.x(0)
        return [try c.div(try c.scalar(1, try c.dtype(x)), x)]
    }
    t["Pow"] = { c in
        let x = try c.x(0)
        let type = try c.dtype(x)
        // Small constant exponents are products: exact, and fast.
        if let e = c.optional(1) as? Relay.Constant, e.data.count == 1, let v = try e.data.toDoubles().first {
            let result = try c.type(x).shape.count >= e.data.shape.count
            if result && v == 2 { return [try c.mul(x, x)] }
            if result && v == 3 { return [try c.mul(try c.mul(x, x), x)] }
            if result && v == 1 { return [x] }
            if result && v == 0.5 && type.isFloat { return [try c.call("sqrt", [x])] }
        }
        let y = try c.x(1)
        let exponent = try c.dtype(y)
        if type == exponent { return [try c.call("power", [x, y])] }
        // The result has the base's type; mixed types are computed in floating point.
        let wide: DataType = type.isFloat ? type : (exponent.isFloat ? exponent : type)
        let p = try c.call("power", [try c.cast(x, wide), try c.cast(y, wide)])
        return [try c.cast(p, type)]
    }
    t["Mod"] = { c in
        let fmod = try c.node.bool("fmod", default: false)
        return [try c.call(fmod ? "mod" : "floor_mod", [try c.x(0), try c.x(1)])]
    }
    t["BitShift"] = { c in
        let direction = try c.node.string("direction", default: "LEFT")
        guard direction == "LEFT" || direction == "RIGHT" else {
            throw ApusError("ONNX236", "direction must be LEFT or RIGHT", actual: direction)
        }
        return [try shifted(c, try c.x(0), try c.x(1), right: direction == "RIGHT")]
    }
    t["IsInf"] = { c in
        [
            try c.call(
                "isinf", [try c.x(0)],
                [
                    "detect_negative": .bool(try c.node.bool("detect_negative", default: true)),
                    "detect_positive": .bool(try c.node.bool("detect_positive", default: true)),
                ])
        ]
    }
    t["Cast"] = { c in
        guard let to = try c.node.int("to") else {
            throw ApusError("ONNX217", "Cast needs the attribute `to`")
        }
        return [try c.cast(try c.x(0), try ONNXElementType.dtype(number: to))]
    }
    t["CastLike"] = { c in [try c.cast(try c.x(0), try c.dtype(try c.x(1)))] }
    addActivations(&t)
}

private func addActivations(_ t: inout [String: ONNXConverter]) {
    t["Clip"] = { c in
        let x = try c.x(0)
        let type = try c.dtype(x)
        if c.opset < 11 {
            let low = Double(try c.node.float("min", default: -.greatestFiniteMagnitude))
            let high = Double(try c.node.float("max", default: .greatestFiniteMagnitude))
            return [try c.call("clip", [x], ["a_min": .float(low), "a_max": .float(high)])]
        }
        func scalarValue(_ i: Int) throws -> Double? {
            guard let e = c.optional(i) as? Relay.Constant, e.data.count == 1 else { return nil }
            return try e.data.toDoubles().first
        }
        let low = try scalarValue(1)
        let high = try scalarValue(2)
        if type.isFloat, low != nil || c.optional(1) == nil, high != nil || c.optional(2) == nil {
            return [
                try c.call(
                    "clip", [x], ["a_min": .float(low ?? -.infinity), "a_max": .float(high ?? .infinity)])
            ]
        }
        var e = x
        if let m = c.optional(1) { e = try c.call("maximum", [e, m]) }
        if let m = c.optional(2) { e = try c.call("minimum", [e, m]) }
        return [e]
    }
    t["LeakyRelu"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 0.01))
        return [try c.call("where", [try negative(c, x), try c.mul(x, alpha), x])]
    }
    t["PRelu"] = { c in
        let x = try c.x(0)
        return [try c.call("where", [try negative(c, x), try c.mul(x, try c.x(1)), x])]
    }
    t["Elu"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1))
        return [try c.call("where", [try negative(c, x), try c.mul(try expMinusOne(c, x), alpha), x])]
    }
    t["Selu"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1.67326319217681884765625))
        let gamma = Double(try c.node.float("gamma", default: 1.05070102214813232421875))
        let e = try c.call("where", [try notPositive(c, x), try c.mul(try expMinusOne(c, x), alpha), x])
        return [try c.mul(e, gamma)]
    }
    t["Celu"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1))
        let e = try c.mul(try expMinusOne(c, try c.mul(x, 1 / alpha)), alpha)
        return [try c.call("where", [try negative(c, x), e, x])]
    }
    t["HardSigmoid"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 0.2))
        let beta = Double(try c.node.float("beta", default: 0.5))
        return [try c.call("clip", [try c.add(try c.mul(x, alpha), beta)], ["a_min": 0.0, "a_max": 1.0])]
    }
    t["HardSwish"] = { c in
        let x = try c.x(0)
        let gate = try c.call("clip", [try c.add(try c.mul(x, 1.0 / 6), 0.5)], ["a_min": 0.0, "a_max": 1.0])
        return [try c.mul(x, gate)]
    }
    t["Softplus"] = { c in [try softplus(c, try c.x(0))] }
    t["Mish"] = { c in
        let x = try c.x(0)
        return [try c.mul(x, try c.call("tanh", [try softplus(c, x)]))]
    }
    t["Swish"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1))
        return [try c.mul(x, try c.call("sigmoid", [alpha == 1 ? x : try c.mul(x, alpha)]))]
    }
    t["Softsign"] = { c in
        let x = try c.x(0)
        return [try c.div(x, try c.add(try c.call("abs", [x]), 1))]
    }
    t["ThresholdedRelu"] = { c in
        let x = try c.x(0)
        let type = try c.dtype(x)
        let alpha = Double(try c.node.float("alpha", default: 1))
        let above = try c.call("greater", [x, try c.scalar(alpha, type)])
        return [try c.call("where", [above, x, try c.scalar(0, type)])]
    }
    t["Shrink"] = { c in
        let x = try c.x(0)
        let type = try c.dtype(x)
        let bias = Double(try c.node.float("bias", default: 0))
        let lambda = Double(try c.node.float("lambd", default: 0.5))
        let low = try c.call("less", [x, try c.scalar(-lambda, type)])
        let high = try c.call("greater", [x, try c.scalar(lambda, type)])
        let right = try c.call("where", [high, try c.add(x, -bias), try c.scalar(0, type)])
        return [try c.call("where", [low, try c.add(x, bias), right])]
    }
    t["Gelu"] = { c in
        let x = try c.x(0)
        let inner: RelayExpr
        if try c.node.string("approximate", default: "none") == "tanh" {
            let cube = try c.mul(try c.mul(try c.mul(x, x), x), 0.044715)
            inner = try c.call("tanh", [try c.mul(try c.add(x, cube), 0.7978845608028654)])
        } else {
            return [try c.call("nn.gelu", [x])]
        }
        return [try c.mul(try c.mul(x, 0.5), try c.add(inner, 1))]
    }
    t["QuickGelu"] = { c in
        let x = try c.x(0)
        let alpha = Double(try c.node.float("alpha", default: 1.702))
        return [try c.mul(x, try c.call("sigmoid", [try c.mul(x, alpha)]))]
    }
    t["FastGelu"] = { c in
        var x = try c.x(0)
        if let bias = c.optional(1) { x = try c.add(x, bias) }
        let cube = try c.mul(try c.mul(try c.mul(x, x), x), 0.044715)
        let inner = try c.call("tanh", [try c.mul(try c.add(x, cube), 0.7978845608028654)])
        return [try c.mul(try c.mul(x, 0.5), try c.add(inner, 1))]
    }
}

/// Shifts by any amount: one that is negative or too large leaves nothing but the sign of a right shift.
private func shifted(_ c: NodeContext, _ x: RelayExpr, _ y: RelayExpr, right: Bool) throws -> RelayExpr {
    let type = try c.dtype(x)
    let op = right ? "right_shift" : "left_shift"
    let bits = Double(type.bits)
    if let known = y as? Relay.Constant, known.data.count <= 4096,
        try known.data.toDoubles().allSatisfy({ $0 >= 0 && $0 < bits })
    {
        return try c.call(op, [x, y])
    }
    let zero = try c.scalar(0, type)
    var good = try c.call("less", [y, try c.scalar(bits, type)])
    if !type.isUInt { good = try c.call("logical_and", [good, try c.call("greater_equal", [y, zero])]) }
    if right && !type.isUInt {
        return try c.call(op, [x, try c.choose(good, y, try c.scalar(bits - 1, type))])
    }
    return try c.choose(good, try c.call(op, [x, try c.choose(good, y, zero)]), zero)
}

private func negative(_ c: NodeContext, _ x: RelayExpr) throws -> RelayExpr {
    try c.call("less", [x, try c.scalar(0, try c.dtype(x))])
}

private func notPositive(_ c: NodeContext, _ x: RelayExpr) throws -> RelayExpr {
    try c.call("less_equal", [x, try c.scalar(0, try c.dtype(x))])
}

/// exp(min(x, 0)) - 1: the other side of the choice must not overflow.
private func expMinusOne(_ c: NodeContext, _ x: RelayExpr) throws -> RelayExpr {
    try c.add(try c.call("exp", [try c.call("minimum", [x, try c.scalar(0, try c.dtype(x))])]), -1)
}

/// max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
func softplus(_ c: NodeContext, _ x: RelayExpr) throws -> RelayExpr {
    let tail = try c.call("exp", [try c.call("negative", [try c.call("abs", [x])])])
    return try c.add(try c.call("nn.relu", [x]), try c.call("log", [try c.add(tail, 1)]))
}
