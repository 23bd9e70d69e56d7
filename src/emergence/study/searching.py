"""The search itself: Optuna proposes values, an objective tries them, and bad trials are stopped early.

What is tried is an argument, so that the same code serves a study and a formula. Trials go one after another. The
sampler of a trial draws from a stream that the seed and the number of the trial alone decide, and learns from the
trials before it, so that a search that was killed goes on as if it had not been: finished trials are in Optuna's
journal, and one that was not finished is done again, or further, with the same values.

The sampler is the tree-structured Parzen estimator, all settings together (Bergstra et al. 2011, doi
10.5555/2986459.2986743; Falkner et al. 2018, arXiv 1807.01774); pruning is by the median of the trials before at the
same checkpoint (Golovin et al. 2017, doi 10.1145/3097983.3098043), or by successive halving (Li et al. 2020, arXiv
1810.05934) with a reduction factor of 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emergence.core.errors import UserError
from emergence.core.search import SearchTrial, TrialStatus
from emergence.core.search_settings import SearchedSetting, SearchSettings
from emergence.core.seeds import derive_seed
from emergence.core.store import write_bytes

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["Objective", "Outcome", "Watch", "require_optuna", "run_trials"]

_STUDY = "search"
_SECONDS_AT_RISK = 1.0  # of the count of a trial's seconds, should it be killed


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. A complete one has a value, a number."""

    status: TrialStatus
    value: float | None = None
    flops: float = 0.0
    note: str | None = None


class Watch:
    """What an objective reports to, checkpoint by checkpoint, and is told by whether to go on."""

    def __init__(self, trial: Trial, last: int, *, prunable: bool) -> None:
        self._trial, self._last, self._prunable = trial, last, prunable
        frozen = _frozen(trial.study, trial.number)
        self._seen = dict(frozen.intermediate_values)
        self._pruned_at = frozen.user_attrs.get("pruned_at")
        self._before = self._kept = float(frozen.user_attrs.get("seconds", 0.0))
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent on this trial, those before an interruption up to its last checkpoint among them."""
        return self._before + time.monotonic() - self._started

    def goes_on(self, checkpoint: int, value: float) -> bool:
        """Take the goal at a checkpoint, counted from 1, and say whether the trial should go on to the next."""
        if checkpoint not in self._seen:
            self._seen[checkpoint] = value
            self._trial.report(value, checkpoint)
            if self.seconds > self._kept + _SECONDS_AT_RISK:
                self._kept = self.seconds
                self._trial.set_user_attr("seconds", self._kept)
        elif checkpoint < max(self._seen):
            return True  # it went on from here before it was interrupted
        if checkpoint >= self._last:
            return True
        if self._pruned_at is None and self._trial.should_prune() and self._prunable:
            # Kept at once: successive halving does not answer twice alike.
            self._pruned_at = checkpoint
            self._trial.set_user_attr("pruned_at", checkpoint)
        return bool(self._pruned_at is None or checkpoint < self._pruned_at)


Objective = Callable[[int, Mapping[str, Any], Watch], Outcome]


def require_optuna() -> None:
    """Raise UserError where Optuna is not installed."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise UserError("a search needs the library optuna: pip install 'emergence[search]'")


def run_trials(
    search: SearchSettings,
    objective: Objective,
    *,
    direction: Literal["minimize", "maximize"],
    seed: int,
    checkpoints: int,
    unpruned: int,
    journal: Path,
    on_trial: Callable[[SearchTrial, bool], None] = lambda trial, before: None,
) -> tuple[SearchTrial, ...]:
    """Try values until there are ``search.trials`` finished trials in the ``journal``, and return all of them.

    ``objective(number, values, watch)`` tries the values of a trial that has up to ``checkpoints`` of them and is not
    pruned at the first ``unpruned``. ``on_trial(trial, before)`` is told of every trial that has ended, first of those
    that had ended before. The caller alone must hold the folder of the journal. Raises UserError where Optuna is
    missing or the journal cannot be read.
    """
    require_optuna()
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _open(journal, direction, _pruner(search, unpruned))
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    ended = [_read(trial) for trial in study.get_trials(deepcopy=False, states=over)]
    for known in ended:
        on_trial(known, True)
    while len(ended) < search.trials:
        begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        number = begun[0].number if begun else len(ended)
        study.sampler = _sampler(search, seed, number)
        trial = optuna.trial.Trial(study, begun[0]._trial_id) if begun else study.ask()
        values = _suggest(trial, search, seed)
        watch = Watch(trial, checkpoints, prunable=number >= search.startup)
        twin = next((known for known in ended if known.values == values), None)
        outcome = objective(number, values, watch) if twin is None else _repeated(twin, trial)
        trial.set_user_attr("outcome", {"status": outcome.status, "flops": outcome.flops, "note": outcome.note})
        trial.set_user_attr("seconds", watch.seconds)
        if outcome.status == "complete":
            study.tell(trial, outcome.value)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        ended.append(_read(_frozen(study, number)))
        on_trial(ended[-1], False)
    return tuple(ended)


