import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR

extension HybridFunction {
    /// Runs the function as it is written, statement by statement, without compiling it: slow, and the reference for what
    /// compiled code computes. Loops of every kind run in order.
    ///
    /// - Parameter arguments: arrays of bool, int8 to int64, uint8 to uint32, float32 or float64, and numbers.
    /// - Returns: the output tensors. Throws TE055 to TE069 as compiling does, TE070 for what happens only when it runs: an
    ///   index out of range, a division by zero, a failed assertion, more than `maximumSteps` statements.
    public func emulate(_ arguments: [any HybridEmulated], maximumSteps: Int = 10_000_000) throws -> [NDArray]
    {
        try withLargeStack {
            let evaluator = HybridEvaluator(module, maximumSteps)
            return try evaluator.run(definition, try arguments.map { try HybridEvaluator.value($0) })
        }
    }
}

/// What a hybrid function can be emulated with.
public protocol HybridEmulated {}
extension NDArray: HybridEmulated {}
extension Int: HybridEmulated {}
extension Double: HybridEmulated {}

/// Interprets the syntax tree. It shares no code with the compiler but the tables of names.
private final class HybridEvaluator {
    enum Number {
        case int(Int)
        case float(Double)
        var double: Double {
            switch self {
            case .int(let n): return Double(n)
            case .float(let x): return x
            }
        }
    }
    final class Memory {
        let shape: [Int]
        let dtype: DataType
        var data: [Number]
        init(_ shape: [Int], _ dtype: DataType) {
            self.shape = shape
            self.dtype = dtype
            data = Array(repeating: dtype.isFloat ? .float(.nan) : .int(-1), count: shape.reduce(1, *))
        }
    }
    indirect enum Value {
        /// A number without (nil) or with a type.
        case number(Number, DataType?)
        case memory(Memory, [Int])
        case tuple([Value])
        case string(String)
    }
    private struct Stop: Error {}

    let module: HybridModule
    private var steps: Int
    private var scopes: [[String: Value]] = []
    private var multiple: Set<String> = []
    private var result: Value?

    init(_ module: HybridModule, _ steps: Int) {
        self.module = module
        self.steps = steps
    }

    private func fail(_ message: String, _ span: Span) -> ApusError {
        ApusError(
            "TE070", message, at: ["\(span)"], notes: [module.source.excerpt(span)].filter { !$0.isEmpty })
    }

    static func value(_ a: any HybridEmulated) throws -> Value {
        switch a {
        case let n as Int: return .number(.int(n), nil)
        case let x as Double: return .number(.float(x), nil)
        case let array as NDArray:
            let m = Memory(array.shape, array.dtype)
            let doubles = try array.toDoubles()
            if array.dtype.isFloat {
                m.data = doubles.map { .float($0) }
            } else if array.dtype == .int64 {
                m.data = try array.toArray(Int64.self).map { .int(Int($0)) }
            } else {
                m.data = doubles.map { .int(Int($0)) }
            }
            return .memory(m, [])
        default: throw ApusError("TE070", "an argument that cannot be emulated")
        }
    }

    func run(_ d: HybridDefinition, _ arguments: [Value]) throws -> [NDArray] {
        guard case let r = try call(d, arguments), let list = HybridEvaluator.list(r) else {
            throw fail("the function returns no tensor", d.span)
        }
        return try list.map { v in
            guard case .memory(let m, _) = v else { throw fail("the function returns no tensor", d.span) }
            return try HybridEvaluator.array(m)
        }
    }

    private static func list(_ v: Value) -> [Value]? {
        if case .tuple(let l) = v { return l }
        return [v]
    }

    private static func array(_ m: Memory) throws -> NDArray {
        func typed<T: NDArrayElement>(_ convert: (Number) -> T) -> NDArray {
            NDArray(m.data.map(convert), shape: m.shape)
        }
        func int(_ n: Number) -> Int { if case .int(let v) = n { v } else { 0 } }
        switch m.dtype {
        case .float32: return typed { Float($0.double) }
        case .float64: return typed { $0.double }
        case .int8: return typed { Int8(truncatingIfNeeded: int($0)) }
        case .int16: return typed { Int16(truncatingIfNeeded: int($0)) }
        case .int32: return typed { Int32(truncatingIfNeeded: int($0)) }
        case .int64: return typed { Int64(int($0)) }
        case .uint8: return typed { UInt8(truncatingIfNeeded: int($0)) }
        case .uint16: return typed { UInt16(truncatingIfNeeded: int($0)) }
        case .uint32: return typed { UInt32(truncatingIfNeeded: int($0)) }
        default: throw ApusError("TE070", "no array of type \(m.dtype) can be emulated")
        }
    }

