import Glibc
import Testing

/// Recorded output, one file a case in `Golden/`, written by `APUS_UPDATE_GOLDEN=1`; read every change.
enum Golden: String {
    /// The texts of `cases` after their schedules.
    case texts
    /// The errors of `refusals`.
    case errors

    static var isUpdated: Bool { getenv("APUS_UPDATE_GOLDEN") != nil }

    private func path(_ name: String) -> String {
        let folder = "\(#filePath)".split(separator: "/").dropLast().joined(separator: "/")
        let file = name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" }
        return "/\(folder)/Golden/\(rawValue)/\(String(file)).txt"
    }

    /// What was recorded for a case; nil where nothing was.
    func text(_ name: String) -> String? {
        guard let file = fopen(path(name), "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let n = fread(&part, 1, part.count, file)
            if n == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += part[..<n]
        }
    }

    func record(_ name: String, _ text: String) throws {
        let file = try #require(fopen(path(name), "w"))
        defer { fclose(file) }
        fputs(text, file)
    }
}
