import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusTIR
import Testing

// Types of operators on random shapes against references that count elements one by one instead of using
// formulas.

@Suite struct ElementwiseTypes {
    @Test(arguments: [
        "exp", "log", "log2", "log1p", "expm1", "sqrt", "rsqrt", "tanh", "sigmoid", "erf", "sin", "cos",
        "tan", "asin",
        "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    ])
    func unaryFloat(name: String) throws {
        var r = Random(1)
        for rank in 0...4 {
            let s = r.shape(rank: rank, 0...5)
            for d in [DataType.float16, .float32, .float64, .bfloat16] {
                let y = try Relay.call(name, [tensor(s, d)])
                #expect(shape(y) == s && dtype(y) == d)
            }
        }
        #expect(code { _ = try Relay.call(name, [tensor([2], .int32)]) } == "RELAY003")
    }

    @Test(arguments: ["floor", "ceil", "round", "trunc", "abs", "negative", "sign", "nn.relu"])
    func unaryNumeric(name: String) throws {
        for d in [DataType.float32, .int8, .int64] {
            let y = try Relay.call(name, [tensor([2, 3], d)])
            #expect(shape(y) == [2, 3] && dtype(y) == d)
        }
        #expect(code { _ = try Relay.call(name, [tensor([2], .bool)]) } == "RELAY003")
    }

    @Test(arguments: ["isnan", "isinf", "isfinite"])
    func predicates(name: String) throws {
        let y = try Relay.call(name, [tensor([4])])
        #expect(shape(y) == [4] && dtype(y) == .bool)
    }

    @Test(arguments: [
        "add", "subtract", "multiply", "divide", "floor_divide", "mod", "floor_mod", "power", "maximum",
        "minimum",
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    ])
    func binary(name: String) throws {
        var r = Random(2)
        let comparison = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"].contains(
            name)
        for _ in 0..<50 {
            let full = r.shape(rank: r.int(0...4))
            // Drop leading axes and set some to 1 on either side, never both.
            var a = full
            var b = full
            for i in full.indices {
                switch r.int(0...3) {
                case 0: a[i] = 1
                case 1: b[i] = 1
                default: break
                }
            }
            if r.int(0...1) == 0 { b = Array(b.drop { $0 == 1 }) }
            let y = try Relay.call(name, [tensor(a), tensor(b)])
            #expect(shape(y) == full && dtype(y) == (comparison ? .bool : .float32))
        }
        let e = failure { _ = try Relay.call(name, [tensor([2, 3]), tensor([2, 4])]) }
        #expect(e?.code == "RELAY005" && e?.actual == "3 and 4" && e?.context.first == "operator: \(name)")
        #expect(code { _ = try Relay.call(name, [tensor([2]), tensor([2], .int32)]) } == "RELAY003")
        #expect(code { _ = try Relay.call(name, [tensor([2])]) } == "RELAY001")
    }

    @Test(arguments: ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"])
    func bits(name: String) throws {
        #expect(shape(try Relay.call(name, [tensor([3, 1], .uint8), tensor([2], .uint8)])) == [3, 2])
        #expect(code { _ = try Relay.call(name, [tensor([2]), tensor([2])]) } == "RELAY003")
    }

    @Test(arguments: ["logical_and", "logical_or", "logical_xor"])
    func logical(name: String) throws {
        #expect(dtype(try Relay.call(name, [tensor([3], .bool), tensor([], .bool)])) == .bool)
        #expect(code { _ = try Relay.call(name, [tensor([2], .int8), tensor([2], .int8)]) } == "RELAY003")
    }

    @Test func whereClipCast() throws {
        let y = try Relay.call("where", [tensor([3, 1], .bool), tensor([4]), tensor([2, 1, 1])])
        #expect(shape(y) == [2, 3, 4])
        #expect(code { _ = try Relay.call("where", [tensor([3]), tensor([3]), tensor([3])]) } == "RELAY003")
        #expect(shape(try Relay.call("clip", [tensor([3])], ["a_min": 0, "a_max": 6.0])) == [3])
        #expect(code { _ = try Relay.call("clip", [tensor([3])], ["a_min": 0]) } == "IR006")
        let c = try Relay.call("cast", [tensor([3])], ["dtype": "int64"])
        #expect(dtype(c) == .int64)
        for bad in ["handle", "int8x4", "int7", "void"] {
            #expect(code { _ = try Relay.call("cast", [tensor([3])], ["dtype": .string(bad)]) } != nil)
        }
        #expect(code { _ = try Relay.call("nn.relu", [tensor([3])], ["axes": 1]) } == "IR005")
        #expect(code { _ = try Relay.call("nn.rel", [tensor([3])]) } == "IR007")
    }
}

@Suite struct ReductionTypes {
    @Test(arguments: ["sum", "prod", "max", "min", "mean", "all", "any", "argmax", "argmin"])
    func reduce(name: String) throws {
        var r = Random(3)
        let boolean = name == "all" || name == "any"
        for _ in 0..<60 {
            let rank = r.int(0...4)
            let s = r.shape(rank: rank)
            let keep = r.int(0...1) == 1
            let exclude = r.int(0...3) == 0
            let chosen = (0..<rank).filter { _ in r.int(0...1) == 1 }
            let given = chosen.map { r.int(0...1) == 1 ? $0 - rank : $0 }.shuffled(using: &r)
            let all = !exclude && r.int(0...4) == 0
            let y = try Relay.call(
                name, [tensor(s, boolean ? .bool : .float32)],
                [
                    "axis": all ? .none : .ints(given), "keepdims": .bool(keep), "exclude": .bool(exclude),
                ])
            var want: [Int] = []
            for i in 0..<rank {
                let reduced = all || (chosen.contains(i) != exclude)
                if !reduced { want.append(s[i]) } else if keep { want.append(1) }
            }
            #expect(shape(y) == want, "\(s) \(given)")
            #expect(dtype(y) == (boolean ? .bool : (name.hasPrefix("arg") ? .int64 : .float32)))
            // Canonical: listed, ascending, not negative.
            let axes = y.attrs.ints("axis") ?? [-1]
            #expect(axes == axes.sorted() && axes.allSatisfy { $0 >= 0 } && y.attrs.bool("exclude") == false)
        }
        let x = tensor([2, 3], boolean ? .bool : .float32)
        #expect(code { _ = try Relay.call(name, [x], ["axis": .ints([2])]) } == "RELAY006")
        #expect(code { _ = try Relay.call(name, [x], ["axis": .ints([1, -1])]) } == "RELAY006")
        #expect(shape(try Relay.call(name, [x], ["axis": 1])) == [2])
    }

    @Test(arguments: ["nn.softmax", "nn.log_softmax", "cumsum", "nn.lrn"])
    func alongAxis(name: String) throws {
        for axis in -3...2 {
            let y = try Relay.call(name, [tensor([2, 3, 4])], ["axis": .int(axis)])
            #expect(shape(y) == [2, 3, 4] && y.attrs.int("axis") == (axis + 3) % 3)
        }
        #expect(code { _ = try Relay.call(name, [tensor([2, 3, 4])], ["axis": 3]) } == "RELAY006")
        #expect(code { _ = try Relay.call(name, [tensor([])], ["axis": 0]) } == "RELAY006")
    }

    @Test func topk() throws {
        let x = tensor([3, 7])
        #expect(shapes(try Relay.call("topk", [x], ["k": 2])) == [[3, 2], [3, 2]])
        let v = try Relay.call("topk", [x], ["k": 3, "axis": 0, "ret_type": "values"])
        #expect(shape(v) == [3, 7])
        let i = try Relay.call("topk", [x], ["k": 0, "ret_type": "indices", "dtype": "int32"])
        #expect(shape(i) == [3, 0] && dtype(i) == .int32)
        #expect(code { _ = try Relay.call("topk", [x], ["k": 8]) } == "RELAY006")
        #expect(code { _ = try Relay.call("topk", [x], ["k": -1]) } == "IR004")
        #expect(code { _ = try Relay.call("topk", [x], ["k": 1, "ret_type": "x"]) } == "IR004")
    }

    @Test func normalisations() throws {
        let x = tensor([2, 5, 4, 3])
        let c = tensor([5])
        let b = try Relay.call("nn.batch_norm", [x, c, c, c, c])
        #expect(shapes(b) == [[2, 5, 4, 3], [5], [5]])
        #expect(code { _ = try Relay.call("nn.batch_norm", [x, c, c, c, c], ["axis": 2]) } == "RELAY005")
        #expect(shape(try Relay.call("nn.layer_norm", [x, tensor([3]), tensor([3])])) == [2, 5, 4, 3])
        let e = failure { _ = try Relay.call("nn.layer_norm", [x, c, tensor([3])]) }
        #expect(e?.code == "RELAY005" && e?.context.contains("operand: gamma") == true && e?.expected == "3")
        #expect(shape(try Relay.call("nn.bias_add", [x, c])) == [2, 5, 4, 3])
        #expect(code { _ = try Relay.call("nn.bias_add", [x, tensor([5, 1])]) } == "RELAY004")
    }
}

@Suite struct WindowTypes {
    /// Windows that fit, counted by sliding.
    private func slide(_ x: Int, _ k: Int, _ s: Int, _ d: Int, _ b: Int, _ e: Int, ceil: Bool = false) -> Int
    {
        var starts: [Int] = []
        var start = 0
        let window = (k - 1) * d + 1
        while start + window <= x + b + e {
            starts.append(start)
            start += s
        }
        guard ceil else { return starts.count }
        // A further one covers what is left over; one that starts in the trailing padding sees no data.
        if start - s + window < x + b + e { starts.append(start) }
        return starts.filter { $0 < x + b }.count
    }

    @Test(arguments: [1, 2, 3])
    func convolution(n: Int) throws {
        var r = Random(UInt64(10 + n))
        for _ in 0..<80 {
            let groups = [1, 1, 2, 4][r.int(0...3)]
            let c = groups * r.int(1...3)
            let o = groups * r.int(1...3)
            let k = (0..<n).map { _ in r.int(1...3) }
            let s = (0..<n).map { _ in r.int(1...3) }
            let d = (0..<n).map { _ in r.int(1...2) }
            let p = (0..<2 * n).map { _ in r.int(0...2) }
            let x = (0..<n).map { i in r.int(((k[i] - 1) * d[i] + 1)...12) }
            let last = r.int(0...1) == 1
            let spatial = ["W", "HW", "DHW"][n - 1]
            let data = last ? [2] + x + [c] : [2, c] + x
            let y = try Relay.call(
                "nn.conv\(n)d", [tensor(data), tensor([o, c / groups] + k)],
                [
                    "strides": .ints(s), "padding": .ints(p), "dilation": .ints(d), "groups": .int(groups),
                    "channels": .int(o), "kernel_size": .ints(k),
                    "data_layout": .string(last ? "N\(spatial)C" : "NC\(spatial)"),
                ])
            let want = (0..<n).map { slide(x[$0], k[$0], s[$0], d[$0], p[$0], p[n + $0]) }
            #expect(shape(y) == (last ? [2] + want + [o] : [2, o] + want))
        }
    }

    @Test(arguments: [1, 2, 3])
    func transposed(n: Int) throws {
        var r = Random(UInt64(20 + n))
        for _ in 0..<60 {
            let groups = r.int(1...2)
            let c = groups * r.int(1...3)
            let o = r.int(1...3)
            let k = (0..<n).map { _ in r.int(1...4) }
            let s = (0..<n).map { _ in r.int(1...3) }
            let d = (0..<n).map { _ in r.int(1...2) }
            let extra = (0..<n).map { _ in r.int(0...1) }
            let x = (0..<n).map { _ in r.int(1...5) }
            let y = try Relay.call(
                "nn.conv\(n)d_transpose", [tensor([1, c] + x), tensor([c, o] + k)],
                [
                    "strides": .ints(s), "dilation": .ints(d), "output_padding": .ints(extra),
                    "groups": .int(groups),
                ])
            // The last element that any input element writes.
            let want = (0..<n).map { i in
                var top = 0
                for a in 0..<x[i] { for b in 0..<k[i] { top = max(top, a * s[i] + b * d[i]) } }
                return top + 1 + extra[i]
            }
            #expect(shape(y) == [1, o * groups] + want)
        }
    }

    @Test(arguments: [1, 2, 3])
    func pooling(n: Int) throws {
        var r = Random(UInt64(30 + n))
        for trial in 0..<80 {
            let k = (0..<n).map { _ in r.int(1...3) }
            let s = (0..<n).map { _ in r.int(1...3) }
            let d = (0..<n).map { _ in r.int(1...2) }
            let p = (0..<2 * n).map { _ in r.int(0...1) }
            let x = (0..<n).map { i in r.int(((k[i] - 1) * d[i] + 1)...12) }
            let ceil = r.int(0...1) == 1
            let y = try Relay.call(
                trial % 2 == 0 ? "nn.max_pool\(n)d" : "nn.avg_pool\(n)d", [tensor([2, 3] + x)],
                [
                    "pool_size": .ints(k), "strides": .ints(s), "dilation": .ints(d), "padding": .ints(p),
                    "ceil_mode": .bool(ceil),
                ])
            let want = (0..<n).map { slide(x[$0], k[$0], s[$0], d[$0], p[$0], p[n + $0], ceil: ceil) }
            #expect(shape(y) == [2, 3] + want, "\(x) \(k) \(s) \(d) \(p) \(ceil)")
        }
    }

    @Test func packedAndGlobal() throws {
        let x = tensor([1, 32, 8, 8])
        let packed = try Relay.call(
            "nn.conv2d", [x, tensor([3, 32, 3, 3, 16])], ["kernel_layout": "OIHW16o", "channels": 40])
        #expect(shape(packed) == [1, 40, 6, 6])
        let blocked = try Relay.call(
            "nn.conv2d", [tensor([1, 2, 8, 8, 16]), tensor([3, 32, 3, 3, 16])],
            ["kernel_layout": "OIHW16o", "data_layout": "NCHW16c"])
        #expect(shape(blocked) == [1, 3, 6, 6, 16])
        let out = try Relay.call(
            "nn.conv2d", [x, tensor([48, 32, 1, 1])], ["out_layout": "NHWC", "out_dtype": "float32"])
        #expect(shape(out) == [1, 8, 8, 48])
        #expect(shape(try Relay.call("nn.global_avg_pool2d", [x])) == [1, 32, 1, 1])
        #expect(
            shape(try Relay.call("nn.global_max_pool2d", [tensor([1, 2, 8, 8, 16])], ["layout": "NCHW16c"]))
                == [1, 2, 1, 1, 16])
        let small = tensor([4, 4], .int8)
        #expect(code { _ = try Relay.call("nn.dense", [small, tensor([3, 4], .uint8)]) } == "RELAY003")
        #expect(
            dtype(try Relay.call("nn.dense", [small, tensor([3, 4], .uint8)], ["out_dtype": "int32"]))
                == .int32)
    }

