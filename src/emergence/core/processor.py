"""What this machine's processor is, as far as it decides which kernels are fast. No torch here."""

from __future__ import annotations

import functools
from pathlib import Path

__all__ = ["mkl_holds_back"]


@functools.cache
def mkl_holds_back() -> bool:
    """Say whether MKL leaves half of this processor unused: it keeps its AVX-512 kernels for Intel's processors.

    Read off the kernel's description, never measured, so that whatever follows from it is the same at every start;
    False where there is no such description.
    """
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return False
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in described.splitlines())}
    return "avx512f" in fields.get("flags", "").split() and fields.get("vendor_id") != "GenuineIntel"
