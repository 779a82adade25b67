import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import Testing

private func code(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "none"
    } catch let e as ApusError {
        return e.code
    } catch {
        return "other"
    }
}

private func attrs(_ entries: (String, AttrValue)...) -> Attrs {
    Attrs(entries.map { (key: $0.0, value: $0.1) })
}

/// A function without a body.
private final class Stub: BaseFunc, @unchecked Sendable {
    let mark: Int
    init(_ mark: Int, attrs: Attrs = .empty) {
        self.mark = mark
        super.init(checkedType: IncompleteType(), attrs: attrs)
    }
    override func with(attrs: Attrs) -> BaseFunc { Stub(mark, attrs: attrs) }
    override class var schema: NodeSchema { stubSchema }
}

private let stubSchema = NodeSchema(
    "test.Stub", Stub.self, [.field("mark", \.mark), .field("attrs", \.attrs)],
    make: {
        let mark: Int = try $0.next()
        return Stub(mark, attrs: try $0.next())
    })

@Suite struct AttrsTests {
    let schema = AttrsSchema([
        AttrField("axis", .int, default: 1, in: -4...4),
        AttrField("mode", .string, default: "a", oneOf: ["a", "b"]),
        AttrField("size", .ints, in: 0...9), AttrField("scale", .float, default: AttrValue.none),
        AttrField("type", .dtype, default: .dtype(.float32)), AttrField("keep", .bool, default: false),
    ])

