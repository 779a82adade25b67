import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

/// A matrix product.
struct Matmul {
    let a: Tensor
    let b: Tensor
    let c: Tensor
    let k: IterVar

    init(_ m: Int, _ n: Int, _ l: Int) {
        let a = te.placeholder([m, l], name: "A"), b = te.placeholder([l, n], name: "B")
        let k = te.reduceAxis(0..<l, name: "k")
        self.a = a
        self.b = b
        self.k = k
        c = te.compute([m, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) }
    }
}

/// `b = a + 1, c = b * 2, d = c - 3` over a matrix.
struct Chain {
    let a: Tensor
    let b: Tensor
    let c: Tensor
    let d: Tensor

    init(_ m: Int = 8, _ n: Int = 12) {
        let a = te.placeholder([m, n], name: "A")
        let b = te.compute([m, n], name: "B") { i, j in a[i, j] + 1 }
        let c = te.compute([m, n], name: "C") { i, j in b[i, j] * 2 }
        self.a = a
        self.b = b
        self.c = c
        d = te.compute([m, n], name: "D") { i, j in c[i, j] - 3 }
    }
}

/// The schedule computes what it does unscheduled, with reductions started in the block and before.
func expectSame(_ s: TESchedule, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let plain = try createPrimFunc(arguments: s.defaultArguments)
    for decompose in [false, true] {
        let f = try s.lowered(decompose: decompose)
        try verifyWellFormed(f)
        let found = try difference(plain, f)
        #expect(found == nil, "\(f)", sourceLocation: sourceLocation)
    }
    // The text parses to the same.
    let text = s.asTIR
    #expect(
        structuralEqual(try TIRParser.parseFunction(text), try s.lowered()), sourceLocation: sourceLocation)
}

/// The loops of a block, outermost first, as `name(extent)` with the kind in front unless serial.
func loops(_ s: TESchedule, _ block: String) throws -> String {
    var stack: [String] = []
    var found: [String]?
    func walk(_ st: Stmt) {
        if let f = st as? For {
            let kind = f.forKind == .serial ? "" : "\(f.threadBinding?.threadTag ?? f.forKind.rawValue) "
            stack.append("\(kind)\(f.loopVar.name)(\(f.extent))")
            walk(f.body)
            stack.removeLast()
            return
        }
        if let r = st as? BlockRealize, r.block.name == block { found = found ?? stack }
        forEachChild(of: st, expr: { _ in }, stmt: { walk($0) })
    }
    walk(try s.lowered().body)
    return try #require(found, "no block \(block)").joined(separator: " ")
}

