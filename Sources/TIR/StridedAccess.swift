import ApusIR
import ApusSupport

/// Memory of one shape seen as axes of other extents: element `(i0, i1, …)` of the view lies `offset + Σ strides[k] * ik`
/// elements behind the first one.
///
/// Only views whose indices are affine, axis by axis of the memory, are representable: reading one then takes no division.
public struct StridedAccess: Sendable {
    /// For each axis of the memory, what each axis of the view adds to its index.
    public let coefficients: [[Int]]
    /// For each axis of the memory, where the view begins.
    public let origin: [Int]

    /// Nil where the view leaves the memory, or an index would depend on another by more than a sum.
    ///
    /// - Parameters:
    ///   - shape: of the memory, which is compact.
    ///   - extents: of the view, none of them 0.
    public init?(shape: [Int], extents: [Int], strides: [Int], offset: Int) {
        guard extents.count == strides.count, offset >= 0, strides.allSatisfy({ $0 >= 0 }),
            extents.allSatisfy({ $0 > 0 }), shape.allSatisfy({ $0 > 0 })
        else { return nil }
        var steps = [Int](repeating: 1, count: shape.count)
        for j in shape.indices.dropLast().reversed() {
            let (step, overflow) = steps[j + 1].multipliedReportingOverflow(by: shape[j + 1])
            if overflow { return nil }
            steps[j] = step
        }
        var coefficients = [[Int]](
            repeating: [Int](repeating: 0, count: extents.count), count: shape.count)
        var last: [Int] = []
        for j in shape.indices { last.append(j == 0 ? offset / steps[0] : offset / steps[j] % shape[j]) }
        origin = last
        for (k, stride) in strides.enumerated() where stride > 0 && extents[k] > 1 {
            guard
                let j = shape.indices.first(where: {
                    shape[$0] > 1 && stride % steps[$0] == 0 && steps[$0] <= stride
                })
            else { return nil }
            coefficients[j][k] = stride / steps[j]
            let (reach, overflow) = coefficients[j][k].multipliedReportingOverflow(by: extents[k] - 1)
            let (sum, above) = last[j].addingReportingOverflow(reach)
            if overflow || above { return nil }
            last[j] = sum
        }
        guard zip(last, shape).allSatisfy({ $0 < $1 }), !shape.isEmpty || offset == 0 else { return nil }
        self.coefficients = coefficients
    }

    /// The indices of the memory for those of the view.
    public func indices(_ view: [PrimExpr]) -> [PrimExpr] {
        coefficients.indices.map { j in
            var index: PrimExpr = IntImm(origin[j])
            for (k, c) in coefficients[j].enumerated() where c != 0 {
                index = origin[j] == 0 && index.isZero ? view[k] * c : index + view[k] * c
            }
            return index
        }
    }
}