    // MARK: Functions

    private func call(_ d: HybridDefinition, _ arguments: [Value]) throws -> Value {
        let (outer, outerMultiple, outerResult) = (scopes, multiple, result)
        defer { (scopes, multiple, result) = (outer, outerMultiple, outerResult) }
        scopes = [Dictionary(uniqueKeysWithValues: zip(d.parameters, arguments))]
        multiple = Set(HybridCompiler.assignments(d).filter { $0.value > 1 }.keys)
        result = nil
        try run(d.body)
        return result ?? .tuple([])
    }

    private func run(_ list: [HybridStmt]) throws { for s in list { try run(s) } }

    private func scoped(_ body: () throws -> Void) rethrows {
        scopes.append([:])
        defer { scopes.removeLast() }
        try body()
    }

    private func run(_ s: HybridStmt) throws {
        steps -= 1
        if steps < 0 { throw fail("the step limit is reached", s.span) }
        switch s.kind {
        case .pass: return
        case .assign(let t, let v): try assign(t, try value(v, naming: t), s.span)
        case .augment(let t, let op, let v):
            try assign(t, try arithmetic(op, try value(t), try value(v), s.span), s.span)
        case .loop(let name, let kind, let arguments, let body):
            var bounds: [Int] = []
            for a in arguments {
                let v = try value(a)
                if case .string = v { continue }
                bounds.append(try int(v, a.span))
            }
            let start = bounds.count > 1 ? bounds[0] : 0
            let stop = bounds.count > 1 ? bounds[1] : bounds.first ?? 0
            for i in stride(from: start, to: stop, by: bounds.count > 2 ? bounds[2] : 1) {
                try scoped {
                    scopes[scopes.count - 1][name] = .number(.int(i), kind == "const_range" ? nil : .int64)
                    try scoped { try run(body) }
                }
            }
        case .branch(let condition, let yes, let no):
            let c = try value(condition)
            // Decided without data: the branch is part of the block around it.
            if case .number(_, nil) = c { return try run(try truth(c, condition.span) ? yes : no) }
            let branch = try truth(c, condition.span) ? yes : no
            try scoped { try run(branch) }
        case .repeated(let condition, let body):
            while try truth(try value(condition), condition.span) { try scoped { try run(body) } }
        case .assert(let condition, let message):
            if try !truth(try value(condition), condition.span) { throw fail(message, s.span) }
        case .evaluate(let e): if case .call = e.kind { _ = try value(e) }
        case .result(let list):
            let values = try list.map { try value($0) }
            result = values.count == 1 ? values[0] : .tuple(values)
        }
    }

    private func assign(_ target: HybridExpr, _ v: Value, _ span: Span) throws {
        switch target.kind {
        case .tuple(let targets):
            guard case .tuple(let values) = v, values.count == targets.count else {
                throw fail("not as many values", span)
            }
            for (t, x) in zip(targets, values) { try assign(t, x, span) }
        case .subscripted:
            guard case .memory(let m, let indices) = try place(target) else { throw fail("no element", span) }
            m.data[try offset(m, indices, span)] = try stored(v, m.dtype, span)
        case .name(let n):
            for i in scopes.indices.reversed() {
                guard case .memory(let m, _)? = scopes[i][n], m.shape.isEmpty else { continue }
                m.data[0] = try stored(v, m.dtype, span)
                return
            }
            if case .number(let number, let type) = v, multiple.contains(n) {
                // A variable has the type of its first value.
                var dtype = type ?? .int64
                if type == nil, case .float = number { dtype = .float32 }
                let m = Memory([], dtype)
                m.data[0] = HybridEvaluator.rounded(number, dtype)
                scopes[scopes.count - 1][n] = .memory(m, [])
            } else {
                scopes[scopes.count - 1][n] = v
            }
        default: throw fail("no target", span)
        }
    }

    // MARK: Numbers

