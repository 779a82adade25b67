import ApusCABI
import ApusSupport
import Glibc

/// A tensor: shape, element type, device and memory. One class for owned, borrowed and foreign memory.
///
/// Memory made here is 64-byte aligned. The contents may be written through `data`; shape and type never
/// change. A tensor that came through DLPack may have strides; see `isContiguous` and `contiguous()`.
public final class NDArray: Object, @unchecked Sendable {
    public override class var typeKey: String { "runtime.NDArray" }

    /// Bytes to which memory made here is aligned.
    public static let alignment = 64

    /// Extents, outermost first; empty for a scalar.
    public let shape: [Int]
    /// Element type.
    public let dtype: DataType
    /// Where the memory lies.
    public let device: Device
    /// The first element. For a device other than the host this is the device's own address.
    public let data: UnsafeMutableRawPointer
    /// Number of elements.
    public let count: Int
    /// Distance between neighbours of each axis in elements; nil for compact row-major.
    public let strides: [Int]?

    /// The C view of this tensor; lives as long as the tensor. Its extents follow it in the same allocation.
    public let dlTensor: UnsafeMutablePointer<DLTensor>

    private let owner: AnyObject?
    private let release: (@Sendable (UnsafeMutableRawPointer) -> Void)?

    /// Every initialiser ends here; `count` is the checked product of `shape`.
    private init(
        data: UnsafeMutableRawPointer, shape: [Int], strides: [Int]?, dtype: DataType, device: Device,
        count: Int,
        owner: AnyObject?, release: (@Sendable (UnsafeMutableRawPointer) -> Void)?
    ) {
        self.data = data
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.device = device
        self.count = count
        self.owner = owner
        self.release = release
        let words = 6 + shape.count * 2
        let block = UnsafeMutablePointer<Int64>.allocate(capacity: words)
        let extents = block + 6
        for (i, n) in shape.enumerated() { extents[i] = Int64(n) }
        var stridePointer: UnsafeMutablePointer<Int64>?
        if let strides {
            let base = extents + shape.count
            for (i, n) in strides.enumerated() { base[i] = Int64(n) }
            stridePointer = base
        }
        dlTensor = UnsafeMutableRawPointer(block).bindMemory(to: DLTensor.self, capacity: 1)
        dlTensor.initialize(
            to: DLTensor(
                data: data, device: device.dlDevice, ndim: Int32(shape.count), dtype: dtype.dlDataType,
                shape: extents, strides: stridePointer, byte_offset: 0))
        super.init()
    }

    deinit {
        release?(data)
        UnsafeMutableRawPointer(dlTensor).deallocate()
    }

    // MARK: Making

    /// Zero-filled. For shapes the program itself decides: a size that overflows or cannot be had is an
    /// internal error. Use `allocate` for what comes from a user.
    public convenience init(shape: [Int], dtype: DataType, device: Device = .cpu) {
        do {
            let (count, bytes) = try NDArray.checkedSize(shape: shape, dtype: dtype)
            let (memory, base) = try NDArray.zeroedMemory(bytes, device)
            self.init(owning: memory, shape: shape, dtype: dtype, device: device, count: count, base: base)
        } catch {
            internalError("NDArray(shape: \(shape), dtype: \(dtype)): \(error)")
        }
    }

    private convenience init(
        owning memory: UnsafeMutableRawPointer, shape: [Int], dtype: DataType, device: Device, count: Int,
        base: UnsafeMutableRawPointer
    ) {
        let address = UInt(bitPattern: base)
        let release: @Sendable (UnsafeMutableRawPointer) -> Void =
            if device == .cpu {
                { pointer in free(UnsafeMutableRawPointer(bitPattern: address)) }
            } else {
                { pointer in DeviceTable.find(device)?.free(pointer, device: device) }
            }
        self.init(
            data: memory, shape: shape, strides: nil, dtype: dtype, device: device, count: count, owner: nil,
            release: release)
    }

