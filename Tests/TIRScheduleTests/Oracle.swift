import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import Glibc

/// A second, tiny evaluator of scheduled functions, written only from the meaning of blocks. Memory starts as
/// NaN, so that an element read before it is written shows in the result; parallel and vectorized loops run
/// backwards, so that a dependency between their iterations shows as well; any access out of bounds is an
/// error.
final class Oracle {
    enum Value {
        case int(Int)
        case float(Double)
        var int: Int { if case .int(let v) = self { return v } else { return 0 } }
        var double: Double {
            switch self {
            case .int(let v): return Double(v)
            case .float(let v): return v
            }
        }
    }
    final class Store {
        var data: [Double]
        let shape: [Int]
        init(_ shape: [Int], fill: Double = .nan) {
            self.shape = shape
            data = [Double](repeating: fill, count: shape.reduce(1, *))
        }
    }

    var memory: [ObjectIdentifier: Store] = [:]
    var env: [ObjectIdentifier: Int] = [:]
    /// What a view shows: elements of another buffer, from these indices on.
    var views: [ObjectIdentifier: (source: Buffer, starts: [Int])] = [:]
    var lets: [ObjectIdentifier: Value] = [:]
    var errors: [String] = []

    /// The contents of all parameter buffers after a run on inputs drawn from `seed` (small integers).
    static func run(_ f: PrimFunc, seed: UInt64, scalars: [String: Int] = [:]) -> (
        values: [[Double]], errors: [String]
    ) {
        let o = Oracle()
        var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
        func next() -> Double {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Double(Int(state % 9)) - 4
        }
        for p in f.params where f.buffer(of: p) == nil { o.env[ObjectIdentifier(p)] = scalars[p.name] ?? 0 }
        let written = writtenBuffers(f.body)
        for (_, b) in f.bufferMap {
            let s = Store(b.shape.map { o.eval($0).int })
            if !written.contains(ObjectIdentifier(b)) { for i in s.data.indices { s.data[i] = next() } }
            o.memory[ObjectIdentifier(b)] = s
        }
        o.exec(f.body)
        return (f.bufferMap.compactMap { o.memory[ObjectIdentifier($0.buffer)]?.data }, o.errors)
    }

    private static func writtenBuffers(_ s: Stmt) -> Set<ObjectIdentifier> {
        var result: Set<ObjectIdentifier> = []
        postOrderVisit(
            s, stmt: { if let w = $0 as? BufferStore { result.insert(ObjectIdentifier(w.buffer)) } })
        return result
    }

    private func element(_ b: Buffer, _ indices: [PrimExpr]) -> (Store, Int)? {
        element(b, indices.map { eval($0).int })
    }

    private func element(_ b: Buffer, _ indices: [Int]) -> (Store, Int)? {
        if let (source, starts) = views[ObjectIdentifier(b)] {
            // As many indices as the source has: views of lower rank are for the interpreter.
            return element(source, zip(indices, starts).map(+))
        }
        guard let s = memory[ObjectIdentifier(b)] else {
            errors.append("\(b.name) is not allocated here")
            return nil
        }
        var at = 0
        for (i, v) in indices.enumerated() {
            if v < 0 || v >= s.shape[i] {
                errors.append("\(b.name) index \(i) = \(v) is outside 0..<\(s.shape[i])")
                return nil
            }
            at = at * s.shape[i] + v
        }
        return (s, at)
    }

    func eval(_ e: PrimExpr) -> Value {
        switch e {
        case let x as IntImm: return .int(x.value)
        case let x as FloatImm: return .float(x.value)
        case let x as Var:
            if let v = env[ObjectIdentifier(x)] { return .int(v) }
            if let v = lets[ObjectIdentifier(x)] { return v }
            errors.append("variable \(x.name) has no value")
            return .int(0)
        case let x as BufferLoad:
            guard let (s, at) = element(x.buffer, x.indices) else { return .float(.nan) }
            return x.buffer.dtype.isFloat ? .float(s.data[at]) : .int(s.data[at].isNaN ? 0 : Int(s.data[at]))
        case let x as And: return eval(x.a).int != 0 ? eval(x.b) : .int(0)
        case let x as Or: return eval(x.a).int != 0 ? .int(1) : eval(x.b)
        case let x as Not: return .int(eval(x.a).int == 0 ? 1 : 0)
        case let x as Select: return eval(x.condition).int != 0 ? eval(x.trueValue) : eval(x.falseValue)
        case let x as Cast:
            let v = eval(x.value)
            return x.dtype.isFloat ? .float(v.double) : .int(Int(v.double))
        case let x as BinaryExpr: return binaryValue(x.kind, eval(x.a), eval(x.b))
        case let x as Call:
            switch x.name {
            case "tir.if_then_else": return eval(x.args[0]).int != 0 ? eval(x.args[1]) : eval(x.args[2])
            case "tir.exp": return .float(Glibc.exp(eval(x.args[0]).double))
            case "tir.likely": return eval(x.args[0])
            default:
                errors.append("no evaluation of \(x.name)")
                return .int(0)
            }
        default:
            errors.append("no evaluation of \(e.schema.key)")
            return .int(0)
        }
    }

