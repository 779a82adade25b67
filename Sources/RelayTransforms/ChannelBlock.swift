import ApusIR
import ApusRelay

/// How a convolution in groups becomes one whose groups are whole blocks of channels: `together` of them as one, with weights
/// of 0 between them, and groups of zeros behind the last where they are no multiple.
package struct GroupPlan {
    package let together: Int
    /// Groups of the result.
    package let sets: Int
    /// Multiply-adds at a pixel and a tap.
    package let work: Double

    /// The plan of the least work; where the groups do not fill blocks, all of them may also be one.
    package init(groups: Int, inputs: Int, outputs: Int, block: Int) {
        func lanes(_ t: Int) -> Double { Double(t * inputs) * Double(roundedUp(t * outputs, block)) }
        // A block of them fills blocks, whatever their size.
        let fits = (1...block).first { $0 * inputs % block == 0 && $0 * outputs % block == 0 } ?? block
        let count = (groups + fits - 1) / fits
        let asOne = lanes(groups)
        if asOne < Double(count) * lanes(fits) {
            (together, sets, work) = (groups, 1, asOne)
        } else {
            (together, sets, work) = (fits, count, Double(count) * lanes(fits))
        }
    }
}

/// The number of channels in a block for which the convolutions of a function take the least time, surplus lanes and groups
/// filled up included: a vector, or half of one.
func channelBlock(of body: RelayExpr, lanes: Int) -> Int {
    var best = lanes
    var bestCost = Double.infinity
    // Half vectors do half the work an instruction, of which wide vectors hide a part.
    for (block, factor) in [(lanes, 1.0), (lanes / 2, lanes >= 16 ? 1.3 : 2.0)] where block >= 4 {
        var cost = 0.0
        for node in Relay.postOrder(body, intoFunctions: false) {
            guard let call = node as? Relay.Call, call.opName == "nn.conv2d",
                let weight = call.args[1].tensorType?.staticShape, weight.count == 4,
                let output = call.tensorType?.staticShape, output.count == 4
            else { continue }
            let groups = call.attrs.int("groups") ?? 1
            var work = Double(roundedUp(weight[0], block)) * Double(weight[1])
            if groups > 1, weight[1] > 1 {
                work =
                    GroupPlan(groups: groups, inputs: weight[1], outputs: weight[0] / groups, block: block)
                    .work
            }
            cost += (weight[2...] + output[2...]).reduce(work) { $0 * Double($1) } * factor
        }
        if cost < bestCost {
            bestCost = cost
            best = block
        }
    }
    return best
}

/// The least multiple of `block` that is no less than `n`.
func roundedUp(_ n: Int, _ block: Int) -> Int { (n + block - 1) / block * block }
