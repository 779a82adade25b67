// swift-tools-version:6.1
// A package of its own, so that nobody builds the benchmarks who only uses Apus.
import PackageDescription

let package = Package(
    name: "benchmarks",
    dependencies: [.package(name: "apus", path: "..")],
    targets: [
        // MARK: CountAllocations - malloc and its family, counted
        .target(name: "CountAllocations"),

        // MARK: compile-figures - what compiling costs, in figures that are the same on every run
        .executableTarget(
            name: "compile-figures",
            dependencies: [.product(name: "Apus", package: "apus"), "CountAllocations"],
            swiftSettings: [.swiftLanguageMode(.v6)]),
    ])
