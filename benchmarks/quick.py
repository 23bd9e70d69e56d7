"""The ratios that matter, in under two minutes: which fell by more than a fifth since they were recorded?

python -m benchmarks.quick             # compare; exit status 1 where one fell
python -m benchmarks.quick --record    # keep these ratios as the ones to hold
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import ladders, questions
from benchmarks.contest import Contestant, alternate, table
from benchmarks.costs import small_table
from benchmarks.items import PROMPTS

RECORDED = Path(__file__).parent / "quick.json"
TOLERATED = 0.2  # a fall by this share of the recorded ratio
ROUNDS = 3
SIZES = {30_000: 0.7, 1_000_000: 0.3}  # with the haste of the turns of the long contest
ITEMS = {"five_shot": (30, 8), PROMPTS: (64, 64)}  # items and the plain loop's batch size
TASKS, RESAMPLES = 4, 100  # of the table to be judged


def measure() -> dict[str, float]:
    """Return how many times as fast as its peer each of our parts is."""
    found = {}
    for size, haste in SIZES.items():
        row = ladders.measure_size(size, ROUNDS, (ladders.NANOGPT,), haste)
        found[f"training {size:,} parameters / nanoGPT"] = row["ratio"][ladders.NANOGPT]["median"]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        own, plain = questions.enter(stack, folder, max(items for items, _ in ITEMS.values()), "plain")
        for name, (items, batch) in ITEMS.items():
            row = questions.compare(own, plain, folder, name, items, batch, ROUNDS)
            found[f"{questions.WORDS[name]} / plain transformers"] = row["ratio"]
    found["verdicts / curve_fit"] = _judging()
    return found


def _judging() -> float:
    options = {"scores": small_table(TASKS)}
    with (
        Contestant("benchmarks.own.judging", options, threads=1) as own,
        Contestant("benchmarks.peers.fitting", options, threads=1) as peer,
    ):
        own.ask(resamples=RESAMPLES)
        turns = {
            "own": lambda: float(own.ask(resamples=RESAMPLES)["seconds"]),
            "peer": lambda: float(peer.ask(resamples=RESAMPLES)["seconds"]),
        }
        found = alternate(turns, ROUNDS)
    return median(found["peer"]) / median(found["own"])


def fallen(now: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """Return the names of the ratios that fell by more than `TOLERATED`; one that is not measured any more has."""
    return [name for name, before in recorded.items() if now.get(name, 0.0) < (1 - TOLERATED) * before]


def main() -> None:
    """Measure, compare, and say what fell."""
    start = time.perf_counter()
    now = measure()
    seconds = time.perf_counter() - start
    if sys.argv[1:] == ["--record"]:
        RECORDED.write_text(json.dumps(now, indent=1) + "\n")
    recorded: dict[str, float] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    rows = [[name, f"{ratio:.2f}", f"{recorded[name]:.2f}" if name in recorded else "–"] for name, ratio in now.items()]
    print("\n".join([*table(["times as fast as", "now", "recorded"], rows), "", f"{seconds:.0f} s"]))
    worse = fallen(now, recorded)
    if worse:
        sys.exit(f"fell by more than {TOLERATED:.0%}: {'; '.join(worse)}")


if __name__ == "__main__":
    main()
