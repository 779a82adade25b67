import ApusArith
import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import Glibc
import Testing

/// Nothing registers by side effect: a process that has built nothing yet can load what this room saves.
@Suite struct RegistrationTests {
    @Test func everyKindLoadsInAFreshProcess() async throws {
        let i = Var("i")
        let j = Var("j")
        let range = IRRange(0, extent: 8)
        let constraints = IntConstraints([i], ranges: [(i, range)], relations: [LT(i, IntImm(5))])
        let other = IntConstraints([j], ranges: [(j, range)], relations: [])
        let mark = IterMark(i, extent: IntImm(8))
        let split = IterSplitExpr(mark)
        let nodes: [Node] = [
            IntGroupBounds(IntImm(1), lower: [IntImm(0)], equal: [], upper: [i]),
            constraints, IntConstraintsTransform(constraints, other, srcToDst: [j], dstToSrc: [i]),
            mark, split, IterSumExpr([split], base: IntImm(3)),
        ]
        #expect(Set(nodes.map(\.schema.key)) == Set(ArithNodes.all.map(\.key)))
        for node in nodes {
            let text = saveJSON(node)
            await #expect(processExitsWith: .exitCode(17)) { [text = text as String] in
                do { _ = try loadJSON(text) } catch let e as ApusError where e.code == "NODE004" { exit(17) }
            }
            await #expect(processExitsWith: .exitCode(18)) { [text = text as String] in
                ArithNodes.registerAll()
                if saveJSON(try loadJSON(text)) == text { exit(18) }
            }
        }
    }
}
