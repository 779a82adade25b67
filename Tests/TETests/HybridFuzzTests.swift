import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTestSupport
import Testing

/// Random programs of hybrid script over two integer inputs: emulated and compiled, they compute the same.
private struct ProgramMaker {
    var random: SeededRandom
    var lines: [String] = []
    var scalars: [String] = []
    var loops: [String] = []
    var count = 0

    mutating func expression(_ depth: Int) -> String {
        if depth == 0 || random.below(4) == 0 {
            switch random.below(5) {
            case 0: return "\(random.below(9) - 4)"
            case 1: return random.pick(scalars) ?? "3"
            case 2: return random.pick(loops) ?? "1"
            case 3: return "a[\(index(6))]"
            default: return "b[\(index(4)), \(index(5))]"
            }
        }
        let x = expression(depth - 1)
        let y = expression(depth - 1)
        switch random.below(12) {
        case 0, 1: return "\(x) + \(y)"
        case 2: return "(\(x) - \(y))"
        case 3: return "(\(x)) * (\(y))"
        case 4: return "(\(x)) // \(random.below(5) + 1)"
        case 5: return "(\(x)) % \(random.below(5) + 1)"
        case 6: return "max(\(x), \(y))"
        case 7: return "min(\(x), \(y))"
        case 8: return "((\(x)) if (\(y)) > \(expression(0)) else (\(expression(depth - 1))))"
        case 9: return "-(\(x))"
        case 10: return "((\(x)) & 7)"
        default: return "int64((\(x)) < (\(y)) <= 3 or not (\(x)) == 1)"
        }
    }

    mutating func index(_ n: Int) -> String {
        if let v = random.pick(loops), random.below(3) > 0 { return "(\(v) + \(random.below(3))) % \(n)" }
        return "\(random.below(n))"
    }

    mutating func line(_ depth: Int, _ s: String) {
        lines.append(String(repeating: "    ", count: depth) + s)
    }

    mutating func block(_ depth: Int, _ size: Int) {
        let known = scalars
        for _ in 0..<size {
            count += 1
            switch random.below(depth > 3 ? 4 : 8) {
            case 0, 1: line(depth, "c[\(index(6))] = int64(\(expression(2)))")
            case 2: line(depth, "c[\(index(6))] += \(expression(1))")
            case 3:
                if let s = random.pick(scalars.filter { $0.hasPrefix("m") }), random.below(2) == 0 {
                    line(depth, "\(s) = int64(\(expression(2)))")
                } else {
                    let name = random.below(2) == 0 ? "m\(count)" : "s\(count)"
                    line(depth, "\(name) = int64(\(expression(2)))")
                    if name.hasPrefix("m") { line(depth, "\(name) += \(random.below(5))") }
                    scalars.append(name)
                }
            case 4, 5:
                let v = "i\(count)"
                let kinds = ["range", "serial", "unroll", "const_range"]
                let start = random.below(3)
                line(
                    depth,
                    "for \(v) in \(kinds[random.below(4)])(\(start), \(start + random.below(4)), \(1 + random.below(2))):"
                )
                loops.append(v)
                block(depth + 1, 1 + random.below(3))
                loops.removeLast()
            case 6:
                line(depth, "if \(expression(1)) > \(expression(1)):")
                block(depth + 1, 1 + random.below(2))
                if random.below(2) == 0 {
                    line(depth, "else:")
                    block(depth + 1, 1 + random.below(2))
                }
            default:
                let (i, j) = ("i\(count)", "j\(count)")
                line(depth, "for \(i) in range(4):")
                line(depth + 1, "for \(j) in range(5):")
                loops += [i, j]
                let op = ["=", "+=", "="][random.below(3)]
                line(depth + 2, "d[\(i), \(j)] \(op) int64(\(expression(2)))")
                loops.removeLast(2)
            }
        }
        scalars = known
    }

