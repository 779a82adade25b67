import ApusArith
import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

/// Thread axes whose domain is that of their loop, after the loop's extent was rewritten.
private final class AxisRebinder: StmtExprMutator {
    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        let n = mutateChildren(of: s)
        guard let l = n as? For, let t = l.threadBinding,
            !sameExpr(t.dom.min, l.min) || !sameExpr(t.dom.extent, l.extent)
        else { return n }
        let axis = IterVar(
            IRRange(min: l.min, extent: l.extent), t.variable, t.iterType, threadTag: t.threadTag)
        return For(
            l.loopVar, l.min, l.extent, l.forKind, body: l.body, threadBinding: axis,
            annotations: l.annotations)
    }
}

private final class HostSplitter: KernelMutator {
    private let name: String
    private let function: PrimFunc
    private let taken: Set<String>
    private(set) var kernels: [(global: GlobalVar, function: BaseFunc)] = []

    init(_ name: String, _ f: PrimFunc, taken: Set<String>) {
        self.name = name
        function = f
        self.taken = taken
    }

    override func mutate(_ s: Stmt) -> Stmt {
        if let a = s as? AttrStmt, a.key == "device_scope" {
            if failure != nil { return s }
            do { return try cut(a.body, []) } catch {
                failure = error as? ApusError ?? ApusError("TTR063", "\(error)")
                return s
            }
        }
        return super.mutate(s)
    }

    override func kernel(_ root: Stmt, _ nest: LaunchNest) throws -> Stmt {
        guard nest.isCanonical else {
            throw ApusError(
                "TTR053", "kernels are cut out when they have one loop an axis",
                hint: "run UnifyThreadBinding first"
            ).located(root.span)
        }
        return try cut(root, nest.tags)
    }

    private func cut(_ body: Stmt, _ tags: [String]) throws -> Stmt {
        var dynamicBytes: Int?
        var problem: ApusError?
        postOrderVisit(
            body,
            stmt: { s in
                guard let a = s as? Allocate else { return }
                if MemoryRank(a.buffer.scope) == .global && !tags.isEmpty {
                    problem =
                        problem
                        ?? ApusError(
                            "TTR063", "a kernel cannot allocate memory that all threads share",
                            at: ["kernel of: \(self.name)", "buffer: \(a.buffer.name)"],
                            hint:
                                "give it scope shared or local, or allocate it outside of the thread-bound loops"
                        ).located(a.span)
                }
                if a.buffer.scope == "shared.dyn", let n = constantProduct(a.buffer.shape) {
                    dynamicBytes = (dynamicBytes ?? 0) + n * a.buffer.dtype.byteCount
                }
            })
        if let problem { throw problem }
        var free = undefinedVariables(of: body)
        if let v = free.first(where: { v in
            guard let p = v.type as? PointerType, !p.storageScope.isEmpty else { return false }
            return MemoryRank(p.storageScope) != .global
        }) {
            throw ApusError(
                "TTR063", "memory of threads does not outlive their kernel", at: ["buffer: \(v.name)"],
                hint: "one kernel must write and read it, or it must have scope global"
            ).located(v.span)
        }
        // Pointers first, each kind in order of first use.
        free = free.filter { $0.dtype.isHandle } + free.filter { !$0.dtype.isHandle }
        var params: [Var] = []
        var map: [Var: PrimExpr] = [:]
        for v in free {
            let p = Var(v.name, type: v.type)
            params.append(p)
            map[v] = p
        }
        var buffers: [Buffer: Buffer] = [:]
        for b in undefinedBuffers(of: body) {
            guard let data = map[b.data] as? Var else { continue }
            func inside(_ e: PrimExpr) -> PrimExpr { substitute(e, map) }
            buffers[b] = Buffer(
                data: data, dtype: b.dtype, shape: b.shape.map(inside), strides: b.strides.map(inside),
                elemOffset: inside(b.elemOffset), name: b.name, alignment: b.alignment)
        }
        var index = kernels.count
        var kernelName = "\(name)_kernel\(index)"
        while taken.contains(kernelName) {
            index += 1
            kernelName = "\(name)_kernel\(index)"
        }
        var attrs = Attrs.empty
            .setting("global_symbol", .string(kernelName))
            .setting("calling_conv", .int(CallingConvention.kernelLaunch.rawValue))
            .setting("tir.device_thread_axis", .strings(tags))
        if let n = dynamicBytes { attrs = attrs.setting("tir.dyn_shared_bytes", .int(n)) }
        for key in ["tir.noalias", "target"] {
            if let value = function.attrs[key] { attrs = attrs.setting(key, value) }
        }
        let kernel = PrimFunc(
            params, bufferMap: [], body: AxisRebinder().mutate(substitute(body, map, buffers: buffers)),
            attrs: attrs)
        let global = GlobalVar(kernelName, type: kernel.checkedType)
        kernels.append((global: global, function: kernel))
        return Evaluate(Call(.void, global, free))
    }
}

