import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTestSupport
import Testing

@Suite struct TextFuzzTests {
    init() { TIRNodes.registerAll() }

    /// Any program prints to a text that reads back as the same program and prints the same again; so does its JSON.
    @Test func roundTripFuzz() throws {
        let run = FuzzRun("tir.roundtrip", cases: 1500)
        var differences = 0
        while let seed = run.next() {
            var generator = RandomIR(seed: seed)
            let f = generator.function()
            do {
                try verifyRoundTrip(f)
                let text = TIRPrinter.text(f)
                let back = try TIRParser.parseFunction(text)
                guard TIRPrinter.text(back) == text,
                    structuralHash(convertSSA(back)) == structuralHash(convertSSA(f))
                else {
                    throw ApusError("TEST", "prints differently again", notes: [text, TIRPrinter.text(back)])
                }
                try? verify(f, level: .deep)
            } catch {
                differences += 1
                if differences <= 3 { Issue.record("seed \(seed): \(error)\n\(TIRPrinter.text(f))") }
            }
        }
        run.finish(differences: differences)
        #expect(differences == 0)
    }

    private static let words = [
        "T.", "(", ")", "[", "]", ":", "\n", "    ", ",", "0", "-1", "65536", "9223372036854775807",
        "\"float32\"", "i",
        "A", "and", "not", "=", "T.Ramp(", "x", "\"", "for ", "with ", "T.int8(", "*", "//", "{", "}", "0.5",
        "T.indent()\n",
        "\nT.dedent()\n", "T.Reduce(", "lambda ", "T.Shuffle([", "T.block(\"b\")", "T.match_buffer(",
        "T.iter_var(",
        "T.node(\"{}\")", "strides=(", "thread=", "T.list([", "\u{0}", "é",
    ]

    /// Damaged texts parse or give an error of the parser; what parses prints, parses, verifies and runs without a trap.
    @Test func parserFuzz() {
        let run = FuzzRun("tir.parser", cases: 1500)
        var differences = 0
        var parsed = 0
        while let seed = run.next() {
            var r = SeededRandom(seed: seed)
            var text: [UInt8]
            if r.below(2) == 0 {
                text = Array(programs[r.below(programs.count)].utf8)
            } else {
                var generator = RandomIR(seed: seed, budget: 30)
                text = Array(TIRPrinter.text(generator.function()).utf8)
            }
            for _ in 0...r.below(3) where !text.isEmpty {
                let at = r.below(text.count)
                switch r.below(6) {
                case 0: text[at] = UInt8(truncatingIfNeeded: r.next())
                case 1: text.remove(at: at)
                case 2:
                    text.insert(
                        contentsOf: TextFuzzTests.words[r.below(TextFuzzTests.words.count)].utf8, at: at)
                case 3:
                    let from = r.below(text.count)
                    text.insert(
                        contentsOf: Array(text[from..<Swift.min(from + r.below(40), text.count)]), at: at)
                case 4:
                    // Two lines change places.
                    var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
                    if lines.count > 2 {
                        lines.swapAt(r.below(lines.count), r.below(lines.count))
                        text = Array(lines.joined(separator: [UInt8(ascii: "\n")]))
                    }
                default: text.removeSubrange(at..<Swift.min(at + r.below(20), text.count))
                }
            }
            let damaged = String(decoding: text, as: UTF8.self)
            do {
                let f = try TIRParser.parseFunction(damaged)
                parsed += 1
                let once = TIRPrinter.text(f)
                let again = try TIRParser.parseFunction(once)
                if TIRPrinter.text(again) != once { throw ApusError("TEST", "prints differently again") }
                try? verify(f, level: .deep)
                try? TIRInterpreter.run(f, args: arguments(f), options: .init(maxSteps: 2000))
            } catch let e as ApusError where e.code.hasPrefix("TIR10") {
                continue
            } catch {
                differences += 1
                if differences <= 3 { Issue.record("seed \(seed): \(error)\n\(damaged)") }
            }
        }
        run.finish(differences: differences, "parsed \(parsed)")
        #expect(differences == 0)
    }

    private func arguments(_ f: PrimFunc) -> [TIRArgument] {
        f.params.map { p in
            if let b = f.buffer(of: p) {
                var shape: [Int] = []
                for d in b.shape { shape.append(Swift.min(Swift.max(d.asInt ?? 2, 0), 16)) }
                if shape.reduce(1, { $0 &* $1 }) < 4096,
                    let a = try? NDArray.allocate(shape: shape, dtype: b.dtype)
                {
                    return .array(a)
                }
            }
            return p.dtype.isFloat ? .float(1) : .int(1)
        }
    }
}
