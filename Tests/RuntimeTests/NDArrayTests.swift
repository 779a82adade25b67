import ApusCABI
import ApusRuntime
import ApusSupport
import Synchronization
import Testing

private let deleted = Atomic<Int>(0)

/// A managed tensor over memory that lives until the deleter runs, which it counts.
private func foreign(
    _ values: [Float], shape: [Int64], strides: [Int64]? = nil,
    dtype: DLDataType = DataType.float32.dlDataType
) -> UnsafeMutablePointer<DLManagedTensor> {
    let data = UnsafeMutablePointer<Float>.allocate(capacity: max(1, values.count))
    for (i, v) in values.enumerated() { data[i] = v }
    let extents = UnsafeMutablePointer<Int64>.allocate(capacity: 16)
    for (i, n) in shape.enumerated() { extents[i] = n }
    for (i, n) in (strides ?? []).enumerated() { extents[8 + i] = n }
    let managed = UnsafeMutablePointer<DLManagedTensor>.allocate(capacity: 1)
    managed.initialize(
        to: DLManagedTensor(
            dl_tensor: DLTensor(
                data: data, device: DLDevice(device_type: 1, device_id: 0), ndim: Int32(shape.count),
                dtype: dtype,
                shape: extents, strides: strides == nil ? nil : extents + 8, byte_offset: 0),
            manager_ctx: nil,
            deleter: { managed in
                guard let managed else { return }
                managed.pointee.dl_tensor.data.deallocate()
                managed.pointee.dl_tensor.shape.deallocate()
                managed.deallocate()
                deleted.add(1, ordering: .relaxed)
            }))
    return managed
}

@Suite(.serialized) struct NDArrayTests {
    @Test func zeroFilledAndAligned() throws {
        for shape in [[], [1], [3, 5], [2, 0, 4], [1, 2, 3, 4, 5]] {
            let a = NDArray(shape: shape, dtype: .float32)
            #expect(a.shape == shape && a.count == shape.reduce(1, *) && a.byteCount == a.count * 4)
            #expect(Int(bitPattern: a.data) % 64 == 0)
            #expect(try a.toArray(Float.self).allSatisfy { $0 == 0 })
        }
    }

    @Test func valuesRoundTrip() throws {
        #expect(try NDArray([1, 2, 3] as [Int64], shape: [3]).toArray(Int64.self) == [1, 2, 3])
        #expect(try NDArray([1, 2, 3], shape: [3]).toArray(Int.self) == [1, 2, 3])
        #expect(try NDArray([true, false]).toArray(Bool.self) == [true, false])
        #expect(try NDArray([1.5, -2] as [Float16]).toDoubles() == [1.5, -2])
        #expect(try NDArray(scalar: Float(3)).toArray(Float.self) == [3])
        #expect(try NDArray([UInt8(255)]).toDoubles() == [255])
        expectError("RT004") { _ = try NDArray([1.0]).toArray(Float.self) }
    }

    @Test(arguments: [[-1], [2, -3], [1 << 40, 1 << 40], [Int.max, 2], [0, -1], [Int.max, 0, Int.max]])
    func impossibleShapes(shape: [Int]) {
        expectError("RT001") { _ = try NDArray.allocate(shape: shape, dtype: .float64) }
    }

    @Test func refusedMemory() {
        expectError("RT002") { _ = try NDArray.allocate(shape: [1 << 58], dtype: .int8) }
    }

