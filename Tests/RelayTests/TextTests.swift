import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

private func roundTrip(_ module: IRModule) throws {
    let text = Relay.text(module)
    let back = try Relay.parse(text)
    #expect(firstDifference(module, back) == nil, "\(text)")
    #expect(Relay.text(back) == text)
    #expect(firstDifference(module, try Relay.parse(Relay.text(module, types: false))) == nil)
}

@Suite struct Printing {
    @Test func convolution() throws {
        let x = tensor([1, 3, 8, 8])
        let w = Relay.Constant(NDArray.random(shape: [4, 3, 3, 3]))
        let c = try Relay.call("nn.conv2d", [x, w], ["strides": .ints([2, 2])])
        let y = try Relay.call("clip", [c], ["a_min": 0.0, "a_max": 6.0])
        let z = try Relay.call("add", [y, try Relay.scalar(1.5, .float32)])
        let module = IRModule(Relay.Function([x], z))
        #expect(
            Relay.text(module, metadata: false) == """
                #[version = "0.0.5"]
                def @main(%x: Tensor[(1, 3, 8, 8), float32]) -> Tensor[(1, 4, 3, 3), float32] {
                  %0 = nn.conv2d(%x, meta[relay.Constant][0], strides=[2, 2]) /* ty=Tensor[(1, 4, 3, 3), float32] */;
                  %1 = clip(%0, a_min=0.0f, a_max=6.0f) /* ty=Tensor[(1, 4, 3, 3), float32] */;
                  add(%1, 1.5f) /* ty=Tensor[(1, 4, 3, 3), float32] */
                }

                """)
        try roundTrip(module)
    }

    @Test func everyKindText() throws {
        let f = try everyKind()
        let text = Relay.text(IRModule(f), types: false, metadata: false)
        #expect(
            text == """
                #[version = "0.0.5"]
                def @main(%x: Tensor[(2, 3), float32], %flag: Tensor[(), bool]) -> (Tensor[(2, 3), float32], (), \
                Tensor[(2, 3), float32]) {
                  %0 = fn (%p: Tensor[(2, 3), float32], primitive=True, name="relu") -> Tensor[(2, 3), float32] {
                    nn.relu(%p)
                  };
                  %1 = add(%x, meta[relay.Constant][0]);
                  %2 = %0((%1, %x).0);
                  %3 = if (%flag) {
                    %2
                  } else {
                    negative(%2)
                  };
                  let %v = %3;
                  %4 = ref(%v);
                  %5 = ref_read(%4);
                  %6 = ref_write(%4, meta[relay.Constant][0]);
                  (%5, %6, %v)
                }

                """)
        try roundTrip(IRModule(f))
        #expect(f.description.hasPrefix("fn (%x: Tensor"))
    }

    @Test func namesAndNumbers() throws {
        _ = Random(0)
        let a = Relay.Var("input.1", TensorType([2], .float32))
        let b = Relay.Var("0", TensorType([2], .float32))
        let c = Relay.Var("a \"b\"\n", TensorType([2], .float32))
        let d = Relay.Var("0", TensorType([2], .float32))
        let e = Relay.Var("größe", TensorType([2], .float32))
        let sum = try [b, c, d, e].reduce(a as RelayExpr) { try Relay.call("add", [$0, $1]) }
        let module = IRModule(Relay.Function([a, b, c, d, e], sum), name: "a/b")
        let text = Relay.text(module)
        #expect(text.contains(#"def @"a/b"(%"input.1": "#) && text.contains(#"%"0_1": "#))
        try roundTrip(module)
        let back = try #require(try Relay.parse(text)["a/b"] as? Relay.Function)
        #expect(back.params.map(\.name) == ["input.1", "0", "a \"b\"\n", "0_1", "größe"])
    }

    @Test(arguments: [
        DataType.bool, .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .float16, .bfloat16,
        .float32,
        .float64,
    ])
    func scalars(d: DataType) throws {
        _ = Random(0)
        var values: [Double] = [0, 1]
        if d.isFloat { values += [-0.0, 0.1, -2.5e-7, .infinity, -.infinity, .nan, 1e30] }
        if d.isInt { values += [-1, -7] }
        for v in values {
            let c = try Relay.scalar(v, d)
            let e = Relay.Function([], Relay.Tuple([c, Relay.Constant(c.data)]))
            try roundTrip(IRModule(e))
        }
    }

    @Test func attributeKinds() throws {
        let x = tensor([2])
        let attrs = Attrs([
            (key: "none", value: .none), (key: "int", value: .int(-3)), (key: "float", value: .float(0.1)),
            (key: "inf", value: .float(.infinity)), (key: "minus", value: .float(-.infinity)),
            (key: "nan", value: .float(.nan)), (key: "whole", value: .float(2)),
            (key: "bool", value: .bool(false)),
            (key: "text", value: .string("a\"\\\u{1}ü")), (key: "dtype", value: .dtype(.int8)),
            (key: "ints", value: .ints([1, -2])), (key: "no ints", value: .ints([])),
            (key: "floats", value: .floats([1, -.infinity])), (key: "nofloats", value: .floats([])),
            (key: "strings", value: .strings(["a", "b"])), (key: "nostrings", value: .strings([])),
            (key: "list", value: .list([.int(1), .list([.string("x")]), .none])),
            (key: "nolist", value: .list([])),
            (key: "node", value: .node(TensorType([3], .int8))),
        ])
        try roundTrip(IRModule(Relay.Function([x], x, attrs)).with(attrs: attrs))
        let g = GlobalVar("main", type: FuncType([x.checkedType], x.checkedType))
        try roundTrip(IRModule(Relay.Function([x], try Relay.Call(g, [x], attrs))))
    }

    @Test func symbolicShapes() throws {
        let n = ApusTIR.Var("n")
        let other = ApusTIR.Var("n")
        let odd = ApusTIR.Var("batch size")
        let x = symbolic([n, IntImm(4), other + 1], name: "x")
        let y = symbolic([odd, floorDiv(n * 2 - odd, IntImm(3))], name: "y")
        let pool = try Relay.call("sum", [x], ["axis": .ints([1])])
        let f = Relay.Function(
            [x, y],
            Relay.Tuple([pool, y, try Relay.call("concatenate", [Relay.Tuple([x, x])], ["axis": 0])]))
        let module = IRModule(f)
        let text = Relay.text(module)
        #expect(text.contains("%x: Tensor[(n, 4, (n_1 + 1)), float32]"))
        try roundTrip(module)
    }

    @Test func sharedAcrossBranches() throws {
        // What both branches use is computed outside them; nesting and sharing survive the text.
        let x = tensor([4])
        let c = tensor([], .bool, name: "c")
        let shared = try Relay.call("exp", [x])
        let left = try Relay.call("add", [shared, try Relay.call("tanh", [x])])
        let v = Relay.Var("v", x.checkedType)
        let right = Relay.Let(v, try Relay.call("sin", [shared]), try Relay.call("add", [v, shared]))
        let inner = try Relay.If.checked(c, right, left)
        let e = try Relay.If.checked(c, left, inner)
        let module = IRModule(Relay.Function([x, c], try Relay.call("add", [e, e])))
        let text = Relay.text(module, types: false)
        let first = try #require(text.split(separator: "\n").dropFirst(2).first)
        #expect(first == "  %0 = exp(%x);")
        try roundTrip(module)
        try Relay.checkWellFormed(try Relay.parse(text))
    }

    @Test func letsInside() throws {
        let x = tensor([4])
        let v = Relay.Var("v", x.checkedType)
        let w = Relay.Var("v", x.checkedType)
        let inner = Relay.Let(v, try Relay.call("exp", [x]), try Relay.call("add", [v, v]))
        let outer = Relay.Let(w, inner, try Relay.call("multiply", [w, inner]))
        try roundTrip(IRModule(Relay.Function([x], outer)))
        try roundTrip(IRModule(Relay.Function([x], Relay.Tuple([outer, inner]))))
    }

    @Test func modules() throws {
        let x = tensor([4])
        let g = GlobalVar("g", type: FuncType([x.checkedType], x.checkedType))
        let f = Relay.Function([x], try Relay.Call(g, [try Relay.Call(g, [x])]))
        let p = tensor([4], name: "p")
        let h = Relay.Function([p], try Relay.call("exp", [p]))
        try roundTrip(
            IRModule([
                (global: GlobalVar("main", type: f.checkedType), function: f), (global: g, function: h),
            ]))
        // Text from elsewhere: no return types, calls of what came before, comments, parentheses.
        let m = try Relay.parse(
            """
            // a comment
            def @f(%a: Tensor[(2, 3), float32]) { /* another */ ((nn.relu((%a)))) }
            def @main(%a: Tensor[(2, 3), float32],) { let %b = @f(%a,); (%b, (%b,).0, ()) }
            """)
        #expect(shapes((try #require(m["main"] as? Relay.Function)).body) == [[2, 3], [2, 3], nil])
        try roundTrip(m)
        try roundTrip(IRModule())
    }

    @Test func manyOfOneName() throws {
        let x = tensor([1])
        var e: RelayExpr = x
        for _ in 0..<3000 {
            let v = Relay.Var("x", x.checkedType)
            e = Relay.Let(v, try Relay.call("exp", [x]), e)
        }
        let module = IRModule(Relay.Function([x], e))
        let back = try Relay.parse(Relay.text(module))
        #expect(firstDifference(module, back) == nil)
    }

    @Test func deepTuples() throws {
        let x = tensor([1])
        var e: RelayExpr = x
        for _ in 0..<150 { e = Relay.Tuple([e]) }
        for _ in 0..<150 { e = try Relay.TupleGetItem(e, 0) }
        try roundTrip(IRModule(Relay.Function([x], e)))
    }

    @Test func longChain() throws { try roundTrip(IRModule(try chain(10_000))) }

    @Test(arguments: 0..<20)
    func randomGraphs(seed: Int) throws {
        try roundTrip(IRModule(try randomFunction(UInt64(seed), size: 60)))
    }
}

