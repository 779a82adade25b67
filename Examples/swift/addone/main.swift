// Compiles one operator, `addone`, to a library that any language can load:
//
//     swift run -c release addone compiled_artifact.so
//     Examples/python/addone.py compiled_artifact.so
import Apus

let path = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "compiled_artifact.so"

// a[i] += 1 for an int64 vector of any length: the length is a variable, bound by the argument.
let n = Var("n")
let i = Var("i")
let a = Buffer("a", [n], .int64, alignment: 0)
let body = For(i, const(0), n, body: BufferStore(a, BufferLoad(a, [i]) + 1, [i]))
let addone = PrimFunc(buffers: [a], body: body, attrs: Attrs(["global_symbol": "addone"]))

do {
    print(addone)
    try exportLibrary(
        functions: [(name: "addone", function: try lower(addone))], blob: nil, target: .host, to: path)
    print("wrote \(path)")
} catch {
    print(error)
}
