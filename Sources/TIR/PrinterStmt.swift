import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

extension TIRWriter {
    /// A body: its statements one below the other, `pass` if there are none.
    func suite(_ s: Stmt) {
        if let seq = s as? SeqStmt, seq.stmts.count != 1 {
            statements(seq.stmts)
        } else {
            stmt(s, isLast: true)
        }
    }

    private func statements(_ list: [Stmt]) {
        if list.isEmpty { line("pass") }
        for (i, s) in list.enumerated() { stmt(s, isLast: i == list.count - 1) }
    }

    private func body(_ s: Stmt) { nested { scope { suite(s) } } }

    /// One statement. The last of a body may open a scope that lasts to the end of that body without
    /// indenting.
    private func stmt(_ s: Stmt, isLast: Bool) { growingStack { write(s, isLast) } }

    private func write(_ s: Stmt, _ isLast: Bool) {
        switch s.stmtKind {
        case .seq:
            line("with T.seq():")
            nested { scope { statements(unsafeDowncast(s, to: SeqStmt.self).stmts) } }
        case .letStmt: letStmt(unsafeDowncast(s, to: LetStmt.self), isLast)
        case .attr: attrStmt(unsafeDowncast(s, to: AttrStmt.self), isLast)
        case .allocate:
            let s = unsafeDowncast(s, to: Allocate.self)
            if isLast {
                declaration(s.buffer, "T.allocate", defaultAlignment: 64)
                suite(s.body)
            } else {
                // The extra level is a sequence of one declaration and its scope.
                line("with T.allocate():")
                nested {
                    scope {
                        declaration(s.buffer, "T.allocate", defaultAlignment: 64)
                        suite(s.body)
                    }
                }
            }
        case .assert:
            let s = unsafeDowncast(s, to: AssertStmt.self)
            line {
                out += "assert "
                expr(s.condition)
                let message = JSON.quoted(s.message)
                out += s.code == "RT100" ? ", \(message)" : ", (\(JSON.quoted(s.code)), \(message))"
            }
        case .bufferStore:
            let s = unsafeDowncast(s, to: BufferStore.self)
            line {
                out += name(s.buffer)
                indices(s.indices)
                out += " = "
                expr(s.value)
            }
            mark(s)
        case .ifThenElse:
            let s = unsafeDowncast(s, to: IfThenElse.self)
            line {
                out += "if "
                expr(s.condition)
                out += ":"
            }
            mark(s)
            body(s.thenCase)
            if let other = s.elseCase {
                line("else:")
                body(other)
            }
        case .evaluate:
            line {
                out += "T.evaluate("
                expr(unsafeDowncast(s, to: Evaluate.self).value)
                out += ")"
            }
            mark(s)
        case .whileLoop:
            let s = unsafeDowncast(s, to: While.self)
            line {
                out += "while "
                expr(s.condition)
                out += ":"
            }
            mark(s)
            body(s.body)
        case .forLoop: loop(unsafeDowncast(s, to: For.self))
        case .blockRealize:
            let s = unsafeDowncast(s, to: BlockRealize.self)
            block(s.block, s)
        case .block: block(unsafeDowncast(s, to: Block.self), nil)
        }
    }

    private func letStmt(_ s: LetStmt, _ isLast: Bool) {
        let value = captured { self.expr(s.value) }
        func head(_ separator: String) {
            out += "\(define(s.variable, s.variable.name)): "
            type(s.variable.type)
            out += "\(separator)\(value)"
        }
        if isLast {
            line { head(" = ") }
            declareViews(of: s.variable)
            suite(s.body)
            return
        }
        scope {
            line {
                out += "with T.let("
                head(", ")
                out += "):"
            }
            nested {
                declareViews(of: s.variable)
                suite(s.body)
            }
        }
    }

    private func attrStmt(_ s: AttrStmt, _ isLast: Bool) {
        func head() {
            out += "T.attr("
            switch s.node {
            case let e as PrimExpr: expr(e)
            case let b as Buffer: out += name(b)
            case let i as IterVar: iterVar(i)
            default: out += "T.node(\(JSON.quoted(saveJSON(s.node))))"
            }
            out += ", \(JSON.quoted(s.key)), "
            expr(s.value)
            out += ")"
        }
        if isLast {
            line { head() }
            suite(s.body)
            return
        }
        scope {
            line {
                out += "with "
                head()
                out += ":"
            }
            nested { suite(s.body) }
        }
    }

    // MARK: Loops

    private func isPlain(_ f: For) -> Bool {
        f.forKind == .serial && f.annotations.isEmpty && f.threadBinding == nil && f.min.asInt == 0
            && f.min.dtype == f.extent.dtype && (f.loopVar.type as? PrimType)?.dtype == f.extent.dtype
    }

    /// Loops directly inside each other that one `T.grid` line can stand for.
    private func grid(_ f: For) -> [For] {
        var nest = [f]
        guard isPlain(f) else { return nest }
        var bound: Set<Var> = [f.loopVar]
        while let inner = nest[nest.count - 1].body as? For, isPlain(inner), !uses(inner.extent, bound),
            !bound.contains(inner.loopVar)
        {
            nest.append(inner)
            bound.insert(inner.loopVar)
        }
        return nest
    }

