import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// What can be a parameter of a function made of tensor expressions: a tensor, or a scalar variable.
public protocol FunctionArgument {}

extension Tensor: FunctionArgument {}
extension Var: FunctionArgument {}

/// The loop function that computes tensors: one block an operation, in dependency order, under a root block that
/// allocates the intermediate buffers. `args` are the parameters in order: inputs (placeholders) and outputs.
///
/// Throws what is wrong with an operation (`Operation.error`), TE003 where an input is not among the parameters,
/// TE020 where a formula uses a variable that is neither an axis, nor a dimension of a parameter, nor a parameter,
/// TE021 where a scan reads a state it has not computed yet.
public func createPrimFunc(_ args: [Tensor], name: String = "main", attrs: Attrs = .empty) throws -> PrimFunc
{
    try createPrimFunc(arguments: args, name: name, attrs: attrs)
}

/// As above, for parameters that may be scalars.
public func createPrimFunc(
    arguments: [any FunctionArgument], name: String = "main", attrs: Attrs = .empty
) throws -> PrimFunc {
    let lowering = TELowering(arguments)
    return try withLargeStack { try lowering.build(name: name, attrs: attrs) }
}

extension te {
    /// The loop function that computes tensors; see the free function `createPrimFunc`.
    public static func createPrimFunc(
        _ args: [any FunctionArgument], name: String = "main", attrs: Attrs = .empty
    ) throws -> PrimFunc {
        try ApusTE.createPrimFunc(arguments: args, name: name, attrs: attrs)
    }
}

/// One lowering of tensor expressions to blocks. A schedule gives it the operations that stand for others.
final class TELowering {
    /// A block that computes an operation: its iteration variables belong to `axes`, in order.
    struct Placed {
        let op: Operation
        let block: String
        let axes: [IterVar]
    }

    private let arguments: [any FunctionArgument]
    private let parameters: Set<TensorKey>
    /// The tensor that stands for a tensor of an operation that a schedule has replaced.
    let source: (Tensor) -> Tensor
    /// Memory scopes of operations' results; absent = `global`.
    private let scopes: [Operation: String]
    /// Operations that are computed within each step of a scan, besides those that depend on its states.
    private let inScan: [Operation: Set<Operation>]

    private(set) var placed: [Placed] = []
    var buffers: [TensorKey: Buffer] = [:]
    private var names: Set<String> = []
    private var blockNames: Set<String> = ["root"]
    var allocated: [Buffer] = []
    var stmts: [Stmt] = []
    /// Variables that have a value everywhere in the function.
    private var known: Set<Var> = []

    init(
        _ arguments: [any FunctionArgument], source: @escaping (Tensor) -> Tensor = { $0 },
        scopes: [Operation: String] = [:], inScan: [Operation: Set<Operation>] = [:]
    ) {
        self.arguments = arguments
        self.source = source
        self.scopes = scopes
        self.inScan = inScan
        parameters = Set(arguments.compactMap { ($0 as? Tensor).map { TensorKey(source($0)) } })
    }

    func unique(_ base: String) -> String {
        var name = base
        var n = 0
        while !names.insert(name).inserted {
            n += 1
            name = "\(base)_\(n)"
        }
        return name
    }

    func uniqueBlock(_ base: String) -> String {
        var name = base
        var n = 0
        while !blockNames.insert(name).inserted {
            n += 1
            name = "\(base)_\(n)"
        }
        return name
    }

    func build(name: String, attrs: Attrs) throws -> PrimFunc {
        let outputs = arguments.compactMap { ($0 as? Tensor).map(source) }
        let order = postOrder(outputs)
        for op in order { if let e = op.error { throw e } }
        var map: [(param: Var, buffer: Buffer)] = []
        var params: [Var] = []
        // Parameters take their names first, so that these do not depend on what is between.
        for a in arguments {
            if let v = a as? Var {
                params.append(v)
                known.insert(v)
                continue
            }
            guard let given = a as? Tensor else { continue }
            let t = source(given)
            if buffers[TensorKey(t)] != nil { continue }
            if let scope = scopes[t.op], scope != "global" {
                throw ApusError(
                    "TE022", "`\(t.op.name)` is a parameter and cannot be in memory of its own",
                    at: ["stage: \(t.op.name)"], actual: "scope \(scope)")
            }
            // A caller's tensor is aligned for its element type only.
            let buffer = Buffer(unique(t.op.name), t.shape, t.dtype, alignment: 0)
            buffers[TensorKey(t)] = buffer
            let handle = Var("\(buffer.name)_handle", dtype: .handle)
            params.append(handle)
            map.append((param: handle, buffer: buffer))
            for d in t.shape { postOrderVisit(d) { if let v = $0 as? Var { known.insert(v) } } }
        }
        for case let scan as ScanOp in order { aliasInitial(scan) }
        for op in order { try emit(op) }
        let root = Block("root", body: SeqStmt.flat(stmts), allocBuffers: allocated)
        var all = Attrs([
            (key: "global_symbol", value: .string(name)), (key: "tir.noalias", value: .bool(true)),
        ])
        for e in attrs.entries { all = all.setting(e.key, e.value) }
        return PrimFunc(params, bufferMap: map, body: BlockRealize([], root), attrs: all)
    }

