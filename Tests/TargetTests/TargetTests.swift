import ApusNode
import ApusSupport
import ApusTarget
import Testing

@Suite struct TargetTests {
    @Test func textRoundTrip() throws {
        for text in [
            "llvm", "c", "llvm -mcpu=znver4 -mattr=+avx2,+fma,-avx512f -num-cores=2",
            "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72 -model='two words'", "c -mcpu=haswell -cc=gcc",
            "llvm -opt-level=2 -vector-bytes=32 -l1-bytes=32768 -keys=arm_cpu,cpu",
        ] {
            let target = try Target(text)
            #expect(target.description == text)
            #expect(try Target(target.description) == target)
            #expect(try Target(json: JSON.parse(target.json.text)) == target)
        }
    }

    @Test func spelling() throws {
        let a = try Target("  llvm  -num-cores 4 --mcpu=skylake\n")
        #expect(a.description == "llvm -mcpu=skylake -num-cores=4")
        let b = try Target(
            "{\"kind\": \"llvm\", \"num-cores\": 4, \"mcpu\": \"skylake\", \"mattr\": [\"+avx2\"]}")
        #expect(b == (try Target("llvm -mattr=+avx2 -mcpu=skylake -num-cores=4")))
        #expect(b.hasFeature("avx2") && !b.hasFeature("avx"))
        #expect(b.features == ["avx2"])
        #expect(b.keys == ["cpu"])
        #expect(try a.setting("mcpu", nil).description == "llvm -num-cores=4")
    }

    @Test(arguments: [
        ("", "TGT006"), ("lvm", "TGT001"), ("cuda", "TGT002"), ("llvm -foo=1", "TGT003"),
        ("llvm -mcpu=a -mcpu=b", "TGT004"), ("llvm -num-cores=two", "TGT005"),
        ("llvm -num-cores=0", "TGT005"),
        ("llvm -num-cores=-3", "TGT005"), ("llvm -opt-level=9", "TGT005"),
        ("llvm -vector-bytes=24", "TGT005"),
        ("llvm -mattr=avx2", "TGT005"), ("llvm -mattr=+avx2,,", "TGT005"), ("llvm -mcpu", "TGT006"),
        ("llvm mcpu=x", "TGT006"), ("llvm -model='x", "TGT006"), ("{\"mcpu\": \"x\"}", "TGT006"),
        ("{\"kind\": \"llvm\", \"mcpu\": true}", "TGT006"),
        ("{\"kind\": \"llvm\", \"mattr\": [1]}", "TGT006"),
        ("{\"kind\": \"llvm\", \"num-cores\": \"4\"}", "TGT005"),
        ("llvm -num-cores=99999999999999999999", "TGT005"),
        ("llvm -mcpu=native -mtriple=riscv64-linux-gnu", "TGT007"),
    ])
    func errors(_ text: String, _ code: String) {
        let error = #expect(throws: ApusError.self) { try Target(text) }
        #expect(error?.code == code, "\(text): \(error?.description ?? "none")")
    }

    @Test func brokenJSONIsAnError() { #expect(throws: ApusError.self) { try Target("{\"kind\": ") } }

    @Test func machines() throws {
        #expect(try Target("llvm -mcpu=haswell -mtriple=x86_64-linux-gnu").machine.vectorBytes == 32)
        #expect(try Target("llvm -mcpu=haswell -mtriple=x86_64-linux-gnu").hasFMA)
        #expect(try Target("llvm -mcpu=x86-64-v4 -mtriple=x86_64-linux-gnu").machine.vectorBytes >= 32)
        #expect(try Target("llvm -mtriple=x86_64-linux-gnu").vectorBytes == 16)
        #expect(try !Target("llvm -mtriple=x86_64-linux-gnu").hasFMA)
        #expect(try Target("llvm -mcpu=haswell -mattr=-fma -mtriple=x86_64-linux-gnu").hasFMA == false)
        let arm = try Target("llvm -mtriple=aarch64-linux-gnu").machine
        #expect(arm.vectorBytes == 16 && arm.vectorRegisters == 32 && arm.hasFMA)
        let given = try Target(
            "llvm -vector-bytes=8 -vector-registers=4 -l1-bytes=100 -l2-bytes=200 -l3-bytes=300"
        ).machine
        #expect(given.vectorBytes == 8 && given.vectorRegisters == 4)
        #expect([given.l1Bytes, given.l2Bytes, given.l3Bytes] == [100, 200, 300])
        #expect(given.lanes(bits: 32) == 2)
        #expect(Target.llvm.machine == Target.llvm.machine)
    }

    @Test func host() throws {
        let host = Target.host
        #expect(host.numCores >= 1)
        #expect(host.mcpu != "native")
        #expect(try Target("llvm -mcpu=native") == host)
        #expect(try Target(host.description) == host)
        #expect(host.machine.l1Bytes >= 4096)
        #expect(TargetKind.all.map(\.name) == ["llvm", "c"])
    }

    @Test func current() {
        #expect(Target.current == nil)
        Target.$current.withValue(.c) { #expect(Target.current == .c) }
    }
}
