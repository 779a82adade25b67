import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusTIR
import Testing

@Suite struct ShapeTypes {
    @Test func reshape() throws {
        func new(_ s: [Int], _ n: [Int], zero: Bool = false) throws -> [Int]? {
            let y = try Relay.call("reshape", [tensor(s)], ["newshape": .ints(n), "allowzero": .bool(zero)])
            // The canonical attribute says the same and is stable.
            #expect(y.attrs.ints("newshape") == shape(y))
            #expect(shape(try Relay.call("reshape", [tensor(s)], attrs: y.attrs)) == shape(y))
            return shape(y)
        }
        #expect(try new([2, 3, 4], [6, 4]) == [6, 4])
        #expect(try new([2, 3, 4], [-1]) == [24])
        #expect(try new([2, 3, 4], [0, -1]) == [2, 12])
        #expect(try new([2, 3, 4], [0, 0, 2, -1]) == [2, 3, 2, 2])
        #expect(try new([], [1, -1]) == [1, 1])
        #expect(try new([1], []) == [])
        #expect(try new([0, 3], [0, -1]) == [0, 3])
        #expect(try new([0, 3], [3, 0], zero: true) == [3, 0])
        #expect(try new([2, 0], [0, -1]) == [2, 0])
        #expect(try new([0, 6], [-1, 3]) == [0, 3])
        for (s, n) in [
            ([2, 3], [4]), ([2, 3], [-1, 4]), ([2, 3], [-1, -1]), ([2, 3], [-2]), ([2], [0, 0]),
            ([0, 3], [0, 0, 7, -1]),
        ] { #expect(code { _ = try new(s, n) } != nil, "\(s) \(n)") }
        #expect(code { _ = try new([2], [1 << 40, 1 << 40]) } == "RELAY009")
        #expect(code { _ = try new([2], [1 << 41]) } == "IR004")
        #expect(code { _ = try new([1], [Int](repeating: 1, count: 1000)) } == "RELAY006")
        #expect(code { _ = try new([0], [0, -1], zero: true) } == "RELAY006")
    }

    @Test func permutations() throws {
        var r = Random(6)
        for _ in 0..<40 {
            let s = r.shape(rank: r.int(0...5))
            let order = Array(s.indices).shuffled(using: &r)
            let given = order.map { r.int(0...1) == 1 ? $0 - s.count : $0 }
            let y = try Relay.call("transpose", [tensor(s)], ["axes": .ints(given)])
            #expect(shape(y) == order.map { s[$0] } && y.attrs.ints("axes") == order)
        }
        #expect(shape(try Relay.call("transpose", [tensor([2, 3, 4])])) == [4, 3, 2])
        for bad in [[0], [0, 0], [0, 2], [0, 1, 1]] {
            #expect(
                code { _ = try Relay.call("transpose", [tensor([2, 3])], ["axes": .ints(bad)]) } == "RELAY006"
            )
        }
    }