    @Test func errors() throws {
        let x = tensor([1, 4, 5, 5])
        func conv(_ w: [Int], _ attrs: KeyValuePairs<String, AttrValue> = [:]) -> String? {
            code { _ = try Relay.call("nn.conv2d", [x, tensor(w)], attrs) }
        }
        #expect(conv([8, 3, 3, 3]) == "RELAY005")
        #expect(conv([8, 4, 6, 6]) == "RELAY007")
        #expect(conv([8, 4, 0, 3]) == "RELAY007")
        #expect(conv([8, 4, 3]) == "RELAY005")
        #expect(conv([8, 4, 3, 3], ["strides": .ints([0, 1])]) == "IR004")
        #expect(conv([8, 4, 3, 3], ["strides": .ints([1])]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["padding": .ints([1, 1])]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["padding": .ints([-1, 1, 1, 1])]) == "IR004")
        #expect(conv([8, 4, 3, 3], ["dilation": .ints([1 << 40, 1 << 40])]) == "RELAY007")
        #expect(conv([8, 4, 3, 3], ["groups": 3]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["groups": 0]) == "IR004")
        #expect(conv([8, 4, 3, 3], ["channels": 9]) == "RELAY005")
        #expect(conv([8, 4, 3, 3], ["kernel_size": .ints([3, 2])]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["data_layout": "NCHX"]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["data_layout": "NCHW0c"]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["kernel_layout": ""]) == "RELAY006")
        #expect(conv([8, 4, 3, 3], ["data_layout": "NCHW99999999999999999999c"]) == "RELAY006")
        let big = tensor([1, 4, 1 << 40, 1 << 20])
        #expect(code { _ = try Relay.call("nn.relu", [big]) } == "RELAY009")
        #expect(code { _ = try Relay.call("nn.relu", [tensor([2, -1])]) } == "RELAY009")
    }
}

