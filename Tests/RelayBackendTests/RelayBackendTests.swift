import ApusIR
import ApusNode
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusSupport
import ApusTarget
import Glibc
import Testing

/// Compiles at each level, runs, and compares with the interpreter.
private func expectAgreement(
    _ function: Relay.Function, levels: [Int] = [0, 3], target: Target = .host, tolerance: Double = 1e-4,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var inputs: [NDArray] = []
    for (i, p) in function.params.enumerated() {
        let type = try #require(p.tensorType)
        inputs.append(
            NDArray.random(shape: try #require(type.staticShape), dtype: type.dtype, seed: UInt64(i + 7)))
    }
    let expected = try interpret(function, inputs, target: target)
    for level in levels {
        let model = try compile(IRModule(function), CompileOptions(target: target, optLevel: level))
        let executor = try model.executor()
        for (i, v) in inputs.enumerated() { try executor.setInput(i, v) }
        try executor.run()
        for (i, e) in expected.enumerated() {
            let actual = try executor.output(i)
            #expect(actual.shape == e.shape, sourceLocation: sourceLocation)
            let a = try actual.toDoubles()
            let b = try e.toDoubles()
            let scale = b.map { abs($0) }.max() ?? 0
            let worst = zip(a, b).map { abs($0 - $1) }.max() ?? 0
            #expect(
                worst <= tolerance * scale + 1e-6, "level \(level), output \(i)",
                sourceLocation: sourceLocation)
        }
    }
}

private func weights(_ shape: [Int], _ seed: UInt64) -> RelayExpr {
    Relay.Constant(NDArray.random(shape: shape, seed: seed))
}

@Suite struct CompileTests {
    init() { Relay.registerAll() }

    @Test(arguments: [
        (16, 16, 8, 3, 1, 1), (16, 32, 7, 3, 2, 1), (3, 16, 9, 3, 2, 1), (16, 16, 14, 1, 1, 0),
        (32, 16, 7, 1, 2, 0),
        (5, 7, 6, 3, 1, 1), (24, 24, 10, 5, 1, 2), (8, 48, 13, 1, 1, 0),
    ])
    func convolution(_ c: (Int, Int, Int, Int, Int, Int)) throws {
        let x = Relay.Var("x", shape: [1, c.0, c.2, c.2])
        let y = try Relay.call(
            "nn.conv2d", [x, weights([c.1, c.0, c.3, c.3], 1)],
            [
                "kernel_size": .ints([c.3, c.3]), "channels": .int(c.1), "strides": .ints([c.4, c.4]),
                "padding": .ints([c.5, c.5, c.5, c.5]),
            ])
        let biased = try Relay.call("add", [y, weights([c.1, 1, 1], 2)])
        try expectAgreement(Relay.Function([x], try Relay.call("nn.relu", [biased])))
    }

    @Test(arguments: [(16, 8, 3, 1), (32, 7, 3, 2), (24, 9, 5, 1), (6, 5, 3, 1)])
    func depthwise(_ c: (Int, Int, Int, Int)) throws {
        let x = Relay.Var("x", shape: [1, c.0, c.1, c.1])
        let p = c.2 / 2
        let y = try Relay.call(
            "nn.conv2d", [x, weights([c.0, 1, c.2, c.2], 1)],
            [
                "kernel_size": .ints([c.2, c.2]), "channels": .int(c.0), "groups": .int(c.0),
                "strides": .ints([c.3, c.3]), "padding": .ints([p, p, p, p]),
            ])
        try expectAgreement(Relay.Function([x], try Relay.call("clip", [y], ["a_min": 0.0, "a_max": 6.0])))
    }

    /// A row times a matrix given transposed, as decoding with a cache has it.
    @Test(arguments: [(3, 17, 64), (1, 5, 7), (12, 257, 64)])
    func rowTimesTransposed(_ size: (Int, Int, Int)) throws {
        let (b, n, k) = size
        let q = Relay.Var("q", shape: [b, 1, k])
        let keys = Relay.Var("keys", shape: [1, b, n, k])
        let turned = try Relay.call("transpose", [keys], ["axes": .ints([0, 1, 3, 2])])
        let flat = try Relay.call("reshape", [turned], ["newshape": .ints([b, k, n])])
        let scores = try Relay.call("nn.batch_matmul", [q, flat], ["transpose_b": false])
        let scaled = try Relay.call("multiply", [scores, try Relay.scalar(0.125, .float32)])
        try expectAgreement(Relay.Function([q, keys], try Relay.call("nn.softmax", [scaled], ["axis": -1])))
    }

    /// Weights of a model file lie at any address: tables are looked up where they are, matrices laid out from there.
    @Test(arguments: [1, 2, 3, 4]) func unalignedConstants(_ offset: Int) throws {
        let table = [400, 700]
        let matrix = [384, 700]
        func shifted(_ shape: [Int], _ seed: UInt64) -> RelayExpr {
            let aligned = NDArray.random(shape: shape, seed: seed)
            let memory = NDArray(shape: [aligned.byteCount + 64], dtype: .uint8)
            let place = memory.data + offset
            place.copyMemory(from: aligned.data, byteCount: aligned.byteCount)
            return Relay.Constant(NDArray(borrowing: place, shape: shape, dtype: .float32, owner: memory))
        }
        let x = Relay.Var("x", shape: [6, 700])
        let rows = Relay.Constant(NDArray([0, 399, 7, 7, 200, 1].map { Int64($0) }, shape: [6]))
        let found = try Relay.call("take", [shifted(table, 1), rows], ["axis": 0])
        let sum = try Relay.call("add", [x, found])
        let product = try Relay.call("nn.dense", [sum, shifted(matrix, 2)])
        // Not dense at all: the table as an operand of its own.
        let whole = try Relay.call("multiply", [shifted(table, 3), shifted(table, 4)])
        let part = try Relay.call("sum", [whole], ["axis": .ints([1])])
        try expectAgreement(Relay.Function([x], Relay.Tuple([product, part])))
    }

    @Test func residualBlockWithPooling() throws {
        let x = Relay.Var("x", shape: [1, 16, 12, 12])
        func conv(_ e: RelayExpr, _ seed: UInt64) throws -> RelayExpr {
            try Relay.call(
                "nn.conv2d", [e, weights([16, 16, 3, 3], seed)],
                ["kernel_size": .ints([3, 3]), "channels": 16, "padding": .ints([1, 1, 1, 1])])
        }
        let first = try Relay.call("nn.relu", [try conv(x, 1)])
        let second = try Relay.call("nn.relu", [try Relay.call("add", [try conv(first, 2), x])])
        let pooled = try Relay.call(
            "nn.max_pool2d", [second],
            ["pool_size": .ints([3, 3]), "strides": .ints([2, 2]), "padding": .ints([1, 1, 1, 1])])
        let mean = try Relay.call("mean", [pooled], ["axis": .ints([2, 3]), "keepdims": true])
        let flat = try Relay.call("reshape", [mean], ["newshape": .ints([1, 16])])
        let dense = try Relay.call("nn.dense", [flat, weights([10, 16], 3)])
        try expectAgreement(Relay.Function([x], try Relay.call("nn.softmax", [dense])))
    }

    @Test(arguments: [(1, 32, 16), (7, 20, 33), (128, 64, 48), (5, 3, 1)])
    func denseLayers(_ c: (Int, Int, Int)) throws {
        let x = Relay.Var("x", shape: [c.0, c.1])
        let y = try Relay.call("nn.dense", [x, weights([c.2, c.1], 1)])
        try expectAgreement(Relay.Function([x], try Relay.call("add", [y, weights([c.2], 2)])))
    }

    @Test func attention() throws {
        let q = Relay.Var("q", shape: [2, 8, 16])
        let k = Relay.Var("k", shape: [2, 8, 16])
        let v = Relay.Var("v", shape: [2, 8, 16])
        let kt = try Relay.call("transpose", [k], ["axes": .ints([0, 2, 1])])
        let scores = try Relay.call(
            "nn.batch_matmul", [q, kt], ["transpose_a": false, "transpose_b": false])
        let p = try Relay.call(
            "nn.softmax", [try Relay.call("multiply", [scores, try Relay.scalar(0.25, .float32)])])
        let y = try Relay.call("nn.batch_matmul", [p, v], ["transpose_a": false, "transpose_b": false])
        let n = try Relay.call("nn.layer_norm", [y, weights([16], 1), weights([16], 2)])
        try expectAgreement(Relay.Function([q, k, v], n))
    }

    /// Matrices known only at run time, lying either way, of any number of columns, with and without a stack around.
    @Test(arguments: [(1, 9, 16, 16), (3, 40, 19, 33), (12, 29, 16, 29), (2, 8, 5, 300), (1, 33, 7, 130)])
    func matrixProducts(_ c: (Int, Int, Int, Int)) throws {
        let (stack, m, k, n) = c
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = Relay.Var("a", shape: [stack] + (ta ? [k, m] : [m, k]))
            let b = Relay.Var("b", shape: [stack] + (tb ? [n, k] : [k, n]))
            let y = try Relay.call(
                "nn.batch_matmul", [a, b], ["transpose_a": .bool(ta), "transpose_b": .bool(tb)])
            try expectAgreement(Relay.Function([a, b], y))
            try expectAgreement(
                Relay.Function([a, b], try Relay.call("exp", [try Relay.call("add", [y, y])])))
        }
        let a = Relay.Var("a", shape: [m, k])
        let b = Relay.Var("b", shape: [k, n])
        let bt = try Relay.call("transpose", [b], ["axes": .ints([1, 0])])
        try expectAgreement(Relay.Function([a, b], try Relay.call("nn.dense", [a, bt])))
    }

    /// Rows of several axes, whose tile crosses them.
    @Test(arguments: [[1, 7, 7, 20], [5, 1, 20], [2, 3, 20]])
    func denseLayersOfManyAxes(_ shape: [Int]) throws {
        let x = Relay.Var("x", shape: shape)
        let y = try Relay.call(
            "add", [try Relay.call("nn.dense", [x, weights([36, 20], 1)]), weights([36], 2)])
        let z = try Relay.call("nn.dense", [try Relay.call("nn.relu", [y]), weights([20, 36], 3)])
        let sum = try Relay.call("add", [z, x])
        try expectAgreement(
            Relay.Function([x], try Relay.call("nn.layer_norm", [sum, weights([20], 4), weights([20], 5)])))
    }

    @Test func severalOutputsAndViews() throws {
        let x = Relay.Var("x", shape: [4, 6])
        let parts = try Relay.call("split", [x], ["indices_or_sections": .ints([2]), "axis": 1])
        let a = try Relay.TupleGetItem(parts, 0)
        let b = try Relay.call("reshape", [try Relay.TupleGetItem(parts, 1)], ["newshape": .ints([16])])
        let c = try Relay.call("exp", [b])
        try expectAgreement(Relay.Function([x], Relay.Tuple([a, b, c, x])))
    }

    @Test func constantsAreFolded() throws {
        let x = Relay.Var("x", shape: [8, 40])
        let w = try Relay.call("transpose", [weights([40, 24], 1)], ["axes": .ints([1, 0])])
        let f = Relay.Function([x], try Relay.call("nn.dense", [x, w]))
        try expectAgreement(f)
        let model = try compile(IRModule(f), CompileOptions(target: .host))
        #expect(model.executable.plan.instructions.count <= 2)
    }

    @Test func memoryIsShared() throws {
        let x = Relay.Var("x", shape: [1024])
        var e: RelayExpr = x
        for _ in 0..<12 { e = try Relay.call("cumsum", [e], ["axis": 0]) }
        let model = try compile(IRModule(Relay.Function([x], e)), CompileOptions(target: .host))
        #expect(model.executable.plan.instructions.count == 12)
        // The result keeps its own; two others alternate.
        #expect(model.executable.plan.storages.count <= 3)
    }

    @Test func equalKernelsAreCompiledOnce() throws {
        let x = Relay.Var("x", shape: [16])
        let a = try Relay.call("cumsum", [try Relay.call("cumsum", [x], ["axis": 0])], ["axis": 0])
        let model = try compile(IRModule(Relay.Function([x], a)), CompileOptions(target: .host))
        #expect(model.kernels.count == 1)
    }

    @Test func exportedLibraryRunsAndRepeats() throws {
        let x = Relay.Var("x", shape: [1, 16, 8, 8])
        let y = try Relay.call(
            "nn.conv2d", [x, weights([16, 16, 3, 3], 1)], ["kernel_size": .ints([3, 3]), "channels": 16])
        let model = try compile(IRModule(Relay.Function([x], y)), CompileOptions(target: .host))
        let folder = "/tmp/apus-test-\(UInt64.random(in: 0...UInt64.max))"
        let (a, b) = (folder + "a.so", folder + "b.so")
        defer {
            unlink(a)
            unlink(b)
        }
        try model.export(to: a)
        try compile(IRModule(Relay.Function([x], y)), CompileOptions(target: .host)).export(to: b)
        let first = try MappedFile(a)
        let second = try MappedFile(b)
        #expect(first.bytes.elementsEqual(second.bytes))
        let library = try SharedLibrary(a)
        let executor = try GraphExecutor(try #require(try library.executable()), kernels: library)
        let jit = try model.executor()
        let input = NDArray.random(shape: [1, 16, 8, 8], seed: 3)
        for e in [executor, jit] {
            try e.setInput(0, input)
            try e.run()
        }
        #expect(try executor.output(0).hasSameContents(as: jit.output(0)))
    }

    @Test func cTargetAgrees() throws {
        let x = Relay.Var("x", shape: [1, 16, 8, 8])
        let y = try Relay.call(
            "nn.conv2d", [x, weights([16, 16, 3, 3], 1)], ["kernel_size": .ints([3, 3]), "channels": 16])
        try expectAgreement(
            Relay.Function([x], try Relay.call("tanh", [y])), levels: [3], target: try Target("c"))
    }

    @Test func shapesFromValuesAreEvaluated() throws {
        let module = try Relay.parse("def @main() { arange(1, 7, 2, dtype=\"int32\") }")
        let function = try #require(module["main"] as? Relay.Function)
        let result = try constantEvaluator(target: .host)(function)
        #expect(try result[0].toArray(Int32.self) == [1, 3, 5])
    }

    @Test func symbolicShapesAreRefused() throws {
        let module = try Relay.parse("def @main(%x: Tensor[(?, 4), float32]) { exp(%x) }")
        #expect(throws: ApusError.self) { try compile(module, CompileOptions(target: .host)) }
    }
}
