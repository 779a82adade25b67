// What compiling costs in counts that do not depend on how busy the machine is: blocks and bytes asked of malloc.
// `Benchmarks/compile_figures.sh` runs this, checks the counts against `compile_figures.json`, and can count
// instructions as well. The milliseconds printed beside are for information.
//
//     compile-figures [FIGURE [TIMES]]        one JSON object a line; all figures, or one, its work done TIMES times
import Apus
import CountAllocations

struct Figure {
    let name: String
    /// What is not counted, giving the work that is; the count of units (expressions, functions) comes back.
    let prepare: () throws -> () throws -> Int
}

let target = try Target("llvm -mcpu=znver4 -num-cores=2")

let figures = [
    Figure(name: "simplify.corpus") {
        let corpus = Corpus(count: 20_000)
        return {
            let analyzer = corpus.analyzer()
            for e in corpus.expressions { _ = analyzer.simplify(e) }
            return corpus.expressions.count
        }
    },
    Figure(name: "lower.matmul1024") {
        let scheduled = try matmul(1024, target)
        return {
            _ = try lower(scheduled)
            return 1
        }
    },
    Figure(name: "schedule.matmul1024") {
        {
            _ = try matmul(1024, target)
            return 1
        }
    },
    Figure(name: "lower.resnet18") {
        let module = try relayPipeline(target: target, evaluate: constantEvaluator(target: target)).run(
            try resnet18())
        let functions = module.functions.compactMap { $0 as? PrimFunc }
        return {
            for f in functions { _ = try lower(f) }
            return functions.count
        }
    },
    Figure(name: "graph.resnet18") {
        let module = try resnet18()
        return {
            let lowered = try relayPipeline(target: target, evaluate: constantEvaluator(target: target)).run(
                module)
            return lowered.functions.count
        }
    },
]

let wanted = CommandLine.arguments.dropFirst().first
let times = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 1
for figure in figures where wanted == nil || wanted == figure.name {
    // Once before, so that what is made on first use (registries, tables) is not counted.
    _ = try figure.prepare()()
    let work = try figure.prepare()
    let blocks = allocations_blocks()
    let bytes = allocations_bytes()
    let start = ContinuousClock.now
    var units = 0
    for _ in 0..<times { units = try work() }
    let time = (ContinuousClock.now - start).components
    let ms = Double(time.seconds) * 1e3 + Double(time.attoseconds) * 1e-15
    print(
        #"{"figure": "\#(figure.name)", "units": \#(units), "blocks": \#(allocations_blocks() - blocks), "#
            + #""bytes": \#(allocations_bytes() - bytes), "ms": \#((ms * 10).rounded() / 10)}"#)
}
