import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Sets of element types that operators accept.
enum DTypeClass {
    /// Numbers and booleans.
    case any
    /// Numbers.
    case numeric
    case float
    case integer
    /// Integers and booleans.
    case bits
    case bool

    func contains(_ d: DataType) -> Bool {
        guard d.isScalar, d.isFloat || d.isInteger else { return false }
        switch self {
        case .any: return true
        case .numeric: return !d.isBool
        case .float: return d.isFloat
        case .integer: return d.isInteger && !d.isBool
        case .bits: return d.isInteger
        case .bool: return d.isBool
        }
    }

    var name: String {
        switch self {
        case .any: return "numbers or booleans"
        case .numeric: return "numbers"
        case .float: return "floating-point numbers"
        case .integer: return "integers"
        case .bits: return "integers or booleans"
        case .bool: return "booleans"
        }
    }
}

/// What a type relation works on: the operands' types and the attributes, with checks that name what they
/// check.
///
/// Codes: RELAY001 number of operands, RELAY002 an operand is no tensor, RELAY003 its element type, RELAY004
/// its rank, RELAY005 extents that must agree do not (a symbolic extent agrees with what it is *provably*
/// equal to only), RELAY006 an attribute that does not fit the operands, RELAY007 a window larger than what
/// it slides over, RELAY008 an extent or value that must be known is not, RELAY009 a shape no tensor can
/// have.
struct TypeContext {
    let op: String
    let argNames: [String]
    let types: [IRType]
    var attrs: Attrs

    func label(_ i: Int) -> String { i < argNames.count ? argNames[i] : "operand \(i)" }

    func error(
        _ code: String, _ message: String, operand: Int? = nil, expected: String? = nil,
        actual: String? = nil,
        hint: String? = nil
    ) -> ApusError {
        ApusError(
            code, message, at: operand.map { ["operand: \(label($0))"] } ?? [], expected: expected,
            actual: actual,
            hint: hint)
    }

    func attributeError(_ name: String, _ message: String, expected: String, actual: String? = nil)
        -> ApusError
    {
        ApusError(
            "RELAY006", "attribute `\(name)` \(message)", at: ["attribute: \(name)"], expected: expected,
            actual: actual ?? attrs[name].map { "\($0)" })
    }

    // MARK: Operands

    /// Operand `i`, which must be a tensor of one of the element types and of a rank in range.
    func tensor(_ i: Int, _ dtypes: DTypeClass = .any, rank: ClosedRange<Int> = 0...64) throws -> TensorType {
        guard i < types.count else {
            throw error(
                "RELAY001", "\(op) lacks an operand", operand: i, expected: "\(argNames.count) operands")
        }
        return try tensor(types[i], operand: i, dtypes, rank: rank)
    }

    func tensor(
        _ type: IRType, operand i: Int, _ dtypes: DTypeClass = .any, rank: ClosedRange<Int> = 0...64
    ) throws -> TensorType {
        guard type.typeKind == .tensor else {
            throw error(
                "RELAY002", "operand `\(label(i))` of \(op) must be a tensor", operand: i,
                expected: "a tensor",
                actual: "\(type)")
        }
        let t = unsafeDowncast(type, to: TensorType.self)
        guard dtypes.contains(t.dtype) else {
            throw error(
                "RELAY003", "operand `\(label(i))` of \(op) has an element type it does not take", operand: i,
                expected: dtypes.name, actual: "\(t.dtype)",
                hint: dtypes == .float && t.dtype.isInteger ? "insert a cast to a floating type" : nil)
        }
        guard rank.contains(t.rank) else {
            let lower = rank.lowerBound
            let wanted =
                lower == rank.upperBound
                ? "rank \(lower)"
                : (rank.upperBound >= 64 ? "rank >= \(lower)" : "rank \(lower) to \(rank.upperBound)")
            throw error(
                "RELAY004", "operand `\(label(i))` of \(op) has the wrong rank", operand: i, expected: wanted,
                actual: "\(t)")
        }
        try Relay.checkSize(t)
        return t
    }

    /// The tensors of operand `i`, which must be a tuple of at least one.
    func tensors(_ i: Int) throws -> [TensorType] {
        guard i < types.count, let tuple = types[i] as? TupleType, !tuple.fields.isEmpty else {
            throw error(
                "RELAY002", "operand `\(label(i))` of \(op) must be a tuple of tensors", operand: i,
                expected: "a tuple of at least one tensor", actual: i < types.count ? "\(types[i])" : nil)
        }
        return try tuple.fields.map { try tensor($0, operand: i) }
    }

