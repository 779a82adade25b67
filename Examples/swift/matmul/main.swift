// Declares a matrix product, schedules it, compiles it and runs it:
//
//     swift run -c release matmul [n]
import Apus

let n = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 1024 : 1024
let a = te.placeholder([n, n], name: "A"), b = te.placeholder([n, n], name: "B")
let k = te.reduceAxis(0..<n, name: "k")
let c = te.compute([n, n], name: "C") { i, j in te.sum(a[i, k] * b[k, j], axis: k) }

let s = te.createSchedule(c)
let (io, jo, ii, ji) = s[c].tile(c.axis[0], c.axis[1], 14, 32)
s[c].reorder(io, jo, k, ii, ji)
s[c].vectorize(ji)
s[c].unroll(ii)
s[c].parallel(io)
print(s.asTIR)  // readable after every step

let f = try build(s, [a, b, c], target: .host)["main"]
let x = NDArray.random([n, n]), y = NDArray.random([n, n], seed: 1), z = NDArray.zeros([n, n])
try f(x, y, z)
let time = try ContinuousClock().measure { try f(x, y, z) }
print("\(n) x \(n) x \(n) in \(time), \(2 * Double(n * n * n) / seconds(time) / 1e9) GFLOP/s")

// The same by plain loops, for some rows.
let p = try x.toArray(Float.self), q = try y.toArray(Float.self), r = try z.toArray(Float.self)
for i in stride(from: 0, to: n, by: max(1, n / 7)) {
    for j in 0..<n {
        let sum = (0..<n).reduce(0.0) { $0 + Double(p[i * n + $1]) * Double(q[$1 * n + j]) }
        guard abs(Double(r[i * n + j]) - sum) <= 1e-3 * max(1, abs(sum)) else {
            throw ApusError(
                "EXAMPLE", "wrong at [\(i), \(j)]", expected: "\(sum)", actual: "\(r[i * n + j])")
        }
    }
}
print("equal to plain loops")
