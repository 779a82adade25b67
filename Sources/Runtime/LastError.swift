import ApusSupport

/// The error that a call across the C border left on this thread.
public enum LastError {
    private struct State {
        var code: String = ""
        var text: String = ""
        var cText: UnsafeMutablePointer<CChar>?
        var error: ApusError?
    }
    private static let state = ThreadLocalBox<State> { State() }

    /// Remembers `error` for whoever sees the failure code.
    public static func set(_ error: any Error) {
        if let error = error as? ApusError {
            set(error)
        } else {
            set(ApusError("RT000", "\(error)"))
        }
    }

    /// Remembers `error`.
    public static func set(_ error: ApusError) {
        let text = error.description
        state.with { s in
            s.error = error
            s.code = error.code
            s.text = text
        }
    }

    /// The error, which stays; nil if there was none.
    public static var current: ApusError? { state.with { $0.error } }

    /// The error, which is forgotten; where a callee failed without a word, RT022.
    public static func take(from callee: String) -> ApusError {
        state.with { s in
            defer { s.error = nil }
            return s.error
                ?? ApusError("RT022", "a C function failed and set no error", at: ["function: \(callee)"])
        }
    }

    /// The text of the last error of this thread for C: valid until the next error of this thread; empty if
    /// none.
    package static func cString() -> UnsafePointer<CChar> {
        state.with { s in
            s.cText?.deallocate()
            let bytes = s.error == nil ? "" : s.text
            let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.utf8.count + 1)
            var i = 0
            for byte in bytes.utf8 {
                pointer[i] = CChar(bitPattern: byte)
                i += 1
            }
            pointer[i] = 0
            s.cText = pointer
            return UnsafePointer(pointer)
        }
    }

    /// Forgets the error of this thread.
    public static func clear() { state.with { $0.error = nil } }
}
