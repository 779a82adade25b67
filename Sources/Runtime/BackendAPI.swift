import ApusCABI
import ApusSupport
import Glibc

/// The table of functions that generated code may call. Loader and JIT put its address into the variable
/// `apus_backend_api` of the code.
public enum BackendAPI {
    /// The one table of the process; never freed.
    nonisolated(unsafe) public static let table: UnsafePointer<ApusBackendAPI> = {
        let pointer = UnsafeMutablePointer<ApusBackendAPI>.allocate(capacity: 1)
        pointer.initialize(
            to: ApusBackendAPI(
                parallel_launch: { task, data, count in
                    guard let task else { return -1 }
                    return launch(task, data, count)
                },
                alloc_workspace: { bytes in WorkspacePool.allocate(bytes) },
                free_workspace: { pointer in WorkspacePool.free(pointer) },
                set_error: { code, message in
                    LastError.set(
                        ApusError(
                            code.map { String(cString: $0) } ?? "RT000",
                            message.map { String(cString: $0) } ?? "generated code failed"))
                },
                call_packed: { name, args, count, wanted, result in
                    callGlobal(name, PackedArgs(args, count: Int(count)), wanted, result)
                }))
        return UnsafePointer(pointer)
    }()

    /// A packed call out of generated code, which holds numbers and pointers only.
    private static func callGlobal(
        _ name: UnsafePointer<CChar>?, _ args: PackedArgs, _ wanted: Int32,
        _ result: UnsafeMutablePointer<ApusAny>?
    ) -> Int32 {
        do {
            guard let name, let result else { throw ApusError("TTR070", "a packed call without a name") }
            let called = String(cString: name)
            let f = try Registry.require(called)
            var raw = ApusAny()
            guard f.callABI(args.base, Int32(args.count), &raw) == 0 else { return -1 }
            // Takes what is owned, so that an object that nobody wants is released.
            let value = try AnyValue(taking: raw)
            result.pointee = try plain(value, wanted, called)
            return 0
        } catch {
            LastError.set(error)
            return -1
        }
    }

    private static func plain(_ value: AnyValue, _ wanted: Int32, _ name: String) throws -> ApusAny {
        switch (wanted, value) {
        case (Int32(APUS_NONE), _): return ApusAny()
        case (Int32(APUS_INT), .int(let x)): return ApusAny(Int32(APUS_INT), ApusValue(i: Int64(x)))
        case (Int32(APUS_INT), .bool(let x)): return ApusAny(Int32(APUS_INT), ApusValue(i: x ? 1 : 0))
        case (Int32(APUS_FLOAT), .int(let x)): return ApusAny(Int32(APUS_FLOAT), ApusValue(f: Double(x)))
        case (Int32(APUS_FLOAT), .float(let x)): return ApusAny(Int32(APUS_FLOAT), ApusValue(f: x))
        case (Int32(APUS_PTR), .ptr(let p)): return ApusAny(Int32(APUS_PTR), ApusValue(p: p))
        default:
            let kinds = [Int32(APUS_INT): "int", Int32(APUS_FLOAT): "float", Int32(APUS_PTR): "ptr"]
            throw ApusError(
                "TTR071", "a packed call out of generated code gave a result of another kind",
                at: ["function: \(name)"], expected: kinds[wanted] ?? "kind \(wanted)", actual: value.kindName
            )
        }
    }

    fileprivate struct Launch {
        let task: ApusTask
        let data: UnsafeMutableRawPointer?
    }

    /// Errors that tasks of a launch left on their threads, by the address of the launch.
    fileprivate static let taskErrors = Locked<[UInt: ApusError]>([:])

    private static func launch(_ task: @escaping ApusTask, _ data: UnsafeMutableRawPointer?, _ count: Int32)
        -> Int32
    {
        var job = Launch(task: task, data: data)
        return withUnsafeMutablePointer(to: &job) { launch(UnsafeMutableRawPointer($0), count) }
    }

    private static func launch(_ job: UnsafeMutableRawPointer, _ count: Int32) -> Int32 {
        let status = ThreadPool.shared.launch(runTask, job, count: count)
        if status != 0, let error = taskErrors.with({ $0.removeValue(forKey: UInt(bitPattern: job)) }) {
            LastError.set(error)
        }
        return status
    }
}

/// One task of a launch, on whichever thread. A failure's error belongs to the thread that launched: it is
/// left for it under the launch's address.
private func runTask(_ id: Int32, _ count: Int32, _ raw: UnsafeMutableRawPointer?) -> Int32 {
    guard let raw else { return -1 }
    let job = raw.assumingMemoryBound(to: BackendAPI.Launch.self)
    let status = job.pointee.task(id, count, job.pointee.data)
    if status != 0 {
        let error = LastError.take(from: "parallel task \(id)")
        BackendAPI.taskErrors.with { $0[UInt(bitPattern: raw)] = error }
    }
    return status
}

/// Scratch memory for generated code: a stack of blocks a thread, kept from call to call so that a steady
/// state allocates nothing. Freed with the thread.
public enum WorkspacePool {
    private final class Stack {
        /// Blocks by depth; those from `depth` on are free.
        var blocks: [(pointer: UnsafeMutableRawPointer, bytes: Int, isFreed: Bool)] = []
        var depth = 0

        deinit { for block in blocks { Glibc.free(block.pointer) } }

        func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
            if depth < blocks.count {
                if blocks[depth].bytes >= bytes {
                    blocks[depth].isFreed = false
                    depth += 1
                    return blocks[depth - 1].pointer
                }
                Glibc.free(blocks.remove(at: depth).pointer)
            }
            let size = (max(bytes, 1) + 4095) / 4096 * 4096
            var pointer: UnsafeMutableRawPointer?
            guard posix_memalign(&pointer, 4096, size) == 0, let pointer else { return nil }
            blocks.insert((pointer, size, false), at: depth)
            depth += 1
            return pointer
        }

        func free(_ pointer: UnsafeMutableRawPointer) {
            var i = depth - 1
            while i >= 0 && blocks[i].pointer != pointer { i -= 1 }
            guard i >= 0 else { return }
            blocks[i].isFreed = true
            while depth > 0 && blocks[depth - 1].isFreed { depth -= 1 }
        }
    }

    private static let stacks = ThreadLocalBox<Stack> { Stack() }

    /// At least `bytes` at a multiple of 4096, or nil where they cannot be had.
    public static func allocate(_ bytes: UInt64) -> UnsafeMutableRawPointer? {
        guard bytes < 1 << 62 else { return nil }
        return stacks.with { $0.allocate(Int(bytes)) }
    }

    /// Gives back what `allocate` returned on this thread; best in reverse order. Null is ignored.
    public static func free(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer else { return }
        stacks.with { $0.free(pointer) }
    }

    /// Frees the blocks of this thread that are not in use.
    public static func trim() {
        stacks.with { stack in
            while stack.blocks.count > stack.depth { Glibc.free(stack.blocks.removeLast().pointer) }
        }
    }
}
