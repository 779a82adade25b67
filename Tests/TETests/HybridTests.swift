import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTIRSchedule
import Testing

/// Programs of hybrid script, each called with tensors of the shapes given.
struct HybridProgram: Sendable, CustomTestStringConvertible {
    let name: String
    let text: String
    let inputs: [(shape: [Int], dtype: DataType)]
    var testDescription: String { name }

    init(_ name: String, _ inputs: [(shape: [Int], dtype: DataType)], _ text: String) {
        self.name = name
        self.inputs = inputs
        self.text = text
    }

    static let all: [HybridProgram] = [
        HybridProgram(
            "outer", [([5], .float32), ([7], .float32)],
            """
            @te.hybrid.script
            def outer(a, b):
                "the outer product"
                c = output_tensor((a.shape[0], b.shape[0]), "float32")
                for i in range(a.shape[0]):  # rows
                    for j in range(len(b)):
                        c[i, j] = a[i] * b[j]
                return c
            """),
        HybridProgram(
            "matmul", [([4, 6], .float32), ([6, 5], .float32)],
            """
            def matmul(a, b):
                c = output_tensor((a.shape[0], b.shape[1]), a.dtype)
                for i in range(a.shape[0]):
                    for j in parallel(b.shape[1]):
                        c[i, j] = 0.0
                for i in range(a.shape[0]):
                    for j in range(b.shape[1]):
                        for k in range(a.shape[1]):
                            c[i, j] += a[i, k] * b[k, j]
                return c
            """),
        HybridProgram(
            "accumulators", [([4, 6], .float32)],
            """
            def rows(a):
                s = output_tensor((4,), "float32")
                m = output_tensor((4,), 'float32')
                for i in range(4):
                    total = 0.0
                    best = a[i, 0]
                    for k in range(6):
                        total += a[i][k]
                        if a[i, k] > best:
                            best = a[i, k]
                    s[i] = total / 6
                    m[i] = best
                return s, m
            """),
        HybridProgram(
            "branches", [([9], .int32)],
            """
            def collatz(a):
                b = output_tensor((9,), "int32")
                for i in serial(9):
                    if a[i] % 2 == 0 and not a[i] == 0:
                        b[i] = a[i] // 2
                    elif a[i] < 0:
                        b[i] = -a[i]
                    else:
                        b[i] = 3 * a[i] + 1 if i > 2 else a[i] ^ 5
                return b
            """),
        HybridProgram(
            "stencil", [([3, 8], .float64)],
            """
            def blur(a):
                h, w = a.shape[0], a.shape[1]
                t = allocate((h, w), "float64")
                b = output_tensor(a.shape, "float64")
                for i in range(h):
                    for j in vectorize(w):
                        t[i, j] = 0.0
                for i in range(h):
                    for j in range(1, w - 1):
                        t[i, j] = (a[i, j - 1] + 2 * a[i, j] + a[i, j + 1]) / 4
                for i in range(h):
                    for j in unroll(w):
                        b[i, j] = t[i, j] if 0 < j < w - 1 else a[i, j]
                return b
            """),
        HybridProgram(
            "calls", [([6], .float32), ([6], .float32)],
            """
            def clamp(x, lo, hi):
                return max(min(x, hi), lo)

            def fill(t, v):
                for i in range(t.shape[0]):
                    t[i] = v

            def doubled(t):
                r = output_tensor(t.shape, t.dtype)
                for i in range(t.shape[0]):
                    r[i] = t[i] + t[i]
                return r

            def main(a, b):
                c = output_tensor(a.shape, "float32")
                fill(c, 1)
                d = doubled(b)
                for i in range(6):
                    c[i] += clamp(a[i], -0.5, 0.5) * d[i]
                return c
            """),
        HybridProgram(
            "constants", [([4, 4], .int64)],
            """
            def trace(a):
                b = output_tensor((2,), "int64")
                b[0] = 0
                b[1] = 1
                for i in const_range(4):
                    if i != 2:
                        b[0] = b[0] + a[i, i]
                    b[1] = b[1] * (2 ** i % 7)
                return b
            """),
        HybridProgram(
            "steps", [([10], .int16)],
            """
            def reverse_evens(a):
                b = output_tensor((10,), "int32")
                for i in range(10):
                    b[i] = 0
                for i in range(8, -1, -2):
                    b[8 - i] = int32(a[i]) << 2
                assert b[0] == b[0], "equal to itself"
                return b
            """),
        HybridProgram(
            "while", [([5], .int32)],
            """
            def digits(a):
                b = output_tensor((5,), "int64")
                for i in range(5):
                    n = int64(abs(a[i]))
                    k = 0
                    while n > 0:
                        n = n // 10
                        k += 1
                    b[i] = k
                return b
            """),
        HybridProgram(
            "math", [([8], .float32)],
            """
            def act(a):
                b = output_tensor((8,), "float32")
                for i in range(8):
                    x = a[i]
                    b[i] = exp(-x * x) + tanh(x) * sigmoid(x) + sqrt(abs(x)) - log1p(x * x) + power(x, 2) \\
                        + float32(popcount(i)) + ceil_div(i, 3)
                return b
            """),
        HybridProgram(
            "swap", [([6], .float32)],
            """
            def sort(a):
                b = output_tensor((6,), "float32")
                for i in range(6):
                    b[i] = a[i]
                for i in range(6):
                    for j in range(5 - i):
                        if b[j] > b[j + 1]:
                            b[j], b[j + 1] = b[j + 1], b[j]
                return b
            """),
    ]

