"""Where a network can be adapted: its matrices, and the modules that write to its residual stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from emergence.core.errors import UserError, nearest
from emergence.models import bert_network, gpt_network, seq2seq_network
from emergence.models.trunk import depth_of, module_of

__all__ = ["Site", "choose", "matrices", "writers"]

#: Fused products that transformers keeps apart, by the module that holds them, and the names of their parts.
FUSED: dict[tuple[type[nn.Module], str], tuple[str, ...]] = {
    (gpt_network.Attention, "qkv"): ("q", "k", "v"),
    (bert_network.Block, "qkv"): ("q", "k", "v"),
    (seq2seq_network.SelfAttention, "qkv"): ("q", "k", "v"),
    (seq2seq_network.CrossAttention, "key_value"): ("k", "v"),
}

#: Last parts of the names of modules whose output is added to the residual stream; `dense` is one in some modules.
WRITERS = {"out", "down"}  # our own
WRITERS |= {"o_proj", "down_proj", "out_proj", "c_proj", "fc2", "dense_4h_to_h", "o", "wo", "out_lin", "lin2"}
WRITES_DENSE = {"attention", "self_attention", "self_attn", "output"}


@dataclass(frozen=True)
class Site:
    """One matrix: ``attribute`` of ``module``, [rows, columns], or turned [columns, rows] in GPT-2 of transformers.

    A fused product has several ``parts`` of equally many rows; ``chosen`` are those that are adapted.
    """

    name: str
    module: nn.Module
    attribute: str
    rows: int
    columns: int
    turned: bool = False
    parts: tuple[str, ...] = ("",)
    chosen: tuple[int, ...] = (0,)

    @property
    def in_blocks(self) -> bool:
        """Whether it belongs to a block, not to a table or what follows the last block."""
        parameter = self.name if self.name.endswith(self.attribute) else f"{self.name}.{self.attribute}"
        return depth_of(parameter) not in (None, 0)


def matrices(network: Any) -> list[Site]:
    """Return every matrix of a product of a network, tables apart, in the order of its modules."""
    found: list[Site] = []
    module = module_of(network)
    modules = dict(module.named_modules())
    for name, part in modules.items():
        above, _, last = name.rpartition(".")
        if isinstance(part, nn.LSTM):
            for weight, value in part.named_parameters():
                if value.dim() == 2:
                    found.append(Site(f"{name}.{weight}", part, weight, *value.shape))
        elif _is_turned(part):
            found.append(Site(name, part, "weight", part.weight.shape[1], part.weight.shape[0], turned=True))
        elif isinstance(part, nn.Linear | gpt_network.Matrix):
            parts = FUSED.get((type(modules[above]), last), ("",))
            rows, columns = part.weight.shape
            found.append(Site(name, part, "weight", rows, columns, parts=parts, chosen=tuple(range(len(parts)))))
    return found


def _is_turned(module: nn.Module) -> bool:
    """Say whether a module is the Conv1D of transformers, without importing that."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def choose(network: Any, targets: Iterable[str] | str) -> list[Site]:
    """Return the matrices that are to be adapted: those of the blocks (`auto`), or those whose name ends in a target.

    A part of a fused product is named as the product, with the part as its last name: ``q`` for ``qkv``. Raises
    UserError for a target that is no matrix here, and for a table that is the output head too.
    """
    known = matrices(network)
    if isinstance(targets, str):
        chosen = [site for site in known if site.in_blocks]
        if not chosen:
            raise UserError(
                "this model has no matrices in blocks to adapt; models of the families gpt, gpt2, lstm, mamba, bert, "
                "seq2seq, vae, and those in Hugging Face's layout, have"
            )
        return chosen
    asked: dict[str, set[int]] = {}
    for target in targets:
        named = [(site.name, part) for site in known for part in _matching(site, target)]
        if not named:
            names = {site.name.rpartition(".")[2] for site in known} | {p for s in known for p in s.parts if p}
            raise UserError(
                f"no matrix of this model is called '{target}'{nearest(target, names)} (there are: "
                f"{', '.join(sorted(names))})"
            )
        for name, part in named:
            asked.setdefault(name, set()).add(part)
    module = module_of(network)
    tied = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    picked = []
    for site in known:
        if site.name in asked:
            if id(getattr(site.module, site.attribute)) in tied:
                raise UserError(f"{site.name} is the table of the embeddings too; leave it out of the targets")
            picked.append(_only(site, tuple(sorted(asked[site.name]))))
    return picked


def _matching(site: Site, target: str) -> Iterator[int]:
    """Yield the parts of a matrix that a target names."""
    if f".{site.name}".endswith(f".{target}"):
        yield from range(len(site.parts))
        return
    above = site.name.rpartition(".")[0]
    for index, part in enumerate(site.parts):
        if part and f".{above}.{part}".endswith(f".{target}"):
            yield index


def _only(site: Site, chosen: tuple[int, ...]) -> Site:
    return Site(site.name, site.module, site.attribute, site.rows, site.columns, site.turned, site.parts, chosen)


def writers(network: Any) -> list[tuple[str, nn.Module, int]]:
    """Return the modules that write to the residual stream, with their names and the width of what they write.

    Of a recurrent network that torch runs as one it is the whole of it. Raises UserError where none is known.
    """
    found: list[tuple[str, nn.Module, int]] = []
    for site in matrices(network):
        if isinstance(site.module, nn.LSTM):
            name = site.name.rpartition(".")[0]
            if all(name != known for known, _, _ in found):
                found.append((name, site.module, site.module.hidden_size))
            continue
        above, _, last = site.name.rpartition(".")
        writes = last in WRITERS or (last == "dense" and above.rpartition(".")[2] in WRITES_DENSE)
        if writes and site.in_blocks:
            found.append((site.name, site.module, site.rows))
    if not found:
        raise UserError(
            "where this model writes to its residual stream is not known, so that it cannot have bottleneck adapters; "
            "use lora, which works on any matrix"
        )
    return found
