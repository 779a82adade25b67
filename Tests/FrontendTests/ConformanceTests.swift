import ApusFrontend
import ApusIR
import ApusRelay
import ApusRelayBackend
import ApusRuntime
import ApusSupport
import ApusTarget
import Foundation
import Testing

/// What became of a case of ONNX's own suite.
private enum ConformanceOutcome {
    /// `constants`: which inputs had to be fixed, because shapes depend on them.
    case pass(constants: Int)
    case unsupported(String)
    case wrong(String)
}

/// The operator cases of the ONNX package, run where the environment says they lie.
///
/// `APUS_SHARED_MODELS`: the folder with `onnx_node_core.json`, the names of cases that are plain inference;
/// `APUS_ONNX_NODE_DIR`: a folder for each case. Inputs are first all variable, then all but the first are
/// constants, then all: a shape that depends on the value of an input is only known so.
@Suite struct ConformanceTests {
    /// Expectations that are doubtful themselves.
    private let doubtful: [String: String] = [
        "test_resize_downsample_scales_cubic_align_corners":
            "the scale is not that of the extents; ONNX Runtime differs too",
        "test_resize_downsample_scales_linear_align_corners":
            "the scale is not that of the extents; ONNX Runtime differs too",
        "test_attention_4d_causal_fp16_expanded":
            "two units in the last place of a half, rounded after every operator",
    ]

    private struct Cases {
        let names: [String]
        let folder: String
    }

    private func cases() throws -> Cases? {
        let environment = ProcessInfo.processInfo.environment
        guard let shared = environment["APUS_SHARED_MODELS"], let folder = environment["APUS_ONNX_NODE_DIR"]
        else {
            print("SKIPPED: ONNX conformance (APUS_SHARED_MODELS and APUS_ONNX_NODE_DIR are not set)")
            return nil
        }
        let data = try Data(contentsOf: URL(fileURLWithPath: shared + "/onnx_node_core.json"))
        let names = try JSONDecoder().decode([String].self, from: data)
        return Cases(names: names, folder: folder)
    }

    @Test(.timeLimit(.minutes(10))) func interpreted() throws {
        guard let cases = try cases() else { return }
        let counts = try run(cases.names, cases.folder, compiled: false)
        // 96 of 100 pass; the bound leaves room for other versions of the suite.
        #expect(counts.pass * 100 >= cases.names.count * 95)
    }

    @Test(.timeLimit(.minutes(5))) func compiledSample() throws {
        guard let cases = try cases(), cases.names.count >= 100 else { return }
        let step = cases.names.count / 100
        let sample = (0..<100).map { cases.names[$0 * step] }
        let counts = try run(sample, cases.folder, compiled: true)
        #expect(counts.pass >= 90)
    }

    private func run(_ names: [String], _ folder: String, compiled: Bool) throws -> (
        pass: Int, unsupported: Int
    ) {
        var pass = 0
        var dynamic = 0
        var unsupported = 0
        for name in names {
            switch try outcome(folder + "/" + name, compiled: compiled) {
            case .pass(let constants):
                pass += 1
                if constants == 0 { dynamic += 1 }
            case .unsupported: unsupported += 1
            case .wrong(let how): #expect(doubtful[name] != nil, "\(name): \(how)")
            }
        }
        let how = compiled ? "compiled" : "interpreted"
        print(
            "ONNX conformance, \(how): \(pass) of \(names.count) pass "
                + "(\(dynamic) with every input variable), \(unsupported) unsupported")
        return (pass, unsupported)
    }

    private func outcome(_ folder: String, compiled: Bool) throws -> ConformanceOutcome {
        let json = try Data(contentsOf: URL(fileURLWithPath: folder + "/tol.json"))
        let tolerance = try JSONDecoder().decode([String: Double].self, from: json)
        let model: ONNXModel
        do { model = try ONNXModel.load(folder + "/model.onnx") } catch { return .unsupported("\(error)") }
        let data = folder + "/test_data_set_0/"
        let inputs = try model.graph.inputs.indices.map {
            try ONNXModel.loadTensor(data + "input_\($0).pb").tensor
        }
        let expected = try model.graph.outputs.indices.map {
            try ONNXModel.loadTensor(data + "output_\($0).pb").tensor
        }
        var reason = ""
        for attempt in 0..<3 {
            var options = ONNXImportOptions(evaluate: constantEvaluator(target: .host))
            for (i, input) in model.graph.inputs.enumerated() {
                options.shapes[input.name] = inputs[i].shape
                if attempt == 2 || (attempt == 1 && i > 0) { options.constants[input.name] = inputs[i] }
            }
            let module: IRModule
            do {
                module = try importONNX(model, options)
            } catch {
                // Any other kind of error is a failure of the test.
                guard let error = error as? ApusError else { throw error }
                reason = "\(error)"
                if error.code == "ONNX200" { break }
                continue
            }
            let results: [NDArray]
            do {
                results = try execute(module, model, inputs, compiled)
            } catch {
                return .wrong("\(error)")
            }
            guard results.count == expected.count else { return .wrong("\(results.count) results") }
            for (k, r) in results.enumerated() {
                let rtol = tolerance["rtol"] ?? 1e-3
                let atol = tolerance["atol"] ?? 1e-7
                if let d = try difference(r, expected[k], rtol, atol) { return .wrong("output \(k): \(d)") }
            }
            return .pass(constants: attempt)
        }
        return .unsupported(reason)
    }

    private func execute(
        _ module: IRModule, _ model: ONNXModel, _ inputs: [NDArray], _ compiled: Bool
    ) throws -> [NDArray] {
        let main = try #require(try module.function("main") as? Relay.Function)
        let parameters = Set(main.params.map(\.name))
        let variable = zip(model.graph.inputs, inputs).filter { parameters.contains($0.0.name) }.map { $0.1 }
        guard compiled else { return try interpret(main, variable, target: .host) }
        let executor = try compile(module, CompileOptions(target: .host)).executor()
        for (k, value) in variable.enumerated() { try executor.setInput(k, value) }
        try executor.run()
        return try model.graph.outputs.indices.map { try executor.output($0) }
    }

    private func difference(_ a: NDArray, _ b: NDArray, _ rtol: Double, _ atol: Double) throws -> String? {
        guard a.shape == b.shape, a.dtype == b.dtype else {
            return "\(a.dtype)\(a.shape) instead of \(b.dtype)\(b.shape)"
        }
        if b.dtype.isInteger { return a.hasSameContents(as: b) ? nil : "integers differ" }
        let x = try a.toDoubles()
        let y = try b.toDoubles()
        for i in x.indices where x[i] != y[i] && !(x[i].isNaN && y[i].isNaN) {
            if !(abs(x[i] - y[i]) <= atol + rtol * abs(y[i])) {
                return "element \(i) is \(x[i]), not \(y[i])"
            }
        }
        return nil
    }
}
