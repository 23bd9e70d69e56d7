"""Which matrices a network multiplies with, and what goes into them: seen in the products themselves.

Networks do not all call their matrices as modules: one multiplies a weight with the scale of the normalisation before
it, another hands all its weights to one call of an LSTM, and those of transformers keep some transposed. So the calls
of torch are watched while the network reads, whatever it is made of.

Shapes: N tokens, D inputs, M outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["Seen", "Watch"]

#: Called with a parameter, its inputs [N, D], and whether it is kept as [D, M], before the product is computed.
Seen = Callable[[nn.Parameter, torch.Tensor, bool], None]
_NO_PRODUCT: set[Any] = {torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.__len__}


class Watch(TorchFunctionMode):
    """While entered, tells ``seen`` of every product with a parameter of two dimensions.

    ``seen`` may change the parameter in place: the product is computed with what it is then. Inputs are those of the
    weight itself: where a product is with ``weight * scale``, one scale for every input, they are scaled. ``tables``
    holds the parameters that are looked up in, by identity.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], seen: Seen) -> None:
        super().__init__()
        self._known = {id(parameter): parameter for parameter in parameters if parameter.dim() == 2}
        self._seen = seen
        # A product of weight and scale is computed again from the weight that `seen` may have changed.
        self._scaled: dict[int, tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = {}
        self.tables: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Look at one call, and make it."""
        kwargs = dict(kwargs or {})
        if func in _NO_PRODUCT:
            return func(*args, **kwargs)
        if func is torch.lstm or getattr(func, "__name__", "") == "lstm":
            return self._lstm(func, args, kwargs)
        if func is F.embedding:
            self.tables.add(id(args[1]))
        factors = self._factors(func, args)
        if factors is not None:
            at, x, transposed = factors
            weight = args[at]
            known = self._known.get(id(weight))
            if known is not None:
                self._seen(known, x.reshape(-1, x.shape[-1]), transposed)
            elif id(weight) in self._scaled:
                own, scale, _ = self._scaled[id(weight)]
                self._seen(own, x.reshape(-1, x.shape[-1]) * scale, False)
                args = (*args[:at], own * scale, *args[at + 1 :])
        result = func(*args, **kwargs)
        if func in (torch.Tensor.mul, torch.mul, torch.Tensor.__mul__):
            self._note_scale(args, result)
        return result

    @staticmethod
    def _factors(func: Any, args: tuple[Any, ...]) -> tuple[int, torch.Tensor, bool] | None:
        """Return where the weight is among the arguments, what it is multiplied with, and whether it is [D, M]."""
        if func is F.linear or str(func) == "mkldnn._linear_pointwise":
            return 1, args[0], False
        if func is torch.addmm:
            return 2, args[1], True
        if func in (torch.mm, torch.matmul, torch.Tensor.mm, torch.Tensor.matmul, torch.Tensor.__matmul__):
            return 1, args[0], True
        return None

    def _note_scale(self, args: tuple[Any, ...], result: torch.Tensor) -> None:
        weight = self._known.get(id(args[0]))
        scale = args[1]
        if weight is not None and isinstance(scale, torch.Tensor) and scale.numel() == weight.shape[1]:
            # The result is kept as well: nothing else may get its identity.
            self._scaled[id(result)] = (weight, scale.reshape(-1), result)

    def _lstm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an LSTM [B, T, D] layer by layer: what goes into one is what the layer before gives, and into its
        recurrence what it gave a position before."""
        x, states, weights, biased, layers, dropout, training, both_ways, first = args
        each = len(weights) // layers
        if both_ways or not first or each != (4 if biased else 2):
            return func(*args, **kwargs)  # nothing is seen, and nothing compressed
        hidden, cells = [], []
        for layer in range(layers):
            own = weights[layer * each : (layer + 1) * each]
            before = tuple(state[layer : layer + 1] for state in states)

            def run(own: Any = own, before: Any = before, x: torch.Tensor = x) -> Any:
                return func(x, before, own, biased, 1, dropout, training, both_ways, first, **kwargs)

            if id(own[0]) in self._known:
                self._seen(self._known[id(own[0])], x.flatten(0, 1), False)
            if id(own[1]) in self._known:
                out = run()[0]
                earlier = torch.cat((before[0].transpose(0, 1), out[:, :-1]), dim=1)
                self._seen(self._known[id(own[1])], earlier.flatten(0, 1), False)
            x, h, c = run()
            hidden.append(h)
            cells.append(c)
        return x, torch.cat(hidden), torch.cat(cells)
