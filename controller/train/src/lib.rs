//! The training module: data set, split, networks, fit, evaluation, export to ONNX.
