"""Writing a model as ONNX: token ids in, logits out, batch and length left open.

Families that transformers has are written through its layers, whose operations exporters know; an LSTM, whose lengths
exporters fix, is written operator by operator.

Shapes: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emergence.compression.onnx_lstm import lstm_model
from emergence.core.errors import UserError
from emergence.core.store import write_bytes, write_json
from emergence.models.exported import check_new
from emergence.models.huggingface_layouts import LAYOUTS
from emergence.text import Tokenizer

__all__ = ["export_onnx"]

OPSET = 20
TOLERANCE = 1e-5  # of the largest logit
ABLE = "gpt, gpt2, bert and lstm, and causal and masked models in Hugging Face's layout"


def export_onnx(network: Any, tokenizer: Any, folder: Path, *, family: str) -> Path:
    """Write ``model.onnx`` and the tokenizer to ``folder`` and return that.

    The model reads ``input_ids`` [B, T] (int64) and gives ``logits`` [B, T, V]; T goes up to the context. It is run
    before it is written: its logits are the network's, to 1e-5 of the largest. Raises UserError for a family that
    cannot be written so, where the libraries are missing, and when the folder holds something.
    """
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise UserError("writing ONNX needs onnx, onnxscript and onnxruntime; pip install 'emergence[onnx]'")
    check_new(folder)
    own = isinstance(tokenizer, Tokenizer)
    if own and family == "lstm":
        program: Any = lstm_model(network, OPSET)
    elif own and family in LAYOUTS and family != "mamba":
        program = _traced(_as_transformers(network, family), network.config.context)
    elif not own and network.reads in ("causal", "masked"):
        program = _traced(network, network.config.context)
    else:
        raise UserError(f"models of the family {family} cannot be written as ONNX; those that can are {ABLE}")
    content = program.SerializeToString()
    _check(network, content)
    try:
        write_bytes(folder / "model.onnx", content)
        if own:
            tokenizer.save(folder / "tokenizer.json")
        else:
            tokenizer.save(folder)
        about = {"context": network.config.context, "begin_id": tokenizer.begin_id, "end_id": tokenizer.end_id}
        if network.reads == "masked":
            about["mask_id"] = network.mask_id
        write_json(folder / "model.json", {"family": family, "reads": network.reads, **about})
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder


def _as_transformers(network: Any, family: str) -> Any:
    """Return a network of transformers with the weights of ours."""
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
    except ImportError as error:
        raise UserError(
            "writing ONNX of this family needs transformers; pip install 'emergence[huggingface]'"
        ) from error

    from emergence.models.huggingface_load import with_weights
    from emergence.models.huggingface_masked import HuggingFaceMasked
    from emergence.models.huggingface_network import HuggingFaceConfig, HuggingFaceNetwork

    layout, config = LAYOUTS[family], network.config
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    document = {"vocab_size": config.vocabulary, **layout.document(config), **ends}
    kind: Any = AutoModelForMaskedLM if layout.masked else AutoModelForCausalLM
    with torch.random.fork_rng():  # the weights that are drawn first are not those it keeps
        other = kind.from_config(AutoConfig.for_model(layout.model_type, **document), dtype=torch.float32)
    other = with_weights(other, {name: weight.contiguous() for name, weight in layout.weights(network).items()})
    sizes = config.parameters, config.non_embedding_parameters
    shape = HuggingFaceConfig(layout.model_type, config.vocabulary, config.context, *sizes)
    if layout.masked:
        return HuggingFaceMasked(other.eval(), shape, network.mask_id)
    return HuggingFaceNetwork(other.eval(), shape)


class _Logits(nn.Module):
    """A network as the module that an exporter asks for."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.inner = network.module
        self._network = network

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, T, V]."""
        logits: torch.Tensor = self._network(input_ids)
        return logits


def _traced(network: Any, context: int) -> Any:
    """Return the ONNX model of a network of transformers; raise UserError where torch cannot write its operations."""
    ids_BT = torch.arange(6).view(2, 3) % network.config.vocabulary
    open_sizes = {"input_ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=context)}}
    names: dict[str, Any] = {"input_names": ["input_ids"], "output_names": ["logits"], "opset_version": OPSET}
    try:
        with _quiet(), torch.no_grad():
            traced = torch.export.export(_Logits(network), (ids_BT,), dynamic_shapes=open_sizes, strict=False)
            program = torch.onnx.export(traced, dynamo=True, verbose=False, **names)
        assert program is not None
        return _named(program.model_proto)
    except Exception as error:  # what an exporter raises depends on what a network is made of
        reason = str(error).strip().splitlines()
        raise UserError(
            f"torch cannot write this {network.config.family} model as ONNX: {reason[0] if reason else error!r}; "
            f"families that can be written are {ABLE}"
        ) from error


def _named(model: Any) -> Any:
    """Call the open sizes of a model batch and length; torch names them by number."""
    shape = model.graph.input[0].type.tensor_type.shape.dim
    names = {shape[0].dim_param: "batch", shape[1].dim_param: "length"}
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]
    return model


def _check(network: Any, content: bytes) -> None:
    """Raise UserError where onnxruntime does not get the network's logits from a model, at two shapes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for B, T in ((1, 1), (3, min(network.config.context, 9))):
        ids_BT = torch.arange(B * T).view(B, T) % network.config.vocabulary
        with torch.no_grad():
            expected = network(ids_BT)
        found = torch.from_numpy(session.run(["logits"], {"input_ids": ids_BT.numpy()})[0])
        if found.shape != expected.shape or float((found - expected).abs().max()) > TOLERANCE * float(
            expected.abs().max()
        ):
            raise UserError(
                "onnxruntime does not get this model's logits from what torch wrote, so that nothing is kept; families "
                f"that can be written are {ABLE}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling of libraries that it does not need, and of its own old calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
