"""How a trained model is adapted with few parameters of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from emergence.core.schema import Frozen

__all__ = ["AdaLoRASettings", "AdapterSettings", "BottleneckSettings", "LoRASettings", "PrefixSettings"]

Rank = Annotated[int, Field(ge=1, le=4096)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _WeightSettings(Frozen):
    """Which matrices get a product of two thin ones beside them, times ``alpha`` over the rank.

    ``targets`` are names of matrices, or the last parts of names; ``auto`` is every matrix of the blocks, without
    tables and output head.
    """

    alpha: Annotated[float, Field(gt=0)] = 16.0
    targets: tuple[str, ...] | Literal["auto"] = "auto"

    @field_validator("targets")
    @classmethod
    def _named(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if not value:
            raise ValueError("no matrix is named; list some, or leave targets: auto")
        return value


class LoRASettings(_WeightSettings):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685). A fused product counts as its parts, each of that rank,
    wherever transformers keeps them apart."""

    method: Literal["lora"] = "lora"
    rank: Rank = 8


class AdaLoRASettings(_WeightSettings):
    """LoRA in the form of a singular value decomposition, whose singular values are given to the matrices that need
    them most (Zhang et al. 2023, arXiv 2303.10512).

    Every matrix begins with ``rank`` values and ends with ``target_rank`` on average. Nothing is taken in the first
    ``warmup`` share of the steps, and the distribution is fixed in the last ``final`` share; between them values are
    taken every ``interval`` steps. ``orthogonality`` weighs the penalty that keeps singular vectors orthogonal.
    """

    method: Literal["adalora"] = "adalora"
    rank: Rank = 12
    target_rank: Rank = 8
    warmup: Share = 0.1
    final: Share = 0.3
    interval: Annotated[int, Field(ge=1)] = 10
    orthogonality: Annotated[float, Field(ge=0)] = 0.5

    @model_validator(mode="after")
    def _in_order(self) -> AdaLoRASettings:
        if self.target_rank > self.rank:
            raise ValueError(f"target_rank ({self.target_rank}) is above rank ({self.rank}); exchange them")
        if self.warmup + self.final >= 1:
            raise ValueError("warmup and final leave no step between them; make their sum less than 1")
        return self


class BottleneckSettings(Frozen):
    """Two thin layers of ``width`` behind every attention and feed-forward (Houlsby et al. 2019, arXiv 1902.00751)."""

    method: Literal["bottleneck"] = "bottleneck"
    width: Annotated[int, Field(ge=1, le=65_536)] = 16


class PrefixSettings(Frozen):
    """Keys and values of ``length`` positions before every row, in each block (Li and Liang 2021, arXiv 2101.00190).

    ``shifted``: tokens stand behind those positions, as in `peft`, and the context is shorter by them. Otherwise every
    token keeps its own position and the context its length.
    """

    method: Literal["prefix"] = "prefix"
    length: Annotated[int, Field(ge=1, le=4096)] = 8
    shifted: bool = False


AdapterSettings = Annotated[
    LoRASettings | AdaLoRASettings | BottleneckSettings | PrefixSettings, Field(discriminator="method")
]
