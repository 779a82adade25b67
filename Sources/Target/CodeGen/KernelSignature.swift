import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// How the arguments of one kernel are checked and bound, before any code generator looks at the body.
struct KernelSignature {
    /// One argument, in order.
    enum Argument {
        /// A tensor; `shape` has -1 for a dimension known only at run time.
        case tensor(name: String, buffer: Buffer, shape: [Int], expected: String)
        case scalar(name: String, variable: Var)
    }
    /// Where the value of a variable comes from, or what a dimension must equal.
    struct Dimension {
        let argument: Int
        let dim: Int
        let isStride: Bool
    }

    let name: String
    let arguments: [Argument]
    /// Variables that a tensor's dimension or stride defines: each once, in order.
    let bindings: [(variable: Var, from: Dimension)]
    /// Dimensions and strides that must equal an expression of what is bound.
    let checks: [(expression: PrimExpr, at: Dimension)]
    /// Offsets that are variables: the data pointer already includes the offset, so they are 0.
    let zeroOffsets: [Var]
    /// Data pointers, one a distinct `data` variable: the argument each comes from.
    let pointers: [(data: Var, argument: Int)]
    /// Whether tensors do not overlap.
    let noAlias: Bool

    init(_ function: PrimFunc, name: String) throws {
        self.name = name
        noAlias = function.attrs.bool("tir.noalias") ?? false
        var arguments: [Argument] = []
        var bindings: [(variable: Var, from: Dimension)] = []
        var checks: [(expression: PrimExpr, at: Dimension)] = []
        var zeroOffsets: [Var] = []
        var pointers: [(data: Var, argument: Int)] = []
        var bound: Set<ObjectIdentifier> = []
        var open: [(expression: PrimExpr, at: Dimension)] = []
        for (i, param) in function.params.enumerated() {
            guard let buffer = function.buffer(of: param) else {
                arguments.append(.scalar(name: param.name, variable: param))
                bound.insert(ObjectIdentifier(param))
                continue
            }
            for (d, extent) in buffer.shape.enumerated() where extent.asInt == nil {
                open.append((expression: extent, at: Dimension(argument: i, dim: d, isStride: false)))
            }
            for (d, stride) in buffer.strides.enumerated() {
                open.append((expression: stride, at: Dimension(argument: i, dim: d, isStride: true)))
            }
            if let offset = buffer.elemOffset as? Var, bound.insert(ObjectIdentifier(offset)).inserted {
                zeroOffsets.append(offset)
            }
            if bound.insert(ObjectIdentifier(buffer.data)).inserted {
                pointers.append((data: buffer.data, argument: i))
            }
            let shape: [Int] = buffer.shape.map { $0.asInt ?? -1 }
            arguments.append(
                .tensor(
                    name: buffer.name, buffer: buffer, shape: shape,
                    expected: ArgumentFailure.expected(buffer)))
        }
        for o in open {
            if let v = o.expression as? Var, bound.insert(ObjectIdentifier(v)).inserted {
                bindings.append((variable: v, from: o.at))
            } else {
                checks.append(o)
            }
        }
        self.arguments = arguments
        self.bindings = bindings
        self.checks = checks
        self.zeroOffsets = zeroOffsets
        self.pointers = pointers
    }

    /// The word that a `DLDataType` is when read as 32 bits.
    static func word(_ t: DataType) -> Int { Int(t.code.rawValue) | Int(t.bits) << 8 | Int(t.lanes) << 16 }

    /// `kernel add: argument 1 (B) has another shape; expected float32[4, 4]`
    func message(_ argument: Int, _ failure: String) -> String {
        let (name, expected): (String, String)
        switch arguments[argument] {
        case .tensor(let n, _, _, let e): (name, expected) = (n, e)
        case .scalar(let n, let v): (name, expected) = (n, "\(v.dtype)")
        }
        return ArgumentFailure.message(
            kernel: self.name, argument: argument, name: name, failure, expected: expected)
    }
}

