"""A laboratory for the emergent abilities of language models.

``import emergence as em``, then ``em.run("quickstart")``, ``em.analyze("scores.csv")`` or
``em.load("runs/NAME/models/R05-s0")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergence.api import (
        Evaluation,
        Model,
        Prediction,
        Result,
        Study,
        TunedModel,
        UserError,
        Verdict,
        Verdicts,
        analyze,
        back_translate,
        evaluate,
        finetune,
        load,
        load_tuned,
        open_study,
        plan,
        power,
        run,
        show_changes,
        synthesise,
    )

__version__ = "0.1.0"
__all__ = [
    "Evaluation",
    "Model",
    "Prediction",
    "Result",
    "Study",
    "TunedModel",
    "UserError",
    "Verdict",
    "Verdicts",
    "analyze",
    "back_translate",
    "evaluate",
    "finetune",
    "load",
    "load_tuned",
    "open_study",
    "plan",
    "power",
    "run",
    "show_changes",
    "synthesise",
]


def __getattr__(name: str) -> Any:
    # Late, so that `import emergence` costs nothing until something is used.
    if name in __all__:
        from emergence import api

        return getattr(api, name)
    raise AttributeError(f"module 'emergence' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