def _frozen(study: Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _repeated(twin: SearchTrial, trial: Trial) -> Outcome:
    """Return the outcome of an earlier trial with the same values: training again would give the same."""
    seen = _frozen(trial.study, trial.number).intermediate_values
    for checkpoint, value in enumerate(twin.curve, start=1):
        if checkpoint not in seen:
            trial.report(value, checkpoint)
    return Outcome(twin.status, twin.value, note=f"the same values as trial {twin.number}")


def _suggest(trial: Trial, search: SearchSettings, seed: int) -> dict[str, Any]:
    """Return the values of a trial, those that an interrupted one has already among them.

    Every draw has a stream of its own, so that it does not matter which of them were made before.
    """
    joint = trial.relative_params  # drawn now, whichever settings have their value
    assert joint is not None
    values = {}
    for name, setting in search.settings.items():
        trial.study.sampler = _sampler(search, seed, trial.number, name)
        values[name] = _draw(trial, name, setting)
    return values


def _read(trial: FrozenTrial) -> SearchTrial:
    """Return what the journal holds of a trial that has ended."""
    known = trial.user_attrs["outcome"]
    curve = tuple(value for _, value in sorted(trial.intermediate_values.items()))
    complete = known["status"] == "complete"
    return SearchTrial(
        number=trial.number,
        values=dict(trial.params),
        status=known["status"],
        value=trial.value if complete else curve[-1] if curve else None,
        curve=curve,
        flops=known["flops"],
        seconds=trial.user_attrs["seconds"],
        note=known["note"],
    )


def _sampler(search: SearchSettings, seed: int, number: int, *names: str) -> BaseSampler:
    from optuna.samplers import TPESampler

    own = derive_seed(seed, "search", number, *names) % 2**32
    return TPESampler(n_startup_trials=search.startup, seed=own, multivariate=True, constant_liar=False)


def _pruner(search: SearchSettings, unpruned: int) -> BasePruner:
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if search.pruner == "median":
        return MedianPruner(n_startup_trials=search.startup, n_warmup_steps=unpruned + 1)
    if search.pruner == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=unpruned + 1, reduction_factor=2)
    return NopPruner()


def _draw(trial: Trial, name: str, setting: SearchedSetting) -> Any:
    if setting.choices is not None:
        return trial.suggest_categorical(name, setting.choices)
    low, high = setting.low, setting.high
    assert low is not None
    assert high is not None
    if setting.whole:
        return trial.suggest_int(name, int(low), int(high), log=setting.log, step=int(setting.step or 1))
    return trial.suggest_float(name, low, high, log=setting.log, step=setting.step)


def _open(journal: Path, direction: Literal["minimize", "maximize"], pruner: BasePruner) -> Study:
    """Open the journal. What a kill may leave is taken away: a last line that was cut off, as if it had not been begun,
    and the lock of a process that is gone."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    journal.parent.mkdir(parents=True, exist_ok=True)
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        write_bytes(journal, content[: content.rfind(b"\n") + 1])
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
        return optuna.create_study(
            storage=storage, study_name=_STUDY, direction=direction, pruner=pruner, load_if_exists=True
        )
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{journal} is damaged ({error}); delete the folder {journal.parent}, and the search begins again"
        ) from error
