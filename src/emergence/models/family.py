"""What a model family is: sizes without torch, and a network that is built only where it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from emergence.core.catalogue import Catalogue

if TYPE_CHECKING:
    import torch

    from emergence.models.cache import Tree

__all__ = ["FAMILIES", "Cache", "Family", "LanguageModel", "ModelConfig", "Network", "Reads", "Vary", "build_network"]

Vary = Literal["both", "width", "depth"]
Reads = Literal["causal", "latent", "masked", "pairs"]  # how a network has to be asked


class ModelConfig(Protocol):
    """The shape of one model. Counts are exact for the network that is built from it."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    def context(self) -> int:
        """Most tokens the model sees at once."""

    @property
    def width(self) -> int:
        """Width of the residual stream, the dial that learning rates are transferred along."""

    @property
    def depth(self) -> int:
        """Number of blocks or layers above one another."""

    @property
    def activations(self) -> float:
        """Numbers that a training step keeps for each token, about: what its memory is estimated from."""

    @property
    def non_embedding_parameters(self) -> int:
        """Trainable parameters without the input and output embeddings."""

    @property
    def parameters(self) -> int:
        """All trainable parameters."""

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens in sequences of ``length``.

        The output head works at ``predicted`` positions, by default at all of them.
        """

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""


class Cache(Protocol):
    """What a network has read of some rows, so that reading goes on from there."""

    def trim(self, lengths_B: torch.Tensor) -> None:
        """Of each row keep the first so many tokens; the rest was padding. Asked of maskable networks only."""

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the given rows, in that order; the memory of the others stays for rows to come."""

    def append(self, other: Any) -> None:
        """Take over the rows of another cache of this network with the same prefix, behind the own."""


class Network(Protocol):
    """Whatever can be evaluated. How it is asked depends on what it ``reads`` (`evaluation.engine.READERS`)."""

    reads: Reads
    config: Any  # ``vocabulary``, the number of token ids, and ``context``, the most tokens seen at once

    @property
    def device(self) -> torch.device:
        """Where token ids have to be, and where logits are."""

    def fingerprint(self) -> str:
        """Return what differs between networks that answer differently; asked where answers are kept."""


