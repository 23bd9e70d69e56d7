"""Smaller models: matrices pruned or quantised, stored packed, run by integer kernels, and written as ONNX."""

__all__ = ["COMPRESSIBLE"]

#: Own families whose networks multiply with matrices.
COMPRESSIBLE = ("gpt", "gpt2", "lstm", "mamba", "bert", "seq2seq", "vae")