    mutating func text() -> String {
        line(0, "def f(a, b):")
        line(1, "c = output_tensor((6,), \"int64\")")
        line(1, "d = output_tensor((4, 5), \"int64\")")
        line(1, "for i in range(6):")
        line(2, "c[i] = i")
        line(1, "for i in range(4):")
        line(2, "for j in range(5):")
        line(3, "d[i, j] = b[i, j] - j")
        block(1, 3 + random.below(4))
        line(1, "return c, d")
        return lines.joined(separator: "\n") + "\n"
    }
}

@Suite struct HybridFuzzTests {
    @Test func compiledEqualsEmulated() throws {
        let fuzz = FuzzRun("te.hybrid", cases: 150)
        var differences = 0
        var refused = 0
        while let seed = fuzz.next() {
            var maker = ProgramMaker(random: SeededRandom(seed: seed))
            let text = maker.text()
            var dice = SeededRandom(seed: seed &+ 77)
            let a = NDArray((0..<6).map { _ in Int64(dice.below(21) - 10) }, shape: [6])
            let b = NDArray((0..<20).map { _ in Int64(dice.below(21) - 10) }, shape: [4, 5])
            do {
                let module = try te.hybrid.parse(text)
                let source = module.getSource()
                #expect(try te.hybrid.parse(source).getSource() == source, "seed \(seed)\n\(text)")
                let function = try module["f"]
                let p = try function.primFunc([
                    placeholder([6], .int64, name: "a"), placeholder([4, 5], .int64, name: "b"),
                ])
                let expected = try function.emulate([a, b])
                try verifyWellFormed(p)
                let outputs = try expected.map { try NDArray.allocate(shape: $0.shape, dtype: $0.dtype) }
                try TIRInterpreter.run(p, [a, b] + outputs)
                for (x, y) in zip(outputs, expected) where !x.hasSameContents(as: y) {
                    differences += 1
                    Issue.record("seed \(seed)\n\(text)\n\(p)")
                }
            } catch let e as ApusError where ["TE061", "TE062"].contains(e.code) {
                // Literals that overflow or do not fit: refused as they must be.
                refused += 1
            } catch {
                differences += 1
                Issue.record("seed \(seed): \(error)\n\(text)")
            }
        }
        fuzz.finish(differences: differences, "refused \(refused)")
        #expect(refused * 4 < fuzz.cases)
    }

    /// Texts with bytes changed, removed, repeated: an operation or an error with a code, never a trap.
    @Test func mutatedTexts() throws {
        let fuzz = FuzzRun("te.hybrid.parser", cases: 1500)
        var read = 0
        while let seed = fuzz.next() {
            var r = SeededRandom(seed: seed)
            let p = HybridProgram.all[r.below(HybridProgram.all.count)]
            var bytes = Array(p.text.utf8)
            for _ in 0...r.below(6) {
                let i = r.below(bytes.count)
                switch r.below(4) {
                case 0: bytes[i] = UInt8(r.below(128))
                case 1: bytes.remove(at: i)
                case 2:
                    let n = min(bytes.count - i, r.below(30))
                    bytes.insert(contentsOf: bytes[i..<i + n], at: r.below(bytes.count))
                default: bytes[i] = Array("()[]:,.=+-*/% \n0123456789abc".utf8)[r.below(28)]
                }
            }
            do {
                let module = try te.hybrid.parse(String(decoding: bytes, as: UTF8.self))
                read += 1
                let f = try module[try #require(module.definitions.last).name]
                if f.definition.parameters.count == p.inputs.count {
                    _ = try f.primFunc(p.tensors())
                    _ = try f.emulate(p.arrays(seed), maximumSteps: 20_000)
                }
            } catch let e as ApusError {
                #expect(e.code.hasPrefix("TE") || e.code.hasPrefix("TIR"), "\(e)")
            }
        }
        fuzz.finish(differences: 0, "read \(read)")
    }
}
