"""How a trained model is fine-tuned: what may change, how it learns, and what keeps it from learning by heart."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from emergence.core.adapter_settings import AdapterSettings
from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.schema import Frozen

__all__ = ["FinetuneSettings"]

Share = Annotated[float, Field(ge=0, lt=1)]


class FinetuneSettings(Frozen):
    """One way of fine-tuning. Every default suits a small model and a few thousand examples.

    ``start: untrained`` throws the weights away first, to show what they are worth. With an ``adapter`` its parameters
    and the head learn, and the model stays as it is. ``freeze`` is how many depths from the bottom stay as they are (1:
    the tables, 2: the first block too), or ``all``: then only the head learns, a linear probe. ``layer_decay`` is the
    factor on the learning rate from each depth to the one below it (Howard and Ruder 2018, arXiv 1801.06146).
    ``learning_rate`` is that at a width of 64; it falls with the width as in pre-training.

    Training ends after ``epochs``, or when the validation score has not risen for ``patience`` readings; with few
    examples it goes on for ``least_steps``. Readings are an epoch apart, and ``reading_steps`` at least. ``goal`` is
    the validation score of classes to raise; other aims have one of their own.

    ``token_dropout`` leaves out that share of the tokens of a text, others at every step (Iyyer et al. 2015,
    doi:10.3115/v1/P15-1162). ``weight_decay`` is decoupled for adamw (Loshchilov and Hutter 2019) and an L2 penalty for
    the others; ``l1`` adds that times the sum of all absolute weights that learn. ``adversarial`` is the length of a
    step in embedding space along the gradient, relative to the embedding's own (FGM; Miyato et al. 2017, arXiv
    1605.07725; their step of 5 is about 0.015 of a text of 400 words in 256 dimensions).
    """

    start: Literal["trained", "untrained"] = "trained"
    adapter: AdapterSettings | None = None
    augment: tuple[AugmentationSettings, ...] = ()
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    patience: Annotated[int, Field(ge=1)] = 3
    goal: Literal["accuracy", "macro_f1"] = "accuracy"
    least_steps: Annotated[int, Field(ge=1)] = 200
    reading_steps: Annotated[int, Field(ge=1)] = 20
    batch: Annotated[int, Field(ge=1, le=4096)] = 32
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    warmup: Share = 0.1
    clip: Annotated[float, Field(gt=0)] = 1.0
    optimiser: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    l1: Annotated[float, Field(ge=0)] = 0.0
    dropout: Share = 0.1
    token_dropout: Share = 0.0
    label_smoothing: Share = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    freeze: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    pooling: Literal["mean", "last"] = "mean"
    adversarial: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _one_way(self) -> FinetuneSettings:
        if self.adapter is not None and self.freeze != 0:
            raise ValueError("an adapter freezes the model itself; leave out freeze")
        return self