    private func binaryValue(_ k: PrimExprKind, _ a: Value, _ b: Value) -> Value {
        if case .int(let x) = a, case .int(let y) = b {
            switch k {
            case .add: return .int(x + y)
            case .sub: return .int(x - y)
            case .mul: return .int(x * y)
            case .floorDiv: return .int(floorDivide(x, y) ?? 0)
            case .floorMod: return .int(floorModulo(x, y) ?? 0)
            case .min: return .int(Swift.min(x, y))
            case .max: return .int(Swift.max(x, y))
            case .lt: return .int(x < y ? 1 : 0)
            case .le: return .int(x <= y ? 1 : 0)
            case .gt: return .int(x > y ? 1 : 0)
            case .ge: return .int(x >= y ? 1 : 0)
            case .eq: return .int(x == y ? 1 : 0)
            case .ne: return .int(x != y ? 1 : 0)
            default: break
            }
        }
        let x = a.double
        let y = b.double
        switch k {
        case .add: return .float(x + y)
        case .sub: return .float(x - y)
        case .mul: return .float(x * y)
        case .div: return .float(x / y)
        case .min: return .float(x.isNaN || y.isNaN ? .nan : Swift.min(x, y))
        case .max: return .float(x.isNaN || y.isNaN ? .nan : Swift.max(x, y))
        case .lt: return .int(x < y ? 1 : 0)
        case .gt: return .int(x > y ? 1 : 0)
        case .eq: return .int(x == y ? 1 : 0)
        default:
            errors.append("no evaluation of \(k)")
            return .float(.nan)
        }
    }

    func exec(_ s: Stmt) {
        if errors.count > 4 { return }
        switch s {
        case let x as SeqStmt: for c in x.stmts { exec(c) }
        case let x as For:
            let lo = eval(x.min).int
            let n = eval(x.extent).int
            let backwards = x.forKind == .parallel || x.forKind == .vectorized || x.forKind == .threadBinding
            for i in 0..<Swift.max(n, 0) {
                env[ObjectIdentifier(x.loopVar)] = lo + (backwards ? n - 1 - i : i)
                exec(x.body)
            }
            env[ObjectIdentifier(x.loopVar)] = nil
        case let x as BlockRealize:
            if eval(x.predicate).int == 0 { return }
            // Read before bound: a value may not refer to the block's own variables.
            let values = x.iterValues.map { eval($0).int }
            var first = true
            for (v, n) in zip(x.block.iterVars, values) {
                let lo = eval(v.dom.min).int
                if n < lo || n >= lo + eval(v.dom.extent).int {
                    errors.append("\(x.block.name): \(v.variable.name) = \(n) is outside its domain")
                    return
                }
                if v.iterType == .commReduce && n != lo { first = false }
                env[ObjectIdentifier(v.variable)] = n
            }
            for b in x.block.allocBuffers {
                memory[ObjectIdentifier(b)] = Store(b.shape.map { eval($0).int })
            }
            for m in x.block.matchBuffers {
                let starts = m.source.region.map { eval($0.min).int }
                views[ObjectIdentifier(m.buffer)] = (m.source.buffer, starts)
            }
            if first, let i = x.block.initial { exec(i) }
            exec(x.block.body)
        case let x as BufferStore:
            let v = eval(x.value).double
            if let (s, at) = element(x.buffer, x.indices) { s.data[at] = v }
        case let x as IfThenElse:
            if eval(x.condition).int != 0 { exec(x.thenCase) } else if let e = x.elseCase { exec(e) }
        case let x as LetStmt:
            lets[ObjectIdentifier(x.variable)] = eval(x.value)
            exec(x.body)
            lets[ObjectIdentifier(x.variable)] = nil
        case is Evaluate: break
        default: errors.append("no execution of \(s.schema.key)")
        }
    }
}

/// nil if both functions compute the same results; otherwise what differs.
func difference(_ before: PrimFunc, _ after: PrimFunc, seed: UInt64 = 7, scalars: [String: Int] = [:])
    -> String?
{
    let a = Oracle.run(before, seed: seed, scalars: scalars)
    let b = Oracle.run(after, seed: seed, scalars: scalars)
    if !a.errors.isEmpty { return "before: " + a.errors.joined(separator: "; ") }
    if !b.errors.isEmpty { return "after: " + b.errors.joined(separator: "; ") }
    if a.values.count != b.values.count { return "another number of parameters" }
    for (n, (x, y)) in zip(a.values, b.values).enumerated() {
        if x.count != y.count { return "parameter \(n) has another size" }
        for i in x.indices {
            // Written by neither, or equal but for the order of summation (double arithmetic throughout).
            if x[i].isNaN && y[i].isNaN { continue }
            if !(abs(x[i] - y[i]) <= 1e-9 * Swift.max(1, abs(x[i]))) {
                return "parameter \(n) element \(i): \(x[i]) became \(y[i])"
            }
        }
    }
    return nil
}

/// As `difference`, by the reference interpreter of the loop IR on float32 tensors of small integers.
func interpreterDifference(_ before: PrimFunc, _ after: PrimFunc, seed: UInt64 = 7) throws -> String? {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
    var first: [NDArray] = []
    var second: [NDArray] = []
    for (_, b) in before.bufferMap {
        if b.dtype == .index {
            first.append(NDArray(shape: b.staticShape ?? [], dtype: .index))
            second.append(NDArray(shape: b.staticShape ?? [], dtype: .index))
            continue
        }
        var values = [Float](repeating: 0, count: (b.staticShape ?? []).reduce(1, *))
        for i in values.indices {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            values[i] = Float(Int(state % 9)) - 4
        }
        first.append(NDArray(values, shape: b.staticShape ?? []))
        second.append(NDArray(values, shape: b.staticShape ?? []))
    }
    try TIRInterpreter.run(before, first)
    try TIRInterpreter.run(after, second)
    for (n, (a, b)) in zip(first, second).enumerated() {
        let x = try a.toDoubles()
        let y = try b.toDoubles()
        // Another order of summation of a handful of float32 values.
        for i in x.indices where !(abs(x[i] - y[i]) <= 2e-6 * Swift.max(1, abs(x[i]))) {
            return "parameter \(n) element \(i): \(x[i]) became \(y[i])"
        }
    }
    return nil
}
