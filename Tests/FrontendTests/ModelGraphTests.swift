import ApusFrontend
import ApusSupport
import Foundation
import Testing

@Suite struct ModelGraphTests {
    @Test func namesAreDefinedOnceAndBeforeUse() throws {
        var model = smallModel()
        model.graph.node[1].input[1] = "nowhere"
        let error = apusError { _ = try ONNXModel.load(try model.encoded()) }
        #expect(error?.code == "ONNX031")
        #expect(error?.context == ["node: add (Add)"])
        #expect(error?.actual == "nowhere")

        model = smallModel()
        model.graph.node[2].output = ["m"]
        #expect(loadCode(model) == "ONNX030")
        model = smallModel()
        model.graph.node[2].output = ["w"]
        #expect(loadCode(model) == "ONNX030")
        model = smallModel()
        model.graph.initializer.append(protoTensor("b", [1], floats: [1]))
        #expect(loadCode(model) == "ONNX030")
        model = smallModel()
        model.graph.input.append(model.graph.input[0])
        #expect(loadCode(model) == "ONNX030")
        model = smallModel()
        model.graph.output.append(protoValue("nothing", []))
        #expect(loadCode(model) == "ONNX031")
        model = smallModel()
        model.graph.node[0].opType = ""
        #expect(loadCode(model) == "ONNX034")
        model = smallModel()
        model.graph.node[3].attribute[0].g.node[0].input = ["hidden"]
        let inner = apusError { _ = try ONNXModel.load(try model.encoded()) }
        #expect(inner?.code == "ONNX031")
        #expect(inner?.context == ["node: if (If) > attribute: then_branch", "node: neg (Neg)"])
    }

    @Test func initializersMayBeInputs() throws {
        var model = smallModel()
        model.graph.input.append(protoValue("b", [3]))
        let graph = try ONNXModel.load(try model.encoded()).graph
        #expect(graph.inputs.count == 3)
        #expect(graph.requiredInputs.map { $0.name } == ["x", "flag"])
    }

    @Test func nodesAreSorted() throws {
        var model = smallModel()
        model.graph.node.reverse()
        // `If` reads "r" only through its branches.
        let graph = try ONNXModel.load(try model.encoded()).graph
        #expect(graph.nodes.map { $0.name } == ["matmul", "add", "relu", "if"])
    }

    @Test func cyclesNameTheirNodes() throws {
        var model = smallModel()
        model.graph.node[0].input[0] = "r"
        let error = apusError { _ = try ONNXModel.load(try model.encoded()) }
        #expect(error?.code == "ONNX032")
        #expect(Set(error?.notes ?? []) == ["node: matmul (MatMul)", "node: add (Add)", "node: relu (Relu)"])
        // Onto itself.
        model = smallModel()
        model.graph.node[1].input[0] = "a"
        #expect(loadCode(model) == "ONNX032")
        // Through a branch that reads what the If defines.
        model = smallModel()
        model.graph.node[3].attribute[0].g.node[0].input = ["y"]
        #expect(loadCode(model) == "ONNX032")
    }

    @Test func longChains() throws {
        var model = smallModel()
        var previous = "x"
        var chain: [Onnx_NodeProto] = []
        for i in 0..<10_000 {
            chain.append(protoNode("Relu", [previous], ["c\(i)"], name: "n\(i)"))
            previous = "c\(i)"
        }
        model.graph.output = [protoValue(previous, [nil, 4])]
        model.graph.node = chain
        #expect(try ONNXModel.load(try model.encoded()).graph.nodes.count == 10_000)
        // Back to front: the depth of the search is the length of the chain.
        model.graph.node = chain.reversed()
        let sorted = try ONNXModel.load(try model.encoded()).graph
        #expect(sorted.nodes.first?.name == "n0" && sorted.nodes.last?.name == "n9999")
        model.graph.node[9_999].input = ["c9999"]
        let error = apusError { _ = try ONNXModel.load(try model.encoded()) }
        #expect(error?.code == "ONNX032")
        #expect(error?.notes.last == "and 9992 more")
    }

    @Test func nestedGraphsUpToTheLimit() throws {
        func nested(_ depth: Int) -> Onnx_ModelProto {
            var inner = Onnx_GraphProto()
            inner.node = [protoNode("Neg", ["x"], ["o"])]
            inner.output = [protoValue("o", [])]
            for _ in 0..<depth {
                var outer = Onnx_GraphProto()
                outer.node = [protoNode("If", ["flag"], ["o"], [protoAttribute("then_branch", graph: inner)])]
                outer.output = [protoValue("o", [])]
                inner = outer
            }
            var model = smallModel()
            model.graph.node = inner.node
            model.graph.output = inner.output
            return model
        }
        #expect(throws: Never.self) { try ONNXModel.load(try nested(31).encoded()) }
        #expect(loadCode(nested(33)) == "ONNX004")
    }

