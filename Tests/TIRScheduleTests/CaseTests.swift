import ApusIR
import ApusNode
import ApusSupport
import ApusTIR
import ApusTIRSchedule
import Glibc
import Testing

struct ScheduleCases {
    @Test(arguments: cases)
    func keepsTheResult(_ c: Case) throws {
        let before = try c.program()
        let s = try Schedule(before)
        try c.schedule(s)
        for seed: UInt64 in [1, 2, 3] {
            #expect(difference(before, s.function, seed: seed) == nil, "\(s.text)")
        }
        #expect(try interpreterDifference(before, s.function) == nil, "\(s.text)")
    }

    @Test(arguments: cases)
    func yieldsTheText(_ c: Case) throws {
        let s = try Schedule(c.program())
        try c.schedule(s)
        #expect(
            s.text == golden(c.name),
            "differs from GoldenTexts.swift; APUS_UPDATE_GOLDEN=1 writes that file anew:\n\(s.text)")
    }

    @Test(arguments: cases)
    func theTextReadsBack(_ c: Case) throws {
        let s = try Schedule(c.program())
        try c.schedule(s)
        let parsed = try TIRParser.parseFunction(s.text)
        #expect(firstDifference(parsed, s.function, mapFreeVariables: true)?.description == nil, "\(s.text)")
    }

    @Test(arguments: cases)
    func replays(_ c: Case) throws {
        let s = try Schedule(c.program())
        try c.schedule(s)
        let json = s.trace.json.text
        let trace = try Trace(json: JSON.parse(json))
        #expect(trace.json.text == json)
        #expect(trace.description == s.trace.description)
        let again = try Schedule(c.program())
        try again.apply(trace)
        #expect(firstDifference(again.function, s.function, mapFreeVariables: true)?.description == nil)
        #expect(again.trace.json.text == json)
    }

    @Test func caseNamesAreUnique() {
        #expect(Set(cases.map(\.name)).count == cases.count)
    }

    /// Not a test of its own: refreshes the texts that `yieldsTheText` compares with.
    @Test(.enabled(if: getenv("APUS_UPDATE_GOLDEN") != nil))
    func updateGoldenTexts() throws {
        var out =
            "// swift-format-ignore-file\n"
        out +=
            "// The texts of `cases` after their schedules, by `APUS_UPDATE_GOLDEN=1`; read every change.\n\n"
        out += "func golden(_ name: String) -> String {\n    switch name {\n"
        for c in cases {
            let s = try Schedule(c.program())
            try c.schedule(s)
            out += "    case \"\(c.name)\":\n        return #\"\"\"\n"
            for line in s.text.split(separator: "\n", omittingEmptySubsequences: false) {
                out += line.isEmpty ? "\n" : "            \(line)\n"
            }
            out += "            \"\"\"#\n"
        }
        out += "    default: return \"\"\n    }\n}\n"
        let path = "\(#filePath)".split(separator: "/").dropLast().joined(separator: "/")
        let file = try #require(fopen("/\(path)/GoldenTexts.swift", "w"))
        fputs(out, file)
        fclose(file)
    }
}
