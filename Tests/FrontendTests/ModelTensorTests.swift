import ApusFrontend
import ApusRuntime
import ApusSupport
import Foundation
import Testing

@Suite struct ModelTensorTests {
    func load(_ proto: Onnx_TensorProto) throws -> NDArray {
        try ONNXModel.loadTensor(try proto.encoded()).tensor
    }

    func proto(_ type: Int32, _ dims: [Int64], _ fill: (inout Onnx_TensorProto) -> Void) -> Onnx_TensorProto {
        var proto = Onnx_TensorProto()
        proto.name = "t"
        proto.dataType = type
        proto.dims = dims
        fill(&proto)
        return proto
    }

    @Test func everyTypeInItsOwnField() throws {
        #expect(try load(proto(1, [2]) { $0.floatData = [1.5, -2] }).toArray(Float.self) == [1.5, -2])
        #expect(try load(proto(11, [2]) { $0.doubleData = [1.5, -2] }).toArray(Double.self) == [1.5, -2])
        #expect(
            try load(proto(7, [1, 2]) { $0.int64Data = [.min, .max] }).toArray(Int64.self) == [.min, .max])
        #expect(try load(proto(13, [1]) { $0.uint64Data = [.max] }).toArray(UInt64.self) == [.max])
        #expect(try load(proto(12, [1]) { $0.uint64Data = [0xFFFF_FFFF] }).toArray(UInt32.self) == [.max])
        #expect(try load(proto(6, [2]) { $0.int32Data = [.min, 7] }).toArray(Int32.self) == [.min, 7])
        #expect(try load(proto(5, [1]) { $0.int32Data = [-3] }).toArray(Int16.self) == [-3])
        #expect(try load(proto(3, [1]) { $0.int32Data = [-128] }).toArray(Int8.self) == [-128])
        #expect(try load(proto(2, [1]) { $0.int32Data = [255] }).toArray(UInt8.self) == [255])
        #expect(try load(proto(4, [1]) { $0.int32Data = [65535] }).toArray(UInt16.self) == [65535])
        #expect(try load(proto(9, [2]) { $0.int32Data = [1, 0] }).toDoubles() == [1, 0])
        #expect(try load(proto(10, [2]) { $0.int32Data = [0x3C00, 0xC000] }).toDoubles() == [1, -2])
        #expect(try load(proto(16, [2]) { $0.int32Data = [0x3F80, 0xC000] }).toDoubles() == [1, -2])
        #expect(try load(proto(1, []) { $0.floatData = [4] }).shape == [])
        #expect(try load(proto(1, [0, 3]) { _ in }).count == 0)
    }

    @Test func everyTypeAsRawBytes() throws {
        let cases: [(Int32, DataType, Data)] = [
            (1, .float32, rawBytes([Float(3), 4])), (2, .uint8, rawBytes([UInt8(3), 4])),
            (3, .int8, rawBytes([Int8(3), 4])),
            (4, .uint16, rawBytes([UInt16(3), 4])), (5, .int16, rawBytes([Int16(3), 4])),
            (6, .int32, rawBytes([Int32(3), 4])),
            (7, .int64, rawBytes([Int64(3), 4])), (10, .float16, rawBytes([Float16(3), 4])),
            (11, .float64, rawBytes([3.0, 4.0])), (12, .uint32, rawBytes([UInt32(3), 4])),
            (13, .uint64, rawBytes([UInt64(3), 4])), (16, .bfloat16, rawBytes([UInt16(0x4040), 0x4080])),
        ]
        for (type, dtype, data) in cases {
            let tensor = try load(proto(type, [2]) { $0.rawData = data })
            #expect(tensor.dtype == dtype)
            #expect(try tensor.toDoubles() == [3, 4])
        }
        // Any byte but 0 is true.
        #expect(try load(proto(9, [3]) { $0.rawData = Data([0, 1, 77]) }).toDoubles() == [0, 1, 1])
    }

    @Test func floatDataWithoutPacking() throws {
        // Field 4 as two numbers of four bytes each (wire type 5), as an old encoder may write it.
        var raw: [UInt8] = [8, 2, 16, 1]
        for x: Float in [1, 2] { raw += [4 << 3 | 5] + rawBytes([x]) }
        #expect(try ONNXModel.loadTensor(raw).tensor.toArray(Float.self) == [1, 2])
    }

    @Test func unsupportedTypesAreNamed() {
        for (type, name) in [
            (Int32(8), "string"), (14, "complex64"), (17, "float8e4m3fn"), (20, "float8e5m2fnuz"),
            (21, "uint4"),
            (22, "int4"), (23, "float4e2m1"),
        ] {
            let error = apusError { _ = try load(proto(type, [1]) { $0.rawData = Data([0]) }) }
            #expect(error?.code == "ONNX010")
            #expect(error?.message.contains(name) == true)
        }
        #expect(apusError { _ = try load(proto(99, [1]) { _ in }) }?.code == "ONNX010")
    }

    @Test func dataMustFitTheShape() {
        func code(_ type: Int32, _ dims: [Int64], _ fill: (inout Onnx_TensorProto) -> Void) -> String? {
            apusError { _ = try load(proto(type, dims, fill)) }?.code
        }
        #expect(code(1, [-1]) { $0.floatData = [] } == "ONNX011")
        #expect(code(1, [.max, .max]) { $0.floatData = [1] } == "ONNX011")
        #expect(code(1, [1 << 40, 1 << 40]) { _ in } == "ONNX011")
        #expect(code(1, [1 << 40]) { $0.floatData = [1] } == "ONNX012")
        #expect(code(1, [2]) { $0.floatData = [1] } == "ONNX012")
        #expect(code(1, [2]) { $0.rawData = Data([1, 2, 3]) } == "ONNX012")
        #expect(code(1, [2]) { $0.int32Data = [1, 2] } == "ONNX012")
        #expect(code(3, [1]) { $0.int32Data = [128] } == "ONNX013")
        #expect(code(12, [1]) { $0.uint64Data = [1 << 32] } == "ONNX013")
        #expect(code(1, [Int64](repeating: 1, count: 33)) { $0.floatData = [1] } == "ONNX011")
    }

    @Test func sequencesAreToldApart() {
        // SequenceProto { name: "seq"; elem_type: TENSOR; tensor_values: ... }
        let sequence: [UInt8] = [10, 3] + Array("seq".utf8) + [16, 1, 26, 4, 8, 1, 16, 1]
        #expect(apusError { _ = try ONNXModel.loadTensor(sequence) }?.code == "ONNX017")
        let empty: [UInt8] = [10, 3] + Array("seq".utf8) + [16, 1]
        #expect(apusError { _ = try ONNXModel.loadTensor(empty) }?.code == "ONNX017")
    }

    @Test func initializersNameThemselves() {
        var model = smallModel()
        model.graph.initializer[1].dims = [5]
        let error = apusError { _ = try ONNXModel.load(try model.encoded()) }
        #expect(error?.code == "ONNX012")
        #expect(error?.context == ["initializer: b"])
    }

    @Test func largeWeightsStayInTheFile() throws {
        let folder = try TemporaryFolder()
        var model = smallModel()
        let values = (0..<4096).map { Float($0) }
        model.graph.initializer.append(protoTensor("big", [4096], floats: values))
        // Some padding in front, until the weight lies at a multiple of four in the file.
        var borrowed = 0
        for padding in 0..<4 {
            model.producerName = String(repeating: "p", count: 10 + padding)
            let path = try folder.write("m\(padding).onnx", try model.encoded())
            let loaded = try ONNXModel.load(path)
            let big = try #require(loaded.graph.initializers["big"])
            #expect(try big.toArray(Float.self) == values)
            if UInt(bitPattern: big.data) % 64 != 0 { borrowed += 1 }
            // Copy-on-write: writing neither fails nor reaches the file.
            big.data.storeBytes(of: 7, as: Float.self)
            #expect(try ONNXModel.load(path).graph.initializers["big"]?.toArray(Float.self) == values)
        }
        #expect(borrowed >= 1)
    }

    /// From a megabyte on even those whose elements are not aligned: a copy at each padding would be aligned.
    @Test func largestWeightsStayInTheFileAtAnyAddress() throws {
        let folder = try TemporaryFolder()
        var model = smallModel()
        let values = (0..<1 << 18).map { Float($0) }
        model.graph.initializer.append(protoTensor("big", [1 << 18], floats: values))
        var remainders: Set<UInt> = []
        for padding in 0..<4 {
            model.producerName = String(repeating: "p", count: 10 + padding)
            let loaded = try ONNXModel.load(try folder.write("m\(padding).onnx", try model.encoded()))
            let big = try #require(loaded.graph.initializers["big"])
            #expect(try big.toArray(Float.self) == values)
            #expect(try big.copied().toArray(Float.self) == values)
            remainders.insert(UInt(bitPattern: big.data) % 4)
        }
        #expect(remainders.count > 1)
    }
}