@Suite struct StageLoopTests {
    @Test func theExampleReadsAfterEveryStep() throws {
        let m = Matmul(28, 64, 16)
        let s = te.createSchedule(m.c)
        #expect(try loops(s, "C") == "i0(28) i1(64) k(16)")
        let (io, jo, ii, ji) = s[m.c].tile(m.c.axis[0], m.c.axis[1], 14, 32)
        #expect(try loops(s, "C") == "i0_outer(2) i1_outer(2) i0_inner(14) i1_inner(32) k(16)")
        s[m.c].reorder(io, jo, m.k, ii, ji)
        #expect(try loops(s, "C") == "i0_outer(2) i1_outer(2) k(16) i0_inner(14) i1_inner(32)")
        s[m.c].vectorize(ji)
        s[m.c].unroll(ii)
        s[m.c].parallel(io)
        #expect(
            try loops(s, "C")
                == "parallel i0_outer(2) i1_outer(2) k(16) unrolled i0_inner(14) vectorized i1_inner(32)")
        #expect(s.asTIR.hasPrefix("@T.prim_func"))
        try expectSame(s)
    }

    @Test func text() throws {
        let c = Chain(4, 6)
        let s = te.createSchedule(c.d)
        s[c.b].computeInline()
        let (_, inner) = s[c.d].split(c.d.axis[1], factor: 3)
        s[c.d].vectorize(inner)
        s[c.c].computeAt(s[c.d], c.d.axis[0])
        let text = """
            @T.prim_func
            def main(A: T.Buffer((4, 6), "float32"), D: T.Buffer((4, 6), "float32")):
                T.func_attr({"global_symbol": "main", "tir.noalias": True})
                with T.block("root"):
                    C = T.alloc_buffer((4, 6), "float32")
                    for i0 in range(4):
                        for i1 in range(6):
                            with T.block("C"):
                                v_i0, v_i1 = T.axis.remap("SS", [i0, i1])
                                T.reads(A[v_i0, v_i1])
                                T.writes(C[v_i0, v_i1])
                                C[v_i0, v_i1] = (A[v_i0, v_i1] + T.float32(1.0)) * T.float32(2.0)
                        for i1_outer in range(2):
                            for i1_inner in T.vectorized(3):
                                with T.block("D"):
                                    v_i0 = T.axis.remap("S", [i0])
                                    v_i1 = T.axis.spatial(6, i1_outer * 3 + i1_inner)
                                    T.reads(C[v_i0, v_i1])
                                    T.writes(D[v_i0, v_i1])
                                    D[v_i0, v_i1] = C[v_i0, v_i1] - T.float32(3.0)

            """
        #expect(s.asTIR == text)
        try expectSame(s)
    }

    @Test(arguments: [1, 2, 3, 5, 12, 13]) func splitByFactorAndParts(_ n: Int) throws {
        for parts in [false, true] {
            let c = Chain(8, 12)
            let s = te.createSchedule(c.d)
            let axis = c.d.axis[1]
            let (outer, inner) = parts ? s[c.d].split(axis, nparts: n) : s[c.d].split(axis, factor: n)
            let bounds = try te.inferBound(s)
            let f = min(n, 12)
            #expect(bounds[outer]?.extent.asInt == (parts ? n : (12 + f - 1) / f))
            #expect(bounds[inner]?.extent.asInt == (parts ? (12 + n - 1) / n : f))
            #expect(s[c.d].leafIterVars.map { $0.variable.name } == ["i0", "i1_outer", "i1_inner"])
            try expectSame(s)
        }
    }

    @Test func splitsOfSplitsThatDoNotDivide() throws {
        let m = Matmul(7, 11, 13)
        let s = te.createSchedule(m.c)
        let (_, xi) = s[m.c].split(m.c.axis[0], factor: 3)
        s[m.c].split(xi, factor: 2)
        let (ko, ki) = s[m.c].split(m.k, nparts: 4)
        let (_, kii) = s[m.c].split(ki, factor: 3)
        s[m.c].reorder(ko, kii)
        try expectSame(s)
    }

    @Test func fuse() throws {
        let c = Chain(4, 6)
        let s = te.createSchedule(c.d)
        let f = s[c.d].fuse(c.d.axis[0], c.d.axis[1])
        #expect(try loops(s, "D") == "i0_i1_fused(24)")
        let (o, i) = s[c.d].split(f, factor: 5)
        s[c.d].parallel(o).unroll(i)
        #expect(try loops(s, "D") == "parallel i0_i1_fused_outer(5) unrolled i0_i1_fused_inner(5)")
        try expectSame(s)
        #expect(s[c.d].relations.count == 2)
    }

    @Test func fuseOfThreeAndOfNone() throws {
        let a = te.placeholder([2, 3, 4], name: "A")
        let b = te.compute([2, 3, 4], name: "B") { i, j, k in a[i, j, k] * 2 }
        let s = te.createSchedule(b)
        let f = s[b].fuse(b.axis[0], b.axis[1], b.axis[2])
        #expect(try te.inferBound(s)[f]?.extent.asInt == 24)
        try expectSame(s)
        let none = s[b].fuse()
        #expect(s[b].leafIterVars.map { $0.variable.name } == ["singleton", f.variable.name])
        #expect(try te.inferBound(s)[none]?.extent.asInt == 1)
        s[b].bind(none, te.threadAxis("blockIdx.x"))
        #expect(try loops(s, "B") == "blockIdx.x singleton(1) \(f.variable.name)(24)")
        try expectSame(s)
        let scalar = te.computeIndexed([], name: "S") { _ in te.const(3.0) }
        let t = te.createSchedule(scalar)
        t[scalar].fuse()
        try expectSame(t)
    }

    @Test func reorder() throws {
        let a = te.placeholder([2, 3, 4, 5], name: "A")
        let b = te.compute([2, 3, 4, 5], name: "B") { i, j, k, l in a[i, j, k, l] + 1 }
        let s = te.createSchedule(b)
        let x = b.axis
        s[b].reorder(x[3], x[1])
        #expect(try loops(s, "B") == "i0(2) i3(5) i2(4) i1(3)")
        s[b].reorder(x[2], x[1], x[0], x[3])
        #expect(try loops(s, "B") == "i2(4) i1(3) i0(2) i3(5)")
        try expectSame(s)
    }

    @Test func tile() throws {
        let c = Chain(9, 10)
        let s = te.createSchedule(c.d)
        let t = s[c.d].tile(c.d.axis[0], c.d.axis[1], xFactor: 4, yFactor: 5)
        #expect(try loops(s, "D") == "i0_outer(3) i1_outer(2) i0_inner(4) i1_inner(5)")
        s[c.d].reorder(t.xInner, t.yInner)
        try expectSame(s)
    }

    @Test func kinds() throws {
        let a = te.placeholder([4, 4, 8], name: "A")
        let b = te.compute([4, 4, 8], name: "B") { i, j, k in a[i, j, k] + 1 }
        let s = te.createSchedule(b)
        s[b].parallel(b.axis[0]).unroll(b.axis[1]).vectorize(b.axis[2])
        #expect(try loops(s, "B") == "parallel i0(4) unrolled i1(4) vectorized i2(8)")
        try expectSame(s)
        #expect(s[b].attr(b.axis[0]).kind == .parallelized)
    }

    @Test func bindToThreads() throws {
        let c = Chain(6, 8)
        let s = te.createSchedule(c.d)
        for t in [c.b, c.c] { s[t].computeInline() }
        let (bx, rest) = s[c.d].split(c.d.axis[1], factor: 4)
        s[c.d].reorder(bx, c.d.axis[0], rest)
        s[c.d].bind(bx, te.threadAxis("blockIdx.x")).bind(rest, te.threadAxis("threadIdx.x", extent: 4))
        s[c.d].bind(c.d.axis[0], te.threadAxis("vthread"))
        #expect(try loops(s, "D") == "blockIdx.x i1_outer(2) vthread i0(6) threadIdx.x i1_inner(4)")
        try expectSame(s)
        let t = te.createSchedule(c.d)
        t[c.d].bind(c.d.axis[0], te.threadAxis("threadIdx.x", extent: 7))
        #expect(errorCode { try t.check() } == "TE041")
    }

    @Test func hintsBecomeAnnotations() throws {
        let c = Chain(6, 8)
        let s = te.createSchedule(c.d)
        s[c.d].pragma(c.d.axis[0], "auto_unroll_max_step", 16).pragma(c.d.axis[0], "unroll_explicit", true)
        s[c.d].prefetch(c.c, c.d.axis[1], 2)
        s[c.c].storageAlign(c.c.axis[0], factor: 8, offset: 1)
        s[c.c].doubleBuffer()
        let text = s.asTIR
        #expect(text.contains("\"pragma_auto_unroll_max_step\": 16"), "\(text)")
        #expect(text.contains("\"pragma_unroll_explicit\": True"), "\(text)")
        #expect(text.contains("\"prefetch_scope\": [\"C:2\"]"), "\(text)")
        #expect(text.contains("\"buffer_dim_align\": [0, 0, 8, 1]"), "\(text)")
        #expect(text.contains("\"double_buffer_scope\": 0"), "\(text)")
        try expectSame(s)
        let t = te.createSchedule(c.d)
        t[c.d].prefetch(c.a, c.d.axis[1], 2)
        #expect(errorCode { try t.check() } == "TE044")
    }

    @Test func storePredicates() throws {
        let a = te.placeholder([4], name: "A")
        let k = te.reduceAxis(0..<4, name: "k")
        let b = te.compute([1], name: "B") { _ in te.sum(a[k], axis: k) }
        let s = te.createSchedule(b)
        let tx = te.threadAxis("threadIdx.x")
        s[b].bind(b.axis[0], tx)
        s[b].setStorePredicate(tx.variable .== te.const(0))
        #expect(s.asTIR.contains("T.where("), "\(s.asTIR)")
        try expectSame(s)
        let t = te.createSchedule(b)
        t[b].setStorePredicate(te.var("other") .== te.const(0))
        #expect(errorCode { try t.check() } == "TE042")
    }

    @Test func scopes() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        s[c.c].setScope("local").computeAt(s[c.d], c.d.axis[0])
        #expect(s.asTIR.contains("scope=\"local\""), "\(s.asTIR)")
        try expectSame(s)
    }

    @Test func axesThatDoNotStartAtZeroSplit() throws {
        let a = te.placeholder([12], name: "A")
        let k = te.reduceAxis(3..<10, name: "k")
        let b = te.compute([1], name: "B") { _ in te.sum(a[k], axis: k) }
        let s = te.createSchedule(b)
        s.normalize()
        #expect(s[b].relations.count == 1)
        let rebased = try #require(s[b].leafIterVars.last)
        s[b].split(rebased, factor: 2)
        try expectSame(s)
        #expect(try te.inferBound(s)[k]?.min.asInt == 3)
        let t = te.createSchedule(b)
        t[b].split(k, factor: 4)
        try expectSame(t)
    }
}

