import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import Glibc
import Testing

/// A schedule that must be refused, and the code of the refusal.
struct Refusal: Sendable, CustomStringConvertible {
    let name: String
    let code: String
    let program: @Sendable () -> PrimFunc
    let schedule: @Sendable (Schedule) throws -> Void
    var description: String { name }
}

let refusals: [Refusal] = {
    var all: [Refusal] = []
    all.append(
        Refusal(name: "unknown block", code: "SCH004", program: { Programs.matmul() }) { s in
            _ = try s.getBlock("X")
        })
    all.append(
        Refusal(name: "block gone after inline", code: "SCH003", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            try s.computeInline(b)
            _ = try s.getLoops(b)
        })
    all.append(
        Refusal(name: "loop gone after split", code: "SCH003", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.split(l[0], factors: [nil, 2])
            try s.parallel(l[0])
        })
    all.append(
        Refusal(name: "split with two open factors", code: "SCH030", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[0], factors: [nil, nil])
        })
    all.append(
        Refusal(name: "split with no factor", code: "SCH030", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[0], factors: [Int?]())
        })
    all.append(
        Refusal(name: "split by zero", code: "SCH030", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[0], factors: [nil, 0])
        })
    all.append(
        Refusal(name: "split that does not cover", code: "SCH030", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[0], factors: [2, 2])
        })
    all.append(
        Refusal(name: "split with overflow", code: "SCH030", program: { Programs.matmul() }) { s in
            try s.split(s.getLoops(s.getBlock("C"))[0], factors: [nil, Int.max, 4])
        })
    all.append(
        Refusal(name: "split of a parallel loop", code: "SCH031", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.parallel(l[0])
            try s.split(l[0], factors: [nil, 2])
        })
    all.append(
        Refusal(name: "fuse of loops apart", code: "SCH033", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.fuse(l[0], l[2])
        })
    all.append(
        Refusal(name: "fuse inside out", code: "SCH033", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.fuse(l[1], l[0])
        })
    all.append(
        Refusal(name: "fuse of a vectorized loop", code: "SCH031", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.vectorize(l[1])
            try s.fuse(l[0], l[1])
        })
    all.append(
        Refusal(name: "reorder of a loop named twice", code: "SCH033", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.reorder(l[0], l[0])
        })
    all.append(
        Refusal(name: "reorder across nests", code: "SCH033", program: { Programs.chain() }) { s in
            let a = try s.getLoops(s.getBlock("B"))
            let b = try s.getLoops(s.getBlock("C"))
            try s.reorder(a[0], b[0])
        })
    all.append(
        Refusal(name: "reorder around two blocks", code: "SCH033", program: { Programs.softmax() }) { s in
            let l = try s.getLoops(s.getBlock("out"))
            try s.computeAt(s.getBlock("sum"), l[0])
            let k = try s.getLoops(s.getBlock("sum"))
            try s.reorder(k[1], k[0])
        })
    all.append(
        Refusal(
            name: "reorder of spatial and reduction fused", code: "SCH035", program: { Programs.matmul() }
        ) { s in
            let l = try s.getLoops(s.getBlock("C"))
            let f = try s.split(s.fuse(l), factors: [nil, 3])
            try s.reorder(f[1], f[0])
        })
    all.append(
        Refusal(name: "parallel reduction", code: "SCH040", program: { Programs.matmul() }) { s in
            try s.parallel(s.getLoops(s.getBlock("C"))[2])
        })
    all.append(
        Refusal(name: "vectorized reduction", code: "SCH040", program: { Programs.matmul() }) { s in
            try s.vectorize(s.getLoops(s.getBlock("C"))[2])
        })
    all.append(
        Refusal(name: "parallel twice in another way", code: "SCH041", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.vectorize(l[0])
            try s.parallel(l[0])
        })
    all.append(
        Refusal(name: "nested parallel", code: "SCH042", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.parallel(l[1])
            try s.parallel(l[0])
        })
    all.append(
        Refusal(name: "parallel with repeated results", code: "SCH040", program: { Programs.chain() }) { s in
            let d = try s.getBlock("D")
            let u = try s.addUnitLoop(s.getLoops(d)[0])
            let x = try s.split(u, factors: [nil, 2])
            try s.parallel(x[1])
        })
    all.append(
        Refusal(name: "bind to nothing", code: "SCH044", program: { Programs.matmul() }) { s in
            try s.bind(s.getLoops(s.getBlock("C"))[0], thread: "lane")
        })
    all.append(
        Refusal(name: "bind twice", code: "SCH041", program: { Programs.matmul() }) { s in
            let l = try s.getLoops(s.getBlock("C"))
            try s.bind(l[0], thread: "blockIdx.x")
            try s.bind(l[0], thread: "blockIdx.y")
        })
    all.append(
        Refusal(name: "unannotate nothing", code: "SCH045", program: { Programs.chain() }) { s in
            try s.unannotate(s.getBlock("B"), "x")
        })
    all.append(
        Refusal(name: "unannotate nothing on a loop", code: "SCH045", program: { Programs.chain() }) { s in
            try s.unannotate(s.getLoops(s.getBlock("B"))[0], "x")
        })
    all.append(
        Refusal(name: "storageAlign of a parameter", code: "SCH046", program: { Programs.chain() }) { s in
            try s.storageAlign(s.getBlock("D"), axis: 0, factor: 8, offset: 1)
        })
    all.append(
        Refusal(name: "storageAlign of an axis too far", code: "SCH046", program: { Programs.chain() }) { s in
            try s.storageAlign(s.getBlock("B"), axis: 2, factor: 8, offset: 1)
        })
    all.append(
        Refusal(name: "setScope of a parameter", code: "SCH047", program: { Programs.chain() }) { s in
            try s.setScope(s.getBlock("D"), scope: "local")
        })
    all.append(
        Refusal(name: "setScope of another write", code: "SCH047", program: { Programs.chain() }) { s in
            try s.setScope(s.getBlock("B"), writeIndex: 1, scope: "local")
        })
    all.append(
        Refusal(name: "sampleCategorical without weights", code: "SCH050", program: { Programs.chain() }) {
            s in
            _ = try s.sampleCategorical([1, 2], weights: [1])
        })
    all.append(
        Refusal(
            name: "samplePerfectTile with a wrong decision", code: "SCH051", program: { Programs.matmul() }
        ) { s in
            _ = try s.samplePerfectTile(s.getLoops(s.getBlock("C"))[0], n: 2, decision: [4, 2])
        })
    all.append(
        Refusal(name: "inline a reduction", code: "SCH060", program: { Programs.matmulRelu() }) { s in
            try s.computeInline(s.getBlock("C"))
        })
    all.append(
        Refusal(name: "inline a result", code: "SCH063", program: { Programs.chain() }) { s in
            try s.computeInline(s.getBlock("D"))
        })
    all.append(
        Refusal(name: "reverse inline into a reduction", code: "SCH060", program: { Programs.matmulRelu() }) {
            s in
            try s.reverseComputeInline(s.getBlock("T"))
        })
    all.append(
        Refusal(name: "reverse inline with two readers", code: "SCH060", program: { Programs.softmax() }) {
            s in
            try s.reverseComputeInline(s.getBlock("sum"))
        })
    all.append(
        Refusal(name: "reverse inline of the first block", code: "SCH066", program: { Programs.chain() }) {
            s in
            try s.reverseComputeInline(s.getBlock("B"))
        })
    all.append(
        Refusal(name: "reverse inline of a window", code: "SCH067", program: { Programs.blur() }) { s in
            try s.reverseComputeInline(s.getBlock("out"))
        })
    all.append(
        Refusal(name: "reverse inline of padding", code: "SCH067", program: { Programs.conv() }) { s in
            let c = try s.cacheRead(s.getBlock("pad"), 0, "global")
            _ = c
            try s.reverseComputeInline(s.getBlock("pad"))
        })
    all.append(
        Refusal(name: "computeAt without readers", code: "SCH063", program: { Programs.chain() }) { s in
            try s.computeAt(s.getBlock("D"), s.getLoops(s.getBlock("C"))[0])
        })
    all.append(
        Refusal(name: "computeAt with a reader outside", code: "SCH074", program: { Programs.softmax() }) {
            s in
            try s.computeAt(s.getBlock("mx"), s.getLoops(s.getBlock("out"))[0])
        })
    all.append(
        Refusal(
            name: "computeAt of a decomposed reduction", code: "SCH072", program: { Programs.matmulRelu() }
        ) { s in
            let c = try s.getBlock("C")
            try s.decomposeReduction(c, s.getLoops(c)[0])
            try s.computeAt(c, s.getLoops(s.getBlock("T"))[0])
        })
    all.append(
        Refusal(name: "computeAt under a vectorized loop", code: "SCH073", program: { Programs.chain() }) {
            s in
            let l = try s.getLoops(s.getBlock("D"))
            try s.vectorize(l[1])
            try s.computeAt(s.getBlock("C"), l[1])
        })
    all.append(
        Refusal(
            name: "reverseComputeAt under a reduction", code: "SCH021", program: { Programs.matmulRelu() }
        ) { s in
            try s.reverseComputeAt(s.getBlock("T"), s.getLoops(s.getBlock("C"))[2])
        })
    all.append(
        Refusal(name: "reverseComputeAt of a window", code: "SCH022", program: { Programs.blur() }) { s in
            try s.reverseComputeAt(s.getBlock("out"), s.getLoops(s.getBlock("bx"))[0])
        })
    all.append(
        Refusal(name: "reverseComputeAt away from producers", code: "SCH075", program: { Programs.chain() }) {
            s in
            try s.reverseComputeAt(s.getBlock("D"), s.getLoops(s.getBlock("B"))[0])
        })
    all.append(
        Refusal(
            name: "reverseComputeAt of a reduction over the tile", code: "SCH022",
            program: { Programs.softmax() }
        ) { s in
            try s.reverseComputeAt(s.getBlock("sum"), s.getLoops(s.getBlock("ex"))[1])
        })
    all.append(
        Refusal(
            name: "reverseComputeAt before another producer", code: "SCH020", program: { Programs.softmax() }
        ) { s in
            try s.reverseComputeAt(s.getBlock("out"), s.getLoops(s.getBlock("ex"))[0])
        })
    all.append(
        Refusal(name: "cacheRead of nothing", code: "SCH080", program: { Programs.matmul() }) { s in
            try s.cacheRead(s.getBlock("C"), 2, "local")
        })
    all.append(
        Refusal(name: "cacheRead of an update", code: "SCH080", program: { Programs.matmul() }) { s in
            let c = try s.getBlock("C")
            try s.decomposeReduction(c, s.getLoops(c)[0])
            try s.cacheRead(c, 2, "local")
        })
    all.append(
        Refusal(name: "cacheWrite of nothing", code: "SCH081", program: { Programs.matmul() }) { s in
            try s.cacheWrite(s.getBlock("C"), 1, "local")
        })
    all.append(
        Refusal(name: "cacheWrite after decomposition", code: "SCH081", program: { Programs.matmul() }) { s in
            let c = try s.getBlock("C")
            try s.decomposeReduction(c, s.getLoops(c)[0])
            try s.cacheWrite(c, 0, "local")
        })
    all.append(
        Refusal(name: "decompose no reduction", code: "SCH082", program: { Programs.chain() }) { s in
            let b = try s.getBlock("B")
            try s.decomposeReduction(b, s.getLoops(b)[0])
        })
    all.append(
        Refusal(name: "decompose at another loop", code: "SCH083", program: { Programs.matmulRelu() }) { s in
            try s.decomposeReduction(s.getBlock("C"), s.getLoops(s.getBlock("T"))[0])
        })
    all.append(
        Refusal(name: "decompose inside the reduction", code: "SCH083", program: { Programs.total() }) { s in
            let b = try s.getBlock("B")
            try s.decomposeReduction(b, s.getLoops(b)[2])
        })
    all.append(
        Refusal(name: "decompose a mixed loop", code: "SCH084", program: { Programs.matmul() }) { s in
            let b = try s.getBlock("C")
            let l = try s.getLoops(b)
            try s.decomposeReduction(b, s.fuse(l))
        })
    all.append(
        Refusal(name: "rfactor of a spatial loop", code: "SCH086", program: { Programs.total() }) { s in
            try s.rfactor(s.getLoops(s.getBlock("B"))[0], factorAxis: 0)
        })
    all.append(
        Refusal(name: "rfactor at an axis too far", code: "SCH087", program: { Programs.total() }) { s in
            try s.rfactor(s.getLoops(s.getBlock("B"))[1], factorAxis: 2)
        })
    all.append(
        Refusal(name: "trace of an unknown instruction", code: "SCH091", program: { Programs.chain() }) { s in
            try s.apply(Trace([Instruction("melt", inputs: [])]))
        })
    all.append(
        Refusal(name: "trace with an undefined operand", code: "SCH091", program: { Programs.chain() }) { s in
            try s.apply(Trace([Instruction("parallel", inputs: [.loop(7)])]))
        })
    all.append(
        Refusal(name: "trace with a missing attribute", code: "SCH091", program: { Programs.chain() }) { s in
            try s.apply(Trace([Instruction("getBlock", inputs: [])]))
        })
    all.append(
        Refusal(name: "trace that is none", code: "SCH090", program: { Programs.chain() }) { s in
            _ = try Trace(json: JSON.parse("[[1]]"))
        })
    all.append(
        Refusal(name: "trace with a bad operand", code: "SCH090", program: { Programs.chain() }) { s in
            _ = try Trace(json: JSON.parse("[[\"split\",[\"q1\"],{},[],null]]"))
        })
    all.append(
        Refusal(name: "a loop of another schedule", code: "SCH003", program: { Programs.chain() }) { s in
            let t = try Schedule(Programs.matmul())
            for _ in 0..<9 { _ = try t.getLoops(t.getBlock("C")) }
            let l = try t.getLoops(t.getBlock("C"))
            try s.parallel(l[0])
        })
    return all + moreRefusals
}()

