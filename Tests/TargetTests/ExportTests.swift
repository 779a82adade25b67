import ApusCABI
import ApusIR
import ApusRuntime
import ApusSupport
import ApusTIR
import ApusTarget
import Glibc
import Testing

private func addConstant(_ c: Double) -> PrimFunc {
    let a = Buffer("a", [100], .float32)
    let o = Buffer("o", [100], .float32)
    return elementwise([a], o, 100) { BufferLoad(a, [$0]) + FloatImm(c) }
}

private let manyKernels: [(name: String, function: PrimFunc)] = (0..<11).map {
    (name: "add\($0)", function: addConstant(Double($0)))
}

@Suite struct ExportTests {
    @Test(arguments: [Target.host, .llvm, .c])
    func sameInputSameBytes(_ target: Target) throws {
        let blob: [UInt8] = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        var options = BuildOptions()
        let first: [UInt8] = try withFile { path in
            try exportLibrary(functions: manyKernels, blob: blob, target: target, to: path, options: options)
            return contents(path)
        }
        options.threads = 1
        let second: [UInt8] = try withFile { path in
            try exportLibrary(functions: manyKernels, blob: blob, target: target, to: path, options: options)
            return contents(path)
        }
        #expect(first.count > 1000)
        #expect(first == second)
    }

    @Test(arguments: [Target.host, .c])
    func blobAndKernels(_ target: Target) throws {
        let blob: [UInt8] = (0..<4099).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try withFile { path in
            try exportLibrary(functions: manyKernels, blob: blob, target: target, to: path)
            let handle = dlopen(path, RTLD_NOW)
            #expect(handle != nil)
            defer { if let handle { dlclose(handle) } }
            let data = try #require(dlsym(handle, "apus_blob"))
            let size = try #require(dlsym(handle, "apus_blob_size"))
            #expect(size.load(as: UInt64.self) == 4099)
            #expect(UInt(bitPattern: data) % 64 == 0)
            #expect(Array(UnsafeRawBufferPointer(start: data, count: 4099)) == blob)
            let library = try SharedLibrary(path)
            for k in [0, 5, 10] {
                let x = NDArray.random(shape: [100], seed: UInt64(k))
                let z = NDArray(shape: [100], dtype: .float32)
                try call(library.kernel(named: "add\(k)"), [.tensor(x), .tensor(z)])
                #expect(try z.toArray(Float.self) == x.toArray(Float.self).map { $0 + Float(k) })
            }
            #expect(library.kernel(named: "nothing") == nil)
        }
    }

    @Test func nothingButABlob() throws {
        try withFile { path in
            try exportLibrary(functions: [], blob: [1, 2, 3], target: .host, to: path)
            let handle = dlopen(path, RTLD_NOW)
            defer { if let handle { dlclose(handle) } }
            #expect(dlsym(handle, "apus_blob") != nil)
            #expect(dlsym(handle, "apus_backend_api") != nil)
        }
    }

    @Test func onlyTheInterfaceIsExported() throws {
        try withFile { path in
            try exportLibrary(functions: manyKernels, blob: [1], target: .host, to: path)
            let handle = dlopen(path, RTLD_NOW)
            defer { if let handle { dlclose(handle) } }
            #expect(dlsym(handle, "apus_fn_add3") != nil)
            #expect(dlsym(handle, "apus_check_tensor") == nil)
            #expect(dlsym(handle, "add3.body") == nil)
        }
    }

    @Test func manyKernelsInOneJIT() throws {
        let module = try buildJIT(functions: manyKernels, target: .host)
        #expect(module.kernelNames.count == 11)
        for k in 0..<11 {
            let z = NDArray(shape: [100], dtype: .float32)
            try call(
                module.kernel(named: "add\(k)"),
                [.tensor(NDArray(shape: [100], dtype: .float32)), .tensor(z)])
            #expect(try z.toArray(Float.self) == Array(repeating: Float(k), count: 100))
        }
        #expect(module.kernel(named: "other") == nil)
        withExtendedLifetime(module) {}
    }

