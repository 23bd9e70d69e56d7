"""Reading a model in Hugging Face's layout, causal, masked or encoder-decoder: a folder, or a name on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError

if TYPE_CHECKING:
    import torch

    from emergence.models.huggingface_masked import HuggingFaceMasked
    from emergence.models.huggingface_network import HuggingFaceNetwork
    from emergence.models.huggingface_pairs import HuggingFacePairs
    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

__all__ = ["fetch", "hub_name", "is_huggingface", "load_huggingface", "pickled", "quiet", "with_weights"]

UNBOUNDED = 2048  # tokens at once where a network knows no bound, as a recurrent one


def is_huggingface(folder: Path) -> bool:
    """Say whether a folder is in Hugging Face's layout."""
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "model_type" in document


def hub_name(name: str) -> bool:
    """Say whether a name can be one of the hub's, ``owner/name``, and does not lie in a folder that is there."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name)) and not Path(name).parent.is_dir()


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the local folder with the safetensors, the configuration and the tokenizer of a model on the hub, which is
    downloaded unless it was before; raise UserError where it cannot be."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError("models on the hub need transformers; pip install 'emergence[huggingface]'") from error
    patterns = ["*.safetensors", "*.json", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(name, revision=revision or "main", allow_patterns=patterns))
    except Exception as error:  # what the hub's library raises depends on what goes wrong
        raise UserError(_complaint(name, revision, error)) from error


def pickled(folder: Path) -> bool:
    """Say whether a folder holds weights as pickle files alone."""
    return any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors"))


def load_huggingface(
    name: str,
    revision: str | None = None,
    *,
    allow_pickle: bool = False,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> tuple[HuggingFaceNetwork | HuggingFaceMasked | HuggingFacePairs, HuggingFaceTokenizer, Path]:
    """Return network, tokenizer and folder of the model in the folder ``name``, or of that name on the hub.

    Weights are read in float32 from safetensors; with ``allow_pickle`` also from pickle files, of which tensors alone
    are unpickled. No code that comes with a model is run. ``weights`` by name take the place of those in the files.
    Raises UserError where transformers is missing, nothing is found, or it is no causal, masked or encoder-decoder
    model with such weights.
    """
    try:
        from transformers import (
            AutoConfig,
            AutoModelForCausalLM,
            AutoModelForMaskedLM,
            AutoModelForSeq2SeqLM,
            AutoTokenizer,
        )
    except ImportError as error:
        raise UserError(
            "models in Hugging Face's layout need transformers; pip install 'emergence[huggingface]'"
        ) from error
    import torch

    from emergence.models.huggingface_masked import HuggingFaceMasked
    from emergence.models.huggingface_network import HuggingFaceNetwork
    from emergence.models.huggingface_pairs import HuggingFacePairs
    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

    kind: Any
    if pickled(Path(name)) and not allow_pickle:
        raise UserError(
            f"{name} holds its weights as pickle files alone, which can run code when they are read; convert them to "
            "safetensors, or read nothing but their tensors with --allow-pickle"
        )
    precision = torch.float32
    with quiet():
        try:
            options = {"revision": revision or "main", "trust_remote_code": False}
            config = AutoConfig.from_pretrained(name, **options)
            masked, pairs = _is_masked(config), bool(config.is_encoder_decoder)
            kind = AutoModelForSeq2SeqLM if pairs else AutoModelForMaskedLM if masked else AutoModelForCausalLM
            if weights is not None:
                with torch.random.fork_rng():  # which draws weights first
                    network = with_weights(kind.from_config(config, dtype=precision), weights)
            else:
                network = kind.from_pretrained(
                    name,
                    config=config,
                    use_safetensors=None if allow_pickle else True,
                    weights_only=True,
                    dtype=precision,
                    **options,
                )
            network.train(False)
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            folder = Path(name) if Path(name).is_dir() else _downloaded(name, revision)
            text = network.config.get_text_config()
            _check_tokenizer(name, tokenizer, int(text.vocab_size))
            shape = _shape(network, text, _context(text, tokenizer, masked=masked))
            own = HuggingFaceTokenizer(tokenizer, masked=masked, whole=pairs)
            if pairs:
                return HuggingFacePairs(network, shape, own), own, folder
            if masked:
                assert own.mask_id is not None
                return HuggingFaceMasked(network, shape, own.mask_id), own, folder
            return HuggingFaceNetwork(network, shape), own, folder
        except UserError:
            raise
        except Exception as error:  # what transformers raises depends on what a file holds
            raise UserError(_complaint(name, revision, error)) from error


def with_weights(network: Any, weights: Mapping[str, torch.Tensor]) -> Any:
    """Return the network with these weights; raise UserError where they are not all of its own. Tied ones are there
    once."""
    missing, unexpected = network.load_state_dict(weights, strict=False)
    state = network.state_dict()
    given = {state[name].data_ptr() for name in weights if name in state}
    missing = [name for name in missing if state[name].data_ptr() not in given]
    if missing or unexpected:
        raise UserError(f"the weights are not those of its config.json: {', '.join([*missing, *unexpected][:3])}")
    return network


def _is_masked(config: Any) -> bool:
    """Say whether a model was made to fill masks: a class for causal models may take its weights too."""
    named = config.architectures or []
    return any(name.endswith("ForMaskedLM") or name == "BertForPreTraining" for name in named)


def _check_tokenizer(name: str, tokenizer: Any, vocabulary: int) -> None:
    """Raise UserError for a tokenizer that writes nothing, or more than the model knows."""
    if not tokenizer("a 1", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{name} holds no tokenizer that writes text; put its tokenizer.json beside the weights")
    known = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))
    if known > vocabulary:
        raise UserError(
            f"{name}: its tokenizer has {known:,} tokens, but its network knows {vocabulary:,}; "
            "one of them belongs to another model"
        )


def _shape(network: Any, text: Any, context: int) -> Any:
    """Return the shape of a network; parameters that are shared are counted once."""
    import torch

    from emergence.models.huggingface_network import HuggingFaceConfig

    head = network.get_output_embeddings()
    tables = {id(m.weight): m.weight.numel() for m in network.modules() if isinstance(m, torch.nn.Embedding)}
    if head is not None:
        tables |= {id(parameter): parameter.numel() for parameter in head.parameters()}
    every = {id(parameter): parameter.numel() for parameter in network.parameters()}
    parameters = sum(every.values())
    return HuggingFaceConfig(
        family=text.model_type,
        vocabulary=int(text.vocab_size),
        context=context,
        parameters=parameters,
        non_embedding_parameters=parameters - sum(size for key, size in tables.items() if key in every),
    )


def _context(text: Any, tokenizer: Any, *, masked: bool) -> int:
    """Return the most tokens the model sees at once: what it was made for, or what its tokenizer says.

    Of a masked model that is the less of the two: RoBERTa's positions begin with two that no token has.
    """
    asked = tokenizer.model_max_length
    most = int(asked) if asked and asked < 10**9 else None
    for name in ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len"):
        known = getattr(text, name, None)
        if isinstance(known, int) and known > 0:
            return min(known, most) if masked and most else known
    return most or UNBOUNDED


def _downloaded(name: str, revision: str | None) -> Path:
    """Return the local folder of a model that was just read from the hub."""
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(name, "config.json", revision=revision or "main"))).parent


def _complaint(name: str, revision: str | None, error: Exception) -> str:
    """Say that a model cannot be loaded, why, and, of one on the hub, what can be done."""
    if Path(name).is_dir():
        return f"cannot load {name}: {_first_line(error)}"
    at = "" if revision is None else f" at revision {revision}"
    return (
        f"cannot load {name}{at}: {_first_line(error).rstrip('.')}; look the name and its revisions up at "
        f"https://huggingface.co/{name}, or load it once while the hub can be reached: it is kept from then on"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing while it loads or writes."""
    from transformers.utils import logging as logs

    logging: Any = logs
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
