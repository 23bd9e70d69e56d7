r"""How a model with a latent vector z of each sentence is asked.

*What follows a prompt x* has the probability

.. math:: p(y|x) = \int p(z|x) p(y|x,z) dz, \qquad p(z|x) \propto p(z) p(x|z).

`PARTICLES` latents stand for p(z|x), each with a weight (self-normalised importance sampling: Owen 2013, Monte Carlo
theory, methods and examples, section 9.2). Half are drawn from the encoder's q(z|x), which has read a sentence that is
not complete, and half from the prior p(z), so that no weight exceeds 2 p(x|z) wherever the encoder errs (a defensive
mixture: Hesterberg 1995, doi 10.1080/00401706.1995.10484303). The weights follow the tokens as they come:

.. math:: \hat p(y_t | x, y_{<t}) = \sum_k w_k p(y_t | x, y_{<t}, z_k) / \sum_k w_k, \qquad
    w_k \leftarrow w_k p(y_t | x, y_{<t}, z_k)

so that the answers are the log-probabilities of one distribution over what may follow, whose most probable token is
what is written. It is an estimate of p(y|x), neither an upper nor a lower bound of it. After a single token, which no
latent has to explain, all latents are drawn from the prior; the estimate is then at most p(y|x) in the mean of its
logarithm (Burda et al. 2016, arXiv 1509.00519, theorem 1). What is drawn depends on the prompt alone.

*Through the bottleneck* the latent is the mean of q(z|x), and nothing else of the text x is known.

Shapes: B prompts, K particles of each, T positions, Z latent dimensions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.evaluation.requests import Likelihood
from emergence.generation.sampling import SamplingSettings, most_probable, pick_token

__all__ = ["latent_of", "sample", "score", "score_through", "write", "write_from", "write_through"]

PARTICLES = 16
TOKENS_AT_ONCE = 2**13  # of all particles in one pass

Ids = Sequence[int]


@torch.inference_mode()
def score(network: Any, pairs: Sequence[tuple[Ids, Ids]], *, end_id: int) -> list[Likelihood]:
    """Return the likelihood of the target of every (prompt, target) under the particles of its prompt.

    A pair longer than the context loses the start of its prompt; ``end_id`` is a token like others here. Raises
    UserError for an empty prompt or target, or a target that does not fit.
    """
    context = network.config.context
    cut = [(prompt[-max(1, context + 1 - len(target)) :], target) for prompt, target in _checked(pairs, context)]
    particles = [_particles(network, prompt) for prompt, _ in cut]
    return _score(network, cut, [latents for latents, _ in particles], [weights for _, weights in particles])


@torch.inference_mode()
def score_through(network: Any, triples: Sequence[tuple[Ids, Ids, Ids]]) -> list[Likelihood]:
    """Return the likelihood of the target of every (prompt, target, source) given the latent of the source."""
    pairs = _checked([(prompt, target) for prompt, target, _ in triples], network.config.context, whole=True)
    latents = [latent_of(network, source)[None] for _, _, source in triples]
    return _score(network, pairs, latents, [torch.zeros(1)] * len(pairs))


@torch.inference_mode()
def write(network: Any, prompts: Sequence[Ids], limits: Sequence[int], *, end_id: int) -> list[list[int]]:
    """Return the greedy continuation of every prompt under its particles, without the end.

    Writing ends where the context is full: a sentence is no longer.
    """
    cut = [prompt[-network.config.context :] for prompt in prompts]
    particles = [_particles(network, prompt) for prompt in cut]
    latents, weights = [latents for latents, _ in particles], [weights for _, weights in particles]
    return _write(network, cut, limits, latents, weights, most_probable, end_id)


@torch.inference_mode()
def write_through(
    network: Any, prompts: Sequence[Ids], limits: Sequence[int], sources: Sequence[Ids], *, end_id: int
) -> list[list[int]]:
    """Return the greedy continuation of every prompt given the latent of its source, without the end."""
    latents = [latent_of(network, source)[None] for source in sources]
    return _write(network, prompts, limits, latents, [torch.zeros(1)] * len(latents), most_probable, end_id)


@torch.inference_mode()
def write_from(
    network: Any, latents: Sequence[torch.Tensor], *, begin_id: int, end_id: int, max_tokens: int
) -> list[list[int]]:
    """Return the greedy sentence of every latent [Z], without the end."""
    n, rows = len(latents), [latent[None] for latent in latents]
    return _write(network, [[begin_id]] * n, [max_tokens] * n, rows, [torch.zeros(1)] * n, most_probable, end_id)


@torch.inference_mode()
def sample(
    network: Any, prompts: Sequence[Ids], settings: SamplingSettings, *, end_id: int, generator: torch.Generator
) -> list[list[int]]:
    """Return a continuation of every prompt: one of its particles is drawn by weight, and then token after token.

    After a single token the latent is a new draw from the prior.
    """
    cut = [prompt[-network.config.context :] for prompt in prompts]
    latents = []
    for prompt in cut:
        if len(prompt) == 1:
            latents.append(torch.randn(1, network.config.latent, generator=generator))
            continue
        found, weights = _particles(network, prompt)
        read = _read(network, prompt, found)
        share = (weights + read.sum(dim=1)).softmax(dim=0)
        latents.append(found[torch.multinomial(share, 1, generator=generator)])
    n = len(cut)
    choose = partial(pick_token, settings, generator)
    return _write(network, cut, [settings.max_tokens] * n, latents, [torch.zeros(1)] * n, choose, end_id)


@torch.inference_mode()
def latent_of(network: Any, source: Ids) -> torch.Tensor:
    """Return the mean [Z] of the posterior of a text, which begins with the token that no model predicts.

    Raises UserError for a text without another token, and for one that is longer than the context.
    """
    context = network.config.context
    if len(source) < 2 or len(source) > context + 1:
        raise UserError(f"a sentence of {len(source) - 1} tokens has no latent here; give 1 to {context} tokens")
    return _posterior(network, source)[0]


def _posterior(network: Any, text: Ids) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log-variance [Z] of what was read of a sentence after its first token."""
    ids = torch.tensor([list(text[1:])], device=network.device)
    mean_1Z, log_variance_1Z = network.encode(ids, torch.ones_like(ids, dtype=torch.bool))
    return mean_1Z[0].cpu(), log_variance_1Z[0].cpu()


