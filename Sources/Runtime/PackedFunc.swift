import ApusCABI
import ApusSupport

/// The arguments of one packed call, borrowed until it returns.
public struct PackedArgs {
    @usableFromInline let base: UnsafePointer<ApusAny>?
    /// How many there are.
    public let count: Int

    /// The arguments at `base`.
    @inlinable public init(_ base: UnsafePointer<ApusAny>?, count: Int) {
        self.base = base
        self.count = base == nil ? 0 : count
    }

    /// The C form of argument `i`, which must be in range.
    @inlinable public func raw(_ i: Int) throws -> ApusAny {
        guard i >= 0, i < count, let base else {
            throw ApusError("RT023", "too few arguments", expected: "more than \(i)", actual: "\(count)")
        }
        return base[i]
    }

    /// Argument `i` as `T`.
    /// - Throws: RT020 for a value of another kind, RT023 if there are not that many.
    @inlinable public func get<T: AnyConvertible>(_ i: Int, as type: T.Type = T.self) throws -> T {
        let any = try raw(i)
        do {
            return try T.fromABI(any)
        } catch let error as ApusError {
            throw error.within("argument: \(i)")
        }
    }

    /// Argument `i`.
    @inlinable public subscript(i: Int) -> AnyValue { get throws { try AnyValue(borrowing: raw(i)) } }

    /// - Throws: RT023 unless there are exactly `expected`.
    @inlinable public func expect(count expected: Int) throws {
        if count != expected {
            throw ApusError("RT023", "wrong number of arguments", expected: "\(expected)", actual: "\(count)")
        }
    }
}

