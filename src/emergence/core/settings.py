"""The study file as frozen, validated objects. Every wrong key, type or value is a UserError that names its line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from emergence.core.compression_settings import CompressionSettings
from emergence.core.corpus_settings import CorpusSettings, Fold, TokenizerSettings
from emergence.core.errors import UserError, nearest
from emergence.core.faults import first_fault
from emergence.core.forecasts import FORECAST_AXES
from emergence.core.model_settings import LadderSettings, ModelSettings
from emergence.core.schema import AXES, Axis, Frozen
from emergence.core.search_settings import SearchSettings
from emergence.core.teacher_settings import TeacherSettings
from emergence.core.training_settings import TrainingSettings
from emergence.core.tuning_settings import TuningSettings

__all__ = [
    "TEXT_TASKS",
    "AnalysisSettings",
    "CorpusSettings",
    "EvaluationSettings",
    "ExecutionSettings",
    "Fold",
    "LadderSettings",
    "ModelSettings",
    "SearchSettings",
    "StudySettings",
    "TaskSettings",
    "TeacherSettings",
    "TokenizerSettings",
    "TrainingSettings",
    "validate_study",
]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]

#: The tasks that ask for the held-out part of a corpus, and have nothing of their own to train on.
TEXT_TASKS = ("text", "sampling", "reconstruction")


class TaskSettings(Frozen):
    """A task by name; every other key is an option of that task and is validated by it.

    Where a study has the same kind of task several times, each has a name of its own and ``task`` says the kind.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=60)]

    @model_validator(mode="after")
    def _named(self) -> TaskSettings:
        if self.kind in TEXT_TASKS and self.kind != self.name:
            raise ValueError(f"the task '{self.kind}' is about the one corpus; leave it its name")
        return self

    @property
    def kind(self) -> str:
        """The task's name in the catalogue."""
        return str((self.model_extra or {}).get("task", self.name))

    @property
    def options(self) -> dict[str, Any]:
        """The task's own options as written, with its kind where that is not its name."""
        return dict(self.model_extra or {})


class EvaluationSettings(Frozen):
    """How many held-out examples each checkpoint answers, and with how many worked examples in the prompt."""

    examples: Annotated[int, Field(ge=8, le=1_000_000)] = 512
    shots: tuple[Annotated[int, Field(ge=0, le=64)], ...] = (0,)

    @field_validator("shots")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("give each number of shots once, and at least one")
        return value


class AnalysisSettings(Frozen):
    """Which axes get verdicts, how many bootstrap resamples stand behind an interval, and what forecasts are tried on.

    ``hold_out`` is the number of top rungs that the forecasters do not see and are scored on (``largest``: one); with 0
    nothing is forecast. ``forecast_above`` holds out every rung past a value of one axis instead, as in
    ``{params: 1e5}``, and forecasts along that axis alone.
    """

    axes: tuple[Axis, ...] = AXES
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    hold_out: Literal["largest"] | Annotated[int, Field(ge=0)] = "largest"
    forecast_above: dict[Axis, Annotated[float, Field(gt=0)]] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> AnalysisSettings:
        if self.forecast_above is not None:
            if len(self.forecast_above) != 1:
                raise ValueError("forecast_above takes one axis with its value, for example {params: 1e5}")
            if axis := next((axis for axis in self.forecast_above if axis not in FORECAST_AXES), None):
                raise ValueError(
                    f"nothing is forecast along {axis}, which has no next scale; choose {', '.join(FORECAST_AXES)}"
                )
            if self.hold_out == 0:
                raise ValueError("hold_out: 0 forecasts nothing; leave out hold_out or forecast_above")
        return self

    @property
    def held_out_rungs(self) -> int:
        """``hold_out`` as a number."""
        return 1 if self.hold_out == "largest" else self.hold_out


class ExecutionSettings(Frozen):
    """Where the runs happen: ``workers`` single-threaded processes side by side, each with one run or with ``stack``
    replicas of one small rung (auto: as a probe of the machine says)."""

    workers: Count | Literal["auto"] = "auto"
    stack: Count | Literal["auto"] = "auto"


