r"""The emergence law: one hinge for every amount of fine-tuning, whose elbow moves with the logarithm of the amount.

.. math:: p(x, D) = f + (c - f) \, \min\{1, \max\{0, s \, (x - e(D))\}\}, \qquad
   e(D) = e_0 + k \log_{10}(1 + D)

with the floor f, the height c at which the scores level off, the model's place x (log10 of its parameters, or minus its
validation loss in nats, so that ability grows with it) and D fine-tuning examples. At D = 0 the elbow is :math:`e_0`,
that of models that were not fine-tuned; at the number of examples in a prompt it is that of few-shot prompting.

After Snell, Wallace, Klein and Levine 2024 (arXiv 2411.16035), "Predicting Emergent Capabilities by Finetuning", who
fit a parametric function of the loss with a point of emergence that fine-tuning shifts, and extrapolate it to the
few-shot setting. We differ: the hinge levels off at c, since small models of an easy task do; the elbow is linear in
the logarithm, since two to five amounts determine no curvature; and 1 + D keeps D = 0 finite.

Shapes: N points (a model at an amount), B resamples, G grid elements, P parameters (the elbow at the least and at the
largest amount that was fitted, and log10 of the slope).
"""

# ruff: noqa: N815 (shape suffixes on attributes)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emergence.analysis.noise import excess_scatter

__all__ = ["LawFit", "Points", "amount", "fit_law"]

Array = NDArray[np.float64]
REACH = 0.75  # of the ladder's length: how far beyond it elbows are looked for
ELBOWS, SLOPES = 26, 12
ROUNDS = 9  # of halving the step around the best element
ROUNDS_OF_WEIGHTS = 4
#: A hinge bends to the points that lie near it, so that it leaves over less than they scatter: on simulated ladders
#: half as much again brings 90 % intervals to their level, as in `crossings`.
BENT = 1.5
STILL = 0.05  # of the scatter: models far from the rise differ in what they lack, not in how much of it they show
TOLERANCE = 0.01  # of the way from floor to ceiling: no law holds more closely
CHUNK = 100  # resamples at a time


def amount(examples: float | Array) -> Array:
    """Return log10(1 + D)."""
    return np.asarray(np.log10(1.0 + np.asarray(examples, dtype=float)), dtype=float)


@dataclass(frozen=True)
class Points:
    """Mean scores as shares of the way from floor to ceiling, with their places and what is known of their noise."""

    x_N: Array
    t_N: Array  # log10(1 + examples)
    share_N: Array
    variance_N: Array  # by test examples and replicas
    model_N: NDArray[np.intp]


@dataclass(frozen=True)
class LawFit:
    """The fitted law; ``theta_P`` and its resamples ``theta_BP``."""

    theta_P: Array
    theta_BP: Array
    ends: tuple[float, float]  # the least and the largest fitted t
    top: float
    bound_low: float
    bound_high: float

    def elbows(self, t: float) -> tuple[float, Array]:
        """Return the elbow at t = log10(1 + D) and its resamples, on the scale of x."""
        share = (t - self.ends[0]) / (self.ends[1] - self.ends[0])
        both = np.vstack([self.theta_P, self.theta_BP])
        at = both[:, 0] + share * (both[:, 1] - both[:, 0])
        return float(at[0]), at[1:]

    def passes(self, t: float, level: float) -> tuple[float, Array]:
        """Return where the law passes ``level`` (a share of the way) at t, and its resamples."""
        elbow, draws = self.elbows(t)
        return elbow + level / 10 ** self.theta_P[2], draws + level / 10 ** self.theta_BP[:, 2]

    def shift(self) -> tuple[float, Array]:
        """Return how far the elbow moves for each unit of t, that is, for ten times the examples."""
        length = self.ends[1] - self.ends[0]
        return float((self.theta_P[1] - self.theta_P[0]) / length), (self.theta_BP[:, 1] - self.theta_BP[:, 0]) / length

    @property
    def outside(self) -> float:
        """The share of resamples with an elbow at the end of where elbows are looked for: the data bound it nowhere."""
        edge = (self.theta_BP[:, :2] <= self.bound_low) | (self.theta_BP[:, :2] >= self.bound_high)
        return float(edge.any(axis=1).mean())


