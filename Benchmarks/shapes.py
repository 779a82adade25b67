#!/usr/bin/env python3
"""Models of one operator, for comparing kernels with those of peers turn by turn.

    shapes.py gemm DIR                 matrix products: sizes 512 to 4096, those of BERT, skinny ones; constant weight
    shapes.py conv DIR MODEL.onnx      one convolution with bias for each distinct one of a model (resnet50: 20)
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


def torch_worker(model, npz, threads):
    import onnx, resource, torch
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
        case ["torch", model, npz, threads]:
            torch_worker(model, npz, threads)
        case _:
            sys.exit(__doc__)
