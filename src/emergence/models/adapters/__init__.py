"""Adapting a trained network with few parameters of its own: LoRA, AdaLoRA, bottlenecks, prefixes."""

from emergence.models.adapters.attach import Adapter, attach
from emergence.models.adapters.files import is_adapter, load_adapter, save_adapter
from emergence.models.adapters.peft_files import read_peft, write_peft

__all__ = ["Adapter", "attach", "is_adapter", "load_adapter", "read_peft", "save_adapter", "write_peft"]
