import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import CLLVM

extension CodeGenLLVM {
    /// The code of one statement, at the builder's position.
    func statement(_ s: Stmt) throws { try locating(s.span) { try emit(s) } }

    private func emit(_ s: Stmt) throws {
        switch s.stmtKind {
        case .seq:
            let parts = UpdateOrder.arranged(unsafeDowncast(s, to: SeqStmt.self).stmts) {
                frame.aligned.contains(ObjectIdentifier($0.data))
            }
            for part in parts { try statement(part) }
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            if e.kind != .intImm { _ = try valueOrVoid(e) }
        case .bufferStore: try store(unsafeDowncast(s, to: BufferStore.self))
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            try bind(s.variable, s.value, try value(s.value)) { try statement(s.body) }
        case .attr:
            let s = unsafeDowncast(s, to: AttrStmt.self)
            if s.key == "compute_scope" { try computeScope(s) } else { try statement(s.body) }
        case .assert:
            let s = unsafeDowncast(s, to: AssertStmt.self)
            require(try condition(s.condition)) { setError(s.code, s.message) }
        case .ifThenElse: try conditional(unsafeDowncast(s, to: IfThenElse.self))
        case .forLoop: try loop(unsafeDowncast(s, to: For.self))
        case .whileLoop: try whileLoop(unsafeDowncast(s, to: While.self))
        case .allocate: try allocate(unsafeDowncast(s, to: Allocate.self))
        case .block, .blockRealize:
            throw ApusError(
                "TGT020", "the function still has blocks: it was not lowered", at: ["kernel: \(kernel)"],
                hint: "run `lower` before the code generator")
        }
    }

    /// Defines a variable for `body`, keeping what is known of its value.
    func bind<R>(_ v: Var, _ e: PrimExpr, _ value: LV, _ body: () throws -> R) rethrows -> R {
        if frame.facts.isNonNegative(e) { frame.facts.nonNegative.insert(ObjectIdentifier(v)) }
        return try scoped(v, value, body)
    }

    /// The value of a scalar condition.
    func condition(_ e: PrimExpr) throws -> LV {
        let v = try value(e)
        return e.dtype.isBool ? v : try convert(v, e.dtype, .bool)
    }

    private func conditional(_ s: IfThenElse) throws {
        if s.condition.dtype.lanes > 1 {
            let mask = try condition(s.condition)
            try masked(mask) { try statement(s.thenCase) }
            if let other = s.elseCase { try masked(LLVMBuildNot(builder, mask, "")) { try statement(other) } }
            return
        }
        let isLikely = (s.condition as? Call)?.name == "tir.likely"
        let c = try condition(s.condition)
        let yes = block()
        let after = block()
        let no = s.elseCase == nil ? after : block()
        branch(c, yes, no, likely: isLikely)
        position(yes)
        try statement(s.thenCase)
        LLVMBuildBr(builder, after)
        if let other = s.elseCase {
            position(no)
            try statement(other)
            LLVMBuildBr(builder, after)
        }
        LLVMMoveBasicBlockAfter(after, currentBlock)
        position(after)
    }

    /// Runs `body` with only the lanes of `mask` active.
    func masked(_ mask: LV, _ body: () throws -> Void) rethrows {
        let saved = frame.mask
        if let outer = saved, LLVMTypeOf(outer) == LLVMTypeOf(mask) {
            frame.mask = LLVMBuildAnd(builder, outer, mask, "")
        } else {
            frame.mask = mask
        }
        defer { frame.mask = saved }
        try body()
    }

    // MARK: Loops

    private func loop(_ s: For) throws {
        if s.forKind == .threadBinding {
            throw ApusError(
                "TGT025", "a loop is bound to a hardware thread, which a CPU does not have",
                at: ["kernel: \(kernel)"],
                actual: s.loopVar.name)
        }
        if s.forKind == .parallel, !frame.insideParallel, s.extent.asInt ?? 2 > 1 {
            try parallel(s)
            return
        }
        if let n = s.extent.asInt, n <= 0 { return }
        let min = try value(s.min)
        if s.extent.asInt == 1 {
            try bind(s.loopVar, s.min, min) { try statement(s.body) }
            return
        }
        let hoisted = frame.loopDepth == 0 ? try hoistAllocations(s.body) : 0
        let n = try value(s.extent)
        let end: LV = LLVMBuildNSWAdd(builder, min, n, "")
        try count(s, from: min, to: end, guarded: s.extent.asInt == nil)
        for _ in 0..<hoisted {
            if let p = frame.workspaces.popLast() { freeWorkspace(p) }
        }
    }

