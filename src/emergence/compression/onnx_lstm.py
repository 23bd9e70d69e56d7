"""The `lstm` network as an ONNX model, operator by operator.

Shapes: B batch, T positions, D width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch

__all__ = ["lstm_model"]


def lstm_model(network: Any, opset: int) -> Any:
    """Return the ONNX model of an LSTM network: ``input_ids`` [B, T] in, ``logits`` [B, T, V] out.

    ONNX has the gates of a layer in the order input, output, forget, cell; torch has input, forget, cell, output.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    D, depth, V = network.config.width, network.config.depth, network.config.vocabulary
    values = {
        "embedding": network.embedding.weight,
        "head": network.embedding.weight.t(),
        "scale": torch.tensor(math.sqrt(D)),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["vectors"]),
        helper.make_node("Mul", ["vectors", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["x0"], perm=[1, 0, 2]),  # [T, B, D], as the operator reads
    ]
    for layer in range(depth):
        weights = {name: getattr(network.layers, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")}
        biases = [getattr(network.layers, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
        values |= {f"{name}{layer}": _gates(weight)[None] for name, weight in weights.items()}
        values[f"bias{layer}"] = torch.cat([_gates(bias) for bias in biases])[None]
        read = [f"x{layer}", f"weight_ih{layer}", f"weight_hh{layer}", f"bias{layer}"]
        nodes += [
            helper.make_node("LSTM", read, [f"y{layer}"], hidden_size=D),  # [T, directions, B, D]
            helper.make_node("Squeeze", [f"y{layer}", "direction"], [f"x{layer + 1}"]),
        ]
    nodes += [
        helper.make_node("Transpose", [f"x{depth}"], ["states"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["states", "head"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(value.detach().contiguous().numpy(), name) for name, value in values.items()]
    constants.append(numpy_helper.from_array(torch.tensor([1]).numpy(), "direction"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", V])
    graph = helper.make_graph(nodes, "lstm", [ids], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    checker.check_model(model)
    return model


def _gates(weight: torch.Tensor) -> torch.Tensor:
    """Return the rows of a weight or bias [4 D, ...] in ONNX's order of gates."""
    into, forget, cell, out = weight.chunk(4)
    return torch.cat((into, out, forget, cell))
