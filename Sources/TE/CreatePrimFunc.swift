import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// The loop function that computes tensors: one block an operation, in dependency order, under a root block that
/// allocates the intermediate buffers. `args` are the parameters in order: inputs (placeholders) and outputs.
///
/// Throws TE003 where an input is not among the parameters.
public func createPrimFunc(_ args: [Tensor], name: String = "main", attrs: Attrs = .empty) throws -> PrimFunc
{
    var builder = PrimFuncBuilder(args)
    return try builder.build(args, name: name, attrs: attrs)
}

private struct PrimFuncBuilder {
    private var buffers: [TensorKey: Buffer] = [:]
    private var names: Set<String> = []
    private var allocated: [Buffer] = []
    private var stmts: [Stmt] = []
    private let parameters: Set<TensorKey>

    init(_ args: [Tensor]) { parameters = Set(args.map { TensorKey($0) }) }

    mutating func unique(_ base: String) -> String {
        var name = base
        var n = 0
        while !names.insert(name).inserted {
            n += 1
            name = "\(base)_\(n)"
        }
        return name
    }

    mutating func build(_ args: [Tensor], name: String, attrs: Attrs) throws -> PrimFunc {
        var map: [(param: Var, buffer: Buffer)] = []
        // Parameters take their names first, so that these do not depend on what is between.
        for t in args where buffers[TensorKey(t)] == nil {
            // A caller's tensor is aligned for its element type only.
            let buffer = Buffer(unique(t.op.name), t.shape, t.dtype, alignment: 0)
            buffers[TensorKey(t)] = buffer
            map.append((param: Var("\(buffer.name)_handle", dtype: .handle), buffer: buffer))
        }
        for op in postOrder(args) { try emit(op) }
        let root = Block("root", body: SeqStmt.flat(stmts), allocBuffers: allocated)
        var all = Attrs([
            (key: "global_symbol", value: .string(name)), (key: "tir.noalias", value: .bool(true)),
        ])
        for e in attrs.entries { all = all.setting(e.key, e.value) }
        return PrimFunc(map.map { $0.param }, bufferMap: map, body: BlockRealize([], root), attrs: all)
    }

    /// Operations, producers before consumers; in order of first use.
    private func postOrder(_ outputs: [Tensor]) -> [Operation] {
        var order: [Operation] = []
        var state: [ObjectIdentifier: Bool] = [:]
        var stack: [(op: Operation, inputs: [Tensor], next: Int)] = []
        func enter(_ op: Operation) {
            if state[ObjectIdentifier(op)] != nil { return }
            state[ObjectIdentifier(op)] = false
            stack.append((op: op, inputs: op.inputTensors, next: 0))
        }
        for t in outputs {
            enter(t.op)
            while let top = stack.last {
                if top.next < top.inputs.count {
                    stack[stack.count - 1].next += 1
                    enter(top.inputs[top.next].op)
                } else {
                    stack.removeLast()
                    order.append(top.op)
                }
            }
        }
        return order
    }

    private mutating func buffer(_ t: Tensor) -> Buffer {
        if let known = buffers[TensorKey(t)] { return known }
        let base = t.op.outputCount == 1 ? t.op.name : "\(t.op.name)_v\(t.valueIndex)"
        let buffer = Buffer(unique(base), t.shape, t.dtype)
        buffers[TensorKey(t)] = buffer
        allocated.append(buffer)
        return buffer
    }

    private mutating func emit(_ op: Operation) throws {
        switch op {
        case is PlaceholderOp:
            let t = op.output()
            if !parameters.contains(TensorKey(t)) {
                throw ApusError("TE003", "the input `\(op.name)` is not among the parameters")
            }
        case let op as ComputeOp: emit(compute: op)
        case let op as ExternOp: emit(extern: op)
        default: internalError("unknown operation \(op.schema.key)")
        }
    }

