"""Smaller models: matrices pruned or quantised, stored packed, run by integer kernels, and written as ONNX."""
