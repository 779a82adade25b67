import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

private let stageKey = "software_pipeline_stage"
private let orderKey = "software_pipeline_order"

private func pipelined(_ loop: For, _ analyzer: Analyzer) throws -> Stmt {
    guard let stages = loop.annotations.ints(stageKey) else { return loop }
    let rest = loop.annotations.removing(stageKey).removing(orderKey)
    func bad(_ message: String, expected: String, actual: String) -> ApusError {
        ApusError("TTR020", message, at: ["loop: \(loop.loopVar.name)"], expected: expected, actual: actual)
            .located(loop.span)
    }
    guard loop.forKind == .serial || loop.forKind == .unrolled else {
        throw bad(
            "a software pipeline needs its iterations in order", expected: "serial",
            actual: loop.forKind.rawValue)
    }
    guard let body = PipelineBody(loop.body), body.statements.count == stages.count else {
        throw bad(
            "a software pipeline needs one stage a statement of its loop",
            expected: "\(stages.count) statements",
            actual: "\(PipelineBody(loop.body)?.statements.count ?? 0)")
    }
    let order = loop.annotations.ints(orderKey) ?? Array(stages.indices)
    guard order.sorted() == Array(stages.indices) else {
        throw bad(
            "the order of a software pipeline must name each place once",
            expected: "a permutation of 0..<\(stages.count)", actual: "\(order)")
    }
    guard let lowest = stages.min(), lowest >= 0, let highest = stages.max(), highest - lowest <= 64 else {
        throw bad("the stages of a software pipeline must be small", expected: "0...64", actual: "\(stages)")
    }
    let pipeliner = try LoopPipeliner(loop, body, stages: stages.map { $0 - lowest }, order: order, analyzer)
    return pipeliner.run(annotations: rest)
}

/// Turns loops annotated with `software_pipeline_stage` (one number a statement of the body) and
/// `software_pipeline_order` (when a step runs it; default: as written) into pipelines: in step `t`, statement `k` works
/// on iteration `t - stage[k]`. A prologue fills the pipeline, an epilogue drains it. Memory allocated in the body gets as
/// many versions as iterations are under way between its first and its last user. The body may be a block without
/// variables or allocations around the statements; the function needs blocks without iteration variables, or none.
///
/// Throws TTR020 for annotations that do not fit the loop, TTR022 where the order would change the result, TTR023 for
/// memory handed on as a plain pointer. (TVM's InjectSoftwarePipeline.)
public func injectSoftwarePipeline(_ f: PrimFunc) throws -> PrimFunc {
    let analyzer = shapeAnalyzer(f)
    func rewrite(_ s: Stmt) throws -> Stmt {
        if let loop = s as? For { analyzer.bind(loop.loopVar, interval(of: loop)) }
        let n = try mapChildren(of: s, expr: { $0 }, stmt: { try rewrite($0) })
        guard let loop = n as? For else { return n }
        return try pipelined(loop, analyzer)
    }
    return try f.rewritingBody { (s: Stmt) throws -> Stmt in try rewrite(s) }
}

extension TIRPasses {
    public static let injectSoftwarePipeline = primFuncPass(
        PassInfo("tir.InjectSoftwarePipeline", "annotated loops run their statements in stages")
    ) { f, _, _ in try ApusTIRTransforms.injectSoftwarePipeline(f) }
}
