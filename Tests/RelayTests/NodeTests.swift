import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR
import Testing

/// A function with every kind of node.
func everyKind() throws -> Relay.Function {
    let x = tensor([2, 3])
    let flag = tensor([], .bool, name: "flag")
    let w = Relay.Constant(NDArray([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3]))
    let sum = try Relay.call("add", [x, w])
    let pair = Relay.Tuple([sum, x])
    let first = try Relay.TupleGetItem(pair, 0)
    let p = tensor([2, 3], name: "p")
    let f = Relay.Function([p], try Relay.call("nn.relu", [p]), Attrs(["primitive": true, "name": "relu"]))
    let call = try Relay.Call(f, [first])
    let branch = try Relay.If.checked(flag, call, try Relay.call("negative", [call]))
    let v = Relay.Var("v", branch.checkedType)
    let ref = Relay.RefCreate(v)
    let write = try Relay.RefWrite(ref, w)
    let body = Relay.Tuple([try Relay.RefRead(ref), write, v])
    return Relay.Function([x, flag], try Relay.Let.checked(v, branch, body))
}

func chain(_ length: Int) throws -> Relay.Function {
    let x = tensor([4])
    var e: RelayExpr = x
    for i in 0..<length { e = try Relay.call(i % 2 == 0 ? "nn.relu" : "negative", [e]) }
    return Relay.Function([x], e)
}

private let contract = """
    exp log log2 log1p expm1 sqrt rsqrt tanh sigmoid erf sin cos tan asin acos atan sinh cosh \
    asinh acosh atanh floor ceil round trunc abs negative sign nn.relu copy logical_not \
    bitwise_not isnan isfinite isinf clip cast add subtract multiply divide floor_divide mod \
    floor_mod power maximum minimum bitwise_and bitwise_or bitwise_xor left_shift right_shift \
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor \
    where sum prod max min mean all any argmax argmin nn.softmax nn.log_softmax nn.layer_norm \
    nn.batch_norm nn.bias_add nn.conv1d nn.conv2d nn.conv3d nn.conv1d_transpose \
    nn.conv2d_transpose nn.conv3d_transpose nn.dense nn.contrib_dense_pack nn.matmul \
    nn.batch_matmul nn.attention nn.contrib_strided_view nn.max_pool1d nn.max_pool2d nn.max_pool3d nn.avg_pool1d nn.avg_pool2d \
    nn.avg_pool3d nn.global_max_pool2d nn.global_avg_pool2d nn.pad nn.lrn reshape transpose \
    squeeze expand_dims concatenate split stack strided_slice take gather gather_nd \
    scatter_elements scatter_nd broadcast_to full tile repeat reverse one_hot arange shape_of \
    cumsum topk trilu image.resize layout_transform nn.depth_to_space nn.space_to_depth
    """

