"""nanoGPT's model and training loop, written anew from its description at equal width, depth and heads.

A GPT-2 (Radford et al. 2019): learned positions, LayerNorm without bias before each half of a block, fused causal
attention, a feed-forward part four times the width with the tanh GELU, input embedding and output head tied, no
dropout. AdamW (0.9, 0.95), fused where torch offers it, weight decay on matrices only, cosine schedule with warm-up,
gradients clipped at 1. Batches are slices of a memory-mapped file of uint16, stacked. The loss is read at each step, as
its run for small machines logs it.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.contest import serve
from emergence.models.gpt import size_for

UNCOUNTED_STEPS = 2
MAX_STEPS, WARMUP, PEAK_RATE, LEAST_RATE = 2000, 100, 1e-3, 1e-4


class Block(nn.Module):
    """Attention and feed-forward, each normalised before and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, bias=False)
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.LayerNorm(width, bias=False)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return the stream after the block."""
        B, T, D = x_BTD.shape
        parts = self.attention_in(self.before_attention(x_BTD)).split(D, dim=2)
        q, k, v = (part.view(B, T, self.heads, D // self.heads).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.attention_out(mixed.transpose(1, 2).contiguous().view(B, T, D))
        hidden = F.gelu(self.mlp_in(self.before_mlp(x_BTD)), approximate="tanh")
        out: torch.Tensor = x_BTD + self.mlp_out(hidden)
        return out


class NanoGPT(nn.Module):
    """Ids [B, T] and the ids that follow in, their mean cross-entropy out."""

    def __init__(self, vocabulary: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * depth) if "_out" in name else 1))
        self.head.weight = self.tokens.weight

    def forward(self, ids_BT: torch.Tensor, next_BT: torch.Tensor) -> torch.Tensor:
        """Return the loss in nats per token."""
        x_BTD = self.tokens(ids_BT) + self.positions(torch.arange(ids_BT.shape[1]))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits = self.head(self.norm(x_BTD))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), next_BT.view(-1))


def make_adamw(model: nn.Module) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and embeddings, not norms."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True)


def cosine(step: int) -> float:
    """Return the learning rate: linear to the peak, then half a cosine down to a tenth."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / (WARMUP + 1)
    share = min(1.0, (step - WARMUP) / (MAX_STEPS - WARMUP))
    return LEAST_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (PEAK_RATE - LEAST_RATE)


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Train for a moment, which is the start-up; each question is then one more replica, for ``seconds``."""
    torch.manual_seed(0)
    own = size_for(options["size"], options["vocabulary"], options["context"])
    rows, context = options["rows"], options["context"]
    folder = tempfile.TemporaryDirectory()  # deleted with the last function that names it
    np.random.default_rng(0).integers(0, options["vocabulary"], 1_000_000).astype(np.uint16).tofile(
        Path(folder.name) / "train.bin"
    )

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(Path(folder.name) / "train.bin", dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - context, (rows,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + context].astype(np.int64)) for i in starts])
        return x, y

    def train(question: dict[str, Any]) -> dict[str, Any]:
        model = NanoGPT(options["vocabulary"], context, own.width, own.depth, own.heads)
        optimiser = make_adamw(model)
        x, y = draw()
        step, start = 0, time.perf_counter()
        while True:
            for group in optimiser.param_groups:
                group["lr"] = cosine(step)
            loss = model(x, y)
            x, y = draw()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            loss.item()
            step += 1
            now = time.perf_counter()
            if step <= UNCOUNTED_STEPS:
                start = now
            elif now - start > question["seconds"]:
                return {"tokens_per_second": (step - UNCOUNTED_STEPS) * rows * context / (now - start)}

    train({"seconds": 0.0})
    return {"threads": torch.get_num_threads()}, train


if __name__ == "__main__":
    serve(prepare)
