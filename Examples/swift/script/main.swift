// Two functions given as text, one in the loop IR's own form and one in hybrid script: read, printed again, built and run.
//
//     swift run -c release script [hybrid.py]
import Apus

let loops = """
    @T.prim_func
    def scale(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
        for i in range(8):
            y[i] = x[i] * T.float32(2)
    """
let hybrid = """
    def running(x):
        y = output_tensor(x.shape, x.dtype)
        total = 0.0
        for i in range(x.shape[0]):
            total += x[i]
            y[i] = total
        return y
    """

let scale = try TIRParser.parseFunction(loops)
print(scale)
let script =
    CommandLine.arguments.count > 1
    ? try te.hybrid.load(CommandLine.arguments[1]) : try te.hybrid.parse(hybrid)
print(script.getSource())
let running = try script["running"].primFunc([te.placeholder([8], name: "x")])

let x = NDArray((1...8).map { Float($0) }), y = NDArray.zeros([8]), z = NDArray.zeros([8])
try build(scale, name: "scale")["scale"](x, y)
try build(running)["running"](y, z)
print(try z.toArray(Float.self))