    @Test func negativeExtentsInDeclaredShapes() throws {
        var model = smallModel()
        model.graph.input[0] = protoValue("x", [-2, 4])
        #expect(loadCode(model) == "ONNX011")
        // As some exporters write "unknown".
        model.graph.input[0] = protoValue("x", [-1, 4])
        #expect(try ONNXModel.load(try model.encoded()).graph.inputs[0].shape == [.unknown, .value(4)])
    }
}

@Suite struct ModelFunctionTests {
    /// local.Twice(v) { scale = Constant(value_float = @k); t = Mul(v, scale); out = Add(t, t) }
    func withFunction() -> Onnx_ModelProto {
        var model = smallModel()
        var function = Onnx_FunctionProto()
        function.name = "Twice"
        function.domain = "local"
        function.input = ["v", "unused"]
        function.output = ["out"]
        function.attribute = ["k"]
        var reference = Onnx_AttributeProto()
        reference.name = "value_float"
        reference.type = .float
        reference.refAttrName = "k"
        function.node = [
            protoNode("Constant", [], ["scale"], name: "c", [reference]),
            protoNode("Mul", ["v", "scale"], ["t"], name: "mul"),
            protoNode("Add", ["t", "t"], ["out"], name: "add"),
        ]
        var opset = Onnx_OperatorSetIdProto()
        opset.version = 13
        function.opsetImport = [opset]
        model.functions = [function]
        var k = Onnx_AttributeProto()
        k.name = "k"
        k.type = .float
        k.f = 3
        model.graph.node[2] = protoNode("Twice", ["a"], ["r"], name: "call", [k])
        model.graph.node[2].domain = "local"
        return model
    }

    @Test func callsAreInlined() throws {
        let model = try ONNXModel.load(try withFunction().encoded())
        #expect(model.graph.nodes.map { $0.opType } == ["MatMul", "Add", "Constant", "Mul", "Add", "If"])
        let body = Array(model.graph.nodes[2...4])
        #expect(try body[0].float("value_float") == 3)
        #expect(body[1].inputs == ["a", body[0].outputs[0]])
        #expect(body[2].outputs == ["r"])
        #expect(body.allSatisfy { $0.opset == 13 })
        #expect(body[1].name.hasPrefix("call@"))
        #expect(model.functions.count == 1)
        var options = ONNXLoadOptions()
        options.inlineFunctions = false
        let kept = try ONNXModel.load(try withFunction().encoded(), options: options)
        #expect(kept.graph.nodes[2].opType == "Twice")
    }

    @Test func callsWithinFunctionsAndBranches() throws {
        var model = withFunction()
        var outer = Onnx_FunctionProto()
        outer.name = "Four"
        outer.domain = "local"
        outer.input = ["v"]
        outer.output = ["w", "v"]
        outer.node = [protoNode("Twice", ["v"], ["h"]), protoNode("Twice", ["h"], ["w"])]
        outer.node[0].domain = "local"
        outer.node[1].domain = "local"
        model.functions.append(outer)
        model.graph.node[2] = protoNode("Four", ["a"], ["r", "same"], name: "call")
        model.graph.node[2].domain = "local"
        model.graph.node[3].attribute[0].g.node[0] = protoNode("Twice", ["r"], ["then_out"])
        model.graph.node[3].attribute[0].g.node[0].domain = "local"
        let graph = try ONNXModel.load(try model.encoded()).graph
        #expect(
            graph.nodes.map { $0.opType } == [
                "MatMul", "Add", "Constant", "Mul", "Add", "Constant", "Mul", "Add", "Identity", "If",
            ])
        let branch = try #require(try graph.nodes[9].graph("then_branch"))
        #expect(branch.nodes.map { $0.opType } == ["Constant", "Mul", "Add"])
        #expect(branch.nodes[2].outputs == ["then_out"])
    }

    @Test func functionsThatCannotBe() {
        var model = withFunction()
        model.functions[0].node.append(protoNode("Twice", ["t"], ["again"]))
        model.functions[0].node[3].domain = "local"
        #expect(loadCode(model) == "ONNX033")
        model = withFunction()
        model.functions.append(model.functions[0])
        #expect(loadCode(model) == "ONNX033")
        model = withFunction()
        model.graph.node[2].input = ["a", "a", "a"]
        #expect(loadCode(model) == "ONNX033")
        // 2^40 nodes from forty small functions.
        model = withFunction()
        var functions: [Onnx_FunctionProto] = []
        for i in 0..<40 {
            var f = Onnx_FunctionProto()
            f.name = "F\(i)"
            f.domain = "local"
            f.input = ["v"]
            f.output = ["w"]
            let callee = i == 39 ? "Relu" : "F\(i + 1)"
            f.node = [protoNode(callee, ["v"], ["h"]), protoNode(callee, ["h"], ["w"])]
            if i < 39 { for j in 0..<2 { f.node[j].domain = "local" } }
            functions.append(f)
        }
        model.functions = functions
        model.graph.node[2] = protoNode("F0", ["a"], ["r"])
        model.graph.node[2].domain = "local"
        let error = apusError {
            var options = ONNXLoadOptions()
            options.maximumNodes = 20_000
            _ = try ONNXModel.load(try model.encoded(), options: options)
        }
        #expect(error?.code == "ONNX004")
    }
}
