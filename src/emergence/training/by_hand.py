"""Learning by gradients, written out in NumPy: backward pass and update of the network in
`models/by_hand_network.py`, which is to be read first.

*What is to be made small.* The loss of one window is -log p of the token that came next; the loss of a batch is their
mean, or any other weighting. It is a function of every number in the weights.

*Backward.* The gradient says how fast the loss grows with each of these numbers. The chain rule finds all of them by
going back through the steps of the forward pass, last step first, with one question at each: given the derivative by
what came out, what is the derivative by what went in? Three answers suffice:

* softmax and -log together: by the logits it is p - y, where y is one for the token that came and zero elsewhere. What
  was thought too likely goes down, what came goes up, and where p is y nothing moves.
* a product y = x W: if g is the derivative by y, then x^T g is that by W and g W^T that by x. (Write one number of y as
  a sum, derive it, and see which sum of g's comes out.)
* tanh: its slope is 1 - tanh^2, which needs only what came out.

*Update.* A small step against the gradient makes the loss smaller. Adam gives each number a step of its own: it follows
a running mean of its gradients, divided by their usual size, so that rarely used numbers take steps as large as others.

Shapes: M windows, K tokens of a window, D numbers of an embedding, H hidden units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.models.by_hand_network import ByHandNetwork, Floats, Ints, Weights, forward, log_softmax
from emergence.models.family import ModelConfig, build_network
from emergence.models.recent import windows
from emergence.training.batch import Batch
from emergence.training.schedule import width_scale

__all__ = ["Adam", "ByHand", "clip_to", "loss_and_gradients"]

DECAYING = ("hidden.weight", "output.weight")  # matrices inside the network, as in the other families


def loss_and_gradients(weights: Weights, windows_MK: Ints, targets_M: Ints, shares_M: Floats) -> tuple[float, Weights]:
    """Return the loss ``-sum of shares log p(target)`` in nats, and its derivative by every weight."""
    logits_MV, x, h = forward(weights, windows_MK)
    logprobs_MV = log_softmax(logits_MV)
    each = np.arange(len(targets_M))
    loss = -float((shares_M * logprobs_MV[each, targets_M]).sum())

    # Softmax and -log: p - y, each window with its share of the loss.
    d_logits = np.exp(logprobs_MV)
    d_logits[each, targets_M] -= 1
    d_logits *= shares_M[:, None]
    # Output: z = h U + c. The bias is added to every window, so its derivatives add up over all of them.
    d_output_bias = d_logits.sum(axis=0)
    d_output_weight = h.T @ d_logits
    d_h = d_logits @ weights["output.weight"].T
    # Hidden layer: h = tanh(x W + b).
    d_sum = d_h * (1 - h * h)
    d_hidden_bias = d_sum.sum(axis=0)
    d_hidden_weight = x.T @ d_sum
    d_x = d_sum @ weights["hidden.weight"].T
    # Embedding: x holds copies of rows, so that each row collects the derivatives of its copies. A plain
    # ``d_embedding[windows] += ...`` would count a token once however often it stands there.
    d_embedding = np.zeros_like(weights["embedding"])
    np.add.at(d_embedding, windows_MK, d_x.reshape(*windows_MK.shape, -1))
    return loss, {
        "embedding": d_embedding,
        "hidden.weight": d_hidden_weight,
        "hidden.bias": d_hidden_bias,
        "output.weight": d_output_weight,
        "output.bias": d_output_bias,
    }


def clip_to(gradients: Weights, most: float) -> None:
    """Shorten all gradients together, in place, where their Euclidean length is above ``most``: one odd batch must not
    throw the weights far away (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063)."""
    length = float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values())))
    shrink = most / (length + 1e-6)
    if shrink < 1:
        for gradient in gradients.values():
            gradient *= shrink


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) with the weight decay of Loshchilov and Hutter 2019 (arXiv
    1711.05101)."""

    BETAS, EPSILON = (0.9, 0.95), 1e-10

    def __init__(self, weights: Weights) -> None:
        self.step = 0
        self.mean = {name: np.zeros_like(values) for name, values in weights.items()}
        self.square = {name: np.zeros_like(values) for name, values in weights.items()}

    def update(self, weights: Weights, gradients: Weights, rate: float, decay: float) -> None:
        """Change the weights in place: ``m`` and ``v`` are running means of the gradient and of its square, and

        ``w <- w (1 - rate decay) - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)``

        Both means begin at zero and are too small at first; dividing by 1 - b^t mends that.
        """
        self.step += 1
        b1, b2 = self.BETAS
        for name, gradient in gradients.items():
            m, v = self.mean[name], self.square[name]
            m += (1 - b1) * (gradient - m)
            v += (1 - b2) * (gradient * gradient - v)
            if name in DECAYING:
                weights[name] *= 1 - rate * decay
            size = np.sqrt(v / (1 - b2**self.step)) + self.EPSILON
            weights[name] -= (rate / (1 - b1**self.step)) * m / size


