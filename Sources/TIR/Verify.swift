import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Checks that a function is well formed. Throws the first finding:
/// TIR140 a variable is used where it is not defined, TIR141 a variable is defined twice, TIR142 types do not
/// agree, TIR143 wrong rank or number of arguments, TIR144 a malformed block, TIR145 a malformed signature,
/// TIR146 a block uses a loop variable from outside, TIR147 a kind of node that has no place in a function,
/// TIR148 an unknown callee.
public func verifyWellFormed(_ f: PrimFunc) throws { try verify(f, level: max(.wellFormed, .checked)) }

/// Checks each loop function of a module; calls must find their callee.
public func verifyWellFormed(_ m: IRModule) throws { try verify(m, level: max(.wellFormed, .checked)) }

/// The checks of level 1.
func verifyStructure(_ f: PrimFunc, _ m: IRModule?, _ name: String) throws {
    try within("function: \(f.globalSymbol ?? name)") {
        try WellFormed(m).function(f)
    }
}

private final class WellFormed {
    private let module: IRModule?
    /// Definitions in scope; a variable hidden by a block counts as out of scope.
    private var scope: [ObjectIdentifier: Int] = [:]
    private var log: [ObjectIdentifier] = []
    private var everDefined: Set<ObjectIdentifier> = []
    /// Keeps what the sets are keyed by.
    private var kept: [Node] = []
    /// Loops that a block with variables inside would hide.
    private var loopVars: [Var] = []
    private var hidden: [ObjectIdentifier: Int] = [:]
    private var hiddenLog: [ObjectIdentifier] = []
    private var steps = 0
    /// Expressions found good since there were many, which hold up to the end of the scope; those that define something
    /// are not among them.
    private var checked: Set<ObjectIdentifier> = []
    private var checkedLog: [ObjectIdentifier] = []

    init(_ module: IRModule?) { self.module = module }

    private func fail(
        _ code: String, _ message: String, expected: String? = nil, actual: String? = nil
    ) -> ApusError {
        ApusError(code, message, expected: expected, actual: actual)
    }

    // MARK: Definitions

    private func isDefined(_ n: Node) -> Bool { scope[ObjectIdentifier(n), default: 0] > 0 }

    private func define(_ n: Node, _ name: String) throws {
        guard everDefined.insert(ObjectIdentifier(n)).inserted else {
            throw fail("TIR141", "`\(name)` is defined twice")
        }
        kept.append(n)
        enter(n)
    }

    private func enter(_ n: Node) {
        scope[ObjectIdentifier(n), default: 0] += 1
        log.append(ObjectIdentifier(n))
    }

    private func nested<R>(_ body: () throws -> R) throws -> R {
        let mark = log.count
        let loops = loopVars.count
        let hides = hiddenLog.count
        let checks = checkedLog.count
        defer {
            while checkedLog.count > checks { checked.remove(checkedLog.removeLast()) }
            while log.count > mark { scope[log.removeLast(), default: 1] -= 1 }
            loopVars.removeLast(loopVars.count - loops)
            while hiddenLog.count > hides {
                let id = hiddenLog.removeLast()
                let n = hidden[id, default: 1] - 1
                hidden[id] = n == 0 ? nil : n
            }
        }
        return try growingStack { () throws(any Error) -> R in try body() }
    }

    private func isHidden(_ v: PrimExpr) -> Bool { hidden[ObjectIdentifier(v)] != nil }

    private func declare(_ b: Buffer) throws {
        try define(b, b.name)
        if !isDefined(b.data) { enter(b.data) }
        guard b.data.dtype.isHandle else {
            throw fail("TIR145", "the data of `\(b.name)` is no pointer", actual: "\(b.data.dtype)")
        }
        guard b.strides.isEmpty || b.strides.count == b.rank else {
            throw fail(
                "TIR143", "`\(b.name)` needs one stride a dimension", expected: "\(b.rank)",
                actual: "\(b.strides.count)")
        }
        for e in b.shape + b.strides + [b.elemOffset] {
            // A variable that stands alone is defined by the declaration.
            if e.kind == .variable && !isDefined(e) && !isHidden(e) { enter(e) }
        }
        for e in b.shape + b.strides + [b.elemOffset] { try index(e, "the shape of `\(b.name)`") }
    }

    private func use(_ b: Buffer) throws {
        if isDefined(b) { return }
        // A view needs memory that is known.
        guard isDefined(b.data) else {
            throw fail("TIR140", "the buffer `\(b.name)` is used and not defined here")
        }
    }

    // MARK: Functions

