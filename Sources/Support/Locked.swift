import Glibc

/// A value behind a mutex; a final class so that it can be a global or shared without copying.
public final class Locked<Value>: @unchecked Sendable {
    private var value: Value
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    public init(_ value: Value) {
        self.value = value
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` with exclusive access. Do not call it again from within `body`.
    public func with<R>(_ body: (inout Value) throws -> R) rethrows -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}

/// One value a thread, made at the first use on that thread and destroyed with it.
public final class ThreadLocalBox<Value>: @unchecked Sendable {
    private final class Box {
        var value: Value
        init(_ value: Value) { self.value = value }
    }

    private var key = pthread_key_t()
    private let make: @Sendable () -> Value

    public init(_ make: @escaping @Sendable () -> Value) {
        self.make = make
        let status = pthread_key_create(&key) { Unmanaged<AnyObject>.fromOpaque($0!).release() }
        if status != 0 { internalError("pthread_key_create failed: \(status)") }
    }

    /// Runs `body` on this thread's value. Not re-entrant.
    public func with<R>(_ body: (inout Value) throws -> R) rethrows -> R {
        if let raw = pthread_getspecific(key) {
            return try body(&Unmanaged<Box>.fromOpaque(raw).takeUnretainedValue().value)
        }
        let box = Box(make())
        pthread_setspecific(key, Unmanaged.passRetained(box).toOpaque())
        return try body(&box.value)
    }
}