/// Whether the function is an entry of the packed convention itself, with its checks in its body.
func isPacked(_ f: PrimFunc) -> Bool { CallingConvention.of(f) == .packed }

/// The variables that occur in a statement, bound or free; buffers by their data pointer.
func usedVariables(_ s: Stmt) -> Set<ObjectIdentifier> {
    var used: Set<ObjectIdentifier> = []
    func buffer(_ b: Buffer) {
        used.insert(ObjectIdentifier(b.data))
        expression(b.elemOffset)
        for e in b.shape { expression(e) }
        for e in b.strides { expression(e) }
    }
    func expression(_ e: PrimExpr) {
        if e.kind == .variable { used.insert(ObjectIdentifier(e)) }
        if let load = e as? BufferLoad { buffer(load.buffer) }
        forEachChild(of: e) { expression($0) }
    }
    func statement(_ s: Stmt) {
        if let store = s as? BufferStore { buffer(store.buffer) }
        if let allocate = s as? Allocate { buffer(allocate.buffer) }
        forEachChild(of: s, expr: { expression($0) }, stmt: { statement($0) })
    }
    statement(s)
    return used
}

/// Facts about index expressions that need no analyzer: what every code generator asks.
struct IndexFacts {
    /// Variables known to be at least 0.
    var nonNegative: Set<ObjectIdentifier> = []

    /// Whether `e` is certainly at least 0 (assuming index arithmetic does not overflow).
    func isNonNegative(_ e: PrimExpr, depth: Int = 0) -> Bool {
        if depth > 24 { return false }
        switch e.kind {
        case .intImm: return (e.asInt ?? -1) >= 0
        case .variable: return nonNegative.contains(ObjectIdentifier(e))
        case .add, .mul, .min, .floorDiv, .div:
            guard let b = e as? BinaryExpr else { return false }
            return isNonNegative(b.a, depth: depth + 1) && isNonNegative(b.b, depth: depth + 1)
        case .max:
            guard let b = e as? BinaryExpr else { return false }
            return isNonNegative(b.a, depth: depth + 1) || isNonNegative(b.b, depth: depth + 1)
        case .floorMod:
            guard let b = e as? BinaryExpr else { return false }
            return isNonNegative(b.b, depth: depth + 1)
        case .mod:
            guard let b = e as? BinaryExpr else { return false }
            return isNonNegative(b.a, depth: depth + 1)
        case .broadcast: return (e as? Broadcast).map { isNonNegative($0.value, depth: depth + 1) } ?? false
        case .ramp:
            guard let r = e as? Ramp else { return false }
            return isNonNegative(r.base, depth: depth + 1) && isNonNegative(r.stride, depth: depth + 1)
        default: return e.dtype.isUInt
        }
    }

    /// A number that certainly divides `e`; 0 for the constant 0.
    func multiple(_ e: PrimExpr, depth: Int = 0) -> Int {
        if depth > 24 { return 1 }
        switch e.kind {
        case .intImm: return e.asInt.map { $0 == Int.min ? 1 : abs($0) } ?? 1
        case .add, .sub:
            guard let b = e as? BinaryExpr else { return 1 }
            return IndexFacts.gcd(multiple(b.a, depth: depth + 1), multiple(b.b, depth: depth + 1))
        case .mul:
            guard let b = e as? BinaryExpr else { return 1 }
            let (p, overflow) = multiple(b.a, depth: depth + 1).multipliedReportingOverflow(
                by: multiple(b.b, depth: depth + 1))
            return overflow ? 1 : p
        default: return 1
        }
    }

    static func gcd(_ a: Int, _ b: Int) -> Int {
        var (x, y) = (a, b)
        while y != 0 { (x, y) = (y, x % y) }
        return x
    }