    @Test func unitAxes() throws {
        #expect(shape(try Relay.call("squeeze", [tensor([1, 2, 1])])) == [2])
        #expect(shape(try Relay.call("squeeze", [tensor([1, 2, 1])], ["axis": .ints([-1])])) == [1, 2])
        #expect(code { _ = try Relay.call("squeeze", [tensor([1, 2])], ["axis": .ints([1])]) } == "RELAY006")
        for (axis, want) in [
            (0, [1, 1, 2, 3]), (1, [2, 1, 1, 3]), (-1, [2, 3, 1, 1]), (-3, [1, 1, 2, 3]),
        ] {
            let y = try Relay.call("expand_dims", [tensor([2, 3])], ["axis": .int(axis), "num_newaxis": 2])
            #expect(shape(y) == want)
        }
        #expect(code { _ = try Relay.call("expand_dims", [tensor([2])], ["axis": 2]) } == "RELAY006")
        #expect(
            code { _ = try Relay.call("expand_dims", [tensor([2])], ["axis": 0, "num_newaxis": 64]) }
                == "RELAY009")
        #expect(
            code { _ = try Relay.call("expand_dims", [tensor([2])], ["axis": 0, "num_newaxis": .int(.max)]) }
                == "IR004")
        #expect(shape(try Relay.call("reverse", [tensor([2, 3])], ["axis": .ints([0, -1])])) == [2, 3])
        #expect(
            code { _ = try Relay.call("reverse", [tensor([2, 3])], ["axis": .ints([0, -2])]) } == "RELAY006")
    }

    @Test func repetitions() throws {
        #expect(
            shape(try Relay.call("broadcast_to", [tensor([3, 1])], ["shape": .ints([2, 3, 4])])) == [2, 3, 4])
        #expect(
            code { _ = try Relay.call("broadcast_to", [tensor([3])], ["shape": .ints([4])]) } == "RELAY005")
        #expect(
            code { _ = try Relay.call("broadcast_to", [tensor([3, 3])], ["shape": .ints([3])]) } == "RELAY006"
        )
        #expect(shape(try Relay.call("tile", [tensor([2, 3])], ["reps": .ints([2])])) == [2, 6])
        #expect(shape(try Relay.call("tile", [tensor([3])], ["reps": .ints([4, 1, 2])])) == [4, 1, 6])
        #expect(code { _ = try Relay.call("tile", [tensor([2])], ["reps": .ints([-1])]) } == "IR004")
        #expect(
            code { _ = try Relay.call("tile", [tensor([4, 4])], ["reps": .ints([1 << 35, 1 << 35])]) }
                == "RELAY009")
        #expect(shape(try Relay.call("repeat", [tensor([2, 3])], ["repeats": 3, "axis": -1])) == [2, 9])
        #expect(shape(try Relay.call("trilu", [tensor([2, 3])], ["k": -1])) == [2, 3])
        #expect(code { _ = try Relay.call("trilu", [tensor([3])]) } == "RELAY004")
    }

    @Test func pad() throws {
        var r = Random(7)
        for _ in 0..<60 {
            let s = r.shape(rank: r.int(0...4), 2...6)
            let p = (0..<2 * s.count).map { _ in r.int(-1...2) }
            let y = try Relay.call("nn.pad", [tensor(s), tensor([])], ["pad_width": .ints(p)])
            #expect(shape(y) == s.indices.map { s[$0] + p[2 * $0] + p[2 * $0 + 1] })
        }
        func pad(_ s: [Int], _ p: [Int], _ mode: String) -> String? {
            code {
                _ = try Relay.call(
                    "nn.pad", [tensor(s), tensor([])], ["pad_width": .ints(p), "pad_mode": .string(mode)])
            }
        }
        #expect(pad([3], [2, 2], "reflect") == nil)
        #expect(pad([3], [3, 0], "reflect") == "RELAY006")
        #expect(pad([0], [1, 0], "edge") == "RELAY006")
        #expect(pad([3], [-4, 0], "constant") == "RELAY006")
        #expect(pad([3], [1], "constant") == "RELAY006")
        #expect(pad([3], [1, 1], "mirror") == "IR004")
        #expect(
            code { _ = try Relay.call("nn.pad", [tensor([3]), tensor([1])], ["pad_width": .ints([1, 1])]) }
                == "RELAY004")
    }

    @Test func joins() throws {
        var r = Random(8)
        for _ in 0..<40 {
            let rank = r.int(1...4)
            let axis = r.int(0...(rank - 1))
            let base = r.shape(rank: rank)
            var total = 0
            var parts: [RelayExpr] = []
            var points: [Int] = []
            for _ in 0..<r.int(1...4) {
                var s = base
                s[axis] = r.int(0...4)
                total += s[axis]
                points.append(total)
                parts.append(tensor(s))
            }
            var want = base
            want[axis] = total
            let joined = try Relay.call("concatenate", [Relay.Tuple(parts)], ["axis": .int(axis - rank)])
            #expect(shape(joined) == want)
            // Splitting at the seams gives the parts back.
            let split = try Relay.call(
                "split", [joined], ["indices_or_sections": .ints(points.dropLast()), "axis": .int(axis)])
            #expect(shapes(split) == parts.map { shape($0) })
        }
        let a = tensor([2, 3])
        let pair = Relay.Tuple([a, tensor([2, 3])])
        for (axis, want) in [(0, [2, 2, 3]), (1, [2, 2, 3]), (2, [2, 3, 2]), (-1, [2, 3, 2])] {
            #expect(shape(try Relay.call("stack", [pair], ["axis": .int(axis)])) == want)
        }
        #expect(code { _ = try Relay.call("concatenate", [a], ["axis": 0]) } == "RELAY002")
        #expect(code { _ = try Relay.call("concatenate", [Relay.Tuple([])], ["axis": 0]) } == "RELAY002")
        #expect(
            code { _ = try Relay.call("concatenate", [Relay.Tuple([a, tensor([3])])], ["axis": 0]) }
                == "RELAY004")
        #expect(
            code { _ = try Relay.call("concatenate", [Relay.Tuple([a, tensor([2, 4])])], ["axis": 0]) }
                == "RELAY005")
        #expect(
            code { _ = try Relay.call("stack", [Relay.Tuple([a, tensor([2, 3], .int8)])], ["axis": 0]) }
                == "RELAY003")
        for bad in [[3], [2, 1], [-1]] {
            #expect(code { _ = try Relay.call("split", [a], ["indices_or_sections": .ints(bad)]) } != nil)
        }
    }
}

