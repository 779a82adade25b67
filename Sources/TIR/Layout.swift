import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// The order of a tensor's axes by name: `NCHW`, or `NCHW16c`, where the 16 elements of a block of channels lie
/// innermost. A capital letter is a primal axis; a small one, always with its factor, is the inner part of the axis of
/// the same letter.
public struct Layout: Hashable, Sendable, CustomStringConvertible {
    /// One axis of a layout.
    public struct Axis: Hashable, Sendable {
        /// The capital letter.
        public let primal: Character
        /// Elements of a block, for the inner part of a split axis; nil for a primal axis.
        public let factor: Int?

        public var isPrimal: Bool { factor == nil }
        public var name: String { factor.map { "\($0)\(primal.lowercased())" } ?? String(primal) }
    }

    public let axes: [Axis]

    /// Parses a name. Empty = a scalar.
    /// - Throws: TIR150: an unknown character, an axis named twice, a factor missing or out of place, an inner axis
    ///   without its primal one.
    public init(_ name: String) throws {
        func bad(_ message: String, _ expected: String) -> ApusError {
            ApusError("TIR150", message, at: ["layout: \(name.prefix(60))"], expected: expected)
        }
        var axes: [Axis] = []
        var factor = 0
        for c in name {
            guard c.isASCII else { throw bad("a layout has letters and numbers only", "such as NCHW16c") }
            if let d = c.wholeNumberValue {
                let (scaled, o1) = factor.multipliedReportingOverflow(by: 10)
                let (sum, o2) = scaled.addingReportingOverflow(d)
                if o1 || o2 { throw bad("a factor beyond 64 bits", "a small number") }
                factor = sum
            } else if c.isUppercase {
                if factor != 0 { throw bad("`\(c)` is a primal axis and has no factor", "\(c)") }
                axes.append(Axis(primal: c, factor: nil))
            } else if c.isLowercase {
                if factor == 0 { throw bad("the inner axis `\(c)` needs a factor", "16\(c)") }
                axes.append(Axis(primal: Character(c.uppercased()), factor: factor))
                factor = 0
            } else {
                throw bad("`\(c)` is no axis", "letters and numbers, such as NCHW16c")
            }
        }
        if factor != 0 { throw bad("a factor without an axis", "a letter after \(factor)") }
        var seen: Set<Axis> = []
        var primals: Set<Character> = []
        for a in axes {
            // `NCHW4c8c` splits twice: inner axes may repeat a letter, with another factor.
            if !seen.insert(a).inserted { throw bad("the axis \(a.name) is named twice", "each once") }
            if a.isPrimal { primals.insert(a.primal) }
        }
        for a in axes where !primals.contains(a.primal) {
            throw bad("the inner axis \(a.name) has no axis `\(a.primal)`", "\(a.primal) in front of it")
        }
        self.axes = axes
    }

    init(axes: [Axis]) { self.axes = axes }

    public var name: String { axes.map(\.name).joined() }
    public var description: String { name }
    public var rank: Int { axes.count }

    /// The primal axes only, in order: `NCHW16c` → `NCHW`.
    public var primal: Layout { Layout(axes: axes.filter(\.isPrimal)) }

    /// The place of an axis by its letter, capital for the primal one; -1 if it is not there.
    public func indexOf(_ axis: Character) -> Int {
        guard let letter = axis.uppercased().first else { return -1 }
        let wantsPrimal = axis.isUppercase
        return axes.firstIndex { $0.primal == letter && $0.isPrimal == wantsPrimal } ?? -1
    }

    /// The product of the factors of an axis by its letter; -1 where it is not split.
    public func factorOf(_ axis: Character) -> Int {
        guard let letter = axis.uppercased().first else { return -1 }
        var product = 1
        var split = false
        for a in axes where a.primal == letter {
            guard let f = a.factor else { continue }
            split = true
            let (p, overflow) = product.multipliedReportingOverflow(by: f)
            product = overflow ? .max : p
        }
        return split ? product : -1
    }

    /// Whether it has an axis of the letter.
    public func contains(_ axis: Character) -> Bool { indexOf(axis) >= 0 }

    /// `count` axes from `position`. - Throws: TIR150 where they are not there or no layout by themselves.
    public func subLayout(_ position: Int, _ count: Int) throws -> Layout {
        guard position >= 0, count >= 0, position <= axes.count, count <= axes.count - position else {
            throw ApusError(
                "TIR150", "a part of a layout that is not there", expected: "0..<\(axes.count)",
                actual: "\(position)..<\(position &+ count)")
        }
        return try Layout(Layout(axes: Array(axes[position..<(position + count)])).name)
    }

