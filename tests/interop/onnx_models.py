"""Lets onnx's checker and onnxruntime judge an exported model: onnx_models.py MODEL PROBES.

PROBES is the trainer's probes.json: inputs with the trainer's own answers. Says as JSON whether the checker accepts the model, by how much
onnxruntime differs from the trainer at most, one window at a time and all at once, and by how much a model with one number of each
weight matrix moved by 0.01 would have differed.
"""

import json
import sys

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
windows = json.load(open(sys.argv[2], encoding="utf-8"))["windows"]
features = numpy.array([w["features"] for w in windows], dtype=numpy.float32)
answers = numpy.array([w["answer"] for w in windows], dtype=numpy.float32)


def difference(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: features[rows]})[0]
    return float(numpy.abs(found.reshape(-1, answers.shape[1]) - answers[rows]).max())


moved = onnx.ModelProto()
moved.CopyFrom(model)
for constant in moved.graph.initializer:
    if len(constant.dims) == 2 and min(constant.dims) > 1:
        values = numpy_helper.to_array(constant).copy()
        values.flat[values.size // 2] += 0.01
        constant.CopyFrom(numpy_helper.from_array(values, constant.name))

print(
    json.dumps(
        {
            "windows": len(windows),
            "outputs": answers.shape[1],
            "opset": model.opset_import[0].version,
            "one_by_one": max(difference(model, slice(i, i + 1)) for i in range(len(windows))),
            "together": difference(model, slice(None)),
            "moved": difference(moved, slice(None)),
        }
    )
)
