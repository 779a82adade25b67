import ApusRuntime
import ApusSupport
import Glibc
import Testing

private func code(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "nothing thrown"
    } catch let error as ApusError {
        return error.code
    } catch {
        return "\(error)"
    }
}

private func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.utf8)
    return stride(from: 0, to: digits.count - 1, by: 2).map { (i: Int) -> UInt8 in
        UInt8(String(decoding: digits[i...i + 1], as: UTF8.self), radix: 16) ?? 0
    }
}

private func bytes<T>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

private func npy(_ header: String, _ data: [UInt8], version: UInt8 = 1) -> [UInt8] {
    let text = Array(header.utf8)
    var result: [UInt8] = [0x93] + Array("NUMPY".utf8) + [version, 0]
    for i in 0..<(version == 1 ? 2 : 4) { result.append(UInt8(truncatingIfNeeded: text.count >> (8 * i))) }
    return result + text + data
}

private func withTemporaryFile(_ body: (String) throws -> Void) throws {
    let path = "/tmp/apus-numpy-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    defer { unlink(path) }
    try body(path)
}

private func readAll(_ path: String) throws -> [UInt8] { try MappedFile(path).withUnsafeBytes { Array($0) } }

@Suite struct NPYTests {
    @Test func headersOfEveryVersion() throws {
        for version in UInt8(1)...3 {
            let file = npy(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes([Float(1), 2]),
                version: version)
            #expect(try NDArray.loadNPY(file).toArray(Float.self) == [1, 2])
        }
        let odd = npy(#" { "shape" : ( 2L , 1 ) ,"descr":"|i1","fortran_order":True} "#, [3, 4])
        let array = try NDArray.loadNPY(odd)
        #expect(array.shape == [2, 1])
        #expect(try array.toDoubles() == [3, 4])
        let scalar = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", bytes([2.5]))
        #expect(try NDArray.loadNPY(scalar).shape == [])
        let empty = npy("{'descr': '<f8', 'fortran_order': True, 'shape': (3, 0), }", [])
        #expect(try NDArray.loadNPY(empty).shape == [3, 0])
    }

    @Test func fortranOrderAndBigEndianAreConverted() throws {
        // Columns of [[0, 1, 2], [3, 4, 5]].
        let columns: [UInt8] = [0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5]
        let file = npy("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", columns)
        let array = try NDArray.loadNPY(file)
        #expect(array.dtype == .int16 && array.shape == [2, 3])
        #expect(try array.toArray(Int16.self) == [0, 1, 2, 3, 4, 5])
    }

    @Test func whatNumPyWroteCompressed() throws {
        // numpy.savez_compressed(f, a=arange(24, dtype='<f4').reshape(2, 3, 4),
        //     b=asfortranarray(arange(6, dtype='>i2').reshape(2, 3)), c=array([True, False]))
        let archive = hex(
            "504b03042d00000008000000210014c97d19ffffffffffffffff05001400612e6e707901001000e000000000"
                + "00000087000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f5452"
                + "9498179f5f94920a12774bcc294e058a17672416a402f91a463a0ac63a0a269a3a0ab50ae4012e063068b007"
                + "120e4004c40d40bc00880f00f1032066706460100062052036006207200e00e204202e00e20620ee00e20940"
                + "3c03881700f10a20de00c43b1c01504b03042d000000080000002100e11efaa8ffffffffffffffff05001400"
                + "622e6e7079010010008c0000000000000051000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46e"
                + "a5a06e9769a4aea3a09e965f54529498179f5f94920a120f292a4d050a17672416a402b91a463a0ac69a3a0a"
                + "b50ae4032e06060666064606160626065600504b03042d000000080000002100ee19bb5dffffffffffffffff"
                + "05001400632e6e707901001000820000000000000046000000000000009bec17ea1b10c9c850c650ad9e925a"
                + "9c5ca46ea5a05e9364a8aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a463a"
                + "9a3a0ab50a14002e460600504b01022d032d00000008000000210014c97d1987000000e00000000500000000"
                + "00000000000000800100000000612e6e7079504b01022d032d000000080000002100e11efaa8510000008c00"
                + "00000500000000000000000000008001be000000622e6e7079504b01022d032d000000080000002100ee19bb"
                + "5d4600000082000000050000000000000000000000800146010000632e6e7079504b05"
                + "06000000000300030099000000c30100000000")
        let arrays = try NDArray.loadNPZ(archive)
        #expect(arrays.map { $0.name } == ["a", "b", "c"])
        #expect(arrays[0].tensor.shape == [2, 3, 4])
        #expect(try arrays[0].tensor.toDoubles() == (0..<24).map { Double($0) })
        #expect(try arrays[1].tensor.toArray(Int16.self) == [0, 1, 2, 3, 4, 5])
        #expect(try arrays[2].tensor.toDoubles() == [1, 0])
        // Every byte that is damaged is noticed, or changes nothing that was asked for.
        for at in archive.indices {
            var damaged = archive
            damaged[at] ^= 0x10
            if let again = try? NDArray.loadNPZ(damaged), again.count == 3,
                again.map({ $0.name }) == ["a", "b", "c"]
            {
                #expect(again[0].tensor.hasSameContents(as: arrays[0].tensor), "byte \(at)")
            }
        }
        for length in 0..<archive.count {
            let result = code { _ = try NDArray.loadNPZ(Array(archive[..<length])) }
            #expect(result.hasPrefix("ZIP") || result.hasPrefix("NPY"))
        }
    }

    @Test func writtenFilesReadBack() throws {
        let types: [DataType] = [
            .bool, .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .float16, .float32,
            .float64,
        ]
        try withTemporaryFile { path in
            var all: [(name: String, tensor: NDArray)] = []
            for (i, dtype) in types.enumerated() {
                for shape in [[], [5], [2, 3, 4], [0, 2], [100, 30]] as [[Int]] {
                    let array = NDArray.random(shape: shape, dtype: dtype, seed: UInt64(i))
                    try array.saveNPY(path)
                    #expect(try NDArray.loadNPY(path).hasSameContents(as: array))
                    #expect(try NDArray.loadNPY(try readAll(path)).hasSameContents(as: array))
                    all.append((name: "\(dtype)/\(all.count)ä", tensor: array))
                }
            }
            try NDArray.saveNPZ(path, all)
            let first = try readAll(path)
            let read = try NDArray.loadNPZ(path)
            #expect(read.map { $0.name } == all.map { $0.name })
            for (a, b) in zip(read, all) { #expect(a.tensor.hasSameContents(as: b.tensor)) }
            // Stored members lie at multiples of 64, so that they are used where they are.
            #expect(read.allSatisfy { UInt(bitPattern: $0.tensor.data) % 64 == 0 })
            try NDArray.saveNPZ(path, all)
            #expect(try readAll(path) == first)
            try NDArray.saveNPZ(path, [])
            #expect(try NDArray.loadNPZ(path).isEmpty)
        }
    }

    @Test func theHeaderIsWhatNumPyWrites() throws {
        try withTemporaryFile { path in
            try NDArray([Float(1)], shape: [1]).saveNPY(path)
            let file = try readAll(path)
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
            #expect(file.count == 132 && file[127] == 0x0A)
            #expect(String(decoding: file[10..<10 + text.utf8.count], as: UTF8.self) == text)
        }
    }

    @Test func whatIsNotSupportedOrDamaged() throws {
        func load(_ header: String, _ data: [UInt8] = [UInt8](repeating: 0, count: 64)) -> String {
            code { _ = try NDArray.loadNPY(npy(header, data)) }
        }
        func of(_ descr: String, _ shape: String = "(2,)") -> String {
            load("{'descr': '\(descr)', 'fortran_order': False, 'shape': \(shape), }")
        }
        for descr in ["<c8", "<U3", "|S4", "|O", "|V2", "<f16", "<M8[s]", "f4", "", "?f4", "<b2"] {
            #expect(of(descr) == "NPY002", "\(descr)")
        }
        #expect(load("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }") == "NPY002")
        for shape in ["(-1,)", "(99999999999999999999,)", "(2", "2", "(a,)", "(,)", "(1 2)"] {
            #expect(of("<f4", shape) == "NPY001", "\(shape)")
        }
        #expect(of("<f4", "(9223372036854775807, 9223372036854775807)") == "RT001")
        #expect(of("<f4", "(17,)") == "NPY001")
        for header in [
            "", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': None, 'shape': (2,)}",
            "{'descr': '<f4, 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        ] {
            #expect(load(header) == "NPY001", "\(header)")
        }
        #expect(code { _ = try NDArray.loadNPY([UInt8]("no array".utf8)) } == "NPY001")
        #expect(code { _ = try NDArray.loadNPY([]) } == "NPY001")
        #expect(code { _ = try NDArray.loadNPY(npy("{}", [], version: 4)) } == "NPY002")
        #expect(code { _ = try NDArray.loadNPY("/nonexistent.npy") } == "IO001")
        try withTemporaryFile { path in
            let brain = NDArray(shape: [2], dtype: .bfloat16)
            #expect(code { try brain.saveNPY(path) } == "NPY003")
            #expect(code { try NDArray.saveNPZ(path, [(name: "a", tensor: brain)]) } == "NPY003")
            let one = NDArray([Float(1)])
            #expect(
                code { try NDArray.saveNPZ(path, [(name: "a", tensor: one), (name: "a", tensor: one)]) }
                    == "NPY004")
            // Nothing is left behind, not even half a file.
            #expect(access(path, F_OK) != 0)
            #expect(code { try one.saveNPY("/nonexistent/x.npy") } == "IO005")
        }
    }

    @Test func mutantsNeverCrash() throws {
        var files: [[UInt8]] = []
        try withTemporaryFile { path in
            let array = NDArray.random(shape: [3, 4], seed: 1)
            try array.saveNPY(path)
            files.append(try readAll(path))
            try NDArray.saveNPZ(path, [(name: "a", tensor: array), (name: "b", tensor: array)])
            files.append(try readAll(path))
        }
        var state: UInt64 = 7
        func below(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(max(n, 1)))
        }
        for i in 0..<1000 {
            var mutant = files[i % 2]
            for _ in 0...below(3) where !mutant.isEmpty {
                let at = below(mutant.count)
                switch below(4) {
                case 0: mutant[at] ^= 1 << UInt8(below(8))
                case 1: mutant.removeSubrange(at...)
                case 2: mutant[at] = 0xFF
                default: mutant.insert(UInt8(below(256)), at: at)
                }
            }
            do {
                if i % 2 == 0 { _ = try NDArray.loadNPY(mutant) } else { _ = try NDArray.loadNPZ(mutant) }
            } catch {
                #expect(error is ApusError)
            }
        }
    }
}

