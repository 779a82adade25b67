import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension CodeGenC {
    /// The code of one statement.
    func statement(_ s: Stmt) throws { try locating(s.span) { try emit(s) } }

    private func emit(_ s: Stmt) throws {
        switch s.stmtKind {
        case .seq: for part in unsafeDowncast(s, to: SeqStmt.self).stmts { try statement(part) }
        case .evaluate:
            let e = unsafeDowncast(s, to: Evaluate.self).value
            if e.kind == .call {
                _ = try callValue(unsafeDowncast(e, to: Call.self))
            } else if e.kind != .intImm {
                _ = try value(e)
            }
        case .bufferStore: try store(unsafeDowncast(s, to: BufferStore.self))
        case .letStmt:
            let s = unsafeDowncast(s, to: LetStmt.self)
            let v = try value(s.value)
            try scoped(s.variable, v) { try statement(s.body) }
        case .attr:
            let s = unsafeDowncast(s, to: AttrStmt.self)
            if s.key == "compute_scope" { try computeScope(s) } else { try statement(s.body) }
        case .assert:
            let s = unsafeDowncast(s, to: AssertStmt.self)
            let c = try convert(value(s.condition), .bool)
            open("if (!\(c.text))")
            line("apus_backend_api->set_error(\(CodeGenC.quoted(s.code)), \(CodeGenC.quoted(s.message)));")
            leave("-1")
            close()
        case .ifThenElse: try conditional(unsafeDowncast(s, to: IfThenElse.self))
        case .forLoop:
            let s = unsafeDowncast(s, to: For.self)
            if s.forKind == .threadBinding {
                throw ApusError(
                    "TGT025", "a loop is bound to a hardware thread, which a CPU does not have",
                    at: ["kernel: \(kernel)"], actual: s.loopVar.name)
            }
            if s.forKind == .parallel, !frame.insideParallel, s.extent.asInt ?? 2 > 1 {
                try parallel(s)
                return
            }
            let from = try value(s.min)
            let n = try value(s.extent)
            let to = try make(s.loopVar.dtype, "\(from.text) + \(n.text)")
            try count(s, from: from.text, to: to.text)
        case .whileLoop:
            let s = unsafeDowncast(s, to: While.self)
            open("for (;;)")
            let c = try convert(value(s.condition), .bool)
            line("if (!\(c.text)) break;")
            try statement(s.body)
            close()
        case .allocate: try allocate(unsafeDowncast(s, to: Allocate.self))
        case .block, .blockRealize:
            throw ApusError(
                "TGT020", "the function still has blocks: it was not lowered", at: ["kernel: \(kernel)"],
                hint: "run `lower` before the code generator")
        }
    }

    private func conditional(_ s: IfThenElse) throws {
        let c = try convert(value(s.condition), .bool.with(lanes: Int(s.condition.dtype.lanes)))
        if c.dtype.lanes > 1 {
            try masked(c) { try statement(s.thenCase) }
            if let other = s.elseCase {
                try masked(make(c.dtype, "!\(c.lane)")) { try statement(other) }
            }
            return
        }
        open("if (\(c.text))")
        try statement(s.thenCase)
        close()
        if let other = s.elseCase {
            open("else")
            try statement(other)
            close()
        }
    }

    /// Runs `body` with only the lanes of `mask` active.
    func masked<R>(_ mask: Value, _ body: () throws -> R) throws -> R {
        let saved = frame.mask
        if let outer = saved, outer.dtype == mask.dtype {
            frame.mask = try make(mask.dtype, "\(outer.lane) && \(mask.lane)")
        } else {
            frame.mask = mask
        }
        defer { frame.mask = saved }
        return try body()
    }

    private func allocate(_ s: Allocate) throws {
        let b = s.buffer
        var bytes: Int? = b.dtype.byteCount
        for d in b.shape {
            guard let n = d.asInt, n >= 0, let so = bytes else {
                bytes = nil
                break
            }
            let (p, overflow) = so.multipliedReportingOverflow(by: n)
            bytes = overflow ? nil : p
        }
        let name = fresh(b.data)
        if let n = bytes, n <= 16 << 10, frame.stackBytes + n <= 128 << 10 {
            frame.stackBytes += n
            line("__attribute__((aligned(64))) uint8_t \(name)[\(max(n, 1))];")
            try scoped(b.data, Value(text: name, dtype: .handle)) { try statement(s.body) }
            return
        }
        var size = "(uint64_t)\(b.dtype.byteCount)"
        for d in b.shape { size += " * (uint64_t)\(try convert(value(d), .int64).text)" }
        line("void *\(noAliasWorkspace)\(name) = apus_backend_api->alloc_workspace(\(size));")
        open("if (!\(name))")
        line("apus_backend_api->set_error(\"RT111\", \"kernel \(kernel): out of memory for a workspace\");")
        leave("-1")
        close()
        frame.workspaces.append(name)
        try scoped(b.data, Value(text: name, dtype: .handle)) { try statement(s.body) }
        frame.workspaces.removeLast()
        line("apus_backend_api->free_workspace(\(name));")
    }

    private var noAliasWorkspace: String { "restrict " }

    // MARK: Memory

    private func base(_ b: Buffer) throws -> String {
        if let p = frame.values[ObjectIdentifier(b.data)] { return p.text }
        throw ApusError(
            "TGT023", "the buffer `\(b.name)` has no memory where it is used", at: ["kernel: \(kernel)"],
            hint: "it must belong to a parameter or to an allocation around")
    }

    /// An expression of C that is true if a lane is active.
    private func anyLane(_ mask: Value) -> String {
        let name = fresh("any")
        line("int \(name) = 0;")
        line("for (int l = 0; l < \(mask.dtype.lanes); l++) \(name) |= \(mask.lane);")
        return name
    }

    /// The element at `index` (one lane of it, or a scalar), as an lvalue.
    private func element(_ b: Buffer, _ base: String, _ index: String) throws -> String {
        "((\(try typeName(b.dtype.element)) *)\(base))[\(index)]"
    }

    func load(_ e: BufferLoad) throws -> Value {
        let b = e.buffer
        let p = try base(b)
        let index = try value(IndexFacts.flatIndex(b, e.indices))
        if b.dtype.lanes > 1 {
            guard index.dtype.lanes == 1 else {
                throw ApusError(
                    "TGT022", "a vector index into a buffer of vectors",
                    at: ["kernel: \(kernel)", "buffer: \(b.name)"])
            }
            return try make(b.dtype, element(b, p, "(int64_t)\(index.text) * \(b.dtype.lanes) + l"))
        }
        let type = b.dtype.with(lanes: Int(index.dtype.lanes))
        let read = try element(b, p, index.lane)
        guard let mask = frame.mask else { return try make(type, read) }
        if mask.dtype.lanes == index.dtype.lanes { return try make(type, "\(mask.lane) ? \(read) : 0") }
        return try make(type, "\(anyLane(mask)) ? \(read) : 0")
    }

    func store(_ s: BufferStore) throws {
        let b = s.buffer
        let p = try base(b)
        let index = try value(IndexFacts.flatIndex(b, s.indices))
        let v = try convert(value(s.value), b.dtype.element.with(lanes: Int(s.value.dtype.lanes)))
        if b.dtype.lanes > 1 {
            guard index.dtype.lanes == 1 else {
                throw ApusError(
                    "TGT022", "a vector index into a buffer of vectors",
                    at: ["kernel: \(kernel)", "buffer: \(b.name)"])
            }
            let at = try element(b, p, "(int64_t)\(index.text) * \(b.dtype.lanes) + l")
            line("for (int l = 0; l < \(b.dtype.lanes); l++) \(at) = \(v.lane);")
            return
        }
        let target = try element(b, p, index.lane)
        let n = index.dtype.lanes
        if n == 1 {
            let guardText = frame.mask.map { "if (\(anyLane($0))) " } ?? ""
            line("\(guardText)\(target) = \(v.lane);")
            return
        }
        var condition = ""
        if let mask = frame.mask {
            condition = mask.dtype.lanes == n ? "if (\(mask.lane)) " : "if (\(anyLane(mask))) "
        }
        line("for (int l = 0; l < \(n); l++) \(condition)\(target) = \(v.lane);")
    }

    /// The address of the element that a load names.
    func address(_ e: BufferLoad) throws -> Value {
        var flat = try IndexFacts.flatIndex(e.buffer, e.indices)
        if let (start, _) = IndexFacts.rampForm(flat), flat.dtype.lanes > 1 { flat = start }
        guard flat.dtype.lanes == 1 else {
            throw ApusError("TGT022", "address_of needs one address", at: ["kernel: \(kernel)"])
        }
        let index = try value(flat)
        let scaled =
            e.buffer.dtype.lanes == 1 ? index.text : "(int64_t)\(index.text) * \(e.buffer.dtype.lanes)"
        return try make(.handle, "&" + element(e.buffer, base(e.buffer), scaled))
    }
}
