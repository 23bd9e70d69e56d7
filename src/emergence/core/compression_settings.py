"""How a model is compressed: one way (`Compression`), and the ways that a study tries (`CompressionSettings`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from emergence.core.errors import UserError
from emergence.core.faults import first_fault
from emergence.core.schema import Frozen

__all__ = ["METHODS", "Compression", "CompressionSettings", "Method", "compression"]

Method = Literal[
    "magnitude",
    "magnitude-row",
    "magnitude-2:4",
    "magnitude-4:8",
    "wanda",
    "wanda-2:4",
    "wanda-4:8",
    "quantised",
]
METHODS: tuple[Method, ...] = get_args(Method)
BITS = (8, 4, 3, 2)
GROUPS = (32, 64, 128)


class Compression(Frozen):
    """One way to compress a model. Pruning sets a share of every matrix (``sparsity``) to zero; quantising keeps
    ``bits`` of every weight.

    ``magnitude`` drops the smallest weights of each matrix, ``magnitude-row`` those of each output row, ``wanda`` those
    that matter least to what calibration rows put in; ``-2:4`` keeps two of every four neighbours. Quantised weights
    share a step (and with ``zero_point`` an offset) per output row, or per ``group`` of its inputs; ``embeddings`` says
    whether token tables and output heads are quantised too.
    """

    method: Method
    sparsity: float | None = None
    bits: int | None = None
    group: int | None = None
    zero_point: bool = False
    embeddings: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Compression:
        if self.method == "quantised":
            if self.sparsity is not None:
                raise ValueError("a quantised model has no sparsity; give bits, or choose a method that prunes")
            if self.bits not in BITS:
                raise ValueError(f"bits is {self.bits}; weights are kept in 8, 4, 3 or 2 bits")
            if self.group is not None and self.group not in GROUPS:
                raise ValueError(f"group is {self.group}; choose 32, 64 or 128, or none for one step per output row")
            return self
        for name, given in (("bits", self.bits), ("group", self.group)):
            if given is not None:
                raise ValueError(f"{name} belongs to the method quantised; {self.method} takes a sparsity")
        if self.zero_point or self.embeddings:
            raise ValueError(f"zero_point and embeddings belong to the method quantised, not to {self.method}")
        if self.pattern is not None:
            if self.sparsity not in (None, 0.5):
                raise ValueError(f"{self.method} keeps half of the weights; leave out sparsity {self.sparsity:g}")
        elif self.sparsity is None:
            raise ValueError(f"{self.method} needs a sparsity: the share of weights to set to zero, for example 0.5")
        elif not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity is {self.sparsity:g}; it is a share of the weights, above 0 and below 1")
        return self

    @property
    def pattern(self) -> tuple[int, int] | None:
        """How many of how many neighbours are kept, of a method that says so."""
        _, _, pattern = self.method.partition("-")
        kept, _, of = pattern.partition(":")
        return (int(kept), int(of)) if of else None

    @property
    def share(self) -> float:
        """The share of the weights that pruning sets to zero."""
        return 0.5 if self.pattern else self.sparsity or 0.0

    @property
    def calibrated(self) -> bool:
        """Whether it asks what goes into every matrix."""
        return self.method.startswith("wanda")

    @property
    def level(self) -> str:
        """How far it goes, in a word: the sparsity, or the number of bits."""
        return f"{self.bits} bits" if self.bits is not None else f"{self.share:g}"


def compression(**values: Any) -> Compression:
    """Return the way that ``values`` describe; raise UserError for one that cannot be."""
    try:
        return Compression.model_validate(values)
    except ValidationError as error:
        fault = first_fault(error)
        if fault.path == ("method",):
            raise UserError(f"unknown method {fault.given!r} (known: {', '.join(METHODS)})") from None
        raise UserError(fault.sentence) from None


class CompressionSettings(Frozen):
    """How the trained models of a study are compressed: every pruning method at every sparsity, and ``quantised`` at
    every number of bits.

    ``rows`` of the training data are what ``wanda`` is calibrated on.
    """

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("magnitude", "wanda", "quantised")
    sparsities: tuple[float, ...] = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9)
    bits: tuple[int, ...] = (8, 4, 3, 2)
    group: int | None = None
    zero_point: bool = False
    embeddings: bool = False
    rows: Annotated[int, Field(ge=1, le=4096)] = 128

    @model_validator(mode="after")
    def _each_possible(self) -> CompressionSettings:
        for name, values in (("methods", self.methods), ("sparsities", self.sparsities), ("bits", self.bits)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one twice; keep one")
        try:
            if not self.levels:
                raise ValueError("there is no level to compress to; give sparsities, or bits for quantised")
        except ValidationError as error:
            raise ValueError(first_fault(error).says) from None
        return self

    @property
    def calibrated(self) -> bool:
        """Whether a method asks what goes into every matrix."""
        return any(how.calibrated for how in self.levels)

    @property
    def levels(self) -> tuple[Compression, ...]:
        """Every way in which a model is compressed."""
        found: list[Compression] = []
        for method in self.methods:
            if method == "quantised":
                shared: dict[str, Any] = {"group": self.group, "zero_point": self.zero_point}
                shared["embeddings"] = self.embeddings
                found += [Compression(method=method, bits=bits, **shared) for bits in self.bits]
            elif ":" in method:
                found.append(Compression(method=method))
            else:
                found += [Compression(method=method, sparsity=share) for share in self.sparsities]
        return tuple(found)
