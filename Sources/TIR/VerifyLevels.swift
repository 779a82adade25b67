import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import Glibc

/// How much the verifier looks at.
public enum VerifyLevel: Int, Sendable, Comparable, CaseIterable {
    /// Nothing.
    case off = 0
    /// Definitions and uses, types, ranks, signatures: what every pass must keep.
    case wellFormed = 1
    /// Also scopes of memory, thread axes, kinds of loops, reductions of blocks.
    case deep = 2
    /// Also that the text and the JSON of every function read back as the same function.
    case roundTrip = 3

    /// What the checks of a function at hand do beyond those that `RoundTrips` makes of every function.
    static let checked: VerifyLevel = min(ambient, .deep)

    public static func < (a: VerifyLevel, b: VerifyLevel) -> Bool { a.rawValue < b.rawValue }

    /// The level that `APUS_VERIFY` (0 to 3) asks for, in all of the process: `verifyWellFormed` checks as much, and passes
    /// are verified whose context says nothing of its own. At 3, every function that is made at all is read back from its
    /// text and its JSON (`RoundTrips`).
    public static let ambient: VerifyLevel = {
        guard let text = getenv("APUS_VERIFY"), let n = Int(String(cString: text)) else { return .off }
        return VerifyLevel(rawValue: n) ?? .off
    }()
}

/// Checks a function. Beyond `verifyWellFormed`: TIR149 an unknown memory scope, TIR200 a thread axis, TIR201 a block's
/// reduction, TIR202 a loop's kind, TIR203 a text that does not read back, TIR204 a JSON that does not.
public func verify(_ f: PrimFunc, level: VerifyLevel) throws {
    if level >= .wellFormed { try verifyStructure(f, nil, "main") }
    try furtherChecks(f, "main", level)
}

/// Checks every loop function of a module; calls must find their callee.
public func verify(_ m: IRModule, level: VerifyLevel) throws {
    for (global, function) in m.definitions {
        guard let f = function as? PrimFunc else { continue }
        if level >= .wellFormed { try verifyStructure(f, m, global.name) }
        try furtherChecks(f, global.name, level)
    }
}

/// For `PassContext.verify`.
public func verifier(_ level: VerifyLevel) -> (@Sendable (IRModule) throws -> Void)? {
    if level == .off { return nil }
    return { (m: IRModule) throws -> Void in try verify(m, level: level) }
}

/// That a function's text and JSON read back as the same function, and print the same again. Not what is too large to
/// be written as a tree.
public func verifyRoundTrip(_ f: PrimFunc) throws {
    if writtenSize(f) > RoundTrips.largest { return }
    try RoundTrips.reading { try verifyRoundTrip(f, TIRPrinter.text(f)) }
}

private func verifyRoundTrip(_ f: PrimFunc, _ text: String) throws {
    let back: PrimFunc
    do {
        back = try TIRParser.parseFunction(text)
    } catch let e as ApusError {
        throw ApusError(
            "TIR203", "the text of a function does not parse: \(e.message)", at: e.context,
            expected: e.expected,
            actual: e.actual, notes: e.notes)
    }
    // Free variables and names are the text's own. What is shared and defines something (a `Let`, a reduction) the text
    // writes once or several times: the two are compared with each definition by itself.
    let free = text.contains("= T.var(")
    if !structuralEqual(f, back, mapFreeVariables: free),
        let d = firstDifference(convertSSA(f), convertSSA(back), mapFreeVariables: free)
    {
        throw ApusError(
            "TIR203", "the text of a function reads back as another one", actual: "\(d)",
            notes: [excerpt(text)])
    }
    let second = TIRPrinter.text(back)
    if second != text {
        throw ApusError(
            "TIR203", "the text of a function reads back as one of another text",
            notes: [excerpt(text), excerpt(second)])
    }
    let json = saveJSON(f)
    guard let again = try loadJSON(json) as? PrimFunc else {
        throw ApusError("TIR204", "the JSON of a function reads back as something else")
    }
    if let d = firstDifference(f, again, mapFreeVariables: true) {
        throw ApusError("TIR204", "the JSON of a function reads back as another one", actual: "\(d)")
    }
}

/// Nodes that the text of a function writes; `Int.max` where sharing makes them too many to count.
private func writtenSize(_ f: PrimFunc) -> Int {
    var total = 0
    func count(_ s: Stmt) {
        growingStack {
            forEachChild(
                of: s,
                expr: { e in
                    let (sum, overflow) = total.addingReportingOverflow(sumOverOccurrences(e) { _ in 1 })
                    total = overflow ? .max : sum
                }, stmt: { if total <= RoundTrips.largest { count($0) } })
        }
        total = total == .max ? total : total + 1
    }
    count(f.body)
    return total
}

/// Every function of a process that runs with `APUS_VERIFY=3`, whoever makes it: its text and JSON are read back, each text
/// once. Failures go to standard error as they are found, and make the process exit with status 1.
enum RoundTrips {
    /// Nodes of a text beyond which none is made.
    static let largest = 4_000_000

    private static let state = Locked<(seen: Set<UInt64>, failures: Int)>((seen: [], failures: 0))
    /// Whether this thread is reading a function back: what it makes on the way is not read back in turn.
    private static let isReading = ThreadLocalBox<Bool> { false }

    static func reading<R>(_ body: () throws -> R) rethrows -> R {
        let outer = isReading.with { r -> Bool in
            defer { r = true }
            return r
        }
        defer { isReading.with { $0 = outer } }
        return try body()
    }