    func isParameter(_ t: Tensor) -> Bool { parameters.contains(TensorKey(t)) }

    func body(of scan: ScanOp) -> [Operation] { scan.body(source, with: inScan[scan] ?? []) }

    /// What must be there before an operation; of a scan, not what each step computes.
    private func inputs(_ op: Operation) -> [Tensor] {
        guard let scan = op as? ScanOp else { return op.inputTensors.map(source) }
        let body = body(of: scan)
        let inside = Set(body)
        let states = Set(scan.state.map { ObjectIdentifier($0.op) })
        var result = scan.initial.map(source)
        for b in body {
            // Of a scan within the step, what it needs from outside of its own steps.
            for t in inputs(b)
            where !inside.contains(t.op) && !states.contains(ObjectIdentifier(t.op)) {
                result.append(t)
            }
        }
        return result
    }

    /// Operations, producers before consumers; in order of first use.
    private func postOrder(_ outputs: [Tensor]) -> [Operation] {
        var order: [Operation] = []
        var state: [ObjectIdentifier: Bool] = [:]
        var stack: [(op: Operation, inputs: [Tensor], next: Int)] = []
        func enter(_ op: Operation) {
            if state[ObjectIdentifier(op)] != nil { return }
            state[ObjectIdentifier(op)] = false
            stack.append((op: op, inputs: op.error == nil ? inputs(op) : [], next: 0))
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

    func buffer(_ given: Tensor) -> Buffer {
        let t = source(given)
        if let known = buffers[TensorKey(t)] { return known }
        let base = t.op.outputCount == 1 ? t.op.name : "\(t.op.name)_v\(t.valueIndex)"
        let buffer = allocate(Buffer(unique(base), t.shape, t.dtype, scope: scopes[t.op] ?? "global"))
        buffers[TensorKey(t)] = buffer
        return buffer
    }

    /// Memory that lives while the function runs.
    func allocate(_ b: Buffer) -> Buffer {
        allocated.append(b)
        return b
    }

    func emit(_ op: Operation) throws {
        switch op {
        case is PlaceholderOp:
            let t = op.output()
            if !parameters.contains(TensorKey(t)) {
                throw ApusError("TE003", "the input `\(op.name)` is not among the parameters")
            }
        case let op as ComputeOp: try emit(compute: op)
        case let op as ExternOp: emit(extern: op)
        case let op as HybridOp: emit(hybrid: op)
        case let op as ScanOp: try emit(scan: op)
        case let op as TensorComputeOp: try emit(tensor: op)
        default: internalError("unknown operation \(op.schema.key)")
        }
    }

    func note(_ op: Operation, _ block: Block, _ axes: [IterVar]) {
        placed.append(Placed(op: op, block: block.name, axes: axes))
    }

    // MARK: Loops

    /// The loops of a block over axes: `domains` (absent = all) says which part of each runs.
    struct Nest {
        var loops: [(loopVar: Var, extent: PrimExpr)] = []
        var iterVars: [IterVar] = []
        var values: [PrimExpr] = []
        var conditions: [PrimExpr] = []
        /// The axis variables in terms of the block's own.
        var map: [Var: PrimExpr] = [:]

        mutating func add(_ a: IterVar, _ part: IRRange?, _ conditions: [PrimExpr]) {
            let blockVar = Var("v_\(a.variable.name)", dtype: a.variable.dtype)
            iterVars.append(IterVar(a.dom, blockVar, a.iterType))
            map[a.variable] = blockVar
            let dom = part ?? a.dom
            self.conditions.append(contentsOf: conditions)
            if part != nil, dom.extent.asInt == 1 {
                values.append(dom.min)
                return
            }
            let loopVar = Var(a.variable.name, dtype: a.variable.dtype)
            loops.append((loopVar: loopVar, extent: dom.extent))
            values.append(dom.min.isZero ? loopVar : loopVar + dom.min)
        }

        func stmt(_ block: Block) -> Stmt {
            var stmt: Stmt = BlockRealize(values, predicate: ApusTIR.all(conditions), block)
            for l in loops.reversed() {
                stmt = For(l.loopVar, IntImm(0, dtype: l.loopVar.dtype), l.extent, body: stmt)
            }
            return stmt
        }
    }

    /// Accesses of tensors as accesses of their buffers, variables by `map`.
    func lowered(_ e: PrimExpr, _ map: [Var: PrimExpr]) -> PrimExpr {
        if e.kind == .variable { return map[unsafeDowncast(e, to: Var.self)] ?? e }
        if let load = e as? ProducerLoad, let t = load.producer as? Tensor {
            return BufferLoad(buffer(t), load.indices.map { lowered($0, map) })
        }
        return mapChildren(of: e) { lowered($0, map) }
    }

    // MARK: Compute

    /// `domains`: which part of each spatial axis is computed, with conditions under which it lies in the axis.
    func emit(
        compute op: ComputeOp, domains: [(part: IRRange?, conditions: [PrimExpr])] = [],
        stepVariable: (axis: Var, block: Var)? = nil
    ) throws {
        let outputs = (0..<op.outputCount).map { buffer(op.output($0)) }
        for t in op.inputTensors { _ = buffer(t) }
        // A reduction over nothing is its initial value: no iteration would store it.
        let overNothing = op.reduceAxis.contains { $0.dom.extent.asInt == 0 }
        let axes = op.axis + (overNothing ? [] : op.reduceAxis)
        var nest = Nest()
        for (i, a) in axes.enumerated() {
            if domains.indices.contains(i) {
                nest.add(a, domains[i].part, domains[i].conditions)
            } else {
                nest.add(a, nil, [])
            }
        }
        let map = nest.map
        let point: [PrimExpr] = nest.iterVars.prefix(op.axis.count).map { $0.variable }
        var initial: Stmt?
        let body: Stmt
        if let reduce = op.reduction {
            let start =
                reduce.initial.isEmpty ? reduce.combiner.identity : reduce.initial.map { lowered($0, map) }
            let first = SeqStmt.flat(zip(outputs, start).map { BufferStore($0, $1, point) })
            if overNothing {
                body = first
            } else {
                initial = first
                let old = outputs.map { BufferLoad($0, point) as PrimExpr }
                let values = reduce.combiner.combine(old, reduce.source.map { lowered($0, map) })
                body = guarded(lowered(reduce.condition, map), update(outputs, values, point))
            }
        } else {
            body = SeqStmt.flat(zip(outputs, op.body).map { BufferStore($0, lowered($1, map), point) })
        }
        try checkFree(op, axes)
        var attrs = op.attrs
        if !op.tag.isEmpty { attrs = attrs.setting("tag", .string(op.tag)) }
        let block = Block(
            uniqueBlock(outputs[0].name), iterVars: nest.iterVars,
            reads: readRegions(of: body, except: Set(outputs)),
            writes: outputs.map { BufferRegion($0, point: point) }, body: body, initial: initial,
            annotations: attrs)
        note(op, block, axes)
        stmts.append(nest.stmt(block))
    }

    /// TE020: a variable in a formula that nothing binds.
    private func checkFree(_ op: ComputeOp, _ axes: [IterVar]) throws {
        var bound = known
        for a in axes { bound.insert(a.variable) }
        if let r = op.reduction { for a in r.axis { bound.insert(a.variable) } }
        var free: Var?
        func visit(_ e: PrimExpr) {
            switch e.kind {
            case .variable:
                let v = unsafeDowncast(e, to: Var.self)
                if free == nil, !bound.contains(v) { free = v }
            case .let:
                let l = unsafeDowncast(e, to: Let.self)
                visit(l.value)
                bound.insert(l.variable)
                visit(l.body)
            default: forEachChild(of: e, visit)
            }
        }
        for e in op.body { visit(e) }
        for a in axes {
            visit(a.dom.min)
            visit(a.dom.extent)
        }
        if let free {
            throw ApusError(
                "TE020", "the formula uses `\(free.name)`, which has no value", at: ["compute: \(op.name)"],
                expected: "an axis, a dimension of a parameter or a scalar parameter",
                hint: "reduce over it, or pass it as an argument")
        }
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
    func readRegions(of body: Stmt, except written: Set<Buffer>) -> [BufferRegion] {
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

    // MARK: Extern

    private func emit(extern op: ExternOp) {
        var map: [Buffer: Buffer] = [:]
        var pointers: [Var: PrimExpr] = [:]
        var reads: [BufferRegion] = []
        var writes: [BufferRegion] = []
        for (t, b) in zip(op.inputs, op.inputBuffers) {
            let actual = buffer(t)
            map[b] = actual
            pointers[b.data] = actual.data
            if !reads.contains(where: { $0.buffer === actual }) { reads.append(BufferRegion(all: actual)) }
        }
        for (i, b) in op.outputBuffers.enumerated() {
            let actual = buffer(op.output(i))
            map[b] = actual
            pointers[b.data] = actual.data
            writes.append(BufferRegion(all: actual))
        }
        let name = writes.first?.buffer.name ?? op.name
        let block = Block(
            uniqueBlock(name), reads: reads, writes: writes,
            body: substitute(op.body, pointers, buffers: map), annotations: op.attrs)
        note(op, block, [])
        stmts.append(BlockRealize([], block))
    }
}
