"""The onnxruntime side and the comparison of tests/bench/infer-vs-onnxruntime.

onnxruntime runs through its Python binding with inputs and outputs bound beforehand. What the binding itself costs is measured with a
network of one Identity node on the same input and is taken off: `ratio` compares what is left, `ratio_with_binding` all of it. The least and
the median time of each round are compared; on a loaded machine the least is the steadier one.
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def identity(features):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", features])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [value("x")], [value("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return session(model.SerializeToString())


def measure(session, batch, features, seconds):
    """Median and least time of an answer, microseconds."""
    x = numpy.random.default_rng(1).random((batch, features), dtype=numpy.float32)
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, x)
    binding.bind_output(session.get_outputs()[0].name)
    end, times = time.perf_counter() + seconds, []
    while time.perf_counter() < end or len(times) < 20:
        started = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times), min(times)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--train", required=True)
    options.add_argument("--model", default="controller/models/rack-power.onnx")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=1.0)
    options.add_argument("--batch", default="1,256")
    o = options.parse_args()
    onnx.checker.check_model(onnx.load(o.model), full_check=True)
    theirs = session(o.model)
    features = theirs.get_inputs()[0].shape[1]
    nothing = identity(features)
    batches = [int(b) for b in o.batch.split(",")]
    rounds = {b: [] for b in batches}
    for _ in range(o.rounds):
        for b in batches:
            command = [o.train, "bench", "inference", "--model", o.model, "--batch", str(b), "--seconds", str(o.seconds)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            ours = json.loads(done.stdout.splitlines()[-1])["results"][0]
            whole, binding = measure(theirs, b, features, o.seconds), measure(nothing, b, features, o.seconds / 4)
            rounds[b].append(((ours["us_median"], ours["us_least"]), whole, binding))
    result = {"bench": "infer-vs-onnxruntime", "model": o.model, "onnxruntime": onnxruntime.__version__}
    for b, seen in rounds.items():
        middle = lambda pick: round(statistics.median(map(pick, seen)), 3)
        result[f"batch_{b}"] = {
            "ratio": middle(lambda r: r[0][1] / (r[1][1] - r[2][1])),
            "ratio_of_medians": middle(lambda r: r[0][0] / (r[1][0] - r[2][0])),
            "ratio_with_binding": middle(lambda r: r[0][1] / r[1][1]),
            "tract_us": middle(lambda r: r[0][1]),
            "onnxruntime_us": middle(lambda r: r[1][1]),
            "binding_us": middle(lambda r: r[2][1]),
        }
    print(json.dumps(result))


main()
