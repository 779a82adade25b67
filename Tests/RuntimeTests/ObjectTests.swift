import ApusCABI
import ApusRuntime
import ApusSupport
import Testing

private final class Thing: Object, @unchecked Sendable {
    override class var typeKey: String { "test.Thing" }
}

@Suite struct ObjectTests {
    @Test func fixedTypeIndices() {
        #expect(StringObject("x").typeIndex == 65)
        #expect(PackedFunc { _ in .none }.typeIndex == 67)
        #expect(NDArray(shape: [1], dtype: .int8).typeIndex == 70)
        #expect(ArrayObject([]).typeIndex == 71)
        #expect(MapObject().typeIndex == 72)
        #expect(FunctionModule([]).typeIndex == 73)
        #expect(TypeTable.key(of: 70) == "runtime.NDArray")
        #expect(TypeTable.index(ofKey: "runtime.Map") == 72)
    }

    @Test func dynamicTypeIndices() {
        let index = Thing().typeIndex
        #expect(index >= 128)
        #expect(Thing().typeIndex == index)
        #expect(TypeTable.key(of: index) == "test.Thing")
        #expect(TypeTable.index(ofKey: "test.Thing") == index)
        #expect(TypeTable.index(ofKey: "test.Nothing") == nil)
    }

    @Test func identity() {
        let a = Thing()
        #expect(a == a && a.isSame(as: a) && a != Thing())
    }

    @Test(arguments: [
        ("float32", DataType.float32), ("bool", .bool), ("int8x16", DataType(.int, 8, lanes: 16)),
        ("bfloat16", .bfloat16), ("handle", .handle), ("void", .void), ("uint64", .uint64),
    ])
    func dataTypeText(text: String, type: DataType) {
        #expect(DataType(text) == type)
        #expect(type.description == text)
    }

    @Test(arguments: ["", "float", "int0", "int128", "float32x0", "x", "boolx", "int8x99999"])
    func noDataType(text: String) { #expect(DataType(text) == nil) }

    @Test func dataTypeCForm() {
        for type in [DataType.bool, .int8, .float16, .bfloat16, .float64, DataType(.float, 32, lanes: 4)] {
            #expect(DataType(type.dlDataType) == type)
            #expect(DataType(type.interchangeDataType) == type)
        }
        #expect(DataType.bool.interchangeDataType.code == 6)
        #expect(DataType(DLDataType(code: 5, bits: 64, lanes: 1)) == nil)
    }

    @Test func deviceText() {
        #expect(Device("cpu") == .cpu)
        #expect(Device("cuda(1)") == .cuda(1))
        #expect(Device("gpu:2") == .cuda(2))
        #expect(Device.opencl(3).description == "opencl(3)")
        for text in ["", "cpu(", "cpu(-1)", "cpu(1)x", "tpu(0)", "cpu(1)(2)"] { #expect(Device(text) == nil) }
    }

    @Test func deviceTable() throws {
        #expect(DeviceTable.available.first == .cpu)
        #expect(try DeviceTable.api(for: .cpu).attribute("name", device: .cpu) == .string("cpu"))
        expectError("RT010") { _ = try DeviceTable.api(for: Device(.rocm, 0)) }
        expectError("RT010") { _ = try NDArray.allocate(shape: [1], dtype: .int8, device: Device(.vpi)) }
    }

    @Test func workspaceIsAStack() throws {
        let a = try #require(WorkspacePool.allocate(100))
        let b = try #require(WorkspacePool.allocate(5000))
        #expect(a != b && Int(bitPattern: a) % 64 == 0 && Int(bitPattern: b) % 64 == 0)
        WorkspacePool.free(b)
        #expect(WorkspacePool.allocate(5000) == b)
        WorkspacePool.free(a)
        WorkspacePool.free(b)
        #expect(WorkspacePool.allocate(50) == a)
        WorkspacePool.free(a)
        WorkspacePool.free(nil)
        #expect(WorkspacePool.allocate(1 << 62) == nil)
        #expect(WorkspacePool.allocate(1 << 55) == nil)
        WorkspacePool.trim()
    }
}