def _particles(network: Any, prompt: Ids) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents [K, Z] of a prompt and the logarithms of their weights [K] before it is read."""
    if not prompt:
        raise UserError("an empty prompt cannot be continued; give at least one token")
    generator = torch.Generator().manual_seed(derive_seed(0, "latents", *prompt))
    latents_KZ = torch.randn(PARTICLES, network.config.latent, generator=generator)
    if len(prompt) == 1:
        return latents_KZ, torch.zeros(PARTICLES)
    mean_Z, log_variance_Z = _posterior(network, prompt)
    half = PARTICLES // 2
    latents_KZ[:half] = mean_Z + (0.5 * log_variance_Z).exp() * latents_KZ[:half]
    prior = _log_density(latents_KZ, torch.zeros_like(mean_Z), torch.zeros_like(mean_Z))
    posterior = _log_density(latents_KZ, mean_Z, log_variance_Z)
    return latents_KZ, prior - torch.logaddexp(prior, posterior) + math.log(2)


def _log_density(x_KZ: torch.Tensor, mean_Z: torch.Tensor, log_variance_Z: torch.Tensor) -> torch.Tensor:
    squares = (x_KZ - mean_Z).square() / log_variance_Z.exp()
    return -0.5 * (squares + log_variance_Z + math.log(2 * math.pi)).sum(dim=1)


def _read(network: Any, prompt: Ids, latents_KZ: torch.Tensor) -> torch.Tensor:
    """Return the log-probability [K, T - 1] of every token of a prompt after its first, given each latent."""
    ids_KT = torch.tensor([list(prompt)], device=network.device).expand(len(latents_KZ), -1)
    logprobs = network(ids_KT[:, :-1], latents_KZ.to(network.device)).log_softmax(dim=-1)
    found: torch.Tensor = logprobs.gather(2, ids_KT[:, 1:, None])[..., 0].cpu()
    return found


def _score(
    network: Any, pairs: Sequence[tuple[Ids, Ids]], latents: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> list[Likelihood]:
    """Return the likelihoods under the weighted latents [K, Z] of each pair; similar lengths are read together."""
    answers: dict[int, Likelihood] = {}
    lengths = [len(prompt) + len(target) for prompt, target in pairs]
    for chosen in _chunks(lengths, len(latents[0]) if latents else 1):
        T = lengths[chosen[-1]]
        rows = [[*pairs[i][0], *pairs[i][1]] for i in chosen]
        ids_BT = torch.tensor([row + [0] * (T - len(row)) for row in rows], device=network.device)
        latents_BKZ = torch.stack([latents[i] for i in chosen]).to(network.device)
        B, K, Z = latents_BKZ.shape
        read = ids_BT[:, None, :-1].expand(B, K, T - 1).reshape(B * K, T - 1)
        logprobs = network(read, latents_BKZ.view(B * K, Z)).float().log_softmax(dim=-1).view(B, K, T - 1, -1)
        following = ids_BT[:, 1:]
        tokens = logprobs.gather(3, following[:, None, :, None].expand(B, K, T - 1, 1))[..., 0]
        # The weight of a latent at a position is what it was, times the probability of all tokens up to there.
        first = torch.stack([weights[i] for i in chosen]).to(network.device)
        before = first[..., None] + tokens.cumsum(dim=2) - tokens
        mixture = (before.log_softmax(dim=1)[..., None] + logprobs).logsumexp(dim=1)
        found = mixture.gather(2, following[..., None])[..., 0].tolist()
        hits = (mixture.argmax(dim=-1) == following).tolist()
        for b, i in enumerate(chosen):
            own = slice(len(pairs[i][0]) - 1, len(rows[b]) - 1)
            answers[i] = Likelihood(tuple(found[b][own]), tuple(hits[b][own]))
    return [answers[i] for i in range(len(pairs))]


def _write(
    network: Any,
    prompts: Sequence[Ids],
    limits: Sequence[int],
    latents: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    choose: Callable[[torch.Tensor], torch.Tensor],
    end_id: int,
) -> list[list[int]]:
    """Continue prompts under the weighted latents [K, Z] of each; those of one length go on together."""
    written: list[list[int]] = [[] for _ in prompts]
    room = [
        max(0, min(limit, network.config.context - len(prompt) + 1))
        for prompt, limit in zip(prompts, limits, strict=True)
    ]
    lengths = [len(prompt) for prompt in prompts]
    for chosen in _chunks(lengths, len(latents[0]) if latents else 1, equal=True, most=network.config.context):
        latents_BKZ = torch.stack([latents[i] for i in chosen]).to(network.device)
        B, K, Z = latents_BKZ.shape
        z = latents_BKZ.view(B * K, Z)
        weights_BK = torch.stack([weights[i] for i in chosen]).to(network.device)
        ids = torch.tensor([list(prompts[i]) for i in chosen], device=network.device)
        P = ids.shape[1]
        if K > 1 and P > 1:
            tokens = [_read(network, prompts[i], latents[i]).sum(dim=1) for i in chosen]
            weights_BK = weights_BK + torch.stack(tokens).to(network.device)
        cache = network.new_cache(B * K, network.config.context)
        going = torch.ones(B, dtype=torch.bool)
        for count in range(max(room[i] for i in chosen)):
            rows = ids[:, None].expand(B, K, -1).reshape(B * K, -1)
            T = rows.shape[1]
            last = torch.arange(T - 1, B * K * T, T, device=network.device)
            logprobs = network(rows, z, cache, last).float().log_softmax(dim=-1).view(B, K, -1)
            token_B = choose((weights_BK.log_softmax(dim=1)[..., None] + logprobs).logsumexp(dim=1))
            for b, token in enumerate(token_B.tolist()):
                going[b] &= token != end_id and count < room[chosen[b]]
                if going[b]:
                    written[chosen[b]].append(token)
            if not going.any():
                break
            token_B = token_B.to(network.device)
            weights_BK = weights_BK + logprobs.gather(2, token_B[:, None, None].expand(B, K, 1))[..., 0]
            ids = token_B[:, None]
    return written


def _chunks(lengths: Sequence[int], particles: int, *, equal: bool = False, most: int = 0) -> Iterator[list[int]]:
    """Yield indices by rising length, so many that they are read at once; of one length only where ``equal``."""
    chunk: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = (len(chunk) + 1) * particles * max(most, lengths[index]) > TOKENS_AT_ONCE
        if chunk and (full or (equal and lengths[index] != lengths[chunk[0]])):
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def _checked(pairs: Sequence[tuple[Ids, Ids]], context: int, *, whole: bool = False) -> Sequence[tuple[Ids, Ids]]:
    for prompt, target in pairs:
        if not prompt or not target:
            raise UserError("a log-likelihood needs at least one token of prompt and one of target")
        if len(target) + (len(prompt) - 1) * whole > context:
            raise UserError(f"a target of {len(target)} tokens does not fit into the context of {context}")
    return pairs
