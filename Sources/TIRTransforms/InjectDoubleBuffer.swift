import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private let scopeKey = "double_buffer_scope"

/// The buffers that annotated blocks below `s` write.
private func annotatedBuffers(_ s: Stmt) throws -> [Buffer] {
    var result: [Buffer] = []
    var failure: ApusError?
    postOrderVisit(
        s,
        stmt: { x in
            guard let b = x as? Block, let at = b.annotations.int(scopeKey) else { return }
            guard b.writes.indices.contains(at) else {
                failure = ApusError(
                    "TTR021", "double_buffer_scope names no write of its block", at: ["block: \(b.name)"],
                    expected: "0..<\(b.writes.count)", actual: "\(at)"
                ).located(b.span)
                return
            }
            result.append(b.writes[at].buffer)
        })
    if let failure { throw failure }
    return result
}

/// Takes the annotation off blocks whose buffers are treated.
private final class AnnotationRemover: StmtExprMutator {
    private let done: Set<Var>
    init(_ done: Set<Var>) { self.done = done }
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let b = n as? Block, let at = b.annotations.int(scopeKey), b.writes.indices.contains(at),
            done.contains(b.writes[at].buffer.data)
        else { return n }
        return b.with(annotations: b.annotations.removing(scopeKey))
    }
}

private func doubleBuffered(_ loop: For, _ analyzer: Analyzer, split: Int) throws -> Stmt {
    // A loop with stages of its own overlaps as they say, and gets the versions that takes: its statements must stay those
    // that the stages speak of.
    guard loop.annotations["software_pipeline_stage"] == nil,
        loop.forKind == .serial || loop.forKind == .unrolled, let body = PipelineBody(loop.body),
        !body.buffers.isEmpty, body.statements.count > 1
    else { return loop }
    let own = Set(body.buffers.map(\.data))
    let doubled = Set(try annotatedBuffers(loop.body).map(\.data)).intersection(own)
    if doubled.isEmpty { return loop }
    let summaries = body.statements.map { AccessSummary($0) }
    // First stage: what writes a doubled buffer, and whatever that needs from this iteration.
    var early = body.statements.indices.map { i in doubled.contains { summaries[i].changes($0) } }
    for i in body.statements.indices.reversed() where early[i] {
        for j in 0..<i
        where summaries[j].all.contains(where: {
            // Memory from outside the loop counts, too: a statement left behind would run after what it comes before.
            (summaries[j].changes($0) && summaries[i].touches($0))
                || (summaries[j].touches($0) && summaries[i].changes($0))
        }) { early[j] = true }
    }
    // Nothing left to overlap with.
    if early.allSatisfy({ $0 }) { return loop }
    let clean = AnnotationRemover(doubled).mutate(loop)
    guard let plain = clean as? For, let plainBody = PipelineBody(plain.body) else { return loop }
    let stages = early.map { $0 ? 0 : 1 }
    let pipeliner = try LoopPipeliner(
        plain, plainBody, stages: stages, order: Array(stages.indices), analyzer)
    return pipeliner.run(annotations: loop.annotations, split: split)
}

/// Lets the producers of a buffer work one iteration ahead of its users: a block with the annotation
/// `double_buffer_scope = k` writes the buffer `writes[k]`, which is allocated in the body of a loop; that loop gets a
/// prologue that fills the buffer for the first iteration, turns that fill one half while they use the other, and an
/// epilogue that uses the last. With `split` > 1 the loop makes that many steps a turn, so that the half is a constant
/// once simplified. Loops whose statements all belong to the producers stay as they are, and so do software pipelines, which
/// make versions of a buffer themselves.
///
/// Throws TTR021 for an annotation that names no write, TTR022 where an iteration's producer depends on the previous
/// iteration's user. (TVM's InjectDoubleBuffer; here on blocks, by the machinery of software pipelines.)
public func injectDoubleBuffer(_ f: PrimFunc, split: Int = 1) throws -> PrimFunc {
    let analyzer = shapeAnalyzer(f)
    func rewrite(_ s: Stmt) throws -> Stmt {
        if let loop = s as? For { analyzer.bind(loop.loopVar, interval(of: loop)) }
        let n = try mapChildren(of: s, expr: { $0 }, stmt: { try rewrite($0) })
        guard let loop = n as? For else { return n }
        return try doubleBuffered(loop, analyzer, split: split)
    }
    return try f.rewritingBody { (s: Stmt) throws -> Stmt in try rewrite(s) }
}

extension TIRPasses {
    public static let injectDoubleBuffer = primFuncPass(
        PassInfo("tir.InjectDoubleBuffer", "producers of annotated buffers work one iteration ahead")
    ) { f, _, c in
        try ApusTIRTransforms.injectDoubleBuffer(
            f, split: Swift.max(c.int("tir.double_buffer_split_loop", default: 1), 1))
    }
}