    /// Zeroed memory: where elements begin, and what is to be freed. Large host memory comes zeroed from the
    /// system and is not touched, so a tensor takes pages only as it is written.
    private static func zeroedMemory(_ bytes: Int, _ device: Device) throws
        -> (data: UnsafeMutableRawPointer, base: UnsafeMutableRawPointer)
    {
        if device == .cpu && bytes >= 1 << 20 {
            guard let base = calloc(1, bytes + alignment) else {
                throw ApusError("RT002", "out of memory", actual: "\(bytes) bytes on \(device)")
            }
            return (base + (alignment - Int(bitPattern: base) % alignment), base)
        }
        let api = try DeviceTable.api(for: device)
        let memory = try api.allocate(bytes: bytes, alignment: alignment, device: device)
        try api.zero(memory, bytes: bytes, device: device)
        return (memory, memory)
    }

    /// Zero-filled, with every size checked.
    /// - Throws: RT001 for a negative extent or a size that overflows, RT002 where memory is refused.
    public static func allocate(shape: [Int], dtype: DataType, device: Device = .cpu) throws -> NDArray {
        let (count, bytes) = try checkedSize(shape: shape, dtype: dtype)
        let (memory, base) = try zeroedMemory(bytes, device)
        return NDArray(owning: memory, shape: shape, dtype: dtype, device: device, count: count, base: base)
    }

