import ApusIR
import ApusRelay

/// The elements of `e` in order under another shape.
func reshape(_ e: RelayExpr, _ shape: [Int]) throws -> RelayExpr {
    try Relay.call("reshape", [e], ["newshape": .ints(shape)])
}

/// `e` with its axes in another order.
func transpose(_ e: RelayExpr, _ axes: [Int]) throws -> RelayExpr {
    try Relay.call("transpose", [e], ["axes": .ints(axes)])
}
