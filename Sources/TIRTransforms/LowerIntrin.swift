import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private final class IntrinLowerer: StmtExprMutator {
    private let options: IntrinOptions
    private let kind: String

    init(_ options: IntrinOptions, kind: String) {
        self.options = options
        self.kind = kind
    }

    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        guard e.kind == .call else { return e }
        let c = unsafeDowncast(e, to: Call.self)
        guard let op = c.op as? Op, op.name.hasPrefix("tir."),
            let rule = IntrinRules.rule(String(op.name.dropFirst(4)), kind: kind)
        else { return e }
        guard let lowered = rule.apply(c, options) else { return e }
        // What a rule writes may use intrinsics that have a rule of their own; the default's are final.
        return rule.kind == "default" ? lowered : mutate(lowered)
    }
}

/// Replaces intrinsics by what the target computes them with, by the rules of its kind, else those of `default`: there,
/// elementary functions of float32 become arithmetic (`ElementaryFunction.all` tells their errors).
/// - Parameters:
///   - useFMA: whether the target has a fused multiply-add; without it errors grow by about one ulp.
///   - kind: the kind of target, such as `llvm`, `cuda`, `opencl`.
public func lowerIntrin(_ f: PrimFunc, useFMA: Bool = true, kind: String = "default") -> PrimFunc {
    f.rewritingBody { IntrinLowerer(IntrinOptions(useFMA: useFMA), kind: kind).mutate($0) }
}

/// The expansion of an expression, for tests and for code generators that meet single calls.
public func lowerIntrin(_ e: PrimExpr, useFMA: Bool = true, kind: String = "default") -> PrimExpr {
    IntrinLowerer(IntrinOptions(useFMA: useFMA), kind: kind).mutate(e)
}

private final class DivisionLowerer: AnalyzingMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        return DivisionLowering(analyzer: analyzer).lower(e) ?? e
    }
    override func mutate(_ s: Stmt) -> Stmt {
        if let i = s as? IfThenElse {
            let c = mutate(i.condition)
            let t = assuming(i.condition) { mutate(i.thenCase) }
            let e = i.elseCase.map { e in assuming(not(i.condition)) { mutate(e) } }
            let same = c === i.condition && t === i.thenCase && e === i.elseCase
            return same ? s : IfThenElse(c, t, e)
        }
        if let l = s as? LetStmt {
            let value = mutate(l.value)
            let body = bindingProperties(l.variable, l.value) { mutate(l.body) }
            return value === l.value && body === l.body ? s : LetStmt(l.variable, value, body)
        }
        return super.mutate(s)
    }
}

private final class DivisionExprLowerer: StmtExprMutator {
    private let lowering: DivisionLowering
    init(_ analyzer: Analyzer) { lowering = DivisionLowering(analyzer: analyzer) }
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        return lowering.lower(e) ?? e
    }
}

/// Floor division and modulo become shift and mask, plain division, or plain division with a correction, by what can be
/// proved of the signs. For code generators without floor division of their own (LLVM and C have it).
public func lowerFloorDivision(_ f: PrimFunc) -> PrimFunc {
    f.rewritingBody { DivisionLowerer(f).mutate($0) }
}

/// The lowered form of an expression, with what `analyzer` knows of its variables.
public func lowerFloorDivision(_ e: PrimExpr, _ analyzer: Analyzer) -> PrimExpr {
    DivisionExprLowerer(analyzer).mutate(e)
}

private final class FMAMatcher: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr {
        let e = mutateChildren(of: e)
        guard e.kind == .add || e.kind == .sub, e.dtype.isFloat, e.dtype.bits >= 32 else { return e }
        let s = unsafeDowncast(e, to: BinaryExpr.self)
        func fma(_ m: PrimExpr, _ c: PrimExpr) -> PrimExpr? {
            guard let m = m as? Mul else { return nil }
            return intrinsic("fma", e.dtype, [m.a, m.b, c])
        }
        if e.kind == .add { return fma(s.a, s.b) ?? fma(s.b, s.a) ?? e }
        // a * b - c; c - a * b as -a * b + c would need the negation to be exact, which it is.
        if let r = fma(s.a, s.b * const(-1, e.dtype)) { return r }
        guard let m = s.b as? Mul else { return e }
        return intrinsic("fma", e.dtype, [m.a * const(-1, e.dtype), m.b, s.a])
    }
}

/// a * b + c and a * b - c of float32 and float64 become `fma`: one rounding instead of two, so that results may differ
/// in the last place. For targets whose code generator does not contract.
public func matchFMA(_ f: PrimFunc) -> PrimFunc { f.rewritingBody { FMAMatcher().mutate($0) } }
