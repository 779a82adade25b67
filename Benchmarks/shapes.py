#!/usr/bin/env python3
"""Models of one operator, for comparing kernels with those of peers turn by turn.

    shapes.py gemm DIR                 matrix products: sizes 512 to 4096, those of BERT, skinny ones; constant weight
    shapes.py conv DIR MODEL.onnx      one convolution with bias for each distinct one of a model (resnet50: 20)
    shapes.py ops DIR                  other operators: convolutions of one, three axes, grouped, transposed, pooling, norms,
                                       softmax, reductions, elementary functions, gathers, transposes, resizing
    shapes.py torch MODEL.onnx MODEL.npz THREADS
                                       PyTorch (oneDNN, blocked layout) on such a model, as a worker of bench_peers.py

DIR gets NAME.onnx and NAME.npz (inputs `in_…`, outputs computed in double precision `out_…`). bench_peers.py then takes
`--models-dir DIR`. A name holds the shape: d_M_K_N, or conv_CxHxW_OxKxK_sSTRIDE_gGROUPS. Beside the ratio,
`FLOP / time` of a row is against the measured peak of the machine (`peak.c` beside bench_peers.py)."""
import json, os, sys, time
import numpy as np

GEMM = [(n, n, n) for n in (512, 1024, 2048, 4096)] + [
    (128, 768, 768), (128, 768, 3072), (128, 3072, 768),
    (197, 768, 3072), (49, 768, 3072), (64, 1376, 512), (1, 768, 3072), (1, 768, 50257)]


def save(path, nodes, inputs, output, initializers, arrays):
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    info = lambda name, a: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(a.shape))
    graph = helper.make_graph(nodes, "g", [info(n, arrays[n]) for n in inputs], [info(output, arrays[output])],
                              [numpy_helper.from_array(a, n) for n, a in initializers.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path + ".onnx")
    np.savez(path + ".npz", **{f"in_{n}": arrays[n] for n in inputs}, **{f"out_{output}": arrays[output]})


def gemm(folder):
    from onnx import helper
    rng = np.random.default_rng(0)
    for m, k, n in GEMM:
        a = rng.standard_normal((m, k), dtype=np.float32)
        b = (rng.standard_normal((k, n), dtype=np.float32) / np.sqrt(k)).astype(np.float32)
        c = (a.astype(np.float64) @ b).astype(np.float32)
        save(f"{folder}/d_{m}_{k}_{n}", [helper.make_node("MatMul", ["a", "b"], ["c"])], ["a"], "c", {"b": b}, dict(a=a, c=c))


def conv(folder, model):
    import onnx
    from onnx import helper, shape_inference
    import torch
    g = shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in list(g.value_info) + list(g.input) + list(g.output)}
    shapes |= {t.name: list(t.dims) for t in g.initializer}
    rng = np.random.default_rng(0)
    seen = {}
    for node in g.node:
        if node.op_type != "Conv":
            continue
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        x, w = shapes[node.input[0]], shapes[node.input[1]]
        s, gr = at.get("strides", [1, 1]), at.get("group", 1)
        pads = at.get("pads", [0, 0, 0, 0])
        name = f"conv_{x[1]}x{x[2]}x{x[3]}_{w[0]}x{w[2]}x{w[3]}_s{s[0]}_g{gr}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            continue
        a = rng.standard_normal(x, dtype=np.float32)
        k = (rng.standard_normal(w, dtype=np.float32) / np.sqrt(np.prod(w[1:]))).astype(np.float32)
        b = rng.standard_normal(w[0], dtype=np.float32)
        t = torch.from_numpy
        assert pads[:2] == pads[2:], "symmetric padding only"
        y = torch.nn.functional.conv2d(t(a).double(), t(k).double(), t(b).double(), s, pads[:2], groups=gr)
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=s, pads=pads, group=gr, kernel_shape=w[2:])
        save(f"{folder}/{name}", [node], ["x"], "y", {"w": k, "b": b}, dict(x=a, y=y.float().numpy()))
    for name, n in seen.items():
        print(n, name)


