import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// Owns a piece of code.
final class TIRAnchor<R> {
    let run: (TIRFrame) throws -> R
    init(_ run: @escaping (TIRFrame) throws -> R) { self.run = run }
}

/// Turns loop IR into closures over a frame.
final class TIRCompiler {
    typealias Run = (TIRFrame) throws -> Void
    typealias IntFn = (TIRFrame) throws -> Int
    typealias FloatFn = (TIRFrame) throws -> Double

    /// An expression, by the form of its value.
    enum Code {
        case int(IntFn)
        case float(FloatFn)
        case ints((TIRFrame) throws -> [Int])
        case floats((TIRFrame) throws -> [Double])
        case handle((TIRFrame) throws -> TIRHandle)
    }

    let context: TIRRunContext
    var counts = TIRSlotCounts()
    private var slots: [ObjectIdentifier: TIRSlot] = [:]
    /// Keeps the keys of `slots` alive.
    private var variables: [Var] = []
    /// Thread-bound loops of a block around the code, and the dimension of each thread variable.
    var threadDepth = 0
    var threadDimension: [ObjectIdentifier: Int] = [:]
    /// Memory of threads that is allocated around the loops over them.
    var threadLocals: [Int] = []
    /// Operations so far in which threads of a block, or blocks, wait for each other.
    var blockCollectives = 0
    var gridCollectives = 0
    /// The reducer of the `reduce_scope` around the code.
    var reducer: CommReducer?
    /// Levels of nesting.
    var depth = 0

    init(_ context: TIRRunContext) { self.context = context }

    // MARK: Variables

    func isDefined(_ v: Var) -> Bool { slots[ObjectIdentifier(v)] != nil }

    func define(_ v: Var) {
        if isDefined(v) { return }
        let slot: TIRSlot
        let d = v.dtype
        if d.isHandle || d.isVoid {
            slot = .handle(counts.handle)
            counts.handle += 1
        } else if d.isFloat {
            if d.isScalar {
                slot = .float(counts.float)
                counts.float += 1
            } else {
                slot = .floats(counts.floats)
                counts.floats += 1
            }
        } else if d.isScalar {
            slot = .int(counts.int)
            counts.int += 1
        } else {
            slot = .ints(counts.ints)
            counts.ints += 1
        }
        slots[ObjectIdentifier(v)] = slot
        variables.append(v)
    }

    func slot(_ v: Var) throws -> TIRSlot {
        if let s = slots[ObjectIdentifier(v)] { return s }
        throw ApusError("TIR166", "the variable `\(v.name)` is used and not defined")
    }

    func intSlot(_ v: Var) throws -> Int {
        define(v)
        guard case .int(let i) = try slot(v) else {
            throw ApusError("TIR162", "`\(v.name)` must be an integer", actual: "\(v.dtype)")
        }
        return i
    }

    func handleSlot(_ v: Var) throws -> Int {
        guard case .handle(let i) = try slot(v) else {
            throw ApusError("TIR162", "`\(v.name)` must be a pointer", actual: "\(v.dtype)")
        }
        return i
    }

    /// An integer scalar.
    func int(_ e: PrimExpr) throws -> IntFn {
        guard case .int(let f) = try expr(e) else {
            throw ApusError("TIR162", "an integer is needed", actual: "\(e): \(e.dtype)")
        }
        return f
    }

    /// Sets `slot` to what `value` yields.
    func assign(_ slot: TIRSlot, _ value: Code, _ what: String) throws -> Run {
        switch (slot, value) {
        case (.int(let i), .int(let f)): return { $0.ints[i] = try f($0) }
        case (.float(let i), .float(let f)): return { $0.floats[i] = try f($0) }
        case (.ints(let i), .ints(let f)): return { $0.intVectors[i] = try f($0) }
        case (.floats(let i), .floats(let f)): return { $0.floatVectors[i] = try f($0) }
        case (.handle(let i), .handle(let f)): return { $0.handles[i] = try f($0) }
        default: throw ApusError("TIR162", "the value of `\(what)` has another type than the variable")
        }
    }

