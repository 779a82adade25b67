import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTE
import ApusTIR
import ApusTOPI
import Testing

/// A plain n-dimensional array of doubles: what the references compute with.
struct Arr {
    var shape: [Int]
    var data: [Double]
    var dtype: DataType

    init(_ shape: [Int], _ dtype: DataType = .float32, _ data: [Double]) {
        self.shape = shape
        self.data = data
        self.dtype = dtype
    }

    /// The array whose element at an index is `f` of it.
    init(_ shape: [Int], _ dtype: DataType = .float32, _ f: ([Int]) -> Double) {
        self.shape = shape
        self.dtype = dtype
        data = []
        Arr.each(shape) { data.append(f($0)) }
    }

    static func scalar(_ v: Double, _ dtype: DataType = .float32) -> Arr { Arr([], dtype, [v]) }

    var rank: Int { shape.count }
    static func count(_ shape: [Int]) -> Int { shape.reduce(1, *) }

    func offset(_ i: [Int]) -> Int {
        var o = 0
        for (k, n) in shape.enumerated() { o = o * n + i[k] }
        return o
    }
    subscript(_ i: [Int]) -> Double {
        get { data[offset(i)] }
        set { data[offset(i)] = newValue }
    }
    /// The element, or `fill` outside.
    func at(_ i: [Int], or fill: Double) -> Double {
        for (k, n) in shape.enumerated() where i[k] < 0 || i[k] >= n { return fill }
        return self[i]
    }

    /// Calls `f` with every index of `shape` in row-major order.
    static func each(_ shape: [Int], _ f: ([Int]) -> Void) {
        if shape.contains(0) { return }
        var i = [Int](repeating: 0, count: shape.count)
        while true {
            f(i)
            var k = shape.count - 1
            while k >= 0 {
                i[k] += 1
                if i[k] < shape[k] { break }
                i[k] = 0
                k -= 1
            }
            if k < 0 { return }
        }
    }

    func map(_ f: (Double) -> Double) -> Arr { Arr(shape, dtype, data.map(f)) }
    func map(_ dtype: DataType, _ f: (Double) -> Double) -> Arr { Arr(shape, dtype, data.map(f)) }
    func typed(_ dtype: DataType) -> Arr { Arr(shape, dtype, data) }

    var ndarray: NDArray {
        let a = NDArray(shape: shape, dtype: dtype)
        for (i, v) in data.enumerated() { ElementCodec.store(v, at: i, of: dtype, in: a.data) }
        return a
    }

    init(_ a: NDArray) throws {
        shape = a.shape
        dtype = a.dtype
        data = try a.toDoubles()
    }
}

/// Repeatable pseudo-random numbers (SplitMix64).
struct Dice {
    private var state: UInt64
    init(_ seed: Int) { state = UInt64(bitPattern: Int64(seed)) &* 0x9E37_79B9_7F4A_7C15 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func int(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(next() % UInt64(range.upperBound - range.lowerBound + 1))
    }
    mutating func unit() -> Double { Double(next() >> 11) / Double(1 << 53) }
    /// Values of `low ... high`, rounded to the type: integers for integer types.
    mutating func array(_ shape: [Int], _ dtype: DataType = .float32, _ low: Double = -2, _ high: Double = 2)
        -> Arr
    {
        Arr(shape, dtype) { _ in
            if dtype.isInteger { return Double(int(Int(low)...Int(high))) }
            return FloatImm.rounded(low + (high - low) * unit(), dtype)
        }
    }
    mutating func shape(_ rank: ClosedRange<Int> = 1...4, _ extent: ClosedRange<Int> = 1...5) -> [Int] {
        (0..<int(rank)).map { _ in int(extent) }
    }
}

/// Runs the operator `name` as the back end would: placeholders, the table's computation, one loop
/// function; once read directly, once scheduled and compiled.
func evaluate(
    _ name: String, _ attrs: KeyValuePairs<String, AttrValue>, _ inputs: [Arr], _ out: [Arr]
) throws -> (plain: [Arr], compiled: [Arr]) {
    let places = inputs.enumerated().map {
        placeholder($0.element.shape, $0.element.dtype, name: "p\($0.offset)")
    }
    let types: [IRType] = out.map { TensorType($0.shape, $0.dtype) }
    let results = try TOPI.results(
        of: name, Attrs(attrs), places, types.count == 1 ? types[0] : TupleType(types))
    let function = try createPrimFunc(places + results)
    let scheduled = try TOPI.scheduleGeneric(function, TOPI.CPUScheduleOptions(lanes: 8, parallelWork: 512))
    return (
        plain: try run(function, results, inputs) { try execute($0, $1) },
        compiled: try run(scheduled, results, inputs) { try runCompiled($0, $1) }
    )
}

/// The values of `results` for values of the inputs.
func run(
    _ function: PrimFunc, _ results: [Tensor], _ inputs: [Arr], _ engine: (PrimFunc, [NDArray]) throws -> Void
) throws -> [Arr] {
    var buffers = inputs.map(\.ndarray)
    for t in results {
        let shape = try #require(t.staticShape)
        buffers.append(NDArray(shape: shape, dtype: t.dtype))
    }
    try engine(function, buffers)
    return try buffers[inputs.count...].map { try Arr($0) }
}

/// Checks an operator against the expected results, whose shapes and types are part of the expectation.
func check(
    _ name: String, _ attrs: KeyValuePairs<String, AttrValue> = [:], _ inputs: [Arr], _ expected: [Arr],
    tolerance: Double = 1e-5, at location: SourceLocation = #_sourceLocation
) throws {
    let values = try evaluate(name, attrs, inputs, expected)
    for (engine, actual) in [("plain", values.plain), ("compiled", values.compiled)] {
        let what = "\(engine) \(name) \(inputs.map(\.shape)) \(inputs.first?.dtype ?? .void) \(attrs)"
        #expect(actual.count == expected.count, "\(what)", sourceLocation: location)
        for (a, e) in zip(actual, expected) {
            #expect(a.shape == e.shape, "\(what)", sourceLocation: location)
            #expect(a.dtype == e.dtype, "\(what)", sourceLocation: location)
            guard a.shape == e.shape else { continue }
            expectClose(a, e, tolerance, what, location)
        }
    }
}

func expectClose(_ a: Arr, _ e: Arr, _ tolerance: Double, _ what: String, _ location: SourceLocation) {
    for (n, (x, y)) in zip(a.data, e.data).enumerated() {
        if x == y || (x.isNaN && y.isNaN) { continue }
        if abs(x - y) <= tolerance * max(1, abs(y)) { continue }
        Issue.record("\(what): element \(n) is \(x), expected \(y)", sourceLocation: location)
        return
    }
}

/// The shape that shapes broadcast to, and an element of an array broadcast to it.
func broadcastShape(_ shapes: [[Int]]) -> [Int] {
    let rank = shapes.map(\.count).max() ?? 0
    return (0..<rank).map { axis in
        shapes.map { s in
            let k = axis - rank + s.count
            return k < 0 ? 1 : s[k]
        }.reduce(1) { $0 == 1 ? $1 : $0 }
    }
}

extension Arr {
    func broadcast(_ i: [Int]) -> Double {
        let skip = i.count - rank
        return self[shape.indices.map { shape[$0] == 1 ? 0 : i[skip + $0] }]
    }
}
