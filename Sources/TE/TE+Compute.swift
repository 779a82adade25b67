import ApusIR
import ApusNode
import ApusRuntime
import ApusSupport
import ApusTIR

extension te {
    /// The tensor of `shape` whose element at the given indices is `formula` of all of them at once,
    /// for shapes of any rank.
    public static func computeIndexed(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: ([PrimExpr]) -> PrimExpr
    ) -> Tensor {
        declared(shape, nil, name, tag, attrs) { [formula($0)] }.output()
    }

    /// As `computeIndexed`, for several outputs of one shape.
    public static func computeTupleIndexed(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: ([PrimExpr]) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, nil, name, tag, attrs, formula))
    }

    private static func outputs(_ op: Operation) -> [Tensor] { (0..<op.outputCount).map { op.output($0) } }

    /// `count`: how many indices the formula takes; nil = all.
    private static func declared(
        _ dims: [any TensorIndex], _ count: Int?, _ name: String, _ tag: String, _ attrs: Attrs,
        _ formula: ([Var]) -> [PrimExpr]
    ) -> ComputeOp {
        let axis = spatialAxes(dims.map { $0.indexExpr })
        var vars = axis.map(\.variable)
        var error: ApusError?
        if let count, count != vars.count {
            error = ApusError(
                "TE012", "the formula takes another number of indices than the shape has dimensions",
                at: ["compute: \(name)"], expected: "\(vars.count)", actual: "\(count)")
            while vars.count < count { vars.append(Var("i\(vars.count)")) }
        }
        return ComputeOp.deferred(
            name: name, tag: tag.isEmpty ? TagScope.current : tag, attrs: attrs, axis: axis,
            body: formula(vars), error: error)
    }

    // MARK: One output, one to six indices

    /// The tensor of `shape` whose element at index `i` is `formula` of it.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 1, name, tag, attrs) { [formula($0[0])] }.output()
    }

    /// The tensor of `shape` whose element at `[i, j]` is `formula` of them.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 2, name, tag, attrs) { [formula($0[0], $0[1])] }.output()
    }

    /// As above, of three indices.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 3, name, tag, attrs) { [formula($0[0], $0[1], $0[2])] }.output()
    }

    /// As above, of four indices.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 4, name, tag, attrs) { [formula($0[0], $0[1], $0[2], $0[3])] }.output()
    }

    /// As above, of five indices.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var, Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 5, name, tag, attrs) { [formula($0[0], $0[1], $0[2], $0[3], $0[4])] }.output()
    }

    /// As above, of six indices.
    public static func compute(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var, Var, Var) -> PrimExpr
    ) -> Tensor {
        declared(shape, 6, name, tag, attrs) { [formula($0[0], $0[1], $0[2], $0[3], $0[4], $0[5])] }.output()
    }

    // MARK: Several outputs, one to six indices

    /// Several tensors of one shape, each with its formula; with a reduction, the values of one.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 1, name, tag, attrs) { formula($0[0]) })
    }

    /// As above, of two indices.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 2, name, tag, attrs) { formula($0[0], $0[1]) })
    }

    /// As above, of three indices.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 3, name, tag, attrs) { formula($0[0], $0[1], $0[2]) })
    }

    /// As above, of four indices.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 4, name, tag, attrs) { formula($0[0], $0[1], $0[2], $0[3]) })
    }

    /// As above, of five indices.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var, Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 5, name, tag, attrs) { formula($0[0], $0[1], $0[2], $0[3], $0[4]) })
    }

    /// As above, of six indices.
    public static func computeTuple(
        _ shape: [any TensorIndex], name: String = "compute", tag: String = "", attrs: Attrs = .empty,
        _ formula: (Var, Var, Var, Var, Var, Var) -> [PrimExpr]
    ) -> [Tensor] {
        outputs(declared(shape, 6, name, tag, attrs) { formula($0[0], $0[1], $0[2], $0[3], $0[4], $0[5]) })
    }

    // MARK: Statements

    /// Tensors computed by a statement; see the free function `extern`.
    public static func extern(
        _ outputs: [(shape: [any TensorIndex], dtype: DataType)], inputs: [Tensor], name: String = "extern",
        tag: String = "", attrs: Attrs = .empty, _ body: ([Buffer], [Buffer]) throws -> Stmt
    ) rethrows -> [Tensor] {
        try ApusTE.extern(
            outputs.map { (shape: $0.shape.map { $0.indexExpr }, dtype: $0.dtype) }, inputs: inputs,
            name: name,
            tag: tag.isEmpty ? TagScope.current : tag, attrs: attrs, body)
    }
}
