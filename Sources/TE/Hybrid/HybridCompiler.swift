import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What an expression of hybrid script is while it is compiled.
///
/// A literal, and arithmetic of literals alone, has no type yet: it takes that of the other operand; a floating literal
/// beside an integer makes float32. Alone, integers are int64 and floats float32.
enum HybridValue {
    case int(Int)
    case float(Double)
    case bool(Bool)
    case string(String)
    case expr(PrimExpr)
    /// A tensor, and the indices given so far (`a[i][j]` comes in two).
    case tensor(Buffer, HybridRole, [PrimExpr])
    case tuple([HybridValue])
    /// A name that is assigned more than once: one element of memory.
    case variable(Buffer)

    var isLiteral: Bool {
        switch self {
        case .int, .float, .bool: return true
        default: return false
        }
    }

    /// In an error message.
    var what: String {
        switch self {
        case .int, .float: return "a number"
        case .bool: return "a truth value"
        case .string: return "a string"
        case .expr(let e): return "a value of type \(e.dtype)"
        case .tensor(let b, _, _): return "the tensor `\(b.name)`"
        case .tuple: return "a tuple"
        case .variable(let b): return "a value of type \(b.dtype)"
        }
    }
}

enum HybridRole {
    case input
    case output
    case local
}

/// Compiles one function of a script, called with given arguments, to an operation.
///
/// Loops of the script become loops, stores become stores. A name assigned once is its value; one assigned more often is
/// an element of memory, alive in the block of its first assignment. Other functions are compiled in place.
final class HybridCompiler {
    let module: HybridModule

    /// A list of statements under construction.
    final class Emitter {
        enum Item {
            case stmt(Stmt)
            case value(Var, PrimExpr)
        }
        var items: [Item] = []
        var allocated: [Buffer] = []
        /// The statements of the function itself: they become blocks, so that nothing may be wrapped around them.
        let top: Bool

        init(top: Bool) { self.top = top }

        var list: [Stmt] { items.compactMap { if case .stmt(let s) = $0 { s } else { nil } } }

        /// One statement: values around what follows them, memory around all.
        var stmt: Stmt {
            var rest: [Stmt] = []
            for item in items.reversed() {
                switch item {
                case .stmt(let s): rest.insert(s, at: 0)
                case .value(let v, let e): rest = [LetStmt(v, e, SeqStmt.flat(rest))]
                }
            }
            let body = SeqStmt.flat(rest)
            if allocated.isEmpty { return body }
            let (reads, writes) = accessedOutside(body, allocated)
            return BlockRealize(
                [],
                Block(
                    "scope", reads: reads.map { BufferRegion(all: $0) },
                    writes: writes.map { BufferRegion(all: $0) }, body: body, allocBuffers: allocated))
        }
    }

    /// The names of one block of the script.
    final class Names {
        var values: [String: HybridValue] = [:]
        let parent: Names?
        /// Names of blocks that have ended, with the place of their first assignment.
        var gone: [String: Span] = [:]
        var first: [String: Span] = [:]

        init(_ parent: Names?) { self.parent = parent }

        func value(_ name: String) -> HybridValue? { values[name] ?? parent?.value(name) }
        func lost(_ name: String) -> Span? { gone[name] ?? parent?.lost(name) }
    }

    /// One function being compiled.
    struct Frame {
        let definition: HybridDefinition
        var names: Names
        /// How often each name is assigned in the text of the function.
        let assignments: [String: Int]
        var result: HybridValue?
    }

    var frames: [Frame] = []
    var emitters: [Emitter] = [Emitter(top: true)]
    /// Whether a statement may come before the expression being compiled.
    var mayEmit = true
    /// Copies of bodies that `const_range` and calls have made.
    var copies = 0
    private(set) var outputs: [Buffer] = []

    static let maximumCopies = 20_000
    static let maximumCalls = 32

    init(_ module: HybridModule) { self.module = module }

    var frame: Frame { frames[frames.count - 1] }
    var emitter: Emitter { emitters[emitters.count - 1] }
    var names: Names { frame.names }