/// A function that any language can call: values in, a value out, an error instead where it throws.
///
/// Made from a Swift closure (`PackedFunc.typed { (a: Int, b: Double) in … }`, or over `PackedArgs`) or from
/// a C function. Thread-safe if its body is. Source of the idea: TVM's PackedFunc.
public final class PackedFunc: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.PackedFunc" }

    /// What a function does with its arguments.
    public typealias Body = @Sendable (PackedArgs) throws -> AnyValue

    /// For messages; may be empty.
    public let name: String
    /// Such as `(int, float) -> str`; empty where it takes what it gets.
    public let signature: String

    private let body: Body?
    private let cFunction: ApusCFunction?
    private let cSelf: UnsafeMutableRawPointer?
    private let cDeleter: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
    /// Kernels get `DLTensor` where the caller gives an `NDArray`.
    private let takesDLTensors: Bool
    private let owner: AnyObject?

    /// A function over raw arguments.
    public init(_ name: String = "", signature: String = "", _ body: @escaping Body) {
        self.name = name
        self.signature = signature
        self.body = body
        cFunction = nil
        cSelf = nil
        cDeleter = nil
        takesDLTensors = false
        owner = nil
    }

    /// A C function; `deleter` is called once with `context` when the object goes away.
    /// - Parameters:
    ///   - kernel: generated code, which takes tensors as `DLTensor` and never as `NDArray`.
    ///   - owner: kept alive as long as this is, such as the library that the code lies in.
    public init(
        _ name: String, cFunction: @escaping ApusCFunction, context: UnsafeMutableRawPointer? = nil,
        deleter: (@convention(c) (UnsafeMutableRawPointer?) -> Void)? = nil, kernel: Bool = false,
        owner: AnyObject? = nil
    ) {
        self.name = name
        signature = ""
        body = nil
        self.cFunction = cFunction
        cSelf = context
        cDeleter = deleter
        takesDLTensors = kernel
        self.owner = owner
    }

    deinit { cDeleter?(cSelf) }

    // MARK: Typed closures

    /// From a closure with typed parameters and result; number and kinds are checked at each call.
    @inlinable
    public static func typed<each A: AnyConvertible, R: AnyConvertible>(
        _ name: String = "", _ function: @escaping @Sendable (repeat each A) throws -> R
    ) -> PackedFunc {
        var kinds: [String] = []
        for kind in repeat (each A).self { kinds.append(kind.abiName) }
        let arity = kinds.count
        return PackedFunc(name, signature: signatureText(kinds, R.abiName)) { args in
            try args.expect(count: arity)
            var i = 0
            return try function(repeat next(&i, args, (each A).self)).asValue
        }
    }

    /// From a closure with typed parameters that returns nothing.
    @inlinable
    public static func typed<each A: AnyConvertible>(
        _ name: String = "", _ function: @escaping @Sendable (repeat each A) throws -> Void
    ) -> PackedFunc {
        var kinds: [String] = []
        for kind in repeat (each A).self { kinds.append(kind.abiName) }
        let arity = kinds.count
        return PackedFunc(name, signature: signatureText(kinds, "None")) { args in
            try args.expect(count: arity)
            var i = 0
            try function(repeat next(&i, args, (each A).self))
            return .none
        }
    }

    @inlinable static func next<T: AnyConvertible>(_ i: inout Int, _ args: PackedArgs, _: T.Type) throws -> T
    {
        defer { i += 1 }
        return try args.get(i, as: T.self)
    }

    @usableFromInline static func signatureText(_ kinds: [String], _ result: String) -> String {
        "(\(kinds.joined(separator: ", "))) -> \(result)"
    }

    // MARK: Calling

    /// The C way of calling: never throws; on failure the error is in `LastError` and the result is
    /// untouched.
    public func callABI(
        _ args: UnsafePointer<ApusAny>?, _ count: Int32, _ result: UnsafeMutablePointer<ApusAny>
    )
        -> Int32
    {
        if let body {
            do {
                let value = try body(PackedArgs(args, count: Int(count)))
                switch value {
                case .none: result.pointee = ApusAny()
                case .int(let x): result.pointee = ApusAny(Int32(APUS_INT), ApusValue(i: Int64(x)))
                default: result.pointee = value.toOwnedABI()
                }
                return 0
            } catch {
                LastError.set(located(error))
                return -1
            }
        }
        guard let cFunction else { return -1 }
        if takesDLTensors && count > 0 {
            return withUnsafeTemporaryAllocation(of: ApusAny.self, capacity: Int(count)) { copy in
                guard let args else { return -1 }
                for i in 0..<Int(count) {
                    copy[i] = args[i]
                    guard args[i].type_index == Int32(APUS_NDARRAY), let raw = args[i].v.object else {
                        continue
                    }
                    let tensor = Unmanaged<NDArray>.fromOpaque(raw)._withUnsafeGuaranteedRef { $0.dlTensor }
                    copy[i] = ApusAny(Int32(APUS_DLTENSOR), ApusValue(tensor: tensor))
                }
                return cFunction(cSelf, copy.baseAddress, count, result)
            }
        }
        return cFunction(cSelf, args, count, result)
    }

    private func located(_ error: any Error) -> any Error {
        guard !name.isEmpty, let error = error as? ApusError else { return error }
        return error.within("function: \(name)")
    }

    /// Calls it.
    /// - Throws: what the body throws; RT020, RT023 where the arguments do not fit; what a C function
    ///   reported.
    @discardableResult
    public func call(_ arguments: [AnyValue]) throws -> AnyValue {
        try withUnsafeTemporaryAllocation(of: ApusAny.self, capacity: arguments.count) { packed in
            for (i, argument) in arguments.enumerated() { packed[i] = argument.toOwnedABI() }
            defer { for i in arguments.indices { packed[i].releaseObject() } }
            if let body {
                do {
                    return try body(PackedArgs(packed.baseAddress, count: arguments.count))
                } catch {
                    throw located(error)
                }
            }
            var result = ApusAny()
            LastError.clear()
            guard callABI(packed.baseAddress, Int32(truncatingIfNeeded: arguments.count), &result) == 0 else {
                throw located(LastError.take(from: name))
            }
            return try AnyValue(taking: result)
        }
    }

    /// Calls it with any convertible values.
    @discardableResult
    public func callAsFunction(_ arguments: any AnyConvertible...) throws -> AnyValue {
        try call(arguments.map { $0.asValue })
    }
}