@Suite struct AttachTests {
    @Test func inlineOfAll() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        s[c.b].computeInline()
        s[c.c].computeInline()
        #expect(!s.asTIR.contains("alloc_buffer"))
        try expectSame(s)
        #expect(s[c.b].attachType == .inline)
        s[c.b].computeRoot()
        #expect(s.asTIR.contains("B = T.alloc_buffer"))
        try expectSame(s)
    }

    @Test func inlineIntoSeveralReadersAndReductions() throws {
        let a = te.placeholder([5, 6], name: "A")
        let b = te.compute([5, 6], name: "B") { i, j in a[i, j] * a[i, j] }
        let k = te.reduceAxis(0..<6)
        let c = te.compute([5], name: "C") { i in te.sum(b[i, k], axis: k) }
        let d = te.compute([5, 6], name: "D") { i, j in b[i, j] / (c[i] + te.const(1.0)) }
        let s = te.createSchedule(c, d)
        s[b].computeInline()
        #expect(!s.asTIR.contains("with T.block(\"B\")"))
        try expectSame(s)
    }

    @Test func attachBeforeTheReaderIsSplit() throws {
        let c = Chain(8, 12)
        let s = te.createSchedule(c.d)
        s[c.c].computeAt(s[c.d], c.d.axis[1])
        let (_, inner) = s[c.d].split(c.d.axis[1], factor: 4)
        // The inner one is meant by the axis that was split.
        #expect(s[c.c].attachLeaf === inner)
        try expectSame(s)
        let fused = s[c.d].fuse(s[c.d].leafIterVars[0], s[c.d].leafIterVars[1])
        s[c.b].computeAt(s[c.d], fused)
        s[c.b].split(c.b.axis[1], factor: 3)
        s[c.b].reorder(s[c.b].leafIterVars.reversed())
        try expectSame(s)
    }

    @Test func attachChains() throws {
        let c = Chain(8, 12)
        let s = te.createSchedule(c.d)
        s[c.b].computeAt(s[c.c], c.c.axis[1])
        s[c.c].computeAt(s[c.d], c.d.axis[0])
        #expect(try loops(s, "B") == "i0(8) i1(12)")
        try expectSame(s)
        let t = te.createSchedule(c.d)
        t[c.b].computeAt(t[c.d], c.d.axis[0])
        t[c.c].computeAt(t[c.d], c.d.axis[1])
        try expectSame(t)
    }

    @Test func stencils() throws {
        let a = te.placeholder([20], name: "A")
        let b = te.compute([18], name: "B") { i in a[i] + a[i + 1] + a[i + 2] }
        let c = te.compute([16], name: "C") { i in b[i] + b[i + 1] + b[i + 2] }
        for factor in [1, 4, 5, 16] {
            let s = te.createSchedule(c)
            let (outer, _) = s[c].split(c.axis[0], factor: factor)
            s[b].computeAt(s[c], outer)
            let bounds = try te.inferBound(s)
            #expect(bounds[b.axis[0]]?.extent.asInt == factor + 2)
            try expectSame(s)
        }
    }

    @Test func reductionsAttached() throws {
        let m = Matmul(8, 8, 8)
        let relu = te.compute([8, 8], name: "R") { i, j in maximum(m.c[i, j], te.const(0.0)) }
        let s = te.createSchedule(relu)
        let t = s[relu].tile(relu.axis[0], relu.axis[1], 4, 3)
        s[m.c].computeAt(s[relu], t.yOuter)
        let (ko, ki) = s[m.c].split(m.k, factor: 4)
        s[m.c].reorder(ko, m.c.axis[0], ki, m.c.axis[1])
        s[m.c].vectorize(m.c.axis[1])
        try expectSame(s)
    }

    @Test func readersOutsideAreRefused() throws {
        let a = te.placeholder([8], name: "A")
        let b = te.compute([8], name: "B") { i in a[i] + 1 }
        let c = te.compute([8], name: "C") { i in b[i] * 2 }
        let d = te.compute([8], name: "D") { i in b[i] + c[i] }
        let s = te.createSchedule(d)
        s[b].computeAt(s[c], c.axis[0])
        let e = #expect(throws: ApusError.self) { try s.check() }
        #expect(e?.code == "SCH074")
        #expect(e?.context.contains("stage: B") == true && e?.context.contains("axis: i0") == true)
        #expect(s.asTIR.hasPrefix("error[SCH074]"))
        // Nothing is lost: another place, and it is right again.
        s[b].computeRoot()
        try expectSame(s)
    }

    @Test func attachToAnInlineStageIsRefused() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        s[c.b].computeAt(s[c.c], c.c.axis[0])
        s[c.c].computeInline()
        #expect(errorCode { try s.check() } == "TE036")
    }

    @Test func unitRegionsKeepTheirAxes() throws {
        let c = Chain(4, 8)
        let s = te.createSchedule(c.d)
        s[c.c].computeAt(s[c.d], c.d.axis[1])
        let (o, i) = s[c.c].split(c.c.axis[1], factor: 4)
        s[c.c].reorder(i, c.c.axis[0], o)
        s[c.c].vectorize(o)
        s[c.c].fuse(i, c.c.axis[0])
        try expectSame(s)
        #expect(try te.inferBound(s)[i]?.extent.asInt == 1)
    }
}

