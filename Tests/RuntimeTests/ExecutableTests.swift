import ApusRuntime
import ApusSupport
import Testing

@Suite struct PlanTests {
    @Test func textForm() {
        #expect(
            smallPlan().description == """
                executable small
                  storage[0] 128 bytes at 64
                  input[0] x: float32[4]
                  constant[0] w: float32[4]
                  add(input[0]: float32[4], constant[0]: float32[4], storage[0]+64: float32[4])  # x + w
                  double(storage[0]+64: float32[4], storage[0]: float32[4])
                  output[0] y = storage[0]: float32[4]
                """)
        #expect(smallPlan().kernelNames == ["add", "double"])
    }

    @Test func storagesAreLaidOutAligned() throws {
        let plan = Plan(storages: [
            Plan.Storage(bytes: 10), Plan.Storage(bytes: 1, alignment: 4096),
            Plan.Storage(bytes: 64, alignment: 8),
        ])
        let layout = try plan.storageLayout()
        #expect(layout.offsets == [0, 4096, 4160] && layout.bytes == 4224)
        expectError("RT064") { _ = try Plan(storages: [Plan.Storage(bytes: .max)]).storageLayout() }
        expectError("RT064") { try Plan(storages: [Plan.Storage(bytes: -1)]).validate() }
        expectError("RT064") { try Plan(storages: [Plan.Storage(bytes: 1, alignment: 3)]).validate() }
    }

    /// Each damage with the code it must give.
    static let damages: [(String, @Sendable (inout ExecutablePlan) -> Void)] = [
        ("RT062", { $0.instructions[0].args[0].source = .input(1) }),
        ("RT062", { $0.instructions[0].args[0].source = .storage(-1) }),
        ("RT062", { $0.outputs[0].view.source = .constant(7) }),
        ("RT063", { $0.instructions[0].args[2].byteOffset = 113 }),
        ("RT063", { $0.instructions[0].args[2].byteOffset = -4 }),
        ("RT063", { $0.instructions[0].args[2].byteOffset = .max }),
        ("RT063", { $0.instructions[0].args[2].byteOffset = 66 }),
        ("RT063", { $0.instructions[1].args[0].shape = [1000] }),
        ("RT001", { $0.instructions[1].args[0].shape = [-1] }),
        ("RT001", { $0.instructions[1].args[0].shape = [.max, .max] }),
        ("RT064", { $0.instructions[1].args[0].shape = [Int](repeating: 1, count: 65) }),
        ("RT064", { $0.instructions[1].args[0].dtype = .void }),
        ("RT065", { $0.instructions[1].kernel = "" }),
        ("RT065", { $0.inputs.append($0.inputs[0]) }),
        ("RT065", { $0.outputs.append($0.outputs[0]) }),
        ("RT001", { $0.inputs[0].shape = [-5] }),
    ]

    @Test(arguments: 0..<16)
    func damageIsFound(number: Int) {
        let (code, damage) = PlanTests.damages[number]
        var plan = smallPlan()
        damage(&plan)
        expectError(code) { try plan.validate() }
    }

    @Test func constantsMustFit() {
        expectError("RT066") { _ = try Executable(plan: smallPlan(), constants: []) }
        expectError("RT066") { _ = try Executable(plan: smallPlan(), constants: [NDArray([1] as [Float])]) }
        expectError("RT066") { _ = try Executable(plan: smallPlan(), constants: [NDArray([1, 2, 3, 4])]) }
    }
}

@Suite struct CodecTests {
    private func decode(_ bytes: [UInt8]) throws -> Executable {
        try bytes.withUnsafeBytes { try Executable(decoding: $0, owner: nil) }
    }

    @Test func roundTrip() throws {
        let executable = try smallExecutable()
        let bytes = try executable.serialized()
        let back = try decode(bytes)
        #expect(back.plan == executable.plan)
        #expect(back.constants[0].hasSameContents(as: executable.constants[0]))
        #expect(try back.serialized() == bytes)
        #expect(String(decoding: bytes[..<8], as: UTF8.self) == "APUSEXEC")
    }

    @Test func emptyAndScalarThings() throws {
        let plan = Plan(
            name: "", inputs: [Plan.TensorSpec(name: "s", shape: [], dtype: .float64)],
            constants: [
                Plan.TensorSpec(name: "e", shape: [0, 3], dtype: .int8),
                Plan.TensorSpec(name: "one", shape: [1], dtype: .bool),
            ], outputs: [Plan.Output(name: "o", view: Plan.View(.input(0), shape: [], dtype: .float64))])
        let executable = try Executable(
            plan: plan, constants: [NDArray(shape: [0, 3], dtype: .int8), NDArray([true])])
        let back = try decode(executable.serialized())
        #expect(back.plan == plan)
        #expect(try back.constants[1].toArray(Bool.self) == [true])
    }

