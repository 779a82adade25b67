import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport

/// The base of the kinds of this file: their text comes from the printer.
open class TIRExpr: PrimExpr, @unchecked Sendable {
    public final override var description: String { TIRPrinter.text(self) }
}

/// Conversion of a value to another type: float to int truncates, int narrows by wrapping, to bool is `!= 0`.
public final class Cast: TIRExpr, @unchecked Sendable {
    public private(set) var value: PrimExpr

    public init(_ dtype: DataType, _ value: PrimExpr) {
        self.value = value
        super.init(dtype: dtype)
    }

    deinit { reclaim(&value) }

    public override var kind: PrimExprKind { .cast }
    public override class var schema: NodeSchema { castSchema }
}

private let castSchema = NodeSchema(
    "tir.Cast", Cast.self, [.field("dtype", \.dtype), .field("value", \.value)],
    make: {
        let dtype: DataType = try $0.next()
        return Cast(dtype, try $0.next())
    })

/// Logical negation.
public final class Not: TIRExpr, @unchecked Sendable {
    public private(set) var a: PrimExpr

    public init(_ a: PrimExpr) {
        self.a = a
        super.init(dtype: a.dtype)
    }

    deinit { reclaim(&a) }

    public override var kind: PrimExprKind { .not }
    public override class var schema: NodeSchema { notSchema }
}

private let notSchema = NodeSchema("tir.Not", Not.self, [.field("a", \.a)], make: { Not(try $0.next()) })

/// `condition ? trueValue : falseValue`; both sides are evaluated and must be safe to. See `ifThenElse` otherwise.
public final class Select: TIRExpr, @unchecked Sendable {
    public private(set) var condition: PrimExpr
    public private(set) var trueValue: PrimExpr
    public private(set) var falseValue: PrimExpr

    public init(_ condition: PrimExpr, _ trueValue: PrimExpr, _ falseValue: PrimExpr) {
        self.condition = condition
        self.trueValue = trueValue
        self.falseValue = falseValue
        super.init(dtype: trueValue.dtype)
    }

    deinit {
        reclaim(&condition)
        reclaim(&trueValue, &falseValue)
    }

    public override var kind: PrimExprKind { .select }
    public override class var schema: NodeSchema { selectSchema }
}

private let selectSchema = NodeSchema(
    "tir.Select", Select.self,
    [.field("condition", \.condition), .field("trueValue", \.trueValue), .field("falseValue", \.falseValue)],
    make: {
        let condition: PrimExpr = try $0.next()
        let trueValue: PrimExpr = try $0.next()
        return Select(condition, trueValue, try $0.next())
    })

/// The element of a buffer at the indices. A vector index in the last place reads a vector.
public final class BufferLoad: TIRExpr, @unchecked Sendable {
    public let buffer: Buffer
    public private(set) var indices: [PrimExpr]

    public init(_ buffer: Buffer, _ indices: [PrimExpr]) {
        self.buffer = buffer
        self.indices = indices
        let lanes = Int(indices.last?.dtype.lanes ?? 1)
        super.init(
            dtype: lanes == 1 ? buffer.dtype : buffer.dtype.with(lanes: lanes * Int(buffer.dtype.lanes)))
    }

    deinit { reclaim(&indices) }

    public override var kind: PrimExprKind { .bufferLoad }
    public override class var schema: NodeSchema { bufferLoadSchema }
}

private let bufferLoadSchema = NodeSchema(
    "tir.BufferLoad", BufferLoad.self, [.field("buffer", \.buffer), .field("indices", \.indices)],
    make: {
        let buffer: Buffer = try $0.next()
        let indices: [PrimExpr] = try $0.next()
        guard Int(indices.last?.dtype.lanes ?? 1) * Int(buffer.dtype.lanes) <= Int(UInt16.max) else {
            throw ApusError("TIR002", "a vector needs 1 to 65535 lanes")
        }
        return BufferLoad(buffer, indices)
    })

/// The element of a tensor that has no memory yet (TE); gone before lowering.
public final class ProducerLoad: TIRExpr, @unchecked Sendable {
    public private(set) var producer: DataProducer
    public private(set) var indices: [PrimExpr]

    public init(_ producer: DataProducer, _ indices: [PrimExpr]) {
        self.producer = producer
        self.indices = indices
        super.init(dtype: producer.producerDType)
    }

    deinit {
        reclaim(&producer)
        reclaim(&indices)
    }

    public override var kind: PrimExprKind { .producerLoad }
    public override class var schema: NodeSchema { producerLoadSchema }
}