/// A graph of random operators with sharing, branches, bindings and local functions.
func randomFunction(_ seed: UInt64, size: Int) throws -> Relay.Function {
    var r = Random(seed &+ 77)
    let x = tensor([4, 4], name: "x")
    let y = tensor([4, 4], name: "x")
    let c = tensor([], .bool, name: "c")
    func build(_ pool: [RelayExpr], _ steps: Int, _ depth: Int) throws -> RelayExpr {
        var pool = pool
        var bindings: [(Relay.Var, RelayExpr)] = []
        for _ in 0..<steps {
            let a = pool[r.int(max(0, pool.count - 8)...(pool.count - 1))]
            let b = pool[r.int(0...(pool.count - 1))]
            switch r.int(0...11) {
            case 0 where depth < 3:
                pool.append(
                    try Relay.If.checked(c, try build(pool, 4, depth + 1), try build(pool, 4, depth + 1)))
            case 1 where depth < 3:
                let p = tensor([4, 4], name: "p")
                let f = Relay.Function([p], try build([p, a], 4, depth + 1), Attrs(["primitive": true]))
                pool.append(try Relay.Call(f, [b]))
            case 2:
                let t = Relay.Tuple([a, b])
                pool.append(try Relay.TupleGetItem(t, r.int(0...1)))
            case 3 where depth == 0:
                let v = Relay.Var("v", a.checkedType)
                bindings.append((v, a))
                pool.append(v)
            case 4: pool.append(Relay.Constant(NDArray.random(shape: [4, 4], seed: UInt64(r.int(0...3)))))
            case 5: pool.append(try Relay.call("transpose", [a], ["axes": .ints([1, 0])]))
            case 6: pool.append(try Relay.call("nn.softmax", [a], ["axis": .int(r.int(-2...1))]))
            case 7: pool.append(try Relay.call("clip", [a], ["a_min": 0.1, "a_max": .float(.infinity)]))
            case 8:
                let s = try Relay.call("split", [a], ["indices_or_sections": .ints([1]), "axis": 0])
                let fields = [try Relay.TupleGetItem(s, 1), try Relay.TupleGetItem(s, 0)]
                pool.append(try Relay.call("concatenate", [Relay.Tuple(fields)], ["axis": 0]))
            default: pool.append(try Relay.call(["add", "multiply", "maximum"][r.int(0...2)], [a, b]))
            }
        }
        var result = pool[pool.count - 1]
        for (v, value) in bindings.reversed() { result = Relay.Let(v, value, result) }
        return result
    }
    // Bindings are outermost, so what they bind must be in scope: values may use earlier variables only.
    return Relay.Function([x, y, c], try build([x, y], size, 0))
}

