import ApusCABI
import ApusRuntime
import ApusSupport
import Synchronization
import Testing

private let dropped = Atomic<Int>(0)

@Suite(.serialized) struct FunctionTests {
    @Test func typedClosures() throws {
        let f = PackedFunc.typed("f") { (a: Int, b: Double, c: String, d: Bool) -> String in
            "\(a) \(b) \(c) \(d)"
        }
        #expect(f.signature == "(int, float, str, bool) -> str")
        #expect(try f(1, 2.5, "x", true).to(String.self) == "1 2.5 x true")
        #expect(try f(1, 2, "x", 1) == .string("1 2.0 x true"))
    }

    @Test func nothingInNothingOut() throws {
        let calls = Locked<Int>(0)
        let f = PackedFunc.typed { () -> Void in calls.with { $0 += 1 } }
        #expect(try f().isNone)
        #expect(f.signature == "() -> None")
        #expect(calls.with { $0 } == 1)
    }

    @Test func arityAndKindsAreChecked() {
        let f = PackedFunc.typed("f") { (a: Int, t: NDArray) in a + t.count }
        expectError("RT023") { try f(1) }
        expectError("RT020") { try f("x", NDArray([1])) }
        expectError("RT020") { try f(1, 2) }
        do {
            try f(1, 2)
        } catch let error as ApusError {
            #expect(error.context == ["function: f", "argument: 1"])
            #expect(error.expected == "runtime.NDArray" && error.actual == "int")
        } catch {
            Issue.record("another error")
        }
    }

    @Test func numbersOutOfRange() throws {
        let f = PackedFunc.typed { (a: Int32) -> Int32 in a }
        #expect(try f(7) == .int(7))
        expectError("RT020") { try f(1 << 40) }
        expectError("RT020") { try PackedFunc.typed { (b: Bool) in b }(2) }
        expectError("RT020") { try PackedFunc.typed { (i: Int) in i }(1.5) }
    }

    @Test func optionalsAndArrays() throws {
        let f = PackedFunc.typed { (a: [Int], b: String?) -> [String] in a.map { "\($0)\(b ?? "-")" } }
        #expect(f.signature == "(Array[int], Optional[str]) -> Array[str]")
        #expect(try f([1, 2], "!").to([String].self) == ["1!", "2!"])
        #expect(try f([1], String?.none).to([String].self) == ["1-"])
        expectError("RT020") { try f(["x"], "y") }
    }

    @Test func dtypesAndDevices() throws {
        let f = PackedFunc.typed { (t: DataType, d: Device) -> String in "\(t) on \(d)" }
        #expect(try f(DataType.float32, Device.cuda(1)) == .string("float32 on cuda(1)"))
        #expect(try f("int8x4", "cpu(0)") == .string("int8x4 on cpu(0)"))
        expectError("RT020") { try f("int9000", "cpu") }
    }

    @Test func objectsKeepTheirIdentity() throws {
        let array = NDArray([1, 2, 3])
        let f = PackedFunc.typed { (a: NDArray) -> NDArray in a }
        #expect(try f(array).to(NDArray.self) === array)
        let g = PackedFunc.typed { (o: Object) -> Object in o }
        #expect(try g(f).to(PackedFunc.self) === f)
        #expect(try g("text") == .string("text"))
    }

    @Test func functionsAsValues() throws {
        let twice = PackedFunc.typed { (f: PackedFunc, x: Int) throws -> AnyValue in
            try f.call([f.call([.int(x)])])
        }
        let inc = PackedFunc.typed { (x: Int) in x + 1 }
        #expect(try twice(inc, 5) == .int(7))
        let closure = ClosureObject(PackedFunc.typed { (a: Int, b: Int) in a * b }, captured: [6])
        #expect(try closure.call([7]) == .int(42))
    }

    @Test func errorsOfTheBody() {
        let f = PackedFunc.typed("bad") { () throws -> Int in throw ApusError("X1", "no") }
        expectError("X1") { try f() }
        struct Odd: Error {}
        let g = PackedFunc("odd") { _ in throw Odd() }
        #expect(throws: Odd.self) { try g() }
    }

