import ApusNode
import ApusRuntime
import ApusSupport
import Testing

@Suite struct StructuralEqualTests {
    @Test func contentDecides() {
        #expect(structuralEqual(Pair(Leaf(1), Leaf(2)), Pair(Leaf(1), Leaf(2))))
        #expect(!structuralEqual(Pair(Leaf(1), Leaf(2)), Pair(Leaf(1), Leaf(3))))
        #expect(!structuralEqual(Leaf(1), Pair(Leaf(1), Leaf(1))))
    }

    @Test func ignoredFieldsDoNotCount() { #expect(structuralEqual(Leaf(1, note: "a"), Leaf(1, note: "b"))) }

    @Test func differenceNamesThePath() {
        let d = firstDifference(Pair(Leaf(0), Pair(Leaf(1), Leaf(2))), Pair(Leaf(0), Pair(Leaf(1), Leaf(9))))
        #expect(d?.path == ".right.right.value")
        #expect(d?.lhs == "2")
        #expect(d?.rhs == "9")
        #expect(d?.description == "at <root>.right.right.value: 2 is not 9")
    }

    @Test func differenceIsTheFirstInFieldOrder() {
        let d = firstDifference(Pair(Leaf(1), Leaf(1)), Pair(Leaf(2), Leaf(2)))
        #expect(d?.path == ".left.value")
    }

    @Test func differenceInsideArraysAndMaps() {
        let d = firstDifference(Everything(ints: [1, 2, 3]), Everything(ints: [1, 5, 3]))
        #expect(d?.path == ".ints[1]")
        let m = firstDifference(
            Everything(map: .map([(key: "k", value: .int(1))])),
            Everything(map: .map([(key: "k", value: .int(2))])))
        #expect(m?.path == ".map[\"k\"]")
        let missing = firstDifference(
            Everything(map: .map([(key: "k", value: .int(1))])),
            Everything(map: .map([(key: "l", value: .int(1))])))
        #expect(missing?.lhs == "key \"k\"")
    }

    @Test func mapsAreEqualInAnyOrder() {
        let a = Everything(map: .map([(key: "a", value: .int(1)), (key: "b", value: .int(2))]))
        let b = Everything(map: .map([(key: "b", value: .int(2)), (key: "a", value: .int(1))]))
        #expect(structuralEqual(a, b))
        #expect(structuralHash(a) == structuralHash(b))
    }

    @Test func floatsByBits() {
        #expect(structuralEqual(Everything(double: .nan), Everything(double: .nan)))
        #expect(!structuralEqual(Everything(double: 0.0), Everything(double: -0.0)))
    }

    @Test func boundVariablesArePaired() {
        let x = Name("x")
        let y = Name("y")
        #expect(structuralEqual(Bind(x, Pair(x, x)), Bind(y, Pair(y, y))))
        #expect(!structuralEqual(Bind(x, Pair(x, x)), Bind(y, Pair(y, x))))
    }

    @Test func pairingIsOneToOne() {
        let (x, y, z) = (Name("x"), Name("y"), Name("z"))
        // \x.\y.(x y) against \z.\z'.(z z): x and y must not both become z.
        #expect(!structuralEqual(Bind(x, Bind(y, Pair(x, y))), Bind(z, Bind(Name("w"), Pair(z, z)))))
        #expect(!structuralEqual(Bind(z, Bind(Name("w"), Pair(z, z))), Bind(x, Bind(y, Pair(x, y)))))
    }

    @Test func freeVariables() {
        let x = Name("x")
        let y = Name("y")
        #expect(structuralEqual(Pair(x, x), Pair(x, x)))
        #expect(!structuralEqual(Pair(x, x), Pair(y, y)))
        #expect(structuralEqual(Pair(x, x), Pair(y, y), mapFreeVariables: true))
        #expect(!structuralEqual(Pair(x, x), Pair(x, y), mapFreeVariables: true))
    }

    @Test func sharingInGraphsMatters() {
        let v = Vertex([Leaf(1)])
        #expect(!structuralEqual(Pair(v, v), Pair(Vertex([Leaf(1)]), Vertex([Leaf(1)]))))
        let w = Vertex([Leaf(1)])
        #expect(structuralEqual(Pair(v, v), Pair(w, w)))
        let l = Leaf(1)
        #expect(structuralEqual(Pair(l, l), Pair(Leaf(1), Leaf(1))))
    }

    @Test func viewsFollowTheirBase() {
        let x = Name("x")
        let y = Name("y")
        #expect(structuralEqual(Bind(x, View(x, 3)), Bind(y, View(y, 3))))
        #expect(!structuralEqual(Bind(x, View(x, 3)), Bind(y, View(y, 4))))
        #expect(!structuralEqual(Bind(x, View(x, 3)), Bind(y, View(Name("z"), 3))))
    }

    @Test func deepChainsCompare() {
        #expect(structuralEqual(chain(200_000), chain(200_000)))
        #expect(firstDifference(chain(50_000), chain(50_001)) != nil)
    }

    @Test func sharedStructureIsComparedOnce() {
        // 2^60 paths, 60 nodes.
        func tower() -> Node {
            var n: Node = Leaf(1)
            for _ in 0..<60 { n = Pair(n, n) }
            return n
        }
        #expect(structuralEqual(tower(), tower()))
        #expect(structuralHash(tower()) == structuralHash(tower()))
    }
}

@Suite struct StructuralHashTests {
    @Test func equalStructuresHashAlike() {
        let x = Name("x")
        let y = Name("y")
        #expect(structuralHash(Bind(x, Pair(x, Leaf(1)))) == structuralHash(Bind(y, Pair(y, Leaf(1)))))
        #expect(structuralHash(Leaf(1, note: "a")) == structuralHash(Leaf(1, note: "b")))
    }

