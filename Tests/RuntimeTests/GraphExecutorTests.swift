import ApusRuntime
import ApusSupport
import Glibc
import Testing

@Suite(.serialized) struct GraphExecutorTests {
    private func executor(_ n: Int = 4) throws -> GraphExecutor {
        try GraphExecutor(smallExecutable(n), kernels: TestKernels())
    }

    @Test func runsTheModel() throws {
        let e = try executor()
        try e.setInput("x", NDArray([1, 2, 3, 4] as [Float]))
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [2, 6, 10, 14])
        try e.setInput(0, NDArray([0, 0, 0, 0] as [Float]))
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [0, 2, 4, 6])
    }

    @Test func asAModule() throws {
        let m: Module = ExecutableModule(try smallExecutable(), kernels: TestKernels())
        for name in ["default", "small"] {
            let g = try m[name](Device.cpu).to(Module.self)
            #expect(g.kind == "graph_executor")
            try g["set_input"](0, NDArray([1, 1, 1, 1] as [Float]))
            try g["run"]()
            #expect(try g["get_output"](0).to(NDArray.self).toArray(Float.self) == [2, 4, 6, 8])
            #expect(try g["get_num_inputs"]() == .int(1))
            #expect(try g["get_num_outputs"]() == .int(1))
            #expect(try g["get_input_index"]("x") == .int(0))
            #expect(try g["get_input_index"]("q") == .int(-1))
            #expect(try g["get_input"]("x").to(NDArray.self).toArray(Float.self) == [1, 1, 1, 1])
            let out = NDArray(shape: [4], dtype: .float32)
            try g["get_output"](0, out)
            #expect(try out.toArray(Float.self) == [2, 4, 6, 8])
            let info = try g["get_input_info"]().to([MapObject].self)
            #expect(info[0]["name"] == "x" && info[0]["dtype"] == .dtype(.float32))
            #expect(try info[0]["shape"]?.to([Int].self) == [4])
            #expect(try g["get_output_info"]().to([MapObject].self)[0]["name"] == "y")
            for name in g.functionNames { _ = try g[name] }
            expectError("RT050") { _ = try g["nothing"] }
        }
        #expect(
            try m["add"](NDArray([1] as [Float]), NDArray([2] as [Float]), NDArray([0] as [Float])).isNone)
        expectError("RT010") { try m["default"](Device.cuda(0)) }
    }

    @Test func inputsAreChecked() throws {
        let e = try executor()
        expectError("RT073") { try e.setInput(0, NDArray([1, 2, 3] as [Float])) }
        expectError("RT073") { try e.setInput(0, NDArray([1, 2, 3, 4])) }
        expectError("RT073") { try e.setInput(0, NDArray([1, 2, 3, 4] as [Float], shape: [2, 2])) }
        expectError("RT072") { try e.setInput(1, NDArray([1] as [Float])) }
        expectError("RT072") { try e.setInput(-1, NDArray([1] as [Float])) }
        expectError("RT071") { try e.setInput("q", NDArray([1] as [Float])) }
        expectError("RT072") { _ = try e.output(1) }
        expectError("RT072") { _ = try e.input(-1) }
        expectError("RT020") { try e["set_input"](1.5, NDArray([1] as [Float])) }
        expectError("RT007") { try e.copyOutput(0, to: NDArray([1] as [Float])) }
    }

    @Test func zeroCopyInput() throws {
        let e = try executor()
        let x = NDArray([1, 2, 3, 4] as [Float])
        try e.setInputZeroCopy(0, x)
        #expect(try e.input(0) === x)
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [2, 6, 10, 14])
        x.data.storeBytes(of: 11, as: Float.self)
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [22, 6, 10, 14])
        try e.setInput(0, NDArray([0, 0, 0, 0] as [Float]))
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [0, 2, 4, 6])
        #expect(try x.toArray(Float.self) == [11, 2, 3, 4])
        let odd = NDArray(
            borrowing: NDArray(shape: [9], dtype: .float32).data + 4, shape: [4], dtype: .float32)
        expectError("RT074") { try e.setInputZeroCopy(0, odd) }
    }

    @Test func executorsShareCodeAndConstants() throws {
        let executable = try smallExecutable()
        let kernels = TestKernels()
        let a = try GraphExecutor(executable, kernels: kernels)
        let b = try GraphExecutor(executable, kernels: kernels)
        try a.setInput(0, NDArray([1, 1, 1, 1] as [Float]))
        try b.setInput(0, NDArray([2, 2, 2, 2] as [Float]))
        try a.run()
        try b.run()
        #expect(try a.output(0).toArray(Float.self) == [2, 4, 6, 8])
        #expect(try b.output(0).toArray(Float.self) == [4, 6, 8, 10])
        #expect(try a.output(0).data != b.output(0).data)
    }

    @Test func executorsRunInParallel() throws {
        let executable = try smallExecutable(1000)
        let executors = try (0..<4).map { _ in try GraphExecutor(executable, kernels: TestKernels()) }
        try ThreadPool(size: 4).parallelFor(4) { (t: Int) throws in
            for round in 0..<50 {
                let value = Float(t * 100 + round)
                try executors[t].setInput(0, NDArray([Float](repeating: value, count: 1000)))
                try executors[t].run()
                let out = try executors[t].output(0).toArray(Float.self)
                for i in stride(from: 0, to: 1000, by: 111) { #expect(out[i] == 2 * (value + Float(i))) }
            }
        }
    }

    @Test func paramsByNameMapFileAndSharing() throws {
        let x = NDArray([5, 5, 5, 5] as [Float])
        let e = try executor()
        try e["load_params"](MapObject([("x", .object(x))]))
        #expect(try e.input(0).hasSameContents(as: x))
        let path = temporaryPath("p.params")
        writeFile(path, ParamDict.save([("x", NDArray([6, 6, 6, 6] as [Float]))]))
        try e["load_params"](path)
        #expect(try e.input(0).toArray(Float.self) == [6, 6, 6, 6])
        expectError("RT071") { try e.loadParams([("nope", x)]) }
        let other = try executor()
        try other["share_params"](e, ["x"])
        #expect(try other.input(0) === e.input(0))
    }

    @Test func missingKernelsAreAllNamed() throws {
        var plan = smallPlan()
        plan.instructions[0].kernel = "foo"
        plan.instructions[1].kernel = "bar"
        let executable = try Executable(plan: plan, constants: [NDArray(shape: [4], dtype: .float32)])
        do {
            _ = try GraphExecutor(executable, kernels: TestKernels())
            Issue.record("nothing was thrown")
        } catch let error as ApusError {
            #expect(error.code == "RT070" && error.actual == "foo, bar")
        }
    }

    @Test(arguments: [("fail", "RT399"), ("parallel_fail", "RT398"), ("silent_fail", "RT022")])
    func kernelErrorsNameTheInstruction(kernel: String, code: String) throws {
        var plan = smallPlan()
        plan.instructions[1] = Plan.Instruction(kernel: kernel, args: [], label: "conv_7")
        let executable = try Executable(plan: plan, constants: [NDArray(shape: [4], dtype: .float32)])
        let e = try GraphExecutor(executable, kernels: TestKernels())
        for _ in 0..<3 {
            do {
                try e.run()
                Issue.record("nothing was thrown")
            } catch let error as ApusError {
                #expect(error.code == code)
                #expect(error.context.prefix(2) == ["model: small", "instruction: 1 \(kernel) conv_7"])
            }
        }
        expectError(code) { _ = try e.profile() }
    }

    @Test func outputsThatAreInputsOrConstants() throws {
        var plan = smallPlan()
        plan.outputs = [
            Plan.Output(name: "same", view: Plan.View(.input(0), shape: [4], dtype: .float32)),
            Plan.Output(name: "w", view: Plan.View(.constant(0), byteOffset: 8, shape: [2], dtype: .float32)),
        ]
        let w = NDArray([1, 2, 3, 4] as [Float])
        let e = try GraphExecutor(Executable(plan: plan, constants: [w]), kernels: TestKernels())
        try e.setInputZeroCopy(0, NDArray([9, 8, 7, 6] as [Float]))
        try e.run()
        #expect(try e.output(0).toArray(Float.self) == [9, 8, 7, 6])
        #expect(try e.output(1).toArray(Float.self) == [3, 4])
        #expect(try e.output(1).data != w.data + 8)
    }

    @Test func profileNamesEveryInstruction() throws {
        let e = try executor()
        let times = try e.profile(runs: 5)
        #expect(times.map(\.kernel) == ["add", "double"] && times[0].label == "x + w")
        #expect(times.allSatisfy { $0.nanoseconds >= 0 })
        let rows = try e["profile"](2).to([ArrayObject].self)
        #expect(rows.count == 2 && rows[1].elements[0] == "double")
    }

    @Test func outputsOutliveTheExecutor() throws {
        var e: GraphExecutor? = try executor()
        try e?.run()
        let y = try e?.output(0)
        e = nil
        #expect(try y?.toArray(Float.self) == [0, 2, 4, 6])
    }
}