    /// The layout with the axis `letter` split: its inner part, of `factor` elements, at place `position`.
    public func split(_ letter: Character, at position: Int, factor: Int) throws -> Layout {
        guard letter.isUppercase, contains(letter), !contains(Character(letter.lowercased())),
            (0...axes.count).contains(position), factor > 0
        else {
            throw ApusError(
                "TIR150", "the layout \(name) cannot be split so",
                expected: "an axis not yet split, a place in 0...\(axes.count), a positive factor",
                actual: "\(letter), \(position), \(factor)")
        }
        var next = axes
        next.insert(Axis(primal: letter, factor: factor), at: position)
        return Layout(axes: next)
    }

    /// Whether tensors can go from one to the other: the primal axes are the same.
    public func isConvertible(to other: Layout) -> Bool {
        Set(primal.axes) == Set(other.primal.axes) && !axes.isEmpty
    }
}

/// How indices and shapes of one layout become those of another, and back.
public struct BijectiveLayout: Sendable {
    public let source: Layout
    public let destination: Layout
    private let forward: LayoutMap
    private let backward: LayoutMap

    /// - Throws: TIR151 where the layouts do not have the same primal axes.
    public init(_ source: Layout, _ destination: Layout) throws {
        guard source.isConvertible(to: destination) else {
            throw ApusError(
                "TIR151", "layouts that do not convert into each other",
                expected: "the axes of \(source.primal)", actual: "\(destination.primal)")
        }
        self.source = source
        self.destination = destination
        forward = LayoutMap(source, destination)
        backward = LayoutMap(destination, source)
    }

    /// The indices in the destination of an element of the source.
    public func forwardIndex(_ index: [PrimExpr]) throws -> [PrimExpr] { try forward.index(index) }
    /// The indices in the source of an element of the destination.
    public func backwardIndex(_ index: [PrimExpr]) throws -> [PrimExpr] { try backward.index(index) }
    /// The shape in the destination of a tensor of the source; extents that a factor does not divide are rounded up.
    public func forwardShape(_ shape: [PrimExpr]) throws -> [PrimExpr] { try forward.shape(shape) }
    /// The shape in the source of a tensor of the destination.
    public func backwardShape(_ shape: [PrimExpr]) throws -> [PrimExpr] { try backward.shape(shape) }
}

/// One direction of a `BijectiveLayout`.
private struct LayoutMap: Sendable {
    let from: Layout
    let to: Layout

    init(_ from: Layout, _ to: Layout) {
        self.from = from
        self.to = to
    }

    private func check(_ items: [PrimExpr]) throws {
        if items.count != from.rank {
            throw ApusError(
                "TIR151", "another number of axes than the layout \(from) has", expected: "\(from.rank)",
                actual: "\(items.count)")
        }
    }

    /// Elements between neighbours of an axis of a layout: the product of the factors right of it of the same letter.
    private func step(_ layout: Layout, _ i: Int) -> Int {
        var product = 1
        for j in layout.axes.indices where layout.axes[j].primal == layout.axes[i].primal {
            // The primal axis is outermost wherever it is written.
            let inner = layout.axes[i].isPrimal ? !layout.axes[j].isPrimal : j > i && !layout.axes[j].isPrimal
            if inner, let f = layout.axes[j].factor { product = product &* f }
        }
        return product
    }

    func index(_ index: [PrimExpr]) throws -> [PrimExpr] {
        try check(index)
        var whole: [Character: PrimExpr] = [:]
        for i in from.axes.indices {
            let part = index[i] * step(from, i)
            let letter = from.axes[i].primal
            whole[letter] = whole[letter].map { $0 + part } ?? part
        }
        return to.axes.indices.map { i in
            let a = to.axes[i]
            guard let e = whole[a.primal] else { return IntImm(0) }
            let scaled = floorDiv(e, step(to, i))
            return a.factor.map { floorMod(scaled, $0) } ?? scaled
        }
    }

    func shape(_ shape: [PrimExpr]) throws -> [PrimExpr] {
        try check(shape)
        var whole: [Character: PrimExpr] = [:]
        for i in from.axes.indices {
            let letter = from.axes[i].primal
            if let f = from.axes[i].factor, let given = shape[i].asInt, given != f {
                throw ApusError(
                    "TIR151", "the extent of \(from.axes[i].name) is not its factor", expected: "\(f)",
                    actual: "\(given)")
            }
            // The inner parts are as large as their factors say.
            if from.axes[i].isPrimal { whole[letter] = shape[i] * step(from, i) }
        }
        return to.axes.indices.map { i in
            let a = to.axes[i]
            if let f = a.factor { return IntImm(f) }
            guard let n = whole[a.primal] else { return IntImm(1) }
            let s = step(to, i)
            return s == 1 ? n : ceilDiv(n, IntImm(s, dtype: n.dtype.element))
        }
    }
}
