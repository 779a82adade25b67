import ApusCABI
import ApusDriver
import ApusIR
import ApusNode
import ApusRuntime
import ApusScheduleFuzzing
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import ApusTarget
import ApusTestSupport
import Testing

/// Random schedules of random programs, lowered, compiled by LLVM and run: the result is that of the program as it was.
@Suite struct ScheduleLLVMFuzz {
    @Test func compiledSchedulesKeepResults() throws {
        try FuzzIntrinsics.registerAll()
        let run = FuzzRun("schedule.llvm", cases: 40)
        var failures = 0
        var accepted = 0
        while let seed = run.next() {
            let (problem, steps) = try withLargeStack { () throws -> (String?, Int) in
                var generator = ProgramGenerator(seed: seed)
                let program = try generator.next()
                var random = RandomSchedule(seed: seed, options: RandomSchedule.Options(threads: false))
                return (
                    Self.problem(program, seed, &random), random.counts.values.reduce(0) { $0 + $1.accepted }
                )
            }
            accepted += steps
            guard let problem else { continue }
            failures += 1
            if failures <= 12 { Issue.record("seed \(seed): \(problem)") }
        }
        run.finish(differences: failures, "accepted steps \(accepted)")
        #expect(failures == 0)
    }

    private static func problem(_ program: FuzzProgram, _ seed: UInt64, _ random: inout RandomSchedule)
        -> String?
    {
        var text = program.name
        do {
            let s = try random.run(program.function, seed: seed)
            text = "\(program.name)\n\(s.trace)\n\(s.text)"
            let expected = try program.arguments(seed: seed)
            let actual = try program.arguments(seed: seed)
            try TIRInterpreter.run(program.function, expected)
            var options = BuildOptions()
            options.threads = 1
            let lowered = try lower(s.function)
            // Half of them as for any machine of the kind: other vectors.
            let target: Target = seed % 2 == 0 ? .llvm : .host
            let module = try buildJIT(
                functions: [(name: "f", function: lowered)], target: target, options: options)
            guard let kernel = module.kernel(named: "f") else { return "no kernel\n\(text)" }
            var list = actual.map { ApusAny(type_index: 7, pad: 0, v: ApusValue(tensor: $0.dlTensor)) }
            var result = ApusAny()
            let status = kernel(nil, &list, Int32(actual.count), &result)
            withExtendedLifetime((actual, module)) {}
            if status != 0 { return "\(LastError.take(from: "f"))\n\(text)" }
            return try program.difference(expected, actual).map { "compiled, \($0)\n\(text)\n\(lowered)" }
        } catch {
            return "\(error)\n\(text)"
        }
    }
}
