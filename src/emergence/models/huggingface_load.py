"""Reading a causal model in Hugging Face's layout: a folder, or a name on the hub. Weights are safetensors only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.models.huggingface_network import HuggingFaceNetwork
    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

__all__ = ["WeightsFiles", "hub_name", "is_huggingface", "load_huggingface"]

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
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


def load_huggingface(
    name: str, revision: str | None = None
) -> tuple[HuggingFaceNetwork, HuggingFaceTokenizer, WeightsFiles]:
    """Return network, tokenizer and files of the model in the folder ``name``, or of that name on the hub.

    Nothing is unpickled, and no code that comes with a model is run. Weights are read in float32. Raises UserError
    where transformers is missing, nothing is found, or it is no causal model with safetensors.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise UserError(
            "models in Hugging Face's layout need transformers; pip install 'emergence[huggingface]'"
        ) from error
    import torch

    from emergence.models.huggingface_network import HuggingFaceNetwork
    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

    precision = torch.float32
    with _quiet():
        try:
            options = {"revision": revision or "main", "trust_remote_code": False}
            config = AutoConfig.from_pretrained(name, **options)
            files = WeightsFiles.of(Path(name), str(precision)) if Path(name).is_dir() else None
            network = AutoModelForCausalLM.from_pretrained(
                name, config=config, use_safetensors=True, dtype=precision, **options
            )
            network.train(False)
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            files = files or WeightsFiles.of(_downloaded(name, revision), str(precision))
            text = network.config.get_text_config()
            wrapped = HuggingFaceNetwork(network, _shape(network, text, _context(text, tokenizer)))
            return wrapped, HuggingFaceTokenizer(tokenizer), files
        except UserError:
            raise
        except Exception as error:  # what transformers raises depends on what a file holds
            raise UserError(f"cannot load {name}: {_first_line(error)}") from error


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


def _context(text: Any, tokenizer: Any) -> int:
    """Return the most tokens the model sees at once: what it was made for, or what its tokenizer says."""
    for name in ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len"):
        known = getattr(text, name, None)
        if isinstance(known, int) and known > 0:
            return known
    asked = tokenizer.model_max_length
    return int(asked) if asked and asked < 10**9 else UNBOUNDED


def _downloaded(name: str, revision: str | None) -> Path:
    """Return the local folder of a model that was just read from the hub."""
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(name, "config.json", revision=revision or "main"))).parent


@dataclass(frozen=True)
class WeightsFiles:
    """The files that decide the numbers of a model, with their size and time of change when it was loaded."""

    precision: str
    files: tuple[tuple[Path, int, int], ...]

    @classmethod
    def of(cls, folder: Path, precision: str) -> WeightsFiles:
        """Note the configuration and the safetensors of a folder; raises OSError or ValueError where they are not
        there."""
        names = [WEIGHTS]
        if (folder / INDEX).exists():
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        paths = [folder / name for name in ("config.json", *names)]
        stats = [path.stat() for path in paths]
        return cls(precision, tuple((p, s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)))

    def identity(self, digest: Callable[[Path], str]) -> str:
        """Return a SHA-256 for all of them, given that of one file; raise UserError where a file is another by now."""
        parts = [self.precision]
        for path, size, changed in self.files:
            found = digest(path)
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != (size, changed):
                raise UserError(f"{path} has changed since the model was loaded; load it again")
            parts.append(f"{path.name} {found}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing while it loads."""
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