    /// A number as `dtype` holds it: floats rounded, integers wrapped.
    private static func rounded(_ n: Number, _ dtype: DataType) -> Number {
        switch n {
        case .float(let x):
            if dtype == .float32 { return .float(Double(Float(x))) }
            if dtype.isFloat { return n }
            if dtype.isBool { return .int(x != 0 ? 1 : 0) }
            return rounded(.int(Int(exactly: x.rounded(.towardZero)) ?? 0), dtype)
        case .int(let v):
            if dtype.isFloat { return rounded(.float(Double(v)), dtype) }
            if dtype.isBool { return .int(v != 0 ? 1 : 0) }
            switch (dtype.isUInt, Int(dtype.bits)) {
            case (false, 8): return .int(Int(Int8(truncatingIfNeeded: v)))
            case (false, 16): return .int(Int(Int16(truncatingIfNeeded: v)))
            case (false, 32): return .int(Int(Int32(truncatingIfNeeded: v)))
            case (true, 8): return .int(Int(UInt8(truncatingIfNeeded: v)))
            case (true, 16): return .int(Int(UInt16(truncatingIfNeeded: v)))
            case (true, 32): return .int(Int(UInt32(truncatingIfNeeded: v)))
            default: return n
            }
        }
    }

    private func stored(_ v: Value, _ dtype: DataType, _ span: Span) throws -> Number {
        HybridEvaluator.rounded(try number(v, span).0, dtype)
    }

    private func number(_ v: Value, _ span: Span) throws -> (Number, DataType?) {
        switch v {
        case .number(let n, let t): return (n, t)
        case .memory(let m, let indices): return (m.data[try offset(m, indices, span)], m.dtype)
        default: throw fail("no number", span)
        }
    }

    private func int(_ v: Value, _ span: Span) throws -> Int {
        guard case .int(let n) = try number(v, span).0 else { throw fail("no integer", span) }
        return n
    }

    private func truth(_ v: Value, _ span: Span) throws -> Bool { try number(v, span).0.double != 0 }

    private func offset(_ m: Memory, _ indices: [Int], _ span: Span) throws -> Int {
        guard indices.count == m.shape.count else { throw fail("a tensor where a number is needed", span) }
        var at = 0
        for (i, d) in zip(indices, m.shape) {
            guard i >= 0, i < d else { throw fail("index \(i) is out of range 0..<\(d)", span) }
            at = at * d + i
        }
        return at
    }

    /// The common type of two operands; a number without a type takes the other's.
    private func common(_ a: (Number, DataType?), _ b: (Number, DataType?)) -> DataType? {
        func beside(_ literal: Number, _ t: DataType) -> DataType {
            if case .float = literal { return t.isFloat ? t : .float32 }
            return t.isBool ? .int64 : t
        }
        switch (a.1, b.1) {
        case (nil, nil): return nil
        case (let t?, nil): return beside(b.0, t)
        case (nil, let t?): return beside(a.0, t)
        case (let s?, let t?): return s.isBool && t.isBool ? .int64 : promoted(s, t)
        }
    }

    private func arithmetic(_ op: String, _ a: Value, _ b: Value, _ span: Span) throws -> Value {
        let x = try number(a, span)
        let y = try number(b, span)
        let type = common(x, y)
        if ["&", "|", "^"].contains(op), x.1?.isBool == true, y.1?.isBool == true {
            let (p, q) = (x.0.double != 0, y.0.double != 0)
            return .number(.int((op == "&" ? p && q : op == "|" ? p || q : p != q) ? 1 : 0), .bool)
        }
        let left = type.map { HybridEvaluator.rounded(x.0, $0) } ?? x.0
        let right = type.map { HybridEvaluator.rounded(y.0, $0) } ?? y.0
        func made(_ n: Number) -> Value { .number(type.map { HybridEvaluator.rounded(n, $0) } ?? n, type) }
        if case .int(let p) = left, case .int(let q) = right, op != "/" || type != nil {
            switch op {
            case "+": return made(.int(p &+ q))
            case "-": return made(.int(p &- q))
            case "*": return made(.int(p &* q))
            case "//", "%":
                guard q != 0 else { throw fail("division by zero", span) }
                let r = q == -1 ? 0 : p % q
                let floor = r != 0 && (r < 0) != (q < 0)
                if op == "%" { return made(.int(floor ? r + q : r)) }
                return made(.int(q == -1 ? 0 &- p : p / q - (floor ? 1 : 0)))
            case "&": return made(.int(p & q))
            case "|": return made(.int(p | q))
            case "^": return made(.int(p ^ q))
            case "<<": return made(.int(p << q))
            case ">>": return made(.int(p >> q))
            case "**": return made(.int((0..<Swift.max(q, 0)).reduce(1) { r, _ in r &* p }))
            default: throw fail("`\(op)` of two integers", span)
            }
        }
        let (p, q) = (left.double, right.double)
        let round = { (x: Double) in type.map { HybridEvaluator.rounded(.float(x), $0).double } ?? x }
        switch op {
        case "+": return made(.float(p + q))
        case "-": return made(.float(p - q))
        case "*": return made(.float(p * q))
        case "/": return made(.float(p / q))
        case "//": return made(.float(round(p / q).rounded(.down)))
        case "%": return made(.float(p - round(round(p / q).rounded(.down) * q)))
        case "**": return try math("pow", [a, b], span)
        default: throw fail("`\(op)` of floats", span)
        }
    }

