import Apus

/// C = A B for square matrices, with the analytic schedule.
func matmul(_ n: Int, _ target: Target) throws -> PrimFunc {
    let a = placeholder([n, n], name: "A")
    let b = placeholder([n, n], name: "B")
    let k = reduceAxis(n)
    let c = try compute([n, n], name: "C") { reduceSum(a[$0[0], k.variable] * b[k.variable, $0[1]], [k]) }
    return try TOPI.schedule(try createPrimFunc([a, b, c]), target: target)
}

/// resnet18 for one image as exporters leave it after batch normalisation was folded: convolution and bias.
/// The weights are parameters, so that nothing is computed at compile time.
func resnet18() throws -> IRModule {
    Relay.registerAll()
    var params: [Relay.Var] = []
    func parameter(_ shape: [Int]) -> Relay.Var {
        let v = Relay.Var("p\(params.count)", shape: shape)
        params.append(v)
        return v
    }
    func conv(_ x: RelayExpr, _ from: Int, _ to: Int, _ kernel: Int, stride: Int) throws -> RelayExpr {
        let pad = kernel / 2
        let y = try Relay.call(
            "nn.conv2d", [x, parameter([to, from, kernel, kernel])],
            [
                "kernel_size": .ints([kernel, kernel]), "channels": .int(to),
                "strides": .ints([stride, stride]),
                "padding": .ints([pad, pad, pad, pad]),
            ])
        return try Relay.call("add", [y, parameter([to, 1, 1])])
    }
    func relu(_ x: RelayExpr) throws -> RelayExpr { try Relay.call("nn.relu", [x]) }
    func block(_ x: RelayExpr, _ from: Int, _ to: Int, stride: Int) throws -> RelayExpr {
        let y = try conv(try relu(try conv(x, from, to, 3, stride: stride)), to, to, 3, stride: 1)
        let skip = stride == 1 && from == to ? x : try conv(x, from, to, 1, stride: stride)
        return try relu(try Relay.call("add", [y, skip]))
    }
    let image = Relay.Var("x", shape: [1, 3, 224, 224])
    var y = try relu(try conv(image, 3, 64, 7, stride: 2))
    y = try Relay.call(
        "nn.max_pool2d", [y],
        ["pool_size": .ints([3, 3]), "strides": .ints([2, 2]), "padding": .ints([1, 1, 1, 1])])
    var channels = 64
    for (stage, to) in [64, 128, 256, 512].enumerated() {
        y = try block(y, channels, to, stride: stage == 0 ? 1 : 2)
        y = try block(y, to, to, stride: 1)
        channels = to
    }
    y = try Relay.call("nn.global_avg_pool2d", [y])
    y = try Relay.call("reshape", [y], ["newshape": .ints([1, 512])])
    y = try Relay.call("nn.dense", [y, parameter([1000, 512])], ["units": .int(1000)])
    y = try Relay.call("add", [y, parameter([1000])])
    return IRModule(Relay.Function([image] + params, y))
}