def ops(folder):
    """Outputs are recorded with onnxruntime, optimisations off."""
    import onnx, onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    rng = np.random.default_rng(0)
    f32 = lambda *d: rng.standard_normal(d, dtype=np.float32)
    weight = lambda *d: (f32(*d) / np.sqrt(np.prod(d[1:]))).astype(np.float32)

    def one(name, nodes, x, constants={}, opset=17):
        """nodes: (type, inputs, attributes), of which the last gives y; the input is x."""
        made = [helper.make_node(t, i, [f"t{k}" if k < len(nodes) - 1 else "y"], **a) for k, (t, i, a) in enumerate(nodes)]
        kind = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int64"): TensorProto.INT64}[x.dtype]
        graph = helper.make_graph(made, "g", [helper.make_tensor_value_info("x", kind, x.shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                                  [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        y = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        onnx.save(model, f"{folder}/{name}.onnx")
        np.savez(f"{folder}/{name}.npz", in_x=x, out_y=y)

    single = lambda name, op, x, constants={}, opset=17, **a: one(name, [(op, ["x", *constants], a)], x, constants, opset)
    image = f32(1, 64, 56, 56)
    # Convolutions.
    single("conv1d_64x2000_k9", "Conv", f32(1, 64, 2000), dict(w=weight(64, 64, 9)), pads=[4, 4])
    single("conv3d_32x16x28x28_k3", "Conv", f32(1, 32, 16, 28, 28), dict(w=weight(32, 32, 3, 3, 3)), pads=[1] * 6)
    single("conv_group32_256x14", "Conv", f32(1, 256, 14, 14), dict(w=weight(256, 8, 3, 3)), pads=[1] * 4, group=32)
    single("conv_depthwise_144x56", "Conv", f32(1, 144, 56, 56), dict(w=weight(144, 1, 3, 3)), pads=[1] * 4, group=144)
    single("conv_dilated_64x56", "Conv", image, dict(w=weight(64, 64, 3, 3)), pads=[2] * 4, dilations=[2, 2])
    single("convt_64x28_k4s2", "ConvTranspose", f32(1, 64, 28, 28), dict(w=weight(64, 32, 4, 4)), pads=[1] * 4, strides=[2, 2])
    single("convt_64x28_k2s2", "ConvTranspose", f32(1, 64, 28, 28), dict(w=weight(64, 32, 2, 2)), strides=[2, 2])
    one("conv_batch8_64x28", [("Conv", ["x", "w"], dict(pads=[1] * 4))], f32(8, 64, 28, 28), dict(w=weight(64, 64, 3, 3)))
    # Pooling.
    single("maxpool_64x112_k3s2", "MaxPool", f32(1, 64, 112, 112), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    single("avgpool_64x56_k3", "AveragePool", image, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    single("globalavg_512x14", "GlobalAveragePool", f32(1, 512, 14, 14))
    # Norms.
    row, channel = np.ones(768, np.float32) * 1.5, np.ones(64, np.float32) * 0.5
    single("layernorm_512x768", "LayerNormalization", f32(1, 512, 768), dict(s=row, b=row))
    single("instancenorm_64x56", "InstanceNormalization", image, dict(s=channel, b=channel))
    single("groupnorm_64x56", "GroupNormalization", image, dict(s=channel, b=channel), opset=21, num_groups=8)
    single("rmsnorm_512x768", "RMSNormalization", f32(1, 512, 768), dict(s=row), opset=23)
    single("batchnorm_64x56", "BatchNormalization", image, dict(s=channel, b=channel, m=channel, v=channel))
    single("lrn_64x56", "LRN", image, size=5)
    # Softmax and reductions.
    single("softmax_12x128x128", "Softmax", f32(1, 12, 128, 128), axis=-1)
    single("softmax_64x1000", "Softmax", f32(64, 1000), axis=-1)
    single("softmax_channels_21x128x128", "Softmax", f32(1, 21, 128, 128), axis=1)
    single("reducesum_rows_1024x1024", "ReduceSum", f32(1024, 1024), dict(a=np.array([1])), keepdims=0)
    single("reducesum_columns_1024x1024", "ReduceSum", f32(1024, 1024), dict(a=np.array([0])), keepdims=0)
    single("reducemax_spatial_256x28", "ReduceMax", f32(1, 256, 28, 28), opset=17, axes=[2, 3])
    # Element by element.
    for op in ("Exp", "Log", "Tanh", "Sigmoid", "Erf", "Sqrt", "Relu", "HardSwish", "Softplus", "Sin", "Elu", "Floor"):
        x = np.abs(f32(1000, 1000)) + 0.1 if op in ("Log", "Sqrt") else f32(1000, 1000)
        single(f"{op.lower()}_1000x1000", op, x)
    single("gelu_1000x1000", "Gelu", f32(1000, 1000), opset=20)
    one("silu_1000x1000", [("Sigmoid", ["x"], {}), ("Mul", ["x", "t0"], {})], f32(1000, 1000))
    single("add_rows_1000x1000", "Add", f32(1000, 1000), dict(b=f32(1000)))
    single("pow_1000x1000", "Pow", np.abs(f32(1000, 1000)), dict(e=np.float32(2.3)))
    # Moving data.
    single("transpose_1024x1024", "Transpose", f32(1024, 1024), perm=[1, 0])
    single("transpose_heads_512x12x64", "Transpose", f32(1, 512, 12, 64), perm=[0, 2, 1, 3])
    single("transpose_nchw_nhwc_64x56", "Transpose", image, perm=[0, 2, 3, 1])
    single("concat_64x56", "Concat", image, dict(b=f32(1, 32, 56, 56)), axis=1)
    single("pad_64x56", "Pad", image, dict(p=np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    single("slice_64x56", "Slice", image, dict(s=np.array([8, 8]), e=np.array([48, 48]), a=np.array([2, 3])))
    single("resize_linear_64x28_x2", "Resize", f32(1, 64, 28, 28), dict(r=np.array([], np.float32), s=np.array([1, 1, 2, 2], np.float32)), mode="linear")
    single("resize_nearest_64x28_x2", "Resize", f32(1, 64, 28, 28), dict(r=np.array([], np.float32), s=np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    one("gather_embedding_512x768", [("Gather", ["w", "x"], {})], rng.integers(0, 30000, (1, 512)), dict(w=f32(30000, 768)))
    one("gatherelements_512x512", [("GatherElements", ["w", "x"], dict(axis=1))], rng.integers(0, 512, (512, 512)), dict(w=f32(512, 512)))
    single("cumsum_512x512", "CumSum", f32(512, 512), dict(a=np.int64(1)))
    single("lstm_like_gemv_1x1024x4096", "MatMul", f32(1, 1024), dict(w=weight(1024, 4096)))
    single("batchmatmul_12x128x64x128", "MatMul", f32(12, 128, 64), dict(w=f32(12, 64, 128)))


def torch_worker(model, npz, threads):
    import onnx, resource, torch, torch.utils.mkldnn
    from onnx import helper, numpy_helper
    say = lambda **d: print(json.dumps(d), flush=True)
    torch.set_num_threads(int(threads))
    arrays = np.load(npz)
    g = onnx.load(model).graph
    init = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in g.initializer}
    x = torch.from_numpy(arrays[f"in_{g.input[0].name}"])
    node = g.node[0]
    began = time.perf_counter()
    if node.op_type == "MatMul":
        run = lambda: torch.matmul(x, init["b"])
    else:
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        w = init["w"]
        layer = torch.nn.Conv2d(w.shape[1] * at["group"], w.shape[0], list(w.shape[2:]), at["strides"], at["pads"][:2],
                                groups=at["group"])
        layer.weight.data, layer.bias.data = w, init["b"]
        layer = torch.utils.mkldnn.to_mkldnn(layer.eval())
        run = lambda: layer(x.to_mkldnn()).to_dense()
    with torch.no_grad():
        y, ref = run().numpy(), arrays[f"out_{g.output[0].name}"]
        rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(ok=True, err=float(np.abs(y - ref).max() / np.abs(ref).max()), compile_s=time.perf_counter() - began, rss=rss())
        for line in sys.stdin:
            q, ts, start, cpu = json.loads(line), [], time.perf_counter(), time.process_time()
            while len(ts) < q["min"] or time.perf_counter() - start < q["secs"]:
                t = time.perf_counter()
                run()
                ts.append(time.perf_counter() - t)
            say(ts=ts, cpu=time.process_time() - cpu, wall=time.perf_counter() - start, rss=rss())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gemm", folder]:
            os.makedirs(folder, exist_ok=True)
            gemm(folder)
        case ["conv", folder, model]:
            os.makedirs(folder, exist_ok=True)
            conv(folder, model)
        case ["ops", folder]:
            os.makedirs(folder, exist_ok=True)
            ops(folder)
        case ["torch", model, npz, threads]:
            torch_worker(model, npz, threads)
        case _:
            sys.exit(__doc__)