    /// `for loopVar in from ..< to`; `guarded`: there may be nothing to do.
    private func count(_ s: For, from: LV, to: LV, guarded: Bool) throws {
        let before = currentBlock
        let head = block()
        let after = block()
        if guarded {
            branch(LLVMBuildICmp(builder, LLVMIntSLT, from, to, ""), head, after)
        } else {
            LLVMBuildBr(builder, head)
        }
        position(head)
        let type: LT = LLVMTypeOf(from)
        let i: LV = LLVMBuildPhi(builder, type, "")
        frame.loopDepth += 1
        try bind(s.loopVar, s.min, i) { try statement(s.body) }
        frame.loopDepth -= 1
        let next: LV = LLVMBuildNSWAdd(builder, i, constant(1, type), "")
        var values: [LV?] = [from, next]
        var blocks: [LLVMBasicBlockRef?] = [before, currentBlock]
        LLVMAddIncoming(i, &values, &blocks, 2)
        let back: LV = LLVMBuildCondBr(builder, LLVMBuildICmp(builder, LLVMIntSLT, next, to, ""), head, after)
        if let hint = loopHint(s) {
            LLVMSetMetadata(back, LLVMGetMDKindIDInContext(context, "llvm.loop", 9), hint)
        }
        LLVMMoveBasicBlockAfter(after, currentBlock)
        position(after)
    }

    /// What LLVM is told of a loop that the schedule left to it.
    private func loopHint(_ s: For) -> LV? {
        let name: String
        switch s.forKind {
        case .unrolled: name = "llvm.loop.unroll.full"
        case .vectorized: name = "llvm.loop.vectorize.enable"
        default: return nil
        }
        var option: [LLVMMetadataRef?] = [LLVMMDStringInContext2(context, name, name.utf8.count)]
        if s.forKind == .vectorized { option.append(LLVMValueAsMetadata(LLVMConstInt(i1, 1, 0))) }
        let optionNode = LLVMMDNodeInContext2(context, &option, option.count)
        // A loop's node starts with itself, so that no two loops share one.
        let placeholder = LLVMTemporaryMDNode(context, nil, 0)
        var parts: [LLVMMetadataRef?] = [placeholder, optionNode]
        let node = LLVMMDNodeInContext2(context, &parts, 2)
        LLVMMetadataReplaceAllUsesWith(placeholder, node)
        return LLVMMetadataAsValue(context, node)
    }

    private func whileLoop(_ s: While) throws {
        let head = block()
        LLVMBuildBr(builder, head)
        position(head)
        let c = try condition(s.condition)
        let body = block()
        let after = block()
        branch(c, body, after)
        position(body)
        frame.loopDepth += 1
        try statement(s.body)
        frame.loopDepth -= 1
        LLVMBuildBr(builder, head)
        LLVMMoveBasicBlockAfter(after, currentBlock)
        position(after)
    }

    /// A parallel loop: its body becomes a task that runs a contiguous share of the iterations.
    private func parallel(_ s: For) throws {
        let used = usedVariables(s.body)
        let captured = frame.order.filter {
            used.contains(ObjectIdentifier($0)) && frame.values[ObjectIdentifier($0)] != nil
        }
        var seen: Set<ObjectIdentifier> = []
        let variables = captured.filter { seen.insert(ObjectIdentifier($0)).inserted }
        let min = try convert(value(s.min), s.min.dtype, .int64)
        let extent = try convert(value(s.extent), s.extent.dtype, .int64)
        var values: [LV] = [min, extent]
        for v in variables {
            guard let known = frame.values[ObjectIdentifier(v)] else { throw undefined(v) }
            values.append(known)
        }
        let types: [LT] = values.map { LLVMTypeOf($0) }
        var list: [LT?] = types
        let record: LT = LLVMStructTypeInContext(context, &list, UInt32(list.count), 0)
        let data = alloca(record)
        for (i, v) in values.enumerated() {
            LLVMBuildStore(builder, v, LLVMBuildStructGEP2(builder, record, data, UInt32(i), ""))
        }
        let name = "\(kernel).task\(taskCount)"
        taskCount += 1
        let outer = currentBlock
        // The share: pointers are parameters again, so that they keep `noalias`.
        let shareType = functionType(i32, Array(types.dropFirst(2)) + [i64, i64])
        let share: LV = LLVMAddFunction(module, "\(name).share", shareType)
        LLVMSetLinkage(share, LLVMInternalLinkage)
        addAttribute(share, "noinline")
        let pointers = frame.pointers
        let aligned = frame.aligned
        let facts = frame.facts
        var saved = begin(share)
        frame.insideParallel = true
        frame.pointers = pointers
        frame.aligned = aligned
        frame.facts = facts
        for (i, v) in variables.enumerated() {
            define(v, LLVMGetParam(share, UInt32(i)))
            if noAlias, pointers.contains(ObjectIdentifier(v)) { addAttribute(share, "noalias", at: i) }
        }
        let first: LV = LLVMGetParam(share, UInt32(variables.count))
        let last: LV = LLVMGetParam(share, UInt32(variables.count + 1))
        let hoisted = try hoistAllocations(s.body)
        try count(
            s, from: convert(first, .int64, s.loopVar.dtype), to: convert(last, .int64, s.loopVar.dtype),
            guarded: true)
        for _ in 0..<hoisted {
            if let p = frame.workspaces.popLast() { freeWorkspace(p) }
        }
        LLVMBuildRet(builder, int32(0))
        finish(saved, at: nil)

        let taskType = functionType(i32, [i32, i32, ptr])
        let task: LV = LLVMAddFunction(module, name, taskType)
        LLVMSetLinkage(task, LLVMInternalLinkage)
        saved = begin(task)
        let pointer: LV = LLVMGetParam(task, 2)
        var parts: [LV] = []
        for i in values.indices {
            parts.append(load(types[i], LLVMBuildStructGEP2(builder, record, pointer, UInt32(i), "")))
        }
        let id: LV = LLVMBuildSExt(builder, LLVMGetParam(task, 0), i64, "")
        let tasks: LV = LLVMBuildSExt(builder, LLVMGetParam(task, 1), i64, "")
        func bound(_ k: LV) -> LV {
            LLVMBuildAdd(
                builder, parts[0], LLVMBuildSDiv(builder, LLVMBuildMul(builder, parts[1], k, ""), tasks, ""),
                "")
        }
        let lo = bound(id)
        let hi = bound(LLVMBuildAdd(builder, id, index(1), ""))
        LLVMBuildRet(builder, call(shareType, share, Array(parts.dropFirst(2)) + [lo, hi]))
        finish(saved, at: outer)

        let status = call(functionType(i32, [ptr, ptr, i32]), apiFunction(0), [task, data, int32(0)])
        let bad = block()
        let good = block()
        branch(LLVMBuildICmp(builder, LLVMIntEQ, status, int32(0), ""), good, bad, likely: true)
        position(bad)
        leave(status)
        position(good)
    }

