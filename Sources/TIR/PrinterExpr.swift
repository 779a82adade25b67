import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// How tightly an operator binds, loosest first (Python's order).
enum TIRPrecedence {
    static let or = 1
    static let and = 2
    static let not = 3
    static let comparison = 4
    static let sum = 5
    static let product = 6
    static let atom = 7
}

extension TIRWriter {
    /// Writes `e`, in parentheses where its operator binds less tightly than `minimum`.
    func expr(_ e: PrimExpr, _ minimum: Int = 0) { growingStack { write(e, minimum) } }

    private func write(_ e: PrimExpr, _ minimum: Int) {
        switch e.kind {
        case .intImm:
            let v = unsafeDowncast(e, to: IntImm.self).value
            if e.dtype == .index {
                out += "\(v)"
            } else if e.dtype.isBool && (v == 0 || v == 1) {
                out += v == 0 ? "False" : "True"
            } else {
                out += "T.\(e.dtype)(\(v))"
            }
        case .floatImm:
            let v = unsafeDowncast(e, to: FloatImm.self).value
            // The shortest text that reads back as this float; half types are written as the double they are.
            let text = e.dtype == .float32 && v.isFinite ? "\(Float(v))" : TIRWriter.float(v)
            out += "T.\(e.dtype)(\(text))"
        case .stringImm: out += JSON.quoted(unsafeDowncast(e, to: StringImm.self).value)
        case .variable:
            let v = unsafeDowncast(e, to: Var.self)
            if typedSymbols.remove(ObjectIdentifier(v)) != nil {
                out += "T.var(\(name(v)), "
                type(v.type)
                out += ")"
            } else {
                out += name(v)
            }
        case .add: infix(e, "+", TIRPrecedence.sum, minimum)
        case .sub: infix(e, "-", TIRPrecedence.sum, minimum)
        case .mul: infix(e, "*", TIRPrecedence.product, minimum)
        case .floorDiv: infix(e, "//", TIRPrecedence.product, minimum)
        case .floorMod: infix(e, "%", TIRPrecedence.product, minimum)
        case .div:
            if e.dtype.isFloat {
                infix(e, "/", TIRPrecedence.product, minimum)
            } else {
                prefix(e, "T.truncdiv")
            }
        case .mod: prefix(e, "T.truncmod")
        case .min: prefix(e, "T.min")
        case .max: prefix(e, "T.max")
        case .eq: infix(e, "==", TIRPrecedence.comparison, minimum)
        case .ne: infix(e, "!=", TIRPrecedence.comparison, minimum)
        case .lt: infix(e, "<", TIRPrecedence.comparison, minimum)
        case .le: infix(e, "<=", TIRPrecedence.comparison, minimum)
        case .gt: infix(e, ">", TIRPrecedence.comparison, minimum)
        case .ge: infix(e, ">=", TIRPrecedence.comparison, minimum)
        case .and: infix(e, "and", TIRPrecedence.and, minimum)
        case .or: infix(e, "or", TIRPrecedence.or, minimum)
        case .not:
            let open = minimum > TIRPrecedence.not
            out += open ? "(not " : "not "
            expr(unsafeDowncast(e, to: Not.self).a, TIRPrecedence.not)
            if open { out += ")" }
        case .cast:
            out += "T.Cast(\"\(e.dtype)\", "
            expr(unsafeDowncast(e, to: Cast.self).value)
            out += ")"
        case .select:
            let e = unsafeDowncast(e, to: Select.self)
            call("T.Select", [e.condition, e.trueValue, e.falseValue])
        case .bufferLoad:
            let e = unsafeDowncast(e, to: BufferLoad.self)
            out += name(e.buffer)
            indices(e.indices)
        case .producerLoad:
            let e = unsafeDowncast(e, to: ProducerLoad.self)
            out += e.producer.producerName
            indices(e.indices)
        case .ramp:
            let e = unsafeDowncast(e, to: Ramp.self)
            call("T.Ramp", [e.base, e.stride], ", \(e.lanes)")
        case .broadcast:
            let e = unsafeDowncast(e, to: Broadcast.self)
            call("T.Broadcast", [e.value], ", \(e.lanes)")
        case .shuffle:
            let e = unsafeDowncast(e, to: Shuffle.self)
            out += "T.Shuffle("
            bracketed(e.vectors)
            out += ", [\(e.indices.map { "\($0)" }.joined(separator: ", "))])"
        case .let:
            letExpr(unsafeDowncast(e, to: Let.self))
        case .call: callExpr(unsafeDowncast(e, to: Call.self))
        case .reduce: reduce(unsafeDowncast(e, to: Reduce.self))
        }
    }

