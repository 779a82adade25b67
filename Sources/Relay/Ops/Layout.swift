import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

extension Relay {
    /// The order of a tensor's axes, such as `NCHW` or `NCHW16c`: a capital is an axis, a number with a small
    /// letter the inner part of that axis, cut off in pieces of this size. (TVM's notation.)
    public struct Layout: Hashable, Sendable, CustomStringConvertible {
        /// One axis of the tensor.
        public struct Axis: Hashable, Sendable {
            /// The capital letter.
            public let name: Character
            /// nil for the axis itself (or its outer part); else the size of the inner part.
            public let factor: Int?
        }

        /// In the tensor's order.
        public let axes: [Axis]
        public let description: String

        /// - Throws: RELAY006 for text that is no layout.
        public init(_ text: String) throws {
            func failure(_ why: String) -> ApusError {
                ApusError(
                    "RELAY006", "not a layout: \(why)", expected: "such as NCHW or NCHW16c",
                    actual: "\"\(text.prefix(40))\"")
            }
            var axes: [Axis] = []
            var factor: Int?
            for c in text.utf8 {
                if c >= 48 && c <= 57 {
                    let next = (factor ?? 0) * 10 + Int(c - 48)
                    guard next > 0, next <= 1 << 20 else { throw failure("a factor out of range") }
                    factor = next
                    continue
                }
                let isCapital = c >= 65 && c <= 90
                guard isCapital || (c >= 97 && c <= 122), axes.count < 16 else {
                    throw failure("a bad character")
                }
                let name = Character(UnicodeScalar(isCapital ? c : c - 32))
                guard isCapital == (factor == nil) else {
                    throw failure("a factor belongs to a small letter")
                }
                let axis = Axis(name: name, factor: factor)
                guard !axes.contains(where: { $0.name == name && ($0.factor == nil) == isCapital }) else {
                    throw failure("an axis twice")
                }
                axes.append(axis)
                factor = nil
            }
            guard factor == nil, !axes.isEmpty else { throw failure("incomplete") }
            for a in axes where a.factor != nil {
                guard axes.contains(where: { $0.name == a.name && $0.factor == nil }) else {
                    throw failure("an inner part without its axis")
                }
            }
            self.axes = axes
            self.description = text
        }

        /// The capitals in order.
        public var names: [Character] { axes.compactMap { $0.factor == nil ? $0.name : nil } }
        /// The size of the inner part of an axis; 1 where there is none.
        public func factor(of name: Character) -> Int {
            for a in axes where a.name == name { if let f = a.factor { return f } }
            return 1
        }
        /// Whether some axis is cut.
        public var isPacked: Bool { axes.contains { $0.factor != nil } }

        /// Place of the (outer part of the) axis, or nil.
        public func index(of name: Character) -> Int? {
            axes.firstIndex { $0.name == name && $0.factor == nil }
        }

        /// The full extents by the letters of `order` of a tensor of `shape` in this layout.
        /// - Throws: RELAY005 where the shape does not have this layout, RELAY006 where the letters differ.
        func logical(_ shape: [PrimExpr], order: String) throws -> [PrimExpr] {
            guard Set(names) == Set(order), names.count == order.count else {
                throw ApusError(
                    "RELAY006", "the layout does not have the axes that the operator needs",
                    expected: "an arrangement of \(order)", actual: description)
            }
            guard shape.count == axes.count else {
                throw ApusError(
                    "RELAY005", "the tensor does not have the axes of its layout", expected: "\(description)",
                    actual: "\(shape.count) axes")
            }
            for (i, a) in axes.enumerated() {
                guard let factor = a.factor else { continue }
                guard shape[i].asInt == factor else {
                    throw ApusError(
                        "RELAY005", "the inner part of \(a.name) has another extent than the layout says",
                        expected: "\(factor)", actual: "\(shape[i])")
                }
            }
            return try order.map { name in
                guard let at = index(of: name) else { return Dim.one }
                return try Dim.mul(shape[at], factor(of: name))
            }
        }

        /// The shape in this layout of a tensor whose full extents by the letters of `order` are `extents`.
        /// - Throws: RELAY005 where a factor does not divide an extent.
        func physical(_ extents: [PrimExpr], order: String) throws -> [PrimExpr] {
            let letters = Array(order)
            guard Set(names) == Set(letters), names.count == letters.count else {
                throw ApusError(
                    "RELAY006", "the layouts have different axes", expected: "an arrangement of \(order)",
                    actual: description)
            }
            return try axes.map { a in
                if let factor = a.factor { return IntImm(factor) }
                guard let i = letters.firstIndex(of: a.name) else { return Dim.one }
                let factor = self.factor(of: a.name)
                if let n = extents[i].asInt, n % factor != 0 {
                    throw ApusError(
                        "RELAY005",
                        "the layout \(description) cuts \(a.name) in pieces that do not come out even",
                        expected: "a multiple of \(factor)", actual: "\(n)", hint: "pad the axis first")
                }
                return Dim.floorDiv(extents[i], factor)
            }
        }
    }
}