@Suite struct ZipTests {
    private func inflate(_ input: [UInt8], _ size: Int) throws -> [UInt8] {
        var output = [UInt8](repeating: 0, count: size)
        try input.withUnsafeBytes { (from: UnsafeRawBufferPointer) throws in
            try output.withUnsafeMutableBytes { (to: UnsafeMutableRawBufferPointer) throws in
                try Inflate.inflate(from, into: to)
            }
        }
        return output
    }

    /// Made by zlib at level 9: a block with codes of its own.
    private let dynamic = hex(
        "ed8dc50ec24014007177771eeec5dd4efd900d7d944d6ae96e4af87be4c04fc07126998c68a1f90059d725b8"
            + "e8aa41153481322060500315aa21e857602a5114300863c8f6809fe44dc038e1c8e07e231c28070d517ab59a"
            + "f43532b5900920fe2f3f7cb1d91d4e97dbe3f5f903c15038128dc513c9543a93cde50bc552b952855abdd16c"
            + "b53bdd5e7f301c09e3c974365f2c57ebcd76b73f1c4fe727"
    )

    @Test func everyKindOfBlock() throws {
        let sentence =
            "Every good compiler is a pipeline of small passes; "
            + "every pass states what it needs and what it gives. "
        var expected: [UInt8] = []
        for _ in 0..<6 { expected += Array(sentence.utf8) }
        expected += (0..<64).map { UInt8($0) }
        #expect(try inflate(dynamic, 676) == expected)
        #expect(expected.withUnsafeBytes { CRC32.checksum($0) } == 346_600_354)
        #expect(try inflate(hex("4b4c4a4e444500"), 18) == Array("abcabcabcabcabcabc".utf8))
        #expect(try inflate(hex("010b00f4ff706c61696e206279746573"), 11) == Array("plain bytes".utf8))
    }