    @Test func unlikeStructuresHashApart() {
        var seen: Set<UInt64> = []
        for i in 0..<1000 { seen.insert(structuralHash(Pair(Leaf(i), Leaf(i + 1)))) }
        #expect(seen.count == 1000)
        let (x, y) = (Name("x"), Name("y"))
        #expect(structuralHash(Bind(x, Bind(y, Pair(x, y)))) != structuralHash(Bind(x, Bind(y, Pair(y, x)))))
    }

    /// The same in every process and on every machine: written down once.
    @Test func valuesAreStable() {
        #expect(structuralHash(Leaf(42)) == StableValues.leaf42)
        #expect(structuralHash(Pair(Leaf(1), Leaf(2))) == StableValues.pair12)
    }

    @Test func deepChainsHash() { #expect(structuralHash(chain(300_000)) == structuralHash(chain(300_000))) }
}

@Suite struct DestructionTests {
    @Test func aMillionNestedNodesGoAway() {
        weak var witness: Node?
        do {
            let n = chain(1_000_000)
            witness = n
            #expect(witness != nil)
        }
        #expect(witness == nil)
    }

    @Test func sharedPartsSurvive() {
        let shared = chain(10)
        do { _ = Pair(Pair(shared, Leaf(1)), shared) }
        #expect(structuralEqual(shared, chain(10)))
    }
}

@Suite struct JSONTests {
    init() { registerSamples() }

    func roundTrip(_ n: Node) throws -> Node { try loadJSON(saveJSON(n)) }

    @Test func everyFieldTypeComesBack() throws {
        let n = Everything(node: Leaf(7, note: "kept"))
        let back = try roundTrip(n)
        #expect(firstDifference(n, back)?.description == nil)
        #expect(((back as? Everything)?.node as? Leaf)?.note == "kept")
        #expect(saveJSON(back) == saveJSON(n))
    }

    @Test(arguments: [0.1, -0.0, 1e308, 5e-324, Double.infinity, -.infinity, .nan, 1.0 / 3])
    func doublesComeBackExactly(_ v: Double) throws {
        let back = try roundTrip(Everything(double: v)) as? Everything
        #expect(back?.double.bitPattern == v.bitPattern)
    }

    @Test func sharingIsKept() throws {
        let v = Vertex([Leaf(1)])
        let back = try #require(try roundTrip(Pair(v, v)) as? Pair)
        #expect(back.left === back.right)
    }