    @Test func cFunctions() throws {
        let add: ApusCFunction = { context, args, count, result in
            guard let args, let result, count == 2 else {
                LastError.set(ApusError("X2", "two numbers, please"))
                return -1
            }
            result.pointee.type_index = 1
            result.pointee.v.i = args[0].v.i + args[1].v.i + Int64(Int(bitPattern: context))
            return 0
        }
        let before = dropped.load(ordering: .relaxed)
        do {
            let f = PackedFunc(
                "add", cFunction: add, context: UnsafeMutableRawPointer(bitPattern: 100),
                deleter: { _ in dropped.add(1, ordering: .relaxed) })
            #expect(try f(1, 2) == .int(103))
            expectError("X2") { try f(1) }
        }
        #expect(dropped.load(ordering: .relaxed) == before + 1)
        let silent = PackedFunc("silent", cFunction: { _, _, _, _ in 1 })
        expectError("RT022") { try silent() }
    }

    @Test func kernelsGetDLTensors() throws {
        let f = PackedFunc(
            "k",
            cFunction: { _, args, _, result in
                result?.pointee.type_index = 1
                result?.pointee.v.i = Int64(args?[0].type_index ?? -1)
                return 0
            }, kernel: true)
        #expect(try f(NDArray([1])) == .int(7))
        #expect(try f(1) == .int(1))
    }

    @Test func referencesAreBalanced() throws {
        weak var watch: NDArray?
        let keep = PackedFunc.typed { (a: NDArray) -> [NDArray] in [a, a] }
        do {
            let a = NDArray([1])
            watch = a
            for _ in 0..<100 { _ = try keep(a) }
            var any = AnyValue.object(a).toOwnedABI()
            var result = ApusAny()
            #expect(keep.callABI(&any, 1, &result) == 0)
            #expect(try AnyValue(taking: result).to([NDArray].self).count == 2)
            _ = try AnyValue(taking: any)
        }
        #expect(watch == nil)
    }

    @Test func malformedValuesFromC() {
        for index in [9, 40, -1, 63] as [Int32] {
            expectError("RT021") {
                _ = try AnyValue(borrowing: ApusAny(type_index: index, pad: 0, v: ApusValue(i: 0)))
            }
        }
        for index in [7, 8, 64, 70, 128] as [Int32] {
            expectError("RT021") {
                _ = try AnyValue(borrowing: ApusAny(type_index: index, pad: 0, v: ApusValue(p: nil)))
            }
        }
    }

    @Test func containers() throws {
        let array = ArrayObject([1, "two", 3.0])
        #expect(try array.element(1) == "two")
        #expect(try array.setting(3, to: nil).count == 4)
        #expect(array.appending(4).count == 4 && array.count == 3)
        expectError("RT030") { _ = try array.element(3) }
        expectError("RT030") { _ = try array.setting(-1, to: 0) }
        let map = MapObject([("b", 1), ("a", 2), ("b", 3)])
        #expect(map.keys == ["b", "a"] && map["b"] == 3 && map["c"] == nil)
        #expect(map.setting("c", to: 4).keys == ["b", "a", "c"])
        #expect(ADTObject.tuple([1, 2]).fields.count == 2)
        let text = StringObject("grüße")
        #expect(text.utf8Count == 7 && String(cString: text.utf8) == "grüße")
    }

    @Test func mapOrderIsThatOfInsertion() {
        var random = SplitMix(5)
        let keys = (0..<200).map { _ in Int.random(in: 0..<100, using: &random) }
        var expected: [Int] = []
        for k in keys where !expected.contains(k) { expected.append(k) }
        #expect(MapObject(keys.map { (.int($0), .none) }).keys == expected.map { .int($0) })
    }
}

