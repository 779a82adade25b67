import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import Glibc
import Testing

/// Programs tried in each of 40 test cases; `APUS_FUZZ` makes the search longer.
let fuzzSize: Int = getenv("APUS_FUZZ").flatMap { Int(String(cString: $0)) } ?? 8

/// Random primitives on random blocks and loops: whatever a schedule accepts must not change a result.
struct ScheduleFuzz {
    struct Random {
        var state: UInt64
        mutating func next(_ n: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int((state >> 11) % UInt64(n))
        }
        mutating func pick<T>(_ list: [T]) -> T? { list.isEmpty ? nil : list[next(list.count)] }
    }

    static func blockNames(_ f: PrimFunc) -> [String] {
        var names: [String] = []
        postOrderVisit(f.body, stmt: { if let b = $0 as? Block, b.name != "root" { names.append(b.name) } })
        return names
    }

    /// One random primitive; false if the schedule refused it.
    static func step(_ s: Schedule, _ r: inout Random, final: Bool) throws -> Bool {
        do {
            guard let name = r.pick(blockNames(s.function)) else { return false }
            let b = try s.getBlock(name)
            let loops = try s.getLoops(b)
            let scopes = ["global", "local"]
            switch r.next(final ? 18 : 15) {
            case 0, 1:
                guard let l = r.pick(loops) else { return false }
                let n = 2 + r.next(4)
                try s.split(
                    l, factors: r.next(4) == 0 ? [nil, 2, n] : (r.next(3) == 0 ? [n, nil] : [nil, n]))
            case 2:
                guard loops.count > 1 else { return false }
                let i = r.next(loops.count - 1)
                try s.fuse(Array(loops[i...min(loops.count - 1, i + 1 + r.next(2))]))
            case 3, 4:
                guard loops.count > 1 else { return false }
                var order = loops
                for i in order.indices { order.swapAt(i, r.next(order.count)) }
                try s.reorder(Array(order.prefix(2 + r.next(order.count - 1))))
            case 5: try s.computeInline(b)
            case 6: try s.reverseComputeInline(b)
            case 7, 8:
                guard let c = r.pick(try s.getConsumers(b)), let l = r.pick(try s.getLoops(c)) else {
                    return false
                }
                try s.computeAt(b, l)
            case 9, 10:
                guard let p = r.pick(try s.getProducers(b)), let l = r.pick(try s.getLoops(p)) else {
                    return false
                }
                try s.reverseComputeAt(b, l)
            case 11:
                let n = try s.get(b).reads.count
                guard n > 0 else { return false }
                try s.cacheRead(b, r.next(n), scopes[r.next(2)])
            case 12: try s.cacheWrite(b, 0, scopes[r.next(2)])
            case 13:
                guard let l = r.pick(loops) else { return false }
                if r.next(2) == 0 {
                    try s.decomposeReduction(b, l)
                } else {
                    try s.rfactor(l, factorAxis: r.next(3))
                }
            case 14:
                guard let l = r.pick(loops) else { return false }
                try s.blockize(l)
            case 15:
                guard let l = r.pick(loops) else { return false }
                try s.parallel(l)
            case 16:
                guard let l = r.pick(loops) else { return false }
                try s.vectorize(l)
            default:
                guard let l = r.pick(loops) else { return false }
                try s.unroll(l)
            }
            return true
        } catch let e as ApusError {
            #expect(e.code.hasPrefix("SCH"), "\(e)")
            return false
        }
    }

    @Test(arguments: 0..<40)
    func randomSchedulesKeepResults(_ block: Int) throws {
        var accepted = 0
        for seed in (block * fuzzSize)..<((block + 1) * fuzzSize) {
            let program = Programs.all[seed % Programs.all.count]
            let before = program.make()
            let s = try Schedule(before, seed: seed)
            var r = Random(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
            for _ in 0..<4 { _ = r.next(2) }
            for i in 0..<18 { if try ScheduleFuzz.step(s, &r, final: i > 10) { accepted += 1 } }
            let problem = difference(before, s.function, seed: UInt64(seed + 1))
            #expect(problem == nil, "\(program.name), seed \(seed): \(problem ?? "")\n\(s.trace)\n\(s.text)")
            let second = try interpreterDifference(before, s.function, seed: UInt64(seed + 1))
            #expect(second == nil, "\(program.name), seed \(seed): \(second ?? "")\n\(s.trace)\n\(s.text)")
            // What was done can be done again, through JSON.
            let again = try Schedule(before, seed: seed)
            try again.apply(Trace(json: JSON.parse(s.trace.json.text)))
            #expect(
                structuralEqual(again.function, s.function), "\(program.name), seed \(seed): replay differs")
        }
        #expect(accepted > fuzzSize)
    }
}
