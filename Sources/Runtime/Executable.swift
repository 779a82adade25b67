import ApusSupport
import Glibc

/// A plan with the values of its constants: all of a compiled model but its code. Immutable and shared by
/// executors.
///
/// Byte form (little-endian), as it lies in a file or in the data `apus_blob` of an exported module:
///
///     0   magic "APUSEXEC"
///     8   u32 version, u32 zero
///     16  u64 bytes of the plan, u64 FNV-1a of the plan
///     32  u64 where the constants begin (a multiple of 64), u64 their bytes, u64 zero, u64 zero
///     64  the plan; zero padding; the constants, each at a multiple of 64
public final class Executable: Sendable {
    /// The first eight bytes of the byte form: "APUSEXEC".
    public static let magic: UInt64 = 0x4345_5845_5355_5041  // "APUSEXEC"
    /// The version of the byte form that this runtime writes and reads.
    public static let version: UInt32 = 1
    private static let headerBytes = 64

    /// What runs, on what memory.
    public let plan: ExecutablePlan
    /// One tensor a constant of the plan; read-only.
    public let constants: [NDArray]

    /// - Throws: RT062 to RT065 where the plan is malformed, RT066 where the constants are not those it
    ///   names.
    public convenience init(plan: ExecutablePlan, constants: [NDArray]) throws {
        try self.init(plan: plan, constants: constants, inPlace: { _ in false })
    }

    /// - Parameter inPlace: whether a constant that does not lie at a multiple of 64 bytes is used where it is; others are
    ///   copied.
    package init(plan: ExecutablePlan, constants: [NDArray], inPlace: (NDArray) -> Bool) throws {
        try plan.validate()
        guard constants.count == plan.constants.count else {
            throw ApusError(
                "RT066", "wrong number of constants", expected: "\(plan.constants.count)",
                actual: "\(constants.count)")
        }
        for (spec, tensor) in zip(plan.constants, constants) {
            guard tensor.shape == spec.shape, tensor.dtype == spec.dtype else {
                throw ApusError(
                    "RT066", "a constant does not fit its plan", at: ["constant: \(spec.name)"],
                    expected: "\(spec.dtype) \(spec.shape)", actual: "\(tensor.dtype) \(tensor.shape)")
            }
        }
        self.plan = plan
        self.constants = try constants.map { tensor in
            // Kernels count on compactness.
            let place = Int(bitPattern: tensor.data)
            guard tensor.isContiguous, place % ExecutablePlan.alignment == 0 || inPlace(tensor) else {
                let copy = try tensor.copied()
                tensor.forgetFilePages()
                return copy
            }
            return tensor
        }
    }

    // MARK: Writing

    /// Where each constant lies in the constants, and how many bytes they take.
    private static func layout(_ plan: ExecutablePlan) throws -> (offsets: [Int], bytes: Int) {
        var offsets: [Int] = []
        var position = 0
        for spec in plan.constants {
            offsets.append(position)
            let (end, overflow) = position.addingReportingOverflow(
                try NDArray.checkedSize(shape: spec.shape, dtype: spec.dtype).bytes)
            guard !overflow, end < 1 << 62 else { throw ApusError("RT064", "the constants are too large") }
            position =
                (end + ExecutablePlan.alignment - 1) / ExecutablePlan.alignment * ExecutablePlan.alignment
        }
        return (offsets, position)
    }

    /// Header and plan, padded to where the constants begin.
    private func head(_ constantBytes: Int) throws -> [UInt8] {
        let encoded = try PlanCodec.encode(plan, offsets: Executable.layout(plan).offsets)
        let begin = (Executable.headerBytes + encoded.count + 63) / 64 * 64
        var writer = ByteWriter()
        writer.write(Executable.magic)
        writer.write(Executable.version)
        writer.write(UInt32(0))
        writer.write(count: encoded.count)
        writer.write(encoded.withUnsafeBytes(fnv1a))
        writer.write(count: begin)
        writer.write(count: constantBytes)
        writer.write(UInt64(0))
        writer.write(UInt64(0))
        writer.bytes += encoded
        writer.pad(to: 64)
        return writer.bytes
    }

    /// Length of the byte form.
    public func serializedCount() throws -> Int {
        let (_, bytes) = try Executable.layout(plan)
        return try head(bytes).count + bytes
    }

