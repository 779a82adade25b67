// swift-tools-version:6.1
// One target is one room; a room imports only rooms above it in this list, and SwiftPM enforces it
// (docs/architecture.md draws the house). Folder = component name; module = "Apus" + folder.
// Keep the sections in the order of the house, a room's test target beside it.
import PackageDescription

let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

/// Swift 6 language mode everywhere; warnings are errors is switched on by `scripts/check`, not here, so that
/// a newer compiler's new warning never breaks a user's build.
let settings: [SwiftSetting] = [.swiftLanguageMode(.v6)]

/// What each room declared, so that its tests may import the same.
nonisolated(unsafe) var declared: [String: [Target.Dependency]] = [:]

/// Flags for a product that stands alone, with the Swift runtime inside. Flags of this kind would forbid other packages to
/// depend on this one, so that only the Makefile asks for them.
func standalone(_ flags: [String]) -> [LinkerSetting] {
    Context.environment["APUS_STANDALONE_RUNTIME"] == nil ? [] : [.unsafeFlags(["-static-stdlib"] + flags)]
}

/// Of the runtime library only the C API is seen from outside.
let runtimeLinkerSettings = standalone([
    "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CAPI/exports.map",
])

/// The command takes some 20 MiB less memory than with Swift's libraries beside it. Foundation's own parts are named here
/// because SwiftPM compiles for the shared ones; lld lays out code so that fewer pages are touched (docs/adr/0019).
let commandLinkerSettings = standalone([
    "-use-ld=lld", "-lCoreFoundation", "-l_FoundationICU", "-l_FoundationCShims", "-l_FoundationCollections",
])

func room(_ folder: String, _ dependencies: [Target.Dependency]) -> Target {
    declared[folder] = dependencies
    return .target(
        name: "Apus\(folder)", dependencies: dependencies, path: "Sources/\(folder)", swiftSettings: settings)
}

/// The tests of a room, which import what the room does and `more`.
func tests(_ folder: String, _ more: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .testTarget(
        name: "Apus\(folder)Tests",
        dependencies: [.target(name: "Apus\(folder)"), "ApusTestSupport"] + (declared[folder] ?? []) + more,
        path: "Tests/\(folder)Tests", exclude: exclude, swiftSettings: settings)
}

