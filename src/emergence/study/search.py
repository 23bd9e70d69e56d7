"""The search of a study, in its folder: begun, gone on with, or found finished.

```
runs/NAME/search/  search.json        what was asked, of which models: compared when the search goes on
                   journal.log        Optuna's journal of all trials
                   trial-0007/        the study of a trial, without its weights once it has ended
                   result.json        once it is finished
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emergence.core.errors import UserError
from emergence.core.search import SearchRecord, SearchTrial
from emergence.core.settings import StudySettings
from emergence.core.store import write_sealed
from emergence.study.folder import StudyFolder
from emergence.study.search_found import comparable
from emergence.study.search_plan import SearchPlan
from emergence.study.search_trials import Train, clear_shared, thin_trial, trial_objective
from emergence.study.searching import require_optuna, run_trials

__all__ = ["search_settings"]

_FILES = ("search.json", "journal.log", "result.json")


def search_settings(
    study: StudySettings,
    plan: SearchPlan,
    folder: StudyFolder,
    train: Train,
    progress: Callable[[dict[str, Any]], None],
) -> SearchRecord:
    """Run the trials that are still to be run, and leave what was found in the folder.

    Raises UserError where Optuna is missing, or no trial came to its end.
    """
    require_optuna()
    path = folder.path / "search"
    folder.forget(*(path / name for name in _FILES))
    folder.save()
    write_sealed(path / "search.json", {"study": comparable(study)})

    def on_trial(trial: SearchTrial, before: bool) -> None:
        thin_trial(path, trial.number)
        progress({"event": "trial", "trial": trial, "before": before, "of": plan.settings.trials})

    progress({"event": "searching", "search": plan, "study": study.name})
    trials = run_trials(
        plan.settings,
        trial_objective(study, path, train, progress),
        direction=plan.direction,
        seed=study.seed,
        checkpoints=plan.checkpoints,
        unpruned=plan.unpruned,
        journal=path / "journal.log",
        on_trial=on_trial,
    )
    clear_shared(path)
    complete = [trial for trial in trials if trial.status == "complete" and trial.value is not None]
    if not complete:
        reason = next((trial.note for trial in reversed(trials) if trial.note), "all were pruned")
        raise UserError(
            f"none of the {len(trials)} trials of the search came to its end ({reason}); narrow search.settings and "
            f"delete {path}"
        )
    sign = 1 if plan.direction == "minimize" else -1
    best = min(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    record = SearchRecord(settings=plan.settings, direction=plan.direction, trials=trials, best=best.number)
    write_sealed(path / "result.json", record.model_dump(mode="json"))
    folder.record_files(*(path / name for name in _FILES))
    return record