@Suite(.serialized) struct SharedLibraryTests {
    /// A library as the compiler exports it, made with the system's C compiler; nil where there is none.
    private func build(_ source: String, blob: [UInt8]? = nil) -> String? {
        let c = temporaryPath("module.c")
        let library = String(c.dropLast(8)) + "module.so"
        var text = "#include \"apus.h\"\nconst ApusBackendAPI *apus_backend_api;\n" + source
        if let blob {
            text += "\n__attribute__((aligned(64))) const unsigned char apus_blob[] = {"
            text += blob.map { "\($0)" }.joined(separator: ",") + "};\n"
            text += "const uint64_t apus_blob_size = \(blob.count);\n"
        }
        writeFile(c, text.utf8)
        let header =
            #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/Sources/CABI/include"
        for compiler in ["cc", "clang", "gcc"] {
            if execute([compiler, "-O1", "-shared", "-fPIC", "-I", header, c, "-o", library]) == 0 {
                return library
            }
        }
        return nil
    }

    private let addone = """
        static int32_t task(int32_t id, int32_t n, void *data) {
            DLTensor *t = data;
            int64_t *p = t->data;
            for (int64_t i = id; i < t->shape[0]; i += n) p[i] += 1;
            return 0;
        }
        int32_t apus_fn_addone(void *self, const ApusAny *args, int32_t count, ApusAny *result) {
            (void)self; (void)result;
            if (count != 1 || args[0].type_index != APUS_DLTENSOR) {
                apus_backend_api->set_error("RT301", "addone takes one tensor");
                return -1;
            }
            int64_t *scratch = apus_backend_api->alloc_workspace(64);
            scratch[0] = 1;
            apus_backend_api->free_workspace(scratch);
            return apus_backend_api->parallel_launch(task, args[0].v.tensor, 0);
        }
        """