/// Text and the code of the error that it must end in.
private let badTexts: [(String, String)] = [
    ("def", "RELAY031"), ("def @", "RELAY030"), ("x", "RELAY031"), ("def @f(%x) {}", "RELAY031"),
    ("def @f() { }", "RELAY031"), ("def @f() { 1 ", "RELAY031"),
    ("def @f() { 1 } def @f() { 1 }", "RELAY033"),
    ("def @f() { %0 }", "RELAY032"), ("def @f() { %x }", "RELAY032"), ("def @f() { @g() }", "RELAY032"),
    ("def @f() { %0 = 1; %0 = 2; %0 }", "RELAY033"), ("def @f(%x: float32, %x: float32) { %x }", "RELAY033"),
    ("def @f() -> float32 { 1 }", "RELAY034"), ("def @f() { let %v: float32 = 1; %v }", "RELAY034"),
    ("def @f() { meta[relay.Constant][0] }", "RELAY035"), ("def @f() { meta[Foo][0] }", "RELAY035"),
    ("def @f() { $ }", "RELAY030"), ("def @f() { \"abc }", "RELAY030"), ("/* x", "RELAY030"),
    ("def @f() { 99999999999999999999 }", "RELAY030"), ("def @f() { 300i8 }", "RELAY019"),
    ("def @f() { 1.5i32 }", "RELAY030"), ("def @f() { 3000000000 }", "RELAY019"),
    ("def @f() { 1x }", "RELAY030"),
    ("def @f(%x: float32) { nn.relux(%x) }", "IR007"), ("def @f(%x: int8) { exp(%x) }", "RELAY003"),
    ("def @f(%x: float32) { nn.relu(%x, %x) }", "RELAY001"),
    ("def @f(%x: float32) { nn.softmax(axis=1, %x) }", "RELAY031"),
    ("def @f(%x: float32) { nn.softmax(%x, axis=1, axis=1) }", "RELAY033"),
    ("def @f(%x: float32) { nn.softmax(%x, axis=[1, \"a\"]) }", "RELAY031"),
    ("def @f(%x: float32) { nn.softmax(%x, axis=foo) }", "RELAY031"),
    ("def @f(%x: Tensor[(2,), floaty]) { %x }", "RELAY031"),
    ("def @f(%x: Tensor[(-2,), int8]) { %x }", "RELAY009"),
    ("def @f(%x: Tensor[(9999999999999, 9999999999999), int8]) { %x }", "RELAY009"),
    ("def @f(%x: Tensor[((n / 2),), int8]) { %x }", "RELAY030"),
    ("def @f(%x: Tensor[(foo(n, 2),), int8]) { %x }", "RELAY031"),
    ("def @f(%x: float32) { %x.0 }", "RELAY010"), ("def @f(%x: float32) { (%x, %x).2 }", "RELAY011"),
    ("def @f(%x: float32) { %x(%x) }", "RELAY017"),
    ("def @f(%x: float32) { if (%x) { 1 } else { 2 } }", "RELAY013"),
    ("def @f(%x: bool) { if (%x) { 1 } else { 2f } }", "RELAY014"),
    ("def @f(%x: bool) { if (%x) { 1 } }", "RELAY031"),
    ("def @f() { ref_read(1) }", "RELAY015"), ("def @f() { { %0 = 1; %0 }; %0 }", "RELAY031"),
    ("def @f() { %1 = { %0 = 1; %0 }; %0 }", "RELAY032"), ("def @f() { let }", "RELAY031"),
    ("def @f() { (let %x = 1; %x) }", "RELAY031"), ("#[version]", "RELAY031"), ("#[foo]", "RELAY031"),
    ("#x", "RELAY030"), ("#[metadata", "RELAY030"), ("#[metadata]\n{", "JSON001"),
    ("#[metadata]\n{}", "NODE003"),
    ("def @f = 3", "RELAY031"), ("def @f() { 1 } }", "RELAY031"), ("def @f() { 1f32 }", "RELAY030"),
]