@Suite(.serialized) struct RegistryTests {
    @Test func registerGetListRemove() throws {
        try Registry.register("test.add", doc: "Adds.") { (a: Int, b: Int) in a + b }
        defer { Registry.remove("test.add") }
        #expect(try Registry.require("test.add")(2, 3) == .int(5))
        #expect(Registry.entry("test.add")?.signature == "(int, int) -> int")
        #expect(Registry.entry("test.add")?.doc == "Adds.")
        #expect(Registry.names == Registry.names.sorted() && Registry.names.contains("test.add"))
        expectError("RT040") { try Registry.register("test.add") { (a: Int) in a } }
        try Registry.register("test.add", override: true) { (a: Int) in a }
        #expect(try Registry.require("test.add")(2) == .int(2))
        #expect(Registry.remove("test.add") && !Registry.remove("test.add"))
        expectError("RT042") { _ = try Registry.require("test.add") }
        expectError("RT041") { try Registry.register("") { (a: Int) in a } }
    }

    @Test func helpers() throws {
        let array = try Registry.require("ffi.Array")(1, "x")
        #expect(try Registry.require("ffi.ArraySize")(array) == .int(2))
        #expect(try Registry.require("ffi.ArrayGetItem")(array, 1) == "x")
        let map = try Registry.require("ffi.Map")("a", 1, "b", 2)
        #expect(try Registry.require("ffi.MapGetItem")(map, "b") == .int(2))
        #expect(try Registry.require("ffi.MapCount")(map, "z") == .int(0))
        #expect(try Registry.require("ffi.MapSize")(map) == .int(2))
        expectError("RT031") { try Registry.require("ffi.MapGetItem")(map, "z") }
        expectError("RT023") { try Registry.require("ffi.Map")("a") }
        let adt = try Registry.require("ffi.ADT")(3, "f")
        #expect(try Registry.require("ffi.ADTTag")(adt) == .int(3))
        #expect(try Registry.require("ffi.TypeKey")(adt) == "runtime.ADT")
        #expect(try Registry.require("ffi.FunctionSignature")("ffi.ArraySize") == "(runtime.Array) -> int")
    }

    @Test func concurrentUse() {
        ThreadPool(size: 4).parallelFor(400) { i in
            let name = "test.concurrent.\(i % 20)"
            try? Registry.register(name, override: true) { (a: Int) in a }
            _ = Registry.get(name)
            _ = Registry.names
        }
        for i in 0..<20 { #expect(Registry.remove("test.concurrent.\(i)")) }
    }
}

@Suite struct ModuleTests {
    private func module(_ name: String, _ value: Int) -> FunctionModule {
        FunctionModule([PackedFunc.typed(name) { () -> Int in value }])
    }

    @Test func functionsByName() throws {
        let m = module("f", 1)
        #expect(try m["f"]() == .int(1))
        expectError("RT050") { _ = try m["g"] }
        #expect(m.functionNames == ["f"])
    }

    @Test func importsAreSearchedInOrder() throws {
        let root = module("a", 1)
        let left = module("b", 2)
        let deep = module("c", 3)
        let right = module("c", 4)
        try root.importModule(left)
        try root.importModule(right)
        try left.importModule(deep)
        #expect(try root["b"]() == .int(2))
        #expect(try root["c"]() == .int(3))
        expectError("RT050") { _ = try root.getFunction("c", queryImports: false) }
        expectError("RT052") { try deep.importModule(root) }
        expectError("RT052") { try root.importModule(root) }
    }

    @Test func loadersByEndingAndKind() throws {
        let plain = FunctionModule([PackedFunc.typed("f") { () -> Int in 1 }])
        Module.registerLoader(fileExtension: "test_module") { _ in plain }
        Module.registerLoader(kind: "test_kind") { bytes in
            FunctionModule([PackedFunc.typed("size") { () -> Int in bytes.count }])
        }
        #expect(try Module.load("/some/where.test_module") === plain)
        #expect(try Module.load(kind: "test_kind", bytes: [1, 2, 3])["size"]() == .int(3))
        expectError("RT051") { _ = try Module.load("x.unknown") }
        expectError("RT051") { _ = try Module.load("") }
        expectError("RT051") { _ = try Module.load(kind: "unknown", bytes: []) }
        expectError("RT054") { _ = try Module.load("/does/not/exist.so") }
        expectError("RT053") { try plain.save(to: "/tmp/x", format: "so") }
        expectError("RT053") { _ = try plain.saveToBytes() }
        expectError("RT053") { _ = try plain.source() }
    }
}
