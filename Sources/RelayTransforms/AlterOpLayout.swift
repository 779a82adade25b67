import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport
import ApusTIR

/// Chooses layouts that vector units like: convolutions take and give channels in blocks of one vector
/// (`NCHW` → `NCHW{c}c`), dense layers take weights packed `[N/c][K][c]`. The blocked layout flows through what lies
/// between (elementwise operators, pooling, concatenation), and weights are transformed at compile time.
///
/// Channels need not fill whole blocks. What lies in the surplus lanes of the last block is unspecified, infinities and
/// NaN included, and never reaches a result, because no operator on blocked values mixes lanes: elementwise operators,
/// pooling, means over an image and depthwise convolutions stay within a lane, other convolutions read the real channels
/// only (`in_channels`), a concatenation stays blocked where nothing follows a part that is not whole blocks, and the way
/// back to the plain layout cuts the surplus off.
///
/// Source of the idea: TVM's `AlterOpLayout` with NCHWc (Liu et al., "Optimizing CNN Model Inference on CPUs",
/// USENIX ATC 2019); here one forward walk that keeps both forms of a value and converts on demand.
///
/// - Parameter lanes: 32-bit floats in a vector. A function most of whose convolutions have channels that fill only half
///   vectors gets blocks of half the size.
/// - Parameter winogradTile: which tile of Winograd's method to compute a convolution with, if any; by default none.
public func alterOpLayout(
    lanes: Int, winogradTile: @escaping @Sendable (WinogradQuestion) -> Int? = { _ in nil }
) -> some Pass {
    FunctionPass<Relay.Function>(
        PassInfo("AlterOpLayout", "channels in blocks of one vector of \(lanes)", level: 3)
    ) { function, _, _ in
        PackedOps.registerAll()
        var rewriter = LayoutRewriter(
            block: channelBlock(of: function.body, lanes: lanes), lanes: lanes, winogradTile: winogradTile)
        return try rewriter.run(function)
    }
}

/// A convolution of 3 x 3 taps and stride 1 that Winograd's method could compute.
public struct WinogradQuestion: Sendable {
    public let batch: Int
    public let inChannels: Int
    public let outChannels: Int
    /// Of the result.
    public let height: Int
    public let width: Int
}

private struct LayoutRewriter {
    /// Of values that are kept in blocks.
    static let elements: Set<DataType> = [.float32, .bfloat16, .int32, .uint8, .int8]

    let block: Int
    /// 32-bit floats in a vector.
    let lanes: Int
    /// The value of an old node in the plain layout, and in the blocked one; at least one exists once visited.
    private var plainForm: [ObjectIdentifier: RelayExpr] = [:]
    private var blockedForm: [ObjectIdentifier: RelayExpr] = [:]

    private let winogradTile: @Sendable (WinogradQuestion) -> Int?

    init(block: Int, lanes: Int, winogradTile: @escaping @Sendable (WinogradQuestion) -> Int?) {
        self.block = block
        self.lanes = lanes
        self.winogradTile = winogradTile
    }

    mutating func run(_ function: Relay.Function) throws -> Relay.Function {
        for p in function.params { plainForm[ObjectIdentifier(p)] = p }
        for node in Relay.postOrder(function.body, intoFunctions: false) {
            if node.exprKind == .op { continue }
            // A tuple is built only where someone wants it: a concatenation takes its fields as they are.
            if node.exprKind == .tuple { continue }
            if let call = node as? Relay.Call, let op = call.op as? Op, let new = try blockedCall(call, op) {
                blockedForm[ObjectIdentifier(node)] = new
            } else if let call = node as? Relay.Call, let new = try packedProduct(call) {
                plainForm[ObjectIdentifier(node)] = new
            } else {
                var children: [ObjectIdentifier: RelayExpr] = [:]
                for c in Relay.children(of: node) where c.exprKind != .op {
                    children[ObjectIdentifier(c)] = try plain(c)
                }
                let map = children
                plainForm[ObjectIdentifier(node)] = try Relay.rebuilt(node) {
                    map[ObjectIdentifier($0)] ?? $0
                }
            }
        }
        return try function.with(body: try plain(function.body))
    }

