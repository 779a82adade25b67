import ApusIR
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR

extension TOPI {
    /// An order of named axes with blocked ones: `NCHW16c` is N, C / 16, H, W, C % 16. An upper-case letter
    /// is an axis or its outermost part; a number with a lower-case letter is an inner part, the more
    /// significant first.
    public struct Layout: Sendable, Equatable {
        /// One axis of the tensor: the letter (upper case) it is a part of, and its extent if it is an
        /// inner part.
        public struct Axis: Sendable, Equatable {
            public let letter: Character
            public let factor: Int?
        }

        public let text: String
        public let axes: [Axis]

        /// TOPI005 where `text` is not a layout: an unknown character, a repeated axis, an inner part alone.
        public init(_ text: String) throws {
            var axes: [Axis] = []
            var number: Int?
            func invalid(_ why: String) -> ApusError {
                ApusError(
                    "TOPI005", "\"\(text)\" is not a layout: \(why)", hint: "for example NCHW or NCHW16c")
            }
            for c in text {
                if c.isASCII, let digit = c.wholeNumberValue {
                    let n = (number ?? 0) * 10 + digit
                    guard n <= 65_536 else { throw invalid("a block is too large") }
                    number = n
                } else if c.isASCII, c.isUppercase {
                    if number != nil { throw invalid("a number must stand before a lower-case letter") }
                    if axes.contains(where: { $0.letter == c && $0.factor == nil }) {
                        throw invalid("axis \(c) twice")
                    }
                    axes.append(Axis(letter: c, factor: nil))
                } else if c.isASCII, c.isLowercase, let upper = c.uppercased().first {
                    guard let n = number, n > 0 else { throw invalid("\(c) needs the size of the block") }
                    axes.append(Axis(letter: upper, factor: n))
                    number = nil
                } else {
                    throw invalid("unexpected character \(c)")
                }
            }
            if number != nil || axes.isEmpty { throw invalid("it ends too early") }
            for a in axes where a.factor != nil {
                if !axes.contains(where: { $0.letter == a.letter && $0.factor == nil }) {
                    throw invalid("inner part of \(a.letter) without \(a.letter)")
                }
            }
            self.text = text
            self.axes = axes
        }

        public var rank: Int { axes.count }
        /// The axes in order of appearance, blocked ones once.
        public var letters: [Character] { axes.filter { $0.factor == nil }.map(\.letter) }
        /// Where the (outermost part of the) axis stands; nil if there is none.
        public func position(_ letter: Character) -> Int? {
            axes.firstIndex { $0.letter == letter && $0.factor == nil }
        }
        /// Whether the axis is split into parts.
        public func isBlocked(_ letter: Character) -> Bool {
            axes.contains { $0.letter == letter && $0.factor != nil }
        }
        /// The product of the inner parts of an axis.
        public func blockSize(_ letter: Character) -> Int {
            axes.reduce(1) { $1.letter == letter ? $0 * ($1.factor ?? 1) : $0 }
        }

        /// The extents of the whole axes of a tensor of `shape`, padding of blocks included.
        func extents(_ shape: [PrimExpr]) -> [Character: PrimExpr] {
            var result: [Character: PrimExpr] = [:]
            for (a, dim) in zip(axes, shape) { result[a.letter] = (result[a.letter] ?? imm(1)) * dim }
            return result
        }

        /// The dimensions of a tensor whose axes have the given extents; a last block is padded.
        func shape(_ extents: [Character: PrimExpr]) -> [PrimExpr] {
            axes.map { a in
                if let f = a.factor { return imm(f) }
                let extent = extents[a.letter] ?? imm(1)
                let block = blockSize(a.letter)
                return block == 1 ? extent : ceilDiv(extent, imm(block))
            }
        }

        /// The positions in the whole axes that indices of the tensor stand for.
        func values(_ indices: [PrimExpr]) -> [Character: PrimExpr] {
            var result: [Character: PrimExpr] = [:]
            for (a, i) in zip(axes, indices) where a.factor == nil { result[a.letter] = i }
            for (a, i) in zip(axes, indices) {
                if let f = a.factor, let outer = result[a.letter] { result[a.letter] = outer * f + i }
            }
            return result
        }

        /// The indices of the tensor for positions in the whole axes.
        func indices(_ values: [Character: PrimExpr]) -> [PrimExpr] {
            axes.enumerated().map { n, a in
                let v = values[a.letter] ?? imm(0)
                guard let f = a.factor else {
                    let block = blockSize(a.letter)
                    return block == 1 ? v : floorDiv(v, block)
                }
                // Parts further inside are less significant.
                let inner = axes[(n + 1)...].reduce(1) { $1.letter == a.letter ? $0 * ($1.factor ?? 1) : $0 }
                return floorMod(inner == 1 ? v : floorDiv(v, inner), f)
            }
        }
    }

    /// The spatial letters of 1 to 3 dimensions.
    static func spatialLetters(_ n: Int) -> [Character] {
        n == 1 ? ["W"] : (n == 2 ? ["H", "W"] : ["D", "H", "W"])
    }

    /// `x` of layout `source` as layout `destination`; blocks that reach past the end are filled with zeros.
    /// `shape`, if given, is that of the result: it says how much of padded blocks is real.
    public static func layoutTransform(
        _ x: Tensor, from source: String, to destination: String, shape: [PrimExpr]? = nil
    ) throws -> Tensor {
        let s = try Layout(source)
        let d = try Layout(destination)
        try require(
            s.rank == x.rank && Set(s.letters) == Set(d.letters), "layout_transform",
            "no transformation of a tensor of \(x.rank) axes from \(source) to \(destination)")
        let extents = s.extents(x.shape)
        let out = shape ?? d.shape(extents)
        try require(out.count == d.rank, "layout_transform", "\(destination) does not have \(out.count) axes")
        return try compute(out, name: "layout_transform", tag: Tag.injective) { i in
            let values = d.values(i)
            var inside: [PrimExpr] = []
            for letter in d.letters where d.isBlocked(letter) {
                guard let v = values[letter], let extent = extents[letter] else { continue }
                let padded = extent.asInt.map { $0 % d.blockSize(letter) != 0 } ?? true
                if padded && !blocksAgree(s, d, letter) { inside.append(v .< extent) }
            }
            var index = s.indices(values)
            // An axis split the same way on both sides needs no arithmetic.
            for (n, a) in s.axes.enumerated() where blocksAgree(s, d, a.letter) {
                let rank = s.axes[..<n].filter { $0 == a }.count
                let places = d.axes.indices.filter { d.axes[$0] == a }
                index[n] = i[places[rank]]
            }
            return inside.isEmpty ? x[index] : ifThenElse(conjunction(inside), x[index], const(0, x.dtype))
        }
    }

    private static func blocksAgree(_ s: Layout, _ d: Layout, _ letter: Character) -> Bool {
        s.axes.filter { $0.letter == letter && $0.factor != nil }
            == d.axes.filter { $0.letter == letter && $0.factor != nil }
    }
}