@Suite struct ModelExternalDataTests {
    func model(_ location: String?, _ more: [(String, String)] = []) -> Onnx_ModelProto {
        var model = smallModel()
        model.graph.initializer[0].clearRawData()
        model.graph.initializer[0].dataLocation = .external
        var pairs = more
        if let location { pairs.insert(("location", location), at: 0) }
        for (key, text) in pairs {
            var entry = Onnx_StringStringEntryProto()
            entry.key = key
            entry.value = text
            model.graph.initializer[0].externalData.append(entry)
        }
        return model
    }

    @Test func isReadFromBesideTheModel() throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createDirectory(
            atPath: folder.path + "/sub", withIntermediateDirectories: true)
        let values = (0..<12).map { Float($0) }
        _ = try folder.write("sub/w.bin", [0, 0, 0, 0] + Array(rawBytes(values)) + [9])
        for location in ["sub/w.bin", "./sub/w.bin"] {
            let path = try folder.write(
                "m.onnx", try model(location, [("offset", "4"), ("length", "48")]).encoded())
            #expect(try ONNXModel.load(path).graph.initializers["w"]?.toArray(Float.self) == values)
            let bytes = try model(location, [("offset", "4")]).encoded()
            #expect(
                try ONNXModel.load(bytes, folder: folder.path).graph.initializers["w"]?.toArray(Float.self)
                    == values)
        }
    }

    @Test func cannotLeaveTheFolder() throws {
        let outer = try TemporaryFolder()
        let secret = try outer.write("secret.bin", [UInt8](repeating: 1, count: 48))
        let folder = outer.path + "/model"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: folder + "/link.bin", withDestinationPath: secret)
        try FileManager.default.createSymbolicLink(atPath: folder + "/up", withDestinationPath: outer.path)
        for location in [
            "../secret.bin", secret, "/etc/passwd", "a/../../secret.bin", "link.bin", "up/secret.bin", "",
            ".", "..",
            "x\u{0}y", "//secret.bin", "missing.bin", String(repeating: "a/", count: 100) + "b",
        ] {
            let bytes = try model(location).encoded()
            let error = apusError { _ = try ONNXModel.load(bytes, folder: folder) }
            #expect(error?.code == "ONNX014", "location \(location)")
            #expect(error?.context.first == "initializer: w")
        }
        // Only on request.
        var options = ONNXLoadOptions()
        options.followLinks = true
        let model = try ONNXModel.load(try model("link.bin").encoded(), folder: folder, options: options)
        #expect(model.graph.initializers["w"]?.count == 12)
    }

    @Test func offsetsAndLengthsAreChecked() throws {
        let folder = try TemporaryFolder()
        _ = try folder.write("w.bin", [UInt8](repeating: 0, count: 48))
        for more in [
            [("offset", "1")], [("offset", "-1")], [("offset", "9223372036854775807")],
            [("offset", "99999999999999999999")],
            [("length", "47")], [("length", "49")], [("offset", "x")], [("offset", "49")],
        ] {
            let bytes = try model("w.bin", more).encoded()
            #expect(
                apusError { _ = try ONNXModel.load(bytes, folder: folder.path) }?.code == "ONNX014", "\(more)"
            )
        }
        #expect(apusError { _ = try ONNXModel.load(try model("w.bin").encoded()) }?.code == "ONNX014")
        #expect(
            apusError { _ = try ONNXModel.load(try model(nil).encoded(), folder: folder.path) }?.code
                == "ONNX014")
    }
}