class StudySettings(Frozen):
    """One question: which models, trained on what, asked what, judged how.

    Models that somebody else trained are asked and judged alone.
    """

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=100)]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    model: ModelSettings
    replicas: Annotated[int, Field(ge=1, le=1000)] = 3
    corpus: CorpusSettings | None = None
    training: TrainingSettings | None = None
    tasks: Annotated[tuple[TaskSettings, ...], Field(min_length=1)]
    mixture: dict[str, Annotated[float, Field(gt=0)]] | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    finetune: TuningSettings | None = None
    execution: ExecutionSettings = ExecutionSettings()
    compress: CompressionSettings | None = None
    search: SearchSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_replica(cls, value: Any) -> Any:
        """Models that somebody else trained are there once, whatever the default of those that are trained here."""
        if isinstance(value, dict) and isinstance(value.get("model"), dict) and "huggingface" in value["model"]:
            return {"replicas": 1, **value}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        names = [task.name for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the task '{name}' is listed twice; keep one")
        if self.model.huggingface:
            self._check_published(names)
            return self
        if self.training is None:
            raise ValueError("the key 'training' is missing")
        sources = {name for name in names if name not in TEXT_TASKS} | ({"corpus"} if self.corpus else set())
        for name in self.mixture or {}:
            if name in TEXT_TASKS and name in names:
                raise ValueError(f"mixture names '{name}', a task without training examples; name the corpus instead")
            if name not in sources:
                hint = nearest(name, sources)
                raise ValueError(f"mixture names '{name}', which is neither the corpus nor a task of this study{hint}")
        for name in TEXT_TASKS:
            if name in names and self.corpus is None:
                raise ValueError(f"the task '{name}' needs a corpus; add corpus: {{files: [...]}}")
        teacher = self.training.teacher
        if teacher is not None and teacher.kind == "sequence" and self.training.checkpoints == "epochs":
            raise ValueError(
                "checkpoints: epochs counts passes through texts that a teacher has yet to write; give a number"
            )
        if self.training.checkpoints == "epochs" and "corpus" not in (self.mixture or sources):
            raise ValueError("checkpoints: epochs counts passes through a corpus; add a corpus or give a number")
        if self.corpus is None and not sources:
            raise ValueError("there is nothing to train on; add a corpus or a task with a training generator")
        return self

    def _check_published(self, tasks: list[str]) -> None:
        for key in ("training", "corpus", "mixture", "search"):
            if getattr(self, key) is not None:
                raise ValueError(f"models under huggingface are trained already; leave out {key}")
        if self.replicas != 1:
            raise ValueError(
                "models under huggingface have no replicas to train; leave out replicas, and list each with its seed: "
                "{name: …, rung: …, seed: 1}"
            )
        for name in TEXT_TASKS:
            if name in tasks:
                raise ValueError(
                    f"the task '{name}' asks for the held-out part of a training's corpus; leave it out, or train the "
                    "models"
                )


def validate_study(
    document: Any, *, source: str, lines: dict[tuple[str | int, ...], int] | None = None
) -> StudySettings:
    """Return the settings of a study given as plain mappings and lists.

    ``source`` names the file in errors and ``lines`` maps a key path to its line. Raises UserError on the first fault.
    """
    if not isinstance(document, dict):
        raise UserError(f"{source}: a study is a mapping of keys such as name, model, training, tasks")
    try:
        return StudySettings.model_validate(document)
    except ValidationError as error:
        raise UserError(_first_fault(error, source, lines or {})) from None


def _first_fault(error: ValidationError, source: str, lines: dict[tuple[str | int, ...], int]) -> str:
    fault = first_fault(error)
    path = fault.path
    line = next((lines[path[:k]] for k in range(len(path), 0, -1) if path[:k] in lines), None)
    where = f"{source}, line {line}" if line is not None else source
    if fault.type == "extra_forbidden":
        return f"{where}: unknown key '{fault.key}'{nearest(str(path[-1]), _known_keys(path[:-1]))}"
    if fault.type == "missing":
        return f"{where}: the key '{fault.key}' is missing"
    given = "" if not path or isinstance(fault.given, dict | list | tuple) else f" (given: {fault.given!r})"
    return f"{where}: {fault.sentence}{given}"


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the settings object at ``path`` has."""
    model: type[BaseModel] = StudySettings
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        model = inner or model
    return list(model.model_fields)
