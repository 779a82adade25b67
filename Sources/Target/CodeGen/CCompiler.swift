import ApusRuntime
import ApusSupport
import Glibc

/// The back end `c`: source text, and the system's compiler for it.
enum CCompiler {
    /// Little optimisation: the code comes tiled, unrolled and vectorised, and `-O3` takes much longer over it.
    /// Wrapping integers, multiply-adds allowed, memory as untyped as the generated code uses it.
    private static func flags(_ target: Target) -> [String] {
        let march = target.mcpu == "generic" ? "native" : target.mcpu
        return [
            "-std=gnu99", "-O2", "-march=\(march)", "-fPIC", "-w", "-fwrapv", "-ffp-contract=fast",
            "-fno-math-errno",
            "-fno-strict-aliasing",
        ]
    }

    /// An object file. The source goes in by standard input, so that no path is in the result.
    static func object(_ kernels: [Kernel], _ target: Target) throws -> [UInt8] {
        let source = try CodeGenC.source(kernels)
        return try ToolRunner.withTemporaryFolder { folder in
            try ToolRunner.write(Array(source.utf8), to: "\(folder)/apus.c")
            try ToolRunner.compile(
                ToolRunner.compilers(target),
                flags(target) + ["-c", "-x", "c", "-", "-o", "\(folder)/apus.o"],
                stdin: "\(folder)/apus.c", folder: folder)
            return try ToolRunner.read("\(folder)/apus.o")
        }
    }

    /// The kernels in this process.
    static func load(_ kernels: [Kernel], _ target: Target) throws -> JITModule {
        let object = try object(kernels, target)
        return try ToolRunner.withTemporaryFolder { folder in
            let library = "\(folder)/apus.so"
            try LibraryWriter.write(objects: [object], blob: nil, target: target, to: library)
            return try JITModule(library: library, kernels: kernels.map(\.name))
        }
    }
}