@Suite struct IndexingTypes {
    init() { Relay.registerAll() }

    @Test func stridedSlice() throws {
        var r = Random(9)
        for _ in 0..<400 {
            let n = r.int(0...7)
            let step = [-3, -2, -1, 1, 2, 3][r.int(0...5)]
            let begin = r.int(0...max(0, n - 1))
            let end = r.int(step > 0 ? 0...(n + 3) : -1...(n + 3))
            let y = try Relay.call(
                "strided_slice", [tensor([2, n])],
                ["begin": .ints([begin]), "end": .ints([end]), "strides": .ints([step]), "axes": .ints([-1])])
            var count = 0
            var i = begin
            while i >= 0 && i < n && (step > 0 ? i < end : i > end) {
                count += 1
                i += step
            }
            #expect(shape(y) == [2, count], "\(n) \(begin) \(end) \(step)")
            // What the kernel will read lies within the data.
            let b = y.attrs.ints("begin")?[0] ?? -9
            if count > 0 { #expect(b >= 0 && b + (count - 1) * step >= 0 && b + (count - 1) * step < n) }
            #expect(shape(try Relay.call("strided_slice", [tensor([2, n])], attrs: y.attrs)) == shape(y))
        }
        let x = tensor([10])
        func slice(_ b: Int, _ e: Int, _ s: Int = 1) throws -> [Int]? {
            shape(
                try Relay.call(
                    "strided_slice", [x], ["begin": .ints([b]), "end": .ints([e]), "strides": .ints([s])]))
        }
        #expect(try slice(-3, .max) == [3])
        #expect(try slice(0, -1) == [9])
        #expect(try slice(.min, .max) == [10])
        #expect(try slice(.max, .min, -1) == [10])
        #expect(try slice(0, .max, .max) == [1])
        #expect(try slice(9, .min, .min) == [1])
        #expect(code { _ = try slice(0, 1, 0) } == "RELAY006")
        #expect(
            code {
                _ = try Relay.call("strided_slice", [x], ["begin": .ints([0, 0]), "end": .ints([1, 1])])
            }
                == "RELAY006")
        #expect(
            code { _ = try Relay.call("strided_slice", [x], ["begin": .ints([0]), "end": .ints([1, 1])]) }
                == "RELAY006")
    }

    @Test func takeAndGather() throws {
        let x = tensor([2, 3, 4])
        let i = tensor([5, 6], .int64)
        #expect(shape(try Relay.call("take", [x, i])) == [5, 6])
        for (axis, want) in [(0, [5, 6, 3, 4]), (1, [2, 5, 6, 4]), (-1, [2, 3, 5, 6])] {
            #expect(shape(try Relay.call("take", [x, i], ["axis": .int(axis)])) == want)
        }
        #expect(shape(try Relay.call("take", [x, tensor([], .int32)], ["axis": 1])) == [2, 4])
        #expect(
            shape(try Relay.call("take", [x, tensor([2, 7], .int32)], ["axis": 1, "batch_dims": 1])) == [
                2, 7, 4,
            ])
        #expect(code { _ = try Relay.call("take", [x, tensor([2])], ["axis": 1]) } == "RELAY003")
        #expect(code { _ = try Relay.call("take", [x, i], ["axis": 0, "batch_dims": 1]) } == "RELAY006")
        #expect(code { _ = try Relay.call("take", [x, i], ["axis": 2, "batch_dims": 1]) } == "RELAY005")
        #expect(shape(try Relay.call("gather", [x, tensor([2, 9, 4], .int64)], ["axis": 1])) == [2, 9, 4])
        #expect(
            code { _ = try Relay.call("gather", [x, tensor([3, 9, 4], .int64)], ["axis": 1]) } == "RELAY005")
        #expect(code { _ = try Relay.call("gather", [x, i], ["axis": 1]) } == "RELAY004")
        #expect(shape(try Relay.call("gather_nd", [x, tensor([7, 2], .int64)])) == [7, 4])
        #expect(
            shape(try Relay.call("gather_nd", [x, tensor([2, 7, 1], .int64)], ["batch_dims": 1])) == [
                2, 7, 4,
            ])
        #expect(code { _ = try Relay.call("gather_nd", [x, tensor([7, 4], .int64)]) } == "RELAY005")
        #expect(
            code { _ = try Relay.call("gather_nd", [x, tensor([2], .int64)], ["batch_dims": 3]) }
                == "RELAY005")
    }

    @Test func scatter() throws {
        let x = tensor([4, 3])
        let i = tensor([2, 3], .int64)
        #expect(shape(try Relay.call("scatter_elements", [x, i, tensor([2, 3])], ["axis": 0])) == [4, 3])
        #expect(
            code { _ = try Relay.call("scatter_elements", [x, i, tensor([2, 2])], ["axis": 0]) } == "RELAY005"
        )
        #expect(
            code { _ = try Relay.call("scatter_elements", [x, i, tensor([2, 3], .int8)], ["axis": 0]) }
                == "RELAY003")
        #expect(
            code { _ = try Relay.call("scatter_elements", [x, i, tensor([2, 3])], ["reduction": "div"]) }
                == "IR004")
        #expect(
            shape(try Relay.call("scatter_nd", [x, tensor([5, 1], .int64), tensor([5, 3])])) == [4, 3])
        #expect(shape(try Relay.call("scatter_nd", [x, tensor([5, 2], .int64), tensor([5])])) == [4, 3])
        #expect(
            code { _ = try Relay.call("scatter_nd", [x, tensor([5, 3], .int64), tensor([5])]) } == "RELAY005")
        #expect(
            code { _ = try Relay.call("scatter_nd", [x, tensor([5, 1], .int64), tensor([5])]) } == "RELAY005")
    }

    @Test func creation() throws {
        let one = try Relay.scalar(1.0, .float32)
        #expect(shape(try Relay.call("full", [one], ["shape": .ints([2, 0])])) == [2, 0])
        #expect(dtype(try Relay.call("full", [one], ["shape": .ints([]), "dtype": "int8"])) == .int8)
        let hot = try Relay.call("one_hot", [tensor([2, 3], .int64), one, one], ["depth": 5, "axis": 0])
        #expect(shape(hot) == [5, 2, 3] && dtype(hot) == .float32)
        #expect(
            shape(try Relay.call("one_hot", [tensor([2, 3], .int64), one, one], ["depth": 5])) == [2, 3, 5])
        #expect(
            code {
                _ = try Relay.call(
                    "one_hot", [tensor([2], .int64), one, one], ["depth": 5, "dtype": "int8"])
            }
                == "RELAY003")
        let s = try Relay.call("shape_of", [tensor([2, 3])], ["dtype": "int32"])
        #expect(shape(s) == [2] && dtype(s) == .int32)
    }

    @Test(arguments: [(0, 5, 1, 5), (5, 0, -2, 3), (0, 0, 1, 0), (3, 4, 9, 1), (0, -5, 1, 0), (1, 10, 3, 3)])
    func arange(start: Int, stop: Int, step: Int, count: Int) throws {
        _ = Random(0)
        for d in [DataType.int32, .int64, .float32, .float64] {
            let y = try Relay.call(
                "arange", [try Relay.scalar(start, d), try Relay.scalar(stop, d), try Relay.scalar(step, d)])
            #expect(shape(y) == [count] && dtype(y) == d)
        }
    }

    @Test func arangeErrors() throws {
        let zero = try Relay.scalar(0, .int64)
        let one = try Relay.scalar(1, .int64)
        #expect(code { _ = try Relay.call("arange", [tensor([], .int64), one, one]) } == "RELAY008")
        #expect(code { _ = try Relay.call("arange", [zero, one, zero]) } == "RELAY006")
        let low = try Relay.scalar(Int.min, .int64)
        let high = try Relay.scalar(Int.max, .int64)
        #expect(code { _ = try Relay.call("arange", [low, high, one]) } == "RELAY006")
        #expect(code { _ = try Relay.call("arange", [zero, high, one]) } == "RELAY009")
        #expect(code { _ = try Relay.call("arange", [zero, low, low]) } == "RELAY006")
        let nan = Relay.Constant(NDArray(scalar: Float.nan))
        #expect(code { _ = try Relay.call("arange", [nan, nan, nan]) } == "RELAY006")
        #expect(code { _ = try Relay.call("arange", [one, one, nan]) } == "RELAY003")
    }

    @Test func images() throws {
        let x = tensor([1, 16, 4, 6])
        #expect(shape(try Relay.call("image.resize", [x], ["size": .ints([8, 3])])) == [1, 16, 8, 3])
        #expect(
            shape(
                try Relay.call(
                    "image.resize", [tensor([1, 4, 6, 3])], ["size": .ints([2, 2]), "layout": "NHWC"]))
                == [1, 2, 2, 3])
        #expect(
            shape(
                try Relay.call("image.resize", [tensor([1, 3, 5])], ["size": .ints([9]), "layout": "NCW"]))
                == [1, 3, 9])
        #expect(code { _ = try Relay.call("image.resize", [x], ["size": .ints([8])]) } == "RELAY006")
        #expect(
            code {
                _ = try Relay.call("image.resize", [x], ["size": .ints([8, 8]), "scales": .floats([0, 1])])
            }
                == "RELAY006")
        #expect(
            code { _ = try Relay.call("image.resize", [x], ["size": .ints([8, 8]), "method": "x"]) }
                == "IR004")
        #expect(shape(try Relay.call("nn.depth_to_space", [x], ["block_size": 2])) == [1, 4, 8, 12])
        #expect(shape(try Relay.call("nn.space_to_depth", [x], ["block_size": 2])) == [1, 64, 2, 3])
        #expect(code { _ = try Relay.call("nn.depth_to_space", [x], ["block_size": 3]) } == "RELAY005")
        func layout(_ s: [Int], _ from: String, _ to: String) throws -> [Int]? {
            shape(
                try Relay.call(
                    "layout_transform", [tensor(s)], ["src_layout": .string(from), "dst_layout": .string(to)])
            )
        }
        #expect(try layout([1, 16, 4, 6], "NCHW", "NHWC") == [1, 4, 6, 16])
        #expect(try layout([1, 16, 4, 6], "NCHW", "NCHW8c") == [1, 2, 4, 6, 8])
        #expect(try layout([1, 2, 4, 6, 8], "NCHW8c", "NCHW4c") == [1, 4, 4, 6, 4])
        #expect(try layout([1, 2, 4, 6, 8], "NCHW8c", "NHWC") == [1, 4, 6, 16])
        #expect(code { _ = try layout([1, 12, 4, 6], "NCHW", "NCHW8c") } == "RELAY005")
        #expect(code { _ = try layout([1, 12, 4], "NCHW", "NHWC") } == "RELAY005")
        #expect(code { _ = try layout([1, 12, 4, 6], "NCHW", "NHW") } == "RELAY006")
        for bad in ["", "N", "NCHWc", "8c", "NN", "N8", "N-C", "nchw", "NC0c"] {
            #expect(code { _ = try layout([1, 12, 4, 6], "NCHW", bad) } == "RELAY006", "\(bad)")
        }
    }
}