    func function(_ f: PrimFunc) throws {
        for p in f.params { try define(p, p.name) }
        var mapped: Set<Var> = []
        for (p, b) in f.bufferMap {
            guard f.params.contains(where: { $0 === p }), p.dtype.isHandle, mapped.insert(p).inserted else {
                throw fail("TIR145", "the buffer `\(b.name)` belongs to no parameter of its own")
            }
        }
        // Variables that stand alone in any parameter's shape are known to the expressions of all.
        for (_, b) in f.bufferMap {
            for e in b.shape + b.strides + [b.elemOffset] where e.kind == .variable && !isDefined(e) {
                enter(e)
            }
        }
        for (_, b) in f.bufferMap { try within("buffer: \(b.name)") { try declare(b) } }
        try stmt(f.body)
    }

    // MARK: Statements

    private func stmt(_ s: Stmt) throws {
        steps = 0
        try locating(s.span) { try check(s) }
    }

    private func check(_ s: Stmt) throws {
        switch s.stmtKind {
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            try expr(s.value)
            try same(s.variable.dtype, s.value.dtype, "the value of `\(s.variable.name)`")
            try nested {
                try define(s.variable, s.variable.name)
                try stmt(s.body)
            }
        case .attr:
            let s = unsafeDowncast(s, to: AttrStmt.self)
            try nested {
                if let i = s.node as? IterVar, !isDefined(i.variable) {
                    try define(i.variable, i.variable.name)
                } else if let e = s.node as? PrimExpr {
                    try expr(e)
                } else if let b = s.node as? Buffer {
                    try use(b)
                }
                try expr(s.value)
                try stmt(s.body)
            }
        case .assert: try condition(unsafeDowncast(s, to: AssertStmt.self).condition)
        case .bufferStore:
            let s = unsafeDowncast(s, to: BufferStore.self)
            try within("store: \(s.buffer.name)") {
                try access(s.buffer, s.indices)
                try expr(s.value)
                let lanes = Int(s.indices.last?.dtype.lanes ?? 1) * Int(s.buffer.dtype.lanes)
                guard lanes <= Int(UInt16.max) else { throw fail("TIR142", "a vector of too many lanes") }
                try same(s.buffer.dtype.with(lanes: lanes), s.value.dtype, "the value")
            }
        case .seq: for c in unsafeDowncast(s, to: SeqStmt.self).stmts { try nested { try stmt(c) } }
        case .ifThenElse:
            let s = unsafeDowncast(s, to: IfThenElse.self)
            try condition(s.condition)
            try nested { try stmt(s.thenCase) }
            if let other = s.elseCase { try nested { try stmt(other) } }
        case .evaluate: try expr(unsafeDowncast(s, to: Evaluate.self).value)
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            try within("loop: \(s.loopVar.name)") {
                try index(s.min, "the begin of a loop")
                try index(s.extent, "the extent of a loop")
                try same(s.loopVar.dtype, s.min.dtype, "the begin of the loop")
                try same(s.loopVar.dtype, s.extent.dtype, "the extent of the loop")
                if s.forKind == .threadBinding && s.threadBinding == nil {
                    throw fail("TIR144", "a thread-bound loop names no thread axis")
                }
                try nested {
                    try define(s.loopVar, s.loopVar.name)
                    loopVars.append(s.loopVar)
                    if let t = s.threadBinding, t.variable !== s.loopVar, !isDefined(t.variable) {
                        // One thread axis may be bound by several loops.
                        enter(t.variable)
                    }
                    try stmt(s.body)
                }
            }
        case .whileLoop:
            let s = unsafeDowncast(s, to: While.self)
            try condition(s.condition)
            try nested { try stmt(s.body) }
        case .allocate:
            let s = unsafeDowncast(s, to: Allocate.self)
            try nested {
                for e in s.buffer.shape { try index(e, "the shape of `\(s.buffer.name)`") }
                try declare(s.buffer)
                try stmt(s.body)
            }
        case .block: try block(unsafeDowncast(s, to: Block.self))
        case .blockRealize:
            let s = unsafeDowncast(s, to: BlockRealize.self)
            guard s.iterValues.count == s.block.iterVars.count else {
                throw fail(
                    "TIR144", "the block `\(s.block.name)` needs one value a variable",
                    expected: "\(s.block.iterVars.count)", actual: "\(s.iterValues.count)")
            }
            try within("block: \(s.block.name)") {
                for (v, e) in zip(s.block.iterVars, s.iterValues) {
                    try index(e, "the value of `\(v.variable.name)`")
                    try same(v.variable.dtype, e.dtype, "the value of `\(v.variable.name)`")
                }
                try condition(s.predicate)
                try block(s.block)
            }
        }
    }