    @Test func constantsAreAlignedAndInPlace() throws {
        let plan = Plan(constants: [
            Plan.TensorSpec(name: "a", shape: [3], dtype: .int8),
            Plan.TensorSpec(name: "b", shape: [5], dtype: .int64),
        ])
        let executable = try Executable(
            plan: plan, constants: [NDArray([1, 2, 3] as [Int8]), NDArray([4, 5, 6, 7, 8])])
        let path = temporaryPath("model.apus")
        try executable.write(toFile: path)
        #expect(readFile(path) == (try executable.serialized()))
        let back = try Executable.load(path)
        #expect(back.constants.allSatisfy { Int(bitPattern: $0.data) % 64 == 0 })
        #expect(back.constants[1].data - back.constants[0].data == 64)
        #expect(try back.constants[1].toArray(Int.self) == [4, 5, 6, 7, 8])
    }

    @Test func unalignedConstantsAreCopied() throws {
        let executable = try smallExecutable()
        let bytes = [0] + (try executable.serialized())
        let owner = NDArray(bytes)
        let region = UnsafeRawBufferPointer(start: owner.data + 1, count: bytes.count - 1)
        let back = try Executable(decoding: region, owner: owner)
        #expect(Int(bitPattern: back.constants[0].data) % 64 == 0)
        #expect(back.constants[0].hasSameContents(as: executable.constants[0]))
    }

    @Test func filesThatCannotBe() throws {
        expectError("RT068") { _ = try Executable.load("/does/not/exist") }
        expectError("RT067") { try smallExecutable().write(toFile: "/does/not/exist") }
        let empty = temporaryPath("empty")
        writeFile(empty, [])
        expectError("RT060") { _ = try Executable.load(empty) }
    }

    @Test func wrongMagicVersionChecksum() throws {
        let bytes = try smallExecutable().serialized()
        func changed(_ at: Int) -> [UInt8] {
            var copy = bytes
            copy[at] ^= 1
            return copy
        }
        expectError("RT060") { _ = try decode(changed(0)) }
        expectError("RT061") { _ = try decode(changed(8)) }
        expectError("RT060") { _ = try decode(changed(70)) }
        expectError("RT060") {
            _ = try decode(Array("not an executable, but long enough to have a header".utf8))
        }
    }

    @Test func everyTruncationIsAnError() throws {
        let bytes = try smallExecutable().serialized()
        for cut in 0..<bytes.count {
            #expect(throws: ApusError.self) { _ = try decode(Array(bytes[..<cut])) }
        }
    }

    /// Bytes with a right checksum, so that damage gets past it to the plan's own checks.
    private func resealed(_ bytes: [UInt8]) -> [UInt8] {
        var copy = bytes
        let count = bytes[16..<24].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard let n = Int(exactly: count), n <= bytes.count - 64 else { return bytes }
        let sum = bytes[64..<64 + n].withUnsafeBytes { fnv1a($0) }
        for i in 0..<8 { copy[24 + i] = UInt8(truncatingIfNeeded: sum >> UInt64(8 * i)) }
        return copy
    }

    /// 6000 mutants: each ends in an error or in an executable that holds together, whose outputs can be
    /// read.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func mutantsNeverCrash(seed: UInt64) throws {
        let executable = try smallExecutable()
        let bytes = try executable.serialized()
        var random = SplitMix(seed)
        var survivors = 0
        let special: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF]
        for _ in 0..<2000 {
            var mutant = bytes
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let at = Int.random(in: 8..<mutant.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: mutant[at] = UInt8.random(in: 0...255, using: &random)
                case 1: mutant[at] = special.randomElement(using: &random) ?? 0
                case 2: mutant[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                default:
                    if Bool.random(using: &random) { mutant.remove(at: at) } else { mutant.insert(0, at: at) }
                }
            }
            do {
                let decoded = try decode(resealed(mutant))
                try decoded.plan.validate()
                // A valid plan may still ask for much memory: that must be an error too, or work.
                if try decoded.plan.storageLayout().bytes < 1 << 24 {
                    let small = decoded.plan.inputs.allSatisfy { $0.shape.reduce(1, *) < 1 << 20 }
                    guard small, let e = try? GraphExecutor(decoded, kernels: TestKernels()) else { continue }
                    for i in decoded.plan.outputs.indices { _ = try e.output(i) }
                }
                survivors += 1
            } catch is ApusError {
                continue
            }
        }
        #expect(survivors > 0)
    }
}
