import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRCompiler {
    func unsupported(_ e: PrimExpr, _ why: String = "") -> ApusError {
        ApusError("TIR162", "an expression cannot be interpreted" + why, actual: "\(e): \(e.dtype)")
    }

    /// Compiles an expression.
    func expr(_ e: PrimExpr) throws -> Code {
        depth += 1
        defer { depth -= 1 }
        let code = try growingStack { () throws(any Error) in try compile(e) }
        guard depth % TIRCompiler.anchorDistance == 0 else { return code }
        switch code {
        case .int(let f): return .int(anchored(f))
        case .float(let f): return .float(anchored(f))
        case .ints(let f): return .ints(anchored(f))
        case .floats(let f): return .floats(anchored(f))
        case .handle(let f): return .handle(anchored(f))
        }
    }

    private func compile(_ e: PrimExpr) throws -> Code {
        switch e.kind {
        case .intImm:
            let v = TIRMath.wrapped(unsafeDowncast(e, to: IntImm.self).value, e.dtype)
            return .int { _ in v }
        case .floatImm:
            let v = unsafeDowncast(e, to: FloatImm.self).value
            return .float { _ in v }
        case .stringImm: return .handle { _ in TIRHandle() }
        case .variable:
            switch try slot(unsafeDowncast(e, to: Var.self)) {
            case .int(let i): return .int { $0.ints[i] }
            case .float(let i): return .float { $0.floats[i] }
            case .ints(let i): return .ints { $0.intVectors[i] }
            case .floats(let i): return .floats { $0.floatVectors[i] }
            case .handle(let i): return .handle { $0.handles[i] }
            }
        case .add, .sub, .mul, .div, .mod, .floorDiv, .floorMod, .min, .max, .eq, .ne, .lt, .le, .gt, .ge,
            .and, .or:
            return try binaryCode(unsafeDowncast(e, to: BinaryExpr.self))
        case .not:
            switch try expr(unsafeDowncast(e, to: Not.self).a) {
            case .int(let f): return .int { try f($0) == 0 ? 1 : 0 }
            case .ints(let f): return .ints { try f($0).map { $0 == 0 ? 1 : 0 } }
            default: throw unsupported(e)
            }
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            return try castCode(try expr(c.value), from: c.value.dtype, to: c.dtype)
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            return try choose(
                try expr(s.condition), try expr(s.trueValue), try expr(s.falseValue), e, lazy: false)
        case .bufferLoad:
            let l = unsafeDowncast(e, to: BufferLoad.self)
            return try load(l.buffer, l.indices)
        case .producerLoad:
            throw unsupported(e, ": a tensor without memory; lower it with createPrimFunc first")
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            let n = r.lanes
            switch (try expr(r.base), try expr(r.stride)) {
            case (.int(let a), .int(let s)):
                let d = e.dtype.element
                return .ints { f in
                    let base = try a(f)
                    let step = try s(f)
                    return (0..<n).map { TIRMath.wrapped(base &+ $0 &* step, d) }
                }
            case (.float(let a), .float(let s)):
                let d = e.dtype.element
                return .floats { f in
                    let base = try a(f)
                    let step = try s(f)
                    return (0..<n).map { TIRMath.rounded(base + TIRMath.rounded(Double($0) * step, d), d) }
                }
            default: throw unsupported(e)
            }
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            let n = b.lanes
            switch try expr(b.value) {
            case .int(let f): return n == 1 ? .int(f) : .ints { [Int](repeating: try f($0), count: n) }
            case .float(let f):
                return n == 1 ? .float(f) : .floats { [Double](repeating: try f($0), count: n) }
            default: throw unsupported(e)
            }
        case .shuffle: return try shuffleCode(unsafeDowncast(e, to: Shuffle.self))
        case .let:
            let l = unsafeDowncast(e, to: Let.self)
            let value = try expr(l.value)
            define(l.variable)
            let set = try assign(try slot(l.variable), value, l.variable.name)
            switch try expr(l.body) {
            case .int(let b):
                return .int { f in
                    try set(f)
                    return try b(f)
                }
            case .float(let b):
                return .float { f in
                    try set(f)
                    return try b(f)
                }
            case .ints(let b):
                return .ints { f in
                    try set(f)
                    return try b(f)
                }
            case .floats(let b):
                return .floats { f in
                    try set(f)
                    return try b(f)
                }
            case .handle(let b):
                return .handle { f in
                    try set(f)
                    return try b(f)
                }
            }
        case .call: return try callCode(unsafeDowncast(e, to: Call.self))
        case .reduce: return try reduceCode(unsafeDowncast(e, to: Reduce.self))
        }
    }

    // MARK: Arithmetic

    private func binaryCode(_ e: BinaryExpr) throws -> Code {
        let d = e.a.dtype
        let kind = e.kind
        switch (try expr(e.a), try expr(e.b)) {
        case (.int(let a), .int(let b)):
            // The commonest index arithmetic without a call through the operation.
            if d == .index {
                switch kind {
                case .add: return .int { try a($0) &+ (try b($0)) }
                case .sub: return .int { try a($0) &- (try b($0)) }
                case .mul: return .int { try a($0) &* (try b($0)) }
                case .lt: return .int { try a($0) < (try b($0)) ? 1 : 0 }
                default: break
                }
            }
            if kind == .and { return .int { try a($0) != 0 && (try b($0)) != 0 ? 1 : 0 } }
            if kind == .or { return .int { try a($0) != 0 || (try b($0)) != 0 ? 1 : 0 } }
            guard let op = TIRMath.integer(kind, d) else { throw unsupported(e) }
            return .int { try op(try a($0), try b($0)) }
        case (.float(let a), .float(let b)):
            if d == .float32 {
                switch kind {
                case .add: return .float { Double(Float(try a($0) + (try b($0)))) }
                case .mul: return .float { Double(Float(try a($0) * (try b($0)))) }
                default: break
                }
            }
            if let op = TIRMath.comparison(kind) { return .int { op(try a($0), try b($0)) ? 1 : 0 } }
            guard let op = TIRMath.float(kind, d) else { throw unsupported(e) }
            return .float { op(try a($0), try b($0)) }
        case (.ints(let a), .ints(let b)):
            guard let op = TIRMath.integer(kind, d) else { throw unsupported(e) }
            return .ints { f in try TIRCompiler.lanes(try a(f), try b(f), op) }
        case (.floats(let a), .floats(let b)):
            if let op = TIRMath.comparison(kind) {
                return .ints { f in try TIRCompiler.lanes(try a(f), try b(f)) { op($0, $1) ? 1 : 0 } }
            }
            guard let op = TIRMath.float(kind, d) else { throw unsupported(e) }
            return .floats { f in try TIRCompiler.lanes(try a(f), try b(f), op) }
        case (.handle(let a), .handle(let b)):
            guard kind == .eq || kind == .ne else { throw unsupported(e) }
            let wanted = kind == .eq
            return .int { f in
                let x = try a(f)
                let y = try b(f)
                return (x.base == y.base && x.offset == y.offset) == wanted ? 1 : 0
            }
        default: throw unsupported(e, ": its operands differ in type")
        }
    }

    static func lanes<A, B, R>(_ a: [A], _ b: [B], _ op: (A, B) throws -> R) throws -> [R] {
        guard a.count == b.count else { throw ApusError("TIR162", "vectors of different lengths") }
        var result: [R] = []
        result.reserveCapacity(a.count)
        for i in a.indices { result.append(try op(a[i], b[i])) }
        return result
    }

    private func castCode(_ value: Code, from s: DataType, to d: DataType) throws -> Code {
        let source = s.element
        let e = d.element
        if e.isHandle || source.isHandle {
            guard case .handle(let f) = value, e.isHandle else {
                throw ApusError("TIR162", "a pointer is no number")
            }
            return .handle(f)
        }
        let intToInt: (Int) -> Int = { e.isBool ? ($0 != 0 ? 1 : 0) : TIRMath.wrapped($0, e) }
        let floatToInt: (Double) -> Int = { e.isBool ? ($0 != 0 ? 1 : 0) : TIRMath.truncated($0, e) }
        switch value {
        case .int(let f):
            if e.isFloat { return .float { TIRMath.toFloat(try f($0), from: source, e) } }
            if e.bits == 64 { return .int(f) }
            return .int { intToInt(try f($0)) }
        case .float(let f):
            if e.isFloat { return .float { TIRMath.rounded(try f($0), e) } }
            return .int { floatToInt(try f($0)) }
        case .ints(let f):
            if e.isFloat { return .floats { try f($0).map { TIRMath.toFloat($0, from: source, e) } } }
            return .ints { try f($0).map(intToInt) }
        case .floats(let f):
            if e.isFloat { return .floats { try f($0).map { TIRMath.rounded($0, e) } } }
            return .ints { try f($0).map(floatToInt) }
        case .handle: throw ApusError("TIR162", "a pointer is no number")
        }
    }

    /// One of two values; with `lazy` the other one is not evaluated.
    private func choose(_ c: Code, _ a: Code, _ b: Code, _ e: PrimExpr, lazy: Bool) throws -> Code {
        if case .int(let c) = c {
            func pick<T>(
                _ a: @escaping (TIRFrame) throws -> T, _ b: @escaping (TIRFrame) throws -> T
            ) -> (TIRFrame) throws -> T {
                if lazy { return { f in try c(f) != 0 ? try a(f) : try b(f) } }
                return { f in
                    let x = try a(f)
                    let y = try b(f)
                    return try c(f) != 0 ? x : y
                }
            }
            switch (a, b) {
            case (.int(let x), .int(let y)): return .int(pick(x, y))
            case (.float(let x), .float(let y)): return .float(pick(x, y))
            case (.ints(let x), .ints(let y)): return .ints(pick(x, y))
            case (.floats(let x), .floats(let y)): return .floats(pick(x, y))
            case (.handle(let x), .handle(let y)): return .handle(pick(x, y))
            default: throw unsupported(e, ": its values differ in type")
            }
        }
        guard case .ints(let c) = c else { throw unsupported(e) }
        func pick<T>(
            _ a: @escaping (TIRFrame) throws -> [T], _ b: @escaping (TIRFrame) throws -> [T]
        ) -> (TIRFrame) throws -> [T] {
            { f in
                let mask = try c(f)
                let x = try a(f)
                let y = try b(f)
                guard mask.count == x.count, x.count == y.count else {
                    throw ApusError("TIR162", "vectors of different lengths")
                }
                return mask.indices.map { mask[$0] != 0 ? x[$0] : y[$0] }
            }
        }
        switch (a, b) {
        case (.ints(let x), .ints(let y)): return .ints(pick(x, y))
        case (.floats(let x), .floats(let y)): return .floats(pick(x, y))
        default: throw unsupported(e)
        }
    }

    private func shuffleCode(_ s: Shuffle) throws -> Code {
        let indices = s.indices
        let parts = try s.vectors.map { try expr($0) }
        if s.dtype.isFloat {
            let all: (TIRFrame) throws -> [Double] = { f in
                var v: [Double] = []
                for p in parts {
                    switch p {
                    case .float(let g): v.append(try g(f))
                    case .floats(let g): v += try g(f)
                    default: break
                    }
                }
                return v
            }
            if indices.count == 1 { return .float { try all($0)[indices[0]] } }
            return .floats { f in
                let v = try all(f)
                return indices.map { v[$0] }
            }
        }
        let all: (TIRFrame) throws -> [Int] = { f in
            var v: [Int] = []
            for p in parts {
                switch p {
                case .int(let g): v.append(try g(f))
                case .ints(let g): v += try g(f)
                default: break
                }
            }
            return v
        }
        let total = s.vectors.reduce(0) { $0 + Int($1.dtype.lanes) }
        guard indices.allSatisfy({ $0 >= 0 && $0 < total }), s.vectors.allSatisfy({ $0.dtype.isInteger })
        else {
            throw unsupported(s)
        }
        if indices.count == 1 { return .int { try all($0)[indices[0]] } }
        return .ints { f in
            let v = try all(f)
            return indices.map { v[$0] }
        }
    }

    // MARK: Reductions

    private func reduceCode(_ r: Reduce) throws -> Code {
        let c = r.combiner
        let start = try (r.initial.isEmpty ? c.identity : r.initial).map { try expr($0) }
        var axes: [(slot: Int, min: IntFn, extent: IntFn)] = []
        for a in r.axis {
            let lo = try int(a.dom.min)
            let n = try int(a.dom.extent)
            axes.append((slot: try intSlot(a.variable), min: lo, extent: n))
        }
        let condition = try int(r.condition)
        let sources = try r.source.map { try expr($0) }
        for v in c.lhs + c.rhs { define(v) }
        var begin: [Run] = []
        var take: [Run] = []
        var update: [Run] = []
        var finish: [Run] = []
        for i in c.result.indices {
            let left = try slot(c.lhs[i])
            begin.append(try assign(left, start[i], "reduction"))
            take.append(try assign(try slot(c.rhs[i]), sources[i], "reduction"))
            // All results see the old values: they go to temporaries first.
            let temporary = Var("t", dtype: c.lhs[i].dtype)
            define(temporary)
            update.append(try assign(try slot(temporary), try expr(c.result[i]), "reduction"))
            finish.append(try assign(left, try expr(temporary), "reduction"))
        }
        func loop(_ k: Int) -> Run {
            if k == axes.count {
                return { f in
                    try f.context.step()
                    if try condition(f) == 0 { return }
                    for t in take { try t(f) }
                    for u in update { try u(f) }
                    for b in finish { try b(f) }
                }
            }
            let inner = loop(k + 1)
            let a = axes[k]
            return { f in
                let lo = try a.min(f)
                let n = try a.extent(f)
                var i = 0
                while i < n {
                    f.ints[a.slot] = lo &+ i
                    try inner(f)
                    i += 1
                }
            }
        }
        let body = loop(0)
        let run: Run = { f in
            for b in begin { try b(f) }
            try body(f)
        }
        switch try expr(c.lhs[r.valueIndex]) {
        case .int(let g):
            return .int { f in
                try run(f)
                return try g(f)
            }
        case .float(let g):
            return .float { f in
                try run(f)
                return try g(f)
            }
        case .ints(let g):
            return .ints { f in
                try run(f)
                return try g(f)
            }
        case .floats(let g):
            return .floats { f in
                try run(f)
                return try g(f)
            }
        case .handle: throw unsupported(r)
        }
    }

    // MARK: Calls

    private func callCode(_ c: Call) throws -> Code {
        guard let op = c.op as? Op, op.name.hasPrefix("tir.") else { return try code(c, try callValue(c)) }
        let name = String(op.name.dropFirst(4))
        func arg(_ i: Int) throws -> PrimExpr {
            guard i < c.args.count else { throw unsupported(c, ": too few arguments") }
            return c.args[i]
        }
        let d = c.dtype
        if let g = TIRMath.unary(name) {
            return try mapFloat(try expr(try arg(0)), c) { TIRMath.rounded(g($0), d.element) }
        }
        if let g = TIRMath.binary(name, d) {
            let e = d.element
            switch (try expr(try arg(0)), try expr(try arg(1))) {
            case (.float(let a), .float(let b)): return .float { TIRMath.rounded(g(try a($0), try b($0)), e) }
            case (.floats(let a), .floats(let b)):
                return .floats { f in
                    try TIRCompiler.lanes(try a(f), try b(f)) { TIRMath.rounded(g($0, $1), e) }
                }
            default: throw unsupported(c)
            }
        }
        if Intrinsics.predicates.contains(name) {
            let test: (Double) -> Int
            switch name {
            case "isnan": test = { $0.isNaN ? 1 : 0 }
            case "isinf": test = { $0.isInfinite ? 1 : 0 }
            default: test = { $0.isFinite ? 1 : 0 }
            }
            switch try expr(try arg(0)) {
            case .float(let f): return .int { test(try f($0)) }
            case .floats(let f): return .ints { try f($0).map(test) }
            default: throw unsupported(c)
            }
        }
        if let g = TIRMath.bitwise(name, d) {
            let a = try expr(try arg(0))
            let b = c.args.count > 1 ? try expr(c.args[1]) : a
            switch (a, b) {
            case (.int(let a), .int(let b)): return .int { try g(try a($0), try b($0)) }
            case (.ints(let a), .ints(let b)):
                return .ints { f in try TIRCompiler.lanes(try a(f), try b(f), g) }
            default: throw unsupported(c)
            }
        }
        if let known = try structCall(name, c) { return known }
        if let dot = DotProduct(intrinsic: name) { return try expr(dot.expanded(try arg(0), try arg(1))) }
        switch name {
        case "fma": return try fma(c, try expr(try arg(0)), try expr(try arg(1)), try expr(try arg(2)))
        case "if_then_else":
            return try choose(try expr(try arg(0)), try expr(try arg(1)), try expr(try arg(2)), c, lazy: true)
        case "likely": return try expr(try arg(0))
        case "abs":
            let e = d.element
            let negate: (Int) -> Int = { e.isInt && $0 < 0 ? TIRMath.wrapped(0 &- $0, e) : $0 }
            switch try expr(try arg(0)) {
            case .int(let f): return .int { negate(try f($0)) }
            case .ints(let f): return .ints { try f($0).map(negate) }
            case .float, .floats: return try mapFloat(try expr(try arg(0)), c) { Swift.abs($0) }
            default: throw unsupported(c)
            }
        case "reinterpret": return try reinterpret(c, try arg(0))
        case "address_of":
            guard let l = try arg(0) as? BufferLoad else { throw unsupported(c) }
            return .handle(try pointer(l.buffer, l.indices))
        case "call_extern", "call_pure_extern", "call_packed", "call_cpacked", "call_trace_packed":
            return try code(c, try callValue(c))
        case "storage_sync", "prefetch", "ret", "thread_allreduce", "global_barrier_kinit":
            throw unsupported(c, ": it stands alone in T.evaluate only")
        case "warp_shuffle", "warp_shuffle_up", "warp_shuffle_down", "cuda.__shfl", "cuda.__shfl_up",
            "cuda.__shfl_down", "cuda.__shfl_sync", "cuda.__shfl_up_sync", "cuda.__shfl_down_sync":
            return try shuffle(name, c)
        case "warp_activemask", "cuda.__activemask": return activeMask()
        default: return try memoryCall(name, c)
        }
    }

    private func mapFloat(_ a: Code, _ e: PrimExpr, _ g: @escaping (Double) -> Double) throws -> Code {
        switch a {
        case .float(let f): return .float { g(try f($0)) }
        case .floats(let f): return .floats { try f($0).map(g) }
        default: throw unsupported(e)
        }
    }

    private func fma(_ e: Call, _ a: Code, _ b: Code, _ c: Code) throws -> Code {
        let d = e.dtype.element
        let op: (Double, Double, Double) -> Double
        switch d {
        case .float64: op = { $2.addingProduct($0, $1) }
        case .float32: op = { Double(Float($2).addingProduct(Float($0), Float($1))) }
        // Products of half types are exact as doubles.
        default: op = { TIRMath.rounded($0 * $1 + $2, d) }
        }
        switch (a, b, c) {
        case (.float(let x), .float(let y), .float(let z)):
            return .float { op(try x($0), try y($0), try z($0)) }
        case (.floats(let x), .floats(let y), .floats(let z)):
            return .floats { f in
                let p = try TIRCompiler.lanes(try x(f), try y(f)) { ($0, $1) }
                return try TIRCompiler.lanes(p, try z(f)) { op($0.0, $0.1, $1) }
            }
        default: throw unsupported(e)
        }
    }

    private func reinterpret(_ e: Call, _ value: PrimExpr) throws -> Code {
        let s = value.dtype.element
        let d = e.dtype.element
        guard value.dtype.lanes == e.dtype.lanes, s.bits == d.bits, s.bits >= 8 else {
            throw unsupported(e, ": only values of one size can be reinterpreted")
        }
        let toInt: (Double) -> Int = { TIRMath.wrapped(Int(truncatingIfNeeded: TIRMath.encode($0, s)), d) }
        let toFloat: (Int) -> Double = { TIRMath.decode(UInt64(truncatingIfNeeded: $0), d) }
        let same: (Double) -> Double = { TIRMath.decode(TIRMath.encode($0, s), d) }
        switch try expr(value) {
        case .int(let f):
            return d.isFloat ? .float { toFloat(try f($0)) } : .int { TIRMath.wrapped(try f($0), d) }
        case .float(let f): return d.isFloat ? .float { same(try f($0)) } : .int { toInt(try f($0)) }
        case .ints(let f):
            return d.isFloat
                ? .floats { try f($0).map(toFloat) } : .ints { try f($0).map { TIRMath.wrapped($0, d) } }
        case .floats(let f):
            return d.isFloat ? .floats { try f($0).map(same) } : .ints { try f($0).map(toInt) }
        case .handle: throw unsupported(e)
        }
    }

    /// The result of a call as the type that the call says.
    private func code(_ c: Call, _ run: @escaping (TIRFrame) throws -> TIRValue?) throws -> Code {
        let d = c.dtype
        let bad = ApusError("TIR162", "a call gave no value of its type", expected: "\(d)", actual: c.name)
        guard d.isScalar else { throw unsupported(c) }
        if d.isHandle {
            return .handle { f in
                guard case .handle(let h)? = try run(f) else { throw bad }
                return h
            }
        }
        if d.isFloat {
            return .float { f in
                switch try run(f) {
                case .float(let v)?: return TIRMath.rounded(v, d)
                case .int(let v)?: return TIRMath.toFloat(v, from: .int64, d)
                default: throw bad
                }
            }
        }
        return .int { f in
            guard case .int(let v)? = try run(f) else { throw bad }
            return TIRMath.wrapped(v, d)
        }
    }

    /// A call of a function of the module or of a function given from outside.
    func callValue(_ c: Call) throws -> (TIRFrame) throws -> TIRValue? {
        var args = c.args
        var external: (@Sendable ([TIRArgument]) throws -> TIRArgument)?
        var callee: PrimFunc?
        if let g = c.op as? GlobalVar {
            guard let f = context.module?[g.name] as? PrimFunc else {
                throw ApusError("TIR162", "the module has no loop function `\(g.name)`")
            }
            callee = f
        } else {
            guard c.name.hasPrefix("tir.call_"), let name = (args.first as? StringImm)?.value else {
                throw unsupported(c)
            }
            args.removeFirst()
            external = context.options.externs[name]
            if external == nil && c.name.contains("packed") {
                callee = function(called: name)
                if callee == nil, let f = Registry.get(name) { return try registered(f, c, args) }
            }
            if external == nil && callee == nil {
                throw ApusError(
                    "TIR162", "no function `\(name)` is given to the interpreter", hint: "Options.externs")
            }
        }
        let values: [(TIRFrame) throws -> TIRValue] = try args.map { a in
            switch try expr(a) {
            case .int(let f): return { .int(try f($0)) }
            case .float(let f): return { .float(try f($0)) }
            case .handle(let f): return { .handle(try f($0)) }
            default: throw unsupported(c, ": a vector cannot be passed")
            }
        }
        let context = self.context
        return { f in
            let given = try values.map { try $0(f) }
            if let callee {
                let outer = context.callPath
                context.callPath = f.path
                defer { context.callPath = outer }
                return try context.compiled(callee).call(given, context)
            }
            guard let external else { return nil }
            let result = try external(
                try given.map { v in
                    switch v {
                    case .int(let x): return .int(x)
                    case .float(let x): return .float(x)
                    case .handle(let h): return .array(try TIRCompiler.bytes(of: h))
                    }
                })
            return try TIRValue(result)
        }
    }

    /// What lies behind a pointer, as bytes.
    static func bytes(of h: TIRHandle) throws -> NDArray {
        if let a = h.array { return a }
        guard let base = h.base, h.offset >= 0, h.offset <= h.bytes else {
            throw ApusError("TIR167", "a pointer to no memory is passed")
        }
        return NDArray(
            borrowing: base + h.offset, shape: [h.bytes - h.offset], dtype: .uint8, owner: h.storage)
    }
}