    private func block(_ b: Block) throws {
        try nested {
            for v in b.iterVars {
                try index(v.dom.min, "the domain of `\(v.variable.name)`")
                try index(v.dom.extent, "the domain of `\(v.variable.name)`")
                try same(v.variable.dtype, v.dom.extent.dtype, "the domain of `\(v.variable.name)`")
                try same(v.variable.dtype, v.dom.min.dtype, "the domain of `\(v.variable.name)`")
            }
            if !b.iterVars.isEmpty {
                // A block with variables sees the loops outside through them only.
                let outside = loopVars
                let good = checked
                (loopVars, checked) = ([], [])
                defer { (loopVars, checked) = (outside, good) }
                for v in outside {
                    hidden[ObjectIdentifier(v), default: 0] += 1
                    hiddenLog.append(ObjectIdentifier(v))
                }
                return try contents(b)
            }
            try contents(b)
        }
    }

    private func contents(_ b: Block) throws {
        for v in b.iterVars { try define(v.variable, v.variable.name) }
        for a in b.allocBuffers { try declare(a) }
        for m in b.matchBuffers {
            try region(m.source)
            try declare(m.buffer)
            if m.buffer.dtype != m.source.buffer.dtype {
                try same(m.source.buffer.dtype, m.buffer.dtype, "the view `\(m.buffer.name)`")
            }
        }
        for r in b.reads + b.writes { try region(r) }
        if let i = b.initial { try nested { try stmt(i) } }
        try stmt(b.body)
    }

    private func region(_ r: BufferRegion) throws {
        try use(r.buffer)
        guard r.region.count == r.buffer.rank else {
            throw fail(
                "TIR143", "a region of `\(r.buffer.name)` has another rank", expected: "\(r.buffer.rank)",
                actual: "\(r.region.count)")
        }
        for d in r.region {
            try index(d.min, "a region of `\(r.buffer.name)`")
            try index(d.extent, "a region of `\(r.buffer.name)`")
        }
    }

    // MARK: Expressions

    private func same(_ expected: DataType, _ actual: DataType, _ what: String) throws {
        if expected != actual {
            throw fail("TIR142", "\(what) has another type", expected: "\(expected)", actual: "\(actual)")
        }
    }

    private func condition(_ e: PrimExpr) throws {
        try expr(e)
        try same(.bool, e.dtype, "the condition `\(brief(e))`")
    }

    private func index(_ e: PrimExpr, _ what: String) throws {
        try expr(e)
        guard e.dtype.isInteger, e.dtype.isScalar, !e.dtype.isBool else {
            throw fail("TIR142", "\(what) is no integer", actual: "\(brief(e)): \(e.dtype)")
        }
    }

    private func brief(_ e: PrimExpr) -> String {
        expressionSize(e, limit: 30) < 30 ? e.description : "\(e.schema.key)"
    }

    private func access(_ b: Buffer, _ indices: [PrimExpr]) throws {
        try use(b)
        guard indices.count == b.rank else {
            throw fail(
                "TIR143", "`\(b.name)` is accessed with another rank", expected: "\(b.rank)",
                actual: "\(indices.count)")
        }
        for (i, e) in indices.enumerated() {
            try expr(e)
            guard e.dtype.isInteger, !e.dtype.element.isBool, e.dtype.isScalar || i == indices.count - 1
            else {
                throw fail(
                    "TIR142", "an index of `\(b.name)` is no integer", actual: "\(brief(e)): \(e.dtype)")
            }
        }
    }

    private func expr(_ e: PrimExpr) throws {
        steps += 1
        if steps > smallWalk && e.kind != .variable && checked.contains(ObjectIdentifier(e)) { return }
        let before = everDefined.count
        try growingStack { () throws(any Error) in try locating(e.span) { try check(e) } }
        if steps > smallWalk && e.kind != .variable && everDefined.count == before {
            checked.insert(ObjectIdentifier(e))
            checkedLog.append(ObjectIdentifier(e))
        }
    }

    private func check(_ e: PrimExpr) throws {
        switch e.kind {
        case .intImm:
            guard e.dtype.isInteger, e.dtype.isScalar,
                IntImm.fits(unsafeDowncast(e, to: IntImm.self).value, e.dtype)
            else {
                throw fail(
                    "TIR142", "an integer constant does not fit its type", actual: "\(brief(e)): \(e.dtype)")
            }
        case .floatImm:
            guard e.dtype.isFloat, e.dtype.isScalar else {
                throw fail("TIR142", "a float constant needs a floating type", actual: "\(e.dtype)")
            }
        case .stringImm: break
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            if isHidden(v) {
                throw fail("TIR146", "a block uses the loop variable `\(v.name)` from outside")
            }
            if !isDefined(v) { throw fail("TIR140", "the variable `\(v.name)` is used and not defined here") }
        case .let:
            let e = unsafeDowncast(e, to: Let.self)
            try expr(e.value)
            try same(e.variable.dtype, e.value.dtype, "the value of `\(e.variable.name)`")
            try nested {
                // One `Let` may be shared by several expressions.
                enter(e.variable)
                try expr(e.body)
            }
        case .bufferLoad:
            let l = unsafeDowncast(e, to: BufferLoad.self)
            try access(l.buffer, l.indices)
        case .producerLoad, .reduce:
            throw fail(
                "TIR147", "\(e.schema.key) has no place in a function: it belongs to tensor expressions")
        default:
            try forEachChild(of: e) { try expr($0) }
            try agree(e)
        }
    }