    func fail(
        _ code: String, _ message: String, _ span: Span, expected: String? = nil, actual: String? = nil,
        hint: String? = nil
    ) -> ApusError {
        let function = frames.last.map { ["function: \($0.definition.name)"] } ?? []
        return ApusError(
            code, message, at: function + ["\(span)"], expected: expected, actual: actual, hint: hint,
            notes: [module.source.excerpt(span)].filter { !$0.isEmpty })
    }

    // MARK: The operation

    func operation(_ d: HybridDefinition, _ arguments: [any HybridArgument]) throws -> HybridOp {
        guard arguments.count == d.parameters.count else {
            throw fail(
                "TE057", "`\(d.name)` is called with another number of arguments than it has parameters",
                d.span,
                expected: "\(d.parameters.count)", actual: "\(arguments.count)")
        }
        var inputs: [Tensor] = []
        var inputBuffers: [Buffer] = []
        let names = Names(nil)
        for (p, a) in zip(d.parameters, arguments) {
            if let t = a as? Tensor {
                if let e = t.op.error { throw e }
                let b = Buffer(p, t.shape, t.dtype)
                inputs.append(t)
                inputBuffers.append(b)
                names.values[p] = .tensor(b, .input, [])
            } else {
                names.values[p] = try HybridCompiler.constant(a)
            }
        }
        frames.append(Frame(definition: d, names: names, assignments: HybridCompiler.assignments(d)))
        try statements(d.body)
        guard let result = frame.result else {
            throw fail(
                "TE059", "`\(d.name)` returns nothing", d.span,
                expected: "`return` of its output tensors at the end")
        }
        var list: [HybridValue] = [result]
        if case .tuple(let l) = result { list = l }
        var outputBuffers: [Buffer] = []
        for r in list {
            guard case .tensor(let b, .output, let indices) = r, indices.isEmpty else {
                throw fail(
                    "TE059", "`\(d.name)` returns what is no output tensor", d.span,
                    expected: "what `output_tensor` gave", actual: r.what)
            }
            if outputBuffers.contains(b) { throw fail("TE059", "`\(b.name)` is returned twice", d.span) }
            outputBuffers.append(b)
        }
        let returned = Set(outputBuffers)
        return HybridOp(
            name: d.name, tag: TagScope.current, attrs: .empty, inputs: inputs, inputBuffers: inputBuffers,
            outputBuffers: outputBuffers,
            localBuffers: outputs.filter { !returned.contains($0) } + emitter.allocated, stmts: emitter.list)
    }

    static func constant(_ a: any HybridArgument) throws -> HybridValue {
        switch a {
        case let v as Int: return .int(v)
        case let v as Double: return .float(v)
        case let e as PrimExpr:
            if let v = e as? IntImm { return v.dtype.isBool ? .bool(v.value != 0) : .expr(v) }
            return .expr(e)
        default: throw ApusError("TE057", "a tensor cannot be a constant of a script")
        }
    }

    /// How often each name is assigned in the text of a function.
    static func assignments(_ d: HybridDefinition) -> [String: Int] {
        var count: [String: Int] = [:]
        func target(_ e: HybridExpr) {
            switch e.kind {
            case .name(let n): count[n, default: 0] += 1
            case .tuple(let list): list.forEach(target)
            default: break
            }
        }
        func walk(_ list: [HybridStmt]) {
            for s in list {
                switch s.kind {
                case .assign(let t, _): target(t)
                case .augment(let t, _, _): target(t)
                case .loop(_, _, _, let body), .repeated(_, let body): walk(body)
                case .branch(_, let yes, let no):
                    walk(yes)
                    walk(no)
                default: break
                }
            }
        }
        walk(d.body)
        return count
    }

    // MARK: Scopes

    /// Runs `body` with names of its own.
    func scoped<R>(_ body: () throws -> R) rethrows -> R {
        let outer = names
        let inner = Names(outer)
        frames[frames.count - 1].names = inner
        defer {
            frames[frames.count - 1].names = outer
            for (n, s) in inner.first { outer.gone[n] = s }
            for (n, s) in inner.gone where outer.gone[n] == nil { outer.gone[n] = s }
        }
        return try body()
    }

    /// The statement that `body` emits.
    func block(_ body: () throws -> Void) throws -> Stmt {
        let e = Emitter(top: false)
        emitters.append(e)
        defer { emitters.removeLast() }
        try scoped(body)
        return e.stmt
    }