    @Test func completesInSchemaOrder() throws {
        let a = try schema.complete(attrs(("size", .ints([1, 2])), ("axis", -1)), op: "op")
        #expect(a.entries.map(\.key) == ["axis", "mode", "size", "scale", "type", "keep"])
        #expect(
            a.int("axis") == -1 && a.string("mode") == "a" && a.ints("size") == [1, 2]
                && a.float("scale") == nil)
    }

    @Test func convertsWhereNothingIsLost() throws {
        let a = try schema.complete(
            attrs(("size", .list([])), ("scale", 2), ("type", "int8"), ("keep", 1)), op: "op")
        #expect(
            a.ints("size") == [] && a["scale"] == .float(2) && a.dtype("type") == .int8
                && a["keep"] == .bool(true))
    }

    @Test func refusals() {
        func verdict(_ a: Attrs) -> String { code { _ = try schema.complete(a, op: "op") } }
        #expect(verdict(attrs()) == "IR006")
        #expect(verdict(attrs(("size", .ints([])), ("other", 1))) == "IR005")
        #expect(verdict(attrs(("size", .ints([10])))) == "IR004")
        #expect(verdict(attrs(("size", .ints([])), ("axis", 5))) == "IR004")
        #expect(verdict(attrs(("size", .ints([])), ("mode", "c"))) == "IR004")
        #expect(verdict(attrs(("size", .ints([])), ("type", "float33x"))) == "IR004")
        #expect(verdict(attrs(("size", "x"))) == "IR004")
        #expect(verdict(attrs(("size", .ints([])), ("axis", .none))) == "IR004")
    }

    @Test func settingAndRemoving() {
        let a = attrs(("a", 1), ("b", 2)).setting("a", 3).setting("c", 4).removing("b")
        #expect(a.description == "a=3, c=4")
        #expect(Attrs.empty.isEmpty && !a.isEmpty)
    }

    @Test func textForms() {
        let all: [(AttrValue, String)] = [
            (.none, "None"), (1, "1"), (1.5, "1.5f"), (true, "True"), ("a\"", "\"a\\\"\""),
            (.dtype(.int8), "\"int8\""),
            (.ints([1, 2]), "[1, 2]"), (.floats([1]), "[1.0f]"), (.strings(["x"]), "[\"x\"]"),
            (.list([1, "a"]), "[1, \"a\"]"),
        ]
        for (v, text) in all { #expect("\(v)" == text) }
    }

    @Test func everyValueTravelsThroughJSON() throws {
        IRNodes.registerAll()
        let a = attrs(
            ("none", .none), ("int", 1), ("float", 1.0), ("bool", true), ("string", "s"),
            ("dtype", .dtype(.bfloat16)),
            ("ints", .ints([])), ("floats", .floats([.nan])), ("strings", .strings([])),
            ("node", .node(IntImm(3))),
            ("list", .list([1, .list([]), 2.5])))
        let back = try #require(try loadJSON(saveJSON(a)) as? Attrs)
        for (x, y) in zip(a.entries, back.entries) { #expect(x.key == y.key && x.value == y.value) }
        #expect(structuralHash(a) == structuralHash(back))
    }
}

@Suite struct OpTests {
    @Test func oneInstanceAName() throws {
        let a = Op.register("test.add", doc: "first", args: ["x", "y"])
        let b = Op.register("test.add", doc: "second")
        #expect(a === b && a.doc == "first" && a.arity == 2...2)
        #expect(try Op.get("test.add") === a)
        #expect(code { _ = try Op.get("test.none") } == "IR007")
    }

    @Test func typedAttributes() {
        let key = OpAttrKey<Int>("test.level")
        let op = Op.register("test.attr").setting(key, 3)
        #expect(op[key] == 3)
        #expect(op[OpAttrKey<String>("test.level")] == nil)
        #expect(op[OpAttrKey<Int>("test.other")] == nil)
        op.setting(key, 4)
        #expect(op[key] == 4)
    }

    @Test func listIsSorted() {
        for n in ["test.z", "test.b", "test.m"] { Op.register(n) }
        let names = Op.all.map(\.name)
        #expect(names == names.sorted())
    }

    @Test func jsonGivesTheRegisteredOperator() throws {
        IRNodes.registerAll()
        let op = Op.register("test.json")
        #expect(try loadJSON(saveJSON(op)) === op)
    }
}

@Suite struct ModuleTests {
    let m = IRModule([
        (global: GlobalVar("a"), function: Stub(1) as BaseFunc),
        (global: GlobalVar("b"), function: Stub(2) as BaseFunc),
    ])

    @Test func lookUp() throws {
        #expect((m["a"] as? Stub)?.mark == 1 && m["c"] == nil && m.global("b")?.name == "b")
        #expect(code { _ = try m.function("c") } == "IR008")
    }

    @Test func laterDefinitionsReplaceInPlace() {
        let n = m.updating("a", Stub(9)).updating("c", Stub(3))
        #expect(n.globals.map(\.name) == ["a", "b", "c"])
        #expect((n["a"] as? Stub)?.mark == 9)
        #expect((m["a"] as? Stub)?.mark == 1)
        #expect(n.removing(["b"]).globals.map(\.name) == ["a", "c"])
    }

    @Test func mapping() {
        let n = m.mapFunctions { global, f in global.name == "a" ? nil : f.with(attrs: attrs(("k", 1))) }
        #expect(n.globals.map(\.name) == ["b"] && (n["b"])?.attrs.int("k") == 1)
    }

    @Test func json() throws {
        IRNodes.registerAll()
        NodeRegistry.register([Stub.schema])
        let back = try loadJSON(saveJSON(m.with(attrs: attrs(("x", 1)))))
        #expect(structuralEqual(back, m.with(attrs: attrs(("x", 1)))))
        #expect(firstDifference(m, m.updating("b", Stub(5)))?.path == ".functions[1].mark")
    }
}

@Suite struct ConstantTests {
    @Test(
        arguments: [
            (0.1, DataType.float16, 0.0999755859375), (65520, .float16, .infinity), (65519, .float16, 65504),
            (1e-8, .float16, 0),
            (6e-8, .float16, 0x1p-24), (1.00390625, .bfloat16, 1.0), (1.01171875, .bfloat16, 1.015625),
            (3.4e38, .bfloat16, .infinity),
            (-3.38e38, .bfloat16, -254 * 0x1p120), (0.1, .float32, Double(Float(0.1))),
            (0.1, .float64, 0.1),
            // Rounding through float would land on the tie and then go the wrong way.
            (1.00390625 + 0x1p-40, .bfloat16, 1.0078125),
        ])
    func rounding(_ v: Double, _ d: DataType, _ expected: Double) {
        #expect(FloatImm(v, dtype: d).value == expected)
    }

    @Test func halfAgreesWithTheProcessor() {
        var state: UInt64 = 7
        for _ in 0..<20_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let v = Double(Float(bitPattern: UInt32(state >> 32)))
            if v.isNaN { continue }
            let x = v.magnitude > 1e6 ? v.remainder(dividingBy: 70000) : v
            #expect(FloatImm.rounded(x, .float16) == Double(Float16(x)))
        }
    }

    @Test func integersMustFit() {
        #expect(IntImm.fits(255, .uint8) && !IntImm.fits(256, .uint8) && !IntImm.fits(-1, .uint8))
        #expect(IntImm.fits(.min, .int64) && IntImm.fits(1, .bool) && !IntImm.fits(2, .bool))
        #expect(code { _ = try IntImm.checked(128, dtype: .int8) } == "IR001")
        #expect(code { _ = try IntImm.checked(1, dtype: .float32) } == "IR001")
    }

    @Test func textOfTypes() {
        #expect("\(TensorType([2], .float32))" == "Tensor[(2,), float32]")
        #expect("\(FuncType([PrimType(.int8)], TupleType([])))" == "fn (int8) -> ()")
        #expect(TensorType([2, 3], .int8).staticShape == [2, 3])
    }
}

/// Records what passes do.
private final class Recorder: PassInstrument, @unchecked Sendable {
    let events = Locked<[String]>([])
    let skip: Set<String>
    init(skip: Set<String> = []) { self.skip = skip }
    func shouldRun(_ module: IRModule, _ info: PassInfo) -> Bool { !skip.contains(info.name) }
    func before(_ module: IRModule, _ info: PassInfo) { events.with { $0.append("<\(info.name)") } }
    func after(_ module: IRModule, _ info: PassInfo) { events.with { $0.append("\(info.name)>") } }
    var log: String { events.with { $0.joined(separator: " ") } }
}

