"""The one entrance: a network gets an adapter, answers with it, and can be rid of it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from emergence.core.adapter_settings import (
    AdaLoRASettings,
    AdapterSettings,
    BottleneckSettings,
    LoRASettings,
    PrefixSettings,
)
from emergence.core.errors import UserError
from emergence.models.adapters.bottleneck import Bottlenecks
from emergence.models.adapters.prefix import Prefixes
from emergence.models.adapters.prefix_interface import InterfacePrefixes
from emergence.models.adapters.weights import Shape, Weights
from emergence.models.trunk import module_of

__all__ = ["MARK", "Adapter", "attach"]

MARK = "emergence_adapter"  # an attribute of networks that have an adapter: its method


class Method(Protocol):
    """What the methods of adaptation have in common; making one puts it into the network."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained, by name."""

    def penalty(self) -> torch.Tensor | None:
        """Return what is added to the loss."""

    def after_step(self, step: int, steps: int) -> None:
        """Do what is to be done after each step of the optimiser, while gradients are there."""

    def merge(self) -> None:
        """Write it into the weights of the network, and leave that."""

    def remove(self) -> None:
        """Leave the network as it was."""


class Adapter:
    """A few parameters that change how a network answers, whose own are frozen meanwhile."""

    def __init__(self, network: Any, settings: AdapterSettings, make: Callable[[], Method]) -> None:
        """Put the method that ``make`` makes into the network; use `attach`."""
        self.network, self.settings = network, settings
        self._module = module_of(network)
        if hasattr(self._module, MARK):
            raise UserError(
                f"this model has an adapter already ({getattr(self._module, MARK)}); merge or detach that first"
            )
        own = list(self._module.parameters())
        self._method = make()
        self._learning = [parameter for parameter in own if parameter.requires_grad]
        for parameter in own:
            parameter.requires_grad_(False)
        setattr(self._module, MARK, settings.method)
        self._base = sum(parameter.numel() for parameter in own)
        self._attached = True

    @property
    def method(self) -> Method:
        """How it changes the network."""
        return self._method

    @property
    def trainable(self) -> list[nn.Parameter]:
        """What is trained."""
        return list(self._method.parameters().values())

    @property
    def names(self) -> list[str]:
        """The names of `trainable`, in the same order."""
        return list(self._method.parameters())

    @property
    def trainable_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.trainable)

    @property
    def share(self) -> float:
        """The trained numbers as a share of all, the network's own among them."""
        return self.trainable_parameters / (self.trainable_parameters + self._base)

    def penalty(self) -> torch.Tensor | None:
        """Return what is to be added to the loss, or None."""
        return self._method.penalty()

    def after_step(self, step: int, steps: int) -> None:
        """Do what is to be done after ``step`` of ``steps`` steps of the optimiser, counted from one, while gradients
        are there."""
        self._method.after_step(step, steps)

    def merge(self) -> None:
        """Write the adapter into the weights, which answer alone from then on; UserError where that cannot be."""
        if self._attached:
            self._method.merge()
            self._leave()

    def detach(self) -> None:
        """Leave the network as it was, bit for bit."""
        if self._attached:
            self._method.remove()
            self._leave()

    def _leave(self) -> None:
        for parameter in self._learning:
            parameter.requires_grad_(True)
        delattr(self._module, MARK)
        self._attached = False

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy of what is trained, by name."""
        return {name: parameter.detach().clone() for name, parameter in self._method.parameters().items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` returned; UserError for the state of an adapter of other names or shapes."""
        own = self._method.parameters()
        shapes = {name: tuple(parameter.shape) for name, parameter in own.items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if shapes != given:
            differing = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))
            raise UserError(
                f"these are the parameters of another adapter ({differing[0]} is {given.get(differing[0])} there and "
                f"{shapes.get(differing[0])} here); attach one with the same settings"
            )
        for name, parameter in own.items():
            parameter.copy_(state[name])


def attach(
    network: Any,
    settings: AdapterSettings,
    generator: torch.Generator,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> Adapter:
    """Put an adapter into a network, own or loaded, freeze what that had, and return the adapter.

    The first values are drawn from ``generator``. ``shapes`` are the ranks of an adapter that is about to be loaded.
    Raises UserError where the method does not fit the network, or that has an adapter already.
    """

    def make() -> Method:
        if isinstance(settings, LoRASettings | AdaLoRASettings):
            return Weights(network, settings, generator, shapes)
        if isinstance(settings, BottleneckSettings):
            return Bottlenecks(network, settings, generator)
        assert isinstance(settings, PrefixSettings)
        if network is not module_of(network) and getattr(network, "attention_shape", None) is None:
            return InterfacePrefixes(network, settings, generator)
        return Prefixes(network, settings, generator)

    return Adapter(network, settings, make)