/// Cuts each kernel, from its outermost loop over hardware threads on, and each `device_scope`, out of its function: it
/// becomes a function of the module named `<function>_kernel<i>`, and the host calls it.
///
/// Parameters of a kernel are the pointers and scalars that it uses. Its attributes say how it is launched:
/// `calling_conv` 2, `tir.device_thread_axis` (tags, outermost first; the loops hold the extents), and
/// `tir.dyn_shared_bytes` where it has dynamic shared memory. Throws TTR063 for global memory allocated in a kernel,
/// TTR053 for kernels not in canonical form. Source of the idea: TVM's SplitHostDevice.
public func splitHostDevice(_ m: IRModule) throws -> IRModule {
    var definitions: [(global: GlobalVar, function: BaseFunc)] = []
    let taken = Set(m.globals.map(\.name))
    var changed = false
    for (global, function) in m.definitions {
        guard let f = function as? PrimFunc, CallingConvention.of(f) != .kernelLaunch else {
            definitions.append((global: global, function: function))
            continue
        }
        try within("function: @\(global.name)") {
            let splitter = HostSplitter(global.name, f, taken: taken)
            let host = try splitter.run(f)
            if host !== f { changed = true }
            definitions.append((global: global, function: host))
            definitions += splitter.kernels
        }
    }
    return changed ? IRModule(definitions, attrs: m.attrs) : m
}

private final class LaunchLowerer: StmtExprMutator {
    let kernels: [String: PrimFunc]
    init(_ kernels: [String: PrimFunc]) { self.kernels = kernels }

    override func mutate(_ e: PrimExpr) -> PrimExpr { e }
    override func mutate(_ s: Stmt) -> Stmt {
        guard let e = s as? Evaluate, let c = e.value as? Call, c.op is GlobalVar, let k = kernels[c.name]
        else {
            return mutateChildren(of: s)
        }
        var map: [Var: PrimExpr] = [:]
        for (p, a) in zip(k.params, c.args) { map[p] = a }
        var args: [PrimExpr] = [StringImm(k.globalSymbol ?? c.name)] + c.args
        for l in LaunchNest(k.body).loops { args.append(substitute(l.extent, map)) }
        if let n = k.attrs.int("tir.dyn_shared_bytes") { args.append(IntImm(n)) }
        return Evaluate(intrinsic("call_packed", .void, args))
    }
}

/// Calls of kernels on the host become packed calls by name: the kernel's arguments, then the extents of its launch in
/// the order of `tir.device_thread_axis`, then the bytes of dynamic shared memory if there are any. The runtime's
/// function of that name starts the kernel. Run it when host and kernels go different ways.
public func lowerKernelLaunch(_ m: IRModule) -> IRModule {
    var kernels: [String: PrimFunc] = [:]
    for (global, function) in m.definitions {
        if let f = function as? PrimFunc, CallingConvention.of(f) == .kernelLaunch {
            kernels[global.name] = f
        }
    }
    if kernels.isEmpty { return m }
    return m.mapFunctions { _, function in
        guard let f = function as? PrimFunc, CallingConvention.of(f) != .kernelLaunch else { return function }
        let body = LaunchLowerer(kernels).mutate(f.body)
        return body === f.body ? f : f.with(body: body)
    }
}