    /// `T.Let(x, value, body)`. The name is chosen after the value is written; lets that are values of lets are taken
    /// together, for their texts would be copied once a level.
    private func letExpr(_ outer: Let) {
        var chain = [outer]
        while let inner = chain[chain.count - 1].value as? Let { chain.append(inner) }
        let value = captured { self.expr(chain[chain.count - 1].value) }
        var heads: [String] = []
        var bodies: [String] = []
        for l in chain.reversed() {
            scope {
                heads.append(
                    captured {
                        self.out += "T.Let(\(self.define(l.variable, l.variable.name))"
                        if (l.variable.type as? PrimType)?.dtype != l.value.dtype {
                            self.out += ": "
                            self.type(l.variable.type)
                        }
                        self.out += ", "
                    })
                bodies.append(chain.count == 1 ? "" : captured { self.expr(l.body) })
                if chain.count == 1 {
                    // The usual case: nothing is copied, so that lets in bodies of lets stay linear.
                    out += heads[0] + value + ", "
                    expr(l.body)
                    out += ")"
                }
            }
        }
        if chain.count == 1 { return }
        for h in heads.reversed() { out += h }
        out += value
        for b in bodies { out += ", \(b))" }
    }

    /// What `body` writes, apart: for text whose names must be chosen before what stands left of it.
    func captured(_ body: () -> Void) -> String {
        let before = out
        out = ""
        body()
        let text = out
        out = before
        return text
    }

    private func infix(_ e: PrimExpr, _ symbol: String, _ precedence: Int, _ minimum: Int) {
        let e = unsafeDowncast(e, to: BinaryExpr.self)
        let open = precedence < minimum
        if open { out += "(" }
        // Comparisons do not chain, all else groups to the left.
        expr(e.a, precedence == TIRPrecedence.comparison ? precedence + 1 : precedence)
        out += " \(symbol) "
        expr(e.b, precedence + 1)
        if open { out += ")" }
    }

    private func prefix(_ e: PrimExpr, _ function: String) {
        let e = unsafeDowncast(e, to: BinaryExpr.self)
        call(function, [e.a, e.b])
    }

    private func call(_ function: String, _ args: [PrimExpr], _ rest: String = "") {
        out += function + "("
        commas(args)
        out += rest + ")"
    }

    private func commas(_ args: [PrimExpr]) {
        for (i, a) in args.enumerated() {
            if i > 0 { out += ", " }
            expr(a)
        }
    }

    func bracketed(_ items: [PrimExpr]) {
        out += "["
        commas(items)
        out += "]"
    }

    func tuple(_ items: [PrimExpr]) {
        out += "("
        for (i, a) in items.enumerated() {
            if i > 0 { out += ", " }
            expr(a)
        }
        out += items.count == 1 ? ",)" : ")"
    }

    func indices(_ items: [PrimExpr]) {
        out += "["
        if items.isEmpty { out += "()" }
        commas(items)
        out += "]"
    }

