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
            s.text == Golden.texts.text(c.name),
            "differs from Golden/texts; APUS_UPDATE_GOLDEN=1 writes it anew:\n\(s.text)")
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
    @Test(.enabled(if: Golden.isUpdated))
    func updateGoldenTexts() throws {
        for c in cases {
            let s = try Schedule(c.program())
            try c.schedule(s)
            try Golden.texts.record(c.name, s.text)
        }
    }
}