@Suite struct Nodes {
    @Test func jsonRoundTrip() throws {
        let f = try everyKind()
        let g = try loadJSON(saveJSON(f))
        #expect(firstDifference(f, g) == nil)
        #expect(structuralHash(f) == structuralHash(g))
        for kind in RelayNodes.all { #expect(NodeRegistry.schema(kind.key) != nil) }
        #expect(saveJSON(g) == saveJSON(f))
    }

    @Test func symbolicRoundTrip() throws {
        let n = ApusTIR.Var("n")
        let x = symbolic([n, IntImm(3)])
        let f = Relay.Function([x], try Relay.call("concatenate", [Relay.Tuple([x, x])], ["axis": 0]))
        #expect(firstDifference(f, try loadJSON(saveJSON(f))) == nil)
    }

    @Test func sharingCounts() throws {
        let x = tensor([4])
        let shared = try Relay.call("exp", [x])
        let a = Relay.Function([x], try Relay.call("add", [shared, shared]))
        let b = Relay.Function(
            [x], try Relay.call("add", [try Relay.call("exp", [x]), try Relay.call("exp", [x])]))
        #expect(!structuralEqual(a, b))
        #expect(structuralEqual(a, a))
    }

    @Test func constructorErrors() throws {
        let x = tensor([2])
        #expect(code { _ = try Relay.TupleGetItem(x, 0) } == "RELAY010")
        #expect(code { _ = try Relay.TupleGetItem(Relay.Tuple([x]), 1) } == "RELAY011")
        #expect(code { _ = try Relay.TupleGetItem(Relay.Tuple([x]), -1) } == "RELAY011")
        #expect(code { _ = try Relay.Let.checked(x, tensor([3]), x) } == "RELAY012")
        #expect(code { _ = try Relay.If.checked(x, x, x) } == "RELAY013")
        #expect(code { _ = try Relay.If.checked(tensor([], .bool), x, tensor([3])) } == "RELAY014")
        #expect(code { _ = try Relay.RefRead(x) } == "RELAY015")
        #expect(code { _ = try Relay.RefWrite(Relay.RefCreate(x), tensor([3])) } == "RELAY015")
        #expect(code { _ = try Relay.Function([x], x).with(params: [x, x]) } == "RELAY021")
        #expect(code { _ = try Relay.scalar(300, .uint8) } == "RELAY019")
        #expect(code { _ = try Relay.scalar(1.5, .int32) } == "RELAY019")
        #expect(code { _ = try Relay.scalar(1, .handle) } == "RELAY019")
        #expect(code { _ = try Relay.scalar(-1, .uint64) } == "RELAY019")
    }

    @Test(arguments: [
        DataType.bool, .int8, .uint8, .int32, .int64, .uint64, .float16, .bfloat16, .float32, .float64,
    ])
    func scalars(d: DataType) throws {
        #expect(try Relay.scalar(1, d).data.toDoubles() == [1])
        #expect(try Relay.scalar(1.0, d).data.toDoubles() == [1])
    }

    /// The operators that the rooms above rely on by name.
    @Test func everyOperatorIsDocumented() throws {
        _ = Random(0)
        for name in contract.split(separator: " ") {
            let op = try Op.get(String(name))
            #expect(!op.doc.isEmpty && op.argNames.count == op.arity.upperBound && op[Relay.opPattern] != nil)
            #expect(op[Relay.typeRelation] != nil || op[Relay.valueRelation] != nil)
            for f in op.attrsSchema.fields { #expect(!f.doc.isEmpty, "\(op.name) \(f.name)") }
        }
    }

    @Test func patterns() throws {
        _ = Random(0)
        let wanted: [(String, OpPattern)] = [
            ("exp", .elemWise), ("add", .broadcast), ("transpose", .injective), ("sum", .commReduce),
            ("nn.conv2d", .outEWiseFusable), ("topk", .opaque),
        ]
        for (name, pattern) in wanted { #expect(Relay.pattern(of: try Op.get(name)) == pattern) }
        #expect(Relay.pattern(of: tensor([1])) == .opaque)
    }

    /// No relation may trap, whatever it is given: every operator with random attributes and operands.
    @Test(arguments: 0..<8)
    func hostileOperands(seed: Int) throws {
        var r = Random(UInt64(seed) + 1000)
        let ops = Op.all.filter { $0[Relay.opPattern] != nil && !$0.name.hasPrefix("tir.") }
        let numbers = [0, 1, -1, 2, 3, 7, -2, 64, 1 << 20, 1 << 31, 1 << 40, -(1 << 40), .max, .min, 1 << 62]
        let dtypes: [DataType] = [
            .float32, .int64, .bool, .int8, .float16, .handle, DataType(.int, 7), .void,
        ]
        let n = ApusTIR.Var("n")
        func number() -> Int { r.int(0...2) == 0 ? numbers[r.int(0...(numbers.count - 1))] : r.int(-3...5) }
        func dim() -> PrimExpr {
            switch r.int(0...9) {
            case 0: return n
            case 1: return n * 2 + 1
            case 2: return IntImm(number())
            default: return IntImm(r.int(0...5))
            }
        }
        func type() -> IRType {
            switch r.int(0...19) {
            case 0: return TupleType([])
            case 1: return IncompleteType()
            default:
                let d = r.int(0...2) == 0 ? dtypes[r.int(0...(dtypes.count - 1))] : .float32
                return TensorType((0..<r.int(0...5)).map { _ in dim() }, d)
            }
        }
        func operand() -> RelayExpr {
            switch r.int(0...7) {
            case 0: return Relay.Tuple((0..<r.int(0...3)).map { _ in Relay.Var("t", type()) })
            case 1: return Relay.Constant(NDArray(scalar: Float(r.int(-2...2))))
            default: return Relay.Var("x", type())
            }
        }
        var accepted = 0
        for _ in 0..<6000 {
            let op = ops[r.int(0...(ops.count - 1))]
            var entries: [(key: String, value: AttrValue)] = []
            for f in op.attrsSchema.fields where f.defaultValue == nil || r.int(0...1) == 0 {
                let value: AttrValue
                switch f.kind {
                case .int: value = .int(number())
                case .ints: value = .ints((0..<r.int(0...6)).map { _ in number() })
                case .float: value = .float([0, 1.5, .nan, .infinity, -1][r.int(0...4)])
                case .floats: value = .floats((0..<r.int(0...4)).map { _ in Double(number()) })
                case .bool: value = .bool(r.int(0...1) == 0)
                case .dtype: value = .dtype(dtypes[r.int(0...(dtypes.count - 1))])
                case .string:
                    let words = f.oneOf + ["NCHW", "NHWC", "NCHW4c", "OIHW", "OIHW2o", "IOHW", "x", ""]
                    value = .string(words[r.int(0...(words.count - 1))])
                default: value = .none
                }
                entries.append((key: f.name, value: value))
            }
            let args = (0..<op.arity.upperBound).map { _ in operand() }
            do {
                let call = try Relay.Call(op, args, Attrs(entries))
                accepted += 1
                // Canonical attributes are stable.
                let again = try Relay.Call(op, args, call.attrs)
                #expect(
                    Relay.typesEqual(again.checkedType, call.checkedType)
                        && again.attrs.description == call.attrs.description)
            } catch let e as ApusError {
                #expect(e.code.hasPrefix("RELAY") || e.code.hasPrefix("IR"), "\(e)")
            }
        }
        #expect(accepted > 200)
    }
}

@Suite struct Traversal {
    @Test func postOrder() throws {
        let f = try everyKind()
        let order = Relay.postOrder(f)
        #expect(Set(order).count == order.count)
        var place: [RelayExpr: Int] = [:]
        for (i, n) in order.enumerated() { place[n] = i }
        for n in order { for c in Relay.children(of: n) { #expect((place[c] ?? .max) < (place[n] ?? 0)) } }
        let kinds = Set(order.map { $0.exprKind.rawValue })
        #expect(kinds.count == 11)
        #expect(Relay.postOrder(f, intoFunctions: false).count == order.count - 2)
        #expect(order.map(ObjectIdentifier.init) == Relay.postOrder(f).map(ObjectIdentifier.init))
    }

    @Test func longChains() throws {
        for length in [10_000] {
            var f: Relay.Function? = try chain(length)
            #expect(Relay.postOrder(f!).count == length + 2)
            #expect(Relay.freeVars(f!.body).count == 1)
            #expect(Relay.useCounts(f!).values.allSatisfy { $0 == 1 })
            let same = try Relay.rewrite(f!) { _, new in new }
            #expect(same === f!)
            var other: RelayExpr? = try Relay.rewrite(f!) { _, new in
                guard let c = new as? Relay.Call, c.opName == "negative" else { return new }
                return try Relay.call("abs", c.args)
            }
            #expect(
                Relay.postOrder(other!).filter { ($0 as? Relay.Call)?.opName == "abs" }.count == length / 2)
            try Relay.checkWellFormed(f!)
            // Destroyed by a loop: no recursion as deep as the chain.
            f = nil
            other = nil
        }
    }

    @Test func longLets() throws {
        let x = tensor([4])
        var names: [Relay.Var] = []
        for i in 0..<10_000 { names.append(Relay.Var("v\(i)", x.checkedType)) }
        var body: RelayExpr = names[9_999]
        for i in (0..<10_000).reversed() {
            body = Relay.Let(names[i], try Relay.call("exp", [i == 0 ? x : names[i - 1]]), body)
        }
        let f = Relay.Function([x], body)
        try Relay.checkWellFormed(f)
        #expect(Relay.freeVars(f).isEmpty)
        let g = try Relay.parse(Relay.text(IRModule(f)))
        #expect(firstDifference(f, try #require(g["main"])) == nil)
    }

    @Test func rewriteKeepsSharing() throws {
        let x = tensor([4])
        let e = try Relay.call("exp", [x])
        let sum = try Relay.call("add", [e, try Relay.call("multiply", [e, e])])
        var visits = 0
        let new = try Relay.rewrite(sum) { _, n in
            visits += 1
            guard let c = n as? Relay.Call, c.opName == "exp" else { return n }
            return try Relay.call("tanh", c.args)
        }
        #expect(visits == 4)
        let add = try #require(new as? Relay.Call)
        let mul = try #require(add.args[1] as? Relay.Call)
        #expect(add.args[0] === mul.args[0] && mul.args[0] === mul.args[1])
    }

    @Test func substituteChangesTypes() throws {
        let x = tensor([4])
        let v = Relay.Var("v", x.checkedType)
        let e = Relay.Let(v, try Relay.call("exp", [x]), try Relay.call("add", [v, v]))
        let new = try Relay.substitute(e, [x: tensor([2, 3], .float64)])
        #expect(shape(new) == [2, 3] && dtype(new) == .float64)
        let l = try #require(new as? Relay.Let)
        #expect(l.variable !== v && Relay.typesEqual(l.variable.checkedType, l.value.checkedType))
        let f = Relay.Function([x], e)
        try Relay.checkWellFormed(try Relay.bind(f, ["x": NDArray([1, 2, 3, 4] as [Float], shape: [4])]))
        #expect(code { _ = try Relay.bind(f, ["y": NDArray(scalar: Float(1))]) } == "RELAY020")
        #expect(code { _ = try Relay.bind(f, ["x": NDArray(scalar: Float(1))]) } == "RELAY020")
        let dense = try Relay.call("nn.dense", [x, tensor([3, 4], name: "w")])
        #expect(code { _ = try Relay.substitute(dense, [x: tensor([5])]) } == "RELAY005")
        #expect(Relay.freeVars(dense).map(\.name) == ["x", "w"])
    }

    @Test func useCounts() throws {
        let x = tensor([4])
        let e = try Relay.call("add", [x, x])
        let counts = Relay.useCounts(Relay.Tuple([e, x]))
        #expect(counts[ObjectIdentifier(x)] == 3 && counts[ObjectIdentifier(e)] == 1)
    }

    @Test func wellFormed() throws {
        try Relay.checkWellFormed(try everyKind())
        let x = tensor([4])
        let v = Relay.Var("v", x.checkedType)
        func notes(_ f: Relay.Function) -> String {
            failure { try Relay.checkWellFormed(f) }?.notes.joined() ?? "none"
        }
        #expect(notes(Relay.Function([x], v)).contains("RELAY042"))
        #expect(notes(Relay.Function([x, x], x)).contains("RELAY041"))
        let inner = Relay.Let(v, x, v)
        #expect(notes(Relay.Function([x], try Relay.call("add", [inner, v]))).contains("RELAY043"))
        #expect(notes(Relay.Function([x], Relay.Let(v, v, x))).contains("RELAY043"))
        #expect(notes(Relay.Function([x], Relay.Let(v, tensor([3]), v))).contains("RELAY044"))
        #expect(notes(Relay.Function([Relay.Var("o", IncompleteType())], x)).contains("RELAY046"))
        let g = GlobalVar("g", type: FuncType([x.checkedType], x.checkedType))
        let module = IRModule(Relay.Function([x], try Relay.Call(g, [x])))
        #expect(failure { try Relay.checkWellFormed(module) }?.notes.joined().contains("RELAY045") == true)
        let whole = module.updating("g", Relay.Function([v], v))
        try Relay.checkWellFormed(whole)
    }
}