    // MARK: Memory

    /// Bytes of a buffer of known size, or nil.
    private func staticBytes(_ b: Buffer) -> Int? {
        var n = b.dtype.byteCount
        for d in b.shape {
            guard let extent = d.asInt, extent >= 0 else { return nil }
            let (p, overflow) = n.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            n = p
        }
        return n
    }

    private func fitsStack(_ bytes: Int) -> Bool {
        bytes <= CodeGenLLVM.stackLimit && frame.stackBytes + bytes <= CodeGenLLVM.stackTotal
    }

    /// Memory of `bytes`; leaves the function if there is none.
    private func workspace(_ bytes: LV) -> LV {
        let p = call(functionType(ptr, [i64]), apiFunction(1), [bytes])
        LLVMAddCallSiteAttribute(p, 0, attribute("noalias"))
        require(LLVMBuildIsNotNull(builder, p, "")) {
            setError("RT111", "kernel \(kernel): out of memory for a workspace")
        }
        frame.workspaces.append(p)
        return p
    }

    /// Takes the workspaces of known size inside a loop before it, once instead of every time around.
    private func hoistAllocations(_ s: Stmt) throws -> Int {
        var found: [(ObjectIdentifier, Int)] = []
        func visit(_ s: Stmt) {
            if s.stmtKind == .forLoop {
                let f = unsafeDowncast(s, to: For.self)
                if f.forKind == .parallel, !frame.insideParallel { return }
            }
            if s.stmtKind == .allocate {
                let b = unsafeDowncast(s, to: Allocate.self).buffer
                if let n = staticBytes(b), n > CodeGenLLVM.stackLimit {
                    found.append((ObjectIdentifier(b.data), n))
                }
            }
            forEachChild(of: s, expr: { _ in }, stmt: { visit($0) })
        }
        visit(s)
        for (key, n) in found { frame.hoisted[key] = workspace(index(n)) }
        return found.count
    }

    private func allocate(_ s: Allocate) throws {
        let b = s.buffer
        let key = ObjectIdentifier(b.data)
        frame.pointers.insert(key)
        frame.aligned.insert(key)
        if let p = frame.hoisted[key] {
            try scoped(b.data, p) { try statement(s.body) }
            return
        }
        if let n = staticBytes(b), fitsStack(n) {
            frame.stackBytes += n
            let element = try memoryType(b.dtype.element)
            let count = n / max(1, b.dtype.element.byteCount)
            let p = alloca(LLVMArrayType2(element, UInt64(max(count, 1))), alignment: 64)
            try scoped(b.data, p) { try statement(s.body) }
            return
        }
        var bytes = index(b.dtype.byteCount)
        if let n = staticBytes(b) {
            bytes = index(n)
        } else {
            for d in b.shape {
                bytes = LLVMBuildMul(builder, bytes, try convert(value(d), d.dtype, .int64), "")
            }
        }
        let p = workspace(bytes)
        try scoped(b.data, p) { try statement(s.body) }
        frame.workspaces.removeLast()
        freeWorkspace(p)
    }
}
