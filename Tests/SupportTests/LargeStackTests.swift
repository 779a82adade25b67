import ApusSupport
import Testing

private final class Link {
    var next: Link?
    init(_ next: Link?) { self.next = next }
}

private func depth(_ link: Link?) -> Int { link.map { 1 + depth($0.next) } ?? 0 }

private func descend(_ n: Int) -> Int { n == 0 ? 0 : 1 &+ descend(n - 1) &+ (n & 0) }

@Suite struct LargeStackTests {
    @Test func returnsTheValue() { #expect(withLargeStack { 42 } == 42) }

    @Test func deepRecursionSurvives() {
        // About 100 bytes a frame at least: far beyond an ordinary 8 MiB stack.
        let reached = withLargeStack { () -> Int in
            var chain: Link?
            for _ in 0..<300_000 { chain = Link(chain) }
            let n = depth(chain)
            // Taken apart in a loop; the test is about `depth`.
            while let link = chain {
                chain = link.next
                link.next = nil
            }
            return n
        }
        #expect(reached == 300_000)
    }

    @Test func errorsComeThrough() {
        #expect(throws: ApusError.self) { try withLargeStack { throw ApusError("X", "y") } }
        do {
            try withLargeStack { () throws(ApusError) in throw ApusError("X9", "typed") }
        } catch {
            #expect(error.code == "X9")
        }
    }

    @Test func nestedRunsInPlace() {
        let value = withLargeStack { withLargeStack { withLargeStack { descend(1000) } } }
        #expect(value == 1000)
    }

    @Test func capturesAreWritten() {
        var log: [Int] = []
        withLargeStack { for i in 0..<3 { log.append(i) } }
        #expect(log == [0, 1, 2])
    }

    @Test func manyInARow() {
        for i in 0..<50 { #expect(withLargeStack { i } == i) }
    }
}
