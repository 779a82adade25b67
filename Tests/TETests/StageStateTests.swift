import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import Testing

/// What a stage says about itself as steps are taken.
@Suite struct StageStateTests {
    @Test func axesAndAttributes() throws {
        let p = Matmul(8, 8, 8)
        let s = te.createSchedule(p.c)
        let stage = s[p.c]
        #expect(stage.allIterVars.count == 3 && stage.leafIterVars.count == 3)
        let (outer, inner) = stage.split(p.k, factor: 4)
        #expect(stage.allIterVars.count == 5 && stage.leafIterVars.count == 4)
        #expect(!stage.leafIterVars.contains { $0 === p.k } && stage.allIterVars.contains { $0 === p.k })
        #expect(stage.relations.count == 1 && stage.isOutput && stage.originOp === stage.op)
        #expect(stage.attr(inner).kind == .serial && stage.attr(inner).bindThread == nil)
        stage.unroll(inner)
        stage.pragma(outer, "auto_unroll_max_step", 16)
        #expect(stage.attr(inner).kind == .unrolled)
        #expect(stage.attr(outer).pragmas.map { $0.key } == ["auto_unroll_max_step"])
    }

    @Test func placesAndMemory() throws {
        let p = Chain()
        let s = te.createSchedule(p.d)
        #expect(s[p.b].attachType == .groupRoot && s[p.b].attachStage == nil && s[p.b].scope == "")
        s[p.b].computeAt(s[p.d], s[p.d].axis[0])
        #expect(s[p.b].attachType == .scope && s[p.b].attachStage === s[p.d])
        #expect(s[p.b].attachIterVar === s[p.d].axis[0])
        s[p.c].computeInline()
        #expect(s[p.c].attachType == .inline && s[p.c].attachStage == nil)
        #expect(!s[p.b].isDoubleBuffered)
        s[p.b].doubleBuffer()
        s[p.b].setScope("local")
        #expect(s[p.b].isDoubleBuffered && s[p.b].scope == "local")
        s[p.b].computeRoot()
        #expect(s[p.b].attachType == .groupRoot && s[p.b].attachIterVar == nil)
        #expect(s.errors.isEmpty)
    }

    /// The number of threads of a script is given where it is read.
    @Test func threadsOfAScript() throws {
        let text = """
            def rows(a):
                c = output_tensor((4,), "float32")
                for i in range(4):
                    c[i] = a[i] * max_num_threads(True)
                return c
            """
        for n in [64, 1024] {
            let module = try te.hybrid.parse(text, maxNumThreads: n)
            let f = try module["rows"].primFunc([te.placeholder([4], name: "a")])
            #expect("\(f)".contains("T.float32(\(n).0)"), "\(f)")
        }
    }
}