    // MARK: Statements

    func stmt(_ s: Stmt) throws -> Run {
        depth += 1
        defer { depth -= 1 }
        var run = try growingStack { () throws(any Error) in try locating(s.span) { try compile(s) } }
        if let span = s.span {
            switch s.stmtKind {
            case .bufferStore, .evaluate, .assert:
                let plain = run
                run = { f in try locating(span) { try plain(f) } }
            default: break  // What they hold knows its place.
            }
        }
        return depth % TIRCompiler.anchorDistance == 0 ? anchored(run) : run
    }

    /// Levels between places where running code looks after its stack.
    static let anchorDistance = 64

    /// Code that runs `run`, on a fresh stack if need be, and does not own it.
    func anchored<R>(_ run: @escaping (TIRFrame) throws -> R) -> (TIRFrame) throws -> R {
        let box = TIRAnchor(run)
        context.keep(box)
        let reference = Unmanaged.passUnretained(box)
        return { f in
            try growingStack { () throws(any Error) -> R in try reference.takeUnretainedValue().run(f) }
        }
    }

    private func compile(_ s: Stmt) throws -> Run {
        switch s.stmtKind {
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            let value = try expr(s.value)
            define(s.variable)
            let set = try assign(try slot(s.variable), value, s.variable.name)
            let body = try stmt(s.body)
            return { f in
                try set(f)
                try body(f)
            }
        case .attr:
            let s = unsafeDowncast(s, to: AttrStmt.self)
            if let i = s.node as? IterVar, !isDefined(i.variable) {
                // A thread axis without a loop (`thread_extent`): the loop over its threads is here.
                if i.iterType == .threadIndex {
                    let extent = try int(s.value)
                    let slot = try intSlot(i.variable)
                    return try threadLoop(
                        [slot], i.threadTag, { _ in 0 }, extent, variables: [i.variable], s.body)
                }
                define(i.variable)
            }
            if s.key == "reduce_scope", let r = s.node as? CommReducer {
                let outer = reducer
                reducer = r
                defer { reducer = outer }
                return try stmt(s.body)
            }
            return try stmt(s.body)
        case .assert:
            let s = unsafeDowncast(s, to: AssertStmt.self)
            let c = try int(s.condition)
            let code = s.code
            let message = s.message
            return { f in
                try f.context.step()
                if try c(f) == 0 { throw ApusError(code, message) }
            }
        case .bufferStore:
            let s = unsafeDowncast(s, to: BufferStore.self)
            let store = try self.store(s.buffer, s.indices, try expr(s.value))
            return { f in
                try f.context.step()
                try store(f)
            }
        case .seq:
            let all = try unsafeDowncast(s, to: SeqStmt.self).stmts.map { try stmt($0) }
            if all.count == 2 {
                let first = all[0]
                let second = all[1]
                return { f in
                    try first(f)
                    try second(f)
                }
            }
            return { f in for run in all { try run(f) } }
        case .ifThenElse:
            let s = unsafeDowncast(s, to: IfThenElse.self)
            let c = try int(s.condition)
            let a = try stmt(s.thenCase)
            guard let other = s.elseCase else { return { f in if try c(f) != 0 { try a(f) } } }
            let b = try stmt(other)
            return { f in if try c(f) != 0 { try a(f) } else { try b(f) } }
        case .evaluate: return try evaluate(unsafeDowncast(s, to: Evaluate.self).value)
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            let lo = try int(s.min)
            let n = try int(s.extent)
            let i = try intSlot(s.loopVar)
            if let thread = s.threadBinding {
                let t = try intSlot(thread.variable)
                return try threadLoop(
                    [i, t], thread.threadTag, lo, n, variables: [s.loopVar, thread.variable], s.body)
            }
            let body = try stmt(s.body)
            let isParallel = s.forKind == .parallel && context.races != nil
            return { f in
                let first = try lo(f)
                let count = try n(f)
                let path = f.path
                let region = isParallel ? TIRRegion() : nil
                defer { if isParallel { f.path = path } }
                var k = 0
                while k < count {
                    try f.context.step()
                    f.ints[i] = first &+ k
                    if let region { f.path = TIRPath(path, region, k) }
                    try body(f)
                    k += 1
                }
            }
        case .whileLoop:
            let s = unsafeDowncast(s, to: While.self)
            let c = try int(s.condition)
            let body = try stmt(s.body)
            return { f in
                while try c(f) != 0 {
                    try f.context.step()
                    try body(f)
                }
            }
        case .allocate:
            let s = unsafeDowncast(s, to: Allocate.self)
            let alloc = try scopedAllocation(s.buffer)
            let locals = threadLocals
            defer { threadLocals = locals }
            if s.buffer.storageScope.rank == .local { threadLocals.append(try handleSlot(s.buffer.data)) }
            let body = try stmt(s.body)
            return { f in
                try alloc(f)
                try body(f)
            }
        case .block: return try block(unsafeDowncast(s, to: Block.self), [], nil)
        case .blockRealize:
            let s = unsafeDowncast(s, to: BlockRealize.self)
            return try block(s.block, s.iterValues, s.predicate)
        }
    }