    /// Whether `e` is arithmetic of variables and constants only: its size is bounded by that of the memory
    /// it indexes, so it cannot overflow. Data read from tensors may hold anything.
    static func isAffine(_ e: PrimExpr, depth: Int = 0) -> Bool {
        if depth > 40 { return false }
        switch e.kind {
        case .intImm, .variable: return true
        case .add, .sub, .mul, .floorDiv, .floorMod, .div, .mod:
            guard let b = e as? BinaryExpr else { return false }
            return isAffine(b.a, depth: depth + 1) && isAffine(b.b, depth: depth + 1)
        case .broadcast: return (e as? Broadcast).map { isAffine($0.value, depth: depth + 1) } ?? false
        case .ramp:
            guard let r = e as? Ramp else { return false }
            return isAffine(r.base, depth: depth + 1) && isAffine(r.stride, depth: depth + 1)
        default: return false
        }
    }

    /// `e` as base + lane * stride, both scalar, or nil if it is not of that form.
    static func rampForm(_ e: PrimExpr, depth: Int = 0) -> (base: PrimExpr, stride: PrimExpr)? {
        if depth > 16 { return nil }
        switch e.kind {
        case .ramp:
            guard let r = e as? Ramp, r.base.dtype.isScalar else { return nil }
            return (r.base, r.stride)
        case .broadcast:
            guard let b = e as? Broadcast, b.value.dtype.isScalar else { return nil }
            return (b.value, IntImm(0, dtype: b.value.dtype))
        case .add, .sub, .mul:
            guard let b = e as? BinaryExpr, let x = rampForm(b.a, depth: depth + 1),
                let y = rampForm(b.b, depth: depth + 1)
            else { return nil }
            if e.kind == .add { return (x.base + y.base, x.stride + y.stride) }
            if e.kind == .sub { return (x.base - y.base, x.stride - y.stride) }
            if y.stride.asInt == 0 { return (x.base * y.base, x.stride * y.base) }
            if x.stride.asInt == 0 { return (x.base * y.base, x.base * y.stride) }
            return nil
        default: return nil
        }
    }

    /// The position of an element of a buffer relative to `data`, in elements of the buffer's type.
    static func flatIndex(_ buffer: Buffer, _ indices: [PrimExpr]) throws -> PrimExpr {
        var index: PrimExpr
        if indices.isEmpty {
            index = IntImm(0)
        } else if indices.count == 1, buffer.strides.isEmpty {
            index = indices[0]
        } else {
            guard buffer.strides.isEmpty || buffer.strides.count == indices.count,
                buffer.shape.count == indices.count
            else {
                throw ApusError(
                    "TGT020", "an access does not have one index a dimension", at: ["buffer: \(buffer.name)"],
                    expected: "\(buffer.shape.count)", actual: "\(indices.count)")
            }
            index = indices[0]
            if !buffer.strides.isEmpty { index = index * widened(buffer.strides[0], like: index) }
            for d in 1..<max(1, indices.count) {
                if buffer.strides.isEmpty {
                    (index, _) = spread(index * widened(buffer.shape[d], like: index), indices[d])
                    index = index + widened(indices[d], like: index)
                } else {
                    var term = indices[d]
                    term = term * widened(buffer.strides[d], like: term)
                    (index, term) = spread(index, term)
                    index = index + term
                }
            }
        }
        if buffer.elemOffset.asInt == 0 { return index }
        return index + widened(buffer.elemOffset, like: index)
    }

    private static func widened(_ e: PrimExpr, like other: PrimExpr) -> PrimExpr {
        let lanes = Int(other.dtype.lanes)
        let typed =
            e.dtype.element == other.dtype.element
            ? e : cast(other.dtype.element.with(lanes: Int(e.dtype.lanes)), e)
        return lanes > 1 && typed.dtype.isScalar ? Broadcast(typed, lanes) : typed
    }

    private static func spread(_ a: PrimExpr, _ b: PrimExpr) -> (PrimExpr, PrimExpr) {
        let lanes = max(Int(a.dtype.lanes), Int(b.dtype.lanes))
        func wide(_ e: PrimExpr) -> PrimExpr { lanes > 1 && e.dtype.isScalar ? Broadcast(e, lanes) : e }
        return (wide(a), wide(b))
    }
}