struct ScheduleRefusals {
    @Test(arguments: refusals)
    func isRefusedWithItsCode(_ r: Refusal) throws {
        let before = r.program()
        let s = try Schedule(before)
        do {
            try r.schedule(s)
            Issue.record("accepted:\n\(s.text)")
        } catch let e as ApusError {
            #expect(e.code == r.code, "\(e)")
            // The whole text: message, function with marks, what would be legal.
            // The intrinsics that tests of other rooms register in the same process are not part of it.
            let text = "\(e)".replacing(#/te\.\w+\.(body|reset|update)\.[0-9a-f]{16}, /#, with: "")
            #expect(
                text == Golden.errors.text(r.name),
                "differs from Golden/errors; APUS_UPDATE_GOLDEN=1 writes it anew:\n\(e)")
        }
        // What came before the refused primitive stands, and nothing else.
        #expect(difference(before, s.function, scalars: ["n": 3]) == nil)
        let again = try Schedule(before)
        try again.apply(s.trace)
        #expect(structuralEqual(again.function, s.function))
    }

    @Test func namesAreUnique() { #expect(Set(refusals.map(\.name)).count == refusals.count) }

    /// Codes of `Schedule.verify` tell of mistakes of the primitives; no input reaches them.
    @Test func everyCodeHasACase() throws {
        let folder = "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")
        var codes: Set<String> = []
        for file in try listFiles("/\(folder)/Sources/TIRSchedule") {
            let text = try readText("/\(folder)/Sources/TIRSchedule/\(file)")
            for part in text.split(separator: "\"") where part.count == 6 && part.hasPrefix("SCH") {
                codes.insert(String(part))
            }
        }
        #expect(codes.count > 50)
        let tested = Set(refusals.map(\.code))
        #expect(codes.filter { !tested.contains($0) && !$0.hasPrefix("SCH19") }.sorted() == [])
    }

