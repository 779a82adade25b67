import ApusIR
import ApusNode
import ApusRelay
import ApusRuntime
import ApusSupport

/// Rewrites transposed convolutions whose windows do not overlap (stride = kernel, no padding): every output pixel comes
/// from one input pixel, so the operator is a pointwise convolution to `O * KH * KW` channels whose channels then move
/// into space.
///
/// `y[n, o, h*KH + i, w*KW + j] = sum_c x[n, c, h, w] * weight[c, o, i, j]`
public let simplifyConvTranspose = FunctionPass<Relay.Function>(
    PassInfo("SimplifyConvTranspose", "transposed convolutions without overlap become pointwise", level: 2)
) { function, _, _ in
    let body = try Relay.rewrite(function.body) { old, node in
        guard let call = node as? Relay.Call, (call.op as? Op)?.name == "nn.conv2d_transpose",
            let new = try pointwise(call)
        else { return node }
        return new
    }
    return try function.with(body: body)
}

private func pointwise(_ call: Relay.Call) throws -> RelayExpr? {
    let a = call.attrs
    guard a.string("data_layout") == "NCHW", a.string("kernel_layout") == "IOHW", a.int("groups") ?? 1 == 1,
        let weight = call.args[1].tensorType?.staticShape, weight.count == 4,
        let output = call.tensorType?.staticShape, let input = call.args[0].tensorType?.staticShape,
        call.tensorType?.dtype == call.args[0].tensorType?.dtype,
        a.ints("strides") == [weight[2], weight[3]], a.ints("dilation") ?? [1, 1] == [1, 1],
        (a.ints("padding") ?? []).allSatisfy({ $0 == 0 }),
        (a.ints("output_padding") ?? []).allSatisfy({ $0 == 0 })
    else { return nil }
    let (c, o, kh, kw) = (weight[0], weight[1], weight[2], weight[3])
    let channels = o * kh * kw
    let rows = try Relay.call("transpose", [call.args[1]], ["axes": .ints([1, 2, 3, 0])])
    let kernel = try Relay.call("reshape", [rows], ["newshape": .ints([channels, c, 1, 1])])
    let product = try Relay.call(
        "nn.conv2d", [call.args[0], kernel],
        [
            "kernel_size": .ints([1, 1]), "channels": .int(channels), "strides": .ints([1, 1]),
            "padding": .ints([0, 0, 0, 0]), "dilation": .ints([1, 1]), "groups": 1, "data_layout": "NCHW",
            "kernel_layout": "OIHW",
        ])
    let split = try Relay.call(
        "reshape", [product], ["newshape": .ints([input[0], o, kh, kw, input[2], input[3]])])
    let moved = try Relay.call("transpose", [split], ["axes": .ints([0, 1, 4, 2, 5, 3])])
    return try Relay.call("reshape", [moved], ["newshape": .ints(output)])
}