    /// To be called by every function that is made.
    static func made(_ f: PrimFunc) {
        _ = atEnd
        if isReading.with({ $0 }) || writtenSize(f) > largest { return }
        reading {
            let text = TIRPrinter.text(f)
            var hash = StableHash()
            hash.mix(text)
            let key = hash.value
            if !state.with({ $0.seen.insert(key).inserted }) { return }
            do {
                try verifyRoundTrip(f, text)
            } catch {
                // What is no function has no text to read back.
                if (try? verifyStructure(f, nil, "main")) == nil { return }
                report(error, text)
            }
        }
    }

    private static func report(_ error: any Error, _ text: String) {
        let number = state.with { s -> Int in
            s.failures += 1
            return s.failures
        }
        if number <= 50 { say("\(error)\n\(excerpt(text))") }
    }

    /// To standard error in one piece.
    private static func say(_ message: String) {
        let bytes = Array("APUS_VERIFY: \(message)\n".utf8)
        bytes.withUnsafeBytes { _ = write(2, $0.baseAddress, $0.count) }
    }

    /// The count at the end of the process, and its status where something was found.
    private static let atEnd: Void = {
        atexit {
            let (seen, failures) = RoundTrips.state.with { ($0.seen.count, $0.failures) }
            RoundTrips.say("\(seen) functions read back, \(failures) of them as others")
            if failures > 0 {
                fflush(nil)
                _exit(1)
            }
        }
    }()
}

private func excerpt(_ text: String) -> String {
    text.utf8.count < 20_000 ? "\n" + text : "\n" + String(text.prefix(20_000)) + "…"
}

func furtherChecks(_ f: PrimFunc, _ name: String, _ level: VerifyLevel) throws {
    if level < .deep { return }
    try within("function: \(f.globalSymbol ?? name)") {
        let deep = DeepVerifier()
        for (_, b) in f.bufferMap { deep.declare(b, f.span) }
        deep.visit(f.body)
        if let e = deep.failure { throw e }
        if level >= .roundTrip { try verifyRoundTrip(f) }
    }
}

/// The checks of level 2.
private final class DeepVerifier: StmtExprVisitor {
    var failure: ApusError?
    /// Extents of the thread axes around, by tag.
    private var axes: [String: PrimExpr] = [:]
    /// Of the statement at hand.
    private var place: Span?
    override var walksSharedOnce: Bool { true }

    private func fail(_ code: String, _ message: String, expected: String? = nil, actual: String? = nil) {
        if failure == nil {
            failure = ApusError(code, message, expected: expected, actual: actual).located(place)
        }
    }

    func declare(_ b: Buffer, _ span: Span? = nil) {
        if let span { place = b.data.span ?? span }
        if StorageScope.find(b.scope) == nil {
            fail("TIR149", "`\(b.name)` is in an unknown memory scope", actual: b.scope)
        }
        if b.alignment < 0 || b.offsetFactor < 0 { fail("TIR145", "`\(b.name)` has a negative alignment") }
    }

    override func visit(_ e: PrimExpr) {
        if failure == nil { visitChildren(of: e) }
    }

    override func visit(_ s: Stmt) {
        if failure != nil { return }
        place = s.span ?? place
        switch s {
        case let l as For:
            if let t = l.threadBinding {
                if l.forKind != .threadBinding {
                    fail(
                        "TIR202", "a loop of kind \(l.forKind.rawValue) is bound to a thread axis",
                        actual: t.threadTag)
                }
                axis(t.threadTag, l.extent, shared: true) { visitChildren(of: s) }
                return
            }
            if l.forKind == .vectorized, let n = l.extent.asInt, n > Int(UInt16.max) {
                fail(
                    "TIR202", "a vectorized loop of too many lanes", expected: "at most 65535", actual: "\(n)"
                )
            }
        case let a as AttrStmt:
            if let i = a.node as? IterVar, i.iterType == .threadIndex {
                axis(i.threadTag, a.value) { visitChildren(of: s) }
                return
            }
        case let a as Allocate: declare(a.buffer)
        case let b as Block:
            for a in b.allocBuffers { declare(a) }
            for m in b.matchBuffers { declare(m.buffer) }
            // (An `initial` without a reduction variable is an initialisation that always runs.)
            var names: Set<Var> = []
            for v in b.iterVars where !names.insert(v.variable).inserted {
                fail(
                    "TIR201", "the block `\(b.name)` has two iteration variables in one",
                    actual: v.variable.name)
            }
        default: break
        }
        visitChildren(of: s)
    }

    /// `shared`: a loop, whose iterations the threads around may share; lowering makes those without one wait. The axis
    /// itself has one extent.
    private func axis(_ tag: String, _ extent: PrimExpr, shared: Bool = false, _ body: () -> Void) {
        if ThreadScope.find(tag) == nil {
            fail(
                "TIR200", "an unknown thread axis", expected: "blockIdx, threadIdx .x .y .z, vthread",
                actual: tag)
        }
        if ThreadScope.isVirtual(tag) { return body() }
        let outer = axes[tag]
        if let outer, let m = outer.asInt, let n = extent.asInt {
            if shared, n > m {
                fail(
                    "TIR200", "a loop over \(tag) has more iterations than there are threads",
                    expected: "at most \(m)", actual: "\(n)")
            } else if !shared, n != m {
                fail("TIR200", "the axis \(tag) has two extents", expected: "\(m)", actual: "\(n)")
            }
        }
        axes[tag] = outer ?? extent
        body()
        axes[tag] = outer
    }
}
