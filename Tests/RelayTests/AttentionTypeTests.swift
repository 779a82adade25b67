import ApusIR
import ApusRelay
import ApusRuntime
import Testing

@Suite struct AttentionTypes {
    private func call(
        _ q: [Int], _ k: [Int], _ v: [Int], mask: [Int]? = nil,
        _ attrs: KeyValuePairs<String, AttrValue> = [:]
    ) throws -> [Int]? {
        shape(
            try Relay.call(
                "nn.attention",
                [tensor(q), tensor(k), tensor(v)] + [mask].compactMap { $0.map { tensor($0) } }, attrs))
    }

    @Test func shapes() throws {
        #expect(try call([5, 8], [7, 8], [7, 3]) == [5, 3])
        #expect(try call([2, 3, 5, 8], [2, 3, 7, 8], [2, 1, 7, 4], mask: [3, 1, 7]) == [2, 3, 5, 4])
        #expect(
            try call([2, 3, 5, 8], [1, 3, 7, 8], [2, 3, 7, 4], ["axes": .ints([0, 2, 1, 3])]) == [2, 5, 3, 4])
    }

    @Test func errors() {
        #expect(code { _ = try call([5, 8], [7, 9], [7, 3]) } == "RELAY005")
        #expect(code { _ = try call([5, 8], [7, 8], [6, 3]) } == "RELAY005")
        #expect(code { _ = try call([2, 5, 8], [3, 7, 8], [2, 7, 3]) } == "RELAY005")
        #expect(code { _ = try call([5, 8], [7, 8], [7, 3], mask: [5, 6]) } == "RELAY005")
        #expect(code { _ = try call([2, 5, 8], [7, 8], [7, 3]) } == "RELAY004")
        #expect(code { _ = try call([5, 8], [4, 8], [4, 3], ["causal": true]) } == "RELAY006")
        #expect(code { _ = try call([5, 8], [7, 8], [7, 3], ["axes": .ints([1, 0])]) } == "RELAY006")
        #expect(
            code { _ = try call([2, 5, 8], [2, 7, 8], [2, 7, 3], ["axes": .ints([0, 0, 2])]) } == "RELAY006")
        #expect(
            code {
                _ = try Relay.call(
                    "nn.attention", [tensor([5, 8]), tensor([7, 8], .float16), tensor([7, 8])])
            }
                == "RELAY003")
        #expect(
            code { _ = try Relay.call("nn.attention", [tensor([5, 8]), tensor([7, 8])]) } == "RELAY001")
    }

    @Test func views() throws {
        func view(_ of: [Int], _ s: [Int], _ strides: [Int], _ offset: Int = 0) throws -> [Int]? {
            shape(
                try Relay.call(
                    "nn.contrib_strided_view", [tensor(of)],
                    ["shape": .ints(s), "strides": .ints(strides), "offset": .int(offset)]))
        }
        #expect(try view([10, 48], [2, 10, 8], [8, 48, 1], 16) == [2, 10, 8])
        #expect(try view([4, 6], [6, 4], [1, 6]) == [6, 4])
        #expect(try view([4, 6], [3, 6], [0, 1], 18) == [3, 6])
        for (s, strides, offset) in [
            ([4, 7], [6, 1], 0), ([5, 6], [6, 1], 0), ([24], [1], 0), ([2], [1], 23), ([4], [6], 24),
            ([2, 2], [1], 0),
        ] {
            #expect(code { _ = try view([4, 6], s, strides, offset) } == "RELAY006")
        }
    }
}
