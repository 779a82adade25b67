import ApusCABI
import ApusRuntime
import ApusSupport
import CLLVM

/// What this machine was seen to do. Other work on the machine lowers the figures: the best of several rounds counts.
public struct MachineMeasurement: Sendable {
    /// Bytes a second read from memory by one core, and by all that the thread pool has.
    public let oneCoreBandwidth: Double
    public let allCoresBandwidth: Double
    /// float32 operations a second of one core, a multiply-add being two.
    public let peakPerCore: Double
    /// Seconds from the start of a parallel loop of no work to its end, within a run, with all threads of the pool: the
    /// median.
    public let forkJoin: Double

    /// Measures for about a second.
    public static func take() throws -> MachineMeasurement {
        let machine = Target.host.machine
        // Large enough for no cache, small enough for small machines.
        let bytes = max(64 << 20, min(256 << 20, 4 * machine.l3Bytes))
        return MachineMeasurement(
            oneCoreBandwidth: bandwidth(bytes, threads: 1),
            allCoresBandwidth: bandwidth(bytes, threads: ThreadPool.shared.threadCount),
            peakPerCore: try peak(machine), forkJoin: forkJoin())
    }

    private static func forkJoin() -> Double {
        let pool = ThreadPool.shared
        let count = Int32(truncatingIfNeeded: pool.threadCount)
        var times: [Int] = []
        pool.activeRegion {
            for _ in 0..<10_000 {
                let start = nanosecondsNow()
                _ = pool.launch({ _, _, _ in 0 }, nil, count: count)
                times.append(nanosecondsNow() - start)
            }
        }
        return Double(times.sorted()[times.count / 2]) * 1e-9
    }

    private static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        let d = (ContinuousClock.now - start).components
        return Double(d.seconds) + Double(d.attoseconds) * 1e-18
    }

    private static func bandwidth(_ bytes: Int, threads: Int) -> Double {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4096)
        defer { memory.deallocate() }
        // Every page is there before time is taken.
        memory.initializeMemory(as: UInt8.self, repeating: 1, count: bytes)
        typealias Vector = SIMD8<UInt64>
        let vectors = UnsafeRawPointer(memory).assumingMemoryBound(to: Vector.self)
        let count = bytes / MemoryLayout<Vector>.size
        let sums = Locked<UInt64>(0)
        var best = 0.0
        for _ in 0..<6 {
            let time = seconds {
                ThreadPool.shared.parallelFor(threads) { i in
                    let share = ThreadPool.share(i, of: threads, count)
                    var a = Vector.zero
                    var b = Vector.zero
                    var at = share.lowerBound
                    while at + 1 < share.upperBound {
                        a |= vectors[at]
                        b |= vectors[at + 1]
                        at += 2
                    }
                    let all = (a | b).wrappedSum()
                    sums.with { $0 &+= all }
                }
            }
            best = max(best, Double(bytes) / time)
        }
        return best
    }

    /// Multiply-adds in twice as many registers as are needed to keep every unit busy.
    private static func peak(_ machine: Machine) throws -> Double {
        let lanes = machine.lanes(bits: 32)
        let chains = min(machine.vectorRegisters - 4, max(8, 2 * machine.fmaPorts * machine.fmaLatency))
        let rounds = 1 << 14
        let module = try LLVMUnit(name: "peak", ir: loop(lanes: lanes, chains: chains, rounds: rounds))
        let compiler = try LLVMTargetMachine(.host)
        let code = try JITModule(objects: [try compiler.emit(module)], kernels: ["peak"])
        guard let kernel = code.kernel(named: "peak") else {
            throw ApusError("TGT011", "a module was not compiled")
        }
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: 3 * machine.vectorBytes, alignment: 64)
        defer { scratch.deallocate() }
        scratch.initializeMemory(as: Float.self, repeating: 0.5, count: 3 * lanes)
        var best = 0.0
        for _ in 0..<200 {
            let time = seconds { _ = kernel(scratch, nil, 0, nil) }
            best = max(best, Double(2 * lanes * chains * rounds) / time)
        }
        return best
    }

    /// A kernel whose first argument points to three vectors: what is multiplied, what is added, the sum of all.
    private static func loop(lanes: Int, chains: Int, rounds: Int) -> String {
        let v = "<\(lanes) x float>"
        var ir = """
            @apus_backend_api = global ptr null
            define i32 @apus_fn_peak(ptr %self, ptr %args, i32 %n, ptr %result) {
            entry:
              %x = load \(v), ptr %self
              %second = getelementptr \(v), ptr %self, i64 1
              %y = load \(v), ptr %second

            """
        // Chains of one beginning would be one chain.
        for c in 0..<chains { ir += "  %z\(c) = fadd \(v) %x, splat (float \(c).0)\n" }
        ir += """
              br label %loop
            loop:
              %i = phi i64 [0, %entry], [%next, %loop]

            """
        for c in 0..<chains { ir += "  %a\(c) = phi \(v) [%z\(c), %entry], [%s\(c), %loop]\n" }
        for c in 0..<chains {
            ir += "  %m\(c) = fmul contract \(v) %a\(c), %x\n  %s\(c) = fadd contract \(v) %m\(c), %y\n"
        }
        ir += """
              %next = add i64 %i, 1
              %more = icmp ult i64 %next, \(rounds)
              br i1 %more, label %loop, label %end
            end:
              %t0 = fadd \(v) %s0, %x

            """
        for c in 1..<chains { ir += "  %t\(c) = fadd \(v) %t\(c - 1), %s\(c)\n" }
        ir += """
              %third = getelementptr \(v), ptr %self, i64 2
              store \(v) %t\(chains - 1), ptr %third
              ret i32 0
            }
            """
        return ir
    }
}
