import ApusIR
import ApusNode
import ApusSupport
import ApusTIR

/// A map of indices: `(i, j) -> (i // 4, j, i % 4)`. Describes how a buffer or a block's variables are laid out anew.
public struct IndexMap: Sendable, CustomStringConvertible {
    public let variables: [Var]
    public let indices: [PrimExpr]

    public init(_ variables: [Var], _ indices: [PrimExpr]) {
        self.variables = variables
        self.indices = indices
    }

    /// The map of `rank` indices that a closure computes.
    public init(_ rank: Int, _ body: ([PrimExpr]) -> [PrimExpr]) {
        let v = (0..<max(rank, 0)).map { Var("i\($0)") }
        self.init(v, body(v))
    }

    /// Reads the text form. Throws SCH100.
    public init(text: String) throws {
        func malformed(_ actual: String) -> ApusError {
            ApusError(
                "SCH100", "not an index map", expected: "(i, j) -> (i // 4, j, i % 4)", actual: actual)
        }
        var halves: [Substring] = []
        var rest = Substring(text)
        if let arrow = text.range(of: "->") {
            halves = [text[..<arrow.lowerBound], text[arrow.upperBound...]]
            rest = ""
        }
        guard halves.count == 2, rest.isEmpty, let left = IndexMap.parts(halves[0]),
            let right = IndexMap.parts(halves[1])
        else { throw malformed(text) }
        var seen: Set<String> = []
        var vars: [Var] = []
        for n in left {
            let plain = n.unicodeScalars.allSatisfy {
                $0.properties.isAlphabetic || $0 == "_" || ("0"..."9") ~= $0
            }
            guard plain, !n.isEmpty, seen.insert(n).inserted else { throw malformed(n) }
            vars.append(Var(n))
        }
        self.init(
            vars,
            try right.map { part in
                do {
                    return cast(.index, try TIRParser.parseExpr(part, variables: vars, source: "<map>"))
                } catch {
                    throw malformed(part)
                }
            })
    }

    /// The parts of `(a, b, c)`.
    private static func parts(_ s: Substring) -> [String]? {
        var t = s
        while t.first == " " { t.removeFirst() }
        while t.last == " " { t.removeLast() }
        guard t.first == "(", t.last == ")", t.count >= 2 else { return nil }
        t = t.dropFirst().dropLast()
        var result: [String] = []
        var part = ""
        var open = 0
        for c in t {
            if c == "(" || c == "[" { open += 1 }
            if c == ")" || c == "]" { open -= 1 }
            if open < 0 { return nil }
            if c == ",", open == 0 {
                result.append(part)
                part = ""
            } else if c != " " || !part.isEmpty {
                part.append(c)
            }
        }
        if open != 0 { return nil }
        if !part.isEmpty || !result.isEmpty { result.append(part) }
        return result.map { p in
            var p = Substring(p)
            while p.last == " " { p.removeLast() }
            return String(p)
        }
    }

    public var description: String {
        let left = variables.map(\.name).joined(separator: ", ")
        return "(\(left)) -> (\(indices.map { "\($0)" }.joined(separator: ", ")))"
    }

    /// The image of `values`.
    func apply(_ values: [PrimExpr]) -> [PrimExpr] {
        var map: [Var: PrimExpr] = [:]
        for (v, e) in zip(variables, values) { map[v] = e }
        return indices.map { substitute($0, map) }
    }

    /// The least box from 0 that holds the images of the points of `shape`; nil where it cannot be told.
    func image(of shape: [PrimExpr]) -> [PrimExpr]? {
        let arith = ArithContext()
        let loops: [For] = zip(variables, shape).map { v, n in
            arith.bind(v, IRRange(extent: n))
            return For(v, const(0, v.dtype), n, body: Evaluate.noOp)
        }
        let relaxed = Relaxation(loops, arith)
        var result: [PrimExpr] = []
        for e in indices {
            guard let i = relaxed.interval(e), i.lo.isZero else { return nil }
            result.append(arith.simplify(i.width + 1))
        }
        return result
    }

    /// The preimage of `values`, given the box `image`; `conditions` hold for what has one. nil for a map that is not
    /// injective, or does not fill its box but for the ends of dimensions.
    func inverse(
        _ values: [PrimExpr], shape: [PrimExpr], image: [PrimExpr], _ arith: ArithContext
    ) -> (indices: [PrimExpr], conditions: [PrimExpr])? {
        let iters = zip(variables, shape).map { IterVar(IRRange(extent: $1), $0, .dataParallel) }
        guard let (map, conditions) = inverseBijection(indices, shape: image, iters, values: values, arith)
        else {
            return nil
        }
        return (variables.map { map[$0] ?? const(0, $0.dtype) }, conditions)
    }
}

extension String {
    /// The first occurrence of `needle` (no Foundation here).
    fileprivate func range(of needle: String) -> Range<String.Index>? {
        let wanted = Array(needle)
        var i = startIndex
        while i < endIndex {
            var j = i
            var k = 0
            while k < wanted.count, j < endIndex, self[j] == wanted[k] {
                j = index(after: j)
                k += 1
            }
            if k == wanted.count { return i..<j }
            i = index(after: i)
        }
        return nil
    }
}