    private mutating func emit(compute op: ComputeOp) {
        let outputs = (0..<op.outputCount).map { buffer(op.output($0)) }
        for t in op.inputTensors { _ = buffer(t) }
        // A reduction over nothing is its initial value: no iteration would store it.
        let overNothing = op.reduceAxis.contains { $0.dom.extent.asInt == 0 }
        let axes = op.axis + (overNothing ? [] : op.reduceAxis)
        var loops: [(loopVar: Var, dom: IRRange)] = []
        var iterVars: [IterVar] = []
        var map: [Var: PrimExpr] = [:]
        for a in axes {
            let loopVar = Var(a.variable.name, dtype: a.variable.dtype)
            let blockVar = Var("v_\(a.variable.name)", dtype: a.variable.dtype)
            loops.append((loopVar: loopVar, dom: a.dom))
            iterVars.append(IterVar(a.dom, blockVar, a.iterType))
            map[a.variable] = blockVar
        }
        let bufferOf = buffers
        func lowered(_ e: PrimExpr) -> PrimExpr {
            if e.kind == .variable { return map[unsafeDowncast(e, to: Var.self)] ?? e }
            if let load = e as? ProducerLoad, let t = load.producer as? Tensor, let b = bufferOf[TensorKey(t)]
            {
                return BufferLoad(b, load.indices.map { lowered($0) })
            }
            return mapChildren(of: e) { lowered($0) }
        }
        let point: [PrimExpr] = iterVars.prefix(op.axis.count).map { $0.variable }
        var initial: Stmt?
        let body: Stmt
        if let reduce = op.reduction {
            let start = reduce.initial.isEmpty ? reduce.combiner.identity : reduce.initial.map { lowered($0) }
            let first = SeqStmt.flat(zip(outputs, start).map { BufferStore($0, $1, point) })
            if overNothing {
                body = first
            } else {
                initial = first
                let old = outputs.map { BufferLoad($0, point) as PrimExpr }
                let values = reduce.combiner.combine(old, reduce.source.map { lowered($0) })
                body = guarded(lowered(reduce.condition), update(outputs, values, point))
            }
        } else {
            body = SeqStmt.flat(zip(outputs, op.body).map { BufferStore($0, lowered($1), point) })
        }
        var attrs = op.attrs
        if !op.tag.isEmpty { attrs = attrs.setting("tag", .string(op.tag)) }
        let block = Block(
            outputs[0].name, iterVars: iterVars, reads: readRegions(of: body, except: Set(outputs)),
            writes: outputs.map { BufferRegion($0, point: point) }, body: body, initial: initial,
            annotations: attrs)
        var stmt: Stmt = BlockRealize(loops.map { $0.loopVar }, block)
        for l in loops.reversed() { stmt = For(l.loopVar, l.dom.min, l.dom.extent, body: stmt) }
        stmts.append(stmt)
    }

    private func guarded(_ condition: PrimExpr, _ body: Stmt) -> Stmt {
        condition.isTrue ? body : IfThenElse(condition, body)
    }

    /// Stores a tuple of new values that are functions of the old: all are read before one is written.
    private func update(_ outputs: [Buffer], _ values: [PrimExpr], _ point: [PrimExpr]) -> Stmt {
        if outputs.count == 1 { return BufferStore(outputs[0], values[0], point) }
        let vars = values.enumerated().map { Var("value_\($0.offset)", dtype: $0.element.dtype) }
        var stmt: Stmt = SeqStmt(zip(outputs, vars).map { BufferStore($0, $1, point) })
        for i in values.indices.reversed() { stmt = LetStmt(vars[i], values[i], stmt) }
        return stmt
    }

    /// The regions read, one a buffer in order of first use: a point where all reads agree, else the whole axis.
    private func readRegions(of body: Stmt, except written: Set<Buffer>) -> [BufferRegion] {
        var order: [Buffer] = []
        var indices: [Buffer: [PrimExpr?]] = [:]
        postOrderVisit(
            body,
            expr: { e in
                guard let load = e as? BufferLoad, !written.contains(load.buffer) else { return }
                guard let known = indices[load.buffer] else {
                    order.append(load.buffer)
                    indices[load.buffer] = load.indices.map { self.isAffineLike($0) ? $0 : nil }
                    return
                }
                indices[load.buffer] = zip(known, load.indices).map { a, b in
                    a.flatMap { structuralEqual($0, b) ? $0 : nil }
                }
            })
        return order.map { b in
            let ranges: [IRRange] = zip(indices[b] ?? [], b.shape).map { index, extent in
                guard let index else { return IRRange(extent: extent) }
                return IRRange(min: index, extent: IntImm(1))
            }
            return BufferRegion(b, ranges)
        }
    }

    /// Whether an index depends on iteration variables only, not on data.
    private func isAffineLike(_ e: PrimExpr) -> Bool {
        var plain = true
        postOrderVisit(e) { x in
            if x.kind == .bufferLoad || x.kind == .call || x.kind == .let || x.kind == .select {
                plain = false
            }
        }
        return plain
    }

    private mutating func emit(extern op: ExternOp) {
        var map: [Buffer: Buffer] = [:]
        var pointers: [Var: PrimExpr] = [:]
        var reads: [BufferRegion] = []
        var writes: [BufferRegion] = []
        for (t, b) in zip(op.inputs, op.inputBuffers) {
            map[b] = buffer(t)
            pointers[b.data] = buffer(t).data
            reads.append(BufferRegion(all: buffer(t)))
        }
        for (i, b) in op.outputBuffers.enumerated() {
            let actual = buffer(op.output(i))
            map[b] = actual
            pointers[b.data] = actual.data
            writes.append(BufferRegion(all: actual))
        }
        let block = Block(
            writes[0].buffer.name, reads: reads, writes: writes,
            body: substitute(op.body, pointers, buffers: map), annotations: op.attrs)
        stmts.append(BlockRealize([], block))
    }
}