    private func compare(_ op: String, _ a: Value, _ b: Value, _ span: Span) throws -> Value {
        let x = try number(a, span)
        let y = try number(b, span)
        let type = common(x, y)
        let left = type.map { HybridEvaluator.rounded(x.0, $0) } ?? x.0
        let right = type.map { HybridEvaluator.rounded(y.0, $0) } ?? y.0
        func holds<T: Comparable>(_ p: T, _ q: T) -> Bool {
            switch op {
            case "<": return p < q
            case "<=": return p <= q
            case ">": return p > q
            case ">=": return p >= q
            case "==": return p == q
            default: return p != q
            }
        }
        let result: Bool
        if case .int(let p) = left, case .int(let q) = right {
            result = holds(p, q)
        } else {
            result = holds(left.double, right.double)
        }
        return .number(.int(result ? 1 : 0), type == nil ? nil : .bool)
    }

    // MARK: Expressions

    private func place(_ e: HybridExpr) throws -> Value {
        guard case .subscripted(let base, let list) = e.kind else { return try value(e) }
        let of = try place(base)
        let indices = try list.map { try int(try value($0), $0.span) }
        switch of {
        case .tuple(let values):
            guard values.indices.contains(indices[0]) else { throw fail("no such element", e.span) }
            return values[indices[0]]
        case .memory(let m, let before): return .memory(m, before + indices)
        default: throw fail("no elements", e.span)
        }
    }

    private func value(_ e: HybridExpr, naming: HybridExpr? = nil) throws -> Value {
        switch e.kind {
        case .int(let n): return .number(.int(n), nil)
        case .float(let x): return .number(.float(x), nil)
        case .bool(let b): return .number(.int(b ? 1 : 0), nil)
        case .string(let s): return .string(s)
        case .tuple(let list): return .tuple(try list.map { try value($0) })
        case .name(let n):
            for s in scopes.reversed() {
                guard let v = s[n] else { continue }
                // A variable is what it holds now.
                if case .memory(let m, _) = v, m.shape.isEmpty { return .number(m.data[0], m.dtype) }
                return v
            }
            switch module.constants[n] {
            case let v as Int: return .number(.int(v), nil)
            case let v as Double: return .number(.float(v), nil)
            default: throw fail("`\(n)` has no value", e.span)
            }
        case .attribute(let base, let n):
            guard case .memory(let m, _) = try value(base) else { throw fail("no attribute", e.span) }
            return n == "shape" ? .tuple(m.shape.map { .number(.int($0), nil) }) : .string("\(m.dtype)")
        case .subscripted:
            let v = try place(e)
            if case .memory(let m, let indices) = v, indices.count == m.shape.count {
                return .number(m.data[try offset(m, indices, e.span)], m.dtype)
            }
            return v
        case .call(let callee, let arguments):
            return try call(HybridParser.lastName(callee) ?? "", arguments, e.span)
        case .unary("not", let a):
            let v = try value(a)
            return .number(.int(try truth(v, e.span) ? 0 : 1), try number(v, e.span).1 == nil ? nil : .bool)
        case .unary("-", let a):
            let v = try value(a)
            // As a product for floats: the sign of 0.
            if case .float = try number(v, e.span).0 {
                return try arithmetic("*", v, .number(.int(-1), nil), e.span)
            }
            return try arithmetic("-", .number(.int(0), nil), v, e.span)
        case .unary("~", let a): return try arithmetic("^", try value(a), .number(.int(-1), nil), e.span)
        case .unary(_, let a): return try value(a)
        case .binary(let op, let a, let b):
            guard op == "and" || op == "or" else {
                return try arithmetic(op, try value(a), try value(b), e.span)
            }
            let left = try value(a)
            if try truth(left, a.span) == (op == "or") {
                return .number(.int(op == "or" ? 1 : 0), try number(left, a.span).1 == nil ? nil : .bool)
            }
            let right = try value(b)
            return .number(
                .int(try truth(right, b.span) ? 1 : 0), try number(right, b.span).1 == nil ? nil : .bool)
        case .compare(let operands, let operators):
            var left = try value(operands[0])
            var type: DataType?
            for (op, o) in zip(operators, operands.dropFirst()) {
                let right = try value(o)
                let r = try compare(op, left, right, e.span)
                if try number(r, e.span).1 != nil { type = .bool }
                if try !truth(r, e.span) { return .number(.int(0), type) }
                left = right
            }
            return .number(.int(1), type)
        case .conditional(let condition, let yes, let no):
            let c = try value(condition)
            if case .number(_, nil) = c { return try value(try truth(c, e.span) ? yes : no) }
            return try value(try truth(c, e.span) ? yes : no)
        }
    }

