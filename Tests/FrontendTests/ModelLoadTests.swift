import ApusFrontend
import ApusRuntime
import ApusSupport
import Foundation
import Testing

@Suite struct ModelLoadTests {
    @Test func readsEveryPartOfASmallModel() throws {
        var proto = smallModel()
        proto.metadataProps = [Onnx_StringStringEntryProto()]
        proto.metadataProps[0].key = "k"
        proto.metadataProps[0].value = "v"
        let model = try ONNXModel.load(try proto.encoded())
        #expect(model.irVersion == 8)
        #expect(model.opset == 17)
        #expect(model.producerName == "tests")
        #expect(model.metadata["k"] == "v")
        let graph = model.graph
        #expect(graph.nodes.map { $0.opType } == ["MatMul", "Add", "Relu", "If"])
        #expect(graph.inputs[0].shape == [.symbol("N"), .value(4)])
        #expect(graph.inputs[0].dtype == .float32)
        #expect(graph.inputs[1].dtype == .bool)
        #expect(graph.initializers.names == ["w", "b"])
        #expect(try graph.initializers["b"]?.toArray(Float.self) == [1, 2, 3])
        #expect(graph.initializers["w"]?.shape == [4, 3])
        #expect(graph.requiredInputs.map { $0.name } == ["x", "flag"])
        let branch = try #require(try graph.nodes[3].graph("else_branch"))
        #expect(try branch.nodes[0].int("axis") == -1)
        #expect(graph.nodes[0].place == "node: matmul (MatMul)")
        #expect(graph.nodes[3].subgraphs.map { $0.attribute } == ["then_branch", "else_branch"])
    }

    @Test func everyKindOfAttribute() throws {
        var proto = smallModel()
        func make(_ name: String, _ type: Onnx_AttributeProto.AttributeType) -> Onnx_AttributeProto {
            var a = Onnx_AttributeProto()
            a.name = name
            a.type = type
            return a
        }
        var f = make("f", .float)
        f.f = 1.5
        var s = make("s", .string)
        s.s = Data("text".utf8)
        var t = make("t", .tensor)
        t.t = protoTensor("", [2], floats: [1, 2])
        var floats = make("floats", .floats)
        floats.floats = [1, 2]
        var ints = make("ints", .ints)
        ints.ints = [1, -2]
        var strings = make("strings", .strings)
        strings.strings = [Data("a".utf8), Data([0xFF])]
        var fp8 = make("fp8", .tensor)
        fp8.t = protoTensor("", [4], floats: [0])
        fp8.t.dataType = 17
        var text = make("text", .tensor)
        text.t.dataType = 8
        text.t.dims = [2]
        text.t.stringData = [Data("p".utf8), Data("q".utf8)]
        var tp = make("tp", .typeProto)
        tp.tp.sequenceType.elemType.tensorType.elemType = 7
        // A file older than the field `type`.
        var old = make("old", .undefined)
        old.ints = [7]
        proto.graph.node[0].attribute = [f, s, t, floats, ints, strings, fp8, text, tp, old]
        let node = try ONNXModel.load(try proto.encoded()).graph.nodes[0]
        #expect(try node.float("f") == 1.5)
        #expect(try node.string("s") == "text")
        #expect(try node.tensor("t")?.toArray(Float.self) == [1, 2])
        #expect(try node.floats("floats") == [1, 2])
        #expect(try node.ints("ints") == [1, -2])
        #expect(try node.ints("old") == [7])
        #expect(try node.int("absent", default: 3) == 3)
        #expect(apusError { _ = try node.strings("strings") }?.code == "ONNX021")
        #expect(apusError { _ = try node.int("f") }?.code == "ONNX020")
        let unsupported = apusError { _ = try node.tensor("fp8") }
        #expect(unsupported?.code == "ONNX010")
        #expect(unsupported?.actual == "float8e4m3fn")
        guard case .stringTensor(let shape, let words)? = node.attributes["text"] else {
            Issue.record("no tensor of strings")
            return
        }
        #expect(shape == [2] && words.count == 2)
        guard case .type(let type)? = node.attributes["tp"] else {
            Issue.record("no type")
            return
        }
        #expect(type.description == "seq(tensor(int64))")
    }

    @Test func damagedFilesAreErrorsWithAPlace() throws {
        let whole = try smallModel().encoded()
        for length in 0..<whole.count {
            let error = apusError { _ = try ONNXModel.load(Array(whole[..<length])) }
            #expect(error?.code.hasPrefix("ONNX") == true)
        }
        #expect(apusError { _ = try ONNXModel.load([]) }?.code == "ONNX003")
        #expect(apusError { _ = try ONNXModel.load([UInt8]("<!DOCTYPE html>".utf8)) }?.code == "ONNX001")
        #expect(apusError { _ = try ONNXModel.load("/nonexistent/model.onnx") }?.code == "IO001")
        #expect(apusError { _ = try ONNXModel.load("/tmp") }?.code == "IO002")
    }

    @Test func namesThatAreNoText() throws {
        var model = try smallModel().encoded()
        let at = try #require(model.firstIndex(of: UInt8(ascii: "t")))  // of "tests", the producer
        model[at] = 0xFF
        #expect(apusError { _ = try ONNXModel.load(model) }?.code == "ONNX002")
    }

    @Test func operatorSets() {
        var model = smallModel()
        model.opsetImport[0].version = -1
        #expect(loadCode(model) == "ONNX005")
        model.opsetImport = []
        #expect(loadCode(model) == "ONNX005")
        model.irVersion = 0
        #expect(loadCode(model) == "ONNX003")
    }

    @Test func limits() throws {
        let model = try smallModel().encoded()
        func code(_ change: (inout ONNXLoadOptions) -> Void) -> String? {
            var options = ONNXLoadOptions()
            change(&options)
            return apusError { _ = try ONNXModel.load(model, options: options) }?.code
        }
        #expect(code { $0.maximumNodes = 3 } == "ONNX004")
        #expect(code { $0.maximumFields = 10 } == "ONNX004")
        #expect(code { $0.maximumStructureBytes = 50 } == "ONNX004")
        #expect(code { $0.maximumFileBytes = 50 } == "ONNX004")
        #expect(code { $0.maximumSubgraphDepth = 0 } == "ONNX004")
        #expect(code { $0.maximumRank = 1 } == "ONNX011")
    }

    @Test func graphsNestedWithoutEnd() throws {
        // Graph in attribute in node in graph, 20,000 times, written from the inside outwards.
        var reversed: [UInt8] = []
        func wrap(_ field: UInt8) {
            var length = reversed.count
            var varint: [UInt8] = []
            repeat {
                varint.append(UInt8(length & 0x7F) | (length > 0x7F ? 0x80 : 0))
                length >>= 7
            } while length > 0
            reversed += varint.reversed()
            reversed.append(field << 3 | 2)
        }
        for _ in 0..<20_000 {
            wrap(6)
            wrap(5)
            wrap(1)
        }
        wrap(7)
        let error = apusError { _ = try ONNXModel.load(reversed.reversed()) }
        #expect(error?.code == "ONNX004")
    }
}