    /// Elements and bytes of a tensor.
    /// - Throws: RT001 for a negative extent or a size that overflows.
    public static func checkedSize(shape: [Int], dtype: DataType) throws -> (count: Int, bytes: Int) {
        var count = 1
        var isEmpty = false
        for extent in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: max(extent, 1))
            guard extent >= 0, !overflow else {
                throw ApusError(
                    "RT001", "a tensor of this shape cannot exist",
                    expected: "extents >= 0 of a product that fits",
                    actual: "\(shape)")
            }
            if extent == 0 { isEmpty = true }
            count = product
        }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: dtype.byteCount)
        guard !overflow, bytes < 1 << 62 else {
            throw ApusError("RT001", "a tensor of this shape is too large", actual: "\(shape) of \(dtype)")
        }
        return isEmpty ? (0, 0) : (count, bytes)
    }

    /// A copy of `values`, whose number must be that of the shape (a mismatch is an internal error; a caller
    /// with a user's numbers uses `allocate` and checks first).
    public convenience init<T: NDArrayElement>(_ values: [T], shape: [Int]) {
        self.init(shape: shape, dtype: T.dtype)
        if values.count != count {
            internalError("NDArray: \(values.count) values for shape \(shape)")
        }
        values.withUnsafeBytes {
            if let from = $0.baseAddress { data.copyMemory(from: from, byteCount: $0.count) }
        }
    }

    /// A copy of `values` as a vector.
    public convenience init<T: NDArrayElement>(_ values: [T]) { self.init(values, shape: [values.count]) }

    /// A tensor without axes.
    public convenience init<T: NDArrayElement>(scalar value: T) { self.init([value], shape: []) }

    /// Gives the memory of a tensor that lies in a mapped file back to the system until it is read again; does nothing for
    /// any other. Nothing may have been written to the tensor.
    package func forgetFilePages() {
        guard isContiguous else { return }
        // A tensor of another shape keeps the one it is a view of.
        var kept = owner
        while let view = kept as? NDArray { kept = view.owner }
        (kept as? MappedFile)?.forget(UnsafeRawBufferPointer(start: data, count: byteCount))
    }

    /// A view of host memory that `owner` keeps alive; with no owner the caller does. Shape as for
    /// `init(shape:)`.
    public convenience init(
        borrowing data: UnsafeMutableRawPointer, shape: [Int], dtype: DataType, device: Device = .cpu,
        owner: AnyObject? = nil
    ) {
        do {
            let (count, _) = try NDArray.checkedSize(shape: shape, dtype: dtype)
            self.init(
                data: data, shape: shape, strides: nil, dtype: dtype, device: device, count: count,
                owner: owner,
                release: nil)
        } catch {
            internalError("NDArray(borrowing:shape: \(shape)): \(error)")
        }
    }

    /// A view of what a C tensor describes.
    /// - Parameters:
    ///   - release: called once with the data pointer when the view goes away.
    /// - Throws: RT003 where it describes nothing that can be: null data, negative rank, unknown type or
    ///   device.
    package static func view(
        of tensor: DLTensor, owner: AnyObject? = nil,
        release: (@Sendable (UnsafeMutableRawPointer) -> Void)? = nil
    ) throws -> NDArray {
        func bad(_ what: String) -> ApusError { ApusError("RT003", "malformed DLTensor: \(what)") }
        guard tensor.ndim >= 0, tensor.ndim <= 64, tensor.ndim == 0 || tensor.shape != nil else {
            throw bad("rank \(tensor.ndim)")
        }
        guard let dtype = DataType(tensor.dtype), dtype.byteCount > 0 else {
            throw bad("type code \(tensor.dtype.code), \(tensor.dtype.bits) bits")
        }
        guard let device = Device(tensor.device) else {
            throw bad("device kind \(tensor.device.device_type)")
        }
        let rank = Int(tensor.ndim)
        let shape = (0..<rank).map { Int(tensor.shape[$0]) }
        let (count, _) = try checkedSize(shape: shape, dtype: dtype)
        var strides: [Int]?
        if let from = tensor.strides {
            strides = (0..<rank).map { Int(from[$0]) }
            if count == 0 || strides == compactStrides(shape) { strides = nil }
            // Strides of axes with one element mean nothing.
            if let s = strides, isCompact(shape: shape, strides: s) { strides = nil }
        }
        let base: UnsafeMutableRawPointer
        if let data = tensor.data {
            guard tensor.byte_offset < 1 << 62 else { throw bad("byte offset \(tensor.byte_offset)") }
            base = data + Int(tensor.byte_offset)
        } else if count == 0 {
            base = emptyData
        } else {
            throw bad("no data")
        }
        return NDArray(
            data: base, shape: shape, strides: strides, dtype: dtype, device: device, count: count,
            owner: owner,
            release: release)
    }

    // MARK: Reading

    /// Bytes that the elements take when compact.
    public var byteCount: Int { count * dtype.byteCount }

    /// Whether the elements lie one after another in row-major order.
    public var isContiguous: Bool { strides == nil }

    /// Runs `body` on the elements in row-major order; on a copy where the tensor has strides. Host memory
    /// only.
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let source = isContiguous ? self : compactCopy()
        defer { withExtendedLifetime(source) {} }
        return try body(UnsafeRawBufferPointer(start: source.data, count: source.byteCount))
    }

    /// The elements in row-major order.
    /// - Throws: RT004 where `T` is not the element type (`Int` reads int64), RT005 for memory off the host.
    public func toArray<T: NDArrayElement>(_ type: T.Type = T.self) throws -> [T] {
        guard T.dtype == dtype else {
            throw ApusError("RT004", "wrong element type", expected: "\(dtype)", actual: "\(T.dtype)")
        }
        let host = try onHost()
        return host.withUnsafeBytes { bytes in
            [T](unsafeUninitializedCapacity: count) { buffer, initialized in
                if let from = bytes.baseAddress, let to = UnsafeMutableRawPointer(buffer.baseAddress) {
                    to.copyMemory(from: from, byteCount: bytes.count)
                }
                initialized = count
            }
        }
    }

    /// The elements in row-major order as doubles, whatever the numeric type (64-bit integers may round).
    /// - Throws: RT004 for handles, RT005 for memory off the host.
    public func toDoubles() throws -> [Double] {
        guard dtype.isInteger || dtype.isFloat, [1, 8, 16, 32, 64].contains(dtype.bits) else {
            throw ApusError("RT004", "these elements are not numbers", actual: "\(dtype)")
        }
        let host = try onHost()
        return host.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return [] }
            return (0..<count * Int(dtype.lanes)).map { ElementCodec.load($0, of: dtype, in: base) }
        }
    }

    private func onHost() throws -> NDArray {
        guard !device.isHostAccessible else { return self }
        let copy = try NDArray.allocate(shape: shape, dtype: dtype)
        try copy.copy(from: self)
        return copy
    }

    /// Whether shape, element type and every byte are the same.
    public func hasSameContents(as other: NDArray) -> Bool {
        guard shape == other.shape, dtype == other.dtype else { return false }
        return withUnsafeBytes { a in
            other.withUnsafeBytes { b in
                guard a.count > 0, let p = a.baseAddress, let q = b.baseAddress else { return true }
                return memcmp(p, q, a.count) == 0
            }
        }
    }

    // MARK: Views and copies

    /// The same memory under another shape of as many elements.
    /// - Throws: RT006 where the number differs or the tensor has strides.
    public func reshaped(to newShape: [Int]) throws -> NDArray {
        let (n, _) = try NDArray.checkedSize(shape: newShape, dtype: dtype)
        guard n == count, isContiguous else {
            throw ApusError(
                "RT006",
                isContiguous ? "reshape changes the number of elements" : "reshape of a strided tensor",
                expected: "\(count) elements", actual: "\(newShape)",
                hint: isContiguous ? nil : "call contiguous() first")
        }
        return NDArray(
            data: data, shape: newShape, strides: nil, dtype: dtype, device: device, count: n, owner: self,
            release: nil)
    }

    /// Copies every element of `source`, which has the same shape and type; either may have strides on the
    /// host.
    /// - Throws: RT007 where shape or type differ.
    public func copy(from source: NDArray) throws {
        guard source.shape == shape, source.dtype == dtype else {
            throw ApusError(
                "RT007", "copy between unlike tensors", expected: "\(dtype) \(shape)",
                actual: "\(source.dtype) \(source.shape)")
        }
        if source === self || count == 0 { return }
        if device.isHostAccessible && source.device.isHostAccessible {
            guard isContiguous && source.isContiguous else {
                stridedCopy(from: source)
                return
            }
            memmove(data, source.data, byteCount)
            return
        }
        guard isContiguous && source.isContiguous else {
            throw ApusError("RT007", "copy between devices needs contiguous tensors")
        }
        let driver = device.isHostAccessible ? source.device : device
        try DeviceTable.api(for: driver).copy(
            from: source.data, on: source.device, to: data, on: device, bytes: byteCount)
    }

    /// A compact copy with memory of its own.
    /// - Throws: RT002 where memory is refused.
    public func copied() throws -> NDArray {
        let result = try NDArray.allocate(shape: shape, dtype: dtype, device: device)
        try result.copy(from: self)
        return result
    }

    /// This tensor if it is compact, else a compact copy.
    public func contiguous() -> NDArray { isContiguous ? self : compactCopy() }

    private func compactCopy() -> NDArray {
        let result = NDArray(shape: shape, dtype: dtype)
        result.stridedCopy(from: self)
        return result
    }

    private func stridedCopy(from source: NDArray) {
        let size = dtype.byteCount
        let from = source.strides ?? NDArray.compactStrides(shape)
        let to = strides ?? NDArray.compactStrides(shape)
        var index = [Int](repeating: 0, count: shape.count)
        var fromOffset = 0
        var toOffset = 0
        for _ in 0..<count {
            memcpy(data + toOffset * size, source.data + fromOffset * size, size)
            var axis = shape.count - 1
            while axis >= 0 {
                index[axis] += 1
                fromOffset += from[axis]
                toOffset += to[axis]
                if index[axis] < shape[axis] { break }
                fromOffset -= from[axis] * shape[axis]
                toOffset -= to[axis] * shape[axis]
                index[axis] = 0
                axis -= 1
            }
        }
    }

    package static func compactStrides(_ shape: [Int]) -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        var axis = shape.count - 2
        while axis >= 0 {
            strides[axis] = strides[axis + 1] &* max(shape[axis + 1], 1)
            axis -= 1
        }
        return strides
    }

    private static func isCompact(shape: [Int], strides: [Int]) -> Bool {
        let compact = compactStrides(shape)
        for (axis, extent) in shape.enumerated() where extent > 1 && strides[axis] != compact[axis] {
            return false
        }
        return true
    }
}

/// Where tensors without elements point.
nonisolated(unsafe) private let emptyData = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)

extension NDArray: CustomStringConvertible {
    public var description: String { "NDArray(\(shape), \(dtype), \(device))" }
}
