import ApusSupport
import Testing

@Suite struct ErrorTests {
    @Test func descriptionHasEveryPartInOrder() {
        let error = ApusError(
            "X001", "it broke", at: ["file: a"], expected: "1", actual: "2", hint: "try 1",
            notes: ["first", "second"])
        #expect(
            error.description == """
                error[X001]: it broke
                  at: file: a
                  expected: 1
                  actual: 2
                  note: first
                  note: second
                  hint: try 1
                """)
    }

    @Test func absentPartsAreLeftOut() {
        #expect(ApusError("X002", "short").description == "error[X002]: short")
    }

    @Test func withinPrependsPlaces() {
        do {
            try within("outer") { try within("inner") { throw ApusError("X003", "deep", at: ["core"]) } }
            Issue.record("nothing was thrown")
        } catch let error as ApusError {
            #expect(error.context == ["outer", "inner", "core"])
        } catch {
            Issue.record("another error: \(error)")
        }
    }

    @Test func lockedIsExclusive() {
        let total = Locked<Int>(0)
        ThreadPool(size: 4).parallelFor(10_000) { _ in total.with { $0 += 1 } }
        #expect(total.with { $0 } == 10_000)
    }

    @Test func threadLocalBoxesAreSeparate() {
        let box = ThreadLocalBox<Int> { 7 }
        box.with { $0 = 1 }
        let other = withLargeStack(bytes: 16 << 20) { box.with { $0 } }
        #expect(other == 7)
        #expect(box.with { $0 } == 1)
    }
}