    func emit(_ s: Stmt, _ span: Span) throws {
        try checkEmission(span)
        emitter.items.append(.stmt(s))
    }

    func checkEmission(_ span: Span) throws {
        if mayEmit { return }
        throw fail(
            "TE065", "a function that does more than return an expression is called within an expression",
            span,
            hint: "assign its result to a name first")
    }

    /// Memory in the scope being compiled.
    func allocate(_ name: String, _ shape: [PrimExpr], _ dtype: DataType, scope: String, _ span: Span) throws
        -> Buffer
    {
        try checkEmission(span)
        let b = Buffer(name, shape, dtype, scope: scope)
        emitter.allocated.append(b)
        return b
    }

    func makeOutput(_ name: String, _ shape: [PrimExpr], _ dtype: DataType, _ span: Span) throws
        -> HybridValue
    {
        if frames.count > 1 {
            return .tensor(try allocate(name, shape, dtype, scope: "global", span), .output, [])
        }
        guard emitter.top else {
            throw fail(
                "TE069", "`output_tensor` within a loop or a branch", span,
                hint: "make it at the top of the function")
        }
        let b = Buffer(name, shape, dtype)
        outputs.append(b)
        return .tensor(b, .output, [])
    }

    /// `value` as something that stays what it is now, whatever is stored later.
    func settled(_ value: HybridValue, _ name: String, _ span: Span) throws -> HybridValue {
        guard case .expr(let e) = try loaded(value, span) else { return value }
        var loads = false
        postOrderVisit(e) { if $0.kind == .bufferLoad { loads = true } }
        // What depends on nothing that changes may stand for itself; a large one is computed once.
        if !loads && expressionSize(e, limit: 17) <= 16 { return .expr(e) }
        try checkEmission(span)
        if emitter.top {
            let b = try allocate(name, [IntImm(1)], e.dtype, scope: "local", span)
            try emit(BufferStore(b, e, [IntImm(0)]), span)
            return .variable(b)
        }
        let v = Var(name, dtype: e.dtype)
        emitter.items.append(.value(v, e))
        return .expr(v)
    }

    // MARK: Statements

    func statements(_ list: [HybridStmt]) throws {
        for s in list {
            if frame.result != nil { throw fail("TE059", "nothing can follow `return`", s.span) }
            try statement(s)
        }
    }

    private func statement(_ s: HybridStmt) throws {
        switch s.kind {
        case .pass: return
        case .assign(let target, let value): try assign(target, try whole(value, naming: target), s.span)
        case .augment(let target, let op, let value):
            let old = try expression(target)
            try assign(target, try arithmetic(op, old, try expression(value), s.span), s.span)
        case .loop(let v, let kind, let arguments, let body): try loop(v, kind, arguments, body, s.span)
        case .branch(let condition, let yes, let no):
            switch try truth(try expression(condition), condition.span) {
            // Decided now: the branch is part of the block around it.
            case .bool(let v): try statements(v ? yes : no)
            case .expr(let c):
                let then = try block { try statements(yes) }
                let other = no.isEmpty ? nil : try block { try statements(no) }
                try emit(IfThenElse(c, then, other), s.span)
            default: internalError("a truth value is neither known nor an expression")
            }
        case .repeated(let condition, let body):
            let c = try expr(try truth(try guarded { try expression(condition) }, condition.span), s.span)
            let b = try block { try statements(body) }
            try emit(While(c, b), s.span)
        case .assert(let condition, let message):
            switch try truth(try expression(condition), condition.span) {
            case .bool(true): return
            case .bool: throw fail("TE066", "an assertion is false: \(message)", s.span)
            case .expr(let c): try emit(AssertStmt(c, message), s.span)
            default: internalError("a truth value is neither known nor an expression")
            }
        case .evaluate(let e):
            guard case .call = e.kind else {
                if case .string = e.kind { return }
                throw fail(
                    "TE069", "the statement does nothing", s.span,
                    expected: "an assignment or a call of a function")
            }
            _ = try whole(e, naming: nil)
        case .result(let list):
            guard emitters.count == 1 || frames.count > 1, names.parent == nil else {
                throw fail(
                    "TE059", "`return` within a loop or a branch", s.span,
                    expected: "one `return`, at the end of the function")
            }
            var values: [HybridValue] = []
            for e in list {
                let v = try whole(e, naming: nil)
                values.append(frames.count > 1 && mayEmit ? try settled(v, "result", e.span) : v)
            }
            frames[frames.count - 1].result = values.count == 1 ? values[0] : .tuple(values)
        }
    }