    /// Not a test of its own: refreshes the texts that `isRefusedWithItsCode` compares with.
    @Test(.enabled(if: Golden.isUpdated))
    func updateGoldenErrors() throws {
        for r in refusals {
            let s = try Schedule(r.program())
            guard let e = #expect(throws: ApusError.self, performing: { try r.schedule(s) }) else { continue }
            try Golden.errors.record(r.name, "\(e)")
        }
    }

    @Test func anErrorShowsTheIR() throws {
        let s = try Schedule(Programs.matmul())
        let l = try s.getLoops(s.getBlock("C"))
        let e = try #require(throws: ApusError.self) { try s.parallel(l[2]) }
        #expect(e.context == ["primitive: parallel"])
        #expect(
            e.notes.first?.contains("for i, j, r0 in T.grid(6, 7, 5):\n                  ^^") == true, "\(e)")
        #expect(e.hint != nil)
    }
}

private func listFiles(_ folder: String) throws -> [String] {
    let d = try #require(opendir(folder))
    defer { closedir(d) }
    var names: [String] = []
    while let e = readdir(d) {
        let name = withUnsafePointer(to: &e.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name.hasSuffix(".swift") { names.append(name) }
    }
    return names.sorted()
}

private func readText(_ path: String) throws -> String {
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let n = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes.prefix(n), as: UTF8.self)
}
