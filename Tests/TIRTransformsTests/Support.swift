import ApusIR
import ApusNode
import ApusRuntime
import ApusTIR
import ApusTIRTransforms
import Testing

/// A small generator with a fixed sequence.
struct Random {
    var state: UInt64
    init(_ seed: Int) { state = UInt64(seed + 1) &* 0x9E37_79B9_7F4A_7C15 }
    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
    mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
}

func parse(_ text: String) throws -> PrimFunc { try TIRParser.parseFunction(text) }

/// Random small integers as values, so that float sums are exact in any order.
func tensors(_ f: PrimFunc, _ dims: [String: Int] = [:], seed: Int = 1) -> [NDArray] {
    var r = Random(seed)
    return f.bufferMap.map { _, b in
        let shape: [Int] = b.shape.map { d in d.asInt ?? (d as? Var).flatMap { dims[$0.name] } ?? 1 }
        let count = shape.reduce(1, *)
        let a = NDArray(shape: shape, dtype: b.dtype)
        for i in 0..<count {
            let v = r.below(17) - 8
            switch b.dtype {
            case .float32: a.data.assumingMemoryBound(to: Float.self)[i] = Float(v)
            case .int64: a.data.assumingMemoryBound(to: Int64.self)[i] = Int64(abs(v))
            case .int32: a.data.assumingMemoryBound(to: Int32.self)[i] = Int32(v)
            default: a.data.assumingMemoryBound(to: UInt8.self)[i] = UInt8(abs(v) & 1)
            }
        }
        return a
    }
}

/// Runs both functions on the same data and compares every tensor bit for bit.
func expectSame(
    _ a: PrimFunc, _ b: PrimFunc, _ dims: [String: Int] = [:], _ location: SourceLocation = #_sourceLocation
) throws {
    let x = tensors(a, dims)
    let y = tensors(a, dims)
    try TIRInterpreter.run(a, x)
    do { try TIRInterpreter.run(b, y) } catch {
        Issue.record("\(error)\nin\n\(b)", sourceLocation: location)
        return
    }
    for (p, q) in zip(x, y) where !p.hasSameContents(as: q) {
        Issue.record("results differ after\n\(b)", sourceLocation: location)
        return
    }
}

/// `pass(before)` is `after`, does the same, and is not changed by the same pass again.
func expectPass(
    _ pass: (PrimFunc) throws -> PrimFunc, _ before: String, _ after: String, _ dims: [String: Int] = [:],
    _ location: SourceLocation = #_sourceLocation
) throws {
    let f = try parse(before)
    let g = try pass(f)
    let want = try parse(after)
    if !structuralEqual(g, want) {
        Issue.record("got\n\(g)\nexpected\n\(want)", sourceLocation: location)
    }
    try expectSame(f, g, dims, location)
    #expect(structuralEqual(try pass(g), g), "not idempotent", sourceLocation: location)
    #expect(structuralEqual(try parse("\(g)"), g), "text does not read back", sourceLocation: location)
}

/// All steps of the pipeline keep the result; the last one is returned.
@discardableResult
func expectPipeline(
    _ text: String, _ dims: [String: Int] = [:], _ location: SourceLocation = #_sourceLocation
) throws -> PrimFunc {
    let f = try parse(text)
    var g = f
    for pass in TIRPasses.lowering + [TIRPasses.commonSubexprElim] {
        guard let next = try pass.run(IRModule(g)).functions[0] as? PrimFunc else { continue }
        if next !== g && pass.info.name != "tir.LowerIntrin" { try expectSame(f, next, dims, location) }
        g = next
    }
    var kinds: Set<String> = []
    postOrderVisit(
        g.body,
        stmt: { s in
            if let l = s as? For { kinds.insert(l.forKind.rawValue) }
            if s is Block || s is BlockRealize { kinds.insert("block") }
        })
    #expect(kinds.isSubset(of: ["serial", "parallel"]), sourceLocation: location)
    return g
}

func count(_ f: PrimFunc, _ predicate: (Stmt) -> Bool) -> Int {
    var n = 0
    postOrderVisit(f.body, stmt: { if predicate($0) { n += 1 } })
    return n
}

func countExpr(_ f: PrimFunc, _ predicate: (PrimExpr) -> Bool) -> Int {
    var n = 0
    postOrderVisit(f.body, expr: { if predicate($0) { n += 1 } })
    return n
}