    /// Gives the byte form to `sink` in pieces, in order: the same bytes for the same executable.
    public func write(_ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        let (offsets, bytes) = try Executable.layout(plan)
        try head(bytes).withUnsafeBytes(sink)
        let padding = [UInt8](repeating: 0, count: 64)
        for (i, tensor) in constants.enumerated() {
            try tensor.withUnsafeBytes { if !$0.isEmpty { try sink($0) } }
            tensor.forgetFilePages()
            let end = i + 1 < offsets.count ? offsets[i + 1] : bytes
            let gap = end - offsets[i] - tensor.byteCount
            if gap > 0 {
                try padding.withUnsafeBytes { try sink(UnsafeRawBufferPointer(rebasing: $0[..<gap])) }
            }
        }
    }

    /// The byte form in memory; prefer `write(toFile:)` for large models.
    public func serialized() throws -> [UInt8] {
        var result: [UInt8] = []
        try write { result.append(contentsOf: $0) }
        return result
    }

    /// Writes the byte form to a file, replacing it.
    /// - Throws: RT067 where it cannot be written.
    public func write(toFile path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        func failed() -> ApusError {
            ApusError("RT067", "cannot write: \(String(cString: strerror(errno)))", at: ["file: \(path)"])
        }
        guard descriptor >= 0 else { throw failed() }
        defer { close(descriptor) }
        try write { piece in
            var done = 0
            while done < piece.count {
                let n = Glibc.write(descriptor, piece.baseAddress! + done, piece.count - done)
                if n < 0 && errno == EINTR { continue }
                guard n > 0 else { throw failed() }
                done += n
            }
        }
    }

    // MARK: Reading

    /// Reads the byte form. Constants stay where they are (`owner` keeps the bytes alive) if `bytes` begins
    /// at a multiple of 64, else they are copied.
    /// - Throws: RT060 for bytes that are no executable, RT061 for another version, RT062 to RT065 for a plan
    ///   that does not hold together. Any bytes end in an error or a valid executable.
    public convenience init(decoding bytes: UnsafeRawBufferPointer, owner: AnyObject?) throws {
        var reader = ByteReader(bytes, code: "RT060")
        guard try reader.read(UInt64.self) == Executable.magic else {
            throw ApusError("RT060", "these bytes are no Apus executable")
        }
        let version = try reader.read(UInt32.self)
        guard version == Executable.version else {
            throw ApusError(
                "RT061", "an executable of another version", expected: "\(Executable.version)",
                actual: "\(version)",
                hint: "compile the model again with this version")
        }
        _ = try reader.read(UInt32.self)
        let planBytes = try reader.read(UInt64.self)
        let checksum = try reader.read(UInt64.self)
        let begin = try reader.read(UInt64.self)
        let length = try reader.read(UInt64.self)
        _ = try reader.readBytes(16)
        guard let planCount = Int(exactly: planBytes), planCount <= reader.remaining else {
            throw reader.malformed("a plan of \(planBytes) bytes")
        }
        let planRegion = try reader.readBytes(planCount)
        guard fnv1a(planRegion) == checksum else {
            throw reader.malformed("the checksum of the plan is wrong")
        }
        guard let first = Int(exactly: begin), let count = Int(exactly: length), first >= reader.position,
            first % ExecutablePlan.alignment == 0, first <= bytes.count, count <= bytes.count - first
        else { throw reader.malformed("\(length) bytes of constants at \(begin)") }
        let (plan, offsets) = try PlanCodec.decode(planRegion)
        try plan.validate()
        let region = UnsafeRawBufferPointer(rebasing: bytes[first..<first + count])
        try self.init(plan: plan, constants: Executable.tensors(plan, offsets, region, owner))
    }

    private static func tensors(
        _ plan: ExecutablePlan, _ offsets: [Int], _ region: UnsafeRawBufferPointer, _ owner: AnyObject?
    ) throws -> [NDArray] {
        try zip(plan.constants, offsets).map { spec, offset in
            let (_, size) = try NDArray.checkedSize(shape: spec.shape, dtype: spec.dtype)
            guard offset >= 0, offset % ExecutablePlan.alignment == 0, offset <= region.count,
                size <= region.count - offset
            else {
                throw ApusError(
                    "RT063", "a constant outside the data", at: ["constant: \(spec.name)"],
                    expected: "within \(region.count) bytes", actual: "\(size) bytes at \(offset)")
            }
            guard size > 0, let base = region.baseAddress else {
                return NDArray(shape: spec.shape, dtype: spec.dtype)
            }
            let view = NDArray(
                borrowing: UnsafeMutableRawPointer(mutating: base + offset), shape: spec.shape,
                dtype: spec.dtype,
                owner: owner)
            return owner == nil ? try view.copied() : view
        }
    }