    /// The value of an expression that is a whole statement's: a function called by it may do anything.
    private func whole(_ e: HybridExpr, naming target: HybridExpr?) throws -> HybridValue {
        if case .tuple(let list) = e.kind { return .tuple(try list.map { try expression($0) }) }
        guard case .call(let callee, let arguments) = e.kind, let name = HybridParser.lastName(callee) else {
            return try expression(e)
        }
        var hint = "tensor"
        if case .name(let n)? = target?.kind { hint = n }
        return try call(name, arguments, e.span, whole: true, naming: hint)
    }

    /// Compiles an expression before which nothing may be computed: it is evaluated only sometimes, or again.
    func guarded<R>(_ body: () throws -> R) rethrows -> R {
        let outer = mayEmit
        mayEmit = false
        defer { mayEmit = outer }
        return try body()
    }

    private func assign(_ target: HybridExpr, _ value: HybridValue, _ span: Span) throws {
        switch target.kind {
        case .tuple(let targets):
            guard case .tuple(let values) = value, values.count == targets.count else {
                throw fail(
                    "TE060", "an assignment to \(targets.count) names needs as many values", span,
                    actual: value.what)
            }
            // All are read before one is written.
            let settledValues = try zip(targets, values).map { t, v -> HybridValue in
                if case .tensor(_, _, let i) = v, i.isEmpty { return v }
                return try settled(v, HybridParser.lastName(t) ?? "value", span)
            }
            for (t, v) in zip(targets, settledValues) { try assign(t, v, span) }
        case .name(let n): try assign(name: n, value, target.span)
        case .subscripted:
            guard case .tensor(let b, let role, let indices) = try tensorElement(target) else {
                throw fail("TE058", "only elements of tensors can be assigned", target.span)
            }
            guard role != .input else {
                throw fail(
                    "TE058", "`\(b.name)` is an input and cannot be written", target.span,
                    hint: "write to an output_tensor or to allocated memory")
            }
            guard indices.count == b.rank else {
                throw fail(
                    "TE055", "`\(b.name)` has another number of axes than indices are given", target.span,
                    expected: "\(b.rank)", actual: "\(indices.count)")
            }
            try emit(BufferStore(b, try converted(value, b.dtype, span), indices), span)
        default: throw fail("TE058", "this cannot be assigned", target.span, expected: "a name or an element")
        }
    }

    private func assign(name n: String, _ value: HybridValue, _ span: Span) throws {
        if let known = names.value(n) {
            guard case .variable(let b) = known, frame.assignments[n, default: 0] > 1 else {
                throw fail(
                    "TE058", "`\(n)` cannot be assigned", span, actual: known.what,
                    hint: "parameters, loop variables and tensors keep their meaning; use another name")
            }
            try emit(BufferStore(b, try converted(value, b.dtype, span), [IntImm(0)]), span)
            return
        }
        func define(_ v: HybridValue) {
            names.values[n] = v
            names.first[n] = span
        }
        if case .tensor(_, _, let indices) = value, indices.isEmpty { return define(value) }
        switch value {
        case .string, .tuple: return define(value)
        default: break
        }
        if frame.assignments[n, default: 0] <= 1 { return define(try settled(value, n, span)) }
        let e = try expr(value, span)
        let b = try allocate(n, [IntImm(1)], e.dtype, scope: "local", span)
        try emit(BufferStore(b, e, [IntImm(0)]), span)
        define(.variable(b))
    }

    // MARK: Loops