private let producerLoadSchema = NodeSchema(
    "tir.ProducerLoad", ProducerLoad.self, [.field("producer", \.producer), .field("indices", \.indices)],
    make: {
        let producer: DataProducer = try $0.next()
        return ProducerLoad(producer, try $0.next())
    })

/// The vector `base, base + stride, …` of `lanes` elements.
public final class Ramp: TIRExpr, @unchecked Sendable {
    public private(set) var base: PrimExpr
    public private(set) var stride: PrimExpr
    public let lanes: Int

    public init(_ base: PrimExpr, _ stride: PrimExpr, _ lanes: Int) {
        self.base = base
        self.stride = stride
        self.lanes = lanes
        super.init(dtype: base.dtype.with(lanes: lanes))
    }

    deinit {
        reclaim(&base, &stride)
    }

    public override var kind: PrimExprKind { .ramp }
    public override class var schema: NodeSchema { rampSchema }
}

private let rampSchema = NodeSchema(
    "tir.Ramp", Ramp.self, [.field("base", \.base), .field("stride", \.stride), .field("lanes", \.lanes)],
    make: {
        let base: PrimExpr = try $0.next()
        let stride: PrimExpr = try $0.next()
        return Ramp(base, stride, try lanesField(&$0))
    })

private func lanesField(_ reader: inout FieldReader) throws -> Int {
    let lanes: Int = try reader.next()
    guard lanes >= 1, lanes <= Int(UInt16.max) else {
        throw ApusError("TIR002", "a vector needs 1 to 65535 lanes", actual: "\(lanes)")
    }
    return lanes
}

/// A scalar repeated in every lane.
public final class Broadcast: TIRExpr, @unchecked Sendable {
    public private(set) var value: PrimExpr
    public let lanes: Int

    public init(_ value: PrimExpr, _ lanes: Int) {
        self.value = value
        self.lanes = lanes
        super.init(dtype: value.dtype.with(lanes: lanes))
    }

    deinit { reclaim(&value) }

    public override var kind: PrimExprKind { .broadcast }
    public override class var schema: NodeSchema { broadcastSchema }
}

private let broadcastSchema = NodeSchema(
    "tir.Broadcast", Broadcast.self, [.field("value", \.value), .field("lanes", \.lanes)],
    make: {
        let value: PrimExpr = try $0.next()
        return Broadcast(value, try lanesField(&$0))
    })

/// Lanes picked from the concatenation of vectors.
public final class Shuffle: TIRExpr, @unchecked Sendable {
    public private(set) var vectors: [PrimExpr]
    /// Positions in the concatenation; one = a scalar.
    public let indices: [Int]

    public init(_ vectors: [PrimExpr], _ indices: [Int]) {
        self.vectors = vectors
        self.indices = indices
        let element = vectors.first?.dtype.element ?? .float32
        super.init(dtype: element.with(lanes: indices.count))
    }

    deinit { reclaim(&vectors) }

    public override var kind: PrimExprKind { .shuffle }
    public override class var schema: NodeSchema { shuffleSchema }
}

private let shuffleSchema = NodeSchema(
    "tir.Shuffle", Shuffle.self, [.field("vectors", \.vectors), .field("indices", \.indices)],
    make: {
        let vectors: [PrimExpr] = try $0.next()
        let indices: [Int] = try $0.next()
        let total = vectors.reduce(0) { $0 + Int($1.dtype.lanes) }
        guard !indices.isEmpty, indices.allSatisfy({ $0 >= 0 && $0 < total }) else {
            throw ApusError("TIR003", "a shuffle picks a lane that is not there", expected: "0..<\(total)")
        }
        return Shuffle(vectors, indices)
    })

/// `let variable = value in body`
public final class Let: TIRExpr, @unchecked Sendable {
    public let variable: Var
    public private(set) var value: PrimExpr
    public private(set) var body: PrimExpr

    public init(_ variable: Var, _ value: PrimExpr, _ body: PrimExpr) {
        self.variable = variable
        self.value = value
        self.body = body
        super.init(dtype: body.dtype)
    }

    deinit {
        reclaim(&value, &body)
    }

    public override var kind: PrimExprKind { .let }
    public override class var schema: NodeSchema { letSchema }
}

private let letSchema = NodeSchema(
    "tir.Let", Let.self,
    [.field("value", \.value), .definition("variable", \.variable), .field("body", \.body)],
    make: {
        let value: PrimExpr = try $0.next()
        let variable: Var = try $0.next()
        return Let(variable, value, try $0.next())
    })

/// A call of an intrinsic (`Op`) or of a function of the module (`GlobalVar`).
public final class Call: TIRExpr, @unchecked Sendable {
    public let op: RelayExpr
    public private(set) var args: [PrimExpr]