    private func callExpr(_ e: Call) {
        var head: String
        var inferred: DataType?
        if let op = e.op as? Op {
            let short = op.name.hasPrefix("tir.") ? String(op.name.dropFirst(4)) : ""
            let plain = TIRWriter.identifier(short) == short && DataType(short) == nil
            if plain && !tirNotationWords.contains(short) {
                head = "T.\(short)("
            } else {
                head = "T.op(\(JSON.quoted(op.name))" + (e.args.isEmpty ? "" : ", ")
            }
            inferred = inferredCallType(short, e.args)
        } else if let g = e.op as? GlobalVar {
            head = "T.call_global(\(JSON.quoted(g.name))" + (e.args.isEmpty ? "" : ", ")
        } else {
            head = "T.op(\(JSON.quoted(e.op.schema.key))" + (e.args.isEmpty ? "" : ", ")
        }
        out += head
        commas(e.args)
        if inferred != e.dtype {
            if !head.hasSuffix("(") || !e.args.isEmpty { out += ", " }
            out += "dtype=\"\(e.dtype)\""
        }
        out += ")"
    }

    private func reduce(_ e: Reduce) {
        out += "T.Reduce("
        bracketed(e.combiner.identity)
        scope {
            var heads: [String] = []
            for v in e.combiner.lhs + e.combiner.rhs { heads.append(define(v, v.name)) }
            out += ", lambda \(heads.joined(separator: ", ")): "
            tuple(e.combiner.result)
        }
        scope {
            let axes = captured {
                out += "["
                for (i, a) in e.axis.enumerated() {
                    if i > 0 { out += ", " }
                    iterVar(a)
                }
                out += "]"
            }
            out += ", \(axes), "
            bracketed(e.source)
            if !e.condition.isTrue {
                out += ", where="
                expr(e.condition)
            }
            if e.valueIndex != 0 { out += ", value_index=\(e.valueIndex)" }
            if !e.initial.isEmpty {
                out += ", init="
                bracketed(e.initial)
            }
        }
        out += ")"
    }

    /// `T.iter_var(k, range, "reduce", "")`; defines the variable where it is not yet known.
    func iterVar(_ i: IterVar) {
        let dom = captured { self.range(i.dom) }
        let known = isNamed(i.variable)
        out += "T.iter_var(\(known ? name(i.variable) : define(i.variable, i.variable.name))"
        if !known && (i.variable.type as? PrimType)?.dtype != i.dom.extent.dtype {
            out += ": "
            type(i.variable.type)
        }
        out += ", \(dom), \"\(i.iterType.rawValue)\""
        if !i.threadTag.isEmpty { out += ", \(JSON.quoted(i.threadTag))" }
        out += ")"
    }

    // MARK: Ranges and regions

    /// The end of a range where writing `begin` and end loses nothing; nil where it would.
    private func end(_ r: IRRange) -> PrimExpr? {
        if r.min.dtype != r.extent.dtype { return nil }
        guard let lo = r.min.asInt else { return Add(r.min, r.extent) }
        if lo == 0 { return r.extent }
        guard let n = r.extent.asInt else { return Add(r.min, r.extent) }
        let (hi, overflow) = lo.addingReportingOverflow(n)
        // The parser takes end - begin, which must not overflow either.
        return overflow || !IntImm.fits(hi, r.min.dtype) ? nil : IntImm(hi, dtype: r.min.dtype)
    }

    /// `extent` or `(begin, end)` or `T.range(min, extent)`
    func range(_ r: IRRange) {
        if r.min.asInt == 0 && r.min.dtype == r.extent.dtype {
            expr(r.extent)
        } else if let hi = end(r) {
            out += "("
            expr(r.min)
            out += ", "
            expr(hi)
            out += ")"
        } else {
            call("T.range", [r.min, r.extent])
        }
    }

    func region(_ r: BufferRegion) {
        out += name(r.buffer) + "["
        if r.region.isEmpty { out += "()" }
        for (i, d) in r.region.enumerated() {
            if i > 0 { out += ", " }
            if d.extent.asInt == 1 && d.extent.dtype == d.min.dtype {
                expr(d.min)
            } else if let hi = end(d) {
                expr(d.min)
                out += ":"
                expr(hi)
            } else {
                call("T.range", [d.min, d.extent])
            }
        }
        out += "]"
    }
}