    func arrays(_ seed: UInt64) -> [NDArray] {
        inputs.enumerated().map {
            NDArray.random(shape: $0.element.shape, dtype: $0.element.dtype, seed: seed &+ UInt64($0.offset))
        }
    }

    var function: HybridFunction {
        get throws {
            let module = try te.hybrid.parse(text)
            return try module[try #require(module.definitions.last).name]
        }
    }

    func tensors() -> [Tensor] {
        inputs.enumerated().map { placeholder($0.element.shape, $0.element.dtype, name: "x\($0.offset)") }
    }
}

@Suite struct HybridTests {
    @Test(arguments: HybridProgram.all) func compiledEqualsEmulated(_ p: HybridProgram) throws {
        let function = try p.function
        for seed in UInt64(1)...3 {
            let arrays = p.arrays(seed)
            let expected = try function.emulate(arrays)
            let tensors = p.tensors()
            let f = try function.primFunc(tensors)
            try verifyWellFormed(f)
            let outputs = try expected.map { try NDArray.allocate(shape: $0.shape, dtype: $0.dtype) }
            try TIRInterpreter.run(f, arrays + outputs)
            for (a, b) in zip(outputs, expected) {
                let (x, y) = (try a.toDoubles(), try b.toDoubles())
                for i in x.indices { #expect(abs(x[i] - y[i]) <= 1e-5 * max(1, abs(y[i])), "element \(i)") }
            }
        }
    }

    @Test(arguments: HybridProgram.all) func printsWhatItReads(_ p: HybridProgram) throws {
        let once = try te.hybrid.parse(p.text).getSource()
        #expect(try te.hybrid.parse(once).getSource() == once)
        // The printed program computes the same.
        let arrays = p.arrays(9)
        let again = try te.hybrid.parse(once)
        let a = try p.function.emulate(arrays)
        let b = try again[p.function.name].emulate(arrays)
        for (x, y) in zip(a, b) { #expect(x.hasSameContents(as: y)) }
    }

    @Test func text() throws {
        let p = HybridProgram.all[0]
        let f = try p.function.primFunc(p.tensors())
        #expect(
            f.description == """
                @T.prim_func
                def outer(x0: T.Buffer((5,), "float32"), x1: T.Buffer((7,), "float32"), c: T.Buffer((5, 7), "float32")):
                """ || f.description.contains("c_block") || f.description.contains("v_i"))
        #expect(
            try te.hybrid.parse(HybridProgram.all[4].text).getSource() == """
                def blur(a):
                    h, w = a.shape[0], a.shape[1]
                    t = allocate((h, w), "float64")
                    b = output_tensor(a.shape, "float64")
                    for i in range(h):
                        for j in vectorize(w):
                            t[i, j] = 0.0
                    for i in range(h):
                        for j in range(1, w - 1):
                            t[i, j] = (a[i, j - 1] + 2 * a[i, j] + a[i, j + 1]) / 4
                    for i in range(h):
                        for j in unroll(w):
                            b[i, j] = t[i, j] if 0 < j < w - 1 else a[i, j]
                    return b

                """)
    }

