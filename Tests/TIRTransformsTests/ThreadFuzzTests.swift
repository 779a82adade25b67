import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRTransforms
import ApusTestSupport
import Testing

/// A random program of one block of threads: stages, each a loop over all threads, hand values on through shared and
/// global memory. As it is written each stage ends before the next begins; barriers must bring that about.
private struct ThreadProgram {
    var random: SeededRandom
    let threads: Int
    let blocks: Int
    let size: Int

    init(_ seed: UInt64) {
        random = SeededRandom(seed: seed)
        threads = [4, 6, 8][random.below(3)]
        blocks = 1 + random.below(2)
        size = threads * 2
    }

    private mutating func index(_ t: String, _ k: String?) -> String {
        let n = size
        switch random.below(8) {
        case 0: return t
        case 1: return "\(t) + \(threads)"
        case 2: return "\(t) * 2 + \(random.below(2))"
        case 3: return "\(n - 1) - \(t)"
        case 4: return "(\(t) + \(1 + random.below(n - 1))) % \(n)"
        case 5: return "\(random.below(n))"
        case 6: return k.map { "(\($0) % 2) * \(threads) + \(t)" } ?? "\(t) // 2"
        default: return "(\(t) * \(1 + random.below(3)) + \(random.below(4))) % \(n)"
        }
    }

    private mutating func stage(_ name: String, _ indent: String, _ k: String?) -> String {
        let t = "t\(name)"
        var lines = ["for \(t) in T.thread_binding(\(threads), thread=\"threadIdx.x\"):"]
        // A store to one element by all threads must store the same value.
        let to = ["\(t)", "\(t) + \(threads)", "\(t) * 2", "\(size - 1) - \(t)"]
        let target = ["X", "Y"][random.below(2)]
        let other = target == "X" ? "Y" : "X"
        let store =
            k != nil && random.below(3) == 0
            ? "(\(k ?? "0") % 2) * \(threads) + \(t)" : to[random.below(to.count)]
        let value =
            "\(other)[\(index(t, k))] + \(["\(other)[\(index(t, k))]", "A[b, \(index(t, k))]"][random.below(2)])"
        let guarded = random.below(3) == 0
        if guarded { lines.append("    if \(t) < \(1 + random.below(threads)):") }
        lines.append(
            "\(guarded ? "        " : "    ")\(target)[\(store)] = T.max(T.min(\(value), T.float32(64)), T.float32(-64))"
        )
        return lines.map { indent + $0 }.joined(separator: "\n")
    }

    mutating func text() -> String {
        let pad = "            "
        var body = [
            pad + "for t in T.thread_binding(\(threads), thread=\"threadIdx.x\"):",
            pad + "    X[t] = A[b, t]", pad + "    X[t + \(threads)] = A[b, t + \(threads)]",
            pad + "    Y[t] = T.float32(1)", pad + "    Y[t + \(threads)] = T.float32(2)",
        ]
        var number = 0
        for _ in 0..<(1 + random.below(3)) {
            if random.below(2) == 0 {
                let k = "k\(number)"
                body.append(pad + "for \(k) in range(\(2 + random.below(2))):")
                for _ in 0..<(1 + random.below(3)) {
                    body.append(stage("\(number)", pad + "    ", k))
                    number += 1
                }
            } else {
                body.append(stage("\(number)", pad, nil))
                number += 1
            }
        }
        body += [
            pad + "for t in T.thread_binding(\(threads), thread=\"threadIdx.x\"):",
            pad + "    B[b, t] = X[t] + Y[\(size - 1) - t]",
            pad + "    B[b, t + \(threads)] = X[t + \(threads)]",
        ]
        return """
            @T.prim_func
            def main(A: T.Buffer((\(blocks), \(size)), "float32"), B: T.Buffer((\(blocks), \(size)), "float32")):
                for b in T.thread_binding(\(blocks), thread="blockIdx.x"):
                    X = T.allocate((\(size),), "float32", scope="shared")
                    Y = T.allocate((\(size),), "float32", scope="shared")
                    with T.seq():

            """ + body.joined(separator: "\n")
    }
}

@Suite struct ThreadFuzzTests {
    @Test func fuzzThreads() throws {
        let run = FuzzRun("tir.threads", cases: 150)
        var differences = 0
        var barriers = 0
        while let seed = run.next() {
            var program = ThreadProgram(seed)
            let text = program.text()
            do {
                let f = try parse(text)
                let want = tensors(f, seed: Int(seed % 1000))
                try TIRInterpreter.run(f, want)
                let unified = try unifyThreadBinding(flattenBuffer(f))
                try verifyWellFormed(unified)
                let synced = try threadSync(unified, scope: "shared")
                postOrderVisit(
                    synced.body, expr: { if ($0 as? Call)?.name == "tir.storage_sync" { barriers += 1 } })
                guard structuralEqual(try threadSync(synced, scope: "shared"), synced) else {
                    throw ApusError("TEST", "barriers are placed again")
                }
                let got = tensors(f, seed: Int(seed % 1000))
                try TIRInterpreter.run(convertThreadsToLoops(synced), got)
                guard got[1].hasSameContents(as: want[1]) else {
                    throw ApusError("TEST", "results differ\n\(synced)")
                }
            } catch {
                differences += 1
                Issue.record("seed \(seed): \(error)\n\(text)")
                if differences > 3 { break }
            }
        }
        run.finish(differences: differences, "barriers \(barriers)")
    }
}