    private func call(_ name: String, _ arguments: [HybridExpr], _ span: Span) throws -> Value {
        if let d = module.definitions.first(where: { $0.name == name }) {
            steps -= 1
            if steps < 0 || scopes.count > 10_000 { throw fail("the step limit is reached", span) }
            return try call(d, try arguments.map { try value($0) })
        }
        if name == "if_then_else" || name == "select", arguments.count == 3 {
            return try value(try truth(try value(arguments[0]), span) ? arguments[1] : arguments[2])
        }
        let values = try arguments.map { try value($0) }
        func dims(_ v: Value) throws -> [Int] {
            try (HybridEvaluator.list(v) ?? []).map { try int($0, span) }
        }
        func type(_ i: Int) -> DataType {
            if values.indices.contains(i), case .string(let s) = values[i], let t = DataType(s) { return t }
            return .float32
        }
        switch name {
        case "output_tensor", "allocate":
            let shape = try dims(values[0])
            guard shape.allSatisfy({ $0 >= 0 && $0 <= 1 << 20 }), shape.reduce(1, { $0 &* $1 }) <= 1 << 26
            else {
                throw fail("the tensor is too large to emulate", span)
            }
            // Rank 0 stands for a variable here; no tensor has it.
            return .memory(Memory(shape.isEmpty ? [1] : shape, type(1)), [])
        case "len":
            switch values[0] {
            case .tuple(let list): return .number(.int(list.count), nil)
            case .memory(let m, let indices): return .number(.int(m.shape[indices.count]), nil)
            default: throw fail("no length", span)
            }
        case "likely": return values[0]
        case "max_num_threads": return .number(.int(module.maxNumThreads), nil)
        case "ceil_div":
            let sum = try arithmetic(
                "-", try arithmetic("+", values[0], values[1], span), .number(.int(1), nil), span)
            return try arithmetic("//", sum, values[1], span)
        case "max", "min":
            return try values.dropFirst().reduce(values[0]) { a, b in
                let t = common(try number(a, span), try number(b, span))
                let chosen = try truth(try compare(name == "max" ? ">=" : "<=", a, b, span), span) ? a : b
                guard let t else { return chosen }
                return .number(HybridEvaluator.rounded(try number(chosen, span).0, t), t)
            }
        case "abs", "fabs":
            return try truth(try compare("<", values[0], .number(.int(0), nil), span), span)
                ? try arithmetic("*", values[0], .number(.int(-1), nil), span) : values[0]
        case "popcount":
            let (n, t) = try number(values[0], span)
            guard case .int(let v) = n else { throw fail("no integer", span) }
            let bits = Int(t?.bits ?? 64)
            let mask = bits >= 64 ? -1 : (1 << bits) - 1
            return .number(.int((v & mask).nonzeroBitCount), t ?? .int64)
        default: break
        }
        if let t = HybridBuiltins.dtype(name) {
            return .number(HybridEvaluator.rounded(try number(values[0], span).0, t), t)
        }
        return try math(name, values, span)
    }

    /// The elementary functions are those of the loop IR's interpreter.
    private func math(_ name: String, _ values: [Value], _ span: Span) throws -> Value {
        var type = DataType.float32
        for v in values { if let t = try number(v, span).1, t.isFloat { type = promoted(type, t) } }
        if values.count == 1, let t = try number(values[0], span).1, t.isFloat { type = t }
        let arguments: [PrimExpr] = try values.map {
            FloatImm(HybridEvaluator.rounded(try number($0, span).0, type).double, dtype: type)
        }
        let predicate = HybridBuiltins.predicates.contains(name)
        guard predicate || HybridBuiltins.math.contains(name) || HybridBuiltins.math2.contains(name) else {
            throw fail("there is no function `\(name)`", span)
        }
        let e = intrinsic(name == "power" ? "pow" : name, predicate ? .bool : type, arguments)
        switch try TIRInterpreter.evaluate(e) {
        case .float(let x): return .number(.float(x), type)
        case .int(let n): return .number(.int(n), .bool)
        default: throw fail("no number", span)
        }
    }
}