let package = Package(
    name: "apus",
    products: [
        .library(name: "Apus", targets: ["Apus"]),
        .library(name: "apus_runtime", type: .dynamic, targets: ["ApusRuntimeCAPI"]),
        .executable(name: "apus", targets: ["ApusCLI"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        // MARK: CABI - C headers: DLPack, the 16-byte value, the calling convention
        .target(name: "ApusCABI", path: "Sources/CABI"),

        // MARK: TestSupport - what the tests of several rooms share; no part of a product
        .target(name: "ApusTestSupport", path: "Tests/TestSupport", swiftSettings: settings),

        // MARK: Support
        room("Support", ["ApusCABI"]),
        tests("Support"),

        // MARK: Runtime
        room("Runtime", ["ApusCABI", "ApusSupport"]),
        tests("Runtime"),

        // MARK: Node
        room("Node", ["ApusRuntime", "ApusSupport"]),
        tests("Node"),

        // MARK: IR
        room("IR", ["ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("IR"),

        // MARK: TIR
        room("TIR", ["ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("TIR"),

        // MARK: Arith
        room("Arith", ["ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("Arith"),

        // MARK: TIRSchedule
        room("TIRSchedule", ["ApusArith", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        // Random programs and schedules, for the fuzzers of several rooms; no part of a product.
        .target(
            name: "ApusScheduleFuzzing",
            dependencies: [
                "ApusTIRSchedule", "ApusTE", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport",
                "ApusTestSupport",
            ], path: "Tests/ScheduleFuzzing", swiftSettings: settings),
        tests(
            "TIRSchedule", ["ApusScheduleFuzzing", "ApusTE", "ApusDriver", "ApusTIRTransforms"],
            exclude: ["Golden"]),

        // MARK: TIRTransforms
        room("TIRTransforms", ["ApusArith", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("TIRTransforms"),

        // MARK: TE
        room(
            "TE",
            [
                "ApusTIRSchedule", "ApusArith", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport",
            ]),
        tests("TE"),

        // MARK: Target - code generators; LLVM through its C API only here
        .systemLibrary(name: "CLLVM", path: "Sources/CLLVM", pkgConfig: "apus-llvm"),
        room("Target", ["CLLVM", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport", "ApusCABI"]),
        tests("Target"),

        // MARK: Driver
        room(
            "Driver",
            [
                "ApusTarget", "ApusTE", "ApusTIRTransforms", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime",
                "ApusSupport",
            ]),
        tests("Driver", ["ApusTIRSchedule", "ApusArith", "ApusScheduleFuzzing", "ApusCABI"]),

        // MARK: TOPI
        room(
            "TOPI",
            [
                "ApusTarget", "ApusTE", "ApusTIRSchedule", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime",
                "ApusSupport",
            ]),
        tests("TOPI", ["ApusDriver", "ApusTIRTransforms", "ApusArith", "ApusCABI"]),

        // MARK: Relay
        room("Relay", ["ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("Relay", ["ApusArith"]),

        // MARK: RelayTransforms
        room(
            "RelayTransforms",
            ["ApusRelay", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests("RelayTransforms", ["ApusArith"]),

        // MARK: RelayBackend
        room(
            "RelayBackend",
            [
                "ApusRelayTransforms", "ApusRelay", "ApusTOPI", "ApusDriver", "ApusTarget", "ApusTE",
                "ApusTIRSchedule", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport",
            ]),
        tests("RelayBackend", ["ApusTIRTransforms", "ApusArith", "ApusCABI"]),

        // MARK: Frontend
        room(
            "Frontend",
            [protobuf, "ApusRelay", "ApusTIR", "ApusIR", "ApusNode", "ApusRuntime", "ApusSupport"]),
        tests(
            "Frontend", ["ApusRelayBackend", "ApusRelayTransforms", "ApusTOPI", "ApusDriver", "ApusTarget"]),

        // MARK: CAPI - C entry points
        .target(
            name: "ApusRuntimeCAPI", dependencies: ["ApusRuntime", "ApusCABI", "ApusSupport"],
            path: "Sources/CAPI",
            exclude: ["exports.map"], swiftSettings: settings,
            linkerSettings: runtimeLinkerSettings),

        // MARK: Apus - the umbrella
        .target(
            name: "Apus",
            dependencies: [
                "ApusFrontend", "ApusRelayBackend", "ApusRelayTransforms", "ApusRelay", "ApusTOPI",
                "ApusDriver",
                "ApusTarget", "ApusTE", "ApusTIRTransforms", "ApusTIRSchedule", "ApusArith", "ApusTIR",
                "ApusIR",
                "ApusNode", "ApusRuntime", "ApusSupport",
            ], path: "Sources/Apus", swiftSettings: settings),

        // MARK: Examples
        .executableTarget(
            name: "addone", dependencies: ["Apus"], path: "Examples/swift/addone", swiftSettings: settings),
        .executableTarget(
            name: "matmul", dependencies: ["Apus"], path: "Examples/swift/matmul", swiftSettings: settings),
        .executableTarget(
            name: "script", dependencies: ["Apus"], path: "Examples/swift/script", swiftSettings: settings),

        // MARK: CLI - the command `apus`
        .executableTarget(
            name: "ApusCLI", dependencies: ["Apus", argumentParser], path: "Sources/CLI",
            swiftSettings: settings, linkerSettings: commandLinkerSettings),
    ]
)

// `APUS_ROOMS=Arith,TE` narrows the package to these rooms, what they need, and their tests: an edit low in the house
// then rebuilds little. Unset, or empty, everything is there.
if let rooms = Context.environment["APUS_ROOMS"], !rooms.isEmpty {
    let named = rooms.split(separator: ",").map(String.init)
    let byName = Dictionary(uniqueKeysWithValues: package.targets.map { ($0.name, $0) })
    var kept: Set<String> = []
    var queue = named.flatMap { ["Apus\($0)", "Apus\($0)Tests"] }
    while let name = queue.popLast() {
        guard let target = byName[name], kept.insert(name).inserted else { continue }
        for d in target.dependencies {
            switch d {
            case .targetItem(let name, _), .byNameItem(let name, _): queue.append(name)
            default: continue
            }
        }
    }
    package.targets.removeAll { !kept.contains($0.name) }
    package.products.removeAll { _ in true }
    let protobufKept = kept.contains("ApusFrontend")
    package.dependencies.removeAll { dependency in
        guard case .sourceControl(_, let location, _) = dependency.kind else { return false }
        return location.hasSuffix("swift-argument-parser") || !protobufKept
    }
}