    /// Throws unless operand `i` has element type `dtype`, that of what `other` names.
    func require(_ t: TensorType, operand i: Int, dtype: DataType, as other: String) throws {
        guard t.dtype == dtype else {
            throw error(
                "RELAY003", "operand `\(label(i))` of \(op) must have the element type of \(other)",
                operand: i,
                expected: "\(dtype)", actual: "\(t.dtype)")
        }
    }

    /// Throws unless operand `i` has exactly the shape `shape`.
    func require(_ t: TensorType, operand i: Int, shape: [PrimExpr]) throws {
        guard t.rank == shape.count, zip(t.shape, shape).allSatisfy({ Relay.dimsEqual($0, $1) }) else {
            throw error(
                "RELAY005", "operand `\(label(i))` of \(op) has the wrong shape", operand: i,
                expected: "\(TensorType(shape, t.dtype))", actual: "\(t)")
        }
    }

    /// Throws unless two extents are provably equal.
    func require(_ a: PrimExpr, equals b: PrimExpr, _ what: String, operand i: Int) throws {
        guard Relay.dimsEqual(a, b) else {
            let known = a.asInt != nil && b.asInt != nil
            throw error(
                "RELAY005", "\(what) of \(op) \(known ? "differs" : "is not provably the same")", operand: i,
                expected: "\(b)", actual: "\(a)")
        }
    }

    /// An extent that must be a number.
    func known(_ d: PrimExpr, _ what: String, operand i: Int) throws -> Int {
        guard let n = d.asInt else {
            throw error(
                "RELAY008", "\(what) of \(op) must be known when the graph is built", operand: i,
                expected: "a number", actual: "\(d)")
        }
        return n
    }

    /// The extent to which `a` and `b` broadcast: equal, or one of them 1.
    func broadcast(_ a: PrimExpr, _ b: PrimExpr, axis: Int) throws -> PrimExpr {
        if a.asInt == 1 { return b }
        if b.asInt == 1 || Relay.dimsEqual(a, b) { return a }
        let known = a.asInt != nil && b.asInt != nil
        throw ApusError(
            "RELAY005", "operands of \(op) do not broadcast at axis \(axis) from the right",
            expected: known ? "equal extents, or 1" : "provably equal extents, or 1", actual: "\(a) and \(b)")
    }

    /// The shape to which all broadcast by NumPy's rules.
    func broadcast(_ shapes: [[PrimExpr]]) throws -> [PrimExpr] {
        let rank = shapes.map(\.count).max() ?? 0
        var result: [PrimExpr] = []
        for axis in (0..<rank).reversed() {
            var extent: PrimExpr = IntImm(1)
            for s in shapes where axis < s.count {
                extent = try broadcast(extent, s[s.count - 1 - axis], axis: axis)
            }
            result.append(extent)
        }
        return result
    }

    // MARK: Attributes

    /// `attrs` with `axis` (an integer or a list) counted from the front.
    func resolvingAxes(rank: Int) throws -> Attrs {
        switch attrs["axis"] {
        case .int(let axis)?:
            let resolved = try resolve(axis, rank: rank)
            return resolved == axis ? attrs : attrs.setting("axis", .int(resolved))
        case .ints(let axes)?:
            guard axes.count <= rank else {
                throw attributeError(
                    "axis", "of \(op) names more axes than there are", expected: "at most \(rank)")
            }
            var resolved: [Int] = []
            for axis in axes {
                let a = try resolve(axis, rank: rank)
                if resolved.contains(a) {
                    throw attributeError("axis", "of \(op) names an axis twice", expected: "different axes")
                }
                resolved.append(a)
            }
            return resolved == axes ? attrs : attrs.setting("axis", .ints(resolved))
        default: return attrs
        }
    }

    func resolve(_ axis: Int, rank: Int, _ name: String = "axis") throws -> Int {
        guard axis >= -rank, axis < rank else {
            throw attributeError(
                name, "of \(op) is no axis of the operand",
                expected: rank == 0 ? "none: the operand has no axes" : "\(-rank) to \(rank - 1)",
                actual: "\(axis)")
        }
        return axis < 0 ? axis + rank : axis
    }

    /// A list of exactly `count` integers, or `fallback` repeated where it is absent.
    func ints(_ name: String, count: Int, default fallback: Int? = nil) throws -> [Int] {
        guard let values = attrs.ints(name) else {
            if let fallback { return [Int](repeating: fallback, count: count) }
            throw attributeError(name, "of \(op) is missing", expected: "\(count) integers", actual: "None")
        }
        guard values.count == count else {
            throw attributeError(name, "of \(op) has the wrong length", expected: "\(count) integers")
        }
        return values
    }

    /// The attribute as a resolved axis (see `define`).
    var axis: Int { attrs.int("axis") ?? 0 }
}