    @Test func variablesKeepTheirIdentity() throws {
        let x = Name("x")
        let back = try roundTrip(Bind(x, Pair(x, x)))
        #expect(structuralEqual(back, Bind(x, Pair(x, x))))
    }

    @Test func deepChainsAreWritten() throws {
        let n = chain(20_000)
        #expect(structuralEqual(try roundTrip(n), n))
    }

    @Test(
        arguments: [
            ("", "JSON001"), ("{", "JSON001"), ("[1,2", "JSON001"), ("{}", "NODE003"), ("[]", "NODE003"),
            (#"{"apus_json":2,"root":0,"nodes":[]}"#, "NODE003"),
            (#"{"apus_json":1,"root":0,"nodes":[]}"#, "NODE003"),
            (#"{"apus_json":1,"root":0,"nodes":[{"type":"no.such","fields":{}}]}"#, "NODE004"),
            (#"{"apus_json":1,"root":0,"nodes":[{"type":"test.Leaf","fields":{"value":1}}]}"#, "NODE002"),
            (
                #"{"apus_json":1,"root":0,"nodes":[{"type":"test.Leaf","fields":{"value":"1","note":""}}]}"#,
                "NODE001"
            ),
            (
                #"{"apus_json":1,"root":0,"nodes":[{"type":"test.Pair","fields":{"left":{"node":5},"right":null}}]}"#,
                "NODE005"
            ),
            (
                #"{"apus_json":1,"root":0,"nodes":[{"type":"test.Vertex","fields":{"inputs":[{"dtype":"float33x0"}]}}]}"#,
                "NODE005"
            ),
        ])
    func malformedTextsAreRefused(_ text: String, _ expected: String) {
        #expect(code { _ = try loadJSON(text) } == expected)
    }

    @Test func nestingIsBounded() {
        let text = String(repeating: "[", count: 100_000)
        #expect(code { _ = try JSON.parse(text) } == "JSON001")
    }

    @Test func mutatedTextsNeverStopTheProcess() {
        let text = Array(saveJSON(Everything(node: Pair(Leaf(1), Vertex([Leaf(2)])))).utf8)
        var state: UInt64 = 12345
        func random(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % n
        }
        for _ in 0..<2000 {
            var copy = text
            for _ in 0...random(3) {
                switch random(3) {
                case 0: copy[random(copy.count)] = UInt8(32 + random(95))
                case 1: copy.remove(at: random(copy.count))
                default: copy.insert(copy[random(copy.count)], at: random(copy.count))
                }
            }
            _ = try? loadJSON(String(decoding: copy, as: UTF8.self))
        }
    }

    @Test func escapesAndNumbers() throws {
        #expect(try JSON.parse(#""\u0041\n\ud83d\ude00""#).stringValue == "A\n😀")
        #expect(try JSON.parse("-9223372036854775808").intValue == .min)
        #expect(try JSON.parse("1e3").doubleValue == 1000)
        #expect(code { _ = try JSON.parse(#""\ud83d""#) } == "JSON001")
        #expect(code { _ = try JSON.parse("1 2") } == "JSON001")
    }
}

@Suite struct ReflectionTests {
    @Test func fieldsByName() {
        guard case .int(5)? = Leaf(5).field("value") else {
            Issue.record("no field value")
            return
        }
        #expect(Leaf(5).field("nothing") == nil)
    }

    @Test func buildFromFields() throws {
        let n = try Leaf.schema.build([.int(3), .string("n")])
        #expect((n as? Leaf)?.value == 3)
        #expect(code { _ = try Leaf.schema.build([.int(3)]) } == "NODE002")
        #expect(code { _ = try Leaf.schema.build([.bool(true), .string("")]) } == "NODE001")
    }

    @Test func registryIsSortedAndIdempotent() {
        registerSamples()
        registerSamples()
        let keys = NodeRegistry.all.map(\.key)
        #expect(keys == keys.sorted())
        #expect(Set(keys).count == keys.count)
        #expect(NodeRegistry.schema("test.Leaf")?.fields.count == 2)
    }
}

private func == (a: FieldValue?, b: FieldValue?) -> Bool {
    switch (a, b) {
    case (nil, nil): return true
    default: return false
    }
}
