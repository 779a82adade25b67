import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusScheduleFuzzing
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import ApusTestSupport
import Testing

/// Random primitives on random programs: whatever a schedule accepts must not change a result.
struct ScheduleFuzz {
    @Test func schedulesKeepResults() throws {
        try FuzzIntrinsics.registerAll()
        let run = FuzzRun("schedule.interpreter", cases: 400)
        var failures = 0
        var counts: [String: (tried: Int, accepted: Int)] = [:]
        var refusals: [String: Int] = [:]
        var devices = DeviceCounts()
        while let seed = run.next() {
            let problem = try withLargeStack { () throws -> String? in
                var generator = ProgramGenerator(seed: seed)
                let program = try generator.next()
                let options = RandomSchedule.Options(debugLevel: seed % 16 == 0 ? .exhaustive : .verify)
                var random = RandomSchedule(seed: seed, options: options)
                let problem = Self.problem(program, seed, &random, &devices)
                for (k, c) in random.counts {
                    counts[k, default: (tried: 0, accepted: 0)].tried += c.tried
                    counts[k, default: (tried: 0, accepted: 0)].accepted += c.accepted
                }
                for (k, n) in random.refusals { refusals[k, default: 0] += n }
                return problem
            }
            if let problem {
                failures += 1
                if failures <= 12 { Issue.record("seed \(seed): \(problem)") }
            }
        }
        let accepted = counts.keys.sorted().map {
            "\($0) \(counts[$0]?.accepted ?? 0)/\(counts[$0]?.tried ?? 0)"
        }
        run.finish(differences: failures, "accepted: " + accepted.joined(separator: ", "))
        let refused = refusals.keys.sorted().map { "\($0) \(refusals[$0] ?? 0)" }
        print("fuzz schedule.interpreter refused: " + refused.joined(separator: ", "))
        print("fuzz schedule.interpreter \(devices)")
        #expect(failures == 0)
    }

    /// How many schedules with threads became kernels, of which with barriers, and why others did not.
    struct DeviceCounts: CustomStringConvertible {
        var kernels = 0
        var barriers = 0
        var refusals: [String: Int] = [:]
        var description: String {
            let refused = refusals.keys.sorted().map { "\($0) \(refusals[$0] ?? 0)" }
            return "kernels \(kernels), with barriers \(barriers), refused: "
                + refused.joined(separator: ", ")
        }
    }

    static func problem(
        _ program: FuzzProgram, _ seed: UInt64, _ random: inout RandomSchedule, _ devices: inout DeviceCounts
    ) -> String? {
        var text = "\(program.name)"
        do {
            let s = try random.run(program.function, seed: seed)
            text = "\(program.name)\n\(s.trace)\n\(s.text)"
            let expected = try program.arguments(seed: seed)
            let actual = try program.arguments(seed: seed)
            let reversed = try program.arguments(seed: seed)
            try TIRInterpreter.run(program.function, expected)
            try TIRInterpreter.run(s.function, actual)
            if let d = try program.difference(expected, actual) { return "\(d)\n\(text)" }
            try TIRInterpreter.run(reversingIndependentLoops(s.function), reversed)
            if let d = try program.difference(expected, reversed) { return "in reverse, \(d)\n\(text)" }
            // What was done can be done again, through JSON, and without what has no effect.
            let trace = try Trace(json: JSON.parse(s.trace.json.text))
            let again = try Schedule(program.function, seed: 5)
            try again.apply(trace)
            if !structuralEqual(again.function, s.function) {
                return "the replay differs\n\(text)\n\(again.text)"
            }
            let short = try Schedule(program.function, seed: 5)
            try short.apply(trace.simplified())
            if !structuralEqual(short.function, s.function) {
                return "the simplified replay differs\n\(text)"
            }
            if hasThreads(s.function) {
                let m: IRModule
                do { m = try deviceLowered(s.function) } catch let e as ApusError {
                    // A device cannot run every schedule that loops can.
                    devices.refusals[e.code, default: 0] += 1
                    return e.code.hasPrefix("TTR") ? nil : "\(e)\n\(text)"
                }
                devices.kernels += 1
                if "\(m)".contains("T.tvm_storage_sync") || "\(m)".contains("storage_sync") {
                    devices.barriers += 1
                }
                let low = try program.arguments(seed: seed)
                do { try runOnThreads(m, low) } catch { return "on threads, \(error)\n\(text)\n\(m)" }
                if let d = try program.difference(expected, low) {
                    return "on threads, \(d)\n\(text)\n\(m)"
                }
            } else {
                let lowered = try lower(s.function)
                let low = try program.arguments(seed: seed)
                try TIRInterpreter.run(lowered, low)
                if let d = try program.difference(expected, low) {
                    return "lowered, \(d)\n\(text)\n\(lowered)"
                }
            }
            return nil
        } catch {
            return "\(error)\n\(text)"
        }
    }

    /// Threads of a device; virtual ones are lowered for any target.
    private static func hasThreads(_ f: PrimFunc) -> Bool {
        var found = false
        postOrderVisit(
            f.body,
            stmt: { s in
                let tag = (s as? For)?.threadBinding?.threadTag ?? ""
                if tag.hasPrefix("blockIdx") || tag.hasPrefix("threadIdx") { found = true }
            })
        return found
    }
}