    private func evaluate(_ e: PrimExpr) throws -> Run {
        if let c = e as? Call, let op = c.op as? Op {
            switch op.name {
            case "tir.storage_sync":
                let isGrid = (c.args.first as? StringImm)?.value == "global"
                if isGrid { gridCollectives += 1 } else { blockCollectives += 1 }
                return { f in try f.context.barrier(isGrid ? .grid : .block) }
            case "tir.prefetch", "tir.global_barrier_kinit": return { _ in }
            case "tir.thread_allreduce": return try allReduce(c)
            case "tir.ret":
                guard let value = c.args.first else { return { _ in throw TIRReturn() } }
                let code = try expr(value)
                return { f in
                    switch code {
                    case .int(let g): f.result = .int(try g(f))
                    case .float(let g): f.result = .float(try g(f))
                    case .handle(let g): f.result = .handle(try g(f))
                    default: throw ApusError("TIR162", "a vector cannot be returned")
                    }
                    throw TIRReturn()
                }
            default: break
            }
        }
        // The value of a call that stands alone is nobody's.
        if let c = e as? Call, c.dtype.isVoid || c.op is GlobalVar || c.name.hasPrefix("tir.call_") {
            let run = try callValue(c)
            return { f in
                try f.context.step()
                _ = try run(f)
            }
        }
        let code = try expr(e)
        return { f in
            try f.context.step()
            switch code {
            case .int(let g): _ = try g(f)
            case .float(let g): _ = try g(f)
            case .ints(let g): _ = try g(f)
            case .floats(let g): _ = try g(f)
            case .handle(let g): _ = try g(f)
            }
        }
    }

    // MARK: Blocks

    private func block(_ b: Block, _ values: [PrimExpr], _ predicate: PrimExpr?) throws -> Run {
        guard values.count == b.iterVars.count else {
            throw ApusError("TIR162", "the block `\(b.name)` runs only with a value for each variable")
        }
        var binds: [Run] = []
        var atStart: [IntFn] = []
        for (v, e) in zip(b.iterVars, values) {
            let value = try int(e)
            let slot = try intSlot(v.variable)
            binds.append { f in f.ints[slot] = try value(f) }
            if v.iterType == .commReduce {
                let lo = try int(v.dom.min)
                atStart.append { f in f.ints[slot] == (try lo(f)) ? 1 : 0 }
            }
        }
        let holds = try predicate.flatMap { $0.isTrue ? nil : try int($0) }
        var setup: [Run] = []
        for a in b.allocBuffers { setup.append(try allocation(a)) }
        for m in b.matchBuffers { setup.append(try match(m)) }
        let initial = try b.initial.map { try stmt($0) }
        let body = try stmt(b.body)
        let label = b.name
        return { f in
            if let holds, try holds(f) == 0 { return }
            do {
                for bind in binds { try bind(f) }
                for s in setup { try s(f) }
                if let initial {
                    var first = true
                    for c in atStart where try c(f) == 0 { first = false }
                    if first { try initial(f) }
                }
                try body(f)
            } catch let e as ApusError {
                throw e.within("block: \(label)")
            }
        }
    }