    @Test func kernelsOfALibrary() throws {
        let path = try #require(build(addone))
        let module = try Module.load(path)
        #expect(module.kind == "library")
        let tensor = NDArray([1, 2, 3])
        try module["addone"](tensor)
        #expect(try tensor.toArray(Int.self) == [2, 3, 4])
        expectError("RT301") { try module["addone"](1) }
        expectError("RT050") { _ = try module["default"] }
        expectError("RT050") { _ = try module["add\0one"] }
    }

    @Test func functionsKeepTheirLibrary() throws {
        let path = try #require(build(addone))
        let f = try Module.load(path)["addone"]
        let tensor = NDArray([1])
        try f(tensor)
        #expect(try tensor.toArray(Int.self) == [2])
    }

    private let kernels = """
        static float *f(const ApusAny *a) { return a->v.tensor->data; }
        int32_t apus_fn_add(void *self, const ApusAny *a, int32_t n, ApusAny *r) {
            for (int64_t i = 0; i < a[2].v.tensor->shape[0]; i++) f(a + 2)[i] = f(a)[i] + f(a + 1)[i];
            return 0;
        }
        int32_t apus_fn_double(void *self, const ApusAny *a, int32_t n, ApusAny *r) {
            for (int64_t i = 0; i < a[1].v.tensor->shape[0]; i++) f(a + 1)[i] = 2 * f(a)[i];
            return 0;
        }
        """

    @Test func wholeModel() throws {
        let path = try #require(build(kernels, blob: smallExecutable().serialized()))
        let factory = try Module.load(path)
        #expect(factory.functionNames == ["default", "small", "add", "double"])
        let g = try factory["small"](Device.cpu).to(Module.self)
        try g["set_input"](0, NDArray([1, 2, 3, 4] as [Float]))
        try g["run"]()
        #expect(try g["get_output"](0).to(NDArray.self).toArray(Float.self) == [2, 6, 10, 14])
        let library = try #require(factory as? SharedLibraryModule)
        // In place: the constant lies in the library's data.
        let blob = try #require(library.library.symbol("apus_blob"))
        let constant = try #require(library.executable?.constants[0])
        #expect(constant.data > blob && constant.data < blob + 4096)
    }

    @Test func damagedModels() throws {
        var blob = try smallExecutable().serialized()
        blob[70] ^= 0x55
        let path = try #require(build(kernels, blob: blob))
        expectError("RT060") { _ = try Module.load(path) }
        let text = temporaryPath("text.so")
        writeFile(text, "this is no library".utf8)
        expectError("RT054") { _ = try Module.load(text) }
    }
}