    /// The types of an expression's operands against each other.
    private func agree(_ e: PrimExpr) throws {
        func bad(_ expected: String) -> ApusError {
            fail("TIR142", "the operands of `\(brief(e))` do not fit", expected: expected)
        }
        switch e.kind {
        case .cast:
            let c = unsafeDowncast(e, to: Cast.self)
            if c.value.dtype.lanes != c.dtype.lanes { throw bad("a cast to as many lanes") }
        case .not: if !e.dtype.element.isBool { throw bad("bool") }
        case .select:
            let s = unsafeDowncast(e, to: Select.self)
            try same(s.trueValue.dtype, s.falseValue.dtype, "one side of `\(brief(e))`")
            let lanes = s.condition.dtype.lanes
            if !s.condition.dtype.element.isBool || (lanes != 1 && lanes != e.dtype.lanes) {
                throw bad("a condition")
            }
        case .ramp:
            let r = unsafeDowncast(e, to: Ramp.self)
            try same(r.base.dtype, r.stride.dtype, "the stride of `\(brief(e))`")
            if !r.base.dtype.isScalar || r.lanes < 1 { throw bad("scalars") }
        case .broadcast:
            let b = unsafeDowncast(e, to: Broadcast.self)
            if !b.value.dtype.isScalar || b.lanes < 1 { throw bad("a scalar") }
        case .shuffle:
            let s = unsafeDowncast(e, to: Shuffle.self)
            let total = s.vectors.reduce(0) { $0 + Int($1.dtype.lanes) }
            if s.indices.isEmpty || !s.indices.allSatisfy({ $0 >= 0 && $0 < total }) {
                throw bad("lanes in 0..<\(total)")
            }
            for v in s.vectors { try same(e.dtype.element, v.dtype.element, "a vector of `\(brief(e))`") }
        case .call: try call(unsafeDowncast(e, to: Call.self))
        default:
            guard let b = e as? BinaryExpr else { return }
            try same(b.a.dtype, b.b.dtype, "the right side of `\(brief(e))`")
            switch e.kind {
            case .and, .or: if !b.a.dtype.element.isBool { throw bad("bool") }
            case .eq, .ne: if b.a.dtype.isVoid { throw bad("values") }
            default: if !b.a.dtype.isInteger && !b.a.dtype.isFloat { throw bad("numbers") }
            }
        }
    }

    private func call(_ c: Call) throws {
        if let g = c.op as? GlobalVar {
            if let module, module[g.name] == nil {
                throw fail("TIR148", "the module has no function `\(g.name)`")
            }
            return
        }
        guard let op = c.op as? Op else { throw fail("TIR148", "a call of something that is no function") }
        guard op.arity.contains(c.args.count) else {
            throw fail(
                "TIR143", "wrong number of arguments of \(op.name)", expected: "\(op.arity)",
                actual: "\(c.args.count)")
        }
        let short = op.name.hasPrefix("tir.") ? String(op.name.dropFirst(4)) : ""
        let isFloatFunction =
            Intrinsics.unaryFloat.contains(short) || Intrinsics.binaryFloat.contains(short)
            || Intrinsics.predicates.contains(short)
        if isFloatFunction && !c.args.allSatisfy({ $0.dtype.isFloat }) {
            throw fail("TIR142", "\(op.name) is a function of floats", actual: "\(c.args.map(\.dtype))")
        }
        if Intrinsics.bitwise.contains(where: { $0.name == short })
            && !c.args.allSatisfy({ $0.dtype.isInteger })
        {
            throw fail("TIR142", "\(op.name) is a function of integers", actual: "\(c.args.map(\.dtype))")
        }
        if isFloatFunction || short == "fma" || short.hasPrefix("bitwise_") || short.hasPrefix("shift_") {
            for a in c.args.dropFirst() { try same(c.args[0].dtype, a.dtype, "an argument of \(op.name)") }
        }
        if short == "if_then_else" {
            if c.args[0].dtype != .bool { throw fail("TIR142", "the condition of if_then_else is no bool") }
            try same(c.args[1].dtype, c.args[2].dtype, "one side of if_then_else")
        }
        if short != "ret", let d = inferredCallType(short, c.args) {
            try same(d, c.dtype, "the call of \(op.name)")
        }
    }
}