def fit_law(points: Points, resamples: int, rng: np.random.Generator) -> LawFit:
    """Fit the law by weighted least squares, and again to ``resamples`` ladders that are drawn from it.

    Points scatter about it by their test examples and replicas, by `TOLERANCE`, and by what the best fit leaves over
    (Paule and Mandel 1982), of which a model shares the part that its own residuals have in common: a model that is
    better than its size is so after any amount of fine-tuning. Student's factor accounts for the few points that the
    scatter is known from. Raises ValueError for fewer than two amounts.
    """
    ends = float(points.t_N.min()), float(points.t_N.max())
    if ends[0] == ends[1]:
        raise ValueError("the law needs two amounts of fine-tuning")
    search = _Search.over(points, ends)
    variance = points.variance_N + TOLERANCE**2
    scatter = 0.0
    shape = np.ones_like(points.x_N)
    for _ in range(ROUNDS_OF_WEIGHTS):
        weight = 1 / (variance + scatter * shape)
        theta = search.fit(points.share_N[None, :], weight)[0]
        fitted = search.curve(theta[None, None, :])[0, 0]
        shape = np.where(search.near(theta), 1.0, STILL)
        rising = (fitted > 0) & (fitted < search.top)  # the others tell of no scatter
        degrees = max(1, int(rising.sum()) - 3)
        scatter = BENT * excess_scatter((points.share_N - fitted)[rising], variance[rising], degrees)
    weight = 1 / (variance + scatter * shape)
    residual = (points.share_N - fitted) * np.sqrt(weight)
    common = _in_common(residual[rising], points.model_N[rising])
    tails = degrees / np.maximum(rng.chisquare(degrees, (resamples, 1)), 1e-3)
    own = rng.normal(size=(resamples, points.x_N.size))
    shared = rng.normal(size=(resamples, int(points.model_N.max()) + 1))[:, points.model_N]
    between = np.sqrt(common) * shared + np.sqrt(1 - common) * own
    drawn = fitted + between * np.sqrt(scatter * shape * tails)
    drawn = drawn + rng.normal(size=drawn.shape) * np.sqrt(variance)
    draws = [search.fit(drawn[i : i + CHUNK], weight) for i in range(0, resamples, CHUNK)]
    return LawFit(theta, np.concatenate(draws), ends, search.top, search.low, search.high)


def _in_common(residual_N: Array, model_N: NDArray[np.intp]) -> float:
    """Return the correlation of a model's residuals between amounts (of pairs, by moments), in [0, 1]."""
    total, pairs = 0.0, 0
    for model in np.unique(model_N):
        own = residual_N[model_N == model]
        total += float(own.sum() ** 2 - (own**2).sum())
        pairs += own.size * (own.size - 1)
    size = float((residual_N**2).mean()) if residual_N.size else 0.0
    return float(np.clip(total / pairs / size, 0.0, 1.0)) if pairs and size > 0 else 0.0


@dataclass(frozen=True)
class _Search:
    """Where the law is looked for: a grid, then ever smaller steps around its best element."""

    x_N: Array
    tau_N: Array  # 0 at the least and 1 at the largest amount
    top: float
    gap: float  # between neighbouring models, on average
    low: float
    high: float
    grid_GP: Array
    step_P: Array

    @classmethod
    def over(cls, points: Points, ends: tuple[float, float]) -> _Search:
        x = points.x_N
        length = float(np.ptp(x))
        low, high = float(x.min()) - REACH * length, float(x.max()) + REACH * length
        places = np.unique(x)
        elbows = np.linspace(low, high, ELBOWS)
        slopes = np.linspace(np.log10(0.3 / length), np.log10(4 / float(np.diff(places).min())), SLOPES)
        grid = np.stack([g.ravel() for g in np.meshgrid(elbows, elbows, slopes, indexing="ij")], axis=1)
        steps = np.array([elbows[1] - elbows[0], elbows[1] - elbows[0], slopes[1] - slopes[0]])
        tau = (points.t_N - ends[0]) / (ends[1] - ends[0])
        return cls(x, tau, float(max(points.share_N.max(), 0.05)), length / (places.size - 1), low, high, grid, steps)

    def curve(self, theta_BGP: Array) -> Array:
        """Return the law at every point as a share of the way from floor to ceiling, B x G x N."""
        first, second, slope = (theta_BGP[..., i, None] for i in range(3))
        elbow = first + (second - first) * self.tau_N
        return np.asarray(np.clip(10**slope * (self.x_N - elbow), 0.0, self.top), dtype=float)

    def near(self, theta_P: Array) -> NDArray[np.bool_]:
        """Return which points lie on the rise, or within a step of the ladder from it: there a model that is better or
        worse than its size has another score."""
        elbow = theta_P[0] + (theta_P[1] - theta_P[0]) * self.tau_N
        end = elbow + self.top / 10 ** theta_P[2]
        return np.asarray((self.x_N > elbow - self.gap) & (self.x_N < end + self.gap), dtype=bool)

    def fit(self, y_BN: Array, weight_N: Array) -> Array:
        """Return the parameters with the least weighted squares for each row of scores, B x P."""
        grid = self.curve(self.grid_GP[None])[0]
        squares = ((grid**2) @ weight_N)[None, :] - 2 * (y_BN * weight_N) @ grid.T
        theta = self.grid_GP[squares.argmin(axis=1)]
        rows = np.arange(len(theta))
        around = np.stack([g.ravel() for g in np.meshgrid(*[np.linspace(-1, 1, 3)] * 3, indexing="ij")], axis=1)
        for halvings in range(ROUNDS):
            near = theta[:, None, :] + around * self.step_P / 2 ** (halvings + 1)
            near[..., :2] = np.clip(near[..., :2], self.low, self.high)
            left = ((self.curve(near) - y_BN[:, None, :]) ** 2) @ weight_N
            theta = near[rows, left.argmin(axis=1)]
        return np.asarray(theta, dtype=float)