@Suite struct GroupTests {
    @Test func groupsAreAttachedAsOne() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let g = s.createGroup(outputs: [c.c], inputs: [c.a])
        #expect(g.numChildStages == 2 && s[c.b].group === g && s[c.c].group === g)
        g.computeAt(s[c.d], c.d.axis[0])
        #expect(try loops(s, "B") == "i0(8) i1(12)")
        #expect(try loops(s, "C") == "i0(8) i1(12)")
        try expectSame(s)
    }

    @Test func membersMayBeAttachedThemselves() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let g = s.createGroup(outputs: [c.c], inputs: [c.a])
        g.computeAt(s[c.d], c.d.axis[0])
        s[c.b].computeInline()
        try expectSame(s)
    }

    @Test func nested() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let outer = s.createGroup(outputs: [c.c], inputs: [c.a])
        let inner = s.createGroup(outputs: [c.c], inputs: [c.b])
        #expect(inner.group === outer && inner.numChildStages == 1 && outer.numChildStages == 2)
        outer.computeAt(s[c.d], c.d.axis[0])
        try expectSame(s)
        let t = te.createSchedule(c.d)
        t.createGroup(outputs: [c.b], inputs: [c.a])
        t.createGroup(outputs: [c.d], inputs: [c.a])
        #expect(t.errors.first?.code == "TE043")
    }

    @Test func includingInputs() throws {
        let c = Chain()
        let s = te.createSchedule(c.d)
        let g = s.createGroup(outputs: [c.c], inputs: [c.b], includeInputs: true)
        #expect(g.numChildStages == 2)
        g.split(c.b.axis[0], factor: 2)
        #expect(s.errors.first?.code == "TE031")
        s.createGroup(outputs: [c.a], inputs: [])
        #expect(s.errors.last?.code == "TE043")
    }
}

