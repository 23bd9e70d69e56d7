"""Run every measurement of `docs/benchmarks.md` and write the page: `make bench`.

python -m benchmarks [NAME ...]      # only the named ones are measured again; the others keep their figures
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    budgets,
    costs,
    demo,
    error_rates,
    families,
    fitting,
    forecasting,
    kernels,
    ladders,
    questions,
    report,
    step_profile,
    time_to_verdict,
    verdict_speed,
    width_transfer,
)
from benchmarks.contest import versions

PARTS: dict[str, Any] = {
    "ladders": ladders,
    "step_profile": step_profile,
    "questions": questions,
    "kernels": kernels,
    "time_to_verdict": time_to_verdict,
    "budgets": budgets,
    "costs": costs,
    "families": families,
    "report": report,
    "demo": demo,
    "error_rates": error_rates,
    "fitting": fitting,
    "forecasting": forecasting,
    "verdict_speed": verdict_speed,
    "width_transfer": width_transfer,
}
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
KEPT = Path(__file__).parent / "results.json"


def machine(peers: tuple[str, ...]) -> str:
    """Name the processor, the number of cores and the versions of torch and of the peers."""
    import os

    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    processor = ", ".join(sorted(names)) or platform.processor()
    cores = len(os.sched_getaffinity(0))
    others = f", {versions(*peers)}" if peers else ""
    return f"{processor}, {cores} cores, torch {torch.__version__}, Python {platform.python_version()}{others}"


def measure(name: str, kept: dict[str, Any]) -> None:
    """Measure one part; a part that yields its figures piece by piece keeps what it has when it is interrupted."""
    part = PARTS[name]
    entry: dict[str, Any] = {"machine": machine(getattr(part, "PEERS", ()))}
    found = part.measure()
    if not isinstance(found, Iterator):
        kept[name] = {**entry, "figures": found}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        return
    for key, figures in found:
        earlier = kept.get(name, {}).get("figures", {})
        kept[name] = {**entry, "figures": {**earlier, key: figures}}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"  {key}", flush=True)


def write_page(kept: dict[str, Any]) -> None:
    """Write `docs/benchmarks.md` from all figures that are kept."""
    pages = [
        f"## {PARTS[name].TITLE}\n\n{PARTS[name].render(kept[name]['figures'])}\n\n"
        f"`python -m benchmarks {name}` on {kept[name]['machine']}.\n"
        for name in PARTS
        if name in kept
    ]
    head = "# Benchmarks\n\nMeasured, never tested: times are noisy, ratios less so. `make bench` writes this page.\n\n"
    PAGE.write_text(head + "\n".join(pages))


def main() -> None:
    """Measure, keep the figures, and write the page."""
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    try:
        for name in wanted:
            print(f"measuring {name}", flush=True)
            measure(name, kept)
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept")
        sys.exit(130)
    finally:
        write_page(kept)


if __name__ == "__main__":
    main()