    public init(_ dtype: DataType, _ op: RelayExpr, _ args: [PrimExpr]) {
        self.op = op
        self.args = args
        super.init(dtype: dtype)
    }

    deinit { reclaim(&args) }

    /// `tir.exp` for an intrinsic, the global's name otherwise.
    public var name: String {
        if let op = op as? Op { return op.name }
        return (op as? GlobalVar)?.name ?? ""
    }

    public override var kind: PrimExprKind { .call }
    public override class var schema: NodeSchema { callSchema }
}

private let callSchema = NodeSchema(
    "tir.Call", Call.self, [.field("dtype", \.dtype), .field("op", \.op), .field("args", \.args)],
    make: {
        let dtype: DataType = try $0.next()
        let op: RelayExpr = try $0.next()
        return Call(dtype, op, try $0.next())
    })

/// A commutative, associative combination of tuples: `result[i]` of `lhs` and `rhs`, with its neutral element.
public final class CommReducer: Node, @unchecked Sendable {
    public let lhs: [Var]
    public let rhs: [Var]
    public let result: [PrimExpr]
    public let identity: [PrimExpr]

    public init(lhs: [Var], rhs: [Var], result: [PrimExpr], identity: [PrimExpr]) {
        self.lhs = lhs
        self.rhs = rhs
        self.result = result
        self.identity = identity
    }

    /// The combination of two given tuples.
    public func combine(_ a: [PrimExpr], _ b: [PrimExpr]) -> [PrimExpr] {
        var map: [Var: PrimExpr] = [:]
        for (v, e) in zip(lhs, a) { map[v] = e }
        for (v, e) in zip(rhs, b) { map[v] = e }
        return result.map { substitute($0, map) }
    }

    public override class var schema: NodeSchema { commReducerSchema }
}

private let commReducerSchema = NodeSchema(
    "tir.CommReducer", CommReducer.self,
    [
        .definition("lhs", \.lhs), .definition("rhs", \.rhs), .field("result", \.result),
        .field("identity", \.identity),
    ],
    make: {
        let lhs: [Var] = try $0.next()
        let rhs: [Var] = try $0.next()
        let result: [PrimExpr] = try $0.next()
        let identity: [PrimExpr] = try $0.next()
        guard lhs.count == rhs.count, lhs.count == result.count, lhs.count == identity.count else {
            throw ApusError("TIR004", "a reducer needs tuples of one length")
        }
        return CommReducer(lhs: lhs, rhs: rhs, result: result, identity: identity)
    })

/// The reduction of `source` over `axis` where `condition` holds; TE only, a block with an init after lowering.
public final class Reduce: TIRExpr, @unchecked Sendable {
    public let combiner: CommReducer
    public private(set) var source: [PrimExpr]
    public let axis: [IterVar]
    public private(set) var condition: PrimExpr
    /// Which element of the tuple this expression is.
    public let valueIndex: Int
    /// Values to start from instead of the identity; empty = the identity.
    public private(set) var initial: [PrimExpr]

    public init(
        _ combiner: CommReducer, _ source: [PrimExpr], _ axis: [IterVar],
        condition: PrimExpr = IntImm(1, dtype: .bool), valueIndex: Int = 0, initial: [PrimExpr] = []
    ) {
        self.combiner = combiner
        self.source = source
        self.axis = axis
        self.condition = condition
        self.valueIndex = valueIndex
        self.initial = initial
        super.init(dtype: source[valueIndex].dtype)
    }

    deinit {
        reclaim(&source)
        reclaim(&condition)
        reclaim(&initial)
    }

    public override var kind: PrimExprKind { .reduce }
    public override class var schema: NodeSchema { reduceSchema }
}

private let reduceSchema = NodeSchema(
    "tir.Reduce", Reduce.self,
    [
        .field("combiner", \.combiner), .definition("axis", \.axis), .field("source", \.source),
        .field("condition", \.condition), .field("valueIndex", \.valueIndex), .field("initial", \.initial),
    ],
    make: {
        let combiner: CommReducer = try $0.next()
        let axis: [IterVar] = try $0.next()
        let source: [PrimExpr] = try $0.next()
        let condition: PrimExpr = try $0.next()
        let valueIndex: Int = try $0.next()
        guard source.indices.contains(valueIndex) else {
            throw ApusError("TIR005", "a reduction has no such value", actual: "\(valueIndex)")
        }
        return Reduce(
            combiner, source, axis, condition: condition, valueIndex: valueIndex, initial: try $0.next())
    })