    private func loop(_ f: For) {
        let nest = grid(f)
        scope {
            let extents = nest.map { inner in captured { self.expr(inner.extent) } }
            let begin = captured { self.loopRange(f) }
            for inner in nest {
                define(inner.loopVar, inner.loopVar.name)
                loops[ObjectIdentifier(inner.loopVar)] = inner
            }
            line {
                out += "for \(nest.map { name($0.loopVar) }.joined(separator: ", ")) in "
                if nest.count > 1 {
                    out += "T.grid(\(extents.joined(separator: ", ")))"
                } else if isPlain(f) {
                    out += "range(\(extents[0]))"
                } else {
                    out += "T.\(loopFunction(f.forKind))(\(begin)"
                    if let t = f.threadBinding { thread(t, f) }
                    if (f.loopVar.type as? PrimType)?.dtype != f.extent.dtype {
                        out += ", var_type="
                        type(f.loopVar.type)
                    }
                    if !f.annotations.isEmpty {
                        out += ", annotations="
                        dictionary(f.annotations)
                    }
                    out += ")"
                }
                out += ":"
            }
            for inner in nest { mark(inner, name(inner.loopVar)) }
            nested { suite(nest[nest.count - 1].body) }
        }
    }

    private func loopRange(_ f: For) {
        let text = captured { self.range(IRRange(min: f.min, extent: f.extent)) }
        // `(begin, end)` without its parentheses, as in Python's range.
        let pair = text.hasPrefix("(") && f.min.asInt != 0
        out += pair ? String(text.dropFirst().dropLast()) : text
    }

    private func loopFunction(_ kind: ForKind) -> String {
        switch kind {
        case .serial: return "serial"
        case .parallel: return "parallel"
        case .vectorized: return "vectorized"
        case .unrolled: return "unroll"
        case .threadBinding: return "thread_binding"
        }
    }

    private func thread(_ t: IterVar, _ f: For) {
        let plain =
            t.iterType == .threadIndex && t.variable !== f.loopVar && t.variable.name == t.threadTag
            && (t.variable.type as? PrimType)?.dtype == f.extent.dtype && structuralEqual(t.dom.min, f.min)
            && structuralEqual(t.dom.extent, f.extent)
            && !mentions(f.body, t.variable)
        out += ", thread="
        if plain {
            out += JSON.quoted(t.threadTag)
        } else {
            iterVar(t)
        }
    }

    // MARK: Blocks

    private func block(_ b: Block, _ realize: BlockRealize?) {
        line("with T.\(realize == nil ? "raw_block" : "block")(\(JSON.quoted(b.name))):")
        mark(realize, JSON.quoted(b.name))
        mark(b, JSON.quoted(b.name))
        nested {
            scope {
                axes(b, realize)
                if let p = realize?.predicate, !p.isTrue {
                    line {
                        out += "T.where("
                        expr(p)
                        out += ")"
                    }
                }
                // Allocations and views come first: the regions may name them.
                for a in b.allocBuffers { declaration(a, "T.alloc_buffer", defaultAlignment: 64) }
                for m in b.matchBuffers {
                    declaration(m.buffer, "T.match_buffer", defaultAlignment: 64) {
                        self.region(m.source)
                        self.out += ", "
                    }
                }
                regions("reads", b.reads)
                regions("writes", b.writes)
                if !b.annotations.isEmpty {
                    line {
                        out += "T.block_attr("
                        dictionary(b.annotations)
                        out += ")"
                    }
                }
                if let initial = b.initial {
                    line("with T.init():")
                    body(initial)
                }
                suite(b.body)
            }
        }
    }

    private func regions(_ what: String, _ list: [BufferRegion]) {
        if list.isEmpty { return }
        line {
            out += "T.\(what)("
            for (i, r) in list.enumerated() {
                if i > 0 { out += ", " }
                region(r)
            }
            out += ")"
        }
    }

    /// The loop that an iteration variable simply follows, if `T.axis.remap` can say so.
    private func followed(_ v: IterVar, _ value: PrimExpr) -> For? {
        guard v.iterType == .dataParallel || v.iterType == .commReduce, v.threadTag.isEmpty,
            value.kind == .variable, let f = loops[ObjectIdentifier(value)], isNamed(value),
            structuralEqual(f.min, v.dom.min), structuralEqual(f.extent, v.dom.extent),
            (v.variable.type as? PrimType)?.dtype == v.dom.extent.dtype
        else { return nil }
        return f
    }

    private func axes(_ b: Block, _ realize: BlockRealize?) {
        guard let realize, realize.iterValues.count == b.iterVars.count else {
            for v in b.iterVars { axis(v, nil) }
            return
        }
        var at = 0
        while at < b.iterVars.count {
            var kinds = ""
            var values: [String] = []
            var vars: [String] = []
            while at < b.iterVars.count, followed(b.iterVars[at], realize.iterValues[at]) != nil {
                kinds += b.iterVars[at].iterType == .commReduce ? "R" : "S"
                values.append(captured { self.expr(realize.iterValues[at]) })
                vars.append(define(b.iterVars[at].variable, b.iterVars[at].variable.name))
                at += 1
            }
            if !vars.isEmpty {
                let left = vars.joined(separator: ", ")
                line("\(left) = T.axis.remap(\"\(kinds)\", [\(values.joined(separator: ", "))])")
                continue
            }
            axis(b.iterVars[at], realize.iterValues[at])
            at += 1
        }
    }

    private func axis(_ v: IterVar, _ value: PrimExpr?) {
        let dom = captured { self.range(v.dom) }
        let text = value.map { e in captured { self.expr(e) } }
        line {
            out += define(v.variable, v.variable.name)
            if (v.variable.type as? PrimType)?.dtype != v.dom.extent.dtype {
                out += ": "
                type(v.variable.type)
            }
            out += " = T.axis.\(v.iterType.rawValue)(\(dom)"
            if let text { out += ", \(text)" }
            if !v.threadTag.isEmpty { out += ", thread=\(JSON.quoted(v.threadTag))" }
            out += ")"
        }
    }
}
