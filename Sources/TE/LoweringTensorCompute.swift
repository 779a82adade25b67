import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension TELowering {
    /// One block over the loops, whose body is the intrinsic on views of the regions it works on.
    func emit(tensor op: TensorComputeOp) throws {
        let intrin = op.intrin
        let axes = op.rootIterVars
        var nest = Nest()
        for a in axes { nest.add(a, nil, []) }
        var matches: [MatchBufferRegion] = []
        var replacement: [Buffer: Buffer] = [:]
        var values: [Var: PrimExpr] = nest.map
        for (v, e) in zip(intrin.scalarParams, op.scalarInputs) { values[v] = lowered(e, nest.map) }
        func view(_ b: Buffer, _ region: BufferRegion) {
            let new = freshView(b, &values)
            replacement[b] = new
            matches.append(MatchBufferRegion(new, region))
        }
        var reads: [BufferRegion] = []
        for (i, t) in op.inputs.enumerated() {
            let ranges = op.inputRegions[i].map { r in
                IRRange(min: lowered(r.min, nest.map), extent: lowered(r.extent, nest.map))
            }
            let region = BufferRegion(buffer(t), ranges)
            if !reads.contains(where: { $0.buffer === region.buffer }) {
                reads.append(region)
            } else {
                // Two regions of one buffer: all of it.
                reads = reads.map { $0.buffer === region.buffer ? BufferRegion(all: region.buffer) : $0 }
            }
            view(intrin.buffers[i], region)
        }
        var writes: [BufferRegion] = []
        for i in 0..<op.outputCount {
            let out = buffer(op.output(i))
            var ranges: [IRRange] = []
            for (d, a) in op.axis.enumerated() {
                if d < op.schedulableNdim, let v = nest.map[a.variable] {
                    ranges.append(IRRange(min: v, extent: IntImm(1, dtype: v.dtype)))
                } else {
                    ranges.append(IRRange(extent: out.shape[d]))
                }
            }
            let region = BufferRegion(out, ranges)
            writes.append(region)
            view(intrin.buffers[op.inputs.count + i], region)
        }
        let main = op.reduceAxis.isEmpty ? intrin.body : intrin.reduceUpdate
        guard let main else { internalError("a tensor computation without statements") }
        let initial = op.reduceAxis.isEmpty ? nil : intrin.reduceInit
        var attrs = op.attrs
        if !op.tag.isEmpty { attrs = attrs.setting("tag", .string(op.tag)) }
        let block = Block(
            uniqueBlock(writes[0].buffer.name), iterVars: nest.iterVars, reads: reads, writes: writes,
            body: substitute(main, values, buffers: replacement),
            initial: initial.map { substitute($0, values, buffers: replacement) }, matchBuffers: matches,
            annotations: attrs)
        note(op, block, axes)
        stmts.append(nest.stmt(block))
    }

    /// A buffer like `b` with variables of its own: a statement may stand in several places.
    private func freshView(_ b: Buffer, _ values: inout [Var: PrimExpr]) -> Buffer {
        func fresh(_ e: PrimExpr) -> PrimExpr {
            guard let v = e as? Var else { return e }
            let new = Var(v.name, dtype: v.dtype)
            values[v] = new
            return new
        }
        let strides = b.strides.map(fresh)
        let offset = fresh(b.elemOffset)
        let data = Var(b.data.name, type: b.data.type)
        values[b.data] = data
        return Buffer(
            data: data, dtype: b.dtype, shape: b.shape, strides: strides, elemOffset: offset,
            name: unique(b.name),
            alignment: b.alignment)
    }
}