    // MARK: Memory

    /// Types that memory can hold here.
    func checkType(_ d: DataType) throws {
        let ok: Bool
        switch d.code {
        case .int: ok = [8, 16, 32, 64].contains(d.bits)
        case .uint: ok = [1, 8, 16, 32, 64].contains(d.bits)
        case .float: ok = [16, 32, 64].contains(d.bits)
        case .bfloat: ok = d.bits == 16
        case .handle: ok = false
        }
        if !ok || d.lanes == 0 {
            throw ApusError("TIR162", "memory of this type cannot be interpreted", actual: "\(d)")
        }
    }

    /// As `allocation`, within threads: memory that the threads of a block or warp share is made by the first of them.
    private func scopedAllocation(_ b: Buffer) throws -> Run {
        let alloc = try allocation(b)
        let rank = b.storageScope.rank
        guard threadDepth > 0, rank == .shared || rank == .warp else { return alloc }
        let slot = try handleSlot(b.data)
        let id = ObjectIdentifier(b)
        let warpSize = context.options.warpSize
        context.keep(b)
        return { f in
            try alloc(f)
            guard let block = f.block, let fresh = f.handles[slot].storage?.owner else { return }
            let warp = rank == .warp ? f.position.linear / warpSize : -1
            let site = TIRBlockMemory.Site(buffer: id, bytes: fresh.byteCount, warp: warp)
            if let known = block.memory[site] {
                f.handles[slot] = TIRHandle(known)
                f.handles[slot].array = nil
            } else {
                block.memory[site] = fresh
            }
        }
    }

    private func allocation(_ b: Buffer) throws -> Run {
        try checkType(b.dtype)
        let dims = try b.shape.map { try int($0) }
        let strides = try b.strides.map { try int($0) }
        let offset = try int(b.elemOffset)
        define(b.data)
        let slot = try handleSlot(b.data)
        let dtype = b.dtype
        let label = b.name
        return { f in
            try f.context.step()
            var shape: [Int] = []
            for d in dims { shape.append(Swift.max(try d(f), 0)) }
            var (count, _) = try NDArray.checkedSize(shape: shape, dtype: dtype)
            if !strides.isEmpty && count > 0 {
                var last = 0
                for (n, s) in zip(shape, strides) {
                    let (step, o1) = (n - 1).multipliedReportingOverflow(by: try s(f))
                    let (sum, o2) = last.addingReportingOverflow(step)
                    if o1 || o2 || step < 0 {
                        throw ApusError("TIR167", "`\(label)` has strides that cannot be")
                    }
                    last = sum
                }
                count = last &+ 1
            }
            let start = try offset(f)
            let (total, overflow) = count.addingReportingOverflow(start)
            if overflow || start < 0 { throw ApusError("TIR167", "`\(label)` has an offset that cannot be") }
            let array = try NDArray.allocate(shape: [total], dtype: dtype)
            let bytes = UnsafeMutableRawBufferPointer(start: array.data, count: array.byteCount)
            _ = bytes.initializeMemory(as: UInt8.self, repeating: 0xFF)
            f.context.races?.forget(array.data, array.byteCount)
            var handle = TIRHandle(array)
            handle.array = nil
            f.handles[slot] = handle
        }
    }