@Suite struct Parsing {
    @Test(arguments: 0..<badTexts.count)
    func errors(i: Int) throws {
        let (text, wanted) = badTexts[i]
        let e = failure { _ = try Relay.parse(text, name: "t.relay") }
        #expect(e?.code == wanted, "\(text): \(e.map { "\($0)" } ?? "parsed")")
        if wanted.hasPrefix("RELAY03") { #expect(e?.context.first?.hasPrefix("t.relay:") == true) }
    }

    @Test func place() throws {
        let e = failure {
            _ = try Relay.parse(
                "def @main(%x: Tensor[(2, 3), float32]) {\n  %0 = exp(%x);\n  nn.dense(%0, %0, units=4)\n}",
                name: "m")
        }
        #expect(
            e?.code == "RELAY005" && e?.context == ["m:3:3", "operator: nn.dense", "operand: weight"]
                || e?.context.first == "m:3:3")
        #expect(e?.notes == ["  nn.dense(%0, %0, units=4)", "  ^"])
        let f = try Relay.parseFunction("fn (%x: float32) {\n  exp(%x) }", name: "m")
        #expect(f.body.span == Span(source: "m", line: 2, column: 3))
    }

    @Test func expressions() throws {
        let x = tensor([2, 3])
        let e = try Relay.parseExpr("transpose(%x, axes=[1, -2])", variables: [x])
        #expect(shape(e) == [3, 2] && Relay.freeVars(e) == [x])
        #expect(shape(try Relay.parseExpr("((%x, 1f).0, %x).1", variables: [x])) == [2, 3])
        #expect(shape(try Relay.parseExpr("(((%x, 1), 2), 3).0.0.0", variables: [x])) == [2, 3])
        #expect(code { _ = try Relay.parseFunction("1") } == "RELAY031")
        #expect(code { _ = try Relay.parseExpr("1 2") } == "RELAY031")
    }