@Suite struct SymbolicTypes {
    let n = ApusTIR.Var("n")
    let m = ApusTIR.Var("m")

    private func text(_ e: RelayExpr) -> String { "\(e.checkedType)" }

    @Test func elementwise() throws {
        let x = symbolic([n, IntImm(3)])
        #expect(
            Relay.typesEqual(
                try Relay.call("add", [x, symbolic([n, IntImm(1)])]).checkedType, x.checkedType))
        #expect(Relay.typesEqual(try Relay.call("add", [x, tensor([3])]).checkedType, x.checkedType))
        #expect(Relay.typesEqual(try Relay.call("add", [tensor([1, 3]), x]).checkedType, x.checkedType))
        #expect(code { _ = try Relay.call("add", [x, symbolic([m, IntImm(3)])]) } == "RELAY005")
        #expect(code { _ = try Relay.call("add", [x, tensor([2, 3])]) } == "RELAY005")
        // n + n and 2 * n are provably equal.
        let a = symbolic([n + n])
        let b = symbolic([n * 2])
        #expect(code { _ = try Relay.call("add", [a, b]) } == nil)
        #expect(code { _ = try Relay.call("add", [a, symbolic([n * 3])]) } == "RELAY005")
    }

    @Test func windows() throws {
        let x = symbolic([IntImm(1), IntImm(4), n, IntImm(8)])
        let y = try Relay.call("nn.conv2d", [x, tensor([8, 4, 3, 3])], ["padding": .ints([1, 1, 1, 1])])
        let t = y.tensorType
        #expect(t.map { Relay.dimsEqual($0.shape[2], n) } == true && t?.shape[3].asInt == 8)
        let p = try Relay.call(
            "nn.max_pool2d", [x], ["pool_size": .ints([2, 2]), "strides": .ints([2, 2])])
        let value = p.tensorType.map { ApusTIR.substitute($0.shape[2], [n: IntImm(10)]).asInt }
        #expect(value == 5)
        #expect(
            code { _ = try Relay.call("nn.conv2d", [x, symbolic([IntImm(8), IntImm(4), m, m])]) }
                == "RELAY008")
    }

    @Test func shapes() throws {
        let x = symbolic([n, IntImm(4), IntImm(6)])
        func reshape(_ s: [Int]) throws -> TensorType? {
            try Relay.call("reshape", [x], ["newshape": .ints(s)]).tensorType
        }
        #expect(try reshape([0, -1])?.shape[1].asInt == 24)
        #expect(try reshape([-1, 24])?.shape[0] === n)
        #expect(try reshape([-1, 12]).map { Relay.dimsEqual($0.shape[0], n * 2) } == true)
        #expect(code { _ = try reshape([24, 1]) } == "RELAY008")
        let c = try Relay.call("concatenate", [Relay.Tuple([x, x])], ["axis": 0])
        #expect(c.tensorType.map { Relay.dimsEqual($0.shape[0], n * 2) } == true)
        let s = try Relay.call("strided_slice", [x], ["begin": .ints([2]), "end": .ints([.max])])
        #expect(s.tensorType.map { Relay.dimsEqual($0.shape[0], n - 2) } == true)
        #expect(
            code { _ = try Relay.call("strided_slice", [x], ["begin": .ints([0]), "end": .ints([5])]) }
                == "RELAY008")
        let sum = try Relay.call("sum", [x], ["axis": .ints([1]), "keepdims": true])
        #expect(sum.tensorType?.shape[0] === n)
        #expect(shape(try Relay.call("shape_of", [x])) == [3])
        #expect(code { _ = try Relay.call("split", [x], ["indices_or_sections": .ints([1])]) } == "RELAY008")
    }

    @Test func expressionsStaySmall() throws {
        // Joining a tensor to itself doubles its extent: a factor, not a tree of sums.
        var e: RelayExpr = symbolic([n, m])
        for _ in 0..<40 { e = try Relay.call("concatenate", [Relay.Tuple([e, e])], ["axis": 0]) }
        #expect(
            e.tensorType.map { "\($0.shape[0])".count < 40 && Relay.dimsEqual($0.shape[0], n * (1 << 40)) }
                == true)
        // Squaring an extent again and again ends in an error.
        var square: RelayExpr = symbolic([n])
        let stopped = code {
            for _ in 0..<40 {
                let column = try Relay.call("expand_dims", [square], ["axis": 1])
                square = try Relay.call(
                    "reshape", [try Relay.call("add", [column, square])], ["newshape": .ints([-1])])
            }
        }
        #expect(stopped == "RELAY009")
        let f = Relay.Function(
            [symbolic([n])],
            try Relay.call(
                "concatenate",
                [
                    Relay.Tuple([
                        symbolic([n]),
                        symbolic([floorDiv(n, IntImm(3))]),
                    ])
                ], ["axis": 0]))
        var value: RelayExpr = symbolic([m])
        #expect(code { for _ in 0..<40 { value = try Relay.Call(f, [value]) } } == "RELAY009")
    }

    @Test func functions() throws {
        // fn (x: [n, 3]) -> [2n, 3] called with 5 rows gives 10.
        let x = symbolic([n, IntImm(3)])
        let f = Relay.Function([x], try Relay.call("concatenate", [Relay.Tuple([x, x])], ["axis": 0]))
        #expect(shape(try Relay.Call(f, [tensor([5, 3])])) == [10, 3])
        #expect(code { _ = try Relay.Call(f, [tensor([5, 4])]) } == "RELAY018")
        #expect(code { _ = try Relay.Call(f, []) } == "RELAY018")
        #expect(code { _ = try Relay.Call(x, [x]) } == "RELAY017")
        let g = GlobalVar("g", type: f.checkedType)
        #expect(shape(try Relay.Call(g, [tensor([7, 3])])) == [14, 3])
        #expect(code { _ = try Relay.Call(GlobalVar("h"), []) } == "RELAY017")
    }
}
