import ApusSupport
import Glibc

/// Bytes that are written in pieces.
struct Blob {
    let count: Int
    /// Hands all bytes over, in order.
    let write: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void
}

/// Links object files and a blob into a shared library.
enum LibraryWriter {
    static func write(objects: [[UInt8]], blob: Blob?, target: Target, to path: String) throws {
        if target.kindName == TargetKind.llvm.name,
            target.mtriple.prefix(while: { $0 != "-" }) != LLVMLibrary.hostTriple.prefix(while: { $0 != "-" })
        {
            throw ApusError(
                "TGT009", "the linker of this machine cannot link for another one", at: ["target: \(target)"],
                expected: LLVMLibrary.hostTriple, actual: target.mtriple,
                hint: "use buildObjects and the linker of the other machine")
        }
        try ToolRunner.withTemporaryFolder { folder in
            var files: [String] = []
            for (i, o) in objects.enumerated() {
                files.append("\(folder)/\(i).o")
                try ToolRunner.write(o, to: files[i])
            }
            if let blob {
                files.append("\(folder)/blob.o")
                try ObjectFile.write(blob: blob, like: objects.first ?? [], to: files[files.count - 1])
            }
            // Beside the result, so that the rename is one step: nobody ever sees half a library.
            let partial = "\(path).partial"
            defer { unlink(partial) }
            let arguments =
                ["-shared", "-nostartfiles", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,now"]
                + ["-o", partial] + files + ["-lm"]
            try ToolRunner.compile(ToolRunner.compilers(target), arguments, folder: folder)
            guard rename(partial, path) == 0 else {
                throw ApusError(
                    "TGT013", "cannot write a file", at: ["file: \(path)"], actual: ToolRunner.systemError())
            }
        }
    }
}

/// Writes an ELF object file that holds one blob. A blob may be hundreds of megabytes: going through a
/// compiler would copy it several times.
enum ObjectFile {
    /// Little-endian fields, as on every machine that has a code generator here.
    private struct Writer {
        var bytes: [UInt8] = []
        mutating func u8(_ v: Int) { bytes.append(UInt8(truncatingIfNeeded: v)) }
        mutating func u16(_ v: Int) {
            u8(v)
            u8(v >> 8)
        }
        mutating func u32(_ v: Int) {
            u16(v)
            u16(v >> 16)
        }
        mutating func u64(_ v: Int) {
            u32(v)
            u32(v >> 32)
        }
        mutating func pad(to multiple: Int, from base: Int) {
            while (base + bytes.count) % multiple != 0 { bytes.append(0) }
        }
        mutating func text(_ s: String) -> Int {
            let at = bytes.count
            bytes.append(contentsOf: Array(s.utf8))
            bytes.append(0)
            return at
        }
    }

    /// Symbols `apus_blob` (aligned to 64 bytes) and `apus_blob_size` (64 bits). `like`: an object file of
    /// the same machine, whose machine number and flags are taken over.
    static func write(blob: Blob, like: [UInt8], to path: String) throws {
        guard like.count >= 64, like[0] == 0x7F, like[1] == 0x45, like[4] == 2, like[5] == 1 else {
            throw ApusError(
                "TGT016", "a blob can only be embedded in 64-bit little-endian ELF libraries",
                hint: "write the blob to a file of its own")
        }
        let headerSize = 64
        let blobSize = blob.count
        var tail = Writer()
        let base = headerSize + blobSize
        tail.pad(to: 8, from: base)
        let sizeAt = base + tail.bytes.count
        tail.u64(blobSize)
        var names = Writer()
        _ = names.text("")
        let blobName = names.text("apus_blob")
        let sizeName = names.text("apus_blob_size")
        let symbolsAt = base + tail.bytes.count
        for _ in 0..<24 { tail.u8(0) }
        for (name, section, size) in [(blobName, 1, blobSize), (sizeName, 2, 8)] {
            tail.u32(name)
            tail.u8(0x11)  // global, object
            tail.u8(0)
            tail.u16(section)
            tail.u64(0)
            tail.u64(size)
        }
        let stringsAt = base + tail.bytes.count
        tail.bytes.append(contentsOf: names.bytes)
        var sectionNames = Writer()
        _ = sectionNames.text("")
        let texts = [
            ".rodata.apus_blob", ".rodata.apus_blob_size", ".note.GNU-stack", ".symtab", ".strtab",
            ".shstrtab",
        ]
        let nameOffsets: [Int] = texts.map { sectionNames.text($0) }
        let sectionStringsAt = base + tail.bytes.count
        tail.bytes.append(contentsOf: sectionNames.bytes)
        tail.pad(to: 8, from: base)
        let sectionsAt = base + tail.bytes.count
        for _ in 0..<64 { tail.u8(0) }
        func section(
            _ i: Int, type: Int, flags: Int, at: Int, size: Int, link: Int, info: Int, align: Int, entry: Int
        ) {
            tail.u32(nameOffsets[i])
            tail.u32(type)
            tail.u64(flags)
            tail.u64(0)
            tail.u64(at)
            tail.u64(size)
            tail.u32(link)
            tail.u32(info)
            tail.u64(align)
            tail.u64(entry)
        }
        section(0, type: 1, flags: 2, at: headerSize, size: blobSize, link: 0, info: 0, align: 64, entry: 0)
        section(1, type: 1, flags: 2, at: sizeAt, size: 8, link: 0, info: 0, align: 8, entry: 0)
        section(2, type: 1, flags: 0, at: sizeAt, size: 0, link: 0, info: 0, align: 1, entry: 0)
        section(3, type: 2, flags: 0, at: symbolsAt, size: 72, link: 5, info: 1, align: 8, entry: 24)
        section(
            4, type: 3, flags: 0, at: stringsAt, size: names.bytes.count, link: 0, info: 0, align: 1, entry: 0
        )
        section(
            5, type: 3, flags: 0, at: sectionStringsAt, size: sectionNames.bytes.count, link: 0, info: 0,
            align: 1,
            entry: 0)

        var header = Writer()
        header.bytes = Array(like[0..<16])
        header.u16(1)  // relocatable
        header.bytes.append(contentsOf: like[18..<20])
        header.u32(1)
        header.u64(0)
        header.u64(0)
        header.u64(sectionsAt)
        header.bytes.append(contentsOf: like[48..<52])
        header.u16(64)
        header.u16(0)
        header.u16(0)
        header.u16(64)
        header.u16(7)
        header.u16(6)
        try ToolRunner.write(to: path) { sink in
            try header.bytes.withUnsafeBytes(sink)
            var written = 0
            try blob.write { piece in
                written += piece.count
                try sink(piece)
            }
            guard written == blobSize else { internalError("a blob of \(blobSize) bytes had \(written)") }
            try tail.bytes.withUnsafeBytes(sink)
        }
    }
}