    @Test func reshape() throws {
        let a = NDArray([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
        let b = try a.reshaped(to: [3, 2])
        #expect(b.data == a.data && b.shape == [3, 2])
        expectError("RT006") { _ = try a.reshaped(to: [4]) }
        expectError("RT001") { _ = try a.reshaped(to: [-6]) }
    }

    @Test func copyAndContents() throws {
        let a = NDArray.random(shape: [7, 9], dtype: .float32, seed: 3)
        let b = try a.copied()
        #expect(a.hasSameContents(as: b) && a.data != b.data)
        b.data.storeBytes(of: 99, as: Float.self)
        #expect(!a.hasSameContents(as: b))
        expectError("RT007") { try a.copy(from: NDArray(shape: [9, 7], dtype: .float32)) }
        expectError("RT007") { try a.copy(from: NDArray(shape: [7, 9], dtype: .int32)) }
    }

    @Test func randomDependsOnTheSeedOnly() throws {
        let types: [DataType] = [.float32, .float64, .float16, .bfloat16, .int8, .int64, .uint8, .bool]
        for type in types {
            let a = NDArray.random(shape: [100], dtype: type, seed: 5)
            #expect(a.hasSameContents(as: .random(shape: [100], dtype: type, seed: 5)))
            #expect(!a.hasSameContents(as: .random(shape: [100], dtype: type, seed: 6)))
            let values = try a.toDoubles()
            #expect(values.allSatisfy { $0 >= -8 && $0 < 16 } && Set(values).count > 1)
        }
    }

    @Test func bfloat16RoundsToNearestEven() {
        let a = NDArray(shape: [1], dtype: .bfloat16)
        for (value, bits) in [(1.0, 0x3F80), (1.00390625, 0x3F80), (1.01171875, 0x3F82), (-2.0, 0xC000)] {
            ElementCodec.store(value, at: 0, of: .bfloat16, in: a.data)
            #expect(a.data.load(as: UInt16.self) == UInt16(bits), "\(value)")
        }
        #expect(ElementCodec.roundToBFloat16(.nan) & 0x7FFF > 0x7F80)
        #expect(ElementCodec.roundToBFloat16(.infinity) == 0x7F80)
    }

    @Test func borrowedMemoryKeepsItsOwner() {
        final class Owner {}
        weak var watch: Owner?
        var array: NDArray?
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
        do {
            let owner = Owner()
            watch = owner
            array = NDArray(borrowing: memory, shape: [4], dtype: .int8, owner: owner)
        }
        #expect(watch != nil && array?.data == memory)
        array = nil
        #expect(watch == nil)
        memory.deallocate()
    }

    @Test func dlTensorDescribesTheArray() {
        let a = NDArray(shape: [2, 3], dtype: .int16)
        let t = a.dlTensor.pointee
        #expect(t.data == a.data && t.ndim == 2 && t.shape[0] == 2 && t.shape[1] == 3 && t.strides == nil)
        #expect(t.dtype.code == 0 && t.dtype.bits == 16 && t.device.device_type == 1)
    }

    @Test func dlpackRoundTripSharesMemory() throws {
        weak var watch: NDArray?
        var back: NDArray?
        do {
            let a = NDArray([1, 2, 3, 4] as [Float], shape: [2, 2])
            watch = a
            back = try NDArray.fromDLPack(a.toDLPack())
        }
        #expect(watch != nil && back?.data == watch?.data && back?.shape == [2, 2])
        #expect(try back?.toArray(Float.self) == [1, 2, 3, 4])
        back = nil
        #expect(watch == nil)
    }

    @Test func dlpackVersionedRoundTrip() throws {
        let a = NDArray([true, false, true])
        let managed = a.toDLPackVersioned()
        #expect(managed.pointee.version.major == 1 && managed.pointee.dl_tensor.dtype.code == 6)
        #expect(managed.pointee.dl_tensor.strides[0] == 1)
        let b = try NDArray.fromDLPack(managed)
        #expect(b.dtype == .bool && b.hasSameContents(as: a))
        let newer = a.toDLPackVersioned()
        newer.pointee.version.major = 2
        expectError("RT003") { _ = try NDArray.fromDLPack(newer) }
    }

    @Test func dlpackDeleterRunsOnce() throws {
        let before = deleted.load(ordering: .relaxed)
        do {
            let a = try NDArray.fromDLPack(foreign([1, 2, 3], shape: [3]))
            let view = try a.reshaped(to: [3, 1])
            #expect(try view.toArray(Float.self) == [1, 2, 3])
            #expect(deleted.load(ordering: .relaxed) == before)
        }
        #expect(deleted.load(ordering: .relaxed) == before + 1)
    }

    @Test func stridesAreRespected() throws {
        let t = try NDArray.fromDLPack(foreign([1, 2, 3, 4, 5, 6], shape: [3, 2], strides: [1, 3]))
        #expect(!t.isContiguous)
        #expect(try t.toArray(Float.self) == [1, 4, 2, 5, 3, 6])
        #expect(t.contiguous().isContiguous && t.contiguous().hasSameContents(as: t))
        expectError("RT006") { _ = try t.reshaped(to: [6]) }
        try t.copy(from: NDArray([10, 20, 30, 40, 50, 60] as [Float], shape: [3, 2]))
        #expect(try t.toArray(Float.self) == [10, 20, 30, 40, 50, 60])
        let compact = try NDArray.fromDLPack(foreign([1, 2], shape: [1, 2], strides: [77, 1]))
        #expect(compact.isContiguous)
    }

    @Test func malformedForeignTensors() throws {
        let before = deleted.load(ordering: .relaxed)
        expectError("RT003") {
            _ = try NDArray.fromDLPack(
                foreign([1], shape: [1], dtype: DLDataType(code: 5, bits: 64, lanes: 1)))
        }
        expectError("RT001") { _ = try NDArray.fromDLPack(foreign([1], shape: [-1])) }
        expectError("RT001") { _ = try NDArray.fromDLPack(foreign([1], shape: [1 << 40, 1 << 40])) }
        let rank = foreign([1], shape: [1])
        rank.pointee.dl_tensor.ndim = -1
        expectError("RT003") { _ = try NDArray.fromDLPack(rank) }
        let device = foreign([1], shape: [1])
        device.pointee.dl_tensor.device.device_type = 99
        expectError("RT003") { _ = try NDArray.fromDLPack(device) }
        #expect(deleted.load(ordering: .relaxed) == before + 5)
    }

    @Test func parameterFilesRoundTrip() throws {
        let a = NDArray.random(shape: [3, 4], dtype: .float32, seed: 1)
        let b = NDArray([1, 2] as [Int8], shape: [2])
        let bytes = ParamDict.save([("a", a), ("b", b)])
        let back = try bytes.withUnsafeBytes { try ParamDict.load($0) }
        #expect(back.map(\.name) == ["a", "b"])
        #expect(back[0].tensor.hasSameContents(as: a) && back[1].tensor.hasSameContents(as: b))
        for cut in 0..<bytes.count {
            expectError("RT080") { _ = try bytes[..<cut].withUnsafeBytes { try ParamDict.load($0) } }
        }
    }

    @Test func mutatedParameterFilesNeverCrash() {
        let bytes = ParamDict.save([("w", NDArray([1, 2, 3] as [Float])), ("v", NDArray([4] as [Int64]))])
        var random = SplitMix(11)
        for _ in 0..<2000 {
            var mutant = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                mutant[Int.random(in: 0..<mutant.count, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            _ = try? mutant.withUnsafeBytes { try ParamDict.load($0) }
        }
    }
}
