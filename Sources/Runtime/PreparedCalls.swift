import ApusCABI
import ApusSupport
import Glibc

/// The memory of an executor's storages: one block that begins at a page, on large pages where the system has
/// them.
final class Arena: Sendable {
    nonisolated(unsafe) let base: UnsafeMutableRawPointer

    /// - Throws: RT002 where memory is refused.
    init(bytes: Int) throws {
        let large = 2 << 20
        var pointer: UnsafeMutableRawPointer?
        let alignment = bytes >= 2 * large ? large : 4096
        guard posix_memalign(&pointer, alignment, max(bytes, 1)) == 0, let pointer else {
            throw ApusError("RT002", "out of memory", actual: "\(bytes) bytes of storage")
        }
        // Advice only: fewer TLB misses on the activations of a large model.
        if alignment == large { madvise(pointer, bytes / large * large, Int32(MADV_HUGEPAGE)) }
        base = pointer
    }

    deinit { free(base) }
}

/// Every kernel call of a plan with its arguments in C form, made once and called many times.
final class PreparedCalls: @unchecked Sendable {
    private struct Call {
        let function: ApusCFunction
        let args: UnsafeMutablePointer<ApusAny>
        let count: Int32
    }

    private let calls: UnsafeMutableBufferPointer<Call>
    private let args: UnsafeMutablePointer<ApusAny>
    private let tensors: UnsafeMutablePointer<DLTensor>
    private let extents: UnsafeMutablePointer<Int64>
    /// For each input, the tensors that look at it and where.
    private let inputUses: [[(tensor: Int, byteOffset: Int)]]

    /// - Parameters:
    ///   - functions: one for every kernel name of the plan, which is valid.
    ///   - address: where a source begins.
    init(
        _ plan: ExecutablePlan, _ functions: [String: ApusCFunction],
        _ address: (ExecutablePlan.Source) -> UnsafeMutableRawPointer
    ) {
        let views = plan.instructions.flatMap(\.args)
        calls = .allocate(capacity: plan.instructions.count)
        args = .allocate(capacity: max(1, views.count))
        tensors = .allocate(capacity: max(1, views.count))
        extents = .allocate(capacity: max(1, views.reduce(0) { $0 + $1.shape.count }))
        var uses = [[(tensor: Int, byteOffset: Int)]](repeating: [], count: plan.inputs.count)
        var extent = 0
        for (i, view) in views.enumerated() {
            let shape = extents + extent
            for n in view.shape {
                extents[extent] = Int64(n)
                extent += 1
            }
            (tensors + i).initialize(
                to: DLTensor(
                    data: address(view.source) + view.byteOffset, device: Device.cpu.dlDevice,
                    ndim: Int32(view.shape.count), dtype: view.dtype.dlDataType, shape: shape, strides: nil,
                    byte_offset: 0))
            (args + i).initialize(to: ApusAny(Int32(APUS_DLTENSOR), ApusValue(tensor: tensors + i)))
            if case .input(let input) = view.source { uses[input].append((i, view.byteOffset)) }
        }
        inputUses = uses
        var first = 0
        for (i, instruction) in plan.instructions.enumerated() {
            guard let function = functions[instruction.kernel] else {
                internalError("no function for kernel \(instruction.kernel)")
            }
            (calls.baseAddress! + i).initialize(
                to: Call(function: function, args: args + first, count: Int32(instruction.args.count)))
            first += instruction.args.count
        }
    }

    deinit {
        calls.deallocate()
        args.deallocate()
        tensors.deallocate()
        extents.deallocate()
    }

    func rebind(input: Int, to data: UnsafeMutableRawPointer) {
        for use in inputUses[input] { tensors[use.tensor].data = data + use.byteOffset }
    }

    /// Calls everything in order; the number of the call that failed, or nil.
    func run() -> Int? {
        for i in 0..<calls.count where !call(i) { return i }
        return nil
    }

    @inline(__always)
    func call(_ i: Int) -> Bool {
        var result = ApusAny()
        let call = calls[i]
        return call.function(nil, call.args, call.count, &result) == 0
    }
}
