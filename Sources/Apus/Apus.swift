// The umbrella: `import Apus` gives every room.
@_exported import ApusArith
@_exported import ApusDriver
@_exported import ApusFrontend
@_exported import ApusIR
@_exported import ApusNode
@_exported import ApusRelay
@_exported import ApusRelayBackend
@_exported import ApusRelayTransforms
@_exported import ApusRuntime
@_exported import ApusSupport
@_exported import ApusTE
@_exported import ApusTIR
@_exported import ApusTIRSchedule
@_exported import ApusTIRTransforms
@_exported import ApusTOPI
@_exported import ApusTarget

/// Makes the node kinds, operators and intrinsics of every room known. What builds, parses or compiles a program does so by
/// itself for what it needs; a process that begins by loading JSON of nodes calls this first. Idempotent.
public func registerAll() { OpStrategies.registerAll() }

/// The version of the compiler and of its file formats.
public let apusVersion = "0.1.0"
