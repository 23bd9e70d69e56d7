"""Adapting a trained network with few parameters of its own: LoRA, AdaLoRA, bottlenecks, prefixes."""

from emergence.models.adapters.attach import Adapter, attach

__all__ = ["Adapter", "attach"]