    @Test func damageIsNoticed() throws {
        #expect(code { _ = try inflate(dynamic, 675) } == "ZIP005")
        #expect(code { _ = try inflate(dynamic, 677) } == "ZIP005")
        for length in 0..<dynamic.count - 1 {
            #expect(code { _ = try inflate(Array(dynamic[..<length]), 676) } == "ZIP005")
        }
        // Reserved block kind; a length that does not match; a distance before the start; too many codes.
        for bad in ["07", "010b00f4fe706c", "4b0442", "fdffffffffffff"] {
            #expect(code { _ = try inflate(hex(bad), 11) } == "ZIP005", "\(bad)")
        }
        var state: UInt64 = 3
        for _ in 0..<2000 {
            var mutant = dynamic
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            mutant[Int((state >> 33) % UInt64(mutant.count))] ^= UInt8(truncatingIfNeeded: state >> 20) | 1
            do {
                _ = try inflate(mutant, 676)
            } catch {
                #expect((error as? ApusError)?.code == "ZIP005")
            }
        }
    }

    @Test func checksums() {
        func crc(_ text: String) -> UInt32 { Array(text.utf8).withUnsafeBytes { CRC32.checksum($0) } }
        #expect(crc("123456789") == 0xCBF4_3926)
        #expect(crc("") == 0)
        let whole = Array((0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) })
        let expected = whole.withUnsafeBytes { CRC32.checksum($0) }
        for cut in [1, 8, 13, 999] {
            let first = whole[..<cut].withUnsafeBytes { CRC32.checksum($0) }
            #expect(whole[cut...].withUnsafeBytes { CRC32.checksum($0, previous: first) } == expected)
        }
    }

    private func put(_ to: inout [UInt8], _ value: UInt64, _ size: Int) {
        for i in 0..<size { to.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * i))) }
    }

    /// An archive of one member `m` = "hello", whose directory says what the arguments say.
    private func archive(
        zip64: Bool = false, flags: UInt64 = 0, method: UInt64 = 0, size: UInt64 = 5, packed: UInt64 = 5,
        offset: UInt64 = 0, checksum: UInt64 = 0x3610_A686, members: UInt64 = 1
    ) -> [UInt8] {
        var file: [UInt8] = []
        put(&file, 0x0403_4B50, 4)
        for _ in 0..<11 { put(&file, 0, 2) }
        put(&file, 1, 2)
        put(&file, 0, 2)
        file += Array("mhello".utf8)
        let start = UInt64(file.count)
        for _ in 0..<members {
            put(&file, 0x0201_4B50, 4)
            put(&file, 0, 4)
            put(&file, flags, 2)
            put(&file, method, 2)
            put(&file, 0, 4)
            put(&file, checksum, 4)
            put(&file, zip64 ? 0xFFFF_FFFF : packed, 4)
            put(&file, zip64 ? 0xFFFF_FFFF : size, 4)
            put(&file, 1, 2)
            put(&file, zip64 ? 28 : 0, 2)
            put(&file, 0, 10)
            put(&file, zip64 ? 0xFFFF_FFFF : offset, 4)
            file += Array("m".utf8)
            if zip64 {
                put(&file, 1, 2)
                put(&file, 24, 2)
                put(&file, size, 8)
                put(&file, packed, 8)
                put(&file, offset, 8)
            }
        }
        let length = UInt64(file.count) - start
        if zip64 {
            let record = UInt64(file.count)
            put(&file, 0x0606_4B50, 4)
            put(&file, 44, 8)
            put(&file, 0, 12)
            put(&file, members, 8)
            put(&file, members, 8)
            put(&file, length, 8)
            put(&file, start, 8)
            put(&file, 0x0706_4B50, 4)
            put(&file, 0, 4)
            put(&file, record, 8)
            put(&file, 1, 4)
        }
        put(&file, 0x0605_4B50, 4)
        put(&file, 0, 4)
        put(&file, zip64 ? 0xFFFF : members, 2)
        put(&file, zip64 ? 0xFFFF : members, 2)
        put(&file, zip64 ? 0xFFFF_FFFF : length, 4)
        put(&file, zip64 ? 0xFFFF_FFFF : start, 4)
        put(&file, 0, 2)
        return file
    }

    private func first(_ file: [UInt8]) throws -> [UInt8] {
        try file.withUnsafeBytes { (raw: UnsafeRawBufferPointer) throws -> [UInt8] in
            let archive = try ZipArchive(raw)
            return try archive.read(archive.entries[0])
        }
    }

    @Test func largeFormat() throws {
        #expect(try first(archive()) == Array("hello".utf8))
        #expect(try first(archive(zip64: true)) == Array("hello".utf8))
        for length in 0..<archive(zip64: true).count {
            #expect(code { _ = try first(Array(archive(zip64: true)[..<length])) }.hasPrefix("ZIP"))
        }
    }

    @Test func hostileDirectories() {
        func result(_ file: [UInt8]) -> String { code { _ = try first(file) } }
        #expect(result(archive(checksum: 0)) == "ZIP006")
        #expect(result(archive(flags: 1)) == "ZIP003")
        #expect(result(archive(method: 12)) == "ZIP003")
        #expect(result(archive(size: 6)) == "ZIP002")
        #expect(result(archive(offset: 1)) == "ZIP002")
        #expect(result(archive(members: 2)) == "ZIP004")
        for large: UInt64 in [1 << 32, 1 << 62, .max] {
            #expect(result(archive(zip64: true, size: large, packed: large)) == "ZIP002")
            #expect(result(archive(zip64: true, offset: large)) == "ZIP002")
            // A bomb: more than deflate can expand to.
            #expect(["ZIP002", "ZIP004"].contains(result(archive(zip64: true, method: 8, size: large))))
        }
        #expect(result([]) == "ZIP001")
        #expect(result([UInt8](repeating: 0x50, count: 100)) == "ZIP001")
    }
}

@Suite struct MappedFileTests {
    @Test func mapsFilesAndNothingElse() throws {
        try withTemporaryFile { path in
            var writer = try FileWriter(path)
            try writer.write([1, 2, 3])
            #expect(access(path, F_OK) != 0)
            try writer.finish()
            let file = try MappedFile(path)
            #expect(file.withUnsafeBytes { Array($0) } == [1, 2, 3])
            file.base.storeBytes(of: 9, as: UInt8.self)
            #expect(try readAll(path) == [1, 2, 3])
            #expect(code { _ = try MappedFile(path, maximumBytes: 2) } == "IO003")
            var empty = try FileWriter(path)
            try empty.finish()
            #expect(try MappedFile(path).count == 0)
        }
        #expect(code { _ = try MappedFile("/tmp") } == "IO002")
        #expect(code { _ = try MappedFile("/dev/zero") } == "IO002")
        for bad in ["/etc/passwd", "..", "a/../b", "", ".", "a//b"] {
            #expect(code { _ = try MappedFile(bad, beneath: "/tmp") } == "IO004", "\(bad)")
        }
        #expect(code { _ = try MappedFile("none", beneath: "/tmp") } == "IO001")
    }
}