    /// Maps a file that `write(toFile:)` made; its constants are read from it as they are used.
    /// - Throws: RT068 where it cannot be read; as `init(decoding:)`.
    public static func load(_ path: String) throws -> Executable {
        let mapping = try FileMapping(path)
        return try within("file: \(path)") { try Executable(decoding: mapping.bytes, owner: mapping) }
    }
}

/// A file mapped for reading, unmapped with the object.
package final class FileMapping: Sendable {
    nonisolated(unsafe) package let bytes: UnsafeRawBufferPointer

    /// - Throws: RT068 where it cannot be read.
    package init(_ path: String) throws {
        func failed() -> ApusError {
            ApusError("RT068", "cannot read: \(String(cString: strerror(errno)))", at: ["file: \(path)"])
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failed() }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failed() }
        let size = Int(status.st_size)
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw failed()
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }
}

/// The plan as bytes and back.
enum PlanCodec {
    static func encode(_ plan: ExecutablePlan, offsets: [Int]) throws -> [UInt8] {
        var w = ByteWriter()
        func spec(_ s: ExecutablePlan.TensorSpec) {
            w.write(s.name)
            w.write(s.dtype)
            w.write(shape: s.shape)
        }
        func view(_ v: ExecutablePlan.View) {
            switch v.source {
            case .storage(let i):
                w.write(UInt32(0))
                w.write(UInt32(i))
            case .input(let i):
                w.write(UInt32(1))
                w.write(UInt32(i))
            case .constant(let i):
                w.write(UInt32(2))
                w.write(UInt32(i))
            }
            w.write(Int64(v.byteOffset))
            w.write(v.dtype)
            w.write(shape: v.shape)
        }
        w.write(plan.name)
        w.write(count: plan.storages.count)
        for s in plan.storages {
            w.write(Int64(s.bytes))
            w.write(Int64(s.alignment))
        }
        w.write(count: plan.inputs.count)
        plan.inputs.forEach(spec)
        w.write(count: plan.constants.count)
        for (s, offset) in zip(plan.constants, offsets) {
            spec(s)
            w.write(Int64(offset))
        }
        w.write(count: plan.instructions.count)
        for n in plan.instructions {
            w.write(n.kernel)
            w.write(n.label)
            w.write(count: n.args.count)
            n.args.forEach(view)
        }
        w.write(count: plan.outputs.count)
        for o in plan.outputs {
            w.write(o.name)
            view(o.view)
        }
        return w.bytes
    }

    static func decode(_ bytes: UnsafeRawBufferPointer) throws -> (ExecutablePlan, offsets: [Int]) {
        typealias Plan = ExecutablePlan
        var r = ByteReader(bytes, code: "RT060")
        func spec(_ r: inout ByteReader) throws -> Plan.TensorSpec {
            let name = try r.readString()
            let dtype = try r.readDataType()
            return Plan.TensorSpec(name: name, shape: try r.readShape(), dtype: dtype)
        }
        func view(_ r: inout ByteReader) throws -> Plan.View {
            let kind = try r.read(UInt32.self)
            let index = Int(try r.read(UInt32.self))
            let source: Plan.Source
            switch kind {
            case 0: source = .storage(index)
            case 1: source = .input(index)
            case 2: source = .constant(index)
            default: throw r.malformed("an unknown kind of view")
            }
            let offset = try r.readInt()
            let dtype = try r.readDataType()
            return Plan.View(source, byteOffset: offset, shape: try r.readShape(), dtype: dtype)
        }
        var plan = Plan(name: try r.readString())
        plan.storages = try r.readList(minimum: 16) { r in
            let bytes = try r.readInt()
            return Plan.Storage(bytes: bytes, alignment: try r.readInt())
        }
        plan.inputs = try r.readList(minimum: 20, spec)
        var offsets: [Int] = []
        plan.constants = try r.readList(minimum: 28) { r in
            let s = try spec(&r)
            offsets.append(try r.readInt())
            return s
        }
        plan.instructions = try r.readList(minimum: 24) { r in
            let kernel = try r.readString()
            let label = try r.readString()
            return Plan.Instruction(kernel: kernel, args: try r.readList(minimum: 28, view), label: label)
        }
        plan.outputs = try r.readList(minimum: 36) { r in
            let name = try r.readString()
            return Plan.Output(name: name, view: try view(&r))
        }
        guard r.remaining == 0 else { throw r.malformed("\(r.remaining) bytes after the end") }
        return (plan, offsets)
    }
}