@Suite struct AutoInlineTests {
    private let a = te.placeholder([4, 4], name: "A")

    @Test func elementwise() throws {
        let b = te.compute([4, 4], name: "B") { i, j in a[i, j] + 1 }
        let c = te.compute([4, 4], name: "C") { i, j in b[j, i] * 2 }
        let d = te.compute([4, 4], name: "D") { i, j in c[i, j] - 1 }
        let s = te.createSchedule(d)
        autoInlineElemWise(s)
        #expect(s[b].attachType == .inline && s[c].attachType == .groupRoot && s[d].attachType == .groupRoot)
        autoInlineInjective(s)
        #expect(s[c].attachType == .inline)
        try expectSame(s)
    }

    @Test func broadcasts() throws {
        let v = te.placeholder([4], name: "V")
        let b = te.compute([4, 4], name: "B") { _, j in v[j] }
        let c = te.compute([4, 4], name: "C") { i, j in b[j, i] }
        let d = te.compute([4, 4], name: "D") { i, j in c[i, j] + b[i, j] }
        let s = te.createSchedule(d)
        autoInlineBroadcast(s)
        #expect(s[b].attachType == .inline && s[c].attachType == .groupRoot)
        try expectSame(s)
    }

    @Test func whatStatementsReadStays() throws {
        let b = te.compute([4, 4], name: "B") { i, j in a[i, j] + 1 }
        let e = te.extern([(shape: [4, 4], dtype: .float32)], inputs: [b], name: "E") { i, o in
            forEachIndex([te.const(4), te.const(4)]) { BufferStore(o[0], BufferLoad(i[0], $0), $0) }
        }
        let s = te.createSchedule(e)
        autoInlineInjective(s)
        #expect(s[b].attachType == .groupRoot)
        try expectSame(s)
        s[b].computeInline()
        #expect(errorCode { try s.check() } == "TE037")
    }
}