    /// Strides of a buffer in elements, last axis 1 if it is compact.
    func strides(_ b: Buffer) throws -> [IntFn] {
        if !b.strides.isEmpty { return try b.strides.map { try int($0) } }
        var result: [IntFn] = []
        for i in 0..<b.rank {
            let inner = b.shape[(i + 1)...]
            if let known = inner.reduce(
                Optional(1),
                { p, e in
                    guard let p, let n = e.asInt else { return nil }
                    return p &* n
                })
            {
                result.append { _ in known }
            } else {
                let dims = try inner.map { try int($0) }
                result.append { f in
                    var p = 1
                    for d in dims { p = p &* (try d(f)) }
                    return p
                }
            }
        }
        return result
    }

    /// Makes a view of a region: the data of the view is the region's first element.
    private func match(_ m: MatchBufferRegion) throws -> Run {
        let source = m.source.buffer
        let b = m.buffer
        guard m.source.region.count == source.rank else {
            throw ApusError("TIR162", "a region of another rank")
        }
        let from = try handleSlot(source.data)
        let mins = try m.source.region.map { try int($0.min) }
        let extents = try m.source.region.map { try int($0.extent) }
        let steps = try strides(source)
        let base = try int(source.elemOffset)
        var sets: [Run] = []
        var views: [(extent: IntFn, stride: IntFn)] = []
        // Dimensions that the view drops have one element; they are leading ones.
        let dropped = source.rank - b.rank
        guard dropped >= 0 else { throw ApusError("TIR162", "a view of more dimensions than its region") }
        for i in dropped..<source.rank { views.append((extent: extents[i], stride: steps[i])) }
        var checks: [(actual: IntFn, wanted: PrimExpr, what: String)] = []
        func bind(_ e: PrimExpr, _ actual: @escaping IntFn, _ what: String) throws {
            if e.kind == .variable, let v = e as? Var, !isDefined(v) {
                let slot = try intSlot(v)
                sets.append { f in f.ints[slot] = try actual(f) }
            } else {
                checks.append((actual: actual, wanted: e, what: what))
            }
        }
        define(b.data)
        let to = try handleSlot(b.data)
        for i in 0..<b.rank { try bind(b.shape[i], views[i].extent, "dimension \(i)") }
        for i in 0..<b.strides.count { try bind(b.strides[i], views[i].stride, "stride \(i)") }
        let size = b.dtype.byteCount
        let label = b.name
        let start: IntFn = { f in
            var offset = try base(f)
            for i in mins.indices { offset = offset &+ (try mins[i](f)) &* (try steps[i](f)) }
            return offset
        }
        var moves = true
        if let v = b.elemOffset as? Var, !isDefined(v) {
            let slot = try intSlot(v)
            sets.append { f in f.ints[slot] = try start(f) }
            moves = false
        } else if b.elemOffset.asInt != 0 {
            throw ApusError("TIR162", "a view's offset must be 0 or a variable", actual: "\(b.elemOffset)")
        }
        let tests: [(actual: IntFn, wanted: IntFn, what: String)] = try checks.map {
            (actual: $0.actual, wanted: try int($0.wanted), what: $0.what)
        }
        let compact = b.strides.isEmpty
        return { f in
            guard f.handles[from].base != nil else { throw ApusError("TIR167", "`\(label)` views no memory") }
            for s in sets { try s(f) }
            for t in tests where try t.actual(f) != t.wanted(f) {
                throw ApusError(
                    "TIR160", "\(t.what) of the view `\(label)` does not fit", expected: "\(try t.wanted(f))",
                    actual: "\(try t.actual(f))")
            }
            if compact {
                var expected = 1
                for v in views.reversed() {
                    let n = try v.extent(f)
                    if n > 1, try v.stride(f) != expected {
                        throw ApusError(
                            "TIR160", "the view `\(label)` is not compact", hint: "give it strides")
                    }
                    expected = expected &* n
                }
            }
            f.handles[to] = f.handles[from]
            if moves { f.handles[to].offset = f.handles[to].offset &+ (try start(f)) &* size }
        }
    }
}
