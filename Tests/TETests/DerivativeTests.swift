import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

private func value(_ e: PrimExpr, _ variables: [Var: TIRArgument]) throws -> Double {
    guard case .float(let v) = try TIRInterpreter.evaluate(e, variables) else {
        throw ApusError("TEST", "no float")
    }
    return v
}

/// Domains in which each function is smooth.
private let unaryTable: [(name: String, low: Double, high: Double)] = {
    var t: [(name: String, low: Double, high: Double)] = []
    func add(_ names: [String], _ low: Double, _ high: Double) {
        for n in names { t.append((name: n, low: low, high: high)) }
    }
    add(["exp", "exp2", "exp10", "expm1", "tanh", "sigmoid", "erf", "gelu", "sin", "cos", "atan"], -1.5, 1.5)
    add(["sinh", "cosh", "asinh"], -1.5, 1.5)
    add(["log", "log2", "log10", "sqrt", "rsqrt"], 0.3, 3)
    add(["log1p", "tan", "asin", "acos", "atanh"], -0.8, 0.8)
    add(["acosh"], 1.2, 3)
    add(["fabs"], 0.2, 1)
    add(["fabs"], -1, -0.2)
    add(["floor", "ceil", "trunc", "nearbyint", "round"], 0.1, 0.4)
    return t
}()

@Suite struct DerivativeTests {
    /// First and second derivatives against central differences.
    private func check(_ e: PrimExpr, _ x: Var, at points: [Double]) throws {
        let first = try derivative(e, x)
        let second = try derivative(first, x)
        for p in points {
            let h = 1e-5
            func central(_ e: PrimExpr) throws -> Double {
                (try value(e, [x: .float(p + h)]) - value(e, [x: .float(p - h)])) / (2 * h)
            }
            let a = try value(first, [x: .float(p)])
            let b = try value(second, [x: .float(p)])
            let (p1, p2) = (try central(e), try central(first))
            #expect(abs(a - p1) <= 1e-6 * max(1, abs(p1)), "\(e) at \(p): \(a), \(p1)")
            #expect(abs(b - p2) <= 1e-6 * max(1, abs(p2)), "second of \(e) at \(p): \(b), \(p2)")
        }
    }

    @Test func everyUnaryFunction() throws {
        #expect(Set(unaryTable.map(\.name)) == Set(Intrinsics.unaryFloat))
        let x = Var("x", dtype: .float64)
        for (name, low, high) in unaryTable { try check(unary(name, x), x, at: numbers(6, 3, low, high)) }
    }

    @Test func everyBinaryFunctionByBothArguments() throws {
        let x = Var("x", dtype: .float64)
        for name in Intrinsics.binaryFloat where name != "nextafter" {
            let c = const(name == "copysign" ? -1.7 : 1.7, .float64)
            func call(_ a: PrimExpr, _ b: PrimExpr) -> PrimExpr { intrinsic(name, .float64, [a, b]) }
            try check(call(x, c), x, at: numbers(4, 5, 0.3, 1.4))
            if name == "ldexp" { continue }
            try check(call(c, x), x, at: numbers(4, 6, 0.9, 1.6))
        }
    }

    @Test func everyOperator() throws {
        let x = Var("x", dtype: .float64)
        let c = const(0.7, .float64)
        let points = numbers(5, 9, 0.2, 0.6)
        let expressions: [PrimExpr] = [
            x + c, x - c, c - x, x * x * c, c / x, x / (x + c), maximum(x, c * x), minimum(x * x, c),
            select(x .> c, x * x, x * c), ifThenElse(x .< c, exp(x), x), -x,
            intrinsic("fma", .float64, [x, x, c]), intrinsic("likely", .float64, [x * x]), cast(.float64, x),
            binary(.floorMod, x, const(0.1, .float64)), binary(.mod, c, x * const(3.0, .float64)),
        ]
        for e in expressions.dropLast(2) { try check(e, x, at: points) }
        for e in expressions.suffix(2) { try check(e, x, at: [0.233, 0.34]) }
        let v = Var("v", dtype: .float64)
        try check(Let(v, x * x, v * exp(v)), x, at: points)
    }

    @Test func constantsAndOtherVariables() throws {
        let x = Var("x")
        let y = Var("y", dtype: .float32)
        #expect(try derivative(const(3.0, .float32), y).isZero)
        // Steps have derivative 0, and what does not depend on the variable may be anything.
        #expect(try derivative(cast(.float32, cast(.int32, y)), y).isZero)
        #expect(try derivative(intrinsic("call_pure_extern", .float32, [StringImm("f")]), y).isZero)
        #expect(throws: ApusError.self) { try derivative(y, x) }
        #expect(throws: ApusError.self) { try derivative(x, y) }
        let error = #expect(throws: ApusError.self) {
            try derivative(intrinsic("call_pure_extern", .float32, [StringImm("f"), y]), y)
        }
        #expect(error?.code == "TE100")
    }

    @Test func reductions() throws {
        let x = Var("x", dtype: .float64)
        let k = reduceAxis(4)
        let e = x * x + cast(.float64, k.variable) * x
        for r in [reduceSum(e, [k]), reduceProd(e, [k]), reduceMax(e, [k]), reduceMin(e, [k])] {
            try check(r, x, at: [0.4, 1.3])
        }
    }

    @Test func textOfDerivatives() throws {
        let x = Var("x", dtype: .float32)
        #expect(try derivative(x * x, x).description == "x + x")
        #expect(try derivative(exp(x * x), x).description == "T.exp(x * x) * (x + x)")
    }
}