    @Test func nestingIsBounded() throws {
        for (open, close) in [("(", ")"), ("{", "}"), ("exp(", ")"), ("fn () { ", "}")] {
            let text =
                String(repeating: open, count: 100_000) + "1f" + String(repeating: close, count: 100_000)
            #expect(code { _ = try Relay.parseExpr(text) } == "RELAY036")
        }
        let types = String(repeating: "(", count: 100_000)
        #expect(code { _ = try Relay.parse("def @f(%x: \(types)") } == "RELAY036")
        #expect(code { _ = try Relay.parse("def @f(%x: Tensor[(\(types)") } == "RELAY036")
        #expect(
            code { _ = try Relay.parse("def @f(%x: float32, a=\(String(repeating: "[", count: 100_000))") }
                == "RELAY036")
    }

    @Test func exponentialTypes() throws {
        var text = "def @f(%x: float32) {\n%0 = (%x, %x);\n"
        for i in 1..<64 { text += "%\(i) = (%\(i - 1), %\(i - 1));\n" }
        #expect(code { _ = try Relay.parse(text + "exp(%63) }") } == "RELAY009")
    }

    /// Mutants of printed programs end in a module or an error; never in a trap, a hang or a huge allocation.
    @Test(arguments: 0..<6)
    func mutants(seed: Int) throws {
        var r = Random(UInt64(seed) + 4000)
        let small = Relay.text(IRModule(try everyKind()))
        let graph = Relay.text(IRModule(try randomFunction(UInt64(seed), size: 12)))
        let n = ApusTIR.Var("n")
        let x = symbolic([n, IntImm(3)])
        let symbols = Relay.text(IRModule(Relay.Function([x], try Relay.call("sum", [x], ["axis": 1]))))
        let bases = [Array(small.utf8), Array(graph.utf8), Array(symbols.utf8)]
        let words = [
            "(", ")", "{", "}", "[", "]", ",", ";", "=", "%0", "%x", "@main", "-1", "99999999999",
            "9223372036854775807",
            "let %v = ", "if (", "fn (", "meta[relay.Constant][0]", "Tensor[(", "float32", "axis=",
            "nn.conv2d(", "1f",
            "\"", "/*", "#[metadata]", ".0", "->", "ref(", "None", "True", "\u{0}", "é",
        ].map { Array($0.utf8) }
        var parsed = 0
        for _ in 0..<400 {
            var bytes = bases[r.int(0...2)]
            for _ in 0..<r.int(1...3) where !bytes.isEmpty {
                let at = r.int(0...(bytes.count - 1))
                switch r.int(0...5) {
                case 0: bytes[at] = UInt8(r.int(0...255))
                case 1: bytes.remove(at: at)
                case 2: bytes.insert(contentsOf: words[r.int(0...(words.count - 1))], at: at)
                case 3: bytes.removeSubrange(at..<min(bytes.count, at + r.int(1...20)))
                case 4: bytes = Array(bytes[..<at])
                default:
                    // Digits become other digits: the likeliest way to a valid but odd program.
                    let digits = bytes.indices.filter { bytes[$0] >= 48 && bytes[$0] <= 57 }
                    if let d = digits.randomElement(using: &r) { bytes[d] = UInt8(r.int(48...57)) }
                }
            }
            do {
                let module = try Relay.parse(String(decoding: bytes, as: UTF8.self))
                parsed += 1
                // What parses prints and parses again.
                let text = Relay.text(module)
                #expect(
                    firstDifference(module, try Relay.parse(text), mapFreeVariables: true) == nil, "\(text)")
            } catch let e as ApusError {
                #expect(!e.code.isEmpty)
            }
        }
        #expect(parsed > 10)
    }
}
