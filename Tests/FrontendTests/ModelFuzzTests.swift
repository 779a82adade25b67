import ApusFrontend
import ApusSupport
import Foundation
import Testing

@Suite struct ModelFuzzTests {
    /// What `load` promises of every model it accepts.
    private func holds(_ graph: ONNXGraph, outer: Set<String>) -> Bool {
        var known = outer.union(graph.inputs.map { $0.name }).union(graph.initializers.names)
        for (_, tensor) in graph.initializers where tensor.shape.contains(where: { $0 < 0 }) { return false }
        for node in graph.nodes {
            for input in node.inputs where !input.isEmpty && !known.contains(input) { return false }
            for (_, inner) in node.subgraphs where !holds(inner, outer: known) { return false }
            known.formUnion(node.outputs)
        }
        return graph.outputs.allSatisfy { known.contains($0.name) }
    }

    private func check(_ bytes: [UInt8], _ folder: String, _ codes: inout [String: Int], _ label: String)
        throws
    {
        do {
            let model = try ONNXModel.load(bytes, folder: folder)
            #expect(holds(model.graph, outer: []), "\(label)")
            codes["accepted", default: 0] += 1
        } catch let error as ApusError {
            #expect(error.code.hasPrefix("ONNX"), "\(label): \(error)")
            codes[error.code, default: 0] += 1
        }
    }

    private func peakMegabytes() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: { !$0.isNumber }).first).flatMap { Int($0) }.map { $0 / 1024 }
            ?? 0
    }

    @Test(.timeLimit(.minutes(2))) func mutants() throws {
        let folder = try TemporaryFolder()
        _ = try folder.write("w.bin", [UInt8](repeating: 1, count: 48))
        let seeds = [
            smallModel(), ModelFunctionTests().withFunction(), ModelExternalDataTests().model("w.bin"),
        ]
        let encoded = try seeds.map { try $0.encoded() }
        let before = try peakMegabytes()
        var codes: [String: Int] = [:]
        for i in 0..<1500 {
            var mutator = ONNXMutator(seed: UInt64(i))
            try check(mutator.mutate(encoded[i % 3]), folder.path, &codes, "bytes, seed \(i)")
        }
        for i in 0..<1500 {
            var mutator = ONNXMutator(seed: UInt64(100_000 + i))
            let mutant = mutator.mutate(seeds[i % 3])
            try check(try mutant.encoded(), folder.path, &codes, "fields, seed \(100_000 + i)")
        }
        // The mutants must reach every part of the checks, or they prove little.
        for code in [
            "accepted", "ONNX001", "ONNX002", "ONNX003", "ONNX005", "ONNX010", "ONNX011", "ONNX012",
            "ONNX014",
            "ONNX030", "ONNX031", "ONNX032",
        ] {
            #expect(codes[code, default: 0] > 0, "no mutant ended in \(code)")
        }
        #expect(try peakMegabytes() - before < 256)
    }

    @Test func noise() {
        var mutator = ONNXMutator(seed: 42)
        for length in 0..<500 {
            let noise = (0..<length).map { _ in UInt8(truncatingIfNeeded: mutator.next()) }
            #expect(apusError { _ = try ONNXModel.load(noise) }?.code.hasPrefix("ONNX") == true)
        }
    }
}
