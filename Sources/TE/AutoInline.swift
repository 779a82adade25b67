import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Computes all intermediate stages inline whose elements are functions of the elements at the same place.
public func autoInlineElemWise(_ s: TESchedule) { autoInline(s, isElementwise) }

/// Computes all intermediate stages inline that are no reductions.
public func autoInlineInjective(_ s: TESchedule) { autoInline(s) { _ in true } }

/// Computes all intermediate stages inline that only repeat elements along axes.
public func autoInlineBroadcast(_ s: TESchedule) { autoInline(s, isBroadcast) }

private func autoInline(_ s: TESchedule, _ wanted: (ComputeOp) -> Bool) {
    for stage in s.stages {
        guard let op = stage.op as? ComputeOp, op.error == nil, op.reduction == nil, op.outputCount == 1,
            !stage.isOutput, stage.attachType == .groupRoot, stage.steps.isEmpty, wanted(op)
        else { continue }
        // Only formulas can take it in.
        let readers = s.readers(stage)
        if readers.isEmpty || readers.contains(where: { !($0.op is ComputeOp) }) { continue }
        stage.computeInline()
    }
}

private func loads(_ op: ComputeOp) -> [ProducerLoad] {
    var result: [ProducerLoad] = []
    for e in op.body { postOrderVisit(e) { if let l = $0 as? ProducerLoad { result.append(l) } } }
    return result
}

private func isElementwise(_ op: ComputeOp) -> Bool {
    loads(op).allSatisfy { l in
        l.indices.count == op.axis.count && zip(l.indices, op.axis).allSatisfy { $0 === $1.variable }
    }
}

/// Every index is an axis, in the order of the axes; some may be missing.
private func isBroadcast(_ op: ComputeOp) -> Bool {
    loads(op).allSatisfy { l in
        var next = 0
        for i in l.indices {
            if i.asInt == 0 { continue }
            guard let at = op.axis[next...].firstIndex(where: { $0.variable === i }) else { return false }
            next = at + 1
        }
        return true
    }
}