    /// A perfect nest is a block with iteration variables: primitives apply.
    @Test func nestsAreScheduled() throws {
        let p = HybridProgram.all[1]
        let f = try p.function.primFunc(p.tensors())
        let s = try Schedule(f)
        let block = try s.getBlock("matmul_1")
        let loops = try s.getLoops(block)
        #expect(loops.count == 3)
        let parts = try s.split(loops[0], factors: [nil, 2])
        try s.reorder([loops[2], parts[1]])
        try s.vectorize(loops[1])
        let arrays = p.arrays(4)
        let expected = try p.function.emulate(arrays)
        let output = try NDArray.allocate(shape: expected[0].shape, dtype: .float32)
        try TIRInterpreter.run(s.function, arrays + [output])
        let (x, y) = (try output.toDoubles(), try expected[0].toDoubles())
        for i in x.indices { #expect(abs(x[i] - y[i]) <= 1e-5) }
    }

    @Test func nodesAreReflected() throws {
        TENodes.registerAll()
        let p = HybridProgram.all[0]
        let t = try p.function.call(p.tensors())[0]
        let again = try loadJSON(saveJSON(t))
        #expect(structuralEqual(t, again))
        // Other inputs give another operation of the same statements.
        let other = placeholder([5], .float32, name: "other")
        let op = t.op.replaceInputs([(old: t.op.inputTensors[0], new: other)])
        #expect(op !== t.op && op.inputTensors[0].isSame(as: other))
    }

    @Test func threads() throws {
        let f = try te.hybrid.parse(
            """
            def scale(a):
                b = output_tensor(a.shape, "float32")
                for i in bind("blockIdx.x", 4):
                    for j in bind("threadIdx.x", 8):
                        b[i * 8 + j] = a[i * 8 + j] * factor
                return b
            """, constants: ["factor": 2.5])["scale"]
        let a = NDArray((0..<32).map { Float($0) }, shape: [32])
        let p = try f.primFunc([placeholder([32], .float32, name: "a")])
        var tags: [String] = []
        postOrderVisit(
            p.body, stmt: { if let l = $0 as? For, let t = l.threadBinding { tags.append(t.threadTag) } })
        #expect(tags.sorted() == ["blockIdx.x", "threadIdx.x"])
        let out = try NDArray.allocate(shape: [32], dtype: .float32)
        try TIRInterpreter.run(p, [a, out])
        #expect(try out.toDoubles() == (0..<32).map { Double($0) * 2.5 })
        #expect(try f.emulate([a])[0].hasSameContents(as: out))
    }

    @Test func symbolicShapes() throws {
        let n = Var("n")
        let a = placeholder([n], .float32, name: "a")
        let f = try HybridProgram.all[0].function.primFunc([a, a])
        let x = NDArray([Float(1), 2, 3])
        let out = try NDArray.allocate(shape: [3, 3], dtype: .float32)
        try TIRInterpreter.run(f, [x, out])
        #expect(try out.toDoubles() == [1, 2, 3, 2, 4, 6, 3, 6, 9])
    }

    @Test func modulesAreSaved() throws {
        let path = "/tmp/apus-hybrid-\(UInt64.random(in: 0 ... .max)).py"
        let module = try te.hybrid.parse(HybridProgram.all[5].text)
        try module.save(path)
        #expect(try te.hybrid.load(path).getSource() == module.getSource())
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let code: String
        let line: Int
        let body: String
        var testDescription: String { body }
    }

    /// Bodies of `def f(a):` with `a` of shape [4], each with its error and the line of the body that it names.
    static let bad: [Bad] = [
        Bad(code: "TE050", line: 1, body: "x = 1 ? 2"), Bad(code: "TE050", line: 1, body: "x = \"abc"),
        Bad(code: "TE050", line: 2, body: "if a[0] > 1:\n        x = 1\n      y = 2"),
        Bad(code: "TE050", line: 1, body: "x = 99999999999999999999"),
        Bad(code: "TE051", line: 2, body: "x = (1 + "),
        Bad(code: "TE051", line: 1, body: "for i in 5:\n        pass"),
        Bad(code: "TE051", line: 1, body: "x = = 2"),
        Bad(code: "TE052", line: 1, body: "x = " + String(repeating: "(", count: 500)),
        Bad(code: "TE053", line: 1, body: "break"), Bad(code: "TE053", line: 1, body: "x = a[1:2]"),
        Bad(code: "TE053", line: 1, body: "x = f(b=1)"), Bad(code: "TE053", line: 1, body: "import os"),
        Bad(code: "TE055", line: 1, body: "x = a[4]"), Bad(code: "TE055", line: 1, body: "x = a[-1]"),
        Bad(code: "TE055", line: 1, body: "x = a[0, 1]"), Bad(code: "TE055", line: 1, body: "x = a[0.5]"),
        Bad(code: "TE055", line: 1, body: "x = a.shape[1]"), Bad(code: "TE056", line: 1, body: "x = y"),
        Bad(code: "TE056", line: 3, body: "for i in range(4):\n        x = a[i]\n    b = x + 1"),
        Bad(code: "TE056", line: 1, body: "x = y\n    y = 1"),
        Bad(code: "TE057", line: 1, body: "x = swish(a[0])"),
        Bad(code: "TE057", line: 1, body: "x = exp(1, 2)"), Bad(code: "TE058", line: 1, body: "a[0] = 1"),
        Bad(code: "TE058", line: 2, body: "for i in range(4):\n        i = 2"),
        Bad(code: "TE058", line: 1, body: "1 = 2"), Bad(code: "TE059", line: 0, body: "return a"),
        Bad(code: "TE060", line: 1, body: "x = a + 1"), Bad(code: "TE060", line: 1, body: "x = ~a[0]"),
        Bad(code: "TE060", line: 1, body: "x, y = 1, 2, 3"),
        Bad(code: "TE061", line: 2, body: "x = 0\n    x = a[0]"),
        Bad(code: "TE062", line: 1, body: "x = 1 // 0"),
        Bad(code: "TE062", line: 1, body: "x = 9223372036854775807 + 1"),
        Bad(code: "TE063", line: 2, body: "for i in range(4):\n        x = i / i"),
        Bad(code: "TE064", line: 1, body: "for i in grid(4):\n        pass"),
        Bad(code: "TE064", line: 1, body: "for i in range(0, 4, 0):\n        pass"),
        Bad(code: "TE064", line: 1, body: "for i in const_range(a[0]):\n        pass"),
        Bad(code: "TE066", line: 1, body: "assert 1 > 2, \"no\""), Bad(code: "TE067", line: 1, body: "f(a)"),
        Bad(code: "TE067", line: 1, body: "for i in const_range(1000000000):\n        pass"),
        Bad(code: "TE068", line: 1, body: "x = a.size"), Bad(code: "TE069", line: 1, body: "a[0]"),
        Bad(code: "TE069", line: 2, body: "for i in range(4):\n        t = output_tensor((4,), \"float32\")"),
    ]

    @Test(arguments: bad) func errorsNamePlaces(_ b: Bad) throws {
        let text = "def f(a):\n    \(b.body)\n"
        do {
            _ = try te.hybrid.parse(text, name: "bad.py")["f"](placeholder([4], .float32))
            Issue.record("no error")
        } catch let e as ApusError {
            #expect(e.code == b.code, "\(e)")
            #expect(e.description.contains("bad.py:\(b.line + 1):") || b.code == "TE050", "\(e)")
            if b.body == "return a" { #expect(e.expected == "what `output_tensor` gave") }
        }
    }

    @Test func errorText() throws {
        let error = #expect(throws: ApusError.self) {
            _ = try te.hybrid.parse(
                "def f(a):\n    b = output_tensor((2,), \"float32\")\n    b[0] = a[7]\n    return b\n")["f"](
                    placeholder([4], .float32, name: "a"))
        }
        #expect(
            error?.description == """
                error[TE055]: an index of `a` is out of range on axis 0
                  at: function: f > script:3:14
                  expected: 0 to 3
                  actual: 7
                  note:     b[0] = a[7]
                             ^
                """, "\(error?.description ?? "")")
    }
}