@Suite struct PassTests {
    private func pass(_ name: String, level: Int = 0, requires: [String] = []) -> ModulePass {
        ModulePass(PassInfo(name, "test", level: level, requires: requires)) { m, _ in
            m.updating(name, Stub(0))
        }
    }

    @Test func sequenceRunsInOrder() throws {
        let r = Recorder()
        let m = try Sequential("S", [pass("a"), pass("b")]).run(IRModule(), PassContext(instruments: [r]))
        #expect(m.globals.map(\.name) == ["a", "b"])
        #expect(r.log == "<S <a a> <b b> S>")
    }

    @Test func levelsAndLists() throws {
        let s = Sequential("S", [pass("a", level: 1), pass("b", level: 3), pass("c")])
        func names(_ c: PassContext) throws -> [String] { try s.run(IRModule(), c).globals.map(\.name) }
        #expect(try names(PassContext(optLevel: 2)) == ["a", "c"])
        #expect(try names(PassContext(optLevel: 0, requiredPasses: ["b"])) == ["b", "c"])
        #expect(try names(PassContext(disabledPasses: ["c"])) == ["a", "b"])
    }

    @Test func requiredPassesRunFirst() throws {
        let s = Sequential("S", [pass("b", requires: ["a"]), pass("a", level: 9)])
        #expect(try s.run(IRModule()).globals.map(\.name) == ["a", "b"])
        let missing = Sequential("S", [pass("b", requires: ["zzz"])])
        #expect(code { _ = try missing.run(IRModule()) } == "IR010")
    }

    @Test func instrumentsMaySkip() throws {
        let r = Recorder(skip: ["a"])
        let m = try Sequential("S", [pass("a"), pass("b")]).run(IRModule(), PassContext(instruments: [r]))
        #expect(m.globals.map(\.name) == ["b"])
        #expect(r.log == "<S <b b> S>")
    }

    @Test func errorsNameThePass() {
        let bad = ModulePass(PassInfo("Bad", "test")) { _, _ in throw ApusError("X1", "no") }
        do {
            _ = try Sequential("S", [bad]).run(IRModule())
            Issue.record("no error")
        } catch let e as ApusError {
            #expect(e.context == ["pass: S", "pass: Bad"])
        } catch { Issue.record("\(error)") }
    }

    @Test func verifierRunsAfterEachPass() {
        let context = PassContext(verify: { m in if m["b"] != nil { throw ApusError("V1", "bad") } })
        #expect(code { _ = try Sequential("S", [pass("a")]).run(IRModule(), context) } == "none")
        #expect(code { _ = try Sequential("S", [pass("a"), pass("b")]).run(IRModule(), context) } == "V1")
    }

    @Test func functionPassesTouchTheirKindOnly() throws {
        let p = FunctionPass<Stub>(PassInfo("P", "test")) { f, _, c in
            Stub(f.mark + c.int("step", default: 1))
        }
        let m = IRModule(Stub(1))
        #expect((try p.run(m)["main"] as? Stub)?.mark == 2)
        #expect((try p.run(m, PassContext(config: ["step": 5]))["main"] as? Stub)?.mark == 6)
    }

    @Test func timesAndPrinting() throws {
        let times = PassTimes()
        let printed = Locked<[String]>([])
        let show = PrintAfterPasses(["b"]) { s in printed.with { $0.append(s) } }
        _ = try Sequential("S", [pass("a"), pass("b")]).run(
            IRModule(), PassContext(instruments: [times, show]))
        #expect(times.times.map(\.name) == ["a", "b", "S"])
        #expect(times.times.allSatisfy { $0.seconds >= 0 })
        #expect(printed.with { $0.count } == 1)
        #expect(printed.with { $0.first?.hasPrefix("// after b\n") } == true)
    }
}

@Suite struct DiagnosticTests {
    @Test func collectsThenThrowsOnce() throws {
        var d = DiagnosticCollector()
        d.emit(Diagnostic(.warning, "W1", "careful"))
        try d.throwIfErrors("X1", "failed")
        d.emit(Diagnostic(.error, "E1", "bad", span: Span(source: "f", line: 2, column: 3)))
        d.emit(Diagnostic(.note, "N1", "see"))
        do {
            try d.throwIfErrors("X1", "failed")
            Issue.record("no error")
        } catch let e as ApusError {
            #expect(e.code == "X1")
            #expect(e.notes == ["warning[W1]: careful", "f:2:3: error[E1]: bad", "note[N1]: see"])
        }
    }

    @Test func excerpts() {
        let t = SourceText(name: "f", text: "abc\ndef")
        #expect(t.excerpt(Span(source: "f", line: 2, column: 3)) == "def\n  ^")
        #expect(t.excerpt(Span(source: "f", line: 9, column: 1)) == "")
        #expect(t.excerpt(Span(source: "f", line: 1, column: 99)) == "abc\n   ^")
        #expect("\(Span(source: "f"))" == "f")
    }
}