    private func loop(
        _ name: String, _ kind: String, _ arguments: [HybridExpr], _ body: [HybridStmt], _ span: Span
    ) throws {
        let values = try arguments.map { try expression($0) }
        if names.value(name) != nil {
            throw fail("TE058", "the loop's variable `\(name)` has another meaning already", span)
        }
        func count(_ allowed: ClosedRange<Int>, _ form: String) throws {
            guard allowed.contains(values.count) else {
                throw fail(
                    "TE064", "`\(kind)` takes other arguments", span, expected: form,
                    actual: "\(values.count)")
            }
        }
        let forKind: ForKind
        switch kind {
        case "range", "serial": forKind = .serial
        case "unroll": forKind = .unrolled
        case "parallel": forKind = .parallel
        case "vectorize": forKind = .vectorized
        case "const_range":
            try count(1...3, "const_range(n), (start, stop) or (start, stop, step)")
            return try constantLoop(name, values, body, span)
        case "bind":
            try count(2...2, "bind(\"threadIdx.x\", n)")
            guard case .string(let tag) = values[0] else {
                throw fail(
                    "TE064", "`bind` takes a thread axis", span, expected: "a string such as \"threadIdx.x\"",
                    actual: values[0].what)
            }
            let extent = try index(values[1], span)
            let axis = IterVar(IRRange(extent: extent), Var(tag), .threadIndex, threadTag: tag)
            let v = Var(name)
            return try emit(
                For(
                    v, IntImm(0), extent, .threadBinding, body: try loopBody(name, .expr(v), body),
                    threadBinding: axis),
                span)
        default:
            throw fail(
                "TE064", "a loop cannot run over `\(kind)`", span,
                expected: "range, serial, unroll, parallel, vectorize, const_range or bind")
        }
        try count(1...3, "\(kind)(n), (start, stop) or (start, stop, step)")
        let start = values.count > 1 ? try index(values[0], span) : IntImm(0)
        let stop = try index(values[values.count > 1 ? 1 : 0], span)
        var step = 1
        if values.count == 3 {
            guard case .int(let s) = values[2], s != 0, s != .min else {
                throw fail("TE064", "a loop's step is a literal other than 0", span, actual: values[2].what)
            }
            step = s
        }
        let v = Var(name)
        if step == 1 {
            // An empty range may be written backwards.
            var extent = start.isZero ? stop : stop - start
            if let n = extent.asInt, n < 0 { extent = IntImm(0) }
            try emit(For(v, start, extent, forKind, body: try loopBody(name, .expr(v), body)), span)
            return
        }
        let distance = step > 0 ? stop - start : start - stop
        var extent = floorDiv(distance + (abs(step) - 1), abs(step))
        if let n = extent.asInt, n < 0 { extent = IntImm(0) }
        try emit(
            For(v, IntImm(0), extent, forKind, body: try loopBody(name, .expr(start + v * step), body)), span)
    }

    private func loopBody(_ name: String, _ value: HybridValue, _ body: [HybridStmt]) throws -> Stmt {
        try block {
            names.values[name] = value
            try scoped { try statements(body) }
        }
    }

    /// The body once for each value, at compile time.
    private func constantLoop(_ name: String, _ values: [HybridValue], _ body: [HybridStmt], _ span: Span)
        throws
    {
        var bounds: [Int] = []
        for v in values {
            guard case .int(let n) = v else {
                throw fail(
                    "TE064", "`const_range` takes numbers that are known when the script is compiled", span,
                    actual: v.what,
                    hint: "use `range` or `unroll`")
            }
            bounds.append(n)
        }
        let start = bounds.count > 1 ? bounds[0] : 0
        let stop = bounds.count > 1 ? bounds[1] : bounds[0]
        let step = bounds.count > 2 ? bounds[2] : 1
        guard step != 0 else { throw fail("TE064", "a loop's step is not 0", span) }
        var i = start
        while step > 0 ? i < stop : i > stop {
            try copy(span)
            try scoped {
                names.values[name] = .int(i)
                try scoped { try statements(body) }
            }
            let next = i.addingReportingOverflow(step)
            if next.overflow { break }
            i = next.partialValue
        }
    }

    /// Counts one more copy of a body.
    func copy(_ span: Span) throws {
        copies += 1
        if copies > HybridCompiler.maximumCopies {
            throw fail(
                "TE067", "the script expands to too much", span,
                expected: "at most \(HybridCompiler.maximumCopies) copies of loop bodies and functions",
                hint: "use `range` instead of `const_range`")
        }
    }
}