    // MARK: Forms of a value

    /// Whether windows over values in the plain layout pay for the way there and back: their steps are no vectors in it,
    /// and most lanes of the blocks would be channels.
    private func isWorthBlocks(_ pool: Relay.Call) -> Bool {
        guard let window = pool.attrs.ints("pool_size") else { return false }
        return window.reduce(1, *) > 1 && fillsBlocks(pool)
    }

    /// Whether the channels of the operand are at least three quarters of whole blocks.
    private func fillsBlocks(_ call: Relay.Call) -> Bool {
        guard let type = call.args[0].tensorType, let shape = type.staticShape, shape.count == 4,
            Self.elements.contains(type.dtype)
        else { return false }
        return 4 * shape[1] >= 3 * roundedUp(shape[1], block)
    }

    private mutating func plain(_ old: RelayExpr) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = plainForm[id] { return known }
        let result: RelayExpr
        if let tuple = old as? Relay.Tuple {
            var fields: [RelayExpr] = []
            for f in tuple.fields { fields.append(try plain(f)) }
            result = Relay.Tuple(fields, span: tuple.span)
        } else if let value = blockedForm[id] {
            let all = try transform(value, from: blockedLayout, to: "NCHW")
            result = try cropped(all, to: channels(of: old))
        } else {
            internalError("AlterOpLayout met a use before its definition")
        }
        plainForm[id] = result
        return result
    }

    private mutating func blocked(_ old: RelayExpr) throws -> RelayExpr {
        let id = ObjectIdentifier(old)
        if let known = blockedForm[id] { return known }
        let result = try blocks(of: try plain(old))
        blockedForm[id] = result
        return result
    }

    /// A plain value of four axes in blocks, the last filled up with zeros.
    private func blocks(of e: RelayExpr) throws -> RelayExpr {
        try transform(try padded(e, [1: block]), from: "NCHW", to: blockedLayout)
    }

    /// `e` with zeros behind the axes named, up to multiples.
    private func padded(_ e: RelayExpr, _ multiples: [Int: Int]) throws -> RelayExpr {
        guard let type = e.tensorType else { return e }
        var widths = [Int](repeating: 0, count: 2 * type.rank)
        for (axis, multiple) in multiples {
            guard let n = type.shape[axis].asInt else { continue }
            widths[2 * axis + 1] = roundedUp(n, multiple) - n
        }
        if widths.allSatisfy({ $0 == 0 }) { return e }
        return try Relay.call(
            "nn.pad", [e, try Relay.scalar(0, type.dtype)],
            ["pad_width": .ints(widths), "pad_mode": "constant"])
    }

    /// The first `count` channels of a plain value.
    private func cropped(_ e: RelayExpr, to count: Int?) throws -> RelayExpr {
        guard let count, let all = e.tensorType?.shape[1].asInt, all != count else { return e }
        return try Relay.call(
            "strided_slice", [e],
            ["begin": .ints([0]), "end": .ints([count]), "strides": .ints([1]), "axes": .ints([1])])
    }

    private func channels(of e: RelayExpr) -> Int? {
        guard let shape = e.tensorType?.shape, shape.count == 4 else { return nil }
        return shape[1].asInt
    }

    private var blockedLayout: String { "NCHW\(block)c" }

    private func transform(_ e: RelayExpr, from: String, to: String) throws -> RelayExpr {
        try Relay.call("layout_transform", [e], ["src_layout": .string(from), "dst_layout": .string(to)])
    }

    private func isBlocked(_ old: RelayExpr) -> Bool { blockedForm[ObjectIdentifier(old)] != nil }

    /// Whether a value of this type has a blocked form.
    private func canBlock(_ e: RelayExpr) -> Bool { (channels(of: e) ?? 0) > 0 }

    // MARK: Operators

    /// The call on blocked operands, or nil where it stays plain.
    private mutating func blockedCall(_ call: Relay.Call, _ op: Op) throws -> RelayExpr? {
        if op.name == "concatenate" { return try concatenation(call, op) }
        guard canBlock(call), let type = call.tensorType?.dtype, LayoutRewriter.elements.contains(type) else {
            return nil
        }
        switch op.name {
        case "nn.conv2d": return try convolution(call)
        case "nn.max_pool2d", "nn.avg_pool2d", "nn.global_max_pool2d", "nn.global_avg_pool2d":
            guard call.attrs.string("layout") == "NCHW", isBlocked(call.args[0]) || isWorthBlocks(call)
            else { return nil }
            let attrs = call.attrs.setting("layout", .string(blockedLayout))
            return try Relay.Call(op, [try blocked(call.args[0])], attrs, span: call.span)
        case "mean", "sum", "max", "min":
            guard isBlocked(call.args[0]), call.attrs.ints("axis") == [2, 3],
                call.attrs.bool("keepdims") == true,
                call.attrs.bool("exclude") != true
            else { return nil }
            return try Relay.Call(op, [try blocked(call.args[0])], call.attrs, span: call.span)
        case "nn.bias_add":
            guard isBlocked(call.args[0]), call.attrs.int("axis") == 1 else { return nil }
            guard let shape = call.args[1].tensorType?.staticShape else { return nil }
            let bias = try Relay.call(
                "reshape", [try padded(try plain(call.args[1]), [0: block])],
                ["newshape": .ints([roundedUp(shape[0], block) / block, 1, 1, block])])
            return try Relay.call("add", [try blocked(call.args[0]), bias])
        case "image.resize":
            // Rows of an image are taken and mixed at uneven distances: only channels are vectors.
            guard call.attrs.string("layout") == "NCHW", isBlocked(call.args[0]) || fillsBlocks(call)
            else { return nil }
            return try Relay.Call(
                op, [try blocked(call.args[0])], call.attrs.setting("layout", .string(blockedLayout)),
                span: call.span)
        case "nn.pad":
            // Around the image only, with one value.
            guard isBlocked(call.args[0]), let widths = call.attrs.ints("pad_width"), widths.count == 8,
                widths.prefix(4).allSatisfy({ $0 == 0 }), call.attrs.string("pad_mode") == "constant"
            else { return nil }
            return try Relay.Call(
                op, [try blocked(call.args[0]), try plain(call.args[1])],
                call.attrs.setting("pad_width", .ints(widths + [0, 0])), span: call.span)
        default:
            guard let pattern = op[Relay.opPattern], pattern <= .broadcast,
                call.args.contains(where: { isBlocked($0) })
            else { return nil }
            return try elementwise(call)
        }
    }

    private mutating func elementwise(_ call: Relay.Call) throws -> RelayExpr? {
        guard let channels = channels(of: call) else { return nil }
        // One channel for all must not be taken from a block, in which it is the first of many.
        func asItIs(_ a: RelayExpr) -> Bool { isBlocked(a) && self.channels(of: a) == channels }
        guard call.args.contains(where: asItIs) else { return nil }
        for a in call.args where !asItIs(a) {
            guard let own = a.tensorType?.staticShape, own.count <= 4 else { return nil }
            if own.count >= 3, own[own.count - 3] != 1, own[own.count - 3] != channels { return nil }
        }
        var args: [RelayExpr] = []
        for a in call.args {
            if asItIs(a) {
                args.append(try blocked(a))
                continue
            }
            let own = a.tensorType?.staticShape ?? []
            if own.isEmpty {
                args.append(try plain(a))
                continue
            }
            let shape = Array(repeating: 1, count: 4 - own.count) + own
            if shape[1] == 1 {
                args.append(
                    try Relay.call("reshape", [try plain(a)], ["newshape": .ints(shape + [1])]))
            } else {
                let full =
                    own.count == 4
                    ? try plain(a) : try Relay.call("reshape", [try plain(a)], ["newshape": .ints(shape)])
                args.append(try blocks(of: full))
            }
        }
        return try Relay.Call(call.op, args, call.attrs, span: call.span)
    }

    private mutating func concatenation(_ call: Relay.Call, _ op: Op) throws -> RelayExpr? {
        guard let tuple = call.args[0] as? Relay.Tuple, canBlock(call) else { return nil }
        let axis = call.attrs.int("axis") ?? 0
        guard axis == 1 || axis == -3, tuple.fields.allSatisfy({ isBlocked($0) }),
            tuple.fields.dropLast().allSatisfy({ (channels(of: $0) ?? 1) % block == 0 })
        else { return nil }
        var fields: [RelayExpr] = []
        for f in tuple.fields { fields.append(try blocked(f)) }
        return try Relay.Call(op, [Relay.Tuple(fields)], call.attrs.setting("axis", 1), span: call.span)
    }

    private mutating func convolution(_ call: Relay.Call) throws -> RelayExpr? {
        let attrs = call.attrs
        guard attrs.string("data_layout") == "NCHW", attrs.string("kernel_layout") == "OIHW",
            isConvertedConstant(call.args[1]), let weight = call.args[1].tensorType?.staticShape,
            call.tensorType?.staticShape != nil,
            let channels = call.args[0].tensorType?.shape[1].asInt, weight.count == 4,
            let left = call.args[0].tensorType?.dtype, let right = call.args[1].tensorType?.dtype,
            let result = call.tensorType?.dtype
        else { return nil }
        let groups = attrs.int("groups") ?? 1
        let depthwise = groups > 1 && groups == channels && weight[0] == channels
        let dot = depthwise ? nil : dotProduct(call)
        // Plain numbers are multiplied in the type of the result.
        let plainNumbers = left == right && (left == result || left == .bfloat16)
        guard dot != nil || plainNumbers, LayoutRewriter.elements.contains(left) else { return nil }
        var data: RelayExpr
        // Channels of the data that a block of the weight belongs to, and channels read.
        var inner = 1
        var read = 0
        if depthwise {
            data = try blocked(call.args[0])
        } else if let dot, groups == 1, channels < block, !isBlocked(call.args[0]) {
            // The first layer of most networks: its few channels fill one word or two.
            inner = roundedUp(channels, dot.perWord)
            data = try transform(
                try padded(try plain(call.args[0]), [1: inner]), from: "NCHW", to: "NCHW\(inner)c")
        } else if let dot, groups == 1, channels % dot.perWord != 0 {
            // Surplus lanes may hold anything, and would share a word with a channel that is read.
            data = try blocks(of: try plain(call.args[0]))
            inner = block
        } else if dot == nil && groups == 1 && channels % block != 0 && !isBlocked(call.args[0]) {
            // The first layer of most networks: three channels are read as they lie.
            data = try plain(call.args[0])
        } else if groups == 1 || (weight[1] % block == 0 && (weight[0] / groups) % block == 0) {
            data = try blocked(call.args[0])
            inner = block
            if channels % block != 0 { read = channels }
        } else {
            return nil
        }
        if dot == nil, left == .float32, inner == block, read == 0, groups == 1,
            let tile = winogradTile(for: call, weight)
        {
            return try winograd(call, data, tile)
        }
        let filled = try padded(try plain(call.args[1]), [0: block, 1: inner])
        var packed = try transform(filled, from: "OIHW", to: "OIHW\(inner)i\(block)o")
        if let dot {
            packed = try words(packed, axis: 4)
            data = try words(data, axis: 4)
            read /= dot.perWord
        }
        var settings = Attrs([
            "strides": attrs["strides"] ?? .ints([1, 1]),
            "padding": attrs["padding"] ?? .ints([0, 0, 0, 0]),
            "dilation": attrs["dilation"] ?? .ints([1, 1]),
            "groups": .int(depthwise ? roundedUp(groups, block) : groups),
        ])
        if read > 0 { settings = settings.setting("in_channels", .int(read)) }
        if let dot {
            settings = settings.setting("dot", .string(dot.rawValue))
        } else if left != result {
            settings = settings.setting("out_dtype", .dtype(result))
        }
        return try Relay.call("nn.contrib_conv2d_NCHWc", [data, packed], attrs: settings)
    }

    // MARK: Winograd's method

    /// The tile with which to compute a convolution by Winograd's method, or nil.
    private func winogradTile(for call: Relay.Call, _ weight: [Int]) -> Int? {
        let attrs = call.attrs
        let apart = attrs.ints("dilation") ?? [1, 1]
        guard weight[2] == 3, weight[3] == 3, weight[0] % block == 0, block == lanes,
            attrs.ints("strides") ?? [1, 1] == [1, 1], apart.count == 2,
            zip(attrs.ints("padding") ?? [], apart + apart).allSatisfy({ $0 % $1 == 0 }),
            let result = call.tensorType?.staticShape, !result.contains(0), apart[0] <= result[2],
            apart[1] <= result[3]
        else { return nil }
        let height = (result[2] + apart[0] - 1) / apart[0]
        let width = (result[3] + apart[1] - 1) / apart[1]
        // Parts that are filled up by more than a quarter cost what the method saves.
        let filled =
            Double(height * apart[0]) / Double(result[2]) * (Double(width * apart[1]) / Double(result[3]))
        guard filled <= 1.25 else { return nil }
        return winogradTile(
            WinogradQuestion(
                batch: result[0] * apart[0] * apart[1], inChannels: weight[1], outChannels: weight[0],
                height: height, width: width))
    }

    /// Taps `d` pixels apart see every d-th row and column of the image only: each of these parts is an image of its own,
    /// convolved with taps side by side. Source: space-to-batch, as for dilated convolutions in TensorFlow.
    private mutating func winograd(_ call: Relay.Call, _ data: RelayExpr, _ tile: Int) throws -> RelayExpr {
        let panels = try Relay.call(
            "nn.contrib_conv2d_winograd_weight_transform", [try plain(call.args[1])],
            ["tile_size": .int(tile), "channel_block": .int(block)])
        let apart = call.attrs.ints("dilation") ?? [1, 1]
        let padding = zip(call.attrs.ints("padding") ?? [0, 0, 0, 0], apart + apart).map { $0 / $1 }
        let result = try Relay.call(
            "nn.contrib_conv2d_winograd_without_weight_transform", [try parts(of: data, apart), panels],
            ["tile_size": .int(tile), "padding": .ints(padding)])
        return try whole(from: result, apart, size: Array(call.tensorType?.staticShape?.dropFirst(2) ?? []))
    }

    /// An image in blocks as `apart[0] * apart[1]` images of every n-th row and column, with zeros at the end where they are
    /// no multiple.
    private func parts(of image: RelayExpr, _ apart: [Int]) throws -> RelayExpr {
        if apart == [1, 1] { return image }
        let e = try padded(image, [2: apart[0], 3: apart[1]])
        guard let x = e.tensorType?.staticShape else { return image }
        let (h, w) = (x[2] / apart[0], x[3] / apart[1])
        let cut = try reshape(e, [x[0], x[1], h, apart[0], w, apart[1], x[4]])
        let sorted = try transpose(cut, [0, 3, 5, 1, 2, 4, 6])
        return try reshape(sorted, [x[0] * apart[0] * apart[1], x[1], h, w, x[4]])
    }

    /// The image of `size` pixels that `parts` made these of.
    private func whole(from parts: RelayExpr, _ apart: [Int], size: [Int]) throws -> RelayExpr {
        guard apart != [1, 1], let x = parts.tensorType?.staticShape, size.count == 2 else { return parts }
        let n = x[0] / (apart[0] * apart[1])
        let sorted = try reshape(parts, [n, apart[0], apart[1]] + x[1...])
        let moved = try transpose(sorted, [0, 3, 4, 1, 5, 2, 6])
        let all = [x[2] * apart[0], x[3] * apart[1]]
        let image = try reshape(moved, [n, x[1]] + all + [x[4]])
        if all == size { return image }
        return try Relay.call(
            "strided_slice", [image],
            [
                "begin": .ints([0, 0]), "end": .ints(size), "strides": .ints([1, 1]), "axes": .ints([2, 3]),
            ])
    }

    // MARK: Matrix products

    /// A matrix product in the form that vector units like, or nil where it stays.
    private mutating func packedProduct(_ call: Relay.Call) throws -> RelayExpr? {
        switch call.opName {
        case "nn.dense": return try packedDense(call)
        case "nn.matmul", "nn.batch_matmul":
            // Narrow operands are taken in words of several steps of the reduction.
            guard let dot = dotProduct(call), call.tensorType?.staticShape != nil,
                !(call.attrs.bool("transpose_a") ?? false),
                call.args.allSatisfy({ $0.tensorType?.staticShape?.contains(0) == false })
            else { return nil }
            let transposed = call.attrs.bool("transpose_b") ?? false
            let a = try words(try plain(call.args[0]))
            let b = try plain(call.args[1])
            return try Relay.call(
                "nn.contrib_matmul_words", [a, transposed ? try words(b) : b],
                ["transpose_b": .bool(transposed), "dot": .string(dot.rawValue)])
        default: return nil
        }
    }

    /// Elements along an axis (the last where none is given) in words. Along the last one they are words already once they
    /// fill them.
    private func words(_ e: RelayExpr, axis: Int? = nil) throws -> RelayExpr {
        guard let type = e.tensorType else { return e }
        let last = type.rank - 1
        var whole = e
        if axis ?? last == last {
            whole = try padded(e, [last: 4 / max(1, type.dtype.byteCount)])
            // A caller's memory is aligned for its elements only: not for words.
            if whole === e, isParameter(e) { whole = try Relay.call("copy", [e]) }
        }
        return try Relay.call("nn.contrib_words", [whole], ["axis": .int(axis ?? last)])
    }

    /// Whether a value lies in a parameter's memory.
    private func isParameter(_ e: RelayExpr) -> Bool {
        var e = e
        while let call = e as? Relay.Call, ["reshape", "squeeze", "expand_dims"].contains(call.opName) {
            e = call.args[0]
        }
        return e.exprKind == .variable
    }

    /// The product of words for the element types of a call; nil for plain numbers.
    private func dotProduct(_ call: Relay.Call) -> DotProduct? {
        guard call.args.count == 2, let left = call.args[0].tensorType?.dtype,
            let right = call.args[1].tensorType?.dtype
        else { return nil }
        return DotProduct.allCases.first {
            $0.elements == (left: left, right: right) && $0.sumType == call.tensorType?.dtype
        }
    }

    /// A dense layer of constant weight with its weight in panels of one vector of outputs; the last panel are computed
    /// on zeros and cut off.
    private mutating func packedDense(_ call: Relay.Call) throws -> RelayExpr? {
        guard isConvertedConstant(call.args[1]), let weight = call.args[1].tensorType?.staticShape,
            let type = call.tensorType, let shape = type.staticShape,
            let dataShape = call.args[0].tensorType?.staticShape,
            dataShape.count >= 1
        else { return nil }
        let n = weight[0]
        let k = weight[1]
        if n == 0 || k == 0 || shape.contains(0) { return nil }
        let dot = dotProduct(call)
        guard
            dot != nil
                || (type.dtype == .float32 && call.args.allSatisfy { $0.tensorType?.dtype == .float32 })
        else { return nil }
        let block = lanes
        let panels = (n + block - 1) / block
        var data = try plain(call.args[0])
        var w = try padded(try plain(call.args[1]), [0: block])
        if dot != nil {
            data = try words(data)
            w = try words(w)
        }
        w = try transform(w, from: "NK", to: "NK\(block)n")
        let all = try Relay.call(
            "nn.contrib_dense_pack", [data, w],
            ["units": .int(panels * block), "dot": .string(dot?.rawValue ?? "")])
        if panels * block == n { return all }
        // Whole vectors are computed and the rest is cut off: a tail in the kernel would cost more.
        return try Relay.call(
            "strided_slice", [all],
            ["begin": .ints([0]), "end": .ints([n]), "strides": .ints([1]), "axes": .ints([shape.count - 1])])
    }
}