    @Test func foreignMachines() throws {
        for triple in ["aarch64-linux-gnu", "riscv64-linux-gnu", "armv7-linux-gnueabihf"] {
            let target = try Target("llvm -mtriple=\(triple)")
            #expect(try buildObjects(functions: manyKernels, target: target).count == 3)
            let error = #expect(throws: ApusError.self) {
                try buildJIT(functions: manyKernels, target: target)
            }
            #expect(error?.code == "TGT009")
        }
        let unknown = try Target("llvm -mtriple=pdp11-unknown-none")
        let error = #expect(throws: ApusError.self) {
            try buildObjects(functions: manyKernels, target: unknown)
        }
        #expect(error?.code == "TGT008")
        #expect(
            try buildSource(
                functions: manyKernels, target: try Target("llvm -mtriple=aarch64-linux-gnu"), format: "asm"
            ).contains("fadd"))
    }

    @Test func sources() throws {
        #expect(try buildSource(functions: manyKernels, target: .llvm).contains("define i32 @apus_fn_add3"))
        #expect(try buildSource(functions: manyKernels, target: .c).contains("int32_t apus_fn_add3("))
        #expect(
            try buildSource(functions: manyKernels, target: .host, format: "asm").contains("apus_fn_add3:"))
        let error = #expect(throws: ApusError.self) {
            try buildSource(functions: manyKernels, target: .llvm, format: "x")
        }
        #expect(error?.code == "TGT010")
    }

    private func code(_ target: Target, _ functions: [(name: String, function: PrimFunc)]) -> String? {
        do {
            _ = try buildObjects(functions: functions, target: target)
            return nil
        } catch {
            return (error as? ApusError)?.code
        }
    }

    @Test(arguments: [Target.llvm, .c])
    func whatCannotBeCompiled(_ target: Target) throws {
        Intrinsics.registerAll()
        let a = Buffer("a", [4], .float32)
        let b = Buffer("b", [4], .float32)
        func function(_ body: Stmt) -> [(name: String, function: PrimFunc)] {
            [(name: "f", function: PrimFunc(buffers: [a], body: body))]
        }
        #expect(code(target, function(BufferStore(b, FloatImm(0), [IntImm(0)]))) == "TGT023")
        #expect(code(target, function(BufferStore(a, FloatImm(0), [Var("x")]))) == "TGT023")
        #expect(
            code(
                target,
                function(BufferStore(a, Cast(.float32, Var("h", dtype: DataType(.int, 4))), [IntImm(0)])))
                != nil)
        let packed = Call(.int32, try Op.get("tir.call_packed"), [IntImm(0)])
        #expect(code(target, function(Evaluate(packed))) == "TGT022")
        let thread = For(Var("t"), IntImm(0), IntImm(4), .threadBinding, body: Evaluate.noOp)
        #expect(code(target, function(thread)) == "TGT025")
        let odd = Buffer("odd", [4], DataType(.int, 4))
        #expect(
            code(
                target,
                [
                    (
                        name: "f",
                        function: PrimFunc(
                            buffers: [odd],
                            body: BufferStore(odd, IntImm(0, dtype: DataType(.int, 4)), [IntImm(0)]))
                    )
                ]) == "TGT021")
        let one = addConstant(1)
        #expect(code(target, [(name: "f", function: one), (name: "f", function: one)]) == "TGT024")
        #expect(code(.c, [(name: "f g", function: one)]) == "TGT024")
    }

    @Test func filesThatCannotBeWritten() throws {
        let error = #expect(throws: ApusError.self) {
            try exportLibrary(
                functions: manyKernels, blob: nil, target: .host, to: "/nonexistent/folder/x.so")
        }
        #expect(error?.code == "TGT014")
        let noCompiler = try Target("c -cc=/nonexistent/cc")
        let missing = #expect(throws: ApusError.self) {
            try buildObjects(functions: manyKernels, target: noCompiler)
        }
        #expect(missing?.code == "TGT015")
        let bad = try Target("c -mcpu=pdp11")
        let refused = #expect(throws: ApusError.self) {
            try buildObjects(functions: manyKernels, target: bad)
        }
        #expect(refused?.code == "TGT014")
    }
}