class ByHand:
    """One run of the `numpy` family, with the rates, the decay and the clipping of `training.stack.Stack`."""

    def __init__(
        self,
        family: str,
        config: ModelConfig,
        seeds: Sequence[int],
        *,
        learning_rate: float,
        weight_decay: float,
        clip: float,
        stacked: bool,
    ) -> None:
        if len(seeds) != 1 or stacked:
            raise ValueError("this network learns one replica at a time")
        generator = torch.Generator().manual_seed(derive_seed(seeds[0], "initial weights"))
        self._network: ByHandNetwork = build_network(family, config, generator)
        self._adam = Adam(self._network.weights)
        scale = width_scale(config.width)
        self._rate, self._decay, self._clip = learning_rate * scale, weight_decay / scale, clip

    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Learn from one batch and return the loss [1] before that, in nats."""
        config = self._network.config
        windows_MK = windows(batch.inputs.numpy(), config.window, config.vocabulary).reshape(-1, config.window)
        if batch.select is not None:
            windows_MK = windows_MK[batch.select.numpy()]
        loss, gradients = loss_and_gradients(
            self._network.weights, windows_MK, batch.targets.numpy(), batch.weights.numpy()
        )
        clip_to(gradients, self._clip)
        self._adam.update(self._network.weights, gradients, self._rate * factor, self._decay)
        return torch.tensor([loss])

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the weights."""
        return self._network.state_dict()

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of Adam's running means."""
        return {
            f"{name}.{kind}": torch.from_numpy(values.copy())
            for kind, means in (("mean", self._adam.mean), ("square", self._adam.square))
            for name, values in means.items()
        }

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Go on after ``step`` steps; raises UserError where the weights are those of another network."""
        shapes = {name: values.shape for name, values in self._network.weights.items()}
        if {name: tuple(values.shape) for name, values in weights[0].items()} != shapes:
            raise UserError("the checkpoints were written by another version of this network; choose another folder")
        self._network.load_state_dict(weights[0])
        self._adam.step = step
        for kind, means in (("mean", self._adam.mean), ("square", self._adam.square)):
            for name in means:
                means[name] = moments[0][f"{name}.{kind}"].numpy().copy()

    def snapshot(self) -> Any:
        """Return a copy of everything, for `return_to`."""
        copies = [
            {name: values.copy() for name, values in part.items()}
            for part in (self._network.weights, self._adam.mean, self._adam.square)
        ]
        return self._adam.step, *copies

    def return_to(self, snapshot: Any) -> None:
        """Go back to a snapshot; it is used up."""
        self._adam.step, self._network.weights, self._adam.mean, self._adam.square = snapshot

    def alone(self, replica: int) -> ByHandNetwork:
        """Return the network; it goes on learning with the next step."""
        return self._network