@Suite struct MatrixTypes {
    @Test func products() throws {
        var r = Random(5)
        for _ in 0..<60 {
            let (m, k, n) = (r.int(0...5), r.int(0...5), r.int(0...5))
            let lead = r.shape(rank: r.int(0...3))
            #expect(shape(try Relay.call("nn.dense", [tensor(lead + [k]), tensor([n, k])])) == lead + [n])
            let ta = r.int(0...1) == 1
            let tb = r.int(0...1) == 1
            let a = ta ? [k, m] : [m, k]
            let b = tb ? [n, k] : [k, n]
            let attrs: KeyValuePairs<String, AttrValue> = [
                "transpose_a": .bool(ta), "transpose_b": .bool(tb),
            ]
            #expect(shape(try Relay.call("nn.matmul", [tensor(a), tensor(b)], attrs)) == [m, n])
            let (p, q) = [(1, 4), (4, 1), (4, 4)][r.int(0...2)]
            #expect(
                shape(try Relay.call("nn.batch_matmul", [tensor([p] + a), tensor([q] + b)], attrs)) == [
                    4, m, n,
                ])
            #expect(
                code { _ = try Relay.call("nn.matmul", [tensor([m, k]), tensor([k + 1, n])]) } == "RELAY005")
        }
        for units in [1, 15, 16, 17, 1000] {
            let y = try Relay.call(
                "nn.contrib_dense_pack", [tensor([2, 8]), tensor([(units + 15) / 16, 8, 16])],
                ["units": .int(units)])
            #expect(shape(y) == [2, units])
        }
        #expect(
            code {
                _ = try Relay.call(
                    "nn.contrib_dense_pack", [tensor([2, 8]), tensor([2, 8, 0])], ["units": 1])
            }
                == "RELAY005")
        #expect(
            code { _ = try Relay.call("nn.dense", [tensor([2, 3]), tensor([4, 3])], ["units": 5]) }
                == "RELAY005")
        #expect(code { _ = try Relay.call("nn.dense", [tensor([]), tensor([4, 3])]) } == "RELAY004")
    }
}
