import ApusNode
import ApusSupport

extension Target {
    /// Parses either form: JSON if the text starts with `{`, words otherwise.
    public init(_ text: String) throws {
        let trimmed = text.drop { $0 == " " || $0 == "\n" || $0 == "\t" }
        if trimmed.first == "{" {
            try self.init(json: JSON.parse(text))
        } else {
            try self.init(words: text)
        }
    }

    /// The text form; parses back to an equal target.
    public var description: String {
        var words = [kindName]
        for a in attributes {
            let text: String
            switch a.value {
            case .string(let v): text = v
            case .int(let v): text = "\(v)"
            case .strings(let v): text = v.joined(separator: ",")
            }
            words.append(
                text.contains(where: { $0 == " " || $0 == "\"" })
                    ? "-\(a.name)='\(text)'" : "-\(a.name)=\(text)")
        }
        return words.joined(separator: " ")
    }

    /// The JSON form; parses back to an equal target.
    public var json: JSON {
        var members: [(key: String, value: JSON)] = [(key: "kind", value: .string(kindName))]
        for a in attributes {
            switch a.value {
            case .string(let v): members.append((key: a.name, value: .string(v)))
            case .int(let v): members.append((key: a.name, value: .int(v)))
            case .strings(let v): members.append((key: a.name, value: .array(v.map { JSON.string($0) })))
            }
        }
        return .object(members)
    }

    /// Reads the JSON form. `kind` is required; all other members are options of the kind.
    public init(json: JSON) throws {
        guard case .object(let members) = json else {
            throw ApusError("TGT006", "a target in JSON must be an object")
        }
        guard let name = json["kind"]?.stringValue else {
            throw ApusError("TGT006", "a target in JSON needs the member `kind`, a string")
        }
        let kind = try TargetKind.get(name)
        var options: [(String, Value)] = []
        for member in members where member.key != "kind" {
            switch member.value {
            case .string(let v):
                options.append(
                    (
                        member.key,
                        kind.option(member.key)?.kind == .strings ? .strings(Target.parts(v)) : .string(v)
                    ))
            case .int(let v): options.append((member.key, .int(v)))
            case .array(let items):
                let parts = items.compactMap(\.stringValue)
                guard parts.count == items.count else {
                    throw ApusError("TGT006", "the option `\(member.key)` must be a list of strings")
                }
                options.append((member.key, .strings(parts)))
            default:
                throw ApusError(
                    "TGT006",
                    "the option `\(member.key)` must be a string, a whole number or a list of strings")
            }
        }
        try self.init(kind, options)
    }

    private static func parts(_ text: String) -> [String] {
        text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    private init(words text: String) throws {
        let words = try Target.split(text)
        guard let first = words.first else {
            throw ApusError(
                "TGT006", "a target is empty", expected: "a kind and options, such as `llvm -mcpu=haswell`")
        }
        let kind = try TargetKind.get(first)
        var options: [(String, Value)] = []
        var i = 1
        while i < words.count {
            let word = words[i]
            i += 1
            guard word.hasPrefix("-") else {
                throw ApusError(
                    "TGT006", "a target option must start with `-`", at: ["target: \(text)"],
                    expected: "-name=value",
                    actual: word)
            }
            let body = word.drop { $0 == "-" }
            let name: String
            let value: String
            if let equals = body.firstIndex(of: "=") {
                name = String(body[..<equals])
                value = String(body[body.index(after: equals)...])
            } else if i < words.count, !words[i].hasPrefix("-") {
                name = String(body)
                value = words[i]
                i += 1
            } else {
                throw ApusError(
                    "TGT006", "the option `\(body)` has no value", at: ["target: \(text)"],
                    expected: "-\(body)=value")
            }
            switch kind.option(name)?.kind {
            case .int?:
                guard let n = Int(value) else {
                    throw ApusError(
                        "TGT005", "the option `\(name)` is not valid", at: ["target: \(text)"],
                        expected: "a whole number", actual: value)
                }
                options.append((name, .int(n)))
            case .strings?: options.append((name, .strings(Target.parts(value))))
            default: options.append((name, .string(value)))
            }
        }
        try self.init(kind, options)
    }

    /// Words separated by blanks; `'…'` and `"…"` keep blanks.
    private static func split(_ text: String) throws -> [String] {
        var words: [String] = []
        var word = ""
        var started = false
        var quote: Character?
        for c in text {
            if let q = quote {
                if c == q { quote = nil } else { word.append(c) }
            } else if c == "'" || c == "\"" {
                quote = c
                started = true
            } else if c == " " || c == "\t" || c == "\n" {
                if started { words.append(word) }
                word = ""
                started = false
            } else {
                word.append(c)
                started = true
            }
        }
        if quote != nil {
            throw ApusError("TGT006", "a quotation mark is not closed", at: ["target: \(text)"])
        }
        if started { words.append(word) }
        return words
    }
}