class LanguageModel(Network, Protocol):
    """A causal network: token ids in, next-token logits out. Generation asks nothing else of one."""

    @property
    def maskable(self) -> bool:
        """Whether tokens can be hidden from others: rows may then branch (``tree``), and be trimmed.

        Where it is false (a recurrent network) every row is one sequence, and rows that go on are equally long.
        """

    @property
    def position_bytes(self) -> int:
        """Memory of one position of one sequence in a cache; 0 where it does not grow."""

    def __call__(self, ids_BT: torch.Tensor, cache: Any = None, select: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits [B, T, V], or [M, V] at the M flat positions ``select``; with a cache the ids continue it."""

    def new_cache(self, batch: int, length: int, *, prefix: Any = None, tree: Tree | None = None) -> Any:
        """Return an empty `Cache` for ``batch`` rows of at most ``length`` tokens.

        The rows continue ``prefix``, the cache of a single row, which is left as it is. ``tree`` says how the tokens of
        the one pass that the cache serves branch; ``length`` 0 says that nothing continues what is read.
        """


@dataclass(frozen=True)
class Family:
    """A function from a size to a network: `size` needs no torch, ``network`` names the module to import late.

    A ``stackable`` network also takes the parameters and the token ids of S replicas (`training/stack.py`). ``learner``
    and ``objective`` are names in `training.learners` and `training.objectives`. ``training_passes`` is what a training
    token costs, in forward passes, and ``predicted_share`` at how many of the supervised positions of a text it is
    predicted from. ``rate`` is the family's learning rate as a multiple of that of `gpt` at the same width. A family
    that cannot do every task names the ``tasks`` it can do; where nothing can be drawn from its networks at random it
    is not ``sampled``, and where they cannot be trained on running text it does not read a ``corpus``. ``own_loss``
    says what the validation loss is where it is not that of the next token: such a family has no place on the axis of
    loss beside others.

    A family that is not ``sized`` has one rung, on no axis but that of tokens: a line to compare the others with.
    ``informed(config, spellings, tasks)`` returns the configuration that knows more of a study than numbers: the bytes
    of text behind every token id (none: a special token) and the options of every generated task. ``embedding`` names
    the parameter [V, D] that holds the vectors of the tokens a network reads, where it has them.
    """

    name: str
    size: Callable[[float, int, int, Vary], Any]  # parameters, vocabulary, context, vary -> ModelConfig
    config_from: Callable[[dict[str, Any]], Any]
    network: str  # "package.module:Class", called as Class(config, generator)
    stackable: bool = False
    learner: str = "gradient"
    objective: str = "next_token"
    training_passes: float = 3.0  # a backward pass costs twice a forward one
    predicted_share: float = 1.0
    rate: float = 1.0
    tasks: tuple[str, ...] | None = None
    sampled: bool = True
    corpus: bool = True
    sized: bool = True
    informed: Callable[[Any, Sequence[bytes], Mapping[str, Mapping[str, Any]]], Any] | None = None
    embedding: str | None = None
    own_loss: str | None = None


FAMILIES: Catalogue[Family] = Catalogue("family")
FAMILIES.add("gat", "emergence.models.gnn:GAT", "message passing on graphs, neighbours weighted by attention")
FAMILIES.add("gcn", "emergence.models.gnn:GCN", "message passing on graphs by graph convolutions")
FAMILIES.add("gnn", "emergence.models.gnn:GNN", "message passing on graphs, the mean of the neighbours")
FAMILIES.add("gpt", "emergence.models.gpt:GPT", "decoder-only Transformer with the weights of LlamaForCausalLM")
FAMILIES.add("gpt2", "emergence.models.gpt2:GPT2", "GPT-2's decoder: learned positions, LayerNorm, GELU, tied output")
FAMILIES.add("lstm", "emergence.models.lstm:LSTM", "stacked long short-term memory with a tied output")
FAMILIES.add(
    "seq2seq", "emergence.models.seq2seq:SEQ2SEQ", "encoder-decoder Transformer, trained on pairs or on hidden spans"
)
FAMILIES.add("mamba", "emergence.models.mamba:MAMBA", "selective state-space layers, a recurrence linear in time")
FAMILIES.add("bert", "emergence.models.bert:BERT", "bidirectional encoder with the weights of BertForMaskedLM")
FAMILIES.add("rules", "emergence.models.rules:RULES", "exact rules for the generated tasks: what needs no learning")
FAMILIES.add("word2vec", "emergence.models.word2vec:WORD2VEC", "word vectors by skip-gram with negative sampling")
FAMILIES.add("ngram", "emergence.models.ngram:NGRAM", "counts of n-grams with Kneser-Ney smoothing, in NumPy")
FAMILIES.add("numpy", "emergence.models.by_hand:BY_HAND", "one hidden layer over the last tokens, by hand in NumPy")
FAMILIES.add("vae", "emergence.models.vae:VAE", "variational sentence model: Transformer encoder, latent, decoder")


def build_network(family: str, config: ModelConfig, generator: torch.Generator) -> Any:
    """Build the network of ``config`` with initial weights drawn from ``generator``."""
    module, _, attribute = FAMILIES.load(family).network.partition(":")
    return getattr(importlib.import_module(module), attribute)(config, generator)


def ladder(family: str, sizes: Sequence[float], *, vocabulary: int, context: int, vary: Vary = "both") -> list[Any]:
    """Return one configuration per asked non-embedding parameter count, or the only one of a family without sizes;
    raise UserError where a size is out of reach."""
    found = FAMILIES.load(family)
    return [found.size(parameters, vocabulary, context, vary) for parameters in (sizes if found.sized else sizes[:1])]
